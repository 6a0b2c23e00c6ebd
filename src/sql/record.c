/*
 * record.c - moves the fields of a record between a struct, a statement and JSON.
 *
 * This one interpreter stands for a hand-written pair of bind and column functions per record type.
 * The field tables it reads are generated (tools/recgen.py), so nobody writes them.
 *
 * Invariants:
 *   1. What a record may hold is checked here, before anything is sent and after anything is read,
 *      so that both backends refuse the same and a caller learns which column is at fault. Written:
 *      INVALID. Read: CORRUPT. The tables' own constraints are the second line, for people's SQL.
 *   2. The value of a secret field reaches no message and no JSON. A lower message about a secret
 *      is replaced, not extended, because nobody here knows what it quotes.
 *   3. A field of another dialect takes no parameter and no column, and is zero after reading.
 *   4. kp_record_get writes the caller's object once, at the end, after everything was read.
 *
 * It does not cache statements and opens no transaction.
 * Tests: tests/contract/test_record.c, tests/torture/test_record_faults.c.
 */
#include "sql/record_sql.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Fields move without knowing their struct: by bytes, so that no aliasing rule is bent. */
static kp_value load_field(const kp_field *field, const void *object)
{
	const char *at = (const char *)object + field->offset;
	kp_value value = {.kind = (kp_kind)field->kind};
	bool flag = true;

	switch (value.kind) {
	case KP_TEXT:
	case KP_BLOB:
	case KP_JSON:
		memcpy(&value.bytes, at, sizeof value.bytes);
		value.is_null = !value.bytes.data;
		return value;
	case KP_REAL: memcpy(&value.real, at, sizeof value.real); break;
	case KP_INT:
	case KP_TIME: memcpy(&value.integer, at, sizeof value.integer); break;
	case KP_BOOL:
		memcpy(&flag, at, sizeof flag);
		value.integer = flag;
		break;
	}
	if (field->has_offset) {
		memcpy(&flag, (const char *)object + field->has_offset, sizeof flag);
		value.is_null = !flag;
	}
	return value;
}

static keep_status store_field(const kp_field *field, void *object, const kp_value *value,
			       kp_arena *arena, keep_error *err)
{
	char *at = (char *)object + field->offset;
	keep_bytes copy = {.data = NULL};
	bool there = !value->is_null;
	keep_status status = KEEP_OK;
	bool flag = false;

	if (field->has_offset)
		memcpy((char *)object + field->has_offset, &there, sizeof there);
	if (!there)
		return KEEP_OK; /* the object was zeroed */
	switch (value->kind) {
	case KP_TEXT:
	case KP_BLOB:
	case KP_JSON:
		status = kp_arena_copy(arena, value->bytes, &copy, err);
		memcpy(at, &copy, sizeof copy);
		break;
	case KP_REAL: memcpy(at, &value->real, sizeof value->real); break;
	case KP_INT:
	case KP_TIME: memcpy(at, &value->integer, sizeof value->integer); break;
	case KP_BOOL:
		flag = value->integer != 0;
		memcpy(at, &flag, sizeof flag);
		break;
	}
	return status;
}

/* ---------------------------------------------------------------- what a field may hold */

static bool is_allowed(const kp_field *field, keep_bytes value)
{
	for (const char *const *allowed = field->allowed; *allowed; allowed++) {
		if (kp_bytes_equal(keep_bytes_of(*allowed), value))
			return true;
	}
	return false;
}

static keep_status check_json(const kp_record *record, const kp_field *field, keep_bytes text,
			      keep_status bad, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL;
	keep_status status = kp_json_parse(text, &arena, &json, err);

	kp_arena_release(&arena);
	if (status == KEEP_OK || status == KEEP_NO_MEMORY)
		return status;
	if (field->flags & KP_FIELD_SECRET)
		return kp_fail(err, bad, "%s.%s is not JSON", record->table, field->name);
	if (err)
		err->status = bad;
	return kp_prefix(err, bad, "%s.%s", record->table, field->name);
}

/* Invariant 1. `bad` is INVALID for what is to be written, CORRUPT for what was read. */
static keep_status check_field(const kp_record *record, const kp_field *field,
			       const kp_value *value, keep_status bad, keep_error *err)
{
	bool secret = field->flags & KP_FIELD_SECRET;

	if (value->is_null) {
		if (field->flags & KP_FIELD_NULL)
			return KEEP_OK;
		return kp_fail(err, bad, "%s.%s must not be absent", record->table, field->name);
	}
	switch (value->kind) {
	case KP_TEXT:
		if (!kp_text_is_storable(value->bytes))
			return kp_fail(err, bad, "%s.%s is not UTF-8 text without a zero byte",
				       record->table, field->name);
		if (!field->allowed || is_allowed(field, value->bytes))
			return KEEP_OK;
		if (secret)
			return kp_fail(err, bad, "%s.%s has a value that is not allowed",
				       record->table, field->name);
		return kp_fail(err, bad, "%s.%s cannot be '%" KP_PRI "'", record->table,
			       field->name, KP_ARG(value->bytes));
	case KP_JSON: return check_json(record, field, value->bytes, bad, err);
	case KP_REAL:
		if (!isfinite(value->real))
			return kp_fail(err, bad, "%s.%s is not a finite number", record->table,
				       field->name);
		return KEEP_OK;
	case KP_BLOB:
	case KP_INT:
	case KP_TIME:
	case KP_BOOL: return KEEP_OK;
	}
	return kp_fail(err, KEEP_MISUSE, "%s.%s has no kind", record->table, field->name);
}

/* What a lower layer said about one field: with its name, or for a secret only the name. */
static keep_status name_field(const kp_record *record, const kp_field *field, keep_status status,
			      keep_error *err)
{
	if (field->flags & KP_FIELD_SECRET)
		return kp_fail(err, status, "%s.%s: %s", record->table, field->name,
			       keep_status_text(status));
	return kp_prefix(err, status, "%s.%s", record->table, field->name);
}

/* ---------------------------------------------------------------- binding and reading */

static keep_status bind_fields(kp_sql_stmt *stmt, int first, const kp_record *record,
			       const void *object, kp_field_choice choice, keep_error *err)
{
	kp_sql_dialect dialect = stmt->conn->driver->dialect;
	int parameter = first;

	for (size_t i = 0; i < record->field_count; i++) {
		const kp_field *field = &record->fields[i];
		kp_value value = {.is_null = true};
		keep_status status = KEEP_OK;

		if (!kp_field_is_in(field, dialect, choice))
			continue;
		value = load_field(field, object);
		status = check_field(record, field, &value, KEEP_INVALID, err);
		if (status != KEEP_OK)
			return status;
		status = kp_sql_bind(stmt, parameter, &value, err);
		if (status != KEEP_OK)
			return name_field(record, field, status, err);
		parameter++;
	}
	return KEEP_OK;
}

static keep_status read_fields(kp_sql_stmt *stmt, int first, const kp_record *record, void *object,
			       kp_field_choice choice, kp_arena *arena, keep_error *err)
{
	kp_sql_dialect dialect = stmt->conn->driver->dialect;
	keep_status status = KEEP_OK;
	int column = first;

	for (size_t i = 0; status == KEEP_OK && i < record->field_count; i++) {
		const kp_field *field = &record->fields[i];
		kp_value value = {.is_null = true};

		if (!kp_field_is_in(field, dialect, choice))
			continue;
		status = kp_sql_column(stmt, column, (kp_kind)field->kind, &value, err);
		if (status != KEEP_OK)
			return name_field(record, field, status, err);
		value.kind = (kp_kind)field->kind;
		status = check_field(record, field, &value, KEEP_CORRUPT, err);
		if (status == KEEP_OK)
			status = store_field(field, object, &value, arena, err);
		column++;
	}
	return status;
}

keep_status kp_record_bind(kp_sql_stmt *stmt, int first, const kp_record *record,
			   const void *object, keep_error *err)
{
	assert(first >= 1);
	return bind_fields(stmt, first, record, object, KP_FIELDS_ALL, err);
}

keep_status kp_record_read(kp_sql_stmt *stmt, int first, const kp_record *record, void *object,
			   kp_arena *arena, keep_error *err)
{
	keep_status status = KEEP_OK;

	assert(first >= 0);
	memset(object, 0, record->size);
	status = read_fields(stmt, first, record, object, KP_FIELDS_ALL, arena, err);
	if (status != KEEP_OK)
		memset(object, 0, record->size);
	return status;
}

/* ---------------------------------------------------------------- whole records */

typedef keep_status build_sql(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
			      keep_error *err);

/* Build, prepare and bind; *stmt is the caller's to finish, whatever happened. */
static keep_status prepare_record(kp_sql_conn *conn, const kp_record *record, const void *object,
				  build_sql *build, kp_field_choice choice, kp_sql_stmt **stmt,
				  keep_error *err)
{
	static const unsigned only[KP_DIALECT_COUNT] = {KP_FIELD_SQLITE, KP_FIELD_POSTGRES};
	kp_sql_dialect dialect = conn->driver->dialect;
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	if (record->flags && record->flags != only[dialect])
		return kp_fail(err, KEEP_MISUSE, "table %s does not exist with driver %s",
			       record->table, conn->driver->name);
	status = build(record, dialect, &sql, err);
	if (status == KEEP_OK)
		status = kp_sql_prepare(conn, sql.data, stmt, err);
	keep_buffer_release(&sql);
	if (status == KEEP_OK)
		status = bind_fields(*stmt, 1, record, object, choice, err);
	return status;
}

/* A message of the backend about a row may quote it. */
static keep_status hide_secrets(const kp_record *record, keep_status status, keep_error *err)
{
	if (status != KEEP_CONFLICT && status != KEEP_INVALID && status != KEEP_MISUSE &&
	    status != KEEP_CORRUPT)
		return status; /* about the backend, not about the row */
	for (size_t i = 0; i < record->field_count; i++) {
		if (record->fields[i].flags & KP_FIELD_SECRET)
			return kp_fail(err, status, "%s: %s", record->table,
				       keep_status_text(status));
	}
	return status;
}

keep_status kp_record_add(kp_sql_conn *conn, const kp_record *record, const void *object,
			  bool *existed, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = KEEP_OK;

	*existed = false;
	status = prepare_record(conn, record, object, kp_record_sql_add, KP_FIELDS_ALL, &stmt, err);
	if (status == KEEP_OK) {
		bool has_row = false;

		status = kp_sql_step(stmt, &has_row, err);
		status = hide_secrets(record, status, err);
	}
	if (status == KEEP_OK)
		*existed = kp_sql_changes(stmt) == 0;
	kp_sql_finish(&stmt);
	return status;
}

keep_status kp_record_append(kp_sql_conn *conn, const kp_record *record, void *object,
			     keep_error *err)
{
	const kp_field *key = NULL;
	kp_sql_stmt *stmt = NULL;
	keep_status status = KEEP_OK;
	bool has_row = false;
	int64_t assigned = 0;

	for (size_t i = 0; i < record->field_count; i++) {
		if (record->fields[i].flags & KP_FIELD_AUTO)
			key = &record->fields[i];
	}
	if (!key)
		return kp_fail(err, KEEP_MISUSE, "the database assigns no key in %s",
			       record->table);
	status = prepare_record(conn, record, object, kp_record_sql_append, KP_FIELDS_GIVEN, &stmt,
				err);
	if (status != KEEP_OK)
		goto out;
	status = kp_sql_step(stmt, &has_row, err);
	status = hide_secrets(record, status, err);
	if (status != KEEP_OK)
		goto out;
	status = kp_sql_column_int(stmt, 0, &assigned, err);
	/* To its end: only then a change outside of a transaction is committed. */
	while (status == KEEP_OK && has_row)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK)
		memcpy((char *)object + key->offset, &assigned, sizeof assigned);
out:
	kp_sql_finish(&stmt);
	return status;
}

keep_status kp_record_put(kp_sql_conn *conn, const kp_record *record, const void *object,
			  keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = KEEP_OK;

	status = prepare_record(conn, record, object, kp_record_sql_put, KP_FIELDS_ALL, &stmt, err);
	if (status == KEEP_OK) {
		status = kp_sql_run(stmt, err);
		status = hide_secrets(record, status, err);
	}
	kp_sql_finish(&stmt);
	return status;
}

keep_status kp_record_get(kp_sql_conn *conn, const kp_record *record, void *object, kp_arena *arena,
			  keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = KEEP_OK;
	bool has_row = false;
	void *copy = NULL;

	status = prepare_record(conn, record, object, kp_record_sql_get, KP_FIELDS_KEY, &stmt, err);
	if (status != KEEP_OK)
		goto out;
	status = kp_sql_step(stmt, &has_row, err);
	if (status != KEEP_OK)
		goto out;
	if (!has_row) {
		status = kp_fail(err, KEEP_NOT_FOUND, "%s has no record with that key",
				 record->table);
		goto out;
	}
	copy = kp_arena_alloc(arena, record->size);
	if (!copy) {
		status = kp_fail_memory(err, record->name);
		goto out;
	}
	status = kp_record_read(stmt, 0, record, copy, arena, err);
	if (status == KEEP_OK)
		memcpy(object, copy, record->size);
out:
	kp_sql_finish(&stmt);
	return status;
}

keep_status kp_record_remove(kp_sql_conn *conn, const kp_record *record, const void *object,
			     keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = KEEP_OK;
	bool has_row = false;

	status = prepare_record(conn, record, object, kp_record_sql_remove, KP_FIELDS_KEY, &stmt,
				err);
	if (status == KEEP_OK) {
		status = kp_sql_step(stmt, &has_row, err);
		status = hide_secrets(record, status, err);
	}
	if (status == KEEP_OK && kp_sql_changes(stmt) == 0)
		status = kp_fail(err, KEEP_NOT_FOUND, "%s has no record with that key",
				 record->table);
	kp_sql_finish(&stmt);
	return status;
}

/* ---------------------------------------------------------------- JSON */

static keep_status put_blob(kp_json_writer *writer, keep_bytes blob, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_base64_encode(blob, &text, err);

	if (status == KEEP_OK)
		kp_json_put_text(writer, kp_buffer_bytes(&text));
	keep_buffer_release(&text);
	return status;
}

/* As it is, but on one line: outside its texts JSON has line ends only as blanks, inside never. */
static keep_status put_json(kp_json_writer *writer, keep_bytes json, keep_error *err)
{
	keep_buffer line = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	if (!memchr(json.data, '\n', json.len) && !memchr(json.data, '\r', json.len)) {
		kp_json_put_raw(writer, json);
		return KEEP_OK;
	}
	status = kp_buffer_append(&line, json, err);
	for (size_t i = 0; i < line.len; i++) {
		if (line.data[i] == '\n' || line.data[i] == '\r')
			line.data[i] = ' ';
	}
	if (status == KEEP_OK)
		kp_json_put_raw(writer, kp_buffer_bytes(&line));
	keep_buffer_release(&line);
	return status;
}

static keep_status put_field(const kp_record *record, const kp_field *field, const void *object,
			     kp_json_writer *writer, keep_error *err)
{
	kp_value value = load_field(field, object);
	char time[KEEP_TIME_TEXT_SIZE] = "";
	keep_status status = KEEP_OK;

	kp_json_name(writer, field->name);
	if (value.is_null) {
		kp_json_put_null(writer);
		return KEEP_OK;
	}
	if (field->flags & KP_FIELD_SECRET) {
		kp_json_put_text(writer, KEEP_BYTES("***"));
		return KEEP_OK;
	}
	switch (value.kind) {
	case KP_TEXT: kp_json_put_text(writer, value.bytes); break;
	case KP_BLOB: return put_blob(writer, value.bytes, err);
	case KP_JSON: return put_json(writer, value.bytes, err);
	case KP_INT: kp_json_put_integer(writer, value.integer); break;
	case KP_REAL: kp_json_put_real(writer, value.real); break;
	case KP_BOOL: kp_json_put_bool(writer, value.integer != 0); break;
	case KP_TIME:
		status = keep_time_format(value.integer, time, err);
		if (status != KEEP_OK)
			return kp_prefix(err, status, "%s.%s", record->table, field->name);
		kp_json_put_text(writer, keep_bytes_of(time));
		break;
	}
	return KEEP_OK;
}

keep_status kp_record_json(const kp_record *record, const void *object, kp_json_writer *writer,
			   keep_error *err)
{
	kp_json_open_object(writer);
	for (size_t i = 0; i < record->field_count; i++) {
		keep_status status = put_field(record, &record->fields[i], object, writer, err);

		if (status != KEEP_OK)
			return status;
	}
	kp_json_close_object(writer);
	if (writer->status != KEEP_OK)
		return kp_fail(err, writer->status, "%s: %s", record->table, writer->error.message);
	return KEEP_OK;
}
