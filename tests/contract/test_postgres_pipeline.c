/*
 * test_postgres_pipeline.c - transactions of the PostgreSQL driver: what one round trip carries,
 * what a failure in the middle does, locks, and a server that goes away at the worst moment.
 *
 * The last group has a server of its own, which it kills, pauses and restarts.
 */
#include "postgres_fixture.h"

#include "sql/postgres_private.h"

#include <pthread.h>

static kp_sql_conn *conn;
static keep_error err;

static int set_up(void **state)
{
	(void)state;
	conn = open_shared();
	run_script(conn, "CREATE TABLE item (id bigint PRIMARY KEY, body text)");
	return 0;
}

static int tear_down(void **state)
{
	char sql[80];

	(void)state;
	snprintf(sql, sizeof sql, "DROP SCHEMA %s CASCADE", test_schema());
	run_script(conn, sql);
	kp_sql_close(&conn);
	assert_nothing_lives();
	return 0;
}

static kp_sql_stmt *prepare_insert(kp_sql_conn *on)
{
	return prepare_sql(on, "INSERT INTO item VALUES ($1, $2)");
}

static int64_t count_items(kp_sql_conn *on)
{
	return get_number(on, "SELECT count(*) FROM item");
}

/* ---------------------------------------------------------------- one round trip */

static void begin_queue_and_commit_wait_once(void **state)
{
	kp_sql_stmt *insert = prepare_insert(conn);

	(void)state;
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	for (int64_t id = 1; id <= 100; id++)
		OK(queue_item(insert, id, KEEP_BYTES("a"), &err));
	/* BEGIN, the preparation, a hundred rows: nothing was asked for yet. */
	assert_int_equal(kp_pg_conn_of(conn)->pending_items, 102);
	OK(kp_sql_commit(conn, &err));
	assert_int_equal(kp_pg_conn_of(conn)->pending_items, 0);
	kp_sql_finish(&insert);
	assert_int_equal(count_items(conn), 100);
}

static void a_step_sees_what_was_queued_before_it(void **state)
{
	kp_sql_stmt *insert = prepare_insert(conn);

	(void)state;
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(queue_item(insert, 1, KEEP_BYTES("a"), &err));
	assert_int_equal(count_items(conn), 1);
	OK(queue_item(insert, 2, KEEP_BYTES("a"), &err));
	assert_int_equal(count_items(conn), 2);
	kp_sql_rollback(conn);
	assert_int_equal(count_items(conn), 0);
	kp_sql_finish(&insert);
}

static void queue_without_a_transaction_stores_each_alone(void **state)
{
	kp_sql_stmt *insert = prepare_insert(conn);

	(void)state;
	OK(queue_item(insert, 1, KEEP_BYTES("a"), &err));
	assert_int_equal(queue_item(insert, 1, KEEP_BYTES("a"), &err), KEEP_CONFLICT);
	OK(queue_item(insert, 2, KEEP_BYTES("a"), &err));
	OK(kp_sql_flush(conn, &err));
	kp_sql_finish(&insert);
	assert_int_equal(count_items(conn), 2);
}

/* ---------------------------------------------------------------- failures in the middle */

static void the_first_failure_in_the_middle_is_what_commit_reports(void **state)
{
	kp_sql_stmt *insert = prepare_insert(conn);
	kp_sql_stmt *other;

	(void)state;
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(queue_item(insert, 1, KEEP_BYTES("a"), &err));
	OK(queue_item(insert, 1, KEEP_BYTES("again"), &err));
	OK(queue_item(insert, 2, KEEP_BYTES("a"), &err));
	/* Prepared behind the failure: the server skips that too. */
	other = prepare_sql(conn, "INSERT INTO item VALUES ($1, 'other')");
	OK(kp_sql_bind_int(other, 1, 3, &err));
	OK(kp_sql_queue(other, &err));
	assert_int_equal(kp_sql_commit(conn, &err), KEEP_CONFLICT);
	assert_string_equal(err.sqlstate, "23505");
	assert_false(conn->broken);
	assert_int_equal(count_items(conn), 0);
	OK(kp_sql_bind_int(other, 1, 3, &err));
	OK(kp_sql_queue(other, &err));
	OK(queue_item(insert, 1, KEEP_BYTES("a"), &err));
	assert_int_equal(count_items(conn), 2);
	kp_sql_finish(&other);
	kp_sql_finish(&insert);
}

static void a_failed_transaction_says_so_until_it_is_over(void **state)
{
	kp_sql_stmt *insert = prepare_insert(conn);
	kp_sql_stmt *query = prepare_sql(conn, "SELECT 1");

	(void)state;
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(queue_item(insert, 1, KEEP_BYTES("a"), &err));
	OK(queue_item(insert, 1, KEEP_BYTES("a"), &err));
	assert_int_equal(kp_sql_flush(conn, &err), KEEP_CONFLICT);
	assert_int_equal(kp_sql_flush(conn, &err), KEEP_CONFLICT);
	assert_int_equal(kp_sql_run(query, &err), KEEP_CONFLICT);
	assert_int_equal(queue_item(insert, 2, KEEP_BYTES("a"), &err), KEEP_CONFLICT);
	assert_int_equal(kp_sql_commit(conn, &err), KEEP_CONFLICT);
	OK(kp_sql_run(query, &err));
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	assert_int_equal(try_sql(conn, "SELECT 1 / 0", &err), KEEP_MISUSE);
	kp_sql_rollback(conn);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(queue_item(insert, 7, KEEP_BYTES("a"), &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_finish(&query);
	kp_sql_finish(&insert);
	assert_int_equal(count_items(conn), 1);
}

static void a_constraint_checked_at_commit_is_a_conflict(void **state)
{
	(void)state;
	run_script(conn, "CREATE TABLE late (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)");
	run_script(conn, "INSERT INTO late VALUES (1)");
	/* Outside of a transaction it fails after the statement's own result. */
	assert_int_equal(try_sql(conn, "INSERT INTO late VALUES (1)", &err), KEEP_CONFLICT);
	assert_int_equal(get_number(conn, "SELECT count(*) FROM late"), 1);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(try_sql(conn, "INSERT INTO late VALUES (1)", &err));
	assert_int_equal(kp_sql_commit(conn, &err), KEEP_CONFLICT);
	assert_int_equal(get_number(conn, "SELECT count(*) FROM late"), 1);
	assert_false(conn->broken);
}

static void a_script_neither_begins_nor_ends_a_transaction(void **state)
{
	(void)state;
	assert_int_equal(kp_sql_script(conn, "BEGIN; INSERT INTO item VALUES (1)", &err),
			 KEEP_MISUSE);
	assert_int_equal(count_items(conn), 0);
	run_script(conn, "BEGIN; INSERT INTO item VALUES (1); COMMIT");
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	run_script(conn, "INSERT INTO item VALUES (2); INSERT INTO item VALUES (3)");
	assert_int_equal(kp_sql_script(conn, "COMMIT", &err), KEEP_MISUSE);
	assert_int_equal(kp_sql_commit(conn, &err), KEEP_MISUSE);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	assert_int_equal(kp_sql_script(conn, "INSERT INTO item VALUES (4); SELECT 1 / 0", &err),
			 KEEP_MISUSE);
	assert_int_equal(kp_sql_commit(conn, &err), KEEP_MISUSE);
	assert_int_equal(count_items(conn), 3);
	assert_int_equal(kp_sql_script(conn, "COPY item FROM STDIN", &err), KEEP_MISUSE);
	assert_true(conn->broken);
	kp_sql_close(&conn);
	conn = open_shared();
}

/* ---------------------------------------------------------------- much in one pipeline */

static void ten_thousand_rows_in_one_transaction(void **state)
{
	kp_sql_stmt *insert = prepare_insert(conn);

	(void)state;
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	for (int64_t id = 1; id <= 10000; id++)
		OK(queue_item(insert, id, KEEP_BYTES("body"), &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_finish(&insert);
	assert_int_equal(count_items(conn), 10000);
}

/* Warnings fill the server's side of the socket while rows fill ours: who only writes waits for
   ever. */
static void a_server_that_talks_back_does_not_stop_the_pipeline(void **state)
{
	static char body[500];
	kp_sql_stmt *insert = prepare_insert(conn);

	(void)state;
	memset(body, 'b', sizeof body);
	run_script(conn, "CREATE FUNCTION talk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
			 "RAISE WARNING '%', repeat('w', 20000); RETURN new; END $$; "
			 "CREATE TRIGGER talk BEFORE INSERT ON item FOR EACH ROW "
			 "EXECUTE FUNCTION talk()");
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	for (int64_t id = 1; id <= 1500; id++)
		OK(queue_item(insert, id, (keep_bytes){body, sizeof body}, &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_finish(&insert);
	assert_int_equal(count_items(conn), 1500);
}

static void rows_of_ten_megabytes_in_one_transaction(void **state)
{
	size_t size = 10 << 20;
	char *body = malloc(size);
	kp_sql_stmt *insert = prepare_insert(conn);

	(void)state;
	assert_non_null(body);
	memset(body, 'z', size);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	for (int64_t id = 1; id <= 5; id++)
		OK(queue_item(insert, id, (keep_bytes){body, size}, &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_finish(&insert);
	free(body);
	assert_int_equal(get_number(conn, "SELECT min(length(body))::bigint FROM item"), size);
}

/* ---------------------------------------------------------------- locks */

static void waiting_for_a_lock_ends_as_busy(void **state)
{
	kp_sql_options options = shared_options();
	kp_sql_conn *other;
	int64_t begun;

	(void)state;
	options.timeout_ms = 200;
	other = open_with(&options);
	run_script(conn, "INSERT INTO item VALUES (1, 'a')");
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(try_sql(conn, "UPDATE item SET body = 'b' WHERE id = 1", &err));
	begun = kp_monotonic_ns();
	OK(kp_sql_begin(other, KP_SQL_WRITE, &err));
	assert_int_equal(try_sql(other, "UPDATE item SET body = 'c' WHERE id = 1", &err),
			 KEEP_BUSY);
	assert_string_equal(err.sqlstate, "55P03");
	assert_in_range((kp_monotonic_ns() - begun) / 1000000, 190, 4000 * test_patience());
	assert_int_equal(kp_sql_commit(other, &err), KEEP_BUSY);
	OK(kp_sql_commit(conn, &err));
	OK(try_sql(other, "UPDATE item SET body = 'c' WHERE id = 1", &err));
	kp_sql_close(&other);
}

struct update {
	kp_sql_conn *conn;
	const char *sql;
	keep_status status;
};

static void *update_in_thread(void *ctx)
{
	struct update *update = ctx;
	keep_error ignored;

	update->status = try_sql(update->conn, update->sql, &ignored);
	return NULL;
}

static void one_of_a_deadlock_is_busy(void **state)
{
	kp_sql_conn *other = open_shared();
	struct update second = {other, "UPDATE item SET body = 'y' WHERE id = 1", KEEP_OK};
	pthread_t thread;
	keep_status first;

	(void)state;
	run_script(conn, "INSERT INTO item VALUES (1, 'a'), (2, 'a')");
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_begin(other, KP_SQL_WRITE, &err));
	OK(try_sql(conn, "UPDATE item SET body = 'x' WHERE id = 1", &err));
	OK(try_sql(other, "UPDATE item SET body = 'y' WHERE id = 2", &err));
	assert_int_equal(pthread_create(&thread, NULL, update_in_thread, &second), 0);
	first = try_sql(conn, "UPDATE item SET body = 'x' WHERE id = 2", &err);
	if (first != KEEP_OK)
		kp_sql_rollback(conn);
	pthread_join(thread, NULL);
	assert_true((first == KEEP_BUSY) != (second.status == KEEP_BUSY));
	kp_sql_rollback(conn);
	kp_sql_rollback(other);
	kp_sql_close(&other);
}

/* ---------------------------------------------------------------- a server that goes away */

static struct server server;
static char one_location[sizeof server.location + 16];

static int set_up_server(void **state)
{
	kp_sql_options options;

	(void)state;
	server_start_postgres(&server);
	options = (kp_sql_options){.location = server.location, .timeout_ms = 5000};
	conn = open_with(&options);
	run_script(conn, "CREATE TABLE item (id bigint PRIMARY KEY, body text)");
	return 0;
}

static int tear_down_server(void **state)
{
	(void)state;
	kp_moment_inject(NULL, NULL);
	kp_sql_close(&conn);
	server_remove(&server);
	assert_nothing_lives();
	return 0;
}

static void reconnect(void)
{
	kp_sql_options options = {.location = server.location, .timeout_ms = 5000};

	kp_sql_close(&conn);
	conn = open_with(&options);
}

static void kill_at(void *ctx, const char *name)
{
	if (strcmp(name, ctx) == 0) {
		kp_moment_inject(NULL, NULL);
		server_kill(&server);
	}
}

static void a_server_killed_in_a_transaction_is_unavailable_and_stored_nothing(void **state)
{
	kp_sql_stmt *insert = prepare_insert(conn);

	(void)state;
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(queue_item(insert, 1, KEEP_BYTES("a"), &err));
	OK(kp_sql_flush(conn, &err));
	server_kill(&server);
	/* Found gone before COMMIT was sent: that is certain. */
	assert_int_equal(kp_sql_commit(conn, &err), KEEP_UNAVAILABLE);
	assert_true(conn->broken);
	assert_int_equal(kp_sql_begin(conn, KP_SQL_WRITE, &err), KEEP_UNAVAILABLE);
	assert_int_equal(kp_sql_script(conn, "SELECT 1", &err), KEEP_UNAVAILABLE);
	assert_int_equal(kp_sql_check(conn, &err), KEEP_UNAVAILABLE);
	assert_null(strstr(err.message, "user=keep"));
	kp_sql_finish(&insert);
	server_restart(&server);
	reconnect();
	assert_int_equal(count_items(conn), 0);
}

static void a_server_killed_during_commit_leaves_it_uncertain(void **state)
{
	static char moment[] = "postgres.sent";
	kp_sql_stmt *insert = prepare_insert(conn);

	(void)state;
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(queue_item(insert, 1, KEEP_BYTES("a"), &err));
	server_pause(&server); /* so that it cannot answer first */
	kp_moment_inject(kill_at, moment);
	assert_int_equal(kp_sql_commit(conn, &err), KEEP_UNCERTAIN);
	assert_true(conn->broken);
	kp_sql_finish(&insert);
	server_restart(&server);
	reconnect();
	assert_int_equal(count_items(conn), 0); /* this time it was not */
}

static void *terminate_others(void *ctx)
{
	kp_sql_options options = {.location = server.location, .timeout_ms = 5000};
	kp_sql_conn *other = open_with(&options);

	(void)ctx;
	while (get_number(other, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = "
				 "'SyncRep'") == 0)
		usleep(10000);
	run_script(other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
			  "WHERE wait_event = 'SyncRep'");
	kp_sql_close(&other);
	return NULL;
}

/* A replica that never answers: committed here, and the connection ends before we hear of it. */
static void a_commit_that_happened_unheard_is_uncertain_too(void **state)
{
	kp_sql_stmt *insert = prepare_insert(conn);
	pthread_t thread;

	(void)state;
	run_script(conn, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
	run_script(conn, "SELECT pg_reload_conf()");
	usleep(200000);
	assert_int_equal(pthread_create(&thread, NULL, terminate_others, NULL), 0);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(queue_item(insert, 1, KEEP_BYTES("a"), &err));
	assert_int_equal(kp_sql_commit(conn, &err), KEEP_UNCERTAIN);
	pthread_join(thread, NULL);
	kp_sql_finish(&insert);
	reconnect();
	assert_int_equal(count_items(conn), 1);
}

static void an_answer_lost_outside_of_a_transaction_is_told_by_what_it_was(void **state)
{
	static char moment[] = "postgres.sent";
	static const struct {
		const char *sql;
		keep_status status;
	} cases[] = {
		{"INSERT INTO item VALUES (1, 'a')", KEEP_UNCERTAIN},
		{"WITH new AS (INSERT INTO item VALUES (1) RETURNING id) SELECT * FROM new",
		 KEEP_UNCERTAIN},
		{"SELECT count(*) FROM item", KEEP_UNAVAILABLE},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		server_pause(&server);
		kp_moment_inject(kill_at, moment);
		assert_int_equal(try_sql(conn, cases[i].sql, &err), cases[i].status);
		assert_true(conn->broken);
		server_restart(&server);
		reconnect();
	}
	/* Found gone before it was sent: certain. */
	server_stop(&server);
	assert_int_equal(try_sql(conn, cases[0].sql, &err), KEEP_UNAVAILABLE);
	server_restart(&server);
	reconnect();
	assert_int_equal(count_items(conn), 0);
}

static void a_look_finds_a_closed_connection(void **state)
{
	kp_sql_options options = {.location = server.location, .timeout_ms = 5000};
	kp_sql_conn *other = open_with(&options);
	keep_buffer payload = KEEP_BUFFER_INIT;
	bool notified;

	(void)state;
	OK(kp_sql_check(conn, &err));
	OK(kp_sql_listen(conn, "keep", &err));
	run_script(other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
			  "WHERE pid <> pg_backend_pid() AND datname = 'postgres'");
	assert_int_equal(kp_sql_wait(conn, 5000, -1, &notified, &payload, &err), KEEP_UNAVAILABLE);
	assert_int_equal(kp_sql_check(conn, &err), KEEP_UNAVAILABLE);
	assert_true(conn->broken);
	keep_buffer_release(&payload);
	kp_sql_close(&other);
}

static void a_server_that_does_not_answer_ends_an_open_in_time(void **state)
{
	kp_sql_options options = {.location = server.location, .timeout_ms = 300};
	int64_t begun = kp_monotonic_ns();
	kp_sql_conn *none = NULL;

	(void)state;
	server_pause(&server);
	assert_int_equal(kp_sql_open(&kp_sql_postgres, &options, &none, &err), KEEP_UNAVAILABLE);
	assert_in_range((kp_monotonic_ns() - begun) / 1000000, 290, 3000 * test_patience());
	assert_non_null(strstr(err.message, "in time"));
	server_resume(&server);
}

static void a_long_statement_is_waited_for_while_the_server_answers_others(void **state)
{
	kp_sql_options options = {.location = server.location, .timeout_ms = 100};
	kp_sql_conn *other = open_with(&options);

	(void)state;
	OK(try_sql(other, "SELECT pg_sleep(1)", &err));
	run_script(other, "SELECT pg_sleep(0.5); SELECT pg_sleep(0.5)");
	/* That one more connection is refused is an answer, too. */
	run_script(conn, "CREATE ROLE one LOGIN CONNECTION LIMIT 1");
	kp_sql_close(&other);
	snprintf(one_location, sizeof one_location, "%s user=one", server.location);
	options.location = one_location;
	other = open_with(&options);
	OK(try_sql(other, "SELECT pg_sleep(1)", &err));
	kp_sql_close(&other);
}

/* On a connection of its own, with the server stopped before `run`. */
static void want_status_of_silence(keep_status (*run)(kp_sql_conn *own), keep_status wanted)
{
	kp_sql_options options = {.location = server.location, .timeout_ms = 300};
	kp_sql_conn *own = open_with(&options);
	int64_t begun_ns;
	keep_status status;

	OK(kp_sql_begin(own, KP_SQL_WRITE, &err)); /* its preparations are over */
	kp_sql_rollback(own);
	server_pause(&server);
	begun_ns = kp_monotonic_ns();
	status = run(own);
	CHECK(status == wanted, "%s: %s", keep_status_name(status), err.message);
	assert_in_range((kp_monotonic_ns() - begun_ns) / 1000000, 290, 1300 * test_patience());
	assert_true(own->broken);
	kp_sql_rollback(own);
	kp_sql_close(&own);
	server_resume(&server);
}

static keep_status run_query(kp_sql_conn *own)
{
	return try_sql(own, "SELECT count(*) FROM item", &err);
}

static keep_status run_change(kp_sql_conn *own)
{
	return try_sql(own, "DELETE FROM item", &err);
}

static keep_status run_a_script(kp_sql_conn *own)
{
	return kp_sql_script(own, "DELETE FROM item; DELETE FROM item", &err);
}

static keep_status run_transaction(kp_sql_conn *own)
{
	keep_status status = kp_sql_begin(own, KP_SQL_WRITE, &err);

	if (status == KEEP_OK)
		status = try_sql(own, "DELETE FROM item", &err);
	return status == KEEP_OK ? kp_sql_commit(own, &err) : status;
}

static keep_status run_commit(kp_sql_conn *own)
{
	kp_sql_stmt *insert = prepare_insert(own);
	keep_status status = kp_sql_begin(own, KP_SQL_WRITE, &err);

	if (status == KEEP_OK)
		status = queue_item(insert, 1, KEEP_BYTES("a"), &err);
	if (status == KEEP_OK)
		status = kp_sql_commit(own, &err);
	kp_sql_finish(&insert);
	return status;
}

/* More than the sockets take: the wait is in writing. */
static keep_status run_large(kp_sql_conn *own)
{
	static char large[16 << 20];
	kp_sql_stmt *insert = prepare_insert(own);
	keep_status status = kp_sql_begin(own, KP_SQL_WRITE, &err);

	memset(large, 'a', sizeof large);
	if (status == KEEP_OK)
		status = queue_item(insert, 2, (keep_bytes){large, sizeof large}, &err);
	kp_sql_finish(&insert);
	return status;
}

static void a_stopped_server_ends_a_wait_in_time(void **state)
{
	(void)state;
	want_status_of_silence(run_query, KEEP_UNAVAILABLE);
	want_status_of_silence(run_change, KEEP_UNCERTAIN);
	want_status_of_silence(run_a_script, KEEP_UNCERTAIN);
	want_status_of_silence(run_transaction, KEEP_UNAVAILABLE);
	want_status_of_silence(run_large, KEEP_UNAVAILABLE);
	want_status_of_silence(run_commit, KEEP_UNCERTAIN);
	/* What the server was sent it does when it goes on. */
	while (count_items(conn) == 0)
		usleep(1000);
	assert_int_equal(count_items(conn), 1);
}

/* ---------------------------------------------------------------- broken at every step */

static keep_status live(const char *location)
{
	kp_sql_options options = {.location = location, .timeout_ms = 5000};
	keep_error failure = KEEP_ERROR_INIT;
	kp_sql_conn *own = NULL;
	kp_sql_stmt *insert = NULL;
	keep_status status = kp_sql_open(&kp_sql_postgres, &options, &own, &failure);

	if (status == KEEP_OK)
		status = kp_sql_prepare(own, "INSERT INTO item VALUES ($1, $2)", &insert, &failure);
	if (status == KEEP_OK)
		status = kp_sql_begin(own, KP_SQL_WRITE, &failure);
	for (int64_t id = 1; status == KEEP_OK && id <= 3; id++) {
		status = queue_item(insert, id, KEEP_BYTES("a"), &failure);
		if (status == KEEP_OK && id == 2)
			status = kp_sql_flush(own, &failure);
	}
	if (status == KEEP_OK)
		status = kp_sql_commit(own, &failure);
	if (own && status != KEEP_OK) {
		kp_sql_rollback(own);
		CHECK(own->broken, "%s", failure.message);
	}
	kp_sql_finish(&insert);
	kp_sql_close(&own);
	return status;
}

/* A clean connection knows: all or nothing, and nothing unless OK or UNCERTAIN. */
static void check_life(keep_status status)
{
	char sql[120];
	int64_t count;

	/* The server's side of a broken connection may still be committing. */
	snprintf(sql, sizeof sql,
		 "SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s'",
		 test_schema());
	while (get_number(conn, sql) > 0)
		usleep(1000);
	count = count_items(conn);
	CHECK(count == 0 || count == 3, "%d rows", (int)count);
	CHECK(status != KEEP_OK || count == 3, "OK, and nothing is there");
	CHECK(status != KEEP_UNAVAILABLE || count == 0, "UNAVAILABLE, and it is there");
	run_script(conn, "DELETE FROM item");
}

static void a_connection_that_breaks_anywhere_is_told_truly(void **state)
{
	char location[200];
	long nth = 0, fired;
	keep_status status;

	(void)state;
	snprintf(location, sizeof location, "%s application_name=%s options='-c search_path=%s'",
		 server_environment("KEEP_TEST_POSTGRES"), test_schema(), test_schema());
	do {
		kp_fault_arm(KP_FAULT_CONNECT, ++nth, false);
		status = live(location);
		fired = kp_fault_disarm(KP_FAULT_CONNECT);
		check_life(status);
		if (fired)
			assert_true(status == KEEP_UNAVAILABLE || status == KEEP_UNCERTAIN);
		else
			assert_int_equal(status, KEEP_OK);
	} while (fired);
	assert_in_range(nth, 5, 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define LOSS(name) cmocka_unit_test_setup_teardown(name, set_up_server, tear_down_server)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(begin_queue_and_commit_wait_once),
		TEST(a_step_sees_what_was_queued_before_it),
		TEST(queue_without_a_transaction_stores_each_alone),
		TEST(the_first_failure_in_the_middle_is_what_commit_reports),
		TEST(a_failed_transaction_says_so_until_it_is_over),
		TEST(a_constraint_checked_at_commit_is_a_conflict),
		TEST(a_script_neither_begins_nor_ends_a_transaction),
		TEST(ten_thousand_rows_in_one_transaction),
		TEST(a_server_that_talks_back_does_not_stop_the_pipeline),
		TEST(rows_of_ten_megabytes_in_one_transaction),
		TEST(waiting_for_a_lock_ends_as_busy),
		TEST(one_of_a_deadlock_is_busy),
		TEST(a_connection_that_breaks_anywhere_is_told_truly),
		LOSS(a_server_killed_in_a_transaction_is_unavailable_and_stored_nothing),
		LOSS(a_server_killed_during_commit_leaves_it_uncertain),
		LOSS(a_commit_that_happened_unheard_is_uncertain_too),
		LOSS(an_answer_lost_outside_of_a_transaction_is_told_by_what_it_was),
		LOSS(a_look_finds_a_closed_connection),
		LOSS(a_server_that_does_not_answer_ends_an_open_in_time),
		LOSS(a_long_statement_is_waited_for_while_the_server_answers_others),
		LOSS(a_stopped_server_ends_a_wait_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
