#ifndef KP_FOREIGN_H
#define KP_FOREIGN_H
/*
 * foreign.h - reads a SQLite file of another program, and never changes it.
 *
 * Not a driver: values are of whatever kind they are, columns come and go, nothing is set but a
 * reading transaction. One thread at a time.
 */
#include "core/core.h"

typedef struct kp_foreign kp_foreign;           /* an open file */
typedef struct kp_foreign_rows kp_foreign_rows; /* a statement on it */

typedef enum kp_foreign_kind {
	KP_FOREIGN_NULL,
	KP_FOREIGN_INTEGER,
	KP_FOREIGN_REAL,
	KP_FOREIGN_TEXT, /* perhaps not UTF-8, perhaps with zero bytes */
	KP_FOREIGN_BLOB
} kp_foreign_kind;

typedef struct kp_foreign_value {
	kp_foreign_kind kind;
	union {
		int64_t integer;
		double real;
		keep_bytes bytes; /* until the next step, reset or finish */
	};
} kp_foreign_value;

/*
 * Open and begin to read: everything comes from one moment. NOT_FOUND: no such file; INVALID: no
 * SQLite database; DENIED, UNAVAILABLE: it may not be read, or has a log that cannot be read
 * without changing something; the message says which.
 */
keep_status kp_foreign_open(const char *file, kp_foreign **out, keep_error *err) KEEP_MUST_CHECK;
void kp_foreign_close(kp_foreign **foreign); /* accepts a pointer to NULL */
/* BUSY: somebody changed the file while it was read, and what was read may be of two moments. */
keep_status kp_foreign_confirm(kp_foreign *foreign, keep_error *err) KEEP_MUST_CHECK;

/*
 * Prepare a query. Beside SQLite's functions it may use kp_time_ms(text), milliseconds since 1970,
 * and kp_time_rest(text), the nanoseconds below them; both are NULL for what is no time.
 */
keep_status kp_foreign_select(kp_foreign *foreign, const char *sql, kp_foreign_rows **out,
			      keep_error *err) KEEP_MUST_CHECK;
keep_status kp_foreign_bind_int(kp_foreign_rows *rows, int index, int64_t value,
				keep_error *err) KEEP_MUST_CHECK;
/* Borrowed until reset or finish. */
keep_status kp_foreign_bind_text(kp_foreign_rows *rows, int index, keep_bytes text,
				 keep_error *err) KEEP_MUST_CHECK;
/* CORRUPT: the file is damaged there. */
keep_status kp_foreign_step(kp_foreign_rows *rows, bool *has_row, keep_error *err) KEEP_MUST_CHECK;
int kp_foreign_count(kp_foreign_rows *rows); /* columns */
const char *kp_foreign_name(kp_foreign_rows *rows, int index);
/* NO_MEMORY alone. */
keep_status kp_foreign_value_at(kp_foreign_rows *rows, int index, kp_foreign_value *out,
				keep_error *err) KEEP_MUST_CHECK;
void kp_foreign_reset(kp_foreign_rows *rows); /* accepts NULL */
void kp_foreign_finish(kp_foreign_rows **rows);

/* keep_time_parse, and SQLite's form with a fraction; *rest_ns (may be NULL): what it cuts. */
keep_status kp_foreign_time(keep_bytes text, int64_t *time_ms, int64_t *rest_ns,
			    keep_error *err) KEEP_MUST_CHECK;

#endif
