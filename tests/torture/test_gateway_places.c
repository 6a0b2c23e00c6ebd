/*
 * test_gateway_places.c - a gateway in bad places: a full disk, no descriptors left, rights taken
 * away, a deleted file, garbage, damaged rows, a server that goes away.
 *
 *     test_gateway_places sqlite|postgres
 *
 * Whatever happens, the status is true and what was stored stays: FULL is said of a full disk, with
 * no cursor moved and nothing half done, and the same call works when there is space; DENIED of
 * what may not be written, UNAVAILABLE of what is gone, CORRUPT of what is damaged. A failure never
 * looks like a missing message or an empty list.
 *
 * The places of the engine are tests/torture/test_engine_places.c.
 */
#include "gateway_places.h"

#include "source_file.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { DISK_KIB = 4096, BALLAST_KIB = 256, STEP_KIB = 4, STEPS_MAX = 300 };

/* ---------------------------------------------------------------- a full disk */

/* Put messages of falling size until not the smallest one fits. Only FULL may stop it. */
static void fill(keep_gateway *gateway, ledger *book)
{
	static const size_t sizes[] = {60000, 8000, 100};
	keep_error err = KEEP_ERROR_INIT;

	for (size_t i = 0; i < KP_COUNT(sizes); i++) {
		keep_status status;

		do
			status = ledger_put(gateway, book, book->tries % LEDGER_CHATS, sizes[i],
					    &err);
		while (status == KEEP_OK);
		WANT_STATUS(status, KEEP_FULL);
	}
}

static void live_on_a_full_disk(void *ctx)
{
	const gateway_place *at = ctx;
	static ledger book;
	keep_error err = KEEP_ERROR_INIT;
	keep_gateway *gateway;
	keep_status status;

	mount_disk(at->folder.path, DISK_KIB);
	gateway = open_gateway(at->url, true);
	put_ballast(&at->folder, BALLAST_KIB);
	WANT_OK(ledger_put_all(gateway, &book, 10, &err));
	WANT_OK(ledger_advance(gateway, &book, 1, &err));
	for (int round = 0; round < 3; round++) {
		fill(gateway, &book);
		ledger_expect(gateway, &book, 0, "on the full disk");
		status = ledger_advance(gateway, &book, 0, &err);
		WANT(status == KEEP_OK || status == KEEP_FULL, "%s", err.message);
		WANT_STATUS(ledger_put_all(gateway, &book, 100000, &err), KEEP_FULL);
		ledger_expect(gateway, &book, 0, "after a batch that failed");
		cut_ballast(&at->folder, BALLAST_KIB / 4);
		WANT_OK(ledger_put_all(gateway, &book, 30, &err));
		WANT_OK(ledger_advance(gateway, &book, 2, &err));
		ledger_expect(gateway, &book, 0, "with space again");
	}
	keep_gateway_close(&gateway);
	fflush(stdout);
	status = try_gateway(at->url, false, false, &gateway, &err);
	if (status == KEEP_OK)
		ledger_expect(gateway, &book, 0, "opened again on the full disk");
	else
		WANT_STATUS(status, KEEP_FULL);
	keep_gateway_close(&gateway);
	WANT(mount(NULL, at->folder.path, NULL, MS_REMOUNT, "size=16m") == 0, "%s",
	     strerror(errno));
	gateway = open_gateway(at->url, false);
	WANT_OK(ledger_put_all(gateway, &book, 3000, &err));
	ledger_expect(gateway, &book, 0, "opened again with space");
	keep_gateway_close(&gateway);
}

static void a_full_disk_is_FULL_and_goes_on_when_there_is_space(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(live_on_a_full_disk, &at);
	gateway_place_remove(&at);
}

/* ---------------------------------------------------------------- in the middle of a call
 *
 * Each call is made with ever more space, 4 KiB at a time, so that each page that it writes is once
 * the one that does not fit. A reader holds its snapshot, so that the log only grows.
 */

struct filling {
	keep_gateway *gateway;
	ledger *book;
	const char *source;
	sqlite3 *reader;
	keep_memory memory;
	char task[37];
	size_t claimed;
	keep_adoption adoption;
};

static int64_t count_of(struct filling *f, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	const char *file = sqlite3_db_filename(f->reader, "main");
	sqlite3 *db = NULL;
	int64_t count;

	WANT(sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK, "open");
	WANT(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s: %s", sql,
	     sqlite3_errmsg(db));
	WANT(sqlite3_step(stmt) == SQLITE_ROW, "%s: %s", sql, sqlite3_errmsg(db));
	count = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return count;
}

static keep_status put_one(struct filling *f, keep_error *err)
{
	return ledger_put(f->gateway, f->book, 0, 30000, err);
}

static keep_status put_batch(struct filling *f, keep_error *err)
{
	return ledger_put_all(f->gateway, f->book, 12000, err);
}

static keep_status advance_one(struct filling *f, keep_error *err)
{
	return ledger_advance(f->gateway, f->book, 0, err);
}

static keep_status fire(struct filling *f, keep_error *err)
{
	keep_task_run_list runs = {NULL, 0};
	keep_status status =
		keep_gateway_fire_due_tasks(f->gateway, KEEP_NOW, 0, &f->memory, &runs, NULL, err);

	if (status != KEEP_OK)
		return status;
	/* What a full disk left undone may be told as "nothing yet". */
	WANT(runs.count <= 1, "%zu runs", runs.count);
	if (runs.count == 0)
		return kp_fail(err, KEEP_FULL, "not fired");
	WANT(kp_bytes_equal(runs.items[0].status, KEEP_BYTES("success")), "%" KP_PRI ": %" KP_PRI,
	     KP_ARG(runs.items[0].status), KP_ARG(runs.items[0].error));
	return status;
}

static void want_unfired(struct filling *f)
{
	WANT(count_of(f, "SELECT count(*) FROM scheduled_tasks WHERE status = 'active' AND "
			 "attempts = 0 AND next_run IS NOT NULL AND last_error IS NULL") == 1,
	     "a task that was not fired has changed");
	WANT(count_of(f, "SELECT count(*) FROM task_run_logs") == 0, "a run was logged");
	WANT(count_of(f, "SELECT count(*) FROM messages WHERE sender = 'scheduler'") == 0,
	     "it was fired by half");
}

static keep_status claim(struct filling *f, keep_error *err)
{
	keep_message_list list = {NULL, 0};
	keep_status status = keep_gateway_claim_deliveries(f->gateway, (keep_bytes){0}, 0, 0,
							   KEEP_NOW, &f->memory, &list, err);

	if (status == KEEP_OK) {
		f->claimed = list.count;
		WANT(list.count == 8, "%zu claimed", list.count);
		for (size_t i = 0; i < list.count; i++)
			WANT(list.items[i].attempts == 1, "attempt %lld",
			     (long long)list.items[i].attempts);
	}
	return status;
}

static void want_unclaimed(struct filling *f)
{
	WANT(count_of(f, "SELECT count(*) FROM messages WHERE status = 'pending' AND attempts = 0 "
			 "AND lease_owner IS NULL") == 8,
	     "a claim that failed took something");
}

static keep_status adopt(struct filling *f, keep_error *err)
{
	return keep_gateway_adopt(f->gateway, f->source, &f->adoption, err);
}

static void want_nothing_adopted(struct filling *f)
{
	static const char *const tables[] = {"messages",        "chats",   "routes",   "sessions",
					     "scheduled_tasks", "cursors", "consumers"};
	char sql[80];

	for (size_t i = 0; i < KP_COUNT(tables); i++) {
		snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", tables[i]);
		WANT(count_of(f, sql) == 0, "%s has rows after a failure", tables[i]);
	}
}

/* Calls until it is OK; returns how often it was FULL. */
static unsigned squeeze(const gateway_place *at, struct filling *f, const char *name, int step_kib,
			keep_status (*call)(struct filling *f, keep_error *err),
			void (*unchanged)(struct filling *f))
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = KEEP_FULL;
	unsigned full = 0;

	put_ballast(&at->folder, -1);
	for (int step = 0; step < STEPS_MAX && status != KEEP_OK; step++) {
		char when[80];

		if (step > 0)
			cut_ballast(&at->folder, step_kib);
		status = call(f, &err);
		if (status == KEEP_OK)
			break;
		full++;
		snprintf(when, sizeof when, "%s, step %d", name, step);
		WANT(status == KEEP_FULL, "%s: %s: %s", when, keep_status_name(status),
		     err.message);
		if (f->book)
			ledger_expect(f->gateway, f->book, 0, when);
		if (unchanged)
			unchanged(f);
	}
	WANT(status == KEEP_OK, "%s is still FULL: %s", name, err.message);
	WANT(full > 0, "%s was never FULL", name);
	if (f->book)
		ledger_expect(f->gateway, f->book, 0, name);
	drop_ballast(&at->folder);
	return full;
}

static void hold_a_snapshot(struct filling *f, const char *file)
{
	WANT(sqlite3_open_v2(file, &f->reader, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK, "open");
	WANT(sqlite3_exec(f->reader, "BEGIN; SELECT count(*) FROM messages", NULL, NULL, NULL) ==
		     SQLITE_OK,
	     "%s", sqlite3_errmsg(f->reader));
}

static void put_deliveries_and_a_task(struct filling *f)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_scheduled_task task = {.owner = KEEP_BYTES("main"),
				    .chat_jid = KEEP_BYTES("cron:1"),
				    .prompt = KEEP_BYTES("Good morning"),
				    .next_run = kp_clock_ms() - 1000,
				    .has_next_run = true};
	keep_put put;

	for (int i = 0; i < 8; i++) {
		char jid[20], id[20];
		keep_message message = {.content = KEEP_BYTES("hello")};

		snprintf(jid, sizeof jid, "out:%d", i % 4);
		snprintf(id, sizeof id, "out-%d", i);
		message.chat_jid = keep_bytes_of(jid);
		message.id = keep_bytes_of(id);
		WANT_OK(keep_gateway_put_outbound(f->gateway, &message, NULL, NULL, &err));
	}
	WANT_OK(keep_gateway_create_task(f->gateway, &task, &put, f->task, &err));
}

static void call_beside_no_space(void *ctx)
{
	const gateway_place *at = ctx;
	static ledger book;
	struct filling f = {.book = &book, .memory = KEEP_MEMORY_INIT};
	keep_error err = KEEP_ERROR_INIT;
	unsigned full[5];

	mount_disk(at->folder.path, 2 * DISK_KIB);
	f.gateway = open_gateway(at->url, true);
	WANT_OK(ledger_put_all(f.gateway, &book, 10, &err));
	WANT_OK(ledger_advance(f.gateway, &book, 1, &err));
	put_deliveries_and_a_task(&f);
	hold_a_snapshot(&f, at->store);
	full[0] = squeeze(at, &f, "put_message", STEP_KIB, put_one, NULL);
	full[1] = squeeze(at, &f, "put_messages", STEP_KIB, put_batch, NULL);
	full[2] = squeeze(at, &f, "advance", STEP_KIB, advance_one, NULL);
	full[3] = squeeze(at, &f, "fire_due_tasks", STEP_KIB, fire, want_unfired);
	full[4] = squeeze(at, &f, "claim_deliveries", STEP_KIB, claim, want_unclaimed);
	WANT(count_of(&f, "SELECT count(*) FROM messages WHERE sender = 'scheduler'") == 1,
	     "it was not fired once");
	print_message("FULL: put %u, batch %u, advance %u, fire %u, claim %u times\n", full[0],
		      full[1], full[2], full[3], full[4]);
	sqlite3_close(f.reader);
	keep_memory_release(&f.memory);
	keep_gateway_close(&f.gateway);
	keep_zone_forget();
}

static void a_disk_that_fills_up_in_the_middle_leaves_nothing_half_done(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(call_beside_no_space, &at);
	gateway_place_remove(&at);
}

static char source_path[128];

static void adopt_beside_no_space(void *ctx)
{
	const gateway_place *at = ctx;
	struct filling f = {.source = source_path};
	unsigned full;

	mount_disk(at->folder.path, DISK_KIB);
	f.gateway = open_gateway(at->url, true);
	hold_a_snapshot(&f, at->store);
	full = squeeze(at, &f, "adopt", 3 * STEP_KIB, adopt, want_nothing_adopted);
	WANT(f.adoption.messages > 0 &&
		     count_of(&f, "SELECT count(*) FROM messages") >= f.adoption.messages,
	     "nothing was adopted");
	print_message("FULL: adopt %u times\n", full);
	sqlite3_close(f.reader);
	keep_gateway_close(&f.gateway);
	keep_zone_forget();
}

static void an_adoption_that_does_not_fit_takes_nothing(void **state)
{
	gateway_place at;
	temp_folder source;

	(void)state;
	gateway_place_make(&at);
	temp_folder_make(&source);
	source_make(temp_path(&source, "messages.db", source_path), "source_messages.sql");
	in_child(adopt_beside_no_space, &at);
	temp_folder_remove(&source);
	gateway_place_remove(&at);
}

/* A store is made and used with ever more space. */
static void begin_on_a_nearly_full_disk(void *ctx)
{
	const gateway_place *at = ctx;
	keep_error err = KEEP_ERROR_INIT;
	unsigned opened = 0, full = 0;

	mount_disk(at->folder.path, DISK_KIB);
	for (int kib = 0; kib < 1800; kib += 36) {
		ledger book = {0};
		keep_gateway *gateway = NULL;

		put_ballast(&at->folder, -1);
		cut_ballast(&at->folder, kib);
		if (try_gateway(at->url, true, false, &gateway, &err) == KEEP_OK) {
			opened++;
			for (unsigned i = 0; i < 4; i++)
				if (ledger_put(gateway, &book, i % LEDGER_CHATS, 5000, &err) !=
				    KEEP_OK)
					WANT_STATUS(err.status, KEEP_FULL);
		} else {
			full++;
			WANT_STATUS(err.status, KEEP_FULL);
		}
		keep_gateway_close(&gateway);
		drop_ballast(&at->folder);
		gateway = open_gateway(at->url, true);
		ledger_expect(gateway, &book, 0, "opened again");
		WANT_OK(ledger_put_all(gateway, &book, 100, &err));
		ledger_expect(gateway, &book, 0, "and written");
		keep_gateway_close(&gateway);
		WANT(umount(at->folder.path) == 0, "%s", strerror(errno));
		WANT(mount("keep", at->folder.path, "tmpfs", 0, "size=4m") == 0, "%s",
		     strerror(errno));
	}
	WANT(opened > 0 && full > 0, "opened %u times, FULL %u times", opened, full);
}

static void a_gateway_that_does_not_fit_is_FULL_and_can_be_made_later(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(begin_on_a_nearly_full_disk, &at);
	gateway_place_remove(&at);
}

/* ---------------------------------------------------------------- descriptors */

#define WITHOUT_DESCRIPTORS (MAY(KEEP_FULL) | MAY(KEEP_UNAVAILABLE))

static void use_without_descriptors(keep_gateway *gateway, ledger *book, int more)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;
	bool there = false;
	char when[60];
	struct {
		const char *call;
		keep_status status;
	} done[5];

	snprintf(when, sizeof when, "with %d descriptors left", more);
	ledger_expect(gateway, book, WITHOUT_DESCRIPTORS, when);
	done[0].call = "put", done[0].status = ledger_put(gateway, book, 1, 500, &err);
	done[1].call = "batch", done[1].status = ledger_put_all(gateway, book, 500, &err);
	done[2].call = "advance", done[2].status = ledger_advance(gateway, book, 0, &err);
	done[3].call = "wait";
	done[3].status = keep_gateway_wait(gateway, LEDGER_CONSUMER, 5, &there, &err);
	done[4].call = "claim";
	done[4].status = keep_gateway_claim_deliveries(gateway, (keep_bytes){0}, 0, 0, KEEP_NOW,
						       &memory, &list, &err);
	for (size_t i = 0; i < KP_COUNT(done); i++)
		WANT(done[i].status == KEEP_OK || WITHOUT_DESCRIPTORS & MAY(done[i].status),
		     "%s, %s: %s", done[i].call, when, keep_status_name(done[i].status));
	keep_memory_release(&memory);
	ledger_expect(gateway, book, WITHOUT_DESCRIPTORS, when);
}

static void live_without_descriptors(void *ctx)
{
	const char *url = ctx;
	keep_error err = KEEP_ERROR_INIT;
	static ledger book;
	keep_gateway *gateway = open_gateway(url, true);
	int opened = 0;

	WANT_OK(ledger_put_all(gateway, &book, 300, &err));
	WANT_OK(ledger_advance(gateway, &book, 0, &err));
	for (int more = 0; more < 24; more++) {
		keep_gateway *second = NULL;

		limit_descriptors(more);
		use_without_descriptors(gateway, &book, more);
		if (try_gateway(url, false, false, &second, &err) == KEEP_OK) {
			use_without_descriptors(second, &book, more);
			opened++;
		} else {
			WANT(WITHOUT_DESCRIPTORS & MAY(err.status), "open with %d left: %s: %s",
			     more, keep_status_name(err.status), err.message);
		}
		limit_descriptors(-1);
		if (second)
			ledger_expect(second, &book, 0, "with descriptors again");
		keep_gateway_close(&second);
		ledger_expect(gateway, &book, 0, "with descriptors again");
		WANT_OK(ledger_put(gateway, &book, 2, 40, &err));
		/* A new one, with no connection made before. */
		keep_gateway_close(&gateway);
		gateway = open_gateway(url, false);
	}
	WANT(opened > 0 && opened < 24, "opened %d of 24 times: nothing was tried", opened);
	keep_gateway_close(&gateway);
}

static void without_descriptors_nothing_looks_missing(void **state)
{
	char url[GATEWAY_URL_MAX];

	(void)state;
	gateway_next_url(url);
	in_child(live_without_descriptors, url);
}

/* ---------------------------------------------------------------- read-only */

static void every_change_is(keep_gateway *gateway, ledger *book, keep_status wanted)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;
	char jid[40];

	for (unsigned i = 0; i < 3; i++) {
		WANT_STATUS(ledger_put(gateway, book, 1, 20, &err), wanted);
		WANT_STATUS(ledger_put_all(gateway, book, 20, &err), wanted);
		WANT_STATUS(keep_gateway_advance(gateway, LEDGER_CONSUMER, ledger_jid(1, jid), 1,
						 NULL, &err),
			    wanted);
		WANT_STATUS(keep_gateway_claim_deliveries(gateway, (keep_bytes){0}, 0, 0, KEEP_NOW,
							  &memory, &list, &err),
			    wanted);
		WANT_STATUS(keep_gateway_mark_errored(gateway, ledger_jid(1, jid), &err), wanted);
		WANT_STATUS(
			keep_gateway_set_state(gateway, KEEP_BYTES("key"), KEEP_BYTES("x"), &err),
			wanted);
	}
	keep_memory_release(&memory);
}

/* Keeps the store open in a process of its own: SQLite's -wal and -shm are there while it lives. It
   ends with the process that asked for it, whose end of a pipe closes then. */
static void hold_open(const gateway_place *at)
{
	int ready[2], alive[2];
	char byte;

	WANT(pipe(ready) == 0 && pipe(alive) == 0, "pipe");
	if (fork() == 0) {
		keep_gateway *gateway = open_gateway(at->url, false);
		ledger first = {.count = {1}};
		keep_error err = KEEP_ERROR_INIT;

		close(alive[1]);
		if (ledger_advance(gateway, &first, 0, &err) != KEEP_OK ||
		    write(ready[1], "", 1) != 1 || read(alive[0], &byte, 1) != 0)
			_exit(1);
		_exit(0);
	}
	close(ready[1]);
	close(alive[0]);
	WANT(read(ready[0], &byte, 1) == 1, "the holder did not open the store");
	close(ready[0]);
}

static void live_in_a_read_only_folder(void *ctx)
{
	const gateway_place *at = ctx;
	keep_gateway *gateway = open_gateway(at->url, true);
	keep_error err = KEEP_ERROR_INIT;
	static ledger book;

	WANT_OK(ledger_put_all(gateway, &book, 300, &err));
	book.cursor[0] = 1; /* the holder's doing */
	keep_gateway_close(&gateway);
	hold_open(at);
	set_modes(at->folder.path, 0444);
	drop_root();
	WANT_STATUS(try_gateway(at->url, false, false, &gateway, &err), KEEP_DENIED);
	WANT_STATUS(try_gateway(at->url, true, false, &gateway, &err), KEEP_DENIED);
	WANT_OK(try_gateway(at->url, false, true, &gateway, &err));
	ledger_expect(gateway, &book, 0, "read only");
	every_change_is(gateway, &book, KEEP_DENIED);
	ledger_expect(gateway, &book, 0, "after changes that were denied");
	keep_gateway_close(&gateway);
}

static void a_read_only_folder_is_DENIED_to_changes_and_can_be_read(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(live_in_a_read_only_folder, &at);
	(void)chmod(at.folder.path, 0700);
	gateway_place_remove(&at);
}

/* The folder may be written, the file not. */
static void live_in_a_read_only_file(void *ctx)
{
	const gateway_place *at = ctx;
	keep_gateway *gateway = open_gateway(at->url, true);
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer before = KEEP_BUFFER_INIT;
	static ledger book;

	WANT_OK(ledger_put_all(gateway, &book, 300, &err));
	keep_gateway_close(&gateway);
	read_file(at->store, &before);
	set_modes(at->folder.path, 0666);
	WANT(chmod(at->folder.path, 0777) == 0 && chmod(at->store, 0444) == 0, "chmod");
	drop_root();
	WANT_STATUS(try_gateway(at->url, false, false, &gateway, &err), KEEP_DENIED);
	WANT_STATUS(try_gateway(at->url, true, false, &gateway, &err), KEEP_DENIED);
	if (try_gateway(at->url, false, true, &gateway, &err) == KEEP_OK) {
		ledger_expect(gateway, &book, 0, "read only");
		every_change_is(gateway, &book, KEEP_DENIED);
	} else {
		WANT(MAY(err.status) & (MAY(KEEP_DENIED) | MAY(KEEP_UNAVAILABLE)), "%s: %s",
		     keep_status_name(err.status), err.message);
	}
	keep_gateway_close(&gateway);
	want_file(at->store, &before, "after the refusals");
	keep_buffer_release(&before);
}

static void a_read_only_file_is_DENIED_to_changes(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(live_in_a_read_only_file, &at);
	(void)chmod(at.folder.path, 0700);
	gateway_place_remove(&at);
}

/* ---------------------------------------------------------------- deleted and replaced */

static void rename_store(const gateway_place *at, const char *suffix_from, const char *suffix_to)
{
	static const char *const beside[] = {"", "-wal", "-shm"};
	char from[160], to[160];

	for (size_t i = 0; i < KP_COUNT(beside); i++) {
		snprintf(from, sizeof from, "%s%s%s", at->store, suffix_from, beside[i]);
		snprintf(to, sizeof to, "%s%s%s", at->store, suffix_to, beside[i]);
		WANT(rename(from, to) == 0 || i > 0, "%s: %s", from, strerror(errno));
	}
}

/* Until 100 ms after `since_ns` a read may still be right; one that begins later is UNAVAILABLE. */
static void reads_become_unavailable(keep_gateway *gateway, const ledger *book, int64_t since_ns)
{
	unsigned failed;
	int64_t begun_ns;

	do {
		begun_ns = kp_monotonic_ns();
		failed = ledger_expect(gateway, book, MAY(KEEP_UNAVAILABLE), "of what is gone");
	} while (begun_ns < since_ns + 100 * INT64_C(1000000));
	WANT(failed == LEDGER_CALLS, "100 ms later %u of %u reads were unavailable", failed,
	     LEDGER_CALLS);
}

static keep_gateway *open_with_messages(const gateway_place *at, ledger *book)
{
	const keep_message answer = {.chat_jid = KEEP_BYTES("out:1"),
				     .id = KEEP_BYTES("due"),
				     .content = KEEP_BYTES("due")};
	keep_gateway *gateway = open_gateway(at->url, true);
	keep_error err = KEEP_ERROR_INIT;

	/* A claim that finds nothing is a read; this one finds something. */
	WANT_OK(keep_gateway_put_outbound(gateway, &answer, NULL, NULL, &err));

	for (int i = 0; i < 3; i++)
		WANT_OK(ledger_put_all(gateway, book, 300, &err));
	WANT_OK(ledger_advance(gateway, book, 1, &err));
	ledger_expect(gateway, book, 0, "before");
	return gateway;
}

static void want_a_wait_to_fail(keep_gateway *gateway)
{
	keep_error err = KEEP_ERROR_INIT;
	bool pending = false;

	WANT_STATUS(keep_gateway_wait(gateway, LEDGER_CONSUMER, -1, &pending, &err),
		    KEEP_UNAVAILABLE);
}

static void lose_the_store(void *ctx)
{
	const gateway_place *at = ctx;
	keep_error err = KEEP_ERROR_INIT;
	static ledger book;
	keep_gateway *gateway = open_with_messages(at, &book), *other = NULL;
	int64_t since_ns;

	WANT(unlink(at->store) == 0, "remove");
	since_ns = kp_monotonic_ns();
	every_change_is(gateway, &book, KEEP_UNAVAILABLE);
	reads_become_unavailable(gateway, &book, since_ns);
	want_a_wait_to_fail(gateway);
	WANT(access(at->store, F_OK) != 0, "a deleted store came back by itself");
	keep_gateway_close(&gateway);
	WANT_STATUS(try_gateway(at->url, false, false, &other, &err), KEEP_NOT_FOUND);
}

static void a_deleted_file_is_UNAVAILABLE(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(lose_the_store, &at);
	gateway_place_remove(&at);
}

/* Another store takes the place of the one that is open; then the right one comes back. */
static void swap_the_store(void *ctx)
{
	const gateway_place *at = ctx;
	keep_error err = KEEP_ERROR_INIT;
	static ledger book, others;
	keep_gateway *gateway, *other;
	int64_t since_ns;

	gateway = open_with_messages(at, &others);
	WANT_OK(ledger_put(gateway, &others, 2, 700, &err));
	keep_gateway_close(&gateway);
	rename_store(at, "", "-other");
	gateway = open_with_messages(at, &book);
	rename_store(at, "", "-away");
	rename_store(at, "-other", "");
	since_ns = kp_monotonic_ns();
	every_change_is(gateway, &book, KEEP_UNAVAILABLE);
	reads_become_unavailable(gateway, &book, since_ns);
	want_a_wait_to_fail(gateway);
	other = open_gateway(at->url, false);
	ledger_expect(other, &others, 0, "the other store");
	keep_gateway_close(&other);
	keep_gateway_close(&gateway);
	rename_store(at, "", "-other");
	rename_store(at, "-away", "");
	gateway = open_gateway(at->url, false);
	ledger_expect(gateway, &book, 0, "the right store");
	keep_gateway_close(&gateway);
}

static void a_replaced_file_is_UNAVAILABLE_and_neither_is_harmed(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(swap_the_store, &at);
	gateway_place_remove(&at);
}

/* ---------------------------------------------------------------- the program */

#define RUN(list) cmocka_run_group_tests(list, NULL, NULL)

static int run_local(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_disk_is_FULL_and_goes_on_when_there_is_space),
		cmocka_unit_test(a_disk_that_fills_up_in_the_middle_leaves_nothing_half_done),
		cmocka_unit_test(an_adoption_that_does_not_fit_takes_nothing),
		cmocka_unit_test(a_gateway_that_does_not_fit_is_FULL_and_can_be_made_later),
		cmocka_unit_test(a_read_only_folder_is_DENIED_to_changes_and_can_be_read),
		cmocka_unit_test(a_read_only_file_is_DENIED_to_changes),
		cmocka_unit_test(a_deleted_file_is_UNAVAILABLE),
		cmocka_unit_test(a_replaced_file_is_UNAVAILABLE_and_neither_is_harmed),
		cmocka_unit_test(garbage_is_CORRUPT_and_left_alone),
		cmocka_unit_test(a_file_cut_short_is_CORRUPT_and_left_alone),
		cmocka_unit_test(a_flipped_byte_gets_an_answer),
		cmocka_unit_test(another_programs_tables_are_a_CONFLICT_and_stay),
		cmocka_unit_test(harmed_sidecars_are_repaired),
	};

	return RUN(tests);
}

static int run_server(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_killed_in_a_burst_of_puts_loses_nothing),
		cmocka_unit_test(waits_come_back_after_a_restart),
		cmocka_unit_test(a_stopped_server_holds_no_call_beyond_its_time_limit),
		cmocka_unit_test(a_dropped_schema_is_told_and_can_be_made_again),
		cmocka_unit_test(a_role_without_rights_is_DENIED),
		cmocka_unit_test(a_server_without_free_connections_is_told),
	};

	return RUN(tests);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest both[] = {
		cmocka_unit_test(without_descriptors_nothing_looks_missing),
		cmocka_unit_test(a_damaged_message_holds_up_its_own_chat_alone),
		cmocka_unit_test(damaged_chats_in_front_starve_nobody),
		cmocka_unit_test(a_damaged_cursor_holds_up_its_own_chat_alone),
		cmocka_unit_test(a_damaged_delivery_is_failed_and_the_others_go_out),
		cmocka_unit_test(a_queue_without_a_delivery_is_removed),
		cmocka_unit_test(a_damaged_task_is_failed_and_the_others_fire),
		cmocka_unit_test(a_damaged_chat_takes_nothing_and_the_others_do),
		cmocka_unit_test(damaged_rows_of_other_tables_name_themselves),
	};
	int failed;

	signal(SIGPIPE, SIG_IGN);
	gateway_begin(argc, argv);
	failed = RUN(both);
	failed += gateway_is_file() ? run_local() : run_server();
	gateway_end();
	return failed;
}
