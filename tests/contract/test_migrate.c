/*
 * test_migrate.c - a database gets the newest schema whole, once, from a list that it knows.
 *
 * Runs once for each backend (KEEP_TEST_BACKEND, see sql_backend.h). The SQL of the migrations here
 * is that which both dialects read.
 */
#include "sql_backend.h"
#include "stored_database.h"
#include "sql/sql_records.h"

#include <sys/wait.h>

enum { PROCESSES = 4 };

static sql_backend backend;
static kp_sql_options options;
static kp_sql_conn *conn;
static keep_error err;

static const kp_migration steps[] = {
	{1, "0001_first", "CREATE TABLE note (id bigint PRIMARY KEY, body text)"},
	{2, "0002_more",
	 "ALTER TABLE note ADD COLUMN kind text; INSERT INTO note (id, body) VALUES (1, 'a;b')"},
	{3, "0003_index",
	 "-- By kind; COMMIT is only a word here.\n"
	 "CREATE INDEX note_by_kind ON note (kind);\n"},
};

/* The first `count` steps. */
static kp_migrations make_list(size_t count)
{
	return (kp_migrations){.service = "engine", .list = steps, .count = count};
}

static int make_database(void **state)
{
	(void)state;
	options = backend_fresh(&backend);
	err = (keep_error)KEEP_ERROR_INIT;
	OK(kp_sql_open(backend.driver, &options, &conn, &err));
	return 0;
}

static int close_database(void **state)
{
	(void)state;
	kp_sql_close(&conn);
	assert_nothing_lives();
	return 0;
}

static void migrate_to(size_t count)
{
	kp_migrations list = make_list(count);

	OK(kp_migrate(conn, &list, &err));
}

static void expect_refusal(const kp_migrations *list, keep_status expected, const char *words)
{
	keep_status status = kp_migrate(conn, list, &err);

	CHECK(status == expected, "%s: %s", keep_status_name(status), err.message);
	assert_int_equal(err.status, expected);
	CHECK(strstr(err.message, words), "\"%s\" is not in: %s", words, err.message);
	assert_false(conn->in_transaction);
}

static void expect_version(int expected)
{
	int version = -1;

	OK(kp_migrate_version(conn, "engine", &version, &err));
	assert_int_equal(version, expected);
}

/* True when the table can be read; for tables that tests make. */
static bool has_table(const char *name)
{
	kp_sql_stmt *stmt = NULL;
	char sql[128];
	keep_status status = KEEP_OK;
	bool has_row = false;

	(void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", name);
	status = kp_sql_prepare(conn, sql, &stmt, NULL);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, NULL);
	kp_sql_finish(&stmt);
	return status == KEEP_OK;
}

/* ---------------------------------------------------------------- forward */

static void a_fresh_database_gets_every_migration_with_its_row(void **state)
{
	kp_applied_migration row = {.service = KEEP_BYTES("engine"), .version = 2};
	kp_arena arena = {.head = NULL};

	(void)state;
	expect_version(0);
	migrate_to(3);
	expect_version(3);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM note"), 1);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM migrations"), 3);
	OK(kp_record_get(conn, &kp_applied_migration_record, &row, &arena, &err));
	assert_bytes_equal(row.name, KEEP_BYTES("0002_more"));
	assert_int_equal(row.checksum.len, 64);
	assert_in_range(row.applied_at, kp_clock_ms() - 60000, kp_clock_ms());
	kp_arena_release(&arena);
}

static void a_second_run_changes_nothing(void **state)
{
	(void)state;
	migrate_to(3);
	OK(kp_sql_script(conn, "UPDATE note SET body = 'kept'", &err));
	migrate_to(3);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM note WHERE body = 'kept'"), 1);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM migrations"), 3);
}

static void two_services_share_a_database(void **state)
{
	static const kp_migration others[] = {
		{1, "0001_other", "CREATE TABLE other (id bigint PRIMARY KEY)"},
	};
	const kp_migrations list = {.service = "gateway", .list = others, .count = 1};
	int version = -1;

	(void)state;
	migrate_to(2);
	OK(kp_migrate(conn, &list, &err));
	OK(kp_migrate_version(conn, "gateway", &version, &err));
	assert_int_equal(version, 1);
	expect_version(2);
	migrate_to(3);
	expect_version(3);
}

static keep_status note_backup(void *ctx, kp_sql_conn *of, int from_version, keep_error *why)
{
	int *asked = ctx;

	assert_true(of->in_transaction);
	asked[0]++;
	asked[1] = from_version;
	return asked[2] ? kp_fail(why, KEEP_FULL, "no room for a backup") : KEEP_OK;
}

static void a_backup_is_asked_for_only_when_there_is_something_to_lose(void **state)
{
	int asked[3] = {0};
	kp_migrations list = make_list(1);

	(void)state;
	list.backup = note_backup;
	list.hooks_ctx = asked;
	OK(kp_migrate(conn, &list, &err));
	assert_int_equal(asked[0], 0);
	list.count = 3;
	asked[2] = 1;
	expect_refusal(&list, KEEP_FULL, "no room for a backup");
	expect_version(1);
	asked[2] = 0;
	OK(kp_migrate(conn, &list, &err));
	assert_int_equal(asked[0], 2);
	assert_int_equal(asked[1], 1);
	OK(kp_migrate(conn, &list, &err));
	assert_int_equal(asked[0], 2);
	expect_version(3);
}

static void a_database_that_an_older_release_wrote_is_brought_up_to_date(void **state)
{
	static const char *const stored[KP_DIALECT_COUNT] = {"engine_v1_sqlite.sql",
							     "engine_v1_postgres.sql"};
	char path[256];

	(void)state;
	kp_sql_close(&conn);
	(void)snprintf(path, sizeof path, "%s/%s", getenv("KEEP_TEST_FIXTURES"),
		       stored[backend.driver->dialect]);
	stored_database_restore(&backend, path, &options);
	OK(kp_sql_open(backend.driver, &options, &conn, &err));
	expect_version(1);
	migrate_to(3);
	expect_version(3);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM note WHERE body LIKE 'kept%'"), 1);
}

/* ---------------------------------------------------------------- failures */

static void a_failing_migration_names_itself_and_leaves_everything_as_it_was(void **state)
{
	kp_migration broken[KP_COUNT(steps)];
	kp_migrations list = {.service = "engine", .list = broken, .count = KP_COUNT(broken)};

	(void)state;
	memcpy(broken, steps, sizeof steps);
	broken[2].sql = "CREATE TABLE half (id bigint); INSERT INTO nowhere VALUES (1)";
	expect_refusal(&list, KEEP_MISUSE, "engine migration 0003_index");
	expect_version(0);
	assert_false(has_table("migrations"));
	assert_false(has_table("note"));
	migrate_to(1);
	expect_refusal(&list, KEEP_MISUSE, "engine migration 0003_index");
	expect_version(1);
	assert_false(has_table("half"));
	assert_int_equal(query_int(conn, "SELECT count(*) FROM note"), 0);
	migrate_to(3);
	expect_version(3);
}

static void a_name_that_another_program_uses_is_a_conflict_and_stays(void **state)
{
	static const char *const taken[] = {
		"CREATE TABLE note (name text); INSERT INTO note VALUES ('theirs')",
		"CREATE TABLE others (name text); INSERT INTO others VALUES ('theirs');"
		"CREATE VIEW note AS SELECT * FROM others",
		"CREATE TABLE migrations (name text); INSERT INTO migrations VALUES ('theirs')",
		"CREATE TABLE migrations (id bigint, name text);"
		"INSERT INTO migrations VALUES (1, 'theirs')",
	};
	kp_migrations list = make_list(3);

	for (size_t i = 0; i < KP_COUNT(taken); i++) {
		bool own_list = strstr(taken[i], "TABLE migrations") != NULL;

		OK(kp_sql_script(conn, taken[i], &err));
		expect_refusal(&list, KEEP_CONFLICT,
			       own_list ? "migrations is another program's"
					: "engine migration 0001_first");
		CHECK(own_list || strstr(err.message, "already"), "%s", err.message);
		assert_int_equal(query_int(conn, own_list ? "SELECT count(*) FROM migrations "
							    "WHERE name = 'theirs'"
							  : "SELECT count(*) FROM note "
							    "WHERE name = 'theirs'"),
				 1);
		assert_true(own_list || !has_table("migrations"));
		assert_false(own_list && has_table("note"));
		close_database(state);
		make_database(state);
	}
}

static void a_newer_database_is_refused_and_not_touched(void **state)
{
	kp_migrations older = make_list(2);

	(void)state;
	migrate_to(3);
	expect_refusal(&older, KEEP_TOO_NEW, "version 3 (0003_index)");
	expect_version(3);
}

static void a_changed_migration_is_corrupt(void **state)
{
	kp_migration changed[KP_COUNT(steps)];
	kp_migrations list = {.service = "engine", .list = changed, .count = KP_COUNT(changed)};

	(void)state;
	migrate_to(2);
	memcpy(changed, steps, sizeof steps);
	changed[0].sql = "CREATE TABLE note (id bigint PRIMARY KEY, body  text)";
	expect_refusal(&list, KEEP_CORRUPT, "0001_first");
	expect_version(2);
}

static void a_missing_row_is_corrupt(void **state)
{
	kp_migrations list = make_list(3);

	(void)state;
	migrate_to(3);
	OK(kp_sql_script(conn, "DELETE FROM migrations WHERE version = 2", &err));
	expect_refusal(&list, KEEP_CORRUPT, "not 2");
	OK(kp_sql_script(conn, "DELETE FROM migrations WHERE version = 1", &err));
	expect_refusal(&list, KEEP_CORRUPT, "not 2");
}

static void a_list_with_a_gap_is_invalid(void **state)
{
	const kp_migration gap[] = {steps[0], steps[2]};
	const kp_migrations list = {.service = "engine", .list = gap, .count = 2};

	(void)state;
	expect_refusal(&list, KEEP_INVALID, "0003_index");
	expect_version(0);
}

static void inside_a_transaction_it_is_misuse(void **state)
{
	kp_migrations list = make_list(1);

	(void)state;
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	assert_int_equal(kp_migrate(conn, &list, &err), KEEP_MISUSE);
	assert_true(conn->in_transaction);
	kp_sql_rollback(conn);
}

static void a_migration_that_begins_or_ends_a_transaction_is_refused(void **state)
{
	static const char *const refused[] = {
		"COMMIT",
		"CREATE TABLE a (id int); commit; CREATE TABLE b (id int)",
		"/* ; */ rollback",
		"BEGIN; CREATE TABLE a (id int); END",
		"-- one\n;; ;Start TRANSACTION",
		"SAVEPOINT a",
		"INSERT INTO a VALUES ('it''s'); END;",
		"CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; END; COMMIT",
		"CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; COMMIT; END;",
		"SELECT $tag$ ; $tag$; ABORT",
		"SELECT E'\\'; '; RELEASE x",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(refused); i++) {
		const kp_migration one = {1, "0001_transaction", refused[i]};
		const kp_migrations list = {.service = "engine", .list = &one, .count = 1};

		expect_refusal(&list, KEEP_INVALID, "0001_transaction");
		CHECK(strstr(err.message, "has no place in a migration"), "%s: %s", refused[i],
		      err.message);
		assert_false(has_table("migrations"));
	}
}

static void words_that_only_look_like_a_transaction_are_fine(void **state)
{
	static const char *const scripts[KP_DIALECT_COUNT] = {
		"CREATE TABLE a (\"begin\" int, x text DEFAULT 'a; COMMIT');\n"
		"CREATE TRIGGER t AFTER INSERT ON a BEGIN\n"
		"  UPDATE a SET x = CASE WHEN x = '' THEN ';' ELSE x END; DELETE FROM a;\n"
		"END;\n/* COMMIT; */ INSERT INTO a VALUES (1, 'ROLLBACK; -- no')",
		"CREATE TABLE a (\"begin\" int, x text DEFAULT 'a; COMMIT');\n"
		"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN\n"
		"  DELETE FROM a; RETURN NULL; END; $body$;\n"
		"CREATE TRIGGER t AFTER INSERT ON a EXECUTE FUNCTION f();\n"
		"/* COMMIT; */ INSERT INTO a VALUES (1, E'\\'; ROLLBACK; -- no')",
	};
	const kp_migration one = {1, "0001_words", scripts[backend.driver->dialect]};
	const kp_migrations list = {.service = "engine", .list = &one, .count = 1};

	(void)state;
	OK(kp_migrate(conn, &list, &err));
	expect_version(1);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM a"), 0);
}

/* The scan takes END for the end of a body here; the savepoint does not. */
static void what_the_scan_does_not_see_the_savepoint_does(void **state)
{
	static const kp_migration one = {
		1, "0001_hidden", "CREATE TABLE a (x text CHECK (x <> 'BEGIN'), begin int); END; "};
	const kp_migrations list = {.service = "engine", .list = &one, .count = 1};

	(void)state;
	assert_int_not_equal(kp_migrate(conn, &list, &err), KEEP_OK);
	CHECK(strstr(err.message, "0001_hidden"), "%s", err.message);
	assert_false(conn->in_transaction);
	expect_version(0);
}

static void reading_only_it_says_what_is_missing(void **state)
{
	kp_migrations list = make_list(2);
	kp_sql_options reading = options;

	(void)state;
	reading.read_only = true;
	reading.create = false;
	kp_sql_close(&conn);
	OK(kp_sql_open(backend.driver, &reading, &conn, &err));
	expect_refusal(&list, KEEP_NOT_FOUND, "no schema yet");
	kp_sql_close(&conn);
	OK(kp_sql_open(backend.driver, &options, &conn, &err));
	migrate_to(2);
	kp_sql_close(&conn);
	OK(kp_sql_open(backend.driver, &reading, &conn, &err));
	migrate_to(2);
	list.count = 3;
	expect_refusal(&list, KEEP_CONFLICT, "version 2");
	list.count = 1;
	expect_refusal(&list, KEEP_TOO_NEW, "version 2");
}

/* ---------------------------------------------------------------- several processes */

static _Noreturn void migrate_in_child(size_t count, int start)
{
	kp_migrations list = make_list(count);
	kp_sql_conn *own = NULL;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_sql_open(backend.driver, &options, &own, &why);
	char byte = 0;

	if (status == KEEP_OK && read(start, &byte, 1) == 0) /* the parent let go: all at once */
		status = kp_migrate(own, &list, &why);
	if (status != KEEP_OK)
		(void)fprintf(stderr, "child: %s: %s\n", keep_status_name(status), why.message);
	kp_sql_close(&own);
	_exit(status == KEEP_OK ? 0 : 1);
}

static void migrate_in_processes(size_t count)
{
	int start[2];
	int failed = 0;

	assert_int_equal(pipe(start), 0);
	(void)fflush(NULL);
	for (int i = 0; i < PROCESSES; i++) {
		pid_t child = fork();

		CHECK(child >= 0, "fork");
		if (child == 0) {
			(void)close(start[1]);
			migrate_in_child(count, start[0]);
		}
	}
	(void)close(start[0]);
	(void)close(start[1]);
	for (int i = 0; i < PROCESSES; i++) {
		int status = 0;

		CHECK(wait(&status) > 0, "wait");
		failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	}
	assert_int_equal(failed, 0);
}

static void of_several_processes_one_migrates_and_the_others_find_it_done(void **state)
{
	(void)state;
	for (int round = 0; round < 10; round++) {
		kp_sql_close(&conn);
		options = backend_fresh(&backend);
		migrate_in_processes(2); /* the table does not exist either */
		migrate_in_processes(3);
		OK(kp_sql_open(backend.driver, &options, &conn, &err));
		expect_version(3);
		assert_int_equal(query_int(conn, "SELECT count(*) FROM note"), 1);
		assert_int_equal(query_int(conn, "SELECT count(*) FROM migrations"), 3);
	}
}

#define ON_DATABASE(test) cmocka_unit_test_setup_teardown(test, make_database, close_database)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_DATABASE(a_fresh_database_gets_every_migration_with_its_row),
		ON_DATABASE(a_second_run_changes_nothing),
		ON_DATABASE(two_services_share_a_database),
		ON_DATABASE(a_backup_is_asked_for_only_when_there_is_something_to_lose),
		ON_DATABASE(a_database_that_an_older_release_wrote_is_brought_up_to_date),
		ON_DATABASE(a_failing_migration_names_itself_and_leaves_everything_as_it_was),
		ON_DATABASE(a_name_that_another_program_uses_is_a_conflict_and_stays),
		ON_DATABASE(a_newer_database_is_refused_and_not_touched),
		ON_DATABASE(a_changed_migration_is_corrupt),
		ON_DATABASE(a_missing_row_is_corrupt),
		ON_DATABASE(a_list_with_a_gap_is_invalid),
		ON_DATABASE(inside_a_transaction_it_is_misuse),
		ON_DATABASE(a_migration_that_begins_or_ends_a_transaction_is_refused),
		ON_DATABASE(words_that_only_look_like_a_transaction_are_fine),
		ON_DATABASE(what_the_scan_does_not_see_the_savepoint_does),
		ON_DATABASE(reading_only_it_says_what_is_missing),
		ON_DATABASE(of_several_processes_one_migrates_and_the_others_find_it_done),
	};
	int failed = backend_open(&backend);

	if (failed)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	backend_close(&backend);
	return failed;
}
