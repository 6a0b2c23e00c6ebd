/*
 * test_sqlite_faults.c - the Nth failure under the SQLite driver, N = 1, 2, … until none fires.
 *
 * The scenario: open a new file, create a table, commit twice, read, close. After each round the
 * faults stop and the file is opened again, as a process that starts after a crash would: what was
 * acknowledged is there, what failed is not, and what was UNCERTAIN is there or not, but whole.
 * A second loop kills the process after the failure instead of letting it close the file.
 */
#include "sql/sql.h"

#include "sqlite_faults.h"
#include "temp_folder.h"
#include "torture.h"

#include <sqlite3.h>
#include <sys/wait.h>

struct round {
	enum kp_fault_kind kind;
	temp_folder folder;
	char path[128];
	int commits;    /* acknowledged: 0 nothing, 1 the table, 2 one row, 3 all rows */
	bool uncertain; /* and perhaps one more */
	bool crash;     /* the process dies before it closes the file */
	long fired;
};

/* Remember how a change ended. */
static keep_status note(struct round *round, keep_status status)
{
	if (status == KEEP_OK)
		round->commits++;
	if (status == KEEP_UNCERTAIN)
		round->uncertain = true;
	return status;
}

static keep_status insert(kp_sql_conn *conn, const char *sql, int64_t time_ms, keep_error *err)
{
	static const char bytes[5000] = "more than a page";
	kp_value time = {.kind = KP_TIME, .integer = time_ms};
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_sql_prepare(conn, sql, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_bind_blob(stmt, 1, (keep_bytes){bytes, sizeof bytes}, err);
	if (status == KEEP_OK)
		status = kp_sql_bind(stmt, 2, &time, err);
	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	kp_sql_finish(&stmt);
	return status;
}

static keep_status change(struct round *round, kp_sql_conn *conn, int step, keep_error *err)
{
	keep_status status = kp_sql_begin(conn, KP_SQL_WRITE, err);

	if (status == KEEP_OK && step == 1)
		status = insert(conn, "INSERT INTO t(bytes, time) VALUES (?1, ?2)", 1, err);
	if (status == KEEP_OK && step == 2)
		status = insert(conn, "INSERT INTO t(bytes, time) VALUES (?1, ?2), (?1, ?2)", 2,
				err);
	if (status == KEEP_OK && step == 2)
		status = kp_sql_script(conn, "UPDATE t SET time = 'x' || time WHERE id = 1", err);
	if (status == KEEP_OK)
		return note(round, kp_sql_commit(conn, err));
	kp_sql_rollback(conn);
	return status;
}

/* 0 nothing, 1 the table, 2 one row, 3 all rows; -1: anything else. */
static keep_status read_state(kp_sql_conn *conn, int *out, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	int64_t rows = 0, changed = 0, sizes = 0;
	bool has_row = false;
	keep_status status =
		kp_sql_prepare(conn,
			       "SELECT count(*), count(*) FILTER (WHERE time LIKE 'x%'), "
			       "ifnull(sum(length(bytes)), 0) FROM t",
			       &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 0, &rows, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 1, &changed, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 2, &sizes, err);
	kp_sql_finish(&stmt);
	*out = -1;
	if (rows == 0)
		*out = 1;
	else if (rows == 1 && changed == 0 && sizes == 5000)
		*out = 2;
	else if (rows == 3 && changed == 1 && sizes == 15000)
		*out = 3;
	return status;
}

static keep_status play(struct round *round, keep_error *err)
{
	kp_sql_options options = {
		.location = round->path,
		.create = true,
		.mmap_bytes = 1 << 20,
		.cache_bytes = 1 << 16,
		.timeout_ms = 100,
	};
	kp_sql_conn *conn = NULL;
	int state = 0;
	keep_status status = kp_sql_open(&kp_sql_sqlite, &options, &conn, err);

	if (status == KEEP_OK)
		status = note(round, kp_sql_script(conn,
						   "CREATE TABLE t(id INTEGER PRIMARY KEY, "
						   "bytes BLOB, time TEXT) STRICT",
						   err));
	for (int step = 1; step <= 2 && status == KEEP_OK; step++)
		status = change(round, conn, step, err);
	if (status == KEEP_OK)
		status = read_state(conn, &state, err);
	if (status == KEEP_OK && state != 3)
		fail_msg("the round said OK and read state %d", state);
	if (!round->crash)
		kp_sql_close(&conn);
	return status;
}

/* Open the file as if after a crash, without faults. */
static void check_what_is_stored(struct round *round)
{
	kp_sql_options options = {.location = round->path};
	kp_sql_conn *conn = NULL;
	keep_error err = KEEP_ERROR_INIT;
	int state = 0;
	keep_status status = kp_sql_open(&kp_sql_sqlite, &options, &conn, &err);

	if (status != KEEP_NOT_FOUND) {
		CHECK(status == KEEP_OK, "opened again: %s", err.message);
		status = read_state(conn, &state, &err);
		if (status != KEEP_OK && strstr(err.message, "no such table"))
			state = 0;
		else
			CHECK(status == KEEP_OK, "read again: %s", err.message);
		OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
		OK(kp_sql_script(conn, "CREATE TABLE later(n); PRAGMA integrity_check", &err));
		OK(kp_sql_commit(conn, &err));
	}
	kp_sql_close(&conn);
	CHECK(state == round->commits || (round->uncertain && state == round->commits + 1),
	      "%d commits were acknowledged%s, and the state is %d", round->commits,
	      round->uncertain ? " and one is uncertain" : "", state);
}

static keep_status run(void *ctx)
{
	struct round *round = ctx;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	*round = (struct round){.kind = round->kind};
	temp_folder_make(&round->folder);
	(void)temp_path(&round->folder, "fault.db", round->path);
	status = play(round, &err);
	(void)kp_fault_disarm(round->kind);
	check_what_is_stored(round);
	temp_folder_remove(&round->folder);
	CHECK(sqlite3_memory_used() == 0, "SQLite holds %lld bytes", sqlite3_memory_used());
	return status;
}

/* Play in a child that dies with the file open; what it knew comes back through a pipe. */
static void play_and_crash(struct round *round, long nth)
{
	keep_error err = KEEP_ERROR_INIT;
	int pipe_fds[2], status = 0;
	pid_t pid;

	*round = (struct round){.kind = round->kind, .crash = true};
	temp_folder_make(&round->folder);
	(void)temp_path(&round->folder, "fault.db", round->path);
	assert_int_equal(pipe(pipe_fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		kp_fault_arm(round->kind, nth, false);
		(void)play(round, &err);
		round->fired = kp_fault_disarm(round->kind);
		if (write(pipe_fds[1], round, sizeof *round) != (ssize_t)sizeof *round)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(read(pipe_fds[0], round, sizeof *round), sizeof *round);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	check_what_is_stored(round);
	temp_folder_remove(&round->folder);
}

static void crash_after_each(enum kp_fault_kind kind)
{
	struct round round = {.kind = kind};
	long nth = 1;

	for (;; nth++) {
		play_and_crash(&round, nth);
		/* One failure alone is always undone. */
		CHECK(!round.uncertain || kind == KP_FAULT_COMMIT, "round %ld is uncertain", nth);
		if (round.fired == 0)
			break;
	}
	print_message("%ld rounds failed\n", nth - 1);
	assert_int_equal(round.commits, 3);
}

static void torture_kind(enum kp_fault_kind kind, unsigned expected)
{
	struct round round = {.kind = kind};
	long rounds = torture(kind, expected, run, &round);

	print_message("%ld rounds failed\n", rounds);
	assert_true(rounds > 0);
}

#define FILE_STATUSES                                                                              \
	(MAY(KEEP_OK) | MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_DENIED) |                \
	 MAY(KEEP_NOT_FOUND) | MAY(KEEP_UNCERTAIN) | MAY(KEEP_NO_MEMORY) | MAY(KEEP_BUSY))

static void every_failed_allocation_is_survived(void **state)
{
	(void)state;
	torture_kind(KP_FAULT_ALLOC, MAY(KEEP_OK) | MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN));
}

static void every_failed_file_call_on_a_full_disk_is_survived(void **state)
{
	(void)state;
	sqlite_faults_set_write_code(SQLITE_FULL);
	torture_kind(KP_FAULT_FILE, FILE_STATUSES);
}

static void every_failed_file_call_of_a_broken_disk_is_survived(void **state)
{
	(void)state;
	sqlite_faults_set_write_code(SQLITE_IOERR_WRITE);
	torture_kind(KP_FAULT_FILE, FILE_STATUSES);
}

static void every_failed_driver_call_is_survived(void **state)
{
	(void)state;
	torture_kind(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE));
}

static void every_lost_answer_to_a_commit_is_uncertain(void **state)
{
	(void)state;
	torture_kind(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN));
}

static void a_crash_after_a_failed_file_call_brings_nothing_back(void **state)
{
	(void)state;
	sqlite_faults_set_write_code(SQLITE_FULL);
	crash_after_each(KP_FAULT_FILE);
}

static void a_crash_after_a_failed_allocation_brings_nothing_back(void **state)
{
	(void)state;
	crash_after_each(KP_FAULT_ALLOC);
}

/* The files beside the database: the ring is opened, used and opened again. */
static keep_status use_ring(void *ctx)
{
	enum kp_fault_kind kind = *(enum kp_fault_kind *)ctx;
	kp_notify *first = NULL, *second = NULL;
	keep_error err = KEEP_ERROR_INIT;
	uint64_t position = 0;
	temp_folder folder;
	char path[128];
	keep_status status;

	temp_folder_make(&folder);
	status = kp_notify_open(temp_path(&folder, "ring.db", path), &first, &err);
	if (status == KEEP_OK)
		status = kp_notify_open(path, &second, &err);
	(void)kp_fault_disarm(kind);
	kp_notify_close(&second);
	/* Whatever failed, the next one has a ring that works. */
	OK(kp_notify_open(path, &second, &err));
	kp_notify_post(second, KEEP_BYTES("topic"));
	assert_true(!first || kp_notify_wait(first, &position, 0, NULL, NULL, NULL));
	kp_notify_close(&first);
	kp_notify_close(&second);
	temp_folder_remove(&folder);
	return status;
}

static void every_failure_to_open_the_ring_is_survived(void **state)
{
	enum kp_fault_kind alloc = KP_FAULT_ALLOC, file = KP_FAULT_FILE;

	(void)state;
	assert_true(torture(alloc, MAY(KEEP_NO_MEMORY), use_ring, &alloc) > 0);
	assert_true(torture(file, FILE_STATUSES, use_ring, &file) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_failed_allocation_is_survived),
		cmocka_unit_test(every_failed_file_call_on_a_full_disk_is_survived),
		cmocka_unit_test(every_failed_file_call_of_a_broken_disk_is_survived),
		cmocka_unit_test(every_failed_driver_call_is_survived),
		cmocka_unit_test(every_lost_answer_to_a_commit_is_uncertain),
		cmocka_unit_test(a_crash_after_a_failed_file_call_brings_nothing_back),
		cmocka_unit_test(a_crash_after_a_failed_allocation_brings_nothing_back),
		cmocka_unit_test(every_failure_to_open_the_ring_is_survived),
	};

	sqlite_faults_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
