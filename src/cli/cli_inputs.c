/*
 * cli_inputs.c - a request's words as the JSON that a call takes.
 *
 * Words are text; the descriptions say what each is to be. Bytes may be anything a command line
 * or standard input can carry, so they travel as base64 unless the user chose an encoding.
 *
 * Tests: tests/cli/.
 */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define STDIN_BYTES_MAX ((size_t)1 << 30)
enum { READ_BYTES = 1 << 16 };

static keep_status read_stdin(keep_buffer *out, keep_error *err)
{
	keep_status status = KEEP_OK;
	size_t room = READ_BYTES;
	ssize_t got = 1;

	while (status == KEEP_OK && got > 0) {
		status = kp_buffer_reserve(out, out->len + room, err);
		if (status != KEEP_OK)
			break;
		got = read(STDIN_FILENO, out->data + out->len, room);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got < 0)
			status = kp_fail_errno(err, errno, "standard input");
		else
			out->len += (size_t)got;
		if (status == KEEP_OK && out->len > STDIN_BYTES_MAX)
			status = kp_fail(err, KEEP_FULL, "standard input: over %zu bytes",
					 STDIN_BYTES_MAX);
		room = out->len > READ_BYTES ? out->len : READ_BYTES;
	}
	return status;
}

static keep_status put_text(kp_json_writer *writer, const kp_input *input, keep_bytes text,
			    keep_error *err)
{
	size_t position = 0;

	if (!kp_utf8_is_valid(text, &position))
		return kp_fail(err, KEEP_INVALID, "%s: not UTF-8 at byte %zu", input->name,
			       position);
	kp_json_put_text(writer, text);
	return KEEP_OK;
}

static keep_status put_base64(kp_json_writer *writer, keep_bytes bytes, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_base64_encode(bytes, &text, err);

	if (status == KEEP_OK)
		kp_json_put_text(writer, kp_buffer_bytes(&text));
	keep_buffer_release(&text);
	return status;
}

/* JSON from the command line is checked here, so that it cannot close the object around it. */
static keep_status put_json(kp_json_writer *writer, const kp_input *input, keep_bytes text,
			    keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL;
	keep_status status = kp_json_parse(text, &arena, &json, err);

	if (status == KEEP_OK)
		kp_json_put_raw(writer, json->raw);
	kp_arena_release(&arena);
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", input->name);
}

static keep_status put_word(kp_json_writer *writer, const kp_input *input, const char *word,
			    bool encode, keep_error *err)
{
	keep_bytes text = keep_bytes_of(word);
	int64_t number = 0;

	switch (input->kind) {
	case KP_KIND_BYTES:
		return encode ? put_base64(writer, text, err) : put_text(writer, input, text, err);
	case KP_KIND_BOOLEAN:
		if (strcmp(word, "true") != 0 && strcmp(word, "false") != 0)
			return kp_fail(err, KEEP_INVALID, "%s: '%s' is neither true nor false",
				       input->name, word);
		kp_json_put_raw(writer, text);
		return KEEP_OK;
	case KP_KIND_INTEGER:
		if (!kp_int_parse(text, &number))
			return kp_fail(err, KEEP_INVALID, "%s: '%s' is not an integer", input->name,
				       word);
		kp_json_put_integer(writer, number);
		return KEEP_OK;
	case KP_KIND_TIME:
		if (!kp_int_parse(text, &number))
			return put_text(writer, input, text, err);
		kp_json_put_integer(writer, number);
		return KEEP_OK;
	case KP_KIND_ARRAY:
	case KP_KIND_OBJECT:
	case KP_KIND_JSON: return put_json(writer, input, text, err);
	case KP_KIND_TEXT:
	case KP_KIND_PATH: break;
	}
	return put_text(writer, input, text, err);
}

static bool is_json(const kp_input *input)
{
	return input->kind == KP_KIND_ARRAY || input->kind == KP_KIND_OBJECT ||
	       input->kind == KP_KIND_JSON;
}

bool cli_takes_stdin(const kp_input *input)
{
	return input->kind == KP_KIND_BYTES || is_json(input) || input->is_long || input->is_secret;
}

/* A line end that `echo` or an editor put behind a password is no part of it. */
static void cut_line_end(keep_buffer *bytes)
{
	if (bytes->len && bytes->data[bytes->len - 1] == '\n')
		bytes->len--;
	if (bytes->len && bytes->data[bytes->len - 1] == '\r')
		bytes->len--;
}

static keep_status put_stdin(kp_json_writer *writer, const kp_input *input, bool encode,
			     keep_error *err)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_status status = read_stdin(&bytes, err);

	if (input->is_secret)
		cut_line_end(&bytes);
	if (status == KEEP_OK && is_json(input))
		status = put_json(writer, input, kp_buffer_bytes(&bytes), err);
	else if (status == KEEP_OK && encode && input->kind == KP_KIND_BYTES)
		status = put_base64(writer, kp_buffer_bytes(&bytes), err);
	else if (status == KEEP_OK)
		status = put_text(writer, input, kp_buffer_bytes(&bytes), err);
	if (input->is_secret && bytes.data)
		kp_wipe(bytes.data, bytes.capacity);
	keep_buffer_release(&bytes);
	return status;
}

static keep_status put_input(kp_json_writer *writer, const kp_input *input, const char *word,
			     bool encode, keep_error *err)
{
	if (!word && input->required && input->place_default)
		word = input->place_default;
	if (!word && encode && strcmp(input->name, "encoding") == 0)
		word = "base64";
	if (!word && !(input->required && input->nullable))
		return KEEP_OK;
	kp_json_name(writer, input->name);
	if (!word) {
		kp_json_put_null(writer);
		return KEEP_OK;
	}
	if (cli_takes_stdin(input) && strcmp(word, "-") == 0)
		return put_stdin(writer, input, encode, err);
	return put_word(writer, input, word, encode, err);
}

static keep_status format_inputs(const kp_input *inputs, size_t count, const char *const *words,
				 bool encode, keep_buffer *out, keep_error *err)
{
	keep_status status = KEEP_OK, written;
	kp_json_writer writer;

	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = put_input(&writer, &inputs[i], words[i], encode, err);
	kp_json_close_object(&writer);
	written = kp_json_finish(&writer, status == KEEP_OK ? err : NULL);
	return status == KEEP_OK ? written : status;
}

keep_status cli_inputs_format(const cli_request *request, bool encode, keep_buffer *out,
			      keep_error *err)
{
	return format_inputs(request->operation->inputs, request->operation->input_count,
			     request->inputs, encode, out, err);
}

keep_status cli_settings_format(const cli_request *request, keep_buffer *out, keep_error *err)
{
	return format_inputs(request->store->settings, request->store->setting_count,
			     request->settings, false, out, err);
}

keep_status cli_session_open(const cli_request *request, keep_session **out, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	const kp_json *settings = NULL;
	keep_status status = cli_settings_format(request, &text, err);

	*out = NULL;
	if (status == KEEP_OK)
		status = kp_json_parse(kp_buffer_bytes(&text), &arena, &settings, err);
	if (status == KEEP_OK)
		status = kp_session_open_with(request->place, request->store, settings, out, err);
	kp_arena_release(&arena);
	keep_buffer_release(&text);
	return status;
}
