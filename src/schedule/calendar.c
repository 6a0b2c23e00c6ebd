/*
 * calendar.c - dates and days in the proleptic Gregorian calendar, for schedules and zones.
 *
 * Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms", as in core/time.c: years begin
 * in March, so that the leap day is the last of its year, and 400 years are always 146097 days.
 *
 * Tests: tests/unit/test_zone.c walks through every day of 400 years.
 */
#include "schedule/schedule_private.h"

#define ERA_DAYS 146097  /* 400 years, a whole number of weeks */
#define EPOCH_DAY 719468 /* from 0000-03-01 to 1970-01-01 */

int64_t kp_floor_divide(int64_t value, int64_t by)
{
	return value / by - (value % by < 0);
}

int64_t kp_date_days(kp_date date)
{
	int year = date.month <= 2 ? date.year - 1 : date.year;
	int era = (year >= 0 ? year : year - 399) / 400;
	int year_of_era = year - era * 400;
	int day_of_year = (153 * (date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;
	int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return (int64_t)era * ERA_DAYS + day_of_era - EPOCH_DAY;
}

kp_date kp_date_of_days(int64_t days)
{
	int64_t since = days + EPOCH_DAY;
	int era = (int)kp_floor_divide(since, ERA_DAYS);
	int day_of_era = (int)(since - (int64_t)era * ERA_DAYS);
	int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
			   day_of_era / (ERA_DAYS - 1)) /
			  365;
	int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int month_from_march = (5 * day_of_year + 2) / 153;
	int month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;

	return (kp_date){
		.year = year_of_era + era * 400 + (month <= 2),
		.month = month,
		.day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
	};
}

int kp_month_length(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

int kp_weekday_of_days(int64_t days)
{
	/* 1970-01-01 was a Thursday. */
	return (int)(days + 4 - 7 * kp_floor_divide(days + 4, 7));
}
