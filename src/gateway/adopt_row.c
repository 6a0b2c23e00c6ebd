/*
 * adopt_row.c - one row of an adopted file: its values by name, and which of them found a place.
 *
 * The source's columns came and went, so a column is asked for by name and may be missing; and its
 * values are of any kind, for SQLite enforces none.
 *
 * Invariants:
 *   1. A value has its place when what was stored says the same. Whatever has none by the end of
 * its row is kept in adopted_rows (adopt.c), but NULL and '', which say nothing.
 *   2. A value that cannot be stored as what it must be is CORRUPT, with its table, rowid and
 *      column; the value itself is not in the message.
 *
 * Tests: tests/contract/test_gateway_adopt.c, tests/torture/test_gateway_adopt_faults.c.
 */
#include "gateway/adopt.h"

#include <stdio.h>
#include <string.h>

void kp_adopt_row_begin(kp_adopt_row *row, kp_adopt *adopt, kp_foreign_rows *rows,
			const char *table)
{
	kp_foreign_value rowid = {.kind = KP_FOREIGN_NULL};

	row->adopt = adopt;
	row->rows = rows;
	row->table = table;
	row->count = kp_foreign_count(rows);
	row->status = kp_foreign_value_at(rows, 0, &rowid, adopt->err);
	row->rowid = rowid.kind == KP_FOREIGN_INTEGER ? rowid.integer : 0;
	memset(row->placed, 0, (size_t)row->count);
}

/* The column's index, or 0: there is none. */
static int find_column(const kp_adopt_row *row, const char *name)
{
	for (int i = 1; i < row->count; i++)
		if (strcmp(kp_foreign_name(row->rows, i), name) == 0)
			return i;
	return 0;
}

bool kp_adopt_has_column(const kp_adopt_row *row, const char *name)
{
	return find_column(row, name) != 0;
}

void kp_adopt_place(kp_adopt_row *row, const char *name, bool is_placed)
{
	row->placed[find_column(row, name)] = is_placed;
}

void kp_adopt_refuse(kp_adopt_row *row, const char *name, const char *why)
{
	if (row->status == KEEP_OK)
		row->status = kp_fail(row->adopt->err, KEEP_CORRUPT, "%s %s", name, why);
}

/* False: nothing there. */
static bool find_value(kp_adopt_row *row, const char *name, int *index, kp_foreign_value *value)
{
	*value = (kp_foreign_value){.kind = KP_FOREIGN_NULL};
	*index = find_column(row, name);
	if (row->status != KEEP_OK || !*index)
		return false;
	row->status = kp_foreign_value_at(row->rows, *index, value, row->adopt->err);
	return row->status == KEEP_OK && value->kind != KP_FOREIGN_NULL;
}

static keep_bytes copy_number(kp_adopt_row *row, const kp_foreign_value *value)
{
	char text[KP_REAL_TEXT_SIZE];
	keep_bytes copy = {.data = NULL};

	if (value->kind == KP_FOREIGN_INTEGER)
		(void)snprintf(text, sizeof text, "%lld", (long long)value->integer);
	else if (!kp_real_format(value->real, text))
		(void)snprintf(text, sizeof text, "%s", value->real > 0 ? "Inf" : "-Inf");
	row->status = kp_arena_copy(&row->adopt->row, keep_bytes_of(text), &copy, row->adopt->err);
	return copy;
}

keep_bytes kp_adopt_text(kp_adopt_row *row, const char *name)
{
	kp_foreign_value value;
	int index;

	if (!find_value(row, name, &index, &value))
		return (keep_bytes){.data = NULL};
	row->placed[index] = true;
	if (value.kind == KP_FOREIGN_INTEGER || value.kind == KP_FOREIGN_REAL)
		return copy_number(row, &value);
	if (!kp_text_is_storable(value.bytes))
		kp_adopt_refuse(row, name, "is not UTF-8 without a zero byte");
	return value.bytes;
}

keep_bytes kp_adopt_optional(kp_adopt_row *row, const char *name)
{
	keep_bytes text = kp_adopt_text(row, name);

	return text.len ? text : (keep_bytes){.data = NULL};
}

keep_bytes kp_adopt_needed(kp_adopt_row *row, const char *name)
{
	keep_bytes text = kp_adopt_optional(row, name);

	if (!text.data)
		kp_adopt_refuse(row, name, "is missing or empty");
	return text.data ? text : KEEP_BYTES("");
}

bool kp_adopt_time(kp_adopt_row *row, const char *name, int64_t *time_ms, int64_t *rest_ns)
{
	kp_foreign_value value;
	keep_error why = KEEP_ERROR_INIT;
	int64_t rest = 0;
	int index;

	*time_ms = 0;
	if (!find_value(row, name, &index, &value))
		return false;
	row->placed[index] = true;
	if (value.kind == KP_FOREIGN_INTEGER || value.kind == KP_FOREIGN_REAL) {
		kp_adopt_refuse(row, name, "is a number, not a time");
		return false;
	}
	if (!value.bytes.len)
		return false;
	if (kp_foreign_time(value.bytes, time_ms, &rest, &why) != KEEP_OK) {
		kp_adopt_refuse(row, name, why.message);
		return false;
	}
	row->placed[index] = rest == 0;
	if (rest_ns)
		*rest_ns = rest;
	return true;
}

int64_t kp_adopt_time_or(kp_adopt_row *row, const char *name, int64_t fallback)
{
	int64_t time_ms;

	return kp_adopt_time(row, name, &time_ms, NULL) ? time_ms : fallback;
}

bool kp_adopt_int(kp_adopt_row *row, const char *name, int64_t *out)
{
	kp_foreign_value value;
	int index;

	*out = 0;
	if (!find_value(row, name, &index, &value))
		return false;
	row->placed[index] = true;
	if (value.kind == KP_FOREIGN_INTEGER) {
		*out = value.integer;
		return true;
	}
	if (value.kind == KP_FOREIGN_TEXT && !value.bytes.len)
		return false;
	if (value.kind == KP_FOREIGN_TEXT && kp_int_parse(value.bytes, out))
		return true;
	kp_adopt_refuse(row, name, "is no whole number");
	return false;
}

bool kp_adopt_is(kp_adopt_row *row, const char *name)
{
	int64_t number;

	if (!kp_adopt_int(row, name, &number))
		return false;
	kp_adopt_place(row, name, number == 0 || number == 1);
	return number != 0;
}

keep_bytes kp_adopt_json(kp_adopt_row *row, const char *name, kp_json_kind kind)
{
	const kp_json *json = NULL;
	kp_foreign_value value;
	keep_status status;
	int index;

	if (!find_value(row, name, &index, &value) || value.kind != KP_FOREIGN_TEXT ||
	    !kp_text_is_storable(value.bytes))
		return (keep_bytes){.data = NULL};
	status = kp_json_parse(value.bytes, &row->adopt->row, &json, NULL);
	if (status == KEEP_NO_MEMORY)
		row->status = kp_fail_memory(row->adopt->err, "JSON");
	if (status != KEEP_OK || (kind != KP_JSON_NULL && json->kind != kind))
		return (keep_bytes){.data = NULL};
	row->placed[index] = true;
	return value.bytes;
}
