#ifndef KEEP_SERVICE_H
#define KEEP_SERVICE_H
/*
 * keep/service.h - the host of a home: what `keep serve` runs.
 *
 * It accepts messages over HTTP, routes them, posts them into mailboxes, runs a command for
 * sessions that have no agent of their own, takes answers over, hands deliveries out, lets
 * schedules come due, retains and backs up. Everything it does is stored before it counts: it may
 * be killed at any moment.
 *
 * One service per home holds the host's lease; another one waits for it in keep_service_start and
 * takes over when the first one ends or dies.
 *
 * What it is not: it installs no signal handler and prints nothing.
 *
 * Threads: it has its own; each call here may come from any thread.
 */
#include "keep/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct keep_service keep_service;

#define KEEP_SERVICE_LISTEN "127.0.0.1:7400"

typedef enum keep_service_state {
	KEEP_SERVICE_WAITING,  /* for the host's lease; the text says who has it */
	KEEP_SERVICE_STARTING, /* it has the lease */
	KEEP_SERVICE_READY,    /* the text is its URL */
	KEEP_SERVICE_STOPPING
} keep_service_state;

typedef struct keep_service_options {
	size_t size;        /* sizeof(keep_service_options): lets this struct grow */
	const char *listen; /* ADDRESS:PORT, [ADDRESS]:PORT; port 0: any free one. NULL: as above */
	const char *agent;  /* a shell command, run for messages of sessions without an agent of
			       their own. NULL: none is run */
	bool agent_text;    /* it gets a message's text, not its JSON */
	int64_t agents_max; /* commands at once; 0: 4 */
	int64_t agent_limit_ms;                /* a command's time; 0: 10 minutes */
	const char *tls_certificate, *tls_key; /* PEM files; both or none */
	bool behind_proxy;        /* a proxy in front does TLS; X-Forwarded-For is believed */
	const char *const *hosts; /* names that Host may have beside the address and localhost */
	size_t host_count;
	const char *key_file; /* the assistant's keys; NULL: <home>/vault.key */
	const char *backups;  /* a folder for backups (needed for a home on a server, else there are
				 none); NULL: the home's own */
	bool no_maintenance;  /* no backups, retention and optimising by the clock */
	const volatile int *cancelled; /* not 0: ends the wait for the lease; NULL: never */
	/* Told when the state changes, from any thread; NULL: nobody. */
	void (*changed)(void *ctx, keep_service_state state, const char *text);
	void *changed_ctx;
} keep_service_options;

#define KEEP_SERVICE_OPTIONS_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(keep_service_options)                                               \
	}

/*
 * Wait for the host's lease of the home (a folder, or a postgres:// URL), and begin. INVALID: an
 * address that is none; another address than loopback without an account, or without TLS and not
 * behind a proxy; TLS files that cannot be used. NOT_FOUND: no home. UNAVAILABLE: the address is
 * taken. BUSY: cancelled while waiting. `options` may be NULL.
 */
KEEP_API keep_status keep_service_start(const char *home, const keep_service_options *options,
					keep_service **out, keep_error *err) KEEP_MUST_CHECK;
/* Where it listens: "http://127.0.0.1:7400". */
KEEP_API const char *keep_service_url(const keep_service *service);
/* Whether its threads are alive and its lease is held; else one sentence that says what is wrong.
 */
KEEP_API keep_status keep_service_health(keep_service *service, keep_error *err) KEEP_MUST_CHECK;
/* Finish what is in flight, for at most grace_ms (0: 10 s), give the lease up and end. Commands of
   agents that run longer are ended, and their messages are free again. Accepts a pointer to NULL.
 */
KEEP_API void keep_service_stop(keep_service **service, int64_t grace_ms);

#ifdef __cplusplus
}
#endif
#endif
