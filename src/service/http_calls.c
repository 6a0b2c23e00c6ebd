/*
 * http_calls.c - POST /v1/<store>/<verb>: an operation by its name, as the descriptions have it.
 *
 *     POST /v1/gateway/put_message   {"chat_jid":…,…}                  {"ok":true,"result":…}
 *                                    {"id":7,"with":{"chat_jid":…}} {"id":7,"ok":true,"result":…}
 *
 * Invariants:
 *   1. A body is an envelope when it has the member "with" and none but id, call and with; else it
 * is the inputs themselves. An empty body is {}.
 *   2. Nothing is run that access.c has not allowed; kp_access_run gives only rows that may be
 * seen.
 *   3. A result in one piece is at most KP_HTTP_RESULT_MAX; longer ones are read as JSON lines.
 *
 * What it does not do: know any operation.
 *
 * Tests: tests/http/test_http_calls.py; fuzz/fuzz_http_body.c.
 */
#include "service/http_exchange.h"

#include <string.h>
#include <strings.h>

/* ---------------------------------------------------------------- bodies */

static bool is_envelope(const kp_json *json)
{
	if (!kp_json_member(json, "with"))
		return false;
	for (size_t i = 0; i < json->list.count; i++) {
		keep_bytes name = json->list.items[i].name;

		if (!kp_bytes_equal(name, KEEP_BYTES("id")) &&
		    !kp_bytes_equal(name, KEEP_BYTES("call")) &&
		    !kp_bytes_equal(name, KEEP_BYTES("with")))
			return false;
	}
	return true;
}

static keep_status check_name(const kp_json *call, const kp_operation_store *store,
			      const kp_operation *operation, keep_error *err)
{
	const kp_operation_store *named_store = NULL;
	const kp_operation *named = NULL;
	keep_status status;

	if (call->kind != KP_JSON_TEXT)
		return kp_fail(err, KEEP_INVALID, "call: not a text");
	status = kp_operation_parse(call->text, &named_store, &named, err);
	if (status == KEEP_OK && (named_store != store || named != operation))
		status = kp_fail(err, KEEP_INVALID, "call: is not the operation of the path, %s.%s",
				 store->name, operation->verb);
	return status;
}

keep_status kp_call_body_read(keep_bytes body, const kp_operation_store *store,
			      const kp_operation *operation, kp_arena *arena, kp_call_body *out,
			      keep_error *err)
{
	const kp_json *json = NULL, *member;
	keep_status status;

	*out = (kp_call_body){.with = NULL};
	if (!body.len)
		return KEEP_OK;
	status = kp_json_parse(body, arena, &json, err);
	if (status != KEEP_OK)
		return kp_prefix(err, status, "the body");
	if (json->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "the body: %s where an object belongs",
			       kp_json_kind_name(json->kind));
	out->with = json;
	if (!is_envelope(json))
		return KEEP_OK;
	out->with = kp_json_member(json, "with");
	member = kp_json_member(json, "id");
	if (member)
		out->id = member->raw;
	member = kp_json_member(json, "call");
	return member ? check_name(member, store, operation, err) : KEEP_OK;
}

/* ---------------------------------------------------------------- what the client accepts */

static const char *const line_types[] = {"application/jsonl", "application/x-ndjson"};

/* The type of lines that Accept has; NULL: none. The end of an HTTP/1.0 body could be mistaken. */
static const char *lines_type(const kp_request *request)
{
	const char *accept =
		request->state->is_old ? NULL : kp_request_header(request, MHD_HTTP_HEADER_ACCEPT);

	for (const char *at = accept; at && *at; at = *at ? at + 1 : at) {
		at += strspn(at, " \t");
		for (size_t i = 0; i < KP_COUNT(line_types); i++) {
			size_t len = strlen(line_types[i]);

			if (strncasecmp(at, line_types[i], len) == 0 && strchr(" \t,;", at[len]))
				return line_types[i];
		}
		at += strcspn(at, ",");
	}
	return NULL;
}

/* ---------------------------------------------------------------- results */

typedef struct row_list {
	keep_buffer *out;
	size_t rows, begin;
} row_list;

static keep_status add_row(void *ctx, keep_bytes json, keep_error *err)
{
	row_list *list = ctx;
	keep_status status = KEEP_OK;

	if (list->out->len - list->begin + json.len > KP_HTTP_RESULT_MAX)
		return kp_fail(err, KEEP_FULL,
			       "the result is over %d bytes: ask for fewer rows, or for "
			       "application/jsonl",
			       KP_HTTP_RESULT_MAX);
	if (list->rows++)
		status = kp_buffer_append(list->out, KEEP_BYTES(","), err);
	return status == KEEP_OK ? kp_buffer_append(list->out, json, err) : status;
}

static keep_status run_call(kp_request *request, const kp_json *with, kp_arena *arena,
			    keep_error *err)
{
	struct kp_route_state *state = request->state;
	keep_buffer *out = &request->reply.body;
	row_list list = {.out = out, .begin = out->len};
	const kp_call_hooks hooks = {.ctx = &list, .row = add_row};
	keep_buffer unused = KEEP_BUFFER_INIT;
	keep_status status;

	if (state->operation->result != KP_RESULT_ROWS)
		return kp_waits_run(request, with, NULL, out, arena, err);
	status = kp_buffer_append(out, KEEP_BYTES("["), err);
	if (status == KEEP_OK)
		status = kp_waits_run(request, with, &hooks, &unused, arena, err);
	keep_buffer_release(&unused);
	if (status == KEEP_OK)
		status = kp_buffer_append(out, KEEP_BYTES("]"), err);
	return status;
}

static keep_status give_result(kp_request *request, const kp_call_body *call, kp_arena *arena,
			       keep_error *err)
{
	keep_buffer *out = &request->reply.body;
	keep_status status = kp_buffer_append(out, KEEP_BYTES("{"), err);

	if (status == KEEP_OK && call->id.data)
		status = kp_buffer_append(out, KEEP_BYTES("\"id\":"), err);
	if (status == KEEP_OK && call->id.data)
		status = kp_buffer_append(out, call->id, err);
	if (status == KEEP_OK && call->id.data)
		status = kp_buffer_append(out, KEEP_BYTES(","), err);
	if (status == KEEP_OK)
		status = kp_buffer_append(out, KEEP_BYTES("\"ok\":true,\"result\":"), err);
	if (status == KEEP_OK)
		status = run_call(request, call->with, arena, err);
	if (status == KEEP_OK)
		status = kp_buffer_append(out, KEEP_BYTES("}\n"), err);
	request->reply.status = 200;
	return status;
}

keep_status kp_calls_run(kp_request *request, keep_error *err)
{
	struct kp_route_state *state = request->state;
	kp_arena arena = {.head = NULL};
	kp_call_body call = {.with = NULL};
	const char *type = NULL;
	keep_status status = kp_call_body_read(kp_buffer_bytes(&request->body), state->store,
					       state->operation, &arena, &call, err);

	if (status == KEEP_OK)
		status = kp_access_check(request, state->store, state->operation, call.with, err);
	if (status == KEEP_OK && state->operation->result == KP_RESULT_ROWS)
		type = lines_type(request);
	if (status == KEEP_OK && (type || kp_operation_waits(state->operation, call.with)) &&
	    kp_exchange_moves(request)) {
		kp_arena_release(&arena);
		return KEEP_OK;
	}
	if (status == KEEP_OK)
		status = type ? kp_rows_run(request, type, call.with, &arena, err)
			      : give_result(request, &call, &arena, err);
	if (status != KEEP_OK && !state->rows) {
		kp_problem_with_id(&request->reply, 0, err, call.id);
		status = KEEP_OK;
	}
	kp_arena_release(&arena);
	return status;
}
