/*
 * sqlite_driver.c - the SQLite driver: statements. sqlite_open.c and sqlite_transaction.c are the
 * rest of it.
 *
 * Invariants:
 *   1. SQLite's codes become ours in one function, kp_sqlite_status.
 *   2. No statement that changes the database runs without the write guard. Inside a writing
 *      transaction begin holds it; a change outside of one takes it from its first step to its
 *      end; a change inside a reading transaction is refused, because SQLite would turn that into
 *      a writing one behind the guard's back.
 *   3. After some failures (no memory, no space, an I/O error) SQLite rolls the whole transaction
 *      back by itself, and what follows would commit one by one. So the connection remembers
 *      the failure and answers everything with it until the caller has rolled back.
 *   4. Bound bytes are borrowed (SQLITE_STATIC); reset clears them, so that no statement at rest
 *      points into a caller's memory. Times are text in a buffer of the statement.
 *
 *   5. A statement has options.statement_ms for all its steps together, and is then interrupted.
 *      Transactions begin and end without a limit: an ended commit would be nobody's idea.
 *
 * The connection is opened without SQLite's mutexes: one thread at a time, as sql.h says.
 * bind, step, column and reset are the path of every read; they add a few instructions to SQLite's
 * own call and take their slow turns in functions of their own.
 *
 * Held by tests/contract/test_sql_driver.c, test_sql_values.c, tests/unit/test_sqlite_driver.c and
 * tests/torture/test_sqlite_faults.c.
 */
#include "sql/sqlite_driver.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct stmt {
	kp_sql_stmt base;
	sqlite3_stmt *handle;
	char (*times)[KEEP_TIME_TEXT_SIZE]; /* by parameter; made with the first bound time */
	int64_t changes;
	int64_t spent_ns; /* by the steps of this run; when statements are timed */
	bool writes;
	bool entered; /* this statement took the guard for itself */
};

static inline struct stmt *stmt_of(kp_sql_stmt *stmt)
{
	return (struct stmt *)(void *)stmt;
}

static inline struct kp_sqlite *conn_of(struct stmt *stmt)
{
	return kp_sqlite_of(stmt->base.conn);
}

/* ---------------------------------------------------------------- failures */

static keep_status status_of_errno(int errnum)
{
	switch (errnum) {
	case EMFILE:
	case ENFILE:
	case ENOSPC:
	case EDQUOT: return KEEP_FULL;
	case EACCES:
	case EPERM:
	case EROFS: return KEEP_DENIED;
	case ENOENT:
	case ENOTDIR: return KEEP_NOT_FOUND;
	case ENOMEM: return KEEP_NO_MEMORY;
	default: return KEEP_UNAVAILABLE;
	}
}

keep_status kp_sqlite_status(int rc, int system_errno)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE: return KEEP_OK;
	case SQLITE_NOMEM: return KEEP_NO_MEMORY;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL: /* too many others began to read at once */
	case SQLITE_SCHEMA: return KEEP_BUSY;
	case SQLITE_CONSTRAINT: return KEEP_CONFLICT;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: return KEEP_CORRUPT;
	case SQLITE_FULL:
	case SQLITE_TOOBIG: return KEEP_FULL;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH: return KEEP_DENIED;
	case SQLITE_CANTOPEN: return status_of_errno(system_errno);
	case SQLITE_IOERR:
		if (rc == SQLITE_IOERR_NOMEM)
			return KEEP_NO_MEMORY;
		return system_errno == ENOSPC || system_errno == EDQUOT ? KEEP_FULL
									: KEEP_UNAVAILABLE;
	case SQLITE_INTERRUPT: return KEEP_UNAVAILABLE;
	/* SQLITE_ERROR is a mistake in the statement; with MISUSE and RANGE it is ours. */
	default: return KEEP_MISUSE;
	}
}

/* SQLite has one code for a wrong statement and for one whose new table, index, view or trigger has
   the name of another: the first is our mistake, the second the database's state. */
static bool is_name_taken(int rc, const char *message)
{
	static const char begins[] = "there is already ", ends[] = " already exists";
	size_t len = strlen(message), end_len = sizeof ends - 1;

	return (rc & 0xff) == SQLITE_ERROR &&
	       (strncmp(message, begins, sizeof begins - 1) == 0 ||
		(len > end_len && strcmp(message + len - end_len, ends) == 0));
}

keep_status kp_sqlite_fail(struct kp_sqlite *conn, keep_error *err)
{
	int rc = sqlite3_extended_errcode(conn->db);
	int errnum = sqlite3_system_errno(conn->db);
	bool is_system = (rc & 0xff) == SQLITE_CANTOPEN || (rc & 0xff) == SQLITE_IOERR;
	const char *reason = is_system && errnum != 0 ? strerrordesc_np(errnum) : NULL;
	keep_status status = kp_sqlite_status(rc, errnum);

	if (status == KEEP_OK) /* SQLite kept no code: it had no memory even for that */
		status = KEEP_NO_MEMORY;
	if (is_name_taken(rc, sqlite3_errmsg(conn->db)))
		status = KEEP_CONFLICT;
	if ((rc & 0xff) == SQLITE_TOOBIG && conn->value_max > 0)
		status = kp_fail(err, KEEP_CORRUPT,
				 "%s: a stored value is longer than the limit of %lld bytes",
				 conn->path, (long long)conn->value_max);
	else if ((rc & 0xff) == SQLITE_INTERRUPT && conn->statement_ms > 0)
		status = kp_fail(err, status, "%s: a statement took longer than %lld ms",
				 conn->path, (long long)conn->statement_ms);
	else
		status = kp_fail(err, status, "%s: %s%s%s", conn->path, sqlite3_errmsg(conn->db),
				 reason ? ": " : "", reason ? reason : "");
	if (err)
		err->native = rc;
	return conn->beside ? kp_sqlite_judge(conn, rc, status, err) : status;
}

/* ---------------------------------------------------------------- time */

/* How many instructions of SQLite's machine go by between two looks at the clock. */
enum { TICK = 500 };

static int is_over(void *ctx)
{
	struct kp_sqlite *conn = ctx;

	return conn->deadline_ns != 0 && kp_monotonic_ns() > conn->deadline_ns;
}

void kp_sqlite_init_timing(struct kp_sqlite *conn)
{
	if (conn->statement_ms > 0)
		sqlite3_progress_handler(conn->db, TICK, is_over, conn);
}

void kp_sqlite_time_begin(struct kp_sqlite *conn, int64_t spent_ns)
{
	conn->deadline_ns = 0;
	if (conn->statement_ms > 0)
		conn->deadline_ns = kp_monotonic_ns() + conn->statement_ms * 1000000 - spent_ns;
}

static int step_timed(struct stmt *stmt)
{
	struct kp_sqlite *conn = conn_of(stmt);
	int64_t begun_ns = kp_monotonic_ns();
	int rc;

	if (!sqlite3_stmt_busy(stmt->handle))
		stmt->spent_ns = 0;
	kp_sqlite_time_begin(conn, stmt->spent_ns);
	rc = sqlite3_step(stmt->handle);
	stmt->spent_ns += kp_monotonic_ns() - begun_ns;
	return rc;
}

/* A failed statement; invariant 3. */
static keep_status fail_statement(struct kp_sqlite *conn, keep_error *err)
{
	keep_status status = kp_sqlite_fail(conn, err);

	if (conn->base.in_transaction && sqlite3_get_autocommit(conn->db))
		conn->lost = status;
	return status;
}

static keep_status fail_lost(struct kp_sqlite *conn, keep_error *err)
{
	return kp_fail(err, conn->lost, "%s: the transaction ended with an earlier failure (%s)",
		       conn->path, keep_status_text(conn->lost));
}

/* What a statement that changes something must have first; invariant 2. */
static keep_status enter(struct kp_sqlite *conn, keep_error *err)
{
	keep_status status;

	if (conn->base.in_transaction)
		return kp_fail(err, KEEP_MISUSE, "%s: a change in a reading transaction",
			       conn->path);
	status = kp_sqlite_enter(conn, err);
	if (status != KEEP_OK)
		return status;
	status = kp_sqlite_set_synced(conn, true, err);
	if (status != KEEP_OK)
		kp_sqlite_leave(conn);
	return status;
}

/* ---------------------------------------------------------------- script */

/* Run the first statement of *sql and move past it. */
static keep_status run_first(struct kp_sqlite *conn, const char **sql, keep_error *err)
{
	sqlite3_stmt *handle = NULL;
	keep_status status = KEEP_OK;
	int rc;

	kp_sqlite_time_begin(conn, 0);
	rc = sqlite3_prepare_v2(conn->db, *sql, -1, &handle, sql);
	if (rc != SQLITE_OK)
		return fail_statement(conn, err);
	if (!handle) /* only blanks and comments were left */
		return KEEP_OK;
	if (!conn->has_guard && !conn->read_only && !sqlite3_stmt_readonly(handle))
		status = enter(conn, err);
	while (status == KEEP_OK && (rc = sqlite3_step(handle)) != SQLITE_DONE) {
		if (rc != SQLITE_ROW)
			status = fail_statement(conn, err);
	}
	(void)sqlite3_finalize(handle);
	return status;
}

/* After a script outside of a transaction: roll back what it left open, and see to what a failed
   commit left behind. */
static keep_status end_script(struct kp_sqlite *conn, keep_status status, keep_error *err)
{
	int rc = status == KEEP_OK ? SQLITE_OK : sqlite3_extended_errcode(conn->db);
	bool is_open = !sqlite3_get_autocommit(conn->db);

	if (is_open && kp_sqlite_run_fixed(conn, KP_SQLITE_ROLLBACK, NULL) != KEEP_OK)
		conn->base.broken = true;
	if (status != KEEP_OK)
		status = kp_sqlite_settle(conn, rc, status, err);
	else if (is_open)
		status = kp_fail(err, KEEP_MISUSE, "%s: a script left its transaction open",
				 conn->path);
	kp_sqlite_leave(conn);
	return status;
}

/* Outside of a transaction the guard is held for the whole script, which may hold its own BEGIN
   and COMMIT. */
static keep_status script(kp_sql_conn *base, const char *sql, keep_error *err)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);
	bool alone = !base->in_transaction && !conn->has_guard;
	keep_status status = KEEP_OK;

	if (conn->lost != KEEP_OK)
		return fail_lost(conn, err);
	if (alone && !conn->read_only)
		status = enter(conn, err);
	while (status == KEEP_OK && *sql != '\0')
		status = run_first(conn, &sql, err);
	return alone ? end_script(conn, status, err) : status;
}

/* ---------------------------------------------------------------- statements */

static keep_status prepare(kp_sql_conn *base, const char *sql, kp_sql_stmt **out, keep_error *err)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);
	struct stmt *stmt;
	int rc;

	*out = NULL;
	if (conn->lost != KEEP_OK)
		return fail_lost(conn, err);
	stmt = kp_alloc_zero(sizeof *stmt);
	if (!stmt)
		return kp_fail_memory(err, "a statement");
	stmt->base.conn = base;
	kp_sqlite_time_begin(conn, 0);
	rc = sqlite3_prepare_v3(conn->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt->handle, NULL);
	if (rc != SQLITE_OK || !stmt->handle) {
		keep_status status = rc != SQLITE_OK
					     ? fail_statement(conn, err)
					     : kp_fail(err, KEEP_MISUSE, "an empty statement");

		kp_free(stmt);
		return status;
	}
	/* On a read-only connection SQLite itself refuses; there is no guard to take. */
	stmt->writes = !conn->read_only && !sqlite3_stmt_readonly(stmt->handle);
	*out = &stmt->base;
	return KEEP_OK;
}

static int bind_time(struct stmt *stmt, int index, int64_t time_ms, keep_status *status,
		     keep_error *err)
{
	int count = sqlite3_bind_parameter_count(stmt->handle);

	if (index < 1 || index > count)
		return sqlite3_bind_null(stmt->handle, index); /* SQLite's own complaint */
	if (!stmt->times)
		stmt->times = kp_alloc((size_t)count * sizeof *stmt->times);
	if (!stmt->times) {
		*status = kp_fail_memory(err, "a time parameter");
		return SQLITE_NOMEM;
	}
	*status = keep_time_format(time_ms, stmt->times[index - 1], err);
	if (*status != KEEP_OK)
		return SQLITE_MISMATCH;
	return sqlite3_bind_text(stmt->handle, index, stmt->times[index - 1],
				 KEEP_TIME_TEXT_SIZE - 1, SQLITE_STATIC);
}

static keep_status fail_length(struct stmt *stmt, int index, const kp_value *value, keep_error *err)
{
	return kp_fail(err, KEEP_FULL, "%s: parameter %d has %zu bytes, and the limit is %lld",
		       conn_of(stmt)->path, index, value->bytes.len,
		       (long long)conn_of(stmt)->value_max);
}

static bool is_too_long(struct stmt *stmt, const kp_value *value)
{
	return !value->is_null && conn_of(stmt)->value_max > 0 &&
	       (value->kind == KP_TEXT || value->kind == KP_JSON || value->kind == KP_BLOB) &&
	       value->bytes.len > (uint64_t)conn_of(stmt)->value_max;
}

static keep_status bind(kp_sql_stmt *base, int index, const kp_value *value, keep_error *err)
{
	struct stmt *stmt = stmt_of(base);
	keep_status status = KEEP_OK;
	int rc = SQLITE_MISUSE;

	if (is_too_long(stmt, value))
		return fail_length(stmt, index, value, err);
	if (value->is_null) {
		rc = sqlite3_bind_null(stmt->handle, index);
	} else {
		switch (value->kind) {
		case KP_TEXT:
		case KP_JSON:
			rc = sqlite3_bind_text64(stmt->handle, index, value->bytes.data,
						 value->bytes.len, SQLITE_STATIC, SQLITE_UTF8);
			break;
		case KP_BLOB:
			rc = sqlite3_bind_blob64(stmt->handle, index, value->bytes.data,
						 value->bytes.len, SQLITE_STATIC);
			break;
		case KP_INT:
		case KP_BOOL: rc = sqlite3_bind_int64(stmt->handle, index, value->integer); break;
		case KP_REAL: rc = sqlite3_bind_double(stmt->handle, index, value->real); break;
		case KP_TIME: rc = bind_time(stmt, index, value->integer, &status, err); break;
		}
	}
	if (rc == SQLITE_OK || status != KEEP_OK)
		return status;
	return kp_sqlite_fail(conn_of(stmt), err);
}

/* The end of a change: count it, and give back the guard if it was taken for this alone. */
static void end_change(struct stmt *stmt)
{
	struct kp_sqlite *conn = conn_of(stmt);

	stmt->changes = sqlite3_changes64(conn->db);
	if (stmt->entered)
		kp_sqlite_leave(conn);
	stmt->entered = false;
}

static keep_status step_failed(struct stmt *stmt, keep_error *err)
{
	struct kp_sqlite *conn = conn_of(stmt);
	keep_status status = fail_statement(conn, err);
	int rc = sqlite3_extended_errcode(conn->db);

	(void)sqlite3_reset(stmt->handle);
	if (stmt->entered)
		status = kp_sqlite_settle(conn, rc, status, err);
	if (stmt->writes)
		end_change(stmt);
	stmt->changes = 0;
	return status;
}

/* Before a change without the guard, or after a lost transaction. */
static keep_status step_prepare(struct stmt *stmt, keep_error *err)
{
	struct kp_sqlite *conn = conn_of(stmt);
	keep_status status;

	if (conn->lost != KEEP_OK)
		return fail_lost(conn, err);
	status = enter(conn, err);
	stmt->entered = status == KEEP_OK;
	return status;
}

static keep_status step(kp_sql_stmt *base, bool *has_row, keep_error *err)
{
	struct stmt *stmt = stmt_of(base);
	struct kp_sqlite *conn = conn_of(stmt);
	keep_status status;
	int rc;

	*has_row = false;
	if (conn->lost != KEEP_OK || (stmt->writes && !conn->has_guard)) {
		status = step_prepare(stmt, err);
		if (status != KEEP_OK)
			return status;
	}
	rc = conn->statement_ms > 0 ? step_timed(stmt) : sqlite3_step(stmt->handle);
	*has_row = rc == SQLITE_ROW;
	if (rc == SQLITE_ROW)
		return KEEP_OK;
	if (rc != SQLITE_DONE)
		return step_failed(stmt, err);
	if (stmt->writes)
		end_change(stmt);
	return KEEP_OK;
}

static int64_t changes(kp_sql_stmt *base)
{
	return stmt_of(base)->changes;
}

static void reset(kp_sql_stmt *base)
{
	struct stmt *stmt = stmt_of(base);
	bool running = stmt->writes && sqlite3_stmt_busy(stmt->handle);

	(void)sqlite3_reset(stmt->handle);
	(void)sqlite3_clear_bindings(stmt->handle);
	if (running)
		end_change(stmt);
}

static void finish(kp_sql_stmt *base)
{
	struct stmt *stmt = stmt_of(base);

	reset(base);
	(void)sqlite3_finalize(stmt->handle);
	kp_free(stmt->times);
	kp_free(stmt);
}

static keep_status queue(kp_sql_stmt *base, keep_error *err)
{
	keep_status status = KEEP_OK;
	bool has_row = true;

	while (status == KEEP_OK && has_row)
		status = step(base, &has_row, err);
	reset(base);
	return status;
}

static keep_status flush(kp_sql_conn *base, keep_error *err)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);

	return conn->lost == KEEP_OK ? KEEP_OK : fail_lost(conn, err);
}

/* ---------------------------------------------------------------- columns */

static const char *name_of(struct stmt *stmt, int index)
{
	const char *name = sqlite3_column_name(stmt->handle, index);

	return name ? name : "?";
}

static keep_status fail_kind(struct stmt *stmt, int index, int type, keep_error *err)
{
	static const char *const types[] = {
		[SQLITE_INTEGER] = "an integer", [SQLITE_FLOAT] = "a real",
		[SQLITE_TEXT] = "a text",        [SQLITE_BLOB] = "bytes",
		[SQLITE_NULL] = "NULL",
	};

	if (index < 0 || index >= sqlite3_data_count(stmt->handle))
		return kp_fail(err, KEEP_MISUSE, "%s: there is no column %d here",
			       conn_of(stmt)->path, index);
	return kp_fail(err, KEEP_CORRUPT, "%s: the column %s holds %s, which it must not",
		       conn_of(stmt)->path, name_of(stmt, index), types[type]);
}

static keep_status read_time(struct stmt *stmt, int index, kp_value *out, keep_error *err)
{
	keep_bytes text = out->bytes;
	keep_error bad = KEEP_ERROR_INIT;

	if (keep_time_parse(text, &out->integer, &bad) == KEEP_OK)
		return KEEP_OK;
	return kp_fail(err, KEEP_CORRUPT, "%s: the column %s holds no time: %s",
		       conn_of(stmt)->path, name_of(stmt, index), bad.message);
}

static keep_status read_bytes(struct stmt *stmt, int index, kp_kind kind, kp_value *out,
			      keep_error *err)
{
	const char *data = kind == KP_BLOB ? sqlite3_column_blob(stmt->handle, index)
					   : (const char *)sqlite3_column_text(stmt->handle, index);
	size_t len = (size_t)sqlite3_column_bytes(stmt->handle, index);

	if (!data &&
	    (kind != KP_BLOB || len > 0 || sqlite3_errcode(conn_of(stmt)->db) == SQLITE_NOMEM))
		return kp_sqlite_fail(conn_of(stmt), err);
	out->bytes = (keep_bytes){data ? data : "", len}; /* SQLite's empty blob is NULL */
	return kind == KP_TIME ? read_time(stmt, index, out, err) : KEEP_OK;
}

static keep_status column(kp_sql_stmt *base, int index, kp_kind kind, kp_value *out,
			  keep_error *err)
{
	static const unsigned char stored[] = {
		[KP_TEXT] = SQLITE_TEXT,  [KP_BLOB] = SQLITE_BLOB,    [KP_INT] = SQLITE_INTEGER,
		[KP_REAL] = SQLITE_FLOAT, [KP_BOOL] = SQLITE_INTEGER, [KP_TIME] = SQLITE_TEXT,
		[KP_JSON] = SQLITE_TEXT,
	};
	struct stmt *stmt = stmt_of(base);
	int type = sqlite3_column_type(stmt->handle, index);

	assert((size_t)kind < KP_COUNT(stored));
	out->kind = kind;
	out->is_null = false;
	if (type == stored[kind]) {
		switch (kind) {
		case KP_TEXT:
		case KP_JSON:
		case KP_BLOB:
		case KP_TIME: return read_bytes(stmt, index, kind, out, err);
		case KP_REAL:
			out->real = sqlite3_column_double(stmt->handle, index);
			return KEEP_OK;
		case KP_INT:
			out->integer = sqlite3_column_int64(stmt->handle, index);
			return KEEP_OK;
		case KP_BOOL:
			out->integer = sqlite3_column_int64(stmt->handle, index);
			if (out->integer == 0 || out->integer == 1)
				return KEEP_OK;
			break;
		}
	} else if (type == SQLITE_NULL && index >= 0 && index < sqlite3_data_count(stmt->handle)) {
		out->is_null = true;
		out->bytes = (keep_bytes){NULL, 0};
		return KEEP_OK;
	}
	return fail_kind(stmt, index, type, err);
}

/* ---------------------------------------------------------------- what SQLite has not */

static keep_status no_listen(keep_error *err)
{
	return kp_fail(err, KEEP_MISUSE, "SQLite has no LISTEN and NOTIFY");
}

static keep_status notify(kp_sql_conn *conn, const char *channel, keep_bytes payload,
			  keep_error *err)
{
	(void)conn, (void)channel, (void)payload;
	return no_listen(err);
}

static keep_status listen(kp_sql_conn *conn, const char *channel, keep_error *err)
{
	(void)conn, (void)channel;
	return no_listen(err);
}

static keep_status wait(kp_sql_conn *conn, int64_t timeout_ms, int wake_fd, bool *notified,
			keep_buffer *payload, keep_error *err)
{
	(void)conn, (void)timeout_ms, (void)wake_fd, (void)payload;
	*notified = false;
	return no_listen(err);
}

const kp_sql_driver kp_sql_sqlite = {
	.abi = KP_SQL_DRIVER_ABI,
	.name = "sqlite",
	.dialect = KP_DIALECT_SQLITE,
	.open = kp_sqlite_open,
	.close = kp_sqlite_close,
	.script = script,
	.prepare = prepare,
	.bind = bind,
	.step = step,
	.column = column,
	.changes = changes,
	.reset = reset,
	.finish = finish,
	.queue = queue,
	.flush = flush,
	.begin = kp_sqlite_begin,
	.commit = kp_sqlite_commit,
	.rollback = kp_sqlite_rollback,
	.check = kp_sqlite_check,
	.falls_due = kp_sqlite_falls_due,
	.maintain = kp_sqlite_maintain,
	.tend = kp_sqlite_tend,
	.copy = kp_sqlite_copy,
	.notify = notify,
	.listen = listen,
	.wait = wait,
};
