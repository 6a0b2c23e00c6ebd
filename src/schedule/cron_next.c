/*
 * cron_next.c - the next and the previous time of a schedule.
 *
 * Two searches, one inside the other. The inner one knows only the calendar: the first local time
 * not before L that the fields allow. It jumps by field: a month by its mask of days, a day to the
 * first hour, minute and second. The outer one knows clocks: it goes from one piece of the zone (a
 * stretch with one offset) to the next and searches each piece's local times; between two pieces
 * the local times that clocks skip or repeat are dealt with as the schedule says.
 *
 * Invariants:
 *   1. A schedule is a set of times: next is its smallest element above, previous its largest
 *      below, and matches is membership in the piece around it. All see the set through one
 * function for each piece (find_in_piece and its mirror), so they cannot disagree.
 *   2. A month's days are a mask of at most 31 bits, an hour's minutes one of 60: no search tries
 *      value after value.
 *   3. The search ends. The outer loop goes to a later (earlier) piece each time, a piece of a
 *      yearly rule is at least hours long, and a table has finitely many. It stops at the years 1
 *      and 9999, and sooner at HORIZON_YEARS behind the last change of the zone's table: from
 *      there the dates (400 years are 146097 days, a whole number of weeks) and the zone's rule
 *      repeat exactly every 400 years, so what is not found in 400 will never be found. The inner
 *      loop goes to a later month each time and stops at its limit, the end of the piece.
 *
 * A piece costs one look at the zone (a binary search, or eight dates of a yearly rule) and one
 * mask; a time that is in the same piece, as nearly all are, costs one of each: below a
 * microsecond. The worst, a day like "0 0 29 2 1" with AND, comes after at most 40 years: 80
 * pieces.
 *
 * Tests: tests/unit/test_cron.c, tests/unit/test_cron_search.c (a walk through all minutes),
 * tests/unit/cron_oracle.py (croniter), tests/torture/test_schedule_faults.c, fuzz/fuzz_cron.c.
 */
#include "schedule/schedule_private.h"

#define HORIZON_YEARS 400
#define HORIZON_S (HORIZON_YEARS * 366 * KP_DAY_S)
#define NONE INT64_MIN

/* ---------------------------------------------------------------- days */

static int lowest_bit(uint64_t mask)
{
	return __builtin_ctzll(mask);
}

static int highest_bit(uint64_t mask)
{
	return 63 - __builtin_clzll(mask);
}

/* Bits from..to, of 0 to 63. */
static uint64_t bits_between(int from, int to)
{
	return (UINT64_MAX >> (63 - to)) & (UINT64_MAX << from);
}

/* The working day nearest to a day of the same month: 1 to 5 is Monday to Friday. */
static int find_working_day(int day, int length, int first_weekday)
{
	int weekday = (first_weekday + day - 1) % 7;

	if (weekday == 6)
		return day > 1 ? day - 1 : day + 2;
	if (weekday == 0)
		return day < length ? day + 1 : day - 2;
	return day;
}

/* What the day of the month allows, bit n for day n. */
static uint32_t days_by_number(const keep_schedule *s, int length, int first_weekday)
{
	uint32_t valid = (uint32_t)bits_between(1, length);
	uint32_t days = s->day & valid;
	int last = length;

	if (s->last_day)
		days |= UINT32_C(1) << length;
	while ((first_weekday + last - 1) % 7 == 0 || (first_weekday + last - 1) % 7 == 6)
		last--;
	if (s->last_working_day)
		days |= UINT32_C(1) << last;
	for (uint32_t rest = s->near_weekday & valid; rest; rest &= rest - 1)
		days |= UINT32_C(1) << find_working_day(lowest_bit(rest), length, first_weekday);
	return days;
}

/* What the day of the week allows. */
static uint32_t days_by_weekday(const keep_schedule *s, int length, int first_weekday)
{
	const uint64_t every_week = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;
	uint64_t days = 0;

	for (int weekday = 0; weekday < 7; weekday++) {
		int first = 1 + (weekday - first_weekday + 7) % 7;
		int last = first + (length - first) / 7 * 7;
		uint64_t nth = s->nth >> (5 * weekday) & 31;

		if (s->weekday >> weekday & 1)
			days |= every_week << first;
		if (s->last_weekday >> weekday & 1)
			days |= UINT64_C(1) << last;
		for (; nth; nth &= nth - 1)
			days |= UINT64_C(1) << (first + 7 * lowest_bit(nth));
	}
	return (uint32_t)(days & bits_between(1, length));
}

/* The days of a month of that length that begins on that weekday. */
static uint32_t days_of(const keep_schedule *s, int length, int first_weekday)
{
	uint32_t by_number = days_by_number(s, length, first_weekday);
	uint32_t by_weekday = days_by_weekday(s, length, first_weekday);
	uint32_t days = s->either_day ? by_number | by_weekday : by_number & by_weekday;
	int first_of_week = 7 * (int)s->only_week - 6;

	if (s->only_week > 0)
		days &= (uint32_t)bits_between(first_of_week, first_of_week + 6);
	return days;
}

uint32_t kp_schedule_days(const keep_schedule *schedule, int year, int month)
{
	int64_t first = kp_date_days((kp_date){.year = year, .month = month, .day = 1});

	if (!(schedule->month >> month & 1))
		return 0;
	return days_of(schedule, kp_month_length(year, month), kp_weekday_of_days(first));
}

bool kp_schedule_is_possible(const keep_schedule *schedule)
{
	/* A month is known by its length and first weekday; in 400 years each such month comes. */
	for (int month = 1; month <= 12; month++) {
		if (!(schedule->month >> month & 1))
			continue;
		for (int weekday = 0; weekday < 7; weekday++) {
			if (days_of(schedule, kp_month_length(2000, month), weekday) ||
			    days_of(schedule, kp_month_length(2001, month), weekday))
				return true;
		}
	}
	return false;
}

/* ---------------------------------------------------------------- times of a day */

/* The first second of a day from `from` on; NONE when the rest of the day has none. */
static int64_t first_of_day(const keep_schedule *s, int64_t from)
{
	int hour = (int)(from / 3600), minute = (int)(from / 60 % 60), second = (int)(from % 60);
	uint64_t rest;

	if (s->hour >> hour & 1) {
		if (s->minute >> minute & 1) {
			rest = s->second & bits_between(second, 59);
			if (rest)
				return hour * 3600 + minute * 60 + lowest_bit(rest);
		}
		rest = minute < 59 ? s->minute & bits_between(minute + 1, 59) : 0;
		if (rest)
			return hour * 3600 + lowest_bit(rest) * 60 + lowest_bit(s->second);
	}
	rest = hour < 23 ? s->hour & bits_between(hour + 1, 23) : 0;
	if (!rest)
		return NONE;
	return lowest_bit(rest) * 3600 + lowest_bit(s->minute) * 60 + lowest_bit(s->second);
}

/* The last second of a day up to `until`. */
static int64_t last_of_day(const keep_schedule *s, int64_t until)
{
	int hour = (int)(until / 3600), minute = (int)(until / 60 % 60), second = (int)(until % 60);
	uint64_t rest;

	if (s->hour >> hour & 1) {
		if (s->minute >> minute & 1) {
			rest = s->second & bits_between(0, second);
			if (rest)
				return hour * 3600 + minute * 60 + highest_bit(rest);
		}
		rest = minute > 0 ? s->minute & bits_between(0, minute - 1) : 0;
		if (rest)
			return hour * 3600 + highest_bit(rest) * 60 + highest_bit(s->second);
	}
	rest = hour > 0 ? s->hour & bits_between(0, hour - 1) : 0;
	if (!rest)
		return NONE;
	return highest_bit(rest) * 3600 + highest_bit(s->minute) * 60 + highest_bit(s->second);
}

/* ---------------------------------------------------------------- local times */

/* The first local time in from..limit-1, or NONE. */
static int64_t first_local(const keep_schedule *s, int64_t from, int64_t limit)
{
	int64_t day = kp_floor_divide(from, KP_DAY_S), first_of_month, in_day;
	kp_date date = kp_date_of_days(day);
	uint32_t days = kp_schedule_days(s, date.year, date.month);

	if (from >= limit)
		return NONE;
	if (days >> date.day & 1) {
		in_day = first_of_day(s, from - day * KP_DAY_S);
		if (in_day != NONE)
			return day * KP_DAY_S + in_day < limit ? day * KP_DAY_S + in_day : NONE;
	}
	days &= date.day < 31 ? (uint32_t)bits_between(date.day + 1, 31) : 0;
	first_of_month = day - date.day + 1;
	while (!days) {
		first_of_month += kp_month_length(date.year, date.month);
		if (first_of_month * KP_DAY_S >= limit)
			return NONE;
		date.month = date.month % 12 + 1;
		date.year += date.month == 1;
		days = kp_schedule_days(s, date.year, date.month);
	}
	day = first_of_month + lowest_bit(days) - 1;
	in_day = first_of_day(s, 0);
	return day * KP_DAY_S + in_day < limit ? day * KP_DAY_S + in_day : NONE;
}

/* The last local time in limit..until, or NONE. */
static int64_t last_local(const keep_schedule *s, int64_t until, int64_t limit)
{
	int64_t day = kp_floor_divide(until, KP_DAY_S), first_of_month, in_day;
	kp_date date = kp_date_of_days(day);
	uint32_t days = kp_schedule_days(s, date.year, date.month);

	if (until < limit)
		return NONE;
	if (days >> date.day & 1) {
		in_day = last_of_day(s, until - day * KP_DAY_S);
		if (in_day != NONE)
			return day * KP_DAY_S + in_day >= limit ? day * KP_DAY_S + in_day : NONE;
	}
	days &= (uint32_t)bits_between(0, date.day - 1);
	first_of_month = day - date.day + 1;
	while (!days) {
		if (first_of_month * KP_DAY_S <= limit)
			return NONE;
		date.month = date.month > 1 ? date.month - 1 : 12;
		date.year -= date.month == 12;
		first_of_month -= kp_month_length(date.year, date.month);
		days = kp_schedule_days(s, date.year, date.month);
	}
	day = first_of_month + highest_bit(days) - 1;
	in_day = last_of_day(s, KP_DAY_S - 1);
	return day * KP_DAY_S + in_day >= limit ? day * KP_DAY_S + in_day : NONE;
}

/* ---------------------------------------------------------------- pieces */

static bool shifts_each(const keep_schedule *s, const kp_zone_piece *piece)
{
	return s->gap_rule == KP_GAP_SHIFT_HOUR && piece->offset - piece->before == 3600;
}

/*
 * The one time that stands for all that were skipped before this piece, when there is one. Skipped
 * were the local times from begin + before to begin + offset - 1.
 */
static int64_t find_stand_in(const keep_schedule *s, const kp_zone_piece *piece)
{
	int64_t skipped;

	if (piece->offset <= piece->before ||
	    (s->gap_rule != KP_GAP_ONCE && s->gap_rule != KP_GAP_SHIFT_FIRST))
		return NONE;
	skipped = first_local(s, piece->begin + piece->before, piece->begin + piece->offset);
	if (skipped == NONE || s->gap_rule == KP_GAP_ONCE)
		return skipped == NONE ? NONE : piece->begin;
	return skipped - piece->before < piece->end ? skipped - piece->before : NONE;
}

/* Where this piece's own local times begin: behind those that came before clocks went back. */
static int64_t local_begin(const keep_schedule *s, const kp_zone_piece *piece)
{
	bool repeats = piece->before > piece->offset && s->first_of_twice;

	return piece->begin + (repeats ? piece->before : piece->offset);
}

static int64_t at_least(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t at_most(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The smaller (larger) of two times, of which each may be NONE. */
static int64_t earlier(int64_t a, int64_t b)
{
	return a == NONE || (b != NONE && b < a) ? b : a;
}

static int64_t later(int64_t a, int64_t b)
{
	return at_least(a, b);
}

/* The first time of the schedule in a piece, from `from` on. */
static int64_t find_in_piece(const keep_schedule *s, const kp_zone_piece *piece, int64_t from)
{
	int64_t local, found, stand_in = find_stand_in(s, piece);

	from = at_least(from, piece->begin);
	local = first_local(s, at_least(from + piece->offset, local_begin(s, piece)),
			    piece->end + piece->offset);
	found = local == NONE ? NONE : local - piece->offset;
	if (stand_in != NONE && stand_in >= from)
		found = earlier(found, stand_in);
	if (shifts_each(s, piece)) {
		local = first_local(
			s, from + piece->before,
			at_most(piece->begin + piece->offset, piece->end + piece->before));
		found = earlier(found, local == NONE ? NONE : local - piece->before);
	}
	return found;
}

/* Its mirror: the last time of the schedule in a piece, until `until`. */
static int64_t find_last_in_piece(const keep_schedule *s, const kp_zone_piece *piece, int64_t until)
{
	int64_t local, found, stand_in = find_stand_in(s, piece);

	until = at_most(until, piece->end - 1);
	local = last_local(s, until + piece->offset, local_begin(s, piece));
	found = local == NONE ? NONE : local - piece->offset;
	if (stand_in != NONE && stand_in <= until)
		found = later(found, stand_in);
	if (shifts_each(s, piece)) {
		local = last_local(s,
				   at_most(until + piece->before, piece->begin + piece->offset - 1),
				   piece->begin + piece->before);
		found = later(found, local == NONE ? NONE : local - piece->before);
	}
	return found;
}

static int64_t last_change(const keep_zone *zone)
{
	return zone->count > 0 ? zone->changes[zone->count - 1].time : 0;
}

static int64_t find_next(const keep_schedule *s, int64_t from)
{
	int64_t limit =
		at_most(KP_TIME_MAX_S + 1, at_least(from, last_change(s->zone)) + HORIZON_S);
	kp_zone_piece piece = {.end = from};

	while (piece.end < limit) {
		int64_t found;

		kp_zone_piece_at(s->zone, piece.end, &piece);
		/* A piece without end must not make the calendar run away. */
		piece.end = at_most(piece.end, limit);
		found = find_in_piece(s, &piece, from);
		if (found != NONE)
			return found;
	}
	return NONE;
}

static int64_t find_previous(const keep_schedule *s, int64_t until)
{
	int64_t limit = KP_TIME_MIN_S;
	kp_zone_piece piece = {.begin = until + 1};

	while (piece.begin > limit) {
		int64_t found;

		kp_zone_piece_at(s->zone, piece.begin - 1, &piece);
		if (piece.begin < limit)
			piece = (kp_zone_piece){limit, piece.end, piece.offset, piece.offset};
		found = find_last_in_piece(s, &piece, until);
		if (found != NONE)
			return found;
	}
	return NONE;
}

/* ---------------------------------------------------------------- doors */

static keep_status check_time(int64_t time_ms, keep_error *err)
{
	if (time_ms < KEEP_TIME_MIN || time_ms > KEEP_TIME_MAX)
		return kp_fail(err, KEEP_INVALID,
			       "the time %lld ms is not in the years 0001 to 9999",
			       (long long)time_ms);
	return KEEP_OK;
}

/* The first time from `from_ms` on, or NONE. */
static int64_t find_from(const keep_schedule *s, int64_t from_ms)
{
	int64_t found;

	if (s->zone) {
		found = find_next(s, -kp_floor_divide(-from_ms, 1000));
		return found == NONE ? NONE : found * 1000;
	}
	if (from_ms <= s->anchor_ms)
		return s->anchor_ms;
	found = from_ms +
		(s->interval_ms - (from_ms - s->anchor_ms) % s->interval_ms) % s->interval_ms;
	return found <= KEEP_TIME_MAX ? found : NONE;
}

keep_status keep_schedule_next(const keep_schedule *schedule, int64_t after_ms, int64_t *time_ms,
			       keep_error *err)
{
	keep_status status = check_time(after_ms, err);
	int64_t found;

	*time_ms = 0;
	if (status != KEEP_OK)
		return status;
	found = find_from(schedule, after_ms + 1);
	if (found == NONE)
		return kp_fail(err, KEEP_NOT_FOUND, "the schedule has no time after it");
	*time_ms = found;
	return KEEP_OK;
}

keep_status keep_schedule_previous(const keep_schedule *schedule, int64_t before_ms,
				   int64_t *time_ms, keep_error *err)
{
	keep_status status = check_time(before_ms, err);
	int64_t found = NONE;

	*time_ms = 0;
	if (status != KEEP_OK)
		return status;
	if (schedule->zone) {
		found = find_previous(schedule, kp_floor_divide(before_ms - 1, 1000));
		found = found == NONE ? NONE : found * 1000;
	} else if (before_ms > schedule->anchor_ms) {
		int64_t since = before_ms - 1 - schedule->anchor_ms;

		found = schedule->anchor_ms + since - since % schedule->interval_ms;
	}
	if (found == NONE)
		return kp_fail(err, KEEP_NOT_FOUND, "the schedule has no time before it");
	*time_ms = found;
	return KEEP_OK;
}

bool keep_schedule_matches(const keep_schedule *schedule, int64_t time_ms)
{
	int64_t time = kp_floor_divide(time_ms, 1000);
	kp_zone_piece piece;

	if (time_ms < KEEP_TIME_MIN || time_ms > KEEP_TIME_MAX)
		return false;
	if (!schedule->zone)
		return find_from(schedule, time_ms) == time_ms;
	kp_zone_piece_at(schedule->zone, time, &piece);
	piece.end = time + 1;
	return time_ms == time * 1000 && find_in_piece(schedule, &piece, time) == time;
}

keep_status keep_schedule_preview(const keep_schedule *schedule, int64_t after_ms, size_t count,
				  int64_t *times_ms, size_t *found, keep_error *err)
{
	keep_status status = check_time(after_ms, err);

	*found = 0;
	if (status != KEEP_OK)
		return status;
	if (count > KEEP_SCHEDULE_PREVIEW_MAX)
		return kp_fail(err, KEEP_INVALID, "a preview of %zu times; the most is %d", count,
			       KEEP_SCHEDULE_PREVIEW_MAX);
	for (size_t i = 0; i < count; i++) {
		after_ms = find_from(schedule, after_ms + 1);
		if (after_ms == NONE)
			break;
		times_ms[i] = after_ms;
		*found = i + 1;
	}
	return KEEP_OK;
}
