/*
 * test_assistant_retention.c - what is over a limit goes, in batches; what is not, and what is
 * pending or running, stays.
 *
 *     test_assistant_retention sqlite|postgres
 */
#include "assistant_rows.h"
#include "statement_plans.h"

#include "sql/sql.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define DAY_MS (INT64_C(24) * 3600 * 1000)

static void run_sql(const char *format, ...) KEEP_PRINTF(1, 2);
static void run_sql(const char *format, ...)
{
	kp_sql_conn *conn = assistant_connect_behind();
	keep_error err = KEEP_ERROR_INIT;
	char *sql = NULL;
	va_list args;

	va_start(args, format);
	assert_true(vasprintf(&sql, format, args) > 0);
	va_end(args);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(conn, sql, &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_close(&conn);
	free(sql);
}

#define NUMBERS "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "

static void add_tasks(const char *conversation, const char *prefix, int count, const char *status)
{
	run_sql(NUMBERS
		"INSERT INTO agent_tasks (task_id, conversation_id, agent_name, \"action\", "
		"status) SELECT '%s' || i, %s, 'writer', 'write', '%s' FROM n",
		count, prefix, conversation, status);
}

static void add_executions(const char *job, const char *type, int first, int count,
			   const char *status)
{
	run_sql(NUMBERS "INSERT INTO job_executions (job_id, job_type, started_at, status, "
			"scheduled_for, attempt) SELECT '%s', '%s', '2026-01-01T00:00:00.000Z', "
			"'%s', '2026-01-01T00:00:00.000Z', i + %d FROM n",
		count, job, type, status, first);
}

static void add_memories(const char *conversation, const char *type, int count)
{
	run_sql(NUMBERS "INSERT INTO conversation_memory (conversation_id, memory_type, content) "
			"SELECT '%s', '%s', '{\"n\": 1}' FROM n",
		count, conversation, type);
}

static void add_future_task(const char *id, const char *status, const char *completed_at)
{
	run_sql("INSERT INTO future_tasks (task_id, name, scheduled_time, job_type, prompt, "
		"status, completed_at) VALUES ('%s', 'x', '2020-01-01T00:00:00.000Z', 'prompt', "
		"'say', '%s', %s)",
		id, status, completed_at);
}

static keep_retention_report retain(keep_assistant *assistant, bool dry_run, size_t batch)
{
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	keep_retention_report report;
	keep_error err = KEEP_ERROR_INIT;

	options.dry_run = dry_run;
	options.batch = batch;
	OK(keep_assistant_retain(assistant, &options, NULL, &report, &err));
	return report;
}

static void assert_same_counts(const keep_retention_report *a, const keep_retention_report *b)
{
	assert_int_equal(a->agent_tasks, b->agent_tasks);
	assert_int_equal(a->job_executions, b->job_executions);
	assert_int_equal(a->audit_entries, b->audit_entries);
	assert_int_equal(a->future_tasks, b->future_tasks);
	assert_int_equal(a->short_term_memories, b->short_term_memories);
}

/* ---------------------------------------------------------------- what goes */

static void a_conversation_keeps_its_last_1000_tasks_and_all_that_are_not_done(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_retention_report report;

	(void)state;
	assistant_conversation(assistant, "a");
	assistant_conversation(assistant, "b");
	add_tasks("'a'", "old-", 5, "completed");
	add_tasks("'a'", "open-", 3, "pending");
	add_tasks("'a'", "busy-", 2, "running");
	add_tasks("'a'", "cut-", 1, "interrupted");
	add_tasks("'a'", "new-", 999, "failed");
	add_tasks("'a'", "newest-", 1, "cancelled");
	add_tasks("'b'", "b-", 1000, "completed");
	add_tasks("NULL", "loose-", 1002, "completed");
	report = retain(assistant, false, 0);
	assert_int_equal(report.agent_tasks, 5 + 1 + 2);
	assert_int_equal(report.batches, 2);
	assert_int_equal(assistant_count("agent_tasks WHERE conversation_id = 'a'"), 1000 + 5);
	assert_int_equal(assistant_count("agent_tasks WHERE task_id IN ('open-1', 'open-2', "
					 "'open-3', 'busy-1', 'busy-2')"),
			 5);
	assert_int_equal(assistant_count("agent_tasks WHERE task_id = 'new-1'"), 1);
	assert_int_equal(assistant_count("agent_tasks WHERE conversation_id = 'b'"), 1000);
	assert_int_equal(assistant_count("agent_tasks WHERE conversation_id IS NULL"), 1000);
	assert_int_equal(assistant_count("agent_tasks WHERE task_id IN ('loose-1', 'loose-2')"), 0);
	report = retain(assistant, false, 0);
	assert_int_equal(report.agent_tasks, 0);
	assert_int_equal(report.batches, 0);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_job_keeps_its_last_100_executions_also_when_it_is_gone(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_retention_report report;

	(void)state;
	add_executions("gone", "cron", 0, 2, "running");
	add_executions("gone", "cron", 10, 130, "success");
	add_executions("gone", "future_task", 1000, 100, "success");
	add_executions("once", "future_task", 0, 101, "failed");
	report = retain(assistant, false, 7);
	assert_int_equal(report.job_executions, 30 + 1);
	assert_int_equal(assistant_count("job_executions WHERE job_id = 'gone' AND job_type = "
					 "'cron'"),
			 100 + 2);
	assert_int_equal(assistant_count("job_executions WHERE status = 'running'"), 2);
	assert_int_equal(assistant_count("job_executions WHERE job_type = 'future_task'"), 200);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void one_time_tasks_go_90_days_after_they_ended_with_their_dead_letters(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	keep_retention_report report;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_time_parse(KEEP_BYTES("2026-04-01T00:00:00Z"), &options.now_ms, &err));
	add_future_task("old", "completed", "'2025-12-31T23:59:59.999Z'");
	add_future_task("dead", "failed", "'2025-12-01T00:00:00.000Z'");
	add_future_task("edge", "completed", "'2026-01-01T00:00:00.000Z'");
	add_future_task("late", "pending", "NULL");
	add_future_task("again", "pending", "'2025-01-01T00:00:00.000Z'");
	add_future_task("busy", "running", "'2025-01-01T00:00:00.000Z'");
	run_sql("INSERT INTO job_runs (job_id, scheduled_for, state, job_type) VALUES "
		"('dead', '2020-01-01T00:00:00.000Z', 'dead', 'future_task'), "
		"('edge', '2020-01-01T00:00:00.000Z', 'dead', 'future_task')");
	OK(keep_assistant_retain(assistant, &options, NULL, &report, &err));
	assert_int_equal(report.future_tasks, 2);
	assert_int_equal(assistant_count("future_tasks WHERE task_id IN ('edge', 'late', 'again', "
					 "'busy')"),
			 4);
	assert_int_equal(assistant_count("future_tasks"), 4);
	assert_int_equal(assistant_count("job_runs WHERE job_id = 'edge'"), 1);
	assert_int_equal(assistant_count("job_runs"), 1);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_conversation_keeps_20_short_term_memories_and_the_rest_for_ever(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_retention_report report;

	(void)state;
	assistant_conversation(assistant, "a");
	assistant_conversation(assistant, "b");
	add_memories("a", "short_term", 25);
	add_memories("a", "long_term", 30);
	add_memories("a", "working", 30);
	add_memories("b", "short_term", 20);
	report = retain(assistant, false, 0);
	assert_int_equal(report.short_term_memories, 5);
	assert_int_equal(assistant_count("conversation_memory WHERE conversation_id = 'a'"), 80);
	assert_int_equal(assistant_count("conversation_memory WHERE conversation_id = 'b'"), 20);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void conversations_and_messages_are_kept_until_their_owner_deletes_them(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	assistant_conversation(assistant, "a");
	for (int i = 0; i < 50; i++)
		assistant_append(assistant, "a", "hello");
	run_sql("UPDATE messages SET \"timestamp\" = '2001-01-01T00:00:00.000Z'");
	run_sql("UPDATE conversations SET updated_at = '2001-01-01T00:00:00.000Z'");
	(void)retain(assistant, false, 0);
	assert_int_equal(assistant_count("messages"), 50);
	assert_int_equal(assistant_count("conversations"), 1);
	assert_int_equal(assistant_count("prompts"), 4);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void audit_entries_go_after_30_days_and_the_rest_still_verifies(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	keep_retention_report dry, report;
	keep_audit_report verdict;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int i = 0; i < 25; i++) {
		char value[20];

		snprintf(value, sizeof value, "value %d", i);
		OK(keep_assistant_set_prompt(assistant, KEEP_BYTES("soul"), keep_bytes_of(value),
					     (keep_bytes){NULL, 0}, 0, NULL, NULL, &err));
	}
	options.batch = 10;
	dry = retain(assistant, false, 0);
	assert_int_equal(dry.audit_entries, 0);
	options.now_ms = kp_clock_ms() + 31 * DAY_MS;
	options.dry_run = true;
	OK(keep_assistant_retain(assistant, &options, NULL, &dry, &err));
	assert_int_equal(dry.audit_entries, 25);
	options.dry_run = false;
	OK(keep_assistant_retain(assistant, &options, NULL, &report, &err));
	assert_int_equal(report.audit_entries, 25);
	assert_int_equal(report.batches, 3);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'prompt_change'"), 0);
	OK(keep_assistant_verify_audit(assistant, &memory, &verdict, &err));
	assert_true(verdict.is_intact);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- limits, counts, audit */

static void limits_are_settings(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_retention_report report;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assistant_conversation(assistant, "a");
	add_tasks("'a'", "t-", 10, "completed");
	add_executions("j", "cron", 0, 10, "success");
	add_memories("a", "short_term", 10);
	OK(keep_assistant_set_setting(assistant,
				      KEEP_BYTES("retention.agent_tasks_per_conversation"),
				      KEEP_BYTES("3"), NULL, &err));
	OK(keep_assistant_set_setting(assistant, KEEP_BYTES("retention.executions_per_job"),
				      KEEP_BYTES("4"), NULL, &err));
	OK(keep_assistant_set_setting(assistant,
				      KEEP_BYTES("retention.short_term_per_conversation"),
				      KEEP_BYTES("5"), NULL, &err));
	report = retain(assistant, false, 0);
	assert_int_equal(report.agent_tasks, 7);
	assert_int_equal(report.job_executions, 6);
	assert_int_equal(report.short_term_memories, 5);
	assert_string_equal(assistant_sql("SELECT task_id FROM agent_tasks ORDER BY id LIMIT 1"),
			    "t-8");
	/* A limit that would remove everything was written behind our back. */
	run_sql("UPDATE settings SET value = '0', min_value = NULL WHERE key = "
		"'retention.executions_per_job'");
	assert_int_equal(keep_assistant_retain(assistant, NULL, NULL, &report, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "retention.executions_per_job"));
	assert_int_equal(assistant_count("job_executions"), 4);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_run_that_removed_something_is_audited_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_actor actor = {.user_id = KEEP_BYTES("ada")};
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	keep_retention_report report;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	options.batch = 3;
	OK(keep_assistant_retain(assistant, &options, &actor, &report, &err));
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'retention'"), 0);
	add_executions("j", "cron", 0, 110, "success");
	options.dry_run = true;
	OK(keep_assistant_retain(assistant, &options, &actor, &report, &err));
	assert_int_equal(report.job_executions, 10);
	assert_int_equal(report.batches, 0);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'retention'"), 0);
	assert_int_equal(assistant_count("job_executions"), 110);
	options.dry_run = false;
	OK(keep_assistant_retain(assistant, &options, &actor, &report, &err));
	assert_int_equal(report.job_executions, 10);
	assert_int_equal(report.batches, 4);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'retention' AND action = "
					 "'retain' AND user_id = 'ada'"),
			 1);
	assert_non_null(strstr(assistant_sql("SELECT CAST(details AS text) FROM audit_log WHERE "
					     "event_type = 'retention' AND action = 'retain'"),
			       "\"job_executions\":10"));
	/* And each batch has an entry of its own transaction. */
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'retention' AND action = "
					 "'remove' AND user_id = 'ada'"),
			 4);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void bad_input_names_what_is_wrong(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *reader = NULL;
	keep_assistant_options read_only = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	keep_actor actor = {.user_id = {"\xff", 1}};
	keep_retention_report report;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	options.batch = 10001;
	assert_int_equal(keep_assistant_retain(assistant, &options, NULL, &report, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "batch"));
	options.batch = 0;
	options.now_ms = INT64_MAX;
	assert_int_equal(keep_assistant_retain(assistant, &options, NULL, &report, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "now_ms"));
	assert_int_equal(keep_assistant_retain(assistant, NULL, &actor, &report, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "user_id"));
	options.now_ms = 0;
	options.size = 1;
	assert_int_equal(keep_assistant_retain(assistant, &options, NULL, &report, &err),
			 KEEP_MISUSE);
	read_only.read_only = true;
	read_only.without_keys = true;
	OK(assistant_open_with(&read_only, &reader, &err));
	assert_int_equal(keep_assistant_retain(reader, NULL, NULL, &report, &err), KEEP_DENIED);
	(void)retain(reader, true, 0);
	keep_assistant_close(&reader);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- a dry run tells the truth */

static const char *pick(uint64_t *seed, const char *const *words, size_t count)
{
	return words[next_random(seed) % count];
}

static void fill_at_random(uint64_t *seed)
{
	static const char *const task_states[] = {"pending", "running",   "completed",
						  "failed",  "cancelled", "interrupted"};
	static const char *const run_states[] = {"running", "success", "failed", "skipped"};
	static const char *const types[] = {"cron", "future_task"};
	static const char *const memories[] = {"short_term", "long_term", "facts", "working"};
	static const char *const places[] = {"'a'", "'b'", "'c'", "NULL"};
	static int round;

	for (int i = 0; i < 25; i++) {
		char prefix[40], at[60];
		int many = (int)(next_random(seed) % 12) + 1;

		round++;
		snprintf(prefix, sizeof prefix, "r%d-", round);
		add_tasks(pick(seed, places, 4), prefix, many, pick(seed, task_states, 6));
		snprintf(prefix, sizeof prefix, "job-%d", (int)(next_random(seed) % 4));
		add_executions(prefix, pick(seed, types, 2), 100 * round, many,
			       pick(seed, run_states, 4));
		snprintf(prefix, sizeof prefix, "%c", (char)('a' + next_random(seed) % 3));
		add_memories(prefix, pick(seed, memories, 4), many);
		snprintf(prefix, sizeof prefix, "future-%d", round);
		snprintf(at, sizeof at, "'2026-0%d-01T00:00:00.000Z'",
			 (int)(next_random(seed) % 9) + 1);
		add_future_task(prefix, pick(seed, task_states, 6), at);
	}
}

static int64_t count_of(const char *from)
{
	char *sql = NULL;
	int64_t count;

	assert_true(asprintf(&sql, "SELECT CAST(count(*) AS text) FROM %s", from) > 0);
	count = strtoll(assistant_sql(sql), NULL, 10);
	free(sql);
	return count;
}

/* The same by window functions. */
static void count_by_model(const char *before, keep_retention_report *model)
{
	char sql[200];

	*model = (keep_retention_report){.batches = 0};
	model->agent_tasks = count_of(
		"(SELECT status, row_number() OVER (PARTITION BY conversation_id ORDER BY id DESC) "
		"AS place FROM agent_tasks) AS t WHERE place > 6 AND status NOT IN ('pending', "
		"'running')");
	model->job_executions = count_of(
		"(SELECT status, row_number() OVER (PARTITION BY job_type, job_id ORDER BY id "
		"DESC) AS place FROM job_executions) AS t WHERE place > 5 AND status <> 'running'");
	model->short_term_memories = count_of(
		"(SELECT row_number() OVER (PARTITION BY conversation_id ORDER BY id DESC) AS "
		"place FROM conversation_memory WHERE memory_type = 'short_term') AS t WHERE place "
		"> 3");
	snprintf(sql, sizeof sql,
		 "future_tasks WHERE completed_at < '%s' AND status NOT IN ('pending', 'running')",
		 before);
	model->future_tasks = count_of(sql);
}

static void a_dry_run_counts_what_a_run_removes_and_what_window_functions_say(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	keep_retention_report model, dry, report;
	keep_error err = KEEP_ERROR_INIT;
	uint64_t seed = test_seed();

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (char name[2] = "a"; *name <= 'c'; name[0]++)
		assistant_conversation(assistant, name);
	run_sql("UPDATE settings SET value = CASE key WHEN "
		"'retention.agent_tasks_per_conversation' THEN '6' WHEN "
		"'retention.executions_per_job' THEN '5' ELSE '3' END WHERE key IN "
		"('retention.agent_tasks_per_conversation', 'retention.executions_per_job', "
		"'retention.short_term_per_conversation')");
	OK(keep_time_parse(KEEP_BYTES("2026-08-30T00:00:00Z"), &options.now_ms, &err));
	for (int round = 0; round < 6; round++) {
		fill_at_random(&seed);
		options.batch = 1 + next_random(&seed) % 20;
		count_by_model("2026-06-01T00:00:00.000Z", &model);
		options.dry_run = true;
		OK(keep_assistant_retain(assistant, &options, NULL, &dry, &err));
		assert_same_counts(&dry, &model);
		options.dry_run = false;
		OK(keep_assistant_retain(assistant, &options, NULL, &report, &err));
		assert_same_counts(&report, &dry);
		count_by_model("2026-06-01T00:00:00.000Z", &model);
		assert_same_counts(&(keep_retention_report){.batches = 0}, &model);
	}
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- beside others */

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

static void writers_go_on_while_much_is_removed(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	struct appender appender = {.assistant = assistant};
	keep_retention_report report;
	pthread_t thread;

	(void)state;
	assistant_conversation(assistant, "busy");
	for (int i = 0; i < 20; i++) {
		char job[20];

		snprintf(job, sizeof job, "job-%d", i);
		add_executions(job, "cron", 0, 2000, "success");
	}
	assert_int_equal(pthread_create(&thread, NULL, append_all_the_time, &appender), 0);
	report = retain(assistant, false, 0);
	atomic_store(&appender.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(report.job_executions, 20 * 1900);
	print_message("%lld batches; %d messages beside them, the longest wait %.1f ms\n",
		      (long long)report.batches, appender.appended,
		      (double)appender.longest_ns / 1e6);
	assert_true(report.batches >= 38000 / 500);
	assert_true(appender.appended > 20);
	CHECK(appender.longest_ns < INT64_C(100000000) * test_patience(), "a writer waited %lld ns",
	      (long long)appender.longest_ns);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

enum { PROCESSES = 3 };

static int retain_as_child(const char *url)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_retention_options small = KEEP_RETENTION_OPTIONS_INIT;
	keep_retention_report report;
	keep_assistant *assistant = NULL;
	keep_status status;

	options.without_keys = true;
	options.timeout_ms = 30000;
	small.batch = 20;
	status = keep_assistant_open(url, &options, &assistant, NULL);
	if (status == KEEP_OK)
		status = keep_assistant_retain(assistant, &small, NULL, &report, NULL);
	keep_assistant_close(&assistant);
	return status != KEEP_OK;
}

static void processes_that_run_it_at_once_remove_each_row_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	char url[ASSISTANT_URL_MAX];
	pid_t children[PROCESSES];

	(void)state;
	snprintf(url, sizeof url, "%s", assistant_url());
	add_executions("j", "cron", 0, 3000, "success");
	for (int i = 0; i < PROCESSES; i++) {
		children[i] = fork();
		assert_true(children[i] >= 0);
		if (children[i] == 0) {
			execl(assistant_program(), assistant_program(), "child", url, (char *)NULL);
			_exit(9);
		}
	}
	for (int i = 0; i < PROCESSES; i++) {
		int status = -1;

		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(assistant_count("job_executions"), 100);
	assert_true(assistant_count("audit_log WHERE event_type = 'retention'") >= 1);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- plans */

extern const kp_statement_set
	kp_assistant_statements[KP_DIALECT_COUNT]; /* of src/assistant/<topic>.sql */

static void no_statement_reads_a_whole_table(void **state)
{
	static const char *const names[] = {
		"task_groups",
		"count_old_tasks",
		"remove_old_tasks",
		"last_old_loose_task",
		"count_old_loose_tasks",
		"remove_old_loose_tasks",
		"execution_groups",
		"count_old_executions",
		"remove_old_executions",
		"memory_groups",
		"count_old_memories",
		"remove_old_memories",
		"count_old_future_tasks",
		"remove_letters_of_old_future_tasks",
		"remove_old_future_tasks",
		"first_young_audit_entry",
		"last_old_audit_entry",
		"count_audit_up_to",
	};
	keep_assistant *assistant = assistant_fresh();
	kp_sql_conn *conn = assistant_connect_behind();
	const kp_statement_set *set = &kp_assistant_statements[conn->driver->dialect];
	size_t found = 0;
	int bad = 0;

	(void)state;
	for (size_t i = 0; i < set->count; i++)
		for (size_t j = 0; j < KP_COUNT(names); j++)
			if (strcmp(set->statements[i].name, names[j]) == 0) {
				bad += count_scans(conn, &set->statements[i]);
				found++;
			}
	assert_int_equal(found, KP_COUNT(names));
	CHECK(bad == 0, "%d steps read whole tables", bad);
	kp_sql_close(&conn);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_conversation_keeps_its_last_1000_tasks_and_all_that_are_not_done),
		cmocka_unit_test(a_job_keeps_its_last_100_executions_also_when_it_is_gone),
		cmocka_unit_test(
			one_time_tasks_go_90_days_after_they_ended_with_their_dead_letters),
		cmocka_unit_test(a_conversation_keeps_20_short_term_memories_and_the_rest_for_ever),
		cmocka_unit_test(
			conversations_and_messages_are_kept_until_their_owner_deletes_them),
		cmocka_unit_test(audit_entries_go_after_30_days_and_the_rest_still_verifies),
		cmocka_unit_test(limits_are_settings),
		cmocka_unit_test(a_run_that_removed_something_is_audited_once),
		cmocka_unit_test(bad_input_names_what_is_wrong),
		cmocka_unit_test(a_dry_run_counts_what_a_run_removes_and_what_window_functions_say),
		cmocka_unit_test(writers_go_on_while_much_is_removed),
		cmocka_unit_test(processes_that_run_it_at_once_remove_each_row_once),
		cmocka_unit_test(no_statement_reads_a_whole_table),
	};
	int failed;

	if (argc == 3 && strcmp(argv[1], "child") == 0)
		return retain_as_child(argv[2]);
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
