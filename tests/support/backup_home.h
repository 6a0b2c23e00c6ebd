#ifndef KEEP_BACKUP_HOME_H
#define KEEP_BACKUP_HOME_H
/*
 * backup_home.h - homes for tests of backups: folders with SQLite files made by plain SQLite, in
 * either mode, so that what is in them is known without any store.
 */
#include "backup/backup.h"
#include "keep_test.h"
#include "temp_folder.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

/* snprintf into an array that is long enough. */
#define FORMAT(array, ...)                                                                         \
	CHECK(snprintf(array, sizeof(array), __VA_ARGS__) < (int)sizeof(array), "it is too long")

static inline void run_sql(sqlite3 *db, const char *sql)
{
	char *why = NULL;
	int rc = sqlite3_exec(db, sql, NULL, NULL, &why);

	CHECK(rc == SQLITE_OK, "%s: %s", sql, why ? why : "?");
	sqlite3_free(why);
}

static inline sqlite3 *open_sql(const char *home, const char *name)
{
	char path[512];
	sqlite3 *db = NULL;

	FORMAT(path, "%s/%s", home, name);
	CHECK(sqlite3_open(path, &db) == SQLITE_OK, "%s cannot be opened", path);
	(void)sqlite3_busy_timeout(db, 10000);
	return db;
}

static inline void make_folder(const char *home, const char *name)
{
	char path[512];

	FORMAT(path, "%s/%s", home, name);
	CHECK(mkdir(path, 0700) == 0, "%s cannot be made", path);
}

static inline void make_file(const char *home, const char *name, const char *text)
{
	char path[512];
	FILE *file;

	FORMAT(path, "%s/%s", home, name);
	file = fopen(path, "w");
	CHECK(file, "%s cannot be made", path);
	CHECK(fputs(text, file) >= 0 && fclose(file) == 0, "%s cannot be written", path);
}

/* A database with the table t(id, n, text): `rows` rows, in WAL mode or not. */
static inline void make_database(const char *home, const char *name, bool has_log, int rows)
{
	sqlite3 *db = open_sql(home, name);
	char sql[300];

	run_sql(db, has_log ? "PRAGMA journal_mode = wal" : "PRAGMA journal_mode = delete");
	run_sql(db, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, text TEXT)");
	(void)snprintf(sql, sizeof sql,
		       "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < "
		       "%d) INSERT INTO t (n, text) SELECT 0, hex(randomblob(100)) FROM c",
		       rows);
	if (rows > 0)
		run_sql(db, sql);
	CHECK(sqlite3_close(db) == SQLITE_OK, "%s stays open", name);
}

static inline int64_t ask_sql(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	int64_t answer = -1;

	CHECK(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s: %s", sql,
	      sqlite3_errmsg(db));
	if (sqlite3_step(stmt) == SQLITE_ROW)
		answer = sqlite3_column_int64(stmt, 0);
	(void)sqlite3_finalize(stmt);
	return answer;
}

static inline int64_t ask_file(const char *home, const char *name, const char *sql)
{
	sqlite3 *db = open_sql(home, name);
	int64_t answer = ask_sql(db, sql);

	(void)sqlite3_close(db);
	return answer;
}

static inline bool path_exists(const char *home, const char *name)
{
	char path[512];
	struct stat st;

	FORMAT(path, "%s/%s", home, name);
	return lstat(path, &st) == 0;
}

/* "<home>/backups/<name>" or "<home>/backups/<name>/data". */
static inline const char *backup_path(const char *home, const char *name, const char *below,
				      char out[512])
{
	CHECK(snprintf(out, 512, "%s/backups/%s%s", home, name, below) < 512, "too long");
	return out;
}

/* Flip one bit of a file. */
static inline void flip_bit(const char *folder, const char *name, long at)
{
	char path[512];
	unsigned char byte = 0;
	int fd;

	FORMAT(path, "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1, "%s has no byte %ld", path, at);
	byte ^= 16;
	CHECK(pwrite(fd, &byte, 1, at) == 1, "%s cannot be written", path);
	(void)close(fd);
}

#endif
