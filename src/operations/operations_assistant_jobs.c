/*
 * operations_assistant_jobs.c - the assistant's operations on cron jobs and one-time tasks.
 *
 * What it does not do: their runs (operations_assistant_runs.c).
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

static const char *const type_words[] = {"tool", "prompt", NULL};
static const char *const missed_words[] = {"run_once", "skip", "run_all", NULL};
static const char *const overlap_words[] = {"skip", "queue", "allow", NULL};
static const char *const dialect_words[] = {"debian", "robfig", "cron-parser", "apscheduler", NULL};
static const char *const status_words[] = {"pending",   "running",     "completed", "failed",
					   "cancelled", "interrupted", NULL};

#define ID_INPUT KP_NEEDED_TEXT(1, "job_id", "The job.")

static const kp_input put_inputs[] = {
	KP_NEEDED_TEXT(1, "name", "What people call it."),
	KP_NEEDED_TEXT(2, "cron_expression", "When, as docs/schedule.md says."),
	KP_NEEDED_WORD(3, "job_type", type_words, "tool or prompt."),
	KP_OTHER(TEXT, "job_id", "Its name; a new UUID when left out."),
	KP_OTHER(TEXT, "description", "What it is for."),
	KP_OTHER(TEXT, "tool_name", "The tool."),
	KP_OTHER(OBJECT, "tool_parameters", "What the tool is given."),
	KP_OTHER_LONG("prompt", "What is said."),
	{.name = "enabled",
	 .kind = KP_KIND_BOOLEAN,
	 .nullable = true,
	 .fallback = "true",
	 .sentence = "Whether it comes due."},
	KP_OTHER(TEXT, "timezone", "The IANA zone of the expression; UTC when left out."),
	KP_OTHER_WORD("missed_policy", missed_words, "run_once, skip or run_all."),
	KP_OTHER_WORD("overlap_policy", overlap_words, "skip, queue or allow."),
	KP_OTHER_NUMBER("timeout_ms", "1200000", "How long one attempt may take."),
	KP_OTHER_NUMBER("max_attempts", "3", "How often one run is tried."),
	KP_OTHER_WORD("dialect", dialect_words, "Whose rules the expression follows."),
	KP_NOW,
};
static const kp_input id_inputs[] = {ID_INPUT};
static const kp_input list_inputs[] = {
	KP_FLAG("only_enabled", "Without those that are not enabled."),
};
static const kp_input enable_inputs[] = {
	ID_INPUT,
	{.name = "enabled",
	 .kind = KP_KIND_BOOLEAN,
	 .place = 2,
	 .required = true,
	 .sentence = "true or false."},
	KP_NOW,
};
static const kp_input now_inputs[] = {ID_INPUT, KP_NOW};
static const kp_input future_inputs[] = {
	KP_NEEDED_TEXT(1, "name", "What people call it."),
	{.name = "scheduled_time",
	 .kind = KP_KIND_TIME,
	 .place = 2,
	 .required = true,
	 .sentence = "When it is due."},
	KP_NEEDED_WORD(3, "job_type", type_words, "tool or prompt."),
	KP_OTHER(TEXT, "task_id", "Its name; a new UUID when left out."),
	KP_OTHER(TEXT, "description", "What it is for."),
	KP_OTHER(TEXT, "conversation_id", "Where it comes from."),
	KP_OTHER(TEXT, "tool_name", "The tool."),
	KP_OTHER(OBJECT, "tool_parameters", "What the tool is given."),
	KP_OTHER_LONG("prompt", "What is said."),
	KP_OTHER_NUMBER("timeout_ms", "600000", "How long one attempt may take."),
	KP_OTHER_NUMBER("max_attempts", "3", "How often it is tried."),
	KP_NOW,
};
static const kp_input task_inputs[] = {KP_NEEDED_TEXT(1, "task_id", "The one-time task.")};
static const kp_input future_list_inputs[] = {
	KP_OTHER_WORD("status", status_words, "Those of a status."),
	KP_OTHER(TIME, "before", "Only those that are due before; all when left out."),
	KP_LIMIT("50"),
};

static const kp_member future_members[] = {
	{"task_id", KP_KIND_TEXT, "Its name.", NULL},
	{"is_new", KP_KIND_BOOLEAN, "It was added by this call.", NULL},
};
static const kp_member run_now_members[] = {
	{"scheduled_for", KP_KIND_TIME, "With the job the run's identity.", NULL},
};

static const kp_outcome put_outcomes[] = {
	{KEEP_INVALID, false, "The expression, the zone or another input, named."},
};
static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such job or task."},
};
static const kp_outcome step_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such job or task."},
	{KEEP_CONFLICT, false, "It has ended, or an earlier run does not allow another."},
};
static const kp_outcome future_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such conversation."},
	{KEEP_CONFLICT, false, "Another task has that task_id; nothing changed."},
};

/* ---------------------------------------------------------------- functions */

static void put_id(kp_call *call, keep_bytes given, const char *made)
{
	kp_json_put_text(kp_call_writer(call), given.data ? given : keep_bytes_of(made));
}

static keep_status run_put(kp_call *call, keep_error *err)
{
	keep_cron_job job = {.id = 0};
	char id[37] = "";
	keep_status status;

	kp_call_record(call, &kp_cron_job_record, &job);
	status = keep_assistant_put_cron_job(call->handle, &job, kp_call_now(call),
					     kp_assistant_actor(call), id, err);
	if (status == KEEP_OK)
		put_id(call, job.job_id, id);
	return status;
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_cron_job job = {.id = 0};
	keep_status status = keep_assistant_get_cron_job(call->handle, kp_call_text(call, "job_id"),
							 call->arena, &job, err);

	return kp_assistant_give(call, status, &kp_cron_job_record, &job, err);
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_cron_job_list list = {NULL, 0};
	keep_status status = keep_assistant_list_cron_jobs(
		call->handle, kp_call_flag(call, "only_enabled"), call->arena, &list, err);

	return kp_assistant_give_all(call, status, &kp_cron_job_record, list.items, list.count,
				     err);
}

static keep_status run_enable(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_enable_cron_job(
					      call->handle, kp_call_text(call, "job_id"),
					      kp_call_flag(call, "enabled"), kp_call_now(call),
					      kp_assistant_actor(call), err));
}

static keep_status run_remove(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_assistant_remove_cron_job(call->handle, kp_call_text(call, "job_id"),
						     kp_assistant_actor(call), err));
}

static keep_status run_run_now(kp_call *call, keep_error *err)
{
	int64_t scheduled_for = 0;
	keep_status status = keep_assistant_run_now(call->handle, kp_call_text(call, "job_id"),
						    kp_call_now(call), kp_assistant_actor(call),
						    &scheduled_for, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	status = kp_call_put_time(call, "scheduled_for", true, scheduled_for, err);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

static keep_status run_cancel(kp_call *call, keep_error *err)
{
	int64_t count = 0;
	keep_status status =
		keep_assistant_cancel_job(call->handle, kp_call_text(call, "job_id"),
					  kp_call_now(call), kp_assistant_actor(call), &count, err);

	return kp_call_put_integer(call, status, count);
}

static keep_status run_add_future(kp_call *call, keep_error *err)
{
	keep_future_task task = {.id = 0};
	char id[37] = "";
	bool inserted = false;
	keep_status status;

	kp_call_record(call, &kp_future_task_record, &task);
	status = keep_assistant_add_future_task(call->handle, &task, kp_call_now(call),
						kp_assistant_actor(call), id, &inserted, err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_json_name(kp_call_writer(call), "task_id");
	put_id(call, task.task_id, id);
	kp_call_put_flag(call, "is_new", inserted);
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status run_get_future(kp_call *call, keep_error *err)
{
	keep_future_task task = {.id = 0};
	keep_status status = keep_assistant_get_future_task(
		call->handle, kp_call_text(call, "task_id"), call->arena, &task, err);

	return kp_assistant_give(call, status, &kp_future_task_record, &task, err);
}

static keep_status run_list_future(kp_call *call, keep_error *err)
{
	keep_future_task_list list = {NULL, 0};
	keep_status status = keep_assistant_list_future_tasks(
		call->handle, kp_call_text(call, "status"), kp_call_time(call, "before", 0),
		(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return kp_assistant_give_all(call, status, &kp_future_task_record, list.items, list.count,
				     err);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "put_cron_job",
	 .sentence = "Make a job that comes back, or replace its definition.",
	 KP_INPUTS(put_inputs),
	 .result = KP_RESULT_BYTES,
	 .result_sentence = "Its job_id.",
	 KP_OUTCOMES(put_outcomes),
	 .changes = true,
	 .run = run_put},
	{.verb = "get_cron_job",
	 .sentence = "Give a cron job.",
	 KP_INPUTS(id_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The job.",
	 .record = &kp_cron_job_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "list_cron_jobs",
	 .sentence = "Give the cron jobs, by name.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The jobs.",
	 .record = &kp_cron_job_record,
	 .shown = "job_id name cron_expression timezone enabled next_run_at",
	 .run = run_list},
	{.verb = "enable_cron_job",
	 .sentence = "Let a cron job come due from now on, or no more.",
	 KP_INPUTS(enable_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_enable},
	{.verb = "remove_cron_job",
	 .sentence = "Remove a cron job and its open runs; its history stays.",
	 KP_INPUTS(id_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_remove},
	{.verb = "run_now",
	 .sentence = "Let a job run now, beside its schedule.",
	 KP_INPUTS(now_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The run.",
	 KP_MEMBERS(run_now_members),
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_run_now},
	{.verb = "cancel_job",
	 .sentence = "Cancel a one-time task, or the open runs of a cron job.",
	 KP_INPUTS(now_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "How many runs.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_cancel},
	{.verb = "add_future_task",
	 .sentence = "Plan a task for one time.",
	 KP_INPUTS(future_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(future_members),
	 KP_OUTCOMES(future_outcomes),
	 .changes = true,
	 .run = run_add_future},
	{.verb = "get_future_task",
	 .sentence = "Give a one-time task.",
	 KP_INPUTS(task_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The task.",
	 .record = &kp_future_task_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get_future},
	{.verb = "list_future_tasks",
	 .sentence = "Give one-time tasks, the latest first.",
	 KP_INPUTS(future_list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The tasks.",
	 .record = &kp_future_task_record,
	 .shown = "task_id name scheduled_time status",
	 .run = run_list_future},
};

const kp_operation_group kp_assistant_job_group = {
	.title = "Jobs",
	.operations = operations,
	.count = KP_COUNT(operations),
};
