/*
 * operations_mailbox_collect.c - the mailbox's operations on what agents did: collected, read.
 *
 * What it does not do: deliver (operations_mailbox_deliveries.c).
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_mailbox.h"

static const kp_input collect_inputs[] = {KP_SESSION, KP_LIMIT("50"), KP_NOW};
static const kp_input file_inputs[] = {
	KP_SESSION,
	KP_NEEDED_TEXT(2, "message_out_id", "The agent's message."),
	KP_NEEDED_TEXT(3, "name", "The file's name, as the message says it."),
	KP_ENCODING(kp_file_encodings),
};
static const kp_input questions_inputs[] = {
	KP_OTHER_AT(1, "session", "Those of a session; all when left out."),
	KP_LIMIT("100"),
};
static const kp_input answer_inputs[] = {
	KP_NEEDED_TEXT(1, "question_id", "The question."),
	KP_NEEDED_LONG(2, "option", "What was chosen."),
	KP_OTHER(TEXT, "user_id", "By whom."),
	KP_NOW,
};

static const kp_member collect_members[] = {
	{"messages", KP_KIND_ARRAY,
	 "What is due and allowed, in the order of its numbers for each address: objects with "
	 "message (a record of messages_out), key (its delivery's), attempts, operation (edit, "
	 "reaction, or null), target_platform_message_id and files (names).",
	 NULL},
	{"has_more", KP_KIND_BOOLEAN, "Whether to collect again at once.", NULL},
	{"completed", KP_KIND_INTEGER, "Messages that the agent has completed.", NULL},
	{"retried", KP_KIND_INTEGER, "Messages that it failed on and that are due again later.",
	 NULL},
	{"failed", KP_KIND_INTEGER, "Messages that were given up.", NULL},
	{"handled", KP_KIND_INTEGER, "System actions and messages to agents, done here.", NULL},
	{"refused", KP_KIND_INTEGER, "What had no permission or was malformed.", NULL},
	{"next", KP_KIND_TIME, "When something here falls due by itself; null: nothing.", NULL},
};

static const kp_outcome session_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session."},
	{KEEP_CORRUPT, false, "The agent's side is damaged."},
};
static const kp_outcome file_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session, message or file."},
	{KEEP_INVALID, false, "The name is none; or the bytes are no UTF-8: ask for base64."},
	{KEEP_DENIED, false, "It is a link or no plain file."},
	{KEEP_FULL, false, "It is over 64 MiB."},
};
static const kp_outcome answer_outcomes[] = {
	{KEEP_NOT_FOUND, true, "It was never asked."},
	{KEEP_INVALID, false, "It is not one of its options."},
	{KEEP_CONFLICT, false, "It was answered otherwise, or it is too late."},
};

/* ---------------------------------------------------------------- functions */

static keep_status put_collected(kp_call *call, const keep_collected *item, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_status status;

	kp_json_open_object(writer);
	kp_json_name(writer, "message");
	status = kp_record_json(&kp_outbound_message_record, &item->message, writer, err);
	kp_call_put_text(call, "key", item->key);
	kp_call_put_number(call, "attempts", item->attempts);
	kp_call_put_text(call, "operation", item->operation);
	kp_call_put_text(call, "target_platform_message_id", item->target_platform_message_id);
	kp_mailbox_put_texts(call, "files", item->files, item->file_count);
	kp_json_close_object(writer);
	return status;
}

static keep_status put_collection(kp_call *call, const keep_collection *collection, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_status status = KEEP_OK;

	kp_json_open_object(writer);
	kp_json_name(writer, "messages");
	kp_json_open_array(writer);
	for (size_t i = 0; i < collection->count && status == KEEP_OK; i++)
		status = put_collected(call, &collection->items[i], err);
	kp_json_close_array(writer);
	kp_call_put_flag(call, "has_more", collection->has_more);
	kp_call_put_number(call, "completed", collection->completed);
	kp_call_put_number(call, "retried", collection->retried);
	kp_call_put_number(call, "failed", collection->failed);
	kp_call_put_number(call, "handled", collection->handled);
	kp_call_put_number(call, "refused", collection->refused);
	if (status == KEEP_OK)
		status = kp_call_put_time(call, "next", collection->next_ms != 0,
					  collection->next_ms, err);
	kp_json_close_object(writer);
	return status;
}

static keep_status run_collect(kp_call *call, keep_error *err)
{
	keep_collection collection = {.count = 0};
	keep_status status = keep_mailbox_collect(call->handle, kp_call_text(call, "session"),
						  (size_t)kp_call_integer(call, "limit"),
						  kp_call_now(call), call->arena, &collection, err);

	return status == KEEP_OK ? put_collection(call, &collection, err) : status;
}

static keep_status run_file(kp_call *call, keep_error *err)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_status status = keep_mailbox_outbox_file(call->handle, kp_call_text(call, "session"),
						      kp_call_text(call, "message_out_id"),
						      kp_call_text(call, "name"), &bytes, err);

	if (status == KEEP_OK)
		kp_call_put_bytes(call, kp_buffer_bytes(&bytes));
	keep_buffer_release(&bytes);
	return status;
}

static keep_status run_questions(kp_call *call, keep_error *err)
{
	keep_pending_question_list list = {NULL, 0};
	keep_status status = keep_mailbox_questions(call->handle, kp_call_text(call, "session"),
						    (size_t)kp_call_integer(call, "limit"),
						    call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_pending_question_record, list.items,
				   list.count, err);
}

static keep_status run_answer(kp_call *call, keep_error *err)
{
	const keep_answer answer = {
		.question_id = kp_call_text(call, "question_id"),
		.option = kp_call_text(call, "option"),
		.user_id = kp_call_text(call, "user_id"),
	};

	return kp_call_put_null(call,
				keep_mailbox_answer(call->handle, &answer, kp_call_now(call), err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "collect",
	 .sentence = "Take over what a session's agent did, and give what is to be delivered.",
	 .more = "Acknowledgements, replies, questions, actions. A call again gives the same "
		 "messages again until their delivery begins. Messages to other agents are posted "
		 "and tasks scheduled here; other system rows are given for the caller to carry "
		 "out.",
	 KP_INPUTS(collect_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What is due, and what was taken over.",
	 KP_MEMBERS(collect_members),
	 KP_OUTCOMES(session_outcomes),
	 .changes = true,
	 .run = run_collect},
	{.verb = "outbox_file",
	 .sentence = "Give the bytes of a file that an agent's message names.",
	 KP_INPUTS(file_inputs),
	 .result = KP_RESULT_BYTES,
	 .result_sentence = "The bytes.",
	 KP_OUTCOMES(file_outcomes),
	 .run = run_file},
	{.verb = "questions",
	 .sentence = "Give the questions that wait for an answer, by time of expiry.",
	 KP_INPUTS(questions_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The questions.",
	 .record = &kp_pending_question_record,
	 .shown = "question_id session_id expires_at channel_type platform_id options",
	 .run = run_questions},
	{.verb = "answer",
	 .sentence = "Tell an agent the answer to its question, and end the question.",
	 .more = "The same answer again changes nothing.",
	 KP_INPUTS(answer_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(answer_outcomes),
	 .changes = true,
	 .run = run_answer},
};

const kp_operation_group kp_mailbox_collect_group = {
	.title = "What agents did",
	.operations = operations,
	.count = KP_COUNT(operations),
};
