/*
 * operations_agent_sends.c - the agent's operations on what it says: messages, edits, questions.
 *
 * The inputs of one message and of each reply of complete_with are one list, so they cannot differ.
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_agent.h"

/* The order of SEND_INPUTS. */
enum {
	SEND_CONTENT,
	SEND_TO,
	SEND_IN_REPLY_TO,
	SEND_ID,
	SEND_KIND,
	SEND_DELIVER_AFTER,
	SEND_RECURRENCE,
	SEND_FILES,
	SEND_INPUT_COUNT
};

#define SEND_INPUTS                                                                                \
	KP_NEEDED_LONG(1, "content", "What it says: JSON, at most 1 MiB."),                        \
		KP_OTHER(TEXT, "to", "A destination's name; the session's route when left out."),  \
		KP_OTHER(TEXT, "in_reply_to", "The message that it answers."),                     \
		KP_OTHER(TEXT, "id", "Its id, by who may repeat it; a new UUID when left out."),   \
		KP_OTHER(TEXT, "kind", "What the content is; chat when left out."),                \
		KP_OTHER(TIME, "deliver_after", "Not to be delivered before."),                    \
		KP_OTHER(TEXT, "recurrence",                                                       \
			 "A cron expression: delivered again and again, from deliver_after on."),  \
		KP_FILES

static const kp_input send_inputs[] = {SEND_INPUTS, KP_OWN_SESSION, KP_NOW};
static const kp_input reply_inputs[] = {SEND_INPUTS};
_Static_assert(KP_COUNT(reply_inputs) == SEND_INPUT_COUNT, "the places are these inputs'");

static const kp_input complete_inputs[] = {
	KP_NEEDED_ARRAY(1, "replies",
			"Objects with the inputs of send but session and now_ms; at most 100."),
	KP_CLAIM(2, 3),
	KP_OWN_SESSION,
	KP_NOW,
};
static const kp_input edit_inputs[] = {
	KP_NEEDED_NUMBER(1, "number", "The message's number (seq), even or odd."),
	KP_NEEDED_LONG(2, "text", "What it says from now on."),
	KP_OWN_SESSION,
	KP_NOW,
};
static const kp_input react_inputs[] = {
	KP_NEEDED_NUMBER(1, "number", "The message's number (seq), even or odd."),
	KP_NEEDED_TEXT(2, "emoji", "The reaction."),
	KP_OWN_SESSION,
	KP_NOW,
};
static const kp_input ask_inputs[] = {
	KP_NEEDED_LONG(1, "question", "What is asked."),
	{.name = "options",
	 .kind = KP_KIND_ARRAY,
	 .place = 2,
	 .nullable = true,
	 .sentence = "What may be answered: texts; anything when left out."},
	KP_OTHER(TEXT, "to", "A destination's name; the session's route when left out."),
	KP_OWN_SESSION,
	KP_NOW,
};
static const kp_input await_inputs[] = {
	KP_NEEDED_TEXT(1, "question_id", "The question, as ask told it."),
	KP_WAIT_TIME,
	KP_OWN_SESSION,
};

static const kp_member sent_members[] = {
	{"id", KP_KIND_TEXT, "Its id.", NULL},
	{"seq", KP_KIND_INTEGER, "Its number in the session.", NULL},
	{"is_duplicate", KP_KIND_BOOLEAN, "The same was there; nothing changed.", NULL},
};
static const kp_member answer_members[] = {
	{"answered", KP_KIND_BOOLEAN, "false: the time is up; the rest is not there.", NULL},
	{"question_id", KP_KIND_TEXT, "The question.", NULL},
	{"option", KP_KIND_TEXT, "What was chosen; null: nobody answered in time.", NULL},
	{"user_id", KP_KIND_TEXT, "By whom.", NULL},
	{"is_expired", KP_KIND_BOOLEAN, "Nobody answered in time.", NULL},
};

static const kp_outcome send_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no route to answer on."},
	{KEEP_CONFLICT, false, "Another message has that id."},
	{KEEP_DENIED, false, "No destination has that name; the message lists those there are."},
};
static const kp_outcome complete_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no route to answer on."},
	{KEEP_CONFLICT, false, "A claim is not ours any more, or another message has that id."},
	{KEEP_DENIED, false, "No destination has that name; the message lists those there are."},
};
static const kp_outcome number_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such message."},
};
static const kp_outcome await_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such question."},
};

/* ---------------------------------------------------------------- functions */

static keep_status read_send(const kp_argument *from, kp_arena *arena, keep_send *out,
			     keep_error *err)
{
	*out = (keep_send){
		.content = from[SEND_CONTENT].bytes,
		.to = from[SEND_TO].bytes,
		.in_reply_to = from[SEND_IN_REPLY_TO].bytes,
		.id = from[SEND_ID].bytes,
		.kind = from[SEND_KIND].bytes,
		.deliver_after = from[SEND_DELIVER_AFTER].integer,
		.recurrence = from[SEND_RECURRENCE].bytes,
	};
	return kp_mailbox_files(&from[SEND_FILES], arena, &out->files, &out->file_count, err);
}

static void put_sent(kp_call *call, const keep_sent *sent)
{
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "id", keep_bytes_of(sent->id));
	kp_call_put_number(call, "seq", sent->seq);
	kp_call_put_flag(call, "is_duplicate", sent->is_duplicate);
	kp_json_close_object(kp_call_writer(call));
}

static keep_status give_sent(kp_call *call, keep_status status, const keep_sent *sent)
{
	if (status == KEEP_OK)
		put_sent(call, sent);
	return status;
}

static keep_status run_send(kp_call *call, keep_error *err)
{
	keep_sent sent = {.seq = 0};
	keep_send send;
	keep_status status = read_send(call->arguments, call->arena, &send, err);

	if (status == KEEP_OK)
		status = keep_agent_send(call->handle, &send, kp_call_now(call), &sent, err);
	return give_sent(call, status, &sent);
}

static keep_status read_reply(const kp_json *element, kp_arena *arena, keep_send *out,
			      keep_error *err)
{
	kp_argument arguments[SEND_INPUT_COUNT];
	keep_status status;

	if (element->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "%s where an object belongs",
			       kp_json_kind_name(element->kind));
	status = kp_inputs_read(reply_inputs, SEND_INPUT_COUNT, element, false, arena, arguments,
				err);
	return status == KEEP_OK ? read_send(arguments, arena, out, err) : status;
}

static keep_status read_replies(const kp_call *call, keep_send **out, size_t *count,
				keep_error *err)
{
	const kp_json *array = kp_call_argument(call, "replies")->json;
	keep_status status = KEEP_OK;

	*count = array->list.count;
	if (*count > KEEP_CLAIM_MAX)
		return kp_fail(err, KEEP_INVALID, "replies: %zu, the limit is %d", *count,
			       KEEP_CLAIM_MAX);
	*out = kp_arena_alloc(call->arena, (*count + 1) * sizeof **out);
	if (!*out)
		return kp_fail_memory(err, "replies");
	for (size_t i = 0; i < *count && status == KEEP_OK; i++) {
		status = read_reply(&array->list.items[i], call->arena, &(*out)[i], err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "replies[%zu]", i);
	}
	return status;
}

static keep_status run_complete_with(kp_call *call, keep_error *err)
{
	keep_claim_ref *claims = NULL;
	keep_send *replies = NULL;
	keep_sent *sent;
	size_t count = 0, reply_count = 0;
	keep_status status = kp_agent_claims(call, &claims, &count, err);

	if (status == KEEP_OK)
		status = read_replies(call, &replies, &reply_count, err);
	if (status != KEEP_OK)
		return status;
	sent = kp_arena_alloc(call->arena, (reply_count + 1) * sizeof *sent);
	if (!sent)
		return kp_fail_memory(err, "replies");
	status = keep_agent_complete_with(call->handle, claims, count, replies, reply_count,
					  kp_call_now(call), sent, err);
	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < reply_count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		put_sent(call, &sent[i]);
		status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

static keep_status run_edit(kp_call *call, keep_error *err)
{
	keep_sent sent = {.seq = 0};
	keep_status status =
		keep_agent_edit(call->handle, kp_call_integer(call, "number"),
				kp_call_text(call, "text"), kp_call_now(call), &sent, err);

	return give_sent(call, status, &sent);
}

static keep_status run_react(kp_call *call, keep_error *err)
{
	keep_sent sent = {.seq = 0};
	keep_status status =
		keep_agent_react(call->handle, kp_call_integer(call, "number"),
				 kp_call_text(call, "emoji"), kp_call_now(call), &sent, err);

	return give_sent(call, status, &sent);
}

static keep_status run_ask(kp_call *call, keep_error *err)
{
	keep_sent sent = {.seq = 0};
	const keep_bytes *options = NULL;
	size_t count = 0;
	keep_status status = kp_call_texts(call, "options", &options, &count, err);

	if (status == KEEP_OK)
		status =
			keep_agent_ask(call->handle, kp_call_text(call, "question"), options, count,
				       kp_call_text(call, "to"), kp_call_now(call), &sent, err);
	return give_sent(call, status, &sent);
}

static keep_status run_await(kp_call *call, keep_error *err)
{
	keep_question_answer answer = {.is_expired = false};
	bool answered = false;
	keep_status status;

	kp_call_started(call);
	status = keep_agent_await_answer(call->handle, kp_call_text(call, "question_id"),
					 kp_call_integer(call, "timeout_ms"), call->arena, &answer,
					 &answered, err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_flag(call, "answered", answered);
	if (answered) {
		kp_call_put_text(call, "question_id", answer.question_id);
		kp_call_put_text(call, "option", answer.option);
		kp_call_put_text(call, "user_id", answer.user_id);
		kp_call_put_flag(call, "is_expired", answer.is_expired);
	}
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "send",
	 .sentence = "Say something: to a named destination, or on the session's route.",
	 KP_INPUTS(send_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was stored.",
	 KP_MEMBERS(sent_members),
	 KP_OUTCOMES(send_outcomes),
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_send},
	{.verb = "complete_with",
	 .sentence = "Store replies and say that messages are done, in one commit.",
	 .more = "A reply without in_reply_to answers the first of them, where that came from.",
	 KP_INPUTS(complete_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "What was stored, for each reply.",
	 KP_MEMBERS(sent_members),
	 KP_OUTCOMES(complete_outcomes),
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_complete_with},
	{.verb = "edit",
	 .sentence = "Change what a message says.",
	 KP_INPUTS(edit_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was stored.",
	 KP_MEMBERS(sent_members),
	 KP_OUTCOMES(number_outcomes),
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_edit},
	{.verb = "react",
	 .sentence = "React to a message.",
	 KP_INPUTS(react_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was stored.",
	 KP_MEMBERS(sent_members),
	 KP_OUTCOMES(number_outcomes),
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_react},
	{.verb = "ask",
	 .sentence = "Ask a question.",
	 .more = "The answer comes to await_answer, or as a system message.",
	 KP_INPUTS(ask_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was stored; the id is the question's.",
	 KP_MEMBERS(sent_members),
	 KP_OUTCOMES(send_outcomes),
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_ask},
	{.verb = "await_answer",
	 .sentence = "Wait for the answer to a question, and acknowledge it.",
	 KP_INPUTS(await_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The answer.",
	 KP_MEMBERS(answer_members),
	 KP_OUTCOMES(await_outcomes),
	 .verdict = "answered",
	 .changes = true,
	 .waits = true,
	 .part = KP_PART_AGENT,
	 .run = run_await},
};

const kp_operation_group kp_agent_send_group = {
	.title = "The agent: messages out",
	.operations = operations,
	.count = KP_COUNT(operations),
};
