/*
 * test_assistant_rekey_crash.c - a rekey that is killed, again and again, loses nothing.
 *
 *     test_assistant_rekey_crash sqlite|postgres
 *     test_assistant_rekey_crash <url> rekey      a child
 *
 * Children are killed after each of their batches, by the moment, and at random times. After each
 * one every secret can be read with both keys; the last one ends, and the new key alone reads all.
 */
#include "assistant_keys.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SECRETS = 100, RANDOM_ROUNDS = 12 };

static int run_child(const char *url)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_rekey_result result;
	keep_status status;

	options.keys = KEY_B " " KEY_A;
	options.timeout_ms = 20000;
	status = keep_assistant_open(url, &options, &assistant, NULL);
	if (status == KEEP_OK)
		status = keep_assistant_rekey(assistant, NULL, &result, NULL);
	keep_assistant_close(&assistant);
	return status == KEEP_OK ? 0 : 3;
}

static pid_t start_child(const char *url, const char *kill_at)
{
	pid_t child = fork();

	if (child != 0)
		return child;
	if (kill_at)
		(void)setenv("KEEP_KILL_AT", kill_at, 1);
	(void)execl(assistant_program(), assistant_program(), url, "rekey", (char *)NULL);
	_exit(9);
}

static void fill(void)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	for (int i = 0; i < SECRETS; i++) {
		char name[20];

		(void)snprintf(name, sizeof name, "service-%d", i);
		OK(put_secret(assistant, name, name, &err));
	}
	keep_assistant_close(&assistant);
}

static void check_all(const char *keys)
{
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;

	OK(open_keys(keys, &assistant, &err));
	for (int i = 0; i < SECRETS; i++) {
		char name[20];

		(void)snprintf(name, sizeof name, "service-%d", i);
		assert_string_equal(get_secret(assistant, name), name);
	}
	keep_assistant_close(&assistant);
}

static void finish(const char *url)
{
	int ended = -1;
	pid_t child = start_child(url, NULL);

	assert_int_equal(waitpid(child, &ended, 0), child);
	assert_int_equal(ended, 0);
	check_all(KEY_B);
	assert_int_equal(assistant_count("assistant_values WHERE name LIKE 'key_check%'"), 1);
}

static void killed_after_any_batch_it_goes_on_where_it_was(void **state)
{
	char url[ASSISTANT_URL_MAX];
	int kills = 0;

	(void)state;
	fill();
	(void)snprintf(url, sizeof url, "%s", assistant_url());
	for (int nth = 1; nth < 100; nth++) {
		char moment[40];
		int ended = -1;
		pid_t child;

		(void)snprintf(moment, sizeof moment, "rekey.batch:%d", nth);
		child = start_child(url, moment);
		assert_int_equal(waitpid(child, &ended, 0), child);
		check_all(KEY_B " " KEY_A);
		if (!WIFSIGNALED(ended)) {
			assert_int_equal(ended, 0);
			break;
		}
		assert_int_equal(WTERMSIG(ended), SIGKILL);
		kills++;
	}
	assert_true(kills >= SECRETS / 16);
	finish(url);
	assert_nothing_lives();
}

static void killed_at_any_time_it_loses_nothing(void **state)
{
	uint64_t seed = test_seed();
	char url[ASSISTANT_URL_MAX];

	(void)state;
	fill();
	(void)snprintf(url, sizeof url, "%s", assistant_url());
	for (int i = 0; i < RANDOM_ROUNDS; i++) {
		pid_t child = start_child(url, NULL);
		struct timespec moment = {.tv_nsec = (long)(next_random(&seed) % 40000000)};
		int ended = -1;

		(void)nanosleep(&moment, NULL);
		(void)kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &ended, 0), child);
		check_all(KEY_B " " KEY_A);
	}
	finish(url);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_after_any_batch_it_goes_on_where_it_was),
		cmocka_unit_test(killed_at_any_time_it_loses_nothing),
	};
	int failed;

	if (argc == 3 && strcmp(argv[2], "rekey") == 0)
		return run_child(argv[1]);
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
