/*
 * test_assistant_adopt_faults.c - adopting an assistant.db, with the Nth thing in it failing, N =
 * 1, 2, … until none fires: nothing leaks, the source stays, and the store has all of it or
 * nothing.
 *
 *     test_assistant_adopt_faults sqlite|postgres      KEEP_TORTURE=all: every N
 *
 * Otherwise every N up to EVERY_MAX, and from there on N + N/4.
 */
#include "assistant_fixture.h"
#include "source_file.h"
#include "sqlite_faults.h"
#include "torture.h"

#include "keep/schedule.h"

enum { EVERY_MAX = 15 };

static char source[200];
static const char nothing[] = "0 0 9 0", everything[] = "2 5 2 4";

static long next_nth(long nth)
{
	const char *wanted = getenv("KEEP_TORTURE");

	return (wanted && strcmp(wanted, "all") == 0) || nth < EVERY_MAX ? nth + 1 : nth + nth / 4;
}

static const char *stored_now(void)
{
	return assistant_sql("SELECT (SELECT count(*) FROM conversations) || ' ' || (SELECT "
			     "count(*) FROM messages) || ' ' || (SELECT count(*) FROM "
			     "agent_definitions) || ' ' || (SELECT count(*) FROM audit_log)");
}

/* One round on the store that is there; false when nothing fired. */
static bool fail_nth(keep_assistant **assistant, enum kp_fault_kind kind, long nth,
		     unsigned expected)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	const char *stored;
	long live, fired;

	keep_zone_forget();
	live = kp_alloc_live();
	kp_fault_arm(kind, nth, false);
	status = keep_assistant_adopt(*assistant, source, KEEP_BYTES("mini"), NULL, &memory,
				      &report, &err);
	fired = kp_fault_disarm(kind);
	keep_memory_release(&memory);
	keep_zone_forget();
	CHECK(fired == 0 || status == KEEP_OK || expected & MAY(status), "failure %ld: %s (%s)",
	      nth, keep_status_name(status), err.message);
	CHECK(fired > 0 || status == KEEP_OK, "the clean round: %s", err.message);
	stored = stored_now();
	CHECK(strcmp(stored, nothing) == 0 || strcmp(stored, everything) == 0,
	      "failure %ld: %s is stored", nth, stored);
	CHECK(status != KEEP_OK || strcmp(stored, everything) == 0,
	      "failure %ld: OK, and %s is stored", nth, stored);
	if (strcmp(stored, nothing) != 0) {
		keep_assistant_close(assistant);
		assert_nothing_lives();
		*assistant = assistant_fresh();
	} else {
		/* what the store keeps prepared may have grown; a leak grows with every round */
		CHECK(kp_alloc_live() < live + 200, "failure %ld leaked", nth);
	}
	return fired > 0;
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	keep_assistant *assistant = assistant_fresh();
	size_t before_len, after_len;
	char *before = source_bytes(source, &before_len), *after;
	long rounds = 0;

	for (long nth = 1; fail_nth(&assistant, kind, nth, expected); nth = next_nth(nth))
		rounds++;
	keep_assistant_close(&assistant);
	after = source_bytes(source, &after_len);
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, before_len);
	test_free(before);
	test_free(after);
	keep_zone_forget();
	assert_nothing_lives();
	assert_true(rounds > 0);
}

/* The report is made after the commit, so a failure there tells of none. */
static void a_failing_allocation_leaves_all_or_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN) |
					  (assistant_is_file() ? 0 : MAY(KEEP_UNAVAILABLE)));
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
		cmocka_unit_test(a_failing_allocation_leaves_all_or_nothing),
		cmocka_unit_test(a_failing_driver_call_changes_nothing),
		cmocka_unit_test(a_lost_answer_to_the_commit_is_uncertain),
	};
	int failed;

	sqlite_faults_install();
	assistant_begin(argc, argv);
	(void)snprintf(source, sizeof source, "/dev/shm/keep-adopted-%ld.db", (long)getpid());
	source_remove(source);
	source_make(source, "source_assistant.sql");
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	source_remove(source);
	assistant_end();
	return failed;
}
