/*
 * task_fire.c - firing scheduled tasks: what is due becomes messages, once.
 *
 *     due ──> plan (schedule/due.h) ──> for each run: message + line in the log ──> next_run
 *              │ cannot be read             │ conflict
 *              └────────────┬───────────────┘
 *                     a failed attempt: error in the log, tried again at next_run = now + 1, 2, 4,
 *                     8 minutes (less up to a tenth); after ATTEMPTS_MAX the series goes on to its
 *                     next time, and what has no next time is failed
 *
 * A message's timestamp is when it was fired; the time that it was due is in its id and in the log.
 *
 * Invariants:
 *   1. All of a task's tick is one transaction: messages, lines, next_run. There is no moment in
 *      which a task is claimed and not fired, so nothing is stranded by a death, and two processes
 *      that tick at once follow each other: the second finds a next_run that is not due.
 *   2. A run is (task, scheduled time). A line that says success, or has a message_id, was made;
 *      such a run is never made again, whatever clocks do and next_run says.
 *   3. While a run is tried again, retry_of is its time and next_run only the time of the next
 *      attempt. A retry is a tick that comes late: what was on time at the first attempt, or within
 *      the grace, still is.
 *   4. A task that fails harms no other. Tasks share a transaction for speed; when one makes it
 *      fail, each is fired alone, and the failure of one is noted in a transaction of its own.
 *   5. The lease columns say who fired last, and when; under a lease that another program holds and
 *      that is not over, nothing is fired unless its process is proven dead.
 *
 * What it does not do: run agents, keep the log (task_runs.c).
 *
 * Tests: tests/contract/test_gateway_task_fire.c, tests/contract/test_gateway_task_runs.c,
 * tests/torture/test_gateway_tasks_faults.c,
 * tests/crash/test_gateway_tasks_crash.c.
 */
#include "gateway/gateway_tasks.h"

#include <stdio.h>
#include <string.h>

enum {
	TASKS_DEFAULT = 100,
	BATCH_TASKS = 16, /* that share a transaction */
	RUNS_FIRST = 16,
	ATTEMPTS_MAX = 5, /* of one run */
};

static const kp_backoff backoff = {.first_ms = 60000,
				   .factor = 2,
				   .max_ms = 3600000,
				   .attempts_max = ATTEMPTS_MAX,
				   .jitter_percent = 10};

/* One call of keep_gateway_fire_due_tasks. */
struct tick {
	keep_gateway *gateway;
	int64_t now_ms;
	uint64_t random;
	kp_arena *memory; /* the caller's */
	kp_arena scratch; /* the ids */
	keep_bytes *ids;
	size_t id_count;
	size_t from, to;     /* of the ids: what the transaction is about */
	keep_task_run *runs; /* what was logged; in `memory` */
	size_t stored;       /* of them, by transactions that are over */
	size_t count, room;
	bool is_changed; /* a transaction is stored */
	const char *why; /* of apply_failure and apply_unreadable */
};

/* One task inside a transaction. */
struct firing {
	struct tick *tick;
	kp_lease *lease;
	kp_arena *arena;
	keep_scheduled_task task;
	keep_schedule *schedule; /* NULL: one time only, or it cannot be read */
	uint64_t random;
};

/* ---------------------------------------------------------------- the log */

/* Room for one more answer, in the caller's memory: after the commit nothing may fail any more. */
static keep_status grow_runs(struct tick *tick, keep_error *err)
{
	size_t room = tick->room ? tick->room * 2 : RUNS_FIRST;
	keep_task_run *grown = kp_arena_alloc(tick->memory, room * sizeof *grown);

	if (!grown)
		return kp_fail_memory(err, "the runs of a tick");
	if (tick->count)
		memcpy(grown, tick->runs, tick->count * sizeof *grown);
	tick->runs = grown;
	tick->room = room;
	return KEEP_OK;
}

/* Write one line and tell of it in the tick's answer. */
static keep_status log_run(struct tick *tick, kp_lease *lease, const keep_task_run *run,
			   keep_error *err)
{
	bool is_saved = false;
	keep_status status = tick->count < tick->room ? KEEP_OK : grow_runs(tick, err);

	if (status == KEEP_OK)
		status = kp_task_run_save(lease, run, tick->memory, &tick->runs[tick->count],
					  &is_saved, err);
	tick->count += is_saved;
	return status;
}

/* The line (task, scheduled time) with `text` added to its errors, unless its message is stored. */
static keep_status log_error(struct firing *f, int64_t scheduled_ms, const char *kind,
			     const char *text, keep_error *err)
{
	keep_task_run before, run = {.task_id = f->task.id,
				     .scheduled_for = scheduled_ms,
				     .run_at = f->tick->now_ms,
				     .status = keep_bytes_of(kind)};
	bool found;
	keep_status status = kp_task_run_read(f->lease, f->task.id, scheduled_ms, f->arena, &before,
					      &found, err);

	if (status == KEEP_OK && !kp_task_run_is_made(&before))
		status = kp_task_errors_join(before.error, keep_bytes_of(text), f->arena,
					     &run.error, err);
	if (status != KEEP_OK || kp_task_run_is_made(&before))
		return status;
	return log_run(f->tick, f->lease, &run, err);
}

/* ---------------------------------------------------------------- runs */

static keep_status check_adopted(const keep_scheduled_task *task, keep_error *err)
{
	if (task->id.len > KP_TASK_ID_MAX)
		return kp_fail(err, KEEP_INVALID, "id: %zu bytes, the limit is %d", task->id.len,
			       KP_TASK_ID_MAX);
	return kp_check_key("chat_jid", task->chat_jid, err);
}

/* One run; *is_refused, with the reason in `why`, when its message cannot be stored. */
static keep_status start_run(struct firing *f, int64_t scheduled_ms, bool *is_refused,
			     keep_error *why, keep_error *err)
{
	char text[KP_TASK_MESSAGE_ID_SIZE];
	keep_bytes id = kp_task_message_id(f->task.id, scheduled_ms, text);
	keep_task_run before, run = {.task_id = f->task.id,
				     .scheduled_for = scheduled_ms,
				     .run_at = f->tick->now_ms,
				     .status = KEEP_BYTES(KEEP_TASK_RUN_STATUS_SUCCESS),
				     .message_id = id};
	keep_put_result result;
	bool found;
	keep_status status = kp_task_run_read(f->lease, f->task.id, scheduled_ms, f->arena, &before,
					      &found, err);

	*is_refused = false;
	if (status != KEEP_OK || kp_task_run_is_made(&before))
		return status;
	status = kp_task_put_prompt(f->lease, &f->task, id, f->tick->now_ms, &result, err);
	if (status != KEEP_OK)
		return status;
	if (result.put == KEEP_PUT_CONFLICT) {
		*is_refused = kp_fail(why, KEEP_CONFLICT,
				      "message '%" KP_PRI "' of chat '%" KP_PRI
				      "' is there and says something else",
				      KP_ARG(id), KP_ARG(f->task.chat_jid)) == KEEP_CONFLICT;
		return KEEP_OK;
	}
	f->task.last_run = f->tick->now_ms;
	f->task.has_last_run = true;
	run.error = before.error;
	return log_run(f->tick, f->lease, &run, err);
}

/* ---------------------------------------------------------------- one task */

static keep_status save_firing(struct firing *f, kp_task_step step, keep_error *err)
{
	f->task.lease_by = keep_bytes_of(f->tick->gateway->service);
	f->task.lease_owner = keep_bytes_of(f->tick->gateway->owner);
	f->task.lease_until = f->tick->now_ms;
	f->task.has_lease_until = true;
	return kp_task_save(f->lease, &f->task, step, err);
}

/* The run at `at_ms` has failed once more. */
static keep_status fail_attempt(struct firing *f, int64_t at_ms, const char *why, keep_error *err)
{
	unsigned attempt = f->task.attempts >= 0 && f->task.attempts < ATTEMPTS_MAX
				   ? (unsigned)f->task.attempts + 1
				   : ATTEMPTS_MAX;
	kp_task_step step = KP_TASK_GO_ON;
	keep_status status = log_error(f, at_ms, KEEP_TASK_RUN_STATUS_ERROR, why, err);

	f->task.attempts = attempt;
	f->task.last_error = keep_bytes_of(why);
	f->task.retry_of = at_ms;
	f->task.has_next_run = f->task.has_retry_of =
		kp_backoff_next(&backoff, attempt, f->tick->now_ms, f->random, &f->task.next_run);
	if (status == KEEP_OK && !f->task.has_next_run) {
		if (f->schedule &&
		    keep_schedule_next(f->schedule, at_ms, &f->task.next_run, NULL) == KEEP_OK) {
			f->task.has_next_run = true;
			f->task.attempts = 0;
		} else {
			step = KP_TASK_FAIL;
		}
	}
	if (status == KEEP_OK)
		status = save_firing(f, step, err);
	return status;
}

static keep_status log_skipped(struct firing *f, const kp_due_plan *plan, keep_error *err)
{
	char first[KEEP_TIME_TEXT_SIZE], last[KEEP_TIME_TEXT_SIZE], text[200];
	keep_status status = keep_time_format(plan->skipped.first_ms, first, err);

	if (status == KEEP_OK)
		status = keep_time_format(plan->skipped.last_ms, last, err);
	if (status != KEEP_OK)
		return status;
	if (plan->skipped.count == 1)
		snprintf(text, sizeof text, "1 run was missed, at %s; missed_policy is %.*s", last,
			 (int)f->task.missed_policy.len, f->task.missed_policy.data);
	else
		snprintf(text, sizeof text,
			 "%zu runs%s were missed, from %s to %s; missed_policy is %.*s",
			 plan->skipped.count, plan->skipped.is_exact ? "" : " or more", first, last,
			 (int)f->task.missed_policy.len, f->task.missed_policy.data);
	return log_error(f, plan->skipped.last_ms, KEEP_TASK_RUN_STATUS_SKIPPED, text, err);
}

/* Invariant 3: how long ago the first attempt of the run was that is tried again. */
static keep_status find_delay(struct firing *f, int64_t *delay_ms, keep_error *err)
{
	keep_task_run first = {0};
	bool found = false;
	keep_status status = KEEP_OK;

	*delay_ms = 0;
	if (f->task.has_retry_of)
		status = kp_task_run_read(f->lease, f->task.id, f->task.retry_of, f->arena, &first,
					  &found, err);
	if (status == KEEP_OK && found && first.run_at < f->tick->now_ms)
		*delay_ms = f->tick->now_ms - first.run_at;
	return status;
}

/* What is due of a task whose schedule can be read. */
static keep_status fire_plan(struct firing *f, const kp_due_plan *plan, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (plan->skipped.count)
		status = log_skipped(f, plan, err);
	for (size_t i = 0; i < plan->count && status == KEEP_OK; i++) {
		keep_error why = KEEP_ERROR_INIT;
		bool is_refused;

		status = start_run(f, plan->runs[i].scheduled_ms, &is_refused, &why, err);
		if (status == KEEP_OK && is_refused)
			return fail_attempt(f, plan->runs[i].scheduled_ms, why.message, err);
	}
	if (status != KEEP_OK)
		return status;
	f->task.attempts = 0;
	f->task.last_error = (keep_bytes){0};
	f->task.has_retry_of = false;
	f->task.has_next_run = plan->has_next;
	f->task.next_run = plan->next_run_ms;
	return save_firing(f, plan->has_next ? KP_TASK_GO_ON : KP_TASK_COMPLETE, err);
}

/* Another program left it active without a time: a series gets its next one, and one time only,
   of which nobody knows when it was meant, is given up and said so. */
static keep_status mend_timeless(struct firing *f, keep_error *err)
{
	f->task.attempts = ATTEMPTS_MAX - 1; /* to try again would be to guess */
	if (!f->schedule)
		return fail_attempt(f, f->tick->now_ms, "next_run: there is none", err);
	f->task.has_next_run = true;
	if (keep_schedule_next(f->schedule, f->tick->now_ms, &f->task.next_run, NULL) != KEEP_OK)
		return fail_attempt(f, f->tick->now_ms, "cron: it has no time after now", err);
	f->task.attempts = 0;
	return save_firing(f, KP_TASK_GO_ON, err);
}

/* Without a call of the database: what fails here is the row's fault, or the zone's file's. */
static keep_status plan_firing(struct firing *f, int64_t at_ms, int64_t delay_ms, kp_due_plan *plan,
			       keep_error *err)
{
	kp_due_rules rules;
	keep_status status = kp_task_schedule(&f->task, &f->schedule, err);

	if (status == KEEP_OK)
		status = check_adopted(&f->task, err);
	if (status == KEEP_OK)
		status = kp_task_rules(&f->task, f->schedule, &rules, err);
	if (status != KEEP_OK)
		return status;
	rules.on_time_ms = KP_DUE_ON_TIME_MS + delay_ms;
	rules.grace_ms += rules.grace_ms ? delay_ms : 0;
	return kp_due_plan_make(&rules, at_ms, f->tick->now_ms, 0, 0, plan, err);
}

static bool is_due(const keep_scheduled_task *task, int64_t now_ms)
{
	if (!kp_task_step_find(KP_TASK_GO_ON, task->status) ||
	    (task->has_next_run && task->next_run > now_ms))
		return false;
	/* Invariant 5. */
	return !kp_bytes_equal(task->status, KEEP_BYTES(KEEP_SCHEDULED_TASK_STATUS_FIRING)) ||
	       !task->has_lease_until ||
	       kp_owner_check(task->lease_owner, task->lease_until, now_ms) != KP_OWNER_MAY_LIVE;
}

static keep_status fire_task(struct firing *f, keep_bytes id, keep_error *err)
{
	int64_t at_ms, delay_ms = 0;
	keep_error why = KEEP_ERROR_INIT;
	kp_due_plan plan;
	keep_status status = kp_task_load(f->lease, id, f->arena, &f->task, err);

	if (status != KEEP_OK || !is_due(&f->task, f->tick->now_ms))
		return status == KEEP_NOT_FOUND ? KEEP_OK : status;
	at_ms = f->task.has_retry_of   ? f->task.retry_of
		: f->task.has_next_run ? f->task.next_run
				       : f->tick->now_ms;
	status = find_delay(f, &delay_ms, err);
	if (status != KEEP_OK)
		return status;
	status = plan_firing(f, at_ms, delay_ms, &plan, &why);
	if (status == KEEP_NO_MEMORY)
		return kp_fail(err, status, "%s", why.message);
	if (status != KEEP_OK)
		return fail_attempt(f, at_ms, why.message, err);
	if (!f->task.has_next_run)
		return mend_timeless(f, err);
	return fire_plan(f, &plan, err);
}

/* ---------------------------------------------------------------- transactions of a tick */

/* The tasks `from` to `to`. */
static keep_status apply_batch(void *ctx, kp_lease *lease, keep_error *err)
{
	struct tick *tick = ctx;
	keep_status status = KEEP_OK;

	tick->count = tick->stored;
	for (size_t i = tick->from; i < tick->to && status == KEEP_OK; i++) {
		kp_arena arena = {.head = NULL};
		struct firing firing = {.tick = tick,
					.lease = lease,
					.arena = &arena,
					.random = tick->random * (2 * i + 1)};

		status = fire_task(&firing, tick->ids[i], err);
		keep_schedule_close(&firing.schedule);
		kp_arena_release(&arena);
	}
	return status;
}

/* Firing task `from` has failed for `why`, and took its transaction with it: one failed attempt. */
static keep_status apply_failure(void *ctx, kp_lease *lease, keep_error *err)
{
	struct tick *tick = ctx;
	kp_arena arena = {.head = NULL};
	struct firing firing = {
		.tick = tick, .lease = lease, .arena = &arena, .random = tick->random};
	keep_scheduled_task *task = &firing.task;
	keep_status status = kp_task_load(lease, tick->ids[tick->from], &arena, task, err);

	tick->count = tick->stored;
	if (status == KEEP_OK && is_due(task, tick->now_ms)) {
		/* Without its schedule a series is given up with the last attempt, so try. */
		status = kp_task_schedule(task, &firing.schedule, NULL);
		if (status != KEEP_NO_MEMORY)
			status = fail_attempt(&firing,
					      task->has_retry_of   ? task->retry_of
					      : task->has_next_run ? task->next_run
								   : tick->now_ms,
					      tick->why, err);
		else
			status = kp_fail_memory(err, "a schedule");
	}
	keep_schedule_close(&firing.schedule);
	kp_arena_release(&arena);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

/* Task `from` cannot even be read, or its log cannot: it is given up for `why`. */
static keep_status apply_unreadable(void *ctx, kp_lease *lease, keep_error *err)
{
	struct tick *tick = ctx;
	keep_bytes id = tick->ids[tick->from];
	kp_value now = kp_time_value(tick->now_ms);
	int64_t changes = 0;
	keep_status status =
		kp_lease_run(lease, KP_GATEWAY_FAIL_UNREADABLE_TASK,
			     KP_VALUES(kp_text_value(id), kp_text_value(keep_bytes_of(tick->why)),
				       kp_text_value(keep_bytes_of(tick->gateway->service)),
				       kp_text_value(keep_bytes_of(tick->gateway->owner)), now),
			     &changes, err);

	tick->count = tick->stored;
	if (status != KEEP_OK || !changes)
		return status;
	return log_run(tick, lease,
		       &(keep_task_run){.task_id = id,
					.scheduled_for = tick->now_ms,
					.run_at = tick->now_ms,
					.status = KEEP_BYTES(KEEP_TASK_RUN_STATUS_ERROR),
					.error = keep_bytes_of(tick->why)},
		       err);
}

static keep_status change(struct tick *tick, kp_apply *apply, keep_error *err)
{
	keep_status status = kp_gateway_change(tick->gateway, apply, tick, KP_NEWS_INPUT, err);

	if (status == KEEP_OK)
		tick->stored = tick->count;
	tick->is_changed |= status == KEEP_OK;
	return status;
}

/* May a row be at fault? The other statuses are the database's, and stand for all: a full disk is
   no failed attempt of a task. */
static bool is_a_rows_fault(keep_status status)
{
	return status == KEEP_INVALID || status == KEEP_CONFLICT || status == KEEP_CORRUPT;
}

/* Invariant 4: note that a task cannot be fired, as well as it can be read. */
static keep_status isolate_task(struct tick *tick, size_t index, keep_error *err)
{
	keep_error why = *err;
	keep_status status;

	tick->why = why.message;
	tick->from = index;
	tick->to = index + 1;
	status = change(tick, apply_failure, err);
	if (is_a_rows_fault(status))
		status = change(tick, apply_unreadable, err);
	tick->why = NULL;
	return status;
}

static keep_status fire_batch(struct tick *tick, size_t from, size_t to, keep_error *err)
{
	keep_status status;

	tick->from = from;
	tick->to = to;
	status = change(tick, apply_batch, err);
	if (!is_a_rows_fault(status))
		return status;
	for (size_t i = from; i < to; i++) {
		tick->from = i;
		tick->to = i + 1;
		status = change(tick, apply_batch, err);
		if (is_a_rows_fault(status))
			status = isolate_task(tick, i, err);
		if (status != KEEP_OK)
			return status;
	}
	return KEEP_OK;
}

/* ---------------------------------------------------------------- what is due */

struct finding {
	struct tick *tick;
	int64_t limit;
};

/* One row of due_tasks; false in *is_taken when another program holds it and may live. */
static keep_status read_due(kp_sql_stmt *stmt, kp_arena *arena, keep_bytes *id, bool *is_taken,
			    keep_error *err)
{
	kp_value value, holder;
	keep_status status = kp_sql_column(stmt, 0, KP_TEXT, &value, err);

	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 1, KP_TEXT, &holder, err);
	if (status != KEEP_OK)
		return status;
	*is_taken = holder.is_null || kp_owner_check(holder.bytes, INT64_MAX, 0) == KP_OWNER_GONE;
	return kp_arena_copy(arena, value.bytes, id, err);
}

static keep_status query_due(void *ctx, kp_lease *lease, keep_error *err)
{
	struct finding *finding = ctx;
	struct tick *tick = finding->tick;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false, is_taken = false;
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_DUE_TASKS,
		KP_VALUES(kp_time_value(tick->now_ms), kp_int_value(finding->limit)), &stmt, err);

	tick->id_count = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && tick->id_count < (size_t)finding->limit) {
		status = read_due(stmt, &tick->scratch, &tick->ids[tick->id_count], &is_taken, err);
		tick->id_count += is_taken;
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* When something is due again. */
struct next_time {
	struct tick *tick;
	keep_bytes id;
	int64_t due_ms; /* 0: never */
	bool is_unreadable;
};

static keep_status query_next(void *ctx, kp_lease *lease, keep_error *err)
{
	struct next_time *next = ctx;
	kp_sql_stmt *stmt = NULL;
	kp_value value;
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, KP_GATEWAY_NEXT_TASK_TIME,
			      KP_VALUES(kp_time_value(next->tick->now_ms)), &stmt, err);

	next->due_ms = 0;
	next->is_unreadable = false;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, 0, KP_TEXT, &value, err);
	if (status == KEEP_OK && has_row)
		status = kp_arena_copy(&next->tick->scratch, value.bytes, &next->id, err);
	if (status == KEEP_OK && has_row) {
		status = kp_sql_column(stmt, 1, KP_TIME, &value, err);
		next->is_unreadable = status == KEEP_CORRUPT;
	}
	if (status == KEEP_OK && has_row)
		next->due_ms = value.integer;
	kp_sql_reset(stmt);
	return status;
}

/* A time that cannot be read would hide the others for ever, and never come: its task is given up.
 */
static keep_status find_next(struct tick *tick, int64_t *due_ms, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	for (int i = 0; i < KEEP_GATEWAY_LIST_MAX; i++) {
		struct next_time next = {.tick = tick};

		status = kp_gateway_read(tick->gateway, query_next, &next, &why);
		*due_ms = next.due_ms;
		if (status != KEEP_CORRUPT || !next.is_unreadable)
			break;
		tick->ids[0] = next.id;
		tick->from = 0;
		tick->why = why.message;
		status = change(tick, apply_unreadable, &why);
		if (status != KEEP_OK)
			break;
	}
	return status == KEEP_OK ? status : kp_fail(err, status, "%s", why.message);
}

/* ---------------------------------------------------------------- the tick */

static keep_status run_tick(struct tick *tick, int64_t limit, int64_t *due_ms, keep_error *err)
{
	struct finding finding = {tick, limit};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	tick->ids = kp_arena_alloc(&tick->scratch, (size_t)limit * sizeof *tick->ids);
	if (!tick->ids)
		return kp_fail_memory(err, "a tick");
	status = grow_runs(tick, err);
	if (status == KEEP_OK)
		status = kp_gateway_read(tick->gateway, query_due, &finding, err);
	if (status != KEEP_OK)
		return status;
	for (size_t from = 0; from < tick->id_count && status == KEEP_OK; from += BATCH_TASKS) {
		size_t left = tick->id_count - from;

		status = fire_batch(tick, from, from + (left < BATCH_TASKS ? left : BATCH_TASKS),
				    &why);
	}
	if (status == KEEP_OK)
		status = find_next(tick, due_ms, &why);
	/* What was stored is told; the rest is due at once, and then its failure is the answer. */
	if (status != KEEP_OK && status != KEEP_UNCERTAIN && tick->is_changed) {
		*due_ms = tick->now_ms;
		status = KEEP_OK;
	}
	return status == KEEP_OK ? status : kp_fail(err, status, "%s", why.message);
}

keep_status keep_gateway_fire_due_tasks(keep_gateway *gateway, int64_t now_ms, size_t limit,
					keep_memory *memory, keep_task_run_list *out,
					int64_t *next_run, keep_error *err)
{
	struct tick tick = {.gateway = gateway, .now_ms = kp_gateway_now(now_ms), .memory = memory};
	int64_t rows = 0, due_ms = 0;
	keep_status status = kp_check_time("now", tick.now_ms, err);

	*out = (keep_task_run_list){0};
	if (status == KEEP_OK && gateway->store.read_only)
		status = kp_fail(err, KEEP_DENIED, "the gateway was opened for reading only");
	if (status == KEEP_OK)
		status = kp_check_limit(limit, TASKS_DEFAULT, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status == KEEP_OK)
		status = kp_random_bytes(&tick.random, sizeof tick.random, err);
	if (status == KEEP_OK)
		status = run_tick(&tick, rows, &due_ms, err);
	if (status == KEEP_OK)
		*out = (keep_task_run_list){tick.runs, tick.stored};
	if (status == KEEP_OK && next_run)
		*next_run = due_ms;
	kp_arena_release(&tick.scratch);
	return status;
}
