/*
 * vector_search.c - the exact nearest vectors, reading an eighth of the float32 bytes.
 *
 * Three passes over blocks of 512 slots, each with a proven upper bound of the similarity
 * (vector_codes.c) against the least similarity of the `nearest` best so far, which is exact:
 *
 *     high halves   every slot, in a stream        half a byte a value; most end here
 *     low halves    a few percent, asked for ahead the bound is now about 0.01
 *     values        a few dozen                    the similarity itself, in double
 *
 * Data on which the first bound says nothing costs the low halves too (a quarter of the float32
 * bytes in all); data on which no bound says anything, such as equal vectors, costs a plain scan
 * more.
 *
 * Invariants:
 *   1. A slot is left out only if its upper bound is below a similarity that `nearest` wanted
 *      vectors reach; an equal one is compared, so that ties fall to the smaller id.
 *   2. What a damaged file holds decides answers, never where a search reads or writes.
 *   3. A search sees one commit: it holds the view to its end.
 *
 * What it does not do: allocate by the size of the set, or write.
 *
 * Tests: tests/unit/test_vectors.c; bench/bench_vectors.c measures it.
 */
#include "search/vector_private.h"

#include <math.h>
#include <string.h>

#define BLOCK_GROUPS 32
#define BLOCK_SLOTS (BLOCK_GROUPS * KP_VECTOR_GROUP)
#define LINE 64        /* bytes of a cache line */
#define LINES_AHEAD 16 /* asked for at once; the processor's own stream does the rest */
#define LOW_AHEAD 8    /* slots */

struct candidate {
	uint64_t slot;
	int32_t dot; /* of the high halves */
	float reach; /* its similarity is not above this */
};

struct scan {
	const kp_vectors *set;
	struct kp_vector_query query;
	struct kp_vector_limits limits;
	kp_vectors_filter *wants;
	void *ctx;
	struct kp_vectors_match *best; /* a heap: the least similar first */
	size_t count, nearest;
	struct candidate block[BLOCK_SLOTS];
	size_t block_count;
};

static bool is_better(struct kp_vectors_match a, struct kp_vectors_match b)
{
	return a.similarity > b.similarity || (a.similarity == b.similarity && a.id < b.id);
}

/* ---------------------------------------------------------------- the best so far */

/* Put `match` where best[0] .. best[count - 1] is a heap again, from the empty place `at` on. */
static void sink(struct kp_vectors_match *best, size_t count, size_t at,
		 struct kp_vectors_match match)
{
	for (size_t below = 2 * at + 1; below < count; below = 2 * at + 1) {
		if (below + 1 < count && is_better(best[below], best[below + 1]))
			below++;
		if (!is_better(match, best[below]))
			break;
		best[at] = best[below];
		at = below;
	}
	best[at] = match;
}

static void offer(struct scan *scan, struct kp_vectors_match match)
{
	if (!(match.similarity >= -1 && match.similarity <= 1))
		return; /* not a number: only in a damaged file */
	if (scan->count < scan->nearest) {
		size_t at = scan->count++;

		for (; at && is_better(scan->best[(at - 1) / 2], match); at = (at - 1) / 2)
			scan->best[at] = scan->best[(at - 1) / 2];
		scan->best[at] = match;
	} else if (is_better(match, scan->best[0])) {
		sink(scan->best, scan->count, 0, match);
	}
	if (scan->count == scan->nearest)
		scan->limits.threshold = nextafterf((float)scan->best[0].similarity, -INFINITY);
}

/* Most similar first. */
static void sort_best(struct scan *scan)
{
	for (size_t count = scan->count; count > 1; count--) {
		struct kp_vectors_match last = scan->best[count - 1];

		scan->best[count - 1] = scan->best[0];
		sink(scan->best, count - 1, 0, last);
	}
}

/* ---------------------------------------------------------------- the three passes */

static void ask_for(const void *bytes, size_t size)
{
	const char *at = bytes;

	for (size_t i = 0; i < size && i < LINES_AHEAD * LINE; i += LINE)
		__builtin_prefetch(at + i);
}

/* The lanes of the block's groups that may be in the answer. */
static void scan_high(struct scan *scan, uint64_t from, uint64_t end)
{
	const kp_vectors *set = scan->set;
	int32_t dots[KP_VECTOR_GROUP];

	scan->block_count = 0;
	for (uint64_t first = from; first < end; first += KP_VECTOR_GROUP) {
		uint32_t lanes = set->kernel->high(kp_vectors_group(set, first), set->layout.rows,
						   scan->query.codes, &scan->limits, dots);

		if (end - first < KP_VECTOR_GROUP)
			lanes &= (1u << (end - first)) - 1;
		for (; lanes; lanes &= lanes - 1) {
			unsigned lane = (unsigned)__builtin_ctz(lanes);
			uint64_t slot = first + lane;

			if (!kp_vectors_is_dead(set, slot))
				scan->block[scan->block_count++] =
					(struct candidate){.slot = slot, .dot = dots[lane]};
		}
	}
}

/* Those of them that still may be with all eight bits, and are wanted. */
static void scan_low(struct scan *scan)
{
	const kp_vectors *set = scan->set;
	const struct kp_vector_limits *limits = &scan->limits;
	size_t kept = 0;

	for (size_t i = 0; i < scan->block_count; i++) {
		struct candidate candidate = scan->block[i];
		uint64_t slot = candidate.slot;
		const struct kp_vector_detail *detail = kp_vectors_detail(set, slot);
		float scale = kp_vectors_group(set, slot)->scale[slot % KP_VECTOR_GROUP];
		int64_t dot;

		if (i + LOW_AHEAD < scan->block_count) {
			uint64_t ahead = scan->block[i + LOW_AHEAD].slot;

			ask_for(kp_vectors_low(set, ahead), set->layout.low_bytes);
			ask_for(kp_vectors_detail(set, ahead), 1);
		}
		dot = set->kernel->low(kp_vectors_low(set, slot), set->layout.low_bytes,
				       scan->query.codes);
		dot += 16 * (int64_t)candidate.dot - 136 * (int64_t)limits->sum;
		candidate.reach = kp_vector_reach((float)dot * (scale * limits->scale),
						  detail->error, limits->error);
		if (!(candidate.reach >= limits->threshold) ||
		    (scan->wants && !scan->wants(scan->ctx, detail->id)))
			continue;
		ask_for(kp_vectors_values(set, slot), set->layout.values_bytes);
		scan->block[kept++] = candidate;
	}
	scan->block_count = kept;
}

static double similarity_of(double dot, double square, double query_square)
{
	double similarity = dot / sqrt(square * query_square);

	return similarity > 1 ? 1 : similarity < -1 ? -1 : similarity;
}

static void scan_values(struct scan *scan)
{
	const kp_vectors *set = scan->set;

	for (size_t i = 0; i < scan->block_count;) {
		const float *values[KP_VECTOR_AT_ONCE];
		const struct kp_vector_detail *details[KP_VECTOR_AT_ONCE];
		double dots[KP_VECTOR_AT_ONCE];
		size_t count = 0;

		for (; i < scan->block_count && count < KP_VECTOR_AT_ONCE; i++) {
			uint64_t slot = scan->block[i].slot;

			if (!(scan->block[i].reach >= scan->limits.threshold))
				continue;
			values[count] = kp_vectors_values(set, slot);
			details[count++] = kp_vectors_detail(set, slot);
		}
		for (size_t j = count; count && j < KP_VECTOR_AT_ONCE; j++)
			values[j] = values[0];
		if (count)
			set->kernel->dots(values, count, scan->query.values, set->layout.dimension,
					  dots);
		for (size_t j = 0; j < count; j++)
			offer(scan, (struct kp_vectors_match){
					    .id = details[j]->id,
					    .similarity = similarity_of(dots[j], details[j]->square,
									scan->query.square),
				    });
	}
}

/* ---------------------------------------------------------------- the search */

/* One block of memory: the scan, the query's values and its codes. */
static keep_status make_scan(const kp_vectors *set, const float *query, struct scan **out,
			     keep_error *err)
{
	const struct kp_vector_layout *layout = &set->layout;
	size_t at_codes = sizeof **out + layout->dimension * sizeof(double);
	struct scan *scan;
	double square;
	char *bytes;

	if (!kp_vector_square(query, layout->dimension, &square))
		return kp_fail(err, KEEP_INVALID,
			       "a query's vector is all zeros or has a value that is not finite");
	scan = kp_alloc(at_codes + layout->low_bytes * 2);
	if (!scan)
		return kp_fail_memory(err, "a search");
	bytes = (char *)scan;
	scan->set = set;
	scan->query.values = (double *)(void *)(bytes + sizeof *scan);
	scan->query.codes = (int8_t *)(bytes + at_codes);
	scan->query.square = square;
	kp_vector_encode_query(layout, query, &scan->query);
	scan->limits = (struct kp_vector_limits){
		.scale = scan->query.scale,
		.error = scan->query.error,
		.threshold = -INFINITY,
		.sum = scan->query.sum,
	};
	*out = scan;
	return KEEP_OK;
}

keep_status kp_vectors_search(kp_vectors *set, const float *query, size_t nearest,
			      kp_vectors_filter *wants, void *ctx, struct kp_vectors_match *out,
			      size_t *count, keep_error *err)
{
	struct scan *scan = NULL;
	keep_status status;

	*count = 0;
	if (nearest < 1 || nearest > KP_VECTORS_NEAREST_MAX)
		return kp_fail(err, KEEP_INVALID, "a search is for 1 to %d vectors",
			       KP_VECTORS_NEAREST_MAX);
	status = make_scan(set, query, &scan, err);
	if (status == KEEP_OK)
		status = kp_vectors_hold(set, err);
	if (status != KEEP_OK) {
		kp_free(scan);
		return status;
	}
	scan->wants = wants;
	scan->ctx = ctx;
	scan->best = out;
	scan->count = 0;
	scan->nearest = nearest;
	for (uint64_t from = 0; from < set->view.count; from += BLOCK_SLOTS) {
		uint64_t end = from + BLOCK_SLOTS;

		scan_high(scan, from, end < set->view.count ? end : set->view.count);
		scan_low(scan);
		scan_values(scan);
	}
	kp_vectors_let_go(set);
	sort_best(scan);
	*count = scan->count;
	kp_free(scan);
	return KEEP_OK;
}
