/*
 * transfer_read.c - the rows of one side in key order, one at a time.
 *
 * A file is read by one statement that is stepped. A server sends a statement's rows all at once,
 * so there a cursor gives some hundred small rows at a time, and a row that is not small comes by
 * its own read. Either way it is one snapshot: that of the caller's reading transaction.
 *
 * Invariants:
 *   1. What a row may hold is checked as record.c checks it: CORRUPT, with the table, the row's key
 *      and the column.
 *   2. Keys rise strictly, by bytes and numbers: two sides that order in another way, or a table
 *      that has a key twice, are noticed and not copied.
 *   3. A row and its bytes are valid until the next one is asked for.
 *
 * Tests: tests/contract/test_transfer_tables.c.
 */
#include "backup/transfer.h"

#include <math.h>

/* ---------------------------------------------------------------- open and close */

static keep_status bind_key(const kp_transfer_plan *plan, kp_sql_stmt *stmt, const kp_value *key,
			    keep_error *err)
{
	bool has_scope = plan->layout ? plan->layout->scope != NULL : plan->scope_column != NULL;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < plan->key_count && status == KEEP_OK; i++)
		status = kp_sql_bind(stmt, (int)i + 1 + has_scope, &key[i], err);
	return status;
}

static keep_status declare(kp_transfer_reader *reader, kp_sql_stmt *declaration, keep_error *err)
{
	keep_status status = kp_sql_run(declaration, err);

	if (status == KEEP_OK) {
		reader->has_cursor = true;
		status = kp_transfer_prepare(reader->plan, KP_TRANSFER_FETCH, &reader->stmt, err);
	}
	return status;
}

keep_status kp_transfer_reader_open(const kp_transfer_plan *plan, const kp_value *after,
				    kp_transfer_reader *reader, keep_error *err)
{
	enum kp_transfer_text text = after ? KP_TRANSFER_READ_AFTER : KP_TRANSFER_READ_ALL;
	kp_sql_stmt *stmt = NULL;
	keep_status status;

	*reader = (kp_transfer_reader){.plan = plan};
	status = kp_transfer_prepare(plan, text, &stmt, err);
	if (status == KEEP_OK && after)
		status = bind_key(plan, stmt, after, err);
	if (status == KEEP_OK && plan->end->conn->caps & KP_SQL_SCHEMAS) {
		status = declare(reader, stmt, err);
	} else if (status == KEEP_OK) {
		reader->stmt = stmt;
		stmt = NULL;
	}
	kp_sql_finish(&stmt);
	return status == KEEP_OK ? status : kp_transfer_fail_at(plan, NULL, status, err);
}

void kp_transfer_reader_release(kp_transfer_reader *reader)
{
	kp_sql_stmt *stmt = NULL;
	keep_error why = KEEP_ERROR_INIT;

	if (!reader->plan)
		return;
	kp_sql_finish(&reader->whole);
	kp_sql_finish(&reader->stmt);
	/* A failed transaction has closed it already. */
	if (reader->has_cursor &&
	    (kp_transfer_prepare(reader->plan, KP_TRANSFER_CLOSE, &stmt, &why) != KEEP_OK ||
	     kp_sql_run(stmt, &why) != KEEP_OK))
		kp_log(KEEP_LOG_DEBUG, "%s", why.message);
	kp_sql_finish(&stmt);
	for (size_t i = 0; i < KP_COUNT(reader->last); i++)
		keep_buffer_release(&reader->last[i]);
	*reader = (kp_transfer_reader){.plan = NULL};
}

/* ---------------------------------------------------------------- what a column may hold */

static bool is_allowed(const kp_transfer_column *column, keep_bytes value)
{
	for (const char *const *allowed = column->allowed; allowed && *allowed; allowed++)
		if (kp_bytes_equal(keep_bytes_of(*allowed), value))
			return true;
	return !column->allowed;
}

/* NULL: it may be stored. *status is another than OK when that could not be found out. */
static const char *find_fault(const kp_transfer_column *column, const kp_value *value,
			      keep_status *status, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL;

	*status = KEEP_OK;
	if (value->is_null)
		return column->flags & KP_FIELD_NULL ? NULL : "must not be absent";
	switch (column->kind) {
	case KP_TEXT:
		if (!kp_text_is_storable(value->bytes))
			return "is not UTF-8 text without a zero byte";
		return is_allowed(column, value->bytes) ? NULL : "has a value that is not allowed";
	case KP_JSON:
		*status = kp_json_parse(value->bytes, &arena, &json, err);
		kp_arena_release(&arena);
		if (*status == KEEP_OK || *status == KEEP_NO_MEMORY)
			return NULL;
		*status = KEEP_OK;
		return "is not JSON";
	case KP_REAL: return isfinite(value->real) ? NULL : "is not a finite number";
	case KP_BLOB:
	case KP_INT:
	case KP_TIME:
	case KP_BOOL: return NULL;
	}
	return NULL;
}

static keep_status read_column(kp_transfer_reader *reader, kp_sql_stmt *stmt, size_t column,
			       bool knows_key, keep_error *err)
{
	const kp_transfer_plan *plan = reader->plan;
	const kp_transfer_column *of = &plan->columns[column];
	kp_value *value = &reader->row[column];
	char where[KP_TRANSFER_WHERE_SIZE];
	const char *fault = NULL;
	keep_status status = kp_sql_column(stmt, (int)column, of->kind, value, err);

	value->kind = of->kind;
	if (status == KEEP_OK)
		fault = find_fault(of, value, &status, err);
	else if (status == KEEP_CORRUPT || status == KEEP_INVALID)
		fault = "holds what it must not";
	if (!fault)
		return status;
	kp_transfer_where(plan, knows_key ? reader->row : NULL, where);
	return kp_fail(err, KEEP_CORRUPT, "%s: %s %s", where, of->name, fault);
}

/* The key first, so that a message about the rest can name it. */
static keep_status read_columns(kp_transfer_reader *reader, kp_sql_stmt *stmt, keep_error *err)
{
	const kp_transfer_plan *plan = reader->plan;
	keep_status status = KEEP_OK;
	uint64_t done = 0;

	for (size_t i = 0; i < plan->key_count && status == KEEP_OK; i++) {
		status = read_column(reader, stmt, plan->keys[i], false, err);
		done |= UINT64_C(1) << plan->keys[i];
	}
	for (size_t i = 0; i < plan->column_count && status == KEEP_OK; i++)
		if (!(done & UINT64_C(1) << i))
			status = read_column(reader, stmt, i, true, err);
	return status;
}

/* ---------------------------------------------------------------- the order */

static int compare(const kp_value *a, const kp_value *b)
{
	switch (a->kind) {
	case KP_TEXT:
	case KP_BLOB:
	case KP_JSON: return kp_bytes_compare(a->bytes, b->bytes);
	case KP_REAL: return (a->real > b->real) - (a->real < b->real);
	case KP_INT:
	case KP_TIME:
	case KP_BOOL: break;
	}
	return (a->integer > b->integer) - (a->integer < b->integer);
}

/* Invariant 2; and remember the key. */
static keep_status check_order(kp_transfer_reader *reader, keep_error *err)
{
	const kp_transfer_plan *plan = reader->plan;
	char where[KP_TRANSFER_WHERE_SIZE];
	keep_status status = KEEP_OK;
	int order = reader->has_last ? 0 : 1;

	for (size_t i = 0; i < plan->key_count && order == 0; i++)
		order = compare(&reader->row[plan->keys[i]], &reader->last_key[i]);
	if (order <= 0) {
		kp_transfer_where(plan, reader->row, where);
		return kp_fail(err, KEEP_CORRUPT, "%s: %s", where,
			       order ? "is out of order: an index is damaged" : "is there twice");
	}
	for (size_t i = 0; i < plan->key_count && status == KEEP_OK; i++) {
		const kp_value *value = &reader->row[plan->keys[i]];

		reader->last_key[i] = *value;
		if (value->kind != KP_TEXT && value->kind != KP_BLOB && value->kind != KP_JSON)
			continue;
		status = keep_buffer_set(&reader->last[i], value->bytes, err);
		reader->last_key[i].bytes = kp_buffer_bytes(&reader->last[i]);
	}
	reader->has_last = true;
	return status;
}

/* ---------------------------------------------------------------- the next row */

/* A row that a cursor gave without its values. */
static keep_status read_whole(kp_transfer_reader *reader, keep_error *err)
{
	const kp_transfer_plan *plan = reader->plan;
	kp_value key[KP_TRANSFER_KEYS_MAX];
	bool has_row = false;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < plan->key_count && status == KEEP_OK; i++) {
		status = read_column(reader, reader->stmt, plan->keys[i], false, err);
		key[i] = reader->row[plan->keys[i]];
	}
	if (status == KEEP_OK)
		status = kp_transfer_prepare(plan, KP_TRANSFER_READ_ONE, &reader->whole, err);
	if (status == KEEP_OK)
		status = bind_key(plan, reader->whole, key, err);
	if (status == KEEP_OK)
		status = kp_sql_step(reader->whole, &has_row, err);
	if (status == KEEP_OK && !has_row)
		status = kp_fail(err, KEEP_CORRUPT, "%s: a row cannot be found by its key",
				 plan->table->name);
	return status == KEEP_OK ? read_columns(reader, reader->whole, err) : status;
}

static keep_status step(kp_transfer_reader *reader, bool *has_row, keep_error *err)
{
	keep_status status = kp_sql_step(reader->stmt, has_row, err);

	if (status != KEEP_OK || !reader->has_cursor)
		return status;
	if (*has_row) {
		reader->fetched++;
		return KEEP_OK;
	}
	if (reader->fetched < KP_TRANSFER_FETCH_ROWS) /* it was the last fetch */
		return KEEP_OK;
	reader->fetched = 0;
	kp_sql_reset(reader->stmt);
	status = kp_sql_step(reader->stmt, has_row, err);
	reader->fetched += *has_row;
	return status;
}

keep_status kp_transfer_reader_next(kp_transfer_reader *reader, bool *has_row, keep_error *err)
{
	int64_t size = 0;
	keep_status status;

	kp_sql_finish(&reader->whole);
	status = step(reader, has_row, err);
	if (status != KEEP_OK)
		return kp_transfer_fail_at(reader->plan, NULL, status, err);
	if (!*has_row)
		return KEEP_OK;
	if (reader->has_cursor)
		status = kp_sql_column_int(reader->stmt, (int)reader->plan->column_count, &size,
					   err);
	if (status == KEEP_OK)
		status = size > KP_TRANSFER_CURSOR_ROW_MAX
				 ? read_whole(reader, err)
				 : read_columns(reader, reader->stmt, err);
	return status == KEEP_OK ? check_order(reader, err) : status;
}
