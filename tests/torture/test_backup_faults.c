/*
 * test_backup_faults.c - making, verifying and restoring a backup, with the Nth thing in them
 * failing, N = 1, 2, … until none fires: nothing leaks, no descriptor stays open, what is answered
 * OK is good, and what failed left the home as it was.
 *
 * KEEP_TORTURE=all: every N; otherwise every N up to EVERY_MAX, and from there on N + N/8. One of
 * the databases was written just now, so that each round holds it.
 */
#include "backup_home.h"
#include "sqlite_faults.h"
#include "torture.h"

#include <dirent.h>

enum { EVERY_MAX = 60 };

static temp_folder folder;
static char home[128], other[128], good[512];

static long next_nth(long nth)
{
	const char *wanted = getenv("KEEP_TORTURE");

	return (wanted && strcmp(wanted, "all") == 0) || nth < EVERY_MAX ? nth + 1 : nth + nth / 8;
}

static size_t count_descriptors(void)
{
	DIR *names = opendir("/proc/self/fd");
	size_t count = 0;

	while (readdir(names))
		count++;
	(void)closedir(names);
	return count;
}

static void make(void)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_backup_result result;

	temp_folder_make(&folder);
	make_folder(folder.path, "home");
	temp_path(&folder, "home", home);
	temp_path(&folder, "other", other);
	make_folder(home, "session");
	make_database(home, "logged.db", true, 20);
	make_database(home, "session/plain.db", false, 20);
	make_file(home, "home.json", "{}");
	OK(kp_backup_make(home, NULL, &result, &err));
	backup_path(home, result.name, "", good);
}

static void touch(const char *name)
{
	char path[512];

	FORMAT(path, "%s/%s", home, name);
	CHECK(utimensat(AT_FDCWD, path, NULL, 0) == 0, "%s cannot be touched", path);
}

static keep_status back_up(keep_error *err)
{
	kp_backup_options options = {.patience_ms = 20, .label = "x"};
	kp_backup_result result;
	keep_status status = kp_backup_make(home, &options, &result, err);

	if (status == KEEP_OK)
		backup_path(home, result.name, "", good);
	return status;
}

static keep_status verify(keep_error *err)
{
	return kp_backup_verify(good, NULL, err);
}

static keep_status restore(keep_error *err)
{
	kp_backup_restore_options options = {.over = true};

	return kp_backup_restore(good, other, &options, NULL, err);
}

/* What was answered OK is whole; and a next run, without failures, removes what is left. */
static void check_after(keep_status status, keep_status (*run)(keep_error *err), long nth)
{
	keep_error err = KEEP_ERROR_INIT;
	char command[512];

	if (run == back_up) {
		kp_backup_prune_options rules = {.rules = {.daily = 1}, .labelled_too = true};
		kp_backup_entries entries;

		OK(kp_backup_list(home, &entries, &err));
		for (size_t i = 0; i < entries.count; i++)
			CHECK(entries.items[i].is_good, "failure %ld: %s", nth,
			      entries.items[i].why);
		backup_path(home, entries.items[entries.count - 1].name, "", good);
		kp_backup_entries_release(&entries);
		OK(verify(&err));
		OK(kp_backup_prune(home, &rules, NULL, &err));
		keep_zone_forget();
	} else if (run == restore) {
		if (status != KEEP_OK)
			OK(restore(&err));
		CHECK(ask_file(other, "session/plain.db", "SELECT count(*) FROM t") == 20, "rows");
		FORMAT(command, "rm -rf %s %s.before*", other, other);
		CHECK(system(command) == 0, "it stays");
	}
}

static void fail_each(enum kp_fault_kind kind, keep_status (*run)(keep_error *err),
		      unsigned expected)
{
	long rounds = 0;

	for (int persistent = 0; persistent <= 1; persistent++) {
		for (long nth = 1;; nth = next_nth(nth)) {
			size_t descriptors = count_descriptors();
			keep_error err = KEEP_ERROR_INIT;
			long live = kp_alloc_live(), fired;
			keep_status status;

			touch("logged.db");
			touch("session/plain.db");
			kp_fault_arm(kind, nth, persistent);
			status = run(&err);
			fired = kp_fault_disarm(kind);
			CHECK(kp_alloc_live() == live, "failure %ld leaked %ld blocks", nth,
			      kp_alloc_live() - live);
			CHECK(count_descriptors() == descriptors,
			      "failure %ld leaves descriptors open", nth);
			CHECK(status == KEEP_OK || (fired > 0 && expected & MAY(status)),
			      "failure %ld: %s (%s)", nth, keep_status_name(status), err.message);
			check_after(status, run, nth);
			if (fired == 0)
				break;
			rounds++;
		}
	}
	CHECK(rounds > 0, "nothing fired");
}

#define OF_FILES                                                                                   \
	(MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_CORRUPT) | MAY(KEEP_NOT_FOUND) |        \
	 MAY(KEEP_BUSY) | MAY(KEEP_DENIED))

static void a_failing_allocation_leaves_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_ALLOC, back_up, MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNAVAILABLE));
	fail_each(KP_FAULT_ALLOC, verify, MAY(KEEP_NO_MEMORY));
	fail_each(KP_FAULT_ALLOC, restore, MAY(KEEP_NO_MEMORY));
}

static void a_failing_file_call_leaves_no_backup_that_is_not_good(void **state)
{
	(void)state;
	fail_each(KP_FAULT_FILE, back_up, OF_FILES);
	fail_each(KP_FAULT_FILE, verify, OF_FILES);
}

static void a_failing_file_call_leaves_one_home_or_the_other(void **state)
{
	(void)state;
	fail_each(KP_FAULT_FILE, restore, OF_FILES);
}

static void a_failing_driver_leaves_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, back_up, MAY(KEEP_UNAVAILABLE));
	fail_each(KP_FAULT_DRIVER, verify, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_CORRUPT));
	fail_each(KP_FAULT_DRIVER, restore, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_CORRUPT));
}

static void nothing_lives(void **state)
{
	(void)state;
	keep_zone_forget();
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_allocation_leaves_nothing),
		cmocka_unit_test(a_failing_file_call_leaves_no_backup_that_is_not_good),
		cmocka_unit_test(a_failing_file_call_leaves_one_home_or_the_other),
		cmocka_unit_test(a_failing_driver_leaves_nothing),
		cmocka_unit_test(nothing_lives),
	};
	int failed;

	sqlite_faults_install();
	make();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	temp_folder_remove(&folder);
	return failed;
}
