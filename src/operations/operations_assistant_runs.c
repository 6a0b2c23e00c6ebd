/*
 * operations_assistant_runs.c - the assistant's operations on runs of jobs, for schedulers.
 *
 * What it does not do: tick by itself; whoever calls claim_due does.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

static const char *const final_words[] = {"success", "failed", "cancelled", "skipped", NULL};
static const char *const status_words[] = {"running", "success",     "failed", "cancelled",
					   "skipped", "interrupted", NULL};

#define RUN_INPUTS                                                                                 \
	KP_NEEDED_TEXT(1, "job_id", "The job, or one-time task."), KP_SCHEDULED_INPUT(2),          \
		KP_NEEDED_NUMBER(3, "attempt", "The attempt, as it was claimed.")

static const kp_input claim_inputs[] = {KP_LIMIT("1"), KP_LEASE_INPUT("120000"), KP_NOW};
static const kp_input extend_inputs[] = {RUN_INPUTS, KP_LEASE_INPUT("120000"), KP_NOW};
static const kp_input finish_inputs[] = {
	RUN_INPUTS,
	KP_NEEDED_WORD(4, "status", final_words, "success, failed, cancelled or skipped."),
	KP_OTHER(JSON, "result", "What came of it."),
	KP_OTHER_LONG("error_message", "Why not."),
	KP_OTHER(TEXT, "container_id", "Where it ran."),
	KP_NOW,
};
static const kp_input wait_inputs[] = {
	{.name = "timeout_ms",
	 .kind = KP_KIND_INTEGER,
	 .nullable = true,
	 .fallback = "-1",
	 .min = -1,
	 .max = INT64_MAX,
	 .sentence = "At most so long; 0: only look, -1: for ever."},
};
static const kp_input history_inputs[] = {
	KP_OTHER_AT(1, "job_id", "Of a job or one-time task; of all when left out."),
	KP_OTHER_WORD("status", status_words, "Those of a status."),
	KP_OTHER_NUMBER("before_id", "0", "Only executions with a smaller id; 0: all."),
	KP_LIMIT("20"),
};
static const kp_input dead_inputs[] = {
	KP_OTHER_AT(1, "job_id", "Of a job or one-time task; of all when left out."),
	KP_LIMIT("100"),
};
static const kp_input retry_inputs[] = {KP_NEEDED_TEXT(1, "job_id", "The job, or one-time task."),
					KP_SCHEDULED_INPUT(2), KP_NOW};
static const kp_input clear_inputs[] = {
	KP_OTHER_AT(1, "job_id", "Of a job or one-time task; of all when left out."),
};

static const kp_member claim_members[] = {
	{"runs", KP_KIND_ARRAY,
	 "What was taken: job_id, run_type (cron, future_task), name, job_type, tool_name, "
	 "tool_parameters, prompt, conversation_id, scheduled_for, attempt, execution_id, "
	 "deadline, "
	 "lease_until, is_missed, is_by_hand.",
	 NULL},
	{"next_due", KP_KIND_TIME, "When to come again by itself; null: nothing is planned.", NULL},
};
static const kp_member history_members[] = {
	{"execution", KP_KIND_OBJECT, "The attempt.", &kp_job_execution_record},
	{"name", KP_KIND_TEXT, "The job's name, while it is there.", NULL},
};

static const kp_outcome step_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such run."},
	{KEEP_CONFLICT, false, "The attempt is over; nothing changed."},
};
static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such dead letter."},
};

/* ---------------------------------------------------------------- functions */

static keep_status put_run(kp_call *call, const keep_claimed_run *run, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_status status;

	kp_json_open_object(writer);
	kp_call_put_text(call, "job_id", run->job_id);
	kp_call_put_text(call, "run_type", run->run_type);
	kp_call_put_text(call, "name", run->name);
	kp_call_put_text(call, "job_type", run->job_type);
	kp_call_put_text(call, "tool_name", run->tool_name);
	kp_json_name(writer, "tool_parameters");
	if (run->tool_parameters.data)
		kp_json_put_raw(writer, run->tool_parameters);
	else
		kp_json_put_null(writer);
	kp_call_put_text(call, "prompt", run->prompt);
	kp_call_put_text(call, "conversation_id", run->conversation_id);
	status = kp_call_put_time(call, "scheduled_for", true, run->scheduled_for, err);
	kp_call_put_number(call, "attempt", run->attempt);
	kp_call_put_number(call, "execution_id", run->execution_id);
	if (status == KEEP_OK)
		status = kp_call_put_time(call, "deadline", true, run->deadline_ms, err);
	if (status == KEEP_OK)
		status = kp_call_put_time(call, "lease_until", true, run->lease_until, err);
	kp_call_put_flag(call, "is_missed", run->is_missed);
	kp_call_put_flag(call, "is_by_hand", run->is_by_hand);
	kp_json_close_object(writer);
	return status;
}

static keep_status run_claim(kp_call *call, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_claimed_runs runs = {NULL, 0};
	int64_t next_due_ms = 0;
	keep_status status =
		keep_assistant_claim_due(call->handle, (size_t)kp_call_integer(call, "limit"),
					 kp_call_integer(call, "lease_ms"), kp_call_now(call),
					 call->arena, &runs, &next_due_ms, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(writer);
	kp_json_name(writer, "runs");
	kp_json_open_array(writer);
	for (size_t i = 0; i < runs.count && status == KEEP_OK; i++)
		status = put_run(call, &runs.items[i], err);
	kp_json_close_array(writer);
	if (status == KEEP_OK)
		status = kp_call_put_time(call, "next_due", next_due_ms != 0, next_due_ms, err);
	kp_json_close_object(writer);
	return status;
}

static keep_status run_extend(kp_call *call, keep_error *err)
{
	bool cancel_asked = false;
	keep_status status = keep_assistant_extend_run(
		call->handle, kp_call_text(call, "job_id"), kp_call_time(call, "scheduled_for", 0),
		kp_call_integer(call, "attempt"), kp_call_integer(call, "lease_ms"),
		kp_call_now(call), &cancel_asked, err);

	return kp_call_put_bool(call, status, !cancel_asked);
}

static keep_status run_finish(kp_call *call, keep_error *err)
{
	const kp_json *result = kp_call_argument(call, "result")->json;

	return kp_call_put_null(
		call,
		keep_assistant_finish_run(
			call->handle, kp_call_text(call, "job_id"),
			kp_call_time(call, "scheduled_for", 0), kp_call_integer(call, "attempt"),
			kp_call_text(call, "status"), result ? result->raw : (keep_bytes){NULL, 0},
			kp_call_text(call, "error_message"), kp_call_text(call, "container_id"),
			kp_call_now(call), err));
}

static keep_status run_wait(kp_call *call, keep_error *err)
{
	bool due = false;
	keep_status status;

	kp_call_started(call);
	status = keep_assistant_wait_due(call->handle, kp_call_integer(call, "timeout_ms"), &due,
					 err);
	return kp_call_put_bool(call, status, due);
}

static keep_status run_history(kp_call *call, keep_error *err)
{
	keep_execution_list list = {NULL, 0};
	keep_status status = keep_assistant_history(
		call->handle, kp_call_text(call, "job_id"), kp_call_text(call, "status"),
		kp_call_integer(call, "before_id"), (size_t)kp_call_integer(call, "limit"),
		call->arena, &list, err);

	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < list.count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		kp_json_open_object(kp_call_writer(call));
		status = kp_assistant_put_member(call, "execution", &kp_job_execution_record,
						 &list.items[i].execution, err);
		kp_call_put_text(call, "name", list.items[i].name);
		kp_json_close_object(kp_call_writer(call));
		if (status == KEEP_OK)
			status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

static keep_status run_dead(kp_call *call, keep_error *err)
{
	keep_job_run_list list = {NULL, 0};
	keep_status status = keep_assistant_list_dead_letters(
		call->handle, kp_call_text(call, "job_id"), (size_t)kp_call_integer(call, "limit"),
		call->arena, &list, err);

	return kp_assistant_give_all(call, status, &kp_job_run_record, list.items, list.count, err);
}

static keep_status run_retry(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_retry_dead_letter(
					      call->handle, kp_call_text(call, "job_id"),
					      kp_call_time(call, "scheduled_for", 0),
					      kp_call_now(call), kp_assistant_actor(call), err));
}

static keep_status run_clear(kp_call *call, keep_error *err)
{
	int64_t count = 0;
	keep_status status = keep_assistant_clear_dead_letters(
		call->handle, kp_call_text(call, "job_id"), kp_assistant_actor(call), &count, err);

	return kp_call_put_integer(call, status, count);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "claim_due",
	 .sentence = "Tick: make the runs that are due, end those that are over, and take some.",
	 .more = "Any number of schedulers may tick at once; each run is taken by one.",
	 KP_INPUTS(claim_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was taken, and when to come again.",
	 KP_MEMBERS(claim_members),
	 .changes = true,
	 .leases = true,
	 .run = run_claim},
	{.verb = "extend_run",
	 .sentence = "Keep a claimed run for longer, within its timeout.",
	 KP_INPUTS(extend_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "False: it is to stop; finish it as cancelled.",
	 .yes = "Extended.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .leases = true,
	 .run = run_extend},
	{.verb = "finish_run",
	 .sentence = "Tell what came of a claimed run.",
	 .more = "A failed attempt is tried again after a delay that grows; after the last one the "
		 "run is a dead letter.",
	 KP_INPUTS(finish_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_finish},
	{.verb = "wait_due",
	 .sentence = "Sleep until a run is due.",
	 KP_INPUTS(wait_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "Whether one is.",
	 .yes = "A run is due.",
	 .waits = true,
	 .run = run_wait},
	{.verb = "history",
	 .sentence = "Give attempts of runs, newest first.",
	 KP_INPUTS(history_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The attempts.",
	 KP_MEMBERS(history_members),
	 .shown =
		 "execution.job_id execution.scheduled_for execution.attempt execution.status name",
	 .run = run_history},
	{.verb = "list_dead_letters",
	 .sentence = "Give runs that failed for good, oldest first.",
	 KP_INPUTS(dead_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The runs.",
	 .record = &kp_job_run_record,
	 .shown = "job_id scheduled_for attempt last_error",
	 .run = run_dead},
	{.verb = "retry_dead_letter",
	 .sentence = "Try a run that failed for good once more from the beginning.",
	 KP_INPUTS(retry_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_retry},
	{.verb = "clear_dead_letters",
	 .sentence = "Put dead letters away; their history stays.",
	 KP_INPUTS(clear_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "How many.",
	 .changes = true,
	 .run = run_clear},
};

const kp_operation_group kp_assistant_run_group = {
	.title = "Runs of jobs",
	.operations = operations,
	.count = KP_COUNT(operations),
};
