/*
 * operations_result.c - how an operation's function reads its arguments and writes its result.
 *
 * The one rule for values: with `"encoding":"base64"` in the call every value comes as base64;
 * without it every value is text, and one that is not UTF-8 makes the call INVALID with a sentence
 * that says to ask for base64. A caller never has to guess which of the two it was given.
 *
 * Rows are elements of the result's array, or, when the caller wants them one by one, documents of
 * their own handed to its hook: then no more than one row is held.
 *
 * Tests: tests/unit/test_operations.c, tests/cli/.
 */
#include "keep/mailbox.h" /* KEEP_NOW */
#include "operations/operations_table.h"

#include <assert.h>
#include <string.h>

const kp_argument *kp_call_argument(const kp_call *call, const char *name)
{
	for (size_t i = 0; i < call->operation->input_count; i++)
		if (strcmp(call->operation->inputs[i].name, name) == 0)
			return &call->arguments[i];
	assert(false && "an operation reads an input that it does not describe");
	return NULL;
}

keep_bytes kp_call_text(const kp_call *call, const char *name)
{
	return kp_call_argument(call, name)->bytes;
}

int64_t kp_call_integer(const kp_call *call, const char *name)
{
	return kp_call_argument(call, name)->integer;
}

bool kp_call_flag(const kp_call *call, const char *name)
{
	return kp_call_argument(call, name)->boolean;
}

int64_t kp_call_time(const kp_call *call, const char *name, int64_t otherwise)
{
	const kp_argument *argument = kp_call_argument(call, name);

	return argument->given ? argument->integer : otherwise;
}

keep_status kp_call_texts(const kp_call *call, const char *name, const keep_bytes **items,
			  size_t *count, keep_error *err)
{
	const kp_json *array = kp_call_argument(call, name)->json;
	keep_bytes *texts;

	*items = NULL;
	*count = array ? array->list.count : 0;
	if (*count == 0)
		return KEEP_OK;
	texts = kp_arena_alloc(call->arena, *count * sizeof *texts);
	if (!texts)
		return kp_fail_memory(err, name);
	for (size_t i = 0; i < *count; i++) {
		const kp_json *item = &array->list.items[i];

		if (item->kind != KP_JSON_TEXT)
			return kp_fail(err, KEEP_INVALID, "%s[%zu]: %s where a text belongs", name,
				       i, kp_json_kind_name(item->kind));
		texts[i] = item->text;
	}
	*items = texts;
	return KEEP_OK;
}

static bool has_row_hook(const kp_call *call)
{
	return call->hooks && call->hooks->row;
}

kp_json_writer *kp_call_writer(kp_call *call)
{
	return has_row_hook(call) && call->operation->result == KP_RESULT_ROWS ? &call->row
									       : call->result;
}

void kp_call_started(kp_call *call)
{
	if (call->hooks && call->hooks->started)
		call->hooks->started(call->hooks->ctx);
}

void kp_call_put_bytes(kp_call *call, keep_bytes bytes)
{
	kp_json_writer *writer = kp_call_writer(call);
	size_t position = 0;

	if (writer->status != KEEP_OK)
		return;
	if (kp_bytes_equal(kp_call_argument(call, "encoding")->bytes, KEEP_BYTES("base64"))) {
		writer->status = kp_base64_encode(bytes, &call->scratch, &writer->error);
		kp_json_put_text(writer, kp_buffer_bytes(&call->scratch));
	} else if (kp_utf8_is_valid(bytes, &position)) {
		kp_json_put_text(writer, bytes);
	} else {
		writer->status = kp_fail(&writer->error, KEEP_INVALID,
					 "value: not UTF-8 at byte %zu; ask for it with "
					 "\"encoding\":\"base64\"",
					 position);
	}
}

int64_t kp_call_now(const kp_call *call)
{
	return kp_call_time(call, "now_ms", KEEP_NOW);
}

void kp_call_put_text(kp_call *call, const char *name, keep_bytes text)
{
	kp_json_name(kp_call_writer(call), name);
	kp_json_put_text(kp_call_writer(call), text);
}

void kp_call_put_number(kp_call *call, const char *name, int64_t value)
{
	kp_json_name(kp_call_writer(call), name);
	kp_json_put_integer(kp_call_writer(call), value);
}

void kp_call_put_flag(kp_call *call, const char *name, bool value)
{
	kp_json_name(kp_call_writer(call), name);
	kp_json_put_bool(kp_call_writer(call), value);
}

keep_status kp_call_put_time(kp_call *call, const char *name, bool is_there, int64_t time_ms,
			     keep_error *err)
{
	char text[KEEP_TIME_TEXT_SIZE] = "";
	keep_status status = is_there ? keep_time_format(time_ms, text, err) : KEEP_OK;

	if (status == KEEP_OK)
		kp_call_put_text(call, name,
				 is_there ? keep_bytes_of(text) : (keep_bytes){NULL, 0});
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", name);
}

keep_status kp_call_put_null(kp_call *call, keep_status status)
{
	if (status == KEEP_OK)
		kp_json_put_null(kp_call_writer(call));
	return status;
}

keep_status kp_call_put_integer(kp_call *call, keep_status status, int64_t value)
{
	if (status == KEEP_OK)
		kp_json_put_integer(kp_call_writer(call), value);
	return status;
}

keep_status kp_call_put_bool(kp_call *call, keep_status status, bool value)
{
	if (status == KEEP_OK)
		kp_json_put_bool(kp_call_writer(call), value);
	return status;
}

keep_status kp_call_answer_empty(kp_call *call, const char *store, keep_error *err)
{
	if (call->operation->changes)
		return kp_fail(err, KEEP_DENIED, "the %s was opened for reading only", store);
	switch (call->operation->result) {
	case KP_RESULT_ROWS:
		kp_call_open_rows(call);
		kp_call_close_rows(call);
		return KEEP_OK;
	case KP_RESULT_BOOLEAN: return kp_call_put_bool(call, KEEP_OK, false);
	case KP_RESULT_INTEGER: return kp_call_put_integer(call, KEEP_OK, 0);
	default: return kp_fail(err, KEEP_NOT_FOUND, "%s: nothing was stored in it yet", store);
	}
}

void kp_call_open_rows(kp_call *call)
{
	if (!has_row_hook(call))
		kp_json_open_array(call->result);
}

void kp_call_row_begin(kp_call *call)
{
	if (!has_row_hook(call))
		return;
	call->row_text->len = 0;
	kp_json_begin(&call->row, call->row_text);
}

keep_status kp_call_row_end(kp_call *call, keep_error *err)
{
	keep_status status;

	if (!has_row_hook(call)) {
		if (call->result->status != KEEP_OK && err)
			*err = call->result->error;
		return call->result->status;
	}
	status = kp_json_finish(&call->row, err);
	if (status == KEEP_OK)
		status = call->hooks->row(call->hooks->ctx, kp_buffer_bytes(call->row_text), err);
	return status;
}

void kp_call_close_rows(kp_call *call)
{
	if (!has_row_hook(call))
		kp_json_close_array(call->result);
}
