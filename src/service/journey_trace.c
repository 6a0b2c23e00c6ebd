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
 *
 * What it does not do: follow an answer that went to another chat than the message's.
 *
 * Tests: tests/contract/test_service_journey.c, tests/cli/test_cli_serve.py.
 */
#include "service/journey.h"

#include <string.h>

typedef struct journey {
	keep_gateway *gateway;
	keep_mailbox *mailbox;
	keep_memory memory;
	keep_message message;
	kp_json_writer *writer;
	keep_bytes state, why;
	size_t answers, delivered;
} journey;

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

/* ---------------------------------------------------------------- in the gateway */

static void put_delivery(journey *self, const keep_message *answer)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(
		&text, NULL, "%" KP_PRI "%s%" KP_PRI "%s%" KP_PRI, KP_ARG(answer->id),
		answer->platform_id.len ? " as " : "", KP_ARG(answer->platform_id),
		answer->last_error.len ? ": " : "", KP_ARG(answer->last_error));

	put_step(self, "gateway", 0, answer->status,
		 status == KEEP_OK ? kp_buffer_bytes(&text) : answer->id);
	keep_buffer_release(&text);
	self->answers++;
	if (kp_bytes_equal(answer->status, KEEP_BYTES("delivered"))) {
		self->delivered++;
		return;
	}
	if (kp_bytes_equal(answer->status, KEEP_BYTES("pending")) ||
	    kp_bytes_equal(answer->status, KEEP_BYTES("sending")))
		end_with(self, KEEP_BYTES("answered"),
			 KEEP_BYTES("the answer waits for its channel to deliver it"));
	else
		end_with(self, answer->status, answer->last_error);
}

static keep_status put_accepted(journey *self, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(&text, err, "as number %lld of %" KP_PRI,
						     (long long)self->message.seq,
						     KP_ARG(self->message.chat_jid));

	if (status == KEEP_OK)
		put_step(self, "gateway", self->message.received_at,
			 self->message.is_from_me ? KEEP_BYTES("stored") : KEEP_BYTES("accepted"),
			 kp_buffer_bytes(&text));
	keep_buffer_release(&text);
	return status;
}

/* ---------------------------------------------------------------- in the mailbox */

static keep_status find_in_mailbox(journey *self, keep_trace *trace, keep_error *err)
{
	char id[KP_POST_ID_SIZE];
	keep_status status = kp_post_id(self->message.chat_jid, self->message.seq, id, err);

	if (status == KEEP_OK)
		status = keep_mailbox_trace(self->mailbox, (keep_bytes){NULL, 0}, keep_bytes_of(id),
					    KEEP_NOW, &self->memory, trace, err);
	if (status == KEEP_NOT_FOUND) /* wired: the mailbox chose its id */
		status = keep_mailbox_trace(self->mailbox, (keep_bytes){NULL, 0}, self->message.id,
					    KEEP_NOW, &self->memory, trace, err);
	return status;
}

static keep_status put_answers(journey *self, const keep_trace *trace, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < trace->related_count && status == KEEP_OK; i++) {
		keep_message answer;

		status = keep_gateway_get_message(self->gateway, self->message.chat_jid,
						  trace->related[i], &self->memory, &answer, err);
		if (status == KEEP_OK && answer.is_from_me)
			put_delivery(self, &answer);
		if (status == KEEP_NOT_FOUND)
			status = KEEP_OK;
	}
	return status;
}

static keep_status follow(journey *self, keep_error *err)
{
	keep_trace trace;
	keep_status status = find_in_mailbox(self, &trace, err);

	if (status == KEEP_NOT_FOUND) {
		end_with(self, KEEP_BYTES("unknown"),
			 KEEP_BYTES("no session has it any more: it was pruned, or its session "
				    "removed"));
		return KEEP_OK;
	}
	if (status != KEEP_OK)
		return status;
	put_step(self, "mailbox", 0, KEEP_BYTES("session"), trace.session);
	for (size_t i = 0; i < trace.count; i++)
		put_step(self, "mailbox", trace.steps[i].at, trace.steps[i].what,
			 trace.steps[i].detail);
	end_with(self, trace.state, trace.detail);
	status = put_answers(self, &trace, err);
	if (status == KEEP_OK && self->answers && self->delivered == self->answers)
		end_with(self, KEEP_BYTES("delivered"), KEEP_BYTES(""));
	return status;
}

/* ---------------------------------------------------------------- the whole */

static keep_status put_steps(journey *self, keep_error *err)
{
	int64_t cursor = 0;
	keep_status status = put_accepted(self, err);

	if (status == KEEP_OK && self->message.is_from_me) {
		put_delivery(self, &self->message);
		end_with(self, self->message.status, self->message.last_error);
		return KEEP_OK;
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
