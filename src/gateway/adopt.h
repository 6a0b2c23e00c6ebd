#ifndef KP_ADOPT_H
#define KP_ADOPT_H
/*
 * adopt.h - what the files of adoption share.
 *
 *   adopt.c            the call, the tables in their order, what is kept in adopted_rows
 *   adopt_row.c        one row of the source: its values by name, and which of them found a place
 *   adopt_tables.c     groups, routes, sessions, system messages, accounts, mail, onboarding
 *   adopt_tasks.c      tasks and their runs
 *   adopt_messages.c   messages with their numbers, chats, cursors
 */
#include "gateway/gateway_private.h"
#include "sql/foreign.h"

#define KP_ADOPT_COLUMNS_MAX 2000 /* SQLite's own limit */

/* A moment of a cursor, as exact as the source wrote it. */
typedef struct kp_adopt_moment {
	bool is_there;
	int64_t ms, rest_ns;
} kp_adopt_moment;

/* One adoption, within one transaction. */
typedef struct kp_adopt {
	kp_lease *lease;
	kp_foreign *source;
	keep_adoption *counts;
	int64_t now_ms;
	kp_arena arena; /* of the whole adoption: table names, cursors */
	kp_arena row;   /* of one row */
	keep_buffer json;
	keep_error *err;
	kp_adopt_moment router;    /* lastTimestamp */
	const kp_json *agent_json; /* lastAgentTimestamp: an object of jids; or NULL */
	bool has_agent;            /* the source has any agent's cursor */
	bool has_group_cursors;    /* there is a column registered_groups.agent_cursor */
	struct chat *chat;         /* adopt_messages.c: the one under way */
} kp_adopt;

/* One row of the source. The first failure sticks in `status`, and its words in adopt->err. */
typedef struct kp_adopt_row {
	kp_adopt *adopt;
	kp_foreign_rows *rows; /* column 0 is the rowid, or NULL where there is none */
	const char *table;
	int64_t rowid;
	int count; /* columns, the first one included */
	keep_status status;
	bool placed[KP_ADOPT_COLUMNS_MAX + 1];
} kp_adopt_row;

/* Take one row over. */
typedef keep_status kp_adopt_handler(kp_adopt_row *row);

/* ---------------------------------------------------------------- rows (adopt_row.c) */

void kp_adopt_row_begin(kp_adopt_row *row, kp_adopt *adopt, kp_foreign_rows *rows,
			const char *table);
/* The column's text; absent for NULL and where there is no such column. It has its place now. */
keep_bytes kp_adopt_text(kp_adopt_row *row, const char *name);
/* The same; '' is absent, too. */
keep_bytes kp_adopt_optional(kp_adopt_row *row, const char *name);
/* The same; CORRUPT when it is absent or empty. */
keep_bytes kp_adopt_needed(kp_adopt_row *row, const char *name);
/* False: NULL, '' or no such column. What is below a millisecond keeps the column without a place.
 *rest_ns may be NULL. */
bool kp_adopt_time(kp_adopt_row *row, const char *name, int64_t *time_ms, int64_t *rest_ns);
int64_t kp_adopt_time_or(kp_adopt_row *row, const char *name, int64_t fallback);
bool kp_adopt_int(kp_adopt_row *row, const char *name, int64_t *out);
bool kp_adopt_is(kp_adopt_row *row, const char *name); /* a number that is not 0 */
/* JSON of the kind (KP_JSON_NULL: any); what is none stays without a place, and is absent here. */
keep_bytes kp_adopt_json(kp_adopt_row *row, const char *name, kp_json_kind kind);
/* Say that a column has, or has not, found its place. */
void kp_adopt_place(kp_adopt_row *row, const char *name, bool is_placed);
bool kp_adopt_has_column(const kp_adopt_row *row, const char *name);
/* Fail for what is in `name`: CORRUPT. */
void kp_adopt_refuse(kp_adopt_row *row, const char *name, const char *why);

/* ---------------------------------------------------------------- storing (adopt.c) */

/* Store a record; *stored (may be NULL: then it must be) is false when a key was taken. */
keep_status kp_adopt_store(kp_adopt_row *row, size_t statement, const kp_record *record,
			   const void *object, bool *stored);
/* Keep what has no place, beside the columns of `keys` (a NULL-terminated list). */
keep_status kp_adopt_keep_rest(kp_adopt_row *row, const char *const *keys);
/* Keep the whole row. */
keep_status kp_adopt_keep_whole(kp_adopt_row *row);
/* Is `text` one of what the record's column may be? */
bool kp_adopt_is_allowed(const kp_record *record, const char *column, keep_bytes text);
/* Hand each row of `sql`, whose first column is the rowid, to `handler`. */
keep_status kp_adopt_each(kp_adopt *adopt, const char *table, const char *sql,
			  kp_adopt_handler *handler);

/* The same in the order of `order`, a query of rowids, each fetched by `fetch` with it as ?1. */
keep_status kp_adopt_each_sorted(kp_adopt *adopt, const char *table, const char *order,
				 const char *fetch, kp_adopt_handler *handler);

/* ---------------------------------------------------------------- the tables */

kp_adopt_handler kp_adopt_route, kp_adopt_group, kp_adopt_session, kp_adopt_run,
	kp_adopt_system_message, kp_adopt_state, kp_adopt_user, kp_adopt_auth_session,
	kp_adopt_user_group, kp_adopt_thread, kp_adopt_onboarding, kp_adopt_task, kp_adopt_task_run,
	kp_adopt_chat;
/* All messages, each chat's with its cursors. */
keep_status kp_adopt_messages(kp_adopt *adopt);
/* What the source's router and agents have read; before the messages. */
keep_status kp_adopt_read_cursors(kp_adopt *adopt, bool has_state, bool has_groups);
/* The source's `text` of a cursor; '' and absent are none. CORRUPT names `what`. */
keep_status kp_adopt_read_moment(kp_adopt *adopt, keep_bytes text, const char *what,
				 kp_adopt_moment *out);

#endif
