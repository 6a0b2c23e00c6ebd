#ifndef KP_SQL_H
#define KP_SQL_H
/*
 * sql.h - one small driver table with two drivers, and what every SQL store shares above it.
 *
 *   the driver table          sqlite_driver.c, postgres_driver.c
 *   the doors                 sql_doors.c: checks arguments once, injects faults
 *   a database                database.c: one writing connection, a few readers, per process
 *   group commit              group_commit.c: many writers, one transaction, one sync
 *   housekeeping              tender.c: a thread beside the writers
 *   records                   record.c: one interpreter binds and reads every record type
 *   migrations                migrate.c
 *   change notification       notify.c (shared memory beside a file), or the server's own
 *   waiting for news          waits.c
 *   the write guard           write_guard.c: no checkpoint beside a write, and a fair queue
 *   another program's file    foreign.h
 *
 * Threads: a connection and its statements are used by one thread at a time; a database by any.
 */
#include "core/core.h"

/* ---------------------------------------------------------------- URLs (postgres_url.c) */

/* The parts of postgres://…?schema=S&namespace=N; each is allocated. */
typedef struct kp_postgres_url {
	char *conninfo; /* the URL without our own parameters */
	char *schema;
	char *name; /* the namespace; "default" */
} kp_postgres_url;

/* `schema` is the one of a URL without. INVALID: a parameter of ours that is empty, too long or
   badly escaped. Nothing is kept after a failure. */
keep_status kp_postgres_url_read(const char *url, const char *schema, kp_postgres_url *parts,
				 keep_error *err) KEEP_MUST_CHECK;
void kp_postgres_url_release(kp_postgres_url *parts);

/* ---------------------------------------------------------------- values */

typedef enum kp_kind {
	KP_TEXT, /* UTF-8 without a zero byte; checked at the door */
	KP_BLOB,
	KP_INT,
	KP_REAL, /* finite */
	KP_BOOL,
	KP_TIME, /* int64_t ms; SQLite: RFC 3339 UTC text of fixed width; PostgreSQL: timestamptz */
	KP_JSON  /* keep_bytes of JSON; SQLite: TEXT; PostgreSQL: json (text kept as it is) */
} kp_kind;

/* One parameter or column. */
typedef struct kp_value {
	kp_kind kind;
	bool is_null;
	union {
		keep_bytes bytes; /* TEXT, BLOB, JSON */
		int64_t integer;  /* INT, BOOL, TIME */
		double real;
	};
} kp_value;

/* Values to bind; absent bytes are NULL. */
static inline kp_value kp_text_value(keep_bytes text)
{
	return (kp_value){.kind = KP_TEXT, .is_null = !text.data, .bytes = text};
}
static inline kp_value kp_blob_value(keep_bytes blob)
{
	return (kp_value){.kind = KP_BLOB, .is_null = !blob.data, .bytes = blob};
}
static inline kp_value kp_json_value(keep_bytes json)
{
	return (kp_value){.kind = KP_JSON, .is_null = !json.data, .bytes = json};
}
static inline kp_value kp_int_value(int64_t value)
{
	return (kp_value){.kind = KP_INT, .integer = value};
}
static inline kp_value kp_bool_value(bool value)
{
	return (kp_value){.kind = KP_BOOL, .integer = value};
}
static inline kp_value kp_time_value(int64_t time_ms)
{
	return (kp_value){.kind = KP_TIME, .integer = time_ms};
}
static inline kp_value kp_null_value(kp_kind kind)
{
	return (kp_value){.kind = kind, .is_null = true};
}

/* ---------------------------------------------------------------- the driver table */

enum kp_sql_caps {
	KP_SQL_ONE_WRITER = 1 << 0, /* one writing transaction at a time in the whole database */
	KP_SQL_PIPELINE = 1 << 1,   /* queued statements share one round trip */
	KP_SQL_TRANSACTIONAL_DDL = 1 << 2,
	KP_SQL_LISTEN = 1 << 3,    /* notify/listen doors work (probed at open) */
	KP_SQL_SCHEMAS = 1 << 4,   /* options.schema is honoured */
	KP_SQL_LOG = 1 << 5,       /* SQLite: the file is in WAL mode now */
	KP_SQL_OTHER_LOG = 1 << 6, /* SQLite: so is the one of options.beside */
};

typedef struct kp_sql_conn kp_sql_conn; /* each driver embeds it first in its own struct */

/* How a SQLite file keeps what a transaction may have to take back. */
typedef enum kp_sql_journal {
	KP_JOURNAL_WAL,
	/* journal_mode DELETE: no guard, no -shm, no shared map, so that it works where the sides
	   have no common memory. A file in WAL mode is turned into one; BUSY when it is open
	   elsewhere. */
	KP_JOURNAL_ROLLBACK,
	/* What an existing file has, and no guard unless that is WAL; a new one becomes WAL. */
	KP_JOURNAL_AS_IS
} kp_sql_journal;

typedef struct kp_sql_options {
	const char *location; /* SQLite: the file; PostgreSQL: a libpq conninfo or URI */
	const char *schema;   /* PostgreSQL: set as search_path; created when `create` */
	bool create;          /* else a missing file or schema is NOT_FOUND */
	bool read_only;
	bool relaxed; /* SQLite: synchronous NORMAL; PostgreSQL: synchronous_commit off */
	bool unnamed_statements; /* for PgBouncer in transaction mode: no prepared statements */
	int64_t timeout_ms;      /* busy and lock waits, connect, a server's silence; 0: 5000 */
	int64_t mmap_bytes;      /* SQLite */
	int64_t cache_bytes;     /* SQLite */
	int page_bytes;          /* SQLite, at creation; 0: 4096 */
	/* SQLite, at creation: every page ends with a checksum of it, which costs 8 bytes of each.
	   A file keeps what it was made with. */
	bool seal;
	/* SQLite, at creation: free pages can be given back, a few at a time (auto_vacuum
	   INCREMENTAL, and PRAGMA incremental_vacuum). */
	bool gives_pages_back;
	/* The rest up to inspect is SQLite's alone. */
	kp_sql_journal journal;
	const char *guard; /* the write guard is "<guard>-guard"; NULL: named after the file */
	/* Another SQLite file, which need not be trusted: attached for reading only as the schema
	   `other`, in the mode that it has, never locked beyond reading and never checkpointed. No
	   file is mapped then. NOT_FOUND: it is missing or empty; CORRUPT: it is no database,
	   a link or no file; BUSY: its writer was killed, see kp_sqlite_recover. */
	const char *beside;
	/* The longest value, and row, in bytes; 0: SQLite's own limit. A longer one in a file is
	   CORRUPT; a longer parameter is FULL. */
	int64_t value_max;
	/* A statement that takes longer, over all its steps and with its waiting for locks, is
	   ended: UNAVAILABLE. Never a commit. 0: none. */
	int64_t statement_ms;
	/* Asked before anything of what is there is changed, on a connection that can read: its
	   failure is open's, and leaves all as it was. Not asked of a database that is made now.
	   NULL: nothing. */
	keep_status (*inspect)(void *ctx, kp_sql_conn *conn, keep_error *err);
	void *inspect_ctx;
} kp_sql_options;

typedef enum kp_sql_mode {
	KP_SQL_READ,
	KP_SQL_WRITE,
	/* Writes, and the commit need not be synced by itself: a later synced one covers it. After
	   a power cut it may be missing, whole. Where a driver has no such thing it is WRITE. */
	KP_SQL_WRITE_SOON
} kp_sql_mode;

typedef struct kp_sql_stmt kp_sql_stmt;

#define KP_SQL_DRIVER_ABI 2

/* Which spelling of SQL a driver reads: an index into a store's statement sets and migrations, and
   the bit of KP_FIELD_SQLITE and KP_FIELD_POSTGRES. What a backend can do is a capability. */
typedef enum kp_sql_dialect {
	KP_DIALECT_SQLITE,
	KP_DIALECT_POSTGRES,
	KP_DIALECT_COUNT
} kp_sql_dialect;

/*
 * What a SQL backend must provide, and nothing else. Nobody calls the members directly; the doors
 * below do. Every member is present. A failing member leaves nothing half done on the client's side
 * and writes err (never NULL here).
 */
typedef struct kp_sql_driver {
	int abi;
	const char *name;
	kp_sql_dialect dialect;

	/* Open one connection. Every pragma or session setting is set and read back; a value that
	   did not take is UNAVAILABLE and named. On failure *out is NULL and nothing stays open. */
	keep_status (*open)(const kp_sql_options *options, kp_sql_conn **out, keep_error *err);
	void (*close)(kp_sql_conn *conn); /* never NULL */

	/* Run one or more statements without parameters or rows. */
	keep_status (*script)(kp_sql_conn *conn, const char *sql, keep_error *err);

	/* `sql` uses ?1, ?2 … (SQLite) or $1, $2 … (PostgreSQL) as its dialect wants. */
	keep_status (*prepare)(kp_sql_conn *conn, const char *sql, kp_sql_stmt **out,
			       keep_error *err);
	/* `index` from 1. Bytes are borrowed until reset or finish. */
	keep_status (*bind)(kp_sql_stmt *stmt, int index, const kp_value *value, keep_error *err);
	/* The first step runs the statement. *has_row is false at the end of the rows. A change
	   outside of a transaction is its own commit, and may be UNCERTAIN like one. After a
	   failure inside of a transaction only rollback (or a commit that fails) is of use:
	   PostgreSQL answers everything else with that failure. */
	keep_status (*step)(kp_sql_stmt *stmt, bool *has_row, keep_error *err);
	/* `index` from 0. Bytes stay valid until the next step, reset or finish. A stored value
	   that is not of `kind` is CORRUPT. */
	keep_status (*column)(kp_sql_stmt *stmt, int index, kp_kind kind, kp_value *out,
			      keep_error *err);
	/* Rows changed by the last completed INSERT, UPDATE or DELETE of this statement. */
	int64_t (*changes)(kp_sql_stmt *stmt);
	/* Ready to bind and step again; bindings are gone. Never fails. */
	void (*reset)(kp_sql_stmt *stmt);
	void (*finish)(kp_sql_stmt *stmt);

	/* Run a bound statement whose rows nobody wants and reset it. With KP_SQL_PIPELINE it may
	   be sent only; its failure then comes out of the next step, queue, flush or commit. */
	keep_status (*queue)(kp_sql_stmt *stmt, keep_error *err);
	/* Wait for everything queued. */
	keep_status (*flush)(kp_sql_conn *conn, keep_error *err);

	/* WRITE waits its turn for the one writer where there is one: never BUSY before
	   options.timeout_ms. Transactions do not nest. */
	keep_status (*begin)(kp_sql_conn *conn, kp_sql_mode mode, keep_error *err);
	/* UNCERTAIN when the backend went away before it answered. After a failure the transaction
	   is over, and except for UNCERTAIN nothing of it is stored. */
	keep_status (*commit)(kp_sql_conn *conn, keep_error *err);
	/* Ends a transaction if there is one; afterwards the connection is usable or broken. */
	void (*rollback)(kp_sql_conn *conn);

	/* Cheap: is the backend still what was opened? UNAVAILABLE: a file was deleted or
	   replaced, the server closed the connection. CORRUPT: a file's shared map was cut, and
	   using it would be SIGBUS. Either way the connection is broken. */
	keep_status (*check)(kp_sql_conn *conn, keep_error *err);
	/* Housekeeping (SQLite: checkpoints). falls_due: a cheap look after a commit, true once
	   each time. maintain: do what is due, inline, on the connection that wrote. tend: do it
	   beside writers, on a connection and in a thread of its own. Never makes a caller's write
	   fail; what goes wrong is logged. */
	bool (*falls_due)(kp_sql_conn *conn);
	void (*maintain)(kp_sql_conn *conn);
	void (*tend)(kp_sql_conn *conn);

	/* Inside of a writing transaction that has changed no row yet: copy everything that is
	   stored to a place of its own, named after the database and `label` (letters, digits, . _
	   -), and verify the copy. An older copy is never overwritten: the name gets a number. When
	   it returns OK the copy is as durable as the transaction; a failure leaves none. */
	keep_status (*copy)(kp_sql_conn *conn, const char *label, keep_error *err);

	/* LISTEN/NOTIFY where KP_SQL_LISTEN; elsewhere both are MISUSE. Notify takes part in the
	   transaction. Wait until a notification arrives or the time is over (-1: for ever), or
	   until `wake_fd` (-1: none) is readable; `payload` gets the text, empty at time-out. */
	keep_status (*notify)(kp_sql_conn *conn, const char *channel, keep_bytes payload,
			      keep_error *err);
	keep_status (*listen)(kp_sql_conn *conn, const char *channel, keep_error *err);
	keep_status (*wait)(kp_sql_conn *conn, int64_t timeout_ms, int wake_fd, bool *notified,
			    keep_buffer *payload, keep_error *err);
} kp_sql_driver;

struct kp_sql_conn {
	const kp_sql_driver *driver;
	unsigned caps;
	bool in_transaction;
	bool read_only; /* as it was opened; kp_sql_open says so */
	bool broken;    /* only close is left; a database replaces it */
	/* What was opened, where the same location can come to mean something else: a file's device
	   and inode. 0, 0: nothing to compare. */
	uint64_t place[2];
};

struct kp_sql_stmt {
	kp_sql_conn *conn;
};

extern const kp_sql_driver kp_sql_sqlite;
extern const kp_sql_driver kp_sql_postgres;

/*
 * Roll back what a killed writer left half done in a file of SQLite's: what a reader that may not
 * write answers BUSY to. The file is opened for writing for a moment, as it is: no conversion, no
 * checkpoint, no guard. A journal that names files besides its own is refused, for SQLite would
 * delete them: CORRUPT.
 */
keep_status kp_sqlite_recover(const char *file, keep_error *err) KEEP_MUST_CHECK;
/*
 * Copy what `schema` ("main", or "other": the file beside it) of a SQLite connection holds into the
 * new file `file`, as of one moment; inside of a reading transaction, of that transaction's. The
 * copy is in rollback mode, and synced. CONFLICT: the file is there.
 */
keep_status kp_sqlite_export(kp_sql_conn *conn, const char *schema, const char *file,
			     keep_error *err) KEEP_MUST_CHECK;
/* Does the header of a SQLite file say that it is in WAL mode? Nothing is locked or mapped. */
keep_status kp_sqlite_has_log(const char *file, bool *has_log, keep_error *err) KEEP_MUST_CHECK;
/* Is that failure the wait for kp_sqlite_recover? */
bool kp_sqlite_awaits_recovery(keep_status status, const keep_error *err);
/* Can it come from pages that were read while somebody wrote them, where locks do not reach? */
bool kp_sqlite_may_be_torn(keep_status status, const keep_error *err);

/* ------------------------------ page seals (sqlite_seal.c, sqlite_inspect.c, sqlite_reseal.c)
 *
 * A database that Keep made has a checksum at the end of every page (options.seal), which is
 * written with the page and looked at by these alone.
 */
typedef enum kp_sqlite_severity {
	KP_SQLITE_DAMAGE, /* what is stored is not what was written */
	KP_SQLITE_NOTE    /* worth telling, and nothing is lost by it */
} kp_sqlite_severity;

typedef struct kp_sqlite_finding {
	kp_sqlite_severity severity;
	const char *file;    /* the database's path, or its log's */
	uint32_t page;       /* of the database; 0: none in particular */
	uint32_t frame;      /* of the log, from 1; 0: none */
	bool may_reseal;     /* kp_sqlite_reseal mends it, when all else is well */
	const char *message; /* one sentence, with the file's name and the page */
} kp_sqlite_finding;

/* Its failure ends the check and is the check's. */
typedef keep_status kp_sqlite_report(void *ctx, const kp_sqlite_finding *finding, keep_error *err);

#define KP_SQLITE_FINDINGS_MAX 100 /* of each kind in one file; the rest is told as a number */

/*
 * Look at everything of a SQLite file that can be wrong by itself: its header and length, the seal
 * of every page, every frame of its log, then PRAGMA integrity_check and foreign_key_check. Nothing
 * is written to the database, and its log stays as it is. Others may use it meanwhile: what they
 * are writing is no finding. OK: it was looked at, whatever was found. NOT_FOUND: there is no file;
 * BUSY: others kept it too long.
 */
keep_status kp_sqlite_check_file(const char *path, kp_sqlite_report *report, void *ctx,
				 keep_error *err) KEEP_MUST_CHECK;
/* The same without the two PRAGMAs: it costs one reading of the file. */
keep_status kp_sqlite_check_pages(const char *path, kp_sqlite_report *report, void *ctx,
				  keep_error *err) KEEP_MUST_CHECK;
/* Was the file made with seals? Its first page says so. NOT_FOUND, and CORRUPT: no database. */
keep_status kp_sqlite_is_sealed(const char *path, bool *is_sealed, keep_error *err) KEEP_MUST_CHECK;
/*
 * Write the seals of all pages anew, after integrity_check has said that all is well: for pages
 * that another program wrote. What was damaged inside of a value keeps its damage, and is sealed
 * with it. A database that was made without seals gets them, which rewrites it (VACUUM). CORRUPT:
 * integrity_check found something, and nothing was written. BUSY: others use it.
 */
keep_status kp_sqlite_reseal(const char *path, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the doors (sql_doors.c) */

keep_status kp_sql_open(const kp_sql_driver *driver, const kp_sql_options *options,
			kp_sql_conn **out, keep_error *err) KEEP_MUST_CHECK;
void kp_sql_close(kp_sql_conn **conn);
keep_status kp_sql_script(kp_sql_conn *conn, const char *sql, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_prepare(kp_sql_conn *conn, const char *sql, kp_sql_stmt **out,
			   keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_bind(kp_sql_stmt *stmt, int index, const kp_value *value,
			keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_bind_int(kp_sql_stmt *stmt, int index, int64_t value,
			    keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_bind_text(kp_sql_stmt *stmt, int index, keep_bytes text,
			     keep_error *err) KEEP_MUST_CHECK; /* absent: NULL */
keep_status kp_sql_bind_blob(kp_sql_stmt *stmt, int index, keep_bytes blob,
			     keep_error *err) KEEP_MUST_CHECK; /* absent: NULL */
keep_status kp_sql_step(kp_sql_stmt *stmt, bool *has_row, keep_error *err) KEEP_MUST_CHECK;
/* Run a statement without rows to its end and reset it. */
keep_status kp_sql_run(kp_sql_stmt *stmt, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_column(kp_sql_stmt *stmt, int index, kp_kind kind, kp_value *out,
			  keep_error *err) KEEP_MUST_CHECK;
/* CORRUPT when NULL. */
keep_status kp_sql_column_int(kp_sql_stmt *stmt, int index, int64_t *out,
			      keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_column_bytes(kp_sql_stmt *stmt, int index, kp_kind kind, keep_bytes *out,
				keep_error *err) KEEP_MUST_CHECK;
int64_t kp_sql_changes(kp_sql_stmt *stmt);
void kp_sql_reset(kp_sql_stmt *stmt); /* accepts NULL */
void kp_sql_finish(kp_sql_stmt **stmt);
keep_status kp_sql_queue(kp_sql_stmt *stmt, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_flush(kp_sql_conn *conn, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_begin(kp_sql_conn *conn, kp_sql_mode mode, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_commit(kp_sql_conn *conn, keep_error *err) KEEP_MUST_CHECK;
void kp_sql_rollback(kp_sql_conn *conn);
keep_status kp_sql_check(kp_sql_conn *conn, keep_error *err) KEEP_MUST_CHECK;
bool kp_sql_falls_due(kp_sql_conn *conn);
void kp_sql_maintain(kp_sql_conn *conn);
void kp_sql_tend(kp_sql_conn *conn);
keep_status kp_sql_copy(kp_sql_conn *conn, const char *label, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_notify(kp_sql_conn *conn, const char *channel, keep_bytes payload,
			  keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_listen(kp_sql_conn *conn, const char *channel, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_sql_wait(kp_sql_conn *conn, int64_t timeout_ms, int wake_fd, bool *notified,
			keep_buffer *payload, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- named statements
 *
 * A store keeps its SQL for a dialect in one file of named statements (src/<store>/<name>.sql):
 *
 *     -- name: get
 *     -- The value of one document.
 *     SELECT value FROM document WHERE id = ?1 AND path = ?2;
 *
 * tools/embed.c turns it at build time into a table and an enum. With a file for each dialect there
 * is a set for each, with one enum: sets[driver->dialect]. A connection of a database keeps them
 * prepared. A store whose dialects say nearly the same writes each topic once, with $1, $2 …; there
 * `@{session_id = $1 AND}` is for PostgreSQL alone.
 */
typedef struct kp_statement {
	const char *name;
	const char *sql;
} kp_statement;

typedef struct kp_statement_set {
	const char *name; /* the file's, for messages */
	const kp_statement *statements;
	size_t count;
} kp_statement_set;

/* ---------------------------------------------------------------- records (record.c, record_sql.c)
 *
 * A record is described once, in schema/records/<store>.rec; tools/recgen.py writes its struct, its
 * field table and its tables. The order of the fields is the order of the table's columns, so that
 * `SELECT *` and `RETURNING *` fit kp_record_read; tests/contract/test_record.c holds that.
 */
enum kp_field_flags {
	KP_FIELD_KEY = 1,
	KP_FIELD_NULL = 2,
	KP_FIELD_SECRET = 4,   /* never in a message, a log line or JSON */
	KP_FIELD_AUTO = 8,     /* an INT key that the database assigns (kp_record_append) */
	KP_FIELD_SQLITE = 16,  /* the column, or the table, is there in this dialect alone */
	KP_FIELD_POSTGRES = 32 /* the same */
};

typedef struct kp_field {
	const char *name;
	uint16_t offset;
	uint8_t size;
	uint8_t align;
	uint8_t kind;  /* kp_kind */
	uint8_t flags; /* kp_field_flags */
	/* For a nullable INT, REAL, BOOL or TIME: where the struct says whether it is there. */
	uint16_t has_offset;
	const char *const *allowed; /* what a TEXT column may be, NULL-terminated; or NULL: all */
} kp_field;

typedef struct kp_record {
	const char *name;  /* the public struct: "keep_chat" */
	const char *table; /* "chats" */
	uint16_t size;
	uint16_t align;
	uint16_t field_count;
	uint16_t flags; /* KP_FIELD_SQLITE, KP_FIELD_POSTGRES, or 0: both */
	const kp_field *fields;
} kp_record;

/* The C type of each kind. KP_FIELD does not compile when the member has another one. */
#define KP_CTYPE_TEXT keep_bytes
#define KP_CTYPE_BLOB keep_bytes
#define KP_CTYPE_JSON keep_bytes
#define KP_CTYPE_INT int64_t
#define KP_CTYPE_TIME int64_t
#define KP_CTYPE_REAL double
#define KP_CTYPE_BOOL bool

#define KP_FIELD_MEMBERS(kind_, type_, member_)                                                    \
	.name = #member_, .offset = offsetof(type_, member_),                                      \
	.size = sizeof(((type_ *)0)->member_), .align = _Alignof(KP_CTYPE_##kind_),                \
	.kind = _Generic(((type_ *)0)->member_, KP_CTYPE_##kind_                                   \
			 : KP_##kind_)
#define KP_FIELD(kind_, type_, member_, flags_, allowed_)                                          \
	{                                                                                          \
		KP_FIELD_MEMBERS(kind_, type_, member_), .flags = (flags_), .allowed = (allowed_)  \
	}
/* A nullable number, with `bool has_<member>` beside it. */
#define KP_FIELD_OPTIONAL(kind_, type_, member_, flags_)                                           \
	{                                                                                          \
		KP_FIELD_MEMBERS(kind_, type_, member_),                                           \
			.flags = _Generic(((type_ *)0)->has_##member_, bool                        \
					  : (flags_)),                                             \
			.has_offset = offsetof(type_, has_##member_)                               \
	}
#define KP_RECORD(type_, table_, flags_, fields_)                                                  \
	{                                                                                          \
		.name = #type_, .table = (table_), .size = sizeof(type_),                          \
		.align = _Alignof(type_), .field_count = KP_COUNT(fields_), .flags = (flags_),     \
		.fields = (fields_)                                                                \
	}

/*
 * Writing checks before anything is sent: INVALID names the column for an absent value where one is
 * needed, text that is not UTF-8 without a zero byte, JSON that is none, a real that is not finite
 * and a value outside the allowed ones. Reading checks the same: CORRUPT. The four calls build
 * and prepare their SQL each time; a hot path uses a named statement with kp_record_bind and
 * kp_record_read. MISUSE: the record has no table in the connection's dialect.
 */
/* Insert `object`; what happened when its key is taken is *existed, and then nothing changed. */
keep_status kp_record_add(kp_sql_conn *conn, const kp_record *record, const void *object,
			  bool *existed, keep_error *err) KEEP_MUST_CHECK;
/* Insert `object` under a key that the database assigns, and write that key into `object`. Only for
   a record with an AUTO field, else MISUSE. */
keep_status kp_record_append(kp_sql_conn *conn, const kp_record *record, void *object,
			     keep_error *err) KEEP_MUST_CHECK;
/* Insert `object`, or replace the one with the same key. */
keep_status kp_record_put(kp_sql_conn *conn, const kp_record *record, const void *object,
			  keep_error *err) KEEP_MUST_CHECK;
/* Load the record whose key fields equal those of `object` into `object`; texts live in `arena`.
   NOT_FOUND, and any failure, leaves `object` as it was. */
keep_status kp_record_get(kp_sql_conn *conn, const kp_record *record, void *object, kp_arena *arena,
			  keep_error *err) KEEP_MUST_CHECK;
/* NOT_FOUND when there is none with that key. */
keep_status kp_record_remove(kp_sql_conn *conn, const kp_record *record, const void *object,
			     keep_error *err) KEEP_MUST_CHECK;
/* Bind all fields of `object` from parameter `first` on (from 1). */
keep_status kp_record_bind(kp_sql_stmt *stmt, int first, const kp_record *record,
			   const void *object, keep_error *err) KEEP_MUST_CHECK;
/* Read the fields from column `first` on (from 0) of the current row. On failure `object` is
   zeroed. */
keep_status kp_record_read(kp_sql_stmt *stmt, int first, const kp_record *record, void *object,
			   kp_arena *arena, keep_error *err) KEEP_MUST_CHECK;
/* Step a bound statement and read its one row; *found is false when there is none. The statement is
   reset, whatever happens. */
keep_status kp_record_read_one(kp_sql_stmt *stmt, const kp_record *record, void *object,
			       kp_arena *arena, bool *found, keep_error *err) KEEP_MUST_CHECK;
/* The same for all rows, into an array in `arena`; *items is never NULL on success. */
keep_status kp_record_read_all(kp_sql_stmt *stmt, const kp_record *record, kp_arena *arena,
			       void **items, size_t *count, keep_error *err) KEEP_MUST_CHECK;
/* The same without the rows that cannot be read: `damaged` is told why (CORRUPT, naming the column)
   while the statement stands at such a row. It may read columns; its failure ends the reading. */
typedef keep_status kp_record_damaged(void *ctx, kp_sql_stmt *stmt, const keep_error *why,
				      keep_error *err);
keep_status kp_record_read_good(kp_sql_stmt *stmt, const kp_record *record, kp_arena *arena,
				void **items, size_t *count, kp_record_damaged *damaged, void *ctx,
				keep_error *err) KEEP_MUST_CHECK;
/* One record as a JSON object on one line: times as RFC 3339, blobs as base64, JSON as it is, what
   is absent null, and a secret that is there "***". */
keep_status kp_record_json(const kp_record *record, const void *object, kp_json_writer *writer,
			   keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- migrations (migrate.c) */

typedef struct kp_migration {
	int version;      /* 1, 2, 3 … without a gap */
	const char *name; /* "0001_first" */
	const char *sql;
} kp_migration;

/* One that has just run. */
typedef struct kp_ran_migration {
	const kp_migration *migration;
	const char *checksum; /* SHA-256 of its SQL, in hex */
	int64_t duration_ms;
} kp_ran_migration;

typedef struct kp_migrations {
	const char *service; /* the key in the table `migrations`: "engine" */
	const kp_migration *list;
	size_t count;
	/* The store's own hooks, each of which may be NULL; a failure is that of migrating or
	   opening. check: may this database be ours, which has `version` (0: none)? Asked before
	   anything is changed, and again under the lock. backup: before the first pending migration
	   of a database in which anything was applied before, by any service, under the lock. ran:
	   after each migration, before its row is written. */
	keep_status (*check)(void *ctx, kp_sql_conn *conn, int version, keep_error *err);
	keep_status (*backup)(void *ctx, kp_sql_conn *conn, int from_version, keep_error *err);
	keep_status (*ran)(void *ctx, kp_sql_conn *conn, const kp_ran_migration *ran,
			   keep_error *err);
	void *hooks_ctx;
} kp_migrations;

/*
 * Bring the database to the newest version. All that is pending runs in one transaction, each with
 * its row in `migrations` (service, version, name, checksum, applied_at): after a failure, which
 * names the migration, the database is as it was. One process at a time; others wait and then find
 * nothing to do. When nothing is pending, nothing is locked and nothing is written.
 * TOO_NEW: the database knows a later version. CORRUPT: an applied one has another checksum or is
 * missing. INVALID: a migration would begin or end a transaction itself, or the list has a gap.
 * CONFLICT: a table of another program has the name of one of ours, and stays as it is.
 * MISUSE: the connection is in a transaction, or lacks KP_SQL_TRANSACTIONAL_DDL. UNCERTAIN: as of
 * commit; call again. On a read-only connection: NOT_FOUND when the database has no version yet,
 * CONFLICT when something is pending.
 */
keep_status kp_migrate(kp_sql_conn *conn, const kp_migrations *migrations,
		       keep_error *err) KEEP_MUST_CHECK;
/*
 * What kp_migrate would refuse at once: TOO_NEW, CORRUPT, CONFLICT, INVALID, and what `check` says.
 * In one reading transaction; changes nothing. That something is pending is OK.
 */
keep_status kp_migrate_look(kp_sql_conn *conn, const kp_migrations *migrations,
			    keep_error *err) KEEP_MUST_CHECK;
/*
 * Replace *out by everything that defines tables (columns, indexes, constraints, triggers, a file's
 * user_version, and the rows in `migrations` of services other than `service`), one definition a
 * line, in one order: what a migration of somebody else's must leave as it is (schema_text.c).
 * `is_ours` says which tables it is about; `migrations` is one of them.
 */
keep_status kp_schema_text(kp_sql_conn *conn, const char *service,
			   bool (*is_ours)(keep_bytes table), keep_buffer *out,
			   keep_error *err) KEEP_MUST_CHECK;
/* The version a database has; 0 when it has none. Changes nothing. */
keep_status kp_migrate_version(kp_sql_conn *conn, const char *service, int *version,
			       keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- a database (database.c) */

typedef struct kp_database kp_database;

/* A connection in use, with the database's statements prepared on it. */
typedef struct kp_lease {
	kp_sql_conn *conn;
	kp_sql_stmt **prepared; /* by statement index; NULL until first used */
	const kp_statement_set *statements;
	/* An apply sets it when it fails before it changed anything: its neighbours then go on. Its
	   own failure stands as far as their transaction does. */
	bool unchanged;
	void *slot; /* not for callers */
} kp_lease;

/* A change inside of a writing transaction. */
typedef keep_status kp_apply(void *ctx, kp_lease *lease, keep_error *err);

typedef struct kp_database_options {
	kp_sql_options sql;
	const kp_migrations *migrations;    /* NULL: none */
	const kp_statement_set *statements; /* kept prepared on every connection */
	int readers_max;                    /* 0: 4 */
	/* Called once in each writing transaction, before its first change; NULL: nothing. Where
	   several databases' writers would deadlock, it takes the lock that orders them. */
	kp_apply *begun;
	void *begun_ctx;
} kp_database_options;

keep_status kp_database_open(const kp_sql_driver *driver, const kp_database_options *options,
			     kp_database **out, keep_error *err) KEEP_MUST_CHECK;
void kp_database_close(kp_database **database);
unsigned kp_database_caps(const kp_database *database);

/* Take a reading connection; waits while all are taken. Give it back with kp_database_read_end,
   with all statements reset. A broken connection is replaced first. */
keep_status kp_database_read(kp_database *database, kp_lease **lease,
			     keep_error *err) KEEP_MUST_CHECK;
void kp_database_read_end(kp_database *database, kp_lease **lease);

/* The prepared statement number `index` of the set; reset, nothing bound. */
keep_status kp_lease_statement(kp_lease *lease, size_t index, kp_sql_stmt **stmt,
			       keep_error *err) KEEP_MUST_CHECK;

/* The same with parameters 1, 2 … bound: kp_lease_bind(lease, index, KP_VALUES(…), &stmt, err). A
   failure leaves nothing bound. */
#define KP_VALUES(...)                                                                             \
	(const kp_value[]){__VA_ARGS__}, sizeof((const kp_value[]){__VA_ARGS__}) / sizeof(kp_value)
keep_status kp_lease_bind(kp_lease *lease, size_t index, const kp_value *values, size_t count,
			  kp_sql_stmt **stmt, keep_error *err) KEEP_MUST_CHECK;
/* Bind and send a change whose rows nobody wants. */
keep_status kp_lease_queue(kp_lease *lease, size_t index, const kp_value *values, size_t count,
			   keep_error *err) KEEP_MUST_CHECK;
/* Bind and run a change to its end; *changes (may be NULL): how many rows it changed. */
keep_status kp_lease_run(kp_lease *lease, size_t index, const kp_value *values, size_t count,
			 int64_t *changes, keep_error *err) KEEP_MUST_CHECK;

/*
 * Change the database: `apply` runs inside a writing transaction, perhaps with the changes of
 * other threads in the same one (group commit). It may run more than once (when a neighbour's
 * change failed, each is tried alone), so it must depend only on the database and its inputs, and
 * write its outputs anew each time. Returns when this change is durable, or has failed alone.
 */
keep_status kp_database_write(kp_database *database, kp_apply *apply, void *ctx,
			      keep_error *err) KEEP_MUST_CHECK;

/* Do the driver's housekeeping now, on a connection of its own, beside the writers. */
keep_status kp_database_tend(kp_database *database, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- group commit (group_commit.c) */

/* Runs `count` jobs in one transaction; writes each job's status. */
typedef struct kp_job {
	kp_apply *apply;
	void *ctx;
	keep_status status;
	keep_error err;
	_Atomic unsigned state; /* enum job_state, also the futex its thread sleeps on */
	struct kp_job *next;
} kp_job;

typedef struct kp_group kp_group;

/*
 * `run` is called by one thread at a time with a list of jobs, in the order they came. `gather`:
 * a leader gives those whom the last commit woke a moment to come back, so that their next
 * changes share one sync; right where a commit waits for a disk or a server.
 */
keep_status kp_group_open(void (*run)(void *ctx, kp_job *jobs, size_t count), void *ctx,
			  bool gather, kp_group **out, keep_error *err) KEEP_MUST_CHECK;
void kp_group_close(kp_group **group);
keep_status kp_group_submit(kp_group *group, kp_apply *apply, void *apply_ctx,
			    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- housekeeping (tender.c)
 *
 * A thread that does what a driver's falls_due says is due, beside the writers.
 */
typedef struct kp_tender kp_tender;

/* Borrows `options`. Nothing starts yet. */
keep_status kp_tender_open(const kp_sql_driver *driver, const kp_sql_options *options,
			   kp_tender **out, keep_error *err) KEEP_MUST_CHECK;
/* After a commit on `writer`, by the thread that made it: wake the tender when something fell due.
 */
void kp_tender_look(kp_tender *tender, kp_sql_conn *writer);
/* Ends the thread, after the round under way. Accepts NULL. */
void kp_tender_close(kp_tender **tender);

/* ---------------------------------------------------------------- the write guard (write_guard.c)
 *
 * SQLite before 3.51.3 loses commits when a checkpoint runs beside a write. So one cross-process
 * lock (open-file-description locks on "<file>-guard") is held around every writing transaction
 * and every checkpoint. Waiters pass a turnstile, so that a busy process does not overtake those
 * that sleep. The kernel releases it when a process dies.
 */
typedef struct kp_guard {
	int fd;                       /* -1: none */
	struct kp_guard_words *words; /* where waiters sleep; a mapping of the file */
} kp_guard;

#define KP_GUARD_INIT                                                                              \
	{                                                                                          \
		.fd = -1                                                                           \
	}

keep_status kp_guard_open(kp_guard *guard, const char *file, keep_error *err) KEEP_MUST_CHECK;
void kp_guard_close(kp_guard *guard);
/* BUSY after timeout_ms. */
keep_status kp_guard_acquire(kp_guard *guard, int64_t timeout_ms, keep_error *err) KEEP_MUST_CHECK;
bool kp_guard_try(kp_guard *guard);
void kp_guard_release(kp_guard *guard);

/* ---------------------------------------------------------------- notification (notify.c)
 *
 * A ring of recent topics in a file that the processes of one machine map: posting is a few
 * stores and, when somebody sleeps, one futex call. A process killed between its commit and its
 * post wakes nobody, so a waiter also looks by itself now and then (the caller's `poll`).
 */
typedef struct kp_notify kp_notify;

keep_status kp_notify_open(const char *file, kp_notify **out, keep_error *err) KEEP_MUST_CHECK;
void kp_notify_close(kp_notify **notify);
/* Tell all waiters about `topic` (at most 4096 bytes; longer wakes everybody). Never fails. */
void kp_notify_post(kp_notify *notify, keep_bytes topic);
uint64_t kp_notify_position(kp_notify *notify);
/*
 * Wait until a topic for which `wants` says true was posted after *position, at most timeout_ms
 * (0: only look; below 0: for ever), or until *cancelled. `wants` may be NULL: any topic.
 * *position moves to the ring's end: who is told true looks at the database, and finds everything
 * that was committed before the posts until there. When the ring ran over, or a post cannot be
 * read, the answer is true.
 */
bool kp_notify_wait(kp_notify *notify, uint64_t *position, int64_t timeout_ms,
		    bool (*wants)(void *ctx, keep_bytes topic), void *ctx,
		    const _Atomic int *cancelled);
/* Wake this process's and others' waiters without a topic: each looks at its `cancelled`. */
void kp_notify_wake(kp_notify *notify);

/* ---------------------------------------------------------------- waiting for news (waits.c)
 *
 * A wait looks, sleeps until it is told of news or a second is over, and looks again. Only a look
 * answers. Who tells is a server's notifications, or what the caller has beside its files.
 */
typedef struct kp_waits kp_waits;

enum { KP_WAITS_TOPICS_MAX = 4 };

/* Everything is borrowed, and stays until close. */
typedef struct kp_waits_options {
	const char *who;              /* for the log */
	const _Atomic int *cancelled; /* not 0: waits of now and later end at once */
	/* A server's, where it has KP_SQL_LISTEN; driver NULL: none. */
	const kp_sql_driver *driver;
	const char *location, *schema, *channel;
	int64_t timeout_ms;
	/* Which topics a notification is news of: bit 0, 1 …; below KP_WAITS_TOPICS_MAX. */
	unsigned (*hear)(void *ctx, keep_bytes payload);
	/* Else the caller's own: a position in the news, taken before a look, and a sleep until
	   there is more behind it. NULL: nobody tells, and waits look every 25 ms. */
	uint64_t (*position)(void *ctx);
	void (*nap)(void *ctx, unsigned topic, uint64_t *seen, int64_t nap_ms);
	void *ctx;
} kp_waits_options;

/* Is it there? And when will it be by itself, by the wall clock (0: not known)? */
typedef keep_status kp_wait_look(void *ctx, bool *found, int64_t *due_ms, keep_error *err);

keep_status kp_waits_open(const kp_waits_options *options, kp_waits **out,
			  keep_error *err) KEEP_MUST_CHECK;
void kp_waits_close(kp_waits **waits); /* accepts NULL; no wait may be under way */
/* After *cancelled was set. Wakes who sleeps here; the caller wakes its own naps. */
void kp_waits_cancel(kp_waits *waits);
/* *found is false when the time is over (timeout_ms; 0: only look, below 0: for ever), or after a
   cancel. */
keep_status kp_waits_sleep(kp_waits *waits, unsigned topic, int64_t timeout_ms, kp_wait_look *look,
			   void *look_ctx, bool *found, keep_error *err) KEEP_MUST_CHECK;

#endif
