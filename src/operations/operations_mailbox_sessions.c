/*
 * operations_mailbox_sessions.c - the mailbox's operations on sessions.
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_mailbox.h"

#include <string.h>

static const char *const modes[] = {"shared", "per-thread", "agent-shared", NULL};
static const char *const statuses[] = {"active", "closed", NULL};

static const kp_input resolve_inputs[] = {
	KP_NEEDED_TEXT(1, "agent_group_id", "Whose session."),
	KP_OTHER_WORD("session_mode", modes,
		      "shared, per-thread or agent-shared; a new session that nothing leads to "
		      "when left out."),
	KP_OTHER(TEXT, "messaging_group_id", "The chat; left out for agent-shared."),
	KP_OTHER(TEXT, "thread_id", "The thread, for per-thread."),
	KP_NOW,
};
static const kp_input session_inputs[] = {KP_SESSION};
static const kp_input list_inputs[] = {
	KP_OTHER(TEXT, "agent_group_id", "Those of an agent; of all when left out."),
	KP_OTHER_WORD("status", statuses, "Those of a status; any when left out."),
	KP_OTHER(TEXT, "after", "Only those with a greater id."),
	KP_LIMIT("100"),
};
static const kp_input close_inputs[] = {KP_SESSION, KP_NOW};
static const kp_input export_inputs[] = {
	KP_SESSION,
	KP_NEEDED_TEXT(2, "folder", "The folder to make."),
};
static const kp_input prune_inputs[] = {
	KP_SESSION,
	{.name = "before_ms",
	 .kind = KP_KIND_TIME,
	 .place = 2,
	 .required = true,
	 .sentence = "What was finished before is removed."},
	KP_LIMIT("1000"),
};

static const kp_member resolve_members[] = {
	{"session", KP_KIND_OBJECT, "The session.", &kp_session_record},
	{"made", KP_KIND_BOOLEAN, "Whether it was made now.", NULL},
};
static const kp_member place_members[] = {
	{"place", KP_KIND_TEXT, "The session's folder, or the server's URL with the session.",
	 NULL},
};
static const kp_member prune_members[] = {
	{"messages", KP_KIND_INTEGER, "Messages removed.", NULL},
	{"deliveries", KP_KIND_INTEGER, "Deliveries removed.", NULL},
	{"steps", KP_KIND_INTEGER, "Steps of traces removed.", NULL},
	{"folders", KP_KIND_INTEGER, "Folders of attachments removed.", NULL},
	{"has_more", KP_KIND_BOOLEAN, "Whether to call again.", NULL},
};

static const kp_outcome resolve_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such agent or chat."},
};
static const kp_outcome missing_outcomes[] = {{KEEP_NOT_FOUND, true, "There is no such session."}};
static const kp_outcome remove_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session."},
	{KEEP_CONFLICT, false, "It is not closed, or deliveries are under way."},
};
static const kp_outcome export_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session."},
	{KEEP_CONFLICT, false, "The folder is there already."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_resolve(kp_call *call, keep_error *err)
{
	const keep_session_place place = {
		.agent_group_id = kp_call_text(call, "agent_group_id"),
		.messaging_group_id = kp_call_text(call, "messaging_group_id"),
		.thread_id = kp_call_text(call, "thread_id"),
		.session_mode = kp_call_text(call, "session_mode"),
	};
	kp_json_writer *writer = kp_call_writer(call);
	keep_session session = {.created_at = 0};
	bool made = false;
	keep_status status = keep_mailbox_resolve_session(call->handle, &place, kp_call_now(call),
							  call->arena, &session, &made, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(writer);
	kp_json_name(writer, "session");
	status = kp_record_json(&kp_session_record, &session, writer, err);
	kp_call_put_flag(call, "made", made);
	kp_json_close_object(writer);
	return status;
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_session session = {.created_at = 0};
	keep_status status = keep_mailbox_get_session(call->handle, kp_call_text(call, "session"),
						      call->arena, &session, err);

	return kp_mailbox_give(call, status, &kp_session_record, &session, err);
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_session_list list = {NULL, 0};
	keep_status status = keep_mailbox_list_sessions(
		call->handle, kp_call_text(call, "agent_group_id"), kp_call_text(call, "status"),
		kp_call_text(call, "after"), (size_t)kp_call_integer(call, "limit"), call->arena,
		&list, err);

	return kp_mailbox_give_all(call, status, &kp_session_record, list.items, list.count, err);
}

static keep_status run_place(kp_call *call, keep_error *err)
{
	keep_bytes place = {NULL, 0};
	keep_status status = keep_mailbox_session_place(call->handle, kp_call_text(call, "session"),
							call->arena, &place, err);

	if (status == KEEP_OK)
		kp_mailbox_put_word(call, "place", place);
	return status;
}

static keep_status run_close(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_mailbox_close_session(call->handle,
								 kp_call_text(call, "session"),
								 kp_call_now(call), err));
}

static keep_status run_remove(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_mailbox_remove_session(
					      call->handle, kp_call_text(call, "session"), err));
}

static keep_status run_export(kp_call *call, keep_error *err)
{
	keep_buffer folder = KEEP_BUFFER_INIT;
	keep_bytes name = kp_call_text(call, "folder");
	keep_status status = KEEP_OK;

	if (name.len == 0 || memchr(name.data, '\0', name.len))
		return kp_fail(err, KEEP_INVALID, "folder: empty, or with a zero byte");
	status = keep_buffer_set(&folder, name, err);
	if (status == KEEP_OK)
		status = keep_mailbox_export_session(call->handle, kp_call_text(call, "session"),
						     folder.data, err);
	keep_buffer_release(&folder);
	return kp_call_put_null(call, status);
}

static keep_status run_prune(kp_call *call, keep_error *err)
{
	keep_prune_result result = {.messages = 0};
	keep_status status = keep_mailbox_prune_session(
		call->handle, kp_call_text(call, "session"), kp_call_integer(call, "before_ms"),
		(size_t)kp_call_integer(call, "limit"), &result, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_number(call, "messages", result.messages);
	kp_call_put_number(call, "deliveries", result.deliveries);
	kp_call_put_number(call, "steps", result.steps);
	kp_call_put_number(call, "folders", result.folders);
	kp_call_put_flag(call, "has_more", result.has_more);
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "resolve_session",
	 .sentence = "Find a session, or make it: row, folder and both sides.",
	 KP_INPUTS(resolve_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The session, and whether it is new.",
	 KP_MEMBERS(resolve_members),
	 KP_OUTCOMES(resolve_outcomes),
	 .changes = true,
	 .run = run_resolve},
	{.verb = "get_session",
	 .sentence = "Give one session.",
	 KP_INPUTS(session_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The session.",
	 .record = &kp_session_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "list_sessions",
	 .sentence = "Give the sessions, by id.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The sessions.",
	 .record = &kp_session_record,
	 .shown = "id agent_group_id messaging_group_id thread_id status container_status",
	 .run = run_list},
	{.verb = "session_place",
	 .sentence = "Tell what opens the agent's side of a session.",
	 KP_INPUTS(session_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The place.",
	 KP_MEMBERS(place_members),
	 KP_OUTCOMES(missing_outcomes),
	 .shown = "place",
	 .run = run_place},
	{.verb = "close_session",
	 .sentence = "End a session: it takes nothing more, and what is pending is cancelled.",
	 .more = "The next message of its chat makes another one.",
	 KP_INPUTS(close_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_close},
	{.verb = "remove_session",
	 .sentence = "Remove a closed session: row, folder, both sides, questions.",
	 KP_INPUTS(session_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(remove_outcomes),
	 .changes = true,
	 .run = run_remove},
	{.verb = "export_session",
	 .sentence = "Copy both sides and the attachments of a session into a new folder.",
	 .more = "Each as of one moment, in the layout of a session's folder.",
	 KP_INPUTS(export_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(export_outcomes),
	 .run = run_export},
	{.verb = "prune_session",
	 .sentence = "Remove what a session has finished before a time.",
	 .more = "The agent's side removes its part when it is opened next. Numbers are never used "
		 "again.",
	 KP_INPUTS(prune_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was removed.",
	 KP_MEMBERS(prune_members),
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_prune},
};

const kp_operation_group kp_mailbox_session_group = {
	.title = "Sessions",
	.operations = operations,
	.count = KP_COUNT(operations),
};
