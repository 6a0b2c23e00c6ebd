/* test_time.c - times as text: a table, every day of 9999 years, and libc as a second opinion. */
#include "keep_test.h"

#include <time.h>

#define DAY_MS INT64_C(86400000)

struct accepted {
	const char *text, *printed;
};

static const struct accepted accepted[] = {
	{"2026-04-11T17:18:21.000Z", "2026-04-11T17:18:21.000Z"},
	{"2026-04-11T19:18:21.5+02:00", "2026-04-11T17:18:21.500Z"},
	{"2026-04-11t17:18:21z", "2026-04-11T17:18:21.000Z"},
	{"2026-04-11 17:18:21Z", "2026-04-11T17:18:21.000Z"},
	{"2026-04-11 17:18:21", "2026-04-11T17:18:21.000Z"},
	{"2026-04-11 17:18:21+01:30", "2026-04-11T15:48:21.000Z"},
	{"2026-04-11 17:18:21.25-00:00", "2026-04-11T17:18:21.250Z"},
	{"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"},
	{"1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"},
	{"2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000Z"},
	{"2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000Z"},
	{"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"},
	{"0000-12-31T23:30:00-01:00", "0001-01-01T00:30:00.000Z"},
	{"9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999Z"},
	{"2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00.000Z"},
	{"2026-01-01T00:00:00+23:59", "2025-12-31T00:01:00.000Z"},
	{"2026-01-01T00:00:00-23:59", "2026-01-01T23:59:00.000Z"},
	{"2026-01-01T00:00:00.1Z", "2026-01-01T00:00:00.100Z"},
	{"2026-01-01T00:00:00.0009Z", "2026-01-01T00:00:00.000Z"},
	{"2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00.123Z"},
	{"1969-12-31T23:59:59.0019Z", "1969-12-31T23:59:59.001Z"},
	/* Leap seconds, real and possible ones. */
	{"2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"},
	{"2016-12-31T23:59:60.9Z", "2017-01-01T00:00:00.000Z"},
	{"2016-12-31T15:59:60-08:00", "2017-01-01T00:00:00.000Z"},
	{"2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00.000Z"},
	{"1990-06-30T23:59:60Z", "1990-07-01T00:00:00.000Z"},
	{"2026-04-30 23:59:60", "2026-05-01T00:00:00.000Z"},
};

static const char *const refused[] = {
	"",
	"2026",
	"2026-04-11",
	"2026-04-11T17:18Z",
	"2026-04-11T17:18:21",
	"2026-04-11 17:18:21.000",
	"2026-04-11  17:18:21",
	"2026-04-11_17:18:21Z",
	"2026-04-11T17:18:21.Z",
	"2026-04-11T17:18:21,5Z",
	"2026-04-11T17:18:21.1234567890Z",
	"2026-04-11T17:18:21ZZ",
	"2026-04-11T17:18:21Z ",
	" 2026-04-11T17:18:21Z",
	"2026-04-11T17:18:21 Z",
	"2026-04-11T17:18:21+2:00",
	"2026-04-11T17:18:21+0200",
	"2026-04-11T17:18:21+02",
	"2026-04-11T17:18:21+24:00",
	"2026-04-11T17:18:21+02:60",
	"2026-04-11T17:18:21+02:00Z",
	"2026-04-11T24:00:00Z",
	"2026-04-11T23:60:00Z",
	"2026-04-11T23:59:61Z",
	"2026-04-11T23:59:60Z",
	"2016-12-31T23:58:60Z",
	"2016-12-31T23:59:60-08:00",
	"9999-12-31T23:59:60Z",
	"2026-00-11T17:18:21Z",
	"2026-13-11T17:18:21Z",
	"2026-04-00T17:18:21Z",
	"2026-04-31T17:18:21Z",
	"2026-02-29T17:18:21Z",
	"1900-02-29T17:18:21Z",
	"2026-4-11T17:18:21Z",
	"26-04-11T17:18:21Z",
	"+2026-04-11T17:18:21Z",
	"-2026-04-11T17:18:21Z",
	"12026-04-11T17:18:21Z",
	"0000-12-31T23:59:59Z",
	"0001-01-01T00:00:00+00:01",
	"9999-12-31T23:59:59-00:01",
	"2026-04-11T17:18:2aZ",
	"2026/04/11T17:18:21Z",
	"2026-04-11T17.18.21Z",
	"2026-W15-6T17:18:21Z",
	"20260411T171821Z",
	"1775927901",
	"now",
	"2026-04-11T17:18:21\xc3\xa9",
};

static void every_accepted_form_is_printed_in_the_fixed_one(void **state)
{
	char printed[KEEP_TIME_TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(accepted); i++) {
		int64_t time_ms;

		CHECK(keep_time_parse(keep_bytes_of(accepted[i].text), &time_ms, &err) == KEEP_OK,
		      "%s: %s", accepted[i].text, err.message);
		OK(keep_time_format(time_ms, printed, &err));
		assert_string_equal(printed, accepted[i].printed);
	}
}

static void everything_else_is_refused_with_a_position(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(refused); i++) {
		keep_error err = KEEP_ERROR_INIT;
		int64_t time_ms = 1;

		CHECK(keep_time_parse(keep_bytes_of(refused[i]), &time_ms, &err) == KEEP_INVALID,
		      "\"%s\"", refused[i]);
		assert_int_equal(time_ms, 0);
		CHECK(strstr(err.message, "not a time: byte "), "%s", err.message);
		assert_int_equal(err.status, KEEP_INVALID);
		assert_int_equal(keep_time_parse(keep_bytes_of(refused[i]), &time_ms, NULL),
				 KEEP_INVALID);
	}
}

static void the_message_names_the_byte_and_what_was_expected(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"2026-13-01T00:00:00Z", "not a time: byte 5: expected a month from 01 to 12"},
		{"2026-02-30T00:00:00Z", "not a time: byte 8: expected a day of that month"},
		{"2026-02-03T00:00:00", "not a time: byte 19: expected 'Z' or an offset"},
		{"2026-02-03T00:00:00Zx", "not a time: byte 20: expected the end"},
		{"2026-02-03T00:00:60Z", "not a time: byte 17: expected a second below 60 (only "
					 "the last minute of a UTC month has it)"},
	};
	keep_error err = KEEP_ERROR_INIT;
	int64_t time_ms;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		assert_int_equal(keep_time_parse(keep_bytes_of(cases[i].text), &time_ms, &err),
				 KEEP_INVALID);
		assert_string_equal(err.message, cases[i].message);
	}
}

static void a_time_outside_the_years_1_to_9999_is_not_printed(void **state)
{
	static const int64_t outside[] = {KEEP_TIME_MIN - 1, KEEP_TIME_MAX + 1, INT64_MIN,
					  INT64_MAX};
	char text[KEEP_TIME_TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(outside); i++) {
		assert_int_equal(keep_time_format(outside[i], text, &err), KEEP_INVALID);
		assert_string_equal(text, "");
	}
	OK(keep_time_format(KEEP_TIME_MIN, text, &err));
	assert_string_equal(text, "0001-01-01T00:00:00.000Z");
	OK(keep_time_format(KEEP_TIME_MAX, text, &err));
	assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

/* The next day by counting, so that nothing of the implementation is used twice. */
static void count_on(int *year, int *month, int *day)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (*year % 4 == 0 && *year % 100 != 0) || *year % 400 == 0;

	if (++*day <= days[*month - 1] + (leap && *month == 2))
		return;
	*day = 1;
	if (++*month <= 12)
		return;
	*month = 1;
	++*year;
}

static void every_day_of_9999_years_is_printed_as_counted_and_read_back(void **state)
{
	int year = 1, month = 1, day = 1;
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;
	char last[KEEP_TIME_TEXT_SIZE] = "";

	(void)state;
	for (int64_t at = KEEP_TIME_MIN; at < KEEP_TIME_MAX; at += DAY_MS) {
		int64_t time_ms = at + (int64_t)(next_random(&seed) % DAY_MS), again;
		char text[KEEP_TIME_TEXT_SIZE], date[40];

		OK(keep_time_format(time_ms, text, &err));
		snprintf(date, sizeof date, "%04d-%02d-%02dT", year, month, day);
		CHECK(memcmp(text, date, 11) == 0, "%s instead of %s", text, date);
		assert_true(strcmp(last, text) < 0);
		memcpy(last, text, sizeof last);
		OK(keep_time_parse(keep_bytes_of(text), &again, &err));
		assert_true(again == time_ms);
		count_on(&year, &month, &day);
	}
	assert_int_equal(year, 10000);
}

static void the_years_1901_to_2100_agree_with_libc(void **state)
{
	struct tm first = {.tm_year = 1, .tm_mday = 1}, last = {.tm_year = 201, .tm_mday = 1};
	keep_error err = KEEP_ERROR_INIT;
	uint64_t seed = test_seed();
	time_t end = timegm(&last);

	(void)state;
	for (time_t at = timegm(&first); at < end; at += (time_t)(next_random(&seed) % 40000)) {
		char text[KEEP_TIME_TEXT_SIZE], expected[64];
		struct tm parts;

		assert_non_null(gmtime_r(&at, &parts));
		assert_true(strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.000Z", &parts) >
			    0);
		OK(keep_time_format((int64_t)at * 1000, text, &err));
		assert_string_equal(text, expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_accepted_form_is_printed_in_the_fixed_one),
		cmocka_unit_test(everything_else_is_refused_with_a_position),
		cmocka_unit_test(the_message_names_the_byte_and_what_was_expected),
		cmocka_unit_test(a_time_outside_the_years_1_to_9999_is_not_printed),
		cmocka_unit_test(every_day_of_9999_years_is_printed_as_counted_and_read_back),
		cmocka_unit_test(the_years_1901_to_2100_agree_with_libc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
