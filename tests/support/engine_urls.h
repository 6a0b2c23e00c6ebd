#ifndef KEEP_ENGINE_URLS_H
#define KEEP_ENGINE_URLS_H
/*
 * engine_urls.h - namespaces of the engine that nobody has used, one kind of backend or another.
 *
 * A kind is "memory", "file", "sqlite", "postgres" or "redis", or a URL in which `{}` stands for a
 * text that differs each time. Files go below one folder in /tmp, or in the
 * folder that KEEP_TEST_FOLDER names, which engine_urls_end removes; servers are those of
 * tests/support/with_servers.sh.
 */
#include "keep/engine.h"

#define ENGINE_URL_MAX 600

typedef struct engine_kind {
	char name[ENGINE_URL_MAX];
	bool persists;   /* a closed store is there when it is opened again, and other processes see
			    it */
	bool is_created; /* opening what does not exist needs `create` */
	bool is_file;    /* its namespace is a name in a file system */
} engine_kind;

/* Fails the program with one sentence when the kind's server is not there. */
void engine_urls_begin(const char *name, engine_kind *kind);
void engine_urls_end(void);

/* A namespace nobody has used. */
void engine_fresh_url(const engine_kind *kind, char url[ENGINE_URL_MAX]);
/* Another namespace whose name begins with that one's name and ends with `suffix`. */
void engine_neighbour_url(const engine_kind *kind, const char *url, const char *suffix,
			  char out[ENGINE_URL_MAX]);
/* A store that does not exist; the kind is_created. */
void engine_missing_url(const engine_kind *kind, char url[ENGINE_URL_MAX]);

#endif
