/*
 * pattern_run.c - does a pattern match anywhere in a text? In bounded time.
 *
 * All states of the machine are followed at once (Thompson, 1968): before each letter the states
 * that can be reached without one are collected, each once; with it, those that take it move on.
 *
 * Invariants:
 *   1. A letter costs at most step_count visits, each of which is constant but for a set's ranges
 *      (at most 200 of them): letters * KP_PATTERN_STATES_MAX is the most that a search can cost,
 *      whatever the pattern and the text.
 *   2. Each visit is taken off room->steps, which the searches of one room share. When they are
 *      used up the answer is KP_FOUND_BOUND, at once and for every later search in that room.
 *   3. Searching allocates nothing and is not recursive.
 *
 * Tests: tests/unit/test_route_pattern.c, bench/bench_gateway_routes.c.
 */
#include "pattern/pattern.h"

#include <string.h>

enum { NO_LETTER = 0x110000 };

keep_status kp_pattern_room_init(kp_pattern_room *room, keep_error *err)
{
	/* marks, now, next, and a stack, which has at most two entries for each visited state. */
	const size_t words = 3 * (KP_PATTERN_STATES_MAX + 1) + 3 * (KP_PATTERN_STATES_MAX + 1);

	room->steps = KP_PATTERN_STEPS;
	room->words = kp_alloc(words * sizeof *room->words);
	return room->words ? KEEP_OK : kp_fail_memory(err, "a pattern's search");
}

void kp_pattern_room_release(kp_pattern_room *room)
{
	kp_free(room->words);
	room->words = NULL;
}

/* What is read of the text around a place. */
struct place {
	uint32_t before, after;   /* letters; NO_LETTER at the ends */
	uint32_t folded, capital; /* of `after`, in a pattern that ignores case */
	bool word_before, word_after;
};

struct search {
	const kp_pattern *pattern;
	uint32_t *marks, *now, *next, *stack;
	uint32_t now_count, next_count, mark;
	int64_t steps;
};

static bool check_holds(uint32_t check, const struct place *place)
{
	switch (check) {
	case KP_AT_START: return place->before == NO_LETTER;
	case KP_AT_END: return place->after == NO_LETTER;
	case KP_AT_EDGE: return place->word_before != place->word_after;
	case KP_AT_NO_EDGE: return place->word_before == place->word_after;
	case KP_AT_WORD: return !place->word_before && place->word_after;
	default: return place->word_before && !place->word_after;
	}
}

static bool set_holds(const kp_letter_set *set, uint32_t letter)
{
	if (letter < 0x80)
		return set->ascii[letter / 32] >> letter % 32 & 1;
	for (uint32_t i = 0; i < set->range_count; i++)
		if (letter >= set->ranges[2 * i] && letter <= set->ranges[2 * i + 1])
			return true;
	if (!set->kinds)
		return false;
	if (set->kinds & (KP_SET_WORD | KP_SET_NO_WORD) &&
	    set->kinds & (kp_letter_is_word(letter) ? KP_SET_WORD : KP_SET_NO_WORD))
		return true;
	return (set->kinds & KP_SET_CAPITAL && kp_letter_fold(letter) != letter) ||
	       (set->kinds & KP_SET_SMALL && kp_letter_capital(letter) != letter);
}

static bool takes(const kp_pattern *pattern, const kp_pattern_step *step, const struct place *place)
{
	const kp_letter_set *set;
	bool holds;

	if (step->kind == KP_STEP_LETTER)
		return step->value == (pattern->ignores_case ? place->folded : place->after);
	if (step->kind == KP_STEP_ANY)
		return true;
	set = &pattern->sets[step->value];
	holds = set_holds(set, place->after);
	if (pattern->ignores_case && !holds)
		holds = set_holds(set, place->folded) || set_holds(set, place->capital);
	return holds != set->negated;
}

/* Add `start` and what can be reached from it without a letter to the states before the next one;
   true: the match is among them. */
static bool reach(struct search *search, uint32_t start, const struct place *place)
{
	uint32_t depth = 0;

	search->stack[depth++] = start;
	while (depth) {
		uint32_t at = search->stack[--depth];
		const kp_pattern_step *step = &search->pattern->steps[at];

		if (search->marks[at] == search->mark)
			continue;
		search->marks[at] = search->mark;
		search->steps--;
		switch (step->kind) {
		case KP_STEP_MATCH: return true;
		case KP_STEP_CHECK:
			if (check_holds(step->value, place))
				search->stack[depth++] = at + 1;
			break;
		case KP_STEP_JUMP: search->stack[depth++] = step->value; break;
		case KP_STEP_SPLIT:
			search->stack[depth++] = step->value;
			search->stack[depth++] = at + 1;
			break;
		default: search->now[search->now_count++] = at; break;
		}
	}
	return false;
}

static void look(struct place *place, const kp_pattern *pattern, const char **at, const char *end)
{
	size_t width;

	place->before = place->after;
	place->word_before = place->word_after;
	place->after = NO_LETTER;
	place->word_after = false;
	if (*at == end)
		return;
	place->after = kp_letter_read(*at, end, &width);
	*at += width;
	place->word_after = kp_letter_is_word(place->after);
	if (!pattern->ignores_case)
		return;
	place->folded = kp_letter_fold(place->after);
	if (pattern->set_count)
		place->capital = kp_letter_capital(place->folded);
}

/* The states before one letter, and those after it. True: matched. */
static bool advance(struct search *search, const struct place *place)
{
	search->mark++;
	search->now_count = 0;
	for (uint32_t i = 0; i < search->next_count; i++)
		if (reach(search, search->next[i], place))
			return true;
	if ((!search->pattern->anchored || place->before == NO_LETTER) && reach(search, 0, place))
		return true;
	search->next_count = 0;
	for (uint32_t i = 0; i < search->now_count && place->after != NO_LETTER; i++) {
		uint32_t at = search->now[i];

		if (takes(search->pattern, &search->pattern->steps[at], place))
			search->next[search->next_count++] = at + 1;
	}
	search->steps -= 1 + search->now_count;
	return false;
}

kp_found kp_pattern_search(const kp_pattern *pattern, keep_bytes text, kp_pattern_room *room)
{
	const uint32_t size = KP_PATTERN_STATES_MAX + 1;
	struct search search = {.pattern = pattern,
				.marks = room->words,
				.now = room->words + size,
				.next = room->words + 2 * size,
				.stack = room->words + 3 * size,
				.steps = room->steps};
	struct place place = {.before = NO_LETTER, .after = NO_LETTER};
	const char *at = text.data, *end = text.data + text.len;
	kp_found found = KP_FOUND_NOT;

	memset(search.marks, 0, pattern->step_count * sizeof *search.marks);
	for (;;) {
		if (search.steps <= 0) {
			found = KP_FOUND_BOUND;
			break;
		}
		look(&place, pattern, &at, end);
		if (advance(&search, &place)) {
			found = KP_FOUND;
			break;
		}
		if (place.after == NO_LETTER || (pattern->anchored && !search.next_count))
			break;
	}
	room->steps = search.steps > 0 ? search.steps : 0;
	return found;
}
