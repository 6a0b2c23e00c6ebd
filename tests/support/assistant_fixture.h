#ifndef KEEP_ASSISTANT_FIXTURE_H
#define KEEP_ASSISTANT_FIXTURE_H
/*
 * assistant_fixture.h - a fresh assistant's store on the backend that the program's argument names.
 *
 *     int main(int argc, char **argv) { assistant_begin(argc, argv); … assistant_end(); }
 *     keep_assistant *assistant = assistant_fresh();         a new store
 *     keep_assistant *other = assistant_again("worker");     the same store, opened once more
 *
 * "sqlite" is a file in a folder of its own, "postgres" a schema of KEEP_TEST_POSTGRES; both are
 * removed at the end. See assistant_fixture.c.
 */
#include "keep_test.h"

#include "keep/assistant.h"
#include "keep/assistant_admin.h"
#include "keep/assistant_care.h"
#include "keep/assistant_search.h"
#include "keep/assistant_work.h"

#define ASSISTANT_URL_MAX 512

/* Wrong use ends the program. */
void assistant_begin(int argc, char **argv);
void assistant_end(void);
/* This program's file, to be started again: /proc/self/exe is another one's under Valgrind. */
const char *assistant_program(void);
/* "sqlite" or "postgres" */
const char *assistant_kind(void);
bool assistant_is_file(void);
/* The URL of the last fresh store, and a URL where nothing is yet. The URL has the process's number
   in it: take it before a fork. */
const char *assistant_url(void);
void assistant_next_url(char url[ASSISTANT_URL_MAX]);
/* SQLite: the last fresh store's file; and the folder for whatever else a test makes. */
const char *assistant_file(void);
const char *assistant_folder(void);

/* A new store, created, with a key; ends the test when that fails. */
keep_assistant *assistant_fresh(void);
/* The last fresh store once more, as `service` (NULL: keep). */
keep_assistant *assistant_again(const char *service);
/* With options; `create` and so on are the caller's. */
keep_status assistant_open_with(const keep_assistant_options *options, keep_assistant **out,
				keep_error *err);

/* Run SQL on the last fresh store behind the library's back; a first column's text, at most 200
   bytes, comes back ("" without a row). Never from the thread that holds a transaction. */
const char *assistant_sql(const char *sql);
/* How many rows a table has, behind the library's back; also "messages WHERE …". */
int64_t assistant_count(const char *table);

struct kp_sql_conn;
/* A connection of the caller's own to the last fresh store. */
struct kp_sql_conn *assistant_connect_behind(void);

#endif
