/*
 * test_gateway_chats.c - contracts/gateway.md, "Tables" and "Messages": chats and their marks.
 *
 *     test_gateway_chats sqlite|postgres
 */
#include "gateway_fixture.h"

static keep_error err = KEEP_ERROR_INIT;
static keep_memory memory = KEEP_MEMORY_INIT;

static void end_with(keep_gateway **gateway)
{
	kp_clock_inject(NULL, NULL);
	keep_memory_release(&memory);
	keep_gateway_close(gateway);
	assert_nothing_lives();
}

static keep_chat get_chat(keep_gateway *gateway, const char *jid)
{
	keep_chat chat = {0};

	OK(keep_gateway_get_chat(gateway, keep_bytes_of(jid), &memory, &chat, &err));
	return chat;
}

static const char *join_jids(const keep_chat_list *list)
{
	static char text[4096];
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < list->count; i++)
		at += (size_t)snprintf(text + at, sizeof text - at, "%s%" KP_PRI, i ? " " : "",
				       KP_ARG(list->items[i].jid));
	return text;
}

static void put_timed(keep_gateway *gateway, const char *jid, const char *id, int64_t time_ms)
{
	keep_message message = {.chat_jid = keep_bytes_of(jid),
				.id = keep_bytes_of(id),
				.content = KEEP_BYTES("text"),
				.timestamp = time_ms};

	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
}

static void a_chat_is_made_and_renewed_and_what_is_absent_stays(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_chat chat = {.jid = KEEP_BYTES("telegram:1"), .name = KEEP_BYTES("Ada")}, found;

	(void)state;
	OK(keep_gateway_put_chat(gateway, &chat, &err));
	found = get_chat(gateway, "telegram:1");
	assert_bytes_equal(found.name, KEEP_BYTES("Ada"));
	assert_bytes_equal(found.channel, KEEP_BYTES("telegram"));
	assert_false(found.is_group || found.errored || found.has_last_message_at);
	assert_int_equal(found.last_seq + found.last_input_seq, 0);
	assert_null(found.sticky_group.data);
	chat = (keep_chat){.jid = KEEP_BYTES("telegram:1"),
			   .channel = KEEP_BYTES("tg"),
			   .is_group = true,
			   .errored = true,
			   .last_seq = 9};
	OK(keep_gateway_put_chat(gateway, &chat, &err));
	found = get_chat(gateway, "telegram:1");
	assert_bytes_equal(found.name, KEEP_BYTES("Ada"));
	assert_bytes_equal(found.channel, KEEP_BYTES("tg"));
	assert_true(found.is_group);
	assert_false(found.errored);
	assert_int_equal(found.last_seq, 0);
	chat = (keep_chat){.jid = KEEP_BYTES("telegram:1"), .name = KEEP_BYTES("")};
	OK(keep_gateway_put_chat(gateway, &chat, &err));
	found = get_chat(gateway, "telegram:1");
	assert_true(found.name.data && found.name.len == 0);
	assert_false(found.is_group);
	chat = (keep_chat){.jid = KEEP_BYTES("plain")};
	OK(keep_gateway_put_chat(gateway, &chat, &err));
	assert_int_equal(get_chat(gateway, "plain").channel.len, 0);
	end_with(&gateway);
}

static void renewing_a_chat_leaves_its_numbers_and_marks_alone(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_chat chat = {.jid = KEEP_BYTES("web:1"), .name = KEEP_BYTES("new")}, found;

	(void)state;
	put_timed(gateway, "web:1", "1", 5000);
	put_timed(gateway, "web:1", "2", 4000);
	OK(keep_gateway_mark_errored(gateway, chat.jid, &err));
	OK(keep_gateway_set_sticky_topic(gateway, chat.jid, KEEP_BYTES("#x"), &err));
	OK(keep_gateway_put_chat(gateway, &chat, &err));
	found = get_chat(gateway, "web:1");
	assert_int_equal(found.last_seq, 2);
	assert_int_equal(found.last_input_seq, 2);
	assert_true(found.has_last_message_at && found.last_message_at == 5000);
	assert_true(found.errored);
	assert_bytes_equal(found.sticky_topic, KEEP_BYTES("#x"));
	assert_bytes_equal(found.name, KEEP_BYTES("new"));
	end_with(&gateway);
}

static void a_chat_that_is_not_there_is_not_found(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_chat found = {.last_seq = 77};

	(void)state;
	assert_int_equal(keep_gateway_get_chat(gateway, KEEP_BYTES("no:1"), &memory, &found, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(found.last_seq, 77);
	assert_int_equal(keep_gateway_clear_errored(gateway, KEEP_BYTES("no:1"), &err),
			 KEEP_NOT_FOUND);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM chats"), "0");
	end_with(&gateway);
}

static void chats_are_listed_page_by_page(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_chat_list list = {0};
	keep_bytes after = {0};
	int count = 0;

	(void)state;
	for (int i = 0; i < 105; i++) {
		char jid[16];

		snprintf(jid, sizeof jid, "a:%03d", i * 37 % 105);
		OK(keep_gateway_put_chat(gateway, &(keep_chat){.jid = keep_bytes_of(jid)}, &err));
	}
	OK(keep_gateway_list_chats(gateway, after, 0, &memory, &list, &err));
	assert_int_equal(list.count, 100);
	do {
		OK(keep_gateway_list_chats(gateway, after, 10, &memory, &list, &err));
		for (size_t i = 0; i < list.count; i++) {
			char jid[16];

			snprintf(jid, sizeof jid, "a:%03d", count++);
			assert_bytes_equal(list.items[i].jid, keep_bytes_of(jid));
			after = list.items[i].jid;
		}
	} while (list.count);
	assert_int_equal(count, 105);
	assert_int_equal(keep_gateway_list_chats(gateway, after, 1001, &memory, &list, &err),
			 KEEP_INVALID);
	end_with(&gateway);
}

static void active_web_chats_are_those_with_newer_messages_newest_first(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_chat_list list = {0};

	(void)state;
	put_timed(gateway, "web:old", "1", 1000);
	put_timed(gateway, "web:b", "1", 3000);
	put_timed(gateway, "web:a", "1", 2001);
	put_timed(gateway, "web:at", "1", 2000);
	put_timed(gateway, "telegram:1", "1", 9000);
	put_timed(gateway, "WEB:1", "1", 9000);
	put_timed(gateway, "web", "1", 9000);
	put_timed(gateway, "web:future", "1", kp_clock_ms() + 3600000);
	OK(keep_gateway_put_chat(gateway, &(keep_chat){.jid = KEEP_BYTES("web:quiet")}, &err));
	OK(keep_gateway_active_web_jids(gateway, 2000, &memory, &list, &err));
	assert_string_equal(join_jids(&list), "web:b web:a");
	OK(keep_gateway_active_web_jids(gateway, 0, &memory, &list, &err));
	assert_string_equal(join_jids(&list), "web:b web:a web:at web:old");
	put_timed(gateway, "web:old", "2", 4000);
	put_timed(gateway, "web:b", "2", 10); /* late: it is not newer for that */
	OK(keep_gateway_active_web_jids(gateway, 2000, &memory, &list, &err));
	assert_string_equal(join_jids(&list), "web:old web:b web:a");
	OK(keep_gateway_active_web_jids(gateway, 4000, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	assert_int_equal(keep_gateway_active_web_jids(gateway, INT64_MIN, &memory, &list, &err),
			 KEEP_INVALID);
	end_with(&gateway);
}

static void at_most_1000_active_web_chats_are_told(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_chat_list list = {0};
	char sql[300];

	(void)state;
	snprintf(sql, sizeof sql,
		 "INSERT INTO chats (jid, last_message_at) SELECT 'web:' || n, %s FROM (WITH "
		 "RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1005) "
		 "SELECT n FROM c) AS numbers",
		 gateway_is_file() ? "'2020-01-01T00:00:00.000Z'"
				   : "CAST('2020-01-01T00:00:00Z' AS timestamptz)");
	gateway_sql(sql);
	OK(keep_gateway_active_web_jids(gateway, 0, &memory, &list, &err));
	assert_int_equal(list.count, 1000);
	end_with(&gateway);
}

static void a_failure_marks_a_chat_until_the_next_success_and_hides_nothing(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_chat_list list = {0};
	keep_message_list messages = {0};

	(void)state;
	put_timed(gateway, "b:1", "1", 1000);
	OK(keep_gateway_mark_errored(gateway, KEEP_BYTES("b:1"), &err));
	OK(keep_gateway_mark_errored(gateway, KEEP_BYTES("b:1"), &err));
	OK(keep_gateway_mark_errored(gateway, KEEP_BYTES("a:new"), &err)); /* made */
	assert_bytes_equal(get_chat(gateway, "a:new").channel, KEEP_BYTES("a"));
	put_timed(gateway, "c:1", "1", 1000);
	OK(keep_gateway_errored_chats(gateway, 0, &memory, &list, &err));
	assert_string_equal(join_jids(&list), "a:new b:1");
	OK(keep_gateway_errored_chats(gateway, 1, &memory, &list, &err));
	assert_string_equal(join_jids(&list), "a:new");
	put_timed(gateway, "b:1", "2", 2000);
	assert_true(get_chat(gateway, "b:1").errored);
	OK(keep_gateway_new_messages(gateway, KEEP_BYTES("router"), NULL, 0, 0, &memory, &messages,
				     &err));
	assert_int_equal(messages.count, 3);
	OK(keep_gateway_clear_errored(gateway, KEEP_BYTES("b:1"), &err));
	OK(keep_gateway_clear_errored(gateway, KEEP_BYTES("b:1"), &err));
	OK(keep_gateway_errored_chats(gateway, 0, &memory, &list, &err));
	assert_string_equal(join_jids(&list), "a:new");
	assert_int_equal(keep_gateway_errored_chats(gateway, 1001, &memory, &list, &err),
			 KEEP_INVALID);
	end_with(&gateway);
}

static void a_chat_is_pinned_and_unpinned(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_bytes jid = KEEP_BYTES("a:1");

	(void)state;
	OK(keep_gateway_set_sticky_group(gateway, jid, KEEP_BYTES("main/child"), &err)); /* made */
	OK(keep_gateway_set_sticky_topic(gateway, jid, KEEP_BYTES("#plans"), &err));
	assert_bytes_equal(get_chat(gateway, "a:1").sticky_group, KEEP_BYTES("main/child"));
	assert_bytes_equal(get_chat(gateway, "a:1").sticky_topic, KEEP_BYTES("#plans"));
	OK(keep_gateway_set_sticky_group(gateway, jid, KEEP_BYTES(""), &err));
	OK(keep_gateway_set_sticky_topic(gateway, jid, (keep_bytes){0}, &err));
	assert_null(get_chat(gateway, "a:1").sticky_group.data);
	assert_null(get_chat(gateway, "a:1").sticky_topic.data);
	assert_int_equal(keep_gateway_set_sticky_group(gateway, jid, KEEP_BYTES("../up"), &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_set_sticky_topic(gateway, jid, KEEP_BYTES("\xff"), &err),
			 KEEP_INVALID);
	OK(keep_gateway_set_sticky_topic(gateway, KEEP_BYTES("b:1"), KEEP_BYTES("#x"), &err));
	assert_bytes_equal(get_chat(gateway, "b:1").sticky_topic, KEEP_BYTES("#x"));
	end_with(&gateway);
}

/* However a chat comes to be, every consumer reads it from its first message. */
static void a_chat_made_here_is_read_by_all_consumers(void **state)
{
	static const char *const made[] = {"put:1", "mark:1", "group:1", "topic:1"};
	keep_gateway *gateway = gateway_fresh();
	keep_message_list list = {0};
	keep_bytes consumers[] = {KEEP_BYTES("router"), KEEP_BYTES("agent")};
	int64_t seq;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(consumers); i++)
		OK(keep_gateway_get_cursor(gateway, consumers[i], KEEP_BYTES("x"), &seq, &err));
	OK(keep_gateway_put_chat(gateway, &(keep_chat){.jid = keep_bytes_of(made[0])}, &err));
	OK(keep_gateway_mark_errored(gateway, keep_bytes_of(made[1]), &err));
	OK(keep_gateway_set_sticky_group(gateway, keep_bytes_of(made[2]), KEEP_BYTES("m"), &err));
	OK(keep_gateway_set_sticky_topic(gateway, keep_bytes_of(made[3]), KEEP_BYTES("t"), &err));
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM cursors"), "8");
	for (size_t i = 0; i < KP_COUNT(made); i++)
		gateway_put(gateway, made[i], "1", "text");
	for (size_t i = 0; i < KP_COUNT(consumers); i++) {
		OK(keep_gateway_new_messages(gateway, consumers[i], NULL, 0, 0, &memory, &list,
					     &err));
		assert_int_equal(list.count, KP_COUNT(made));
	}
	/* To renew a chat with input takes nothing from anybody. */
	OK(keep_gateway_put_chat(gateway, &(keep_chat){.jid = keep_bytes_of(made[0])}, &err));
	OK(keep_gateway_new_messages(gateway, consumers[0], NULL, 0, 0, &memory, &list, &err));
	assert_int_equal(list.count, KP_COUNT(made));
	end_with(&gateway);
}

static void wrong_inputs_and_read_only_gateways_change_nothing(void **state)
{
	static const keep_bytes bad[] = {{NULL, 0}, {"", 0}, {"a\tb", 3}, {"a\0", 2}, {"\xff", 1}};
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	char *longest = kp_alloc_zero(1026);
	keep_chat chat = {.jid = KEEP_BYTES("a:1")};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		keep_chat wrong = {.jid = bad[i]}, out;

		assert_int_equal(keep_gateway_put_chat(gateway, &wrong, &err), KEEP_INVALID);
		assert_int_equal(keep_gateway_mark_errored(gateway, bad[i], &err), KEEP_INVALID);
		assert_int_equal(keep_gateway_clear_errored(gateway, bad[i], &err), KEEP_INVALID);
		assert_int_equal(keep_gateway_get_chat(gateway, bad[i], &memory, &out, &err),
				 KEEP_INVALID);
		assert_int_equal(keep_gateway_set_sticky_group(gateway, bad[i], chat.jid, &err),
				 KEEP_INVALID);
		assert_int_equal(keep_gateway_set_sticky_topic(gateway, bad[i], chat.jid, &err),
				 KEEP_INVALID);
	}
	memset(longest, 'x', 1025);
	chat.name = keep_bytes_of(longest);
	assert_int_equal(keep_gateway_put_chat(gateway, &chat, &err), KEEP_INVALID);
	chat.name.len = 1024;
	OK(keep_gateway_put_chat(gateway, &chat, &err));
	chat.channel = KEEP_BYTES("a\0b");
	assert_int_equal(keep_gateway_put_chat(gateway, &chat, &err), KEEP_INVALID);
	kp_free(longest);
	options.read_only = true;
	OK(gateway_open_with(&options, &reader, &err));
	chat = (keep_chat){.jid = KEEP_BYTES("b:1")};
	assert_int_equal(keep_gateway_put_chat(reader, &chat, &err), KEEP_DENIED);
	assert_int_equal(keep_gateway_mark_errored(reader, chat.jid, &err), KEEP_DENIED);
	assert_int_equal(keep_gateway_clear_errored(reader, chat.jid, &err), KEEP_DENIED);
	assert_int_equal(get_chat(reader, "a:1").name.len, 1024);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM chats"), "1");
	keep_gateway_close(&reader);
	end_with(&gateway);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chat_is_made_and_renewed_and_what_is_absent_stays),
		cmocka_unit_test(renewing_a_chat_leaves_its_numbers_and_marks_alone),
		cmocka_unit_test(a_chat_that_is_not_there_is_not_found),
		cmocka_unit_test(chats_are_listed_page_by_page),
		cmocka_unit_test(active_web_chats_are_those_with_newer_messages_newest_first),
		cmocka_unit_test(at_most_1000_active_web_chats_are_told),
		cmocka_unit_test(a_failure_marks_a_chat_until_the_next_success_and_hides_nothing),
		cmocka_unit_test(a_chat_is_pinned_and_unpinned),
		cmocka_unit_test(a_chat_made_here_is_read_by_all_consumers),
		cmocka_unit_test(wrong_inputs_and_read_only_gateways_change_nothing),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
