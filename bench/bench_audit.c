/*
 * bench_audit.c - the audit log in a file, against SQLite by hand on the same table.
 *
 *     bench_audit FOLDER
 *
 * Each side has a file of its own, made by keep_assistant_open. By hand an entry is BEGIN
 * IMMEDIATE, INSERT of all columns with hashes that are no hashes, COMMIT, with prepared
 * statements: no chain, no head, no redaction, no guard. Then what asking and verifying cost, which
 * have no base.
 */
#include "bench.h"

#include "keep/assistant_admin.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIME "2026-09-21T14:13:20.000Z"
#define T0 INT64_C(1790000000000)
#define DETAILS                                                                                    \
	"{\"tool\":\"send\",\"to\":\"bob@example\",\"arguments\":{\"subject\":\"hello\",\"n\":3}," \
	"\"execution_time_ms\":125}"
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

enum { BATCH = 100 };

struct bench {
	keep_assistant *assistant;
	sqlite3 *db;
	sqlite3_stmt *begin, *insert, *commit;
	long next;
};

static void must(keep_status status, const keep_error *err)
{
	if (status != KEEP_OK)
		bench_fail("%s: %s", keep_status_name(status), err->message);
}

static void check_sql(sqlite3 *db, int code)
{
	if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW)
		bench_fail("%s", sqlite3_errmsg(db));
}

static void step_once(sqlite3_stmt *stmt)
{
	check_sql(sqlite3_db_handle(stmt), sqlite3_step(stmt));
	sqlite3_reset(stmt);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt = NULL;

	check_sql(db, sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL));
	return stmt;
}

/* ---------------------------------------------------------------- by hand */

static double add_by_hand(struct bench *bench, long count, long a_transaction)
{
	static const char *const texts[] = {
		TIME, "tool_execution", "gmail", "communication", "send", "c1", DETAILS};
	double began = bench_now();

	for (long i = 0; i < count; i += a_transaction) {
		step_once(bench->begin);
		for (long j = 0; j < a_transaction; j++) {
			for (int k = 0; k < 7; k++)
				sqlite3_bind_text(bench->insert, k + 1, texts[k], -1,
						  SQLITE_STATIC);
			sqlite3_bind_int(bench->insert, 8, 1);
			sqlite3_bind_text(bench->insert, 10, "ada", -1, SQLITE_STATIC);
			sqlite3_bind_text(bench->insert, 11, "::1", -1, SQLITE_STATIC);
			sqlite3_bind_int64(bench->insert, 12, ++bench->next);
			sqlite3_bind_text(bench->insert, 13, HASH, -1, SQLITE_STATIC);
			sqlite3_bind_text(bench->insert, 14, HASH, -1, SQLITE_STATIC);
			step_once(bench->insert);
		}
		step_once(bench->commit);
	}
	return bench_now() - began;
}

static double one_by_hand(void *ctx, long count)
{
	return add_by_hand(ctx, count, 1);
}

static double many_by_hand(void *ctx, long count)
{
	return add_by_hand(ctx, count, BATCH);
}

/* ---------------------------------------------------------------- through the library */

static keep_audit_entry make_entry(void)
{
	return (keep_audit_entry){.timestamp = T0,
				  .event_type = KEEP_BYTES("tool_execution"),
				  .service_name = KEEP_BYTES("gmail"),
				  .agent_name = KEEP_BYTES("communication"),
				  .action = KEEP_BYTES("send"),
				  .conversation_id = KEEP_BYTES("c1"),
				  .details = KEEP_BYTES(DETAILS),
				  .success = true,
				  .has_success = true,
				  .user_id = KEEP_BYTES("ada"),
				  .ip_address = KEEP_BYTES("::1")};
}

static double add_one(void *ctx, long count)
{
	const struct bench *bench = ctx;
	const keep_audit_entry entry = make_entry();
	keep_error err = KEEP_ERROR_INIT;
	double began = bench_now();

	for (long i = 0; i < count; i++)
		must(keep_assistant_audit(bench->assistant, &entry, NULL, &err), &err);
	return bench_now() - began;
}

static double add_many(void *ctx, long count)
{
	const struct bench *bench = ctx;
	keep_audit_entry entries[BATCH];
	keep_error err = KEEP_ERROR_INIT;
	double began = bench_now();

	for (int i = 0; i < BATCH; i++)
		entries[i] = make_entry();
	for (long i = 0; i < count; i += BATCH)
		must(keep_assistant_audit_many(bench->assistant, entries, BATCH, &err), &err);
	return bench_now() - began;
}

static void open_side(struct bench *bench, const char *folder, const char *name, bool relaxed)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char url[1000];

	snprintf(url, sizeof url, "sqlite:%s/%s.db", folder, name);
	options.create = options.without_keys = true;
	options.relaxed = relaxed;
	must(keep_assistant_open(url, &options, &bench->assistant, &err), &err);
}

static void open_hand(struct bench *bench, const char *folder, const char *name, bool relaxed)
{
	char file[1000];

	open_side(bench, folder, name, relaxed);
	keep_assistant_close(&bench->assistant);
	snprintf(file, sizeof file, "%s/%s.db", folder, name);
	check_sql(NULL, sqlite3_open(file, &bench->db));
	check_sql(bench->db,
		  sqlite3_exec(bench->db,
			       relaxed ? "PRAGMA synchronous=NORMAL" : "PRAGMA synchronous=FULL",
			       NULL, NULL, NULL));
	bench->begin = prepare(bench->db, "BEGIN IMMEDIATE");
	bench->commit = prepare(bench->db, "COMMIT");
	bench->insert = prepare(bench->db,
				"INSERT INTO audit_log (\"timestamp\", event_type, service_name, "
				"agent_name, action, conversation_id, details, success, "
				"error_message, user_id, ip_address, seq, previous_hash, hash) "
				"VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)");
}

static void close_both(struct bench *mine, struct bench *hand)
{
	sqlite3_finalize(hand->begin);
	sqlite3_finalize(hand->commit);
	sqlite3_finalize(hand->insert);
	sqlite3_close(hand->db);
	keep_assistant_close(&mine->assistant);
}

/* ---------------------------------------------------------------- reading */

static void tell_reading(const struct bench *bench)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_audit_filter filter = KEEP_AUDIT_FILTER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_audit_report report;
	keep_audit_list list;
	double began = bench_now(), took;
	char note[60];

	must(keep_assistant_verify_audit(bench->assistant, &memory, &report, &err), &err);
	took = bench_now() - began;
	if (!report.is_intact)
		bench_fail("the chain is broken");
	snprintf(note, sizeof note, "entries/s, of %lld", (long long)report.checked);
	bench_tell("verify", "-", (double)report.checked / took, note);
	filter.service_name = KEEP_BYTES("gmail");
	filter.agent_name = KEEP_BYTES("communication");
	began = bench_now();
	for (int i = 0; i < 100; i++) {
		must(keep_assistant_query_audit(bench->assistant, &filter, 50, &memory, &list,
						&err),
		     &err);
		keep_memory_release(&memory);
	}
	bench_tell("query, two filters that all entries pass, 50", "-", 100 / (bench_now() - began),
		   "queries/s");
	filter.agent_name = KEEP_BYTES("nobody");
	began = bench_now();
	for (int i = 0; i < 100; i++) {
		must(keep_assistant_query_audit(bench->assistant, &filter, 50, &memory, &list,
						&err),
		     &err);
		keep_memory_release(&memory);
	}
	bench_tell("query, a filter that no entry passes", "-", 100 / (bench_now() - began),
		   "queries/s");
}

int main(int argc, char **argv)
{
	if (argc != 2)
		bench_fail("a folder is needed");
	bench_title("audit log, SQLite, an entry of 300 bytes");
	for (int relaxed = 1; relaxed >= 0; relaxed--) {
		struct bench mine = {.next = 0}, hand = {.next = 0};
		struct bench_pair pair = {.what = "audit, one by one",
					  .durability = relaxed ? "relaxed" : "synced",
					  .name = "keep",
					  .base = "by hand",
					  .side = add_one,
					  .base_side = one_by_hand,
					  .ctx = &mine,
					  .base_ctx = &hand,
					  .count = relaxed ? 4000 : 1000,
					  .turns = 7};

		open_side(&mine, argv[1], relaxed ? "audit-mine-relaxed" : "audit-mine", relaxed);
		open_hand(&hand, argv[1], relaxed ? "audit-hand-relaxed" : "audit-hand", relaxed);
		bench_run(&pair);
		pair.what = "audit_many, 100 a transaction";
		pair.side = add_many;
		pair.base_side = many_by_hand;
		pair.count = 10000;
		bench_run(&pair);
		if (relaxed)
			tell_reading(&mine);
		close_both(&mine, &hand);
	}
	return 0;
}
