/*
 * test_assistant_work_plans.c - no statement about agents' tasks or the audit log reads a whole
 * table.
 *
 *     test_assistant_work_plans sqlite|postgres
 *
 * Not list_agents and count_agents: there are at most KEEP_ASSISTANT_LIST_MAX agents.
 */
#include "assistant_fixture.h"
#include "statement_plans.h"

extern const kp_statement_set
	kp_assistant_statements[KP_DIALECT_COUNT]; /* of src/assistant/<topic>.sql */

static const char *const names[] = {
	"get_agent",
	"list_enabled_agents",
	"set_agent",
	"remove_agent",
	"get_task",
	"list_tasks",
	"list_tasks_in",
	"list_tasks_for",
	"list_tasks_for_in",
	"list_tasks_of",
	"oldest_pending",
	"oldest_pending_for",
	"has_expired_task",
	"task_owner_behind",
	"interrupt_expired",
	"interrupt_tasks_of_owner",
	"set_task",
	"get_audit_head",
	"set_audit_head",
	"query_audit",
	"query_audit_by_type",
	"query_audit_by_service",
	"query_audit_by_agent",
	"query_audit_by_conversation",
	"query_audit_by_success",
	"query_audit_by_time",
	"probe_audit_by_type",
	"probe_audit_by_service",
	"probe_audit_by_agent",
	"probe_audit_by_conversation",
	"probe_audit_by_success",
	"probe_audit_by_time",
	"export_audit",
	"audit_behind",
	"last_audit_seq",
	"remove_audit_entries",
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
