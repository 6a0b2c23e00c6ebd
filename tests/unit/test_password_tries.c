/*
 * test_password_tries.c - src/service/password_tries.c, with time as a number.
 */
#include "keep_test.h"
#include "service/accounts.h"

static kp_tries *tries;

static int open_tries(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_tries_open(&tries, &err));
	return 0;
}

static int close_tries(void **state)
{
	(void)state;
	kp_tries_close(&tries);
	assert_nothing_lives();
	return 0;
}

/* 0: it was tried; else the wait. */
static int64_t try_as(const char *name, const char *address, kp_try_outcome outcome, int64_t now_ms)
{
	kp_try one;
	int64_t wait_ms = 0;

	if (!kp_tries_begin(tries, keep_bytes_of(name), address, now_ms, &one, &wait_ms)) {
		assert_true(wait_ms > 0);
		return wait_ms;
	}
	kp_tries_end(tries, &one, outcome, now_ms);
	return 0;
}

static void wrong_passwords_of_an_account_slow_it_down_more_and_more(void **state)
{
	int64_t now = 1000, waited = 0, wait;

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(try_as("ada", "192.0.2.1", KP_TRY_WRONG, now), 0);
	assert_int_equal(try_as("ada", "192.0.2.1", KP_TRY_WRONG, now), 1000);
	/* Asking on does not make it longer, and another account is not meant. */
	for (int i = 0; i < 100; i++)
		assert_int_equal(try_as("ada", "192.0.2.1", KP_TRY_WRONG, now + 1), 999);
	assert_int_equal(try_as("bob", "192.0.2.1", KP_TRY_VOID, now), 0);
	for (int i = 0; i < 20; i++) {
		wait = try_as("ada", "192.0.2.1", KP_TRY_WRONG, now);
		assert_true(wait <= 60000);
		assert_true(wait >= waited || wait == 0);
		waited = wait ? wait : waited;
		now += wait;
	}
	assert_int_equal(waited, 60000);
}

static void many_accounts_from_one_address_are_slowed_down_too(void **state)
{
	int64_t tried = 0;
	char name[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof name, "user%d", i);
		tried += try_as(name, "198.51.100.7", KP_TRY_WRONG, 1000) == 0;
	}
	assert_int_equal(tried, 20);
	/* The same address in another form, and a neighbour of it in IPv6. */
	assert_true(try_as("x", "::ffff:198.51.100.7", KP_TRY_WRONG, 1000) > 0);
	assert_int_equal(try_as("x", "198.51.100.8", KP_TRY_WRONG, 1000), 0);
	for (int i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof name, "2001:db8:1:2::%x", i + 1);
		assert_int_equal(try_as(name, name, KP_TRY_WRONG, 1000), 0);
	}
	assert_true(try_as("y", "2001:db8:1:2:ffff::1", KP_TRY_WRONG, 1000) > 0);
	assert_int_equal(try_as("y", "2001:db8:1:3::1", KP_TRY_WRONG, 1000), 0);
}

static void nobody_locks_an_account_out_where_it_has_signed_in_before(void **state)
{
	char address[32];
	int64_t now = 1000;

	(void)state;
	assert_int_equal(try_as("ada", "192.0.2.1", KP_TRY_RIGHT, now), 0);
	for (int i = 0; i < 3000; i++) {
		(void)snprintf(address, sizeof address, "10.%d.%d.1", i / 250, i % 250);
		(void)try_as("ada", address, KP_TRY_WRONG, now);
		now += 10;
	}
	assert_true(try_as("ada", "203.0.113.5", KP_TRY_RIGHT, now) > 0);
	assert_int_equal(try_as("ada", "192.0.2.1", KP_TRY_RIGHT, now), 0);
	/* There it has a counter of its own, and a right password sets it back. */
	for (int i = 0; i < 4; i++)
		assert_int_equal(try_as("ada", "192.0.2.1", KP_TRY_WRONG, now), 0);
	assert_int_equal(try_as("ada", "192.0.2.1", KP_TRY_RIGHT, now), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(try_as("ada", "192.0.2.1", KP_TRY_WRONG, now), 0);
	assert_true(try_as("ada", "192.0.2.1", KP_TRY_WRONG, now) > 0);
	/* And elsewhere it ends by itself. */
	assert_int_equal(try_as("ada", "203.0.113.5", KP_TRY_RIGHT, now + 60000), 0);
}

static void what_is_under_way_counts(void **state)
{
	kp_try under_way[64];
	int64_t wait_ms = 0;
	size_t count = 0;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(under_way); i++)
		count += kp_tries_begin(tries, KEEP_BYTES("ada"), "192.0.2.1", 1000,
					&under_way[count], &wait_ms);
	assert_int_equal(count, 8);
	assert_int_equal(wait_ms, 1000);
	for (size_t i = 0; i < count; i++)
		kp_tries_end(tries, &under_way[i], KP_TRY_WRONG, 1000);
	/* From now on one at a time. */
	assert_true(kp_tries_begin(tries, KEEP_BYTES("ada"), "192.0.2.1", 100000, &under_way[0],
				   &wait_ms));
	assert_false(kp_tries_begin(tries, KEEP_BYTES("ada"), "192.0.2.1", 100000, &under_way[1],
				    &wait_ms));
	kp_tries_end(tries, &under_way[0], KP_TRY_VOID, 100000);

	/* And in all, whoever asks. */
	for (count = 0; count < KP_COUNT(under_way); count++) {
		char name[16], address[32];

		(void)snprintf(name, sizeof name, "u%zu", count);
		(void)snprintf(address, sizeof address, "172.16.0.%zu", count);
		if (!kp_tries_begin(tries, keep_bytes_of(name), address, 100000, &under_way[count],
				    &wait_ms))
			break;
	}
	assert_int_equal(count, 16);
	for (size_t i = 0; i < count; i++)
		kp_tries_end(tries, &under_way[i], KP_TRY_VOID, 100000);
}

static void a_flood_of_names_does_not_push_out_the_one_under_attack(void **state)
{
	char name[32], address[32];

	(void)state;
	for (int i = 0; i < 8; i++)
		(void)try_as("ada", "192.0.2.1", KP_TRY_WRONG, 1000 + i * 100000);
	assert_true(try_as("ada", "192.0.2.9", KP_TRY_WRONG, 701000) > 0);
	for (int i = 0; i < 50000; i++) {
		(void)snprintf(name, sizeof name, "n%d", i);
		(void)snprintf(address, sizeof address, "10.%d.%d.%d", i / 62500, i / 250 % 250,
			       i % 250);
		(void)try_as(name, address, KP_TRY_WRONG, 701000);
	}
	assert_true(try_as("ada", "192.0.2.9", KP_TRY_WRONG, 701000) > 0);
	/* After a while without one, it is forgotten. */
	for (int i = 0; i < 5; i++)
		assert_int_equal(try_as("ada", "192.0.2.9", KP_TRY_WRONG, 2000000), 0);
}

static void names_and_addresses_of_any_length_are_taken(void **state)
{
	static char name[2 * KP_KEY_MAX];

	(void)state;
	memset(name, 'n', sizeof name - 1);
	assert_int_equal(try_as(name, "", KP_TRY_WRONG, 1000), 0);
	assert_int_equal(
		try_as("x", "an address of some other kind, and a long one", KP_TRY_RIGHT, 1000),
		0);
	assert_int_equal(
		try_as("x", "an address of some other kind, and a long one", KP_TRY_RIGHT, 1000),
		0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			wrong_passwords_of_an_account_slow_it_down_more_and_more, open_tries,
			close_tries),
		cmocka_unit_test_setup_teardown(many_accounts_from_one_address_are_slowed_down_too,
						open_tries, close_tries),
		cmocka_unit_test_setup_teardown(
			nobody_locks_an_account_out_where_it_has_signed_in_before, open_tries,
			close_tries),
		cmocka_unit_test_setup_teardown(what_is_under_way_counts, open_tries, close_tries),
		cmocka_unit_test_setup_teardown(
			a_flood_of_names_does_not_push_out_the_one_under_attack, open_tries,
			close_tries),
		cmocka_unit_test_setup_teardown(names_and_addresses_of_any_length_are_taken,
						open_tries, close_tries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
