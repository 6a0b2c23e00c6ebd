/*
 * sqlite_reseal.c - the SQLite driver: giving all pages of a file their seals.
 *
 * For pages that another program wrote: a checkpoint by SQLite's own shell leaves the reserved
 * bytes as they were. And for files that were made without seals, which a VACUUM with room for them
 * rewrites.
 *
 * Invariants:
 *   1. Nothing is sealed before integrity_check has found nothing.
 *   2. Of a page only its last 8 bytes are written, which nobody reads: so whatever another program
 * does meanwhile, no content is lost, and at worst a seal is wrong.
 *   3. The write guard is held from the check to the last seal, and the log is empty before the
 * first: no process of Keep writes a page in between.
 *   4. A VACUUM, which may number rows anew that have no key of their own, is for files that nobody
 *      has open.
 *
 * What it does not do: tell damage inside of a value from what was stored there; nobody could.
 *
 * Tests: tests/contract/test_page_seals.c.
 */
#include "sql/sqlite_driver.h"
#include "sql/sqlite_files.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 20, HEADER_BYTES = 100 };

static keep_status check_first(struct kp_sqlite *conn, keep_error *err)
{
	char said[200];
	keep_status status =
		kp_sqlite_query(conn, "PRAGMA integrity_check(1)", said, sizeof said, err);

	if (status != KEEP_OK || strcmp(said, "ok") == 0)
		return status;
	return kp_fail(err, KEEP_CORRUPT, "%s: it is not sealed, for it is damaged: %s", conn->path,
		       said);
}

static keep_status make_room(struct kp_sqlite *conn, keep_error *err)
{
	char answer[16];
	int bytes = KP_SEAL_BYTES;

	if (kp_seal_is_on(conn->db, "main"))
		return KEEP_OK;
	(void)sqlite3_file_control(conn->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes);
	return kp_sqlite_query(conn, "VACUUM", answer, sizeof answer, err);
}

static keep_status empty_log(struct kp_sqlite *conn, keep_error *err)
{
	int rc;

	if (!(conn->base.caps & KP_SQL_LOG))
		return KEEP_OK;
	rc = sqlite3_wal_checkpoint_v2(conn->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	if (rc == SQLITE_BUSY)
		return kp_fail(err, KEEP_BUSY, "%s: somebody reads it", conn->path);
	return rc == SQLITE_OK ? KEEP_OK : kp_sqlite_fail(conn, err);
}

static keep_status seal_page(const kp_sqlite_raw *raw, char *page, uint32_t page_bytes,
			     uint32_t number, keep_error *err)
{
	sqlite3_file *file = raw->file;
	kp_seal_state state = kp_seal_look(page, page_bytes, number);
	int64_t at = (int64_t)number * page_bytes - KP_SEAL_BYTES;
	int rc;

	if (state == KP_SEAL_RIGHT || state == KP_SEAL_EMPTY)
		return KEEP_OK;
	kp_seal_put(page, page_bytes, number);
	rc = file->pMethods->xWrite(file, page + page_bytes - KP_SEAL_BYTES, KP_SEAL_BYTES, at);
	return rc == SQLITE_OK ? KEEP_OK
			       : kp_fail(err, kp_sqlite_status(rc, 0), "the seal of page %u: %s",
					 (unsigned)number, sqlite3_errstr(rc));
}

static keep_status seal_all(struct kp_sqlite *conn, char *block, keep_error *err)
{
	kp_sqlite_raw raw = KP_SQLITE_RAW_INIT;
	sqlite3_file *file;
	uint32_t page_bytes = 0;
	unsigned reserved = 0;
	int64_t size = 0;
	keep_status status = kp_sqlite_raw_borrow(&conn->base, &raw, err);

	if (status == KEEP_OK)
		status = kp_sqlite_raw_size(&raw, &size, err);
	if (status == KEEP_OK)
		status = kp_sqlite_raw_read(&raw, block, HEADER_BYTES, 0, err);
	if (status != KEEP_OK)
		return status;
	if (!kp_seal_header((unsigned char *)block, &page_bytes, &reserved) ||
	    reserved != KP_SEAL_BYTES)
		return kp_fail(err, KEEP_CONFLICT, "%s: its pages have no room for seals",
			       conn->path);
	for (int64_t at = 0; at + page_bytes <= size && status == KEEP_OK; at += BLOCK_BYTES) {
		int64_t left = (size - at) / page_bytes * page_bytes;
		size_t len = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;

		status = kp_sqlite_raw_read(&raw, block, len, at, err);
		for (size_t in = 0; in < len && status == KEEP_OK; in += page_bytes)
			status = seal_page(&raw, block + in, page_bytes,
					   (uint32_t)((at + (int64_t)in) / page_bytes) + 1, err);
	}
	file = raw.file;
	if (status == KEEP_OK && file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) != SQLITE_OK)
		status = kp_fail(err, KEEP_UNAVAILABLE, "%s: its seals could not be synced",
				 conn->path);
	return status;
}

/* Invariant 4. */
static keep_status may_rewrite(const char *path, keep_error *err)
{
	bool is_sealed = false, is_used = false;
	keep_status status = kp_sqlite_is_sealed(path, &is_sealed, err);

	if (status == KEEP_OK && !is_sealed)
		status = kp_sqlite_is_used(path, &is_used, err);
	return is_used ? kp_fail(err, KEEP_BUSY, "%s: it was made without checksums, and is in use",
				 path)
		       : status;
}

keep_status kp_sqlite_reseal(const char *path, keep_error *err)
{
	kp_sql_options options = {.location = path, .journal = KP_JOURNAL_AS_IS};
	keep_error local = KEEP_ERROR_INIT;
	kp_sql_conn *base = NULL;
	char *block = kp_alloc(BLOCK_BYTES);
	struct kp_sqlite *conn;
	keep_status status;

	err = err ? err : &local;
	status = block ? may_rewrite(path, err) : kp_fail_memory(err, "a page");
	if (status == KEEP_OK)
		status = kp_sql_open(&kp_sql_sqlite, &options, &base, err);
	conn = base ? kp_sqlite_of(base) : NULL;
	if (status == KEEP_OK)
		status = kp_sqlite_enter(conn, err);
	if (status == KEEP_OK)
		status = check_first(conn, err);
	if (status == KEEP_OK)
		status = make_room(conn, err);
	if (status == KEEP_OK)
		status = empty_log(conn, err);
	if (status == KEEP_OK)
		status = seal_all(conn, block, err);
	if (conn)
		kp_sqlite_leave(conn);
	kp_sql_close(&base);
	kp_free(block);
	return status;
}
