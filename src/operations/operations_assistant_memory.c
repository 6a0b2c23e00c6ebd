/*
 * operations_assistant_memory.c - the assistant's operations on context, summaries and memory.
 *
 * What it does not do: make summaries; an agent does.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

static const char *const type_words[] = {"short_term", "long_term", "facts", "working", NULL};

static const kp_input context_inputs[] = {
	KP_CONVERSATION_INPUT,
	KP_OTHER_NUMBER("token_budget", "0", "How many tokens it may cost; 0: no limit."),
};
static const kp_input summary_inputs[] = {
	KP_CONVERSATION_INPUT,
	KP_NEEDED_NUMBER(2, "from_seq", "The first message that it covers."),
	KP_NEEDED_NUMBER(3, "to_seq", "The last."),
	KP_NEEDED_LONG(4, "text", "The summary."),
	KP_OTHER_NUMBER("token_count", "0", "How many tokens it costs; an estimate when left out."),
};
static const kp_input remember_inputs[] = {
	KP_CONVERSATION_INPUT,
	KP_NEEDED_WORD(2, "memory_type", type_words, "short_term, long_term, facts or working."),
	{.name = "content",
	 .kind = KP_KIND_JSON,
	 .place = 3,
	 .required = true,
	 .sentence = "What; of a fact {\"fact\": …} or a text."},
	KP_NOW,
};
static const kp_input recall_inputs[] = {
	KP_CONVERSATION_INPUT,
	KP_OTHER_WORD("memory_type", type_words, "Of one type; all but short_term when left out."),
	KP_LIMIT("20"),
};
static const kp_input forget_inputs[] = {
	KP_CONVERSATION_INPUT,
	KP_OTHER_NUMBER("id", "0", "One of them; 0: all."),
	KP_OTHER_WORD("memory_type", type_words, "All of one type."),
};

static const kp_member context_members[] = {
	{"context_version", KP_KIND_INTEGER, "Grows with each summary.", NULL},
	{"summary", KP_KIND_OBJECT, "The latest one, or null.", &kp_remembered_record},
	{"summary_text", KP_KIND_TEXT, "Its text.", NULL},
	{"messages", KP_KIND_ARRAY, "What came after it, oldest first.",
	 &kp_conversation_message_record},
	{"tokens", KP_KIND_INTEGER, "What all of it costs.", NULL},
	{"is_complete", KP_KIND_BOOLEAN, "The budget left nothing out.", NULL},
};
static const kp_member summary_members[] = {
	{"context_version", KP_KIND_INTEGER, "The conversation's, now.", NULL},
	{"is_duplicate", KP_KIND_BOOLEAN, "The same was there; nothing changed.", NULL},
};
static const kp_member remember_members[] = {
	{"id", KP_KIND_INTEGER, "Its id.", NULL},
	{"is_duplicate", KP_KIND_BOOLEAN, "The same fact was there; nothing changed.", NULL},
};

static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such conversation."},
};
static const kp_outcome summary_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such conversation."},
	{KEEP_INVALID, false, "The range is empty or reaches beyond the newest message."},
	{KEEP_CONFLICT, false, "The range has another summary; nothing changed."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_context(kp_call *call, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_context context = {.count = 0};
	keep_status status = keep_assistant_context(
		call->handle, kp_call_text(call, "conversation_id"),
		kp_call_integer(call, "token_budget"), call->arena, &context, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(writer);
	kp_call_put_number(call, "context_version", context.context_version);
	status = kp_assistant_put_member(call, "summary", &kp_remembered_record,
					 context.has_summary ? &context.summary : NULL, err);
	kp_call_put_text(call, "summary_text", context.summary_text);
	kp_json_name(writer, "messages");
	if (status == KEEP_OK)
		status = kp_call_put_array(call, &kp_conversation_message_record, context.messages,
					   context.count, err);
	kp_call_put_number(call, "tokens", context.tokens);
	kp_call_put_flag(call, "is_complete", context.is_complete);
	kp_json_close_object(writer);
	return status;
}

static keep_status run_add_summary(kp_call *call, keep_error *err)
{
	int64_t version = 0;
	bool is_duplicate = false;
	keep_status status = keep_assistant_add_summary(
		call->handle, kp_call_text(call, "conversation_id"),
		kp_call_integer(call, "from_seq"), kp_call_integer(call, "to_seq"),
		kp_call_text(call, "text"), kp_call_integer(call, "token_count"), &version,
		&is_duplicate, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_number(call, "context_version", version);
	kp_call_put_flag(call, "is_duplicate", is_duplicate);
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status run_remember(kp_call *call, keep_error *err)
{
	int64_t id = 0;
	bool is_duplicate = false;
	keep_status status = keep_assistant_remember(
		call->handle, kp_call_text(call, "conversation_id"),
		kp_call_text(call, "memory_type"), kp_call_argument(call, "content")->json->raw,
		kp_call_now(call), &id, &is_duplicate, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_number(call, "id", id);
	kp_call_put_flag(call, "is_duplicate", is_duplicate);
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status run_recall(kp_call *call, keep_error *err)
{
	keep_remembered_list list = {NULL, 0};
	keep_status status = keep_assistant_recall(
		call->handle, kp_call_text(call, "conversation_id"),
		kp_call_text(call, "memory_type"), (size_t)kp_call_integer(call, "limit"),
		call->arena, &list, err);

	return kp_assistant_give_all(call, status, &kp_remembered_record, list.items, list.count,
				     err);
}

static keep_status run_forget(kp_call *call, keep_error *err)
{
	int64_t count = 0;
	keep_status status = keep_assistant_forget(
		call->handle, kp_call_text(call, "conversation_id"), kp_call_integer(call, "id"),
		kp_call_text(call, "memory_type"), &count, err);

	return kp_call_put_integer(call, status, count);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "context",
	 .sentence = "Give what an agent should know of a conversation, within a token budget.",
	 .more = "The latest summary, then every message after what it covers, oldest first. "
		 "Within the budget the newest messages stay.",
	 KP_INPUTS(context_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The context.",
	 KP_MEMBERS(context_members),
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_context},
	{.verb = "add_summary",
	 .sentence = "Remember a summary of a range of messages; none is deleted.",
	 KP_INPUTS(summary_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(summary_members),
	 KP_OUTCOMES(summary_outcomes),
	 .changes = true,
	 .run = run_add_summary},
	{.verb = "remember",
	 .sentence = "Remember something of a conversation; a fact is there once.",
	 KP_INPUTS(remember_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(remember_members),
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_remember},
	{.verb = "recall",
	 .sentence = "Give what is remembered of a conversation, newest first.",
	 KP_INPUTS(recall_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The memories.",
	 .record = &kp_remembered_record,
	 .shown = "id memory_type created_at content",
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_recall},
	{.verb = "forget",
	 .sentence = "Forget one memory, all of a type, or all of a conversation.",
	 KP_INPUTS(forget_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "How many.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_forget},
};

const kp_operation_group kp_assistant_memory_group = {
	.title = "Context and memory",
	.operations = operations,
	.count = KP_COUNT(operations),
};
