/* engine_urls.c - see engine_urls.h. */
#include "engine_urls.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[200];
static bool folder_made;
static unsigned long last_number;
static char run_name[48]; /* differs between programs that share a server */

static _Noreturn void die(const char *sentence)
{
	fprintf(stderr, "%s\n", sentence);
	exit(1);
}

static const char *server_of(const engine_kind *kind)
{
	const char *postgres = getenv("KEEP_TEST_POSTGRES"), *redis = getenv("KEEP_TEST_REDIS");

	if (strcmp(kind->name, "postgres") == 0) {
		if (!postgres)
			die("KEEP_TEST_POSTGRES is not set: run this under "
			    "tests/support/with_servers.sh");
		return postgres;
	}
	if (strcmp(kind->name, "redis") == 0) {
		if (!redis)
			die("KEEP_TEST_REDIS is not set: run this under "
			    "tests/support/with_servers.sh");
		return redis;
	}
	return NULL;
}

void engine_urls_begin(const char *name, engine_kind *kind)
{
	const char *place = getenv("KEEP_TEST_FOLDER");
	bool is_server = strncmp(name, "postgres", 8) == 0 || strncmp(name, "redis", 5) == 0;

	*kind = (engine_kind){.persists = strncmp(name, "memory", 6) != 0};
	strncat(kind->name, name, sizeof kind->name - 1);
	kind->is_file = strncmp(name, "file", 4) == 0 || strncmp(name, "sqlite", 6) == 0;
	kind->is_created = kind->is_file || strcmp(name, "postgres") == 0;
	if (!is_server && !kind->is_file && kind->persists)
		die("wrong use: the argument is memory, file, sqlite, postgres, redis or a URL");
	server_of(kind);
	snprintf(run_name, sizeof run_name, "%lx%lx", (long)getpid(), (long)time(NULL));
	if (!folder_made) {
		snprintf(folder, sizeof folder, "%s/keep-engine-XXXXXX", place ? place : "/tmp");
		if (!mkdtemp(folder))
			die("cannot make a folder in /tmp or KEEP_TEST_FOLDER");
	}
	folder_made = true;
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *where)
{
	(void)about, (void)type, (void)where;
	return remove(path);
}

void engine_urls_end(void)
{
	if (folder_made)
		nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	folder_made = false;
}

/* The value of `host=` or `user=` in a connection's text of plain words. */
static void find_word(const char *conninfo, const char *name, char *out, size_t size)
{
	const char *at = strstr(conninfo, name);
	size_t len = at ? strcspn(at + strlen(name), " ") : 0;

	snprintf(out, size, "%.*s", (int)len, at ? at + strlen(name) : "");
}

static void format_url(const engine_kind *kind, const char *name, char url[ENGINE_URL_MAX])
{
	const char *server = server_of(kind), *gap = strstr(kind->name, "{}");
	char host[200], user[60], database[60];

	if (strcmp(kind->name, "memory") == 0) {
		snprintf(url, ENGINE_URL_MAX, "memory:%s", name);
	} else if (strcmp(kind->name, "file") == 0) {
		snprintf(url, ENGINE_URL_MAX, "file:%s/%s", folder, name);
	} else if (strcmp(kind->name, "sqlite") == 0) {
		snprintf(url, ENGINE_URL_MAX, "sqlite:%s/%s", folder, name);
	} else if (strcmp(kind->name, "redis") == 0) {
		snprintf(url, ENGINE_URL_MAX, "redis+unix://%s?db=0&prefix=%s", server, name);
	} else if (strcmp(kind->name, "postgres") == 0) {
		find_word(server, "host=", host, sizeof host);
		find_word(server, "user=", user, sizeof user);
		find_word(server, "dbname=", database, sizeof database);
		snprintf(url, ENGINE_URL_MAX,
			 "postgres:///%s?host=%s&user=%s&schema=engine_test_%s&namespace=%s",
			 database, host, user, run_name, name);
	} else {
		if (!gap)
			die("wrong use: a URL needs {} where its namespaces differ");
		snprintf(url, ENGINE_URL_MAX, "%.*s%s%s", (int)(gap - kind->name), kind->name, name,
			 gap + 2);
	}
}

void engine_fresh_url(const engine_kind *kind, char url[ENGINE_URL_MAX])
{
	char name[80];

	snprintf(name, sizeof name, "t%s-%lu", run_name, ++last_number);
	format_url(kind, name, url);
}

void engine_neighbour_url(const engine_kind *kind, const char *url, const char *suffix,
			  char out[ENGINE_URL_MAX])
{
	size_t len = strlen(url);

	snprintf(out, ENGINE_URL_MAX, "%s", url);
	for (; *suffix && len < ENGINE_URL_MAX - 4; suffix++) {
		if (kind->is_file || !kind->persists)
			len += (size_t)snprintf(out + len, ENGINE_URL_MAX - len, "%c", *suffix);
		else
			len += (size_t)snprintf(out + len, ENGINE_URL_MAX - len, "%%%02X",
						(unsigned char)*suffix);
	}
}

void engine_missing_url(const engine_kind *kind, char url[ENGINE_URL_MAX])
{
	char normal[ENGINE_URL_MAX], *schema;

	engine_fresh_url(kind, normal);
	schema = strstr(normal, "schema=engine_test_");
	if (!schema) {
		snprintf(url, ENGINE_URL_MAX, "%s", normal);
		return;
	}
	snprintf(url, ENGINE_URL_MAX, "%.*sschema=no_such_%s&namespace=x", (int)(schema - normal),
		 normal, run_name);
}
