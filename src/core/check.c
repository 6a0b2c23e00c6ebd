/*
 * check.c - what a store takes from its callers.
 *
 * Both backends would refuse some of it, each in its own words and some only halfway through; so
 * it is checked here first, with the column's name in the message.
 *
 * Invariants:
 *   1. A refused input changed nothing: checks come before any statement.
 *   2. A message quotes no content, and no text longer than 200 bytes.
 *
 * Tests: tests/contract/test_gateway_messages.c, test_gateway_groups.c and their neighbours.
 */
#include "core/core.h"
#include "keep/schedule.h"

#include <string.h>

enum { FOLDER_BYTES_MAX = 255 };

keep_status kp_check_text(const char *what, keep_bytes text, size_t max, enum kp_text_rule rule,
			  keep_error *err)
{
	if (!text.data && rule == KP_MAY_BE_ABSENT)
		return KEEP_OK;
	if (!text.data || (!text.len && rule == KP_NOT_EMPTY))
		return kp_fail(err, KEEP_INVALID, "%s: is missing or empty", what);
	if (text.len > max)
		return kp_fail(err, KEEP_INVALID, "%s: %zu bytes, the limit is %zu", what, text.len,
			       max);
	if (!kp_text_is_storable(text))
		return kp_fail(err, KEEP_INVALID, "%s: is not UTF-8 without a zero byte", what);
	return KEEP_OK;
}

keep_status kp_check_key(const char *what, keep_bytes text, keep_error *err)
{
	keep_status status = kp_check_text(what, text, KP_KEY_MAX, KP_NOT_EMPTY, err);

	for (size_t i = 0; status == KEEP_OK && i < text.len; i++)
		if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f)
			return kp_fail(err, KEEP_INVALID, "%s: has a control character at byte %zu",
				       what, i);
	return status;
}

static bool is_folder_byte(char byte)
{
	return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
	       (byte >= '0' && byte <= '9') || byte == '.' || byte == '_' || byte == '-';
}

static bool is_segment(const char *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_folder_byte(at[i]))
			return false;
	return len && !(len == 1 && at[0] == '.') && !(len == 2 && at[0] == '.' && at[1] == '.');
}

keep_status kp_check_folder(const char *what, keep_bytes folder, keep_error *err)
{
	keep_status status = kp_check_text(what, folder, FOLDER_BYTES_MAX, KP_NOT_EMPTY, err);

	for (size_t at = 0; status == KEEP_OK && at <= folder.len;) {
		const char *slash = memchr(folder.data + at, '/', folder.len - at);
		size_t end = slash ? (size_t)(slash - folder.data) : folder.len;

		if (!is_segment(folder.data + at, end - at))
			return kp_fail(err, KEEP_INVALID,
				       "%s: '%" KP_PRI "' is no folder: segments of A-Z a-z 0-9 . _"
				       " - between single slashes",
				       what, KP_ARG(folder));
		at = end + 1;
	}
	return status;
}

keep_status kp_check_content(const char *what, keep_bytes text, keep_error *err)
{
	if (text.len > KP_CONTENT_MAX)
		return kp_fail(err, KEEP_FULL, "%s: %zu bytes, the limit is %d", what, text.len,
			       KP_CONTENT_MAX);
	return kp_check_text(what, text, KP_CONTENT_MAX, KP_MAY_BE_ABSENT, err);
}

keep_status kp_check_json(const char *what, keep_bytes json, kp_json_kind kind, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *value = NULL;
	keep_status status = kp_check_content(what, json, err);

	if (status == KEEP_OK && json.data) {
		status = kp_json_parse(json, &arena, &value, err);
		if (status == KEEP_INVALID)
			status = kp_prefix(err, status, "%s", what);
	}
	if (status == KEEP_OK && value && kind != KP_JSON_NULL && value->kind != kind)
		status = kp_fail(err, KEEP_INVALID, "%s: is %s, not %s", what,
				 kp_json_kind_name(value->kind), kp_json_kind_name(kind));
	kp_arena_release(&arena);
	return status;
}

keep_status kp_check_time(const char *what, int64_t time_ms, keep_error *err)
{
	if (time_ms < KEEP_TIME_MIN || time_ms > KEEP_TIME_MAX)
		return kp_fail(err, KEEP_INVALID, "%s: out of the years 1 to 9999", what);
	return KEEP_OK;
}

keep_status kp_check_limit(size_t limit, size_t fallback, size_t max, int64_t *out, keep_error *err)
{
	if (limit > max)
		return kp_fail(err, KEEP_INVALID, "limit: %zu is over %zu", limit, max);
	*out = (int64_t)(limit ? limit : fallback);
	return KEEP_OK;
}
