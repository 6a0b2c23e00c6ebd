/*
 * postgres_statement.c - the PostgreSQL driver: statements.
 *
 * A statement is prepared on the server when it first runs, in the same round trip. All rows of a
 * run come in one PGresult that step walks: a list is one round trip, and a scan pages.
 *
 * A finished statement stays prepared, for the next one who prepares the same text; the least
 * recently used of more than KP_PG_STATEMENTS_MAX is dropped on the server.
 *
 * Invariants:
 *   1. Types belong to the preparation: a statement bound with a parameter of another kind than
 *      before is prepared anew, under a new name. A name is never used twice on a connection.
 *   2. Bound bytes are borrowed until reset, and sent by the first step or by queue: nothing of
 *      them is copied here.
 *   3. A parameter that is not bound is NULL.
 *
 * Tests: tests/contract/test_sql_driver.c, tests/contract/test_postgres_driver.c.
 */
#include "sql/postgres_private.h"

#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- kept statements */

static void unlink_statement(kp_pg_conn *conn, kp_pg_stmt *stmt)
{
	kp_pg_stmt **at = &conn->statements;

	while (*at != stmt)
		at = &(*at)->next;
	*at = stmt->next;
}

static void link_first(kp_pg_conn *conn, kp_pg_stmt *stmt)
{
	stmt->next = conn->statements;
	conn->statements = stmt;
}

static void release_statement(kp_pg_stmt *stmt)
{
	PQclear(stmt->result);
	kp_free(stmt->numbers); /* the block of all arrays */
	kp_free(stmt->sql);
	kp_free(stmt);
}

/* Have the server forget a statement, together with whatever is sent next. */
static void deallocate(kp_pg_conn *conn, kp_pg_stmt *stmt)
{
	keep_error ignored;
	char sql[48];

	if (!stmt->prepared || conn->unnamed || kp_pg_ready(conn, &ignored) != KEEP_OK)
		return;
	stmt->prepared = false;
	(void)snprintf(sql, sizeof sql, "DEALLOCATE kp_%llu", (unsigned long long)stmt->name);
	if (kp_pg_send_text(conn, sql, &ignored) != KEEP_OK)
		kp_log(KEEP_LOG_DEBUG, "%s", ignored.message);
}

static void drop_oldest_idle(kp_pg_conn *conn)
{
	kp_pg_stmt *oldest = NULL;

	for (kp_pg_stmt *stmt = conn->statements; stmt; stmt = stmt->next) {
		if (stmt->idle)
			oldest = stmt;
	}
	deallocate(conn, oldest);
	unlink_statement(conn, oldest);
	release_statement(oldest);
	conn->idle_count--;
}

static kp_pg_stmt *take_idle(kp_pg_conn *conn, const char *sql)
{
	kp_pg_stmt *stmt = conn->statements;

	while (stmt && !(stmt->idle && strcmp(stmt->sql, sql) == 0))
		stmt = stmt->next;
	if (!stmt)
		return NULL;
	stmt->idle = false;
	stmt->changes = 0;
	conn->idle_count--;
	return stmt;
}

void kp_pg_release_statements(kp_pg_conn *conn)
{
	while (conn->statements) {
		kp_pg_stmt *stmt = conn->statements;

		conn->statements = stmt->next;
		release_statement(stmt);
	}
}

void kp_pg_finish(kp_sql_stmt *base)
{
	kp_pg_stmt *stmt = kp_pg_stmt_of(base);
	kp_pg_conn *conn = kp_pg_conn_of(base->conn);

	kp_pg_reset(base);
	unlink_statement(conn, stmt);
	if (!stmt->prepared || conn->base.broken) {
		release_statement(stmt);
		return;
	}
	stmt->idle = true;
	link_first(conn, stmt);
	if (++conn->idle_count > KP_PG_STATEMENTS_MAX)
		drop_oldest_idle(conn);
}

/* ---------------------------------------------------------------- prepare and bind */

/* One block for the five arrays of `count` parameters. */
static bool allocate_parameters(kp_pg_stmt *stmt, int count)
{
	size_t each = sizeof *stmt->numbers + sizeof *stmt->values + sizeof *stmt->types +
		      sizeof *stmt->lengths + sizeof *stmt->formats;

	stmt->numbers = kp_alloc_zero(count > 0 ? (size_t)count * each : 1);
	if (!stmt->numbers)
		return false;
	stmt->count = count;
	stmt->values = (const char **)(void *)(stmt->numbers + count);
	stmt->types = (Oid *)(void *)(stmt->values + count);
	stmt->lengths = (int *)(void *)(stmt->types + count);
	stmt->formats = stmt->lengths + count;
	for (int i = 0; i < count; i++)
		stmt->formats[i] = 1;
	return true;
}

keep_status kp_pg_prepare(kp_sql_conn *base, const char *sql, kp_sql_stmt **out, keep_error *err)
{
	kp_pg_conn *conn = kp_pg_conn_of(base);
	size_t size = strlen(sql) + 1;
	keep_status status = kp_pg_ready(conn, err);
	kp_pg_stmt *stmt;

	*out = NULL;
	if (status != KEEP_OK)
		return status;
	stmt = take_idle(conn, sql);
	if (!stmt) {
		stmt = kp_alloc_zero(sizeof *stmt);
		if (!stmt)
			return kp_fail_memory(err, "a statement");
		stmt->base.conn = base;
		stmt->row = -1;
		stmt->sql = kp_alloc(size);
		if (!stmt->sql || !allocate_parameters(stmt, kp_pg_parameter_count(sql))) {
			release_statement(stmt);
			return kp_fail_memory(err, "a statement");
		}
		memcpy(stmt->sql, sql, size);
		stmt->may_write = kp_pg_may_write(sql);
		link_first(conn, stmt);
	}
	*out = &stmt->base;
	return KEEP_OK;
}

keep_status kp_pg_bind(kp_sql_stmt *base, int index, const kp_value *value, keep_error *err)
{
	kp_pg_stmt *stmt = kp_pg_stmt_of(base);
	kp_pg_conn *conn = kp_pg_conn_of(base->conn);
	Oid type = kp_pg_type_of(value->kind);
	const char *data = NULL;
	int at = index - 1, len = 0;
	keep_status status = KEEP_OK;

	if (at < 0 || at >= stmt->count)
		return kp_fail(err, KEEP_MISUSE, "PostgreSQL %s: there is no parameter $%d",
			       conn->where, index);
	if (stmt->result)
		return kp_fail(err, KEEP_MISUSE, "PostgreSQL %s: bind before reset", conn->where);
	if (!value->is_null)
		status = kp_pg_encode(value, &type, &data, &len, stmt->numbers[at], err);
	if (status != KEEP_OK)
		return status;
	if (stmt->types[at] != type && stmt->prepared)
		deallocate(conn, stmt);
	if (stmt->types[at] != type)
		stmt->prepared = false;
	stmt->types[at] = type;
	stmt->values[at] = data;
	stmt->lengths[at] = len;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- running */

static int64_t changed_rows(PGresult *result)
{
	static const char *const commands[] = {"INSERT ", "UPDATE ", "DELETE ", "MERGE "};
	const char *tag = PQcmdStatus(result);
	int64_t rows = 0;

	for (size_t i = 0; i < KP_COUNT(commands); i++) {
		if (strncmp(tag, commands[i], strlen(commands[i])) == 0 &&
		    !kp_int_parse(keep_bytes_of(PQcmdTuples(result)), &rows))
			rows = 0;
	}
	return rows;
}

/* A table changed under a prepared statement, or a pooler gave us another server's session: the
   same call works after a new preparation. */
static keep_status look_at_failure(kp_pg_stmt *stmt, bool was_prepared, keep_status status,
				   keep_error *err)
{
	bool is_stale = strcmp(err->sqlstate, "0A000") == 0 || strcmp(err->sqlstate, "26000") == 0;

	if (!was_prepared || !is_stale)
		return status;
	stmt->prepared = false;
	err->status = KEEP_BUSY;
	return KEEP_BUSY;
}

static keep_status run(kp_pg_stmt *stmt, keep_error *err)
{
	kp_pg_conn *conn = kp_pg_conn_of(stmt->base.conn);
	bool commits = !conn->in_transaction && stmt->may_write && !conn->base.read_only;
	bool was_prepared = stmt->prepared, sent = false;
	keep_status status = kp_pg_ready(conn, err);

	stmt->changes = 0;
	if (status != KEEP_OK)
		return status;
	if (commits && !kp_pg_is_alive(conn)) /* so that it was certainly not stored */
		return kp_pg_fail(conn, NULL, err);
	status = kp_pg_send(conn, stmt, err);
	if (status == KEEP_OK) {
		sent = true;
		status = kp_pg_drain(conn, &stmt->result, err);
	}
	if (status == KEEP_OK) {
		stmt->changes = changed_rows(stmt->result);
		return KEEP_OK;
	}
	if (sent && commits && conn->failure_ended_conn)
		return kp_pg_uncertain(conn, "a change", err);
	return look_at_failure(stmt, was_prepared, status, err);
}

keep_status kp_pg_step(kp_sql_stmt *base, bool *has_row, keep_error *err)
{
	kp_pg_stmt *stmt = kp_pg_stmt_of(base);
	keep_status status;

	*has_row = false;
	if (!stmt->result) {
		status = run(stmt, err);
		if (status != KEEP_OK)
			return status;
		stmt->row = -1;
	}
	if (stmt->row < PQntuples(stmt->result))
		stmt->row++;
	*has_row = stmt->row < PQntuples(stmt->result);
	return KEEP_OK;
}

int64_t kp_pg_changes(kp_sql_stmt *base)
{
	return kp_pg_stmt_of(base)->changes;
}

void kp_pg_reset(kp_sql_stmt *base)
{
	kp_pg_stmt *stmt = kp_pg_stmt_of(base);

	PQclear(stmt->result);
	stmt->result = NULL;
	stmt->row = -1;
	for (int i = 0; i < stmt->count; i++)
		stmt->values[i] = NULL;
}

keep_status kp_pg_queue(kp_sql_stmt *base, keep_error *err)
{
	kp_pg_stmt *stmt = kp_pg_stmt_of(base);
	kp_pg_conn *conn = kp_pg_conn_of(base->conn);
	keep_status status;

	/* Without a transaction what is sent together is stored together: one at a time then. */
	if (!conn->in_transaction) {
		status = run(stmt, err);
	} else {
		status = kp_pg_ready(conn, err);
		if (status == KEEP_OK)
			status = kp_pg_send(conn, stmt, err);
		if (status == KEEP_OK && (conn->pending_items >= KP_PG_QUEUE_ITEMS_MAX ||
					  conn->pending_bytes >= KP_PG_QUEUE_BYTES_MAX))
			status = kp_pg_drain(conn, NULL, err);
	}
	kp_pg_reset(base);
	return status;
}

/* ---------------------------------------------------------------- columns */

keep_status kp_pg_column(kp_sql_stmt *base, int index, kp_kind kind, kp_value *out, keep_error *err)
{
	kp_pg_stmt *stmt = kp_pg_stmt_of(base);
	const char *where = kp_pg_conn_of(base->conn)->where;
	keep_bytes raw;

	*out = (kp_value){.kind = kind, .is_null = true};
	if (!stmt->result || stmt->row < 0 || stmt->row >= PQntuples(stmt->result) || index < 0 ||
	    index >= PQnfields(stmt->result))
		return kp_fail(err, KEEP_MISUSE, "PostgreSQL %s: there is no column %d here", where,
			       index);
	if (PQgetisnull(stmt->result, stmt->row, index))
		return KEEP_OK;
	raw = (keep_bytes){PQgetvalue(stmt->result, stmt->row, index),
			   (size_t)PQgetlength(stmt->result, stmt->row, index)};
	if (!kp_pg_decode(PQftype(stmt->result, index), raw, kind, out)) {
		*out = (kp_value){.kind = kind, .is_null = true};
		return kp_fail(err, KEEP_CORRUPT,
			       "PostgreSQL %s: the column %s (type %u) holds what it must not",
			       where, PQfname(stmt->result, index), PQftype(stmt->result, index));
	}
	out->is_null = false;
	return KEEP_OK;
}
