#ifndef KEEP_GATEWAY_FIXTURE_H
#define KEEP_GATEWAY_FIXTURE_H
/*
 * gateway_fixture.h - a fresh gateway on the backend that the program's argument names.
 *
 *     int main(int argc, char **argv) { gateway_begin(argc, argv); … gateway_end(); }
 *     keep_gateway *gateway = gateway_fresh();            a new store
 *     keep_gateway *other = gateway_again("timed");       the same store, opened once more
 *
 * "sqlite" is a file in a folder of its own, "postgres" a schema of KEEP_TEST_POSTGRES; both are
 * removed at the end. See gateway_fixture.c.
 */
#include "keep_test.h"

#include "keep/gateway.h"

#define GATEWAY_URL_MAX 512

/* Wrong use ends the program. */
void gateway_begin(int argc, char **argv);
void gateway_end(void);
/* This program's file, to be started again: /proc/self/exe is another one's under Valgrind. */
const char *gateway_program(void);
/* "sqlite" or "postgres" */
const char *gateway_kind(void);
bool gateway_is_file(void);
/* The URL of the last fresh store, and a URL where nothing is yet. */
const char *gateway_url(void);
void gateway_next_url(char url[GATEWAY_URL_MAX]);

/* A new store, created; ends the test when that fails. */
keep_gateway *gateway_fresh(void);
/* The last fresh store once more, as `service` (NULL: keep). */
keep_gateway *gateway_again(const char *service);
/* With options; `create` and so on are the caller's. */
keep_status gateway_open_with(const keep_gateway_options *options, keep_gateway **out,
			      keep_error *err);

/* Run SQL on the last fresh store behind the library's back; a first column's text, at most 200
   bytes, comes back ("" without a row). Never from the thread that holds a transaction. */
const char *gateway_sql(const char *sql);

struct kp_sql_conn;
/* A connection of the caller's own to the last fresh store. */
struct kp_sql_conn *gateway_connect_behind(void);

/* Put an inbound message with these three; its number. */
int64_t gateway_put(keep_gateway *gateway, const char *jid, const char *id, const char *content);

#endif
