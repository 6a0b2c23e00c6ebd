#ifndef KEEP_LOG_H
#define KEEP_LOG_H
/*
 * keep/log.h - where the library tells what it noticed: a callback of the program's own.
 *
 * What it is not: a logger. Without a callback nothing is written anywhere. A message is one
 * line, never carries a secret, and never replaces a status.
 *
 * Threads: set the callback before the first other call; it may be called from any thread.
 */
#include "keep/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum keep_log_level {
	KEEP_LOG_DEBUG,
	KEEP_LOG_INFO,
	KEEP_LOG_WARNING, /* something works less well than asked: no wake-ups, a server without
			     sync */
	KEEP_LOG_ERROR,   /* something failed that no caller's status tells */
} keep_log_level;

typedef void keep_log_callback(void *ctx, keep_log_level level, const char *message);

/* Send messages to `callback`; NULL sends them nowhere, which is the default. */
KEEP_API void keep_log_set(keep_log_callback *callback, void *ctx);

#ifdef __cplusplus
}
#endif
#endif
