/*
 * session_life.c - the life of a session: listed, woken, refreshed, closed.
 *
 * The registry says what a session may do and how often its agent was started; the session's
 * inbound side says it again, where the agent reads it. Two files cannot commit together, so the
 * registry goes first and the session follows; who comes after a crash in between makes it whole:
 *
 *     wake       registry: incarnation + 1      session: that incarnation, destinations, route
 *     close      registry: closed, no anchor    session: closed; then what is pending, in batches
 *
 * Invariants:
 *   1. Destinations and route are replaced in one transaction of the session.
 *   2. Who wrote them has read the registry again afterwards and found it as it was written: so an
 *      older state that was written late is written over.
 *   3. session_host.incarnation only grows, and is never above the registry's.
 *   4. Closing can be repeated at any point, and goes on where it stopped.
 *   5. An agent's clock is not trusted: a sign of life is never later than now.
 *
 * What it does not do: start or stop an agent; remove anything (session_remove.c).
 *
 * Tests: tests/contract/test_mailbox_life.c, tests/contract/test_mailbox_sessions.c.
 */
#include "mailbox/mailbox_private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum { CANCEL_BATCH = 500, PROJECT_TRIES = 8 };

static keep_status fail_missing(keep_bytes session, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "session: there is no '%" KP_PRI "'", KP_ARG(session));
}

static keep_status fail_closed(keep_bytes session, keep_error *err)
{
	return kp_fail(err, KEEP_CONFLICT, "session: '%" KP_PRI "' is closed", KP_ARG(session));
}

keep_status keep_mailbox_list_sessions(keep_mailbox *mailbox, keep_bytes agent_group_id,
				       keep_bytes status_wanted, keep_bytes after, size_t limit,
				       keep_memory *memory, keep_session_list *out, keep_error *err)
{
	int64_t max = 0;
	kp_value values[4];
	keep_status status = kp_check_limit(limit, 50, KEEP_MAILBOX_LIST_MAX, &max, err);

	*out = (keep_session_list){.items = NULL};
	if (status == KEEP_OK && agent_group_id.data)
		status = kp_check_segment("agent_group_id", agent_group_id, err);
	if (status == KEEP_OK && after.data)
		status =
			kp_check_text("after", after, KEEP_MAILBOX_TEXT_MAX, KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK && status_wanted.data &&
	    !kp_bytes_equal(status_wanted, KEEP_BYTES(KEEP_SESSION_STATUS_ACTIVE)) &&
	    !kp_bytes_equal(status_wanted, KEEP_BYTES(KEEP_SESSION_STATUS_CLOSED)))
		status = kp_fail(err, KEEP_INVALID, "status: '%" KP_PRI "' is none of a session",
				 KP_ARG(status_wanted));
	if (status != KEEP_OK)
		return status;
	values[0] = kp_text_value(after.data ? after : KEEP_BYTES(""));
	values[1] = kp_text_value(status_wanted);
	values[2] = kp_int_value(max);
	values[3] = kp_text_value(agent_group_id);
	return kp_registry_list(mailbox,
				agent_group_id.data ? KP_MAILBOX_LIST_SESSIONS_OF
						    : KP_MAILBOX_LIST_SESSIONS,
				values, agent_group_id.data ? 4 : 3, &kp_session_record, memory,
				&out->items, &out->count, err);
}

/* ---------------------------------------------------------------- destinations and route */

/* What the registry says that a session's agent may do. */
struct projection {
	keep_bytes session;
	kp_arena arena;
	keep_session row;
	keep_session_destination *items;
	size_t count;
	keep_session_route route;
	int64_t incarnation; /* 0: leave it as it is */
};

static keep_status query_projection(void *ctx, kp_lease *lease, keep_error *err)
{
	struct projection *at = ctx;
	kp_value session = kp_text_value(at->session);
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_MAILBOX_GET_SESSION, &session, 1,
					  &kp_session_record, &at->arena, &at->row, &found, err);

	if (status == KEEP_OK && !found)
		return fail_missing(at->session, err);
	if (status == KEEP_OK)
		status = kp_lease_list(lease, KP_MAILBOX_DESTINATIONS_OF_GROUP,
				       KP_VALUES(session, kp_text_value(at->row.agent_group_id)),
				       &kp_session_destination_record, &at->arena, &at->items,
				       &at->count, err);
	if (status == KEEP_OK)
		status =
			kp_lease_get(lease, KP_MAILBOX_CHAT_OF_SESSION, &session, 1,
				     &kp_session_route_record, &at->arena, &at->route, &found, err);
	return status;
}

static keep_status add_destination(kp_lease *lease, const keep_session_destination *destination,
				   keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status =
		kp_lease_statement(lease, KP_MAILBOX_ADD_SESSION_DESTINATION, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_session_destination_record, destination, err);
	return status == KEEP_OK ? kp_sql_queue(stmt, err) : status;
}

/* Invariant 1. */
static keep_status apply_projection(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct projection *at = ctx;
	kp_value session = kp_text_value(at->session);
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_queue(lease, KP_MAILBOX_CLEAR_DESTINATIONS, &session, 1, err);

	for (size_t i = 0; i < at->count && status == KEEP_OK; i++)
		status = add_destination(lease, &at->items[i], err);
	if (status == KEEP_OK)
		status = kp_lease_statement(lease, KP_MAILBOX_PUT_SESSION_ROUTE, &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_session_route_record, &at->route, err);
	if (status == KEEP_OK)
		status = kp_sql_queue(stmt, err);
	if (status == KEEP_OK && at->incarnation)
		status = kp_lease_queue(lease, KP_MAILBOX_SET_INCARNATION,
					KP_VALUES(session, kp_int_value(at->incarnation)), err);
	return status;
}

static bool is_same_destination(const keep_session_destination *one,
				const keep_session_destination *other)
{
	return kp_bytes_equal(one->name, other->name) &&
	       kp_bytes_equal(one->display_name, other->display_name) &&
	       kp_bytes_equal(one->type, other->type) &&
	       kp_bytes_equal(one->channel_type, other->channel_type) &&
	       kp_bytes_equal(one->platform_id, other->platform_id) &&
	       kp_bytes_equal(one->agent_group_id, other->agent_group_id);
}

static bool is_same_projection(const struct projection *one, const struct projection *other)
{
	bool is_same = one->count == other->count &&
		       kp_bytes_equal(one->route.channel_type, other->route.channel_type) &&
		       kp_bytes_equal(one->route.platform_id, other->route.platform_id) &&
		       kp_bytes_equal(one->route.thread_id, other->route.thread_id);

	for (size_t i = 0; i < one->count && is_same; i++)
		is_same = is_same_destination(&one->items[i], &other->items[i]);
	return is_same;
}

/* Invariant 2. */
static keep_status project(keep_mailbox *mailbox, keep_bytes session, int64_t incarnation,
			   keep_error *err)
{
	kp_session_change change = {
		.session = session, .mode = KP_SQL_WRITE, .news = KP_NEWS_AGENT};
	struct projection written = {.session = session, .incarnation = incarnation};
	struct projection now = {.session = session};
	bool is_settled = false;
	keep_status status = kp_registry_read(mailbox, query_projection, &written, err);

	for (int tries = 0; tries < PROJECT_TRIES && status == KEEP_OK && !is_settled; tries++) {
		if (!kp_bytes_equal(written.row.status, KEEP_BYTES(KEEP_SESSION_STATUS_ACTIVE))) {
			status = fail_closed(session, err);
			break;
		}
		status = kp_session_write(mailbox, &change, apply_projection, &written, err);
		kp_moment("mailbox.projected");
		if (status == KEEP_OK)
			status = kp_registry_read(mailbox, query_projection, &now, err);
		if (status != KEEP_OK)
			break;
		is_settled = is_same_projection(&written, &now);
		kp_arena_release(&written.arena);
		written = now;
		written.incarnation = incarnation;
		now = (struct projection){.session = session};
	}
	kp_arena_release(&written.arena);
	kp_arena_release(&now.arena);
	if (status == KEEP_OK && !is_settled)
		status = kp_fail(err, KEEP_BUSY,
				 "session: the destinations of '%" KP_PRI "' change all the time",
				 KP_ARG(session));
	return status;
}

keep_status keep_mailbox_refresh(keep_mailbox *mailbox, keep_bytes session, keep_error *err)
{
	keep_status status = kp_check_session(session, err);

	return status == KEEP_OK ? project(mailbox, session, 0, err) : status;
}

/* ---------------------------------------------------------------- starts */

struct waking {
	keep_bytes session;
	int64_t now_ms;
	int64_t incarnation;
};

static keep_status apply_wake(void *ctx, kp_lease *lease, keep_error *err)
{
	struct waking *waking = ctx;
	kp_value session = kp_text_value(waking->session);
	kp_arena arena = {.head = NULL};
	keep_session row;
	bool found = false;
	keep_status status =
		kp_lease_run(lease, KP_MAILBOX_NEXT_INCARNATION,
			     KP_VALUES(session, kp_time_value(waking->now_ms)), NULL, err);

	if (status == KEEP_OK)
		status = kp_lease_get(lease, KP_MAILBOX_GET_SESSION, &session, 1,
				      &kp_session_record, &arena, &row, &found, err);
	if (status == KEEP_OK && !found)
		status = fail_missing(waking->session, err);
	else if (status == KEEP_OK &&
		 !kp_bytes_equal(row.status, KEEP_BYTES(KEEP_SESSION_STATUS_ACTIVE)))
		status = fail_closed(waking->session, err);
	if (status == KEEP_OK)
		waking->incarnation = row.incarnation;
	kp_arena_release(&arena);
	return status;
}

keep_status keep_mailbox_wake(keep_mailbox *mailbox, keep_bytes session, int64_t now_ms,
			      int64_t *incarnation, keep_error *err)
{
	struct waking waking = {.session = session, .now_ms = kp_now(now_ms)};
	keep_status status = kp_check_session(session, err);

	if (status == KEEP_OK)
		status = kp_check_time("now_ms", waking.now_ms, err);
	if (status == KEEP_OK)
		status = kp_registry_change(mailbox, apply_wake, &waking, err);
	kp_moment("mailbox.woken");
	if (status == KEEP_OK)
		status = project(mailbox, session, waking.incarnation, err);
	kp_session_rest(mailbox, session); /* the agent that starts may want another journal */
	if (status == KEEP_OK && incarnation)
		*incarnation = waking.incarnation;
	return status;
}

/* ---------------------------------------------------------------- signs of life */

static keep_status query_heartbeat(void *ctx, kp_lease *lease, keep_error *err)
{
	int64_t *at_ms = ((void **)ctx)[0];
	const keep_bytes *session = ((void **)ctx)[1];
	kp_arena arena = {.head = NULL};
	keep_session_agent row;
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_MAILBOX_GET_SESSION_AGENT,
					  KP_VALUES(kp_text_value(*session)),
					  &kp_session_agent_record, &arena, &row, &found, err);

	*at_ms = status == KEEP_OK && found && row.has_heartbeat_at ? row.heartbeat_at : 0;
	kp_arena_release(&arena);
	return status;
}

keep_status kp_session_heartbeat(keep_mailbox *mailbox, keep_bytes session, int64_t now_ms,
				 int64_t *at_ms, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	char path[PATH_MAX], *folder = NULL;
	struct stat st;
	keep_status status = KEEP_OK;

	*at_ms = 0;
	if (mailbox->schema) {
		status = kp_registry_read(mailbox, query_heartbeat, (void *[]){at_ms, &session},
					  err);
	} else {
		status = kp_session_folder_of(mailbox, session, &arena, &folder, err);
		if (status == KEEP_OK)
			snprintf(path, sizeof path, "%s/.heartbeat", folder);
		/* Of a link, or of anything else, it is still only a time that an agent set. */
		if (status == KEEP_OK && lstat(path, &st) == 0)
			*at_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
	}
	if (*at_ms > now_ms) /* invariant 5 */
		*at_ms = now_ms;
	if (*at_ms < 0)
		*at_ms = 0;
	kp_arena_release(&arena);
	return status;
}

struct container {
	keep_bytes session, container_status;
	int64_t heartbeat_ms; /* 0: not known */
};

static keep_status apply_container(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct container *container = ctx;
	kp_value heartbeat = container->heartbeat_ms ? kp_time_value(container->heartbeat_ms)
						     : kp_null_value(KP_TIME);
	int64_t changes = 0;
	keep_status status =
		kp_lease_run(lease, KP_MAILBOX_SET_CONTAINER,
			     KP_VALUES(kp_text_value(container->session),
				       kp_text_value(container->container_status), heartbeat),
			     &changes, err);

	return status == KEEP_OK && !changes ? fail_missing(container->session, err) : status;
}

keep_status keep_mailbox_set_container(keep_mailbox *mailbox, keep_bytes session,
				       keep_bytes container_status, keep_error *err)
{
	struct container container = {session, container_status, 0};
	keep_status status = kp_check_session(session, err);

	if (status == KEEP_OK &&
	    !kp_bytes_equal(container_status, KEEP_BYTES(KEEP_SESSION_CONTAINER_STATUS_RUNNING)) &&
	    !kp_bytes_equal(container_status, KEEP_BYTES(KEEP_SESSION_CONTAINER_STATUS_IDLE)) &&
	    !kp_bytes_equal(container_status, KEEP_BYTES(KEEP_SESSION_CONTAINER_STATUS_STOPPED)))
		status = kp_fail(err, KEEP_INVALID,
				 "container_status: it is none of running, "
				 "idle, stopped");
	if (status == KEEP_OK)
		status = kp_session_heartbeat(mailbox, session, kp_clock_ms(),
					      &container.heartbeat_ms, err);
	if (status == KEEP_OK)
		status = kp_registry_change(mailbox, apply_container, &container, err);
	return status;
}

/* ---------------------------------------------------------------- closing */

struct closing {
	keep_mailbox *mailbox;
	keep_bytes session;
	int64_t now_ms;
	size_t count; /* so many were cancelled in this batch */
};

/* On a server both in one; with files the session follows, at the latest when it is written next
   (session_access.c). */
static keep_status apply_close_row(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct closing *closing = ctx;
	kp_value session = kp_text_value(closing->session);
	int64_t changes = 0;
	keep_status status =
		kp_lease_run(lease, KP_MAILBOX_CLOSE_SESSION_ROW, &session, 1, &changes, err);

	if (status == KEEP_OK && !changes)
		return fail_missing(closing->session, err);
	if (status == KEEP_OK && closing->mailbox->schema)
		status = kp_lease_queue(lease, KP_MAILBOX_CLOSE_SESSION_HOST, &session, 1, err);
	return status;
}

static keep_status apply_cancel_some(void *ctx, kp_lease *lease, keep_error *err)
{
	struct closing *closing = ctx;
	kp_arena arena = {.head = NULL};
	keep_inbound_message *items = NULL;
	kp_value session = kp_text_value(closing->session);
	keep_status status = kp_lease_queue(lease, KP_MAILBOX_CLOSE_SESSION_HOST, &session, 1, err);

	closing->count = 0;
	if (status == KEEP_OK)
		status = kp_lease_list(lease, KP_MAILBOX_LIST_UNFINISHED,
				       KP_VALUES(session, kp_int_value(CANCEL_BATCH)),
				       &kp_inbound_message_record, &arena, &items, &closing->count,
				       err);
	for (size_t i = 0; i < closing->count && status == KEEP_OK; i++) {
		bool changed = false;

		status = kp_inbound_finish(lease, &items[i], KEEP_INBOUND_MESSAGE_STATUS_CANCELLED,
					   KEEP_BYTES("the session was closed"), closing->now_ms,
					   &changed, err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_mailbox_close_session(keep_mailbox *mailbox, keep_bytes session, int64_t now_ms,
				       keep_error *err)
{
	kp_session_change change = {
		.session = session, .mode = KP_SQL_WRITE, .news = KP_NEWS_AGENT};
	struct closing closing = {mailbox, session, kp_now(now_ms), CANCEL_BATCH};
	keep_status status = kp_check_session(session, err);

	if (status == KEEP_OK)
		status = kp_check_time("now_ms", closing.now_ms, err);
	if (status == KEEP_OK)
		status = kp_registry_change(mailbox, apply_close_row, &closing, err);
	kp_moment("mailbox.close_row");
	while (status == KEEP_OK && closing.count == CANCEL_BATCH) {
		status = kp_session_write(mailbox, &change, apply_cancel_some, &closing, err);
		kp_moment("mailbox.close_step");
	}
	return status;
}
