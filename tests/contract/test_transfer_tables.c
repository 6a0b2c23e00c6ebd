/*
 * test_transfer_tables.c - src/backup/transfer.h: tables of every kind of column, from SQLite to
 * PostgreSQL and back, with sample records (tests/fixtures/sample.rec).
 */
#include "backup/transfer.h"
#include "postgres_fixture.h"
#include "sample_records.h"
#include "sample_tables.h"
#include "sample_values.h"
#include "temp_folder.h"

enum { ROUNDS = 400 };

static temp_folder folder;

static const kp_record *const records[] = {&kp_sample_plain_record, &kp_sample_nullable_record,
					   &kp_sample_secret_record, &kp_sample_reserved_record,
					   &kp_sample_auto_record};

static kp_transfer_table table_of(const kp_record *record)
{
	return (kp_transfer_table){.name = record->table, .record = record};
}

static kp_sql_conn *new_file(const char *name)
{
	keep_error err = KEEP_ERROR_INIT;
	char path[128];
	kp_sql_options options = {.location = temp_path(&folder, name, path), .create = true};
	kp_sql_conn *conn = NULL;

	OK(kp_sql_open(&kp_sql_sqlite, &options, &conn, &err));
	OK(kp_sql_script(conn, kp_sample_files[KP_DIALECT_SQLITE].bytes, &err));
	return conn;
}

static kp_sql_conn *new_schema(void)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = open_shared();
	char sql[256];

	snprintf(sql, sizeof sql, "DROP SCHEMA %s CASCADE; CREATE SCHEMA %s", test_schema(),
		 test_schema());
	OK(kp_sql_script(conn, sql, &err));
	OK(kp_sql_script(conn, kp_sample_files[KP_DIALECT_POSTGRES].bytes, &err));
	return conn;
}

static kp_transfer_end end_of(kp_sql_conn *conn)
{
	return (kp_transfer_end){.conn = conn,
				 .schema = conn->caps & KP_SQL_SCHEMAS ? test_schema() : NULL};
}

static void copy(const kp_record *record, kp_sql_conn *from, kp_sql_conn *to,
		 const kp_transfer_watch *watch, int64_t *before)
{
	kp_transfer_table table = table_of(record);
	kp_transfer_end source = end_of(from), target = end_of(to);
	kp_transfer_sum sum, a, b;
	bool is_summed = false;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_begin(from, KP_SQL_READ, &err));
	OK(kp_transfer_copy(&table, &source, &target, watch, &sum, &is_summed, before, &err));
	OK(kp_transfer_sum_up(&table, &source, NULL, &a, &err));
	kp_sql_rollback(from);
	OK(kp_sql_begin(to, KP_SQL_READ, &err));
	OK(kp_transfer_sum_up(&table, &target, NULL, &b, &err));
	kp_sql_rollback(to);
	CHECK(kp_transfer_sums_equal(&a, &b), "%s: %lld rows and %lld", record->table,
	      (long long)a.rows, (long long)b.rows);
	CHECK(!is_summed || kp_transfer_sums_equal(&a, &sum), "%s: summed otherwise",
	      record->table);
	OK(kp_transfer_number(&table, &target, &err));
}

/* Every row of `a` is in `b`, by the records' own reading. */
static void records_must_be_equal(const kp_record *record, kp_sql_conn *a, kp_sql_conn *b)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = NULL;
	bool has_row = true;
	char sql[100];

	snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", record->table);
	assert_int_equal(get_number(a, sql), get_number(b, sql));
	snprintf(sql, sizeof sql, "SELECT * FROM %s", record->table);
	OK(kp_sql_prepare(a, sql, &stmt, &err));
	for (;;) {
		union {
			char bytes[512];
			max_align_t align;
		} x, y;
		kp_arena arena = {.head = NULL};

		assert_true(record->size <= sizeof x);
		OK(kp_sql_step(stmt, &has_row, &err));
		if (!has_row)
			break;
		OK(kp_record_read(stmt, 0, record, &x, &arena, &err));
		y = x;
		OK(kp_record_get(b, record, &y, &arena, &err));
		for (size_t i = 0; i < record->field_count; i++)
			CHECK(fields_are_equal(&record->fields[i], &x, &y), "%s.%s", record->table,
			      record->fields[i].name);
		kp_arena_release(&arena);
	}
	kp_sql_finish(&stmt);
}

static void fill_tables(kp_sql_conn *conn)
{
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	for (size_t r = 0; r < KP_COUNT(records); r++) {
		for (int i = 0; i < ROUNDS; i++) {
			union {
				char bytes[512];
				max_align_t align;
			} row;
			char id[16];
			keep_bytes text = {id, (size_t)snprintf(id, sizeof id, "%c\xc3\xa9%d",
								'A' + i % 58, i % 97)};
			int64_t number = next_random(&seed) % 2 ? i + 1 : -i - 1;
			bool existed = false;

			fill_record(&seed, records[r], &row);
			if (records[r]->fields[0].kind == KP_INT) {
				number = records[r]->fields[0].flags & KP_FIELD_AUTO ? i + 1
										     : number;
				memcpy(row.bytes, &number, sizeof number);
			} else if (i > 10) { /* else what fill_record has */
				memcpy(row.bytes, &text, sizeof text);
			}
			OK(kp_record_add(conn, records[r], &row, &existed, &err));
		}
	}
	OK(kp_sql_commit(conn, &err));
}

static void every_kind_of_value_goes_over_and_back(void **state)
{
	kp_sql_conn *a = new_file("a.db"), *server = new_schema(), *b = new_file("b.db");

	(void)state;
	fill_tables(a);
	for (size_t r = 0; r < KP_COUNT(records); r++) {
		copy(records[r], a, server, NULL, NULL);
		copy(records[r], server, b, NULL, NULL);
		records_must_be_equal(records[r], a, server);
		records_must_be_equal(records[r], a, b);
		records_must_be_equal(records[r], b, a);
	}
	kp_sql_close(&a);
	kp_sql_close(&b);
	kp_sql_close(&server);
	assert_nothing_lives();
}

static void numbers_go_on_beyond_those_that_came(void **state)
{
	kp_sql_conn *a = new_file("c.db"), *server = new_schema();
	kp_sample_auto row = {.status = KEEP_BYTES("pending"), .rank = 1};
	kp_transfer_table table = table_of(&kp_sample_auto_record);
	kp_transfer_end end = end_of(server);
	keep_error err = KEEP_ERROR_INIT;
	bool existed = false;

	(void)state;
	OK(kp_transfer_number(&table, &end, &err)); /* of an empty table: from the first */
	OK(kp_record_append(server, &kp_sample_auto_record, &row, &err));
	assert_int_equal(row.id, 1);
	OK(kp_sql_script(server, "DELETE FROM sample_autos", &err));
	row.id = 4711;
	OK(kp_record_add(a, &kp_sample_auto_record, &row, &existed, &err));
	copy(&kp_sample_auto_record, a, server, NULL, NULL);
	row.rank = 2;
	OK(kp_record_append(server, &kp_sample_auto_record, &row, &err));
	assert_int_equal(row.id, 4712);
	kp_sql_close(&a);
	kp_sql_close(&server);
	assert_nothing_lives();
}

/* More than a cursor's row, than a batch's bytes, and JSON that only stays as text. */
static void long_values_go_over_whole(void **state)
{
	kp_sql_conn *a = new_file("d.db"), *server = new_schema(), *b = new_file("e.db");
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	bool existed = false;

	(void)state;
	OK(kp_buffer_reserve(&text, 3 << 20, &err));
	memset(text.data, 'x', 3 << 20);
	for (int i = 0; i < 600; i++) {
		bool is_long = i % 100 == 0;
		kp_sample_plain row = {
			.text_value = {text.data, is_long ? (size_t)(3 << 20) : (size_t)i * 100},
			.blob_value = {text.data, is_long ? 70000 : 5},
			.json_value = KEEP_BYTES("{\"a\" : \"\\u0000\", \"b\":1.10}")};
		char id[16];

		snprintf(id, sizeof id, "%d", i);
		row.id = keep_bytes_of(id);
		OK(kp_record_add(a, &kp_sample_plain_record, &row, &existed, &err));
	}
	copy(&kp_sample_plain_record, a, server, NULL, NULL);
	copy(&kp_sample_plain_record, server, b, NULL, NULL);
	records_must_be_equal(&kp_sample_plain_record, a, b);
	keep_buffer_release(&text);
	kp_sql_close(&a);
	kp_sql_close(&b);
	kp_sql_close(&server);
	assert_nothing_lives();
}

static keep_status stop_at(void *ctx, const kp_transfer_table *table, int64_t rows, bool verifies,
			   keep_error *err)
{
	const int64_t *limit = ctx;

	(void)table;
	if (!verifies && rows >= *limit)
		return kp_fail(err, KEEP_BUSY, "enough");
	return KEEP_OK;
}

static void what_was_interrupted_goes_on_behind_the_last_row(void **state)
{
	kp_sql_conn *a = new_file("f.db"), *server = new_schema();
	int64_t limit = 100, before = 0;
	kp_transfer_watch watch = {.tell = stop_at, .ctx = &limit, .batch_rows = 40};

	(void)state;
	fill_tables(a);
	for (size_t r = 0; r < KP_COUNT(records); r++) {
		kp_transfer_table table = table_of(records[r]);
		kp_transfer_end from = end_of(a), to = end_of(server);
		kp_transfer_sum sum;
		keep_error err = KEEP_ERROR_INIT;
		bool is_summed = true;

		OK(kp_sql_begin(a, KP_SQL_READ, &err));
		assert_int_equal(
			kp_transfer_copy(&table, &from, &to, &watch, &sum, &is_summed, NULL, &err),
			KEEP_BUSY);
		kp_sql_rollback(a);
		assert_false(is_summed);
		copy(records[r], a, server, NULL, &before);
		assert_int_equal(before, 120); /* three transactions */
		records_must_be_equal(records[r], a, server);
	}
	kp_sql_close(&a);
	kp_sql_close(&server);
	assert_nothing_lives();
}

static void a_changed_value_has_another_hash(void **state)
{
	static const char *const changes[] = {
		"UPDATE sample_plains SET text_value = text_value || ' ' WHERE id = 'x'",
		"UPDATE sample_plains SET blob_value = x'00' WHERE id = 'x'",
		"UPDATE sample_plains SET int_value = int_value + 1 WHERE id = 'x'",
		"UPDATE sample_plains SET real_value = 0.30000000000000004 WHERE id = 'x'",
		"UPDATE sample_plains SET bool_value = 1 WHERE id = 'x'",
		"UPDATE sample_plains SET time_value = '1970-01-01T00:00:00.001Z' WHERE id = 'x'",
		"UPDATE sample_plains SET json_value = '{ }' WHERE id = 'x'",
		"UPDATE sample_plains SET id = 'y' WHERE id = 'x'",
		"DELETE FROM sample_plains WHERE id = 'y'",
	};
	kp_sql_conn *a = new_file("g.db");
	kp_transfer_table table = table_of(&kp_sample_plain_record);
	kp_transfer_end end = end_of(a);
	kp_transfer_sum sums[KP_COUNT(changes) + 1];
	kp_sample_plain row = {.id = KEEP_BYTES("x"),
			       .text_value = KEEP_BYTES("t"),
			       .blob_value = KEEP_BYTES(""),
			       .real_value = 0.3,
			       .json_value = KEEP_BYTES("{}")};
	keep_error err = KEEP_ERROR_INIT;
	bool existed = false;

	(void)state;
	OK(kp_record_add(a, &kp_sample_plain_record, &row, &existed, &err));
	OK(kp_transfer_sum_up(&table, &end, NULL, &sums[0], &err));
	for (size_t i = 0; i < KP_COUNT(changes); i++) {
		OK(kp_sql_script(a, changes[i], &err));
		OK(kp_transfer_sum_up(&table, &end, NULL, &sums[i + 1], &err));
		for (size_t k = 0; k <= i; k++)
			CHECK(!kp_transfer_sums_equal(&sums[k], &sums[i + 1]), "%s", changes[i]);
	}
	kp_sql_close(&a);
	assert_nothing_lives();
}

static void what_cannot_be_stored_is_named_without_its_secrets(void **state)
{
	kp_sql_conn *a = new_file("h.db"), *server = new_schema();
	kp_transfer_table table = table_of(&kp_sample_secret_record);
	kp_transfer_end from = end_of(a), to = end_of(server);
	kp_transfer_sum sum;
	keep_error err = KEEP_ERROR_INIT;
	bool is_summed = false;

	(void)state;
	OK(kp_sql_script(a,
			 "INSERT INTO sample_secrets (token, text_secret, int_secret, kind_secret) "
			 "VALUES (x'746f70', CAST(x'746f7008ff' AS TEXT), 1, 'red')",
			 &err));
	OK(kp_sql_begin(a, KP_SQL_READ, &err));
	assert_int_equal(kp_transfer_copy(&table, &from, &to, NULL, &sum, &is_summed, NULL, &err),
			 KEEP_CORRUPT);
	kp_sql_rollback(a);
	assert_non_null(strstr(err.message, "sample_secrets, row ***: text_secret"));
	assert_null(strstr(err.message, "top"));
	/* The target has such a row: its message would quote it. */
	OK(kp_sql_script(a, "UPDATE sample_secrets SET text_secret = 'top'", &err));
	OK(kp_sql_script(server, "ALTER TABLE sample_secrets ADD CHECK (text_secret <> 'top')",
			 &err));
	OK(kp_sql_begin(a, KP_SQL_READ, &err));
	assert_int_not_equal(
		kp_transfer_copy(&table, &from, &to, NULL, &sum, &is_summed, NULL, &err), KEEP_OK);
	kp_sql_rollback(a);
	assert_null(strstr(err.message, "top"));
	kp_sql_close(&a);
	kp_sql_close(&server);
	assert_nothing_lives();
}

static int set_up(void **state)
{
	(void)state;
	temp_folder_make(&folder);
	return 0;
}

static int tear_down(void **state)
{
	kp_sql_conn *conn = open_shared();
	char sql[64];

	(void)state;
	snprintf(sql, sizeof sql, "DROP SCHEMA %s CASCADE", test_schema());
	run_script(conn, sql);
	kp_sql_close(&conn);
	temp_folder_remove(&folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_value_goes_over_and_back),
		cmocka_unit_test(numbers_go_on_beyond_those_that_came),
		cmocka_unit_test(long_values_go_over_whole),
		cmocka_unit_test(what_was_interrupted_goes_on_behind_the_last_row),
		cmocka_unit_test(a_changed_value_has_another_hash),
		cmocka_unit_test(what_cannot_be_stored_is_named_without_its_secrets),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
