/*
 * test_mailbox_bell.c - waking the other side of a session, which is not trusted.
 *
 *     test_mailbox_bell
 */
#include "keep_test.h"

#include "mailbox/mailbox_private.h"

#include "temp_folder.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static temp_folder folder;
static char path[300];

static int make_place(void **state)
{
	(void)state;
	snprintf(folder.path, sizeof folder.path, "/tmp/keep-bell-XXXXXX");
	assert_non_null(mkdtemp(folder.path));
	snprintf(path, sizeof path, "%s/.bell-in", folder.path);
	return 0;
}

static int remove_place(void **state)
{
	(void)state;
	(void)nftw(folder.path, temp_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static kp_bell open_bell(void)
{
	kp_bell bell = KP_BELL_INIT;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_bell_open(&bell, path, true, &err));
	return bell;
}

static void a_ring_of_another_process_ends_a_wait(void **state)
{
	kp_bell bell = open_bell();
	uint32_t seen = kp_bell_value(&bell);
	pid_t child = fork();
	int64_t begun = kp_monotonic_ns();
	int exit_status = 0;

	(void)state;
	if (child == 0) {
		kp_bell theirs = open_bell();

		kp_bell_ring(&theirs);
		_exit(0);
	}
	while (kp_bell_value(&bell) == seen)
		kp_bell_wait(&bell, seen, 60000);
	assert_true(kp_monotonic_ns() - begun < INT64_C(30000000000));
	assert_int_equal(waitpid(child, &exit_status, 0), child);
	assert_int_equal(exit_status, 0);
	kp_bell_close(&bell);
}

static void a_ring_before_the_wait_is_not_slept_through(void **state)
{
	kp_bell bell = open_bell();
	uint32_t seen = kp_bell_value(&bell);
	int64_t begun = kp_monotonic_ns();

	(void)state;
	kp_bell_ring(&bell);
	kp_bell_wait(&bell, seen, 60000);
	assert_true(kp_monotonic_ns() - begun < INT64_C(30000000000));
	assert_int_not_equal(kp_bell_value(&bell), seen);
	kp_bell_close(&bell);
}

static void every_ring_changes_the_value_and_it_is_never_zero(void **state)
{
	kp_bell bell = open_bell();

	(void)state;
	for (int i = 0; i < 10000; i++) {
		uint32_t seen = kp_bell_value(&bell);

		kp_bell_ring(&bell);
		assert_int_not_equal(kp_bell_value(&bell), seen);
		assert_int_not_equal(kp_bell_value(&bell), 0);
	}
	kp_bell_close(&bell);
}

/* The other side does what it likes with the file; nothing of it ends our process. */
static void a_file_that_was_cut_short_or_overwritten_costs_a_poll(void **state)
{
	kp_bell bell = open_bell();

	(void)state;
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(kp_bell_value(&bell), 0);
	kp_bell_wait(&bell, 0, 1);
	assert_int_equal(truncate(path, 2), 0);
	kp_bell_wait(&bell, 0, 1);
	kp_bell_ring(&bell);
	assert_int_not_equal(kp_bell_value(&bell), 0);
	assert_int_equal(truncate(path, 0), 0);
	kp_bell_wake(&bell);
	assert_int_equal(unlink(path), 0);
	kp_bell_ring(&bell);
	kp_bell_wait(&bell, kp_bell_value(&bell), 1);
	kp_bell_close(&bell);
}

static void what_is_no_plain_file_is_no_bell(void **state)
{
	kp_bell bell = KP_BELL_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_not_equal(kp_bell_open(&bell, path, true, &err), KEEP_OK);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_not_equal(kp_bell_open(&bell, path, true, &err), KEEP_OK);
	assert_int_equal(bell.fd, -1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(kp_bell_open(&bell, path, false, &err), KEEP_NOT_FOUND);
	/* without a bell, every call does nothing */
	kp_bell_ring(&bell);
	kp_bell_wake(&bell);
	assert_int_equal(kp_bell_value(&bell), 0);
	kp_bell_wait(&bell, 0, 1);
	kp_bell_close(&bell);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
	const struct CMUnitTest tests[] = {
		TEST(a_ring_of_another_process_ends_a_wait),
		TEST(a_ring_before_the_wait_is_not_slept_through),
		TEST(every_ring_changes_the_value_and_it_is_never_zero),
		TEST(a_file_that_was_cut_short_or_overwritten_costs_a_poll),
		TEST(what_is_no_plain_file_is_no_bell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
