#ifndef KP_STORE_H
#define KP_STORE_H
/*
 * store.h - what a store on one database has in common with every other: its URL, reading with one
 * retry, lists and single rows, changes, and telling who waits (store.c).
 *
 * Threads: as a database; what is here does not change once the store is open.
 */
#include "sql/sql.h"

#include <stdatomic.h>

typedef struct kp_store {
	const char *what; /* "assistant", for messages */
	const kp_sql_driver *driver;
	kp_database *database;
	char *location; /* SQLite: the file; PostgreSQL: the conninfo */
	char *schema;   /* PostgreSQL; else NULL */
	bool read_only;
	bool listens;      /* LISTEN works */
	char channel[64];  /* of NOTIFY: all stores of one kind in one schema share it */
	kp_notify *notify; /* SQLite: beside the file; NULL: waits poll */
	int64_t timeout_ms;
	atomic_int cancelled;
	const char *const *topics; /* what changes are news of, by bit; NULL-terminated */
	unsigned any_news;         /* bits: topics that all news are news of */
	kp_waits *waits;
} kp_store;

/*
 * Which driver, and where: sqlite:<file> or postgres://…[?schema=S]. `schema` is the one of a URL
 * without. INVALID: another URL. What was read so far is for kp_store_close, also after a failure.
 */
keep_status kp_store_locate(kp_store *store, const char *url, const char *schema,
			    keep_error *err) KEEP_MUST_CHECK;
/* After the database is open: how others are told of news, and waiting for it. */
keep_status kp_store_open_news(kp_store *store, keep_error *err) KEEP_MUST_CHECK;
/* Everything above, and the database; a zeroed store is closed already. */
void kp_store_close(kp_store *store);

/* Something that is read on a leased connection. It may run twice: a connection that died while it
   was idle is replaced once. Its outputs are written anew each time. */
typedef keep_status kp_store_query(void *ctx, kp_lease *lease, keep_error *err);
keep_status kp_store_read(kp_store *store, kp_store_query *query, void *ctx,
			  keep_error *err) KEEP_MUST_CHECK;
/* The same in one reading transaction: several statements see one moment. */
keep_status kp_store_read_whole(kp_store *store, kp_store_query *query, void *ctx,
				keep_error *err) KEEP_MUST_CHECK;

/* Run one reading statement: all its rows into an array in `arena` (`items`: the address of the
   list's pointer), or its one row (object NULL: only whether there is one). */
keep_status kp_store_list(kp_store *store, size_t statement, const kp_value *values,
			  size_t value_count, const kp_record *record, kp_arena *arena, void *items,
			  size_t *count, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_store_get(kp_store *store, size_t statement, const kp_value *values,
			 size_t value_count, const kp_record *record, kp_arena *arena, void *object,
			 bool *found, keep_error *err) KEEP_MUST_CHECK;

/* Run `apply` in a writing transaction (sql.h: kp_apply's rules), and tell who waits for one of the
   topics in `news` (bits) when it is stored. DENIED: read-only. */
keep_status kp_store_change(kp_store *store, kp_apply *apply, void *ctx, unsigned news,
			    keep_error *err) KEEP_MUST_CHECK;

/* Sleep until `look` finds what belongs to the topic with that bit number (sql.h). */
keep_status kp_store_wait(kp_store *store, unsigned topic, int64_t timeout_ms, kp_wait_look *look,
			  void *ctx, bool *found, keep_error *err) KEEP_MUST_CHECK;
void kp_store_cancel(kp_store *store);

/* ---------------------------------------------------------------- on a lease */

/* One row of a statement into a record; or its first column as a number. */
keep_status kp_lease_get(kp_lease *lease, size_t statement, const kp_value *values,
			 size_t value_count, const kp_record *record, kp_arena *arena, void *object,
			 bool *found, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_lease_list(kp_lease *lease, size_t statement, const kp_value *values,
			  size_t value_count, const kp_record *record, kp_arena *arena, void *items,
			  size_t *count, keep_error *err) KEEP_MUST_CHECK;
/* NULL is 0; no row: *found is false. `found` may be NULL when there is always a row. */
keep_status kp_lease_int(kp_lease *lease, size_t statement, const kp_value *values,
			 size_t value_count, int64_t *out, bool *found,
			 keep_error *err) KEEP_MUST_CHECK;

#endif
