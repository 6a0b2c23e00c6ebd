/*
 * sql_doors.c - the doors every caller of a driver goes through.
 *
 * Held here, so that no driver has to repeat it:
 *   1. An out parameter is empty unless the call succeeded; a handle passed by T ** is NULL after.
 *   2. Text reaches a driver only as UTF-8 without a zero byte, because PostgreSQL can hold nothing
 *      else and a record must mean the same everywhere; a real is finite; a time has a text form.
 *   3. begin, commit and rollback keep `in_transaction` true to what the backend knows: after a
 *      failed commit the transaction is over.
 *   4. A driver writes its error into storage that is there: err is never NULL below this file.
 *   5. An injected driver fault happens before the driver is asked; an injected commit fault after
 *      the commit happened, because that is the answer that gets lost.
 *
 * Tests: tests/contract/test_sql_driver.c, tests/torture/test_sqlite_faults.c.
 */
#include "sql/sql.h"

#include <assert.h>
#include <math.h>

enum { TIMEOUT_MS_DEFAULT = 5000 };

static keep_status injected(keep_error *err)
{
	return kp_fail(err, KEEP_UNAVAILABLE, "injected driver fault");
}

keep_status kp_sql_open(const kp_sql_driver *driver, const kp_sql_options *options,
			kp_sql_conn **out, keep_error *err)
{
	kp_sql_options filled = *options;
	keep_error local;
	keep_status status = KEEP_OK;

	*out = NULL;
	assert(driver->abi == KP_SQL_DRIVER_ABI);
	if (filled.timeout_ms <= 0)
		filled.timeout_ms = TIMEOUT_MS_DEFAULT;
	if (kp_fault(KP_FAULT_DRIVER) || kp_fault(KP_FAULT_CONNECT))
		return injected(err);
	status = driver->open(&filled, out, err ? err : &local);
	if (status == KEEP_OK)
		(*out)->read_only = options->read_only;
	return status;
}

void kp_sql_close(kp_sql_conn **conn)
{
	if (*conn)
		(*conn)->driver->close(*conn);
	*conn = NULL;
}

keep_status kp_sql_script(kp_sql_conn *conn, const char *sql, keep_error *err)
{
	keep_error local;

	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	return conn->driver->script(conn, sql, err ? err : &local);
}

keep_status kp_sql_prepare(kp_sql_conn *conn, const char *sql, kp_sql_stmt **out, keep_error *err)
{
	keep_error local;

	*out = NULL;
	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	return conn->driver->prepare(conn, sql, out, err ? err : &local);
}

static keep_status check_value(const kp_value *value, int index, keep_error *err)
{
	char text[KEEP_TIME_TEXT_SIZE];

	if (value->is_null)
		return KEEP_OK;
	switch (value->kind) {
	case KP_TEXT:
	case KP_JSON:
		if (!kp_text_is_storable(value->bytes))
			return kp_fail(err, KEEP_INVALID,
				       "parameter %d: text must be UTF-8 without a zero byte",
				       index);
		return KEEP_OK;
	case KP_REAL:
		if (!isfinite(value->real))
			return kp_fail(err, KEEP_INVALID, "parameter %d: number is not finite",
				       index);
		return KEEP_OK;
	case KP_TIME: return keep_time_format(value->integer, text, err);
	case KP_BLOB:
	case KP_INT:
	case KP_BOOL: return KEEP_OK;
	}
	return kp_fail(err, KEEP_MISUSE, "parameter %d: no such kind", index);
}

keep_status kp_sql_bind(kp_sql_stmt *stmt, int index, const kp_value *value, keep_error *err)
{
	keep_error local;
	keep_status status;

	assert(index >= 1);
	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	status = check_value(value, index, err);
	if (status != KEEP_OK)
		return status;
	return stmt->conn->driver->bind(stmt, index, value, err ? err : &local);
}

keep_status kp_sql_bind_int(kp_sql_stmt *stmt, int index, int64_t value, keep_error *err)
{
	return kp_sql_bind(stmt, index, &(kp_value){.kind = KP_INT, .integer = value}, err);
}

keep_status kp_sql_bind_text(kp_sql_stmt *stmt, int index, keep_bytes text, keep_error *err)
{
	kp_value value = {.kind = KP_TEXT, .is_null = !text.data, .bytes = text};

	return kp_sql_bind(stmt, index, &value, err);
}

keep_status kp_sql_bind_blob(kp_sql_stmt *stmt, int index, keep_bytes blob, keep_error *err)
{
	kp_value value = {.kind = KP_BLOB, .is_null = !blob.data, .bytes = blob};

	return kp_sql_bind(stmt, index, &value, err);
}

keep_status kp_sql_step(kp_sql_stmt *stmt, bool *has_row, keep_error *err)
{
	keep_error local;

	*has_row = false;
	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	return stmt->conn->driver->step(stmt, has_row, err ? err : &local);
}

keep_status kp_sql_run(kp_sql_stmt *stmt, keep_error *err)
{
	keep_status status;
	bool has_row = true;

	do
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row);
	kp_sql_reset(stmt);
	return status;
}

keep_status kp_sql_column(kp_sql_stmt *stmt, int index, kp_kind kind, kp_value *out,
			  keep_error *err)
{
	keep_error local;

	*out = (kp_value){.kind = kind, .is_null = true};
	assert(index >= 0);
	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	return stmt->conn->driver->column(stmt, index, kind, out, err ? err : &local);
}

static keep_status column_present(kp_sql_stmt *stmt, int index, kp_kind kind, kp_value *out,
				  keep_error *err)
{
	keep_status status = kp_sql_column(stmt, index, kind, out, err);

	if (status == KEEP_OK && out->is_null)
		return kp_fail(err, KEEP_CORRUPT, "column %d is NULL where a value must be", index);
	return status;
}

keep_status kp_sql_column_int(kp_sql_stmt *stmt, int index, int64_t *out, keep_error *err)
{
	kp_value value;
	keep_status status = column_present(stmt, index, KP_INT, &value, err);

	*out = status == KEEP_OK ? value.integer : 0;
	return status;
}

keep_status kp_sql_column_bytes(kp_sql_stmt *stmt, int index, kp_kind kind, keep_bytes *out,
				keep_error *err)
{
	kp_value value;
	keep_status status = column_present(stmt, index, kind, &value, err);

	*out = status == KEEP_OK ? value.bytes : (keep_bytes){0};
	return status;
}

int64_t kp_sql_changes(kp_sql_stmt *stmt)
{
	return stmt->conn->driver->changes(stmt);
}

void kp_sql_reset(kp_sql_stmt *stmt)
{
	if (stmt)
		stmt->conn->driver->reset(stmt);
}

void kp_sql_finish(kp_sql_stmt **stmt)
{
	if (*stmt)
		(*stmt)->conn->driver->finish(*stmt);
	*stmt = NULL;
}

keep_status kp_sql_queue(kp_sql_stmt *stmt, keep_error *err)
{
	keep_error local;

	if (kp_fault(KP_FAULT_DRIVER)) {
		kp_sql_reset(stmt);
		return injected(err);
	}
	return stmt->conn->driver->queue(stmt, err ? err : &local);
}

keep_status kp_sql_flush(kp_sql_conn *conn, keep_error *err)
{
	keep_error local;

	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	return conn->driver->flush(conn, err ? err : &local);
}

keep_status kp_sql_begin(kp_sql_conn *conn, kp_sql_mode mode, keep_error *err)
{
	keep_error local;
	keep_status status;

	assert(!conn->in_transaction);
	assert(mode == KP_SQL_READ || mode == KP_SQL_WRITE || mode == KP_SQL_WRITE_SOON);
	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	status = conn->driver->begin(conn, mode, err ? err : &local);
	conn->in_transaction = status == KEEP_OK;
	return status;
}

keep_status kp_sql_commit(kp_sql_conn *conn, keep_error *err)
{
	keep_error local;
	keep_status status;

	assert(conn->in_transaction);
	if (kp_fault(KP_FAULT_DRIVER)) {
		kp_sql_rollback(conn);
		return injected(err);
	}
	status = conn->driver->commit(conn, err ? err : &local);
	conn->in_transaction = false;
	if (status == KEEP_OK && kp_fault(KP_FAULT_COMMIT))
		return kp_fail(err, KEEP_UNCERTAIN, "injected: the commit's answer was lost");
	return status;
}

void kp_sql_rollback(kp_sql_conn *conn)
{
	if (conn->in_transaction)
		conn->driver->rollback(conn);
	conn->in_transaction = false;
}

keep_status kp_sql_check(kp_sql_conn *conn, keep_error *err)
{
	keep_error local;

	return conn->driver->check(conn, err ? err : &local);
}

bool kp_sql_falls_due(kp_sql_conn *conn)
{
	return conn->driver->falls_due(conn);
}

void kp_sql_maintain(kp_sql_conn *conn)
{
	conn->driver->maintain(conn);
}

void kp_sql_tend(kp_sql_conn *conn)
{
	conn->driver->tend(conn);
}

keep_status kp_sql_copy(kp_sql_conn *conn, const char *label, keep_error *err)
{
	keep_error local;

	assert(conn->in_transaction);
	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	return conn->driver->copy(conn, label, err ? err : &local);
}

keep_status kp_sql_notify(kp_sql_conn *conn, const char *channel, keep_bytes payload,
			  keep_error *err)
{
	keep_error local;

	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	return conn->driver->notify(conn, channel, payload, err ? err : &local);
}

keep_status kp_sql_listen(kp_sql_conn *conn, const char *channel, keep_error *err)
{
	keep_error local;

	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	return conn->driver->listen(conn, channel, err ? err : &local);
}

keep_status kp_sql_wait(kp_sql_conn *conn, int64_t timeout_ms, int wake_fd, bool *notified,
			keep_buffer *payload, keep_error *err)
{
	keep_error local;

	*notified = false;
	payload->len = 0;
	if (kp_fault(KP_FAULT_DRIVER))
		return injected(err);
	return conn->driver->wait(conn, timeout_ms, wake_fd, notified, payload, err ? err : &local);
}
