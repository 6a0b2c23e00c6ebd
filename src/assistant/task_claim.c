/*
 * task_claim.c - tasks are taken, kept and ended by workers.
 *
 * A claim leases the oldest pending tasks: for a time, to a process, with one attempt more. The
 * drawing is in agent_tasks.c.
 *
 * Invariants:
 *   1. A task has one worker: writers follow each other, and a claim finds, marks and answers in
 * one transaction.
 *   2. The attempt is the fence. Who extends or ends a task names the one that it was given; when
 *      that is not the running one, it is CONFLICT and nothing changes. A lease that is over while
 *      nobody has noticed may still be extended or ended: the work was not given to anybody else.
 *   3. What ran out becomes interrupted in a claim and nowhere else: its time is over, or its
 *      process is gone (kp_owner_check), whatever the lease says. It waits for a retry by hand:
 *      nobody knows how much of it was done.
 *   4. A claim that finds nothing to do writes nothing.
 *   5. Who extends has the task from then on: a lease follows the process that keeps it.
 *
 * What it does not do: stop a worker. One that was asked to stop learns it from its next extend.
 *
 * Tests: tests/contract/test_assistant_tasks.c, tests/contract/test_assistant_task_claims.c.
 */
#include "assistant/agent_tasks.h"

#define LEASE_MS INT64_C(600000)
#define LEASE_MS_MAX INT64_C(86400000) /* a day: who needs longer extends it */

enum { OWNERS_MAX = 1000 }; /* processes that are looked at by one claim */

static const char run_out[] = "the lease ran out";
static const char gone[] = "the process that had it is gone";

static keep_status check_lease(int64_t lease_ms, int64_t now_ms, int64_t *until, keep_error *err)
{
	keep_status status = kp_check_time("now", now_ms, err);

	if (status == KEEP_OK && (lease_ms < 0 || lease_ms > LEASE_MS_MAX))
		status = kp_fail(err, KEEP_INVALID, "lease_ms: is not 0 to %lld",
				 (long long)LEASE_MS_MAX);
	if (status == KEEP_OK) {
		*until = now_ms + (lease_ms ? lease_ms : LEASE_MS);
		status = kp_check_time("lease_until", *until, err);
	}
	return status;
}

/* ---------------------------------------------------------------- what ran out */

struct claim {
	keep_assistant *assistant;
	keep_bytes agent_name;
	int64_t limit, now_ms, until;
	bool is_due; /* of a look: there is something to do */
	keep_memory *memory;
	keep_agent_task_list list;
};

/* The next process behind `owner` that has tasks; absent: no more. */
static keep_status next_owner(kp_lease *lease, kp_arena *arena, keep_bytes *owner, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_bytes text = {NULL, 0};
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_ASSISTANT_TASK_OWNER_BEHIND,
					   KP_VALUES(kp_text_value(*owner)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &text, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, text, owner, err);
	kp_sql_reset(stmt);
	return status;
}

/* A process that has tasks and is gone, behind *owner; absent: there is none. */
static keep_status next_dead_owner(kp_lease *lease, kp_arena *arena, keep_bytes *owner,
				   keep_error *err)
{
	keep_status status = next_owner(lease, arena, owner, err);

	for (int i = 0; i < OWNERS_MAX && status == KEEP_OK && owner->data; i++) {
		if (kp_owner_check(*owner, INT64_MAX, 0) == KP_OWNER_GONE)
			return KEEP_OK;
		status = next_owner(lease, arena, owner, err);
	}
	*owner = (keep_bytes){NULL, 0};
	return status;
}

/* Invariant 3. */
static keep_status interrupt_tasks(struct claim *claim, kp_lease *lease, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_bytes owner = KEEP_BYTES("");
	keep_status status = kp_lease_run(
		lease, KP_ASSISTANT_INTERRUPT_EXPIRED,
		KP_VALUES(kp_time_value(claim->now_ms), kp_text_value(keep_bytes_of(run_out))),
		NULL, err);

	if (status == KEEP_OK)
		status = next_dead_owner(lease, &arena, &owner, err);
	while (status == KEEP_OK && owner.data) {
		status = kp_lease_run(lease, KP_ASSISTANT_INTERRUPT_TASKS_OF_OWNER,
				      KP_VALUES(kp_time_value(claim->now_ms),
						kp_text_value(keep_bytes_of(gone)),
						kp_text_value(owner)),
				      NULL, err);
		if (status == KEEP_OK)
			status = next_dead_owner(lease, &arena, &owner, err);
	}
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- claim */

static keep_status list_pending(const struct claim *claim, int64_t limit, kp_lease *lease,
				kp_arena *arena, keep_agent_task_list *list, keep_error *err)
{
	const kp_value any[] = {kp_int_value(limit)};
	const kp_value of_agent[] = {kp_text_value(claim->agent_name), kp_int_value(limit)};

	if (claim->agent_name.data)
		return kp_lease_list(lease, KP_ASSISTANT_OLDEST_PENDING_FOR, of_agent, 2,
				     &kp_agent_task_record, arena, &list->items, &list->count, err);
	return kp_lease_list(lease, KP_ASSISTANT_OLDEST_PENDING, any, 1, &kp_agent_task_record,
			     arena, &list->items, &list->count, err);
}

static keep_status apply_claim(void *ctx, kp_lease *lease, keep_error *err)
{
	struct claim *claim = ctx;
	keep_status status = interrupt_tasks(claim, lease, err);

	claim->list = (keep_agent_task_list){NULL, 0};
	if (status == KEEP_OK)
		status = list_pending(claim, claim->limit, lease, claim->memory, &claim->list, err);
	for (size_t i = 0; i < claim->list.count && status == KEEP_OK; i++) {
		keep_agent_task *task = &claim->list.items[i];

		if (!kp_task_may(task->status, KEEP_AGENT_TASK_STATUS_RUNNING))
			return kp_task_refuse(lease, task, err);
		task->status = KEEP_BYTES(KEEP_AGENT_TASK_STATUS_RUNNING);
		task->result = task->error_message = (keep_bytes){NULL, 0};
		task->has_started_at = task->has_lease_until = true;
		task->started_at = claim->now_ms;
		task->has_completed_at = task->has_cancel_asked_at = false;
		task->attempt++;
		task->lease_by = keep_bytes_of(claim->assistant->service);
		task->lease_owner = keep_bytes_of(claim->assistant->owner);
		task->lease_until = claim->until;
		status = kp_task_store(lease, task, err);
	}
	return status;
}

static keep_status has_pending(const struct claim *claim, kp_lease *lease, bool *found,
			       keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_agent_task_list list = {NULL, 0};
	keep_status status = list_pending(claim, 1, lease, &arena, &list, err);

	*found = list.count > 0;
	kp_arena_release(&arena);
	return status;
}

/* Invariant 4. */
static keep_status look_for_work(void *ctx, kp_lease *lease, keep_error *err)
{
	struct claim *claim = ctx;
	kp_arena arena = {.head = NULL};
	keep_bytes owner = KEEP_BYTES("");
	keep_status status = has_pending(claim, lease, &claim->is_due, err);

	if (status == KEEP_OK && !claim->is_due)
		status = kp_lease_get(lease, KP_ASSISTANT_HAS_EXPIRED_TASK,
				      KP_VALUES(kp_time_value(claim->now_ms)), NULL, NULL, NULL,
				      &claim->is_due, err);
	if (status == KEEP_OK && !claim->is_due) {
		status = next_dead_owner(lease, &arena, &owner, err);
		claim->is_due = owner.data != NULL;
	}
	kp_arena_release(&arena);
	return status;
}

/* The texts of a lease are the assistant's own: the answer has copies. */
static keep_status copy_leases(struct claim *claim, keep_error *err)
{
	keep_bytes by = {NULL, 0}, owner = {NULL, 0};
	keep_status status =
		kp_arena_copy(claim->memory, keep_bytes_of(claim->assistant->service), &by, err);

	if (status == KEEP_OK)
		status = kp_arena_copy(claim->memory, keep_bytes_of(claim->assistant->owner),
				       &owner, err);
	for (size_t i = 0; i < claim->list.count && status == KEEP_OK; i++) {
		claim->list.items[i].lease_by = by;
		claim->list.items[i].lease_owner = owner;
	}
	return status;
}

keep_status keep_assistant_claim_tasks(keep_assistant *assistant, keep_bytes agent_name,
				       size_t limit, int64_t lease_ms, int64_t now_ms,
				       keep_memory *memory, keep_agent_task_list *out,
				       keep_error *err)
{
	struct claim claim = {.assistant = assistant,
			      .agent_name = agent_name,
			      .now_ms = kp_assistant_now(now_ms),
			      .is_due = true,
			      .memory = memory};
	keep_status status = KEEP_OK;

	if (agent_name.data)
		status = kp_check_key("agent_name", agent_name, err);
	if (status == KEEP_OK)
		status = kp_check_limit(limit, 1, KEEP_ASSISTANT_LIST_MAX, &claim.limit, err);
	if (status == KEEP_OK)
		status = check_lease(lease_ms, claim.now_ms, &claim.until, err);
	if (status == KEEP_OK && !assistant->store.read_only)
		status = kp_store_read(&assistant->store, look_for_work, &claim, err);
	if (status == KEEP_OK && claim.is_due)
		status = kp_store_change(&assistant->store, apply_claim, &claim, KP_NEWS_NONE, err);
	if (status == KEEP_OK)
		status = copy_leases(&claim, err);
	if (status == KEEP_OK)
		*out = claim.list;
	return status;
}

/* ---------------------------------------------------------------- wait */

static keep_status read_pending(void *ctx, kp_lease *lease, keep_error *err)
{
	struct claim *claim = ctx;

	return has_pending(claim, lease, &claim->is_due, err);
}

static keep_status look_for_pending(void *ctx, bool *found, int64_t *due_ms, keep_error *err)
{
	struct claim *claim = ctx;
	keep_status status = kp_store_read(&claim->assistant->store, read_pending, claim, err);

	*found = status == KEEP_OK && claim->is_due;
	*due_ms = 0;
	return status;
}

keep_status keep_assistant_wait_tasks(keep_assistant *assistant, keep_bytes agent_name,
				      int64_t timeout_ms, bool *found, keep_error *err)
{
	struct claim claim = {.assistant = assistant, .agent_name = agent_name};
	keep_status status = KEEP_OK;

	if (agent_name.data)
		status = kp_check_key("agent_name", agent_name, err);
	if (status == KEEP_OK)
		status = kp_store_wait(&assistant->store, KP_TOPIC_TASK, timeout_ms,
				       look_for_pending, &claim, found, err);
	return status;
}

/* ---------------------------------------------------------------- extend, finish */

struct report {
	const keep_assistant *assistant;
	keep_bytes task_id;
	int64_t attempt, now_ms, until;
	const char *status; /* NULL: it goes on */
	keep_bytes result, error_message;
	bool cancel_asked;
};

/* Invariant 2. */
static keep_status find_running(struct report *report, kp_lease *lease, kp_arena *arena,
				keep_agent_task *task, keep_error *err)
{
	keep_status status = kp_agent_task_find(lease, report->task_id, arena, task, err);

	if (status == KEEP_OK && task->attempt != report->attempt) {
		lease->unchanged = true;
		status =
			kp_fail(err, KEEP_CONFLICT,
				"task '%" KP_PRI "': attempt %lld is not its latest, which is %lld",
				KP_ARG(task->task_id), (long long)report->attempt,
				(long long)task->attempt);
	}
	return status;
}

static bool is_running(const keep_agent_task *task)
{
	return kp_bytes_equal(task->status, KEEP_BYTES(KEEP_AGENT_TASK_STATUS_RUNNING));
}

static keep_status apply_extend(void *ctx, kp_lease *lease, keep_error *err)
{
	struct report *report = ctx;
	kp_arena arena = {.head = NULL};
	keep_agent_task task;
	keep_status status = find_running(report, lease, &arena, &task, err);

	if (status == KEEP_OK && !is_running(&task))
		status = kp_task_refuse(lease, &task, err);
	if (status == KEEP_OK) {
		report->cancel_asked = task.has_cancel_asked_at;
		/* Invariant 5. */
		task.lease_by = keep_bytes_of(report->assistant->service);
		task.lease_owner = keep_bytes_of(report->assistant->owner);
		task.has_lease_until = true;
		task.lease_until = report->until;
		status = kp_task_store(lease, &task, err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_extend_task(keep_assistant *assistant, keep_bytes task_id,
				       int64_t attempt, int64_t lease_ms, int64_t now_ms,
				       bool *cancel_asked, keep_error *err)
{
	struct report report = {.assistant = assistant, .task_id = task_id, .attempt = attempt};
	keep_status status = kp_check_key("task_id", task_id, err);

	if (status == KEEP_OK)
		status = check_lease(lease_ms, kp_assistant_now(now_ms), &report.until, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_extend, &report, KP_NEWS_NONE,
					 err);
	if (status == KEEP_OK && cancel_asked)
		*cancel_asked = report.cancel_asked;
	return status;
}

/* The same report was stored before; a cancelled one without a reason may have the cancel's. */
static bool is_told(const keep_agent_task *task, const struct report *report)
{
	bool needs_reason =
		report->error_message.data ||
		!kp_bytes_equal(task->status, KEEP_BYTES(KEEP_AGENT_TASK_STATUS_CANCELLED));

	return kp_bytes_equal(task->status, keep_bytes_of(report->status)) &&
	       kp_bytes_equal(task->result, report->result) &&
	       (!needs_reason || kp_bytes_equal(task->error_message, report->error_message));
}

static keep_status apply_finish(void *ctx, kp_lease *lease, keep_error *err)
{
	struct report *report = ctx;
	kp_arena arena = {.head = NULL};
	keep_agent_task task;
	keep_status status = find_running(report, lease, &arena, &task, err);
	bool is_cancelled = strcmp(report->status, KEEP_AGENT_TASK_STATUS_CANCELLED) == 0;

	if (status == KEEP_OK && is_told(&task, report)) {
		kp_arena_release(&arena);
		return KEEP_OK;
	}
	/* One that waits again is nobody's to end, though it may be cancelled. */
	if (status == KEEP_OK && (!is_running(&task) || !kp_task_may(task.status, report->status)))
		status = kp_task_refuse(lease, &task, err);
	if (status == KEEP_OK) {
		kp_task_let_go(&task);
		task.status = keep_bytes_of(report->status);
		task.result = report->result;
		/* Without a reason of its own it is the one of the cancel. */
		if (report->error_message.data || !is_cancelled)
			task.error_message = report->error_message;
		task.has_completed_at = true;
		task.completed_at = report->now_ms;
		status = kp_task_store(lease, &task, err);
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status read_outcome(keep_bytes text, const char **out, keep_error *err)
{
	static const char *const outcomes[] = {KEEP_AGENT_TASK_STATUS_COMPLETED,
					       KEEP_AGENT_TASK_STATUS_FAILED,
					       KEEP_AGENT_TASK_STATUS_CANCELLED};

	for (size_t i = 0; i < KP_COUNT(outcomes); i++)
		if (kp_bytes_equal(text, keep_bytes_of(outcomes[i]))) {
			*out = outcomes[i];
			return KEEP_OK;
		}
	return kp_fail(err, KEEP_INVALID, "status: completed, failed or cancelled is needed");
}

keep_status keep_assistant_finish_task(keep_assistant *assistant, keep_bytes task_id,
				       int64_t attempt, keep_bytes status_text, keep_bytes result,
				       keep_bytes error_message, int64_t now_ms, keep_error *err)
{
	struct report report = {.assistant = assistant,
				.task_id = task_id,
				.attempt = attempt,
				.now_ms = kp_assistant_now(now_ms),
				.result = result,
				.error_message = error_message};
	keep_status status = kp_check_key("task_id", task_id, err);

	if (status == KEEP_OK)
		status = read_outcome(status_text, &report.status, err);
	if (status == KEEP_OK)
		status = kp_check_json("result", result, KP_JSON_NULL, err);
	if (status == KEEP_OK)
		status = kp_check_text("error_message", error_message, KP_KEY_MAX, KP_MAY_BE_ABSENT,
				       err);
	if (status == KEEP_OK)
		status = kp_check_time("now", report.now_ms, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_finish, &report, KP_NEWS_NONE,
					 err);
	return status;
}
