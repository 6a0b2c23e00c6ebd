/*
 * sqlite_transaction.c - the SQLite driver: transactions.
 *
 * Invariants:
 *   1. The guard is held from before BEGIN IMMEDIATE until after COMMIT or ROLLBACK, and around
 *      every checkpoint. Automatic checkpoints are off. The only one without the guard is SQLite's
 *      own, when the last connection of all processes closes: it holds an exclusive lock on the
 *      database file meanwhile, which every other connection's shared lock excludes, so no write
 *      can run beside it.
 *   2. A commit that failed is over, and stays undone after a crash. SQLite reports a failed sync,
 *      or no memory for its index, when the frames and their commit mark are in the log already;
 *      until the next write covers them, a recovery would bring that transaction back. So it is
 *      covered at once (see settle), and where that fails too the answer is UNCERTAIN.
 *      In rollback mode the journal does that by itself.
 *   3. The file is looked at after the guard is held and before each write: nobody writes into a
 *      file that was deleted or replaced.
 *
 *   4. A transaction beside an attached file (sqlite_beside.c) takes the write lock of main alone.
 *      BEGIN IMMEDIATE would begin to read the other file, too, and keep its writer from
 * committing.
 *   5. PRAGMA synchronous is what the transaction asks for, before it begins: FULL, but NORMAL for
 *      KP_SQL_WRITE_SOON in WAL mode, where the next FULL commit syncs the log with all before it.
 *   6. A connection on which SQLite itself rolled back a transaction, inside of a statement, is
 *      broken.
 *
 * Held by tests/contract/test_sqlite_open.c, tests/contract/test_sqlite_beside.c,
 * tests/torture/test_sqlite_faults.c, tests/torture/test_wal_race.c and, for 6,
 * tests/torture/test_assistant_search_faults.c.
 */
#include "sql/sqlite_driver.h"

#include <stdio.h>
#include <sys/stat.h>

/* ---------------------------------------------------------------- the file and the guard */

keep_status kp_sqlite_check(kp_sql_conn *base, keep_error *err)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);
	struct stat st;

	if (stat(conn->path, &st) == 0 && st.st_dev == base->place[0] &&
	    st.st_ino == base->place[1])
		return kp_sqlite_look(conn, err);
	base->broken = true;
	return kp_fail(err, KEEP_UNAVAILABLE, "%s: the file was deleted or replaced", conn->path);
}

keep_status kp_sqlite_enter(struct kp_sqlite *conn, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (conn->guard.fd >= 0)
		status = kp_guard_acquire(&conn->guard, conn->timeout_ms, err);
	if (status != KEEP_OK)
		return kp_prefix(err, status, "%s", conn->path);
	conn->has_guard = true;
	status = kp_sqlite_check(&conn->base, err);
	if (status != KEEP_OK)
		kp_sqlite_leave(conn);
	return status;
}

void kp_sqlite_leave(struct kp_sqlite *conn)
{
	if (!conn->has_guard)
		return;
	conn->has_guard = false;
	kp_guard_release(&conn->guard);
}

/* ---------------------------------------------------------------- transactions */

keep_status kp_sqlite_run_fixed(struct kp_sqlite *conn, enum kp_sqlite_fixed which, keep_error *err)
{
	keep_status status;
	int rc;

	conn->deadline_ns = 0; /* a commit is never ended half way */
	rc = sqlite3_step(conn->fixed[which]);
	status = rc == SQLITE_DONE ? KEEP_OK : kp_sqlite_fail(conn, err);

	(void)sqlite3_reset(conn->fixed[which]);
	return status;
}

keep_status kp_sqlite_set_synced(struct kp_sqlite *conn, bool synced, keep_error *err)
{
	int wanted = synced && !conn->relaxed ? 2 : 1;

	if (conn->synchronous == wanted)
		return KEEP_OK;
	if (sqlite3_exec(conn->db,
			 wanted == 2 ? "PRAGMA main.synchronous = 2"
				     : "PRAGMA main.synchronous = 1",
			 NULL, NULL, NULL) != SQLITE_OK)
		return kp_sqlite_fail(conn, err);
	conn->synchronous = wanted;
	return KEEP_OK;
}

/* The guard is held. */
static keep_status begin_write(struct kp_sqlite *conn, kp_sql_mode mode, keep_error *err)
{
	bool has_log = conn->base.caps & KP_SQL_LOG;
	keep_status status = kp_sqlite_set_synced(conn, mode != KP_SQL_WRITE_SOON || !has_log, err);

	if (status != KEEP_OK || !conn->beside)
		return status == KEEP_OK ? kp_sqlite_run_fixed(conn, KP_SQLITE_BEGIN_WRITE, err)
					 : status;
	status = kp_sqlite_run_fixed(conn, KP_SQLITE_BEGIN_READ, err);
	return status == KEEP_OK ? kp_sqlite_run_fixed(conn, KP_SQLITE_LOCK_MAIN, err) : status;
}

keep_status kp_sqlite_begin(kp_sql_conn *base, kp_sql_mode mode, keep_error *err)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);
	bool writes = mode != KP_SQL_READ;
	keep_status status = KEEP_OK;

	if (base->in_transaction)
		return kp_fail(err, KEEP_MISUSE, "%s: transactions do not nest", conn->path);
	if (writes && conn->read_only)
		return kp_fail(err, KEEP_DENIED, "%s: opened for reading only", conn->path);
	if (writes)
		status = kp_sqlite_enter(conn, err);
	if (status == KEEP_OK)
		status = writes ? begin_write(conn, mode, err)
				: kp_sqlite_run_fixed(conn, KP_SQLITE_BEGIN_READ, err);
	base->in_transaction = status == KEEP_OK;
	if (status != KEEP_OK)
		kp_sqlite_rollback(base);
	return status;
}

void kp_sqlite_rollback(kp_sql_conn *base)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);
	keep_error err = KEEP_ERROR_INIT;

	if (!sqlite3_get_autocommit(conn->db) &&
	    kp_sqlite_run_fixed(conn, KP_SQLITE_ROLLBACK, &err) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "rollback: %s", err.message);
	/* What SQLite rolled back inside of a statement a virtual table may not have heard of: FTS5
	   then works on with words of rows that are gone. A new connection knows the file alone. */
	if (!sqlite3_get_autocommit(conn->db) || conn->lost != KEEP_OK)
		base->broken = true;
	base->in_transaction = false;
	conn->lost = KEEP_OK;
	kp_sqlite_leave(conn);
}

/* Can a commit that failed with `rc` have left all its frames in the log? The commit mark is in
   the last frame, so not when a write failed; but a sync and the index come after it. */
static bool may_have_left_frames(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_NOMEM: return true;
	case SQLITE_IOERR: return rc != SQLITE_IOERR_WRITE && rc != SQLITE_IOERR_READ;
	default: return false;
	}
}

/* Commit a change that changes nothing: its frame lies where the failed commit's first frame is,
   and the frames after it no longer match their running checksum. */
static bool cover_frames(struct kp_sqlite *conn)
{
	char sql[80];
	sqlite3_stmt *handle = NULL;
	bool done = false;
	int version = 0;

	if (sqlite3_prepare_v2(conn->db, "PRAGMA user_version", -1, &handle, NULL) == SQLITE_OK &&
	    sqlite3_step(handle) == SQLITE_ROW) {
		version = sqlite3_column_int(handle, 0);
		done = true;
	}
	(void)sqlite3_finalize(handle);
	(void)snprintf(sql, sizeof sql, "PRAGMA user_version = %d", version);
	return done && sqlite3_exec(conn->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

keep_status kp_sqlite_settle(struct kp_sqlite *conn, int rc, keep_status status, keep_error *err)
{
	if (!conn->has_guard || !(conn->base.caps & KP_SQL_LOG) || !may_have_left_frames(rc))
		return status;
	conn->deadline_ns = 0;
	if (kp_sqlite_set_synced(conn, true, NULL) == KEEP_OK && cover_frames(conn))
		return status;
	return kp_prefix(err,
			 kp_fail(err, KEEP_UNCERTAIN, "%s: %s, and it could not be undone",
				 conn->path, sqlite3_errstr(rc)),
			 "commit");
}

keep_status kp_sqlite_commit(kp_sql_conn *base, keep_error *err)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);
	keep_status status = conn->lost;
	int rc;

	if (status != KEEP_OK) {
		status = kp_fail(err, status, "%s: rolled back after an earlier failure (%s)",
				 conn->path, keep_status_text(status));
		kp_sqlite_rollback(base);
		return status;
	}
	if (conn->beside && conn->has_guard && !(base->caps & KP_SQL_LOG))
		kp_sqlite_let_go(conn);
	status = kp_sqlite_run_fixed(conn, KP_SQLITE_COMMIT, err);
	base->in_transaction = false;
	if (status != KEEP_OK) {
		rc = sqlite3_extended_errcode(conn->db);
		if (!sqlite3_get_autocommit(conn->db) &&
		    kp_sqlite_run_fixed(conn, KP_SQLITE_ROLLBACK, NULL) != KEEP_OK)
			base->broken = true;
		status = kp_sqlite_settle(conn, rc, status, err);
	}
	kp_sqlite_leave(conn);
	return status;
}
