/* engine_scenario.c - see engine_scenario.h. */
#include "engine_scenario.h"

#define LARGE_BYTES 70000

enum action {
	STEP_SET,
	STEP_SCORED,
	STEP_UNSET,
	STEP_CAS,
	STEP_BATCH,
	STEP_GET,
	STEP_LIST,
	STEP_NAMES,
	STEP_COUNT,
	STEP_SCAN,
	STEP_WATCH
};

static char large[LARGE_BYTES + 1];

static const struct step {
	enum action action;
	const char *path, *value, *expected;
	int64_t score;
} steps[] = {
	{.action = STEP_SET, .path = "chat/x", .value = "one"},
	{.action = STEP_SET, .path = "/chat//x", .value = "another value"},
	{.action = STEP_SET, .path = "chat/y", .value = large},
	{.action = STEP_SCORED, .path = "chat/old", .value = "old", .score = 5},
	{.action = STEP_SET, .path = "way/to/a%/deep/one", .value = ""},
	{.action = STEP_GET, .path = "chat/y"},
	{.action = STEP_CAS, .path = "creds", .value = "1"},
	{.action = STEP_CAS, .path = "creds", .value = "2", .expected = "1"},
	{.action = STEP_BATCH},
	{.action = STEP_WATCH, .path = "chat"},
	{.action = STEP_LIST, .path = "chat"},
	{.action = STEP_NAMES, .path = "chat"},
	{.action = STEP_COUNT, .path = "chat"},
	{.action = STEP_SCAN, .path = ""},
	{.action = STEP_SET, .path = "chat/x", .value = large},
	{.action = STEP_UNSET, .path = "way"},
	{.action = STEP_CAS, .path = "creds", .expected = "2"},
	{.action = STEP_UNSET, .path = "chat"},
	{.action = STEP_UNSET, .path = "chat"},
	{.action = STEP_SET, .path = "last", .value = "last"},
	{.action = STEP_UNSET, .path = ""},
	{.action = STEP_SET, .path = "after/clear", .value = "there"},
};

/* Every document and every parent that a step names. */
static const char *const paths[] = {"chat",
				    "chat/x",
				    "chat/y",
				    "chat/z",
				    "chat/old",
				    "chat/older",
				    "chat/new",
				    "chat/x/deep",
				    "chat/x/deep/er",
				    "creds",
				    "way",
				    "way/to/a%",
				    "way/to/a%/deep",
				    "way/to/a%/deep/one",
				    "last",
				    "after",
				    "after/clear",
				    "before",
				    "before/all",
				    "before/all/x"};

_Static_assert(KP_COUNT(steps) <= SCENARIO_STEPS_MAX, "states[] has one for each step");

/* ---------------------------------------------------------------- the model */

/* "/chat//x" is "chat/x" to the model. */
static const char *normal_path(const struct step *step)
{
	return step->path[0] == '/' ? "chat/x" : step->path;
}

static void change_model(model *state, const struct step *step)
{
	switch (step->action) {
	case STEP_SET: model_set(state, normal_path(step), step->value); break;
	case STEP_SCORED: model_set_scored(state, step->path, step->value, step->score); break;
	case STEP_UNSET: model_unset(state, step->path); break;
	case STEP_CAS:
		assert_true(model_compare_and_set(state, step->path, step->expected, step->value));
		break;
	case STEP_BATCH: /* as batch_once */
		model_set(state, "chat/z", "z");
		model_unset(state, "chat/x");
		model_set(state, "chat/x/deep/er", "er");
		model_set(state, "creds", "2");
		model_set_scored(state, "chat/older", "older", 4);
		model_set(state, "chat/new", "new");
		break;
	default: break;
	}
}

/* ---------------------------------------------------------------- looking */

static const char *difference(char *room, size_t size, const char *what, const char *path)
{
	snprintf(room, size, "%s of '%s'", what, path);
	return room;
}

static keep_status look_at_children(keep_engine *engine, const model *state, const char *path,
				    bool *equal, keep_error *err)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	const model_document **wanted;
	size_t count = model_children(state, path, &wanted);
	int64_t counted = 0;
	keep_status status = keep_engine_count(engine, keep_bytes_of(path), &counted, err);

	if (status == KEEP_OK)
		status = keep_engine_list_names(engine, keep_bytes_of(path), 0, 100, &list, err);
	*equal = status == KEEP_OK && counted == (int64_t)count && list.count == count;
	for (size_t i = 0; *equal && i < count; i++)
		*equal = kp_bytes_equal(list.items[i].name,
					keep_bytes_of(model_name(wanted[i]->path))) &&
			 kp_bytes_equal(list.items[i].value, keep_bytes_of(wanted[i]->value));
	keep_engine_list_release(&list);
	free(wanted);
	return status;
}

static keep_status look_at_value(keep_engine *engine, const model *state, const char *path,
				 bool *equal, keep_error *err)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	const char *wanted = model_get(state, path);
	keep_status status = keep_engine_get(engine, keep_bytes_of(path), &value, err);

	*equal = status == (wanted ? KEEP_OK : KEEP_NOT_FOUND) &&
		 (!wanted || kp_bytes_equal(kp_buffer_bytes(&value), keep_bytes_of(wanted)));
	keep_buffer_release(&value);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

static bool count_one(void *ctx, keep_bytes path, keep_bytes value)
{
	(void)path, (void)value;
	++*(size_t *)ctx;
	return true;
}

/* OK when every call succeeded; then *different is NULL, or what is not as the model says. */
static keep_status look(keep_engine *engine, const model *state, char *room, size_t size,
			const char **different, keep_error *err)
{
	keep_status status = KEEP_OK;
	size_t scanned = 0;
	bool equal = true;

	*different = NULL;
	status = look_at_children(engine, state, "", &equal, err);
	for (size_t i = 0; status == KEEP_OK && equal && i < KP_COUNT(paths); i++) {
		status = look_at_value(engine, state, paths[i], &equal, err);
		if (status == KEEP_OK && !equal)
			*different = difference(room, size, "the value", paths[i]);
		if (status != KEEP_OK || !equal)
			break;
		status = look_at_children(engine, state, paths[i], &equal, err);
		if (status == KEEP_OK && !equal)
			*different = difference(room, size, "the children", paths[i]);
	}
	if (status == KEEP_OK && equal) {
		status = keep_engine_scan(engine, KEEP_BYTES(""), count_one, &scanned, err);
		if (scanned != state->count)
			*different = difference(room, size, "a scan", "");
	} else if (status == KEEP_OK && !*different) {
		*different = difference(room, size, "the children", "");
	}
	return status;
}

static keep_status open_at(engine_scenario *self, bool shared, keep_engine **out, keep_error *err)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;

	options.create = true;
	options.shared = shared;
	options.timeout_ms = 2000;
	/* Syncs are calls that may fail; where only memory does, they would only take time. */
	options.relaxed = self->fault == KP_FAULT_ALLOC;
	return keep_engine_open(self->url, &options, out, err);
}

/* What a clean look finds must be `before`, or `after` when the call was uncertain of itself. */
static bool find_state(engine_scenario *self, keep_engine *engine, const model *before,
		       const model *after, bool uncertain, const char *who)
{
	const char *different = NULL, *still = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char one[80], two[80];
	keep_status status = look(engine, before, one, sizeof one, &different, &err);

	CHECK(status == KEEP_OK, "%s cannot look after the failed step %s: %s", who,
	      self->complaint_step, err.message);
	if (!different)
		return false;
	CHECK(uncertain, "after the failed step %s, %s finds another %s", self->complaint_step, who,
	      different);
	status = look(engine, after, two, sizeof two, &still, &err);
	CHECK(status == KEEP_OK && !still,
	      "after the uncertain step %s, %s finds neither: another %s and another %s",
	      self->complaint_step, who, different, still ? still : err.message);
	return true;
}

/* ---------------------------------------------------------------- one step on the engine */

static keep_status watch_once(keep_engine *engine, keep_bytes path, keep_error *err)
{
	keep_engine_watch *watch = NULL;
	keep_status status = keep_engine_watch_open(engine, path, &watch, err);
	bool changed;

	if (status == KEEP_OK)
		status = keep_engine_watch_wait(watch, 0, &changed, err);
	keep_engine_watch_close(&watch);
	return status;
}

static keep_status read_once(keep_engine *engine, const struct step *step, keep_error *err)
{
	keep_bytes path = keep_bytes_of(step->path);
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_status status;
	size_t scanned = 0;
	int64_t count;

	switch (step->action) {
	case STEP_GET: status = keep_engine_get(engine, path, &value, err); break;
	case STEP_LIST: status = keep_engine_list_values(engine, path, 0, 50, &list, err); break;
	case STEP_NAMES: status = keep_engine_list_names(engine, path, 0, 50, &list, err); break;
	case STEP_COUNT: status = keep_engine_count(engine, path, &count, err); break;
	case STEP_SCAN: status = keep_engine_scan(engine, path, count_one, &scanned, err); break;
	default: status = watch_once(engine, path, err); break;
	}
	keep_engine_list_release(&list);
	keep_buffer_release(&value);
	return status;
}

static keep_status batch_once(keep_engine *engine, keep_error *err)
{
	const keep_engine_change changes[] = {
		{.kind = KEEP_ENGINE_SET, .path = KEEP_BYTES("chat/z"), .value = KEEP_BYTES("z")},
		{.kind = KEEP_ENGINE_UNSET, .path = KEEP_BYTES("chat/x")},
		{.kind = KEEP_ENGINE_SET,
		 .path = KEEP_BYTES("chat/x/deep/er"),
		 .value = KEEP_BYTES("er")},
		{.kind = KEEP_ENGINE_COMPARE_AND_SET,
		 .path = KEEP_BYTES("creds"),
		 .value = KEEP_BYTES("2"),
		 .expected = KEEP_BYTES("2")},
		{.kind = KEEP_ENGINE_SET_SCORED,
		 .path = KEEP_BYTES("chat/older"),
		 .value = KEEP_BYTES("older"),
		 .score_ms = 4},
		{.kind = KEEP_ENGINE_SET,
		 .path = KEEP_BYTES("chat//new/"),
		 .value = KEEP_BYTES("new")},
	};

	return keep_engine_batch(engine, changes, KP_COUNT(changes), err);
}

static keep_status do_step(keep_engine *engine, const struct step *step, keep_error *err)
{
	keep_bytes path = keep_bytes_of(step->path), value = keep_bytes_of(step->value);

	switch (step->action) {
	case STEP_SET: return keep_engine_set(engine, path, value, err);
	case STEP_SCORED: return keep_engine_set_scored(engine, path, value, step->score, err);
	case STEP_UNSET: return keep_engine_unset(engine, path, err);
	case STEP_CAS:
		return keep_engine_compare_and_set(engine, path, keep_bytes_of(step->expected),
						   value, err);
	case STEP_BATCH: return batch_once(engine, err);
	default: return read_once(engine, step, err);
	}
}

/* ---------------------------------------------------------------- a round */

/* The faults are over. Is the step to be done again? */
static bool look_after_failure(engine_scenario *self, size_t i, keep_status failed)
{
	bool uncertain = failed == KEEP_UNCERTAIN, done;
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *second = NULL;
	char room[80];
	const char *different;
	keep_status status;

	OK(open_at(self, true, &second, &err));
	done = find_state(self, second, &self->states[i], &self->states[i + 1], uncertain,
			  "a second engine");
	keep_engine_close(&second);
	status = look(self->engine, &self->states[done ? i + 1 : i], room, sizeof room, &different,
		      &err);
	if (status != KEEP_OK && self->may_lose_handle) {
		keep_engine_close(&self->engine);
		OK(open_at(self, false, &self->engine, &err));
		return !done;
	}
	CHECK(status == KEEP_OK, "after the failed step %s the engine itself fails: %s",
	      self->complaint_step, err.message);
	CHECK(!different, "after the failed step %s the engine itself finds another %s",
	      self->complaint_step, different);
	return !done;
}

static keep_status run_steps(engine_scenario *self, bool *armed)
{
	keep_status first = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(steps); i++) {
		keep_error err = KEEP_ERROR_INIT;
		keep_status status = do_step(self->engine, &steps[i], &err);

		if (status == KEEP_OK)
			continue;
		CHECK(*armed, "step %zu fails without a fault: %s", i, err.message);
		CHECK(err.status == status && err.message[0], "step %zu: a failure without words",
		      i);
		kp_fault_disarm(self->fault);
		*armed = false;
		first = status;
		CHECK(self->expected & MAY(status), "step %zu fails with %s: %s", i,
		      keep_status_name(status), err.message);
		self->complaint_step = steps[i].path ? steps[i].path : "batch";
		if (look_after_failure(self, i, status)) {
			keep_status again = do_step(self->engine, &steps[i], &err);

			CHECK(again == KEEP_OK, "step %zu fails again: %s", i, err.message);
		}
	}
	return first;
}

/* What every round finds at its beginning, unless it is fresh. */
static void prepare_store(engine_scenario *self)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;

	if (self->is_fresh) {
		engine_fresh_url(&self->kind, self->url);
		return;
	}
	OK(open_at(self, true, &engine, &err));
	OK(keep_engine_clear(engine, &err));
	if (self->kind.persists)
		OK(keep_engine_set(engine, KEEP_BYTES("before/all/x"), KEEP_BYTES("x"), &err));
	keep_engine_close(&engine);
}

keep_status engine_scenario_run(void *ctx)
{
	engine_scenario *self = ctx;
	const model *last = &self->states[KP_COUNT(steps)];
	keep_error err = KEEP_ERROR_INIT;
	bool armed = true;
	keep_status first = open_at(self, false, &self->engine, &err), later;

	if (first != KEEP_OK) {
		kp_fault_disarm(self->fault);
		armed = false;
		self->complaint_step = "open";
		assert_null(self->engine);
		CHECK(self->expected & MAY(first), "open fails with %s: %s",
		      keep_status_name(first), err.message);
		OK(open_at(self, false, &self->engine, &err));
		find_state(self, self->engine, &self->states[0], NULL, false, "the engine");
	}
	later = run_steps(self, &armed);
	if (first == KEEP_OK)
		first = later;
	if (armed && self->kind.persists)
		keep_engine_close(&self->engine);
	kp_fault_disarm(self->fault);
	if (self->kind.persists) {
		keep_engine_close(&self->engine);
		OK(open_at(self, false, &self->engine, &err));
	}
	self->complaint_step = "at the end";
	find_state(self, self->engine, last, NULL, false, "a later engine");
	keep_engine_close(&self->engine);
	prepare_store(self);
	return first;
}

void engine_scenario_begin(engine_scenario *self, const char *kind, enum kp_fault_kind fault,
			   unsigned expected)
{
	bool is_fresh = self->is_fresh, may_lose_handle = self->may_lose_handle;

	*self = (engine_scenario){.fault = fault,
				  .expected = expected,
				  .is_fresh = is_fresh,
				  .may_lose_handle = may_lose_handle};
	memset(large, 'L', LARGE_BYTES);
	engine_urls_begin(kind, &self->kind);
	engine_fresh_url(&self->kind, self->url);
	if (self->kind.persists && !self->is_fresh)
		model_set(&self->states[0], "before/all/x", "x");
	for (size_t i = 0; i < KP_COUNT(steps); i++) {
		model_copy(&self->states[i + 1], &self->states[i]);
		change_model(&self->states[i + 1], &steps[i]);
	}
	prepare_store(self);
}

void engine_scenario_end(engine_scenario *self)
{
	for (size_t i = 0; i <= KP_COUNT(steps); i++)
		model_release(&self->states[i]);
	engine_urls_end();
}
