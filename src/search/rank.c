/*
 * rank.c - BM25 of candidates, and the best of them.
 *
 *   score = sum over the query's wanted terms of
 *           idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * tokens / tokens_mean))
 *   idf   = log((documents - documents_of + 0.5) / (documents_of + 0.5)), at least 1e-6
 *   tf    = hits in the content + title_weight * hits in the title
 *
 * as FTS5 computes it, with its k1 = 1.2 and b = 0.75 (Robertson and Zaragoza 2009, "The
 * Probabilistic Relevance Framework", and SQLite's fts5_aux.c); larger is better here.
 *
 * Invariants:
 *   1. A candidate is in only when the query matches it (match.c), whatever a backend said.
 *   2. The order is total: score, then id. So the same candidates give the same list, in whatever
 *      order they are offered.
 *   3. Memory is the heap of `limit` entries and the tokens of one candidate.
 *
 * What it does not do: find candidates, or count documents.
 *
 * Tests: tests/unit/test_text_rank.c.
 */
#include "search/text_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define K1 1.2
#define B 0.75
#define IDF_MIN 1e-6
#define TOKENS_MEAN 64.0

struct kp_text_ranker {
	const kp_text_query *query;
	double idf[KP_QUERY_TERMS_MAX];
	double tokens_mean, title_weight;
	kp_token_list title, content; /* of the candidate at hand */
	uint64_t matched;
	size_t limit, count;
	kp_ranked *heap;   /* the worst first, while candidates are offered */
	kp_ranked *sorted; /* the same, as the list shows it */
};

/* ---------------------------------------------------------------- the best ones */

static int compare_ranked(const void *left, const void *right)
{
	const kp_ranked *a = left, *b = right;

	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	return (a->id < b->id) - (a->id > b->id);
}

static bool is_worse(const kp_ranked *a, const kp_ranked *b)
{
	return compare_ranked(a, b) > 0;
}

static void sift_up(kp_ranked *heap, size_t at)
{
	kp_ranked entry = heap[at];

	while (at > 0 && is_worse(&entry, &heap[(at - 1) / 2])) {
		heap[at] = heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	heap[at] = entry;
}

static void sift_down(kp_ranked *heap, size_t count)
{
	kp_ranked entry = heap[0];
	size_t at = 0, child;

	while ((child = 2 * at + 1) < count) {
		if (child + 1 < count && is_worse(&heap[child + 1], &heap[child]))
			child++;
		if (!is_worse(&heap[child], &entry))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = entry;
}

static void keep_best(kp_text_ranker *ranker, kp_ranked entry)
{
	if (ranker->count < ranker->limit) {
		ranker->heap[ranker->count] = entry;
		sift_up(ranker->heap, ranker->count++);
	} else if (is_worse(&ranker->heap[0], &entry)) {
		ranker->heap[0] = entry;
		sift_down(ranker->heap, ranker->count);
	}
}

/* ---------------------------------------------------------------- the ranker */

static double at_least(double value, double floor, double fallback)
{
	return isfinite(value) && value > 0 ? (value > floor ? value : floor) : fallback;
}

static void set_statistics(kp_text_ranker *ranker, const kp_text_statistics *statistics)
{
	double documents = at_least(statistics->documents, 1, 1);

	ranker->tokens_mean = at_least(statistics->tokens_mean, 1, TOKENS_MEAN);
	ranker->title_weight = at_least(statistics->title_weight, 0, 1);
	for (size_t i = 0; i < ranker->query->term_count; i++) {
		double of = at_least(statistics->documents_of[i], 0, 1);
		double idf =
			log((documents - fmin(of, documents) + 0.5) / (fmin(of, documents) + 0.5));

		ranker->idf[i] = idf > IDF_MIN ? idf : IDF_MIN;
	}
}

keep_status kp_text_ranker_open(const kp_text_query *query, const kp_text_statistics *statistics,
				size_t limit, kp_text_ranker **out, keep_error *err)
{
	kp_text_ranker *ranker;

	*out = NULL;
	if (limit < 1 || limit > KP_RANK_LIMIT_MAX)
		return kp_fail(err, KEEP_INVALID, "the limit %zu is not from 1 to %d", limit,
			       KP_RANK_LIMIT_MAX);
	ranker = kp_alloc_zero(sizeof *ranker);
	if (!ranker)
		return kp_fail_memory(err, "a ranker");
	ranker->query = query;
	ranker->limit = limit;
	ranker->heap = kp_alloc(limit * sizeof *ranker->heap);
	ranker->sorted = kp_alloc(limit * sizeof *ranker->sorted);
	if (!ranker->heap || !ranker->sorted) {
		kp_text_ranker_close(&ranker);
		return kp_fail_memory(err, "a ranker");
	}
	set_statistics(ranker, statistics);
	*out = ranker;
	return KEEP_OK;
}

void kp_text_ranker_close(kp_text_ranker **ranker)
{
	if (!ranker || !*ranker)
		return;
	kp_token_list_release(&(*ranker)->title);
	kp_token_list_release(&(*ranker)->content);
	kp_free((*ranker)->heap);
	kp_free((*ranker)->sorted);
	kp_free(*ranker);
	*ranker = NULL;
}

static double saturated(const kp_text_ranker *ranker, double hits)
{
	double tokens = (double)(ranker->title.count + ranker->content.count);

	return hits * (K1 + 1) / (hits + K1 * (1 - B + B * tokens / ranker->tokens_mean));
}

/* False: the query does not match. */
static bool score_candidate(const kp_text_ranker *ranker, double *score)
{
	const kp_text_query *query = ranker->query;
	bool has[KP_QUERY_TERMS_MAX] = {false};
	size_t at;

	*score = 0;
	for (size_t i = 0; i < query->term_count; i++) {
		const kp_query_term *term = &query->terms[i];
		size_t in_title, in_content;

		if (!term->is_wanted) {
			has[i] = kp_term_next(query, term, &ranker->title, 0, &at) ||
				 kp_term_next(query, term, &ranker->content, 0, &at);
			continue;
		}
		in_title = kp_term_hits(query, term, &ranker->title);
		in_content = kp_term_hits(query, term, &ranker->content);
		has[i] = in_title || in_content;
		if (has[i])
			*score += ranker->idf[i] *
				  saturated(ranker, (double)in_content + ranker->title_weight *
										 (double)in_title);
	}
	return kp_query_holds(query, has);
}

keep_status kp_text_ranker_offer(kp_text_ranker *ranker, const kp_text_candidate *candidate,
				 bool *matches, keep_error *err)
{
	kp_ranked entry = {.id = candidate->id};
	keep_status status = kp_text_tokens(candidate->title, &ranker->title, err);
	bool is_match;

	if (status == KEEP_OK)
		status = kp_text_tokens(candidate->content, &ranker->content, err);
	if (status != KEEP_OK)
		return status;
	is_match = score_candidate(ranker, &entry.score);
	if (is_match) {
		ranker->matched++;
		keep_best(ranker, entry);
	}
	if (matches)
		*matches = is_match;
	return KEEP_OK;
}

uint64_t kp_text_ranker_matched(const kp_text_ranker *ranker)
{
	return ranker->matched;
}

void kp_text_ranker_list(kp_text_ranker *ranker, const kp_ranked **out, size_t *count)
{
	if (ranker->count)
		memcpy(ranker->sorted, ranker->heap, ranker->count * sizeof *ranker->sorted);
	qsort(ranker->sorted, ranker->count, sizeof *ranker->sorted, compare_ranked);
	*out = ranker->sorted;
	*count = ranker->count;
}
