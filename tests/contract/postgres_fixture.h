#ifndef KEEP_POSTGRES_FIXTURE_H
#define KEEP_POSTGRES_FIXTURE_H
/*
 * postgres_fixture.h - what the tests of the PostgreSQL driver share: connections in a schema of
 * the test's own, and short forms for statements.
 */
#include "keep_test.h"
#include "server_control.h"
#include "sql/sql.h"

#include <unistd.h>

/* A schema that no other test program uses. */
static inline const char *test_schema(void)
{
	static _Thread_local char name[32]; /* threads open connections, too */

	snprintf(name, sizeof name, "keep_pg_%d", (int)getpid());
	return name;
}

static inline kp_sql_options shared_options(void)
{
	return (kp_sql_options){.location = server_environment("KEEP_TEST_POSTGRES"),
				.schema = test_schema(),
				.create = true,
				.timeout_ms = 5000};
}

static inline kp_sql_conn *open_with(const kp_sql_options *options)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;

	OK(kp_sql_open(&kp_sql_postgres, options, &conn, &err));
	return conn;
}

static inline kp_sql_conn *open_shared(void)
{
	kp_sql_options options = shared_options();

	return open_with(&options);
}

static inline void run_script(kp_sql_conn *conn, const char *sql)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_script(conn, sql, &err));
}

/* Run SQL without parameters; its status. */
static inline keep_status try_sql(kp_sql_conn *conn, const char *sql, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_sql_prepare(conn, sql, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	kp_sql_finish(&stmt);
	return status;
}

static inline kp_sql_stmt *prepare_sql(kp_sql_conn *conn, const char *sql)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = NULL;

	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	return stmt;
}

/* The one number of a query. */
static inline int64_t get_number(kp_sql_conn *conn, const char *sql)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = prepare_sql(conn, sql);
	bool has_row = false;
	int64_t number = 0;

	OK(kp_sql_step(stmt, &has_row, &err));
	CHECK(has_row, "%s: no row", sql);
	OK(kp_sql_column_int(stmt, 0, &number, &err));
	kp_sql_finish(&stmt);
	return number;
}

/* The one text of a query, in a buffer that the next call uses again. */
static inline const char *get_text(kp_sql_conn *conn, const char *sql)
{
	static char text[512];
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = prepare_sql(conn, sql);
	keep_bytes found;
	bool has_row = false;

	OK(kp_sql_step(stmt, &has_row, &err));
	CHECK(has_row, "%s: no row", sql);
	OK(kp_sql_column_bytes(stmt, 0, KP_TEXT, &found, &err));
	snprintf(text, sizeof text, "%" KP_PRI, KP_ARG(found));
	kp_sql_finish(&stmt);
	return text;
}

/* Queue one row of table item(id, body). */
static inline keep_status queue_item(kp_sql_stmt *insert, int64_t id, keep_bytes body,
				     keep_error *err)
{
	keep_status status = kp_sql_bind_int(insert, 1, id, err);

	if (status == KEEP_OK)
		status = kp_sql_bind_text(insert, 2, body, err);
	return status == KEEP_OK ? kp_sql_queue(insert, err) : status;
}

#endif
