/*
 * job_runs.c - a run that is not done: what its attempts' ends make of it.
 *
 *     waiting ── claim ──> running ── success, skipped, cancelled ──> done: the row goes
 *        ^                    │
 *        └── failed, interrupted: a later try ──┤
 *                                               └── no try left ──> dead: the row stays
 *
 * A one-time task goes the same way in its own row: pending is waiting, and the end is a status
 * (completed, cancelled, failed, interrupted) instead of a row that goes; a dead one has a dead
 * letter in job_runs beside it.
 *
 * Invariants:
 *   1. due_at is when somebody has to look at a run: a waiting one's time, a running one's lease.
 *      One index answers what is due; a run that waits for an earlier one has none, and costs no
 *      look.
 *   2. The gate: of a job whose runs follow each other (skip, queue), while it has open runs, one
 *      has a time. Whatever ends a run opens the gate for the oldest that is left.
 *   3. Attempts are numbered 1, 2, 3 … for the run's whole life, also over retries by hand; each
 * has one row of job_executions, which ends once. Number 0 tells what became of a run without one.
 *   4. An attempt of a job that was removed ends like any other; nothing follows it. Neither does
 *      anything follow a failure of a run that somebody asked to stop, or whose job was disabled
 *      meanwhile (unless it is a run by hand).
 *
 * What it does not do: take runs (job_claim.c), make them (job_tick.c).
 *
 * Tests: tests/contract/test_assistant_jobs.c, tests/contract/test_assistant_dead_letters.c,
 * tests/crash/test_assistant_jobs_crash.c.
 */
#include "assistant/assistant_jobs.h"

/* ---------------------------------------------------------------- reading */

keep_status kp_run_keys(kp_lease *lease, size_t statement, const kp_value *values,
			size_t value_count, size_t limit, kp_arena *arena, kp_run_key **keys,
			size_t *count, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status;

	*count = 0;
	*keys = kp_arena_alloc(arena, limit * sizeof **keys);
	if (!*keys)
		return kp_fail_memory(err, "a list of runs");
	status = kp_lease_bind(lease, statement, values, value_count, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && *count < limit) {
		kp_run_key *key = &(*keys)[*count];
		kp_value is_task;

		status = kp_sql_column(stmt, 0, KP_BOOL, &is_task, err);
		if (status == KEEP_OK)
			status = kp_sql_column_int(stmt, 1, &key->id, err);
		if (status == KEEP_OK) {
			key->is_task = is_task.integer;
			++*count;
			status = kp_sql_step(stmt, &has_row, err);
		}
	}
	kp_sql_reset(stmt);
	return status;
}

static void read_task_as_run(kp_open_run *out)
{
	const keep_future_task *task = &out->task;
	bool is_pending = kp_bytes_equal(task->status, KEEP_BYTES(KEEP_FUTURE_TASK_STATUS_PENDING));

	out->is_task = true;
	out->has_job = true;
	out->run = (keep_job_run){
		.id = task->id,
		.job_id = task->task_id,
		.scheduled_for = task->scheduled_time,
		.state = is_pending ? KEEP_BYTES(KEEP_JOB_RUN_STATE_WAITING)
				    : KEEP_BYTES(KEEP_JOB_RUN_STATE_RUNNING),
		.due_at = task->due_at,
		.has_due_at = task->has_due_at,
		.attempt = task->attempt,
		.attempts_before = task->attempts_before,
		.lease_by = task->lease_by,
		.lease_owner = task->lease_owner,
		.lease_until = task->lease_until,
		.has_lease_until = task->has_lease_until,
		.last_error = task->error_message,
		.cancel_asked_at = task->cancel_asked_at,
		.has_cancel_asked_at = task->has_cancel_asked_at,
		.created_at = task->created_at,
		.job_type = KEEP_BYTES(KEEP_JOB_RUN_JOB_TYPE_FUTURE_TASK),
		.deadline_at = task->deadline_at,
		.has_deadline_at = task->has_deadline_at,
	};
}

keep_status kp_run_load(kp_lease *lease, kp_run_key key, kp_arena *arena, kp_open_run *out,
			keep_error *err)
{
	bool found = false;
	keep_status status;

	memset(out, 0, sizeof *out);
	if (key.is_task)
		status = kp_lease_get(lease, KP_ASSISTANT_GET_FUTURE_TASK_ROW,
				      KP_VALUES(kp_int_value(key.id)), &kp_future_task_record,
				      arena, &out->task, &found, err);
	else
		status = kp_lease_get(lease, KP_ASSISTANT_GET_JOB_RUN,
				      KP_VALUES(kp_int_value(key.id)), &kp_job_run_record, arena,
				      &out->run, &found, err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_CORRUPT, "run %lld: it is gone", (long long)key.id);
	if (status == KEEP_OK && key.is_task)
		read_task_as_run(out);
	else if (status == KEEP_OK)
		status = kp_job_find(lease, out->run.job_id, arena, &out->job, &out->has_job, err);
	return status;
}

static bool is_running(const kp_open_run *run, int64_t attempt)
{
	if (run->is_task &&
	    !kp_bytes_equal(run->task.status, KEEP_BYTES(KEEP_FUTURE_TASK_STATUS_RUNNING)))
		return false;
	return kp_bytes_equal(run->run.state, KEEP_BYTES(KEEP_JOB_RUN_STATE_RUNNING)) &&
	       run->run.attempt == attempt;
}

keep_status kp_run_of_attempt(kp_lease *lease, const keep_job_execution *execution, kp_arena *arena,
			      kp_open_run *out, bool *found, keep_error *err)
{
	keep_status status;

	memset(out, 0, sizeof *out);
	if (kp_bytes_equal(execution->job_type,
			   KEEP_BYTES(KEEP_JOB_EXECUTION_JOB_TYPE_FUTURE_TASK))) {
		status = kp_task_find(lease, execution->job_id, arena, &out->task, found, err);
		if (status == KEEP_OK && *found)
			read_task_as_run(out);
	} else {
		status = kp_lease_get(lease, KP_ASSISTANT_FIND_JOB_RUN,
				      KP_VALUES(kp_text_value(execution->job_id),
						kp_time_value(execution->scheduled_for)),
				      &kp_job_run_record, arena, &out->run, found, err);
		if (status == KEEP_OK && *found)
			status = kp_job_find(lease, out->run.job_id, arena, &out->job,
					     &out->has_job, err);
	}
	*found = status == KEEP_OK && *found &&
		 out->run.scheduled_for == execution->scheduled_for &&
		 is_running(out, execution->attempt);
	return status;
}

keep_status kp_runs_of_job(kp_lease *lease, keep_bytes job_id, kp_arena *arena, keep_job_run **runs,
			   size_t *count, keep_error *err)
{
	return kp_lease_list(lease, KP_ASSISTANT_OPEN_RUNS, KP_VALUES(kp_text_value(job_id)),
			     &kp_job_run_record, arena, runs, count, err);
}

keep_status kp_run_is_known(kp_lease *lease, keep_bytes job_id, int64_t scheduled_for, bool *known,
			    keep_error *err)
{
	return kp_lease_get(lease, KP_ASSISTANT_IS_RUN_KNOWN,
			    KP_VALUES(kp_text_value(job_id), kp_time_value(scheduled_for)), NULL,
			    NULL, NULL, known, err);
}

/* ---------------------------------------------------------------- writing */

keep_status kp_run_save(kp_lease *lease, const kp_open_run *run, const char *task_status,
			keep_bytes result, int64_t now_ms, keep_error *err)
{
	const keep_job_run *row = &run->run;
	kp_value id = kp_int_value(row->id), due = kp_time_or_null(row->has_due_at, row->due_at),
		 attempt = kp_int_value(row->attempt), before = kp_int_value(row->attempts_before),
		 by = kp_text_value(row->lease_by), owner = kp_text_value(row->lease_owner),
		 until = kp_time_or_null(row->has_lease_until, row->lease_until),
		 error = kp_text_value(row->last_error),
		 cancel = kp_time_or_null(row->has_cancel_asked_at, row->cancel_asked_at),
		 deadline = kp_time_or_null(row->has_deadline_at, row->deadline_at);

	if (!run->is_task)
		return kp_lease_run(lease, KP_ASSISTANT_SAVE_JOB_RUN,
				    KP_VALUES(id, kp_text_value(row->state), due, attempt, before,
					      kp_bool_value(row->is_by_hand), by, owner, until,
					      error, cancel, deadline),
				    NULL, err);
	return kp_lease_run(lease, KP_ASSISTANT_SAVE_FUTURE_TASK,
			    KP_VALUES(id, kp_text_value(keep_bytes_of(task_status)), due, attempt,
				      before, by, owner, until, kp_json_value(result), error,
				      cancel, deadline, kp_time_or_null(!row->has_due_at, now_ms)),
			    NULL, err);
}

keep_status kp_run_verdict(kp_lease *lease, const char *job_type, keep_bytes job_id,
			   int64_t scheduled_for, const char *status, keep_bytes why,
			   int64_t now_ms, keep_error *err)
{
	return kp_lease_run(lease, KP_ASSISTANT_PUT_VERDICT,
			    KP_VALUES(kp_text_value(job_id), kp_text_value(keep_bytes_of(job_type)),
				      kp_time_value(now_ms), kp_text_value(keep_bytes_of(status)),
				      kp_text_value(why), kp_time_value(scheduled_for)),
			    NULL, err);
}

keep_status kp_gate_open(kp_lease *lease, keep_bytes job_id, int64_t now_ms, keep_error *err)
{
	return kp_lease_run(lease, KP_ASSISTANT_OPEN_GATE,
			    KP_VALUES(kp_text_value(job_id), kp_time_value(now_ms)), NULL, err);
}

keep_status kp_run_drop(kp_lease *lease, const keep_job_run *run, const char *why, int64_t now_ms,
			keep_error *err)
{
	keep_status status = kp_run_verdict(lease, KEEP_JOB_EXECUTION_JOB_TYPE_CRON, run->job_id,
					    run->scheduled_for, KEEP_JOB_EXECUTION_STATUS_CANCELLED,
					    keep_bytes_of(why), now_ms, err);

	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_JOB_RUN,
				      KP_VALUES(kp_int_value(run->id)), NULL, err);
	return status;
}

keep_status kp_run_bury(kp_lease *lease, kp_run_key key, const char *why, int64_t now_ms,
			keep_error *err)
{
	kp_value id = kp_int_value(key.id), reason = kp_text_value(keep_bytes_of(why));
	keep_status status = kp_lease_run(lease,
					  key.is_task ? KP_ASSISTANT_END_ATTEMPT_OF_TASK
						      : KP_ASSISTANT_END_ATTEMPT_OF_RUN,
					  KP_VALUES(id, reason, kp_time_value(now_ms)), NULL, err);

	kp_log(KEEP_LOG_WARNING, "%s %lld is given up: %s", key.is_task ? "one-time task" : "run",
	       (long long)key.id, why);
	if (status == KEEP_OK && key.is_task)
		status = kp_lease_run(lease, KP_ASSISTANT_KILL_FUTURE_TASK,
				      KP_VALUES(id, reason, kp_time_value(now_ms)), NULL, err);
	else if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_KILL_JOB_RUN, KP_VALUES(id, reason), NULL,
				      err);
	return status;
}

/* ---------------------------------------------------------------- the end of an attempt */

enum next_step { STEP_DONE, STEP_CANCELLED, STEP_RETRY, STEP_DROP, STEP_DEAD };

static bool is_status(const kp_outcome *outcome, const char *status)
{
	return kp_bytes_equal(outcome->status, keep_bytes_of(status));
}

/* Invariant 4. */
static enum next_step decide(const kp_open_run *run, const kp_outcome *outcome, int64_t now_ms,
			     uint64_t random, int64_t *retry_ms)
{
	int64_t allowed = run->is_task ? run->task.max_attempts : run->job.max_attempts;
	const kp_backoff backoff = {.first_ms = KP_RETRY_FIRST_MS,
				    .factor = KP_RETRY_FACTOR,
				    .max_ms = KP_RETRY_MAX_MS,
				    .attempts_max = allowed < 1 ? 1
						    : allowed > KP_JOB_ATTEMPTS_MAX
							    ? KP_JOB_ATTEMPTS_MAX
							    : (unsigned)allowed,
				    .jitter_percent = KP_RETRY_JITTER_PERCENT};
	int64_t tries = run->run.attempt - run->run.attempts_before;

	if (is_status(outcome, KEEP_JOB_EXECUTION_STATUS_SUCCESS) ||
	    is_status(outcome, KEEP_JOB_EXECUTION_STATUS_SKIPPED))
		return STEP_DONE;
	if (is_status(outcome, KEEP_JOB_EXECUTION_STATUS_CANCELLED) ||
	    run->run.has_cancel_asked_at || !run->has_job)
		return STEP_CANCELLED;
	tries = tries < 1 ? 1 : tries > KP_JOB_ATTEMPTS_MAX ? KP_JOB_ATTEMPTS_MAX : tries;
	if (!kp_backoff_next(&backoff, (unsigned)tries, now_ms,
			     random ^ (uint64_t)run->run.id * UINT64_C(0x9e3779b97f4a7c15),
			     retry_ms))
		return STEP_DEAD;
	return run->is_task || run->job.enabled || run->run.is_by_hand ? STEP_RETRY : STEP_DROP;
}

static keep_status add_dead_task(kp_lease *lease, const kp_open_run *run, int64_t now_ms,
				 keep_error *err)
{
	const keep_job_run *row = &run->run;

	return kp_lease_run(lease, KP_ASSISTANT_ADD_DEAD_TASK,
			    KP_VALUES(kp_text_value(row->job_id), kp_time_value(row->scheduled_for),
				      kp_int_value(row->attempt),
				      kp_int_value(row->attempts_before), kp_bool_value(false),
				      kp_text_value(row->last_error), kp_time_value(now_ms)),
			    NULL, err);
}

static keep_status step_task(kp_lease *lease, const kp_open_run *run, enum next_step step,
			     const kp_outcome *outcome, int64_t now_ms, keep_error *err)
{
	static const char *const ends[] = {
		[STEP_DONE] = KEEP_FUTURE_TASK_STATUS_COMPLETED,
		[STEP_CANCELLED] = KEEP_FUTURE_TASK_STATUS_CANCELLED,
		[STEP_RETRY] = KEEP_FUTURE_TASK_STATUS_PENDING,
		[STEP_DROP] = KEEP_FUTURE_TASK_STATUS_CANCELLED,
		[STEP_DEAD] = KEEP_FUTURE_TASK_STATUS_FAILED,
	};
	const char *end = ends[step];
	keep_status status;

	if (step == STEP_DEAD && is_status(outcome, KEEP_JOB_EXECUTION_STATUS_INTERRUPTED))
		end = KEEP_FUTURE_TASK_STATUS_INTERRUPTED;
	status = kp_run_save(lease, run, end, outcome->result, now_ms, err);
	if (status == KEEP_OK && step == STEP_DEAD)
		status = add_dead_task(lease, run, now_ms, err);
	return status;
}

static keep_status step_run(kp_lease *lease, const kp_open_run *run, enum next_step step,
			    int64_t now_ms, keep_error *err)
{
	keep_status status;

	if (step == STEP_RETRY || step == STEP_DEAD)
		status = kp_run_save(lease, run, NULL, (keep_bytes){NULL, 0}, now_ms, err);
	else if (step == STEP_DROP)
		status = kp_run_drop(lease, &run->run, "not tried again: the job is not enabled",
				     now_ms, err);
	else
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_JOB_RUN,
				      KP_VALUES(kp_int_value(run->run.id)), NULL, err);
	if (status == KEEP_OK && step != STEP_RETRY)
		status = kp_gate_open(lease, run->run.job_id, now_ms, err);
	return status;
}

keep_status kp_run_end_attempt(kp_lease *lease, kp_open_run *run, const kp_outcome *outcome,
			       int64_t now_ms, uint64_t random, keep_error *err)
{
	keep_job_run *row = &run->run;
	int64_t retry_ms = 0;
	enum next_step step = decide(run, outcome, now_ms, random, &retry_ms);
	keep_status status = kp_lease_run(
		lease, KP_ASSISTANT_END_EXECUTION,
		KP_VALUES(kp_text_value(row->job_id), kp_time_value(row->scheduled_for),
			  kp_int_value(row->attempt), kp_time_value(now_ms),
			  kp_text_value(outcome->status), kp_json_value(outcome->result),
			  kp_text_value(outcome->error_message),
			  kp_text_value(outcome->container_id)),
		NULL, err);

	row->state = step == STEP_RETRY ? KEEP_BYTES(KEEP_JOB_RUN_STATE_WAITING)
					: KEEP_BYTES(KEEP_JOB_RUN_STATE_DEAD);
	row->has_due_at = step == STEP_RETRY;
	row->due_at = retry_ms;
	row->lease_by = row->lease_owner = (keep_bytes){NULL, 0};
	row->has_lease_until = row->has_deadline_at = false;
	row->last_error = outcome->error_message;
	if (status == KEEP_OK && run->is_task)
		status = step_task(lease, run, step, outcome, now_ms, err);
	else if (status == KEEP_OK)
		status = step_run(lease, run, step, now_ms, err);
	return status;
}
