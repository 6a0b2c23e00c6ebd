/*
 * session.c - a home that is in use: which stores are open, and calls by name.
 *
 * A session is opened on a home (a folder, a server) or on one store's own URL. Nothing else is
 * opened until a call needs it.
 *
 * Invariants:
 *   1. A store's state is made once per session, by whoever comes first; calls then run without
 *      the session's lock.
 *   2. A failed call leaves no part of a result.
 *   3. Inputs are checked before a store is opened: a call that is wrong in itself touches nothing.
 *   4. A place that is no home has one store: the one that the session was opened for, or the only
 *      one that accepts its URL, or the first that is called.
 *
 * What it does not do: know any store. The descriptions carry the functions.
 *
 * Tests: tests/unit/test_operations.c, tests/cli/.
 */
#include "operations/operations_table.h"

#include <pthread.h>
#include <string.h>

struct keep_session {
	kp_place place;
	char *place_text;               /* owns place.text */
	pthread_mutex_t mutex;          /* guards what follows */
	const kp_operation_store *only; /* the store of a place that is no home; NULL: not yet */
	void *states[KP_STORES_MAX];    /* by the store's index; NULL: not yet */
	bool cancelled;
};

/* ---------------------------------------------------------------- stores */

static size_t index_of(const kp_operation_store *store)
{
	size_t index = 0;

	while (kp_store_at(index) != store)
		index++;
	return index;
}

static keep_status check_store(const keep_session *session, const kp_operation_store *store,
			       keep_error *err)
{
	if (session->place.kind != KP_PLACE_STORE || session->only == store)
		return KEEP_OK;
	if (!session->only && store->is_place(session->place.text))
		return KEEP_OK;
	if (!session->only)
		return kp_fail(err, KEEP_INVALID, "%s: needs a home, or a URL of its own",
			       store->name);
	return kp_fail(err, KEEP_INVALID, "%s: needs a home; this session is on one %s alone",
		       store->name, session->only->name);
}

static keep_status open_state(keep_session *session, const kp_operation_store *store,
			      const kp_json *settings, keep_error *err)
{
	kp_argument arguments[KP_INPUTS_MAX];
	kp_arena arena = {.head = NULL};
	void **state = &session->states[index_of(store)];
	keep_status status = kp_inputs_read(store->settings, store->setting_count, settings, false,
					    &arena, arguments, err);

	if (status == KEEP_OK)
		status = store->open(&session->place, arguments, state, err);
	if (status == KEEP_OK && session->place.kind == KP_PLACE_STORE)
		session->only = store;
	if (status == KEEP_OK && session->cancelled)
		store->cancel(*state);
	kp_arena_release(&arena);
	return status;
}

keep_status kp_session_state(keep_session *session, const kp_operation_store *store, void **state,
			     keep_error *err)
{
	keep_status status;

	*state = NULL;
	pthread_mutex_lock(&session->mutex);
	status = check_store(session, store, err);
	if (status == KEEP_OK && !session->states[index_of(store)])
		status = open_state(session, store, NULL, err);
	if (status == KEEP_OK)
		*state = session->states[index_of(store)];
	pthread_mutex_unlock(&session->mutex);
	return status;
}

keep_status kp_session_set_up(keep_session *session, const kp_operation_store *store,
			      const kp_json *settings, keep_error *err)
{
	keep_status status;

	pthread_mutex_lock(&session->mutex);
	status = check_store(session, store, err);
	if (status == KEEP_OK && session->states[index_of(store)])
		status = kp_fail(err, KEEP_MISUSE, "%s: it is open already", store->name);
	if (status == KEEP_OK)
		status = open_state(session, store, settings, err);
	pthread_mutex_unlock(&session->mutex);
	return status;
}

keep_status kp_session_handle(keep_session *session, const kp_operation_store *store, void **handle,
			      keep_error *err)
{
	void *state = NULL;
	keep_status status = kp_session_state(session, store, &state, err);

	*handle = NULL;
	return status == KEEP_OK ? store->handle(state, handle, err) : status;
}

void kp_session_let_leases_last(keep_session *session)
{
	session->place.leases_last = true;
}

void kp_session_cancel(keep_session *session)
{
	pthread_mutex_lock(&session->mutex);
	session->cancelled = true;
	for (size_t i = 0; i < kp_store_count(); i++)
		if (session->states[i])
			kp_store_at(i)->cancel(session->states[i]);
	pthread_mutex_unlock(&session->mutex);
}

/* ---------------------------------------------------------------- open and close */

static keep_status find_place(keep_session *session, const char *home, keep_error *err)
{
	size_t size = strlen(home) + 1, takers = 0;

	for (size_t i = 0; i < kp_store_count(); i++) {
		if (kp_store_at(i)->is_place(home)) {
			session->only = kp_store_at(i);
			takers++;
		}
	}
	session->place.kind = takers ? KP_PLACE_STORE : KP_PLACE_SERVER;
	if (takers > 1)
		session->only = NULL;
	if (!takers && !kp_home_is_server(home)) {
		session->place.kind = KP_PLACE_FOLDER;
		return kp_home_check(home, &session->place_text, err);
	}
	session->place_text = kp_alloc(size);
	if (!session->place_text)
		return kp_fail_memory(err, "a session");
	memcpy(session->place_text, home, size);
	return KEEP_OK;
}

keep_status kp_session_open_with(const char *home, const kp_operation_store *store,
				 const kp_json *settings, keep_session **out, keep_error *err)
{
	keep_session *session = NULL;
	keep_status status;

	if (!home || !out)
		return kp_fail(err, KEEP_MISUSE, "keep_session_open: an argument is NULL");
	*out = NULL;
	if (!*home)
		return kp_fail(err, KEEP_INVALID, "home: a folder's name or a URL is missing");
	session = kp_alloc_zero(sizeof *session);
	if (!session)
		return kp_fail_memory(err, "a session");
	pthread_mutex_init(&session->mutex, NULL);
	status = find_place(session, home, err);
	session->place.text = session->place_text;
	session->place.leases_last = store != NULL;
	if (status == KEEP_OK && store)
		status = check_store(session, store, err);
	if (status == KEEP_OK && store && session->place.kind == KP_PLACE_STORE)
		session->only = store;
	if (status == KEEP_OK && store && settings)
		status = open_state(session, store, settings, err);
	if (status != KEEP_OK)
		keep_session_close(&session);
	*out = session;
	return status;
}

keep_status keep_session_open(const char *home, keep_session **out, keep_error *err)
{
	return kp_session_open_with(home, NULL, NULL, out, err);
}

void keep_session_close(keep_session **session)
{
	keep_session *self = session ? *session : NULL;

	if (!self)
		return;
	*session = NULL;
	for (size_t i = 0; i < kp_store_count(); i++)
		if (self->states[i])
			kp_store_at(i)->close(&self->states[i]);
	pthread_mutex_destroy(&self->mutex);
	kp_free(self->place_text);
	kp_free(self);
}

/* ---------------------------------------------------------------- calls */

keep_status kp_session_run(keep_session *session, const kp_operation_store *store,
			   const kp_operation *operation, const kp_json *with,
			   const kp_call_hooks *hooks, keep_buffer *result, keep_error *err)
{
	kp_argument arguments[KP_INPUTS_MAX];
	keep_buffer row_text = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	kp_json_writer writer;
	kp_call call = {
		.operation = operation,
		.arguments = arguments,
		.arena = &arena,
		.hooks = hooks,
		.result = &writer,
		.row_text = &row_text,
	};
	size_t before = result->len;
	bool answered = false;
	keep_status status;

	kp_json_begin(&writer, result);
	status = kp_inputs_read(operation->inputs, operation->input_count, with, false, &arena,
				arguments, err);
	if (status == KEEP_OK)
		status = kp_session_state(session, store, &call.state, err);
	if (status == KEEP_OK && store->enter)
		status = store->enter(&call, &answered, err);
	if (status == KEEP_OK && !answered)
		status = operation->run(&call, err);
	if (status == KEEP_OK)
		status = kp_json_finish(&writer, err);
	if (status != KEEP_OK) {
		result->len = before;
		if (result->data)
			result->data[before] = '\0';
	}
	keep_buffer_release(&call.scratch);
	keep_buffer_release(&row_text);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_session_call(keep_session *session, keep_bytes name, keep_bytes with,
			      keep_buffer *result, keep_error *err)
{
	const kp_operation_store *store = NULL;
	const kp_operation *operation = NULL;
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL;
	keep_status status;

	if (!session || !name.data || !result)
		return kp_fail(err, KEEP_MISUSE, "keep_session_call: an argument is NULL");
	result->len = 0;
	status = kp_operation_parse(name, &store, &operation, err);
	if (status == KEEP_OK && with.len) {
		status = kp_json_parse(with, &arena, &json, err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "with");
	}
	if (status == KEEP_OK)
		status = kp_session_run(session, store, operation, json, NULL, result, err);
	kp_arena_release(&arena);
	return status;
}
