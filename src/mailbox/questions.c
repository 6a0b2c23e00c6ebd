/*
 * questions.c - questions that agents ask people: the pending row, the answer, the end of its time.
 *
 * Three places take part, and no commit spans two of them: the card in the session's outbound side,
 * the row of pending_questions in the registry, and the message to the agent in its inbound side.
 *
 *     card ── collected ──> pending ── answer ──> message qr-<question> ──> row goes,
 * closed_questions └────── expires ──> message qr-<question> ──> row goes, closed_questions
 *
 * Invariants:
 *   1. The message to the agent decides: its id follows from the question, so of all answers and
 *      the expiry one is stored, whoever else was at it. It is stored first; a crash before the row
 *      goes leaves a row whose answer is known, and the next who comes removes it.
 *   2. The row is there before collect answers the card, and is not made again for a question that
 *      was answered: closed_questions remembers it for a while, so that who comes late is told.
 *   3. A question is of the session that opened it; the same id in another session's card is a
 *      conflict and changes nothing. The id is the agent's to choose, so it is checked.
 *   4. A session that fails keeps no other's questions from expiring.
 *
 * What it does not do: show cards, wait (agent_questions.c).
 *
 * Tests: tests/contract/test_mailbox_questions.c, tests/crash/test_mailbox_steps_crash.c.
 */
#include "mailbox/mailbox_private.h"

#include <stdio.h>

static const char answer_prefix[] = "qr-";

enum { QUESTION_ID_MAX = KEEP_SEGMENT_MAX - (int)sizeof answer_prefix + 1 };
enum { OPTION_MAX = 65536, LOOK_AFTER_MS = 60000, PAGE = 100, FAILURES_MAX = 1000 };
#define REMEMBERED_MS (INT64_C(30) * 86400000) /* closed questions are */

/* ---------------------------------------------------------------- the card */

/* Texts, or objects with a text as value or, without one, as label. */
static const kp_json *option_text(const kp_json *option)
{
	const kp_json *value = kp_json_member(option, "value");

	if (option->kind == KP_JSON_TEXT)
		return option;
	if (!value)
		value = kp_json_member(option, "label");
	return value && value->kind == KP_JSON_TEXT ? value : NULL;
}

static keep_status check_options(const kp_json *options, keep_error *err)
{
	if (options->kind != KP_JSON_ARRAY)
		return kp_fail(err, KEEP_INVALID, "options: are %s, not an array",
			       kp_json_kind_name(options->kind));
	for (size_t i = 0; i < options->list.count; i++)
		if (!option_text(&options->list.items[i]))
			return kp_fail(err, KEEP_INVALID,
				       "options: number %zu is no text and has no label", i);
	return KEEP_OK;
}

/* What a card asks; question_id absent: it is none. */
static keep_status read_card(const keep_session *session, const keep_outbound_message *message,
			     int64_t now_ms, kp_arena *arena, keep_pending_question *out,
			     keep_error *err)
{
	const kp_json *card = NULL, *type, *id, *options;
	keep_status status = KEEP_OK;

	*out = (keep_pending_question){.session_id = session->id,
				       .message_out_id = message->id,
				       .platform_id = message->platform_id,
				       .channel_type = message->channel_type,
				       .thread_id = message->thread_id,
				       .created_at = now_ms,
				       .expires_at = now_ms + KEEP_QUESTION_MS};
	if (kp_bytes_equal(message->kind, KEEP_BYTES("system")))
		return KEEP_OK;
	status = kp_json_parse(message->content, arena, &card, err);
	if (status != KEEP_OK)
		return status;
	type = kp_json_member(card, "type");
	if (!type || type->kind != KP_JSON_TEXT ||
	    !kp_bytes_equal(type->text, KEEP_BYTES("ask_question")))
		return KEEP_OK;
	id = kp_json_member(card, "questionId");
	if (id && id->kind != KP_JSON_TEXT)
		return kp_fail(err, KEEP_INVALID, "questionId: is %s, not a text",
			       kp_json_kind_name(id->kind));
	status = kp_check_segment("questionId", id ? id->text : message->id, err);
	if (status == KEEP_OK && (id ? id->text : message->id).len > QUESTION_ID_MAX)
		status = kp_fail(err, KEEP_INVALID, "questionId: the limit is %d bytes",
				 QUESTION_ID_MAX);
	options = kp_json_member(card, "options");
	if (status == KEEP_OK && options && options->kind != KP_JSON_NULL) {
		status = check_options(options, err);
		if (options->kind == KP_JSON_ARRAY && options->list.count)
			out->options = options->raw;
	}
	if (status == KEEP_OK)
		out->question_id = id ? id->text : message->id;
	return status;
}

/* ---------------------------------------------------------------- the registry's rows */

struct asked {
	keep_bytes question_id;
	keep_pending_question question;
	keep_closed_question closed;
	bool is_pending, is_closed;
	kp_arena *arena;
};

static keep_status query_asked(void *ctx, kp_lease *lease, keep_error *err)
{
	struct asked *asked = ctx;
	kp_value id = kp_text_value(asked->question_id);
	keep_status status = kp_lease_get(lease, KP_MAILBOX_GET_PENDING_QUESTION, &id, 1,
					  &kp_pending_question_record, asked->arena,
					  &asked->question, &asked->is_pending, err);

	asked->is_closed = false;
	if (status == KEEP_OK && !asked->is_pending)
		status = kp_lease_get(lease, KP_MAILBOX_GET_CLOSED_QUESTION, &id, 1,
				      &kp_closed_question_record, asked->arena, &asked->closed,
				      &asked->is_closed, err);
	return status;
}

static keep_bytes session_of(const struct asked *asked)
{
	return asked->is_pending ? asked->question.session_id : asked->closed.session_id;
}

/* Invariant 3. */
static keep_status check_owner(const struct asked *asked, const keep_pending_question *card,
			       keep_error *err)
{
	if ((asked->is_pending || asked->is_closed) &&
	    !kp_bytes_equal(session_of(asked), card->session_id))
		return kp_fail(err, KEEP_CONFLICT,
			       "questionId: '%" KP_PRI "' is another session's question",
			       KP_ARG(card->question_id));
	return KEEP_OK;
}

static keep_status apply_open(void *ctx, kp_lease *lease, keep_error *err)
{
	const keep_pending_question *card = ctx;
	kp_arena arena = {.head = NULL};
	struct asked asked = {.question_id = card->question_id, .arena = &arena};
	kp_sql_stmt *stmt = NULL;
	keep_status status = query_asked(&asked, lease, err);

	if (status == KEEP_OK)
		status = check_owner(&asked, card, err);
	if (status == KEEP_OK && !asked.is_pending && !asked.is_closed) {
		status = kp_lease_statement(lease, KP_MAILBOX_ADD_PENDING_QUESTION, &stmt, err);
		if (status == KEEP_OK)
			status = kp_record_bind(stmt, 1, &kp_pending_question_record, card, err);
		if (status == KEEP_OK)
			status = kp_sql_run(stmt, err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status kp_question_open(keep_mailbox *mailbox, const keep_session *session,
			     const keep_outbound_message *message, int64_t now_ms, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct asked asked = {.arena = &arena};
	keep_pending_question card;
	keep_status status = read_card(session, message, now_ms, &arena, &card, err);

	if (status == KEEP_OK && card.question_id.data) {
		asked.question_id = card.question_id;
		/* Collected again and again until its delivery begins: mostly it is there. */
		status = kp_registry_read(mailbox, query_asked, &asked, err);
		if (status == KEEP_OK)
			status = check_owner(&asked, &card, err);
		if (status == KEEP_OK && !asked.is_pending && !asked.is_closed)
			status = kp_registry_change(mailbox, apply_open, &card, err);
	}
	kp_arena_release(&arena);
	return status;
}

struct ending {
	keep_bytes question_id, session;
	int64_t now_ms;
};

static keep_status apply_end(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct ending *ending = ctx;
	int64_t changes = 0;
	keep_status status =
		kp_lease_run(lease, KP_MAILBOX_REMOVE_PENDING_QUESTION,
			     KP_VALUES(kp_text_value(ending->question_id)), &changes, err);

	if (status == KEEP_OK && changes)
		status = kp_lease_run(lease, KP_MAILBOX_ADD_CLOSED_QUESTION,
				      KP_VALUES(kp_text_value(ending->question_id),
						kp_text_value(ending->session),
						kp_time_value(ending->now_ms)),
				      NULL, err);
	return status;
}

/* The message is stored, or there is nobody to tell: the row goes. */
static keep_status end_question(keep_mailbox *mailbox, const keep_pending_question *question,
				int64_t now_ms, keep_error *err)
{
	struct ending ending = {question->question_id, question->session_id, now_ms};

	return kp_registry_change(mailbox, apply_end, &ending, err);
}

/* ---------------------------------------------------------------- the message to the agent */

/* What becomes of a question, or was known to have become. */
struct telling {
	const struct asked *asked;
	keep_bytes content; /* of the message; absent: only look */
	int64_t now_ms;
	char id[KP_SEGMENT_SIZE];
	kp_arena *arena;
	keep_inbound_message stored;
	bool found;   /* it was stored before */
	bool is_late; /* the session is closed: nobody is told */
};

static keep_status query_told(void *ctx, kp_lease *lease, keep_error *err)
{
	struct telling *telling = ctx;

	return kp_lease_get(lease, KP_MAILBOX_GET_INBOUND,
			    KP_VALUES(kp_text_value(session_of(telling->asked)),
				      kp_text_value(keep_bytes_of(telling->id))),
			    &kp_inbound_message_record, telling->arena, &telling->stored,
			    &telling->found, err);
}

static keep_status apply_telling(void *ctx, kp_lease *lease, keep_error *err)
{
	struct telling *telling = ctx;
	keep_bytes session = session_of(telling->asked);
	keep_inbound_message message = kp_inbound_notice(session, keep_bytes_of(telling->id),
							 telling->content, telling->now_ms);
	keep_session_host host;
	bool existed = false;
	int64_t seq;
	keep_status status = query_told(telling, lease, err);

	telling->is_late = false;
	if (status != KEEP_OK || telling->found)
		return status;
	status = kp_session_host_get(lease, session, telling->arena, &host, err);
	if (status == KEEP_OK && host.closed) {
		telling->is_late = true;
		return KEEP_OK;
	}
	return status == KEEP_OK ? kp_inbound_add_once(lease, &message, &existed, &seq, err)
				 : status;
}

static void name_answer(struct telling *telling)
{
	snprintf(telling->id, sizeof telling->id, "%s%.*s", answer_prefix,
		 (int)telling->asked->question_id.len, telling->asked->question_id.data);
}

static keep_status tell_agent(keep_mailbox *mailbox, struct telling *telling, keep_error *err)
{
	kp_session_change change = {.session = session_of(telling->asked),
				    .mode = KP_SQL_WRITE,
				    .news = KP_NEWS_AGENT,
				    .due_ms = telling->now_ms + LOOK_AFTER_MS};

	return kp_session_write(mailbox, &change, apply_telling, telling, err);
}

/* {"type":…,"questionId":…} and, for an answer, "selectedOption" and "userId". */
static keep_status write_content(const char *type, keep_bytes question_id,
				 const keep_answer *answer, kp_arena *arena, keep_bytes *out,
				 keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &text);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "type");
	kp_json_put_text(&writer, keep_bytes_of(type));
	kp_json_name(&writer, "questionId");
	kp_json_put_text(&writer, question_id);
	if (answer) {
		kp_json_name(&writer, "selectedOption");
		kp_json_put_text(&writer, answer->option);
		kp_json_name(&writer, "userId");
		kp_json_put_text(&writer, answer->user_id);
	}
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, kp_buffer_bytes(&text), out, err);
	keep_buffer_release(&text);
	return status;
}

/* ---------------------------------------------------------------- answering */

static keep_bytes read_text(const kp_json *object, const char *name)
{
	const kp_json *member = kp_json_member(object, name);

	return member && member->kind == KP_JSON_TEXT ? member->text : (keep_bytes){.data = NULL};
}

/* Is the stored message this answer? CONFLICT says which one stands. */
static keep_status compare_answer(const struct telling *telling, const keep_answer *answer,
				  keep_error *err)
{
	const kp_json *stored = NULL;
	keep_bytes option, user;
	keep_status status = kp_json_parse(telling->stored.content, telling->arena, &stored, err);

	if (status != KEEP_OK)
		return status;
	option = read_text(stored, "selectedOption");
	user = read_text(stored, "userId");
	if (!kp_bytes_equal(read_text(stored, "type"), KEEP_BYTES("question_response")))
		return kp_fail(err, KEEP_CONFLICT,
			       "question: '%" KP_PRI "' may not be answered any more, its time is "
			       "over",
			       KP_ARG(answer->question_id));
	if (kp_bytes_equal(option, answer->option) && kp_bytes_equal(user, answer->user_id))
		return KEEP_OK;
	return kp_fail(err, KEEP_CONFLICT,
		       "question: '%.*s' was answered with '%" KP_PRI "'%s%" KP_PRI "%s",
		       (int)answer->question_id.len, answer->question_id.data, KP_ARG(option),
		       user.data ? " by '" : "", KP_ARG(user.data ? user : KEEP_BYTES("")),
		       user.data ? "'" : "");
}

static keep_status check_option(const struct asked *asked, const keep_answer *answer,
				keep_error *err)
{
	const kp_json *options = NULL;
	keep_status status = KEEP_OK;

	if (!asked->is_pending || !asked->question.options.data)
		return KEEP_OK;
	status = kp_json_parse(asked->question.options, asked->arena, &options, err);
	if (status != KEEP_OK)
		return status;
	for (size_t i = 0; options->kind == KP_JSON_ARRAY && i < options->list.count; i++) {
		const kp_json *text = option_text(&options->list.items[i]);

		if (text && kp_bytes_equal(text->text, answer->option))
			return KEEP_OK;
	}
	return kp_fail(err, KEEP_INVALID, "option: is none of those of question '%" KP_PRI "'",
		       KP_ARG(answer->question_id));
}

static keep_status check_answer(const keep_answer *answer, keep_error *err)
{
	keep_status status = kp_check_key("question_id", answer->question_id, err);

	if (status == KEEP_OK)
		status = kp_check_text("option", answer->option, OPTION_MAX, KP_NOT_EMPTY, err);
	if (status == KEEP_OK)
		status = kp_check_text("user_id", answer->user_id, KEEP_MAILBOX_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	return status;
}

/* Invariant 1: look, and then tell the agent unless that happened or it is too late. */
static keep_status give_answer(keep_mailbox *mailbox, const keep_answer *answer,
			       struct telling *telling, keep_error *err)
{
	const struct asked *asked = telling->asked;
	bool is_late = !asked->is_pending || telling->now_ms >= asked->question.expires_at;
	keep_status status = kp_session_read(mailbox, session_of(asked), query_told, telling, err);

	if (status == KEEP_OK && !telling->found && !is_late) {
		status = check_option(asked, answer, err);
		if (status == KEEP_OK)
			status = tell_agent(mailbox, telling, err);
		kp_moment("mailbox.question_told");
		is_late = telling->is_late;
	}
	if (status == KEEP_OK && telling->found)
		return compare_answer(telling, answer, err);
	if (status == KEEP_OK && telling->is_late)
		return kp_fail(err, KEEP_CONFLICT, "session: '%" KP_PRI "' is closed",
			       KP_ARG(session_of(asked)));
	if (status == KEEP_OK && is_late)
		return kp_fail(err, KEEP_CONFLICT,
			       "question: '%" KP_PRI "' may not be answered any more, its time is "
			       "over",
			       KP_ARG(answer->question_id));
	return status;
}

keep_status keep_mailbox_answer(keep_mailbox *mailbox, const keep_answer *answer, int64_t now_ms,
				keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct asked asked = {.arena = &arena};
	struct telling telling = {.asked = &asked, .now_ms = kp_now(now_ms), .arena = &arena};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status, ended;

	if (!answer)
		return kp_fail(err, KEEP_MISUSE, "keep_mailbox_answer: answer is NULL");
	if (mailbox->read_only)
		return kp_fail(err, KEEP_DENIED, "the mailbox was opened for reading only");
	asked.question_id = answer->question_id;
	status = check_answer(answer, err);
	if (status == KEEP_OK)
		status = kp_registry_read(mailbox, query_asked, &asked, err);
	if (status == KEEP_OK && !asked.is_pending && !asked.is_closed)
		status = kp_fail(err, KEEP_NOT_FOUND, "question: there is no '%" KP_PRI "'",
				 KP_ARG(answer->question_id));
	if (status == KEEP_OK)
		status = write_content("question_response", answer->question_id, answer, &arena,
				       &telling.content, err);
	if (status != KEEP_OK)
		goto out;
	name_answer(&telling);
	status = give_answer(mailbox, answer, &telling, &why);
	/* Also when another answer was found, or nobody is there to be told: the row is over. */
	if (asked.is_pending && (status == KEEP_OK || telling.found || telling.is_late)) {
		ended = end_question(mailbox, &asked.question, telling.now_ms,
				     status == KEEP_OK ? &why : NULL);
		if (status == KEEP_OK)
			status = ended;
	}
	if (status != KEEP_OK)
		status = kp_fail(err, status, "%s", why.message);
out:
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- the end of its time */

static keep_status expire(keep_mailbox *mailbox, const keep_pending_question *question,
			  int64_t now_ms, int64_t *expired, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct asked asked = {.question_id = question->question_id,
			      .question = *question,
			      .is_pending = true,
			      .arena = &arena};
	struct telling telling = {.asked = &asked, .now_ms = now_ms, .arena = &arena};
	keep_status status = write_content("question_expired", question->question_id, NULL, &arena,
					   &telling.content, err);

	name_answer(&telling);
	if (status == KEEP_OK)
		status = tell_agent(mailbox, &telling, err);
	kp_moment("mailbox.question_expired");
	if (status == KEEP_OK)
		status = end_question(mailbox, question, now_ms, err);
	if (status == KEEP_OK && !telling.found)
		++*expired;
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_forget(void *ctx, kp_lease *lease, keep_error *err)
{
	const int64_t *now_ms = ctx;

	return kp_lease_run(lease, KP_MAILBOX_FORGET_CLOSED_QUESTIONS,
			    KP_VALUES(kp_time_value(*now_ms - REMEMBERED_MS), kp_int_value(PAGE)),
			    NULL, err);
}

/* One page after *last; *last is its end. Invariant 4: a failure of one is a line in the log. */
static keep_status expire_page(keep_mailbox *mailbox, int64_t now_ms, size_t limit, kp_arena *arena,
			       keep_pending_question *last, size_t *failures, int64_t *expired,
			       size_t *count, keep_error *err)
{
	keep_pending_question *questions = NULL;
	keep_status status = kp_registry_list(
		mailbox, KP_MAILBOX_LIST_EXPIRED_QUESTIONS,
		KP_VALUES(kp_time_value(now_ms), kp_text_value(last->question_id),
			  kp_time_value(last->expires_at), kp_int_value((int64_t)limit)),
		&kp_pending_question_record, arena, &questions, count, err);

	for (size_t i = 0; status == KEEP_OK && i < *count; i++) {
		keep_error why = KEEP_ERROR_INIT;
		keep_status ended = expire(mailbox, &questions[i], now_ms, expired, &why);

		*last = questions[i];
		if (ended == KEEP_NO_MEMORY || ended == KEEP_DENIED)
			return kp_fail(err, ended, "%s", why.message);
		if (ended == KEEP_OK)
			continue;
		++*failures;
		kp_log(KEEP_LOG_WARNING, "question %" KP_PRI " stays past its time: %s",
		       KP_ARG(questions[i].question_id), why.message);
	}
	return status;
}

keep_status kp_questions_expire(keep_mailbox *mailbox, int64_t now_ms, size_t limit,
				int64_t *expired, keep_error *err)
{
	keep_pending_question last = {.question_id = KEEP_BYTES(""), .expires_at = KEEP_TIME_MIN};
	kp_arena arena = {.head = NULL};
	size_t failures = 0, count = PAGE, closed = 0;
	keep_status status = KEEP_OK;

	*expired = 0;
	while (status == KEEP_OK && count == PAGE && failures < FAILURES_MAX && closed < limit) {
		size_t failed = failures;
		size_t room = limit - closed < PAGE ? limit - closed : PAGE;

		status = expire_page(mailbox, now_ms, room, &arena, &last, &failures, expired,
				     &count, err);
		closed += count - (failures - failed);
		if (count == room)
			count = PAGE;
	}
	if (status == KEEP_OK && closed)
		status = kp_registry_change(mailbox, apply_forget, &now_ms, err);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- listing */

keep_status keep_mailbox_questions(keep_mailbox *mailbox, keep_bytes session, size_t limit,
				   keep_memory *memory, keep_pending_question_list *out,
				   keep_error *err)
{
	int64_t rows;
	keep_session found;
	keep_status status = kp_check_limit(limit, 50, KEEP_MAILBOX_LIST_MAX, &rows, err);

	*out = (keep_pending_question_list){.items = NULL};
	if (status != KEEP_OK)
		return status;
	if (!session.data)
		return kp_registry_list(mailbox, KP_MAILBOX_LIST_PENDING_QUESTIONS,
					KP_VALUES(kp_int_value(rows)), &kp_pending_question_record,
					memory, &out->items, &out->count, err);
	status = keep_mailbox_get_session(mailbox, session, memory, &found, err);
	if (status == KEEP_OK)
		status = kp_registry_list(mailbox, KP_MAILBOX_LIST_PENDING_QUESTIONS_OF_SESSION,
					  KP_VALUES(kp_text_value(session), kp_int_value(rows)),
					  &kp_pending_question_record, memory, &out->items,
					  &out->count, err);
	return status;
}
