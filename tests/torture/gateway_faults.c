/* gateway_faults.c - see gateway_faults.h. */
#include "gateway_faults.h"

#include "gateway/gateway_records.h"
#include "sqlite_faults.h"

#include <ctype.h>
#include <sqlite3.h>
#include <unistd.h>

enum { EVERY_MAX = 30 };

static const gateway_step *steps;
static size_t step_count;
static unsigned char contents[GATEWAY_STEPS_MAX + 1][KP_SHA256_SIZE]; /* after so many steps */
static uint64_t random_at;

/* ---------------------------------------------------------------- a world that repeats itself */

static int64_t stand_still(void *ctx)
{
	(void)ctx;
	return INT64_C(1700000000000);
}

static void count_bytes(void *ctx, void *out, size_t size)
{
	(void)ctx;
	for (size_t i = 0; i < size; i++)
		((unsigned char *)out)[i] = (unsigned char)next_random(&random_at);
}

static bool wants_all(void)
{
	const char *wanted = getenv("KEEP_TORTURE");

	return wanted && strcmp(wanted, "all") == 0;
}

/* ---------------------------------------------------------------- the content of a store */

/* The writers' counter counts what came to nothing, too. */
static bool is_of_the_moment(const kp_record *record)
{
	return strcmp(record->table, "store_changes") == 0;
}

/* Empty all tables of the store. */
static void empty_store(void)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = gateway_connect_behind();
	char sql[4096];
	size_t len = 0;

	for (size_t i = KP_GATEWAY_RECORD_COUNT; i-- > 0;)
		if (!is_of_the_moment(kp_gateway_records[i]))
			len += (size_t)snprintf(sql + len, sizeof sql - len, "DELETE FROM %s;",
						kp_gateway_records[i]->table);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(conn, sql, &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_close(&conn);
}

/* Two rounds make other UUIDs (they only grow): each becomes zeros. */
static void blank_ids(keep_buffer *text)
{
	static const char shape[] = "xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx";

	for (size_t at = 0; at + sizeof shape <= text->len; at++) {
		size_t same = 0;

		while (same < sizeof shape - 1 &&
		       (shape[same] == 'x' ? isxdigit((unsigned char)text->data[at + same]) != 0
					   : text->data[at + same] == shape[same]))
			same++;
		if (same == sizeof shape - 1)
			memset(text->data + at, '0', same);
	}
}

/* A number that a sequence gave to what came to nothing is not given again, and what is done again
   is one more change: each becomes 0. */
static void blank_numbers(const kp_record *record, char *row)
{
	for (size_t i = 0; i < record->field_count; i++)
		if (record->fields[i].flags & KP_FIELD_AUTO ||
		    strcmp(record->fields[i].name, "change") == 0)
			memset(row + record->fields[i].offset, 0, sizeof(int64_t));
}

static void add_table(kp_sql_conn *conn, const kp_record *record, keep_buffer *text)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_arena arena = {.head = NULL};
	kp_sql_stmt *stmt = NULL;
	kp_json_writer writer;
	void *items = NULL;
	size_t count = 0;
	char sql[200];

	snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY 1, 2", record->table);
	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	OK(kp_record_read_all(stmt, record, &arena, &items, &count, &err));
	kp_sql_finish(&stmt);
	kp_json_begin(&writer, text);
	kp_json_open_array(&writer);
	for (size_t i = 0; i < count; i++) {
		char *row = (char *)items + i * record->size;

		blank_numbers(record, row);
		OK(kp_record_json(record, row, &writer, &err));
	}
	kp_json_close_array(&writer);
	OK(kp_json_finish(&writer, &err));
	kp_arena_release(&arena);
}

/* The process's own number stands in lease columns; it is the same one all the time. */
static void read_content(unsigned char out[KP_SHA256_SIZE])
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer text = KEEP_BUFFER_INIT;
	kp_sql_conn *conn = gateway_connect_behind();

	OK(kp_sql_begin(conn, KP_SQL_READ, &err));
	for (size_t i = 0; i < KP_GATEWAY_RECORD_COUNT; i++)
		if (!is_of_the_moment(kp_gateway_records[i]))
			add_table(conn, kp_gateway_records[i], &text);
	kp_sql_rollback(conn);
	kp_sql_close(&conn);
	blank_ids(&text);
	OK(kp_sha256(kp_buffer_bytes(&text), out, &err));
	keep_buffer_release(&text);
}

static bool is_content(size_t done)
{
	unsigned char found[KP_SHA256_SIZE];

	read_content(found);
	return memcmp(found, contents[done], sizeof found) == 0;
}

/* ---------------------------------------------------------------- one round */

/* What a step does with random bytes and new ids depends on the step alone. */
static keep_status run_step(size_t step, keep_gateway *gateway, keep_error *err)
{
	random_at = 1000 * (uint64_t)(step + 1);
	return steps[step].run(gateway, err);
}

/* A server may still be busy with what came before its connection broke: give it a moment where a
   repetition would do harm. */
static bool is_stored_late(size_t step)
{
	for (int i = 0; i < 30; i++) {
		if (is_content(step + 1))
			return true;
		usleep(10000);
	}
	return false;
}

/* After step `step` failed with the faults now off: what is there is right, and it goes on. */
static void recover(size_t step, keep_status status, keep_gateway *gateway)
{
	bool is_uncertain = status == KEEP_UNCERTAIN;
	keep_error err = KEEP_ERROR_INIT;
	keep_status again;

	CHECK(is_content(step) || (is_uncertain && is_content(step + 1)),
	      "%s failed with %s and left something", steps[step].name, keep_status_name(status));
	if (is_uncertain && steps[step].is_once && is_stored_late(step))
		return;
	again = run_step(step, gateway, &err);
	CHECK(again == KEEP_OK || (is_uncertain && (steps[step].again & MAY(again))),
	      "%s again: %s: %s", steps[step].name, keep_status_name(again), err.message);
	CHECK(is_content(step + 1), "%s again left something else", steps[step].name);
}

/* The round's first failure, or OK. */
static keep_status run_round(enum kp_fault_kind kind, long nth, bool persistent, long *fired)
{
	keep_gateway *gateway = gateway_again(NULL);
	keep_error err = KEEP_ERROR_INIT;
	keep_status first = KEEP_OK;

	kp_fault_arm(kind, nth, persistent);
	for (size_t i = 0; i < step_count; i++) {
		keep_status status = run_step(i, gateway, &err);

		if (status == KEEP_OK)
			continue;
		CHECK(first == KEEP_OK, "%s failed without a fault: %s: %s", steps[i].name,
		      keep_status_name(status), err.message);
		*fired = kp_fault_disarm(kind);
		first = status;
		recover(i, status, gateway);
	}
	if (first == KEEP_OK)
		*fired = kp_fault_disarm(kind);
	keep_gateway_close(&gateway);
	CHECK(is_content(step_count), "the round with failure %ld ended with another content", nth);
	empty_store();
	return first;
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	long rounds = 0, live = kp_alloc_live();

	for (int persistent = 0; persistent <= 1; persistent++) {
		for (long nth = 1;;
		     nth = wants_all() || nth < EVERY_MAX ? nth + 1 : nth + nth / 4) {
			long fired = 0;
			keep_status status = run_round(kind, nth, persistent, &fired);

			CHECK(kp_alloc_live() == live, "failure %ld leaked %ld blocks", nth,
			      kp_alloc_live() - live);
			if (!fired)
				break;
			CHECK(status == KEEP_OK || (expected & MAY(status)), "failure %ld: %s", nth,
			      keep_status_name(status));
			rounds++;
		}
	}
	print_message("%ld rounds\n", rounds);
	assert_true(rounds > 0);
}

/* ---------------------------------------------------------------- the tests */

static int learn_contents(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	read_content(contents[0]);
	for (size_t i = 0; i < step_count; i++) {
		CHECK(run_step(i, gateway, &err) == KEEP_OK, "%s: %s", steps[i].name, err.message);
		read_content(contents[i + 1]);
	}
	keep_gateway_close(&gateway);
	empty_store();
	return 0;
}

static void a_failing_allocation_changes_nothing(void **state)
{
	unsigned expected = MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN);

	(void)state;
	/* libpq reports its own lack of memory as a lost connection. */
	fail_each(KP_FAULT_ALLOC, gateway_is_file() ? expected : expected | MAY(KEEP_UNAVAILABLE));
}

static void a_failing_driver_call_changes_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE));
}

static void a_lost_answer_to_a_commit_is_uncertain(void **state)
{
	(void)state;
	fail_each(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN));
}

static void a_failing_file_call_changes_nothing(void **state)
{
	(void)state;
	if (!gateway_is_file()) {
		fail_each(KP_FAULT_CONNECT, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN));
		return;
	}
	sqlite_faults_set_write_code(SQLITE_FULL);
	fail_each(KP_FAULT_FILE,
		  MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_BUSY) | MAY(KEEP_UNCERTAIN));
}

int gateway_faults_main(int argc, char **argv, const gateway_step *list, size_t count)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_allocation_changes_nothing),
		cmocka_unit_test(a_failing_driver_call_changes_nothing),
		cmocka_unit_test(a_lost_answer_to_a_commit_is_uncertain),
		cmocka_unit_test(a_failing_file_call_changes_nothing),
	};
	int failed;

	steps = list;
	step_count = count;
	sqlite_faults_install();
	gateway_begin(argc, argv);
	kp_clock_inject(stand_still, NULL);
	kp_random_inject(count_bytes, NULL);
	failed = cmocka_run_group_tests(tests, learn_contents, NULL);
	gateway_end();
	return failed;
}
