/*
 * sqlite_copy.c - the SQLite driver: a verified copy of the file, beside it.
 *
 *     <file>.<label>.part  ► SQLite's backup ► its integrity check ► sync ► <file>.<label> ► sync
 *
 * Invariants:
 *   1. What has the final name is whole: it was checked and synced before it was renamed. A
 *      process killed before that leaves a .part, which the next copy removes.
 *   2. An existing file is never overwritten: the name becomes <file>.<label>-2, -3 …
 *   3. The caller's connection holds the write guard in a writing transaction that has changed
 *      nothing yet. The copy is read by a connection of its own: so it has what is committed, all
 *      of it, and no page that the transaction may have touched.
 *   4. The copy has mode 0600, whatever the umask, and is a database that Keep opens.
 *
 * A large file takes its time, and its writers wait for as long. Old copies are never removed:
 * that is for whoever knows that they are not needed.
 *
 * Tests: tests/contract/test_gateway_migrate.c, tests/torture/test_gateway_migrate_faults.c.
 */
#include "sql/sqlite_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPIES_MAX = 1000 };

/* ---------------------------------------------------------------- names */

/* The first of <file>.<label>, <file>.<label>-2 … that is not there. */
static keep_status find_name(const char *file, const char *label, char out[PATH_MAX],
			     keep_error *err)
{
	for (int number = 1; number <= COPIES_MAX; number++) {
		char suffix[16] = "";
		struct stat st;

		if (number > 1)
			(void)snprintf(suffix, sizeof suffix, "-%d", number);
		if (snprintf(out, PATH_MAX, "%s.%s%s", file, label, suffix) >= PATH_MAX)
			return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", file);
		if (lstat(out, &st) == 0)
			continue;
		return errno == ENOENT ? KEEP_OK : kp_fail_errno(err, errno, "%s", out);
	}
	return kp_fail(err, KEEP_FULL, "%s.%s: there are %d copies already", file, label,
		       COPIES_MAX);
}

static void remove_file(const char *path)
{
	if (unlink(path) != 0 && errno != ENOENT)
		kp_log(KEEP_LOG_WARNING, "%s cannot be removed", path);
}

/* An empty file that is its owner's alone. */
static keep_status make_part(const char *path, keep_error *err)
{
	int fd = -1;
	keep_status status;

	remove_file(path);
	status = kp_file_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0600, &fd, err);
	if (status == KEEP_OK && fchmod(fd, 0600) != 0)
		status = kp_fail_errno(err, errno, "%s", path);
	kp_file_close(&fd);
	return status;
}

/* ---------------------------------------------------------------- copying */

/* A handle dressed as a connection, for kp_sqlite_fail and kp_sqlite_add_json. */
static keep_status open_beside(struct kp_sqlite *conn, const char *location, const char *path,
			       int flags, keep_error *err)
{
	conn->path = path;
	flags |= SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	if (kp_seal_open(location, &conn->db, flags) == SQLITE_OK)
		return KEEP_OK;
	return conn->db ? kp_sqlite_fail(conn, err) : kp_fail_memory(err, "a SQLite connection");
}

static keep_status fail_backup(struct kp_sqlite *to, int rc, keep_error *err)
{
	int errnum = sqlite3_system_errno(to->db);
	keep_status status =
		kp_fail(err, kp_sqlite_status(rc, errnum), "%s: %s", to->path, sqlite3_errstr(rc));

	if (err)
		err->native = rc;
	return status;
}

static keep_status copy_pages(const char *file, const char *part, keep_error *err)
{
	struct kp_sqlite from = {.db = NULL}, to = {.db = NULL};
	sqlite3_backup *backup = NULL;
	int rc = SQLITE_OK;
	keep_status status = open_beside(&from, file, file, SQLITE_OPEN_READONLY, err);

	if (status == KEEP_OK)
		status = open_beside(&to, part, part, SQLITE_OPEN_READWRITE, err);
	/* Nobody reads a .part, so it needs neither a journal nor a sync for each page. */
	if (status == KEEP_OK && sqlite3_exec(to.db,
					      "PRAGMA journal_mode = off;"
					      "PRAGMA synchronous = off",
					      NULL, NULL, NULL) != SQLITE_OK)
		status = kp_sqlite_fail(&to, err);
	if (status != KEEP_OK)
		goto out;
	(void)sqlite3_busy_timeout(from.db, 5000);
	if (kp_seal_is_on(from.db, "main"))
		kp_seal_expect(to.db);
	backup = sqlite3_backup_init(to.db, "main", from.db, "main");
	if (!backup) {
		status = kp_sqlite_fail(&to, err);
		goto out;
	}
	rc = sqlite3_backup_step(backup, -1);
	if (rc != SQLITE_DONE)
		status = fail_backup(&to, rc == SQLITE_OK ? SQLITE_IOERR : rc, err);
	rc = sqlite3_backup_finish(backup);
	if (status == KEEP_OK && rc != SQLITE_OK)
		status = fail_backup(&to, rc, err);
out:
	rc = sqlite3_close(to.db);
	if (status == KEEP_OK && rc != SQLITE_OK)
		status = fail_backup(&to, rc, err);
	(void)sqlite3_close(from.db);
	return status;
}

/* ---------------------------------------------------------------- verifying */

/* Two slashes before an absolute path: it may begin with two itself. */
void kp_sqlite_format_uri(const char *path, const char *query, char uri[KP_SQLITE_URI_SIZE])
{
	static const char digits[] = "0123456789ABCDEF";
	size_t len =
		(size_t)snprintf(uri, KP_SQLITE_URI_SIZE, "file:%s", path[0] == '/' ? "//" : "");

	for (; *path && len + 32 < KP_SQLITE_URI_SIZE; path++) {
		if (strchr("%?#", *path)) {
			uri[len++] = '%';
			uri[len++] = digits[(unsigned char)*path >> 4];
			uri[len++] = digits[(unsigned char)*path & 15];
		} else {
			uri[len++] = *path;
		}
	}
	(void)snprintf(uri + len, KP_SQLITE_URI_SIZE - len, "?%s", query);
}

static keep_status check_integrity(struct kp_sqlite *copy, keep_error *err)
{
	sqlite3_stmt *handle = NULL;
	keep_status status = KEEP_OK;
	int rc;

	if (sqlite3_prepare_v2(copy->db, "PRAGMA integrity_check(1)", -1, &handle, NULL) !=
	    SQLITE_OK)
		return kp_sqlite_fail(copy, err);
	rc = sqlite3_step(handle);
	if (rc == SQLITE_ROW) {
		const char *said = (const char *)sqlite3_column_text(handle, 0);

		if (!said)
			status = kp_fail_memory(err, "an integrity check");
		else if (strcmp(said, "ok") != 0)
			status = kp_fail(err, KEEP_CORRUPT, "%s: the copy is damaged: %s",
					 copy->path, said);
	} else {
		status = kp_sqlite_fail(copy, err);
	}
	(void)sqlite3_finalize(handle);
	return status;
}

static keep_status verify(const char *part, keep_error *err)
{
	struct kp_sqlite copy = {.db = NULL};
	char *uri = kp_alloc(KP_SQLITE_URI_SIZE);
	keep_status status;

	if (!uri)
		return kp_fail_memory(err, "a path");
	/* Nobody else has the file, and nothing is made beside it. */
	kp_sqlite_format_uri(part, "immutable=1", uri);
	status = open_beside(&copy, uri, part, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err);
	if (status == KEEP_OK) /* its constraints name it */
		status = kp_sqlite_add_json(&copy, err);
	if (status == KEEP_OK)
		status = check_integrity(&copy, err);
	(void)sqlite3_close(copy.db);
	kp_free(uri);
	return status;
}

static keep_status sync_part(const char *part, keep_error *err)
{
	int fd = -1;
	keep_status status = kp_file_open(AT_FDCWD, part, O_RDONLY, 0, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	return status;
}

static keep_status copy_to(const char *file, const char *part, const char *target, keep_error *err)
{
	keep_status status = make_part(part, err);

	if (status == KEEP_OK)
		status = copy_pages(file, part, err);
	if (status == KEEP_OK)
		status = verify(part, err);
	if (status == KEEP_OK)
		status = sync_part(part, err);
	kp_moment("sqlite_copy.verified");
	if (status == KEEP_OK)
		status = kp_file_rename(AT_FDCWD, part, AT_FDCWD, target, err);
	if (status == KEEP_OK) {
		status = kp_sqlite_sync_folder(target, err);
		if (status != KEEP_OK)
			remove_file(target);
	}
	if (status != KEEP_OK)
		remove_file(part);
	return status;
}

keep_status kp_sqlite_copy(kp_sql_conn *base, const char *label, keep_error *err)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);
	char target[PATH_MAX], part[PATH_MAX];
	keep_status status;

	if (!conn->has_guard)
		return kp_fail(err, KEEP_MISUSE, "%s: a copy needs a writing transaction",
			       conn->path);
	status = find_name(conn->path, label, target, err);
	if (status == KEEP_OK &&
	    snprintf(part, sizeof part, "%s.%s.part", conn->path, label) >= (int)sizeof part)
		status = kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", conn->path);
	if (status == KEEP_OK)
		status = copy_to(conn->path, part, target, err);
	if (status != KEEP_OK)
		return kp_prefix(err, status, "a copy of %s", conn->path);
	kp_log(KEEP_LOG_INFO, "%s was copied to %s", conn->path, target);
	return KEEP_OK;
}
