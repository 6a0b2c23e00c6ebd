/*
 * operations_records.c - records as operations take and give them.
 *
 * A record's field table says what its JSON is and which of a call's inputs are fields of it. So a
 * column is named once, in schema/records/, and appears in every way in.
 *
 * Invariants:
 *   1. A secret field never leaves: kp_record_json writes "***" for it.
 *   2. What was not given stays as it was in the record; the store's own defaults hold then.
 *
 * What it does not do: check values; the stores do, in one place.
 *
 * Tests: tests/unit/test_operations.c, tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_table.h"

#include <string.h>

static void put_number(char *at, const kp_field *field, char *object, int64_t value)
{
	static const bool yes = true;

	memcpy(at, &value, sizeof value);
	if (field->has_offset)
		memcpy(object + field->has_offset, &yes, sizeof yes);
}

static void put_argument(const kp_field *field, const kp_argument *argument, char *object)
{
	char *at = object + field->offset;
	keep_bytes text = argument->bytes;

	switch (field->kind) {
	case KP_JSON: text = argument->json->raw; break;
	case KP_INT:
	case KP_TIME: put_number(at, field, object, argument->integer); return;
	case KP_BOOL: memcpy(at, &argument->boolean, sizeof argument->boolean); return;
	default: break;
	}
	memcpy(at, &text, sizeof text);
}

void kp_arguments_to_record(const kp_input *inputs, size_t count, const kp_argument *arguments,
			    const kp_record *record, void *object)
{
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; arguments[i].given && k < record->field_count; k++)
			if (strcmp(inputs[i].name, record->fields[k].name) == 0)
				put_argument(&record->fields[k], &arguments[i], object);
}

keep_status kp_element_to_record(const kp_json *element, const kp_input *inputs, size_t count,
				 const kp_record *record, void *object, kp_arena *arena,
				 keep_error *err)
{
	kp_argument arguments[KP_INPUTS_MAX];
	keep_status status;

	if (element->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "%s where an object belongs",
			       kp_json_kind_name(element->kind));
	status = kp_inputs_read(inputs, count, element, false, arena, arguments, err);
	if (status == KEEP_OK)
		kp_arguments_to_record(inputs, count, arguments, record, object);
	return status;
}

void kp_call_record(const kp_call *call, const kp_record *record, void *object)
{
	kp_arguments_to_record(call->operation->inputs, call->operation->input_count,
			       call->arguments, record, object);
}

keep_status kp_call_put_record(kp_call *call, const kp_record *record, const void *object,
			       keep_error *err)
{
	return kp_record_json(record, object, kp_call_writer(call), err);
}

keep_status kp_call_put_records(kp_call *call, const kp_record *record, const void *items,
				size_t count, keep_error *err)
{
	keep_status status = KEEP_OK;

	kp_call_open_rows(call);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		status = kp_record_json(record, (const char *)items + i * record->size,
					kp_call_writer(call), err);
		if (status == KEEP_OK)
			status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

keep_status kp_call_put_array(kp_call *call, const kp_record *record, const void *items,
			      size_t count, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_status status = KEEP_OK;

	kp_json_open_array(writer);
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status =
			kp_record_json(record, (const char *)items + i * record->size, writer, err);
	kp_json_close_array(writer);
	return status;
}
