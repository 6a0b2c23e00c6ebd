/*
 * sweep_session.c - what time alone changes in one session, and when to look at it again.
 *
 *   a claim's lease is over, or its process is gone     the attempt counts as failed: tried again
 *   a delivery's lease is over, or its process is gone  uncertain: the caller finds out
 *   nothing is left that falls due by itself            the session sleeps: no due_at
 *
 * A session is looked at in two transactions. The first one acts, and takes session_host.marked
 * away when the next look is more than a minute off. The second one computes the next time again,
 * and moves the registry's due_at while it holds the session: nobody can post in between who relies
 * on a mark that goes (session_access.c tells the other half). On PostgreSQL both are one.
 *
 * A claim of a program that knows no leases has neither attempt nor end. It is over when it is 10
 * minutes old and the agent gave no sign of life for as long; as an attempt it counts when it was
 * made after the last one was to be tried again.
 *
 * Invariants:
 *   1. An attempt is counted as failed once, whoever sweeps how often (kp_inbound_retry).
 *   2. due_at moves only if it still is what it was when the session was found.
 *   3. What cannot be read of a claim says nothing: it is left alone, and the others are not.
 *   4. Every statement here reads what is open, and nothing of what is over.
 *
 * What it does not do: take over what the agent's side did (collect.c).
 *
 * Tests: tests/contract/test_mailbox_sweep.c.
 */
#include "mailbox/mailbox_private.h"

#include "mailbox/collect.h"

#include <stdio.h>

enum {
	OPEN_MAX = 1000,    /* claims and deliveries looked at in one go */
	LOOK_AGAIN = 60000, /* ms, while something is open */
	STALE = 600000      /* ms without a sign of life */
};

/* One look at one session. */
struct look {
	keep_mailbox *mailbox;
	const keep_session *row;
	int64_t now_ms;
	int64_t heartbeat_ms; /* 0: none */
	kp_swept *out;
	/* Written anew by each run: */
	bool is_open;      /* somebody is at it: look again in a minute */
	bool has_claims;   /* of the present incarnation */
	int64_t life_ms;   /* the last sign of life */
	int64_t next_ms;   /* the earliest thing that falls due by itself; 0: none */
	int64_t active_ms; /* the last message of either side; 0: not known */
	bool is_asleep;    /* the registry's due_at went */
};

struct claim {
	keep_bytes id, owner;
	int64_t void_attempt, attempt, incarnation;     /* attempt 0: it has none */
	int64_t process_after, lease_until, changed_ms; /* 0: none */
	struct claim *next;
};

/* ---------------------------------------------------------------- reading */

/* The first column of the first row. No row, NULL and, of the agent's side, garbage: 0. */
static keep_status read_one(kp_lease *lease, size_t statement, const kp_value *values,
			    size_t value_count, kp_kind kind, int64_t *out, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value value = {.is_null = true};
	bool found = false;
	keep_status status = kp_lease_bind(lease, statement, values, value_count, &stmt, err);

	*out = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	if (status == KEEP_OK && found && kp_sql_column(stmt, 0, kind, &value, NULL) == KEEP_OK &&
	    !value.is_null)
		*out = value.integer;
	kp_sql_reset(stmt);
	return status;
}

static keep_status is_there(kp_lease *lease, size_t statement, const kp_value *values,
			    size_t value_count, bool *out, keep_error *err)
{
	int64_t found = 0;
	keep_status status = read_one(lease, statement, values, value_count, KP_BOOL, &found, err);

	*out = found != 0;
	return status;
}

/* Whose number is greater than the host's cursors. */
static keep_status look_for_news(kp_lease *lease, keep_bytes session, bool *out, bool *is_plain,
				 keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_cursors cursors;
	kp_value id = kp_text_value(session);
	keep_status status = kp_cursors_read(lease, session, &arena, &cursors, err);

	*out = false;
	*is_plain = status == KEEP_OK && cursors.is_plain;
	if (status == KEEP_OK)
		status = is_there(lease, KP_MAILBOX_HAS_NEW_MESSAGES,
				  KP_VALUES(id, kp_int_value(cursors.out_seq),
					    kp_int_value(cursors.out_seq + KP_OUT_REACH)),
				  out, err);
	if (status == KEEP_OK && !*out && !cursors.is_plain)
		status = is_there(lease, KP_MAILBOX_HAS_NEW_ACKS,
				  KP_VALUES(id, kp_int_value(cursors.ack_change)), out, err);
	if (status == KEEP_OK && !*out)
		status = is_there(lease,
				  cursors.is_plain ? KP_MAILBOX_HAS_NEW_PLAIN_ACKS
						   : KP_MAILBOX_HAS_NEW_UNNUMBERED_ACKS,
				  KP_VALUES(id), out, err);
	kp_arena_release(&arena);
	return status;
}

struct asking {
	keep_bytes session;
	bool *out;
};

static keep_status query_news(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct asking *asking = ctx;
	bool is_plain;

	return look_for_news(lease, asking->session, asking->out, &is_plain, err);
}

keep_status kp_session_has_news(keep_mailbox *mailbox, keep_bytes session, bool *out,
				keep_error *err)
{
	struct asking asking = {session, out};

	*out = false;
	return kp_session_read(mailbox, session, query_news, &asking, err);
}

/* ---------------------------------------------------------------- claims */

/* A column of the agent's; false: it is not of that kind. */
static bool read_column(kp_sql_stmt *stmt, int index, kp_kind kind, int64_t *out)
{
	kp_value value;

	*out = 0;
	if (kp_sql_column(stmt, index, kind, &value, NULL) != KEEP_OK)
		return false;
	if (!value.is_null)
		*out = value.integer;
	return true;
}

/* Invariant 3: *good is false. */
static keep_status read_claim(kp_sql_stmt *stmt, bool is_plain, kp_arena *arena,
			      struct claim *claim, bool *good, keep_error *err)
{
	keep_bytes id;
	kp_value owner = {.is_null = true};
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &id, err);

	*claim = (struct claim){.next = NULL};
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, id, &claim->id, err);
	*good = read_column(stmt, 1, KP_INT, &claim->void_attempt) &&
		read_column(stmt, 2, KP_TIME, &claim->process_after) &&
		read_column(stmt, 3, KP_TIME, &claim->changed_ms);
	if (status != KEEP_OK || is_plain)
		return status;
	*good = *good && kp_sql_column(stmt, 4, KP_TEXT, &owner, NULL) == KEEP_OK &&
		read_column(stmt, 5, KP_TIME, &claim->lease_until) &&
		read_column(stmt, 6, KP_INT, &claim->attempt) &&
		read_column(stmt, 7, KP_INT, &claim->incarnation);
	if (*good && !owner.is_null && owner.bytes.len <= KEEP_MAILBOX_TEXT_MAX)
		status = kp_arena_copy(arena, owner.bytes, &claim->owner, err);
	return status;
}

static keep_status list_claims(const struct look *look, kp_lease *lease, bool is_plain,
			       kp_arena *arena, struct claim **out, keep_error *err)
{
	struct claim **last = out;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false, good = false;
	keep_status status = kp_lease_bind(
		lease, is_plain ? KP_MAILBOX_PLAIN_CLAIMS_UNDER_WAY : KP_MAILBOX_CLAIMS_UNDER_WAY,
		KP_VALUES(kp_text_value(look->row->id), kp_int_value(OPEN_MAX)), &stmt, err);

	*out = NULL;
	while (status == KEEP_OK) {
		struct claim *claim;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		claim = kp_arena_alloc(arena, sizeof *claim);
		status = claim ? read_claim(stmt, is_plain, arena, claim, &good, err)
			       : kp_fail_memory(err, "a claim");
		if (status == KEEP_OK && good) {
			*last = claim;
			last = &claim->next;
		}
	}
	kp_sql_reset(stmt);
	return status;
}

/* Why it is over; NULL: it may stand. An owner is the process, and a number behind a slash. */
static const char *find_end(const struct look *look, const struct claim *claim)
{
	const char *slash =
		claim->owner.data ? memchr(claim->owner.data, '/', claim->owner.len) : NULL;
	keep_bytes process = claim->owner;

	if (slash)
		process.len = (size_t)(slash - process.data);
	if (claim->lease_until) {
		switch (kp_owner_check(process, claim->lease_until, look->now_ms)) {
		case KP_OWNER_EXPIRED: return "its lease is over";
		case KP_OWNER_GONE: return "its process is gone";
		case KP_OWNER_MAY_LIVE: break;
		}
		return NULL;
	}
	return claim->changed_ms <= look->now_ms - STALE &&
			       look->heartbeat_ms <= look->now_ms - STALE
		       ? "its agent gave no sign of life for 10 minutes"
		       : NULL;
}

/* A claim without a number counts when it is younger than what the last failure left; times of the
   source are of whole seconds. */
static bool is_void(const struct claim *claim)
{
	if (claim->owner.data && !claim->owner.len)
		return true; /* given back (agent_claim.c): nobody's, and no failure */
	if (claim->attempt)
		return claim->attempt <= claim->void_attempt;
	return claim->process_after && claim->changed_ms + 1000 < claim->process_after;
}

static void soonest(int64_t *next_ms, int64_t then_ms)
{
	if (then_ms && (!*next_ms || then_ms < *next_ms))
		*next_ms = then_ms;
}

static keep_status end_claim(struct look *look, kp_lease *lease, const struct claim *claim,
			     const char *why, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_inbound_message message;
	char reason[160];
	bool found = false, changed = false, gave_up = false;
	int64_t attempt = claim->attempt ? claim->attempt : claim->void_attempt + 1;
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_GET_INBOUND,
			     KP_VALUES(kp_text_value(look->row->id), kp_text_value(claim->id)),
			     &kp_inbound_message_record, &arena, &message, &found, err);

	snprintf(reason, sizeof reason, "claim %lld: %s", (long long)attempt, why);
	if (status == KEEP_OK && found)
		status = kp_inbound_retry(lease, &message, attempt, keep_bytes_of(reason),
					  look->now_ms, &changed, &gave_up, err);
	if (status == KEEP_OK && changed) {
		look->out->expired_leases++;
		look->out->retried += !gave_up;
		look->out->failed += gave_up;
	}
	kp_arena_release(&arena);
	return status;
}

/* `ends`: what is over is ended; else only the times are read. */
static keep_status go_through_claims(struct look *look, kp_lease *lease, bool is_plain, bool ends,
				     keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct claim *claims = NULL;
	keep_status status = list_claims(look, lease, is_plain, &arena, &claims, err);

	for (const struct claim *at = claims; at && status == KEEP_OK; at = at->next) {
		const char *why;

		look->has_claims |= !at->incarnation || at->incarnation == look->row->incarnation;
		if (at->changed_ms > look->life_ms && at->changed_ms <= look->now_ms)
			look->life_ms = at->changed_ms;
		if (is_void(at))
			continue;
		why = find_end(look, at);
		if (why && ends) {
			status = end_claim(look, lease, at, why, err);
			continue;
		}
		look->is_open = true;
		soonest(&look->next_ms, at->lease_until);
	}
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- deliveries */

static keep_status lose_delivery(struct look *look, kp_lease *lease,
				 const keep_delivered_message *delivery, const char *why,
				 keep_error *err)
{
	char reason[160];
	int64_t changes = 0;
	keep_status status;

	snprintf(reason, sizeof reason, "attempt %lld: %s", (long long)delivery->attempts, why);
	status = kp_lease_run(
		lease, KP_MAILBOX_LOSE_DELIVERY,
		KP_VALUES(kp_text_value(look->row->id), kp_text_value(delivery->message_out_id),
			  kp_int_value(delivery->attempts), kp_text_value(keep_bytes_of(reason))),
		&changes, err);
	if (status == KEEP_OK && changes)
		status = kp_step_add(lease, look->row->id, delivery->message_out_id,
				     KEEP_DELIVERED_MESSAGE_STATUS_UNCERTAIN, keep_bytes_of(reason),
				     look->now_ms, err);
	look->out->uncertain += changes;
	look->out->has_output |= changes != 0;
	return status;
}

static keep_status go_through_deliveries(struct look *look, kp_lease *lease, bool ends,
					 keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_delivered_message *items = NULL;
	size_t count = 0;
	keep_status status =
		kp_lease_list(lease, KP_MAILBOX_DELIVERIES_UNDER_WAY,
			      KP_VALUES(kp_text_value(look->row->id), kp_int_value(OPEN_MAX)),
			      &kp_delivered_message_record, &arena, &items, &count, err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		int64_t until = items[i].has_next_attempt_at ? items[i].next_attempt_at : 0;
		kp_owner_state state = kp_owner_check(items[i].lease_owner, until, look->now_ms);

		if (ends && state != KP_OWNER_MAY_LIVE) {
			status = lose_delivery(look, lease, &items[i],
					       state == KP_OWNER_GONE ? "its process is gone"
								      : "its lease is over",
					       err);
			continue;
		}
		look->is_open = true;
		soonest(&look->next_ms, until);
	}
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- what comes next */

static keep_status look_ahead(struct look *look, kp_lease *lease, bool has_news, keep_error *err)
{
	kp_value values[] = {kp_text_value(look->row->id), kp_time_value(look->now_ms)};
	int64_t then_ms = 0;
	bool is_pending = false, has_due = false;
	keep_status status =
		is_there(lease, KP_MAILBOX_HAS_PENDING_INPUT, values, 2, &is_pending, err);

	look->out->has_input = false;
	if (status == KEEP_OK && is_pending)
		status = is_there(lease, KP_MAILBOX_HAS_FREE_INPUT, values, 2,
				  &look->out->has_input, err);
	if (status == KEEP_OK)
		status = is_there(lease, KP_MAILBOX_HAS_DUE_OUTPUT, values, 2, &has_due, err);
	if (status == KEEP_OK)
		status = read_one(lease, KP_MAILBOX_NEXT_INPUT, values, 2, KP_TIME, &then_ms, err);
	soonest(&look->next_ms, then_ms);
	if (status == KEEP_OK)
		status = read_one(lease, KP_MAILBOX_NEXT_OUTPUT, values, 2, KP_TIME, &then_ms, err);
	soonest(&look->next_ms, then_ms);
	if (status == KEEP_OK)
		status = read_one(lease, KP_MAILBOX_LATEST_INPUT, values, 1, KP_TIME,
				  &look->active_ms, err);
	if (status == KEEP_OK)
		status = read_one(lease, KP_MAILBOX_LATEST_OUTPUT, values, 1, KP_TIME, &then_ms,
				  err);
	if (then_ms > look->active_ms && then_ms <= look->now_ms)
		look->active_ms = then_ms;
	look->out->has_output |= has_due || has_news;
	look->is_open |= is_pending || has_due || has_news;
	if (look->is_open)
		soonest(&look->next_ms, look->now_ms + LOOK_AGAIN);
	if (look->next_ms && look->next_ms <= look->now_ms)
		look->next_ms = look->now_ms + 1;
	return status;
}

static keep_status go_through(struct look *look, kp_lease *lease, bool ends, keep_error *err)
{
	bool is_running = kp_bytes_equal(look->row->container_status,
					 KEEP_BYTES(KEEP_SESSION_CONTAINER_STATUS_RUNNING));
	bool has_news = false, is_plain = false;
	keep_status status = look_for_news(lease, look->row->id, &has_news, &is_plain, err);

	look->is_open = look->has_claims = look->is_asleep = false;
	look->next_ms = look->active_ms = 0;
	look->life_ms = look->heartbeat_ms;
	if (status == KEEP_OK)
		status = go_through_claims(look, lease, is_plain, ends, err);
	if (status == KEEP_OK)
		status = go_through_deliveries(look, lease, ends, err);
	if (status == KEEP_OK)
		status = look_ahead(look, lease, has_news, err);
	look->out->is_stale =
		is_running && look->has_claims && look->life_ms <= look->now_ms - STALE;
	return status;
}

static bool is_far(const struct look *look)
{
	return !look->next_ms || look->next_ms > look->now_ms + LOOK_AGAIN;
}

/* ---------------------------------------------------------------- the two transactions */

static keep_status settle(void *ctx, kp_lease *lease, keep_error *err)
{
	struct look *look = ctx;
	const keep_session *row = look->row;
	kp_value none = kp_null_value(KP_TIME);

	return kp_lease_run(lease, KP_MAILBOX_SETTLE_SESSION,
			    KP_VALUES(kp_text_value(row->id),
				      look->next_ms ? kp_time_value(look->next_ms) : none,
				      look->active_ms ? kp_time_value(look->active_ms) : none,
				      look->heartbeat_ms ? kp_time_value(look->heartbeat_ms) : none,
				      kp_time_value(row->due_at)),
			    NULL, err);
}

static keep_status read_marked(const struct look *look, kp_lease *lease, bool *is_marked,
			       keep_error *err)
{
	int64_t marked = 0;
	bool found = false;
	keep_status status =
		kp_lease_int(lease, KP_MAILBOX_IS_MARKED, KP_VALUES(kp_text_value(look->row->id)),
			     &marked, &found, err);

	*is_marked = marked != 0;
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "session: there is no '%" KP_PRI "'",
				 KP_ARG(look->row->id));
	return status;
}

static keep_status apply_act(void *ctx, kp_lease *lease, keep_error *err)
{
	struct look *look = ctx;
	bool is_marked = false;
	keep_status status = read_marked(look, lease, &is_marked, err);

	*look->out = (kp_swept){.has_input = false};
	if (status == KEEP_OK)
		status = go_through(look, lease, true, err);
	if (status == KEEP_OK && is_marked && is_far(look))
		status = kp_lease_run(lease, KP_MAILBOX_SET_MARKED,
				      KP_VALUES(kp_text_value(look->row->id), kp_bool_value(false)),
				      NULL, err);
	if (status == KEEP_OK && look->mailbox->schema)
		status = settle(look, lease, err);
	return status;
}

/* SQLite: nobody posts while this runs, so the registry is changed inside of it. */
static keep_status apply_settle(void *ctx, kp_lease *lease, keep_error *err)
{
	struct look *look = ctx;
	kp_swept before = *look->out;
	bool is_marked = false;
	keep_status status = read_marked(look, lease, &is_marked, err);

	if (status == KEEP_OK)
		status = go_through(look, lease, false, err);
	look->out->has_output |= before.has_output;
	look->out->is_stale |= before.is_stale;
	/* Somebody marked it anew since: it is looked at once more. */
	if (is_marked && is_far(look))
		look->next_ms = look->now_ms + LOOK_AGAIN;
	return status == KEEP_OK ? kp_registry_change(look->mailbox, settle, look, err) : status;
}

/* What this process remembers of the mark is not so any more. */
static void forget_mark(keep_mailbox *mailbox, keep_bytes session)
{
	kp_open_session *held = NULL;

	if (kp_session_hold(mailbox, session, &held, NULL) == KEEP_OK)
		held->marked = false;
	kp_session_let_go(mailbox, &held);
}

keep_status kp_session_sweep(keep_mailbox *mailbox, const keep_session *row, int64_t now_ms,
			     kp_swept *out, keep_error *err)
{
	struct look look = {.mailbox = mailbox, .row = row, .now_ms = now_ms, .out = out};
	kp_session_change change = {.session = row->id, .mode = KP_SQL_WRITE};
	keep_status status =
		kp_session_heartbeat(mailbox, row->id, now_ms, &look.heartbeat_ms, err);

	*out = (kp_swept){.has_input = false};
	if (status == KEEP_OK)
		status = kp_session_write(mailbox, &change, apply_act, &look, err);
	kp_moment("mailbox.swept");
	if (status == KEEP_OK && !mailbox->schema) {
		status = kp_session_write(mailbox, &change, apply_settle, &look, err);
		forget_mark(mailbox, row->id);
	}
	return status;
}
