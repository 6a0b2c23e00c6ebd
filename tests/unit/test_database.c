/* A database of one process: readers, one writer, group commit, and what a failure leaves. */
#include "keep_test.h"
#include "sql/sql.h"
#include "temp_folder.h"

#include <pthread.h>
#include <unistd.h>

enum { ADD, FAIL_AFTER_ADD, TOTAL, STATEMENTS };

static const kp_statement statements[] = {
	{"add", "INSERT INTO numbers (n) VALUES (?1)"},
	{"add_twice", "INSERT INTO numbers (n) VALUES (?1)"},
	{"total", "SELECT count(*), coalesce(sum(n), 0) FROM numbers"},
};
static const kp_statement_set set = {"test", statements, STATEMENTS};
static const kp_migration migration_list[] = {
	{1, "0001_numbers", "CREATE TABLE numbers (n INTEGER NOT NULL UNIQUE) STRICT;"}};

static temp_folder folder;
static char file[128];

static kp_database *open_database(bool create, bool read_only)
{
	kp_migrations migrations = {.service = "test", .list = migration_list, .count = 1};
	kp_database_options options = {
		.sql = {.location = file,
			.create = create,
			.read_only = read_only,
			.timeout_ms = 5000},
		.migrations = &migrations,
		.statements = &set,
	};
	kp_database *database = NULL;
	keep_error err = KEEP_ERROR_INIT;

	CHECK(kp_database_open(&kp_sql_sqlite, &options, &database, &err) == KEEP_OK, "%s",
	      err.message);
	return database;
}

static keep_status add(void *ctx, kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt;
	keep_status status = kp_lease_statement(lease, ADD, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_bind_int(stmt, 1, *(int64_t *)ctx, err);
	return status == KEEP_OK ? kp_sql_run(stmt, err) : status;
}

static keep_status add_then_fail(void *ctx, kp_lease *lease, keep_error *err)
{
	keep_status status = add(ctx, lease, err);

	return status == KEEP_OK ? kp_fail(err, KEEP_INVALID, "changed its mind") : status;
}

static void check_total(kp_database *database, int64_t count, int64_t sum)
{
	kp_lease *lease;
	kp_sql_stmt *stmt;
	int64_t found[2];
	bool row;

	assert_int_equal(kp_database_read(database, &lease, NULL), KEEP_OK);
	assert_int_equal(kp_lease_statement(lease, TOTAL, &stmt, NULL), KEEP_OK);
	assert_int_equal(kp_sql_step(stmt, &row, NULL), KEEP_OK);
	assert_int_equal(kp_sql_column_int(stmt, 0, &found[0], NULL), KEEP_OK);
	assert_int_equal(kp_sql_column_int(stmt, 1, &found[1], NULL), KEEP_OK);
	kp_sql_reset(stmt);
	kp_database_read_end(database, &lease);
	assert_int_equal(found[0], count);
	assert_int_equal(found[1], sum);
}

static int set_up(void **state)
{
	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "test.db", file);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	temp_folder_remove(&folder);
	assert_nothing_lives();
	return 0;
}

static void a_missing_file_is_not_found_unless_creation_is_asked(void **state)
{
	kp_database_options options = {.sql = {.location = file, .timeout_ms = 5000},
				       .statements = &set};
	kp_database *database;
	keep_error err;

	(void)state;
	assert_int_equal(kp_database_open(&kp_sql_sqlite, &options, &database, &err),
			 KEEP_NOT_FOUND);
	assert_null(database);
	assert_non_null(strstr(err.message, file));
	assert_int_equal(access(file, F_OK), -1);
}

static void a_change_that_fails_leaves_nothing(void **state)
{
	kp_database *database = open_database(true, false);
	int64_t n = 7;

	(void)state;
	assert_int_equal(kp_database_write(database, add, &n, NULL), KEEP_OK);
	n = 8;
	assert_int_equal(kp_database_write(database, add_then_fail, &n, NULL), KEEP_INVALID);
	check_total(database, 1, 7);
	n = 7;
	assert_int_equal(kp_database_write(database, add, &n, NULL), KEEP_CONFLICT);
	check_total(database, 1, 7);
	kp_database_close(&database);
}

struct writer {
	kp_database *database;
	int64_t first;
};

enum { WRITERS = 12, EACH = 60 };

/* Every third change fails after it wrote; every fifth violates a constraint. */
static void *write_some(void *ctx)
{
	struct writer *writer = ctx;

	for (int64_t i = 0; i < EACH; i++) {
		int64_t n = i % 5 == 4 ? 1000000 : writer->first + i;
		kp_apply *apply = i % 3 == 2 ? add_then_fail : add;
		keep_status status = kp_database_write(writer->database, apply, &n, NULL);
		keep_status wanted = i % 5 == 4   ? KEEP_CONFLICT
				     : i % 3 == 2 ? KEEP_INVALID
						  : KEEP_OK;

		CHECK(status == wanted, "change %d: %s", (int)i, keep_status_name(status));
	}
	return NULL;
}

static void one_callers_failure_fails_only_that_caller(void **state)
{
	kp_database *database = open_database(true, false);
	pthread_t threads[WRITERS];
	struct writer writers[WRITERS];
	int64_t taken = 1000000, count = 1, sum = taken;

	(void)state;
	assert_int_equal(kp_database_write(database, add, &taken, NULL), KEEP_OK);
	for (int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){database, i * 1000};
		pthread_create(&threads[i], NULL, write_some, &writers[i]);
	}
	for (int i = 0; i < WRITERS; i++) {
		pthread_join(threads[i], NULL);
		for (int64_t n = 0; n < EACH; n++)
			if (n % 5 != 4 && n % 3 != 2) {
				count++;
				sum += i * 1000 + n;
			}
	}
	check_total(database, count, sum);
	kp_database_close(&database);
}

static void a_read_only_database_refuses_changes_and_reads(void **state)
{
	kp_database *database = open_database(true, false);
	int64_t n = 5;

	(void)state;
	assert_int_equal(kp_database_write(database, add, &n, NULL), KEEP_OK);
	kp_database_close(&database);
	database = open_database(false, true);
	n = 6;
	assert_int_equal(kp_database_write(database, add, &n, NULL), KEEP_DENIED);
	check_total(database, 1, 5);
	kp_database_close(&database);
}

static void a_deleted_file_is_told_at_the_next_change(void **state)
{
	kp_database *database = open_database(true, false);
	int64_t n = 5;

	(void)state;
	assert_int_equal(kp_database_write(database, add, &n, NULL), KEEP_OK);
	assert_int_equal(unlink(file), 0);
	n = 6;
	assert_int_equal(kp_database_write(database, add, &n, NULL), KEEP_UNAVAILABLE);
	kp_database_close(&database);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_missing_file_is_not_found_unless_creation_is_asked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_change_that_fails_leaves_nothing, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_callers_failure_fails_only_that_caller, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_read_only_database_refuses_changes_and_reads,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_deleted_file_is_told_at_the_next_change, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
