/*
 * test_assistant_connections.c - what is known of services: the last report, and each change of it.
 *
 *     test_assistant_connections sqlite|postgres
 */
#include "assistant_fixture.h"

static const keep_bytes none = {NULL, 0};

static keep_status report(keep_assistant *assistant, const char *service, const char *status,
			  const char *error_text, const char *metadata)
{
	return keep_assistant_report_connection(assistant, keep_bytes_of(service),
						keep_bytes_of(status), keep_bytes_of(error_text),
						keep_bytes_of(metadata), 5000, NULL, NULL);
}

static void a_report_replaces_the_one_before_and_keeps_metadata_it_does_not_give(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_service_connection_list list = {NULL, 0};

	(void)state;
	assert_int_equal(report(assistant, "slack", "connected", NULL, "{\"team\":1}"), KEEP_OK);
	assert_int_equal(report(assistant, "slack", "error", "timed out", NULL), KEEP_OK);
	assert_int_equal(report(assistant, "brave", "disconnected", NULL, NULL), KEEP_OK);
	OK(keep_assistant_list_connections(assistant, none, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].service_name, KEEP_BYTES("brave"));
	assert_bytes_equal(list.items[1].last_error, KEEP_BYTES("timed out"));
	assert_bytes_equal(list.items[1].metadata, KEEP_BYTES("{\"team\":1}"));
	assert_int_equal(list.items[1].last_check, 5000);
	assert_int_equal(report(assistant, "slack", "connected", NULL, NULL), KEEP_OK);
	OK(keep_assistant_list_connections(assistant, KEEP_BYTES("connected"), &memory, &list,
					   &err));
	assert_int_equal(list.count, 1);
	assert_null(list.items[0].last_error.data);
	assert_int_equal(
		keep_assistant_list_connections(assistant, KEEP_BYTES("up"), &memory, &list, &err),
		KEEP_INVALID);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void only_a_change_of_status_is_noted(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(report(assistant, "s", "connected", NULL, NULL), KEEP_OK);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'connection_change'"), 1);
	assert_int_equal(report(assistant, "s", "error", "gone", NULL), KEEP_OK);
	assert_int_equal(assistant_count("audit_log WHERE service_name = 's' AND error_message = "
					 "'gone' AND NOT CAST(success AS boolean)"),
			 1);
	assert_string_equal(assistant_sql("SELECT CAST(details AS text) FROM audit_log ORDER BY "
					  "seq DESC LIMIT 1"),
			    "{\"old\":\"connected\",\"new\":\"error\"}");
	OK(keep_assistant_remove_connection(assistant, KEEP_BYTES("s"), NULL, &err));
	assert_int_equal(keep_assistant_remove_connection(assistant, KEEP_BYTES("s"), NULL, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'connection_change'"), 3);
	assert_int_equal(assistant_count("service_connections"), 0);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void bad_input_is_refused(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	assert_int_equal(report(assistant, "", "connected", NULL, NULL), KEEP_INVALID);
	assert_int_equal(report(assistant, "s", "up", NULL, NULL), KEEP_INVALID);
	assert_int_equal(report(assistant, "s", NULL, NULL, NULL), KEEP_INVALID);
	assert_int_equal(report(assistant, "s", "error", "\xff", NULL), KEEP_INVALID);
	assert_int_equal(report(assistant, "s", "connected", NULL, "[]"), KEEP_INVALID);
	assert_int_equal(assistant_count("service_connections"), 0);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_report_replaces_the_one_before_and_keeps_metadata_it_does_not_give),
		cmocka_unit_test(only_a_change_of_status_is_noted),
		cmocka_unit_test(bad_input_is_refused),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
