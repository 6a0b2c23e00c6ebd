#ifndef KEEP_HOME_FIXTURE_H
#define KEEP_HOME_FIXTURE_H
/*
 * home_fixture.h - homes for tests of what is done with a whole one: folders, and databases of
 * their own on the server of KEEP_TEST_POSTGRES (a server home's schemas have fixed names).
 *
 *     char url[HOME_URL_MAX];
 *     home_server(url);                     a new database's URL
 *     home_fill("/tmp/x/home", &filled);    some of everything, through the public calls
 *     homes_must_be_equal(a, b);            two folders, value by value, by SQL of our own
 *     home_servers_drop();                  at the end
 */
#include "keep_test.h"

#include "keep/home.h"

#define HOME_URL_MAX 512
#define HOME_CHAT "telegram:1"

typedef struct home_filled {
	char session[256]; /* with two messages that nobody claimed */
	int64_t last_seq;  /* of HOME_CHAT */
	int64_t last_route;
} home_filled;

void home_server(char url[HOME_URL_MAX]);
void home_servers_drop(void);
/* The URL of a store of a home: "gateway", "mailbox" or "engine" (the default one). */
const char *home_store(const char *home, const char *store, char url[HOME_URL_MAX]);

void home_fill(const char *home, home_filled *filled);
/* A folder with a chat, an engine and a mailbox; no zone is read. */
void home_fill_little(const char *home, home_filled *filled);
/* Of which this is a part; and a post and a claim of the session afterwards. */
void home_fill_mailbox(const char *home, home_filled *filled);
void home_use_mailbox(const char *home, const home_filled *filled);
/* Rows of `table` in a folder's database "gateway/messages.db". */
int64_t home_count(const char *home, const char *file, const char *table);
/* Run a script on a folder's database, behind the library's back. */
void home_script(const char *home, const char *file, const char *sql);
/* One database of them; but for what is derived from its rows. */
void home_file_must_be_equal(const char *a, const char *b, const char *file);
void homes_must_be_equal(const char *a, const char *b, const home_filled *filled);
/* The same tables, rows and hashes. */
void results_must_be_equal(const keep_transfer_result *a, const keep_transfer_result *b);

#endif
