/*
 * operations_assistant_tasks.c - the assistant's operations on agents' tasks.
 *
 * What it does not do: the work; whoever claims a task does.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

static const char *const status_words[] = {"pending",   "running",     "completed", "failed",
					   "cancelled", "interrupted", NULL};
static const char *const final_words[] = {"completed", "failed", "cancelled", NULL};

#define ID_INPUT KP_NEEDED_TEXT(1, "task_id", "The task.")
#define ATTEMPT_INPUT KP_NEEDED_NUMBER(2, "attempt", "The attempt, as it was claimed.")

static const kp_input add_inputs[] = {
	KP_NEEDED_TEXT(1, "agent_name", "Who is to do it."),
	KP_NEEDED_TEXT(2, "action", "What is to be done."),
	KP_OTHER(JSON, "parameters", "With what."),
	KP_OTHER(TEXT, "task_id", "Its name; a new UUID when left out."),
	KP_OTHER(TEXT, "conversation_id", "Where it comes from."),
	KP_NOW,
};
static const kp_input id_inputs[] = {ID_INPUT};
static const kp_input list_inputs[] = {
	KP_OTHER(TEXT, "conversation_id", "Those of a conversation."),
	KP_OTHER(TEXT, "agent_name", "Those for an agent."),
	KP_OTHER_WORD("status", status_words, "Those of a status."),
	KP_OTHER_NUMBER("before_id", "0", "Only tasks with a smaller id; 0: all."),
	KP_LIMIT("50"),
};
static const kp_input claim_inputs[] = {
	KP_OTHER_AT(1, "agent_name", "For this agent; for any when left out."),
	KP_LIMIT("1"),
	KP_LEASE_INPUT("600000"),
	KP_NOW,
};
static const kp_input wait_inputs[] = {
	KP_OTHER_AT(1, "agent_name", "For this agent; for any when left out."),
	{.name = "timeout_ms",
	 .kind = KP_KIND_INTEGER,
	 .nullable = true,
	 .fallback = "-1",
	 .min = -1,
	 .max = INT64_MAX,
	 .sentence = "At most so long; 0: only look, -1: for ever."},
};
static const kp_input extend_inputs[] = {ID_INPUT, ATTEMPT_INPUT, KP_LEASE_INPUT("600000"), KP_NOW};
static const kp_input finish_inputs[] = {
	ID_INPUT,
	ATTEMPT_INPUT,
	KP_NEEDED_WORD(3, "status", final_words, "completed, failed or cancelled."),
	KP_OTHER(JSON, "result", "What came of it."),
	KP_OTHER_LONG("error_message", "Why not."),
	KP_NOW,
};
static const kp_input cancel_inputs[] = {
	ID_INPUT,
	KP_OTHER(TEXT, "reason", "Why."),
	KP_NOW,
};
static const kp_input retry_inputs[] = {ID_INPUT, KP_NOW};

static const kp_member add_members[] = {
	{"task_id", KP_KIND_TEXT, "Its name.", NULL},
	{"is_new", KP_KIND_BOOLEAN, "It was added by this call.", NULL},
};

static const kp_outcome add_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such conversation."},
	{KEEP_CONFLICT, false, "Another task has that task_id; nothing changed."},
};
static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such task."},
};
static const kp_outcome step_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such task."},
	{KEEP_CONFLICT, false, "Its status, or a later attempt, does not allow it."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_add(kp_call *call, keep_error *err)
{
	keep_agent_task task = {.id = 0};
	char id[37] = "";
	bool inserted = false;
	keep_status status;

	kp_call_record(call, &kp_agent_task_record, &task);
	status =
		keep_assistant_add_task(call->handle, &task, kp_call_now(call), id, &inserted, err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "task_id", task.task_id.data ? task.task_id : keep_bytes_of(id));
	kp_call_put_flag(call, "is_new", inserted);
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_agent_task task = {.id = 0};
	keep_status status = keep_assistant_get_task(call->handle, kp_call_text(call, "task_id"),
						     call->arena, &task, err);

	return kp_assistant_give(call, status, &kp_agent_task_record, &task, err);
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	const keep_task_filter filter = {
		.conversation_id = kp_call_text(call, "conversation_id"),
		.agent_name = kp_call_text(call, "agent_name"),
		.status = kp_call_text(call, "status"),
		.before_id = kp_call_integer(call, "before_id"),
	};
	keep_agent_task_list list = {NULL, 0};
	keep_status status = keep_assistant_list_tasks(call->handle, &filter,
						       (size_t)kp_call_integer(call, "limit"),
						       call->arena, &list, err);

	return kp_assistant_give_all(call, status, &kp_agent_task_record, list.items, list.count,
				     err);
}

static keep_status run_claim(kp_call *call, keep_error *err)
{
	keep_agent_task_list list = {NULL, 0};
	keep_status status = keep_assistant_claim_tasks(
		call->handle, kp_call_text(call, "agent_name"),
		(size_t)kp_call_integer(call, "limit"), kp_call_integer(call, "lease_ms"),
		kp_call_now(call), call->arena, &list, err);

	return kp_assistant_give_all(call, status, &kp_agent_task_record, list.items, list.count,
				     err);
}

static keep_status run_wait(kp_call *call, keep_error *err)
{
	bool found = false;
	keep_status status;

	kp_call_started(call);
	status = keep_assistant_wait_tasks(call->handle, kp_call_text(call, "agent_name"),
					   kp_call_integer(call, "timeout_ms"), &found, err);
	return kp_call_put_bool(call, status, found);
}

static keep_status run_extend(kp_call *call, keep_error *err)
{
	bool cancel_asked = false;
	keep_status status = keep_assistant_extend_task(
		call->handle, kp_call_text(call, "task_id"), kp_call_integer(call, "attempt"),
		kp_call_integer(call, "lease_ms"), kp_call_now(call), &cancel_asked, err);

	return kp_call_put_bool(call, status, !cancel_asked);
}

static keep_bytes json_of(const kp_call *call, const char *name)
{
	const kp_json *json = kp_call_argument(call, name)->json;

	return json ? json->raw : (keep_bytes){NULL, 0};
}

static keep_status run_finish(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_finish_task(
					      call->handle, kp_call_text(call, "task_id"),
					      kp_call_integer(call, "attempt"),
					      kp_call_text(call, "status"), json_of(call, "result"),
					      kp_call_text(call, "error_message"),
					      kp_call_now(call), err));
}

static keep_status run_cancel(kp_call *call, keep_error *err)
{
	bool is_final = false;
	keep_status status = keep_assistant_cancel_task(call->handle, kp_call_text(call, "task_id"),
							kp_call_text(call, "reason"),
							kp_call_now(call), &is_final, err);

	return kp_call_put_bool(call, status, is_final);
}

static keep_status run_retry(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_retry_task(call->handle,
								kp_call_text(call, "task_id"),
								kp_call_now(call), err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "add_task",
	 .sentence = "Ask an agent for work.",
	 KP_INPUTS(add_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(add_members),
	 KP_OUTCOMES(add_outcomes),
	 .changes = true,
	 .run = run_add},
	{.verb = "get_task",
	 .sentence = "Give a task.",
	 KP_INPUTS(id_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The task.",
	 .record = &kp_agent_task_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "list_tasks",
	 .sentence = "Give tasks, newest first.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The tasks.",
	 .record = &kp_agent_task_record,
	 .shown = "task_id agent_name action status created_at",
	 .run = run_list},
	{.verb = "claim_tasks",
	 .sentence = "Take the oldest tasks that wait, under a lease.",
	 KP_INPUTS(claim_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The tasks; attempt names the claim.",
	 .record = &kp_agent_task_record,
	 .shown = "task_id attempt agent_name action parameters",
	 .changes = true,
	 .leases = true,
	 .run = run_claim},
	{.verb = "wait_tasks",
	 .sentence = "Sleep until a task waits to be claimed.",
	 KP_INPUTS(wait_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "Whether there is one.",
	 .yes = "There is a task.",
	 .waits = true,
	 .run = run_wait},
	{.verb = "extend_task",
	 .sentence = "Keep a claimed task for longer.",
	 KP_INPUTS(extend_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "False: it is to stop; finish it as cancelled.",
	 .yes = "Extended.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .leases = true,
	 .run = run_extend},
	{.verb = "finish_task",
	 .sentence = "Tell what came of a claimed task.",
	 KP_INPUTS(finish_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_finish},
	{.verb = "cancel_task",
	 .sentence = "Cancel a task that waits, or ask a running one to stop.",
	 KP_INPUTS(cancel_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "Whether it has ended.",
	 .yes = "Cancelled.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_cancel},
	{.verb = "retry_task",
	 .sentence = "Let a task that failed or was interrupted wait again.",
	 KP_INPUTS(retry_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_retry},
};

const kp_operation_group kp_assistant_task_group = {
	.title = "Tasks",
	.operations = operations,
	.count = KP_COUNT(operations),
};
