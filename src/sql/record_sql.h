#ifndef KP_RECORD_SQL_H
#define KP_RECORD_SQL_H
/*
 * record_sql.h - the SQL text of a record, private to record.c and record_sql.c.
 */
#include "sql/sql.h"

/* Which of a record's fields a statement takes. */
typedef enum kp_field_choice {
	KP_FIELDS_ALL,
	KP_FIELDS_KEY,
	KP_FIELDS_VALUE, /* all but the key */
	KP_FIELDS_GIVEN  /* all but what the database assigns */
} kp_field_choice;

/* Whether `field` is there in `dialect` and among `choice`. Binding and SQL text agree by it. */
bool kp_field_is_in(const kp_field *field, kp_sql_dialect dialect, kp_field_choice choice);

/* Each appends one statement to an empty buffer. Parameters are $1, $2 … in the order of the fields
   that the name says. */
keep_status kp_record_sql_add(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
			      keep_error *err) KEEP_MUST_CHECK; /* all */
keep_status kp_record_sql_append(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
				 keep_error *err) KEEP_MUST_CHECK; /* given; returns the key */
keep_status kp_record_sql_put(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
			      keep_error *err) KEEP_MUST_CHECK; /* all */
keep_status kp_record_sql_get(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
			      keep_error *err) KEEP_MUST_CHECK; /* key; returns all */
keep_status kp_record_sql_remove(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
				 keep_error *err) KEEP_MUST_CHECK; /* key */

#endif
