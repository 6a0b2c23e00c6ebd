/*
 * test_engine_faults.c - the life of engine_scenario.c on the backend that KEEP_TEST_BACKEND names
 * (memory when it is not set), with each kind of thing in it failing once, and from then on.
 */
#include "engine_scenario.h"
#include "sqlite_faults.h"

static const char *backend_name(void)
{
	const char *name = getenv("KEEP_TEST_BACKEND");

	return name ? name : "memory";
}

/* What a fault may come out as. A round may be OK too: what failed was not needed. */
static const struct {
	enum kp_fault_kind kind;
	const char *name;
	unsigned statuses;
} faults[] = {
	[KP_FAULT_ALLOC] = {KP_FAULT_ALLOC, "allocation",
			    MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN)},
	[KP_FAULT_FILE] = {KP_FAULT_FILE, "file call",
			   MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_BUSY) |
				   MAY(KEEP_UNCERTAIN)},
	[KP_FAULT_DRIVER] = {KP_FAULT_DRIVER, "driver call",
			     MAY(KEEP_UNAVAILABLE) | MAY(KEEP_BUSY) | MAY(KEEP_UNCERTAIN)},
	/* An open that was not answered has changed no document: it may say UNAVAILABLE. */
	[KP_FAULT_COMMIT] = {KP_FAULT_COMMIT, "commit",
			     MAY(KEEP_UNCERTAIN) | MAY(KEEP_UNAVAILABLE)},
	[KP_FAULT_CONNECT] = {KP_FAULT_CONNECT, "connection",
			      MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN)},
};

static void torture_kind(enum kp_fault_kind kind, bool is_fresh)
{
	engine_scenario scenario = {.is_fresh = is_fresh};
	long rounds;

	engine_scenario_begin(&scenario, backend_name(), kind, faults[kind].statuses);
	rounds =
		torture(kind, faults[kind].statuses | MAY(KEEP_OK), engine_scenario_run, &scenario);
	print_message("%s, %s store: %ld rounds with a failing %s\n", backend_name(),
		      is_fresh ? "a new" : "an old", rounds, faults[kind].name);
	engine_scenario_end(&scenario);
	assert_nothing_lives();
}

static void an_allocation_that_fails_changes_nothing(void **state)
{
	(void)state;
	torture_kind(KP_FAULT_ALLOC, false);
}

static void an_allocation_that_fails_in_a_new_store_leaves_nothing_behind(void **state)
{
	(void)state;
	torture_kind(KP_FAULT_ALLOC, true);
}

static void a_file_call_that_fails_changes_nothing(void **state)
{
	(void)state;
	torture_kind(KP_FAULT_FILE, false);
}

static void a_file_call_that_fails_in_a_new_store_leaves_nothing_behind(void **state)
{
	(void)state;
	torture_kind(KP_FAULT_FILE, true);
}

static void a_driver_that_fails_changes_nothing(void **state)
{
	(void)state;
	torture_kind(KP_FAULT_DRIVER, false);
}

static void a_commit_whose_answer_is_lost_is_uncertain(void **state)
{
	(void)state;
	torture_kind(KP_FAULT_COMMIT, false);
}

static void a_connection_that_breaks_loses_nothing(void **state)
{
	(void)state;
	torture_kind(KP_FAULT_CONNECT, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_allocation_that_fails_changes_nothing),
		cmocka_unit_test(an_allocation_that_fails_in_a_new_store_leaves_nothing_behind),
		cmocka_unit_test(a_file_call_that_fails_changes_nothing),
		cmocka_unit_test(a_file_call_that_fails_in_a_new_store_leaves_nothing_behind),
		cmocka_unit_test(a_driver_that_fails_changes_nothing),
		cmocka_unit_test(a_commit_whose_answer_is_lost_is_uncertain),
		cmocka_unit_test(a_connection_that_breaks_loses_nothing),
	};

	if (strcmp(backend_name(), "sqlite") == 0)
		sqlite_faults_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
