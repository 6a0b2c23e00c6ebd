/* test_uuid.c - ids, the clock and random bytes, with both sources held by the test. */
#include "keep_test.h"

#include <pthread.h>

static int64_t held_ms;

static int64_t held_clock(void *ctx)
{
	(void)ctx;
	return held_ms;
}

static void fill_with(void *ctx, void *out, size_t size)
{
	const unsigned char *byte = ctx;

	memset(out, *byte, size);
}

static int restore(void **state)
{
	(void)state;
	kp_clock_inject(NULL, NULL);
	kp_random_inject(NULL, NULL);
	return 0;
}

static void an_id_has_the_form_of_uuid_version_7(void **state)
{
	char id[KP_UUID_TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		OK(kp_uuid_make(id, &err));
		assert_int_equal(strlen(id), 36);
		for (size_t at = 0; at < 36; at++) {
			bool dash = at == 8 || at == 13 || at == 18 || at == 23;

			assert_non_null(strchr(dash ? "-" : "0123456789abcdef", id[at]));
		}
		assert_int_equal(id[14], '7');
		assert_non_null(strchr("89ab", id[19]));
	}
}

static void an_id_begins_with_the_clocks_milliseconds(void **state)
{
	char id[KP_UUID_TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	/* The example of RFC 9562, appendix A.6, moved to a time after every other test's. */
	held_ms = INT64_C(0xfeedbeef0123);
	kp_clock_inject(held_clock, NULL);
	OK(kp_uuid_make(id, &err));
	assert_memory_equal(id, "feedbeef-0123-7", 15);
}

static void ids_increase_whatever_the_clock_does(void **state)
{
	char last[KP_UUID_TEXT_SIZE] = "", id[KP_UUID_TEXT_SIZE];
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	kp_clock_inject(held_clock, NULL);
	for (int i = 0; i < 100000; i++) {
		held_ms = INT64_C(1700000000000) + (int64_t)(next_random(&seed) % 1000) - 500;
		if (i % 1000 == 0)
			held_ms = -5;
		OK(kp_uuid_make(id, &err));
		assert_true(strcmp(last, id) < 0);
		memcpy(last, id, sizeof last);
	}
}

static void a_full_counter_goes_on_in_the_next_millisecond(void **state)
{
	static unsigned char ones = 0xff;
	char last[KP_UUID_TEXT_SIZE] = "", id[KP_UUID_TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	held_ms = INT64_C(0xfeedbeef9000);
	kp_clock_inject(held_clock, NULL);
	kp_random_inject(fill_with, &ones);
	/* The counter begins at its largest seed; the random part does not move. */
	for (int i = 0; i < 1000; i++) {
		OK(kp_uuid_make(id, &err));
		assert_true(strcmp(last, id) < 0);
		memcpy(last, id, sizeof last);
	}
	assert_string_equal(id + 28, "ffffffff");
}

#define THREADS 4
#define IDS_EACH 5000
static char made[THREADS * IDS_EACH][KP_UUID_TEXT_SIZE];

static void *make_ids(void *ctx)
{
	char(*ids)[KP_UUID_TEXT_SIZE] = ctx;

	for (int i = 0; i < IDS_EACH; i++) {
		if (kp_uuid_make(ids[i], NULL) != KEEP_OK)
			return NULL;
	}
	return ctx;
}

static int compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void ids_of_all_threads_differ_and_each_thread_sees_them_increase(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_ids, made[i * IDS_EACH]),
				 0);
	for (size_t i = 0; i < THREADS; i++) {
		void *result;

		pthread_join(threads[i], &result);
		assert_non_null(result);
		for (size_t j = i * IDS_EACH + 1; j < (i + 1) * IDS_EACH; j++)
			assert_true(strcmp(made[j - 1], made[j]) < 0);
	}
	qsort(made, KP_COUNT(made), sizeof made[0], compare_ids);
	for (size_t i = 1; i < KP_COUNT(made); i++)
		assert_true(strcmp(made[i - 1], made[i]) < 0);
}

static void the_clock_can_be_held_still_and_let_go(void **state)
{
	(void)state;
	held_ms = 42;
	kp_clock_inject(held_clock, NULL);
	assert_int_equal(kp_clock_ms(), 42);
	kp_clock_inject(NULL, NULL);
	assert_true(kp_clock_ms() > INT64_C(1700000000000));
	assert_true(kp_clock_ms() < INT64_C(4102444800000));
}

static void the_monotonic_clock_never_goes_back(void **state)
{
	int64_t last = kp_monotonic_ns();

	(void)state;
	for (int i = 0; i < 10000; i++) {
		int64_t now = kp_monotonic_ns();

		assert_true(now >= last);
		last = now;
	}
}

static void random_bytes_fill_everything_and_differ(void **state)
{
	static unsigned char first[1000], second[1000];
	static unsigned char seven = 7;
	size_t zeros = 0;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_random_bytes(first, sizeof first, &err));
	OK(kp_random_bytes(second, sizeof second, &err));
	OK(kp_random_bytes(NULL, 0, &err));
	assert_memory_not_equal(first, second, sizeof first);
	for (size_t i = 0; i < sizeof first; i++)
		zeros += first[i] == 0;
	assert_true(zeros < 50);
	kp_random_inject(fill_with, &seven);
	OK(kp_random_bytes(first, sizeof first, &err));
	assert_int_equal(first[999], 7);
}

int main(void)
{
	/* The clock in the far future comes after the tests of the present. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(an_id_has_the_form_of_uuid_version_7, restore),
		cmocka_unit_test_teardown(
			ids_of_all_threads_differ_and_each_thread_sees_them_increase, restore),
		cmocka_unit_test_teardown(ids_increase_whatever_the_clock_does, restore),
		cmocka_unit_test_teardown(an_id_begins_with_the_clocks_milliseconds, restore),
		cmocka_unit_test_teardown(a_full_counter_goes_on_in_the_next_millisecond, restore),
		cmocka_unit_test_teardown(the_clock_can_be_held_still_and_let_go, restore),
		cmocka_unit_test_teardown(the_monotonic_clock_never_goes_back, restore),
		cmocka_unit_test_teardown(random_bytes_fill_everything_and_differ, restore),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
