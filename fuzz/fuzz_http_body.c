/*
 * Any bytes as the body of POST /v1/<store>/<verb>, for an operation that the first byte chooses:
 * read as http_calls.c does, the inputs against their description. What is taken is an object, its
 * id is JSON, and reading the id's text again gives an id; what is refused says why. Operations of
 * the engine are run on memory, and their results are JSON.
 */
#include "service/http_exchange.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static const kp_operation *choose(unsigned char byte, const kp_operation_store **store)
{
	const kp_operation *operation;
	size_t at = byte / kp_store_count();

	*store = kp_store_at(byte % kp_store_count());
	for (operation = kp_operation_at(*store, at); !operation;
	     operation = kp_operation_at(*store, at))
		at /= 2;
	return operation;
}

static void require_json(keep_bytes text)
{
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL;

	require(kp_json_parse(text, &arena, &json, NULL) == KEEP_OK);
	kp_arena_release(&arena);
}

static void run(const kp_operation_store *store, const kp_operation *operation, const kp_json *with)
{
	keep_session *session = NULL;
	keep_buffer result = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	if (store != &kp_engine_operations || operation->waits)
		return;
	require(keep_session_open("memory:", &session, NULL) == KEEP_OK);
	if (kp_session_run(session, store, operation, with, NULL, &result, &err) == KEEP_OK)
		require_json(kp_buffer_bytes(&result));
	else
		require(err.status != KEEP_OK && err.message[0]);
	keep_buffer_release(&result);
	keep_session_close(&session);
}

static void require_problem(const keep_error *err, keep_bytes id)
{
	kp_reply reply = {.status = 0};

	require(err->status != KEEP_OK && err->message[0]);
	kp_problem_with_id(&reply, 0, err, id);
	require(reply.status >= 400 && reply.status <= 599);
	require_json(kp_buffer_bytes(&reply.body));
	kp_reply_release(&reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const kp_operation_store *store;
	const kp_operation *operation;
	kp_argument arguments[KP_INPUTS_MAX];
	kp_arena arena = {.head = NULL};
	kp_call_body call = {.with = NULL};
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	if (!size)
		return 0;
	operation = choose(data[0], &store);
	status = kp_call_body_read((keep_bytes){(const char *)data + 1, size - 1}, store, operation,
				   &arena, &call, &err);
	if (call.id.data)
		require_json(call.id);
	(void)kp_operation_waits(operation, call.with);
	if (status == KEEP_OK)
		status = kp_inputs_read(operation->inputs, operation->input_count, call.with, false,
					&arena, arguments, &err);
	if (status == KEEP_OK)
		run(store, operation, call.with);
	else
		require_problem(&err, call.id);
	kp_arena_release(&arena);
	require(kp_alloc_live() == 0);
	return 0;
}
