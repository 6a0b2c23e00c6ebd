/*
 * postgres_driver.c - the PostgreSQL driver: its table, scripts and transactions.
 *
 * Invariants:
 *   1. begin only queues BEGIN: begin, queued statements and commit are one round trip.
 *   2. commit says OK only when the server answered COMMIT to it. It answers ROLLBACK to the
 *      COMMIT of a transaction that failed, which is success in the protocol and none for us.
 *   3. UNCERTAIN is said exactly when COMMIT may have reached the server and no answer came. A
 *      server found gone before COMMIT is sent, or an earlier statement's failure, are certain.
 *      A server that stopped answering is ended like one that went (postgres_pipeline.c).
 *   4. After commit and rollback the server is in no transaction, or the connection is broken.
 *
 * SIGPIPE: libpq sends with MSG_NOSIGNAL. Signal handlers: none.
 *
 * Tests: tests/contract/test_sql_driver.c, tests/contract/test_postgres_driver.c,
 * tests/torture/test_postgres_faults.c.
 */
#include "sql/postgres_private.h"

#include <string.h>

/* ---------------------------------------------------------------- transactions */

static keep_status begin(kp_sql_conn *base, kp_sql_mode mode, keep_error *err)
{
	kp_pg_conn *conn = kp_pg_conn_of(base);
	keep_status status = kp_pg_ready(conn, err);

	if (status != KEEP_OK)
		return status;
	if (conn->in_transaction)
		return kp_fail(err, KEEP_MISUSE, "PostgreSQL %s: transactions do not nest",
			       conn->where);
	if (mode != KP_SQL_READ && base->read_only)
		return kp_fail(err, KEEP_DENIED, "PostgreSQL %s: opened for reading only",
			       conn->where);
	/* What a finished statement left behind must not be inside of it. */
	status = kp_pg_drain(conn, NULL, err);
	if (status != KEEP_OK)
		return status;
	conn->in_transaction = true; /* before sending, so that BEGIN comes first of all */
	conn->reads_only = mode == KP_SQL_READ;
	status = kp_pg_send_text(conn,
				 mode == KP_SQL_READ
					 ? "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
					 : "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE",
				 err);
	if (status == KEEP_OK && conn->local_settings)
		status = kp_pg_send_text(conn, conn->local_settings, err);
	if (status == KEEP_OK && mode == KP_SQL_WRITE_SOON) /* after those, which may say on */
		status = kp_pg_send_text(conn, "SET LOCAL synchronous_commit = off", err);
	conn->in_transaction = status == KEEP_OK;
	base->in_transaction = conn->in_transaction;
	return status;
}

static void end_transaction(kp_pg_conn *conn)
{
	conn->in_transaction = false;
	conn->base.in_transaction = false;
	conn->reads_only = false;
	conn->failure = (keep_error)KEEP_ERROR_INIT;
}

static void rollback(kp_sql_conn *base)
{
	kp_pg_conn *conn = kp_pg_conn_of(base);
	keep_error failure = KEEP_ERROR_INIT;
	keep_status status;

	if (!conn->in_transaction)
		return;
	/* What is pending goes first: its failure would have the server skip the ROLLBACK. */
	status = kp_pg_drain(conn, NULL, &failure);
	conn->failure = (keep_error)KEEP_ERROR_INIT;
	if (!base->broken && PQtransactionStatus(conn->pg) != PQTRANS_IDLE) {
		status = kp_pg_send_text(conn, "ROLLBACK", &failure);
		if (status == KEEP_OK)
			status = kp_pg_drain(conn, NULL, &failure);
	}
	if (PQtransactionStatus(conn->pg) != PQTRANS_IDLE) {
		base->broken = true;
		kp_log(KEEP_LOG_WARNING, "rollback: %s (%s)", failure.message,
		       keep_status_name(status));
	}
	end_transaction(conn);
}

/* Send COMMIT with all that is pending and judge the answer; invariants 2 and 3. */
static keep_status commit_pending(kp_pg_conn *conn, keep_error *err)
{
	PGresult *result = NULL;
	keep_status status = kp_pg_send_text(conn, "COMMIT", err);

	if (status == KEEP_OK)
		status = kp_pg_drain(conn, &result, err);
	if (status != KEEP_OK && conn->failure_ended_conn)
		status = kp_pg_uncertain(conn, "COMMIT", err);
	else if (status == KEEP_OK && strcmp(PQcmdStatus(result), "COMMIT") != 0)
		status = kp_fail(err, KEEP_CONFLICT,
				 "PostgreSQL %s: the server rolled the transaction back",
				 conn->where);
	PQclear(result);
	return status;
}

static keep_status commit(kp_sql_conn *base, keep_error *err)
{
	kp_pg_conn *conn = kp_pg_conn_of(base);
	keep_status status = kp_pg_ready(conn, err);

	if (status == KEEP_OK && !conn->in_transaction)
		return kp_fail(err, KEEP_MISUSE, "PostgreSQL %s: no transaction to commit",
			       conn->where);
	/* COMMIT was not sent: a server that is gone by now has stored nothing. */
	if (status == KEEP_OK && !kp_pg_is_alive(conn))
		status = kp_pg_fail(conn, NULL, err);
	if (status == KEEP_OK)
		status = commit_pending(conn, err);
	if (status != KEEP_OK)
		rollback(base);
	end_transaction(conn);
	return status;
}

static keep_status flush(kp_sql_conn *base, keep_error *err)
{
	return kp_pg_drain(kp_pg_conn_of(base), NULL, err);
}

/* ---------------------------------------------------------------- scripts */

/* Without a session of its own each script brings the settings along; several statements in one
   message are one transaction. */
static keep_status with_settings(kp_pg_conn *conn, const char *sql, keep_buffer *out,
				 keep_error *err)
{
	keep_status status = kp_buffer_append_text(out, conn->local_settings, err);

	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, "; ", err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, sql, err);
	return status;
}

/* Judge what a script left: its failure, and a transaction that it opened or ended. */
static keep_status script_result(kp_pg_conn *conn, const PGresult *result, keep_error *err)
{
	ExecStatusType got = PQresultStatus(result);
	PGTransactionStatusType state = PQtransactionStatus(conn->pg);
	keep_status status = KEEP_OK;

	if (kp_pg_is_copy(result)) {
		conn->base.broken = true;
		return kp_fail(err, KEEP_MISUSE, "PostgreSQL %s: COPY in a script", conn->where);
	}
	if (got != PGRES_COMMAND_OK && got != PGRES_TUPLES_OK && got != PGRES_EMPTY_QUERY) {
		bool ended = !result || kp_pg_is_end(conn, result);

		status = kp_pg_fail(conn, result, err);
		conn->base.broken = conn->base.broken || ended;
		if (conn->in_transaction)
			kp_pg_note_failure(conn, result);
		else if (ended && !conn->base.read_only)
			status = kp_pg_uncertain(conn, "a script", err);
	}
	if (!conn->base.broken && conn->in_transaction != (state != PQTRANS_IDLE)) {
		if (state != PQTRANS_IDLE)
			PQclear(kp_pg_exec(conn, "ROLLBACK", NULL));
		if (status == KEEP_OK)
			status = kp_fail(err, KEEP_MISUSE,
					 "PostgreSQL %s: a script began or ended a transaction",
					 conn->where);
		if (conn->in_transaction && conn->failure.status == KEEP_OK)
			conn->failure = *err;
	}
	return status;
}

keep_status kp_pg_script(kp_sql_conn *base, const char *sql, keep_error *err)
{
	kp_pg_conn *conn = kp_pg_conn_of(base);
	keep_buffer text = KEEP_BUFFER_INIT;
	PGresult *result = NULL;
	keep_status status = kp_pg_drain(conn, NULL, err);

	if (status == KEEP_OK && !conn->in_transaction && !kp_pg_is_alive(conn))
		status = kp_pg_fail(conn, NULL, err);
	if (status == KEEP_OK && conn->local_settings && !conn->in_transaction)
		status = with_settings(conn, sql, &text, err);
	if (status != KEEP_OK)
		goto out;
	if (!kp_pg_set_pipeline(conn, false)) {
		base->broken = true;
		status = kp_pg_fail(conn, NULL, err);
		goto out;
	}
	result = kp_pg_exec(conn, text.data ? text.data : sql, NULL);
	status = script_result(conn, result, err);
out:
	PQclear(result);
	keep_buffer_release(&text);
	return status;
}

/* ---------------------------------------------------------------- the rest */

static keep_status check(kp_sql_conn *base, keep_error *err)
{
	kp_pg_conn *conn = kp_pg_conn_of(base);

	if (kp_pg_is_alive(conn))
		return KEEP_OK;
	return kp_fail(err, KEEP_UNAVAILABLE, "PostgreSQL %s: the server closed the connection",
		       conn->where);
}

/* Nothing falls due: the server vacuums by itself. */
static bool falls_due(kp_sql_conn *base)
{
	(void)base;
	return false;
}

static void maintain(kp_sql_conn *base)
{
	(void)base;
}

const kp_sql_driver kp_sql_postgres = {
	.abi = KP_SQL_DRIVER_ABI,
	.name = "postgres",
	.dialect = KP_DIALECT_POSTGRES,
	.open = kp_pg_open,
	.close = kp_pg_close,
	.script = kp_pg_script,
	.prepare = kp_pg_prepare,
	.bind = kp_pg_bind,
	.step = kp_pg_step,
	.column = kp_pg_column,
	.changes = kp_pg_changes,
	.reset = kp_pg_reset,
	.finish = kp_pg_finish,
	.queue = kp_pg_queue,
	.flush = flush,
	.begin = begin,
	.commit = commit,
	.rollback = rollback,
	.check = check,
	.falls_due = falls_due,
	.maintain = maintain,
	.tend = maintain,
	.copy = kp_pg_copy,
	.notify = kp_pg_notify,
	.listen = kp_pg_listen,
	.wait = kp_pg_wait,
};
