#ifndef KP_GATEWAY_TASKS_H
#define KP_GATEWAY_TASKS_H
/*
 * gateway_tasks.h - what the files of scheduled tasks share: gateway_tasks.c (their life),
 * task_schedule.c (a row's schedule), task_fire.c (what is due), task_runs.c (the log).
 *
 *                  pause              resume
 *        active ──────────> paused ──────────> active
 *        active ──────────> completed    one time only and done, or the series is over
 *        active ──────────> failed ───────────> active     resume
 *        active, paused, failed ──> cancelled
 *
 * `firing` is what another program calls an active task that it has claimed. No step of ours leads
 * to it, for here a run is claimed and done in one transaction; whatever is possible from active is
 * possible from firing. The table in gateway_tasks.c is this drawing, and every change asks it.
 */
#include "gateway/gateway_private.h"

/* A task's id is part of the id and of the sender of its messages, which have the same limit. */
#define KP_TASK_ID_MAX (KEEP_GATEWAY_TEXT_MAX - 32)
#define KP_TASK_INTERVAL_MIN_MS 1000
#define KP_TASK_RUN_ALL_DEFAULT 10

/* ---------------------------------------------------------------- steps (gateway_tasks.c) */

typedef enum kp_task_step {
	KP_TASK_GO_ON,    /* fired, or failed and tried again; its series goes on */
	KP_TASK_COMPLETE, /* fired for the last time */
	KP_TASK_FAIL,     /* given up */
	KP_TASK_PAUSE,
	KP_TASK_RESUME,
	KP_TASK_CANCEL,
	KP_TASK_RUN_NOW /* changes nothing, but is not for cancelled ones */
} kp_task_step;

/* The state that a step leads to from `status`; NULL: not a step of the drawing. */
const char *kp_task_step_find(kp_task_step step, keep_bytes status);
/* Read one inside a transaction; NOT_FOUND names it. */
keep_status kp_task_load(kp_lease *lease, keep_bytes id, kp_arena *arena, keep_scheduled_task *out,
			 keep_error *err) KEEP_MUST_CHECK;
/* Write what a step changed: next_run, attempts, last_error, last_run, retry_of and the lease of
   `task`, and the state that the step leads to. CONFLICT: there is no such step. */
keep_status kp_task_save(kp_lease *lease, const keep_scheduled_task *task, kp_task_step step,
			 keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- schedules (task_schedule.c) */

/* The task's schedule; *out is NULL for one time only. INVALID names the column at fault. */
keep_status kp_task_schedule(const keep_scheduled_task *task, keep_schedule **out,
			     keep_error *err) KEEP_MUST_CHECK;
/* The rules of its due runs; `schedule` may be NULL and is borrowed. INVALID as above. */
keep_status kp_task_rules(const keep_scheduled_task *task, const keep_schedule *schedule,
			  kp_due_rules *out, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- runs (task_runs.c) */

#define KP_TASK_MESSAGE_ID_SIZE (KEEP_GATEWAY_TEXT_MAX + 1)

/* The line of a run; zeroed when there is none. */
keep_status kp_task_run_read(kp_lease *lease, keep_bytes task_id, int64_t scheduled_ms,
			     kp_arena *arena, keep_task_run *run, bool *found,
			     keep_error *err) KEEP_MUST_CHECK;
/* Its message was stored: it says so, or names it. An adopted line names none, and one whose agent
   reported an error is no success. */
bool kp_task_run_is_made(const keep_task_run *run);
/* Write task_id, scheduled_for, run_at, status, error and message_id of `run`; *saved is the line
   as it is now. Not *is_saved: its message is stored, and it stays as it was. */
keep_status kp_task_run_save(kp_lease *lease, const keep_task_run *run, kp_arena *memory,
			     keep_task_run *saved, bool *is_saved, keep_error *err) KEEP_MUST_CHECK;
/* `before`, and `text` as one more line; both may be absent. Lives in `arena`, or is one of them.
 */
keep_status kp_task_errors_join(keep_bytes before, keep_bytes text, kp_arena *arena,
				keep_bytes *out, keep_error *err) KEEP_MUST_CHECK;
/* "sched-<task>-<ms>" */
keep_bytes kp_task_message_id(keep_bytes task_id, int64_t scheduled_ms,
			      char text[KP_TASK_MESSAGE_ID_SIZE]);
/* Put the task's prompt into its chat, sent now by the scheduler. */
keep_status kp_task_put_prompt(kp_lease *lease, const keep_scheduled_task *task, keep_bytes id,
			       int64_t now_ms, keep_put_result *result,
			       keep_error *err) KEEP_MUST_CHECK;

#endif
