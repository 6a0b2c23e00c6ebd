/*
 * foreign.c - reads a SQLite file of another program, and never changes it.
 *
 * Invariants:
 *   1. The file, its -wal and its -journal keep every byte: the handle is read-only, and closing it
 *      copies no log.
 *   2. With a -wal or a -journal beside it the file is read with SQLite's locks, as any reader of a
 *      live database. That needs a -shm, which SQLite makes where the folder allows it, and which
 *      stays; where it does not, and where a killed transaction waits to be rolled back, opening
 *      fails and says so.
 *   3. Without either nobody has it open who writes in WAL mode. Then it is read as it lies
 *      (SQLite's `immutable`), so that nothing is made beside it; and kp_foreign_confirm tells when
 *      somebody began to write all the same.
 *   4. The schema is not trusted: it may call no function of ours that has an effect, for there is
 *      none.
 *
 * Tests: tests/contract/test_gateway_adopt.c, tests/torture/test_gateway_adopt_faults.c.
 */
#include "sql/foreign.h"
#include "sql/sqlite_driver.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TIMEOUT_MS = 5000, URI_SIZE = 3 * PATH_MAX + 64, TIME_BYTES_MAX = 64 };

struct kp_foreign {
	struct kp_sqlite conn; /* for kp_sqlite_fail: the handle and its path */
	bool as_it_lies;
	struct stat before;
	char path[PATH_MAX];
};

struct kp_foreign_rows {
	kp_foreign *foreign;
	sqlite3_stmt *handle;
};

/* ---------------------------------------------------------------- times */

/* The nanoseconds below a millisecond: the 4th to 9th digit after the point. */
static int64_t read_rest(keep_bytes text)
{
	const char *point = memchr(text.data, '.', text.len);
	const char *end = text.data + text.len;
	int64_t rest = 0;

	for (int digit = 1; point && digit <= 9; digit++) {
		bool is_digit = point + digit < end && point[digit] >= '0' && point[digit] <= '9';

		if (!is_digit)
			end = point;
		if (digit > 3)
			rest = rest * 10 + (is_digit ? point[digit] - '0' : 0);
	}
	return rest;
}

keep_status kp_foreign_time(keep_bytes text, int64_t *time_ms, int64_t *rest_ns, keep_error *err)
{
	char with_zone[TIME_BYTES_MAX + 2];
	keep_status status = keep_time_parse(text, time_ms, err);

	/* "2026-04-11 17:18:21.5", as SQLite's strftime writes it: UTC. */
	if (status == KEEP_INVALID && text.data && text.len > 20 && text.len < TIME_BYTES_MAX &&
	    text.data[10] == ' ' && text.data[19] == '.') {
		memcpy(with_zone, text.data, text.len);
		with_zone[text.len] = 'Z';
		status = keep_time_parse((keep_bytes){with_zone, text.len + 1}, time_ms, err);
	}
	if (status == KEEP_OK && rest_ns)
		*rest_ns = read_rest(text);
	return status;
}

static void answer_time(sqlite3_context *ctx, sqlite3_value **values, bool wants_rest)
{
	keep_bytes text = {.data = NULL};
	int64_t time_ms, rest_ns;

	if (sqlite3_value_type(values[0]) != SQLITE_TEXT)
		return;
	text.data = (const char *)sqlite3_value_text(values[0]);
	text.len = (size_t)sqlite3_value_bytes(values[0]);
	if (!text.data)
		sqlite3_result_error_nomem(ctx);
	else if (kp_foreign_time(text, &time_ms, &rest_ns, NULL) == KEEP_OK)
		sqlite3_result_int64(ctx, wants_rest ? rest_ns : time_ms);
}

static void answer_time_ms(sqlite3_context *ctx, int count, sqlite3_value **values)
{
	(void)count;
	answer_time(ctx, values, false);
}

static void answer_time_rest(sqlite3_context *ctx, int count, sqlite3_value **values)
{
	(void)count;
	answer_time(ctx, values, true);
}

static keep_status add_functions(kp_foreign *foreign, keep_error *err)
{
	const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
	sqlite3 *db = foreign->conn.db;

	if (sqlite3_create_function_v2(db, "kp_time_ms", 1, flags, NULL, answer_time_ms, NULL, NULL,
				       NULL) != SQLITE_OK ||
	    sqlite3_create_function_v2(db, "kp_time_rest", 1, flags, NULL, answer_time_rest, NULL,
				       NULL, NULL) != SQLITE_OK)
		return kp_sqlite_fail(&foreign->conn, err);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- open and close */

static bool has_companion(const char *path, const char *suffix)
{
	char name[PATH_MAX + 16];
	struct stat st;

	(void)snprintf(name, sizeof name, "%s%s", path, suffix);
	return lstat(name, &st) == 0;
}

/* "file:<path>", perhaps as it lies; every byte that a URI gives a meaning is escaped. */
static void format_uri(const kp_foreign *foreign, char uri[URI_SIZE])
{
	static const char digits[] = "0123456789ABCDEF";
	size_t len = (size_t)snprintf(uri, URI_SIZE, "file:");

	for (const char *at = foreign->path; *at && len + 32 < URI_SIZE; at++) {
		if (strchr("%?#", *at)) {
			uri[len++] = '%';
			uri[len++] = digits[(unsigned char)*at >> 4];
			uri[len++] = digits[(unsigned char)*at & 15];
		} else {
			uri[len++] = *at;
		}
	}
	(void)snprintf(uri + len, URI_SIZE - len, "%s", foreign->as_it_lies ? "?immutable=1" : "");
}

static keep_status find_file(kp_foreign *foreign, const char *file, keep_error *err)
{
	if (!file || !*file)
		return kp_fail(err, KEEP_INVALID, "the name of a file is missing");
	if (snprintf(foreign->path, sizeof foreign->path, "%s%s", *file == '/' ? "" : "./", file) >=
	    (int)sizeof foreign->path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", file);
	if (stat(foreign->path, &foreign->before) != 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return kp_fail(err, KEEP_NOT_FOUND, "there is no file '%s'", file);
		return kp_fail_errno(err, errno, "open '%s'", file);
	}
	if (!S_ISREG(foreign->before.st_mode))
		return kp_fail(err, KEEP_INVALID, "'%s' is not a file", file);
	if (foreign->before.st_size == 0)
		return kp_fail(err, KEEP_INVALID, "the file '%s' is empty, not a database", file);
	foreign->as_it_lies =
		!has_companion(foreign->path, "-wal") && !has_companion(foreign->path, "-journal");
	return KEEP_OK;
}

static keep_status open_handle(kp_foreign *foreign, keep_error *err)
{
	const int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX |
			  SQLITE_OPEN_EXRESCODE;
	char *uri = kp_alloc(URI_SIZE);
	int rc;

	if (!uri)
		return kp_fail_memory(err, "a path");
	foreign->conn.path = foreign->path;
	format_uri(foreign, uri);
	rc = sqlite3_open_v2(uri, &foreign->conn.db, flags, NULL);
	kp_free(uri);
	if (rc == SQLITE_OK)
		return KEEP_OK;
	return foreign->conn.db ? kp_sqlite_fail(&foreign->conn, err)
				: kp_fail_memory(err, "a SQLite connection");
}

static keep_status begin_reading(kp_foreign *foreign, keep_error *err)
{
	static const char begin[] = "PRAGMA trusted_schema = 0; PRAGMA query_only = 1; BEGIN;"
				    "SELECT count(*) FROM sqlite_schema";
	sqlite3 *db = foreign->conn.db;

	(void)sqlite3_busy_timeout(db, TIMEOUT_MS);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (sqlite3_exec(db, begin, NULL, NULL, NULL) != SQLITE_OK)
		return kp_sqlite_fail(&foreign->conn, err);
	return add_functions(foreign, err);
}

/* SQLite's reasons in the caller's terms; invariant 2. */
static keep_status explain(kp_foreign *foreign, keep_status status, keep_error *err)
{
	int primary = err ? err->native & 0xff : SQLITE_OK;

	if (primary == SQLITE_NOTADB || primary == SQLITE_CORRUPT || primary == SQLITE_ERROR) {
		status = KEEP_INVALID;
		err->status = status;
		return kp_prefix(err, status, "not a SQLite database that can be read");
	}
	if (!foreign->as_it_lies && (primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY))
		return kp_prefix(err, status,
				 "there is a log or a journal beside the file, which cannot be "
				 "read without changing something there");
	return status;
}

keep_status kp_foreign_open(const char *file, kp_foreign **out, keep_error *err)
{
	kp_foreign *foreign = kp_alloc_zero(sizeof *foreign);
	keep_error local = KEEP_ERROR_INIT;
	keep_status status;

	*out = NULL;
	if (!foreign)
		return kp_fail_memory(err, "a reader of a file");
	err = err ? err : &local;
	status = find_file(foreign, file, err);
	if (status == KEEP_OK) {
		status = open_handle(foreign, err);
		if (status == KEEP_OK)
			status = begin_reading(foreign, err);
		if (status != KEEP_OK)
			status = explain(foreign, status, err);
	}
	if (status == KEEP_OK)
		*out = foreign;
	else
		kp_foreign_close(&foreign);
	return status;
}

void kp_foreign_close(kp_foreign **foreign)
{
	kp_foreign *closing = *foreign;

	*foreign = NULL;
	if (!closing)
		return;
	(void)sqlite3_close_v2(closing->conn.db);
	kp_free(closing);
}

keep_status kp_foreign_confirm(kp_foreign *foreign, keep_error *err)
{
	const struct stat *before = &foreign->before;
	struct stat now;

	if (!foreign->as_it_lies)
		return KEEP_OK;
	if (stat(foreign->path, &now) == 0 && now.st_dev == before->st_dev &&
	    now.st_ino == before->st_ino && now.st_size == before->st_size &&
	    now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == before->st_mtim.tv_nsec)
		return KEEP_OK;
	return kp_fail(err, KEEP_BUSY, "%s changed while it was read", foreign->path);
}

/* ---------------------------------------------------------------- rows */

keep_status kp_foreign_select(kp_foreign *foreign, const char *sql, kp_foreign_rows **out,
			      keep_error *err)
{
	kp_foreign_rows *rows = kp_alloc_zero(sizeof *rows);

	*out = NULL;
	if (!rows)
		return kp_fail_memory(err, "a query");
	rows->foreign = foreign;
	if (sqlite3_prepare_v2(foreign->conn.db, sql, -1, &rows->handle, NULL) != SQLITE_OK) {
		keep_status status = kp_sqlite_fail(&foreign->conn, err);

		kp_foreign_finish(&rows);
		return status;
	}
	*out = rows;
	return KEEP_OK;
}

keep_status kp_foreign_bind_int(kp_foreign_rows *rows, int index, int64_t value, keep_error *err)
{
	if (sqlite3_bind_int64(rows->handle, index, value) == SQLITE_OK)
		return KEEP_OK;
	return kp_sqlite_fail(&rows->foreign->conn, err);
}

keep_status kp_foreign_bind_text(kp_foreign_rows *rows, int index, keep_bytes text, keep_error *err)
{
	if (sqlite3_bind_text64(rows->handle, index, text.data, text.len, SQLITE_STATIC,
				SQLITE_UTF8) == SQLITE_OK)
		return KEEP_OK;
	return kp_sqlite_fail(&rows->foreign->conn, err);
}

keep_status kp_foreign_step(kp_foreign_rows *rows, bool *has_row, keep_error *err)
{
	int rc = sqlite3_step(rows->handle);

	*has_row = rc == SQLITE_ROW;
	if (rc == SQLITE_ROW || rc == SQLITE_DONE)
		return KEEP_OK;
	return kp_sqlite_fail(&rows->foreign->conn, err);
}

int kp_foreign_count(kp_foreign_rows *rows)
{
	return sqlite3_column_count(rows->handle);
}

const char *kp_foreign_name(kp_foreign_rows *rows, int index)
{
	const char *name = sqlite3_column_name(rows->handle, index);

	return name ? name : "?";
}

keep_status kp_foreign_value_at(kp_foreign_rows *rows, int index, kp_foreign_value *out,
				keep_error *err)
{
	const void *data = NULL;

	switch (sqlite3_column_type(rows->handle, index)) {
	case SQLITE_INTEGER:
		*out = (kp_foreign_value){.kind = KP_FOREIGN_INTEGER};
		out->integer = sqlite3_column_int64(rows->handle, index);
		return KEEP_OK;
	case SQLITE_FLOAT:
		*out = (kp_foreign_value){.kind = KP_FOREIGN_REAL};
		out->real = sqlite3_column_double(rows->handle, index);
		return KEEP_OK;
	case SQLITE_TEXT:
		*out = (kp_foreign_value){.kind = KP_FOREIGN_TEXT};
		data = sqlite3_column_text(rows->handle, index);
		break;
	case SQLITE_BLOB:
		*out = (kp_foreign_value){.kind = KP_FOREIGN_BLOB};
		data = sqlite3_column_blob(rows->handle, index);
		break;
	default: *out = (kp_foreign_value){.kind = KP_FOREIGN_NULL}; return KEEP_OK;
	}
	out->bytes.len = (size_t)sqlite3_column_bytes(rows->handle, index);
	if (!data && (out->bytes.len || out->kind == KP_FOREIGN_TEXT))
		return kp_fail_memory(err, "a value");
	out->bytes.data = data ? data : "";
	return KEEP_OK;
}

void kp_foreign_reset(kp_foreign_rows *rows)
{
	if (!rows)
		return;
	(void)sqlite3_reset(rows->handle);
	(void)sqlite3_clear_bindings(rows->handle);
}

void kp_foreign_finish(kp_foreign_rows **rows)
{
	kp_foreign_rows *finishing = *rows;

	*rows = NULL;
	if (!finishing)
		return;
	(void)sqlite3_finalize(finishing->handle);
	kp_free(finishing);
}
