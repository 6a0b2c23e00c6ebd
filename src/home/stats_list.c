/*
 * stats_list.c - the list of a home's numbers: added to, merged, given back.
 *
 * Invariants:
 *   1. Texts live in the result's memory, so that nothing that was read is borrowed.
 *
 * Tests: tests/contract/test_home_check.c.
 */
#include "home/stats_list.h"

enum { ROOM_FIRST = 64 };

void keep_stats_result_release(keep_stats_result *result)
{
	if (!result)
		return;
	kp_free(result->items);
	keep_memory_release(&result->memory);
	*result = (keep_stats_result){.items = NULL};
}

keep_status kp_stats_add(kp_stats *stats, keep_bytes name, keep_bytes part, int64_t value,
			 bool is_time, keep_error *err)
{
	keep_stat stat = {.value = value, .is_time = is_time};
	keep_status status;

	if (stats->list.count == stats->room) {
		size_t room = stats->room ? 2 * stats->room : ROOM_FIRST;
		keep_stat *grown = kp_realloc(stats->list.items, room * sizeof *grown);

		if (!grown)
			return kp_fail_memory(err, "numbers of a home");
		stats->list.items = grown;
		stats->room = room;
	}
	status = kp_arena_copy(&stats->list.memory, keep_bytes_of(stats->store), &stat.store, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(&stats->list.memory, name, &stat.name, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(&stats->list.memory, part, &stat.part, err);
	if (status == KEEP_OK)
		stats->list.items[stats->list.count++] = stat;
	return status;
}

keep_status kp_stats_name_parts(kp_stats *stats, size_t first, keep_bytes part, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	for (size_t i = first; i < stats->list.count && status == KEEP_OK; i++) {
		keep_bytes before = stats->list.items[i].part;

		text.len = 0;
		status = kp_buffer_append(&text, part, err);
		if (status == KEEP_OK && before.data)
			status = kp_buffer_append_text(&text, " ", err);
		if (status == KEEP_OK && before.data)
			status = kp_buffer_append(&text, before, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&stats->list.memory, kp_buffer_bytes(&text),
					       &stats->list.items[i].part, err);
	}
	keep_buffer_release(&text);
	return status;
}

static keep_stat *find_same(kp_stats *stats, size_t first, size_t end, const keep_stat *stat)
{
	for (size_t i = first; i < end; i++)
		if (kp_bytes_equal(stats->list.items[i].name, stat->name) &&
		    kp_bytes_equal(stats->list.items[i].part, stat->part))
			return &stats->list.items[i];
	return NULL;
}

void kp_stats_merge(kp_stats *stats, size_t first, size_t from)
{
	size_t end = from;

	for (size_t i = from; i < stats->list.count; i++) {
		const keep_stat stat = stats->list.items[i];
		keep_stat *same = find_same(stats, first, end, &stat);

		if (!same)
			stats->list.items[end++] = stat;
		else if (!stat.is_time)
			same->value += stat.value;
		else if (stat.value < same->value)
			same->value = stat.value;
	}
	stats->list.count = end;
}
