/*
 * test_transfer_faults.c - a home that goes over while the Nth allocation, file call, driver call
 * or commit's answer fails: nothing leaks, what was told is true, and the same call goes on.
 *
 *     test_transfer_faults server|folder
 *
 * A transfer has thousands of each: the first eight fail one by one, and then ever fewer.
 */
#include "home_fixture.h"
#include "keep/operations.h"
#include "keep/schedule.h"
#include "server_control.h"
#include "sql/sql.h"
#include "sqlite_faults.h"
#include "temp_folder.h"

#include <unistd.h>

enum { BUSY_TRIES = 200 };

static temp_folder folder;
static bool to_server;
static char source[HOME_URL_MAX], target[HOME_URL_MAX];
static keep_transfer_result reference;
static home_filled filled;

static void clear_target(void)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_options options = {.location = target, .timeout_ms = 20000};
	kp_sql_conn *conn = NULL;

	if (!to_server) {
		temp_folder old;

		snprintf(old.path, sizeof old.path, "%.63s", target);
		if (access(target, F_OK) == 0)
			temp_folder_remove(&old);
		return;
	}
	OK(kp_sql_open(&kp_sql_postgres, &options, &conn, &err));
	OK(kp_sql_script(conn,
			 "SET client_min_messages = error; DROP SCHEMA IF EXISTS gateway, mailbox, "
			 "engine, keep_transfer CASCADE",
			 &err));
	kp_sql_close(&conn);
}

/* A connection that broke keeps its lock until the server notices. */
static void finish(void)
{
	keep_transfer_result result;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = KEEP_BUSY;

	for (int i = 0; i < BUSY_TRIES && status == KEEP_BUSY; i++) {
		status = keep_transfer(source, target, NULL, &result, &err);
		if (status == KEEP_BUSY)
			usleep(10000);
	}
	if (status == KEEP_CONFLICT) /* what failed was behind its end */
		return;
	CHECK(status == KEEP_OK, "%s: %s", keep_status_name(status), err.message);
	results_must_be_equal(&reference, &result);
	keep_transfer_result_release(&result);
}

static void fail_each(enum kp_fault_kind kind, bool persistent)
{
	const unsigned expected = 1u << KEEP_OK | 1u << KEEP_NO_MEMORY | 1u << KEEP_FULL |
				  1u << KEEP_UNAVAILABLE | 1u << KEEP_UNCERTAIN | 1u << KEEP_BUSY |
				  1u << KEEP_CORRUPT | 1u << KEEP_DENIED;
	long rounds = 0, fired = 1;

	for (long nth = 1; fired; nth += 1 + nth / 8) {
		keep_transfer_result result = {.count = 0};
		keep_error err = KEEP_ERROR_INIT;
		long live = kp_alloc_live();
		keep_status status;

		clear_target();
		kp_fault_arm(kind, nth, persistent);
		status = keep_transfer(source, target, NULL, &result, &err);
		fired = kp_fault_disarm(kind);
		CHECK(expected & 1u << status, "kind %d, round %ld: %s: %s", (int)kind, nth,
		      keep_status_name(status), err.message);
		if (status == KEEP_OK)
			results_must_be_equal(&reference, &result);
		keep_transfer_result_release(&result);
		keep_zone_forget();
		CHECK(kp_alloc_live() == live, "kind %d, round %ld leaked %ld blocks", (int)kind,
		      nth, kp_alloc_live() - live);
		if (status != KEEP_OK)
			finish();
		rounds++;
	}
	CHECK(rounds > 3, "kind %d never failed", (int)kind);
}

static void memory_that_is_not_there_costs_a_status(void **state)
{
	(void)state;
	fail_each(KP_FAULT_ALLOC, false);
	fail_each(KP_FAULT_ALLOC, true);
}

static void a_file_that_fails_costs_a_status(void **state)
{
	(void)state;
	fail_each(KP_FAULT_FILE, false);
}

static void a_driver_that_fails_costs_a_status(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, false);
}

static void a_commit_without_an_answer_is_found_by_the_next_call(void **state)
{
	(void)state;
	fail_each(KP_FAULT_COMMIT, false);
}

/* A small home: the rows of its tables are few, what is done with each table is not. */
static int set_up(void **state)
{
	char name[128], url[HOME_URL_MAX];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	temp_folder_make(&folder);
	home_fill_little(temp_path(&folder, "source", name), &filled);
	home_server(url);
	OK(keep_transfer(name, url, NULL, &reference, &err));
	snprintf(source, sizeof source, "%s", to_server ? name : url);
	if (to_server)
		home_server(target);
	else
		(void)snprintf(target, sizeof target, "%s/to", folder.path);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	keep_transfer_result_release(&reference);
	keep_zone_forget();
	assert_nothing_lives();
	temp_folder_remove(&folder);
	home_servers_drop();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_that_is_not_there_costs_a_status),
		cmocka_unit_test(a_file_that_fails_costs_a_status),
		cmocka_unit_test(a_driver_that_fails_costs_a_status),
		cmocka_unit_test(a_commit_without_an_answer_is_found_by_the_next_call),
	};
	unsigned char digest[KP_SHA256_SIZE];

	if (argc != 2 || (strcmp(argv[1], "server") != 0 && strcmp(argv[1], "folder") != 0)) {
		fprintf(stderr, "usage: test_transfer_faults server|folder\n");
		return 2;
	}
	to_server = strcmp(argv[1], "server") == 0;
	sqlite_faults_install();
	/* libcrypto sets itself up at its first use (src/core/digest.c). */
	if (kp_sha256(KEEP_BYTES(""), digest, NULL) != KEEP_OK)
		return 2;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
