/*
 * record_rows.c - the rows of a statement as records in an arena.
 *
 * Invariants:
 *   1. The statement is reset when a call returns, so a lease is given back clean.
 *   2. Nothing that was read is referred to after a failure; the arena keeps what it holds.
 *
 * Rows are read into a growing array, which moves to the arena at the end: an arena cannot grow
 * what it gave out.
 *
 * Tests: tests/contract/test_record.c.
 */
#include "sql/sql.h"

#include <string.h>

enum { ROWS_FIRST = 16, ROWS_MAX = 1000000 };

keep_status kp_record_read_one(kp_sql_stmt *stmt, const kp_record *record, void *object,
			       kp_arena *arena, bool *found, keep_error *err)
{
	keep_status status;

	*found = false;
	status = kp_sql_step(stmt, found, err);
	if (status == KEEP_OK && *found)
		status = kp_record_read(stmt, 0, record, object, arena, err);
	if (status != KEEP_OK)
		*found = false;
	kp_sql_reset(stmt);
	return status;
}

static keep_status grow(char **rows, size_t *room, size_t size, keep_error *err)
{
	size_t more = *room ? *room * 2 : ROWS_FIRST;
	char *grown;

	if (more > ROWS_MAX)
		return kp_fail(err, KEEP_FULL, "an answer of more than %d rows", ROWS_MAX);
	grown = kp_realloc(*rows, more * size);
	if (!grown)
		return kp_fail_memory(err, "an answer's rows");
	*rows = grown;
	*room = more;
	return KEEP_OK;
}

keep_status kp_record_read_all(kp_sql_stmt *stmt, const kp_record *record, kp_arena *arena,
			       void **items, size_t *count, keep_error *err)
{
	return kp_record_read_good(stmt, record, arena, items, count, NULL, NULL, err);
}

/* One row; *is_good: it could be read, or else `damaged` was told. */
static keep_status read_row(kp_sql_stmt *stmt, const kp_record *record, void *object,
			    kp_arena *arena, kp_record_damaged *damaged, void *ctx, bool *is_good,
			    keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_record_read(stmt, 0, record, object, arena, damaged ? &why : err);

	*is_good = status == KEEP_OK;
	if (!damaged || status == KEEP_OK)
		return status;
	if (status == KEEP_CORRUPT)
		return damaged(ctx, stmt, &why, err);
	return kp_fail(err, status, "%s", why.message);
}

keep_status kp_record_read_good(kp_sql_stmt *stmt, const kp_record *record, kp_arena *arena,
				void **items, size_t *count, kp_record_damaged *damaged, void *ctx,
				keep_error *err)
{
	char *rows = NULL;
	size_t found = 0, room = 0;
	bool has_row = false;
	keep_status status = kp_sql_step(stmt, &has_row, err);

	*items = NULL;
	*count = 0;
	while (status == KEEP_OK && has_row) {
		bool is_good = false;

		if (found == room)
			status = grow(&rows, &room, record->size, err);
		if (status == KEEP_OK)
			status = read_row(stmt, record, rows + found * record->size, arena, damaged,
					  ctx, &is_good, err);
		found += is_good;
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	if (status == KEEP_OK) {
		*items = kp_arena_alloc(arena, found ? found * record->size : 1);
		if (!*items)
			status = kp_fail_memory(err, "an answer's rows");
	}
	if (status == KEEP_OK && found)
		memcpy(*items, rows, found * record->size);
	if (status == KEEP_OK)
		*count = found;
	kp_free(rows);
	return status;
}
