/*
 * test_assistant_retention_crash.c - retention that is killed after any batch has removed nothing
 * that stays, and the next run removes the rest.
 *
 *     test_assistant_retention_crash sqlite|postgres
 *     test_assistant_retention_crash child <url>        runs retention; KEEP_KILL_AT ends it
 */
#include "assistant_rows.h"

#include "sql/sql.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 7, JOBS = 3, EACH = 130, TASKS = 1040, MEMORIES = 33 };

static int retain_as_child(const char *url)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_retention_options small = KEEP_RETENTION_OPTIONS_INIT;
	keep_retention_report report;
	keep_assistant *assistant = NULL;
	keep_status status;

	options.without_keys = true;
	options.timeout_ms = 30000;
	small.batch = BATCH;
	small.now_ms = kp_clock_ms() + INT64_C(40) * 24 * 3600 * 1000;
	status = keep_assistant_open(url, &options, &assistant, NULL);
	if (status == KEEP_OK)
		status = keep_assistant_retain(assistant, &small, NULL, &report, NULL);
	keep_assistant_close(&assistant);
	return status != KEEP_OK;
}

/* How the child ended: its wait status. */
static int run_child(const char *url, const char *kill_at)
{
	int status = -1;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		if (kill_at)
			(void)setenv("KEEP_KILL_AT", kill_at, 1);
		execl(assistant_program(), assistant_program(), "child", url, (char *)NULL);
		_exit(9);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void run_sql(const char *sql)
{
	kp_sql_conn *conn = assistant_connect_behind();
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(conn, sql, &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_close(&conn);
}

static void fill(keep_assistant *assistant)
{
	char sql[600];
	keep_error err = KEEP_ERROR_INIT;

	assistant_conversation(assistant, "a");
	snprintf(
		sql, sizeof sql,
		"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
		"INSERT INTO job_executions (job_id, job_type, started_at, status, scheduled_for, "
		"attempt) SELECT 'job-' || (i %% %d), 'cron', '2026-01-01T00:00:00.000Z', CASE "
		"WHEN i <= 3 THEN 'running' ELSE 'success' END, '2026-01-01T00:00:00.000Z', i FROM "
		"n",
		JOBS * EACH, JOBS);
	run_sql(sql);
	snprintf(sql, sizeof sql,
		 "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
		 "INSERT INTO agent_tasks (task_id, conversation_id, agent_name, \"action\", "
		 "status) SELECT 't-' || i, 'a', 'x', 'y', 'completed' FROM n",
		 TASKS);
	run_sql(sql);
	snprintf(sql, sizeof sql,
		 "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
		 "INSERT INTO conversation_memory (conversation_id, memory_type, content) SELECT "
		 "'a', 'short_term', '1' FROM n",
		 MEMORIES);
	run_sql(sql);
	for (int i = 0; i < 20; i++) {
		snprintf(sql, sizeof sql, "value %d", i);
		OK(keep_assistant_set_prompt(assistant, KEEP_BYTES("soul"), keep_bytes_of(sql),
					     (keep_bytes){NULL, 0}, 0, NULL, NULL, &err));
	}
}

/* Whatever was done until now: what stays is there, and the chain holds. */
static void assert_kept(keep_assistant *assistant)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_audit_report verdict;
	keep_error err = KEEP_ERROR_INIT;

	assert_int_equal(assistant_count("job_executions WHERE status = 'running'"), 3);
	assert_int_equal(assistant_count("(SELECT id FROM job_executions ORDER BY id DESC LIMIT "
					 "300) AS kept"),
			 300);
	assert_int_equal(assistant_count("agent_tasks WHERE task_id = 't-41'"), 1);
	assert_true(assistant_count("agent_tasks") >= 1000);
	assert_true(assistant_count("conversation_memory") >= 20);
	OK(keep_assistant_verify_audit(assistant, &memory, &verdict, &err));
	CHECK(verdict.is_intact, "the audit log is broken at %lld", (long long)verdict.broken_seq);
	keep_memory_release(&memory);
}

static int kill_after(const char *moment, int first, int step)
{
	keep_assistant *assistant = assistant_fresh();
	char url[ASSISTANT_URL_MAX], kill_at[60];
	int kills = 0, status;

	snprintf(url, sizeof url, "%s", assistant_url());
	fill(assistant);
	for (int n = first;; n += step) {
		snprintf(kill_at, sizeof kill_at, "%s:%d", moment, n);
		status = run_child(url, kill_at);
		assert_kept(assistant);
		if (!WIFSIGNALED(status))
			break;
		assert_int_equal(WTERMSIG(status), SIGKILL);
		kills++;
	}
	assert_int_equal(status, 0);
	assert_int_equal(run_child(url, NULL), 0);
	assert_int_equal(assistant_count("job_executions"), JOBS * 100 + 3);
	assert_int_equal(assistant_count("agent_tasks"), 1000);
	assert_int_equal(assistant_count("conversation_memory"), 20);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'prompt_change'"), 0);
	keep_assistant_close(&assistant);
	return kills;
}

static void a_run_that_is_killed_after_a_batch_is_finished_by_the_next(void **state)
{
	(void)state;
	assert_true(kill_after("retention.batch", 1, 1) >= 3);
	assert_nothing_lives();
}

static void a_run_that_is_killed_after_sealing_is_finished_by_the_next(void **state)
{
	(void)state;
	assert_true(kill_after("retention.seal", 1, 1) >= 1);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_that_is_killed_after_a_batch_is_finished_by_the_next),
		cmocka_unit_test(a_run_that_is_killed_after_sealing_is_finished_by_the_next),
	};
	int failed;

	if (argc == 3 && strcmp(argv[1], "child") == 0)
		return retain_as_child(argv[2]);
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
