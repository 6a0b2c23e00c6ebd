/*
 * test_assistant_secrets_faults.c - settings, credentials, connections and a rekey, with the Nth
 * allocation or call of a driver in it failing.
 *
 *     test_assistant_secrets_faults sqlite|postgres
 *
 * A round fails with what failed, leaks nothing, and leaves a store that a clean round goes on
 * with; what it did answer is right. Nothing is ever taken for "not there".
 */
#include "assistant_keys.h"
#include "torture.h"

static keep_status use_settings(keep_assistant *assistant, keep_error *err)
{
	const keep_setting plain = {.key = KEEP_BYTES("p"),
				    .value_type = KEEP_BYTES("int"),
				    .options = KEEP_BYTES("[1,2]"),
				    .validation_regex = KEEP_BYTES("[0-9]")};
	const keep_setting secret = {
		.key = KEEP_BYTES("s"), .is_sensitive = true, .default_value = KEEP_BYTES("d")};
	const keep_setting_value values[] = {{KEEP_BYTES("p"), KEEP_BYTES("2")},
					     {KEEP_BYTES("s"), KEEP_BYTES("hidden")}};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_setting_read_list list = {NULL, 0};
	keep_setting_read read;
	keep_status status = keep_assistant_define_setting(assistant, &plain, NULL, err);

	if (status == KEEP_OK)
		status = keep_assistant_define_setting(assistant, &secret, NULL, err);
	if (status == KEEP_OK)
		status = keep_assistant_set_settings(assistant, values, 2, NULL, err);
	if (status == KEEP_OK)
		status = keep_assistant_get_setting(assistant, KEEP_BYTES("s"), NULL, &memory,
						    &read, err);
	if (status == KEEP_OK)
		assert_bytes_equal(read.text, KEEP_BYTES("hidden"));
	if (status == KEEP_OK)
		status = keep_assistant_list_settings(assistant, KEEP_BYTES("application"),
						      KEEP_BYTES("p"), &memory, &list, err);
	if (status == KEEP_OK)
		assert_int_equal(list.items[0].integer, 2);
	if (status == KEEP_OK)
		status = keep_assistant_reset_setting(assistant, KEEP_BYTES("s"), NULL, err);
	keep_assistant_wipe(&memory);
	return status;
}

static keep_status use_credentials(keep_assistant *assistant, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_credential out;
	keep_credential_list list = {NULL, 0};
	keep_status status = put_secret(assistant, "service", "data", err);

	if (status == KEEP_OK)
		status = keep_assistant_get_credential(assistant, KEEP_BYTES("service"), NULL,
						       KEEP_NOW, &memory, &out, err);
	if (status == KEEP_OK)
		assert_bytes_equal(out.data, KEEP_BYTES("data"));
	if (status == KEEP_OK)
		status = keep_assistant_list_credentials(assistant, KEEP_NOW, &memory, &list, err);
	if (status == KEEP_OK)
		status = keep_assistant_report_connection(assistant, KEEP_BYTES("service"),
							  KEEP_BYTES("error"), KEEP_BYTES("gone"),
							  KEEP_BYTES("{}"), KEEP_NOW, NULL, err);
	keep_assistant_wipe(&memory);
	return status;
}

/* Under one key, then under the other: the newest one changes with each call. */
static keep_status use_keys(keep_error *err)
{
	static bool is_turned;
	keep_assistant *assistant = NULL;
	keep_rekey_result result = {.renewed = 0};
	keep_status status =
		open_keys(is_turned ? KEY_A " " KEY_B : KEY_B " " KEY_A, &assistant, err);

	if (status == KEEP_OK)
		status = use_settings(assistant, err);
	if (status == KEEP_OK)
		status = use_credentials(assistant, err);
	if (status == KEEP_OK)
		status = keep_assistant_rekey(assistant, NULL, &result, err);
	if (status == KEEP_OK) {
		assert_int_equal(result.remaining, 0);
		is_turned = !is_turned;
	}
	keep_assistant_close(&assistant);
	return status;
}

static keep_status run(void *ctx)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)ctx;
	return use_keys(&err);
}

static void whatever_fails_nothing_is_lost_or_leaked(void **state)
{
	static const enum kp_fault_kind kinds[] = {KP_FAULT_ALLOC, KP_FAULT_DRIVER};
	const unsigned expected = MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNAVAILABLE) | MAY(KEEP_BUSY) |
				  MAY(KEEP_FULL) | MAY(KEEP_UNCERTAIN) | MAY(KEEP_OK);
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	keep_assistant_close(&assistant);
	for (size_t i = 0; i < KP_COUNT(kinds); i++) {
		assert_true(torture(kinds[i], expected, run, NULL) > 50);
		assert_int_equal(run(NULL), KEEP_OK);
	}
	assert_int_equal(assistant_count("audit_log AS a JOIN audit_log AS b ON b.seq = a.seq + 1 "
					 "WHERE b.previous_hash <> a.hash"),
			 0);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_fails_nothing_is_lost_or_leaked),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
