/*
 * assistant.c - an assistant's store: opening it, and what it keeps about itself.
 *
 * Invariants:
 *   1. Every change is one transaction of kp_database_write. Where a database has many writers at
 *      once (no KP_SQL_ONE_WRITER), each transaction first takes the row of assistant_turns: so the
 *      writers of all processes follow each other, nothing deadlocks, and a number that a
 *      transaction gives out (seq of a message, of an audit entry) is committed before the next one
 *      gives out its own (docs/decisions/0002 argues it for the engine).
 *   2. A store is not open before its keys were compared with what it was encrypted with.
 *
 * What it does not do: know any table but assistant_values and assistant_turns; each topic has its
 * own file.
 *
 * Tests: tests/contract/test_assistant_*.c, tests/torture/test_assistant_*.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>

enum { DEFAULT_TIMEOUT_MS = 5000 };
#define MMAP_BYTES (INT64_C(1) << 36)
#define CACHE_BYTES (INT64_C(64) << 20)

static const char *const topics[] = {[KP_TOPIC_DUE] = "due", [KP_TOPIC_TASK] = "task", NULL};

/* ---------------------------------------------------------------- values */

static keep_status get_text(kp_lease *lease, size_t statement, const char *name, kp_arena *arena,
			    keep_bytes *value, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_bytes stored;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, statement, KP_VALUES(kp_text_value(keep_bytes_of(name))), &stmt, err);

	*value = (keep_bytes){NULL, 0};
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &stored, err);
	if (status == KEEP_OK && has_row)
		status = kp_arena_copy(arena, stored, value, err);
	kp_sql_reset(stmt);
	return status;
}

keep_status kp_assistant_get_value(kp_lease *lease, const char *name, kp_arena *arena,
				   keep_bytes *value, keep_error *err)
{
	return get_text(lease, KP_ASSISTANT_GET_VALUE, name, arena, value, err);
}

keep_status kp_assistant_put_value(kp_lease *lease, const char *name, keep_bytes value,
				   keep_error *err)
{
	return kp_lease_run(lease, KP_ASSISTANT_PUT_VALUE,
			    KP_VALUES(kp_text_value(keep_bytes_of(name)), kp_text_value(value)),
			    NULL, err);
}

keep_status kp_derived_get_mark(kp_lease *lease, const char *name, kp_arena *arena,
				keep_bytes *value, keep_error *err)
{
	return get_text(lease, KP_ASSISTANT_GET_MARK, name, arena, value, err);
}

keep_status kp_derived_put_mark(kp_lease *lease, const char *name, keep_bytes value,
				keep_error *err)
{
	return kp_lease_run(lease, KP_ASSISTANT_PUT_MARK,
			    KP_VALUES(kp_text_value(keep_bytes_of(name)), kp_text_value(value)),
			    NULL, err);
}

/* ---------------------------------------------------------------- open and close */

/* Invariant 1. */
static keep_status take_turn(void *ctx, kp_lease *lease, keep_error *err)
{
	(void)ctx;
	if (lease->conn->caps & KP_SQL_ONE_WRITER)
		return KEEP_OK;
	return kp_lease_queue(lease, KP_ASSISTANT_TAKE_TURN, NULL, 0, err);
}

static keep_status check_service(const char *service, keep_error *err)
{
	size_t len = strlen(service);

	if (!len || len >= KP_SERVICE_SIZE ||
	    strspn(service, "abcdefghijklmnopqrstuvwxyz0123456789_-") != len)
		return kp_fail(err, KEEP_INVALID,
			       "service: a name of 1 to %d of a-z 0-9 _ - is needed",
			       KP_SERVICE_SIZE - 1);
	return KEEP_OK;
}

static keep_status open_database(keep_assistant *assistant, const keep_assistant_options *given,
				 keep_error *err)
{
	kp_store *store = &assistant->store;
	const kp_migrations migrations = kp_assistant_migrations(store->driver->dialect);
	kp_database_options options = {
		.sql = {.location = store->location,
			.schema = store->schema,
			.create = given->create && !given->read_only,
			.seal = true,
			.read_only = given->read_only,
			/* A restored store is in no log mode before somebody writes. */
			.journal = given->read_only ? KP_JOURNAL_AS_IS : KP_JOURNAL_WAL,
			.relaxed = given->relaxed,
			.timeout_ms = store->timeout_ms,
			.mmap_bytes = MMAP_BYTES,
			.cache_bytes = CACHE_BYTES,
			.gives_pages_back = true},
		.migrations = &migrations,
		.statements = &kp_assistant_statements[store->driver->dialect],
		.begun = take_turn,
	};

	return kp_database_open(store->driver, &options, &store->database, err);
}

static keep_status open_parts(keep_assistant *assistant, const char *url,
			      const keep_assistant_options *given, keep_error *err)
{
	keep_status status = kp_owner_make(assistant->owner, err);

	/* A text that proves nothing (kp_owner_check): its leases end by time alone. */
	if (status == KEEP_OK && given->lasting_leases)
		memcpy(assistant->owner + strlen(assistant->owner), "+", 2);
	if (status == KEEP_OK)
		status = kp_store_locate(&assistant->store, url, "assistant", err);
	if (status == KEEP_OK)
		status = open_database(assistant, given, err);
	if (status == KEEP_OK)
		status = kp_store_open_news(&assistant->store, err);
	if (status == KEEP_OK)
		status = kp_assistant_keys_open(assistant, given, err);
	if (status == KEEP_OK)
		status = kp_message_index_open(assistant, err);
	if (status == KEEP_OK)
		status = kp_vector_sets_open(assistant, err);
	return status;
}

keep_status keep_assistant_open(const char *url, const keep_assistant_options *options,
				keep_assistant **out, keep_error *err)
{
	keep_assistant_options given = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_status status;

	if (!url || !out)
		return kp_fail(err, KEEP_MISUSE, "keep_assistant_open: an argument is NULL");
	*out = NULL;
	if (options && (options->size < sizeof given.size || options->size > sizeof given))
		return kp_fail(err, KEEP_MISUSE, "keep_assistant_open: options.size is wrong");
	if (options)
		memcpy(&given, options, options->size);
	if (!given.service)
		given.service = "keep";
	status = check_service(given.service, err);
	if (status != KEEP_OK)
		return status;
	assistant = kp_alloc_zero(sizeof *assistant);
	if (!assistant)
		return kp_fail_memory(err, "an assistant's store");
	snprintf(assistant->service, sizeof assistant->service, "%s", given.service);
	assistant->relaxed = given.relaxed;
	assistant->store.what = "assistant";
	assistant->store.topics = topics;
	assistant->store.read_only = given.read_only;
	assistant->store.timeout_ms = given.timeout_ms > 0 ? given.timeout_ms : DEFAULT_TIMEOUT_MS;
	status = open_parts(assistant, url, &given, err);
	if (status == KEEP_OK)
		*out = assistant;
	else
		keep_assistant_close(&assistant);
	return status;
}

void keep_assistant_close(keep_assistant **assistant)
{
	keep_assistant *closing = assistant ? *assistant : NULL;

	if (!closing)
		return;
	*assistant = NULL;
	kp_vector_sets_close(closing);
	kp_message_index_close(closing);
	kp_keyring_close(&closing->keys);
	kp_store_close(&closing->store);
	kp_free(closing);
}

void keep_assistant_cancel(keep_assistant *assistant)
{
	kp_store_cancel(&assistant->store);
}
