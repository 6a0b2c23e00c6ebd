#ifndef KEEP_BAD_SERVER_H
#define KEEP_BAD_SERVER_H
/*
 * bad_server.h - a test in a child process, beside a server of its own that goes away.
 *
 * The child uses the store and asks its parent, which keeps the server, to kill and restart it. The
 * server syncs, so that a kill -9 may lose nothing it acknowledged.
 */
#include "bad_places.h"
#include "server_control.h"

enum server_request {
	SERVER_KILL = 'k',
	SERVER_RESTART = 'r',
	SERVER_PAUSE = 'p',
	SERVER_RESUME = 'c',
	SERVER_STOP = 's'
};

/* The server of the test that runs. */
extern struct server bad_server;

/* Start a server of `kind` ("postgres" or "redis"), call `ready` (may be NULL), then `run` in a
   child process; what it returns from is a success, and then nothing lives. */
void with_bad_server(const char *kind, void (*ready)(void), void (*run)(void));
/* In the child, by one thread at a time; returns when it is done. */
void ask(enum server_request what);

#endif
