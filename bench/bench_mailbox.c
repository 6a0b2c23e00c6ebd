/*
 * bench_mailbox.c - a message to an agent in another process and its reply back, and what polls
 * cost.
 *
 *     bench_mailbox FOLDER      KEEP_BENCH_ROWS: old rows of the large session, 1,000,000 if not
 * set
 *
 * The trip: post, the agent's wait and claim, complete_with a reply, the host's wait and collect;
 * timed in the host from before the post to after the collect. Its floor: the same two processes,
 * each writing one page of a file, syncing it, and waking the other by a futex.
 */
#include "bench.h"

#include "core/core.h"
#include "keep/agent.h"
#include "keep/mailbox_registry.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRIPS = 400, TURNS = 5, BATCH = 100, BATCHES = 20, OLD_SMALL = 1000 };

static const char content[] = "{\"text\":\"A message of the length that messages have, which is "
			      "about two hundred bytes when "
			      "names and the like are with it, as they are "
			      "here.\",\"sender\":\"Ada\",\"senderId\":\"4242\"}";

static keep_error err;

static void must(keep_status status, const char *what)
{
	if (status != KEEP_OK)
		bench_fail("%s: %s", what, err.message);
}

/* ---------------------------------------------------------------- a mailbox with a session */

struct store {
	keep_mailbox *mailbox;
	char session[KEEP_SEGMENT_MAX + 1];
	char folder[600];
	bool relaxed;
};

static void add_session(struct store *store, const char *thread)
{
	keep_session_place place = {.agent_group_id = KEEP_BYTES("ada"),
				    .messaging_group_id = KEEP_BYTES("mg-42"),
				    .thread_id = keep_bytes_of(thread),
				    .session_mode = KEEP_BYTES("per-thread")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_session session;
	keep_bytes folder;

	must(keep_mailbox_resolve_session(store->mailbox, &place, KEEP_NOW, &memory, &session, NULL,
					  &err),
	     "a session");
	snprintf(store->session, sizeof store->session, "%.*s", (int)session.id.len,
		 session.id.data);
	must(keep_mailbox_wake(store->mailbox, session.id, KEEP_NOW, NULL, &err), "a wake");
	must(keep_mailbox_session_place(store->mailbox, session.id, &memory, &folder, &err),
	     "a folder");
	snprintf(store->folder, sizeof store->folder, "%.*s", (int)folder.len, folder.data);
	keep_memory_release(&memory);
}

static void open_store(struct store *store, const char *folder, const char *name, bool relaxed)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_agent_group group = {
		.id = KEEP_BYTES("ada"), .name = KEEP_BYTES("Ada"), .folder = KEEP_BYTES("ada")};
	keep_messaging_group chat = {.id = KEEP_BYTES("mg-42"),
				     .channel_type = KEEP_BYTES("telegram"),
				     .platform_id = KEEP_BYTES("42")};
	char url[500];

	snprintf(url, sizeof url, "sqlite:%s/%s", folder, name);
	options.create = true;
	options.relaxed = relaxed;
	store->relaxed = relaxed;
	must(keep_mailbox_open(url, &options, &store->mailbox, &err), url);
	must(keep_mailbox_put_agent_group(store->mailbox, &group, NULL, &err), "an agent group");
	must(keep_mailbox_put_messaging_group(store->mailbox, &chat, NULL, &err), "a chat");
	add_session(store, "main");
}

static keep_agent *open_agent(const struct store *store)
{
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	keep_agent *agent = NULL;

	options.relaxed = store->relaxed;
	must(keep_agent_open(store->folder, &options, &agent, &err), "an agent");
	return agent;
}

static void post_some(const struct store *store, size_t count)
{
	keep_post posts[BATCH] = {0};
	keep_post_result results[BATCH];

	for (size_t i = 0; i < count; i++)
		posts[i] = (keep_post){.content = KEEP_BYTES(content),
				       .channel_type = KEEP_BYTES("telegram"),
				       .platform_id = KEEP_BYTES("42")};
	must(keep_mailbox_post_many(store->mailbox, keep_bytes_of(store->session), posts, count,
				    results, &err),
	     "a post");
}

/* Claim up to a batch and answer each; how many. */
static size_t answer_some(keep_agent *agent)
{
	keep_claim_request request = {.max = BATCH};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claim_ref refs[BATCH];
	keep_send replies[BATCH] = {0};
	keep_claim_list claims;
	size_t count;

	must(keep_agent_claim(agent, &request, KEEP_NOW, &memory, &claims, &err), "a claim");
	count = claims.count;
	for (size_t i = 0; i < count; i++) {
		refs[i] = (keep_claim_ref){claims.items[i].message.id, claims.items[i].attempt};
		replies[i] = (keep_send){.content = KEEP_BYTES(content),
					 .in_reply_to = claims.items[i].message.id};
	}
	if (count)
		must(keep_agent_complete_with(agent, refs, count, replies, count, KEEP_NOW, NULL,
					      &err),
		     "an answer");
	keep_memory_release(&memory);
	return count;
}

/* Collect and deliver what is there; how many. */
static size_t collect_some(const struct store *store)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection found;
	size_t count;

	must(keep_mailbox_collect(store->mailbox, keep_bytes_of(store->session), BATCH, KEEP_NOW,
				  &memory, &found, &err),
	     "a collect");
	count = found.count;
	keep_memory_release(&memory);
	return count;
}

/* What was collected is taken off, outside of the time. */
static void deliver_all(const struct store *store)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection found;
	keep_bytes session = keep_bytes_of(store->session);

	must(keep_mailbox_collect(store->mailbox, session, BATCH, KEEP_NOW, &memory, &found, &err),
	     "a collect");
	for (size_t i = 0; i < found.count; i++) {
		keep_outcome_report report = {.session = session,
					      .key = found.items[i].key,
					      .outcome = KEEP_OUTCOME_DELIVERED};

		must(keep_mailbox_begin_delivery(store->mailbox, session, report.key, 0, KEEP_NOW,
						 &report.attempt, &err),
		     "a delivery");
		must(keep_mailbox_complete_delivery(store->mailbox, &report, KEEP_NOW, &err),
		     "a delivery");
	}
	keep_memory_release(&memory);
}

/* ---------------------------------------------------------------- the trip */

static pid_t start_agent(const struct store *store)
{
	pid_t child = fork();
	keep_agent *agent;

	if (child < 0)
		bench_fail("fork");
	if (child > 0)
		return child;
	agent = open_agent(store);
	for (;;) {
		bool ready = false;

		must(keep_agent_wait(agent, -1, &ready, &err), "the agent's wait");
		while (answer_some(agent) == BATCH)
			;
	}
}

static double trip(const struct store *store)
{
	double start = bench_now();

	post_some(store, 1);
	while (!collect_some(store)) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_session_names names;

		must(keep_mailbox_wait(store->mailbox, 1000, &memory, &names, &err), "a wait");
		keep_memory_release(&memory);
	}
	return bench_now() - start;
}

/* The floor: a page, a sync and a futex on each side. */
struct floor {
	_Atomic uint32_t turn[2];
	int files[2];
	bool syncs;
};

static void write_page(const struct floor *floor, int side)
{
	static const char page[4096];

	if (pwrite(floor->files[side], page, sizeof page, 0) != (ssize_t)sizeof page ||
	    (floor->syncs && fdatasync(floor->files[side]) != 0))
		bench_fail("a page");
}

static void pass(struct floor *floor, int to)
{
	atomic_fetch_add(&floor->turn[to], 1);
	(void)syscall(SYS_futex, &floor->turn[to], FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void await(struct floor *floor, int side, uint32_t seen)
{
	while (atomic_load(&floor->turn[side]) == seen)
		(void)syscall(SYS_futex, &floor->turn[side], FUTEX_WAIT, seen, NULL, NULL, 0);
}

static struct floor *start_floor(const char *folder, bool syncs, pid_t *child)
{
	struct floor *floor = mmap(NULL, sizeof *floor, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[600];

	if (floor == MAP_FAILED)
		bench_fail("mmap");
	floor->syncs = syncs;
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/floor-%d-%d", folder, syncs, i);
		floor->files[i] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (floor->files[i] < 0 || posix_fallocate(floor->files[i], 0, 4096) != 0)
			bench_fail("%s", path);
		write_page(floor, i);
	}
	*child = fork();
	if (*child < 0)
		bench_fail("fork");
	if (*child > 0)
		return floor;
	for (uint32_t seen = 0;; seen++) {
		await(floor, 1, seen);
		write_page(floor, 1);
		pass(floor, 0);
	}
}

static double floor_trip(struct floor *floor)
{
	uint32_t seen = atomic_load(&floor->turn[0]);
	double start = bench_now();

	write_page(floor, 0);
	pass(floor, 1);
	await(floor, 0, seen);
	return bench_now() - start;
}

static void compare_trips(const char *folder, bool relaxed)
{
	static double times[TRIPS], floors[TRIPS], ratios[TURNS];
	struct store store;
	pid_t agent, partner;
	struct floor *floor = start_floor(folder, !relaxed, &partner);
	double ours = 0, theirs = 0;
	char note[160];

	open_store(&store, folder, relaxed ? "trip-relaxed" : "trip-synced", relaxed);
	agent = start_agent(&store);
	for (int i = 0; i < 20; i++) {
		(void)trip(&store);
		deliver_all(&store);
	}
	for (int turn = 0; turn < TURNS; turn++) {
		for (int i = 0; i < TRIPS / TURNS; i++) {
			times[i] = trip(&store);
			deliver_all(&store);
			floors[i] = floor_trip(floor);
		}
		ours = bench_median(times, TRIPS / TURNS);
		theirs = bench_median(floors, TRIPS / TURNS);
		ratios[turn] = ours / theirs;
	}
	snprintf(note, sizeof note,
		 "median %.3f ms, a futex and a page %sa side %.3f ms: %.2f times that", ours * 1e3,
		 relaxed ? "" : "synced ", theirs * 1e3, bench_median(ratios, TURNS));
	bench_tell("post, claim, answer, collect, two processes", relaxed ? "relaxed" : "synced",
		   1 / ours, note);
	(void)kill(agent, SIGKILL);
	(void)kill(partner, SIGKILL);
	(void)waitpid(agent, NULL, 0);
	(void)waitpid(partner, NULL, 0);
	keep_mailbox_close(&store.mailbox);
}

/* ---------------------------------------------------------------- batches */

struct batch {
	struct store store;
	keep_agent *agent;
	sqlite3 *in, *out;
	sqlite3_stmt *add_in, *add_ack, *done_ack, *add_out, *done_in;
	int64_t posted;
};

static sqlite3 *open_raw(const char *path, const char *from)
{
	sqlite3 *db = NULL, *source = NULL;
	sqlite3_stmt *stmt = NULL;

	if (sqlite3_open(path, &db) != SQLITE_OK || sqlite3_open(from, &source) != SQLITE_OK)
		bench_fail("%s", path);
	/* the same tables and indexes */
	if (sqlite3_exec(db,
			 "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA "
			 "wal_autocheckpoint=1000",
			 NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(
		    source,
		    "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name IN "
		    "('messages_in', 'messages_out', 'processing_ack') ORDER BY rowid",
		    -1, &stmt, NULL) != SQLITE_OK)
		bench_fail("%s: %s", path, sqlite3_errmsg(db));
	while (sqlite3_step(stmt) == SQLITE_ROW)
		if (sqlite3_exec(db, (const char *)sqlite3_column_text(stmt, 0), NULL, NULL,
				 NULL) != SQLITE_OK)
			bench_fail("%s: %s", path, sqlite3_errmsg(db));
	sqlite3_finalize(stmt);
	sqlite3_close(source);
	return db;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt = NULL;

	if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) != SQLITE_OK)
		bench_fail("%s: %s", sql, sqlite3_errmsg(db));
	return stmt;
}

static void run_raw(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		bench_fail("%s: %s", sql, sqlite3_errmsg(db));
}

static void step_raw(sqlite3_stmt *stmt, const char *id, const char *other, int64_t number)
{
	sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
	if (other)
		sqlite3_bind_text(stmt, 2, other, -1, SQLITE_STATIC);
	if (number)
		sqlite3_bind_int64(stmt, 3, number);
	if (sqlite3_step(stmt) != SQLITE_DONE)
		bench_fail("raw: %s", sqlite3_errmsg(sqlite3_db_handle(stmt)));
	sqlite3_reset(stmt);
}

static void open_batch(struct batch *batch, const char *folder)
{
	char path[700], from[700];

	open_store(&batch->store, folder, "batch", false);
	batch->agent = open_agent(&batch->store);
	post_some(&batch->store, 1);
	(void)answer_some(batch->agent);
	deliver_all(&batch->store);
	snprintf(path, sizeof path, "%s/raw-in.db", folder);
	snprintf(from, sizeof from, "%s/inbound.db", batch->store.folder);
	batch->in = open_raw(path, from);
	snprintf(path, sizeof path, "%s/raw-out.db", folder);
	snprintf(from, sizeof from, "%s/outbound.db", batch->store.folder);
	batch->out = open_raw(path, from);
	batch->add_in = prepare(
		batch->in,
		"INSERT INTO messages_in (id, seq, kind, timestamp, platform_id, channel_type, "
		"stored_at, content) VALUES (?1, (SELECT COALESCE(max(seq), 0) + 2 FROM "
		"messages_in), 'chat', '2026-04-11T17:18:21.000Z', '42', 'telegram', "
		"'2026-04-11T17:18:21.000Z', ?2)");
	batch->done_in =
		prepare(batch->in, "UPDATE messages_in SET status = 'completed', finished_at = "
				   "'2026-04-11T17:18:21.000Z' WHERE id = ?1");
	batch->add_ack = prepare(
		batch->out,
		"INSERT INTO processing_ack (message_id, status, status_changed, owner, "
		"lease_until, attempt, change, incarnation) VALUES (?1, 'processing', "
		"'2026-04-11T17:18:21.000Z', 'somebody', '2026-04-11T17:18:21.000Z', 1, ?3, 1)");
	batch->done_ack =
		prepare(batch->out, "UPDATE processing_ack SET status = 'completed', lease_until = "
				    "NULL, change = ?3 WHERE message_id = ?1");
	batch->add_out = prepare(
		batch->out,
		"INSERT INTO messages_out (id, seq, in_reply_to, timestamp, kind, platform_id, "
		"channel_type, content) VALUES (?1, (SELECT COALESCE(max(seq), -1) + 2 FROM "
		"messages_out), ?1, '2026-04-11T17:18:21.000Z', 'chat', '42', 'telegram', ?2)");
}

static double batches_of_posts(void *ctx, long count)
{
	struct batch *batch = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i += BATCH)
		post_some(&batch->store, BATCH);
	return bench_now() - start;
}

static double raw_posts(void *ctx, long count)
{
	struct batch *batch = ctx;
	double start = bench_now();
	char id[40];

	for (long i = 0; i < count; i += BATCH) {
		run_raw(batch->in, "BEGIN IMMEDIATE");
		for (int k = 0; k < BATCH; k++) {
			snprintf(id, sizeof id, "019a0000-0000-7000-8000-%012lld",
				 (long long)++batch->posted);
			step_raw(batch->add_in, id, content, 0);
		}
		run_raw(batch->in, "COMMIT");
	}
	return bench_now() - start;
}

static double batches_of_trips(void *ctx, long count)
{
	struct batch *batch = ctx;
	double taken = 0;

	for (long i = 0; i < count; i += BATCH) {
		double start = bench_now();

		post_some(&batch->store, BATCH);
		if (answer_some(batch->agent) != BATCH || collect_some(&batch->store) != BATCH)
			bench_fail("a batch is not whole");
		taken += bench_now() - start;
		deliver_all(&batch->store);
	}
	return taken;
}

static double raw_trips(void *ctx, long count)
{
	struct batch *batch = ctx;
	double start = bench_now();
	char ids[BATCH][40];
	static int64_t change;

	for (long i = 0; i < count; i += BATCH) {
		run_raw(batch->in, "BEGIN IMMEDIATE");
		for (int k = 0; k < BATCH; k++) {
			snprintf(ids[k], sizeof ids[k], "019a0000-0000-7000-8000-%012lld",
				 (long long)++batch->posted);
			step_raw(batch->add_in, ids[k], content, 0);
		}
		run_raw(batch->in, "COMMIT");
		run_raw(batch->out, "PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE");
		for (int k = 0; k < BATCH; k++)
			step_raw(batch->add_ack, ids[k], NULL, ++change);
		run_raw(batch->out, "COMMIT; PRAGMA synchronous=FULL; BEGIN IMMEDIATE");
		for (int k = 0; k < BATCH; k++) {
			step_raw(batch->done_ack, ids[k], NULL, ++change);
			step_raw(batch->add_out, ids[k], content, 0);
		}
		run_raw(batch->out, "COMMIT");
		run_raw(batch->in, "PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE");
		for (int k = 0; k < BATCH; k++)
			step_raw(batch->done_in, ids[k], NULL, 0);
		run_raw(batch->in, "COMMIT; PRAGMA synchronous=FULL");
	}
	return bench_now() - start;
}

static void compare_batches(const char *folder)
{
	static struct batch batch;
	struct bench_pair posts = {.what = "post_many, 100 messages a call",
				   .durability = "synced",
				   .name = "Keep",
				   .base = "raw SQLite, the same rows",
				   .side = batches_of_posts,
				   .base_side = raw_posts,
				   .ctx = &batch,
				   .base_ctx = &batch,
				   .count = (long)BATCH * BATCHES,
				   .turns = 7,
				   .promised = 0.8};
	struct bench_pair trips = {.what = "100 posted, claimed, answered, collected",
				   .durability = "synced",
				   .name = "Keep",
				   .base = "raw SQLite, the same rows",
				   .side = batches_of_trips,
				   .base_side = raw_trips,
				   .ctx = &batch,
				   .base_ctx = &batch,
				   .count = (long)BATCH * BATCHES,
				   .turns = 7,
				   .promised = 0.8};

	open_batch(&batch, folder);
	(void)bench_run(&trips);
	(void)bench_run(&posts);
	keep_agent_close(&batch.agent);
	keep_mailbox_close(&batch.store.mailbox);
}

/* ---------------------------------------------------------------- idle polls */

struct idle {
	struct store store;
	keep_agent *agent;
};

/* Old rows, as a trip each would have left them; behind the library's back, for speed. */
static void add_old_rows(const struct store *store, long rows)
{
	char path[700], sql[1200];
	sqlite3 *db = NULL;

	snprintf(path, sizeof path, "%s/inbound.db", store->folder);
	snprintf(sql, sizeof sql,
		 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %ld) "
		 "INSERT INTO messages_in (id, seq, kind, timestamp, status, content, stored_at, "
		 "finished_at) SELECT 'old-' || i, 1000 + 2 * i, 'chat', "
		 "'2026-04-11T17:18:21.000Z', 'completed', '{\"text\":\"old\"}', "
		 "'2026-04-11T17:18:21.000Z', '2026-04-11T17:18:21.000Z' FROM n;"
		 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %ld) "
		 "INSERT INTO delivered (message_out_id, status, delivered_at, attempts, seq) "
		 "SELECT 'out-' || i, 'delivered', '2026-04-11T17:18:21.000Z', 1, 1001 + 2 * i "
		 "FROM n;"
		 "UPDATE session_host SET ack_change = %ld, out_seq = %ld",
		 rows, rows, rows + 1000, 1001 + 2 * rows);
	if (sqlite3_open(path, &db) != SQLITE_OK)
		bench_fail("%s", path);
	run_raw(db, sql);
	sqlite3_close(db);
	snprintf(path, sizeof path, "%s/outbound.db", store->folder);
	snprintf(sql, sizeof sql,
		 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %ld) "
		 "INSERT INTO messages_out (id, seq, in_reply_to, timestamp, kind, content) SELECT "
		 "'out-' || i, 1001 + 2 * i, 'old-' || i, '2026-04-11T17:18:21.000Z', 'chat', "
		 "'{\"text\":\"old\"}' FROM n;"
		 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %ld) "
		 "INSERT INTO processing_ack (message_id, status, status_changed, owner, attempt, "
		 "change) SELECT 'old-' || i, 'completed', '2026-04-11T17:18:21.000Z', 'somebody', "
		 "1, 1000 + i FROM n",
		 rows, rows);
	if (sqlite3_open(path, &db) != SQLITE_OK)
		bench_fail("%s", path);
	run_raw(db, sql);
	sqlite3_close(db);
}

static double idle_collects(void *ctx, long count)
{
	const struct idle *idle = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i++)
		if (collect_some(&idle->store))
			bench_fail("something was there to collect");
	return bench_now() - start;
}

static double idle_claims(void *ctx, long count)
{
	const struct idle *idle = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		bool ready = true;

		must(keep_agent_wait(idle->agent, 0, &ready, &err), "a look");
		if (ready)
			bench_fail("something was there to claim");
	}
	return bench_now() - start;
}

static void compare_idle(const char *folder)
{
	const char *wanted = getenv("KEEP_BENCH_ROWS");
	long rows = wanted ? strtol(wanted, NULL, 10) : 1000000;
	static struct idle small, large;
	struct bench_pair pair = {.durability = "-",
				  .base = "1,000 old rows",
				  .ctx = &large,
				  .base_ctx = &small,
				  .count = 2000,
				  .turns = 7,
				  .promised = 0.67};
	char name[60];

	open_store(&small.store, folder, "idle-small", true);
	open_store(&large.store, folder, "idle-large", true);
	add_old_rows(&small.store, OLD_SMALL);
	add_old_rows(&large.store, rows);
	small.agent = open_agent(&small.store);
	large.agent = open_agent(&large.store);
	snprintf(name, sizeof name, "%ld old rows", rows);
	pair.name = name;
	pair.what = "collect with nothing new";
	pair.side = pair.base_side = idle_collects;
	(void)bench_run(&pair);
	pair.what = "the agent's look with nothing new";
	pair.side = pair.base_side = idle_claims;
	(void)bench_run(&pair);
	keep_agent_close(&small.agent);
	keep_agent_close(&large.agent);
	keep_mailbox_close(&small.store.mailbox);
	keep_mailbox_close(&large.store.mailbox);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		bench_fail("wrong use: bench_mailbox FOLDER");
	bench_title("mailbox");
	compare_trips(argv[1], false);
	compare_trips(argv[1], true);
	compare_batches(argv[1]);
	compare_idle(argv[1]);
	return 0;
}
