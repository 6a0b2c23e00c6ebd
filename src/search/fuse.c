/*
 * fuse.c - several ranked lists as one.
 *
 * Invariants:
 *   1. Only ranks count, never scores: full text and nearest neighbours have no common scale.
 *   2. The answer depends on the lists alone: sums are made in the order of the lists, and equal
 *      ones are in the order of ids, larger first.
 *
 * Tests: tests/unit/test_fuse.c.
 */
#include "search/search.h"

#include <math.h>
#include <stdlib.h>

typedef struct list_entry {
	int64_t id;
	uint32_t list, rank;
} list_entry;

static int compare_entries(const void *left, const void *right)
{
	const list_entry *a = left, *b = right;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	if (a->list != b->list)
		return a->list < b->list ? -1 : 1;
	return (a->rank > b->rank) - (a->rank < b->rank);
}

static int compare_fused(const void *left, const void *right)
{
	const kp_ranked *a = left, *b = right;

	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	return (a->id < b->id) - (a->id > b->id);
}

static keep_status check_lists(const kp_ranked_ids *lists, size_t list_count, size_t *total,
			       keep_error *err)
{
	*total = 0;
	if (list_count > KP_FUSE_LISTS_MAX)
		return kp_fail(err, KEEP_INVALID, "%zu ranked lists, the limit is %d", list_count,
			       KP_FUSE_LISTS_MAX);
	for (size_t i = 0; i < list_count; i++) {
		if (!isfinite(lists[i].weight) || lists[i].weight < 0)
			return kp_fail(err, KEEP_INVALID,
				       "the weight of ranked list %zu is no positive number", i);
		if (lists[i].count > KP_FUSE_IDS_MAX - *total)
			return kp_fail(err, KEEP_INVALID, "the ranked lists have more than %d ids",
				       KP_FUSE_IDS_MAX);
		*total += lists[i].count;
	}
	return KEEP_OK;
}

/* One answer for each id, in the order of ids; returns how many. */
static size_t add_up(const kp_ranked_ids *lists, const list_entry *entries, size_t total,
		     kp_ranked *fused)
{
	size_t count = 0;

	for (size_t i = 0; i < total; i++) {
		const list_entry *entry = &entries[i];
		double weight = lists[entry->list].weight;

		if (!i || entries[i - 1].id != entry->id)
			fused[count++] = (kp_ranked){.id = entry->id};
		else if (entries[i - 1].list == entry->list)
			continue;
		fused[count - 1].score += (weight > 0 ? weight : 1) / (KP_FUSE_K + entry->rank);
	}
	return count;
}

keep_status kp_rank_fuse(const kp_ranked_ids *lists, size_t list_count, size_t limit,
			 kp_ranked *out, size_t *count, keep_error *err)
{
	list_entry *entries = NULL;
	kp_ranked *fused = NULL;
	size_t total, at = 0;
	keep_status status = check_lists(lists, list_count, &total, err);

	*count = 0;
	if (status != KEEP_OK || !total)
		return status;
	entries = kp_alloc(total * sizeof *entries);
	fused = kp_alloc(total * sizeof *fused);
	if (!entries || !fused) {
		status = kp_fail_memory(err, "the fusion of ranked lists");
		goto out;
	}
	for (size_t i = 0; i < list_count; i++) {
		for (size_t j = 0; j < lists[i].count; j++)
			entries[at++] = (list_entry){.id = lists[i].ids[j],
						     .list = (uint32_t)i,
						     .rank = (uint32_t)j + 1};
	}
	qsort(entries, total, sizeof *entries, compare_entries);
	total = add_up(lists, entries, total, fused);
	qsort(fused, total, sizeof *fused, compare_fused);
	*count = total < limit ? total : limit;
	for (size_t i = 0; i < *count; i++)
		out[i] = fused[i];
out:
	kp_free(entries);
	kp_free(fused);
	return status;
}
