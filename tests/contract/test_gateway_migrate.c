/*
 * test_gateway_migrate.c - other daemons' tables beside the gateway's: migrated whole, once, after
 * a verified copy of what is there.
 *
 *     test_gateway_migrate sqlite|postgres
 */
#include "gateway_fixture.h"
#include "source_file.h"

#include <glob.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { PROCESSES = 8 };

static keep_error err;

static const keep_gateway_migration steps[] = {
	{.name = "add_moods", .sql = "CREATE TABLE moods (jid text PRIMARY KEY, mood text)"},
	{.name = "fill_moods",
	 .sql = "INSERT INTO moods (jid, mood) VALUES ('a:1', 'glad')",
	 .sql_postgres = "INSERT INTO moods (jid, mood) VALUES ('a:1', 'glad'), ('a:2', 'sad')"},
	{.name = "index_moods", .sql = "CREATE INDEX moods_by_mood ON moods (mood)"},
};

static void expect_refusal(keep_gateway *gateway, const char *service,
			   const keep_gateway_migration *list, size_t count, keep_status expected,
			   const char *words)
{
	keep_status status = keep_gateway_migrate(gateway, service, list, count, &err);

	CHECK(status == expected, "%s: %s", keep_status_name(status), err.message);
	CHECK(strstr(err.message, words), "'%s' is not in: %s", words, err.message);
}

/* How many copies of the last store there are. */
static int count_copies(void)
{
	char pattern[300];
	glob_t found;
	int count;

	if (!gateway_is_file())
		return (int)strtol(gateway_sql("SELECT count(*) || '' FROM pg_namespace WHERE "
					       "left(nspname, length(current_schema()) + 8) = "
					       "current_schema() || '_before_'"),
				   NULL, 10);
	(void)snprintf(pattern, sizeof pattern, "%s.before-*", gateway_url() + strlen("sqlite:"));
	count = glob(pattern, 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
	globfree(&found);
	return count;
}

/* The fixture drops its own schemas only. */
static void drop_copies(void)
{
	while (!gateway_is_file() && count_copies()) {
		char sql[200];

		(void)snprintf(
			sql, sizeof sql, "DROP SCHEMA %s CASCADE",
			gateway_sql("SELECT nspname::text FROM pg_namespace WHERE left(nspname, "
				    "length(current_schema()) + 8) = current_schema() || "
				    "'_before_' LIMIT 1"));
		(void)gateway_sql(sql);
	}
}

static void migrations_run_once_with_their_rows(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	OK(keep_gateway_migrate(gateway, "timed", steps, 2, &err));
	OK(keep_gateway_migrate(gateway, "timed", steps, 2, &err));
	OK(keep_gateway_migrate(gateway, "timed", steps, 3, &err));
	OK(keep_gateway_migrate(gateway, "onbod", NULL, 0, &err));
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM moods"),
			    gateway_is_file() ? "1" : "2");
	assert_string_equal(
		gateway_sql("SELECT count(*) || '' FROM migrations WHERE service = 'timed' "
			    "AND length(checksum) = 64"),
		"3");
	assert_string_equal(gateway_sql("SELECT name FROM migrations WHERE service = 'timed' AND "
					"version = 2"),
			    "fill_moods");
	/* the gateway goes on beside them */
	(void)gateway_put(gateway, "a:1", "1", "text");
	keep_gateway_close(&gateway);
	gateway = gateway_again("timed");
	keep_gateway_close(&gateway);
	drop_copies();
	assert_nothing_lives();
}

static void a_failure_leaves_the_store_as_it_was_and_names_the_migration(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_gateway_migration broken[3];

	(void)state;
	memcpy(broken, steps, sizeof broken);
	broken[2].sql = "CREATE TABLE half (a int); INSERT INTO nowhere VALUES (1)";
	(void)gateway_put(gateway, "a:1", "1", "text");
	expect_refusal(gateway, "timed", broken, 3, KEEP_MISUSE, "timed migration index_moods");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM migrations"), "1");
	OK(keep_gateway_migrate(gateway, "timed", steps, 3, &err));
	keep_gateway_close(&gateway);
	drop_copies();
	assert_nothing_lives();
}

static void what_is_wrong_with_a_list_is_told(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_gateway_migration changed[3];

	(void)state;
	expect_refusal(gateway, "gateway", steps, 1, KEEP_INVALID, "store's own");
	expect_refusal(gateway, "Timed", steps, 1, KEEP_INVALID, "service");
	expect_refusal(gateway, "", steps, 1, KEEP_INVALID, "service");
	expect_refusal(gateway, "timed", NULL, 1, KEEP_MISUSE, "NULL");
	memcpy(changed, steps, sizeof changed);
	changed[1].sql = changed[1].sql_postgres = NULL;
	expect_refusal(gateway, "timed", changed, 2, KEEP_INVALID, "sql");
	changed[1] = (keep_gateway_migration){.name = "a", .sql = "COMMIT"};
	expect_refusal(gateway, "timed", changed, 2, KEEP_INVALID, "COMMIT");
	changed[1].name = "";
	expect_refusal(gateway, "timed", changed, 2, KEEP_INVALID, "name");
	OK(keep_gateway_migrate(gateway, "timed", steps, 3, &err));
	expect_refusal(gateway, "timed", steps, 2, KEEP_TOO_NEW, "timed");
	memcpy(changed, steps, sizeof changed);
	changed[0].sql = "CREATE TABLE moods (jid text PRIMARY KEY, mood  text)";
	expect_refusal(gateway, "timed", changed, 3, KEEP_CORRUPT, "add_moods");
	keep_gateway_close(&gateway);
	drop_copies();
	assert_nothing_lives();
}

static void the_gateways_own_tables_are_not_anothers_to_change(void **state)
{
	static const char *const bad[] = {
		"DROP TABLE cursors",
		"ALTER TABLE messages ADD COLUMN mood text",
		"ALTER TABLE messages RENAME COLUMN content TO body",
		"CREATE INDEX mine ON messages (sender)",
		"UPDATE migrations SET checksum = 'x' WHERE service = 'gateway'",
		"DELETE FROM migrations WHERE service = 'gateway'",
	};
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	(void)gateway_put(gateway, "a:1", "1", "text");
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		const keep_gateway_migration one = {.name = "steal", .sql = bad[i]};

		expect_refusal(gateway, "timed", &one, 1, KEEP_INVALID, "timed migration steal");
	}
	if (gateway_is_file()) {
		const keep_gateway_migration one = {.name = "steal",
						    .sql = "PRAGMA user_version = 7"};

		expect_refusal(gateway, "timed", &one, 1, KEEP_INVALID, "timed migration steal");
	}
	assert_string_equal(gateway_sql("SELECT content FROM messages"), "text");
	keep_gateway_close(&gateway);
	gateway = gateway_again(NULL);
	keep_gateway_close(&gateway);
	/* a copy beside a file stays when its migration fails; one in the schema goes with it */
	assert_int_equal(count_copies() > 0, gateway_is_file());
	drop_copies();
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- the copy */

static void an_empty_store_is_not_copied_and_a_filled_one_is(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	OK(keep_gateway_migrate(gateway, "timed", steps, 1, &err));
	assert_int_equal(count_copies(), 0);
	(void)gateway_put(gateway, "a:1", "1", "kept");
	OK(keep_gateway_migrate(gateway, "timed", steps, 2, &err));
	assert_int_equal(count_copies(), 1);
	OK(keep_gateway_migrate(gateway, "timed", steps, 2, &err));
	assert_int_equal(count_copies(), 1);
	if (gateway_is_file()) {
		char url[GATEWAY_URL_MAX];
		keep_gateway *copy = NULL;
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message message;

		(void)snprintf(url, sizeof url, "%s.before-timed-2", gateway_url());
		OK(keep_gateway_open(url, NULL, &copy, &err));
		OK(keep_gateway_get_message(copy, KEEP_BYTES("a:1"), KEEP_BYTES("1"), &memory,
					    &message, &err));
		assert_bytes_equal(message.content, KEEP_BYTES("kept"));
		keep_memory_release(&memory);
		keep_gateway_close(&copy);
	} else {
		char sql[200];

		(void)snprintf(sql, sizeof sql, "SELECT content FROM %s_before_timed_2.messages",
			       gateway_sql("SELECT current_schema()::text"));
		assert_string_equal(gateway_sql(sql), "kept");
	}
	keep_gateway_close(&gateway);
	drop_copies();
	assert_nothing_lives();
}

static void an_older_copy_is_never_overwritten(void **state)
{
	const keep_gateway_migration other = {.name = "other", .sql = "CREATE TABLE other (a int)"};
	keep_gateway *gateway = gateway_fresh();
	keep_gateway_migration broken = {.name = "broken", .sql = "INSERT INTO nowhere VALUES (1)"};

	(void)state;
	(void)gateway_put(gateway, "a:1", "1", "text");
	OK(keep_gateway_migrate(gateway, "timed", steps, 1, &err));
	(void)gateway_sql("DROP TABLE moods");
	(void)gateway_sql("DELETE FROM migrations WHERE service = 'timed'");
	OK(keep_gateway_migrate(gateway, "timed", steps, 1, &err));
	assert_int_equal(count_copies(), 2);
	/* a service of the longest name has its copy, too */
	OK(keep_gateway_migrate(gateway,
				"service-of-a-name-that-is-as-long-as-a-service-may-have-it-64-by",
				&other, 1, &err));
	/* what failed leaves a copy beside a file, and none in the database */
	assert_int_not_equal(keep_gateway_migrate(gateway, "onbod", &broken, 1, &err), KEEP_OK);
	assert_string_equal(
		gateway_sql("SELECT count(*) || '' FROM migrations WHERE service = 'onbod'"), "0");
	keep_gateway_close(&gateway);
	drop_copies();
	assert_nothing_lives();
}

static void without_a_copy_nothing_is_migrated(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	char name[300];

	(void)state;
	(void)gateway_put(gateway, "a:1", "1", "text");
	if (!gateway_is_file()) {
		keep_gateway_close(&gateway);
		return; /* test_gateway_migrate_faults makes each of its statements fail */
	}
	/* a folder lies where the copy is written */
	(void)snprintf(name, sizeof name, "%s.before-timed-1.part", gateway_url() + 7);
	assert_int_equal(mkdir(name, 0700), 0);
	assert_int_not_equal(keep_gateway_migrate(gateway, "timed", steps, 1, &err), KEEP_OK);
	CHECK(strstr(err.message, "a copy of"), "%s", err.message);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM migrations"), "1");
	assert_int_equal(rmdir(name), 0);
	OK(keep_gateway_migrate(gateway, "timed", steps, 1, &err));
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- several processes */

static _Noreturn void migrate_in_child(const char *url, int start)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;
	char byte;

	options.timeout_ms = 30000;
	while (read(start, &byte, 1) > 0)
		;
	status = keep_gateway_open(url, &options, &gateway, &why);
	if (status == KEEP_OK)
		status = keep_gateway_migrate(gateway, "timed", steps, 3, &why);
	if (status != KEEP_OK)
		(void)fprintf(stderr, "child: %s: %s\n", keep_status_name(status), why.message);
	keep_gateway_close(&gateway);
	_exit(status == KEEP_OK ? 0 : 1);
}

static void of_many_processes_one_migrates(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) {
		keep_gateway *gateway = gateway_fresh();
		int start[2], failed = 0;
		char url[GATEWAY_URL_MAX]; /* the fixture's names have the process's number */

		(void)snprintf(url, sizeof url, "%s", gateway_url());
		(void)gateway_put(gateway, "a:1", "1", "text");
		keep_gateway_close(&gateway);
		assert_int_equal(pipe(start), 0);
		(void)fflush(NULL);
		for (int i = 0; i < PROCESSES; i++) {
			pid_t child = fork();

			assert_true(child >= 0);
			if (child == 0) {
				(void)close(start[1]);
				migrate_in_child(url, start[0]);
			}
		}
		(void)close(start[0]);
		(void)close(start[1]);
		for (int i = 0; i < PROCESSES; i++) {
			int status = 0;

			assert_true(wait(&status) > 0);
			failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
		}
		assert_int_equal(failed, 0);
		assert_string_equal(gateway_sql("SELECT count(*) || '' FROM migrations"), "4");
		assert_int_equal(count_copies(), 1);
		drop_copies();
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(migrations_run_once_with_their_rows),
		cmocka_unit_test(a_failure_leaves_the_store_as_it_was_and_names_the_migration),
		cmocka_unit_test(what_is_wrong_with_a_list_is_told),
		cmocka_unit_test(the_gateways_own_tables_are_not_anothers_to_change),
		cmocka_unit_test(an_empty_store_is_not_copied_and_a_filled_one_is),
		cmocka_unit_test(an_older_copy_is_never_overwritten),
		cmocka_unit_test(without_a_copy_nothing_is_migrated),
		cmocka_unit_test(of_many_processes_one_migrates),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
