/*
 * test_gateway_task_runs.c - contracts/gateway.md, "Tasks": runs beside the schedule, the log of
 * all runs, several processes that tick at once, and what an idle tick costs.
 *
 *     test_gateway_task_runs sqlite|postgres
 */
#include "gateway_fixture.h"

#include "sql/sql.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define DAY INT64_C(86400000)

static const keep_bytes jid = {"telegram:42", 11};
static int64_t clock_now;

static int64_t read_clock(void *ctx)
{
	(void)ctx;
	return clock_now;
}

static int64_t ms(const char *text)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t time_ms = 0;

	OK(keep_time_parse(keep_bytes_of(text), &time_ms, &err));
	return time_ms;
}

static void make(keep_gateway *gateway, const char *id, const char *cron)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_scheduled_task task = {.id = keep_bytes_of(id),
				    .owner = KEEP_BYTES("world/ada"),
				    .chat_jid = jid,
				    .prompt = KEEP_BYTES("water the plants"),
				    .missed_policy = KEEP_BYTES("run_all"),
				    .run_all_max = 64};

	if (cron)
		task.cron = keep_bytes_of(cron);
	OK(keep_gateway_create_task(gateway, &task, NULL, NULL, &err));
}

static size_t count_messages(keep_gateway *gateway)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;

	OK(keep_gateway_messages_since(gateway, jid, 0, 0, 1000, &memory, &list, &err));
	keep_memory_release(&memory);
	return list.count;
}

static keep_task_run run_now(keep_gateway *gateway, const char *id, int64_t now_ms,
			     keep_memory *memory)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run run;

	OK(keep_gateway_run_task_now(gateway, keep_bytes_of(id), now_ms, memory, &run, &err));
	return run;
}

static keep_task_run_list runs_of(keep_gateway *gateway, const char *id, keep_memory *memory)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run_list list;

	OK(keep_gateway_task_runs(gateway, keep_bytes_of(id), 0, 1000, memory, &list, &err));
	return list;
}

/* ---------------------------------------------------------------- run now */

static void a_run_beside_the_schedule_leaves_the_task_as_it_is(void **state)
{
	static const char *const rows[] = {"active", "paused", "completed", "failed", "firing"};
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(rows); i++) {
		char sql[200], before[200];
		keep_task_run run;

		make(gateway, rows[i], "0 9 * * *");
		snprintf(sql, sizeof sql,
			 "UPDATE scheduled_tasks SET status = '%s' WHERE id = '%s'", rows[i],
			 rows[i]);
		gateway_sql(sql);
		snprintf(sql, sizeof sql,
			 "SELECT status || CAST(next_run AS text) || attempts || "
			 "coalesce(CAST(last_run AS text), '-') || coalesce(lease_by, '-') "
			 "FROM scheduled_tasks WHERE id = '%s'",
			 rows[i]);
		snprintf(before, sizeof before, "%s", gateway_sql(sql));
		run = run_now(gateway, rows[i], clock_now + 1, &memory);
		assert_int_equal(run.scheduled_for, clock_now + 1);
		assert_int_equal(run.run_at, clock_now + 1);
		assert_bytes_equal(run.status, KEEP_BYTES("success"));
		assert_string_equal(gateway_sql(sql), before);
		assert_int_equal(count_messages(gateway), i + 1);
	}
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	keep_zone_forget();
	assert_nothing_lives();
}

static void runs_at_one_time_are_several_and_none_stands_for_a_scheduled_one(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run_list fired;
	int64_t due = ms("2026-04-12T09:00:00Z");

	(void)state;
	make(gateway, "plants", "0 9 * * *");
	make(gateway, "once", NULL);
	assert_int_equal(run_now(gateway, "plants", due, &memory).scheduled_for, due + 1);
	assert_int_equal(run_now(gateway, "plants", due, &memory).scheduled_for, due + 2);
	assert_int_equal(run_now(gateway, "plants", due + 1, &memory).scheduled_for, due + 3);
	assert_int_equal(run_now(gateway, "once", clock_now, &memory).scheduled_for, clock_now + 1);
	OK(keep_gateway_fire_due_tasks(gateway, due, 0, &memory, &fired, NULL, &err));
	assert_int_equal(fired.count, 2);
	assert_int_equal(count_messages(gateway), 6);
	/* A message that has such an id already is nobody's run. */
	gateway_put(gateway, "telegram:42", "sched-plants-5", "mine");
	assert_int_equal(run_now(gateway, "plants", 5, &memory).scheduled_for, 6);
	OK(keep_gateway_run_task_now(gateway, KEEP_BYTES("plants"), 5, NULL, NULL, &err));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_task_whose_cron_cannot_be_read_still_runs_by_hand(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;

	(void)state;
	make(gateway, "plants", "0 9 * * *");
	gateway_sql("UPDATE scheduled_tasks SET cron = 'at nine'");
	run_now(gateway, "plants", clock_now, &memory);
	assert_int_equal(count_messages(gateway), 1);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- reports and the log */

static keep_status report(keep_gateway *gateway, int64_t at, const char *result, const char *error,
			  keep_error *err)
{
	keep_bytes none = {0};

	return keep_gateway_report_task_run(gateway, KEEP_BYTES("plants"), at, 1234,
					    result ? keep_bytes_of(result) : none,
					    error ? keep_bytes_of(error) : none, err);
}

static void a_report_is_kept_and_a_repeated_one_changes_nothing(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run run;

	(void)state;
	make(gateway, "plants", "0 9 * * *");
	run = run_now(gateway, "plants", clock_now, &memory);
	for (int i = 0; i < 2; i++) {
		OK(report(gateway, run.scheduled_for, "wet", NULL, &err));
		run = runs_of(gateway, "plants", &memory).items[0];
		assert_true(run.has_duration_ms && run.duration_ms == 1234);
		assert_bytes_equal(run.status, KEEP_BYTES("success"));
		assert_bytes_equal(run.result, KEEP_BYTES("wet"));
		assert_null(run.error.data);
	}
	for (int i = 0; i < 2; i++) {
		OK(report(gateway, run.scheduled_for, NULL, "no water", &err));
		run = runs_of(gateway, "plants", &memory).items[0];
		assert_bytes_equal(run.status, KEEP_BYTES("error"));
		assert_bytes_equal(run.error, KEEP_BYTES("no water"));
		assert_non_null(run.message_id.data);
	}
	OK(report(gateway, run.scheduled_for, NULL, "water", &err));
	assert_bytes_equal(runs_of(gateway, "plants", &memory).items[0].error,
			   KEEP_BYTES("no water\nwater"));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_run_that_its_agent_failed_is_not_fired_again(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run_list fired;
	int64_t due = ms("2026-04-12T09:00:00Z");

	(void)state;
	make(gateway, "plants", "0 9 * * *");
	OK(keep_gateway_fire_due_tasks(gateway, due, 0, &memory, &fired, NULL, &err));
	OK(report(gateway, due, NULL, "no water", &err));
	OK(keep_gateway_pause_task(gateway, KEEP_BYTES("plants"), &err));
	OK(keep_gateway_resume_task(gateway, KEEP_BYTES("plants"), due - 1, &err));
	OK(keep_gateway_fire_due_tasks(gateway, due, 0, &memory, &fired, NULL, &err));
	assert_int_equal(fired.count, 0);
	assert_int_equal(count_messages(gateway), 1);
	assert_bytes_equal(runs_of(gateway, "plants", &memory).items[0].status,
			   KEEP_BYTES("error"));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_report_of_no_run_or_of_one_that_never_started_is_refused(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run_list fired;
	int64_t due = ms("2026-04-12T09:00:00Z");

	(void)state;
	make(gateway, "plants", "0 9 * * *");
	assert_int_equal(report(gateway, due, NULL, NULL, &err), KEEP_NOT_FOUND);
	gateway_sql("UPDATE scheduled_tasks SET missed_policy = 'skip'");
	OK(keep_gateway_fire_due_tasks(gateway, due + DAY / 2, 0, &memory, &fired, NULL, &err));
	assert_int_equal(fired.count, 1);
	assert_int_equal(report(gateway, due, NULL, NULL, &err), KEEP_CONFLICT);
	assert_int_equal(report(gateway, INT64_MAX, NULL, NULL, &err), KEEP_INVALID);
	assert_int_equal(report(gateway, due, "\xff", NULL, &err), KEEP_INVALID);
	assert_int_equal(keep_gateway_report_task_run(gateway, KEEP_BYTES("plants"), due, -1,
						      (keep_bytes){0}, (keep_bytes){0}, &err),
			 KEEP_INVALID);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void the_log_is_paged_from_the_newest(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run_list page;
	int64_t before = 0, last = INT64_MAX;
	size_t seen = 0;

	(void)state;
	make(gateway, "plants", "0 9 * * *");
	make(gateway, "other", "0 9 * * *");
	for (int i = 0; i < 7; i++) {
		run_now(gateway, "plants", clock_now + i, &memory);
		run_now(gateway, "other", clock_now + i, &memory);
	}
	do {
		OK(keep_gateway_task_runs(gateway, KEEP_BYTES("plants"), before, 3, &memory, &page,
					  &err));
		for (size_t i = 0; i < page.count; i++) {
			assert_true(page.items[i].id < last);
			assert_bytes_equal(page.items[i].task_id, KEEP_BYTES("plants"));
			last = page.items[i].id;
		}
		seen += page.count;
		before = last;
	} while (page.count);
	assert_int_equal(seen, 7);
	assert_int_equal(keep_gateway_task_runs(gateway, KEEP_BYTES("plants"), 0, 1001, &memory,
						&page, &err),
			 KEEP_INVALID);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- several at once */

enum { SERIES = 12, TICKERS = 4, TICKS = 12 };

/* Tick with a clock that goes its own way, forward and back; at last until nothing is left. */
static int tick(keep_gateway *gateway, uint64_t seed)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list fired = {0};
	keep_error err = KEEP_ERROR_INIT;
	int failed = 0;

	for (int i = 0; (i <= TICKS || fired.count) && !failed; i++) {
		int64_t hours = i < TICKS ? (int64_t)(next_random(&seed) % TICKS) : TICKS;

		if (keep_gateway_fire_due_tasks(gateway, clock_now + hours * 3600000, 5, &memory,
						&fired, NULL, &err) != KEEP_OK) {
			fprintf(stderr, "a tick failed: %s\n", err.message);
			failed = 1;
		}
		keep_memory_release(&memory);
	}
	return failed;
}

/* run_all up to 64, and far fewer hours: every hour of every series has its message. */
static void check_all_hours(keep_gateway *gateway)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list fired;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_fire_due_tasks(gateway, clock_now + TICKS * INT64_C(3600000), 0, &memory,
				       &fired, NULL, &err));
	assert_int_equal(fired.count, 0);
	assert_int_equal(count_messages(gateway), SERIES * TICKS);
	for (int s = 0; s < SERIES; s++) {
		char id[8];
		keep_task_run_list list;

		snprintf(id, sizeof id, "s%d", s);
		list = runs_of(gateway, id, &memory);
		assert_int_equal(list.count, TICKS);
		for (size_t i = 0; i < list.count; i++) {
			keep_message message;

			assert_bytes_equal(list.items[i].status, KEEP_BYTES("success"));
			assert_int_equal(list.items[i].scheduled_for % 3600000, 0);
			OK(keep_gateway_get_message(gateway, jid, list.items[i].message_id, &memory,
						    &message, &err));
		}
	}
	keep_memory_release(&memory);
}

static void make_series(keep_gateway *gateway)
{
	for (int s = 0; s < SERIES; s++) {
		char id[8];

		snprintf(id, sizeof id, "s%d", s);
		make(gateway, id, "0 * * * *");
	}
}

static void several_processes_tick_at_once_and_each_run_is_one_message(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	char url[GATEWAY_URL_MAX]; /* a child's would be another one */
	pid_t children[TICKERS];
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;

	(void)state;
	options.timeout_ms = 30000;
	snprintf(url, sizeof url, "%s", gateway_url());
	make_series(gateway);
	keep_gateway_close(&gateway);
	for (int i = 0; i < TICKERS; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			if (keep_gateway_open(url, &options, &gateway, NULL) != KEEP_OK)
				_exit(2);
			_exit(tick(gateway, test_seed() + (uint64_t)i));
		}
	}
	for (int i = 0; i < TICKERS; i++) {
		int status = 0;

		waitpid(children[i], &status, 0);
		assert_int_equal(status, 0);
	}
	gateway = gateway_again("timed");
	check_all_hours(gateway);
	keep_gateway_close(&gateway);
}

static void *tick_in_a_thread(void *ctx)
{
	return tick(ctx, test_seed() + (uint64_t)(uintptr_t)pthread_self()) ? ctx : NULL;
}

static void several_threads_tick_at_once_and_each_run_is_one_message(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	pthread_t threads[TICKERS];

	(void)state;
	make_series(gateway);
	for (int i = 0; i < TICKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, tick_in_a_thread, gateway), 0);
	for (int i = 0; i < TICKERS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	check_all_hours(gateway);
	keep_gateway_close(&gateway);
	keep_zone_forget();
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- plans */

extern const kp_statement_set kp_gateway_statements[];

static const char *find_statement(const char *name)
{
	const kp_statement_set *set =
		&kp_gateway_statements[gateway_is_file() ? KP_DIALECT_SQLITE : KP_DIALECT_POSTGRES];

	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->statements[i].name, name) == 0)
			return set->statements[i].sql;
	fail_msg("no statement %s", name);
	return NULL;
}

static kp_sql_conn *connect_behind(void)
{
	kp_sql_options options = {.timeout_ms = 10000};
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;

	options.location = gateway_is_file() ? gateway_url() + strlen("sqlite:")
					     : getenv("KEEP_TEST_POSTGRES");
	if (!gateway_is_file())
		options.schema = strstr(gateway_url(), "schema=") + strlen("schema=");
	OK(kp_sql_open(gateway_is_file() ? &kp_sql_sqlite : &kp_sql_postgres, &options, &conn,
		       &err));
	return conn;
}

/* All lines of a statement's plan. */
static void explain(kp_sql_conn *conn, const char *name, const kp_value *values, int count,
		    keep_buffer *plan)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = NULL;
	bool has_row;

	OK(kp_buffer_append_format(&sql, &err, "EXPLAIN %s %s",
				   gateway_is_file() ? "QUERY PLAN" : "", find_statement(name)));
	OK(kp_sql_prepare(conn, sql.data, &stmt, &err));
	for (int i = 0; i < count; i++)
		OK(kp_sql_bind(stmt, i + 1, &values[i], &err));
	plan->len = 0;
	for (;;) {
		kp_value line;

		OK(kp_sql_step(stmt, &has_row, &err));
		if (!has_row)
			break;
		OK(kp_sql_column(stmt, gateway_is_file() ? 3 : 0, KP_TEXT, &line, &err));
		OK(kp_buffer_append_format(plan, &err, "%.*s\n", (int)line.bytes.len,
					   line.bytes.data));
	}
	kp_sql_finish(&stmt);
	keep_buffer_release(&sql);
}

/* Many tasks, none of them due; many lines. */
static void fill(kp_sql_conn *conn)
{
	static const char *const numbers[] = {
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) ",
		"WITH n(i) AS (SELECT generate_series(1, 20000)) ",
	};
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_buffer_append_format(
		&sql, &err,
		"INSERT INTO scheduled_tasks (id, owner, chat_jid, prompt, next_run, status, "
		"created_at, anchor_at) %s SELECT 't' || i, 'o' || (i %% 50), 'telegram:1', 'p', "
		"'2030-01-01T00:00:00.000Z', CASE WHEN i %% 4 = 0 THEN 'completed' ELSE 'active' "
		"END, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z' FROM n; "
		"INSERT INTO task_run_logs (task_id, scheduled_for, run_at, status) %s "
		"SELECT 't' || i, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', "
		"'success' FROM n; %s",
		numbers[!gateway_is_file()], numbers[!gateway_is_file()],
		gateway_is_file() ? "ANALYZE" : "ANALYZE scheduled_tasks; ANALYZE task_run_logs"));
	OK(kp_sql_script(conn, sql.data, &err));
	keep_buffer_release(&sql);
}

static void no_statement_of_a_tick_walks_a_table(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	kp_sql_conn *conn = connect_behind();
	keep_buffer plan = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	kp_value now = kp_time_value(clock_now), few = kp_int_value(100);
	kp_value id = kp_text_value(KEEP_BYTES("t7")), word = kp_text_value(KEEP_BYTES("failed"));
	const struct {
		const char *name;
		kp_value values[3];
		int count;
	} hot[] = {
		{"due_tasks", {now, few}, 2},
		{"next_task_time", {now}, 1},
		{"get_task", {id}, 1},
		{"get_task_run", {id, now}, 2},
		{"task_runs", {id, kp_int_value(100000), few}, 3},
		{"list_tasks", {few}, 1},
		{"list_tasks_of_status", {few, word}, 2},
		{"list_tasks_of_owner", {few, kp_text_value(KEEP_BYTES("o7"))}, 2},
	};

	(void)state;
	fill(conn);
	for (size_t i = 0; i < KP_COUNT(hot); i++) {
		OK(kp_sql_begin(conn, KP_SQL_READ, &err));
		explain(conn, hot[i].name, hot[i].values, hot[i].count, &plan);
		kp_sql_rollback(conn);
		CHECK(strstr(plan.data, "scheduled_tasks") || strstr(plan.data, "task_run_logs"),
		      "%s: %s", hot[i].name, plan.data);
		CHECK(!strstr(plan.data, "Seq Scan"), "%s: %s", hot[i].name, plan.data);
		for (char *at = plan.data; (at = strstr(at, "SCAN ")); at++)
			CHECK(strstr(at, "USING INDEX") ||
				      strncmp(at, "SCAN scheduled_tasks", 20) != 0,
			      "%s: %s", hot[i].name, plan.data);
	}
	keep_buffer_release(&plan);
	kp_sql_close(&conn);
	keep_gateway_close(&gateway);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_beside_the_schedule_leaves_the_task_as_it_is),
		cmocka_unit_test(runs_at_one_time_are_several_and_none_stands_for_a_scheduled_one),
		cmocka_unit_test(a_task_whose_cron_cannot_be_read_still_runs_by_hand),
		cmocka_unit_test(a_report_is_kept_and_a_repeated_one_changes_nothing),
		cmocka_unit_test(a_run_that_its_agent_failed_is_not_fired_again),
		cmocka_unit_test(a_report_of_no_run_or_of_one_that_never_started_is_refused),
		cmocka_unit_test(the_log_is_paged_from_the_newest),
		cmocka_unit_test(several_processes_tick_at_once_and_each_run_is_one_message),
		cmocka_unit_test(several_threads_tick_at_once_and_each_run_is_one_message),
		cmocka_unit_test(no_statement_of_a_tick_walks_a_table),
	};
	int failed;

	clock_now = ms("2026-04-11T12:00:00Z");
	kp_clock_inject(read_clock, NULL);
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
