/*
 * engine_list.c - rows on their way from a backend into a caller's list.
 *
 * A backend hands over each row as it reads it; nothing is copied twice, and no backend allocates
 * for the caller.
 *
 * Invariants:
 *   1. A list owns all its bytes, and one call frees them.
 *   2. A sink holds at most KEEP_ENGINE_LIST_MAX rows.
 *   3. An empty list owns nothing.
 */
#include "engine/backend.h"

#define ITEMS_FIRST 64

/* What a list's `owned` points to; it lives in the arena that it owns. */
typedef struct list_owner {
	kp_arena arena;
	keep_engine_item *items;
} list_owner;

static keep_status make_room(keep_engine_sink *sink, keep_error *err)
{
	size_t capacity = sink->capacity ? sink->capacity * 2 : ITEMS_FIRST;
	keep_engine_item *items;

	if (sink->count < sink->capacity)
		return KEEP_OK;
	if (sink->count >= (size_t)KEEP_ENGINE_LIST_MAX)
		return kp_fail(err, KEEP_FULL, "a list of more than %lld rows",
			       (long long)KEEP_ENGINE_LIST_MAX);
	items = kp_realloc(sink->items, capacity * sizeof *items);
	if (!items)
		return kp_fail_memory(err, "the rows of a list");
	sink->items = items;
	sink->capacity = capacity;
	return KEEP_OK;
}

keep_status kp_sink_add(keep_engine_sink *sink, keep_bytes name, keep_bytes value, keep_error *err)
{
	keep_engine_item item = {.name = {NULL, 0}};
	keep_status status = make_room(sink, err);

	if (status == KEEP_OK && sink->names_wanted)
		status = kp_arena_copy(&sink->arena, name, &item.name, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(&sink->arena, value, &item.value, err);
	if (status == KEEP_OK)
		sink->items[sink->count++] = item;
	return status;
}

keep_status keep_engine_sink_add(keep_engine_sink *sink, keep_bytes value, keep_error *err)
{
	if (!sink || !value.data)
		return kp_fail(err, KEEP_MISUSE,
			       "keep_engine_sink_add: sink and value must not be absent");
	return kp_sink_add(sink, KEEP_BYTES(""), value, err);
}

keep_status kp_engine_sink_finish(keep_engine_sink *sink, keep_engine_list *list, keep_error *err)
{
	list_owner *owner;

	*list = (keep_engine_list)KEEP_ENGINE_LIST_INIT;
	if (sink->count == 0)
		return KEEP_OK;
	owner = kp_arena_alloc(&sink->arena, sizeof *owner);
	if (!owner)
		return kp_fail_memory(err, "a list");
	*owner = (list_owner){.arena = sink->arena, .items = sink->items};
	*list = (keep_engine_list){.count = sink->count, .items = sink->items, .owned = owner};
	*sink = (keep_engine_sink){.names_wanted = sink->names_wanted};
	return KEEP_OK;
}

void kp_sink_release(keep_engine_sink *sink)
{
	kp_arena_release(&sink->arena);
	kp_free(sink->items);
	*sink = (keep_engine_sink){.names_wanted = sink->names_wanted};
}

void keep_engine_list_release(keep_engine_list *list)
{
	list_owner owner = {.items = NULL};

	if (!list)
		return;
	if (list->owned)
		owner = *(list_owner *)list->owned;
	kp_free(owner.items);
	kp_arena_release(&owner.arena);
	*list = (keep_engine_list)KEEP_ENGINE_LIST_INIT;
}
