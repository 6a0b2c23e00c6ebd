/*
 * job_finish.c - workers: an attempt is prolonged, reported, or told to stop.
 *
 * The row of job_executions says what an attempt is; the run's row says whether it is the present
 * one. An attempt that somebody else has ended (its lease was over, its process gone) is over.
 *
 * Invariants:
 *   1. The attempt number fences: who reports an attempt that has ended otherwise is told CONFLICT
 *      and changes nothing. The same report again is OK and changes nothing.
 *   2. A lease that is over, but that nobody has ended yet, still is its worker's: it may be
 *      prolonged until the attempt's deadline, and reported after it. What happened is told as it
 *      happened.
 *   3. An attempt of a job that was removed is reported like any other.
 *   4. Cancelling ends at once what waits, with a verdict in the history, and asks what runs to
 *      stop; a failure of that is not tried again. Dead letters stay.
 *
 * What it does not do: decide what follows an end (job_runs.c).
 *
 * Tests: tests/contract/test_assistant_jobs.c, tests/contract/test_assistant_future_tasks.c.
 */
#include "assistant/assistant_jobs.h"

enum { LEASE_DEFAULT_MS = 120000 };

/* An attempt as its worker names it, and what is to be done with it. */
struct report {
	keep_bytes job_id;
	int64_t scheduled_for, attempt, now_ms;
	kp_outcome outcome; /* finish */
	uint64_t random;    /* finish */
	int64_t lease_ms;   /* extend */
	bool cancel_asked;  /* out, extend */
};

static keep_status check_attempt(const struct report *report, keep_error *err)
{
	keep_status status = kp_check_key("job_id", report->job_id, err);

	if (status == KEEP_OK)
		status = kp_check_time("scheduled_for", report->scheduled_for, err);
	if (status == KEEP_OK && report->attempt < 1)
		status = kp_fail(err, KEEP_INVALID, "attempt: is below 1");
	if (status == KEEP_OK)
		status = kp_check_time("now_ms", report->now_ms, err);
	return status;
}

static keep_status fail_over(const struct report *report, keep_bytes how, keep_error *err)
{
	return kp_fail(err, KEEP_CONFLICT,
		       "job '%" KP_PRI "': attempt %lld is over, it is %" KP_PRI,
		       KP_ARG(report->job_id), (long long)report->attempt, KP_ARG(how));
}

static keep_status find_attempt(const struct report *report, kp_lease *lease, kp_arena *arena,
				keep_job_execution *out, keep_error *err)
{
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_EXECUTION,
					  KP_VALUES(kp_text_value(report->job_id),
						    kp_time_value(report->scheduled_for),
						    kp_int_value(report->attempt)),
					  &kp_job_execution_record, arena, out, &found, err);

	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND,
				 "job '%" KP_PRI "': it has no attempt %lld of that time",
				 KP_ARG(report->job_id), (long long)report->attempt);
	return status;
}

static bool is_running(const keep_job_execution *execution)
{
	return kp_bytes_equal(execution->status, KEEP_BYTES(KEEP_JOB_EXECUTION_STATUS_RUNNING));
}

/* ---------------------------------------------------------------- prolonging */

static keep_status prolong(struct report *report, kp_lease *lease, kp_open_run *run,
			   keep_error *err)
{
	keep_job_run *row = &run->run;

	report->cancel_asked = row->has_cancel_asked_at;
	if (row->has_deadline_at && row->deadline_at <= report->now_ms)
		return fail_over(report, KEEP_BYTES("timed out"), err);
	row->lease_until = report->lease_ms > KEEP_TIME_MAX - report->now_ms
				   ? KEEP_TIME_MAX
				   : report->now_ms + report->lease_ms;
	if (row->has_deadline_at && row->lease_until > row->deadline_at)
		row->lease_until = row->deadline_at;
	row->due_at = row->lease_until;
	row->has_lease_until = row->has_due_at = true;
	return kp_run_save(lease, run, KEEP_FUTURE_TASK_STATUS_RUNNING, (keep_bytes){NULL, 0},
			   report->now_ms, err);
}

static keep_status apply_extend(void *ctx, kp_lease *lease, keep_error *err)
{
	struct report *report = ctx;
	kp_arena arena = {.head = NULL};
	keep_job_execution execution = {.id = 0};
	kp_open_run run;
	bool found = false;
	keep_status status = find_attempt(report, lease, &arena, &execution, err);

	if (status == KEEP_OK && !is_running(&execution))
		status = fail_over(report, execution.status, err);
	if (status == KEEP_OK)
		status = kp_run_of_attempt(lease, &execution, &arena, &run, &found, err);
	if (status == KEEP_OK)
		status = found ? prolong(report, lease, &run, err)
			       : fail_over(report, KEEP_BYTES("not a run any more"), err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_extend_run(keep_assistant *assistant, keep_bytes job_id,
				      int64_t scheduled_for, int64_t attempt, int64_t lease_ms,
				      int64_t now_ms, bool *cancel_asked, keep_error *err)
{
	struct report report = {.job_id = job_id,
				.scheduled_for = scheduled_for,
				.attempt = attempt,
				.lease_ms = lease_ms ? lease_ms : LEASE_DEFAULT_MS,
				.now_ms = kp_assistant_now(now_ms)};
	keep_status status = check_attempt(&report, err);

	if (status == KEEP_OK && report.lease_ms < 1)
		status = kp_fail(err, KEEP_INVALID, "lease_ms: is below 0");
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_extend, &report, KP_NEWS_NONE,
					 err);
	if (status == KEEP_OK && cancel_asked)
		*cancel_asked = report.cancel_asked;
	return status;
}

/* ---------------------------------------------------------------- reporting */

static bool is_same_report(const keep_job_execution *execution, const kp_outcome *outcome)
{
	return kp_bytes_equal(execution->status, outcome->status) &&
	       kp_bytes_equal(execution->result, outcome->result) &&
	       kp_bytes_equal(execution->error_message, outcome->error_message) &&
	       kp_bytes_equal(execution->container_id, outcome->container_id);
}

static keep_status end_lost(const struct report *report, kp_lease *lease, keep_error *err)
{
	return kp_lease_run(lease, KP_ASSISTANT_END_EXECUTION,
			    KP_VALUES(kp_text_value(report->job_id),
				      kp_time_value(report->scheduled_for),
				      kp_int_value(report->attempt), kp_time_value(report->now_ms),
				      kp_text_value(report->outcome.status),
				      kp_json_value(report->outcome.result),
				      kp_text_value(report->outcome.error_message),
				      kp_text_value(report->outcome.container_id)),
			    NULL, err);
}

static keep_status apply_finish(void *ctx, kp_lease *lease, keep_error *err)
{
	struct report *report = ctx;
	kp_arena arena = {.head = NULL};
	keep_job_execution execution = {.id = 0};
	kp_open_run run;
	bool found = false;
	keep_status status = find_attempt(report, lease, &arena, &execution, err);

	if (status == KEEP_OK && !is_running(&execution)) {
		if (!is_same_report(&execution, &report->outcome))
			status = fail_over(report, execution.status, err);
	} else if (status == KEEP_OK) {
		status = kp_run_of_attempt(lease, &execution, &arena, &run, &found, err);
		/* Without its run, which another program deleted, it still has its row. */
		if (status == KEEP_OK)
			status = found ? kp_run_end_attempt(lease, &run, &report->outcome,
							    report->now_ms, report->random, err)
				       : end_lost(report, lease, err);
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status check_outcome(const kp_outcome *outcome, keep_error *err)
{
	static const char *const ends[] = {
		KEEP_JOB_EXECUTION_STATUS_SUCCESS, KEEP_JOB_EXECUTION_STATUS_FAILED,
		KEEP_JOB_EXECUTION_STATUS_CANCELLED, KEEP_JOB_EXECUTION_STATUS_SKIPPED};
	bool is_end = false;
	keep_status status;

	for (size_t i = 0; i < KP_COUNT(ends); i++)
		is_end |= kp_bytes_equal(outcome->status, keep_bytes_of(ends[i]));
	if (!is_end)
		return kp_fail(err, KEEP_INVALID,
			       "status: success, failed, cancelled or skipped is needed");
	status = outcome->result.data ? kp_check_json("result", outcome->result, KP_JSON_NULL, err)
				      : KEEP_OK;
	if (status == KEEP_OK)
		status = kp_check_text("error_message", outcome->error_message, KP_KEY_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_text("container_id", outcome->container_id, KP_KEY_MAX,
				       KP_MAY_BE_ABSENT, err);
	return status;
}

keep_status keep_assistant_finish_run(keep_assistant *assistant, keep_bytes job_id,
				      int64_t scheduled_for, int64_t attempt, keep_bytes status,
				      keep_bytes result, keep_bytes error_message,
				      keep_bytes container_id, int64_t now_ms, keep_error *err)
{
	struct report report = {.job_id = job_id,
				.scheduled_for = scheduled_for,
				.attempt = attempt,
				.now_ms = kp_assistant_now(now_ms),
				.outcome = {status, result, error_message, container_id}};
	keep_status checked = check_attempt(&report, err);

	if (checked == KEEP_OK)
		checked = check_outcome(&report.outcome, err);
	if (checked == KEEP_OK)
		checked = kp_random_bytes(&report.random, sizeof report.random, err);
	if (checked == KEEP_OK)
		checked =
			kp_store_change(&assistant->store, apply_finish, &report, KP_NEWS_DUE, err);
	return checked;
}

/* ---------------------------------------------------------------- cancelling */

struct cancelling {
	keep_bytes job_id;
	int64_t now_ms;
	const keep_actor *actor;
	int64_t count; /* out */
};

/* A worker finds it at its next extend. */
static keep_status ask_to_stop(kp_lease *lease, kp_open_run *run, int64_t now_ms, keep_error *err)
{
	if (run->run.has_cancel_asked_at)
		return KEEP_OK;
	run->run.has_cancel_asked_at = true;
	run->run.cancel_asked_at = now_ms;
	return kp_run_save(lease, run, KEEP_FUTURE_TASK_STATUS_RUNNING, (keep_bytes){NULL, 0},
			   now_ms, err);
}

static keep_status cancel_task(struct cancelling *cancelling, kp_lease *lease,
			       const keep_future_task *task, kp_arena *arena, keep_error *err)
{
	static const char why[] = "cancelled while it waited";
	kp_open_run run;
	keep_status status = kp_run_load(lease, (kp_run_key){true, task->id}, arena, &run, err);

	if (status != KEEP_OK)
		return status;
	cancelling->count = 1;
	if (kp_bytes_equal(task->status, KEEP_BYTES(KEEP_FUTURE_TASK_STATUS_RUNNING)))
		return ask_to_stop(lease, &run, cancelling->now_ms, err);
	if (!kp_bytes_equal(task->status, KEEP_BYTES(KEEP_FUTURE_TASK_STATUS_PENDING)))
		return kp_fail(err, KEEP_CONFLICT,
			       "one-time task '%" KP_PRI "': it has ended, it is %" KP_PRI,
			       KP_ARG(task->task_id), KP_ARG(task->status));
	run.run.has_due_at = false;
	run.run.last_error = KEEP_BYTES(why);
	status = kp_run_save(lease, &run, KEEP_FUTURE_TASK_STATUS_CANCELLED, (keep_bytes){NULL, 0},
			     cancelling->now_ms, err);
	if (status == KEEP_OK)
		status = kp_run_verdict(lease, KEEP_JOB_EXECUTION_JOB_TYPE_FUTURE_TASK,
					task->task_id, task->scheduled_time,
					KEEP_JOB_EXECUTION_STATUS_CANCELLED, KEEP_BYTES(why),
					cancelling->now_ms, err);
	return status;
}

static keep_status cancel_runs(struct cancelling *cancelling, kp_lease *lease, bool has_job,
			       kp_arena *arena, keep_error *err)
{
	keep_job_run *runs = NULL;
	size_t count = 0;
	keep_status status = kp_runs_of_job(lease, cancelling->job_id, arena, &runs, &count, err);

	if (status == KEEP_OK && !has_job && !count)
		status = kp_fail(err, KEEP_NOT_FOUND,
				 "job '%" KP_PRI "': there is none, nor such a one-time task",
				 KP_ARG(cancelling->job_id));
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		kp_open_run run = {.run = runs[i]};

		if (kp_bytes_equal(runs[i].state, KEEP_BYTES(KEEP_JOB_RUN_STATE_RUNNING)))
			status = ask_to_stop(lease, &run, cancelling->now_ms, err);
		else
			status = kp_run_drop(lease, &runs[i], "cancelled while it waited",
					     cancelling->now_ms, err);
	}
	cancelling->count = (int64_t)count;
	return status;
}

static keep_status apply_cancel(void *ctx, kp_lease *lease, keep_error *err)
{
	struct cancelling *cancelling = ctx;
	kp_arena arena = {.head = NULL};
	keep_future_task task = {.id = 0};
	keep_cron_job job = {.id = 0};
	bool is_task = false, has_job = false;
	keep_status status = kp_task_find(lease, cancelling->job_id, &arena, &task, &is_task, err);

	if (status == KEEP_OK && is_task) {
		status = cancel_task(cancelling, lease, &task, &arena, err);
	} else if (status == KEEP_OK) {
		status = kp_job_find(lease, cancelling->job_id, &arena, &job, &has_job, err);
		if (status == KEEP_OK)
			status = cancel_runs(cancelling, lease, has_job, &arena, err);
	}
	if (status == KEEP_OK)
		status = kp_job_audit(lease,
				      &(kp_job_note){.action = "cancel",
						     .actor = cancelling->actor,
						     .job_id = cancelling->job_id,
						     .name = is_task ? task.name : job.name,
						     .counted = "runs",
						     .count = cancelling->count},
				      err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_cancel_job(keep_assistant *assistant, keep_bytes job_id, int64_t now_ms,
				      const keep_actor *actor, int64_t *count, keep_error *err)
{
	struct cancelling cancelling = {
		.job_id = job_id, .now_ms = kp_assistant_now(now_ms), .actor = actor};
	keep_status status = kp_check_key("job_id", job_id, err);

	if (status == KEEP_OK)
		status = kp_check_time("now_ms", cancelling.now_ms, err);
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_cancel, &cancelling, KP_NEWS_DUE,
					 err);
	if (status == KEEP_OK && count)
		*count = cancelling.count;
	return status;
}
