/*
 * gateway_tasks.c - scheduled tasks: making them, reading them, and their life but for firing.
 *
 * The states and their steps are drawn in gateway_tasks.h; `steps` below is that drawing.
 *
 * Invariants:
 *   1. What create_task stored can be fired: its expression, zone, dialect, owner and chat were
 *      read as firing reads them.
 *   2. A state changes only along `steps`, by compare-and-set, together with what goes with it. An
 *      illegal step is CONFLICT and changes nothing.
 *   3. An active task has a next_run. Another state has one only when it is paused, and then as a
 *      memory: resume keeps it for a task of one time only, if it is still ahead.
 *   4. anchor_at never changes: for an interval what it counts from, for all others the first time
 *      that was asked for. So a create that is repeated can be told from another one after the
 *      task has fired.
 *   5. No task is deleted: cancelled is a state, and its log stays.
 *
 * What it does not do: fire (task_fire.c), understand cron (task_schedule.c, schedule).
 *
 * Tests: tests/contract/test_gateway_tasks.c, tests/torture/test_gateway_tasks_faults.c,
 * tests/crash/test_gateway_tasks_crash.c.
 */
#include "gateway/gateway_tasks.h"

#include <string.h>

#define ACTIVE KEEP_SCHEDULED_TASK_STATUS_ACTIVE
#define PAUSED KEEP_SCHEDULED_TASK_STATUS_PAUSED
#define FIRING KEEP_SCHEDULED_TASK_STATUS_FIRING
#define COMPLETED KEEP_SCHEDULED_TASK_STATUS_COMPLETED
#define CANCELLED KEEP_SCHEDULED_TASK_STATUS_CANCELLED
#define FAILED KEEP_SCHEDULED_TASK_STATUS_FAILED

/* ---------------------------------------------------------------- steps */

static const struct {
	kp_task_step step;
	const char *from, *to;
} steps[] = {
	{KP_TASK_GO_ON, ACTIVE, ACTIVE},       {KP_TASK_GO_ON, FIRING, ACTIVE},
	{KP_TASK_COMPLETE, ACTIVE, COMPLETED}, {KP_TASK_COMPLETE, FIRING, COMPLETED},
	{KP_TASK_FAIL, ACTIVE, FAILED},        {KP_TASK_FAIL, FIRING, FAILED},
	{KP_TASK_PAUSE, ACTIVE, PAUSED},       {KP_TASK_PAUSE, FIRING, PAUSED},
	{KP_TASK_RESUME, PAUSED, ACTIVE},      {KP_TASK_RESUME, FAILED, ACTIVE},
	{KP_TASK_CANCEL, ACTIVE, CANCELLED},   {KP_TASK_CANCEL, FIRING, CANCELLED},
	{KP_TASK_CANCEL, PAUSED, CANCELLED},   {KP_TASK_CANCEL, FAILED, CANCELLED},
	{KP_TASK_RUN_NOW, ACTIVE, ACTIVE},     {KP_TASK_RUN_NOW, FIRING, FIRING},
	{KP_TASK_RUN_NOW, PAUSED, PAUSED},     {KP_TASK_RUN_NOW, COMPLETED, COMPLETED},
	{KP_TASK_RUN_NOW, FAILED, FAILED},
};

const char *kp_task_step_find(kp_task_step step, keep_bytes status)
{
	for (size_t i = 0; i < KP_COUNT(steps); i++)
		if (steps[i].step == step && kp_bytes_equal(status, keep_bytes_of(steps[i].from)))
			return steps[i].to;
	return NULL;
}

keep_status kp_task_load(kp_lease *lease, keep_bytes id, kp_arena *arena, keep_scheduled_task *out,
			 keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool found = false;
	keep_status status =
		kp_lease_bind(lease, KP_GATEWAY_GET_TASK, KP_VALUES(kp_text_value(id)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_scheduled_task_record, out, arena, &found,
					    err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "there is no task '%" KP_PRI "'", KP_ARG(id));
	return status;
}

static kp_value optional_time(bool has_time, int64_t time_ms)
{
	return has_time ? kp_time_value(time_ms) : kp_null_value(KP_TIME);
}

keep_status kp_task_save(kp_lease *lease, const keep_scheduled_task *task, kp_task_step step,
			 keep_error *err)
{
	const char *to = kp_task_step_find(step, task->status);
	int64_t changes = 0;
	keep_status status = KEEP_OK;

	if (to)
		status = kp_lease_run(
			lease, KP_GATEWAY_SAVE_TASK,
			KP_VALUES(kp_text_value(task->id), kp_text_value(task->status),
				  kp_text_value(keep_bytes_of(to)),
				  optional_time(task->has_next_run, task->next_run),
				  kp_int_value(task->attempts), kp_text_value(task->last_error),
				  optional_time(task->has_last_run, task->last_run),
				  optional_time(task->has_retry_of, task->retry_of),
				  kp_text_value(task->lease_by), kp_text_value(task->lease_owner),
				  optional_time(task->has_lease_until, task->lease_until)),
			&changes, err);
	if (status == KEEP_OK && !changes)
		status =
			kp_fail(err, KEEP_CONFLICT,
				"task '%" KP_PRI "': it is %" KP_PRI ", which this step is not for",
				KP_ARG(task->id), KP_ARG(task->status));
	return status;
}

/* ---------------------------------------------------------------- what is taken */

static keep_status check_given(const keep_scheduled_task *task, keep_error *err)
{
	keep_status status = kp_check_folder("owner", task->owner, err);

	if (status == KEEP_OK && task->id.data)
		status = kp_check_key("id", task->id, err);
	if (status == KEEP_OK && task->id.len > KP_TASK_ID_MAX)
		status = kp_fail(err, KEEP_INVALID, "id: %zu bytes, the limit is %d", task->id.len,
				 KP_TASK_ID_MAX);
	if (status == KEEP_OK)
		status = kp_check_key("chat_jid", task->chat_jid, err);
	if (status == KEEP_OK && !task->prompt.len)
		status = kp_fail(err, KEEP_INVALID, "prompt: is missing or empty");
	if (status == KEEP_OK)
		status = kp_check_content("prompt", task->prompt, err);
	if (status == KEEP_OK)
		status = kp_check_text("cron", task->cron, KEEP_SCHEDULE_BYTES_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_text("timezone", task->timezone, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK && task->has_next_run)
		status = kp_check_time("next_run", task->next_run, err);
	if (status == KEEP_OK)
		status = kp_check_time("anchor_at", task->anchor_at, err);
	return status;
}

static keep_status check_context_mode(keep_bytes mode, keep_error *err)
{
	if (kp_bytes_equal(mode, KEEP_BYTES(KEEP_SCHEDULED_TASK_CONTEXT_MODE_GROUP)) ||
	    kp_bytes_equal(mode, KEEP_BYTES(KEEP_SCHEDULED_TASK_CONTEXT_MODE_ISOLATED)))
		return KEEP_OK;
	return kp_fail(err, KEEP_INVALID, "context_mode: '%" KP_PRI "' is not group or isolated",
		       KP_ARG(mode));
}

/* Everything that is the store's to say of a new task, and the defaults (invariant 4). */
static keep_scheduled_task complete_task(const keep_scheduled_task *given, int64_t now_ms)
{
	keep_scheduled_task task = {
		.id = given->id,
		.owner = given->owner,
		.chat_jid = given->chat_jid,
		.prompt = given->prompt,
		.cron = given->cron.len ? given->cron : (keep_bytes){0},
		.next_run = given->next_run,
		.has_next_run = given->has_next_run,
		.status = KEEP_BYTES(ACTIVE),
		.created_at = now_ms,
		.timezone = kp_text_or(given->timezone, "UTC"),
		.context_mode =
			kp_text_or(given->context_mode, KEEP_SCHEDULED_TASK_CONTEXT_MODE_GROUP),
		.missed_policy = kp_text_or(given->missed_policy,
					    KEEP_SCHEDULED_TASK_MISSED_POLICY_RUN_ONCE),
		.dialect = kp_text_or(given->dialect, KEEP_SCHEDULED_TASK_DIALECT_DEBIAN),
		.grace_ms = given->grace_ms,
		.run_all_max = given->run_all_max ? given->run_all_max : KP_TASK_RUN_ALL_DEFAULT,
	};
	bool is_anchored = given->anchor_at && task.cron.data;

	task.anchor_at = is_anchored           ? given->anchor_at
			 : given->has_next_run ? given->next_run
					       : now_ms;
	return task;
}

/* Of an active task whose next_run is not said: the first time after `now_ms`, or now. */
static keep_status find_next_run(const keep_schedule *schedule, int64_t now_ms,
				 keep_scheduled_task *task, keep_error *err)
{
	keep_status status = KEEP_OK;

	task->next_run = now_ms;
	if (schedule)
		status = keep_schedule_next(schedule, now_ms, &task->next_run, err);
	if (status == KEEP_NOT_FOUND)
		status = kp_fail(err, KEEP_INVALID, "cron: it has no time after now");
	task->has_next_run = status == KEEP_OK;
	return status;
}

/* Invariant 1. */
static keep_status plan_new_task(keep_scheduled_task *task, keep_error *err)
{
	keep_schedule *schedule = NULL;
	kp_due_rules rules;
	keep_status status = check_context_mode(task->context_mode, err);

	if (status == KEEP_OK)
		status = kp_task_schedule(task, &schedule, err);
	if (status == KEEP_OK)
		status = kp_task_rules(task, schedule, &rules, err);
	if (status == KEEP_OK && !task->has_next_run)
		status = find_next_run(schedule, task->created_at, task, err);
	keep_schedule_close(&schedule);
	return status;
}

/* ---------------------------------------------------------------- create */

struct creation {
	keep_scheduled_task task;
	bool has_time; /* next_run or anchor_at was given: part of what has to agree */
	keep_put put;
};

static bool is_same_task(const struct creation *creation, const keep_scheduled_task *stored)
{
	const keep_scheduled_task *task = &creation->task;

	return kp_bytes_equal(task->owner, stored->owner) &&
	       kp_bytes_equal(task->chat_jid, stored->chat_jid) &&
	       kp_bytes_equal(task->prompt, stored->prompt) &&
	       kp_bytes_equal(task->cron, stored->cron) &&
	       kp_bytes_equal(task->timezone, stored->timezone) &&
	       kp_bytes_equal(task->context_mode, stored->context_mode) &&
	       kp_bytes_equal(task->missed_policy, stored->missed_policy) &&
	       kp_bytes_equal(task->dialect, stored->dialect) &&
	       task->grace_ms == stored->grace_ms && task->run_all_max == stored->run_all_max &&
	       (!creation->has_time || task->anchor_at == stored->anchor_at);
}

static keep_status apply_creation(void *ctx, kp_lease *lease, keep_error *err)
{
	struct creation *creation = ctx;
	kp_arena arena = {.head = NULL};
	keep_scheduled_task stored;
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_task_load(lease, creation->task.id, &arena, &stored, err);

	if (status == KEEP_OK)
		creation->put =
			is_same_task(creation, &stored) ? KEEP_PUT_DUPLICATE : KEEP_PUT_CONFLICT;
	kp_arena_release(&arena);
	if (status != KEEP_NOT_FOUND)
		return status;
	creation->put = KEEP_PUT_INSERTED;
	status = kp_lease_statement(lease, KP_GATEWAY_INSERT_TASK, &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_scheduled_task_record, &creation->task, err);
	if (status == KEEP_OK)
		return kp_sql_queue(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

keep_status keep_gateway_create_task(keep_gateway *gateway, const keep_scheduled_task *task,
				     keep_put *put, char id_out[37], keep_error *err)
{
	struct creation creation = {.has_time = task->has_next_run ||
						(task->anchor_at && task->cron.len)};
	char id[KP_UUID_TEXT_SIZE] = "";
	keep_status status = check_given(task, err);

	if (status != KEEP_OK)
		return status;
	creation.task = complete_task(task, kp_clock_ms());
	status = plan_new_task(&creation.task, err);
	if (status == KEEP_OK && !task->id.data) {
		status = kp_uuid_make(id, err);
		creation.task.id = keep_bytes_of(id);
	}
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_creation, &creation, KP_NEWS_NONE, err);
	if (status != KEEP_OK)
		return status;
	if (put)
		*put = creation.put;
	if (id_out && !task->id.data)
		memcpy(id_out, id, sizeof id);
	if (creation.put != KEEP_PUT_CONFLICT)
		return KEEP_OK;
	return kp_fail(err, KEEP_CONFLICT,
		       "task '%" KP_PRI "': conflict: another one is stored under this id",
		       KP_ARG(task->id));
}

/* ---------------------------------------------------------------- read */

keep_status keep_gateway_get_task(keep_gateway *gateway, keep_bytes id, keep_memory *memory,
				  keep_scheduled_task *out, keep_error *err)
{
	keep_status status = kp_check_key("id", id, err);
	bool found = false;

	if (status == KEEP_OK)
		status = kp_gateway_get(gateway, KP_GATEWAY_GET_TASK, KP_VALUES(kp_text_value(id)),
					&kp_scheduled_task_record, memory, out, &found, err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "there is no task '%" KP_PRI "'", KP_ARG(id));
	return status;
}

static keep_status check_status(keep_bytes wanted, keep_error *err)
{
	static const char *const states[] = {ACTIVE, PAUSED, FIRING, COMPLETED, CANCELLED, FAILED};

	for (size_t i = 0; i < KP_COUNT(states); i++)
		if (!wanted.data || kp_bytes_equal(wanted, keep_bytes_of(states[i])))
			return KEEP_OK;
	return kp_fail(err, KEEP_INVALID, "status: '%" KP_PRI "' is none of a task's",
		       KP_ARG(wanted));
}

keep_status keep_gateway_list_tasks(keep_gateway *gateway, keep_bytes owner, keep_bytes wanted,
				    size_t limit, keep_memory *memory,
				    keep_scheduled_task_list *out, keep_error *err)
{
	/* By whether an owner is named, and a status. */
	static const size_t statements[2][2] = {
		{KP_GATEWAY_LIST_TASKS, KP_GATEWAY_LIST_TASKS_OF_STATUS},
		{KP_GATEWAY_LIST_TASKS_OF_OWNER, KP_GATEWAY_LIST_TASKS_OF_OWNER_AND_STATUS},
	};
	int64_t rows = 0;
	kp_value values[3];
	size_t count = 1;
	keep_status status = KEEP_OK;

	if (owner.data)
		status = kp_check_folder("owner", owner, err);
	if (status == KEEP_OK)
		status = check_status(wanted, err);
	if (status == KEEP_OK)
		status = kp_check_limit(limit, 100, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status != KEEP_OK)
		return status;
	values[0] = kp_int_value(rows);
	if (owner.data)
		values[count++] = kp_text_value(owner);
	if (wanted.data)
		values[count++] = kp_text_value(wanted);
	return kp_gateway_list(gateway, statements[owner.data != NULL][wanted.data != NULL], values,
			       count, &kp_scheduled_task_record, memory, &out->items, &out->count,
			       err);
}

/* ---------------------------------------------------------------- pause, resume, cancel */

struct change_of_state {
	keep_bytes id;
	kp_task_step step;
	int64_t now_ms;
};

/* A series goes on after now; one time only keeps a time that is still ahead, else it is now. */
static keep_status resume_schedule(keep_scheduled_task *task, int64_t now_ms, keep_error *err)
{
	keep_schedule *schedule = NULL;
	keep_status status = kp_task_schedule(task, &schedule, err);

	if (status == KEEP_OK && (schedule || !task->has_next_run || task->next_run <= now_ms))
		status = find_next_run(schedule, now_ms, task, err);
	keep_schedule_close(&schedule);
	return status;
}

static keep_status apply_change_of_state(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct change_of_state *change = ctx;
	kp_arena arena = {.head = NULL};
	keep_scheduled_task task;
	keep_status status = kp_task_load(lease, change->id, &arena, &task, err);

	if (status == KEEP_OK) {
		/* A run that is being tried again is over with its task's being active. */
		if (task.has_retry_of && change->step == KP_TASK_PAUSE)
			task.next_run = task.retry_of;
		task.has_next_run &= change->step != KP_TASK_CANCEL;
		task.has_retry_of = task.has_lease_until = false;
		task.lease_by = task.lease_owner = (keep_bytes){0};
		task.attempts = change->step == KP_TASK_RESUME ? 0 : task.attempts;
	}
	if (status == KEEP_OK && change->step == KP_TASK_RESUME &&
	    kp_task_step_find(change->step, task.status))
		status = resume_schedule(&task, change->now_ms, err);
	if (status == KEEP_OK)
		status = kp_task_save(lease, &task, change->step, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status change_state(keep_gateway *gateway, keep_bytes id, kp_task_step step,
				int64_t now_ms, keep_error *err)
{
	struct change_of_state change = {id, step, kp_gateway_now(now_ms)};
	keep_status status = kp_check_key("id", id, err);

	if (status == KEEP_OK)
		status = kp_check_time("now", change.now_ms, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_change_of_state, &change, KP_NEWS_NONE,
					   err);
	return status;
}

keep_status keep_gateway_pause_task(keep_gateway *gateway, keep_bytes id, keep_error *err)
{
	return change_state(gateway, id, KP_TASK_PAUSE, KEEP_NOW, err);
}

keep_status keep_gateway_resume_task(keep_gateway *gateway, keep_bytes id, int64_t now_ms,
				     keep_error *err)
{
	return change_state(gateway, id, KP_TASK_RESUME, now_ms, err);
}

keep_status keep_gateway_cancel_task(keep_gateway *gateway, keep_bytes id, keep_error *err)
{
	return change_state(gateway, id, KP_TASK_CANCEL, KEEP_NOW, err);
}
