/*
 * test_gateway_tasks_crash.c - schedulers are killed at any moment; each run is one message.
 *
 *     test_gateway_tasks_crash sqlite|postgres        KEEP_CRASH_ROUNDS: how many kills
 *
 * Each round several processes tick at once, each with a clock that jumps forward and back within
 * some hours, and all are killed after a random time. In the end, after one more tick, every hour
 * of every series must have exactly one message and one line that names it: none is missing, for
 * run_all makes up for more hours than there are, and none is there twice.
 */
#include "gateway_fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOUR INT64_C(3600000)
#define BEGIN INT64_C(1775901600000) /* 2026-04-11T10:00:00Z */

enum { SERIES = 5, TICKERS = 3, ROUNDS_DEFAULT = 25, HOURS_A_ROUND = 4, HOURS_BACK = 9 };

static char url[GATEWAY_URL_MAX]; /* as the parent sees it, which is part of it */

static int64_t stand_still(void *ctx)
{
	(void)ctx;
	return BEGIN;
}

static void format_id(int series, char id[8])
{
	snprintf(id, 8, "s%d", series);
}

static void make_series(keep_gateway *gateway)
{
	for (int s = 0; s < SERIES; s++) {
		keep_error err = KEEP_ERROR_INIT;
		char id[8];
		keep_scheduled_task task = {
			.owner = KEEP_BYTES("world"),
			.chat_jid = s % 2 ? KEEP_BYTES("web:1") : KEEP_BYTES("web:2"),
			.prompt = KEEP_BYTES("water the plants"),
			.cron = s % 2 ? KEEP_BYTES("0 * * * *") : KEEP_BYTES("3600000"),
			.missed_policy = KEEP_BYTES("run_all"),
			.run_all_max = 64};

		format_id(s, id);
		task.id = keep_bytes_of(id);
		OK(keep_gateway_create_task(gateway, &task, NULL, NULL, &err));
	}
}

/* Tick without end, by a clock that goes its own way up to `latest_ms`. */
static _Noreturn void be_a_ticker(uint64_t seed, int64_t latest_ms, int fd)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.service = "timed";
	options.timeout_ms = 30000;
	if (keep_gateway_open(url, &options, &gateway, &err) != KEEP_OK) {
		fprintf(stderr, "open failed: %s\n", err.message);
		_exit(2);
	}
	for (;;) {
		int64_t back = (int64_t)(next_random(&seed) % (HOURS_BACK * (uint64_t)HOUR));
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_task_run_list fired;

		if (write(fd, "t", 1) != 1)
			_exit(3);
		if (keep_gateway_fire_due_tasks(gateway, latest_ms - back, 1 + seed % 5, &memory,
						&fired, NULL, &err) != KEEP_OK) {
			fprintf(stderr, "a tick failed: %s\n", err.message);
			_exit(4);
		}
		keep_memory_release(&memory);
	}
}

/* Several tickers, until they are killed; they have begun to tick before their time counts. */
static void run_and_kill(uint64_t *seed, int64_t latest_ms)
{
	pid_t children[TICKERS];
	int fds[2];
	char byte;

	assert_int_equal(pipe(fds), 0);
	for (int i = 0; i < TICKERS; i++) {
		uint64_t own = next_random(seed);

		children[i] = fork();
		if (children[i] == 0)
			be_a_ticker(own, latest_ms, fds[1]);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	for (int i = 0; i < TICKERS; i++) {
		int ended;

		usleep((useconds_t)(next_random(seed) % (gateway_is_file() ? 12000 : 60000)));
		kill(children[i], SIGKILL);
		waitpid(children[i], &ended, 0);
		CHECK(WIFSIGNALED(ended), "a ticker ended by itself with %d", WEXITSTATUS(ended));
	}
	close(fds[0]);
}

static void check_series(keep_gateway *gateway, int series, int64_t hours)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes jid = series % 2 ? KEEP_BYTES("web:1") : KEEP_BYTES("web:2");
	keep_task_run_list runs;
	char *seen = calloc((size_t)hours + 1, 1);
	char id[8];
	int64_t before = 0, count = 0;

	assert_non_null(seen);
	format_id(series, id);
	do {
		OK(keep_gateway_task_runs(gateway, keep_bytes_of(id), before, 100, &memory, &runs,
					  &err));
		for (size_t i = 0; i < runs.count; i++) {
			const keep_task_run *run = &runs.items[i];
			int64_t hour = (run->scheduled_for - BEGIN) / HOUR;
			keep_message message;

			CHECK((run->scheduled_for - BEGIN) % HOUR == 0 && hour >= 1 &&
				      hour <= hours && !seen[hour],
			      "%s: a run at %lld", id, (long long)run->scheduled_for);
			seen[hour] = 1;
			assert_bytes_equal(run->status, KEEP_BYTES("success"));
			OK(keep_gateway_get_message(gateway, jid, run->message_id, &memory,
						    &message, &err));
			before = run->id;
			count++;
		}
	} while (runs.count);
	CHECK(count == hours, "%s: %lld runs instead of %lld", id, (long long)count,
	      (long long)hours);
	free(seen);
	keep_memory_release(&memory);
}

static long rounds = ROUNDS_DEFAULT;

static void killed_at_any_moment_each_run_is_one_message(void **state)
{
	uint64_t seed = test_seed() + (uint64_t)kp_monotonic_ns();
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list fired;
	keep_error err = KEEP_ERROR_INIT;
	int64_t hours = HOURS_BACK, in_the_end = 0;
	char wanted[32];

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	snprintf(url, sizeof url, "%s", gateway_url());
	make_series(gateway);
	keep_gateway_close(&gateway);
	for (long i = 0; i < rounds; i++) {
		hours += HOURS_A_ROUND;
		run_and_kill(&seed, BEGIN + hours * HOUR);
		/* Few enough hours stay undone for run_all to make up. */
		gateway = gateway_again("timed");
		OK(keep_gateway_fire_due_tasks(gateway, BEGIN + (hours - HOURS_BACK) * HOUR, 0,
					       &memory, &fired, NULL, &err));
		in_the_end += (int64_t)fired.count;
		keep_gateway_close(&gateway);
		keep_memory_release(&memory);
	}
	gateway = gateway_again("timed");
	OK(keep_gateway_fire_due_tasks(gateway, BEGIN + hours * HOUR, 0, &memory, &fired, NULL,
				       &err));
	in_the_end += (int64_t)fired.count;
	for (int s = 0; s < SERIES; s++)
		check_series(gateway, s, hours);
	snprintf(wanted, sizeof wanted, "%lld", (long long)hours * SERIES);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM messages"), wanted);
	print_message("%s: %ld kills, %s runs, %lld of them by the parent\n", gateway_kind(),
		      rounds * TICKERS, wanted, (long long)in_the_end);
	assert_true(in_the_end < hours * SERIES / 2);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	keep_zone_forget();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_moment_each_run_is_one_message),
	};
	const char *wanted = getenv("KEEP_CRASH_ROUNDS");
	int failed;

	if (wanted)
		rounds = atol(wanted);
	kp_clock_inject(stand_still, NULL);
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
