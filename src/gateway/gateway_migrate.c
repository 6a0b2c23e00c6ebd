/*
 * gateway_migrate.c - which stores a gateway opens, and how their tables change.
 *
 * Invariants:
 *   1. Nothing is changed in a file or schema that is not ours, or that is newer: it is looked at
 *      first, in one reading transaction (kp_sql_options.inspect), and refused by name.
 *   2. PRAGMA user_version and the table `migrations` agree, or the file is CORRUPT and says both.
 *      Where there is no user_version, on PostgreSQL, the table alone counts.
 *   3. A store with content is copied before its first pending migration, and the copy is verified,
 *      or nothing is migrated. Old copies stay: who needs the space removes them.
 *   4. Another daemon's migrations leave the gateway's own schema as it is: tables, columns,
 *      indexes, triggers, user_version and the other services' rows in `migrations` are compared
 *      before and after each. Rows it may write, as every program that has the file may: that is no
 *      boundary of trust but a guard against a slip such as ALTER TABLE messages.
 *
 * What it does not do: run a migration (sql/migrate.c), copy (the drivers).
 *
 * Tests: tests/contract/test_gateway_openers.c, tests/contract/test_gateway_migrate.c,
 * tests/torture/test_gateway_migrate_faults.c, tests/upgrade/test_gateway_upgrade.c.
 */
#include "gateway/gateway_migrate.h"
#include "gateway/gateway_private.h"
#include "gateway_postgres_migrations.h"
#include "gateway_sqlite_migrations.h"

#include <stdio.h>
#include <string.h>

enum { MIGRATIONS_MAX = 10000, NAME_BYTES_MAX = 200 };

static const char own_service[] = "gateway";

/* ---------------------------------------------------------------- is it ours? */

/* What one look at a store tells; the order of the statement's columns. */
struct look {
	bool has_file_version; /* there is a user_version here */
	int64_t file_version;
	int64_t is_ours; /* a table `migrations` of Keep */
	int64_t tables;
	int64_t has_chat_jid, has_seq; /* columns of a table `messages` */
};

static keep_status prepare(kp_sql_conn *conn, size_t statement, kp_sql_stmt **stmt, keep_error *err)
{
	const kp_statement_set *set = &kp_gateway_statements[conn->driver->dialect];

	return kp_sql_prepare(conn, set->statements[statement].sql, stmt, err);
}

static keep_status take_look(kp_sql_conn *conn, struct look *look, keep_error *err)
{
	int64_t *const counts[] = {&look->is_ours, &look->tables, &look->has_chat_jid,
				   &look->has_seq};
	kp_value version = {.is_null = true};
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = prepare(conn, KP_GATEWAY_LOOK_AT_STORE, &stmt, err);

	*look = (struct look){.has_file_version = false};
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 0, KP_INT, &version, err);
	for (size_t i = 0; i < KP_COUNT(counts) && status == KEEP_OK; i++)
		status = kp_sql_column_int(stmt, (int)i + 1, counts[i], err);
	if (status == KEEP_OK && !version.is_null) {
		look->has_file_version = true;
		look->file_version = version.integer;
	}
	kp_sql_finish(&stmt);
	return status;
}

/* A store without a version of ours: it is new, or somebody else's. */
static keep_status check_stranger(const struct look *look, keep_error *err)
{
	if (look->has_chat_jid && !look->has_seq)
		return kp_fail(
			err, KEEP_CONFLICT,
			"gateway: this is the messages.db of another gateway, which stays as "
			"it is: keep_gateway_adopt takes it over into a new store");
	if (look->tables && !look->is_ours)
		return kp_fail(err, KEEP_CONFLICT,
			       "gateway: the tables here are another program's; a gateway needs a "
			       "file or schema of its own");
	return KEEP_OK;
}

/* Invariants 1 and 2; kp_migrations.check. */
static keep_status check_store(void *ctx, kp_sql_conn *conn, int version, keep_error *err)
{
	const kp_migrations *migrations = ctx;
	struct look look;
	keep_status status = take_look(conn, &look, err);

	if (status == KEEP_OK && version == 0)
		status = check_stranger(&look, err);
	if (status != KEEP_OK || !look.has_file_version)
		return status;
	if (look.file_version > (int64_t)migrations->count)
		return kp_fail(err, KEEP_TOO_NEW,
			       "gateway: the file's user_version is %lld, this program knows up to "
			       "%zu",
			       (long long)look.file_version, migrations->count);
	if (look.file_version != version)
		return kp_fail(err, KEEP_CORRUPT,
			       "gateway: the file's user_version is %lld, but its table migrations "
			       "has version %d",
			       (long long)look.file_version, version);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- the copy before */

/* Invariant 3. On PostgreSQL our writers wait meanwhile: the copy is of one moment. */
static keep_status copy_content(kp_sql_conn *conn, const char *service, int from_version,
				keep_error *err)
{
	char label[KP_SERVICE_SIZE + 32];
	kp_sql_stmt *stmt = NULL;
	bool has_content = false;
	keep_status status = prepare(conn, KP_GATEWAY_TAKE_TURN, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	kp_sql_finish(&stmt);
	if (status == KEEP_OK)
		status = prepare(conn, KP_GATEWAY_HAS_CONTENT, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_content, err);
	kp_sql_finish(&stmt);
	if (status != KEEP_OK || !has_content)
		return status;
	(void)snprintf(label, sizeof label, "before-%s-%d", service, from_version + 1);
	return kp_sql_copy(conn, label, err);
}

static keep_status back_up_own(void *ctx, kp_sql_conn *conn, int from_version, keep_error *err)
{
	(void)ctx;
	/* Version 0: other services have tables here, but the gateway has none to look into. */
	return from_version ? copy_content(conn, own_service, from_version, err) : KEEP_OK;
}

kp_migrations kp_gateway_migrations(kp_sql_dialect dialect)
{
	static const kp_migrations by_dialect[KP_DIALECT_COUNT] = {
		[KP_DIALECT_SQLITE] = {.service = own_service,
				       .list = kp_gateway_sqlite_migrations,
				       .count = KP_GATEWAY_SQLITE_MIGRATION_COUNT},
		[KP_DIALECT_POSTGRES] = {.service = own_service,
					 .list = kp_gateway_postgres_migrations,
					 .count = KP_GATEWAY_POSTGRES_MIGRATION_COUNT},
	};
	kp_migrations migrations = by_dialect[dialect];

	migrations.check = check_store;
	migrations.backup = back_up_own;
	migrations.hooks_ctx = (void *)(uintptr_t)&by_dialect[dialect];
	return migrations;
}

/* ---------------------------------------------------------------- other daemons' migrations */

struct guest {
	const char *service;
	keep_buffer before, after; /* our schema as text */
};

static bool is_own_table(keep_bytes name)
{
	for (size_t i = 0; i < KP_GATEWAY_RECORD_COUNT; i++)
		if (kp_bytes_equal(name, keep_bytes_of(kp_gateway_records[i]->table)))
			return true;
	return false;
}

static keep_status back_up_for_guest(void *ctx, kp_sql_conn *conn, int from_version,
				     keep_error *err)
{
	struct guest *guest = ctx;
	keep_status status =
		kp_schema_text(conn, guest->service, is_own_table, &guest->before, err);

	return status == KEEP_OK ? copy_content(conn, guest->service, from_version, err) : status;
}

/* Invariant 4; kp_migrations.ran. */
static keep_status compare_schema(void *ctx, kp_sql_conn *conn, const kp_ran_migration *ran,
				  keep_error *err)
{
	struct guest *guest = ctx;
	keep_status status = kp_schema_text(conn, guest->service, is_own_table, &guest->after, err);

	(void)ran;
	if (status == KEEP_OK &&
	    !kp_bytes_equal(kp_buffer_bytes(&guest->before), kp_buffer_bytes(&guest->after)))
		status =
			kp_fail(err, KEEP_INVALID,
				"it changes the gateway's own tables, which are not its to change");
	return status;
}

static keep_status check_given(const char *service, const keep_gateway_migration *migrations,
			       size_t count, keep_error *err)
{
	keep_status status = kp_gateway_check_service(service, err);

	if (status == KEEP_OK && strcmp(service, own_service) == 0)
		status = kp_fail(err, KEEP_INVALID, "service: gateway is the store's own");
	if (status == KEEP_OK && count > MIGRATIONS_MAX)
		status = kp_fail(err, KEEP_INVALID, "migrations: %zu, the limit is %d", count,
				 MIGRATIONS_MAX);
	if (status == KEEP_OK && count && !migrations)
		status = kp_fail(err, KEEP_MISUSE, "keep_gateway_migrate: migrations is NULL");
	for (size_t i = 0; status == KEEP_OK && i < count; i++) {
		status = kp_check_text("name", keep_bytes_of(migrations[i].name), NAME_BYTES_MAX,
				       KP_NOT_EMPTY, err);
		if (status == KEEP_OK && !migrations[i].sql && !migrations[i].sql_postgres)
			status = kp_fail(err, KEEP_INVALID, "sql: is missing");
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "%s migration %zu", service, i + 1);
	}
	return status;
}

static keep_status choose_sql(const keep_gateway_migration *migrations, size_t count,
			      const char *service, kp_sql_dialect dialect, kp_migration **out,
			      keep_error *err)
{
	kp_migration *list = kp_alloc_zero((count + 1) * sizeof *list);

	*out = NULL;
	if (!list)
		return kp_fail_memory(err, "migrations");
	for (size_t i = 0; i < count; i++) {
		const char *const by_dialect[KP_DIALECT_COUNT] = {
			[KP_DIALECT_SQLITE] = migrations[i].sql,
			[KP_DIALECT_POSTGRES] = migrations[i].sql_postgres
							? migrations[i].sql_postgres
							: migrations[i].sql,
		};

		list[i] = (kp_migration){(int)i + 1, migrations[i].name, by_dialect[dialect]};
		if (!list[i].sql) {
			kp_free(list);
			return kp_fail(err, KEEP_INVALID,
				       "%s migration %s: has no SQL for this store", service,
				       migrations[i].name);
		}
	}
	*out = list;
	return KEEP_OK;
}

static keep_status migrate_guest(keep_gateway *gateway, const kp_migrations *migrations,
				 keep_error *err)
{
	const kp_sql_options options = {.location = gateway->store.location,
					.schema = gateway->store.schema,
					.timeout_ms = gateway->store.timeout_ms};
	kp_sql_conn *conn = NULL;
	keep_status status = kp_sql_open(gateway->store.driver, &options, &conn, err);

	if (status == KEEP_OK)
		status = kp_migrate(conn, migrations, err);
	kp_sql_close(&conn);
	return status;
}

keep_status keep_gateway_migrate(keep_gateway *gateway, const char *service,
				 const keep_gateway_migration *migrations, size_t count,
				 keep_error *err)
{
	struct guest guest = {.service = service};
	kp_migrations list = {.service = service,
			      .count = count,
			      .backup = back_up_for_guest,
			      .ran = compare_schema,
			      .hooks_ctx = &guest};
	kp_migration *chosen = NULL;
	keep_status status;

	if (!gateway || !service)
		return kp_fail(err, KEEP_MISUSE, "keep_gateway_migrate: an argument is NULL");
	status = check_given(service, migrations, count, err);
	if (status == KEEP_OK && gateway->store.read_only)
		status = kp_fail(err, KEEP_DENIED, "the gateway was opened for reading only");
	if (status == KEEP_OK)
		status = choose_sql(migrations, count, service, gateway->store.driver->dialect,
				    &chosen, err);
	if (status == KEEP_OK) {
		list.list = chosen;
		status = migrate_guest(gateway, &list, err);
	}
	kp_free(chosen);
	keep_buffer_release(&guest.before);
	keep_buffer_release(&guest.after);
	return status;
}
