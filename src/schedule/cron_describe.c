/*
 * cron_describe.c - a schedule in English words.
 *
 * The words come from the sets, not from the text of the expression: what is said is what will
 * happen, and two ways of writing one schedule read the same. First the time of day, then the days,
 * the months, the zone.
 *
 * Tests: the table of words in tests/unit/test_cron.c.
 */
#include "schedule/schedule_private.h"

#include <stdio.h>

#define TIMES_LISTED_MAX 6 /* that many times of day are spelled out */

struct writer {
	keep_buffer *out;
	keep_status status; /* the first failure */
	keep_error *err;
};

static void say(struct writer *w, const char *format, ...) KEEP_PRINTF(2, 3);

static void say(struct writer *w, const char *format, ...)
{
	char text[128];
	va_list args;

	if (w->status != KEEP_OK)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	w->status = kp_buffer_append_text(w->out, text, w->err);
}

static int count_bits(uint64_t mask)
{
	return __builtin_popcountll(mask);
}

static const char *const weekday_names[] = {
	"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
};
static const char *const month_names[] = {
	"",     "January", "February",  "March",   "April",    "May",      "June",
	"July", "August",  "September", "October", "November", "December",
};

/* How one value of a set is said. */
typedef void say_value(struct writer *w, int value);

static void say_number(struct writer *w, int value)
{
	say(w, "%d", value);
}

static void say_weekday(struct writer *w, int value)
{
	/* 7 is the Sunday after Saturday. */
	say(w, "%s", weekday_names[value % 7]);
}

static void say_month(struct writer *w, int value)
{
	say(w, "%s", month_names[value]);
}

static void say_nth_weekday(struct writer *w, int value)
{
	static const char *const nth[] = {"first", "second", "third", "fourth", "fifth"};

	say(w, "the %s %s", nth[(unsigned)value % 5], weekday_names[(unsigned)value / 5 % 7]);
}

static void say_last_weekday(struct writer *w, int value)
{
	say(w, "the last %s", weekday_names[value]);
}

static void say_near_weekday(struct writer *w, int value)
{
	say(w, "the working day nearest to day %d", value);
}

/* "1, 3 and 10 to 15": three and more in a row become a range when `ranges`. */
static void say_set(struct writer *w, uint64_t mask, bool ranges, say_value *say_one)
{
	bool first = true;

	while (mask) {
		int from = __builtin_ctzll(mask), to = from;

		while (ranges && to < 63 && mask >> (to + 1) & 1)
			to++;
		if (to - from < 2)
			to = from;
		mask &= to < 63 ? UINT64_MAX << (to + 1) : 0;
		if (!first)
			say(w, "%s", mask ? ", " : " and ");
		say_one(w, from);
		if (to > from) {
			say(w, " to ");
			say_one(w, to);
		}
		first = false;
	}
}

/* The n of "every n-th from 0 to size - 1", when n divides size; otherwise 0. */
static int find_step(uint64_t mask, int size)
{
	int step = mask & 1 && mask != 1 ? __builtin_ctzll(mask & ~UINT64_C(1)) : 0;
	uint64_t wanted = 0;

	if (step == 0 || size % step != 0)
		return 0;
	for (int value = 0; value < size; value += step)
		wanted |= UINT64_C(1) << value;
	return mask == wanted ? step : 0;
}

/* "every minute", "every 15 minutes" or "at minutes 3 and 7". */
static void say_units(struct writer *w, uint64_t mask, int size, const char *unit)
{
	int step = find_step(mask, size);

	if (step == 1) {
		say(w, "every %s", unit);
	} else if (step > 1) {
		say(w, "every %d %ss", step, unit);
	} else {
		say(w, "at %s%s ", unit, count_bits(mask) > 1 ? "s" : "");
		say_set(w, mask, true, say_number);
	}
}

static void say_times(struct writer *w, const keep_schedule *s)
{
	int rest = count_bits(s->hour) * count_bits(s->minute);

	say(w, "at ");
	for (uint64_t hours = s->hour; hours; hours &= hours - 1) {
		for (uint64_t minutes = s->minute; minutes; minutes &= minutes - 1) {
			say(w, "%02d:%02d", __builtin_ctzll(hours), __builtin_ctzll(minutes));
			if (count_bits(s->second) == 1 && s->second != 1)
				say(w, ":%02d", __builtin_ctzll(s->second));
			rest--;
			say(w, "%s", rest > 1 ? ", " : rest == 1 ? " and " : "");
		}
	}
}

static void say_time_of_day(struct writer *w, const keep_schedule *s)
{
	int times = count_bits(s->hour) * count_bits(s->minute);
	int hour_step = find_step(s->hour, 24);

	if (times <= TIMES_LISTED_MAX && count_bits(s->second) == 1) {
		say_times(w, s);
		return;
	}
	if (s->second != 1) {
		say_units(w, s->second, 60, "second");
		say(w, ", ");
	}
	say_units(w, s->minute, 60, "minute");
	if (hour_step == 1 && find_step(s->minute, 60) > 0)
		return;
	if (hour_step == 1) {
		say(w, " of every hour");
	} else if (hour_step > 1) {
		say(w, " of every %d hours", hour_step);
	} else {
		say(w, " of hour%s ", count_bits(s->hour) > 1 ? "s" : "");
		say_set(w, s->hour, true, say_number);
	}
}

/* ---------------------------------------------------------------- days */

static void join(struct writer *w, bool *first)
{
	say(w, "%s", *first ? "" : " and ");
	*first = false;
}

static void say_days(struct writer *w, const keep_schedule *s)
{
	bool first = true;

	if (s->day) {
		join(w, &first);
		say(w, "day%s ", count_bits(s->day) > 1 ? "s" : "");
		say_set(w, s->day, true, say_number);
	}
	if (s->last_day) {
		join(w, &first);
		say(w, "the last day");
	}
	if (s->last_working_day) {
		join(w, &first);
		say(w, "the last working day");
	}
	if (s->near_weekday) {
		join(w, &first);
		say_set(w, s->near_weekday, false, say_near_weekday);
	}
	say(w, " of the month");
}

static void say_weekdays(struct writer *w, const keep_schedule *s)
{
	uint64_t weekdays = s->weekday;
	bool first = true;

	/* A week is said from Monday on. */
	if (weekdays & 1)
		weekdays = (weekdays & ~UINT64_C(1)) | 1 << 7;
	if (weekdays) {
		join(w, &first);
		say_set(w, weekdays, true, say_weekday);
	}
	if (s->nth) {
		join(w, &first);
		say_set(w, s->nth, false, say_nth_weekday);
	}
	if (s->last_weekday) {
		join(w, &first);
		say_set(w, s->last_weekday, false, say_last_weekday);
	}
	if (s->nth || s->last_weekday)
		say(w, " of the month");
}

static void say_dates(struct writer *w, const keep_schedule *s)
{
	const uint32_t all_days = UINT32_MAX - 1, all_weekdays = 127;
	bool any_day = s->day == all_days, any_weekday = s->weekday == all_weekdays;

	if (s->either_day && (any_day || any_weekday)) {
		any_day = any_weekday = true;
	} else if (s->either_day) {
		say(w, " on ");
		say_days(w, s);
		say(w, " or on ");
		say_weekdays(w, s);
	} else if (!any_day && !any_weekday) {
		say(w, " on ");
		say_days(w, s);
		say(w, " if that is ");
		say_weekdays(w, s);
	} else if (!any_day || !any_weekday) {
		say(w, " on ");
		if (any_day)
			say_weekdays(w, s);
		else
			say_days(w, s);
	}
	if (s->only_week > 0)
		say(w, ", days %u to %u of the month alone", 7 * s->only_week - 6,
		    s->only_week < 5 ? 7 * s->only_week : 31);
	if (s->month != UINT32_C(0x1ffe)) {
		say(w, " in ");
		say_set(w, s->month, true, say_month);
	}
}

/* ---------------------------------------------------------------- intervals */

static void say_interval(struct writer *w, const keep_schedule *s)
{
	static const struct {
		int64_t ms;
		const char *name;
	} units[] = {
		{86400000, "day"}, {3600000, "hour"},  {60000, "minute"},
		{1000, "second"},  {1, "millisecond"},
	};
	char anchor[KEEP_TIME_TEXT_SIZE] = "";
	int64_t rest = s->interval_ms;

	say(w, "every");
	for (size_t i = 0; i < KP_COUNT(units); i++) {
		int64_t count = rest / units[i].ms;

		rest %= units[i].ms;
		if (count == 1 && rest == 0 && count * units[i].ms == s->interval_ms)
			say(w, " %s", units[i].name);
		else if (count > 0)
			say(w, " %lld %s%s", (long long)count, units[i].name, count > 1 ? "s" : "");
	}
	if (w->status == KEEP_OK)
		w->status = keep_time_format(s->anchor_ms, anchor, w->err);
	say(w, " from %s on", anchor);
}

keep_status keep_schedule_describe(const keep_schedule *schedule, keep_buffer *out, keep_error *err)
{
	struct writer w = {.out = out, .err = err};

	out->len = 0;
	if (schedule->zone) {
		say_time_of_day(&w, schedule);
		say_dates(&w, schedule);
		say(&w, ", in %s", keep_zone_name(schedule->zone));
	} else {
		say_interval(&w, schedule);
	}
	if (w.status != KEEP_OK)
		out->len = 0;
	return w.status;
}
