/*
 * postgres_pipeline.c - the PostgreSQL driver: what is sent, and what comes back.
 *
 * Everything but scripts and LISTEN's waiting goes through libpq's pipeline mode: items are sent
 * without waiting; a sync asks for the answers to all of them. So BEGIN, a hundred queued changes
 * and COMMIT are one round trip, and so is a statement with its first preparation.
 *
 *              send                 drain: sync, write, read
 *      IDLE ─────────► PENDING ───────────────────────────────► IDLE
 *                       │  ▲ send (at most QUEUE_ITEMS_MAX or       │ an item failed, in a
 *                       └──┘ QUEUE_BYTES_MAX, then queue drains)    ▼ transaction
 *                                                                FAILED ── rollback ──► IDLE
 *      from everywhere: the connection ended ──► BROKEN, for good
 *
 * Invariants:
 *   1. Items are numbered when they are sent (`sent`) and counted when their last result was read
 *      (`received`); after a drain both are equal. An item that fails makes the server skip the
 *      rest up to the sync, so a statement whose preparation has a number from the failed one on
 *      is not prepared.
 *   2. The first failure of a transaction is kept (`failure`) and is what everything else of this
 *      transaction reports, commit above all, until it ends.
 *   3. Writing never waits without reading: with a big pipeline the server may stop reading until
 *      we take its answers. The socket is non-blocking and kp_pg_write_out reads while it writes.
 *   4. An answer that makes no sense (nothing where something is due, twice) ends the connection:
 *      there is no way back in step with the server.
 *   5. A failed send leaves half a message in libpq's buffer: it ends the connection too.
 *   6. No wait outlives the server. Of a stopped one, or one behind a cable that was pulled, the
 *      socket tells nothing for a long time, and a statement may take long, too. So after each
 *      timeout_ms without a byte the server is asked on a new connection: when it answers there,
 *      the statement is merely long; when it does not, this connection ends. That makes timeout_ms
 *      and a second at most.
 *
 * Outside of a transaction everything between two syncs is one transaction of the server, which
 * commits at the sync. So its failure may come after the result of the last item, and each
 * statement has its own sync there.
 *
 * Tests: tests/contract/test_postgres_driver.c, tests/torture/test_postgres_faults.c.
 */
#include "sql/postgres_private.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { LOOK_AGAIN_MS = 100 };

/* ---------------------------------------------------------------- failures */

void kp_pg_note_failure(kp_pg_conn *conn, const PGresult *result)
{
	if (conn->failure.status != KEEP_OK)
		return;
	conn->failure.status = kp_pg_fail(conn, result, &conn->failure);
	conn->failure_ended_conn = !result || kp_pg_is_end(conn, result);
	if (conn->failed_at == 0)
		conn->failed_at = conn->received + 1;
}

static void end_connection(kp_pg_conn *conn)
{
	kp_pg_note_failure(conn, NULL);
	conn->base.broken = true;
}

keep_status kp_pg_ready(kp_pg_conn *conn, keep_error *err)
{
	if (conn->failure.status != KEEP_OK) {
		*err = conn->failure;
		return err->status;
	}
	return conn->base.broken ? kp_pg_fail_broken(conn, err) : KEEP_OK;
}

bool kp_pg_is_alive(kp_pg_conn *conn)
{
	struct pollfd at = {.fd = PQsocket(conn->pg), .events = POLLIN};
	int ready = 0;

	if (PQstatus(conn->pg) != CONNECTION_OK)
		conn->base.broken = true;
	/* What the server sends on its way out comes before the end of the stream. */
	while (!conn->base.broken && (ready = poll(&at, 1, 0)) != 0) {
		if (ready < 0 && errno != EINTR)
			break;
		if (ready > 0 && (!PQconsumeInput(conn->pg) || PQstatus(conn->pg) != CONNECTION_OK))
			conn->base.broken = true;
	}
	return !conn->base.broken;
}

/* ---------------------------------------------------------------- sending */

bool kp_pg_set_pipeline(kp_pg_conn *conn, bool on)
{
	if ((PQpipelineStatus(conn->pg) != PQ_PIPELINE_OFF) == on)
		return true;
	return on ? PQenterPipelineMode(conn->pg) : PQexitPipelineMode(conn->pg);
}

static keep_status fail_send(kp_pg_conn *conn, keep_error *err)
{
	end_connection(conn);
	return kp_pg_ready(conn, err);
}

static void count_item(kp_pg_conn *conn, size_t bytes)
{
	conn->sent++;
	conn->pending_items++;
	conn->pending_bytes += bytes;
}

/* Before the first item: pipeline mode, and without prepared statements the settings, which a
   pooler forgets between transactions. */
static keep_status start(kp_pg_conn *conn, keep_error *err)
{
	if (!kp_pg_set_pipeline(conn, true))
		return fail_send(conn, err);
	if (!conn->local_settings || conn->in_transaction || conn->pending_items > 0)
		return KEEP_OK;
	if (!PQsendQueryParams(conn->pg, conn->local_settings, 0, NULL, NULL, NULL, NULL, 1))
		return fail_send(conn, err);
	count_item(conn, strlen(conn->local_settings));
	return KEEP_OK;
}

keep_status kp_pg_send_text(kp_pg_conn *conn, const char *sql, keep_error *err)
{
	keep_status status = start(conn, err);

	if (status != KEEP_OK)
		return status;
	if (!PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 1))
		return fail_send(conn, err);
	count_item(conn, strlen(sql));
	return KEEP_OK;
}

static size_t parameter_bytes(const kp_pg_stmt *stmt)
{
	size_t bytes = 0;

	for (int i = 0; i < stmt->count; i++)
		bytes += stmt->values[i] ? (size_t)stmt->lengths[i] : 0;
	return bytes;
}

static keep_status send_prepare(kp_pg_conn *conn, kp_pg_stmt *stmt, keep_error *err)
{
	char name[32];

	stmt->name = ++conn->next_name;
	(void)snprintf(name, sizeof name, "kp_%llu", (unsigned long long)stmt->name);
	if (!PQsendPrepare(conn->pg, name, stmt->sql, stmt->count, stmt->types))
		return fail_send(conn, err);
	count_item(conn, strlen(stmt->sql));
	stmt->prepared = true;
	stmt->prepared_at = conn->sent;
	return KEEP_OK;
}

keep_status kp_pg_send(kp_pg_conn *conn, kp_pg_stmt *stmt, keep_error *err)
{
	const char *const *values = stmt->values;
	keep_status status = start(conn, err);
	char name[32];
	int sent;

	if (status == KEEP_OK && !conn->unnamed && !stmt->prepared)
		status = send_prepare(conn, stmt, err);
	if (status != KEEP_OK)
		return status;
	if (conn->unnamed) {
		sent = PQsendQueryParams(conn->pg, stmt->sql, stmt->count, stmt->types, values,
					 stmt->lengths, stmt->formats, 1);
	} else {
		(void)snprintf(name, sizeof name, "kp_%llu", (unsigned long long)stmt->name);
		sent = PQsendQueryPrepared(conn->pg, name, stmt->count, values, stmt->lengths,
					   stmt->formats, 1);
	}
	if (!sent)
		return fail_send(conn, err);
	count_item(conn, parameter_bytes(stmt));
	return KEEP_OK;
}

/* ---------------------------------------------------------------- waiting */

/* Wait for `events` a little while; below 0: poll failed, 0: nothing happened. */
static int wait_for(kp_pg_conn *conn, short events, short *happened)
{
	struct pollfd at = {.fd = PQsocket(conn->pg), .events = events};
	int ready = poll(&at, 1,
			 conn->timeout_ms < LOOK_AGAIN_MS ? (int)conn->timeout_ms : LOOK_AGAIN_MS);

	*happened = ready > 0 ? at.revents : 0;
	return ready < 0 && errno == EINTR ? 0 : ready;
}

/* Invariant 6; nothing happened since *heard_ns. */
static bool is_there(kp_pg_conn *conn, int64_t *heard_ns)
{
	if (kp_monotonic_ns() - *heard_ns < conn->timeout_ms * 1000000)
		return true;
	if (!kp_pg_server_answers(conn))
		return false;
	*heard_ns = kp_monotonic_ns();
	return true;
}

/* Invariant 3. */
bool kp_pg_write_out(kp_pg_conn *conn)
{
	int64_t heard_ns = kp_monotonic_ns();
	int left;

	while ((left = PQflush(conn->pg)) > 0) {
		short happened;
		int ready = wait_for(conn, POLLIN | POLLOUT, &happened);

		if (ready < 0)
			return false;
		if ((happened & (POLLIN | POLLHUP | POLLERR)) && !PQconsumeInput(conn->pg))
			return false;
		if (ready > 0)
			heard_ns = kp_monotonic_ns();
		else if (!is_there(conn, &heard_ns))
			return false;
	}
	return left == 0;
}

static bool is_out_of_memory(void)
{
	void *probe = kp_alloc(256);

	kp_free(probe);
	return !probe;
}

bool kp_pg_await(kp_pg_conn *conn, size_t told_len)
{
	int64_t heard_ns = kp_monotonic_ns();

	while (PQisBusy(conn->pg)) {
		short happened;
		int ready;

		if (strlen(PQerrorMessage(conn->pg)) > told_len)
			return false;
		ready = wait_for(conn, POLLIN, &happened);
		if (ready < 0)
			return false;
		if (ready > 0 && !PQconsumeInput(conn->pg))
			return false;
		if (ready > 0)
			heard_ns = kp_monotonic_ns();
		else if (is_out_of_memory() || !is_there(conn, &heard_ns))
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------- reading */

/* What is read until the sync asked for has come. */
struct reading {
	bool synced;
	int nothings;    /* in a row */
	size_t told_len; /* bytes of libpq's messages that came with results so far */
	PGresult *last;  /* of the last item that went well */
};

/* Take one answer; false when the connection is of no use any more. */
static bool read_one(kp_pg_conn *conn, struct reading *reading)
{
	PGresult *result;
	size_t len;

	if (!kp_pg_await(conn, reading->told_len))
		return false;
	result = PQgetResult(conn->pg);
	len = strlen(PQerrorMessage(conn->pg));
	if (len < reading->told_len) /* it forgets them now and then */
		reading->told_len = len;
	if (!result) { /* the end of an item's results; twice: there is nothing to wait for */
		conn->received++;
		return ++reading->nothings < 2;
	}
	reading->nothings = 0;
	switch (PQresultStatus(result)) {
	case PGRES_PIPELINE_SYNC:
		reading->synced = true;
		conn->failed_at = 0;
		break;
	case PGRES_PIPELINE_ABORTED: break;
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_EMPTY_QUERY:
		PQclear(reading->last);
		reading->last = result;
		return true;
	default:
		reading->told_len = len;
		kp_pg_note_failure(conn, result);
		if (kp_pg_is_end(conn, result))
			conn->base.broken = true;
		break;
	}
	PQclear(result);
	return !conn->base.broken;
}

/* Statements whose preparation was skipped; invariant 1. */
static void forget_unprepared(kp_pg_conn *conn, uint64_t failed_at)
{
	for (kp_pg_stmt *stmt = conn->statements; failed_at && stmt; stmt = stmt->next) {
		if (stmt->prepared_at >= failed_at)
			stmt->prepared = false;
	}
}

/* A test breaks the connection. An answer that is already here goes with it, or the server's speed
   would decide what the call says. */
static void break_connection(kp_pg_conn *conn)
{
	int fd = PQsocket(conn->pg);
	char lost[4096];

	(void)shutdown(fd, SHUT_RDWR);
	while (recv(fd, lost, sizeof lost, MSG_DONTWAIT) > 0)
		;
}

keep_status kp_pg_drain(kp_pg_conn *conn, PGresult **last, keep_error *err)
{
	struct reading reading = {.synced = false};
	uint64_t failed_at = 0;
	bool fine = !conn->base.broken;
	keep_status status;

	if (last)
		*last = NULL;
	if (fine && conn->pending_items == 0)
		return kp_pg_ready(conn, err);
	if (fine && kp_fault(KP_FAULT_CONNECT)) /* before the server gets to know */
		break_connection(conn);
	fine = fine && PQpipelineSync(conn->pg) && kp_pg_write_out(conn);
	kp_moment("postgres.sent");
	if (fine && kp_fault(KP_FAULT_CONNECT)) /* after */
		break_connection(conn);
	reading.told_len = strlen(PQerrorMessage(conn->pg));
	while (fine && !reading.synced) {
		fine = read_one(conn, &reading);
		if (conn->failed_at)
			failed_at = conn->failed_at;
	}
	if (fine) /* past the sync, or libpq keeps its messages from one pipeline to the next */
		PQclear(PQgetResult(conn->pg));
	else
		end_connection(conn);
	forget_unprepared(conn, failed_at ? failed_at : conn->failed_at);
	conn->received = conn->sent;
	conn->failed_at = 0;
	conn->pending_items = 0;
	conn->pending_bytes = 0;
	status = conn->failure.status;
	if (status != KEEP_OK)
		*err = conn->failure;
	if (!conn->in_transaction)
		conn->failure = (keep_error)KEEP_ERROR_INIT;
	if (status == KEEP_OK && last)
		*last = reading.last;
	else
		PQclear(reading.last);
	return status;
}

/* ---------------------------------------------------------------- outside of the pipeline */

bool kp_pg_is_copy(const PGresult *result)
{
	ExecStatusType got = PQresultStatus(result);

	return got == PGRES_COPY_IN || got == PGRES_COPY_OUT || got == PGRES_COPY_BOTH;
}

PGresult *kp_pg_exec(kp_pg_conn *conn, const char *sql, const char *parameter)
{
	PGresult *kept = NULL, *result;
	size_t told_len = 0;
	int sent = parameter ? PQsendQueryParams(conn->pg, sql, 1, NULL, &parameter, NULL, NULL, 0)
			     : PQsendQuery(conn->pg, sql);

	if (!sent || !kp_pg_write_out(conn))
		return NULL;
	for (;;) {
		if (!kp_pg_await(conn, told_len))
			break;
		result = PQgetResult(conn->pg);
		if (!result)
			return kept;
		PQclear(kept);
		kept = result;
		told_len = strlen(PQerrorMessage(conn->pg));
		if (kp_pg_is_copy(result))
			return kept;
	}
	PQclear(kept);
	return NULL;
}
