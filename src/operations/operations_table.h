#ifndef KP_OPERATIONS_TABLE_H
#define KP_OPERATIONS_TABLE_H
/*
 * operations_table.h - what describes a public operation, and what runs one.
 *
 *   operations.c         the list of stores, lookup
 *   operations_input.c   inputs: checked against their description, defaults filled in
 *   operations_result.c  results: values, rows, base64
 *   operations_records.c  records as results, and inputs as records
 *   operations_engine_table.c, operations_engine.c  the engine's descriptions, its functions
 *   operations_gateway.c, operations_gateway_*.c    the gateway's
 *   operations_mailbox.c, operations_mailbox_*.c, operations_agent_*.c    the mailbox's
 *   operations_assistant.c, operations_assistant_*.c    the assistant's
 *   home.c               homes: made, recognised
 *   session.c            sessions: a home, the stores that it has open, calls by name
 *   json_lines.c         the engine contract's JSON lines
 *
 * Each operation is described once, as constant data. The command line, `keep call`, its help, the
 * manual and the completion read these descriptions and hold nothing of their own about a store.
 * A new store is one kp_operation_store with its groups of operations, and one line in
 * operations.c.
 *
 * Threads: descriptions are constant. A call belongs to one thread; a store's state may be used
 * by any number of calls at once, which is the store's business.
 */
#include "core/core.h"
#include "keep/operations.h"
#include "sql/sql.h"

/* ---------------------------------------------------------------- descriptions */

typedef enum kp_input_kind {
	KP_KIND_TEXT,
	KP_KIND_PATH,    /* a text; what a path is, the store checks */
	KP_KIND_BYTES,   /* a text, or base64 when the call's `encoding` says so */
	KP_KIND_INTEGER, /* within min and max */
	KP_KIND_BOOLEAN,
	KP_KIND_TIME,  /* milliseconds since 1970, or RFC 3339 text */
	KP_KIND_ARRAY, /* JSON that the operation reads itself */
	KP_KIND_OBJECT,
	KP_KIND_JSON, /* any JSON, handed on as it is written */
} kp_input_kind;

typedef struct kp_input {
	const char *name;
	kp_input_kind kind;
	unsigned place;            /* 1, 2, …: its place on the command line; 0: --name only */
	const char *place_default; /* what a place left out means there; NULL: not to be left out */
	bool required;
	bool nullable;            /* null is a value: absent */
	bool is_long;             /* TEXT: on the command line "-" reads standard input */
	bool is_secret;           /* TEXT: is_long, without the line end, and shown nowhere */
	const char *fallback;     /* the default, as plain text; NULL: none */
	int64_t min, max;         /* INTEGER only */
	const char *const *words; /* TEXT: the ones allowed, NULL-terminated; NULL: any */
	const char *sentence;
} kp_input;

typedef enum kp_result_kind {
	KP_RESULT_NULL,
	KP_RESULT_TRUE,  /* always true: idempotent removal */
	KP_RESULT_BYTES, /* or a text, of an operation without the input `encoding` */
	KP_RESULT_INTEGER,
	KP_RESULT_BOOLEAN, /* false is "the answer is no" */
	KP_RESULT_ROWS,    /* an array of texts, of records, or of objects with these members */
	KP_RESULT_RECORD,  /* one record, or one object with these members */
} kp_result_kind;

typedef struct kp_member {
	const char *name;
	kp_input_kind kind;
	const char *sentence;
	const kp_record *record; /* OBJECT, ARRAY: what it is, or what it is of; or NULL */
} kp_member;

typedef struct kp_outcome {
	keep_status status;
	bool is_no; /* an answer rather than a failure: the command exits with 1 */
	const char *meaning;
} kp_outcome;

typedef struct kp_call kp_call;

typedef struct kp_operation {
	const char *verb;
	const char *alias; /* another verb for it, or NULL */
	const char *sentence;
	const char *more; /* a paragraph for the manual, or NULL */
	const kp_input *inputs;
	size_t input_count;
	kp_result_kind result;
	const char *result_sentence;
	const char *yes;         /* BOOLEAN: what the command prints for true */
	const kp_record *record; /* ROWS, RECORD: whose fields they have; then no members */
	const kp_member *members;
	size_t member_count;
	const kp_outcome *outcomes; /* beside those that every operation of the store may have */
	size_t outcome_count;
	/* What the command prints of a result for people, unless it is all of it: the members of
	   each row (or, as message.id, of a record in it), with blanks between them; the one member
	   of a record. */
	const char *shown;
	bool prints_lines;   /* ROWS: the command prints each row as JSON, on a line of its own */
	const char *verdict; /* RECORD: the boolean member whose false is "the answer is no" */
	bool changes;        /* also: makes a store that is missing */
	bool waits; /* for others to do something: not to be run in line with other calls */
	/* The INTEGER input that makes it such an operation when it is given and not 0; NULL:
	   none (kp_operation_waits). */
	const char *waits_with;
	bool leases; /* what it takes is meant to be held after it */
	int part;    /* of the store, that it works on: for the store's `enter` */
	keep_status (*run)(kp_call *call, keep_error *err);
} kp_operation;

/* Operations that belong together, and what they are about. */
typedef struct kp_operation_group {
	const char *title; /* NULL: the store's only one */
	const kp_operation *operations;
	size_t count;
} kp_operation_group;

#define KP_INPUTS(array) .inputs = (array), .input_count = KP_COUNT(array)
#define KP_MEMBERS(array) .members = (array), .member_count = KP_COUNT(array)
#define KP_OUTCOMES(array) .outcomes = (array), .outcome_count = KP_COUNT(array)

/* Where a session's stores are. */
typedef enum kp_place_kind {
	KP_PLACE_FOLDER, /* a home */
	KP_PLACE_SERVER, /* postgres://…, a home */
	KP_PLACE_STORE,  /* one store's own URL, without a home */
} kp_place_kind;

typedef struct kp_place {
	kp_place_kind kind;
	const char *text; /* the folder's real path, or the URL */
	bool leases_last; /* what calls claim stays claimed when this process ends */
} kp_place;

/* Records of one description, and of each a sentence for each field. */
typedef struct kp_record_set {
	const kp_record *const *records;
	const char *const *const *texts;
	size_t count;
} kp_record_set;

struct kp_argument;

typedef struct kp_operation_store {
	const char *name;
	const char *sentence;
	const char *more; /* paragraphs for the manual, or NULL */
	const kp_operation_group *const *groups;
	size_t group_count;
	const kp_record_set *record_sets; /* all of which results may be, or NULL */
	size_t record_set_count;
	const kp_input *settings; /* how the store is opened: options of every command */
	size_t setting_count;
	const kp_outcome *outcomes; /* what any operation may come to */
	size_t outcome_count;
	/* What HOME may be, by the operation's part; NULL: as everywhere. */
	const char *const *places;
	/* True for a URL that is this store alone. */
	bool (*is_place)(const char *url);
	/* The state for one session; opens nothing yet. `settings` are read against the list above
	   and live for the call; `place` lives as long as the state. */
	keep_status (*open)(const kp_place *place, const struct kp_argument *settings, void **state,
			    keep_error *err);
	/* Make what a home on a server needs. */
	keep_status (*make)(void *state, keep_error *err);
	/* The open store itself, made when it is missing; lives as long as the state. NULL: it
	   has none. */
	keep_status (*handle)(void *state, void **handle, keep_error *err);
	/* End every wait under way and to come; any thread. */
	void (*cancel)(void *state);
	void (*close)(void **state);
	/* Called before each operation's function: puts what that works on into call->handle, or
	   writes the result itself and sets *answered. NULL: nothing to do. */
	keep_status (*enter)(kp_call *call, bool *answered, keep_error *err);
} kp_operation_store;

#define KP_STORES_MAX 8
/* The stores, by index below kp_store_count(). */
size_t kp_store_count(void);
const kp_operation_store *kp_store_at(size_t index);
const kp_operation_store *kp_store_find(keep_bytes name); /* NULL: none */
const kp_operation *kp_operation_find(const kp_operation_store *store, keep_bytes verb);
/* Whether a call with these inputs (an object, or NULL) waits: kp_operation.waits, waits_with. */
bool kp_operation_waits(const kp_operation *operation, const kp_json *with);
/* The operations of all groups, in order; NULL: there are no more. */
const kp_operation *kp_operation_at(const kp_operation_store *store, size_t index);
/* The store's records, in order; NULL: there are no more. */
const kp_record *kp_store_record_at(const kp_operation_store *store, size_t index);
/* The sentences of a record's fields; NULL: the store has none for it. */
const char *const *kp_record_texts(const kp_operation_store *store, const kp_record *record);
/* "engine.get" to its store and operation, also by an alias. INVALID names what is not there. */
keep_status kp_operation_parse(keep_bytes name, const kp_operation_store **store,
			       const kp_operation **operation, keep_error *err) KEEP_MUST_CHECK;
/* The first store whose own URL this is, or NULL. */
const kp_operation_store *kp_store_of_place(const char *url);

extern const kp_operation_store kp_engine_operations;
extern const kp_operation_store kp_gateway_operations;
extern const kp_operation_store kp_mailbox_operations;
extern const kp_operation_store kp_assistant_operations;

/* ---------------------------------------------------------------- inputs (operations_input.c) */

#define KP_INPUTS_MAX 16

typedef struct kp_argument {
	bool given;       /* by the caller or by its default; false also for null */
	keep_bytes bytes; /* TEXT, PATH, BYTES (decoded) */
	int64_t integer;  /* INTEGER; TIME in ms */
	bool boolean;
	const kp_json *json; /* ARRAY, OBJECT, JSON */
} kp_argument;

/*
 * Read `with` (an object; NULL stands for {}) into arguments[i] for inputs[i]. Bytes borrow from
 * `with` or live in `arena`. INVALID names the input: unknown (unless `others` are allowed),
 * missing, of the wrong type, out of range, not base64.
 */
keep_status kp_inputs_read(const kp_input *inputs, size_t count, const kp_json *with, bool others,
			   kp_arena *arena, kp_argument *arguments,
			   keep_error *err) KEEP_MUST_CHECK;
/* "a text", "an integer", … */
const char *kp_kind_name(kp_input_kind kind);

/* ---------------------------------------------------------------- calls (operations_result.c) */

/* What a caller may want to hear during a call; each may be NULL. */
typedef struct kp_call_hooks {
	void *ctx;
	/* A waiting operation is in place: what happens from here on is not missed. */
	void (*started)(void *ctx);
	/* A row's JSON, instead of the whole result. */
	keep_status (*row)(void *ctx, keep_bytes json, keep_error *err);
	/* Who calls, for the audit log; NULL: as the store's settings say. */
	const struct keep_actor *actor;
} kp_call_hooks;

struct kp_call {
	void *state;  /* the store's */
	void *handle; /* what the store's `enter` put here */
	const kp_operation *operation;
	const kp_argument *arguments; /* by index of the operation's inputs */
	kp_arena *arena;
	const kp_call_hooks *hooks; /* or NULL */
	kp_json_writer *result;
	keep_buffer *row_text; /* rows that go to the hook are written here */
	kp_json_writer row;
	keep_buffer scratch; /* base64 on its way out */
};

/* The argument of that input; the operation has one, or this is a bug. */
const kp_argument *kp_call_argument(const kp_call *call, const char *name);
/* The value of a TEXT input (absent: not given), an INTEGER (0), a BOOLEAN (false), a TIME. */
keep_bytes kp_call_text(const kp_call *call, const char *name);
int64_t kp_call_integer(const kp_call *call, const char *name);
bool kp_call_flag(const kp_call *call, const char *name);
int64_t kp_call_time(const kp_call *call, const char *name, int64_t otherwise);
/* An ARRAY of texts, in the call's arena; absent gives 0 of them. */
keep_status kp_call_texts(const kp_call *call, const char *name, const keep_bytes **items,
			  size_t *count, keep_error *err) KEEP_MUST_CHECK;
/* The input now_ms: KEEP_NOW when it was not given. */
int64_t kp_call_now(const kp_call *call);
/* Where the next value of the result goes. */
kp_json_writer *kp_call_writer(kp_call *call);
void kp_call_started(kp_call *call);
/* Bytes as text, or as base64 when the call asks for it; else INVALID sticks to the writer. */
void kp_call_put_bytes(kp_call *call, keep_bytes bytes);
/* A whole result, when the store said OK: null, a number, a boolean. */
keep_status kp_call_put_null(kp_call *call, keep_status status);
keep_status kp_call_put_integer(kp_call *call, keep_status status, int64_t value);
keep_status kp_call_put_bool(kp_call *call, keep_status status, bool value);
/* One member of an object that is being written. */
void kp_call_put_text(kp_call *call, const char *name, keep_bytes text);
void kp_call_put_number(kp_call *call, const char *name, int64_t value);
void kp_call_put_flag(kp_call *call, const char *name, bool value);
keep_status kp_call_put_time(kp_call *call, const char *name, bool is_there, int64_t time_ms,
			     keep_error *err) KEEP_MUST_CHECK;
/* What a store that is not there answers: nothing, no, 0, or NOT_FOUND; a change is DENIED. */
keep_status kp_call_answer_empty(kp_call *call, const char *store, keep_error *err) KEEP_MUST_CHECK;
/* An array's frame, and each of its rows. A failure of row_end ends the operation. */
void kp_call_open_rows(kp_call *call);
void kp_call_row_begin(kp_call *call);
keep_status kp_call_row_end(kp_call *call, keep_error *err) KEEP_MUST_CHECK;
void kp_call_close_rows(kp_call *call);

/* ---------------------------------------------------------------- records (operations_records.c)
 */

/* Set the fields of `object` that have an input of their name; all others stay as they are. */
void kp_arguments_to_record(const kp_input *inputs, size_t count, const kp_argument *arguments,
			    const kp_record *record, void *object);
/* The same with an element of an ARRAY, which is an object of such inputs. At most KP_INPUTS_MAX;
   texts borrow from it or live in `arena`. INVALID names what is wrong. */
keep_status kp_element_to_record(const kp_json *element, const kp_input *inputs, size_t count,
				 const kp_record *record, void *object, kp_arena *arena,
				 keep_error *err) KEEP_MUST_CHECK;
/* The same with what the call was given. */
void kp_call_record(const kp_call *call, const kp_record *record, void *object);
/* The result: one record, or `count` of them, which lie one after the other. */
keep_status kp_call_put_record(kp_call *call, const kp_record *record, const void *object,
			       keep_error *err) KEEP_MUST_CHECK;
keep_status kp_call_put_records(kp_call *call, const kp_record *record, const void *items,
				size_t count, keep_error *err) KEEP_MUST_CHECK;
/* The same within a result: an array as the value of a member. */
keep_status kp_call_put_array(kp_call *call, const kp_record *record, const void *items,
			      size_t count, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- sessions (session.c, home.c) */

/* keep_session_open with the settings of one store: a JSON object as kp_inputs_read takes it, or
   NULL. A `store` that does not live at that place is INVALID. A URL that several stores accept
   belongs to `store`, or with NULL to the one that is called first. With a `store` the session is
   for one call of it. */
keep_status kp_session_open_with(const char *home, const kp_operation_store *store,
				 const kp_json *settings, keep_session **out,
				 keep_error *err) KEEP_MUST_CHECK;
/* Run an operation whose inputs are parsed JSON; the result is appended to `result`. */
keep_status kp_session_run(keep_session *session, const kp_operation_store *store,
			   const kp_operation *operation, const kp_json *with,
			   const kp_call_hooks *hooks, keep_buffer *result,
			   keep_error *err) KEEP_MUST_CHECK;
/* The state of a store, opened when it was not yet. */
keep_status kp_session_state(keep_session *session, const kp_operation_store *store, void **state,
			     keep_error *err) KEEP_MUST_CHECK;
/* What calls claim stays claimed when this process ends: before any store is open. */
void kp_session_let_leases_last(keep_session *session);
/* Open one store with settings, as kp_session_open_with does. MISUSE: it is open already. */
keep_status kp_session_set_up(keep_session *session, const kp_operation_store *store,
			      const kp_json *settings, keep_error *err) KEEP_MUST_CHECK;
/* The session's own handle of a store (keep_gateway, keep_mailbox, keep_assistant), made when it is
   missing; it is closed with the session. */
keep_status kp_session_handle(keep_session *session, const kp_operation_store *store, void **handle,
			      keep_error *err) KEEP_MUST_CHECK;
/* End every wait of this session, and those to come; any thread. */
void kp_session_cancel(keep_session *session);

/* The file of a home with its encryption keys, made with the home. */
#define KP_HOME_KEY_FILE "vault.key"

/* True for a URL of a server that can be a home. */
bool kp_home_is_server(const char *home);
/* Whether a URL's query has `name`=…. */
bool kp_url_has_parameter(const char *url, const char *name);
/* The URL of HOME/<folder>/<file>, with the folder made (0700) when `create`. NOT_FOUND: not there,
   and not to be made. */
keep_status kp_home_file_url(const char *home, const char *folder, const char *file, bool create,
			     keep_buffer *url, keep_error *err) KEEP_MUST_CHECK;
/* Check that a folder is a home this version can use, and give its real path (kp_free it). */
keep_status kp_home_check(const char *home, char **real, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- JSON lines (json_lines.c) */

typedef struct kp_lines kp_lines;

/* Takes answers; `bytes` is whole lines. */
typedef keep_status kp_lines_write(void *ctx, keep_bytes bytes, keep_error *err);

/* The longest line a request for a value of that size may need, all of it escaped. */
size_t kp_lines_bytes_max(uint64_t value_bytes_max);

/*
 * An interpreter over one engine of `session`: the one named `engine` in a home, or with absent
 * bytes the default one, or the one the session is on. Makes the engine when it is missing.
 */
keep_status kp_lines_open(keep_session *session, keep_bytes engine, kp_lines **out,
			  keep_error *err) KEEP_MUST_CHECK;
void kp_lines_close(kp_lines **lines);
/*
 * Answer `count` lines (without their line ends) as if one after the other: one line each, in
 * order, handed to `write` in pieces of some size. A line that is no request is answered with a
 * failure; so is an absent one, which stands for a line that was too long to keep. Fails only
 * when `write` fails or the memory for answers is gone.
 */
keep_status kp_lines_serve(kp_lines *lines, const keep_bytes *requests, size_t count,
			   kp_lines_write *write, void *ctx, keep_error *err) KEEP_MUST_CHECK;
/* Append {"id":…,"ok":false,…}; an absent id is null. */
keep_status kp_lines_failure(keep_buffer *out, keep_bytes id, keep_status status,
			     const char *message, keep_error *err) KEEP_MUST_CHECK;
/* Append {"id":…,"ok":true,"result":…}; both are JSON. */
keep_status kp_lines_answer(keep_buffer *out, keep_bytes id, keep_bytes result,
			    keep_error *err) KEEP_MUST_CHECK;

#endif
