/*
 * gateway_deliveries.c - what agents say, on its way to their channels.
 *
 * keep_gateway_put_outbound (gateway_messages.c) stores a delivery as pending; a channel's adapter
 * claims it (delivery_claim.c), sends it, and reports. The drawing is in keep/gateway.h, and
 * `steps` below is that drawing: no status changes but through it.
 *
 * A chat that has deliveries pending or sending has a row in delivery_queues with when the first of
 * them is due. So looking for work costs what is due: a chat that is held back by a message that
 * waits for an hour costs nothing, however much has queued up behind it.
 *
 * Invariants:
 *   1. Each change is a compare-and-set on (status, attempts). `attempts` never goes back, not even
 *      when somebody retries by hand, so a report fences itself: it holds for one claim.
 *   2. Who claims one claims all before it in its chat (delivery_claim.c).
 *   3. A row of delivery_queues is there if and only if its chat has one pending or sending, and
 *      says of the first of them its next_attempt_at and channel. It is written in the transaction
 *      of the change that it follows from.
 *   4. A pending or sending one has a next_attempt_at, and only a sending one has a lease.
 *   5. What cannot be read holds up nobody: a claim fails it, and a list goes without it.
 *
 * What it does not do: send anything, or wait (gateway_wait.c).
 *
 * Tests: tests/contract/test_gateway_deliveries.c, tests/torture/test_gateway_deliveries_faults.c,
 * tests/crash/test_gateway_deliveries_crash.c.
 */
#include "gateway/gateway_deliveries.h"

#include <string.h>

enum { LEASE_MS = 60000, ATTEMPTS_MAX = 10 };
#define LEASE_MS_MAX INT64_C(86400000) /* a day: who needs longer extends it */

/* ---------------------------------------------------------------- the drawing */

enum event {
	EVENT_CLAIM,
	EVENT_EXTEND,
	EVENT_DELIVERED,
	EVENT_RETRY,   /* it failed, and has attempts left */
	EVENT_FAILED,  /* for good, or it has none left */
	EVENT_REFUSED, /* by the platform */
	EVENT_UNCERTAIN,
	EVENT_RETRY_BY_HAND
};

#define PENDING KEEP_MESSAGE_STATUS_PENDING
#define SENDING KEEP_MESSAGE_STATUS_SENDING
#define DELIVERED KEEP_MESSAGE_STATUS_DELIVERED
#define FAILED KEEP_MESSAGE_STATUS_FAILED
#define REFUSED KEEP_MESSAGE_STATUS_REFUSED
#define UNCERTAIN KEEP_MESSAGE_STATUS_UNCERTAIN

static const struct step {
	enum event event;
	const char *from, *to;
} steps[] = {
	{EVENT_CLAIM, PENDING, SENDING},
	{EVENT_CLAIM, SENDING, SENDING}, /* the lease is over */
	{EVENT_EXTEND, SENDING, SENDING},
	{EVENT_DELIVERED, SENDING, DELIVERED},
	{EVENT_RETRY, SENDING, PENDING},
	{EVENT_FAILED, SENDING, FAILED},
	{EVENT_REFUSED, SENDING, REFUSED},
	{EVENT_UNCERTAIN, SENDING, UNCERTAIN},
	{EVENT_RETRY_BY_HAND, FAILED, PENDING},
	{EVENT_RETRY_BY_HAND, REFUSED, PENDING},
	{EVENT_RETRY_BY_HAND, UNCERTAIN, PENDING},
};

/* NULL: the drawing has no such step. */
static const struct step *find_step(enum event event, keep_bytes from)
{
	for (size_t i = 0; i < KP_COUNT(steps); i++)
		if (steps[i].event == event && kp_bytes_equal(keep_bytes_of(steps[i].from), from))
			return &steps[i];
	return NULL;
}

const char *kp_delivery_claimable(keep_bytes status)
{
	const struct step *step = find_step(EVENT_CLAIM, status);

	return step ? step->from : NULL;
}

/* Whether an event may have led to `to`. */
static bool can_lead_to(enum event event, keep_bytes to)
{
	for (size_t i = 0; i < KP_COUNT(steps); i++)
		if (steps[i].event == event && kp_bytes_equal(keep_bytes_of(steps[i].to), to))
			return true;
	return false;
}

static const struct {
	const char *name;
	enum event event;
} reports[] = {
	[KEEP_DELIVERY_DELIVERED] = {"delivered", EVENT_DELIVERED},
	[KEEP_DELIVERY_RETRY] = {"retry", EVENT_RETRY},
	[KEEP_DELIVERY_FAILED] = {"failed", EVENT_FAILED},
	[KEEP_DELIVERY_REFUSED] = {"refused", EVENT_REFUSED},
	[KEEP_DELIVERY_UNCERTAIN] = {"uncertain", EVENT_UNCERTAIN},
};

const char *keep_delivery_name(keep_delivery delivery)
{
	return (size_t)delivery < KP_COUNT(reports) ? reports[delivery].name : "?";
}

bool keep_delivery_parse(keep_bytes name, keep_delivery *out)
{
	for (size_t i = 0; i < KP_COUNT(reports); i++) {
		if (!kp_bytes_equal(name, keep_bytes_of(reports[i].name)))
			continue;
		*out = (keep_delivery)i;
		return true;
	}
	return false;
}

/* ---------------------------------------------------------------- what is taken */

keep_status kp_delivery_check_lease(int64_t lease_ms, int64_t now_ms, int64_t *until,
				    keep_error *err)
{
	keep_status status = kp_check_time("now", now_ms, err);

	if (status != KEEP_OK)
		return status;
	if (lease_ms < 0 || lease_ms > LEASE_MS_MAX)
		return kp_fail(err, KEEP_INVALID, "lease_ms: 1 to %lld are possible",
			       (long long)LEASE_MS_MAX);
	*until = now_ms + (lease_ms ? lease_ms : LEASE_MS);
	return kp_check_time("the lease's end", *until, err);
}

static keep_status check_ids(keep_bytes jid, keep_bytes id, keep_error *err)
{
	keep_status status = kp_check_key("chat_jid", jid, err);

	return status == KEEP_OK ? kp_check_key("id", id, err) : status;
}

/* ---------------------------------------------------------------- one delivery */

/* A delivery as it stands, as far as its steps depend on it; texts in `texts`. */
struct standing {
	keep_bytes status, last_error, platform_id;
	int64_t attempts, attempts_before;
	kp_value next_attempt_at;
};

/* A step of one delivery. */
struct move {
	keep_bytes jid, id;
	enum event event;
	int64_t attempt; /* that it is about; not of a retry by hand */
	keep_bytes platform_id, error;
	int64_t until, now_ms;
	int64_t retry_at, attempts_max;
};

static keep_status read_standing(kp_sql_stmt *stmt, struct standing *standing, kp_arena *arena,
				 keep_error *err)
{
	enum { STATUS, ATTEMPTS, ATTEMPTS_BEFORE, LAST_ERROR, PLATFORM_ID, NEXT };
	const struct {
		int column;
		keep_bytes *to;
	} texts[] = {{STATUS, &standing->status},
		     {LAST_ERROR, &standing->last_error},
		     {PLATFORM_ID, &standing->platform_id}};
	keep_status status = kp_sql_column_int(stmt, ATTEMPTS, &standing->attempts, err);

	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, ATTEMPTS_BEFORE, &standing->attempts_before, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, NEXT, KP_TIME, &standing->next_attempt_at, err);
	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++) {
		kp_value value;

		status = kp_sql_column(stmt, texts[i].column, KP_TEXT, &value, err);
		if (status == KEEP_OK && !value.is_null)
			status = kp_arena_copy(arena, value.bytes, texts[i].to, err);
	}
	return status;
}

static keep_status probe_delivery(const struct move *move, kp_lease *lease,
				  struct standing *standing, kp_arena *arena, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_PROBE_DELIVERY,
		KP_VALUES(kp_text_value(move->jid), kp_text_value(move->id)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = read_standing(stmt, standing, arena, err);
	kp_sql_reset(stmt);
	if (status == KEEP_OK && !has_row)
		return kp_fail(err, KEEP_NOT_FOUND,
			       "chat '%" KP_PRI "' has no message '%" KP_PRI "'", KP_ARG(move->jid),
			       KP_ARG(move->id));
	return status;
}

/* A retry whose attempts are used up is a failure. */
static enum event judge(const struct move *move, const struct standing *standing, int64_t *retry_at)
{
	const kp_backoff backoff = {.first_ms = 1000,
				    .factor = 2,
				    .max_ms = 3600000,
				    .attempts_max = (unsigned)move->attempts_max};

	if (move->event != EVENT_RETRY)
		return move->event;
	if (!kp_backoff_next(&backoff, (unsigned)(move->attempt - standing->attempts_before),
			     move->now_ms, 0, retry_at))
		return EVENT_FAILED;
	if (move->retry_at)
		*retry_at = move->retry_at;
	return EVENT_RETRY;
}

/* Was it told so before? Then it stands as such a report leaves it. */
static bool is_replay(const struct move *move, enum event event, const struct standing *standing)
{
	if (move->event == EVENT_EXTEND || move->event == EVENT_RETRY_BY_HAND ||
	    standing->attempts != move->attempt || !can_lead_to(event, standing->status))
		return false;
	if (event == EVENT_DELIVERED)
		return !move->platform_id.data ||
		       kp_bytes_equal(move->platform_id, standing->platform_id);
	if (event == EVENT_RETRY && move->retry_at &&
	    (standing->next_attempt_at.is_null ||
	     standing->next_attempt_at.integer != move->retry_at))
		return false;
	return kp_bytes_equal(move->error, standing->last_error);
}

static keep_status tell_refused(const struct move *move, const struct standing *standing,
				keep_error *err)
{
	if (move->event == EVENT_RETRY_BY_HAND)
		return kp_fail(err, KEEP_CONFLICT,
			       "delivery '%" KP_PRI "' of chat '%" KP_PRI "': it is %" KP_PRI
			       ", not failed, refused or uncertain",
			       KP_ARG(move->id), KP_ARG(move->jid), KP_ARG(standing->status));
	return kp_fail(err, KEEP_CONFLICT,
		       "delivery '%" KP_PRI "' of chat '%" KP_PRI "': it is %" KP_PRI
		       " with attempt %lld, and attempt %lld is over",
		       KP_ARG(move->id), KP_ARG(move->jid), KP_ARG(standing->status),
		       (long long)standing->attempts, (long long)move->attempt);
}

/* Invariant 1. */
static keep_status compare_and_set(const struct move *move, const struct step *step,
				   const struct standing *standing, int64_t retry_at,
				   kp_lease *lease, keep_error *err)
{
	bool by_hand = step->event == EVENT_RETRY_BY_HAND, extends = step->event == EVENT_EXTEND;
	bool delivered = step->event == EVENT_DELIVERED;
	const kp_value values[] = {
		kp_text_value(move->jid),
		kp_text_value(move->id),
		kp_text_value(keep_bytes_of(step->from)),
		kp_int_value(standing->attempts),
		extends ? kp_time_value(move->until) : kp_text_value(keep_bytes_of(step->to)),
		step->event == EVENT_RETRY || by_hand ? kp_time_value(retry_at)
						      : kp_null_value(KP_TIME),
		kp_text_value(by_hand ? standing->last_error : move->error),
		kp_text_value(delivered ? move->platform_id : (keep_bytes){0}),
		kp_int_value(by_hand ? standing->attempts : standing->attempts_before),
	};
	int64_t changes = 0;
	keep_status status =
		kp_lease_run(lease, extends ? KP_GATEWAY_EXTEND_DELIVERY : KP_GATEWAY_MOVE_DELIVERY,
			     values, extends ? 5 : KP_COUNT(values), &changes, err);

	if (status == KEEP_OK && changes != 1)
		return kp_fail(err, KEEP_CONFLICT,
			       "delivery '%" KP_PRI "' of chat '%" KP_PRI "': it has changed",
			       KP_ARG(move->id), KP_ARG(move->jid));
	if (status == KEEP_OK && !extends)
		status = kp_lease_queue(lease, KP_GATEWAY_END_QUEUE,
					KP_VALUES(kp_text_value(move->jid)), err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_RENEW_QUEUE,
					KP_VALUES(kp_text_value(move->jid)), err);
	return status;
}

static keep_status apply_move(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct move *move = ctx;
	struct standing standing = {0};
	kp_arena arena = {.head = NULL};
	int64_t retry_at = move->now_ms;
	keep_status status = probe_delivery(move, lease, &standing, &arena, err);

	/* A refusal changed nothing: others in the transaction go on. */
	lease->unchanged = status == KEEP_NOT_FOUND;
	if (status == KEEP_OK) {
		enum event event = judge(move, &standing, &retry_at);
		const struct step *step = find_step(event, standing.status);

		if (step && event != EVENT_RETRY_BY_HAND && standing.attempts != move->attempt)
			step = NULL;
		if (step)
			status = compare_and_set(move, step, &standing, retry_at, lease, err);
		else if (!is_replay(move, event, &standing))
			status = tell_refused(move, &standing, err);
		lease->unchanged = !step;
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status check_report(const keep_delivery_report *report, keep_error *err)
{
	keep_status status = check_ids(report->jid, report->id, err);

	if (status == KEEP_OK && (size_t)report->delivery >= KP_COUNT(reports))
		status = kp_fail(err, KEEP_INVALID, "delivery: %d is no report",
				 (int)report->delivery);
	if (status == KEEP_OK && report->attempt < 1)
		status = kp_fail(err, KEEP_INVALID, "attempt: the claimed message's is needed");
	if (status == KEEP_OK && report->platform_id.data)
		status = kp_check_key("platform_id", report->platform_id, err);
	if (status == KEEP_OK)
		status = kp_check_text("error", report->error, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_time("retry_at", report->retry_at, err);
	if (status == KEEP_OK && (report->attempts_max < 0 || report->attempts_max > INT32_MAX))
		status = kp_fail(err, KEEP_INVALID, "attempts_max: out of range");
	return status;
}

keep_status keep_gateway_complete_delivery(keep_gateway *gateway,
					   const keep_delivery_report *report, int64_t now_ms,
					   keep_error *err)
{
	struct move move = {.jid = report->jid,
			    .id = report->id,
			    .attempt = report->attempt,
			    .platform_id = report->platform_id,
			    .now_ms = kp_gateway_now(now_ms),
			    .retry_at = report->retry_at,
			    .attempts_max =
				    report->attempts_max ? report->attempts_max : ATTEMPTS_MAX};
	keep_status status = check_report(report, err);

	if (status == KEEP_OK)
		status = kp_check_time("now", move.now_ms, err);
	if (status != KEEP_OK)
		return status;
	move.event = reports[report->delivery].event;
	if (move.event != EVENT_DELIVERED)
		move.error = report->error;
	/* Whatever it is, the next of the chat may be due now. */
	return kp_gateway_change(gateway, apply_move, &move, KP_NEWS_DELIVERY, err);
}

keep_status keep_gateway_extend_delivery(keep_gateway *gateway, keep_bytes jid, keep_bytes id,
					 int64_t attempt, int64_t lease_ms, int64_t now_ms,
					 keep_error *err)
{
	struct move move = {.jid = jid,
			    .id = id,
			    .event = EVENT_EXTEND,
			    .attempt = attempt,
			    .now_ms = kp_gateway_now(now_ms)};
	keep_status status = check_ids(jid, id, err);

	if (status == KEEP_OK)
		status = kp_delivery_check_lease(lease_ms, move.now_ms, &move.until, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_move, &move, KP_NEWS_CHANGE, err);
}

keep_status keep_gateway_retry_delivery(keep_gateway *gateway, keep_bytes jid, keep_bytes id,
					keep_error *err)
{
	struct move move = {
		.jid = jid, .id = id, .event = EVENT_RETRY_BY_HAND, .now_ms = kp_clock_ms()};
	keep_status status = check_ids(jid, id, err);

	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_move, &move, KP_NEWS_DELIVERY, err);
}

/* ---------------------------------------------------------------- looking */

struct ended {
	size_t statement;
	const kp_value *values;
	size_t value_count;
	keep_memory *memory;
	keep_message_list list;
};

/* Invariant 5: what a claim has failed because it cannot be read cannot be read here either. */
static keep_status pass_over(void *ctx, kp_sql_stmt *stmt, const keep_error *why, keep_error *err)
{
	(void)ctx, (void)stmt, (void)err;
	kp_log(KEEP_LOG_WARNING, "a delivery that ended badly is passed over: %s", why->message);
	return KEEP_OK;
}

static keep_status query_ended(void *ctx, kp_lease *lease, keep_error *err)
{
	struct ended *ended = ctx;
	kp_sql_stmt *stmt = NULL;
	void *items = NULL;
	keep_status status = kp_lease_bind(lease, ended->statement, ended->values,
					   ended->value_count, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_good(stmt, &kp_message_record, ended->memory, &items,
					     &ended->list.count, pass_over, NULL, err);
	ended->list.items = items;
	return status;
}

keep_status keep_gateway_failed_deliveries(keep_gateway *gateway, keep_bytes status_name,
					   int64_t before_ms, size_t limit, keep_memory *memory,
					   keep_message_list *out, keep_error *err)
{
	int64_t rows = 0;
	keep_status status = kp_check_limit(limit, 50, KEEP_GATEWAY_LIST_MAX, &rows, err);

	if (status == KEEP_OK && status_name.data && !find_step(EVENT_RETRY_BY_HAND, status_name))
		status = kp_fail(err, KEEP_INVALID,
				 "status: failed, refused or uncertain, or absent for all");
	if (status == KEEP_OK)
		status = kp_check_time("before", before_ms, err);
	if (status != KEEP_OK)
		return status;
	/* Without a bound, what was stored in this very millisecond counts. */
	const kp_value values[] = {
		kp_time_value(before_ms ? before_ms : KEEP_TIME_MAX),
		kp_int_value(rows),
		kp_text_value(status_name),
	};

	struct ended ended = {.statement = status_name.data ? KP_GATEWAY_ENDED_BADLY
							    : KP_GATEWAY_ENDED_BADLY_AT_ALL,
			      .values = values,
			      .value_count = status_name.data ? 3 : 2,
			      .memory = memory};

	status = kp_gateway_read(gateway, query_ended, &ended, err);
	if (status == KEEP_OK)
		*out = ended.list;
	return status;
}
