/*
 * future_tasks.c - one-time tasks: asked for, read, listed.
 *
 *     pending ── claim ──> running ──> completed | cancelled
 *        ^                    │
 *        └── a later try ─────┴── no try left ──> failed | interrupted (and a dead letter)
 *
 * Invariants:
 *   1. The same task_id with the same values is the same task, whatever has become of it since.
 *   2. A task and a cron job never have the same name: what is said of a job says which.
 *   3. A name that is used again (its task was removed after its time) goes on with the numbers of
 *      its attempts, so that a row of job_executions is one attempt.
 *
 * What it does not do: claim and end them (job_claim.c, job_finish.c, job_runs.c).
 *
 * Tests: tests/contract/test_assistant_future_tasks.c.
 */
#include "assistant/assistant_jobs.h"

enum { LIST_DEFAULT = 50 };

keep_status kp_task_find(kp_lease *lease, keep_bytes task_id, kp_arena *arena,
			 keep_future_task *out, bool *found, keep_error *err)
{
	return kp_lease_get(lease, KP_ASSISTANT_GET_FUTURE_TASK, KP_VALUES(kp_text_value(task_id)),
			    &kp_future_task_record, arena, out, found, err);
}

/* ---------------------------------------------------------------- adding */

struct adding {
	keep_future_task task;
	int64_t now_ms;
	const keep_actor *actor;
	bool inserted; /* out */
};

static keep_status check_task(keep_future_task *task, keep_error *err)
{
	keep_status status = kp_check_key("task_id", task->task_id, err);

	if (status == KEEP_OK)
		status = kp_check_text("name", task->name, KP_KEY_MAX, KP_NOT_EMPTY, err);
	if (status == KEEP_OK)
		status = kp_check_text("description", task->description, KP_KEY_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK && task->conversation_id.data)
		status = kp_check_key("conversation_id", task->conversation_id, err);
	if (status == KEEP_OK)
		status = kp_check_time("scheduled_time", task->scheduled_time, err);
	if (status == KEEP_OK)
		status = kp_check_work(task->job_type, task->tool_name, task->tool_parameters,
				       task->prompt, err);
	if (status == KEEP_OK)
		status = kp_check_count("timeout_ms", &task->timeout_ms, KP_TASK_TIMEOUT_MS,
					KP_JOB_TIMEOUT_MAX_MS, err);
	if (status == KEEP_OK)
		status = kp_check_count("max_attempts", &task->max_attempts,
					KP_JOB_ATTEMPTS_DEFAULT, KP_JOB_ATTEMPTS_MAX, err);
	return status;
}

/* Invariant 1. A conversation that was deleted since has left a null. */
static keep_status check_same(kp_lease *lease, const keep_future_task *given,
			      const keep_future_task *stored, kp_arena *arena, keep_error *err)
{
	bool is_same = kp_bytes_equal(given->name, stored->name) &&
		       kp_bytes_equal(given->description, stored->description) &&
		       given->scheduled_time == stored->scheduled_time &&
		       kp_bytes_equal(given->job_type, stored->job_type) &&
		       kp_bytes_equal(given->tool_name, stored->tool_name) &&
		       kp_bytes_equal(given->tool_parameters, stored->tool_parameters) &&
		       kp_bytes_equal(given->prompt, stored->prompt) &&
		       given->timeout_ms == stored->timeout_ms &&
		       given->max_attempts == stored->max_attempts;
	keep_conversation conversation;
	keep_status status = KEEP_OK;

	if (is_same && !kp_bytes_equal(given->conversation_id, stored->conversation_id)) {
		is_same = false;
		if (given->conversation_id.data && !stored->conversation_id.data) {
			status = kp_conversation_find(lease, given->conversation_id, arena,
						      &conversation, err);
			is_same = status == KEEP_NOT_FOUND;
		}
		if (status == KEEP_NOT_FOUND)
			status = KEEP_OK;
	}
	if (status == KEEP_OK && !is_same)
		status = kp_fail(err, KEEP_CONFLICT,
				 "one-time task '%" KP_PRI "': it is there with other values",
				 KP_ARG(given->task_id));
	return status;
}

/* Invariant 3. */
static keep_status go_on_counting(kp_lease *lease, const keep_future_task *task, kp_arena *arena,
				  keep_error *err)
{
	keep_future_task stored = {.id = 0};
	kp_open_run run;
	int64_t last = 0;
	bool found = false;
	keep_status status = kp_lease_int(
		lease, KP_ASSISTANT_LAST_ATTEMPT,
		KP_VALUES(kp_text_value(task->task_id), kp_time_value(task->scheduled_time)), &last,
		NULL, err);

	if (status != KEEP_OK || !last)
		return status;
	status = kp_task_find(lease, task->task_id, arena, &stored, &found, err);
	if (status == KEEP_OK)
		status = kp_run_load(lease, (kp_run_key){true, stored.id}, arena, &run, err);
	if (status != KEEP_OK)
		return status;
	run.run.attempt = run.run.attempts_before = last;
	return kp_run_save(lease, &run, KEEP_FUTURE_TASK_STATUS_PENDING, (keep_bytes){NULL, 0}, 0,
			   err);
}

static keep_status insert_task(const struct adding *adding, kp_lease *lease, kp_arena *arena,
			       keep_error *err)
{
	const keep_future_task *task = &adding->task;
	keep_conversation conversation;
	keep_cron_job job;
	bool is_job = false;
	keep_status status = kp_job_find(lease, task->task_id, arena, &job, &is_job, err);

	if (status == KEEP_OK && is_job)
		status = kp_fail(err, KEEP_CONFLICT, "task_id '%" KP_PRI "': a cron job has it",
				 KP_ARG(task->task_id));
	if (status == KEEP_OK && task->conversation_id.data)
		status = kp_conversation_find(lease, task->conversation_id, arena, &conversation,
					      err);
	if (status == KEEP_OK)
		status = kp_lease_run(
			lease, KP_ASSISTANT_ADD_FUTURE_TASK,
			KP_VALUES(kp_text_value(task->task_id), kp_text_value(task->name),
				  kp_text_value(task->description),
				  kp_text_value(task->conversation_id),
				  kp_time_value(task->scheduled_time),
				  kp_text_value(task->job_type), kp_text_value(task->tool_name),
				  kp_json_value(task->tool_parameters), kp_text_value(task->prompt),
				  kp_time_value(adding->now_ms), kp_int_value(task->timeout_ms),
				  kp_int_value(task->max_attempts)),
			NULL, err);
	if (status == KEEP_OK)
		status = go_on_counting(lease, task, arena, err);
	if (status == KEEP_OK)
		status = kp_job_audit(lease,
				      &(kp_job_note){.action = "add_future_task",
						     .actor = adding->actor,
						     .job_id = task->task_id,
						     .name = task->name,
						     .scheduled_for = task->scheduled_time},
				      err);
	return status;
}

static keep_status apply_add(void *ctx, kp_lease *lease, keep_error *err)
{
	struct adding *adding = ctx;
	kp_arena arena = {.head = NULL};
	keep_future_task stored = {.id = 0};
	bool found = false;
	keep_status status =
		kp_task_find(lease, adding->task.task_id, &arena, &stored, &found, err);

	adding->inserted = !found;
	if (status == KEEP_OK && found)
		status = check_same(lease, &adding->task, &stored, &arena, err);
	else if (status == KEEP_OK)
		status = insert_task(adding, lease, &arena, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_add_future_task(keep_assistant *assistant, const keep_future_task *task,
					   int64_t now_ms, const keep_actor *actor, char id_out[37],
					   bool *inserted, keep_error *err)
{
	struct adding adding = {.task = *task, .now_ms = kp_assistant_now(now_ms), .actor = actor};
	char uuid[KP_UUID_TEXT_SIZE] = "";
	keep_status status = KEEP_OK;

	if (!task->task_id.data) {
		status = kp_uuid_make(uuid, err);
		adding.task.task_id = keep_bytes_of(uuid);
	}
	if (status == KEEP_OK)
		status = check_task(&adding.task, err);
	if (status == KEEP_OK)
		status = kp_check_time("now_ms", adding.now_ms, err);
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_add, &adding, KP_NEWS_DUE, err);
	if (status == KEEP_OK && inserted)
		*inserted = adding.inserted;
	if (status == KEEP_OK && id_out)
		memcpy(id_out, uuid, sizeof uuid);
	return status;
}

/* ---------------------------------------------------------------- reading */

keep_status keep_assistant_get_future_task(keep_assistant *assistant, keep_bytes task_id,
					   keep_memory *memory, keep_future_task *out,
					   keep_error *err)
{
	keep_future_task task = {.id = 0};
	bool found = false;
	keep_status status = kp_check_key("task_id", task_id, err);

	if (status == KEEP_OK)
		status = kp_store_get(&assistant->store, KP_ASSISTANT_GET_FUTURE_TASK,
				      KP_VALUES(kp_text_value(task_id)), &kp_future_task_record,
				      memory, &task, &found, err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "one-time task '%" KP_PRI "': there is none",
				 KP_ARG(task_id));
	if (status == KEEP_OK)
		*out = task;
	return status;
}

static keep_status check_status(keep_bytes status, keep_error *err)
{
	static const char *const all[] = {
		KEEP_FUTURE_TASK_STATUS_PENDING,   KEEP_FUTURE_TASK_STATUS_RUNNING,
		KEEP_FUTURE_TASK_STATUS_COMPLETED, KEEP_FUTURE_TASK_STATUS_FAILED,
		KEEP_FUTURE_TASK_STATUS_CANCELLED, KEEP_FUTURE_TASK_STATUS_INTERRUPTED};

	for (size_t i = 0; i < KP_COUNT(all); i++)
		if (kp_bytes_equal(status, keep_bytes_of(all[i])))
			return KEEP_OK;
	return kp_fail(err, KEEP_INVALID,
		       "status: pending, running, completed, failed, cancelled or interrupted is "
		       "needed");
}

keep_status keep_assistant_list_future_tasks(keep_assistant *assistant, keep_bytes status,
					     int64_t before_ms, size_t limit, keep_memory *memory,
					     keep_future_task_list *out, keep_error *err)
{
	int64_t rows = 0;
	kp_value before = kp_time_value(before_ms ? before_ms : KEEP_TIME_MAX);
	keep_status checked = status.data ? check_status(status, err) : KEEP_OK;

	if (checked == KEEP_OK)
		checked = kp_check_time("before_ms", before.integer, err);
	if (checked == KEEP_OK)
		checked = kp_check_limit(limit, LIST_DEFAULT, KEEP_ASSISTANT_LIST_MAX, &rows, err);
	if (checked == KEEP_OK && status.data)
		checked = kp_store_list(
			&assistant->store, KP_ASSISTANT_LIST_FUTURE_TASKS_OF_STATUS,
			KP_VALUES(before, kp_int_value(rows), kp_text_value(status)),
			&kp_future_task_record, memory, &out->items, &out->count, err);
	else if (checked == KEEP_OK)
		checked =
			kp_store_list(&assistant->store, KP_ASSISTANT_LIST_FUTURE_TASKS,
				      KP_VALUES(before, kp_int_value(rows)), &kp_future_task_record,
				      memory, &out->items, &out->count, err);
	return checked;
}
