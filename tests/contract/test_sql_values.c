/*
 * test_sql_values.c - every kind of value, there and back, on every driver.
 */
#include "sql_backends.h"

#include <float.h>

/* A table with a column of each kind, named after it. */
static const char *const kinds_tables[KP_DIALECT_COUNT] = {
	[KP_DIALECT_SQLITE] =
		"CREATE TABLE kinds(id INTEGER PRIMARY KEY, text TEXT, blob BLOB, int INTEGER, "
		"real REAL, bool INTEGER, time TEXT, json TEXT) STRICT",
	[KP_DIALECT_POSTGRES] =
		"CREATE TABLE kinds(id bigint PRIMARY KEY, text text, blob bytea, int bigint, "
		"real double precision, bool boolean, time timestamptz, json json)",
};

#define KINDS kinds_tables[driver->dialect]
#define INSERT_KIND(column) "INSERT INTO kinds(id, " column ") VALUES ($1, $2)"

/* Store `value` in the column of its kind and read it back. */
static void round_trip(struct fixture *fixture, const char *column, const kp_value *value,
		       kp_value *out, keep_buffer *bytes)
{
	keep_error err = KEEP_ERROR_INIT;
	char sql[128];
	kp_sql_stmt *stmt;
	bool has_row = false;

	OK(run(fixture->conn, "DELETE FROM kinds", &err));
	(void)snprintf(sql, sizeof sql, INSERT_KIND("%s"), column);
	stmt = prepare(fixture->conn, sql);
	OK(kp_sql_bind_int(stmt, 1, 1, &err));
	OK(kp_sql_bind(stmt, 2, value, &err));
	OK(kp_sql_run(stmt, &err));
	assert_int_equal(kp_sql_changes(stmt), 1);
	kp_sql_finish(&stmt);

	(void)snprintf(sql, sizeof sql, "SELECT %s FROM kinds", column);
	stmt = prepare(fixture->conn, sql);
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_true(has_row);
	OK(kp_sql_column(stmt, 0, value->kind, out, &err));
	assert_int_equal(out->kind, value->kind);
	assert_int_equal(out->is_null, value->is_null);
	if (bytes && !out->is_null) {
		bytes->len = 0;
		OK(kp_buffer_append(bytes, out->bytes, &err));
		assert_non_null(out->bytes.data);
	}
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_false(has_row);
	kp_sql_finish(&stmt);
}

static void integers_keep_their_value_at_both_ends(void **state)
{
	static const int64_t values[] = {INT64_MIN, -1, 0, 1, (INT64_C(1) << 53) + 1, INT64_MAX};
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_value out;

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	for (size_t i = 0; i < KP_COUNT(values); i++) {
		kp_value value = {.kind = KP_INT, .integer = values[i]};

		round_trip(fixture, "int", &value, &out, NULL);
		assert_true(out.integer == values[i]);
	}
}

static void reals_keep_every_bit(void **state)
{
	static const double values[] = {0.0,     -0.0,   0.1,        1.0 / 3, DBL_MAX, -DBL_MAX,
					DBL_MIN, 5e-324, 1e15 + 0.3, 100.0,   -1.0};
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_value out;

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	for (size_t i = 0; i < KP_COUNT(values); i++) {
		kp_value value = {.kind = KP_REAL, .real = values[i]};

		round_trip(fixture, "real", &value, &out, NULL);
		CHECK(out.real >= values[i] && out.real <= values[i], "%.17g came back as %.17g",
		      values[i], out.real);
	}
}

static void booleans_are_true_and_false(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_value out;

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	for (int64_t i = 0; i <= 1; i++) {
		kp_value value = {.kind = KP_BOOL, .integer = i};

		round_trip(fixture, "bool", &value, &out, NULL);
		assert_int_equal(out.integer, i);
	}
}

static void times_keep_their_millisecond_at_both_ends(void **state)
{
	static const int64_t values[] = {KEEP_TIME_MIN,          -1,           0, 1,
					 INT64_C(1775927901001), KEEP_TIME_MAX};
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_value out;

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	for (size_t i = 0; i < KP_COUNT(values); i++) {
		kp_value value = {.kind = KP_TIME, .integer = values[i]};

		round_trip(fixture, "time", &value, &out, NULL);
		CHECK(out.integer == values[i], "%lld came back as %lld", (long long)values[i],
		      (long long)out.integer);
	}
}

static void a_time_without_a_text_form_is_refused(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt;
	kp_value value = {.kind = KP_TIME, .integer = KEEP_TIME_MAX + 1};

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	stmt = prepare(fixture->conn, INSERT_KIND("time"));
	assert_int_equal(kp_sql_bind(stmt, 2, &value, &err), KEEP_INVALID);
	value.integer = KEEP_TIME_MIN - 1;
	assert_int_equal(kp_sql_bind(stmt, 2, &value, &err), KEEP_INVALID);
	kp_sql_finish(&stmt);
}

static void times_sort_by_time(void **state)
{
	static const int64_t values[] = {0, KEEP_TIME_MIN, KEEP_TIME_MAX, -1, 1};
	static const int64_t sorted[] = {KEEP_TIME_MIN, -1, 0, 1, KEEP_TIME_MAX};
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt;
	kp_value out;
	bool has_row;

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	stmt = prepare(fixture->conn, INSERT_KIND("time"));
	for (size_t i = 0; i < KP_COUNT(values); i++) {
		kp_value value = {.kind = KP_TIME, .integer = values[i]};

		OK(kp_sql_bind_int(stmt, 1, (int64_t)i, &err));
		OK(kp_sql_bind(stmt, 2, &value, &err));
		OK(kp_sql_run(stmt, &err));
	}
	kp_sql_finish(&stmt);
	stmt = prepare(fixture->conn, "SELECT time FROM kinds ORDER BY time");
	for (size_t i = 0; i < KP_COUNT(sorted); i++) {
		OK(kp_sql_step(stmt, &has_row, &err));
		assert_true(has_row);
		OK(kp_sql_column(stmt, 0, KP_TIME, &out, &err));
		assert_true(out.integer == sorted[i]);
	}
	kp_sql_finish(&stmt);
}

static void texts_and_blobs_keep_every_byte(void **state)
{
	const struct {
		const char *column;
		kp_kind kind;
		keep_bytes bytes;
	} cases[] = {
		{"text", KP_TEXT, KEEP_BYTES("")},
		{"text", KP_TEXT, KEEP_BYTES("plain")},
		{"text", KP_TEXT, KEEP_BYTES("'; DROP TABLE kinds; --\\ \" \n\t\x01\x7f")},
		{"text", KP_TEXT, KEEP_BYTES("\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x9f")},
		{"blob", KP_BLOB, KEEP_BYTES("")},
		{"blob", KP_BLOB, KEEP_BYTES("\0\xff\0\\x00\x80")},
		{"json", KP_JSON, KEEP_BYTES("{\"b\": 1,  \"a\":[0.10,1e400, null]}")},
	};
	struct fixture *fixture = *state;
	keep_buffer found = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	kp_value out;

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		kp_value value = {.kind = cases[i].kind, .bytes = cases[i].bytes};

		round_trip(fixture, cases[i].column, &value, &out, &found);
		assert_bytes_equal(kp_buffer_bytes(&found), cases[i].bytes);
	}
	keep_buffer_release(&found);
}

static void a_megabyte_comes_back_whole(void **state)
{
	enum { SIZE = 1 << 20 };
	struct fixture *fixture = *state;
	keep_buffer found = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char *bytes = malloc(SIZE);
	uint64_t seed = 7;
	kp_value value = {.kind = KP_BLOB, .bytes = {bytes, SIZE}}, out;

	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (char)next_random(&seed);
	OK(kp_sql_script(fixture->conn, KINDS, &err));
	round_trip(fixture, "blob", &value, &out, &found);
	assert_true(kp_bytes_equal(kp_buffer_bytes(&found), value.bytes));
	keep_buffer_release(&found);
	free(bytes);
}

static void null_is_null_in_every_kind(void **state)
{
	static const char *const columns[] = {"text", "blob", "int", "real",
					      "bool", "time", "json"};
	static const kp_kind kinds[] = {KP_TEXT, KP_BLOB, KP_INT, KP_REAL,
					KP_BOOL, KP_TIME, KP_JSON};
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_value out;

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	for (size_t i = 0; i < KP_COUNT(columns); i++) {
		kp_value value = {.kind = kinds[i], .is_null = true};

		round_trip(fixture, columns[i], &value, &out, NULL);
		assert_true(out.is_null);
	}
}

static void text_that_not_every_backend_can_hold_is_refused(void **state)
{
	const keep_bytes bad[] = {KEEP_BYTES("a\0b"), KEEP_BYTES("\xff"),
				  KEEP_BYTES("\xed\xa0\x80"), KEEP_BYTES("\xc0\x80")};
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt;

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	stmt = prepare(fixture->conn, INSERT_KIND("text"));
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		assert_int_equal(kp_sql_bind_text(stmt, 2, bad[i], &err), KEEP_INVALID);
	kp_sql_finish(&stmt);
}

static void a_stored_value_of_another_kind_is_corrupt_and_named(void **state)
{
	static const struct {
		const char *column;
		kp_kind stored, asked;
	} cases[] = {
		{"text", KP_TEXT, KP_INT},  {"text", KP_TEXT, KP_BLOB}, {"text", KP_TEXT, KP_TIME},
		{"blob", KP_BLOB, KP_TEXT}, {"blob", KP_BLOB, KP_JSON}, {"int", KP_INT, KP_TEXT},
		{"int", KP_INT, KP_REAL},   {"int", KP_INT, KP_BOOL},   {"real", KP_REAL, KP_INT},
	};
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_value out;

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	OK(run(fixture->conn,
	       "INSERT INTO kinds(id, text, blob, int, real) VALUES (1, 'x', NULL, 2, 0.5)", &err));
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		char sql[80];
		kp_sql_stmt *stmt;
		kp_value value = {.kind = KP_BLOB, .bytes = KEEP_BYTES("\x01")};
		bool has_row = false;

		stmt = prepare(fixture->conn, "UPDATE kinds SET blob = $1");
		OK(kp_sql_bind(stmt, 1, &value, &err));
		OK(kp_sql_run(stmt, &err));
		kp_sql_finish(&stmt);
		(void)snprintf(sql, sizeof sql, "SELECT %s FROM kinds", cases[i].column);
		stmt = prepare(fixture->conn, sql);
		OK(kp_sql_step(stmt, &has_row, &err));
		CHECK(kp_sql_column(stmt, 0, cases[i].asked, &out, &err) == KEEP_CORRUPT,
		      "%s as kind %d", cases[i].column, (int)cases[i].asked);
		CHECK(strstr(err.message, cases[i].column), "%s", err.message);
		OK(kp_sql_column(stmt, 0, cases[i].stored, &out, &err));
		kp_sql_finish(&stmt);
	}
}

static void reset_forgets_the_bound_values(void **state)
{
	struct fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt;

	OK(kp_sql_script(fixture->conn, KINDS, &err));
	stmt = prepare(fixture->conn, INSERT_KIND("text"));
	OK(kp_sql_bind_text(stmt, 2, KEEP_BYTES("old"), &err));
	kp_sql_reset(stmt);
	OK(kp_sql_bind_int(stmt, 1, 1, &err));
	OK(kp_sql_bind_text(stmt, 2, (keep_bytes){NULL, 0}, &err));
	OK(kp_sql_run(stmt, &err));
	kp_sql_finish(&stmt);
	assert_int_equal(query_int(fixture->conn, "SELECT count(*) FROM kinds WHERE text IS NULL"),
			 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(integers_keep_their_value_at_both_ends),
		ON_BOTH(reals_keep_every_bit),
		ON_BOTH(booleans_are_true_and_false),
		ON_BOTH(times_keep_their_millisecond_at_both_ends),
		ON_BOTH(a_time_without_a_text_form_is_refused),
		ON_BOTH(times_sort_by_time),
		ON_BOTH(texts_and_blobs_keep_every_byte),
		ON_BOTH(a_megabyte_comes_back_whole),
		ON_BOTH(null_is_null_in_every_kind),
		ON_BOTH(text_that_not_every_backend_can_hold_is_refused),
		ON_BOTH(a_stored_value_of_another_kind_is_corrupt_and_named),
		ON_BOTH(reset_forgets_the_bound_values),
	};

	return run_on_backends(tests);
}
