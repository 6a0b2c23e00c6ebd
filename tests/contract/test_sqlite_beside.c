/*
 * test_sqlite_beside.c - two SQLite files, each written by one side and read by the other.
 *
 * The other side is not trusted: its file may be cut, replaced, or hold what never ends. Writers
 * are child processes that are killed in the middle of a transaction. mmap is this program's own,
 * so that a test can take shared maps away from SQLite and the library.
 */
#include "sql/sql.h"

#include "temp_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static keep_error err; /* of the last call that failed */
static bool no_shared_maps;
static int shared_maps; /* asked for */

#pragma GCC visibility push(default)
void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset);
#pragma GCC visibility pop

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
	if ((flags & MAP_TYPE) == MAP_SHARED) {
		shared_maps++;
		if (no_shared_maps) {
			errno = ENODEV;
			return MAP_FAILED;
		}
	}
	/* NOLINTNEXTLINE: the kernel answers with an address */
	return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, offset);
}

struct rig {
	temp_folder folder;
	char a[128], b[128];
};

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof *rig);

	temp_folder_make(&rig->folder);
	(void)temp_path(&rig->folder, "a%?#.db", rig->a); /* a path that a URI must escape */
	(void)temp_path(&rig->folder, "b &%41.db", rig->b);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	no_shared_maps = false;
	temp_folder_remove(&rig->folder);
	free(rig);
	assert_nothing_lives();
	return 0;
}

/* ---------------------------------------------------------------- both sides */

static const char schema[] = "CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, v)";

static void make_file(const char *path, kp_sql_journal journal)
{
	kp_sql_options options = {.location = path, .create = true, .journal = journal};
	kp_sql_conn *conn = NULL;

	OK(kp_sql_open(&kp_sql_sqlite, &options, &conn, &err));
	OK(kp_sql_script(conn, schema, &err));
	OK(kp_sql_script(conn, "INSERT INTO t VALUES (1, 'one')", &err));
	kp_sql_close(&conn);
}

static kp_sql_options options_of(struct rig *rig, kp_sql_journal journal)
{
	return (kp_sql_options){.location = rig->a, .beside = rig->b, .journal = journal};
}

static kp_sql_conn *open_with(const kp_sql_options *options)
{
	kp_sql_conn *conn = NULL;

	OK(kp_sql_open(&kp_sql_sqlite, options, &conn, &err));
	return conn;
}

static keep_status fail_to_open(const kp_sql_options *options)
{
	kp_sql_conn *conn = NULL;
	keep_status status = kp_sql_open(&kp_sql_sqlite, options, &conn, &err);

	assert_null(conn);
	return status;
}

/* Both files, and a connection to a that reads b. */
static kp_sql_conn *open_pair(struct rig *rig, kp_sql_journal journal)
{
	kp_sql_options options = options_of(rig, journal);

	make_file(rig->a, journal);
	make_file(rig->b, journal);
	return open_with(&options);
}

static keep_status read_int(kp_sql_conn *conn, const char *sql, int64_t *out)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_sql_prepare(conn, sql, &stmt, &err);

	*out = -1;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, &err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_int(stmt, 0, out, &err);
	kp_sql_finish(&stmt);
	return status;
}

static int64_t query_int(kp_sql_conn *conn, const char *sql)
{
	int64_t value;

	OK(read_int(conn, sql, &value));
	return value;
}

static void run_plain(const char *path, const char *sql)
{
	sqlite3 *db = NULL;
	char *message = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	(void)sqlite3_busy_timeout(db, 5000);
	CHECK(sqlite3_exec(db, sql, NULL, NULL, &message) == SQLITE_OK, "%s", message);
	sqlite3_close(db);
}

static bool is_there(const char *path, const char *suffix)
{
	char name[160];

	(void)snprintf(name, sizeof name, "%s%s", path, suffix);
	return access(name, F_OK) == 0;
}

/* A child that changes b in a transaction, lets its pages out of the cache, and is killed. */
static void kill_a_writer(struct rig *rig)
{
	int ready[2], status = 0;
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		sqlite3 *db = NULL;

		if (sqlite3_open(rig->b, &db) == SQLITE_OK &&
		    sqlite3_exec(db,
				 "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN;"
				 "UPDATE t SET v = 'lost';"
				 "WITH RECURSIVE c(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c"
				 " LIMIT 500) INSERT INTO t SELECT n, zeroblob(2000) FROM c",
				 NULL, NULL, NULL) == SQLITE_OK)
			(void)!write(ready[1], "r", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* ---------------------------------------------------------------- attaching */

static void the_other_file_is_read_and_never_written(void **state)
{
	struct rig *rig = *state;

	for (int i = KP_JOURNAL_WAL; i <= KP_JOURNAL_ROLLBACK; i++) {
		kp_sql_conn *conn = open_pair(rig, (kp_sql_journal)i);

		assert_int_equal(!!(conn->caps & KP_SQL_LOG), i == KP_JOURNAL_WAL);
		assert_int_equal(!!(conn->caps & KP_SQL_OTHER_LOG), i == KP_JOURNAL_WAL);
		assert_int_equal(query_int(conn, "SELECT count(*) FROM other.t"), 1);
		run_plain(rig->b, "INSERT OR IGNORE INTO t VALUES (7, 'new')");
		assert_int_equal(query_int(conn, "SELECT max(n) FROM other.t"), 7);
		assert_int_equal(kp_sql_script(conn, "DELETE FROM other.t", &err), KEEP_DENIED);
		assert_int_equal(query_int(conn, "PRAGMA cell_size_check"), 1);
		kp_sql_close(&conn);
		run_plain(rig->b, "DELETE FROM t WHERE n = 7");
		assert_int_equal(unlink(rig->a), 0);
		assert_int_equal(unlink(rig->b), 0);
	}
}

static void nothing_is_mapped_beside_another_file(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = options_of(rig, KP_JOURNAL_WAL);
	kp_sql_conn *conn;

	options.mmap_bytes = 1 << 20;
	make_file(rig->a, KP_JOURNAL_WAL);
	make_file(rig->b, KP_JOURNAL_WAL);
	conn = open_with(&options);
	assert_int_equal(query_int(conn, "PRAGMA main.mmap_size"), 0);
	assert_int_equal(query_int(conn, "PRAGMA other.mmap_size"), 0);
	kp_sql_close(&conn);
}

static void what_is_no_database_is_told_apart(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = options_of(rig, KP_JOURNAL_WAL);
	char garbage[8192], folder_entry[160];

	make_file(rig->a, KP_JOURNAL_WAL);
	assert_int_equal(fail_to_open(&options), KEEP_NOT_FOUND);
	CHECK(strstr(err.message, "b &%41.db"), "%s", err.message);
	memset(garbage, 'x', sizeof garbage);
	int fd = open(rig->b, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(fail_to_open(&options), KEEP_NOT_FOUND);
	assert_int_equal(write(fd, garbage, sizeof garbage), sizeof garbage);
	assert_int_equal(fail_to_open(&options), KEEP_CORRUPT);
	assert_int_equal(ftruncate(fd, 10), 0);
	close(fd);
	assert_int_equal(fail_to_open(&options), KEEP_CORRUPT);
	assert_int_equal(unlink(rig->b), 0);
	assert_int_equal(symlink(rig->a, rig->b), 0);
	assert_int_equal(fail_to_open(&options), KEEP_CORRUPT); /* not the caller's input */
	assert_int_equal(unlink(rig->b), 0);
	make_file(rig->b, KP_JOURNAL_ROLLBACK);
	(void)snprintf(folder_entry, sizeof folder_entry, "%s-journal", rig->b);
	assert_int_equal(mkfifo(folder_entry, 0600), 0); /* opening it would wait for ever */
	assert_int_equal(fail_to_open(&options), KEEP_CORRUPT);
}

static void a_cut_file_is_corrupt(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = options_of(rig, KP_JOURNAL_ROLLBACK);
	kp_sql_conn *conn = open_pair(rig, KP_JOURNAL_ROLLBACK);
	int64_t count;

	run_plain(rig->b, "INSERT INTO t VALUES (2, zeroblob(50000))");
	assert_int_equal(query_int(conn, "SELECT count(*) FROM other.t"), 2);
	assert_int_equal(truncate(rig->b, 3 * 4096), 0);
	run_plain(rig->a, "INSERT INTO t VALUES (3, 0)");
	assert_int_equal(read_int(conn, "SELECT sum(length(v || '')) FROM other.t", &count),
			 KEEP_CORRUPT);
	kp_sql_close(&conn);
	assert_int_equal(truncate(rig->b, 4096 + 100), 0);
	assert_int_equal(fail_to_open(&options), KEEP_CORRUPT);
}

static void a_replaced_or_deleted_file_is_noticed(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn = open_pair(rig, KP_JOURNAL_ROLLBACK);
	char aside[160];

	(void)snprintf(aside, sizeof aside, "%s.aside", rig->b);
	OK(kp_sql_check(conn, &err));
	assert_int_equal(rename(rig->b, aside), 0);
	make_file(rig->b, KP_JOURNAL_ROLLBACK);
	assert_int_equal(kp_sql_check(conn, &err), KEEP_UNAVAILABLE);
	CHECK(strstr(err.message, "b &"), "%s", err.message);
	assert_true(conn->broken);
	kp_sql_close(&conn);
}

static void a_map_that_was_cut_is_found_before_it_is_used(void **state)
{
	struct rig *rig = *state;
	const char *paths[] = {rig->a, rig->b};

	for (int i = 0; i < 2; i++) {
		kp_sql_conn *conn = open_pair(rig, KP_JOURNAL_WAL);
		char map[160];

		OK(kp_sql_check(conn, &err));
		(void)snprintf(map, sizeof map, "%s-shm", paths[i]);
		assert_int_equal(truncate(map, 100), 0);
		assert_int_equal(kp_sql_check(conn, &err), KEEP_CORRUPT);
		CHECK(strstr(err.message, "-shm"), "%s", err.message);
		assert_true(conn->broken);
		assert_int_equal(kp_sql_begin(conn, KP_SQL_WRITE, &err), KEEP_CORRUPT);
		kp_sql_close(&conn); /* with the map as it is: no SIGBUS */
		temp_folder_remove(&rig->folder);
		temp_folder_make(&rig->folder);
		(void)temp_path(&rig->folder, "a.db", rig->a);
		(void)temp_path(&rig->folder, "b.db", rig->b);
	}
}

static void the_other_file_may_become_a_log_while_it_is_read(void **state)
{
	struct rig *rig = *state;
	kp_sql_options plain = {.location = rig->b};
	kp_sql_conn *conn = open_pair(rig, KP_JOURNAL_ROLLBACK), *writer;

	assert_false(conn->caps & KP_SQL_OTHER_LOG);
	writer = open_with(&plain);
	OK(kp_sql_check(conn, &err));
	assert_true(conn->caps & KP_SQL_OTHER_LOG);
	OK(kp_sql_script(writer, "INSERT INTO t VALUES (2, 0)", &err));
	assert_int_equal(query_int(conn, "SELECT count(*) FROM other.t"), 2);
	kp_sql_close(&writer);
	kp_sql_close(&conn);
}

/* ---------------------------------------------------------------- journals and the guard */

static void a_rollback_file_has_no_guard_and_no_map(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn;

	no_shared_maps = true;
	shared_maps = 0;
	conn = open_pair(rig, KP_JOURNAL_ROLLBACK);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(conn, "INSERT INTO t SELECT n + 1, v FROM other.t", &err));
	OK(kp_sql_commit(conn, &err));
	assert_int_equal(query_int(conn, "SELECT count(*) FROM main.t"), 2);
	assert_int_equal(query_int(conn, "PRAGMA main.mmap_size"), 0);
	assert_int_equal(query_int(conn, "PRAGMA synchronous"), 2);
	assert_false(is_there(rig->a, "-guard") || is_there(rig->a, "-shm") ||
		     is_there(rig->a, "-wal"));
	kp_sql_maintain(conn);
	kp_sql_tend(conn);
	kp_sql_close(&conn);
	assert_int_equal(shared_maps, 0);
	/* and a file in WAL mode does need them */
	kp_sql_options options = {.location = rig->a};
	assert_int_not_equal(fail_to_open(&options), KEEP_OK);
	assert_true(shared_maps > 0);
}

static void a_log_is_turned_into_a_rollback_file_without_a_map(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = {.location = rig->a, .timeout_ms = 50};
	kp_sql_conn *conn, *elsewhere;

	make_file(rig->a, KP_JOURNAL_WAL);
	elsewhere = open_with(&options);
	options.journal = KP_JOURNAL_ROLLBACK;
	assert_int_equal(fail_to_open(&options), KEEP_BUSY);
	kp_sql_close(&elsewhere);
	no_shared_maps = true;
	conn = open_with(&options);
	assert_false(conn->caps & KP_SQL_LOG);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM t"), 1);
	run_plain(rig->a, "INSERT INTO t VALUES (2, 0)"); /* nothing is locked any more */
	no_shared_maps = false;
	run_plain(rig->a, "PRAGMA journal_mode = wal");
	assert_int_equal(kp_sql_begin(conn, KP_SQL_WRITE, &err), KEEP_UNAVAILABLE);
	kp_sql_close(&conn);
}

static void a_file_may_be_taken_as_it_is(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = {.location = rig->a, .create = true, .journal = KP_JOURNAL_AS_IS};
	kp_sql_conn *conn;

	make_file(rig->b, KP_JOURNAL_ROLLBACK);
	conn = open_with(&options);
	assert_true(conn->caps & KP_SQL_LOG);
	assert_true(is_there(rig->a, "-guard"));
	kp_sql_close(&conn);
	options.location = rig->b;
	conn = open_with(&options);
	assert_false(conn->caps & KP_SQL_LOG);
	OK(kp_sql_script(conn, "INSERT INTO t VALUES (2, 0)", &err));
	assert_false(is_there(rig->b, "-guard") || is_there(rig->b, "-wal"));
	kp_sql_close(&conn);
}

static void the_guard_may_lie_elsewhere(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = {.location = rig->a, .create = true, .guard = rig->b};
	kp_sql_conn *conn = open_with(&options);

	assert_true(is_there(rig->b, "-guard"));
	assert_false(is_there(rig->a, "-guard"));
	OK(kp_sql_script(conn, schema, &err));
	kp_sql_close(&conn);
}

static void a_soon_commit_is_not_synced_and_the_next_one_is(void **state)
{
	struct rig *rig = *state;

	for (int i = KP_JOURNAL_WAL; i <= KP_JOURNAL_ROLLBACK; i++) {
		kp_sql_conn *conn = open_pair(rig, (kp_sql_journal)i);
		int soon = i == KP_JOURNAL_WAL ? 1 : 2;

		OK(kp_sql_begin(conn, KP_SQL_WRITE_SOON, &err));
		assert_int_equal(query_int(conn, "PRAGMA synchronous"), soon);
		OK(kp_sql_script(conn, "INSERT INTO t VALUES (5, 0)", &err));
		OK(kp_sql_commit(conn, &err));
		OK(kp_sql_script(conn, "INSERT INTO t VALUES (6, 0)", &err)); /* its own commit */
		assert_int_equal(query_int(conn, "PRAGMA synchronous"), 2);
		OK(kp_sql_begin(conn, KP_SQL_WRITE_SOON, &err));
		OK(kp_sql_commit(conn, &err));
		OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
		assert_int_equal(query_int(conn, "PRAGMA synchronous"), 2);
		OK(kp_sql_commit(conn, &err));
		assert_int_equal(query_int(conn, "SELECT count(*) FROM main.t"), 3);
		kp_sql_close(&conn);
		assert_int_equal(unlink(rig->a), 0);
		assert_int_equal(unlink(rig->b), 0);
	}
}

/* ---------------------------------------------------------------- what a file may hold */

static void a_view_that_never_ends_is_ended(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = options_of(rig, KP_JOURNAL_WAL);
	kp_sql_conn *conn;
	int64_t count;

	options.statement_ms = 50;
	make_file(rig->a, KP_JOURNAL_WAL);
	make_file(rig->b, KP_JOURNAL_WAL);
	run_plain(rig->b, "CREATE VIEW endless AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL"
			  " SELECT n + 1 FROM c) SELECT n FROM c");
	conn = open_with(&options);
	assert_int_equal(read_int(conn, "SELECT count(*) FROM other.endless", &count),
			 KEEP_UNAVAILABLE);
	CHECK(strstr(err.message, "took longer than 50 ms"), "%s", err.message);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM other.t"), 1);
	kp_sql_close(&conn);
}

static void rows_without_an_end_are_ended_too(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = {.location = rig->a, .create = true, .statement_ms = 50};
	kp_sql_conn *conn = open_with(&options);
	kp_sql_stmt *stmt = NULL;
	keep_status status;
	bool has_row = true;

	OK(kp_sql_prepare(conn,
			  "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)"
			  " SELECT n FROM c",
			  &stmt, &err));
	do
		status = kp_sql_step(stmt, &has_row, &err);
	while (status == KEEP_OK && has_row);
	assert_int_equal(status, KEEP_UNAVAILABLE);
	kp_sql_finish(&stmt);
	kp_sql_close(&conn);
}

static void a_value_beyond_the_limit_is_corrupt(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = options_of(rig, KP_JOURNAL_WAL);
	kp_sql_conn *conn;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	char *text = calloc(1, 2000000);

	options.value_max = 1000000;
	make_file(rig->a, KP_JOURNAL_WAL);
	make_file(rig->b, KP_JOURNAL_WAL);
	run_plain(rig->b, "INSERT INTO t VALUES (2, CAST(zeroblob(100000000) AS TEXT))");
	conn = open_with(&options);
	OK(kp_sql_prepare(conn, "SELECT v FROM other.t WHERE n = 2", &stmt, &err));
	assert_int_equal(kp_sql_step(stmt, &has_row, &err), KEEP_CORRUPT);
	CHECK(strstr(err.message, "1000000 bytes"), "%s", err.message);
	kp_sql_finish(&stmt);
	OK(kp_sql_prepare(conn, "SELECT ?1", &stmt, &err));
	assert_int_equal(kp_sql_bind_blob(stmt, 1, (keep_bytes){text, 2000000}, &err), KEEP_FULL);
	kp_sql_finish(&stmt);
	assert_int_equal(query_int(conn, "SELECT n FROM other.t WHERE n = 1"), 1);
	kp_sql_close(&conn);
	free(text);
}

static void times_of_other_programs_are_read(void **state)
{
	static const struct {
		const char *text;
		int64_t time_ms;
	} cases[] = {
		{"SELECT '2026-04-11 17:18:21'", 1775927901000},
		{"SELECT '2026-04-11T17:18:21Z'", 1775927901000},
		{"SELECT '2026-04-11T17:18:21.5Z'", 1775927901500},
		{"SELECT '2026-04-11T19:18:21+02:00'", 1775927901000},
	};
	struct rig *rig = *state;
	kp_sql_conn *conn = open_pair(rig, KP_JOURNAL_WAL);

	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		kp_sql_stmt *stmt = NULL;
		kp_value value;
		bool has_row = false;

		OK(kp_sql_prepare(conn, cases[i].text, &stmt, &err));
		OK(kp_sql_step(stmt, &has_row, &err));
		OK(kp_sql_column(stmt, 0, KP_TIME, &value, &err));
		assert_int_equal(value.integer, cases[i].time_ms);
		kp_sql_finish(&stmt);
	}
	kp_sql_close(&conn);
}

/* ---------------------------------------------------------------- killed writers */

static void a_writer_killed_in_wal_mode_does_not_stop_reading(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = options_of(rig, KP_JOURNAL_WAL);
	kp_sql_conn *conn = open_pair(rig, KP_JOURNAL_WAL);

	kill_a_writer(rig);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM other.t WHERE v = 'one'"), 1);
	kp_sql_close(&conn);
	conn = open_with(&options);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM other.t"), 1);
	kp_sql_close(&conn);
	assert_true(is_there(rig->b, "-wal")); /* nobody checkpointed it */
}

static void a_writer_killed_in_rollback_mode_is_busy_until_it_is_recovered(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = options_of(rig, KP_JOURNAL_ROLLBACK);
	kp_sql_conn *conn = open_pair(rig, KP_JOURNAL_ROLLBACK);
	int64_t count;

	kill_a_writer(rig);
	assert_true(is_there(rig->b, "-journal"));
	assert_int_equal(read_int(conn, "SELECT count(*) FROM other.t", &count), KEEP_BUSY);
	assert_int_equal(err.native, SQLITE_READONLY_ROLLBACK);
	CHECK(strstr(err.message, "b &"), "%s", err.message);
	assert_int_equal(fail_to_open(&options), KEEP_BUSY);
	assert_int_equal(err.native, SQLITE_READONLY_ROLLBACK);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err)); /* ours goes on */
	OK(kp_sql_script(conn, "INSERT INTO t VALUES (2, 0)", &err));
	OK(kp_sql_commit(conn, &err));

	OK(kp_sqlite_recover(rig->b, &err));
	assert_false(is_there(rig->b, "-journal"));
	assert_int_equal(query_int(conn, "SELECT count(*) FROM other.t WHERE v = 'one'"), 1);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM other.t"), 1);
	kp_sql_close(&conn);
}

static void a_recovery_changes_nothing_else(void **state)
{
	struct rig *rig = *state;
	kp_sql_options options = {.location = rig->b, .create = true};
	kp_sql_conn *conn;

	assert_int_equal(kp_sqlite_recover(rig->b, &err), KEEP_NOT_FOUND);
	make_file(rig->b, KP_JOURNAL_WAL);
	kill_a_writer(rig);
	OK(kp_sqlite_recover(rig->b, &err));
	assert_true(is_there(rig->b, "-wal"));
	conn = open_with(&options);
	assert_true(conn->caps & KP_SQL_LOG);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM t"), 1);
	kp_sql_close(&conn);
}

/* A journal of the other side's may name a file of ours as its super-journal. */
static void a_recovery_deletes_no_file_that_a_journal_names(void **state)
{
	static const unsigned char magic[] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
	struct rig *rig = *state;
	unsigned char record[300], page[4] = {0};
	char journal[160], victim[128];
	size_t len;
	uint32_t sum = 0;
	int fd;

	make_file(rig->b, KP_JOURNAL_ROLLBACK);
	kill_a_writer(rig);
	len = strlen(temp_path(&rig->folder, "victim", victim));
	fd = open(victim, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "precious", 8), 8);
	close(fd);
	for (size_t i = 0; i < len; i++)
		sum += (uint32_t)victim[i];
	page[0] = 0x40, page[1] = 0x04; /* a page behind the file's end, as SQLite writes it */
	memcpy(record, page, 4);
	memcpy(record + 4, victim, len);
	for (int i = 0; i < 4; i++) {
		record[4 + len + i] = (unsigned char)(len >> (24 - 8 * i));
		record[8 + len + i] = (unsigned char)(sum >> (24 - 8 * i));
	}
	memcpy(record + 12 + len, magic, sizeof magic);
	(void)snprintf(journal, sizeof journal, "%s-journal", rig->b);
	fd = open(journal, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, record, 20 + len), 20 + len);
	close(fd);

	assert_int_equal(kp_sqlite_recover(rig->b, &err), KEEP_CORRUPT);
	assert_int_equal(access(victim, F_OK), 0);
}

/* ---------------------------------------------------------------- both at work */

static keep_status work_once(kp_sql_conn *conn)
{
	int64_t seen = 0;
	keep_status status = kp_sql_begin(conn, KP_SQL_WRITE, &err);

	if (status == KEEP_OK)
		status = read_int(conn, "SELECT count(*) FROM other.t", &seen);
	if (status == KEEP_OK)
		status = kp_sql_script(conn, "INSERT INTO main.t(v) SELECT max(n) FROM other.t",
				       &err);
	if (status == KEEP_OK)
		return kp_sql_commit(conn, &err);
	kp_sql_rollback(conn);
	return status;
}

static keep_status work(const char *own, const char *other, kp_sql_journal journal, int rounds)
{
	kp_sql_options options = {.location = own, .beside = other, .journal = journal};
	kp_sql_conn *conn = NULL;
	keep_status status = kp_sql_open(&kp_sql_sqlite, &options, &conn, &err);

	for (int i = 0; i < rounds && status == KEEP_OK; i++)
		status = work_once(conn);
	kp_sql_close(&conn);
	if (status != KEEP_OK)
		print_error("%s: %s\n", own, err.message);
	return status;
}

static void two_sides_work_crosswise_without_being_busy(void **state)
{
	enum { ROUNDS = 60 };
	struct rig *rig = *state;

	for (int i = KP_JOURNAL_WAL; i <= KP_JOURNAL_ROLLBACK; i++) {
		kp_sql_journal journal = (kp_sql_journal)i;
		kp_sql_conn *conn = open_pair(rig, journal);
		int status = 0;
		pid_t pid;

		kp_sql_close(&conn);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			_exit((int)work(rig->b, rig->a, journal, ROUNDS));
		assert_int_equal(work(rig->a, rig->b, journal, ROUNDS), KEEP_OK);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		kp_sql_options options = options_of(rig, journal);
		conn = open_with(&options);
		assert_int_equal(query_int(conn, "SELECT count(*) FROM main.t"), ROUNDS + 1);
		assert_int_equal(query_int(conn, "SELECT count(*) FROM other.t"), ROUNDS + 1);
		kp_sql_close(&conn);
		assert_int_equal(unlink(rig->a), 0);
		assert_int_equal(unlink(rig->b), 0);
	}
}

static void a_transaction_that_does_not_read_the_other_file_does_not_lock_it(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn = open_pair(rig, KP_JOURNAL_ROLLBACK);
	sqlite3 *db = NULL;

	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	assert_int_equal(sqlite3_open(rig->b, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "INSERT INTO t VALUES (2, 0)", NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(sqlite3_open(rig->a, &db), SQLITE_OK); /* and main it has */
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_BUSY);
	sqlite3_close(db);
	OK(kp_sql_commit(conn, &err));
	kp_sql_close(&conn);
}

/* A transaction that has read the other side's file, and meets the other side before it commits. */
static keep_status commit_together(const char *own, const char *other, int tell, int hear)
{
	kp_sql_options options = {.location = own,
				  .beside = other,
				  .journal = KP_JOURNAL_ROLLBACK,
				  .timeout_ms = 2000};
	kp_sql_conn *conn = NULL;
	int64_t seen = 0;
	char byte = 'r';
	keep_status status = kp_sql_open(&kp_sql_sqlite, &options, &conn, &err);

	if (status == KEEP_OK)
		status = kp_sql_begin(conn, KP_SQL_WRITE, &err);
	if (status == KEEP_OK)
		status = read_int(conn, "SELECT count(*) FROM other.t", &seen);
	if (status == KEEP_OK)
		status = kp_sql_script(conn, "INSERT INTO main.t VALUES (2, 0)", &err);
	if (write(tell, &byte, 1) != 1 || read(hear, &byte, 1) != 1)
		status = KEEP_MISUSE;
	if (status == KEEP_OK)
		status = kp_sql_commit(conn, &err);
	kp_sql_close(&conn);
	return status;
}

/* Each has read what the other is about to commit: neither may wait for the other. */
static void two_commits_that_have_read_each_other_both_happen(void **state)
{
	struct rig *rig = *state;
	int there[2], back[2], status = 0;
	pid_t pid;

	make_file(rig->a, KP_JOURNAL_ROLLBACK);
	make_file(rig->b, KP_JOURNAL_ROLLBACK);
	assert_int_equal(pipe(there), 0);
	assert_int_equal(pipe(back), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit((int)commit_together(rig->b, rig->a, back[1], there[0]));
	OK(commit_together(rig->a, rig->b, there[1], back[0]));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (int i = 0; i < 2; i++) {
		close(there[i]);
		close(back[i]);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(the_other_file_is_read_and_never_written),
		TEST(nothing_is_mapped_beside_another_file),
		TEST(what_is_no_database_is_told_apart),
		TEST(a_cut_file_is_corrupt),
		TEST(a_replaced_or_deleted_file_is_noticed),
		TEST(a_map_that_was_cut_is_found_before_it_is_used),
		TEST(the_other_file_may_become_a_log_while_it_is_read),
		TEST(a_rollback_file_has_no_guard_and_no_map),
		TEST(a_log_is_turned_into_a_rollback_file_without_a_map),
		TEST(a_file_may_be_taken_as_it_is),
		TEST(the_guard_may_lie_elsewhere),
		TEST(a_soon_commit_is_not_synced_and_the_next_one_is),
		TEST(a_view_that_never_ends_is_ended),
		TEST(rows_without_an_end_are_ended_too),
		TEST(a_value_beyond_the_limit_is_corrupt),
		TEST(times_of_other_programs_are_read),
		TEST(a_writer_killed_in_wal_mode_does_not_stop_reading),
		TEST(a_writer_killed_in_rollback_mode_is_busy_until_it_is_recovered),
		TEST(a_recovery_changes_nothing_else),
		TEST(a_recovery_deletes_no_file_that_a_journal_names),
		TEST(two_sides_work_crosswise_without_being_busy),
		TEST(a_transaction_that_does_not_read_the_other_file_does_not_lock_it),
		TEST(two_commits_that_have_read_each_other_both_happen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
