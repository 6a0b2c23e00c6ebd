/*
 * test_record_faults.c - one life of a database, with each thing in it failing once.
 *
 * A round arms one fault, lives, disarms, and then looks: whatever was reported must be true. A
 * failed migration left no trace of itself, a commit that was reported is there, and what was not
 * reported as committed or uncertain is not there. torture.h looks only at the status, so the loop
 * is here.
 *
 * Runs once for each backend (KEEP_TEST_BACKEND, see sql_backend.h).
 */
#include "sample_records.h"
#include "sample_tables.h"
#include "sql_backend.h"
#include "torture.h"

#include <signal.h>
#include <sys/wait.h>

static sql_backend backend;
static kp_sql_options options;

static const char note_sql[] =
	"CREATE TABLE note (id bigint PRIMARY KEY); INSERT INTO note VALUES (1)";

/* How far a life came: the last thing that was reported as done. */
typedef enum progress { NOTHING, MIGRATED, STORED, READ_AGAIN } progress;

static kp_sample_plain make_plain(void)
{
	return (kp_sample_plain){
		.id = KEEP_BYTES("one"),
		.text_value = KEEP_BYTES("text"),
		.blob_value = KEEP_BYTES("\x00\xff"),
		.int_value = 7,
		.real_value = 0.5,
		.bool_value = true,
		.time_value = INT64_C(1775927901000),
		.json_value = KEEP_BYTES("{\"a\": 1}"),
	};
}

static keep_status migrate_to(kp_sql_conn *conn, size_t version, keep_error *err)
{
	const kp_migration list[] = {
		{1, "0001_tables", kp_sample_files[backend.driver->dialect].bytes},
		{2, "0002_note", note_sql},
	};
	const kp_migrations some = {.service = "sample", .list = list, .count = version};

	return kp_migrate(conn, &some, err);
}

static keep_status store(kp_sql_conn *conn, keep_error *err)
{
	kp_sample_plain plain = make_plain();
	kp_sample_auto task = {.plain_id = plain.id, .status = KEEP_BYTES("pending"), .rank = 1};
	bool existed = false;
	keep_status status = kp_sql_begin(conn, KP_SQL_WRITE, err);

	if (status == KEEP_OK)
		status = kp_record_put(conn, &kp_sample_plain_record, &plain, err);
	if (status == KEEP_OK)
		status = kp_record_add(conn, &kp_sample_plain_record, &plain, &existed, err);
	if (status == KEEP_OK && !existed)
		status = kp_fail(err, KEEP_MISUSE, "a record that was put is not there");
	if (status == KEEP_OK)
		status = kp_record_append(conn, &kp_sample_auto_record, &task, err);
	if (status == KEEP_OK)
		status = kp_sql_commit(conn, err);
	if (status != KEEP_OK)
		kp_sql_rollback(conn);
	return status;
}

static keep_status read_again(kp_sql_conn *conn, keep_error *err)
{
	kp_sample_plain expected = make_plain(), found = {.id = expected.id};
	kp_arena arena = {.head = NULL};
	keep_buffer json = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status = kp_record_get(conn, &kp_sample_plain_record, &found, &arena, err);

	kp_json_begin(&writer, &json);
	if (status == KEEP_OK)
		status = kp_record_json(&kp_sample_plain_record, &found, &writer, err);
	if (status == KEEP_OK)
		status = kp_json_finish(&writer, err);
	if (status == KEEP_OK)
		CHECK(kp_bytes_equal(found.json_value, expected.json_value) && found.int_value == 7,
		      "a round that went well read something else");
	kp_arena_release(&arena);
	keep_buffer_release(&json);
	return status;
}

static keep_status live(progress *reached, keep_error *err)
{
	kp_sql_conn *conn = NULL;
	keep_status status = kp_sql_open(backend.driver, &options, &conn, err);

	*reached = NOTHING;
	if (status == KEEP_OK)
		status = migrate_to(conn, 1, err);
	if (status == KEEP_OK)
		status = migrate_to(conn, 2, err);
	if (status == KEEP_OK) {
		*reached = MIGRATED;
		status = store(conn, err);
	}
	if (status == KEEP_OK) {
		*reached = STORED;
		status = read_again(conn, err);
	}
	if (status == KEEP_OK)
		*reached = READ_AGAIN;
	kp_sql_close(&conn);
	return status;
}

/* What is really there, seen without faults. */
static void look(progress reached, keep_status status, long round)
{
	kp_sql_conn *conn = NULL;
	keep_error err = KEEP_ERROR_INIT;
	int version = 0;
	int64_t plains = 0, tasks = 0;

	if (reached == NOTHING && kp_sql_open(backend.driver, &options, &conn, NULL) != KEEP_OK)
		return; /* it was never made */
	if (!conn)
		OK(kp_sql_open(backend.driver, &options, &conn, &err));
	OK(kp_migrate_version(conn, "sample", &version, &err));
	CHECK(reached == NOTHING || version == 2, "round %ld: version %d", round, version);
	if (version == 2)
		assert_int_equal(query_int(conn, "SELECT count(*) FROM note"), 1);
	if (version > 0) {
		plains = query_int(conn, "SELECT count(*) FROM sample_plains");
		tasks = query_int(conn, "SELECT count(*) FROM sample_autos");
	}
	CHECK(plains == tasks && plains <= 1, "round %ld: half a transaction", round);
	CHECK(reached < STORED || plains == 1, "round %ld: a commit was lost", round);
	CHECK(reached >= STORED || status == KEEP_UNCERTAIN || plains == 0,
	      "round %ld: %s, but it is stored", round, keep_status_name(status));
	/* And the same life without faults goes well from wherever it stopped. */
	OK(migrate_to(conn, 2, &err));
	backend_drop(&backend, &conn);
}

static void live_with_faults(enum kp_fault_kind kind, unsigned expected, bool persistent)
{
	for (long round = 1;; round++) {
		progress reached = NOTHING;
		keep_error err = KEEP_ERROR_INIT;
		keep_status status = KEEP_OK;
		long fired = 0;

		options = backend_fresh(&backend);
		kp_fault_arm(kind, round, persistent);
		status = live(&reached, &err);
		fired = kp_fault_disarm(kind);
		CHECK(kp_alloc_live() == 0, "round %ld: %ld blocks leaked", round, kp_alloc_live());
		CHECK(status == KEEP_OK || err.message[0] != '\0', "round %ld: no message", round);
		CHECK(status != KEEP_OK || reached == READ_AGAIN, "round %ld", round);
		look(reached, status, round);
		if (fired == 0) {
			CHECK(status == KEEP_OK, "the clean round: %s", err.message);
			print_message("   %ld rounds survived\n", round - 1);
			return;
		}
		CHECK(expected & MAY(status), "round %ld: %s: %s", round, keep_status_name(status),
		      err.message);
	}
}

static void a_failing_driver_call_leaves_nothing_half_done(void **state)
{
	(void)state;
	live_with_faults(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE), false);
	live_with_faults(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE), true);
}

static void a_failing_allocation_leaves_nothing_half_done(void **state)
{
	unsigned expected = MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK);

	(void)state;
	live_with_faults(KP_FAULT_ALLOC, expected, false);
	/* Without memory from the commit on, SQLite cannot undo it either, and the driver says
	   so. */
	live_with_faults(KP_FAULT_ALLOC, expected | MAY(KEEP_UNCERTAIN), true);
}

static void a_commit_whose_answer_is_lost_is_uncertain_and_done(void **state)
{
	(void)state;
	live_with_faults(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN), false);
}

static void die(void *ctx, const char *name)
{
	if (strcmp(name, ctx) == 0)
		(void)raise(SIGKILL);
}

static void a_process_killed_before_the_commit_migrated_nothing(void **state)
{
	static char moment[] = "migrate.applied";
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;
	int ended = 0, version = -1;
	pid_t child = 0;

	(void)state;
	options = backend_fresh(&backend);
	(void)fflush(NULL);
	child = fork();
	CHECK(child >= 0, "fork");
	if (child == 0) {
		progress reached = NOTHING;

		kp_moment_inject(die, moment);
		_exit(live(&reached, &err) == KEEP_OK ? 0 : 1);
	}
	CHECK(waitpid(child, &ended, 0) == child, "wait");
	CHECK(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL, "it was not killed");
	OK(kp_sql_open(backend.driver, &options, &conn, &err));
	OK(kp_migrate_version(conn, "sample", &version, &err));
	assert_int_equal(version, 0);
	OK(migrate_to(conn, 2, &err)); /* nothing holds the lock any more */
	backend_drop(&backend, &conn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_driver_call_leaves_nothing_half_done),
		cmocka_unit_test(a_failing_allocation_leaves_nothing_half_done),
		cmocka_unit_test(a_commit_whose_answer_is_lost_is_uncertain_and_done),
		cmocka_unit_test(a_process_killed_before_the_commit_migrated_nothing),
	};
	int failed = backend_open(&backend);

	if (failed)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	backend_close(&backend);
	return failed;
}
