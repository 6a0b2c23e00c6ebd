/*
 * sqlite_checkpoint.c - the SQLite driver: copying the log into the database, beside writers.
 *
 * A checkpoint copies pages from the write-ahead log into the database file and, when it copied
 * everything, syncs that file; then the next commit may begin the log anew. The copying is quick,
 * the sync is not: of a loaded writer's time with a checkpoint every 1,000 frames, two thirds went
 * there. And no write may run beside a checkpoint (write_guard.c), so a sync inside it stops
 * everybody.
 *
 * So a thread of its own (database.c) tends the log with a connection of its own:
 *
 *      writers    ████████████████░██████████████████████████████░░█████████
 *      the guard                  ▲ copy                          ▲ copy the rest, sync, done
 *      the tender   sync the log ─┘└── sync the database ─────────┘
 *
 *   1. Sync the log, without the guard: nothing may be copied that a power cut could still lose.
 *   2. With the guard, copy. A reader of our own that was opened before holds the newest commits
 * back, so SQLite copies without completing, and an incomplete checkpoint syncs nothing.
 *   3. Sync the database file, without the guard.
 *   4. When the log has RESET frames, copy the rest with the guard: complete now, with few pages to
 * sync.
 *
 * No rule of SQLite's is bent. It syncs the log before it copies and the file before the log may
 * begin anew, by itself, in every step; we only see to it that there is little left for it to do
 * while the guard is held. A process that is killed anywhere here leaves what SQLite's own
 * checkpoint leaves.
 *
 * Without a thread (maintain): one passive checkpoint inline, when one is due.
 *
 *   STEP frames      a round is due; inline only when the guard is free: a busy moment is not made
 * worse INSIST frames    inline, in the queue like a writer: processes that write all the time
 * would never leave the guard free, and a long log slows every read RESET frames     the tender
 * completes, so that the log begins anew RESTART frames   readers that overlap keep the log from
 * beginning anew, though all of it is copied. RESTART waits for those that read in the log now (new
 * ones read the copy), at most PATIENCE_MS, because writers wait with it. It is not repeated before
 * another RESTART frames.
 *
 * An attempt that did not come to the end is repeated STEP frames later, not at the next commit.
 *
 * Held by tests/contract/test_sqlite_open.c, tests/torture/test_wal_race.c (both ways), and the
 * crash tests; bench/bench_engine_sqlite.c shows what it saves.
 */
#include "sql/sqlite_driver.h"

enum { STEP = 1000, TEND = 4000, INSIST = 4000, RESET = 8000, RESTART = 16000, PATIENCE_MS = 50 };

/* ---------------------------------------------------------------- what is due */

int kp_sqlite_committed(void *ctx, sqlite3 *db, const char *name, int frames)
{
	struct kp_sqlite *conn = ctx;

	(void)db, (void)name;
	if (frames < conn->log_frames) { /* the log began anew */
		conn->checkpoint_at = STEP;
		conn->restart_at = RESTART;
	}
	conn->log_frames = frames;
	return SQLITE_OK;
}

void kp_sqlite_init_checkpoints(struct kp_sqlite *conn)
{
	conn->log_frames = 0;
	conn->checkpoint_at = STEP;
	conn->restart_at = RESTART;
}

static bool is_due(const struct kp_sqlite *conn)
{
	return !conn->base.in_transaction && !conn->base.broken && !conn->read_only &&
	       conn->log_frames >= conn->checkpoint_at;
}

bool kp_sqlite_falls_due(kp_sql_conn *base)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);

	if (!is_due(conn))
		return false;
	conn->checkpoint_at = conn->log_frames + TEND;
	return true;
}

/* ---------------------------------------------------------------- one checkpoint, inline */

static void checkpoint(struct kp_sqlite *conn, int mode, int *frames, int *copied)
{
	bool restart = mode == SQLITE_CHECKPOINT_RESTART;
	int rc;

	*frames = *copied = 0;
	if (restart)
		(void)sqlite3_busy_timeout(conn->db, PATIENCE_MS);
	rc = sqlite3_wal_checkpoint_v2(conn->db, "main", mode, frames, copied);
	(void)sqlite3_busy_timeout(conn->db, (int)conn->timeout_ms);
	if (restart && rc == SQLITE_BUSY)
		kp_log(KEEP_LOG_WARNING, "%s: a reader holds on to a log of %d frames", conn->path,
		       *frames);
	else if (rc != SQLITE_OK)
		kp_log(KEEP_LOG_WARNING, "%s: checkpoint: %s", conn->path,
		       sqlite3_errmsg(conn->db));
}

void kp_sqlite_maintain(kp_sql_conn *base)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);
	keep_error err = KEEP_ERROR_INIT;
	int frames, copied;
	bool restart;

	if (!is_due(conn) || conn->has_guard)
		return;
	if (kp_guard_try(&conn->guard)) {
		conn->has_guard = true;
	} else if (conn->log_frames < INSIST) {
		return;
	} else if (kp_sqlite_enter(conn, &err) != KEEP_OK) {
		kp_log(KEEP_LOG_WARNING, "checkpoint: %s", err.message);
		conn->checkpoint_at = conn->log_frames + STEP;
		return;
	}
	restart = conn->log_frames >= conn->restart_at;
	checkpoint(conn, restart ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE, &frames,
		   &copied);
	conn->checkpoint_at = conn->log_frames + STEP;
	if (restart)
		conn->restart_at = conn->log_frames + RESTART;
	kp_sqlite_leave(conn);
}

/* ---------------------------------------------------------------- the tender */

/* Sync the log or the database file through SQLite's own handle of it: opening and closing the file
   ourselves would drop this process's locks on it. */
static void sync_file(struct kp_sqlite *conn, int which)
{
	sqlite3_file *file = NULL;

	if (sqlite3_file_control(conn->db, "main", which, &file) == SQLITE_OK && file &&
	    file->pMethods && file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) != SQLITE_OK)
		kp_log(KEEP_LOG_WARNING, "%s: a sync ahead of a checkpoint failed", conn->path);
}

/* Hold the commits from now on back from the next checkpoint. False: they will not be. */
static bool hold_newest(struct kp_sqlite *conn)
{
	if (!conn->holder &&
	    kp_seal_open(conn->path, &conn->holder, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX) !=
		    SQLITE_OK) {
		(void)sqlite3_close(conn->holder);
		conn->holder = NULL;
		return false;
	}
	if (sqlite3_exec(conn->holder, "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1", NULL, NULL,
			 NULL) == SQLITE_OK)
		return true;
	(void)sqlite3_exec(conn->holder, "ROLLBACK", NULL, NULL, NULL);
	return false;
}

static bool checkpoint_guarded(struct kp_sqlite *conn, int mode, int *frames, int *copied)
{
	keep_error err = KEEP_ERROR_INIT;

	if (kp_sqlite_enter(conn, &err) != KEEP_OK) {
		kp_log(KEEP_LOG_WARNING, "checkpoint: %s", err.message);
		return false;
	}
	checkpoint(conn, mode, frames, copied);
	kp_sqlite_leave(conn);
	return true;
}

void kp_sqlite_tend(kp_sql_conn *base)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);
	int frames = 0, copied = 0;
	bool holds, done;

	if (base->in_transaction || base->broken || conn->read_only || conn->has_guard ||
	    !(base->caps & KP_SQL_LOG))
		return;
	holds = hold_newest(conn);
	sync_file(conn, SQLITE_FCNTL_JOURNAL_POINTER);
	done = checkpoint_guarded(conn, SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
	if (holds)
		(void)sqlite3_exec(conn->holder, "COMMIT", NULL, NULL, NULL);
	if (!done || copied >= frames)
		return;
	sync_file(conn, SQLITE_FCNTL_FILE_POINTER);
	if (frames < RESET)
		return;
	if (!checkpoint_guarded(conn, SQLITE_CHECKPOINT_PASSIVE, &frames, &copied))
		return;
	if (frames < conn->restart_at) {
		conn->restart_at = RESTART;
	} else {
		(void)checkpoint_guarded(conn, SQLITE_CHECKPOINT_RESTART, &frames, &copied);
		conn->restart_at = frames + RESTART;
	}
}
