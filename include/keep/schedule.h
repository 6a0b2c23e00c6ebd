#ifndef KEEP_SCHEDULE_H
#define KEEP_SCHEDULE_H
/*
 * keep/schedule.h - when something is to run: cron expressions, intervals, time zones by name.
 *
 * A schedule is a set of times. Nothing else is remembered: the next time is the smallest of the
 * set after a given one, the previous the largest before it, and both agree with `matches`.
 *
 * What it is not: a timer, and not a list of work. Nothing here waits, runs or stores anything;
 * the stores keep `next_run` and ask here for the one after it.
 *
 * Five fields: minute hour day-of-month month day-of-week, between blanks and tabs. `*`, lists,
 * ranges, steps, names in any case; `@yearly @annually @monthly @weekly @daily @midnight @hourly`.
 * docs/schedule.md has the whole language and what each dialect does differently.
 *
 * Times are milliseconds since 1970 UTC (keep/time.h), from KEEP_TIME_MIN to KEEP_TIME_MAX.
 *
 * Threads: a schedule and a zone do not change; any number of threads may use one at once. The
 * cache of zones has its own lock. TZ and the process's own zone are neither read nor changed;
 * TZDIR is read, so do not change the environment while another thread opens a zone.
 */
#include "keep/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- time zones */

#define KEEP_ZONE_NAME_BYTES_MAX 64

typedef struct keep_zone keep_zone;

/*
 * The zone of an IANA name ("Europe/Brussels", "UTC") from TZDIR or /usr/share/zoneinfo; each is
 * read once and kept. The caller owns *out. INVALID: no such zone, or not a name: segments of
 * A-Z a-z 0-9 _ + - between single '/'. CORRUPT: its file is damaged.
 */
KEEP_API keep_status keep_zone_open(const char *name, keep_zone **out,
				    keep_error *err) KEEP_MUST_CHECK;

/* Give it back and set *zone to NULL; accepts NULL and a pointer to NULL. */
KEEP_API void keep_zone_close(keep_zone **zone);

/* The name it was opened by; lives as long as the zone. */
KEEP_API const char *keep_zone_name(const keep_zone *zone);

/*
 * Drop the cached zones that nobody holds: at the end of a program, or to read a newer database.
 * A zone that is held stays as it was read, also for those who open it again meanwhile.
 */
KEEP_API void keep_zone_forget(void);

/* What a zone's clocks show then: milliseconds, as if the shown time were UTC. INVALID: range. */
KEEP_API keep_status keep_zone_local(const keep_zone *zone, int64_t time_ms, int64_t *local_ms,
				     keep_error *err) KEEP_MUST_CHECK;

typedef enum keep_local_kind {
	KEEP_LOCAL_ONCE,  /* the ordinary case */
	KEEP_LOCAL_TWICE, /* clocks went back over it */
	KEEP_LOCAL_NEVER  /* clocks were set forward over it */
} keep_local_kind;

/* When a zone's clocks show a given time. */
typedef struct keep_local_times {
	keep_local_kind kind;
	int64_t first_ms;  /* ONCE, TWICE: that time; NEVER: the first instant after the gap */
	int64_t second_ms; /* TWICE: the later time; otherwise first_ms */
	int64_t jump_ms;   /* by how much clocks were set there, always positive; 0 for ONCE */
} keep_local_times;

/* The other way: `local_ms` is a shown time as if it were UTC. INVALID: out of range. */
KEEP_API keep_status keep_zone_resolve(const keep_zone *zone, int64_t local_ms,
				       keep_local_times *out, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- schedules */

#define KEEP_SCHEDULE_BYTES_MAX 1000   /* of an expression */
#define KEEP_SCHEDULE_PREVIEW_MAX 1000 /* times of one preview */

/* X(name, value, text): whose rules an expression follows. Values are stored: only append. */
#define KEEP_DIALECT_MAP(X)                                                                        \
	X(DEBIAN, 0, "debian")           /* Debian's cron, and L, LW, nW, d#n, dL */               \
	X(ROBFIG, 1, "robfig")           /* github.com/robfig/cron/v3 (Go) */                      \
	X(CRON_PARSER, 2, "cron-parser") /* the npm package cron-parser 5 (JavaScript) */          \
	X(APSCHEDULER, 3, "apscheduler") /* APScheduler 3's from_crontab (Python) */

typedef enum keep_dialect {
#define X(name, value, text) KEEP_DIALECT_##name = value,
	KEEP_DIALECT_MAP(X)
#undef X
} keep_dialect;

/* "cron-parser" for KEEP_DIALECT_CRON_PARSER; "?" for a value outside the list. */
KEEP_API const char *keep_dialect_name(keep_dialect dialect);
/* The dialect whose text is `name`; false when there is none. */
KEEP_API bool keep_dialect_parse(keep_bytes name, keep_dialect *out);

typedef struct keep_schedule keep_schedule;

typedef struct keep_schedule_options {
	size_t size; /* sizeof(keep_schedule_options): lets this struct grow */
	keep_dialect dialect;
	const char *zone; /* an IANA name; NULL: "UTC" */
	bool seconds;     /* six fields, seconds first, instead of five */
} keep_schedule_options;

#define KEEP_SCHEDULE_OPTIONS_INIT                                                                 \
	{                                                                                          \
		.size = sizeof(keep_schedule_options)                                              \
	}

/*
 * Read an expression; `options` may be NULL. The caller owns *out. INVALID: the message names the
 * field and the byte (from 0) of the expression at fault; also an expression that no date can ever
 * meet ("0 9 30 2 *"), and an unknown zone.
 */
KEEP_API keep_status keep_schedule_parse(keep_bytes expression,
					 const keep_schedule_options *options, keep_schedule **out,
					 keep_error *err) KEEP_MUST_CHECK;

/*
 * Every `interval_ms` milliseconds: anchor_ms, anchor_ms + interval_ms, … however long a run
 * takes and whenever it began. The caller owns *out. INVALID: an interval below 1, or out of range.
 */
KEEP_API keep_status keep_schedule_interval(int64_t interval_ms, int64_t anchor_ms,
					    keep_schedule **out, keep_error *err) KEEP_MUST_CHECK;

/* Free it and set *schedule to NULL; accepts NULL and a pointer to NULL. */
KEEP_API void keep_schedule_close(keep_schedule **schedule);

/*
 * The first time after `after_ms`, the last before `before_ms`. NOT_FOUND: there is none until the
 * year 9999 (since the year 1); an expression may be possible and its hour never exist in its zone.
 */
KEEP_API keep_status keep_schedule_next(const keep_schedule *schedule, int64_t after_ms,
					int64_t *time_ms, keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_schedule_previous(const keep_schedule *schedule, int64_t before_ms,
					    int64_t *time_ms, keep_error *err) KEEP_MUST_CHECK;

/* Is it one of the schedule's times, to the millisecond? */
KEEP_API bool keep_schedule_matches(const keep_schedule *schedule, int64_t time_ms);

/*
 * The next `count` times after `after_ms` into times_ms[count]; *found may be fewer, when the years
 * end. INVALID: a count over KEEP_SCHEDULE_PREVIEW_MAX.
 */
KEEP_API keep_status keep_schedule_preview(const keep_schedule *schedule, int64_t after_ms,
					   size_t count, int64_t *times_ms, size_t *found,
					   keep_error *err) KEEP_MUST_CHECK;

/*
 * The schedule in English words, replacing *out: "at 09:00 on Monday to Friday, in
 * Europe/Brussels". For people; the words may change between versions.
 */
KEEP_API keep_status keep_schedule_describe(const keep_schedule *schedule, keep_buffer *out,
					    keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
