/*
 * job_tick.c - the tick: cron jobs whose time has come make their runs.
 *
 *     next_run_at <= now ──> plan (schedule/due.h) ──> runs, and verdicts for what gets none
 *            │ cannot be read                             │
 *            │                                            └─> last_run_at, next_run_at move
 *            └─> a verdict "failed"; next_run_at in an hour; broken_since keeps the time
 *
 * Invariants:
 *   1. All that a job's tick does is in one transaction with its next_run_at, and writers follow
 *      each other: two schedulers that tick at once make no run twice, and a death in between
 *      leaves a job that is still due.
 *   2. (job, time) is a run once. What has a row of job_runs or job_executions is not made again,
 *      whatever clocks and next_run_at say.
 *   3. Nothing dies silently: a time that gets no run has a row of job_executions, number 0, that
 *      tells why; many missed ones in a row share that of the latest.
 *   4. A job that cannot be read, its expression, its zone or its row, harms no other and loses
 *      nothing: it says so in the history, is looked at again every hour, and when it can be read
 *      again its policy for missed runs decides from the first time that it lost.
 *
 * What it does not do: take runs (job_claim.c).
 *
 * Tests: tests/contract/test_assistant_job_policies.c, tests/contract/test_assistant_jobs.c.
 */
#include "assistant/assistant_jobs.h"

#include <stdio.h>

enum { JOBS_A_TICK = 100 };

/* One job inside of a tick. */
struct ticking {
	kp_lease *lease;
	const keep_cron_job *job;
	int64_t now_ms;
	int64_t open; /* runs of it that are not done */
};

static keep_status put_verdict(const struct ticking *t, int64_t scheduled_for, const char *status,
			       keep_bytes why, keep_error *err)
{
	return kp_run_verdict(t->lease, KEEP_JOB_EXECUTION_JOB_TYPE_CRON, t->job->job_id,
			      scheduled_for, status, why, t->now_ms, err);
}

static keep_status set_times(const struct ticking *t, kp_value last, kp_value next, kp_value broken,
			     keep_error *err)
{
	return kp_lease_run(t->lease, KP_ASSISTANT_SET_CRON_JOB_TIMES,
			    KP_VALUES(kp_text_value(t->job->job_id), last, next, broken), NULL,
			    err);
}

/* ---------------------------------------------------------------- what cannot be read */

static int64_t look_again_at(int64_t now_ms)
{
	return now_ms > KEEP_TIME_MAX - KP_BROKEN_LOOK_MS ? KEEP_TIME_MAX
							  : now_ms + KP_BROKEN_LOOK_MS;
}

/* Invariant 4, for what the row says. */
static keep_status put_off(const struct ticking *t, int64_t at_ms, const char *why, keep_error *err)
{
	const keep_cron_job *job = t->job;
	keep_status status =
		put_verdict(t, at_ms, KEEP_JOB_EXECUTION_STATUS_FAILED, keep_bytes_of(why), err);

	kp_log(KEEP_LOG_WARNING, "cron job %" KP_PRI ": %s", KP_ARG(job->job_id), why);
	if (status == KEEP_OK)
		status = set_times(t, kp_time_or_null(job->has_last_run_at, job->last_run_at),
				   kp_time_value(look_again_at(t->now_ms)), kp_time_value(at_ms),
				   err);
	return status;
}

/* A row that cannot be read, but for its id and perhaps its name. */
struct damaged {
	int64_t ids[JOBS_A_TICK];
	keep_bytes names[JOBS_A_TICK];
	keep_bytes reasons[JOBS_A_TICK];
	size_t count;
	kp_arena *arena;
};

static keep_status note_damaged(void *ctx, kp_sql_stmt *stmt, const keep_error *why,
				keep_error *err)
{
	struct damaged *damaged = ctx;
	size_t at = damaged->count;
	kp_value name;
	keep_status status;

	if (at == JOBS_A_TICK)
		return KEEP_OK;
	status = kp_sql_column_int(stmt, 0, &damaged->ids[at], err);
	damaged->names[at] = (keep_bytes){NULL, 0};
	if (status == KEEP_OK && kp_sql_column(stmt, 1, KP_TEXT, &name, NULL) == KEEP_OK &&
	    kp_text_is_storable(name.bytes))
		status = kp_arena_copy(damaged->arena, name.bytes, &damaged->names[at], err);
	if (status == KEEP_OK)
		status = kp_arena_copy(damaged->arena, keep_bytes_of(why->message),
				       &damaged->reasons[at], err);
	damaged->count += status == KEEP_OK;
	return status;
}

static keep_status put_off_damaged(kp_lease *lease, const struct damaged *damaged, int64_t now_ms,
				   keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < damaged->count && status == KEEP_OK; i++) {
		kp_log(KEEP_LOG_WARNING, "cron job %" KP_PRI ": its row cannot be read: %" KP_PRI,
		       KP_ARG(damaged->names[i]), KP_ARG(damaged->reasons[i]));
		if (damaged->names[i].len)
			status = kp_run_verdict(
				lease, KEEP_JOB_EXECUTION_JOB_TYPE_CRON, damaged->names[i], now_ms,
				KEEP_JOB_EXECUTION_STATUS_FAILED, damaged->reasons[i], now_ms, err);
		if (status == KEEP_OK)
			status = kp_lease_run(lease, KP_ASSISTANT_PUT_OFF_CRON_JOB,
					      KP_VALUES(kp_int_value(damaged->ids[i]),
							kp_time_value(look_again_at(now_ms))),
					      NULL, err);
	}
	return status;
}

/* ---------------------------------------------------------------- what is planned */

static keep_status tell_skipped(const struct ticking *t, const kp_due_plan *plan, keep_error *err)
{
	char first[KEEP_TIME_TEXT_SIZE], last[KEEP_TIME_TEXT_SIZE], text[200];
	const keep_bytes policy = t->job->missed_policy;
	bool is_known = false;
	keep_status status = keep_time_format(plan->skipped.first_ms, first, err);

	if (status == KEEP_OK)
		status = keep_time_format(plan->skipped.last_ms, last, err);
	if (status != KEEP_OK)
		return status;
	if (plan->skipped.count == 1)
		snprintf(text, sizeof text, "a run was missed, at %s; missed_policy is %" KP_PRI,
			 last, KP_ARG(policy));
	else
		snprintf(text, sizeof text,
			 "%zu runs%s were missed, from %s to %s; missed_policy is %" KP_PRI,
			 plan->skipped.count, plan->skipped.is_exact ? "" : " or more", first, last,
			 KP_ARG(policy));
	status = kp_run_is_known(t->lease, t->job->job_id, plan->skipped.last_ms, &is_known, err);
	if (status == KEEP_OK && !is_known)
		status = put_verdict(t, plan->skipped.last_ms, KEEP_JOB_EXECUTION_STATUS_SKIPPED,
				     keep_bytes_of(text), err);
	return status;
}

/* One planned run becomes a row, or a verdict. *is_made: a row. */
static keep_status make_run(const struct ticking *t, const kp_due_run *run, bool *is_made,
			    keep_error *err)
{
	bool is_known = false, has_time = run->verdict == KP_DUE_START;
	keep_status status =
		kp_run_is_known(t->lease, t->job->job_id, run->scheduled_ms, &is_known, err);

	*is_made = false;
	if (status != KEEP_OK || is_known)
		return status;
	if (run->verdict == KP_DUE_SKIP_OVERLAP)
		return put_verdict(t, run->scheduled_ms, KEEP_JOB_EXECUTION_STATUS_SKIPPED,
				   KEEP_BYTES("an earlier run is not done; overlap_policy is skip"),
				   err);
	if (run->verdict == KP_DUE_SKIP_FULL)
		return put_verdict(t, run->scheduled_ms, KEEP_JOB_EXECUTION_STATUS_SKIPPED,
				   KEEP_BYTES("too many runs are waiting; overlap_policy is queue"),
				   err);
	*is_made = true;
	return kp_lease_run(
		t->lease, KP_ASSISTANT_ADD_JOB_RUN,
		KP_VALUES(kp_text_value(t->job->job_id), kp_time_value(run->scheduled_ms),
			  kp_time_or_null(has_time, run->scheduled_ms), kp_bool_value(false),
			  kp_bool_value(run->is_missed), kp_time_value(t->now_ms)),
		NULL, err);
}

static keep_status carry_out(const struct ticking *t, const kp_due_plan *plan, keep_error *err)
{
	const keep_cron_job *job = t->job;
	bool has_last = job->has_last_run_at;
	int64_t last = job->last_run_at;
	keep_status status = plan->skipped.count ? tell_skipped(t, plan, err) : KEEP_OK;

	for (size_t i = 0; i < plan->count && status == KEEP_OK; i++) {
		bool is_made = false;

		status = make_run(t, &plan->runs[i], &is_made, err);
		if (is_made && (!has_last || plan->runs[i].scheduled_ms > last))
			last = plan->runs[i].scheduled_ms;
		has_last |= is_made;
	}
	/* Also when the first of them was known, and the others were to wait for it. */
	if (status == KEEP_OK && kp_job_is_gated(job))
		status = kp_gate_open(t->lease, job->job_id, t->now_ms, err);
	if (status == KEEP_OK)
		status = set_times(t, kp_time_or_null(has_last, last),
				   kp_time_or_null(plan->has_next, plan->next_run_ms),
				   kp_null_value(KP_TIME), err);
	return status;
}

/* Without a call of the database: what fails here is the job's fault, or its zone's file's. */
static keep_status make_plan(const struct ticking *t, int64_t at_ms, kp_due_plan *plan,
			     keep_error *err)
{
	const keep_cron_job *job = t->job;
	keep_schedule *schedule = NULL;
	kp_due_rules rules = {.grace_ms = job->grace_ms};
	keep_status status = kp_job_schedule(job, &schedule, err);

	if (status == KEEP_OK && (!kp_missed_parse(job->missed_policy, &rules.missed) ||
				  !kp_overlap_parse(job->overlap_policy, &rules.overlap)))
		status = kp_fail(err, KEEP_INVALID, "a policy is none");
	if (status == KEEP_OK && (job->run_all_max < 1 || job->run_all_max > KP_DUE_RUNS_MAX))
		status = kp_fail(err, KEEP_INVALID, "run_all_max: 1 to %d are possible",
				 KP_DUE_RUNS_MAX);
	rules.schedule = schedule;
	rules.run_all_max = (unsigned)job->run_all_max;
	if (status == KEEP_OK)
		status = kp_due_plan_make(&rules, at_ms, t->now_ms, t->open > 0,
					  t->open > 0 ? (unsigned)t->open - 1 : 0, plan, err);
	keep_schedule_close(&schedule);
	return status;
}

static keep_status tick_job(struct ticking *t, keep_error *err)
{
	const keep_cron_job *job = t->job;
	int64_t at_ms = job->has_broken_since ? job->broken_since : job->next_run_at;
	keep_error why = KEEP_ERROR_INIT;
	kp_due_plan plan;
	keep_status status =
		kp_lease_int(t->lease, KP_ASSISTANT_COUNT_OPEN_RUNS,
			     KP_VALUES(kp_text_value(job->job_id)), &t->open, NULL, err);

	if (status != KEEP_OK)
		return status;
	status = make_plan(t, at_ms, &plan, &why);
	if (status == KEEP_INVALID || status == KEEP_CORRUPT || status == KEEP_NOT_FOUND)
		return put_off(t, at_ms, why.message, err);
	if (status != KEEP_OK)
		return kp_fail(err, status, "%s", why.message);
	return carry_out(t, &plan, err);
}

static keep_status list_due(kp_lease *lease, int64_t now_ms, kp_arena *arena, keep_cron_job **jobs,
			    size_t *count, struct damaged *damaged, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	void *rows = NULL;
	keep_status status = kp_lease_bind(
		lease, KP_ASSISTANT_DUE_CRON_JOBS,
		KP_VALUES(kp_time_value(now_ms), kp_int_value(JOBS_A_TICK)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_good(stmt, &kp_cron_job_record, arena, &rows, count,
					     note_damaged, damaged, err);
	*jobs = rows;
	return status;
}

keep_status kp_jobs_tick(kp_lease *lease, int64_t now_ms, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct damaged *damaged = kp_arena_alloc(&arena, sizeof *damaged);
	keep_cron_job *jobs = NULL;
	size_t count = 0;
	keep_status status;

	if (!damaged)
		return kp_fail_memory(err, "a tick");
	*damaged = (struct damaged){.arena = &arena};
	status = list_due(lease, now_ms, &arena, &jobs, &count, damaged, err);
	if (status == KEEP_OK)
		status = put_off_damaged(lease, damaged, now_ms, err);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		struct ticking ticking = {.lease = lease, .job = &jobs[i], .now_ms = now_ms};

		status = tick_job(&ticking, err);
	}
	kp_arena_release(&arena);
	return status;
}
