/*
 * schema_text.c - what defines a store's tables, as one text that can be compared.
 *
 * A migration of somebody else's in the same database may make tables of its own and write rows, as
 * every program that has the file may; the store's tables it must leave as they are. That is no
 * boundary of trust but a guard against a slip such as ALTER TABLE messages.
 *
 * Invariants:
 *   1. The same definitions give the same text: the statement has one order.
 *   2. A row that another service has in `migrations` is part of it, so that no migration forges
 * one.
 *
 * Tests: tests/contract/test_gateway_migrate.c, tests/contract/test_assistant_migrations.c.
 */
#include "sql/sql.h"

#include "migrate_sql.h"

static keep_status put_definition(kp_sql_stmt *stmt, bool (*is_ours)(keep_bytes table),
				  keep_buffer *out, keep_error *err)
{
	keep_bytes table, definition;
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &table, err);

	if (status == KEEP_OK)
		status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &definition, err);
	if (status != KEEP_OK ||
	    (!kp_bytes_equal(table, KEEP_BYTES("migrations")) && !is_ours(table)))
		return status;
	status = kp_buffer_append(out, table, err);
	if (status == KEEP_OK)
		status = kp_buffer_append(out, KEEP_BYTES(" "), err);
	if (status == KEEP_OK)
		status = kp_buffer_append(out, definition, err);
	return status == KEEP_OK ? kp_buffer_append(out, KEEP_BYTES("\n"), err) : status;
}

keep_status kp_schema_text(kp_sql_conn *conn, const char *service,
			   bool (*is_ours)(keep_bytes table), keep_buffer *out, keep_error *err)
{
	static const kp_statement_set *const sets[KP_DIALECT_COUNT] = {
		[KP_DIALECT_SQLITE] = &kp_migrate_sqlite_statements,
		[KP_DIALECT_POSTGRES] = &kp_migrate_postgres_statements,
	};
	const kp_statement_set *set = sets[conn->driver->dialect];
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_sql_prepare(conn, set->statements[KP_MIGRATE_LIST_SCHEMA].sql, &stmt, err);

	out->len = 0;
	if (status == KEEP_OK)
		status = kp_sql_bind_text(stmt, 1, keep_bytes_of(service), err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row) {
		status = put_definition(stmt, is_ours, out, err);
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_finish(&stmt);
	return status;
}
