/*
 * test_record.c - what holds for every record type, run over a set with every kind and flag.
 *
 * Runs once for each backend (KEEP_TEST_BACKEND, see sql_backend.h). The records are described in
 * tests/fixtures/sample.rec.
 */
#include "sample_records.h"
#include "sample_tables.h"
#include "sample_values.h"
#include "sql_backend.h"

enum { ROUNDS = 300, OBJECT_MAX = 512 };

/* Big enough and aligned for any record. */
typedef union object {
	max_align_t align;
	char bytes[OBJECT_MAX];
} object;

static sql_backend backend;
static kp_sql_conn *conn;
static keep_error err;

static kp_sql_dialect dialect(void)
{
	return backend.driver->dialect;
}

static int open_tables(void **state)
{
	kp_sql_options options = backend_fresh(&backend);

	(void)state;
	err = (keep_error)KEEP_ERROR_INIT;
	OK(kp_sql_open(backend.driver, &options, &conn, &err));
	OK(kp_sql_script(conn, kp_sample_files[dialect()].bytes, &err));
	return 0;
}

static int close_tables(void **state)
{
	(void)state;
	kp_sql_close(&conn);
	assert_nothing_lives();
	return 0;
}

static kp_sample_plain make_plain(const char *id)
{
	return (kp_sample_plain){
		.id = keep_bytes_of(id),
		.text_value = KEEP_BYTES("text"),
		.blob_value = KEEP_BYTES("\x00\xff"),
		.int_value = 7,
		.real_value = 0.5,
		.bool_value = true,
		.time_value = INT64_C(1775927901000),
		.json_value = KEEP_BYTES("{\"a\":\n1}"),
	};
}

static kp_sample_secret make_secret(void)
{
	return (kp_sample_secret){
		.token = KEEP_BYTES("hidden-token"),
		.text_secret = KEEP_BYTES("hidden-text"),
		.int_secret = 424242,
		.json_secret = KEEP_BYTES("\"hidden-json\""),
		.time_secret = INT64_C(1775927901000),
		.has_time_secret = true,
		.kind_secret = KEEP_BYTES(KP_SAMPLE_SECRET_KIND_SECRET_RED),
		.open_note = KEEP_BYTES("open"),
	};
}

/* ---------------------------------------------------------------- descriptions */

static void every_byte_of_a_struct_is_a_field_or_padding(void **state)
{
	(void)state;
	for (size_t r = 0; r < KP_SAMPLE_RECORD_COUNT; r++) {
		const kp_record *record = kp_sample_records[r];
		size_t end = 0;

		CHECK(record->size <= OBJECT_MAX, "%s", record->name);
		for (size_t i = 0; i < record->field_count; i++) {
			const kp_field *field = &record->fields[i];
			size_t start = (end + field->align - 1) / field->align * field->align;

			CHECK(start == field->offset, "%s: something undeclared before %s",
			      record->name, field->name);
			end = start + field->size;
			if (field->has_offset) {
				CHECK(field->has_offset == end, "%s.has_%s", record->name,
				      field->name);
				end += sizeof(bool);
			}
		}
		CHECK((end + record->align - 1) / record->align * record->align == record->size,
		      "%s: something undeclared at the end", record->name);
	}
}

static const char *get_type_name(kp_kind kind)
{
	static const char *const names[KP_DIALECT_COUNT][KP_JSON + 1] = {
		{"TEXT", "BLOB", "INTEGER", "REAL", "INTEGER", "TEXT", "TEXT"},
		{"text", "bytea", "bigint", "double precision", "boolean",
		 "timestamp with time zone", "json"},
	};

	return names[dialect()][kind];
}

/* The catalogue's columns of one table in order: name, type, NOT NULL, part of the key. */
static kp_sql_stmt *list_columns(const kp_record *record)
{
	static const char *const queries[KP_DIALECT_COUNT] = {
		"SELECT name, type, \"notnull\", pk > 0 FROM pragma_table_info($1)",
		"SELECT a.attname::text, format_type(a.atttypid, NULL), a.attnotnull::int::bigint, "
		"coalesce(a.attnum = ANY(i.indkey), false)::int::bigint FROM pg_attribute a "
		"LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary "
		"WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 ORDER BY a.attnum",
	};
	kp_sql_stmt *stmt = NULL;

	OK(kp_sql_prepare(conn, queries[dialect()], &stmt, &err));
	OK(kp_sql_bind_text(stmt, 1, keep_bytes_of(record->table), &err));
	return stmt;
}

static void every_table_has_exactly_the_fields_of_its_record(void **state)
{
	(void)state;
	for (size_t r = 0; r < KP_SAMPLE_RECORD_COUNT; r++) {
		const kp_record *record = kp_sample_records[r];
		kp_sql_stmt *stmt = NULL;
		bool has_row = false;

		if (!record_is_there(record, dialect()))
			continue;
		stmt = list_columns(record);
		for (size_t i = 0; i < record->field_count; i++) {
			const kp_field *field = &record->fields[i];
			keep_bytes name, type;
			int64_t not_null = 0, key = 0;

			if (!field_is_there(field, dialect()))
				continue;
			OK(kp_sql_step(stmt, &has_row, &err));
			CHECK(has_row, "%s: no column %s", record->table, field->name);
			OK(kp_sql_column_bytes(stmt, 0, KP_TEXT, &name, &err));
			OK(kp_sql_column_bytes(stmt, 1, KP_TEXT, &type, &err));
			OK(kp_sql_column_int(stmt, 2, &not_null, &err));
			OK(kp_sql_column_int(stmt, 3, &key, &err));
			assert_bytes_equal(name, keep_bytes_of(field->name));
			assert_bytes_equal(type, keep_bytes_of(get_type_name(field->kind)));
			CHECK(!not_null == !!(field->flags & KP_FIELD_NULL), "%s", field->name);
			CHECK(!key == !(field->flags & KP_FIELD_KEY), "%s", field->name);
		}
		OK(kp_sql_step(stmt, &has_row, &err));
		CHECK(!has_row, "%s: a column too many", record->table);
		kp_sql_finish(&stmt);
	}
}

/* ---------------------------------------------------------------- round trips */

/* sample_part refers to another table; it has a test of its own. */
static bool is_random(const kp_record *record)
{
	return record_is_there(record, dialect()) && record != &kp_sample_part_record;
}

static void check_equal(const kp_record *record, const object *found, const object *expected)
{
	for (size_t i = 0; i < record->field_count; i++) {
		if (field_is_there(&record->fields[i], dialect()))
			CHECK(fields_are_equal(&record->fields[i], found, expected), "%s.%s",
			      record->name, record->fields[i].name);
	}
}

static void whatever_is_put_is_read_again(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (size_t r = 0; r < KP_SAMPLE_RECORD_COUNT; r++) {
		const kp_record *record = kp_sample_records[r];

		OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
		for (int round = 0; is_random(record) && round < ROUNDS; round++) {
			kp_arena arena = {.head = NULL};
			object in, out;

			fill_record(&seed, record, &in);
			OK(kp_record_put(conn, record, &in, &err));
			out = in;
			OK(kp_record_get(conn, record, &out, &arena, &err));
			check_equal(record, &out, &in);
			kp_arena_release(&arena);
		}
		OK(kp_sql_commit(conn, &err));
	}
}

static void a_select_of_all_columns_fits_reading_from_any_column_on(void **state)
{
	kp_sample_plain in = make_plain("one"), out = {.int_value = 0};
	kp_arena arena = {.head = NULL};
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;

	(void)state;
	OK(kp_record_put(conn, &kp_sample_plain_record, &in, &err));
	OK(kp_sql_prepare(conn, "SELECT 1, sample_plains.* FROM sample_plains", &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_true(has_row);
	OK(kp_record_read(stmt, 1, &kp_sample_plain_record, &out, &arena, &err));
	assert_bytes_equal(out.json_value, in.json_value);
	/* From the wrong column on it is CORRUPT or MISUSE, and the object is empty. */
	out = make_plain("filled");
	assert_int_not_equal(kp_record_read(stmt, 0, &kp_sample_plain_record, &out, &arena, NULL),
			     KEEP_OK);
	assert_null(out.id.data);
	assert_int_equal(out.int_value, 0);
	kp_sql_finish(&stmt);
	kp_arena_release(&arena);
}

static void add_reports_what_existed_and_changes_nothing(void **state)
{
	kp_sample_plain in = make_plain("one"), out = {.id = in.id};
	kp_arena arena = {.head = NULL};
	bool existed = true;

	(void)state;
	OK(kp_record_add(conn, &kp_sample_plain_record, &in, &existed, &err));
	assert_false(existed);
	in.int_value = 8;
	OK(kp_record_add(conn, &kp_sample_plain_record, &in, &existed, &err));
	assert_true(existed);
	OK(kp_record_get(conn, &kp_sample_plain_record, &out, &arena, &err));
	assert_int_equal(out.int_value, 7);
	OK(kp_record_put(conn, &kp_sample_plain_record, &in, &err));
	OK(kp_record_get(conn, &kp_sample_plain_record, &out, &arena, &err));
	assert_int_equal(out.int_value, 8);
	kp_arena_release(&arena);
}

static void a_record_that_is_only_a_key_is_put_twice_without_harm(void **state)
{
	kp_sample_reserved target = {.key = KEEP_BYTES("k"),
				     .type = KEEP_BYTES(KP_SAMPLE_RESERVED_TYPE_CHAT_SDK),
				     .value = KEEP_BYTES(""),
				     .user = KEEP_BYTES("null")};
	kp_sample_part part = {.key = target.key, .type = target.type};
	kp_arena arena = {.head = NULL};

	(void)state;
	CHECK(kp_record_put(conn, &kp_sample_part_record, &part, &err) == KEEP_CONFLICT,
	      "a reference to nothing");
	OK(kp_record_put(conn, &kp_sample_reserved_record, &target, &err));
	OK(kp_record_put(conn, &kp_sample_part_record, &part, &err));
	OK(kp_record_put(conn, &kp_sample_part_record, &part, &err));
	OK(kp_record_get(conn, &kp_sample_part_record, &part, &arena, &err));
	OK(kp_record_remove(conn, &kp_sample_reserved_record, &target, &err));
	assert_int_equal(kp_record_get(conn, &kp_sample_part_record, &part, &arena, &err),
			 KEEP_NOT_FOUND); /* on delete cascade */
	kp_arena_release(&arena);
}

static void what_is_not_there_is_not_found_and_leaves_the_object(void **state)
{
	kp_sample_plain wanted = make_plain("none");
	kp_arena arena = {.head = NULL};

	(void)state;
	assert_int_equal(kp_record_get(conn, &kp_sample_plain_record, &wanted, &arena, &err),
			 KEEP_NOT_FOUND);
	CHECK(strstr(err.message, "sample_plains"), "%s", err.message);
	assert_int_equal(wanted.int_value, 7);
	assert_int_equal(kp_record_remove(conn, &kp_sample_plain_record, &wanted, &err),
			 KEEP_NOT_FOUND);
	OK(kp_record_put(conn, &kp_sample_plain_record, &wanted, &err));
	OK(kp_record_remove(conn, &kp_sample_plain_record, &wanted, &err));
	assert_int_equal(kp_record_get(conn, &kp_sample_plain_record, &wanted, &arena, NULL),
			 KEEP_NOT_FOUND);
	kp_arena_release(&arena);
}

static void append_writes_the_assigned_key_into_the_object(void **state)
{
	kp_sample_auto first = {.status = KEEP_BYTES("pending"), .rank = 1};
	kp_sample_auto second = {.status = KEEP_BYTES("pending"), .rank = 2, .has_parent = true};
	kp_sample_plain plain = make_plain("no auto key");
	kp_arena arena = {.head = NULL};

	(void)state;
	OK(kp_record_append(conn, &kp_sample_auto_record, &first, &err));
	assert_true(first.id > 0);
	second.parent = first.id;
	OK(kp_record_append(conn, &kp_sample_auto_record, &second, &err));
	assert_true(second.id > first.id);
	first.rank = 99;
	OK(kp_record_get(conn, &kp_sample_auto_record, &first, &arena, &err));
	assert_int_equal(first.rank, 1);
	assert_int_equal(kp_record_append(conn, &kp_sample_plain_record, &plain, &err),
			 KEEP_MISUSE);
	kp_arena_release(&arena);
}

static void another_broken_constraint_is_a_conflict_and_not_hidden(void **state)
{
	kp_sample_auto first = {.id = 1, .status = KEEP_BYTES("pending"), .rank = 1};
	kp_sample_auto second = {.id = 2, .status = KEEP_BYTES("pending"), .rank = 1};
	bool existed = false;

	(void)state;
	OK(kp_record_put(conn, &kp_sample_auto_record, &first, &err));
	assert_int_equal(kp_record_add(conn, &kp_sample_auto_record, &second, &existed, &err),
			 KEEP_CONFLICT);
	assert_false(existed);
	assert_int_equal(kp_record_put(conn, &kp_sample_auto_record, &second, &err), KEEP_CONFLICT);
	assert_int_equal(kp_record_append(conn, &kp_sample_auto_record, &second, &err),
			 KEEP_CONFLICT);
	assert_int_equal(second.id, 2);
	second.rank = 2;
	second.plain_id = KEEP_BYTES("nobody");
	assert_int_equal(kp_record_put(conn, &kp_sample_auto_record, &second, &err), KEEP_CONFLICT);
}

static void defaults_hold_for_people_who_write_their_own_sql(void **state)
{
	kp_sample_reserved found = {.key = KEEP_BYTES("k"), .type = KEEP_BYTES("chat")};
	kp_arena arena = {.head = NULL};
	int64_t now = kp_clock_ms();

	(void)state;
	OK(kp_sql_script(conn,
			 "INSERT INTO sample_reserved (\"key\", \"type\") VALUES ('k', 'chat')",
			 &err));
	OK(kp_record_get(conn, &kp_sample_reserved_record, &found, &arena, &err));
	assert_bytes_equal(found.value, KEEP_BYTES("a--b'c"));
	assert_bytes_equal(found.user, KEEP_BYTES("{\"a\": [1]}"));
	assert_int_equal(found.order, -1);
	assert_true(found.group);
	assert_true(found.limit == 0.5);
	assert_null(found.match.data);
	assert_in_range(found.timestamp, now - 60000, now + 60000);
	kp_arena_release(&arena);
	CHECK(kp_sql_script(conn,
			    "INSERT INTO sample_reserved (\"key\", \"type\") VALUES ('k', 'fax')",
			    &err) == KEEP_CONFLICT,
	      "the table's own check");
}

static void a_database_with_every_kind_of_column_opens_again(void **state)
{
	kp_sql_options options = {.timeout_ms = 20000};
	kp_sample_plain in = make_plain("one");
	kp_arena arena = {.head = NULL};

	(void)state;
	OK(kp_record_put(conn, &kp_sample_plain_record, &in, &err));
	kp_sql_close(&conn);
	options.location = backend.conninfo ? backend.conninfo : backend.location;
	options.schema = backend.conninfo ? backend.schema : NULL;
	OK(kp_sql_open(backend.driver, &options, &conn, &err));
	OK(kp_record_get(conn, &kp_sample_plain_record, &in, &arena, &err));
	assert_bytes_equal(in.json_value, KEEP_BYTES("{\"a\":\n1}"));
	kp_arena_release(&arena);
}

/* ---------------------------------------------------------------- refusals */

static void refuse_plain(const kp_sample_plain *bad, const char *column)
{
	char name[64];

	(void)snprintf(name, sizeof name, "sample_plains.%s", column);
	assert_int_equal(kp_record_put(conn, &kp_sample_plain_record, bad, &err), KEEP_INVALID);
	CHECK(strstr(err.message, name), "%s", err.message);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM sample_plains"), 0);
}

static void what_a_column_cannot_hold_is_invalid_and_names_it(void **state)
{
	kp_sample_plain bad = make_plain("one");

	(void)state;
	bad.text_value = (keep_bytes){.data = NULL};
	refuse_plain(&bad, "text_value");
	bad.text_value = KEEP_BYTES("zero\0byte");
	refuse_plain(&bad, "text_value");
	bad.text_value = KEEP_BYTES("\xff");
	refuse_plain(&bad, "text_value");
	bad = make_plain("one");
	bad.real_value = HUGE_VAL;
	refuse_plain(&bad, "real_value");
	bad.real_value = (double)NAN;
	refuse_plain(&bad, "real_value");
	bad = make_plain("one");
	bad.time_value = KEEP_TIME_MAX + 1;
	refuse_plain(&bad, "time_value");
	bad = make_plain("one");
	bad.json_value = KEEP_BYTES("{} {}");
	refuse_plain(&bad, "json_value");
	bad.json_value = KEEP_BYTES("");
	refuse_plain(&bad, "json_value");
	bad = make_plain("one");
	bad.id = (keep_bytes){.data = NULL};
	refuse_plain(&bad, "id");
}

static void a_value_that_is_not_allowed_is_refused_both_ways(void **state)
{
	static const char *const narrower[] = {"pending", NULL};
	kp_sample_auto task = {.id = 1, .status = KEEP_BYTES("lost"), .rank = 1};
	kp_field fields[8];
	kp_record strict = kp_sample_auto_record;
	kp_arena arena = {.head = NULL};

	(void)state;
	assert_int_equal(kp_record_put(conn, &kp_sample_auto_record, &task, &err), KEEP_INVALID);
	CHECK(strstr(err.message, "sample_autos.status") && strstr(err.message, "lost"), "%s",
	      err.message);
	task.status = KEEP_BYTES(KP_SAMPLE_AUTO_STATUS_DONE);
	OK(kp_record_put(conn, &kp_sample_auto_record, &task, &err));
	/* An older program, which does not know "done", reads it. */
	memcpy(fields, strict.fields, strict.field_count * sizeof *fields);
	for (size_t i = 0; i < strict.field_count; i++) {
		if (fields[i].allowed)
			fields[i].allowed = narrower;
	}
	strict.fields = fields;
	assert_int_equal(kp_record_get(conn, &strict, &task, &arena, &err), KEEP_CORRUPT);
	CHECK(strstr(err.message, "sample_autos.status") && strstr(err.message, "done"), "%s",
	      err.message);
	kp_arena_release(&arena);
}

static void a_column_that_became_null_is_corrupt_on_read(void **state)
{
	kp_sample_nullable row = {.id = 5};
	kp_field fields[8];
	kp_record strict = kp_sample_nullable_record;
	kp_arena arena = {.head = NULL};

	(void)state;
	OK(kp_record_put(conn, &kp_sample_nullable_record, &row, &err));
	memcpy(fields, strict.fields, strict.field_count * sizeof *fields);
	fields[1].flags = 0;
	strict.fields = fields;
	assert_int_equal(kp_record_get(conn, &strict, &row, &arena, &err), KEEP_CORRUPT);
	CHECK(strstr(err.message, "sample_nullables.text_value"), "%s", err.message);
	kp_arena_release(&arena);
}

static void a_table_of_the_other_dialect_is_misuse(void **state)
{
	const kp_record *other = dialect() == KP_DIALECT_SQLITE ? &kp_sample_postgres_record
								: &kp_sample_sqlite_record;
	kp_sample_sqlite row = {.id = KEEP_BYTES("same shape")};

	(void)state;
	assert_int_equal(kp_record_put(conn, other, &row, &err), KEEP_MISUSE);
	CHECK(strstr(err.message, other->table), "%s", err.message);
}

/* ---------------------------------------------------------------- secrets and JSON */

static void check_no_secret(void)
{
	CHECK(!strstr(err.message, "hidden") && !strstr(err.message, "424242"), "%s", err.message);
	CHECK(strstr(err.message, "sample_secrets"), "%s", err.message);
}

static void a_secret_reaches_no_message(void **state)
{
	kp_sample_secret row = make_secret();

	(void)state;
	row.kind_secret = KEEP_BYTES("hidden-kind");
	assert_int_equal(kp_record_put(conn, &kp_sample_secret_record, &row, &err), KEEP_INVALID);
	check_no_secret();
	row = make_secret();
	row.json_secret = KEEP_BYTES("hidden");
	assert_int_equal(kp_record_put(conn, &kp_sample_secret_record, &row, &err), KEEP_INVALID);
	check_no_secret();
	row = make_secret();
	row.text_secret = KEEP_BYTES("hidden\xff");
	assert_int_equal(kp_record_put(conn, &kp_sample_secret_record, &row, &err), KEEP_INVALID);
	check_no_secret();
	row = make_secret();
	row.time_secret = KEEP_TIME_MAX + 424242;
	assert_int_equal(kp_record_put(conn, &kp_sample_secret_record, &row, &err), KEEP_INVALID);
	check_no_secret();
}

static void a_constraint_broken_by_a_secret_quotes_nothing(void **state)
{
	kp_sample_secret row = make_secret();

	(void)state;
	OK(kp_sql_script(conn, "CREATE UNIQUE INDEX one_text ON sample_secrets (text_secret)",
			 &err));
	OK(kp_record_put(conn, &kp_sample_secret_record, &row, &err));
	row.token = KEEP_BYTES("hidden-other");
	assert_int_equal(kp_record_put(conn, &kp_sample_secret_record, &row, &err), KEEP_CONFLICT);
	check_no_secret();
}

static keep_status print_json(const kp_record *record, const void *row, keep_buffer *out)
{
	kp_json_writer writer;
	keep_status status = KEEP_OK;

	kp_json_begin(&writer, out);
	status = kp_record_json(record, row, &writer, &err);
	if (status == KEEP_OK)
		status = kp_json_finish(&writer, &err);
	return status;
}

static void json_shows_times_as_text_blobs_as_base64_and_no_secret(void **state)
{
	kp_sample_plain plain = make_plain("one");
	kp_sample_secret secret = make_secret();
	kp_sample_nullable none = {.id = -3};
	keep_buffer out = KEEP_BUFFER_INIT;

	(void)state;
	OK(print_json(&kp_sample_plain_record, &plain, &out));
	assert_string_equal(out.data,
			    "{\"id\":\"one\",\"text_value\":\"text\",\"blob_value\":\"AP8=\","
			    "\"int_value\":7,\"real_value\":0.5,\"bool_value\":true,"
			    "\"time_value\":\"2026-04-11T17:18:21.000Z\","
			    "\"json_value\":{\"a\": 1}}");
	out.len = 0;
	OK(print_json(&kp_sample_secret_record, &secret, &out));
	assert_string_equal(out.data,
			    "{\"token\":\"***\",\"text_secret\":\"***\",\"int_secret\":\"***\","
			    "\"json_secret\":\"***\",\"time_secret\":\"***\","
			    "\"kind_secret\":\"***\",\"open_note\":\"open\"}");
	out.len = 0;
	OK(print_json(&kp_sample_nullable_record, &none, &out));
	assert_string_equal(out.data, "{\"id\":-3,\"text_value\":null,\"blob_value\":null,"
				      "\"int_value\":null,\"real_value\":null,\"bool_value\":null,"
				      "\"time_value\":null,\"json_value\":null}");
	keep_buffer_release(&out);
	plain.time_value = KEEP_TIME_MAX + 1;
	assert_int_equal(print_json(&kp_sample_plain_record, &plain, &out), KEEP_INVALID);
	CHECK(strstr(err.message, "sample_plains.time_value"), "%s", err.message);
	keep_buffer_release(&out);
}

#define ON_TABLES(test) cmocka_unit_test_setup_teardown(test, open_tables, close_tables)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_of_a_struct_is_a_field_or_padding),
		ON_TABLES(every_table_has_exactly_the_fields_of_its_record),
		ON_TABLES(whatever_is_put_is_read_again),
		ON_TABLES(a_select_of_all_columns_fits_reading_from_any_column_on),
		ON_TABLES(add_reports_what_existed_and_changes_nothing),
		ON_TABLES(a_record_that_is_only_a_key_is_put_twice_without_harm),
		ON_TABLES(what_is_not_there_is_not_found_and_leaves_the_object),
		ON_TABLES(append_writes_the_assigned_key_into_the_object),
		ON_TABLES(another_broken_constraint_is_a_conflict_and_not_hidden),
		ON_TABLES(defaults_hold_for_people_who_write_their_own_sql),
		ON_TABLES(a_database_with_every_kind_of_column_opens_again),
		ON_TABLES(what_a_column_cannot_hold_is_invalid_and_names_it),
		ON_TABLES(a_value_that_is_not_allowed_is_refused_both_ways),
		ON_TABLES(a_column_that_became_null_is_corrupt_on_read),
		ON_TABLES(a_table_of_the_other_dialect_is_misuse),
		ON_TABLES(a_secret_reaches_no_message),
		ON_TABLES(a_constraint_broken_by_a_secret_quotes_nothing),
		ON_TABLES(json_shows_times_as_text_blobs_as_base64_and_no_secret),
	};
	int failed = backend_open(&backend);

	if (failed)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	backend_close(&backend);
	return failed;
}
