/*
 * test_assistant_rekey.c - everything encrypted comes under the newest key, and nothing is lost.
 *
 *     test_assistant_rekey sqlite|postgres
 *
 * Killed in between: tests/crash/test_assistant_rekey_crash.c.
 */
#include "assistant_keys.h"
#include "assistant_settings.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SECRETS = 40 };

static void fill(keep_assistant *assistant)
{
	const keep_setting setting = {.key = KEEP_BYTES("s"),
				      .is_sensitive = true,
				      .default_value = KEEP_BYTES("fallback")};
	keep_error err = KEEP_ERROR_INIT;

	for (int i = 0; i < SECRETS; i++) {
		char name[20], data[20];

		(void)snprintf(name, sizeof name, "service-%d", i);
		(void)snprintf(data, sizeof data, "data-%d", i);
		OK(put_secret(assistant, name, data, &err));
	}
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	OK(set(assistant, "s", "hidden", &err));
}

static void check(keep_assistant *assistant)
{
	keep_error err = KEEP_ERROR_INIT;

	for (int i = 0; i < SECRETS; i++) {
		char name[20], data[20];

		(void)snprintf(name, sizeof name, "service-%d", i);
		(void)snprintf(data, sizeof data, "data-%d", i);
		assert_string_equal(get_secret(assistant, name), data);
	}
	assert_string_equal(get(assistant, "s"), "stored:hidden");
	OK(keep_assistant_reset_setting(assistant, KEEP_BYTES("s"), NULL, &err));
	assert_string_equal(get(assistant, "s"), "default:fallback");
}

static void everything_comes_under_the_newest_key_and_the_old_one_is_done_with(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *both = NULL, *newest = NULL;
	keep_rekey_result result;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	fill(assistant);
	OK(open_keys(KEY_B " " KEY_A, &both, &err));
	OK(keep_assistant_rekey(both, NULL, &result, &err));
	assert_int_equal(result.renewed, SECRETS + 2);
	assert_int_equal(result.current, 0);
	assert_int_equal(result.remaining, 0);
	OK(keep_assistant_rekey(both, NULL, &result, &err));
	assert_int_equal(result.renewed, 0);
	assert_int_equal(result.current, SECRETS + 2);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'key_change' AND action = "
					 "'rekey'"),
			 2);
	assert_int_equal(assistant_count("assistant_values WHERE name LIKE 'key_check%'"), 1);
	/* Who still has the old key alone neither reads nor spoils. */
	assert_int_equal(put_secret(assistant, "late", "x", &err), KEEP_DENIED);
	assert_int_equal(keep_assistant_rekey(assistant, NULL, &result, &err), KEEP_DENIED);
	keep_assistant_close(&assistant);
	assert_int_equal(open_keys(KEY_A, &assistant, &err), KEEP_DENIED);
	OK(open_keys(KEY_B, &newest, &err));
	check(newest);
	keep_assistant_close(&newest);
	keep_assistant_close(&both);
	assert_nothing_lives();
}

static void what_no_key_reads_stays_is_counted_and_does_not_hold_up_the_rest(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *both = NULL;
	keep_rekey_result result;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	fill(assistant);
	assistant_sql("UPDATE service_credentials SET credential_data = 'garbage' WHERE "
		      "service_name = 'service-3'");
	OK(open_keys(KEY_B " " KEY_A, &both, &err));
	assert_int_equal(keep_assistant_rekey(both, NULL, &result, &err), KEEP_DENIED);
	assert_int_equal(result.renewed, SECRETS + 1);
	assert_int_equal(result.remaining, 1);
	assert_string_equal(assistant_sql("SELECT credential_data FROM service_credentials WHERE "
					  "service_name = 'service-3'"),
			    "garbage");
	/* Its key is still known, for it may come back. */
	assert_int_equal(assistant_count("assistant_values WHERE name LIKE 'key_check%'"), 2);
	keep_assistant_close(&both);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void without_a_key_or_with_a_store_for_reading_it_is_denied(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *other = NULL;
	keep_rekey_result result;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_assistant_rekey(assistant, NULL, &result, &err)); /* nothing to do */
	assert_int_equal(result.renewed + result.current + result.remaining, 0);
	OK(open_keys(NULL, &other, &err));
	assert_int_equal(keep_assistant_rekey(other, NULL, &result, &err), KEEP_DENIED);
	keep_assistant_close(&other);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- at once */

static atomic_bool is_over;

static void *rekey(void *ctx)
{
	keep_rekey_result result;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_assistant_rekey(ctx, NULL, &result, &err);

	return status == KEEP_OK ? NULL : ctx;
}

/* With the old key alone, until it is refused; how many times it was not. */
static void *put_on(void *ctx)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	for (int i = 0; i < 10000 && status == KEEP_OK && !atomic_load(&is_over); i++)
		status = put_secret(ctx, "service-0", "data-0", &err);
	return status == KEEP_OK || status == KEEP_DENIED ? NULL : ctx;
}

static void two_at_once_beside_a_writer_with_the_old_key_lose_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *both[2] = {NULL, NULL}, *newest = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_rekey_result result;
	pthread_t threads[3];
	void *failed;

	(void)state;
	fill(assistant);
	atomic_store(&is_over, false);
	for (int i = 0; i < 2; i++)
		OK(open_keys(KEY_B " " KEY_A, &both[i], &err));
	assert_int_equal(pthread_create(&threads[2], NULL, put_on, assistant), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, rekey, both[i]), 0);
	for (int i = 0; i < 2; i++)
		(void)pthread_join(threads[i], &failed); /* BUSY is an answer, too */
	atomic_store(&is_over, true);
	(void)pthread_join(threads[2], &failed);
	assert_null(failed);
	OK(keep_assistant_rekey(both[0], NULL, &result, &err));
	assert_int_equal(result.renewed + result.current, SECRETS + 2);
	assert_int_equal(put_secret(assistant, "service-0", "spoilt", &err), KEEP_DENIED);
	OK(open_keys(KEY_B, &newest, &err));
	check(newest);
	keep_assistant_close(&newest);
	for (int i = 0; i < 2; i++)
		keep_assistant_close(&both[i]);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			everything_comes_under_the_newest_key_and_the_old_one_is_done_with),
		cmocka_unit_test(what_no_key_reads_stays_is_counted_and_does_not_hold_up_the_rest),
		cmocka_unit_test(without_a_key_or_with_a_store_for_reading_it_is_denied),
		cmocka_unit_test(two_at_once_beside_a_writer_with_the_old_key_lose_nothing),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
