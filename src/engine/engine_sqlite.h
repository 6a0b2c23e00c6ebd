#ifndef KP_ENGINE_SQLITE_H
#define KP_ENGINE_SQLITE_H
/* engine_sqlite.h - what the two files of the SQLite backend share. */
#include "engine/backend.h"
#include "sql/sql.h"

struct sqlite_store {
	kp_store base;
	kp_database *database;
	kp_notify *notify; /* NULL where no file can be made beside the database */
	char *file;
	unsigned char key[16]; /* of the path hashes */
	bool relaxed;
	int64_t timeout_ms;
};

/* Remember the file's name and open its notifications; their absence is no failure. */
keep_status kp_engine_sqlite_name(struct sqlite_store *store, const char *file,
				  keep_error *err) KEEP_MUST_CHECK;
/* Wake whoever watches one of the changed paths. */
void kp_engine_sqlite_tell(struct sqlite_store *store, const kp_change *changes, size_t count);

keep_status kp_engine_sqlite_identify(const char *url, char **identity,
				      keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_sqlite_watch_open(kp_store *base, const kp_path *path, kp_watch **out,
					keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_sqlite_watch_wait(kp_watch *base, int64_t timeout_ms, bool *changed,
					keep_error *err) KEEP_MUST_CHECK;
void kp_engine_sqlite_watch_cancel(kp_watch *base);
void kp_engine_sqlite_watch_close(kp_watch *base);

#endif
