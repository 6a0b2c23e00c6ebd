/*
 * bench_engine_sqlite.c - the SQLite engine beside the raw C API on the same layout, and beside the
 * table that is usually written (path as primary key, LIKE for the children).
 *
 *     bench_engine_sqlite FOLDER [N]
 *
 * The raw side opens the very file that Keep wrote, with the same settings and prepared statements,
 * and does what a program by hand would do: hash the path, bind, step, copy the value out. For
 * writes it runs the same statements in BEGIN IMMEDIATE … COMMIT and checkpoints every 1,000
 * pages as SQLite does by itself; it takes no lock against the checkpoint race and wakes nobody.
 */
#include "bench_engine.h"
#include "core/core.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bench {
	struct bench_engine own; /* first */
	char file[256], url[300];
	sqlite3 *db;
	unsigned char key[16];
	sqlite3_stmt *get, *list, *count, *begin, *commit, *find, *top, *update, *insert, *folder,
		*bump, *remove;
};

static void raw_must(struct bench *bench, int rc)
{
	if (rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_ROW)
		bench_fail("sqlite: %s", sqlite3_errmsg(bench->db));
}

/* ---------------------------------------------------------------- paths and loading */

static keep_bytes document_path(const struct bench_engine *own, long i, char room[80])
{
	int len = snprintf(room, 80, "chat/%ld@s.whatsapp.net/message/3EB0%012lX", i % own->folders,
			   i * 2654435761L % 1000000007L * 4096 + i % 4096);

	return (keep_bytes){room, (size_t)len};
}

static keep_bytes chat_path(const struct bench_engine *own, long i, char room[80])
{
	(void)own;
	return (keep_bytes){room, (size_t)snprintf(room, 80, "chat/%ld@s.whatsapp.net/message", i)};
}

static sqlite3_stmt *prepare(struct bench *bench, const char *sql)
{
	sqlite3_stmt *stmt;

	raw_must(bench,
		 sqlite3_prepare_v3(bench->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL));
	return stmt;
}

static void open_raw(struct bench *bench, bool relaxed)
{
	sqlite3_stmt *key;
	char sql[300];

	if (sqlite3_open_v2(bench->file, &bench->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		bench_fail("%s: cannot open", bench->file);
	snprintf(sql, sizeof sql,
		 "PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=%s;"
		 "PRAGMA cache_size=-2048; PRAGMA mmap_size=17179869184;"
		 "PRAGMA wal_autocheckpoint=1000",
		 relaxed ? "NORMAL" : "FULL");
	raw_must(bench, sqlite3_exec(bench->db, sql, NULL, NULL, NULL));
	key = prepare(bench, "SELECT value FROM properties WHERE name = 'hash_key'");
	raw_must(bench, sqlite3_step(key));
	memcpy(bench->key, sqlite3_column_blob(key, 0), sizeof bench->key);
	sqlite3_finalize(key);
	bench->get = prepare(bench, "SELECT value FROM documents WHERE hash = ?1 AND path = ?2");
	bench->list = prepare(bench, "SELECT value FROM documents WHERE folder = "
				     "(SELECT id FROM folders WHERE hash = ?1 AND path = ?2) "
				     "ORDER BY score DESC, tie DESC LIMIT ?3 OFFSET ?4");
	bench->count =
		prepare(bench, "SELECT documents FROM folders WHERE hash = ?1 AND path = ?2");
	bench->begin = prepare(bench, "BEGIN IMMEDIATE");
	bench->commit = prepare(bench, "COMMIT");
	bench->find = prepare(bench, "SELECT id, folder, score, tie FROM documents "
				     "WHERE hash = ?1 AND path = ?2");
	bench->top = prepare(bench, "SELECT score, tie FROM documents WHERE folder = ?1 "
				    "ORDER BY score DESC, tie DESC LIMIT 1");
	bench->update = prepare(
		bench, "UPDATE documents SET score = ?2, tie = ?3, value = ?4 WHERE id = ?1");
	bench->insert = prepare(bench, "INSERT INTO documents (hash, folder, score, tie, path, "
				       "value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
	bench->folder = prepare(bench, "SELECT id FROM folders WHERE hash = ?1 AND path = ?2");
	bench->bump = prepare(bench, "UPDATE folders SET documents = documents + ?2 WHERE id = ?1");
	bench->remove = prepare(bench, "DELETE FROM documents WHERE id = ?1");
}

static void close_raw(struct bench *bench)
{
	sqlite3_stmt *stmt;

	while ((stmt = sqlite3_next_stmt(bench->db, NULL)))
		sqlite3_finalize(stmt);
	sqlite3_close(bench->db);
	bench->db = NULL;
}

/* ---------------------------------------------------------------- reading */

static void raw_bind_path(struct bench *bench, sqlite3_stmt *stmt, keep_bytes path)
{
	raw_must(bench, sqlite3_bind_int64(stmt, 1, (int64_t)kp_siphash(bench->key, path)));
	raw_must(bench, sqlite3_bind_text(stmt, 2, path.data, (int)path.len, SQLITE_STATIC));
}

static double raw_get(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	char room[80];

	for (long i = 0; i < count; i++) {
		raw_bind_path(bench, bench->get, bench_random_path(&bench->own, room));
		if (sqlite3_step(bench->get) != SQLITE_ROW)
			bench_fail("a document is missing");
		bench->own.value.len = (size_t)sqlite3_column_bytes(bench->get, 0);
		memcpy(bench->own.value.data, sqlite3_column_blob(bench->get, 0),
		       bench->own.value.len);
		sqlite3_reset(bench->get);
	}
	return bench_now() - start;
}

static double raw_list(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	char room[80];

	for (long i = 0; i < count; i++) {
		char *copies[BENCH_PAGE];
		int rows = 0;

		raw_bind_path(bench, bench->list, bench_random_folder(&bench->own, room));
		sqlite3_bind_int64(bench->list, 3, BENCH_PAGE);
		sqlite3_bind_int64(bench->list, 4, 0);
		while (sqlite3_step(bench->list) == SQLITE_ROW) {
			size_t len = (size_t)sqlite3_column_bytes(bench->list, 0);

			copies[rows] = malloc(len + 1);
			memcpy(copies[rows++], sqlite3_column_blob(bench->list, 0), len);
		}
		sqlite3_reset(bench->list);
		while (rows > 0)
			free(copies[--rows]);
	}
	return bench_now() - start;
}

static double raw_count(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	char room[80];

	for (long i = 0; i < count; i++) {
		raw_bind_path(bench, bench->count, bench_random_folder(&bench->own, room));
		raw_must(bench, sqlite3_step(bench->count));
		sqlite3_reset(bench->count);
	}
	return bench_now() - start;
}

/* ---------------------------------------------------------------- writing */

static void raw_step(struct bench *bench, sqlite3_stmt *stmt)
{
	raw_must(bench, sqlite3_step(stmt));
	sqlite3_reset(stmt);
}

/* The statements of one set, inside a transaction. */
static void raw_set_row(struct bench *bench, keep_bytes path)
{
	sqlite3_int64 id = 0, folder = 0, score = kp_clock_ms(), tie = 0;

	raw_bind_path(bench, bench->find, path);
	if (sqlite3_step(bench->find) == SQLITE_ROW) {
		id = sqlite3_column_int64(bench->find, 0);
		folder = sqlite3_column_int64(bench->find, 1);
	}
	sqlite3_reset(bench->find);
	if (!id) {
		keep_bytes parent = path;

		while (parent.data[--parent.len] != '/')
			;
		raw_bind_path(bench, bench->folder, parent);
		raw_must(bench, sqlite3_step(bench->folder));
		folder = sqlite3_column_int64(bench->folder, 0);
		sqlite3_reset(bench->folder);
	}
	sqlite3_bind_int64(bench->top, 1, folder);
	if (sqlite3_step(bench->top) == SQLITE_ROW &&
	    sqlite3_column_int64(bench->top, 0) >= score) {
		score = sqlite3_column_int64(bench->top, 0);
		tie = sqlite3_column_int64(bench->top, 1) + 1;
	}
	sqlite3_reset(bench->top);
	if (id) {
		sqlite3_bind_int64(bench->update, 1, id);
		sqlite3_bind_int64(bench->update, 2, score);
		sqlite3_bind_int64(bench->update, 3, tie);
		sqlite3_bind_blob(bench->update, 4, bench->own.bytes, BENCH_VALUE_BYTES,
				  SQLITE_STATIC);
		raw_step(bench, bench->update);
		return;
	}
	sqlite3_bind_int64(bench->insert, 1, (int64_t)kp_siphash(bench->key, path));
	sqlite3_bind_int64(bench->insert, 2, folder);
	sqlite3_bind_int64(bench->insert, 3, score);
	sqlite3_bind_int64(bench->insert, 4, tie);
	sqlite3_bind_text(bench->insert, 5, path.data, (int)path.len, SQLITE_STATIC);
	sqlite3_bind_blob(bench->insert, 6, bench->own.bytes, BENCH_VALUE_BYTES, SQLITE_STATIC);
	raw_step(bench, bench->insert);
	sqlite3_bind_int64(bench->bump, 1, folder);
	sqlite3_bind_int64(bench->bump, 2, 1);
	raw_step(bench, bench->bump);
}

static double raw_sets(struct bench *bench, long count, long rows_a_transaction, bool fresh)
{
	double start = bench_now();
	char room[80];

	for (long i = 0; i < count; i += rows_a_transaction) {
		raw_step(bench, bench->begin);
		for (long row = 0; row < rows_a_transaction; row++) {
			keep_bytes path =
				fresh ? document_path(&bench->own,
						      bench->own.documents + bench->own.made++,
						      room)
				      : bench_random_path(&bench->own, room);

			raw_set_row(bench, path);
		}
		raw_step(bench, bench->commit);
	}
	return bench_now() - start;
}

static double raw_overwrite(void *ctx, long count)
{
	return raw_sets(ctx, count, 1, false);
}

static double raw_set_new(void *ctx, long count)
{
	return raw_sets(ctx, count, 1, true);
}

static double raw_overwrite_32(void *ctx, long count)
{
	return raw_sets(ctx, count, BENCH_THREADS, false);
}

/* ---------------------------------------------------------------- the runs */

static void start(struct bench *bench, const char *folder, long documents, long chats)
{
	char name[300];
	static const char *const endings[] = {"", "-wal", "-shm", "-guard", "-notify"};

	*bench = (struct bench){.own = {.documents = documents,
					.folders = chats,
					.path = document_path,
					.folder = chat_path,
					.seed = 42}};
	snprintf(bench->file, sizeof bench->file, "%s/engine-%ld.db", folder, documents);
	snprintf(bench->url, sizeof bench->url, "sqlite:%s", bench->file);
	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
		snprintf(name, sizeof name, "%s%s", bench->file, endings[i]);
		unlink(name);
	}
	bench_engine_open(&bench->own, bench->url, true);
	bench_engine_load(&bench->own);
}

static void compare_with_raw(const char *folder, long documents)
{
	struct bench bench;

	start(&bench, folder, documents, 100);
	open_raw(&bench, true);
	bench_get(&bench, documents); /* warm, and the buffer of the raw side made */
	bench_title("The SQLite engine (A) beside the raw C API on the same layout (B)");
	bench_run(&(struct bench_pair){"get, random", "-", "keep", "raw", bench_get, raw_get,
				       &bench, &bench, 50000, 15, 0.9});
	bench_run(&(struct bench_pair){"list(50)", "-", "keep", "raw", bench_list, raw_list, &bench,
				       &bench, 5000, 15, 0.9});
	bench_run(&(struct bench_pair){"count", "-", "keep", "raw", bench_count, raw_count, &bench,
				       &bench, 50000, 9, 0});
	bench_run(&(struct bench_pair){"set, overwrite, one thread", "relaxed", "keep", "raw",
				       bench_set, raw_overwrite, &bench, &bench, 5000, 9, 0.8});
	bench_run(&(struct bench_pair){"set, new, one thread", "relaxed", "keep", "raw",
				       bench_set_new, raw_set_new, &bench, &bench, 5000, 9, 0.8});
	close_raw(&bench);
	bench_engine_open(&bench.own, bench.url, false);
	open_raw(&bench, false);
	bench_run(&(struct bench_pair){"set, overwrite, one thread", "synced", "keep", "raw",
				       bench_set, raw_overwrite, &bench, &bench, 1000, 9, 0});
	bench_run(&(struct bench_pair){"set, 32 threads / raw transactions of 32", "synced", "keep",
				       "raw", bench_set_threads, raw_overwrite_32, &bench, &bench,
				       9600, 9, 0.8});
	bench_run(&(struct bench_pair){"set, 32 threads / one thread", "synced", "32 threads",
				       "one thread", bench_set_threads, bench_set, &bench, &bench,
				       3200, 9, 5});
	close_raw(&bench);
	bench_engine_close(&bench.own);
}

/* Is it as fast with a million documents as with a thousand? */
static void compare_sizes(const char *folder)
{
	struct bench small, large;
	struct {
		const char *what;
		bench_side *side;
		long count;
	} cases[] = {
		{"get", bench_get, 50000},
		{"list(50)", bench_list, 3000},
		{"count", bench_count, 50000},
		{"unset of a leaf", bench_unset, 500},
	};

	start(&small, folder, 1000, 10);
	start(&large, folder, 1000000, 1000);
	bench_get(&large, 1000000);
	bench_list(&large, 2000);
	bench_title("The SQLite engine with 1,000,000 documents (A) beside 1,000 (B)");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		bench_run(&(struct bench_pair){cases[i].what, "relaxed", "1,000,000", "1,000",
					       cases[i].side, cases[i].side, &large, &small,
					       cases[i].count, 11, 0.67});
	bench_engine_close(&small.own);
	bench_engine_close(&large.own);
}

int main(int argc, char **argv)
{
	long documents = argc > 2 ? atol(argv[2]) : 100000;

	if (argc < 2)
		bench_fail("usage: bench_engine_sqlite FOLDER [DOCUMENTS]");
	compare_with_raw(argv[1], documents);
	if (argc <= 2)
		compare_sizes(argv[1]);
	return 0;
}
