#ifndef KP_SQLITE_DRIVER_H
#define KP_SQLITE_DRIVER_H
/*
 * sqlite_driver.h - what the files of the SQLite driver share; nobody else includes it.
 *
 *   sqlite_driver.c       statements: script, prepare, bind, step, column
 *   sqlite_transaction.c  begin, commit, rollback
 *   sqlite_checkpoint.c   copying the log into the database
 *   sqlite_open.c         the file, its folder, the pragmas
 *   sqlite_beside.c       another file attached for reading, and its recovery
 *   sqlite_copy.c         a verified copy of the file
 *   sqlite_json.c         a json_valid() that constraints may use
 *   sqlite_seal.c         a checksum at the end of each page
 *   sqlite_inspect.c      looking at them, and at all else of a file
 */
#include "sql/sql.h"

#include <limits.h>
#include <sqlite3.h>
#include <sys/types.h>

enum kp_sqlite_fixed {
	KP_SQLITE_BEGIN_READ,
	KP_SQLITE_BEGIN_WRITE,
	KP_SQLITE_LOCK_MAIN, /* with a file beside: the write lock of main alone */
	KP_SQLITE_COMMIT,
	KP_SQLITE_ROLLBACK,
	KP_SQLITE_FIXED
};

struct kp_sqlite {
	kp_sql_conn base;
	sqlite3 *db;
	sqlite3_stmt *fixed[KP_SQLITE_FIXED]; /* by enum kp_sqlite_fixed */
	const char *path;                     /* canonical; SQLite's own memory */
	kp_guard guard;                       /* none when read_only or not KP_SQL_LOG */
	bool read_only;
	bool relaxed;
	/* This connection may write now: it holds the guard, where there is one. */
	bool has_guard;
	int synchronous; /* what PRAGMA synchronous is: 1 (NORMAL) or 2 (FULL) */
	/* The status of the failure after which SQLite rolled the transaction back by itself; OK
	   when it did not. Until rollback or commit, everything else returns it. */
	keep_status lost;
	int64_t timeout_ms;
	int64_t value_max;    /* of options */
	int64_t statement_ms; /* of options */
	int64_t deadline_ns;  /* of the statement that runs; 0: none */
	int log_frames;       /* in the write-ahead log after this connection's last commit */
	int checkpoint_at;    /* log_frames at which the next checkpoint is due */
	int restart_at;       /* and the next attempt to begin the log anew */
	sqlite3 *holder;      /* of a connection that tends: a reader that holds checkpoints back */
	char *beside;         /* the path of the attached file as it was given; owned; NULL: none */
	uint64_t beside_place[2]; /* its device and inode */
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

/* A statement begins that may have run for spent_ns before; from now on it is timed. */
void kp_sqlite_time_begin(struct kp_sqlite *conn, int64_t spent_ns);
/* Let long statements be ended, see options.statement_ms. */
void kp_sqlite_init_timing(struct kp_sqlite *conn);

/* sqlite_open.c */
/* A location as a path that begins with "/" or "./". */
keep_status kp_sqlite_path(const char *location, char path[PATH_MAX],
			   keep_error *err) KEEP_MUST_CHECK;
/* The first column of the only row, as text. */
keep_status kp_sqlite_query(struct kp_sqlite *conn, const char *sql, char *out, size_t size,
			    keep_error *err) KEEP_MUST_CHECK;
/* PRAGMA name = value, and then it must say `expected` (NULL: anything). */
keep_status kp_sqlite_set(struct kp_sqlite *conn, const char *name, const char *value,
			  const char *expected, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sqlite_open(const kp_sql_options *options, kp_sql_conn **out, keep_error *err);
void kp_sqlite_close(kp_sql_conn *conn);
/* Sync the folder of a path that has a slash. */
keep_status kp_sqlite_sync_folder(const char *path, keep_error *err) KEEP_MUST_CHECK;

/* sqlite_beside.c */
keep_status kp_sqlite_attach(struct kp_sqlite *conn, const char *location,
			     keep_error *err) KEEP_MUST_CHECK;
/* Does the header of "main" or "other" say WAL? Read through SQLite's handle, without a lock. */
bool kp_sqlite_says_log(struct kp_sqlite *conn, const char *schema);
/* The part of check that stat of the file is not. */
keep_status kp_sqlite_look(struct kp_sqlite *conn, keep_error *err) KEEP_MUST_CHECK;
/* A failure `rc` told in *err with `status` may be the attached file's. Returns the status. */
keep_status kp_sqlite_judge(struct kp_sqlite *conn, int rc, keep_status status,
			    keep_error *err) KEEP_MUST_CHECK;
/* Before a commit in rollback mode: stop reading the attached file. */
void kp_sqlite_let_go(struct kp_sqlite *conn);

/* sqlite_copy.c */
#define KP_SQLITE_URI_SIZE (3 * PATH_MAX + 64)
/* "file:<path>?<query>" */
void kp_sqlite_format_uri(const char *path, const char *query, char uri[KP_SQLITE_URI_SIZE]);
keep_status kp_sqlite_copy(kp_sql_conn *conn, const char *label, keep_error *err);

/* sqlite_seal.c: the file system that seals pages */
/* sqlite3_open_v2 through it. *out is NULL when there is no memory for it. */
int kp_seal_open(const char *path, sqlite3 **out, int flags);
/* Registered; NULL: SQLite has no memory. */
sqlite3_vfs *kp_seal_vfs(void);
/* Do the pages of "main" or "other" have seals? */
bool kp_seal_is_on(sqlite3 *db, const char *schema);
/* The file that is written now, and has no first page yet, will say so. */
void kp_seal_expect(sqlite3 *db);
/* The file as it lies, with its seals; another one is itself. */
sqlite3_file *kp_seal_below(sqlite3_file *file);

/* sqlite_json.c: a json_valid() that CHECK constraints may use although the schema is not trusted
 */
keep_status kp_sqlite_add_json(struct kp_sqlite *conn, keep_error *err) KEEP_MUST_CHECK;

/* sqlite_transaction.c */
keep_status kp_sqlite_begin(kp_sql_conn *conn, kp_sql_mode mode, keep_error *err);
keep_status kp_sqlite_commit(kp_sql_conn *conn, keep_error *err);
void kp_sqlite_rollback(kp_sql_conn *conn);
keep_status kp_sqlite_check(kp_sql_conn *conn, keep_error *err);
/* The guard, where there is one, and that the file is still the one that was opened. */
keep_status kp_sqlite_enter(struct kp_sqlite *conn, keep_error *err) KEEP_MUST_CHECK;
void kp_sqlite_leave(struct kp_sqlite *conn); /* when it is held */
/* Before a transaction: whether its commit is synced. */
keep_status kp_sqlite_set_synced(struct kp_sqlite *conn, bool synced,
				 keep_error *err) KEEP_MUST_CHECK;
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
