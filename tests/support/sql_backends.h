#ifndef KEEP_SQL_BACKENDS_H
#define KEEP_SQL_BACKENDS_H
/*
 * sql_backends.h - run the same tests on every SQL driver.
 *
 * A contract suite lists its tests with ON_BOTH and ends with `return run_on_backends(tests)`.
 * Each test gets a `struct fixture` with a new, empty database. PostgreSQL is at the conninfo in
 * KEEP_TEST_POSTGRES, which tests/support/with_servers.sh sets; without it that half fails. What
 * only one driver can do is asked by its capability flag.
 */
#include "sql/sql.h"

#include "temp_folder.h"

struct fixture {
	temp_folder folder; /* for a file's database */
	char location[512]; /* a file, or a conninfo */
	char schema[64];
	kp_sql_options options;
	kp_sql_conn *conn;
};

static const kp_sql_driver *driver; /* the one that is asked now */

/* ---------------------------------------------------------------- fixture */

static inline kp_sql_conn *connect_again(struct fixture *fixture)
{
	kp_sql_conn *conn = NULL;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_open(driver, &fixture->options, &conn, &err));
	return conn;
}

static inline int set_up(void **state)
{
	static int number;
	struct fixture *fixture = calloc(1, sizeof *fixture);
	const char *server = getenv("KEEP_TEST_POSTGRES");

	temp_folder_make(&fixture->folder);
	if (driver->dialect == KP_DIALECT_POSTGRES) {
		(void)snprintf(fixture->location, sizeof fixture->location, "%s", server);
		(void)snprintf(fixture->schema, sizeof fixture->schema, "driver_%ld_%d",
			       (long)getpid(), number++);
		fixture->options.schema = fixture->schema;
	} else {
		(void)snprintf(fixture->location, sizeof fixture->location, "%s/test.db",
			       fixture->folder.path);
	}
	fixture->options.location = fixture->location;
	fixture->options.create = true;
	fixture->options.timeout_ms = 10000;
	fixture->conn = connect_again(fixture);
	*state = fixture;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *fixture = *state;
	char sql[128];
	keep_error err = KEEP_ERROR_INIT;

	if (fixture->conn && fixture->conn->caps & KP_SQL_SCHEMAS) {
		kp_sql_rollback(fixture->conn);
		(void)snprintf(sql, sizeof sql, "DROP SCHEMA %s CASCADE", fixture->schema);
		OK(kp_sql_script(fixture->conn, sql, &err));
	}
	kp_sql_close(&fixture->conn);
	temp_folder_remove(&fixture->folder);
	free(fixture);
	assert_nothing_lives();
	return 0;
}

static inline kp_sql_stmt *prepare(kp_sql_conn *conn, const char *sql)
{
	kp_sql_stmt *stmt = NULL;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	return stmt;
}

/* Run a statement without parameters or rows. */
static inline keep_status run(kp_sql_conn *conn, const char *sql, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_sql_prepare(conn, sql, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	kp_sql_finish(&stmt);
	return status;
}

static inline int64_t query_int(kp_sql_conn *conn, const char *sql)
{
	kp_sql_stmt *stmt = prepare(conn, sql);
	keep_error err = KEEP_ERROR_INIT;
	bool has_row = false;
	int64_t value = 0;

	OK(kp_sql_step(stmt, &has_row, &err));
	assert_true(has_row);
	OK(kp_sql_column_int(stmt, 0, &value, &err));
	kp_sql_finish(&stmt);
	return value;
}

#define ON_BOTH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static inline void KEEP_TEST_POSTGRES_says_where_the_server_is(void **state)
{
	(void)state;
	CHECK(getenv("KEEP_TEST_POSTGRES"), "run this with tests/support/with_servers.sh, or set "
					    "KEEP_TEST_POSTGRES to a conninfo");
}

/* The failures on all drivers together. */
static inline int run_tests_on_backends(const struct CMUnitTest *tests, size_t count)
{
	const struct CMUnitTest without_postgres[] = {
		cmocka_unit_test(KEEP_TEST_POSTGRES_says_where_the_server_is),
	};
	int failed;

	driver = &kp_sql_sqlite;
	failed = _cmocka_run_group_tests("sqlite", tests, count, NULL, NULL);
	driver = &kp_sql_postgres;
	if (getenv("KEEP_TEST_POSTGRES"))
		return failed + _cmocka_run_group_tests("postgres", tests, count, NULL, NULL);
	return failed + _cmocka_run_group_tests("postgres", without_postgres, 1, NULL, NULL);
}

#define run_on_backends(tests) run_tests_on_backends(tests, KP_COUNT(tests))

#endif
