/*
 * check_rows.c - reads every row of a table through the record engine, which validates it: UTF-8,
 * times, JSON, numbers, allowed words, what must not be absent.
 *
 * Invariants:
 *   1. A row that cannot be read is one finding, with its key as far as that can be read; the rows
 *      behind it are read.
 *   2. Memory is bounded by one row (of a server: by FETCH_ROWS of them).
 *   3. A key that is a secret is not shown.
 *
 * Tests: tests/contract/test_home_check.c.
 */
#include "home/check_private.h"

#include <stdio.h>
#include <string.h>

#define FETCH_ROWS "200"
#define DAMAGED_ROW "damaged_row"
#define CURSOR "keep_check"

/* Reading one table. */
struct reading {
	kp_check_unit *unit;
	const kp_check_rows *rows;
	kp_sql_stmt *stmt;
	void *object;
	bool has_cursor;
};

static bool is_there(const kp_field *field, kp_sql_dialect dialect)
{
	static const unsigned only[KP_DIALECT_COUNT] = {
		[KP_DIALECT_SQLITE] = KP_FIELD_SQLITE,
		[KP_DIALECT_POSTGRES] = KP_FIELD_POSTGRES,
	};
	unsigned bound = field->flags & (KP_FIELD_SQLITE | KP_FIELD_POSTGRES);

	return !bound || bound == only[dialect];
}

/* ---------------------------------------------------------------- what is read */

static keep_status write_select(const struct reading *reading, keep_buffer *sql, keep_error *err)
{
	const kp_record *record = reading->rows->record;
	kp_sql_dialect dialect = reading->unit->conn->driver->dialect;
	const char *joint = "SELECT ";
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < record->field_count && status == KEEP_OK; i++) {
		if (!is_there(&record->fields[i], dialect))
			continue;
		status = kp_buffer_append_format(sql, err, "%s\"%s\"", joint,
						 record->fields[i].name);
		joint = ", ";
	}
	return status == KEEP_OK ? kp_buffer_append_format(sql, err, " FROM \"%s\"", record->table)
				 : status;
}

/* A server would send all of it at once. */
static keep_status declare(struct reading *reading, keep_buffer *sql, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(
		&text, err, "DECLARE " CURSOR " NO SCROLL CURSOR FOR %s", sql->data);

	if (status == KEEP_OK)
		status = kp_sql_script(reading->unit->conn, text.data, err);
	reading->has_cursor = status == KEEP_OK;
	if (status == KEEP_OK)
		status = kp_sql_prepare(reading->unit->conn, "FETCH " FETCH_ROWS " FROM " CURSOR,
					&reading->stmt, err);
	keep_buffer_release(&text);
	return status;
}

static keep_status open_rows(struct reading *reading, keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status = write_select(reading, &sql, err);

	if (status == KEEP_OK && reading->unit->conn->caps & KP_SQL_SCHEMAS)
		status = declare(reading, &sql, err);
	else if (status == KEEP_OK)
		status = kp_sql_prepare(reading->unit->conn, sql.data, &reading->stmt, err);
	keep_buffer_release(&sql);
	return status;
}

static keep_status next_row(struct reading *reading, bool *has_row, keep_error *err)
{
	keep_status status = kp_sql_step(reading->stmt, has_row, err);

	if (status != KEEP_OK || *has_row || !reading->has_cursor)
		return status;
	kp_sql_reset(reading->stmt); /* the next ones, if any */
	return kp_sql_step(reading->stmt, has_row, err);
}

/* ---------------------------------------------------------------- a row that cannot be read */

static keep_status add_part(kp_sql_stmt *stmt, int column, const kp_field *field, keep_buffer *key,
			    keep_error *err)
{
	kp_value value = {.is_null = true};
	const char *joint = key->len ? " " : "";

	if (field->flags & KP_FIELD_SECRET)
		return kp_buffer_append_format(key, err, "%s***", joint);
	if (kp_sql_column(stmt, column, (kp_kind)field->kind, &value, NULL) != KEEP_OK ||
	    value.is_null)
		return kp_buffer_append_format(key, err, "%s?", joint);
	switch (field->kind) {
	case KP_TEXT:
	case KP_JSON:
		return kp_buffer_append_format(key, err, "%s%" KP_PRI, joint, KP_ARG(value.bytes));
	case KP_INT:
	case KP_BOOL:
	case KP_TIME:
		return kp_buffer_append_format(key, err, "%s%lld", joint, (long long)value.integer);
	default: return kp_buffer_append_format(key, err, "%s?", joint);
	}
}

static keep_status format_key(const struct reading *reading, keep_buffer *key, keep_error *err)
{
	const kp_record *record = reading->rows->record;
	keep_status status = KEEP_OK;
	int column = 0;

	for (size_t i = 0; i < record->field_count && status == KEEP_OK; i++) {
		if (!is_there(&record->fields[i], reading->unit->conn->driver->dialect))
			continue;
		if (record->fields[i].flags & KP_FIELD_KEY)
			status = add_part(reading->stmt, column, &record->fields[i], key, err);
		column++;
	}
	return status;
}

static keep_status take_damaged(const struct reading *reading, const keep_error *why,
				keep_error *err)
{
	keep_buffer key = KEEP_BUFFER_INIT;
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE,
			      .kind = DAMAGED_ROW,
			      .table = reading->rows->record->table};
	keep_status status = format_key(reading, &key, err);

	found.key = kp_buffer_bytes(&key);
	if (status == KEEP_OK)
		status = kp_check_found(reading->unit->check, &found, err, "%s", why->message);
	keep_buffer_release(&key);
	return status;
}

/* ---------------------------------------------------------------- all of them */

static keep_status take_row(const struct reading *reading, keep_error *err)
{
	const kp_check_rows *rows = reading->rows;
	kp_arena arena = {.head = NULL};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status =
		kp_record_read(reading->stmt, 0, rows->record, reading->object, &arena, &why);

	if (status == KEEP_CORRUPT)
		status = take_damaged(reading, &why, err);
	else if (status != KEEP_OK)
		status = kp_fail(err, status, "%s", why.message);
	else if (rows->row)
		status = rows->row(rows->ctx, reading->object, err);
	kp_arena_release(&arena);
	if (status == KEEP_OK)
		status = kp_check_tell(reading->unit->check, rows->record->table, 1, err);
	return status;
}

static keep_status read_rows(struct reading *reading, keep_error *why, keep_error *err)
{
	bool has_row = false;
	keep_status status = open_rows(reading, why);

	if (status == KEEP_OK)
		status = next_row(reading, &has_row, why);
	while (status == KEEP_OK && has_row) {
		status = take_row(reading, err);
		if (status != KEEP_OK)
			return status;
		status = next_row(reading, &has_row, why);
	}
	if (status == KEEP_OK)
		return status;
	reading->unit->is_damaged = reading->unit->is_damaged || status == KEEP_CORRUPT;
	return kp_check_failed(reading->unit->check,
			       &(kp_complaint){.severity = KEEP_SEVERITY_DAMAGE,
					       .kind = "damaged_table",
					       .table = reading->rows->record->table},
			       status, why, err);
}

keep_status kp_check_rows_read(kp_check_unit *unit, const kp_check_rows *rows, keep_error *err)
{
	struct reading reading = {
		.unit = unit, .rows = rows, .object = kp_alloc(rows->record->size)};
	keep_error why = KEEP_ERROR_INIT;
	size_t before = unit->check->result->count;
	keep_status status = KEEP_OK;

	if (!reading.object)
		return kp_fail_memory(err, "a row");
	unit->check->result->tables++;
	status = read_rows(&reading, &why, err);
	kp_sql_finish(&reading.stmt);
	/* A failed transaction has closed the cursor already. */
	if (status == KEEP_OK && reading.has_cursor && why.status == KEEP_OK)
		status = kp_sql_script(unit->conn, "CLOSE " CURSOR, err);
	else if (status == KEEP_OK && why.status != KEEP_OK && unit->check->result->count > before)
		status = kp_check_unit_renew(unit, err);
	kp_free(reading.object);
	return status;
}

static bool has_table(const kp_check_unit *unit, const kp_record *record)
{
	static const unsigned only[KP_DIALECT_COUNT] = {
		[KP_DIALECT_SQLITE] = KP_FIELD_SQLITE,
		[KP_DIALECT_POSTGRES] = KP_FIELD_POSTGRES,
	};

	return !record->flags || record->flags == only[unit->conn->driver->dialect];
}

keep_status kp_check_tables(kp_check_unit *unit, const kp_record *const *records, size_t count,
			    const kp_check_rows *hooks, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK && !unit->check->options.quick; i++) {
		kp_check_rows rows = {.record = records[i]};

		for (const kp_check_rows *hook = hooks; hook && hook->record; hook++)
			if (hook->record == records[i])
				rows = *hook;
		if (has_table(unit, records[i]))
			status = kp_check_rows_read(unit, &rows, err);
	}
	return status;
}
