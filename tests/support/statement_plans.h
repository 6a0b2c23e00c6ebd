#ifndef KEEP_STATEMENT_PLANS_H
#define KEEP_STATEMENT_PLANS_H
/*
 * statement_plans.h - does a named statement read a whole table?
 *
 * SQLite: EXPLAIN QUERY PLAN has no SCAN of a table but along an index. PostgreSQL: the generic
 * plan with enable_seqscan off has no Seq Scan. The connection is the caller's own, and closed
 * after.
 */
#include "keep_test.h"
#include "sql/sql.h"

/* The lines of a plan that read a whole table; they are printed. */
static inline int count_scan_lines(kp_sql_conn *conn, const kp_statement *statement,
				   const char *sql, int column, bool is_file)
{
	kp_sql_stmt *stmt = NULL;
	keep_error err = KEEP_ERROR_INIT;
	bool has_row = false;
	int bad = 0;

	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	while (has_row) {
		keep_bytes text;
		char line[200];

		OK(kp_sql_column_bytes(stmt, column, KP_TEXT, &text, &err));
		(void)snprintf(line, sizeof line, "%.*s", (int)text.len, text.data);
		/* What stands in parentheses is a subquery, and what is called a part is rows that
		   the statement made itself: they have lines of their own. */
		if (is_file ? strncmp(line, "SCAN ", 5) == 0 && line[5] != '(' &&
				      !strstr(line, " USING ") &&
				      strncmp(line, "SCAN CONSTANT", 13) != 0 &&
				      strcmp(line, "SCAN parts") != 0 &&
				      strcmp(line, "SCAN first_part") != 0
			    : strstr(line, "Seq Scan on ") != NULL) {
			print_error("%s: %s\n", statement->name, line);
			bad++;
		}
		OK(kp_sql_step(stmt, &has_row, &err));
	}
	kp_sql_finish(&stmt);
	return bad;
}

static inline int count_scans(kp_sql_conn *conn, const kp_statement *statement)
{
	bool is_file = conn->driver->dialect == KP_DIALECT_SQLITE;
	char nulls[300] = "", *sql = NULL;
	keep_error err = KEEP_ERROR_INIT;
	int parameters = 0, bad;

	if (is_file) {
		assert_true(asprintf(&sql, "EXPLAIN QUERY PLAN %s", statement->sql) > 0);
		bad = count_scan_lines(conn, statement, sql, 3, is_file);
		free(sql);
		return bad;
	}
	OK(kp_sql_script(conn, "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan",
			 &err));
	for (const char *at = strchr(statement->sql, '$'); at; at = strchr(at + 1, '$'))
		parameters = atoi(at + 1) > parameters ? atoi(at + 1) : parameters;
	for (int i = 0; i < parameters; i++)
		(void)strcat(nulls, i ? ", NULL" : "(NULL");
	assert_true(asprintf(&sql, "PREPARE explained AS %s", statement->sql) > 0);
	OK(kp_sql_script(conn, sql, &err));
	free(sql);
	assert_true(asprintf(&sql, "EXPLAIN (COSTS OFF) EXECUTE explained%s%s", nulls,
			     parameters ? ")" : "") > 0);
	bad = count_scan_lines(conn, statement, sql, 0, is_file);
	free(sql);
	OK(kp_sql_script(conn, "DEALLOCATE explained", &err));
	return bad;
}

#endif
