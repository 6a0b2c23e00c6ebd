/*
 * optimize.c - what keeps a store quick and small, by hand or once a week; and its sizes.
 *
 *     fold in the words of new messages ► renew the planner's statistics, table by table ► give
 * free pages back, a few at a time ► let the driver tend its log
 *
 * A step is a transaction of its own, so a writer waits for one of them at most. What takes a
 * turn of the writers ends within STEP_MS by itself; statistics are bounded by what the backend
 * reads for them (SQLite: 1000 rows of each index; a server: a sample, beside the writers).
 *
 * Invariants:
 *   1. No step removes or changes a row. Each may be repeated, and an end between two of them
 *      leaves nothing half done.
 *   2. A table of fewer than ROWS_MIN rows gets no statistics: a planner that believes that a table
 *      is tiny would read all of it when it has grown.
 *   3. Pages are given back by files that were made for it (sql.h: gives_pages_back, set for each
 *      new store); nothing rewrites a whole file.
 *
 * What it does not do: VACUUM. On SQLite that would hold up everybody for as long as it takes to
 * copy the file; a server does it by itself (autovacuum), and only it knows when.
 *
 * Tests: tests/contract/test_assistant_optimize.c.
 */
#include "assistant/assistant_private.h"

enum { ROWS_MIN = 64, STEP_MS = 20 };

/* ---------------------------------------------------------------- statistics */

/* Append a name in quotes. */
static keep_status append_name(keep_buffer *sql, keep_bytes name, keep_error *err)
{
	keep_status status = kp_buffer_append_text(sql, "\"", err);

	for (size_t i = 0; status == KEEP_OK && i < name.len; i++)
		status = kp_buffer_append(sql,
					  name.data[i] == '"' ? KEEP_BYTES("\"\"")
							      : (keep_bytes){name.data + i, 1},
					  err);
	return status == KEEP_OK ? kp_buffer_append_text(sql, "\"", err) : status;
}

/* The number that a query of one row answers; 0 without a row. */
static keep_status ask_number(kp_lease *lease, const char *sql, int64_t *out, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_sql_prepare(lease->conn, sql, &stmt, err);

	*out = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_int(stmt, 0, out, err);
	kp_sql_finish(&stmt);
	return status;
}

struct analysis {
	const char *table;
};

/* In a turn of the writers, or on a reading connection outside of any transaction. */
static keep_status analyze_table(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct analysis *analysis = ctx;
	keep_buffer sql = KEEP_BUFFER_INIT;
	int64_t is_large = 0;
	keep_status status = kp_buffer_append_format(
		&sql, err, "SELECT 1 FROM %s LIMIT 1 OFFSET %d", analysis->table, ROWS_MIN - 1);

	if (status == KEEP_OK)
		status = ask_number(lease, sql.data, &is_large, err);
	if (status == KEEP_OK && is_large) {
		sql.len = 0;
		status = kp_buffer_append_format(&sql, err, "ANALYZE %s", analysis->table);
		if (status == KEEP_OK)
			status = kp_lease_run(lease, KP_ASSISTANT_BOUND_ANALYSIS, NULL, 0, NULL,
					      err);
		if (status == KEEP_OK)
			status = kp_sql_script(lease->conn, sql.data, err);
	}
	keep_buffer_release(&sql);
	return status;
}

/* A server reads beside its writers. */
static keep_status analyze_tables(keep_assistant *assistant, keep_error *err)
{
	kp_store *store = &assistant->store;
	bool has_one_writer = kp_database_caps(store->database) & KP_SQL_ONE_WRITER;
	const unsigned here = 1U << store->driver->dialect;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_ASSISTANT_RECORD_COUNT && status == KEEP_OK; i++) {
		const kp_record *record = kp_assistant_records[i];
		struct analysis analysis = {record->table};
		unsigned dialects =
			(record->flags & KP_FIELD_SQLITE ? 1U << KP_DIALECT_SQLITE : 0) |
			(record->flags & KP_FIELD_POSTGRES ? 1U << KP_DIALECT_POSTGRES : 0);

		if (dialects && !(dialects & here))
			continue;
		status = has_one_writer ? kp_store_change(store, analyze_table, &analysis,
							  KP_NEWS_NONE, err)
					: kp_store_read(store, analyze_table, &analysis, err);
	}
	return status;
}

/* ---------------------------------------------------------------- free pages */

struct giving {
	int64_t free_pages; /* out */
};

static keep_status count_free(void *ctx, kp_lease *lease, keep_error *err)
{
	struct giving *giving = ctx;

	return kp_lease_int(lease, KP_ASSISTANT_COUNT_FREE_PAGES, NULL, 0, &giving->free_pages,
			    NULL, err);
}

/* How much of it is done depends on the clock; what is not done is done by the next one. */
static keep_status apply_giving(void *ctx, kp_lease *lease, keep_error *err)
{
	struct giving *giving = ctx;
	const int64_t until_ns = kp_monotonic_ns() + STEP_MS * INT64_C(1000000);
	keep_status status = KEEP_OK;

	do {
		status = kp_lease_run(lease, KP_ASSISTANT_GIVE_PAGES_BACK, NULL, 0, NULL, err);
		if (status == KEEP_OK)
			status = count_free(giving, lease, err);
	} while (status == KEEP_OK && giving->free_pages > 0 && kp_monotonic_ns() < until_ns);
	return status;
}

/* Ends when none is left, or none goes: writers may make new ones for ever. */
static keep_status give_pages_back(keep_assistant *assistant, keep_error *err)
{
	struct giving giving = {0};
	keep_status status = kp_store_read(&assistant->store, count_free, &giving, err);
	int64_t to_give = giving.free_pages;

	while (status == KEEP_OK && giving.free_pages > 0 && to_give > 0) {
		int64_t before = giving.free_pages;

		status = kp_store_change(&assistant->store, apply_giving, &giving, KP_NEWS_NONE,
					 err);
		to_give -= before > giving.free_pages ? before - giving.free_pages : to_give;
	}
	return status;
}

/* ---------------------------------------------------------------- the call */

keep_status keep_assistant_optimize(keep_assistant *assistant, keep_error *err)
{
	keep_status status;

	if (!assistant)
		return kp_fail(err, KEEP_MISUSE, "keep_assistant_optimize: an argument is NULL");
	if (assistant->store.read_only)
		return kp_fail(err, KEEP_DENIED, "the assistant was opened for reading only");
	status = kp_message_index_fold(assistant, err);
	if (status == KEEP_OK)
		status = analyze_tables(assistant, err);
	if (status == KEEP_OK)
		status = give_pages_back(assistant, err);
	return status == KEEP_OK ? kp_database_tend(assistant->store.database, err) : status;
}

/* ---------------------------------------------------------------- sizes */

enum { TABLES_MAX = 1000 };

struct sizes {
	kp_arena *arena;
	keep_table_size *items;
	size_t count;
};

static keep_status read_tables(struct sizes *sizes, kp_sql_stmt *stmt, keep_error *err)
{
	bool has_row = false;
	keep_status status = kp_sql_step(stmt, &has_row, err);

	while (status == KEEP_OK && has_row && sizes->count < TABLES_MAX) {
		keep_table_size *size = &sizes->items[sizes->count++];
		keep_bytes name = {NULL, 0};

		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &name, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(sizes->arena, name, &size->table, err);
		if (status == KEEP_OK)
			status = kp_sql_column_int(stmt, 1, &size->bytes, err);
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	return status;
}

static keep_status count_rows(kp_lease *lease, keep_table_size *size, keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_text(&sql, "SELECT count(*) FROM ", err);

	if (status == KEEP_OK)
		status = append_name(&sql, size->table, err);
	if (status == KEEP_OK)
		status = ask_number(lease, sql.data, &size->rows, err);
	keep_buffer_release(&sql);
	return status;
}

static keep_status query_sizes(void *ctx, kp_lease *lease, keep_error *err)
{
	struct sizes *sizes = ctx;
	kp_sql_stmt *stmt = NULL;
	int64_t tells = 0;
	keep_status status =
		kp_lease_int(lease, KP_ASSISTANT_TELLS_SIZES, NULL, 0, &tells, NULL, err);

	sizes->count = 0;
	sizes->items = kp_arena_alloc(sizes->arena, TABLES_MAX * sizeof *sizes->items);
	if (status == KEEP_OK && !sizes->items)
		status = kp_fail_memory(err, "sizes");
	if (status == KEEP_OK)
		status = kp_lease_bind(lease,
				       tells ? KP_ASSISTANT_LIST_SIZES : KP_ASSISTANT_LIST_TABLES,
				       NULL, 0, &stmt, err);
	if (status == KEEP_OK)
		status = read_tables(sizes, stmt, err);
	kp_sql_reset(stmt);
	for (size_t i = 0; i < sizes->count && status == KEEP_OK; i++)
		status = count_rows(lease, &sizes->items[i], err);
	return status;
}

keep_status keep_assistant_sizes(keep_assistant *assistant, keep_memory *memory,
				 keep_table_sizes *out, keep_error *err)
{
	struct sizes sizes = {.arena = memory};
	keep_status status;

	if (!assistant || !memory || !out)
		return kp_fail(err, KEEP_MISUSE, "keep_assistant_sizes: an argument is NULL");
	status = kp_store_read(&assistant->store, query_sizes, &sizes, err);
	if (status == KEEP_OK)
		*out = (keep_table_sizes){sizes.items, sizes.count};
	return status;
}
