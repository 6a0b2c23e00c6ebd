/*
 * series.c - how a message to an agent ends, and how the next occurrence of its series follows.
 *
 * A series is a task and, when it recurs, those after it: messages_in rows with one series_id. At
 * most one of them is live, pending or paused; the others are its history.
 *
 *     pending, paused ── completed, failed ──> over, and the next occurrence is pending (or paused)
 *     pending, paused ── cancelled ──────────> over, and so is the series
 *     failed ─────────── completed, late ────> completed; the next one was made when it failed
 *
 * Invariants:
 *   1. A message ends by one compare-and-set, and what follows from that is in the same commit: the
 *      next occurrence exists exactly when the old one is over.
 *   2. The next time is counted from scheduled_at, the time that the occurrence was for, whatever
 *      the clock says and retries made of process_after; times that nobody was there for are made
 *      up as `missed` says, and the next occurrence's trace says how many were not.
 *   3. The next id follows from the series and the time, or, where a change of the series led to a
 *      time that it had before, from the number of the occurrence before it too.
 *   4. What is over has no recurrence: the source's host makes a next row of each completed one
 *      that has, and it would fork the series when it reads our file. series_id tells what it was.
 *   5. A series whose expression or zone cannot be read any more is not dropped: its next
 *      occurrence is there, paused, with the reason.
 *
 * What it does not do: decide that a message is over (collect_acks.c), take calls about series
 * (series_change.c).
 *
 * Tests: tests/contract/test_mailbox_series.c, tests/crash/test_mailbox_steps_crash.c.
 */
#include "mailbox/mailbox_private.h"

#include <stdio.h>

/* ---------------------------------------------------------------- times */

keep_status kp_series_schedule(keep_bytes recurrence, keep_bytes time_zone, keep_schedule **out,
			       keep_error *err)
{
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	char name[KEEP_ZONE_NAME_BYTES_MAX + 1] = "UTC";
	keep_zone *zone = NULL;
	keep_status status;

	*out = NULL;
	if (time_zone.len > KEEP_ZONE_NAME_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "time_zone: '%" KP_PRI "' is no zone's name",
			       KP_ARG(time_zone));
	if (time_zone.len) {
		memcpy(name, time_zone.data, time_zone.len);
		name[time_zone.len] = '\0';
	}
	/* By itself first, so that the message says which of both is at fault. */
	status = keep_zone_open(name, &zone, err);
	keep_zone_close(&zone);
	if (status != KEEP_OK)
		return kp_prefix(err, status, "time_zone");
	options.zone = name;
	if (!recurrence.len)
		return KEEP_OK;
	status = keep_schedule_parse(recurrence, &options, out, err);
	return status == KEEP_OK ? status : kp_prefix(err, status, "recurrence");
}

keep_status kp_series_first(keep_bytes recurrence, keep_bytes time_zone, int64_t after_ms,
			    int64_t *first_ms, keep_error *err)
{
	keep_schedule *schedule = NULL;
	keep_status status = kp_series_schedule(recurrence, time_zone, &schedule, err);

	*first_ms = 0;
	if (status == KEEP_OK && schedule) {
		status = keep_schedule_next(schedule, after_ms, first_ms, err);
		if (status == KEEP_NOT_FOUND)
			status = kp_fail(err, KEEP_INVALID, "recurrence: has no time any more");
	}
	keep_schedule_close(&schedule);
	return status;
}

keep_status kp_series_due(const keep_inbound_message *message, int64_t from_ms, int64_t now_ms,
			  kp_series_time *out, keep_error *err)
{
	kp_due_rules rules = {.run_all_max = KP_DUE_RUNS_MAX, .overlap = KP_OVERLAP_ALLOW};
	keep_schedule *schedule = NULL;
	kp_due_plan plan;
	keep_status status =
		kp_series_schedule(message->recurrence, message->time_zone, &schedule, err);

	*out = (kp_series_time){.is_over = true};
	if (status == KEEP_OK && message->missed.data &&
	    !kp_missed_parse(message->missed, &rules.missed))
		status = kp_fail(err, KEEP_INVALID, "missed: '%" KP_PRI "' is none",
				 KP_ARG(message->missed));
	rules.schedule = schedule;
	if (status == KEEP_OK)
		status = kp_due_plan_make(&rules, from_ms, now_ms, 0, 0, &plan, err);
	if (status == KEEP_OK) {
		out->is_over = !plan.count && !plan.has_next;
		out->at_ms = plan.count ? plan.runs[0].scheduled_ms : plan.next_run_ms;
		out->skipped = plan.skipped.count;
	}
	keep_schedule_close(&schedule);
	return status;
}

/* What the time of an occurrence is; a row of the source's has no scheduled_at. */
static int64_t find_time(const keep_inbound_message *message)
{
	return message->has_scheduled_at    ? message->scheduled_at
	       : message->has_process_after ? message->process_after
					    : message->timestamp;
}

/* Invariant 2: the time after that of `message`. */
static keep_status find_next(const keep_inbound_message *message, int64_t now_ms,
			     kp_series_time *out, keep_error *err)
{
	keep_schedule *schedule = NULL;
	int64_t next_ms = 0;
	keep_status status =
		kp_series_schedule(message->recurrence, message->time_zone, &schedule, err);

	*out = (kp_series_time){.is_over = true};
	if (status == KEEP_OK)
		status = keep_schedule_next(schedule, find_time(message), &next_ms, err);
	keep_schedule_close(&schedule);
	if (status == KEEP_OK)
		return kp_series_due(message, next_ms, now_ms, out, err);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

/* ---------------------------------------------------------------- the next occurrence */

enum { SERIES_BYTES_MAX = 80, TIME_SIZE = 24, HASH_SIZE = 16 };

/* Invariant 3: "<series>.20260411T171821Z"; a series whose name is too long for that, or can be no
   id, by its digest. `seq` 0: none. */
static keep_status write_id(keep_bytes series, int64_t at_ms, int64_t seq, char id[KP_SEGMENT_SIZE],
			    keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	char text[KEEP_TIME_TEXT_SIZE], time[TIME_SIZE + 1], hash[2 * HASH_SIZE + 1];
	size_t len = 0;
	keep_status status = keep_time_format(at_ms, text, err);

	for (const char *at = text; status == KEEP_OK && *at; at++) {
		if (strncmp(at, ".000", 4) == 0) /* a whole second, as all of cron's are */
			at += 4;
		if (*at != '-' && *at != ':' && *at != '.')
			time[len++] = *at;
	}
	time[len] = '\0';
	if (status == KEEP_OK && (series.len > SERIES_BYTES_MAX ||
				  kp_check_segment("series_id", series, NULL) != KEEP_OK)) {
		status = kp_sha256(series, digest, err);
		if (status != KEEP_OK)
			return status;
		kp_hex_format((keep_bytes){(const char *)digest, HASH_SIZE}, hash);
		series = keep_bytes_of(hash);
	}
	if (status != KEEP_OK)
		return status;
	if (seq)
		snprintf(id, KP_SEGMENT_SIZE, "%.*s.%s.%lld", (int)series.len, series.data, time,
			 (long long)seq);
	else
		snprintf(id, KP_SEGMENT_SIZE, "%.*s.%s", (int)series.len, series.data, time);
	return KEEP_OK;
}

static keep_status add_next(kp_lease *lease, const keep_inbound_message *old,
			    keep_inbound_message *next, size_t skipped, int64_t now_ms,
			    keep_error *err)
{
	char id[KP_SEGMENT_SIZE], detail[80];
	bool existed = true;
	int64_t seq;
	keep_status status = KEEP_OK;

	for (int tries = 0; tries < 2 && existed && status == KEEP_OK; tries++) {
		status = write_id(next->series_id, next->scheduled_at, tries ? old->seq : 0, id,
				  err);
		next->id = keep_bytes_of(id);
		if (status == KEEP_OK)
			status = kp_inbound_add_once(lease, next, &existed, &seq, err);
	}
	if (status == KEEP_OK && skipped) {
		snprintf(detail, sizeof detail, "%zu times before it had no run", skipped);
		status = kp_step_add(lease, next->session_id, next->id, "skipped",
				     keep_bytes_of(detail), now_ms, err);
	}
	if (status == KEEP_OK && next->last_error.data)
		status = kp_step_add(lease, next->session_id, next->id, "paused", next->last_error,
				     now_ms, err);
	return status;
}

/* The occurrence after `old`, which is over. */
static keep_status make_next(kp_lease *lease, const keep_inbound_message *old, int64_t now_ms,
			     keep_error *err)
{
	keep_bytes series = old->series_id.data ? old->series_id : old->id;
	keep_error why = KEEP_ERROR_INIT;
	kp_arena arena = {.head = NULL};
	keep_inbound_message live, next = *old;
	kp_series_time time;
	bool found = false;
	keep_status status =
		kp_series_live(lease, old->session_id, series, &arena, &live, &found, err);

	kp_arena_release(&arena);
	if (status != KEEP_OK || found)
		return status;
	next.series_id = series;
	next.timestamp = next.stored_at = now_ms;
	next.has_stored_at = true;
	next.tries = next.void_attempt = 0;
	next.dedup_key = next.last_error = (keep_bytes){.data = NULL};
	next.has_finished_at = false;
	status = find_next(old, now_ms, &time, &why);
	if (status == KEEP_INVALID || status == KEEP_CORRUPT) { /* invariant 5 */
		time = (kp_series_time){.at_ms = find_time(old)};
		next.status = KEEP_BYTES(KEEP_INBOUND_MESSAGE_STATUS_PAUSED);
		next.last_error = keep_bytes_of(why.message);
		status = KEEP_OK;
	}
	if (status != KEEP_OK)
		return kp_fail(err, status, "%s", why.message);
	if (time.is_over)
		return kp_step_add(lease, old->session_id, old->id, "series_over",
				   KEEP_BYTES("the recurrence has no time any more"), now_ms, err);
	next.scheduled_at = time.at_ms;
	next.has_scheduled_at = true;
	next.process_after = time.at_ms;
	next.has_process_after = time.at_ms > now_ms;
	return add_next(lease, old, &next, time.skipped, now_ms, err);
}

/* ---------------------------------------------------------------- the end of a message */

keep_status kp_series_live(kp_lease *lease, keep_bytes session, keep_bytes series_id,
			   kp_arena *arena, keep_inbound_message *out, bool *found, keep_error *err)
{
	return kp_lease_get(lease, KP_MAILBOX_LIVE_OCCURRENCE,
			    KP_VALUES(kp_text_value(session), kp_text_value(series_id)),
			    &kp_inbound_message_record, arena, out, found, err);
}

static keep_status complete_late(kp_lease *lease, const keep_inbound_message *message,
				 int64_t now_ms, int64_t *changes, keep_error *err)
{
	keep_status status =
		kp_lease_run(lease, KP_MAILBOX_COMPLETE_FAILED_INBOUND,
			     KP_VALUES(kp_text_value(message->session_id),
				       kp_text_value(message->id), kp_time_value(now_ms)),
			     changes, err);

	if (status == KEEP_OK && *changes)
		status = kp_step_add(lease, message->session_id, message->id, "completed",
				     KEEP_BYTES("late: it was given up before"), now_ms, err);
	return status;
}

keep_status kp_inbound_finish(kp_lease *lease, const keep_inbound_message *message, const char *how,
			      keep_bytes error, int64_t now_ms, bool *changed, keep_error *err)
{
	bool completes = strcmp(how, KEEP_INBOUND_MESSAGE_STATUS_COMPLETED) == 0;
	bool cancels = strcmp(how, KEEP_INBOUND_MESSAGE_STATUS_CANCELLED) == 0;
	int64_t changes = 0;
	keep_status status = kp_lease_run(lease, KP_MAILBOX_END_INBOUND,
					  KP_VALUES(kp_text_value(message->session_id),
						    kp_text_value(message->id),
						    kp_text_value(keep_bytes_of(how)),
						    kp_time_value(now_ms), kp_text_value(error)),
					  &changes, err);

	if (changed)
		*changed = false;
	if (status == KEEP_OK && !changes && completes)
		status = complete_late(lease, message, now_ms, &changes, err);
	else if (status == KEEP_OK && changes) {
		if (!completes)
			status = kp_step_add(lease, message->session_id, message->id, how, error,
					     now_ms, err);
		kp_moment("mailbox.occurrence_ended");
		if (status == KEEP_OK && !cancels && message->recurrence.len)
			status = make_next(lease, message, now_ms, err);
	}
	if (status == KEEP_OK && changed)
		*changed = changes > 0;
	return status;
}
