/*
 * operations_agent_memory.c - the agent's operations on what it remembers, and on itself.
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_agent.h"

static const kp_input own_inputs[] = {KP_OWN_SESSION};
static const kp_input now_inputs[] = {KP_OWN_SESSION, KP_NOW};
static const kp_input get_inputs[] = {KP_NEEDED_TEXT(1, "key", "Its name."), KP_OWN_SESSION};
static const kp_input set_inputs[] = {
	KP_NEEDED_TEXT(1, "key", "Its name."),
	KP_NEEDED_LONG(2, "value", "Its value."),
	KP_OWN_SESSION,
	KP_NOW,
};
static const kp_input clear_inputs[] = {
	KP_OTHER_AT(1, "key", "Its name; everything when left out."),
	KP_OWN_SESSION,
};
static const kp_input file_inputs[] = {
	KP_NEEDED_TEXT(1, "message_id", "The message."),
	KP_NEEDED_TEXT(2, "name", "The file's name, as the message says it."),
	KP_ENCODING(kp_file_encodings),
	KP_OWN_SESSION,
};

static const kp_member session_members[] = {
	{"session", KP_KIND_TEXT, "Its id; empty when its files do not say it.", NULL},
};

static const kp_outcome get_outcomes[] = {{KEEP_NOT_FOUND, true, "There is no such value."}};
static const kp_outcome file_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such message or file."},
	{KEEP_INVALID, false, "The name is none; or the bytes are no UTF-8: ask for base64."},
	{KEEP_DENIED, false, "It is a link or no plain file."},
	{KEEP_FULL, false, "It is over 64 MiB."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_session(kp_call *call, keep_error *err)
{
	(void)err;
	kp_mailbox_put_word(call, "session", keep_agent_session_id(call->handle));
	return KEEP_OK;
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_session_value value = {.updated_at = 0};
	keep_status status = keep_agent_state_get(call->handle, kp_call_text(call, "key"),
						  call->arena, &value, err);

	return kp_mailbox_give(call, status, &kp_session_value_record, &value, err);
}

static keep_status run_set(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_agent_state_set(call->handle, kp_call_text(call, "key"),
							   kp_call_text(call, "value"),
							   kp_call_now(call), err));
}

static keep_status run_clear(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_agent_state_clear(call->handle, kp_call_text(call, "key"), err));
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_session_value_list list = {NULL, 0};
	keep_status status = keep_agent_state_list(call->handle, call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_session_value_record, list.items, list.count,
				   err);
}

static keep_status run_destinations(kp_call *call, keep_error *err)
{
	keep_session_destination_list list = {NULL, 0};
	keep_status status = keep_agent_destinations(call->handle, call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_session_destination_record, list.items,
				   list.count, err);
}

static keep_status run_file(kp_call *call, keep_error *err)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_status status = keep_agent_inbox_file(call->handle, kp_call_text(call, "message_id"),
						   kp_call_text(call, "name"), &bytes, err);

	if (status == KEEP_OK)
		kp_call_put_bytes(call, kp_buffer_bytes(&bytes));
	keep_buffer_release(&bytes);
	return status;
}

static keep_status run_heartbeat(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_agent_heartbeat(call->handle, kp_call_now(call), err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "state_get",
	 .sentence = "Give something that the agent remembers.",
	 KP_INPUTS(get_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The value, and when it was set.",
	 .record = &kp_session_value_record,
	 KP_OUTCOMES(get_outcomes),
	 .shown = "value",
	 .part = KP_PART_AGENT,
	 .run = run_get},
	{.verb = "state_set",
	 .sentence = "Remember something.",
	 KP_INPUTS(set_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_set},
	{.verb = "state_clear",
	 .sentence = "Forget something, or everything.",
	 KP_INPUTS(clear_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_clear},
	{.verb = "state_list",
	 .sentence = "Give everything that the agent remembers.",
	 KP_INPUTS(own_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The values, by name.",
	 .record = &kp_session_value_record,
	 .shown = "key updated_at value",
	 .part = KP_PART_AGENT,
	 .run = run_list},
	{.verb = "destinations",
	 .sentence = "Give where the agent may send.",
	 KP_INPUTS(own_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The destinations, as the session has them.",
	 .record = &kp_session_destination_record,
	 .shown = "name type channel_type platform_id agent_group_id",
	 .part = KP_PART_AGENT,
	 .run = run_destinations},
	{.verb = "inbox_file",
	 .sentence = "Give the bytes of a file that came with a message.",
	 KP_INPUTS(file_inputs),
	 .result = KP_RESULT_BYTES,
	 .result_sentence = "The bytes.",
	 KP_OUTCOMES(file_outcomes),
	 .part = KP_PART_AGENT,
	 .run = run_file},
	{.verb = "heartbeat",
	 .sentence = "Tell the host that the agent lives.",
	 KP_INPUTS(now_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_heartbeat},
	{.verb = "agent_session",
	 .sentence = "Tell whose folder a place is.",
	 KP_INPUTS(own_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The session.",
	 KP_MEMBERS(session_members),
	 .shown = "session",
	 .part = KP_PART_AGENT,
	 .run = run_session},
};

const kp_operation_group kp_agent_memory_group = {
	.title = "The agent: what it remembers",
	.operations = operations,
	.count = KP_COUNT(operations),
};
