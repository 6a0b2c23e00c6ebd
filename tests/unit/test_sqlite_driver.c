/*
 * test_sqlite_driver.c - what only SQLite can hold or say: its codes, values of the wrong type in
 * its columns, and transactions that it ends by itself.
 */
#include "sql/sqlite_driver.h"

#include "temp_folder.h"

#include <errno.h>

struct rig {
	temp_folder folder;
	kp_sql_conn *conn;
};

static keep_error err;

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof *rig);
	char path[128];
	kp_sql_options options = {.create = true};

	temp_folder_make(&rig->folder);
	options.location = temp_path(&rig->folder, "test.db", path);
	OK(kp_sql_open(&kp_sql_sqlite, &options, &rig->conn, &err));
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	kp_sql_close(&rig->conn);
	temp_folder_remove(&rig->folder);
	free(rig);
	assert_nothing_lives();
	return 0;
}

static void every_code_of_sqlite_has_a_status(void **state)
{
	static const struct {
		int rc, system_errno;
		keep_status status;
	} cases[] = {
		{SQLITE_OK, 0, KEEP_OK},
		{SQLITE_ROW, 0, KEEP_OK},
		{SQLITE_NOMEM, 0, KEEP_NO_MEMORY},
		{SQLITE_IOERR_NOMEM, 0, KEEP_NO_MEMORY},
		{SQLITE_BUSY, 0, KEEP_BUSY},
		{SQLITE_BUSY_SNAPSHOT, 0, KEEP_BUSY},
		{SQLITE_LOCKED, 0, KEEP_BUSY},
		{SQLITE_PROTOCOL, 0, KEEP_BUSY},
		{SQLITE_CONSTRAINT_UNIQUE, 0, KEEP_CONFLICT},
		{SQLITE_CORRUPT_INDEX, 0, KEEP_CORRUPT},
		{SQLITE_NOTADB, 0, KEEP_CORRUPT},
		{SQLITE_FULL, 0, KEEP_FULL},
		{SQLITE_TOOBIG, 0, KEEP_FULL},
		{SQLITE_READONLY_DIRECTORY, 0, KEEP_DENIED},
		{SQLITE_PERM, 0, KEEP_DENIED},
		{SQLITE_AUTH, 0, KEEP_DENIED},
		{SQLITE_CANTOPEN, EMFILE, KEEP_FULL},
		{SQLITE_CANTOPEN, ENOSPC, KEEP_FULL},
		{SQLITE_CANTOPEN, EACCES, KEEP_DENIED},
		{SQLITE_CANTOPEN, EROFS, KEEP_DENIED},
		{SQLITE_CANTOPEN, ENOENT, KEEP_NOT_FOUND},
		{SQLITE_CANTOPEN, ENOMEM, KEEP_NO_MEMORY},
		{SQLITE_CANTOPEN, 0, KEEP_UNAVAILABLE},
		{SQLITE_IOERR_WRITE, EIO, KEEP_UNAVAILABLE},
		{SQLITE_IOERR_WRITE, ENOSPC, KEEP_FULL},
		{SQLITE_IOERR_WRITE, EDQUOT, KEEP_FULL},
		{SQLITE_INTERRUPT, 0, KEEP_UNAVAILABLE},
		{SQLITE_MISUSE, 0, KEEP_MISUSE},
		{SQLITE_RANGE, 0, KEEP_MISUSE},
		{SQLITE_ERROR, 0, KEEP_MISUSE},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_status status = kp_sqlite_status(cases[i].rc, cases[i].system_errno);

		CHECK(status == cases[i].status, "%s became %s", sqlite3_errstr(cases[i].rc),
		      keep_status_name(status));
	}
}

/* Read column 0 of a query's first row. */
static keep_status read_first(struct rig *rig, const char *sql, kp_kind kind, kp_value *out)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status;

	OK(kp_sql_prepare(rig->conn, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_true(has_row);
	status = kp_sql_column(stmt, 0, kind, out, &err);
	kp_sql_finish(&stmt);
	return status;
}

static void a_stored_value_outside_its_kind_is_corrupt_and_named(void **state)
{
	struct rig *rig = *state;
	kp_value out;

	assert_int_equal(read_first(rig, "SELECT 2 AS done", KP_BOOL, &out), KEEP_CORRUPT);
	CHECK(strstr(err.message, "done"), "%s", err.message);
	assert_int_equal(read_first(rig, "SELECT 'yesterday' AS at", KP_TIME, &out), KEEP_CORRUPT);
	CHECK(strstr(err.message, "at holds no time"), "%s", err.message);
	assert_int_equal(read_first(rig, "SELECT 1", KP_TIME, &out), KEEP_CORRUPT);
}

static void times_that_others_wrote_are_read(void **state)
{
	struct rig *rig = *state;
	kp_value out;

	OK(read_first(rig, "SELECT '1970-01-01 00:00:01'", KP_TIME, &out));
	assert_int_equal(out.integer, 1000);
	OK(read_first(rig, "SELECT '1970-01-01T02:00:00+02:00'", KP_TIME, &out));
	assert_int_equal(out.integer, 0);
}

static void numbers_of_columns_and_parameters_are_checked(void **state)
{
	struct rig *rig = *state;
	kp_sql_stmt *stmt = NULL;
	kp_value value = {.kind = KP_TIME, .integer = 0};
	bool has_row = false;

	OK(kp_sql_prepare(rig->conn, "SELECT ?1", &stmt, &err));
	assert_int_equal(kp_sql_bind_int(stmt, 2, 1, &err), KEEP_MISUSE);
	assert_int_equal(kp_sql_bind(stmt, 2, &value, &err), KEEP_MISUSE);
	OK(kp_sql_bind_int(stmt, 1, 1, &err));
	assert_int_equal(kp_sql_column(stmt, 0, KP_INT, &value, &err), KEEP_MISUSE);
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_int_equal(kp_sql_column(stmt, 1, KP_INT, &value, &err), KEEP_MISUSE);
	kp_sql_finish(&stmt);
	assert_int_equal(kp_sql_prepare(rig->conn, " -- nothing", &stmt, &err), KEEP_MISUSE);
	assert_null(stmt);
}

static void a_transaction_that_sqlite_ended_answers_its_failure_until_rollback(void **state)
{
	struct rig *rig = *state;
	kp_sql_stmt *stmt = NULL;
	kp_value out;

	OK(kp_sql_script(rig->conn, "CREATE TABLE t(b BLOB); PRAGMA max_page_count = 10", &err));
	OK(kp_sql_begin(rig->conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(rig->conn, "INSERT INTO t VALUES (zeroblob(10))", &err));
	OK(kp_sql_prepare(rig->conn, "INSERT INTO t VALUES (zeroblob(100000))", &stmt, &err));
	assert_int_equal(kp_sql_run(stmt, &err), KEEP_FULL);
	assert_int_equal(kp_sql_run(stmt, &err), KEEP_FULL);
	assert_int_equal(kp_sql_script(rig->conn, "INSERT INTO t VALUES (1)", &err), KEEP_FULL);
	assert_int_equal(kp_sql_flush(rig->conn, &err), KEEP_FULL);
	assert_int_equal(kp_sql_commit(rig->conn, &err), KEEP_FULL);
	assert_false(rig->conn->in_transaction);
	OK(read_first(rig, "SELECT count(*) FROM t", KP_INT, &out));
	assert_int_equal(out.integer, 0);

	OK(kp_sql_begin(rig->conn, KP_SQL_WRITE, &err));
	assert_int_equal(kp_sql_run(stmt, &err), KEEP_FULL);
	kp_sql_rollback(rig->conn);
	OK(kp_sql_script(rig->conn, "INSERT INTO t VALUES (1)", &err));
	OK(read_first(rig, "SELECT count(*) FROM t", KP_INT, &out));
	assert_int_equal(out.integer, 1);
	kp_sql_finish(&stmt);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_of_sqlite_has_a_status),
		TEST(a_stored_value_outside_its_kind_is_corrupt_and_named),
		TEST(times_that_others_wrote_are_read),
		TEST(numbers_of_columns_and_parameters_are_checked),
		TEST(a_transaction_that_sqlite_ended_answers_its_failure_until_rollback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
