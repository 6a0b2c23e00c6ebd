/*
 * test_assistant_migrations.c - a folder of <version>_<description>.sql: each once, in order,
 * whole.
 *
 *     test_assistant_migrations sqlite|postgres
 *     test_assistant_migrations race URL FOLDER       (a process of its own)
 */
#include "assistant_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RACERS = 4 };

static char folder[300];
static int folders;

static void fresh_folder(void)
{
	snprintf(folder, sizeof folder, "%s/migrations-%d", assistant_folder(), folders++);
	assert_int_equal(mkdir(folder, 0700), 0);
}

static void put_file(const char *name, const char *sql)
{
	char path[600];
	int fd;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, sql, strlen(sql)), (ssize_t)strlen(sql));
	close(fd);
}

static void remove_file(const char *name)
{
	char path[600];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	assert_int_equal(unlink(path), 0);
}

static keep_status migrate(keep_assistant *assistant, int64_t *applied, keep_error *err)
{
	return keep_assistant_migrate(assistant, folder, NULL, applied, err);
}

/* How many are told, pending ones alone or all. */
static size_t told(keep_assistant *assistant, bool only_pending)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_migration_states states = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_migrations(assistant, folder, only_pending, &memory, &states, &err));
	keep_memory_release(&memory);
	return states.count;
}

static void files_run_in_the_order_of_their_numbers_and_each_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	int64_t applied = 0;

	(void)state;
	fresh_folder();
	put_file("10_third.sql", "INSERT INTO mine (id) VALUES (3);");
	put_file("0001_first.sql", "CREATE TABLE mine (id INTEGER PRIMARY KEY);");
	put_file("2_second.sql", "INSERT INTO mine (id) VALUES (2);");
	put_file("notes.txt", "nothing");
	assert_int_equal(told(assistant, true), 3);
	OK(migrate(assistant, &applied, &err));
	assert_int_equal(applied, 3);
	assert_int_equal(assistant_count("mine"), 2);
	assert_int_equal(told(assistant, true), 0);
	assert_int_equal(told(assistant, false), 4);
	OK(migrate(assistant, &applied, &err));
	assert_int_equal(applied, 0);
	assert_string_equal(
		assistant_sql("SELECT version FROM schema_migrations ORDER BY id DESC LIMIT 1"),
		"10_third");
	put_file("11_fourth.sql", "INSERT INTO mine (id) VALUES (4);");
	OK(migrate(assistant, &applied, &err));
	assert_int_equal(applied, 1);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'schema_change'"), 4);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void keeps_own_migrations_are_told_as_such(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_migration_states states = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_assistant_migrations(assistant, NULL, false, &memory, &states, &err));
	assert_true(states.count >= 1);
	assert_true(states.items[0].is_ours && states.items[0].is_applied);
	assert_int_equal(states.items[0].checksum.len, 64);
	assert_true(states.items[0].applied_at > 0);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_failure_leaves_the_database_as_it_was_before_that_file(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	int64_t applied = 0;

	(void)state;
	fresh_folder();
	put_file("1_good.sql", "CREATE TABLE mine (id INTEGER PRIMARY KEY);");
	put_file("2_bad.sql", "INSERT INTO mine (id) VALUES (1); INSERT INTO absent VALUES (1);");
	put_file("3_never.sql", "INSERT INTO mine (id) VALUES (3);");
	assert_int_not_equal(migrate(assistant, &applied, &err), KEEP_OK);
	assert_non_null(strstr(err.message, "2_bad"));
	assert_int_equal(applied, 1);
	assert_int_equal(assistant_count("mine"), 0);
	put_file("2_bad.sql", "INSERT INTO mine (id) VALUES (1);");
	OK(migrate(assistant, &applied, &err));
	assert_int_equal(applied, 2);
	assert_int_equal(assistant_count("mine"), 2);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void what_was_applied_must_be_there_unchanged_and_first(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	int64_t applied = 0;

	(void)state;
	fresh_folder();
	put_file("5_five.sql", "CREATE TABLE mine (id INTEGER PRIMARY KEY);");
	OK(migrate(assistant, &applied, &err));
	put_file("5_five.sql", "CREATE TABLE mine (id INTEGER PRIMARY KEY); ");
	assert_int_equal(migrate(assistant, &applied, &err), KEEP_CORRUPT);
	assert_non_null(strstr(err.message, "5_five"));
	put_file("5_five.sql", "CREATE TABLE mine (id INTEGER PRIMARY KEY);");
	put_file("4_four.sql", "CREATE TABLE other (id INTEGER PRIMARY KEY);");
	assert_int_equal(migrate(assistant, &applied, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "4_four"));
	remove_file("4_four.sql");
	remove_file("5_five.sql");
	put_file("6_six.sql", "CREATE TABLE other (id INTEGER PRIMARY KEY);");
	assert_int_equal(migrate(assistant, &applied, &err), KEEP_CORRUPT);
	assert_non_null(strstr(err.message, "5_five"));
	assert_int_equal(assistant_count("schema_migrations WHERE version = '6_six'"), 0);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void names_and_statements_that_cannot_be_are_refused(void **state)
{
	static const struct {
		const char *name, *sql, *words;
	} bad[] = {
		{"first.sql", "SELECT 1;", "first"},
		{"1.sql", "SELECT 1;", "1.sql"},
		{"1_.sql", "SELECT 1;", "1_"},
		{"1_end.sql", "COMMIT; CREATE TABLE mine (id INTEGER);", "1_end"},
		{"1_alter.sql", "ALTER TABLE messages ADD COLUMN extra TEXT;", "own tables"},
		{"1_drop.sql", "DROP TABLE document_words;", "own tables"},
		{"1_index.sql", "CREATE INDEX extra ON settings (value);", "own tables"},
		{"0001_assistant.sql", "CREATE TABLE mine (id INTEGER);", "Keep's own"},
	};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	int64_t applied = 0, rows = assistant_count("schema_migrations");

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		fresh_folder();
		put_file(bad[i].name, bad[i].sql);
		assert_int_equal(migrate(assistant, &applied, &err), KEEP_INVALID);
		if (!strstr(err.message, bad[i].words))
			fail_msg("%s: %s", bad[i].name, err.message);
	}
	fresh_folder();
	put_file("1_a.sql", "SELECT 1;");
	put_file("01_b.sql", "SELECT 1;");
	assert_int_equal(migrate(assistant, &applied, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "same version"));
	snprintf(folder, sizeof folder, "%s/nowhere", assistant_folder());
	assert_int_equal(migrate(assistant, &applied, &err), KEEP_NOT_FOUND);
	assert_int_equal(assistant_count("schema_migrations"), rows);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_file_of_this_dialect_comes_before_a_plain_one(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	int64_t applied = 0;

	(void)state;
	fresh_folder();
	put_file("1_mine.sql", "CREATE TABLE plain (id INTEGER);");
	put_file("1_mine.sqlite.sql", "CREATE TABLE ours (id INTEGER) STRICT;");
	put_file("1_mine.postgres.sql", "CREATE TABLE ours (id bigint);");
	OK(migrate(assistant, &applied, &err));
	assert_int_equal(applied, 1);
	assert_int_equal(assistant_count("ours"), 0);
	fresh_folder();
	put_file("1_mine.sqlite.sql", "CREATE TABLE ours (id INTEGER) STRICT;");
	put_file("1_mine.postgres.sql", "CREATE TABLE ours (id bigint);");
	put_file(assistant_is_file() ? "2_other.postgres.sql" : "2_other.sqlite.sql", "SELECT 1;");
	assert_int_equal(migrate(assistant, &applied, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "2_other"));
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static int race(const char *url, const char *of)
{
	keep_assistant *assistant = NULL;
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int64_t applied = 0;

	options.timeout_ms = 60000;
	options.without_keys = true;
	if (keep_assistant_open(url, &options, &assistant, &err) != KEEP_OK ||
	    keep_assistant_migrate(assistant, of, NULL, &applied, &err) != KEEP_OK) {
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	keep_assistant_close(&assistant);
	return 0;
}

static void four_processes_at_once_apply_each_file_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	const char *url = assistant_url();
	char name[40], sql[80];
	pid_t racers[RACERS];

	(void)state;
	fresh_folder();
	put_file("0_mine.sql", "CREATE TABLE mine (id INTEGER);");
	for (int i = 1; i <= 20; i++) {
		snprintf(name, sizeof name, "%d_row.sql", i);
		snprintf(sql, sizeof sql, "INSERT INTO mine (id) VALUES (%d);", i);
		put_file(name, sql);
	}
	for (int i = 0; i < RACERS; i++) {
		racers[i] = fork();
		if (racers[i] == 0) {
			execl(assistant_program(), assistant_program(), "race", url, folder,
			      (char *)NULL);
			_exit(127);
		}
	}
	for (int i = 0; i < RACERS; i++) {
		int status = 0;

		assert_int_equal(waitpid(racers[i], &status, 0), racers[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(assistant_count("mine"), 20);
	assert_int_equal(assistant_count("schema_migrations WHERE version LIKE '%_row'"), 20);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_run_in_the_order_of_their_numbers_and_each_once),
		cmocka_unit_test(keeps_own_migrations_are_told_as_such),
		cmocka_unit_test(a_failure_leaves_the_database_as_it_was_before_that_file),
		cmocka_unit_test(what_was_applied_must_be_there_unchanged_and_first),
		cmocka_unit_test(names_and_statements_that_cannot_be_are_refused),
		cmocka_unit_test(a_file_of_this_dialect_comes_before_a_plain_one),
		cmocka_unit_test(four_processes_at_once_apply_each_file_once),
	};
	int failed;

	if (argc == 4 && strcmp(argv[1], "race") == 0)
		return race(argv[2], argv[3]);
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
