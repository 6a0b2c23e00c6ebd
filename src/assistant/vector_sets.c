/*
 * vector_sets.c - the vectors of each model in the form that is searched (src/search).
 *
 * The table is the truth. A process has a set for each model that was asked for: beside a SQLite
 * file the file "<it>-<hash of the model>.vectors", which all processes share; else, and for a
 * store that may only be read, in memory. Before a set answers it is compared with the model's
 * number (vector_changes.c), and what came and went since is taken in first.
 *
 * What is wrong with a file is never told to who searches: it is made anew from the table, and when
 * that is not possible either (a full disk, a folder that may not be written), in memory.
 *
 * Invariants:
 *   1. A set answers only when it holds every change that was committed before the call.
 *   2. A set that other threads search is not taken from under them: it leaves the list, and the
 *      last of them closes it.
 *   3. What is opened is read and compared with its checksums once, so a damaged byte is found.
 *   4. At most SETS_MAX stay open; the least used one goes first.
 *
 * What it does not do: change the tables.
 *
 * Tests: tests/contract/test_assistant_find.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>
#include <time.h>

#define SETS_MAX 16
#define TRIES_MAX 8
#define PORTION 500
#define COMMIT_BYTES ((size_t)32 << 20)
#define REBUILD_WAIT_NS INT64_C(5000000000)

struct vector_set {
	char *model;
	int64_t generation;
	size_t dimensions;
	bool in_memory; /* a file is of no use now */
	bool is_stale;  /* not in the list any more */
	unsigned users;
	uint64_t used;            /* when, in order */
	pthread_mutex_t updating; /* vectors: made and brought up to date by one */
	kp_vectors *vectors;
	struct vector_set *next;
};

struct kp_vector_sets {
	pthread_mutex_t lock; /* the list and its members' first half */
	struct vector_set *first;
	uint64_t clock;
	bool has_warned;
};

keep_status kp_vector_sets_open(keep_assistant *assistant, keep_error *err)
{
	assistant->vectors = kp_alloc_zero(sizeof *assistant->vectors);
	if (!assistant->vectors)
		return kp_fail_memory(err, "vectors");
	assistant->vectors->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	return KEEP_OK;
}

static void close_set(struct vector_set *set)
{
	kp_vectors_close(&set->vectors);
	(void)pthread_mutex_destroy(&set->updating);
	kp_free(set->model);
	kp_free(set);
}

void kp_vector_sets_close(keep_assistant *assistant)
{
	struct kp_vector_sets *sets = assistant->vectors;

	if (!sets)
		return;
	while (sets->first) {
		struct vector_set *set = sets->first;

		sets->first = set->next;
		close_set(set);
	}
	(void)pthread_mutex_destroy(&sets->lock);
	kp_free(sets);
	assistant->vectors = NULL;
}

/* ---------------------------------------------------------------- the list */

/* Take it out of the list; nobody finds it any more. Under the lock. */
static void unlink_set(struct kp_vector_sets *sets, struct vector_set *set)
{
	struct vector_set **at = &sets->first;

	while (*at && *at != set)
		at = &(*at)->next;
	if (*at)
		*at = set->next;
	set->is_stale = true;
}

/* Invariant 4. Under the lock. */
static void drop_least_used(struct kp_vector_sets *sets)
{
	struct vector_set *least = NULL;
	size_t count = 0;

	for (struct vector_set *set = sets->first; set; set = set->next) {
		count++;
		if (!set->users && (!least || set->used < least->used))
			least = set;
	}
	if (count <= SETS_MAX || !least)
		return;
	unlink_set(sets, least);
	close_set(least);
}

static void leave_set(struct kp_vector_sets *sets, struct vector_set *set, bool is_stale)
{
	bool is_last;

	pthread_mutex_lock(&sets->lock);
	if (is_stale && !set->is_stale)
		unlink_set(sets, set);
	is_last = --set->users == 0 && set->is_stale;
	drop_least_used(sets);
	pthread_mutex_unlock(&sets->lock);
	if (is_last)
		close_set(set);
}

static keep_status make_entry(const keep_vector_model *model, struct vector_set **out,
			      keep_error *err)
{
	struct vector_set *set = kp_alloc_zero(sizeof *set);

	*out = set;
	if (!set)
		return kp_fail_memory(err, "vectors");
	set->model = kp_alloc(model->model.len + 1);
	if (!set->model) {
		kp_free(set);
		*out = NULL;
		return kp_fail_memory(err, "vectors");
	}
	memcpy(set->model, model->model.data, model->model.len);
	set->model[model->model.len] = '\0';
	set->generation = model->generation;
	set->dimensions = (size_t)model->dimensions;
	set->updating = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	return KEEP_OK;
}

/* The set of a model's present generation, which stays until leave_set. */
static keep_status enter_set(struct kp_vector_sets *sets, const keep_vector_model *model,
			     bool in_memory, struct vector_set **out, keep_error *err)
{
	struct vector_set *set, *closing = NULL;
	keep_status status = KEEP_OK;

	pthread_mutex_lock(&sets->lock);
	for (set = sets->first; set; set = set->next)
		if (kp_bytes_equal(keep_bytes_of(set->model), model->model))
			break;
	if (set && (set->generation != model->generation ||
		    set->dimensions != (size_t)model->dimensions)) {
		unlink_set(sets, set);
		closing = set->users ? NULL : set;
		set = NULL;
	}
	if (!set) {
		status = make_entry(model, &set, err);
		if (status == KEEP_OK) {
			set->in_memory = in_memory;
			set->next = sets->first;
			sets->first = set;
		}
	}
	if (status == KEEP_OK) {
		set->users++;
		set->used = ++sets->clock;
	}
	pthread_mutex_unlock(&sets->lock);
	if (closing)
		close_set(closing);
	*out = set;
	return status;
}

/* ---------------------------------------------------------------- from the table */

struct filling {
	struct vector_set *set;
	kp_vectors *vectors;
	int64_t from;     /* the number that it holds; below 0: it is empty */
	int64_t change;   /* out: what it holds now */
	bool is_outdated; /* out: the model has another generation */
};

/* What a neighbouring program wrote and nobody can compare is left out. */
static keep_status stage_row(struct filling *filling, int64_t id, keep_bytes embedding,
			     float *values, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (embedding.len != filling->set->dimensions * 4)
		return KEEP_OK;
	kp_vector_decode(embedding, values);
	status = kp_vectors_add(filling->vectors, id, values, &why);
	if (status != KEEP_OK && status != KEEP_INVALID && err)
		*err = why;
	return status == KEEP_INVALID ? KEEP_OK : status;
}

static keep_status stage_removed(kp_lease *lease, struct filling *filling, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, KP_ASSISTANT_REMOVED_SINCE,
			      KP_VALUES(kp_text_value(keep_bytes_of(filling->set->model)),
					kp_int_value(filling->from)),
			      &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row) {
		int64_t id = 0;

		status = kp_sql_column_int(stmt, 0, &id, err);
		if (status == KEEP_OK)
			status = kp_vectors_remove(filling->vectors, id, err);
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* A portion of rows: behind the number `*at` of a set that has a state, else behind the id. */
static keep_status stage_portion(kp_lease *lease, struct filling *filling, float *values,
				 int64_t *at, int64_t *count, keep_error *err)
{
	bool is_new = filling->from < 0;
	const kp_value model = kp_text_value(keep_bytes_of(filling->set->model));
	const kp_value since[] = {model, kp_int_value(*at), kp_int_value(PORTION)};
	const kp_value behind[] = {model, kp_int_value((int64_t)filling->set->dimensions),
				   kp_int_value(*at), kp_int_value(PORTION)};
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		is_new ? kp_lease_bind(lease, KP_ASSISTANT_VECTORS_BEHIND, behind, 4, &stmt, err)
		       : kp_lease_bind(lease, KP_ASSISTANT_VECTORS_SINCE, since, 3, &stmt, err);

	*count = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row) {
		int64_t id = 0;
		keep_bytes embedding = {NULL, 0};

		status = kp_sql_column_int(stmt, 0, &id, err);
		if (status == KEEP_OK)
			status = kp_sql_column_bytes(stmt, 1, KP_BLOB, &embedding, err);
		if (status == KEEP_OK && !is_new)
			status = kp_sql_column_int(stmt, 2, at, err);
		if (status == KEEP_OK)
			status = stage_row(filling, id, embedding, values, err);
		if (is_new)
			*at = id;
		++*count;
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status stage_rows(kp_lease *lease, struct filling *filling, keep_error *err)
{
	size_t bytes = 0, row_bytes = filling->set->dimensions * sizeof(float);
	int64_t at = filling->from < 0 ? 0 : filling->from, count = PORTION;
	float *values = kp_alloc(row_bytes);
	keep_status status = values ? KEEP_OK : kp_fail_memory(err, "a vector");

	while (status == KEEP_OK && count == PORTION) {
		status = stage_portion(lease, filling, values, &at, &count, err);
		bytes += (size_t)count * row_bytes;
		if (status == KEEP_OK && bytes >= COMMIT_BYTES) {
			/* Of a new one nobody knows yet; any other is at that number now. */
			status = kp_vectors_commit(filling->vectors,
						   filling->from < 0 ? filling->change : at, err);
			bytes = 0;
		}
	}
	kp_free(values);
	return status;
}

/* In a reading transaction. What an earlier try staged is dropped. */
static keep_status query_filling(void *ctx, kp_lease *lease, keep_error *err)
{
	struct filling *filling = ctx;
	keep_bytes name = keep_bytes_of(filling->set->model);
	keep_vector_model model = {.dimensions = 0};
	kp_arena arena = {.head = NULL};
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_ASSISTANT_GET_VECTOR_MODEL, KP_VALUES(kp_text_value(name)),
			     &kp_vector_model_record, &arena, &model, &found, err);

	kp_vectors_rollback(filling->vectors);
	filling->change = model.change;
	filling->is_outdated =
		status == KEEP_OK && (!found || model.generation != filling->set->generation ||
				      model.dimensions != (int64_t)filling->set->dimensions);
	if (status == KEEP_OK && !filling->is_outdated && filling->from >= 0)
		status = stage_removed(lease, filling, err);
	if (status == KEEP_OK && !filling->is_outdated)
		status = stage_rows(lease, filling, err);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- opening a set */

static keep_status format_path(const keep_assistant *assistant, const struct vector_set *set,
			       keep_buffer *path, keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	char hash[17];
	keep_status status = kp_sha256(keep_bytes_of(set->model), digest, err);

	kp_hex_format((keep_bytes){(const char *)digest, 8}, hash);
	return status == KEEP_OK ? kp_buffer_append_format(path, err, "%s-%s.vectors",
							   assistant->store.location, hash)
				 : status;
}

static keep_status rebuild_set(keep_assistant *assistant, struct vector_set *set, const char *path,
			       keep_error *err)
{
	const struct kp_vectors_options options = {.path = path,
						   .dimension = set->dimensions,
						   .model = keep_bytes_of(set->model),
						   .generation = set->generation};
	struct filling filling = {.set = set, .from = -1};
	keep_status status = kp_vectors_rebuild(&options, &filling.vectors, err);

	if (status == KEEP_OK)
		status = kp_store_read_whole(&assistant->store, query_filling, &filling, err);
	if (status == KEEP_OK && filling.is_outdated)
		status = kp_fail(err, KEEP_CONFLICT, "vectors: another generation");
	if (status == KEEP_OK)
		status = kp_vectors_publish(filling.vectors, filling.change, err);
	if (status != KEEP_OK)
		kp_vectors_close(&filling.vectors);
	set->vectors = filling.vectors;
	return status;
}

/* Invariant 3. */
static keep_status open_file(struct vector_set *set, const char *path, keep_error *err)
{
	const struct kp_vectors_options options = {.path = path,
						   .dimension = set->dimensions,
						   .model = keep_bytes_of(set->model),
						   .generation = set->generation};
	keep_status status = kp_vectors_open(&options, &set->vectors, err);

	if (status == KEEP_OK)
		status = kp_vectors_verify(set->vectors, err);
	if (status != KEEP_OK)
		kp_vectors_close(&set->vectors);
	return status;
}

static void warn_once(struct kp_vector_sets *sets, const char *what, const keep_error *why)
{
	bool is_first;

	pthread_mutex_lock(&sets->lock);
	is_first = !sets->has_warned;
	sets->has_warned = true;
	pthread_mutex_unlock(&sets->lock);
	if (is_first)
		kp_log(KEEP_LOG_WARNING, "%s: %s", what, why->message);
}

/* The file, or a new one, or none. Under `updating`. */
static keep_status open_set(keep_assistant *assistant, struct vector_set *set, keep_error *err)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	int64_t end_ns = kp_monotonic_ns() + REBUILD_WAIT_NS;
	keep_buffer path = KEEP_BUFFER_INIT;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (set->in_memory || assistant->store.schema || assistant->store.read_only)
		return rebuild_set(assistant, set, NULL, err);
	status = format_path(assistant, set, &path, err);
	if (status != KEEP_OK) {
		keep_buffer_release(&path);
		return status;
	}
	do {
		status = open_file(set, path.data, &why);
		if (status == KEEP_CORRUPT)
			warn_once(assistant->vectors, "vectors are made anew", &why);
		if (status == KEEP_NOT_FOUND || status == KEEP_CORRUPT)
			status = rebuild_set(assistant, set, path.data, &why);
		/* BUSY: another process makes it. */
		if (status == KEEP_BUSY)
			(void)nanosleep(&pause, NULL);
	} while (status == KEEP_BUSY && kp_monotonic_ns() < end_ns);
	if (status != KEEP_OK && status != KEEP_NO_MEMORY && status != KEEP_CONFLICT) {
		warn_once(assistant->vectors, "vectors stay in memory", &why);
		status = rebuild_set(assistant, set, NULL, &why);
		set->in_memory = true;
	}
	if (status != KEEP_OK && err)
		*err = why;
	keep_buffer_release(&path);
	return status;
}

/* ---------------------------------------------------------------- following the table */

/* Take in what came and went since. *stale: it cannot; another set can. */
static keep_status catch_up(keep_assistant *assistant, struct vector_set *set, int64_t from,
			    bool *stale, keep_error *err)
{
	struct filling filling = {.set = set, .vectors = set->vectors, .from = from};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_store_read_whole(&assistant->store, query_filling, &filling, &why);

	if (status == KEEP_OK && !filling.is_outdated)
		status = kp_vectors_commit(set->vectors, filling.change, &why);
	*stale = filling.is_outdated || status == KEEP_NOT_FOUND || status == KEEP_CORRUPT;
	if (status == KEEP_OK && !*stale)
		return KEEP_OK;
	kp_vectors_rollback(set->vectors);
	/* CONFLICT: another process was faster; look again. */
	if (*stale || status == KEEP_CONFLICT)
		return KEEP_OK;
	if (status == KEEP_DENIED || status == KEEP_FULL || status == KEEP_BUSY) {
		warn_once(assistant->vectors, "vectors stay in memory", &why);
		set->in_memory = true;
		*stale = true;
		return KEEP_OK;
	}
	if (err)
		*err = why;
	return status;
}

/* Invariant 1: it holds what `model` says, or *stale. Under `updating`. */
static keep_status update_set(keep_assistant *assistant, struct vector_set *set,
			      const keep_vector_model *model, bool *stale, keep_error *err)
{
	struct kp_vectors_state state;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	*stale = false;
	if (!set->vectors)
		status = open_set(assistant, set, err);
	if (status == KEEP_CONFLICT) {
		*stale = true;
		return KEEP_OK;
	}
	for (int i = 0; i < TRIES_MAX && status == KEEP_OK && !*stale; i++) {
		status = kp_vectors_look(set->vectors, &state, &why);
		*stale = status == KEEP_CORRUPT || (status == KEEP_OK && state.is_replaced);
		if (status != KEEP_OK || *stale || state.change >= model->change)
			break;
		status = catch_up(assistant, set, state.change, stale, &why);
	}
	if (status != KEEP_OK && status != KEEP_CORRUPT && err && why.status == status)
		*err = why;
	return *stale ? KEEP_OK : status;
}

/* ---------------------------------------------------------------- searching */

static bool is_among(void *ctx, int64_t id)
{
	const kp_vector_ask *ask = ctx;
	size_t low = 0, high = ask->id_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ask->ids[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ask->id_count && ask->ids[low] == id;
}

struct model_look {
	keep_bytes name;
	kp_arena arena;
	keep_vector_model model; /* out */
	bool found, has_others;  /* out */
};

static keep_status query_model(void *ctx, kp_lease *lease, keep_error *err)
{
	struct model_look *look = ctx;
	keep_status status = kp_lease_get(
		lease, KP_ASSISTANT_GET_VECTOR_MODEL, KP_VALUES(kp_text_value(look->name)),
		&kp_vector_model_record, &look->arena, &look->model, &look->found, err);

	look->found = look->found && look->model.count > 0;
	look->has_others = false;
	if (status == KEEP_OK && !look->found)
		status = kp_lease_get(lease, KP_ASSISTANT_ANY_VECTOR_MODEL, NULL, 0, NULL, NULL,
				      NULL, &look->has_others, err);
	return status;
}

static keep_status check_model(const struct model_look *look, const kp_vector_ask *ask,
			       keep_error *err)
{
	if (!look->found && look->has_others)
		return kp_fail(err, KEEP_CONFLICT,
			       "model '%" KP_PRI "': no vector is of it, others are of other "
			       "models",
			       KP_ARG(ask->model));
	if (look->found && look->model.dimensions != (int64_t)ask->dimensions)
		return kp_fail(err, KEEP_CONFLICT,
			       "model '%" KP_PRI "': its vectors have %lld numbers, not %zu",
			       KP_ARG(ask->model), (long long)look->model.dimensions,
			       ask->dimensions);
	return KEEP_OK;
}

static keep_status search_set(keep_assistant *assistant, struct vector_set *set,
			      const keep_vector_model *model, kp_vector_ask *ask, bool *stale,
			      keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	pthread_mutex_lock(&set->updating);
	status = update_set(assistant, set, model, stale, err);
	pthread_mutex_unlock(&set->updating);
	if (status != KEEP_OK || *stale)
		return status;
	status =
		kp_vectors_search(set->vectors, ask->query, ask->nearest,
				  ask->ids ? is_among : NULL, ask, ask->matches, &ask->count, &why);
	*stale = status == KEEP_CORRUPT;
	if (status != KEEP_OK && !*stale && err)
		*err = why;
	return *stale ? KEEP_OK : status;
}

keep_status kp_vector_sets_search(keep_assistant *assistant, kp_vector_ask *ask, keep_error *err)
{
	struct kp_vector_sets *sets = assistant->vectors;
	bool stale = true, in_memory = false;
	keep_status status = KEEP_OK;

	ask->count = 0;
	for (int i = 0; i < TRIES_MAX && status == KEEP_OK && stale; i++) {
		struct model_look look = {.name = ask->model, .arena = {.head = NULL}};
		struct vector_set *set = NULL;

		status = kp_store_read(&assistant->store, query_model, &look, err);
		if (status == KEEP_OK)
			status = check_model(&look, ask, err);
		stale = status == KEEP_OK && look.found;
		/* The last tries trust nothing but the table. */
		if (stale)
			status = enter_set(sets, &look.model, in_memory || i >= TRIES_MAX / 2, &set,
					   err);
		if (set) {
			status = search_set(assistant, set, &look.model, ask, &stale, err);
			in_memory = set->in_memory;
			leave_set(sets, set, stale || status != KEEP_OK);
		}
		kp_arena_release(&look.arena);
	}
	return status == KEEP_OK && stale
		       ? kp_fail(err, KEEP_BUSY, "vectors: they change faster than they are read")
		       : status;
}
