/*
 * test_engine_files_order.c - one folder's order against an array that is sorted anew each time.
 */
#include "engine/engine_files.h"
#include "keep_test.h"

enum { NAMES = 900, ROUNDS = 20000 };

/* mtimes[i] is that of the name `i`, -1 when it is not in the order. */
static int64_t mtimes[NAMES];

static keep_bytes name_of(int number, char room[16])
{
	return (keep_bytes){room, (size_t)snprintf(room, 16, "%d", number)};
}

/* Above 0 when `a` is listed after `b`: older, or as old and later by name. */
static int compare_places(const void *a, const void *b)
{
	int left = *(const int *)a, right = *(const int *)b;
	char room[2][16];

	if (mtimes[left] != mtimes[right])
		return mtimes[left] < mtimes[right] ? 1 : -1;
	return kp_bytes_compare(name_of(left, room[0]), name_of(right, room[1]));
}

static void compare_with_model(const kp_files_order *order)
{
	int sorted[NAMES];
	size_t count = 0, rank;
	char room[16];

	for (int i = 0; i < NAMES; i++) {
		if (mtimes[i] >= 0)
			sorted[count++] = i;
	}
	qsort(sorted, count, sizeof *sorted, compare_places);
	assert_int_equal(order->count, count);
	CHECK(!kp_files_order_at(order, count), "an entry after the last");
	for (size_t i = 0; i < count; i++) {
		const kp_files_entry *entry = kp_files_order_at(order, i);

		CHECK(entry && entry->mtime == mtimes[sorted[i]], "entry %zu", i);
		assert_bytes_equal((keep_bytes){entry->name, entry->name_len},
				   name_of(sorted[i], room));
		entry = kp_files_order_below(order, mtimes[sorted[i]] + 1, &rank);
		CHECK(entry && entry->mtime == mtimes[sorted[i]] && rank <= i, "below");
	}
}

static void an_order_is_what_sorting_would_give(void **state)
{
	kp_files_order order = {.count = 0}, copy;
	keep_error err = KEEP_ERROR_INIT;
	uint64_t seed = test_seed();
	char room[16];

	(void)state;
	for (int i = 0; i < NAMES; i++)
		mtimes[i] = -1;
	for (int round = 0; round < ROUNDS; round++) {
		int name = (int)(next_random(&seed) % NAMES);

		if (next_random(&seed) % 4 == 0) {
			mtimes[name] = -1;
			kp_files_order_remove(&order, name_of(name, room));
		} else {
			/* Mostly the newest; now and then an old place, often a taken one. */
			mtimes[name] = next_random(&seed) % 3 ? 1000 + round
							      : (int64_t)(next_random(&seed) % 50);
			OK(kp_files_order_put(&order, name_of(name, room), mtimes[name], &err));
		}
		if (round % 500 == 0 || round < 50)
			compare_with_model(&order);
	}
	OK(kp_files_order_copy(&order, &copy, &err));
	kp_files_order_release(&order);
	compare_with_model(&copy);
	for (int i = 0; i < NAMES; i++)
		kp_files_order_remove(&copy, name_of(i, room));
	assert_int_equal(copy.count, 0);
	assert_int_equal(copy.block_count, 0);
	kp_files_order_release(&copy);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_order_is_what_sorting_would_give),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
