/*
 * test_home_check_faults.c - whatever fails in a check of a home, it says so, leaks nothing,
 * changes nothing, and never says that all is well of a home that it could not read.
 */
#include "home_damage.h"
#include "temp_folder.h"
#include "torture.h"

enum { ROUNDS = 120 };

static temp_folder folder;
static char home[128];

/* The Nth failure, for many N: each round is a whole check. */
static void fail_at_many(enum kp_fault_kind kind, bool repair)
{
	long nth = 1, failed = 0;

	for (int round = 0; round < ROUNDS; round++) {
		keep_check_options options = KEEP_CHECK_OPTIONS_INIT;
		keep_check_result result;
		keep_error err = KEEP_ERROR_INIT;
		long live = kp_alloc_live(), fired;
		keep_status status;

		options.repair = repair;
		kp_fault_arm(kind, nth, false);
		status = keep_home_check(home, &options, &result, &err);
		fired = kp_fault_disarm(kind);
		failed += status != KEEP_OK;
		if (status == KEEP_OK && fired == 0 && !repair)
			must_find(&result, "stale_counter", HOME_CHAT);
		/* Neither is it passed over, nor said to be mended when it is not. */
		if (status == KEEP_OK && !repair)
			assert_true(result.wrong > 0);
		else if (status == KEEP_OK && result.wrong == 0)
			must_be_clean(home);
		if (status != KEEP_OK)
			assert_true(err.status == status && *err.message);
		keep_check_result_release(&result);
		CHECK(kp_alloc_live() == live, "failure %ld leaks", nth);
		if (fired == 0)
			break;
		if (repair)
			damage(home, NULL, "gateway/messages.db", "UPDATE chats SET last_seq = 7");
		nth += 1 + nth / 8;
	}
	CHECK(failed > 0 || kind != KP_FAULT_ALLOC, "nothing failed");
}

static void a_check_that_fails_says_so_and_leaks_nothing(void **state)
{
	(void)state;
	damage(home, NULL, "gateway/messages.db", "UPDATE chats SET last_seq = 7");
	fail_at_many(KP_FAULT_ALLOC, false);
	fail_at_many(KP_FAULT_FILE, false);
	fail_at_many(KP_FAULT_DRIVER, false);
}

static void a_repair_that_fails_leaves_what_can_be_repaired(void **state)
{
	(void)state;
	fail_at_many(KP_FAULT_ALLOC, true);
	fail_at_many(KP_FAULT_DRIVER, true);
	fail_at_many(KP_FAULT_COMMIT, true);
	damage(home, NULL, "gateway/messages.db", "UPDATE chats SET last_seq = 9");
	must_be_mended(home, "stale_counter", HOME_CHAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_check_that_fails_says_so_and_leaks_nothing),
		cmocka_unit_test(a_repair_that_fails_leaves_what_can_be_repaired),
	};
	home_filled filled;
	int failed;

	temp_folder_make(&folder);
	home_fill_little(temp_path(&folder, "home", home), &filled);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	temp_folder_remove(&folder);
	return failed;
}
