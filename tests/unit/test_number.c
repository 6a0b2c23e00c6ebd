/* test_number.c - doubles as text: rounded rightly, written shortly, whatever the locale is. */
#include "keep_test.h"
#include "temp_folder.h"

#include <float.h>
#include <locale.h>
#include <math.h>

/* The rounding is right also where only the thousandth digit decides it. */
static void a_number_of_a_million_digits_is_rounded_as_it_should(void **state)
{
	/* 1 + 2^-53 lies half way between 1 and the next double; ties go to the even one. */
	static const char half_way[] = "1.00000000000000011102230246251565404236316680908203125";
	size_t size = 1000000;
	char *text = malloc(size);
	double value;

	(void)state;
	assert_non_null(text);
	memset(text, '0', size);
	memcpy(text, half_way, sizeof half_way - 1);
	assert_true(kp_real_parse((keep_bytes){text, size}, &value));
	assert_true(value == 1.0);
	text[size - 1] = '1';
	assert_true(kp_real_parse((keep_bytes){text, size}, &value));
	assert_true(value == 1.0 + DBL_EPSILON);
	/* 0.000…01e999992 is 1: the first digit stands 999992 places behind the point. */
	memset(text, '0', size);
	text[1] = '.';
	memcpy(text + 999993, "1e99999", 7);
	assert_true(kp_real_parse((keep_bytes){text, size}, &value));
	assert_true(value == 0);
	memset(text, '0', size);
	text[1] = '.';
	memcpy(text + 1 + 99999, "1e99999", 7);
	assert_true(kp_real_parse((keep_bytes){text, 1 + 99999 + 7}, &value));
	assert_true(value == 1);
	/* 1000…0e-99999, with as many zeros. */
	memset(text, '0', size);
	text[0] = '1';
	memcpy(text + 1 + 99999, "e-99999", 7);
	assert_true(kp_real_parse((keep_bytes){text, 1 + 99999 + 7}, &value));
	assert_true(value == 1);
	memset(text, '9', size);
	assert_false(kp_real_parse((keep_bytes){text, size}, &value));
	free(text);
}

static void doubles_are_written_shortly_and_read_back_equal(void **state)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {
		{0.0, "0"},
		{-0.0, "-0.0"},
		{1.0, "1"},
		{-2.5, "-2.5"},
		{0.1, "0.1"},
		{1e21, "1e+21"},
		{1.0 / 3, "0.3333333333333333"},
		{0.1 + 0.2, "0.30000000000000004"},
		{DBL_MAX, "1.7976931348623157e+308"},
		{5e-324, "4.94065645841247e-324"},
	};
	uint64_t seed = test_seed();
	char text[KP_REAL_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		assert_true(kp_real_format(cases[i].value, text));
		assert_string_equal(text, cases[i].text);
	}
	for (int i = 0; i < 200000; i++) {
		uint64_t bits = next_random(&seed);
		double value, back;

		memcpy(&value, &bits, sizeof value);
		if (!isfinite(value)) {
			assert_false(kp_real_format(value, text));
			continue;
		}
		assert_true(kp_real_format(value, text));
		CHECK(kp_real_parse(keep_bytes_of(text), &back) &&
			      memcmp(&back, &value, sizeof value) == 0,
		      "%s", text);
		CHECK(strtod(text, NULL) == value, "%s", text);
	}
}

/* A locale with a decimal comma, made for this test (package `locales`). */
static void the_locale_changes_nothing(void **state)
{
	char text[KP_REAL_TEXT_SIZE], command[200];
	temp_folder folder;
	double value;

	(void)state;
	temp_folder_make(&folder);
	(void)snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8",
		       folder.path);
	assert_int_equal(system(command), 0);
	setenv("LOCPATH", folder.path, 1);
	assert_non_null(setlocale(LC_ALL, "de_DE.UTF-8"));
	assert_true(kp_real_parse(KEEP_BYTES("2.5"), &value));
	assert_true(value == 2.5);
	assert_false(kp_real_parse(KEEP_BYTES("2,5"), &value));
	assert_true(kp_real_format(2.5e300, text));
	assert_string_equal(text, "2.5e+300");
	setlocale(LC_ALL, "C");
	temp_folder_remove(&folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_of_a_million_digits_is_rounded_as_it_should),
		cmocka_unit_test(doubles_are_written_shortly_and_read_back_equal),
		cmocka_unit_test(the_locale_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
