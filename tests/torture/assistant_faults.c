/* assistant_faults.c - see assistant_faults.h. */
#include "assistant_faults.h"

#include "assistant/assistant_records.h"
#include "sqlite_faults.h"

#include <sqlite3.h>
#include <unistd.h>

enum { SETTLE_TRIES = 100 };

static const assistant_operation *operations;
static size_t operation_count;
static keep_assistant *assistant;
static kp_sql_conn *behind; /* looks at the tables */
static long rounds;

static bool wants_all(void)
{
	const char *wanted = getenv("KEEP_TORTURE");

	return wanted && strcmp(wanted, "all") == 0;
}

/* A sample is thinner where each round asks a server. */
static long next_nth(long nth)
{
	long every = assistant_is_file() ? 14 : 6, part = assistant_is_file() ? 3 : 2;

	return wants_all() || nth < every ? nth + 1 : nth + nth / part;
}

/* ---------------------------------------------------------------- what is there */

/* Everything but the log itself, and what counts without meaning anything. */
static bool is_content(const kp_record *record)
{
	static const char *const others[] = {"audit_log", "audit_heads", "assistant_turns",
					     "assistant_values", "derived_marks"};

	for (size_t i = 0; i < KP_COUNT(others); i++)
		if (strcmp(record->table, others[i]) == 0)
			return false;
	return !(record->flags & KP_FIELD_POSTGRES) || !assistant_is_file();
}

struct state {
	unsigned char content[KP_SHA256_SIZE];
	int64_t entries;
};

/* JSON masks them; here they count. */
static void add_secrets(const kp_record *record, const char *row, keep_buffer *text)
{
	keep_error err = KEEP_ERROR_INIT;

	for (size_t i = 0; i < record->field_count; i++) {
		keep_bytes secret = {NULL, 0};

		if (!(record->fields[i].flags & KP_FIELD_SECRET))
			continue;
		memcpy(&secret, row + record->fields[i].offset, sizeof secret);
		if (secret.data)
			OK(kp_buffer_append(text, secret, &err));
	}
}

static void add_table(const kp_record *record, keep_buffer *text)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_arena arena = {.head = NULL};
	kp_sql_stmt *stmt = NULL;
	kp_json_writer writer;
	void *items = NULL;
	size_t count = 0;
	char sql[200];

	snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY 1", record->table);
	OK(kp_sql_prepare(behind, sql, &stmt, &err));
	OK(kp_record_read_all(stmt, record, &arena, &items, &count, &err));
	kp_sql_finish(&stmt);
	kp_json_begin(&writer, text);
	kp_json_open_array(&writer);
	for (size_t i = 0; i < count; i++)
		OK(kp_record_json(record, (char *)items + i * record->size, &writer, &err));
	kp_json_close_array(&writer);
	OK(kp_json_finish(&writer, &err));
	for (size_t i = 0; i < count; i++)
		add_secrets(record, (char *)items + i * record->size, text);
	kp_arena_release(&arena);
}

static void read_entries(int64_t *entries)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;

	OK(kp_sql_prepare(behind, "SELECT seq FROM audit_heads", &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	OK(kp_sql_column_int(stmt, 0, entries, &err));
	kp_sql_finish(&stmt);
}

static void read_state(struct state *state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer text = KEEP_BUFFER_INIT;

	OK(kp_sql_begin(behind, KP_SQL_READ, &err));
	for (size_t i = 0; i < KP_ASSISTANT_RECORD_COUNT; i++)
		if (is_content(kp_assistant_records[i]))
			add_table(kp_assistant_records[i], &text);
	read_entries(&state->entries);
	kp_sql_rollback(behind);
	OK(kp_sha256(kp_buffer_bytes(&text), state->content, &err));
	keep_buffer_release(&text);
}

/* ---------------------------------------------------------------- one round */

static void check_round(const assistant_operation *operation, const struct state *before,
			keep_status status)
{
	struct state after;
	bool is_same, may_fail = operation->is_access && status != KEEP_OK;
	int64_t added;

	read_state(&after);
	is_same = memcmp(before->content, after.content, sizeof after.content) == 0;
	added = after.entries - before->entries;
	if (operation->is_access) {
		CHECK(is_same, "%s changed something", operation->name);
		CHECK(added == operation->entries || (may_fail && added == 0),
		      "%s: %s with %lld entries", operation->name, keep_status_name(status),
		      (long long)added);
		return;
	}
	CHECK(is_same ? added == 0 : added == operation->entries,
	      "%s: %s, the content %s, %lld entries", operation->name, keep_status_name(status),
	      is_same ? "stayed" : "changed", (long long)added);
	CHECK(status == KEEP_UNCERTAIN || is_same == (status != KEEP_OK), "%s: %s, the content %s",
	      operation->name, keep_status_name(status), is_same ? "stayed" : "changed");
}

/* After a connection broke, a server may be at its transaction for a moment longer. */
static void settle(void)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = KEEP_BUSY;
	const keep_audit_entry entry = {.event_type = KEEP_BYTES("settled")};

	for (int i = 0; i < SETTLE_TRIES && status != KEEP_OK; i++)
		status = keep_assistant_audit(assistant, &entry, NULL, &err);
	CHECK(status == KEEP_OK, "the store does not go on: %s", err.message);
}

/* *fired: how often; 0 ends the list of N. */
static void run_round(const assistant_operation *operation, enum kp_fault_kind kind, long nth,
		      bool persistent, unsigned expected, long *fired)
{
	struct state before;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	char id[32];

	snprintf(id, sizeof id, "r%ld", ++rounds);
	if (operation->prepare)
		operation->prepare(assistant, id);
	settle();
	read_state(&before);
	kp_fault_arm(kind, nth, persistent);
	status = operation->run(assistant, id, &err);
	*fired = kp_fault_disarm(kind);
	CHECK(status == KEEP_OK || (*fired && (expected & MAY(status))), "%s, failure %ld: %s: %s",
	      operation->name, nth, keep_status_name(status), err.message);
	if (status == KEEP_UNCERTAIN)
		usleep(assistant_is_file() ? 0 : 20000);
	check_round(operation, &before, status);
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_audit_report report;
	long begun = rounds;

	for (size_t i = 0; i < operation_count; i++)
		for (int persistent = 0; persistent <= 1; persistent++)
			for (long nth = 1;; nth = next_nth(nth)) {
				long fired = 0;

				CHECK(nth < TORTURE_MAX, "%s never finishes", operations[i].name);
				run_round(&operations[i], kind, nth, persistent, expected, &fired);
				if (!fired)
					break;
			}
	OK(keep_assistant_verify_audit(assistant, &memory, &report, &err));
	CHECK(report.is_intact, "%" KP_PRI, KP_ARG(report.reason));
	keep_memory_release(&memory);
	print_message("%ld rounds\n", rounds - begun);
	assert_true(rounds - begun > (long)operation_count);
}

/* ---------------------------------------------------------------- the tests */

static void a_failing_allocation_leaves_neither_or_both(void **state)
{
	unsigned expected = MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN);

	(void)state;
	/* libpq reports its own lack of memory as a lost connection. */
	fail_each(KP_FAULT_ALLOC,
		  assistant_is_file() ? expected : expected | MAY(KEEP_UNAVAILABLE));
}

static void a_failing_driver_call_leaves_neither_or_both(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE));
}

static void a_lost_answer_to_a_commit_leaves_both_or_neither(void **state)
{
	(void)state;
	fail_each(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN));
}

static void a_failing_file_or_connection_leaves_neither_or_both(void **state)
{
	(void)state;
	if (!assistant_is_file()) {
		fail_each(KP_FAULT_CONNECT, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN));
		return;
	}
	sqlite_faults_set_write_code(SQLITE_FULL);
	/* Vectors that cannot be mapped have no memory. */
	fail_each(KP_FAULT_FILE, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_BUSY) |
					 MAY(KEEP_UNCERTAIN) | MAY(KEEP_NO_MEMORY));
}

static int open_store(void **state)
{
	(void)state;
	assistant = assistant_fresh();
	behind = assistant_connect_behind();
	return 0;
}

static int close_store(void **state)
{
	(void)state;
	kp_sql_close(&behind);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	return kp_alloc_live() ? -1 : 0;
}

int assistant_faults_main(int argc, char **argv, const assistant_operation *list, size_t count)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_failing_allocation_leaves_neither_or_both,
						open_store, close_store),
		cmocka_unit_test_setup_teardown(a_failing_driver_call_leaves_neither_or_both,
						open_store, close_store),
		cmocka_unit_test_setup_teardown(a_lost_answer_to_a_commit_leaves_both_or_neither,
						open_store, close_store),
		cmocka_unit_test_setup_teardown(a_failing_file_or_connection_leaves_neither_or_both,
						open_store, close_store),
	};
	int failed;

	operations = list;
	operation_count = count;
	sqlite_faults_install();
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
