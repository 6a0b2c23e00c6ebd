/*
 * engine_sql.c - what the SQLite and the PostgreSQL backend do in the same way.
 *
 * Their layouts and transactions differ for good reasons (docs/decisions/); reading the rows of a
 * list does not.
 *
 * Tests: tests/contract (the suite on both).
 */
#include "engine/engine_sql.h"

keep_status kp_engine_collect_rows(kp_sql_stmt *stmt, keep_engine_sink *sink, keep_error *err)
{
	for (;;) {
		keep_bytes value, path = {0};
		bool has_row;
		keep_status status = kp_sql_step(stmt, &has_row, err);

		if (status != KEEP_OK || !has_row)
			return status;
		status = kp_sql_column_bytes(stmt, 0, KP_BLOB, &value, err);
		if (status == KEEP_OK && sink->names_wanted)
			status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &path, err);
		if (status == KEEP_OK)
			status = kp_sink_add(sink, kp_path_of(path).name, value, err);
		if (status != KEEP_OK)
			return status;
	}
}
