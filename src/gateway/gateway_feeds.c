/*
 * gateway_feeds.c - what became of messages, for those who follow: the feed of changes, for all who
 * look on, and the feed of outcomes, for who gave deliveries and must hear of their end.
 *
 * Every statement that inserts or updates messages gives out the next `change`: one more than the
 * newest one of the store, which an index tells. Transactions follow each other (gateway.c), so
 * numbers are given out in the order of commits.
 *
 * An outcome is the delivery itself, as long as its return_to stands; settling takes that away, and
 * with it the row from the index that the feed reads.
 *
 * Invariants:
 *   1. A message's change is greater than every one that was committed before it: who has seen
 *      number n has missed none below it. Messages are never deleted, so no number comes twice.
 *   2. Two messages never have the same change.
 *   3. Whatever becomes of a row but the loss or the renewal of its return_to gives it a new
 * change.
 *   4. Settling is a compare-and-set on the attempts and on being over: an outcome that is not the
 *      last word any more is not taken for it.
 *   5. A wait finds something if and only if the feed has something that can be read.
 *
 * What it does not do: remember who has read how far; that is the reader's number.
 *
 * Tests: tests/contract/test_gateway_feeds.c, tests/contract/test_gateway_feed_costs.c,
 * tests/torture/test_gateway_feeds_faults.c,
 * tests/crash/test_gateway_feeds_crash.c.
 */
#include "gateway/gateway_private.h"

enum { FEED_LIMIT = 100 };

/* ---------------------------------------------------------------- reading on */

struct feed {
	keep_gateway *gateway;
	size_t statement;
	int64_t after, limit;
	bool is_look; /* a wait's: it tells nobody what it passes over */
	keep_memory *memory;
	keep_message *items;
	size_t count;
};

/* A row, or why it is passed over. */
static keep_status read_row(struct feed *feed, kp_sql_stmt *stmt, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status =
		kp_sql_column_int(stmt, kp_message_column("change"), &feed->after, err);

	if (status != KEEP_OK)
		return status;
	status = kp_record_read(stmt, 0, &kp_message_record, &feed->items[feed->count],
				feed->memory, &why);
	if (status == KEEP_OK)
		feed->count++;
	if (status == KEEP_OK || status != KEEP_CORRUPT)
		return status == KEEP_OK ? status : kp_fail(err, status, "%s", why.message);
	if (!feed->is_look)
		kp_log(KEEP_LOG_WARNING, "change %lld is passed over: %s", (long long)feed->after,
		       why.message);
	return KEEP_OK;
}

/* *rows: how many there were, also those that cannot be read. */
static keep_status read_page(struct feed *feed, kp_lease *lease, int64_t wanted, int64_t *rows,
			     keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, feed->statement, KP_VALUES(kp_int_value(feed->after), kp_int_value(wanted)),
		&stmt, err);

	*rows = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && *rows < wanted) {
		(*rows)++;
		status = read_row(feed, stmt, err);
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* Where a page had rows that cannot be read, the next one makes up for them. */
static keep_status query_feed(void *ctx, kp_lease *lease, keep_error *err)
{
	struct feed *feed = ctx;
	int64_t begun_after = feed->after, rows = 1, wanted = feed->limit;
	keep_status status = KEEP_OK;

	feed->count = 0;
	while (status == KEEP_OK && rows && wanted) {
		status = read_page(feed, lease, wanted, &rows, err);
		if (rows < wanted)
			break;
		wanted = feed->limit - (int64_t)feed->count;
	}
	if (status != KEEP_OK)
		feed->after = begun_after; /* it may run once more */
	return status;
}

static keep_status read_feed(struct feed *feed, keep_error *err)
{
	feed->items = kp_arena_alloc(feed->memory, (size_t)feed->limit * sizeof *feed->items);
	if (!feed->items)
		return kp_fail_memory(err, "a list of messages");
	return kp_gateway_read(feed->gateway, query_feed, feed, err);
}

static keep_status list_feed(struct feed *feed, size_t limit, keep_message_list *out,
			     keep_error *err)
{
	keep_status status =
		kp_check_limit(limit, FEED_LIMIT, KEEP_GATEWAY_LIST_MAX, &feed->limit, err);

	if (status == KEEP_OK)
		status = read_feed(feed, err);
	if (status == KEEP_OK)
		*out = (keep_message_list){feed->items, feed->count};
	return status;
}

/* Invariant 5: a look reads one. */
static keep_status look_at_feed(void *ctx, bool *found, int64_t *due_ms, keep_error *err)
{
	const struct feed *waiting = ctx;
	keep_memory memory = KEEP_MEMORY_INIT;
	struct feed feed = *waiting;
	keep_status status;

	(void)due_ms;
	feed.limit = 1;
	feed.is_look = true;
	feed.memory = &memory;
	status = read_feed(&feed, err);
	*found = status == KEEP_OK && feed.count;
	kp_arena_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- changes */

static keep_status check_after(int64_t after_change, keep_error *err)
{
	return after_change < 0 ? kp_fail(err, KEEP_INVALID, "after_change: is below 0") : KEEP_OK;
}

keep_status keep_gateway_changes(keep_gateway *gateway, int64_t after_change, size_t limit,
				 keep_memory *memory, keep_message_list *out, keep_error *err)
{
	struct feed feed = {.gateway = gateway,
			    .statement = KP_GATEWAY_CHANGES,
			    .after = after_change,
			    .memory = memory};
	keep_status status = check_after(after_change, err);

	return status == KEEP_OK ? list_feed(&feed, limit, out, err) : status;
}

static keep_status query_last_change(void *ctx, kp_lease *lease, keep_error *err)
{
	return kp_lease_int(lease, KP_GATEWAY_LAST_CHANGE, NULL, 0, ctx, NULL, err);
}

keep_status keep_gateway_last_change(keep_gateway *gateway, int64_t *change, keep_error *err)
{
	int64_t last = 0;
	keep_status status = kp_gateway_read(gateway, query_last_change, &last, err);

	if (status == KEEP_OK)
		*change = last;
	return status;
}

keep_status keep_gateway_wait_changes(keep_gateway *gateway, int64_t after_change,
				      int64_t timeout_ms, bool *found, keep_error *err)
{
	struct feed feed = {
		.gateway = gateway, .statement = KP_GATEWAY_CHANGES, .after = after_change};
	keep_status status = check_after(after_change, err);

	if (status != KEEP_OK)
		return status;
	return kp_store_wait(&gateway->store, KP_TOPIC_CHANGE, timeout_ms, look_at_feed, &feed,
			     found, err);
}

/* ---------------------------------------------------------------- outcomes */

keep_status keep_gateway_outcomes(keep_gateway *gateway, size_t limit, keep_memory *memory,
				  keep_message_list *out, keep_error *err)
{
	struct feed feed = {.gateway = gateway, .statement = KP_GATEWAY_OUTCOMES, .memory = memory};

	return list_feed(&feed, limit, out, err);
}

keep_status keep_gateway_wait_outcomes(keep_gateway *gateway, int64_t timeout_ms, bool *found,
				       keep_error *err)
{
	struct feed feed = {.gateway = gateway, .statement = KP_GATEWAY_OUTCOMES};

	return kp_store_wait(&gateway->store, KP_TOPIC_DELIVERY, timeout_ms, look_at_feed, &feed,
			     found, err);
}

struct settlement {
	keep_bytes jid, id;
	int64_t attempts;
};

/* It was settled before, or this is why not. */
static keep_status judge_unsettled(const struct settlement *settlement, kp_lease *lease,
				   keep_error *err)
{
	enum { ATTEMPTS, IS_SETTLED };
	kp_sql_stmt *stmt = NULL;
	kp_value is_settled = {.is_null = true};
	int64_t attempts = 0;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_PROBE_OUTCOME,
		KP_VALUES(kp_text_value(settlement->jid), kp_text_value(settlement->id)), &stmt,
		err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_int(stmt, ATTEMPTS, &attempts, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, IS_SETTLED, KP_BOOL, &is_settled, err);
	kp_sql_reset(stmt);
	if (status != KEEP_OK)
		return status;
	if (!has_row)
		return kp_fail(err, KEEP_NOT_FOUND,
			       "chat '%" KP_PRI "' has no message '%" KP_PRI "'",
			       KP_ARG(settlement->jid), KP_ARG(settlement->id));
	if (attempts == settlement->attempts && is_settled.integer)
		return KEEP_OK;
	return kp_fail(
		err, KEEP_CONFLICT,
		"delivery '%" KP_PRI "' of chat '%" KP_PRI "': it is not over with attempt %lld",
		KP_ARG(settlement->id), KP_ARG(settlement->jid), (long long)settlement->attempts);
}

/* Invariant 4. */
static keep_status apply_settlement(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct settlement *settlement = ctx;
	int64_t changes = 0;
	keep_status status = kp_lease_run(lease, KP_GATEWAY_SETTLE_OUTCOME,
					  KP_VALUES(kp_text_value(settlement->jid),
						    kp_text_value(settlement->id),
						    kp_int_value(settlement->attempts)),
					  &changes, err);

	if (status != KEEP_OK || changes)
		return status;
	/* Nothing was changed: others in the transaction go on. */
	status = judge_unsettled(settlement, lease, err);
	lease->unchanged = status == KEEP_OK || status == KEEP_NOT_FOUND || status == KEEP_CONFLICT;
	return status;
}

keep_status keep_gateway_settle_outcome(keep_gateway *gateway, keep_bytes jid, keep_bytes id,
					int64_t attempts, keep_error *err)
{
	struct settlement settlement = {jid, id, attempts};
	keep_status status = kp_check_key("chat_jid", jid, err);

	if (status == KEEP_OK)
		status = kp_check_key("id", id, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_settlement, &settlement, KP_NEWS_NONE, err);
}
