/*
 * test_sql_driver.c - what the driver table in sql.h promises, asked of every driver.
 *
 * Values are asked in test_sql_values.c. Opening differs too much and has tests of its own
 * (test_sqlite_open.c, test_postgres_*.c).
 */
#include "sql_backends.h"

#include <pthread.h>

static void make_numbers(struct fixture *fixture)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_script(fixture->conn, "CREATE TABLE numbers(n bigint PRIMARY KEY)", &err));
}

static keep_status insert_number(kp_sql_conn *conn, int64_t number, keep_error *err)
{
	kp_sql_stmt *stmt = prepare(conn, "INSERT INTO numbers(n) VALUES ($1)");
	keep_status status = kp_sql_bind_int(stmt, 1, number, err);

	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	kp_sql_finish(&stmt);
	return status;
}

static int64_t count_numbers(kp_sql_conn *conn)
{
	return query_int(conn, "SELECT count(*) FROM numbers");
}

/* ---------------------------------------------------------------- statements */

static void a_reset_statement_runs_again_with_new_values(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt;

	make_numbers(fixture);
	stmt = prepare(fixture->conn, "INSERT INTO numbers(n) VALUES ($1)");
	for (int64_t i = 0; i < 100; i++) {
		OK(kp_sql_bind_int(stmt, 1, i, &err));
		OK(kp_sql_run(stmt, &err));
		assert_int_equal(kp_sql_changes(stmt), 1);
	}
	kp_sql_finish(&stmt);
	assert_int_equal(count_numbers(fixture->conn), 100);
	assert_int_equal(query_int(fixture->conn, "SELECT max(n) FROM numbers"), 99);
}

static void rows_come_one_by_one_and_then_end(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt;
	bool has_row = false;
	int64_t value;

	make_numbers(fixture);
	for (int64_t i = 0; i < 5; i++)
		OK(insert_number(fixture->conn, i, &err));
	stmt = prepare(fixture->conn, "SELECT n FROM numbers WHERE n >= $1 ORDER BY n");
	for (int round = 0; round < 2; round++) {
		OK(kp_sql_bind_int(stmt, 1, 2, &err));
		for (int64_t i = 2; i < 5; i++) {
			OK(kp_sql_step(stmt, &has_row, &err));
			assert_true(has_row);
			OK(kp_sql_column_int(stmt, 0, &value, &err));
			assert_int_equal(value, i);
		}
		OK(kp_sql_step(stmt, &has_row, &err));
		assert_false(has_row);
		kp_sql_reset(stmt);
	}
	kp_sql_finish(&stmt);
}

static void a_statement_left_in_the_middle_can_be_used_again(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt;
	bool has_row = false;
	int64_t value = 0;

	make_numbers(fixture);
	for (int64_t i = 0; i < 5; i++)
		OK(insert_number(fixture->conn, i, &err));
	stmt = prepare(fixture->conn, "SELECT n FROM numbers ORDER BY n");
	for (int round = 0; round < 3; round++) {
		OK(kp_sql_step(stmt, &has_row, &err));
		OK(kp_sql_column_int(stmt, 0, &value, &err));
		assert_int_equal(value, 0);
		kp_sql_reset(stmt);
		assert_int_equal(count_numbers(fixture->conn), 5);
	}
	kp_sql_finish(&stmt);
}

static void changes_counts_the_rows_of_this_statement(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *all, *none;

	make_numbers(fixture);
	for (int64_t i = 0; i < 7; i++)
		OK(insert_number(fixture->conn, i, &err));
	all = prepare(fixture->conn, "UPDATE numbers SET n = n + 100");
	none = prepare(fixture->conn, "DELETE FROM numbers WHERE n < 0");
	OK(kp_sql_run(all, &err));
	assert_int_equal(kp_sql_changes(all), 7);
	OK(kp_sql_run(none, &err));
	assert_int_equal(kp_sql_changes(none), 0);
	assert_int_equal(kp_sql_changes(all), 7);
	OK(run(fixture->conn, "DELETE FROM numbers", &err));
	OK(kp_sql_run(all, &err));
	assert_int_equal(kp_sql_changes(all), 0);
	kp_sql_finish(&all);
	kp_sql_finish(&none);
}

static void returning_gives_rows_and_counts_changes(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt;
	bool has_row = false;
	int64_t value = 0;

	make_numbers(fixture);
	stmt = prepare(fixture->conn, "INSERT INTO numbers(n) VALUES (1), (2) RETURNING n");
	OK(kp_sql_begin(fixture->conn, KP_SQL_WRITE, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_true(has_row);
	OK(kp_sql_column_int(stmt, 0, &value, &err));
	assert_int_equal(value, 1);
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_true(has_row);
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_false(has_row);
	assert_int_equal(kp_sql_changes(stmt), 2);
	kp_sql_reset(stmt);
	OK(kp_sql_commit(fixture->conn, &err));
	kp_sql_finish(&stmt);
	assert_int_equal(count_numbers(fixture->conn), 2);
}

static void a_wrong_statement_is_misuse_and_says_where(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;

	assert_int_equal(run(fixture->conn, "SELEC 1", &err), KEEP_MISUSE);
	CHECK(strstr(err.message, "SELEC"), "%s", err.message);
	assert_int_equal(run(fixture->conn, "SELECT n FROM no_such_table", &err), KEEP_MISUSE);
	CHECK(strstr(err.message, "no_such_table"), "%s", err.message);
	assert_int_equal(query_int(fixture->conn, "SELECT 1"), 1);
}

static void queued_statements_are_there_after_flush(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt;

	make_numbers(fixture);
	stmt = prepare(fixture->conn, "INSERT INTO numbers(n) VALUES ($1)");
	OK(kp_sql_begin(fixture->conn, KP_SQL_WRITE, &err));
	for (int64_t i = 0; i < 300; i++) {
		OK(kp_sql_bind_int(stmt, 1, i, &err));
		OK(kp_sql_queue(stmt, &err));
	}
	OK(kp_sql_flush(fixture->conn, &err));
	assert_int_equal(count_numbers(fixture->conn), 300);
	OK(kp_sql_commit(fixture->conn, &err));
	kp_sql_finish(&stmt);
	assert_int_equal(count_numbers(fixture->conn), 300);
}

static void a_queued_failure_comes_out_before_the_commit_is_done(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;
	kp_sql_stmt *stmt;

	make_numbers(fixture);
	stmt = prepare(fixture->conn, "INSERT INTO numbers(n) VALUES ($1)");
	OK(kp_sql_begin(fixture->conn, KP_SQL_WRITE, &err));
	for (int i = 0; i < 2 && status == KEEP_OK; i++) {
		OK(kp_sql_bind_int(stmt, 1, 1, &err));
		status = kp_sql_queue(stmt, &err);
	}
	if (status == KEEP_OK)
		status = kp_sql_flush(fixture->conn, &err);
	assert_int_equal(status, KEEP_CONFLICT);
	kp_sql_rollback(fixture->conn);
	kp_sql_finish(&stmt);
	assert_int_equal(count_numbers(fixture->conn), 0);
}

static void a_script_runs_all_its_statements(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_script(fixture->conn,
			 "-- a comment\nCREATE TABLE a(n bigint);\nINSERT INTO a VALUES (1);"
			 "INSERT INTO a VALUES (2); -- the end\n",
			 &err));
	assert_int_equal(query_int(fixture->conn, "SELECT count(*) FROM a"), 2);
	OK(kp_sql_script(fixture->conn, "", &err));
}

static void a_script_inside_a_transaction_ends_with_it(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;

	make_numbers(fixture);
	OK(kp_sql_begin(fixture->conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(fixture->conn,
			 "INSERT INTO numbers VALUES (1); CREATE TABLE gone(n bigint)", &err));
	kp_sql_rollback(fixture->conn);
	assert_int_equal(count_numbers(fixture->conn), 0);
	if (fixture->conn->caps & KP_SQL_TRANSACTIONAL_DDL)
		OK(kp_sql_script(fixture->conn, "CREATE TABLE gone(n bigint)", &err));
}

/* ---------------------------------------------------------------- transactions */

static void what_was_committed_is_seen_by_others(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *other;

	make_numbers(fixture);
	other = connect_again(fixture);
	OK(kp_sql_begin(fixture->conn, KP_SQL_WRITE, &err));
	OK(insert_number(fixture->conn, 1, &err));
	assert_int_equal(count_numbers(fixture->conn), 1);
	assert_int_equal(count_numbers(other), 0);
	OK(kp_sql_commit(fixture->conn, &err));
	assert_false(fixture->conn->in_transaction);
	assert_int_equal(count_numbers(other), 1);
	kp_sql_close(&other);
}

static void what_was_rolled_back_is_gone(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;

	make_numbers(fixture);
	OK(kp_sql_begin(fixture->conn, KP_SQL_WRITE, &err));
	OK(insert_number(fixture->conn, 1, &err));
	kp_sql_rollback(fixture->conn);
	assert_false(fixture->conn->in_transaction);
	assert_int_equal(count_numbers(fixture->conn), 0);
	OK(kp_sql_begin(fixture->conn, KP_SQL_WRITE, &err));
	OK(insert_number(fixture->conn, 1, &err));
	OK(kp_sql_commit(fixture->conn, &err));
	assert_int_equal(count_numbers(fixture->conn), 1);
}

static void a_connection_closed_in_a_transaction_rolls_back(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *other;

	make_numbers(fixture);
	other = connect_again(fixture);
	OK(kp_sql_begin(other, KP_SQL_WRITE, &err));
	OK(insert_number(other, 1, &err));
	kp_sql_close(&other);
	assert_int_equal(count_numbers(fixture->conn), 0);
	OK(insert_number(fixture->conn, 1, &err));
}

static void a_reading_transaction_sees_one_state(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *reader;

	make_numbers(fixture);
	reader = connect_again(fixture);
	OK(kp_sql_begin(reader, KP_SQL_READ, &err));
	assert_int_equal(count_numbers(reader), 0);
	OK(insert_number(fixture->conn, 1, &err));
	assert_int_equal(count_numbers(reader), 0);
	OK(kp_sql_commit(reader, &err));
	assert_int_equal(count_numbers(reader), 1);
	kp_sql_close(&reader);
}

static void a_change_in_a_reading_transaction_is_misuse(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;

	make_numbers(fixture);
	OK(kp_sql_begin(fixture->conn, KP_SQL_READ, &err));
	assert_int_equal(insert_number(fixture->conn, 1, &err), KEEP_MISUSE);
	kp_sql_rollback(fixture->conn);
	assert_int_equal(count_numbers(fixture->conn), 0);
}

static void a_broken_constraint_is_a_conflict(void **state)
{
	static const char *const changes[] = {
		"INSERT INTO parents VALUES (1, 5)",    /* primary key */
		"INSERT INTO parents VALUES (2, -1)",   /* check */
		"INSERT INTO parents VALUES (2, NULL)", /* not null */
		"INSERT INTO children VALUES (9)",      /* foreign key */
		"DELETE FROM parents",                  /* foreign key */
	};
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_script(fixture->conn,
			 "CREATE TABLE parents(id bigint PRIMARY KEY, "
			 "amount bigint NOT NULL CHECK (amount > 0));"
			 "CREATE TABLE children(parent bigint REFERENCES parents(id));"
			 "INSERT INTO parents VALUES (1, 1); INSERT INTO children VALUES (1)",
			 &err));
	for (size_t i = 0; i < KP_COUNT(changes); i++) {
		CHECK(run(fixture->conn, changes[i], &err) == KEEP_CONFLICT, "%s", changes[i]);
		assert_int_equal(err.status, KEEP_CONFLICT);
	}
	assert_int_equal(query_int(fixture->conn, "SELECT count(*) FROM parents"), 1);
}

static void a_constraint_that_waits_for_the_commit_fails_it_and_ends_it(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_script(fixture->conn,
			 "CREATE TABLE parents(id bigint PRIMARY KEY);"
			 "CREATE TABLE children(parent bigint REFERENCES parents(id) "
			 "DEFERRABLE INITIALLY DEFERRED)",
			 &err));
	OK(kp_sql_begin(fixture->conn, KP_SQL_WRITE, &err));
	OK(run(fixture->conn, "INSERT INTO children VALUES (1)", &err));
	assert_int_equal(kp_sql_commit(fixture->conn, &err), KEEP_CONFLICT);
	assert_false(fixture->conn->in_transaction);
	assert_int_equal(query_int(fixture->conn, "SELECT count(*) FROM children"), 0);
	OK(kp_sql_begin(fixture->conn, KP_SQL_WRITE, &err));
	OK(run(fixture->conn, "INSERT INTO parents VALUES (1)", &err));
	OK(run(fixture->conn, "INSERT INTO children VALUES (1)", &err));
	OK(kp_sql_commit(fixture->conn, &err));
}

struct racer {
	struct fixture *fixture;
	int commits;
};

static void *add_ones(void *ctx)
{
	struct racer *racer = ctx;
	kp_sql_conn *conn = NULL;

	if (kp_sql_open(driver, &racer->fixture->options, &conn, NULL) != KEEP_OK)
		return NULL;
	for (int i = 0; i < 50; i++) {
		if (kp_sql_begin(conn, KP_SQL_WRITE, NULL) != KEEP_OK)
			continue;
		if (kp_sql_script(conn, "UPDATE counter SET n = n + 1", NULL) == KEEP_OK &&
		    kp_sql_commit(conn, NULL) == KEEP_OK)
			racer->commits++;
		kp_sql_rollback(conn);
	}
	kp_sql_close(&conn);
	return NULL;
}

static void writers_wait_for_each_other_and_lose_nothing(void **state)
{
	enum { RACERS = 4 };
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	struct racer racers[RACERS];
	pthread_t threads[RACERS];
	int commits = 0;

	OK(kp_sql_script(fixture->conn,
			 "CREATE TABLE counter(n bigint); INSERT INTO counter VALUES (0)", &err));
	for (int i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){.fixture = fixture};
		assert_int_equal(pthread_create(&threads[i], NULL, add_ones, &racers[i]), 0);
	}
	for (int i = 0; i < RACERS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		commits += racers[i].commits;
	}
	assert_int_equal(commits, RACERS * 50);
	assert_int_equal(query_int(fixture->conn, "SELECT n FROM counter"), commits);
}

static void the_one_writer_makes_others_busy_after_their_time(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *other;
	int64_t begun;

	if (!(fixture->conn->caps & KP_SQL_ONE_WRITER))
		return;
	make_numbers(fixture);
	fixture->options.timeout_ms = 30;
	other = connect_again(fixture);
	OK(kp_sql_begin(fixture->conn, KP_SQL_WRITE, &err));
	begun = kp_monotonic_ns();
	assert_int_equal(kp_sql_begin(other, KP_SQL_WRITE, &err), KEEP_BUSY);
	assert_true(kp_monotonic_ns() - begun >= 30 * INT64_C(1000000));
	assert_int_equal(count_numbers(other), 0); /* reading goes on */
	OK(kp_sql_commit(fixture->conn, &err));
	OK(kp_sql_begin(other, KP_SQL_WRITE, &err));
	kp_sql_rollback(other);
	kp_sql_close(&other);
}

/* ---------------------------------------------------------------- the rest of the table */

static void a_read_only_connection_reads_and_is_denied_changes(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *reader;

	make_numbers(fixture);
	OK(insert_number(fixture->conn, 1, &err));
	fixture->options.read_only = true;
	fixture->options.create = false;
	reader = connect_again(fixture);
	assert_true(reader->read_only);
	assert_int_equal(count_numbers(reader), 1);
	assert_int_equal(insert_number(reader, 2, &err), KEEP_DENIED);
	assert_int_equal(kp_sql_script(reader, "DELETE FROM numbers", &err), KEEP_DENIED);
	kp_sql_close(&reader);
	assert_int_equal(count_numbers(fixture->conn), 1);
}

static void check_and_maintain_have_nothing_to_say_about_a_sound_database(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_check(fixture->conn, &err));
	kp_sql_maintain(fixture->conn);
	OK(kp_sql_check(fixture->conn, &err));
	assert_false(fixture->conn->broken);
}

static void notifications_arrive_where_the_server_has_them(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer payload = KEEP_BUFFER_INIT;
	kp_sql_conn *other;
	bool notified = true;

	if (!(fixture->conn->caps & KP_SQL_LISTEN)) {
		assert_int_equal(kp_sql_notify(fixture->conn, "c", KEEP_BYTES("x"), &err),
				 KEEP_MISUSE);
		assert_int_equal(kp_sql_listen(fixture->conn, "c", &err), KEEP_MISUSE);
		assert_int_equal(kp_sql_wait(fixture->conn, 0, -1, &notified, &payload, &err),
				 KEEP_MISUSE);
		assert_false(notified);
		return;
	}
	other = connect_again(fixture);
	OK(kp_sql_listen(fixture->conn, "keep_test", &err));
	OK(kp_sql_wait(fixture->conn, 0, -1, &notified, &payload, &err));
	assert_false(notified);
	OK(kp_sql_begin(other, KP_SQL_WRITE, &err));
	OK(kp_sql_notify(other, "keep_test", KEEP_BYTES("rolled back"), &err));
	kp_sql_rollback(other);
	OK(kp_sql_begin(other, KP_SQL_WRITE, &err));
	OK(kp_sql_notify(other, "keep_test", KEEP_BYTES("it's \"here\""), &err));
	OK(kp_sql_commit(other, &err));
	OK(kp_sql_wait(fixture->conn, 10000, -1, &notified, &payload, &err));
	assert_true(notified);
	assert_bytes_equal(kp_buffer_bytes(&payload), KEEP_BYTES("it's \"here\""));
	kp_sql_close(&other);
	keep_buffer_release(&payload);
}

static void a_readable_descriptor_ends_the_wait(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer payload = KEEP_BUFFER_INIT;
	bool notified = true;
	int pipe_fds[2];

	if (!(fixture->conn->caps & KP_SQL_LISTEN))
		return;
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	OK(kp_sql_listen(fixture->conn, "keep_test", &err));
	OK(kp_sql_wait(fixture->conn, -1, pipe_fds[0], &notified, &payload, &err));
	assert_false(notified);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	keep_buffer_release(&payload);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(a_reset_statement_runs_again_with_new_values),
		ON_BOTH(rows_come_one_by_one_and_then_end),
		ON_BOTH(a_statement_left_in_the_middle_can_be_used_again),
		ON_BOTH(changes_counts_the_rows_of_this_statement),
		ON_BOTH(returning_gives_rows_and_counts_changes),
		ON_BOTH(a_wrong_statement_is_misuse_and_says_where),
		ON_BOTH(queued_statements_are_there_after_flush),
		ON_BOTH(a_queued_failure_comes_out_before_the_commit_is_done),
		ON_BOTH(a_script_runs_all_its_statements),
		ON_BOTH(a_script_inside_a_transaction_ends_with_it),
		ON_BOTH(what_was_committed_is_seen_by_others),
		ON_BOTH(what_was_rolled_back_is_gone),
		ON_BOTH(a_connection_closed_in_a_transaction_rolls_back),
		ON_BOTH(a_reading_transaction_sees_one_state),
		ON_BOTH(a_change_in_a_reading_transaction_is_misuse),
		ON_BOTH(a_broken_constraint_is_a_conflict),
		ON_BOTH(a_constraint_that_waits_for_the_commit_fails_it_and_ends_it),
		ON_BOTH(writers_wait_for_each_other_and_lose_nothing),
		ON_BOTH(the_one_writer_makes_others_busy_after_their_time),
		ON_BOTH(a_read_only_connection_reads_and_is_denied_changes),
		ON_BOTH(check_and_maintain_have_nothing_to_say_about_a_sound_database),
		ON_BOTH(notifications_arrive_where_the_server_has_them),
		ON_BOTH(a_readable_descriptor_ends_the_wait),
	};

	return run_on_backends(tests);
}
