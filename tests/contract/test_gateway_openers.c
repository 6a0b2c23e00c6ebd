/*
 * test_gateway_openers.c - which stores a gateway opens, which it refuses and leaves as they are,
 * and what whoever only reads may do.
 *
 *     test_gateway_openers sqlite|postgres
 */
#include "gateway_fixture.h"
#include "source_file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { PROCESSES = 8 };

static keep_status open_url(const char *url, bool create, bool read_only, keep_gateway **out,
			    keep_error *err)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;

	options.create = create;
	options.read_only = read_only;
	options.service = "dashd";
	options.timeout_ms = 10000;
	return keep_gateway_open(url, &options, out, err);
}

/* The file of the last URL. */
static const char *file_of(const char *url)
{
	return url + strlen("sqlite:");
}

/* ---------------------------------------------------------------- versions */

static void expect_refusal(const char *url, keep_status expected, const char *words)
{
	for (int way = 0; way < 3; way++) { /* opening, creating, reading */
		keep_gateway *gateway = NULL;
		keep_error err = KEEP_ERROR_INIT;
		keep_status status = open_url(url, way == 1, way == 2, &gateway, &err);

		CHECK(status == expected, "%s: %s", keep_status_name(status), err.message);
		CHECK(strstr(err.message, words), "'%s' is not in: %s", words, err.message);
		assert_null(gateway);
	}
	assert_nothing_lives();
}

/* The same, and every byte of the file stays. */
static void expect_untouched(const char *url, keep_status expected, const char *words)
{
	size_t before_len, after_len;
	char *before, *after, guard[300];

	if (!gateway_is_file()) {
		expect_refusal(url, expected, words);
		return;
	}
	before = source_bytes(file_of(url), &before_len);
	(void)snprintf(guard, sizeof guard, "%s-guard", file_of(url));
	(void)unlink(guard);
	expect_refusal(url, expected, words);
	after = source_bytes(file_of(url), &after_len);
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, before_len);
	CHECK(access(guard, F_OK) != 0, "a guard was made");
	test_free(before);
	test_free(after);
}

static void a_newer_store_is_refused_and_untouched(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	keep_gateway_close(&gateway);
	(void)gateway_sql("INSERT INTO migrations SELECT service, 99, '0099_later', checksum, "
			  "applied_at FROM migrations WHERE service = 'gateway' AND version = 1");
	expect_untouched(gateway_url(), KEEP_TOO_NEW, "99");
	if (!gateway_is_file())
		return;
	(void)gateway_sql("DELETE FROM migrations WHERE version = 99");
	source_run(file_of(gateway_url()), "PRAGMA user_version = 98");
	expect_untouched(gateway_url(), KEEP_TOO_NEW, "user_version is 98");
}

static void the_two_versions_agree_or_the_file_is_corrupt(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	keep_gateway_close(&gateway);
	if (gateway_is_file()) {
		source_run(file_of(gateway_url()), "PRAGMA user_version = 0");
		expect_untouched(gateway_url(), KEEP_CORRUPT,
				 "user_version is 0, but its table migrations has version 1");
		source_run(file_of(gateway_url()), "PRAGMA user_version = 1");
	}
	(void)gateway_sql("UPDATE migrations SET checksum = 'x' WHERE service = 'gateway'");
	expect_untouched(gateway_url(), KEEP_CORRUPT, "was changed after it was applied");
}

static void the_first_migration_sets_the_files_version(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	keep_gateway_close(&gateway);
	assert_string_equal(gateway_sql("SELECT version || '' FROM migrations WHERE service = "
					"'gateway'"),
			    "1");
	if (gateway_is_file())
		assert_string_equal(
			gateway_sql("SELECT user_version || '' FROM pragma_user_version"), "1");
}

/* ---------------------------------------------------------------- others' stores */

static void a_store_of_another_program_is_a_conflict_and_stays(void **state)
{
	char url[GATEWAY_URL_MAX];
	keep_gateway *gateway = NULL;

	(void)state;
	if (!gateway_is_file()) {
		gateway = gateway_fresh();
		keep_gateway_close(&gateway);
		(void)gateway_sql("DROP TABLE migrations");
		expect_untouched(gateway_url(), KEEP_CONFLICT, "another program");
		(void)gateway_sql("ALTER TABLE messages DROP COLUMN seq CASCADE");
		expect_untouched(gateway_url(), KEEP_CONFLICT, "keep_gateway_adopt");
		return;
	}
	for (int mode = 0; mode < 2; mode++) {
		const char *journal = mode ? "PRAGMA journal_mode = wal" : "SELECT 1";

		gateway_next_url(url);
		source_run(file_of(url),
			   "CREATE TABLE bookmarks (a); INSERT INTO bookmarks VALUES (1)");
		source_run(file_of(url), journal);
		expect_untouched(url, KEEP_CONFLICT, "another program");
		gateway_next_url(url);
		source_make(file_of(url), "source_messages.sql");
		source_run(file_of(url), journal);
		expect_untouched(url, KEEP_CONFLICT, "keep_gateway_adopt");
	}
}

static void the_log_of_a_refused_file_stays_a_log(void **state)
{
	char url[GATEWAY_URL_MAX], log[GATEWAY_URL_MAX + 8], copy[GATEWAY_URL_MAX];
	sqlite3 *db = NULL;
	size_t len, after_len;
	char *bytes, *after;
	FILE *out;

	(void)state;
	if (!gateway_is_file())
		return; /* a server's log is nobody's to touch */
	gateway_next_url(url);
	source_make(file_of(url), "source_messages.sql");
	assert_int_equal(sqlite3_open(file_of(url), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = wal; DELETE FROM messages", NULL,
				      NULL, NULL),
			 SQLITE_OK);
	/* as a killed process leaves it: the file and its log, copied while they are open */
	(void)snprintf(copy, sizeof copy, "%.400s.left", url);
	bytes = source_bytes(file_of(url), &len);
	out = fopen(file_of(copy), "wb");
	assert_int_equal(fwrite(bytes, 1, len, out), len);
	assert_int_equal(fclose(out), 0);
	test_free(bytes);
	(void)snprintf(log, sizeof log, "%s-wal", file_of(url));
	bytes = source_bytes(log, &len);
	(void)snprintf(log, sizeof log, "%s-wal", file_of(copy));
	out = fopen(log, "wb");
	assert_int_equal(fwrite(bytes, 1, len, out), len);
	assert_int_equal(fclose(out), 0);
	sqlite3_close(db);
	expect_untouched(copy, KEEP_CONFLICT, "keep_gateway_adopt");
	after = source_bytes(log, &after_len);
	assert_int_equal(len, after_len);
	assert_memory_equal(bytes, after, len);
	test_free(bytes);
	test_free(after);
}

/* ---------------------------------------------------------------- reading only */

static void a_reader_finds_nothing_where_nothing_is(void **state)
{
	char url[GATEWAY_URL_MAX];
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	gateway_next_url(url);
	assert_int_equal(open_url(url, true, true, &gateway, &err), KEEP_NOT_FOUND);
	assert_int_equal(open_url(url, false, false, &gateway, &err), KEEP_NOT_FOUND);
	assert_true(!gateway_is_file() || access(file_of(url), F_OK) != 0);
}

static void a_reader_is_denied_every_change_and_changes_no_byte(void **state)
{
	static const keep_gateway_migration one = {.name = "a", .sql = "CREATE TABLE a (b int)"};
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_message message = {
		.chat_jid = KEEP_BYTES("a:1"), .id = KEEP_BYTES("2"), .content = KEEP_BYTES("no")};
	keep_chat chat = {.jid = KEEP_BYTES("a:2")};
	size_t before_len = 0, after_len = 0;
	char *before = NULL, *after = NULL, name[300];

	(void)state;
	(void)gateway_put(gateway, "a:1", "1", "text");
	keep_gateway_close(&gateway);
	if (gateway_is_file()) {
		before = source_bytes(file_of(gateway_url()), &before_len);
		(void)snprintf(name, sizeof name, "%s-notify", file_of(gateway_url()));
		(void)unlink(name);
	}
	OK(open_url(gateway_url(), false, true, &reader, &err));
	assert_int_equal(keep_gateway_put_message(reader, &message, NULL, NULL, &err), KEEP_DENIED);
	assert_int_equal(keep_gateway_put_chat(reader, &chat, &err), KEEP_DENIED);
	assert_int_equal(keep_gateway_set_state(reader, KEEP_BYTES("k"), KEEP_BYTES("v"), &err),
			 KEEP_DENIED);
	assert_int_equal(keep_gateway_migrate(reader, "timed", &one, 1, &err), KEEP_DENIED);
	keep_gateway_close(&reader);
	if (gateway_is_file()) {
		after = source_bytes(file_of(gateway_url()), &after_len);
		assert_int_equal(before_len, after_len);
		assert_memory_equal(before, after, before_len);
		assert_true(access(name, F_OK) != 0);
		test_free(before);
		test_free(after);
	}
	assert_nothing_lives();
}

static void a_reader_of_an_older_store_is_told_and_migrates_nothing(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	keep_gateway_close(&gateway);
	/* Version 1 is the first: without its row, and with the file's version 0, nothing was
	 * applied. */
	(void)gateway_sql("DELETE FROM migrations");
	if (gateway_is_file())
		source_run(file_of(gateway_url()), "PRAGMA user_version = 0");
	assert_int_equal(open_url(gateway_url(), false, true, &reader, &err), KEEP_NOT_FOUND);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM migrations"), "0");
}

struct writing {
	keep_gateway *gateway;
	atomic_int stop, written;
};

static void *write_on(void *ctx)
{
	struct writing *writing = ctx;
	char id[16];

	for (int i = 0; !atomic_load(&writing->stop); i++) {
		(void)snprintf(id, sizeof id, "w%d", i);
		(void)gateway_put(writing->gateway, "a:1", id, "text");
		atomic_fetch_add(&writing->written, 1);
	}
	return NULL;
}

static void readers_read_on_while_writers_write(void **state)
{
	struct writing writing = {.gateway = gateway_fresh()};
	keep_gateway *reader = NULL;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_message_list list;
	pthread_t writer;
	int64_t last = 0;
	int first;

	(void)state;
	OK(open_url(gateway_url(), false, true, &reader, &err));
	assert_int_equal(pthread_create(&writer, NULL, write_on, &writing), 0);
	while (atomic_load(&writing.written) < 5)
		sched_yield();
	first = atomic_load(&writing.written);
	/* reads see ever more, and the writer goes on beside them */
	for (int i = 0; i < 200 || atomic_load(&writing.written) < first + 20; i++) {
		OK(keep_gateway_history(reader, KEEP_BYTES("a:1"), 0, 1, &memory, &list, &err));
		assert_int_equal(list.count, 1);
		assert_true(list.items[0].seq >= last);
		last = list.items[0].seq;
		keep_memory_release(&memory);
	}
	assert_true(last > 5);
	atomic_store(&writing.stop, 1);
	pthread_join(writer, NULL);
	keep_gateway_close(&reader);
	keep_gateway_close(&writing.gateway);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- many at once */

static _Noreturn void open_in_child(const char *url, int start)
{
	static const char *const services[] = {"gated", "timed", "onbod", "dashd"};
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	char byte;

	options.service = services[getpid() % 4];
	options.create = true;
	options.timeout_ms = 30000;
	while (read(start, &byte, 1) > 0) /* until the parent lets go */
		;
	status = keep_gateway_open(url, &options, &gateway, &err);
	if (status != KEEP_OK)
		(void)fprintf(stderr, "child: %s: %s\n", keep_status_name(status), err.message);
	keep_gateway_close(&gateway);
	_exit(status == KEEP_OK ? 0 : 1);
}

static void of_many_processes_one_migrates_and_the_others_find_it_done(void **state)
{
	(void)state;
	for (int round = 0; round < 5; round++) {
		char url[GATEWAY_URL_MAX];
		int start[2], failed = 0;

		gateway_next_url(url);
		assert_int_equal(pipe(start), 0);
		(void)fflush(NULL);
		for (int i = 0; i < PROCESSES; i++) {
			pid_t child = fork();

			assert_true(child >= 0);
			if (child == 0) {
				(void)close(start[1]);
				open_in_child(url, start[0]);
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
		assert_string_equal(gateway_sql("SELECT count(*) || '' FROM migrations"), "1");
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_newer_store_is_refused_and_untouched),
		cmocka_unit_test(the_two_versions_agree_or_the_file_is_corrupt),
		cmocka_unit_test(the_first_migration_sets_the_files_version),
		cmocka_unit_test(a_store_of_another_program_is_a_conflict_and_stays),
		cmocka_unit_test(the_log_of_a_refused_file_stays_a_log),
		cmocka_unit_test(a_reader_finds_nothing_where_nothing_is),
		cmocka_unit_test(a_reader_is_denied_every_change_and_changes_no_byte),
		cmocka_unit_test(a_reader_of_an_older_store_is_told_and_migrates_nothing),
		cmocka_unit_test(readers_read_on_while_writers_write),
		cmocka_unit_test(of_many_processes_one_migrates_and_the_others_find_it_done),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
