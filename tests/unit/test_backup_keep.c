/*
 * test_backup_keep.c - which backups rotation keeps, by a table of cases.
 *
 * The cases follow what restic ("restic forget", policy tests) and borg ("borg prune", the example
 * of its manual) publish: the newest of each of the last N days, weeks and months that have any.
 */
#include "backup/backup.h"
#include "keep_test.h"

enum { TIMES_MAX = 400 };

struct keep_case {
	const char *name, *zone;
	kp_backup_rules rules;
	const char *times; /* RFC 3339, by blanks */
	const char *kept;  /* '1' and '0' in the order of times */
};

static const struct keep_case cases[] = {
	{"nothing", "UTC", {7, 4, 3}, "", ""},
	{"one", "UTC", {1, 0, 0}, "2026-04-11T03:00:00Z", "1"},
	{"the newest of two on one day",
	 "UTC",
	 {7, 0, 0},
	 "2026-04-11T03:00:00Z 2026-04-11T15:00:00Z",
	 "01"},
	{"any order", "UTC", {7, 0, 0}, "2026-04-11T15:00:00Z 2026-04-11T03:00:00Z", "10"},
	{"the later in the list of equal times",
	 "UTC",
	 {7, 0, 0},
	 "2026-04-11T03:00:00Z 2026-04-11T03:00:00Z",
	 "01"},
	{"two days of three",
	 "UTC",
	 {2, 0, 0},
	 "2026-04-09T03:00:00Z 2026-04-10T03:00:00Z 2026-04-11T03:00:00Z",
	 "011"},
	{"days without a backup do not count",
	 "UTC",
	 {2, 0, 0},
	 "2026-01-09T03:00:00Z 2026-02-10T03:00:00Z 2026-04-11T03:00:00Z",
	 "011"},
	{"Sunday and Monday are two ISO weeks",
	 "UTC",
	 {0, 2, 0},
	 "2026-04-04T03:00:00Z 2026-04-12T03:00:00Z 2026-04-13T03:00:00Z",
	 "011"},
	{"a week over the end of a year is one",
	 "UTC",
	 {0, 2, 0},
	 "2025-12-22T03:00:00Z 2025-12-29T03:00:00Z 2026-01-01T03:00:00Z 2026-01-04T03:00:00Z",
	 "1001"},
	{"months",
	 "UTC",
	 {0, 0, 3},
	 "2025-12-31T03:00:00Z 2026-01-31T03:00:00Z 2026-02-28T03:00:00Z 2026-02-27T03:00:00Z "
	 "2026-04-01T03:00:00Z",
	 "01101"},
	{"February of a leap year ends on the 29th",
	 "UTC",
	 {0, 0, 2},
	 "2024-02-28T03:00:00Z 2024-02-29T03:00:00Z 2024-03-01T03:00:00Z",
	 "011"},
	{"the same month of two years is two",
	 "UTC",
	 {0, 0, 2},
	 "2025-04-11T03:00:00Z 2026-04-11T03:00:00Z",
	 "11"},
	{"rules add up",
	 "UTC",
	 {1, 1, 2},
	 "2026-03-30T03:00:00Z 2026-03-31T03:00:00Z 2026-04-10T03:00:00Z 2026-04-11T03:00:00Z",
	 "0101"},
	{"the future is like any other time",
	 "UTC",
	 {1, 0, 0},
	 "2026-04-11T03:00:00Z 2099-01-01T03:00:00Z",
	 "01"},
	{"a day is the zone's",
	 "Europe/Brussels",
	 {2, 0, 0},
	 "2026-04-10T21:59:00Z 2026-04-10T22:01:00Z 2026-04-11T21:59:00Z",
	 "101"},
	{"in UTC that is another",
	 "UTC",
	 {2, 0, 0},
	 "2026-04-10T21:59:00Z 2026-04-10T22:01:00Z 2026-04-11T21:59:00Z",
	 "011"},
	{"a day of 23 hours",
	 "Europe/Brussels",
	 {2, 0, 0},
	 "2026-03-28T23:30:00Z 2026-03-29T21:30:00Z 2026-03-29T22:30:00Z",
	 "011"},
	{"a day of 25 hours",
	 "Europe/Brussels",
	 {2, 0, 0},
	 "2026-10-24T22:30:00Z 2026-10-25T22:30:00Z 2026-10-25T23:30:00Z",
	 "011"},
	{"clocks that go back over midnight",
	 "America/Havana",
	 {2, 0, 0},
	 "2026-11-01T03:30:00Z 2026-11-01T04:30:00Z 2026-11-01T05:30:00Z",
	 "101"},
	{"no rule is the usual ones",
	 "UTC",
	 {0, 0, 0},
	 "2026-01-01T00:00:00Z 2026-02-01T00:00:00Z 2026-02-02T00:00:00Z 2026-02-02T01:00:00Z",
	 "1101"},
	{"before 1970", "UTC", {1, 0, 0}, "1969-12-31T23:00:00Z 1969-12-30T23:00:00Z", "10"},
};

static size_t read_times(const char *text, int64_t times[TIMES_MAX])
{
	keep_error err = KEEP_ERROR_INIT;
	size_t count = 0;

	while (*text) {
		size_t len = strcspn(text, " ");

		OK(keep_time_parse((keep_bytes){text, len}, &times[count++], &err));
		text += len + strspn(text + len, " ");
	}
	return count;
}

static void each_case_of_the_table_keeps_what_it_says(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		int64_t times[TIMES_MAX];
		bool keep[TIMES_MAX] = {false};
		char found[TIMES_MAX + 1] = "";
		keep_zone *zone = NULL;
		size_t count = read_times(cases[i].times, times);

		OK(keep_zone_open(cases[i].zone, &zone, &err));
		OK(kp_backup_keep(times, count, zone, &cases[i].rules, keep, &err));
		for (size_t j = 0; j < count; j++)
			found[j] = keep[j] ? '1' : '0';
		CHECK(strcmp(found, cases[i].kept) == 0, "%s: %s instead of %s", cases[i].name,
		      found, cases[i].kept);
		keep_zone_close(&zone);
	}
}

/* One a day for a year: 7 days, of which some end a week or a month. */
static void daily_backups_of_a_year_keep_what_borg_would(void **state)
{
	static const kp_backup_rules rules = {7, 4, 3};
	keep_error err = KEEP_ERROR_INIT;
	int64_t times[365], first = 0;
	bool keep[365];
	keep_zone *zone = NULL;
	size_t count = 0;

	(void)state;
	OK(keep_time_parse(KEEP_BYTES("2025-04-12T03:00:00Z"), &first, &err));
	for (size_t i = 0; i < KP_COUNT(times); i++)
		times[i] = first + (int64_t)i * 86400000;
	OK(keep_zone_open("UTC", &zone, &err));
	OK(kp_backup_keep(times, KP_COUNT(times), zone, &rules, keep, &err));
	for (size_t i = 0; i < KP_COUNT(keep); i++)
		count += keep[i];
	/* 2026-04-05 … 11; the Sundays 5 April, 29 and 22 March; 31 March and 28 February */
	CHECK(count == 7 + 2 + 2, "%zu are kept", count);
	CHECK(keep[364] && keep[358] && !keep[357] && keep[351] && keep[344] && keep[353] &&
		      keep[322],
	      "others are kept");
	keep_zone_close(&zone);
}

static void numbers_below_zero_and_times_out_of_range_are_refused(void **state)
{
	static const kp_backup_rules negative = {-1, 0, 0}, one = {1, 0, 0};
	keep_error err = KEEP_ERROR_INIT;
	int64_t time_ms = 0, far = INT64_MAX;
	keep_zone *zone = NULL;
	bool keep;

	(void)state;
	OK(keep_zone_open("UTC", &zone, &err));
	CHECK(kp_backup_keep(&time_ms, 1, zone, &negative, &keep, &err) == KEEP_INVALID, "taken");
	CHECK(kp_backup_keep(&far, 1, zone, &one, &keep, &err) == KEEP_INVALID, "taken");
	keep_zone_close(&zone);
}

static void nothing_lives(void **state)
{
	(void)state;
	keep_zone_forget();
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_case_of_the_table_keeps_what_it_says),
		cmocka_unit_test(daily_backups_of_a_year_keep_what_borg_would),
		cmocka_unit_test(numbers_below_zero_and_times_out_of_range_are_refused),
		cmocka_unit_test(nothing_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
