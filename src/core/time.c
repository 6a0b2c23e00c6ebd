/*
 * time.c - times as text, in the proleptic Gregorian calendar, without the C library's.
 *
 * Days and dates are converted as Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms"
 * does: years begin in March, so that the leap day is the last of its year, and 400 years are
 * always 146097 days.
 *
 * Invariants:
 *   1. keep_time_parse(keep_time_format(t)) == t for every t in KEEP_TIME_MIN..KEEP_TIME_MAX.
 *   2. Only the result is compared with those limits: a year 0000 with an offset may be in range.
 *
 * Tests: tests/unit/test_time.c; fuzz/fuzz_time.c.
 */
#include "core/core.h"

#include <string.h>

#define DAY_MS INT64_C(86400000)
#define ERA_DAYS 146097  /* 400 years */
#define EPOCH_DAY 719468 /* from 0000-03-01 to 1970-01-01 */

struct date {
	int year, month, day;
};

/* Days since 1970-01-01, for years 0 and later. */
static int64_t count_days(struct date date)
{
	int year = date.month <= 2 ? date.year - 1 : date.year;
	int era = (year >= 0 ? year : year - 399) / 400;
	int year_of_era = year - era * 400;
	int day_of_year = (153 * (date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;
	int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return (int64_t)era * ERA_DAYS + day_of_era - EPOCH_DAY;
}

/* The other way, for days of the years 1 to 9999. */
static struct date find_date(int64_t days)
{
	int since = (int)(days + EPOCH_DAY);
	int era = since / ERA_DAYS;
	int day_of_era = since - era * ERA_DAYS;
	int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
			   day_of_era / (ERA_DAYS - 1)) /
			  365;
	int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int month_from_march = (5 * day_of_year + 2) / 153;
	int month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;

	return (struct date){
		.year = year_of_era + era * 400 + (month <= 2),
		.month = month,
		.day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
	};
}

static int days_of_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* Where the reading is; the first failure is in *err. */
struct reader {
	keep_bytes text;
	size_t at;
	keep_error *err;
};

static bool expect(struct reader *r, bool met, size_t at, const char *what)
{
	/* The status is the one that keep_time_parse returns. */
	if (!met && kp_fail(r->err, KEEP_INVALID, "not a time: byte %zu: expected %s", at, what))
		return false;
	return met;
}

static char peek(const struct reader *r)
{
	return r->at < r->text.len ? r->text.data[r->at] : '\0';
}

/* Exactly `count` digits, whose number is in min..max. */
static bool read_number(struct reader *r, int count, int min, int max, const char *what, int *out)
{
	size_t start = r->at;

	*out = 0;
	for (int i = 0; i < count; i++, r->at++) {
		if (!expect(r, peek(r) >= '0' && peek(r) <= '9', r->at, what))
			return false;
		*out = *out * 10 + (peek(r) - '0');
	}
	return expect(r, *out >= min && *out <= max, start, what);
}

static bool read_one_of(struct reader *r, const char *set, const char *what)
{
	char found = peek(r);

	if (!expect(r, found != '\0' && strchr(set, found), r->at, what))
		return false;
	r->at++;
	return true;
}

static bool read_date(struct reader *r, int64_t *days)
{
	struct date date;

	if (!read_number(r, 4, 0, 9999, "a year of four digits", &date.year) ||
	    !read_one_of(r, "-", "'-'") ||
	    !read_number(r, 2, 1, 12, "a month from 01 to 12", &date.month) ||
	    !read_one_of(r, "-", "'-'") ||
	    !read_number(r, 2, 1, days_of_month(date.year, date.month), "a day of that month",
			 &date.day))
		return false;
	*days = count_days(date);
	return true;
}

/* "HH:MM:SS" in seconds; *leap when SS is 60. */
static bool read_clock(struct reader *r, int64_t *seconds, bool *leap)
{
	int hour, minute, second;

	if (!read_number(r, 2, 0, 23, "an hour from 00 to 23", &hour) ||
	    !read_one_of(r, ":", "':'") ||
	    !read_number(r, 2, 0, 59, "a minute from 00 to 59", &minute) ||
	    !read_one_of(r, ":", "':'") ||
	    !read_number(r, 2, 0, 60, "a second from 00 to 60", &second))
		return false;
	*leap = second == 60;
	*seconds = (int64_t)hour * 3600 + minute * 60 + second;
	return true;
}

/* "." and 1 to 9 digits, of which three count; nothing at all is no fraction. */
static bool read_fraction(struct reader *r, int64_t *ms)
{
	int digits = 0;

	*ms = 0;
	if (peek(r) != '.')
		return true;
	r->at++;
	for (int weight = 100; peek(r) >= '0' && peek(r) <= '9' && digits < 9; weight /= 10) {
		*ms += (int64_t)(peek(r) - '0') * weight;
		r->at++;
		digits++;
	}
	return expect(r, digits > 0, r->at, "1 to 9 digits of a fraction");
}

/* "Z" or "+HH:MM" in seconds; `optional` when the text may end instead. */
static bool read_offset(struct reader *r, bool optional, int64_t *seconds)
{
	bool west = peek(r) == '-';
	int hours, minutes;

	*seconds = 0;
	if (optional && r->at == r->text.len)
		return true;
	if (!read_one_of(r, "Zz+-", "'Z' or an offset"))
		return false;
	if (r->text.data[r->at - 1] == 'Z' || r->text.data[r->at - 1] == 'z')
		return true;
	if (!read_number(r, 2, 0, 23, "the hours of an offset from 00 to 23", &hours) ||
	    !read_one_of(r, ":", "':'") ||
	    !read_number(r, 2, 0, 59, "the minutes of an offset from 00 to 59", &minutes))
		return false;
	*seconds = ((int64_t)hours * 3600 + minutes * 60) * (west ? -1 : 1);
	return true;
}

/* Is this second (counted with 23:59:60) the first of a UTC month? Only there leap seconds are. */
static bool begins_month(int64_t seconds)
{
	return seconds % 86400 == 0 && seconds * 1000 >= KEEP_TIME_MIN &&
	       seconds * 1000 <= KEEP_TIME_MAX && find_date(seconds / 86400).day == 1;
}

static bool read_time(struct reader *r, int64_t *time_ms)
{
	int64_t days, seconds, ms, offset;
	bool blank, leap, fraction;

	if (!read_date(r, &days))
		return false;
	blank = peek(r) == ' ';
	if (!read_one_of(r, "Tt ", "'T'") || !read_clock(r, &seconds, &leap))
		return false;
	fraction = peek(r) == '.';
	if (!read_fraction(r, &ms) || !read_offset(r, blank && !fraction, &offset) ||
	    !expect(r, r->at == r->text.len, r->at, "the end"))
		return false;
	seconds += days * 86400 - offset;
	if (!expect(r, !leap || begins_month(seconds), 17,
		    "a second below 60 (only the last minute of a UTC month has it)"))
		return false;
	*time_ms = seconds * 1000 + (leap ? 0 : ms);
	return expect(r, *time_ms >= KEEP_TIME_MIN && *time_ms <= KEEP_TIME_MAX, 0,
		      "a time of the years 0001 to 9999 UTC");
}

keep_status keep_time_parse(keep_bytes text, int64_t *time_ms, keep_error *err)
{
	struct reader r = {.text = text, .err = err};
	int64_t found = 0;

	*time_ms = 0;
	if (!read_time(&r, &found))
		return KEEP_INVALID;
	*time_ms = found;
	return KEEP_OK;
}

/* `count` digits and then one character. */
static char *write_number(char *at, int count, int number, char then)
{
	for (int i = count - 1; i >= 0; i--) {
		at[i] = (char)('0' + number % 10);
		number /= 10;
	}
	at[count] = then;
	return at + count + 1;
}

keep_status keep_time_format(int64_t time_ms, char text[KEEP_TIME_TEXT_SIZE], keep_error *err)
{
	struct date date;
	int64_t days;
	int rest;
	char *at = text;

	text[0] = '\0';
	if (time_ms < KEEP_TIME_MIN || time_ms > KEEP_TIME_MAX)
		return kp_fail(err, KEEP_INVALID,
			       "the time %lld ms is not in the years 0001 to 9999 UTC",
			       (long long)time_ms);
	days = (time_ms - KEEP_TIME_MIN) / DAY_MS + KEEP_TIME_MIN / DAY_MS;
	rest = (int)(time_ms - days * DAY_MS);
	date = find_date(days);
	at = write_number(at, 4, date.year, '-');
	at = write_number(at, 2, date.month, '-');
	at = write_number(at, 2, date.day, 'T');
	at = write_number(at, 2, rest / 3600000, ':');
	at = write_number(at, 2, rest / 60000 % 60, ':');
	at = write_number(at, 2, rest / 1000 % 60, '.');
	at = write_number(at, 3, rest % 1000, 'Z');
	*at = '\0';
	return KEEP_OK;
}
