/*
 * assistant_adopt_work.c - agents, tasks, jobs and executions of an adopted file.
 *
 * Invariants:
 *   1. Nothing that was running runs: the process that ran it is gone, and whether it was done
 *      nobody knows. It is interrupted, and says so.
 *   2. No adopted job stops a scheduler. Its expression follows the dialect apscheduler, in the
 * zone of the source's setting user.timezone; one that cannot be read is disabled, with a remark.
 *      An enabled one is due at its next time from now on: what was missed before stays missed,
 *      as the source had it.
 *   3. Whatever ended has a time at which it did, so that retention finds it.
 *
 * Tests: tests/contract/test_assistant_adopt.c.
 */
#include "assistant/assistant_adopt.h"

static const char was_running[] = "was running when it was adopted";

static bool is_status(keep_bytes status, const char *name)
{
	return status.data && kp_taking_is(status, name);
}

/* ---------------------------------------------------------------- agents */

void kp_take_agent(kp_taking_row *row)
{
	static const char *const keys[] = {"name", NULL};
	int64_t now_ms = row->taking->now_ms;
	keep_agent_definition agent = {.role = KEEP_BYTES(""),
				       .goal = KEEP_BYTES(""),
				       .backstory = KEEP_BYTES(""),
				       .tools = KEEP_BYTES("[]"),
				       .priority = 5,
				       .intent_keywords = KEEP_BYTES("[]"),
				       .enabled = true,
				       .created_at = now_ms,
				       .updated_at = now_ms};

	kp_taking_fill(row, &kp_agent_definition_record, &agent);
	if (!agent.display_name.data)
		agent.display_name = kp_text_or(agent.name, "");
	if (agent.priority < 1 || agent.priority > 10) {
		agent.priority = agent.priority < 1 ? 1 : 10;
		kp_taking_place(row, "priority", false);
		kp_taking_note(row, "a priority outside of 1 to 10 became the nearest of them");
	}
	if (kp_check_key("name", agent.name, NULL) != KEEP_OK)
		kp_taking_keep_whole(row, "a row without a usable id was kept whole");
	else
		kp_taking_store(row, &kp_agent_definition_record, &agent, keys, NULL);
}

/* ---------------------------------------------------------------- tasks */

/* '' and one that is not there are none. */
static void check_conversation(kp_taking_row *row, keep_bytes *id)
{
	bool found = false;

	if (row->status == KEEP_OK && id->data)
		row->status = kp_lease_get(row->taking->lease, KP_ASSISTANT_ADOPT_HAS_CONVERSATION,
					   KP_VALUES(kp_text_value(*id)), NULL, NULL, NULL, &found,
					   row->taking->err);
	if (row->status != KEEP_OK || !id->data || found)
		return;
	*id = (keep_bytes){NULL, 0};
	kp_taking_place(row, "conversation_id", false);
	kp_taking_note(row, "the conversation is not there; its id was kept aside");
}

/* Invariant 1, for what has these columns; a status that is not known here is one, too. */
static void end_running(kp_taking_row *row, keep_bytes *status, keep_bytes *error_message,
			const char *interrupted)
{
	bool is_unknown = !status->data;

	if (!is_unknown && !kp_taking_is(*status, "running"))
		return;
	*status = keep_bytes_of(interrupted);
	kp_taking_place(row, "status", false);
	if (!error_message->data)
		*error_message = is_unknown ? KEEP_BYTES("its state is not known here")
					    : keep_bytes_of(was_running);
	kp_taking_note(row, is_unknown ? "a state that is not known here became interrupted"
				       : "was running, and became interrupted");
}

void kp_take_task(kp_taking_row *row)
{
	static const char *const keys[] = {"task_id", NULL};
	keep_agent_task task = {.agent_name = KEEP_BYTES("auto"),
				.action = KEEP_BYTES("dispatch_task"),
				.created_at = row->taking->now_ms};

	kp_taking_fill(row, &kp_agent_task_record, &task);
	check_conversation(row, &task.conversation_id);
	end_running(row, &task.status, &task.error_message, KEEP_AGENT_TASK_STATUS_INTERRUPTED);
	task.attempt = task.has_started_at;
	if (!task.has_completed_at && !is_status(task.status, KEEP_AGENT_TASK_STATUS_PENDING)) {
		task.has_completed_at = true;
		task.completed_at = row->taking->now_ms;
	}
	if (kp_check_key("task_id", task.task_id, NULL) != KEEP_OK)
		kp_taking_keep_whole(row, "a row without a usable id was kept whole");
	else
		kp_taking_store(row, &kp_agent_task_record, &task, keys, NULL);
}

/* ---------------------------------------------------------------- jobs */

/* A job that has what its type needs; false: it has nothing to do. */
static bool settle_type(kp_taking_row *row, keep_bytes *type, keep_bytes tool, keep_bytes prompt)
{
	bool fits = (is_status(*type, "tool") && tool.data) ||
		    (is_status(*type, "prompt") && prompt.data);

	if (fits)
		return true;
	kp_taking_place(row, "job_type", false);
	kp_taking_note(row, "a type that does not fit became tool or prompt, whichever is there");
	*type = prompt.data ? KEEP_BYTES("prompt") : KEEP_BYTES("tool");
	return prompt.data || tool.data;
}

static keep_status find_next(keep_cron_job *job, const char *zone, int64_t now_ms, keep_error *why)
{
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	keep_schedule *schedule = NULL;
	keep_status status;

	options.dialect = KEEP_DIALECT_APSCHEDULER;
	options.zone = zone;
	status = keep_schedule_parse(job->cron_expression, &options, &schedule, why);
	if (status == KEEP_OK)
		status = keep_schedule_next(schedule, now_ms, &job->next_run_at, why);
	keep_schedule_close(&schedule);
	return status;
}

/* Invariant 2. */
static void schedule_job(kp_taking_row *row, keep_cron_job *job)
{
	const char *zone = kp_text_or(row->taking->zone, "UTC").data;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	job->has_next_run_at = false;
	job->timezone = keep_bytes_of(zone);
	if (row->status != KEEP_OK)
		return;
	status = find_next(job, zone, row->taking->now_ms, &why);
	if (status == KEEP_NO_MEMORY) {
		row->status = status;
		*row->taking->err = why;
	} else if (status == KEEP_OK) {
		job->has_next_run_at = job->enabled;
	} else {
		kp_taking_place(row, "enabled", !job->enabled);
		job->enabled = false;
		kp_taking_note(row, "its expression or zone cannot be read; it was disabled");
	}
	if (!job->has_next_run_at)
		job->next_run_at = 0;
}

void kp_take_cron_job(kp_taking_row *row)
{
	static const char *const keys[] = {"job_id", NULL};
	int64_t now_ms = row->taking->now_ms;
	keep_cron_job job = {
		.cron_expression = KEEP_BYTES(""),
		.enabled = true,
		.created_at = now_ms,
		.updated_at = now_ms,
		.missed_policy = KEEP_BYTES(KEEP_CRON_JOB_MISSED_POLICY_RUN_ONCE),
		.overlap_policy = KEEP_BYTES(KEEP_CRON_JOB_OVERLAP_POLICY_SKIP),
		.timeout_ms = 1200000,
		.max_attempts = 3,
		.dialect = KEEP_BYTES(KEEP_CRON_JOB_DIALECT_APSCHEDULER),
		.run_all_max = 10,
	};

	kp_taking_fill(row, &kp_cron_job_record, &job);
	kp_taking_place(row, "next_run_at", true);
	if (!job.name.data)
		job.name = kp_text_or(job.job_id, "");
	if (row->status == KEEP_OK &&
	    (kp_check_key("job_id", job.job_id, NULL) != KEEP_OK ||
	     !settle_type(row, &job.job_type, job.tool_name, job.prompt))) {
		kp_taking_keep_whole(row, "a job without an id, or with nothing to do, was kept "
					  "whole");
		return;
	}
	schedule_job(row, &job);
	kp_taking_store(row, &kp_cron_job_record, &job, keys, NULL);
}

void kp_take_future_task(kp_taking_row *row)
{
	static const char *const keys[] = {"task_id", NULL};
	keep_future_task task = {.scheduled_time = INT64_MIN,
				 .created_at = row->taking->now_ms,
				 .timeout_ms = 600000,
				 .max_attempts = 3};
	bool is_pending;

	kp_taking_fill(row, &kp_future_task_record, &task);
	if (!task.name.data)
		task.name = kp_text_or(task.task_id, "");
	if (row->status == KEEP_OK &&
	    (kp_check_key("task_id", task.task_id, NULL) != KEEP_OK ||
	     task.scheduled_time == INT64_MIN ||
	     !settle_type(row, &task.job_type, task.tool_name, task.prompt))) {
		kp_taking_keep_whole(row, "a task without an id or a time, or with nothing to do, "
					  "was kept whole");
		return;
	}
	check_conversation(row, &task.conversation_id);
	end_running(row, &task.status, &task.error_message, KEEP_FUTURE_TASK_STATUS_INTERRUPTED);
	is_pending = is_status(task.status, KEEP_FUTURE_TASK_STATUS_PENDING);
	task.has_due_at = is_pending;
	task.due_at = is_pending ? task.scheduled_time : 0;
	/* Invariant 3. */
	if (!is_pending && !task.has_completed_at) {
		task.has_completed_at = true;
		task.completed_at = row->taking->now_ms;
	}
	kp_taking_store(row, &kp_future_task_record, &task, keys, NULL);
}

/* ---------------------------------------------------------------- executions */

enum { SAME_TIME_MAX = 1000 };

void kp_take_execution(kp_taking_row *row)
{
	static const char *const keys[] = {"id", "job_id", NULL};
	keep_job_execution execution = {.started_at = INT64_MIN};
	bool stored = false;

	kp_taking_fill(row, &kp_job_execution_record, &execution);
	if (row->status == KEEP_OK && (!execution.job_id.data || !execution.job_type.data ||
				       execution.started_at == INT64_MIN)) {
		kp_taking_keep_whole(row, "an execution without a job, a type or a time was kept "
					  "whole");
		return;
	}
	end_running(row, &execution.status, &execution.error_message,
		    KEEP_JOB_EXECUTION_STATUS_INTERRUPTED);
	if (!execution.has_completed_at) {
		execution.has_completed_at = true;
		execution.completed_at = row->taking->now_ms;
	}
	/* The source knew when it ran, not when it was due; and runs by hand beside others. */
	execution.scheduled_for = execution.started_at;
	for (execution.attempt = 1;
	     !stored && row->status == KEEP_OK && execution.attempt <= SAME_TIME_MAX;
	     execution.attempt++)
		stored = kp_taking_insert(row, &kp_job_execution_record, &execution, NULL);
	if (stored)
		kp_taking_keep_rest(row, keys);
	else
		kp_taking_keep_whole(row, "a row whose key is missing or taken was kept whole");
}
