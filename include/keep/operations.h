#ifndef KEEP_OPERATIONS_H
#define KEEP_OPERATIONS_H
/*
 * keep/operations.h - every operation of every store, called by name with JSON.
 *
 * The command line, `keep call` and the reference manual come from the same descriptions that
 * this header lets a program read. It is the way in for bindings and for programs that relay
 * calls; a C program that works with one store uses that store's own header.
 *
 * Threads: a session may be used by any number of threads at once.
 */
#include "keep/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct keep_session keep_session;

/* Make a home (a folder, 0700). CONFLICT: something else is there. OK when it is a home already. */
KEEP_API keep_status keep_home_init(const char *home, keep_error *err) KEEP_MUST_CHECK;

/*
 * Open a home: a folder made by keep_home_init, or a postgres:// URL. Or one store by its own URL,
 * as "sqlite:/tmp/store": what keep_engine_open takes; a postgres:// URL is a store's when it has
 * `schema` or `namespace`, else a home's. Then that store's calls work, and all others are INVALID;
 * a URL that several stores accept is the store's that is called first.
 * Stores open when the first call needs them. NOT_FOUND: no home there.
 */
KEEP_API keep_status keep_session_open(const char *home, keep_session **out,
				       keep_error *err) KEEP_MUST_CHECK;
KEEP_API void keep_session_close(keep_session **session);

/*
 * Run one operation: `name` is "engine.get", `with` a JSON object of its inputs ("" stands for
 * {}). `result` is overwritten with its JSON result. INVALID: an unknown operation, an unknown or
 * missing input, a wrong type; otherwise the operation's own statuses.
 */
KEEP_API keep_status keep_session_call(keep_session *session, keep_bytes name, keep_bytes with,
				       keep_buffer *result, keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
