/*
 * test_wal_race.c - no commit is lost when a checkpoint meets a write.
 *
 * The first test shows the loss with SQLite alone, which proves that the shim strikes. The others
 * do the same through Keep's connections: the competing write has to wait, and nothing is lost.
 * tests/support/wal_race_vfs.c tells how the race goes.
 */
#include "sql/sql.h"

#include "temp_folder.h"
#include "wal_race_vfs.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

/* One row fills one page, so that a commit is about one frame. */
enum { ROWS = 40, FIRST = 30, DURING = 10, AFTER = 15 };

#define CREATE                                                                                     \
	"CREATE TABLE t(id INTEGER PRIMARY KEY, value INTEGER NOT NULL, filler BLOB NOT NULL)"
#define FILL                                                                                       \
	"WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 40) "           \
	"INSERT INTO t SELECT i, 0, zeroblob(3500) FROM n"

static int expected[ROWS + 1]; /* the last acknowledged value of each row */

/* ---------------------------------------------------------------- SQLite alone */

static void raw_run(sqlite3 *db, const char *sql)
{
	CHECK(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", sql,
	      sqlite3_errmsg(db));
}

static sqlite3 *raw_open(const char *path)
{
	sqlite3 *db = NULL;

	CHECK(sqlite3_open(path, &db) == SQLITE_OK, "open");
	raw_run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		    "PRAGMA wal_autocheckpoint = 0");
	return db;
}

static void raw_update(sqlite3 *db, int row, int value)
{
	char sql[100];

	(void)snprintf(sql, sizeof sql, "UPDATE t SET value = %d WHERE id = %d", value, row);
	raw_run(db, sql);
	expected[row] = value;
}

static void raw_checkpoint(sqlite3 *db)
{
	CHECK(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) ==
		      SQLITE_OK,
	      "%s", sqlite3_errmsg(db));
}

static void raw_write_during(void *ctx)
{
	for (int row = 1; row <= DURING; row++)
		raw_update(ctx, row, 2);
}

/* How many rows do not have the value whose commit was acknowledged. */
static int count_lost(const char *path)
{
	sqlite3 *db = raw_open(path);
	sqlite3_stmt *stmt = NULL;
	int lost = 0;

	CHECK(sqlite3_prepare_v2(db, "SELECT id, value FROM t", -1, &stmt, NULL) == SQLITE_OK, "%s",
	      sqlite3_errmsg(db));
	while (sqlite3_step(stmt) == SQLITE_ROW)
		lost += sqlite3_column_int(stmt, 1) != expected[sqlite3_column_int(stmt, 0)];
	sqlite3_finalize(stmt);
	CHECK(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL) == SQLITE_OK, "%s",
	      sqlite3_errmsg(db));
	CHECK(sqlite3_step(stmt) == SQLITE_ROW, "integrity_check");
	assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "ok");
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return lost;
}

static bool sqlite_is_fixed(void)
{
	int version = sqlite3_libversion_number();

	return version >= 3051003 || (version >= 3050007 && version < 3051000);
}

static void sqlite_alone_loses_acknowledged_commits(void **state)
{
	temp_folder folder;
	char path[128];
	sqlite3 *writer, *checkpointer;
	int lost;

	(void)state;
	temp_folder_make(&folder);
	writer = raw_open(temp_path(&folder, "raw.db", path));
	raw_run(writer, CREATE);
	raw_run(writer, FILL);
	memset(expected, 0, sizeof expected);
	raw_checkpoint(writer);
	checkpointer = raw_open(path);
	raw_run(checkpointer, "SELECT count(*) FROM t");
	for (int row = 1; row <= FIRST; row++)
		raw_update(writer, row, 1);
	raw_checkpoint(writer);

	wal_race_arm(raw_write_during, writer);
	raw_checkpoint(checkpointer);
	assert_true(wal_race_fired());
	for (int row = DURING + 1; row <= ROWS; row++)
		raw_update(writer, row, 3);
	raw_checkpoint(writer);

	sqlite3_close(writer);
	sqlite3_close(checkpointer);
	lost = count_lost(path);
	print_message("SQLite %s lost %d of %d commits\n", sqlite3_libversion(), lost, ROWS);
	if (sqlite_is_fixed())
		assert_int_equal(lost, 0);
	else
		assert_true(lost > 0);
	temp_folder_remove(&folder);
}

/* ---------------------------------------------------------------- with Keep's guard */

struct rig {
	temp_folder folder;
	char path[128];
	kp_sql_conn *writer, *checkpointer;
	keep_status during; /* of the write that meets the checkpoint */
};

static kp_sql_conn *open_connection(struct rig *rig, int64_t timeout_ms)
{
	kp_sql_options options = {
		.location = rig->path,
		.create = true,
		.timeout_ms = timeout_ms,
	};
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;

	OK(kp_sql_open(&kp_sql_sqlite, &options, &conn, &err));
	return conn;
}

static keep_status update(kp_sql_conn *conn, int row, int value)
{
	keep_error err = KEEP_ERROR_INIT;
	char sql[100];
	keep_status status = kp_sql_begin(conn, KP_SQL_WRITE, &err);

	if (status != KEEP_OK)
		return status;
	(void)snprintf(sql, sizeof sql, "UPDATE t SET value = %d WHERE id = %d", value, row);
	OK(kp_sql_script(conn, sql, &err));
	OK(kp_sql_commit(conn, &err));
	expected[row] = value;
	return KEEP_OK;
}

/* Commits of one row until the log is so long that maintain checkpoints it. */
static void write_until_checkpoint_is_due(kp_sql_conn *conn)
{
	for (int i = 0; i < 1100; i++)
		assert_int_equal(update(conn, 1 + i % FIRST, i), KEEP_OK);
}

static void rig_open(struct rig *rig, int64_t writer_timeout_ms)
{
	keep_error err = KEEP_ERROR_INIT;

	*rig = (struct rig){.during = KEEP_OK};
	memset(expected, 0, sizeof expected);
	temp_folder_make(&rig->folder);
	(void)temp_path(&rig->folder, "guarded.db", rig->path);
	rig->writer = open_connection(rig, writer_timeout_ms);
	OK(kp_sql_script(rig->writer, CREATE ";" FILL, &err));
	rig->checkpointer = open_connection(rig, 5000);
	/* The checkpointer finds one due, and then the writer is one commit ahead of what it knows.
	 */
	write_until_checkpoint_is_due(rig->checkpointer);
	assert_int_equal(update(rig->writer, ROWS, 1), KEEP_OK);
}

static void rig_close(struct rig *rig)
{
	kp_sql_close(&rig->writer);
	kp_sql_close(&rig->checkpointer);
	assert_int_equal(count_lost(rig->path), 0);
	temp_folder_remove(&rig->folder);
	assert_nothing_lives();
}

static void write_in_the_gap(void *ctx)
{
	struct rig *rig = ctx;

	rig->during = update(rig->writer, 1, 2);
}

static void a_write_that_meets_a_checkpoint_has_to_wait(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, 20);
	wal_race_arm(write_in_the_gap, &rig);
	kp_sql_maintain(rig.checkpointer);
	assert_true(wal_race_fired());
	assert_int_equal(rig.during, KEEP_BUSY);
	assert_int_equal(update(rig.writer, 1, 2), KEEP_OK);
	rig_close(&rig);
}

static void a_checkpoint_that_meets_a_write_does_not_run(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	struct rig rig;

	(void)state;
	rig_open(&rig, 20);
	OK(kp_sql_begin(rig.writer, KP_SQL_WRITE, &err));
	wal_race_arm(write_in_the_gap, &rig);
	kp_sql_maintain(rig.checkpointer);
	assert_false(wal_race_fired());
	OK(kp_sql_commit(rig.writer, &err));
	wal_race_arm(write_in_the_gap, &rig);
	kp_sql_maintain(rig.checkpointer);
	assert_true(wal_race_fired());
	rig_close(&rig);
}

/* ---------------------------------------------------------------- many at once */

struct worker {
	struct rig *rig;
	int row;
	int commits;
};

static void *write_and_checkpoint(void *ctx)
{
	struct worker *worker = ctx;
	kp_sql_conn *conn = open_connection(worker->rig, 20000);

	for (int i = 1; i <= worker->commits; i++) {
		if (update(conn, worker->row, i) != KEEP_OK)
			break;
		kp_sql_maintain(conn);
	}
	kp_sql_close(&conn);
	return NULL;
}

static void writers_that_checkpoint_all_the_time_lose_nothing(void **state)
{
	enum { WORKERS = 4, COMMITS = 1500 };
	struct worker workers[WORKERS];
	pthread_t threads[WORKERS];
	struct rig rig;

	(void)state;
	rig_open(&rig, 5000);
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){.rig = &rig, .row = 1 + i, .commits = COMMITS};
		assert_int_equal(
			pthread_create(&threads[i], NULL, write_and_checkpoint, &workers[i]), 0);
	}
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(expected[1 + i], COMMITS);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sqlite_alone_loses_acknowledged_commits),
		cmocka_unit_test(a_write_that_meets_a_checkpoint_has_to_wait),
		cmocka_unit_test(a_checkpoint_that_meets_a_write_does_not_run),
		cmocka_unit_test(writers_that_checkpoint_all_the_time_lose_nothing),
	};

	wal_race_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
