/* test_error.c - statuses, messages, and the log that shares their form. */
#include "keep_test.h"

#include <errno.h>

static void every_status_has_a_name_that_is_read_back(void **state)
{
	keep_status found;

	(void)state;
#define X(name, value, retry, exit, http, text)                                                    \
	assert_string_equal(keep_status_name(KEEP_##name), #name);                                 \
	assert_string_equal(keep_status_text(KEEP_##name), text);                                  \
	assert_int_equal(keep_status_can_retry(KEEP_##name), retry);                               \
	assert_int_equal(keep_status_exit(KEEP_##name), exit);                                     \
	assert_int_equal(keep_status_http(KEEP_##name), http);                                     \
	assert_true(keep_status_parse(KEEP_BYTES(#name), &found));                                 \
	assert_int_equal(found, KEEP_##name);
	KEEP_STATUS_MAP(X)
#undef X
	assert_false(keep_status_parse(KEEP_BYTES("ok"), &found));
	assert_false(keep_status_parse(KEEP_BYTES(""), &found));
	assert_false(keep_status_parse((keep_bytes){.data = NULL}, &found));
}

static void a_value_outside_the_list_is_no_status(void **state)
{
	static const int outside[] = {-1, 13, 1000};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(outside); i++) {
		assert_string_equal(keep_status_name((keep_status)outside[i]), "?");
		assert_string_equal(keep_status_text((keep_status)outside[i]), "an unknown status");
		assert_false(keep_status_can_retry((keep_status)outside[i]));
		assert_int_equal(keep_status_exit((keep_status)outside[i]), 13);
		assert_int_equal(keep_status_http((keep_status)outside[i]), 500);
	}
}

static void a_failure_fills_the_error_and_gives_the_status(void **state)
{
	keep_error err = {.status = KEEP_BUSY, .native = 5, .sqlstate = "40001"};

	(void)state;
	assert_int_equal(kp_fail(&err, KEEP_CONFLICT, "chat %d", 7), KEEP_CONFLICT);
	assert_int_equal(err.status, KEEP_CONFLICT);
	assert_int_equal(err.native, 0);
	assert_string_equal(err.sqlstate, "");
	assert_string_equal(err.message, "chat 7");
	assert_int_equal(kp_fail(NULL, KEEP_DENIED, "nobody listens"), KEEP_DENIED);
	assert_int_equal(kp_fail_memory(&err, "a row"), KEEP_NO_MEMORY);
	assert_string_equal(err.message, "no memory for a row");
}

static void an_error_may_be_made_of_its_own_message(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(kp_fail(&err, KEEP_BUSY, "inner"), KEEP_BUSY);
	assert_int_equal(kp_fail(&err, KEEP_BUSY, "outer (%s)", err.message), KEEP_BUSY);
	assert_string_equal(err.message, "outer (inner)");
}

static void a_message_is_one_printable_line(void **state)
{
	static const struct {
		const char *given, *message;
	} cases[] = {
		{"plain", "plain"},
		{"two\nlines\r", "two?lines?"},
		{"tab\tbell\adel\x7f", "tab?bell?del?"},
		{"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82",
		 "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82"},
		{"\xff\xfe", "??"},
		{"caf\xc3", "caf?"},
		{"\xe2\x82", "??"},
		{"\xc0\xaf", "??"},
		{"\xed\xa0\x80", "???"},
		{"\xc2\x85next line", "?next line"},
		{"\xc2\xa0space", "\xc2\xa0space"},
		{"\xe2\x80\xa8line \xe2\x80\xaeturned \xe2\x81\xa6", "?line ?turned ?"},
		{"dash \xe2\x80\x93", "dash \xe2\x80\x93"},
	};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		assert_int_equal(kp_fail(&err, KEEP_INVALID, "%s", cases[i].given), KEEP_INVALID);
		assert_string_equal(err.message, cases[i].message);
	}
}

static void a_long_message_is_cut_between_two_characters(void **state)
{
	char text[600];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t shift = 0; shift < 5; shift++) {
		memset(text, 'a', sizeof text);
		for (size_t i = shift; i + 5 < sizeof text; i += 4)
			memcpy(text + i, "\xf0\x9f\x99\x82", 4);
		text[sizeof text - 1] = '\0';
		assert_int_equal(kp_fail(&err, KEEP_INVALID, "%s", text), KEEP_INVALID);
		assert_true(strlen(err.message) >= sizeof err.message - 4);
		assert_true(kp_utf8_is_valid(keep_bytes_of(err.message), NULL));
		assert_null(strchr(err.message, '?'));
		assert_memory_equal(err.message, text, strlen(err.message));
	}
	/* Bytes that are wrong and not cut stay visible as wrong. */
	memset(text, 'a', sizeof text);
	text[319] = '\0';
	text[318] = '\xff';
	assert_int_equal(kp_fail(&err, KEEP_INVALID, "%s", text), KEEP_INVALID);
	assert_int_equal(err.message[318], '?');
}

static void a_prefix_keeps_everything_else(void **state)
{
	keep_error err = {
		.status = KEEP_BUSY, .native = 5, .sqlstate = "40001", .message = "locked"};
	char long_text[500];

	(void)state;
	assert_int_equal(kp_prefix(&err, KEEP_BUSY, "table %s", "chats"), KEEP_BUSY);
	assert_string_equal(err.message, "table chats: locked");
	assert_int_equal(err.native, 5);
	assert_string_equal(err.sqlstate, "40001");
	assert_int_equal(kp_prefix(NULL, KEEP_BUSY, "x"), KEEP_BUSY);
	memset(long_text, 'p', sizeof long_text);
	long_text[sizeof long_text - 1] = '\0';
	assert_int_equal(kp_prefix(&err, KEEP_BUSY, "%s", long_text), KEEP_BUSY);
	assert_int_equal(strlen(err.message), sizeof err.message - 1);
	assert_int_equal(err.status, KEEP_BUSY);
}

static void an_errno_becomes_the_status_that_a_caller_acts_on(void **state)
{
	static const struct {
		int errnum;
		keep_status status;
	} cases[] = {
		{ENOENT, KEEP_NOT_FOUND},   {EACCES, KEEP_DENIED},        {EROFS, KEEP_DENIED},
		{ENOSPC, KEEP_FULL},        {EMFILE, KEEP_FULL},          {EDQUOT, KEEP_FULL},
		{EIO, KEEP_UNAVAILABLE},    {ENOMEM, KEEP_NO_MEMORY},     {EEXIST, KEEP_CONFLICT},
		{EAGAIN, KEEP_BUSY},        {ENAMETOOLONG, KEEP_INVALID}, {EBADF, KEEP_MISUSE},
		{123456, KEEP_UNAVAILABLE},
	};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		assert_int_equal(kp_fail_errno(&err, cases[i].errnum, "the file %s", "x"),
				 cases[i].status);
		assert_int_equal(err.status, cases[i].status);
		assert_int_equal(err.native, cases[i].errnum);
		assert_int_equal(kp_fail_errno(NULL, cases[i].errnum, "x"), cases[i].status);
	}
	assert_string_equal(err.message, "the file x: unknown error");
	assert_int_equal(kp_fail_errno(&err, ENOSPC, "the file %s", "x"), KEEP_FULL);
	assert_string_equal(err.message, "the file x: No space left on device");
}

struct heard {
	int count;
	keep_log_level level;
	char message[600];
};

static void hear(void *ctx, keep_log_level level, const char *message)
{
	struct heard *heard = ctx;

	heard->count++;
	heard->level = level;
	snprintf(heard->message, sizeof heard->message, "%s", message);
}

static void the_log_reaches_the_callback_and_nobody_else(void **state)
{
	struct heard heard = {.count = 0};

	(void)state;
	kp_log(KEEP_LOG_ERROR, "nobody hears %d", 1);
	keep_log_set(hear, &heard);
	kp_log(KEEP_LOG_WARNING, "no wake-ups\nfrom %s", "x");
	assert_int_equal(heard.count, 1);
	assert_int_equal(heard.level, KEEP_LOG_WARNING);
	assert_string_equal(heard.message, "no wake-ups?from x");
	kp_log(KEEP_LOG_INFO, "%2000s", "x");
	assert_int_equal(strlen(heard.message), 511);
	keep_log_set(NULL, NULL);
	kp_log(KEEP_LOG_ERROR, "nobody hears");
	assert_int_equal(heard.count, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_status_has_a_name_that_is_read_back),
		cmocka_unit_test(a_value_outside_the_list_is_no_status),
		cmocka_unit_test(a_failure_fills_the_error_and_gives_the_status),
		cmocka_unit_test(an_error_may_be_made_of_its_own_message),
		cmocka_unit_test(a_message_is_one_printable_line),
		cmocka_unit_test(a_long_message_is_cut_between_two_characters),
		cmocka_unit_test(a_prefix_keeps_everything_else),
		cmocka_unit_test(an_errno_becomes_the_status_that_a_caller_acts_on),
		cmocka_unit_test(the_log_reaches_the_callback_and_nobody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
