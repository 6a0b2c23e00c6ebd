/*
 * operations_gateway_tasks.c - the gateway's operations on scheduled tasks.
 *
 * What it does not do: tick; whoever calls fire_due_tasks does.
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

static const char *const status_words[] = {"active",    "paused", "firing", "completed",
					   "cancelled", "failed", NULL};
static const char *const context_words[] = {"group", "isolated", NULL};
static const char *const missed_words[] = {"run_once", "skip", "run_all", NULL};
static const char *const dialect_words[] = {"debian", "robfig", "cron-parser", "apscheduler", NULL};

#define ID_INPUT KP_NEEDED_TEXT(1, "id", "The task's id.")

static const kp_input create_inputs[] = {
	KP_NEEDED_TEXT(1, "owner", "The folder whose it is."),
	KP_NEEDED_TEXT(2, "chat_jid", "The chat that the prompt goes to."),
	KP_NEEDED_LONG(3, "prompt", "What is said then; at most 1 MiB."),
	KP_OTHER(TEXT, "id", "Its id; a new UUID when left out."),
	KP_OTHER(TEXT, "cron",
		 "A cron expression, or a number: an interval in ms, at least 1000. Left out: one "
		 "time only."),
	KP_OTHER(TIME, "next_run", "Without cron: when; now when left out."),
	KP_OTHER(TEXT, "timezone", "The IANA zone of the expression; UTC when left out."),
	KP_OTHER_WORD("context_mode", context_words,
		      "group: in the group's session; isolated: in one of its own."),
	KP_OTHER_WORD("missed_policy", missed_words,
		      "What becomes of runs that nobody started: run_once, skip or run_all."),
	KP_OTHER_WORD("dialect", dialect_words,
		      "Whose rules the expression follows: debian, robfig, cron-parser or "
		      "apscheduler."),
	KP_OTHER(TIME, "anchor_at",
		 "An interval counts from here; next_run, or now, when left out."),
	KP_OTHER_NUMBER("grace_ms", NULL, "A missed run older than that is not made up."),
	KP_OTHER_NUMBER("run_all_max", "10", "run_all: so many of the latest missed runs."),
};
static const kp_input id_inputs[] = {ID_INPUT};
static const kp_input now_inputs[] = {ID_INPUT, KP_NOW};
static const kp_input list_inputs[] = {
	KP_OTHER_AT(1, "owner", "The tasks of this folder; all when left out."),
	KP_OTHER_WORD("status", status_words, "Those of a status; any when left out."),
	KP_LIMIT("100"),
};
static const kp_input fire_inputs[] = {KP_LIMIT("100"), KP_NOW};
static const kp_input report_inputs[] = {
	KP_NEEDED_TEXT(1, "task_id", "The task's id."),
	{.name = "scheduled_for",
	 .kind = KP_KIND_TIME,
	 .place = 2,
	 .required = true,
	 .sentence = "The time that the run was due."},
	KP_OTHER_NUMBER("duration_ms", "0", "How long the agent took."),
	KP_OTHER_LONG("result", "What the agent said."),
	KP_OTHER_LONG("error", "Why it failed; then the run's status is error."),
};
static const kp_input runs_inputs[] = {
	KP_NEEDED_TEXT(1, "task_id", "The task's id."),
	KP_OTHER_NUMBER("before_id", "0", "Only runs with a smaller id; 0: all."),
	KP_LIMIT("50"),
};

static const kp_member create_members[] = {
	{"outcome", KP_KIND_TEXT, "inserted, or duplicate: the same was there, nothing changed.",
	 NULL},
	{"id", KP_KIND_TEXT, "Its id.", NULL},
};
static const kp_member fire_members[] = {
	{"runs", KP_KIND_ARRAY, "What was logged, the runs that fired among it.",
	 &kp_task_run_record},
	{"next_run", KP_KIND_TIME, "When the next task is due; null: none is.", NULL},
};

static const kp_outcome create_outcomes[] = {
	{KEEP_INVALID, false, "The expression, the zone or another input, named."},
	{KEEP_CONFLICT, false, "The id is another task's; nothing changed."},
};
static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such task."},
};
static const kp_outcome step_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such task."},
	{KEEP_CONFLICT, false, "Its status does not allow it; nothing changed."},
};
static const kp_outcome report_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such run."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_create(kp_call *call, keep_error *err)
{
	keep_scheduled_task task = {.anchor_at = 0};
	keep_put put = KEEP_PUT_INSERTED;
	char id[37] = "";
	keep_status status;

	kp_call_record(call, &kp_scheduled_task_record, &task);
	status = keep_gateway_create_task(call->handle, &task, &put, id, err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "outcome", keep_bytes_of(keep_put_name(put)));
	kp_call_put_text(call, "id", task.id.data ? task.id : keep_bytes_of(id));
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_scheduled_task task = {.anchor_at = 0};
	keep_status status = keep_gateway_get_task(call->handle, kp_call_text(call, "id"),
						   call->arena, &task, err);

	return status == KEEP_OK ? kp_call_put_record(call, &kp_scheduled_task_record, &task, err)
				 : status;
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_scheduled_task_list list = {NULL, 0};
	keep_status status = keep_gateway_list_tasks(
		call->handle, kp_call_text(call, "owner"), kp_call_text(call, "status"),
		(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return status == KEEP_OK ? kp_call_put_records(call, &kp_scheduled_task_record, list.items,
						       list.count, err)
				 : status;
}

static keep_status run_pause(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_pause_task(call->handle, kp_call_text(call, "id"), err));
}

static keep_status run_resume(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_gateway_resume_task(call->handle, kp_call_text(call, "id"),
							 kp_call_now(call), err));
}

static keep_status run_cancel(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_cancel_task(call->handle, kp_call_text(call, "id"), err));
}

static keep_status run_run_now(kp_call *call, keep_error *err)
{
	keep_task_run run = {.id = 0};
	keep_status status = keep_gateway_run_task_now(call->handle, kp_call_text(call, "id"),
						       kp_call_now(call), call->arena, &run, err);

	return status == KEEP_OK ? kp_call_put_record(call, &kp_task_run_record, &run, err)
				 : status;
}

static keep_status run_fire(kp_call *call, keep_error *err)
{
	keep_task_run_list list = {NULL, 0};
	int64_t next_run = 0;
	keep_status status = keep_gateway_fire_due_tasks(call->handle, kp_call_now(call),
							 (size_t)kp_call_integer(call, "limit"),
							 call->arena, &list, &next_run, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_json_name(kp_call_writer(call), "runs");
	status = kp_call_put_array(call, &kp_task_run_record, list.items, list.count, err);
	if (status == KEEP_OK)
		status = kp_call_put_time(call, "next_run", next_run != 0, next_run, err);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

static keep_status run_report(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_report_task_run(call->handle, kp_call_text(call, "task_id"),
						   kp_call_integer(call, "scheduled_for"),
						   kp_call_integer(call, "duration_ms"),
						   kp_call_text(call, "result"),
						   kp_call_text(call, "error"), err));
}

static keep_status run_runs(kp_call *call, keep_error *err)
{
	keep_task_run_list list = {NULL, 0};
	keep_status status = keep_gateway_task_runs(
		call->handle, kp_call_text(call, "task_id"), kp_call_integer(call, "before_id"),
		(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return status == KEEP_OK
		       ? kp_call_put_records(call, &kp_task_run_record, list.items, list.count, err)
		       : status;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "create_task",
	 .sentence = "Make a prompt that comes back, or comes once.",
	 KP_INPUTS(create_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(create_members),
	 KP_OUTCOMES(create_outcomes),
	 .changes = true,
	 .run = run_create},
	{.verb = "get_task",
	 .sentence = "Give one task.",
	 KP_INPUTS(id_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The task.",
	 .record = &kp_scheduled_task_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "list_tasks",
	 .alias = "list",
	 .sentence = "Give the tasks, newest first.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The tasks.",
	 .record = &kp_scheduled_task_record,
	 .shown = "id status next_run cron chat_jid prompt",
	 .run = run_list},
	{.verb = "pause_task",
	 .alias = "pause",
	 .sentence = "Let an active task rest.",
	 KP_INPUTS(id_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_pause},
	{.verb = "resume_task",
	 .alias = "resume",
	 .sentence = "Let a paused or failed task go on.",
	 .more = "When it is due next is computed from now.",
	 KP_INPUTS(now_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_resume},
	{.verb = "cancel_task",
	 .alias = "cancel",
	 .sentence = "End a task for good.",
	 KP_INPUTS(id_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_cancel},
	{.verb = "run_now",
	 .alias = "run_task_now",
	 .sentence = "Fire a task now, beside its schedule; a paused one, too.",
	 KP_INPUTS(now_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The run, as it was logged.",
	 .record = &kp_task_run_record,
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_run_now},
	{.verb = "fire_due_tasks",
	 .sentence = "Fire what is due.",
	 .more = "Each run becomes one message of its chat, whoever ticks and however often, in "
		 "one "
		 "transaction with its line in the log and the task's next time.",
	 KP_INPUTS(fire_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was logged, and when to tick again.",
	 KP_MEMBERS(fire_members),
	 .changes = true,
	 .run = run_fire},
	{.verb = "report_task_run",
	 .sentence = "Write down what the agent made of a run.",
	 KP_INPUTS(report_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(report_outcomes),
	 .changes = true,
	 .run = run_report},
	{.verb = "task_runs",
	 .sentence = "Give the runs of a task, newest first.",
	 KP_INPUTS(runs_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The runs.",
	 .record = &kp_task_run_record,
	 .shown = "id scheduled_for status message_id error",
	 .run = run_runs},
};

const kp_operation_group kp_gateway_task_group = {
	.title = "Scheduled tasks",
	.operations = operations,
	.count = KP_COUNT(operations),
};
