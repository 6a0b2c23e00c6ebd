#ifndef KEEP_PAGE_FINDINGS_H
#define KEEP_PAGE_FINDINGS_H
/*
 * page_findings.h - what kp_sqlite_check_file says of a file, and bits of files flipped.
 *
 * "Stock" here is SQLite through its default file system: a program that knows no seals.
 */
#include "keep_test.h"
#include "temp_folder.h"

#include "sql/sql.h"
#include "sql/sqlite_files.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

enum { FOUND_MAX = 400 };

typedef struct page_findings {
	int damage, notes, count;
	struct {
		uint32_t page, frame;
		bool is_damage, may_reseal;
		char message[300];
	} items[FOUND_MAX];
} page_findings;

static inline keep_status page_findings_add(void *ctx, const kp_sqlite_finding *finding,
					    keep_error *err)
{
	page_findings *found = ctx;
	int at = found->count++;

	(void)err;
	CHECK(at < FOUND_MAX, "too many findings");
	CHECK(strstr(finding->message, ".db"), "%s: no file", finding->message);
	found->items[at].page = finding->page;
	found->items[at].frame = finding->frame;
	found->items[at].is_damage = finding->severity == KP_SQLITE_DAMAGE;
	found->items[at].may_reseal = finding->may_reseal;
	(void)snprintf(found->items[at].message, sizeof found->items[at].message, "%s",
		       finding->message);
	if (finding->severity == KP_SQLITE_DAMAGE)
		found->damage++;
	else
		found->notes++;
	return KEEP_OK;
}

/* `whole`: with what SQLite says. */
static inline void page_findings_of(const char *path, bool whole, page_findings *found)
{
	keep_error err = KEEP_ERROR_INIT;

	found->count = found->damage = found->notes = 0;
	if (whole)
		OK(kp_sqlite_check_file(path, page_findings_add, found, &err));
	else
		OK(kp_sqlite_check_pages(path, page_findings_add, found, &err));
}

static inline void must_be_clean(const char *path)
{
	static page_findings found;

	page_findings_of(path, true, &found);
	CHECK(found.count == 0, "%s", found.items[0].message);
}

/* Is damage of that page, or of that frame, told? */
static inline bool damage_is_told(const page_findings *found, uint32_t page, uint32_t frame)
{
	for (int i = 0; i < found->count; i++)
		if (found->items[i].is_damage && found->items[i].page == page &&
		    found->items[i].frame == frame)
			return true;
	return false;
}

/* ---------------------------------------------------------------- bytes */

static inline int64_t size_of_file(const char *path)
{
	struct stat st;

	CHECK(stat(path, &st) == 0, "%s", path);
	return st.st_size;
}

static inline void flip_bit(const char *path, int64_t byte, unsigned bit)
{
	unsigned char value;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0 && pread(fd, &value, 1, byte) == 1, "%s: byte %lld", path, (long long)byte);
	value ^= (unsigned char)(1u << bit);
	CHECK(pwrite(fd, &value, 1, byte) == 1, "%s", path);
	(void)close(fd);
}

/* How many pages of a closed file have a seal in that state. */
static inline int count_seals(const char *path, kp_seal_state state)
{
	unsigned char page[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC), count = 0;

	CHECK(fd >= 0, "%s", path);
	for (uint32_t number = 1;
	     pread(fd, page, sizeof page, (int64_t)(number - 1) * 4096) == sizeof page; number++)
		count += kp_seal_look(page, sizeof page, number) == state;
	(void)close(fd);
	return count;
}

/* ---------------------------------------------------------------- databases */

static inline void run_stock(const char *path, const char *sql)
{
	sqlite3 *db = NULL;
	char *why = NULL;

	CHECK(sqlite3_open(path, &db) == SQLITE_OK, "%s", path);
	CHECK(sqlite3_exec(db, sql, NULL, NULL, &why) == SQLITE_OK, "%s: %s", sql, why);
	CHECK(sqlite3_close(db) == SQLITE_OK, "%s stays open", path);
}

/* A database of Keep's driver, with seals unless `plain`. */
static inline kp_sql_conn *open_sealed(const char *path, bool plain)
{
	kp_sql_options options = {
		.location = path, .create = true, .seal = !plain, .mmap_bytes = 64 << 20};
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;

	OK(kp_sql_open(&kp_sql_sqlite, &options, &conn, &err));
	return conn;
}

static inline void write_sealed(kp_sql_conn *conn, const char *sql)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(conn, sql, &err));
	OK(kp_sql_commit(conn, &err));
}

#define SEALED_TABLE                                                                               \
	"CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER NOT NULL, text TEXT NOT NULL);"          \
	"CREATE INDEX t_text ON t(text)"
/* Some 60 rows to a hundred pages, one of them on overflow pages. */
#define SEALED_ROWS                                                                                \
	"WITH RECURSIVE i(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM i WHERE n < 600) "          \
	"INSERT INTO t(n, text) SELECT n, hex(randomblob(150)) FROM i;"                            \
	"INSERT INTO t(n, text) SELECT 0, hex(randomblob(20000))"

#endif
