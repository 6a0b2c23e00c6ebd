/*
 * test_gateway_feed_costs.c - a look at a feed costs what is new, at 1,000 old messages and at
 * 100,000.
 *
 *     test_gateway_feed_costs sqlite|postgres
 *
 * Costs are counted, not timed: SQLite's virtual machine counts its steps, PostgreSQL tells the
 * rows that each part of a plan met.
 */
#include "gateway_fixture.h"

#include "sql/sql.h"

#include <sqlite3.h>

static keep_error err = KEEP_ERROR_INIT;

extern const kp_statement_set kp_gateway_statements[KP_DIALECT_COUNT];

/* Settled deliveries from number `first` on. */
static void fill_store(int first, int last)
{
	char sql[700];

	snprintf(sql, sizeof sql,
		 "WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
		 "INSERT INTO messages (chat_jid, id, content, \"timestamp\", seq, received_at, "
		 "status, attempts, change) SELECT 'c:' || (i %% 100), 'm' || i, 'text', "
		 "'2026-01-01T00:00:00.000Z', i, '2026-01-01T00:00:00.000Z', 'delivered', 1, i "
		 "FROM n",
		 first, last);
	gateway_sql(sql);
}

/* The statement with numbers in place of $1 and $2. */
static void write_sql(const char *name, int64_t after, const char *before, keep_buffer *out)
{
	const kp_statement_set *set = &kp_gateway_statements[gateway_is_file() ? 0 : 1];
	const char *sql = NULL;

	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->statements[i].name, name) == 0)
			sql = set->statements[i].sql;
	CHECK(sql, "there is no statement %s", name);
	out->len = 0;
	OK(kp_buffer_append_text(out, before, &err));
	for (; *sql; sql++) {
		keep_status status = KEEP_OK;

		if (*sql == '$')
			status = kp_buffer_append_format(out, &err, "%lld",
							 *++sql == '1' ? (long long)after : 100);
		else
			status = kp_buffer_append(out, (keep_bytes){sql, 1}, &err);
		OK(status);
	}
}

/* Steps of the virtual machine. */
static void count_steps(const char *sql, keep_buffer *cost)
{
	sqlite3 *database = NULL;
	sqlite3_stmt *stmt = NULL;

	assert_int_equal(sqlite3_open_v2(gateway_url() + strlen("sqlite:"), &database,
					 SQLITE_OPEN_READONLY, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &stmt, NULL), SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW)
		;
	OK(kp_buffer_append_format(cost, &err, "%d steps",
				   sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_VM_STEP, 0)));
	sqlite3_finalize(stmt);
	sqlite3_close(database);
}

/* The rows that each part of the plan has met. */
static void count_rows(const char *sql, keep_buffer *cost)
{
	kp_sql_conn *conn = gateway_connect_behind();
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_bytes line;

	OK(kp_sql_script(conn, "SET enable_seqscan = off; SET enable_bitmapscan = off", &err));
	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	while (has_row) {
		OK(kp_sql_column_bytes(stmt, 0, KP_TEXT, &line, &err));
		/* The bound of an index is the number itself. */
		if (!memmem(line.data, line.len, "Cond:", 5))
			OK(kp_buffer_append(cost, line, &err));
		OK(kp_sql_step(stmt, &has_row, &err));
	}
	kp_sql_finish(&stmt);
	kp_sql_close(&conn);
	CHECK(!strstr(cost->data, "Seq Scan") && !strstr(cost->data, "Sort"), "%s", cost->data);
}

static void count_cost(const char *name, int64_t after, keep_buffer *cost)
{
	keep_buffer sql = KEEP_BUFFER_INIT;

	cost->len = 0;
	write_sql(name, after,
		  gateway_is_file() ? "" : "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ",
		  &sql);
	if (gateway_is_file())
		count_steps(sql.data, cost);
	else
		count_rows(sql.data, cost);
	keep_buffer_release(&sql);
}

static void a_look_at_a_feed_costs_what_is_new_whatever_is_stored(void **state)
{
	static const char *const names[] = {"changes", "last_change", "outcomes"};
	static const int stored[] = {1000, 100000};
	keep_gateway *gateway = gateway_fresh();
	int64_t last = 0;
	keep_buffer costs[2][3] = {{KEEP_BUFFER_INIT}};

	(void)state;
	for (int i = 0; i < 2; i++) {
		fill_store(i ? stored[0] + 1 : 1, stored[i]);
		OK(keep_gateway_last_change(gateway, &last, &err));
		assert_int_equal(last, stored[i]);
		for (int j = 0; j < 3; j++) {
			/* Three new changes; of outcomes everything is asked for. */
			count_cost(names[j], j == 2 ? 0 : stored[i] - 3, &costs[i][j]);
		}
	}
	for (int j = 0; j < 3; j++) {
		CHECK(strcmp(costs[0][j].data, costs[1][j].data) == 0, "%s\n%s\n%s", names[j],
		      costs[0][j].data, costs[1][j].data);
		keep_buffer_release(&costs[0][j]);
		keep_buffer_release(&costs[1][j]);
	}
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_look_at_a_feed_costs_what_is_new_whatever_is_stored),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
