#ifndef KP_ASSISTANT_ADOPT_H
#define KP_ASSISTANT_ADOPT_H
/*
 * assistant_adopt.h - what the files of adoption share.
 *
 *   assistant_adopt.c           the call, the tables in their order, the report
 *   assistant_adopt_row.c       one row of the source: into a record, or into adopted_rows
 *   assistant_adopt_talk.c      conversations, memory, messages
 *   assistant_adopt_work.c      agents, tasks, jobs, executions
 *   assistant_adopt_admin.c     credentials, connections, prompts, settings, audit, search
 */
#include "assistant/assistant_private.h"
#include "sql/foreign.h"

#define KP_TAKING_COLUMNS_MAX 2000 /* SQLite's own limit */
#define KP_TAKING_REMARKS_MAX 64
/* SQL of the column timestamp with a zone: without one it is UTC, so that all of the source's forms
   are in one order. */
#define KP_TAKING_ZONED                                                                            \
	"CASE WHEN substr(timestamp, 11, 1) = 'T' AND instr(substr(timestamp, 20), '+') = 0 "      \
	"AND instr(substr(timestamp, 20), '-') = 0 AND instr(timestamp, 'Z') = 0 "                 \
	"THEN timestamp || 'Z' ELSE timestamp END"

typedef struct kp_taking_remark {
	const char *table; /* of the whole adoption */
	const char *what;  /* a literal */
	int64_t count;
	int64_t first; /* the rowid of the first */
} kp_taking_remark;

/* One adoption, within one transaction. */
typedef struct kp_taking {
	keep_assistant *assistant;
	kp_lease *lease;
	kp_foreign *source;
	keep_bytes model;
	int64_t now_ms;
	kp_arena arena;     /* of the whole adoption */
	kp_arena row_arena; /* of one row */
	keep_buffer json;
	keep_bytes zone;           /* user.timezone of the source; or absent */
	int64_t vector_bytes;      /* of most vectors of the source; others are not found */
	bool has_documents;        /* one was adopted: its words are folded in later */
	keep_adopted_table *table; /* the one under way, in the report */
	const kp_record *record;   /* what `insert` inserts */
	kp_sql_stmt *insert;
	struct kp_taking_talk *talk; /* assistant_adopt_talk.c: the one under way */
	kp_taking_remark remarks[KP_TAKING_REMARKS_MAX];
	size_t remark_count;
	keep_error *err;
} kp_taking;

/* One row of the source. The first failure sticks in `status`, and its words in taking->err. */
typedef struct kp_taking_row {
	kp_taking *taking;
	kp_foreign_rows *rows; /* column 0 is the rowid, or NULL where there is none */
	const char *table;
	int64_t rowid;
	int count; /* columns, the first one included */
	keep_status status;
	bool hides_value; /* the column value is a secret: in no row of adopted_rows */
	bool placed[KP_TAKING_COLUMNS_MAX + 1];
} kp_taking_row;

typedef void kp_taking_handler(kp_taking_row *row);

/* -------------------------------- rows (assistant_adopt_row.c) */

/* Columns into the record's fields of the same name: what is there and can be. Everything else
   stays what the caller made it, and the column has no place. A text outside of the allowed ones
   stays the caller's, with a remark. */
void kp_taking_fill(kp_taking_row *row, const kp_record *record, void *object);
/* A column as text (numbers too); absent for NULL, '' and what is no text. Its place is not told.
 */
keep_bytes kp_taking_text(kp_taking_row *row, const char *name);
void kp_taking_place(kp_taking_row *row, const char *name, bool is_placed);
void kp_taking_note(kp_taking_row *row, const char *what);
/* Store the record; then what has no place, beside the columns of `keys` (NULL-terminated), is kept
   in adopted_rows. A row that cannot be stored, or whose key is taken, is kept whole. *id (may be
   NULL): the row's, 0 when it was kept. */
void kp_taking_store(kp_taking_row *row, const kp_record *record, const void *object,
		     const char *const *keys, int64_t *id);
/* The two halves: false: it was not stored, and nothing was kept. */
bool kp_taking_insert(kp_taking_row *row, const kp_record *record, const void *object, int64_t *id);
void kp_taking_keep_rest(kp_taking_row *row, const char *const *keys);
/* Keep the whole row, and count it so. `what`: a remark, or NULL. */
void kp_taking_keep_whole(kp_taking_row *row, const char *what);
/* A JSON text of the kind (KP_JSON_NULL: any) out of what the source wrote: as it is, or encoded
   twice. Absent: it is none. */
keep_bytes kp_taking_json(kp_taking_row *row, keep_bytes text, kp_json_kind kind);
bool kp_taking_is(keep_bytes text, const char *word);
/* Hand each row of `sql`, whose first column is the rowid, to `handler`. */
keep_status kp_taking_each(kp_taking *taking, const char *table, const char *sql,
			   kp_taking_handler *handler);
/* End the statement that kp_taking_insert keeps. */
void kp_taking_end_table(kp_taking *taking);

/* -------------------------------- the tables */

kp_taking_handler kp_take_conversation, kp_take_memory, kp_take_agent, kp_take_task,
	kp_take_cron_job, kp_take_future_task, kp_take_execution, kp_take_credential,
	kp_take_connection, kp_take_prompt, kp_take_setting, kp_take_audit, kp_take_document;
/* All messages, each conversation's in the order of (timestamp, id). */
keep_status kp_take_messages(kp_taking *taking, const char *table);

#endif
