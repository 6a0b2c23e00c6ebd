#ifndef KEEP_HOME_DAMAGE_H
#define KEEP_HOME_DAMAGE_H
/*
 * home_damage.h - for tests of `keep check`: to harm a home, and to look at what is found.
 *
 *     damage(home, "gateway", "gateway/messages.db", "UPDATE chats SET last_seq = 7");
 *     check(home, false, &result);
 *     found_must_be(&result, "stale_counter", "telegram:1");
 */
#include "home_fixture.h"
#include "sql/sql.h"

/* Run a script on a store, as a connection of Keep's own that knows no rule. */
static inline void damage(const char *home, const char *schema, const char *file, const char *sql)
{
	bool is_server = strncmp(home, "postgres://", 11) == 0;
	char path[HOME_URL_MAX];
	kp_sql_options options = {.location = is_server ? home : path,
				  .schema = is_server ? schema : NULL,
				  .journal = KP_JOURNAL_AS_IS,
				  .timeout_ms = 20000};
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;

	snprintf(path, sizeof path, "%s/%s", home, file);
	OK(kp_sql_open(is_server ? &kp_sql_postgres : &kp_sql_sqlite, &options, &conn, &err));
	if (!is_server)
		OK(kp_sql_script(conn,
				 "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON",
				 &err));
	OK(kp_sql_script(conn, sql, &err));
	kp_sql_close(&conn);
}

static inline void check(const char *home, bool repair, keep_check_result *result)
{
	keep_check_options options = KEEP_CHECK_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;

	options.repair = repair;
	options.timeout_ms = 20000;
	OK(keep_home_check(home, &options, result, &err));
}

static inline void print_findings(const keep_check_result *result)
{
	for (size_t i = 0; i < result->count; i++) {
		const keep_finding *finding = &result->findings[i];

		print_error("%s %.*s %.*s %.*s '%.*s': %.*s%s\n",
			    keep_severity_name(finding->severity), KP_ARG(finding->kind),
			    KP_ARG(finding->file), KP_ARG(finding->table), KP_ARG(finding->key),
			    KP_ARG(finding->sentence), finding->is_repaired ? " (mended)" : "");
	}
}

/* The first of that kind, and (unless NULL) with that text in its key or file. */
static inline const keep_finding *find(const keep_check_result *result, const char *kind,
				       const char *where)
{
	for (size_t i = 0; i < result->count; i++) {
		const keep_finding *finding = &result->findings[i];
		size_t len = where ? strlen(where) : 0;

		if (kp_bytes_equal(finding->kind, keep_bytes_of(kind)) &&
		    (!where ||
		     (finding->key.data &&
		      memmem(finding->key.data, finding->key.len, where, len)) ||
		     memmem(finding->file.data, finding->file.len, where, len)))
			return finding;
	}
	return NULL;
}

static inline const keep_finding *must_find(const keep_check_result *result, const char *kind,
					    const char *where)
{
	const keep_finding *finding = find(result, kind, where);

	if (!finding)
		print_findings(result);
	CHECK(finding, "nothing of the kind %s is found at %s", kind, where ? where : "all");
	return finding;
}

static inline void must_be_clean(const char *home)
{
	keep_check_result result;

	check(home, false, &result);
	if (result.wrong)
		print_findings(&result);
	assert_int_equal(result.wrong, 0);
	assert_true(result.rows > 0 && result.tables > 0);
	keep_check_result_release(&result);
}

/* It is found; a repair mends it, and says so; then all is well. */
static inline void must_be_mended(const char *home, const char *kind, const char *where)
{
	keep_check_result result;

	check(home, false, &result);
	assert_true(must_find(&result, kind, where)->can_repair);
	assert_int_equal(result.repaired, 0);
	assert_true(result.wrong > 0);
	keep_check_result_release(&result);
	check(home, true, &result);
	if (result.wrong)
		print_findings(&result);
	assert_true(must_find(&result, kind, where)->is_repaired);
	assert_int_equal(result.wrong, 0);
	keep_check_result_release(&result);
	must_be_clean(home);
}

/* It is found, and a repair leaves it found. */
static inline void must_stay(const char *home, const char *kind, const char *where,
			     keep_severity severity)
{
	for (int repair = 0; repair <= 1; repair++) {
		keep_check_result result;

		check(home, repair, &result);
		assert_int_equal(must_find(&result, kind, where)->severity, severity);
		assert_false(must_find(&result, kind, where)->is_repaired);
		assert_true(result.wrong > 0);
		keep_check_result_release(&result);
	}
}

#endif
