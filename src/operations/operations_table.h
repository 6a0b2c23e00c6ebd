#ifndef KP_OPERATIONS_TABLE_H
#define KP_OPERATIONS_TABLE_H
/*
 * operations_table.h - what describes a public operation, and what runs one.
 *
 *   operations.c         the list of stores, lookup
 *   operations_input.c   inputs: checked against their description, defaults filled in
 *   operations_result.c  results: values, rows, base64
 *   operations_engine_table.c, operations_engine.c  the engine's descriptions, its functions
 *   home.c               homes: made, recognised
 *   session.c            sessions: a home, the stores that it has open, calls by name
 *   json_lines.c         the engine contract's JSON lines
 *
 * Each operation is described once, as constant data. The command line, `keep call`, its help, the
 * manual and the completion read these descriptions and hold nothing of their own about a store.
 * A new store is one file with one kp_operation_store, and one line in operations.c.
 *
 * Threads: descriptions are constant. A call belongs to one thread; a store's state may be used
 * by any number of calls at once, which is the store's business.
 */
#include "core/core.h"
#include "keep/operations.h"

/* ---------------------------------------------------------------- descriptions */

typedef enum kp_kind {
	KP_KIND_TEXT,
	KP_KIND_PATH,    /* a text; what a path is, the store checks */
	KP_KIND_BYTES,   /* a text, or base64 when the call's `encoding` says so */
	KP_KIND_INTEGER, /* within min and max */
	KP_KIND_BOOLEAN,
	KP_KIND_TIME,  /* milliseconds since 1970, or RFC 3339 text */
	KP_KIND_ARRAY, /* JSON that the operation reads itself */
	KP_KIND_OBJECT,
} kp_kind;

typedef struct kp_input {
	const char *name;
	kp_kind kind;
	unsigned place;            /* 1, 2, …: its place on the command line; 0: --name only */
	const char *place_default; /* what a place left out means there; NULL: not to be left out */
	bool required;
	bool nullable;            /* null is a value: absent */
	const char *fallback;     /* the default, as plain text; NULL: none */
	int64_t min, max;         /* INTEGER only */
	const char *const *words; /* TEXT: the ones allowed, NULL-terminated; NULL: any */
	const char *sentence;
} kp_input;

typedef enum kp_result_kind {
	KP_RESULT_NULL,
	KP_RESULT_TRUE, /* always true: idempotent removal */
	KP_RESULT_BYTES,
	KP_RESULT_INTEGER,
	KP_RESULT_BOOLEAN, /* false is "the answer is no" */
	KP_RESULT_ROWS,    /* an array of texts or of objects with these members */
	KP_RESULT_RECORD,  /* one object with these members */
} kp_result_kind;

typedef struct kp_member {
	const char *name;
	kp_kind kind;
	const char *sentence;
} kp_member;

typedef struct kp_outcome {
	keep_status status;
	bool is_no; /* an answer rather than a failure: the command exits with 1 */
	const char *meaning;
} kp_outcome;

typedef struct kp_call kp_call;

typedef struct kp_operation {
	const char *verb;
	const char *alias; /* another verb for it on the command line, or NULL */
	const char *sentence;
	const char *more; /* a paragraph for the manual, or NULL */
	const kp_input *inputs;
	size_t input_count;
	kp_result_kind result;
	const char *result_sentence;
	const char *yes; /* BOOLEAN: what the command prints for true */
	const kp_member *members;
	size_t member_count;
	const kp_outcome *outcomes; /* beside those that every operation of the store may have */
	size_t outcome_count;
	bool changes; /* also: makes a store that is missing */
	bool waits;   /* for others to do something: not to be run in line with other calls */
	keep_status (*run)(kp_call *call, keep_error *err);
} kp_operation;

/* Where a session's stores are. */
typedef enum kp_place_kind {
	KP_PLACE_FOLDER, /* a home */
	KP_PLACE_SERVER, /* postgres://…, a home */
	KP_PLACE_STORE,  /* one store's own URL, without a home */
} kp_place_kind;

typedef struct kp_place {
	kp_place_kind kind;
	const char *text; /* the folder's real path, or the URL */
} kp_place;

struct kp_argument;

typedef struct kp_operation_store {
	const char *name;
	const char *sentence;
	const kp_operation *operations;
	size_t operation_count;
	const kp_input *settings; /* how the store is opened: options of every command */
	size_t setting_count;
	const kp_outcome *outcomes; /* what any operation may come to */
	size_t outcome_count;
	/* True for a URL that is this store alone. */
	bool (*is_place)(const char *url);
	/* The state for one session; opens nothing yet. `settings` are read against the list above;
	   they and `place` live as long as the state. */
	keep_status (*open)(const kp_place *place, const struct kp_argument *settings, void **state,
			    keep_error *err);
	/* Make what a home on a server needs. */
	keep_status (*make)(void *state, keep_error *err);
	/* End every wait under way and to come; any thread. */
	void (*cancel)(void *state);
	void (*close)(void **state);
} kp_operation_store;

#define KP_STORES_MAX 8
/* The stores, by index below kp_store_count(). */
size_t kp_store_count(void);
const kp_operation_store *kp_store_at(size_t index);
const kp_operation_store *kp_store_find(keep_bytes name); /* NULL: none */
const kp_operation *kp_operation_find(const kp_operation_store *store, keep_bytes verb);
/* "engine.get" to its store and operation. INVALID names what is not there. */
keep_status kp_operation_parse(keep_bytes name, const kp_operation_store **store,
			       const kp_operation **operation, keep_error *err) KEEP_MUST_CHECK;
/* The first store whose own URL this is, or NULL. */
const kp_operation_store *kp_store_of_place(const char *url);

extern const kp_operation_store kp_engine_operations;

/* ---------------------------------------------------------------- inputs (operations_input.c) */

#define KP_INPUTS_MAX 16

typedef struct kp_argument {
	bool given;       /* by the caller or by its default; false also for null */
	keep_bytes bytes; /* TEXT, PATH, BYTES (decoded) */
	int64_t integer;  /* INTEGER; TIME in ms */
	bool boolean;
	const kp_json *json; /* ARRAY, OBJECT */
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
const char *kp_kind_name(kp_kind kind);

/* ---------------------------------------------------------------- calls (operations_result.c) */

/* What a caller may want to hear during a call; each may be NULL. */
typedef struct kp_call_hooks {
	void *ctx;
	/* A waiting operation is in place: what happens from here on is not missed. */
	void (*started)(void *ctx);
	/* A row's JSON, instead of the whole result. */
	keep_status (*row)(void *ctx, keep_bytes json, keep_error *err);
} kp_call_hooks;

struct kp_call {
	void *state; /* the store's */
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
/* Where the next value of the result goes. */
kp_json_writer *kp_call_writer(kp_call *call);
void kp_call_started(kp_call *call);
/* Bytes as text, or as base64 when the call asks for it; else INVALID sticks to the writer. */
void kp_call_put_bytes(kp_call *call, keep_bytes bytes);
/* An array's frame, and each of its rows. A failure of row_end ends the operation. */
void kp_call_open_rows(kp_call *call);
void kp_call_row_begin(kp_call *call);
keep_status kp_call_row_end(kp_call *call, keep_error *err) KEEP_MUST_CHECK;
void kp_call_close_rows(kp_call *call);

/* ---------------------------------------------------------------- sessions (session.c, home.c) */

/* keep_session_open with the settings of one store: a JSON object as kp_inputs_read takes it, or
   NULL. A `store` that does not live at that place is INVALID. */
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
/* End every wait of this session, and those to come; any thread. */
void kp_session_cancel(keep_session *session);

/* True for a URL of a server that can be a home. */
bool kp_home_is_server(const char *home);
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
