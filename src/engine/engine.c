/*
 * engine.c - the public functions: what is the same for every backend is checked here, once.
 *
 * A call comes in with bytes that nobody has looked at, passes the checks below and goes through
 * one function of the backend's table. So the backends mean the same by construction where they
 * can, and tests/contract holds them to it where they cannot.
 *
 * Invariants:
 *   1. A backend sees checked paths, sizes within the limits and scores in range, never a change
 *      on a read-only engine, never a get or set of the root.
 *   2. Everything that changes data goes through apply: whole or not at all.
 *   3. Outputs are empty unless the call succeeded.
 *   4. apply_each keeps the order of its changes. A change whose status says that it failed has
 *      changed nothing (UNCERTAIN apart), whatever became of its neighbours.
 *
 * What it does not do: open (engine_open.c), and hold any lock.
 *
 * Tests: tests/contract/test_engine_contract.c, test_engine_differential.c.
 */
#include "engine/backend.h"

#define RUN_MAX 128                     /* changes of apply_each in one transaction */
#define RUN_BYTES_MAX ((size_t)4 << 20) /* and the bytes of their values */

struct keep_engine_watch {
	keep_engine *engine;
	kp_watch *watch;
};

/* ---------------------------------------------------------------- checks */

static const kp_backend *backend_of(const keep_engine *engine)
{
	return engine->store->backend;
}

static keep_status fail_null(keep_error *err, const char *function)
{
	return kp_fail(err, KEEP_MISUSE, "%s: an argument is NULL that must not be", function);
}

static keep_status check_extended(const keep_engine *engine, const char *what, keep_error *err)
{
	if (backend_of(engine)->can_extend)
		return KEEP_OK;
	return kp_fail(err, KEEP_MISUSE,
		       "the backend %s has the six functions only and cannot do %s",
		       backend_of(engine)->name, what);
}

static keep_status check_writable(const keep_engine *engine, keep_error *err)
{
	if (engine->read_only)
		return kp_fail(err, KEEP_DENIED, "the engine was opened read-only");
	return KEEP_OK;
}

static keep_status parse_document(keep_bytes raw, kp_path_room *room, kp_path *path,
				  keep_error *err)
{
	keep_status status = kp_path_parse(raw, room, path, err);

	if (status == KEEP_OK && path->depth == 0)
		return kp_fail(err, KEEP_INVALID,
			       "path: the root has no value; a document needs a name");
	return status;
}

static keep_status check_value(const keep_engine *engine, keep_bytes value, keep_error *err)
{
	if (!value.data)
		return kp_fail(err, KEEP_MISUSE,
			       "value: absent; the empty value is {\"\", 0} and unset removes");
	if (value.len > engine->value_bytes_max)
		return kp_fail(err, KEEP_FULL, "value: %zu bytes, the limit is %llu", value.len,
			       (unsigned long long)engine->value_bytes_max);
	return KEEP_OK;
}

static keep_status check_score(int64_t score_ms, keep_error *err)
{
	if (score_ms < 0 || score_ms > KEEP_ENGINE_SCORE_MAX)
		return kp_fail(err, KEEP_INVALID, "score_ms: %lld is not within 0 and %lld",
			       (long long)score_ms, (long long)KEEP_ENGINE_SCORE_MAX);
	return KEEP_OK;
}

/* Check one change and bring it to a backend's form; its path may borrow from `room`. */
static keep_status check_change(const keep_engine *engine, const keep_engine_change *change,
				kp_path_room *room, kp_change *out, keep_error *err)
{
	keep_status status;

	*out = (kp_change){.kind = change->kind};
	if (change->kind == KEEP_ENGINE_UNSET)
		return kp_path_parse(change->path, room, &out->path, err);
	status = parse_document(change->path, room, &out->path, err);
	if (status != KEEP_OK)
		return status;
	out->value = change->value;
	switch (change->kind) {
	case KEEP_ENGINE_SET: return check_value(engine, change->value, err);
	case KEEP_ENGINE_SET_SCORED:
		out->score_ms = change->score_ms;
		status = check_score(change->score_ms, err);
		return status == KEEP_OK ? check_value(engine, change->value, err) : status;
	case KEEP_ENGINE_COMPARE_AND_SET:
		out->expected = change->expected;
		return change->value.data ? check_value(engine, change->value, err) : KEEP_OK;
	case KEEP_ENGINE_UNSET: break;
	}
	return kp_fail(err, KEEP_MISUSE, "kind: %d is no kind of change", (int)change->kind);
}

/* ---------------------------------------------------------------- reading */

keep_status keep_engine_get(keep_engine *engine, keep_bytes path, keep_buffer *value,
			    keep_error *err)
{
	kp_path_room room;
	kp_path parsed;
	keep_status status;

	if (!engine || !value)
		return fail_null(err, "keep_engine_get");
	status = parse_document(path, &room, &parsed, err);
	if (status == KEEP_OK)
		status = backend_of(engine)->get(engine->store, &parsed, value, err);
	if (status != KEEP_OK) {
		value->len = 0;
		if (value->data)
			value->data[0] = '\0';
	}
	return status;
}

static keep_status check_range(int64_t offset, int64_t limit, keep_error *err)
{
	if (offset < 0)
		return kp_fail(err, KEEP_INVALID, "offset: %lld is below 0", (long long)offset);
	if (limit < 0)
		return kp_fail(err, KEEP_INVALID, "limit: %lld is below 0", (long long)limit);
	if (limit > KEEP_ENGINE_LIST_MAX)
		return kp_fail(err, KEEP_INVALID, "limit: %lld is over %lld", (long long)limit,
			       (long long)KEEP_ENGINE_LIST_MAX);
	return KEEP_OK;
}

static keep_status list_children(keep_engine *engine, keep_bytes path, int64_t offset,
				 int64_t limit, bool names_wanted, keep_engine_list *list,
				 keep_error *err)
{
	keep_engine_sink sink = {.names_wanted = names_wanted};
	kp_path_room room;
	kp_path parsed;
	keep_status status = kp_path_parse(path, &room, &parsed, err);

	if (status == KEEP_OK)
		status = check_range(offset, limit, err);
	if (status != KEEP_OK || limit == 0)
		return status;
	status = backend_of(engine)->list(engine->store, &parsed, offset, limit, &sink, err);
	if (status == KEEP_OK)
		status = kp_engine_sink_finish(&sink, list, err);
	kp_sink_release(&sink);
	return status;
}

keep_status keep_engine_list_values(keep_engine *engine, keep_bytes path, int64_t offset,
				    int64_t limit, keep_engine_list *list, keep_error *err)
{
	if (!engine || !list)
		return fail_null(err, "keep_engine_list_values");
	*list = (keep_engine_list)KEEP_ENGINE_LIST_INIT;
	return list_children(engine, path, offset, limit, false, list, err);
}

keep_status keep_engine_list_names(keep_engine *engine, keep_bytes path, int64_t offset,
				   int64_t limit, keep_engine_list *list, keep_error *err)
{
	keep_status status;

	if (!engine || !list)
		return fail_null(err, "keep_engine_list_names");
	*list = (keep_engine_list)KEEP_ENGINE_LIST_INIT;
	status = check_extended(engine, "list_names", err);
	if (status != KEEP_OK)
		return status;
	return list_children(engine, path, offset, limit, true, list, err);
}

keep_status keep_engine_count(keep_engine *engine, keep_bytes path, int64_t *count, keep_error *err)
{
	kp_path_room room;
	kp_path parsed;
	keep_status status;

	if (!engine || !count)
		return fail_null(err, "keep_engine_count");
	*count = 0;
	status = kp_path_parse(path, &room, &parsed, err);
	if (status == KEEP_OK)
		status = backend_of(engine)->count(engine->store, &parsed, count, err);
	if (status != KEEP_OK)
		*count = 0;
	return status;
}

keep_status keep_engine_scan(keep_engine *engine, keep_bytes path,
			     keep_engine_scan_callback *callback, void *ctx, keep_error *err)
{
	kp_path_room room;
	kp_path parsed;
	keep_status status;

	if (!engine || !callback)
		return fail_null(err, "keep_engine_scan");
	status = check_extended(engine, "scan", err);
	if (status == KEEP_OK)
		status = kp_path_parse(path, &room, &parsed, err);
	if (status != KEEP_OK)
		return status;
	return backend_of(engine)->scan(engine->store, &parsed, callback, ctx, err);
}

void keep_engine_describe(const keep_engine *engine, keep_engine_info *out)
{
	if (!out)
		return;
	*out = (keep_engine_info){.backend = "", .durability = "unknown"};
	if (!engine)
		return;
	*out = (keep_engine_info){
		.backend = backend_of(engine)->name,
		.durability = backend_of(engine)->durability(engine->store),
		.can_extend = backend_of(engine)->can_extend,
	};
}

/* ---------------------------------------------------------------- changing */

static keep_status apply_one(keep_engine *engine, const keep_engine_change *change, keep_error *err)
{
	kp_path_room room;
	kp_change checked;
	keep_status status = check_change(engine, change, &room, &checked, err);

	if (status == KEEP_OK)
		status = check_writable(engine, err);
	return status == KEEP_OK ? backend_of(engine)->apply(engine->store, &checked, 1, err)
				 : status;
}

keep_status keep_engine_set(keep_engine *engine, keep_bytes path, keep_bytes value, keep_error *err)
{
	keep_engine_change change = {.kind = KEEP_ENGINE_SET, .path = path, .value = value};

	return engine ? apply_one(engine, &change, err) : fail_null(err, "keep_engine_set");
}

keep_status keep_engine_unset(keep_engine *engine, keep_bytes path, keep_error *err)
{
	keep_engine_change change = {.kind = KEEP_ENGINE_UNSET, .path = path};

	return engine ? apply_one(engine, &change, err) : fail_null(err, "keep_engine_unset");
}

keep_status keep_engine_clear(keep_engine *engine, keep_error *err)
{
	keep_engine_change change = {.kind = KEEP_ENGINE_UNSET, .path = KEEP_BYTES("")};

	return engine ? apply_one(engine, &change, err) : fail_null(err, "keep_engine_clear");
}

keep_status keep_engine_set_scored(keep_engine *engine, keep_bytes path, keep_bytes value,
				   int64_t score_ms, keep_error *err)
{
	keep_engine_change change = {
		.kind = KEEP_ENGINE_SET_SCORED, .path = path, .value = value, .score_ms = score_ms};
	keep_status status;

	if (!engine)
		return fail_null(err, "keep_engine_set_scored");
	status = check_extended(engine, "set_scored", err);
	return status == KEEP_OK ? apply_one(engine, &change, err) : status;
}

keep_status keep_engine_compare_and_set(keep_engine *engine, keep_bytes path, keep_bytes expected,
					keep_bytes value, keep_error *err)
{
	keep_engine_change change = {.kind = KEEP_ENGINE_COMPARE_AND_SET,
				     .path = path,
				     .value = value,
				     .expected = expected};
	keep_status status;

	if (!engine)
		return fail_null(err, "keep_engine_compare_and_set");
	status = check_extended(engine, "compare_and_set", err);
	return status == KEEP_OK ? apply_one(engine, &change, err) : status;
}

/* Check one change of many: a path that had to be rewritten moves from `room` to `arena`. */
static keep_status check_kept(const keep_engine *engine, const keep_engine_change *change,
			      kp_path_room *room, kp_arena *arena, kp_change *out, keep_error *err)
{
	keep_status status = check_change(engine, change, room, out, err);
	keep_bytes text;

	if (status != KEEP_OK || out->path.text.data != room->bytes)
		return status;
	status = kp_arena_copy(arena, out->path.text, &text, err);
	if (status == KEEP_OK)
		out->path = kp_path_of(text);
	return status;
}

static keep_status apply_batch(keep_engine *engine, const keep_engine_change *changes, size_t count,
			       keep_error *err)
{
	keep_status status = KEEP_OK;
	kp_arena arena = {.head = NULL};
	kp_path_room room;
	kp_change *checked = kp_arena_alloc(&arena, count * sizeof *checked);

	if (!checked) {
		status = kp_fail_memory(err, "a batch");
		goto out;
	}
	for (size_t i = 0; i < count; i++) {
		status = check_kept(engine, &changes[i], &room, &arena, &checked[i], err);
		if (status != KEEP_OK) {
			status = kp_prefix(err, status, "changes[%zu]", i);
			goto out;
		}
	}
	status = check_writable(engine, err);
	if (status == KEEP_OK)
		status = backend_of(engine)->apply(engine->store, checked, count, err);
out:
	kp_arena_release(&arena);
	return status;
}

keep_status keep_engine_batch(keep_engine *engine, const keep_engine_change *changes, size_t count,
			      keep_error *err)
{
	keep_status status;

	if (!engine || (count && !changes))
		return fail_null(err, "keep_engine_batch");
	status = check_extended(engine, "batch", err);
	if (status != KEEP_OK)
		return status;
	if (count > KEEP_ENGINE_BATCH_MAX)
		return kp_fail(err, KEEP_FULL, "a batch of %zu changes, the limit is %d", count,
			       KEEP_ENGINE_BATCH_MAX);
	if (count == 0)
		return check_writable(engine, err);
	return apply_batch(engine, changes, count, err);
}

/* ---------------------------------------------------------------- apply_each
 *
 * Neighbouring changes form a run that is tried as one transaction. When it fails for a reason
 * that may lie in one of them, they are tried one by one; a reason that lies in the backend is
 * every member's, and trying again would only wait again. A COMPARE_AND_SET is its own run: its
 * refusal is an ordinary answer and must not cost its neighbours their transaction.
 */
typedef struct change_run {
	keep_engine *engine;
	keep_status *statuses; /* of all changes, by index */
	keep_error *errors;    /* the same, or NULL */
	size_t count;
	size_t value_bytes;
	kp_arena arena; /* paths that had to be rewritten */
	kp_change changes[RUN_MAX];
	size_t indexes[RUN_MAX]; /* where each stands among all changes */
} change_run;

static void note_result(change_run *run, size_t index, keep_status status, const keep_error *error)
{
	run->statuses[index] = status;
	if (run->errors)
		run->errors[index] = status == KEEP_OK ? (keep_error)KEEP_ERROR_INIT : *error;
}

static bool lies_in_one_change(keep_status status)
{
	switch (status) {
	case KEEP_NOT_FOUND:
	case KEEP_INVALID:
	case KEEP_CONFLICT:
	case KEEP_FULL:
	case KEEP_CORRUPT:
	case KEEP_NO_MEMORY:
	case KEEP_MISUSE: return true;
	case KEEP_OK:
	case KEEP_DENIED:
	case KEEP_BUSY:
	case KEEP_UNAVAILABLE:
	case KEEP_UNCERTAIN:
	case KEEP_TOO_NEW: break;
	}
	return false;
}

static void apply_run(change_run *run)
{
	const kp_backend *backend = backend_of(run->engine);
	keep_error error = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;
	bool alone;

	if (run->count > 0)
		status = backend->apply(run->engine->store, run->changes, run->count, &error);
	alone = run->count > 1 && lies_in_one_change(status);
	for (size_t i = 0; i < run->count; i++) {
		if (alone)
			status = backend->apply(run->engine->store, &run->changes[i], 1, &error);
		note_result(run, run->indexes[i], status, &error);
	}
	run->count = 0;
	run->value_bytes = 0;
	kp_arena_release(&run->arena);
}

/* Add a change to the run, applying what is there first when it does not fit in. */
static void add_to_run(change_run *run, const keep_engine_change *change, size_t index)
{
	bool alone =
		change->kind == KEEP_ENGINE_COMPARE_AND_SET || !backend_of(run->engine)->can_extend;
	keep_error error = KEEP_ERROR_INIT;
	kp_path_room room;
	kp_change checked;
	keep_status status;

	if (alone || run->count == RUN_MAX || run->value_bytes > RUN_BYTES_MAX)
		apply_run(run);
	status = check_kept(run->engine, change, &room, &run->arena, &checked, &error);
	if (status == KEEP_OK)
		status = check_writable(run->engine, &error);
	if (status == KEEP_OK && change->kind != KEEP_ENGINE_SET &&
	    change->kind != KEEP_ENGINE_UNSET)
		status = check_extended(run->engine, "this kind of change", &error);
	if (status != KEEP_OK) {
		note_result(run, index, status, &error);
		return;
	}
	run->changes[run->count] = checked;
	run->indexes[run->count++] = index;
	run->value_bytes += checked.value.len;
	if (alone)
		apply_run(run);
}

keep_status keep_engine_apply_each(keep_engine *engine, const keep_engine_change *changes,
				   size_t count, keep_status *statuses, keep_error *errors,
				   keep_error *err)
{
	change_run run;

	if (!engine || (count && (!changes || !statuses)))
		return fail_null(err, "keep_engine_apply_each");
	/* Not initialised as a whole: that would clear kilobytes for a single change. */
	run.engine = engine;
	run.statuses = statuses;
	run.errors = errors;
	run.count = 0;
	run.value_bytes = 0;
	run.arena = (kp_arena){.head = NULL};
	for (size_t i = 0; i < count; i++)
		add_to_run(&run, &changes[i], i);
	apply_run(&run);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- watches */

keep_status keep_engine_watch_open(keep_engine *engine, keep_bytes path, keep_engine_watch **out,
				   keep_error *err)
{
	keep_engine_watch *self = NULL;
	kp_path_room room;
	kp_path parsed;
	keep_status status;

	if (!engine || !out)
		return fail_null(err, "keep_engine_watch_open");
	*out = NULL;
	status = check_extended(engine, "watch", err);
	if (status == KEEP_OK)
		status = kp_path_parse(path, &room, &parsed, err);
	if (status != KEEP_OK)
		return status;
	self = kp_alloc_zero(sizeof *self);
	if (!self)
		return kp_fail_memory(err, "a watch");
	self->engine = engine;
	status = backend_of(engine)->watch_open(engine->store, &parsed, &self->watch, err);
	if (status != KEEP_OK) {
		kp_free(self);
		return status;
	}
	*out = self;
	return KEEP_OK;
}

keep_status keep_engine_watch_wait(keep_engine_watch *watch, int64_t timeout_ms, bool *changed,
				   keep_error *err)
{
	keep_status status;

	if (!watch || !changed)
		return fail_null(err, "keep_engine_watch_wait");
	*changed = false;
	status = backend_of(watch->engine)->watch_wait(watch->watch, timeout_ms, changed, err);
	if (status != KEEP_OK)
		*changed = false;
	return status;
}

void keep_engine_watch_cancel(keep_engine_watch *watch)
{
	if (watch)
		backend_of(watch->engine)->watch_cancel(watch->watch);
}

void keep_engine_watch_close(keep_engine_watch **watch)
{
	if (!watch || !*watch)
		return;
	backend_of((*watch)->engine)->watch_close((*watch)->watch);
	kp_free(*watch);
	*watch = NULL;
}
