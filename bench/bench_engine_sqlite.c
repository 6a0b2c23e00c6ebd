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
#include "bench.h"
#include "core/core.h"
#include "keep/engine.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VALUE_BYTES = 500, THREADS = 32, PAGE = 50 };

struct bench {
	char file[256], url[300];
	long documents, chats;
	keep_engine *engine;
	sqlite3 *db;
	unsigned char key[16];
	sqlite3_stmt *get, *list, *count, *begin, *commit, *find, *top, *update, *insert, *folder,
		*bump, *remove;
	keep_buffer value;
	char bytes[VALUE_BYTES];
	uint64_t seed;
	long made; /* documents that turns of "set new" added */
};

static void must(keep_status status, const keep_error *err)
{
	if (status != KEEP_OK)
		bench_fail("%s: %s", keep_status_name(status), err->message);
}

static void raw_must(struct bench *bench, int rc)
{
	if (rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_ROW)
		bench_fail("sqlite: %s", sqlite3_errmsg(bench->db));
}

/* ---------------------------------------------------------------- paths and loading */

static keep_bytes document_path(const struct bench *bench, long i, char room[80])
{
	int len = snprintf(room, 80, "chat/%ld@s.whatsapp.net/message/3EB0%012lX", i % bench->chats,
			   i * 2654435761L % 1000000007L * 4096 + i % 4096);

	return (keep_bytes){room, (size_t)len};
}

static keep_bytes folder_path(const struct bench *bench, long chat, char room[80])
{
	int len = snprintf(room, 80, "chat/%ld@s.whatsapp.net/message", chat % bench->chats);

	return (keep_bytes){room, (size_t)len};
}

static void open_engine(struct bench *bench, bool relaxed)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_error err;

	keep_engine_close(&bench->engine);
	options.create = true;
	options.relaxed = relaxed;
	must(keep_engine_open(bench->url, &options, &bench->engine, &err), &err);
}

static void load(struct bench *bench)
{
	enum { BATCH = 1000 };
	static char rooms[BATCH][80];
	static keep_engine_change changes[BATCH];
	keep_error err;

	for (long done = 0; done < bench->documents; done += BATCH) {
		long count = bench->documents - done < BATCH ? bench->documents - done : BATCH;

		for (long i = 0; i < count; i++)
			changes[i] = (keep_engine_change){
				.kind = KEEP_ENGINE_SET,
				.path = document_path(bench, done + i, rooms[i]),
				.value = {bench->bytes, VALUE_BYTES}};
		must(keep_engine_batch(bench->engine, changes, (size_t)count, &err), &err);
	}
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

static double keep_get(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++) {
		long at = (long)(bench_random(&bench->seed) % (uint64_t)bench->documents);

		must(keep_engine_get(bench->engine, document_path(bench, at, room), &bench->value,
				     &err),
		     &err);
	}
	return bench_now() - start;
}

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
		long at = (long)(bench_random(&bench->seed) % (uint64_t)bench->documents);

		raw_bind_path(bench, bench->get, document_path(bench, at, room));
		if (sqlite3_step(bench->get) != SQLITE_ROW)
			bench_fail("a document is missing");
		bench->value.len = (size_t)sqlite3_column_bytes(bench->get, 0);
		memcpy(bench->value.data, sqlite3_column_blob(bench->get, 0), bench->value.len);
		sqlite3_reset(bench->get);
	}
	return bench_now() - start;
}

static double keep_list(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++) {
		long chat = (long)(bench_random(&bench->seed) % (uint64_t)bench->chats);
		keep_engine_list list;

		must(keep_engine_list_values(bench->engine, folder_path(bench, chat, room), 0, PAGE,
					     &list, &err),
		     &err);
		keep_engine_list_release(&list);
	}
	return bench_now() - start;
}

static double raw_list(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	char room[80];

	for (long i = 0; i < count; i++) {
		long chat = (long)(bench_random(&bench->seed) % (uint64_t)bench->chats);
		char *copies[PAGE];
		int rows = 0;

		raw_bind_path(bench, bench->list, folder_path(bench, chat, room));
		sqlite3_bind_int64(bench->list, 3, PAGE);
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

static double keep_count(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];
	int64_t found;

	for (long i = 0; i < count; i++) {
		long chat = (long)(bench_random(&bench->seed) % (uint64_t)bench->chats);

		must(keep_engine_count(bench->engine, folder_path(bench, chat, room), &found, &err),
		     &err);
	}
	return bench_now() - start;
}

static double raw_count(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	char room[80];

	for (long i = 0; i < count; i++) {
		long chat = (long)(bench_random(&bench->seed) % (uint64_t)bench->chats);

		raw_bind_path(bench, bench->count, folder_path(bench, chat, room));
		raw_must(bench, sqlite3_step(bench->count));
		sqlite3_reset(bench->count);
	}
	return bench_now() - start;
}

/* ---------------------------------------------------------------- writing */

static double keep_overwrite(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++) {
		long at = (long)(bench_random(&bench->seed) % (uint64_t)bench->documents);

		must(keep_engine_set(bench->engine, document_path(bench, at, room),
				     (keep_bytes){bench->bytes, VALUE_BYTES}, &err),
		     &err);
	}
	return bench_now() - start;
}

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
		sqlite3_bind_blob(bench->update, 4, bench->bytes, VALUE_BYTES, SQLITE_STATIC);
		raw_step(bench, bench->update);
		return;
	}
	sqlite3_bind_int64(bench->insert, 1, (int64_t)kp_siphash(bench->key, path));
	sqlite3_bind_int64(bench->insert, 2, folder);
	sqlite3_bind_int64(bench->insert, 3, score);
	sqlite3_bind_int64(bench->insert, 4, tie);
	sqlite3_bind_text(bench->insert, 5, path.data, (int)path.len, SQLITE_STATIC);
	sqlite3_bind_blob(bench->insert, 6, bench->bytes, VALUE_BYTES, SQLITE_STATIC);
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
			long at = fresh ? bench->documents + bench->made++
					: (long)(bench_random(&bench->seed) %
						 (uint64_t)bench->documents);

			raw_set_row(bench, document_path(bench, at, room));
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
	return raw_sets(ctx, count, THREADS, false);
}

static double keep_set_new(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++)
		must(keep_engine_set(bench->engine,
				     document_path(bench, bench->documents + bench->made++, room),
				     (keep_bytes){bench->bytes, VALUE_BYTES}, &err),
		     &err);
	return bench_now() - start;
}

struct writer {
	struct bench *bench;
	uint64_t seed;
	long count;
};

static void *write_many(void *ctx)
{
	struct writer *writer = ctx;
	keep_error err;
	char room[80];

	for (long i = 0; i < writer->count; i++) {
		long at = (long)(bench_random(&writer->seed) % (uint64_t)writer->bench->documents);

		must(keep_engine_set(writer->bench->engine, document_path(writer->bench, at, room),
				     (keep_bytes){writer->bench->bytes, VALUE_BYTES}, &err),
		     &err);
	}
	return NULL;
}

static double keep_overwrite_threads(void *ctx, long count)
{
	struct bench *bench = ctx;
	pthread_t threads[THREADS];
	struct writer writers[THREADS];
	double start = bench_now();

	for (int i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){bench, bench_random(&bench->seed), count / THREADS};
		if (pthread_create(&threads[i], NULL, write_many, &writers[i]))
			bench_fail("no thread");
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return bench_now() - start;
}

/* Unset leaves one by one, then put them back outside the measured time. */
static double keep_unset(void *ctx, long count)
{
	struct bench *bench = ctx;
	uint64_t seed = bench->seed, again = bench->seed;
	keep_error err;
	char room[80];
	double start = bench_now(), taken;

	for (long i = 0; i < count; i++)
		must(keep_engine_unset(
			     bench->engine,
			     document_path(bench,
					   (long)(bench_random(&seed) % (uint64_t)bench->documents),
					   room),
			     &err),
		     &err);
	taken = bench_now() - start;
	for (long i = 0; i < count; i++)
		must(keep_engine_set(bench->engine,
				     document_path(bench,
						   (long)(bench_random(&again) %
							  (uint64_t)bench->documents),
						   room),
				     (keep_bytes){bench->bytes, VALUE_BYTES}, &err),
		     &err);
	bench->seed = seed;
	return taken;
}

/* ---------------------------------------------------------------- the runs */

static void start(struct bench *bench, const char *folder, long documents, long chats)
{
	char name[300];
	static const char *const endings[] = {"", "-wal", "-shm", "-guard", "-notify"};

	memset(bench, 0, sizeof *bench);
	snprintf(bench->file, sizeof bench->file, "%s/engine-%ld.db", folder, documents);
	snprintf(bench->url, sizeof bench->url, "sqlite:%s", bench->file);
	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
		snprintf(name, sizeof name, "%s%s", bench->file, endings[i]);
		unlink(name);
	}
	bench->documents = documents;
	bench->chats = chats;
	bench->seed = 42;
	memset(bench->bytes, 'k', sizeof bench->bytes);
	open_engine(bench, true);
	load(bench);
}

static void compare_with_raw(const char *folder, long documents)
{
	struct bench bench;
	double one, many;

	start(&bench, folder, documents, 100);
	open_raw(&bench, true);
	keep_get(&bench, documents); /* warm, and the buffer of the raw side made */
	bench_title("The SQLite engine (A) beside the raw C API on the same layout (B)");
	bench_run(&(struct bench_pair){"get, random", "-", "keep", "raw", keep_get, raw_get, &bench,
				       &bench, 50000, 15, 0.9});
	bench_run(&(struct bench_pair){"list(50)", "-", "keep", "raw", keep_list, raw_list, &bench,
				       &bench, 5000, 15, 0.9});
	bench_run(&(struct bench_pair){"count", "-", "keep", "raw", keep_count, raw_count, &bench,
				       &bench, 50000, 9, 0});
	bench_run(&(struct bench_pair){"set, overwrite, one thread", "relaxed", "keep", "raw",
				       keep_overwrite, raw_overwrite, &bench, &bench, 5000, 9,
				       0.8});
	bench_run(&(struct bench_pair){"set, new, one thread", "relaxed", "keep", "raw",
				       keep_set_new, raw_set_new, &bench, &bench, 5000, 9, 0.8});
	close_raw(&bench);
	open_engine(&bench, false);
	open_raw(&bench, false);
	bench_run(&(struct bench_pair){"set, overwrite, one thread", "synced", "keep", "raw",
				       keep_overwrite, raw_overwrite, &bench, &bench, 1000, 9, 0});
	many = bench_run(&(struct bench_pair){"set, 32 threads / raw transactions of 32", "synced",
					      "keep", "raw", keep_overwrite_threads,
					      raw_overwrite_32, &bench, &bench, 9600, 9, 0.8});
	one = bench_run(&(struct bench_pair){"set, 32 threads / one thread", "synced", "32 threads",
					     "one thread", keep_overwrite_threads, keep_overwrite,
					     &bench, &bench, 3200, 9, 5});
	(void)one;
	(void)many;
	close_raw(&bench);
	keep_engine_close(&bench.engine);
	keep_buffer_release(&bench.value);
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
		{"get", keep_get, 50000},
		{"list(50)", keep_list, 3000},
		{"count", keep_count, 50000},
		{"unset of a leaf", keep_unset, 500},
	};

	start(&small, folder, 1000, 10);
	start(&large, folder, 1000000, 1000);
	keep_get(&large, 1000000);
	keep_list(&large, 2000);
	bench_title("The SQLite engine with 1,000,000 documents (A) beside 1,000 (B)");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		bench_run(&(struct bench_pair){cases[i].what, "relaxed", "1,000,000", "1,000",
					       cases[i].side, cases[i].side, &large, &small,
					       cases[i].count, 11, 0.67});
	keep_engine_close(&small.engine);
	keep_engine_close(&large.engine);
	keep_buffer_release(&small.value);
	keep_buffer_release(&large.value);
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
