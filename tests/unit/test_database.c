/* A database of one process: readers, one writer, group commit, and what a failure leaves. */
#include "keep_test.h"
#include "sql/sql.h"
#include "temp_folder.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { ADD, FAIL_AFTER_ADD, TOTAL, HAS, OWE, STATEMENTS };

static const kp_statement statements[] = {
	{"add", "INSERT INTO numbers (n) VALUES (?1)"},
	{"add_twice", "INSERT INTO numbers (n) VALUES (?1)"},
	{"total", "SELECT count(*), coalesce(sum(n), 0) FROM numbers"},
	{"has", "SELECT count(*) FROM numbers WHERE n = ?1"},
	{"owe", "INSERT INTO debts (n) VALUES (?1)"},
};
static const kp_statement_set set = {"test", statements, STATEMENTS};
static const kp_migration migration_list[] = {
	{1, "0001_numbers",
	 "CREATE TABLE numbers (n INTEGER NOT NULL UNIQUE) STRICT;"
	 /* What is owed must be there at the commit. */
	 "CREATE TABLE debts (n INTEGER NOT NULL REFERENCES numbers (n) DEFERRABLE INITIALLY "
	 "DEFERRED) STRICT;"}};

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

/* ---------------------------------------------------------------- failures beside neighbours */

/* One of the changes that share a transaction. */
struct neighbour {
	kp_database *database;
	kp_apply *apply;
	int64_t n;
	int runs;
	keep_status status;
	pthread_t thread;
};

static atomic_int held; /* 1: the first leader is in its apply; 0: it may go on */

static keep_status hold(void *ctx, kp_lease *lease, keep_error *err)
{
	struct neighbour *self = ctx;

	held = 1;
	while (held)
		usleep(100);
	return add(&self->n, lease, err);
}

static keep_status add_one(void *ctx, kp_lease *lease, keep_error *err)
{
	struct neighbour *self = ctx;

	self->runs++;
	return add(&self->n, lease, err);
}

/* A change of the numbers, and one that the commit refuses. */
static keep_status add_in_debt(void *ctx, kp_lease *lease, keep_error *err)
{
	struct neighbour *self = ctx;
	kp_sql_stmt *stmt;
	keep_status status = add_one(ctx, lease, err);

	if (status == KEEP_OK)
		status = kp_lease_statement(lease, OWE, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_int(stmt, 1, -self->n, err);
	return status == KEEP_OK ? kp_sql_run(stmt, err) : status;
}

/* CONFLICT, without a change, when `n` is there; else adds 1000 + n. */
static keep_status add_unless_there(void *ctx, kp_lease *lease, keep_error *err)
{
	struct neighbour *self = ctx;
	int64_t found = 0, other = 1000 + self->n;
	kp_sql_stmt *stmt;
	bool row;
	keep_status status = kp_lease_statement(lease, HAS, &stmt, err);

	self->runs++;
	if (status == KEEP_OK)
		status = kp_sql_bind_int(stmt, 1, self->n, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &row, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 0, &found, err);
	kp_sql_reset(stmt);
	if (status == KEEP_OK && found) {
		lease->unchanged = true;
		return kp_fail(err, KEEP_CONFLICT, "%d is there", (int)self->n);
	}
	return status == KEEP_OK ? add(&other, lease, err) : status;
}

static void *write_one(void *ctx)
{
	struct neighbour *self = ctx;
	keep_error err = KEEP_ERROR_INIT;

	self->status = kp_database_write(self->database, self->apply, self, &err);
	assert_int_equal(self->status == KEEP_OK ? KEEP_OK : err.status, self->status);
	return NULL;
}

static void start_neighbour(kp_database *database, struct neighbour *neighbour)
{
	neighbour->database = database;
	assert_int_equal(pthread_create(&neighbour->thread, NULL, write_one, neighbour), 0);
}

/* Runs them in one transaction, in their order: they queue up behind a leader that is held. */
static void write_together(kp_database *database, struct neighbour *neighbours, size_t count)
{
	struct neighbour first = {.apply = hold, .n = 500};

	start_neighbour(database, &first);
	while (!held)
		usleep(100);
	for (size_t i = 0; i < count; i++) {
		start_neighbour(database, &neighbours[i]);
		usleep(30000);
	}
	held = 0;
	pthread_join(first.thread, NULL);
	assert_int_equal(first.status, KEEP_OK);
	for (size_t i = 0; i < count; i++)
		pthread_join(neighbours[i].thread, NULL);
}

static void a_failure_beside_a_stored_neighbour_stands(void **state)
{
	kp_database *database = open_database(true, false);
	struct neighbour all[] = {{.apply = add_one, .n = 7}, {.apply = add_unless_there, .n = 7}};

	(void)state;
	write_together(database, all, KP_COUNT(all));
	assert_int_equal(all[0].status, KEEP_OK);
	assert_int_equal(all[1].status, KEEP_CONFLICT);
	assert_int_equal(all[1].runs, 1);
	check_total(database, 2, 507);
	kp_database_close(&database);
}

static void a_failure_over_an_uncertain_neighbour_is_uncertain(void **state)
{
	kp_database *database = open_database(true, false);
	struct neighbour all[] = {
		{.apply = add_unless_there, .n = 500}, /* before any change: this is certain */
		{.apply = add_one, .n = 7},
		{.apply = add_unless_there, .n = 7},
		{.apply = add_unless_there, .n = 8},
	};

	(void)state;
	kp_fault_arm(KP_FAULT_COMMIT, 2, false);
	write_together(database, all, KP_COUNT(all));
	assert_int_equal(kp_fault_disarm(KP_FAULT_COMMIT), 1);
	assert_int_equal(all[0].status, KEEP_CONFLICT);
	for (size_t i = 1; i < KP_COUNT(all); i++)
		assert_int_equal(all[i].status, KEEP_UNCERTAIN);
	for (size_t i = 0; i < KP_COUNT(all); i++)
		assert_int_equal(all[i].runs, 1);
	kp_database_close(&database);
}

static void a_failure_over_a_neighbour_that_was_not_stored_is_tried_again(void **state)
{
	kp_database *database = open_database(true, false);
	struct neighbour all[] = {{.apply = add_in_debt, .n = 7},
				  {.apply = add_unless_there, .n = 7}};

	(void)state;
	write_together(database, all, KP_COUNT(all));
	assert_int_equal(all[0].status, KEEP_CONFLICT);
	assert_int_equal(all[1].status, KEEP_OK);
	assert_int_equal(all[0].runs, 2);
	assert_int_equal(all[1].runs, 2);
	check_total(database, 2, 500 + 1007);
	kp_database_close(&database);
}

/* ---------------------------------------------------------------- what begins a transaction */

static keep_status owe_and_count(void *ctx, kp_lease *lease, keep_error *err)
{
	++*(int *)ctx;
	return kp_lease_run(lease, OWE, KP_VALUES(kp_int_value(7)), NULL, err);
}

static keep_status add_seven(void *ctx, kp_lease *lease, keep_error *err)
{
	int64_t changes = 0;

	(void)ctx;
	assert_int_equal(kp_lease_run(lease, ADD, KP_VALUES(kp_int_value(7)), &changes, err),
			 KEEP_OK);
	assert_int_equal(changes, 1);
	return KEEP_OK;
}

static void a_writing_transaction_begins_with_what_was_asked_and_fails_with_it(void **state)
{
	kp_migrations migrations = {.service = "test", .list = migration_list, .count = 1};
	int begun = 0;
	kp_database_options options = {
		.sql = {.location = file, .create = true, .timeout_ms = 5000},
		.migrations = &migrations,
		.statements = &set,
		.begun = owe_and_count,
		.begun_ctx = &begun,
	};
	kp_database *database = NULL;
	int64_t n = 5;

	(void)state;
	assert_int_equal(kp_database_open(&kp_sql_sqlite, &options, &database, NULL), KEEP_OK);
	/* The debt that the beginning made is not paid by this change, so nothing is stored. */
	assert_int_not_equal(kp_database_write(database, add, &n, NULL), KEEP_OK);
	check_total(database, 0, 0);
	assert_int_equal(kp_database_write(database, add_seven, NULL, NULL), KEEP_OK);
	check_total(database, 1, 7);
	assert_int_equal(begun, 2);
	kp_database_close(&database);
}

/* ---------------------------------------------------------------- opened otherwise, or gone */

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
		cmocka_unit_test_setup_teardown(a_failure_beside_a_stored_neighbour_stands, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_failure_over_an_uncertain_neighbour_is_uncertain,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_failure_over_a_neighbour_that_was_not_stored_is_tried_again, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			a_writing_transaction_begins_with_what_was_asked_and_fails_with_it, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_read_only_database_refuses_changes_and_reads,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_deleted_file_is_told_at_the_next_change, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
