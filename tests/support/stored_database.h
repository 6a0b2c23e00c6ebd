#ifndef KEEP_STORED_DATABASE_H
#define KEEP_STORED_DATABASE_H
/*
 * stored_database.h - open a database as an earlier release left it.
 *
 * A stored database is a file that is never changed once it is committed:
 *   <name>.db    a SQLite file (tests/upgrade), copied before it is opened
 *   <name>.sql   a dump, for both dialects: run as one script in an empty database. A SQLite dump
 *                is made with `sqlite3 FILE .dump`, without its first two lines and its COMMIT.
 */
#include "sql_backend.h"

static inline keep_buffer stored_database_read(const char *path)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer content = KEEP_BUFFER_INIT;
	FILE *in = fopen(path, "rb");
	char part[4096];
	size_t got = 0;

	CHECK(in, "%s cannot be read", path);
	while ((got = fread(part, 1, sizeof part, in)) > 0)
		OK(kp_buffer_append(&content, (keep_bytes){part, got}, &err));
	(void)fclose(in);
	return content;
}

/* A fresh database with the content of `path`; `*options` opens it, and is valid until the next. */
static inline void stored_database_restore(sql_backend *backend, const char *path,
					   kp_sql_options *options)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer content = stored_database_read(path);
	const char *ending = strrchr(path, '.');
	kp_sql_conn *conn = NULL;

	*options = backend_fresh(backend);
	if (ending && strcmp(ending, ".db") == 0) {
		FILE *out = fopen(backend->location, "wb");

		CHECK(!backend->conninfo && out, "%s cannot be copied", path);
		assert_int_equal(fwrite(content.data, 1, content.len, out), content.len);
		assert_int_equal(fclose(out), 0);
	} else {
		OK(kp_sql_open(backend->driver, options, &conn, &err));
		OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
		OK(kp_sql_script(conn, content.data, &err));
		OK(kp_sql_commit(conn, &err));
		kp_sql_close(&conn);
	}
	keep_buffer_release(&content);
	options->create = false;
}

#endif
