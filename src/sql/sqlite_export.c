/*
 * sqlite_export.c - the SQLite driver: a copy of a file that may be another program's.
 *
 * The pages of "main" or of the attached file are copied by SQLite's backup into a new file, in one
 * read transaction: so it is the database of one moment, with what is in its log. Pages are copied
 * and not read, so whatever is in them does no harm here.
 *
 * Invariants:
 *   1. The new file is made exclusively, with mode 0600, and is synced when this returns OK. A
 *      failure leaves none.
 *   2. The copy is in rollback mode: it is whole without a log beside it.
 *
 * What it does not do: verify the copy (sqlite_copy.c does, of our own).
 *
 * Tests: tests/contract/test_mailbox_export.c.
 */
#include "sql/sqlite_driver.h"
#include "sql/sqlite_files.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { BUSY_TRIES = 200, PAGE_BYTES_MAX = 65536 };

static keep_status fail_export(const char *path, int rc, keep_error *err)
{
	keep_status status =
		kp_fail(err, kp_sqlite_status(rc, 0), "%s: %s", path, sqlite3_errstr(rc));

	if (err)
		err->native = rc;
	return status;
}

/* All pages in one step: between two of them the source might change. */
static int copy_pages(sqlite3_backup *backup)
{
	int rc = sqlite3_backup_step(backup, -1);

	for (int tries = 0; rc == SQLITE_BUSY && tries < BUSY_TRIES; tries++) {
		(void)sqlite3_sleep(10);
		rc = sqlite3_backup_step(backup, -1);
	}
	return rc;
}

static keep_status fill(struct kp_sqlite *conn, const char *schema, const char *path,
			keep_error *err)
{
	sqlite3 *to = NULL;
	sqlite3_backup *backup = NULL;
	int rc = kp_seal_open(path, &to,
			      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE);
	keep_status status = KEEP_OK;

	if (rc == SQLITE_OK) /* nobody reads it before it is synced */
		rc = sqlite3_exec(to, "PRAGMA journal_mode = off; PRAGMA synchronous = off", NULL,
				  NULL, NULL);
	if (rc == SQLITE_OK && kp_seal_is_on(conn->db, schema))
		kp_seal_expect(to);
	if (rc == SQLITE_OK) {
		backup = sqlite3_backup_init(to, "main", conn->db, schema);
		rc = backup ? copy_pages(backup) : sqlite3_extended_errcode(to);
	}
	if (rc != SQLITE_DONE)
		status = fail_export(path, rc == SQLITE_OK ? SQLITE_IOERR : rc, err);
	rc = backup ? sqlite3_backup_finish(backup) : SQLITE_OK;
	if (status == KEEP_OK && rc != SQLITE_OK)
		status = fail_export(path, rc, err);
	(void)sqlite3_close(to);
	return status;
}

/* Invariant 2: bytes 18 and 19 of the header; the file is ours alone, and closed. */
static keep_status finish(const char *path, keep_error *err)
{
	char *page = kp_alloc(PAGE_BYTES_MAX);
	size_t got = 0;
	int fd = -1;
	keep_status status = page ? kp_file_open(AT_FDCWD, path, O_RDWR, 0, &fd, err)
				  : kp_fail_memory(err, "a page");

	if (status == KEEP_OK)
		status = kp_file_read_at(fd, page, PAGE_BYTES_MAX, 0, &got, err);
	if (status == KEEP_OK) {
		kp_seal_set_versions(page, got, 1);
		status = kp_file_write_at(fd, (keep_bytes){page, got}, 0, err);
	}
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	kp_free(page);
	return status;
}

keep_status kp_sqlite_export(kp_sql_conn *base, const char *schema, const char *file,
			     keep_error *err)
{
	struct kp_sqlite *conn = kp_sqlite_of(base);
	char path[PATH_MAX];
	int fd = -1;
	keep_status status = KEEP_OK;

	if (base->driver != &kp_sql_sqlite)
		return kp_fail(err, KEEP_MISUSE, "only a SQLite file can be copied");
	status = kp_sqlite_path(file, path, err);
	if (status == KEEP_OK)
		status = kp_file_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
				      0600, &fd, err);
	kp_file_close(&fd);
	if (status != KEEP_OK)
		return status;
	status = fill(conn, schema, path, err);
	if (status == KEEP_OK)
		status = finish(path, err);
	if (status != KEEP_OK)
		(void)unlink(path);
	return status;
}
