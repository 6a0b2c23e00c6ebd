/*
 * http_waits.c - calls that wait for others to do something.
 *
 * A client may go away while its call waits, and the service may stop. A store's wait ends when it
 * has something or its time is up, so it is made in slices: after each, somebody looks whether the
 * answer is still wanted. A wait that only tells what is there (an answer of false, or of no rows)
 * can be repeated; what tells that something happened meanwhile cannot (engine.watch), for what
 * happens between two slices would be missed: that one is made once, and not longer than WHOLE_MS.
 *
 * Invariants:
 *   1. The slices are together as long as was asked for, unless the client is gone or the service
 *      stops; then the answer is that of a time that is up.
 *   2. An answer that says something is given at once.
 *
 * What it does not do: wait itself.
 *
 * Tests: tests/http/test_http_waits.py.
 */
#include "service/http_exchange.h"

#include <string.h>

enum { SLICE_MS = 400, WHOLE_MS = 60 * 1000 };

static const kp_input *find_input(const kp_operation *operation, const char *name)
{
	for (size_t i = 0; i < operation->input_count; i++)
		if (strcmp(operation->inputs[i].name, name) == 0)
			return &operation->inputs[i];
	return NULL;
}

/* The input that says how long; NULL: the operation has none. */
static const kp_input *time_input(const kp_operation *operation)
{
	const kp_input *input =
		find_input(operation, operation->waits_with ? operation->waits_with : "timeout_ms");

	return input && input->kind == KP_KIND_INTEGER ? input : NULL;
}

/* How long is asked for; below 0: for ever. False: what was given is for the operation to refuse.
 */
static bool asked_ms(const kp_input *input, const kp_json *with, int64_t *out)
{
	const kp_json *given = kp_json_member(with, input->name);

	*out = 0;
	if (given && given->kind != KP_JSON_NULL) {
		*out = given->kind == KP_JSON_INTEGER ? given->integer : 0;
		return given->kind == KP_JSON_INTEGER && *out >= input->min && *out <= input->max;
	}
	if (input->fallback)
		return kp_int_parse(keep_bytes_of(input->fallback), out);
	return true;
}

/* `with` with another time. */
static kp_json replace_time(const kp_json *with, const kp_input *input, int64_t time_ms,
			    kp_json *items)
{
	kp_json object = {.kind = KP_JSON_OBJECT};
	size_t count = 0;

	for (size_t i = 0; with && i < with->list.count; i++)
		if (!kp_bytes_equal(with->list.items[i].name, keep_bytes_of(input->name)))
			items[count++] = with->list.items[i];
	items[count++] = (kp_json){
		.kind = KP_JSON_INTEGER, .name = keep_bytes_of(input->name), .integer = time_ms};
	object.list.items = items;
	object.list.count = count;
	return object;
}

/* Whether a result says that the time was up. */
typedef struct wait_rows {
	const kp_call_hooks *hooks;
	size_t count;
} wait_rows;

static keep_status count_row(void *ctx, keep_bytes json, keep_error *err)
{
	wait_rows *rows = ctx;

	rows->count++;
	return rows->hooks->row(rows->hooks->ctx, json, err);
}

static bool says_nothing(const kp_operation *operation, keep_bytes result, const wait_rows *rows)
{
	if (operation->result == KP_RESULT_ROWS)
		return rows->count == 0;
	if (operation->result == KP_RESULT_BOOLEAN)
		return kp_bytes_equal(result, KEEP_BYTES("false"));
	/* {"answered":false}: its verdict is its only member. */
	return operation->verdict && result.len < 64 && result.len > 7 &&
	       memcmp(result.data + result.len - 7, ":false}", 7) == 0;
}

static bool is_wanted(const kp_request *request)
{
	return !atomic_load(&request->state->http->is_ending) &&
	       !kp_link_is_gone(request->state->link);
}

static keep_status run_slices(kp_request *request, const kp_json *with, const kp_input *input,
			      int64_t asked, const kp_call_hooks *hooks, keep_buffer *result,
			      kp_json *items, keep_error *err)
{
	struct kp_route_state *state = request->state;
	wait_rows rows = {.hooks = hooks};
	const kp_call_hooks counting = {.ctx = &rows, .row = count_row};
	size_t before = result->len;
	int64_t begin_ms = kp_now_ms(), left_ms = asked;
	bool is_once = state->store == &kp_engine_operations;
	int64_t slice_max = is_once ? WHOLE_MS : SLICE_MS;
	keep_status status = KEEP_OK;

	for (;;) {
		int64_t slice = left_ms < 0 || left_ms > slice_max ? slice_max : left_ms;
		kp_json object = replace_time(with, input, slice, items);
		keep_bytes said;

		result->len = before;
		status = kp_access_run(request, state->store, state->operation, &object,
				       hooks ? &counting : NULL, result, err);
		if (status != KEEP_OK || is_once)
			return status;
		said = (keep_bytes){result->data + before, result->len - before};
		if (asked >= 0)
			left_ms = begin_ms + asked - kp_now_ms();
		if (!says_nothing(state->operation, said, &rows) || (asked >= 0 && left_ms <= 0) ||
		    !is_wanted(request))
			return KEEP_OK;
	}
}

keep_status kp_waits_run(kp_request *request, const kp_json *with, const kp_call_hooks *hooks,
			 keep_buffer *result, kp_arena *arena, keep_error *err)
{
	const struct kp_route_state *state = request->state;
	const kp_operation *operation = state->operation;
	const kp_input *input = kp_operation_waits(operation, with) ? time_input(operation) : NULL;
	int64_t asked = 0;
	kp_json *items;

	if (!input || !asked_ms(input, with, &asked) || asked == 0)
		return kp_access_run(request, state->store, operation, with, hooks, result, err);
	items = kp_arena_alloc(arena, ((with ? with->list.count : 0) + 1) * sizeof *items);
	if (!items)
		return kp_fail_memory(err, "a call");
	return run_slices(request, with, input, asked, hooks, result, items, err);
}
