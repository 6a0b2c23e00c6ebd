/*
 * test_assistant_credentials.c - credentials are encrypted, each access is noted, and a key that
 * does not fit neither reads nor loses anything.
 *
 *     test_assistant_credentials sqlite|postgres
 */
#include "assistant_keys.h"

static void a_credential_comes_back_as_it_was_put_and_is_a_token_at_rest(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_credential out;
	const keep_actor actor = {.user_id = KEEP_BYTES("ada")};

	(void)state;
	OK(keep_assistant_put_credential(assistant, KEEP_BYTES("google"), KEEP_BYTES("oauth_token"),
					 KEEP_BYTES("{\"refresh\":\"r1\"}"), 2000, &actor, &err));
	assert_memory_equal(assistant_sql("SELECT credential_data FROM service_credentials"),
			    "gAAAA", 5);
	OK(keep_assistant_get_credential(assistant, KEEP_BYTES("google"), &actor, 1999, &memory,
					 &out, &err));
	assert_bytes_equal(out.data, KEEP_BYTES("{\"refresh\":\"r1\"}"));
	assert_bytes_equal(out.credential_type, KEEP_BYTES("oauth_token"));
	assert_int_equal(out.key_id.len, 16);
	assert_true(out.has_expires_at && !out.is_expired);
	OK(keep_assistant_get_credential(assistant, KEEP_BYTES("google"), &actor, 2000, &memory,
					 &out, &err));
	assert_true(out.is_expired);
	OK(put_secret(assistant, "google", "k2", &err));
	OK(keep_assistant_get_credential(assistant, KEEP_BYTES("google"), &actor, KEEP_NOW, &memory,
					 &out, &err));
	assert_bytes_equal(out.data, KEEP_BYTES("k2"));
	assert_false(out.has_expires_at);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'credential_access' AND "
					 "service_name = 'google' AND action = 'get' AND "
					 "user_id = 'ada'"),
			 3);
	assert_int_equal(assistant_count("audit_log WHERE action = 'put'"), 2);
	assert_int_equal(assistant_count("audit_log WHERE CAST(details AS text) LIKE '%r1%'"), 0);
	keep_assistant_wipe(&memory);
	OK(keep_assistant_remove_credential(assistant, KEEP_BYTES("google"), &actor, &err));
	assert_int_equal(
		keep_assistant_remove_credential(assistant, KEEP_BYTES("google"), &actor, &err),
		KEEP_NOT_FOUND);
	assert_string_equal(get_secret(assistant, "google"), "NOT_FOUND");
	assert_int_equal(assistant_count("audit_log WHERE action = 'remove'"), 1);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void bad_input_names_what_is_wrong_and_nothing_is_stored(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char *text = calloc(1, 65537);

	(void)state;
	memset(text, 'x', 65537);
	assert_int_equal(put_secret(assistant, "", "x", &err), KEEP_INVALID);
	assert_int_equal(put_secret(assistant, "s", "", &err), KEEP_INVALID);
	assert_int_equal(put_secret(assistant, "s", "\xff", &err), KEEP_INVALID);
	assert_null(strstr(err.message, "\xff"));
	assert_int_equal(keep_assistant_put_credential(assistant, KEEP_BYTES("s"),
						       KEEP_BYTES("password"), KEEP_BYTES("x"), 0,
						       NULL, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_assistant_put_credential(assistant, KEEP_BYTES("s"),
						       KEEP_BYTES("api_key"),
						       (keep_bytes){text, 65537}, 0, NULL, &err),
			 KEEP_FULL);
	assert_int_equal(assistant_count("service_credentials"), 0);
	OK(keep_assistant_put_credential(assistant, KEEP_BYTES("s"), KEEP_BYTES("api_key"),
					 (keep_bytes){text, 65536}, 0, NULL, &err));
	free(text);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void lists_have_no_data_and_need_no_key(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *blind = NULL;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_credential_list list = {NULL, 0};

	(void)state;
	for (int64_t i = 3; i > 0; i--) {
		char name[2] = {(char)('a' + i), 0};

		OK(keep_assistant_put_credential(assistant, keep_bytes_of(name),
						 KEEP_BYTES("app_password"), KEEP_BYTES("x"),
						 i * 1000, NULL, &err));
	}
	OK(put_secret(assistant, "a", "for ever", &err));
	OK(open_keys(NULL, &blind, &err));
	OK(keep_assistant_list_credentials(blind, 1500, &memory, &list, &err));
	assert_int_equal(list.count, 4);
	assert_bytes_equal(list.items[0].service_name, KEEP_BYTES("a"));
	for (size_t i = 0; i < list.count; i++)
		assert_null(list.items[i].data.data);
	assert_true(list.items[1].is_expired && !list.items[2].is_expired);
	OK(keep_assistant_expiring_credentials(blind, 500, 1500, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].service_name, KEEP_BYTES("b"));
	OK(keep_assistant_expiring_credentials(blind, INT64_MAX, 1500, &memory, &list, &err));
	assert_int_equal(list.count, 3);
	assert_int_equal(keep_assistant_expiring_credentials(blind, -1, 1500, &memory, &list, &err),
			 KEEP_INVALID);
	assert_string_equal(get_secret(blind, "a"), "DENIED");
	assert_int_equal(put_secret(blind, "z", "x", &err), KEEP_DENIED);
	assert_int_equal(put_secret(blind, "a", "x", &err), KEEP_DENIED);
	OK(keep_assistant_remove_credential(blind, KEEP_BYTES("b"), NULL, &err));
	keep_memory_release(&memory);
	keep_assistant_close(&blind);
	assert_string_equal(get_secret(assistant, "a"), "for ever");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_wrong_key_is_found_at_open_and_a_ring_with_the_right_one_is_not_wrong(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *other = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(open_keys(KEY_B, &other, &err)); /* nothing is encrypted yet */
	OK(put_secret(assistant, "s", "one", &err));
	/* The other one was there before there was a key; it does not get a second one in. */
	assert_int_equal(put_secret(other, "t", "two", &err), KEEP_DENIED);
	assert_int_equal(put_secret(other, "s", "two", &err), KEEP_DENIED);
	assert_string_equal(get_secret(other, "s"), "DENIED");
	keep_assistant_close(&other);
	assert_int_equal(open_keys(KEY_B, &other, &err), KEEP_DENIED);
	assert_null(other);
	assert_int_equal(open_keys(KEY_B " " KEY_C, &other, &err), KEEP_DENIED);
	assert_int_equal(open_keys("short", &other, &err), KEEP_INVALID);
	OK(open_keys(KEY_B " " KEY_A, &other, &err));
	assert_string_equal(get_secret(other, "s"), "one");
	OK(put_secret(other, "t", "two", &err));
	keep_assistant_close(&other);
	OK(open_keys(KEY_B, &other, &err)); /* it has encrypted something here now */
	assert_string_equal(get_secret(other, "t"), "two");
	assert_string_equal(get_secret(other, "s"), "DENIED");
	/* What another key reads is not replaced, until it is removed. */
	assert_int_equal(put_secret(other, "s", "new", &err), KEEP_DENIED);
	assert_non_null(strstr(err.message, "remove"));
	assert_string_equal(get_secret(assistant, "s"), "one");
	OK(keep_assistant_remove_credential(other, KEEP_BYTES("s"), NULL, &err));
	OK(put_secret(other, "s", "new", &err));
	keep_assistant_close(&other);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_store_that_is_emptied_takes_another_key(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *other = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(put_secret(assistant, "s", "one", &err));
	OK(keep_assistant_remove_credential(assistant, KEEP_BYTES("s"), NULL, &err));
	OK(open_keys(KEY_B, &other, &err));
	OK(put_secret(other, "s", "two", &err));
	assert_int_equal(put_secret(assistant, "t", "three", &err), KEEP_DENIED);
	assert_int_equal(assistant_count("assistant_values WHERE name LIKE 'key_check%'"), 1);
	keep_assistant_close(&other);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_failed_get_is_noted_and_what_is_stored_stays(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(put_secret(assistant, "s", "one", &err));
	assistant_sql("UPDATE service_credentials SET credential_data = 'garbage'");
	assert_string_equal(get_secret(assistant, "s"), "CORRUPT");
	assert_string_equal(assistant_sql("SELECT credential_data FROM service_credentials"),
			    "garbage");
	assert_string_equal(get_secret(assistant, "none"), "NOT_FOUND");
	assert_int_equal(assistant_count("audit_log WHERE action = 'get' AND error_message IS NOT "
					 "NULL AND NOT CAST(success AS boolean)"),
			 2);
	assert_int_equal(put_secret(assistant, "s", "two", &err), KEEP_CORRUPT);
	assert_string_equal(assistant_sql("SELECT credential_data FROM service_credentials"),
			    "garbage");
	OK(keep_assistant_remove_credential(assistant, KEEP_BYTES("s"), NULL, &err));
	OK(put_secret(assistant, "s", "two", &err));
	assert_string_equal(get_secret(assistant, "s"), "two");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_store_for_reading_answers_no_data_for_it_could_not_be_noted(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *reader = NULL;
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(put_secret(assistant, "s", "one", &err));
	options.read_only = true;
	options.keys = KEY_A;
	OK(assistant_open_with(&options, &reader, &err));
	assert_string_equal(get_secret(reader, "s"), "DENIED");
	assert_int_equal(put_secret(reader, "s", "x", &err), KEEP_DENIED);
	keep_assistant_close(&reader);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* What a program says; without its line end. */
static void run_python(const char *script, const char *token, char out[200])
{
	char command[2000];
	FILE *pipe;

	(void)snprintf(command, sizeof command,
		       "/usr/bin/python3 -c 'from cryptography.fernet import Fernet; f = "
		       "Fernet(b\"%s\"); t = b\"%s\"; print(%s.decode())'",
		       KEY_A, token, script);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	out[0] = '\0';
	CHECK(fgets(out, 200, pipe),
	      "python3-cryptography is missing: ./setup.sh test installs it");
	assert_int_equal(pclose(pipe), 0);
	out[strcspn(out, "\n")] = '\0';
}

static void tokens_are_exchanged_with_another_implementation(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *other = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char answer[200], sql[500];

	(void)state;
	OK(put_secret(assistant, "ours", "caf\xc3\xa9", &err));
	run_python("f.decrypt(t)", assistant_sql("SELECT credential_data FROM service_credentials"),
		   answer);
	assert_string_equal(answer, "caf\xc3\xa9");
	OK(keep_assistant_remove_credential(assistant, KEEP_BYTES("ours"), NULL, &err));
	assistant_sql("DELETE FROM assistant_values WHERE name LIKE 'key_check%'");
	run_python("f.encrypt(b\"theirs\")", "", answer);
	(void)snprintf(sql, sizeof sql,
		       "INSERT INTO service_credentials (service_name, credential_type, "
		       "credential_data) VALUES ('taken', 'api_key', '%s')",
		       answer);
	assistant_sql(sql);
	assert_string_equal(get_secret(assistant, "taken"), "theirs");
	/* There is no check value, so the token itself tells. */
	assert_int_equal(open_keys(KEY_B, &other, &err), KEEP_DENIED);
	OK(open_keys(KEY_B " " KEY_A, &other, &err));
	assert_string_equal(get_secret(other, "taken"), "theirs");
	keep_assistant_close(&other);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_credential_comes_back_as_it_was_put_and_is_a_token_at_rest),
		cmocka_unit_test(bad_input_names_what_is_wrong_and_nothing_is_stored),
		cmocka_unit_test(lists_have_no_data_and_need_no_key),
		cmocka_unit_test(
			a_wrong_key_is_found_at_open_and_a_ring_with_the_right_one_is_not_wrong),
		cmocka_unit_test(a_store_that_is_emptied_takes_another_key),
		cmocka_unit_test(a_failed_get_is_noted_and_what_is_stored_stays),
		cmocka_unit_test(a_store_for_reading_answers_no_data_for_it_could_not_be_noted),
		cmocka_unit_test(tokens_are_exchanged_with_another_implementation),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
