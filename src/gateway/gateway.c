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

enum { DEFAULT_TIMEOUT_MS = 5000 };
#define MMAP_BYTES (INT64_C(1) << 36)
#define CACHE_BYTES (INT64_C(64) << 20)

static const char *const topics[] = {
	[KP_TOPIC_INPUT] = "input",
	[KP_TOPIC_DELIVERY] = "delivery",
	[KP_TOPIC_CHANGE] = "change",
	NULL,
};

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

static keep_status open_database(keep_gateway *gateway, bool create, keep_error *err)
{
	const kp_migrations migrations = kp_gateway_migrations(gateway->store.driver->dialect);
	kp_database_options options = {
		.sql = {.location = gateway->store.location,
			.schema = gateway->store.schema,
			.create = create,
			.seal = true,
			.read_only = gateway->store.read_only,
			/* A restored store is in no log mode before somebody writes. */
			.journal = gateway->store.read_only ? KP_JOURNAL_AS_IS : KP_JOURNAL_WAL,
			.relaxed = gateway->relaxed,
			.timeout_ms = gateway->store.timeout_ms,
			.mmap_bytes = MMAP_BYTES,
			.cache_bytes = CACHE_BYTES},
		.migrations = &migrations,
		.statements = &kp_gateway_statements[gateway->store.driver->dialect],
		.begun = take_turn,
	};

	return kp_database_open(gateway->store.driver, &options, &gateway->store.database, err);
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
	gateway->store.read_only = given.read_only;
	gateway->relaxed = given.relaxed;
	gateway->store.timeout_ms = given.timeout_ms > 0 ? given.timeout_ms : DEFAULT_TIMEOUT_MS;
	gateway->store.what = "gateway";
	gateway->store.topics = topics;
	gateway->store.any_news = KP_NEWS_CHANGE;
	status = kp_owner_make(gateway->owner, err);
	/* A text that proves nothing (kp_owner_check): its leases end by time alone. */
	if (status == KEEP_OK && given.lasting_leases)
		memcpy(gateway->owner + strlen(gateway->owner), "+", 2);
	if (status == KEEP_OK)
		status = kp_store_locate(&gateway->store, url, "gateway", err);
	if (status == KEEP_OK)
		status = open_database(gateway, given.create && !given.read_only, err);
	if (status == KEEP_OK)
		status = kp_store_open_news(&gateway->store, err);
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
	kp_gateway_routes_close(closing);
	kp_store_close(&closing->store);
	kp_free(closing);
}
