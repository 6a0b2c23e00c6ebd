/*
 * test_gateway_messages.c - contracts/gateway.md, "Messages": storing them, and reading a chat.
 *
 *     test_gateway_messages sqlite|postgres
 */
#include "gateway_fixture.h"

static void a_message_is_stored_once_and_its_replay_is_a_duplicate(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_message message = {.chat_jid = KEEP_BYTES("telegram:42"),
				.id = KEEP_BYTES("7"),
				.sender = KEEP_BYTES("ada"),
				.content = KEEP_BYTES("hello")};
	keep_put_result result;

	(void)state;
	OK(keep_gateway_put_message(gateway, &message, NULL, &result, &err));
	assert_int_equal(result.put, KEEP_PUT_INSERTED);
	assert_int_equal(result.seq, 1);
	OK(keep_gateway_put_message(gateway, &message, NULL, &result, &err));
	assert_int_equal(result.put, KEEP_PUT_DUPLICATE);
	assert_int_equal(result.seq, 1);
	message.content = KEEP_BYTES("hello!");
	assert_int_equal(keep_gateway_put_message(gateway, &message, NULL, &result, &err),
			 KEEP_CONFLICT);
	assert_int_equal(result.put, KEEP_PUT_CONFLICT);
	message.chat_jid = KEEP_BYTES("telegram:43");
	OK(keep_gateway_put_message(gateway, &message, NULL, &result, &err));
	assert_int_equal(result.put, KEEP_PUT_INSERTED);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void history_pages_backwards_and_since_goes_forward(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;
	char id[8];

	(void)state;
	for (int i = 1; i <= 9; i++) {
		snprintf(id, sizeof id, "%d", i);
		assert_int_equal(gateway_put(gateway, "web:a", id, "text"), i);
	}
	OK(keep_gateway_history(gateway, KEEP_BYTES("web:a"), 0, 3, &memory, &list, &err));
	assert_int_equal(list.count, 3);
	assert_int_equal(list.items[0].seq, 9);
	OK(keep_gateway_history(gateway, KEEP_BYTES("web:a"), 7, 3, &memory, &list, &err));
	assert_int_equal(list.items[2].seq, 4);
	OK(keep_gateway_messages_since(gateway, KEEP_BYTES("web:a"), 5, 0, 2, &memory, &list,
				       &err));
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].seq, 6);
	assert_string_equal(gateway_sql("SELECT last_seq || '' FROM chats WHERE jid = 'web:a'"), "9");
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_is_stored_once_and_its_replay_is_a_duplicate),
		cmocka_unit_test(history_pages_backwards_and_since_goes_forward),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
