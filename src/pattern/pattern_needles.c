/*
 * pattern_needles.c - which of many short texts a long one contains, in one pass over it.
 *
 * An automaton of Aho and Corasick (1975). States are made from the sorted needles; the children of
 * a state are a list, but those of the root a table, because most letters fall back to it.
 *
 * Invariants:
 *   1. A scan makes at most two moves a byte, each of at most 256 looks at children.
 *   2. Each needle is told once: a chain of endings is followed to the first that was seen, behind
 *      which all were seen too. So endings cost what is told, however often they occur.
 *   3. Needles are at most KP_NEEDLE_BYTES_MAX bytes; who wants a longer text cuts it and looks
 *      itself. So the states are at most 64 times the needles.
 *
 * Tests: tests/unit/test_route_match.c.
 */
#include "pattern/pattern.h"

#include <stdlib.h>
#include <string.h>

#define NOTHING UINT32_MAX

struct state {
	uint32_t child, sibling; /* NOTHING: none */
	uint32_t fall;           /* the longest proper ending that is a state */
	uint32_t ending;         /* the longest proper ending that is a needle; NOTHING */
	uint32_t needle;         /* that ends here; NOTHING */
	unsigned char byte;
};

struct kp_needles {
	struct state *states;
	uint32_t count;
	uint32_t root[256]; /* 0: none */
};

static int compare_needles(const void *a, const void *b)
{
	return kp_bytes_compare((*(kp_needle *const *)a)->text, (*(kp_needle *const *)b)->text);
}

static uint32_t add_state(struct kp_needles *self, uint32_t parent, unsigned char byte)
{
	struct state *state = &self->states[self->count];

	*state = (struct state){.child = NOTHING,
				.sibling = self->states[parent].child,
				.ending = NOTHING,
				.needle = NOTHING,
				.byte = byte};
	self->states[parent].child = self->count;
	if (!parent)
		self->root[byte] = self->count;
	return self->count++;
}

static size_t shared_bytes(keep_bytes a, keep_bytes b)
{
	size_t len = 0;

	while (len < a.len && len < b.len && a.data[len] == b.data[len])
		len++;
	return len;
}

static uint32_t find_child(const struct kp_needles *self, uint32_t at, unsigned char byte)
{
	uint32_t child;

	if (!at)
		return self->root[byte];
	child = self->states[at].child;
	while (child != NOTHING && self->states[child].byte != byte)
		child = self->states[child].sibling;
	return child == NOTHING ? 0 : child;
}

static uint32_t move(const struct kp_needles *self, uint32_t at, unsigned char byte)
{
	uint32_t child;

	while (!(child = find_child(self, at, byte)) && at)
		at = self->states[at].fall;
	return child;
}

/* States by their depth: a fall is to a shallower one, which is complete by then. */
static void link_falls(struct kp_needles *self, uint32_t *queue)
{
	size_t head = 0, tail = 0;

	queue[tail++] = 0;
	while (head < tail) {
		uint32_t at = queue[head++];

		for (uint32_t child = self->states[at].child; child != NOTHING;
		     child = self->states[child].sibling) {
			struct state *state = &self->states[child];
			const struct state *fall;

			state->fall = at ? move(self, self->states[at].fall, state->byte) : 0;
			fall = &self->states[state->fall];
			state->ending = fall->needle != NOTHING ? state->fall : fall->ending;
			queue[tail++] = child;
		}
	}
}

/* The states of all needles, which are sorted; the path of the last one is at hand. */
static size_t add_needles(struct kp_needles *self, kp_needle **sorted, size_t count)
{
	uint32_t path[KP_NEEDLE_BYTES_MAX + 1] = {0};
	size_t different = 0;

	for (size_t i = 0; i < count; i++) {
		keep_bytes text = sorted[i]->text;
		size_t depth = i ? shared_bytes(sorted[i - 1]->text, text) : 0;

		for (; depth < text.len; depth++)
			path[depth + 1] =
				add_state(self, path[depth], (unsigned char)text.data[depth]);
		if (self->states[path[text.len]].needle == NOTHING)
			self->states[path[text.len]].needle = (uint32_t)different++;
		sorted[i]->number = self->states[path[text.len]].needle;
	}
	return different;
}

keep_status kp_needles_make(kp_needle *needles, size_t count, kp_arena *arena, kp_needles **out,
			    size_t *different, keep_error *err)
{
	struct kp_needles *self = NULL;
	kp_needle **sorted = NULL;
	uint32_t *queue = NULL;
	size_t states = 1;
	keep_status status = KEEP_OK;

	*out = NULL;
	*different = 0;
	if (!count)
		return KEEP_OK;
	sorted = kp_alloc(count * sizeof *sorted);
	self = kp_arena_alloc(arena, sizeof *self);
	if (!sorted || !self) {
		status = kp_fail_memory(err, "routes");
		goto out;
	}
	for (size_t i = 0; i < count; i++)
		sorted[i] = &needles[i];
	qsort(sorted, count, sizeof *sorted, compare_needles);
	for (size_t i = 0; i < count; i++)
		states += sorted[i]->text.len -
			  (i ? shared_bytes(sorted[i - 1]->text, sorted[i]->text) : 0);
	*self = (struct kp_needles){.count = 1};
	self->states = kp_arena_alloc(arena, states * sizeof *self->states);
	queue = kp_alloc(states * sizeof *queue);
	if (!self->states || !queue) {
		status = kp_fail_memory(err, "routes");
		goto out;
	}
	self->states[0] = (struct state){
		.child = NOTHING, .sibling = NOTHING, .ending = NOTHING, .needle = NOTHING};
	*different = add_needles(self, sorted, count);
	link_falls(self, queue);
	*out = self;
out:
	kp_free(sorted);
	kp_free(queue);
	return status;
}

void kp_needles_scan(const kp_needles *needles, keep_bytes text, uint8_t *seen,
		     void (*tell)(void *ctx, uint32_t number), void *ctx)
{
	uint32_t at = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint32_t ending;

		at = move(needles, at, (unsigned char)text.data[i]);
		ending = needles->states[at].needle != NOTHING ? at : needles->states[at].ending;
		while (ending != NOTHING) {
			const struct state *state = &needles->states[ending];

			if (seen[state->needle])
				break;
			seen[state->needle] = 1;
			tell(ctx, state->needle);
			ending = state->ending;
		}
	}
}
