/*
 * json_write.c - compact JSON, appended to a buffer.
 *
 * The first failure sticks: every later call does nothing but count containers, so a caller writes
 * a whole document without looking and asks once, at kp_json_finish. After a failure the buffer
 * holds a beginning of the document, for the caller to throw away.
 *
 * What it does not do: check that names and values alternate; that is the caller's code.
 *
 * Tests: tests/unit/test_json.c, where what is written is read again.
 */
#include "core/core.h"

#include <assert.h>
#include <stdio.h>

static void put(kp_json_writer *writer, keep_bytes bytes)
{
	if (writer->status == KEEP_OK)
		writer->status = kp_buffer_append(writer->out, bytes, &writer->error);
}

/* What stands before every value and name. */
static void separate(kp_json_writer *writer)
{
	if (writer->comma)
		put(writer, KEEP_BYTES(","));
	writer->comma = true;
}

static void put_escape(kp_json_writer *writer, unsigned char byte)
{
	char escape[8];

	switch (byte) {
	case '"': put(writer, KEEP_BYTES("\\\"")); return;
	case '\\': put(writer, KEEP_BYTES("\\\\")); return;
	case '\b': put(writer, KEEP_BYTES("\\b")); return;
	case '\f': put(writer, KEEP_BYTES("\\f")); return;
	case '\n': put(writer, KEEP_BYTES("\\n")); return;
	case '\r': put(writer, KEEP_BYTES("\\r")); return;
	case '\t': put(writer, KEEP_BYTES("\\t")); return;
	default: break;
	}
	snprintf(escape, sizeof escape, "\\u%04x", (unsigned)byte);
	put(writer, keep_bytes_of(escape));
}

static void put_quoted(kp_json_writer *writer, keep_bytes text)
{
	size_t run = 0, position = 0;

	if (writer->status == KEEP_OK && !kp_utf8_is_valid(text, &position))
		writer->status = kp_fail(&writer->error, KEEP_INVALID,
					 "a text is not valid UTF-8 at byte %zu", position);
	if (writer->status != KEEP_OK)
		return;
	put(writer, KEEP_BYTES("\""));
	for (size_t i = 0; i < text.len; i++) {
		unsigned char byte = (unsigned char)text.data[i];

		if (byte >= 0x20 && byte != '"' && byte != '\\')
			continue;
		put(writer, (keep_bytes){text.data + run, i - run});
		put_escape(writer, byte);
		run = i + 1;
	}
	if (text.len > run)
		put(writer, (keep_bytes){text.data + run, text.len - run});
	put(writer, KEEP_BYTES("\""));
}

static void open_container(kp_json_writer *writer, keep_bytes bracket)
{
	separate(writer);
	put(writer, bracket);
	writer->comma = false;
	writer->depth++;
}

static void close_container(kp_json_writer *writer, keep_bytes bracket)
{
	assert(writer->depth > 0);
	put(writer, bracket);
	writer->comma = true;
	writer->depth--;
}

void kp_json_begin(kp_json_writer *writer, keep_buffer *out)
{
	*writer = (kp_json_writer){.out = out, .error = KEEP_ERROR_INIT};
}

void kp_json_open_object(kp_json_writer *writer)
{
	open_container(writer, KEEP_BYTES("{"));
}

void kp_json_close_object(kp_json_writer *writer)
{
	close_container(writer, KEEP_BYTES("}"));
}

void kp_json_open_array(kp_json_writer *writer)
{
	open_container(writer, KEEP_BYTES("["));
}

void kp_json_close_array(kp_json_writer *writer)
{
	close_container(writer, KEEP_BYTES("]"));
}

void kp_json_name(kp_json_writer *writer, const char *name)
{
	kp_json_name_bytes(writer, keep_bytes_of(name));
}

void kp_json_name_bytes(kp_json_writer *writer, keep_bytes name)
{
	separate(writer);
	put_quoted(writer, name);
	put(writer, KEEP_BYTES(":"));
	writer->comma = false;
}

void kp_json_put_text(kp_json_writer *writer, keep_bytes text)
{
	if (!text.data) {
		kp_json_put_null(writer);
		return;
	}
	separate(writer);
	put_quoted(writer, text);
}

void kp_json_put_integer(kp_json_writer *writer, int64_t value)
{
	char text[24];

	snprintf(text, sizeof text, "%lld", (long long)value);
	kp_json_put_raw(writer, keep_bytes_of(text));
}

void kp_json_put_real(kp_json_writer *writer, double value)
{
	char text[KP_REAL_TEXT_SIZE];

	if (kp_real_format(value, text))
		kp_json_put_raw(writer, keep_bytes_of(text));
	else if (writer->status == KEEP_OK)
		writer->status = kp_fail(&writer->error, KEEP_INVALID,
					 "JSON has no number for infinity and not-a-number");
}

void kp_json_put_bool(kp_json_writer *writer, bool value)
{
	kp_json_put_raw(writer, value ? KEEP_BYTES("true") : KEEP_BYTES("false"));
}

void kp_json_put_null(kp_json_writer *writer)
{
	kp_json_put_raw(writer, KEEP_BYTES("null"));
}

void kp_json_put_raw(kp_json_writer *writer, keep_bytes json)
{
	separate(writer);
	put(writer, json.data ? json : KEEP_BYTES("null"));
}

keep_status kp_json_finish(kp_json_writer *writer, keep_error *err)
{
	assert(writer->depth == 0);
	if (writer->status != KEEP_OK && err)
		*err = writer->error;
	return writer->status;
}
