/*
 * backup_check.c - does a copied database open, is it whole, and how many rows have its tables?
 *
 * Files up to THOROUGH_BYTES get SQLite's integrity_check, which also compares every index with its
 * table; larger ones quick_check, which leaves that out and costs a fourth. Rows are counted in
 * ordinary tables alone: a virtual one is code that reads what may be anybody's bytes.
 *
 * Invariants:
 *   1. The copy is opened for reading only, in rollback mode: nothing is made beside it.
 *   2. Row counts are told by table, in the order of names.
 *
 * Tests: tests/contract/test_backup_verify.c.
 */
#include "backup/backup_private.h"

#include <stdio.h>
#include <string.h>

#define THOROUGH_BYTES ((int64_t)32 << 20)
#define MAP_BYTES ((int64_t)2 << 30)

static const char list_sql[] =
	"SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE "
	"'\\' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name";

static keep_status open_copy(const char *path, kp_sql_conn **out, keep_error *err)
{
	kp_sql_options options = {
		.location = path,
		.read_only = true,
		.journal = KP_JOURNAL_AS_IS,
		.mmap_bytes = MAP_BYTES, /* nobody cuts it: it is ours alone */
	};

	return kp_sql_open(&kp_sql_sqlite, &options, out, err);
}

static keep_status check_pages(kp_sql_conn *conn, int64_t size, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_bytes said = {.data = NULL};
	bool has_row = false;
	keep_status status = kp_sql_prepare(conn,
					    size <= THOROUGH_BYTES ? "PRAGMA integrity_check(1)"
								   : "PRAGMA quick_check(1)",
					    &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &said, err);
	if (status == KEEP_OK && !kp_bytes_equal(said, KEEP_BYTES("ok")))
		status = kp_fail(err, KEEP_CORRUPT, "the database is damaged: %" KP_PRI,
				 KP_ARG(said));
	kp_sql_finish(&stmt);
	return status;
}

/* "name", quoted for SQL. */
static keep_status quote(keep_bytes name, keep_buffer *out, keep_error *err)
{
	keep_status status = kp_buffer_append_text(out, "\"", err);

	for (size_t i = 0; i < name.len && status == KEEP_OK; i++) {
		if (name.data[i] == '"')
			status = kp_buffer_append_text(out, "\"", err);
		if (status == KEEP_OK)
			status = kp_buffer_append(out, (keep_bytes){name.data + i, 1}, err);
	}
	return status == KEEP_OK ? kp_buffer_append_text(out, "\"", err) : status;
}

static keep_status count_rows(kp_sql_conn *conn, keep_bytes table, int64_t *rows, keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_buffer_append_text(&sql, "SELECT count(*) FROM ", err);

	if (status == KEEP_OK)
		status = quote(table, &sql, err);
	if (status == KEEP_OK)
		status = kp_sql_prepare(conn, sql.data, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 0, rows, err);
	kp_sql_finish(&stmt);
	keep_buffer_release(&sql);
	return status;
}

static keep_status count_tables(kp_sql_conn *conn, char **tables, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	kp_sql_stmt *list = NULL;
	bool has_row = false;
	keep_status status = kp_sql_prepare(conn, list_sql, &list, err), finished;

	kp_json_begin(&writer, &text);
	kp_json_open_object(&writer);
	while (status == KEEP_OK && (status = kp_sql_step(list, &has_row, err)) == KEEP_OK &&
	       has_row) {
		keep_bytes name = {.data = NULL};
		int64_t rows = 0;

		status = kp_sql_column_bytes(list, 0, KP_TEXT, &name, err);
		if (status == KEEP_OK)
			status = count_rows(conn, name, &rows, err);
		if (status != KEEP_OK)
			break;
		kp_json_name_bytes(&writer, name);
		kp_json_put_integer(&writer, rows);
	}
	kp_sql_finish(&list);
	kp_json_close_object(&writer);
	finished = kp_json_finish(&writer, status == KEEP_OK ? err : NULL);
	if (status == KEEP_OK)
		status = finished;
	if (status == KEEP_OK)
		status = kp_text_copy(text.data, tables, err);
	keep_buffer_release(&text);
	return status;
}

static keep_status look_at(const char *path, int64_t size, char **tables, keep_error *err)
{
	kp_sql_conn *conn = NULL;
	keep_status status = open_copy(path, &conn, err);

	*tables = NULL;
	if (status == KEEP_OK)
		status = kp_sql_begin(conn, KP_SQL_READ, err);
	if (status == KEEP_OK && size >= 0)
		status = check_pages(conn, size, err);
	if (status == KEEP_OK)
		status = count_tables(conn, tables, err);
	if (conn)
		kp_sql_rollback(conn);
	kp_sql_close(&conn);
	/* Always the same statements: what SQLite cannot make of them is the file's fault. */
	return status == KEEP_MISUSE
		       ? kp_prefix(err, err ? (err->status = KEEP_CORRUPT) : KEEP_CORRUPT,
				   "it cannot be read")
		       : status;
}

keep_status kp_database_check(const char *path, int64_t size, char **tables, keep_error *err)
{
	return look_at(path, size, tables, err);
}

keep_status kp_database_count(const char *path, char **tables, keep_error *err)
{
	return look_at(path, -1, tables, err);
}
