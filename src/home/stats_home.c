/*
 * stats_home.c - keep_home_stats: numbers about a home, store by store.
 *
 * A number is a row of a query of stats.sql, or a count of a table's rows, or a file's size. States
 * are counted where an index has them; a table's rows are counted by the smallest index it has.
 *
 * Invariants:
 *   1. It only reads, and takes no lock that a writer waits for.
 *   2. A store is read in one transaction; two stores are of two moments.
 *   3. A store that is not there has no numbers; one that cannot be read is CORRUPT and named.
 *
 * What it does not do: say whether anything is wrong (check_home.c).
 *
 * Tests: tests/contract/test_home_check.c, tests/cli/test_cli_check.py.
 */
#include "assistant/assistant_records.h"
#include "engine/engine_records.h"
#include "gateway/gateway_records.h"
#include "home/check_private.h"
#include "home/stats_list.h"
#include "mailbox/mailbox_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TIMEOUT_MS = 5000, SESSIONS_MAX = 1000 };

/* What of a store is counted. */
struct store {
	const char *name, *file;
	size_t statement;
	const kp_record *const *records;
	size_t record_count;
};

static const struct store stores[] = {
	{"gateway", "gateway/messages.db", KP_CHECK_STATS_GATEWAY, kp_gateway_records,
	 KP_GATEWAY_RECORD_COUNT},
	{"mailbox", "mailbox/registry.db", KP_CHECK_STATS_MAILBOX, kp_mailbox_records,
	 KP_MAILBOX_RECORD_COUNT},
	{"assistant", "assistant/assistant.db", KP_CHECK_STATS_ASSISTANT, kp_assistant_records,
	 KP_ASSISTANT_RECORD_COUNT},
};

/* ---------------------------------------------------------------- one database */

static keep_status open_database(const kp_stats *stats, const char *file, const char *guard,
				 const char *schema, kp_sql_conn **out, keep_error *err)
{
	char path[PATH_MAX] = "";
	const kp_sql_options options = {
		.location = stats->side.is_server ? stats->side.conninfo : path,
		.schema = stats->side.is_server ? schema : NULL,
		.read_only = true,
		.timeout_ms = stats->side.timeout_ms,
		.journal = KP_JOURNAL_AS_IS,
		.guard = guard,
	};
	keep_status status;

	if (snprintf(path, sizeof path, "%s/%s", stats->side.folder, file) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long",
			       stats->side.folder);
	status = kp_sql_open(stats->side.is_server ? &kp_sql_postgres : &kp_sql_sqlite, &options,
			     out, err);
	if (status == KEEP_OK)
		status = kp_sql_begin(*out, KP_SQL_READ, err);
	if (status != KEEP_OK)
		kp_sql_close(out);
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", file);
}

static void close_database(kp_sql_conn **conn)
{
	if (*conn)
		kp_sql_rollback(*conn);
	kp_sql_close(conn);
}

/* ---------------------------------------------------------------- one statement */

static keep_status take_row(kp_stats *stats, kp_sql_stmt *stmt, keep_error *err)
{
	kp_value name = {.is_null = true}, part = name, number = name, time = name;
	keep_status status = kp_sql_column(stmt, 0, KP_TEXT, &name, err);

	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 1, KP_TEXT, &part, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 2, KP_INT, &number, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 3, KP_TIME, &time, err);
	if (status != KEEP_OK || (number.is_null && time.is_null))
		return status;
	return kp_stats_add(stats, name.bytes, part.is_null ? (keep_bytes){NULL, 0} : part.bytes,
			    time.is_null ? number.integer : time.integer, !time.is_null, err);
}

static keep_status ask(kp_stats *stats, kp_sql_conn *conn, size_t statement, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_check_prepare(conn, statement, NULL, 0, &stmt, err);

	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row)
		status = take_row(stats, stmt, err);
	kp_sql_finish(&stmt);
	return status;
}

static keep_status count_rows(kp_stats *stats, kp_sql_conn *conn, const kp_record *const *records,
			      size_t count, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		char sql[160];
		int64_t rows = 0;

		if (records[i]->flags)
			continue;
		(void)snprintf(sql, sizeof sql, "SELECT count(*) FROM \"%s\"", records[i]->table);
		status = kp_home_ask(conn, sql, (keep_bytes){NULL, 0}, &rows, err);
		if (status == KEEP_OK)
			status = kp_stats_add(stats, KEEP_BYTES("rows"),
					      keep_bytes_of(records[i]->table), rows, false, err);
	}
	return status;
}

static keep_status add_size(kp_stats *stats, kp_sql_conn *conn, const char *file, keep_error *err)
{
	static const char *const ends[] = {"", "-wal"};
	int64_t size = 0;
	keep_status status = KEEP_OK;

	if (stats->side.is_server)
		status = kp_check_ask(conn, KP_CHECK_STATS_DATABASE_SIZE, &size, err);
	for (size_t i = 0; !stats->side.is_server && i < KP_COUNT(ends); i++) {
		char name[PATH_MAX];
		struct stat st;

		if (snprintf(name, sizeof name, "%s%s", file, ends[i]) < (int)sizeof name &&
		    fstatat(stats->side.fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			size += st.st_size;
	}
	return status == KEEP_OK ? kp_stats_add(stats, KEEP_BYTES("size_bytes"),
						(keep_bytes){NULL, 0}, size, false, err)
				 : status;
}

/* ---------------------------------------------------------------- stores */

static keep_status count_store(kp_stats *stats, const struct store *store, keep_error *err)
{
	kp_sql_conn *conn = NULL;
	bool has = false;
	keep_status status = kp_home_has(&stats->side, store->file, store->name,
					 store->records[0]->table, &has, err);

	stats->store = store->name;
	if (status != KEEP_OK || !has)
		return status;
	status = open_database(stats, store->file, NULL, store->name, &conn, err);
	if (status == KEEP_OK)
		status = add_size(stats, conn, store->file, err);
	if (status == KEEP_OK)
		status = count_rows(stats, conn, store->records, store->record_count, err);
	if (status == KEEP_OK)
		status = ask(stats, conn, store->statement, err);
	close_database(&conn);
	return status;
}

/* Its name is the file's; of a server all namespaces are in one. */
static keep_status count_engine(void *ctx, const char *name, keep_error *err)
{
	kp_stats *stats = ctx;
	size_t len = strlen(name), first = stats->list.count;
	kp_sql_conn *conn = NULL;
	char file[300];
	keep_status status;

	if (len <= 3 || strcmp(name + len - 3, ".db") != 0 ||
	    snprintf(file, sizeof file, "engine/%s", name) >= (int)sizeof file)
		return KEEP_OK;
	stats->store = "engine";
	status = open_database(stats, file, NULL, "engine", &conn, err);
	if (status == KEEP_OK)
		status = add_size(stats, conn, file, err);
	if (status == KEEP_OK)
		status = ask(stats, conn, KP_CHECK_STATS_ENGINE, err);
	close_database(&conn);
	return status == KEEP_OK
		       ? kp_stats_name_parts(stats, first, (keep_bytes){name, len - 3}, err)
		       : status;
}

static keep_status count_engines(kp_stats *stats, keep_error *err)
{
	kp_sql_conn *conn = NULL;
	char path[PATH_MAX];
	bool has = false;
	keep_status status = KEEP_OK;

	stats->store = "engine";
	if (!stats->side.is_server)
		return snprintf(path, sizeof path, "%s/engine", stats->side.folder) <
				       (int)sizeof path
			       ? kp_home_each_name(path, count_engine, stats, err)
			       : kp_fail(err, KEEP_INVALID, "the path is too long");
	status = kp_home_has(&stats->side, NULL, "engine", "namespaces", &has, err);
	if (status == KEEP_OK && has)
		status = open_database(stats, "engine", NULL, "engine", &conn, err);
	if (status == KEEP_OK && has)
		status = add_size(stats, conn, NULL, err);
	if (status == KEEP_OK && has)
		status = ask(stats, conn, KP_CHECK_STATS_ENGINE, err);
	close_database(&conn);
	return status;
}

/* ---------------------------------------------------------------- sessions */

static keep_status count_side(kp_stats *stats, const char *below, const char *name,
			      enum kp_side_kind kind, keep_error *err)
{
	char file[PATH_MAX], guard[PATH_MAX];
	kp_sql_conn *conn = NULL;
	bool is_plain = false;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (snprintf(file, sizeof file, "%s/%s", below, name) >= (int)sizeof file ||
	    snprintf(guard, sizeof guard, "%s/%s", stats->side.folder, below) >= (int)sizeof guard)
		return KEEP_OK;
	status = open_database(stats, file, guard, NULL, &conn, &why);
	if (status == KEEP_OK)
		status = kp_plain_look(conn, "main", kind, &is_plain, &why);
	if (status == KEEP_OK && !is_plain)
		status = ask(stats, conn,
			     kind == KP_SIDE_HOST ? KP_CHECK_STATS_SESSION_IN
						  : KP_CHECK_STATS_SESSION_OUT,
			     &why);
	close_database(&conn);
	if (status == KEEP_NO_MEMORY)
		return kp_fail(err, status, "%s", why.message);
	/* An agent may have damaged it, or it was removed meanwhile: it is one of many. */
	return status == KEEP_OK ? status
				 : kp_stats_add(stats, KEEP_BYTES("unreadable_sides"),
						(keep_bytes){NULL, 0}, 1, false, err);
}

static keep_status count_session(kp_stats *stats, keep_bytes id, keep_bytes group, keep_error *err)
{
	char below[PATH_MAX];
	size_t first = stats->list.count;
	keep_status status;

	if (kp_check_segment("id", id, NULL) != KEEP_OK ||
	    kp_check_segment("agent_group_id", group, NULL) != KEEP_OK ||
	    snprintf(below, sizeof below, "mailbox/sessions/%.*s/%.*s", (int)group.len, group.data,
		     (int)id.len, id.data) >= (int)sizeof below)
		return KEEP_OK;
	status = count_side(stats, below, "inbound.db", KP_SIDE_HOST, err);
	if (status == KEEP_OK)
		status = count_side(stats, below, "outbound.db", KP_SIDE_AGENT, err);
	/* One sum for all sessions. */
	if (status == KEEP_OK)
		kp_stats_merge(stats, stats->sessions_first, first);
	return status;
}

static keep_status count_sessions(kp_stats *stats, kp_sql_conn *conn, keep_error *err)
{
	const kp_value limit = kp_int_value(stats->sessions_max);
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	int64_t count = 0;
	keep_status status =
		kp_check_prepare(conn, KP_CHECK_STATS_RECENT_SESSIONS, &limit, 1, &stmt, err);

	stats->sessions_first = stats->list.count;
	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row) {
		keep_bytes id = {NULL, 0}, group = {NULL, 0};

		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &id, err);
		if (status == KEEP_OK)
			status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &group, err);
		if (status == KEEP_OK)
			status = count_session(stats, id, group, err);
		count++;
	}
	kp_sql_finish(&stmt);
	return status == KEEP_OK ? kp_stats_add(stats, KEEP_BYTES("sessions_counted"),
						(keep_bytes){NULL, 0}, count, false, err)
				 : status;
}

static keep_status count_mailbox(kp_stats *stats, keep_error *err)
{
	kp_sql_conn *conn = NULL;
	bool has = false;
	keep_status status = kp_home_has(&stats->side, "mailbox/registry.db", "mailbox",
					 "messages_in", &has, err);

	stats->store = "mailbox";
	if (status != KEEP_OK || !has)
		return status;
	status = open_database(stats, "mailbox/registry.db", NULL, "mailbox", &conn, err);
	if (status == KEEP_OK && stats->side.is_server) {
		status = ask(stats, conn, KP_CHECK_STATS_SESSION_IN, err);
		if (status == KEEP_OK)
			status = ask(stats, conn, KP_CHECK_STATS_SESSION_OUT, err);
	} else if (status == KEEP_OK) {
		status = count_sessions(stats, conn, err);
	}
	close_database(&conn);
	return status;
}

/* ---------------------------------------------------------------- the door */

static keep_status count_backups(kp_stats *stats, keep_error *err)
{
	kp_backup_entries entries = {.items = NULL};
	int64_t good = 0, last_ms = 0, size = 0;
	keep_status status = KEEP_OK;

	stats->store = "backups";
	if (stats->side.is_server)
		return KEEP_OK;
	status = kp_backup_list(stats->side.folder, &entries, err);
	for (size_t i = 0; i < entries.count; i++) {
		good += entries.items[i].is_good;
		size += entries.items[i].size_bytes;
		if (entries.items[i].is_good)
			last_ms = entries.items[i].moment_ms;
	}
	if (status == KEEP_OK)
		status = kp_stats_add(stats, KEEP_BYTES("backups"), KEEP_BYTES("good"), good, false,
				      err);
	if (status == KEEP_OK)
		status = kp_stats_add(stats, KEEP_BYTES("backups"), KEEP_BYTES("not good"),
				      (int64_t)entries.count - good, false, err);
	if (status == KEEP_OK)
		status = kp_stats_add(stats, KEEP_BYTES("size_bytes"), (keep_bytes){NULL, 0}, size,
				      false, err);
	if (status == KEEP_OK && last_ms)
		status = kp_stats_add(stats, KEEP_BYTES("last_backup_at"), (keep_bytes){NULL, 0},
				      last_ms, true, err);
	kp_backup_entries_release(&entries);
	return status;
}

static keep_status count_all(kp_stats *stats, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(stores) && status == KEEP_OK; i++)
		status = count_store(stats, &stores[i], err);
	if (status == KEEP_OK)
		status = count_mailbox(stats, err);
	if (status == KEEP_OK)
		status = count_engines(stats, err);
	return status == KEEP_OK ? count_backups(stats, err) : status;
}

keep_status keep_home_stats(const char *home, const keep_stats_options *options,
			    keep_stats_result *result, keep_error *err)
{
	kp_stats *stats;
	keep_status status;

	if (!home || !result)
		return kp_fail(err, KEEP_MISUSE, "keep_home_stats: an argument is NULL");
	*result = (keep_stats_result){.items = NULL};
	if (options && options->size != sizeof *options)
		return kp_fail(err, KEEP_MISUSE, "keep_home_stats: options.size is %zu",
			       options->size);
	stats = kp_alloc_zero(sizeof *stats);
	if (!stats)
		return kp_fail_memory(err, "numbers of a home");
	stats->sessions_max =
		options && options->sessions_max ? options->sessions_max : SESSIONS_MAX;
	status = kp_home_side_open(
		&stats->side, home, false,
		options && options->timeout_ms ? options->timeout_ms : TIMEOUT_MS, err);
	if (status == KEEP_OK)
		status = count_all(stats, err);
	kp_home_side_close(&stats->side);
	if (status == KEEP_OK)
		*result = stats->list;
	else
		keep_stats_result_release(&stats->list);
	kp_free(stats);
	return status;
}
