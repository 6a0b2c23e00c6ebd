/*
 * task_schedule.c - what a task's row says about time: its schedule, and the rules of its runs.
 *
 * `cron` holds one of three things: nothing (one time only), a number (an interval in milliseconds,
 * counted from anchor_at) or an expression of docs/schedule.md, read in the row's dialect and zone.
 *
 * Invariants:
 *   1. A row is read as if a stranger had written it: it may have been adopted, or the zone's file
 *      may be gone since. What cannot be read is INVALID with the column's name, never a guess.
 *   2. The same row gives the same schedule, so a tick that is repeated makes the same runs.
 *
 * What it does not do: ask the clock or the database.
 *
 * Tests: tests/contract/test_gateway_tasks.c, tests/contract/test_gateway_task_fire.c.
 */
#include "gateway/gateway_tasks.h"

#include <string.h>

static keep_status read_interval(const keep_scheduled_task *task, int64_t interval_ms,
				 keep_schedule **out, keep_error *err)
{
	keep_status status;

	if (interval_ms < KP_TASK_INTERVAL_MIN_MS)
		return kp_fail(err, KEEP_INVALID,
			       "cron: an interval of %lld ms, the least is %d ms",
			       (long long)interval_ms, KP_TASK_INTERVAL_MIN_MS);
	status = keep_schedule_interval(interval_ms, task->anchor_at, out, err);
	return status == KEEP_OK ? status : kp_prefix(err, status, "cron");
}

static keep_status read_zone_name(keep_bytes given, char name[KEEP_ZONE_NAME_BYTES_MAX + 1],
				  keep_error *err)
{
	if (given.len > KEEP_ZONE_NAME_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "timezone: '%" KP_PRI "' is no zone's name",
			       KP_ARG(given));
	memcpy(name, given.data, given.len);
	name[given.len] = '\0';
	return KEEP_OK;
}

/* The zone is opened by itself first, so that the message says which column is at fault; the second
   time it comes from the cache. */
static keep_status check_zone(const char *name, keep_error *err)
{
	keep_zone *zone = NULL;
	keep_status status = keep_zone_open(name, &zone, err);

	keep_zone_close(&zone);
	return status == KEEP_OK ? status : kp_prefix(err, status, "timezone");
}

keep_status kp_task_schedule(const keep_scheduled_task *task, keep_schedule **out, keep_error *err)
{
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	char zone[KEEP_ZONE_NAME_BYTES_MAX + 1];
	int64_t interval_ms;
	keep_status status = read_zone_name(task->timezone, zone, err);

	*out = NULL;
	options.zone = zone;
	if (status == KEEP_OK)
		status = check_zone(zone, err);
	if (status == KEEP_OK && !keep_dialect_parse(task->dialect, &options.dialect))
		status = kp_fail(err, KEEP_INVALID, "dialect: '%" KP_PRI "' is none",
				 KP_ARG(task->dialect));
	if (status != KEEP_OK || !task->cron.len)
		return status;
	if (kp_int_parse(task->cron, &interval_ms))
		return read_interval(task, interval_ms, out, err);
	status = keep_schedule_parse(task->cron, &options, out, err);
	return status == KEEP_OK ? status : kp_prefix(err, status, "cron");
}

keep_status kp_task_rules(const keep_scheduled_task *task, const keep_schedule *schedule,
			  kp_due_rules *out, keep_error *err)
{
	*out = (kp_due_rules){.schedule = schedule, .overlap = KP_OVERLAP_ALLOW};
	if (!kp_missed_parse(task->missed_policy, &out->missed))
		return kp_fail(err, KEEP_INVALID, "missed_policy: '%" KP_PRI "' is none",
			       KP_ARG(task->missed_policy));
	if (task->run_all_max < 1 || task->run_all_max > KP_DUE_RUNS_MAX)
		return kp_fail(err, KEEP_INVALID, "run_all_max: %lld, 1 to %d are possible",
			       (long long)task->run_all_max, KP_DUE_RUNS_MAX);
	if (task->grace_ms < 0 || task->grace_ms > KEEP_TIME_MAX)
		return kp_fail(err, KEEP_INVALID, "grace_ms: %lld is out of range",
			       (long long)task->grace_ms);
	out->run_all_max = (unsigned)task->run_all_max;
	out->grace_ms = task->grace_ms;
	return KEEP_OK;
}
