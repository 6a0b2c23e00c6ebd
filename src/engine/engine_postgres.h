#ifndef KP_ENGINE_POSTGRES_H
#define KP_ENGINE_POSTGRES_H
/* engine_postgres.h - what the files of the PostgreSQL backend share. */
#include "engine/backend.h"
#include "sql/sql.h"

#define KP_ENGINE_CHANNEL_SIZE 48

struct postgres_store {
	kp_store base;
	kp_database *database;
	char *conninfo;                       /* the URL without our own parameters */
	char *schema;                         /* "engine" unless the URL says otherwise */
	char *name;                           /* the namespace */
	char channel[KP_ENGINE_CHANNEL_SIZE]; /* of NOTIFY */
	char durability[24];
	bool listen; /* the server has LISTEN and NOTIFY */
	int64_t timeout_ms;
};

keep_status kp_engine_postgres_identify(const char *url, char **identity,
					keep_error *err) KEEP_MUST_CHECK;

keep_status kp_engine_postgres_watch_open(kp_store *base, const kp_path *path, kp_watch **out,
					  keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_postgres_watch_wait(kp_watch *base, int64_t timeout_ms, bool *changed,
					  keep_error *err) KEEP_MUST_CHECK;
void kp_engine_postgres_watch_cancel(kp_watch *base);
void kp_engine_postgres_watch_close(kp_watch *base);

#endif
