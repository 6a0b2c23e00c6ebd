/*
 * test_postgres_text.c - what the PostgreSQL driver sees in a statement's text.
 */
#include "keep_test.h"

#include "sql/postgres_private.h"

static void parameters_are_counted_outside_of_literals_names_and_comments(void **state)
{
	static const struct {
		const char *sql;
		int count;
	} cases[] = {
		{"", 0},
		{"SELECT 1", 0},
		{"SELECT $1", 1},
		{"SELECT $2, $1, $12", 12},
		{"$1$2", 2},
		{"SELECT '$1', \"$2\"", 0},
		{"SELECT 'it''s $1', $3", 3},
		{"SELECT E'\\'$1', $2", 2},
		{"SELECT e'\\\\', $2", 2},
		{"SELECT '\\', $2", 2},
		{"SELECT $$ $1 $$, $2", 2},
		{"SELECT $a$ $1 $b$ $2 $a$, $3", 3},
		{"SELECT a$1 FROM t WHERE b = $2", 2},
		{"SELECT 1 -- $1\n, $2", 2},
		{"SELECT 1 -- $1", 0},
		{"SELECT /* $1 /* $2 */ $3 */ $4", 4},
		{"SELECT /* $1", 0},
		{"SELECT '$1", 0},
		{"SELECT $$ $1", 0},
		{"SELECT \xc3\xa9$1", 0},
		{"SELECT $99999999999999999999", 65535},
		{"E", 0},
		{"$", 0},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++)
		CHECK(kp_pg_parameter_count(cases[i].sql) == cases[i].count, "%s", cases[i].sql);
}

static void only_a_query_changes_nothing(void **state)
{
	static const char *const queries[] = {
		"SELECT 1",
		" \n-- INSERT\nselect deleted FROM updates",
		"(SELECT 1) UNION (SELECT 2)",
		"WITH a AS (SELECT 'INSERT') SELECT * FROM a",
		"VALUES (1)",
		"SHOW search_path",
	};
	static const char *const changes[] = {
		"INSERT INTO t VALUES (1)",
		"update t SET a = 1",
		"WITH a AS (DELETE FROM t RETURNING id) SELECT * FROM a",
		"SELECT 1 INTO t",
		"SELECT pg_notify($1, $2)",
		"CREATE TABLE t (a int)",
		"CALL p()",
		"",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(queries); i++)
		CHECK(!kp_pg_may_write(queries[i]), "%s", queries[i]);
	for (size_t i = 0; i < KP_COUNT(changes); i++)
		CHECK(kp_pg_may_write(changes[i]), "%s", changes[i]);
}

static void a_sqlstate_means_one_status(void **state)
{
	static const struct {
		const char *sqlstate;
		keep_status status;
	} cases[] = {
		{NULL, KEEP_UNAVAILABLE},    {"08006", KEEP_UNAVAILABLE},
		{"08P01", KEEP_MISUSE},      {"22021", KEEP_INVALID},
		{"22P02", KEEP_MISUSE},      {"23505", KEEP_CONFLICT},
		{"23503", KEEP_CONFLICT},    {"25006", KEEP_DENIED},
		{"28P01", KEEP_DENIED},      {"3D000", KEEP_NOT_FOUND},
		{"3F000", KEEP_NOT_FOUND},   {"40001", KEEP_BUSY},
		{"40003", KEEP_UNCERTAIN},   {"40P01", KEEP_BUSY},
		{"42501", KEEP_DENIED},      {"42601", KEEP_MISUSE},
		{"53100", KEEP_FULL},        {"53200", KEEP_NO_MEMORY},
		{"53300", KEEP_BUSY},        {"54000", KEEP_FULL},
		{"55P03", KEEP_BUSY},        {"57014", KEEP_BUSY},
		{"57P01", KEEP_UNAVAILABLE}, {"57P03", KEEP_UNAVAILABLE},
		{"58030", KEEP_UNAVAILABLE}, {"XX000", KEEP_UNAVAILABLE},
		{"XX001", KEEP_CORRUPT},     {"XX002", KEEP_CORRUPT},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++)
		CHECK(kp_pg_status(cases[i].sqlstate) == cases[i].status, "%s", cases[i].sqlstate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters_are_counted_outside_of_literals_names_and_comments),
		cmocka_unit_test(only_a_query_changes_nothing),
		cmocka_unit_test(a_sqlstate_means_one_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
