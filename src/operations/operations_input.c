/*
 * operations_input.c - what a caller passed, checked against the description of the inputs.
 *
 * Invariants:
 *   1. After a success every required input is given, every default is filled in, every integer is
 *      within its range, every word is one of those allowed, and bytes are decoded.
 *   2. An input that the description does not know is refused, so that a misspelt option never
 *      passes as its default; the engine's JSON lines alone let others by (`others`), because
 *      other people's programs write them.
 *   3. A message begins with the input's name.
 *
 * What it does not do: judge paths; the stores do, in one place.
 *
 * Tests: tests/unit/test_operations.c.
 */
#include "operations/operations_table.h"

#include <assert.h>
#include <string.h>

const char *kp_kind_name(kp_input_kind kind)
{
	switch (kind) {
	case KP_KIND_TEXT: return "a text";
	case KP_KIND_PATH: return "a path";
	case KP_KIND_BYTES: return "bytes";
	case KP_KIND_INTEGER: return "an integer";
	case KP_KIND_BOOLEAN: return "a boolean";
	case KP_KIND_TIME: return "a time";
	case KP_KIND_ARRAY: return "an array";
	case KP_KIND_OBJECT: return "an object";
	case KP_KIND_JSON: return "any JSON";
	}
	return "?";
}

static keep_status fail_kind(const kp_input *input, const kp_json *value, keep_error *err)
{
	const char *wanted = kp_kind_name(input->kind);

	if (input->kind == KP_KIND_PATH || input->kind == KP_KIND_BYTES)
		wanted = kp_kind_name(KP_KIND_TEXT);
	if (input->kind == KP_KIND_TIME)
		wanted = "milliseconds or an RFC 3339 text";
	return kp_fail(err, KEEP_INVALID, "%s: %s where %s belongs", input->name,
		       kp_json_kind_name(value->kind), wanted);
}

static keep_status read_integer(const kp_input *input, int64_t value, kp_argument *out,
				keep_error *err)
{
	if (value < input->min)
		return kp_fail(err, KEEP_INVALID, "%s: %lld is below %lld", input->name,
			       (long long)value, (long long)input->min);
	if (value > input->max)
		return kp_fail(err, KEEP_INVALID, "%s: %lld is over %lld", input->name,
			       (long long)value, (long long)input->max);
	out->integer = value;
	return KEEP_OK;
}

static keep_status read_word(const kp_input *input, keep_bytes text, kp_argument *out,
			     keep_error *err)
{
	const char *const *word = input->words;

	out->bytes = text;
	while (word && *word && !kp_bytes_equal(keep_bytes_of(*word), text))
		word++;
	if (word && !*word)
		return kp_fail(err, KEEP_INVALID, "%s: '%" KP_PRI "' is not one of its words",
			       input->name, KP_ARG(text));
	return KEEP_OK;
}

static keep_status read_time(const kp_input *input, const kp_json *value, kp_argument *out,
			     keep_error *err)
{
	keep_status status;

	if (value->kind == KP_JSON_INTEGER) {
		out->integer = value->integer;
		return KEEP_OK;
	}
	status = keep_time_parse(value->text, &out->integer, err);
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", input->name);
}

static keep_status read_value(const kp_input *input, const kp_json *value, kp_argument *out,
			      keep_error *err)
{
	bool text = value->kind == KP_JSON_TEXT;

	out->given = true;
	switch (input->kind) {
	case KP_KIND_TEXT:
		return text ? read_word(input, value->text, out, err)
			    : fail_kind(input, value, err);
	case KP_KIND_PATH:
	case KP_KIND_BYTES:
		out->bytes = value->text;
		return text ? KEEP_OK : fail_kind(input, value, err);
	case KP_KIND_INTEGER:
		return value->kind == KP_JSON_INTEGER
			       ? read_integer(input, value->integer, out, err)
			       : fail_kind(input, value, err);
	case KP_KIND_BOOLEAN:
		out->boolean = value->kind == KP_JSON_BOOL && value->boolean;
		return value->kind == KP_JSON_BOOL ? KEEP_OK : fail_kind(input, value, err);
	case KP_KIND_TIME:
		return text || value->kind == KP_JSON_INTEGER ? read_time(input, value, out, err)
							      : fail_kind(input, value, err);
	case KP_KIND_ARRAY:
		out->json = value;
		return value->kind == KP_JSON_ARRAY ? KEEP_OK : fail_kind(input, value, err);
	case KP_KIND_OBJECT:
		out->json = value;
		return value->kind == KP_JSON_OBJECT ? KEEP_OK : fail_kind(input, value, err);
	case KP_KIND_JSON: out->json = value; return KEEP_OK;
	}
	return kp_fail(err, KEEP_MISUSE, "%s: a kind that nobody knows", input->name);
}

static void fill_default(const kp_input *input, kp_argument *out)
{
	if (!input->fallback)
		return;
	out->given = true;
	out->bytes = keep_bytes_of(input->fallback);
	out->boolean = strcmp(input->fallback, "true") == 0;
	if (input->kind == KP_KIND_INTEGER || input->kind == KP_KIND_TIME) {
		bool is_number = kp_int_parse(out->bytes, &out->integer);

		assert(is_number);
		(void)is_number;
	}
}

static keep_status decode_bytes(const kp_input *input, kp_arena *arena, kp_argument *argument,
				keep_error *err)
{
	keep_buffer decoded = KEEP_BUFFER_INIT;
	keep_status status = kp_base64_decode(argument->bytes, &decoded, err);

	if (status == KEEP_OK)
		status = kp_arena_copy(arena, kp_buffer_bytes(&decoded), &argument->bytes, err);
	keep_buffer_release(&decoded);
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", input->name);
}

static const kp_input *find_input(const kp_input *inputs, size_t count, keep_bytes name)
{
	for (size_t i = 0; i < count; i++)
		if (kp_bytes_equal(keep_bytes_of(inputs[i].name), name))
			return &inputs[i];
	return NULL;
}

static keep_status read_members(const kp_input *inputs, size_t count, const kp_json *with,
				bool others, kp_argument *arguments, bool *seen, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; with && i < with->list.count && status == KEEP_OK; i++) {
		const kp_json *member = &with->list.items[i];
		const kp_input *input = find_input(inputs, count, member->name);

		if (!input && others)
			continue;
		if (!input)
			return kp_fail(err, KEEP_INVALID, "%" KP_PRI ": no such input",
				       KP_ARG(member->name));
		seen[input - inputs] = true;
		if (member->kind != KP_JSON_NULL)
			status = read_value(input, member, &arguments[input - inputs], err);
		else if (!input->nullable)
			status = fail_kind(input, member, err);
	}
	return status;
}

keep_status kp_inputs_read(const kp_input *inputs, size_t count, const kp_json *with, bool others,
			   kp_arena *arena, kp_argument *arguments, keep_error *err)
{
	bool seen[KP_INPUTS_MAX] = {false};
	bool encoded = false;
	keep_status status;

	assert(count <= KP_INPUTS_MAX);
	memset(arguments, 0, count * sizeof *arguments);
	if (with && with->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "with: %s where an object belongs",
			       kp_json_kind_name(with->kind));
	status = read_members(inputs, count, with, others, arguments, seen, err);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		if (!seen[i] && inputs[i].required)
			status = kp_fail(err, KEEP_INVALID, "%s: missing", inputs[i].name);
		else if (!seen[i])
			fill_default(&inputs[i], &arguments[i]);
		if (strcmp(inputs[i].name, "encoding") == 0)
			encoded = kp_bytes_equal(arguments[i].bytes, KEEP_BYTES("base64"));
	}
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		if (encoded && inputs[i].kind == KP_KIND_BYTES && arguments[i].given)
			status = decode_bytes(&inputs[i], arena, &arguments[i], err);
	return status;
}
