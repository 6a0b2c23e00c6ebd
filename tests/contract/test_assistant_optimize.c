/*
 * test_assistant_optimize.c - statistics are renewed, free pages given back, sizes told, and
 * writers go on meanwhile.
 *
 *     test_assistant_optimize sqlite|postgres
 */
#include "assistant_rows.h"

#include "sql/sql.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

static void run_sql(const char *sql)
{
	kp_sql_conn *conn = assistant_connect_behind();
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(conn, sql, &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_close(&conn);
}

static void add_executions(void)
{
	run_sql("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
		"INSERT INTO job_executions (job_id, job_type, started_at, status, scheduled_for, "
		"attempt, error_message) SELECT 'job-' || (i % 50), 'cron', "
		"'2026-01-01T00:00:00.000Z', 'failed', '2026-01-01T00:00:00.000Z', i, "
		"'it did not go as it was meant to go, and this is why it is here' FROM n");
}

static void statistics_are_there_for_tables_that_have_rows(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	add_executions();
	OK(keep_assistant_optimize(assistant, &err));
	if (assistant_is_file()) {
		assert_true(assistant_count("sqlite_stat1 WHERE tbl = 'job_executions'") >= 3);
		assert_int_equal(assistant_count("sqlite_stat1 WHERE tbl = 'prompts'"), 0);
	} else {
		assert_true(assistant_count("pg_stats WHERE schemaname = current_schema() AND "
					    "tablename = 'job_executions'") > 0);
	}
	OK(keep_assistant_optimize(assistant, &err));
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void free_pages_are_given_back_to_the_file_system(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_retention_report report;
	keep_error err = KEEP_ERROR_INIT;
	struct stat before, after;

	(void)state;
	add_executions();
	OK(keep_assistant_optimize(assistant, &err));
	OK(keep_assistant_retain(assistant, NULL, NULL, &report, &err));
	assert_int_equal(report.job_executions, 15000);
	if (assistant_is_file()) {
		OK(keep_assistant_optimize(assistant, &err));
		assert_int_equal(assistant_count("pragma_auto_vacuum WHERE auto_vacuum = 2"), 1);
		assert_int_equal(assistant_count("pragma_freelist_count WHERE freelist_count = 0"),
				 1);
	}
	assert_int_equal(assistant_count("job_executions"), 5000);
	if (assistant_is_file()) {
		/* The last to close copies what is left of the log. */
		(void)stat(assistant_file(), &before);
		keep_assistant_close(&assistant);
		assert_int_equal(stat(assistant_file(), &after), 0);
		CHECK(after.st_size < 3 << 20, "the file has %lld bytes", (long long)after.st_size);
		assert_string_equal(
			assistant_sql("SELECT integrity_check FROM pragma_integrity_check"), "ok");
	}
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

struct appender {
	keep_assistant *assistant;
	atomic_bool stop;
	int64_t longest_ns;
	int appended;
};

static void *append_all_the_time(void *ctx)
{
	struct appender *appender = ctx;

	while (!atomic_load(&appender->stop)) {
		keep_conversation_message message = {.conversation_id = KEEP_BYTES("busy"),
						     .role = KEEP_BYTES("user"),
						     .content = KEEP_BYTES("hello")};
		keep_append_result result;
		int64_t begun = kp_monotonic_ns(), took;

		if (keep_assistant_append(appender->assistant, &message, &result, NULL) != KEEP_OK)
			break;
		took = kp_monotonic_ns() - begun;
		appender->longest_ns = took > appender->longest_ns ? took : appender->longest_ns;
		appender->appended++;
	}
	return NULL;
}

static void writers_never_wait_long_for_it(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	struct appender appender = {.assistant = assistant};
	keep_retention_report report;
	keep_error err = KEEP_ERROR_INIT;
	pthread_t thread;

	(void)state;
	assistant_conversation(assistant, "busy");
	add_executions();
	OK(keep_assistant_retain(assistant, NULL, NULL, &report, &err));
	assert_int_equal(pthread_create(&thread, NULL, append_all_the_time, &appender), 0);
	for (int i = 0; i < 3; i++)
		OK(keep_assistant_optimize(assistant, &err));
	atomic_store(&appender.stop, true);
	pthread_join(thread, NULL);
	print_message("%d messages beside it, the longest wait %.1f ms\n", appender.appended,
		      (double)appender.longest_ns / 1e6);
	assert_true(appender.appended > 0);
	CHECK(appender.longest_ns < INT64_C(100000000) * test_patience(), "a writer waited %lld ns",
	      (long long)appender.longest_ns);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void sizes_tell_rows_and_bytes_largest_first(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_table_sizes sizes = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;
	bool has_messages = false;

	(void)state;
	add_executions();
	assistant_conversation(assistant, "a");
	assistant_append(assistant, "a", "hello");
	OK(keep_assistant_sizes(assistant, &memory, &sizes, &err));
	assert_true(sizes.count > 15);
	assert_bytes_equal(sizes.items[0].table, KEEP_BYTES("job_executions"));
	assert_int_equal(sizes.items[0].rows, 20000);
	assert_true(sizes.items[0].bytes > 2 << 20);
	for (size_t i = 0; i < sizes.count; i++) {
		assert_true(i == 0 || sizes.items[i].bytes <= sizes.items[i - 1].bytes);
		assert_true(sizes.items[i].bytes >= 0);
		if (kp_bytes_equal(sizes.items[i].table, KEEP_BYTES("messages"))) {
			has_messages = true;
			assert_int_equal(sizes.items[i].rows, 1);
		}
	}
	assert_true(has_messages);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_store_for_reading_only_tells_sizes_and_changes_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *reader = NULL;
	keep_assistant_options read_only = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_table_sizes sizes = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	read_only.read_only = read_only.without_keys = true;
	OK(assistant_open_with(&read_only, &reader, &err));
	assert_int_equal(keep_assistant_optimize(reader, &err), KEEP_DENIED);
	OK(keep_assistant_sizes(reader, &memory, &sizes, &err));
	keep_memory_release(&memory);
	keep_assistant_close(&reader);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statistics_are_there_for_tables_that_have_rows),
		cmocka_unit_test(free_pages_are_given_back_to_the_file_system),
		cmocka_unit_test(writers_never_wait_long_for_it),
		cmocka_unit_test(sizes_tell_rows_and_bytes_largest_first),
		cmocka_unit_test(a_store_for_reading_only_tells_sizes_and_changes_nothing),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
