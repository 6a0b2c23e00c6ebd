/*
 * adopt_tasks.c - the scheduled tasks of an adopted file, and their runs.
 *
 * Invariants:
 *   1. No adopted task stops a scheduler: one whose cron does not parse is failed, with the reason.
 *   2. An active task that has a cron is due some time: the source's dashboard made some without a
 *      next_run, which never fired; they get their next time. One of one time only without a
 * next_run stays as it is, for nobody knows when it was meant.
 *   3. A run belongs to a task; a run without one, and a second run of one time, are whole in
 *      adopted_rows.
 *
 * The source knew no scheduled time of a run, only when it ran: that is both.
 *
 * Tests: tests/contract/test_gateway_adopt.c, tests/torture/test_gateway_adopt_faults.c.
 */
#include "gateway/adopt.h"

#include <stdio.h>
#include <string.h>

/* What the source's cron column says: robfig's five fields, or an interval in ms. */
static keep_status read_schedule(const keep_scheduled_task *task, keep_schedule **out,
				 keep_error *err)
{
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	int64_t interval_ms;

	options.dialect = KEEP_DIALECT_ROBFIG;
	if (kp_int_parse(task->cron, &interval_ms))
		return keep_schedule_interval(interval_ms, task->anchor_at, out, err);
	return keep_schedule_parse(task->cron, &options, out, err);
}

static bool is_live(const keep_scheduled_task *task)
{
	return kp_bytes_equal(task->status, KEEP_BYTES(KEEP_SCHEDULED_TASK_STATUS_ACTIVE)) ||
	       kp_bytes_equal(task->status, KEEP_BYTES(KEEP_SCHEDULED_TASK_STATUS_PAUSED));
}

/* Invariants 1 and 2. */
static void complete_schedule(kp_adopt_row *row, keep_scheduled_task *task, keep_error *why)
{
	keep_schedule *schedule = NULL;
	keep_status status;

	if (row->status != KEEP_OK || !task->cron.data)
		return;
	status = read_schedule(task, &schedule, why);
	if (status == KEEP_OK && !task->has_next_run && is_live(task)) {
		status = keep_schedule_next(schedule, row->adopt->now_ms, &task->next_run, why);
		task->has_next_run = status == KEEP_OK;
	}
	keep_schedule_close(&schedule);
	if (status == KEEP_OK)
		return;
	if (status != KEEP_INVALID && status != KEEP_NOT_FOUND) {
		row->status = status;
		*row->adopt->err = *why;
	} else if (is_live(task)) {
		kp_adopt_place(row, "status", false);
		task->status = KEEP_BYTES(KEEP_SCHEDULED_TASK_STATUS_FAILED);
		task->last_error = keep_bytes_of(why->message);
	}
}

/* firing was a claim of a process that is gone; an unknown status runs nothing. */
static void read_status(kp_adopt_row *row, keep_scheduled_task *task)
{
	keep_bytes status = kp_adopt_optional(row, "status");

	task->status = status;
	if (!status.data) {
		task->status = KEEP_BYTES(KEEP_SCHEDULED_TASK_STATUS_ACTIVE);
	} else if (kp_bytes_equal(status, KEEP_BYTES(KEEP_SCHEDULED_TASK_STATUS_FIRING))) {
		task->status = KEEP_BYTES(KEEP_SCHEDULED_TASK_STATUS_ACTIVE);
		kp_adopt_place(row, "status", false);
		if (!task->has_next_run)
			task->next_run = row->adopt->now_ms;
		task->has_next_run = true;
	} else if (!kp_adopt_is_allowed(&kp_scheduled_task_record, "status", status)) {
		task->status = KEEP_BYTES(KEEP_SCHEDULED_TASK_STATUS_PAUSED);
		kp_adopt_place(row, "status", false);
	}
}

keep_status kp_adopt_task(kp_adopt_row *row)
{
	static const char *const keys[] = {"id", NULL};
	keep_error why = KEEP_ERROR_INIT;
	keep_scheduled_task task = {
		.id = kp_adopt_needed(row, "id"),
		.owner = kp_text_or(kp_adopt_text(row, "owner"), ""),
		.chat_jid = kp_text_or(kp_adopt_text(row, "chat_jid"), ""),
		.prompt = kp_text_or(kp_adopt_text(row, "prompt"), ""),
		.cron = kp_adopt_optional(row, "cron"),
		.created_at = kp_adopt_time_or(row, "created_at", row->adopt->now_ms),
		.timezone = KEEP_BYTES("UTC"),
		.context_mode = kp_adopt_optional(row, "context_mode"),
		.missed_policy = KEEP_BYTES(KEEP_SCHEDULED_TASK_MISSED_POLICY_RUN_ONCE),
		.dialect = KEEP_BYTES(KEEP_SCHEDULED_TASK_DIALECT_ROBFIG),
		.run_all_max = 10,
	};

	task.has_next_run = kp_adopt_time(row, "next_run", &task.next_run, NULL);
	task.anchor_at = task.has_next_run ? task.next_run : task.created_at;
	if (!task.context_mode.data ||
	    !kp_adopt_is_allowed(&kp_scheduled_task_record, "context_mode", task.context_mode)) {
		kp_adopt_place(row, "context_mode", !task.context_mode.data);
		task.context_mode = KEEP_BYTES(KEEP_SCHEDULED_TASK_CONTEXT_MODE_GROUP);
	}
	read_status(row, &task);
	complete_schedule(row, &task, &why);
	row->adopt->counts->tasks++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_TASK, &kp_scheduled_task_record, &task, NULL);
	return kp_adopt_keep_rest(row, keys);
}

keep_status kp_adopt_task_run(kp_adopt_row *row)
{
	static const char *const keys[] = {"id", NULL};
	bool stored = false;
	keep_task_run run = {
		.id = row->rowid,
		.task_id = kp_text_or(kp_adopt_text(row, "task_id"), ""),
		.status = kp_text_or(kp_adopt_text(row, "status"), ""),
		.result = kp_adopt_optional(row, "result"),
		.error = kp_adopt_optional(row, "error"),
	};
	int64_t id;

	if (kp_adopt_int(row, "id", &id))
		run.id = id;
	if (!kp_adopt_time(row, "run_at", &run.run_at, NULL))
		kp_adopt_refuse(row, "run_at", "is missing or empty");
	run.scheduled_for = run.run_at;
	run.has_duration_ms = kp_adopt_int(row, "duration_ms", &run.duration_ms);
	if (row->status != KEEP_OK)
		return row->status;
	if (!kp_adopt_is_allowed(&kp_task_run_record, "status", run.status))
		return kp_adopt_keep_whole(row);
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_TASK_RUN, &kp_task_run_record, &run, &stored);
	if (row->status == KEEP_OK && !stored)
		return kp_adopt_keep_whole(row);
	row->adopt->counts->task_runs++;
	return kp_adopt_keep_rest(row, keys);
}
