/*
 * maintenance.c - a home's regular care, by the clock of its zone.
 *
 *     backup      daily at 03:00, rotated to 7 daily, 4 weekly, 3 monthly ones
 *     retention   daily at 03:30, what the assistant's limits say
 *     optimize    Sundays at 04:00, the assistant's statistics, free pages, search
 *
 * The zone is the assistant's setting user.timezone; without one, or with one that nobody knows,
 * UTC. When each was done last is a state of the gateway, keep.maintenance.<name>: it is there for
 * the next host, and in the backups.
 *
 * Invariants:
 *   1. A time that passed while no host ran is made up for once, by the next one. A home that never
 * had any is cared for from its first time on, which is counted from the first start.
 *   2. A time is done when its care is done: who is killed at it does it again.
 *   3. A failure is logged, counted, and tried again after an hour.
 *   4. A clock that was ahead and is set back stops nothing: a last time that is yet to come counts
 * as now.
 *   5. Writers go on: each care does its work in steps of its own, between which they do.
 *
 * What it does not do: prune mailboxes, whose messages are their owner's until he deletes them; the
 * gateway keeps all messages, too, and its accounts' sessions are scheduler.c's.
 *
 * Tests: tests/contract/test_service_maintenance.c.
 */
#include "keep/assistant_admin.h"
#include "keep/assistant_care.h"
#include "keep/backups.h"
#include "keep/schedule.h"
#include "service/host.h"

#include <string.h>

#define RETRY_MS INT64_C(3600000)
enum { LOOK_MS = 1000, ZONE_MS = 60000, CARES = 3, BACKUP = 0 };

struct kp_maintenance {
	keep_service *service;
	kp_loop loop;
	atomic_bool is_stopping;
	volatile int is_cancelled; /* the same, for a backup that runs */
	bool told_no_backups;
	char zone[KEEP_ZONE_NAME_BYTES_MAX + 1];
	int64_t zone_at_ms;            /* monotonic: when it is asked for again */
	int64_t last_ms[CARES];        /* when it was done last; 0: not known yet */
	int64_t retry_at_ms[CARES];    /* after a failure, by the wall clock … */
	int64_t retry_after_ms[CARES]; /* … or the monotonic one, which is never set; 0: none */
};

typedef struct care {
	const char *name, *state_key, *expression;
	keep_status (*run)(kp_maintenance *maintenance, keep_error *err);
} care;

static int64_t clock_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

/* ---------------------------------------------------------------- each */

static keep_status back_up(kp_maintenance *maintenance, keep_error *err)
{
	keep_service *service = maintenance->service;
	keep_backup_options options = KEEP_BACKUP_OPTIONS_INIT;
	keep_backup_result result = {.name = ""};
	keep_status status;

	options.to = service->options.backups;
	options.rotate = true;
	options.zone = maintenance->zone;
	options.key_file = service->options.key_file;
	options.cancelled = &maintenance->is_cancelled;
	status = keep_backup_make(service->home, &options, &result, err);
	if (status != KEEP_OK) {
		kp_count(service, KP_COUNT_FAILED_BACKUPS, 1);
		return status;
	}
	kp_count(service, KP_COUNT_BACKUPS, 1);
	kp_gauge_set(service, KP_GAUGE_LAST_BACKUP_MS, result.finished_ms);
	kp_log(KEEP_LOG_INFO, "maintenance: backup %s, %lld bytes", result.name,
	       (long long)result.size_bytes);
	return KEEP_OK;
}

static keep_status retain(kp_maintenance *maintenance, keep_error *err)
{
	static const keep_actor actor = {.agent_name = {"keep serve", 10}};
	keep_retention_report report = {.batches = 0};
	keep_status status =
		keep_assistant_retain(maintenance->service->assistant, NULL, &actor, &report, err);

	if (status == KEEP_OK)
		kp_log(KEEP_LOG_INFO, "maintenance: retention removed %lld rows in %lld batches",
		       (long long)(report.agent_tasks + report.job_executions +
				   report.audit_entries + report.future_tasks +
				   report.short_term_memories),
		       (long long)report.batches);
	return status;
}

static keep_status optimize(kp_maintenance *maintenance, keep_error *err)
{
	return keep_assistant_optimize(maintenance->service->assistant, err);
}

static const care cares[CARES] = {
	[BACKUP] = {"backup", "keep.maintenance.backup", "0 3 * * *", back_up},
	{"retention", "keep.maintenance.retention", "30 3 * * *", retain},
	{"optimize", "keep.maintenance.optimize", "0 4 * * 0", optimize},
};

/* ---------------------------------------------------------------- what is remembered */

static keep_status remember(kp_maintenance *maintenance, size_t which, int64_t time_ms,
			    keep_error *err)
{
	char text[KEEP_TIME_TEXT_SIZE];
	keep_status status = keep_time_format(time_ms, text, err);

	if (status == KEEP_OK)
		status = keep_gateway_set_state(maintenance->service->gateway,
						keep_bytes_of(cares[which].state_key),
						keep_bytes_of(text), err);
	if (status == KEEP_OK)
		maintenance->last_ms[which] = time_ms;
	return status;
}

/* What nobody remembers, or nobody can read, begins now. */
static keep_status recall(kp_maintenance *maintenance, size_t which, int64_t now_ms,
			  keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	int64_t last_ms = 0;
	keep_status status = keep_gateway_get_state(
		maintenance->service->gateway, keep_bytes_of(cares[which].state_key), &text, err);

	if (status == KEEP_OK && keep_time_parse(kp_buffer_bytes(&text), &last_ms, NULL) != KEEP_OK)
		status = KEEP_NOT_FOUND;
	keep_buffer_release(&text);
	if (status == KEEP_NOT_FOUND)
		return remember(maintenance, which, now_ms, err);
	if (status == KEEP_OK && last_ms > now_ms) /* invariant 4 */
		return remember(maintenance, which, now_ms, err);
	if (status == KEEP_OK)
		maintenance->last_ms[which] = last_ms;
	return status;
}

/* ---------------------------------------------------------------- when */

/* UTC whenever there is no better answer: a home without a zone is cared for, too. */
static void read_zone(kp_maintenance *maintenance)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_setting_read read;
	keep_zone *zone = NULL;
	char name[sizeof maintenance->zone] = "UTC";

	maintenance->zone_at_ms = clock_ms() + ZONE_MS;
	if (keep_assistant_get_setting(maintenance->service->assistant, KEEP_BYTES("user.timezone"),
				       NULL, &memory, &read, NULL) == KEEP_OK &&
	    read.text.len && read.text.len < sizeof name) {
		memcpy(name, read.text.data, read.text.len);
		name[read.text.len] = '\0';
	}
	if (keep_zone_open(name, &zone, NULL) != KEEP_OK) {
		if (strcmp(maintenance->zone, "UTC") != 0)
			kp_log(KEEP_LOG_WARNING,
			       "maintenance: user.timezone is no zone that is known; UTC instead");
		memcpy(name, "UTC", sizeof "UTC");
	}
	memcpy(maintenance->zone, name, sizeof name);
	keep_zone_close(&zone);
	keep_memory_release(&memory);
}

/* The first of its times after the last one. */
static keep_status find_next(const kp_maintenance *maintenance, size_t which, int64_t *next_ms,
			     keep_error *err)
{
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	keep_schedule *schedule = NULL;
	keep_status status;

	options.zone = maintenance->zone;
	status = keep_schedule_parse(keep_bytes_of(cares[which].expression), &options, &schedule,
				     err);
	if (status == KEEP_OK)
		status = keep_schedule_next(schedule, maintenance->last_ms[which], next_ms, err);
	keep_schedule_close(&schedule);
	return status;
}

static bool is_possible(kp_maintenance *maintenance, size_t which)
{
	const keep_service *service = maintenance->service;

	if (which != BACKUP || service->folder || service->options.backups)
		return true;
	if (!maintenance->told_no_backups)
		kp_log(KEEP_LOG_WARNING, "maintenance: no backups are made: a home on a server "
					 "needs a folder for them (--backups)");
	maintenance->told_no_backups = true;
	return false;
}

/* ---------------------------------------------------------------- the loop */

/* An hour by either clock: one that is set does not matter. */
static bool is_put_off(const kp_maintenance *maintenance, size_t which, int64_t now_ms)
{
	return clock_ms() < maintenance->retry_after_ms[which] &&
	       now_ms < maintenance->retry_at_ms[which];
}

static keep_status care_for(kp_maintenance *maintenance, size_t which, keep_error *err)
{
	int64_t now_ms = kp_clock_ms(), next_ms = 0;
	keep_status status = KEEP_OK;

	if (!is_possible(maintenance, which) || is_put_off(maintenance, which, now_ms))
		return KEEP_OK;
	if (!maintenance->last_ms[which] || maintenance->last_ms[which] > now_ms)
		status = recall(maintenance, which, now_ms, err);
	if (status == KEEP_OK)
		status = find_next(maintenance, which, &next_ms, err);
	if (status != KEEP_OK || next_ms > now_ms)
		return status;
	status = cares[which].run(maintenance, err);
	if (status == KEEP_OK)
		status = remember(maintenance, which, kp_clock_ms(), err);
	return status;
}

static keep_status turn(void *ctx, int64_t *pause_ms, keep_error *err)
{
	kp_maintenance *maintenance = ctx;

	(void)err;
	*pause_ms = LOOK_MS;
	if (clock_ms() >= maintenance->zone_at_ms)
		read_zone(maintenance);
	for (size_t i = 0; i < CARES && !atomic_load(&maintenance->is_stopping); i++) {
		keep_error why = KEEP_ERROR_INIT;

		if (care_for(maintenance, i, &why) == KEEP_OK ||
		    atomic_load(&maintenance->is_stopping))
			continue;
		maintenance->retry_after_ms[i] = clock_ms() + RETRY_MS;
		maintenance->retry_at_ms[i] = kp_clock_ms() + RETRY_MS;
		kp_count(maintenance->service, KP_COUNT_ERRORS, 1);
		kp_log(KEEP_LOG_ERROR, "maintenance: %s: %s; tried again in an hour", cares[i].name,
		       why.message);
	}
	return KEEP_OK;
}

keep_status kp_maintenance_start(keep_service *service, kp_maintenance **out, keep_error *err)
{
	kp_maintenance *maintenance = kp_alloc_zero(sizeof *maintenance);
	keep_status status;

	*out = NULL;
	if (!maintenance)
		return kp_fail_memory(err, "the maintenance");
	maintenance->service = service;
	maintenance->loop = (kp_loop){
		.service = service, .name = "maintenance", .turn = turn, .ctx = maintenance};
	status = kp_loop_start(&maintenance->loop, err);
	if (status != KEEP_OK)
		kp_free(maintenance);
	else
		*out = maintenance;
	return status;
}

void kp_maintenance_stop(kp_maintenance **maintenance)
{
	if (*maintenance) {
		atomic_store(&(*maintenance)->is_stopping, true);
		(*maintenance)->is_cancelled = 1;
		kp_loop_stop(&(*maintenance)->loop);
	}
	kp_free(*maintenance);
	*maintenance = NULL;
}
