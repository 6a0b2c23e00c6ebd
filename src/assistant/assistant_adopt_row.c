/*
 * assistant_adopt_row.c - one row of an adopted file: into a record, or into adopted_rows.
 *
 * The source's columns have the names of ours, come and go, and hold values of any kind, for SQLite
 * enforces none. So a record is filled by the names of its fields, from what is there.
 *
 * Invariants:
 *   1. A value has its place when what was stored says the same. What has none is kept in
 *      adopted_rows beside the row's key, but NULL and '', which say nothing.
 *   2. Texts are UTF-8 without a zero byte, JSON is JSON and times are times before they are bound;
 *      what cannot be is kept, never guessed.
 *   3. A secret column is in no row of adopted_rows: it is a credential, or nothing.
 *   4. In adopted_rows a text is a text as it is; bytes, and text that is not UTF-8, are
 *      {"base64": …}.
 *
 * Times are kept to the millisecond; below that the source's order lives on in seq and id.
 *
 * Tests: tests/contract/test_assistant_adopt.c.
 */
#include "assistant/assistant_adopt.h"

#include <stdio.h>

enum { TIME_BYTES_MAX = 64 };

bool kp_taking_is(keep_bytes text, const char *word)
{
	return kp_bytes_equal(text, keep_bytes_of(word));
}

void kp_taking_note(kp_taking_row *row, const char *what)
{
	kp_taking *taking = row->taking;

	for (size_t i = 0; i < taking->remark_count; i++) {
		if (strcmp(taking->remarks[i].table, row->table) == 0 &&
		    strcmp(taking->remarks[i].what, what) == 0) {
			taking->remarks[i].count++;
			return;
		}
	}
	if (taking->remark_count < KP_TAKING_REMARKS_MAX)
		taking->remarks[taking->remark_count++] =
			(kp_taking_remark){row->table, what, 1, row->rowid};
}

/* ---------------------------------------------------------------- values by name */

/* The column's index, or 0: there is none. */
static int find_column(const kp_taking_row *row, const char *name)
{
	for (int i = 1; i < row->count; i++)
		if (strcmp(kp_foreign_name(row->rows, i), name) == 0)
			return i;
	return 0;
}

void kp_taking_place(kp_taking_row *row, const char *name, bool is_placed)
{
	row->placed[find_column(row, name)] = is_placed;
}

static keep_bytes number_text(kp_taking_row *row, const kp_foreign_value *value)
{
	char text[KP_REAL_TEXT_SIZE];
	keep_bytes copy = {NULL, 0};

	if (value->kind == KP_FOREIGN_INTEGER)
		snprintf(text, sizeof text, "%lld", (long long)value->integer);
	else if (!kp_real_format(value->real, text))
		return copy;
	row->status = kp_arena_copy(&row->taking->row_arena, keep_bytes_of(text), &copy,
				    row->taking->err);
	return copy;
}

static keep_bytes value_text(kp_taking_row *row, const kp_foreign_value *value)
{
	if (value->kind == KP_FOREIGN_INTEGER || value->kind == KP_FOREIGN_REAL)
		return number_text(row, value);
	if (value->kind == KP_FOREIGN_TEXT && kp_text_is_storable(value->bytes))
		return value->bytes;
	return (keep_bytes){NULL, 0};
}

/* False: nothing there. */
static bool find_value(kp_taking_row *row, const char *name, int *index, kp_foreign_value *value)
{
	*index = find_column(row, name);
	if (row->status != KEEP_OK || !*index)
		return false;
	row->status = kp_foreign_value_at(row->rows, *index, value, row->taking->err);
	return row->status == KEEP_OK && value->kind != KP_FOREIGN_NULL;
}

keep_bytes kp_taking_text(kp_taking_row *row, const char *name)
{
	kp_foreign_value value;
	int index;
	keep_bytes text = {NULL, 0};

	if (find_value(row, name, &index, &value))
		text = value_text(row, &value);
	return text.len ? text : (keep_bytes){NULL, 0};
}

/* The source's forms: with an offset, SQLite's, and Python's without a zone, which is UTC. */
static bool read_time(keep_bytes text, int64_t *out)
{
	char with_zone[TIME_BYTES_MAX + 2];

	if (kp_foreign_time(text, out, NULL, NULL) == KEEP_OK)
		return true;
	if (text.len < 19 || text.len >= TIME_BYTES_MAX || text.data[10] != 'T')
		return false;
	memcpy(with_zone, text.data, text.len);
	with_zone[text.len] = 'Z';
	return kp_foreign_time((keep_bytes){with_zone, text.len + 1}, out, NULL, NULL) == KEEP_OK;
}

static bool read_bool(keep_bytes text, bool *out)
{
	static const char *const words[] = {"0",    "1",  "false", "true", "False",
					    "True", "no", "yes",   "off",  "on"};

	for (size_t i = 0; i < KP_COUNT(words); i++) {
		if (kp_taking_is(text, words[i])) {
			*out = i % 2 == 1;
			return true;
		}
	}
	return false;
}

keep_bytes kp_taking_json(kp_taking_row *row, keep_bytes text, kp_json_kind kind)
{
	for (int level = 0; level < 3 && text.data && row->status == KEEP_OK; level++) {
		const kp_json *json = NULL;
		keep_status status = kp_json_parse(text, &row->taking->row_arena, &json, NULL);

		if (status == KEEP_NO_MEMORY)
			row->status = kp_fail_memory(row->taking->err, "JSON");
		if (status != KEEP_OK)
			break;
		if (json->kind == kind || (kind == KP_JSON_NULL && json->kind != KP_JSON_TEXT))
			return text;
		/* Encoded twice? A text that is no JSON is itself, where any will do. */
		if (json->kind != KP_JSON_TEXT)
			break;
		if (kind == KP_JSON_NULL &&
		    kp_check_json("text", json->text, KP_JSON_OBJECT, NULL) != KEEP_OK &&
		    kp_check_json("text", json->text, KP_JSON_ARRAY, NULL) != KEEP_OK)
			return text;
		text = json->text;
	}
	return (keep_bytes){NULL, 0};
}

/* A text that is no JSON, as a JSON text. */
static keep_bytes encode_text(kp_taking_row *row, keep_bytes text)
{
	keep_buffer json = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_bytes copy = {NULL, 0};

	kp_json_begin(&writer, &json);
	kp_json_put_text(&writer, text);
	row->status = kp_json_finish(&writer, row->taking->err);
	if (row->status == KEEP_OK)
		row->status = kp_arena_copy(&row->taking->row_arena, kp_buffer_bytes(&json), &copy,
					    row->taking->err);
	keep_buffer_release(&json);
	return copy;
}

/* ---------------------------------------------------------------- fields */

/* What kind of JSON a column holds here. */
static kp_json_kind json_kind(const char *name)
{
	static const char *const objects[] = {"metadata", "tool_parameters", "details"};
	static const char *const arrays[] = {"tools", "intent_keywords", "options"};

	for (size_t i = 0; i < KP_COUNT(objects); i++)
		if (strcmp(name, objects[i]) == 0)
			return KP_JSON_OBJECT;
	for (size_t i = 0; i < KP_COUNT(arrays); i++)
		if (strcmp(name, arrays[i]) == 0)
			return KP_JSON_ARRAY;
	return KP_JSON_NULL;
}

static bool is_allowed(const kp_field *field, keep_bytes text)
{
	if (!field->allowed)
		return true;
	for (size_t i = 0; field->allowed[i]; i++)
		if (kp_taking_is(text, field->allowed[i]))
			return true;
	return false;
}

static bool fill_text(kp_taking_row *row, const kp_field *field, keep_bytes text, void *member)
{
	if (!text.data || !is_allowed(field, text)) {
		kp_taking_note(row, text.data ? "a word that is not known here was kept aside"
					      : "bytes where a text should be were kept aside");
		return false;
	}
	if (text.len || !(field->flags & KP_FIELD_NULL))
		*(keep_bytes *)member = text;
	return true;
}

static bool fill_json(kp_taking_row *row, const kp_field *field, keep_bytes text, void *member)
{
	kp_json_kind kind = json_kind(field->name);
	keep_bytes json = kp_taking_json(row, text, kind);

	if (!json.data && kind == KP_JSON_NULL && text.data && row->status == KEEP_OK)
		json = encode_text(row, text);
	if (!json.data) {
		if (text.len)
			kp_taking_note(row, "JSON of another kind was kept aside");
		return false;
	}
	*(keep_bytes *)member = json;
	return true;
}

/* Texts are the caller's until the row is over: what SQLite lends ends with a conversion. */
static bool fill_member(kp_taking_row *row, const kp_field *field, keep_bytes text, void *member)
{
	bool good = false;

	switch ((kp_kind)field->kind) {
	case KP_TEXT: return fill_text(row, field, text, member);
	case KP_JSON: return fill_json(row, field, text, member);
	case KP_INT: good = kp_int_parse(text, member); break;
	case KP_REAL: good = kp_real_parse(text, member); break;
	case KP_BOOL: good = read_bool(text, member); break;
	case KP_TIME: good = read_time(text, member); break;
	case KP_BLOB: return false;
	}
	if (!good && text.len)
		kp_taking_note(row, "a time, number or flag that is none was kept aside");
	return good;
}

static void fill_field(kp_taking_row *row, const kp_field *field, void *object)
{
	char *member = (char *)object + field->offset;
	kp_foreign_value value;
	int64_t number[2];
	int index;

	if (!find_value(row, field->name, &index, &value))
		return;
	if (field->kind == KP_BLOB) {
		row->placed[index] = value.kind == KP_FOREIGN_BLOB;
		if (value.kind == KP_FOREIGN_BLOB)
			*(keep_bytes *)(void *)member = value.bytes;
		return;
	}
	if (field->kind == KP_TEXT || field->kind == KP_JSON) {
		row->placed[index] = fill_member(row, field, value_text(row, &value), member);
		return;
	}
	memset(number, 0, sizeof number);
	row->placed[index] = fill_member(row, field, value_text(row, &value), number);
	if (!row->placed[index])
		return;
	memcpy(member, number, field->size);
	if (field->has_offset)
		*((bool *)object + field->has_offset) = true;
}

void kp_taking_fill(kp_taking_row *row, const kp_record *record, void *object)
{
	for (size_t i = 0; i < record->field_count && row->status == KEEP_OK; i++)
		if (!(record->fields[i].flags & KP_FIELD_AUTO))
			fill_field(row, &record->fields[i], object);
	kp_taking_place(row, "id", true);
}

/* ---------------------------------------------------------------- storing */

/* "INSERT … RETURNING id": the record's fields are the parameters, id the first, which only says
   its type. */
static keep_status prepare_insert(kp_taking *taking, const kp_record *record)
{
	const char mark = taking->lease->conn->driver->dialect == KP_DIALECT_SQLITE ? '?' : '$';
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_error *err = taking->err;
	keep_status status = kp_buffer_append_format(&sql, err, "INSERT INTO %s (", record->table);

	for (size_t i = 1; i < record->field_count && status == KEEP_OK; i++)
		status = kp_buffer_append_format(&sql, err, "%s\"%s\"", i > 1 ? ", " : "",
						 record->fields[i].name);
	for (size_t i = 1; i < record->field_count && status == KEEP_OK; i++)
		status = kp_buffer_append_format(&sql, err, "%s%c%zu", i > 1 ? ", " : ") VALUES (",
						 mark, i + 1);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(
			&sql, err, ") ON CONFLICT DO NOTHING RETURNING id, CAST(%c1 AS bigint)",
			mark);
	if (status == KEEP_OK)
		status = kp_sql_prepare(taking->lease->conn, sql.data, &taking->insert, err);
	if (status == KEEP_OK)
		taking->record = record;
	keep_buffer_release(&sql);
	return status;
}

void kp_taking_end_table(kp_taking *taking)
{
	kp_sql_finish(&taking->insert);
	taking->record = NULL;
}

bool kp_taking_insert(kp_taking_row *row, const kp_record *record, const void *object, int64_t *id)
{
	kp_taking *taking = row->taking;
	bool has_row = false, stored = false, bound = false;
	int64_t made = 0;

	if (id)
		*id = 0;
	if (row->status == KEEP_OK && taking->record != record) {
		kp_taking_end_table(taking);
		row->status = prepare_insert(taking, record);
	}
	if (row->status == KEEP_OK) {
		row->status = kp_record_bind(taking->insert, 1, record, object, taking->err);
		bound = row->status == KEEP_OK;
	}
	if (bound)
		row->status = kp_sql_step(taking->insert, &has_row, taking->err);
	stored = bound && row->status == KEEP_OK && has_row;
	if (stored)
		row->status = kp_sql_column_int(taking->insert, 0, &made, taking->err);
	while (row->status == KEEP_OK && has_row)
		row->status = kp_sql_step(taking->insert, &has_row, taking->err);
	kp_sql_reset(taking->insert);
	/* The row is at fault: it is kept whole. */
	if (!bound && row->status == KEEP_INVALID)
		row->status = KEEP_OK;
	if (id)
		*id = made;
	return stored;
}

void kp_taking_store(kp_taking_row *row, const kp_record *record, const void *object,
		     const char *const *keys, int64_t *id)
{
	if (kp_taking_insert(row, record, object, id))
		kp_taking_keep_rest(row, keys);
	else
		kp_taking_keep_whole(row, "a row whose key is missing or taken was kept whole");
}

/* ---------------------------------------------------------------- what has no place */

static keep_status put_bytes(kp_taking *taking, kp_json_writer *writer, keep_bytes bytes)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_base64_encode(bytes, &text, taking->err);

	kp_json_open_object(writer);
	kp_json_name(writer, "base64");
	kp_json_put_text(writer, kp_buffer_bytes(&text));
	kp_json_close_object(writer);
	keep_buffer_release(&text);
	return status;
}

/* Invariant 4. */
static keep_status put_value(kp_taking *taking, kp_json_writer *writer,
			     const kp_foreign_value *value)
{
	char text[KP_REAL_TEXT_SIZE];

	switch (value->kind) {
	case KP_FOREIGN_NULL: kp_json_put_null(writer); break;
	case KP_FOREIGN_INTEGER: kp_json_put_integer(writer, value->integer); break;
	case KP_FOREIGN_REAL:
		if (kp_real_format(value->real, text))
			kp_json_put_real(writer, value->real);
		else
			kp_json_put_text(writer,
					 value->real > 0 ? KEEP_BYTES("Inf") : KEEP_BYTES("-Inf"));
		break;
	case KP_FOREIGN_TEXT:
		if (!kp_text_is_storable(value->bytes))
			return put_bytes(taking, writer, value->bytes);
		kp_json_put_text(writer, value->bytes);
		break;
	case KP_FOREIGN_BLOB: return put_bytes(taking, writer, value->bytes);
	}
	return KEEP_OK;
}

static bool is_in(const char *name, const char *const *names)
{
	for (; names && *names; names++)
		if (strcmp(name, *names) == 0)
			return true;
	return false;
}

/* Invariant 3. */
static bool is_secret(const kp_taking_row *row, const char *name)
{
	if (row->hides_value && strcmp(name, "value") == 0)
		return true;
	return strcmp(row->table, "service_credentials") == 0 &&
	       strcmp(name, "credential_data") == 0;
}

/* Put the wanted columns into one object; *wanted: one without a place says something. */
static void describe_row(kp_taking_row *row, const char *const *keys, bool *wanted)
{
	kp_taking *taking = row->taking;
	kp_json_writer writer;

	*wanted = !keys;
	taking->json.len = 0;
	kp_json_begin(&writer, &taking->json);
	kp_json_open_object(&writer);
	for (int i = 1; i < row->count && row->status == KEEP_OK; i++) {
		const char *name = kp_foreign_name(row->rows, i);
		bool is_rest = keys && !row->placed[i];
		kp_foreign_value value;

		if ((keys && !is_rest && !is_in(name, keys)) || is_secret(row, name))
			continue;
		row->status = kp_foreign_value_at(row->rows, i, &value, taking->err);
		is_rest = is_rest && row->status == KEEP_OK && value.kind != KP_FOREIGN_NULL &&
			  !(value.kind == KP_FOREIGN_TEXT && !value.bytes.len);
		if (row->status != KEEP_OK || (keys && !is_rest && !is_in(name, keys)))
			continue;
		*wanted |= is_rest;
		kp_json_name(&writer, name);
		row->status = put_value(taking, &writer, &value);
	}
	kp_json_close_object(&writer);
	if (row->status == KEEP_OK)
		row->status = kp_json_finish(&writer, taking->err);
}

static void keep_columns(kp_taking_row *row, const char *const *keys)
{
	kp_taking *taking = row->taking;
	bool wanted = false;

	if (row->status == KEEP_OK)
		describe_row(row, keys, &wanted);
	if (row->status == KEEP_OK && wanted)
		row->status =
			kp_lease_queue(taking->lease, KP_ASSISTANT_ADOPT_OTHER,
				       KP_VALUES(kp_text_value(keep_bytes_of(row->table)),
						 kp_json_value(kp_buffer_bytes(&taking->json))),
				       taking->err);
}

void kp_taking_keep_rest(kp_taking_row *row, const char *const *keys)
{
	keep_columns(row, keys);
	row->taking->table->adopted += row->status == KEEP_OK;
}

void kp_taking_keep_whole(kp_taking_row *row, const char *what)
{
	keep_columns(row, NULL);
	row->taking->table->kept += row->status == KEEP_OK;
	if (what && row->status == KEEP_OK)
		kp_taking_note(row, what);
}

/* ---------------------------------------------------------------- rows */

static keep_status handle_row(kp_taking_row *row, kp_foreign_rows *rows, kp_taking_handler *handler)
{
	kp_taking *taking = row->taking;
	kp_foreign_value rowid = {.kind = KP_FOREIGN_NULL};

	row->rows = rows;
	row->count = kp_foreign_count(rows);
	row->status = kp_foreign_value_at(rows, 0, &rowid, taking->err);
	row->rowid = rowid.kind == KP_FOREIGN_INTEGER ? rowid.integer : 0;
	row->hides_value = false;
	memset(row->placed, 0, (size_t)row->count);
	taking->table->rows++;
	if (row->status == KEEP_OK)
		handler(row);
	kp_arena_wipe(&taking->row_arena);
	if (row->status == KEEP_OK || row->status == KEEP_DENIED)
		return row->status;
	return kp_prefix(taking->err, row->status, "%s row %lld", row->table,
			 (long long)row->rowid);
}

keep_status kp_taking_each(kp_taking *taking, const char *table, const char *sql,
			   kp_taking_handler *handler)
{
	kp_taking_row *row = kp_alloc_zero(sizeof *row);
	kp_foreign_rows *rows = NULL;
	bool has_row = true;
	keep_status status = KEEP_OK;

	if (!row)
		return kp_fail_memory(taking->err, "a row");
	row->table = table;
	row->taking = taking;
	status = kp_foreign_select(taking->source, sql, &rows, taking->err);
	while (status == KEEP_OK && has_row) {
		status = kp_foreign_step(rows, &has_row, taking->err);
		if (status == KEEP_OK && has_row)
			status = handle_row(row, rows, handler);
	}
	kp_foreign_finish(&rows);
	kp_free(row);
	return status;
}
