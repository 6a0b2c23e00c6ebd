/*
 * bench_assistant.c - the assistant's store in a file, against SQLite by hand on the same tables.
 *
 *     bench_assistant FOLDER [MESSAGES]        MESSAGES of the long conversation; 100000
 *
 * Each side has a file of its own, made by keep_assistant_open. By hand a message is BEGIN
 * IMMEDIATE, INSERT of all columns, UPDATE of its conversation, COMMIT, with prepared statements:
 * no guard, no look for a duplicate, no id made, no number given out. A read by hand steps the rows
 * and looks at every column, and copies none.
 */
#include "bench.h"

#include "keep/assistant.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONVERSATIONS = 1000, BATCH = 100, CONTENT_BYTES = 300, COLUMNS = 13, PAGE = 50 };

struct bench {
	keep_assistant *assistant;
	sqlite3 *db;
	sqlite3_stmt *begin, *commit, *insert, *update, *page, *list, *context;
	long next_mine, next_raw;
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

static void must(keep_status status, const keep_error *err)
{
	if (status != KEEP_OK)
		bench_fail("%s", err->message);
}

static void format_conversation(long i, char out[24])
{
	snprintf(out, 24, "conversation-%04ld", i % CONVERSATIONS);
}

/* ---------------------------------------------------------------- by hand */

static void bind_text(sqlite3_stmt *stmt, int index, const char *text)
{
	sqlite3_bind_text(stmt, index, text, -1, SQLITE_STATIC);
}

static void append_by_hand(struct bench *bench, long i)
{
	char conversation[24], id[40], time[40];

	format_conversation(i, conversation);
	snprintf(id, sizeof id, "019a0000-0000-7000-8000-%012ld", i);
	snprintf(time, sizeof time, "2026-11-%02ldT%02ld:%02ld:%02ld.%03ldZ", i / 86400000 % 28 + 1,
		 i / 3600000 % 24, i / 60000 % 60, i / 1000 % 60, i % 1000);
	bind_text(bench->insert, 1, conversation);
	bind_text(bench->insert, 2, id);
	bind_text(bench->insert, 3, "user");
	bind_text(bench->insert, 4, bench->content);
	sqlite3_bind_int(bench->insert, 5, CONTENT_BYTES / 4);
	sqlite3_bind_int(bench->insert, 6, 0);
	bind_text(bench->insert, 7, time);
	sqlite3_bind_int64(bench->insert, 9, i / CONVERSATIONS + 1);
	sqlite3_bind_int(bench->insert, 10, 0);
	step_once(bench->insert);
	bind_text(bench->update, 1, conversation);
	sqlite3_bind_int64(bench->update, 2, i / CONVERSATIONS + 1);
	bind_text(bench->update, 3, time);
	step_once(bench->update);
}

static double raw_append(struct bench *bench, long count, long a_transaction)
{
	double start = bench_now();

	for (long i = 0; i < count; i += a_transaction) {
		step_once(bench->begin);
		for (long j = 0; j < a_transaction; j++)
			append_by_hand(bench, bench->next_raw++);
		step_once(bench->commit);
	}
	return bench_now() - start;
}

static double raw_append_one(void *ctx, long count)
{
	return raw_append(ctx, count, 1);
}

static double raw_append_many(void *ctx, long count)
{
	return raw_append(ctx, count, BATCH);
}

static double raw_read(sqlite3_stmt *stmt, int columns, long count)
{
	double start = bench_now();
	size_t bytes = 0;

	for (long i = 0; i < count; i++) {
		while (sqlite3_step(stmt) == SQLITE_ROW)
			for (int c = 0; c < columns; c++)
				bytes += sqlite3_column_text(stmt, c)
						 ? (size_t)sqlite3_column_bytes(stmt, c)
						 : 0;
		sqlite3_reset(stmt);
	}
	if (!bytes)
		bench_fail("nothing was read");
	return bench_now() - start;
}

static double raw_page(void *ctx, long count)
{
	struct bench *bench = ctx;

	bind_text(bench->page, 1, "long");
	return raw_read(bench->page, COLUMNS, count);
}

static double raw_list(void *ctx, long count)
{
	struct bench *bench = ctx;

	return raw_read(bench->list, 12 + 1 + COLUMNS, count);
}

static double raw_context(void *ctx, long count)
{
	struct bench *bench = ctx;

	bind_text(bench->context, 1, "long");
	return raw_read(bench->context, COLUMNS, count);
}

/* ---------------------------------------------------------------- through the library */

static keep_conversation_message make_message(struct bench *bench, char conversation[24])
{
	format_conversation(bench->next_mine++, conversation);
	return (keep_conversation_message){.conversation_id = keep_bytes_of(conversation),
					   .role = KEEP_BYTES("user"),
					   .content = {bench->content, CONTENT_BYTES}};
}

static double keep_append_one(void *ctx, long count)
{
	struct bench *bench = ctx;
	keep_error err = KEEP_ERROR_INIT;
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		char conversation[24];
		keep_conversation_message message = make_message(bench, conversation);

		must(keep_assistant_append(bench->assistant, &message, NULL, &err), &err);
	}
	return bench_now() - start;
}

static double keep_append_many(void *ctx, long count)
{
	struct bench *bench = ctx;
	keep_error err = KEEP_ERROR_INIT;
	double start = bench_now();

	for (long i = 0; i < count; i += BATCH) {
		char conversations[BATCH][24];
		keep_conversation_message messages[BATCH];

		for (int j = 0; j < BATCH; j++)
			messages[j] = make_message(bench, conversations[j]);
		must(keep_assistant_append_many(bench->assistant, messages, BATCH, NULL, &err),
		     &err);
	}
	return bench_now() - start;
}

static double keep_page(void *ctx, long count)
{
	struct bench *bench = ctx;
	keep_error err = KEEP_ERROR_INIT;
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message_page page;

		must(keep_assistant_page(bench->assistant, KEEP_BYTES("long"), 0, PAGE, false,
					 &memory, &page, &err),
		     &err);
		keep_memory_release(&memory);
	}
	return bench_now() - start;
}

static double keep_list(void *ctx, long count)
{
	struct bench *bench = ctx;
	keep_error err = KEEP_ERROR_INIT;
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_conversation_views views;

		must(keep_assistant_list_conversations(bench->assistant, NULL, 20, &memory, &views,
						       &err),
		     &err);
		keep_memory_release(&memory);
	}
	return bench_now() - start;
}

/* A budget for the 100 newest messages. */
static double keep_context_100(void *ctx, long count)
{
	struct bench *bench = ctx;
	keep_error err = KEEP_ERROR_INIT;
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_context context;

		must(keep_assistant_context(bench->assistant, KEEP_BYTES("long"),
					    100 * CONTENT_BYTES / 4, &memory, &context, &err),
		     &err);
		if (context.count != 100)
			bench_fail("a context of %zu messages", context.count);
		keep_memory_release(&memory);
	}
	return bench_now() - start;
}

/* ---------------------------------------------------------------- the files */

static void open_raw(struct bench *bench, const char *file, bool relaxed)
{
	if (sqlite3_open(file, &bench->db) != SQLITE_OK)
		bench_fail("%s", file);
	run(bench->db, "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; "
		       "PRAGMA mmap_size = 68719476736; PRAGMA cache_size = -65536;");
	run(bench->db, relaxed ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL");
	bench->begin = prepare(bench->db, "BEGIN IMMEDIATE");
	bench->commit = prepare(bench->db, "COMMIT");
	bench->insert = prepare(
		bench->db, "INSERT INTO messages (conversation_id, message_id, role, content, "
			   "token_count, is_summary, timestamp, metadata, seq, is_internal) VALUES "
			   "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
	bench->update = prepare(
		bench->db, "UPDATE conversations SET last_seq = ?2, message_count = message_count "
			   "+ 1, last_accessed = ?3, updated_at = ?3, last_message_at = ?3 WHERE "
			   "conversation_id = ?1");
	bench->page = prepare(bench->db, "SELECT * FROM messages WHERE conversation_id = ?1 AND "
					 "NOT is_internal ORDER BY seq DESC LIMIT 50");
	bench->context = prepare(bench->db, "SELECT * FROM messages WHERE conversation_id = ?1 AND "
					    "NOT is_internal ORDER BY seq DESC LIMIT 100");
	bench->list = prepare(
		bench->db,
		"SELECT c.*, m.* FROM (SELECT *, (SELECT x.id FROM messages x WHERE "
		"x.conversation_id = conversations.conversation_id AND NOT x.is_internal ORDER BY "
		"x.seq DESC LIMIT 1) AS last_id FROM conversations ORDER BY updated_at DESC, id "
		"DESC LIMIT 20) AS c LEFT JOIN messages m ON m.id = c.last_id ORDER BY "
		"c.updated_at DESC, c.id DESC");
}

static void fill(keep_assistant *assistant, const struct bench *bench, long messages)
{
	static keep_conversation_message batch[KEEP_ASSISTANT_LIST_MAX];
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_conversation out;

	for (long i = 0; i <= CONVERSATIONS; i++) {
		char id[24];
		keep_conversation given = {.channel = KEEP_BYTES("webui"),
					   .contact_identifier = KEEP_BYTES("ada")};

		format_conversation(i, id);
		given.conversation_id = i == CONVERSATIONS ? KEEP_BYTES("long") : keep_bytes_of(id);
		must(keep_assistant_add_conversation(assistant, &given, KEEP_NOW, &memory, &out,
						     NULL, &err),
		     &err);
	}
	keep_memory_release(&memory);
	for (size_t i = 0; i < KEEP_ASSISTANT_LIST_MAX; i++)
		batch[i] = (keep_conversation_message){.conversation_id = KEEP_BYTES("long"),
						       .role = KEEP_BYTES("user"),
						       .content = {bench->content, CONTENT_BYTES}};
	for (long i = 0; i < messages; i += KEEP_ASSISTANT_LIST_MAX)
		must(keep_assistant_append_many(assistant, batch, KEEP_ASSISTANT_LIST_MAX, NULL,
						&err),
		     &err);
}

static keep_assistant *open_store(const char *file, bool relaxed, bool create)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char url[600];

	snprintf(url, sizeof url, "sqlite:%s", file);
	options.create = create;
	options.relaxed = relaxed;
	options.without_keys = true;
	must(keep_assistant_open(url, &options, &assistant, &err), &err);
	return assistant;
}

static void open_sides(struct bench *bench, const char *folder, bool relaxed, long messages)
{
	char mine[500], raw[500];
	keep_assistant *filling;

	memset(bench->content, 'a', CONTENT_BYTES);
	snprintf(mine, sizeof mine, "%s/assistant-mine-%d.db", folder, relaxed);
	snprintf(raw, sizeof raw, "%s/assistant-raw-%d.db", folder, relaxed);
	filling = open_store(raw, true, true);
	fill(filling, bench, messages);
	keep_assistant_close(&filling);
	filling = open_store(mine, true, true);
	fill(filling, bench, messages);
	keep_assistant_close(&filling);
	bench->assistant = open_store(mine, relaxed, false);
	open_raw(bench, raw, relaxed);
}

static void close_sides(struct bench *bench)
{
	sqlite3_stmt *stmts[] = {bench->begin, bench->commit, bench->insert, bench->update,
				 bench->page,  bench->list,   bench->context};

	for (size_t i = 0; i < sizeof stmts / sizeof *stmts; i++)
		sqlite3_finalize(stmts[i]);
	sqlite3_close(bench->db);
	keep_assistant_close(&bench->assistant);
}

static void compare(struct bench *bench, const char *what, const char *durability, bench_side *mine,
		    bench_side *base, long count, int turns, double promised)
{
	struct bench_pair pair = {.what = what,
				  .durability = durability,
				  .name = "keep",
				  .base = "by hand",
				  .side = mine,
				  .base_side = base,
				  .ctx = bench,
				  .base_ctx = bench,
				  .count = count,
				  .turns = turns,
				  .promised = promised};

	(void)bench_run(&pair);
}

/* One transaction: what other writers wait for. */
static void delete_long(struct bench *bench, long messages)
{
	keep_error err = KEEP_ERROR_INIT;
	double start = bench_now();

	must(keep_assistant_delete_conversation(bench->assistant, KEEP_BYTES("long"), NULL, &err),
	     &err);
	bench_tell("delete a conversation: messages of it", "relaxed",
		   (double)messages / (bench_now() - start), "one transaction");
}

int main(int argc, char **argv)
{
	long messages = argc > 2 ? atol(argv[2]) : 100000;
	struct bench synced = {.seed = 1}, relaxed = {.seed = 1};

	if (argc < 2)
		bench_fail("wrong use: bench_assistant FOLDER [MESSAGES]");
	bench_title("Assistant: conversations in SQLite");
	open_sides(&synced, argv[1], false, 1000);
	open_sides(&relaxed, argv[1], true, messages);
	compare(&synced, "append", "synced", keep_append_one, raw_append_one, 300, 15, 0.8);
	compare(&synced, "append, batches of 100", "synced", keep_append_many, raw_append_many,
		3000, 11, 0.8);
	compare(&relaxed, "append", "relaxed", keep_append_one, raw_append_one, 3000, 15, 0.8);
	compare(&relaxed, "append, batches of 100", "relaxed", keep_append_many, raw_append_many,
		10000, 11, 0.8);
	compare(&relaxed, "newest page of 50 messages", "-", keep_page, raw_page, 2000, 15, 0.9);
	compare(&relaxed, "list of 20 conversations", "-", keep_list, raw_list, 1000, 11, 0);
	compare(&relaxed, "context of 100 messages", "-", keep_context_100, raw_context, 1000, 11,
		0);
	delete_long(&relaxed, messages);
	close_sides(&synced);
	close_sides(&relaxed);
	return 0;
}
