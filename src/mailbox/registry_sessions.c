/*
 * registry_sessions.c - the registry's sessions: which one a message belongs to, and making it.
 *
 * What leads to a session is written down in it, as its anchor: "agent:<agent>",
 * "shared:<agent>:<chat>" or "thread:<agent>:<chat>:<thread>". Anchors are unique, so a
 * conversation has one session, whoever asks first, and making another session never moves it.
 *
 * Invariants:
 *   1. A session is made inside the one writing transaction of the registry: its row, and its sides
 *      before the commit. A crash leaves a folder that no row knows, never a row without sides.
 *   2. A closed session has no anchor.
 *
 * Tests: tests/contract/test_mailbox_sessions.c.
 */
#include "mailbox/mailbox_private.h"

#include <stdio.h>

/* ---------------------------------------------------------------- anchors */

static keep_status check_place(const keep_session_place *place, keep_error *err)
{
	bool per_thread = kp_bytes_equal(place->session_mode, KEEP_BYTES("per-thread"));
	bool shared = kp_bytes_equal(place->session_mode, KEEP_BYTES("shared"));
	bool of_agent = kp_bytes_equal(place->session_mode, KEEP_BYTES("agent-shared"));
	keep_status status = kp_check_segment("agent_group_id", place->agent_group_id, err);

	if (status == KEEP_OK && place->messaging_group_id.data)
		status = kp_check_key("messaging_group_id", place->messaging_group_id, err);
	if (status == KEEP_OK && place->thread_id.data)
		status = kp_check_key("thread_id", place->thread_id, err);
	if (status != KEEP_OK)
		return status;
	if (place->session_mode.data && !per_thread && !shared && !of_agent)
		return kp_fail(err, KEEP_INVALID, "session_mode: '%" KP_PRI "' is none",
			       KP_ARG(place->session_mode));
	if ((per_thread || shared) && !place->messaging_group_id.data)
		return kp_fail(err, KEEP_INVALID, "messaging_group_id: is missing");
	return KEEP_OK;
}

/* Lengths go in front, so that no two places have one anchor whatever their ids are made of. */
static keep_status write_anchor(const keep_session_place *place, keep_buffer *out, keep_error *err)
{
	const keep_bytes *parts[] = {&place->agent_group_id, &place->messaging_group_id,
				     &place->thread_id};
	bool per_thread = kp_bytes_equal(place->session_mode, KEEP_BYTES("per-thread")) &&
			  place->thread_id.data;
	bool of_agent = kp_bytes_equal(place->session_mode, KEEP_BYTES("agent-shared"));
	size_t count = of_agent ? 1 : per_thread ? 3 : 2;
	keep_status status = kp_buffer_append_text(out,
						   of_agent     ? "agent"
						   : per_thread ? "thread"
								: "shared",
						   err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = kp_buffer_append_format(out, err, ":%zu:", parts[i]->len);
		if (status == KEEP_OK)
			status = kp_buffer_append(out, *parts[i], err);
	}
	return status;
}

/* ---------------------------------------------------------------- finding and making */

struct resolving {
	keep_mailbox *mailbox;
	const keep_session_place *place;
	keep_bytes anchor;
	keep_bytes id; /* of a new one */
	int64_t now_ms;
	kp_arena *arena;
	keep_session *out;
	bool made;
};

static keep_status find_by_anchor(const struct resolving *resolving, kp_lease *lease, bool *found,
				  keep_error *err)
{
	*found = false;
	if (!resolving->anchor.data)
		return KEEP_OK;
	return kp_lease_get(lease, KP_MAILBOX_GET_SESSION_BY_ANCHOR,
			    KP_VALUES(kp_text_value(resolving->anchor)), &kp_session_record,
			    resolving->arena, resolving->out, found, err);
}

static keep_status query_anchor(void *ctx, kp_lease *lease, keep_error *err)
{
	struct resolving *resolving = ctx;
	bool found = false;
	keep_status status = find_by_anchor(resolving, lease, &found, err);

	resolving->made = !found;
	return status;
}

static keep_status apply_resolve(void *ctx, kp_lease *lease, keep_error *err)
{
	struct resolving *resolving = ctx;
	const keep_session_place *place = resolving->place;
	bool per_thread = kp_bytes_equal(place->session_mode, KEEP_BYTES("per-thread"));
	keep_session *session = resolving->out;
	kp_sql_stmt *stmt = NULL;
	bool found = false;
	keep_status status = find_by_anchor(resolving, lease, &found, err);

	resolving->made = !found;
	if (status != KEEP_OK || found)
		return status;
	*session = (keep_session){
		.id = resolving->id,
		.agent_group_id = place->agent_group_id,
		.messaging_group_id = place->messaging_group_id,
		.thread_id = per_thread ? place->thread_id : (keep_bytes){.data = NULL},
		.status = KEEP_BYTES(KEEP_SESSION_STATUS_ACTIVE),
		.container_status = KEEP_BYTES(KEEP_SESSION_CONTAINER_STATUS_STOPPED),
		.created_at = resolving->now_ms,
		.anchor = resolving->anchor,
	};
	status = kp_lease_statement(lease, KP_MAILBOX_ADD_SESSION, &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_session_record, session, err);
	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	if (status == KEEP_OK)
		status = kp_session_make_sides(resolving->mailbox, lease, session, err);
	return status;
}

keep_status keep_mailbox_resolve_session(keep_mailbox *mailbox, const keep_session_place *place,
					 int64_t now_ms, keep_memory *memory, keep_session *out,
					 bool *made, keep_error *err)
{
	struct resolving resolving = {.mailbox = mailbox,
				      .place = place,
				      .now_ms = kp_now(now_ms),
				      .arena = memory,
				      .out = out};
	keep_buffer anchor = KEEP_BUFFER_INIT;
	char id[KP_UUID_TEXT_SIZE];
	keep_status status = check_place(place, err);

	if (status == KEEP_OK && place->session_mode.data)
		status = write_anchor(place, &anchor, err);
	if (status == KEEP_OK)
		status = kp_uuid_make(id, err);
	if (status == KEEP_OK && place->session_mode.data)
		status = kp_arena_copy(memory, kp_buffer_bytes(&anchor), &resolving.anchor, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(memory, keep_bytes_of(id), &resolving.id, err);
	resolving.made = true;
	if (status == KEEP_OK && resolving.anchor.data)
		status = kp_registry_read(mailbox, query_anchor, &resolving, err);
	if (status == KEEP_OK && resolving.made)
		status = kp_registry_change(mailbox, apply_resolve, &resolving, err);
	if (status == KEEP_OK && resolving.made)
		kp_session_made(mailbox, out);
	if (status == KEEP_OK && made)
		*made = resolving.made;
	keep_buffer_release(&anchor);
	return status;
}

keep_status keep_mailbox_get_session(keep_mailbox *mailbox, keep_bytes session, keep_memory *memory,
				     keep_session *out, keep_error *err)
{
	bool found = false;
	keep_status status = kp_check_session(session, err);

	if (status == KEEP_OK)
		status = kp_registry_get(mailbox, KP_MAILBOX_GET_SESSION,
					 KP_VALUES(kp_text_value(session)), &kp_session_record,
					 memory, out, &found, err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "session: there is no '%" KP_PRI "'",
				 KP_ARG(session));
	return status;
}

keep_status keep_mailbox_session_place(keep_mailbox *mailbox, keep_bytes session,
				       keep_memory *memory, keep_bytes *out, keep_error *err)
{
	keep_buffer url = KEEP_BUFFER_INIT;
	char *folder = NULL;
	keep_session row;
	keep_status status = keep_mailbox_get_session(mailbox, session, memory, &row, err);

	if (status == KEEP_OK && !mailbox->schema) {
		status = kp_session_folder_of(mailbox, session, memory, &folder, err);
		if (status == KEEP_OK)
			*out = keep_bytes_of(folder);
		return status;
	}
	if (status == KEEP_OK)
		status = kp_buffer_append_format(&url, err, "%s%ssession=%.*s", mailbox->url,
						 strchr(mailbox->url, '?') ? "&" : "?",
						 (int)session.len, session.data);
	if (status == KEEP_OK)
		status = kp_arena_copy(memory, kp_buffer_bytes(&url), out, err);
	keep_buffer_release(&url);
	return status;
}
