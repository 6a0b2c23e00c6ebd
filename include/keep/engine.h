#ifndef KEEP_ENGINE_H
#define KEEP_ENGINE_H
/*
 * keep/engine.h - the engine store: values under slash paths, newest first.
 *
 * A channel keeps its own state here: `/session/creds`, `/chat/<jid>/message/<id>`. Five backends
 * mean exactly the same (memory, files, SQLite, PostgreSQL, Redis), chosen by URL:
 *
 *     memory:                              this process only; for tests
 *     file:DIR                             <DIR>/<path>/index.json
 *     sqlite:FILE                          one file
 *     postgres://…?schema=S&namespace=N    one schema for all namespaces
 *     redis://HOST:PORT/DB?prefix=P        also redis+unix:///SOCKET?db=DB&prefix=P
 *
 * What it is not: a database. There is no query beyond the direct children of a path.
 *
 * Paths: runs of '/' collapse, leading and trailing ones go, so "chat/x", "/chat/x" and "/chat//x/"
 * are one. A segment is 1 to 255 bytes of UTF-8 without '/' and zero byte, and neither "." nor
 * "..". At most 64 segments and 4096 bytes. The empty path is the root.
 *
 * Order: a set makes its path the newest of its siblings, whatever the clocks do. A score is an
 * explicit place instead (milliseconds since 1970, 0 to KEEP_ENGINE_SCORE_MAX); equal scores are
 * in order of their sets.
 *
 * Every call that returns KEEP_OK has been made durable unless the engine was opened relaxed.
 * Statuses that any call may return: INVALID (a path, a limit), BUSY, FULL, UNAVAILABLE, DENIED,
 * CORRUPT, NO_MEMORY; a change also UNCERTAIN (the server went away during the commit).
 *
 * Threads: one engine may be used by any number of threads at once. A watch belongs to one thread.
 */
#include "keep/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KEEP_PATH_BYTES_MAX 4096
#define KEEP_PATH_SEGMENTS_MAX 64
#define KEEP_SEGMENT_BYTES_MAX 255
#define KEEP_ENGINE_VALUE_BYTES_MAX (UINT64_C(64) << 20) /* unless the opener raises it */
#define KEEP_ENGINE_LIST_MAX INT64_C(1000000)            /* the largest limit of one list */
#define KEEP_ENGINE_BATCH_MAX 10000                      /* changes in one batch */
#define KEEP_ENGINE_SCORE_MAX ((INT64_C(1) << 43) - 1)   /* the year 2248 */

typedef struct keep_engine keep_engine;

/* ---------------------------------------------------------------- open and close */

typedef struct keep_engine_options {
	size_t size;              /* sizeof(keep_engine_options): lets this struct grow */
	bool create;              /* make what is missing: file, folder, tables */
	bool shared;              /* allow a second engine on the same namespace in this process */
	bool read_only;           /* every change is DENIED; nothing is created or repaired */
	bool relaxed;             /* OK without waiting for the disk: a crash of the machine (not of
				     the process) may lose the last seconds, never mix them */
	uint64_t value_bytes_max; /* 0: KEEP_ENGINE_VALUE_BYTES_MAX */
	int64_t timeout_ms;       /* how long to wait for a lock or a server; 0: 5000 */
} keep_engine_options;

#define KEEP_ENGINE_OPTIONS_INIT                                                                   \
	{                                                                                          \
		.size = sizeof(keep_engine_options)                                                \
	}

/*
 * Open the store behind `url`; `options` may be NULL. The caller owns *out.
 * NOT_FOUND: it does not exist and `create` was not asked. CONFLICT: this process has the
 * namespace open already and `shared` was not asked, or the database has another program's tables
 * under the names of ours, which stay as they are. TOO_NEW: a newer Keep wrote it.
 * INVALID: not such a URL.
 */
KEEP_API keep_status keep_engine_open(const char *url, const keep_engine_options *options,
				      keep_engine **out, keep_error *err) KEEP_MUST_CHECK;

/*
 * Close and set *engine to NULL; accepts NULL and a pointer to NULL. Waits for calls in flight of
 * no other thread: end those and close its watches first.
 */
KEEP_API void keep_engine_close(keep_engine **engine);

/* What the backend behind an engine can do and promises. */
typedef struct keep_engine_info {
	const char *backend;    /* "memory", "file", "sqlite", "postgres", "redis" or the user's */
	const char *durability; /* "synced", "relaxed", "process" (memory), "unknown", or what the
				   server says of itself: "appendfsync always", "not persistent" */
	bool can_extend;        /* set_scored, list_names, scan, batch, compare_and_set and watch
				   work; false for a backend of the six functions alone */
} keep_engine_info;

KEEP_API void keep_engine_describe(const keep_engine *engine, keep_engine_info *out);

/* ---------------------------------------------------------------- the six operations */

/*
 * Give the exact bytes last set. `value` is overwritten; its memory is used again when it is large
 * enough. NOT_FOUND: never set, or unset. INVALID: the root.
 */
KEEP_API keep_status keep_engine_get(keep_engine *engine, keep_bytes path, keep_buffer *value,
				     keep_error *err) KEEP_MUST_CHECK;

/* Overwrite, and make `path` the newest of its siblings. Whole or not at all. FULL: too large. */
KEEP_API keep_status keep_engine_set(keep_engine *engine, keep_bytes path, keep_bytes value,
				     keep_error *err) KEEP_MUST_CHECK;

/* Remove the value and every descendant, all or nothing; OK also when there was nothing. */
KEEP_API keep_status keep_engine_unset(keep_engine *engine, keep_bytes path,
				       keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_engine_item {
	keep_bytes name;  /* the last segment, or for scan the full path; {NULL, 0} from list */
	keep_bytes value; /* never absent; may be empty */
} keep_engine_item;

/* Owns everything it points to; release it with keep_engine_list_release. */
typedef struct keep_engine_list {
	size_t count;
	const keep_engine_item *items; /* newest first */
	void *owned;                   /* not for the caller */
} keep_engine_list;

#define KEEP_ENGINE_LIST_INIT                                                                      \
	{                                                                                          \
		.count = 0                                                                         \
	}

/*
 * The values of the direct children that have one, newest first. A path without children gives
 * an empty list. INVALID: offset or limit below 0, limit over KEEP_ENGINE_LIST_MAX.
 */
KEEP_API keep_status keep_engine_list_values(keep_engine *engine, keep_bytes path, int64_t offset,
					     int64_t limit, keep_engine_list *list,
					     keep_error *err) KEEP_MUST_CHECK;

/* The same with the children's names. */
KEEP_API keep_status keep_engine_list_names(keep_engine *engine, keep_bytes path, int64_t offset,
					    int64_t limit, keep_engine_list *list,
					    keep_error *err) KEEP_MUST_CHECK;

/* Free a list's contents; it is empty afterwards. */
KEEP_API void keep_engine_list_release(keep_engine_list *list);

/* The number of direct children that have a value; reads no value and does not walk them. */
KEEP_API keep_status keep_engine_count(keep_engine *engine, keep_bytes path, int64_t *count,
				       keep_error *err) KEEP_MUST_CHECK;

/* Drop everything of this engine's namespace, and nothing of a neighbour's. */
KEEP_API keep_status keep_engine_clear(keep_engine *engine, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- beyond the six */

/* set with an explicit place in the order. FULL: more equal scores than the backend can order. */
KEEP_API keep_status keep_engine_set_scored(keep_engine *engine, keep_bytes path, keep_bytes value,
					    int64_t score_ms, keep_error *err) KEEP_MUST_CHECK;

/*
 * Set `value` (absent: unset the document and its descendants) only if the document's bytes equal
 * `expected` (absent: only if there is no document). CONFLICT: they differ, nothing was changed.
 */
KEEP_API keep_status keep_engine_compare_and_set(keep_engine *engine, keep_bytes path,
						 keep_bytes expected, keep_bytes value,
						 keep_error *err) KEEP_MUST_CHECK;

typedef enum keep_engine_change_kind {
	KEEP_ENGINE_SET,
	KEEP_ENGINE_SET_SCORED,
	KEEP_ENGINE_UNSET,          /* with the empty path: clear */
	KEEP_ENGINE_COMPARE_AND_SET /* the whole batch is CONFLICT when it differs */
} keep_engine_change_kind;

typedef struct keep_engine_change {
	keep_engine_change_kind kind;
	keep_bytes path;
	keep_bytes value;
	keep_bytes expected; /* KEEP_ENGINE_COMPARE_AND_SET only */
	int64_t score_ms;    /* KEEP_ENGINE_SET_SCORED only */
} keep_engine_change;

/* Apply all changes in their order, or none. A reader sees the state before or after. */
KEEP_API keep_status keep_engine_batch(keep_engine *engine, const keep_engine_change *changes,
				       size_t count, keep_error *err) KEEP_MUST_CHECK;

/*
 * Apply changes that do not depend on each other's success: statuses[i] tells what became of
 * changes[i], errors[i] (errors may be NULL) why. Shares transactions, round trips and syncs where
 * it can. Returns OK when every change was tried; then look at each status.
 */
KEEP_API keep_status keep_engine_apply_each(keep_engine *engine, const keep_engine_change *changes,
					    size_t count, keep_status *statuses, keep_error *errors,
					    keep_error *err) KEEP_MUST_CHECK;

/* Called for each document; return false to end the scan early. */
typedef bool keep_engine_scan_callback(void *ctx, keep_bytes path, keep_bytes value);

/*
 * Walk the documents below `path` (not `path` itself) in bounded memory, in no promised order.
 * Documents that exist throughout are seen exactly once; one set or unset meanwhile may or may not
 * be. `callback` must not use the engine's changing functions.
 */
KEEP_API keep_status keep_engine_scan(keep_engine *engine, keep_bytes path,
				      keep_engine_scan_callback *callback, void *ctx,
				      keep_error *err) KEEP_MUST_CHECK;

/* Waiting for changes at or below a path, made by any thread or process, or through any server
   connection. Changes between open and the first wait are not missed. */
typedef struct keep_engine_watch keep_engine_watch;

KEEP_API keep_status keep_engine_watch_open(keep_engine *engine, keep_bytes path,
					    keep_engine_watch **out,
					    keep_error *err) KEEP_MUST_CHECK;

/*
 * Sleep until something changed since the last call returned true, at most `timeout_ms` (0: only
 * look, below 0: for ever). Many changes are one answer; now and then an answer is true although
 * nothing below the path changed: look, and wait again.
 */
KEEP_API keep_status keep_engine_watch_wait(keep_engine_watch *watch, int64_t timeout_ms,
					    bool *changed, keep_error *err) KEEP_MUST_CHECK;

/* May be called by any thread: the wait under way, or the next one, returns with false. */
KEEP_API void keep_engine_watch_cancel(keep_engine_watch *watch);

KEEP_API void keep_engine_watch_close(keep_engine_watch **watch);

/*
 * Append one segment to a path, for ids that come from the network: "chat" and "a/b" would reach
 * another document, so INVALID when `segment` is not one segment. `path` is replaced by the result.
 */
KEEP_API keep_status keep_path_join(keep_buffer *path, keep_bytes segment,
				    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- a backend of a user's own */

/* Where a backend's list puts its rows; the bytes are copied. */
typedef struct keep_engine_sink keep_engine_sink;
KEEP_API keep_status keep_engine_sink_add(keep_engine_sink *sink, keep_bytes value,
					  keep_error *err) KEEP_MUST_CHECK;

/*
 * The six functions. Paths arrive normalised and checked; offset and limit are in range; the root
 * arrives as the empty path, and never at get, set or unset. Any thread may call; a failure
 * returns a status and changes nothing.
 */
typedef struct keep_engine_backend {
	size_t size;      /* sizeof(keep_engine_backend) */
	const char *name; /* in messages and keep_engine_info */
	keep_status (*get)(void *ctx, keep_bytes path, keep_buffer *value, keep_error *err);
	keep_status (*set)(void *ctx, keep_bytes path, keep_bytes value, keep_error *err);
	keep_status (*unset)(void *ctx, keep_bytes path, keep_error *err);
	keep_status (*list)(void *ctx, keep_bytes path, int64_t offset, int64_t limit,
			    keep_engine_sink *sink, keep_error *err);
	keep_status (*count)(void *ctx, keep_bytes path, int64_t *count, keep_error *err);
	keep_status (*clear)(void *ctx, keep_error *err);
} keep_engine_backend;

/* Open an engine over `backend`, which and whose `ctx` must outlive it. */
KEEP_API keep_status keep_engine_open_backend(const keep_engine_backend *backend, void *ctx,
					      const keep_engine_options *options, keep_engine **out,
					      keep_error *err) KEEP_MUST_CHECK;

/*
 * Run the contract against a backend, which is cleared before and after. CONFLICT: a case fails;
 * the message names the first one and what came back.
 */
KEEP_API keep_status keep_engine_verify(const keep_engine_backend *backend, void *ctx,
					keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
