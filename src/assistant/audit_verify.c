/*
 * audit_verify.c - is the audit log whole? Its chain is followed from the beginning to its end.
 *
 * First, in one moment, are read: where the chain ends (audit_heads), what retention removed from
 * its beginning (audit_anchors), and the largest number there is. Then the entries, a batch at a
 * time, each batch in a read of its own, so that writers go on and the log of the file does not
 * grow while somebody looks.
 *
 * Invariants:
 *   1. Intact means: the first entry follows from the anchor, or is number 1; every other follows
 *      from the one before; the last one is what audit_heads says, and was the last one there; and
 *      the entry that the anchor names says the same as the anchor.
 *   2. Memory is bounded by a batch, whatever the length of the log.
 *   3. Retention that removes entries while they are followed is no fault: when something does not
 *      fit and the anchor has moved since, it begins again, a few times.
 *   4. What cannot be read as an entry is a broken entry, and no failure.
 *
 * What it does not do: find out that whole tail and head were put back together to an older state.
 * Whoever must know that keeps an export, or the newest hash, elsewhere.
 *
 * Tests: tests/contract/test_assistant_audit_chain.c, tests/unit/test_audit_chain.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>

enum { RESTARTS = 8, REASON_SIZE = 400 };

struct walk {
	kp_arena arena; /* of the anchor */
	bool has_head, has_anchor;
	size_t anchor_count;
	kp_audit_link head; /* where it is to end */
	int64_t last_seq;   /* the largest number, when it began */
	keep_audit_anchor anchor;
	kp_audit_link link;
	int64_t after_seq, first_seq; /* read so far; the first entry there is */
	bool is_told;                 /* the entry that the anchor names was there */
	kp_arena rows;
	kp_audit_batch batch;
	/* The answer. */
	int64_t checked;
	bool is_broken;
	int64_t broken_seq;
	char reason[REASON_SIZE];
};

static void say_broken(struct walk *walk, int64_t seq, const char *why)
{
	walk->is_broken = true;
	walk->broken_seq = seq;
	snprintf(walk->reason, sizeof walk->reason, "entry %lld: %s", (long long)seq, why);
}

/* ---------------------------------------------------------------- what it begins with */

static keep_status read_head(struct walk *walk, kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_bytes hash = {NULL, 0};
	keep_status status = kp_lease_bind(lease, KP_ASSISTANT_GET_AUDIT_HEAD, NULL, 0, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &walk->has_head, err);
	if (status == KEEP_OK && walk->has_head)
		status = kp_sql_column_int(stmt, 0, &walk->head.seq, err);
	if (status == KEEP_OK && walk->has_head)
		status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &hash, err);
	if (status == KEEP_OK && walk->has_head)
		snprintf(walk->head.hash, sizeof walk->head.hash, "%.*s", (int)hash.len, hash.data);
	kp_sql_reset(stmt);
	return status;
}

static keep_status read_anchor(struct walk *walk, kp_lease *lease, keep_error *err)
{
	keep_audit_anchor *anchors = NULL;
	keep_status status = kp_lease_list(lease, KP_ASSISTANT_LIST_AUDIT_ANCHORS, NULL, 0,
					   &kp_audit_anchor_record, &walk->arena, &anchors,
					   &walk->anchor_count, err);

	walk->has_anchor = status == KEEP_OK && walk->anchor_count > 0;
	walk->anchor = walk->has_anchor ? anchors[0] : (keep_audit_anchor){.first_seq = 0};
	return status;
}

static keep_status begin_walk(void *ctx, kp_lease *lease, keep_error *err)
{
	struct walk *walk = ctx;
	keep_status status;

	kp_arena_release(&walk->arena);
	*walk = (struct walk){.after_seq = INT64_MIN};
	kp_audit_begin(&walk->link);
	status = read_head(walk, lease, err);
	if (status == KEEP_OK)
		status = read_anchor(walk, lease, err);
	if (status == KEEP_OK)
		status = kp_lease_int(lease, KP_ASSISTANT_LAST_AUDIT_SEQ, NULL, 0, &walk->last_seq,
				      NULL, err);
	if (status == KEEP_OK && walk->has_anchor) {
		walk->link.seq = walk->anchor.last_seq;
		snprintf(walk->link.hash, sizeof walk->link.hash, "%.*s",
			 (int)walk->anchor.last_hash.len, walk->anchor.last_hash.data);
	}
	return status;
}

/* What is wrong before any entry was read. */
static void check_beginning(struct walk *walk)
{
	const keep_audit_anchor *anchor = &walk->anchor;

	if (!walk->has_head)
		say_broken(walk, walk->last_seq + 1, "audit_heads does not say where the log ends");
	else if (walk->last_seq > walk->head.seq)
		say_broken(walk, walk->head.seq + 1, "it is behind the end that audit_heads says");
	else if (walk->anchor_count > 1)
		say_broken(walk, anchor->last_seq + 1, "audit_anchors has more than one row");
	else if (walk->has_anchor &&
		 (anchor->first_seq != 1 || anchor->last_seq < anchor->first_seq ||
		  anchor->entry_seq <= anchor->last_seq || anchor->entry_seq > walk->head.seq))
		say_broken(walk, anchor->last_seq + 1, "the anchor before it is none");
}

/* ---------------------------------------------------------------- entries */

static keep_status read_batch(void *ctx, kp_lease *lease, keep_error *err)
{
	struct walk *walk = ctx;

	return kp_audit_read(lease, KP_ASSISTANT_AUDIT_BEHIND,
			     KP_VALUES(kp_int_value(walk->after_seq), kp_int_value(KP_AUDIT_BATCH)),
			     &walk->rows, &walk->batch, err);
}

/* Invariant 1, its last part. */
static keep_status compare_anchor(struct walk *walk, const keep_audit_entry *entry, keep_error *err)
{
	keep_buffer facts = KEEP_BUFFER_INIT;
	keep_status status = kp_audit_anchor_json(&walk->anchor, &facts, err);

	walk->is_told = true;
	if (status == KEEP_OK && (!kp_bytes_equal(entry->event_type, KEEP_BYTES(KP_AUDIT_SEALED)) ||
				  !kp_bytes_equal(entry->details, kp_buffer_bytes(&facts)) ||
				  entry->timestamp != walk->anchor.removed_at))
		say_broken(walk, walk->first_seq,
			   "the anchor before it is not what the log says was removed");
	keep_buffer_release(&facts);
	return status;
}

static keep_status check_entry(struct walk *walk, const keep_audit_entry *entry, keep_error *err)
{
	const char *why = NULL;
	keep_status status = kp_audit_follow(&walk->link, entry, &why, err);

	if (!walk->checked)
		walk->first_seq = entry->seq;
	if (status == KEEP_OK && why)
		say_broken(walk, entry->seq, why);
	else if (status == KEEP_OK)
		walk->checked++;
	if (status == KEEP_OK && !why && walk->has_anchor && entry->seq == walk->anchor.entry_seq)
		status = compare_anchor(walk, entry, err);
	return status;
}

static keep_status check_batch(struct walk *walk, bool *is_done, keep_error *err)
{
	const kp_audit_batch *batch = &walk->batch;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < batch->count && status == KEEP_OK && !walk->is_broken; i++) {
		if (batch->items[i].seq > walk->head.seq) {
			*is_done = true;
			return KEEP_OK;
		}
		walk->after_seq = batch->items[i].seq;
		status = check_entry(walk, &batch->items[i], err);
	}
	/* Invariant 4. */
	if (status == KEEP_OK && !walk->is_broken && batch->is_broken) {
		if (batch->broken_seq > walk->head.seq)
			*is_done = true;
		else
			say_broken(walk, batch->broken_seq, batch->why.message);
	}
	*is_done |= batch->is_last;
	return status;
}

static void check_end(struct walk *walk)
{
	if (walk->link.seq < walk->head.seq)
		say_broken(walk, walk->link.seq + 1, "it and what was behind it are missing");
	else if (walk->link.seq > walk->head.seq)
		say_broken(walk, walk->head.seq + 1, "it is behind the end that audit_heads says");
	else if (strcmp(walk->link.hash, walk->head.hash) != 0)
		say_broken(walk, walk->head.seq, "audit_heads says another hash");
	else if (walk->has_anchor && !walk->is_told)
		say_broken(walk, walk->anchor.last_seq + 1, "the anchor before it is none");
}

static keep_status follow_chain(keep_assistant *assistant, struct walk *walk, keep_error *err)
{
	bool is_done = false;
	keep_status status = kp_store_read_whole(&assistant->store, begin_walk, walk, err);

	if (status == KEEP_OK)
		check_beginning(walk);
	while (status == KEEP_OK && !walk->is_broken && !is_done) {
		status = kp_store_read(&assistant->store, read_batch, walk, err);
		if (status == KEEP_OK)
			status = check_batch(walk, &is_done, err);
		kp_arena_release(&walk->rows);
	}
	kp_arena_release(&walk->rows);
	if (status == KEEP_OK && !walk->is_broken)
		check_end(walk);
	return status;
}

/* ---------------------------------------------------------------- the answer */

static keep_status read_anchor_again(void *ctx, kp_lease *lease, keep_error *err)
{
	return read_anchor(ctx, lease, err);
}

/* Invariant 3. */
static keep_status has_moved(keep_assistant *assistant, const struct walk *walk, bool *moved,
			     keep_error *err)
{
	struct walk now = {.has_anchor = false};
	keep_status status = kp_store_read(&assistant->store, read_anchor_again, &now, err);

	*moved = status == KEEP_OK && now.anchor.last_seq > walk->anchor.last_seq;
	kp_arena_release(&now.arena);
	return status;
}

keep_status keep_assistant_verify_audit(keep_assistant *assistant, keep_memory *memory,
					keep_audit_report *out, keep_error *err)
{
	struct walk walk = {.has_head = false};
	keep_audit_report report = {.is_intact = true};
	keep_status status = KEEP_OK;
	bool again = true;

	for (int i = 0; i < RESTARTS && status == KEEP_OK && again; i++) {
		again = false;
		status = follow_chain(assistant, &walk, err);
		if (status == KEEP_OK && walk.is_broken)
			status = has_moved(assistant, &walk, &again, err);
	}
	if (status == KEEP_OK && again)
		status = kp_fail(err, KEEP_BUSY,
				 "the audit log: retention removes entries faster "
				 "than they are followed");
	if (status == KEEP_OK) {
		report.checked = walk.checked;
		report.anchors = (int64_t)walk.anchor_count;
		report.is_intact = !walk.is_broken;
		report.broken_seq = walk.broken_seq;
	}
	if (status == KEEP_OK && walk.is_broken)
		status = kp_arena_copy(memory, keep_bytes_of(walk.reason), &report.reason, err);
	if (status == KEEP_OK)
		*out = report;
	kp_arena_release(&walk.arena);
	return status;
}
