/*
 * operations_gateway_sessions.c - the gateway's operations on agents' sessions and router state.
 *
 * What it does not do: sign anybody in; those sessions are in operations_gateway_sign_in.c.
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

#define FOLDER_INPUT KP_NEEDED_TEXT(1, "folder", "The folder.")
#define TOPIC_INPUT KP_OTHER(TEXT, "topic", "The topic; the default session when left out.")

static const kp_input topic_inputs[] = {FOLDER_INPUT, TOPIC_INPUT};
static const kp_input set_inputs[] = {
	FOLDER_INPUT,
	KP_NEEDED_TEXT(2, "session_id", "The agent's own id of the session."),
	TOPIC_INPUT,
};
static const kp_input list_inputs[] = {
	FOLDER_INPUT,
	KP_OTHER(TEXT, "after_topic", "Only topics behind this one; from the first when left out."),
	KP_LIMIT("100"),
};
static const kp_input started_inputs[] = {
	FOLDER_INPUT,
	KP_OTHER_AT(2, "session_id", "The agent's own id of the session; left out: not known yet."),
	TOPIC_INPUT,
	KP_OTHER(TIME, "started_at", "When it began; now when left out."),
};
static const kp_input ended_inputs[] = {
	KP_NEEDED_NUMBER(1, "id", "What session_started gave."),
	KP_OTHER_LONG("result", "How it ended."),
	KP_OTHER_LONG("error", "Why it failed."),
	KP_OTHER_NUMBER("message_count", "0", "How many messages it was given."),
	KP_OTHER(TIME, "ended_at", "When it ended; now when left out."),
};
static const kp_input recent_inputs[] = {
	FOLDER_INPUT,
	KP_OTHER_NUMBER("before_id", "0", "Only runs with a smaller id; 0: all."),
	KP_LIMIT("20"),
};
static const kp_input key_inputs[] = {KP_NEEDED_TEXT(1, "key", "The name.")};
static const kp_input set_state_inputs[] = {
	KP_NEEDED_TEXT(1, "key", "The name."),
	KP_NEEDED_LONG(2, "value", "Its value, a text of at most 1 MiB."),
};

static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session."},
};
static const kp_outcome ended_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no run with that id."},
	{KEEP_CONFLICT, false, "It ended otherwise before; nothing changed."},
};
static const kp_outcome state_outcomes[] = {
	{KEEP_NOT_FOUND, true, "It was never set."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_agent_session session = {.updated_at = 0};
	keep_status status =
		keep_gateway_get_session(call->handle, kp_call_text(call, "folder"),
					 kp_call_text(call, "topic"), call->arena, &session, err);

	return status == KEEP_OK ? kp_call_put_record(call, &kp_agent_session_record, &session, err)
				 : status;
}

static keep_status run_set(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_gateway_set_session(call->handle, kp_call_text(call, "folder"),
							 kp_call_text(call, "topic"),
							 kp_call_text(call, "session_id"), err));
}

static keep_status run_delete(kp_call *call, keep_error *err)
{
	bool removed = false;
	keep_status status =
		keep_gateway_delete_session(call->handle, kp_call_text(call, "folder"),
					    kp_call_text(call, "topic"), &removed, err);

	return kp_call_put_bool(call, status, removed);
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_agent_session_list list = {NULL, 0};
	keep_status status = keep_gateway_list_sessions(
		call->handle, kp_call_text(call, "folder"), kp_call_text(call, "after_topic"),
		(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return status == KEEP_OK ? kp_call_put_records(call, &kp_agent_session_record, list.items,
						       list.count, err)
				 : status;
}

static keep_status run_started(kp_call *call, keep_error *err)
{
	int64_t id = 0;
	keep_status status = keep_gateway_session_started(
		call->handle, kp_call_text(call, "folder"), kp_call_text(call, "topic"),
		kp_call_text(call, "session_id"), kp_call_time(call, "started_at", 0), &id, err);

	return kp_call_put_integer(call, status, id);
}

static keep_status run_ended(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_session_ended(call->handle, kp_call_integer(call, "id"),
						 kp_call_time(call, "ended_at", 0),
						 kp_call_text(call, "result"),
						 kp_call_text(call, "error"),
						 kp_call_integer(call, "message_count"), err));
}

static keep_status run_recent(kp_call *call, keep_error *err)
{
	keep_agent_run_list list = {NULL, 0};
	keep_status status = keep_gateway_recent_sessions(
		call->handle, kp_call_text(call, "folder"), kp_call_integer(call, "before_id"),
		(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return status == KEEP_OK ? kp_call_put_records(call, &kp_agent_run_record, list.items,
						       list.count, err)
				 : status;
}

static keep_status run_get_state(kp_call *call, keep_error *err)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_status status =
		keep_gateway_get_state(call->handle, kp_call_text(call, "key"), &value, err);

	if (status == KEEP_OK)
		kp_json_put_text(kp_call_writer(call), kp_buffer_bytes(&value));
	keep_buffer_release(&value);
	return status;
}

static keep_status run_set_state(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_gateway_set_state(call->handle, kp_call_text(call, "key"),
						       kp_call_text(call, "value"), err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "get_session",
	 .sentence = "Give the session that goes on in a folder's topic.",
	 KP_INPUTS(topic_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The session.",
	 .record = &kp_agent_session_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "set_session",
	 .sentence = "Say which session goes on in a folder's topic.",
	 KP_INPUTS(set_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_set},
	{.verb = "delete_session",
	 .sentence = "Forget the session of a folder's topic.",
	 KP_INPUTS(topic_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "Whether there was one.",
	 .yes = "deleted",
	 .changes = true,
	 .run = run_delete},
	{.verb = "list_sessions",
	 .sentence = "Give the sessions of a folder, by topic.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The sessions.",
	 .record = &kp_agent_session_record,
	 .shown = "topic session_id updated_at",
	 .run = run_list},
	{.verb = "session_started",
	 .sentence = "Write a run of a session into the log.",
	 KP_INPUTS(started_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "The run's id, for session_ended.",
	 .changes = true,
	 .run = run_started},
	{.verb = "session_ended",
	 .sentence = "Write the end of a run into the log.",
	 .more = "The same end again is done, too.",
	 KP_INPUTS(ended_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(ended_outcomes),
	 .changes = true,
	 .run = run_ended},
	{.verb = "recent_sessions",
	 .sentence = "Give a folder's runs, newest first.",
	 KP_INPUTS(recent_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The runs.",
	 .record = &kp_agent_run_record,
	 .shown = "id started_at ended_at session_id result error",
	 .run = run_recent},
	{.verb = "get_state",
	 .sentence = "Give what a router remembers under a name.",
	 KP_INPUTS(key_inputs),
	 .result = KP_RESULT_BYTES,
	 .result_sentence = "The value, a text.",
	 KP_OUTCOMES(state_outcomes),
	 .run = run_get_state},
	{.verb = "set_state",
	 .sentence = "Remember something for a router.",
	 KP_INPUTS(set_state_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_set_state},
};

const kp_operation_group kp_gateway_session_group = {
	.title = "Agents' sessions and state",
	.operations = operations,
	.count = KP_COUNT(operations),
};
