#ifndef KP_CLI_REMOTE_H
#define KP_CLI_REMOTE_H
/*
 * cli_remote.h - calls of operations at a `keep serve` elsewhere, over HTTP.
 *
 * Threads: one cli_remote belongs to one thread at a time.
 */
#include "core/core.h"

#include <stdatomic.h>

typedef struct cli_remote cli_remote;

/* True for http:// and https:// URLs. */
bool cli_remote_is_url(const char *place);
/* `token` may be empty; it is copied, and wiped at the end. A call ends, with UNAVAILABLE, when
   *cancelled becomes true (NULL: never). INVALID: no such URL, or a token that would go over the
   network in the clear. */
keep_status cli_remote_open(const char *url, keep_bytes token, const atomic_bool *cancelled,
			    cli_remote **out, keep_error *err) KEEP_MUST_CHECK;
void cli_remote_close(cli_remote **remote);
/* Is a service there? UNAVAILABLE says what is instead. */
keep_status cli_remote_check(cli_remote *remote, keep_error *err) KEEP_MUST_CHECK;
/* Run "gateway.put_message" with a JSON object of inputs; *result (in `memory`) is its result. The
   statuses are the operation's; UNAVAILABLE: the service does not answer. */
keep_status cli_remote_call(cli_remote *remote, const char *operation, keep_bytes with,
			    kp_arena *memory, const kp_json **result,
			    keep_error *err) KEEP_MUST_CHECK;
/* The trace of a message. */
keep_status cli_remote_trace(cli_remote *remote, keep_bytes chat, keep_bytes id, kp_arena *memory,
			     const kp_json **result, keep_error *err) KEEP_MUST_CHECK;

#endif
