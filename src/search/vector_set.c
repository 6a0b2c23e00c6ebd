/*
 * vector_set.c - a set of vectors: opening, staging, committing, what a search may look at.
 *
 * The file holds the state (vector_file.c). A set in a process has a view of it: the newest header,
 * the segments that it counts, mapped, and a bit for each dead slot. Every search compares the
 * view's commit with the file's, two loads, and takes the newer state first; so a commit of any
 * process is seen by all. Searches of threads hold the view together; who changes it waits for them
 * and goes before later ones.
 *
 * Invariants:
 *   1. The view is a commit's whole state: it is changed after everything that can fail.
 *   2. A commit reads the newest header under the file's lock, so none is lost.
 *   3. Staged changes stay staged until a commit has succeeded or they are rolled back.
 *   4. A commit that returned a failure has published nothing: its last step is the header.
 *
 * What it does not do: let go of dead slots; a rebuild does. Tell whether an id is in the set.
 *
 * Tests: tests/unit/test_vectors.c, tests/unit/test_vectors_file.c,
 * tests/torture/test_vectors_faults.c.
 */
#include "search/vector_private.h"

#include <string.h>

#define FORMAT 1

static const char magic[16] = "Keep vectors\n";

/* ---------------------------------------------------------------- the view */

/* Room for the bits of `slots` slots, the new ones zero. */
static keep_status reserve_dead(kp_vectors *set, uint64_t slots, keep_error *err)
{
	uint64_t room = set->dead_room ? set->dead_room : 64;
	uint64_t *dead;

	if (set->dead_room * 64 >= slots)
		return KEEP_OK;
	while (room * 64 < slots)
		room *= 2;
	dead = kp_realloc(set->dead, room * sizeof *dead);
	if (!dead)
		return kp_fail_memory(err, "a set of vectors");
	memset(dead + set->dead_room, 0, (room - set->dead_room) * sizeof *dead);
	set->dead = dead;
	set->dead_room = room;
	return KEEP_OK;
}

static const struct kp_vector_dead *dead_at(const kp_vectors *set, uint64_t number)
{
	const void *at = set->file.segments[number / KP_VECTOR_SEGMENT] + set->layout.at_dead +
			 number % KP_VECTOR_SEGMENT * sizeof(struct kp_vector_dead);

	return at;
}

/* Everything of taking a view that may fail. The caller holds view_lock for writing. */
static keep_status prepare_view(kp_vectors *set, const struct kp_vector_header *header,
				keep_error *err)
{
	keep_status status = kp_vector_file_map(&set->file, &set->layout, header->count, err);

	if (status == KEEP_OK)
		status = reserve_dead(set, header->count, err);
	return status;
}

/* The dead slots that `header` lists from the `from`th on. */
static keep_status check_dead(const kp_vectors *set, uint64_t from,
			      const struct kp_vector_header *header, keep_error *err)
{
	for (uint64_t i = from; i < header->dead; i++) {
		const struct kp_vector_dead *dead = dead_at(set, i);

		if (dead->slot >= header->count ||
		    dead->check != kp_vector_dead_check(i, dead->slot))
			return kp_fail(err, KEEP_CORRUPT, "%s has a damaged list of dead slots",
				       kp_vector_file_name(&set->file));
	}
	return KEEP_OK;
}

/* Of a prepared and checked header. */
static void take_view(kp_vectors *set, const struct kp_vector_header *header)
{
	for (uint64_t i = set->view.dead; i < header->dead; i++) {
		uint32_t slot = dead_at(set, i)->slot;

		if (slot < header->count)
			set->dead[slot / 64] |= UINT64_C(1) << (slot % 64);
	}
	set->view = *header;
}

/* A later state of the same file? What else a valid header may say is damage. */
static bool is_sound(const kp_vectors *set, const struct kp_vector_header *header)
{
	return header->count >= set->view.count && header->count <= KP_VECTOR_SLOTS_MAX &&
	       header->dead >= set->view.dead && header->dead <= header->count;
}

static keep_status refresh(kp_vectors *set, keep_error *err)
{
	struct kp_vector_header header;
	keep_status status = KEEP_OK;

	pthread_rwlock_wrlock(&set->view_lock);
	if (kp_vector_file_header(&set->file, &header) && header.commit > set->view.commit) {
		if (!is_sound(set, &header))
			status = kp_fail(err, KEEP_CORRUPT, "%s has a damaged header",
					 kp_vector_file_name(&set->file));
		if (status == KEEP_OK)
			status = prepare_view(set, &header, err);
		if (status == KEEP_OK)
			status = check_dead(set, set->view.dead, &header, err);
		if (status == KEEP_OK)
			take_view(set, &header);
	}
	pthread_rwlock_unlock(&set->view_lock);
	return status;
}

keep_status kp_vectors_hold(kp_vectors *set, keep_error *err)
{
	pthread_rwlock_rdlock(&set->view_lock);
	if (kp_vector_file_peek(&set->file) != set->view.commit) {
		keep_status status;

		pthread_rwlock_unlock(&set->view_lock);
		status = refresh(set, err);
		if (status != KEEP_OK)
			return status;
		pthread_rwlock_rdlock(&set->view_lock);
	}
	return KEEP_OK;
}

void kp_vectors_let_go(kp_vectors *set)
{
	pthread_rwlock_unlock(&set->view_lock);
}

/* ---------------------------------------------------------------- opening */

static keep_status make_locks(kp_vectors *set, keep_error *err)
{
	pthread_rwlockattr_t attributes;

	if (pthread_rwlockattr_init(&attributes) != 0)
		return kp_fail_memory(err, "a set of vectors");
	/* A writer waits for the searches that run, not for those that come after it. */
	(void)pthread_rwlockattr_setkind_np(&attributes,
					    PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	if (pthread_rwlock_init(&set->view_lock, &attributes) != 0) {
		(void)pthread_rwlockattr_destroy(&attributes);
		return kp_fail_memory(err, "a set of vectors");
	}
	(void)pthread_rwlockattr_destroy(&attributes);
	if (pthread_mutex_init(&set->write_lock, NULL) != 0) {
		(void)pthread_rwlock_destroy(&set->view_lock);
		return kp_fail_memory(err, "a set of vectors");
	}
	return KEEP_OK;
}

/* An empty set without a file, whose next header is begun in its view. */
static keep_status make_set(const struct kp_vectors_options *options, kp_vectors **out,
			    keep_error *err)
{
	kp_vectors *set;
	keep_status status;

	*out = NULL;
	if (options->dimension < 1 || options->dimension > KP_VECTORS_DIMENSION_MAX)
		return kp_fail(err, KEEP_INVALID, "vectors have 1 to %d dimensions",
			       KP_VECTORS_DIMENSION_MAX);
	status = kp_check_key("model", options->model, err);
	if (status != KEEP_OK)
		return status;
	set = kp_alloc_zero(sizeof *set);
	if (!set)
		return kp_fail_memory(err, "a set of vectors");
	set->file.fd = -1;
	set->kernel = kp_vector_kernel_best();
	kp_vector_layout_init(&set->layout, options->dimension);
	memcpy(set->view.magic, magic, sizeof magic);
	set->view.format = FORMAT;
	set->view.dimension = (uint32_t)options->dimension;
	set->view.generation = options->generation;
	status = kp_sha256(options->model, set->view.model, err);
	if (status == KEEP_OK)
		status = make_locks(set, err);
	if (status != KEEP_OK) {
		kp_free(set);
		return status;
	}
	*out = set;
	return KEEP_OK;
}

void kp_vectors_close(kp_vectors **at)
{
	kp_vectors *set = *at;

	*at = NULL;
	if (!set)
		return;
	kp_vectors_rollback(set);
	kp_vector_slots_release(&set->slots);
	kp_vector_file_close(&set->file, set->layout.segment_bytes);
	(void)pthread_rwlock_destroy(&set->view_lock);
	(void)pthread_mutex_destroy(&set->write_lock);
	kp_free(set->dead);
	kp_free(set);
}

/* Is this a header of a set like `set`? */
static keep_status check_header(const kp_vectors *set, const struct kp_vector_header *header,
				keep_error *err)
{
	const char *name = kp_vector_file_name(&set->file), *other = NULL;

	if (memcmp(header->magic, set->view.magic, sizeof magic) != 0)
		return kp_fail(err, KEEP_CORRUPT, "%s is no file of vectors", name);
	if (header->format != set->view.format)
		other = "format";
	else if (header->dimension != set->view.dimension)
		other = "dimension";
	else if (memcmp(header->model, set->view.model, sizeof header->model) != 0)
		other = "model";
	else if (header->generation != set->view.generation)
		other = "generation";
	if (other)
		return kp_fail(err, KEEP_NOT_FOUND, "%s has vectors of another %s", name, other);
	return KEEP_OK;
}

/* Are its pages those that were written? */
static bool is_trusted(const kp_vectors *set)
{
	static const unsigned char unknown[16];

	return set->view.is_synced || (memcmp(set->file.boot, unknown, sizeof unknown) != 0 &&
				       memcmp(set->file.boot, set->view.boot, sizeof unknown) == 0);
}

keep_status kp_vectors_open(const struct kp_vectors_options *options, kp_vectors **out,
			    keep_error *err)
{
	struct kp_vector_header header;
	kp_vectors *set = NULL;
	keep_status status;

	if (!options->path)
		return kp_vectors_rebuild(options, out, err);
	*out = NULL;
	status = make_set(options, &set, err);
	if (status != KEEP_OK)
		return status;
	status = kp_vector_file_open(&set->file, options->path, err);
	if (status == KEEP_OK && !kp_vector_file_header(&set->file, &header))
		status = kp_fail(err, KEEP_CORRUPT, "%s has no valid header", options->path);
	if (status == KEEP_OK)
		status = check_header(set, &header, err);
	if (status == KEEP_OK)
		status = refresh(set, err);
	if (status == KEEP_OK && !is_trusted(set))
		status = kp_vectors_verify(set, err);
	if (status != KEEP_OK)
		kp_vectors_close(&set);
	*out = set;
	return status;
}

keep_status kp_vectors_rebuild(const struct kp_vectors_options *options, kp_vectors **out,
			       keep_error *err)
{
	kp_vectors *set = NULL;
	keep_status status;

	*out = NULL;
	status = make_set(options, &set, err);
	if (status != KEEP_OK)
		return status;
	status = kp_vector_file_make(&set->file, options->path, err);
	if (status != KEEP_OK)
		kp_vectors_close(&set);
	*out = set;
	return status;
}

/* ---------------------------------------------------------------- staging */

/* Room for one more of `count` items of `size` bytes. */
static bool reserve_one(void **items, size_t count, size_t *room, size_t size)
{
	size_t more = *room ? *room * 2 : 16;
	void *larger;

	if (count < *room)
		return true;
	larger = kp_realloc(*items, more * size);
	if (!larger)
		return false;
	*items = larger;
	*room = more;
	return true;
}

static keep_status stage(kp_vectors *set, int64_t id, const float *values, keep_error *err)
{
	size_t size = set->layout.values_bytes;
	void *edits = set->edits, *staged = set->staged;
	size_t bytes = set->staged_count * size + set->edit_count * sizeof *set->edits;
	bool has_room;

	if (bytes + size + sizeof *set->edits > KP_VECTORS_STAGED_BYTES_MAX)
		return kp_fail(err, KEEP_FULL, "more than %zu MiB of vectors are not committed",
			       KP_VECTORS_STAGED_BYTES_MAX >> 20);
	has_room = reserve_one(&edits, set->edit_count, &set->edit_room, sizeof *set->edits);
	set->edits = edits;
	if (has_room && values) {
		has_room = reserve_one(&staged, set->staged_count, &set->staged_room, size);
		set->staged = staged;
	}
	if (!has_room)
		return kp_fail_memory(err, "vectors to commit");
	set->edits[set->edit_count++] =
		(struct kp_vector_edit){.id = id, .at = values ? set->staged_count : SIZE_MAX};
	if (values)
		memcpy(set->staged + set->staged_count++ * set->layout.dimension, values, size);
	return KEEP_OK;
}

keep_status kp_vectors_add(kp_vectors *set, int64_t id, const float *values, keep_error *err)
{
	keep_status status;
	double square;

	if (!kp_vector_square(values, set->layout.dimension, &square))
		return kp_fail(err, KEEP_INVALID,
			       "the vector of %lld is all zeros or has a value that is not finite",
			       (long long)id);
	pthread_mutex_lock(&set->write_lock);
	status = stage(set, id, values, err);
	pthread_mutex_unlock(&set->write_lock);
	return status;
}

keep_status kp_vectors_remove(kp_vectors *set, int64_t id, keep_error *err)
{
	keep_status status;

	pthread_mutex_lock(&set->write_lock);
	status = stage(set, id, NULL, err);
	pthread_mutex_unlock(&set->write_lock);
	return status;
}

static void unstage(kp_vectors *set)
{
	kp_free(set->edits);
	kp_free(set->staged);
	set->edits = NULL;
	set->staged = NULL;
	set->edit_count = set->edit_room = set->staged_count = set->staged_room = 0;
}

void kp_vectors_rollback(kp_vectors *set)
{
	pthread_mutex_lock(&set->write_lock);
	unstage(set);
	pthread_mutex_unlock(&set->write_lock);
}

/* ---------------------------------------------------------------- committing */

/* Bring the table of ids up to the view: later slots win, then the dead ones leave. */
static keep_status read_slots(kp_vectors *set, keep_error *err)
{
	struct kp_vector_slots *slots = &set->slots;
	keep_status status =
		kp_vector_slots_reserve(slots, (size_t)(set->view.count - slots->slots_read), err);

	if (status != KEEP_OK)
		return status;
	for (; slots->slots_read < set->view.count; slots->slots_read++)
		kp_vector_slots_put(slots, kp_vectors_detail(set, slots->slots_read)->id,
				    (uint32_t)slots->slots_read);
	for (; slots->dead_read < set->view.dead; slots->dead_read++) {
		uint32_t slot = dead_at(set, slots->dead_read)->slot;
		int64_t id;

		if (slot >= set->view.count)
			continue;
		id = kp_vectors_detail(set, slot)->id;
		if (kp_vector_slots_get(slots, id) == slot)
			kp_vector_slots_erase(slots, id);
	}
	return KEEP_OK;
}

/* The last steps: what may fail, the header, what may not. */
static keep_status put_header(kp_vectors *set, struct kp_vector_header *header, keep_error *err)
{
	keep_status status;

	pthread_rwlock_wrlock(&set->view_lock);
	status = prepare_view(set, header, err);
	kp_moment("vector_set.before_header");
	if (status == KEEP_OK)
		status = kp_vector_file_put_header(&set->file, header, err);
	if (status == KEEP_OK)
		take_view(set, header);
	pthread_rwlock_unlock(&set->view_lock);
	return status;
}

static keep_status commit_locked(kp_vectors *set, int64_t change, keep_error *err)
{
	struct kp_vector_header header;
	bool is_there = true;
	keep_status status = kp_vector_file_is_there(&set->file, &is_there, err);

	if (status == KEEP_OK && !is_there)
		status = kp_fail(err, KEEP_NOT_FOUND, "%s was replaced by another file",
				 kp_vector_file_name(&set->file));
	if (status == KEEP_OK)
		status = refresh(set, err);
	if (status != KEEP_OK)
		return status;
	if (set->view.commit && change < set->view.change)
		return kp_fail(err, KEEP_CONFLICT, "%s already holds change %lld, after %lld",
			       kp_vector_file_name(&set->file), (long long)set->view.change,
			       (long long)change);
	status = read_slots(set, err);
	if (status != KEEP_OK)
		return status;
	header = set->view;
	header.change = change;
	header.is_synced = 0;
	status = kp_vectors_write(set, &header, err);
	if (status == KEEP_OK)
		status = put_header(set, &header, err);
	if (status == KEEP_OK) {
		set->slots.slots_read = header.count;
		set->slots.dead_read = header.dead;
		unstage(set);
	}
	return status;
}

static keep_status check_writable(const kp_vectors *set, keep_error *err)
{
	if (set->file.is_writable)
		return KEEP_OK;
	return kp_fail(err, KEEP_DENIED, "%s may not be written", kp_vector_file_name(&set->file));
}

keep_status kp_vectors_commit(kp_vectors *set, int64_t change, keep_error *err)
{
	keep_status status = check_writable(set, err);

	if (status != KEEP_OK)
		return status;
	pthread_mutex_lock(&set->write_lock);
	status = kp_vector_file_lock(&set->file, err);
	if (status == KEEP_OK) {
		status = commit_locked(set, change, err);
		kp_vector_file_unlock(&set->file);
	}
	if (status != KEEP_OK)
		kp_vector_slots_release(&set->slots); /* it may hold what was not published */
	pthread_mutex_unlock(&set->write_lock);
	return status;
}

keep_status kp_vectors_publish(kp_vectors *set, int64_t change, keep_error *err)
{
	keep_status status = kp_vectors_commit(set, change, err);

	if (status != KEEP_OK)
		return status;
	pthread_mutex_lock(&set->write_lock);
	status = kp_vector_file_publish(&set->file, err);
	pthread_mutex_unlock(&set->write_lock);
	return status;
}

keep_status kp_vectors_sync(kp_vectors *set, keep_error *err)
{
	struct kp_vector_header header;
	keep_status status = check_writable(set, err);

	if (status != KEEP_OK || !set->file.path)
		return status;
	pthread_mutex_lock(&set->write_lock);
	status = kp_vector_file_lock(&set->file, err);
	if (status == KEEP_OK) {
		status = refresh(set, err);
		header = set->view;
		if (status == KEEP_OK && header.commit && !header.is_synced) {
			header.is_synced = 1;
			status = kp_file_sync(set->file.fd, err);
			if (status == KEEP_OK)
				status = put_header(set, &header, err);
		}
		if (status == KEEP_OK)
			status = kp_file_sync(set->file.fd, err);
		kp_vector_file_unlock(&set->file);
	}
	pthread_mutex_unlock(&set->write_lock);
	return status;
}

/* ---------------------------------------------------------------- looking */

keep_status kp_vectors_look(kp_vectors *set, struct kp_vectors_state *state, keep_error *err)
{
	keep_status status = kp_vectors_hold(set, err);
	bool is_there = true;

	if (status != KEEP_OK)
		return status;
	*state = (struct kp_vectors_state){
		.dimension = set->layout.dimension,
		.count = set->view.count - set->view.dead,
		.dead = set->view.dead,
		.change = set->view.change,
	};
	status = kp_vector_file_is_there(&set->file, &is_there, err);
	state->is_replaced = !is_there;
	kp_vectors_let_go(set);
	return status;
}

/* One segment at a time, so that commits need not wait for the end. */
static keep_status verify_segment(kp_vectors *set, uint64_t from, uint8_t *scratch, bool *is_last,
				  keep_error *err)
{
	keep_status status = kp_vectors_hold(set, err);
	uint64_t end = from + KP_VECTOR_SEGMENT;

	if (status != KEEP_OK)
		return status;
	*is_last = end >= set->view.count;
	end = *is_last ? set->view.count : end;
	for (uint64_t slot = from; status == KEEP_OK && slot < end; slot++) {
		const struct kp_vector_detail *detail = kp_vectors_detail(set, slot);

		if (kp_vector_check(&set->layout, slot, kp_vectors_group(set, slot),
				    kp_vectors_low(set, slot), detail, kp_vectors_values(set, slot),
				    scratch) != detail->check)
			status = kp_fail(err, KEEP_CORRUPT, "%s is damaged in slot %llu",
					 kp_vector_file_name(&set->file), (unsigned long long)slot);
	}
	kp_vectors_let_go(set);
	return status;
}

keep_status kp_vectors_verify(kp_vectors *set, keep_error *err)
{
	uint8_t *scratch = kp_alloc(set->layout.rows * 4);
	keep_status status = scratch ? KEEP_OK : kp_fail_memory(err, "a check of vectors");
	bool is_last = false;

	for (uint64_t from = 0; status == KEEP_OK && !is_last; from += KP_VECTOR_SEGMENT)
		status = verify_segment(set, from, scratch, &is_last, err);
	if (status == KEEP_OK)
		status = kp_vectors_hold(set, err);
	if (status == KEEP_OK) {
		status = check_dead(set, 0, &set->view, err);
		kp_vectors_let_go(set);
	}
	kp_free(scratch);
	return status;
}
