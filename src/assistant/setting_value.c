/*
 * setting_value.c - what a text must be to be a setting's value, and what a definition must be.
 *
 * A value is checked in the order that the contract gives: type, range, options, regex, required.
 * The first one that it fails is what the message tells, and no message quotes the value.
 *
 *   string   UTF-8 without control characters but tab and line feed
 *   int      decimal as it is written back: no blank, no plus sign, no leading zero; int64
 *   float    a number of JSON's grammar that a double holds: NaN, Infinity and 1e999 are none
 *   bool     true or false; in the environment also 1 yes on, 0 no off, in any case
 *   json     one value by RFC 8259
 *
 * Invariants:
 *   1. An int is compared with its bounds exactly, also where a double has no such number.
 *   2. The regex matches the whole text of a value, whatever its type; it runs in bounded time
 *      (pattern/pattern.h), and what would take longer is refused.
 *   3. The mask is never a value of a sensitive setting, so that a form that is sent back as it was
 *      shown does not store it.
 *   4. A variable that holds an encryption key is no setting's environment.
 *
 * What it does not do: read or write anything.
 *
 * Tests: tests/contract/test_assistant_settings.c, tests/torture/test_assistant_secrets_faults.c.
 */
#include "assistant/assistant_private.h"

#include <math.h>
#include <stdio.h>

#define WHOLE_BEGIN "^(?:"
#define WHOLE_END ")$"
#define NO_CASE "(?i)"
enum {
	REGEX_BYTES_MAX = KP_PATTERN_BYTES_MAX - (sizeof WHOLE_BEGIN - 1) - (sizeof WHOLE_END - 1),
	OPTIONS_BYTES_MAX = 65536,
	TURN_WORD_MAX = 5 /* bytes of "false" */
};

bool kp_setting_is_type(const keep_setting *setting, const char *type)
{
	return kp_bytes_equal(setting->value_type, keep_bytes_of(type));
}

static bool has_numbers(const keep_setting *setting)
{
	return kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_INT) ||
	       kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_FLOAT);
}

static keep_status refuse(const keep_setting *setting, const char *why, keep_error *err)
{
	return kp_fail(err, KEEP_INVALID, "setting '%" KP_PRI "': %s", KP_ARG(setting->key), why);
}

/* ---------------------------------------------------------------- types */

static bool is_plain_text(keep_bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char byte = (unsigned char)text.data[i];

		if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f)
			return false;
	}
	return kp_text_is_storable(text);
}

/* As it would be written: -0 and 007 are other spellings of numbers that have one. */
static bool is_int(keep_bytes text, int64_t *out)
{
	bool negative = text.len && text.data[0] == '-';
	size_t first = negative ? 1 : 0;

	if (text.len > first && text.data[first] == '0' && (negative || text.len > 1))
		return false;
	return kp_int_parse(text, out);
}

static keep_status check_json(const keep_setting *setting, keep_bytes text, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *value = NULL;
	keep_status status = kp_json_parse(text, &arena, &value, NULL);

	/* The parser's message may quote a name. */
	if (status == KEEP_INVALID)
		status = refuse(setting, "the value is no JSON", err);
	else if (status != KEEP_OK)
		status = kp_fail(err, status, "setting '%" KP_PRI "': the value cannot be read",
				 KP_ARG(setting->key));
	kp_arena_wipe(&arena);
	return status;
}

keep_status kp_setting_parse(const keep_setting *setting, keep_bytes text, kp_setting_number *out,
			     keep_error *err)
{
	*out = (kp_setting_number){.integer = 0};
	if (!text.data)
		return refuse(setting, "the value is missing", err);
	if (text.len > KEEP_ASSISTANT_CONTENT_MAX)
		return kp_fail(err, KEEP_FULL, "setting '%" KP_PRI "': %zu bytes, the limit is %d",
			       KP_ARG(setting->key), text.len, KEEP_ASSISTANT_CONTENT_MAX);
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_STRING))
		return is_plain_text(text) ? KEEP_OK
					   : refuse(setting,
						    "the value is not UTF-8 without control "
						    "characters other than tab and line feed",
						    err);
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_INT)) {
		if (!is_int(text, &out->integer))
			return refuse(setting, "the value is no int of 64 bits in decimal", err);
		out->real = (double)out->integer;
		return KEEP_OK;
	}
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_FLOAT))
		return kp_real_parse(text, &out->real)
			       ? KEEP_OK
			       : refuse(setting, "the value is no finite number", err);
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_BOOL)) {
		out->boolean = kp_bytes_equal(text, KEEP_BYTES("true"));
		return out->boolean || kp_bytes_equal(text, KEEP_BYTES("false"))
			       ? KEEP_OK
			       : refuse(setting, "the value is neither true nor false", err);
	}
	return check_json(setting, text, err);
}

/* The environment's words for a bool; absent: it is none. */
static keep_bytes read_turn(keep_bytes text)
{
	static const struct {
		const char *word, *means;
	} words[] = {{"true", "true"},   {"1", "true"},  {"yes", "true"}, {"on", "true"},
		     {"false", "false"}, {"0", "false"}, {"no", "false"}, {"off", "false"}};
	char small[TURN_WORD_MAX];

	if (text.len > sizeof small)
		return (keep_bytes){NULL, 0};
	for (size_t i = 0; i < text.len; i++)
		small[i] = (char)(text.data[i] >= 'A' && text.data[i] <= 'Z' ? text.data[i] + 32
									     : text.data[i]);
	for (size_t i = 0; i < KP_COUNT(words); i++)
		if (kp_bytes_equal((keep_bytes){small, text.len}, keep_bytes_of(words[i].word)))
			return keep_bytes_of(words[i].means);
	return (keep_bytes){NULL, 0};
}

keep_bytes kp_setting_from_environment(const keep_setting *setting, keep_bytes text)
{
	keep_bytes turn = {NULL, 0};

	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_BOOL))
		turn = read_turn(text);
	return turn.data ? turn : text;
}

/* ---------------------------------------------------------------- range */

/* Invariant 1. -1, 0, 1: below, equal, above. */
static int compare_int(int64_t value, double bound)
{
	int64_t whole;

	if (bound >= 9223372036854775808.0)
		return -1;
	if (bound < -9223372036854775808.0)
		return 1;
	whole = (int64_t)bound; /* towards zero */
	if (value != whole)
		return value < whole ? -1 : 1;
	return bound > (double)whole ? -1 : bound < (double)whole ? 1 : 0;
}

static int compare_bound(const keep_setting *setting, const kp_setting_number *number, double bound)
{
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_INT))
		return compare_int(number->integer, bound);
	return number->real < bound ? -1 : number->real > bound ? 1 : 0;
}

static keep_status check_range(const keep_setting *setting, const kp_setting_number *number,
			       keep_error *err)
{
	if (!has_numbers(setting))
		return KEEP_OK;
	if (setting->has_min_value && compare_bound(setting, number, setting->min_value) < 0)
		return kp_fail(err, KEEP_INVALID,
			       "setting '%" KP_PRI "': the value is below min_value, %g",
			       KP_ARG(setting->key), setting->min_value);
	if (setting->has_max_value && compare_bound(setting, number, setting->max_value) > 0)
		return kp_fail(err, KEEP_INVALID,
			       "setting '%" KP_PRI "': the value is above max_value, %g",
			       KP_ARG(setting->key), setting->max_value);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- options */

static bool is_same_json(const kp_json *a, const kp_json *b);

static bool is_number(const kp_json *value)
{
	return value->kind == KP_JSON_INTEGER || value->kind == KP_JSON_REAL;
}

static double as_real(const kp_json *value)
{
	return value->kind == KP_JSON_INTEGER ? (double)value->integer : value->real;
}

static bool is_same_list(const kp_json *a, const kp_json *b)
{
	bool same = a->list.count == b->list.count;

	for (size_t i = 0; i < a->list.count && same; i++) {
		const kp_json *mine = &a->list.items[i], *other = NULL;

		if (a->kind == KP_JSON_ARRAY)
			other = &b->list.items[i];
		for (size_t j = 0; a->kind == KP_JSON_OBJECT && j < b->list.count && !other; j++)
			if (kp_bytes_equal(mine->name, b->list.items[j].name))
				other = &b->list.items[j];
		same = other && is_same_json(mine, other);
	}
	return same;
}

/* As values: the order of members and the spelling of numbers do not count. The reader's limit of
   depth is the recursion's. */
static bool is_same_json(const kp_json *a, const kp_json *b)
{
	if (is_number(a) && is_number(b))
		return a->kind == b->kind && a->kind == KP_JSON_INTEGER ? a->integer == b->integer
									: as_real(a) == as_real(b);
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case KP_JSON_BOOL: return a->boolean == b->boolean;
	case KP_JSON_TEXT: return kp_bytes_equal(a->text, b->text);
	case KP_JSON_ARRAY:
	case KP_JSON_OBJECT: return is_same_list(a, b);
	default: return true;
	}
}

static bool is_option(const keep_setting *setting, const kp_json *option, const kp_json *json,
		      keep_bytes text, const kp_setting_number *number)
{
	if (json)
		return is_same_json(option, json);
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_STRING))
		return option->kind == KP_JSON_TEXT && kp_bytes_equal(option->text, text);
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_BOOL))
		return option->kind == KP_JSON_BOOL && option->boolean == number->boolean;
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_INT))
		return option->kind == KP_JSON_INTEGER && option->integer == number->integer;
	return is_number(option) && as_real(option) == number->real;
}

static keep_status check_options(const keep_setting *setting, keep_bytes text,
				 const kp_setting_number *number, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *options = NULL, *json = NULL;
	keep_status status;
	bool found = false;

	if (!setting->options.data)
		return KEEP_OK;
	status = kp_json_parse(setting->options, &arena, &options, NULL);
	if (status == KEEP_OK && kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_JSON))
		status = kp_json_parse(text, &arena, &json, NULL);
	if (status == KEEP_NO_MEMORY)
		status = kp_fail_memory(err, "a setting's options");
	else if (status != KEEP_OK || options->kind != KP_JSON_ARRAY)
		status = kp_fail(err, KEEP_CORRUPT,
				 "setting '%" KP_PRI "': its options are no array",
				 KP_ARG(setting->key));
	for (size_t i = 0; status == KEEP_OK && i < options->list.count && !found; i++)
		found = is_option(setting, &options->list.items[i], json, text, number);
	if (status == KEEP_OK && !found)
		status = refuse(setting, "the value is not one of its options", err);
	kp_arena_wipe(&arena);
	return status;
}

/* ---------------------------------------------------------------- regex */

/* Invariant 2: the whole text, and a leading (?i) stays in front. */
static keep_status compile_whole(const keep_setting *setting, kp_arena *arena, kp_pattern **pattern,
				 keep_error *err)
{
	char text[KP_PATTERN_BYTES_MAX + 1];
	keep_bytes regex = setting->validation_regex;
	size_t skip = regex.len >= sizeof NO_CASE - 1 &&
				      memcmp(regex.data, NO_CASE, sizeof NO_CASE - 1) == 0
			      ? sizeof NO_CASE - 1
			      : 0;
	int len;
	/* By itself first: what is no regex must not become one between parentheses. */
	keep_status status = kp_pattern_compile(regex, arena, pattern, NULL, err);

	if (status == KEEP_OK && regex.len > REGEX_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "%zu bytes, the limit is %d", regex.len,
			       REGEX_BYTES_MAX);
	if (status != KEEP_OK)
		return status;
	len = snprintf(text, sizeof text, "%.*s" WHOLE_BEGIN "%.*s" WHOLE_END, (int)skip,
		       regex.data, (int)(regex.len - skip), regex.data + skip);
	return kp_pattern_compile((keep_bytes){text, (size_t)len}, arena, pattern, NULL, err);
}

static keep_status check_regex(const keep_setting *setting, keep_bytes text, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_pattern_room room = {.words = NULL};
	kp_pattern *pattern = NULL;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (!setting->validation_regex.data)
		return KEEP_OK;
	status = compile_whole(setting, &arena, &pattern, &why);
	if (status == KEEP_INVALID)
		status = kp_fail(err, KEEP_CORRUPT,
				 "setting '%" KP_PRI "': its validation_regex cannot be read",
				 KP_ARG(setting->key));
	else if (status == KEEP_OK)
		status = kp_pattern_room_init(&room, err);
	else
		status = kp_fail_memory(err, "a setting's regex");
	if (status == KEEP_OK) {
		kp_found found = kp_pattern_search(pattern, text, &room);

		if (found == KP_FOUND_BOUND)
			status = refuse(setting, "the value is too long for its validation_regex",
					err);
		else if (found == KP_FOUND_NOT)
			status = refuse(setting, "the value does not match its validation_regex",
					err);
	}
	kp_pattern_room_release(&room);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- a value */

keep_status kp_setting_check(const keep_setting *setting, keep_bytes text,
			     kp_setting_number *number, keep_error *err)
{
	kp_setting_number mine;
	keep_status status;

	number = number ? number : &mine;
	/* Invariant 3. */
	if (setting->is_sensitive && kp_bytes_equal(text, KEEP_BYTES(KEEP_SETTING_MASK)))
		return refuse(setting, "this is what hides a value, and no value", err);
	status = kp_setting_parse(setting, text, number, err);
	if (status == KEEP_OK)
		status = check_range(setting, number, err);
	if (status == KEEP_OK)
		status = check_options(setting, text, number, err);
	if (status == KEEP_OK)
		status = check_regex(setting, text, err);
	if (status == KEEP_OK && setting->is_required && !text.len)
		status = refuse(setting, "it is required, and the value is empty", err);
	return status;
}

/* ---------------------------------------------------------------- a definition */

static bool fits_type(const keep_setting *setting, const kp_json *option)
{
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_STRING))
		return option->kind == KP_JSON_TEXT;
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_INT))
		return option->kind == KP_JSON_INTEGER;
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_FLOAT))
		return is_number(option);
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_BOOL))
		return option->kind == KP_JSON_BOOL;
	return true;
}

static keep_status check_option_types(const keep_setting *setting, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *options = NULL;
	keep_status status;

	if (!setting->options.data)
		return KEEP_OK;
	if (setting->options.len > OPTIONS_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "options: %zu bytes, the limit is %d",
			       setting->options.len, OPTIONS_BYTES_MAX);
	status = kp_json_parse(setting->options, &arena, &options, err);
	if (status == KEEP_INVALID)
		status = kp_prefix(err, status, "options");
	else if (status == KEEP_OK && (options->kind != KP_JSON_ARRAY || !options->list.count))
		status = kp_fail(err, KEEP_INVALID,
				 "options: an array with something in it is "
				 "needed");
	for (size_t i = 0; status == KEEP_OK && i < options->list.count; i++)
		if (!fits_type(setting, &options->list.items[i]))
			status = kp_fail(err, KEEP_INVALID,
					 "options: number %zu is %s, which no %" KP_PRI " is",
					 i + 1, kp_json_kind_name(options->list.items[i].kind),
					 KP_ARG(setting->value_type));
	kp_arena_release(&arena);
	return status;
}

static keep_status check_bounds(const keep_setting *setting, keep_error *err)
{
	bool has_bounds = setting->has_min_value || setting->has_max_value;

	if (has_bounds && !has_numbers(setting))
		return kp_fail(err, KEEP_INVALID,
			       "min_value, max_value: a value_type of int or float is needed, not "
			       "%" KP_PRI,
			       KP_ARG(setting->value_type));
	if ((setting->has_min_value && !isfinite(setting->min_value)) ||
	    (setting->has_max_value && !isfinite(setting->max_value)))
		return kp_fail(err, KEEP_INVALID, "min_value, max_value: are not finite");
	if (setting->has_min_value && setting->has_max_value &&
	    setting->min_value > setting->max_value)
		return kp_fail(err, KEEP_INVALID, "min_value: is above max_value");
	return KEEP_OK;
}

static keep_status check_whole_regex(const keep_setting *setting, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_pattern *pattern = NULL;
	keep_status status = KEEP_OK;

	if (setting->validation_regex.data) {
		status = compile_whole(setting, &arena, &pattern, err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "validation_regex");
	}
	kp_arena_release(&arena);
	return status;
}

/* Invariant 4. */
static keep_status check_environment(keep_bytes name, keep_error *err)
{
	bool is_name = name.len > 0 && !(name.data[0] >= '0' && name.data[0] <= '9');

	if (!name.data)
		return KEEP_OK;
	for (size_t i = 0; i < name.len && is_name; i++)
		is_name = (name.data[i] >= 'A' && name.data[i] <= 'Z') ||
			  (name.data[i] >= 'a' && name.data[i] <= 'z') ||
			  (name.data[i] >= '0' && name.data[i] <= '9') || name.data[i] == '_';
	if (!is_name || name.len > KP_KEY_MAX)
		return kp_fail(err, KEEP_INVALID,
			       "environment: a variable's name of A-Z a-z 0-9 _ is needed");
	if (kp_bytes_equal(name, KEEP_BYTES("KEEP_ENCRYPTION_KEY")) ||
	    kp_bytes_equal(name, KEEP_BYTES("ENCRYPTION_KEY")))
		return kp_fail(err, KEEP_INVALID,
			       "environment: an encryption key is for nothing else");
	return KEEP_OK;
}

keep_status kp_setting_check_definition(const keep_setting *setting, keep_error *err)
{
	static const char *const types[] = {
		KEEP_SETTING_VALUE_TYPE_STRING, KEEP_SETTING_VALUE_TYPE_INT,
		KEEP_SETTING_VALUE_TYPE_FLOAT, KEEP_SETTING_VALUE_TYPE_BOOL,
		KEEP_SETTING_VALUE_TYPE_JSON};
	bool is_type = false;
	keep_status status = kp_check_key("key", setting->key, err);

	for (size_t i = 0; i < KP_COUNT(types); i++)
		is_type |= kp_setting_is_type(setting, types[i]);
	if (status == KEEP_OK && !is_type)
		status = kp_fail(err, KEEP_INVALID,
				 "value_type: string, int, float, bool or json is needed");
	if (status == KEEP_OK)
		status = kp_check_text("description", setting->description, KP_KEY_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_key("category", setting->category, err);
	if (status == KEEP_OK)
		status = check_bounds(setting, err);
	if (status == KEEP_OK)
		status = check_option_types(setting, err);
	if (status == KEEP_OK)
		status = check_whole_regex(setting, err);
	if (status == KEEP_OK)
		status = check_environment(setting->environment, err);
	if (status == KEEP_OK && setting->default_value.data) {
		status = kp_setting_check(setting, setting->default_value, NULL, err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "default_value");
	}
	return status;
}
