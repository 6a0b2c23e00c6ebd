/*
 * test_postgres_faults.c - one life of a PostgreSQL connection, with each allocation of the process
 * failing once, libpq's own included: nothing leaks, nothing crashes, and what was reported is
 * true.
 *
 * A round arms one fault, lives from open to close, disarms, and looks with a clean connection.
 * What libpq says about its own lack of memory cannot be told from a lost server, so a round may be
 * UNAVAILABLE or UNCERTAIN as well as NO_MEMORY; but OK must be right, and everything but OK and
 * UNCERTAIN must have stored nothing.
 */
#include "torture.h"

#include "server_control.h"
#include "sql/sql.h"

#include <malloc.h>
#include <unistd.h>

enum { ROWS = 20, ROUNDS_MAX = 20000 };

static kp_sql_conn *witness; /* the clean connection */
static char schema[32];
static char location[200];
static keep_error err;

static void ask_witness(const char *sql, int64_t *number)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;

	OK(kp_sql_prepare(witness, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_true(has_row);
	OK(kp_sql_column_int(stmt, 0, number, &err));
	kp_sql_finish(&stmt);
}

static keep_status store(kp_sql_conn *conn, keep_error *failure)
{
	kp_sql_stmt *insert = NULL;
	keep_status status =
		kp_sql_prepare(conn, "INSERT INTO item VALUES ($1, $2)", &insert, failure);

	if (status == KEEP_OK)
		status = kp_sql_begin(conn, KP_SQL_WRITE, failure);
	for (int64_t id = 1; status == KEEP_OK && id <= ROWS; id++) {
		status = kp_sql_bind_int(insert, 1, id, failure);
		if (status == KEEP_OK)
			status = kp_sql_bind_text(insert, 2, KEEP_BYTES("body"), failure);
		if (status == KEEP_OK)
			status = kp_sql_queue(insert, failure);
	}
	if (status == KEEP_OK && (conn->caps & KP_SQL_LISTEN))
		status = kp_sql_notify(conn, "keep", KEEP_BYTES("stored"), failure);
	if (status == KEEP_OK)
		status = kp_sql_commit(conn, failure);
	if (status != KEEP_OK)
		kp_sql_rollback(conn);
	kp_sql_finish(&insert);
	return status;
}

static keep_status read_again(kp_sql_conn *conn, keep_error *failure)
{
	kp_sql_stmt *select = NULL;
	keep_status status =
		kp_sql_prepare(conn, "SELECT id, body FROM item ORDER BY id", &select, failure);
	bool has_row = true;
	keep_bytes body;
	int64_t id;

	for (int64_t expected = 1; status == KEEP_OK && has_row; expected++) {
		status = kp_sql_step(select, &has_row, failure);
		if (status != KEEP_OK || !has_row) {
			CHECK(status != KEEP_OK || expected == ROWS + 1, "rows are missing");
			break;
		}
		status = kp_sql_column_int(select, 0, &id, failure);
		CHECK(status != KEEP_OK || id == expected, "another row");
		if (status == KEEP_OK)
			status = kp_sql_column_bytes(select, 1, KP_TEXT, &body, failure);
		CHECK(status != KEEP_OK || kp_bytes_equal(body, KEEP_BYTES("body")), "other text");
	}
	kp_sql_finish(&select);
	return status;
}

/* How far a life came: the last thing that was reported as done. */
enum progress { NOTHING, STORED, READ };

static keep_status live(bool unnamed, enum progress *reached, keep_error *failure)
{
	kp_sql_options options = {.location = location,
				  .schema = schema,
				  .create = true,
				  .unnamed_statements = unnamed,
				  .timeout_ms = 5000};
	kp_sql_conn *conn = NULL;
	keep_status status = kp_sql_open(&kp_sql_postgres, &options, &conn, failure);

	*reached = NOTHING;
	if (status == KEEP_OK && (conn->caps & KP_SQL_LISTEN))
		status = kp_sql_listen(conn, "keep", failure);
	if (status == KEEP_OK)
		status = kp_sql_script(
			conn, "CREATE TABLE IF NOT EXISTS item (id bigint PRIMARY KEY, body text)",
			failure);
	if (status == KEEP_OK)
		status = store(conn, failure);
	if (status == KEEP_OK) {
		*reached = STORED;
		status = read_again(conn, failure);
	}
	if (status == KEEP_OK)
		*reached = READ;
	kp_sql_close(&conn);
	return status;
}

/* What is really there. Leaves nothing behind. */
static void look(enum progress reached, keep_status status, long round)
{
	char sql[160];
	int64_t number = 1;

	/* The server's side of a connection that was given up may still be at work. */
	snprintf(sql, sizeof sql,
		 "SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s'", schema);
	while (number > 0)
		ask_witness(sql, &number);
	snprintf(sql, sizeof sql,
		 "SELECT count(*) FROM pg_class WHERE oid = "
		 "to_regclass('%s.item')",
		 schema);
	ask_witness(sql, &number);
	if (number > 0) {
		snprintf(sql, sizeof sql, "SELECT count(*) FROM %s.item", schema);
		ask_witness(sql, &number);
	}
	CHECK(number == 0 || number == ROWS, "round %ld: half a transaction", round);
	CHECK(reached == NOTHING || number == ROWS, "round %ld: a commit was lost", round);
	CHECK(reached != NOTHING || status == KEEP_UNCERTAIN || number == 0,
	      "round %ld: %s, but it is stored", round, keep_status_name(status));
	snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS %s CASCADE", schema);
	OK(kp_sql_script(witness, sql, &err));
}

static bool live_round(bool unnamed, bool persistent, long round)
{
	enum progress reached = NOTHING;
	keep_error failure = KEEP_ERROR_INIT;
	long before = kp_alloc_live(), fired;
	keep_status status;

	kp_fault_arm(KP_FAULT_ALLOC, round, persistent);
	status = live(unnamed, &reached, &failure);
	fired = kp_fault_disarm(KP_FAULT_ALLOC);
	CHECK(kp_alloc_live() == before, "round %ld leaked", round);
	switch (status) {
	case KEEP_OK: break;
	case KEEP_NO_MEMORY:
	case KEEP_UNAVAILABLE:
	case KEEP_UNCERTAIN:
		CHECK(fired > 0, "the clean round failed: %s", failure.message);
		CHECK(failure.status == status && failure.message[0], "round %ld: no message",
		      round);
		break;
	default: fail_msg("round %ld: %s: %s", round, keep_status_name(status), failure.message);
	}
	look(reached, status, round);
	return fired > 0;
}

/* Bytes that the process has allocated; libpq's and the library's own alike. */
static size_t allocated_bytes(void)
{
	return mallinfo2().uordblks;
}

static void live_with_faults(bool unnamed, bool persistent)
{
	size_t before;
	long round = 1;

	for (int i = 0; i < 3; i++) /* what is allocated once and for all */
		assert_true(live_round(unnamed, persistent, ROUNDS_MAX) == false);
	before = allocated_bytes();
	while (live_round(unnamed, persistent, round)) {
		round++;
		assert_true(round < ROUNDS_MAX);
	}
	print_message("%ld allocations failed, %ld bytes more are allocated\n", round - 1,
		      (long)(allocated_bytes() - before));
	/* Ours alone under a sanitizer, which owns malloc; libpq's are hundreds. */
	assert_true(round > (kp_fault_malloc_interposed ? 200 : 10));
	assert_in_range(allocated_bytes(), 0, before + 16384);
}

static void each_allocation_may_fail_once(void **state)
{
	(void)state;
	live_with_faults(false, false);
}

static void from_each_allocation_on_all_may_fail(void **state)
{
	(void)state;
	live_with_faults(false, true);
}

static void without_prepared_statements_too(void **state)
{
	(void)state;
	live_with_faults(true, false);
}

static int set_up(void **state)
{
	kp_sql_options options = {.timeout_ms = 5000};

	(void)state;
	snprintf(schema, sizeof schema, "keep_faults_%d", (int)getpid());
	snprintf(location, sizeof location, "%s application_name=%s",
		 server_environment("KEEP_TEST_POSTGRES"), schema);
	options.location = server_environment("KEEP_TEST_POSTGRES");
	OK(kp_sql_open(&kp_sql_postgres, &options, &witness, &err));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	kp_sql_close(&witness);
	assert_nothing_lives();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_may_fail_once),
		cmocka_unit_test(from_each_allocation_on_all_may_fail),
		cmocka_unit_test(without_prepared_statements_too),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
