/*
 * store.c - what a store on one database has in common with every other.
 *
 * Invariants:
 *   1. A reading connection that turns out to be dead is replaced once within the store's time, so
 *      a server's restart between two calls is not seen by the second.
 *   2. Who waits is told after the commit (SQLite) or by it (PostgreSQL), also when the answer of
 *      the commit was lost.
 *   3. Whoever only reads makes no file: the one for news is there when a writer was.
 *
 * What it does not do: know a table, or open the database; the store does, with its migrations.
 *
 * Tests: tests/contract/test_assistant_open.c, tests/contract/test_assistant_jobs.c (waits).
 */
#include "sql/store.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { READ_TRIES = 2 };

#define NO_SUCH_TABLE "42P01"

/* ---------------------------------------------------------------- where it is */

keep_status kp_store_locate(kp_store *store, const char *url, const char *schema, keep_error *err)
{
	static const char file_scheme[] = "sqlite:";
	kp_postgres_url parts = {0};
	keep_status status;

	if (strncmp(url, file_scheme, sizeof file_scheme - 1) == 0) {
		store->driver = &kp_sql_sqlite;
		url += sizeof file_scheme - 1;
		if (!*url)
			return kp_fail(err, KEEP_INVALID, "URL: a file name is missing");
		return kp_text_copy(url, &store->location, err);
	}
	if (strncmp(url, "postgres://", 11) != 0 && strncmp(url, "postgresql://", 13) != 0)
		return kp_fail(err, KEEP_INVALID,
			       "URL: sqlite:<file> or postgres://… is needed for the %s store",
			       store->what);
	store->driver = &kp_sql_postgres;
	status = kp_postgres_url_read(url, schema, &parts, err);
	store->location = parts.conninfo;
	store->schema = parts.schema;
	parts.conninfo = parts.schema = NULL;
	kp_postgres_url_release(&parts);
	return status;
}

/* ---------------------------------------------------------------- news */

/* A schema's name may be longer than a channel's: its digest is not. */
static keep_status name_channel(kp_store *store, keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	char hex[33];
	keep_status status = kp_sha256(keep_bytes_of(store->schema), digest, err);

	if (status != KEEP_OK)
		return status;
	kp_hex_format((keep_bytes){(const char *)digest, 16}, hex);
	snprintf(store->channel, sizeof store->channel, "keep_%s_%s", store->what, hex);
	return KEEP_OK;
}

/* Invariant 3. */
static bool may_open_notify(const kp_store *store)
{
	char path[PATH_MAX];
	int len = snprintf(path, sizeof path, "%s-notify", store->location);

	return !store->read_only || (len < (int)sizeof path && access(path, F_OK) == 0);
}

static unsigned hear_topic(void *ctx, keep_bytes payload)
{
	const kp_store *store = ctx;
	unsigned topics = 0;

	for (unsigned i = 0; store->topics[i]; i++)
		if (kp_bytes_equal(payload, keep_bytes_of(store->topics[i])))
			topics |= 1U << i;
	return topics ? topics | store->any_news : 0;
}

static uint64_t notify_position(void *ctx)
{
	const kp_store *store = ctx;

	return kp_notify_position(store->notify);
}

static bool is_topic(void *ctx, keep_bytes topic)
{
	return kp_bytes_equal(topic, keep_bytes_of(ctx));
}

static void nap_at_notify(void *ctx, unsigned topic, uint64_t *seen, int64_t nap_ms)
{
	kp_store *store = ctx;
	bool is_any = store->any_news & (1U << topic);
	char name[32];

	snprintf(name, sizeof name, "%s", store->topics[topic]);
	(void)kp_notify_wait(store->notify, seen, nap_ms, is_any ? NULL : is_topic, name,
			     &store->cancelled);
}

keep_status kp_store_open_news(kp_store *store, keep_error *err)
{
	kp_waits_options options = {
		.who = store->schema ? store->schema : store->location,
		.cancelled = &store->cancelled,
		.location = store->location,
		.schema = store->schema,
		.channel = store->channel,
		.timeout_ms = store->timeout_ms,
		.hear = hear_topic,
		.ctx = store,
	};
	keep_error why;
	keep_status status = KEEP_OK;

	store->listens = kp_database_caps(store->database) & KP_SQL_LISTEN;
	if (store->schema)
		status = name_channel(store, err);
	else if (may_open_notify(store) &&
		 kp_notify_open(store->location, &store->notify, &why) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "%s: waits wake up late: %s", store->location,
		       why.message);
	if (store->listens)
		options.driver = store->driver;
	if (store->notify) {
		options.position = notify_position;
		options.nap = nap_at_notify;
	}
	return status == KEEP_OK ? kp_waits_open(&options, &store->waits, err) : status;
}

void kp_store_close(kp_store *store)
{
	kp_waits_close(&store->waits);
	kp_notify_close(&store->notify);
	kp_database_close(&store->database);
	kp_free(store->location);
	kp_free(store->schema);
	store->location = store->schema = NULL;
}

keep_status kp_store_wait(kp_store *store, unsigned topic, int64_t timeout_ms, kp_wait_look *look,
			  void *ctx, bool *found, keep_error *err)
{
	return kp_waits_sleep(store->waits, topic, timeout_ms, look, ctx, found, err);
}

void kp_store_cancel(kp_store *store)
{
	atomic_store(&store->cancelled, 1);
	kp_waits_cancel(store->waits);
	if (store->notify)
		kp_notify_wake(store->notify);
}

/* ---------------------------------------------------------------- reading */

/* A statement was fine when it was prepared: then it is the tables that are gone. */
static keep_status tell_failure(const kp_store *store, keep_status status, const keep_error *why,
				keep_error *err)
{
	if (status == KEEP_MISUSE && strcmp(why->sqlstate, NO_SUCH_TABLE) == 0)
		return kp_fail(err, KEEP_UNAVAILABLE, "the %s's tables are gone: %s", store->what,
			       why->message);
	if (status != KEEP_OK && err)
		*err = *why;
	return status;
}

/* Invariant 1. */
keep_status kp_store_read(kp_store *store, kp_store_query *query, void *ctx, keep_error *err)
{
	int64_t begun_ns = kp_monotonic_ns();
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	for (int i = 0; i < READ_TRIES; i++) {
		kp_lease *lease = NULL;
		bool is_dead;

		status = kp_database_read(store->database, &lease, &why);
		if (status != KEEP_OK)
			break;
		status = query(ctx, lease, &why);
		is_dead = status == KEEP_UNAVAILABLE && lease->conn->broken;
		kp_database_read_end(store->database, &lease);
		if (!is_dead || kp_monotonic_ns() - begun_ns >= store->timeout_ms * 1000000)
			break;
	}
	return tell_failure(store, status, &why, err);
}

struct whole {
	kp_store_query *query;
	void *ctx;
};

static keep_status query_whole(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct whole *whole = ctx;
	keep_status status = kp_sql_begin(lease->conn, KP_SQL_READ, err);

	if (status == KEEP_OK)
		status = whole->query(whole->ctx, lease, err);
	kp_sql_rollback(lease->conn);
	return status;
}

keep_status kp_store_read_whole(kp_store *store, kp_store_query *query, void *ctx, keep_error *err)
{
	struct whole whole = {query, ctx};

	return kp_store_read(store, query_whole, &whole, err);
}

/* ---------------------------------------------------------------- on a lease */

keep_status kp_lease_get(kp_lease *lease, size_t statement, const kp_value *values,
			 size_t value_count, const kp_record *record, kp_arena *arena, void *object,
			 bool *found, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(lease, statement, values, value_count, &stmt, err);

	*found = false;
	if (status == KEEP_OK && object)
		return kp_record_read_one(stmt, record, object, arena, found, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, found, err);
	kp_sql_reset(stmt);
	return status;
}

keep_status kp_lease_list(kp_lease *lease, size_t statement, const kp_value *values,
			  size_t value_count, const kp_record *record, kp_arena *arena, void *items,
			  size_t *count, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	void *rows = NULL;
	keep_status status = kp_lease_bind(lease, statement, values, value_count, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_all(stmt, record, arena, &rows, count, err);
	if (status == KEEP_OK)
		memcpy(items, &rows, sizeof rows);
	return status;
}

keep_status kp_lease_int(kp_lease *lease, size_t statement, const kp_value *values,
			 size_t value_count, int64_t *out, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value value = {.is_null = true};
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, statement, values, value_count, &stmt, err);

	*out = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, 0, KP_INT, &value, err);
	if (status == KEEP_OK && !value.is_null)
		*out = value.integer;
	if (found)
		*found = has_row;
	kp_sql_reset(stmt);
	return status;
}

/* ---------------------------------------------------------------- one statement */

/* A statement of the caller's, and what its rows become. */
struct rows {
	size_t statement;
	const kp_value *values;
	size_t value_count;
	const kp_record *record;
	kp_arena *arena;
	void *items; /* a list's; or the caller's object */
	size_t count;
	bool found;
};

static keep_status query_list(void *ctx, kp_lease *lease, keep_error *err)
{
	struct rows *rows = ctx;

	return kp_lease_list(lease, rows->statement, rows->values, rows->value_count, rows->record,
			     rows->arena, &rows->items, &rows->count, err);
}

keep_status kp_store_list(kp_store *store, size_t statement, const kp_value *values,
			  size_t value_count, const kp_record *record, kp_arena *arena, void *items,
			  size_t *count, keep_error *err)
{
	struct rows rows = {statement, values, value_count, record, arena, NULL, 0, false};
	keep_status status = kp_store_read(store, query_list, &rows, err);

	if (status == KEEP_OK) {
		memcpy(items, &rows.items, sizeof rows.items);
		*count = rows.count;
	}
	return status;
}

static keep_status query_one(void *ctx, kp_lease *lease, keep_error *err)
{
	struct rows *rows = ctx;

	return kp_lease_get(lease, rows->statement, rows->values, rows->value_count, rows->record,
			    rows->arena, rows->items, &rows->found, err);
}

keep_status kp_store_get(kp_store *store, size_t statement, const kp_value *values,
			 size_t value_count, const kp_record *record, kp_arena *arena, void *object,
			 bool *found, keep_error *err)
{
	struct rows rows = {statement, values, value_count, record, arena, object, 0, false};
	keep_status status = kp_store_read(store, query_one, &rows, err);

	*found = status == KEEP_OK && rows.found;
	return status;
}

/* ---------------------------------------------------------------- changing */

struct change {
	const kp_store *store;
	kp_apply *apply;
	void *ctx;
	unsigned news;
};

static keep_status apply_and_tell(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct change *change = ctx;
	const kp_store *store = change->store;
	keep_status status = change->apply(change->ctx, lease, err);

	for (unsigned i = 0; store->topics[i] && status == KEEP_OK; i++)
		if (store->listens && (change->news & (1U << i)))
			status = kp_sql_notify(lease->conn, store->channel,
					       keep_bytes_of(store->topics[i]), err);
	return status;
}

/* Invariant 2. */
keep_status kp_store_change(kp_store *store, kp_apply *apply, void *ctx, unsigned news,
			    keep_error *err)
{
	struct change change = {store, apply, ctx, news};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (store->read_only)
		return kp_fail(err, KEEP_DENIED, "the %s was opened for reading only", store->what);
	status = kp_database_write(store->database, apply_and_tell, &change, &why);
	if (status == KEEP_OK || status == KEEP_UNCERTAIN)
		for (unsigned i = 0; store->topics[i]; i++)
			if (store->notify && (news & (1U << i)))
				kp_notify_post(store->notify, keep_bytes_of(store->topics[i]));
	return tell_failure(store, status, &why, err);
}
