/*
 * transfer_unit.c - the tables of one database: copied, read back and compared.
 *
 * Invariants:
 *   1. Both sides have the same version of the service's tables, before a row is read.
 *   2. A table counts only when its rows, read back from the target in one snapshot, have the
 *      number and the hash of the source's.
 *   3. A table of which a new database has rows is emptied before it is copied, each time: what it
 *      holds then may be those.
 *
 * Tests: tests/contract/test_transfer_home.c.
 */
#include "home/home_private.h"

#include <string.h>

/* ---------------------------------------------------------------- versions */

static keep_status read_version(const kp_transfer_end *of, const char *service, int64_t *version,
				keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(
		&sql, err,
		"SELECT coalesce(max(version), 0) FROM %s%s%smigrations WHERE service = $1",
		of->schema ? "\"" : "", of->schema ? of->schema : "", of->schema ? "\"." : "");

	if (status == KEEP_OK)
		status = kp_home_ask(of->conn, sql.data, keep_bytes_of(service), version, err);
	keep_buffer_release(&sql);
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", service);
}

keep_status kp_home_versions(const char *service, const kp_transfer_end *from,
			     const kp_transfer_end *to, keep_error *err)
{
	int64_t source = 0, target = 0;
	keep_status status = read_version(from, service, &source, err);

	if (status == KEEP_OK)
		status = read_version(to, service, &target, err);
	if (status != KEEP_OK || source == target)
		return status;
	return kp_fail(err, source > target ? KEEP_TOO_NEW : KEEP_CONFLICT,
		       "%s: the tables of the source have version %lld, those of the target %lld",
		       service, (long long)source, (long long)target);
}

/* ---------------------------------------------------------------- a table */

static keep_status empty_first(const kp_transfer_table *table, const kp_transfer_end *to,
			       keep_error *err)
{
	keep_status status = kp_sql_begin(to->conn, KP_SQL_WRITE, err);

	if (status == KEEP_OK)
		status = kp_transfer_clear(table, to, err);
	if (status == KEEP_OK)
		return kp_sql_commit(to->conn, err);
	kp_sql_rollback(to->conn);
	return status;
}

static keep_status compare(kp_home_transfer *transfer, const kp_transfer_table *table,
			   const kp_transfer_end *from, const kp_transfer_end *to,
			   kp_transfer_sum *source, bool is_summed, keep_error *err)
{
	kp_transfer_sum target = {.rows = 0};
	keep_status status = KEEP_OK;

	if (!is_summed)
		status = kp_transfer_sum_up(table, from, &transfer->watch, source, err);
	if (status == KEEP_OK)
		status = kp_sql_begin(to->conn, KP_SQL_READ, err);
	if (status != KEEP_OK)
		return status;
	status = kp_transfer_sum_up(table, to, &transfer->watch, &target, err);
	kp_sql_rollback(to->conn);
	if (status != KEEP_OK || kp_transfer_sums_equal(source, &target))
		return status;
	return kp_fail(err, KEEP_CONFLICT,
		       "%s, %s: %lld rows in the source and %lld in the target, which are not the "
		       "same; the source was changed since the transfer was begun, or the target "
		       "is in use: remove the target and begin anew",
		       transfer->store, table->name, (long long)source->rows,
		       (long long)target.rows);
}

static keep_status copy_table(kp_home_transfer *transfer, const char *store,
			      const kp_transfer_table *table, const kp_transfer_end *from,
			      const kp_transfer_end *to, bool is_seeded, keep_error *err)
{
	kp_transfer_sum sum = {.rows = 0};
	int64_t before = 0;
	bool is_summed = false;
	keep_status status = is_seeded ? empty_first(table, to, err) : KEEP_OK;

	transfer->rows_told = 0;
	if (status == KEEP_OK)
		status = kp_transfer_copy(table, from, to, &transfer->watch, &sum, &is_summed,
					  &before, err);
	if (status == KEEP_OK)
		status = compare(transfer, table, from, to, &sum, is_summed, err);
	if (status == KEEP_OK)
		status = kp_transfer_number(table, to, err);
	transfer->rows_before += before;
	return status == KEEP_OK ? kp_home_transfer_note(transfer, store, table->name, &sum, err)
				 : status;
}

keep_status kp_home_unit(kp_home_transfer *transfer, const char *store,
			 const kp_home_tables *tables, const kp_transfer_end *from,
			 const kp_transfer_end *to, keep_error *err)
{
	keep_status status = kp_home_versions(tables->service, from, to, err);

	for (size_t i = 0; i < tables->count && status == KEEP_OK; i++) {
		status = copy_table(transfer, store, &tables->list[i], from, to,
				    i >= tables->count - tables->seeded_count, err);
		kp_moment("transfer.table");
	}
	return status;
}
