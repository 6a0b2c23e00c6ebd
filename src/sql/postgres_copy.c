/*
 * postgres_copy.c - the PostgreSQL driver: a verified copy of the schema, beside it.
 *
 * Each table of the schema becomes a table of the same name in a schema <schema>_<label>, with its
 * rows and no keys, constraints or indexes: it is there to be read, and to be copied back from.
 *
 * Invariants:
 *   1. It is made in the caller's transaction, and stays or goes with it.
 *   2. Each table's rows are counted on both sides in one statement. Where they differ, somebody
 *      who does not take the store's turn wrote meanwhile: BUSY, and nothing is kept.
 *   3. An existing schema is never touched: the name becomes <schema>_<label>_2, _3 …
 *   4. A name longer than the server's limit is cut and made unique by a digest of the whole.
 *
 * The label's dots and dashes become underscores, so that the name needs no quotes.
 *
 * Tests: tests/contract/test_gateway_migrate.c, tests/torture/test_gateway_migrate_faults.c.
 */
#include "sql/postgres_private.h"

#include <stdio.h>
#include <string.h>

enum { COPIES_MAX = 1000, NAME_SIZE = KP_PG_NAME_MAX + 1, DIGEST_CHARS = 12 };

struct copying {
	kp_sql_conn *conn;
	char schema[NAME_SIZE];
	char target[NAME_SIZE];
	keep_error *err;
};

/* ---------------------------------------------------------------- statements */

/* The first column of the first row as text (of NAME_SIZE), with one text parameter or none. */
static keep_status ask(struct copying *copying, const char *sql, const char *parameter,
		       char text[NAME_SIZE], bool *found)
{
	kp_sql_stmt *stmt = NULL;
	kp_value value = {.is_null = true};
	keep_status status = kp_sql_prepare(copying->conn, sql, &stmt, copying->err);

	*found = false;
	if (status == KEEP_OK && parameter)
		status = kp_sql_bind_text(stmt, 1, keep_bytes_of(parameter), copying->err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, found, copying->err);
	if (status == KEEP_OK && *found)
		status = kp_sql_column(stmt, 0, KP_TEXT, &value, copying->err);
	if (status == KEEP_OK && !value.is_null)
		(void)snprintf(text, NAME_SIZE, "%.*s", (int)value.bytes.len, value.bytes.data);
	kp_sql_finish(&stmt);
	return status;
}

/* Append a name in quotes. */
static keep_status append_name(keep_buffer *sql, const char *name, keep_error *err)
{
	keep_status status = kp_buffer_append_text(sql, "\"", err);

	for (; status == KEEP_OK && *name; name++)
		status = kp_buffer_append(
			sql, *name == '"' ? KEEP_BYTES("\"\"") : (keep_bytes){name, 1}, err);
	return status == KEEP_OK ? kp_buffer_append_text(sql, "\"", err) : status;
}

/* Append `pieces` up to NULL; an "S" stands for the schema, "C" for the copy, "T" for the table. */
static keep_status compose(struct copying *copying, const char *table, const char *const *pieces,
			   keep_buffer *sql)
{
	keep_status status = KEEP_OK;

	sql->len = 0;
	for (; status == KEEP_OK && *pieces; pieces++) {
		const char *name = strcmp(*pieces, "S") == 0   ? copying->schema
				   : strcmp(*pieces, "C") == 0 ? copying->target
				   : strcmp(*pieces, "T") == 0 ? table
							       : NULL;

		status = name ? append_name(sql, name, copying->err)
			      : kp_buffer_append_text(sql, *pieces, copying->err);
	}
	return status;
}

/* ---------------------------------------------------------------- the name */

static keep_status format_target(struct copying *copying, const char *label, int number)
{
	char whole[400], hex[2 * KP_SHA256_SIZE + 1];
	unsigned char digest[KP_SHA256_SIZE];
	int len = snprintf(whole, sizeof whole, "%s_%s", copying->schema, label);
	keep_status status;

	if (number > 1 && len < (int)sizeof whole)
		len += snprintf(whole + len, sizeof whole - (size_t)len, "_%d", number);
	if (len >= (int)sizeof whole)
		return kp_fail(copying->err, KEEP_INVALID, "the label '%.40s…' is too long", label);
	for (char *at = whole + strlen(copying->schema); *at; at++)
		if (*at == '-' || *at == '.')
			*at = '_';
	if (len <= KP_PG_NAME_MAX) {
		memcpy(copying->target, whole, (size_t)len + 1);
		return KEEP_OK;
	}
	status = kp_sha256(keep_bytes_of(whole), digest, copying->err);
	if (status != KEEP_OK)
		return status;
	kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hex);
	len = KP_PG_NAME_MAX - DIGEST_CHARS - 1;
	while (((unsigned char)whole[len] & 0xc0) == 0x80) /* not within a character */
		len--;
	(void)snprintf(copying->target, NAME_SIZE, "%.*s_%.*s", len, whole, DIGEST_CHARS, hex);
	return KEEP_OK;
}

static keep_status make_schema(struct copying *copying, const char *label, keep_buffer *sql)
{
	static const char *const create[] = {"CREATE SCHEMA ", "C", NULL};
	char name[NAME_SIZE];
	bool taken = true;
	keep_status status = KEEP_OK;

	for (int number = 1; status == KEEP_OK && taken; number++) {
		if (number > COPIES_MAX)
			return kp_fail(copying->err, KEEP_FULL, "%s: there are %d copies already",
				       copying->schema, COPIES_MAX);
		status = format_target(copying, label, number);
		if (status == KEEP_OK)
			status = ask(copying,
				     "SELECT nspname::text FROM pg_namespace WHERE nspname = $1",
				     copying->target, name, &taken);
	}
	if (status == KEEP_OK)
		status = compose(copying, NULL, create, sql);
	return status == KEEP_OK ? kp_sql_script(copying->conn, sql->data, copying->err) : status;
}

/* ---------------------------------------------------------------- the tables */

static keep_status copy_table(struct copying *copying, const char *table, keep_buffer *sql)
{
	static const char *const create[] = {
		"CREATE TABLE ", "C", ".", "T", " AS TABLE ", "S", ".", "T", NULL};
	static const char *const compare[] = {"SELECT 'same' WHERE (SELECT count(*) FROM ",
					      "S",
					      ".",
					      "T",
					      ") = (SELECT count(*) FROM ",
					      "C",
					      ".",
					      "T",
					      ")",
					      NULL};
	char word[NAME_SIZE];
	bool same = false;
	keep_status status = compose(copying, table, create, sql);

	if (status == KEEP_OK)
		status = kp_sql_script(copying->conn, sql->data, copying->err);
	if (status == KEEP_OK)
		status = compose(copying, table, compare, sql);
	if (status == KEEP_OK)
		status = ask(copying, sql->data, NULL, word, &same);
	if (status == KEEP_OK && !same)
		status = kp_fail(copying->err, KEEP_BUSY,
				 "the table %s changed while it was copied", table);
	return status;
}

/* One after the other by name, so that no statement is under way while another runs. */
static keep_status copy_tables(struct copying *copying, keep_buffer *sql)
{
	static const char next[] =
		"SELECT relname::text FROM pg_class WHERE relnamespace = "
		"current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition "
		"AND relname > $1::name ORDER BY relname LIMIT 1";
	char table[NAME_SIZE] = "";
	bool found = true;
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && found) {
		status = ask(copying, next, table, table, &found);
		if (status == KEEP_OK && found)
			status = copy_table(copying, table, sql);
	}
	return status;
}

keep_status kp_pg_copy(kp_sql_conn *base, const char *label, keep_error *err)
{
	struct copying copying = {.conn = base, .err = err};
	keep_buffer sql = KEEP_BUFFER_INIT;
	bool found = false;
	keep_status status =
		ask(&copying, "SELECT current_schema()::text", NULL, copying.schema, &found);

	if (status == KEEP_OK)
		status = make_schema(&copying, label, &sql);
	if (status == KEEP_OK)
		status = copy_tables(&copying, &sql);
	keep_buffer_release(&sql);
	if (status != KEEP_OK)
		return kp_prefix(err, status, "a copy of the schema %s", copying.schema);
	kp_log(KEEP_LOG_INFO, "the schema %s was copied to %s", copying.schema, copying.target);
	return KEEP_OK;
}
