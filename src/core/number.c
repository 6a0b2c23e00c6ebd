/*
 * number.c - numbers as text, whatever the process's locale is.
 *
 * kp_real_parse reads JSON's grammar (RFC 8259 section 6) itself and leaves only the rounding to
 * strtod, as "<digits>e<exponent>": without a decimal point there is nothing that a locale could
 * change. A double is decided by its first DIGITS_MAX significant digits and by whether any digit
 * after them is not zero (768 are enough: Clinger 1990, Gay 1990), so the text may be as long as
 * it likes and the buffer is still bounded. kp_real_format goes the other way.
 *
 * Tests: tests/unit/test_number.c; integers in test_utf8.c.
 */
#include "core/core.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 800
#define EXPONENT_MAX INT64_C(1000000000000) /* beyond the length of any text in memory */

bool kp_int_parse(keep_bytes text, int64_t *out)
{
	size_t at = 0;
	bool negative = text.len > 0 && text.data[0] == '-';
	uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
	uint64_t value = 0;

	if (negative)
		at++;
	if (at == text.len)
		return false;
	for (; at < text.len; at++) {
		unsigned digit = (unsigned char)text.data[at] - (unsigned)'0';

		if (digit > 9 || value > (limit - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*out = negative ? (int64_t)(0 - value) : (int64_t)value;
	return true;
}

/* A decimal number on its way to a double: 0.d1d2d3… has no leading zero digit. */
struct decimal {
	char digits[DIGITS_MAX + 32]; /* room for the sticky digit and "e-99999" */
	size_t count;
	bool dropped;     /* a digit that is not zero did not fit */
	int64_t exponent; /* the value is digits * 10^exponent */
};

static bool is_digit(keep_bytes text, size_t at)
{
	return at < text.len && text.data[at] >= '0' && text.data[at] <= '9';
}

static void add_digit(struct decimal *number, char digit, bool fraction)
{
	if (number->count == 0 && digit == '0') {
		number->exponent -= fraction;
	} else if (number->count < DIGITS_MAX) {
		number->digits[number->count++] = digit;
		number->exponent -= fraction;
	} else {
		number->dropped |= digit != '0';
		number->exponent += !fraction;
	}
}

/* Read JSON's number grammar from the whole text; the sign is the caller's. */
static bool scan_decimal(keep_bytes text, size_t at, struct decimal *number)
{
	int64_t exponent = 0;
	bool negative;

	if (!is_digit(text, at))
		return false;
	if (text.data[at] == '0' && is_digit(text, at + 1))
		return false;
	for (; is_digit(text, at); at++)
		add_digit(number, text.data[at], false);
	if (at < text.len && text.data[at] == '.') {
		if (!is_digit(text, ++at))
			return false;
		for (; is_digit(text, at); at++)
			add_digit(number, text.data[at], true);
	}
	if (at < text.len && (text.data[at] == 'e' || text.data[at] == 'E')) {
		at++;
		negative = at < text.len && text.data[at] == '-';
		if (at < text.len && (text.data[at] == '-' || text.data[at] == '+'))
			at++;
		if (!is_digit(text, at))
			return false;
		for (; is_digit(text, at); at++) {
			if (exponent < EXPONENT_MAX)
				exponent = exponent * 10 + (text.data[at] - '0');
		}
		number->exponent += negative ? -exponent : exponent;
	}
	return at == text.len;
}

bool kp_real_parse(keep_bytes text, double *out)
{
	struct decimal number;
	bool negative = text.len > 0 && text.data[0] == '-';
	int64_t exponent;
	double value;

	number.count =
		0; /* field by field: clearing the digits would cost more than reading them */
	number.dropped = false;
	number.exponent = 0;
	if (!scan_decimal(text, negative, &number))
		return false;
	if (number.count == 0) {
		*out = negative ? -0.0 : 0.0;
		return true;
	}
	exponent = number.exponent;
	if (number.dropped) {
		number.digits[number.count++] = '1';
		exponent--;
	}
	/* No double is near 1e±99999, whatever the digits. */
	exponent = exponent > 99999 ? 99999 : exponent < -99999 ? -99999 : exponent;
	snprintf(number.digits + number.count, sizeof number.digits - number.count, "e%d",
		 (int)exponent);
	value = strtod(number.digits, NULL);
	if (!isfinite(value))
		return false;
	*out = negative ? -value : value;
	return true;
}

/* Put '.' where snprintf put the locale's decimal point, which may be several bytes. */
static void mend_decimal_point(char *text)
{
	size_t start = strspn(text, "-0123456789");
	size_t width = strcspn(text + start, "0123456789e");

	if (width == 0)
		return;
	text[start] = '.';
	memmove(text + start + 1, text + start + width, strlen(text + start + width) + 1);
}

bool kp_real_format(double value, char text[KP_REAL_TEXT_SIZE])
{
	double back = 0;

	if (!isfinite(value))
		return false;
	if (value == 0) {
		/* "-0" would be read back as an integer, which has no negative zero. */
		snprintf(text, KP_REAL_TEXT_SIZE, "%s", signbit(value) ? "-0.0" : "0");
		return true;
	}
	for (int precision = 15; precision <= 17; precision++) {
		if (snprintf(text, KP_REAL_TEXT_SIZE, "%.*g", precision, value) < 0)
			return false;
		mend_decimal_point(text);
		if (kp_real_parse(keep_bytes_of(text), &back) && back == value)
			return true;
	}
	return true;
}
