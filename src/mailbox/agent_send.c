/*
 * agent_send.c - what the agent says, and replies together with their acknowledgement.
 *
 * Invariants:
 *   1. Replies and the acknowledgement of what they answer are one commit.
 *   2. A reply goes where its message came from; what answers nothing goes to a destination by
 * name, or where the session's route leads.
 *
 * Tests: tests/contract/test_mailbox_send.c.
 */
#include "mailbox/mailbox_private.h"

struct sending {
	keep_agent *agent;
	const keep_claim_ref *claims;
	size_t claim_count;
	const keep_send *sends;
	size_t send_count;
	char (*ids)[KP_UUID_TEXT_SIZE];
	int64_t now_ms;
	keep_sent *sent;
};

/* Where it goes. */
static keep_status resolve(keep_agent *agent, kp_lease *lease, const keep_send *send,
			   kp_arena *arena, keep_outbound_message *message, keep_error *err)
{
	kp_value session = kp_text_value(kp_agent_id(agent));
	keep_session_route route;
	keep_inbound_message origin;
	bool found = false;
	keep_status status = KEEP_OK;

	(void)send;
	if (message->in_reply_to.data)
		status = kp_read_row(lease, KP_MAILBOX_GET_INBOUND,
				     KP_VALUES(session, kp_text_value(message->in_reply_to)),
				     &kp_inbound_message_record, arena, &origin, &found, err);
	if (status == KEEP_OK && found && origin.channel_type.data) {
		message->channel_type = origin.channel_type;
		message->platform_id = origin.platform_id;
		message->thread_id = origin.thread_id;
		return KEEP_OK;
	}
	if (status == KEEP_OK)
		status = kp_read_row(lease, KP_MAILBOX_GET_SESSION_ROUTE, &session, 1,
				     &kp_session_route_record, arena, &route, &found, err);
	if (status == KEEP_OK && found) {
		message->channel_type = route.channel_type;
		message->platform_id = route.platform_id;
		message->thread_id = route.thread_id;
	}
	return status;
}

keep_status kp_agent_send_add(keep_agent *agent, kp_lease *lease, const keep_send *send,
			      keep_bytes id, keep_bytes reply_to, int64_t now_ms, keep_sent *sent,
			      keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_outbound_message message = {
		.session_id = kp_agent_id(agent),
		.id = id,
		.in_reply_to = send->in_reply_to.data ? send->in_reply_to : reply_to,
		.timestamp = now_ms,
		.deliver_after = send->deliver_after,
		.has_deliver_after = send->deliver_after != 0,
		.recurrence = send->recurrence,
		.kind = kp_text_or(send->kind, "chat"),
		.content = send->content,
	};
	kp_sql_stmt *stmt = NULL;
	bool added = false;
	keep_status status = resolve(agent, lease, send, &arena, &message, err);

	if (status == KEEP_OK)
		status = kp_lease_statement(lease, KP_MAILBOX_ADD_OUTBOUND, &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_outbound_message_record, &message, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &added, err);
	if (status == KEEP_OK && added)
		status = kp_sql_column_int(stmt, 0, &sent->seq, err);
	kp_sql_reset(stmt);
	memcpy(sent->id, id.data, id.len);
	sent->id[id.len] = '\0';
	sent->is_duplicate = !added;
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_sending(void *ctx, kp_lease *lease, keep_error *err)
{
	struct sending *sending = ctx;
	keep_bytes reply_to = {.data = NULL};
	keep_status status = KEEP_OK;

	if (sending->claim_count) {
		reply_to = sending->claims[0].id;
		status = kp_agent_acknowledge(sending->agent, lease, sending->claims,
					      sending->claim_count,
					      KEEP_PROCESSING_ACK_STATUS_COMPLETED,
					      (keep_bytes){.data = NULL}, sending->now_ms, err);
	}
	for (size_t i = 0; i < sending->send_count && status == KEEP_OK; i++) {
		const keep_send *send = &sending->sends[i];
		keep_bytes id = send->id.data ? send->id : keep_bytes_of(sending->ids[i]);

		status = kp_agent_send_add(sending->agent, lease, send, id, reply_to,
					   sending->now_ms, &sending->sent[i], err);
	}
	return status;
}

keep_status keep_agent_complete_with(keep_agent *agent, const keep_claim_ref *claims, size_t count,
				     const keep_send *replies, size_t reply_count, int64_t now_ms,
				     keep_sent *sent, keep_error *err)
{
	char ids[KEEP_CLAIM_MAX][KP_UUID_TEXT_SIZE];
	keep_sent here[KEEP_CLAIM_MAX];
	struct sending sending = {agent,       claims, count,          replies,
				  reply_count, ids,    kp_now(now_ms), sent ? sent : here};
	keep_status status = KEEP_OK;

	if (reply_count > KEEP_CLAIM_MAX)
		return kp_fail(err, KEEP_INVALID, "replies: %zu are over %d", reply_count,
			       KEEP_CLAIM_MAX);
	for (size_t i = 0; i < reply_count && status == KEEP_OK; i++)
		status = kp_uuid_make(ids[i], err);
	if (status == KEEP_OK)
		status = kp_agent_write(agent, KP_SQL_WRITE, true, apply_sending, &sending, err);
	return status;
}
