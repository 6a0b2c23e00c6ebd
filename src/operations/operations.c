/*
 * operations.c - the list of stores, and how an operation is found by its name.
 *
 * The list is constant; adding a store is one line here and the files that describe it.
 *
 * What it does not do: check inputs (operations_input.c) or run anything (session.c).
 *
 * Tests: tests/unit/test_operations.c.
 */
#include "operations/operations_table.h"

#include <string.h>

static const kp_operation_store *const stores[] = {
	&kp_engine_operations,
	&kp_gateway_operations,
	&kp_mailbox_operations,
	&kp_assistant_operations,
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

const kp_operation *kp_operation_at(const kp_operation_store *store, size_t index)
{
	for (size_t i = 0; i < store->group_count; i++) {
		if (index < store->groups[i]->count)
			return &store->groups[i]->operations[index];
		index -= store->groups[i]->count;
	}
	return NULL;
}

const kp_operation *kp_operation_find(const kp_operation_store *store, keep_bytes verb)
{
	const kp_operation *operation;

	for (size_t i = 0; (operation = kp_operation_at(store, i)); i++)
		if (kp_bytes_equal(keep_bytes_of(operation->verb), verb))
			return operation;
	return NULL;
}

static const kp_operation *find_alias(const kp_operation_store *store, keep_bytes alias)
{
	const kp_operation *operation;

	for (size_t i = 0; (operation = kp_operation_at(store, i)); i++)
		if (operation->alias && kp_bytes_equal(keep_bytes_of(operation->alias), alias))
			return operation;
	return NULL;
}

bool kp_operation_waits(const kp_operation *operation, const kp_json *with)
{
	const kp_json *given =
		operation->waits_with ? kp_json_member(with, operation->waits_with) : NULL;

	/* What is no number is refused by who reads it, wherever that is. */
	return operation->waits || (given && given->kind != KP_JSON_NULL &&
				    (given->kind != KP_JSON_INTEGER || given->integer != 0));
}

const kp_record *kp_store_record_at(const kp_operation_store *store, size_t index)
{
	for (size_t i = 0; i < store->record_set_count; i++) {
		if (index < store->record_sets[i].count)
			return store->record_sets[i].records[index];
		index -= store->record_sets[i].count;
	}
	return NULL;
}

const char *const *kp_record_texts(const kp_operation_store *store, const kp_record *record)
{
	for (size_t i = 0; i < store->record_set_count; i++)
		for (size_t k = 0; k < store->record_sets[i].count; k++)
			if (store->record_sets[i].records[k] == record)
				return store->record_sets[i].texts[k];
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
	*operation = NULL;
	if (*store && dot) {
		keep_bytes verb = {name.data + len + 1, name.len - len - 1};

		*operation = kp_operation_find(*store, verb);
		if (!*operation)
			*operation = find_alias(*store, verb);
	}
	if (*operation)
		return KEEP_OK;
	if (*store && dot)
		return kp_fail(err, KEEP_INVALID, "call: '%" KP_PRI "' is no operation of %s",
			       KP_ARG(name), (*store)->name);
	return kp_fail(err, KEEP_INVALID, "call: '%" KP_PRI "' is no <store>.<verb>", KP_ARG(name));
}
