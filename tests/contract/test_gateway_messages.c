/*
 * test_gateway_messages.c - contracts/gateway.md, "Messages": storing them, and reading a chat.
 *
 *     test_gateway_messages sqlite|postgres
 *     test_gateway_messages <url> <name> <count>      a process that puts so many into web:all
 */
#include "gateway_fixture.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOW INT64_C(1790000000000)

static const char *own_program;
static int64_t clock_now;

static int64_t tell_now(void *ctx)
{
	(void)ctx;
	return clock_now;
}

static keep_gateway *open_at_now(void)
{
	clock_now = NOW;
	kp_clock_inject(tell_now, NULL);
	return gateway_fresh();
}

static void close_all(keep_gateway *gateway, keep_memory *memory)
{
	if (memory)
		keep_memory_release(memory);
	keep_gateway_close(&gateway);
	kp_clock_inject(NULL, NULL);
	assert_nothing_lives();
}

static keep_message simple(const char *jid, const char *id)
{
	return (keep_message){.chat_jid = keep_bytes_of(jid),
			      .id = keep_bytes_of(id),
			      .sender = KEEP_BYTES("ada"),
			      .content = KEEP_BYTES("hello")};
}

static keep_message look(keep_gateway *gateway, const char *jid, const char *id,
			 keep_memory *memory)
{
	keep_message message = {0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_get_message(gateway, keep_bytes_of(jid), keep_bytes_of(id), memory,
				    &message, &err));
	return message;
}

/* ---------------------------------------------------------------- identity */

static void a_message_is_stored_once_and_its_replay_is_a_duplicate(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_message message = simple("telegram:42", "7");
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
	assert_int_equal(result.seq, 1);
	assert_non_null(strstr(err.message, "telegram:42"));
	assert_string_equal(gateway_sql("SELECT content FROM messages"), "hello");
	/* Platforms number per chat: the same id elsewhere is another message. */
	message.chat_jid = KEEP_BYTES("telegram:43");
	OK(keep_gateway_put_message(gateway, &message, NULL, &result, &err));
	assert_int_equal(result.put, KEEP_PUT_INSERTED);
	assert_int_equal(result.seq, 1);
	/* Nobody has to ask. */
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	assert_string_equal(gateway_sql("SELECT last_seq || '' FROM chats "
					"WHERE jid = 'telegram:42'"),
			    "1");
	assert_string_equal(keep_put_name(KEEP_PUT_INSERTED), "inserted");
	assert_string_equal(keep_put_name(KEEP_PUT_DUPLICATE), "duplicate");
	assert_string_equal(keep_put_name(KEEP_PUT_CONFLICT), "conflict");
	close_all(gateway, NULL);
}

static void any_field_but_source_and_sender_name_makes_it_another_message(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_error err = KEEP_ERROR_INIT;
	keep_message message = simple("web:a", "1"), other;
	keep_put_result result;
	keep_bytes *const fields[] = {&other.sender,      &other.content,     &other.verb,
				      &other.topic,       &other.reply_to_id, &other.forwarded_from,
				      &other.attachments, &other.source,      &other.sender_name};
	enum { DIFFERS = 7 }; /* those before source */

	(void)state;
	message.timestamp = NOW - 5;
	message.verb = KEEP_BYTES("reply");
	message.topic = KEEP_BYTES("t");
	message.reply_to_id = KEEP_BYTES("0");
	message.forwarded_from = KEEP_BYTES("bob");
	message.attachments = KEEP_BYTES("[]");
	OK(keep_gateway_put_message(gateway, &message, NULL, &result, &err));
	for (size_t i = 0; i < KP_COUNT(fields); i++) {
		other = message;
		*fields[i] = KEEP_BYTES("0");
		if (fields[i] == &other.reply_to_id)
			other.reply_to_id = (keep_bytes){0};
		assert_int_equal(keep_gateway_put_message(gateway, &other, NULL, &result, &err),
				 i < DIFFERS ? KEEP_CONFLICT : KEEP_OK);
		assert_int_equal(result.put, i < DIFFERS ? KEEP_PUT_CONFLICT : KEEP_PUT_DUPLICATE);
	}
	other = message;
	other.timestamp = NOW - 6;
	assert_int_equal(keep_gateway_put_message(gateway, &other, NULL, &result, &err),
			 KEEP_CONFLICT);
	other.timestamp = 0; /* "now" is no claim about when it was sent */
	OK(keep_gateway_put_message(gateway, &other, NULL, &result, &err));
	assert_int_equal(result.put, KEEP_PUT_DUPLICATE);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM messages"), "1");
	close_all(gateway, NULL);
}

static void absent_and_empty_are_two_things_where_a_column_may_be_absent(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message message = simple("web:a", "1"), found;

	(void)state;
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	found = look(gateway, "web:a", "1", &memory);
	assert_null(found.reply_to_id.data);
	assert_null(found.forwarded_from.data);
	assert_null(found.attachments.data);
	assert_non_null(found.topic.data);
	assert_int_equal(found.topic.len, 0);
	message.topic = KEEP_BYTES(""); /* its default */
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	message.reply_to_id = KEEP_BYTES("");
	assert_int_equal(keep_gateway_put_message(gateway, &message, NULL, NULL, &err),
			 KEEP_CONFLICT);
	message.id = KEEP_BYTES("2");
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	found = look(gateway, "web:a", "2", &memory);
	assert_non_null(found.reply_to_id.data);
	assert_int_equal(found.reply_to_id.len, 0);
	close_all(gateway, &memory);
}

/* ---------------------------------------------------------------- fields and limits */

static void every_field_comes_back_and_what_is_absent_has_its_default(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message message = {.chat_jid = KEEP_BYTES("telegram:42"),
				.id = KEEP_BYTES("1"),
				.content = KEEP_BYTES("")};
	keep_message found;

	(void)state;
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	found = look(gateway, "telegram:42", "1", &memory);
	assert_bytes_equal(found.verb, KEEP_BYTES("message"));
	assert_bytes_equal(found.source, KEEP_BYTES("telegram"));
	assert_bytes_equal(found.sender, KEEP_BYTES(""));
	assert_bytes_equal(found.sender_name, KEEP_BYTES(""));
	assert_bytes_equal(found.group_folder, KEEP_BYTES(""));
	assert_bytes_equal(found.status, KEEP_BYTES("received"));
	assert_int_equal(found.timestamp, NOW);
	assert_int_equal(found.received_at, NOW);
	assert_int_equal(found.seq, 1);
	assert_false(found.is_from_me || found.is_future || found.has_next_attempt_at);
	message = (keep_message){.chat_jid = KEEP_BYTES("no colon"),
				 .id = KEEP_BYTES("\xf0\x9f\x90\x8b"),
				 .sender = KEEP_BYTES("123@s"),
				 .content = KEEP_BYTES("two\nlines\tand \xe2\x82\xac"),
				 .timestamp = NOW - 1,
				 .verb = KEEP_BYTES("join"),
				 .sender_name = KEEP_BYTES("Ada"),
				 .topic = KEEP_BYTES("topic"),
				 .reply_to_id = KEEP_BYTES("0"),
				 .forwarded_from = KEEP_BYTES("bob"),
				 .attachments = KEEP_BYTES("{ \"b\" : 1.0,\n \"a\":[ ] }"),
				 /* The store's own to say, all of it: */
				 .is_from_me = true,
				 .seq = 77,
				 .status = KEEP_BYTES("delivered"),
				 .group_folder = KEEP_BYTES("x"),
				 .platform_id = KEEP_BYTES("p"),
				 .attempts = 4};
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	found = look(gateway, "no colon", "\xf0\x9f\x90\x8b", &memory);
	assert_bytes_equal(found.content, message.content);
	assert_bytes_equal(found.sender, message.sender);
	assert_bytes_equal(found.sender_name, message.sender_name);
	assert_bytes_equal(found.verb, message.verb);
	assert_bytes_equal(found.topic, message.topic);
	assert_bytes_equal(found.reply_to_id, message.reply_to_id);
	assert_bytes_equal(found.forwarded_from, message.forwarded_from);
	assert_bytes_equal(found.attachments, message.attachments); /* byte by byte */
	assert_bytes_equal(found.source, KEEP_BYTES(""));
	assert_int_equal(found.timestamp, NOW - 1);
	assert_int_equal(found.seq, 1);
	assert_false(found.is_from_me);
	assert_bytes_equal(found.status, KEEP_BYTES("received"));
	assert_bytes_equal(found.group_folder, KEEP_BYTES(""));
	assert_null(found.platform_id.data);
	assert_int_equal(found.attempts, 0);
	close_all(gateway, &memory);
}

static void bad_inputs_are_refused_by_name_and_change_nothing(void **state)
{
	static char long_text[KEEP_GATEWAY_TEXT_MAX + 1];
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_message message;
	keep_bytes *const fields[] = {
		&message.chat_jid, &message.id,          &message.sender,
		&message.verb,     &message.source,      &message.sender_name,
		&message.topic,    &message.reply_to_id, &message.forwarded_from,
		&message.content,  &message.attachments};
	static const char *const names[] = {
		"chat_jid", "id",          "sender",         "verb",    "source",     "sender_name",
		"topic",    "reply_to_id", "forwarded_from", "content", "attachments"};
	const keep_bytes bad[] = {KEEP_BYTES("a\xff"),
				  KEEP_BYTES("a\0b"),
				  KEEP_BYTES("\xed\xa0\x80"),
				  {long_text, sizeof long_text}};

	(void)state;
	memset(long_text, 'x', sizeof long_text);
	for (size_t i = 0; i < KP_COUNT(fields); i++) {
		size_t count = i < 9 ? KP_COUNT(bad) : 3;

		for (size_t b = 0; b < count; b++) {
			message = simple("web:a", "1");
			*fields[i] = bad[b];
			CHECK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err) ==
				      KEEP_INVALID,
			      "%s takes bad text %zu", names[i], b);
			CHECK(strstr(err.message, names[i]), "'%s' does not name %s", err.message,
			      names[i]);
		}
	}
	for (int i = 0; i < 7; i++) {
		message = simple("web:a", "1");
		switch (i) {
		case 0: message.chat_jid = (keep_bytes){0}; break;
		case 1: message.id = KEEP_BYTES(""); break;
		case 2: message.id = KEEP_BYTES("a\nb"); break;
		case 3: message.content = (keep_bytes){0}; break;
		case 4: message.attachments = KEEP_BYTES("[1,]"); break;
		case 5: message.timestamp = INT64_MAX; break;
		default: message.timestamp = INT64_MIN; break;
		}
		assert_int_equal(keep_gateway_put_message(gateway, &message, NULL, NULL, &err),
				 KEEP_INVALID);
	}
	message = simple("web:a", "1");
	assert_int_equal(keep_gateway_put_message(gateway, &message,
						  &(keep_chat){.name = KEEP_BYTES("\xff")}, NULL,
						  &err),
			 KEEP_INVALID);
	/* At the limit they are taken. */
	message.sender = (keep_bytes){long_text, KEEP_GATEWAY_TEXT_MAX};
	message.id = (keep_bytes){long_text, KEEP_GATEWAY_TEXT_MAX};
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM messages"), "1");
	close_all(gateway, NULL);
}

static void a_content_has_at_most_a_mebibyte(void **state)
{
	static char content[KEEP_GATEWAY_CONTENT_MAX + 1];
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message message = simple("web:a", "1");

	(void)state;
	memset(content, 'c', sizeof content);
	message.content = (keep_bytes){content, sizeof content};
	assert_int_equal(keep_gateway_put_message(gateway, &message, NULL, NULL, &err), KEEP_FULL);
	assert_non_null(strstr(err.message, "content"));
	message.content.len--;
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	assert_bytes_equal(look(gateway, "web:a", "1", &memory).content, message.content);
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err)); /* and compared */
	message = simple("web:a", "2");
	memset(content, ' ', sizeof content);
	content[0] = '1';
	message.attachments = (keep_bytes){content, sizeof content};
	assert_int_equal(keep_gateway_put_message(gateway, &message, NULL, NULL, &err), KEEP_FULL);
	close_all(gateway, &memory);
}

/* ---------------------------------------------------------------- times and chats */

static void order_is_the_order_of_commits_whatever_timestamps_say(void **state)
{
	static const int64_t ages[] = {0, 0, 5000, -5000, 86400000, KEEP_GATEWAY_FUTURE_MS * -100};
	keep_gateway *gateway = open_at_now();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;
	char id[8];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(ages); i++) {
		keep_message message;

		snprintf(id, sizeof id, "%zu", i);
		message = simple("web:a", id);
		message.timestamp = NOW - ages[i];
		clock_now -= 100; /* and whatever our clock does */
		OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	}
	OK(keep_gateway_messages_since(gateway, KEEP_BYTES("web:a"), 0, 0, 0, &memory, &list,
				       &err));
	assert_int_equal(list.count, KP_COUNT(ages));
	for (size_t i = 0; i < list.count; i++) {
		assert_int_equal(list.items[i].seq, (int64_t)i + 1);
		assert_int_equal(list.items[i].timestamp, NOW - ages[i]);
	}
	close_all(gateway, &memory);
}

static void a_timestamp_far_in_the_future_is_kept_flagged_and_moves_nothing(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message message = simple("web:a", "1");

	(void)state;
	message.timestamp = NOW + KEEP_GATEWAY_FUTURE_MS; /* just believed */
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	assert_false(look(gateway, "web:a", "1", &memory).is_future);
	message.id = KEEP_BYTES("2");
	message.timestamp++;
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	assert_true(look(gateway, "web:a", "2", &memory).is_future);
	assert_int_equal(look(gateway, "web:a", "2", &memory).timestamp,
			 NOW + KEEP_GATEWAY_FUTURE_MS + 1);
	assert_string_equal(
		gateway_sql("SELECT count(*) || '' FROM chats, messages WHERE chats.jid = "
			    "messages.chat_jid AND last_message_at = messages.\"timestamp\" "
			    "AND messages.id = '1'"),
		"1");
	/* In a chat of its own it leaves the time unknown. */
	message.chat_jid = KEEP_BYTES("web:b");
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM chats "
					"WHERE last_message_at IS NULL AND jid = 'web:b'"),
			    "1");
	/* The next one is numbered and read as ever. */
	message = simple("web:b", "3");
	message.timestamp = NOW - 10;
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	assert_int_equal(look(gateway, "web:b", "3", &memory).seq, 2);
	close_all(gateway, &memory);
}

static void a_chat_is_made_and_renewed_with_its_message(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message message = simple("telegram:1", "1");
	keep_chat chat = {.name = KEEP_BYTES("The club"), .is_group = true}, found;

	(void)state;
	message.timestamp = NOW - 1000;
	OK(keep_gateway_put_message(gateway, &message, &chat, NULL, &err));
	OK(keep_gateway_get_chat(gateway, KEEP_BYTES("telegram:1"), &memory, &found, &err));
	assert_bytes_equal(found.name, KEEP_BYTES("The club"));
	assert_bytes_equal(found.channel, KEEP_BYTES("telegram"));
	assert_true(found.is_group);
	assert_false(found.errored);
	assert_int_equal(found.last_message_at, NOW - 1000);
	/* Without a chat it stays as it was; an older message does not turn its time back. */
	message.id = KEEP_BYTES("2");
	message.timestamp = NOW - 5000;
	OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	OK(keep_gateway_get_chat(gateway, KEEP_BYTES("telegram:1"), &memory, &found, &err));
	assert_bytes_equal(found.name, KEEP_BYTES("The club"));
	assert_true(found.is_group);
	assert_int_equal(found.last_message_at, NOW - 1000);
	assert_int_equal(found.last_seq, 2);
	assert_int_equal(found.last_input_seq, 2);
	/* An absent name stays, an empty one is one. */
	message.id = KEEP_BYTES("3");
	chat = (keep_chat){.channel = KEEP_BYTES("tg")};
	OK(keep_gateway_put_message(gateway, &message, &chat, NULL, &err));
	OK(keep_gateway_get_chat(gateway, KEEP_BYTES("telegram:1"), &memory, &found, &err));
	assert_bytes_equal(found.name, KEEP_BYTES("The club"));
	assert_bytes_equal(found.channel, KEEP_BYTES("tg"));
	assert_false(found.is_group);
	/* A replay renews nothing. */
	chat.name = KEEP_BYTES("");
	OK(keep_gateway_put_message(gateway, &message, &chat, NULL, &err));
	OK(keep_gateway_get_chat(gateway, KEEP_BYTES("telegram:1"), &memory, &found, &err));
	assert_bytes_equal(found.name, KEEP_BYTES("The club"));
	close_all(gateway, &memory);
}

/* ---------------------------------------------------------------- reading */

static void history_pages_backwards_and_since_goes_forward(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;
	keep_bytes jid = KEEP_BYTES("web:a");
	char id[8];

	(void)state;
	for (int i = 1; i <= 9; i++) {
		snprintf(id, sizeof id, "%d", i);
		assert_int_equal(gateway_put(gateway, "web:a", id, "text"), i);
	}
	gateway_put(gateway, "web:b", "1", "another chat");
	OK(keep_gateway_history(gateway, jid, 0, 3, &memory, &list, &err));
	assert_int_equal(list.count, 3);
	assert_int_equal(list.items[0].seq, 9);
	OK(keep_gateway_history(gateway, jid, 7, 3, &memory, &list, &err));
	assert_int_equal(list.items[0].seq, 6); /* exclusive */
	assert_int_equal(list.items[2].seq, 4);
	OK(keep_gateway_history(gateway, jid, 1, 3, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	assert_non_null(list.items);
	OK(keep_gateway_messages_since(gateway, jid, 5, 0, 2, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].seq, 6); /* exclusive */
	OK(keep_gateway_messages_since(gateway, jid, 9, 0, 2, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	OK(keep_gateway_history(gateway, KEEP_BYTES("web:none"), 0, 3, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	assert_int_equal(keep_gateway_history(gateway, jid, 0, 1001, &memory, &list, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_history(gateway, KEEP_BYTES(""), 0, 1, &memory, &list, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_gateway_messages_since(gateway, jid, 0, 0, 1001, &memory, &list, &err),
		KEEP_INVALID);
	assert_int_equal(
		keep_gateway_messages_since(gateway, jid, 0, INT64_MAX, 1, &memory, &list, &err),
		KEEP_INVALID);
	close_all(gateway, &memory);
}

static void defaults_of_the_limits_are_50_and_100(void **state)
{
	static keep_message messages[120];
	static char ids[120][8];
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;

	(void)state;
	for (int i = 0; i < 120; i++) {
		snprintf(ids[i], sizeof ids[i], "%d", i);
		messages[i] = simple("web:a", ids[i]);
	}
	OK(keep_gateway_put_messages(gateway, messages, 120, NULL, &err));
	OK(keep_gateway_history(gateway, KEEP_BYTES("web:a"), 0, 0, &memory, &list, &err));
	assert_int_equal(list.count, 50);
	assert_int_equal(list.items[0].seq, 120);
	OK(keep_gateway_messages_since(gateway, KEEP_BYTES("web:a"), 0, 0, 0, &memory, &list,
				       &err));
	assert_int_equal(list.count, 100);
	OK(keep_gateway_history(gateway, KEEP_BYTES("web:a"), 0, 1000, &memory, &list, &err));
	assert_int_equal(list.count, 120);
	close_all(gateway, &memory);
}

static void a_slice_since_a_time_is_told_by_number(void **state)
{
	static const int64_t times[] = {10, 30, 20, 30, 20, 40};
	keep_gateway *gateway = open_at_now();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;
	char id[8];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(times); i++) {
		keep_message message;

		snprintf(id, sizeof id, "%zu", i);
		message = simple("web:a", id);
		message.timestamp = NOW + times[i];
		OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	}
	OK(keep_gateway_messages_since(gateway, KEEP_BYTES("web:a"), 0, NOW + 20, 0, &memory, &list,
				       &err));
	assert_int_equal(list.count, 3); /* those of 20 exactly are not after it */
	assert_int_equal(list.items[0].seq, 2);
	assert_int_equal(list.items[1].seq, 4);
	assert_int_equal(list.items[2].seq, 6);
	OK(keep_gateway_messages_since(gateway, KEEP_BYTES("web:a"), 2, NOW + 20, 0, &memory, &list,
				       &err));
	assert_int_equal(list.count, 2); /* both bounds */
	OK(keep_gateway_messages_since(gateway, KEEP_BYTES("web:a"), 0, NOW + 10, 2, &memory, &list,
				       &err));
	assert_int_equal(list.count, 2); /* the first by time */
	assert_int_equal(list.items[0].seq, 3);
	assert_int_equal(list.items[1].seq, 5);
	close_all(gateway, &memory);
}

static void what_the_agent_says_is_history_and_never_input(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message message = simple("web:a", "out");
	keep_message_list list;

	(void)state;
	gateway_put(gateway, "web:a", "1", "hello");
	OK(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err));
	gateway_put(gateway, "web:a", "3", "hello");
	OK(keep_gateway_messages_since(gateway, KEEP_BYTES("web:a"), 0, 0, 0, &memory, &list,
				       &err));
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[1].seq, 3);
	OK(keep_gateway_messages_since(gateway, KEEP_BYTES("web:a"), 0, NOW - 1, 0, &memory, &list,
				       &err));
	assert_int_equal(list.count, 2);
	OK(keep_gateway_history(gateway, KEEP_BYTES("web:a"), 0, 0, &memory, &list, &err));
	assert_int_equal(list.count, 3);
	assert_true(list.items[1].is_from_me);
	close_all(gateway, &memory);
}

static void a_message_is_found_by_its_id_before_a_platforms(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message found;

	(void)state;
	gateway_put(gateway, "web:a", "1", "one");
	gateway_put(gateway, "web:a", "2", "two");
	gateway_sql("UPDATE messages SET platform_id = '2' WHERE id = '1'");
	assert_bytes_equal(look(gateway, "web:a", "2", &memory).content, KEEP_BYTES("two"));
	gateway_sql("UPDATE messages SET platform_id = 'P' WHERE id = '1'");
	assert_bytes_equal(look(gateway, "web:a", "P", &memory).content, KEEP_BYTES("one"));
	assert_int_equal(keep_gateway_get_message(gateway, KEEP_BYTES("web:b"), KEEP_BYTES("1"),
						  &memory, &found, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_gateway_get_message(gateway, KEEP_BYTES("web:a"), (keep_bytes){0},
						  &memory, &found, &err),
			 KEEP_INVALID);
	close_all(gateway, &memory);
}

static void a_stored_row_that_is_none_of_ours_is_corrupt(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message found;

	(void)state;
	gateway_put(gateway, "web:a", "1", "one");
	if (gateway_is_file()) {
		gateway_sql("UPDATE messages SET received_at = 'yesterday'");
		assert_int_equal(keep_gateway_get_message(gateway, KEEP_BYTES("web:a"),
							  KEEP_BYTES("1"), &memory, &found, &err),
				 KEEP_CORRUPT);
		assert_non_null(strstr(err.message, "received_at"));
	}
	close_all(gateway, &memory);
}

/* ---------------------------------------------------------------- threads and processes */

enum { THREADS = 8, EACH = 60, PROCESSES = 3 };

struct writer {
	keep_gateway *gateway;
	int number;
	bool failed;
	int64_t seqs[EACH];
};

static void *put_many(void *ctx)
{
	struct writer *writer = ctx;
	keep_error err = KEEP_ERROR_INIT;
	char id[32];

	for (int i = 0; i < EACH; i++) {
		keep_message message;
		keep_put_result result = {0};

		snprintf(id, sizeof id, "%d-%d", writer->number, i);
		message = simple("web:all", id);
		writer->failed |= keep_gateway_put_message(writer->gateway, &message, NULL, &result,
							   &err) != KEEP_OK;
		writer->seqs[i] = result.seq;
	}
	return NULL;
}

static void numbers_of_many_threads_have_no_gap_and_no_duplicate(void **state)
{
	static struct writer writers[THREADS];
	static bool seen[THREADS * EACH + 1];
	keep_gateway *gateway = gateway_fresh();
	pthread_t threads[THREADS];

	(void)state;
	memset(seen, 0, sizeof seen);
	for (int i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){.gateway = gateway, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, put_many, &writers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < THREADS; i++) {
		assert_false(writers[i].failed);
		for (int m = 0; m < EACH; m++) {
			int64_t seq = writers[i].seqs[m];

			assert_true(seq >= 1 && seq <= THREADS * EACH && !seen[seq]);
			assert_true(m == 0 || seq > writers[i].seqs[m - 1]);
			seen[seq] = true;
		}
	}
	close_all(gateway, NULL);
}

/* What a process of its own does: the same messages as all others, and some of its own. */
static int be_a_process(const char *url, const char *name, int count)
{
	keep_gateway *gateway = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char id[40];

	options.timeout_ms = 30000;
	if (keep_gateway_open(url, &options, &gateway, &err) != KEEP_OK)
		return 3;
	for (int i = 0; i < count; i++) {
		keep_message message;

		snprintf(id, sizeof id, "%s-%d", i % 2 ? name : "shared", i);
		message = simple("web:all", id);
		if (keep_gateway_put_message(gateway, &message, NULL, NULL, &err) != KEEP_OK) {
			fprintf(stderr, "%s: %s\n", name, err.message);
			return 4;
		}
	}
	keep_gateway_close(&gateway);
	return 0;
}

static void processes_share_one_order_and_one_copy_of_each_message(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	pid_t children[PROCESSES];
	char name[8], wanted[60], url[GATEWAY_URL_MAX];
	int stored = EACH / 2 + PROCESSES * EACH / 2, exit_status;

	(void)state;
	snprintf(url, sizeof url, "%s", gateway_url()); /* it has this process's number */
	for (int i = 0; i < PROCESSES; i++) {
		snprintf(name, sizeof name, "p%d", i);
		children[i] = fork();
		if (children[i] == 0) {
			char count[12];

			snprintf(count, sizeof count, "%d", EACH);
			execl(own_program, own_program, url, name, count, NULL);
			_exit(9);
		}
	}
	for (int i = 0; i < PROCESSES; i++) {
		waitpid(children[i], &exit_status, 0);
		assert_true(WIFEXITED(exit_status));
		assert_int_equal(WEXITSTATUS(exit_status), 0);
	}
	snprintf(wanted, sizeof wanted, "%d,1,%d,%d", stored, stored, stored);
	assert_string_equal(gateway_sql("SELECT count(*) || ',' || min(seq) || ',' || max(seq) || "
					"',' || count(DISTINCT seq) FROM messages"),
			    wanted);
	close_all(gateway, NULL);
}

static void a_reader_is_refused_to_write(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_message message = simple("web:a", "1");
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;

	(void)state;
	gateway_put(gateway, "web:a", "0", "x");
	options.read_only = true;
	OK(gateway_open_with(&options, &reader, &err));
	assert_int_equal(keep_gateway_put_message(reader, &message, NULL, NULL, &err), KEEP_DENIED);
	assert_int_equal(look(reader, "web:a", "0", &memory).seq, 1);
	keep_gateway_close(&reader);
	close_all(gateway, &memory);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_is_stored_once_and_its_replay_is_a_duplicate),
		cmocka_unit_test(any_field_but_source_and_sender_name_makes_it_another_message),
		cmocka_unit_test(absent_and_empty_are_two_things_where_a_column_may_be_absent),
		cmocka_unit_test(every_field_comes_back_and_what_is_absent_has_its_default),
		cmocka_unit_test(bad_inputs_are_refused_by_name_and_change_nothing),
		cmocka_unit_test(a_content_has_at_most_a_mebibyte),
		cmocka_unit_test(order_is_the_order_of_commits_whatever_timestamps_say),
		cmocka_unit_test(a_timestamp_far_in_the_future_is_kept_flagged_and_moves_nothing),
		cmocka_unit_test(a_chat_is_made_and_renewed_with_its_message),
		cmocka_unit_test(history_pages_backwards_and_since_goes_forward),
		cmocka_unit_test(defaults_of_the_limits_are_50_and_100),
		cmocka_unit_test(a_slice_since_a_time_is_told_by_number),
		cmocka_unit_test(what_the_agent_says_is_history_and_never_input),
		cmocka_unit_test(a_message_is_found_by_its_id_before_a_platforms),
		cmocka_unit_test(a_stored_row_that_is_none_of_ours_is_corrupt),
		cmocka_unit_test(numbers_of_many_threads_have_no_gap_and_no_duplicate),
		cmocka_unit_test(processes_share_one_order_and_one_copy_of_each_message),
		cmocka_unit_test(a_reader_is_refused_to_write),
	};
	int failed;

	if (argc == 4)
		return be_a_process(argv[1], argv[2], atoi(argv[3]));
	own_program = argv[0];
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
