/* engine_suite_threads.c - one engine, many threads: no failure, one winner, one truth afterwards.
 */
#include "engine_suite.h"

#include <pthread.h>
#include <stdatomic.h>

#define RACERS 16
#define RACES 25
#define MIXERS 8
#define MIXED_OPERATIONS 150

/* cmocka's checks are for the main thread alone: the others count what went wrong. */
typedef struct crowd {
	keep_engine *engine;
	pthread_barrier_t gate;
	atomic_int next_number, winners, failures;
	atomic_int race;
	char message[320]; /* of some failure */
} crowd;

static void note_failure(crowd *self, const keep_error *err)
{
	if (atomic_fetch_add(&self->failures, 1) == 0)
		memcpy(self->message, err->message, sizeof self->message);
}

static void *race(void *ctx)
{
	crowd *self = ctx;
	int number = atomic_fetch_add(&self->next_number, 1);
	char expected[40], value[40];

	for (int i = 1; i <= RACES; i++) {
		keep_error err = KEEP_ERROR_INIT;
		keep_status status;

		snprintf(expected, sizeof expected, "%d", i - 1);
		snprintf(value, sizeof value, "%d", i);
		pthread_barrier_wait(&self->gate);
		status = keep_engine_compare_and_set(self->engine, KEEP_BYTES("race/x"),
						     keep_bytes_of(expected), keep_bytes_of(value),
						     &err);
		if (status == KEEP_OK)
			atomic_fetch_add(&self->winners, 1);
		else if (status != KEEP_CONFLICT)
			note_failure(self, &err);
		pthread_barrier_wait(&self->gate);
		if (number == 0 && atomic_exchange(&self->winners, 0) != 1) {
			snprintf(err.message, sizeof err.message, "race %d has not one winner", i);
			note_failure(self, &err);
		}
	}
	return NULL;
}

static void run_crowd(crowd *self, void *(*body)(void *ctx), size_t count)
{
	pthread_t threads[RACERS];

	pthread_barrier_init(&self->gate, NULL, (unsigned)count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, body, self), 0);
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&self->gate);
	CHECK(atomic_load(&self->failures) == 0, "%d failures: %s", atomic_load(&self->failures),
	      self->message);
}

static void of_16_threads_that_compare_and_set_one_wins(void **state)
{
	crowd racers = {.engine = engine_of(state)};
	char last[24];

	set_text(racers.engine, "race/x", "0");
	run_crowd(&racers, race, RACERS);
	snprintf(last, sizeof last, "%d", RACES);
	want_text(racers.engine, "race/x", last);
	want_count(racers.engine, "race", 1);
}

/* Every document's value is its path, or its path and '!', so that any reader can check it. */
static bool is_own_value(keep_bytes path, keep_bytes value)
{
	if (value.len == path.len + 1 && value.data[path.len] == '!')
		value.len--;
	return kp_bytes_equal(path, value);
}

static keep_status mix_one(crowd *self, uint64_t *seed, keep_error *err)
{
	char path[40], marked[44];
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_bytes bytes;
	keep_status status = KEEP_OK;
	uint64_t word = next_random(seed);
	int64_t count;

	if (word >> 16 & 1)
		snprintf(path, sizeof path, "mix/%d/%d", (int)(word >> 20 & 3),
			 (int)(word >> 24 & 7));
	else
		snprintf(path, sizeof path, "mix/%d", (int)(word >> 20 & 3));
	snprintf(marked, sizeof marked, "%s!", path);
	bytes = keep_bytes_of(path);
	switch (word % 12) {
	case 0: status = keep_engine_unset(self->engine, bytes, err); break;
	case 1:
		status = keep_engine_compare_and_set(self->engine, bytes, bytes,
						     keep_bytes_of(marked), err);
		status = status == KEEP_CONFLICT ? KEEP_OK : status;
		break;
	case 2:
	case 3:
	case 4: status = keep_engine_set(self->engine, bytes, bytes, err); break;
	case 5:
		status = keep_engine_set_scored(self->engine, bytes, bytes,
						(int64_t)(word >> 32 & 0xff), err);
		break;
	case 6: status = keep_engine_count(self->engine, KEEP_BYTES("mix/1"), &count, err); break;
	case 7:
	case 8:
		status =
			keep_engine_list_names(self->engine, KEEP_BYTES("mix/1"), 0, 5, &list, err);
		break;
	default:
		status = keep_engine_get(self->engine, bytes, &value, err);
		if (status == KEEP_OK && !is_own_value(bytes, kp_buffer_bytes(&value)))
			status = kp_fail(err, KEEP_CORRUPT, "%s holds another's value", path);
		status = status == KEEP_NOT_FOUND ? KEEP_OK : status;
		break;
	}
	for (size_t i = 0; status == KEEP_OK && i < list.count; i++) {
		snprintf(path, sizeof path, "mix/1/%.*s", (int)list.items[i].name.len,
			 list.items[i].name.data);
		if (!is_own_value(keep_bytes_of(path), list.items[i].value))
			status = kp_fail(err, KEEP_CORRUPT, "%s lists another's value", path);
	}
	keep_engine_list_release(&list);
	keep_buffer_release(&value);
	return status;
}

static void *mix(void *ctx)
{
	crowd *self = ctx;
	uint64_t seed = test_seed() + (uint64_t)atomic_fetch_add(&self->next_number, 1);

	pthread_barrier_wait(&self->gate);
	for (int i = 0; i < MIXED_OPERATIONS; i++) {
		keep_error err = KEEP_ERROR_INIT;

		if (mix_one(self, &seed, &err) != KEEP_OK)
			note_failure(self, &err);
	}
	return NULL;
}

static size_t check_folder(keep_engine *engine, const char *parent)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char path[64];
	size_t count;

	OK(keep_engine_list_names(engine, keep_bytes_of(parent), 0, 1000, &list, &err));
	want_count(engine, parent, (int64_t)list.count);
	for (size_t i = 0; i < list.count; i++) {
		snprintf(path, sizeof path, "%s/%.*s", parent, (int)list.items[i].name.len,
			 list.items[i].name.data);
		want_bytes(engine, keep_bytes_of(path), list.items[i].value);
		assert_true(is_own_value(keep_bytes_of(path), list.items[i].value));
		for (size_t j = 0; j < i; j++)
			assert_false(kp_bytes_equal(list.items[i].name, list.items[j].name));
	}
	count = list.count;
	keep_engine_list_release(&list);
	return count;
}

static bool count_document(void *ctx, keep_bytes path, keep_bytes value)
{
	(void)path, (void)value;
	++*(size_t *)ctx;
	return true;
}

static void what_8_threads_leave_agrees_with_itself(void **state)
{
	suite_case *self = *state;
	keep_error err = KEEP_ERROR_INIT;
	crowd mixers = {.engine = NULL};
	size_t listed = 0, scanned = 0;
	char path[64];

	keep_engine_close(&self->engine);
	self->engine =
		open_engine(self->url, (keep_engine_options){.create = true, .relaxed = true});
	mixers.engine = self->engine;
	run_crowd(&mixers, mix, MIXERS);
	if (suite_kind.persists)
		reopen(self);
	listed += check_folder(self->engine, "mix");
	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof path, "mix/%d", i);
		listed += check_folder(self->engine, path);
	}
	OK(keep_engine_scan(self->engine, KEEP_BYTES("mix"), count_document, &scanned, &err));
	assert_int_equal(scanned, listed);
	unset_path(self->engine, "mix");
	want_count(self->engine, "mix", 0);
}

static void *write_own(void *ctx)
{
	crowd *self = ctx;
	int number = atomic_fetch_add(&self->next_number, 1);
	char path[40];

	pthread_barrier_wait(&self->gate);
	for (int i = 0; i < 40; i++) {
		keep_error err = KEEP_ERROR_INIT;

		snprintf(path, sizeof path, "own/%d-%02d", number, i);
		if (keep_engine_set(self->engine, KEEP_BYTES("own/shared"), keep_bytes_of(path),
				    &err) != KEEP_OK ||
		    keep_engine_set(self->engine, keep_bytes_of(path), keep_bytes_of(path), &err) !=
			    KEEP_OK)
			note_failure(self, &err);
	}
	return NULL;
}

/* Whatever the threads' order among each other, each one's own order holds. */
static void each_threads_sets_keep_their_order(void **state)
{
	crowd writers = {.engine = engine_of(state)};
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int last[MIXERS];

	run_crowd(&writers, write_own, MIXERS);
	OK(keep_engine_list_names(writers.engine, KEEP_BYTES("own"), 0, 1000, &list, &err));
	assert_int_equal(list.count, MIXERS * 40 + 1);
	for (size_t i = 0; i < MIXERS; i++)
		last[i] = 40;
	for (size_t i = 0; i < list.count; i++) {
		int number = atoi(list.items[i].name.data);
		const char *dash = strchr(list.items[i].name.data, '-');

		if (!dash)
			continue;
		CHECK(atoi(dash + 1) == last[number] - 1, "thread %d: %d after %d", number,
		      atoi(dash + 1), last[number]);
		last[number] = atoi(dash + 1);
	}
	keep_engine_list_release(&list);
}

static void two_engines_on_one_namespace_share_one_truth(void **state)
{
	suite_case *self = *state;
	keep_engine *second = open_engine(self->url, (keep_engine_options){.shared = true});
	char path[40];

	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof path, "both/%d", i);
		set_text(i % 2 ? second : self->engine, path, path + 5);
		want_text(i % 2 ? self->engine : second, path, path + 5);
		want_page(i % 2 ? self->engine : second, "both", 0, 1, path + 5);
		want_count(i % 2 ? self->engine : second, "both", i + 1);
	}
	unset_path(second, "both/19");
	want_page(self->engine, "both", 0, 3, "18 17 16");
	unset_path(self->engine, "");
	want_count(second, "both", 0);
	want_text(second, "both/3", NULL);
	keep_engine_close(&second);
}

static const struct CMUnitTest tests[] = {
	SUITE_TEST(of_16_threads_that_compare_and_set_one_wins),
	SUITE_TEST(what_8_threads_leave_agrees_with_itself),
	SUITE_TEST(each_threads_sets_keep_their_order),
	SUITE_TEST(two_engines_on_one_namespace_share_one_truth),
};

const suite_group suite_threads = {tests, KP_COUNT(tests)};
