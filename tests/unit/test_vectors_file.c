/*
 * test_vectors_file.c - the file of a set of vectors: what was committed is there for the next who
 * opens it and for other processes, damage is told or harmless, a killed writer leaves a commit.
 */
#include "search/vector_private.h"
#include "temp_folder.h"
#include "vector_sets.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { DIMENSION = 20, FIRST = 40, SECOND = 70 };

struct home {
	temp_folder folder;
	char path[128];
	struct vector_model model;
};

static struct kp_vectors_options options_of(const struct home *home)
{
	return (struct kp_vectors_options){.path = home->path,
					   .dimension = DIMENSION,
					   .model = KEEP_BYTES("a model"),
					   .generation = 3};
}

static kp_vectors *open_home(const struct home *home)
{
	struct kp_vectors_options options = options_of(home);
	kp_vectors *set = NULL;
	keep_error err;

	OK(kp_vectors_open(&options, &set, &err));
	return set;
}

/* The model's items `from` .. `to` - 1 into the set. */
static void add_range(kp_vectors *set, const struct vector_model *model, size_t from, size_t to)
{
	keep_error err;

	for (size_t i = from; i < to; i++)
		OK(kp_vectors_add(set, model->ids[i], model->values + i * DIMENSION, &err));
}

/* A file with two commits: change 1 has FIRST vectors, change 2 SECOND of which one is removed. */
static void home_make(struct home *home)
{
	struct kp_vectors_options options;
	kp_vectors *set = NULL;
	keep_error err;

	temp_folder_make(&home->folder);
	temp_path(&home->folder, "vectors", home->path);
	vector_model_make(&home->model, DIMENSION, SECOND);
	for (size_t i = 0; i < SECOND; i++) {
		vector_draw(home->model.values + i * DIMENSION, DIMENSION, VECTORS_NORMAL, i);
		home->model.ids[i] = (int64_t)i + 100;
	}
	options = options_of(home);
	OK(kp_vectors_rebuild(&options, &set, &err));
	add_range(set, &home->model, 0, FIRST);
	OK(kp_vectors_publish(set, 1, &err));
	add_range(set, &home->model, FIRST, SECOND);
	OK(kp_vectors_remove(set, home->model.ids[5], &err));
	OK(kp_vectors_commit(set, 2, &err));
	kp_vectors_close(&set);
	home->model.count = SECOND;
	home->model.is_gone[5] = true;
}

static void home_remove(struct home *home)
{
	vector_model_release(&home->model);
	temp_folder_remove(&home->folder);
	assert_nothing_lives();
}

/* It answers as one of its two commits. */
static void check_commit(kp_vectors *set, struct home *home)
{
	struct kp_vectors_state about;
	keep_error err;

	OK(kp_vectors_look(set, &about, &err));
	assert_true(about.change == 1 || about.change == 2);
	home->model.count = about.change == 1 ? FIRST : SECOND;
	home->model.is_gone[5] = about.change == 2;
	check_search(set, &home->model, home->model.values + 5 * DIMENSION, 1000, NULL, NULL);
	home->model.count = SECOND;
	home->model.is_gone[5] = true;
}

static void flip(const struct home *home, int64_t at, uint8_t bits)
{
	uint8_t byte = 0;
	int fd = open(home->path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= bits;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static bool exists(const char *path)
{
	struct stat about;

	return stat(path, &about) == 0;
}

/* ---------------------------------------------------------------- what is kept */

static void a_file_that_is_opened_again_answers_as_before(void **state)
{
	struct home home;
	struct kp_vectors_state about;
	kp_vectors *set;
	keep_error err;

	(void)state;
	home_make(&home);
	set = open_home(&home);
	check_commit(set, &home);
	OK(kp_vectors_look(set, &about, &err));
	assert_int_equal(about.change, 2);
	assert_int_equal(about.dead, 1);
	assert_false(about.is_replaced);
	OK(kp_vectors_verify(set, &err));
	OK(kp_vectors_add(set, home.model.ids[5], home.model.values + 5 * DIMENSION, &err));
	OK(kp_vectors_commit(set, 2, &err));
	kp_vectors_close(&set);
	set = open_home(&home);
	home.model.is_gone[5] = false;
	check_search(set, &home.model, home.model.values, 1000, NULL, NULL);
	kp_vectors_close(&set);
	home_remove(&home);
}

static void a_file_of_something_else_is_not_found(void **state)
{
	struct home home;
	struct kp_vectors_options options;
	kp_vectors *set = NULL;
	keep_error err;

	(void)state;
	home_make(&home);
	options = options_of(&home);
	options.dimension++;
	assert_int_equal(kp_vectors_open(&options, &set, &err), KEEP_NOT_FOUND);
	options = options_of(&home);
	options.model = KEEP_BYTES("another model");
	assert_int_equal(kp_vectors_open(&options, &set, &err), KEEP_NOT_FOUND);
	options = options_of(&home);
	options.generation--;
	assert_int_equal(kp_vectors_open(&options, &set, &err), KEEP_NOT_FOUND);
	assert_int_equal(unlink(home.path), 0);
	options = options_of(&home);
	assert_int_equal(kp_vectors_open(&options, &set, &err), KEEP_NOT_FOUND);
	assert_null(set);
	home_remove(&home);
}

/* ---------------------------------------------------------------- damage */

static void a_flipped_byte_of_one_header_leaves_the_other_s_commit(void **state)
{
	const int64_t page = KP_VECTOR_HEADER_BYTES / 2;
	struct home home;

	(void)state;
	home_make(&home);
	/* Odd commits are in the first page, even ones in the second. */
	for (int64_t at = 0; at < KP_VECTOR_HEADER_BYTES; at += at % page < 256 ? 1 : 97) {
		bool is_newest = at % page < (int64_t)sizeof(struct kp_vector_header) && at >= page;
		struct kp_vectors_state about = {0};
		kp_vectors *set = NULL;
		keep_error err;

		flip(&home, at, 0xff);
		set = open_home(&home);
		check_commit(set, &home);
		OK(kp_vectors_look(set, &about, &err));
		CHECK(about.change == (is_newest ? 1 : 2), "byte %lld", (long long)at);
		kp_vectors_close(&set);
		flip(&home, at, 0xff);
	}
	home_remove(&home);
}

static void two_damaged_headers_are_corrupt(void **state)
{
	struct home home;

	(void)state;
	home_make(&home);
	for (int64_t at = 0; at < (int64_t)sizeof(struct kp_vector_header); at++) {
		struct kp_vectors_options options = options_of(&home);
		kp_vectors *set = NULL;

		flip(&home, at, 1);
		flip(&home, at + KP_VECTOR_HEADER_BYTES / 2, 0x80);
		assert_int_equal(kp_vectors_open(&options, &set, NULL), KEEP_CORRUPT);
		flip(&home, at, 1);
		flip(&home, at + KP_VECTOR_HEADER_BYTES / 2, 0x80);
	}
	home_remove(&home);
}

/* Flip each byte of a part of segment 0: verify tells it, and a search goes on to its end. */
static void check_part(const struct home *home, size_t at, size_t size, size_t step)
{
	for (size_t i = 0; i < size; i += step) {
		int64_t where = (int64_t)(KP_VECTOR_HEADER_BYTES + at + i);
		struct kp_vectors_match found[SECOND];
		kp_vectors *set = open_home(home);
		size_t count;

		flip(home, where, 0xff);
		CHECK(kp_vectors_verify(set, NULL) == KEEP_CORRUPT, "byte %zu of the part at %zu",
		      i, at);
		for (size_t nearest = 10; nearest <= SECOND; nearest += SECOND - 10) {
			keep_status status = kp_vectors_search(set, home->model.values, nearest,
							       NULL, NULL, found, &count, NULL);

			assert_true(status == KEEP_OK || status == KEEP_CORRUPT);
		}
		assert_true(count <= SECOND);
		flip(home, where, 0xff);
		kp_vectors_close(&set);
	}
}

static void a_flipped_byte_of_the_body_is_verified_and_crashes_nothing(void **state)
{
	struct kp_vector_layout layout;
	struct home home;
	kp_vectors *set;
	keep_error err;

	(void)state;
	home_make(&home);
	kp_vector_layout_init(&layout, DIMENSION);
	check_part(&home, 0, SECOND / KP_VECTOR_GROUP * layout.group_bytes, 1);
	check_part(&home, layout.at_low, SECOND * layout.low_bytes, 3);
	check_part(&home, layout.at_details, SECOND * sizeof(struct kp_vector_detail), 1);
	check_part(&home, layout.at_values, SECOND * layout.values_bytes, 3);
	set = open_home(&home);
	for (size_t i = 0; i < sizeof(struct kp_vector_dead); i++) {
		int64_t at = (int64_t)(KP_VECTOR_HEADER_BYTES + layout.at_dead + i);
		struct kp_vectors_options options = options_of(&home);
		kp_vectors *other = NULL;

		flip(&home, at, 0xff);
		assert_int_equal(kp_vectors_verify(set, NULL), KEEP_CORRUPT);
		assert_int_equal(kp_vectors_open(&options, &other, NULL), KEEP_CORRUPT);
		flip(&home, at, 0xff);
	}
	OK(kp_vectors_verify(set, &err));
	kp_vectors_close(&set);
	home_remove(&home);
}

static void a_file_cut_short_is_corrupt(void **state)
{
	struct home home;
	struct stat about;

	(void)state;
	home_make(&home);
	assert_int_equal(stat(home.path, &about), 0);
	for (int64_t size = about.st_size - 1; size > 0;
	     size = size > 9000 ? size / 2 : size - 97) {
		struct kp_vectors_options options = options_of(&home);
		kp_vectors *set = NULL;

		assert_int_equal(truncate(home.path, size), 0);
		assert_int_equal(kp_vectors_open(&options, &set, NULL), KEEP_CORRUPT);
	}
	home_remove(&home);
}

static void what_is_no_file_of_vectors_is_refused(void **state)
{
	struct kp_vectors_options options;
	struct home home;
	kp_vectors *set = NULL;
	keep_error err;

	(void)state;
	home_make(&home);
	options = options_of(&home);
	for (size_t i = 0; i < KP_VECTOR_HEADER_BYTES; i++)
		flip(&home, (int64_t)i, (uint8_t)(i * 31 + 1));
	assert_int_equal(kp_vectors_open(&options, &set, &err), KEEP_CORRUPT);
	assert_int_equal(unlink(home.path), 0);
	assert_int_equal(mkfifo(home.path, 0600), 0);
	assert_int_equal(kp_vectors_open(&options, &set, &err), KEEP_CORRUPT);
	assert_int_equal(unlink(home.path), 0);
	assert_int_equal(mkdir(home.path, 0700), 0);
	assert_int_not_equal(kp_vectors_open(&options, &set, &err), KEEP_OK);
	assert_null(set);
	home_remove(&home);
}

/* Another kernel wrote it, and it was not synced: it is read before it is believed. */
static void a_file_from_before_a_power_cut_is_checked_when_it_is_opened(void **state)
{
	struct kp_vectors_options options;
	struct kp_vector_layout layout;
	struct home home;
	kp_vectors *set;
	keep_error err;
	int64_t at;

	(void)state;
	home_make(&home);
	options = options_of(&home);
	kp_vector_layout_init(&layout, DIMENSION);
	at = (int64_t)(KP_VECTOR_HEADER_BYTES + layout.at_values + 100);
	set = open_home(&home);
	set->file.boot[3] ^= 1;
	OK(kp_vectors_commit(set, 2, &err));
	kp_vectors_close(&set);
	set = open_home(&home);
	kp_vectors_close(&set);
	flip(&home, at, 4);
	assert_int_equal(kp_vectors_open(&options, &set, &err), KEEP_CORRUPT);
	flip(&home, at, 4);
	set = open_home(&home);
	set->file.boot[3] ^= 1;
	OK(kp_vectors_sync(set, &err));
	kp_vectors_close(&set);
	flip(&home, at, 4); /* after a sync it is not read: verify is who tells */
	set = open_home(&home);
	assert_int_equal(kp_vectors_verify(set, &err), KEEP_CORRUPT);
	kp_vectors_close(&set);
	home_remove(&home);
}

/* ---------------------------------------------------------------- full, forbidden, taken */

static void a_full_disk_fails_a_commit_that_can_be_made_later(void **state)
{
	struct rlimit before, tight;
	struct home home;
	struct stat about;
	kp_vectors *set;
	keep_error err;
	void (*old)(int) = signal(SIGXFSZ, SIG_IGN);

	(void)state;
	home_make(&home);
	set = open_home(&home);
	assert_int_equal(stat(home.path, &about), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	for (rlim_t size = 0; size < (rlim_t)about.st_size; size += size < 10000 ? 500 : 40000) {
		tight = (struct rlimit){size, before.rlim_max};
		OK(kp_vectors_add(set, 1, home.model.values, &err));
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
		if (kp_vectors_commit(set, 3, &err) == KEEP_OK) {
			assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
			break;
		}
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
		assert_int_equal(err.status, KEEP_FULL);
		kp_vectors_rollback(set);
		check_commit(set, &home);
		OK(kp_vectors_verify(set, &err));
	}
	kp_vectors_rollback(set);
	OK(kp_vectors_add(set, 1, home.model.values, &err));
	OK(kp_vectors_commit(set, 3, &err));
	OK(kp_vectors_verify(set, &err));
	kp_vectors_close(&set);
	(void)signal(SIGXFSZ, old);
	home_remove(&home);
}

static void a_file_that_may_not_be_written_is_searched_and_commits_are_denied(void **state)
{
	struct home home;
	kp_vectors *set;
	keep_error err;
	bool is_root = geteuid() == 0;

	(void)state;
	home_make(&home);
	assert_int_equal(chmod(home.folder.path, 0755), 0);
	assert_int_equal(chmod(home.path, 0444), 0);
	if (is_root)
		assert_int_equal(seteuid(65534), 0);
	set = open_home(&home);
	check_commit(set, &home);
	OK(kp_vectors_add(set, 1, home.model.values, &err));
	assert_int_equal(kp_vectors_commit(set, 3, &err), KEEP_DENIED);
	assert_int_equal(kp_vectors_sync(set, &err), KEEP_DENIED);
	kp_vectors_close(&set);
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	home_remove(&home);
}

static void a_change_number_never_goes_back(void **state)
{
	struct home home;
	kp_vectors *mine, *theirs;
	keep_error err;

	(void)state;
	home_make(&home);
	mine = open_home(&home);
	theirs = open_home(&home);
	OK(kp_vectors_remove(theirs, home.model.ids[5], &err));
	OK(kp_vectors_commit(theirs, 9, &err));
	OK(kp_vectors_add(mine, 1, home.model.values, &err));
	assert_int_equal(kp_vectors_commit(mine, 8, &err), KEEP_CONFLICT);
	OK(kp_vectors_commit(mine, 10, &err)); /* still staged */
	home.model.ids[5] = 1;
	memcpy(home.model.values + 5 * DIMENSION, home.model.values, DIMENSION * sizeof(float));
	home.model.is_gone[5] = false;
	check_search(theirs, &home.model, home.model.values, 1000, NULL, NULL);
	kp_vectors_close(&mine);
	kp_vectors_close(&theirs);
	home_remove(&home);
}

static void a_commit_waits_for_another_writer_and_then_is_busy(void **state)
{
	struct home home;
	kp_vectors *mine, *theirs;
	keep_error err;

	(void)state;
	home_make(&home);
	mine = open_home(&home);
	theirs = open_home(&home);
	OK(kp_vector_file_lock(&theirs->file, &err));
	OK(kp_vectors_add(mine, 1, home.model.values, &err));
	mine->file.lock_wait_ns = 0;
	assert_int_equal(kp_vectors_commit(mine, 3, &err), KEEP_BUSY);
	assert_int_equal(kp_vectors_sync(mine, &err), KEEP_BUSY);
	kp_vector_file_unlock(&theirs->file);
	OK(kp_vectors_commit(mine, 3, &err));
	OK(kp_vector_file_lock(&theirs->file, &err)); /* given back */
	kp_vectors_close(&mine);
	kp_vectors_close(&theirs);
	home_remove(&home);
}

/* ---------------------------------------------------------------- rebuilding */

static void a_rebuilt_file_takes_the_place_and_who_has_the_old_one_keeps_it(void **state)
{
	struct kp_vectors_options options;
	struct kp_vectors_state about;
	struct home home;
	kp_vectors *old, *rebuilt = NULL, *after;
	keep_error err;

	(void)state;
	home_make(&home);
	options = options_of(&home);
	old = open_home(&home);
	OK(kp_vectors_rebuild(&options, &rebuilt, &err));
	add_range(rebuilt, &home.model, 0, 10);
	OK(kp_vectors_commit(rebuilt, 20, &err));
	OK(kp_vectors_look(old, &about, &err));
	assert_false(about.is_replaced);
	OK(kp_vectors_publish(rebuilt, 30, &err));
	OK(kp_vectors_look(old, &about, &err));
	assert_true(about.is_replaced);
	check_commit(old, &home);
	assert_int_equal(kp_vectors_commit(old, 40, &err), KEEP_NOT_FOUND);
	after = open_home(&home);
	home.model.count = 10;
	home.model.is_gone[5] = false;
	check_search(after, &home.model, home.model.values, 1000, NULL, NULL);
	OK(kp_vectors_look(after, &about, &err));
	assert_int_equal(about.change, 30);
	OK(kp_vectors_remove(rebuilt, home.model.ids[5], &err));
	OK(kp_vectors_publish(rebuilt, 31, &err)); /* once it is there, a commit */
	home.model.is_gone[5] = true;
	check_search(after, &home.model, home.model.values, 1000, NULL, NULL);
	kp_vectors_close(&old);
	kp_vectors_close(&rebuilt);
	kp_vectors_close(&after);
	home_remove(&home);
}

static void a_rebuild_is_one_at_a_time_and_leaves_nothing_behind(void **state)
{
	struct kp_vectors_options options;
	struct home home;
	kp_vectors *first = NULL, *second = NULL;
	char draft[140];
	keep_error err;

	(void)state;
	home_make(&home);
	options = options_of(&home);
	(void)snprintf(draft, sizeof draft, "%s.draft", home.path);
	OK(kp_vectors_rebuild(&options, &first, &err));
	assert_int_equal(kp_vectors_rebuild(&options, &second, &err), KEEP_BUSY);
	assert_true(exists(draft));
	kp_vectors_close(&first);
	assert_false(exists(draft));
	second = open_home(&home);
	check_commit(second, &home);
	kp_vectors_close(&second);
	home_remove(&home);
}

static void a_dead_process_s_draft_is_taken_away(void **state)
{
	struct kp_vectors_options options;
	struct home home;
	kp_vectors *set = NULL;
	keep_error err;
	int status = 0;
	pid_t child;

	(void)state;
	home_make(&home);
	options = options_of(&home);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (kp_vectors_rebuild(&options, &set, NULL) == KEEP_OK)
			(void)raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	OK(kp_vectors_rebuild(&options, &set, &err));
	add_range(set, &home.model, 0, SECOND);
	OK(kp_vectors_remove(set, home.model.ids[5], &err));
	OK(kp_vectors_publish(set, 2, &err));
	check_commit(set, &home);
	kp_vectors_close(&set);
	home_remove(&home);
}

/* ---------------------------------------------------------------- processes */

/* Replace all ids by the direction n, in commits, until killed or done. */
static void commit_directions(const struct home *home, int64_t from, int64_t to)
{
	struct kp_vectors_options options = options_of(home);
	kp_vectors *set = NULL;

	if (kp_vectors_open(&options, &set, NULL) != KEEP_OK)
		_exit(2);
	for (int64_t n = from; n < to; n++) {
		float values[DIMENSION] = {1, (float)n};

		for (size_t i = 0; i < SECOND; i++)
			if (kp_vectors_add(set, home->model.ids[i], values, NULL) != KEEP_OK)
				_exit(3);
		if (kp_vectors_commit(set, n, NULL) != KEEP_OK)
			_exit(4);
	}
	kp_vectors_close(&set);
	_exit(0);
}

/* All ids are there and have one direction: a whole commit. */
static void check_whole(kp_vectors *set, const struct home *home)
{
	struct kp_vectors_match found[SECOND + 1];
	const float query[DIMENSION] = {1, 0.5f};
	size_t count = 0;
	keep_error err;

	OK(kp_vectors_search(set, query, SECOND + 1, NULL, NULL, found, &count, &err));
	assert_int_equal(count, SECOND);
	for (size_t i = 0; i < count; i++) {
		assert_true(found[i].similarity == found[0].similarity);
		assert_int_equal(found[i].id, home->model.ids[i]);
	}
}

static void start_directions(struct home *home)
{
	kp_vectors *set = open_home(home);
	keep_error err;

	for (size_t i = 0; i < SECOND; i++)
		OK(kp_vectors_add(set, home->model.ids[i], (float[DIMENSION]){1, 3}, &err));
	OK(kp_vectors_commit(set, 3, &err));
	kp_vectors_close(&set);
}

static pid_t start_writer(const struct home *home, int64_t from, int64_t to)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0)
		commit_directions(home, from, to);
	return child;
}

static void another_process_sees_whole_commits_while_one_writes(void **state)
{
	enum { COMMITS = 200 };
	struct home home;
	struct kp_vectors_state about = {0};
	kp_vectors *set;
	keep_error err;
	int status = 0;
	pid_t child;

	(void)state;
	home_make(&home);
	start_directions(&home);
	set = open_home(&home);
	child = start_writer(&home, 4, COMMITS);
	while (waitpid(child, &status, WNOHANG) == 0)
		check_whole(set, &home);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	check_whole(set, &home);
	OK(kp_vectors_look(set, &about, &err));
	assert_int_equal(about.change, COMMITS - 1);
	kp_vectors_close(&set);
	home_remove(&home);
}

static void two_processes_that_write_lose_no_commit(void **state)
{
	enum { COMMITS = 100 };
	struct home home;
	kp_vectors *set;
	struct kp_vectors_state about = {0};
	keep_error err;
	int status = 0;

	(void)state;
	home_make(&home);
	set = open_home(&home);
	for (int child = 0; child < 2; child++) {
		pid_t started = fork();

		assert_true(started >= 0);
		if (started)
			continue;
		kp_vectors_close(&set);
		set = open_home(&home);
		for (int64_t i = 0; i < COMMITS; i++) {
			float values[DIMENSION] = {1};

			if (kp_vectors_add(set, 1000 + child * COMMITS + i, values, NULL) !=
				    KEEP_OK ||
			    kp_vectors_commit(set, 5, NULL) != KEEP_OK)
				_exit(1);
		}
		_exit(0);
	}
	for (int child = 0; child < 2; child++) {
		assert_true(wait(&status) > 0);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	OK(kp_vectors_look(set, &about, &err));
	assert_int_equal(about.count, SECOND - 1 + 2 * COMMITS);
	OK(kp_vectors_verify(set, &err));
	kp_vectors_close(&set);
	home_remove(&home);
}

static void a_writer_killed_at_any_moment_leaves_a_whole_commit(void **state)
{
	enum { ROUNDS = 40 };
	uint64_t seed = test_seed();
	struct home home;
	int64_t next = 4;

	(void)state;
	home_make(&home);
	start_directions(&home);
	for (int round = 0; round < ROUNDS; round++) {
		struct kp_vectors_state about;
		struct timespec moment = {.tv_nsec = (long)(next_random(&seed) % 4000000)};
		kp_vectors *set;
		keep_error err;
		pid_t child = start_writer(&home, next, next + 1000000);

		(void)nanosleep(&moment, NULL); /* only when it dies, not what is then true */
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, NULL, 0), child);
		set = open_home(&home);
		check_whole(set, &home);
		OK(kp_vectors_verify(set, &err));
		OK(kp_vectors_look(set, &about, &err));
		next = about.change + 1;
		kp_vectors_close(&set);
	}
	home_remove(&home);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_is_opened_again_answers_as_before),
		cmocka_unit_test(a_file_of_something_else_is_not_found),
		cmocka_unit_test(a_flipped_byte_of_one_header_leaves_the_other_s_commit),
		cmocka_unit_test(two_damaged_headers_are_corrupt),
		cmocka_unit_test(a_flipped_byte_of_the_body_is_verified_and_crashes_nothing),
		cmocka_unit_test(a_file_cut_short_is_corrupt),
		cmocka_unit_test(what_is_no_file_of_vectors_is_refused),
		cmocka_unit_test(a_file_from_before_a_power_cut_is_checked_when_it_is_opened),
		cmocka_unit_test(a_full_disk_fails_a_commit_that_can_be_made_later),
		cmocka_unit_test(a_file_that_may_not_be_written_is_searched_and_commits_are_denied),
		cmocka_unit_test(a_change_number_never_goes_back),
		cmocka_unit_test(a_commit_waits_for_another_writer_and_then_is_busy),
		cmocka_unit_test(a_rebuilt_file_takes_the_place_and_who_has_the_old_one_keeps_it),
		cmocka_unit_test(a_rebuild_is_one_at_a_time_and_leaves_nothing_behind),
		cmocka_unit_test(a_dead_process_s_draft_is_taken_away),
		cmocka_unit_test(another_process_sees_whole_commits_while_one_writes),
		cmocka_unit_test(two_processes_that_write_lose_no_commit),
		cmocka_unit_test(a_writer_killed_at_any_moment_leaves_a_whole_commit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
