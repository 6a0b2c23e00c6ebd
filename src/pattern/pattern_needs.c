/*
 * pattern_needs.c - texts that another one must contain for a pattern to match.
 *
 * Of many patterns most do not match most texts. What is written in them letter for letter is
 * sought for all of them at once (pattern_needles.c); only a pattern whose texts are all there is
 * run.
 *
 * Invariants:
 *   1. What a pattern needs is in the fold of every text that it matches: of each group one text.
 *   2. A group or a text too many is left out where that asks for less, never for more.
 *
 * Tests: tests/unit/test_route_pattern.c, tests/unit/test_route_match.c, fuzz/fuzz_route.c.
 */
#include "pattern/pattern_private.h"

struct run {
	char text[KP_NEEDLE_BYTES_MAX];
	size_t len;
};

static size_t shortest(const kp_pattern_needs *needs, size_t group)
{
	size_t found = SIZE_MAX;

	for (size_t i = 0; i < needs->groups[group].count; i++)
		if (needs->groups[group].texts[i].len < found)
			found = needs->groups[group].texts[i].len;
	return found;
}

/* One more group; when there is no room, the one that says least goes. */
static void add_group(kp_pattern_needs *needs, const kp_pattern_needs *from, size_t group)
{
	size_t weakest = 0;

	if (needs->count < KP_NEED_GROUPS_MAX) {
		needs->groups[needs->count++] = from->groups[group];
		return;
	}
	for (size_t i = 1; i < KP_NEED_GROUPS_MAX; i++)
		if (shortest(needs, i) < shortest(needs, weakest))
			weakest = i;
	if (shortest(from, group) > shortest(needs, weakest))
		needs->groups[weakest] = from->groups[group];
}

static keep_status end_run(struct run *run, kp_arena *arena, kp_pattern_needs *needs,
			   keep_error *err)
{
	kp_pattern_needs own = {.count = 1};
	keep_status status;

	if (!run->len)
		return KEEP_OK;
	own.groups[0].count = 1;
	status = kp_letters_fold((keep_bytes){run->text, run->len}, arena, &own.groups[0].texts[0],
				 err);
	if (status == KEEP_OK)
		add_group(needs, &own, 0);
	run->len = 0;
	return status;
}

static keep_status find_chain_needs(const struct kp_pattern_reader *reader, int chain,
				    kp_arena *arena, kp_pattern_needs *needs, keep_error *err)
{
	struct run run = {.len = 0};
	keep_status status = KEEP_OK;

	for (int child = reader->nodes[chain].child; child >= 0 && status == KEEP_OK;
	     child = reader->nodes[child].next) {
		const struct kp_pattern_node *node = &reader->nodes[child];

		if (node->kind == NODE_CHECK)
			continue;
		if (node->kind != NODE_LETTER) {
			status = end_run(&run, arena, needs, err);
			if (status == KEEP_OK)
				status = kp_pattern_find_needs(reader, child, arena, needs, err);
			continue;
		}
		if (run.len + 4 > sizeof run.text)
			status = end_run(&run, arena, needs, err);
		run.len += kp_letter_write(node->value, run.text + run.len);
	}
	return status == KEEP_OK ? end_run(&run, arena, needs, err) : status;
}

/* One of several: the best group of each, together. */
static keep_status find_choice_needs(const struct kp_pattern_reader *reader, int choice,
				     kp_arena *arena, kp_pattern_needs *needs, keep_error *err)
{
	kp_pattern_needs all = {.count = 1};

	for (int branch = reader->nodes[choice].child; branch >= 0;
	     branch = reader->nodes[branch].next) {
		kp_pattern_needs own = {.count = 0};
		size_t best = 0;
		keep_status status = find_chain_needs(reader, branch, arena, &own, err);

		if (status != KEEP_OK)
			return status;
		if (branch == reader->nodes[choice].child && reader->nodes[branch].next < 0) {
			for (size_t i = 0; i < own.count; i++)
				add_group(needs, &own, i);
			return KEEP_OK;
		}
		if (!own.count)
			return KEEP_OK;
		for (size_t i = 1; i < own.count; i++)
			if (shortest(&own, i) > shortest(&own, best))
				best = i;
		if (all.groups[0].count + own.groups[best].count > KP_NEED_TEXTS_MAX)
			return KEEP_OK;
		for (size_t i = 0; i < own.groups[best].count; i++)
			all.groups[0].texts[all.groups[0].count++] = own.groups[best].texts[i];
	}
	add_group(needs, &all, 0);
	return KEEP_OK;
}

keep_status kp_pattern_find_needs(const struct kp_pattern_reader *reader, int index,
				  kp_arena *arena, kp_pattern_needs *needs, keep_error *err)
{
	const struct kp_pattern_node *node = &reader->nodes[index];
	struct run run = {.len = 0};

	switch (node->kind) {
	case NODE_LETTER:
		run.len = kp_letter_write(node->value, run.text);
		return end_run(&run, arena, needs, err);
	case NODE_CHAIN: return find_chain_needs(reader, index, arena, needs, err);
	case NODE_CHOICE: return find_choice_needs(reader, index, arena, needs, err);
	case NODE_REPEAT:
		return node->min ? kp_pattern_find_needs(reader, node->child, arena, needs, err)
				 : KEEP_OK;
	default: return KEEP_OK;
	}
}
