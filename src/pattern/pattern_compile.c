/*
 * pattern_compile.c - extended regular expressions whose time is bounded: reading them.
 *
 * A pattern comes from an agent, the text it is sought in from anybody. glibc's regexec promises no
 * bound on time or memory, and a backtracking matcher counts anew at each start. PCRE2's other
 * matcher (10.42, anchored behind a lazy `.*?`, shortest match, a workspace of 20,000 words, other
 * limits at their defaults) was measured: 1 s for (a+)+$ on 4 KiB of 'a', and then it fails; 6 s
 * for (x{0,200}){0,200}z on 16 KiB. RE2 is bounded by design, but C++, and was not measured. So a
 * pattern becomes a machine of at most KP_PATTERN_STATES_MAX states, and pattern_run.c
 * follows all of them at once: each letter of the text visits each state at most once, and no
 * order of letters can change that.
 *
 * Invariants:
 *   1. What is not regular cannot be written: backreferences, lookarounds, recursion, conditions
 *      and the like are refused, and so is what expands to too many states.
 *   2. Reading is linear in the pattern but for counted repeats, whose expansion is measured before
 *      it is made; nesting is limited by DEPTH_MAX, and so is the recursion over it.
 *
 * What it does not do: say what matched, only whether something does.
 *
 * Tests: tests/unit/test_route_pattern.c, fuzz/fuzz_route.c; docs/routing.md tells the syntax.
 */
#include "pattern/pattern_private.h"

#include <string.h>

enum { DEPTH_MAX = 50, REPEAT_MAX = 1000 };

/* The first failure stands; -1, so that it can be returned as a node. */
static int refuse(struct kp_pattern_reader *reader, const char *at, const char *why)
{
	if (reader->status == KEEP_OK)
		reader->status = kp_fail(reader->err, KEEP_INVALID, "match: %s, at byte %zu", why,
					 (size_t)(at - reader->start));
	return -1;
}

static int add_node(struct kp_pattern_reader *reader, enum kp_node_kind kind, uint32_t value)
{
	if (reader->node_count == NODES_MAX)
		return refuse(reader, reader->at, "the pattern is too large");
	reader->nodes[reader->node_count] = (struct kp_pattern_node){
		.kind = kind,
		.value = value,
		.child = -1,
		.last = -1,
		.next = -1,
		.states = kind == NODE_CHAIN || kind == NODE_CHOICE ? 0 : 1};
	return reader->node_count++;
}

static void add_child(struct kp_pattern_reader *reader, int parent, int child)
{
	struct kp_pattern_node *node = &reader->nodes[parent];

	if (node->last < 0)
		node->child = child;
	else
		reader->nodes[node->last].next = child;
	node->last = child;
}

static bool has(const struct kp_pattern_reader *reader, const char *text)
{
	size_t len = strlen(text);

	return (size_t)(reader->end - reader->at) >= len && memcmp(reader->at, text, len) == 0;
}

static uint32_t read_letter(struct kp_pattern_reader *reader)
{
	size_t width;
	uint32_t letter = kp_letter_read(reader->at, reader->end, &width);

	reader->at += width;
	return letter;
}

/* ---------------------------------------------------------------- sets */

static kp_letter_set *add_set(struct kp_pattern_reader *reader)
{
	kp_letter_set *set = &reader->sets[reader->set_count];

	if (reader->set_count == SETS_MAX) {
		(void)refuse(reader, reader->at, "the pattern has too many sets");
		return NULL;
	}
	*set = (kp_letter_set){.ranges = &reader->ranges[2 * reader->range_count]};
	reader->set_count++;
	return set;
}

static void add_range(struct kp_pattern_reader *reader, kp_letter_set *set, uint32_t first,
		      uint32_t last)
{
	uint32_t *range = &reader->ranges[2 * reader->range_count];

	for (uint32_t letter = first; letter <= last && letter < 0x80; letter++)
		set->ascii[letter / 32] |= UINT32_C(1) << letter % 32;
	if (last < 0x80)
		return;
	if (reader->range_count == RANGES_MAX) {
		(void)refuse(reader, reader->at, "the pattern has too many ranges");
		return;
	}
	range[0] = first < 0x80 ? 0x80 : first;
	range[1] = last;
	reader->range_count++;
	set->range_count++;
}

/* The ASCII of a set as a text of ranges, "azAZ", or of what is not in it. */
static void add_ranges(struct kp_pattern_reader *reader, kp_letter_set *set, const char *pairs,
		       bool others)
{
	uint32_t inside[4] = {0};

	for (; *pairs; pairs += 2)
		for (uint32_t letter = (unsigned char)pairs[0]; letter <= (unsigned char)pairs[1];
		     letter++)
			inside[letter / 32] |= UINT32_C(1) << letter % 32;
	for (int i = 0; i < 4; i++)
		set->ascii[i] |= others ? ~inside[i] : inside[i];
	if (others)
		add_range(reader, set, 0x80, 0x10ffff);
}

#define WORD_PAIRS "azAZ09__"
#define BLANK_PAIRS "\t\r  "

/* \d \w \s and their capitals; false: it is none of them. */
static bool add_class(struct kp_pattern_reader *reader, kp_letter_set *set, char name)
{
	switch (name) {
	case 'd':
	case 'D': add_ranges(reader, set, "09", name == 'D'); return true;
	case 's':
	case 'S': add_ranges(reader, set, BLANK_PAIRS, name == 'S'); return true;
	case 'w':
		add_ranges(reader, set, WORD_PAIRS, false);
		set->kinds |= KP_SET_WORD;
		return true;
	case 'W':
		for (uint32_t letter = 0; letter < 0x80; letter++)
			if (!kp_letter_is_word(letter))
				add_range(reader, set, letter, letter);
		set->kinds |= KP_SET_NO_WORD;
		return true;
	default: return false;
	}
}

static const struct {
	const char *name, *pairs;
	uint32_t kinds; /* beyond ASCII */
} classes[] = {
	{"[:alpha:]", "azAZ", KP_SET_WORD},
	{"[:alnum:]", "azAZ09", KP_SET_WORD},
	{"[:upper:]", "AZ", KP_SET_CAPITAL},
	{"[:lower:]", "az", KP_SET_SMALL},
	{"[:digit:]", "09", 0},
	{"[:xdigit:]", "09afAF", 0},
	{"[:space:]", BLANK_PAIRS, 0},
	{"[:blank:]", "\t\t  ", 0},
	{"[:punct:]", "!/:@[`{~", 0},
	{"[:cntrl:]", "\001\037\177\177", 0},
	{"[:print:]", " ~", KP_SET_WORD | KP_SET_NO_WORD},
	{"[:graph:]", "!~", KP_SET_WORD | KP_SET_NO_WORD},
};

static void read_named_class(struct kp_pattern_reader *reader, kp_letter_set *set)
{
	for (size_t i = 0; i < KP_COUNT(classes); i++) {
		if (!has(reader, classes[i].name))
			continue;
		add_ranges(reader, set, classes[i].pairs, false);
		set->kinds |= classes[i].kinds;
		reader->at += strlen(classes[i].name);
		return;
	}
	(void)refuse(reader, reader->at, "an unknown class in a set");
}

/* \x41 or \x{1f600}; `at` is behind the x. */
static uint32_t read_hex(struct kp_pattern_reader *reader)
{
	const char *from = reader->at;
	bool braces = has(reader, "{");
	int digits = 0, max = braces ? 6 : 2;
	uint32_t letter = 0;

	reader->at += braces;
	while (digits < max && reader->at < reader->end && kp_hex_digit(*reader->at) >= 0) {
		letter = letter * 16 + (uint32_t)kp_hex_digit(*reader->at++);
		digits++;
	}
	if (!digits || (!braces && digits < 2) || (braces && !has(reader, "}")) || !letter ||
	    letter > 0x10ffff || (letter >= 0xd800 && letter < 0xe000))
		(void)refuse(reader, from, "\\x needs two hexadecimal digits, or {…}, of a letter");
	reader->at += braces && has(reader, "}");
	return letter;
}

/* A letter written with a backslash; `at` is on what follows it. */
static uint32_t read_escaped_letter(struct kp_pattern_reader *reader)
{
	static const char from[] = "tnrfv", to[] = "\t\n\r\f\v";
	const char *found;
	char byte;

	if (reader->at == reader->end) {
		(void)refuse(reader, reader->at, "a backslash at the end");
		return 0;
	}
	byte = *reader->at;
	found = byte ? strchr(from, byte) : NULL;
	if (found) {
		reader->at++;
		return (uint32_t)to[found - from];
	}
	if (byte == 'x') {
		reader->at++;
		return read_hex(reader);
	}
	if (byte >= '0' && byte <= '9')
		(void)refuse(reader, reader->at, "there are no backreferences");
	else if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'))
		(void)refuse(reader, reader->at, "an unknown escape");
	return reader->status == KEEP_OK ? read_letter(reader) : 0;
}

/* One end of a range; `at` is on it. */
static uint32_t read_set_letter(struct kp_pattern_reader *reader)
{
	if (!has(reader, "\\"))
		return read_letter(reader);
	reader->at++;
	return read_escaped_letter(reader);
}

static void read_set_item(struct kp_pattern_reader *reader, kp_letter_set *set)
{
	const char *from = reader->at;
	uint32_t first, last;

	if (has(reader, "[:")) {
		read_named_class(reader, set);
		return;
	}
	if (has(reader, "[.") || has(reader, "[=")) {
		(void)refuse(reader, from, "there are no collating elements");
		return;
	}
	if (has(reader, "\\") && reader->end - reader->at > 1 &&
	    add_class(reader, set, reader->at[1])) {
		reader->at += 2;
		return;
	}
	first = last = read_set_letter(reader);
	if (has(reader, "-") && !has(reader, "-]") && reader->status == KEEP_OK) {
		reader->at++;
		if (reader->at == reader->end)
			return;
		last = read_set_letter(reader);
		if (reader->status == KEEP_OK && last < first)
			(void)refuse(reader, from, "a range that runs backwards");
	}
	if (reader->status == KEEP_OK)
		add_range(reader, set, first, last);
}

/* `at` is behind the bracket. */
static int read_set(struct kp_pattern_reader *reader)
{
	const char *from = reader->at - 1;
	uint32_t number = reader->set_count;
	kp_letter_set *set = add_set(reader);
	bool first = true;

	if (!set)
		return -1;
	if (has(reader, "^")) {
		set->negated = true;
		reader->at++;
	}
	while (reader->status == KEEP_OK && reader->at < reader->end &&
	       (first || *reader->at != ']')) {
		read_set_item(reader, set);
		first = false;
	}
	if (reader->status == KEEP_OK && reader->at == reader->end)
		return refuse(reader, from, "a set without its ]");
	reader->at++;
	return reader->status == KEEP_OK ? add_node(reader, NODE_SET, number) : -1;
}

/* ---------------------------------------------------------------- atoms, repeats, choices */

static int read_choice(struct kp_pattern_reader *reader, int depth);

/* `at` is behind the backslash. */
static int read_escape(struct kp_pattern_reader *reader)
{
	static const char names[] = "bB<>Az";
	static const enum kp_check checks[] = {KP_AT_EDGE,    KP_AT_NO_EDGE, KP_AT_WORD,
					       KP_AFTER_WORD, KP_AT_START,   KP_AT_END};
	char byte = reader->at < reader->end ? *reader->at : 0;
	const char *found = byte ? strchr(names, byte) : NULL;
	uint32_t letter;

	if (found) {
		reader->at++;
		return add_node(reader, NODE_CHECK, checks[found - names]);
	}
	if (byte && strchr("dDsSwW", byte)) {
		uint32_t number = reader->set_count;
		kp_letter_set *set = add_set(reader);

		if (!set)
			return -1;
		add_class(reader, set, byte);
		reader->at++;
		return add_node(reader, NODE_SET, number);
	}
	letter = read_escaped_letter(reader);
	return reader->status == KEEP_OK ? add_node(reader, NODE_LETTER, letter) : -1;
}

/* `at` is behind the parenthesis. */
static int read_group(struct kp_pattern_reader *reader, int depth)
{
	const char *from = reader->at - 1;
	int node;

	if (depth == DEPTH_MAX)
		return refuse(reader, from, "groups in too many groups");
	if (has(reader, "?:"))
		reader->at += 2;
	else if (has(reader, "?") || has(reader, "*"))
		return refuse(reader, from,
			      "of the groups with a sign only (?:…) and a leading (?i) are known");
	node = read_choice(reader, depth + 1);
	if (node < 0)
		return -1;
	if (!has(reader, ")"))
		return refuse(reader, from, "a group without its )");
	reader->at++;
	return node;
}

static int read_atom(struct kp_pattern_reader *reader, int depth)
{
	char byte = *reader->at;

	switch (byte) {
	case '(': reader->at++; return read_group(reader, depth);
	case '[': reader->at++; return read_set(reader);
	case '\\': reader->at++; return read_escape(reader);
	case '.': reader->at++; return add_node(reader, NODE_ANY, 0);
	case '^':
	case '$':
		reader->at++;
		return add_node(reader, NODE_CHECK, byte == '^' ? KP_AT_START : KP_AT_END);
	case '*':
	case '+':
	case '?': return refuse(reader, reader->at, "nothing to repeat");
	default: return add_node(reader, NODE_LETTER, read_letter(reader));
	}
}

static int read_count(struct kp_pattern_reader *reader)
{
	int count = 0;

	while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
		count = count * 10 + (*reader->at++ - '0');
		if (count > REPEAT_MAX) {
			(void)refuse(reader, reader->at - 1, "a repeat of more than 1000");
			return 0;
		}
	}
	return count;
}

/* A brace begins a repeat when a digit or a comma follows; else it is a letter. */
static bool is_repeat(const struct kp_pattern_reader *reader)
{
	if (has(reader, "*") || has(reader, "+") || has(reader, "?"))
		return true;
	return has(reader, "{") && reader->end - reader->at > 1 &&
	       ((reader->at[1] >= '0' && reader->at[1] <= '9') || reader->at[1] == ',');
}

static void read_repeat_counts(struct kp_pattern_reader *reader, int *min, int *max)
{
	const char *from = reader->at;
	char sign = *reader->at++;

	*min = sign == '+';
	*max = sign == '?' ? 1 : ENDLESS;
	if (sign == '{') {
		if (has(reader, ",")) {
			(void)refuse(reader, from, "a repeat without its least number");
			return;
		}
		*min = *max = read_count(reader);
		if (has(reader, ",")) {
			reader->at++;
			*max = has(reader, "}") ? ENDLESS : read_count(reader);
		}
		if (reader->status == KEEP_OK && !has(reader, "}"))
			(void)refuse(reader, from, "a repeat without its }");
		if (*max != ENDLESS && *max < *min)
			(void)refuse(reader, from, "a repeat that runs backwards");
		reader->at++;
	}
	/* Lazy finds the same texts as greedy does. */
	if (reader->status == KEEP_OK && has(reader, "?"))
		reader->at++;
	if (reader->status == KEEP_OK && is_repeat(reader))
		(void)refuse(reader, reader->at, "a repeat of a repeat");
}

static int64_t repeat_states(int64_t states, int min, int max)
{
	if (!states)
		return 0;
	return states * min + (max == ENDLESS ? states + 2 : (states + 1) * (max - min));
}

static int read_repeated(struct kp_pattern_reader *reader, int depth)
{
	const char *from = reader->at;
	int atom = read_atom(reader, depth), min, max, node;

	if (atom < 0 || reader->at >= reader->end || !is_repeat(reader))
		return atom;
	if (reader->nodes[atom].kind == NODE_CHECK)
		return refuse(reader, reader->at, "nothing to repeat");
	read_repeat_counts(reader, &min, &max);
	node = reader->status == KEEP_OK ? add_node(reader, NODE_REPEAT, 0) : -1;
	if (node < 0)
		return -1;
	reader->nodes[node].child = atom;
	reader->nodes[node].min = min;
	reader->nodes[node].max = max;
	reader->nodes[node].states = repeat_states(reader->nodes[atom].states, min, max);
	if (reader->nodes[node].states > KP_PATTERN_STATES_MAX)
		return refuse(reader, from, "the repeats expand to more than 1000 states");
	return node;
}

static int read_chain(struct kp_pattern_reader *reader, int depth)
{
	int chain = add_node(reader, NODE_CHAIN, 0);

	while (chain >= 0 && reader->at < reader->end && *reader->at != '|' && *reader->at != ')') {
		int node = read_repeated(reader, depth);

		if (node < 0)
			return -1;
		add_child(reader, chain, node);
		reader->nodes[chain].states += reader->nodes[node].states;
	}
	return chain;
}

static int read_choice(struct kp_pattern_reader *reader, int depth)
{
	int choice = add_node(reader, NODE_CHOICE, 0);

	while (choice >= 0) {
		int chain = read_chain(reader, depth);

		if (chain < 0)
			return -1;
		if (reader->nodes[choice].child >= 0)
			reader->nodes[choice].states += 2;
		add_child(reader, choice, chain);
		reader->nodes[choice].states += reader->nodes[chain].states;
		if (!has(reader, "|"))
			break;
		reader->at++;
	}
	return choice;
}

/* ---------------------------------------------------------------- the machine */

struct writer {
	const struct kp_pattern_reader *reader;
	kp_pattern_step *steps;
	uint32_t count;
};

static void put_step(struct writer *writer, enum kp_step_kind kind, uint32_t value)
{
	writer->steps[writer->count++] = (kp_pattern_step){kind, value};
}

static void write_node(struct writer *writer, int index);

static void write_repeat(struct writer *writer, const struct kp_pattern_node *node)
{
	if (!node->states)
		return;
	for (int i = 0; i < node->min; i++)
		write_node(writer, node->child);
	if (node->max == ENDLESS) {
		uint32_t split = writer->count;

		put_step(writer, KP_STEP_SPLIT, 0);
		write_node(writer, node->child);
		put_step(writer, KP_STEP_JUMP, split);
		writer->steps[split].value = writer->count;
		return;
	}
	for (int i = node->min; i < node->max; i++) {
		uint32_t split = writer->count;

		/* Past this one: the rest may as well be left out one by one. */
		put_step(writer, KP_STEP_SPLIT, 0);
		write_node(writer, node->child);
		writer->steps[split].value = writer->count;
	}
}

static void write_choice(struct writer *writer, const struct kp_pattern_node *node)
{
	const struct kp_pattern_node *nodes = writer->reader->nodes;
	uint32_t pending = UINT32_MAX; /* jumps to the end, linked through their values */

	for (int branch = node->child; branch >= 0; branch = nodes[branch].next) {
		uint32_t split = writer->count;
		bool is_last = nodes[branch].next < 0;

		if (!is_last)
			put_step(writer, KP_STEP_SPLIT, 0);
		write_node(writer, branch);
		if (is_last)
			break;
		put_step(writer, KP_STEP_JUMP, pending);
		pending = writer->count - 1;
		writer->steps[split].value = writer->count;
	}
	while (pending != UINT32_MAX) {
		uint32_t before = writer->steps[pending].value;

		writer->steps[pending].value = writer->count;
		pending = before;
	}
}

static void write_node(struct writer *writer, int index)
{
	const struct kp_pattern_node *node = &writer->reader->nodes[index];

	switch (node->kind) {
	case NODE_LETTER:
		put_step(writer, KP_STEP_LETTER,
			 writer->reader->ignores_case ? kp_letter_fold(node->value) : node->value);
		break;
	case NODE_ANY: put_step(writer, KP_STEP_ANY, 0); break;
	case NODE_SET: put_step(writer, KP_STEP_SET, node->value); break;
	case NODE_CHECK: put_step(writer, KP_STEP_CHECK, node->value); break;
	case NODE_CHAIN:
		for (int child = node->child; child >= 0; child = writer->reader->nodes[child].next)
			write_node(writer, child);
		break;
	case NODE_CHOICE: write_choice(writer, node); break;
	case NODE_REPEAT: write_repeat(writer, node); break;
	}
}

/* Does every match begin with ^? */
static bool is_anchored(const struct kp_pattern_reader *reader, int index)
{
	const struct kp_pattern_node *node = &reader->nodes[index];

	if (node->kind == NODE_CHECK)
		return node->value == KP_AT_START;
	if (node->kind == NODE_CHAIN)
		return node->child >= 0 && is_anchored(reader, node->child);
	if (node->kind != NODE_CHOICE)
		return false;
	for (int branch = node->child; branch >= 0; branch = reader->nodes[branch].next)
		if (!is_anchored(reader, branch))
			return false;
	return true;
}

static keep_status keep_sets(const struct kp_pattern_reader *reader, kp_arena *arena,
			     kp_pattern *pattern, keep_error *err)
{
	uint32_t *ranges;

	if (!reader->set_count)
		return KEEP_OK;
	pattern->sets = kp_arena_alloc(arena, reader->set_count * sizeof *pattern->sets);
	ranges = kp_arena_alloc(arena, (2 * reader->range_count + 2) * sizeof *ranges);
	if (!pattern->sets || !ranges)
		return kp_fail_memory(err, "a pattern");
	memcpy(pattern->sets, reader->sets, reader->set_count * sizeof *pattern->sets);
	memcpy(ranges, reader->ranges, 2 * reader->range_count * sizeof *ranges);
	for (uint32_t i = 0; i < reader->set_count; i++)
		pattern->sets[i].ranges = ranges + (reader->sets[i].ranges - reader->ranges);
	pattern->set_count = reader->set_count;
	return KEEP_OK;
}

static keep_status write_machine(const struct kp_pattern_reader *reader, int root, kp_arena *arena,
				 kp_pattern **out, keep_error *err)
{
	struct writer writer = {reader, NULL, 0};
	kp_pattern *pattern = kp_arena_alloc(arena, sizeof *pattern);

	if (!pattern)
		return kp_fail_memory(err, "a pattern");
	*pattern = (kp_pattern){.ignores_case = reader->ignores_case,
				.anchored = is_anchored(reader, root)};
	pattern->steps = kp_arena_alloc(arena, ((size_t)reader->nodes[root].states + 1) *
						       sizeof *pattern->steps);
	if (!pattern->steps)
		return kp_fail_memory(err, "a pattern");
	writer.steps = pattern->steps;
	write_node(&writer, root);
	put_step(&writer, KP_STEP_MATCH, 0);
	pattern->step_count = writer.count;
	*out = pattern;
	return keep_sets(reader, arena, pattern, err);
}

/* ---------------------------------------------------------------- both */

keep_status kp_pattern_compile(keep_bytes text, kp_arena *arena, kp_pattern **out,
			       kp_pattern_needs *needs, keep_error *err)
{
	struct kp_pattern_reader reader;
	keep_status status;
	int root;

	if (!text.len || text.len > KP_PATTERN_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID,
			       "match: a pattern has 1 to %d bytes, this one has %zu",
			       KP_PATTERN_BYTES_MAX, text.len);
	reader.start = reader.at = text.data;
	reader.end = text.data + text.len;
	reader.node_count = 0;
	reader.set_count = reader.range_count = 0;
	reader.err = err;
	reader.status = KEEP_OK;
	reader.ignores_case = has(&reader, "(?i)");
	if (reader.ignores_case)
		reader.at += 4;
	root = read_choice(&reader, 0);
	if (reader.status == KEEP_OK && reader.at < reader.end)
		root = refuse(&reader, reader.at, "a ) without its group");
	if (reader.status == KEEP_OK && reader.nodes[root].states > KP_PATTERN_STATES_MAX)
		root = refuse(&reader, reader.start, "the repeats expand to more than 1000 states");
	if (reader.status != KEEP_OK)
		return reader.status;
	status = write_machine(&reader, root, arena, out, err);
	if (status == KEEP_OK && needs) {
		needs->count = 0;
		status = kp_pattern_find_needs(&reader, root, arena, needs, err);
	}
	return status;
}
