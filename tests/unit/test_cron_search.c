/*
 * test_cron_search.c - next and previous against a search that walks minute by minute.
 *
 * The other side shares nothing with the module but the offset of an instant (which has an oracle
 * of its own): it makes random expressions from sets that it keeps, walks through some weeks of a
 * zone, most of them around a change of clocks, and notes each minute at which something is to
 * run, as docs/schedule.md tells it for the dialect.
 */
#include "keep_test.h"

#include "schedule/schedule_private.h"

#define MINUTES ((int64_t)45 * 1440)
#define MARGIN ((int64_t)3 * 1440) /* at both ends of the walk, where a change is half seen */

static const char *const zones[] = {
	"UTC",
	"Europe/Brussels",
	"America/New_York",
	"Australia/Lord_Howe",
	"America/Sao_Paulo",
	"Asia/Beirut",
	"America/Havana",
	"Pacific/Apia",
	"Africa/Casablanca",
	"Antarctica/Troll",
	"America/Nuuk",
	"Asia/Gaza",
	"Europe/Dublin",
	"Asia/Kathmandu",
	"Pacific/Chatham",
	"Africa/Cairo",
};

/* An expression, and what it means. */
struct wanted {
	keep_dialect dialect;
	char text[200];
	bool minute[60], hour[24], day[32], month[13], weekday[7];
	bool last_day, last_working_day, near[32], nth[7][6], last_weekday[7];
	bool either, fixed;
	int64_t known_day; /* the last day asked about, and the answer */
	bool known_answer;
};

static char noted[MINUTES + 2 * 1440];

static int pick(uint64_t *seed, int below)
{
	return (int)(next_random(seed) % (unsigned)below);
}

/* A random field "a", "a,b,c", "a-b", "a-b/n", "*" or "* / n" appended to the text. */
static void make_field(struct wanted *w, uint64_t *seed, bool *set, int min, int max, int rotate)
{
	size_t len = strlen(w->text);
	char *at = w->text + len;
	size_t room = sizeof w->text - len;
	int size = max - min + 1, modulus = max == 6 ? 7 : 1000, from = min + pick(seed, size);
	int to = from + pick(seed, max - from + 1), step = 1 + pick(seed, size / 2);

	switch (pick(seed, 6)) {
	case 0:
	case 1:
		for (int value = min; value <= max; value++)
			set[(value + rotate) % modulus] = true;
		snprintf(at, room, "* ");
		break;
	case 2:
		for (int value = min; value <= max; value += step)
			set[(value + rotate) % modulus] = true;
		snprintf(at, room, "*/%d ", step);
		break;
	case 3:
		if (to == from && from < max)
			to++;
		else if (to == from)
			from--;
		if (step > to - from)
			step = 1;
		for (int value = from; value <= to; value += step)
			set[(value + rotate) % modulus] = true;
		snprintf(at, room, "%d-%d/%d ", from, to, step);
		break;
	case 4:
		set[(from + rotate) % modulus] = set[(to + rotate) % modulus] = true;
		snprintf(at, room, "%d,%d ", from, to);
		break;
	default:
		set[(from + rotate) % modulus] = true;
		snprintf(at, room, "%d ", from);
		break;
	}
}

/* The same for a day field, or one of Debian's extensions. */
static void make_days(struct wanted *w, uint64_t *seed, bool is_weekday)
{
	char *at = w->text + strlen(w->text);
	size_t room = sizeof w->text - strlen(w->text);
	int kind = w->dialect == KEEP_DIALECT_DEBIAN ? pick(seed, 8) : 9;
	int day = pick(seed, is_weekday ? 7 : 31), nth = 1 + pick(seed, 5);

	if (is_weekday && kind == 0) {
		w->nth[day][nth] = true;
		snprintf(at, room, "%d#%d ", day, nth);
	} else if (is_weekday && kind == 1) {
		w->last_weekday[day] = true;
		snprintf(at, room, "%dL ", day);
	} else if (is_weekday) {
		make_field(w, seed, w->weekday, 0, 6,
			   w->dialect == KEEP_DIALECT_APSCHEDULER ? 1 : 0);
	} else if (kind == 0) {
		w->last_day = true;
		snprintf(at, room, "L ");
	} else if (kind == 1) {
		w->last_working_day = true;
		snprintf(at, room, "LW ");
	} else if (kind == 2) {
		w->near[day + 1] = true;
		snprintf(at, room, "%dW ", day + 1);
	} else {
		make_field(w, seed, w->day, 1, 31, 0);
	}
}

/* Does the field not count as "*" in the day rule of the dialect? */
static bool restricts(keep_dialect dialect, const char *field)
{
	if (dialect == KEEP_DIALECT_DEBIAN)
		return field[0] != '*';
	if (dialect == KEEP_DIALECT_ROBFIG)
		return field[0] != '*' || (field[1] == '/' && strncmp(field, "*/1 ", 4) != 0);
	return strncmp(field, "* ", 2) != 0;
}

static void make_wanted(struct wanted *w, uint64_t *seed)
{
	size_t hour, day, weekday;

	*w = (struct wanted){.dialect = (keep_dialect)pick(seed, 4)};
	make_field(w, seed, w->minute, 0, 59, 0);
	hour = strlen(w->text);
	make_field(w, seed, w->hour, 0, 23, 0);
	day = strlen(w->text);
	make_days(w, seed, false);
	/* A month that is often any: a month without a run proves little. */
	if (pick(seed, 3) > 0) {
		memset(w->month, true, sizeof w->month);
		strncat(w->text, "* ", sizeof w->text - strlen(w->text) - 1);
	} else {
		make_field(w, seed, w->month, 1, 12, 0);
	}
	weekday = strlen(w->text);
	make_days(w, seed, true);
	w->either = w->dialect != KEEP_DIALECT_APSCHEDULER &&
		    restricts(w->dialect, w->text + day) &&
		    restricts(w->dialect, w->text + weekday);
	w->fixed = w->text[0] != '*' && w->text[hour] != '*';
	w->text[strlen(w->text) - 1] = '\0';
}

static int weekday_of(kp_date date, int day)
{
	date.day = day;
	return kp_weekday_of_days(kp_date_days(date));
}

/* Is `day` the working day nearest to day `to`? By trying the days around it. */
static bool is_nearest(kp_date date, int to)
{
	static const int tries[] = {0, -1, 1, 2, -2};
	int length = kp_month_length(date.year, date.month);

	if (to > length)
		return false;
	for (size_t i = 0; i < KP_COUNT(tries); i++) {
		int day = to + tries[i], weekday;

		if (day < 1 || day > length)
			continue;
		weekday = weekday_of(date, day);
		if (weekday != 0 && weekday != 6)
			return day == date.day;
	}
	return false;
}

static bool is_day_wanted(const struct wanted *w, kp_date date)
{
	int length = kp_month_length(date.year, date.month), last_working = length;
	int weekday = weekday_of(date, date.day);
	bool by_number = w->day[date.day] || (w->last_day && date.day == length);
	bool by_weekday = w->weekday[weekday] || w->nth[weekday][(date.day + 6) / 7] ||
			  (w->last_weekday[weekday] && date.day + 7 > length);

	while (weekday_of(date, last_working) == 0 || weekday_of(date, last_working) == 6)
		last_working--;
	by_number |= w->last_working_day && date.day == last_working;
	for (int to = 1; to <= 31; to++)
		by_number |= w->near[to] && is_nearest(date, to);
	return w->month[date.month] &&
	       (w->either ? by_number || by_weekday : by_number && by_weekday);
}

static bool is_wanted(struct wanted *w, int64_t local_minute)
{
	int64_t day = kp_floor_divide(local_minute, 1440);
	int rest = (int)(local_minute - day * 1440);

	if (!w->minute[rest % 60] || !w->hour[rest / 60])
		return false;
	if (day != w->known_day)
		w->known_answer = is_day_wanted(w, kp_date_of_days(day));
	w->known_day = day;
	return w->known_answer;
}

/* Minutes that clocks skipped, from..to-1, when it is `at` (an index) afterwards. */
static void note_gap(struct wanted *w, int64_t from, int64_t to, int64_t at)
{
	for (int64_t local = from; local < to; local++) {
		if (!is_wanted(w, local))
			continue;
		if (w->dialect == KEEP_DIALECT_DEBIAN && w->fixed)
			noted[at] = 1;
		if (w->dialect == KEEP_DIALECT_CRON_PARSER && to - from == 60)
			noted[at + local - from] = 1;
		if (w->dialect == KEEP_DIALECT_APSCHEDULER) {
			noted[at + local - from] = 1;
			return;
		}
	}
}

static bool counts_at_first(const struct wanted *w)
{
	bool all_hours = true;

	for (int hour = 0; hour < 24; hour++)
		all_hours &= w->hour[hour];
	return w->dialect == KEEP_DIALECT_DEBIAN
		       ? w->fixed
		       : w->dialect == KEEP_DIALECT_CRON_PARSER && !all_hours;
}

static void walk(struct wanted *w, const keep_zone *zone, int64_t start)
{
	int64_t highest = INT64_MIN, previous = INT64_MIN;
	bool first_only = counts_at_first(w);

	memset(noted, 0, sizeof noted);
	for (int64_t i = 0; i < MINUTES; i++) {
		int64_t local_ms = 0, local;

		assert_int_equal(keep_zone_local(zone, (start + i) * 60000, &local_ms, NULL),
				 KEEP_OK);
		local = kp_floor_divide(local_ms, 60000);
		if (previous != INT64_MIN && local > previous + 1)
			note_gap(w, previous + 1, local, i);
		previous = local;
		if (is_wanted(w, local) && !(first_only && local <= highest))
			noted[i] = 1;
		highest = local > highest ? local : highest;
	}
}

/* Each noted minute and no other, forwards and backwards; returns how many. */
static long compare(const struct wanted *w, const keep_schedule *schedule, const char *zone,
		    int64_t start)
{
	int64_t begin = (start + MARGIN) * 60000, end = (start + MINUTES - MARGIN) * 60000;
	int64_t found_ms = 0, at_ms = begin;
	long count = 0;
	keep_status status;

	for (int64_t i = MARGIN + 1; i < MINUTES - MARGIN; i++) {
		if (!noted[i])
			continue;
		status = keep_schedule_next(schedule, at_ms, &found_ms, NULL);
		at_ms = (start + i) * 60000;
		CHECK(status == KEEP_OK && found_ms == at_ms,
		      "%s \"%s\" in %s: next is %lld not %lld", keep_dialect_name(w->dialect),
		      w->text, zone, (long long)found_ms, (long long)at_ms);
		CHECK(keep_schedule_matches(schedule, at_ms), "\"%s\" in %s: %lld", w->text, zone,
		      (long long)at_ms);
		CHECK(!keep_schedule_matches(schedule, at_ms + 1), "\"%s\"", w->text);
		count++;
	}
	status = keep_schedule_next(schedule, at_ms, &found_ms, NULL);
	CHECK(status == KEEP_NOT_FOUND || found_ms >= end, "%s \"%s\" in %s: %lld is too much",
	      keep_dialect_name(w->dialect), w->text, zone, (long long)found_ms);
	at_ms = end;
	for (int64_t i = MINUTES - MARGIN - 1; i >= MARGIN; i--) {
		if (!noted[i])
			continue;
		status = keep_schedule_previous(schedule, at_ms, &found_ms, NULL);
		at_ms = (start + i) * 60000;
		CHECK(status == KEEP_OK && found_ms == at_ms,
		      "%s \"%s\" in %s: previous is %lld not %lld", keep_dialect_name(w->dialect),
		      w->text, zone, (long long)found_ms, (long long)at_ms);
	}
	return count;
}

/* Some weeks of 2009 to 2040, most of them around a change of clocks. */
static int64_t pick_start(const keep_zone *zone, uint64_t *seed)
{
	int64_t time = 1230768000 + (int64_t)(next_random(seed) % UINT64_C(978307200));
	kp_zone_piece piece;

	kp_zone_piece_at(zone, time, &piece);
	if (pick(seed, 10) > 0 && piece.end < KP_TIME_MAX_S)
		time = piece.end - (int64_t)(10 + pick(seed, 20)) * KP_DAY_S;
	return kp_floor_divide(time, 60);
}

static void random_expressions_run_when_a_walk_through_all_minutes_says(void **state)
{
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;
	long runs = 0, refused = 0, rounds = 1500;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (long round = 0; round < rounds; round++) {
		static struct wanted w;
		const char *name = zones[pick(&seed, KP_COUNT(zones))];
		keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
		keep_schedule *schedule = NULL;
		keep_zone *zone = NULL;
		int64_t start;
		keep_status status;

		make_wanted(&w, &seed);
		options.dialect = w.dialect;
		options.zone = name;
		status = keep_schedule_parse(keep_bytes_of(w.text), &options, &schedule, &err);
		CHECK(status == KEEP_OK || strstr(err.message, "never fires"), "%s \"%s\": %s",
		      keep_dialect_name(w.dialect), w.text, err.message);
		if (status != KEEP_OK) {
			refused++;
			continue;
		}
		OK(keep_zone_open(name, &zone, &err));
		start = pick_start(zone, &seed);
		walk(&w, zone, start);
		runs += compare(&w, schedule, name, start);
		keep_zone_close(&zone);
		keep_schedule_close(&schedule);
	}
	print_message("%ld expressions, %ld of them impossible, %ld runs\n", rounds, refused, runs);
	assert_true(refused < rounds / 10 && runs > 100000);
	keep_zone_forget();
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_expressions_run_when_a_walk_through_all_minutes_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
