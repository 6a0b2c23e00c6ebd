/*
 * test_assistant_future_tasks.c - work for one time: once, and never again after it has ended.
 *
 *     test_assistant_future_tasks sqlite|postgres
 */
#include "assistant_rows.h"
#include "job_steps.h"

static const keep_bytes none = {NULL, 0};

static keep_future_task task_of(const char *id, int64_t at_ms)
{
	return (keep_future_task){.task_id = keep_bytes_of(id),
				  .name = KEEP_BYTES("call home"),
				  .scheduled_time = at_ms,
				  .job_type = KEEP_BYTES("tool"),
				  .tool_name = KEEP_BYTES("phone"),
				  .tool_parameters = KEEP_BYTES("{\"number\":1}")};
}

static bool add(keep_assistant *assistant, const keep_future_task *task, int64_t now_ms)
{
	keep_error err = KEEP_ERROR_INIT;
	bool inserted = false;

	OK(keep_assistant_add_future_task(assistant, task, now_ms, NULL, NULL, &inserted, &err));
	return inserted;
}

static keep_status add_refused(keep_assistant *assistant, const keep_future_task *task,
			       keep_error *err)
{
	return keep_assistant_add_future_task(assistant, task, T, NULL, NULL, NULL, err);
}

static void assert_status(keep_assistant *assistant, const char *id, const char *status)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_future_task task;

	OK(keep_assistant_get_future_task(assistant, keep_bytes_of(id), &memory, &task, &err));
	assert_bytes_equal(task.status, keep_bytes_of(status));
	keep_memory_release(&memory);
}

static void end(keep_assistant **assistant)
{
	keep_assistant_close(assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static keep_status report_hello(keep_assistant *assistant, int64_t now_ms, keep_error *err)
{
	return keep_assistant_finish_run(assistant, KEEP_BYTES("a"), T + HOUR, 1,
					 KEEP_BYTES("success"), KEEP_BYTES("{\"said\":\"hello\"}"),
					 none, KEEP_BYTES("box"), now_ms, err);
}

static void a_task_is_run_once_at_its_time(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_future_task task = task_of("a", T + HOUR), found;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claimed_runs runs;
	int64_t next = 0;

	(void)state;
	task.conversation_id = assistant_conversation(assistant, "c");
	assert_true(add(assistant, &task, T));
	assert_int_equal(claim_one(assistant, T + HOUR - 1).count, 0);
	assert_int_equal(claim_one(assistant, T + HOUR - 1).next_ms, T + HOUR);
	OK(keep_assistant_claim_due(assistant, 5, 0, T + HOUR, &memory, &runs, &next, &err));
	assert_int_equal(runs.count, 1);
	assert_bytes_equal(runs.items[0].run_type, KEEP_BYTES("future_task"));
	assert_bytes_equal(runs.items[0].tool_name, task.tool_name);
	assert_bytes_equal(runs.items[0].tool_parameters, task.tool_parameters);
	assert_bytes_equal(runs.items[0].conversation_id, task.conversation_id);
	assert_int_equal(runs.items[0].deadline_ms, T + HOUR + 10 * MINUTE);
	assert_status(assistant, "a", "running");
	assert_int_equal(claim_one(assistant, T + HOUR).count, 0);
	OK(report_hello(assistant, T + HOUR + 1, &err));
	OK(report_hello(assistant, T + HOUR + 2, &err));
	OK(keep_assistant_get_future_task(assistant, KEEP_BYTES("a"), &memory, &found, &err));
	assert_bytes_equal(found.status, KEEP_BYTES("completed"));
	assert_bytes_equal(found.result, KEEP_BYTES("{\"said\":\"hello\"}"));
	assert_int_equal(found.completed_at, T + HOUR + 1);
	assert_false(found.has_due_at || found.has_lease_until);
	assert_int_equal(claim_one(assistant, T + DAY).count, 0);
	assert_int_equal(claim_one(assistant, T + DAY).next_ms, 0);
	assert_int_equal(count_executions("container_id = 'box' AND job_type = 'future_task'"), 1);
	keep_memory_release(&memory);
	end(&assistant);
}

static void the_same_task_again_is_the_same_and_another_one_is_refused(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_future_task task = task_of("a", T + HOUR);
	keep_cron_job job = job_of("a", "* * * * *");
	keep_error err = KEEP_ERROR_INIT;
	char id[37] = "";

	(void)state;
	assert_true(add(assistant, &task, T));
	assert_false(add(assistant, &task, T + 1));
	task.name = KEEP_BYTES("another");
	assert_int_equal(add_refused(assistant, &task, &err), KEEP_CONFLICT);
	assert_int_equal(keep_assistant_put_cron_job(assistant, &job, T, NULL, NULL, &err),
			 KEEP_CONFLICT);
	job.job_id = KEEP_BYTES("b");
	put_job(assistant, &job, T);
	task.task_id = KEEP_BYTES("b");
	assert_int_equal(add_refused(assistant, &task, &err), KEEP_CONFLICT);
	task.task_id = none;
	OK(keep_assistant_add_future_task(assistant, &task, T, NULL, id, NULL, &err));
	assert_int_equal(strlen(id), 36);
	task.conversation_id = KEEP_BYTES("nobody");
	assert_int_equal(add_refused(assistant, &task, &err), KEEP_NOT_FOUND);
	assert_int_equal(assistant_count("audit_log WHERE action = 'add_future_task'"), 2);
	end(&assistant);
}

static void bad_input_names_what_is_wrong(void **state)
{
	static const char *const named[] = {
		"name",       "job_type",     "tool_name",     "tool_parameters",
		"timeout_ms", "max_attempts", "scheduled_time"};
	keep_assistant *assistant = assistant_fresh();
	keep_future_task tasks[7];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int i = 0; i < 7; i++)
		tasks[i] = task_of("a", T);
	tasks[0].name = none;
	tasks[1].job_type = KEEP_BYTES("mail");
	tasks[2].tool_name = none;
	tasks[3].tool_parameters = KEEP_BYTES("1");
	tasks[4].timeout_ms = -1;
	tasks[5].max_attempts = 101;
	tasks[6].scheduled_time = INT64_MAX;
	for (int i = 0; i < 7; i++) {
		assert_int_equal(add_refused(assistant, &tasks[i], &err), KEEP_INVALID);
		CHECK(strstr(err.message, named[i]), "%s", err.message);
	}
	assert_int_equal(assistant_count("future_tasks"), 0);
	end(&assistant);
}

static void a_time_that_is_past_is_due_at_once_and_run_now_makes_it_so(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_future_task task = task_of("past", T - DAY);
	keep_bytes later = KEEP_BYTES("later");
	keep_error err = KEEP_ERROR_INIT;
	int64_t at = 0;
	struct claimed run;

	(void)state;
	add(assistant, &task, T);
	run = claim_one(assistant, T);
	assert_int_equal(run.first.scheduled_for, T - DAY);
	assert_true(run.first.is_missed);
	task = task_of("later", T + DAY);
	add(assistant, &task, T);
	OK(keep_assistant_run_now(assistant, later, T, NULL, &at, &err));
	assert_int_equal(at, T + DAY);
	run = claim_one(assistant, T);
	assert_int_equal(run.first.scheduled_for, T + DAY);
	assert_true(run.first.is_by_hand);
	assert_int_equal(keep_assistant_run_now(assistant, later, T, NULL, &at, &err),
			 KEEP_CONFLICT);
	OK(finish(assistant, "later", T + DAY, 1, "skipped", T, &err));
	assert_status(assistant, "later", "completed");
	assert_int_equal(keep_assistant_run_now(assistant, later, T, NULL, &at, &err),
			 KEEP_CONFLICT);
	end(&assistant);
}

static void a_task_is_tried_again_and_then_is_failed_or_interrupted(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_future_task task = task_of("a", T);
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;
	int64_t now = T;

	(void)state;
	task.max_attempts = 2;
	add(assistant, &task, T);
	task.task_id = KEEP_BYTES("b");
	task.scheduled_time = T + DAY;
	add(assistant, &task, T);
	for (int attempt = 1; attempt <= 2; attempt++) {
		run = claim_one(assistant, now);
		assert_int_equal(run.first.attempt, attempt);
		OK(finish(assistant, "a", T, attempt, "failed", now, &err));
		now = claim_one(assistant, now).next_ms;
		assert_status(assistant, "a", attempt == 1 ? "pending" : "failed");
	}
	assert_int_equal(now, T + DAY);
	for (int attempt = 1; attempt <= 2; attempt++) {
		run = claim_one(assistant, now);
		assert_int_equal(run.count, 1);
		run = claim_one(assistant, now + 2 * MINUTE);
		now = run.next_ms;
	}
	assert_status(assistant, "b", "interrupted");
	assert_int_equal(assistant_count("job_runs WHERE state = 'dead' AND job_type = "
					 "'future_task'"),
			 2);
	assert_int_equal(count_executions("status = 'interrupted'"), 2);
	end(&assistant);
}

static void cancelling_reaches_a_waiting_and_a_running_task(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_future_task task = task_of("a", T);
	keep_error err = KEEP_ERROR_INIT;
	int64_t count = 0;
	bool cancel_asked = false;

	(void)state;
	add(assistant, &task, T);
	assert_int_equal(claim_one(assistant, T).count, 1);
	OK(keep_assistant_cancel_job(assistant, KEEP_BYTES("a"), T, NULL, &count, &err));
	assert_int_equal(count, 1);
	OK(keep_assistant_extend_run(assistant, KEEP_BYTES("a"), T, 1, 0, T, &cancel_asked, &err));
	assert_true(cancel_asked);
	OK(finish(assistant, "a", T, 1, "cancelled", T, &err));
	assert_status(assistant, "a", "cancelled");
	task.task_id = KEEP_BYTES("b");
	add(assistant, &task, T);
	OK(keep_assistant_cancel_job(assistant, KEEP_BYTES("b"), T, NULL, &count, &err));
	assert_status(assistant, "b", "cancelled");
	assert_int_equal(claim_one(assistant, T).count, 0);
	assert_int_equal(
		keep_assistant_cancel_job(assistant, KEEP_BYTES("b"), T, NULL, &count, &err),
		KEEP_CONFLICT);
	assert_int_equal(count_executions("job_id = 'b' AND status = 'cancelled'"), 1);
	end(&assistant);
}

static void tasks_are_listed_latest_first(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_future_task_list list;
	keep_future_task absent;

	(void)state;
	for (int i = 0; i < 5; i++) {
		char id[2] = {(char)('a' + i), 0};
		keep_future_task task = task_of(id, T + i * HOUR);

		add(assistant, &task, T);
	}
	assert_int_equal(claim_one(assistant, T).count, 1);
	OK(keep_assistant_list_future_tasks(assistant, none, 0, 2, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].task_id, KEEP_BYTES("e"));
	OK(keep_assistant_list_future_tasks(assistant, none, list.items[1].scheduled_time, 0,
					    &memory, &list, &err));
	assert_int_equal(list.count, 3);
	assert_bytes_equal(list.items[0].task_id, KEEP_BYTES("c"));
	OK(keep_assistant_list_future_tasks(assistant, KEEP_BYTES("running"), 0, 0, &memory, &list,
					    &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].task_id, KEEP_BYTES("a"));
	assert_int_equal(keep_assistant_list_future_tasks(assistant, KEEP_BYTES("done"), 0, 0,
							  &memory, &list, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_assistant_get_future_task(assistant, KEEP_BYTES("z"), &memory, &absent, &err),
		KEEP_NOT_FOUND);
	keep_memory_release(&memory);
	end(&assistant);
}

static void a_name_that_is_used_again_goes_on_counting(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_future_task task = task_of("a", T);
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;

	(void)state;
	add(assistant, &task, T);
	claim_one(assistant, T);
	OK(finish(assistant, "a", T, 1, "success", T, &err));
	assistant_sql("DELETE FROM future_tasks");
	add(assistant, &task, T);
	run = claim_one(assistant, T);
	assert_int_equal(run.first.attempt, 2);
	OK(finish(assistant, "a", T, 2, "failed", T, &err));
	assert_status(assistant, "a", "pending");
	end(&assistant);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_is_run_once_at_its_time),
		cmocka_unit_test(the_same_task_again_is_the_same_and_another_one_is_refused),
		cmocka_unit_test(bad_input_names_what_is_wrong),
		cmocka_unit_test(a_time_that_is_past_is_due_at_once_and_run_now_makes_it_so),
		cmocka_unit_test(a_task_is_tried_again_and_then_is_failed_or_interrupted),
		cmocka_unit_test(cancelling_reaches_a_waiting_and_a_running_task),
		cmocka_unit_test(tasks_are_listed_latest_first),
		cmocka_unit_test(a_name_that_is_used_again_goes_on_counting),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
