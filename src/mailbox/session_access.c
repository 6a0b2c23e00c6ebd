/*
 * session_access.c - reading and changing a session from the host's side, wherever it is.
 *
 * On SQLite a session has its own files (sessions_open.c); on PostgreSQL its rows are in the schema
 * that the registry is in. What a change is about is the same.
 *
 * The registry's due_at says when sweep has to look at a session by itself. Two files cannot commit
 * together, so the mark comes first: a session is marked in the registry before the change that
 * needs it is stored, and session_host.marked, in the change's own transaction, says that it is
 * still so. While that stands, further posts cost no write of the registry. Whoever takes the mark
 * away, or moves it by more than a minute (sweep_session.c), commits session_host.marked = false
 * first, and then changes the registry inside of a writing transaction of the session. So a change
 * that finds no session_host.marked reads the registry inside of its own transaction: what it finds
 * there stands until its commit, and a mark that was taken away meanwhile is set anew.
 *
 * What this process remembers of a mark is believed as long as its time is to come: then no other
 * process has looked at the session because of it.
 *
 * Invariants:
 *   1. A stored message that somebody must look after has a registry mark at or before its time, or
 *      at most a minute later where another process moved it.
 *   2. The agent's bell rings after the commit, also after one whose outcome is not known.
 *   3. PostgreSQL: hosts take turns, agents of a session take turns; they write different rows.
 *
 * Tests: tests/contract/test_mailbox_trip.c, tests/contract/test_mailbox_sweep.c.
 */
#include "mailbox/mailbox_private.h"

#include <limits.h>
#include <stdio.h>

enum { MARK_TRIES = 3 };

keep_status kp_check_session(keep_bytes session, keep_error *err)
{
	return kp_check_segment("session", session, err);
}

static keep_status fail_missing(keep_bytes session, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "session: there is no '%" KP_PRI "'", KP_ARG(session));
}

keep_status kp_session_host_get(kp_lease *lease, keep_bytes session, kp_arena *arena,
				keep_session_host *out, keep_error *err)
{
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_GET_SESSION_HOST, KP_VALUES(kp_text_value(session)),
			     &kp_session_host_record, arena, out, &found, err);

	if (status == KEEP_OK && !found)
		return fail_missing(session, err);
	return status;
}

/* ---------------------------------------------------------------- where its files are */

keep_status kp_session_folder(keep_mailbox *mailbox, keep_bytes agent_group, keep_bytes session,
			      kp_arena *arena, char **out, keep_error *err)
{
	char path[PATH_MAX];
	int len = snprintf(path, sizeof path, "%s/sessions/%.*s/%.*s", mailbox->location,
			   (int)agent_group.len, agent_group.data, (int)session.len, session.data);

	/* "/outbound.db-journal" and the like come behind */
	if (len + 32 >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", path);
	*out = kp_arena_alloc(arena, (size_t)len + 1);
	if (!*out)
		return kp_fail_memory(err, "a path");
	memcpy(*out, path, (size_t)len + 1);
	return KEEP_OK;
}

keep_status kp_session_folder_of(keep_mailbox *mailbox, keep_bytes session, kp_arena *arena,
				 char **out, keep_error *err)
{
	keep_session row;
	bool found = false;
	keep_status status =
		kp_registry_get(mailbox, KP_MAILBOX_GET_SESSION, KP_VALUES(kp_text_value(session)),
				&kp_session_record, arena, &row, &found, err);

	if (status == KEEP_OK && !found)
		return fail_missing(session, err);
	if (status == KEEP_OK) /* the registry is ours; still, these become a path */
		status = kp_check_segment("agent_group_id", row.agent_group_id, err);
	if (status == KEEP_OK)
		status = kp_session_folder(mailbox, row.agent_group_id, session, arena, out, err);
	return status;
}

/* ---------------------------------------------------------------- marks */

struct mark {
	keep_bytes session;
	int64_t due_ms;
};

static keep_status apply_mark(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct mark *mark = ctx;

	return kp_lease_run(lease, KP_MAILBOX_MARK_SESSION,
			    KP_VALUES(kp_text_value(mark->session), kp_time_value(mark->due_ms)),
			    NULL, err);
}

/* ---------------------------------------------------------------- changes */

/* A change of a session's files and the mark that it relies on. */
struct change {
	keep_mailbox *mailbox;
	const kp_session_change *asked;
	kp_apply *apply;
	void *ctx;
	bool relies_on_mark; /* it was set by an earlier change */
	bool mark_is_gone;   /* but is not any more */
	bool closes;         /* the registry says that it is closed: its side says so from now on */
};

/* Is the mark that was set a moment ago still there? The session is locked by us. */
static keep_status look_for_mark(const struct change *change, bool *is_gone, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_session row;
	bool found = false;
	keep_status status = kp_registry_get(change->mailbox, KP_MAILBOX_GET_SESSION,
					     KP_VALUES(kp_text_value(change->asked->session)),
					     &kp_session_record, &arena, &row, &found, err);

	if (status == KEEP_OK && !found)
		status = fail_missing(change->asked->session, err);
	*is_gone = status == KEEP_OK && (!row.has_due_at || row.due_at > change->asked->due_ms);
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_marked(void *ctx, kp_lease *lease, keep_error *err)
{
	struct change *change = ctx;
	kp_value session = kp_text_value(change->asked->session);
	int64_t is_marked = 0;
	bool found = false;
	keep_status status = KEEP_OK;

	change->mark_is_gone = false;
	if (change->asked->due_ms) {
		status = kp_lease_int(lease, KP_MAILBOX_IS_MARKED, &session, 1, &is_marked, &found,
				      err);
		if (status == KEEP_OK && !found)
			return fail_missing(change->asked->session, err);
		change->mark_is_gone = status == KEEP_OK && !is_marked && change->relies_on_mark;
		if (status == KEEP_OK && !is_marked && !change->relies_on_mark)
			status = look_for_mark(change, &change->mark_is_gone, err);
		if (change->mark_is_gone)
			return kp_fail(err, KEEP_BUSY, "session: its mark was taken away");
		if (status == KEEP_OK && !is_marked)
			status = kp_lease_run(lease, KP_MAILBOX_SET_MARKED,
					      KP_VALUES(session, kp_bool_value(true)), NULL, err);
	}
	if (status == KEEP_OK && change->closes)
		status = kp_lease_run(lease, KP_MAILBOX_CLOSE_SESSION_HOST, &session, 1, NULL, err);
	return status == KEEP_OK ? change->apply(change->ctx, lease, err) : status;
}

/* *has_lost: files are missing, and that may be why it failed. */
static keep_status write_files(keep_mailbox *mailbox, const kp_session_change *asked,
			       kp_apply *apply, void *ctx, bool *has_lost, keep_error *err)
{
	struct change change = {mailbox, asked, apply, ctx, false, false, false};
	struct mark mark = {asked->session, asked->due_ms};
	kp_open_session *session = NULL;
	keep_status status = kp_session_hold(mailbox, asked->session, &session, err);

	if (status != KEEP_OK)
		return status;
	change.closes = session->is_closed;
	for (int tries = 0; tries < MARK_TRIES; tries++) {
		bool needs_mark =
			asked->due_ms && (!session->marked || asked->due_ms < session->due_ms ||
					  session->due_ms <= kp_clock_ms());

		change.relies_on_mark = asked->due_ms && !needs_mark;
		change.mark_is_gone = false;
		if (needs_mark)
			status = kp_registry_change(mailbox, apply_mark, &mark, err);
		if (status == KEEP_OK)
			status = kp_side_change(&session->side, asked->mode, apply_marked, &change,
						err);
		if (!change.mark_is_gone)
			break;
		session->marked = false;
		if (tries < MARK_TRIES - 1)
			status = KEEP_OK;
	}
	if (asked->due_ms && status == KEEP_OK && !change.relies_on_mark) {
		session->due_ms = asked->due_ms;
		session->marked = true;
	}
	if ((status == KEEP_OK || status == KEEP_UNCERTAIN) && (asked->news & KP_NEWS_AGENT)) {
		kp_mailbox_waits_watch(mailbox, session->id, session->folder);
		kp_bell_ring(&session->in);
	}
	*has_lost = status == KEEP_NOT_FOUND && kp_session_has_lost(session->folder);
	kp_session_let_go(mailbox, &session);
	return status;
}

static keep_status apply_rows(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct change *change = ctx;
	struct mark mark = {change->asked->session, change->asked->due_ms};
	keep_status status = KEEP_OK;

	if (change->asked->due_ms)
		status = apply_mark(&mark, lease, err);
	return status == KEEP_OK ? change->apply(change->ctx, lease, err) : status;
}

struct notifying {
	struct change change;
	keep_mailbox *mailbox;
	char payload[KP_SEGMENT_SIZE + 4];
};

static keep_status apply_and_notify(void *ctx, kp_lease *lease, keep_error *err)
{
	struct notifying *notifying = ctx;
	keep_status status = apply_rows(&notifying->change, lease, err);

	if (status == KEEP_OK && notifying->mailbox->listens &&
	    (notifying->change.asked->news & KP_NEWS_AGENT))
		status = kp_sql_notify(lease->conn, notifying->mailbox->channel,
				       keep_bytes_of(notifying->payload), err);
	return status;
}

keep_status kp_session_write(keep_mailbox *mailbox, const kp_session_change *asked, kp_apply *apply,
			     void *ctx, keep_error *err)
{
	struct notifying notifying = {.change = {mailbox, asked, apply, ctx, false, false, false},
				      .mailbox = mailbox};
	keep_status status = kp_check_session(asked->session, err);

	if (status != KEEP_OK)
		return status;
	if (mailbox->read_only)
		return kp_fail(err, KEEP_DENIED, "the mailbox was opened for reading only");
	if (!mailbox->schema) {
		bool has_lost = false;

		status = write_files(mailbox, asked, apply, ctx, &has_lost, err);
		if (has_lost) {
			status = kp_session_rebuild(mailbox, asked->session, err);
			if (status == KEEP_OK)
				status = write_files(mailbox, asked, apply, ctx, &has_lost, err);
		}
		return status;
	}
	snprintf(notifying.payload, sizeof notifying.payload, "in:%.*s", (int)asked->session.len,
		 asked->session.data);
	return kp_registry_change(mailbox, apply_and_notify, &notifying, err);
}

static keep_status read_files(keep_mailbox *mailbox, keep_bytes session, kp_query *query, void *ctx,
			      bool *has_lost, keep_error *err)
{
	kp_open_session *held = NULL;
	keep_status status = kp_session_hold(mailbox, session, &held, err);

	if (status != KEEP_OK)
		return status;
	status = kp_side_read(&held->side, query, ctx, err);
	*has_lost = status == KEEP_NOT_FOUND && kp_session_has_lost(held->folder);
	kp_session_let_go(mailbox, &held);
	return status;
}

keep_status kp_session_read(keep_mailbox *mailbox, keep_bytes session, kp_query *query, void *ctx,
			    keep_error *err)
{
	bool has_lost = false;
	keep_status status = kp_check_session(session, err);

	if (status != KEEP_OK)
		return status;
	if (mailbox->schema)
		return kp_registry_read(mailbox, query, ctx, err);
	status = read_files(mailbox, session, query, ctx, &has_lost, err);
	if (has_lost && !mailbox->read_only) {
		status = kp_session_rebuild(mailbox, session, err);
		if (status == KEEP_OK)
			status = read_files(mailbox, session, query, ctx, &has_lost, err);
	}
	return status;
}
