/*
 * operations_engine.c - the engine's operations: their functions, and what a session has open.
 *
 * A home holds any number of engines, each under a name that is one path segment: a folder as
 * HOME/engine/<name>.db, a server as the namespace <name> of the schema engine. A session opened
 * on an engine's own URL has exactly that one, and a name is refused.
 *
 * Invariants:
 *   1. An engine is opened by the first call that needs it and stays open as long as the session.
 *   2. A change makes an engine that is missing. A read does not: in a home, a missing engine is
 *      an empty one (engine == NULL below); behind a URL of its own it is NOT_FOUND. A watch in a
 *      home makes it, because there must be something to wait at.
 *   3. A wait is in the state's list from before `started` until it has ended, so cancel finds it.
 *
 * The descriptions stand in operations_engine_table.c.
 *
 * Tests: tests/unit/test_operations.c, tests/cli/.
 */
#include "operations/operations_engine.h"

#include "engine/backend.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { ENGINE_NAME_BYTES_MAX = 200 }; /* "<name>.db-journal" must be a file name */

typedef struct engine_slot {
	struct engine_slot *next;
	keep_engine *engine;
	size_t name_len;
	char name[];
} engine_slot;

typedef struct engine_wait {
	struct engine_wait *next;
	keep_engine_watch *watch;
} engine_wait;

typedef struct engine_state {
	const kp_place *place;
	keep_engine_options options;
	pthread_mutex_t mutex; /* guards what follows */
	engine_slot *slots;
	engine_wait *waits;
	bool cancelled;
} engine_state;

/* ---------------------------------------------------------------- the state */

keep_status kp_engine_state_open(const kp_place *place, const kp_argument *settings, void **state,
				 keep_error *err)
{
	engine_state *self = kp_alloc_zero(sizeof *self);

	*state = self;
	if (!self)
		return kp_fail_memory(err, "a session");
	self->place = place;
	self->options = (keep_engine_options)KEEP_ENGINE_OPTIONS_INIT;
	self->options.relaxed =
		kp_bytes_equal(settings[KP_SETTING_DURABILITY].bytes, KEEP_BYTES("relaxed"));
	self->options.shared = settings[KP_SETTING_SHARED].boolean;
	self->options.read_only = settings[KP_SETTING_READ_ONLY].boolean;
	self->options.timeout_ms = settings[KP_SETTING_TIMEOUT_MS].integer;
	self->options.value_bytes_max = (uint64_t)settings[KP_SETTING_VALUE_BYTES_MAX].integer;
	pthread_mutex_init(&self->mutex, NULL);
	return KEEP_OK;
}

void kp_engine_state_close(void **state)
{
	engine_state *self = *state;
	engine_slot *slot, *next;

	*state = NULL;
	if (!self)
		return;
	for (slot = self->slots; slot; slot = next) {
		next = slot->next;
		keep_engine_close(&slot->engine);
		kp_free(slot);
	}
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}

void kp_engine_state_cancel(void *state)
{
	engine_state *self = state;

	pthread_mutex_lock(&self->mutex);
	self->cancelled = true;
	for (engine_wait *wait = self->waits; wait; wait = wait->next)
		keep_engine_watch_cancel(wait->watch);
	pthread_mutex_unlock(&self->mutex);
}

/* ---------------------------------------------------------------- where an engine is */

static keep_status check_name(keep_bytes name, keep_error *err)
{
	kp_path_room room;
	kp_path path;
	keep_status status = kp_path_parse(name, &room, &path, err);

	if (status == KEEP_OK && (path.depth != 1 || path.text.len != name.len))
		return kp_fail(err, KEEP_INVALID, "engine: '%" KP_PRI "' is not one path segment",
			       KP_ARG(name));
	if (status == KEEP_OK && name.len > ENGINE_NAME_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "engine: a name of %zu bytes, the limit is %d",
			       name.len, ENGINE_NAME_BYTES_MAX);
	return status == KEEP_OK ? status : kp_prefix(err, status, "engine");
}

/* The URL of a namespace: what is not plainly a letter or digit is percent-encoded. */
static keep_status format_server_url(const char *home, keep_bytes name, keep_buffer *url,
				     keep_error *err)
{
	keep_status status = kp_buffer_append_format(url, err, "%s%sschema=engine&namespace=", home,
						     strchr(home, '?') ? "&" : "?");

	for (size_t i = 0; i < name.len && status == KEEP_OK; i++)
		status = kp_buffer_append_format(url, err, "%%%02x", (unsigned char)name.data[i]);
	return status;
}

static keep_status find_in_folder(const char *home, keep_bytes name, bool create, keep_buffer *url,
				  keep_error *err)
{
	char file[ENGINE_NAME_BYTES_MAX + sizeof ".db"];

	(void)snprintf(file, sizeof file, "%.*s.db", (int)name.len, name.data);
	return kp_home_file_url(home, "engine", file, create, url, err);
}

static keep_status find_url(const kp_place *place, keep_bytes name, bool create, keep_buffer *url,
			    keep_error *err)
{
	switch (place->kind) {
	case KP_PLACE_FOLDER: return find_in_folder(place->text, name, create, url, err);
	case KP_PLACE_SERVER: return format_server_url(place->text, name, url, err);
	case KP_PLACE_STORE: break;
	}
	return kp_buffer_append_text(url, place->text, err);
}

/* ---------------------------------------------------------------- opening */

static keep_status open_slot(engine_state *self, keep_bytes name, bool create, keep_engine **out,
			     keep_error *err)
{
	keep_engine_options options = self->options;
	engine_slot *slot = kp_alloc_zero(sizeof *slot + name.len);
	keep_buffer url = KEEP_BUFFER_INIT;
	keep_status status;

	if (!slot)
		return kp_fail_memory(err, "a session");
	options.create = create && !options.read_only;
	status = find_url(self->place, name, options.create, &url, err);
	if (status == KEEP_OK)
		status = keep_engine_open(url.data, &options, &slot->engine, err);
	keep_buffer_release(&url);
	if (status != KEEP_OK) {
		kp_free(slot);
		return status;
	}
	slot->name_len = name.len;
	if (name.len)
		memcpy(slot->name, name.data, name.len);
	slot->next = self->slots;
	self->slots = slot;
	*out = slot->engine;
	return KEEP_OK;
}

static keep_engine *find_slot(const engine_state *self, keep_bytes name)
{
	for (const engine_slot *slot = self->slots; slot; slot = slot->next)
		if (slot->name_len == name.len && memcmp(slot->name, name.data, name.len) == 0)
			return slot->engine;
	return NULL;
}

keep_status kp_engine_state_find(void *state, keep_bytes name, bool create, keep_engine **out,
				 keep_error *err)
{
	engine_state *self = state;
	bool is_home = self->place->kind != KP_PLACE_STORE;
	keep_status status = KEEP_OK;

	*out = NULL;
	if (!is_home && name.data)
		return kp_fail(err, KEEP_INVALID,
			       "engine: the session is on one engine's own URL; only a home has "
			       "engines by name");
	if (!name.data)
		name = is_home ? KEEP_BYTES("default") : KEEP_BYTES("");
	if (is_home)
		status = check_name(name, err);
	if (status != KEEP_OK)
		return status;
	pthread_mutex_lock(&self->mutex);
	*out = find_slot(self, name);
	if (!*out)
		status = open_slot(self, name, create, out, err);
	pthread_mutex_unlock(&self->mutex);
	if (status == KEEP_NOT_FOUND && is_home && !create)
		status = KEEP_OK;
	return status;
}

/* The engine a call is about; NULL: a home's that does not exist yet. */
static keep_status find_engine(const kp_call *call, keep_engine **out, keep_error *err)
{
	const engine_state *self = call->state;
	bool create = call->operation->changes ||
		      (call->operation->waits && self->place->kind != KP_PLACE_STORE);

	return kp_engine_state_find(call->state, kp_call_argument(call, "engine")->bytes, create,
				    out, err);
}

keep_status kp_engine_state_make(void *state, keep_error *err)
{
	keep_engine *engine;

	return kp_engine_state_find(state, (keep_bytes){NULL, 0}, true, &engine, err);
}

/* ---------------------------------------------------------------- reading */

static keep_bytes path_of(const kp_call *call)
{
	return kp_call_argument(call, "path")->bytes;
}

/* A path is checked although there is no engine to ask. */
static keep_status check_path(keep_bytes path, bool root_allowed, keep_error *err)
{
	kp_path_room room;
	kp_path parsed;
	keep_status status = kp_path_parse(path, &room, &parsed, err);

	if (status == KEEP_OK && parsed.depth == 0 && !root_allowed)
		return kp_fail(err, KEEP_INVALID,
			       "path: the root has no value; a document needs a name");
	return status;
}

keep_status kp_engine_run_get(kp_call *call, keep_error *err)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_engine *engine;
	keep_status status = find_engine(call, &engine, err);

	if (status == KEEP_OK && engine) {
		status = keep_engine_get(engine, path_of(call), &value, err);
	} else if (status == KEEP_OK) {
		status = check_path(path_of(call), false, err);
		if (status == KEEP_OK)
			status = kp_fail(err, KEEP_NOT_FOUND, "path '%" KP_PRI "': no document",
					 KP_ARG(path_of(call)));
	}
	if (status == KEEP_OK)
		kp_call_put_bytes(call, kp_buffer_bytes(&value));
	keep_buffer_release(&value);
	return status;
}

static keep_status put_row(kp_call *call, const char *name_is, keep_bytes name, keep_bytes value,
			   keep_error *err)
{
	kp_json_writer *row;

	kp_call_row_begin(call);
	row = kp_call_writer(call);
	if (name_is) {
		kp_json_open_object(row);
		kp_json_name(row, name_is);
		kp_json_put_text(row, name);
		kp_json_name(row, "value");
	}
	kp_call_put_bytes(call, value);
	if (name_is)
		kp_json_close_object(row);
	return kp_call_row_end(call, err);
}

keep_status kp_engine_run_list(kp_call *call, keep_error *err)
{
	int64_t offset = kp_call_argument(call, "offset")->integer;
	int64_t limit = kp_call_argument(call, "limit")->integer;
	bool names = kp_call_argument(call, "names")->boolean;
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_engine *engine;
	keep_status status = find_engine(call, &engine, err);

	if (status == KEEP_OK && !engine)
		status = check_path(path_of(call), true, err);
	else if (status == KEEP_OK && names)
		status = keep_engine_list_names(engine, path_of(call), offset, limit, &list, err);
	else if (status == KEEP_OK)
		status = keep_engine_list_values(engine, path_of(call), offset, limit, &list, err);
	kp_call_open_rows(call);
	for (size_t i = 0; i < list.count && status == KEEP_OK; i++)
		status = put_row(call, names ? "name" : NULL, list.items[i].name,
				 list.items[i].value, err);
	kp_call_close_rows(call);
	keep_engine_list_release(&list);
	return status;
}

keep_status kp_engine_run_count(kp_call *call, keep_error *err)
{
	int64_t count = 0;
	keep_engine *engine;
	keep_status status = find_engine(call, &engine, err);

	if (status == KEEP_OK && engine)
		status = keep_engine_count(engine, path_of(call), &count, err);
	else if (status == KEEP_OK)
		status = check_path(path_of(call), true, err);
	if (status == KEEP_OK)
		kp_json_put_integer(kp_call_writer(call), count);
	return status;
}

typedef struct scan_rows {
	kp_call *call;
	int64_t left; /* rows; below 0: no limit */
	keep_status status;
	keep_error error;
} scan_rows;

static bool put_scanned(void *ctx, keep_bytes path, keep_bytes value)
{
	scan_rows *rows = ctx;

	if (rows->left == 0)
		return false;
	rows->left--;
	rows->status = put_row(rows->call, "path", path, value, &rows->error);
	return rows->status == KEEP_OK;
}

keep_status kp_engine_run_scan(kp_call *call, keep_error *err)
{
	const kp_argument *limit = kp_call_argument(call, "limit");
	scan_rows rows = {.call = call, .left = limit->given ? limit->integer : -1};
	keep_engine *engine;
	keep_status status = find_engine(call, &engine, err);

	kp_call_open_rows(call);
	if (status == KEEP_OK && engine)
		status = keep_engine_scan(engine, path_of(call), put_scanned, &rows, err);
	else if (status == KEEP_OK)
		status = check_path(path_of(call), true, err);
	kp_call_close_rows(call);
	if (status == KEEP_OK && rows.status != KEEP_OK) {
		status = rows.status;
		if (err)
			*err = rows.error;
	}
	return status;
}

keep_status kp_engine_run_describe(kp_call *call, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_engine_info info;
	keep_engine *engine;
	keep_status status = find_engine(call, &engine, err);

	if (status == KEEP_OK && !engine)
		status = kp_fail(err, KEEP_NOT_FOUND, "engine: nothing was stored in it yet");
	if (status != KEEP_OK)
		return status;
	keep_engine_describe(engine, &info);
	kp_json_open_object(writer);
	kp_json_name(writer, "backend");
	kp_json_put_text(writer, keep_bytes_of(info.backend));
	kp_json_name(writer, "durability");
	kp_json_put_text(writer, keep_bytes_of(info.durability));
	kp_json_name(writer, "can_extend");
	kp_json_put_bool(writer, info.can_extend);
	kp_json_close_object(writer);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- changing */

static const kp_argument *argument_of(const kp_operation *operation, const kp_argument *arguments,
				      const char *name)
{
	kp_call call = {.operation = operation, .arguments = arguments};

	return kp_call_argument(&call, name);
}

void kp_engine_change_read(const kp_operation *operation, const kp_argument *arguments,
			   keep_engine_change *change)
{
	*change = (keep_engine_change){.kind = KEEP_ENGINE_UNSET, .path = KEEP_BYTES("")};
	if (operation == &kp_engine_table[KP_ENGINE_CLEAR])
		return;
	change->path = argument_of(operation, arguments, "path")->bytes;
	if (operation == &kp_engine_table[KP_ENGINE_UNSET])
		return;
	change->value = argument_of(operation, arguments, "value")->bytes;
	if (operation == &kp_engine_table[KP_ENGINE_COMPARE]) {
		change->kind = KEEP_ENGINE_COMPARE_AND_SET;
		change->expected = argument_of(operation, arguments, "expected")->bytes;
	} else if (argument_of(operation, arguments, "score_ms")->given) {
		change->kind = KEEP_ENGINE_SET_SCORED;
		change->score_ms = argument_of(operation, arguments, "score_ms")->integer;
	} else {
		change->kind = KEEP_ENGINE_SET;
	}
}

bool kp_engine_is_change(const kp_operation *operation)
{
	return operation->run == kp_engine_run_change;
}

keep_status kp_engine_run_change(kp_call *call, keep_error *err)
{
	keep_engine_change change;
	keep_engine *engine;
	keep_status status = find_engine(call, &engine, err), applied = KEEP_OK;
	keep_error error = KEEP_ERROR_INIT;

	kp_engine_change_read(call->operation, call->arguments, &change);
	/* A read-only session on a home without this engine. */
	if (status == KEEP_OK && !engine)
		status = kp_fail(err, KEEP_DENIED, "the engine was opened read-only");
	if (status == KEEP_OK)
		status = keep_engine_apply_each(engine, &change, 1, &applied, &error, err);
	if (status == KEEP_OK && applied != KEEP_OK) {
		status = applied;
		if (err)
			*err = error;
	}
	if (call->operation->result == KP_RESULT_TRUE)
		kp_json_put_bool(kp_call_writer(call), true);
	else
		kp_json_put_null(kp_call_writer(call));
	return status;
}

static keep_status find_change_operation(const kp_json *change, const kp_operation **out,
					 keep_error *err)
{
	const kp_json *op = kp_json_member(change, "op");

	if (change->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "%s where an object belongs",
			       kp_json_kind_name(change->kind));
	if (!op || op->kind != KP_JSON_TEXT)
		return kp_fail(err, KEEP_INVALID, "op: %s", op ? "not a text" : "missing");
	*out = kp_operation_find(&kp_engine_operations, op->text);
	if (!*out || !kp_engine_is_change(*out))
		return kp_fail(err, KEEP_INVALID,
			       "op: '%" KP_PRI "' is none of set, unset, clear, compare_and_set",
			       KP_ARG(op->text));
	return KEEP_OK;
}

/* A change is read as the operation that it names, without `engine`, which stands last. */
static keep_status read_change(const kp_json *json, kp_arena *arena, keep_engine_change *change,
			       keep_error *err)
{
	kp_argument arguments[KP_INPUTS_MAX] = {{.given = false}};
	const kp_operation *operation = NULL;
	keep_status status = find_change_operation(json, &operation, err);

	for (size_t i = 0; status == KEEP_OK && i < json->list.count; i++) {
		keep_bytes name = json->list.items[i].name;
		bool known = kp_bytes_equal(name, KEEP_BYTES("op"));

		for (size_t k = 0; k + 1 < operation->input_count; k++)
			known |= kp_bytes_equal(name, keep_bytes_of(operation->inputs[k].name));
		if (!known)
			status = kp_fail(err, KEEP_INVALID, "%" KP_PRI ": no such input",
					 KP_ARG(name));
	}
	if (status == KEEP_OK)
		status = kp_inputs_read(operation->inputs, operation->input_count - 1, json, true,
					arena, arguments, err);
	if (status == KEEP_OK)
		kp_engine_change_read(operation, arguments, change);
	return status;
}

keep_status kp_engine_run_batch(kp_call *call, keep_error *err)
{
	const kp_json *array = kp_call_argument(call, "changes")->json;
	keep_engine_change *changes = NULL;
	keep_engine *engine;
	keep_status status = KEEP_OK;

	if (array->list.count > KEEP_ENGINE_BATCH_MAX)
		return kp_fail(err, KEEP_FULL, "changes: %zu, the limit is %d", array->list.count,
			       KEEP_ENGINE_BATCH_MAX);
	changes = kp_arena_alloc(call->arena, array->list.count * sizeof *changes);
	if (!changes)
		return kp_fail_memory(err, "a batch");
	for (size_t i = 0; i < array->list.count && status == KEEP_OK; i++) {
		status = read_change(&array->list.items[i], call->arena, &changes[i], err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "changes[%zu]", i);
	}
	if (status == KEEP_OK)
		status = find_engine(call, &engine, err);
	if (status == KEEP_OK && !engine)
		status = kp_fail(err, KEEP_DENIED, "the engine was opened read-only");
	if (status == KEEP_OK)
		status = keep_engine_batch(engine, changes, array->list.count, err);
	kp_json_put_null(kp_call_writer(call));
	return status;
}

/* ---------------------------------------------------------------- waiting */

/* False: the session was cancelled before. */
static bool enter_wait(engine_state *self, engine_wait *wait)
{
	bool entered;

	pthread_mutex_lock(&self->mutex);
	entered = !self->cancelled;
	if (entered) {
		wait->next = self->waits;
		self->waits = wait;
	}
	pthread_mutex_unlock(&self->mutex);
	return entered;
}

static void leave_wait(engine_state *self, engine_wait *wait)
{
	engine_wait **link = &self->waits;

	pthread_mutex_lock(&self->mutex);
	while (*link != wait)
		link = &(*link)->next;
	*link = wait->next;
	pthread_mutex_unlock(&self->mutex);
}

keep_status kp_engine_run_watch(kp_call *call, keep_error *err)
{
	engine_wait wait = {.watch = NULL};
	bool changed = false;
	keep_engine *engine;
	keep_status status = find_engine(call, &engine, err);

	if (status == KEEP_OK && !engine)
		status = kp_fail(err, KEEP_NOT_FOUND, "engine: nothing was stored in it yet");
	if (status == KEEP_OK)
		status = keep_engine_watch_open(engine, path_of(call), &wait.watch, err);
	if (status == KEEP_OK && enter_wait(call->state, &wait)) {
		kp_call_started(call);
		status = keep_engine_watch_wait(
			wait.watch, kp_call_argument(call, "timeout_ms")->integer, &changed, err);
		leave_wait(call->state, &wait);
	}
	keep_engine_watch_close(&wait.watch);
	if (status == KEEP_OK)
		kp_json_put_bool(kp_call_writer(call), changed);
	return status;
}
