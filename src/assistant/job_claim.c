/*
 * job_claim.c - schedulers: what is due is taken, and what others left behind is ended.
 *
 * A claim looks first, without a lock; only when something is due, or a process that had something
 * is gone, it becomes a writing transaction, which does three things in this order: it ends
 * attempts whose lease or time is over or whose process is gone (job_runs.c decides what follows),
 * lets cron jobs make their runs (job_tick.c), and takes what is due.
 *
 * Invariants:
 *   1. A claim that finds nothing writes nothing, and costs six looks at indexes and the attempts
 *      under way, whatever the history is.
 *   2. An attempt is taken with its row of job_executions in one transaction: there is no moment
 *      in which one is there without the other.
 *   3. A lease ends with the attempt's deadline at the latest. What ends at its deadline is failed;
 *      what ends before, is interrupted.
 *   4. Fairness: what has waited longest comes first; among the FAIR_AMONG that have waited
 *      longest, every job has its first before any has its second.
 *   5. A row that cannot be read harms no other: it becomes a dead letter.
 *   6. next_due_ms is exact: nothing is due before it, unless somebody changes something, and that
 *      is news (KP_NEWS_DUE).
 *
 * What it does not do: run anything.
 *
 * Tests: tests/contract/test_assistant_jobs.c, tests/contract/test_assistant_future_tasks.c,
 * tests/crash/test_assistant_jobs_crash.c.
 */
#include "assistant/assistant_jobs.h"

#include <stdio.h>

enum { LEASE_DEFAULT_MS = 120000, FAIR_AMONG = 1000, ENDED_AT_ONCE = 100, OWNERS_MAX = 1000 };

/* ---------------------------------------------------------------- looking */

/* What a look at the indexes finds. */
struct due_look {
	const keep_assistant *assistant;
	int64_t now_ms;
	kp_arena *arena;
	bool is_due;
	int64_t next_ms;  /* 0: nothing is planned */
	keep_bytes *gone; /* owners that are no more, and have something */
	size_t gone_count;
};

static void note_next(struct due_look *look, int64_t time_ms)
{
	if (!look->next_ms || time_ms < look->next_ms)
		look->next_ms = time_ms;
}

static keep_status read_times(struct due_look *look, kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_ASSISTANT_LOOK_FOR_DUE,
					   KP_VALUES(kp_time_value(look->now_ms)), &stmt, err);

	look->is_due = false;
	look->next_ms = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	for (int i = 0; i < 6 && status == KEEP_OK && has_row; i++) {
		kp_value value = {.is_null = true};

		status = kp_sql_column(stmt, i, i < 3 ? KP_INT : KP_TIME, &value, err);
		if (status == KEEP_CORRUPT && i >= 3) {
			/* Some row has a time that is none. It is told of when it comes first. */
			note_next(look, look->now_ms + KP_BROKEN_LOOK_MS);
			status = KEEP_OK;
			continue;
		}
		if (status == KEEP_OK && !value.is_null && i < 3)
			look->is_due = true;
		else if (status == KEEP_OK && !value.is_null)
			note_next(look, value.integer);
	}
	kp_sql_reset(stmt);
	if (look->is_due)
		look->next_ms = look->now_ms;
	return status;
}

static keep_status read_owners(struct due_look *look, kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_ASSISTANT_RUNNING_OWNERS, NULL, 0, &stmt, err);

	look->gone_count = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && look->gone_count < OWNERS_MAX) {
		keep_bytes owner;

		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &owner, err);
		if (status == KEEP_OK &&
		    !kp_bytes_equal(owner, keep_bytes_of(look->assistant->owner)) &&
		    kp_owner_check(owner, INT64_MAX, 0) == KP_OWNER_GONE) {
			if (!look->gone)
				look->gone = kp_arena_alloc(look->arena,
							    OWNERS_MAX * sizeof *look->gone);
			if (look->gone)
				status = kp_arena_copy(look->arena, owner,
						       &look->gone[look->gone_count++], err);
			else
				status = kp_fail_memory(err, "a list of owners");
		}
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status query_look(void *ctx, kp_lease *lease, keep_error *err)
{
	struct due_look *look = ctx;
	keep_status status = read_times(look, lease, err);

	return status == KEEP_OK ? read_owners(look, lease, err) : status;
}

/* ---------------------------------------------------------------- ending what was left behind */

struct claim {
	keep_assistant *assistant;
	const struct due_look *look;
	int64_t limit, lease_ms, now_ms;
	uint64_t random;
	kp_arena *memory; /* the caller's */
	keep_claimed_runs taken;
	int64_t next_due_ms;
};

/* Why a running attempt is over. */
static kp_outcome judge_end(const keep_job_run *run, const char *reason, int64_t now_ms)
{
	if (run->has_deadline_at && run->deadline_at <= now_ms)
		return (kp_outcome){.status = KEEP_BYTES(KEEP_JOB_EXECUTION_STATUS_FAILED),
				    .error_message = KEEP_BYTES("timed out")};
	return (kp_outcome){.status = KEEP_BYTES(KEEP_JOB_EXECUTION_STATUS_INTERRUPTED),
			    .error_message = keep_bytes_of(reason)};
}

static keep_status end_one(struct claim *claim, kp_lease *lease, kp_run_key key, const char *reason,
			   keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_error why = KEEP_ERROR_INIT;
	kp_open_run run;
	keep_status status = kp_run_load(lease, key, &arena, &run, &why);

	if (status == KEEP_CORRUPT) {
		status = kp_run_bury(lease, key, why.message, claim->now_ms, err);
	} else if (status == KEEP_OK) {
		kp_outcome outcome = judge_end(&run.run, reason, claim->now_ms);

		status = kp_run_end_attempt(lease, &run, &outcome, claim->now_ms, claim->random,
					    err);
	} else {
		status = kp_fail(err, status, "%s", why.message);
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status end_listed(struct claim *claim, kp_lease *lease, size_t statement, kp_value what,
			      const char *reason, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_run_key *keys = NULL;
	size_t count = 0;
	keep_status status =
		kp_run_keys(lease, statement, KP_VALUES(what, kp_int_value(ENDED_AT_ONCE)),
			    ENDED_AT_ONCE, &arena, &keys, &count, err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = end_one(claim, lease, keys[i], reason, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status end_what_is_over(struct claim *claim, kp_lease *lease, keep_error *err)
{
	keep_status status = end_listed(claim, lease, KP_ASSISTANT_EXPIRED_RUNS,
					kp_time_value(claim->now_ms), "its lease is over", err);

	for (size_t i = 0; i < claim->look->gone_count && status == KEEP_OK; i++)
		status =
			end_listed(claim, lease, KP_ASSISTANT_RUNS_OF_OWNER,
				   kp_text_value(claim->look->gone[i]), "its process is gone", err);
	return status;
}

/* ---------------------------------------------------------------- taking */

static void describe_claimed(const kp_open_run *run, int64_t now_ms, keep_claimed_run *out)
{
	const keep_job_run *row = &run->run;
	const keep_cron_job *job = &run->job;
	const keep_future_task *task = &run->task;
	bool is_task = run->is_task;

	*out = (keep_claimed_run){
		.job_id = row->job_id,
		.run_type = row->job_type,
		.name = is_task ? task->name : job->name,
		.job_type = is_task ? task->job_type : job->job_type,
		.tool_name = is_task ? task->tool_name : job->tool_name,
		.tool_parameters = is_task ? task->tool_parameters : job->tool_parameters,
		.prompt = is_task ? task->prompt : job->prompt,
		.conversation_id = is_task ? task->conversation_id : (keep_bytes){NULL, 0},
		.scheduled_for = row->scheduled_for,
		.attempt = row->attempt,
		.deadline_ms = row->deadline_at,
		.lease_until = row->lease_until,
		.is_missed =
			is_task ? now_ms - row->scheduled_for > KP_DUE_ON_TIME_MS : row->is_missed,
		.is_by_hand = is_task ? now_ms < row->scheduled_for : row->is_by_hand,
	};
}

static int64_t add_times(int64_t time_ms, int64_t span_ms)
{
	return span_ms > KEEP_TIME_MAX - time_ms ? KEEP_TIME_MAX : time_ms + span_ms;
}

/* Invariants 2 and 3. */
static keep_status begin_attempt(struct claim *claim, kp_lease *lease, kp_open_run *run,
				 keep_claimed_run *out, keep_error *err)
{
	keep_job_run *row = &run->run;
	int64_t timeout_ms = run->is_task ? run->task.timeout_ms : run->job.timeout_ms;
	keep_status status;

	row->state = KEEP_BYTES(KEEP_JOB_RUN_STATE_RUNNING);
	row->attempt++;
	row->deadline_at = add_times(claim->now_ms, timeout_ms < 1 ? 1 : timeout_ms);
	row->lease_until = add_times(claim->now_ms, claim->lease_ms);
	if (row->lease_until > row->deadline_at)
		row->lease_until = row->deadline_at;
	row->due_at = row->lease_until;
	row->has_due_at = row->has_lease_until = row->has_deadline_at = true;
	row->lease_by = keep_bytes_of(claim->assistant->service);
	row->lease_owner = keep_bytes_of(claim->assistant->owner);
	describe_claimed(run, claim->now_ms, out);
	status = kp_run_save(lease, run, KEEP_FUTURE_TASK_STATUS_RUNNING, (keep_bytes){NULL, 0},
			     claim->now_ms, err);
	if (status == KEEP_OK)
		status = kp_lease_int(
			lease, KP_ASSISTANT_ADD_EXECUTION,
			KP_VALUES(kp_text_value(row->job_id), kp_text_value(row->job_type),
				  kp_time_value(claim->now_ms), kp_time_value(row->scheduled_for),
				  kp_int_value(row->attempt)),
			&out->execution_id, NULL, err);
	return status;
}

/* One run that is due: taken, or put away when there is nothing to take. */
static keep_status take_one(struct claim *claim, kp_lease *lease, kp_run_key key, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	kp_open_run run;
	const char *reason = NULL;
	keep_status status = kp_run_load(lease, key, claim->memory, &run, &why);

	if (status == KEEP_CORRUPT)
		return kp_run_bury(lease, key, why.message, claim->now_ms, err);
	if (status != KEEP_OK)
		return kp_fail(err, status, "%s", why.message);
	/* Ours ends them with the job; this is another program's doing. */
	if (!run.has_job)
		reason = "the job is gone";
	else if (!run.is_task && !run.job.enabled && !run.run.is_by_hand)
		reason = "the job is not enabled";
	if (!reason) {
		status = begin_attempt(claim, lease, &run, &claim->taken.items[claim->taken.count],
				       err);
		claim->taken.count += status == KEEP_OK;
		return status;
	}
	status = kp_run_drop(lease, &run.run, reason, claim->now_ms, err);
	if (status == KEEP_OK)
		status = kp_gate_open(lease, run.run.job_id, claim->now_ms, err);
	return status;
}

static keep_status take_due(struct claim *claim, kp_lease *lease, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_run_key *keys = NULL;
	size_t count = 0;
	keep_status status =
		kp_run_keys(lease, KP_ASSISTANT_DUE_RUNS,
			    KP_VALUES(kp_time_value(claim->now_ms), kp_int_value(FAIR_AMONG),
				      kp_int_value(claim->limit)),
			    (size_t)claim->limit, &arena, &keys, &count, err);

	claim->taken.count = 0;
	claim->taken.items = NULL;
	if (status == KEEP_OK && count) {
		claim->taken.items =
			kp_arena_alloc(claim->memory, count * sizeof *claim->taken.items);
		if (!claim->taken.items)
			status = kp_fail_memory(err, "the runs of a claim");
	}
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = take_one(claim, lease, keys[i], err);
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_claim(void *ctx, kp_lease *lease, keep_error *err)
{
	struct claim *claim = ctx;
	struct due_look after = {.assistant = claim->assistant, .now_ms = claim->now_ms};
	keep_status status = end_what_is_over(claim, lease, err);

	if (status == KEEP_OK)
		status = kp_jobs_tick(lease, claim->now_ms, err);
	if (status == KEEP_OK)
		status = take_due(claim, lease, err);
	if (status == KEEP_OK)
		status = read_times(&after, lease, err);
	claim->next_due_ms = after.next_ms;
	return status;
}

/* ---------------------------------------------------------------- the doors */

static keep_status check_claim(const struct claim *claim, keep_error *err)
{
	if (claim->assistant->store.read_only)
		return kp_fail(err, KEEP_DENIED, "the assistant store was opened for reading only");
	if (claim->lease_ms < 1)
		return kp_fail(err, KEEP_INVALID, "lease_ms: is below 0");
	return kp_check_time("now_ms", claim->now_ms, err);
}

keep_status keep_assistant_claim_due(keep_assistant *assistant, size_t limit, int64_t lease_ms,
				     int64_t now_ms, keep_memory *memory, keep_claimed_runs *out,
				     int64_t *next_due_ms, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct due_look look = {
		.assistant = assistant, .now_ms = kp_assistant_now(now_ms), .arena = &arena};
	struct claim claim = {.assistant = assistant,
			      .look = &look,
			      .lease_ms = lease_ms ? lease_ms : LEASE_DEFAULT_MS,
			      .now_ms = look.now_ms,
			      .memory = memory};
	keep_status status = check_claim(&claim, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 1, KEEP_ASSISTANT_LIST_MAX, &claim.limit, err);
	if (status == KEEP_OK)
		status = kp_store_read_whole(&assistant->store, query_look, &look, err);
	claim.next_due_ms = look.next_ms;
	/* Invariant 1. */
	if (status == KEEP_OK && (look.is_due || look.gone_count)) {
		status = kp_random_bytes(&claim.random, sizeof claim.random, err);
		if (status == KEEP_OK)
			status = kp_store_change(&assistant->store, apply_claim, &claim,
						 KP_NEWS_DUE, err);
	}
	if (status == KEEP_OK) {
		*out = claim.taken;
		if (next_due_ms)
			*next_due_ms = claim.next_due_ms;
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status look_for_due(void *ctx, bool *found, int64_t *due_ms, keep_error *err)
{
	keep_assistant *assistant = ctx;
	kp_arena arena = {.head = NULL};
	struct due_look look = {.assistant = assistant, .now_ms = kp_clock_ms(), .arena = &arena};
	keep_status status = kp_store_read_whole(&assistant->store, query_look, &look, err);

	*found = status == KEEP_OK && (look.is_due || look.gone_count);
	*due_ms = look.next_ms;
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_wait_due(keep_assistant *assistant, int64_t timeout_ms, bool *due,
				    keep_error *err)
{
	return kp_store_wait(&assistant->store, KP_TOPIC_DUE, timeout_ms, look_for_due, assistant,
			     due, err);
}
