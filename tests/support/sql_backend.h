#ifndef KEEP_SQL_BACKEND_H
#define KEEP_SQL_BACKEND_H
/*
 * sql_backend.h - the backend that a contract test runs on, and fresh databases in it.
 *
 * KEEP_TEST_BACKEND chooses: sqlite (files in a new folder) or postgres (schemas of the server in
 * KEEP_TEST_POSTGRES, which tests/support/with_servers.sh starts). Without a server the PostgreSQL
 * variant of a test fails: a test that skips itself holds nothing.
 */
#include "keep_test.h"
#include "sql/sql.h"

#include <unistd.h>

typedef struct sql_backend {
	const kp_sql_driver *driver;
	const char *conninfo; /* of the server; NULL for SQLite */
	char folder[64];      /* of the files */
	char location[128];   /* of the fresh database */
	char schema[64];      /* the same */
	int made;             /* how many databases so far */
} sql_backend;

static inline int backend_open(sql_backend *backend)
{
	const char *name = getenv("KEEP_TEST_BACKEND");

	*backend = (sql_backend){.driver = NULL};
	if (name && strcmp(name, "postgres") == 0) {
		backend->driver = &kp_sql_postgres;
		backend->conninfo = getenv("KEEP_TEST_POSTGRES");
		if (!backend->conninfo) {
			print_error("KEEP_TEST_POSTGRES names no server: run the tests as\n"
				    "    tests/support/with_servers.sh meson test -C build\n");
			return -1;
		}
		return 0;
	}
	if (!name || strcmp(name, "sqlite") != 0) {
		print_error("KEEP_TEST_BACKEND must be sqlite or postgres\n");
		return -1;
	}
	backend->driver = &kp_sql_sqlite;
	/* In memory where there is such a folder: what a test asks is not what the disk does. */
	(void)snprintf(backend->folder, sizeof backend->folder, "%s/keep-test-XXXXXX",
		       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	return mkdtemp(backend->folder) ? 0 : -1;
}

/* The options of a database that does not exist yet; valid until the next fresh one. */
static inline kp_sql_options backend_fresh(sql_backend *backend)
{
	kp_sql_options options = {.create = true, .timeout_ms = 20000};

	backend->made++;
	(void)snprintf(backend->schema, sizeof backend->schema, "keep_test_%d_%d", (int)getpid(),
		       backend->made);
	(void)snprintf(backend->location, sizeof backend->location, "%s/%d.db", backend->folder,
		       backend->made);
	options.location = backend->conninfo ? backend->conninfo : backend->location;
	options.schema = backend->conninfo ? backend->schema : NULL;
	return options;
}

/* Remove the latest fresh database, for tests that make thousands; `conn` is to it, and closed. */
static inline void backend_drop(sql_backend *backend, kp_sql_conn **conn)
{
	static const char *const parts[] = {"", "-wal", "-shm", "-guard", "-notify", "-journal"};
	char name[160];

	if (backend->conninfo && *conn) {
		(void)snprintf(name, sizeof name, "DROP SCHEMA %s CASCADE", backend->schema);
		if (kp_sql_script(*conn, name, NULL) != KEEP_OK)
			print_error("%s failed\n", name);
	}
	kp_sql_close(conn);
	for (size_t i = 0; !backend->conninfo && i < KP_COUNT(parts); i++) {
		(void)snprintf(name, sizeof name, "%s%s", backend->location, parts[i]);
		(void)unlink(name);
	}
}

static inline void backend_close(sql_backend *backend)
{
	char command[128];

	if (backend->folder[0]) {
		(void)snprintf(command, sizeof command, "rm -rf '%s'", backend->folder);
		assert_int_equal(system(command), 0);
	}
	for (int i = 1; backend->conninfo && i <= backend->made; i++) {
		kp_sql_options options = {.location = backend->conninfo, .timeout_ms = 20000};
		kp_sql_conn *conn = NULL;
		char sql[128];

		(void)snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS keep_test_%d_%d CASCADE",
			       (int)getpid(), i);
		if (kp_sql_open(backend->driver, &options, &conn, NULL) == KEEP_OK &&
		    kp_sql_script(conn, sql, NULL) != KEEP_OK)
			print_error("%s failed\n", sql);
		kp_sql_close(&conn);
	}
}

/* Run `sql`, which gives one number. */
static inline int64_t query_int(kp_sql_conn *conn, const char *sql)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	int64_t number = 0;

	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	CHECK(has_row, "%s: no row", sql);
	OK(kp_sql_column_int(stmt, 0, &number, &err));
	kp_sql_finish(&stmt);
	return number;
}

#endif
