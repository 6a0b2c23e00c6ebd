/*
 * test_gateway_migrate_faults.c - another daemon's migration with the copy before it, with the Nth
 * thing in it failing, N = 1, 2, … until none fires: nothing leaks, the tables are all there or
 * none, and what is called a copy is one.
 *
 *     test_gateway_migrate_faults sqlite|postgres      KEEP_TORTURE=all: every N
 */
#include "gateway_fixture.h"
#include "source_file.h"
#include "sqlite_faults.h"
#include "torture.h"

enum { EVERY_MAX = 25 };

static const keep_gateway_migration steps[] = {
	{.name = "add_moods", .sql = "CREATE TABLE moods (jid text PRIMARY KEY, mood text)"},
	{.name = "fill_moods", .sql = "INSERT INTO moods (jid, mood) VALUES ('a:1', 'glad')"},
};

static long next_nth(long nth)
{
	const char *wanted = getenv("KEEP_TORTURE");

	/* On a server each round makes and drops two schemas. */
	if ((wanted && strcmp(wanted, "all") == 0) || nth < (gateway_is_file() ? EVERY_MAX : 3))
		return nth + 1;
	return gateway_is_file() ? nth + nth / 4 : 2 * nth + nth % 3;
}

/* The copies of files are whole; those of schemas went with the transaction. */
static void check_and_remove_copies(bool is_migrated)
{
	for (int number = 1; number < 4; number++) {
		char name[GATEWAY_URL_MAX + 40], sql[200];
		bool is_there;

		if (!gateway_is_file()) {
			(void)snprintf(sql, sizeof sql,
				       "SELECT nspname::text FROM pg_namespace WHERE "
				       "nspname = current_schema() || '_before_timed_1'");
			is_there = *gateway_sql(sql) != '\0';
			CHECK(is_there == is_migrated, "a copy without its migration");
			if (is_there) {
				char schema[80];

				(void)snprintf(schema, sizeof schema, "%s", gateway_sql(sql));
				(void)snprintf(sql, sizeof sql, "DROP SCHEMA %s CASCADE", schema);
				(void)gateway_sql(sql);
			}
			return;
		}
		(void)snprintf(name, sizeof name, "%s.before-timed-1", gateway_url() + 7);
		if (number > 1)
			(void)snprintf(name + strlen(name), 8, "-%d", number);
		if (access(name, F_OK) != 0)
			return;
		source_run(name, "SELECT 1 / (count(*) = 1) FROM messages; PRAGMA integrity_check");
		source_remove(name);
	}
}

static bool fail_nth(enum kp_fault_kind kind, long nth, unsigned expected, bool persistent)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char part[GATEWAY_URL_MAX + 40];
	keep_status status;
	bool is_migrated;
	long live, fired;

	(void)gateway_put(gateway, "a:1", "1", "text");
	live = kp_alloc_live();
	kp_fault_arm(kind, nth, persistent);
	status = keep_gateway_migrate(gateway, "timed", steps, 2, &err);
	fired = kp_fault_disarm(kind);
	CHECK(kp_alloc_live() == live, "failure %ld leaked %ld blocks", nth,
	      kp_alloc_live() - live);
	CHECK(fired == 0 || status == KEEP_OK || expected & MAY(status), "failure %ld: %s (%s)",
	      nth, keep_status_name(status), err.message);
	CHECK(fired > 0 || status == KEEP_OK, "the clean round: %s", err.message);
	is_migrated = strcmp(gateway_sql("SELECT count(*) || '' FROM migrations"), "3") == 0;
	CHECK(is_migrated || strcmp(gateway_sql("SELECT count(*) || '' FROM migrations"), "1") == 0,
	      "failure %ld: half of it", nth);
	CHECK(status == KEEP_UNCERTAIN || is_migrated == (status == KEEP_OK),
	      "failure %ld: %s, but not so", nth, keep_status_name(status));
	check_and_remove_copies(is_migrated);
	(void)snprintf(part, sizeof part, "%s.before-timed-1.part", gateway_url() + 7);
	CHECK(!gateway_is_file() || persistent || access(part, F_OK) != 0, "failure %ld: a part",
	      nth);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
	return fired > 0;
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	long rounds = 0;

	for (int persistent = 0; persistent < 2; persistent++)
		for (long nth = 1; fail_nth(kind, nth, expected, persistent); nth = next_nth(nth))
			rounds++;
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

static void a_full_disk_migrates_nothing(void **state)
{
	(void)state;
	if (!gateway_is_file())
		return; /* the server's disk is not ours to fill */
	sqlite_faults_set_write_code(SQLITE_FULL);
	/* a page of the copy that cannot be read back fails its check */
	fail_each(KP_FAULT_FILE, MAY(KEEP_FULL) | MAY(KEEP_UNAVAILABLE) | MAY(KEEP_BUSY) |
					 MAY(KEEP_UNCERTAIN) | MAY(KEEP_CORRUPT));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_allocation_changes_nothing),
		cmocka_unit_test(a_failing_driver_call_changes_nothing),
		cmocka_unit_test(a_lost_answer_to_the_commit_is_uncertain),
		cmocka_unit_test(a_full_disk_migrates_nothing),
	};
	int failed;

	sqlite_faults_install();
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
