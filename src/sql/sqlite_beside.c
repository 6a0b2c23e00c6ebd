/*
 * sqlite_beside.c - the SQLite driver: another file, attached for reading as the schema `other`.
 *
 * Two programs that do not trust each other each write a file of their own and read the other's.
 *
 * Invariants:
 *   1. Nothing is ever written to the attached file, nor checkpointed: SQLite has it with mode=ro,
 *      its descriptor cannot write, and a last close leaves its log.
 *   2. What is attached is a file, no link and no pipe, and is the one whose path was given: its
 *      inode is compared with that of SQLite's own descriptor. Nor is its journal, log or map a
 *      pipe, on which opening would wait for ever.
 *   3. It is read without a map (mmap_size 0), with cell_size_check; its schema is not trusted.
 *   4. A commit of ours never waits for one of the other side that waits for us. In rollback mode
 *      both would read what the other is about to commit; so reading it ends before the commit.
 *   5. That it waits for a recovery, which a reader cannot do, is BUSY, and only that is.
 *   6. The database file is never opened by us, only by SQLite (sqlite_open.c, invariant 1).
 *
 * What remains: check finds a map (-shm) that was cut, but who cuts it between check and the next
 * statement ends this process with SIGBUS. In rollback mode there is no map.
 *
 * kp_sqlite_recover opens a file that somebody else writes for writing. A rollback journal may name
 * a super-journal, which SQLite reads and then deletes, wherever it is; so a journal of that kind
 * is refused by a file system of its own, which opens and deletes nothing but the file's own.
 *
 * Not here: beginning a transaction without a lock on `other` (sqlite_transaction.c), and the
 * limits on values and time (sqlite_driver.c).
 *
 * Held by tests/contract/test_sqlite_beside.c.
 */
#include "sql/sqlite_driver.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADER_SIZE = 100, HEADER_READ_VERSION = 19, LOG_VERSION = 2 };
#define FILE_BYTES_MIN 512
#define MAP_BYTES_MIN 32768 /* SQLite makes and maps a -shm in pieces of this size */
#define RECOVER_TIMEOUT_MS 5000

static const char probe[] = "SELECT 1 FROM other.sqlite_schema LIMIT 1";

/* ---------------------------------------------------------------- what is there */

bool kp_sqlite_says_log(struct kp_sqlite *conn, const char *schema)
{
	unsigned char header[HEADER_SIZE];
	sqlite3_file *file = NULL;

	return sqlite3_file_control(conn->db, schema, SQLITE_FCNTL_FILE_POINTER, &file) ==
		       SQLITE_OK &&
	       file && file->pMethods &&
	       file->pMethods->xRead(file, header, sizeof header, 0) == SQLITE_OK &&
	       header[HEADER_READ_VERSION] == LOG_VERSION;
}

static bool is_map_cut(const char *path)
{
	char map[PATH_MAX + 8];
	struct stat st;

	(void)snprintf(map, sizeof map, "%s-shm", path);
	return stat(map, &st) == 0 && st.st_size < MAP_BYTES_MIN;
}

/* Invariant 2, of what lies beside a file. */
static keep_status check_neighbours(const char *path, keep_error *err)
{
	static const char *const suffixes[] = {"-journal", "-wal", "-shm"};

	for (size_t i = 0; i < KP_COUNT(suffixes); i++) {
		char name[PATH_MAX + 16];
		struct stat st;

		(void)snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
		if (lstat(name, &st) == 0 && !S_ISREG(st.st_mode))
			return kp_fail(err, KEEP_CORRUPT, "'%s' is not a file", name);
	}
	return KEEP_OK;
}

static keep_status find_file(const char *path, struct stat *st, keep_error *err)
{
	if (lstat(path, st) != 0 && errno != ENOENT && errno != ENOTDIR)
		return kp_fail_errno(err, errno, "open '%s'", path);
	if (lstat(path, st) != 0)
		return kp_fail(err, KEEP_NOT_FOUND, "there is no file '%s'", path);
	if (!S_ISREG(st->st_mode))
		return kp_fail(err, KEEP_CORRUPT, "'%s' is a link or no file at all", path);
	if (st->st_size == 0)
		return kp_fail(err, KEEP_NOT_FOUND, "the file '%s' is empty, not a database", path);
	if (st->st_size < FILE_BYTES_MIN)
		return kp_fail(err, KEEP_CORRUPT, "the file '%s' is too short for a database",
			       path);
	return check_neighbours(path, err);
}

/* ---------------------------------------------------------------- failures */

/* Does a reader meet `rc` where a killed writer's transaction lies? */
static bool is_unrecovered(int rc)
{
	return rc == SQLITE_READONLY_ROLLBACK || rc == SQLITE_READONLY_RECOVERY ||
	       rc == SQLITE_READONLY_CANTINIT;
}

/* Its journal, log or map cannot be opened or made for writing. */
static bool is_blocked(int rc, int errnum)
{
	return ((rc & 0xff) == SQLITE_CANTOPEN || rc == SQLITE_READONLY_DIRECTORY) &&
	       (errnum == 0 || errnum == ENOENT || errnum == EACCES || errnum == EPERM ||
		errnum == EROFS);
}

static keep_status fail_unrecovered(const char *path, int rc, keep_error *err)
{
	keep_status status =
		kp_fail(err, KEEP_BUSY, "%s: it waits for its writer to recover it (%s)", path,
			sqlite3_errstr(rc));

	if (err)
		err->native = rc;
	return status;
}

/* The same failure can be the main file's own: the attached one is asked for its. */
keep_status kp_sqlite_judge(struct kp_sqlite *conn, int rc, keep_status status, keep_error *err)
{
	int errnum = sqlite3_system_errno(conn->db);

	if (!is_unrecovered(rc) && (!is_blocked(rc, errnum) ||
				    sqlite3_exec(conn->db, probe, NULL, NULL, NULL) == SQLITE_OK ||
				    (sqlite3_extended_errcode(conn->db) & 0xff) != (rc & 0xff)))
		return status;
	return fail_unrecovered(conn->beside, rc, err);
}

/* SQLite has the attached file's failure; `path` is its name. */
static keep_status fail_other(struct kp_sqlite *conn, const char *path, keep_error *err)
{
	int rc = sqlite3_extended_errcode(conn->db);
	int errnum = sqlite3_system_errno(conn->db);
	keep_status status = kp_sqlite_status(rc, errnum);
	struct stat st;

	if ((rc & 0xff) == SQLITE_CANTOPEN && lstat(path, &st) != 0 && errno == ENOENT)
		return kp_fail(err, KEEP_NOT_FOUND, "there is no file '%s'", path);
	if (is_unrecovered(rc) || is_blocked(rc, errnum))
		return fail_unrecovered(path, rc, err);
	/* Always the same statements: what SQLite cannot make of them is the file's fault. */
	if ((rc & 0xff) == SQLITE_ERROR || (rc & 0xff) == SQLITE_TOOBIG)
		status = KEEP_CORRUPT;
	if (status == KEEP_OK)
		status = KEEP_NO_MEMORY;
	if ((rc & 0xff) == SQLITE_INTERRUPT)
		status = kp_fail(err, status, "%s: reading its schema took longer than %lld ms",
				 path, (long long)conn->statement_ms);
	else
		status = kp_fail(err, status, "%s: %s", path, sqlite3_errmsg(conn->db));
	if (err)
		err->native = rc;
	return status;
}

/* ---------------------------------------------------------------- attaching */

static keep_status attach_file(struct kp_sqlite *conn, const char *path, keep_error *err)
{
	char *uri = kp_alloc(KP_SQLITE_URI_SIZE);
	sqlite3_stmt *handle = NULL;
	keep_status status = KEEP_OK;

	if (!uri)
		return kp_fail_memory(err, "a path");
	kp_sqlite_format_uri(path, "mode=ro", uri);
	kp_sqlite_time_begin(conn, 0);
	if (sqlite3_prepare_v2(conn->db, "ATTACH ?1 AS other", -1, &handle, NULL) != SQLITE_OK ||
	    sqlite3_bind_text(handle, 1, uri, -1, SQLITE_STATIC) != SQLITE_OK ||
	    sqlite3_step(handle) != SQLITE_DONE)
		status = fail_other(conn, path, err);
	(void)sqlite3_finalize(handle);
	kp_free(uri);
	return status;
}

/* Invariant 2: SQLite's descriptor, the path it opened and the path given are one file. */
static keep_status check_identity(struct kp_sqlite *conn, const struct stat *given, keep_error *err)
{
	const char *name = sqlite3_db_filename(conn->db, "other");
	struct stat opened, now;
	int moved = 1;

	if (name && sqlite3_db_readonly(conn->db, "other") == 1 &&
	    sqlite3_file_control(conn->db, "other", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
	    moved == 0 && stat(name, &opened) == 0 && lstat(conn->beside, &now) == 0 &&
	    S_ISREG(now.st_mode) && opened.st_dev == given->st_dev &&
	    opened.st_ino == given->st_ino && now.st_dev == given->st_dev &&
	    now.st_ino == given->st_ino)
		return KEEP_OK;
	return kp_fail(err, KEEP_UNAVAILABLE, "%s: the file was replaced while it was opened",
		       conn->beside);
}

static keep_status set_other(struct kp_sqlite *conn, keep_error *err)
{
	char mode[16] = "";
	keep_status status = kp_sqlite_set(conn, "other.mmap_size", "0", NULL, err);

	if (status == KEEP_OK)
		status = kp_sqlite_set(conn, "cell_size_check", "1", "1", err);
	if (status != KEEP_OK)
		return status;
	kp_sqlite_time_begin(conn, 0);
	if (sqlite3_exec(conn->db, probe, NULL, NULL, NULL) != SQLITE_OK)
		return fail_other(conn, conn->beside, err);
	status = kp_sqlite_query(conn, "PRAGMA other.journal_mode", mode, sizeof mode, err);
	if (status == KEEP_OK && strcmp(mode, "wal") == 0)
		conn->base.caps |= KP_SQL_OTHER_LOG;
	return status;
}

/* SQLite reads the missing end of a last page as zeros; sqlite_open.c does the same for main. With
   a log or a journal a killed writer may have left it so. */
static keep_status check_length(struct kp_sqlite *conn, keep_error *err)
{
	static const char *const suffixes[] = {"-journal", "-wal"};
	char name[PATH_MAX + 16], pages[24];
	int64_t page_bytes = 0;
	struct stat st;
	keep_status status;

	for (size_t i = 0; i < KP_COUNT(suffixes); i++) {
		(void)snprintf(name, sizeof name, "%s%s", conn->beside, suffixes[i]);
		if (stat(name, &st) == 0)
			return KEEP_OK;
	}
	status = kp_sqlite_query(conn, "PRAGMA other.page_size", pages, sizeof pages, err);
	if (status != KEEP_OK || stat(conn->beside, &st) != 0 ||
	    !kp_int_parse(keep_bytes_of(pages), &page_bytes) || page_bytes < FILE_BYTES_MIN ||
	    st.st_size % page_bytes == 0)
		return status;
	status = kp_fail(err, KEEP_CORRUPT, "%s: the file ends within a page", conn->beside);
	if (err)
		err->native = SQLITE_CORRUPT;
	return status;
}

keep_status kp_sqlite_attach(struct kp_sqlite *conn, const char *location, keep_error *err)
{
	char path[PATH_MAX];
	struct stat st;
	keep_status status = kp_sqlite_path(location, path, err);

	if (status == KEEP_OK)
		status = find_file(path, &st, err);
	if (status == KEEP_OK)
		status = attach_file(conn, path, err);
	if (status == KEEP_OK)
		status = kp_text_copy(path, &conn->beside, err);
	if (status == KEEP_OK)
		status = check_identity(conn, &st, err);
	if (status != KEEP_OK)
		return status;
	conn->beside_place[0] = st.st_dev;
	conn->beside_place[1] = st.st_ino;
	status = set_other(conn, err);
	return status == KEEP_OK ? check_length(conn, err) : status;
}

/* ---------------------------------------------------------------- looking again */

/* Whoever uses a map behind its end gets SIGBUS. Closing does not touch it without the checkpoint
   that is left out here; but the rollback of a writing transaction does. check is asked outside of
   those, so what remains is who cuts the map while one runs. */
static keep_status fail_map(struct kp_sqlite *conn, const char *path, keep_error *err)
{
	(void)sqlite3_db_config(conn->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	conn->base.broken = true;
	return kp_fail(err, KEEP_CORRUPT, "%s-shm: the file was cut while it is in use", path);
}

/* The attached file's mode as it is now. One that became WAL is mapped at once: until then its -shm
   may be short for a moment without anything being wrong. */
static void note_mode(struct kp_sqlite *conn)
{
	if (!kp_sqlite_says_log(conn, "other")) {
		conn->base.caps &= ~(unsigned)KP_SQL_OTHER_LOG;
	} else if (!(conn->base.caps & KP_SQL_OTHER_LOG) && sqlite3_get_autocommit(conn->db)) {
		kp_sqlite_time_begin(conn, 0);
		if (sqlite3_exec(conn->db, probe, NULL, NULL, NULL) == SQLITE_OK)
			conn->base.caps |= KP_SQL_OTHER_LOG;
	}
}

static keep_status look_beside(struct kp_sqlite *conn, keep_error *err)
{
	struct stat st;
	keep_status status = KEEP_OK;

	if (lstat(conn->beside, &st) != 0 || st.st_dev != conn->beside_place[0] ||
	    st.st_ino != conn->beside_place[1]) {
		conn->base.broken = true;
		return kp_fail(err, KEEP_UNAVAILABLE, "%s: the file was deleted or replaced",
			       conn->beside);
	}
	if ((conn->base.caps & KP_SQL_OTHER_LOG) &&
	    is_map_cut(sqlite3_db_filename(conn->db, "other")))
		return fail_map(conn, conn->beside, err);
	/* In WAL mode they are open; without a log its journal is opened by each transaction. */
	if (!(conn->base.caps & KP_SQL_OTHER_LOG))
		status = check_neighbours(conn->beside, err);
	if (status != KEEP_OK)
		conn->base.broken = true;
	else if (!conn->base.broken)
		note_mode(conn);
	return status;
}

keep_status kp_sqlite_look(struct kp_sqlite *conn, keep_error *err)
{
	if (conn->base.caps & KP_SQL_LOG) {
		if (is_map_cut(conn->path))
			return fail_map(conn, conn->path, err);
	} else if (conn->guard.fd < 0 && kp_sqlite_says_log(conn, "main")) {
		/* Writing in WAL mode needs the guard; who has one is about to change the mode. */
		conn->base.broken = true;
		return kp_fail(err, KEEP_UNAVAILABLE, "%s: another program changed it to WAL mode",
			       conn->path);
	}
	return conn->beside ? look_beside(conn, err) : KEEP_OK;
}

/* ---------------------------------------------------------------- committing */

static bool has_running_statement(struct kp_sqlite *conn)
{
	sqlite3_stmt *handle = NULL;

	while ((handle = sqlite3_next_stmt(conn->db, handle))) {
		if (sqlite3_stmt_busy(handle))
			return true;
	}
	return false;
}

/* SQLite keeps the shared lock on a file that a transaction has read until the transaction's end,
   and the commit in between waits until nobody reads the main file. Two sides that do that to each
   other wait for ever. COMMIT reads nothing of `other`, and after it SQLite gives this lock back
   anyway: to one that is gone already it says nothing. A running statement would go on reading. In
   WAL mode the lock means something else, and readers hold up nobody. */
void kp_sqlite_let_go(struct kp_sqlite *conn)
{
	sqlite3_file *file = NULL;

	if (sqlite3_txn_state(conn->db, "other") != SQLITE_TXN_READ ||
	    kp_sqlite_says_log(conn, "other") || has_running_statement(conn))
		return;
	if (sqlite3_file_control(conn->db, "other", SQLITE_FCNTL_FILE_POINTER, &file) ==
		    SQLITE_OK &&
	    file && file->pMethods)
		(void)file->pMethods->xUnlock(file, SQLITE_LOCK_NONE);
}

/* ---------------------------------------------------------------- recovering */

/* A file system that is the driver's but for super-journals. */
struct own_files {
	sqlite3_vfs base; /* first: SQLite hands it back */
	sqlite3_vfs *real;
	char name[32];
};

static int open_own(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *done)
{
	sqlite3_vfs *real = ((struct own_files *)(void *)vfs)->real;

	file->pMethods = NULL;
	if (flags & SQLITE_OPEN_SUPER_JOURNAL)
		return SQLITE_CORRUPT;
	return real->xOpen(real, name, file, flags, done);
}

static int delete_own(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
	sqlite3_vfs *real = ((struct own_files *)(void *)vfs)->real;

	return real->xDelete(real, name, sync_folder);
}

static int access_own(sqlite3_vfs *vfs, const char *name, int flags, int *found)
{
	sqlite3_vfs *real = ((struct own_files *)(void *)vfs)->real;

	return real->xAccess(real, name, flags, found);
}

static int full_path_own(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
	sqlite3_vfs *real = ((struct own_files *)(void *)vfs)->real;

	return real->xFullPathname(real, name, size, out);
}

static keep_status make_own(struct own_files *own, keep_error *err)
{
	own->real = kp_seal_vfs();
	if (!own->real)
		return kp_fail_memory(err, "a file system of SQLite");
	own->base = *own->real;
	own->base.pNext = NULL;
	own->base.zName = own->name;
	own->base.xOpen = open_own;
	own->base.xDelete = delete_own;
	own->base.xAccess = access_own;
	own->base.xFullPathname = full_path_own;
	(void)snprintf(own->name, sizeof own->name, "keep-%p", (void *)own);
	if (sqlite3_vfs_register(&own->base, 0) != SQLITE_OK)
		return kp_fail_memory(err, "a file system of SQLite");
	return KEEP_OK;
}

static keep_status recover_file(const char *path, const char *files, keep_error *err)
{
	static const char look[] = "PRAGMA trusted_schema = 0; SELECT count(*) FROM sqlite_schema";
	struct kp_sqlite conn = {.path = path};
	keep_status status = KEEP_OK;
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

	if (sqlite3_open_v2(path, &conn.db, flags, files) != SQLITE_OK) {
		status = conn.db ? kp_sqlite_fail(&conn, err)
				 : kp_fail_memory(err, "a SQLite connection");
		goto out;
	}
	(void)sqlite3_busy_timeout(conn.db, RECOVER_TIMEOUT_MS);
	(void)sqlite3_db_config(conn.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	(void)sqlite3_db_config(conn.db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	if (sqlite3_db_readonly(conn.db, "main") != 0)
		status = kp_fail(err, KEEP_DENIED, "%s: the file may only be read", path);
	if (status == KEEP_OK)
		status = kp_sqlite_add_json(&conn, err);
	if (status == KEEP_OK && sqlite3_exec(conn.db, look, NULL, NULL, NULL) != SQLITE_OK)
		status = kp_sqlite_fail(&conn, err);
out:
	(void)sqlite3_close(conn.db);
	return status;
}

keep_status kp_sqlite_recover(const char *file, keep_error *err)
{
	char path[PATH_MAX];
	struct stat st;
	struct own_files *own = NULL;
	keep_error local = KEEP_ERROR_INIT;
	keep_status status;

	err = err ? err : &local;
	status = kp_sqlite_path(file, path, err);
	if (status == KEEP_OK)
		status = find_file(path, &st, err);
	if (status != KEEP_OK)
		return status;
	own = kp_alloc_zero(sizeof *own);
	if (!own)
		return kp_fail_memory(err, "a recovery");
	status = make_own(own, err);
	if (status == KEEP_OK) {
		status = recover_file(path, own->name, err);
		(void)sqlite3_vfs_unregister(&own->base);
	}
	kp_free(own);
	return status;
}

/* ---------------------------------------------------------------- a look from outside */

keep_status kp_sqlite_has_log(const char *file, bool *has_log, keep_error *err)
{
	char path[PATH_MAX];
	struct stat st;
	struct kp_sqlite conn = {.path = path};
	keep_error local = KEEP_ERROR_INIT;
	keep_status status;
	int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

	err = err ? err : &local;
	*has_log = false;
	status = kp_sqlite_path(file, path, err);
	if (status == KEEP_OK)
		status = find_file(path, &st, err);
	if (status != KEEP_OK)
		return status;
	if (kp_seal_open(path, &conn.db, flags) != SQLITE_OK)
		status = conn.db ? kp_sqlite_fail(&conn, err)
				 : kp_fail_memory(err, "a SQLite connection");
	else
		*has_log = kp_sqlite_says_log(&conn, "main");
	(void)sqlite3_close(conn.db);
	return status;
}

bool kp_sqlite_awaits_recovery(keep_status status, const keep_error *err)
{
	return status == KEEP_BUSY && (is_unrecovered(err->native) || is_blocked(err->native, 0));
}

bool kp_sqlite_may_be_torn(keep_status status, const keep_error *err)
{
	int primary = err->native & 0xff;

	return (status == KEEP_CORRUPT || status == KEEP_UNAVAILABLE) &&
	       (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_IOERR);
}
