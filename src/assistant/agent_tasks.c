/*
 * agent_tasks.c - agents' tasks: asked for, listed, cancelled, tried again.
 *
 *     pending ── claim ──> running ── finish ──> completed | failed | cancelled
 *      ^  │                   │
 *      │  └── cancel ──> cancelled (also a running one that nobody has any more)
 *      │                      │
 *      │                      └── lease over (found by a claim) ──> interrupted
 *      └── retry ── failed, interrupted
 *
 * Invariants:
 *   1. `transitions` is the only list of steps. Every change of a status asks it, within the
 *      transaction that makes the change; what it does not have is CONFLICT and changes nothing.
 *   2. Adding is repeatable: the task_id is chosen before the first try, and the same task again is
 *      no second one. What its conversation was does not count once that was deleted.
 *   3. A status moves only through a call here or in task_claim.c; time alone changes no row.
 *   4. Each filter of a list is an index, and its rows come in the order of ids: a page costs what
 *      it answers.
 *
 * What it does not do: run anything, know whether the agent is defined, or audit (what an agent
 * does is its own to report).
 *
 * Tests: tests/contract/test_assistant_tasks.c, tests/contract/test_assistant_task_claims.c.
 */
#include "assistant/agent_tasks.h"

#define PENDING KEEP_AGENT_TASK_STATUS_PENDING
#define RUNNING KEEP_AGENT_TASK_STATUS_RUNNING
#define COMPLETED KEEP_AGENT_TASK_STATUS_COMPLETED
#define FAILED KEEP_AGENT_TASK_STATUS_FAILED
#define CANCELLED KEEP_AGENT_TASK_STATUS_CANCELLED
#define INTERRUPTED KEEP_AGENT_TASK_STATUS_INTERRUPTED

static const char *const statuses[] = {PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, INTERRUPTED};

static const struct {
	const char *from, *to;
} transitions[] = {
	{PENDING, RUNNING},     /* claim */
	{PENDING, CANCELLED},   /* cancel */
	{RUNNING, COMPLETED},   /* finish */
	{RUNNING, FAILED},      /* finish */
	{RUNNING, CANCELLED},   /* finish; cancel of what nobody has */
	{RUNNING, INTERRUPTED}, /* a claim finds the lease over */
	{FAILED, PENDING},      /* retry */
	{INTERRUPTED, PENDING}, /* retry */
};

/* Invariant 1. */
bool kp_task_may(keep_bytes from, const char *to)
{
	for (size_t i = 0; i < KP_COUNT(transitions); i++)
		if (kp_bytes_equal(from, keep_bytes_of(transitions[i].from)) &&
		    strcmp(transitions[i].to, to) == 0)
			return true;
	return false;
}

static bool is_in(const keep_agent_task *task, const char *status)
{
	return kp_bytes_equal(task->status, keep_bytes_of(status));
}

/* ---------------------------------------------------------------- one row */

static keep_status fail_not_found(keep_bytes task_id, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "task '%" KP_PRI "': there is none", KP_ARG(task_id));
}

keep_status kp_agent_task_find(kp_lease *lease, keep_bytes task_id, kp_arena *arena,
			       keep_agent_task *out, keep_error *err)
{
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_ASSISTANT_GET_TASK, KP_VALUES(kp_text_value(task_id)),
			     &kp_agent_task_record, arena, out, &found, err);

	if (status == KEEP_OK && !found) {
		lease->unchanged = true;
		status = fail_not_found(task_id, err);
	}
	return status;
}

static kp_value time_or_null(bool has_time, int64_t time_ms)
{
	return has_time ? kp_time_value(time_ms) : kp_null_value(KP_TIME);
}

keep_status kp_task_store(kp_lease *lease, const keep_agent_task *task, keep_error *err)
{
	return kp_lease_queue(
		lease, KP_ASSISTANT_SET_TASK,
		KP_VALUES(kp_int_value(task->id), kp_text_value(task->status),
			  kp_json_value(task->result), kp_text_value(task->error_message),
			  time_or_null(task->has_started_at, task->started_at),
			  time_or_null(task->has_completed_at, task->completed_at),
			  kp_int_value(task->attempt), kp_text_value(task->lease_by),
			  kp_text_value(task->lease_owner),
			  time_or_null(task->has_lease_until, task->lease_until),
			  time_or_null(task->has_cancel_asked_at, task->cancel_asked_at)),
		err);
}

void kp_task_let_go(keep_agent_task *task)
{
	task->lease_by = task->lease_owner = (keep_bytes){NULL, 0};
	task->has_lease_until = false;
	task->lease_until = 0;
}

keep_status kp_task_refuse(kp_lease *lease, const keep_agent_task *task, keep_error *err)
{
	lease->unchanged = true;
	return kp_fail(err, KEEP_CONFLICT, "task '%" KP_PRI "': it is %" KP_PRI,
		       KP_ARG(task->task_id), KP_ARG(task->status));
}

/* ---------------------------------------------------------------- reading */

keep_status keep_assistant_get_task(keep_assistant *assistant, keep_bytes task_id,
				    keep_memory *memory, keep_agent_task *out, keep_error *err)
{
	keep_agent_task task = {.id = 0};
	bool found = false;
	keep_status status = kp_check_key("task_id", task_id, err);

	if (status == KEEP_OK)
		status = kp_store_get(&assistant->store, KP_ASSISTANT_GET_TASK,
				      KP_VALUES(kp_text_value(task_id)), &kp_agent_task_record,
				      memory, &task, &found, err);
	if (status == KEEP_OK && !found)
		status = fail_not_found(task_id, err);
	if (status == KEEP_OK)
		*out = task;
	return status;
}

static keep_status check_filter(const keep_task_filter *filter, keep_error *err)
{
	keep_status status = KEEP_OK;
	bool is_status = !filter->status.data;

	if (filter->conversation_id.data)
		status = kp_check_key("conversation_id", filter->conversation_id, err);
	if (status == KEEP_OK && filter->agent_name.data)
		status = kp_check_key("agent_name", filter->agent_name, err);
	for (size_t i = 0; i < KP_COUNT(statuses) && !is_status; i++)
		is_status = kp_bytes_equal(filter->status, keep_bytes_of(statuses[i]));
	if (status == KEEP_OK && !is_status)
		status = kp_fail(err, KEEP_INVALID,
				 "status: pending, running, completed, failed, cancelled or "
				 "interrupted is needed");
	if (status == KEEP_OK && filter->before_id < 0)
		status = kp_fail(err, KEEP_INVALID, "before_id: is below 0");
	return status;
}

/* Invariant 4. */
static size_t choose_list(const keep_task_filter *filter, int64_t limit, kp_value values[5],
			  size_t *count)
{
	size_t chosen = KP_ASSISTANT_LIST_TASKS, n = 0;

	if (filter->conversation_id.data)
		values[n++] = kp_text_value(filter->conversation_id);
	else if (filter->agent_name.data)
		values[n++] = kp_text_value(filter->agent_name);
	if (filter->status.data && !filter->conversation_id.data)
		values[n++] = kp_text_value(filter->status);
	values[n++] = kp_int_value(filter->before_id ? filter->before_id : INT64_MAX);
	if (filter->conversation_id.data) {
		chosen = KP_ASSISTANT_LIST_TASKS_OF;
		values[n++] = kp_text_value(filter->agent_name);
		values[n++] = kp_text_value(filter->status);
	} else if (filter->agent_name.data) {
		chosen = filter->status.data ? KP_ASSISTANT_LIST_TASKS_FOR_IN
					     : KP_ASSISTANT_LIST_TASKS_FOR;
	} else if (filter->status.data) {
		chosen = KP_ASSISTANT_LIST_TASKS_IN;
	}
	values[n++] = kp_int_value(limit);
	*count = n;
	return chosen;
}

keep_status keep_assistant_list_tasks(keep_assistant *assistant, const keep_task_filter *filter,
				      size_t limit, keep_memory *memory, keep_agent_task_list *out,
				      keep_error *err)
{
	static const keep_task_filter any = {.before_id = 0};
	kp_value values[5];
	int64_t most = 0;
	size_t statement, count;
	keep_status status = check_filter(filter ? filter : &any, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 50, KEEP_ASSISTANT_LIST_MAX, &most, err);
	if (status != KEEP_OK)
		return status;
	statement = choose_list(filter ? filter : &any, most, values, &count);
	return kp_store_list(&assistant->store, statement, values, count, &kp_agent_task_record,
			     memory, &out->items, &out->count, err);
}

/* ---------------------------------------------------------------- asking for work */

struct addition {
	keep_agent_task task;
	bool inserted;
};

/* Invariant 2. */
static keep_status compare_task(kp_lease *lease, const keep_agent_task *stored,
				const keep_agent_task *task, keep_error *err)
{
	bool is_same = kp_bytes_equal(stored->agent_name, task->agent_name) &&
		       kp_bytes_equal(stored->action, task->action) &&
		       kp_bytes_equal(stored->parameters, task->parameters);
	bool had_one = !stored->conversation_id.data && task->conversation_id.data, found = false;
	keep_status status = KEEP_OK;

	if (had_one)
		status = kp_lease_get(lease, KP_ASSISTANT_GET_CONVERSATION,
				      KP_VALUES(kp_text_value(task->conversation_id)), NULL, NULL,
				      NULL, &found, err);
	else
		found = !kp_bytes_equal(stored->conversation_id, task->conversation_id);
	if (status == KEEP_OK && (!is_same || found)) {
		lease->unchanged = true;
		status = kp_fail(err, KEEP_CONFLICT, "task '%" KP_PRI "': another one has that id",
				 KP_ARG(task->task_id));
	}
	return status;
}

static keep_status insert_task(kp_lease *lease, const keep_agent_task *task, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_conversation conversation;
	keep_status status = KEEP_OK;

	if (task->conversation_id.data)
		status = kp_conversation_find(lease, task->conversation_id, &arena, &conversation,
					      err);
	lease->unchanged = status == KEEP_NOT_FOUND;
	if (status == KEEP_OK)
		status = kp_lease_run(
			lease, KP_ASSISTANT_ADD_TASK,
			KP_VALUES(kp_text_value(task->task_id),
				  kp_text_value(task->conversation_id),
				  kp_text_value(task->agent_name), kp_text_value(task->action),
				  kp_json_value(task->parameters), kp_time_value(task->created_at)),
			NULL, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_addition(void *ctx, kp_lease *lease, keep_error *err)
{
	struct addition *addition = ctx;
	kp_arena arena = {.head = NULL};
	keep_agent_task stored;
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_TASK,
					  KP_VALUES(kp_text_value(addition->task.task_id)),
					  &kp_agent_task_record, &arena, &stored, &found, err);

	addition->inserted = !found;
	if (status == KEEP_OK && found)
		status = compare_task(lease, &stored, &addition->task, err);
	else if (status == KEEP_OK)
		status = insert_task(lease, &addition->task, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status check_task(const keep_agent_task *task, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (task->task_id.data)
		status = kp_check_key("task_id", task->task_id, err);
	if (status == KEEP_OK && task->conversation_id.data)
		status = kp_check_key("conversation_id", task->conversation_id, err);
	if (status == KEEP_OK)
		status = kp_check_key("agent_name", task->agent_name, err);
	if (status == KEEP_OK)
		status = kp_check_key("action", task->action, err);
	if (status == KEEP_OK)
		status = kp_check_json("parameters", task->parameters, KP_JSON_NULL, err);
	return status;
}

keep_status keep_assistant_add_task(keep_assistant *assistant, const keep_agent_task *task,
				    int64_t now_ms, char id_out[37], bool *inserted,
				    keep_error *err)
{
	struct addition addition = {.task = *task};
	char made[KP_UUID_TEXT_SIZE] = "";
	keep_status status = check_task(task, err);

	addition.task.created_at = kp_assistant_now(now_ms);
	if (status == KEEP_OK)
		status = kp_check_time("now", addition.task.created_at, err);
	if (status == KEEP_OK && !task->task_id.data) {
		status = kp_uuid_make(made, err);
		addition.task.task_id = keep_bytes_of(made);
	}
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_addition, &addition, KP_NEWS_TASK,
					 err);
	if (status == KEEP_OK && id_out)
		memcpy(id_out, made, sizeof made);
	if (status == KEEP_OK && inserted)
		*inserted = addition.inserted;
	return status;
}

/* ---------------------------------------------------------------- cancelling, trying again */

struct step {
	keep_bytes task_id, reason;
	int64_t now_ms;
	bool is_final;
};

static bool is_let_go(const keep_agent_task *task, int64_t now_ms)
{
	return !task->has_lease_until ||
	       kp_owner_check(task->lease_owner, task->lease_until, now_ms) != KP_OWNER_MAY_LIVE;
}

static keep_status apply_cancel(void *ctx, kp_lease *lease, keep_error *err)
{
	struct step *cancel = ctx;
	kp_arena arena = {.head = NULL};
	keep_agent_task task;
	keep_status status = kp_agent_task_find(lease, cancel->task_id, &arena, &task, err);
	bool is_running = status == KEEP_OK && is_in(&task, RUNNING);

	cancel->is_final = true;
	if (status == KEEP_OK && is_running && !is_let_go(&task, cancel->now_ms)) {
		cancel->is_final = false;
		if (!task.has_cancel_asked_at) {
			task.has_cancel_asked_at = true;
			task.cancel_asked_at = cancel->now_ms;
			task.error_message = cancel->reason;
			status = kp_task_store(lease, &task, err);
		}
	} else if (status == KEEP_OK && kp_task_may(task.status, CANCELLED)) {
		kp_task_let_go(&task);
		task.status = KEEP_BYTES(CANCELLED);
		task.has_completed_at = true;
		task.completed_at = cancel->now_ms;
		if (cancel->reason.data || !task.has_cancel_asked_at)
			task.error_message = cancel->reason;
		status = kp_task_store(lease, &task, err);
	} else if (status == KEEP_OK && !is_in(&task, CANCELLED)) {
		status = kp_task_refuse(lease, &task, err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_cancel_task(keep_assistant *assistant, keep_bytes task_id,
				       keep_bytes reason, int64_t now_ms, bool *is_final,
				       keep_error *err)
{
	struct step cancel = {
		.task_id = task_id, .reason = reason, .now_ms = kp_assistant_now(now_ms)};
	keep_status status = kp_check_key("task_id", task_id, err);

	if (status == KEEP_OK)
		status = kp_check_text("reason", reason, KP_KEY_MAX, KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_time("now", cancel.now_ms, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_cancel, &cancel, KP_NEWS_NONE,
					 err);
	if (status == KEEP_OK && is_final)
		*is_final = cancel.is_final;
	return status;
}

/* Why it failed stays until it is begun again. */
static keep_status apply_retry(void *ctx, kp_lease *lease, keep_error *err)
{
	struct step *retry = ctx;
	kp_arena arena = {.head = NULL};
	keep_agent_task task;
	keep_status status = kp_agent_task_find(lease, retry->task_id, &arena, &task, err);

	if (status == KEEP_OK && !kp_task_may(task.status, PENDING))
		status = kp_task_refuse(lease, &task, err);
	if (status == KEEP_OK) {
		kp_task_let_go(&task);
		task.status = KEEP_BYTES(PENDING);
		task.result = (keep_bytes){NULL, 0};
		task.has_completed_at = task.has_cancel_asked_at = false;
		status = kp_task_store(lease, &task, err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_retry_task(keep_assistant *assistant, keep_bytes task_id, int64_t now_ms,
				      keep_error *err)
{
	struct step retry = {.task_id = task_id, .now_ms = kp_assistant_now(now_ms)};
	keep_status status = kp_check_key("task_id", task_id, err);

	if (status == KEEP_OK)
		status = kp_check_time("now", retry.now_ms, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_retry, &retry, KP_NEWS_TASK, err);
	return status;
}
