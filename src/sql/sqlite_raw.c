/*
 * sqlite_raw.c - the SQLite driver: a database's file as bytes, and how far its log goes.
 *
 * Invariants:
 *   1. The database file is opened by SQLite alone, whose handles know of each other: closing one
 *      keeps the locks of the others. No statement runs on a raw handle, so it takes no lock, makes
 *      no -wal or -shm, and its closing checkpoints nothing.
 *   2. How far the log goes is read from the index's header that the connection has mapped, while
 *      it holds the write lock: so nobody writes the header, and both its copies are equal.
 *   3. The bytes are those of the file, with the seals of its pages (sqlite_seal.c).
 *
 * What it does not do: make sense of the pages (src/backup/backup_log.c reads logs).
 *
 * Tests: tests/contract/test_backup_snapshot.c, tests/contract/test_backup_restore.c.
 */
#include "sql/sqlite_files.h"
#include "sql/sqlite_driver.h"

#include <string.h>

enum {
	READ_MAX = 65536, /* of one xRead: SQLite's own never ask for more */
	MAP_BYTES = 32768,
	INDEX_HEADER_BYTES = 48, /* and a second copy behind it */
	INDEX_PAGE_BYTES_AT = 14,
	INDEX_FRAMES_AT = 16,
	INDEX_PAGES_AT = 20,
	INDEX_SALTS_AT = 32
};

static keep_status fail_raw(const char *what, int rc, keep_error *err)
{
	keep_status status =
		kp_fail(err, kp_sqlite_status(rc, 0), "%s: %s", what, sqlite3_errstr(rc));

	if (err)
		err->native = rc;
	return status;
}

static keep_status find_pointer(sqlite3 *db, kp_sqlite_raw *out, keep_error *err)
{
	sqlite3_file *file = NULL;
	int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);

	if (rc != SQLITE_OK || !file || !file->pMethods)
		return fail_raw("a database file", rc == SQLITE_OK ? SQLITE_IOERR : rc, err);
	out->file = kp_seal_below(file); /* invariant 3 */
	return KEEP_OK;
}

keep_status kp_sqlite_raw_open(const char *location, kp_sqlite_raw *out, keep_error *err)
{
	char path[PATH_MAX];
	sqlite3 *db = NULL;
	keep_status status = kp_sqlite_path(location, path, err);
	int rc;

	*out = (kp_sqlite_raw)KP_SQLITE_RAW_INIT;
	if (status != KEEP_OK)
		return status;
	rc = sqlite3_open_v2(path, &db,
			     SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
			     NULL);
	if (rc != SQLITE_OK)
		status = fail_raw(path, rc, err);
	if (status == KEEP_OK)
		status = find_pointer(db, out, err);
	if (status == KEEP_OK)
		out->db = db;
	else
		(void)sqlite3_close(db);
	return status;
}

keep_status kp_sqlite_raw_borrow(kp_sql_conn *conn, kp_sqlite_raw *out, keep_error *err)
{
	*out = (kp_sqlite_raw)KP_SQLITE_RAW_INIT;
	if (conn->driver != &kp_sql_sqlite)
		return kp_fail(err, KEEP_MISUSE, "only a SQLite database is a file");
	return find_pointer(kp_sqlite_of(conn)->db, out, err);
}

void kp_sqlite_raw_close(kp_sqlite_raw *raw)
{
	(void)sqlite3_close(raw->db);
	*raw = (kp_sqlite_raw)KP_SQLITE_RAW_INIT;
}

keep_status kp_sqlite_raw_size(const kp_sqlite_raw *raw, int64_t *size_bytes, keep_error *err)
{
	sqlite3_file *file = raw->file;
	sqlite3_int64 size = 0;
	int rc = file->pMethods->xFileSize(file, &size);

	*size_bytes = size;
	return rc == SQLITE_OK ? KEEP_OK : fail_raw("the size of a database file", rc, err);
}

keep_status kp_sqlite_raw_read(const kp_sqlite_raw *raw, void *out, size_t size, int64_t at,
			       keep_error *err)
{
	sqlite3_file *file = raw->file;
	char *to = out;

	while (size > 0) {
		size_t part = size < READ_MAX ? size : READ_MAX;
		int rc = file->pMethods->xRead(file, to, (int)part, at);

		if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
			return fail_raw("reading a database file", rc, err);
		to += part;
		at += (int64_t)part;
		size -= part;
	}
	return KEEP_OK;
}

keep_status kp_sqlite_log_look(kp_sql_conn *base, kp_sqlite_log *out, keep_error *err)
{
	kp_sqlite_raw raw = KP_SQLITE_RAW_INIT;
	unsigned char header[2 * INDEX_HEADER_BYTES];
	volatile void *map = NULL;
	sqlite3_file *file;
	uint16_t page_bytes = 0;
	keep_status status = kp_sqlite_raw_borrow(base, &raw, err);
	int rc = SQLITE_IOERR_SHMMAP;

	*out = (kp_sqlite_log){.has_log = base->caps & KP_SQL_LOG};
	if (status != KEEP_OK || !out->has_log)
		return status;
	file = raw.file;
	if (file->pMethods->iVersion >= 2)
		rc = file->pMethods->xShmMap(file, 0, MAP_BYTES, 0, &map);
	if (rc != SQLITE_OK || !map)
		return fail_raw("the index of a log", rc == SQLITE_OK ? SQLITE_IOERR_SHMMAP : rc,
				err);
	for (size_t i = 0; i < sizeof header; i++)
		header[i] = ((volatile unsigned char *)map)[i];
	if (memcmp(header, header + INDEX_HEADER_BYTES, INDEX_HEADER_BYTES) != 0)
		return kp_fail(err, KEEP_BUSY, "%s: the index of its log is being written",
			       kp_sqlite_of(base)->path);
	memcpy(&page_bytes, header + INDEX_PAGE_BYTES_AT, sizeof page_bytes);
	memcpy(&out->frames, header + INDEX_FRAMES_AT, sizeof out->frames);
	memcpy(&out->pages, header + INDEX_PAGES_AT, sizeof out->pages);
	memcpy(out->salts, header + INDEX_SALTS_AT, sizeof out->salts);
	out->page_bytes = page_bytes == 1 ? 65536 : page_bytes;
	return KEEP_OK;
}

keep_status kp_sqlite_is_used(const char *path, bool *is_used, keep_error *err)
{
	kp_sqlite_raw raw = KP_SQLITE_RAW_INIT;
	keep_error local = KEEP_ERROR_INIT;
	sqlite3_file *file;
	sqlite3 *db = NULL;
	int rc;

	*is_used = false;
	/* Locking for itself alone needs a handle that could write. */
	rc = sqlite3_open_v2(path, &db,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
			     NULL);
	if (rc != SQLITE_OK || find_pointer(db, &raw, &local) != KEEP_OK) {
		(void)sqlite3_close(db);
		return fail_raw(path, rc == SQLITE_OK ? SQLITE_IOERR : rc, err);
	}
	file = raw.file;
	rc = file->pMethods->xLock(file, SQLITE_LOCK_SHARED);
	if (rc == SQLITE_OK)
		rc = file->pMethods->xLock(file, SQLITE_LOCK_EXCLUSIVE);
	(void)file->pMethods->xUnlock(file, SQLITE_LOCK_NONE);
	(void)sqlite3_close(db);
	*is_used = (rc & 0xff) == SQLITE_BUSY;
	return rc == SQLITE_OK || *is_used ? KEEP_OK : fail_raw(path, rc, err);
}
