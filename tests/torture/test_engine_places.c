/*
 * test_engine_places.c - places that fail: a full disk, no descriptors left, a read-only folder, a
 * deleted file, garbage, a server that goes away.
 *
 *     test_engine_places KIND
 *
 * Whatever happens, the status is true and the old values stay: FULL is said of a full disk and a
 * later set works again, DENIED of a folder that may not be written, UNAVAILABLE of what is gone,
 * CORRUPT of what is damaged. A failure never looks like a missing document or an empty list.
 *
 * The full disk is a tmpfs in a mount namespace of the child's own. A machine that refuses that
 * fails the test: it did not ask its question.
 */
#include "engine_places.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { DISK_KIB = 2048, BALLAST_KIB = 256 };

/* ---------------------------------------------------------------- a small disk */

/* Set documents of falling size until not the smallest one fits. Only FULL may stop it. */
static void fill(keep_engine *engine, documents *docs)
{
	static const size_t sizes[] = {20000, 3000, 100};
	keep_error err = KEEP_ERROR_INIT;

	for (size_t i = 0; i < KP_COUNT(sizes); i++) {
		keep_status status;

		do
			status = documents_set(engine, docs, docs->count, sizes[i], &err);
		while (status == KEEP_OK);
		WANT_STATUS(status, KEEP_FULL);
	}
}

static void try_everything_on_the_full_disk(keep_engine *engine, documents *docs)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	for (unsigned i = 0; i < 8; i++) {
		WANT_STATUS(documents_set(engine, docs, i, 60000, &err), KEEP_FULL);
		WANT_STATUS(documents_set(engine, docs, docs->count, 20000, &err), KEEP_FULL);
	}
	documents_expect(engine, docs, 0, "after overwrites that failed");
	/* Over present ones and new ones. */
	WANT_STATUS(documents_batch(engine, docs, docs->count - 12, 16, 20000, &err), KEEP_FULL);
	documents_expect(engine, docs, 0, "after a batch that failed");
	status = keep_engine_clear(engine, &err);
	if (status == KEEP_OK)
		memset(docs->version, 0, sizeof docs->version);
	else
		WANT_STATUS(status, KEEP_FULL);
	documents_expect(engine, docs, 0, "after a clear");
}

static void live_on_a_full_disk(void *ctx)
{
	const place *at = ctx;
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0};
	keep_engine *engine;
	keep_status status;

	mount_disk(at->folder.path, DISK_KIB);
	engine = open_store(at->url, true);
	put_ballast(&at->folder, BALLAST_KIB);
	fill(engine, &docs);
	documents_expect(engine, &docs, 0, "on the full disk");

	status = documents_unset(engine, &docs, 1, &err);
	if (status != KEEP_OK)
		WANT_STATUS(status, KEEP_FULL);
	documents_expect(engine, &docs, 0, "after an unset");
	if (status == KEEP_OK)
		WANT_OK(documents_set(engine, &docs, docs.count, 10000, &err));
	fill(engine, &docs);
	documents_expect(engine, &docs, 0, "full again");

	drop_ballast(&at->folder);
	for (unsigned i = 2; i < 6; i++)
		WANT_OK(documents_set(engine, &docs, i, 22000, &err));
	documents_expect(engine, &docs, 0, "with space again");
	fill(engine, &docs);
	try_everything_on_the_full_disk(engine, &docs);
	keep_engine_close(&engine);

	status = try_open(at->url, false, false, &engine, &err);
	if (status == KEEP_OK)
		documents_expect(engine, &docs, 0, "opened again on the full disk");
	else
		WANT_STATUS(status, KEEP_FULL);
	keep_engine_close(&engine);
	WANT(mount(NULL, at->folder.path, NULL, MS_REMOUNT, "size=8m") == 0, "%s", strerror(errno));
	engine = open_store(at->url, false);
	documents_expect(engine, &docs, 0, "opened again");
	WANT_OK(documents_set(engine, &docs, 3, 30000, &err));
	documents_expect(engine, &docs, 0, "and written");
	keep_engine_close(&engine);
}

static void a_full_disk_is_FULL_and_takes_no_old_value(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(live_on_a_full_disk, &at);
	place_remove(&at);
}

/* A store is made and used with ever more space, 4 KiB at a time, so that each thing it makes is
   once the one that does not fit. */
static void begin_on_a_nearly_full_disk(void *ctx)
{
	const place *at = ctx;
	keep_error err = KEEP_ERROR_INIT;
	unsigned opened = 0;

	mount_disk(at->folder.path, DISK_KIB);
	for (int kib = 0; kib < 640; kib += 4) {
		documents docs = {0};
		keep_engine *engine = NULL;
		place inner = *at;

		snprintf(inner.url + strlen(inner.url), 20, "-%d", kib);
		put_ballast(&at->folder, -1);
		cut_ballast(&at->folder, kib);
		if (try_open(inner.url, true, false, &engine, &err) == KEEP_OK) {
			opened++;
			for (unsigned i = 0; i < 4; i++)
				if (documents_set(engine, &docs, i, 5000, &err) != KEEP_OK)
					WANT_STATUS(err.status, KEEP_FULL);
			documents_expect(engine, &docs, 0, "beside no space");
		} else {
			WANT_STATUS(err.status, KEEP_FULL);
		}
		keep_engine_close(&engine);
		drop_ballast(&at->folder);
		engine = open_store(inner.url, true);
		documents_expect(engine, &docs, 0, "opened again");
		WANT_OK(documents_set(engine, &docs, 1, 100, &err));
		WANT_OK(keep_engine_clear(engine, &err));
		keep_engine_close(&engine);
		WANT(umount(at->folder.path) == 0, "%s", strerror(errno));
		WANT(mount("keep", at->folder.path, "tmpfs", 0, "size=2m") == 0, "%s",
		     strerror(errno));
	}
	WANT(opened > 0, "640 KiB are not enough for a store");
}

static void a_store_that_does_not_fit_is_FULL_and_can_be_made_later(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(begin_on_a_nearly_full_disk, &at);
	place_remove(&at);
}

/* ---------------------------------------------------------------- descriptors */

#define WITHOUT_DESCRIPTORS (MAY(KEEP_FULL) | MAY(KEEP_UNAVAILABLE))

static void use_without_descriptors(keep_engine *engine, documents *docs, int more)
{
	keep_engine_watch *watch = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char when[60];
	keep_status status;

	snprintf(when, sizeof when, "with %d descriptors left", more);
	documents_expect(engine, docs, WITHOUT_DESCRIPTORS, when);
	status = keep_engine_watch_open(engine, keep_bytes_of("room"), &watch, &err);
	WANT(status == KEEP_OK || WITHOUT_DESCRIPTORS & MAY(status), "watch, %s: %s", when,
	     err.message);
	status = documents_set(engine, docs, (unsigned)more % 10, 500, &err);
	WANT(status == KEEP_OK || WITHOUT_DESCRIPTORS & MAY(status), "set, %s: %s: %s", when,
	     keep_status_name(status), err.message);
	status = documents_batch(engine, docs, 4, 3, 500, &err);
	WANT(status == KEEP_OK || WITHOUT_DESCRIPTORS & MAY(status), "batch, %s: %s: %s", when,
	     keep_status_name(status), err.message);
	documents_expect(engine, docs, WITHOUT_DESCRIPTORS, when);
	keep_engine_watch_close(&watch);
}

static void live_without_descriptors(void *ctx)
{
	const place *at = ctx;
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0};
	keep_engine *engine = open_store(at->url, true);
	int opened = 0;

	for (unsigned i = 0; i < 10; i++)
		WANT_OK(documents_set(engine, &docs, i, 300, &err));
	for (int more = 0; more < 24; more++) {
		keep_engine *second = NULL;

		limit_descriptors(more);
		use_without_descriptors(engine, &docs, more);
		if (try_open(at->url, false, false, &second, &err) == KEEP_OK) {
			use_without_descriptors(second, &docs, more);
			opened++;
		} else {
			WANT(WITHOUT_DESCRIPTORS & MAY(err.status), "open with %d left: %s: %s",
			     more, keep_status_name(err.status), err.message);
		}
		limit_descriptors(-1);
		if (second)
			documents_expect(second, &docs, 0, "with descriptors again");
		keep_engine_close(&second);
		documents_expect(engine, &docs, 0, "with descriptors again");
		WANT_OK(documents_set(engine, &docs, 3, 40, &err));
		/* A new one, with no connection made before. */
		keep_engine_close(&engine);
		engine = open_store(at->url, false);
	}
	WANT(opened > 0 && opened < 24, "opened %d of 24 times: nothing was tried", opened);
	keep_engine_close(&engine);
}

static void without_descriptors_nothing_looks_missing(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(live_without_descriptors, &at);
	place_remove(&at);
}

/* ---------------------------------------------------------------- read-only */

static void every_change_is_denied(keep_engine *engine, documents *docs)
{
	keep_error err = KEEP_ERROR_INIT;
	char room[40];

	WANT_STATUS(documents_set(engine, docs, 1, 20, &err), KEEP_DENIED);
	WANT_STATUS(documents_set(engine, docs, 9, 20, &err), KEEP_DENIED);
	WANT_STATUS(documents_unset(engine, docs, 1, &err), KEEP_DENIED);
	WANT_STATUS(documents_batch(engine, docs, 2, 3, 20, &err), KEEP_DENIED);
	WANT_STATUS(keep_engine_clear(engine, &err), KEEP_DENIED);
	WANT_STATUS(keep_engine_compare_and_set(engine, document_path(8, room), (keep_bytes){0},
						KEEP_BYTES("x"), &err),
		    KEEP_DENIED);
}

/* Keeps the store open in a process of its own: SQLite's -wal and -shm are there while it lives. It
   ends with the process that asked for it, whose end of a pipe closes then. */
static void hold_open(const place *at)
{
	int ready[2], alive[2];
	char byte;

	WANT(pipe(ready) == 0 && pipe(alive) == 0, "pipe");
	if (fork() == 0) {
		keep_engine *engine = open_store(at->url, false);
		keep_engine_list list = KEEP_ENGINE_LIST_INIT;

		close(alive[1]);
		if (keep_engine_list_values(engine, keep_bytes_of("room"), 0, 1, &list, NULL) ||
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
	const place *at = ctx;
	keep_engine *engine = open_store(at->url, true);
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0};

	for (unsigned i = 0; i < 6; i++)
		WANT_OK(documents_set(engine, &docs, i, 300, &err));
	keep_engine_close(&engine);
	hold_open(at);
	set_modes(at->folder.path, 0444);
	drop_root();
	WANT_STATUS(try_open(at->url, false, false, &engine, &err), KEEP_DENIED);
	WANT_STATUS(try_open(at->url, true, false, &engine, &err), KEEP_DENIED);
	WANT_OK(try_open(at->url, false, true, &engine, &err));
	documents_expect(engine, &docs, 0, "read only");
	every_change_is_denied(engine, &docs);
	documents_expect(engine, &docs, 0, "after changes that were denied");
	keep_engine_close(&engine);
}

static void a_read_only_folder_is_DENIED_to_changes_and_can_be_read(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(live_in_a_read_only_folder, &at);
	(void)chmod(at.folder.path, 0700);
	if (!places_is_sqlite())
		set_modes(at.folder.path, 0700);
	place_remove(&at);
}

/* A SQLite store that nobody has open cannot be read where its -shm cannot be made. */
static void read_a_closed_database(void *ctx)
{
	const place *at = ctx;
	keep_engine *engine = open_store(at->url, true);
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0};
	keep_status status;

	WANT_OK(documents_set(engine, &docs, 0, 300, &err));
	keep_engine_close(&engine);
	set_modes(at->folder.path, 0444);
	drop_root();
	status = try_open(at->url, false, true, &engine, &err);
	if (status == KEEP_OK)
		documents_expect(engine, &docs, 0, "read only");
	else
		WANT(status == KEEP_DENIED || status == KEEP_UNAVAILABLE, "%s: %s",
		     keep_status_name(status), err.message);
	keep_engine_close(&engine);
}

static void a_closed_database_in_a_read_only_folder_gets_a_true_status(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(read_a_closed_database, &at);
	(void)chmod(at.folder.path, 0700);
	place_remove(&at);
}

/* The folders lose their write bits under an open store, and get them back. */
static void lose_the_right_to_write(void *ctx)
{
	place *at = ctx;
	keep_engine *engine;
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0};

	WANT(chmod(at->folder.path, 0777) == 0, "chmod");
	drop_root();
	engine = open_store(at->url, true);
	for (unsigned i = 0; i < 6; i++)
		WANT_OK(documents_set(engine, &docs, i, 300, &err));
	set_modes(at->store, 0444);
	WANT_STATUS(documents_set(engine, &docs, 1, 20, &err), KEEP_DENIED);
	WANT_STATUS(documents_set(engine, &docs, 9, 20, &err), KEEP_DENIED);
	WANT_STATUS(documents_batch(engine, &docs, 2, 3, 20, &err), KEEP_DENIED);
	WANT_STATUS(documents_unset(engine, &docs, 1, &err), KEEP_DENIED);
	documents_expect(engine, &docs, 0, "after changes that were denied");
	set_modes(at->store, 0644);
	WANT_OK(documents_set(engine, &docs, 1, 20, &err));
	WANT_OK(documents_unset(engine, &docs, 2, &err));
	documents_expect(engine, &docs, 0, "with the right to write again");
	keep_engine_close(&engine);
}

static void a_folder_that_becomes_read_only_under_an_open_store_is_DENIED(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(lose_the_right_to_write, &at);
	place_remove(&at);
}

/* ---------------------------------------------------------------- deleted and replaced */

static void rename_store(const place *at, const char *suffix_from, const char *suffix_to)
{
	static const char *const beside[] = {"", "-wal", "-shm"};
	size_t names = places_is_sqlite() ? KP_COUNT(beside) : 1;
	char from[160], to[160];

	for (size_t i = 0; i < names; i++) {
		snprintf(from, sizeof from, "%s%s%s", at->store, suffix_from, beside[i]);
		snprintf(to, sizeof to, "%s%s%s", at->store, suffix_to, beside[i]);
		WANT(rename(from, to) == 0 || i > 0, "%s: %s", from, strerror(errno));
	}
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st, (void)type, (void)where;
	return remove(path);
}

static void every_change_is_unavailable(keep_engine *engine, documents *docs)
{
	keep_error err = KEEP_ERROR_INIT;
	char room[40];

	for (unsigned i = 0; i < 3; i++) {
		WANT_STATUS(documents_set(engine, docs, i, 20, &err), KEEP_UNAVAILABLE);
		WANT_STATUS(documents_set(engine, docs, 9, 20, &err), KEEP_UNAVAILABLE);
		WANT_STATUS(documents_unset(engine, docs, 1, &err), KEEP_UNAVAILABLE);
		WANT_STATUS(documents_unset(engine, docs, 11, &err), KEEP_UNAVAILABLE);
		WANT_STATUS(documents_batch(engine, docs, 2, 3, 20, &err), KEEP_UNAVAILABLE);
		WANT_STATUS(keep_engine_compare_and_set(engine, document_path(8, room),
							(keep_bytes){0}, KEEP_BYTES("x"), &err),
			    KEEP_UNAVAILABLE);
		WANT_STATUS(keep_engine_clear(engine, &err), KEEP_UNAVAILABLE);
	}
}

/* Until 100 ms after `since_ns` a read may still be right; one that begins later is
   UNAVAILABLE. It is never wrong: no document of the store is missing. */
static void reads_become_unavailable(keep_engine *engine, const documents *docs, int64_t since_ns)
{
	unsigned calls = docs->count + 3;
	int64_t begun_ns;

	do {
		begun_ns = kp_monotonic_ns();
		calls = documents_expect(engine, docs, MAY(KEEP_UNAVAILABLE), "of what is gone");
	} while (begun_ns < since_ns + 100 * INT64_C(1000000));
	WANT(calls == docs->count + 3, "100 ms later %u of %u reads were unavailable", calls,
	     docs->count + 3);
}

static keep_engine *open_with_documents(const place *at, documents *docs)
{
	keep_engine *engine = open_store(at->url, true);
	keep_error err = KEEP_ERROR_INIT;

	for (unsigned i = 0; i < 6; i++)
		WANT_OK(documents_set(engine, docs, i, 300, &err));
	documents_expect(engine, docs, 0, "before");
	return engine;
}

static void lose_the_store(void *ctx)
{
	const place *at = ctx;
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0};
	keep_engine *engine = open_with_documents(at, &docs), *other = NULL;
	int64_t since_ns;

	WANT(nftw(at->store, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0, "remove");
	since_ns = kp_monotonic_ns();
	every_change_is_unavailable(engine, &docs);
	reads_become_unavailable(engine, &docs, since_ns);
	every_change_is_unavailable(engine, &docs);
	WANT(access(at->store, F_OK) != 0, "a deleted store came back by itself");
	keep_engine_close(&engine);
	WANT_STATUS(try_open(at->url, false, false, &other, &err), KEEP_NOT_FOUND);
}

static void a_deleted_store_is_UNAVAILABLE(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(lose_the_store, &at);
	place_remove(&at);
}

/* Another store takes the place of the one that is open; then the right one comes back. */
static void swap_the_store(void *ctx)
{
	const place *at = ctx;
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0}, others = {0};
	keep_engine *engine, *other;
	int64_t since_ns;

	engine = open_with_documents(at, &others);
	WANT_OK(documents_set(engine, &others, 10, 700, &err));
	keep_engine_close(&engine);
	rename_store(at, "", "-other");
	engine = open_with_documents(at, &docs);
	rename_store(at, "", "-away");
	rename_store(at, "-other", "");
	since_ns = kp_monotonic_ns();
	every_change_is_unavailable(engine, &docs);
	reads_become_unavailable(engine, &docs, since_ns);
	every_change_is_unavailable(engine, &docs);
	other = open_store(at->url, false);
	documents_expect(other, &others, 0, "the other store");
	keep_engine_close(&other);
	keep_engine_close(&engine);
	rename_store(at, "", "-other");
	rename_store(at, "-away", "");
	engine = open_store(at->url, false);
	documents_expect(engine, &docs, 0, "the right store");
	keep_engine_close(&engine);
}

static void a_replaced_store_is_UNAVAILABLE_and_neither_is_harmed(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(swap_the_store, &at);
	place_remove(&at);
}

/* ---------------------------------------------------------------- the program */

#define RUN(list) cmocka_run_group_tests(list, NULL, NULL)

static int run_local(void)
{
	const struct CMUnitTest both[] = {
		cmocka_unit_test(a_full_disk_is_FULL_and_takes_no_old_value),
		cmocka_unit_test(a_store_that_does_not_fit_is_FULL_and_can_be_made_later),
		cmocka_unit_test(without_descriptors_nothing_looks_missing),
		cmocka_unit_test(a_read_only_folder_is_DENIED_to_changes_and_can_be_read),
		cmocka_unit_test(a_deleted_store_is_UNAVAILABLE),
		cmocka_unit_test(a_replaced_store_is_UNAVAILABLE_and_neither_is_harmed),
		cmocka_unit_test(garbage_in_a_sidecar_is_repaired),
	};
	const struct CMUnitTest sqlite[] = {
		cmocka_unit_test(a_closed_database_in_a_read_only_folder_gets_a_true_status),
		cmocka_unit_test(garbage_instead_of_a_database_is_refused_and_left_alone),
		cmocka_unit_test(a_database_cut_short_never_answers_wrongly),
		cmocka_unit_test(a_flipped_byte_is_survived),
		cmocka_unit_test(another_programs_database_is_kept_whole),
		cmocka_unit_test(a_newer_schema_is_refused_and_left_alone),
	};
	const struct CMUnitTest file[] = {
		cmocka_unit_test(a_folder_that_becomes_read_only_under_an_open_store_is_DENIED),
		cmocka_unit_test(any_bytes_of_a_document_file_are_its_value),
	};
	int failed = RUN(both);

	return failed + (places_is_sqlite() ? RUN(sqlite) : RUN(file));
}

static int run_server(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_descriptors_nothing_looks_missing),
		cmocka_unit_test(a_server_killed_while_idle_is_found_again),
		cmocka_unit_test(a_killed_server_loses_nothing_acknowledged),
		cmocka_unit_test(a_stopped_server_does_not_hold_a_call_beyond_its_time_limit),
		cmocka_unit_test(a_server_that_refuses_is_denied_or_unavailable),
	};

	return RUN(tests);
}

int main(int argc, char **argv)
{
	int failed;

	if (argc != 2)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	engine_urls_begin(argv[1], &places_kind);
	failed = places_kind.is_file ? run_local() : run_server();
	engine_urls_end();
	return failed;
}
