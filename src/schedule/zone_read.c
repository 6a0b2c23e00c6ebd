/*
 * zone_read.c - a time zone's rules out of the bytes of its TZif file (RFC 8536, tzfile(5)).
 *
 * A file is a header, a block of 32-bit times for old readers, and since version 2 a second header,
 * a block of 64-bit times and a footer: a POSIX TZ text that rules after the last of them. Only the
 * offsets are kept: names and "is it summer" say nothing about when something runs.
 *
 * Invariants:
 *   1. Every count of a header is checked against the bytes that are there before it is used.
 *   2. A zone's changes are strictly increasing, and each changes the offset.
 *   3. Offsets are within a day (RFC 8536 allows -24:59:59 to 25:59:59), changes within the
 *      years 0 to 10000 as far as they matter: others become what holds before all, or are cut.
 *
 * Zones that count leap seconds ("right/…") are refused: time here is POSIX time.
 *
 * Tests: tests/unit/test_zone.c, and all zones against Python's zoneinfo in zone_oracle.py.
 */
#include "schedule/schedule_private.h"

#include <string.h>

#define HEADER_BYTES 44
#define OFFSET_MAX (26 * 3600)

/* A header's six counts. */
struct counts {
	uint32_t is_utc, is_standard, leaps, times, types, chars;
};

static uint64_t read_big_endian(const char *at, size_t bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < bytes; i++)
		value = value << 8 | (unsigned char)at[i];
	return value;
}

static keep_status read_header(keep_bytes file, size_t at, struct counts *counts, keep_error *err)
{
	const char *data = file.data + at + 20;

	if (file.len < at || file.len - at < HEADER_BYTES || memcmp(file.data + at, "TZif", 4) != 0)
		return kp_fail(err, at == 0 ? KEEP_INVALID : KEEP_CORRUPT, "not a TZif file");
	*counts = (struct counts){
		.is_utc = (uint32_t)read_big_endian(data, 4),
		.is_standard = (uint32_t)read_big_endian(data + 4, 4),
		.leaps = (uint32_t)read_big_endian(data + 8, 4),
		.times = (uint32_t)read_big_endian(data + 12, 4),
		.types = (uint32_t)read_big_endian(data + 16, 4),
		.chars = (uint32_t)read_big_endian(data + 20, 4),
	};
	return KEEP_OK;
}

/* The bytes of the block after a header; 32-bit counts cannot overflow 64 bits here. */
static uint64_t block_bytes(const struct counts *counts, unsigned time_bytes)
{
	return (uint64_t)counts->times * (time_bytes + 1) + (uint64_t)counts->types * 6 +
	       counts->chars + (uint64_t)counts->leaps * (time_bytes + 4) + counts->is_standard +
	       counts->is_utc;
}

static keep_status read_offset(const char *types, const struct counts *counts, unsigned type,
			       int64_t *offset, keep_error *err)
{
	*offset = 0;
	if (type >= counts->types)
		return kp_fail(err, KEEP_CORRUPT, "a change to a type that is not there");
	*offset = (int32_t)read_big_endian(types + 6 * (size_t)type, 4);
	if (*offset > OFFSET_MAX || *offset < -OFFSET_MAX)
		return kp_fail(err, KEEP_CORRUPT, "an offset of more than a day");
	return KEEP_OK;
}

/* The block at `data`, whose size was checked. */
static keep_status read_block(const char *data, const struct counts *counts, unsigned time_bytes,
			      keep_zone *zone, keep_error *err)
{
	const char *indexes = data + (size_t)counts->times * time_bytes;
	const char *types = indexes + counts->times;
	int64_t now, previous = INT64_MIN;
	keep_status status = read_offset(types, counts, 0, &zone->first_offset, err);

	if (status != KEEP_OK)
		return status;
	zone->changes = kp_alloc((counts->times + 1) * sizeof *zone->changes);
	if (!zone->changes)
		return kp_fail_memory(err, "a time zone");
	now = zone->first_offset;
	for (uint32_t i = 0; i < counts->times; i++) {
		uint64_t word = read_big_endian(data + (size_t)i * time_bytes, time_bytes);
		int64_t time = time_bytes == 4 ? (int32_t)(uint32_t)word : (int64_t)word;
		int64_t offset;

		status = read_offset(types, counts, (unsigned char)indexes[i], &offset, err);
		if (status != KEEP_OK)
			return status;
		if (i > 0 && time <= previous)
			return kp_fail(err, KEEP_CORRUPT, "changes that are not in order");
		previous = time;
		if (time < KP_TIME_MIN_S - 400 * KP_DAY_S)
			zone->first_offset = now = offset;
		else if (offset != now && time < KP_TIME_MAX_S + 400 * KP_DAY_S)
			zone->changes[zone->count++] =
				(kp_zone_change){.time = time, .offset = now = offset};
	}
	return KEEP_OK;
}

keep_status kp_zone_read(keep_bytes file, keep_zone *zone, keep_error *err)
{
	struct counts counts = {.types = 0};
	unsigned time_bytes = 4;
	size_t at = 0;
	uint64_t size;
	keep_bytes footer = {"", 0};
	keep_status status = read_header(file, 0, &counts, err);

	if (status != KEEP_OK)
		return status;
	if (file.data[4] >= '2') {
		size = block_bytes(&counts, 4);
		if (size > file.len - HEADER_BYTES)
			return kp_fail(err, KEEP_CORRUPT, "shorter than its header says");
		at = HEADER_BYTES + (size_t)size;
		time_bytes = 8;
		status = read_header(file, at, &counts, err);
		if (status != KEEP_OK)
			return status;
	}
	at += HEADER_BYTES;
	size = block_bytes(&counts, time_bytes);
	if (size > file.len - at || counts.types == 0)
		return kp_fail(err, KEEP_CORRUPT, "shorter than its header says");
	if (counts.leaps > 0)
		return kp_fail(err, KEEP_INVALID, "it counts leap seconds");
	status = read_block(file.data + at, &counts, time_bytes, zone, err);
	if (status != KEEP_OK || time_bytes == 4)
		return status;
	at += (size_t)size;
	if (file.len - at < 2 || file.data[at] != '\n')
		return kp_fail(err, KEEP_CORRUPT, "its footer is missing");
	footer = (keep_bytes){file.data + at + 1, file.len - at - 1};
	if (!memchr(footer.data, '\n', footer.len))
		return kp_fail(err, KEEP_CORRUPT, "its footer does not end");
	footer.len = (size_t)((const char *)memchr(footer.data, '\n', footer.len) - footer.data);
	return footer.len == 0 ? KEEP_OK : kp_zone_read_rule(footer, zone, err);
}

/* ---------------------------------------------------------------- POSIX TZ */

struct reader {
	const char *at, *end;
};

static bool take(struct reader *r, char wanted)
{
	if (r->at == r->end || *r->at != wanted)
		return false;
	r->at++;
	return true;
}

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static bool take_number(struct reader *r, int min, int max, int *out)
{
	const char *start = r->at;

	*out = 0;
	while (r->at < r->end && is_digit(*r->at) && r->at - start < 4)
		*out = *out * 10 + (*r->at++ - '0');
	return r->at > start && *out >= min && *out <= max;
}

/* An abbreviation: letters, or anything but '>' between < and >. */
static bool take_name(struct reader *r)
{
	const char *start = r->at;

	if (take(r, '<')) {
		while (r->at < r->end && *r->at != '>')
			r->at++;
		return take(r, '>');
	}
	while (r->at < r->end &&
	       ((*r->at >= 'a' && *r->at <= 'z') || (*r->at >= 'A' && *r->at <= 'Z')))
		r->at++;
	return r->at - start >= 3;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool take_clock(struct reader *r, int hours_max, int64_t *out)
{
	bool negative = take(r, '-');
	int hours, minutes = 0, seconds = 0;

	*out = 0;
	if (!negative)
		(void)take(r, '+');
	if (!take_number(r, 0, hours_max, &hours))
		return false;
	if (take(r, ':')) {
		if (!take_number(r, 0, 59, &minutes))
			return false;
		if (take(r, ':') && !take_number(r, 0, 59, &seconds))
			return false;
	}
	*out = ((int64_t)hours * 3600 + minutes * 60 + seconds) * (negative ? -1 : 1);
	return true;
}

/* Jn, n or Mm.w.d, then perhaps "/time" (until a week away, as version 3 allows). */
static bool take_day(struct reader *r, kp_zone_day *out)
{
	*out = (kp_zone_day){.kind = KP_ZONE_DAY_OF_YEAR, .time = 7200};
	if (take(r, 'J')) {
		out->kind = KP_ZONE_DAY_JULIAN;
		if (!take_number(r, 1, 365, &out->day))
			return false;
	} else if (take(r, 'M')) {
		out->kind = KP_ZONE_DAY_OF_WEEK;
		if (!take_number(r, 1, 12, &out->month) || !take(r, '.') ||
		    !take_number(r, 1, 5, &out->week) || !take(r, '.') ||
		    !take_number(r, 0, 6, &out->day))
			return false;
	} else if (!take_number(r, 0, 365, &out->day)) {
		return false;
	}
	return !take(r, '/') || take_clock(r, 167, &out->time);
}

static bool take_rule(struct reader *r, keep_zone *zone)
{
	int64_t west;

	if (!take_name(r) || !take_clock(r, 24, &west))
		return false;
	zone->standard = -west;
	if (r->at == r->end)
		return true;
	if (!take_name(r))
		return false;
	zone->summer = zone->standard + 3600;
	if (r->at < r->end && *r->at != ',') {
		if (!take_clock(r, 24, &west))
			return false;
		zone->summer = -west;
	}
	zone->yearly = true;
	return take(r, ',') && take_day(r, &zone->summer_begin) && take(r, ',') &&
	       take_day(r, &zone->summer_end) && r->at == r->end;
}

keep_status kp_zone_read_rule(keep_bytes text, keep_zone *zone, keep_error *err)
{
	struct reader r = {.at = text.data, .end = text.data + text.len};

	if (!take_rule(&r, zone))
		return kp_fail(err, KEEP_CORRUPT, "not a POSIX TZ text: \"%" KP_PRI "\"",
			       KP_ARG(text));
	/* Without changes the rule holds always; with them it continues what the last one says. */
	if (zone->count == 0)
		zone->first_offset = zone->standard;
	return KEEP_OK;
}

/* The local midnight of such a day, then its time: seconds. */
static int64_t find_local_change(const kp_zone_day *day, int year)
{
	bool leap = kp_month_length(year, 2) == 29;
	int64_t days = kp_date_days((kp_date){.year = year, .month = 1, .day = 1});
	int first;

	switch (day->kind) {
	case KP_ZONE_DAY_JULIAN: days += day->day - 1 + (leap && day->day >= 60); break;
	case KP_ZONE_DAY_OF_YEAR: days += day->day; break;
	case KP_ZONE_DAY_OF_WEEK:
		days = kp_date_days((kp_date){.year = year, .month = day->month, .day = 1});
		first = (day->day - kp_weekday_of_days(days) + 7) % 7 + (day->week - 1) * 7;
		days += first < kp_month_length(year, day->month) ? first : first - 7;
		break;
	}
	return days * KP_DAY_S + day->time;
}

void kp_zone_yearly_changes(const keep_zone *zone, int year, kp_zone_change out[2])
{
	kp_zone_change begin = {
		.time = find_local_change(&zone->summer_begin, year) - zone->standard,
		.offset = zone->summer,
	};
	kp_zone_change end = {
		.time = find_local_change(&zone->summer_end, year) - zone->summer,
		.offset = zone->standard,
	};
	bool summer_first = begin.time < end.time;

	out[0] = summer_first ? begin : end;
	out[1] = summer_first ? end : begin;
}
