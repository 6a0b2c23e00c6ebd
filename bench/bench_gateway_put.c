/*
 * bench_gateway_put.c - the gateway's store in a file, against SQLite by hand on the same tables.
 *
 *     bench_gateway_put FOLDER [MESSAGES]        MESSAGES of the file that is read; 1000000
 *
 * Each side has a file of its own, made by keep_gateway_open. By hand a message is BEGIN IMMEDIATE,
 * INSERT of all columns, UPSERT of its chat, COMMIT, with prepared statements: no guard, no probe
 * for a replay, no number to give out, no cursor to look after.
 */
#include "bench.h"

#include "keep/gateway.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHATS = 1000, THREADS = 32, BATCH = 32, COLUMNS = 28, CONTENT_BYTES = 200 };
#define T0 INT64_C(1790000000000)

/* One side of all comparisons: a file through the library, and a file by hand. */
struct bench {
	keep_gateway *gateway;
	sqlite3 *db;
	sqlite3_stmt *begin, *commit, *insert, *upsert, *history;
	long next_mine, next_raw;
	long messages; /* of the file that is read */
	uint64_t seed;
	char content[CONTENT_BYTES + 1];
};

static void check_sql(sqlite3 *db, int code)
{
	if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW)
		bench_fail("%s", sqlite3_errmsg(db));
}

static void run(sqlite3 *db, const char *sql)
{
	check_sql(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt = NULL;

	check_sql(db, sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL));
	return stmt;
}

static void step_once(sqlite3_stmt *stmt)
{
	check_sql(sqlite3_db_handle(stmt), sqlite3_step(stmt));
	sqlite3_reset(stmt);
}

/* ---------------------------------------------------------------- by hand */

static void bind_text(sqlite3_stmt *stmt, int index, const char *text)
{
	sqlite3_bind_text(stmt, index, text, -1, SQLITE_STATIC);
}

static void put_by_hand(struct bench *bench, long i)
{
	char jid[32], id[32];

	snprintf(jid, sizeof jid, "telegram:%ld", i % CHATS);
	snprintf(id, sizeof id, "3EB0%010ld", i);
	bind_text(bench->insert, 1, jid);
	bind_text(bench->insert, 2, id);
	bind_text(bench->insert, 3, "ada@example");
	bind_text(bench->insert, 4, bench->content);
	bind_text(bench->insert, 5, "2026-09-21T14:13:20.000Z");
	bind_text(bench->insert, 6, "message");
	bind_text(bench->insert, 7, "telegram");
	bind_text(bench->insert, 8, "");
	sqlite3_bind_int(bench->insert, 9, 0);
	bind_text(bench->insert, 10, "Ada");
	bind_text(bench->insert, 11, "");
	sqlite3_bind_int64(bench->insert, 15, i / CHATS + 1);
	bind_text(bench->insert, 16, "2026-09-21T14:13:20.000Z");
	bind_text(bench->insert, 17, "received");
	sqlite3_bind_int(bench->insert, 19, 0);
	sqlite3_bind_int(bench->insert, 23, 0);
	sqlite3_bind_int(bench->insert, 26, 0);
	sqlite3_bind_int64(bench->insert, 28, i + 1);
	step_once(bench->insert);
	bind_text(bench->upsert, 1, jid);
	sqlite3_bind_int64(bench->upsert, 2, i / CHATS + 1);
	bind_text(bench->upsert, 3, "2026-09-21T14:13:20.000Z");
	step_once(bench->upsert);
}

static double raw_put(struct bench *bench, long count, long a_transaction)
{
	double start = bench_now();

	for (long i = 0; i < count; i += a_transaction) {
		step_once(bench->begin);
		for (long j = 0; j < a_transaction; j++)
			put_by_hand(bench, bench->next_raw++);
		step_once(bench->commit);
	}
	return bench_now() - start;
}

static double raw_put_one(void *ctx, long count)
{
	return raw_put(ctx, count, 1);
}

static double raw_put_many(void *ctx, long count)
{
	return raw_put(ctx, count, BATCH);
}

static double raw_history(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	size_t bytes = 0;
	char jid[32];

	for (long i = 0; i < count; i++) {
		snprintf(jid, sizeof jid, "telegram:%d", (int)(bench_random(&bench->seed) % CHATS));
		bind_text(bench->history, 1, jid);
		while (sqlite3_step(bench->history) == SQLITE_ROW)
			for (int c = 0; c < COLUMNS; c++)
				bytes += sqlite3_column_text(bench->history, c)
						 ? (size_t)sqlite3_column_bytes(bench->history, c)
						 : 0;
		sqlite3_reset(bench->history);
	}
	if (!bytes)
		bench_fail("an empty history");
	return bench_now() - start;
}

/* ---------------------------------------------------------------- through the library */

static keep_message make_message(const struct bench *bench, long i, char jid[32], char id[32])
{
	snprintf(jid, 32, "telegram:%ld", i % CHATS);
	snprintf(id, 32, "3EB0%010ld", i);
	return (keep_message){.chat_jid = keep_bytes_of(jid),
			      .id = keep_bytes_of(id),
			      .sender = KEEP_BYTES("ada@example"),
			      .sender_name = KEEP_BYTES("Ada"),
			      .content = keep_bytes_of(bench->content),
			      .timestamp = T0};
}

static void put(struct bench *bench, long i)
{
	char jid[32], id[32];
	keep_message message = make_message(bench, i, jid, id);
	keep_error err = KEEP_ERROR_INIT;

	if (keep_gateway_put_message(bench->gateway, &message, NULL, NULL, &err) != KEEP_OK)
		bench_fail("%s", err.message);
}

static double keep_put_one(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i++)
		put(bench, bench->next_mine++);
	return bench_now() - start;
}

static double keep_put_batches(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i += BATCH) {
		keep_message messages[BATCH];
		char jids[BATCH][32], ids[BATCH][32];
		keep_error err = KEEP_ERROR_INIT;

		for (int j = 0; j < BATCH; j++)
			messages[j] = make_message(bench, bench->next_mine++, jids[j], ids[j]);
		if (keep_gateway_put_messages(bench->gateway, messages, BATCH, NULL, &err) !=
		    KEEP_OK)
			bench_fail("%s", err.message);
	}
	return bench_now() - start;
}

struct part {
	struct bench *bench;
	long first, count;
};

static void *put_part(void *ctx)
{
	struct part *part = ctx;

	for (long i = 0; i < part->count; i++)
		put(part->bench, part->first + i);
	return NULL;
}

static double keep_put_threads(void *ctx, long count)
{
	struct bench *bench = ctx;
	struct part parts[THREADS];
	pthread_t threads[THREADS];
	double start = bench_now();

	for (int i = 0; i < THREADS; i++) {
		parts[i] = (struct part){bench, bench->next_mine, count / THREADS};
		bench->next_mine += count / THREADS;
		if (pthread_create(&threads[i], NULL, put_part, &parts[i]))
			bench_fail("no thread");
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return bench_now() - start;
}

static double keep_history(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	char jid[32];

	for (long i = 0; i < count; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message_list list;
		keep_error err = KEEP_ERROR_INIT;

		snprintf(jid, sizeof jid, "telegram:%d", (int)(bench_random(&bench->seed) % CHATS));
		if (keep_gateway_history(bench->gateway, keep_bytes_of(jid), 0, 50, &memory, &list,
					 &err) != KEEP_OK ||
		    list.count != 50)
			bench_fail("%s", err.message);
		keep_memory_release(&memory);
	}
	return bench_now() - start;
}

/* ---------------------------------------------------------------- files */

static void open_file(const char *folder, const char *name, bool relaxed, keep_gateway **out,
		      char file[400])
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char url[420];

	snprintf(file, 400, "%s/%s.db", folder, name);
	snprintf(url, sizeof url, "sqlite:%s", file);
	options.create = true;
	options.relaxed = relaxed;
	if (keep_gateway_open(url, &options, out, &err) != KEEP_OK)
		bench_fail("%s", err.message);
}

/* The tables' own check; the library has a quicker one too. */
static void check_nothing(sqlite3_context *ctx, int count, sqlite3_value **values)
{
	(void)count, (void)values;
	sqlite3_result_int(ctx, 1);
}

static void open_by_hand(struct bench *bench, const char *file, bool relaxed)
{
	if (sqlite3_open(file, &bench->db) != SQLITE_OK)
		bench_fail("%s", sqlite3_errmsg(bench->db));
	check_sql(bench->db, sqlite3_create_function(bench->db, "json_valid", 1,
						     SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
						     check_nothing, NULL, NULL));
	run(bench->db, "PRAGMA journal_mode = WAL");
	run(bench->db, relaxed ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL");
	run(bench->db, "PRAGMA cache_size = -65536");
	run(bench->db, "PRAGMA mmap_size = 68719476736");
	bench->begin = prepare(bench->db, "BEGIN IMMEDIATE");
	bench->commit = prepare(bench->db, "COMMIT");
	bench->insert = prepare(bench->db,
				"INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
				"?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, "
				"?23, ?24, ?25, ?26, ?27, ?28)");
	bench->upsert = prepare(
		bench->db,
		"INSERT INTO chats (jid, last_seq, last_input_seq, last_message_at) "
		"VALUES (?1, ?2, ?2, ?3) ON CONFLICT (jid) DO UPDATE SET last_seq = "
		"excluded.last_seq, last_input_seq = excluded.last_input_seq, last_message_at = "
		"excluded.last_message_at");
	bench->history = prepare(bench->db, "SELECT * FROM messages WHERE chat_jid = ?1 "
					    "ORDER BY seq DESC LIMIT 50");
}

static void close_by_hand(struct bench *bench)
{
	sqlite3_stmt *const all[] = {bench->begin, bench->commit, bench->insert, bench->upsert,
				     bench->history};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		sqlite3_finalize(all[i]);
	sqlite3_close(bench->db);
}

static void compare_puts(const char *folder, bool relaxed)
{
	struct bench bench = {.seed = 7};
	const char *durability = relaxed ? "relaxed" : "synced";
	keep_gateway *other = NULL;
	char file[400];

	memset(bench.content, 'x', CONTENT_BYTES);
	open_file(folder, relaxed ? "relaxed" : "synced", relaxed, &bench.gateway, file);
	open_file(folder, relaxed ? "relaxed-raw" : "synced-raw", relaxed, &other, file);
	keep_gateway_close(&other);
	open_by_hand(&bench, file, relaxed);
	/* Every chat is there on both sides. */
	keep_put_batches(&bench, CHATS * 4);
	raw_put_many(&bench, CHATS * 4);
	bench_run(&(struct bench_pair){"put_message, one thread", durability, "keep",
				       "SQLite by hand", keep_put_one, raw_put_one, &bench, &bench,
				       relaxed ? 4000 : 1600, 9, 0.8});
	bench_run(&(struct bench_pair){"put_message, 32 threads / one thread", durability,
				       "32 threads", "one thread", keep_put_threads, keep_put_one,
				       &bench, &bench, 3200, 7, relaxed ? 0 : 5});
	bench_run(&(struct bench_pair){"put_message, 32 threads / 32 a transaction", durability,
				       "keep", "SQLite by hand", keep_put_threads, raw_put_many,
				       &bench, &bench, 6400, 9, 0.8});
	bench_run(&(struct bench_pair){"put_messages of 32 / 32 a transaction", durability, "keep",
				       "SQLite by hand", keep_put_batches, raw_put_many, &bench,
				       &bench, 6400, 9, 0.8});
	close_by_hand(&bench);
	keep_gateway_close(&bench.gateway);
}

static void compare_history(const char *folder, long messages)
{
	struct bench bench = {.seed = 7, .messages = messages};
	char file[400], what[80];

	memset(bench.content, 'x', CONTENT_BYTES);
	open_file(folder, "history", true, &bench.gateway, file);
	open_by_hand(&bench, file, true);
	for (long i = 0; i < messages; i++) {
		if (i % 10000 == 0)
			step_once(bench.begin);
		put_by_hand(&bench, i);
		if (i % 10000 == 9999 || i == messages - 1)
			step_once(bench.commit);
	}
	snprintf(what, sizeof what, "50 newest of a chat, %ld messages", messages);
	bench_run(&(struct bench_pair){what, "-", "keep", "prepared by hand", keep_history,
				       raw_history, &bench, &bench, 4000, 9, 0.9});
	close_by_hand(&bench);
	keep_gateway_close(&bench.gateway);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		bench_fail("a folder is missing");
	bench_title("The gateway in a file (A) beside SQLite by hand (B)");
	compare_puts(argv[1], false);
	compare_puts(argv[1], true);
	compare_history(argv[1], argc > 2 ? atol(argv[2]) : 1000000);
	return 0;
}
