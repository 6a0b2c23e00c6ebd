/*
 * test_assistant_job_policies.c - what becomes of runs that were missed, or that come too early, by
 * which clock, among which others.
 *
 *     test_assistant_job_policies sqlite|postgres
 *
 * A minutely job whose scheduler comes late, for every policy: which runs there are, what the
 * history says of the others, and when it is due next.
 */
#include "job_steps.h"

static const struct {
	const char *missed, *overlap;
	int64_t run_all_max, grace_ms;
	int64_t late_ms;    /* after T + 1 min, which is the first due time */
	bool one_runs;      /* a run of before is not done */
	size_t taken;       /* claimed at once, of many asked for */
	int64_t waiting;    /* beside them, behind the gate */
	int64_t skipped;    /* rows of the history */
	int64_t first_ms;   /* of the taken: after T */
	const char *reason; /* of a skipped one */
} cases[] = {
	/* On time: it runs, whatever the policy is. */
	{"run_once", "skip", 0, 0, 0, false, 1, 0, 0, MINUTE, NULL},
	{"skip", "skip", 0, 0, 0, false, 1, 0, 0, MINUTE, NULL},
	{"skip", "skip", 0, 0, 59999, false, 1, 0, 0, MINUTE, NULL},
	{"run_all", "skip", 0, 0, 0, false, 1, 0, 0, MINUTE, NULL},
	/* Late by 5 minutes and a half: 6 times, the last of which is on time. */
	{"run_once", "skip", 0, 0, 330000, false, 1, 0, 1, 6 * MINUTE, "5 runs"},
	{"skip", "skip", 0, 0, 330000, false, 1, 0, 1, 6 * MINUTE, "missed_policy is skip"},
	{"run_all", "skip", 0, 0, 330000, false, 1, 5, 0, MINUTE, NULL},
	{"run_all", "queue", 0, 0, 330000, false, 1, 5, 0, MINUTE, NULL},
	{"run_all", "allow", 0, 0, 330000, false, 6, 0, 0, MINUTE, NULL},
	/* As many as it may, the latest. */
	{"run_all", "allow", 4, 0, 330000, false, 4, 0, 1, 3 * MINUTE, "2 runs"},
	{"run_all", "queue", 1, 0, 330000, false, 1, 0, 1, 6 * MINUTE, "5 runs"},
	/* Within a grace. */
	{"run_all", "allow", 0, 3 * MINUTE, 330000, false, 3, 0, 1, 4 * MINUTE, "3 runs"},
	{"run_once", "skip", 0, 1, 330000, false, 1, 0, 1, 6 * MINUTE, "5 runs"},
	/* One before is not done. */
	{"run_once", "skip", 0, 0, 0, true, 0, 0, 1, 0, "an earlier run is not done"},
	{"run_once", "queue", 0, 0, 0, true, 0, 1, 0, 0, NULL},
	{"run_once", "allow", 0, 0, 0, true, 1, 0, 0, MINUTE, NULL},
	{"run_all", "skip", 0, 0, 330000, true, 0, 0, 6, 0, "overlap_policy is skip"},
	{"run_all", "queue", 0, 0, 330000, true, 0, 6, 0, 0, NULL},
	{"run_all", "allow", 3, 0, 330000, true, 3, 0, 1, 4 * MINUTE, "3 runs"},
	{"skip", "queue", 0, 0, 330000, true, 0, 1, 1, 0, "5 runs"},
};

static void check_case(size_t i)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "* * * * *");
	keep_error err = KEEP_ERROR_INIT;
	int64_t now = T + MINUTE + cases[i].late_ms, next = now - now % MINUTE + MINUTE, at = 0;
	struct claimed claimed;
	char like[200];

	print_message("case %zu: %s, %s\n", i, cases[i].missed, cases[i].overlap);
	job.missed_policy = keep_bytes_of(cases[i].missed);
	job.overlap_policy = keep_bytes_of(cases[i].overlap);
	job.run_all_max = cases[i].run_all_max;
	job.grace_ms = cases[i].grace_ms;
	put_job(assistant, &job, T);
	if (cases[i].one_runs) {
		OK(keep_assistant_run_now(assistant, KEEP_BYTES("a"), T + 1, NULL, &at, &err));
		assert_int_equal(claim_many(assistant, 1, HOUR, T + 1).count, 1);
	}
	claimed = claim_many(assistant, 100, HOUR, now);
	assert_int_equal(claimed.count, cases[i].taken);
	if (claimed.count)
		assert_int_equal(claimed.first.scheduled_for, T + cases[i].first_ms);
	assert_int_equal(assistant_count("job_runs WHERE state = 'waiting'"), cases[i].waiting);
	assert_int_equal(assistant_count("job_runs WHERE due_at IS NULL"), cases[i].waiting);
	assert_int_equal(count_executions("status = 'skipped' AND attempt = 0"), cases[i].skipped);
	(void)snprintf(like, sizeof like, "status = 'skipped' AND error_message LIKE '%%%s%%'",
		       cases[i].reason ? cases[i].reason : "");
	assert_int_equal(count_executions(like), cases[i].skipped);
	assert_int_equal(next_run_of(assistant, "a"), next);
	/* The same tick once more finds nothing. */
	claimed = claim_many(assistant, 100, HOUR, now);
	assert_int_equal(claimed.count, 0);
	assert_int_equal(claimed.next_ms, next);
	keep_assistant_close(&assistant);
}

static void each_policy_decides_what_runs_and_the_history_tells_the_rest(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++)
		check_case(i);
	keep_zone_forget();
	assert_nothing_lives();
}

static void queued_runs_follow_each_other_in_the_order_of_their_times(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "* * * * *");
	keep_error err = KEEP_ERROR_INIT;
	int64_t now = T + 3 * MINUTE;
	struct claimed claimed;

	(void)state;
	job.missed_policy = KEEP_BYTES("run_all");
	job.overlap_policy = KEEP_BYTES("queue");
	put_job(assistant, &job, T);
	for (int i = 1; i <= 3; i++) {
		claimed = claim_many(assistant, 100, 0, now);
		assert_int_equal(claimed.count, 1);
		assert_int_equal(claimed.first.scheduled_for, T + i * MINUTE);
		assert_int_equal(claimed.first.is_missed, i == 1);
		if (i != 2) {
			OK(finish(assistant, "a", T + i * MINUTE, 1, "success", now, &err));
			continue;
		}
		/* A failed one holds the later ones until it is done. */
		OK(finish(assistant, "a", T + i * MINUTE, 1, "failed", now, &err));
		claimed = claim_many(assistant, 100, 0, now);
		assert_int_equal(claimed.count, 0);
		claimed = claim_many(assistant, 100, 0, claimed.next_ms);
		assert_int_equal(claimed.first.scheduled_for, T + i * MINUTE);
		OK(finish(assistant, "a", T + i * MINUTE, 2, "success", now, &err));
	}
	assert_int_equal(assistant_count("job_runs"), 0);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void a_changed_overlap_policy_holds_for_what_waits_already(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "* * * * *");
	keep_error err = KEEP_ERROR_INIT;
	int64_t now = T + 4 * MINUTE;

	(void)state;
	job.missed_policy = KEEP_BYTES("run_all");
	job.overlap_policy = KEEP_BYTES("queue");
	put_job(assistant, &job, T);
	assert_int_equal(claim_many(assistant, 100, 0, now).count, 1);
	job.overlap_policy = KEEP_BYTES("allow");
	put_job(assistant, &job, now);
	assert_int_equal(claim_many(assistant, 1, 0, now).count, 1);
	job.overlap_policy = KEEP_BYTES("queue");
	put_job(assistant, &job, now);
	assert_int_equal(claim_many(assistant, 100, 0, now).count, 0);
	OK(finish(assistant, "a", T + MINUTE, 1, "success", now, &err));
	assert_int_equal(claim_many(assistant, 100, 0, now).count, 0);
	OK(finish(assistant, "a", T + 2 * MINUTE, 1, "success", now, &err));
	assert_int_equal(claim_many(assistant, 100, 0, now).count, 1);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void a_full_queue_says_so(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "* * * * *");

	(void)state;
	job.missed_policy = KEEP_BYTES("run_all");
	job.overlap_policy = KEEP_BYTES("queue");
	job.run_all_max = 64;
	job.timeout_ms = DAY;
	put_job(assistant, &job, T);
	assert_int_equal(claim_many(assistant, 1, DAY, T + 64 * MINUTE).count, 1);
	assert_int_equal(claim_many(assistant, 1, 0, T + 74 * MINUTE).count, 0);
	assert_int_equal(count_executions("status = 'skipped' AND error_message LIKE '%too many%'"),
			 9);
	assert_int_equal(assistant_count("job_runs WHERE state = 'waiting'"), 64);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void what_cannot_be_read_any_more_says_so_and_harms_no_other(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job bad = job_of("bad", "* * * * *"), good = job_of("good", "* * * * *");
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;

	(void)state;
	bad.missed_policy = KEEP_BYTES("run_all");
	put_job(assistant, &bad, T);
	put_job(assistant, &good, T);
	assistant_sql("UPDATE cron_jobs SET timezone = 'Gone/Zone' WHERE job_id = 'bad'");
	run = claim_many(assistant, 10, 0, T + MINUTE);
	assert_int_equal(run.count, 1);
	assert_string_equal(run.first_id, "good");
	OK(finish(assistant, "good", T + MINUTE, 1, "success", T + MINUTE, &err));
	assert_int_equal(count_executions("job_id = 'bad' AND status = 'failed' AND attempt = 0"),
			 1);
	assert_int_equal(next_run_of(assistant, "bad"), T + MINUTE + HOUR);
	/* It can be read again: nothing since is lost. */
	assistant_sql("UPDATE cron_jobs SET timezone = 'UTC' WHERE job_id = 'bad'");
	assistant_sql("UPDATE cron_jobs SET enabled = FALSE WHERE job_id = 'good'");
	run = claim_many(assistant, 10, 0, T + MINUTE + HOUR);
	assert_int_equal(run.count, 1);
	assert_string_equal(run.first_id, "bad");
	assert_int_equal(run.first.scheduled_for, T + MINUTE + HOUR - 9 * MINUTE);
	assert_int_equal(assistant_count("job_runs WHERE job_id = 'bad'"), 10);
	assert_int_equal(count_executions("job_id = 'bad' AND status = 'skipped'"), 1);
	assert_int_equal(next_run_of(assistant, "bad"), T + HOUR + 2 * MINUTE);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void clocks_that_step_make_no_run_twice(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "0 * * * *");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_job(assistant, &job, T);
	assert_int_equal(claim_one(assistant, T + HOUR).count, 1);
	OK(finish(assistant, "a", T + HOUR, 1, "success", T + HOUR, &err));
	assert_int_equal(claim_one(assistant, T + 2 * HOUR).count, 1);
	OK(finish(assistant, "a", T + 2 * HOUR, 1, "success", T + 2 * HOUR, &err));
	/* Back by two hours: nothing is due, even when somebody makes the times anew. */
	assert_int_equal(claim_one(assistant, T + HOUR).count, 0);
	OK(keep_assistant_enable_cron_job(assistant, KEEP_BYTES("a"), false, T, NULL, &err));
	OK(keep_assistant_enable_cron_job(assistant, KEEP_BYTES("a"), true, T, NULL, &err));
	assert_int_equal(next_run_of(assistant, "a"), T + HOUR);
	assert_int_equal(claim_one(assistant, T + HOUR).count, 0);
	assert_int_equal(claim_one(assistant, T + 2 * HOUR).count, 0);
	assert_int_equal(claim_one(assistant, T + 3 * HOUR).count, 1);
	assert_int_equal(count_executions("status = 'success'"), 2);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void a_zones_clocks_decide_when_a_job_is_due(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("a", "30 2 * * *");
	keep_error err = KEEP_ERROR_INIT;
	int64_t before = INT64_C(1774652400000); /* 2026-03-28T00:00:00+01:00 */

	(void)state;
	job.timezone = KEEP_BYTES("Europe/Brussels");
	put_job(assistant, &job, before - HOUR);
	assert_int_equal(claim_one(assistant, before + 150 * MINUTE).count, 1);
	OK(finish(assistant, "a", before + 150 * MINUTE, 1, "success", before, &err));
	/* On the 29th there is no 02:30; it is due at the first instant after the gap, 01:00Z. */
	assert_int_equal(next_run_of(assistant, "a"), before + DAY + 2 * HOUR);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void among_jobs_each_has_its_first_before_any_has_its_second(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job job = job_of("many", "* * * * *");
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claimed_runs runs;

	(void)state;
	job.missed_policy = KEEP_BYTES("run_all");
	job.overlap_policy = KEEP_BYTES("allow");
	put_job(assistant, &job, T);
	job = job_of("few", "10 * * * *");
	put_job(assistant, &job, T);
	OK(keep_assistant_claim_due(assistant, 3, 0, T + 10 * MINUTE, &memory, &runs, NULL, &err));
	assert_int_equal(runs.count, 3);
	assert_bytes_equal(runs.items[0].job_id, KEEP_BYTES("many"));
	assert_int_equal(runs.items[0].scheduled_for, T + MINUTE);
	assert_bytes_equal(runs.items[1].job_id, KEEP_BYTES("few"));
	assert_bytes_equal(runs.items[1].prompt, job.prompt);
	assert_bytes_equal(runs.items[2].job_id, KEEP_BYTES("many"));
	assert_int_equal(runs.items[2].scheduled_for, T + 2 * MINUTE);
	assert_true(runs.items[2].is_missed);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

/* Only a file takes a text that is no time. */
static void a_row_that_is_damaged_says_so_and_harms_no_other(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_cron_job bad = job_of("bad", "* * * * *"), good = job_of("good", "* * * * *");
	keep_future_task task = {.task_id = KEEP_BYTES("once"),
				 .name = KEEP_BYTES("once"),
				 .job_type = KEEP_BYTES("prompt"),
				 .prompt = KEEP_BYTES("say it"),
				 .scheduled_time = T};
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;

	(void)state;
	put_job(assistant, &bad, T);
	put_job(assistant, &good, T);
	OK(keep_assistant_add_future_task(assistant, &task, T, NULL, NULL, NULL, &err));
	assistant_sql("UPDATE cron_jobs SET next_run_at = 'soon' WHERE job_id = 'bad'");
	assistant_sql("UPDATE cron_jobs SET created_at = 'once', next_run_at = '' "
		      "WHERE job_id = 'bad'");
	assistant_sql("UPDATE future_tasks SET created_at = 'once'");
	run = claim_many(assistant, 10, 0, T + MINUTE);
	assert_int_equal(run.count, 1);
	assert_string_equal(run.first_id, "good");
	assert_int_equal(count_executions("job_id = 'bad' AND status = 'failed'"), 1);
	assert_int_equal(assistant_count("future_tasks WHERE status = 'failed'"), 1);
	OK(finish(assistant, "good", T + MINUTE, 1, "success", T + MINUTE, &err));
	/* A run, too, while it runs. */
	assert_int_equal(claim_many(assistant, 10, 0, T + 2 * MINUTE).count, 1);
	assistant_sql("UPDATE job_runs SET created_at = 'once'");
	run = claim_many(assistant, 10, 0, T + 5 * MINUTE);
	assert_int_equal(run.count, 1);
	assert_int_equal(run.first.scheduled_for, T + 5 * MINUTE);
	assert_int_equal(assistant_count("job_runs WHERE state = 'dead'"), 1);
	assert_int_equal(count_executions("status = 'interrupted'"), 1);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_policy_decides_what_runs_and_the_history_tells_the_rest),
		cmocka_unit_test(queued_runs_follow_each_other_in_the_order_of_their_times),
		cmocka_unit_test(a_changed_overlap_policy_holds_for_what_waits_already),
		cmocka_unit_test(a_full_queue_says_so),
		cmocka_unit_test(what_cannot_be_read_any_more_says_so_and_harms_no_other),
		cmocka_unit_test(clocks_that_step_make_no_run_twice),
		cmocka_unit_test(a_zones_clocks_decide_when_a_job_is_due),
		cmocka_unit_test(among_jobs_each_has_its_first_before_any_has_its_second),
	};
	const struct CMUnitTest of_files[] = {
		cmocka_unit_test(a_row_that_is_damaged_says_so_and_harms_no_other),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (assistant_is_file())
		failed += cmocka_run_group_tests(of_files, NULL, NULL);
	assistant_end();
	return failed;
}
