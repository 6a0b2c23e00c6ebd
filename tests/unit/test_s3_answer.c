/*
 * test_s3_answer.c - what an S3 server answers, read without believing it: headers, XML.
 */
#include "backup/s3_private.h"
#include "keep_test.h"

static void take(kp_s3_answer *answer, const char *line)
{
	char copy[4096];

	(void)snprintf(copy, sizeof copy, "%s\r\n", line);
	assert_int_equal(kp_s3_take_header(copy, 1, strlen(copy), answer), strlen(copy));
}

static void headers_are_read_in_any_case(void **state)
{
	kp_s3_answer answer = {.size = -1};

	(void)state;
	take(&answer, "HTTP/1.1 100 Continue");
	take(&answer, "HTTP/1.1 206 Partial Content");
	take(&answer, "eTag:  \"0123456789abcdef0123456789abcdef\" ");
	take(&answer, "CONTENT-LENGTH: 42");
	take(&answer, "Content-Range: bytes 17-58/59");
	take(&answer, "Last-Modified: Fri, 24 May 2013 00:00:00 GMT");
	take(&answer, "Retry-After: 3");
	take(&answer, "x-amz-bucket-region: eu-west-3");
	take(&answer, "x-amz-meta-sha256: " KP_S3_EMPTY_SHA256);
	assert_int_equal(answer.status, 206);
	assert_string_equal(answer.etag, "0123456789abcdef0123456789abcdef");
	assert_int_equal(answer.size, 42);
	assert_int_equal(answer.range_at, 17);
	assert_int_equal(answer.modified_ms, INT64_C(1369353600000));
	assert_int_equal(answer.retry_after_ms, 3000);
	assert_string_equal(answer.region, "eu-west-3");
	assert_string_equal(answer.sha256, KP_S3_EMPTY_SHA256);
	assert_false(answer.is_encrypted);
	take(&answer, "x-amz-server-side-encryption-aws-kms-key-id: k");
	assert_true(answer.is_encrypted);
	/* A second answer forgets the first. */
	take(&answer, "HTTP/1.1 404 Not Found");
	assert_int_equal(answer.status, 404);
	assert_string_equal(answer.etag, "");
	assert_int_equal(answer.size, -1);
}

static void headers_that_are_nonsense_are_not_believed(void **state)
{
	static const char *const lines[] = {
		"Content-Length: -1",
		"Content-Length: 12x",
		"Content-Range: bytes */5",
		"Content-Range: pages",
		"Last-Modified: yesterday",
		"Retry-After: -4",
		"Retry-After: 99999999",
		"x-amz-meta-sha256: ABC",
		":",
		"",
		"ETag:",
		"HTTP/9",
		"HTTP/1.1 x",
	};
	kp_s3_answer answer = {.size = -1, .range_at = -1};
	char line[3000] = "ETag: ";

	(void)state;
	for (size_t i = 0; i < KP_COUNT(lines); i++)
		take(&answer, lines[i]);
	memset(line + 6, 'a', sizeof line - 7);
	take(&answer, line);
	assert_int_equal(answer.size, -1);
	assert_int_equal(answer.range_at, -1);
	assert_int_equal(answer.modified_ms, 0);
	assert_int_equal(answer.retry_after_ms, 0);
	assert_string_equal(answer.sha256, "");
	assert_string_equal(answer.etag, "");
}

static keep_status collect(void *ctx, const char *path, keep_bytes text, keep_error *err)
{
	return kp_buffer_append_format(ctx, err, "%s=%" KP_PRI "\n", path, KP_ARG(text));
}

static void elements_are_told_with_their_paths(void **state)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char code[16];

	(void)state;
	OK(kp_s3_xml_read(KEEP_BYTES("<?xml version='1.0'?><n:A xmlns:n='x'>\n <B>1 &amp; 2</B>"
				     "<n:C><D/>x</n:C></n:A>"),
			  collect, &out, &err));
	assert_string_equal(out.data, "/A/B=1 & 2\n/A/C/D=\n/A/C=\n/A=\n");
	OK(kp_s3_xml_find(KEEP_BYTES("<Error><Code>One</Code><Code>Two</Code></Error>"),
			  "/Error/Code", code, sizeof code, &err));
	assert_string_equal(code, "One");
	OK(kp_s3_xml_find(KEEP_BYTES("<Error><Code>far too long for it</Code></Error>"),
			  "/Error/Code", code, sizeof code, &err));
	assert_string_equal(code, "");
	keep_buffer_release(&out);
	assert_nothing_lives();
}

static void xml_that_is_hostile_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"text",
		"<a>",
		"<a></b>",
		"<a/><b/>",
		"<!DOCTYPE a><a/>",
		"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
		"<a>&lt;&b;</a>",
		"<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></"
		"a>"
		"</a></a></a></a></a></a></a></a></a>",
		"<a>\xff</a>",
	};
	keep_buffer out = KEEP_BUFFER_INIT, large = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(texts); i++)
		CHECK(kp_s3_xml_read(keep_bytes_of(texts[i]), collect, &out, &err) ==
			      KEEP_UNAVAILABLE,
		      "%s", texts[i]);
	OK(kp_buffer_append_text(&large, "<a>", &err));
	for (int i = 0; i < 20000; i++)
		OK(kp_buffer_append_text(&large, "text", &err));
	OK(kp_buffer_append_text(&large, "</a>", &err));
	assert_int_equal(kp_s3_xml_read(kp_buffer_bytes(&large), collect, &out, &err),
			 KEEP_UNAVAILABLE);
	keep_buffer_release(&out);
	keep_buffer_release(&large);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_read_in_any_case),
		cmocka_unit_test(headers_that_are_nonsense_are_not_believed),
		cmocka_unit_test(elements_are_told_with_their_paths),
		cmocka_unit_test(xml_that_is_hostile_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
