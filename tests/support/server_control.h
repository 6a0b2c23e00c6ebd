#ifndef KEEP_SERVER_CONTROL_H
#define KEEP_SERVER_CONTROL_H
/*
 * server_control.h - a PostgreSQL or Redis of a test's own, to be killed, paused and restarted.
 *
 * The servers of with_servers.sh are shared by all tests that run at the same time; a test about a
 * server that goes away starts its own here. The work is done by server.sh, whose path
 * with_servers.sh exports. A failure fails the running cmocka test with the script's own words.
 *
 *     struct server server;
 *
 *     server_start_postgres(&server);
 *     …                                   connect to server.location
 *     server_kill(&server);               kill -9
 *     …
 *     server_restart(&server);            start again, with what it had stored
 *     server_remove(&server);             always: it takes the folder away
 *
 * Threads: one server is used by one thread at a time.
 */
struct server {
	const char *kind;   /* "postgres" or "redis" */
	char folder[64];    /* /tmp/keep-XXXXXX/XXXXXX/postgres */
	char location[128]; /* PostgreSQL: a conninfo; Redis: the path of its socket */
};

void server_start_postgres(struct server *server);
void server_start_redis(struct server *server);
/* kill -9: nothing is flushed, nobody is told. */
void server_kill(struct server *server);
/* In good order: clients are disconnected. */
void server_stop(struct server *server);
/* Start it, killing or stopping it first is the caller's; returns when it answers. */
void server_restart(struct server *server);
/* It is there and does not answer, until resumed. */
void server_pause(struct server *server);
void server_resume(struct server *server);
/* Kill it and remove its folder. */
void server_remove(struct server *server);

/* An environment variable that with_servers.sh sets; fails the test when it is not set. */
const char *server_environment(const char *name);

#endif
