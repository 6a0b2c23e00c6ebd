/*
 * test_assistant_open.c - which stores an assistant opens, and what a new one holds.
 *
 *     test_assistant_open sqlite|postgres
 */
#include "assistant_fixture.h"

#include "sql/sql.h"

static const char other_key[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

static keep_status try_open(const char *keys, bool create, bool read_only, keep_error *err)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_status status;

	options.create = create;
	options.read_only = read_only;
	options.keys = keys;
	options.without_keys = !keys;
	status = assistant_open_with(&options, &assistant, err);
	keep_assistant_close(&assistant);
	return status;
}

/* Run a script behind the library's back. */
static void run_behind(const char *sql)
{
	kp_sql_conn *conn = assistant_connect_behind();
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(conn, sql, &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_close(&conn);
}

static void a_new_store_has_nine_agents_four_prompts_and_retention(void **state)
{
	static const char *const names[] = {"coordinator",  "research",  "communication",
					    "planner",      "browser",   "writer",
					    "file_handler", "navigator", "system"};
	keep_assistant *assistant = assistant_fresh();
	char sql[200];

	(void)state;
	assert_int_equal(assistant_count("agent_definitions WHERE enabled"), 9);
	assert_int_equal(assistant_count("agent_definitions WHERE allow_delegation"), 1);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(sql, sizeof sql, "agent_definitions WHERE name = '%s' AND goal <> ''",
			 names[i]);
		assert_int_equal(assistant_count(sql), 1);
	}
	assert_string_equal(
		assistant_sql("SELECT name FROM agent_definitions ORDER BY priority DESC LIMIT 1"),
		"coordinator");
	assert_string_equal(
		assistant_sql("SELECT name FROM agent_definitions WHERE allow_delegation"),
		"coordinator");
	assert_int_equal(assistant_count("prompts"), 4);
	assert_int_equal(assistant_count("settings WHERE category = 'retention'"), 5);
	assert_int_equal(assistant_count("audit_heads"), 1);
	keep_assistant_close(&assistant);
	/* Opened again, what its owner took away stays away. */
	run_behind("DELETE FROM agent_definitions WHERE name = 'writer'");
	assistant = assistant_again(NULL);
	assert_int_equal(assistant_count("agent_definitions"), 8);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void what_is_missing_is_not_made_unasked(void **state)
{
	char url[ASSISTANT_URL_MAX];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assistant_next_url(url);
	assert_int_equal(try_open(NULL, false, false, &err), KEEP_NOT_FOUND);
	assert_int_equal(try_open(NULL, false, true, &err), KEEP_NOT_FOUND);
	OK(try_open(NULL, true, false, &err));
	OK(try_open(NULL, false, true, &err));
	assert_nothing_lives();
}

static void another_programs_tables_are_refused_and_stay(void **state)
{
	char url[ASSISTANT_URL_MAX];
	keep_assistant *assistant;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assistant = assistant_fresh();
	keep_assistant_close(&assistant);
	/* As if the source had made it: its tables are there, ours are not. */
	run_behind("DROP TABLE migrations");
	run_behind("ALTER TABLE messages DROP COLUMN summarised_by");
	assert_int_equal(try_open(NULL, true, false, &err), KEEP_CONFLICT);
	assert_int_equal(assistant_count("agent_definitions"), 9);
	(void)url;
	assert_nothing_lives();
}

static void a_newer_store_is_refused_and_stays(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	keep_assistant_close(&assistant);
	run_behind("INSERT INTO migrations (service, version, name, checksum, applied_at) SELECT "
		   "'assistant', version + 1, '0002_later', checksum, applied_at FROM migrations");
	assert_int_equal(try_open(NULL, true, false, &err), KEEP_TOO_NEW);
	assert_int_equal(try_open(NULL, false, true, &err), KEEP_TOO_NEW);
	assert_nothing_lives();
}

static void other_keys_are_found_at_open_and_change_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	const char *stored;
	char before[200];

	(void)state;
	/* Nothing is encrypted yet, so any key is as good as another. */
	OK(try_open(other_key, false, false, &err));
	OK(keep_assistant_put_credential(assistant, KEEP_BYTES("mail"), KEEP_BYTES("api_key"),
					 KEEP_BYTES("secret"), 0, NULL, &err));
	keep_assistant_close(&assistant);
	stored = assistant_sql("SELECT substr(credential_data, 1, 190) FROM service_credentials");
	snprintf(before, sizeof before, "%s", stored);
	assert_int_equal(try_open(other_key, false, false, &err), KEEP_DENIED);
	assert_null(strstr(err.message, other_key));
	OK(try_open(NULL, false, false, &err));
	assert_string_equal(
		assistant_sql("SELECT substr(credential_data, 1, 190) FROM service_credentials"),
		before);
	assistant = assistant_again(NULL);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void wrong_use_is_told(void **state)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(keep_assistant_open("mysql://x", NULL, &assistant, &err), KEEP_INVALID);
	assert_int_equal(keep_assistant_open("sqlite:", NULL, &assistant, &err), KEEP_INVALID);
	assert_int_equal(keep_assistant_open(NULL, NULL, &assistant, &err), KEEP_MISUSE);
	options.service = "Not a name";
	assert_int_equal(assistant_open_with(&options, &assistant, &err), KEEP_INVALID);
	options = (keep_assistant_options)KEEP_ASSISTANT_OPTIONS_INIT;
	options.size = 3;
	assert_int_equal(assistant_open_with(&options, &assistant, &err), KEEP_MISUSE);
	options = (keep_assistant_options)KEEP_ASSISTANT_OPTIONS_INIT;
	options.create = true;
	options.keys = "too short";
	assert_int_equal(assistant_open_with(&options, &assistant, &err), KEEP_INVALID);
	assert_null(strstr(err.message, "too short"));
	assert_null(assistant);
	assert_nothing_lives();
}

static void a_store_for_reading_refuses_changes(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	keep_assistant_close(&assistant);
	options.read_only = true;
	options.without_keys = true;
	OK(assistant_open_with(&options, &assistant, &err));
	assert_int_equal(keep_assistant_set_prompt(assistant, KEEP_BYTES("k"), KEEP_BYTES("v"),
						   (keep_bytes){NULL, 0}, 0, NULL, NULL, &err),
			 KEEP_DENIED);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_store_has_nine_agents_four_prompts_and_retention),
		cmocka_unit_test(what_is_missing_is_not_made_unasked),
		cmocka_unit_test(another_programs_tables_are_refused_and_stay),
		cmocka_unit_test(a_newer_store_is_refused_and_stays),
		cmocka_unit_test(other_keys_are_found_at_open_and_change_nothing),
		cmocka_unit_test(wrong_use_is_told),
		cmocka_unit_test(a_store_for_reading_refuses_changes),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
