/*
 * test_assistant_secret_plans.c - no statement about settings, credentials, connections or keys
 * reads a whole table that grows.
 *
 *     test_assistant_secret_plans sqlite|postgres
 *
 * Not list_settings, list_credentials and list_connections: those are asked for whole, and there
 * are as many as somebody defined.
 */
#include "assistant_fixture.h"
#include "statement_plans.h"

extern const kp_statement_set
	kp_assistant_statements[KP_DIALECT_COUNT]; /* of src/assistant/<topic>.sql */

static const char *const names[] = {
	"get_setting",
	"store_setting",
	"change_setting",
	"remove_setting",
	"get_credential",
	"put_credential",
	"expiring_credentials",
	"remove_credential",
	"get_connection",
	"put_connection",
	"remove_connection",
	"has_secrets",
	"remove_key_check",
	"list_key_checks",
	"credentials_behind",
	"renew_credential",
	"secret_settings_behind",
	"renew_setting",
	"count_under_other_keys",
	"is_key_in_use",
	"get_value",
	"put_value",
};

static void every_one_goes_along_an_index(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	kp_sql_conn *conn = assistant_connect_behind();
	const kp_statement_set *set = &kp_assistant_statements[conn->driver->dialect];
	size_t found = 0;
	int bad = 0;

	(void)state;
	for (size_t i = 0; i < set->count; i++)
		for (size_t j = 0; j < KP_COUNT(names); j++)
			if (strcmp(set->statements[i].name, names[j]) == 0) {
				bad += count_scans(conn, &set->statements[i]);
				found++;
			}
	assert_int_equal(found, KP_COUNT(names));
	CHECK(bad == 0, "%d steps read whole tables", bad);
	kp_sql_close(&conn);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_one_goes_along_an_index),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
