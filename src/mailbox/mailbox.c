/*
 * mailbox.c - a mailbox from the host's side: opening it, its registry.
 *
 *     SQLite       <folder>/registry.db, <folder>/sessions/<agent group>/<session>/
 *     PostgreSQL   one schema with the tables of the registry and of all sessions
 *
 * Invariants:
 *   1. Every change of the registry is one transaction of kp_database_write. On PostgreSQL each
 *      first takes the row of host_turns, so hosts follow each other and nothing of theirs
 *      deadlocks (docs/decisions/0002 argues it for the engine). Agents write other rows.
 *   2. Three sets of migrations, one for each kind of file: on PostgreSQL all three run in the
 *      schema, each under its own name.
 *
 * What it does not do: know any table but host_turns; each topic has its own file.
 *
 * Tests: tests/contract/test_mailbox_*.c, tests/torture/test_mailbox_*.c.
 */
#include "mailbox/mailbox_private.h"
#include "mailbox/registry_private.h"

#include "mailbox_inbound_postgres_migrations.h"
#include "mailbox_inbound_sqlite_migrations.h"
#include "mailbox_outbound_postgres_migrations.h"
#include "mailbox_outbound_sqlite_migrations.h"
#include "mailbox_postgres_migrations.h"
#include "mailbox_sqlite_migrations.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum { DEFAULT_TIMEOUT_MS = 5000, READ_TRIES = 2 };
#define MMAP_BYTES (INT64_C(1) << 32)
#define CACHE_BYTES (INT64_C(16) << 20)
#define NO_SUCH_TABLE "42P01"

#define MIGRATIONS(service_, list_, SET_)                                                          \
	{                                                                                          \
		[KP_DIALECT_SQLITE] = {.service = (service_),                                      \
				       .list = kp_##list_##_sqlite_migrations,                     \
				       .count = KP_##SET_##_SQLITE_MIGRATION_COUNT},               \
		[KP_DIALECT_POSTGRES] = {.service = (service_),                                    \
					 .list = kp_##list_##_postgres_migrations,                 \
					 .count = KP_##SET_##_POSTGRES_MIGRATION_COUNT},           \
	}

const kp_migrations kp_mailbox_migrations[KP_DIALECT_COUNT] =
	MIGRATIONS("mailbox", mailbox, MAILBOX);
const kp_migrations kp_mailbox_inbound_migrations[KP_DIALECT_COUNT] =
	MIGRATIONS("mailbox_inbound", mailbox_inbound, MAILBOX_INBOUND);
const kp_migrations kp_mailbox_outbound_migrations[KP_DIALECT_COUNT] =
	MIGRATIONS("mailbox_outbound", mailbox_outbound, MAILBOX_OUTBOUND);

/* ---------------------------------------------------------------- names */

keep_status kp_check_segment(const char *what, keep_bytes text, keep_error *err)
{
	keep_status status = kp_check_text(what, text, KEEP_SEGMENT_MAX, KP_NOT_EMPTY, err);

	for (size_t i = 0; status == KEEP_OK && i < text.len; i++) {
		char byte = text.data[i];
		bool is_word = (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
			       (byte >= '0' && byte <= '9') || byte == '_';

		if (!is_word && (i == 0 || (byte != '.' && byte != '-')))
			status = kp_fail(err, KEEP_INVALID,
					 "%s: '%" KP_PRI "' is no id: A-Z a-z 0-9 . _ -, and not "
					 "first . or -",
					 what, KP_ARG(text));
	}
	return status;
}

keep_status kp_check_file_name(const char *what, keep_bytes name, keep_error *err)
{
	keep_status status = kp_check_text(what, name, 255, KP_NOT_EMPTY, err);

	for (size_t i = 0; status == KEEP_OK && i < name.len; i++) {
		unsigned char byte = (unsigned char)name.data[i];

		if (byte == '/' || byte == '\\' || byte < 0x20 || byte == 0x7f)
			status = kp_fail(err, KEEP_INVALID,
					 "%s: has a separator or control character at byte %zu",
					 what, i);
	}
	if (status == KEEP_OK &&
	    (kp_bytes_equal(name, KEEP_BYTES(".")) || kp_bytes_equal(name, KEEP_BYTES(".."))))
		status = kp_fail(err, KEEP_INVALID, "%s: . and .. are no file names", what);
	return status;
}

/* ---------------------------------------------------------------- the registry */

keep_status kp_mailbox_tell_failure(keep_status status, const keep_error *why, keep_error *err)
{
	if (status == KEEP_MISUSE && strcmp(why->sqlstate, NO_SUCH_TABLE) == 0)
		return kp_fail(err, KEEP_UNAVAILABLE, "the mailbox's tables are gone: %s",
			       why->message);
	if (status != KEEP_OK && err)
		*err = *why;
	return status;
}

keep_status kp_registry_read(keep_mailbox *mailbox, kp_query *query, void *ctx, keep_error *err)
{
	int64_t begun_ns = kp_monotonic_ns();
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	for (int i = 0; i < READ_TRIES; i++) {
		kp_lease *lease = NULL;
		bool is_dead;

		status = kp_database_read(mailbox->database, &lease, &why);
		if (status != KEEP_OK)
			break;
		status = query(ctx, lease, &why);
		is_dead = status == KEEP_UNAVAILABLE && lease->conn->broken;
		kp_database_read_end(mailbox->database, &lease);
		if (!is_dead || kp_monotonic_ns() - begun_ns >= mailbox->timeout_ms * 1000000)
			break;
	}
	return kp_mailbox_tell_failure(status, &why, err);
}

keep_status kp_registry_change(keep_mailbox *mailbox, kp_apply *apply, void *ctx, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (mailbox->read_only)
		return kp_fail(err, KEEP_DENIED, "the mailbox was opened for reading only");
	status = kp_database_write(mailbox->database, apply, ctx, &why);
	return kp_mailbox_tell_failure(status, &why, err);
}

struct listing {
	size_t statement;
	const kp_value *values;
	size_t value_count;
	const kp_record *record;
	kp_arena *arena;
	void *rows; /* of one: the object */
	size_t count;
	bool found;
};

static keep_status query_rows(void *ctx, kp_lease *lease, keep_error *err)
{
	struct listing *listing = ctx;

	return kp_lease_list(lease, listing->statement, listing->values, listing->value_count,
			     listing->record, listing->arena, &listing->rows, &listing->count, err);
}

static keep_status query_row(void *ctx, kp_lease *lease, keep_error *err)
{
	struct listing *listing = ctx;

	return kp_lease_get(lease, listing->statement, listing->values, listing->value_count,
			    listing->record, listing->arena, listing->rows, &listing->found, err);
}

keep_status kp_registry_list(keep_mailbox *mailbox, size_t statement, const kp_value *values,
			     size_t value_count, const kp_record *record, kp_arena *arena,
			     void *items, size_t *count, keep_error *err)
{
	struct listing listing = {statement, values, value_count, record, arena, NULL, 0, false};
	keep_status status = kp_registry_read(mailbox, query_rows, &listing, err);

	if (status == KEEP_OK) {
		memcpy(items, &listing.rows, sizeof listing.rows);
		*count = listing.count;
	}
	return status;
}

keep_status kp_registry_get(keep_mailbox *mailbox, size_t statement, const kp_value *values,
			    size_t value_count, const kp_record *record, kp_arena *arena,
			    void *object, bool *found, keep_error *err)
{
	struct listing listing = {statement, values, value_count, record, arena, object, 0, false};
	keep_status status = kp_registry_read(mailbox, query_row, &listing, err);

	*found = status == KEEP_OK && listing.found;
	return status;
}

/* ---------------------------------------------------------------- open and close */

/* Invariant 1. */
static keep_status take_turn(void *ctx, kp_lease *lease, keep_error *err)
{
	(void)ctx;
	if (lease->conn->caps & KP_SQL_ONE_WRITER)
		return KEEP_OK;
	return kp_lease_queue(lease, KP_MAILBOX_TAKE_HOST_TURN, NULL, 0, err);
}

static keep_status read_url(keep_mailbox *mailbox, const char *url, keep_error *err)
{
	static const char file_scheme[] = "sqlite:";
	kp_postgres_url parts = {0};
	keep_status status;

	if (strncmp(url, file_scheme, sizeof file_scheme - 1) == 0) {
		mailbox->driver = &kp_sql_sqlite;
		url += sizeof file_scheme - 1;
		if (!*url)
			return kp_fail(err, KEEP_INVALID, "URL: a folder's name is missing");
		return kp_text_copy(url, &mailbox->location, err);
	}
	if (strncmp(url, "postgres://", 11) != 0 && strncmp(url, "postgresql://", 13) != 0)
		return kp_fail(err, KEEP_INVALID,
			       "URL: sqlite:<folder> or postgres://… is needed for a mailbox");
	mailbox->driver = &kp_sql_postgres;
	status = kp_postgres_url_read(url, "mailbox", &parts, err);
	mailbox->location = parts.conninfo;
	mailbox->schema = parts.schema;
	parts.conninfo = parts.schema = NULL;
	kp_postgres_url_release(&parts);
	return status;
}

keep_status kp_mailbox_channel(const char *schema, char channel[KP_CHANNEL_SIZE], keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	char hex[33];
	keep_status status = kp_sha256(keep_bytes_of(schema), digest, err);

	if (status != KEEP_OK)
		return status;
	kp_hex_format((keep_bytes){(const char *)digest, 16}, hex);
	snprintf(channel, KP_CHANNEL_SIZE, "keep_mailbox_%s", hex);
	return KEEP_OK;
}

/* The folder and the one for sessions; a folder that is there is fine. */
static keep_status make_folders(const char *folder, keep_error *err)
{
	char path[PATH_MAX];
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_folder_make(AT_FDCWD, folder, 0755, &why);

	if (status == KEEP_OK || status == KEEP_CONFLICT) {
		if (snprintf(path, sizeof path, "%s/sessions", folder) >= (int)sizeof path)
			return kp_fail(err, KEEP_INVALID, "URL: the folder's name is too long");
		status = kp_folder_make(AT_FDCWD, path, 0755, &why);
	}
	if (status == KEEP_CONFLICT)
		return KEEP_OK;
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

/* On PostgreSQL the tables of sessions are in the schema as well. */
static keep_status migrate_sessions(keep_mailbox *mailbox, const kp_sql_options *options,
				    keep_error *err)
{
	kp_sql_conn *conn = NULL;
	keep_status status;

	if (!mailbox->schema)
		return KEEP_OK;
	status = kp_sql_open(mailbox->driver, options, &conn, err);
	if (status == KEEP_OK)
		status = kp_migrate(conn, &kp_mailbox_inbound_migrations[KP_DIALECT_POSTGRES], err);
	if (status == KEEP_OK)
		status =
			kp_migrate(conn, &kp_mailbox_outbound_migrations[KP_DIALECT_POSTGRES], err);
	kp_sql_close(&conn);
	return status;
}

/* Where maps cannot be shared, nothing of the mailbox has a log. Whoever asked for that about its
   sessions alone keeps the registry's. */
static keep_status choose_journal(keep_mailbox *mailbox, kp_sql_journal *journal, keep_error *err)
{
	bool shares_maps = true;
	struct stat st;
	keep_status status = KEEP_OK;

	if (stat(mailbox->location, &st) != 0)
		return KEEP_OK; /* opening says what is missing */
	if (mailbox->read_only)
		*journal = KP_JOURNAL_AS_IS;
	else
		status = kp_mount_look(mailbox->location, &shares_maps, err);
	if (status == KEEP_OK && !shares_maps) {
		*journal = KP_JOURNAL_ROLLBACK;
		mailbox->mount_safe = true;
	}
	return status;
}

static keep_status open_database(keep_mailbox *mailbox, keep_error *err)
{
	char path[PATH_MAX];
	kp_database_options options = {
		.sql = {.location = mailbox->location,
			.schema = mailbox->schema,
			.create = mailbox->create,
			.seal = true,
			.read_only = mailbox->read_only,
			.relaxed = mailbox->relaxed,
			.timeout_ms = mailbox->timeout_ms,
			.mmap_bytes = MMAP_BYTES,
			.cache_bytes = CACHE_BYTES},
		.migrations = &kp_mailbox_migrations[mailbox->driver->dialect],
		.statements = &kp_mailbox_statements[mailbox->driver->dialect],
		.begun = take_turn,
	};
	keep_status status = KEEP_OK;

	if (!mailbox->schema) {
		if (mailbox->create)
			status = make_folders(mailbox->location, err);
		if (snprintf(path, sizeof path, "%s/registry.db", mailbox->location) >=
		    (int)sizeof path)
			return kp_fail(err, KEEP_INVALID, "URL: the folder's name is too long");
		options.sql.location = path;
		if (status == KEEP_OK)
			status = choose_journal(mailbox, &options.sql.journal, err);
	}
	if (status == KEEP_OK)
		status = kp_database_open(mailbox->driver, &options, &mailbox->database, err);
	if (status == KEEP_OK)
		status = migrate_sessions(mailbox, &options.sql, err);
	if (status == KEEP_OK)
		mailbox->listens = kp_database_caps(mailbox->database) & KP_SQL_LISTEN;
	return status;
}

/* What crashes left. It is in nobody's way: a failure is for the log. */
static void clean_up(keep_mailbox *mailbox)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_making_clean(mailbox, &why);

	if (status == KEEP_OK)
		status = kp_session_finish_removals(mailbox, &why);
	if (status != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "what a crash left stays: %s", why.message);
}

keep_status keep_mailbox_open(const char *url, const keep_mailbox_options *options,
			      keep_mailbox **out, keep_error *err)
{
	keep_mailbox_options given = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *mailbox = NULL;
	keep_status status;

	if (!url || !out)
		return kp_fail(err, KEEP_MISUSE, "keep_mailbox_open: an argument is NULL");
	*out = NULL;
	if (options && (options->size < sizeof given.size || options->size > sizeof given))
		return kp_fail(err, KEEP_MISUSE, "keep_mailbox_open: options.size is wrong");
	if (options)
		memcpy(&given, options, options->size);
	mailbox = kp_alloc_zero(sizeof *mailbox);
	if (!mailbox)
		return kp_fail_memory(err, "a mailbox");
	mailbox->read_only = given.read_only;
	mailbox->create = given.create && !given.read_only;
	mailbox->relaxed = given.relaxed;
	mailbox->mount_safe = given.mount_safe;
	mailbox->agent_uid = given.agent_uid;
	mailbox->agent_gid = given.agent_gid;
	mailbox->sessions_max = given.sessions_max;
	mailbox->timeout_ms = given.timeout_ms > 0 ? given.timeout_ms : DEFAULT_TIMEOUT_MS;
	status = kp_owner_make(mailbox->owner, err);
	/* A text that proves nothing (kp_owner_check): its leases end by time alone. */
	if (status == KEEP_OK && given.lasting_leases)
		memcpy(mailbox->owner + strlen(mailbox->owner), "+", 2);
	if (status == KEEP_OK)
		status = kp_text_copy(url, &mailbox->url, err);
	if (status == KEEP_OK)
		status = read_url(mailbox, url, err);
	if (status == KEEP_OK)
		status = open_database(mailbox, err);
	if (status == KEEP_OK && mailbox->schema)
		status = kp_mailbox_channel(mailbox->schema, mailbox->channel, err);
	if (status == KEEP_OK && !mailbox->schema)
		status = kp_open_sessions_init(mailbox, err);
	if (status == KEEP_OK)
		status = kp_mailbox_waits_open(mailbox, err);
	if (status == KEEP_OK)
		status = kp_trigger_cache_open(&mailbox->trigger_cache, err);
	if (status == KEEP_OK)
		clean_up(mailbox);
	if (status == KEEP_OK)
		*out = mailbox;
	else
		keep_mailbox_close(&mailbox);
	return status;
}

void keep_mailbox_close(keep_mailbox **mailbox)
{
	keep_mailbox *closing = mailbox ? *mailbox : NULL;

	if (!closing)
		return;
	*mailbox = NULL;
	kp_mailbox_waits_close(closing);
	kp_open_sessions_release(closing);
	kp_session_template_close(closing);
	kp_trigger_cache_close(&closing->trigger_cache);
	kp_database_close(&closing->database);
	kp_free(closing->location);
	kp_free(closing->url);
	kp_free(closing->schema);
	kp_free(closing);
}
