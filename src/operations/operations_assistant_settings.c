/*
 * operations_assistant_settings.c - the assistant's operations on settings.
 *
 * A value is given and answered as text; the answer has it in its type besides.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

static const char *const type_words[] = {"string", "int", "float", "bool", "json", NULL};

#define KEY_INPUT KP_NEEDED_TEXT(1, "key", "The setting.")

static const kp_input define_inputs[] = {
	KEY_INPUT,
	KP_NEEDED_WORD(2, "value_type", type_words, "string, int, float, bool or json."),
	KP_OTHER(TEXT, "description", "What it is for."),
	KP_OTHER(TEXT, "category", "Where lists put it; application when left out."),
	KP_FLAG("is_required", "It may not be set to nothing."),
	KP_FLAG("is_sensitive", "Its value is encrypted, and shown as ***."),
	KP_OTHER(TEXT, "validation_regex", "What a whole value must match, of a string."),
	{.name = "min_value",
	 .kind = KP_KIND_JSON,
	 .nullable = true,
	 .sentence = "The smallest number."},
	{.name = "max_value",
	 .kind = KP_KIND_JSON,
	 .nullable = true,
	 .sentence = "The largest number."},
	KP_OTHER(ARRAY, "options", "The only values."),
	KP_OTHER_NUMBER("display_order", "0", "Where lists put it within its category."),
	KP_OTHER(TEXT, "default_value", "What it is without a value."),
	KP_OTHER(TEXT, "environment", "The variable that is asked before the default."),
};
static const kp_input key_inputs[] = {KEY_INPUT};
static const kp_input set_inputs[] = {
	KEY_INPUT,
	KP_NEEDED_SECRET(2, "value", "The value, as text."),
};
static const kp_input set_many_inputs[] = {
	KP_NEEDED_ARRAY(1, "values", "An array of {\"key\": …, \"value\": …}, at most 1,000."),
};
static const kp_input element_inputs[] = {
	KP_NEEDED_TEXT(0, "key", "The setting."),
	KP_NEEDED_TEXT(0, "value", "The value, as text."),
};
static const kp_input list_inputs[] = {
	KP_OTHER_AT(1, "category", "Those of a category; all when left out."),
	KP_OTHER(TEXT, "prefix", "Whose key begins with it."),
};

static const kp_member get_members[] = {
	{"key", KP_KIND_TEXT, "The setting.", NULL},
	{"origin", KP_KIND_TEXT, "stored, environment, default, or none.", NULL},
	{"text", KP_KIND_TEXT, "The value as text.", NULL},
	{"value", KP_KIND_JSON, "The value in its type.", NULL},
	{"definition", KP_KIND_OBJECT, "What it may be.", &kp_setting_record},
};

static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such setting."},
};
static const kp_outcome set_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such setting."},
	{KEEP_INVALID, false, "The value is not allowed; the message says by what."},
};
static const kp_outcome define_outcomes[] = {
	{KEEP_INVALID, false, "The definition contradicts itself."},
	{KEEP_CONFLICT, false, "The stored value would not be allowed any more."},
};

/* ---------------------------------------------------------------- functions */

static keep_status read_bound(const kp_call *call, const char *name, bool *has, double *value,
			      keep_error *err)
{
	const kp_json *json = kp_call_argument(call, name)->json;

	*has = json && json->kind != KP_JSON_NULL;
	if (!*has)
		return KEEP_OK;
	if (json->kind == KP_JSON_INTEGER)
		*value = (double)json->integer;
	else if (json->kind == KP_JSON_REAL)
		*value = json->real;
	else
		return kp_fail(err, KEEP_INVALID, "%s: a number is needed", name);
	return KEEP_OK;
}

static keep_status run_define(kp_call *call, keep_error *err)
{
	const kp_json *options = kp_call_argument(call, "options")->json;
	keep_setting setting = {
		.key = kp_call_text(call, "key"),
		.value_type = kp_call_text(call, "value_type"),
		.description = kp_call_text(call, "description"),
		.category = kp_call_text(call, "category"),
		.is_required = kp_call_flag(call, "is_required"),
		.is_sensitive = kp_call_flag(call, "is_sensitive"),
		.validation_regex = kp_call_text(call, "validation_regex"),
		.options = options ? options->raw : (keep_bytes){NULL, 0},
		.display_order = kp_call_integer(call, "display_order"),
		.default_value = kp_call_text(call, "default_value"),
		.environment = kp_call_text(call, "environment"),
	};
	keep_status status =
		read_bound(call, "min_value", &setting.has_min_value, &setting.min_value, err);

	if (status == KEEP_OK)
		status = read_bound(call, "max_value", &setting.has_max_value, &setting.max_value,
				    err);
	if (status == KEEP_OK)
		status = keep_assistant_define_setting(call->handle, &setting,
						       kp_assistant_actor(call), err);
	return kp_call_put_null(call, status);
}

static keep_status run_undefine(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_assistant_undefine_setting(call->handle, kp_call_text(call, "key"),
						      kp_assistant_actor(call), err));
}

static keep_status run_set(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_assistant_set_setting(call->handle, kp_call_text(call, "key"),
							   kp_call_text(call, "value"),
							   kp_assistant_actor(call), err));
}

static keep_status run_validate(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_assistant_validate_setting(call->handle, kp_call_text(call, "key"),
						      kp_call_text(call, "value"), err));
}

static keep_status run_set_many(kp_call *call, keep_error *err)
{
	const kp_json *array = kp_call_argument(call, "values")->json;
	size_t count = array->list.count;
	keep_setting_value *values = kp_arena_alloc(call->arena, (count + 1) * sizeof *values);
	keep_status status = KEEP_OK;

	if (!values)
		return kp_fail_memory(err, "settings");
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		kp_argument arguments[KP_COUNT(element_inputs)];

		status = kp_inputs_read(element_inputs, KP_COUNT(element_inputs),
					&array->list.items[i], false, call->arena, arguments, err);
		if (status != KEEP_OK)
			return kp_prefix(err, status, "values: element %zu", i);
		values[i] = (keep_setting_value){arguments[0].bytes, arguments[1].bytes};
	}
	return kp_call_put_null(call, keep_assistant_set_settings(call->handle, values, count,
								  kp_assistant_actor(call), err));
}

static keep_status run_reset(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_reset_setting(call->handle,
								   kp_call_text(call, "key"),
								   kp_assistant_actor(call), err));
}

static bool is_type(const keep_setting_read *read, const char *type)
{
	return kp_bytes_equal(read->definition.value_type, keep_bytes_of(type));
}

/* The value in its type: a masked one is a text, whatever it is. */
static void put_value(kp_json_writer *writer, const keep_setting_read *read)
{
	bool is_masked = read->definition.is_sensitive &&
			 kp_bytes_equal(read->text, KEEP_BYTES(KEEP_SETTING_MASK));

	kp_json_name(writer, "value");
	if (read->origin == KEEP_SETTING_NONE || !read->text.data)
		kp_json_put_null(writer);
	else if (is_masked || is_type(read, KEEP_SETTING_VALUE_TYPE_STRING))
		kp_json_put_text(writer, read->text);
	else if (is_type(read, KEEP_SETTING_VALUE_TYPE_INT))
		kp_json_put_integer(writer, read->integer);
	else if (is_type(read, KEEP_SETTING_VALUE_TYPE_FLOAT))
		kp_json_put_real(writer, read->real);
	else if (is_type(read, KEEP_SETTING_VALUE_TYPE_BOOL))
		kp_json_put_bool(writer, read->boolean);
	else
		kp_json_put_raw(writer, read->text);
}

static keep_status put_setting(kp_call *call, const keep_setting_read *read, keep_error *err)
{
	keep_status status;

	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "key", read->definition.key);
	kp_call_put_text(call, "origin", keep_bytes_of(keep_setting_origin_name(read->origin)));
	kp_call_put_text(call, "text", read->text);
	put_value(kp_call_writer(call), read);
	status = kp_assistant_put_member(call, "definition", &kp_setting_record, &read->definition,
					 err);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_setting_read read = {.origin = KEEP_SETTING_NONE};
	keep_status status =
		keep_assistant_get_setting(call->handle, kp_call_text(call, "key"),
					   kp_assistant_actor(call), &memory, &read, err);

	if (status == KEEP_OK)
		status = put_setting(call, &read, err);
	keep_assistant_wipe(&memory);
	return status;
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_setting_read_list list = {NULL, 0};
	keep_status status =
		keep_assistant_list_settings(call->handle, kp_call_text(call, "category"),
					     kp_call_text(call, "prefix"), call->arena, &list, err);

	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < list.count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		status = put_setting(call, &list.items[i], err);
		if (status == KEEP_OK)
			status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "define_setting",
	 .sentence = "Define a setting, or change its definition; a stored value stays.",
	 KP_INPUTS(define_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(define_outcomes),
	 .changes = true,
	 .run = run_define},
	{.verb = "undefine_setting",
	 .sentence = "Remove a setting, its definition and its value.",
	 KP_INPUTS(key_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_undefine},
	{.verb = "set_setting",
	 .sentence = "Set a value, checked against its definition.",
	 KP_INPUTS(set_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(set_outcomes),
	 .changes = true,
	 .run = run_set},
	{.verb = "validate_setting",
	 .sentence = "Check a value as set_setting does, and store nothing.",
	 KP_INPUTS(set_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(set_outcomes),
	 .run = run_validate},
	{.verb = "set_settings",
	 .sentence = "Set many values, all or none.",
	 KP_INPUTS(set_many_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(set_outcomes),
	 .changes = true,
	 .run = run_set_many},
	{.verb = "reset_setting",
	 .sentence = "Remove a stored value: environment or default hold again.",
	 KP_INPUTS(key_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_reset},
	{.verb = "get_setting",
	 .sentence = "Give a setting's value: stored, of the environment, or default.",
	 .more = "Reading a sensitive one is remembered by the audit log.",
	 KP_INPUTS(key_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The value.",
	 KP_MEMBERS(get_members),
	 KP_OUTCOMES(missing_outcomes),
	 .shown = "text",
	 .run = run_get},
	{.verb = "list_settings",
	 .sentence = "Give settings with their values; sensitive ones are shown as ***.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The settings, by category and order.",
	 KP_MEMBERS(get_members),
	 .shown = "key text origin",
	 .run = run_list},
};

const kp_operation_group kp_assistant_setting_group = {
	.title = "Settings",
	.operations = operations,
	.count = KP_COUNT(operations),
};
