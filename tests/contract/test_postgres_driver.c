/*
 * test_postgres_driver.c - what is special to the PostgreSQL driver: sessions, values, statuses,
 * kept statements, notifications. Transactions and lost servers are in test_postgres_pipeline.c;
 * what holds for both drivers is in test_sql_driver.c.
 */
#include "postgres_fixture.h"

#include <fcntl.h>
#include <pthread.h>

static kp_sql_conn *conn;

static int set_up(void **state)
{
	(void)state;
	conn = open_shared();
	run_script(conn, "CREATE TABLE item (id bigint PRIMARY KEY, body text)");
	return 0;
}

static int tear_down(void **state)
{
	char sql[80];

	(void)state;
	snprintf(sql, sizeof sql, "DROP SCHEMA %s CASCADE", test_schema());
	run_script(conn, sql);
	kp_sql_close(&conn);
	assert_nothing_lives();
	return 0;
}

/* ---------------------------------------------------------------- sessions */

static void a_session_has_every_setting(void **state)
{
	static const char *const expected[][2] = {
		{"client_encoding", "UTF8"},
		{"standard_conforming_strings", "on"},
		{"client_min_messages", "warning"},
		{"TimeZone", "UTC"},
		{"synchronous_commit", "on"},
		{"default_transaction_isolation", "read committed"},
		{"lock_timeout", "5s"},
		{"default_transaction_read_only", "off"},
	};
	char sql[80];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(expected); i++) {
		snprintf(sql, sizeof sql, "SELECT current_setting('%s')", expected[i][0]);
		assert_string_equal(get_text(conn, sql), expected[i][1]);
	}
	assert_string_equal(get_text(conn, "SELECT current_schema()"), test_schema());
	assert_true(conn->caps & KP_SQL_LISTEN);
}

static void relaxed_means_no_wait_for_the_disk(void **state)
{
	kp_sql_options options = shared_options();
	kp_sql_conn *relaxed;

	(void)state;
	options.relaxed = true;
	options.timeout_ms = 1500;
	relaxed = open_with(&options);
	assert_string_equal(get_text(relaxed, "SELECT current_setting('synchronous_commit')"),
			    "off");
	assert_string_equal(get_text(relaxed, "SELECT current_setting('lock_timeout')"), "1500ms");
	kp_sql_close(&relaxed);
}

static void a_soon_commit_waits_for_no_disk_and_the_next_one_does(void **state)
{
	kp_sql_options options = shared_options();
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *writer = NULL;

	(void)state;
	for (int unnamed = 0; unnamed <= 1; unnamed++) {
		options.unnamed_statements = unnamed;
		writer = open_with(&options);
		OK(kp_sql_begin(writer, KP_SQL_WRITE_SOON, &err));
		assert_string_equal(
			get_text(writer, "SELECT current_setting('synchronous_commit')"), "off");
		OK(kp_sql_commit(writer, &err));
		OK(kp_sql_begin(writer, KP_SQL_WRITE, &err));
		assert_string_equal(
			get_text(writer, "SELECT current_setting('synchronous_commit')"), "on");
		OK(kp_sql_commit(writer, &err));
		kp_sql_close(&writer);
	}
}

static void a_read_only_connection_changes_nothing(void **state)
{
	kp_sql_options options = shared_options();
	kp_sql_conn *reader;
	keep_error err;

	(void)state;
	options.read_only = true;
	for (int unnamed = 0; unnamed <= 1; unnamed++) {
		options.unnamed_statements = unnamed;
		reader = open_with(&options);
		assert_int_equal(try_sql(reader, "INSERT INTO item VALUES (1, 'a')", &err),
				 KEEP_DENIED);
		assert_int_equal(kp_sql_begin(reader, KP_SQL_WRITE, &err), KEEP_DENIED);
		OK(kp_sql_begin(reader, KP_SQL_READ, &err));
		assert_int_equal(get_number(reader, "SELECT count(*) FROM item"), 0);
		OK(kp_sql_commit(reader, &err));
		kp_sql_close(&reader);
	}
	/* A change in a reading transaction is a mistake of the caller. */
	OK(kp_sql_begin(conn, KP_SQL_READ, &err));
	assert_int_equal(try_sql(conn, "INSERT INTO item VALUES (1, 'a')", &err), KEEP_MISUSE);
	kp_sql_rollback(conn);
}

static void a_hostile_schema_name_is_only_a_name(void **state)
{
	static const char *const names[] = {
		"a\"b",
		"a'b",
		"x\"; DROP TABLE item; --",
		"Upper Case",
		"\xc3\xa9t\xc3\xa9",
		"a,b",
		"$use",
		"\\",
		"public\"",
		"%s%n",
		"0123456789012345678901234567890123456789"
		"01234567890123456789012",
	};
	kp_sql_options options = shared_options();
	keep_error err;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(names); i++) {
		kp_sql_conn *other;
		keep_buffer sql = KEEP_BUFFER_INIT;

		options.schema = names[i];
		options.create = true;
		other = open_with(&options);
		run_script(other, "CREATE TABLE here (id bigint)");
		assert_string_equal(get_text(other, "SELECT current_schema()"), names[i]);
		kp_sql_close(&other);
		options.create = false;
		other = open_with(&options);
		assert_int_equal(get_number(other, "SELECT count(*) FROM here"), 0);
		OK(kp_buffer_append_text(&sql,
					 "DO $do$ BEGIN EXECUTE format('DROP SCHEMA %I "
					 "CASCADE', current_schema()); END $do$",
					 &err));
		run_script(other, sql.data);
		keep_buffer_release(&sql);
		kp_sql_close(&other);
	}
	assert_int_equal(get_number(conn, "SELECT count(*) FROM item"), 0);
}

static void a_schema_is_found_or_refused(void **state)
{
	static const char *const invalid[] = {"", "\xff", "$user",
					      "a234567890123456789012345678901234567890"
					      "123456789012345678901234"};
	kp_sql_options options = shared_options();
	kp_sql_conn *none = NULL;
	keep_error err;

	(void)state;
	options.create = false;
	options.schema = "keep_no_such_schema";
	assert_int_equal(kp_sql_open(&kp_sql_postgres, &options, &none, &err), KEEP_NOT_FOUND);
	assert_null(none);
	assert_non_null(strstr(err.message, "keep_no_such_schema"));
	for (size_t i = 0; i < KP_COUNT(invalid); i++) {
		options.schema = invalid[i];
		assert_int_equal(kp_sql_open(&kp_sql_postgres, &options, &none, &err),
				 KEEP_INVALID);
	}
}

static void *open_in_thread(void *ctx)
{
	kp_sql_options options = shared_options();
	kp_sql_conn *other = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	options.schema = ctx;
	status = kp_sql_open(&kp_sql_postgres, &options, &other, &err);
	if (status != KEEP_OK)
		print_error("%s\n", err.message);
	kp_sql_close(&other);
	return status == KEEP_OK ? NULL : ctx;
}

static void many_may_create_one_schema_at_once(void **state)
{
	pthread_t threads[8];
	char name[64], sql[96];
	void *failed;

	(void)state;
	for (int round = 0; round < 5; round++) {
		snprintf(name, sizeof name, "%s_%d", test_schema(), round);
		for (size_t i = 0; i < KP_COUNT(threads); i++)
			assert_int_equal(pthread_create(&threads[i], NULL, open_in_thread, name),
					 0);
		for (size_t i = 0; i < KP_COUNT(threads); i++) {
			pthread_join(threads[i], &failed);
			assert_null(failed);
		}
		snprintf(sql, sizeof sql, "DROP SCHEMA %s", name);
		run_script(conn, sql);
	}
}

/* ---------------------------------------------------------------- what cannot be opened */

static keep_status try_open(const char *location, keep_error *err)
{
	kp_sql_options options = {.location = location, .timeout_ms = 2000};
	kp_sql_conn *none = NULL;
	keep_status status = kp_sql_open(&kp_sql_postgres, &options, &none, err);

	kp_sql_close(&none);
	return status;
}

static void opening_says_what_is_wrong_and_no_password(void **state)
{
	static const struct {
		const char *extra; /* overrides the server's conninfo */
		keep_status status;
		const char *sqlstate;
	} cases[] = {
		{" dbname=keep_no_such_database", KEEP_NOT_FOUND, "3D000"},
		{" user=keep_no_such_role", KEEP_DENIED, "28000"},
		{" host=/nonexistent", KEEP_UNAVAILABLE, ""},
		{" port=1", KEEP_UNAVAILABLE, ""},
		{" host='' hostaddr=127.0.0.1 port=1", KEEP_UNAVAILABLE, ""},
		{" nonsense=1", KEEP_INVALID, ""},
		{" hunter2", KEEP_INVALID, ""},
	};
	char location[256];
	keep_error err;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		snprintf(location, sizeof location, "%s password=hunter2%s",
			 server_environment("KEEP_TEST_POSTGRES"), cases[i].extra);
		err = (keep_error)KEEP_ERROR_INIT;
		CHECK(try_open(location, &err) == cases[i].status, "%s: %s", cases[i].extra,
		      err.message);
		assert_string_equal(err.sqlstate, cases[i].sqlstate);
		assert_null(strstr(err.message, "hunter2"));
		assert_true(strlen(err.message) > 10);
	}
	assert_int_equal(try_open("hunter2", &err), KEEP_INVALID);
	assert_null(strstr(err.message, "hunter2"));
}

static void a_database_that_is_not_utf8_is_refused(void **state)
{
	char location[256];
	keep_error err;

	(void)state;
	run_script(conn, "CREATE DATABASE keep_latin1 ENCODING 'LATIN1' LOCALE 'C' "
			 "TEMPLATE template0");
	snprintf(location, sizeof location, "%s dbname=keep_latin1",
		 server_environment("KEEP_TEST_POSTGRES"));
	assert_int_equal(try_open(location, &err), KEEP_UNAVAILABLE);
	assert_non_null(strstr(err.message, "LATIN1"));
	run_script(conn, "DROP DATABASE keep_latin1");
}

static void a_role_with_too_many_connections_is_busy(void **state)
{
	char location[256], sql[96];
	keep_error err;

	(void)state;
	snprintf(sql, sizeof sql, "CREATE ROLE keep_few_%d LOGIN CONNECTION LIMIT 0",
		 (int)getpid());
	run_script(conn, sql);
	snprintf(location, sizeof location, "%s user=keep_few_%d",
		 server_environment("KEEP_TEST_POSTGRES"), (int)getpid());
	assert_int_equal(try_open(location, &err), KEEP_BUSY);
	assert_string_equal(err.sqlstate, "53300");
	snprintf(sql, sizeof sql, "DROP ROLE keep_few_%d", (int)getpid());
	run_script(conn, sql);
}

static void a_setting_that_does_not_take_is_named(void **state)
{
	char sql[512], location[256];
	kp_sql_options options;
	kp_sql_conn *none = NULL;
	keep_error err;

	(void)state;
	/* A set_config that does nothing, found before the server's own, stands for a server or a
	   pooler that ignores one setting. */
	snprintf(sql, sizeof sql,
		 "CREATE FUNCTION %s.set_config(name text, value text, is_local boolean) "
		 "RETURNS text LANGUAGE sql AS $$ SELECT CASE name WHEN 'synchronous_commit' "
		 "THEN value ELSE pg_catalog.set_config(name, value, is_local) END $$",
		 test_schema());
	run_script(conn, sql);
	snprintf(location, sizeof location, "%s options='-c search_path=%s,pg_catalog'",
		 server_environment("KEEP_TEST_POSTGRES"), test_schema());
	options = (kp_sql_options){.location = location, .timeout_ms = 2000};
	OK(kp_sql_open(&kp_sql_postgres, &options, &none, &err)); /* as it is anyway */
	kp_sql_close(&none);
	options.relaxed = true;
	for (int unnamed = 0; unnamed <= 1; unnamed++) {
		options.unnamed_statements = unnamed;
		assert_int_equal(kp_sql_open(&kp_sql_postgres, &options, &none, &err),
				 KEEP_UNAVAILABLE);
		assert_null(none);
		assert_non_null(strstr(err.message, "synchronous_commit is on, and cannot be "
						    "set to off"));
	}
}

static void a_role_without_a_privilege_is_denied(void **state)
{
	char sql[160], location[256];
	kp_sql_options options;
	kp_sql_conn *none = NULL;
	keep_error err;

	(void)state;
	snprintf(sql, sizeof sql,
		 "CREATE ROLE keep_plain_%d LOGIN; GRANT ALL ON SCHEMA %s TO keep_plain_%d",
		 (int)getpid(), test_schema(), (int)getpid());
	run_script(conn, sql);
	snprintf(location, sizeof location,
		 "%s user=keep_plain_%d options='-c default_transaction_read_only=on'",
		 server_environment("KEEP_TEST_POSTGRES"), (int)getpid());
	options = (kp_sql_options){
		.location = location, .schema = "keep_denied", .create = true, .timeout_ms = 2000};
	assert_int_equal(kp_sql_open(&kp_sql_postgres, &options, &none, &err), KEEP_DENIED);
	/* Who may use a schema need not be allowed to create one. */
	options.schema = test_schema();
	OK(kp_sql_open(&kp_sql_postgres, &options, &none, &err));
	assert_int_equal(try_sql(none, "SELECT count(*) FROM item", &err), KEEP_DENIED);
	kp_sql_close(&none);
	snprintf(sql, sizeof sql, "DROP OWNED BY keep_plain_%d; DROP ROLE keep_plain_%d",
		 (int)getpid(), (int)getpid());
	run_script(conn, sql);
}

/* ---------------------------------------------------------------- values */

static void bind_value(kp_sql_stmt *stmt, int index, kp_value value)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_bind(stmt, index, &value, &err));
}

static void every_kind_comes_back_as_it_went(void **state)
{
	static const int64_t numbers[] = {0, 1, -1, INT64_MAX, INT64_MIN};
	static const int64_t times[] = {0, -1, 1, KEEP_TIME_MIN, KEEP_TIME_MAX, 1775927901123};
	static const double reals[] = {0.0, -0.5, 1e308, -5e-324, 3.25};
	kp_sql_stmt *stmt = prepare_sql(conn, "SELECT $1, $2, $3, $4, $5, $6, $7");
	keep_error err;
	kp_value got;
	bool has_row;

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		keep_bytes blob = {"\0\xff\1'\\", i};

		bind_value(stmt, 1, (kp_value){.kind = KP_INT, .integer = numbers[i % 5]});
		bind_value(stmt, 2, (kp_value){.kind = KP_TIME, .integer = times[i]});
		bind_value(stmt, 3, (kp_value){.kind = KP_REAL, .real = reals[i % 5]});
		bind_value(stmt, 4, (kp_value){.kind = KP_BOOL, .integer = i & 1});
		bind_value(stmt, 5, (kp_value){.kind = KP_BLOB, .bytes = blob});
		bind_value(stmt, 6,
			   (kp_value){.kind = KP_TEXT, .bytes = KEEP_BYTES("\xc3\xa9'\\")});
		bind_value(stmt, 7,
			   (kp_value){.kind = KP_JSON, .bytes = KEEP_BYTES("{\"a\" : 1.0}")});
		OK(kp_sql_step(stmt, &has_row, &err));
		assert_true(has_row);
		OK(kp_sql_column(stmt, 0, KP_INT, &got, &err));
		assert_true(got.integer == numbers[i % 5]);
		OK(kp_sql_column(stmt, 1, KP_TIME, &got, &err));
		assert_true(got.integer == times[i]);
		OK(kp_sql_column(stmt, 2, KP_REAL, &got, &err));
		assert_memory_equal(&got.real, &reals[i % 5], sizeof got.real);
		OK(kp_sql_column(stmt, 3, KP_BOOL, &got, &err));
		assert_true(got.integer == (int64_t)(i & 1));
		OK(kp_sql_column(stmt, 4, KP_BLOB, &got, &err));
		assert_bytes_equal(got.bytes, blob);
		OK(kp_sql_column(stmt, 5, KP_TEXT, &got, &err));
		assert_bytes_equal(got.bytes, KEEP_BYTES("\xc3\xa9'\\"));
		OK(kp_sql_column(stmt, 6, KP_JSON, &got, &err));
		assert_bytes_equal(got.bytes, KEEP_BYTES("{\"a\" : 1.0}"));
		kp_sql_reset(stmt);
	}
	kp_sql_finish(&stmt);
}

static void what_is_stored_otherwise_is_corrupt_and_named(void **state)
{
	static const struct {
		const char *sql;
		kp_kind kind;
		keep_status status;
	} cases[] = {
		{"SELECT 1::int2 AS odd", KP_INT, KEEP_OK},
		{"SELECT 1::int4 AS odd", KP_INT, KEEP_OK},
		{"SELECT 4294967295::oid AS odd", KP_INT, KEEP_OK},
		{"SELECT 1 AS odd", KP_BOOL, KEEP_OK},
		{"SELECT 2 AS odd", KP_BOOL, KEEP_CORRUPT},
		{"SELECT 0.5::float4 AS odd", KP_REAL, KEEP_OK},
		{"SELECT 'NaN'::float8 AS odd", KP_REAL, KEEP_CORRUPT},
		{"SELECT 'infinity'::float4 AS odd", KP_REAL, KEEP_CORRUPT},
		{"SELECT 1 AS odd", KP_REAL, KEEP_CORRUPT},
		{"SELECT 1.5 AS odd", KP_REAL, KEEP_CORRUPT}, /* numeric */
		{"SELECT 1.5 AS odd", KP_TEXT, KEEP_CORRUPT},
		{"SELECT true AS odd", KP_INT, KEEP_CORRUPT},
		{"SELECT '1' AS odd", KP_INT, KEEP_CORRUPT},
		{"SELECT 'a'::varchar(5) AS odd", KP_TEXT, KEEP_OK},
		{"SELECT 'a'::name AS odd", KP_TEXT, KEEP_OK},
		{"SELECT '[1]'::jsonb AS odd", KP_JSON, KEEP_OK},
		{"SELECT 'a'::text AS odd", KP_BLOB, KEEP_CORRUPT},
		{"SELECT 'a'::bytea AS odd", KP_TEXT, KEEP_CORRUPT},
		{"SELECT 'infinity'::timestamptz AS odd", KP_TIME, KEEP_CORRUPT},
		{"SELECT '-infinity'::timestamptz AS odd", KP_TIME, KEEP_CORRUPT},
		{"SELECT '0044-03-15 BC'::timestamptz AS odd", KP_TIME, KEEP_CORRUPT},
		{"SELECT now()::timestamp AS odd", KP_TIME, KEEP_CORRUPT},
		{"SELECT '2026-01-01' AS odd", KP_TIME, KEEP_CORRUPT},
		{"SELECT NULL::numeric AS odd", KP_INT, KEEP_OK},
	};
	keep_error err;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		kp_sql_stmt *stmt = prepare_sql(conn, cases[i].sql);
		kp_value got;
		bool has_row;

		OK(kp_sql_step(stmt, &has_row, &err));
		CHECK(kp_sql_column(stmt, 0, cases[i].kind, &got, &err) == cases[i].status, "%s",
		      cases[i].sql);
		if (cases[i].status == KEEP_CORRUPT)
			assert_non_null(strstr(err.message, "column odd"));
		kp_sql_finish(&stmt);
	}
}

static void microseconds_are_cut_downwards(void **state)
{
	keep_error err;
	kp_sql_stmt *stmt = prepare_sql(conn, "SELECT '1969-12-31T23:59:59.999999Z'::timestamptz, "
					      "'2026-01-01T00:00:00.001999Z'::timestamptz");
	kp_value got;
	bool has_row;

	(void)state;
	OK(kp_sql_step(stmt, &has_row, &err));
	OK(kp_sql_column(stmt, 0, KP_TIME, &got, &err));
	assert_int_equal(got.integer, -1);
	OK(kp_sql_column(stmt, 1, KP_TIME, &got, &err));
	assert_true(got.integer == INT64_C(1767225600001));
	kp_sql_finish(&stmt);
}

static void large_values_come_back_whole(void **state)
{
	static const size_t sizes[] = {10 << 20, 64 << 20};
	keep_error err;

	(void)state;
	run_script(conn, "CREATE TABLE big (body bytea)");
	for (size_t i = 0; i < KP_COUNT(sizes); i++) {
		char *data = malloc(sizes[i]);
		kp_sql_stmt *stmt = prepare_sql(conn, "INSERT INTO big VALUES ($1) RETURNING body");
		keep_bytes found;
		bool has_row;

		assert_non_null(data);
		for (size_t at = 0; at < sizes[i]; at++)
			data[at] = (char)(at * 2654435761u >> 13);
		OK(kp_sql_bind_blob(stmt, 1, (keep_bytes){data, sizes[i]}, &err));
		OK(kp_sql_step(stmt, &has_row, &err));
		assert_true(has_row);
		OK(kp_sql_column_bytes(stmt, 0, KP_BLOB, &found, &err));
		assert_true(kp_bytes_equal(found, (keep_bytes){data, sizes[i]}));
		assert_int_equal(kp_sql_changes(stmt), 1);
		kp_sql_finish(&stmt);
		free(data);
	}
}

/* ---------------------------------------------------------------- failures */

static void sqlstate_becomes_a_status_and_no_value_is_told(void **state)
{
	static const struct {
		const char *sql, *sqlstate;
		keep_status status;
	} cases[] = {
		{"INSERT INTO item VALUES (1, 'hunter2')", "23505", KEEP_CONFLICT},
		{"INSERT INTO item VALUES (NULL, 'hunter2')", "23502", KEEP_CONFLICT},
		{"SELECT 'hunter2'::int", "22P02", KEEP_MISUSE},
		{"SELECT 1 / 0", "22012", KEEP_MISUSE},
		{"SELEC 1", "42601", KEEP_MISUSE},
		{"SELECT 1; SELECT 2", "42601", KEEP_MISUSE},
		{"SELECT * FROM no_such_table", "42P01", KEEP_MISUSE},
		{"SELECT (SELECT id FROM (VALUES (1), (2)) AS t (id))", "21000", KEEP_MISUSE},
		{"SELECT pg_read_file('/nonexistent')", "58P01", KEEP_UNAVAILABLE},
		{"DO $$ BEGIN RAISE 'no' USING ERRCODE = '53100'; END $$", "53100", KEEP_FULL},
		{"DO $$ BEGIN RAISE 'no' USING ERRCODE = '53200'; END $$", "53200", KEEP_NO_MEMORY},
		{"DO $$ BEGIN RAISE 'no' USING ERRCODE = '40001'; END $$", "40001", KEEP_BUSY},
		{"DO $$ BEGIN RAISE 'no' USING ERRCODE = '57014'; END $$", "57014", KEEP_BUSY},
		{"DO $$ BEGIN RAISE 'no' USING ERRCODE = '22021'; END $$", "22021", KEEP_INVALID},
		{"DO $$ BEGIN RAISE 'no' USING ERRCODE = 'XX001'; END $$", "XX001", KEEP_CORRUPT},
		{"DO $$ BEGIN RAISE 'no' USING ERRCODE = '40003'; END $$", "40003", KEEP_UNCERTAIN},
		{"DO $$ BEGIN RAISE 'no'; END $$", "P0001", KEEP_CONFLICT},
	};
	keep_error err;

	(void)state;
	run_script(conn, "INSERT INTO item VALUES (1, 'a')");
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		CHECK(try_sql(conn, cases[i].sql, &err) == cases[i].status, "%s: %s", cases[i].sql,
		      err.message);
		assert_string_equal(err.sqlstate, cases[i].sqlstate);
		assert_null(strstr(err.message, "hunter2"));
		assert_false(conn->broken);
	}
	assert_int_equal(get_number(conn, "SELECT count(*) FROM item"), 1);
}

static void parameters_are_counted_and_unbound_ones_are_null(void **state)
{
	kp_sql_stmt *stmt = prepare_sql(conn, "SELECT coalesce($1, -1), '$9', $2::bigint");
	keep_error err;
	bool has_row;
	int64_t number;

	(void)state;
	assert_int_equal(kp_sql_bind_int(stmt, 3, 1, &err), KEEP_MISUSE);
	OK(kp_sql_bind_int(stmt, 2, 7, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	OK(kp_sql_column_int(stmt, 0, &number, &err));
	assert_int_equal(number, -1);
	kp_sql_reset(stmt);
	OK(kp_sql_step(stmt, &has_row, &err)); /* bindings are gone */
	assert_int_equal(kp_sql_column_int(stmt, 2, &number, &err), KEEP_CORRUPT);
	kp_sql_finish(&stmt);
}

/* ---------------------------------------------------------------- kept statements */

static int64_t prepared_on_server(void)
{
	return get_number(conn, "SELECT count(*) FROM pg_prepared_statements");
}

static void a_finished_statement_is_used_again_and_the_oldest_forgotten(void **state)
{
	char sql[64];
	int64_t before;

	(void)state;
	(void)prepared_on_server();
	before = prepared_on_server();
	for (int i = 0; i < 20; i++)
		assert_int_equal(get_number(conn, "SELECT 4711"), 4711);
	assert_int_equal(prepared_on_server(), before + 1);
	for (int i = 0; i < 300; i++) {
		snprintf(sql, sizeof sql, "SELECT %d", i);
		assert_int_equal(get_number(conn, sql), i);
	}
	assert_in_range(prepared_on_server(), 50, 66);
}

static void another_kind_prepares_anew(void **state)
{
	kp_sql_stmt *stmt = prepare_sql(conn, "SELECT $1");
	keep_error err;
	kp_value got;
	bool has_row;

	(void)state;
	for (int i = 0; i < 6; i++) {
		if (i % 2)
			OK(kp_sql_bind_int(stmt, 1, i, &err));
		else
			OK(kp_sql_bind_text(stmt, 1, KEEP_BYTES("a"), &err));
		OK(kp_sql_step(stmt, &has_row, &err));
		OK(kp_sql_column(stmt, 0, i % 2 ? KP_INT : KP_TEXT, &got, &err));
		kp_sql_reset(stmt);
	}
	kp_sql_finish(&stmt);
	assert_in_range(prepared_on_server(), 1, 6);
}

static void a_statement_whose_table_changed_works_the_second_time(void **state)
{
	kp_sql_stmt *stmt = prepare_sql(conn, "SELECT * FROM item");
	keep_error err;

	(void)state;
	OK(kp_sql_run(stmt, &err));
	run_script(conn, "ALTER TABLE item ADD COLUMN more text");
	assert_int_equal(kp_sql_run(stmt, &err), KEEP_BUSY);
	OK(kp_sql_run(stmt, &err));
	run_script(conn, "DEALLOCATE ALL");
	assert_int_equal(kp_sql_run(stmt, &err), KEEP_BUSY);
	OK(kp_sql_run(stmt, &err));
	kp_sql_finish(&stmt);
}

/* RESET ALL is what another client's session of a pooler looks like. */
static void without_prepared_statements_each_transaction_sets_its_session(void **state)
{
	kp_sql_options options = shared_options();
	kp_sql_conn *pooled;
	kp_sql_stmt *insert;
	keep_error err;

	(void)state;
	options.unnamed_statements = true;
	pooled = open_with(&options);
	assert_false(pooled->caps & KP_SQL_LISTEN);
	run_script(pooled, "RESET ALL");
	insert = prepare_sql(pooled, "INSERT INTO item VALUES ($1, $2)");
	OK(queue_item(insert, 1, KEEP_BYTES("alone"), &err));
	OK(kp_sql_begin(pooled, KP_SQL_WRITE, &err));
	OK(queue_item(insert, 2, KEEP_BYTES("in a transaction"), &err));
	assert_string_equal(get_text(pooled, "SELECT current_setting('lock_timeout')"), "5s");
	OK(kp_sql_commit(pooled, &err));
	run_script(pooled, "INSERT INTO item VALUES (3, 'by script')");
	assert_int_equal(get_number(pooled, "SELECT count(*) FROM item"), 3);
	assert_int_equal(get_number(pooled, "SELECT count(*) FROM pg_prepared_statements"), 0);
	kp_sql_finish(&insert);
	kp_sql_close(&pooled);
}

/* ---------------------------------------------------------------- notifications */

static bool wait_for(kp_sql_conn *listener, int64_t timeout_ms, int wake_fd, const char *expected)
{
	keep_buffer payload = KEEP_BUFFER_INIT;
	keep_error err;
	bool notified;

	OK(kp_sql_wait(listener, timeout_ms, wake_fd, &notified, &payload, &err));
	if (notified && expected)
		assert_bytes_equal(kp_buffer_bytes(&payload), keep_bytes_of(expected));
	keep_buffer_release(&payload);
	return notified;
}

static void a_notification_wakes_another_connection_at_commit(void **state)
{
	static char longer[9000];
	kp_sql_conn *listener = open_shared();
	keep_error err;

	(void)state;
	memset(longer, 'x', sizeof longer);
	OK(kp_sql_listen(listener, "keep \"test\" \xc3\xa9", &err));
	assert_false(wait_for(listener, 0, -1, NULL));
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_notify(conn, "keep \"test\" \xc3\xa9", KEEP_BYTES("chat-1"), &err));
	OK(kp_sql_flush(conn, &err));
	assert_false(wait_for(listener, 50, -1, NULL));
	OK(kp_sql_commit(conn, &err));
	assert_true(wait_for(listener, 5000, -1, "chat-1"));
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_notify(conn, "keep \"test\" \xc3\xa9", KEEP_BYTES("never"), &err));
	kp_sql_rollback(conn);
	OK(kp_sql_notify(conn, "other", KEEP_BYTES("elsewhere"), &err));
	OK(kp_sql_notify(conn, "keep \"test\" \xc3\xa9", (keep_bytes){longer, 7999}, &err));
	OK(kp_sql_notify(conn, "keep \"test\" \xc3\xa9", (keep_bytes){longer, 8000}, &err));
	assert_true(wait_for(listener, 5000, -1, NULL));
	assert_true(wait_for(listener, 5000, -1, ""));
	assert_false(wait_for(listener, 0, -1, NULL));
	assert_int_equal(kp_sql_notify(conn, "c", KEEP_BYTES("\xff"), &err), KEEP_INVALID);
	assert_int_equal(kp_sql_listen(conn, "", &err), KEEP_INVALID);
	kp_sql_close(&listener);
}

static void waiting_ends_with_time_or_with_the_wake_descriptor(void **state)
{
	int64_t begun = kp_monotonic_ns();
	int ends[2];

	(void)state;
	assert_false(wait_for(conn, 60, -1, NULL));
	assert_true(kp_monotonic_ns() - begun >= 60 * 1000000);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_false(wait_for(conn, -1, ends[0], NULL));
	close(ends[0]);
	close(ends[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_session_has_every_setting),
		TEST(relaxed_means_no_wait_for_the_disk),
		TEST(a_soon_commit_waits_for_no_disk_and_the_next_one_does),
		TEST(a_read_only_connection_changes_nothing),
		TEST(a_hostile_schema_name_is_only_a_name),
		TEST(a_schema_is_found_or_refused),
		TEST(many_may_create_one_schema_at_once),
		TEST(opening_says_what_is_wrong_and_no_password),
		TEST(a_database_that_is_not_utf8_is_refused),
		TEST(a_role_with_too_many_connections_is_busy),
		TEST(a_setting_that_does_not_take_is_named),
		TEST(a_role_without_a_privilege_is_denied),
		TEST(every_kind_comes_back_as_it_went),
		TEST(what_is_stored_otherwise_is_corrupt_and_named),
		TEST(microseconds_are_cut_downwards),
		TEST(large_values_come_back_whole),
		TEST(sqlstate_becomes_a_status_and_no_value_is_told),
		TEST(parameters_are_counted_and_unbound_ones_are_null),
		TEST(a_finished_statement_is_used_again_and_the_oldest_forgotten),
		TEST(another_kind_prepares_anew),
		TEST(a_statement_whose_table_changed_works_the_second_time),
		TEST(without_prepared_statements_each_transaction_sets_its_session),
		TEST(a_notification_wakes_another_connection_at_commit),
		TEST(waiting_ends_with_time_or_with_the_wake_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
