/*
 * test_gateway_onboarding.c - contracts/gateway.md, "Onboarding".
 *
 *     test_gateway_onboarding sqlite|postgres
 */
#include "gateway_fixture.h"

#include <pthread.h>

#define JID KEEP_BYTES("telegram:42")

static void begin(keep_gateway *gateway, const char *jid)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_put put;

	OK(keep_gateway_start_onboarding(gateway, keep_bytes_of(jid), KEEP_BYTES("ada"),
					 KEEP_BYTES("telegram"), &put, &err));
	assert_int_equal(put, KEEP_PUT_INSERTED);
}

static void a_request_goes_from_its_name_to_a_group_with_routes_and_a_welcome(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_message_list list;
	keep_message question = {.chat_jid = JID, .content = KEEP_BYTES("hi")};
	keep_resolution found_route;
	keep_onboarding found;
	keep_put put;

	(void)state;
	begin(gateway, "telegram:42");
	OK(keep_gateway_start_onboarding(gateway, JID, KEEP_BYTES("ada"), KEEP_BYTES("telegram"),
					 &put, &err));
	assert_int_equal(put, KEEP_PUT_DUPLICATE);
	OK(keep_gateway_mark_prompted(gateway, JID, 1700000000000, &err));
	OK(keep_gateway_submit_name(gateway, JID, KEEP_BYTES("ada-1"), &err));
	OK(keep_gateway_resolve(gateway, &question, false, &memory, &found_route, &err));
	assert_false(found_route.matched);
	OK(keep_gateway_approve_onboarding(gateway, JID, KEEP_BYTES("root"), KEEP_BYTES("Hello"),
					   &err));
	OK(keep_gateway_get_onboarding(gateway, JID, &memory, &found, &err));
	assert_bytes_equal(found.status, KEEP_BYTES("approved"));
	assert_bytes_equal(found.decided_by, KEEP_BYTES("root"));
	assert_int_equal(found.prompted_at, 1700000000000);
	assert_true(found.has_decided_at);
	assert_string_equal(gateway_sql("SELECT folder || state FROM registered_groups"),
			    "ada-1active");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM routes WHERE target = 'ada-1' "
					"AND jid = 'telegram:42'"),
			    "3");
	OK(keep_gateway_new_messages(gateway, KEEP_BYTES("agent"), NULL, 0, 0, &memory, &list,
				     &err));
	OK(keep_gateway_resolve(gateway, &question, false, &memory, &found_route, &err));
	assert_true(found_route.matched);
	assert_bytes_equal(found_route.target, KEEP_BYTES("ada-1"));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].content, KEEP_BYTES("Hello"));
	assert_false(list.items[0].is_from_me);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void every_step_out_of_order_is_a_conflict_and_changes_nothing(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(keep_gateway_submit_name(gateway, JID, KEEP_BYTES("a"), &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_gateway_mark_prompted(gateway, JID, 0, &err), KEEP_NOT_FOUND);
	begin(gateway, "telegram:42");
	assert_int_equal(keep_gateway_approve_onboarding(gateway, JID, KEEP_BYTES("root"),
							 (keep_bytes){0}, &err),
			 KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "awaiting_name"));
	OK(keep_gateway_submit_name(gateway, JID, KEEP_BYTES("a"), &err));
	assert_int_equal(keep_gateway_submit_name(gateway, JID, KEEP_BYTES("b"), &err),
			 KEEP_CONFLICT);
	assert_int_equal(keep_gateway_mark_prompted(gateway, JID, 0, &err), KEEP_CONFLICT);
	OK(keep_gateway_reject_onboarding(gateway, JID, KEEP_BYTES("root"), &err));
	assert_int_equal(keep_gateway_reject_onboarding(gateway, JID, KEEP_BYTES("root"), &err),
			 KEEP_CONFLICT);
	assert_int_equal(keep_gateway_approve_onboarding(gateway, JID, KEEP_BYTES("root"),
							 (keep_bytes){0}, &err),
			 KEEP_CONFLICT);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM registered_groups"), "0");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM messages"), "0");
	keep_gateway_close(&gateway);
}

static void a_name_is_well_formed_and_unique_among_groups_and_open_requests(void **state)
{
	static const char *const bad[] = {"", "Ada", "a b", "a_b", "a/b", "..", "\xc3\xa9"};
	keep_gateway *gateway = gateway_fresh();
	keep_registered_group group = {.jid = KEEP_BYTES("web:x"), .folder = KEEP_BYTES("taken")};
	keep_error err = KEEP_ERROR_INIT;
	char longest[65];

	(void)state;
	memset(longest, 'a', 64);
	longest[64] = '\0';
	begin(gateway, "telegram:42");
	begin(gateway, "telegram:43");
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		assert_int_equal(
			keep_gateway_submit_name(gateway, JID, keep_bytes_of(bad[i]), &err),
			KEEP_INVALID);
	assert_int_equal(keep_gateway_submit_name(gateway, JID, keep_bytes_of(longest), &err),
			 KEEP_INVALID);
	OK(keep_gateway_put_group(gateway, &group, &err));
	assert_int_equal(keep_gateway_submit_name(gateway, JID, KEEP_BYTES("taken"), &err),
			 KEEP_CONFLICT);
	longest[63] = '\0';
	OK(keep_gateway_submit_name(gateway, JID, keep_bytes_of(longest), &err));
	assert_int_equal(keep_gateway_submit_name(gateway, KEEP_BYTES("telegram:43"),
						  keep_bytes_of(longest), &err),
			 KEEP_CONFLICT);
	OK(keep_gateway_reject_onboarding(gateway, JID, KEEP_BYTES("root"), &err));
	OK(keep_gateway_submit_name(gateway, KEEP_BYTES("telegram:43"), keep_bytes_of(longest),
				    &err));

	/* Somebody takes the name between the request and the approval: nothing of it happens. */
	group.jid = KEEP_BYTES("web:y");
	group.folder = keep_bytes_of(longest);
	OK(keep_gateway_put_group(gateway, &group, &err));
	assert_int_equal(keep_gateway_approve_onboarding(gateway, KEEP_BYTES("telegram:43"),
							 KEEP_BYTES("root"), (keep_bytes){0}, &err),
			 KEEP_CONFLICT);
	assert_string_equal(gateway_sql("SELECT status FROM onboarding WHERE jid = 'telegram:43'"),
			    "pending");
	keep_gateway_close(&gateway);
}

struct decider {
	keep_gateway *gateway;
	bool approves;
	keep_status status;
};

static void *decide(void *ctx)
{
	struct decider *decider = ctx;

	decider->status =
		decider->approves
			? keep_gateway_approve_onboarding(decider->gateway, JID, KEEP_BYTES("root"),
							  (keep_bytes){0}, NULL)
			: keep_gateway_reject_onboarding(decider->gateway, JID, KEEP_BYTES("root"),
							 NULL);
	return NULL;
}

static void two_who_decide_at_once_decide_once(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *other = gateway_again("onbod");
	struct decider deciders[2] = {{gateway, true, KEEP_OK}, {other, false, KEEP_OK}};
	pthread_t threads[2];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	begin(gateway, "telegram:42");
	OK(keep_gateway_submit_name(gateway, JID, KEEP_BYTES("a"), &err));
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, decide, &deciders[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal((deciders[0].status == KEEP_OK) + (deciders[1].status == KEEP_OK), 1);
	assert_int_equal(deciders[0].status + deciders[1].status, KEEP_CONFLICT);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM registered_groups"),
			    deciders[0].status == KEEP_OK ? "1" : "0");
	keep_gateway_close(&gateway);
	keep_gateway_close(&other);
}

static void requests_are_listed_oldest_first(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_onboarding_list list;

	(void)state;
	begin(gateway, "a:1");
	begin(gateway, "a:2");
	OK(keep_gateway_submit_name(gateway, KEEP_BYTES("a:1"), KEEP_BYTES("one"), &err));
	OK(keep_gateway_list_onboarding(gateway, (keep_bytes){0}, 0, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].jid, KEEP_BYTES("a:1"));
	OK(keep_gateway_list_onboarding(gateway, KEEP_BYTES("pending"), 0, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(keep_gateway_list_onboarding(gateway, KEEP_BYTES("undecided"), 0, &memory,
						      &list, &err),
			 KEEP_INVALID);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_goes_from_its_name_to_a_group_with_routes_and_a_welcome),
		cmocka_unit_test(every_step_out_of_order_is_a_conflict_and_changes_nothing),
		cmocka_unit_test(a_name_is_well_formed_and_unique_among_groups_and_open_requests),
		cmocka_unit_test(two_who_decide_at_once_decide_once),
		cmocka_unit_test(requests_are_listed_oldest_first),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
