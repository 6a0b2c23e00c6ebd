#ifndef KP_ASSISTANT_JOBS_H
#define KP_ASSISTANT_JOBS_H
/*
 * assistant_jobs.h - what the files about cron jobs, one-time tasks and their runs share.
 *
 * A one-time task is its own run: its row has what job_runs has of a cron job's. kp_open_run reads
 * either as a keep_job_run, so that claiming, ending, cancelling know one kind. docs/jobs.md draws
 * the states.
 */
#include "assistant/assistant_private.h"

/* An attempt that failed is followed by the next one after this, up to the run's max_attempts. */
enum {
	KP_RETRY_FIRST_MS = 30000,
	KP_RETRY_FACTOR = 2,
	KP_RETRY_MAX_MS = 3600000,
	KP_RETRY_JITTER_PERCENT = 20, /* so much shorter at most, at random */
};

enum {
	KP_JOB_ATTEMPTS_DEFAULT = 3,
	KP_JOB_ATTEMPTS_MAX = 100,
	KP_CRON_TIMEOUT_MS = 1200000,
	KP_TASK_TIMEOUT_MS = 600000,
	KP_RUN_ALL_DEFAULT = 10,
	KP_BROKEN_LOOK_MS = 3600000, /* an expression that cannot be read is looked at again */
};
#define KP_JOB_TIMEOUT_MAX_MS (INT64_C(30) * 86400000)

/* ---------------------------------------------------------------- definitions (jobs.c) */

/* What a job and a one-time task have in common: a tool with its name or a prompt with its text. */
keep_status kp_check_work(keep_bytes job_type, keep_bytes tool_name, keep_bytes tool_parameters,
			  keep_bytes prompt, keep_error *err) KEEP_MUST_CHECK;
/* `given` within 1 to `max`; 0 becomes the fallback. */
keep_status kp_check_count(const char *what, int64_t *given, int64_t fallback, int64_t max,
			   keep_error *err) KEEP_MUST_CHECK;
/* The schedule of a stored job; close it. INVALID, CORRUPT: it cannot be read. */
keep_status kp_job_schedule(const keep_cron_job *job, keep_schedule **out,
			    keep_error *err) KEEP_MUST_CHECK;
/* *found is false when there is none. */
keep_status kp_job_find(kp_lease *lease, keep_bytes job_id, kp_arena *arena, keep_cron_job *out,
			bool *found, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_task_find(kp_lease *lease, keep_bytes task_id, kp_arena *arena,
			 keep_future_task *out, bool *found, keep_error *err) KEEP_MUST_CHECK;
/* Whether a job's runs follow each other. */
static inline bool kp_job_is_gated(const keep_cron_job *job)
{
	return !kp_bytes_equal(job->overlap_policy,
			       keep_bytes_of(KEEP_CRON_JOB_OVERLAP_POLICY_ALLOW));
}
/* A time for a statement, or null. */
static inline kp_value kp_time_or_null(bool is_there, int64_t time_ms)
{
	return is_there ? kp_time_value(time_ms) : kp_null_value(KP_TIME);
}

/* An entry of the audit log: event_type job_change, with what is not absent or 0. */
typedef struct kp_job_note {
	const char *action;
	const keep_actor *actor;
	keep_bytes job_id;
	keep_bytes name;
	int64_t scheduled_for; /* 0: none */
	const char *counted;   /* the name of `count`; NULL: none */
	int64_t count;
} kp_job_note;
keep_status kp_job_audit(kp_lease *lease, const kp_job_note *note, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- runs (job_runs.c) */

/* A run that is not done, with what it is a run of. */
typedef struct kp_open_run {
	bool is_task;
	keep_job_run run; /* of a one-time task: its row, read as a run's */
	bool has_job;     /* false: the job was removed while it ran */
	keep_cron_job job;
	keep_future_task task;
} kp_open_run;

/* The row of a run: of job_runs, or of future_tasks. */
typedef struct kp_run_key {
	bool is_task;
	int64_t id;
} kp_run_key;

/* The keys that a statement answers, at most `limit`. */
keep_status kp_run_keys(kp_lease *lease, size_t statement, const kp_value *values,
			size_t value_count, size_t limit, kp_arena *arena, kp_run_key **keys,
			size_t *count, keep_error *err) KEEP_MUST_CHECK;
/* CORRUPT: the row, or that of its job, cannot be read. */
keep_status kp_run_load(kp_lease *lease, kp_run_key key, kp_arena *arena, kp_open_run *out,
			keep_error *err) KEEP_MUST_CHECK;
/* The run that a row of job_executions is an attempt of, when that attempt is under way. */
keep_status kp_run_of_attempt(kp_lease *lease, const keep_job_execution *execution, kp_arena *arena,
			      kp_open_run *out, bool *found, keep_error *err) KEEP_MUST_CHECK;
/* A row that cannot be read becomes a dead letter, or a failed task, for `why`. */
keep_status kp_run_bury(kp_lease *lease, kp_run_key key, const char *why, int64_t now_ms,
			keep_error *err) KEEP_MUST_CHECK;
/* Write what a step changed; `task_status` is for a task. */
keep_status kp_run_save(kp_lease *lease, const kp_open_run *run, const char *task_status,
			keep_bytes result, int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;

/* How an attempt ended: success, failed, cancelled, skipped, interrupted. */
typedef struct kp_outcome {
	keep_bytes status, result, error_message, container_id;
} kp_outcome;

/* End the attempt that is under way, and decide what becomes of the run. `random`: any 64 bits. */
keep_status kp_run_end_attempt(kp_lease *lease, kp_open_run *run, const kp_outcome *outcome,
			       int64_t now_ms, uint64_t random, keep_error *err) KEEP_MUST_CHECK;
/* A row of job_executions for a run, or a time, that had no attempt: number 0. */
keep_status kp_run_verdict(kp_lease *lease, const char *job_type, keep_bytes job_id,
			   int64_t scheduled_for, const char *status, keep_bytes why,
			   int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;
/* A run of a cron job leaves without an attempt: cancelled, for `why`. */
keep_status kp_run_drop(kp_lease *lease, const keep_job_run *run, const char *why, int64_t now_ms,
			keep_error *err) KEEP_MUST_CHECK;
/* Let the next of a job's runs through, when none is under way. */
keep_status kp_gate_open(kp_lease *lease, keep_bytes job_id, int64_t now_ms,
			 keep_error *err) KEEP_MUST_CHECK;
/* All open runs of a job, oldest first. */
keep_status kp_runs_of_job(kp_lease *lease, keep_bytes job_id, kp_arena *arena, keep_job_run **runs,
			   size_t *count, keep_error *err) KEEP_MUST_CHECK;
/* Was (job, time) ever a run? */
keep_status kp_run_is_known(kp_lease *lease, keep_bytes job_id, int64_t scheduled_for, bool *known,
			    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the tick (job_tick.c) */

/* Inside a writing transaction: cron jobs that are due make their runs. */
keep_status kp_jobs_tick(kp_lease *lease, int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;

#endif
