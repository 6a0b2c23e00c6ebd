/*
 * bench_backup.c - a backup of a home against cp -r and a sync of the same files, and what a writer
 * beside it feels.
 *
 *     bench_backup FOLDER        on the file system that is meant; needs 4 GB there
 */
#include "backup/backup.h"
#include "bench.h"
#include "sql/sql.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGE_ROWS = 130000, SESSIONS = 2000, WAITS_MAX = 1 << 20, TURNS = 5 };

static char home[200], spare[200];
static atomic_int stop;
static double waits[WAITS_MAX];
static size_t wait_count;

static void run(const char *file, const char *sql)
{
	sqlite3 *db = NULL;

	if (sqlite3_open(file, &db) != SQLITE_OK ||
	    sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		bench_fail("%s: %s", file, sqlite3_errmsg(db));
	(void)sqlite3_close(db);
}

static void make_large(const char *name, int rows)
{
	char path[1400], sql[400];

	(void)snprintf(path, sizeof path, "%s/%.600s", home, name);
	(void)snprintf(
		sql, sizeof sql,
		"PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, "
		"bytes BLOB); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c "
		"WHERE i < %d) INSERT INTO t (n, bytes) SELECT i, randomblob(7900) FROM c",
		rows);
	run(path, sql);
}

static void make_sessions(void)
{
	for (int i = 0; i < SESSIONS; i++) {
		char path[400];

		(void)snprintf(path, sizeof path, "%s/session%d", home, i);
		(void)mkdir(path, 0700);
		(void)snprintf(path, sizeof path, "session%d/inbound.db", i);
		make_large(path, 8);
	}
}

static double copy_by_kernel(void *ctx, long count)
{
	char command[2600];
	double begun;

	(void)ctx, (void)count;
	(void)snprintf(command, sizeof command, "rm -rf %s", spare);
	if (system(command) != 0)
		bench_fail("%s", command);
	(void)snprintf(command, sizeof command,
		       "mkdir %s && cp -r %s/*.db %s/session* %s 2>/dev/null; sync -f %s", spare,
		       home, home, spare, spare);
	begun = bench_now();
	(void)!system(command);
	return bench_now() - begun;
}

static double back_up(void *ctx, long count)
{
	kp_backup_options options = {.may_raise_limit = true};
	kp_backup_result *result = ctx;
	keep_error err = KEEP_ERROR_INIT;
	double begun = bench_now(), took;
	char command[1200];

	(void)count;
	if (kp_backup_make(home, &options, result, &err) != KEEP_OK)
		bench_fail("%s", err.message);
	took = bench_now() - begun;
	(void)snprintf(command, sizeof command, "rm -rf %s/backups/2*", home);
	(void)!system(command);
	return took;
}

static void *write_on(void *ctx)
{
	char path[400];
	kp_sql_options options = {.location = path, .relaxed = true};
	kp_sql_conn *conn = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)ctx;
	(void)snprintf(path, sizeof path, "%s/large.db", home);
	if (kp_sql_open(&kp_sql_sqlite, &options, &conn, &err) != KEEP_OK)
		bench_fail("%s", err.message);
	while (!atomic_load(&stop) && wait_count < WAITS_MAX) {
		double begun = bench_now();

		if (kp_sql_begin(conn, KP_SQL_WRITE, &err) != KEEP_OK ||
		    kp_sql_script(conn, "UPDATE t SET n = n + 1 WHERE id = abs(random()) % 1000",
				  &err) != KEEP_OK ||
		    kp_sql_commit(conn, &err) != KEEP_OK)
			bench_fail("%s", err.message);
		waits[wait_count++] = bench_now() - begun;
		kp_sql_maintain(conn);
		(void)usleep(500);
	}
	kp_sql_close(&conn);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void tell_waits(const char *what)
{
	if (wait_count == 0)
		return;
	qsort(waits, wait_count, sizeof *waits, compare);
	(void)printf("%s: %zu writes, p50 %.3f ms, p99 %.3f ms, longest %.1f ms\n", what,
		     wait_count, waits[wait_count / 2] * 1e3, waits[wait_count * 99 / 100] * 1e3,
		     waits[wait_count - 1] * 1e3);
}

static void beside_writer(int backups)
{
	kp_backup_result result;
	pthread_t thread;
	double took = 0;

	wait_count = 0;
	atomic_store(&stop, 0);
	(void)pthread_create(&thread, NULL, write_on, NULL);
	for (int i = 0; i < backups; i++)
		took += back_up(&result, 1);
	if (backups == 0)
		(void)sleep(4);
	atomic_store(&stop, 1);
	(void)pthread_join(thread, NULL);
	if (backups)
		(void)printf(
			"beside a writer: %.2f s a backup; held %lld databases at most %.1f ms\n",
			took / backups, (long long)result.held_count, (double)result.held_us / 1e3);
	tell_waits(backups ? "the writer beside backups" : "the writer alone");
}

int main(int argc, char **argv)
{
	kp_backup_result result;
	struct bench_pair pair = {
		.durability = "synced",
		.name = "backup",
		.base = "cp, sync",
		.side = back_up,
		.ctx = &result,
		.base_side = copy_by_kernel,
		.count = 1,
		.turns = TURNS,
	};
	char command[1200];

	if (argc != 2)
		bench_fail("bench_backup FOLDER");
	(void)snprintf(home, sizeof home, "%s/bench-home", argv[1]);
	(void)snprintf(spare, sizeof spare, "%s/bench-copy", argv[1]);
	(void)snprintf(command, sizeof command, "rm -rf %s %s; mkdir %s", home, spare, home);
	(void)!system(command);
	bench_title("backups");
	make_large("large.db", LARGE_ROWS);
	pair.what = "one database of 1 GB";
	(void)bench_run(&pair);
	beside_writer(0);
	beside_writer(4);
	make_sessions();
	pair.what = "the same and 2,000 sessions";
	(void)bench_run(&pair);
	(void)snprintf(command, sizeof command, "rm -rf %s %s", home, spare);
	return system(command) == 0 ? 0 : 1;
}
