/*
 * sqlite_json.c - the SQLite driver: json_valid() for a schema that is not trusted.
 *
 * A json column of a record is TEXT with CHECK (json_valid(…)). Connections of Keep are opened with
 * trusted_schema off, because a mailbox's files are written by others too. Then only functions
 * marked innocuous may stand in a CHECK, and SQLite 3.40 (Debian 12) marks its own JSON functions
 * the wrong way round: the schema of such a table cannot even be read ("unsafe use of
 * json_valid()"). So each connection gets this one instead, before it looks at the schema. It asks
 * the same parser as record.c and is a little stricter: no duplicate member names, at most
 * KP_JSON_DEPTH_MAX levels. Other programs use SQLite's own.
 *
 * Held by tests/contract/test_record.c, which uses json columns.
 */
#include "sql/sqlite_driver.h"

static void answer_json_valid(sqlite3_context *ctx, int count, sqlite3_value **values)
{
	keep_bytes text = {.data = NULL};
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL;
	keep_status status = KEEP_OK;

	(void)count;
	if (sqlite3_value_type(values[0]) == SQLITE_NULL)
		return; /* NULL, which a CHECK accepts */
	text.data = (const char *)sqlite3_value_text(values[0]);
	text.len = (size_t)sqlite3_value_bytes(values[0]);
	if (!text.data) {
		sqlite3_result_error_nomem(ctx);
		return;
	}
	status = kp_json_parse(text, &arena, &json, NULL);
	kp_arena_release(&arena);
	if (status == KEEP_NO_MEMORY)
		sqlite3_result_error_nomem(ctx);
	else
		sqlite3_result_int(ctx, status == KEEP_OK);
}

keep_status kp_sqlite_add_json(struct kp_sqlite *conn, keep_error *err)
{
	int rc = sqlite3_create_function_v2(conn->db, "json_valid", 1,
					    SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS,
					    NULL, answer_json_valid, NULL, NULL, NULL);

	return rc == SQLITE_OK ? KEEP_OK : kp_sqlite_fail(conn, err);
}
