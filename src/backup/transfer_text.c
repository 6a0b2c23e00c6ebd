/*
 * transfer_text.c - the SQL of a transfer's plan.
 *
 * Invariants:
 *   1. The order is that of bytes on both sides: a text key is compared under the collation "C"
 *      where collations are the database's choice; SQLite compares bytes by itself.
 *   2. Names are quoted, as in record_sql.c. An @ of a layout becomes the schema, or nothing.
 *   3. Parameters appear in rising order, so that $1, $2 … mean the same in both dialects.
 *   4. A row that a server's cursor gives is small: where the values beside the key are longer
 *      than KP_TRANSFER_CURSOR_ROW_MAX together they are NULL in it, and the last column says how
 *      long they are.
 *
 * What it does not do: run or bind anything but the scope.
 *
 * Tests: tests/contract/test_transfer_tables.c.
 */
#include "backup/transfer.h"

#include <string.h>

/* The first failure sticks, so that only the end has to look. */
typedef struct builder {
	const kp_transfer_plan *plan;
	bool is_server; /* cursors, schemas, collations */
	keep_buffer *sql;
	int parameters;
	keep_status status;
	keep_error *err;
} builder;

static void add(builder *to, const char *text)
{
	if (to->status == KEEP_OK)
		to->status = kp_buffer_append_text(to->sql, text, to->err);
}

static void add_name(builder *to, const char *name)
{
	add(to, "\"");
	add(to, name);
	add(to, "\"");
}

static void add_schema(builder *to)
{
	if (!to->plan->end->schema)
		return;
	add_name(to, to->plan->end->schema);
	add(to, ".");
}

/* Text of a layout, with the schema for each @. */
static void add_layout(builder *to, const char *text)
{
	for (const char *at; (at = strchr(text, '@')); text = at + 1) {
		if (to->status == KEEP_OK)
			to->status = kp_buffer_append(
				to->sql, (keep_bytes){text, (size_t)(at - text)}, to->err);
		add_schema(to);
	}
	add(to, text);
}

static void add_parameter(builder *to)
{
	to->parameters++;
	if (to->status == KEEP_OK)
		to->status = kp_buffer_append_format(to->sql, to->err, "$%d", to->parameters);
}

static void add_expression(builder *to, size_t column)
{
	kp_sql_dialect dialect = to->plan->end->conn->driver->dialect;
	const kp_transfer_column *of = &to->plan->columns[column];

	if (of->expression[dialect])
		add(to, of->expression[dialect]);
	else
		add_name(to, of->name);
}

static void add_key(builder *to, size_t key)
{
	size_t column = to->plan->keys[key];

	add_expression(to, column);
	if (to->is_server && to->plan->columns[column].kind == KP_TEXT)
		add(to, " COLLATE \"C\"");
}

static void add_table(builder *to)
{
	add_schema(to);
	add_name(to, to->plan->table->record->table);
}

static void add_from(builder *to)
{
	add(to, " FROM ");
	if (to->plan->layout)
		add_layout(to, to->plan->layout->from);
	else
		add_table(to);
}

static const char *scope_of(const kp_transfer_plan *plan)
{
	return plan->layout ? plan->layout->scope : plan->scope_column;
}

/* " WHERE <scope> = $1", and whether there is one. */
static bool add_scope(builder *to)
{
	if (!scope_of(to->plan))
		return false;
	add(to, " WHERE ");
	if (to->plan->layout)
		add(to, to->plan->layout->scope);
	else
		add_name(to, to->plan->scope_column);
	add(to, " = ");
	add_parameter(to);
	return true;
}

static void add_key_comparison(builder *to, const char *comparison)
{
	size_t count = to->plan->key_count;

	add(to, add_scope(to) ? " AND (" : " WHERE (");
	for (size_t i = 0; i < count; i++) {
		add(to, i ? ", " : "");
		add_key(to, i);
	}
	add(to, ") ");
	add(to, comparison);
	add(to, " (");
	for (size_t i = 0; i < count; i++) {
		add(to, i ? ", " : "");
		add_parameter(to);
	}
	add(to, ")");
}

static void add_order(builder *to, const char *direction)
{
	add(to, " ORDER BY ");
	for (size_t i = 0; i < to->plan->key_count; i++) {
		add(to, i ? ", " : "");
		add_key(to, i);
		add(to, direction);
	}
}

/* ---------------------------------------------------------------- rows */

static bool is_key(const kp_transfer_plan *plan, size_t column)
{
	for (size_t i = 0; i < plan->key_count; i++)
		if (plan->keys[i] == column)
			return true;
	return false;
}

static bool may_be_long(const kp_transfer_plan *plan, size_t column)
{
	kp_kind kind = plan->columns[column].kind;

	return (kind == KP_TEXT || kind == KP_BLOB || kind == KP_JSON) && !is_key(plan, column);
}

static void add_size(builder *to)
{
	add(to, "(0");
	for (size_t i = 0; i < to->plan->column_count; i++) {
		if (!may_be_long(to->plan, i))
			continue;
		add(to, " + coalesce(octet_length(");
		add_expression(to, i);
		add(to, to->plan->columns[i].kind == KP_JSON ? "::text), 0)" : "), 0)");
	}
	add(to, ")::bigint");
}

static void add_columns(builder *to, bool is_cut)
{
	for (size_t i = 0; i < to->plan->column_count; i++) {
		bool is_long = is_cut && may_be_long(to->plan, i);

		add(to, i ? ", " : "");
		if (is_long) {
			add(to, "CASE WHEN ");
			add_size(to);
			if (to->status == KEEP_OK)
				to->status =
					kp_buffer_append_format(to->sql, to->err, " <= %d THEN ",
								KP_TRANSFER_CURSOR_ROW_MAX);
		}
		add_expression(to, i);
		add(to, is_long ? " END" : "");
	}
	if (is_cut) {
		add(to, ", ");
		add_size(to);
	}
}

static void add_cursor(builder *to)
{
	add(to, "\"kp_");
	add(to, to->plan->end->schema ? to->plan->end->schema : "");
	add(to, "_");
	add(to, to->plan->table->name);
	add(to, "\"");
}

static void add_read(builder *to, bool is_after)
{
	const kp_transfer_layout *layout = to->plan->layout;

	if (to->is_server) {
		add(to, "DECLARE ");
		add_cursor(to);
		add(to, " NO SCROLL CURSOR FOR ");
	}
	add(to, "SELECT ");
	add_columns(to, to->is_server);
	add_from(to);
	if (is_after)
		add_key_comparison(to, ">");
	else
		(void)add_scope(to);
	if (!layout || !layout->is_ordered)
		add_order(to, "");
}

static void add_insert(builder *to)
{
	const kp_transfer_plan *plan = to->plan;
	bool is_first = true;

	if (plan->layout) {
		add_layout(to, plan->layout->insert);
		return;
	}
	add(to, "INSERT INTO ");
	add_table(to);
	add(to, " (");
	if (plan->scope_column) {
		add_name(to, plan->scope_column);
		is_first = false;
	}
	for (size_t i = 0; i < plan->column_count; i++, is_first = false) {
		add(to, is_first ? "" : ", ");
		add_name(to, plan->columns[i].name);
	}
	add(to, ") VALUES (");
	for (size_t i = 0; i < plan->column_count + (plan->scope_column != NULL); i++) {
		add(to, i ? ", " : "");
		add_parameter(to);
	}
	add(to, ")");
}

static void add_clear(builder *to)
{
	add(to, "DELETE FROM ");
	if (to->plan->layout)
		add_layout(to, to->plan->layout->table);
	else
		add_table(to);
	(void)add_scope(to);
}

keep_status kp_transfer_text(const kp_transfer_plan *plan, enum kp_transfer_text text,
			     keep_buffer *sql, keep_error *err)
{
	builder to = {.plan = plan,
		      .is_server = (plan->end->conn->caps & KP_SQL_SCHEMAS) != 0,
		      .sql = sql,
		      .err = err};

	switch (text) {
	case KP_TRANSFER_READ_ALL: add_read(&to, false); break;
	case KP_TRANSFER_READ_AFTER: add_read(&to, true); break;
	case KP_TRANSFER_FETCH:
		if (to.status == KEEP_OK)
			to.status = kp_buffer_append_format(to.sql, err, "FETCH %d FROM ",
							    KP_TRANSFER_FETCH_ROWS);
		add_cursor(&to);
		break;
	case KP_TRANSFER_CLOSE:
		add(&to, "CLOSE ");
		add_cursor(&to);
		break;
	case KP_TRANSFER_READ_ONE:
		add(&to, "SELECT ");
		add_columns(&to, false);
		add_from(&to);
		add_key_comparison(&to, "=");
		break;
	case KP_TRANSFER_READ_LAST:
		add(&to, "SELECT ");
		for (size_t i = 0; i < plan->key_count; i++) {
			add(&to, i ? ", " : "");
			add_expression(&to, plan->keys[i]);
		}
		add_from(&to);
		(void)add_scope(&to);
		add_order(&to, " DESC");
		add(&to, " LIMIT 1");
		break;
	case KP_TRANSFER_COUNT:
	case KP_TRANSFER_ANY:
		add(&to, text == KP_TRANSFER_COUNT ? "SELECT count(*)" : "SELECT 1");
		add_from(&to);
		(void)add_scope(&to);
		add(&to, text == KP_TRANSFER_COUNT ? "" : " LIMIT 1");
		break;
	case KP_TRANSFER_INSERT: add_insert(&to); break;
	case KP_TRANSFER_CLEAR: add_clear(&to); break;
	}
	return to.status;
}

keep_status kp_transfer_prepare(const kp_transfer_plan *plan, enum kp_transfer_text text,
				kp_sql_stmt **stmt, keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status = kp_transfer_text(plan, text, &sql, err);
	bool has_scope = scope_of(plan) && text != KP_TRANSFER_FETCH && text != KP_TRANSFER_CLOSE;

	if (status == KEEP_OK)
		status = kp_sql_prepare(plan->end->conn, sql.data, stmt, err);
	keep_buffer_release(&sql);
	if (status == KEEP_OK && has_scope && text != KP_TRANSFER_INSERT)
		status = kp_sql_bind_text(*stmt, 1, plan->end->scope, err);
	return status;
}
