#ifndef KEEP_SOURCE_FILE_H
#define KEEP_SOURCE_FILE_H
/*
 * source_file.h - makes SQLite files as other programs wrote them, and tells their bytes.
 */
#include "keep_test.h"

#include <sqlite3.h>
#include <unistd.h>

/* Run SQL on `file`, which it makes; ends the test when that fails. */
static inline void source_run(const char *file, const char *sql)
{
	sqlite3 *db = NULL;
	char *why = NULL;

	assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
	CHECK(sqlite3_exec(db, sql, NULL, NULL, &why) == SQLITE_OK, "%s: %s", file, why);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* All bytes of a file, with a zero byte; the caller frees them. NULL: no such file. */
static inline char *source_bytes(const char *file, size_t *len)
{
	FILE *in = fopen(file, "rb");
	char *bytes = NULL;
	long size;

	*len = 0;
	if (!in)
		return NULL;
	assert_int_equal(fseek(in, 0, SEEK_END), 0);
	size = ftell(in);
	rewind(in);
	bytes = test_malloc((size_t)size + 1);
	*len = fread(bytes, 1, (size_t)size, in);
	bytes[*len] = '\0';
	assert_int_equal(fclose(in), 0);
	return bytes;
}

/* A file of tests/fixtures, run on `file`. */
static inline void source_make(const char *file, const char *fixture)
{
	char path[300];
	size_t len;
	char *sql;

	CHECK(getenv("KEEP_TEST_FIXTURES"), "KEEP_TEST_FIXTURES is not set");
	(void)snprintf(path, sizeof path, "%s/%s", getenv("KEEP_TEST_FIXTURES"), fixture);
	sql = source_bytes(path, &len);
	CHECK(sql, "%s is missing", path);
	source_run(file, sql);
	test_free(sql);
}

static inline void source_remove(const char *file)
{
	static const char *const parts[] = {"", "-wal", "-shm", "-journal", "-guard", "-notify"};
	char name[300];

	for (size_t i = 0; i < KP_COUNT(parts); i++) {
		(void)snprintf(name, sizeof name, "%s%s", file, parts[i]);
		(void)unlink(name);
	}
}

#endif
