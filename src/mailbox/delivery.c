/*
 * delivery.c - handing what an agent said to its channel, with every step on disk.
 *
 *   outgoing ── begin ──> sending ── complete ──> delivered
 *       ▲                   │  └─ fail, for good ─> failed     the agent is told
 *       └──── fail ─────────┤
 *                           └─ lease over ───────> uncertain ── retry, complete, fail
 *   outgoing ── refuse, no permission ───────────> refused     the agent is told
 *
 * A channel is called between two commits: `sending` before, the outcome after. A crash in between
 * leaves `sending` until its lease is over, and then `uncertain`: nobody knows whether the channel
 * has it, and only the caller can find out, by the idempotency key.
 *
 * A message that waits for its next attempt has the status failed and a next_attempt_at; one that
 * failed for good has none.
 *
 * Invariants:
 *   1. A message is in `outgoing` if and only if it is not finished.
 *   2. The attempt's number fences: a report of another one changes nothing.
 *   3. The end of a delivery, the remark to the agent, and the next occurrence of an outbound
 *      recurrence are one commit.
 *   4. The key of a recurrence's first occurrence is the message's id; of a later one, the id, "@"
 *      and its time. It follows from them alone, so a repetition is the same delivery.
 *
 * What it does not do: find what is to be delivered (collect.c), call a channel.
 *
 * Tests: tests/contract/test_mailbox_delivery.c.
 */
#include "mailbox/mailbox_private.h"

#include "keep/time.h"

#include <stdio.h>

enum { DEFAULT_LEASE_MS = 60000 };

static const int64_t delays_ms[] = {5000, 15000, 45000, 120000, 300000};

static const char *const outcome_names[] = {"delivered", "failed", "permanent"};

const char *keep_outcome_name(keep_outcome outcome)
{
	return (size_t)outcome < KP_COUNT(outcome_names) ? outcome_names[outcome] : "?";
}

bool keep_outcome_parse(keep_bytes name, keep_outcome *out)
{
	for (size_t i = 0; i < KP_COUNT(outcome_names); i++) {
		if (kp_bytes_equal(name, keep_bytes_of(outcome_names[i]))) {
			*out = (keep_outcome)i;
			return true;
		}
	}
	return false;
}

static bool is_status(keep_bytes status, const char *name)
{
	return kp_bytes_equal(status, keep_bytes_of(name));
}

/* ---------------------------------------------------------------- one delivery's rows */

/* Both rows of a key, inside of a transaction. */
struct rows {
	keep_outgoing_message outgoing;
	keep_delivered_message delivered;
	bool is_outgoing, is_known; /* which of them is there */
};

static keep_status read_rows(kp_lease *lease, keep_bytes session, keep_bytes key, kp_arena *arena,
			     struct rows *rows, keep_error *err)
{
	kp_value values[] = {kp_text_value(session), kp_text_value(key)};
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_GET_OUTGOING, values, 2, &kp_outgoing_message_record,
			     arena, &rows->outgoing, &rows->is_outgoing, err);

	if (status == KEEP_OK)
		status = kp_lease_get(lease, KP_MAILBOX_GET_DELIVERED, values, 2,
				      &kp_delivered_message_record, arena, &rows->delivered,
				      &rows->is_known, err);
	if (status == KEEP_OK && !rows->is_outgoing && !rows->is_known)
		status = kp_fail(err, KEEP_NOT_FOUND, "delivery: there is no '%" KP_PRI "'",
				 KP_ARG(key));
	return status;
}

static keep_status put_delivered(kp_lease *lease, const keep_delivered_message *delivered,
				 keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_statement(lease, KP_MAILBOX_PUT_DELIVERED, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_delivered_message_record, delivered, err);
	return status == KEEP_OK ? kp_sql_queue(stmt, err) : status;
}

static keep_status put_outgoing(kp_lease *lease, const keep_outgoing_message *outgoing,
				keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_statement(lease, KP_MAILBOX_PUT_OUTGOING, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_outgoing_message_record, outgoing, err);
	return status == KEEP_OK ? kp_sql_queue(stmt, err) : status;
}

static keep_status add_step(kp_lease *lease, const keep_delivered_message *delivered,
			    const char *step, int64_t now_ms, keep_error *err)
{
	char text[64];
	keep_bytes detail = delivered->last_error;

	snprintf(text, sizeof text, "attempt %lld", (long long)delivered->attempts);
	if (!detail.data)
		detail = keep_bytes_of(text);
	return kp_step_add(lease, delivered->session_id, delivered->message_out_id, step, detail,
			   now_ms, err);
}

/* ---------------------------------------------------------------- its end */

/* The scheduled time of the occurrence that a key names. */
static int64_t occurrence_of(keep_bytes key, int64_t fallback_ms)
{
	const char *at = memchr(key.data, '@', key.len);
	int64_t time_ms = 0;

	if (at && keep_time_parse((keep_bytes){at + 1, key.len - (size_t)(at + 1 - key.data)},
				  &time_ms, NULL) == KEEP_OK)
		return time_ms;
	return fallback_ms;
}

static keep_status add_occurrence(kp_lease *lease, const kp_settlement *done, int64_t time_ms,
				  keep_error *err)
{
	keep_buffer key = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	char text[KEEP_TIME_TEXT_SIZE];
	struct rows rows;
	const char *at = memchr(done->key.data, '@', done->key.len);
	keep_bytes id = {done->key.data, at ? (size_t)(at - done->key.data) : done->key.len};
	keep_status status = keep_time_format(time_ms, text, err);

	if (status == KEEP_OK)
		status = kp_buffer_append(&key, id, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(&key, err, "@%s", text);
	if (status == KEEP_OK)
		status = read_rows(lease, done->session, done->key, &arena, &rows, err);
	if (status == KEEP_OK && rows.is_outgoing) {
		rows.outgoing.message_out_id = kp_buffer_bytes(&key);
		rows.outgoing.due_at = time_ms;
		rows.outgoing.attempts = 0;
		status = put_outgoing(lease, &rows.outgoing, err);
	}
	kp_arena_release(&arena);
	keep_buffer_release(&key);
	return status;
}

/* The next occurrence of an outbound recurrence, from the time of this one. What came due while
   nobody was there is not made up: the next one is after now. */
static keep_status add_next(kp_lease *lease, const kp_settlement *done, keep_error *err)
{
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	keep_schedule *schedule = NULL;
	kp_sql_stmt *stmt = NULL;
	kp_value text = {.is_null = true};
	bool found = false;
	int64_t next_ms = 0, from_ms = occurrence_of(done->key, done->now_ms);
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_lease_bind(
		lease, KP_MAILBOX_OUTBOUND_RECURRENCE,
		KP_VALUES(kp_text_value(done->session), kp_int_value(done->seq)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	if (status == KEEP_OK && found)
		status = kp_sql_column(stmt, 0, KP_TEXT, &text, err);
	options.dialect = KEEP_DIALECT_CRON_PARSER;
	if (status == KEEP_OK && found) {
		/* The agent's text: what is wrong with it ends the recurrence and nothing else. */
		if (from_ms < done->now_ms)
			from_ms = done->now_ms;
		if (keep_schedule_parse(text.bytes, &options, &schedule, &why) == KEEP_OK &&
		    keep_schedule_next(schedule, from_ms, &next_ms, &why) == KEEP_OK)
			status = add_occurrence(lease, done, next_ms, err);
		else
			status = kp_step_add(lease, done->session, done->key, "recurrence_ended",
					     keep_bytes_of(why.message), done->now_ms, err);
	}
	keep_schedule_close(&schedule);
	kp_sql_reset(stmt);
	return status;
}

/* A notice's id follows from the delivery's key, which may be longer than an id may be. */
static keep_status write_notice_id(keep_bytes key, char id[KP_SEGMENT_SIZE], keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_status status = kp_sha256(key, digest, err);

	if (status != KEEP_OK)
		return status;
	memcpy(id, "dlv-", 4);
	kp_hex_format((keep_bytes){(const char *)digest, 16}, id + 4);
	return KEEP_OK;
}

static keep_status tell_agent(kp_lease *lease, const kp_settlement *done, keep_error *err)
{
	char id[KP_SEGMENT_SIZE], type[40];
	keep_buffer content = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_inbound_message notice;
	bool existed = false;
	int64_t seq = 0;
	keep_status status = write_notice_id(done->key, id, err);

	if (status != KEEP_OK)
		return status;
	snprintf(type, sizeof type, "delivery_%s", done->status);
	kp_json_begin(&writer, &content);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "type");
	kp_json_put_text(&writer, keep_bytes_of(type));
	kp_json_name(&writer, "messageId");
	kp_json_put_text(&writer, done->key);
	kp_json_name(&writer, "seq");
	kp_json_put_integer(&writer, done->seq);
	kp_json_name(&writer, "attempts");
	kp_json_put_integer(&writer, done->attempts);
	kp_json_name(&writer, "error");
	kp_json_put_text(&writer, kp_text_or(done->error, ""));
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	notice = kp_inbound_notice(done->session, keep_bytes_of(id), kp_buffer_bytes(&content),
				   done->now_ms);
	if (status == KEEP_OK)
		status = kp_inbound_add_once(lease, &notice, &existed, &seq, err);
	keep_buffer_release(&content);
	return status;
}

keep_status kp_delivery_settle(kp_lease *lease, const kp_settlement *done, keep_error *err)
{
	keep_delivered_message delivered = {
		.session_id = done->session,
		.message_out_id = done->key,
		.platform_message_id = done->platform_message_id,
		.status = keep_bytes_of(done->status),
		.delivered_at = done->now_ms,
		.has_delivered_at = true,
		.attempts = done->attempts,
		.last_error = done->error,
		.seq = done->seq,
	};
	bool is_delivered = is_status(delivered.status, KEEP_DELIVERED_MESSAGE_STATUS_DELIVERED);
	bool is_refused = is_status(delivered.status, KEEP_DELIVERED_MESSAGE_STATUS_REFUSED);
	keep_status status = put_delivered(lease, &delivered, err);

	if (status == KEEP_OK && !is_refused)
		status = add_next(lease, done, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(
			lease, KP_MAILBOX_END_OUTGOING,
			KP_VALUES(kp_text_value(done->session), kp_text_value(done->key)), err);
	if (status == KEEP_OK && !is_delivered)
		status = add_step(lease, &delivered, is_refused ? "refused" : "delivery_failed",
				  done->now_ms, err);
	if (status == KEEP_OK && done->tells_agent)
		status = tell_agent(lease, done, err);
	return status;
}

/* ---------------------------------------------------------------- calls */

/* What all of them are about. */
struct call {
	keep_mailbox *mailbox;
	keep_bytes session, key;
	int64_t now_ms, lease_ms;
	const keep_outcome_report *report;
	keep_bytes reason;
	int64_t attempt;
};

static keep_status check_call(const struct call *call, keep_error *err)
{
	keep_status status = kp_check_session(call->session, err);

	if (status == KEEP_OK)
		status = kp_check_key("key", call->key, err);
	return status;
}

/* `apply` on the session; the agent is told when it has got a remark. */
static keep_status run(struct call *call, kp_apply *apply, unsigned news, int64_t due_ms,
		       keep_error *err)
{
	kp_session_change change = {
		.session = call->session, .mode = KP_SQL_WRITE, .news = news, .due_ms = due_ms};
	keep_status status = check_call(call, err);

	if (status == KEEP_OK)
		status = kp_session_write(call->mailbox, &change, apply, call, err);
	return status;
}

static keep_status begin(const struct call *call, kp_lease *lease, const struct rows *rows,
			 keep_error *err)
{
	keep_outgoing_message outgoing = rows->outgoing;
	keep_delivered_message delivered = {
		.session_id = call->session,
		.message_out_id = call->key,
		.status = KEEP_BYTES(KEEP_DELIVERED_MESSAGE_STATUS_SENDING),
		.attempts = call->attempt,
		.next_attempt_at = call->now_ms + call->lease_ms,
		.has_next_attempt_at = true,
		.lease_owner = keep_bytes_of(call->mailbox->owner),
		.seq = outgoing.seq,
	};
	keep_status status = put_delivered(lease, &delivered, err);

	outgoing.due_at = call->now_ms + call->lease_ms;
	outgoing.attempts = call->attempt;
	if (status == KEEP_OK)
		status = put_outgoing(lease, &outgoing, err);
	if (status == KEEP_OK)
		status = add_step(lease, &delivered, "sending", call->now_ms, err);
	return status;
}

static keep_status apply_begin(void *ctx, kp_lease *lease, keep_error *err)
{
	struct call *call = ctx;
	kp_arena arena = {.head = NULL};
	struct rows rows;
	keep_status status = read_rows(lease, call->session, call->key, &arena, &rows, err);

	if (status == KEEP_OK && !rows.is_outgoing)
		status = kp_fail(err, KEEP_CONFLICT, "delivery: '%" KP_PRI "' is %" KP_PRI,
				 KP_ARG(call->key), KP_ARG(rows.delivered.status));
	if (status == KEEP_OK && rows.is_known &&
	    (is_status(rows.delivered.status, KEEP_DELIVERED_MESSAGE_STATUS_SENDING) ||
	     is_status(rows.delivered.status, KEEP_DELIVERED_MESSAGE_STATUS_UNCERTAIN)))
		status = kp_fail(err, KEEP_CONFLICT, "delivery: '%" KP_PRI "' is %" KP_PRI,
				 KP_ARG(call->key), KP_ARG(rows.delivered.status));
	if (status == KEEP_OK && rows.outgoing.due_at > call->now_ms)
		status = kp_fail(err, KEEP_CONFLICT, "delivery: '%" KP_PRI "' is not due yet",
				 KP_ARG(call->key));
	if (status == KEEP_OK) {
		call->attempt = (rows.is_known ? rows.delivered.attempts : 0) + 1;
		status = begin(call, lease, &rows, err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_mailbox_begin_delivery(keep_mailbox *mailbox, keep_bytes session, keep_bytes key,
					int64_t lease_ms, int64_t now_ms, int64_t *attempt,
					keep_error *err)
{
	struct call call = {.mailbox = mailbox,
			    .session = session,
			    .key = key,
			    .now_ms = kp_now(now_ms),
			    .lease_ms = lease_ms ? lease_ms : DEFAULT_LEASE_MS};
	keep_status status;

	if (call.lease_ms < 0)
		return kp_fail(err, KEEP_INVALID, "lease_ms: is negative");
	status = run(&call, apply_begin, KP_NEWS_NONE, call.now_ms + call.lease_ms, err);
	if (status == KEEP_OK && attempt)
		*attempt = call.attempt;
	return status;
}

/* ---------------------------------------------------------------- outcomes */

/* Has this report been taken before? */
static bool is_repetition(const keep_outcome_report *report, const keep_delivered_message *stored)
{
	bool is_delivered = is_status(stored->status, KEEP_DELIVERED_MESSAGE_STATUS_DELIVERED);
	bool is_failed = is_status(stored->status, KEEP_DELIVERED_MESSAGE_STATUS_FAILED);

	if (report->attempt && report->attempt != stored->attempts)
		return false;
	return report->outcome == KEEP_OUTCOME_DELIVERED ? is_delivered : is_failed;
}

static bool may_report(const keep_outcome_report *report, const keep_delivered_message *stored)
{
	bool is_uncertain = is_status(stored->status, KEEP_DELIVERED_MESSAGE_STATUS_UNCERTAIN);
	bool is_sending = is_status(stored->status, KEEP_DELIVERED_MESSAGE_STATUS_SENDING);

	if (!report->attempt)
		return is_uncertain;
	return report->attempt == stored->attempts && (is_uncertain || is_sending);
}

static keep_status try_later(const struct call *call, kp_lease *lease, const struct rows *rows,
			     keep_error *err)
{
	keep_outgoing_message outgoing = rows->outgoing;
	keep_delivered_message delivered = rows->delivered;
	keep_status status;

	delivered.status = KEEP_BYTES(KEEP_DELIVERED_MESSAGE_STATUS_FAILED);
	delivered.next_attempt_at = call->now_ms + delays_ms[delivered.attempts - 1];
	delivered.has_next_attempt_at = true;
	delivered.last_error = call->report->error;
	delivered.lease_owner = (keep_bytes){.data = NULL};
	outgoing.due_at = delivered.next_attempt_at;
	outgoing.attempts = delivered.attempts;
	status = put_delivered(lease, &delivered, err);
	if (status == KEEP_OK)
		status = put_outgoing(lease, &outgoing, err);
	if (status == KEEP_OK)
		status = add_step(lease, &delivered, "delivery_failed", call->now_ms, err);
	return status;
}

static keep_status take_report(const struct call *call, kp_lease *lease, const struct rows *rows,
			       keep_error *err)
{
	const keep_outcome_report *report = call->report;
	bool is_delivered = report->outcome == KEEP_OUTCOME_DELIVERED;
	kp_settlement done = {
		.session = call->session,
		.key = call->key,
		.seq = rows->delivered.seq,
		.status = is_delivered ? KEEP_DELIVERED_MESSAGE_STATUS_DELIVERED
				       : KEEP_DELIVERED_MESSAGE_STATUS_FAILED,
		.platform_message_id =
			is_delivered ? report->platform_message_id : (keep_bytes){.data = NULL},
		.error = is_delivered ? (keep_bytes){.data = NULL} : report->error,
		.attempts = rows->delivered.attempts,
		.now_ms = call->now_ms,
		.tells_agent = !is_delivered,
	};

	if (report->outcome == KEEP_OUTCOME_FAILED &&
	    rows->delivered.attempts <= (int64_t)KP_COUNT(delays_ms) &&
	    rows->delivered.attempts > 0)
		return try_later(call, lease, rows, err);
	return kp_delivery_settle(lease, &done, err);
}

static keep_status apply_report(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct call *call = ctx;
	kp_arena arena = {.head = NULL};
	struct rows rows;
	keep_status status = read_rows(lease, call->session, call->key, &arena, &rows, err);

	if (status == KEEP_OK && !rows.is_known)
		status = kp_fail(err, KEEP_CONFLICT, "delivery: '%" KP_PRI "' was not begun",
				 KP_ARG(call->key));
	if (status == KEEP_OK && may_report(call->report, &rows.delivered))
		status = take_report(call, lease, &rows, err);
	else if (status == KEEP_OK && !is_repetition(call->report, &rows.delivered))
		status = kp_fail(err, KEEP_CONFLICT,
				 "delivery: '%" KP_PRI "' is %" KP_PRI ", its last attempt is %lld",
				 KP_ARG(call->key), KP_ARG(rows.delivered.status),
				 (long long)rows.delivered.attempts);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_mailbox_complete_delivery(keep_mailbox *mailbox, const keep_outcome_report *report,
					   int64_t now_ms, keep_error *err)
{
	struct call call = {.mailbox = mailbox,
			    .session = report->session,
			    .key = report->key,
			    .now_ms = kp_now(now_ms),
			    .report = report};
	bool is_delivered = report->outcome == KEEP_OUTCOME_DELIVERED;
	keep_status status = KEEP_OK;

	if ((size_t)report->outcome >= KP_COUNT(outcome_names) || report->attempt < 0)
		return kp_fail(err, KEEP_INVALID, "outcome, attempt: no such value");
	if (report->platform_message_id.data)
		status = kp_check_key("platform_message_id", report->platform_message_id, err);
	if (status == KEEP_OK && !is_delivered)
		status = kp_check_text("error", report->error, KEEP_MAILBOX_TEXT_MAX, KP_NOT_EMPTY,
				       err);
	if (status != KEEP_OK)
		return status;
	return run(&call, apply_report, is_delivered ? KP_NEWS_NONE : KP_NEWS_AGENT,
		   call.now_ms + delays_ms[0], err);
}

/* ---------------------------------------------------------------- refusing, trying again */

static keep_status apply_refuse(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct call *call = ctx;
	kp_arena arena = {.head = NULL};
	struct rows rows;
	kp_settlement done = {.session = call->session,
			      .key = call->key,
			      .status = KEEP_DELIVERED_MESSAGE_STATUS_REFUSED,
			      .error = call->reason,
			      .now_ms = call->now_ms,
			      .tells_agent = true};
	keep_status status = read_rows(lease, call->session, call->key, &arena, &rows, err);
	bool is_refused = status == KEEP_OK && rows.is_known &&
			  is_status(rows.delivered.status, KEEP_DELIVERED_MESSAGE_STATUS_REFUSED);
	bool is_open = status == KEEP_OK && rows.is_outgoing &&
		       !(rows.is_known &&
			 is_status(rows.delivered.status, KEEP_DELIVERED_MESSAGE_STATUS_SENDING));

	if (status == KEEP_OK && !is_refused && !is_open)
		status = kp_fail(err, KEEP_CONFLICT, "delivery: '%" KP_PRI "' is %" KP_PRI,
				 KP_ARG(call->key), KP_ARG(rows.delivered.status));
	if (status == KEEP_OK && !is_refused) {
		done.seq = rows.outgoing.seq;
		done.attempts = rows.is_known ? rows.delivered.attempts : 0;
		status = kp_delivery_settle(lease, &done, err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_mailbox_refuse_delivery(keep_mailbox *mailbox, keep_bytes session, keep_bytes key,
					 keep_bytes reason, int64_t now_ms, keep_error *err)
{
	struct call call = {.mailbox = mailbox,
			    .session = session,
			    .key = key,
			    .now_ms = kp_now(now_ms),
			    .reason = reason};
	keep_status status =
		kp_check_text("reason", reason, KEEP_MAILBOX_TEXT_MAX, KP_NOT_EMPTY, err);

	if (status != KEEP_OK)
		return status;
	return run(&call, apply_refuse, KP_NEWS_AGENT, call.now_ms + delays_ms[0], err);
}

/* The channel and chat that a message goes to, as one text: later messages to the same one wait for
   one that is tried again. */
keep_status kp_outgoing_address(const keep_outbound_message *message, kp_arena *arena,
				keep_bytes *out, keep_error *err)
{
	size_t len = message->channel_type.len + 1 + message->platform_id.len;
	char *text = kp_arena_alloc(arena, len);

	if (!text)
		return kp_fail_memory(err, "an address");
	if (message->channel_type.len)
		memcpy(text, message->channel_type.data, message->channel_type.len);
	text[message->channel_type.len] = ':';
	if (message->platform_id.len)
		memcpy(text + message->channel_type.len + 1, message->platform_id.data,
		       message->platform_id.len);
	*out = (keep_bytes){text, len};
	return KEEP_OK;
}

static keep_status put_back(const struct call *call, kp_lease *lease, const struct rows *rows,
			    kp_arena *arena, keep_error *err)
{
	keep_outgoing_message outgoing = {.session_id = call->session,
					  .message_out_id = call->key,
					  .seq = rows->delivered.seq,
					  .due_at = call->now_ms,
					  .attempts = rows->delivered.attempts};
	keep_delivered_message delivered = rows->delivered;
	keep_outbound_message message;
	bool found = false;
	keep_status status = kp_lease_get(
		lease, KP_MAILBOX_GET_OUTBOUND_BY_SEQ,
		KP_VALUES(kp_text_value(call->session), kp_int_value(rows->delivered.seq)),
		&kp_outbound_message_record, arena, &message, &found, err);

	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND,
				 "delivery: the message of '%" KP_PRI "' is not there any more",
				 KP_ARG(call->key));
	if (status == KEEP_OK)
		status = kp_outgoing_address(&message, arena, &outgoing.address, err);
	if (status == KEEP_OK)
		status = put_outgoing(lease, &outgoing, err);
	delivered.status = KEEP_BYTES(KEEP_DELIVERED_MESSAGE_STATUS_FAILED);
	delivered.next_attempt_at = call->now_ms;
	delivered.has_next_attempt_at = true;
	delivered.has_delivered_at = false;
	delivered.lease_owner = (keep_bytes){.data = NULL};
	if (status == KEEP_OK)
		status = put_delivered(lease, &delivered, err);
	if (status == KEEP_OK)
		status = kp_step_add(lease, call->session, call->key, "retry_asked",
				     (keep_bytes){.data = NULL}, call->now_ms, err);
	return status;
}

static keep_status apply_put_back(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct call *call = ctx;
	kp_arena arena = {.head = NULL};
	struct rows rows;
	keep_status status = read_rows(lease, call->session, call->key, &arena, &rows, err);
	bool is_over = status == KEEP_OK && rows.is_known &&
		       (is_status(rows.delivered.status, KEEP_DELIVERED_MESSAGE_STATUS_FAILED) ||
			is_status(rows.delivered.status, KEEP_DELIVERED_MESSAGE_STATUS_REFUSED) ||
			is_status(rows.delivered.status, KEEP_DELIVERED_MESSAGE_STATUS_UNCERTAIN));

	if (status == KEEP_OK && !is_over)
		status = kp_fail(
			err, KEEP_CONFLICT, "delivery: '%" KP_PRI "' is %" KP_PRI,
			KP_ARG(call->key),
			KP_ARG(rows.is_known ? rows.delivered.status : KEEP_BYTES("outgoing")));
	if (status == KEEP_OK)
		status = put_back(call, lease, &rows, &arena, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_mailbox_retry_delivery(keep_mailbox *mailbox, keep_bytes session, keep_bytes key,
					int64_t now_ms, keep_error *err)
{
	struct call call = {
		.mailbox = mailbox, .session = session, .key = key, .now_ms = kp_now(now_ms)};

	return run(&call, apply_put_back, KP_NEWS_NONE, call.now_ms, err);
}

/* ---------------------------------------------------------------- listing */

struct listing {
	keep_bytes session, status;
	int64_t after_seq, limit;
	kp_arena *arena;
	keep_delivered_message_list *out;
};

static keep_status query_deliveries(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct listing *listing = ctx;
	keep_session_host host;
	keep_status status =
		kp_session_host_get(lease, listing->session, listing->arena, &host, err);

	/* Where sessions share a table, one that is not there would look empty. */
	if (status != KEEP_OK)
		return status;
	return kp_lease_list(
		lease, KP_MAILBOX_LIST_DELIVERED,
		KP_VALUES(kp_text_value(listing->session), kp_int_value(listing->after_seq),
			  kp_text_value(listing->status), kp_int_value(listing->limit)),
		&kp_delivered_message_record, listing->arena, &listing->out->items,
		&listing->out->count, err);
}

keep_status keep_mailbox_deliveries(keep_mailbox *mailbox, keep_bytes session, keep_bytes status,
				    int64_t after_seq, size_t limit, keep_memory *memory,
				    keep_delivered_message_list *out, keep_error *err)
{
	struct listing listing = {session, status, after_seq, 0, memory, out};
	keep_status done = kp_check_limit(limit, 50, KEEP_MAILBOX_LIST_MAX, &listing.limit, err);

	*out = (keep_delivered_message_list){.items = NULL};
	if (done == KEEP_OK && status.data)
		done = kp_check_key("status", status, err);
	return done == KEEP_OK ? kp_session_read(mailbox, session, query_deliveries, &listing, err)
			       : done;
}
