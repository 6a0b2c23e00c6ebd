/*
 * task_runs.c - the log of scheduled tasks' runs, their messages, and runs beside the schedule.
 *
 * Invariants:
 *   1. A run is (task, scheduled time) and has one line. With a message_id its message is stored,
 *      and nothing but a report changes the line from then on.
 *   2. No error is overwritten: a line's text grows by one line for each attempt, and by the
 *      report's. At ERRORS_MAX the oldest go.
 *   3. A run beside the schedule takes a time that is neither logged nor one of the schedule's, so
 *      that it never stands for a run that is still to come. The task itself stays as it is.
 *   4. A report that comes twice changes nothing the second time.
 *
 * What it does not do: decide what is due (task_fire.c), run agents. `success` is "the message is
 * stored" until a report says what the agent made of it.
 *
 * Tests: tests/contract/test_gateway_task_fire.c, tests/contract/test_gateway_task_runs.c,
 * tests/torture/test_gateway_tasks_faults.c.
 */
#include "gateway/gateway_tasks.h"

#include <stdio.h>
#include <string.h>

enum {
	ERRORS_MAX = 8192, /* bytes of a line's error, of several attempts together */
	NUDGES_MAX = 10000 /* ms that a run beside the schedule may be moved */
};

/* ---------------------------------------------------------------- the log */

keep_status kp_task_run_read(kp_lease *lease, keep_bytes task_id, int64_t scheduled_ms,
			     kp_arena *arena, keep_task_run *run, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_GET_TASK_RUN,
		KP_VALUES(kp_text_value(task_id), kp_time_value(scheduled_ms)), &stmt, err);

	*run = (keep_task_run){0};
	*found = false;
	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_task_run_record, run, arena, found, err);
	return status;
}

keep_status kp_task_errors_join(keep_bytes before, keep_bytes text, kp_arena *arena,
				keep_bytes *out, keep_error *err)
{
	char *joined;

	*out = text.data ? text : before;
	if (!text.data || !before.data)
		return KEEP_OK;
	while (before.len && before.len + 1 + text.len > ERRORS_MAX) {
		const char *end = memchr(before.data, '\n', before.len);
		size_t cut = end ? (size_t)(end - before.data) + 1 : before.len;

		before = (keep_bytes){before.data + cut, before.len - cut};
	}
	if (!before.len)
		return KEEP_OK;
	joined = kp_arena_alloc(arena, before.len + 1 + text.len);
	if (!joined)
		return kp_fail_memory(err, "a run's errors");
	memcpy(joined, before.data, before.len);
	joined[before.len] = '\n';
	memcpy(joined + before.len + 1, text.data, text.len);
	*out = (keep_bytes){joined, before.len + 1 + text.len};
	return KEEP_OK;
}

bool kp_task_run_is_made(const keep_task_run *run)
{
	return run->message_id.data ||
	       kp_bytes_equal(run->status, KEEP_BYTES(KEEP_TASK_RUN_STATUS_SUCCESS));
}

keep_status kp_task_run_save(kp_lease *lease, const keep_task_run *run, kp_arena *memory,
			     keep_task_run *saved, bool *is_saved, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_SAVE_TASK_RUN,
		KP_VALUES(kp_text_value(run->task_id), kp_time_value(run->scheduled_for),
			  kp_time_value(run->run_at), kp_text_value(run->status),
			  kp_text_value(run->error), kp_text_value(run->message_id)),
		&stmt, err);

	*is_saved = false;
	if (status == KEEP_OK)
		status =
			kp_record_read_one(stmt, &kp_task_run_record, saved, memory, is_saved, err);
	return status;
}

/* ---------------------------------------------------------------- messages */

keep_bytes kp_task_message_id(keep_bytes task_id, int64_t scheduled_ms,
			      char text[KP_TASK_MESSAGE_ID_SIZE])
{
	int len = snprintf(text, KP_TASK_MESSAGE_ID_SIZE, "sched-%.*s-%lld", (int)task_id.len,
			   task_id.data, (long long)scheduled_ms);

	return (keep_bytes){
		text, (size_t)(len < KP_TASK_MESSAGE_ID_SIZE ? len : KP_TASK_MESSAGE_ID_SIZE - 1)};
}

static bool is_isolated(const keep_scheduled_task *task)
{
	return kp_bytes_equal(task->context_mode,
			      KEEP_BYTES(KEEP_SCHEDULED_TASK_CONTEXT_MODE_ISOLATED));
}

keep_status kp_task_put_prompt(kp_lease *lease, const keep_scheduled_task *task, keep_bytes id,
			       int64_t now_ms, keep_put_result *result, keep_error *err)
{
	char sender[KEEP_GATEWAY_TEXT_MAX + 1] = "scheduler";
	keep_message message;

	if (is_isolated(task))
		snprintf(sender, sizeof sender, "scheduler-isolated:%.*s", (int)task->id.len,
			 task->id.data);
	message =
		kp_message_inbound(task->chat_jid, id, keep_bytes_of(sender), task->prompt, now_ms);
	message.source = KEEP_BYTES("scheduler");
	return kp_message_put(lease, &message, NULL, false, result, err);
}

/* ---------------------------------------------------------------- run now */

struct run_now {
	keep_bytes id;
	int64_t now_ms;
	keep_memory *memory;
	keep_task_run run;
};

/* Invariant 3. A schedule that cannot be read has no times. */
static bool is_scheduled(const keep_scheduled_task *task, const keep_schedule *schedule,
			 int64_t time_ms)
{
	return (task->has_next_run && task->next_run == time_ms) ||
	       (task->has_retry_of && task->retry_of == time_ms) ||
	       (schedule && keep_schedule_matches(schedule, time_ms));
}

/* Store the message of a run at `scheduled_ms`; *is_taken when that time is somebody's already. */
static keep_status try_time(kp_lease *lease, const keep_scheduled_task *task,
			    const struct run_now *now, keep_task_run *run, bool *is_taken,
			    char id[KP_TASK_MESSAGE_ID_SIZE], keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_put_result result = {.put = KEEP_PUT_INSERTED};
	keep_task_run before;
	keep_status status = kp_task_run_read(lease, task->id, run->scheduled_for, &arena, &before,
					      is_taken, err);

	kp_arena_release(&arena);
	if (status != KEEP_OK || *is_taken)
		return status;
	run->message_id = kp_task_message_id(task->id, run->scheduled_for, id);
	status = kp_task_put_prompt(lease, task, run->message_id, now->now_ms, &result, err);
	*is_taken = result.put != KEEP_PUT_INSERTED;
	return status;
}

static keep_status run_beside(struct run_now *now, kp_lease *lease, const keep_scheduled_task *task,
			      const keep_schedule *schedule, keep_error *err)
{
	char id[KP_TASK_MESSAGE_ID_SIZE];
	keep_task_run run = {.task_id = task->id,
			     .run_at = now->now_ms,
			     .status = KEEP_BYTES(KEEP_TASK_RUN_STATUS_SUCCESS)};
	bool is_taken = true, is_saved;
	keep_status status = KEEP_OK;

	for (int64_t i = 0; i < NUDGES_MAX && status == KEEP_OK && is_taken; i++) {
		run.scheduled_for = now->now_ms + i;
		if (!is_scheduled(task, schedule, run.scheduled_for))
			status = try_time(lease, task, now, &run, &is_taken, id, err);
	}
	if (status == KEEP_OK && is_taken)
		status = kp_fail(err, KEEP_CONFLICT, "task '%" KP_PRI "': too many runs at once",
				 KP_ARG(task->id));
	if (status == KEEP_OK)
		status = kp_task_run_save(lease, &run, now->memory, &now->run, &is_saved, err);
	return status;
}

static keep_status apply_run_now(void *ctx, kp_lease *lease, keep_error *err)
{
	struct run_now *now = ctx;
	kp_arena arena = {.head = NULL};
	keep_scheduled_task task;
	keep_schedule *schedule = NULL;
	keep_status status = kp_task_load(lease, now->id, &arena, &task, err);

	if (status == KEEP_OK && !kp_task_step_find(KP_TASK_RUN_NOW, task.status))
		status = kp_fail(err, KEEP_CONFLICT, "task '%" KP_PRI "': it is %" KP_PRI,
				 KP_ARG(task.id), KP_ARG(task.status));
	if (status == KEEP_OK && kp_task_schedule(&task, &schedule, err) == KEEP_NO_MEMORY)
		status = KEEP_NO_MEMORY;
	if (status == KEEP_OK)
		status = run_beside(now, lease, &task, schedule, err);
	keep_schedule_close(&schedule);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_gateway_run_task_now(keep_gateway *gateway, keep_bytes id, int64_t now_ms,
				      keep_memory *memory, keep_task_run *run, keep_error *err)
{
	kp_arena unwanted = {.head = NULL};
	struct run_now now = {id, kp_gateway_now(now_ms), memory ? memory : &unwanted, {0}};
	keep_status status = kp_check_key("id", id, err);

	if (status == KEEP_OK)
		status = kp_check_time("now", now.now_ms, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_run_now, &now, KP_NEWS_INPUT, err);
	if (status == KEEP_OK && run && memory)
		*run = now.run;
	kp_arena_release(&unwanted);
	return status;
}

/* ---------------------------------------------------------------- reports */

struct report {
	keep_bytes task_id;
	int64_t scheduled_ms, duration_ms;
	keep_bytes result, error;
};

/* Does the line end with this report's error already? */
static bool is_told(keep_bytes errors, keep_bytes error)
{
	size_t before = errors.len - error.len;

	return errors.data && errors.len >= error.len &&
	       memcmp(errors.data + before, error.data, error.len) == 0 &&
	       (before == 0 || errors.data[before - 1] == '\n');
}

static keep_status apply_report(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct report *report = ctx;
	kp_arena arena = {.head = NULL};
	keep_bytes errors = {0};
	keep_task_run run;
	bool found;
	keep_status status = kp_task_run_read(lease, report->task_id, report->scheduled_ms, &arena,
					      &run, &found, err);

	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "task '%" KP_PRI "' has no run at that time",
				 KP_ARG(report->task_id));
	if (status == KEEP_OK && !kp_task_run_is_made(&run))
		status = kp_fail(err, KEEP_CONFLICT,
				 "task '%" KP_PRI "': its run at that time never started",
				 KP_ARG(report->task_id));
	if (status == KEEP_OK && report->error.data && is_told(run.error, report->error))
		errors = run.error;
	else if (status == KEEP_OK)
		status = kp_task_errors_join(run.error, report->error, &arena, &errors, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(
			lease, KP_GATEWAY_REPORT_TASK_RUN,
			KP_VALUES(kp_text_value(report->task_id),
				  kp_time_value(report->scheduled_ms),
				  kp_text_value(keep_bytes_of(
					  report->error.data ? KEEP_TASK_RUN_STATUS_ERROR
							     : KEEP_TASK_RUN_STATUS_SUCCESS)),
				  kp_int_value(report->duration_ms), kp_text_value(report->result),
				  kp_text_value(errors)),
			err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_gateway_report_task_run(keep_gateway *gateway, keep_bytes task_id,
					 int64_t scheduled_for, int64_t duration_ms,
					 keep_bytes result, keep_bytes error, keep_error *err)
{
	struct report report = {task_id, scheduled_for, duration_ms, result, error};
	keep_status status = kp_check_key("task_id", task_id, err);

	if (status == KEEP_OK)
		status = kp_check_time("scheduled_for", scheduled_for, err);
	if (status == KEEP_OK && duration_ms < 0)
		status = kp_fail(err, KEEP_INVALID, "duration_ms: %lld is below 0",
				 (long long)duration_ms);
	if (status == KEEP_OK)
		status = kp_check_content("result", result, err);
	if (status == KEEP_OK)
		status = kp_check_content("error", error, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_report, &report, KP_NEWS_NONE, err);
	return status;
}

keep_status keep_gateway_task_runs(keep_gateway *gateway, keep_bytes task_id, int64_t before_id,
				   size_t limit, keep_memory *memory, keep_task_run_list *out,
				   keep_error *err)
{
	int64_t rows = 0;
	keep_status status = kp_check_key("task_id", task_id, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 50, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_list(gateway, KP_GATEWAY_TASK_RUNS,
			       KP_VALUES(kp_text_value(task_id),
					 kp_int_value(before_id > 0 ? before_id : INT64_MAX),
					 kp_int_value(rows)),
			       &kp_task_run_record, memory, &out->items, &out->count, err);
}
