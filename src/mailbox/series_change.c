/*
 * series_change.c - calls about series: cancel, pause, resume, update, list.
 *
 *                    pause                        claimed?
 *     pending ─────────────────> paused          cancel   the agent's completion is CONFLICT
 *        ▲ └──── cancel ──┐ ┌─ cancel ┘           pause    the agent completes it; the next is
 * paused └─ resume ─────  cancelled               update   CONFLICT; by the agent itself: the next
 * ones
 *
 * Invariants:
 *   1. A call is one transaction that finds the live occurrence and changes it: which row that is
 *      does not matter to the caller, nor whether one ended a moment ago.
 *   2. An update of the host's does not slip under a claim: a claim that stands is CONFLICT, and
 *      void_attempt goes above every claim that could have been taken of the old row meanwhile, so
 *      that what was begun with the old content cannot be completed.
 *   3. An action of the agent's leaves a step at the row that asked for it, in the same commit:
 *      asked again after a crash, it does nothing.
 *   4. Resuming counts what was missed as `missed` says; so a pause of a month makes no month of
 *      runs.
 *
 * What it does not do: make tasks (post.c, actions.c), end them (series.c).
 *
 * Tests: tests/contract/test_mailbox_series.c, tests/contract/test_mailbox_actions.c.
 */
#include "mailbox/mailbox_private.h"

struct calling {
	const kp_series_call *call;
	kp_lease *lease;
	kp_arena *arena;
	keep_inbound_message live;
};

static keep_status add_step(const struct calling *calling, const char *step, keep_error *err)
{
	return kp_step_add(calling->lease, calling->call->session, calling->live.id, step,
			   (keep_bytes){.data = NULL}, calling->call->now_ms, err);
}

/* The series' live occurrence; also by the id of an occurrence, as agents know their task. */
static keep_status find_live(struct calling *calling, keep_error *err)
{
	const kp_series_call *call = calling->call;
	kp_value session = kp_text_value(call->session);
	keep_inbound_message *live = &calling->live, named;
	bool found = false;
	keep_status status = kp_series_live(calling->lease, call->session, call->series_id,
					    calling->arena, live, &found, err);

	if (status != KEEP_OK || found)
		return status;
	status = kp_lease_get(calling->lease, KP_MAILBOX_GET_INBOUND,
			      KP_VALUES(session, kp_text_value(call->series_id)),
			      &kp_inbound_message_record, calling->arena, &named, &found, err);
	if (status == KEEP_OK && found && named.series_id.data)
		status = kp_series_live(calling->lease, call->session, named.series_id,
					calling->arena, live, &found, err);
	else if (status == KEEP_OK && found) { /* a row of the source's */
		found = (kp_bytes_equal(named.kind, KEEP_BYTES("task")) || named.recurrence.len) &&
			(kp_bytes_equal(named.status, KEEP_BYTES("pending")) ||
			 kp_bytes_equal(named.status, KEEP_BYTES("paused")));
		*live = named;
	}
	if (status == KEEP_OK && !found)
		return kp_fail(err, KEEP_NOT_FOUND,
			       "series: nothing of '%" KP_PRI "' is pending or paused",
			       KP_ARG(call->series_id));
	return status;
}

/* ---------------------------------------------------------------- one call */

static keep_status cancel_live(const struct calling *calling, keep_error *err)
{
	return kp_inbound_finish(calling->lease, &calling->live, "cancelled",
				 (keep_bytes){.data = NULL}, calling->call->now_ms, NULL, err);
}

static keep_status pause_live(const struct calling *calling, keep_error *err)
{
	int64_t changes = 0;
	keep_status status = kp_lease_run(
		calling->lease, KP_MAILBOX_PAUSE_OCCURRENCE,
		KP_VALUES(kp_text_value(calling->call->session), kp_text_value(calling->live.id)),
		&changes, err);

	if (status == KEEP_OK && !changes)
		return kp_fail(err, KEEP_CONFLICT, "series: '%" KP_PRI "' is paused",
			       KP_ARG(calling->call->series_id));
	return status == KEEP_OK ? add_step(calling, "paused", err) : status;
}

static keep_status store_live(const struct calling *calling, const keep_inbound_message *row,
			      const char *step, keep_error *err)
{
	keep_status status = kp_lease_run(
		calling->lease, KP_MAILBOX_CHANGE_OCCURRENCE,
		KP_VALUES(kp_text_value(calling->call->session), kp_text_value(row->id),
			  kp_text_value(row->status), kp_text_value(row->content),
			  kp_text_value(row->recurrence), kp_text_value(row->time_zone),
			  row->has_process_after ? kp_time_value(row->process_after)
						 : kp_null_value(KP_TIME),
			  row->has_scheduled_at ? kp_time_value(row->scheduled_at)
						: kp_null_value(KP_TIME),
			  kp_int_value(row->void_attempt), kp_int_value(row->tries)),
		NULL, err);

	return status == KEEP_OK ? add_step(calling, step, err) : status;
}

/* Its time is then `at_ms`; what is over is due now. */
static void set_time(keep_inbound_message *row, int64_t at_ms, int64_t now_ms)
{
	row->scheduled_at = row->process_after = at_ms;
	row->has_scheduled_at = true;
	row->has_process_after = at_ms > now_ms;
}

static keep_status resume_live(const struct calling *calling, keep_error *err)
{
	keep_inbound_message row = calling->live;
	int64_t now_ms = calling->call->now_ms;
	kp_series_time time;
	keep_status status = KEEP_OK;

	if (!kp_bytes_equal(row.status, KEEP_BYTES("paused")))
		return kp_fail(err, KEEP_CONFLICT, "series: '%" KP_PRI "' is pending",
			       KP_ARG(calling->call->series_id));
	row.status = KEEP_BYTES("pending");
	/* A single task waits for its run however late that is. */
	if (row.recurrence.len && row.has_scheduled_at) {
		status = kp_series_due(&row, row.scheduled_at, now_ms, &time, err);
		if (status == KEEP_OK && !time.is_over && time.at_ms != row.scheduled_at)
			set_time(&row, time.at_ms, now_ms);
	}
	return status == KEEP_OK ? store_live(calling, &row, "resumed", err) : status;
}

/* ---------------------------------------------------------------- update */

/* Invariant 2. *claimed: an agent is at it, or has completed it and nobody collected that yet. */
static keep_status look_at_claim(const struct calling *calling, keep_inbound_message *row,
				 bool *claimed, keep_error *err)
{
	const kp_series_call *call = calling->call;
	keep_processing_ack ack;
	bool found = false;
	keep_status status =
		kp_lease_get(calling->lease, KP_MAILBOX_GET_ACK,
			     KP_VALUES(kp_text_value(call->session), kp_text_value(row->id)),
			     &kp_processing_ack_record, calling->arena, &ack, &found, err);

	*claimed = false;
	if (status != KEEP_OK)
		return status;
	if (found && ack.has_attempt && ack.attempt > row->void_attempt &&
	    ack.attempt < INT64_MAX / 2) {
		bool runs = kp_bytes_equal(ack.status, KEEP_BYTES("processing")) &&
			    (!ack.has_lease_until || ack.lease_until > call->now_ms);

		*claimed = runs || kp_bytes_equal(ack.status, KEEP_BYTES("completed"));
		if (!*claimed)
			row->void_attempt = ack.attempt;
	} else if (found && !ack.has_attempt) { /* a program that knows no attempts */
		*claimed = !kp_bytes_equal(ack.status, KEEP_BYTES("failed"));
	}
	if (!*claimed)
		row->void_attempt++;
	return KEEP_OK;
}

static void put_member(kp_json_writer *writer, const char *name, keep_bytes given,
		       const kp_json *stored)
{
	const kp_json *old = kp_json_member(stored, name);

	kp_json_name(writer, name);
	if (given.data)
		kp_json_put_raw(writer, given);
	else if (old)
		kp_json_put_raw(writer, old->raw);
	else
		kp_json_put_null(writer);
}

/* The content with another prompt or script, and all else that is in it. */
static keep_status merge_content(const struct calling *calling, keep_inbound_message *row,
				 keep_error *err)
{
	const kp_series_call *call = calling->call;
	keep_buffer text = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	const kp_json *stored = NULL;
	keep_status status = kp_json_parse(row->content, calling->arena, &stored, err);

	if (status != KEEP_OK)
		return status;
	kp_json_begin(&writer, &text);
	kp_json_open_object(&writer);
	put_member(&writer, "prompt", call->prompt, stored);
	put_member(&writer, "script", call->script, stored);
	for (size_t i = 0; stored->kind == KP_JSON_OBJECT && i < stored->list.count; i++) {
		const kp_json *member = &stored->list.items[i];

		if (kp_bytes_equal(member->name, KEEP_BYTES("prompt")) ||
		    kp_bytes_equal(member->name, KEEP_BYTES("script")))
			continue;
		kp_json_name_bytes(&writer, member->name);
		kp_json_put_raw(&writer, member->raw);
	}
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	if (status == KEEP_OK && kp_buffer_bytes(&text).len > KEEP_MAILBOX_CONTENT_MAX)
		status = kp_fail(err, KEEP_INVALID, "prompt and script: the limit is %d bytes",
				 KEEP_MAILBOX_CONTENT_MAX);
	if (status == KEEP_OK)
		status = kp_arena_copy(calling->arena, kp_buffer_bytes(&text), &row->content, err);
	keep_buffer_release(&text);
	return status;
}

/* The next time follows the expression, unless it is given. */
static keep_status move_row(const struct calling *calling, keep_inbound_message *row, bool claimed,
			    keep_error *err)
{
	const keep_series_change *change = &calling->call->change;
	int64_t now_ms = calling->call->now_ms, first_ms = 0;
	keep_status status = KEEP_OK;

	if (change->recurrence.data)
		row->recurrence =
			change->recurrence.len ? change->recurrence : (keep_bytes){.data = NULL};
	if (change->time_zone.data)
		row->time_zone =
			change->time_zone.len ? change->time_zone : (keep_bytes){.data = NULL};
	if (change->recurrence.data || change->time_zone.data)
		status = kp_series_first(row->recurrence, row->time_zone, now_ms, &first_ms, err);
	if (status != KEEP_OK || claimed)
		return status; /* the occurrence after the one that runs is counted by it */
	row->tries = 0;
	if (change->process_after)
		set_time(row, change->process_after, now_ms);
	else if (row->recurrence.len && (change->recurrence.data || change->time_zone.data))
		set_time(row, first_ms, now_ms);
	return KEEP_OK;
}

static keep_status update_live(const struct calling *calling, keep_error *err)
{
	const kp_series_call *call = calling->call;
	keep_inbound_message row = calling->live;
	bool claimed = false;
	keep_status status = look_at_claim(calling, &row, &claimed, err);

	if (status != KEEP_OK)
		return status;
	if (claimed && !call->action_id.data)
		return kp_fail(err, KEEP_CONFLICT,
			       "series: '%" KP_PRI "' is claimed by an agent or not collected yet",
			       KP_ARG(call->series_id));
	if (claimed && call->change.process_after)
		return kp_fail(err, KEEP_CONFLICT,
			       "series: '%" KP_PRI "' is running, its time cannot be changed",
			       KP_ARG(call->series_id));
	if (call->change.content.data)
		row.content = call->change.content;
	else if (call->prompt.data || call->script.data)
		status = merge_content(calling, &row, err);
	if (status == KEEP_OK)
		status = move_row(calling, &row, claimed, err);
	return status == KEEP_OK ? store_live(calling, &row, "updated", err) : status;
}

/* ---------------------------------------------------------------- the transaction */

/* Invariant 3. */
static const char action_step[] = "action";

static keep_status is_done(const struct calling *calling, bool *done, keep_error *err)
{
	const kp_series_call *call = calling->call;
	int64_t one;

	*done = false;
	if (!call->action_id.data)
		return KEEP_OK;
	return kp_lease_int(calling->lease, KP_MAILBOX_HAS_STEP,
			    KP_VALUES(kp_text_value(call->session), kp_text_value(call->action_id),
				      kp_text_value(keep_bytes_of(action_step))),
			    &one, done, err);
}

static keep_status apply_call(void *ctx, kp_lease *lease, keep_error *err)
{
	static keep_status (*const verbs[])(const struct calling *calling, keep_error *err) = {
		[KP_SERIES_CANCEL] = cancel_live,
		[KP_SERIES_PAUSE] = pause_live,
		[KP_SERIES_RESUME] = resume_live,
		[KP_SERIES_UPDATE] = update_live,
	};
	const kp_series_call *call = ctx;
	kp_arena arena = {.head = NULL};
	struct calling calling = {.call = call, .lease = lease, .arena = &arena};
	bool done = false;
	keep_status status = is_done(&calling, &done, err);

	if (status == KEEP_OK && !done)
		status = find_live(&calling, err);
	if (status == KEEP_OK && !done)
		status = verbs[call->verb](&calling, err);
	kp_moment("mailbox.series_changed");
	if (status == KEEP_OK && !done && call->action_id.data)
		status = kp_step_add(lease, call->session, call->action_id, action_step,
				     call->series_id, call->now_ms, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status check_change(const kp_series_call *call, keep_error *err)
{
	const keep_series_change *change = &call->change;
	keep_schedule *schedule = NULL;
	keep_status status = kp_check_key("series_id", call->series_id, err);

	if (status == KEEP_OK)
		status = kp_check_json("content", change->content, KP_JSON_NULL, err);
	if (status == KEEP_OK)
		status = kp_check_text("recurrence", change->recurrence, KEEP_SCHEDULE_BYTES_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_text("time_zone", change->time_zone, KEEP_ZONE_NAME_BYTES_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_series_schedule(change->recurrence, change->time_zone, &schedule, err);
	if (status == KEEP_OK && change->process_after)
		status = kp_check_time("process_after", change->process_after, err);
	keep_schedule_close(&schedule);
	return status;
}

keep_status kp_series_run(keep_mailbox *mailbox, const kp_series_call *call, keep_error *err)
{
	bool moves = call->verb == KP_SERIES_RESUME || call->verb == KP_SERIES_UPDATE;
	kp_session_change change = {
		.session = call->session,
		.mode = KP_SQL_WRITE,
		.news = moves ? KP_NEWS_AGENT : KP_NEWS_NONE,
		.due_ms = moves ? call->now_ms : 0, /* sweep finds out when it is due */
	};
	kp_series_call copy = *call;
	keep_status status = check_change(call, err);

	if (status != KEEP_OK)
		return status;
	return kp_session_write(mailbox, &change, apply_call, &copy, err);
}

/* ---------------------------------------------------------------- the host's calls */

static keep_status call_host(keep_mailbox *mailbox, kp_series_verb verb, keep_bytes session,
			     keep_bytes series_id, const keep_series_change *change, int64_t now_ms,
			     keep_error *err)
{
	kp_series_call call = {
		.verb = verb, .session = session, .series_id = series_id, .now_ms = kp_now(now_ms)};

	if (change)
		call.change = *change;
	return kp_series_run(mailbox, &call, err);
}

keep_status keep_mailbox_cancel(keep_mailbox *mailbox, keep_bytes session, keep_bytes series_id,
				keep_error *err)
{
	return call_host(mailbox, KP_SERIES_CANCEL, session, series_id, NULL, KEEP_NOW, err);
}

keep_status keep_mailbox_pause(keep_mailbox *mailbox, keep_bytes session, keep_bytes series_id,
			       keep_error *err)
{
	return call_host(mailbox, KP_SERIES_PAUSE, session, series_id, NULL, KEEP_NOW, err);
}

keep_status keep_mailbox_resume(keep_mailbox *mailbox, keep_bytes session, keep_bytes series_id,
				int64_t now_ms, keep_error *err)
{
	return call_host(mailbox, KP_SERIES_RESUME, session, series_id, NULL, now_ms, err);
}

keep_status keep_mailbox_update(keep_mailbox *mailbox, keep_bytes session, keep_bytes series_id,
				const keep_series_change *change, int64_t now_ms, keep_error *err)
{
	if (!change)
		return kp_fail(err, KEEP_MISUSE, "keep_mailbox_update: change is NULL");
	return call_host(mailbox, KP_SERIES_UPDATE, session, series_id, change, now_ms, err);
}

/* ---------------------------------------------------------------- listing */

struct listing {
	keep_bytes session;
	int64_t limit;
	kp_arena *arena;
	keep_inbound_message_list *out;
};

static keep_status query_series(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct listing *listing = ctx;
	keep_session_host host;
	kp_arena arena = {.head = NULL};
	keep_status status = kp_session_host_get(lease, listing->session, &arena, &host, err);

	kp_arena_release(&arena);
	*listing->out = (keep_inbound_message_list){.items = NULL};
	if (status != KEEP_OK)
		return status;
	return kp_lease_list(
		lease, KP_MAILBOX_LIST_LIVE_OCCURRENCES,
		KP_VALUES(kp_text_value(listing->session), kp_int_value(listing->limit)),
		&kp_inbound_message_record, listing->arena, &listing->out->items,
		&listing->out->count, err);
}

keep_status keep_mailbox_list_series(keep_mailbox *mailbox, keep_bytes session, size_t limit,
				     keep_memory *memory, keep_inbound_message_list *out,
				     keep_error *err)
{
	struct listing listing = {.session = session, .arena = memory, .out = out};
	keep_status status = kp_check_limit(limit, 50, KEEP_MAILBOX_LIST_MAX, &listing.limit, err);

	*out = (keep_inbound_message_list){.items = NULL};
	if (status == KEEP_OK)
		status = kp_session_read(mailbox, session, query_series, &listing, err);
	if (status != KEEP_OK)
		*out = (keep_inbound_message_list){.items = NULL};
	return status;
}
