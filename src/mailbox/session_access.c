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
 * away (sweep, when nothing is left to do) clears session_host.marked first, and then the registry
 * only if it has not been marked anew.
 *
 * Invariants:
 *   1. A stored message that somebody must look after has a registry mark at or before its time.
 *   2. The agent's bell rings after the commit, also after one whose outcome is not known.
 *   3. PostgreSQL: hosts take turns, agents of a session take turns; they write different rows.
 *
 * Tests: tests/contract/test_mailbox_post.c, tests/contract/test_mailbox_sweep.c.
 */
#include "mailbox/mailbox_private.h"

#include <limits.h>
#include <stdio.h>

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
		kp_read_row(lease, KP_MAILBOX_GET_SESSION_HOST, KP_VALUES(kp_text_value(session)),
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
	const kp_session_change *asked;
	kp_apply *apply;
	void *ctx;
	bool relies_on_mark; /* it was set by an earlier change */
	bool mark_is_gone;   /* but is not any more */
};

static keep_status apply_marked(void *ctx, kp_lease *lease, keep_error *err)
{
	struct change *change = ctx;
	kp_value session = kp_text_value(change->asked->session);
	int64_t is_marked = 0;
	bool found = false;
	keep_status status = KEEP_OK;

	change->mark_is_gone = false;
	if (change->asked->due_ms) {
		status = kp_read_int(lease, KP_MAILBOX_IS_MARKED, &session, 1, &is_marked, &found,
				     err);
		if (status == KEEP_OK && !found)
			return fail_missing(change->asked->session, err);
		if (status == KEEP_OK && !is_marked && change->relies_on_mark) {
			change->mark_is_gone = true;
			return kp_fail(err, KEEP_BUSY, "session: its mark was taken away");
		}
		if (status == KEEP_OK && !is_marked)
			status = kp_lease_run(lease, KP_MAILBOX_SET_MARKED,
					      KP_VALUES(session, kp_bool_value(true)), NULL, err);
	}
	return status == KEEP_OK ? change->apply(change->ctx, lease, err) : status;
}

static keep_status write_files(keep_mailbox *mailbox, const kp_session_change *asked,
			       kp_apply *apply, void *ctx, keep_error *err)
{
	struct change change = {asked, apply, ctx, false, false};
	struct mark mark = {asked->session, asked->due_ms};
	kp_open_session *session = NULL;
	keep_status status = kp_session_hold(mailbox, asked->session, &session, err);

	if (status != KEEP_OK)
		return status;
	for (int tries = 0; tries < 3; tries++) {
		bool needs_mark =
			asked->due_ms && (!session->marked || asked->due_ms < session->due_ms);

		change.relies_on_mark = asked->due_ms && !needs_mark;
		if (needs_mark)
			status = kp_registry_change(mailbox, apply_mark, &mark, err);
		if (status == KEEP_OK)
			status = kp_side_change(&session->side, asked->mode, apply_marked, &change,
						err);
		if (!change.mark_is_gone)
			break;
		session->marked = false;
		status = KEEP_OK;
	}
	if (asked->due_ms && status == KEEP_OK) {
		session->marked = true;
		if (!session->due_ms || asked->due_ms < session->due_ms)
			session->due_ms = asked->due_ms;
	}
	if ((status == KEEP_OK || status == KEEP_UNCERTAIN) && (asked->news & KP_NEWS_AGENT))
		kp_bell_ring(&session->in);
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
	struct notifying notifying = {.change = {asked, apply, ctx, false, false},
				      .mailbox = mailbox};
	keep_status status = kp_check_session(asked->session, err);

	if (status != KEEP_OK)
		return status;
	if (mailbox->read_only)
		return kp_fail(err, KEEP_DENIED, "the mailbox was opened for reading only");
	if (!mailbox->schema)
		return write_files(mailbox, asked, apply, ctx, err);
	snprintf(notifying.payload, sizeof notifying.payload, "in:%.*s", (int)asked->session.len,
		 asked->session.data);
	return kp_registry_change(mailbox, apply_and_notify, &notifying, err);
}

keep_status kp_session_read(keep_mailbox *mailbox, keep_bytes session, kp_query *query, void *ctx,
			    keep_error *err)
{
	kp_open_session *held = NULL;
	keep_status status = kp_check_session(session, err);

	if (status != KEEP_OK)
		return status;
	if (mailbox->schema)
		return kp_registry_read(mailbox, query, ctx, err);
	status = kp_session_hold(mailbox, session, &held, err);
	if (status == KEEP_OK)
		status = kp_side_read(&held->side, query, ctx, err);
	kp_session_let_go(mailbox, &held);
	return status;
}
