/*
 * vector_slots.c - which slot of a set holds an id, for those who write.
 *
 * A set that is only searched never makes this table. Open addressing with linear steps; what was
 * erased keeps its place until the table grows.
 *
 * Invariants:
 *   1. At least a quarter of the places was never used, so that a search for an id ends.
 *   2. After kp_vector_slots_reserve(more), `more` puts cannot fail.
 *
 * What it does not do: remember anything of a commit that failed; vector_set.c then reads it anew.
 *
 * Tests: tests/unit/test_vectors.c.
 */
#include "search/vector_private.h"

#define ROOM_MIN 64
#define NEVER_USED UINT32_MAX
#define ERASED (UINT32_MAX - 1)

struct kp_vector_place {
	int64_t id;
	uint32_t slot; /* or NEVER_USED, ERASED */
};

static size_t start_of(int64_t id, size_t room)
{
	uint64_t word = (uint64_t)id;

	word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
	return (word ^ word >> 31) & (room - 1);
}

/* Where the id is, or where a place that was never used ends the search for it. */
static struct kp_vector_place *find_place(const struct kp_vector_slots *slots, int64_t id)
{
	size_t i = start_of(id, slots->room);

	while (slots->places[i].slot != NEVER_USED &&
	       (slots->places[i].slot == ERASED || slots->places[i].id != id))
		i = (i + 1) & (slots->room - 1);
	return slots->places + i;
}

void kp_vector_slots_release(struct kp_vector_slots *slots)
{
	kp_free(slots->places);
	*slots = (struct kp_vector_slots){0};
}

static void move_places(const struct kp_vector_slots *from, struct kp_vector_slots *to)
{
	for (size_t i = 0; i < from->room; i++) {
		const struct kp_vector_place *place = from->places + i;

		if (place->slot != NEVER_USED && place->slot != ERASED)
			kp_vector_slots_put(to, place->id, place->slot);
	}
}

keep_status kp_vector_slots_reserve(struct kp_vector_slots *slots, size_t more, keep_error *err)
{
	struct kp_vector_slots larger = {
		.room = ROOM_MIN, .slots_read = slots->slots_read, .dead_read = slots->dead_read};

	if (slots->room - slots->room / 4 >= slots->used + more && slots->room)
		return KEEP_OK;
	while (larger.room - larger.room / 4 < (slots->used + more) + slots->used / 2)
		larger.room *= 2;
	larger.places = kp_alloc(larger.room * sizeof *larger.places);
	if (!larger.places)
		return kp_fail_memory(err, "the ids of vectors");
	for (size_t i = 0; i < larger.room; i++)
		larger.places[i] = (struct kp_vector_place){.slot = NEVER_USED};
	move_places(slots, &larger);
	kp_free(slots->places);
	*slots = larger;
	return KEEP_OK;
}

uint32_t kp_vector_slots_get(const struct kp_vector_slots *slots, int64_t id)
{
	uint32_t slot = slots->room ? find_place(slots, id)->slot : NEVER_USED;

	return slot == NEVER_USED ? KP_VECTOR_NO_SLOT : slot;
}

void kp_vector_slots_put(struct kp_vector_slots *slots, int64_t id, uint32_t slot)
{
	struct kp_vector_place *place = find_place(slots, id);

	if (place->slot == NEVER_USED)
		slots->used++;
	*place = (struct kp_vector_place){.id = id, .slot = slot};
}

void kp_vector_slots_erase(struct kp_vector_slots *slots, int64_t id)
{
	struct kp_vector_place *place = slots->room ? find_place(slots, id) : NULL;

	if (place && place->slot != NEVER_USED)
		place->slot = ERASED;
}
