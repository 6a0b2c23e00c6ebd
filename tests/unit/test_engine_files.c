/*
 * test_engine_files.c - what only file: can do wrong: its layout, other programs' files, leftovers,
 * damaged helpers, limits of the process and of the disk.
 *
 * The contract itself is in tests/contract; what a kill leaves is in tests/crash.
 */
#include "engine_files_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---------------------------------------------------------------- layout */

static void a_store_of_the_source_project_is_read_as_it_is(void **state)
{
	fixture *at = *state;

	write_as_source(at, "chat/1@s.whatsapp.net", "one", 1000);
	write_as_source(at, "chat/2@g.us", "two", 3000);
	write_as_source(at, "chat/3", "three", 2000);
	write_as_source(at, "chat/2@g.us/message/A::0", "a", 500);
	CHECK(mkdir(path_in(at, "chat/empty"), 0755) == 0, "mkdir");
	write_file(at, "chat/README", "not a child", 11);
	want_children(at, "chat", "two three one");
	want(at, "chat/2@g.us/message/A::0", "a");
	want(at, "chat/empty", NULL);
	want(at, "chat/README", NULL);
	put(at, "chat/1@s.whatsapp.net", "uno");
	want_children(at, "chat", "uno two three");
}

static void documents_with_one_mtime_are_listed_by_name(void **state)
{
	fixture *at = *state;

	write_as_source(at, "t/c", "c", 4000);
	write_as_source(at, "t/B", "B", 4000);
	write_as_source(at, "t/10", "10", 4000);
	write_as_source(at, "t/9", "9", 4000);
	want_children(at, "t", "10 9 B c");
}

static void what_is_written_lies_where_the_source_project_looks(void **state)
{
	fixture *at = *state;
	struct stat first, second;
	char value[TEXT_MAX];

	put(at, "session/creds", "secret");
	put(at, "chat/a", "old");
	put(at, "chat/b", "new");
	read_by_hand(at, "session/creds/index.json", value);
	assert_string_equal(value, "secret");
	CHECK(stat(path_in(at, "chat/a/index.json"), &first) == 0, "stat");
	CHECK(stat(path_in(at, "chat/b/index.json"), &second) == 0, "stat");
	CHECK(kp_files_mtime(&first) < kp_files_mtime(&second), "the order is not in the mtimes");
	assert_int_equal(first.st_mode & 0777, 0600);
	assert_int_equal(entries_in(at, "chat"), 2);
	CHECK(!exists(at, ".keep/index.json"), "our own folder looks like a child");
}

static void a_later_change_by_another_program_is_seen_when_the_folder_changes(void **state)
{
	fixture *at = *state;

	put(at, "c/a", "a");
	want_children(at, "c", "a");
	write_as_source(at, "c/b", "b", 0);
	want_children(at, "c", "b a");
	reopen(at);
	write_as_source(at, "c/a", "A", 4102444800000);
	want_children(at, "c", "A b");
	put(at, "c/b", "B");
	want_children(at, "c", "B A");
}

static void a_listed_file_that_was_overwritten_in_place_is_looked_at_again(void **state)
{
	fixture *at = *state;

	put(at, "c/a", "a");
	put(at, "c/b", "b");
	want_children(at, "c", "b a");
	write_as_source(at, "c/a", "A", 4102444800000);
	want_children(at, "c", "A b");
}

static void names_a_file_system_cannot_hold_are_escaped_and_come_back(void **state)
{
	static const char names[][20] = {"index.json", ".keep", ".keep-name", ".keep-x",
					 ".keep/index.json"};
	fixture *at = *state;
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	size_t escaped = 0;

	for (size_t i = 0; i < KP_COUNT(names); i++)
		put(at, names[i], names[i]);
	reopen(at);
	for (size_t i = 0; i < KP_COUNT(names); i++)
		want(at, names[i], names[i]);
	CHECK(keep_engine_list_names(at->engine, KEEP_BYTES(""), 0, 10, &list, &at->err) == KEEP_OK,
	      "%s", at->err.message);
	assert_int_equal(list.count, 4);
	for (size_t i = 0; i < list.count; i++) {
		assert_bytes_equal(list.items[i].name, list.items[i].value);
		escaped += list.items[i].name.data[0] == '.';
	}
	assert_int_equal(escaped, 3);
	keep_engine_list_release(&list);
	CHECK(!exists(at, "index.json"), "the root has a document");
}

static void an_escape_whose_name_is_wrong_is_corrupt(void **state)
{
	fixture *at = *state;
	char command[3 * TEXT_MAX];
	int64_t count;

	put(at, "d/.keepsake", "x");
	snprintf(command, sizeof command, "for f in %s/.keep-*/.keep-name; do echo no >$f; done",
		 path_in(at, "d"));
	assert_int_equal(system(command), 0);
	reopen(at);
	assert_int_equal(keep_engine_count(at->engine, KEEP_BYTES("d"), &count, &at->err),
			 KEEP_CORRUPT);
}

static void the_longest_path_fits_below_a_long_base(void **state)
{
	fixture *at = *state;
	char path[KEEP_PATH_BYTES_MAX + 1];

	memset(path, 'p', KEEP_PATH_BYTES_MAX);
	for (size_t i = 255; i < KEEP_PATH_BYTES_MAX; i += 256)
		path[i] = '/';
	path[KEEP_PATH_BYTES_MAX - 1] = '\0';
	put(at, path, "deep");
	want(at, path, "deep");
	CHECK(keep_engine_unset(at->engine, KEEP_BYTES("/"), &at->err) == KEEP_OK, "%s",
	      at->err.message);
	want(at, path, NULL);
	assert_int_equal(entries_in(at, ".keep/trash"), 0);
}

static void a_copy_that_keeps_times_keeps_the_order(void **state)
{
	fixture *at = *state;
	char command[4 * TEXT_MAX], name[40], expected[TEXT_MAX] = "";

	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof name, "c/%d", i * 7 % 60);
		put(at, name, name + 2);
		memmove(expected + strlen(name + 2) + (i > 0), expected, strlen(expected) + 1);
		memcpy(expected, name + 2, strlen(name + 2));
		if (i > 0)
			expected[strlen(name + 2)] = ' ';
	}
	want_children(at, "c", expected);
	keep_engine_close(&at->engine);
	snprintf(command, sizeof command, "cp -a %s %s.copy && rm -rf %s && mv %s.copy %s",
		 at->base, at->base, at->base, at->base, at->base);
	assert_int_equal(system(command), 0);
	reopen(at);
	want_children(at, "c", expected);
}

static void a_symbolic_link_inside_is_not_followed(void **state)
{
	fixture *at = *state;
	keep_buffer value = KEEP_BUFFER_INIT;
	char outside[2 * TEXT_MAX];

	snprintf(outside, sizeof outside, "%s/outside", at->folder.path);
	CHECK(mkdir(outside, 0700) == 0, "mkdir");
	put(at, "c/a", "a");
	CHECK(symlink(outside, path_in(at, "c/link")) == 0, "symlink");
	CHECK(keep_engine_set(at->engine, KEEP_BYTES("c/link"), KEEP_BYTES("x"), &at->err) !=
		      KEEP_OK,
	      "set through a link");
	CHECK(keep_engine_set(at->engine, KEEP_BYTES("c/link/y"), KEEP_BYTES("x"), &at->err) !=
		      KEEP_OK,
	      "set below a link");
	CHECK(keep_engine_get(at->engine, KEEP_BYTES("c/link"), &value, &at->err) != KEEP_OK,
	      "get");
	CHECK(rmdir(outside) == 0, "something was written outside");
	want_children(at, "c", "a");
	CHECK(keep_engine_clear(at->engine, &at->err) == KEEP_OK, "%s", at->err.message);
	keep_buffer_release(&value);
}

/* ---------------------------------------------------------------- leftovers and damage */

static void leftovers_of_killed_processes_are_gone_after_opening(void **state)
{
	fixture *at = *state;

	put(at, "c/a", "a");
	keep_engine_close(&at->engine);
	write_file(at, ".keep/tmp/7-1f", "half", 4);
	write_file(at, ".keep/tmp/junk", "half", 4);
	write_as_source(at, ".keep/trash/7-2/x/y/z", "gone", 0);
	write_as_source(at, ".keep/trash/j0123456789abcdef-0", "gone", 0);
	reopen(at);
	assert_int_equal(entries_in(at, ".keep/tmp"), 0);
	assert_int_equal(entries_in(at, ".keep/trash"), 0);
	want_children(at, "c", "a");
}

static void a_live_process_keeps_its_temporaries(void **state)
{
	fixture *at = *state;
	fixture other = *at;

	write_file(at, ".keep/tmp/0-1f", "half", 4); /* slot 0 is the first opener's */
	write_file(at, ".keep/tmp/1-1f", "half", 4);
	CHECK(open_engine(&other, false, true) == KEEP_OK, "%s", other.err.message);
	CHECK(exists(at, ".keep/tmp/0-1f"), "a living opener's temporary was deleted");
	CHECK(!exists(at, ".keep/tmp/1-1f"), "a dead opener's temporary is still there");
	keep_engine_close(&other.engine);
}

static void a_damaged_control_file_is_made_anew(void **state)
{
	static const size_t sizes[] = {0, 1, 4096, 200000};
	fixture *at = *state;
	char *garbage = malloc(200000);

	memset(garbage, 0xa5, 200000);
	put(at, "c/a", "a");
	for (size_t i = 0; i < KP_COUNT(sizes); i++) {
		keep_engine_close(&at->engine);
		write_file(at, ".keep/control", garbage, sizes[i]);
		reopen(at);
		want_children(at, "c", "a");
		put(at, "c/a", "a");
	}
	free(garbage);
}

/* A control file that says a change is being applied, by nobody. */
static void what_a_killed_writer_left_in_the_control_is_finished(void **state)
{
	fixture *at = *state;
	kp_files_control control;
	int fd;

	put(at, "c/a", "a");
	want_children(at, "c", "a");
	fd = open(path_in(at, ".keep/control"), O_RDWR);
	CHECK(pread(fd, &control, sizeof control, 0) == (ssize_t)sizeof control, "read");
	write_as_source(at, "c/a", "b", 0); /* renamed, and not published */
	control.gen++;
	control.state = KP_FILES_APPLYING;
	CHECK(pwrite(fd, &control, sizeof control, 0) == (ssize_t)sizeof control, "write");
	close(fd);
	want_children(at, "c", "b");
	put(at, "c/c", "c");
	want_children(at, "c", "c b");
}

static void a_ring_of_garbage_costs_only_a_second_look(void **state)
{
	fixture *at = *state;
	char garbage[512];
	uint64_t head;
	int fd;

	memset(garbage, 0xff, sizeof garbage);
	put(at, "c/a", "a");
	want_children(at, "c", "a");
	put(at, "c/b", "b"); /* in the ring, and not yet read from it */
	fd = open(path_in(at, ".keep/control"), O_RDWR);
	CHECK(pread(fd, &head, sizeof head, offsetof(kp_files_control, head)) == 8, "read");
	CHECK(pwrite(fd, garbage, sizeof garbage, KP_FILES_RING_AT) == sizeof garbage, "write");
	close(fd);
	want_children(at, "c", "b a");
}

static void more_changes_than_the_ring_holds_are_noticed(void **state)
{
	fixture *at = *state;
	fixture other = *at;
	char name[300];

	CHECK(open_engine(&other, false, true) == KEEP_OK, "%s", other.err.message);
	put(at, "c/a", "a");
	want_children(&other, "c", "a");
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "other/%0200d", i % 4);
		put(at, name, "x");
	}
	put(at, "c/b", "b");
	want_children(&other, "c", "b a");
	put(&other, "c/a", "a");
	want_children(at, "c", "a b");
	keep_engine_close(&other.engine);
}

/* As if the machine had crashed: another boot, and a file without all of its bytes. */
static void a_relaxed_value_cut_by_a_crash_of_the_machine_is_removed(void **state)
{
	fixture *at = *state;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	struct stat about;
	int fd;

	put(at, "c/a", "whole");
	put(at, "c/b", "cut");
	put(at, "c/b/below", "whole too");
	put(at, "c/c", "");
	put(at, "c/d", "another program's");
	keep_engine_close(&at->engine);
	CHECK(stat(path_in(at, "c/b/index.json"), &about) == 0, "stat");
	CHECK(truncate(path_in(at, "c/b/index.json"), 0) == 0, "truncate");
	times[1] = about.st_mtim;
	CHECK(utimensat(AT_FDCWD, path_in(at, "c/b/index.json"), times, 0) == 0, "utimensat");
	write_file(at, "c/d/index.json", "newer", 5);
	fd = open(path_in(at, ".keep/control"), O_RDWR);
	CHECK(pwrite(fd, "00", 2, offsetof(kp_files_control, boot)) == 2, "write");
	close(fd);
	reopen(at);
	want_children(at, "c", "newer  whole");
	want(at, "c/b", NULL);
	want(at, "c/b/below", "whole too");
}

static void a_journal_cut_short_was_never_committed(void **state)
{
	fixture *at = *state;

	put(at, "c/a", "a");
	keep_engine_close(&at->engine);
	write_file(at, ".keep/journal", "keepjrn\0\1\0\0", 11);
	reopen(at);
	want_children(at, "c", "a");
	CHECK(!exists(at, ".keep/journal"), "the journal is still there");
}

static void a_synced_journal_that_is_damaged_is_corrupt(void **state)
{
	struct {
		char magic[8];
		uint32_t version, synced;
		uint64_t size, count;
		unsigned char digest[32];
		char body[8];
	} journal = {.magic = "keepjrn", .version = 1, .synced = 1, .size = sizeof journal};
	fixture *at = *state;

	keep_engine_close(&at->engine);
	write_file(at, ".keep/journal", &journal, sizeof journal);
	assert_int_equal(open_engine(at, false, false), KEEP_CORRUPT);
	CHECK(exists(at, ".keep/journal"), "the journal is gone");
	CHECK(unlink(path_in(at, ".keep/journal")) == 0, "unlink");
	reopen(at);
}

static void times_of_one_millisecond_are_renumbered_when_they_run_out(void **state)
{
	fixture *at = *state;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 5, .tv_nsec = 999999}};

	for (const char *name = "abc"; *name; name++) {
		char path[3] = {'s', '/', '\0'}, full[8];

		snprintf(full, sizeof full, "%.2s%c", path, *name);
		CHECK(keep_engine_set_scored(at->engine, keep_bytes_of(full), (keep_bytes){name, 1},
					     5000, &at->err) == KEEP_OK,
		      "%s", at->err.message);
	}
	CHECK(utimensat(AT_FDCWD, path_in(at, "s/c/index.json"), times, 0) == 0, "utimensat");
	reopen(at);
	CHECK(keep_engine_set_scored(at->engine, KEEP_BYTES("s/d"), KEEP_BYTES("d"), 5000,
				     &at->err) == KEEP_OK,
	      "%s", at->err.message);
	want_children(at, "s", "d c b a");
}

/* ---------------------------------------------------------------- limits */

static void without_descriptors_a_list_fails_and_never_leaves_values_out(void **state)
{
	fixture *at = *state;
	struct rlimit old, few;
	char name[40];
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	int64_t count;
	keep_status status;
	int used = dup(0);

	close(used);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof name, "c/%d", i);
		put(at, name, name);
	}
	CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0, "getrlimit");
	for (int more = 0; more < 6; more++) {
		few = (struct rlimit){.rlim_cur = (rlim_t)(used + more), .rlim_max = old.rlim_max};
		reopen(at);
		few.rlim_cur = (rlim_t)(dup(0) + more);
		close((int)few.rlim_cur - more);
		CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0, "setrlimit");
		status = keep_engine_list_values(at->engine, KEEP_BYTES("c"), 0, 100, &list,
						 &at->err);
		CHECK(status == KEEP_FULL || (status == KEEP_OK && list.count == 20),
		      "%d more: %s, %zu values", more, keep_status_name(status), list.count);
		keep_engine_list_release(&list);
		status = keep_engine_count(at->engine, KEEP_BYTES("c"), &count, &at->err);
		CHECK(status == KEEP_FULL || (status == KEEP_OK && count == 20), "count");
		status =
			keep_engine_set(at->engine, KEEP_BYTES("c/0"), KEEP_BYTES("c/0"), &at->err);
		CHECK(status == KEEP_FULL || status == KEEP_OK, "set: %s", at->err.message);
		CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0, "setrlimit");
		want(at, "c/0", "c/0");
	}
}

static void a_value_that_does_not_fit_leaves_the_old_one(void **state)
{
	fixture *at = *state;
	struct rlimit old, small;
	char *large = calloc(1, 100000);
	keep_status status;

	put(at, "session/creds", "GOOD CREDS");
	signal(SIGXFSZ, SIG_IGN);
	CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0, "getrlimit");
	small = (struct rlimit){.rlim_cur = 50000, .rlim_max = old.rlim_max};
	CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0, "setrlimit");
	status = keep_engine_set(at->engine, KEEP_BYTES("session/creds"),
				 (keep_bytes){large, 100000}, &at->err);
	CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0, "setrlimit");
	assert_int_equal(status, KEEP_FULL);
	want(at, "session/creds", "GOOD CREDS");
	assert_int_equal(entries_in(at, ".keep/tmp"), 0);
	free(large);
}

/* In a child, which may mount what it likes. */
static int fill_a_small_disk(fixture *at)
{
	char name[64], value[5000];
	keep_status status = KEEP_OK;
	int last = 0;

	if (unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", at->folder.path, "tmpfs", 0, "size=1m") != 0)
		return 77;
	reopen(at);
	memset(value, 'v', sizeof value);
	for (; status == KEEP_OK && last < 10000; last++) {
		snprintf(name, sizeof name, "c/%d", last);
		status = keep_engine_set(at->engine, keep_bytes_of(name),
					 (keep_bytes){value, sizeof value}, &at->err);
	}
	CHECK(status == KEEP_FULL, "%s", at->err.message);
	want(at, name, NULL);
	status =
		keep_engine_set(at->engine, KEEP_BYTES("c/0"), (keep_bytes){value, 4999}, &at->err);
	CHECK(status == KEEP_FULL, "%s", keep_status_name(status));
	CHECK(keep_engine_unset(at->engine, KEEP_BYTES("c/1"), &at->err) == KEEP_OK, "%s",
	      at->err.message);
	status =
		keep_engine_set(at->engine, KEEP_BYTES("c/0"), (keep_bytes){value, 4999}, &at->err);
	CHECK(status == KEEP_OK, "%s", at->err.message);
	keep_engine_close(&at->engine);
	return 0;
}

static void a_full_disk_is_full_and_keeps_the_old_values(void **state)
{
	fixture *at = *state;
	int result;
	pid_t child;

	keep_engine_close(&at->engine);
	child = fork();
	if (child == 0)
		_exit(fill_a_small_disk(at));
	CHECK(waitpid(child, &result, 0) == child, "waitpid");
	if (WIFEXITED(result) && WEXITSTATUS(result) == 77)
		print_message("no mount namespace here: not asked\n");
	else
		CHECK(WIFEXITED(result) && WEXITSTATUS(result) == 0, "the child failed");
	reopen(at);
}

static void a_store_without_a_control_file_can_be_read_only(void **state)
{
	fixture *at = *state;
	char command[3 * TEXT_MAX];

	put(at, "c/a", "a");
	put(at, "c/b", "b");
	keep_engine_close(&at->engine);
	snprintf(command, sizeof command, "rm -rf %s", path_in(at, ".keep"));
	assert_int_equal(system(command), 0);
	CHECK(open_engine(at, true, false) == KEEP_OK, "%s", at->err.message);
	want_children(at, "c", "b a");
	want(at, "c/a", "a");
	write_as_source(at, "c/a", "A", 4102444800000);
	want_children(at, "c", "A b");
	assert_int_equal(keep_engine_set(at->engine, KEEP_BYTES("c/a"), KEEP_BYTES("x"), &at->err),
			 KEEP_DENIED);
	CHECK(!exists(at, ".keep"), "something was made");
}

static void a_reader_beside_a_writer_sees_its_changes(void **state)
{
	fixture *at = *state;
	fixture reader = *at;

	put(at, "c/a", "a");
	CHECK(open_engine(&reader, true, true) == KEEP_OK, "%s", reader.err.message);
	want_children(&reader, "c", "a");
	put(at, "c/b", "b");
	want_children(&reader, "c", "b a");
	CHECK(keep_engine_clear(at->engine, &at->err) == KEEP_OK, "%s", at->err.message);
	want_children(&reader, "c", "");
	keep_engine_close(&reader.engine);
}

static void a_base_deleted_while_open_takes_no_changes(void **state)
{
	fixture *at = *state;
	char command[3 * TEXT_MAX];

	put(at, "c/a", "a");
	snprintf(command, sizeof command, "rm -rf %s", at->base);
	assert_int_equal(system(command), 0);
	assert_int_equal(keep_engine_set(at->engine, KEEP_BYTES("c/a"), KEEP_BYTES("x"), &at->err),
			 KEEP_UNAVAILABLE);
	assert_int_equal(keep_engine_unset(at->engine, KEEP_BYTES("c/a"), &at->err),
			 KEEP_UNAVAILABLE);
	CHECK(mkdir(at->base, 0700) == 0, "mkdir");
	assert_int_equal(keep_engine_set(at->engine, KEEP_BYTES("c/a"), KEEP_BYTES("x"), &at->err),
			 KEEP_UNAVAILABLE);
}

static void a_missing_folder_is_not_found_and_a_made_one_is_private(void **state)
{
	fixture *at = *state;
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_engine *engine = NULL;
	struct stat about;
	char url[2 * TEXT_MAX];

	snprintf(url, sizeof url, "file:%s/none", at->folder.path);
	assert_int_equal(keep_engine_open(url, &options, &engine, &at->err), KEEP_NOT_FOUND);
	CHECK(stat(url + 5, &about) != 0, "it was made");
	snprintf(url, sizeof url, "file:%s/none/none", at->folder.path);
	options.create = true;
	assert_int_equal(keep_engine_open(url, &options, &engine, &at->err), KEEP_NOT_FOUND);
	CHECK(stat(at->base, &about) == 0, "stat");
	assert_int_equal(about.st_mode & 0777, 0700);
}

/* ---------------------------------------------------------------- readers beside writers */

static void *swap_for_a_while(void *ctx)
{
	fixture *at = ctx;
	keep_error err = KEEP_ERROR_INIT;

	for (int i = 0; i < 150; i++) {
		char digit[2] = {(char)('0' + i % 10), '\0'};
		keep_engine_change changes[] = {
			{.kind = KEEP_ENGINE_UNSET, .path = KEEP_BYTES("x")},
			{.kind = KEEP_ENGINE_SET,
			 .path = KEEP_BYTES("x/1"),
			 .value = keep_bytes_of(digit)},
			{.kind = KEEP_ENGINE_SET,
			 .path = KEEP_BYTES("x/2"),
			 .value = keep_bytes_of(digit)},
		};

		CHECK(keep_engine_batch(at->engine, changes, KP_COUNT(changes), &err) == KEEP_OK,
		      "%s", err.message);
	}
	return NULL;
}

static void a_reader_never_sees_a_batch_in_part(void **state)
{
	fixture *at = *state;
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;
	pthread_t writer;

	put(at, "x/1", "0");
	put(at, "x/2", "0");
	CHECK(pthread_create(&writer, NULL, swap_for_a_while, at) == 0, "pthread_create");
	for (int i = 0; i < 2000; i++) {
		CHECK(keep_engine_list_values(at->engine, KEEP_BYTES("x"), 0, 9, &list, &at->err) ==
			      KEEP_OK,
		      "%s", at->err.message);
		CHECK(list.count == 2 && kp_bytes_equal(list.items[0].value, list.items[1].value),
		      "%zu values", list.count);
		keep_engine_list_release(&list);
		CHECK(keep_engine_get(at->engine, KEEP_BYTES("x/2"), &value, &at->err) == KEEP_OK,
		      "%s", at->err.message);
	}
	pthread_join(writer, NULL);
	keep_buffer_release(&value);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_store_of_the_source_project_is_read_as_it_is),
		TEST(documents_with_one_mtime_are_listed_by_name),
		TEST(what_is_written_lies_where_the_source_project_looks),
		TEST(a_later_change_by_another_program_is_seen_when_the_folder_changes),
		TEST(a_listed_file_that_was_overwritten_in_place_is_looked_at_again),
		TEST(names_a_file_system_cannot_hold_are_escaped_and_come_back),
		TEST(an_escape_whose_name_is_wrong_is_corrupt),
		TEST(the_longest_path_fits_below_a_long_base),
		TEST(a_copy_that_keeps_times_keeps_the_order),
		TEST(a_symbolic_link_inside_is_not_followed),
		TEST(leftovers_of_killed_processes_are_gone_after_opening),
		TEST(a_live_process_keeps_its_temporaries),
		TEST(a_damaged_control_file_is_made_anew),
		TEST(what_a_killed_writer_left_in_the_control_is_finished),
		TEST(a_ring_of_garbage_costs_only_a_second_look),
		TEST(more_changes_than_the_ring_holds_are_noticed),
		TEST(a_relaxed_value_cut_by_a_crash_of_the_machine_is_removed),
		TEST(a_journal_cut_short_was_never_committed),
		TEST(a_synced_journal_that_is_damaged_is_corrupt),
		TEST(times_of_one_millisecond_are_renumbered_when_they_run_out),
		TEST(without_descriptors_a_list_fails_and_never_leaves_values_out),
		TEST(a_value_that_does_not_fit_leaves_the_old_one),
		TEST(a_full_disk_is_full_and_keeps_the_old_values),
		TEST(a_store_without_a_control_file_can_be_read_only),
		TEST(a_reader_beside_a_writer_sees_its_changes),
		TEST(a_base_deleted_while_open_takes_no_changes),
		TEST(a_missing_folder_is_not_found_and_a_made_one_is_private),
		TEST(a_reader_never_sees_a_batch_in_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
