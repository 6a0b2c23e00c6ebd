/*
 * delivery_claim.c - claiming deliveries: which are due, and who gets them.
 *
 * One transaction finds what is due, leases it and answers it. The drawing and the invariants that
 * both files keep are in gateway_deliveries.c; here are also:
 *
 * Invariants:
 *   1. A delivery is claimed only when all earlier ones of its chat that are pending or sending are
 *      claimed with it. What is claimed of a chat at once is answered in order.
 *   2. What somebody else damaged holds up nobody: a delivery that cannot be read is failed by the
 *      claim that finds it, with why, and a row of delivery_queues without a delivery is removed.
 *
 * What it does not do: the steps after a claim (gateway_deliveries.c).
 *
 * Tests: tests/contract/test_gateway_delivery_claims.c,
 * tests/torture/test_gateway_deliveries_faults.c,
 * tests/torture/test_gateway_places.c, tests/crash/test_gateway_deliveries_crash.c.
 */
#include "gateway/gateway_deliveries.h"

#include <stdlib.h>
#include <string.h>

enum { CLAIM_LIMIT = 50, OWNERS_MAX = 1000, SHARES_GROW = 4 };

/* A delivery that may be claimed, with what its compare-and-set compares. */
struct due {
	keep_bytes jid; /* in the claim's own memory */
	int64_t seq, attempts;
	const char *status;
	size_t place;   /* in the answer */
	keep_bytes why; /* it cannot be read; absent: it can */
};

struct claim {
	const keep_gateway *gateway;
	keep_bytes channel;
	int64_t limit, until, now_ms;
	struct due *due;
	size_t count;
	size_t unreadable;   /* of them */
	bool is_due;         /* there may be something to claim */
	keep_memory texts;   /* of `due` */
	keep_memory *memory; /* of the answer */
	keep_message_list list;
};

static keep_status end_leases(kp_lease *lease, keep_bytes owner, int64_t now_ms, keep_error *err)
{
	keep_status status =
		kp_lease_queue(lease, KP_GATEWAY_END_LEASES_OF_OWNER,
			       KP_VALUES(kp_text_value(owner), kp_time_value(now_ms)), err);

	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_RENEW_QUEUES_OF_OWNER,
					KP_VALUES(kp_text_value(owner)), err);
	return status;
}

/* Those whose processes are gone, in `texts`. */
static keep_status find_dead_owners(struct claim *claim, kp_lease *lease, keep_bytes *dead,
				    size_t *count, keep_error *err)
{
	keep_bytes own = keep_bytes_of(claim->gateway->owner);
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_DELIVERY_OWNERS, NULL, 0, &stmt, err);
	bool has_row = true;

	*count = 0;
	while (status == KEEP_OK && *count < OWNERS_MAX) {
		keep_bytes owner;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &owner, err);
		if (status != KEEP_OK || kp_bytes_equal(owner, own) ||
		    kp_owner_check(owner, INT64_MAX, 0) != KP_OWNER_GONE)
			continue;
		status = kp_arena_copy(&claim->texts, owner, &dead[(*count)++], err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* What dead processes were sending is due at once. */
static keep_status end_dead_leases(struct claim *claim, kp_lease *lease, keep_error *err)
{
	keep_bytes *dead = kp_arena_alloc(&claim->texts, OWNERS_MAX * sizeof *dead);
	size_t count = 0;
	keep_status status = KEEP_OK;

	if (!dead)
		return kp_fail_memory(err, "a claim");
	status = find_dead_owners(claim, lease, dead, &count, err);
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = end_leases(lease, dead[i], claim->now_ms, err);
	return status;
}

/* One row of due_deliveries; *round: its place among those of its chat, from 1. */
static keep_status read_due(struct claim *claim, kp_sql_stmt *stmt, struct due *due, int64_t *round,
			    keep_error *err)
{
	enum { JID, SEQ, ATTEMPTS, STATUS, PLACE };
	keep_bytes text = {0};
	keep_status status = kp_sql_column_bytes(stmt, STATUS, KP_TEXT, &text, err);

	if (status == KEEP_OK) {
		due->status = kp_delivery_claimable(text);
		if (!due->status)
			return kp_fail(err, KEEP_CORRUPT, "a queued delivery is %" KP_PRI,
				       KP_ARG(text));
		status = kp_sql_column_int(stmt, SEQ, &due->seq, err);
	}
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, ATTEMPTS, &due->attempts, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, PLACE, round, err);
	if (status == KEEP_OK)
		status = kp_sql_column_bytes(stmt, JID, KP_TEXT, &text, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(&claim->texts, text, &due->jid, err);
	return status;
}

/* *last_round: so many of one chat are due, at least. */
static keep_status read_dues(struct claim *claim, kp_sql_stmt *stmt, int64_t *chats,
			     int64_t *last_round, keep_error *err)
{
	bool has_row = false;
	int64_t round = 0;
	keep_status status = kp_sql_step(stmt, &has_row, err);

	claim->count = 0;
	*chats = *last_round = 0;
	while (status == KEEP_OK && has_row && claim->count < (size_t)claim->limit) {
		struct due *due = &claim->due[claim->count];

		*due = (struct due){.place = claim->count};
		status = read_due(claim, stmt, due, &round, err);
		if (status != KEEP_OK)
			break;
		claim->count++;
		*chats += round == 1;
		*last_round = round;
		status = kp_sql_step(stmt, &has_row, err);
	}
	return status;
}

static keep_status find_dues(struct claim *claim, kp_lease *lease, keep_error *err)
{
	size_t statement = claim->channel.data ? KP_GATEWAY_DUE_DELIVERIES_OF_CHANNEL
					       : KP_GATEWAY_DUE_DELIVERIES;
	keep_status status = KEEP_OK;
	bool cut = true;

	/* Where some chats have few, others get more. */
	for (int64_t times = 1; cut && status == KEEP_OK; times *= SHARES_GROW) {
		const kp_value values[] = {kp_time_value(claim->now_ms), kp_int_value(claim->limit),
					   kp_int_value(times), kp_text_value(claim->channel)};
		kp_sql_stmt *stmt = NULL;
		int64_t chats = 0, last_round = 0;

		status = kp_lease_bind(lease, statement, values, claim->channel.data ? 4 : 3, &stmt,
				       err);
		if (status == KEEP_OK)
			status = read_dues(claim, stmt, &chats, &last_round, err);
		kp_sql_reset(stmt);
		cut = chats > 0 && claim->count < (size_t)claim->limit &&
		      last_round > times * (claim->limit / chats);
	}
	return status;
}

static keep_status write_keys(const struct claim *claim, keep_buffer *keys, keep_error *err)
{
	kp_json_writer writer;

	kp_json_begin(&writer, keys);
	kp_json_open_array(&writer);
	for (size_t i = 0; i < claim->count; i++) {
		kp_json_open_array(&writer);
		kp_json_put_text(&writer, claim->due[i].jid);
		kp_json_put_integer(&writer, claim->due[i].seq);
		kp_json_put_integer(&writer, claim->due[i].attempts);
		kp_json_put_text(&writer, keep_bytes_of(claim->due[i].status));
		kp_json_close_array(&writer);
	}
	kp_json_close_array(&writer);
	return kp_json_finish(&writer, err);
}

static int compare_keys(keep_bytes jid, int64_t seq, const struct due *due)
{
	int order = kp_bytes_compare(jid, due->jid);

	return order ? order : (seq > due->seq) - (seq < due->seq);
}

static int compare_dues(const void *a, const void *b)
{
	return compare_keys(((const struct due *)a)->jid, ((const struct due *)a)->seq, b);
}

static int find_key(const void *key, const void *due)
{
	return compare_keys(((const struct due *)key)->jid, ((const struct due *)key)->seq, due);
}

/* The due one that the row is of; NULL: none. */
static keep_status find_claimed(const struct claim *claim, kp_sql_stmt *stmt, struct due **due,
				keep_error *err)
{
	struct due key = {.place = 0};
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &key.jid, err);

	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, kp_message_column("seq"), &key.seq, err);
	*due = status != KEEP_OK
		       ? NULL
		       : bsearch(&key, claim->due, claim->count, sizeof *claim->due, find_key);
	return status;
}

static keep_status read_one(struct claim *claim, kp_sql_stmt *stmt, size_t *read, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_message message;
	struct due *due = NULL;
	keep_status status = find_claimed(claim, stmt, &due, err);

	if (status != KEEP_OK || !due)
		return status;
	(*read)++;
	status = kp_record_read(stmt, 0, &kp_message_record, &message, claim->memory, &why);
	if (status == KEEP_OK)
		claim->list.items[due->place] = message;
	if (status == KEEP_OK)
		return KEEP_OK;
	if (status != KEEP_CORRUPT)
		return kp_fail(err, status, "%s", why.message);
	claim->unreadable++;
	return kp_arena_copy(&claim->texts, keep_bytes_of(why.message), &due->why, err);
}

/* The claimed rows come in no order; each gets its place. */
static keep_status read_claimed(struct claim *claim, kp_sql_stmt *stmt, keep_error *err)
{
	size_t read = 0;
	bool has_row = false;
	keep_status status = kp_sql_step(stmt, &has_row, err);

	qsort(claim->due, claim->count, sizeof *claim->due, compare_dues);
	while (status == KEEP_OK && has_row) {
		status = read_one(claim, stmt, &read, err);
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	if (status == KEEP_OK && read != claim->count)
		return kp_fail(err, KEEP_CORRUPT, "%zu of %zu due deliveries could be claimed",
			       read, claim->count);
	return status;
}

/* Invariant 2. The place in the answer stays empty for now. */
static keep_status fail_unreadable(struct claim *claim, kp_lease *lease, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < claim->count && status == KEEP_OK; i++) {
		const struct due *due = &claim->due[i];
		kp_value jid = kp_text_value(due->jid);

		if (!due->why.data)
			continue;
		kp_log(KEEP_LOG_WARNING, "chat '%" KP_PRI "', delivery %lld has failed: %" KP_PRI,
		       KP_ARG(due->jid), (long long)due->seq, KP_ARG(due->why));
		claim->list.items[due->place].seq = 0;
		status = kp_lease_queue(
			lease, KP_GATEWAY_FAIL_UNREADABLE_DELIVERY,
			KP_VALUES(jid, kp_int_value(due->seq), kp_text_value(due->why)), err);
		if (status == KEEP_OK)
			status = kp_lease_queue(lease, KP_GATEWAY_END_QUEUE, &jid, 1, err);
		if (status == KEEP_OK)
			status = kp_lease_queue(lease, KP_GATEWAY_RENEW_QUEUE, &jid, 1, err);
	}
	return status;
}

/* Without those that were failed. */
static void close_gaps(struct claim *claim)
{
	size_t kept = 0;

	for (size_t i = 0; i < claim->count; i++)
		if (claim->list.items[i].seq)
			claim->list.items[kept++] = claim->list.items[i];
	claim->list.count = kept;
}

static keep_status lease_dues(struct claim *claim, kp_lease *lease, keep_error *err)
{
	keep_buffer keys = KEEP_BUFFER_INIT;
	kp_sql_stmt *stmt = NULL;
	kp_value until = kp_time_value(claim->until);
	keep_status status = write_keys(claim, &keys, err);

	if (status == KEEP_OK)
		status = kp_lease_bind(
			lease, KP_GATEWAY_CLAIM_DELIVERIES,
			KP_VALUES(kp_json_value(kp_buffer_bytes(&keys)), until,
				  kp_text_value(keep_bytes_of(claim->gateway->service)),
				  kp_text_value(keep_bytes_of(claim->gateway->owner))),
			&stmt, err);
	if (status == KEEP_OK)
		status = read_claimed(claim, stmt, err);
	keep_buffer_release(&keys);
	for (size_t i = 0; i < claim->count && status == KEEP_OK; i++) {
		if (i && kp_bytes_equal(claim->due[i].jid, claim->due[i - 1].jid))
			continue;
		status = kp_lease_queue(lease, KP_GATEWAY_LEASE_QUEUE,
					KP_VALUES(kp_text_value(claim->due[i].jid), until), err);
	}
	if (status == KEEP_OK && claim->unreadable)
		status = fail_unreadable(claim, lease, err);
	if (status == KEEP_OK)
		close_gaps(claim);
	return status;
}

/* A round of a claim; *again: it took away what was in the way, and answers nothing. */
static keep_status claim_once(struct claim *claim, kp_lease *lease, bool *again, keep_error *err)
{
	int64_t removed = 0;
	keep_status status = find_dues(claim, lease, err);

	claim->list.count = claim->unreadable = 0;
	if (status == KEEP_OK && claim->count)
		status = lease_dues(claim, lease, err);
	else if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_GATEWAY_END_EMPTY_QUEUES,
				      KP_VALUES(kp_time_value(claim->now_ms)), &removed, err);
	*again = status == KEEP_OK && !claim->list.count && (claim->unreadable || removed);
	return status;
}

static keep_status apply_claim(void *ctx, kp_lease *lease, keep_error *err)
{
	struct claim *claim = ctx;
	bool again = true;
	keep_status status = KEEP_OK;

	kp_arena_release(&claim->texts);
	status = end_dead_leases(claim, lease, err);
	while (status == KEEP_OK && again)
		status = claim_once(claim, lease, &again, err);
	return status;
}

/* A look before the change: mostly nothing is due, and nothing is to be locked for that. */
static keep_status query_due(void *ctx, kp_lease *lease, keep_error *err)
{
	struct claim *claim = ctx;
	keep_bytes *dead = kp_arena_alloc(&claim->texts, OWNERS_MAX * sizeof *dead);
	const kp_value channel = kp_text_value(claim->channel);
	kp_value due = kp_null_value(KP_TIME);
	kp_sql_stmt *stmt = NULL;
	size_t dead_count = 0;
	bool has_row = false;
	keep_status status = dead ? find_dead_owners(claim, lease, dead, &dead_count, err)
				  : kp_fail_memory(err, "a claim");

	if (status == KEEP_OK)
		status = kp_lease_bind(lease,
				       channel.is_null ? KP_GATEWAY_DELIVERIES_DUE_ANYWHERE
						       : KP_GATEWAY_DELIVERIES_DUE,
				       &channel, channel.is_null ? 0 : 1, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, 0, KP_TIME, &due, err);
	kp_sql_reset(stmt);
	claim->is_due = dead_count || (!due.is_null && due.integer <= claim->now_ms);
	return status;
}

static keep_status check_channel(keep_bytes channel, keep_error *err)
{
	return kp_check_text("channel", channel, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT, err);
}

keep_status keep_gateway_claim_deliveries(keep_gateway *gateway, keep_bytes channel, size_t limit,
					  int64_t lease_ms, int64_t now_ms, keep_memory *memory,
					  keep_message_list *out, keep_error *err)
{
	struct claim claim = {.gateway = gateway,
			      .channel = channel,
			      .now_ms = kp_gateway_now(now_ms),
			      .memory = memory};
	size_t room = 0;
	keep_status status = check_channel(channel, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, CLAIM_LIMIT, KEEP_GATEWAY_LIST_MAX, &claim.limit,
					err);
	if (status == KEEP_OK)
		status = kp_delivery_check_lease(lease_ms, claim.now_ms, &claim.until, err);
	if (status != KEEP_OK)
		return status;
	room = (size_t)claim.limit;
	claim.due = kp_alloc_zero(room * sizeof *claim.due);
	claim.list.items = kp_arena_alloc(memory, room * sizeof *claim.list.items);
	if (!claim.due || !claim.list.items)
		status = kp_fail_memory(err, "a claim");
	if (status == KEEP_OK)
		status = kp_gateway_read(gateway, query_due, &claim, err);
	if (status == KEEP_OK && (claim.is_due || gateway->store.read_only))
		status = kp_gateway_change(gateway, apply_claim, &claim, KP_NEWS_CHANGE, err);
	if (status == KEEP_OK)
		*out = claim.list;
	kp_arena_release(&claim.texts);
	kp_free(claim.due);
	return status;
}
