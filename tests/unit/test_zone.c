/*
 * test_zone.c - time zones: names, files that lie, gaps and overlaps, rules beyond the table.
 *
 * `test_zone --oracle` compares with lines "zone utc_seconds offset_seconds" on its input, which
 * zone_oracle.py makes for every zone with another implementation.
 */
#include "keep_test.h"

#include "schedule/schedule_private.h"

#include <pthread.h>
#include <unistd.h>

static int64_t ms(const char *text)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t time_ms = 0;

	OK(keep_time_parse(keep_bytes_of(text), &time_ms, &err));
	return time_ms;
}

static keep_zone *open_zone(const char *name)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_zone *zone = NULL;

	CHECK(keep_zone_open(name, &zone, &err) == KEEP_OK, "%s: %s", name, err.message);
	return zone;
}

/* ---------------------------------------------------------------- the calendar */

static void every_day_of_400_years_has_a_date_and_goes_back(void **state)
{
	kp_date expected = {.year = 1799, .month = 12, .day = 31};
	int64_t first = kp_date_days(expected);

	(void)state;
	assert_int_equal(kp_date_days((kp_date){1970, 1, 1}), 0);
	for (int64_t day = first; day < first + 146097; day++) {
		kp_date date = kp_date_of_days(day);

		CHECK(date.year == expected.year && date.month == expected.month &&
			      date.day == expected.day,
		      "day %lld", (long long)day);
		CHECK(kp_date_days(date) == day, "day %lld", (long long)day);
		CHECK(kp_weekday_of_days(day) == (int)(2 + day - first) % 7, "day %lld",
		      (long long)day);
		if (++expected.day > kp_month_length(expected.year, expected.month)) {
			expected.day = 1;
			expected.year += expected.month == 12;
			expected.month = expected.month % 12 + 1;
		}
	}
}

/* ---------------------------------------------------------------- names */

static const char *const refused_names[] = {
	"",
	"Europe",
	"Europe/Nowhere",
	"Europe/Brussels/",
	"/Europe/Brussels",
	"/etc/passwd",
	"../../etc/passwd",
	"Europe/../Europe/Brussels",
	"./UTC",
	"..",
	".",
	"Europe//Brussels",
	"Europe/Brussels ",
	" UTC",
	"Europe\\Brussels",
	"zone.tab",
	"tzdata.zi",
	"leapseconds",
	"UTC/x",
	"right/UTC",
	"right/Europe/Brussels",
	"EST5EDT,M3.2.0,M11.1.0",
	":UTC",
	"+02:00",
	"Europe/Br\xc3\xbcssels",
	"America/Argentina/Buenos_Aires_and_a_name_that_is_longer_than_any_zone_is",
};

static void what_is_no_name_of_a_zone_is_invalid(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(refused_names); i++) {
		keep_error err = KEEP_ERROR_INIT;
		keep_zone *zone = NULL;
		keep_status status = keep_zone_open(refused_names[i], &zone, &err);

		CHECK(status == KEEP_INVALID, "\"%s\": %s", refused_names[i],
		      keep_status_name(status));
		CHECK(zone == NULL && err.message[0] != '\0', "\"%s\"", refused_names[i]);
	}
	assert_int_equal(keep_zone_open(NULL, &(keep_zone *){NULL}, NULL), KEEP_INVALID);
	keep_zone_forget();
	assert_nothing_lives();
}

static void a_zone_is_read_once_and_freed_when_it_is_forgotten(void **state)
{
	keep_zone *first = open_zone("Europe/Brussels"), *second = open_zone("Europe/Brussels");
	long live = kp_alloc_live();

	(void)state;
	assert_ptr_equal(first, second);
	assert_string_equal(keep_zone_name(first), "Europe/Brussels");
	keep_zone_close(&first);
	assert_null(first);
	keep_zone_close(&first);
	keep_zone_close(NULL);
	keep_zone_forget();
	assert_int_equal(kp_alloc_live(), live);
	keep_zone_close(&second);
	assert_int_equal(kp_alloc_live(), live);
	keep_zone_forget();
	assert_nothing_lives();
}

static void another_database_is_taken_from_TZDIR(void **state)
{
	char folder[] = "/tmp/keep_zone_XXXXXX", path[64], long_name[400];
	keep_error err = KEEP_ERROR_INIT;
	keep_zone *zone = NULL;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/UTC", folder);
	assert_int_equal(symlink("/usr/share/zoneinfo/Asia/Tokyo", path), 0);
	setenv("TZDIR", folder, 1);
	OK(keep_zone_open("UTC", &zone, &err));
	assert_int_equal(zone->first_offset / 3600, 9);
	keep_zone_close(&zone);
	assert_int_equal(keep_zone_open("Asia/Tokyo", &zone, NULL), KEEP_INVALID);
	memset(long_name, 'a', sizeof long_name - 1);
	long_name[sizeof long_name - 1] = '\0';
	setenv("TZDIR", long_name, 1);
	assert_int_equal(keep_zone_open("UTC", &zone, NULL), KEEP_INVALID);
	unsetenv("TZDIR");
	zone = open_zone("UTC");
	assert_int_equal(zone->first_offset, 0);
	keep_zone_close(&zone);
	unlink(path);
	rmdir(folder);
	keep_zone_forget();
	assert_nothing_lives();
}

static void the_processs_own_zone_plays_no_part(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_zone *zone;
	int64_t local_ms;

	(void)state;
	setenv("TZ", "Asia/Tokyo", 1);
	zone = open_zone("Europe/Brussels");
	OK(keep_zone_local(zone, ms("2026-07-01T10:00:00Z"), &local_ms, &err));
	assert_int_equal(local_ms, ms("2026-07-01T12:00:00Z"));
	assert_string_equal(getenv("TZ"), "Asia/Tokyo");
	unsetenv("TZ");
	keep_zone_close(&zone);
	keep_zone_forget();
}

/* ---------------------------------------------------------------- local times */

struct resolved {
	const char *zone, *local;
	keep_local_kind kind;
	const char *first, *second;
	int jump_minutes;
};

static const struct resolved resolved[] = {
	{"UTC", "2026-03-29T02:30:00Z", KEEP_LOCAL_ONCE, "2026-03-29T02:30:00Z", NULL, 0},
	{"Europe/Brussels", "2026-01-01T12:00:00.5Z", KEEP_LOCAL_ONCE, "2026-01-01T11:00:00.5Z",
	 NULL, 0},
	{"Europe/Brussels", "2026-03-29T01:59:59.999Z", KEEP_LOCAL_ONCE, "2026-03-29T00:59:59.999Z",
	 NULL, 0},
	{"Europe/Brussels", "2026-03-29T02:00:00Z", KEEP_LOCAL_NEVER, "2026-03-29T01:00:00Z", NULL,
	 60},
	{"Europe/Brussels", "2026-03-29T02:59:59.999Z", KEEP_LOCAL_NEVER, "2026-03-29T01:00:00Z",
	 NULL, 60},
	{"Europe/Brussels", "2026-03-29T03:00:00Z", KEEP_LOCAL_ONCE, "2026-03-29T01:00:00Z", NULL,
	 0},
	{"Europe/Brussels", "2026-10-25T02:00:00Z", KEEP_LOCAL_TWICE, "2026-10-25T00:00:00Z",
	 "2026-10-25T01:00:00Z", 60},
	{"Europe/Brussels", "2026-10-25T02:59:59.999Z", KEEP_LOCAL_TWICE,
	 "2026-10-25T00:59:59.999Z", "2026-10-25T01:59:59.999Z", 60},
	{"Europe/Brussels", "2026-10-25T03:00:00Z", KEEP_LOCAL_ONCE, "2026-10-25T02:00:00Z", NULL,
	 0},
	{"Australia/Lord_Howe", "2026-10-04T02:15:00Z", KEEP_LOCAL_NEVER, "2026-10-03T15:30:00Z",
	 NULL, 30},
	{"Australia/Lord_Howe", "2026-04-05T01:45:00Z", KEEP_LOCAL_TWICE, "2026-04-04T14:45:00Z",
	 "2026-04-04T15:15:00Z", 30},
	{"America/Sao_Paulo", "2018-11-04T00:00:00Z", KEEP_LOCAL_NEVER, "2018-11-04T03:00:00Z",
	 NULL, 60},
	{"America/Sao_Paulo", "2018-02-17T23:30:00Z", KEEP_LOCAL_TWICE, "2018-02-18T01:30:00Z",
	 "2018-02-18T02:30:00Z", 60},
	{"Asia/Beirut", "2026-03-29T00:30:00Z", KEEP_LOCAL_NEVER, "2026-03-28T22:00:00Z", NULL, 60},
	{"America/Havana", "2026-03-08T00:00:00Z", KEEP_LOCAL_NEVER, "2026-03-08T05:00:00Z", NULL,
	 60},
	{"Pacific/Apia", "2011-12-30T12:00:00Z", KEEP_LOCAL_NEVER, "2011-12-30T10:00:00Z", NULL,
	 1440},
	{"Pacific/Kwajalein", "1993-08-21T12:00:00Z", KEEP_LOCAL_NEVER, "1993-08-21T12:00:00Z",
	 NULL, 1440},
	{"Africa/Casablanca", "2026-02-15T02:30:00Z", KEEP_LOCAL_TWICE, "2026-02-15T01:30:00Z",
	 "2026-02-15T02:30:00Z", 60},
	{"Africa/Casablanca", "2026-03-22T02:30:00Z", KEEP_LOCAL_NEVER, "2026-03-22T02:00:00Z",
	 NULL, 60},
	{"Antarctica/Troll", "2026-03-29T02:00:00Z", KEEP_LOCAL_NEVER, "2026-03-29T01:00:00Z", NULL,
	 120},
	{"Antarctica/Troll", "2026-10-25T01:30:00Z", KEEP_LOCAL_TWICE, "2026-10-24T23:30:00Z",
	 "2026-10-25T01:30:00Z", 120},
	{"America/Nuuk", "2023-03-25T22:30:00Z", KEEP_LOCAL_NEVER, "2023-03-26T01:00:00Z", NULL,
	 60},
	{"America/Nuuk", "2026-03-28T23:30:00Z", KEEP_LOCAL_NEVER, "2026-03-29T01:00:00Z", NULL,
	 60},
	{"Europe/Dublin", "2026-03-29T01:30:00Z", KEEP_LOCAL_NEVER, "2026-03-29T01:00:00Z", NULL,
	 60},
	/* Beyond the table: the rule alone. */
	{"Europe/Brussels", "2500-07-01T12:00:00Z", KEEP_LOCAL_ONCE, "2500-07-01T10:00:00Z", NULL,
	 0},
	{"Europe/Brussels", "2500-03-28T02:30:00Z", KEEP_LOCAL_NEVER, "2500-03-28T01:00:00Z", NULL,
	 60},
	{"America/New_York", "9998-11-01T01:30:00Z", KEEP_LOCAL_TWICE, "9998-11-01T05:30:00Z",
	 "9998-11-01T06:30:00Z", 60},
	/* Before it: mean local time, with seconds. */
	{"Europe/Brussels", "1870-01-01T00:17:30Z", KEEP_LOCAL_ONCE, "1870-01-01T00:00:00Z", NULL,
	 0},
	{"America/New_York", "1883-11-18T12:00:00Z", KEEP_LOCAL_TWICE, "1883-11-18T16:56:02Z",
	 "1883-11-18T17:00:00Z", 3},
};

static void local_times_exist_once_twice_or_never(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(resolved); i++) {
		const struct resolved *row = &resolved[i];
		keep_zone *zone = open_zone(row->zone);
		keep_local_times times;

		OK(keep_zone_resolve(zone, ms(row->local), &times, &err));
		CHECK(times.kind == row->kind, "%s %s: %d", row->zone, row->local, times.kind);
		CHECK(times.first_ms == ms(row->first), "%s %s: %lld", row->zone, row->local,
		      (long long)times.first_ms);
		CHECK(times.second_ms == (row->second ? ms(row->second) : times.first_ms), "%s %s",
		      row->zone, row->local);
		CHECK(times.jump_ms / 60000 == row->jump_minutes, "%s %s: %lld", row->zone,
		      row->local, (long long)times.jump_ms);
		keep_zone_close(&zone);
	}
	keep_zone_forget();
	assert_nothing_lives();
}

static void times_out_of_range_are_invalid(void **state)
{
	keep_zone *zone = open_zone("Europe/Brussels");
	keep_local_times times;
	int64_t local_ms;

	(void)state;
	assert_int_equal(keep_zone_local(zone, KEEP_TIME_MAX + 1, &local_ms, NULL), KEEP_INVALID);
	assert_int_equal(keep_zone_local(zone, INT64_MIN, &local_ms, NULL), KEEP_INVALID);
	assert_int_equal(keep_zone_resolve(zone, INT64_MAX, &times, NULL), KEEP_INVALID);
	assert_int_equal(keep_zone_resolve(zone, KEEP_TIME_MIN, &times, NULL), KEEP_OK);
	assert_int_equal(keep_zone_resolve(zone, KEEP_TIME_MAX, &times, NULL), KEEP_OK);
	keep_zone_close(&zone);
	keep_zone_forget();
}

/* From `local` back: each instant of each zone is found again. */
static void each_instant_is_found_again_from_what_clocks_show(void **state)
{
	static const char *const names[] = {
		"Europe/Brussels", "Australia/Lord_Howe", "Pacific/Apia",      "Africa/Casablanca",
		"Asia/Gaza",       "Antarctica/Troll",    "America/Sao_Paulo", "America/Nuuk",
	};
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(names); i++) {
		keep_zone *zone = open_zone(names[i]);

		for (int round = 0; round < 20000; round++) {
			int64_t time_ms = ms("1900-01-01T00:00:00Z") +
					  (int64_t)(next_random(&seed) % UINT64_C(6311433600000));
			int64_t local_ms;
			keep_local_times times;

			OK(keep_zone_local(zone, time_ms, &local_ms, &err));
			OK(keep_zone_resolve(zone, local_ms, &times, &err));
			CHECK(times.kind != KEEP_LOCAL_NEVER &&
				      (times.first_ms == time_ms || times.second_ms == time_ms),
			      "%s %lld", names[i], (long long)time_ms);
		}
		keep_zone_close(&zone);
	}
	keep_zone_forget();
}

static void pieces_touch_and_each_changes_the_offset(void **state)
{
	static const char *const names[] = {"Europe/Brussels", "Africa/Casablanca", "Asia/Gaza",
					    "America/Nuuk", "Pacific/Apia"};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(names); i++) {
		keep_zone *zone = open_zone(names[i]);
		kp_zone_piece piece, next;

		kp_zone_piece_at(zone, KP_TIME_MIN_S, &piece);
		assert_int_equal(piece.begin, KP_SECONDS_BEFORE_ALL);
		while (piece.end < KP_TIME_MAX_S) {
			kp_zone_piece_at(zone, piece.end, &next);
			CHECK(next.begin == piece.end && next.end > next.begin, "%s %lld", names[i],
			      (long long)piece.end);
			CHECK(next.before == piece.offset && next.offset != piece.offset, "%s %lld",
			      names[i], (long long)piece.end);
			piece = next;
		}
		keep_zone_close(&zone);
	}
	keep_zone_forget();
}

/* ---------------------------------------------------------------- rules and files */

static const struct {
	const char *text;
	bool accepted;
} rule_texts[] = {
	{"UTC0", true},
	{"CET-1CEST,M3.5.0,M10.5.0/3", true},
	{"<+01>-1", true},
	{"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", true},
	{"IST-1GMT0,M10.5.0,M3.5.0/1", true},
	{"EST5EDT,0/0,J365/25", true},
	{"AEST-10AEDT,M10.1.0,M4.1.0/3", true},
	{"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", true},
	{"XXX24", true},
	{"", false},
	{"UTC", false},
	{"UT0", false},
	{"CET-1CEST", false},
	{"CET-1CEST,M3.5.0", false},
	{"CET-1CEST,M13.5.0,M10.5.0", false},
	{"CET-1CEST,M3.0.0,M10.5.0", false},
	{"CET-1CEST,M3.6.0,M10.5.0", false},
	{"CET-1CEST,M3.5.7,M10.5.0", false},
	{"CET-1CEST,J0,J365", false},
	{"CET-1CEST,J366,J365", false},
	{"CET-1CEST,366,1", false},
	{"CET-1CEST,M3.5.0,M10.5.0/3x", false},
	{"CET-1CEST,M3.5.0/168,M10.5.0", false},
	{"<+01-1", false},
	{"CET-25", false},
	{"CET-1:60", false},
	{"CET--1", false},
};

static void only_posix_tz_texts_are_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(rule_texts); i++) {
		keep_zone zone = {.count = 0};
		keep_status status =
			kp_zone_read_rule(keep_bytes_of(rule_texts[i].text), &zone, NULL);

		CHECK(status == (rule_texts[i].accepted ? KEEP_OK : KEEP_CORRUPT), "\"%s\": %s",
		      rule_texts[i].text, keep_status_name(status));
	}
}

static void summer_all_year_is_one_piece(void **state)
{
	keep_zone zone = {.count = 0};
	kp_zone_piece piece;

	(void)state;
	assert_int_equal(kp_zone_read_rule(KEEP_BYTES("EST5EDT,0/0,J365/25"), &zone, NULL),
			 KEEP_OK);
	for (int year = 2020; year < 2030; year++) {
		int64_t begin = kp_date_days((kp_date){year, 1, 1}) * KP_DAY_S;

		for (int hour = -48; hour < 48; hour++) {
			kp_zone_piece_at(&zone, begin + hour * 3600, &piece);
			CHECK(piece.offset == -4 * 3600, "%d %d", year, hour);
			CHECK(piece.begin < begin - 48 * 3600 && piece.end > begin + 48 * 3600,
			      "%d %d", year, hour);
		}
	}
}

static void read_zone_file(const char *name, keep_buffer *out)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_int_equal(kp_buffer_reserve(out, 1 << 16, NULL), KEEP_OK);
	out->len = fread(out->data, 1, 1 << 16, file);
	fclose(file);
}

/* A copy of the exact size, so that a sanitizer sees one byte read too far. */
static keep_status read_copy(const char *data, size_t len)
{
	keep_zone zone = {.count = 0};
	char *copy = malloc(len ? len : 1);
	kp_zone_piece piece;
	keep_status status;

	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, data, len);
	status = kp_zone_read((keep_bytes){copy, len}, &zone, NULL);
	if (status == KEEP_OK)
		kp_zone_piece_at(&zone, 1700000000, &piece);
	kp_free(zone.changes);
	free(copy);
	return status;
}

static void a_file_that_is_cut_anywhere_is_refused(void **state)
{
	keep_buffer file = KEEP_BUFFER_INIT;

	(void)state;
	read_zone_file("Africa/Casablanca", &file);
	assert_int_equal(read_copy(file.data, file.len), KEEP_OK);
	for (size_t len = 0; len < file.len; len++) {
		keep_status status = read_copy(file.data, len);

		CHECK(status == (len < 44 ? KEEP_INVALID : KEEP_CORRUPT), "%zu: %s", len,
		      keep_status_name(status));
	}
	keep_buffer_release(&file);
	assert_nothing_lives();
}

static void a_file_with_wrong_bytes_is_read_or_refused(void **state)
{
	keep_buffer file = KEEP_BUFFER_INIT;
	uint64_t seed = test_seed();

	(void)state;
	read_zone_file("America/New_York", &file);
	for (int round = 0; round < 20000; round++) {
		size_t at = next_random(&seed) % file.len;
		char was = file.data[at];
		keep_status status;

		file.data[at] = (char)next_random(&seed);
		status = read_copy(file.data, file.len);
		CHECK(status == KEEP_OK || status == KEEP_INVALID || status == KEEP_CORRUPT, "%s",
		      keep_status_name(status));
		file.data[at] = was;
	}
	/* The first version has no footer: its last offset stays. */
	file.data[4] = '\0';
	assert_int_equal(read_copy(file.data, file.len), KEEP_OK);
	keep_buffer_release(&file);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- threads */

static void *open_and_close_many(void *ctx)
{
	static const char *const names[] = {"Europe/Brussels", "UTC", "America/New_York",
					    "Asia/Tokyo", "Europe/Nowhere"};
	uint64_t seed = *(uint64_t *)ctx;
	int64_t local_ms;

	for (int round = 0; round < 3000; round++) {
		keep_zone *zone = NULL;

		if (round % 50 == 0)
			keep_zone_forget();
		if (keep_zone_open(names[next_random(&seed) % KP_COUNT(names)], &zone, NULL) ==
			    KEEP_OK &&
		    keep_zone_local(zone, 1700000000000, &local_ms, NULL) != KEEP_OK)
			*(uint64_t *)ctx = 0;
		keep_zone_close(&zone);
	}
	return NULL;
}

static void threads_share_the_cache(void **state)
{
	pthread_t threads[4];
	uint64_t seeds[4] = {1, 2, 3, 4};

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, open_and_close_many, &seeds[i]),
				 0);
	for (size_t i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_not_equal(seeds[i], 0);
	}
	keep_zone_forget();
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- the oracle */

static int compare_with_oracle(void)
{
	char name[128], opened[128] = "";
	long long time, offset;
	long lines = 0, zones = 0, wrong = 0;
	keep_zone *zone = NULL;
	keep_error err = KEEP_ERROR_INIT;

	while (scanf("%127s %lld %lld", name, &time, &offset) == 3) {
		int64_t local_ms = 0;

		if (strcmp(name, opened) != 0) {
			keep_zone_close(&zone);
			zones++;
			memcpy(opened, name, sizeof opened);
			if (keep_zone_open(name, &zone, &err) != KEEP_OK) {
				printf("%s: %s\n", name, err.message);
				return 1;
			}
		}
		lines++;
		if (keep_zone_local(zone, time * 1000, &local_ms, &err) == KEEP_OK &&
		    local_ms == (time + offset) * 1000)
			continue;
		if (wrong++ < 20)
			printf("%s at %lld: %lld instead of %lld\n", name, time,
			       (long long)(local_ms / 1000 - time), offset);
	}
	keep_zone_close(&zone);
	keep_zone_forget();
	printf("%ld answers for %ld zones, %ld wrong\n", lines, zones, wrong);
	return wrong == 0 && zones > 300 && lines > 50000 && kp_alloc_live() == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_day_of_400_years_has_a_date_and_goes_back),
		cmocka_unit_test(what_is_no_name_of_a_zone_is_invalid),
		cmocka_unit_test(a_zone_is_read_once_and_freed_when_it_is_forgotten),
		cmocka_unit_test(another_database_is_taken_from_TZDIR),
		cmocka_unit_test(the_processs_own_zone_plays_no_part),
		cmocka_unit_test(local_times_exist_once_twice_or_never),
		cmocka_unit_test(times_out_of_range_are_invalid),
		cmocka_unit_test(each_instant_is_found_again_from_what_clocks_show),
		cmocka_unit_test(pieces_touch_and_each_changes_the_offset),
		cmocka_unit_test(only_posix_tz_texts_are_rules),
		cmocka_unit_test(summer_all_year_is_one_piece),
		cmocka_unit_test(a_file_that_is_cut_anywhere_is_refused),
		cmocka_unit_test(a_file_with_wrong_bytes_is_read_or_refused),
		cmocka_unit_test(threads_share_the_cache),
	};

	if (argc > 1 && strcmp(argv[1], "--oracle") == 0)
		return compare_with_oracle();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
