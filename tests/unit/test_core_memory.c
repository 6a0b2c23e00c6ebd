/* test_core_memory.c - allocations, the arena, bytes and buffers. */
#include "keep/engine.h"
#include "keep_test.h"

#include <pthread.h>

static void every_block_is_counted_until_it_is_freed(void **state)
{
	char *first = kp_alloc(0), *second = kp_alloc_zero(100);

	(void)state;
	assert_non_null(first);
	assert_non_null(second);
	for (int i = 0; i < 100; i++)
		assert_int_equal(second[i], 0);
	assert_int_equal(kp_alloc_live(), 2);
	second = kp_realloc(second, 100000);
	assert_int_equal(second[99], 0);
	assert_int_equal(kp_alloc_live(), 2);
	kp_free(first);
	kp_free(second);
	kp_free(NULL);
	second = kp_realloc(NULL, 0);
	assert_int_equal(kp_alloc_live(), 1);
	kp_free(second);
	assert_nothing_lives();
}

static void *allocate_and_free(void *ctx)
{
	(void)ctx;
	for (int i = 0; i < 20000; i++)
		kp_free(kp_alloc(8));
	return NULL;
}

static void the_count_is_exact_under_threads(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocate_and_free, NULL), 0);
	for (size_t i = 0; i < KP_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	assert_nothing_lives();
}

static void a_wiped_secret_is_gone(void **state)
{
	char secret[] = "secret";

	(void)state;
	kp_wipe(secret, sizeof secret);
	for (size_t i = 0; i < sizeof secret; i++)
		assert_int_equal(secret[i], 0);
	kp_wipe(NULL, 0);
}

static void an_arena_gives_aligned_memory_that_does_not_overlap(void **state)
{
	static struct {
		unsigned char *at;
		size_t size;
	} given[3000];
	kp_arena arena = {.head = NULL};
	uint64_t seed = test_seed();

	(void)state;
	for (size_t i = 0; i < KP_COUNT(given); i++) {
		uint64_t random = next_random(&seed);

		given[i].size = random % 50 == 0 ? random % 100000 : random % 200;
		given[i].at = kp_arena_alloc(&arena, given[i].size);
		assert_non_null(given[i].at);
		assert_int_equal((uintptr_t)given[i].at % _Alignof(max_align_t), 0);
		memset(given[i].at, (int)(i % 251), given[i].size);
	}
	for (size_t i = 0; i < KP_COUNT(given); i++) {
		for (size_t j = 0; j < given[i].size; j++)
			assert_int_equal(given[i].at[j], i % 251);
	}
	kp_arena_release(&arena);
	assert_nothing_lives();
}

static void an_arena_makes_few_blocks(void **state)
{
	static const size_t sizes[] = {1, 16, 100, 600, 1500, 20000, 32000};
	kp_arena arena = {.head = NULL};

	(void)state;
	for (size_t s = 0; s < KP_COUNT(sizes); s++) {
		size_t total = 0;

		while (total < (1 << 22)) {
			assert_non_null(kp_arena_alloc(&arena, sizes[s]));
			total += sizes[s] < 16 ? 16 : sizes[s];
		}
		CHECK(kp_alloc_live() < (1 << 22) / (1 << 15) + 16, "%ld blocks for %zu",
		      kp_alloc_live(), sizes[s]);
		kp_arena_release(&arena);
		assert_nothing_lives();
	}
}

static void a_large_request_leaves_the_rest_of_the_chunk_usable(void **state)
{
	kp_arena arena = {.head = NULL};
	char *large, *small, *next;

	(void)state;
	large = kp_arena_alloc(&arena, 200000);
	small = kp_arena_alloc(&arena, 16);
	memset(large, 1, 200000);
	assert_non_null(kp_arena_alloc(&arena, 200000));
	next = kp_arena_alloc(&arena, 16);
	assert_ptr_equal(next, small + 16);
	assert_int_equal(kp_alloc_live(), 3);
	assert_null(kp_arena_alloc(&arena, SIZE_MAX));
	assert_null(kp_arena_alloc(&arena, SIZE_MAX - 8));
	kp_arena_release(&arena);
	kp_arena_release(&arena);
	assert_nothing_lives();
}

static void an_arena_copy_ends_in_a_zero_byte_and_absent_stays_absent(void **state)
{
	kp_arena arena = {.head = NULL};
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes copy = KEEP_BYTES("x");

	(void)state;
	OK(kp_arena_copy(&arena, (keep_bytes){.data = NULL}, &copy, &err));
	assert_null(copy.data);
	assert_null(arena.head);
	OK(kp_arena_copy(&arena, KEEP_BYTES(""), &copy, &err));
	assert_non_null(copy.data);
	assert_int_equal(copy.len, 0);
	OK(kp_arena_copy(&arena, KEEP_BYTES("a\0b"), &copy, &err));
	assert_memory_equal(copy.data, "a\0b", 4);
	assert_int_equal(copy.len, 3);
	copy = KEEP_BYTES("x");
	assert_int_equal(kp_arena_copy(&arena, (keep_bytes){"", SIZE_MAX}, &copy, &err),
			 KEEP_NO_MEMORY);
	assert_null(copy.data);
	kp_arena_release(&arena);
	assert_nothing_lives();
}

static void absent_bytes_equal_only_absent_ones(void **state)
{
	keep_bytes absent = {.data = NULL};

	(void)state;
	assert_true(kp_bytes_equal(absent, absent));
	assert_false(kp_bytes_equal(absent, KEEP_BYTES("")));
	assert_false(kp_bytes_equal(KEEP_BYTES(""), absent));
	assert_true(kp_bytes_equal(KEEP_BYTES(""), KEEP_BYTES("")));
	assert_false(kp_bytes_equal(KEEP_BYTES("a"), KEEP_BYTES("ab")));
	assert_false(kp_bytes_equal(KEEP_BYTES("a"), KEEP_BYTES("b")));
	assert_null(keep_bytes_of(NULL).data);
	assert_bytes_equal(keep_bytes_of("ab"), KEEP_BYTES("ab"));
}

static void bytes_are_ordered_by_value_and_then_by_length(void **state)
{
	(void)state;
	assert_true(kp_bytes_compare(KEEP_BYTES("a"), KEEP_BYTES("b")) < 0);
	assert_true(kp_bytes_compare(KEEP_BYTES("\xff"), KEEP_BYTES("b")) > 0);
	assert_true(kp_bytes_compare(KEEP_BYTES("a"), KEEP_BYTES("ab")) < 0);
	assert_true(kp_bytes_compare(KEEP_BYTES("ab"), KEEP_BYTES("a")) > 0);
	assert_true(kp_bytes_compare(KEEP_BYTES("ab"), KEEP_BYTES("ab")) == 0);
	assert_true(kp_bytes_compare(KEEP_BYTES(""), (keep_bytes){.data = NULL}) == 0);
}

static void a_buffer_ends_in_a_zero_byte_whatever_was_stored(void **state)
{
	keep_buffer buffer = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_bytes_equal(kp_buffer_bytes(&buffer), KEEP_BYTES(""));
	OK(kp_buffer_append(&buffer, KEEP_BYTES(""), &err));
	assert_string_equal(buffer.data, "");
	for (int i = 0; i < 5000; i++) {
		OK(kp_buffer_append_text(&buffer, i % 2 ? "b" : "a", &err));
		assert_int_equal(buffer.data[buffer.len], 0);
	}
	assert_int_equal(buffer.len, 5000);
	assert_memory_equal(buffer.data, "abababab", 8);
	OK(keep_buffer_set(&buffer, KEEP_BYTES("x\0y"), &err));
	assert_memory_equal(buffer.data, "x\0y", 4);
	OK(keep_buffer_set(&buffer, (keep_bytes){.data = NULL}, &err));
	assert_string_equal(buffer.data, "");
	OK(kp_buffer_append_format(&buffer, &err, "%d-%s", 42, "answer"));
	OK(kp_buffer_append_format(&buffer, &err, "%200s", "end"));
	assert_int_equal(buffer.len, 209);
	assert_memory_equal(buffer.data, "42-answer   ", 12);
	keep_buffer_release(&buffer);
	keep_buffer_release(&buffer);
	assert_null(buffer.data);
	assert_nothing_lives();
}

static void a_buffer_may_be_given_its_own_bytes(void **state)
{
	keep_buffer buffer = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_buffer_set(&buffer, KEEP_BYTES("abc"), &err));
	for (int i = 0; i < 10; i++)
		OK(kp_buffer_append(&buffer, kp_buffer_bytes(&buffer), &err));
	assert_int_equal(buffer.len, 3 * 1024);
	for (size_t i = 0; i < buffer.len; i++)
		assert_int_equal(buffer.data[i], "abc"[i % 3]);
	OK(keep_buffer_set(&buffer, (keep_bytes){buffer.data + 1, 5}, &err));
	assert_string_equal(buffer.data, "bcabc");
	keep_buffer_release(&buffer);
}

static void a_buffer_refuses_to_grow_over_its_limit(void **state)
{
	keep_buffer buffer = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(kp_buffer_reserve(&buffer, KP_BUFFER_BYTES_MAX + 1, &err), KEEP_FULL);
	assert_int_equal(kp_buffer_reserve(&buffer, SIZE_MAX, &err), KEEP_FULL);
	OK(keep_buffer_set(&buffer, KEEP_BYTES("kept"), &err));
	assert_int_equal(kp_buffer_append(&buffer, (keep_bytes){"", SIZE_MAX - 2}, &err),
			 KEEP_FULL);
	assert_int_equal(kp_buffer_append(&buffer, (keep_bytes){"", KP_BUFFER_BYTES_MAX}, NULL),
			 KEEP_FULL);
	assert_string_equal(buffer.data, "kept");
	keep_buffer_release(&buffer);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_block_is_counted_until_it_is_freed),
		cmocka_unit_test(the_count_is_exact_under_threads),
		cmocka_unit_test(a_wiped_secret_is_gone),
		cmocka_unit_test(an_arena_gives_aligned_memory_that_does_not_overlap),
		cmocka_unit_test(an_arena_makes_few_blocks),
		cmocka_unit_test(a_large_request_leaves_the_rest_of_the_chunk_usable),
		cmocka_unit_test(an_arena_copy_ends_in_a_zero_byte_and_absent_stays_absent),
		cmocka_unit_test(absent_bytes_equal_only_absent_ones),
		cmocka_unit_test(bytes_are_ordered_by_value_and_then_by_length),
		cmocka_unit_test(a_buffer_ends_in_a_zero_byte_whatever_was_stored),
		cmocka_unit_test(a_buffer_may_be_given_its_own_bytes),
		cmocka_unit_test(a_buffer_refuses_to_grow_over_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
