#ifndef KP_SQLITE_DRIVER_H
#define KP_SQLITE_DRIVER_H
/*
 * sqlite_driver.h - what the files of the SQLite driver share; nobody else includes it.
 *
 *   sqlite_driver.c       statements: script, prepare, bind, step, column
 *   sqlite_transaction.c  begin, commit, rollback
 *   sqlite_checkpoint.c   copying the log into the database
 *   sqlite_open.c         the file, its folder, the pragmas
 *   sqlite_copy.c         a verified copy of the file
 *   sqlite_json.c         a json_valid() that constraints may use
 */
#include "sql/sql.h"

#include <sqlite3.h>
#include <sys/types.h>

enum kp_sqlite_fixed {
	KP_SQLITE_BEGIN_READ,
	KP_SQLITE_BEGIN_WRITE,
	KP_SQLITE_COMMIT,
	KP_SQLITE_ROLLBACK,
	KP_SQLITE_FIXED
};

struct kp_sqlite {
	kp_sql_conn base;
	sqlite3 *db;
	sqlite3_stmt *fixed[KP_SQLITE_FIXED]; /* by enum kp_sqlite_fixed */
	const char *path;                     /* canonical; SQLite's own memory */
	kp_guard guard;                       /* none when read_only */
	bool read_only;
	bool has_guard; /* held by this connection now */
	/* The status of the failure after which SQLite rolled the transaction back by itself; OK
	   when it did not. Until rollback or commit, everything else returns it. */
	keep_status lost;
	int64_t timeout_ms;
	int log_frames;    /* in the write-ahead log after this connection's last commit */
	int checkpoint_at; /* log_frames at which the next checkpoint is due */
	int restart_at;    /* and the next attempt to begin the log anew */
	sqlite3 *holder;   /* of a connection that tends: a reader that holds checkpoints back */
};

static inline struct kp_sqlite *kp_sqlite_of(kp_sql_conn *conn)
{
	return (struct kp_sqlite *)(void *)conn;
}

/* What SQLite's extended code, and the errno under it, mean to a caller. */
keep_status kp_sqlite_status(int rc, int system_errno);
/* The failure that `db` just had, prefixed with the file's path. */
keep_status kp_sqlite_fail(struct kp_sqlite *conn, keep_error *err) KEEP_MUST_CHECK;
/* Run one statement of `fixed`. */
keep_status kp_sqlite_run_fixed(struct kp_sqlite *conn, enum kp_sqlite_fixed which,
				keep_error *err) KEEP_MUST_CHECK;

/* sqlite_open.c */
keep_status kp_sqlite_open(const kp_sql_options *options, kp_sql_conn **out, keep_error *err);
void kp_sqlite_close(kp_sql_conn *conn);
/* Sync the folder of a path that has a slash. */
keep_status kp_sqlite_sync_folder(const char *path, keep_error *err) KEEP_MUST_CHECK;

/* sqlite_copy.c */
keep_status kp_sqlite_copy(kp_sql_conn *conn, const char *label, keep_error *err);

/* sqlite_json.c: a json_valid() that CHECK constraints may use although the schema is not trusted
 */
keep_status kp_sqlite_add_json(struct kp_sqlite *conn, keep_error *err) KEEP_MUST_CHECK;

/* sqlite_transaction.c */
keep_status kp_sqlite_begin(kp_sql_conn *conn, kp_sql_mode mode, keep_error *err);
keep_status kp_sqlite_commit(kp_sql_conn *conn, keep_error *err);
void kp_sqlite_rollback(kp_sql_conn *conn);
keep_status kp_sqlite_check(kp_sql_conn *conn, keep_error *err);
/* The guard, and that the file is still the one that was opened. */
keep_status kp_sqlite_enter(struct kp_sqlite *conn, keep_error *err) KEEP_MUST_CHECK;
void kp_sqlite_leave(struct kp_sqlite *conn); /* when it is held */
/* After a commit failed with `rc` and `status`, and was rolled back: make sure that no crash brings
   it back. Returns `status`, or UNCERTAIN. */
keep_status kp_sqlite_settle(struct kp_sqlite *conn, int rc, keep_status status,
			     keep_error *err) KEEP_MUST_CHECK;

/* sqlite_checkpoint.c */
void kp_sqlite_init_checkpoints(struct kp_sqlite *conn);
/* Called by SQLite after each commit with the number of frames in the log. */
int kp_sqlite_committed(void *ctx, sqlite3 *db, const char *name, int frames);
bool kp_sqlite_falls_due(kp_sql_conn *conn);
void kp_sqlite_maintain(kp_sql_conn *conn);
void kp_sqlite_tend(kp_sql_conn *conn);

#endif
