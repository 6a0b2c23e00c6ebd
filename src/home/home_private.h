#ifndef KP_HOME_PRIVATE_H
#define KP_HOME_PRIVATE_H
/*
 * home_private.h - what the files of src/home share: a transfer, its two sides, its units.
 *
 *   transfer_home.c      keep_transfer: the order of things
 *   transfer_sides.c     a home as one side: a folder or a server, its connections, its identity
 *   transfer_state.c     the note in the target that says whose transfer it is, and how far
 *   transfer_stores.c    which tables every store has, and how its empty one is made
 *   transfer_engine.c    the engine's two layouts
 *   transfer_sessions.c  the mailbox's sessions
 *   transfer_unit.c      the tables of one database: copied, read back, compared
 *   transfer_files.c     what of a folder home has changed; files of messages
 */
#include "backup/transfer.h"
#include "keep/home.h"

#include <limits.h>

enum { KP_TRANSFER_TABLES_MAX = 256 }; /* in a result; engines count two each */

/* ---------------------------------------------------------------- a side (transfer_sides.c) */

typedef struct kp_home_side {
	const char *home; /* as it was given */
	bool is_server;
	char folder[PATH_MAX];                  /* else its real path */
	char *conninfo;                         /* a server's */
	kp_sql_conn *conn;                      /* a server's one connection */
	int fd;                                 /* a folder's; it has the target's lock */
	unsigned char identity[KP_SHA256_SIZE]; /* one for one home */
	int64_t timeout_ms;
} kp_home_side;

/* Find out what `home` is; `is_target` makes a folder that is missing, and takes the lock (BUSY).
   A server's source is inside a reading transaction from then on. Close it, whatever happens. */
keep_status kp_home_side_open(kp_home_side *side, const char *home, bool is_target,
			      int64_t timeout_ms, keep_error *err) KEEP_MUST_CHECK;
void kp_home_side_close(kp_home_side *side);
/* A server's home? */
bool kp_home_side_is_server(const char *home);

/* One database of a side: a file of its own, or a schema on the side's connection. */
typedef struct kp_home_database {
	kp_sql_conn *conn;
	bool is_own; /* a file's */
	const char *schema;
} kp_home_database;

/* `file` is relative to a folder. `guard`: as kp_sql_options; NULL: the file's. A source's file is
   opened for reading and inside a transaction. */
keep_status kp_home_database_open(const kp_home_side *side, const char *file, const char *guard,
				  const char *schema, bool is_target, kp_home_database *out,
				  keep_error *err) KEEP_MUST_CHECK;
void kp_home_database_close(kp_home_database *database);
/* Is the store's table there, or its file? */
keep_status kp_home_has(const kp_home_side *side, const char *file, const char *schema,
			const char *table, bool *has, keep_error *err) KEEP_MUST_CHECK;
/* One statement's first number, with an optional text as $1; 0 without a row. */
keep_status kp_home_ask(kp_sql_conn *conn, const char *sql, keep_bytes text, int64_t *out,
			keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the note (transfer_state.c) */

enum kp_transfer_stage {
	KP_STAGE_NONE,    /* no transfer is under way */
	KP_STAGE_MAKING,  /* stores are being made: whatever they hold is no row of the source */
	KP_STAGE_COPYING, /* they hold a beginning of it */
};

/* CONFLICT: a transfer of another home is under way. */
keep_status kp_transfer_state_read(kp_home_side *to, const unsigned char identity[KP_SHA256_SIZE],
				   enum kp_transfer_stage *stage, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_transfer_state_write(kp_home_side *to, const unsigned char identity[KP_SHA256_SIZE],
				    enum kp_transfer_stage stage, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_transfer_state_remove(kp_home_side *to, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- a transfer (transfer_home.c) */

typedef struct kp_home_transfer {
	kp_home_side from, to;
	keep_transfer_options options;
	kp_transfer_watch watch;
	const char *store; /* of what is under way, for progress */
	int64_t rows_all, rows_told;
	struct kp_transfer_line {
		char store[300];
		const char *table;
		kp_transfer_sum sum;
	} * lines; /* of KP_TRANSFER_TABLES_MAX */
	size_t line_count;
	int64_t rows_before, files_behind;
	uint64_t fingerprint; /* of a source folder, before anything was read */
} kp_home_transfer;

/* A progress, or what ended the transfer (BUSY). */
keep_status kp_home_transfer_tell(void *ctx, const kp_transfer_table *table, int64_t rows,
				  bool verifies, keep_error *err);
/* Add to the result: a line of this store and table, new or there. */
keep_status kp_home_transfer_note(kp_home_transfer *transfer, const char *store, const char *table,
				  const kp_transfer_sum *sum, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- units (transfer_unit.c) */

enum { KP_HOME_TABLES_MAX = 32 };

typedef struct kp_home_tables {
	const char *service; /* whose version both sides must have */
	kp_transfer_table list[KP_HOME_TABLES_MAX];
	size_t count;
	/* Tables at the end of the list of which a new database has rows: emptied before each try.
	 */
	size_t seeded_count;
} kp_home_tables;

/* Copy, read back, compare, note. from->conn is inside a reading transaction, to->conn in none. */
keep_status kp_home_unit(kp_home_transfer *transfer, const char *store,
			 const kp_home_tables *tables, const kp_transfer_end *from,
			 const kp_transfer_end *to, keep_error *err) KEEP_MUST_CHECK;
/* CONFLICT: the versions differ. TOO_NEW: the source's is higher. */
keep_status kp_home_versions(const char *service, const kp_transfer_end *from,
			     const kp_transfer_end *to, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- stores (transfer_stores.c) */

/* In which order a table is read, where that is not its key's. */
typedef struct kp_home_order {
	const kp_record *record;
	const char *columns[KP_TRANSFER_KEYS_MAX];
} kp_home_order;

typedef struct kp_home_store {
	const char *name; /* a folder below the home, a schema, and a service */
	const char *file; /* in that folder */
	const char *url;  /* of the store behind sqlite:HOME/name */
	const kp_record *const *records;
	size_t record_count;
	const kp_home_order *orders;      /* ends with a NULL record; NULL: none */
	const kp_record *const *left_out; /* ends with NULL; NULL: none */
	const kp_record *const *seeded;   /* of which a new store has rows; the same */
	keep_status (*make)(const char *url, keep_error *err); /* an empty one */
} kp_home_store;

extern const kp_home_store kp_home_stores[];
extern const size_t kp_home_store_count;

/* The tables of those records that both backends have. `shared`: as kp_transfer_table, or NULL. */
void kp_home_tables_fill(kp_home_tables *tables, const char *service,
			 const kp_record *const *records, size_t count, const kp_home_order *orders,
			 const kp_record *const *left_out, const char *shared);
/* sqlite:<folder>/<name><rest>, whose folder is made; or the server's with the schema `name`. */
keep_status kp_home_store_url(const kp_home_side *side, const char *name, const char *rest,
			      keep_buffer *url, keep_error *err) KEEP_MUST_CHECK;
/* The registry's rows go first: every store but engines and sessions. */
keep_status kp_home_stores_copy(kp_home_transfer *transfer, keep_error *err) KEEP_MUST_CHECK;
/* CONFLICT: a store of `to` has rows. */
keep_status kp_home_stores_check_empty(const kp_home_side *to, keep_error *err) KEEP_MUST_CHECK;
/* Those that the source has, without a row. */
keep_status kp_home_stores_make(kp_home_transfer *transfer, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- engines (transfer_engine.c) */

keep_status kp_home_engines_copy(kp_home_transfer *transfer, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_home_engines_check_empty(const kp_home_side *to, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- sessions (transfer_sessions.c)
 */

keep_status kp_home_sessions_copy(kp_home_transfer *transfer, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- files (transfer_files.c) */

/* Of all databases below a folder home: another one when any of them was written. */
keep_status kp_home_fingerprint(const kp_home_side *side, uint64_t *out,
				keep_error *err) KEEP_MUST_CHECK;
/* How many files of messages there are below a folder home's sessions. */
keep_status kp_home_count_files(const kp_home_side *side, int64_t *out,
				keep_error *err) KEEP_MUST_CHECK;
/* Call `each` with every name in a folder but "." and ".."; a missing folder has none. */
keep_status kp_home_each_name(const char *folder,
			      keep_status (*each)(void *ctx, const char *name, keep_error *err),
			      void *ctx, keep_error *err) KEEP_MUST_CHECK;

#endif
