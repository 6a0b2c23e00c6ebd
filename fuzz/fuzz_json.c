/* Whatever kp_json_parse accepts can be written, and what was written is the same value again. */
#include "core/core.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

/* The depth is limited by the reader: KP_JSON_DEPTH_MAX. */
static void write_value(kp_json_writer *writer, const kp_json *value)
{
	switch (value->kind) {
	case KP_JSON_NULL: kp_json_put_null(writer); return;
	case KP_JSON_BOOL: kp_json_put_bool(writer, value->boolean); return;
	case KP_JSON_INTEGER: kp_json_put_integer(writer, value->integer); return;
	case KP_JSON_REAL: kp_json_put_real(writer, value->real); return;
	case KP_JSON_TEXT: kp_json_put_text(writer, value->text); return;
	case KP_JSON_ARRAY: kp_json_open_array(writer); break;
	case KP_JSON_OBJECT: kp_json_open_object(writer); break;
	}
	for (size_t i = 0; i < value->list.count; i++) {
		if (value->kind == KP_JSON_OBJECT)
			kp_json_name_bytes(writer, value->list.items[i].name);
		write_value(writer, &value->list.items[i]);
	}
	if (value->kind == KP_JSON_OBJECT)
		kp_json_close_object(writer);
	else
		kp_json_close_array(writer);
}

static double number(const kp_json *value)
{
	require(value->kind == KP_JSON_INTEGER || value->kind == KP_JSON_REAL);
	return value->kind == KP_JSON_REAL ? value->real : (double)value->integer;
}

/* A real that is whole may come back as an integer; nothing else changes its kind. */
static void require_equal(const kp_json *a, const kp_json *b)
{
	require(kp_bytes_equal(a->name, b->name));
	if (a->kind == KP_JSON_REAL) {
		double first = number(a), second = number(b);

		require(memcmp(&first, &second, sizeof first) == 0);
		return;
	}
	require(a->kind == b->kind);
	switch (a->kind) {
	case KP_JSON_NULL:
	case KP_JSON_REAL: return;
	case KP_JSON_BOOL: require(a->boolean == b->boolean); return;
	case KP_JSON_INTEGER: require(a->integer == b->integer); return;
	case KP_JSON_TEXT: require(kp_bytes_equal(a->text, b->text)); return;
	case KP_JSON_ARRAY:
	case KP_JSON_OBJECT: break;
	}
	require(a->list.count == b->list.count);
	for (size_t i = 0; i < a->list.count; i++)
		require_equal(&a->list.items[i], &b->list.items[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	keep_bytes text = {(const char *)data, size};
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	const kp_json *first, *second;
	kp_json_writer writer;
	keep_error err = KEEP_ERROR_INIT;

	if (kp_json_parse(text, &arena, &first, &err) == KEEP_OK) {
		kp_json_begin(&writer, &out);
		write_value(&writer, first);
		require(kp_json_finish(&writer, &err) == KEEP_OK);
		require(kp_json_parse(kp_buffer_bytes(&out), &arena, &second, &err) == KEEP_OK);
		require_equal(first, second);
		/* A value stored by its slice is the same value, too. */
		require(kp_json_parse(first->raw, &arena, &second, &err) == KEEP_OK);
		require_equal(first, second);
	} else {
		require(err.status == KEEP_INVALID && err.message[0] != '\0');
	}
	kp_arena_release(&arena);
	keep_buffer_release(&out);
	require(kp_alloc_live() == 0);
	return 0;
}
