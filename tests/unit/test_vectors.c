/*
 * test_vectors.c - a set of vectors answers what computing every cosine in double does, whatever
 * the vectors are, through removals and replacements, and while threads search and one commits.
 */
#include "search/vector_private.h"
#include "vector_sets.h"

#include <pthread.h>

static kp_vectors *open_in_memory(size_t dimension)
{
	const struct kp_vectors_options options = {.dimension = dimension,
						   .model = KEEP_BYTES("m")};
	kp_vectors *set = NULL;
	keep_error err;

	OK(kp_vectors_open(&options, &set, &err));
	return set;
}

/* `count` more vectors of a kind, to both; ids fall, so that order and age differ. */
static void add_many(kp_vectors *set, struct vector_model *model, enum vector_kind kind,
		     size_t count)
{
	keep_error err;

	for (size_t i = 0; i < count; i++) {
		size_t at = model->count++;
		float *values = model->values + at * model->dimension;

		vector_draw(values, model->dimension, kind, at);
		model->ids[at] = 1000000 - (int64_t)at * 3;
		OK(kp_vectors_add(set, model->ids[at], values, &err));
	}
}

/* Every kernel of this machine, several sizes of the answer. */
static void check_all(kp_vectors *set, const struct vector_model *model, const float *query)
{
	static const size_t sizes[] = {1, 10, 100, 1000};

	for (size_t k = 0; kp_vector_kernels[k]; k++) {
		if (!kp_vector_kernels[k]->runs())
			continue;
		set->kernel = kp_vector_kernels[k];
		for (size_t i = 0; i < KP_COUNT(sizes); i++)
			check_search(set, model, query, sizes[i], NULL, NULL);
	}
}

static void check_kind(enum vector_kind kind, size_t dimension, size_t count)
{
	struct vector_model model;
	kp_vectors *set = open_in_memory(dimension);
	float *query = malloc(dimension * sizeof *query);
	keep_error err;

	vector_model_make(&model, dimension, count);
	assert_non_null(query);
	for (int64_t part = 0; part < 3; part++) {
		add_many(set, &model, kind, part < 2 ? count / 3 : count - model.count);
		OK(kp_vectors_commit(set, part, &err));
	}
	for (uint64_t q = 0; q < 2; q++) {
		vector_draw(query, dimension, q ? VECTORS_NORMAL : kind, q ? 77 : count * 2);
		check_all(set, &model, query);
	}
	check_all(set, &model, model.values + count / 2 * dimension);
	kp_vectors_close(&set);
	vector_model_release(&model);
	free(query);
}

static void every_kind_of_vectors_is_searched_exactly(void **state)
{
	static const size_t dimensions[] = {1,  2,  3,  5,  8,   9,   16,  17,
					    31, 63, 64, 65, 128, 129, 384, 1025};

	(void)state;
	for (int kind = 0; kind < VECTOR_KINDS; kind++)
		for (size_t d = 0; d < KP_COUNT(dimensions); d++)
			check_kind((enum vector_kind)kind, dimensions[d],
				   dimensions[d] > 64 ? 150 + d : 700 + d);
	assert_nothing_lives();
}

static void the_largest_dimension_and_several_segments_are_searched_exactly(void **state)
{
	(void)state;
	check_kind(VECTORS_NORMAL, KP_VECTORS_DIMENSION_MAX, 37);
	check_kind(VECTORS_NORMAL, 24, 2 * KP_VECTOR_SEGMENT + 17);
	check_kind(VECTORS_CLUSTERED, 6, 2 * KP_VECTOR_SEGMENT);
	assert_nothing_lives();
}

static void equal_similarities_come_by_smaller_id(void **state)
{
	struct kp_vectors_match found[5];
	kp_vectors *set = open_in_memory(2);
	size_t count;
	keep_error err;

	(void)state;
	for (int64_t id = 50; id > -50; id--)
		OK(kp_vectors_add(set, id, (float[]){1, 2}, &err));
	OK(kp_vectors_commit(set, 1, &err));
	OK(kp_vectors_search(set, (float[]){3, 1}, 5, NULL, NULL, found, &count, &err));
	assert_int_equal(count, 5);
	for (int i = 0; i < 5; i++)
		assert_int_equal(found[i].id, -49 + i);
	kp_vectors_close(&set);
	assert_nothing_lives();
}

static void a_vector_is_as_similar_to_itself_as_can_be(void **state)
{
	kp_vectors *set = open_in_memory(300);
	struct kp_vectors_match found[1];
	float values[300];
	size_t count;
	keep_error err;

	(void)state;
	for (uint64_t i = 0; i < 50; i++) {
		vector_draw(values, 300, VECTORS_ALL_LENGTHS, i);
		OK(kp_vectors_add(set, (int64_t)i, values, &err));
		OK(kp_vectors_commit(set, 1, &err));
		OK(kp_vectors_search(set, values, 1, NULL, NULL, found, &count, &err));
		assert_int_equal(found[0].id, i);
		assert_true(found[0].similarity == 1);
	}
	kp_vectors_close(&set);
	assert_nothing_lives();
}

static void an_empty_set_finds_nothing(void **state)
{
	struct kp_vectors_match found[1];
	struct kp_vectors_state about;
	kp_vectors *set = open_in_memory(3);
	size_t count = 7;
	keep_error err;

	(void)state;
	OK(kp_vectors_search(set, (float[]){1, 0, 0}, 1, NULL, NULL, found, &count, &err));
	assert_int_equal(count, 0);
	OK(kp_vectors_add(set, 1, (float[]){1, 0, 0}, &err));
	OK(kp_vectors_search(set, (float[]){1, 0, 0}, 1, NULL, NULL, found, &count, &err));
	assert_int_equal(count, 0); /* staged is not committed */
	kp_vectors_rollback(set);
	OK(kp_vectors_commit(set, 5, &err));
	OK(kp_vectors_look(set, &about, &err));
	assert_int_equal(about.count, 0);
	assert_int_equal(about.change, 5);
	OK(kp_vectors_verify(set, &err));
	kp_vectors_close(&set);
	assert_nothing_lives();
}

static void what_cannot_be_compared_is_refused(void **state)
{
	static const float bad[][2] = {{0, -0.0f}, {NAN, 1}, {1, INFINITY}, {-INFINITY, 0}};
	struct kp_vectors_match found[1];
	kp_vectors *set = open_in_memory(2), *none = NULL;
	struct kp_vectors_options options = {.dimension = 0, .model = KEEP_BYTES("m")};
	size_t count;
	keep_error err;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		assert_int_equal(kp_vectors_add(set, 1, bad[i], &err), KEEP_INVALID);
		assert_int_equal(kp_vectors_search(set, bad[i], 1, NULL, NULL, found, &count, &err),
				 KEEP_INVALID);
	}
	for (size_t nearest = 0; nearest <= 1001; nearest += 1001)
		assert_int_equal(kp_vectors_search(set, (float[]){1, 1}, nearest, NULL, NULL, found,
						   &count, &err),
				 KEEP_INVALID);
	assert_int_equal(kp_vectors_open(&options, &none, &err), KEEP_INVALID);
	options.dimension = KP_VECTORS_DIMENSION_MAX + 1;
	assert_int_equal(kp_vectors_open(&options, &none, &err), KEEP_INVALID);
	options = (struct kp_vectors_options){.dimension = 2, .model = KEEP_BYTES("")};
	assert_int_equal(kp_vectors_open(&options, &none, &err), KEEP_INVALID);
	assert_null(none);
	kp_vectors_close(&set);
	kp_vectors_close(&set);
	assert_nothing_lives();
}

static bool wants_every_fifth(void *ctx, int64_t id)
{
	(*(size_t *)ctx)++;
	return id % 5 == 0;
}

static void a_filter_takes_out_of_the_answer_and_the_next_best_come_in(void **state)
{
	struct vector_model model;
	kp_vectors *set = open_in_memory(40);
	size_t asked = 0, ignored = 0, count;
	struct kp_vectors_match found[1000];
	float query[40];
	keep_error err;

	(void)state;
	vector_model_make(&model, 40, 3000);
	add_many(set, &model, VECTORS_NORMAL, 3000);
	OK(kp_vectors_commit(set, 1, &err));
	vector_draw(query, 40, VECTORS_NORMAL, 99999);
	check_search(set, &model, query, 10, wants_every_fifth, &ignored);
	check_search(set, &model, query, 1000, wants_every_fifth, &ignored);
	OK(kp_vectors_search(set, query, 1000, wants_every_fifth, &asked, found, &count, &err));
	assert_int_equal(count, 600);
	assert_true(asked <= 3000);
	kp_vectors_close(&set);
	vector_model_release(&model);
	assert_nothing_lives();
}

/* Random adding, replacing, removing and re-adding, compared after each commit. */
static void changes_of_all_kinds_are_searched_exactly(void **state)
{
	enum { DIMENSION = 20, IDS = 400 };
	uint64_t seed = test_seed();
	struct vector_model model;
	kp_vectors *set = open_in_memory(DIMENSION);
	struct kp_vectors_state about;
	float query[DIMENSION];
	keep_error err;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	vector_model_make(&model, DIMENSION, IDS);
	model.count = IDS;
	for (int64_t i = 0; i < IDS; i++) {
		model.ids[i] = i * i - 5000;
		model.is_gone[i] = true;
	}
	for (int64_t round = 1; round <= 60; round++) {
		uint64_t live = 0;

		for (uint64_t n = next_random(&seed) % 60; n > 0; n--) {
			size_t i = next_random(&seed) % IDS;
			float *values = model.values + i * DIMENSION;

			model.is_gone[i] = next_random(&seed) % 3 == 0;
			vector_draw(values, DIMENSION, VECTORS_NORMAL, next_random(&seed) % 1000);
			if (model.is_gone[i])
				OK(kp_vectors_remove(set, model.ids[i], &err));
			else
				OK(kp_vectors_add(set, model.ids[i], values, &err));
		}
		OK(kp_vectors_commit(set, round, &err));
		vector_draw(query, DIMENSION, VECTORS_NORMAL, next_random(&seed));
		check_search(set, &model, query, 1 + next_random(&seed) % 50, NULL, NULL);
		for (size_t i = 0; i < IDS; i++)
			live += !model.is_gone[i];
		OK(kp_vectors_look(set, &about, &err));
		assert_int_equal(about.count, live);
		assert_int_equal(about.change, round);
	}
	OK(kp_vectors_verify(set, &err));
	kp_vectors_close(&set);
	vector_model_release(&model);
	assert_nothing_lives();
}

static void more_than_can_be_staged_is_refused_until_a_commit(void **state)
{
	enum { FIT = KP_VECTORS_STAGED_BYTES_MAX / (8192 * sizeof(float)) };
	kp_vectors *set = open_in_memory(8192);
	float *values = calloc(8192, sizeof *values);
	struct kp_vectors_state about;
	keep_error err;
	int64_t id = 0;

	(void)state;
	assert_non_null(values);
	values[0] = 1;
	while (id <= FIT && kp_vectors_add(set, id, values, &err) == KEEP_OK)
		id++;
	assert_true(id > FIT - 4 && id <= FIT);
	assert_int_equal(kp_vectors_add(set, id, values, &err), KEEP_FULL);
	OK(kp_vectors_commit(set, 1, &err));
	OK(kp_vectors_add(set, id, values, &err));
	OK(kp_vectors_look(set, &about, &err));
	assert_int_equal(about.count, id);
	kp_vectors_close(&set);
	free(values);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- threads */

enum { THREADS = 3, PAIRS = 200, COMMITS = 300 };

struct shared {
	kp_vectors *set;
	int failed, ended;
};

/* Commit n replaces all: every id then holds the direction n. A search that saw half of a commit
   would find two directions, or not every id. */
static void *search_whole_commits(void *ctx)
{
	struct shared *shared = ctx;
	struct kp_vectors_match found[PAIRS + 1];

	while (!__atomic_load_n(&shared->ended, __ATOMIC_ACQUIRE)) {
		size_t count = 0;
		bool is_whole = kp_vectors_search(shared->set, (float[]){1, 0}, PAIRS + 1, NULL,
						  NULL, found, &count, NULL) == KEEP_OK &&
				count == PAIRS;

		for (size_t i = 0; is_whole && i < count; i++)
			is_whole = found[i].similarity == found[0].similarity &&
				   found[i].id == (int64_t)i;
		if (!is_whole)
			__atomic_store_n(&shared->failed, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void stage_direction(kp_vectors *set, int64_t n)
{
	keep_error err;

	for (int64_t id = 0; id < PAIRS; id++)
		OK(kp_vectors_add(set, id, (float[]){1, (float)n}, &err));
}

static void threads_that_search_see_whole_commits(void **state)
{
	struct shared shared = {.set = open_in_memory(2)};
	pthread_t threads[THREADS];
	keep_error err;

	(void)state;
	stage_direction(shared.set, 0);
	OK(kp_vectors_commit(shared.set, 0, &err));
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(threads + i, NULL, search_whole_commits, &shared),
				 0);
	for (int64_t n = 1; n <= COMMITS; n++) {
		stage_direction(shared.set, n);
		OK(kp_vectors_commit(shared.set, n, &err));
	}
	__atomic_store_n(&shared.ended, 1, __ATOMIC_RELEASE);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_false(shared.failed);
	OK(kp_vectors_verify(shared.set, &err));
	kp_vectors_close(&shared.set);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_vectors_is_searched_exactly),
		cmocka_unit_test(the_largest_dimension_and_several_segments_are_searched_exactly),
		cmocka_unit_test(equal_similarities_come_by_smaller_id),
		cmocka_unit_test(a_vector_is_as_similar_to_itself_as_can_be),
		cmocka_unit_test(an_empty_set_finds_nothing),
		cmocka_unit_test(what_cannot_be_compared_is_refused),
		cmocka_unit_test(a_filter_takes_out_of_the_answer_and_the_next_best_come_in),
		cmocka_unit_test(changes_of_all_kinds_are_searched_exactly),
		cmocka_unit_test(more_than_can_be_staged_is_refused_until_a_commit),
		cmocka_unit_test(threads_that_search_see_whole_commits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
