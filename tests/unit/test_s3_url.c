/*
 * test_s3_url.c - what an S3 client is opened with, how keys are encoded.
 */
#include "backup/s3_private.h"
#include "keep_test.h"

static const kp_s3_options right = {
	.endpoint = "https://example.org:9000",
	.bucket = "bucket",
	.access_key = "AKIAIOSFODNN7EXAMPLE",
	.secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};

static void check_refused(kp_s3_options options, const char *told)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_s3 *s3 = NULL;

	CHECK(kp_s3_open(&options, &s3, &err) == KEEP_INVALID, "%s", told);
	assert_null(s3);
	CHECK(strstr(err.message, told), "%s: %s", told, err.message);
	assert_nothing_lives();
}

static void wrong_options_are_refused_by_name(void **state)
{
	static const char *const endpoints[] = {
		"example.org",           "ftp://example.org",
		"file:///etc/passwd",    "https://",
		"https://u@example.org", "https://u:p@example.org",
		"https://e.org/path",    "https://e.org?q=1",
		"https://e.org#f",       "https://e.org:99999",
		"https://e org",
	};
	static const char *const buckets[] = {"",    "ab",   "a/b", "a b", "\xc3\xbc\xc3\xbc",
					      "a?b", "..%2f"};
	static const char *const prefixes[] = {"/a", "a/../b", "./a", "a\n", "\xff"};
	kp_s3_options options;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(endpoints); i++) {
		options = right;
		options.endpoint = endpoints[i];
		check_refused(options, "the endpoint");
	}
	for (size_t i = 0; i < KP_COUNT(buckets); i++) {
		options = right;
		options.bucket = buckets[i];
		check_refused(options, "the bucket");
	}
	for (size_t i = 0; i < KP_COUNT(prefixes); i++) {
		options = right;
		options.prefix = prefixes[i];
		check_refused(options, "the prefix");
	}
	options = right;
	options.region = "a:b";
	check_refused(options, "the region");
	options = right;
	options.access_key = "a\nb";
	check_refused(options, "the access key");
	options = right;
	options.secret_key = NULL;
	check_refused(options, "the secret key");
	options = right;
	options.session_token = "a\r\nX: y";
	check_refused(options, "the session token");
	options = right;
	options.timeout_ms = 10;
	check_refused(options, "timeout_ms");
	options = right;
	options.part_bytes = 1000;
	check_refused(options, "part_bytes");
}

static void the_environment_gives_what_the_url_does_not(void **state)
{
	kp_s3 *s3 = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	unsetenv("AWS_ACCESS_KEY_ID");
	assert_int_equal(kp_s3_open_url("s3://bucket", NULL, &s3, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "AWS_ACCESS_KEY_ID"));
	setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
	unsetenv("AWS_SECRET_ACCESS_KEY");
	assert_int_equal(kp_s3_open_url("s3://bucket", NULL, &s3, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "AWS_SECRET_ACCESS_KEY"));
	setenv("AWS_SECRET_ACCESS_KEY", "a-secret", 1);
	setenv("AWS_SESSION_TOKEN", "a-token", 1);
	setenv("AWS_REGION", "eu-central-1", 1);
	unsetenv("AWS_ENDPOINT_URL");
	unsetenv("AWS_ENDPOINT_URL_S3");
	OK(kp_s3_open_url("s3://bucket/some/folder", NULL, &s3, &err));
	assert_string_equal(s3->base, "https://s3.eu-central-1.amazonaws.com");
	assert_string_equal(s3->bucket, "bucket");
	assert_string_equal(s3->prefix, "some/folder/");
	assert_string_equal(s3->session_token, "a-token");
	assert_string_equal(s3->provider, "aws:amz:eu-central-1:s3");
	kp_s3_close(&s3);
	setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000/", 1);
	OK(kp_s3_open_url("s3://bucket/", NULL, &s3, &err));
	assert_string_equal(s3->base, "http://127.0.0.1:9000");
	assert_string_equal(s3->prefix, "");
	kp_s3_close(&s3);
	/* What is given wins, and a token goes with the keys that it came with. */
	OK(kp_s3_open_url("s3://other", &right, &s3, &err));
	assert_string_equal(s3->base, "https://example.org:9000");
	assert_string_equal(s3->bucket, "other");
	assert_string_equal(s3->access_key, right.access_key);
	assert_null(s3->session_token);
	kp_s3_close(&s3);
	assert_null(s3);
	kp_s3_close(&s3);
	assert_nothing_lives();
}

static void a_url_that_is_no_bucket_is_refused(void **state)
{
	static const char *const urls[] = {"",        "bucket", "https://bucket", "s3://",
					   "s3:///x", "s3:/b",  "s3://a b/c"};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(urls); i++) {
		kp_s3 *s3 = NULL;
		keep_error err = KEEP_ERROR_INIT;

		CHECK(kp_s3_open_url(urls[i], &right, &s3, &err) == KEEP_INVALID, "%s", urls[i]);
	}
	assert_nothing_lives();
}

static void keys_are_encoded_byte_by_byte(void **state)
{
	static const char *const pairs[][2] = {
		{"a/b-c_d.e~f", "a/b-c_d.e~f"},
		{"a b+c", "a%20b%2Bc"},
		{"\xc3\xbc", "%C3%BC"},
		{"100%", "100%25"},
		{"?#&=;:@$,!'()*\"<>", "%3F%23%26%3D%3B%3A%40%24%2C%21%27%28%29%2A%22%3C%3E"},
	};
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(pairs); i++) {
		out.len = 0;
		OK(kp_s3_append_encoded(&out, keep_bytes_of(pairs[i][0]), true, &err));
		assert_string_equal(out.data, pairs[i][1]);
		assert_true(kp_s3_decode(out.data, &out.len));
		assert_bytes_equal(kp_buffer_bytes(&out), keep_bytes_of(pairs[i][0]));
	}
	out.len = 0;
	OK(kp_s3_append_encoded(&out, KEEP_BYTES("a/b"), false, &err));
	assert_string_equal(out.data, "a%2Fb");
	OK(keep_buffer_set(&out, KEEP_BYTES("a+b%2"), &err));
	assert_false(kp_s3_decode(out.data, &out.len));
	keep_buffer_release(&out);
	assert_nothing_lives();
}

static void keys_that_would_be_another_s_are_refused(void **state)
{
	static const char *const keys[] = {"", "a/../b", "..", ".", "a/.", "a\n", "\xff"};
	kp_s3 *s3 = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char longest[KP_S3_KEY_MAX + 2];

	(void)state;
	OK(kp_s3_open(&right, &s3, &err));
	memset(longest, 'a', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	for (size_t i = 0; i <= KP_COUNT(keys); i++) {
		kp_s3_object object;

		assert_int_equal(
			kp_s3_head(s3, i < KP_COUNT(keys) ? keys[i] : longest, &object, &err),
			KEEP_INVALID);
	}
	kp_s3_close(&s3);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_options_are_refused_by_name),
		cmocka_unit_test(the_environment_gives_what_the_url_does_not),
		cmocka_unit_test(a_url_that_is_no_bucket_is_refused),
		cmocka_unit_test(keys_are_encoded_byte_by_byte),
		cmocka_unit_test(keys_that_would_be_another_s_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
