/*
 * test_engine_sql_faults.c - the life of engine_scenario.c on SQLite or PostgreSQL, with the Nth
 * thing in it failing, N = 1, 2, … until none fires.
 *
 *     test_engine_sql_faults sqlite|postgres      KEEP_TORTURE=all: every N
 *
 * Otherwise every N up to EVERY_MAX, and from there on N + N/8, once on an old store, and on a new
 * one with everything after it failing too, so that the run stays short. What the scenario holds
 * after each failure is in its head. Under SQLite its own allocations and file calls fail too
 * (sqlite_faults.h); where interpose.c is linked, so do all of libpq.
 */
#include "engine_scenario.h"
#include "sqlite_faults.h"

#include <sqlite3.h>

enum { EVERY_MAX = 40 };

static const char *backend;
static bool is_sqlite;

static bool wants_all(void)
{
	const char *wanted = getenv("KEEP_TORTURE");

	return wanted && strcmp(wanted, "all") == 0;
}

static long next_nth(long nth)
{
	return wants_all() || nth < EVERY_MAX ? nth + 1 : nth + nth / 8;
}

/* One round; false when nothing fired, which is the end. */
static bool fail_nth(engine_scenario *scenario, enum kp_fault_kind kind, long nth, bool persistent)
{
	long live = kp_alloc_live(), fired;
	keep_status status;

	kp_fault_arm(kind, nth, persistent);
	status = engine_scenario_run(scenario);
	fired = kp_fault_disarm(kind);
	CHECK(kp_alloc_live() == live, "failure %ld%s leaked %ld blocks", nth,
	      persistent ? " and all after it" : "", kp_alloc_live() - live);
	if (fired == 0) {
		CHECK(status == KEEP_OK, "the clean round failed: %s", keep_status_name(status));
		return false;
	}
	CHECK(status == KEEP_OK || scenario->expected & MAY(status), "failure %ld: %s", nth,
	      keep_status_name(status));
	return true;
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	long rounds = 0, last = 0;

	/* Bit 0: a new store; bit 1: all that follows fails, too. */
	for (int way = 0; way < 4; way += wants_all() ? 1 : 3) {
		engine_scenario scenario = {.is_fresh = way & 1};
		long nth = 1;

		engine_scenario_begin(&scenario, backend, kind, expected);
		for (; fail_nth(&scenario, kind, nth, way & 2); nth = next_nth(nth))
			rounds++;
		engine_scenario_end(&scenario);
		assert_nothing_lives();
		last = nth > last ? nth : last;
	}
	print_message("%ld rounds, the last without a failure at %ld\n", rounds, last);
	assert_true(rounds > 0);
}

static void a_failing_allocation_changes_nothing(void **state)
{
	unsigned expected = MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN);

	(void)state;
	/* libpq reports its own lack of memory as a lost connection. */
	fail_each(KP_FAULT_ALLOC, is_sqlite ? expected : expected | MAY(KEEP_UNAVAILABLE));
}

#define FILE_STATUSES                                                                              \
	(MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_BUSY) | MAY(KEEP_UNCERTAIN))

static void a_failing_file_call_on_a_full_disk_changes_nothing(void **state)
{
	(void)state;
	sqlite_faults_set_write_code(SQLITE_FULL);
	fail_each(KP_FAULT_FILE, FILE_STATUSES);
}

static void a_failing_file_call_of_a_broken_disk_changes_nothing(void **state)
{
	(void)state;
	sqlite_faults_set_write_code(SQLITE_IOERR_WRITE);
	fail_each(KP_FAULT_FILE, FILE_STATUSES);
}

static void a_failing_driver_call_changes_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE));
}

static void a_lost_answer_to_a_commit_is_uncertain(void **state)
{
	(void)state;
	fail_each(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN));
}

static void a_breaking_connection_changes_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_CONNECT, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN));
}

#define RUN(list) cmocka_run_group_tests(list, NULL, NULL)

int main(int argc, char **argv)
{
	const struct CMUnitTest both[] = {
		cmocka_unit_test(a_failing_allocation_changes_nothing),
		cmocka_unit_test(a_failing_driver_call_changes_nothing),
		cmocka_unit_test(a_lost_answer_to_a_commit_is_uncertain),
	};
	const struct CMUnitTest sqlite[] = {
		cmocka_unit_test(a_failing_file_call_on_a_full_disk_changes_nothing),
		cmocka_unit_test(a_failing_file_call_of_a_broken_disk_changes_nothing),
	};
	const struct CMUnitTest postgres[] = {
		cmocka_unit_test(a_breaking_connection_changes_nothing),
	};
	int failed;

	if (argc != 2)
		return 2;
	backend = argv[1];
	is_sqlite = strcmp(backend, "sqlite") == 0;
	sqlite_faults_install();
	failed = RUN(both);
	return failed + (is_sqlite ? RUN(sqlite) : RUN(postgres));
}
