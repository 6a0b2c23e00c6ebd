#ifndef KP_TRANSFER_H
#define KP_TRANSFER_H
/*
 * transfer.h - a table's rows from one backend to another, and the proof that they are the same.
 *
 * Who owns a table hands in what it is: for a table that both backends have alike, its record; for
 * one whose two layouts differ, what is the same in both (columns), and for each layout how to
 * read and write it. A row in between is an array of kp_value: the *canonical* row. Its hash says
 * for each value its kind, its length and its bytes, so that it is one for one content, whatever
 * the backend.
 *
 *   transfer_table.c   a description becomes columns and SQL
 *   transfer_text.c    builds that SQL
 *   transfer_read.c    rows in key order, out of one snapshot, in bounded memory
 *   transfer.c         copying, hashing, comparing
 *
 * What it does not do: know a store, make tables, decide which tables there are.
 *
 * Threads: a table is used by one thread at a time.
 */
#include "sql/sql.h"

enum {
	KP_TRANSFER_COLUMNS_MAX = 48,
	KP_TRANSFER_KEYS_MAX = 4,
	KP_TRANSFER_BATCH_ROWS = 5000,
	KP_TRANSFER_BATCH_BYTES = 4 << 20, /* a transaction ends after so much, too */
	KP_TRANSFER_FETCH_ROWS = 256,
	KP_TRANSFER_CURSOR_ROW_MAX = 32 * 1024 /* bytes beside the key that come with a cursor */
};

/* ---------------------------------------------------------------- descriptions */

typedef struct kp_transfer_column {
	const char *name;
	kp_kind kind;
	unsigned flags;                           /* KP_FIELD_NULL, KP_FIELD_SECRET */
	const char *const *allowed;               /* as kp_field; NULL: all */
	const char *expression[KP_DIALECT_COUNT]; /* how it is read; NULL: by its name */
} kp_transfer_column;

/*
 * How one dialect keeps a table whose layouts differ. In `from` and `insert` an @ stands where a
 * schema's name goes. With a scope, `insert` has it as $1, before what `derive` gives.
 */
typedef struct kp_transfer_layout {
	const char *from;
	const char *scope; /* the expression that is compared with the scope; NULL: none */
	bool is_ordered;   /* `from` gives the rows in the order of the key by itself */
	const char *table; /* what kp_transfer_clear empties, with the alias that `scope` has */
	const char *insert;
	/* What `insert` binds for a row; `values` has room for KP_TRANSFER_COLUMNS_MAX and `room`
	   stays as it is until the row is written. */
	keep_status (*derive)(void *ctx, const kp_value *row, kp_value *values, size_t *count,
			      unsigned char room[64], keep_error *err);
} kp_transfer_layout;

typedef struct kp_transfer_special {
	const kp_transfer_column *columns; /* the key's first */
	size_t column_count, key_count;
	kp_transfer_layout layouts[KP_DIALECT_COUNT];
} kp_transfer_special;

/* Either `record` or `special`. */
typedef struct kp_transfer_table {
	const char *name; /* the table's */
	const kp_record *record;
	/* The record's column that is there only where many share a table: it is compared with the
	   end's scope, and no part of a row. NULL: none. */
	const char *shared;
	const char *order[KP_TRANSFER_KEYS_MAX]; /* unique columns; none: the record's key */
	const kp_transfer_special *special;
} kp_transfer_table;

/* One side. */
typedef struct kp_transfer_end {
	kp_sql_conn *conn;
	const char *schema; /* where there are schemas; else NULL */
	keep_bytes scope;   /* whose rows of a shared table; absent: the table is not shared */
	void *derive_ctx;   /* of a layout's derive */
} kp_transfer_end;

/* ---------------------------------------------------------------- copying and comparing */

/* How far it is; other than OK ends the work with that. NULL: nothing. */
typedef struct kp_transfer_watch {
	keep_status (*tell)(void *ctx, const kp_transfer_table *table, int64_t rows, bool verifies,
			    keep_error *err);
	void *ctx;
	int64_t batch_rows; /* 0: KP_TRANSFER_BATCH_ROWS */
} kp_transfer_watch;

typedef struct kp_transfer_sum {
	int64_t rows;
	unsigned char digest[KP_SHA256_SIZE];
} kp_transfer_sum;

/*
 * Copy all rows of `table` that are beyond the last one of `to`, in transactions of so many rows.
 * Inside a reading transaction on from->conn; to->conn is in none. *before (may be NULL): rows that
 * `to` had. CORRUPT: a row cannot be read, named by its key. CONFLICT: `to` does not take one.
 * When nothing was there before, *sum is that of the rows of `from` and *is_summed true.
 */
keep_status kp_transfer_copy(const kp_transfer_table *table, const kp_transfer_end *from,
			     const kp_transfer_end *to, const kp_transfer_watch *watch,
			     kp_transfer_sum *sum, bool *is_summed, int64_t *before,
			     keep_error *err) KEEP_MUST_CHECK;
/* Rows and hash of one side. Inside a reading transaction. */
keep_status kp_transfer_sum_up(const kp_transfer_table *table, const kp_transfer_end *of,
			       const kp_transfer_watch *watch, kp_transfer_sum *sum,
			       keep_error *err) KEEP_MUST_CHECK;
bool kp_transfer_sums_equal(const kp_transfer_sum *a, const kp_transfer_sum *b);
/* *sum becomes the sum of itself and `next`, in this order. */
keep_status kp_transfer_sum_add(kp_transfer_sum *sum, const kp_transfer_sum *next,
				keep_error *err) KEEP_MUST_CHECK;

/* The numbers that the database assigns go on beyond the rows that are there. In a writing
   transaction, or in none. */
keep_status kp_transfer_number(const kp_transfer_table *table, const kp_transfer_end *to,
			       keep_error *err) KEEP_MUST_CHECK;
/* Has it a row? */
keep_status kp_transfer_has_rows(const kp_transfer_table *table, const kp_transfer_end *of,
				 bool *has_rows, keep_error *err) KEEP_MUST_CHECK;
/* Remove all rows, of the scope where there is one. */
keep_status kp_transfer_clear(const kp_transfer_table *table, const kp_transfer_end *of,
			      keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- between these files */

/* A description with its SQL for one side. */
typedef struct kp_transfer_plan {
	const kp_transfer_table *table;
	const kp_transfer_end *end;
	kp_transfer_column columns[KP_TRANSFER_COLUMNS_MAX];
	size_t column_count;
	size_t keys[KP_TRANSFER_KEYS_MAX]; /* indexes of columns */
	size_t key_count;
	const kp_transfer_layout *layout; /* NULL: a record's */
	const char *scope_column;         /* of a record; NULL: none */
	bool has_secret;
} kp_transfer_plan;

keep_status kp_transfer_plan_make(const kp_transfer_table *table, const kp_transfer_end *end,
				  kp_transfer_plan *plan, keep_error *err) KEEP_MUST_CHECK;

/* SQL of a plan, appended to `sql`. */
enum kp_transfer_text {
	KP_TRANSFER_READ_ALL,   /* $1 the scope, if there is one */
	KP_TRANSFER_READ_AFTER, /* then the key */
	KP_TRANSFER_FETCH,      /* where READ_… declares a cursor: its next rows */
	KP_TRANSFER_CLOSE,      /* the end of that */
	KP_TRANSFER_READ_ONE,   /* as READ_AFTER, of that key */
	KP_TRANSFER_READ_LAST,  /* the last key */
	KP_TRANSFER_COUNT,      /* how many */
	KP_TRANSFER_ANY,        /* a row, when there is one */
	KP_TRANSFER_INSERT,
	KP_TRANSFER_CLEAR
};
keep_status kp_transfer_text(const kp_transfer_plan *plan, enum kp_transfer_text text,
			     keep_buffer *sql, keep_error *err) KEEP_MUST_CHECK;
/* The same, prepared, with the scope bound as $1 (but not of INSERT). */
keep_status kp_transfer_prepare(const kp_transfer_plan *plan, enum kp_transfer_text text,
				kp_sql_stmt **stmt, keep_error *err) KEEP_MUST_CHECK;

/* Rows in key order. */
typedef struct kp_transfer_reader {
	const kp_transfer_plan *plan;
	kp_sql_stmt *stmt;  /* the rows; of a cursor: the next ones */
	kp_sql_stmt *whole; /* one row by its key, for what is too large for a cursor */
	bool has_cursor;    /* it is declared */
	int64_t fetched;    /* rows of the present fetch that were given */
	bool has_last;      /* a row was given */
	kp_value row[KP_TRANSFER_COLUMNS_MAX];   /* valid until the next one */
	kp_value last_key[KP_TRANSFER_KEYS_MAX]; /* bytes in `last` */
	keep_buffer last[KP_TRANSFER_KEYS_MAX];
} kp_transfer_reader;

/* `after`: the key to go on behind; NULL: from the first on. Release it, whatever happens. */
keep_status kp_transfer_reader_open(const kp_transfer_plan *plan, const kp_value *after,
				    kp_transfer_reader *reader, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_transfer_reader_next(kp_transfer_reader *reader, bool *has_row,
				    keep_error *err) KEEP_MUST_CHECK;
void kp_transfer_reader_release(kp_transfer_reader *reader);

/* "gateway.messages" or "messages", and " with the key 'a', 5" of the row; a secret is ***. */
#define KP_TRANSFER_WHERE_SIZE 200
void kp_transfer_where(const kp_transfer_plan *plan, const kp_value *row,
		       char text[KP_TRANSFER_WHERE_SIZE]);
/* A lower failure about a row: where it is, and why unless that may quote a secret. */
keep_status kp_transfer_fail_at(const kp_transfer_plan *plan, const kp_value *row,
				keep_status status, keep_error *err) KEEP_MUST_CHECK;

#endif
