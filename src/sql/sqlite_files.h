#ifndef KP_SQLITE_FILES_H
#define KP_SQLITE_FILES_H
/*
 * sqlite_files.h - a SQLite database as bytes, for copies of many at once (sqlite_raw.c).
 *
 * Opening and closing a database file by ourselves would drop the POSIX locks of every connection
 * that this process has to it. SQLite's own handles do not.
 */
#include "sql/sql.h"

/* A handle to the bytes of a file; no statement runs on it, so nothing is locked or made. */
typedef struct kp_sqlite_raw {
	void *db;   /* owned; NULL: borrowed of a connection, or empty */
	void *file; /* SQLite's */
} kp_sqlite_raw;

#define KP_SQLITE_RAW_INIT                                                                         \
	{                                                                                          \
		.db = NULL                                                                         \
	}

keep_status kp_sqlite_raw_open(const char *path, kp_sqlite_raw *out,
			       keep_error *err) KEEP_MUST_CHECK;
/* The file of an open connection, as long as that lives; MISUSE: not a SQLite one. */
keep_status kp_sqlite_raw_borrow(kp_sql_conn *conn, kp_sqlite_raw *out,
				 keep_error *err) KEEP_MUST_CHECK;
void kp_sqlite_raw_close(kp_sqlite_raw *raw); /* accepts an empty one */
keep_status kp_sqlite_raw_size(const kp_sqlite_raw *raw, int64_t *size_bytes,
			       keep_error *err) KEEP_MUST_CHECK;
/* What is behind the end reads as zeros. */
keep_status kp_sqlite_raw_read(const kp_sqlite_raw *raw, void *out, size_t size, int64_t at,
			       keep_error *err) KEEP_MUST_CHECK;

/* How far a database's log goes. */
typedef struct kp_sqlite_log {
	bool has_log; /* it is in WAL mode */
	uint32_t frames, pages, page_bytes;
	unsigned char salts[8]; /* as the log has them */
} kp_sqlite_log;

/* Inside of a writing transaction that has changed nothing: so nobody moves it meanwhile. */
keep_status kp_sqlite_log_look(kp_sql_conn *conn, kp_sqlite_log *out,
			       keep_error *err) KEEP_MUST_CHECK;

/* Does anybody, this process too, have the database open? In rollback mode only who is in a
   transaction is seen. */
keep_status kp_sqlite_is_used(const char *path, bool *is_used, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- seals (page_seal.c) */

#define KP_SEAL_BYTES 8 /* reserved at the end of each page */

typedef enum kp_seal_state {
	KP_SEAL_RIGHT,
	KP_SEAL_WRONG,
	KP_SEAL_NONE, /* its place is zero: a program wrote the page that makes none */
	KP_SEAL_EMPTY /* and so is all the rest: a page that was never written */
} kp_seal_state;

/* What page `number` (from 1) ends with. */
kp_seal_state kp_seal_look(const void *page, size_t page_bytes, uint32_t number);
/* Write the seal of a page into its end. */
void kp_seal_put(void *page, size_t page_bytes, uint32_t number);
/* The size of the pages and the bytes reserved in each by the first 100 bytes of a database. False:
   they are not those of one. */
bool kp_seal_header(const unsigned char *header, uint32_t *page_bytes, unsigned *reserved);
bool kp_page_size_is_valid(uint32_t bytes); /* a power of two from 512 to 65536 */

/* Bytes 18 and 19 of a database's first page: 1 is rollback mode, 2 is WAL. A seal that was right
   is so afterwards, and one that was not stays wrong. `len` may be less than a page. */
void kp_seal_set_versions(void *page, size_t len, unsigned char version);

#endif
