/*
 * vector_changes.c - what the tables say of vectors: each change has a number.
 *
 * Sets of vectors (vector_sets.c) are derived, by every process for itself. So that they follow
 * cheaply, each vector that comes or goes takes the next number of its model, in its transaction:
 * a row that has one carries the number it came with, one that goes leaves a row of
 * removed_vectors. Who knows the state of number n reads both behind n.
 *
 * Invariants:
 *   1. A model's number grows with every change of its vectors, in the transaction of that change;
 *      two changes never share one.
 *   2. All vectors of a model have its dimension; a model whose last vector went may get another.
 *   3. Rows of removed_vectors are not more than REMOVED_MAX and the vectors that are left: then
 *      the model gets another generation, and whoever has an earlier state makes it anew.
 *
 * Tests: tests/contract/test_assistant_documents.c, test_assistant_find.c.
 */
#include "assistant/assistant_private.h"

#include <math.h>

#define REMOVED_MAX 4096
#define RECOUNT_BATCH 500

/* ---------------------------------------------------------------- vectors as bytes */

void kp_vector_decode(keep_bytes vector, float *out)
{
	for (size_t i = 0; i < vector.len / 4; i++) {
		uint32_t bits = 0;

		for (size_t j = 4; j > 0; j--)
			bits = bits << 8 | (unsigned char)vector.data[4 * i + j - 1];
		memcpy(&out[i], &bits, sizeof bits);
	}
}

keep_status kp_check_vector(const char *what, keep_bytes vector, size_t *count, keep_error *err)
{
	bool is_zero = true;

	*count = vector.len / 4;
	if (vector.len == 0 || vector.len % 4 != 0)
		return kp_fail(err, KEEP_INVALID, "%s: is no whole number of 4-byte floats", what);
	if (*count > KEEP_VECTOR_DIMENSIONS_MAX)
		return kp_fail(err, KEEP_INVALID, "%s: has more than %d numbers", what,
			       KEEP_VECTOR_DIMENSIONS_MAX);
	for (size_t i = 0; i < *count; i++) {
		float value;

		kp_vector_decode((keep_bytes){vector.data + 4 * i, 4}, &value);
		if (!isfinite(value))
			return kp_fail(err, KEEP_INVALID, "%s: number %zu is not finite", what,
				       i + 1);
		is_zero = is_zero && value == 0;
	}
	return is_zero ? kp_fail(err, KEEP_INVALID, "%s: all its numbers are 0", what) : KEEP_OK;
}

/* ---------------------------------------------------------------- changes */

static keep_status make_generation(int64_t *generation, keep_error *err)
{
	uint64_t word = 0;
	keep_status status = kp_random_bytes(&word, sizeof word, err);

	*generation = (int64_t)(word >> 2) + 1;
	return status;
}

/* Invariants 2 and 3: nothing of an earlier state counts any more. */
static keep_status renew_model(kp_lease *lease, keep_bytes model, int64_t dimensions,
			       keep_error *err)
{
	int64_t generation = 0;
	keep_status status = make_generation(&generation, err);

	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_CLEAR_REMOVED_VECTORS,
				      KP_VALUES(kp_text_value(model)), NULL, err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_RENEW_VECTOR_MODEL,
				      KP_VALUES(kp_text_value(model), kp_int_value(dimensions),
						kp_int_value(generation)),
				      NULL, err);
	return status;
}

/* Invariant 1. */
static keep_status take_number(kp_lease *lease, keep_bytes model, int64_t added, int64_t removed,
			       int64_t *change, keep_error *err)
{
	return kp_lease_int(
		lease, KP_ASSISTANT_CHANGE_VECTOR_MODEL,
		KP_VALUES(kp_text_value(model), kp_int_value(added), kp_int_value(removed)), change,
		&(bool){false}, err);
}

static keep_status add_model(kp_lease *lease, keep_bytes model, int64_t dimensions, keep_error *err)
{
	int64_t generation = 0;
	keep_status status = make_generation(&generation, err);

	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_ADD_VECTOR_MODEL,
				      KP_VALUES(kp_text_value(model), kp_int_value(dimensions),
						kp_int_value(generation)),
				      NULL, err);
	return status;
}

keep_status kp_vector_added(kp_lease *lease, keep_bytes model, int64_t dimensions, bool replaces,
			    int64_t *change, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_vector_model stored = {.dimensions = 0};
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_ASSISTANT_GET_VECTOR_MODEL, KP_VALUES(kp_text_value(model)),
			     &kp_vector_model_record, &arena, &stored, &found, err);
	bool is_alone = stored.count == 0 || (replaces && stored.count == 1);

	if (status == KEEP_OK && !found)
		status = add_model(lease, model, dimensions, err);
	else if (status == KEEP_OK && stored.dimensions != dimensions && is_alone)
		status = renew_model(lease, model, dimensions, err);
	else if (status == KEEP_OK && stored.dimensions != dimensions)
		status =
			kp_fail(err, KEEP_CONFLICT,
				"model '%" KP_PRI "': its vectors have %lld numbers, not %lld",
				KP_ARG(model), (long long)stored.dimensions, (long long)dimensions);
	if (status == KEEP_OK)
		status = take_number(lease, model, replaces ? 0 : 1, 0, change, err);
	kp_arena_release(&arena);
	return status;
}

keep_status kp_vector_removed(kp_lease *lease, keep_bytes model, int64_t document_id,
			      keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_vector_model stored = {.dimensions = 0};
	int64_t change = 0;
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_ASSISTANT_GET_VECTOR_MODEL, KP_VALUES(kp_text_value(model)),
			     &kp_vector_model_record, &arena, &stored, &found, err);

	/* A neighbouring program's vector that nobody has counted. */
	if (status != KEEP_OK || !found || stored.count == 0) {
		kp_arena_release(&arena);
		return status;
	}
	status = take_number(lease, model, -1, 1, &change, err);
	if (status == KEEP_OK && stored.removed >= REMOVED_MAX && stored.removed >= stored.count)
		status = renew_model(lease, model, stored.dimensions, err);
	else if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_ASSISTANT_ADD_REMOVED_VECTOR,
					KP_VALUES(kp_text_value(model), kp_int_value(change),
						  kp_int_value(document_id)),
					err);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- counting anew */

struct stored_vector {
	int64_t id, bytes;
	keep_bytes model;
};

static keep_status read_stored(kp_lease *lease, int64_t after, kp_arena *arena,
			       struct stored_vector *items, size_t *count, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, KP_ASSISTANT_LIST_STORED_VECTORS,
		KP_VALUES(kp_int_value(after), kp_int_value(RECOUNT_BATCH)), &stmt, err);

	*count = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && *count < RECOUNT_BATCH) {
		struct stored_vector *item = &items[*count];
		kp_value model = {.is_null = true};

		status = kp_sql_column_int(stmt, 0, &item->id, err);
		if (status == KEEP_OK)
			status = kp_sql_column(stmt, 1, KP_TEXT, &model, err);
		item->model = (keep_bytes){NULL, 0};
		if (status == KEEP_OK && !model.is_null)
			status = kp_arena_copy(arena, model.bytes, &item->model, err);
		if (status == KEEP_OK)
			status = kp_sql_column_int(stmt, 3, &item->bytes, err);
		++*count;
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* A vector that does not fit its model's others stays in its row and is not found. */
static keep_status count_stored(kp_lease *lease, const struct stored_vector *item, keep_error *err)
{
	int64_t change = 0;
	keep_status status = KEEP_OK;

	if (!item->model.len || item->bytes < 4 || item->bytes % 4 != 0)
		return KEEP_OK;
	status = kp_vector_added(lease, item->model, item->bytes / 4, false, &change, err);
	if (status == KEEP_CONFLICT)
		return KEEP_OK;
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_ASSISTANT_SET_VECTOR_CHANGE,
					KP_VALUES(kp_int_value(item->id), kp_int_value(change)),
					err);
	return status;
}

keep_status kp_vectors_recount(kp_lease *lease, keep_error *err)
{
	size_t count = RECOUNT_BATCH;
	int64_t after = 0;
	keep_status status =
		kp_lease_run(lease, KP_ASSISTANT_CLEAR_ALL_REMOVED_VECTORS, NULL, 0, NULL, err);

	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_CLEAR_VECTOR_MODELS, NULL, 0, NULL, err);
	while (status == KEEP_OK && count == RECOUNT_BATCH) {
		struct stored_vector items[RECOUNT_BATCH];
		kp_arena arena = {.head = NULL};

		status = read_stored(lease, after, &arena, items, &count, err);
		for (size_t i = 0; i < count && status == KEEP_OK; i++)
			status = count_stored(lease, &items[i], err);
		if (count)
			after = items[count - 1].id;
		kp_arena_release(&arena);
	}
	return status;
}
