/*
 * operations_gateway_system.c - the gateway's operations on system messages.
 *
 * Flushing and claiming give two things: the elements as one text, for a prompt, which the command
 * prints as it is, and the rows they were made of.
 *
 * What it does not do: build the elements; src/gateway does.
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

#define GROUP_INPUT KP_NEEDED_TEXT(1, "group", "The folder.")
#define TURN_INPUT KP_NEEDED_TEXT(2, "turn_id", "The agent's turn.")

static const kp_input enqueue_inputs[] = {
	KP_NEEDED_TEXT(1, "group_id", "The folder it is for."),
	KP_NEEDED_TEXT(2, "origin", "Who remarks."),
	KP_NEEDED_TEXT(3, "event", "What happened."),
	KP_NEEDED_LONG(4, "body", "Text, or XML with is_xml; at most 1 MiB."),
	KP_OTHER(JSON, "attributes", "More attributes of the element, a JSON object of texts."),
	KP_OTHER(TEXT, "dedup_key", "While one with this key waits, another is a duplicate."),
	KP_FLAG("is_xml", "The body is well-formed XML and is not escaped."),
};
static const kp_input group_inputs[] = {GROUP_INPUT};
static const kp_input claim_inputs[] = {
	GROUP_INPUT,
	TURN_INPUT,
	KP_OTHER_NUMBER("lease_ms", "600000", "For how long they are the turn's."),
	KP_NOW,
};
static const kp_input turn_inputs[] = {GROUP_INPUT, TURN_INPUT};

static const kp_member enqueue_members[] = {
	{"outcome", KP_KIND_TEXT, "inserted, or duplicate: the same waits, nothing changed.", NULL},
	{"id", KP_KIND_INTEGER, "Its id.", NULL},
};
static const kp_member list_members[] = {
	{"text", KP_KIND_TEXT, "All of them as XML elements, a line each; empty when none.", NULL},
	{"messages", KP_KIND_ARRAY, "The same as records.", &kp_system_message_record},
};

static const kp_outcome enqueue_outcomes[] = {
	{KEEP_CONFLICT, false, "Another one with that dedup_key waits; nothing changed."},
};
static const kp_outcome complete_outcomes[] = {
	{KEEP_CONFLICT, false, "One of them is another turn's since; nothing is deleted."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_enqueue(kp_call *call, keep_error *err)
{
	keep_system_message message = {.is_xml = false};
	keep_put put = KEEP_PUT_INSERTED;
	int64_t id = 0;
	keep_status status;

	kp_call_record(call, &kp_system_message_record, &message);
	status = keep_gateway_enqueue_system_message(call->handle, &message, &put, &id, err);
	if (status == KEEP_OK)
		kp_gateway_put_outcome(call, put, "id", id, NULL);
	return status;
}

static keep_status put_list(kp_call *call, const keep_system_message_list *list, keep_error *err)
{
	keep_status status;

	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "text", list->text.data ? list->text : KEEP_BYTES(""));
	kp_json_name(kp_call_writer(call), "messages");
	status = kp_call_put_array(call, &kp_system_message_record, list->items, list->count, err);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

static keep_status run_flush(kp_call *call, keep_error *err)
{
	keep_system_message_list list = {.items = NULL};
	keep_status status = keep_gateway_flush_system_messages(
		call->handle, kp_call_text(call, "group"), call->arena, &list, err);

	return status == KEEP_OK ? put_list(call, &list, err) : status;
}

static keep_status run_claim(kp_call *call, keep_error *err)
{
	keep_system_message_list list = {.items = NULL};
	keep_status status = keep_gateway_claim_system_messages(
		call->handle, kp_call_text(call, "group"), kp_call_text(call, "turn_id"),
		kp_call_integer(call, "lease_ms"), kp_call_now(call), call->arena, &list, err);

	return status == KEEP_OK ? put_list(call, &list, err) : status;
}

static keep_status run_complete(kp_call *call, keep_error *err)
{
	int64_t count = 0;
	keep_status status =
		keep_gateway_complete_system_messages(call->handle, kp_call_text(call, "group"),
						      kp_call_text(call, "turn_id"), &count, err);

	return kp_call_put_integer(call, status, count);
}

static keep_status run_release(kp_call *call, keep_error *err)
{
	int64_t count = 0;
	keep_status status =
		keep_gateway_release_system_messages(call->handle, kp_call_text(call, "group"),
						     kp_call_text(call, "turn_id"), &count, err);

	return kp_call_put_integer(call, status, count);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "enqueue_system_message",
	 .sentence = "Leave a remark for a folder's agent, told with the next message.",
	 KP_INPUTS(enqueue_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(enqueue_members),
	 KP_OUTCOMES(enqueue_outcomes),
	 .changes = true,
	 .run = run_enqueue},
	{.verb = "flush_system_messages",
	 .sentence = "Give and delete all remarks that wait and that no live turn has.",
	 KP_INPUTS(group_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The remarks, in the order of their ids.",
	 KP_MEMBERS(list_members),
	 .shown = "text",
	 .changes = true,
	 .run = run_flush},
	{.verb = "claim_system_messages",
	 .sentence = "Take the remarks that wait for a turn, which deletes them when it succeeds.",
	 .more = "They are the turn's until the lease is over, or the process that keeps the "
		 "session "
		 "(keep call) ends. What the same turn has already is in the answer, too.",
	 KP_INPUTS(claim_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The remarks, in the order of their ids.",
	 KP_MEMBERS(list_members),
	 .shown = "text",
	 .changes = true,
	 .leases = true,
	 .run = run_claim},
	{.verb = "complete_system_messages",
	 .sentence = "Delete the remarks of a turn that succeeded.",
	 KP_INPUTS(turn_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "How many.",
	 KP_OUTCOMES(complete_outcomes),
	 .changes = true,
	 .run = run_complete},
	{.verb = "release_system_messages",
	 .sentence = "Let the remarks of a turn that failed wait again.",
	 KP_INPUTS(turn_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "How many.",
	 .changes = true,
	 .run = run_release},
};

const kp_operation_group kp_gateway_system_group = {
	.title = "System messages",
	.operations = operations,
	.count = KP_COUNT(operations),
};
