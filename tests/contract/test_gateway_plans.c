/*
 * test_gateway_plans.c - every named statement of the gateway prepares, and none of a hot path
 * reads a whole table.
 *
 *     test_gateway_plans sqlite|postgres
 *
 * SQLite: EXPLAIN QUERY PLAN has no SCAN of a table but through a partial or covering index whose
 * rows are bounded. PostgreSQL: with enable_seqscan off, the plan has no Seq Scan. A statement that
 * may read all of a table is in `allowed`, with its reason; the list stays short.
 */
#include "gateway_fixture.h"

#include "sql/sql.h"

extern const kp_statement_set
	kp_gateway_statements[KP_DIALECT_COUNT]; /* of src/gateway/<topic>.sql */

static const struct {
	const char *name, *why;
} allowed[] = {
	{"look_at_store", "once for an opening; the catalog's tables"},
	{"list_schema", "once for a migration; the catalog's tables"},
	{"has_content", "once for a migration; stops at each table's first row"},
	{"adopt_find_message", "once in a store's life; stops at the first row"},
	{"adopt_add_cursors", "once in a store's life; one row for each consumer"},
	{"adopt_fill_cursors", "once in a store's life"},
	{"adopt_route_versions", "once in a store's life"},
	{"adopt_set_identities", "once in a store's life"},
	{"retire_signing_keys", "once for a renewed key; there are a handful"},
	{"unread_chats", "a reader's look for a consumer that is yet to be made"},
	{"unread_of", "the same, of given chats"},
	{"has_input", "the same; stops at the first chat with input"},
	{"all_routes", "asked for all of them"},
	{"add_cursors", "once for a new chat; one row for each consumer"},
	{"add_consumer_cursors", "once for a new consumer; one row for each chat"},
	{"add_consumer", "once for a new consumer; one row for each chat"},
};

static bool is_allowed(const char *name)
{
	for (size_t i = 0; i < KP_COUNT(allowed); i++)
		if (strcmp(name, allowed[i].name) == 0)
			return true;
	return false;
}

static kp_sql_conn *connect(const keep_gateway *gateway)
{
	static char schema[64];
	kp_sql_options options = {.timeout_ms = 10000};
	kp_sql_conn *conn = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)gateway;
	options.location = gateway_is_file() ? gateway_url() + strlen("sqlite:")
					     : getenv("KEEP_TEST_POSTGRES");
	if (!gateway_is_file()) {
		(void)snprintf(schema, sizeof schema, "%s", strstr(gateway_url(), "schema=") + 7);
		options.schema = schema;
	}
	OK(kp_sql_open(gateway_is_file() ? &kp_sql_sqlite : &kp_sql_postgres, &options, &conn,
		       &err));
	return conn;
}

enum { PLAN_LINES_MAX = 200, LINE_SIZE = 200 };

/* A plan's lines, in the order of its steps. */
struct plan {
	char lines[PLAN_LINES_MAX][LINE_SIZE];
	int count;
};

static void read_plan(kp_sql_conn *conn, const char *sql, int column, struct plan *plan)
{
	kp_sql_stmt *stmt = NULL;
	keep_error err = KEEP_ERROR_INIT;
	bool has_row = false;

	plan->count = 0;
	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	while (has_row && plan->count < PLAN_LINES_MAX) {
		keep_bytes line;

		OK(kp_sql_column_bytes(stmt, column, KP_TEXT, &line, &err));
		(void)snprintf(plan->lines[plan->count++], LINE_SIZE, "%.*s", (int)line.len,
			       line.data);
		OK(kp_sql_step(stmt, &has_row, &err));
	}
	kp_sql_finish(&stmt);
}

/* Is `name` a subquery of this plan, which has lines of its own? */
static bool is_subquery(const struct plan *plan, const char *name)
{
	static const char *const words[] = {"MATERIALIZE ", "CO-ROUTINE "};

	for (int i = 0; i < plan->count; i++)
		for (size_t j = 0; j < KP_COUNT(words); j++)
			if (strncmp(plan->lines[i], words[j], strlen(words[j])) == 0 &&
			    strlen(plan->lines[i]) - strlen(words[j]) == strcspn(name, " ") &&
			    strncmp(plan->lines[i] + strlen(words[j]), name, strcspn(name, " ")) ==
				    0)
				return true;
	return false;
}

/* Does a line of SQLite's plan read a whole table? Constant and function rows are none. */
static bool scans(const struct plan *plan, const char *line)
{
	const char *name = line + strlen("SCAN ");

	return strncmp(line, "SCAN ", 5) == 0 && !strstr(line, "VIRTUAL TABLE") &&
	       !strstr(line, " USING ") && strncmp(name, "CONSTANT", 8) != 0 && *name != '(' &&
	       !is_subquery(plan, name);
}

static int explain(kp_sql_conn *conn, const kp_statement *statement, const char *sql, int column)
{
	static struct plan plan;
	int bad = 0;

	read_plan(conn, sql, column, &plan);
	for (int i = 0; i < plan.count; i++) {
		const char *line = plan.lines[i];

		if (gateway_is_file() ? !scans(&plan, line) : !strstr(line, "Seq Scan on "))
			continue;
		print_error("%s: %s\n", statement->name, line);
		bad++;
	}
	return bad;
}

static int explain_sqlite(kp_sql_conn *conn, const kp_statement *statement)
{
	char *sql = NULL;
	int bad;

	assert_true(asprintf(&sql, "EXPLAIN QUERY PLAN %s", statement->sql) > 0);
	bad = explain(conn, statement, sql, 3);
	free(sql);
	return bad;
}

/* The highest parameter; what is in quotes does not look like one here. */
static int count_parameters(const char *sql)
{
	int max = 0;

	for (const char *at = strchr(sql, '$'); at; at = strchr(at + 1, '$')) {
		int number = atoi(at + 1);

		max = number > max ? number : max;
	}
	return max;
}

/* A prepared statement's generic plan: what the server uses when it knows no values. */
static int explain_postgres(kp_sql_conn *conn, const kp_statement *statement)
{
	int parameters = count_parameters(statement->sql), bad;
	char nulls[300] = "", *sql = NULL;
	keep_error err = KEEP_ERROR_INIT;

	assert_true(asprintf(&sql, "PREPARE explained AS %s", statement->sql) > 0);
	OK(kp_sql_script(conn, sql, &err));
	free(sql);
	for (int i = 0; i < parameters; i++)
		(void)strcat(nulls, i ? ", NULL" : "NULL");
	assert_true(asprintf(&sql, "EXPLAIN (COSTS OFF) EXECUTE explained%s%s%s",
			     parameters ? "(" : "", nulls, parameters ? ")" : "") > 0);
	bad = explain(conn, statement, sql, 0);
	free(sql);
	OK(kp_sql_script(conn, "DEALLOCATE explained", &err));
	return bad;
}

static void every_statement_prepares_and_none_reads_a_whole_table(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	kp_sql_conn *conn = connect(gateway);
	const kp_statement_set *set = &kp_gateway_statements[conn->driver->dialect];
	keep_error err = KEEP_ERROR_INIT;
	int bad = 0;

	(void)state;
	if (!gateway_is_file())
		OK(kp_sql_script(conn,
				 "SET enable_seqscan = off; SET plan_cache_mode = "
				 "force_generic_plan",
				 &err));
	for (size_t i = 0; i < set->count; i++) {
		const kp_statement *statement = &set->statements[i];
		kp_sql_stmt *stmt = NULL;

		CHECK(kp_sql_prepare(conn, statement->sql, &stmt, &err) == KEEP_OK, "%s: %s",
		      statement->name, err.message);
		kp_sql_finish(&stmt);
		if (is_allowed(statement->name))
			continue;
		bad += gateway_is_file() ? explain_sqlite(conn, statement)
					 : explain_postgres(conn, statement);
	}
	assert_true(set->count > 10);
	CHECK(bad == 0, "%d statements read whole tables", bad);
	kp_sql_close(&conn);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_statement_prepares_and_none_reads_a_whole_table),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
