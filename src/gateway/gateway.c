/*
 * gateway.c - a gateway's store: opening it, reading from it, changing it.
 *
 * Invariants:
 *   1. Every change is one transaction of kp_database_write. Where a database has many writers at
 *      once (no KP_SQL_ONE_WRITER), each transaction first takes the row `messages` of
 *      store_changes: so the writers of all processes follow each other, nothing deadlocks, and a
 *      number that a transaction gives out is committed before the next one gives out its own
 *      (docs/decisions/0002 argues it for the engine).
 *   2. Who waits is told after the commit (SQLite) or by it (PostgreSQL).
 *   3. A store is migrated when it is opened for writing; PRAGMA user_version and the table
 *      `migrations` agree.
 *
 * What it does not do: know any table but store_changes; each topic has its own file.
 *
 * Tests: tests/contract/test_gateway_*.c, tests/torture/test_gateway_*.c.
 */
#include "gateway/gateway_migrate.h"
#include "gateway/gateway_private.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_TIMEOUT_MS = 5000, READ_TRIES = 2 };
#define MMAP_BYTES (INT64_C(1) << 36)
#define CACHE_BYTES (INT64_C(64) << 20)

/* ---------------------------------------------------------------- reading and changing */

#define NO_SUCH_TABLE "42P01"

/* A statement was fine when it was prepared: then it is the tables that are gone. */
static keep_status tell_failure(keep_status status, const keep_error *why, keep_error *err)
{
	if (status == KEEP_MISUSE && strcmp(why->sqlstate, NO_SUCH_TABLE) == 0)
		return kp_fail(err, KEEP_UNAVAILABLE, "the gateway's tables are gone: %s",
			       why->message);
	if (status != KEEP_OK && err)
		*err = *why;
	return status;
}

keep_status kp_gateway_read(keep_gateway *gateway, kp_gateway_query *query, void *ctx,
			    keep_error *err)
{
	int64_t begun_ns = kp_monotonic_ns();
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	for (int i = 0; i < READ_TRIES; i++) {
		kp_lease *lease = NULL;
		bool is_dead;

		status = kp_database_read(gateway->database, &lease, &why);
		if (status != KEEP_OK)
			break;
		status = query(ctx, lease, &why);
		is_dead = status == KEEP_UNAVAILABLE && lease->conn->broken;
		kp_database_read_end(gateway->database, &lease);
		if (!is_dead || kp_monotonic_ns() - begun_ns >= gateway->timeout_ms * 1000000)
			break;
	}
	return tell_failure(status, &why, err);
}

/* A read that fills a list of records; the statement and its values are the caller's. */
struct listing {
	size_t statement;
	const kp_value *values;
	size_t value_count;
	const kp_record *record;
	kp_arena *arena;
	void *items;
	size_t count;
};

static keep_status query_listing(void *ctx, kp_lease *lease, keep_error *err)
{
	struct listing *listing = ctx;
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(lease, listing->statement, listing->values,
					   listing->value_count, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_all(stmt, listing->record, listing->arena, &listing->items,
					    &listing->count, err);
	return status;
}

keep_status kp_gateway_list(keep_gateway *gateway, size_t statement, const kp_value *values,
			    size_t value_count, const kp_record *record, kp_arena *arena,
			    void *items, size_t *count, keep_error *err)
{
	struct listing listing = {statement, values, value_count, record, arena, NULL, 0};
	keep_status status = kp_gateway_read(gateway, query_listing, &listing, err);

	if (status == KEEP_OK) {
		memcpy(items, &listing.items, sizeof listing.items);
		*count = listing.count;
	}
	return status;
}

/* A read of one record. */
struct single {
	struct listing listing;
	void *object; /* NULL: only whether there is one */
	bool found;
};

static keep_status query_single(void *ctx, kp_lease *lease, keep_error *err)
{
	struct single *single = ctx;
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(lease, single->listing.statement, single->listing.values,
					   single->listing.value_count, &stmt, err);

	if (status == KEEP_OK && single->object)
		return kp_record_read_one(stmt, single->listing.record, single->object,
					  single->listing.arena, &single->found, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &single->found, err);
	kp_sql_reset(stmt);
	return status;
}

keep_status kp_gateway_get(keep_gateway *gateway, size_t statement, const kp_value *values,
			   size_t value_count, const kp_record *record, kp_arena *arena,
			   void *object, bool *found, keep_error *err)
{
	struct single single = {
		{statement, values, value_count, record, arena, NULL, 0}, object, false};
	keep_status status = kp_gateway_read(gateway, query_single, &single, err);

	*found = status == KEEP_OK && single.found;
	return status;
}

keep_status kp_gateway_has(keep_gateway *gateway, size_t statement, const kp_value *values,
			   size_t value_count, bool *has_row, keep_error *err)
{
	struct single single = {
		.listing = {.statement = statement, .values = values, .value_count = value_count}};
	keep_status status = kp_gateway_read(gateway, query_single, &single, err);

	*has_row = status == KEEP_OK && single.found;
	return status;
}

/* A change and whom it wakes. */
struct change {
	const keep_gateway *gateway;
	kp_apply *apply;
	void *ctx;
	unsigned news;
};

static const struct {
	unsigned bit;
	const char *topic;
} news_topics[] = {{KP_NEWS_INPUT, "input"}, {KP_NEWS_DELIVERY, "delivery"}};

static keep_status apply_and_tell(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct change *change = ctx;
	keep_status status = change->apply(change->ctx, lease, err);

	for (size_t i = 0; i < KP_COUNT(news_topics) && status == KEEP_OK; i++)
		if (change->gateway->listens && (change->news & news_topics[i].bit))
			status = kp_sql_notify(lease->conn, change->gateway->channel,
					       keep_bytes_of(news_topics[i].topic), err);
	return status;
}

keep_status kp_gateway_change(keep_gateway *gateway, kp_apply *apply, void *ctx, unsigned news,
			      keep_error *err)
{
	struct change change = {gateway, apply, ctx, news};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (gateway->read_only)
		return kp_fail(err, KEEP_DENIED, "the gateway was opened for reading only");
	status = kp_database_write(gateway->database, apply_and_tell, &change, &why);
	if (status != KEEP_OK && status != KEEP_UNCERTAIN)
		return tell_failure(status, &why, err);
	for (size_t i = 0; i < KP_COUNT(news_topics); i++)
		if (gateway->notify && (news & news_topics[i].bit))
			kp_notify_post(gateway->notify, keep_bytes_of(news_topics[i].topic));
	return tell_failure(status, &why, err);
}

const char *keep_put_name(keep_put put)
{
	static const char *const names[] = {"inserted", "duplicate", "conflict"};

	return (size_t)put < KP_COUNT(names) ? names[put] : "?";
}

/* ---------------------------------------------------------------- open and close */

/* Invariant 1. */
static keep_status take_turn(void *ctx, kp_lease *lease, keep_error *err)
{
	(void)ctx;
	if (lease->conn->caps & KP_SQL_ONE_WRITER)
		return KEEP_OK;
	return kp_lease_queue(lease, KP_GATEWAY_TAKE_TURN, NULL, 0, err);
}

keep_status kp_gateway_check_service(const char *service, keep_error *err)
{
	size_t len = strlen(service);

	if (!len || len >= KP_SERVICE_SIZE ||
	    strspn(service, "abcdefghijklmnopqrstuvwxyz0123456789_-") != len)
		return kp_fail(err, KEEP_INVALID,
			       "service: a name of 1 to %d of a-z 0-9 _ - is needed",
			       KP_SERVICE_SIZE - 1);
	return KEEP_OK;
}

/* Which driver, and where. */
static keep_status read_url(keep_gateway *gateway, const char *url, keep_error *err)
{
	static const char file_scheme[] = "sqlite:";
	kp_postgres_url parts = {0};
	keep_status status;

	if (strncmp(url, file_scheme, sizeof file_scheme - 1) == 0) {
		gateway->driver = &kp_sql_sqlite;
		url += sizeof file_scheme - 1;
		if (!*url)
			return kp_fail(err, KEEP_INVALID, "URL: a file name is missing");
		return kp_text_copy(url, &gateway->location, err);
	}
	if (strncmp(url, "postgres://", 11) != 0 && strncmp(url, "postgresql://", 13) != 0)
		return kp_fail(err, KEEP_INVALID,
			       "URL: sqlite:<file> or postgres://… is needed for a gateway");
	gateway->driver = &kp_sql_postgres;
	status = kp_postgres_url_read(url, "gateway", &parts, err);
	gateway->location = parts.conninfo;
	gateway->schema = parts.schema;
	parts.conninfo = parts.schema = NULL;
	kp_postgres_url_release(&parts);
	return status;
}

/* All gateways of one schema listen to one channel. */
static keep_status name_channel(keep_gateway *gateway, keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	char hex[33];
	keep_status status = kp_sha256(keep_bytes_of(gateway->schema), digest, err);

	if (status != KEEP_OK)
		return status;
	kp_hex_format((keep_bytes){(const char *)digest, 16}, hex);
	snprintf(gateway->channel, sizeof gateway->channel, "keep_gateway_%s", hex);
	return KEEP_OK;
}

static keep_status open_database(keep_gateway *gateway, bool create, keep_error *err)
{
	const kp_migrations migrations = kp_gateway_migrations(gateway->driver->dialect);
	kp_database_options options = {
		.sql = {.location = gateway->location,
			.schema = gateway->schema,
			.create = create,
			.read_only = gateway->read_only,
			.relaxed = gateway->relaxed,
			.timeout_ms = gateway->timeout_ms,
			.mmap_bytes = MMAP_BYTES,
			.cache_bytes = CACHE_BYTES},
		.migrations = &migrations,
		.statements = &kp_gateway_statements[gateway->driver->dialect],
		.begun = take_turn,
	};

	return kp_database_open(gateway->driver, &options, &gateway->database, err);
}

/* Whoever only reads makes no file: it is there when a writer was. */
static bool may_open_notify(const keep_gateway *gateway)
{
	char path[PATH_MAX];
	int len = snprintf(path, sizeof path, "%s-notify", gateway->location);

	return !gateway->read_only || (len < (int)sizeof path && access(path, F_OK) == 0);
}

/* How others are told of news: by the server, or through a file beside the database. */
static keep_status open_news(keep_gateway *gateway, keep_error *err)
{
	keep_error why;

	gateway->listens = kp_database_caps(gateway->database) & KP_SQL_LISTEN;
	if (gateway->schema)
		return name_channel(gateway, err);
	if (!may_open_notify(gateway))
		return KEEP_OK;
	if (kp_notify_open(gateway->location, &gateway->notify, &why) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "%s: waits wake up late: %s", gateway->location,
		       why.message);
	return KEEP_OK;
}

keep_status keep_gateway_open(const char *url, const keep_gateway_options *options,
			      keep_gateway **out, keep_error *err)
{
	keep_gateway_options given = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_status status;

	if (!url || !out)
		return kp_fail(err, KEEP_MISUSE, "keep_gateway_open: an argument is NULL");
	*out = NULL;
	if (options && (options->size < sizeof given.size || options->size > sizeof given))
		return kp_fail(err, KEEP_MISUSE, "keep_gateway_open: options.size is wrong");
	if (options)
		memcpy(&given, options, options->size);
	if (!given.service)
		given.service = "keep";
	status = kp_gateway_check_service(given.service, err);
	if (status != KEEP_OK)
		return status;
	gateway = kp_alloc_zero(sizeof *gateway);
	if (!gateway)
		return kp_fail_memory(err, "a gateway");
	snprintf(gateway->service, sizeof gateway->service, "%s", given.service);
	gateway->read_only = given.read_only;
	gateway->relaxed = given.relaxed;
	gateway->timeout_ms = given.timeout_ms > 0 ? given.timeout_ms : DEFAULT_TIMEOUT_MS;
	status = kp_owner_make(gateway->owner, err);
	/* A text that proves nothing (kp_owner_check): its leases end by time alone. */
	if (status == KEEP_OK && given.lasting_leases)
		memcpy(gateway->owner + strlen(gateway->owner), "+", 2);
	if (status == KEEP_OK)
		status = read_url(gateway, url, err);
	if (status == KEEP_OK)
		status = open_database(gateway, given.create && !given.read_only, err);
	if (status == KEEP_OK)
		status = open_news(gateway, err);
	if (status == KEEP_OK)
		status = kp_gateway_waits_open(gateway, err);
	if (status == KEEP_OK)
		status = kp_gateway_routes_open(gateway, err);
	if (status == KEEP_OK)
		*out = gateway;
	else
		keep_gateway_close(&gateway);
	return status;
}

void keep_gateway_close(keep_gateway **gateway)
{
	keep_gateway *closing = gateway ? *gateway : NULL;

	if (!closing)
		return;
	*gateway = NULL;
	kp_waits_close(&closing->waits);
	kp_gateway_routes_close(closing);
	kp_notify_close(&closing->notify);
	kp_database_close(&closing->database);
	kp_free(closing->location);
	kp_free(closing->schema);
	kp_free(closing);
}
