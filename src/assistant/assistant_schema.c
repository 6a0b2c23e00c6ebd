/*
 * assistant_schema.c - which stores an assistant opens, and how their tables change.
 *
 * Invariants:
 *   1. Nothing is changed in a file or schema that is not ours, or that is newer: it is looked at
 *      first, and refused by name.
 *   2. PRAGMA user_version and the table `migrations` agree, or the file is CORRUPT and says both.
 *   3. A store is copied before its first pending migration, and the copy is verified, or nothing
 * is migrated.
 *   4. A new store gets its agents, prompts and settings in the transaction that makes its tables,
 * and each migration has its row in schema_migrations, beside those of the user's own
 *      (user_migrations.c).
 *
 * What it does not do: run a migration (sql/migrate.c), copy (the drivers).
 *
 * Tests: tests/contract/test_assistant_open.c.
 */
#include "assistant/assistant_private.h"

#include "assistant_postgres_migrations.h"
#include "assistant_sqlite_migrations.h"

#include <stdio.h>

static const char own_service[] = "assistant";

/* What one look at a store tells; the order of the statement's columns. */
struct look {
	bool has_file_version; /* there is a user_version here */
	int64_t file_version;
	int64_t is_ours; /* a table `migrations` of Keep */
	int64_t tables;
	int64_t has_conversations, has_seq; /* columns that tell the source's file from ours */
};

static keep_status take_look(kp_sql_conn *conn, struct look *look, keep_error *err)
{
	int64_t *const counts[] = {&look->is_ours, &look->tables, &look->has_conversations,
				   &look->has_seq};
	const kp_statement_set *set = &kp_assistant_statements[conn->driver->dialect];
	kp_value version = {.is_null = true};
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_sql_prepare(conn, set->statements[KP_ASSISTANT_LOOK_AT_STORE].sql, &stmt, err);

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
	if (look->has_conversations && !look->has_seq)
		return kp_fail(err, KEEP_CONFLICT,
			       "assistant: this is the assistant.db of another program, which "
			       "stays as it is: keep import takes it over into a new store");
	if (look->tables && !look->is_ours)
		return kp_fail(err, KEEP_CONFLICT,
			       "assistant: the tables here are another program's; an assistant "
			       "needs a file or schema of its own");
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
			       "assistant: the file's user_version is %lld, this program knows up "
			       "to %zu",
			       (long long)look.file_version, migrations->count);
	if (look.file_version != version)
		return kp_fail(err, KEEP_CORRUPT,
			       "assistant: the file's user_version is %lld, but its table "
			       "migrations has version %d",
			       (long long)look.file_version, version);
	return KEEP_OK;
}

/* Invariant 3. On PostgreSQL the migrations' own lock keeps our writers away meanwhile. */
static keep_status back_up(void *ctx, kp_sql_conn *conn, int from_version, keep_error *err)
{
	char label[64];

	(void)ctx;
	if (!from_version)
		return KEEP_OK;
	(void)snprintf(label, sizeof label, "before-%s-%d", own_service, from_version + 1);
	return kp_sql_copy(conn, label, err);
}

/* Invariant 4; kp_migrations.ran. */
static keep_status note_ran(void *ctx, kp_sql_conn *conn, const kp_ran_migration *ran,
			    keep_error *err)
{
	keep_schema_migration row = {
		.version = keep_bytes_of(ran->migration->name),
		.applied_at = kp_clock_ms(),
		.checksum = keep_bytes_of(ran->checksum),
		.duration_ms = ran->duration_ms,
	};
	keep_status status = kp_record_append(conn, &kp_schema_migration_record, &row, err);

	(void)ctx;
	if (status == KEEP_OK && ran->migration->version == 1)
		status = kp_assistant_seed(conn, err);
	return status;
}

kp_migrations kp_assistant_migrations(kp_sql_dialect dialect)
{
	static const kp_migrations by_dialect[KP_DIALECT_COUNT] = {
		[KP_DIALECT_SQLITE] = {.service = own_service,
				       .list = kp_assistant_sqlite_migrations,
				       .count = KP_ASSISTANT_SQLITE_MIGRATION_COUNT},
		[KP_DIALECT_POSTGRES] = {.service = own_service,
					 .list = kp_assistant_postgres_migrations,
					 .count = KP_ASSISTANT_POSTGRES_MIGRATION_COUNT},
	};
	kp_migrations migrations = by_dialect[dialect];

	migrations.check = check_store;
	migrations.backup = back_up;
	migrations.ran = note_ran;
	migrations.hooks_ctx = (void *)(uintptr_t)&by_dialect[dialect];
	return migrations;
}
