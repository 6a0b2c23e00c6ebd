/*
 * postgres_wait.c - the PostgreSQL driver: NOTIFY, LISTEN and waiting.
 *
 * A notification leaves the server when the transaction that made it commits, and only wakes: who
 * is woken looks into the tables. So a payload that is too long is sent empty instead of being
 * refused, and one that comes several times is as good as once (the server joins equal ones of a
 * transaction).
 *
 * Tests: tests/contract/test_postgres_driver.c.
 */
#include "sql/postgres_private.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

enum { PAYLOAD_MAX = 7999 }; /* the server refuses 8000 */

static keep_status check_channel(kp_pg_conn *conn, const char *channel, keep_error *err)
{
	size_t len = strlen(channel);

	if (!(conn->base.caps & KP_SQL_LISTEN))
		return kp_fail(err, KEEP_MISUSE, "PostgreSQL %s: no LISTEN and NOTIFY here",
			       conn->where);
	if (len < 1 || len > KP_PG_NAME_MAX || !kp_text_is_storable((keep_bytes){channel, len}))
		return kp_fail(err, KEEP_INVALID, "a channel name has 1 to %d bytes of UTF-8",
			       KP_PG_NAME_MAX);
	return KEEP_OK;
}

keep_status kp_pg_notify(kp_sql_conn *base, const char *channel, keep_bytes payload,
			 keep_error *err)
{
	kp_value name = {.kind = KP_TEXT, .bytes = keep_bytes_of(channel)};
	kp_value text = {.kind = KP_TEXT, .bytes = payload};
	kp_sql_stmt *stmt = NULL;
	keep_status status = check_channel(kp_pg_conn_of(base), channel, err);

	if (status != KEEP_OK)
		return status;
	if (!payload.data || payload.len > PAYLOAD_MAX)
		text.bytes = KEEP_BYTES("");
	if (!kp_text_is_storable(text.bytes))
		return kp_fail(err, KEEP_INVALID,
			       "a payload must be UTF-8 text without a zero byte");
	/* The statement is kept: from the second time on this is a look-up, no preparation. */
	status = kp_pg_prepare(base, "SELECT pg_notify($1, $2)", &stmt, err);
	if (status == KEEP_OK)
		status = kp_pg_bind(stmt, 1, &name, err);
	if (status == KEEP_OK)
		status = kp_pg_bind(stmt, 2, &text, err);
	if (status == KEEP_OK)
		status = kp_pg_queue(stmt, err);
	if (stmt)
		kp_pg_finish(stmt);
	return status;
}

keep_status kp_pg_listen(kp_sql_conn *base, const char *channel, keep_error *err)
{
	kp_pg_conn *conn = kp_pg_conn_of(base);
	keep_buffer sql = KEEP_BUFFER_INIT;
	char *quoted = NULL;
	keep_status status = check_channel(conn, channel, err);

	if (status != KEEP_OK)
		return status;
	quoted = PQescapeIdentifier(conn->pg, channel, strlen(channel));
	if (!quoted)
		return kp_fail_memory(err, "a channel name");
	status = kp_buffer_append_format(&sql, err, "LISTEN %s", quoted);
	if (status == KEEP_OK)
		status = kp_pg_ready(conn, err);
	if (status == KEEP_OK)
		status = kp_pg_send_text(conn, sql.data, err);
	if (status == KEEP_OK)
		status = kp_pg_drain(conn, NULL, err);
	keep_buffer_release(&sql);
	PQfreemem(quoted);
	return status;
}

/* Take the next notification that has arrived, if one has. */
static keep_status take_notification(kp_pg_conn *conn, bool *notified, keep_buffer *payload,
				     keep_error *err)
{
	PGnotify *got = PQnotifies(conn->pg);
	keep_status status = KEEP_OK;

	*notified = got != NULL;
	if (got)
		status = kp_buffer_append_text(payload, got->extra, err);
	PQfreemem(got);
	return status;
}

static int remaining_ms(int64_t end_ns)
{
	int64_t left = (end_ns - kp_monotonic_ns() + 999999) / 1000000;

	return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

keep_status kp_pg_wait(kp_sql_conn *base, int64_t timeout_ms, int wake_fd, bool *notified,
		       keep_buffer *payload, keep_error *err)
{
	kp_pg_conn *conn = kp_pg_conn_of(base);
	int64_t limit_ms = timeout_ms > INT_MAX ? INT_MAX : timeout_ms;
	int64_t end_ns = kp_monotonic_ns() + limit_ms * 1000000;
	struct pollfd at[2] = {{.events = POLLIN}, {.fd = wake_fd, .events = POLLIN}};
	keep_status status;
	int ready;

	*notified = false;
	payload->len = 0;
	status = kp_pg_drain(conn, NULL, err);
	if (status == KEEP_OK && !(base->caps & KP_SQL_LISTEN))
		status = kp_fail(err, KEEP_MISUSE, "PostgreSQL %s: no LISTEN here", conn->where);
	while (status == KEEP_OK) {
		status = take_notification(conn, notified, payload, err);
		if (status != KEEP_OK || *notified)
			break;
		at[0].fd = PQsocket(conn->pg);
		ready = poll(at, 2, timeout_ms < 0 ? -1 : remaining_ms(end_ns));
		if (ready < 0 && errno != EINTR)
			status = kp_fail_errno(err, errno, "waiting for PostgreSQL");
		else if (ready > 0 && at[0].revents && !kp_pg_is_alive(conn))
			status = kp_pg_fail(conn, NULL, err);
		else if (ready == 0 || (ready > 0 && !at[0].revents))
			break; /* the time is over, or somebody woke us */
	}
	return status;
}
