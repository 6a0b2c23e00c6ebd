/*
 * check_database.c - one database of a home by itself: its pages, its version, its indexes.
 *
 * A file is first looked at as pages (kp_sqlite_check_pages: seals and log), then opened for
 * reading and asked by SQLite's own integrity_check and foreign_key_check. A server checks its
 * pages itself; where amcheck is installed its B-trees are compared with their tables, and whether
 * pages have checksums is a note.
 *
 * Invariants:
 *   1. What is read is read in one transaction: others may write meanwhile, and nothing that they
 *      do is half seen.
 *   2. An index is made anew only where the table's own pages are whole, and only when it was asked
 *      for.
 *   3. Of a file whose tables are those of another version nothing else is looked at.
 *
 * Tests: tests/contract/test_home_check.c.
 */
#include "home/check_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { STATEMENT_MS = 3600 * 1000, TIMEOUT_MS = 5000, COMPLAINTS_MAX = 100 };
#define DAMAGED_FILE "damaged_file"
#define FILE_NOTE "file_note"
#define STALE_INDEX "stale_index"

keep_status kp_check_path(const kp_home_check *check, const char *rest, char out[PATH_MAX],
			  keep_error *err)
{
	if (snprintf(out, PATH_MAX, "%s/%s", check->folder, rest) >= PATH_MAX)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long",
			       check->folder);
	return KEEP_OK;
}

const char *kp_check_statement(const kp_sql_conn *conn, size_t index)
{
	return kp_check_statements[conn->driver->dialect].statements[index].sql;
}

static bool has_parameter(const char *sql, size_t number)
{
	const char digit = (char)('0' + number);

	for (const char *at = sql; *at; at++)
		if ((*at == '$' || *at == '?') && at[1] == digit)
			return true;
	return false;
}

keep_status kp_check_prepare(kp_sql_conn *conn, size_t index, const kp_value *values, size_t count,
			     kp_sql_stmt **out, keep_error *err)
{
	const char *sql = kp_check_statement(conn, index);
	keep_status status = kp_sql_prepare(conn, sql, out, err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		if (has_parameter(sql, i + 1))
			status = kp_sql_bind(*out, (int)i + 1, &values[i], err);
	return status;
}

keep_status kp_check_run(kp_sql_conn *conn, size_t index, const kp_value *values, size_t count,
			 keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_check_prepare(conn, index, values, count, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	kp_sql_finish(&stmt);
	return status;
}

keep_status kp_check_ask(kp_sql_conn *conn, size_t index, int64_t *out, keep_error *err)
{
	return kp_home_ask(conn, kp_check_statement(conn, index), (keep_bytes){NULL, 0}, out, err);
}

/* ---------------------------------------------------------------- pages */

struct pages {
	kp_home_check *check;
	bool is_damaged; /* more than a seal is wrong */
	bool may_reseal; /* a seal is */
};

static keep_status take_page(void *ctx, const kp_sqlite_finding *finding, keep_error *err)
{
	struct pages *pages = ctx;
	bool is_note = finding->severity == KP_SQLITE_NOTE;
	kp_complaint found = {.severity = is_note ? KEEP_SEVERITY_NOTE : KEEP_SEVERITY_DAMAGE,
			      .kind = is_note ? FILE_NOTE : DAMAGED_FILE};

	found.can_repair = !is_note && finding->may_reseal && pages->check->options.reseal;
	pages->is_damaged = pages->is_damaged || (!is_note && !finding->may_reseal);
	pages->may_reseal = pages->may_reseal || (!is_note && finding->may_reseal);
	return kp_check_found(pages->check, &found, err, "%s", finding->message);
}

keep_status kp_check_pages(kp_home_check *check, bool *is_damaged, keep_error *err)
{
	struct pages pages = {.check = check};
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE, .kind = DAMAGED_FILE};
	char path[PATH_MAX];
	size_t from = check->result->count;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_check_tell(check, check->file, 0, err);

	*is_damaged = false;
	kp_check_next(check);
	if (status == KEEP_OK)
		status = kp_check_path(check, check->file, path, err);
	if (status != KEEP_OK || check->is_server || check->options.quick)
		return status;
	status = kp_sqlite_check_pages(path, take_page, &pages, &why);
	*is_damaged = pages.is_damaged;
	/* It looks at the structure first, and refuses what is not whole. */
	if (status == KEEP_OK && pages.may_reseal && !pages.is_damaged && check->options.reseal) {
		status = kp_sqlite_reseal(path, &why);
		if (status == KEEP_OK)
			kp_check_mended(check, DAMAGED_FILE, NULL, from);
	}
	return kp_check_failed(check, &found, status, &why, err);
}

/* ---------------------------------------------------------------- open and close */

static kp_sql_options options_of(const kp_check_unit *unit, const char *path, bool writes)
{
	const kp_home_check *check = unit->check;

	return (kp_sql_options){
		.location = check->is_server ? check->conninfo : path,
		.schema = check->is_server ? unit->schema : NULL,
		.read_only = !writes,
		.timeout_ms = check->options.timeout_ms ? check->options.timeout_ms : TIMEOUT_MS,
		.journal = KP_JOURNAL_AS_IS,
		.guard = unit->guard,
		.beside = check->is_server || writes ? NULL : unit->beside,
		.statement_ms = unit->beside ? STATEMENT_MS : 0,
	};
}

static const kp_sql_driver *driver_of(const kp_check_unit *unit)
{
	return unit->check->is_server ? &kp_sql_postgres : &kp_sql_sqlite;
}

keep_status kp_check_unit_open(kp_check_unit *unit, bool *is_open, keep_error *err)
{
	kp_home_check *check = unit->check;
	kp_complaint found = {
		.severity = KEEP_SEVERITY_DAMAGE, .kind = DAMAGED_FILE, .can_repair = false};
	char path[PATH_MAX];
	kp_sql_options options = options_of(unit, path, false);
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_check_path(check, check->file, path, err);

	*is_open = false;
	if (status != KEEP_OK)
		return status;
	status = kp_sql_open(driver_of(unit), &options, &unit->conn, &why);
	if (status == KEEP_OK)
		status = kp_sql_begin(unit->conn, KP_SQL_READ, &why);
	*is_open = status == KEEP_OK;
	if (status != KEEP_OK)
		kp_check_unit_close(unit);
	if (kp_sqlite_awaits_recovery(status, &why)) {
		found.severity = KEEP_SEVERITY_NOTE;
		found.kind = "awaits_recovery";
	}
	return kp_check_failed(check, &found, status, &why, err);
}

void kp_check_unit_close(kp_check_unit *unit)
{
	if (unit->conn)
		kp_sql_rollback(unit->conn);
	kp_sql_close(&unit->conn);
}

keep_status kp_check_unit_renew(kp_check_unit *unit, keep_error *err)
{
	kp_sql_rollback(unit->conn);
	return kp_sql_begin(unit->conn, KP_SQL_READ, err);
}

keep_status kp_check_write(kp_check_unit *unit, kp_check_change *change, void *ctx, keep_error *err)
{
	char path[PATH_MAX];
	kp_sql_options options = options_of(unit, path, true);
	kp_sql_conn *conn = NULL;
	keep_status status = kp_check_path(unit->check, unit->check->file, path, err);

	/* Our own reading would keep a log from being started anew, and see what was before. */
	kp_sql_rollback(unit->conn);
	if (status == KEEP_OK)
		status = kp_sql_open(driver_of(unit), &options, &conn, err);
	if (status == KEEP_OK)
		status = kp_sql_begin(conn, KP_SQL_WRITE, err);
	if (status == KEEP_OK && unit->turn)
		status = kp_check_run(conn, unit->turn - 1, NULL, 0, err);
	if (status == KEEP_OK)
		status = change(ctx, conn, err);
	if (status == KEEP_OK)
		status = kp_sql_commit(conn, err);
	if (conn)
		kp_sql_rollback(conn);
	kp_sql_close(&conn);
	return status == KEEP_OK ? kp_sql_begin(unit->conn, KP_SQL_READ, err) : status;
}

/* ---------------------------------------------------------------- indexes */

static bool begins(keep_bytes text, const char *with)
{
	size_t len = strlen(with);

	return text.len >= len && memcmp(text.data, with, len) == 0;
}

static bool contains(keep_bytes text, const char *part)
{
	return text.len && memmem(text.data, text.len, part, strlen(part)) != NULL;
}

/* What REINDEX mends: the table's own pages are whole, and an index says something else. */
static bool is_about_index(keep_bytes line)
{
	return contains(line, " missing from index ") ||
	       begins(line, "wrong # of entries in index");
}

static keep_status take_complaint(kp_check_unit *unit, keep_bytes line, keep_error *err)
{
	bool is_index = is_about_index(line);
	kp_complaint found = {.severity =
				      is_index ? KEEP_SEVERITY_INCONSISTENCY : KEEP_SEVERITY_DAMAGE,
			      .kind = is_index ? STALE_INDEX : DAMAGED_FILE,
			      .can_repair = is_index};

	if (!is_index && !begins(line, "non-unique entry"))
		unit->is_damaged = true;
	return kp_check_found(unit->check, &found, err, "the database's structure: %" KP_PRI,
			      KP_ARG(line));
}

static keep_status ask_structure(kp_check_unit *unit, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_sql_prepare(
		unit->conn, kp_check_statement(unit->conn, KP_CHECK_STRUCTURE), &stmt, err);

	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row) {
		keep_bytes line = {NULL, 0};

		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &line, err);
		if (status == KEEP_OK && !kp_bytes_equal(line, KEEP_BYTES("ok")))
			status = take_complaint(unit, line, err);
		if (status == KEEP_OK)
			status = kp_check_tell(unit->check, unit->check->file, 0, err);
	}
	kp_sql_finish(&stmt);
	return status;
}

static keep_status take_reference(kp_check_unit *unit, kp_sql_stmt *stmt, keep_error *err)
{
	kp_value table = {.is_null = true}, row = table, parent = table;
	kp_complaint found = {.severity = KEEP_SEVERITY_INCONSISTENCY, .kind = "broken_reference"};
	char name[64] = "", key[32] = "";
	keep_status status = kp_sql_column(stmt, 0, KP_TEXT, &table, err);

	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 1, KP_INT, &row, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 2, KP_TEXT, &parent, err);
	if (status != KEEP_OK)
		return status;
	(void)snprintf(name, sizeof name, "%.*s", (int)table.bytes.len, table.bytes.data);
	found.table = name;
	if (!row.is_null) {
		(void)snprintf(key, sizeof key, "%lld", (long long)row.integer);
		found.key = keep_bytes_of(key);
	}
	return kp_check_found(unit->check, &found, err,
			      "the row refers to one of %" KP_PRI " that is not there",
			      KP_ARG(parent.bytes));
}

static keep_status ask_references(kp_check_unit *unit, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_sql_prepare(
		unit->conn, kp_check_statement(unit->conn, KP_CHECK_REFERENCES), &stmt, err);

	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row)
		status = take_reference(unit, stmt, err);
	kp_sql_finish(&stmt);
	return status;
}

static keep_status renew_indexes(void *ctx, kp_sql_conn *conn, keep_error *err)
{
	(void)ctx;
	return kp_sql_script(conn, kp_check_statement(conn, KP_CHECK_REINDEX), err);
}

/* Once more after it: what it could not mend stays. */
static keep_status mend_indexes(kp_check_unit *unit, size_t from, keep_error *err)
{
	kp_home_check *check = unit->check;
	int64_t after;
	size_t stale = 0;
	keep_status status = kp_check_write(unit, renew_indexes, NULL, err);

	for (size_t i = from; i < check->result->count; i++)
		stale += kp_bytes_equal(check->result->findings[i].kind, KEEP_BYTES(STALE_INDEX));
	after = (int64_t)check->result->count + check->result->unlisted;
	if (status == KEEP_OK)
		status = ask_structure(unit, err);
	if (status == KEEP_OK && stale &&
	    (int64_t)check->result->count + check->result->unlisted == after)
		kp_check_mended(check, STALE_INDEX, NULL, from);
	return status;
}

keep_status kp_check_indexes(kp_check_unit *unit, keep_error *err)
{
	kp_home_check *check = unit->check;
	size_t from = check->result->count;
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE, .kind = DAMAGED_FILE};
	keep_error why = KEEP_ERROR_INIT;
	bool is_stale = false;
	keep_status status;

	kp_check_next(check);
	status = check->options.quick ? KEEP_OK : ask_structure(unit, &why);

	if (status == KEEP_OK && !check->options.quick && !unit->is_damaged)
		status = ask_references(unit, &why);
	if (status == KEEP_OK && !check->options.quick && check->is_server)
		status = kp_check_btrees(unit, &why);
	unit->is_damaged = unit->is_damaged || status == KEEP_CORRUPT;
	status = kp_check_failed(check, &found, status, &why, err);
	for (size_t i = from; i < check->result->count; i++)
		is_stale = is_stale || check->result->findings[i].can_repair;
	/* A server's are mended one by one (check_server.c). */
	if (status == KEEP_OK && is_stale && check->options.repair && !unit->is_damaged &&
	    !check->is_server)
		status = mend_indexes(unit, from, err);
	return status;
}

/* ---------------------------------------------------------------- versions */

keep_status kp_check_version(kp_check_unit *unit, const char *service, bool *is_known,
			     keep_error *err)
{
	kp_complaint found = {
		.severity = KEEP_SEVERITY_DAMAGE, .kind = "unknown_version", .table = "migrations"};
	keep_error why = KEEP_ERROR_INIT;
	int version = 0;
	keep_status status = kp_migrate_version(unit->conn, service, &version, &why);

	*is_known = status == KEEP_OK && version > 0;
	if (status == KEEP_OK && version == 0)
		return kp_check_found(
			unit->check, &found, err,
			"it has no tables of Keep's: they were not made, or are gone");
	return kp_check_failed(unit->check, &found, status, &why, err);
}
