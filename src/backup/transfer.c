/*
 * transfer.c - copying a table's rows, and what proves that both sides have the same.
 *
 * The rows go over in the order of the key, in transactions of some thousand. So what the target
 * has is always a beginning of what the source has, and an interrupted copy needs no note of how
 * far it is: it goes on behind the target's last key.
 *
 *     hash of a table = H(… H(H(0, row 1), row 2) …),  H = SHA-256
 *     row             = for each value: its kind, whether it is there, its length, its bytes
 *
 * Numbers are 8 bytes, big end first; times are milliseconds; a real is its bits, with one zero,
 * for SQLite keeps no sign of it; a long value stands for itself by its own SHA-256.
 *
 * Invariants:
 *   1. A transaction has at most batch_rows rows, and ends after KP_TRANSFER_BATCH_BYTES: memory
 *      does not grow with the table.
 *   2. Nothing is replaced: a row that is there already is CONFLICT.
 *   3. The hash is of what was read, never of what was written.
 *
 * Tests: tests/contract/test_transfer_tables.c, tests/torture/test_transfer_faults.c.
 */
#include "backup/transfer.h"

#include <string.h>

enum { LONG_VALUE = 4096 };

/* ---------------------------------------------------------------- hashes */

static void put_number(unsigned char *out, uint64_t number)
{
	for (int i = 0; i < 8; i++)
		out[i] = (unsigned char)(number >> (56 - 8 * i));
}

static keep_status encode_value(const kp_value *value, keep_buffer *row, keep_error *err)
{
	unsigned char head[2 + 8] = {(unsigned char)value->kind, value->is_null},
			       digest[KP_SHA256_SIZE];
	keep_bytes bytes = {.data = NULL};
	uint64_t number = (uint64_t)value->integer;
	double real = value->kind == KP_REAL && value->real != 0 ? value->real : 0;
	keep_status status = KEEP_OK;

	if (!value->is_null &&
	    (value->kind == KP_TEXT || value->kind == KP_BLOB || value->kind == KP_JSON)) {
		bytes = value->bytes;
		number = bytes.len;
	} else if (value->is_null) {
		number = 0;
	} else if (value->kind == KP_REAL) {
		memcpy(&number, &real, sizeof number);
	}
	put_number(head + 2, number);
	if (bytes.len > LONG_VALUE) {
		status = kp_sha256(bytes, digest, err);
		bytes = (keep_bytes){(const char *)digest, sizeof digest};
	}
	if (status == KEEP_OK)
		status = kp_buffer_append(row, (keep_bytes){(const char *)head, sizeof head}, err);
	if (status == KEEP_OK && bytes.len)
		status = kp_buffer_append(row, bytes, err);
	return status;
}

static keep_status add_row(const kp_transfer_reader *reader, keep_buffer *text,
			   kp_transfer_sum *sum, keep_error *err)
{
	keep_status status;

	text->len = 0;
	status = kp_buffer_append(text, (keep_bytes){(const char *)sum->digest, sizeof sum->digest},
				  err);
	for (size_t i = 0; i < reader->plan->column_count && status == KEEP_OK; i++)
		status = encode_value(&reader->row[i], text, err);
	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(text), sum->digest, err);
	sum->rows += status == KEEP_OK;
	return status;
}

keep_status kp_transfer_sum_add(kp_transfer_sum *sum, const kp_transfer_sum *next, keep_error *err)
{
	unsigned char both[2 * KP_SHA256_SIZE];

	memcpy(both, sum->digest, KP_SHA256_SIZE);
	memcpy(both + KP_SHA256_SIZE, next->digest, KP_SHA256_SIZE);
	sum->rows += next->rows;
	return kp_sha256((keep_bytes){(const char *)both, sizeof both}, sum->digest, err);
}

bool kp_transfer_sums_equal(const kp_transfer_sum *a, const kp_transfer_sum *b)
{
	return a->rows == b->rows && memcmp(a->digest, b->digest, sizeof a->digest) == 0;
}

static keep_status tell(const kp_transfer_watch *watch, const kp_transfer_table *table,
			int64_t rows, bool verifies, keep_error *err)
{
	if (!watch || !watch->tell)
		return KEEP_OK;
	return watch->tell(watch->ctx, table, rows, verifies, err);
}

static int64_t batch_rows(const kp_transfer_watch *watch)
{
	return watch && watch->batch_rows > 0 ? watch->batch_rows : KP_TRANSFER_BATCH_ROWS;
}

keep_status kp_transfer_sum_up(const kp_transfer_table *table, const kp_transfer_end *of,
			       const kp_transfer_watch *watch, kp_transfer_sum *sum,
			       keep_error *err)
{
	kp_transfer_reader reader = {.plan = NULL};
	kp_transfer_plan plan;
	keep_buffer text = KEEP_BUFFER_INIT;
	bool has_row = true;
	keep_status status = kp_transfer_plan_make(table, of, &plan, err);

	*sum = (kp_transfer_sum){.rows = 0};
	if (status == KEEP_OK)
		status = kp_transfer_reader_open(&plan, NULL, &reader, err);
	while (status == KEEP_OK) {
		status = kp_transfer_reader_next(&reader, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = add_row(&reader, &text, sum, err);
		if (status == KEEP_OK && sum->rows % batch_rows(watch) == 0)
			status = tell(watch, table, sum->rows, true, err);
	}
	kp_transfer_reader_release(&reader);
	keep_buffer_release(&text);
	return status;
}

/* ---------------------------------------------------------------- where to go on */

struct copying {
	kp_transfer_plan from, to;
	const kp_transfer_watch *watch;
	kp_transfer_reader reader;
	kp_sql_stmt *insert;
	keep_buffer last[KP_TRANSFER_KEYS_MAX];
	kp_value last_key[KP_TRANSFER_KEYS_MAX];
	bool has_last;
	keep_buffer text; /* of a row, for its hash */
	kp_transfer_sum sum;
	bool is_over;
};

static keep_status keep_last(struct copying *copying, kp_sql_stmt *stmt, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < copying->to.key_count && status == KEEP_OK; i++) {
		kp_kind kind = copying->to.columns[copying->to.keys[i]].kind;
		kp_value *key = &copying->last_key[i];

		status = kp_sql_column(stmt, (int)i, kind, key, err);
		key->kind = kind;
		if (status != KEEP_OK || key->is_null)
			continue;
		if (kind == KP_TEXT || kind == KP_BLOB || kind == KP_JSON) {
			status = keep_buffer_set(&copying->last[i], key->bytes, err);
			key->bytes = kp_buffer_bytes(&copying->last[i]);
		}
	}
	return status;
}

static keep_status find_last(struct copying *copying, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_transfer_prepare(&copying->to, KP_TRANSFER_READ_LAST, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &copying->has_last, err);
	if (status == KEEP_OK && copying->has_last)
		status = keep_last(copying, stmt, err);
	kp_sql_finish(&stmt);
	return status == KEEP_OK ? status : kp_transfer_fail_at(&copying->to, NULL, status, err);
}

static keep_status ask_number(const kp_transfer_plan *plan, enum kp_transfer_text text,
			      int64_t *out, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_transfer_prepare(plan, text, &stmt, err);

	*out = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_int(stmt, 0, out, err);
	kp_sql_finish(&stmt);
	return status == KEEP_OK ? status : kp_transfer_fail_at(plan, NULL, status, err);
}

/* ---------------------------------------------------------------- rows */

static keep_status write_row(struct copying *copying, keep_error *err)
{
	const kp_transfer_plan *plan = &copying->to;
	const kp_transfer_layout *layout = plan->layout;
	const kp_value *values = copying->reader.row;
	kp_value derived[KP_TRANSFER_COLUMNS_MAX];
	unsigned char room[64];
	size_t count = plan->column_count;
	bool has_scope = layout ? layout->scope != NULL : plan->scope_column != NULL;
	keep_status status = KEEP_OK;

	if (layout) {
		status = layout->derive(plan->end->derive_ctx, values, derived, &count, room, err);
		values = derived;
	}
	if (status == KEEP_OK && has_scope)
		status = kp_sql_bind_text(copying->insert, 1, plan->end->scope, err);
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = kp_sql_bind(copying->insert, (int)i + 1 + has_scope, &values[i], err);
	if (status == KEEP_OK)
		status = kp_sql_queue(copying->insert, err);
	else
		kp_sql_reset(copying->insert);
	return status == KEEP_OK ? status
				 : kp_transfer_fail_at(plan, copying->reader.row, status, err);
}

static size_t row_bytes(const kp_transfer_reader *reader)
{
	size_t bytes = 0;

	for (size_t i = 0; i < reader->plan->column_count; i++) {
		kp_kind kind = reader->plan->columns[i].kind;

		bytes += sizeof(int64_t);
		if (!reader->row[i].is_null &&
		    (kind == KP_TEXT || kind == KP_BLOB || kind == KP_JSON))
			bytes += reader->row[i].bytes.len;
	}
	return bytes;
}

static keep_status copy_rows(struct copying *copying, keep_error *err)
{
	size_t bytes = 0;
	keep_status status = KEEP_OK;

	for (int64_t rows = 0; rows < batch_rows(copying->watch) && bytes < KP_TRANSFER_BATCH_BYTES;
	     rows++) {
		bool has_row = false;

		status = kp_transfer_reader_next(&copying->reader, &has_row, err);
		if (status != KEEP_OK)
			break;
		if (!has_row) {
			copying->is_over = true;
			break;
		}
		bytes += row_bytes(&copying->reader);
		status = add_row(&copying->reader, &copying->text, &copying->sum, err);
		if (status == KEEP_OK)
			status = write_row(copying, err);
		if (status != KEEP_OK)
			break;
	}
	return status;
}

static keep_status copy_batch(struct copying *copying, keep_error *err)
{
	kp_sql_conn *conn = copying->to.end->conn;
	keep_status status = kp_sql_begin(conn, KP_SQL_WRITE, err);

	if (status != KEEP_OK)
		return status;
	status = copy_rows(copying, err);
	kp_moment("transfer.rows_written");
	if (status != KEEP_OK) {
		kp_sql_rollback(conn);
		return status;
	}
	status = kp_sql_commit(conn, err);
	if (status != KEEP_OK)
		return kp_transfer_fail_at(&copying->to, NULL, status, err);
	kp_sql_maintain(conn);
	kp_moment("transfer.rows_committed");
	return tell(copying->watch, copying->to.table, copying->sum.rows, false, err);
}

static void release(struct copying *copying)
{
	kp_sql_finish(&copying->insert);
	kp_transfer_reader_release(&copying->reader);
	for (size_t i = 0; i < KP_COUNT(copying->last); i++)
		keep_buffer_release(&copying->last[i]);
	keep_buffer_release(&copying->text);
}

keep_status kp_transfer_copy(const kp_transfer_table *table, const kp_transfer_end *from,
			     const kp_transfer_end *to, const kp_transfer_watch *watch,
			     kp_transfer_sum *sum, bool *is_summed, int64_t *before,
			     keep_error *err)
{
	struct copying copying = {.watch = watch};
	keep_status status = kp_transfer_plan_make(table, from, &copying.from, err);

	if (before)
		*before = 0;
	if (status == KEEP_OK)
		status = kp_transfer_plan_make(table, to, &copying.to, err);
	if (status == KEEP_OK)
		status = find_last(&copying, err);
	if (status == KEEP_OK && copying.has_last && before)
		status = ask_number(&copying.to, KP_TRANSFER_COUNT, before, err);
	if (status == KEEP_OK)
		status = kp_transfer_prepare(&copying.to, KP_TRANSFER_INSERT, &copying.insert, err);
	if (status == KEEP_OK)
		status = kp_transfer_reader_open(&copying.from,
						 copying.has_last ? copying.last_key : NULL,
						 &copying.reader, err);
	while (status == KEEP_OK && !copying.is_over)
		status = copy_batch(&copying, err);
	*sum = copying.sum;
	*is_summed = status == KEEP_OK && !copying.has_last;
	release(&copying);
	return status;
}

/* ---------------------------------------------------------------- the rest */

keep_status kp_transfer_has_rows(const kp_transfer_table *table, const kp_transfer_end *of,
				 bool *has_rows, keep_error *err)
{
	kp_transfer_plan plan;
	int64_t one = 0;
	keep_status status = kp_transfer_plan_make(table, of, &plan, err);

	if (status == KEEP_OK)
		status = ask_number(&plan, KP_TRANSFER_ANY, &one, err);
	*has_rows = one != 0;
	return status;
}

keep_status kp_transfer_clear(const kp_transfer_table *table, const kp_transfer_end *of,
			      keep_error *err)
{
	kp_transfer_plan plan;
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_transfer_plan_make(table, of, &plan, err);

	if (status == KEEP_OK)
		status = kp_transfer_prepare(&plan, KP_TRANSFER_CLEAR, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	kp_sql_finish(&stmt);
	return status == KEEP_OK ? status : kp_transfer_fail_at(&plan, NULL, status, err);
}

/* SQLite numbers on from the greatest by itself. */
static keep_status set_sequence(const kp_transfer_end *to, const kp_record *record,
				const char *column, keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_buffer_append_format(
		&sql, err,
		"SELECT setval(pg_get_serial_sequence('\"%s\".\"%s\"', '%s'), "
		"greatest(coalesce(max(\"%s\"), 1), 1), coalesce(max(\"%s\"), 0) >= 1) "
		"FROM \"%s\".\"%s\"",
		to->schema, record->table, column, column, column, to->schema, record->table);

	if (status == KEEP_OK)
		status = kp_sql_prepare(to->conn, sql.data, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	kp_sql_finish(&stmt);
	keep_buffer_release(&sql);
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", record->table);
}

keep_status kp_transfer_number(const kp_transfer_table *table, const kp_transfer_end *to,
			       keep_error *err)
{
	const kp_record *record = table->record;

	if (!record || !to->schema)
		return KEEP_OK;
	for (size_t i = 0; i < record->field_count; i++)
		if (record->fields[i].flags & KP_FIELD_AUTO)
			return set_sequence(to, record, record->fields[i].name, err);
	return KEEP_OK;
}
