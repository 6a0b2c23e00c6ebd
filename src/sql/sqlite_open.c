/*
 * sqlite_open.c - the SQLite driver: opening, creating and closing a file.
 *
 * Invariants:
 *   1. A new file is made by mknod with mode 0600, whatever the umask, and its folder is synced,
 *      before SQLite sees it. mknod and not open: closing *any* descriptor of a file drops all
 *      POSIX locks this process has on it, those of another connection too.
 *   2. For the same reason nothing here opens the database file itself, only stat.
 *   3. Every setting is read back. SQLite ignores what it does not know without a word.
 *   4. The log mode is changed under the write guard, so that two processes that create a file at
 *      once do not meet in it (SQLite answers BUSY there without waiting).
 *   5. The guard is named after SQLite's canonical path, so that two ways to one file share it.
 *   6. The path given to SQLite begins with "/" or "./": a file named "file:x?immutable=1" or
 *      ":memory:" is a file.
 *   7. options.inspect is asked before the log mode is changed and before a guard is made, and what
 *      could not be opened is closed without copying its log: a file that is refused keeps every
 *      byte. (One in rollback mode whose last transaction was killed is rolled back, as by every
 *      reader.)
 *
 *   8. With KP_JOURNAL_ROLLBACK nothing is ever mapped shared, not even to convert a file in WAL
 *      mode: which mode it has is read from its header before SQLite is asked.
 *
 * A read-only connection makes no database, no guard. A WAL database can only be read with its -wal
 * and -shm files, and SQLite makes those if they are missing and the folder allows it; in a folder
 * that does not, opening fails. SQLite's `immutable` would read on, and be wrong as soon as
 * somebody writes.
 *
 * Held by tests/contract/test_sqlite_open.c, tests/contract/test_sqlite_beside.c and
 * tests/torture/test_sqlite_faults.c.
 */
#include "sql/sqlite_driver.h"
#include "sql/sqlite_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT_MS_DEFAULT 5000
#define PAGE_BYTES_DEFAULT 4096
#define PAGE_BYTES_MIN 512 /* of SQLite's format */

/* ---------------------------------------------------------------- the file */

keep_status kp_sqlite_sync_folder(const char *path, keep_error *err)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/'); /* there is one: invariant 6 */
	size_t len = slash == path ? 1 : (size_t)(slash - path);
	keep_status status;
	int fd = -1;

	memcpy(folder, path, len);
	folder[len] = '\0';
	status = kp_file_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	return status;
}

/* Some file systems make files only by open. Then a connection of this process that opened the new
   file between open and close loses its locks: it is new, so nothing is at stake yet. */
static int make_file_by_open(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno;
	kp_file_close(&fd);
	return 0;
}

static int make_file(const char *path)
{
	int rc = 0;

	if (kp_fault(KP_FAULT_FILE))
		return EIO;
	if (mknod(path, S_IFREG | 0600, 0) != 0)
		rc = errno;
	if (rc == EPERM || rc == ENOSYS || rc == EOPNOTSUPP)
		rc = make_file_by_open(path);
	if (rc == 0 && chmod(path, 0600) != 0) /* the umask may have taken bits away */
		rc = errno;
	return rc;
}

/* Make an empty file. That it appeared meanwhile is no failure: someone else created it. */
static keep_status create_file(const char *path, keep_error *err)
{
	int rc = make_file(path);

	if (rc == EEXIST)
		return KEEP_OK;
	if (rc == ENOENT || rc == ENOTDIR)
		return kp_fail(err, KEEP_NOT_FOUND, "the folder of '%s' does not exist", path);
	if (rc != 0)
		return kp_fail_errno(err, rc, "create '%s'", path);
	return kp_sqlite_sync_folder(path, err);
}

/* The file is there afterwards, perhaps empty when it may be created. */
static keep_status find_file(const kp_sql_options *options, const char *path, keep_error *err)
{
	bool create = options->create && !options->read_only;
	struct stat st;

	if (stat(path, &st) != 0) {
		if (errno != ENOENT)
			return kp_fail_errno(err, errno, "open '%s'", path);
		if (!create)
			return kp_fail(err, KEEP_NOT_FOUND, "there is no file '%s'", path);
		return create_file(path, err);
	}
	if (!S_ISREG(st.st_mode))
		return kp_fail(err, KEEP_INVALID, "'%s' is not a file", path);
	if (st.st_size == 0 && !create)
		return kp_fail(err, KEEP_NOT_FOUND, "the file '%s' is empty, not a database", path);
	/* SQLite takes a file of one byte for an empty one. */
	if (st.st_size > 0 && st.st_size < PAGE_BYTES_MIN)
		return kp_fail(err, KEEP_CORRUPT, "the file '%s' is too short for a database",
			       path);
	return KEEP_OK;
}

keep_status kp_sqlite_path(const char *location, char path[PATH_MAX], keep_error *err)
{
	const char *prefix;

	if (!location || location[0] == '\0')
		return kp_fail(err, KEEP_INVALID, "a SQLite database needs the path of its file");
	prefix = location[0] == '/' ? "" : "./";
	if (snprintf(path, PATH_MAX, "%s%s", prefix, location) >= PATH_MAX)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", location);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- settings */

keep_status kp_sqlite_query(struct kp_sqlite *conn, const char *sql, char *out, size_t size,
			    keep_error *err)
{
	sqlite3_stmt *handle = NULL;
	keep_status status = KEEP_OK;
	const char *text = NULL;
	int rc;

	out[0] = '\0';
	kp_sqlite_time_begin(conn, 0);
	if (sqlite3_prepare_v2(conn->db, sql, -1, &handle, NULL) != SQLITE_OK)
		return kp_sqlite_fail(conn, err);
	while ((rc = sqlite3_step(handle)) == SQLITE_ROW) {
		text = (const char *)sqlite3_column_text(handle, 0);
		(void)snprintf(out, size, "%s", text ? text : "");
	}
	if (rc != SQLITE_DONE)
		status = kp_sqlite_fail(conn, err);
	(void)sqlite3_finalize(handle);
	return status;
}

keep_status kp_sqlite_set(struct kp_sqlite *conn, const char *name, const char *value,
			  const char *expected, keep_error *err)
{
	char sql[80], answer[40];
	keep_status status;

	(void)snprintf(sql, sizeof sql, "PRAGMA %s = %s", name, value);
	status = kp_sqlite_query(conn, sql, answer, sizeof answer, err);
	if (status != KEEP_OK)
		return status;
	(void)snprintf(sql, sizeof sql, "PRAGMA %s", name);
	status = kp_sqlite_query(conn, sql, answer, sizeof answer, err);
	if (status != KEEP_OK || !expected || strcmp(answer, expected) == 0)
		return status;
	return kp_fail(err, KEEP_UNAVAILABLE, "%s: PRAGMA %s is '%s' where '%s' was asked",
		       conn->path, name, answer, expected);
}

static keep_status set_number(struct kp_sqlite *conn, const char *name, int64_t value,
			      keep_error *err)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%" PRId64, value);
	return kp_sqlite_set(conn, name, text, text, err);
}

/* Before the first page is written. */
static keep_status reserve_seals(struct kp_sqlite *conn, const kp_sql_options *options,
				 keep_error *err)
{
	int bytes = KP_SEAL_BYTES;

	if (!options->seal ||
	    sqlite3_file_control(conn->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes) == SQLITE_OK)
		return KEEP_OK;
	return kp_fail(err, KEEP_UNAVAILABLE, "%s: SQLite reserves no bytes for seals", conn->path);
}

/* And afterwards, as every setting. */
static keep_status check_seals(struct kp_sqlite *conn, const kp_sql_options *options,
			       keep_error *err)
{
	if (!options->seal || kp_seal_is_on(conn->db, "main"))
		return KEEP_OK;
	return kp_fail(err, KEEP_UNAVAILABLE, "%s: its pages did not get seals", conn->path);
}

/* Turn a new or converted file into a WAL database; the guard is held. */
static keep_status make_wal(struct kp_sqlite *conn, const kp_sql_options *options, keep_error *err)
{
	int page_bytes = options->page_bytes > 0 ? options->page_bytes : PAGE_BYTES_DEFAULT;
	char pages[24];
	keep_status status = kp_sqlite_query(conn, "PRAGMA page_count", pages, sizeof pages, err);
	bool is_new = strcmp(pages, "0") == 0;

	if (status == KEEP_OK && is_new)
		status = set_number(conn, "page_size", page_bytes, err);
	if (status == KEEP_OK && is_new)
		status = reserve_seals(conn, options, err);
	if (status == KEEP_OK && is_new && options->gives_pages_back)
		status = set_number(conn, "auto_vacuum", 2, err); /* INCREMENTAL; makes a page */
	if (status == KEEP_OK)
		status = kp_sqlite_set(conn, "journal_mode", "wal", "wal", err);
	if (status == KEEP_OK && is_new)
		status = check_seals(conn, options, err);
	return status;
}

static keep_status prepare_fixed(struct kp_sqlite *conn, keep_error *err)
{
	static const char *const texts[KP_SQLITE_FIXED] = {
		[KP_SQLITE_BEGIN_READ] = "BEGIN",
		[KP_SQLITE_BEGIN_WRITE] = "BEGIN IMMEDIATE",
		[KP_SQLITE_LOCK_MAIN] = "PRAGMA main.incremental_vacuum(1)",
		[KP_SQLITE_COMMIT] = "COMMIT",
		[KP_SQLITE_ROLLBACK] = "ROLLBACK",
	};

	for (size_t i = 0; i < KP_SQLITE_FIXED && !conn->fixed[i]; i++) {
		if (sqlite3_prepare_v3(conn->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &conn->fixed[i], NULL) != SQLITE_OK)
			return kp_sqlite_fail(conn, err);
	}
	return KEEP_OK;
}

/* Invariant 7. An empty file is nobody's. */
static keep_status inspect(struct kp_sqlite *conn, const kp_sql_options *options, keep_error *err)
{
	char pages[24];
	keep_status status = KEEP_OK;

	if (!options->inspect)
		return KEEP_OK;
	status = kp_sqlite_query(conn, "PRAGMA page_count", pages, sizeof pages, err);
	if (status != KEEP_OK || strcmp(pages, "0") == 0)
		return status;
	status = prepare_fixed(conn, err);
	return status == KEEP_OK ? options->inspect(options->inspect_ctx, &conn->base, err)
				 : status;
}

static keep_status fail_mode(struct kp_sqlite *conn, const char *mode, const char *asked,
			     keep_error *err)
{
	return kp_fail(err, KEEP_UNAVAILABLE,
		       "%s: PRAGMA journal_mode is '%s' where '%s' was asked", conn->path, mode,
		       asked);
}

/* What is not in WAL mode becomes so, or stays as it is. */
static keep_status set_log(struct kp_sqlite *conn, const kp_sql_options *options, keep_error *err)
{
	bool as_is = options->journal == KP_JOURNAL_AS_IS;
	char mode[16], pages[24] = "0";
	keep_status status = kp_sqlite_query(conn, "PRAGMA journal_mode", mode, sizeof mode, err);
	bool has_log = strcmp(mode, "wal") == 0;

	if (status == KEEP_OK)
		status = inspect(conn, options, err);
	if (status == KEEP_OK && as_is && !has_log)
		status = kp_sqlite_query(conn, "PRAGMA page_count", pages, sizeof pages, err);
	if (status != KEEP_OK || (as_is && !has_log && strcmp(pages, "0") != 0))
		return status;
	if (conn->read_only && !has_log)
		return as_is ? KEEP_OK : fail_mode(conn, mode, "wal", err);
	if (!conn->read_only)
		status = kp_guard_open(&conn->guard, options->guard ? options->guard : conn->path,
				       err);
	if (status == KEEP_OK && !has_log) {
		status = kp_sqlite_enter(conn, err);
		if (status == KEEP_OK)
			status = make_wal(conn, options, err);
		kp_sqlite_leave(conn);
		/* It is mapped from here on, so that check may judge the map. */
		if (status == KEEP_OK)
			status = kp_sqlite_query(conn, "SELECT count(*) FROM sqlite_schema", pages,
						 sizeof pages, err);
	}
	if (status == KEEP_OK)
		conn->base.caps |= KP_SQL_LOG;
	return status;
}

/* Begin a new file, so that the other side finds a database. */
static keep_status make_rollback(struct kp_sqlite *conn, const kp_sql_options *options,
				 keep_error *err)
{
	int page_bytes = options->page_bytes > 0 ? options->page_bytes : PAGE_BYTES_DEFAULT;
	char answer[24];
	keep_status status = set_number(conn, "page_size", page_bytes, err);

	if (status == KEEP_OK)
		status = reserve_seals(conn, options, err);
	/* It begins a writing transaction, which makes the first page, and does nothing more. */
	if (status == KEEP_OK)
		status = kp_sqlite_query(conn, "PRAGMA main.incremental_vacuum(1)", answer,
					 sizeof answer, err);
	return status == KEEP_OK ? check_seals(conn, options, err) : status;
}

/* Invariant 8. In exclusive mode SQLite has the log's index in its own memory, and the file for
   itself, or answers BUSY. */
static keep_status set_rollback(struct kp_sqlite *conn, const kp_sql_options *options,
				keep_error *err)
{
	bool has_log = kp_sqlite_says_log(conn, "main");
	char pages[24] = "";
	keep_status status = KEEP_OK;

	if (has_log && conn->read_only)
		return fail_mode(conn, "wal", "delete", err);
	if (has_log)
		status = kp_sqlite_set(conn, "locking_mode", "exclusive", "exclusive", err);
	if (status == KEEP_OK)
		status = inspect(conn, options, err);
	if (status == KEEP_OK)
		status = kp_sqlite_set(conn, "journal_mode", "delete", "delete", err);
	if (status == KEEP_OK && has_log)
		status = kp_sqlite_set(conn, "locking_mode", "normal", "normal", err);
	if (status == KEEP_OK) /* whose reading gives an exclusive lock back */
		status = kp_sqlite_query(conn, "PRAGMA page_count", pages, sizeof pages, err);
	if (status == KEEP_OK && strcmp(pages, "0") == 0 && !conn->read_only)
		status = make_rollback(conn, options, err);
	return status;
}

static keep_status set_journal(struct kp_sqlite *conn, const kp_sql_options *options,
			       keep_error *err)
{
	return options->journal == KP_JOURNAL_ROLLBACK ? set_rollback(conn, options, err)
						       : set_log(conn, options, err);
}

static keep_status set_defensive(struct kp_sqlite *conn, keep_error *err)
{
	int on = 0;

	if (sqlite3_db_config(conn->db, SQLITE_DBCONFIG_DEFENSIVE, 1, &on) == SQLITE_OK && on == 1)
		return KEEP_OK;
	return kp_fail(err, KEEP_UNAVAILABLE, "%s: SQLite's defensive mode cannot be set",
		       conn->path);
}

static keep_status set_all(struct kp_sqlite *conn, const kp_sql_options *options, keep_error *err)
{
	const char *synchronous = options->relaxed ? "1" : "2"; /* NORMAL, FULL */
	bool maps = !options->beside && options->journal != KP_JOURNAL_ROLLBACK;
	char mmap_bytes[24];
	keep_status status = set_number(conn, "busy_timeout", conn->timeout_ms, err);

	(void)snprintf(mmap_bytes, sizeof mmap_bytes, "%" PRId64,
		       maps && options->mmap_bytes > 0 ? options->mmap_bytes : 0);
	if (status == KEEP_OK)
		status = set_defensive(conn, err);
	if (status == KEEP_OK)
		status = set_number(conn, "trusted_schema", 0, err);
	if (status == KEEP_OK)
		status = set_journal(conn, options, err);
	if (status == KEEP_OK)
		status = kp_sqlite_set(conn, "synchronous", synchronous, synchronous, err);
	if (status == KEEP_OK)
		status = set_number(conn, "foreign_keys", 1, err);
	if (status == KEEP_OK && options->cache_bytes > 0) /* negative: KiB instead of pages */
		status = set_number(conn, "cache_size", -((options->cache_bytes + 1023) / 1024),
				    err);
	if (status == KEEP_OK) /* the build may cap it */
		status = kp_sqlite_set(conn, "mmap_size", mmap_bytes, NULL, err);
	if (status == KEEP_OK)
		status = set_number(conn, "wal_autocheckpoint", 0, err);
	if (status == KEEP_OK)
		status = set_number(conn, "temp_store", 2, err); /* memory */
	return status;
}

/* ---------------------------------------------------------------- open and close */

static keep_status open_handle(struct kp_sqlite *conn, const kp_sql_options *options,
			       const char *path, keep_error *err)
{
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

	flags |= conn->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	if (options->create && !conn->read_only)
		flags |= SQLITE_OPEN_CREATE;
	if (options->beside) /* which is attached by a URI; `path` is none: invariant 6 */
		flags |= SQLITE_OPEN_URI;
	if (kp_seal_open(path, &conn->db, flags) != SQLITE_OK) {
		if (!conn->db)
			return kp_fail_memory(err, "a SQLite connection");
		conn->path = path;
		return kp_sqlite_fail(conn, err);
	}
	conn->path = sqlite3_db_filename(conn->db, "main");
	if (!conn->read_only && sqlite3_db_readonly(conn->db, "main") != 0)
		return kp_fail(err, KEEP_DENIED, "%s: the file may only be read", conn->path);
	return KEEP_OK;
}

/* SQLite reads the missing end of a last page as zeros. Beside a log that is right: a checkpoint
   was killed there, and the log has the page. Without one, somebody cut the file. */
static keep_status check_length(struct kp_sqlite *conn, bool has_log, keep_error *err)
{
	char pages[24];
	int64_t page_bytes;
	struct stat st;
	keep_status status = kp_sqlite_query(conn, "PRAGMA page_size", pages, sizeof pages, err);

	if (status != KEEP_OK || has_log || stat(conn->path, &st) != 0 ||
	    !kp_int_parse(keep_bytes_of(pages), &page_bytes) || page_bytes < PAGE_BYTES_MIN ||
	    st.st_size % page_bytes == 0)
		return status;
	return kp_fail(err, KEEP_CORRUPT, "%s: the file ends within a page", conn->path);
}

static keep_status open_all(struct kp_sqlite *conn, const kp_sql_options *options, keep_error *err)
{
	const char *log = sqlite3_filename_wal(conn->path);
	struct stat st;
	const char *journal = sqlite3_filename_journal(conn->path);
	bool has_log = stat(log, &st) == 0 && st.st_size > 0;
	bool has_journal = stat(journal, &st) == 0 && st.st_size > 0;
	keep_status status = KEEP_OK;

	if (stat(conn->path, &st) != 0)
		return kp_fail_errno(err, errno, "open '%s'", conn->path);
	conn->base.place[0] = st.st_dev;
	conn->base.place[1] = st.st_ino;
	kp_sqlite_init_timing(conn);
	if (conn->value_max > 0)
		(void)sqlite3_limit(conn->db, SQLITE_LIMIT_LENGTH, (int)conn->value_max);
	/* before the first look at the schema, which may name it */
	status = kp_sqlite_add_json(conn, err);
	if (status == KEEP_OK)
		status = set_all(conn, options, err);
	if (status == KEEP_OK)
		status = check_length(conn, has_log || has_journal, err);
	if (status == KEEP_OK)
		status = prepare_fixed(conn, err);
	if (status == KEEP_OK && options->beside)
		status = kp_sqlite_attach(conn, options->beside, err);
	if (status == KEEP_OK)
		(void)sqlite3_wal_hook(conn->db, kp_sqlite_committed, conn);
	else if (has_log) /* invariant 7: closing must not copy it */
		(void)sqlite3_db_config(conn->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	return status;
}

keep_status kp_sqlite_open(const kp_sql_options *options, kp_sql_conn **out, keep_error *err)
{
	char path[PATH_MAX];
	struct kp_sqlite *conn = NULL;
	keep_status status = kp_sqlite_path(options->location, path, err);
	int primary;

	*out = NULL;
	if (status == KEEP_OK)
		status = find_file(options, path, err);
	if (status != KEEP_OK)
		return status;
	conn = kp_alloc(sizeof *conn);
	if (!conn)
		return kp_fail_memory(err, "a connection");
	*conn = (struct kp_sqlite){
		.base = {.driver = &kp_sql_sqlite,
			 .caps = KP_SQL_ONE_WRITER | KP_SQL_TRANSACTIONAL_DDL},
		.guard = KP_GUARD_INIT,
		.read_only = options->read_only,
		.relaxed = options->relaxed,
		.synchronous = options->relaxed ? 1 : 2,
		.timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : TIMEOUT_MS_DEFAULT,
		.value_max = options->value_max > INT_MAX ? 0 : options->value_max,
		.statement_ms = options->statement_ms > INT_MAX ? INT_MAX : options->statement_ms,
	};
	if (conn->timeout_ms > INT_MAX)
		conn->timeout_ms = INT_MAX;
	kp_sqlite_init_checkpoints(conn);
	status = open_handle(conn, options, path, err);
	if (status == KEEP_OK)
		status = open_all(conn, options, err);
	if (status == KEEP_OK) {
		*out = &conn->base;
		return KEEP_OK;
	}
	primary = err->native & 0xff;
	/* Always the same statements: what SQLite cannot make of them is the file's fault. */
	if (status == KEEP_MISUSE && primary == SQLITE_ERROR)
		status = err->status = KEEP_CORRUPT;
	if (conn->read_only && (primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY))
		status =
			kp_prefix(err, status,
				  "a WAL database is read with its -wal and -shm files, which must "
				  "be there or be made");
	kp_sqlite_close(&conn->base);
	return status;
}

/* The guard outlives SQLite's handle, but need not be held: sqlite_transaction.c, invariant 1. */
void kp_sqlite_close(kp_sql_conn *base)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);

	if (conn->db && !sqlite3_get_autocommit(conn->db))
		kp_sqlite_rollback(base);
	for (size_t i = 0; i < KP_SQLITE_FIXED; i++)
		(void)sqlite3_finalize(conn->fixed[i]);
	/* v2: a statement that was not finished keeps the handle, not the caller, waiting. */
	(void)sqlite3_close_v2(conn->holder);
	(void)sqlite3_close_v2(conn->db);
	kp_guard_close(&conn->guard);
	kp_free(conn->beside);
	kp_free(conn);
}
