/*
 * test_fuse.c - reciprocal rank fusion: sums of 1 / (60 + rank), and one order for one input.
 */
#include "keep_test.h"
#include "search/search.h"

#include <math.h>

static void what_two_lists_agree_on_is_first(void **state)
{
	static const int64_t words[] = {7, 3, 9}, vectors[] = {3, 8};
	const kp_ranked_ids lists[] = {{words, 3, 0}, {vectors, 2, 0}};
	keep_error err = KEEP_ERROR_INIT;
	kp_ranked out[10];
	size_t count;

	(void)state;
	OK(kp_rank_fuse(lists, 2, 10, out, &count, &err));
	assert_int_equal(count, 4);
	assert_int_equal(out[0].id, 3);
	assert_true(fabs(out[0].score - (1.0 / 62 + 1.0 / 61)) < 1e-15);
	assert_int_equal(out[1].id, 7);
	assert_true(fabs(out[1].score - 1.0 / 61) < 1e-15);
	assert_int_equal(out[2].id, 8);
	assert_int_equal(out[3].id, 9);
}

static void equal_ones_are_larger_id_first_and_the_limit_holds(void **state)
{
	static const int64_t first[] = {5}, second[] = {6}, third[] = {4};
	const kp_ranked_ids lists[] = {{first, 1, 0}, {second, 1, 0}, {third, 1, 0}};
	keep_error err = KEEP_ERROR_INIT;
	kp_ranked out[2];
	size_t count;

	(void)state;
	OK(kp_rank_fuse(lists, 3, 2, out, &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(out[0].id, 6);
	assert_int_equal(out[1].id, 5);
}

static void an_id_that_a_list_repeats_counts_where_it_is_first(void **state)
{
	static const int64_t ids[] = {1, 2, 1, 1};
	const kp_ranked_ids lists[] = {{ids, 4, 0}};
	keep_error err = KEEP_ERROR_INIT;
	kp_ranked out[4];
	size_t count;

	(void)state;
	OK(kp_rank_fuse(lists, 1, 4, out, &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(out[0].id, 1);
	assert_true(fabs(out[0].score - 1.0 / 61) < 1e-15);
}

static void a_weight_counts(void **state)
{
	static const int64_t light[] = {1}, heavy[] = {2, 3};
	const kp_ranked_ids lists[] = {{light, 1, 1}, {heavy, 2, 3}};
	keep_error err = KEEP_ERROR_INIT;
	kp_ranked out[4];
	size_t count;

	(void)state;
	OK(kp_rank_fuse(lists, 2, 4, out, &count, &err));
	assert_int_equal(out[0].id, 2);
	assert_int_equal(out[1].id, 3);
	assert_int_equal(out[2].id, 1);
}

static void nothing_gives_nothing_and_too_much_is_refused(void **state)
{
	const kp_ranked_ids many = {NULL, KP_FUSE_IDS_MAX + 1, 0}, odd = {NULL, 0, NAN};
	keep_error err = KEEP_ERROR_INIT;
	kp_ranked out[1];
	size_t count = 1;

	(void)state;
	OK(kp_rank_fuse(NULL, 0, 1, out, &count, &err));
	assert_int_equal(count, 0);
	assert_int_equal(kp_rank_fuse(&many, 1, 1, out, &count, &err), KEEP_INVALID);
	assert_int_equal(kp_rank_fuse(&odd, 1, 1, out, &count, &err), KEEP_INVALID);
	assert_int_equal(kp_rank_fuse(&odd, KP_FUSE_LISTS_MAX + 1, 1, out, &count, &err),
			 KEEP_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_two_lists_agree_on_is_first),
		cmocka_unit_test(equal_ones_are_larger_id_first_and_the_limit_holds),
		cmocka_unit_test(an_id_that_a_list_repeats_counts_where_it_is_first),
		cmocka_unit_test(a_weight_counts),
		cmocka_unit_test(nothing_gives_nothing_and_too_much_is_refused),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	assert_nothing_lives();
	return failed;
}
