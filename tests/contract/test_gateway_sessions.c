/*
 * test_gateway_sessions.c - contracts/gateway.md, "Groups, sessions, state": an agent's sessions,
 * the log of their runs, and a router's state.
 *
 *     test_gateway_sessions sqlite|postgres
 */
#include "gateway_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

static const keep_bytes absent;

static void a_session_is_set_replaced_and_deleted(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_session session;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes folder = KEEP_BYTES("world/a");
	bool removed = false;

	(void)state;
	assert_int_equal(keep_gateway_get_session(gateway, folder, absent, &memory, &session, &err),
			 KEEP_NOT_FOUND);
	OK(keep_gateway_set_session(gateway, folder, absent, KEEP_BYTES("s1"), &err));
	OK(keep_gateway_set_session(gateway, folder, KEEP_BYTES("#t"), KEEP_BYTES("s2"), &err));
	OK(keep_gateway_get_session(gateway, folder, KEEP_BYTES(""), &memory, &session, &err));
	assert_bytes_equal(session.session_id, KEEP_BYTES("s1"));
	assert_bytes_equal(session.topic, KEEP_BYTES(""));
	assert_true(session.updated_at > 0);
	OK(keep_gateway_set_session(gateway, folder, KEEP_BYTES(""), KEEP_BYTES("s3"), &err));
	OK(keep_gateway_get_session(gateway, folder, absent, &memory, &session, &err));
	assert_bytes_equal(session.session_id, KEEP_BYTES("s3"));
	OK(keep_gateway_get_session(gateway, folder, KEEP_BYTES("#t"), &memory, &session, &err));
	assert_bytes_equal(session.session_id, KEEP_BYTES("s2"));
	OK(keep_gateway_delete_session(gateway, folder, absent, &removed, &err));
	assert_true(removed);
	OK(keep_gateway_delete_session(gateway, folder, absent, &removed, &err));
	assert_false(removed);
	OK(keep_gateway_delete_session(gateway, folder, KEEP_BYTES("#t"), NULL, &err));
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM sessions"), "0");
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void the_sessions_of_a_folder_are_listed_by_topic_in_pages(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_session_list list;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes folder = KEEP_BYTES("a");

	(void)state;
	OK(keep_gateway_set_session(gateway, folder, KEEP_BYTES("b"), KEEP_BYTES("2"), &err));
	OK(keep_gateway_set_session(gateway, folder, absent, KEEP_BYTES("0"), &err));
	OK(keep_gateway_set_session(gateway, folder, KEEP_BYTES("a"), KEEP_BYTES("1"), &err));
	OK(keep_gateway_set_session(gateway, KEEP_BYTES("a/b"), absent, KEEP_BYTES("x"), &err));
	OK(keep_gateway_list_sessions(gateway, folder, absent, 2, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].topic, KEEP_BYTES(""));
	assert_bytes_equal(list.items[1].topic, KEEP_BYTES("a"));
	OK(keep_gateway_list_sessions(gateway, folder, list.items[1].topic, 0, &memory, &list,
				      &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].session_id, KEEP_BYTES("2"));
	OK(keep_gateway_list_sessions(gateway, folder, KEEP_BYTES(""), 0, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	OK(keep_gateway_list_sessions(gateway, KEEP_BYTES("none"), absent, 0, &memory, &list,
				      &err));
	assert_int_equal(list.count, 0);
	assert_int_equal(
		keep_gateway_list_sessions(gateway, folder, absent, 1001, &memory, &list, &err),
		KEEP_INVALID);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_run_is_logged_and_ends_once(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_run_list list;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes folder = KEEP_BYTES("a");
	int64_t id = 0;

	(void)state;
	OK(keep_gateway_session_started(gateway, folder, KEEP_BYTES("t"), KEEP_BYTES("s"), 5000,
					&id, &err));
	assert_true(id > 0);
	OK(keep_gateway_recent_sessions(gateway, folder, 0, 0, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(list.items[0].id, id);
	assert_int_equal(list.items[0].started_at, 5000);
	assert_false(list.items[0].has_ended_at);
	assert_null(list.items[0].result.data);
	OK(keep_gateway_session_ended(gateway, id, 9000, KEEP_BYTES("ok"), absent, 3, &err));
	/* The same again, with its time or without one. */
	OK(keep_gateway_session_ended(gateway, id, 9000, KEEP_BYTES("ok"), absent, 3, &err));
	OK(keep_gateway_session_ended(gateway, id, 0, KEEP_BYTES("ok"), absent, 3, &err));
	/* Otherwise, in each part. */
	assert_int_equal(
		keep_gateway_session_ended(gateway, id, 9001, KEEP_BYTES("ok"), absent, 3, &err),
		KEEP_CONFLICT);
	assert_int_equal(
		keep_gateway_session_ended(gateway, id, 0, KEEP_BYTES("no"), absent, 3, &err),
		KEEP_CONFLICT);
	assert_int_equal(keep_gateway_session_ended(gateway, id, 0, KEEP_BYTES("ok"),
						    KEEP_BYTES(""), 3, &err),
			 KEEP_CONFLICT);
	assert_int_equal(
		keep_gateway_session_ended(gateway, id, 0, KEEP_BYTES("ok"), absent, 4, &err),
		KEEP_CONFLICT);
	OK(keep_gateway_recent_sessions(gateway, folder, 0, 0, &memory, &list, &err));
	assert_int_equal(list.items[0].ended_at, 9000);
	assert_bytes_equal(list.items[0].result, KEEP_BYTES("ok"));
	assert_null(list.items[0].error.data);
	assert_int_equal(list.items[0].message_count, 3);
	assert_bytes_equal(list.items[0].topic, KEEP_BYTES("t"));
	assert_bytes_equal(list.items[0].session_id, KEEP_BYTES("s"));
	assert_int_equal(
		keep_gateway_session_ended(gateway, id + 1, 0, absent, KEEP_BYTES("why"), 0, &err),
		KEEP_NOT_FOUND);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_failed_run_keeps_its_error_and_a_run_may_begin_without_a_session(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_run_list list;
	keep_error err = KEEP_ERROR_INIT;
	char *why = malloc(KEEP_GATEWAY_CONTENT_MAX + 1);
	int64_t id = 0;

	(void)state;
	memset(why, 'e', KEEP_GATEWAY_CONTENT_MAX + 1);
	OK(keep_gateway_session_started(gateway, KEEP_BYTES("a"), absent, absent, 0, &id, &err));
	assert_int_equal(keep_gateway_session_ended(gateway, id, 0, absent,
						    (keep_bytes){why, KEEP_GATEWAY_CONTENT_MAX + 1},
						    0, &err),
			 KEEP_FULL);
	OK(keep_gateway_session_ended(gateway, id, 0, absent,
				      (keep_bytes){why, KEEP_GATEWAY_CONTENT_MAX}, 0, &err));
	OK(keep_gateway_recent_sessions(gateway, KEEP_BYTES("a"), 0, 1, &memory, &list, &err));
	assert_int_equal(list.items[0].error.len, KEEP_GATEWAY_CONTENT_MAX);
	assert_true(list.items[0].started_at > 0);
	assert_true(list.items[0].ended_at >= list.items[0].started_at);
	assert_bytes_equal(list.items[0].session_id, KEEP_BYTES(""));
	free(why);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void recent_runs_page_backwards_in_their_folder(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_run_list list;
	keep_error err = KEEP_ERROR_INIT;
	int64_t ids[7];

	(void)state;
	for (int i = 0; i < 7; i++)
		OK(keep_gateway_session_started(gateway, i % 2 ? KEEP_BYTES("b") : KEEP_BYTES("a"),
						absent, KEEP_BYTES("s"), 0, &ids[i], &err));
	OK(keep_gateway_recent_sessions(gateway, KEEP_BYTES("a"), 0, 3, &memory, &list, &err));
	assert_int_equal(list.count, 3);
	assert_int_equal(list.items[0].id, ids[6]);
	assert_int_equal(list.items[2].id, ids[2]);
	OK(keep_gateway_recent_sessions(gateway, KEEP_BYTES("a"), ids[2], 3, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(list.items[0].id, ids[0]);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

struct finisher {
	keep_gateway *gateway;
	int64_t id;
	atomic_int ended, refused, number;
};

static void *finish(void *ctx)
{
	struct finisher *finisher = ctx;
	char result[16];
	keep_status status;

	snprintf(result, sizeof result, "r%d", finisher->number++);
	status = keep_gateway_session_ended(finisher->gateway, finisher->id, 0,
					    keep_bytes_of(result), (keep_bytes){0}, 0, NULL);
	if (status == KEEP_OK)
		finisher->ended++;
	else if (status == KEEP_CONFLICT)
		finisher->refused++;
	return NULL;
}

static void of_many_ends_at_once_one_is_stored(void **state)
{
	struct finisher finisher = {.gateway = gateway_fresh()};
	pthread_t threads[8];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_gateway_session_started(finisher.gateway, KEEP_BYTES("a"), absent, KEEP_BYTES("s"),
					0, &finisher.id, &err));
	for (size_t i = 0; i < KP_COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, finish, &finisher), 0);
	for (size_t i = 0; i < KP_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(finisher.ended, 1);
	assert_int_equal(finisher.refused, 7);
	keep_gateway_close(&finisher.gateway);
	assert_nothing_lives();
}

static void state_is_set_replaced_and_read(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char *large = malloc(KEEP_GATEWAY_CONTENT_MAX + 1);

	(void)state;
	memset(large, 'v', KEEP_GATEWAY_CONTENT_MAX + 1);
	assert_int_equal(keep_gateway_get_state(gateway, KEEP_BYTES("lastTimestamp"), &value, &err),
			 KEEP_NOT_FOUND);
	OK(keep_gateway_set_state(gateway, KEEP_BYTES("lastTimestamp"), KEEP_BYTES("1"), &err));
	OK(keep_gateway_set_state(gateway, KEEP_BYTES("lastTimestamp"), KEEP_BYTES(""), &err));
	OK(keep_gateway_get_state(gateway, KEEP_BYTES("lastTimestamp"), &value, &err));
	assert_bytes_equal(kp_buffer_bytes(&value), KEEP_BYTES(""));
	OK(keep_gateway_set_state(gateway, KEEP_BYTES("k"),
				  (keep_bytes){large, KEEP_GATEWAY_CONTENT_MAX}, &err));
	OK(keep_gateway_get_state(gateway, KEEP_BYTES("k"), &value, &err));
	assert_int_equal(value.len, KEEP_GATEWAY_CONTENT_MAX);
	assert_int_equal(keep_gateway_set_state(gateway, KEEP_BYTES("k"),
						(keep_bytes){large, KEEP_GATEWAY_CONTENT_MAX + 1},
						&err),
			 KEEP_FULL);
	assert_int_equal(keep_gateway_set_state(gateway, KEEP_BYTES("k"), absent, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_set_state(gateway, KEEP_BYTES(""), KEEP_BYTES("v"), &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_set_state(gateway, KEEP_BYTES("k"), KEEP_BYTES("\xff"), &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_get_state(gateway, KEEP_BYTES(""), &value, &err),
			 KEEP_INVALID);
	free(large);
	keep_buffer_release(&value);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void bad_inputs_are_refused_and_named(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_session session;
	keep_agent_run_list list;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes folder = KEEP_BYTES("a"), bad = KEEP_BYTES("../a"), id = KEEP_BYTES("s");
	int64_t run;

	(void)state;
	assert_int_equal(keep_gateway_set_session(gateway, bad, absent, id, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "group_folder"));
	assert_int_equal(keep_gateway_set_session(gateway, folder, KEEP_BYTES("\xff"), id, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "topic"));
	assert_int_equal(keep_gateway_set_session(gateway, folder, absent, KEEP_BYTES(""), &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "session_id"));
	assert_int_equal(keep_gateway_get_session(gateway, bad, absent, &memory, &session, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_delete_session(gateway, bad, absent, NULL, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_session_started(gateway, bad, absent, id, 0, &run, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_gateway_session_started(gateway, folder, absent, id, INT64_MAX, &run, &err),
		KEEP_INVALID);
	assert_int_equal(keep_gateway_session_ended(gateway, 1, 0, id, absent, -1, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_session_ended(gateway, 1, INT64_MAX, id, absent, 0, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_gateway_recent_sessions(gateway, folder, 0, 1001, &memory, &list, &err),
		KEEP_INVALID);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_is_set_replaced_and_deleted),
		cmocka_unit_test(the_sessions_of_a_folder_are_listed_by_topic_in_pages),
		cmocka_unit_test(a_run_is_logged_and_ends_once),
		cmocka_unit_test(
			a_failed_run_keeps_its_error_and_a_run_may_begin_without_a_session),
		cmocka_unit_test(recent_runs_page_backwards_in_their_folder),
		cmocka_unit_test(of_many_ends_at_once_one_is_stored),
		cmocka_unit_test(state_is_set_replaced_and_read),
		cmocka_unit_test(bad_inputs_are_refused_and_named),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
