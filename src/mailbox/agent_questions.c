/*
 * agent_questions.c - asking somebody, and waiting for what they say.
 *
 * A question is a card in messages_out and a row of asked_questions, under one id. The answer, or
 * that nobody gave one in time, comes as a `system` message qr-<id>. While a process waits for it,
 * asked_questions.awaited_until keeps it from claims; a waiter renews that time, so that one that
 * was killed holds the answer back for MARK_MS at most.
 *
 * Invariants:
 *   1. Card and row appear in one commit.
 *   2. An answer belongs to the question that its content names, whatever its own id is.
 *   3. Every waiter is told the same answer. The first one acknowledges it; one that a claim took
 *      is its claimer's to acknowledge.
 *
 * What it does not do: end questions; the host does (questions.c).
 *
 * Tests: tests/contract/test_mailbox_ask.c.
 */
#include "mailbox/mailbox_private.h"

#include <stdio.h>

enum { MARK_MS = 60000, SLICE_MS = 20000, OPTIONS_MAX = 100 };

/* ---------------------------------------------------------------- asking */

struct asking {
	keep_agent *agent;
	keep_send send;
	int64_t now_ms;
	keep_sent *sent;
};

static keep_status apply_asking(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct asking *asking = ctx;
	keep_send send = asking->send;
	keep_bytes id = send.id;
	keep_status status;

	send.id = (keep_bytes){.data = NULL}; /* it is new */
	status = kp_agent_send_add(asking->agent, lease, &send, id, (keep_bytes){.data = NULL},
				   asking->now_ms, asking->sent, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_MAILBOX_ADD_QUESTION,
					KP_VALUES(kp_text_value(kp_agent_id(asking->agent)),
						  kp_text_value(id), kp_time_value(asking->now_ms)),
					err);
	return status;
}

static keep_status check_question(keep_bytes question, const keep_bytes *options, size_t count,
				  keep_error *err)
{
	keep_status status = kp_check_text("question", question, KP_CONTENT_MAX, KP_NOT_EMPTY, err);

	if (status == KEEP_OK && (count > OPTIONS_MAX || (count && !options)))
		status = kp_fail(err, KEEP_INVALID, "options: %zu are over %d", count, OPTIONS_MAX);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = kp_check_text("options", options[i], KEEP_MAILBOX_TEXT_MAX, KP_NOT_EMPTY,
				       err);
		for (size_t k = 0; k < i && status == KEEP_OK; k++)
			if (kp_bytes_equal(options[i], options[k]))
				status = kp_fail(err, KEEP_INVALID,
						 "options: '%" KP_PRI "' is there twice",
						 KP_ARG(options[i]));
	}
	return status;
}

static keep_status write_card(const char *id, keep_bytes question, const keep_bytes *options,
			      size_t count, keep_buffer *out, keep_error *err)
{
	kp_json_writer writer;

	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "type");
	kp_json_put_text(&writer, KEEP_BYTES("ask_question"));
	kp_json_name(&writer, "questionId");
	kp_json_put_text(&writer, keep_bytes_of(id));
	kp_json_name(&writer, "question");
	kp_json_put_text(&writer, question);
	kp_json_name(&writer, "options");
	kp_json_open_array(&writer);
	for (size_t i = 0; i < count; i++)
		kp_json_put_text(&writer, options[i]);
	kp_json_close_array(&writer);
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

keep_status keep_agent_ask(keep_agent *agent, keep_bytes question, const keep_bytes *options,
			   size_t count, keep_bytes to, int64_t now_ms, keep_sent *sent,
			   keep_error *err)
{
	char id[KP_UUID_TEXT_SIZE] = "";
	keep_buffer card = KEEP_BUFFER_INIT;
	struct asking asking = {.agent = agent, .now_ms = kp_now(now_ms), .sent = sent};
	keep_status status = check_question(question, options, count, err);

	if (status == KEEP_OK && !sent)
		return kp_fail(err, KEEP_MISUSE, "keep_agent_ask: sent is NULL");
	if (status == KEEP_OK)
		status = kp_check_time("now_ms", asking.now_ms, err);
	if (status == KEEP_OK)
		status = kp_uuid_make(id, err);
	if (status == KEEP_OK)
		status = write_card(id, question, options, count, &card, err);
	asking.send = (keep_send){
		.kind = KEEP_BYTES("chat-sdk"), .content = kp_buffer_bytes(&card), .to = to};
	if (status == KEEP_OK)
		status = kp_agent_send_check(&asking.send, err);
	asking.send.id = keep_bytes_of(id);
	if (status == KEEP_OK)
		status = kp_agent_write(agent, KP_SQL_WRITE, true, apply_asking, &asking, err);
	keep_buffer_release(&card);
	return status;
}

/* ---------------------------------------------------------------- the answer */

struct awaiting {
	keep_agent *agent;
	keep_bytes question_id;
	kp_arena *arena;
	int64_t now_ms, mark_ms;
	bool ends; /* the mark goes */
	keep_question_answer *out;
	keep_bytes message_id; /* of the answer that was found */
	bool found, is_pending, is_asked;
};

/* qr-<question> or qr-<question>-<digits>. */
static bool is_answer_id(keep_bytes id, keep_bytes question)
{
	size_t at = 3 + question.len;

	if (id.len < at || (id.len > at && (id.data[at] != '-' || id.len == at + 1)))
		return false;
	for (size_t i = at + 1; i < id.len; i++)
		if (id.data[i] < '0' || id.data[i] > '9')
			return false;
	return true;
}

static bool has_text(const kp_json *object, const char *name, keep_bytes text)
{
	const kp_json *member = kp_json_member(object, name);

	return member && member->kind == KP_JSON_TEXT && kp_bytes_equal(member->text, text);
}

static keep_bytes text_of(const kp_json *object, const char *name)
{
	const kp_json *member = kp_json_member(object, name);

	if (!member || member->kind == KP_JSON_NULL)
		return (keep_bytes){.data = NULL};
	return member->kind == KP_JSON_TEXT ? member->text : member->raw;
}

/* Invariant 2; *is_answer false: it is something else. */
static keep_status read_answer(const struct awaiting *awaiting, keep_bytes content, bool *is_answer,
			       keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL;
	keep_question_answer *out = awaiting->out;
	keep_error why = KEEP_ERROR_INIT;
	bool is_expired;
	keep_status status = kp_json_parse(content, &arena, &json, &why);

	*is_answer = false;
	if (status != KEEP_OK) {
		kp_arena_release(&arena);
		return status == KEEP_INVALID ? KEEP_OK : kp_fail(err, status, "%s", why.message);
	}
	is_expired = has_text(json, "type", KEEP_BYTES("question_expired"));
	*is_answer = has_text(json, "questionId", awaiting->question_id) &&
		     (is_expired || has_text(json, "type", KEEP_BYTES("question_response")));
	if (*is_answer) {
		out->is_expired = is_expired;
		status = kp_arena_copy(awaiting->arena, awaiting->question_id, &out->question_id,
				       err);
		if (status == KEEP_OK && !is_expired)
			status = kp_arena_copy(awaiting->arena, text_of(json, "selectedOption"),
					       &out->option, err);
		if (status == KEEP_OK && !is_expired)
			status = kp_arena_copy(awaiting->arena, text_of(json, "userId"),
					       &out->user_id, err);
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status look_at_row(struct awaiting *awaiting, kp_sql_stmt *stmt, keep_error *err)
{
	keep_bytes id, content, state;
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &id, err);

	if (status == KEEP_OK)
		status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &content, err);
	if (status == KEEP_OK)
		status = kp_sql_column_bytes(stmt, 2, KP_TEXT, &state, err);
	if (status != KEEP_OK || !is_answer_id(id, awaiting->question_id))
		return status;
	status = read_answer(awaiting, content, &awaiting->found, err);
	if (status != KEEP_OK || !awaiting->found)
		return status;
	awaiting->is_pending =
		kp_bytes_equal(state, KEEP_BYTES(KEEP_INBOUND_MESSAGE_STATUS_PENDING));
	return kp_arena_copy(awaiting->arena, id, &awaiting->message_id, err);
}

static keep_status query_answer(void *ctx, kp_lease *lease, keep_error *err)
{
	struct awaiting *awaiting = ctx;
	const kp_value values[] = {kp_text_value(kp_agent_id(awaiting->agent)),
				   kp_text_value(awaiting->question_id)};
	kp_sql_stmt *stmt = NULL;
	int64_t one = 0;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_FIND_ANSWERS, values, 2, &stmt, err);

	awaiting->found = false;
	*awaiting->out = (keep_question_answer){.is_expired = false};
	while (status == KEEP_OK && !awaiting->found) {
		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = look_at_row(awaiting, stmt, err);
	}
	kp_sql_reset(stmt);
	if (status == KEEP_OK && !awaiting->found)
		status = kp_lease_int(lease, KP_MAILBOX_HAS_QUESTION, values, 2, &one,
				      &awaiting->is_asked, err);
	return status;
}

/* ---------------------------------------------------------------- acknowledging it */

/* Has nobody the answer? Then `attempt` is that of the last who had. */
static keep_status look_for_claim(const struct awaiting *awaiting, kp_lease *lease, bool *is_free,
				  int64_t *attempt, keep_error *err)
{
	kp_value state, owner, number, until;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_GET_CLAIM,
					   KP_VALUES(kp_text_value(kp_agent_id(awaiting->agent)),
						     kp_text_value(awaiting->message_id)),
					   &stmt, err);

	*is_free = true;
	*attempt = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row) {
		status = kp_sql_column(stmt, 0, KP_TEXT, &state, err);
		if (status == KEEP_OK)
			status = kp_sql_column(stmt, 1, KP_TEXT, &owner, err);
		if (status == KEEP_OK)
			status = kp_sql_column(stmt, 2, KP_INT, &number, err);
		if (status == KEEP_OK)
			status = kp_sql_column(stmt, 3, KP_TIME, &until, err);
		if (status == KEEP_OK) {
			bool is_over = (!owner.is_null && !owner.bytes.len) ||
				       (!until.is_null && until.integer <= awaiting->now_ms);

			*attempt = number.is_null ? 0 : number.integer;
			*is_free =
				kp_bytes_equal(state.bytes, KEEP_BYTES("failed")) ||
				(kp_bytes_equal(state.bytes, KEEP_BYTES("processing")) && is_over);
		}
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status take_answer(const struct awaiting *awaiting, kp_lease *lease, int64_t attempt,
			       keep_error *err)
{
	keep_agent *agent = awaiting->agent;
	kp_value session = kp_text_value(kp_agent_id(agent));
	kp_value id = kp_text_value(awaiting->message_id);
	kp_value now = kp_time_value(awaiting->now_ms);
	kp_value owner = kp_text_value(keep_bytes_of(agent->owner));
	keep_status status =
		kp_lease_queue(lease, KP_MAILBOX_CLAIM,
			       KP_VALUES(session, id, now, owner, now, kp_int_value(attempt),
					 kp_int_value(agent->incarnation), kp_int_value(0)),
			       err);

	if (status == KEEP_OK)
		status = kp_lease_queue(
			lease, KP_MAILBOX_ACKNOWLEDGE,
			KP_VALUES(
				session, id,
				kp_text_value(keep_bytes_of(KEEP_PROCESSING_ACK_STATUS_COMPLETED)),
				now, kp_null_value(KP_TEXT), owner, kp_int_value(attempt)),
			err);
	return status;
}

/* Invariant 3. */
static keep_status apply_taking(void *ctx, kp_lease *lease, keep_error *err)
{
	struct awaiting *awaiting = ctx;
	int64_t attempt = 0;
	bool is_free = false;
	keep_status status = query_answer(ctx, lease, err);

	if (status == KEEP_OK && awaiting->found && awaiting->is_pending)
		status = look_for_claim(awaiting, lease, &is_free, &attempt, err);
	if (status == KEEP_OK && is_free)
		status = take_answer(awaiting, lease, attempt + 1, err);
	return status;
}

/* ---------------------------------------------------------------- waiting for it */

static keep_status apply_mark(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct awaiting *awaiting = ctx;

	return kp_lease_queue(
		lease, awaiting->ends ? KP_MAILBOX_END_AWAIT : KP_MAILBOX_AWAIT_QUESTION,
		KP_VALUES(kp_text_value(kp_agent_id(awaiting->agent)),
			  kp_text_value(awaiting->question_id), kp_time_value(awaiting->mark_ms)),
		err);
}

static keep_status look_for_answer(void *ctx, keep_agent *agent, bool *found, int64_t *due_ms,
				   keep_error *err)
{
	struct awaiting *awaiting = ctx;
	keep_status status = kp_agent_read(agent, query_answer, awaiting, err);

	*found = status == KEEP_OK && awaiting->found;
	*due_ms = 0;
	return status;
}

/* A slice of the wait, with the answer kept for us until it is over and a little longer. */
static keep_status wait_a_slice(struct awaiting *awaiting, int64_t slice_ms, bool *found,
				keep_error *err)
{
	keep_status status;

	awaiting->now_ms = kp_clock_ms();
	awaiting->mark_ms = awaiting->now_ms + (slice_ms == SLICE_MS ? (int64_t)MARK_MS : slice_ms);
	status = kp_agent_write(awaiting->agent, KP_SQL_WRITE_SOON, false, apply_mark, awaiting,
				err);
	if (status == KEEP_OK)
		status = kp_agent_sleep(awaiting->agent, slice_ms, look_for_answer, awaiting, found,
					err);
	return status;
}

static keep_status wait_for_answer(struct awaiting *awaiting, int64_t timeout_ms, bool *found,
				   keep_error *err)
{
	int64_t begun_ns = kp_monotonic_ns();
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && !*found && !atomic_load(&awaiting->agent->cancelled)) {
		int64_t slice_ms = SLICE_MS;

		if (timeout_ms >= 0) {
			int64_t left_ms = timeout_ms - (kp_monotonic_ns() - begun_ns) / 1000000;

			if (left_ms <= 0)
				break;
			if (left_ms < slice_ms)
				slice_ms = left_ms;
		}
		status = wait_a_slice(awaiting, slice_ms, found, err);
	}
	return status;
}

keep_status keep_agent_await_answer(keep_agent *agent, keep_bytes question_id, int64_t timeout_ms,
				    keep_memory *memory, keep_question_answer *out, bool *answered,
				    keep_error *err)
{
	struct awaiting awaiting = {
		.agent = agent, .question_id = question_id, .arena = memory, .out = out};
	bool is_marked = false;
	keep_status status = kp_check_segment("question_id", question_id, err);
	int64_t due_ms = 0;

	*answered = false;
	*out = (keep_question_answer){.is_expired = false};
	if (status == KEEP_OK)
		status = look_for_answer(&awaiting, agent, answered, &due_ms, err);
	if (status == KEEP_OK && !*answered && !awaiting.is_asked)
		status = kp_fail(err, KEEP_NOT_FOUND, "question_id: '%" KP_PRI "' was never asked",
				 KP_ARG(question_id));
	if (status == KEEP_OK && !*answered && timeout_ms != 0) {
		is_marked = true;
		status = wait_for_answer(&awaiting, timeout_ms, answered, err);
	}
	awaiting.now_ms = kp_clock_ms();
	if (status == KEEP_OK && *answered)
		status = kp_agent_write(agent, KP_SQL_WRITE, true, apply_taking, &awaiting, err);
	if (status == KEEP_OK && is_marked) {
		awaiting.ends = true;
		if (*answered)
			awaiting.mark_ms = awaiting.now_ms + MARK_MS;
		status =
			kp_agent_write(agent, KP_SQL_WRITE_SOON, false, apply_mark, &awaiting, err);
	}
	*answered = status == KEEP_OK && *answered;
	return status;
}
