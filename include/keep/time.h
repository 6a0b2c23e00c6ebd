#ifndef KEEP_TIME_H
#define KEEP_TIME_H
/*
 * keep/time.h - times as text: parse what people and databases write, print one fixed form.
 *
 * In the API a time is int64_t milliseconds since 1970-01-01T00:00:00Z (leap seconds not counted).
 * What it is not: time zones by name and schedules; those are the schedule module's.
 *
 * Threads: no state; any thread.
 */
#include "keep/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KEEP_TIME_TEXT_SIZE 25                 /* "2026-04-11T17:18:21.000Z" and the zero byte */
#define KEEP_TIME_MIN INT64_C(-62135596800000) /* 0001-01-01T00:00:00.000Z */
#define KEEP_TIME_MAX INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

/*
 * Read RFC 3339 with any offset ("2026-04-11T19:18:21.5+02:00", "t", "z" and a blank for "T"
 * included, as RFC 3339 section 5.6 allows) or SQLite's "YYYY-MM-DD HH:MM:SS" (UTC). A fraction
 * has 1 to 9 digits; what is below a millisecond is cut. 23:59:60 is read as the next second's
 * beginning, only where a leap second can be (the end of a UTC month). INVALID: anything else, or a
 * time outside KEEP_TIME_MIN..KEEP_TIME_MAX; the message names the position.
 */
KEEP_API keep_status keep_time_parse(keep_bytes text, int64_t *time_ms,
				     keep_error *err) KEEP_MUST_CHECK;

/* Write RFC 3339 UTC of fixed width, so that text order is time order. INVALID: out of range. */
KEEP_API keep_status keep_time_format(int64_t time_ms, char text[KEEP_TIME_TEXT_SIZE],
				      keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
