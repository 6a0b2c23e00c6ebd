#ifndef KEEP_MAILBOX_FIXTURE_H
#define KEEP_MAILBOX_FIXTURE_H
/*
 * mailbox_fixture.h - a fresh mailbox on the backend that the program's argument names.
 *
 *     int main(int argc, char **argv) { mailbox_begin(argc, argv); … mailbox_end(); }
 *     keep_mailbox *mailbox = mailbox_fresh();          a new store
 *     keep_mailbox *other = mailbox_again();            the same store, opened once more
 *     char session[KEEP_SEGMENT_MAX + 1];
 *     mailbox_session(mailbox, NULL, session);          a session of MAILBOX_AGENT in MAILBOX_CHAT
 *     keep_agent *agent = mailbox_agent(mailbox, session);
 *
 * "sqlite" is a folder of its own, "postgres" a schema of KEEP_TEST_POSTGRES; both are removed at
 * the end. See mailbox_fixture.c.
 */
#include "keep_test.h"

#include "keep/agent.h"
#include "keep/mailbox.h"
#include "keep/mailbox_registry.h"

#define MAILBOX_URL_MAX 512
#define MAILBOX_AGENT "ada"  /* the agent group of mailbox_session */
#define MAILBOX_CHAT "mg-42" /* its chat: telegram, 42 */

/* Wrong use ends the program. */
void mailbox_begin(int argc, char **argv);
void mailbox_end(void);
/* This program's file, to be started again: /proc/self/exe is another one's under Valgrind. */
const char *mailbox_program(void);
/* "sqlite" or "postgres" */
const char *mailbox_kind(void);
bool mailbox_is_file(void);
/* The URL of the last fresh store, and a URL where nothing is yet. */
const char *mailbox_url(void);
void mailbox_next_url(char url[MAILBOX_URL_MAX]);

/* A new store, created; ends the test when that fails. */
keep_mailbox *mailbox_fresh(void);
/* The last fresh store once more. */
keep_mailbox *mailbox_again(void);
/* With options; `create` and so on are the caller's. */
keep_status mailbox_open_with(const keep_mailbox_options *options, keep_mailbox **out,
			      keep_error *err);

/* SQLite: a session's folder. */
const char *mailbox_folder(const char *session);
/* Run SQL behind the library's back, on the registry (session NULL) or on a session's "inbound.db"
   or "outbound.db" (on a server all is one schema, and tables have session_id); a first column's
   text, at most 200 bytes, comes back ("" without a row). */
const char *mailbox_sql(const char *session, const char *file, const char *sql);

struct kp_sql_conn;
/* A connection of the caller's own, as mailbox_sql. */
struct kp_sql_conn *mailbox_connect_behind(const char *session, const char *file);

/* Find or make the session of MAILBOX_AGENT in MAILBOX_CHAT, or in a thread of it. */
void mailbox_session(keep_mailbox *mailbox, const char *thread, char id[KEEP_SEGMENT_MAX + 1]);
/* Its agent's side. */
keep_agent *mailbox_agent(keep_mailbox *mailbox, const char *session);
/* Post a chat message with that content (JSON); its number. */
int64_t mailbox_post(keep_mailbox *mailbox, const char *session, const char *content);

#endif
