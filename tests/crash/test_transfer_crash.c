/*
 * test_transfer_crash.c - a transfer that is killed, at named moments and at any, is the same call
 * again: in the end the target has what the source has, and no note of a transfer is left.
 */
#include "home_fixture.h"
#include "keep/operations.h"
#include "keep/schedule.h"
#include "temp_folder.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static temp_folder folder;
static char source[128], server_source[HOME_URL_MAX];
static home_filled filled;
static long live;                      /* what lives between tests: the reference */
static keep_transfer_result reference; /* of source to server_source */

/* ---------------------------------------------------------------- a child that is killed */

struct killer {
	const char *name; /* NULL: any moment */
	long nth;
};

static void count_down(void *ctx, const char *name)
{
	struct killer *killer = ctx;

	if (killer->name && strcmp(killer->name, name) != 0)
		return;
	if (--killer->nth == 0)
		(void)kill(getpid(), SIGKILL);
}

static keep_status transfer(const char *from, const char *to, keep_transfer_result *result,
			    keep_error *err)
{
	keep_transfer_options options = KEEP_TRANSFER_OPTIONS_INIT;

	options.batch_rows = 9;
	return keep_transfer(from, to, &options, result, err);
}

static _Noreturn void be_a_child(const char *from, const char *to, struct killer killer)
{
	keep_transfer_result result;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	if (killer.nth)
		kp_moment_inject(count_down, &killer);
	status = transfer(from, to, &result, &err);
	if (status != KEEP_OK)
		fprintf(stderr, "%s: %s\n", keep_status_name(status), err.message);
	/* Killed behind its end: the target is complete, and another transfer to it is refused. */
	_exit(status == KEEP_OK || status == KEEP_CONFLICT ? 0 : 1);
}

/* True when it came to its end. `wait_us`: kill it after that, 0: its moment does. */
static bool run_child(const char *from, const char *to, struct killer killer, useconds_t wait_us)
{
	pid_t child = fork();
	int ended = 0;

	assert_true(child >= 0);
	if (child == 0)
		be_a_child(from, to, killer);
	if (wait_us) {
		usleep(wait_us);
		(void)kill(child, SIGKILL);
	}
	assert_int_equal(waitpid(child, &ended, 0), child);
	CHECK(WIFSIGNALED(ended) || WEXITSTATUS(ended) == 0, "it failed by itself");
	return !WIFSIGNALED(ended);
}

/* ---------------------------------------------------------------- what must be there then */

static void remove_folder(const char *path)
{
	temp_folder old;

	snprintf(old.path, sizeof old.path, "%.63s", path);
	temp_folder_remove(&old);
}

/* The target is complete: of a server, what comes back from it is the source. */
static void check_complete(const char *to)
{
	keep_transfer_result back;
	keep_error err = KEEP_ERROR_INIT;
	char name[128];

	if (to[0] == '/') {
		assert_int_equal(access(temp_path(&folder, "to/transfer.json", name), F_OK), -1);
		homes_must_be_equal(source, to, &filled);
		home_use_mailbox(to, &filled);
		remove_folder(to);
		return;
	}
	OK(keep_transfer(to, temp_path(&folder, "old", name), NULL, &back, &err));
	results_must_be_equal(&reference, &back);
	homes_must_be_equal(source, name, &filled);
	keep_transfer_result_release(&back);
	remove_folder(name);
}

static void finish(const char *from, const char *to, bool is_done)
{
	keep_transfer_result result;
	keep_error err = KEEP_ERROR_INIT;

	if (!is_done) {
		OK(transfer(from, to, &result, &err));
		results_must_be_equal(&reference, &result);
		keep_transfer_result_release(&result);
	}
	check_complete(to);
}

static void target_of(bool to_server, char to[HOME_URL_MAX])
{
	if (to_server)
		home_server(to);
	else
		snprintf(to, HOME_URL_MAX, "%s/to", folder.path);
}

static void kill_at(bool to_server)
{
	static const char *const names[] = {"transfer.noted",          "transfer.made",
					    "transfer.copying",        "transfer.rows_written",
					    "transfer.rows_committed", "transfer.table",
					    "transfer.compared"};
	const char *from = to_server ? source : server_source;
	char to[HOME_URL_MAX];

	for (size_t i = 0; i < KP_COUNT(names); i++) {
		target_of(to_server, to);
		CHECK(!run_child(from, to, (struct killer){names[i], 1}, 0), "%s: not met",
		      names[i]);
		finish(from, to, run_child(from, to, (struct killer){names[i], 3}, 0));
	}
}

static void killed_at_each_named_moment_it_goes_on(void **state)
{
	(void)state;
	kill_at(true);
	kill_at(false);
	assert_int_equal(kp_alloc_live(), live);
}

/* Every run comes a little further than the one before. */
static void killed_again_and_again_it_comes_to_its_end(void **state)
{
	(void)state;
	for (int to_server = 0; to_server <= 1; to_server++) {
		const char *from = to_server ? source : server_source;
		char to[HOME_URL_MAX];
		long nth = 1;
		int kills = 0;

		target_of(to_server, to);
		while (!run_child(from, to, (struct killer){NULL, nth}, 0)) {
			nth += nth / 3 + 1;
			kills++;
		}
		CHECK(kills > 8, "killed only %d times", kills);
		check_complete(to);
	}
	assert_int_equal(kp_alloc_live(), live);
}

static void killed_at_any_time_it_goes_on(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	for (int round = 0; round < 6; round++) {
		bool to_server = round % 2;
		const char *from = to_server ? source : server_source;
		char to[HOME_URL_MAX];
		bool is_done = false;

		target_of(to_server, to);
		for (int kills = 0; kills < 5 && !is_done; kills++)
			is_done = run_child(from, to, (struct killer){NULL, 0},
					    1 + (useconds_t)(next_random(&seed) % 250000));
		finish(from, to, is_done);
	}
	assert_int_equal(kp_alloc_live(), live);
}

static int set_up(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	temp_folder_make(&folder);
	home_fill(temp_path(&folder, "source", source), &filled);
	home_server(server_source);
	OK(keep_transfer(source, server_source, NULL, &reference, &err));
	keep_zone_forget();
	live = kp_alloc_live();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	keep_transfer_result_release(&reference);
	assert_nothing_lives();
	temp_folder_remove(&folder);
	home_servers_drop();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_each_named_moment_it_goes_on),
		cmocka_unit_test(killed_again_and_again_it_comes_to_its_end),
		cmocka_unit_test(killed_at_any_time_it_goes_on),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
