/*
 * operations.c - the list of stores, and how an operation is found by its name.
 *
 * The list is constant; adding a store is one line here and one file that describes it.
 *
 * What it does not do: check inputs (operations_input.c) or run anything (session.c).
 *
 * Tests: tests/unit/test_operations.c.
 */
#include "operations/operations_table.h"

#include <string.h>

static const kp_operation_store *const stores[] = {
	&kp_engine_operations,
};

_Static_assert(KP_COUNT(stores) <= KP_STORES_MAX, "a session has room for KP_STORES_MAX stores");

size_t kp_store_count(void)
{
	return KP_COUNT(stores);
}

const kp_operation_store *kp_store_at(size_t index)
{
	return index < KP_COUNT(stores) ? stores[index] : NULL;
}

const kp_operation_store *kp_store_find(keep_bytes name)
{
	for (size_t i = 0; i < KP_COUNT(stores); i++)
		if (kp_bytes_equal(keep_bytes_of(stores[i]->name), name))
			return stores[i];
	return NULL;
}

const kp_operation *kp_operation_find(const kp_operation_store *store, keep_bytes verb)
{
	for (size_t i = 0; i < store->operation_count; i++)
		if (kp_bytes_equal(keep_bytes_of(store->operations[i].verb), verb))
			return &store->operations[i];
	return NULL;
}

const kp_operation_store *kp_store_of_place(const char *url)
{
	for (size_t i = 0; i < KP_COUNT(stores); i++)
		if (stores[i]->is_place(url))
			return stores[i];
	return NULL;
}

keep_status kp_operation_parse(keep_bytes name, const kp_operation_store **store,
			       const kp_operation **operation, keep_error *err)
{
	const char *dot = name.len ? memchr(name.data, '.', name.len) : NULL;
	size_t len = dot ? (size_t)(dot - name.data) : name.len;

	*store = kp_store_find((keep_bytes){name.data, len});
	*operation = *store && dot ? kp_operation_find(*store, (keep_bytes){name.data + len + 1,
									    name.len - len - 1})
				   : NULL;
	if (*operation)
		return KEEP_OK;
	if (*store && dot)
		return kp_fail(err, KEEP_INVALID, "call: '%" KP_PRI "' is no operation of %s",
			       KP_ARG(name), (*store)->name);
	return kp_fail(err, KEEP_INVALID, "call: '%" KP_PRI "' is no <store>.<verb>", KP_ARG(name));
}
