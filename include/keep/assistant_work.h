#ifndef KEEP_ASSISTANT_WORK_H
#define KEEP_ASSISTANT_WORK_H
/*
 * keep/assistant_work.h - an assistant's agents and what they do: tasks, cron and one-time jobs.
 *
 * What it is not: a worker. It says what is to be done and remembers what came of it; a process
 * that claims work does it.
 *
 * Work is leased: whoever claims a task or a run has it until the lease is over, and may extend it.
 * The attempt number fences: who is late and whose lease moved on is CONFLICT, and changes nothing.
 * A lease ends before its time when the process that has it is gone. The rules of keep/assistant.h
 * hold.
 *
 * Threads: as keep/assistant.h.
 */
#include "keep/assistant.h"
#include "keep/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- agents */

typedef struct keep_agent_definition_list {
	keep_agent_definition *items;
	size_t count;
} keep_agent_definition_list;

/*
 * Define an agent under its name, or replace its definition. All but id and the times are read;
 * absent tools and intent_keywords are []. The same definition again changes nothing. INVALID: a
 * priority outside 1 to 10, tools or keywords that are no array of texts, a keyword of more than 8
 * words. FULL: keywords of more than 64 KiB, more than KEEP_ASSISTANT_LIST_MAX agents. CONFLICT:
 * the coordinator may not be disabled. Audited.
 */
KEEP_API keep_status keep_assistant_put_agent(keep_assistant *assistant,
					      const keep_agent_definition *agent,
					      const keep_actor *actor,
					      keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_assistant_get_agent(keep_assistant *assistant, keep_bytes name,
					      keep_memory *memory, keep_agent_definition *out,
					      keep_error *err) KEEP_MUST_CHECK;
/* By priority, highest first, then name; only enabled ones when asked. */
KEEP_API keep_status keep_assistant_list_agents(keep_assistant *assistant, bool only_enabled,
						keep_memory *memory,
						keep_agent_definition_list *out,
						keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_assistant_enable_agent(keep_assistant *assistant, keep_bytes name,
						 bool enabled, const keep_actor *actor,
						 keep_error *err) KEEP_MUST_CHECK;
/* CONFLICT: the coordinator stays. */
KEEP_API keep_status keep_assistant_remove_agent(keep_assistant *assistant, keep_bytes name,
						 const keep_actor *actor,
						 keep_error *err) KEEP_MUST_CHECK;
/* Back to what a new store has; NOT_FOUND: not one of the defaults. */
KEEP_API keep_status keep_assistant_reset_agent(keep_assistant *assistant, keep_bytes name,
						const keep_actor *actor,
						keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_agent_choice {
	keep_agent_definition agent;
	int64_t matches; /* how many of its keywords the text has */
} keep_agent_choice;

typedef struct keep_agent_choices {
	keep_agent_choice *items;
	size_t count;
} keep_agent_choices;

/* Who is meant by a text: enabled agents, those with more intent keywords in it first (whole words,
   case and accents aside), then by priority, then name; at most `limit` (0: 5). */
KEEP_API keep_status keep_assistant_select_agents(keep_assistant *assistant, keep_bytes text,
						  size_t limit, keep_memory *memory,
						  keep_agent_choices *out,
						  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- tasks
 *
 *     pending ── claim ──> running ──> completed | failed | cancelled
 *        │                    │
 *        └── cancel           └─ lease over ──> interrupted ── retry ──> pending
 *
 * failed and interrupted may be retried by hand. Everything else is final.
 */

typedef struct keep_agent_task_list {
	keep_agent_task *items;
	size_t count;
} keep_agent_task_list;

/* Ask for work: task_id (absent: a UUID, written to id_out, which may be NULL), conversation_id,
   agent_name, action and parameters are read. The same task_id with the same values: *inserted is
   false; other values CONFLICT. NOT_FOUND: no such conversation. */
KEEP_API keep_status keep_assistant_add_task(keep_assistant *assistant, const keep_agent_task *task,
					     int64_t now_ms, char id_out[37], bool *inserted,
					     keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_assistant_get_task(keep_assistant *assistant, keep_bytes task_id,
					     keep_memory *memory, keep_agent_task *out,
					     keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_task_filter {
	keep_bytes conversation_id, agent_name, status; /* absent: any */
	int64_t before_id;                              /* 0: the newest */
} keep_task_filter;
/* Newest first, at most `limit` (0: 50). */
KEEP_API keep_status keep_assistant_list_tasks(keep_assistant *assistant,
					       const keep_task_filter *filter, size_t limit,
					       keep_memory *memory, keep_agent_task_list *out,
					       keep_error *err) KEEP_MUST_CHECK;
/*
 * Take the oldest pending tasks (of an agent; absent: of any), at most `limit` (0: 1), for lease_ms
 * (0: 10 minutes). They are running, with one attempt more. What ran out elsewhere becomes
 * interrupted first.
 */
KEEP_API keep_status keep_assistant_claim_tasks(keep_assistant *assistant, keep_bytes agent_name,
						size_t limit, int64_t lease_ms, int64_t now_ms,
						keep_memory *memory, keep_agent_task_list *out,
						keep_error *err) KEEP_MUST_CHECK;
/* The lease lasts lease_ms (0: 10 minutes; at most a day) from now, and is this process's.
   *cancel_asked (may be NULL): the task is to stop; report it as cancelled. CONFLICT: the lease
   moved on. */
KEEP_API keep_status keep_assistant_extend_task(keep_assistant *assistant, keep_bytes task_id,
						int64_t attempt, int64_t lease_ms, int64_t now_ms,
						bool *cancel_asked,
						keep_error *err) KEEP_MUST_CHECK;
/* `status`: completed (with `result`, JSON or absent), failed or cancelled (with `error_message`).
   The same report again is OK; CONFLICT: the lease moved on, or it ended otherwise. */
KEEP_API keep_status keep_assistant_finish_task(keep_assistant *assistant, keep_bytes task_id,
						int64_t attempt, keep_bytes status,
						keep_bytes result, keep_bytes error_message,
						int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;
/* A pending one is cancelled at once, and so is a running one whose lease is over; any other
   running one is asked to stop. *is_final: which of them. CONFLICT: it has ended otherwise;
   cancelled already is OK. */
KEEP_API keep_status keep_assistant_cancel_task(keep_assistant *assistant, keep_bytes task_id,
						keep_bytes reason, int64_t now_ms, bool *is_final,
						keep_error *err) KEEP_MUST_CHECK;
/* Sleep until a task of the agent (absent: of any) waits to be claimed, at most timeout_ms (0: only
   look; below 0: for ever). */
KEEP_API keep_status keep_assistant_wait_tasks(keep_assistant *assistant, keep_bytes agent_name,
					       int64_t timeout_ms, bool *found,
					       keep_error *err) KEEP_MUST_CHECK;
/* failed or interrupted becomes pending again; else CONFLICT. */
KEEP_API keep_status keep_assistant_retry_task(keep_assistant *assistant, keep_bytes task_id,
					       int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- cron jobs and one-time tasks
 *
 * A run is identified by (job, the time it is due): it exists once, whoever ticks, however often.
 * Each attempt of it is one row of job_executions. docs/jobs.md has the pictures.
 */

typedef struct keep_cron_job_list {
	keep_cron_job *items;
	size_t count;
} keep_cron_job_list;

/*
 * Make a job, or replace its definition: all but id, last_run_at, next_run_at and the times are
 * read; job_id absent: a UUID, written to id_out (may be NULL). next_run_at is made of the
 * expression (in its timezone and dialect) from now on; an unchanged expression, timezone and
 * dialect leave it. INVALID: an expression that cannot be read or never fires, an unknown zone, a
 * tool job without tool_name, a prompt job without prompt. Audited.
 */
KEEP_API keep_status keep_assistant_put_cron_job(keep_assistant *assistant,
						 const keep_cron_job *job, int64_t now_ms,
						 const keep_actor *actor, char id_out[37],
						 keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_assistant_get_cron_job(keep_assistant *assistant, keep_bytes job_id,
						 keep_memory *memory, keep_cron_job *out,
						 keep_error *err) KEEP_MUST_CHECK;
/* By name, then id. */
KEEP_API keep_status keep_assistant_list_cron_jobs(keep_assistant *assistant, bool only_enabled,
						   keep_memory *memory, keep_cron_job_list *out,
						   keep_error *err) KEEP_MUST_CHECK;
/*
 * Enabled again, it is next due from now on; disabled, it is not due, what waits (also to be tried
 * again, but for runs by hand) is cancelled, and what runs runs on. Audited.
 */
KEEP_API keep_status keep_assistant_enable_cron_job(keep_assistant *assistant, keep_bytes job_id,
						    bool enabled, int64_t now_ms,
						    const keep_actor *actor,
						    keep_error *err) KEEP_MUST_CHECK;
/* The job, its dead letters and what waits of it; its executions stay. What runs can still be
   finished. Audited. */
KEEP_API keep_status keep_assistant_remove_cron_job(keep_assistant *assistant, keep_bytes job_id,
						    const keep_actor *actor,
						    keep_error *err) KEEP_MUST_CHECK;
/* A run of now, beside the expression's (also of a disabled job); the overlap policy holds:
   CONFLICT when it would be skipped. *scheduled_for: its identity, now or the next
   millisecond that names no other run. A one-time task that is pending becomes due. Audited. */
KEEP_API keep_status keep_assistant_run_now(keep_assistant *assistant, keep_bytes job_id,
					    int64_t now_ms, const keep_actor *actor,
					    int64_t *scheduled_for,
					    keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_future_task_list {
	keep_future_task *items;
	size_t count;
} keep_future_task_list;

/* A task for one time: task_id (absent: a UUID, to id_out), name, description, conversation_id,
   scheduled_time, job_type, tool_name, tool_parameters, prompt, timeout_ms and max_attempts (0: the
   defaults) are read. A time that is past is due at once. The same task_id with the same values:
   *inserted is false; else CONFLICT. Audited. */
KEEP_API keep_status keep_assistant_add_future_task(keep_assistant *assistant,
						    const keep_future_task *task, int64_t now_ms,
						    const keep_actor *actor, char id_out[37],
						    bool *inserted,
						    keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_assistant_get_future_task(keep_assistant *assistant, keep_bytes task_id,
						    keep_memory *memory, keep_future_task *out,
						    keep_error *err) KEEP_MUST_CHECK;
/* Of a status (absent: any), latest scheduled_time first, at most `limit` (0: 50), before a time
   (0: all). */
KEEP_API keep_status keep_assistant_list_future_tasks(keep_assistant *assistant, keep_bytes status,
						      int64_t before_ms, size_t limit,
						      keep_memory *memory,
						      keep_future_task_list *out,
						      keep_error *err) KEEP_MUST_CHECK;
/* Cancel a one-time task, or the open runs of a cron job: what waits is cancelled, what runs is
   asked to stop (its next extend tells). *count: how many. CONFLICT: the task has ended. Audited.
 */
KEEP_API keep_status keep_assistant_cancel_job(keep_assistant *assistant, keep_bytes job_id,
					       int64_t now_ms, const keep_actor *actor,
					       int64_t *count, keep_error *err) KEEP_MUST_CHECK;

/* An attempt that was claimed, and what it is to do. */
typedef struct keep_claimed_run {
	keep_bytes job_id;
	keep_bytes run_type; /* cron or future_task */
	keep_bytes name;
	keep_bytes job_type; /* tool or prompt */
	keep_bytes tool_name, tool_parameters, prompt;
	keep_bytes conversation_id; /* of a one-time task */
	int64_t scheduled_for;
	int64_t attempt;
	int64_t execution_id; /* its row of job_executions */
	int64_t deadline_ms;  /* its timeout */
	int64_t lease_until;
	bool is_missed, is_by_hand;
} keep_claimed_run;

typedef struct keep_claimed_runs {
	keep_claimed_run *items;
	size_t count;
} keep_claimed_runs;

/*
 * Tick and take: cron jobs that are due make their runs (missed and overlap policy), attempts whose
 * lease or timeout is over or whose process is gone are ended (interrupted, or failed by timeout)
 * and tried again or made dead letters, and at most `limit` (0: 1) runs that are due are taken for
 * lease_ms (0: 2 minutes; never beyond the timeout). Any number of schedulers may tick at once.
 * *next_due_ms (may be NULL): when to come again by itself (0: nothing is planned).
 */
KEEP_API keep_status keep_assistant_claim_due(keep_assistant *assistant, size_t limit,
					      int64_t lease_ms, int64_t now_ms, keep_memory *memory,
					      keep_claimed_runs *out, int64_t *next_due_ms,
					      keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_assistant_extend_run(keep_assistant *assistant, keep_bytes job_id,
					       int64_t scheduled_for, int64_t attempt,
					       int64_t lease_ms, int64_t now_ms, bool *cancel_asked,
					       keep_error *err) KEEP_MUST_CHECK;
/* `status`: success, failed, cancelled or skipped (nothing was to do). A failed attempt is tried
   again after a delay that grows, until max_attempts; then the run is a dead letter. The same
   report again is OK. CONFLICT: the attempt is over. */
KEEP_API keep_status keep_assistant_finish_run(keep_assistant *assistant, keep_bytes job_id,
					       int64_t scheduled_for, int64_t attempt,
					       keep_bytes status, keep_bytes result,
					       keep_bytes error_message, keep_bytes container_id,
					       int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;
/* Sleep until a run is due, at most timeout_ms (0: only look; below 0: for ever). */
KEEP_API keep_status keep_assistant_wait_due(keep_assistant *assistant, int64_t timeout_ms,
					     bool *due, keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_execution_view {
	keep_job_execution execution;
	keep_bytes name; /* of the job, while it is there */
} keep_execution_view;

typedef struct keep_execution_list {
	keep_execution_view *items;
	size_t count;
} keep_execution_list;

/* Attempts, newest first: of a job (absent: of all), of a status (absent: any), before an id (0:
   the newest), at most `limit` (0: 20). */
KEEP_API keep_status keep_assistant_history(keep_assistant *assistant, keep_bytes job_id,
					    keep_bytes status, int64_t before_id, size_t limit,
					    keep_memory *memory, keep_execution_list *out,
					    keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_job_run_list {
	keep_job_run *items;
	size_t count;
} keep_job_run_list;

/* Runs of cron jobs that failed for good, oldest first; of a job, or of all (absent). A one-time
   task that failed for good is one too: its job_id is the task's. */
KEEP_API keep_status keep_assistant_list_dead_letters(keep_assistant *assistant, keep_bytes job_id,
						      size_t limit, keep_memory *memory,
						      keep_job_run_list *out,
						      keep_error *err) KEEP_MUST_CHECK;
/* Try it again from the beginning of its attempts. Audited. NOT_FOUND: no dead letter. */
KEEP_API keep_status keep_assistant_retry_dead_letter(keep_assistant *assistant, keep_bytes job_id,
						      int64_t scheduled_for, int64_t now_ms,
						      const keep_actor *actor,
						      keep_error *err) KEEP_MUST_CHECK;
/* Put away dead letters (of a job; absent: all); their executions stay. *count. Audited. */
KEEP_API keep_status keep_assistant_clear_dead_letters(keep_assistant *assistant, keep_bytes job_id,
						       const keep_actor *actor, int64_t *count,
						       keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
