/*
 * job_run_now.c - a run that somebody asks for, beside the expression's.
 *
 * Invariants:
 *   1. Its time is now, or the first millisecond after it that names no other run: none that was,
 *      and none that the expression will make. So it never takes a planned run's place.
 *   2. The overlap policy holds: what would be skipped is refused, what would wait, waits.
 *   3. next_run_at does not move.
 *
 * What it does not do: run it in the caller's time; a scheduler takes it like any other.
 *
 * Tests: tests/contract/test_assistant_jobs.c, tests/contract/test_assistant_future_tasks.c.
 */
#include "assistant/assistant_jobs.h"

enum { TRIES_MAX = 100000 };

struct asking {
	keep_bytes job_id;
	int64_t now_ms;
	const keep_actor *actor;
	int64_t scheduled_for; /* out */
};

/* Invariant 1. */
static keep_status find_free_time(struct asking *asking, kp_lease *lease, const keep_cron_job *job,
				  keep_error *err)
{
	keep_schedule *schedule = NULL;
	int64_t at_ms = asking->now_ms;
	/* One that cannot be read has no times to keep clear of. */
	keep_status status = kp_job_schedule(job, &schedule, NULL);

	if (status != KEEP_NO_MEMORY)
		status = KEEP_OK;
	else
		status = kp_fail_memory(err, "a schedule");
	for (int i = 0; i < TRIES_MAX && status == KEEP_OK; i++, at_ms++) {
		bool is_taken = false;

		if ((schedule && keep_schedule_matches(schedule, at_ms)) ||
		    (job->has_next_run_at && job->next_run_at == at_ms))
			continue;
		status = kp_run_is_known(lease, job->job_id, at_ms, &is_taken, err);
		if (status != KEEP_OK || !is_taken)
			break;
	}
	keep_schedule_close(&schedule);
	asking->scheduled_for = at_ms;
	return status == KEEP_OK ? kp_check_time("now_ms", at_ms, err) : status;
}

static keep_status add_run(struct asking *asking, kp_lease *lease, const keep_cron_job *job,
			   int64_t open, keep_error *err)
{
	bool has_time = !open || !kp_job_is_gated(job);
	keep_status status = find_free_time(asking, lease, job, err);
	int64_t last = asking->scheduled_for;

	if (status == KEEP_OK)
		status = kp_lease_run(
			lease, KP_ASSISTANT_ADD_JOB_RUN,
			KP_VALUES(kp_text_value(job->job_id), kp_time_value(asking->scheduled_for),
				  kp_time_or_null(has_time, asking->now_ms), kp_bool_value(true),
				  kp_bool_value(false), kp_time_value(asking->now_ms)),
			NULL, err);
	if (job->has_last_run_at && job->last_run_at > last)
		last = job->last_run_at;
	if (status == KEEP_OK)
		status = kp_lease_run(
			lease, KP_ASSISTANT_SET_CRON_JOB_TIMES,
			KP_VALUES(kp_text_value(job->job_id), kp_time_value(last),
				  kp_time_or_null(job->has_next_run_at, job->next_run_at),
				  kp_time_or_null(job->has_broken_since, job->broken_since)),
			NULL, err);
	return status;
}

/* Invariant 2. */
static keep_status run_job(struct asking *asking, kp_lease *lease, const keep_cron_job *job,
			   keep_error *err)
{
	int64_t open = 0;
	keep_status status = kp_lease_int(lease, KP_ASSISTANT_COUNT_OPEN_RUNS,
					  KP_VALUES(kp_text_value(job->job_id)), &open, NULL, err);

	if (status == KEEP_OK && open &&
	    kp_bytes_equal(job->overlap_policy, KEEP_BYTES(KEEP_CRON_JOB_OVERLAP_POLICY_SKIP)))
		return kp_fail(err, KEEP_CONFLICT,
			       "cron job '%" KP_PRI "': an earlier run is not done",
			       KP_ARG(job->job_id));
	if (status == KEEP_OK && open > KP_DUE_RUNS_MAX && kp_job_is_gated(job))
		return kp_fail(err, KEEP_CONFLICT, "cron job '%" KP_PRI "': too many runs wait",
			       KP_ARG(job->job_id));
	return status == KEEP_OK ? add_run(asking, lease, job, open, err) : status;
}

static keep_status run_task(struct asking *asking, kp_lease *lease, const keep_future_task *task,
			    kp_arena *arena, keep_error *err)
{
	kp_open_run run;
	keep_status status;

	asking->scheduled_for = task->scheduled_time;
	if (!kp_bytes_equal(task->status, KEEP_BYTES(KEEP_FUTURE_TASK_STATUS_PENDING)))
		return kp_fail(err, KEEP_CONFLICT,
			       "one-time task '%" KP_PRI "': it does not wait, it is %" KP_PRI,
			       KP_ARG(task->task_id), KP_ARG(task->status));
	status = kp_run_load(lease, (kp_run_key){true, task->id}, arena, &run, err);
	if (status != KEEP_OK || (run.run.has_due_at && run.run.due_at <= asking->now_ms))
		return status;
	run.run.has_due_at = true;
	run.run.due_at = asking->now_ms;
	return kp_run_save(lease, &run, KEEP_FUTURE_TASK_STATUS_PENDING, (keep_bytes){NULL, 0},
			   asking->now_ms, err);
}

static keep_status apply_run_now(void *ctx, kp_lease *lease, keep_error *err)
{
	struct asking *asking = ctx;
	kp_arena arena = {.head = NULL};
	keep_cron_job job = {.id = 0};
	keep_future_task task = {.id = 0};
	bool is_job = false, is_task = false;
	keep_status status = kp_job_find(lease, asking->job_id, &arena, &job, &is_job, err);

	if (status == KEEP_OK && !is_job)
		status = kp_task_find(lease, asking->job_id, &arena, &task, &is_task, err);
	if (status == KEEP_OK && is_job)
		status = run_job(asking, lease, &job, err);
	else if (status == KEEP_OK && is_task)
		status = run_task(asking, lease, &task, &arena, err);
	else if (status == KEEP_OK)
		status = kp_fail(err, KEEP_NOT_FOUND,
				 "job '%" KP_PRI "': there is none, nor such a one-time task",
				 KP_ARG(asking->job_id));
	if (status == KEEP_OK)
		status = kp_job_audit(lease,
				      &(kp_job_note){.action = "run_now",
						     .actor = asking->actor,
						     .job_id = asking->job_id,
						     .name = is_job ? job.name : task.name,
						     .scheduled_for = asking->scheduled_for},
				      err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_run_now(keep_assistant *assistant, keep_bytes job_id, int64_t now_ms,
				   const keep_actor *actor, int64_t *scheduled_for, keep_error *err)
{
	struct asking asking = {
		.job_id = job_id, .now_ms = kp_assistant_now(now_ms), .actor = actor};
	keep_status status = kp_check_key("job_id", job_id, err);

	if (status == KEEP_OK)
		status = kp_check_time("now_ms", asking.now_ms, err);
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_run_now, &asking, KP_NEWS_DUE,
					 err);
	if (status == KEEP_OK && scheduled_for)
		*scheduled_for = asking.scheduled_for;
	return status;
}
