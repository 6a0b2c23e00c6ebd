/*
 * audit_seal.c - retention of the audit log: the oldest entries go, and what went is sealed.
 *
 * Removing entries from the beginning would leave a chain that begins in the air. So the
 * transaction that removes them writes their numbers, the hash of the last one and a hash over all
 * of them into audit_anchors, and the same facts as an entry of the chain itself, `audit_sealed`.
 * The rest then follows from the anchor, and whoever moves or removes the anchor contradicts an
 * entry that the chain protects.
 *
 * Invariants:
 *   1. What is removed is a beginning: the entries with the smallest numbers, all older than the
 *      given time. The first younger one ends it, even when older ones are behind it. An entry that
 *      is dated after the day of the removal says nothing of its age, and goes with older ones
 *      around it.
 *   2. There is one anchor. It grows: its last_seq and last_hash move on, and removed_hash becomes
 *      the hash of what it was and the hashes that were removed now. The entry that it names is the
 *      newest audit_sealed one, so retention never removes it before there is another.
 *   3. Nothing to remove: nothing is written.
 *   4. What does not follow from the entry before it is not removed: CORRUPT. Retention destroys no
 *      evidence.
 *
 * What it does not do: decide how old is old (retention does), or begin a transaction.
 *
 * Tests: tests/contract/test_assistant_audit_chain.c, tests/torture/test_assistant_audit_faults.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>

#define DAY_MS INT64_C(86400000)

keep_status kp_audit_anchor_json(const keep_audit_anchor *anchor, keep_buffer *out, keep_error *err)
{
	kp_json_writer writer;

	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "first_seq");
	kp_json_put_integer(&writer, anchor->first_seq);
	kp_json_name(&writer, "last_seq");
	kp_json_put_integer(&writer, anchor->last_seq);
	kp_json_name(&writer, "last_hash");
	kp_json_put_text(&writer, anchor->last_hash);
	kp_json_name(&writer, "removed_hash");
	kp_json_put_text(&writer, anchor->removed_hash);
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

int64_t kp_audit_ahead(int64_t now_ms)
{
	return now_ms > KEEP_TIME_MAX - DAY_MS ? KEEP_TIME_MAX : now_ms + DAY_MS;
}

/* Whether the first entry behind `seq` that is not dated ahead is old. */
static keep_status is_old_behind(kp_lease *lease, int64_t seq, int64_t before_ms, int64_t now_ms,
				 bool *is_old, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value time = {.is_null = true};
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, KP_ASSISTANT_NEXT_DATED_AUDIT_ENTRY,
		KP_VALUES(kp_int_value(seq), kp_time_value(kp_audit_ahead(now_ms))), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, 0, KP_TIME, &time, err);
	*is_old = status == KEEP_OK && !time.is_null && time.integer < before_ms;
	kp_sql_reset(stmt);
	return status;
}

/* Invariant 1: how many of a batch go. Of those at its end that are dated ahead, what is behind
   the batch decides. */
static keep_status count_old(kp_lease *lease, const kp_audit_batch *batch, int64_t before_ms,
			     int64_t now_ms, size_t *old, keep_error *err)
{
	bool is_old = false;
	keep_status status = KEEP_OK;

	*old = 0;
	for (size_t i = 0; i < batch->count; i++) {
		int64_t time_ms = batch->items[i].timestamp;

		if (time_ms < before_ms)
			*old = i + 1;
		else if (time_ms <= kp_audit_ahead(now_ms))
			return KEEP_OK;
	}
	if (*old < batch->count)
		status = is_old_behind(lease, batch->items[batch->count - 1].seq, before_ms, now_ms,
				       &is_old, err);
	if (is_old)
		*old = batch->count;
	return status;
}

/* Invariant 4. */
static keep_status check_chain(const keep_audit_anchor *before, const keep_audit_entry *entries,
			       size_t count, keep_error *err)
{
	const char *why = NULL;
	keep_status status = KEEP_OK;
	kp_audit_link link;

	kp_audit_begin(&link);
	if (before->last_seq) {
		link.seq = before->last_seq;
		snprintf(link.hash, sizeof link.hash, "%.*s", (int)before->last_hash.len,
			 before->last_hash.data);
	}
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = kp_audit_follow(&link, &entries[i], &why, err);
		if (status == KEEP_OK && why)
			status = kp_fail(err, KEEP_CORRUPT,
					 "audit_log: entry %lld is not removed: %s",
					 (long long)entries[i].seq, why);
	}
	return status;
}

/* Invariant 2. */
static keep_status hash_removed(const keep_audit_anchor *before, const keep_audit_entry *entries,
				size_t count, char out[KP_AUDIT_HASH_SIZE], keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_buffer hashes = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append(&hashes, kp_text_or(before->removed_hash, ""), err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = kp_buffer_append(&hashes, entries[i].hash, err);
	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(&hashes), digest, err);
	if (status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, out);
	keep_buffer_release(&hashes);
	return status;
}

static keep_status add_sealed_entry(kp_lease *lease, keep_audit_anchor *anchor, keep_error *err)
{
	keep_buffer details = KEEP_BUFFER_INIT;
	keep_audit_entry entry = {
		.timestamp = anchor->removed_at,
		.event_type = KEEP_BYTES(KP_AUDIT_SEALED),
		.action = KEEP_BYTES("remove"),
		.success = true,
		.has_success = true,
	};
	keep_status status = kp_audit_anchor_json(anchor, &details, err);

	entry.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_audit_append(lease, &entry, err);
	anchor->entry_seq = entry.seq;
	keep_buffer_release(&details);
	return status;
}

static keep_status seal(kp_lease *lease, const keep_audit_anchor *before,
			const keep_audit_entry *entries, size_t count, int64_t now_ms,
			keep_error *err)
{
	char removed_hash[KP_AUDIT_HASH_SIZE];
	keep_audit_anchor anchor = {
		.first_seq = before->last_seq ? before->first_seq : entries[0].seq,
		.last_seq = entries[count - 1].seq,
		.last_hash = entries[count - 1].hash,
		.removed_at = now_ms,
	};
	keep_status status = check_chain(before, entries, count, err);

	if (status == KEEP_OK)
		status = hash_removed(before, entries, count, removed_hash, err);
	anchor.removed_hash = keep_bytes_of(removed_hash);
	if (status == KEEP_OK)
		status = add_sealed_entry(lease, &anchor, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(
			lease, KP_ASSISTANT_PUT_AUDIT_ANCHOR,
			KP_VALUES(kp_int_value(anchor.first_seq), kp_int_value(anchor.last_seq),
				  kp_text_value(anchor.last_hash), kp_time_value(anchor.removed_at),
				  kp_text_value(anchor.removed_hash),
				  kp_int_value(anchor.entry_seq)),
			err);
	if (status == KEEP_OK)
		status = kp_lease_run(
			lease, KP_ASSISTANT_REMOVE_AUDIT_ENTRIES,
			KP_VALUES(kp_int_value(before->last_seq), kp_int_value(anchor.last_seq)),
			NULL, err);
	return status;
}

/* One batch; *removed is raised by what it removed, *more: there may be more of the same. */
static keep_status seal_batch(kp_lease *lease, int64_t before_ms, size_t limit, int64_t now_ms,
			      int64_t *removed, bool *more, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_audit_anchor *anchors = NULL, none = {.first_seq = 0};
	size_t anchor_count = 0, count = 0;
	kp_audit_batch batch = {.count = 0};
	int64_t wanted = limit < KP_AUDIT_BATCH ? (int64_t)limit : KP_AUDIT_BATCH;
	keep_status status =
		kp_lease_list(lease, KP_ASSISTANT_LIST_AUDIT_ANCHORS, NULL, 0,
			      &kp_audit_anchor_record, &arena, &anchors, &anchor_count, err);

	if (status == KEEP_OK)
		status = kp_audit_read(
			lease, KP_ASSISTANT_AUDIT_BEHIND,
			KP_VALUES(kp_int_value(anchor_count ? anchors[0].last_seq : 0),
				  kp_int_value(wanted)),
			&arena, &batch, err);
	if (status == KEEP_OK && batch.is_broken)
		status = kp_fail(err, KEEP_CORRUPT, "audit_log: entry %lld: %s",
				 (long long)batch.broken_seq, batch.why.message);
	if (status == KEEP_OK)
		status = count_old(lease, &batch, before_ms, now_ms, &count, err);
	if (status == KEEP_OK && count)
		status = seal(lease, anchor_count ? anchors : &none, batch.items, count, now_ms,
			      err);
	*removed += (int64_t)count;
	*more = count > 0 && count == batch.count && !batch.is_last;
	kp_arena_release(&arena);
	return status;
}

keep_status kp_audit_seal(kp_lease *lease, int64_t before_ms, size_t limit, int64_t now_ms,
			  int64_t *removed, keep_error *err)
{
	keep_status status = KEEP_OK;
	bool more = limit > 0;

	*removed = 0;
	while (status == KEEP_OK && more && (size_t)*removed < limit)
		status = seal_batch(lease, before_ms, limit - (size_t)*removed, now_ms, removed,
				    &more, err);
	return status;
}
