/*
 * test_assistant_jobs_crash.c - four schedulers are killed at any moment; each run's attempts are
 * one row each.
 *
 *     test_assistant_jobs_crash sqlite|postgres        KEEP_CRASH_ROUNDS: how many rounds
 *
 * Each round four processes claim and report by a clock of their own that runs fast, and all are
 * killed after a random time. In the end, with nobody left, the parent ends what was left behind.
 * Afterwards every (job, time) has attempts 1 to n without a gap, at most one success, none that
 * runs; what has none says why in a row of number 0; and no hour of any job is without a row.
 */
#include "job_steps.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS = 4, TASKS = 10, SCHEDULERS = 4, ROUNDS_DEFAULT = 12, HOURS_A_ROUND = 6 };

static char url[ASSISTANT_URL_MAX]; /* as the parent sees it, which is part of it */
static long rounds = ROUNDS_DEFAULT;

static void make_work(keep_assistant *assistant)
{
	static const char *const overlaps[] = {"skip", "queue", "allow", "queue"};
	keep_error err = KEEP_ERROR_INIT;

	for (int i = 0; i < JOBS; i++) {
		char id[8];
		keep_cron_job job;

		(void)snprintf(id, sizeof id, "j%d", i);
		job = job_of(id, "0 * * * *");
		job.overlap_policy = keep_bytes_of(overlaps[i]);
		job.missed_policy = KEEP_BYTES("run_all");
		job.run_all_max = 64;
		put_job(assistant, &job, T);
	}
	for (int i = 0; i < TASKS; i++) {
		char id[8];
		keep_future_task task = {.name = KEEP_BYTES("once"),
					 .job_type = KEEP_BYTES("prompt"),
					 .prompt = KEEP_BYTES("say it"),
					 .scheduled_time = T + i * 3 * HOUR};

		(void)snprintf(id, sizeof id, "t%d", i);
		task.task_id = keep_bytes_of(id);
		OK(keep_assistant_add_future_task(assistant, &task, T, NULL, NULL, NULL, &err));
	}
}

/* Report one run: well, badly, or not at all. */
static keep_status report(keep_assistant *assistant, const keep_claimed_run *run, uint64_t *seed,
			  int64_t now_ms, keep_error *err)
{
	uint64_t choice = next_random(seed) % 8;
	keep_status status;

	if (choice == 0)
		return KEEP_OK;
	status = keep_assistant_finish_run(
		assistant, run->job_id, run->scheduled_for, run->attempt,
		choice == 1 ? KEEP_BYTES("failed") : KEEP_BYTES("success"), (keep_bytes){NULL, 0},
		choice == 1 ? KEEP_BYTES("bad luck") : (keep_bytes){NULL, 0}, (keep_bytes){NULL, 0},
		now_ms, err);
	return status == KEEP_CONFLICT ? KEEP_OK : status;
}

/* Claim and report without end, by a clock that goes forward up to `latest_ms`. */
static _Noreturn void be_a_scheduler(uint64_t seed, int64_t from_ms, int64_t latest_ms, int fd)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;
	int64_t now_ms = from_ms;

	options.timeout_ms = 30000;
	options.without_keys = true;
	if (keep_assistant_open(url, &options, &assistant, &err) != KEEP_OK) {
		fprintf(stderr, "open failed: %s\n", err.message);
		_exit(2);
	}
	for (;;) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_claimed_runs runs = {NULL, 0};
		keep_status status;

		if (write(fd, "t", 1) != 1)
			_exit(3);
		status = keep_assistant_claim_due(assistant, 1 + seed % 3, 10 * MINUTE, now_ms,
						  &memory, &runs, NULL, &err);
		for (size_t i = 0; i < runs.count && status == KEEP_OK; i++)
			status = report(assistant, &runs.items[i], &seed, now_ms, &err);
		keep_memory_release(&memory);
		if (status != KEEP_OK) {
			fprintf(stderr, "a step failed: %s\n", err.message);
			_exit(4);
		}
		now_ms += (int64_t)(next_random(&seed) % (uint64_t)(5 * MINUTE));
		if (now_ms > latest_ms)
			now_ms = from_ms;
	}
}

/* Several, until they are killed; the first has begun before their time counts. */
static void run_and_kill(uint64_t *seed, int64_t from_ms, int64_t latest_ms)
{
	pid_t children[SCHEDULERS];
	int fds[2];
	char byte;

	assert_int_equal(pipe(fds), 0);
	for (int i = 0; i < SCHEDULERS; i++) {
		uint64_t own = next_random(seed);

		children[i] = fork();
		if (children[i] == 0)
			be_a_scheduler(own, from_ms, latest_ms, fds[1]);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	for (int i = 0; i < SCHEDULERS; i++) {
		int ended;

		usleep((useconds_t)(next_random(seed) % (assistant_is_file() ? 40000 : 80000)));
		kill(children[i], SIGKILL);
		waitpid(children[i], &ended, 0);
		CHECK(WIFSIGNALED(ended), "a scheduler ended by itself with %d",
		      WEXITSTATUS(ended));
	}
	close(fds[0]);
}

/* With nobody left: everything is taken, until nothing is due any more. */
static void finish_the_rest(keep_assistant *assistant, int64_t now_ms)
{
	keep_error err = KEEP_ERROR_INIT;

	for (int i = 0; i < 100; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_claimed_runs runs;

		OK(keep_assistant_claim_due(assistant, 1000, 0, now_ms, &memory, &runs, NULL,
					    &err));
		for (size_t r = 0; r < runs.count; r++)
			OK(keep_assistant_finish_run(
				assistant, runs.items[r].job_id, runs.items[r].scheduled_for,
				runs.items[r].attempt, KEEP_BYTES("success"), (keep_bytes){NULL, 0},
				(keep_bytes){NULL, 0}, (keep_bytes){NULL, 0}, now_ms, &err));
		keep_memory_release(&memory);
		if (!runs.count && assistant_count("job_runs WHERE state <> 'dead'") == 0 &&
		    assistant_count("future_tasks WHERE due_at IS NOT NULL") == 0)
			return;
		/* Retries of what was left behind, before the next hour begins. */
		now_ms += runs.count ? 0 : 20 * SECOND;
	}
	CHECK(false, "%lld runs are still open", (long long)assistant_count("job_runs"));
}

static void check_executions(int64_t hours)
{
	char condition[300];

	assert_int_equal(count_executions("status = 'running'"), 0);
	assert_int_equal(
		assistant_count("(SELECT 1 FROM job_executions WHERE status = 'success' "
				"GROUP BY job_id, scheduled_for HAVING count(*) > 1) AS twice"),
		0);
	assert_int_equal(assistant_count("(SELECT 1 FROM job_executions WHERE attempt > 0 "
					 "GROUP BY job_id, scheduled_for "
					 "HAVING max(attempt) <> count(*)) AS gaps"),
			 0);
	assert_int_equal(assistant_count("job_runs WHERE state <> 'dead'"), 0);
	for (int i = 0; i < JOBS; i++) {
		(void)snprintf(condition, sizeof condition,
			       "(SELECT DISTINCT scheduled_for FROM job_executions WHERE job_id = "
			       "'j%d') AS times",
			       i);
		CHECK(assistant_count(condition) == hours, "job %d: %lld of %lld hours", i,
		      (long long)assistant_count(condition), (long long)hours);
	}
	assert_int_equal(assistant_count("future_tasks WHERE status IN ('pending', 'running')"), 0);
}

static void killed_at_any_moment_each_attempt_is_one_row(void **state)
{
	uint64_t seed = test_seed() + (uint64_t)kp_monotonic_ns();
	keep_assistant *assistant = assistant_fresh();
	int64_t hours = 0;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	(void)snprintf(url, sizeof url, "%s", assistant_url());
	make_work(assistant);
	keep_assistant_close(&assistant);
	for (long i = 0; i < rounds; i++) {
		int64_t from_ms = T + hours * HOUR;

		hours += HOURS_A_ROUND;
		run_and_kill(&seed, from_ms, T + hours * HOUR);
	}
	assistant = assistant_again("last");
	if (hours < TASKS * 3)
		hours = TASKS * 3;
	/* All that is missed is made up by now: at most 64 hours lie behind. */
	finish_the_rest(assistant, T + hours * HOUR);
	check_executions(hours);
	print_message("%s: %ld kills, %lld attempts, %lld interrupted, %lld dead\n",
		      assistant_kind(), rounds * SCHEDULERS,
		      (long long)count_executions("attempt > 0"),
		      (long long)count_executions("status = 'interrupted'"),
		      (long long)assistant_count("job_runs"));
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_moment_each_attempt_is_one_row),
	};
	const char *wanted = getenv("KEEP_CRASH_ROUNDS");
	int failed;

	if (wanted)
		rounds = atol(wanted);
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
