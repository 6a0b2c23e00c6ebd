/*
 * transfer_table.c - what a table's description means on one side: its columns, its key, its scope.
 *
 * Invariants:
 *   1. A plan has the columns that both dialects have, in the order of the description, so that
 *      the canonical row of both sides is the same. A column of one dialect alone is left to that
 *      dialect's default, and the shared one is the scope.
 *   2. A message names the table and the row's key, and no other value. Of a table with a secret
 *      it repeats nothing that a backend said, because that may quote a row.
 *
 * What it does not do: run anything.
 *
 * Tests: tests/contract/test_transfer_tables.c.
 */
#include "backup/transfer.h"

#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- columns */

static keep_status add_column(kp_transfer_plan *plan, const kp_transfer_column *column,
			      keep_error *err)
{
	if (plan->column_count >= KP_TRANSFER_COLUMNS_MAX)
		return kp_fail(err, KEEP_MISUSE, "%s: more columns than a transfer takes",
			       plan->table->name);
	plan->has_secret = plan->has_secret || (column->flags & KP_FIELD_SECRET) != 0;
	plan->columns[plan->column_count++] = *column;
	return KEEP_OK;
}

static keep_status add_key(kp_transfer_plan *plan, size_t index, keep_error *err)
{
	if (plan->key_count >= KP_TRANSFER_KEYS_MAX)
		return kp_fail(err, KEEP_MISUSE, "%s: a key of more columns than a transfer takes",
			       plan->table->name);
	plan->keys[plan->key_count++] = index;
	return KEEP_OK;
}

static keep_status take_order(kp_transfer_plan *plan, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_TRANSFER_KEYS_MAX && plan->table->order[i]; i++) {
		size_t at = 0;

		while (at < plan->column_count &&
		       strcmp(plan->columns[at].name, plan->table->order[i]) != 0)
			at++;
		if (at == plan->column_count)
			return kp_fail(err, KEEP_MISUSE, "%s: there is no column %s",
				       plan->table->name, plan->table->order[i]);
		status = add_key(plan, at, err);
		if (status != KEEP_OK)
			break;
	}
	return status;
}

static keep_status take_record(kp_transfer_plan *plan, keep_error *err)
{
	const unsigned one_dialect = KP_FIELD_SQLITE | KP_FIELD_POSTGRES;
	const kp_record *record = plan->table->record;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < record->field_count && status == KEEP_OK; i++) {
		const kp_field *field = &record->fields[i];

		if (field->flags & one_dialect)
			continue;
		if (plan->table->shared && strcmp(field->name, plan->table->shared) == 0) {
			plan->scope_column = plan->end->scope.data ? field->name : NULL;
			continue;
		}
		if ((field->flags & KP_FIELD_KEY) && !plan->table->order[0])
			status = add_key(plan, plan->column_count, err);
		if (status == KEEP_OK)
			status = add_column(plan,
					    &(kp_transfer_column){.name = field->name,
								  .kind = (kp_kind)field->kind,
								  .flags = field->flags,
								  .allowed = field->allowed},
					    err);
	}
	return status == KEEP_OK ? take_order(plan, err) : status;
}

static keep_status take_special(kp_transfer_plan *plan, keep_error *err)
{
	const kp_transfer_special *special = plan->table->special;
	keep_status status = KEEP_OK;

	plan->layout = &special->layouts[plan->end->conn->driver->dialect];
	for (size_t i = 0; i < special->column_count && status == KEEP_OK; i++) {
		if (i < special->key_count)
			status = add_key(plan, i, err);
		if (status == KEEP_OK)
			status = add_column(plan, &special->columns[i], err);
	}
	return status;
}

keep_status kp_transfer_plan_make(const kp_transfer_table *table, const kp_transfer_end *end,
				  kp_transfer_plan *plan, keep_error *err)
{
	keep_status status;

	*plan = (kp_transfer_plan){.table = table, .end = end};
	status = table->special ? take_special(plan, err) : take_record(plan, err);
	if (status == KEEP_OK && !plan->key_count)
		status = kp_fail(err, KEEP_MISUSE, "%s: has no key", table->name);
	return status;
}

/* ---------------------------------------------------------------- messages */

enum { KEY_TEXT_MAX = 48 };

static void append(char text[KP_TRANSFER_WHERE_SIZE], const char *more)
{
	size_t len = strlen(text);

	(void)snprintf(text + len, KP_TRANSFER_WHERE_SIZE - len, "%s", more);
}

static void append_value(const kp_transfer_column *column, const kp_value *value,
			 char text[KP_TRANSFER_WHERE_SIZE])
{
	char piece[2 * KEY_TEXT_MAX + 3] = "***", time[KEEP_TIME_TEXT_SIZE];
	size_t len = value->bytes.len < KEY_TEXT_MAX ? value->bytes.len : KEY_TEXT_MAX;

	if (value->is_null)
		(void)snprintf(piece, sizeof piece, "none");
	else if (!(column->flags & KP_FIELD_SECRET)) {
		switch (column->kind) {
		case KP_TEXT:
		case KP_JSON:
			(void)snprintf(piece, sizeof piece, "'%.*s'", (int)len, value->bytes.data);
			break;
		case KP_BLOB: kp_hex_format((keep_bytes){value->bytes.data, len / 2}, piece); break;
		case KP_INT:
		case KP_BOOL:
			(void)snprintf(piece, sizeof piece, "%lld", (long long)value->integer);
			break;
		case KP_REAL: (void)snprintf(piece, sizeof piece, "%.17g", value->real); break;
		case KP_TIME:
			if (keep_time_format(value->integer, time, NULL) == KEEP_OK)
				(void)snprintf(piece, sizeof piece, "%s", time);
			break;
		}
	}
	append(text, piece);
}

void kp_transfer_where(const kp_transfer_plan *plan, const kp_value *row,
		       char text[KP_TRANSFER_WHERE_SIZE])
{
	text[0] = '\0';
	append(text, plan->table->name);
	if (!row)
		return;
	append(text, ", row ");
	for (size_t i = 0; i < plan->key_count; i++) {
		append(text, i ? ", " : "");
		append_value(&plan->columns[plan->keys[i]], &row[plan->keys[i]], text);
	}
}

keep_status kp_transfer_fail_at(const kp_transfer_plan *plan, const kp_value *row,
				keep_status status, keep_error *err)
{
	char where[KP_TRANSFER_WHERE_SIZE];
	bool may_quote = status == KEEP_CONFLICT || status == KEEP_INVALID ||
			 status == KEEP_MISUSE || status == KEEP_CORRUPT;

	if (status == KEEP_NO_MEMORY)
		return status;
	kp_transfer_where(plan, row, where);
	if (plan->has_secret && may_quote)
		return kp_fail(err, status, "%s: %s", where, keep_status_text(status));
	return kp_prefix(err, status, "%s", where);
}
