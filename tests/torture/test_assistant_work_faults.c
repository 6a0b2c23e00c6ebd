/*
 * test_assistant_work_faults.c - agents, their tasks, jobs and their runs, with the Nth thing in
 * each operation failing: assistant_faults.h says what must hold. A new one gets a line in the
 * table.
 *
 *     test_assistant_work_faults sqlite|postgres
 *
 * A claim that answers OK has what was due; one that failed took nothing, unless it is UNCERTAIN.
 */
#include "assistant_faults.h"

#include "job_steps.h"
#include "sql/sql.h"

static const keep_bytes none = {NULL, 0};

/* Nothing of earlier rounds is due. */
static void clear_work(void)
{
	kp_sql_conn *conn = assistant_connect_behind();
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(conn,
			 "DELETE FROM job_executions; DELETE FROM job_runs; DELETE FROM cron_jobs;"
			 "DELETE FROM future_tasks; DELETE FROM agent_tasks;",
			 &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_close(&conn);
}

/* ---------------------------------------------------------------- agents */

static keep_status select_agents(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_choices choices = {.count = 0};
	keep_status status = keep_assistant_select_agents(assistant, KEEP_BYTES("coordinate this"),
							  3, &memory, &choices, err);

	(void)id;
	if (status == KEEP_OK)
		assert_int_equal(choices.count, 3);
	keep_memory_release(&memory);
	return status;
}

static keep_status list_agents(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_definition_list list = {.count = 0};
	keep_status status = keep_assistant_list_agents(assistant, true, &memory, &list, err);

	(void)id;
	if (status == KEEP_OK)
		assert_int_equal(list.count, 9);
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- tasks */

static keep_status add_task(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_agent_task task = {.task_id = keep_bytes_of(id),
				      .agent_name = KEEP_BYTES("cook"),
				      .action = KEEP_BYTES("cook"),
				      .parameters = KEEP_BYTES("{\"a\": [1]}")};
	bool inserted = false;

	return keep_assistant_add_task(assistant, &task, T, NULL, &inserted, err);
}

static void make_tasks(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	clear_work();
	OK(add_task(assistant, id, &err));
	OK(add_task(assistant, "second", &err));
}

static keep_status claim_tasks_at(keep_assistant *assistant, int64_t now_ms, size_t expected,
				  keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_task_list list = {.count = 0};
	keep_status status = keep_assistant_claim_tasks(assistant, KEEP_BYTES("cook"), 5, MINUTE,
							now_ms, &memory, &list, err);

	if (status == KEEP_OK)
		assert_int_equal(list.count, expected);
	keep_memory_release(&memory);
	return status;
}

static keep_status claim_tasks(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return claim_tasks_at(assistant, T, 2, err);
}

static void make_running(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	make_tasks(assistant, id);
	OK(claim_tasks_at(assistant, T, 2, &err));
}

/* What ran out is interrupted on the way, and a third one is taken. */
static void make_expired(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	make_running(assistant, id);
	OK(add_task(assistant, "third", &err));
}

static keep_status claim_late(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return claim_tasks_at(assistant, T + HOUR, 1, err);
}

static keep_status extend_task(keep_assistant *assistant, const char *id, keep_error *err)
{
	bool cancel_asked = true;
	keep_status status = keep_assistant_extend_task(assistant, keep_bytes_of(id), 1, HOUR, T,
							&cancel_asked, err);

	if (status == KEEP_OK)
		assert_false(cancel_asked);
	return status;
}

static keep_status complete_task(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_finish_task(assistant, keep_bytes_of(id), 1, KEEP_BYTES("completed"),
					  KEEP_BYTES("{\"done\": true}"), none, T + SECOND, err);
}

static keep_status fail_task(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_finish_task(assistant, keep_bytes_of(id), 1, KEEP_BYTES("failed"),
					  none, KEEP_BYTES("burnt"), T + SECOND, err);
}

static void make_completed(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	make_running(assistant, id);
	OK(complete_task(assistant, id, &err));
}

static void make_failed(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	make_running(assistant, id);
	OK(fail_task(assistant, id, &err));
}

static keep_status retry_task(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_retry_task(assistant, keep_bytes_of(id), T + MINUTE, err);
}

static keep_status cancel_task(keep_assistant *assistant, const char *id, keep_error *err)
{
	bool is_final = false;

	return keep_assistant_cancel_task(assistant, keep_bytes_of(id), KEEP_BYTES("enough"), T,
					  &is_final, err);
}

static keep_status list_tasks(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_task_filter filter = {.agent_name = KEEP_BYTES("cook"),
					 .status = KEEP_BYTES("running")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_task_list list = {.count = 0};
	keep_status status = keep_assistant_list_tasks(assistant, &filter, 10, &memory, &list, err);

	(void)id;
	if (status == KEEP_OK)
		assert_int_equal(list.count, 2);
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- cron jobs */

/* Every minute; tried twice. */
static void make_job(keep_assistant *assistant, const char *id)
{
	keep_cron_job job = job_of(id, "* * * * *");

	clear_work();
	job.max_attempts = 2;
	put_job(assistant, &job, T);
}

static keep_status replace_job(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_cron_job job = job_of(id, "30 4 * * 1");

	return keep_assistant_put_cron_job(assistant, &job, T, NULL, NULL, err);
}

static keep_status claim_at(keep_assistant *assistant, int64_t now_ms, size_t expected,
			    keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claimed_runs runs = {.count = 0};
	int64_t next_ms = 0;
	keep_status status = keep_assistant_claim_due(assistant, 1, MINUTE, now_ms, &memory, &runs,
						      &next_ms, err);

	if (status == KEEP_OK)
		CHECK(runs.count == expected, "%zu runs instead of %zu", runs.count, expected);
	keep_memory_release(&memory);
	return status;
}

static keep_status claim_run(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return claim_at(assistant, T + MINUTE, 1, err);
}

static void make_run(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	make_job(assistant, id);
	OK(claim_at(assistant, T + MINUTE, 1, &err));
}

/* Its lease is over: it ends, and what came due meanwhile is looked at. */
static keep_status end_expired(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claimed_runs runs = {.count = 0};
	keep_status status = keep_assistant_claim_due(assistant, 1, MINUTE, T + 5 * MINUTE, &memory,
						      &runs, NULL, err);

	(void)id;
	keep_memory_release(&memory);
	return status;
}

static keep_status extend_run(keep_assistant *assistant, const char *id, keep_error *err)
{
	bool cancel_asked = true;
	keep_status status =
		keep_assistant_extend_run(assistant, keep_bytes_of(id), T + MINUTE, 1, 2 * MINUTE,
					  T + MINUTE + SECOND, &cancel_asked, err);

	if (status == KEEP_OK)
		assert_false(cancel_asked);
	return status;
}

static keep_status succeed(keep_assistant *assistant, const char *id, keep_error *err)
{
	return finish(assistant, id, T + MINUTE, 1, "success", T + MINUTE + SECOND, err);
}

static keep_status fail_first(keep_assistant *assistant, const char *id, keep_error *err)
{
	return finish(assistant, id, T + MINUTE, 1, "failed", T + MINUTE + SECOND, err);
}

static void make_succeeded(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	make_run(assistant, id);
	OK(succeed(assistant, id, &err));
}

/* The second and last attempt runs. */
static void make_last_attempt(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	make_run(assistant, id);
	OK(fail_first(assistant, id, &err));
	OK(claim_at(assistant, T + HOUR, 1, &err));
}

static keep_status fail_last(keep_assistant *assistant, const char *id, keep_error *err)
{
	return finish(assistant, id, T + MINUTE, 2, "failed", T + HOUR + SECOND, err);
}

static void make_dead(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	make_last_attempt(assistant, id);
	OK(fail_last(assistant, id, &err));
}

static keep_status list_dead(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_job_run_list list = {.count = 0};
	keep_status status = keep_assistant_list_dead_letters(assistant, keep_bytes_of(id), 10,
							      &memory, &list, err);

	if (status == KEEP_OK)
		assert_int_equal(list.count, 1);
	keep_memory_release(&memory);
	return status;
}

static keep_status retry_dead(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_retry_dead_letter(assistant, keep_bytes_of(id), T + MINUTE,
						T + 2 * HOUR, NULL, err);
}

static keep_status clear_dead(keep_assistant *assistant, const char *id, keep_error *err)
{
	int64_t count = 0;
	keep_status status =
		keep_assistant_clear_dead_letters(assistant, keep_bytes_of(id), NULL, &count, err);

	if (status == KEEP_OK)
		assert_int_equal(count, 1);
	return status;
}

static keep_status cancel_running(keep_assistant *assistant, const char *id, keep_error *err)
{
	int64_t count = 0;

	return keep_assistant_cancel_job(assistant, keep_bytes_of(id), T + MINUTE + SECOND, NULL,
					 &count, err);
}

static keep_status read_history(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_execution_list list = {.count = 0};
	keep_status status = keep_assistant_history(assistant, keep_bytes_of(id), none, 0, 10,
						    &memory, &list, err);

	if (status == KEEP_OK)
		assert_in_range(list.count, 2, 10);
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- one-time tasks */

static keep_status add_future(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_future_task task = {.task_id = keep_bytes_of(id),
				       .name = KEEP_BYTES("call"),
				       .scheduled_time = T + MINUTE,
				       .job_type = KEEP_BYTES("tool"),
				       .tool_name = KEEP_BYTES("phone"),
				       .tool_parameters = KEEP_BYTES("{\"who\": \"Ada\"}"),
				       .max_attempts = 1};
	bool inserted = false;

	return keep_assistant_add_future_task(assistant, &task, T, NULL, NULL, &inserted, err);
}

static void make_future(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	clear_work();
	OK(add_future(assistant, id, &err));
}

static void make_future_run(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	make_future(assistant, id);
	OK(claim_at(assistant, T + MINUTE, 1, &err));
}

static keep_status run_future_now(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_run_now(assistant, keep_bytes_of(id), T, NULL, NULL, err);
}

int main(int argc, char **argv)
{
	static const assistant_operation list[] = {
		{"select_agents", NULL, select_agents, 0, true},
		{"list_agents", NULL, list_agents, 0, true},
		{"add_task", NULL, add_task, 0, false},
		{"claim_tasks", make_tasks, claim_tasks, 0, false},
		{"claim_late", make_expired, claim_late, 0, false},
		{"extend_task", make_running, extend_task, 0, false},
		{"complete_task", make_running, complete_task, 0, false},
		{"complete_task_again", make_completed, complete_task, 0, true},
		{"fail_task", make_running, fail_task, 0, false},
		{"retry_task", make_failed, retry_task, 0, false},
		{"cancel_task", make_tasks, cancel_task, 0, false},
		{"cancel_running_task", make_running, cancel_task, 0, false},
		{"list_tasks", make_running, list_tasks, 0, true},
		{"replace_job", make_job, replace_job, 1, false},
		{"claim_due", make_job, claim_run, 0, false},
		{"end_expired", make_run, end_expired, 0, false},
		{"extend_run", make_run, extend_run, 0, false},
		{"succeed", make_run, succeed, 0, false},
		{"succeed_again", make_succeeded, succeed, 0, true},
		{"fail_first", make_run, fail_first, 0, false},
		{"fail_last", make_last_attempt, fail_last, 0, false},
		{"history", make_last_attempt, read_history, 0, true},
		{"list_dead_letters", make_dead, list_dead, 0, true},
		{"retry_dead_letter", make_dead, retry_dead, 1, false},
		{"clear_dead_letters", make_dead, clear_dead, 1, false},
		{"cancel_running", make_run, cancel_running, 1, false},
		{"claim_future", make_future, claim_run, 0, false},
		{"run_future_now", make_future, run_future_now, 1, false},
		{"succeed_future", make_future_run, succeed, 0, false},
		{"fail_future", make_future_run, fail_first, 0, false},
		{"cancel_future", make_future_run, cancel_running, 1, false},
	};

	return assistant_faults_main(argc, argv, list, KP_COUNT(list));
}
