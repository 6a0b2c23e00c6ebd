/*
 * test_gateway_adopt_faults.c - adopting a messages.db, with the Nth thing in it failing, N = 1, 2,
 * … until none fires: nothing leaks, the source stays, and the gateway has all of it or nothing.
 *
 *     test_gateway_adopt_faults sqlite|postgres      KEEP_TORTURE=all: every N
 *
 * Otherwise every N up to EVERY_MAX, and from there on N + N/4.
 */
#include "gateway_fixture.h"
#include "source_file.h"
#include "sqlite_faults.h"
#include "torture.h"

enum { EVERY_MAX = 15 };

static char source[200];

static long next_nth(long nth)
{
	const char *wanted = getenv("KEEP_TORTURE");

	return (wanted && strcmp(wanted, "all") == 0) || nth < EVERY_MAX ? nth + 1 : nth + nth / 4;
}

/* One round on the store that is there; false when nothing fired. */
static bool fail_nth(keep_gateway **gateway, enum kp_fault_kind kind, long nth, unsigned expected)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_adoption counts;
	keep_status status;
	const char *stored;
	long live, fired;

	keep_zone_forget();
	live = kp_alloc_live();
	kp_fault_arm(kind, nth, false);
	status = keep_gateway_adopt(*gateway, source, &counts, &err);
	fired = kp_fault_disarm(kind);
	keep_zone_forget();
	CHECK(fired == 0 || status == KEEP_OK || expected & MAY(status), "failure %ld: %s (%s)",
	      nth, keep_status_name(status), err.message);
	CHECK(fired > 0 || status == KEEP_OK, "the clean round: %s", err.message);
	stored = gateway_sql(
		"SELECT (SELECT count(*) FROM messages) || ' ' || (SELECT count(*) FROM "
		"adopted_rows WHERE source_table = 'keyed')");
	if (status == KEEP_OK || (status == KEEP_UNCERTAIN && strcmp(stored, "0 0") != 0))
		CHECK(strcmp(stored, "11 1") == 0, "failure %ld: %s is stored", nth, stored);
	else
		CHECK(strcmp(stored, "0 0") == 0, "failure %ld: %s is stored", nth, stored);
	if (strcmp(stored, "0 0") != 0) {
		keep_gateway_close(gateway);
		assert_nothing_lives();
		*gateway = gateway_fresh();
	} else {
		/* what the store keeps prepared may have grown; a leak grows with every round */
		CHECK(kp_alloc_live() < live + 200, "failure %ld leaked", nth);
	}
	return fired > 0;
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	keep_gateway *gateway = gateway_fresh();
	long rounds = 0;

	for (long nth = 1; fail_nth(&gateway, kind, nth, expected); nth = next_nth(nth))
		rounds++;
	keep_gateway_close(&gateway);
	keep_zone_forget();
	assert_nothing_lives();
	assert_true(rounds > 0);
}

static void a_failing_allocation_changes_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN) |
					  (gateway_is_file() ? 0 : MAY(KEEP_UNAVAILABLE)));
}

static void a_failing_driver_call_changes_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE));
}

static void a_lost_answer_to_the_commit_is_uncertain(void **state)
{
	(void)state;
	fail_each(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_allocation_changes_nothing),
		cmocka_unit_test(a_failing_driver_call_changes_nothing),
		cmocka_unit_test(a_lost_answer_to_the_commit_is_uncertain),
	};
	int failed;

	sqlite_faults_install();
	gateway_begin(argc, argv);
	(void)snprintf(source, sizeof source, "/dev/shm/keep-source-%ld.db", (long)getpid());
	source_remove(source);
	source_make(source, "source_messages.sql");
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	source_remove(source);
	gateway_end();
	return failed;
}
