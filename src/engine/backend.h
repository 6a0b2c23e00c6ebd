#ifndef KP_ENGINE_BACKEND_H
#define KP_ENGINE_BACKEND_H
/*
 * backend.h - what a storage backend of the engine must provide, and what the engine gives it.
 *
 *   engine.c            the public functions: checks once for all backends, then one door
 *   engine_path.c       paths
 *   engine_open.c       URLs, the backends' list, one engine per namespace and process
 *   engine_rules.c      the clock's part of the order, what compare_and_set compares
 *   engine_list.c       lists and sinks
 *   engine_user.c       the adapter for a backend of a user's own (six functions)
 *   engine_verify.c     the contract as a program
 *   engine_memory.c     memory:
 *   engine_files.c …    file:
 *   engine_sqlite.c …   sqlite:
 *   engine_postgres.c … postgres:
 *   engine_redis.c …    redis:
 *
 * Everything that changes data is one function, apply: an ordered list of changes that happens
 * whole or not at all. set, unset, clear, batch and compare_and_set are lists of one or more.
 *
 * Threads: every member of a backend may be called by any number of threads at once.
 */
#include "core/core.h"
#include "keep/engine.h"

/* ---------------------------------------------------------------- paths (engine_path.c) */

/* A checked, normalised path. Slices of one text: "chat/x/message" has parent "chat/x". */
typedef struct kp_path {
	keep_bytes text;   /* no leading, trailing or double '/'; "" is the root */
	keep_bytes parent; /* "" for a top-level path and for the root */
	keep_bytes name;   /* the last segment; "" for the root */
	unsigned depth;    /* segments; 0 for the root */
} kp_path;

/* Room for a normalised copy, on the caller's stack. */
typedef struct kp_path_room {
	char bytes[KEEP_PATH_BYTES_MAX + 1];
} kp_path_room;

/* Check and normalise. `path` borrows from `raw` when that is normal already, else from `room`. The
   limits hold for the normalised form. INVALID: "path: <what is wrong>". */
keep_status kp_path_parse(keep_bytes raw, kp_path_room *room, kp_path *path,
			  keep_error *err) KEEP_MUST_CHECK;
/* Split an already normal text; never fails. */
kp_path kp_path_of(keep_bytes normal);
/* The path of `path`'s parent. The root's parent is the root. */
kp_path kp_path_parent(const kp_path *path);
/* True when `path` is `base` or below it. */
bool kp_path_is_within(keep_bytes base, keep_bytes path);
/* Does a change of `changed` concern who watches `watched`? At it, below it, or above it, when the
   change took what is below along. */
bool kp_path_concerns(keep_bytes changed, keep_bytes watched);

/* ---------------------------------------------------------------- changes */

/* One checked change. A clear is KEEP_ENGINE_UNSET of the root. */
typedef struct kp_change {
	keep_engine_change_kind kind;
	kp_path path;
	keep_bytes value;    /* absent in a COMPARE_AND_SET: unset */
	keep_bytes expected; /* COMPARE_AND_SET: absent means "no document" */
	int64_t score_ms;    /* SET_SCORED */
} kp_change;

/*
 * The place in the order, for every backend: siblings are listed by (score, tie) descending. A set
 * without a score takes score = max(now, the siblings' largest score) and a tie above all of that
 * score; a set with one takes exactly that score and a tie above all of that score. So a plain set
 * is the newest of its siblings even when one of them carries a score of next year. The siblings
 * are all children of the parent that have a value, the document's own old place included: setting
 * again what carried the score of next year leaves it there. A COMPARE_AND_SET that stores a value
 * places it as a plain set does; one that is refused moves nothing. `now` comes
 * from kp_clock_ms (or the server's clock), clamped to 0..KEEP_ENGINE_SCORE_MAX.
 */

/* kp_clock_ms, clamped to a score. */
int64_t kp_engine_now_ms(void);
/* KEEP_CONFLICT, saying how, when the document (`stored`, if `found`) is not what a
   COMPARE_AND_SET expects. */
keep_status kp_engine_check_expected(const kp_change *change, bool found, keep_bytes stored,
				     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- lists (engine_list.c) */

/* Collects a list's rows; a backend calls kp_sink_add for each, newest first. */
struct keep_engine_sink {
	kp_arena arena;
	keep_engine_item *items;
	size_t count, capacity;
	bool names_wanted;
};

/* Copies the bytes; `name` is ignored when no names are wanted. */
keep_status kp_sink_add(keep_engine_sink *sink, keep_bytes name, keep_bytes value,
			keep_error *err) KEEP_MUST_CHECK;
/* Give the rows to `list`, leaving the sink empty. */
keep_status kp_engine_sink_finish(keep_engine_sink *sink, keep_engine_list *list,
				  keep_error *err) KEEP_MUST_CHECK;
void kp_sink_release(keep_engine_sink *sink);

/* ---------------------------------------------------------------- the backend table */

/* Each backend embeds it first in its own struct. */
typedef struct kp_store {
	const struct kp_backend *backend;
} kp_store;

/* A wait for changes; each backend embeds it first in its own struct. */
typedef struct kp_watch {
	kp_store *store;
} kp_watch;

typedef bool kp_scan_callback(void *ctx, keep_bytes path, keep_bytes value);

typedef struct kp_backend {
	const char *name;

	/* `url` is the whole URL; options are filled (no zero defaults left). *identity is a text
	   that is equal for two URLs of one namespace ("file:/real/path"), allocated with kp_alloc,
	   owned by the caller; computed before anything is opened or made. Messages show it: it
	   holds no password. */
	keep_status (*identify)(const char *url, char **identity, keep_error *err);
	keep_status (*open)(const char *url, const keep_engine_options *options, kp_store **out,
			    keep_error *err);
	void (*close)(kp_store *store);
	const char *(*durability)(const kp_store *store);
	bool can_extend;

	/* All paths are checked. get: never the root. The bytes of a path, a value or a URL need
	   not be followed by a zero byte, except the URL's. */
	keep_status (*get)(kp_store *store, const kp_path *path, keep_buffer *value,
			   keep_error *err);
	/* 0 <= offset, 1 <= limit <= KEEP_ENGINE_LIST_MAX. */
	keep_status (*list)(kp_store *store, const kp_path *path, int64_t offset, int64_t limit,
			    keep_engine_sink *sink, keep_error *err);
	keep_status (*count)(kp_store *store, const kp_path *path, int64_t *count, keep_error *err);
	/* As keep_engine_scan: documents below path, bounded memory, each once. */
	keep_status (*scan)(kp_store *store, const kp_path *path, kp_scan_callback *callback,
			    void *ctx, keep_error *err);
	/* All or nothing, in order; durable on OK. CONFLICT: an expectation differs. `count` is at
	   least 1; sizes are checked; a set never names the root. After success tells the watches.
	 */
	keep_status (*apply)(kp_store *store, const kp_change *changes, size_t count,
			     keep_error *err);

	/* As keep_engine_watch_*. A backend whose can_extend is false returns MISUSE. */
	keep_status (*watch_open)(kp_store *store, const kp_path *path, kp_watch **out,
				  keep_error *err);
	keep_status (*watch_wait)(kp_watch *watch, int64_t timeout_ms, bool *changed,
				  keep_error *err);
	void (*watch_cancel)(kp_watch *watch);
	void (*watch_close)(kp_watch *watch);
} kp_backend;

/* ---------------------------------------------------------------- the front (engine_open.c) */

struct keep_engine {
	kp_store *store; /* owned */
	uint64_t value_bytes_max;
	bool read_only;
	struct kp_namespace *held; /* this engine's share in the registry; NULL: not registered */
};

/* Options as a backend gets them: copied, checked, no zero default left. MISUSE: no size. */
keep_status kp_engine_fill_options(const keep_engine_options *given, keep_engine_options *filled,
				   keep_error *err) KEEP_MUST_CHECK;
/* An engine over `*store`, which it takes over, also when it fails. */
keep_status kp_engine_start(kp_store **store, const keep_engine_options *filled,
			    struct kp_namespace *held, keep_engine **out,
			    keep_error *err) KEEP_MUST_CHECK;
/* Give a namespace back; accepts NULL. */
void kp_namespace_release(struct kp_namespace *held);

extern const kp_backend kp_engine_memory;
extern const kp_backend kp_engine_files;
extern const kp_backend kp_engine_sqlite;
extern const kp_backend kp_engine_postgres;
extern const kp_backend kp_engine_redis;

#endif
