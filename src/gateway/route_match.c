/*
 * route_match.c - all routes of one jid, compiled, and the ones among them that a message matches.
 *
 * A message is not tried against each route: commands, prefixes and verbs are sorted texts,
 * searched by narrowing a range letter by letter; keywords, and what patterns need in order to
 * match, are found by one pass of an automaton over the folded content (another one over the
 * sender's name). What is left are candidates, a bit each; those that are patterns or long keywords
 * are then tried when their turn comes.
 *
 * Invariants:
 *   1. The scan tells exactly the routes for which kp_route_set_try says yes, in the order of their
 *      indexes; tests hold the two against each other.
 *   2. A set is immutable and has owners, counted: any thread may use it.
 *   3. A candidate that is no match costs its own look alone; a route that is no candidate costs
 *      nothing but its bit.
 *
 * Tests: tests/unit/test_route_match.c, fuzz/fuzz_route.c, bench/bench_gateway_routes.c.
 */
#include "gateway/route_match.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { FIELD_CONTENT, FIELD_WHO, FIELD_COUNT };

/* One route as it is compared. */
struct rule {
	kp_route_type type;
	bool is_broken;
	keep_bytes text;     /* match; of a keyword and a verb its fold */
	kp_pattern *pattern; /* of a pattern and a sender */
};

/* Texts in order; equal ones in the order of their routes. */
struct sorted {
	uint32_t *indexes;
	size_t count;
};

/* Who wants a needle: a route, and the bit of its group. */
struct want {
	uint32_t number, index;
	uint8_t bit;
};

struct field {
	kp_needles *needles;
	size_t different;
	uint32_t *first; /* of a number's wants; different + 1 of them */
	struct want *wants;
};

struct kp_route_set {
	atomic_uint owners;
	kp_arena arena;
	size_t bytes, count;
	keep_route *routes;
	struct rule *rules;
	uint8_t *full;    /* the bits that a route needs to become a candidate; 0: none */
	uint64_t *always; /* candidates of every message */
	struct sorted sorted[KP_ROUTE_TYPES]; /* of commands, prefixes, verbs */
	struct field fields[FIELD_COUNT];
};

/* ---------------------------------------------------------------- one message, one route */

static const char *const type_names[KP_ROUTE_TYPES] = {
	"command", "prefix", "pattern", "keyword", "sender", "verb", "default",
};

bool kp_route_type_parse(keep_bytes name, kp_route_type *out)
{
	for (size_t i = 0; i < KP_ROUTE_TYPES; i++) {
		if (!kp_bytes_equal(name, keep_bytes_of(type_names[i])))
			continue;
		*out = (kp_route_type)i;
		return true;
	}
	return false;
}

static keep_bytes or_empty(keep_bytes text)
{
	return text.data ? text : KEEP_BYTES("");
}

keep_status kp_route_input_init(kp_route_input *input, const keep_message *message, kp_arena *arena,
				keep_error *err)
{
	keep_status status;

	*input = (kp_route_input){
		.content = or_empty(message->content),
		.who = or_empty(message->sender_name.len ? message->sender_name : message->sender)};
	input->trimmed = kp_blanks_trim(input->content);
	status = kp_letters_fold(input->content, arena, &input->folded, err);
	if (status == KEEP_OK)
		status = kp_letters_fold(input->who, arena, &input->who_folded, err);
	if (status == KEEP_OK)
		status = kp_letters_fold(message->verb.data ? message->verb : KEEP_BYTES("message"),
					 arena, &input->verb, err);
	if (status == KEEP_OK)
		status = kp_pattern_room_init(&input->room, err);
	return status;
}

void kp_route_input_release(kp_route_input *input)
{
	kp_pattern_room_release(&input->room);
}

static bool begins_with(keep_bytes text, keep_bytes prefix)
{
	return text.len >= prefix.len && memcmp(text.data, prefix.data, prefix.len) == 0;
}

static kp_route_verdict try_pattern(const struct rule *rule, keep_bytes text, kp_route_input *input)
{
	switch (kp_pattern_search(rule->pattern, text, &input->room)) {
	case KP_FOUND: return KP_VERDICT_YES;
	case KP_FOUND_NOT: return KP_VERDICT_NO;
	default: return KP_VERDICT_BOUND;
	}
}

kp_route_verdict kp_route_set_try(const kp_route_set *set, size_t index, kp_route_input *input)
{
	const struct rule *rule = &set->rules[index];
	bool holds = false;

	if (rule->is_broken)
		return KP_VERDICT_BROKEN;
	switch (rule->type) {
	case KP_ROUTE_COMMAND:
		holds = begins_with(input->trimmed, rule->text) &&
			(input->trimmed.len == rule->text.len ||
			 kp_byte_is_blank(input->trimmed.data[rule->text.len]));
		break;
	case KP_ROUTE_PREFIX: holds = begins_with(input->trimmed, rule->text); break;
	case KP_ROUTE_PATTERN: return try_pattern(rule, input->content, input);
	case KP_ROUTE_SENDER: return try_pattern(rule, input->who, input);
	case KP_ROUTE_KEYWORD:
		holds = memmem(input->folded.data, input->folded.len, rule->text.data,
			       rule->text.len) != NULL;
		break;
	case KP_ROUTE_VERB: holds = kp_bytes_equal(input->verb, rule->text); break;
	default: holds = true; break;
	}
	return holds ? KP_VERDICT_YES : KP_VERDICT_NO;
}

bool kp_trigger_accepts(keep_bytes content, keep_bytes word)
{
	const char *at, *end, *of = word.data, *word_end = word.data + word.len;
	size_t width;

	content = kp_blanks_trim(content);
	at = content.data;
	end = content.data + content.len;
	while (of < word_end) {
		uint32_t wanted = kp_letter_fold(kp_letter_read(of, word_end, &width));

		of += width;
		if (at == end || kp_letter_fold(kp_letter_read(at, end, &width)) != wanted)
			return false;
		at += width;
	}
	return at == end || !kp_letter_is_word(kp_letter_read(at, end, &width));
}

/* ---------------------------------------------------------------- compiling */

/* What is gathered for the automatons. */
struct gathering {
	kp_needle *needles[FIELD_COUNT];
	struct want *wants[FIELD_COUNT];
	size_t count[FIELD_COUNT], room[FIELD_COUNT];
};

static void *set_alloc(kp_route_set *set, size_t size)
{
	set->bytes += size;
	return kp_arena_alloc(&set->arena, size ? size : 1);
}

static keep_status copy_text(kp_route_set *set, keep_bytes from, keep_bytes *out, keep_error *err)
{
	set->bytes += from.len + 16;
	return kp_arena_copy(&set->arena, from, out, err);
}

static keep_status copy_route(kp_route_set *set, size_t index, const keep_route *from,
			      keep_error *err)
{
	keep_route *route = &set->routes[index];
	keep_status status;

	*route = *from;
	status = copy_text(set, from->jid, &route->jid, err);
	if (status == KEEP_OK)
		status = copy_text(set, from->type, &route->type, err);
	if (status == KEEP_OK)
		status = copy_text(set, or_empty(from->match), &route->match, err);
	if (status == KEEP_OK)
		status = copy_text(set, from->target, &route->target, err);
	return status;
}

static keep_status gather(struct gathering *all, int field, keep_bytes text, size_t index,
			  uint8_t bit, keep_error *err)
{
	size_t at = all->count[field];

	if (at == all->room[field]) {
		size_t room = at ? 2 * at : 256;
		kp_needle *needles = kp_realloc(all->needles[field], room * sizeof *needles);
		struct want *wants;

		if (!needles)
			return kp_fail_memory(err, "routes");
		all->needles[field] = needles;
		wants = kp_realloc(all->wants[field], room * sizeof *wants);
		if (!wants)
			return kp_fail_memory(err, "routes");
		all->wants[field] = wants;
		all->room[field] = room;
	}
	if (text.len > KP_NEEDLE_BYTES_MAX)
		text.len = KP_NEEDLE_BYTES_MAX;
	all->needles[field][at] = (kp_needle){text, 0};
	all->wants[field][at] = (struct want){0, (uint32_t)index, bit};
	all->count[field]++;
	return KEEP_OK;
}

static void set_bit(uint64_t *bits, size_t index)
{
	bits[index / 64] |= UINT64_C(1) << index % 64;
}

static keep_status compile_pattern(kp_route_set *set, size_t index, struct gathering *all,
				   keep_error *err)
{
	struct rule *rule = &set->rules[index];
	int field = rule->type == KP_ROUTE_SENDER ? FIELD_WHO : FIELD_CONTENT;
	kp_pattern_needs needs = {.count = 0};
	keep_status status =
		kp_pattern_compile(rule->text, &set->arena, &rule->pattern, &needs, err);

	if (status == KEEP_INVALID) {
		rule->is_broken = true;
		return KEEP_OK;
	}
	if (status != KEEP_OK)
		return status;
	set->bytes += sizeof *rule->pattern + 100 +
		      rule->pattern->step_count * sizeof *rule->pattern->steps +
		      rule->pattern->set_count * (sizeof *rule->pattern->sets + 16);
	if (!needs.count)
		set_bit(set->always, index);
	for (size_t i = 0; i < needs.count; i++) {
		set->full[index] |= (uint8_t)(1 << i);
		for (size_t j = 0; j < needs.groups[i].count && status == KEEP_OK; j++)
			status = gather(all, field, needs.groups[i].texts[j], index,
					(uint8_t)(1 << i), err);
	}
	return status;
}

static keep_status compile_rule(kp_route_set *set, size_t index, struct gathering *all,
				keep_error *err)
{
	struct rule *rule = &set->rules[index];
	keep_status status = KEEP_OK;

	*rule = (struct rule){.text = set->routes[index].match};
	if (!kp_route_type_parse(set->routes[index].type, &rule->type) ||
	    (rule->type != KP_ROUTE_DEFAULT && !rule->text.len)) {
		rule->is_broken = true;
		return KEEP_OK;
	}
	switch (rule->type) {
	case KP_ROUTE_PATTERN:
	case KP_ROUTE_SENDER: return compile_pattern(set, index, all, err);
	case KP_ROUTE_KEYWORD:
	case KP_ROUTE_VERB:
		status = kp_letters_fold(rule->text, &set->arena, &rule->text, err);
		set->bytes += rule->text.len * 2;
		if (status != KEEP_OK || rule->type == KP_ROUTE_VERB)
			break;
		set->full[index] = 1;
		return gather(all, FIELD_CONTENT, rule->text, index, 1, err);
	case KP_ROUTE_DEFAULT: set_bit(set->always, index); break;
	default: break;
	}
	return status;
}

/* Sorting needs the rules behind the indexes, so it sorts pointers to them. */
static int compare_rules(const void *a, const void *b)
{
	const struct rule *one = *(const struct rule *const *)a,
			  *other = *(const struct rule *const *)b;
	int order = kp_bytes_compare(one->text, other->text);

	return order ? order : (one > other) - (one < other);
}

static keep_status sort_type(kp_route_set *set, kp_route_type type, keep_error *err)
{
	struct sorted *sorted = &set->sorted[type];
	const struct rule **rules = kp_alloc((set->count + 1) * sizeof *rules);
	size_t count = 0;

	if (!rules)
		return kp_fail_memory(err, "routes");
	for (size_t i = 0; i < set->count; i++)
		if (set->rules[i].type == type && !set->rules[i].is_broken)
			rules[count++] = &set->rules[i];
	qsort(rules, count, sizeof *rules, compare_rules);
	sorted->indexes = set_alloc(set, count * sizeof *sorted->indexes);
	for (size_t i = 0; i < count && sorted->indexes; i++)
		sorted->indexes[i] = (uint32_t)(rules[i] - set->rules);
	sorted->count = count;
	kp_free(rules);
	return sorted->indexes ? KEEP_OK : kp_fail_memory(err, "routes");
}

/* The wants in the order of their numbers, and where each number's begin. */
static keep_status make_field(kp_route_set *set, int which, struct gathering *all, keep_error *err)
{
	struct field *field = &set->fields[which];
	size_t count = all->count[which], text_bytes = 0;
	keep_status status = kp_needles_make(all->needles[which], count, &set->arena,
					     &field->needles, &field->different, err);

	if (status != KEEP_OK || !field->needles)
		return status;
	for (size_t i = 0; i < count; i++)
		text_bytes += all->needles[which][i].text.len;
	set->bytes += text_bytes * 24;
	field->first = set_alloc(set, (field->different + 2) * sizeof *field->first);
	field->wants = set_alloc(set, count * sizeof *field->wants);
	if (!field->first || !field->wants)
		return kp_fail_memory(err, "routes");
	memset(field->first, 0, (field->different + 2) * sizeof *field->first);
	for (size_t i = 0; i < count; i++)
		field->first[all->needles[which][i].number + 2]++;
	for (size_t i = 2; i < field->different + 2; i++)
		field->first[i] += field->first[i - 1];
	for (size_t i = 0; i < count; i++) {
		uint32_t number = all->needles[which][i].number;

		field->wants[field->first[number + 1]++] = all->wants[which][i];
	}
	return KEEP_OK;
}

static keep_status fill_set(kp_route_set *set, const keep_route *routes, struct gathering *all,
			    keep_error *err)
{
	size_t words = (set->count + 63) / 64;
	static const kp_route_type sorted_types[] = {KP_ROUTE_COMMAND, KP_ROUTE_PREFIX,
						     KP_ROUTE_VERB};
	keep_status status = KEEP_OK;

	set->routes = set_alloc(set, set->count * sizeof *set->routes);
	set->rules = set_alloc(set, set->count * sizeof *set->rules);
	set->full = set_alloc(set, set->count);
	set->always = set_alloc(set, words * sizeof *set->always);
	if (!set->routes || !set->rules || !set->full || !set->always)
		return kp_fail_memory(err, "routes");
	memset(set->full, 0, set->count);
	memset(set->always, 0, words * sizeof *set->always);
	for (size_t i = 0; i < set->count && status == KEEP_OK; i++) {
		status = copy_route(set, i, &routes[i], err);
		if (status == KEEP_OK)
			status = compile_rule(set, i, all, err);
	}
	for (size_t i = 0; i < KP_COUNT(sorted_types) && status == KEEP_OK; i++)
		status = sort_type(set, sorted_types[i], err);
	for (int i = 0; i < FIELD_COUNT && status == KEEP_OK; i++)
		status = make_field(set, i, all, err);
	return status;
}

keep_status kp_route_set_make(const keep_route *routes, size_t count, kp_route_set **out,
			      keep_error *err)
{
	struct gathering all = {.count = {0}};
	kp_route_set *set = kp_alloc_zero(sizeof *set);
	keep_status status;

	*out = NULL;
	if (!set)
		return kp_fail_memory(err, "routes");
	atomic_init(&set->owners, 1);
	set->bytes = sizeof *set;
	set->count = count;
	status = fill_set(set, routes, &all, err);
	for (int i = 0; i < FIELD_COUNT; i++) {
		kp_free(all.needles[i]);
		kp_free(all.wants[i]);
	}
	if (status == KEEP_OK)
		*out = set;
	else
		kp_route_set_release(&set);
	return status;
}

kp_route_set *kp_route_set_share(kp_route_set *set)
{
	atomic_fetch_add_explicit(&set->owners, 1, memory_order_relaxed);
	return set;
}

void kp_route_set_release(kp_route_set **set)
{
	kp_route_set *releasing = set ? *set : NULL;

	if (!releasing)
		return;
	*set = NULL;
	if (atomic_fetch_sub_explicit(&releasing->owners, 1, memory_order_acq_rel) != 1)
		return;
	kp_arena_release(&releasing->arena);
	kp_free(releasing);
}

size_t kp_route_set_bytes(const kp_route_set *set)
{
	return set->bytes;
}

size_t kp_route_set_count(const kp_route_set *set)
{
	return set->count;
}

const keep_route *kp_route_set_at(const kp_route_set *set, size_t index)
{
	return &set->routes[index];
}

/* ---------------------------------------------------------------- scanning */

/* The part of sorted[low, high) whose byte at `depth` is `byte`; all are longer than `depth`. */
static void narrow(const kp_route_set *set, const struct sorted *sorted, size_t *low, size_t *high,
		   size_t depth, unsigned char byte)
{
	size_t bounds[2];

	for (int i = 0; i < 2; i++) {
		size_t from = *low, to = *high;

		while (from < to) {
			size_t middle = (from + to) / 2;
			unsigned char found =
				(unsigned char)set->rules[sorted->indexes[middle]].text.data[depth];

			if (found < byte || (i && found == byte))
				from = middle + 1;
			else
				to = middle;
		}
		bounds[i] = from;
	}
	*low = bounds[0];
	*high = bounds[1];
}

/* Mark the texts that `text` begins with; those of commands and verbs only where they may end. */
static void mark_beginnings(kp_route_scan *scan, kp_route_type type, keep_bytes text)
{
	const struct sorted *sorted = &scan->set->sorted[type];
	size_t low = 0, high = sorted->count;

	for (size_t depth = 0; low < high && depth < text.len; depth++) {
		bool may_end;

		narrow(scan->set, sorted, &low, &high, depth, (unsigned char)text.data[depth]);
		may_end = depth + 1 == text.len || type == KP_ROUTE_PREFIX ||
			  (type == KP_ROUTE_COMMAND && kp_byte_is_blank(text.data[depth + 1]));
		while (low < high && scan->set->rules[sorted->indexes[low]].text.len == depth + 1) {
			if (may_end)
				set_bit(scan->bits, sorted->indexes[low]);
			low++;
		}
	}
}

struct telling {
	kp_route_scan *scan;
	const struct field *field;
};

static void tell_needle(void *ctx, uint32_t number)
{
	const struct telling *telling = ctx;
	const struct field *field = telling->field;
	kp_route_scan *scan = telling->scan;

	for (uint32_t i = field->first[number]; i < field->first[number + 1]; i++) {
		const struct want *want = &field->wants[i];

		scan->got[want->index] |= want->bit;
		if (scan->got[want->index] == scan->set->full[want->index])
			set_bit(scan->bits, want->index);
	}
}

keep_status kp_route_scan_begin(kp_route_scan *scan, const kp_route_set *set, kp_route_input *input,
				keep_error *err)
{
	size_t words = (set->count + 63) / 64, bytes = words * sizeof *scan->bits;
	const keep_bytes texts[FIELD_COUNT] = {input->folded, input->who_folded};

	*scan = (kp_route_scan){.set = set, .input = input};
	scan->bits = kp_alloc_zero(bytes + set->count + set->fields[0].different +
				   set->fields[1].different + 1);
	if (!scan->bits)
		return kp_fail_memory(err, "a search of routes");
	scan->got = (uint8_t *)scan->bits + bytes;
	scan->seen = scan->got + set->count;
	memcpy(scan->bits, set->always, bytes);
	mark_beginnings(scan, KP_ROUTE_COMMAND, input->trimmed);
	mark_beginnings(scan, KP_ROUTE_PREFIX, input->trimmed);
	mark_beginnings(scan, KP_ROUTE_VERB, input->verb);
	for (int i = 0; i < FIELD_COUNT; i++) {
		struct telling telling = {scan, &set->fields[i]};

		if (set->fields[i].needles)
			kp_needles_scan(set->fields[i].needles, texts[i], scan->seen, tell_needle,
					&telling);
		scan->seen += set->fields[i].different;
	}
	return KEEP_OK;
}

static kp_route_verdict look_at_candidate(kp_route_scan *scan, size_t index)
{
	const struct rule *rule = &scan->set->rules[index];

	if (!rule->pattern &&
	    (rule->type != KP_ROUTE_KEYWORD || rule->text.len <= KP_NEEDLE_BYTES_MAX))
		return KP_VERDICT_YES;
	return kp_route_set_try(scan->set, index, scan->input);
}

kp_route_verdict kp_route_scan_look(kp_route_scan *scan, size_t index)
{
	if (scan->set->rules[index].is_broken)
		return KP_VERDICT_BROKEN;
	if (!(scan->bits[index / 64] >> index % 64 & 1))
		return KP_VERDICT_NO;
	return look_at_candidate(scan, index);
}

bool kp_route_scan_next(kp_route_scan *scan, size_t *index)
{
	size_t words = (scan->set->count + 63) / 64;

	for (size_t word = scan->at; word < words; word++) {
		while (scan->bits[word]) {
			size_t found = word * 64 + (size_t)__builtin_ctzll(scan->bits[word]);

			scan->at = word;
			scan->bits[word] &= scan->bits[word] - 1;
			if (look_at_candidate(scan, found) == KP_VERDICT_YES) {
				*index = found;
				return true;
			}
		}
	}
	scan->at = words;
	return false;
}

void kp_route_scan_end(kp_route_scan *scan)
{
	kp_free(scan->bits);
	scan->bits = NULL;
}
