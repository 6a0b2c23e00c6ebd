/*
 * test_vectors_faults.c - every allocation and every file call in the life of a set of vectors
 * fails once: nothing leaks, a commit is whole or not there, and made again it succeeds.
 */
#include "temp_folder.h"
#include "torture.h"
#include "vector_sets.h"

#include <signal.h>
#include <sys/wait.h>

enum { DIMENSION = 12, COUNT = 90 };

struct home {
	temp_folder folder;
	char path[128];
	struct kp_vectors_options options;
	struct vector_model model;
	struct kp_vectors_match *wanted; /* made before anything fails */
};

static void home_make(struct home *home, bool is_in_memory)
{
	temp_folder_make(&home->folder);
	temp_path(&home->folder, "vectors", home->path);
	home->options = (struct kp_vectors_options){.path = is_in_memory ? NULL : home->path,
						    .dimension = DIMENSION,
						    .model = KEEP_BYTES("m")};
	vector_model_make(&home->model, DIMENSION, COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		vector_draw(home->model.values + i * DIMENSION, DIMENSION, VECTORS_NORMAL, i);
		home->model.ids[i] = (int64_t)i;
	}
	home->model.count = COUNT;
	assert_int_equal(
		vector_model_search(&home->model, home->model.values, NULL, NULL, &home->wanted),
		COUNT);
}

static void home_remove(struct home *home)
{
	vector_model_release(&home->model);
	free(home->wanted);
	temp_folder_remove(&home->folder);
	assert_nothing_lives();
}

static keep_status add_range(kp_vectors *set, const struct home *home, size_t from, size_t to)
{
	keep_status status = KEEP_OK;

	for (size_t i = from; status == KEEP_OK && i < to; i++)
		status = kp_vectors_add(set, home->model.ids[i], home->model.values + i * DIMENSION,
					NULL);
	return status;
}

/* The three best of the model, in a search that may fail but not be wrong. */
static keep_status search_right(kp_vectors *set, const struct home *home)
{
	struct kp_vectors_match found[3];
	size_t count = 0;
	keep_status status =
		kp_vectors_search(set, home->model.values, 3, NULL, NULL, found, &count, NULL);

	if (status != KEEP_OK)
		return status;
	assert_int_equal(count, 3);
	assert_memory_equal(found, home->wanted, sizeof found);
	return KEEP_OK;
}

static keep_status live(void *ctx)
{
	const struct home *home = ctx;
	struct kp_vectors_state about;
	kp_vectors *set = NULL;
	keep_status status = kp_vectors_rebuild(&home->options, &set, NULL);

	if (status == KEEP_OK)
		status = add_range(set, home, 0, COUNT / 2);
	if (status == KEEP_OK)
		status = kp_vectors_publish(set, 1, NULL);
	if (status == KEEP_OK && home->options.path) {
		kp_vectors_close(&set);
		status = kp_vectors_open(&home->options, &set, NULL);
	}
	if (status == KEEP_OK)
		status = add_range(set, home, COUNT / 3, COUNT);
	if (status == KEEP_OK)
		status = kp_vectors_remove(set, 12345, NULL);
	if (status == KEEP_OK)
		status = kp_vectors_commit(set, 2, NULL);
	if (status == KEEP_OK)
		status = search_right(set, home);
	if (status == KEEP_OK)
		status = kp_vectors_look(set, &about, NULL);
	if (status == KEEP_OK) {
		assert_int_equal(about.count, COUNT);
		assert_int_equal(about.change, 2);
		status = kp_vectors_verify(set, NULL);
	}
	if (status == KEEP_OK)
		status = kp_vectors_sync(set, NULL);
	kp_vectors_close(&set);
	return status;
}

static void a_life_survives_every_failed_allocation(void **state)
{
	(void)state;
	for (int is_in_memory = 0; is_in_memory <= 1; is_in_memory++) {
		struct home home;

		home_make(&home, is_in_memory);
		CHECK(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK), live, &home) >=
			      20,
		      "nothing failed");
		home_remove(&home);
	}
}

static void a_life_survives_every_failed_file_call(void **state)
{
	const unsigned may = MAY(KEEP_UNAVAILABLE) | MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK);

	(void)state;
	for (int is_in_memory = 0; is_in_memory <= 1; is_in_memory++) {
		struct home home;

		home_make(&home, is_in_memory);
		CHECK(torture(KP_FAULT_FILE, may, live, &home) >= 20, "nothing failed");
		home_remove(&home);
	}
}

/* Commit replacements with the Nth thing failing; false when nothing was left to fail. */
static bool commit_with_failure(const struct home *home, enum kp_fault_kind kind, long nth)
{
	kp_vectors *set = NULL, *other = NULL;
	struct kp_vectors_state about = {0};
	keep_error err;
	keep_status status;
	long fired;

	OK(kp_vectors_rebuild(&home->options, &set, &err));
	OK(add_range(set, home, 0, COUNT / 2));
	OK(kp_vectors_publish(set, 1, &err));
	OK(kp_vectors_open(&home->options, &other, &err));
	OK(add_range(set, home, COUNT / 3, COUNT));
	kp_fault_arm(kind, nth, false);
	status = kp_vectors_commit(set, 2, &err);
	fired = kp_fault_disarm(kind);
	OK(kp_vectors_look(other, &about, &err));
	assert_int_equal(about.change, status == KEEP_OK ? 2 : 1);
	assert_int_equal(about.count, status == KEEP_OK ? COUNT : COUNT / 2);
	OK(kp_vectors_verify(other, &err));
	if (status != KEEP_OK)
		OK(kp_vectors_commit(set, 2, &err));
	OK(search_right(other, home));
	OK(search_right(set, home));
	OK(kp_vectors_verify(set, &err));
	OK(kp_vectors_look(set, &about, &err));
	assert_int_equal(about.count, COUNT);
	kp_vectors_close(&set);
	kp_vectors_close(&other);
	return fired > 0;
}

static void a_failed_commit_shows_nothing_and_can_be_made_again(void **state)
{
	static const enum kp_fault_kind kinds[] = {KP_FAULT_ALLOC, KP_FAULT_FILE};
	struct home home;

	(void)state;
	home_make(&home, false);
	for (size_t kind = 0; kind < KP_COUNT(kinds); kind++) {
		long nth = 1;

		while (commit_with_failure(&home, kinds[kind], nth))
			nth++;
		CHECK(nth > 6, "only %ld things failed", nth - 1);
	}
	home_remove(&home);
}

/* ---------------------------------------------------------------- killed at moments */

struct kill_at {
	const char *name;
	long nth;
};

static void die(void *ctx, const char *name)
{
	struct kill_at *at = ctx;

	if (strcmp(name, at->name) == 0 && --at->nth == 0)
		(void)raise(SIGKILL);
}

/* A child commits change 2 or rebuilds to change 3 and dies at the moment; true when it did. */
static bool is_killed(const struct home *home, struct kill_at at)
{
	int status = 0;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		kp_vectors *set = NULL;

		kp_moment_inject(die, &at);
		if (kp_vectors_open(&home->options, &set, NULL) != KEEP_OK ||
		    add_range(set, home, COUNT / 3, COUNT) != KEEP_OK ||
		    kp_vectors_commit(set, 2, NULL) != KEEP_OK)
			_exit(1);
		kp_vectors_close(&set);
		if (kp_vectors_rebuild(&home->options, &set, NULL) != KEEP_OK ||
		    add_range(set, home, 0, COUNT) != KEEP_OK ||
		    kp_vectors_publish(set, 3, NULL) != KEEP_OK)
			_exit(1);
		kp_vectors_close(&set);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFSIGNALED(status);
}

static void a_process_killed_at_each_moment_leaves_a_whole_commit(void **state)
{
	static const char *const moments[] = {"vector_write.flushed", "vector_set.before_header",
					      "vector_file.before_rename"};
	struct home home;

	(void)state;
	home_make(&home, false);
	for (size_t i = 0; i < KP_COUNT(moments); i++)
		for (long nth = 1;; nth++) {
			struct kp_vectors_state about = {0};
			kp_vectors *set = NULL;
			keep_error err;
			bool killed;

			OK(kp_vectors_rebuild(&home.options, &set, &err));
			OK(add_range(set, &home, 0, COUNT / 2));
			OK(kp_vectors_publish(set, 1, &err));
			kp_vectors_close(&set);
			killed = is_killed(&home, (struct kill_at){moments[i], nth});
			OK(kp_vectors_open(&home.options, &set, &err));
			OK(kp_vectors_verify(set, &err));
			OK(kp_vectors_look(set, &about, &err));
			assert_int_equal(about.count, about.change == 1 ? COUNT / 2 : COUNT);
			assert_true(killed ? about.change <= 2 : about.change == 3);
			if (about.change > 1)
				OK(search_right(set, &home));
			kp_vectors_close(&set);
			if (killed)
				continue;
			CHECK(nth > 1, "%s was never met", moments[i]);
			break;
		}
	home_remove(&home);
}

/* libcrypto sets itself up before anything fails: see src/core/digest.c. */
static int set_up(void **state)
{
	unsigned char digest[KP_SHA256_SIZE];

	(void)state;
	return kp_sha256(KEEP_BYTES(""), digest, NULL) == KEEP_OK ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_life_survives_every_failed_allocation),
		cmocka_unit_test(a_life_survives_every_failed_file_call),
		cmocka_unit_test(a_failed_commit_shows_nothing_and_can_be_made_again),
		cmocka_unit_test(a_process_killed_at_each_moment_leaves_a_whole_commit),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
