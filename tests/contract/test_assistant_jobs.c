/*
 * test_assistant_jobs.c - cron jobs: defined, due, claimed, reported, each run once.
 *
 *     test_assistant_jobs sqlite|postgres
 */
#include "job_steps.h"

#include "sql/sql.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(keep_assistant **assistant)
{
	keep_assistant_close(assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static const keep_bytes none = {NULL, 0};

/* ---------------------------------------------------------------- definitions */

static void a_job_is_stored_with_its_defaults_and_its_next_time(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "*/5 * * * *"), found;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char id[37] = "x";

	(void)state;
	put_job(assistant, &job, T);
	OK(keep_assistant_get_cron_job(assistant, KEEP_BYTES("a"), &memory, &found, &err));
	assert_int_equal(found.next_run_at, T + 5 * MINUTE);
	assert_false(found.has_last_run_at);
	assert_bytes_equal(found.timezone, KEEP_BYTES("UTC"));
	assert_bytes_equal(found.missed_policy, KEEP_BYTES("run_once"));
	assert_bytes_equal(found.overlap_policy, KEEP_BYTES("skip"));
	assert_bytes_equal(found.dialect, KEEP_BYTES("debian"));
	assert_int_equal(found.max_attempts, 3);
	assert_int_equal(found.timeout_ms, 1200000);
	assert_int_equal(found.run_all_max, 10);
	job.job_id = none;
	OK(keep_assistant_put_cron_job(assistant, &job, T, NULL, id, &err));
	assert_int_equal(strlen(id), 36);
	OK(keep_assistant_get_cron_job(assistant, keep_bytes_of(id), &memory, &found, &err));
	assert_int_equal(assistant_count("audit_log WHERE action = 'put'"), 2);
	keep_memory_release(&memory);
	end(&assistant);
}

static void an_unchanged_expression_keeps_its_next_time_and_the_same_again_is_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "*/5 * * * *");

	(void)state;
	put_job(assistant, &job, T);
	put_job(assistant, &job, T + 7 * MINUTE);
	assert_int_equal(next_run_of(assistant, "a"), T + 5 * MINUTE);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'job_change'"), 1);
	job.name = KEEP_BYTES("another name");
	put_job(assistant, &job, T + 7 * MINUTE);
	assert_int_equal(next_run_of(assistant, "a"), T + 5 * MINUTE);
	job.timezone = KEEP_BYTES("Asia/Kathmandu");
	put_job(assistant, &job, T + 7 * MINUTE);
	assert_int_equal(next_run_of(assistant, "a"), T + 10 * MINUTE);
	job.cron_expression = KEEP_BYTES("0 * * * *");
	job.timezone = KEEP_BYTES("UTC");
	put_job(assistant, &job, T + 7 * MINUTE);
	assert_int_equal(next_run_of(assistant, "a"), T + HOUR);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'job_change'"), 4);
	end(&assistant);
}

static keep_bytes *column_of(keep_cron_job *job, const char *name)
{
	const struct {
		const char *name;
		keep_bytes *column;
	} all[] = {
		{"cron_expression", &job->cron_expression},
		{"timezone", &job->timezone},
		{"dialect", &job->dialect},
		{"missed_policy", &job->missed_policy},
		{"overlap_policy", &job->overlap_policy},
		{"job_type", &job->job_type},
		{"prompt", &job->prompt},
		{"name", &job->name},
		{"job_id", &job->job_id},
		{"tool_parameters", &job->tool_parameters},
	};

	for (size_t i = 0; i < KP_COUNT(all); i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i].column;
	fail();
	return NULL;
}

static void what_cannot_be_is_refused_with_its_name(void **state)
{
	static const struct {
		const char *column, *value, *named;
	} cases[] = {
		{"cron_expression", "0 9 30 2 *", "cron_expression"},
		{"cron_expression", "* * * *", "cron_expression"},
		{"cron_expression", "61 * * * *", "cron_expression"},
		{"cron_expression", "", "cron_expression"},
		{"timezone", "Mars/Olympus", "Mars"},
		{"dialect", "quartz", "dialect"},
		{"missed_policy", "never", "missed_policy"},
		{"overlap_policy", "maybe", "overlap_policy"},
		{"job_type", "mail", "job_type"},
		{"job_type", "tool", "tool_name"},
		{"prompt", "", "prompt"},
		{"name", "", "name"},
		{"job_id", "", "job_id"},
		{"tool_parameters", "[1]", "tool_parameters"},
	};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_cron_job job;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_bytes value = keep_bytes_of(cases[i].value);

		job = job_of("a", "* * * * *");
		*column_of(&job, cases[i].column) = value;
		CHECK(keep_assistant_put_cron_job(assistant, &job, T, NULL, NULL, &err) ==
			      KEEP_INVALID,
		      "%s = %s", cases[i].column, cases[i].value);
		CHECK(strstr(err.message, cases[i].named), "%s", err.message);
	}
	job = job_of("a", "* * * * *");
	job.max_attempts = -1;
	assert_int_equal(keep_assistant_put_cron_job(assistant, &job, T, NULL, NULL, &err),
			 KEEP_INVALID);
	job = job_of("a", "* * * * *");
	job.timeout_ms = -5;
	assert_int_equal(keep_assistant_put_cron_job(assistant, &job, T, NULL, NULL, &err),
			 KEEP_INVALID);
	job = job_of("a", "* * * * *");
	job.run_all_max = 65;
	assert_int_equal(keep_assistant_put_cron_job(assistant, &job, T, NULL, NULL, &err),
			 KEEP_INVALID);
	job = job_of("a", "* * * * *");
	job.grace_ms = -1;
	assert_int_equal(keep_assistant_put_cron_job(assistant, &job, T, NULL, NULL, &err),
			 KEEP_INVALID);
	assert_int_equal(assistant_count("cron_jobs"), 0);
	assert_int_equal(keep_assistant_remove_cron_job(assistant, KEEP_BYTES("a"), NULL, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(
		keep_assistant_enable_cron_job(assistant, KEEP_BYTES("a"), true, T, NULL, &err),
		KEEP_NOT_FOUND);
	end(&assistant);
}

static void jobs_are_listed_by_name_and_only_the_enabled_when_asked(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("1", "* * * * *");
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_cron_job_list list;

	(void)state;
	job.name = KEEP_BYTES("b");
	put_job(assistant, &job, T);
	job.job_id = KEEP_BYTES("2");
	job.name = KEEP_BYTES("a");
	job.enabled = false;
	put_job(assistant, &job, T);
	OK(keep_assistant_list_cron_jobs(assistant, false, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].name, KEEP_BYTES("a"));
	OK(keep_assistant_list_cron_jobs(assistant, true, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].job_id, KEEP_BYTES("1"));
	keep_memory_release(&memory);
	end(&assistant);
}

/* ---------------------------------------------------------------- a run's life */

static void a_due_run_is_claimed_once_and_reported_once(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *other = assistant_again("other");
	keep_cron_job job = job_of("a", "*/5 * * * *");
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;

	(void)state;
	put_job(assistant, &job, T);
	run = claim_one(assistant, T + 5 * MINUTE - 1);
	assert_int_equal(run.count, 0);
	assert_int_equal(run.next_ms, T + 5 * MINUTE);
	assert_int_equal(assistant_count("job_runs"), 0);
	run = claim_one(assistant, T + 5 * MINUTE);
	assert_int_equal(run.count, 1);
	assert_int_equal(run.first.scheduled_for, T + 5 * MINUTE);
	assert_int_equal(run.first.attempt, 1);
	assert_int_equal(run.first.lease_until, T + 7 * MINUTE);
	assert_int_equal(run.first.deadline_ms, T + 25 * MINUTE);
	assert_false(run.first.is_missed || run.first.is_by_hand);
	assert_true(run.first.execution_id > 0);
	/* The lease's end comes before the next time. */
	assert_int_equal(run.next_ms, T + 7 * MINUTE);
	assert_int_equal(claim_one(other, T + 5 * MINUTE).count, 0);
	assert_int_equal(next_run_of(other, "a"), T + 10 * MINUTE);
	OK(finish(other, "a", T + 5 * MINUTE, 1, "success", T + 6 * MINUTE, &err));
	OK(finish(other, "a", T + 5 * MINUTE, 1, "success", T + 7 * MINUTE, &err));
	assert_int_equal(finish(other, "a", T + 5 * MINUTE, 1, "failed", T + 7 * MINUTE, &err),
			 KEEP_CONFLICT);
	assert_int_equal(finish(other, "a", T + 5 * MINUTE, 2, "success", T, &err), KEEP_NOT_FOUND);
	assert_int_equal(finish(other, "a", T, 1, "success", T, &err), KEEP_NOT_FOUND);
	assert_int_equal(assistant_count("job_runs"), 0);
	assert_int_equal(assistant_count("job_executions"), 1);
	assert_int_equal(count_executions("status = 'success' AND attempt = 1"), 1);
	run = claim_one(assistant, T + 6 * MINUTE);
	assert_int_equal(run.next_ms, T + 10 * MINUTE);
	keep_assistant_close(&other);
	end(&assistant);
}

static void a_failure_is_tried_again_later_and_later_and_then_is_a_dead_letter(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "0 * * * *");
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;
	int64_t now = T + HOUR, waits[] = {30 * SECOND, 60 * SECOND};

	(void)state;
	put_job(assistant, &job, T);
	for (int attempt = 1; attempt <= 3; attempt++) {
		run = claim_one(assistant, now);
		assert_int_equal(run.count, 1);
		assert_int_equal(run.first.attempt, attempt);
		OK(finish(assistant, "a", T + HOUR, attempt, "failed", now, &err));
		OK(finish(assistant, "a", T + HOUR, attempt, "failed", now, &err));
		run = claim_one(assistant, now);
		assert_int_equal(run.count, 0);
		if (attempt == 3)
			break;
		assert_in_range(run.next_ms - now, waits[attempt - 1] * 8 / 10, waits[attempt - 1]);
		now = run.next_ms;
	}
	/* The series goes on. */
	assert_int_equal(run.next_ms, T + 2 * HOUR);
	assert_int_equal(count_executions("status = 'failed' AND error_message = 'no water'"), 3);
	assert_int_equal(assistant_count("job_runs WHERE state = 'dead'"), 1);
	assert_int_equal(claim_one(assistant, T + 2 * HOUR).count, 1);
	end(&assistant);
}

static void a_lease_that_is_over_is_interrupted_and_its_late_worker_is_told(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "0 * * * *");
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;
	bool cancel_asked = true;

	(void)state;
	put_job(assistant, &job, T);
	run = claim_many(assistant, 1, MINUTE, T + HOUR);
	OK(keep_assistant_extend_run(assistant, KEEP_BYTES("a"), T + HOUR, 1, 2 * MINUTE,
				     T + HOUR + 30 * SECOND, &cancel_asked, &err));
	assert_false(cancel_asked);
	run = claim_one(assistant, T + HOUR + 2 * MINUTE);
	assert_int_equal(run.next_ms, T + HOUR + 150 * SECOND);
	run = claim_one(assistant, T + HOUR + 150 * SECOND);
	assert_int_equal(run.count, 0);
	assert_int_equal(count_executions("status = 'interrupted' AND attempt = 1"), 1);
	assert_int_equal(keep_assistant_extend_run(assistant, KEEP_BYTES("a"), T + HOUR, 1, 0,
						   T + HOUR, NULL, &err),
			 KEEP_CONFLICT);
	assert_int_equal(finish(assistant, "a", T + HOUR, 1, "success", T + HOUR, &err),
			 KEEP_CONFLICT);
	run = claim_one(assistant, run.next_ms);
	assert_int_equal(run.first.attempt, 2);
	assert_int_equal(finish(assistant, "a", T + HOUR, 1, "success", T + HOUR, &err),
			 KEEP_CONFLICT);
	OK(finish(assistant, "a", T + HOUR, 2, "success", T + HOUR + 5 * MINUTE, &err));
	end(&assistant);
}

static void no_lease_outlives_the_timeout_and_who_lets_it_pass_has_failed(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "0 * * * *");
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;

	(void)state;
	job.timeout_ms = 3 * MINUTE;
	job.max_attempts = 1;
	put_job(assistant, &job, T);
	run = claim_many(assistant, 1, HOUR, T + HOUR);
	assert_int_equal(run.first.lease_until, T + HOUR + 3 * MINUTE);
	assert_int_equal(run.first.deadline_ms, T + HOUR + 3 * MINUTE);
	OK(keep_assistant_extend_run(assistant, KEEP_BYTES("a"), T + HOUR, 1, HOUR,
				     T + HOUR + MINUTE, NULL, &err));
	assert_int_equal(claim_one(assistant, T + HOUR + MINUTE).next_ms, T + HOUR + 3 * MINUTE);
	assert_int_equal(keep_assistant_extend_run(assistant, KEEP_BYTES("a"), T + HOUR, 1, HOUR,
						   T + HOUR + 3 * MINUTE, NULL, &err),
			 KEEP_CONFLICT);
	assert_int_equal(claim_one(assistant, T + HOUR + 3 * MINUTE).count, 0);
	assert_int_equal(count_executions("status = 'failed' AND error_message = 'timed out'"), 1);
	assert_int_equal(assistant_count("job_runs WHERE state = 'dead'"), 1);
	end(&assistant);
}

static void the_other_ends_are_ends(void **state)
{
	static const char *const ends[] = {"success", "skipped", "cancelled"};
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "0 * * * *");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_job(assistant, &job, T);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(claim_one(assistant, T + (1 + i) * HOUR).count, 1);
		OK(finish(assistant, "a", T + (1 + i) * HOUR, 1, ends[i], T + (1 + i) * HOUR,
			  &err));
	}
	assert_int_equal(assistant_count("job_runs"), 0);
	assert_int_equal(assistant_count("job_executions WHERE attempt = 1"), 3);
	assert_int_equal(finish(assistant, "a", T + HOUR, 1, "interrupted", T, &err), KEEP_INVALID);
	assert_int_equal(keep_assistant_finish_run(assistant, KEEP_BYTES("a"), T + HOUR, 1,
						   KEEP_BYTES("success"), KEEP_BYTES("{"), none,
						   none, T, &err),
			 KEEP_INVALID);
	end(&assistant);
}

/* ---------------------------------------------------------------- by hand, stopping */

static void run_now_stands_beside_the_expressions_runs(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "0 * * * *");
	keep_error err = KEEP_ERROR_INIT;
	int64_t at = 0;
	struct claimed run;

	(void)state;
	job.enabled = false;
	put_job(assistant, &job, T);
	OK(keep_assistant_run_now(assistant, KEEP_BYTES("a"), T + 5, NULL, &at, &err));
	assert_int_equal(at, T + 5);
	assert_int_equal(keep_assistant_run_now(assistant, KEEP_BYTES("a"), T + 5, NULL, &at, &err),
			 KEEP_CONFLICT);
	run = claim_one(assistant, T + 5);
	assert_int_equal(run.count, 1);
	assert_true(run.first.is_by_hand);
	/* Its failure is tried again, though the job is not enabled. */
	OK(finish(assistant, "a", T + 5, 1, "failed", T + 5, &err));
	run = claim_one(assistant, T + MINUTE);
	assert_int_equal(run.first.attempt, 2);
	OK(finish(assistant, "a", T + 5, 2, "success", T + MINUTE, &err));
	/* At a time of the expression it takes no run's place. */
	OK(keep_assistant_enable_cron_job(assistant, KEEP_BYTES("a"), true, T + MINUTE, NULL,
					  &err));
	OK(keep_assistant_run_now(assistant, KEEP_BYTES("a"), T + HOUR, NULL, &at, &err));
	assert_int_equal(at, T + HOUR + 1);
	assert_int_equal(next_run_of(assistant, "a"), T + HOUR);
	assert_int_equal(keep_assistant_run_now(assistant, KEEP_BYTES("b"), T, NULL, &at, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(assistant_count("audit_log WHERE action = 'run_now'"), 2);
	end(&assistant);
}

static void a_disabled_job_starts_nothing_and_makes_nothing_up(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "*/5 * * * *");
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;

	(void)state;
	put_job(assistant, &job, T);
	claim_one(assistant, T + 5 * MINUTE);
	OK(finish(assistant, "a", T + 5 * MINUTE, 1, "failed", T + 5 * MINUTE, &err));
	OK(keep_assistant_enable_cron_job(assistant, KEEP_BYTES("a"), false, T + 5 * MINUTE, NULL,
					  &err));
	assert_int_equal(next_run_of(assistant, "a"), 0);
	/* What waited for another try says what became of it. */
	assert_int_equal(assistant_count("job_runs"), 0);
	assert_int_equal(count_executions("status = 'cancelled' AND attempt = 0"), 1);
	run = claim_one(assistant, T + DAY);
	assert_int_equal(run.count, 0);
	assert_int_equal(run.next_ms, 0);
	OK(keep_assistant_enable_cron_job(assistant, KEEP_BYTES("a"), true, T + DAY, NULL, &err));
	OK(keep_assistant_enable_cron_job(assistant, KEEP_BYTES("a"), true, T + DAY + HOUR, NULL,
					  &err));
	assert_int_equal(next_run_of(assistant, "a"), T + DAY + 5 * MINUTE);
	assert_int_equal(claim_one(assistant, T + DAY).count, 0);
	assert_int_equal(assistant_count("audit_log WHERE action = 'enable'"), 1);
	assert_int_equal(assistant_count("audit_log WHERE action = 'disable'"), 1);
	end(&assistant);
}

static void cancelling_ends_what_waits_and_asks_what_runs(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "* * * * *");
	keep_error err = KEEP_ERROR_INIT;
	bool cancel_asked = false;
	int64_t count = 0;

	(void)state;
	job.overlap_policy = KEEP_BYTES("queue");
	put_job(assistant, &job, T);
	assert_int_equal(claim_one(assistant, T + MINUTE).count, 1);
	assert_int_equal(claim_one(assistant, T + 2 * MINUTE).count, 0);
	OK(keep_assistant_cancel_job(assistant, KEEP_BYTES("a"), T + 2 * MINUTE, NULL, &count,
				     &err));
	assert_int_equal(count, 2);
	assert_int_equal(count_executions("status = 'cancelled' AND attempt = 0"), 1);
	OK(keep_assistant_extend_run(assistant, KEEP_BYTES("a"), T + MINUTE, 1, 0, T + 2 * MINUTE,
				     &cancel_asked, &err));
	assert_true(cancel_asked);
	/* Its failure is not tried again. */
	OK(finish(assistant, "a", T + MINUTE, 1, "failed", T + 2 * MINUTE, &err));
	assert_int_equal(assistant_count("job_runs"), 0);
	assert_int_equal(claim_one(assistant, T + 3 * MINUTE).count, 1);
	assert_int_equal(
		keep_assistant_cancel_job(assistant, KEEP_BYTES("b"), T, NULL, &count, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(assistant_count("audit_log WHERE action = 'cancel'"), 1);
	end(&assistant);
}

static void a_removed_job_leaves_its_history_and_lets_its_worker_report(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "* * * * *");
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_execution_list list;

	(void)state;
	job.overlap_policy = KEEP_BYTES("allow");
	put_job(assistant, &job, T);
	assert_int_equal(claim_one(assistant, T + MINUTE).count, 1);
	assert_int_equal(claim_one(assistant, T + 2 * MINUTE).count, 1);
	OK(keep_assistant_history(assistant, KEEP_BYTES("a"), none, 0, 0, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].name, job.name);
	assert_int_equal(list.items[0].execution.scheduled_for, T + 2 * MINUTE);
	OK(keep_assistant_remove_cron_job(assistant, KEEP_BYTES("a"), NULL, &err));
	OK(finish(assistant, "a", T + MINUTE, 1, "failed", T + 2 * MINUTE, &err));
	/* The other one's process never reports: that is noticed too. */
	assert_int_equal(claim_one(assistant, T + HOUR).count, 0);
	OK(keep_assistant_history(assistant, none, none, 0, 0, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_null(list.items[0].name.data);
	assert_bytes_equal(list.items[0].execution.status, KEEP_BYTES("failed"));
	assert_int_equal(assistant_count("job_runs"), 0);
	assert_int_equal(count_executions("status = 'running'"), 0);
	OK(keep_assistant_history(assistant, KEEP_BYTES("a"), KEEP_BYTES("running"), 0, 0, &memory,
				  &list, &err));
	assert_int_equal(list.count, 0);
	OK(keep_assistant_history(assistant, none, KEEP_BYTES("failed"), 0, 1, &memory, &list,
				  &err));
	assert_int_equal(list.count, 1);
	OK(keep_assistant_history(assistant, none, none, list.items[0].execution.id, 0, &memory,
				  &list, &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(keep_assistant_history(assistant, none, KEEP_BYTES("done"), 0, 0, &memory,
						&list, &err),
			 KEEP_INVALID);
	keep_memory_release(&memory);
	end(&assistant);
}

/* ---------------------------------------------------------------- waiting, processes */

static void a_wait_ends_at_the_due_time_by_itself_and_with_news(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "0 0 1 1 *");
	keep_error err = KEEP_ERROR_INIT;
	bool due = true;
	int64_t begun;

	(void)state;
	OK(keep_assistant_wait_due(assistant, 0, &due, &err));
	assert_false(due);
	put_job(assistant, &job, KEEP_NOW);
	assistant_sql(assistant_is_file()
			      ? "UPDATE cron_jobs SET next_run_at = "
				"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+0.3 seconds')"
			      : "UPDATE cron_jobs SET next_run_at = "
				"date_trunc('milliseconds', now() + interval '0.3 seconds')");
	begun = kp_monotonic_ns();
	OK(keep_assistant_wait_due(assistant, 20000, &due, &err));
	assert_true(due);
	assert_true(kp_monotonic_ns() - begun < INT64_C(10000000000));
	assert_int_equal(claim_many(assistant, 1, 0, KEEP_NOW).count, 1);
	end(&assistant);
}

/* The program started again: takes one run for an hour, says so, and sleeps until it is killed. */
static int be_a_worker(const char *url)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claimed_runs runs = {NULL, 0};

	options.without_keys = true;
	if (keep_assistant_open(url, &options, &assistant, NULL) != KEEP_OK ||
	    keep_assistant_claim_due(assistant, 1, HOUR, T + HOUR, &memory, &runs, NULL, NULL) !=
		    KEEP_OK)
		return 2;
	if (write(STDOUT_FILENO, runs.count ? "1" : "0", 1) != 1)
		return 3;
	for (;;)
		pause();
}

static pid_t start_worker(const char *url, char *answer)
{
	int fds[2];
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		dup2(fds[1], STDOUT_FILENO);
		execl(assistant_program(), assistant_program(), "worker", url, (char *)NULL);
		_exit(9);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], answer, 1), 1);
	close(fds[0]);
	return child;
}

static void a_worker_that_dies_gives_its_run_back_at_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "0 * * * *");
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;
	char answer = '?';
	bool due = true;
	pid_t worker;

	(void)state;
	put_job(assistant, &job, T);
	assistant_sql("UPDATE cron_jobs SET timeout_ms = 36000000");
	worker = start_worker(assistant_url(), &answer);
	assert_int_equal(answer, '1');
	assert_int_equal(claim_one(assistant, T + HOUR + MINUTE).count, 0);
	assert_int_equal(count_executions("status = 'running'"), 1);
	kill(worker, SIGKILL);
	waitpid(worker, NULL, 0);
	OK(keep_assistant_wait_due(assistant, 0, &due, &err));
	assert_true(due);
	run = claim_one(assistant, T + HOUR + MINUTE);
	assert_int_equal(run.count, 0);
	assert_int_equal(count_executions("status = 'interrupted'"), 1);
	run = claim_one(assistant, run.next_ms);
	assert_int_equal(run.first.attempt, 2);
	end(&assistant);
}

struct racer {
	keep_assistant *assistant;
	size_t taken;
};

static void *race(void *ctx)
{
	struct racer *racer = ctx;

	for (int i = 1; i <= 20; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_claimed_runs runs = {NULL, 0};
		keep_error err = KEEP_ERROR_INIT;

		if (keep_assistant_claim_due(racer->assistant, 3, 0, T + i * MINUTE, &memory, &runs,
					     NULL, &err) != KEEP_OK) {
			print_error("%s\n", err.message);
			racer->taken += 1000;
		}
		racer->taken += runs.count;
		keep_memory_release(&memory);
	}
	return NULL;
}

static void schedulers_that_tick_at_once_take_each_run_once(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *other = assistant_again("other");
	keep_cron_job job = job_of("a", "* * * * *");
	struct racer racers[4] = {{assistant, 0}, {other, 0}, {assistant, 0}, {other, 0}};
	pthread_t threads[4];
	size_t taken = 0;

	(void)state;
	job.overlap_policy = KEEP_BYTES("allow");
	job.missed_policy = KEEP_BYTES("run_all");
	job.run_all_max = 64;
	put_job(assistant, &job, T);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		taken += racers[i].taken;
	}
	taken += claim_many(assistant, 100, 0, T + 20 * MINUTE).count;
	assert_int_equal(taken, count_executions("attempt >= 1"));
	assert_int_equal(count_executions("attempt = 1"), 20);
	keep_assistant_close(&other);
	end(&assistant);
}

/* ---------------------------------------------------------------- costs */

static void a_tick_with_nothing_due_writes_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *reader = NULL;
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_cron_job job = job_of("a", "0 * * * *");
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claimed_runs runs;
	char turns[200];

	(void)state;
	put_job(assistant, &job, T);
	(void)snprintf(turns, sizeof turns, "%s",
		       assistant_is_file() ? ""
					   : assistant_sql("SELECT CAST(changes AS text) FROM "
							   "assistant_turns"));
	for (int i = 0; i < 10; i++)
		assert_int_equal(claim_one(assistant, T + i).count, 0);
	if (!assistant_is_file())
		assert_string_equal(
			assistant_sql("SELECT CAST(changes AS text) FROM assistant_turns"), turns);
	options.read_only = true;
	options.without_keys = true;
	OK(assistant_open_with(&options, &reader, &err));
	assert_int_equal(keep_assistant_claim_due(reader, 1, 0, T, &memory, &runs, NULL, &err),
			 KEEP_DENIED);
	assert_int_equal(keep_assistant_claim_due(assistant, 1, -1, T, &memory, &runs, NULL, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_assistant_claim_due(assistant, 100000, 0, T, &memory, &runs, NULL, &err),
		KEEP_INVALID);
	keep_assistant_close(&reader);
	end(&assistant);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_is_stored_with_its_defaults_and_its_next_time),
		cmocka_unit_test(
			an_unchanged_expression_keeps_its_next_time_and_the_same_again_is_nothing),
		cmocka_unit_test(what_cannot_be_is_refused_with_its_name),
		cmocka_unit_test(jobs_are_listed_by_name_and_only_the_enabled_when_asked),
		cmocka_unit_test(a_due_run_is_claimed_once_and_reported_once),
		cmocka_unit_test(
			a_failure_is_tried_again_later_and_later_and_then_is_a_dead_letter),
		cmocka_unit_test(a_lease_that_is_over_is_interrupted_and_its_late_worker_is_told),
		cmocka_unit_test(no_lease_outlives_the_timeout_and_who_lets_it_pass_has_failed),
		cmocka_unit_test(the_other_ends_are_ends),
		cmocka_unit_test(run_now_stands_beside_the_expressions_runs),
		cmocka_unit_test(a_disabled_job_starts_nothing_and_makes_nothing_up),
		cmocka_unit_test(cancelling_ends_what_waits_and_asks_what_runs),
		cmocka_unit_test(a_removed_job_leaves_its_history_and_lets_its_worker_report),
		cmocka_unit_test(a_wait_ends_at_the_due_time_by_itself_and_with_news),
		cmocka_unit_test(a_worker_that_dies_gives_its_run_back_at_once),
		cmocka_unit_test(schedulers_that_tick_at_once_take_each_run_once),
		cmocka_unit_test(a_tick_with_nothing_due_writes_nothing),
	};
	int failed;

	if (argc == 3 && strcmp(argv[1], "worker") == 0)
		return be_a_worker(argv[2]);
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
