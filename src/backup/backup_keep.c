/*
 * backup_keep.c - which of many backups are kept, by calendar.
 *
 * The policy of restic's and borg's keep-daily, keep-weekly, keep-monthly: going from the newest to
 * the oldest, the first of each day is kept until `daily` days had one, the first of each ISO week
 * until `weekly` weeks had one, and so with months. A backup may be kept by several rules. Days,
 * weeks and months without a backup do not count, so a machine that was off loses none.
 *
 * Invariants:
 *   1. A pure function of its inputs: which time it is now is not asked, so a clock that was wrong
 *      removes nothing.
 *   2. The newest is kept by any rules.
 *   3. Calendars are those of the zone: a day is what its clocks show, 23 or 25 hours long.
 *
 * Tests: tests/unit/test_backup_keep.c.
 */
#include "backup/backup_private.h"

#include <stdlib.h>

#define DAY_MS INT64_C(86400000)

struct point {
	int64_t time_ms;
	size_t index;
	int64_t day, week, month; /* numbers of periods */
};

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Months since the year 0 of a day since 1970 (Hinnant's civil_from_days). */
static int64_t month_of(int64_t day)
{
	int64_t shifted = day + 719468;
	int64_t era = floor_div(shifted, 146097);
	int64_t of_era = shifted - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * of_year + 2) / 153; /* 0: March */

	return (year + era * 400) * 12 + month; /* counted from March: any period will do */
}

/* Newest first; of equal times the later in the list. */
static int compare_points(const void *a, const void *b)
{
	const struct point *x = a, *y = b;

	if (x->time_ms != y->time_ms)
		return x->time_ms > y->time_ms ? -1 : 1;
	return x->index > y->index ? -1 : 1;
}

static void keep_some(const struct point *points, size_t count, size_t offset, int wanted,
		      bool *keep)
{
	int64_t last = INT64_MAX; /* clocks that go back over midnight show a day twice */

	for (size_t i = 0; i < count && wanted > 0; i++) {
		int64_t period =
			*(const int64_t *)(const void *)((const char *)&points[i] + offset);

		if (period >= last)
			continue;
		last = period;
		keep[points[i].index] = true;
		wanted--;
	}
}

static keep_status place(struct point *point, const keep_zone *zone, keep_error *err)
{
	int64_t local = 0;
	keep_status status = kp_check_time("a backup's time", point->time_ms, err);

	if (status == KEEP_OK)
		status = keep_zone_local(zone, point->time_ms, &local, err);
	point->day = floor_div(local, DAY_MS);
	point->week = floor_div(point->day + 3, 7); /* 1970-01-01 was a Thursday */
	point->month = month_of(point->day);
	return status;
}

keep_status kp_backup_keep(const int64_t *times_ms, size_t count, const keep_zone *zone,
			   const kp_backup_rules *rules, bool *keep, keep_error *err)
{
	static const kp_backup_rules usual = {.daily = 7, .weekly = 4, .monthly = 3};
	struct point *points = NULL;
	keep_status status = KEEP_OK;

	if (rules->daily < 0 || rules->weekly < 0 || rules->monthly < 0)
		return kp_fail(err, KEEP_INVALID, "a number of backups to keep is negative");
	if (rules->daily == 0 && rules->weekly == 0 && rules->monthly == 0)
		rules = &usual;
	if (count == 0)
		return KEEP_OK;
	points = kp_alloc(count * sizeof *points);
	if (!points)
		return kp_fail_memory(err, "a list of backups");
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		keep[i] = false;
		points[i] = (struct point){.time_ms = times_ms[i], .index = i};
		status = place(&points[i], zone, err);
	}
	if (status == KEEP_OK) {
		qsort(points, count, sizeof *points, compare_points);
		keep_some(points, count, offsetof(struct point, day), rules->daily, keep);
		keep_some(points, count, offsetof(struct point, week), rules->weekly, keep);
		keep_some(points, count, offsetof(struct point, month), rules->monthly, keep);
		keep[points[0].index] = true;
	}
	kp_free(points);
	return status;
}
