/*
 * vector_write.c - staged changes become slots behind those that a header counts.
 *
 * Vectors are encoded in batches of up to 64 slots, four groups, and each part of a batch is one
 * write. The first group may be shared with slots of earlier commits: it is copied from the mapping
 * and their bytes are written again as they are, which a search that reads them does not see.
 * A replaced or removed vector stays where it is and its slot is listed as dead.
 *
 * Invariants:
 *   1. No byte that a valid header counts changes its value.
 *   2. A failure leaves the header unwritten; the table of ids is then dropped, not mended.
 *
 * What it does not do: publish what it wrote (vector_set.c).
 *
 * Tests: tests/unit/test_vectors.c, tests/torture/test_vectors_faults.c.
 */
#include "search/vector_private.h"

#include <string.h>

#define BATCH_SLOTS 64

_Static_assert(KP_VECTOR_SEGMENT % BATCH_SLOTS == 0, "a batch is within one segment");
_Static_assert(BATCH_SLOTS % KP_VECTOR_GROUP == 0, "a batch is whole groups");

struct batch {
	kp_vectors *set;
	uint64_t first, next; /* slots: of the group that it begins with, and the next free one */
	uint64_t new_from;    /* slots before it were there */
	uint8_t *groups, *low, *scratch;
	struct kp_vector_detail *details;
	float *values;
	struct kp_vector_dead *dead;
	size_t dead_count;
};

static keep_status batch_init(struct batch *batch, kp_vectors *set, keep_error *err)
{
	const struct kp_vector_layout *layout = &set->layout;
	size_t edits = set->edit_count ? set->edit_count : 1;

	*batch = (struct batch){.set = set};
	batch->groups = kp_alloc_zero(BATCH_SLOTS / KP_VECTOR_GROUP * layout->group_bytes);
	batch->low = kp_alloc(BATCH_SLOTS * layout->low_bytes);
	batch->details = kp_alloc(BATCH_SLOTS * sizeof *batch->details);
	batch->values = kp_alloc(BATCH_SLOTS * layout->values_bytes);
	batch->scratch = kp_alloc(layout->rows * 4);
	batch->dead = kp_alloc(edits * sizeof *batch->dead);
	if (!batch->groups || !batch->low || !batch->details || !batch->values || !batch->scratch ||
	    !batch->dead)
		return kp_fail_memory(err, "vectors to write");
	return KEEP_OK;
}

static void batch_release(struct batch *batch)
{
	kp_free(batch->groups);
	kp_free(batch->low);
	kp_free(batch->details);
	kp_free(batch->values);
	kp_free(batch->scratch);
	kp_free(batch->dead);
}

/* Begin at slot `next`, with what its group already holds. */
static void begin(struct batch *batch, uint64_t next)
{
	const struct kp_vector_layout *layout = &batch->set->layout;

	batch->first = next / KP_VECTOR_GROUP * KP_VECTOR_GROUP;
	batch->next = batch->new_from = next;
	memset(batch->groups, 0, BATCH_SLOTS / KP_VECTOR_GROUP * layout->group_bytes);
	/* A slot before it in the group is of an earlier commit: batches end at whole groups. */
	if (next % KP_VECTOR_GROUP)
		memcpy(batch->groups, kp_vectors_group(batch->set, next), layout->group_bytes);
}

static struct kp_vector_group *group_of(const struct batch *batch, uint64_t slot)
{
	void *at = batch->groups +
		   (slot - batch->first) / KP_VECTOR_GROUP * batch->set->layout.group_bytes;

	return at;
}

static keep_status write_part(const struct batch *batch, size_t part_at, size_t item_bytes,
			      uint64_t item, uint64_t items, const void *from, keep_error *err)
{
	uint64_t segment = batch->first / KP_VECTOR_SEGMENT;
	int64_t at = (int64_t)(KP_VECTOR_HEADER_BYTES + segment * batch->set->layout.segment_bytes +
			       part_at + item * item_bytes);

	return kp_file_write_at(batch->set->file.fd, (keep_bytes){from, (size_t)items * item_bytes},
				at, err);
}

static keep_status flush(struct batch *batch, keep_error *err)
{
	const struct kp_vector_layout *layout = &batch->set->layout;
	uint64_t from = batch->new_from % KP_VECTOR_SEGMENT, count = batch->next - batch->new_from;
	uint64_t group = batch->first % KP_VECTOR_SEGMENT / KP_VECTOR_GROUP;
	uint64_t groups = (batch->next - batch->first + KP_VECTOR_GROUP - 1) / KP_VECTOR_GROUP;
	size_t skip = batch->new_from - batch->first;
	keep_status status;

	if (count == 0)
		return KEEP_OK;
	status = kp_vector_file_extend(&batch->set->file, layout, batch->next, err);
	if (status == KEEP_OK)
		status = write_part(batch, 0, layout->group_bytes, group, groups, batch->groups,
				    err);
	if (status == KEEP_OK)
		status = write_part(batch, layout->at_low, layout->low_bytes, from, count,
				    batch->low + skip * layout->low_bytes, err);
	if (status == KEEP_OK)
		status = write_part(batch, layout->at_details, sizeof *batch->details, from, count,
				    batch->details + skip, err);
	if (status == KEEP_OK)
		status = write_part(batch, layout->at_values, layout->values_bytes, from, count,
				    batch->values + skip * layout->dimension, err);
	kp_moment("vector_write.flushed");
	return status;
}

static void bury(struct batch *batch, uint64_t dead, uint32_t slot)
{
	batch->dead[batch->dead_count++] =
		(struct kp_vector_dead){.slot = slot, .check = kp_vector_dead_check(dead, slot)};
}

/* One vector into the batch; `next` was free. */
static void put(struct batch *batch, const struct kp_vector_edit *edit)
{
	const struct kp_vector_layout *layout = &batch->set->layout;
	uint64_t slot = batch->next++;
	size_t i = slot - batch->first;
	struct kp_vector_group *group = group_of(batch, slot);
	struct kp_vector_detail *detail = batch->details + i;
	float *values = batch->values + i * layout->dimension;
	uint8_t *low = batch->low + i * layout->low_bytes;

	memcpy(values, batch->set->staged + edit->at * layout->dimension, layout->values_bytes);
	*detail = (struct kp_vector_detail){.id = edit->id};
	(void)kp_vector_square(values, layout->dimension, &detail->square);
	kp_vector_encode(layout, values, group, slot % KP_VECTOR_GROUP, low, detail);
	detail->check = kp_vector_check(layout, slot, group, low, detail, values, batch->scratch);
}

/* The dead slots, each list of a segment in one write. */
static keep_status write_dead(struct batch *batch, uint64_t number, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t done = 0; status == KEEP_OK && done < batch->dead_count;) {
		uint64_t at = (number + done) % KP_VECTOR_SEGMENT, room = KP_VECTOR_SEGMENT - at;
		size_t count = batch->dead_count - done;

		count = count < room ? count : (size_t)room;
		batch->first = number + done;
		status = write_part(batch, batch->set->layout.at_dead, sizeof *batch->dead, at,
				    count, batch->dead + done, err);
		done += count;
	}
	return status;
}

keep_status kp_vectors_write(kp_vectors *set, struct kp_vector_header *header, keep_error *err)
{
	struct kp_vector_slots *slots = &set->slots;
	uint64_t count = header->count, dead = header->dead;
	struct batch batch;
	keep_status status = batch_init(&batch, set, err);

	if (status == KEEP_OK)
		status = kp_vector_slots_reserve(slots, set->edit_count, err);
	if (status == KEEP_OK)
		begin(&batch, count);
	for (size_t i = 0; status == KEEP_OK && i < set->edit_count; i++) {
		const struct kp_vector_edit *edit = set->edits + i;
		uint32_t old = kp_vector_slots_get(slots, edit->id);

		if (old != KP_VECTOR_NO_SLOT)
			bury(&batch, dead++, old);
		kp_vector_slots_erase(slots, edit->id);
		if (edit->at == SIZE_MAX)
			continue;
		if (count >= KP_VECTOR_SLOTS_MAX) {
			status = kp_fail(err, KEEP_FULL, "%s has no room for more vectors",
					 kp_vector_file_name(&set->file));
			break;
		}
		put(&batch, edit);
		kp_vector_slots_put(slots, edit->id, (uint32_t)count++);
		if (count % BATCH_SLOTS == 0) {
			status = flush(&batch, err);
			begin(&batch, count);
		}
	}
	if (status == KEEP_OK)
		status = flush(&batch, err);
	if (status == KEEP_OK)
		status = write_dead(&batch, header->dead, err);
	batch_release(&batch);
	header->count = count;
	header->dead = dead;
	return status;
}
