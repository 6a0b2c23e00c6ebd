#ifndef KEEP_BASE_H
#define KEEP_BASE_H
/*
 * keep/base.h - what every header of Keep shares: statuses, errors, counted bytes, buffers.
 *
 * What it is not: it opens nothing and stores nothing.
 *
 * The contract of the whole library:
 *   - a function that can fail returns keep_status and takes `keep_error *err` last;
 *   - `err` may be NULL; it is written only on failure, in the caller's storage, without
 * allocating;
 *   - outputs come before `err` and are empty unless the call succeeded;
 *   - `const T *` is borrowed for the call, `T **` as input is taken over and NULL afterwards;
 *   - nothing here prints, exits or installs a signal handler.
 *
 * Threads: the functions of this header may be called from any thread; one value (a buffer, an
 * error) is used by one thread at a time.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KEEP_API __attribute__((visibility("default")))
#define KEEP_MUST_CHECK __attribute__((warn_unused_result))
#define KEEP_PRINTF(text, args) __attribute__((format(printf, text, args)))
#else
#define KEEP_API
#define KEEP_MUST_CHECK
#define KEEP_PRINTF(text, args)
#endif

/*
 * The one list of statuses. Each is there because a caller does something different.
 * Values are ABI: never renumber, only append.
 *
 * X(name, value, retry, exit, http, text)
 *   retry  true when the same call may succeed later without any change by the caller
 *   exit   the command's exit status (contracts: 0 done, 1 the answer is no, 2 wrong use)
 *   http   the status of a problem+json answer
 */
#define KEEP_STATUS_MAP(X)                                                                         \
	X(OK, 0, false, 0, 200, "done")                                                            \
	X(NOT_FOUND, 1, false, 1, 404, "there is no such thing")                                   \
	X(INVALID, 2, false, 3, 400, "the input is not valid")                                     \
	X(CONFLICT, 3, false, 4, 409, "the stored state does not allow it")                        \
	X(DENIED, 4, false, 5, 403, "not permitted")                                               \
	X(BUSY, 5, true, 6, 503, "in use by another, try again")                                   \
	X(FULL, 6, true, 7, 507, "no space left, or a limit is reached")                           \
	X(UNAVAILABLE, 7, true, 8, 503, "the backend cannot be reached or does not answer")        \
	X(UNCERTAIN, 8, false, 9, 500, "the backend did not say whether it committed: read again") \
	X(CORRUPT, 9, false, 10, 500, "stored data is damaged")                                    \
	X(TOO_NEW, 10, false, 11, 409, "written by a newer version")                               \
	X(NO_MEMORY, 11, true, 12, 503, "out of memory")                                           \
	X(MISUSE, 12, false, 13, 500, "the call breaks the function's contract")

typedef enum keep_status {
#define X(name, value, retry, exit, http, text) KEEP_##name = value,
	KEEP_STATUS_MAP(X)
#undef X
} keep_status;

/* The details of one failure; needs no release. */
typedef struct keep_error {
	keep_status status;
	int native;        /* SQLite's extended code or errno, 0 when there is none */
	char sqlstate[6];  /* PostgreSQL's SQLSTATE, "" when there is none */
	char message[320]; /* one sentence that names the thing at fault; no newline, no secret */
} keep_error;

#define KEEP_ERROR_INIT                                                                            \
	{                                                                                          \
		.status = KEEP_OK                                                                  \
	}

/* Borrowed bytes. data == NULL means absent (SQL NULL); {"", 0} is empty, which is a value. */
typedef struct keep_bytes {
	const char *data;
	size_t len; /* bytes */
} keep_bytes;

#define KEEP_BYTES(literal) ((keep_bytes){(literal), sizeof(literal) - 1})

/* Owned bytes that grow and may be used again; {0} is empty and valid. */
typedef struct keep_buffer {
	char *data; /* NULL until something was stored; then a zero byte follows data[len - 1] */
	size_t len;
	size_t capacity;
} keep_buffer;

#define KEEP_BUFFER_INIT                                                                           \
	{                                                                                          \
		.data = NULL                                                                       \
	}

/*
 * What the texts and records of answers live in; {0} is empty and valid. One may serve several
 * calls: each adds to it, and keep_memory_release frees all at once.
 */
typedef struct keep_memory {
	struct keep_chunk *head;
	char *at, *end; /* what is left of the head chunk */
} keep_memory;

#define KEEP_MEMORY_INIT                                                                           \
	{                                                                                          \
		.head = NULL                                                                       \
	}

/* "NOT_FOUND" for KEEP_NOT_FOUND; "?" for a value outside the list. */
KEEP_API const char *keep_status_name(keep_status status);
/* The text of the list above. */
KEEP_API const char *keep_status_text(keep_status status);
/* True when repeating the same call may succeed without any change by the caller. */
KEEP_API bool keep_status_can_retry(keep_status status);
/* The command's exit status for it. */
KEEP_API int keep_status_exit(keep_status status);
/* The HTTP status for it. */
KEEP_API int keep_status_http(keep_status status);
/* The status whose name is `name`; false when there is none. */
KEEP_API bool keep_status_parse(keep_bytes name, keep_status *out);

/* Free the contents; the buffer is {0} afterwards. Accepts {0}. */
KEEP_API void keep_buffer_release(keep_buffer *buffer);

/* Replace the contents by `bytes`: how an engine's backend of a user's own answers get. */
KEEP_API keep_status keep_buffer_set(keep_buffer *buffer, keep_bytes bytes,
				     keep_error *err) KEEP_MUST_CHECK;

/* Free everything in it; it is {0} afterwards. Accepts {0}. */
KEEP_API void keep_memory_release(keep_memory *memory);

/* Borrow a zero-terminated text; NULL gives {NULL, 0}. */
KEEP_API keep_bytes keep_bytes_of(const char *text);

/* "0.1.0": this library's version. */
KEEP_API const char *keep_version(void);

#ifdef __cplusplus
}
#endif
#endif
