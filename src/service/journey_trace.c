/*
 * journey_trace.c - where a message is, and every step that it took through gateway and mailbox.
 *
 *     waiting ──> pending ──> processing ──> answered ──> delivered | failed | refused | uncertain
 *        └──> unrouted          └──> failed, completed (nothing was said)
 *
 * The gateway says that it was accepted, the router's cursor whether it was handed over, the
 * mailbox what the agent did, and the gateway again what became of each answer.
 *
 * Invariants:
 *   1. It reads and changes nothing: the router's cursor is not made by looking at it.
 *   2. The last word is never a guess: what no store knows any more is "unknown", with why.
 *   3. Every agent that has the message is asked: it stands as the least finished of them, and of
 * their answers, does.
 *
 * What it does not do: follow an answer that went to another chat further than the mailbox does.
 *
 * Tests: tests/contract/test_service_journey.c, tests/cli/test_cli_serve.py.
 */
#include "service/journey.h"

#include <string.h>

enum { PAGE = 200 };

typedef struct journey {
	keep_gateway *gateway;
	keep_mailbox *mailbox;
	keep_memory memory;
	keep_message message;
	kp_json_writer *writer;
	char post_id[KP_POST_ID_SIZE]; /* in every mailbox */
	keep_bytes state, why;
	int rank;      /* of the state */
	bool is_found; /* a session has it */
} journey;

/* How a message stands is how the least finished of its agents and answers stands. */
enum rank { RANK_COMPLETED, RANK_DELIVERED, RANK_FAILED, RANK_ANSWERED, RANK_OPEN };

static void put_step(journey *self, const char *where, int64_t at, keep_bytes what,
		     keep_bytes detail)
{
	char time[KEEP_TIME_TEXT_SIZE] = "";

	kp_json_open_object(self->writer);
	kp_json_name(self->writer, "at");
	if (at && keep_time_format(at, time, NULL) == KEEP_OK)
		kp_json_put_text(self->writer, keep_bytes_of(time));
	else
		kp_json_put_null(self->writer);
	kp_json_name(self->writer, "where");
	kp_json_put_text(self->writer, keep_bytes_of(where));
	kp_json_name(self->writer, "what");
	kp_json_put_text(self->writer, what);
	kp_json_name(self->writer, "detail");
	kp_json_put_text(self->writer, detail.data ? detail : KEEP_BYTES(""));
	kp_json_close_object(self->writer);
}

static void end_with(journey *self, keep_bytes state, keep_bytes why)
{
	self->state = state;
	self->why = why;
}

static int rank_of(keep_bytes state)
{
	static const char *const words[] = {"completed", "delivered", "answered"};
	static const enum rank ranks[] = {RANK_COMPLETED, RANK_DELIVERED, RANK_ANSWERED};
	static const char *const open[] = {"pending", "waiting",      "processing",
					   "expired", "acknowledged", "unknown"};

	for (size_t i = 0; i < KP_COUNT(words); i++)
		if (kp_bytes_equal(state, keep_bytes_of(words[i])))
			return ranks[i];
	for (size_t i = 0; i < KP_COUNT(open); i++)
		if (kp_bytes_equal(state, keep_bytes_of(open[i])))
			return RANK_OPEN;
	return RANK_FAILED;
}

/* One of its agents, or one of its answers, stands so. */
static void stands(journey *self, keep_bytes state, keep_bytes why)
{
	int rank = rank_of(state);

	if (self->state.data && rank <= self->rank)
		return;
	self->rank = rank;
	end_with(self, state, why);
}

/* ---------------------------------------------------------------- in the gateway */

static bool is_under_way(keep_bytes status)
{
	return kp_bytes_equal(status, KEEP_BYTES("pending")) ||
	       kp_bytes_equal(status, KEEP_BYTES("sending"));
}

static keep_status put_delivery(journey *self, const keep_message *answer, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	const keep_bytes parts[] = {
		answer->id, answer->platform_id.len ? KEEP_BYTES(" as ") : KEEP_BYTES(""),
		answer->platform_id, answer->last_error.len ? KEEP_BYTES(": ") : KEEP_BYTES(""),
		answer->last_error};
	keep_status status = kp_append_all(&text, parts, KP_COUNT(parts), err);

	if (status == KEEP_OK)
		put_step(self, "gateway", 0, answer->status, kp_buffer_bytes(&text));
	keep_buffer_release(&text);
	return status;
}

static keep_status put_answer(journey *self, const keep_message *answer, keep_error *err)
{
	if (!is_under_way(answer->status))
		stands(self, answer->status,
		       answer->last_error.data ? answer->last_error : KEEP_BYTES(""));
	else if (kp_bytes_equal(answer->status, KEEP_BYTES("sending")))
		stands(self, KEEP_BYTES("answered"),
		       KEEP_BYTES("an adapter has the answer, and has not reported yet"));
	else
		stands(self, KEEP_BYTES("answered"),
		       KEEP_BYTES("the answer waits for its channel to deliver it"));
	return put_delivery(self, answer, err);
}

static keep_status put_accepted(journey *self, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(&text, err, "as number %lld of ",
						     (long long)self->message.seq);

	if (status == KEEP_OK)
		status = kp_buffer_append(&text, self->message.chat_jid, err);
	if (status == KEEP_OK)
		put_step(self, "gateway", self->message.received_at,
			 self->message.is_from_me ? KEEP_BYTES("stored") : KEEP_BYTES("accepted"),
			 kp_buffer_bytes(&text));
	keep_buffer_release(&text);
	return status;
}

/* ---------------------------------------------------------------- in a session */

/* An answer that the gateway does not have under the chat: it is not there yet, was refused, or
   went elsewhere. The mailbox knows. */
static keep_status put_kept_answer(journey *self, keep_bytes session, keep_bytes id,
				   keep_error *err)
{
	keep_trace trace;
	keep_status status = keep_mailbox_trace(self->mailbox, session, id, KEEP_NOW, &self->memory,
						&trace, err);

	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status != KEEP_OK || trace.is_inbound ||
	    kp_bytes_equal(trace.state, KEEP_BYTES("handled")))
		return status;
	put_step(self, "mailbox", 0, trace.state, trace.detail);
	if (kp_bytes_equal(trace.state, KEEP_BYTES("written")) ||
	    kp_bytes_equal(trace.state, KEEP_BYTES("due")))
		stands(self, KEEP_BYTES("answered"),
		       KEEP_BYTES("the answer waits in its session until those before it are out"));
	else if (rank_of(trace.state) == RANK_OPEN || is_under_way(trace.state))
		stands(self, KEEP_BYTES("answered"), trace.detail);
	else
		stands(self, trace.state, trace.detail);
	return KEEP_OK;
}

static keep_status put_answers(journey *self, const keep_trace *trace, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < trace->related_count && status == KEEP_OK; i++) {
		keep_message answer;

		status = keep_gateway_get_message(self->gateway, self->message.chat_jid,
						  trace->related[i], &self->memory, &answer, err);
		if (status == KEEP_OK && answer.is_from_me)
			status = put_answer(self, &answer, err);
		else if (status == KEEP_NOT_FOUND)
			status = put_kept_answer(self, trace->session, trace->related[i], err);
	}
	return status;
}

/* What the mailbox says, for a person: why it is tried again, not only when. */
static keep_status tell_state(journey *self, const keep_trace *trace, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_bytes why = trace->detail, reason = KEEP_BYTES("");
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < trace->count; i++)
		if (kp_bytes_equal(trace->steps[i].what, KEEP_BYTES("retry")))
			reason = trace->steps[i].detail;
	if (kp_bytes_equal(trace->state, KEEP_BYTES("expired"))) {
		why = KEEP_BYTES("the agent that had it was ended or lost; another try comes");
	} else if (kp_bytes_equal(trace->state, KEEP_BYTES("waiting")) && reason.len) {
		const keep_bytes parts[] = {reason, KEEP_BYTES("; it waits "), why};

		status = kp_append_all(&text, parts, KP_COUNT(parts), err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&self->memory, kp_buffer_bytes(&text), &why, err);
	}
	if (status == KEEP_OK)
		stands(self, trace->state, why);
	keep_buffer_release(&text);
	return status;
}

static keep_status follow_in(journey *self, keep_bytes session, keep_error *err)
{
	keep_trace trace;
	keep_status status =
		keep_mailbox_trace(self->mailbox, session, keep_bytes_of(self->post_id), KEEP_NOW,
				   &self->memory, &trace, err);

	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status != KEEP_OK)
		return status;
	self->is_found = true;
	put_step(self, "mailbox", 0, KEEP_BYTES("session"), trace.session);
	for (size_t i = 0; i < trace.count; i++)
		put_step(self, "mailbox", trace.steps[i].at, trace.steps[i].what,
			 trace.steps[i].detail);
	status = tell_state(self, &trace, err);
	return status == KEEP_OK ? put_answers(self, &trace, err) : status;
}

/* ---------------------------------------------------------------- in the mailbox */

/* The mailbox's name of its chat; absent: it has none. */
static keep_status find_chat(journey *self, keep_bytes *id, keep_error *err)
{
	keep_messaging_group group;
	keep_bytes channel_type, platform_id;
	keep_status status;

	kp_jid_split(self->message.chat_jid, self->message.source, &channel_type, &platform_id);
	status = keep_mailbox_find_messaging_group(self->mailbox, channel_type, platform_id,
						   &self->memory, &group, err);
	if (status == KEEP_OK)
		*id = group.id;
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

/* Sessions of its chat, and those of no chat, which several chats may share. */
static keep_status follow_page(journey *self, keep_bytes chat, const keep_session_list *list,
			       keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < list->count && status == KEEP_OK; i++) {
		keep_bytes of = list->items[i].messaging_group_id;

		if (!of.len || kp_bytes_equal(of, chat))
			status = follow_in(self, list->items[i].id, err);
	}
	return status;
}

/* Each agent that has it: several may be wired to its chat. */
static keep_status follow(journey *self, keep_error *err)
{
	keep_bytes chat = {NULL, 0}, after = {NULL, 0};
	keep_session_list list = {.count = PAGE};
	keep_status status =
		kp_post_id(self->message.chat_jid, self->message.seq, self->post_id, err);

	if (status == KEEP_OK)
		status = find_chat(self, &chat, err);
	while (status == KEEP_OK && chat.len && list.count == PAGE) {
		status = keep_mailbox_list_sessions(self->mailbox, (keep_bytes){NULL, 0},
						    (keep_bytes){NULL, 0}, after, PAGE,
						    &self->memory, &list, err);
		if (status == KEEP_OK && list.count)
			after = list.items[list.count - 1].id;
		if (status == KEEP_OK)
			status = follow_page(self, chat, &list, err);
	}
	if (status == KEEP_OK && !self->is_found)
		end_with(self, KEEP_BYTES("unknown"),
			 KEEP_BYTES("no session has it any more: it was pruned, or its session "
				    "removed"));
	return status;
}

/* ---------------------------------------------------------------- the whole */

static keep_status put_steps(journey *self, keep_error *err)
{
	int64_t cursor = 0;
	keep_status status = put_accepted(self, err);

	if (status == KEEP_OK && self->message.is_from_me) {
		end_with(self, self->message.status, self->message.last_error);
		return put_delivery(self, &self->message, err);
	}
	if (status == KEEP_OK)
		status = keep_gateway_get_cursor(self->gateway, KEEP_BYTES(KP_ROUTER_NAME),
						 self->message.chat_jid, &cursor, err);
	if (status == KEEP_NOT_FOUND)
		status = KEEP_OK;
	if (status != KEEP_OK)
		return status;
	if (cursor < self->message.seq) {
		end_with(self, KEEP_BYTES("waiting"),
			 self->message.last_error.len ? self->message.last_error
						      : KEEP_BYTES("no host has routed it yet"));
		return KEEP_OK;
	}
	if (self->message.last_error.len) {
		put_step(self, "gateway", 0, KEEP_BYTES("unrouted"), self->message.last_error);
		end_with(self, KEEP_BYTES("unrouted"), self->message.last_error);
		return KEEP_OK;
	}
	return follow(self, err);
}

keep_status kp_journey_trace(keep_gateway *gateway, keep_mailbox *mailbox, keep_bytes chat_jid,
			     keep_bytes id, keep_buffer *out, keep_error *err)
{
	kp_json_writer writer;
	journey self = {.gateway = gateway, .mailbox = mailbox, .writer = &writer};
	keep_status status =
		keep_gateway_get_message(gateway, chat_jid, id, &self.memory, &self.message, err);

	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "chat");
	kp_json_put_text(&writer, chat_jid);
	kp_json_name(&writer, "id");
	kp_json_put_text(&writer, id);
	kp_json_name(&writer, "steps");
	kp_json_open_array(&writer);
	if (status == KEEP_OK)
		status = put_steps(&self, err);
	kp_json_close_array(&writer);
	kp_json_name(&writer, "state");
	kp_json_put_text(&writer, self.state.data ? self.state : KEEP_BYTES("unknown"));
	kp_json_name(&writer, "why");
	kp_json_put_text(&writer, self.why.data ? self.why : KEEP_BYTES(""));
	kp_json_close_object(&writer);
	if (status == KEEP_OK)
		status = kp_json_finish(&writer, err);
	keep_memory_release(&self.memory);
	return status;
}
