/*
 * test_audit_redact.c - details keep everything but secrets, and those are found by whole words of
 * a member's name.
 */
#include "keep_test.h"

#include "audit/audit.h"

static void names_that_end_in_a_secret_are_secret(void **state)
{
	static const char *const names[] = {
		"password",
		"Password",
		"PASSWORD",
		"db_password",
		"userPassword",
		"passwd",
		"pwd",
		"passphrase",
		"secret",
		"client_secret",
		"clientSecret",
		"client-secret",
		"client.secret",
		"CLIENT SECRET",
		"token",
		"access_token",
		"accessToken",
		"refresh_token",
		"id_token",
		"X-Auth-Token",
		"api_key",
		"apiKey",
		"apikey",
		"APIKey",
		"X-API-Key",
		"OPENAI_API_KEY",
		"api_keys",
		"Authorization",
		"authorization",
		"Proxy-Authorization",
		"auth",
		"credential",
		"credentials",
		"privateKey",
		"private_key",
		"private-key-pem",
		"secretKey",
		"access_key",
		"encryption_key",
		"password_hash",
		"password2",
		"new_password",
		"passwordConfirmation",
		"token_value",
		"Set-Cookie",
		"cookie",
		"jwt",
		"OAuth2Token",
		"oauth_token",
		"pass_word",
		"tokens",
		"authToken",
		"accesstoken",
		"smtp/password",
		"_token_",
		"authorization_header",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(names); i++)
		CHECK(kp_audit_is_secret_name(keep_bytes_of(names[i])), "%s", names[i]);
}

static void names_that_only_look_like_it_stay(void **state)
{
	static const char *const names[] = {
		"",
		"author",
		"authors",
		"authored_by",
		"authority",
		"token_count",
		"tokenCount",
		"max_token_count",
		"tokenizer",
		"token_type",
		"secretary",
		"key",
		"keys",
		"keyboard",
		"monkey",
		"public_key",
		"publicKey",
		"primary_key",
		"sort_key",
		"password_length",
		"password_policy",
		"credential_type",
		"passenger",
		"compass",
		"pass",
		"data",
		"value",
		"hash",
		"header",
		"authenticated",
		"auth_type",
		"secret_name",
		"bearing",
		"cookies_allowed",
		"tokenless",
		"2",
		"___",
		"\xc3\xa9",
		"tok\xc3\xa9n",
		"apikeyboard",
		"a_very_long_word_without_any_end_antidisestablishmentarianismpassword",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(names); i++)
		CHECK(!kp_audit_is_secret_name(keep_bytes_of(names[i])), "%s", names[i]);
}

static void assert_redacted(const char *json, const char *expected)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	bool changed = false;

	OK(kp_audit_redact(keep_bytes_of(json), &out, &changed, &err));
	assert_int_equal(changed, strcmp(json, expected) != 0);
	if (changed)
		assert_bytes_equal(kp_buffer_bytes(&out), keep_bytes_of(expected));
	else
		assert_int_equal(out.len, 0);
	keep_buffer_release(&out);
}

static void every_other_byte_stays_as_it_was(void **state)
{
	(void)state;
	assert_redacted("{ \"a\" : 1.10, \"author\":\"x\", \"token_count\" : 1e2 }",
			"{ \"a\" : 1.10, \"author\":\"x\", \"token_count\" : 1e2 }");
	assert_redacted("{ \"b\":1.10 ,\"apiKey\" :  \"sk-1\" , \"c\":[ ] }",
			"{ \"b\":1.10 ,\"apiKey\" :  \"***\" , \"c\":[ ] }");
	assert_redacted("{\"token\":5,\"password\":null,\"secret\":[1,{\"a\":2}]}",
			"{\"token\":\"***\",\"password\":\"***\",\"secret\":\"***\"}");
	assert_redacted("{\"tokens\":512,\"x\":{\"tokens\":[\"a\"]}}",
			"{\"tokens\":512,\"x\":{\"tokens\":\"***\"}}");
	assert_redacted("[{\"headers\":[{\"Authorization\":\"Bearer x\"},{\"n\":\"password\"}]}]",
			"[{\"headers\":[{\"Authorization\":\"***\"},{\"n\":\"password\"}]}]");
	/* An escape in a name hides nothing. */
	assert_redacted("{\"pass\\u0077ord\":\"x\\\"y\"}", "{\"pass\\u0077ord\":\"***\"}");
	assert_redacted("{}", "{}");
	assert_nothing_lives();
}

static void what_is_deep_is_found_and_what_is_no_json_refused(void **state)
{
	keep_buffer json = KEEP_BUFFER_INIT, out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	bool changed = false;

	(void)state;
	for (int i = 0; i < KP_JSON_DEPTH_MAX - 1; i++)
		OK(kp_buffer_append_text(&json, "[", &err));
	OK(kp_buffer_append_text(&json, "{\"token\":\"deep\"}", &err));
	for (int i = 0; i < KP_JSON_DEPTH_MAX - 1; i++)
		OK(kp_buffer_append_text(&json, "]", &err));
	OK(kp_audit_redact(kp_buffer_bytes(&json), &out, &changed, &err));
	assert_true(changed);
	assert_null(memmem(out.data, out.len, "deep", 4));
	assert_int_equal(kp_audit_redact(KEEP_BYTES("{\"a\":}"), &out, &changed, &err),
			 KEEP_INVALID);
	assert_false(changed);
	keep_buffer_release(&json);
	keep_buffer_release(&out);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_that_end_in_a_secret_are_secret),
		cmocka_unit_test(names_that_only_look_like_it_stay),
		cmocka_unit_test(every_other_byte_stays_as_it_was),
		cmocka_unit_test(what_is_deep_is_found_and_what_is_no_json_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
