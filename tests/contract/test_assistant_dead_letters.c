/*
 * test_assistant_dead_letters.c - what failed for good is listed, tried again, put away; and no
 * statement about jobs reads a table that grows.
 *
 *     test_assistant_dead_letters sqlite|postgres
 */
#include "job_steps.h"

#include "sql/sql.h"

extern const kp_statement_set
	kp_assistant_statements[KP_DIALECT_COUNT]; /* of src/assistant/<topic>.sql */

static const keep_bytes none = {NULL, 0};

static void end(keep_assistant **assistant)
{
	keep_assistant_close(assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

/* A job of one attempt a run, whose runs of so many hours have failed. */
static void make_letters(keep_assistant *assistant, const char *id, int hours)
{
	keep_cron_job job = job_of(id, "0 * * * *");
	keep_error err = KEEP_ERROR_INIT;

	job.max_attempts = 1;
	put_job(assistant, &job, T);
	for (int i = 1; i <= hours; i++) {
		assert_int_equal(claim_one(assistant, T + i * HOUR).count, 1);
		OK(finish(assistant, id, T + i * HOUR, 1, "failed", T + i * HOUR, &err));
	}
}

static size_t count_letters(keep_assistant *assistant, keep_bytes job_id, int64_t *first)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_job_run_list list;
	size_t count;

	OK(keep_assistant_list_dead_letters(assistant, job_id, 0, &memory, &list, &err));
	count = list.count;
	*first = count ? list.items[0].scheduled_for : 0;
	if (count)
		assert_bytes_equal(list.items[0].last_error, KEEP_BYTES("no water"));
	keep_memory_release(&memory);
	return count;
}

static void a_dead_letter_is_tried_again_from_the_beginning(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;
	int64_t first;

	(void)state;
	make_letters(assistant, "a", 2);
	assert_int_equal(count_letters(assistant, none, &first), 2);
	assert_int_equal(first, T + HOUR);
	OK(keep_assistant_enable_cron_job(assistant, KEEP_BYTES("a"), false, T + 2 * HOUR, NULL,
					  &err));
	OK(keep_assistant_retry_dead_letter(assistant, KEEP_BYTES("a"), T + HOUR, T + 2 * HOUR,
					    NULL, &err));
	assert_int_equal(count_letters(assistant, KEEP_BYTES("a"), &first), 1);
	run = claim_one(assistant, T + 2 * HOUR);
	assert_int_equal(run.first.scheduled_for, T + HOUR);
	assert_int_equal(run.first.attempt, 2);
	OK(finish(assistant, "a", T + HOUR, 2, "failed", T + 2 * HOUR, &err));
	assert_int_equal(count_letters(assistant, none, &first), 2);
	OK(keep_assistant_retry_dead_letter(assistant, KEEP_BYTES("a"), T + HOUR, T + 2 * HOUR,
					    NULL, &err));
	OK(keep_assistant_retry_dead_letter(assistant, KEEP_BYTES("a"), T + 2 * HOUR, T + 2 * HOUR,
					    NULL, &err));
	/* They follow each other. */
	run = claim_many(assistant, 5, 0, T + 2 * HOUR);
	assert_int_equal(run.count, 1);
	assert_int_equal(run.first.attempt, 3);
	OK(finish(assistant, "a", T + HOUR, 3, "success", T + 2 * HOUR, &err));
	run = claim_many(assistant, 5, 0, T + 2 * HOUR);
	assert_int_equal(run.first.scheduled_for, T + 2 * HOUR);
	assert_int_equal(keep_assistant_retry_dead_letter(assistant, KEEP_BYTES("a"), T + HOUR, T,
							  NULL, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(count_executions("status = 'failed' AND error_message = 'no water'"), 3);
	assert_int_equal(assistant_count("audit_log WHERE action = 'retry_dead_letter'"), 3);
	end(&assistant);
}

static void a_one_time_tasks_dead_letter_brings_the_task_back(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_future_task task = {.task_id = KEEP_BYTES("a"),
				 .name = KEEP_BYTES("a"),
				 .scheduled_time = T,
				 .job_type = KEEP_BYTES("prompt"),
				 .prompt = KEEP_BYTES("say it"),
				 .max_attempts = 1};
	keep_error err = KEEP_ERROR_INIT;
	struct claimed run;
	int64_t first;

	(void)state;
	OK(keep_assistant_add_future_task(assistant, &task, T, NULL, NULL, NULL, &err));
	for (int attempt = 1; attempt <= 2; attempt++) {
		run = claim_one(assistant, T);
		assert_int_equal(run.first.attempt, attempt);
		OK(finish(assistant, "a", T, attempt, "failed", T, &err));
		assert_int_equal(count_letters(assistant, KEEP_BYTES("a"), &first), 1);
		assert_int_equal(assistant_count("future_tasks WHERE status = 'failed'"), 1);
		OK(keep_assistant_retry_dead_letter(assistant, KEEP_BYTES("a"), T, T, NULL, &err));
		assert_int_equal(count_letters(assistant, none, &first), 0);
		assert_int_equal(assistant_count("future_tasks WHERE status = 'pending'"), 1);
	}
	assert_int_equal(claim_one(assistant, T).count, 1);
	OK(finish(assistant, "a", T, 3, "success", T, &err));
	assert_int_equal(assistant_count("future_tasks WHERE status = 'completed'"), 1);
	end(&assistant);
}

static void letters_are_put_away_and_their_history_stays(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	int64_t count = 0, first;

	(void)state;
	make_letters(assistant, "a", 3);
	OK(keep_assistant_enable_cron_job(assistant, KEEP_BYTES("a"), false, T, NULL, &err));
	make_letters(assistant, "b", 2);
	/* Cancelling is no clearing. */
	OK(keep_assistant_cancel_job(assistant, KEEP_BYTES("a"), T, NULL, &count, &err));
	assert_int_equal(count, 0);
	assert_int_equal(count_letters(assistant, none, &first), 5);
	OK(keep_assistant_clear_dead_letters(assistant, KEEP_BYTES("a"), NULL, &count, &err));
	assert_int_equal(count, 3);
	OK(keep_assistant_clear_dead_letters(assistant, none, NULL, &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(count_letters(assistant, none, &first), 0);
	assert_int_equal(count_executions("status = 'failed'"), 5);
	assert_int_equal(assistant_count("audit_log WHERE action = 'clear_dead_letters'"), 2);
	end(&assistant);
}

/* ---------------------------------------------------------------- plans */

/* Of our statements those that may read a whole table. */
static const char *const allowed[] = {"list_cron_jobs", "list_enabled_cron_jobs"};

static bool is_ours(const char *name)
{
	static const char *const words[] = {"cron_job",     "job_run",    "future_task", "gate",
					    "run_known",    "due",        "runs",        "owners",
					    "execution",    "verdict",    "history_of",  "dead_",
					    "last_attempt", "end_attempt"};

	for (size_t i = 0; i < KP_COUNT(allowed); i++)
		if (strcmp(name, allowed[i]) == 0)
			return false;
	for (size_t i = 0; i < KP_COUNT(words); i++)
		if (strstr(name, words[i]) && !strstr(name, "retain"))
			return true;
	return false;
}

/* How many lines of a plan read a whole table. */
static int explain(kp_sql_conn *conn, const char *name, const char *sql, int column)
{
	kp_sql_stmt *stmt = NULL;
	keep_error err = KEEP_ERROR_INIT;
	bool has_row = false;
	int bad = 0;

	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	while (has_row) {
		keep_bytes line;
		char text[300];

		OK(kp_sql_column_bytes(stmt, column, KP_TEXT, &line, &err));
		(void)snprintf(text, sizeof text, "%.*s", (int)line.len, line.data);
		if (strstr(text, "Seq Scan on ") ||
		    (strncmp(text, "SCAN ", 5) == 0 && strstr(text, "job_executions")) ||
		    (strncmp(text, "SCAN ", 5) == 0 && !strstr(text, " USING ") &&
		     (strstr(text, "job_runs") || strstr(text, "future_tasks") ||
		      strstr(text, "cron_jobs")))) {
			/* The newest of all, by the key. */
			if (strncmp(name, "history_of_all", 14) != 0) {
				print_error("%s: %s\n", name, text);
				bad++;
			}
		}
		OK(kp_sql_step(stmt, &has_row, &err));
	}
	kp_sql_finish(&stmt);
	return bad;
}

static int count_parameters(const char *sql)
{
	int max = 0;

	for (const char *at = strchr(sql, '$'); at; at = strchr(at + 1, '$')) {
		int number = atoi(at + 1);

		max = number > max ? number : max;
	}
	return max;
}

static int explain_one(kp_sql_conn *conn, const kp_statement *statement)
{
	keep_error err = KEEP_ERROR_INIT;
	char nulls[300] = "", *sql = NULL;
	int bad, parameters = count_parameters(statement->sql);

	if (assistant_is_file()) {
		assert_true(asprintf(&sql, "EXPLAIN QUERY PLAN %s", statement->sql) > 0);
		bad = explain(conn, statement->name, sql, 3);
		free(sql);
		return bad;
	}
	assert_true(asprintf(&sql, "PREPARE explained AS %s", statement->sql) > 0);
	OK(kp_sql_script(conn, sql, &err));
	free(sql);
	for (int i = 0; i < parameters; i++)
		(void)strcat(nulls, i ? ", NULL" : "NULL");
	assert_true(asprintf(&sql, "EXPLAIN (COSTS OFF) EXECUTE explained%s%s%s",
			     parameters ? "(" : "", nulls, parameters ? ")" : "") > 0);
	bad = explain(conn, statement->name, sql, 0);
	free(sql);
	OK(kp_sql_script(conn, "DEALLOCATE explained", &err));
	return bad;
}

static void no_statement_about_jobs_reads_a_whole_table(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	kp_sql_conn *conn = assistant_connect_behind();
	const kp_statement_set *set = &kp_assistant_statements[conn->driver->dialect];
	keep_error err = KEEP_ERROR_INIT;
	int bad = 0, seen = 0;

	(void)state;
	if (!assistant_is_file())
		OK(kp_sql_script(conn,
				 "SET enable_seqscan = off; SET plan_cache_mode = "
				 "force_generic_plan",
				 &err));
	for (size_t i = 0; i < set->count; i++) {
		if (!is_ours(set->statements[i].name))
			continue;
		seen++;
		bad += explain_one(conn, &set->statements[i]);
	}
	assert_true(seen > 40);
	CHECK(bad == 0, "%d plans read whole tables", bad);
	kp_sql_close(&conn);
	end(&assistant);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dead_letter_is_tried_again_from_the_beginning),
		cmocka_unit_test(a_one_time_tasks_dead_letter_brings_the_task_back),
		cmocka_unit_test(letters_are_put_away_and_their_history_stays),
		cmocka_unit_test(no_statement_about_jobs_reads_a_whole_table),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
