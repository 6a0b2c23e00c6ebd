#ifndef KP_SCHEDULE_PRIVATE_H
#define KP_SCHEDULE_PRIVATE_H
/*
 * schedule_private.h - what the files of src/schedule share: the calendar, a zone's pieces, and a
 * schedule after parsing.
 *
 * Inside the module times are seconds. "Local" seconds are what a zone's clocks show, counted as
 * if that were UTC.
 */
#include "core/core.h"
#include "keep/schedule.h"

/* ---------------------------------------------------------------- the calendar (calendar.c) */

#define KP_DAY_S INT64_C(86400)
#define KP_TIME_MIN_S (KEEP_TIME_MIN / 1000)
#define KP_TIME_MAX_S (KEEP_TIME_MAX / 1000)

typedef struct kp_date {
	int year, month, day; /* month and day from 1 */
} kp_date;

/* Days since 1970-01-01 in the proleptic Gregorian calendar, and back. Years -400 to 10400. */
int64_t kp_date_days(kp_date date);
kp_date kp_date_of_days(int64_t days);
int kp_month_length(int year, int month);
int kp_weekday_of_days(int64_t days); /* 0: Sunday */
/* Division that rounds down, for times before 1970. */
int64_t kp_floor_divide(int64_t value, int64_t by);

/* ---------------------------------------------------------------- zones (zone.c, zone_read.c) */

#define KP_SECONDS_BEFORE_ALL (INT64_MIN / 4)
#define KP_SECONDS_AFTER_ALL (INT64_MAX / 4)

/* A longest stretch of time in which clocks were not set: begin <= time < end. */
typedef struct kp_zone_piece {
	int64_t begin;  /* KP_SECONDS_BEFORE_ALL for the first */
	int64_t end;    /* KP_SECONDS_AFTER_ALL for the last */
	int64_t offset; /* local minus UTC */
	int64_t before; /* the offset until `begin`; the same as `offset` for the first */
} kp_zone_piece;

/* One of the two days of the year on which clocks are set, by POSIX TZ. */
typedef struct kp_zone_day {
	enum kp_zone_day_kind {
		KP_ZONE_DAY_JULIAN,  /* Jn: 1 to 365, never counts February 29 */
		KP_ZONE_DAY_OF_YEAR, /* n: 0 to 365 */
		KP_ZONE_DAY_OF_WEEK  /* Mm.w.d */
	} kind;
	int day, month, week; /* `day` of the week for Mm.w.d */
	int64_t time;         /* seconds after its midnight, may be negative */
} kp_zone_day;

typedef struct kp_zone_change {
	int64_t time;
	int64_t offset; /* from then on */
} kp_zone_change;

struct keep_zone {
	char name[KEEP_ZONE_NAME_BYTES_MAX + 1];
	char folder[256]; /* the database that it was read from */
	unsigned holders; /* callers that opened it; under the cache's lock */
	kp_zone_change *changes;
	size_t count;
	int64_t first_offset; /* before all changes */
	bool yearly;          /* the fields below rule after the last change */
	int64_t standard, summer;
	kp_zone_day summer_begin, summer_end;
};

/* Fill a zeroed zone's rules from a TZif file's bytes. INVALID: not TZif; CORRUPT: damaged. */
keep_status kp_zone_read(keep_bytes file, keep_zone *zone, keep_error *err) KEEP_MUST_CHECK;
/* Read a POSIX TZ text into a zone without changes. CORRUPT: not such a text. */
keep_status kp_zone_read_rule(keep_bytes text, keep_zone *zone, keep_error *err) KEEP_MUST_CHECK;
/* The two changes of a year by a zone's yearly rule, earlier first. */
void kp_zone_yearly_changes(const keep_zone *zone, int year, kp_zone_change out[2]);
/* The piece that holds `time`, any within the years 0 to 10000. */
void kp_zone_piece_at(const keep_zone *zone, int64_t time, kp_zone_piece *out);

/* ---------------------------------------------------------------- a parsed schedule */

/* What happens to local times that clocks skip. */
typedef enum kp_gap_rule {
	KP_GAP_SKIP,        /* they are no times */
	KP_GAP_ONCE,        /* if there is any: the first instant after the gap */
	KP_GAP_SHIFT_FIRST, /* the first of them, as much later as clocks were set forward */
	KP_GAP_SHIFT_HOUR   /* all of them so, when clocks were set forward by an hour */
} kp_gap_rule;

struct keep_schedule {
	keep_zone *zone; /* NULL: an interval */
	int64_t interval_ms, anchor_ms;
	keep_dialect dialect;
	bool has_seconds;
	uint64_t second, minute; /* bit n: the value n */
	uint32_t hour, day, month;
	uint32_t weekday;      /* bit 0: Sunday */
	uint32_t near_weekday; /* nW: bit n */
	bool last_day;         /* L */
	bool last_working_day; /* LW */
	uint64_t nth;          /* d#n: bit 5 * d + n - 1 */
	uint32_t last_weekday; /* dL: bit d */
	unsigned only_week;    /* cron-parser's d#n: day fields count in this week alone; 0: none */
	bool either_day;       /* a day matches when either day field does */
	kp_gap_rule gap_rule;
	bool first_of_twice; /* a local time that exists twice counts at the first */
};

/* The days of a month that the day fields allow, bit n for day n. (cron_next.c) */
uint32_t kp_schedule_days(const keep_schedule *schedule, int year, int month);
/* Is there any year with a day for it? (cron_next.c) */
bool kp_schedule_is_possible(const keep_schedule *schedule);

#endif
