/* test_utf8.c - texts: UTF-8, integers, base64 and hexadecimal. */
#include "keep_test.h"

static bool is_valid(const char *bytes, size_t len)
{
	return kp_utf8_is_valid((keep_bytes){bytes, len}, NULL);
}

/* The code point's bytes by RFC 3629's table, without any check. */
static size_t encode(uint32_t code, char *to)
{
	if (code < 0x80) {
		to[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		to[0] = (char)(0xc0 | code >> 6);
		to[1] = (char)(0x80 | (code & 63));
		return 2;
	}
	if (code < 0x10000) {
		to[0] = (char)(0xe0 | code >> 12);
		to[1] = (char)(0x80 | (code >> 6 & 63));
		to[2] = (char)(0x80 | (code & 63));
		return 3;
	}
	to[0] = (char)(0xf0 | code >> 18);
	to[1] = (char)(0x80 | (code >> 12 & 63));
	to[2] = (char)(0x80 | (code >> 6 & 63));
	to[3] = (char)(0x80 | (code & 63));
	return 4;
}

static void every_code_point_but_the_surrogates_is_valid(void **state)
{
	char text[4];

	(void)state;
	for (uint32_t code = 0; code < 0x200000; code++) {
		size_t len = encode(code, text);
		bool expected = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);

		CHECK(is_valid(text, len) == expected, "U+%04X", (unsigned)code);
		if (expected && len > 1)
			CHECK(!is_valid(text, len - 1), "half of U+%04X", (unsigned)code);
	}
}

static void two_bytes_are_valid_when_they_are_ascii_or_one_character(void **state)
{
	(void)state;
	for (unsigned pair = 0; pair < 0x10000; pair++) {
		unsigned char first = (unsigned char)(pair >> 8), second = (unsigned char)pair;
		char text[2] = {(char)first, (char)second};
		bool ascii = first < 0x80 && second < 0x80;
		bool one = first >= 0xc2 && first <= 0xdf && second >= 0x80 && second <= 0xbf;

		CHECK(is_valid(text, 2) == (ascii || one), "%04x", pair);
	}
}

static void overlong_forms_are_refused(void **state)
{
	(void)state;
	assert_false(is_valid("\xc0\x80", 2));
	assert_false(is_valid("\xc1\xbf", 2));
	assert_false(is_valid("\xe0\x80\xaf", 3));
	assert_false(is_valid("\xe0\x9f\xbf", 3));
	assert_false(is_valid("\xf0\x80\x80\xaf", 4));
	assert_false(is_valid("\xf0\x8f\xbf\xbf", 4));
	assert_false(is_valid("\xf8\x88\x80\x80\x80", 5));
}

static void the_first_bad_byte_is_told_wherever_it_is(void **state)
{
	char text[64];

	(void)state;
	for (size_t at = 0; at < sizeof text; at++) {
		size_t position = 999;

		memset(text, 'a', sizeof text);
		text[at] = '\x80';
		assert_false(kp_utf8_is_valid((keep_bytes){text, sizeof text}, &position));
		assert_int_equal(position, at);
	}
	assert_true(is_valid("", 0));
	assert_true(is_valid(NULL, 0));
}

static void a_storable_text_has_no_zero_byte(void **state)
{
	(void)state;
	assert_true(kp_text_is_storable(KEEP_BYTES("caf\xc3\xa9")));
	assert_true(kp_text_is_storable(KEEP_BYTES("")));
	assert_true(kp_text_is_storable((keep_bytes){.data = NULL}));
	assert_false(kp_text_is_storable(KEEP_BYTES("a\0b")));
	assert_false(kp_text_is_storable(KEEP_BYTES("a\0")));
	assert_false(kp_text_is_storable(KEEP_BYTES("\xff")));
}

static void an_integer_is_the_whole_text_in_range(void **state)
{
	static const struct {
		const char *text;
		bool valid;
		int64_t value;
	} cases[] = {
		{"0", true, 0},
		{"-0", true, 0},
		{"7", true, 7},
		{"-42", true, -42},
		{"007", true, 7},
		{"9223372036854775807", true, INT64_MAX},
		{"-9223372036854775808", true, INT64_MIN},
		{"9223372036854775808", false, 0},
		{"-9223372036854775809", false, 0},
		{"99999999999999999999", false, 0},
		{"18446744073709551616", false, 0},
		{"", false, 0},
		{"-", false, 0},
		{"+1", false, 0},
		{" 1", false, 0},
		{"1 ", false, 0},
		{"1.0", false, 0},
		{"0x10", false, 0},
		{"--1", false, 0},
		{"1-", false, 0},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		int64_t value = 0;

		CHECK(kp_int_parse(keep_bytes_of(cases[i].text), &value) == cases[i].valid,
		      "\"%s\"", cases[i].text);
		CHECK(value == cases[i].value, "\"%s\"", cases[i].text);
	}
	assert_false(kp_int_parse(KEEP_BYTES("1\0"), &(int64_t){0}));
	assert_false(kp_int_parse((keep_bytes){.data = NULL}, &(int64_t){0}));
}

static void base64_of_the_rfc_is_written_and_read(void **state)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
		{"\xff\xfe\xfb", "//77"},
	};
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		OK(kp_base64_encode(keep_bytes_of(cases[i].bytes), &out, &err));
		assert_string_equal(out.data, cases[i].text);
		OK(kp_base64_decode(keep_bytes_of(cases[i].text), &out, &err));
		assert_bytes_equal(kp_buffer_bytes(&out), keep_bytes_of(cases[i].bytes));
	}
	keep_buffer_release(&out);
	assert_nothing_lives();
}

static void base64_refuses_what_is_never_written(void **state)
{
	static const char *const cases[] = {
		"Z",    "Zg",       "Zg=",    "Zh==",  "Zm9=",       "====",
		"Z===", "Zg==Zg==", "Zm9v\n", " Zm9v", "Zm9v====",   "Zm9vZg=a",
		"Z-_v", "Z\x80mv",  "Zm=v",   "=m9v",  "Zm9vYg==\n", "Zg=a",
	};
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		CHECK(kp_base64_decode(keep_bytes_of(cases[i]), &out, &err) == KEEP_INVALID,
		      "\"%s\"", cases[i]);
		assert_int_equal(out.len, 0);
	}
	keep_buffer_release(&out);
}

/* Of all texts of one group, those accepted are exactly those that encoding writes. */
static void base64_has_one_text_for_each_value(void **state)
{
	static const char letters[] = "AQgwZ/+9=b";
	keep_buffer bytes = KEEP_BUFFER_INIT, again = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	size_t n = sizeof letters - 1;

	(void)state;
	for (size_t i = 0; i < n * n * n * n; i++) {
		char text[4] = {letters[i % n], letters[i / n % n], letters[i / n / n % n],
				letters[i / n / n / n]};

		if (kp_base64_decode((keep_bytes){text, 4}, &bytes, &err) != KEEP_OK)
			continue;
		OK(kp_base64_encode(kp_buffer_bytes(&bytes), &again, &err));
		assert_bytes_equal(kp_buffer_bytes(&again), (keep_bytes){text, 4});
	}
	keep_buffer_release(&bytes);
	keep_buffer_release(&again);
}

static void hexadecimal_is_two_lower_case_digits_a_byte(void **state)
{
	char text[9];

	(void)state;
	kp_hex_format(KEEP_BYTES("\x00\x7f\xab\xff"), text);
	assert_string_equal(text, "007fabff");
	kp_hex_format(KEEP_BYTES(""), text);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_point_but_the_surrogates_is_valid),
		cmocka_unit_test(two_bytes_are_valid_when_they_are_ascii_or_one_character),
		cmocka_unit_test(overlong_forms_are_refused),
		cmocka_unit_test(the_first_bad_byte_is_told_wherever_it_is),
		cmocka_unit_test(a_storable_text_has_no_zero_byte),
		cmocka_unit_test(an_integer_is_the_whole_text_in_range),
		cmocka_unit_test(base64_of_the_rfc_is_written_and_read),
		cmocka_unit_test(base64_refuses_what_is_never_written),
		cmocka_unit_test(base64_has_one_text_for_each_value),
		cmocka_unit_test(hexadecimal_is_two_lower_case_digits_a_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
