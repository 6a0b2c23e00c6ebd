/*
 * test_gateway_consumers.c - contracts/gateway.md, "Messages": who reads, and how far each has
 * come.
 *
 *     test_gateway_consumers sqlite|postgres
 */
#include "gateway_fixture.h"

#include <pthread.h>

#define CONSUMER KEEP_BYTES("router")

static keep_error err = KEEP_ERROR_INIT;
static keep_memory memory = KEEP_MEMORY_INIT;

static int64_t held_now_ms;

static int64_t tell_held_now(void *ctx)
{
	(void)ctx;
	return held_now_ms;
}

static void hold_clock(int64_t now_ms)
{
	held_now_ms = now_ms;
	kp_clock_inject(tell_held_now, NULL);
}

static void end_with(keep_gateway **gateway)
{
	kp_clock_inject(NULL, NULL);
	keep_memory_release(&memory);
	keep_gateway_close(gateway);
	assert_nothing_lives();
}

static void put_many(keep_gateway *gateway, const char *jid, int from, int to)
{
	for (int i = from; i <= to; i++) {
		char id[16];

		snprintf(id, sizeof id, "%d", i);
		gateway_put(gateway, jid, id, "text");
	}
}

/* "a:3 b:1 …": the chats and numbers of new messages, in their order. */
static const char *read_new(keep_gateway *gateway, const char *consumer, size_t limit)
{
	static char text[4096];
	keep_message_list list = {0};
	size_t at = 0;

	OK(keep_gateway_new_messages(gateway, keep_bytes_of(consumer), NULL, 0, limit, &memory,
				     &list, &err));
	text[0] = '\0';
	for (size_t i = 0; i < list.count; i++)
		at += (size_t)snprintf(text + at, sizeof text - at, "%s%" KP_PRI ":%lld",
				       i ? " " : "", KP_ARG(list.items[i].chat_jid),
				       (long long)list.items[i].seq);
	return text;
}

/* "a b …": the pending chats in their order. */
static const char *read_pending(keep_gateway *gateway, const char *consumer, size_t limit)
{
	static char text[4096];
	keep_pending_list list = {0};
	size_t at = 0;

	OK(keep_gateway_pending_chats(gateway, keep_bytes_of(consumer), limit, &memory, &list,
				      &err));
	text[0] = '\0';
	for (size_t i = 0; i < list.count; i++)
		at += (size_t)snprintf(text + at, sizeof text - at, "%s%" KP_PRI, i ? " " : "",
				       KP_ARG(list.items[i].jid));
	return text;
}

static int64_t advance(keep_gateway *gateway, const char *consumer, const char *jid, int64_t seq)
{
	int64_t cursor = -1;

	OK(keep_gateway_advance(gateway, keep_bytes_of(consumer), keep_bytes_of(jid), seq, &cursor,
				&err));
	return cursor;
}

static int64_t get_cursor(keep_gateway *gateway, const char *consumer, const char *jid)
{
	int64_t seq = -1;

	OK(keep_gateway_get_cursor(gateway, keep_bytes_of(consumer), keep_bytes_of(jid), &seq,
				   &err));
	return seq;
}

/* How many cursors break a rule: one a chat and consumer, pending exactly with input beyond. */
static void assert_cursors_are_exact(void)
{
	const char *broken = gateway_sql(
		"SELECT count(*) || '' FROM consumers CROSS JOIN chats LEFT JOIN cursors ON "
		"cursors.consumer = consumers.name AND cursors.chat_jid = chats.jid WHERE "
		"cursors.seq IS NULL OR (cursors.pending_since IS NOT NULL) <> "
		"(chats.last_input_seq > cursors.seq)");

	assert_string_equal(broken, "0");
}

/* ---------------------------------------------------------------- beginning */

static void a_new_consumer_begins_before_the_first_message(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	put_many(gateway, "a:1", 1, 2);
	put_many(gateway, "b:1", 1, 1);
	assert_string_equal(read_new(gateway, "late", 0), "a:1:1 a:1:2 b:1:1");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM consumers"), "1");
	assert_cursors_are_exact();
	assert_string_equal(read_pending(gateway, "later", 0), "a:1 b:1");
	assert_int_equal(get_cursor(gateway, "latest", "a:1"), 0);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM consumers"), "3");
	assert_cursors_are_exact();
	put_many(gateway, "c:1", 1, 1);
	assert_string_equal(read_pending(gateway, "latest", 0), "a:1 b:1 c:1");
	assert_cursors_are_exact();
	end_with(&gateway);
}

static void a_consumer_is_made_by_advance_and_rewind_too(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	put_many(gateway, "a:1", 1, 3);
	put_many(gateway, "b:1", 1, 1);
	assert_int_equal(advance(gateway, "one", "a:1", 2), 2);
	assert_string_equal(read_pending(gateway, "one", 0), "b:1 a:1");
	assert_string_equal(read_new(gateway, "one", 0), "b:1:1 a:1:3");
	OK(keep_gateway_rewind(gateway, KEEP_BYTES("two"), KEEP_BYTES("a:1"), 3, &err));
	assert_string_equal(read_new(gateway, "two", 0), "b:1:1");
	assert_cursors_are_exact();
	end_with(&gateway);
}

static void a_refused_move_makes_no_consumer(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	put_many(gateway, "a:1", 1, 1);
	assert_int_equal(keep_gateway_advance(gateway, CONSUMER, KEEP_BYTES("a:1"), 2, NULL, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("no:1"), 0, &err),
			 KEEP_NOT_FOUND);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM consumers"), "0");
	end_with(&gateway);
}

static void a_read_only_gateway_answers_without_making_a_consumer(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	bool pending = false;
	int64_t cursor;

	(void)state;
	put_many(gateway, "a:1", 1, 2);
	put_many(gateway, "b:1", 1, 1);
	assert_string_equal(read_new(gateway, "known", 0), "a:1:1 a:1:2 b:1:1");
	assert_int_equal(advance(gateway, "known", "a:1", 2), 2);
	options.read_only = true;
	OK(gateway_open_with(&options, &reader, &err));
	assert_string_equal(read_new(reader, "stranger", 0), "a:1:1 a:1:2 b:1:1");
	assert_string_equal(read_pending(reader, "stranger", 1), "a:1");
	assert_int_equal(get_cursor(reader, "stranger", "a:1"), 0);
	OK(keep_gateway_wait(reader, KEEP_BYTES("stranger"), 0, &pending, &err));
	assert_true(pending);
	assert_string_equal(read_new(reader, "known", 0), "b:1:1");
	assert_int_equal(get_cursor(reader, "known", "a:1"), 2);
	assert_int_equal(
		keep_gateway_advance(reader, CONSUMER, KEEP_BYTES("a:1"), 1, &cursor, &err),
		KEEP_DENIED);
	assert_int_equal(keep_gateway_rewind(reader, CONSUMER, KEEP_BYTES("a:1"), 1, &err),
			 KEEP_DENIED);
	assert_int_equal(keep_gateway_remove_consumer(reader, KEEP_BYTES("known"), &err),
			 KEEP_DENIED);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM consumers"), "1");
	keep_gateway_close(&reader);
	end_with(&gateway);
}

static void a_removed_consumer_begins_anew_in_every_process(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *other = gateway_again("timed");

	(void)state;
	put_many(gateway, "a:1", 1, 2);
	assert_int_equal(advance(gateway, "router", "a:1", 2), 2);
	assert_string_equal(read_new(gateway, "router", 0), "");
	OK(keep_gateway_remove_consumer(other, CONSUMER, &err));
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM cursors"), "0");
	assert_int_equal(keep_gateway_remove_consumer(other, CONSUMER, &err), KEEP_NOT_FOUND);
	put_many(gateway, "a:1", 3, 3);
	assert_string_equal(read_new(gateway, "router", 0), "a:1:1 a:1:2 a:1:3");
	assert_int_equal(get_cursor(other, "router", "a:1"), 0);
	assert_cursors_are_exact();
	keep_gateway_close(&other);
	end_with(&gateway);
}

/* ---------------------------------------------------------------- cursors */

static void a_cursor_moves_forward_only_and_tells_where_it_is(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	int64_t cursor = 77;

	(void)state;
	put_many(gateway, "a:1", 1, 5);
	assert_int_equal(advance(gateway, "router", "a:1", 3), 3);
	assert_int_equal(advance(gateway, "router", "a:1", 3), 3);
	assert_int_equal(advance(gateway, "router", "a:1", 2), 3);
	assert_int_equal(advance(gateway, "router", "a:1", 0), 3);
	assert_int_equal(advance(gateway, "router", "a:1", -4), 3);
	assert_int_equal(
		keep_gateway_advance(gateway, CONSUMER, KEEP_BYTES("a:1"), 6, &cursor, &err),
		KEEP_INVALID);
	assert_non_null(strstr(err.message, "6"));
	assert_int_equal(cursor, 77);
	assert_int_equal(
		keep_gateway_advance(gateway, CONSUMER, KEEP_BYTES("a:2"), 0, &cursor, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(get_cursor(gateway, "router", "a:1"), 3);
	assert_int_equal(get_cursor(gateway, "router", "a:2"), 0);
	OK(keep_gateway_advance(gateway, CONSUMER, KEEP_BYTES("a:1"), 5, NULL, &err));
	assert_string_equal(read_new(gateway, "router", 0), "");
	end_with(&gateway);
}

static void a_rewound_consumer_reads_again_from_there(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	put_many(gateway, "a:1", 1, 4);
	advance(gateway, "router", "a:1", 4);
	OK(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("a:1"), 2, &err));
	assert_string_equal(read_new(gateway, "router", 0), "a:1:3 a:1:4");
	OK(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("a:1"), 0, &err));
	assert_string_equal(read_new(gateway, "router", 0), "a:1:1 a:1:2 a:1:3 a:1:4");
	OK(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("a:1"), 3, &err));
	assert_string_equal(read_new(gateway, "router", 0), "a:1:4");
	assert_cursors_are_exact();
	OK(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("a:1"), 4, &err));
	assert_string_equal(read_new(gateway, "router", 0), "");
	assert_int_equal(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("a:1"), 5, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("a:1"), -1, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("x:1"), 0, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(get_cursor(gateway, "router", "a:1"), 4);
	assert_cursors_are_exact();
	end_with(&gateway);
}

static void consumers_do_not_move_each_other(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	put_many(gateway, "a:1", 1, 3);
	advance(gateway, "router", "a:1", 3);
	advance(gateway, "agent", "a:1", 1);
	assert_string_equal(read_new(gateway, "router", 0), "");
	assert_string_equal(read_new(gateway, "agent", 0), "a:1:2 a:1:3");
	assert_string_equal(read_new(gateway, "Agent", 0), "a:1:1 a:1:2 a:1:3");
	end_with(&gateway);
}

static void a_time_never_hides_a_message(void **state)
{
	static const int64_t times[] = {1000, 1000, 1, 4102444800000, 900, INT64_C(1700000000000)};
	keep_gateway *gateway = gateway_fresh();
	char expected[40];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(times); i++) {
		char id[8];
		keep_message message = {.chat_jid = KEEP_BYTES("a:1"),
					.sender = KEEP_BYTES("ada"),
					.content = KEEP_BYTES("text"),
					.timestamp = times[i]};

		snprintf(id, sizeof id, "%zu", i);
		message.id = keep_bytes_of(id);
		OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
		snprintf(expected, sizeof expected, "a:1:%zu", i + 1);
		assert_string_equal(read_new(gateway, "router", 0), expected);
		advance(gateway, "router", "a:1", (int64_t)i + 1);
	}
	end_with(&gateway);
}

static void what_an_agent_says_is_no_input(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_message said = {.chat_jid = KEEP_BYTES("a:1"),
			     .id = KEEP_BYTES("out-1"),
			     .content = KEEP_BYTES("answer"),
			     .group_folder = KEEP_BYTES("main")};

	(void)state;
	assert_string_equal(read_new(gateway, "router", 0), "");
	OK(keep_gateway_put_outbound(gateway, &said, NULL, NULL, &err)); /* makes the chat */
	assert_string_equal(read_pending(gateway, "router", 0), "");
	assert_cursors_are_exact();
	put_many(gateway, "a:1", 1, 1);
	said.id = KEEP_BYTES("out-2");
	OK(keep_gateway_put_outbound(gateway, &said, NULL, NULL, &err));
	assert_string_equal(read_new(gateway, "router", 0), "a:1:2");
	assert_string_equal(read_new(gateway, "later", 0), "a:1:2");
	assert_cursors_are_exact();
	advance(gateway, "router", "a:1", 2);
	assert_string_equal(read_pending(gateway, "router", 0), "");
	assert_int_equal(advance(gateway, "router", "a:1", 3), 3);
	put_many(gateway, "a:1", 2, 2);
	assert_string_equal(read_new(gateway, "router", 0), "a:1:4");
	OK(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("a:1"), 2, &err));
	assert_string_equal(read_new(gateway, "router", 0), "a:1:4");
	assert_cursors_are_exact();
	end_with(&gateway);
}

/* ---------------------------------------------------------------- the line, and shares */

static void chats_stand_in_the_order_in_which_input_came(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_pending_list list = {0};

	(void)state;
	hold_clock(INT64_C(1700000000000));
	assert_string_equal(read_pending(gateway, "router", 0), "");
	put_many(gateway, "c:1", 1, 1);
	held_now_ms += 5;
	put_many(gateway, "b:1", 1, 1);
	held_now_ms += 5;
	put_many(gateway, "a:1", 1, 1);
	held_now_ms += 5;
	put_many(gateway, "c:1", 2, 2); /* it waits already */
	OK(keep_gateway_mark_errored(gateway, KEEP_BYTES("b:1"), &err));
	OK(keep_gateway_pending_chats(gateway, CONSUMER, 0, &memory, &list, &err));
	assert_int_equal(list.count, 3);
	assert_bytes_equal(list.items[0].jid, KEEP_BYTES("c:1"));
	assert_int_equal(list.items[0].seq, 0);
	assert_int_equal(list.items[0].last_input_seq, 2);
	assert_true(list.items[0].pending_since == INT64_C(1700000000000));
	assert_false(list.items[0].errored);
	assert_bytes_equal(list.items[1].jid, KEEP_BYTES("b:1"));
	assert_true(list.items[1].errored);
	assert_true(list.items[2].pending_since == INT64_C(1700000000010));
	assert_string_equal(read_pending(gateway, "router", 2), "c:1 b:1");
	end_with(&gateway);
}

static void a_busy_chat_goes_to_the_end_of_the_line_whatever_the_clock_does(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	hold_clock(INT64_C(1700000000000));
	put_many(gateway, "a:1", 1, 5);
	put_many(gateway, "b:1", 1, 5);
	put_many(gateway, "c:1", 1, 5);
	assert_string_equal(read_pending(gateway, "router", 0), "a:1 b:1 c:1");
	advance(gateway, "router", "a:1", 1);
	assert_string_equal(read_pending(gateway, "router", 0), "b:1 c:1 a:1");
	held_now_ms -= 3600000;
	advance(gateway, "router", "b:1", 1);
	assert_string_equal(read_pending(gateway, "router", 0), "c:1 a:1 b:1");
	held_now_ms += 7200000;
	advance(gateway, "router", "c:1", 1);
	assert_string_equal(read_pending(gateway, "router", 0), "a:1 b:1 c:1");
	advance(gateway, "router", "a:1", 5);
	assert_string_equal(read_pending(gateway, "router", 0), "b:1 c:1");
	OK(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("b:1"), 0,
			       &err)); /* keeps its place */
	assert_string_equal(read_pending(gateway, "router", 0), "b:1 c:1");
	OK(keep_gateway_rewind(gateway, CONSUMER, KEEP_BYTES("a:1"), 0, &err));
	assert_string_equal(read_pending(gateway, "router", 0), "b:1 c:1 a:1");
	/* A new consumer's line, too. */
	advance(gateway, "agent", "a:1", 1);
	assert_string_equal(read_pending(gateway, "agent", 0), "b:1 c:1 a:1");
	end_with(&gateway);
}

static void every_pending_chat_gets_a_share_and_the_rest_is_filled_in_order(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	hold_clock(INT64_C(1700000000000));
	put_many(gateway, "a:1", 1, 9);
	put_many(gateway, "b:1", 1, 1);
	put_many(gateway, "c:1", 1, 4);
	assert_string_equal(read_new(gateway, "router", 3), "a:1:1 b:1:1 c:1:1");
	assert_string_equal(read_new(gateway, "router", 2), "a:1:1 b:1:1");
	assert_string_equal(read_new(gateway, "router", 1), "a:1:1");
	assert_string_equal(read_new(gateway, "router", 5), "a:1:1 a:1:2 a:1:3 b:1:1 c:1:1");
	assert_string_equal(read_new(gateway, "router", 6), "a:1:1 a:1:2 a:1:3 b:1:1 c:1:1 c:1:2");
	assert_string_equal(read_new(gateway, "router", 13),
			    "a:1:1 a:1:2 a:1:3 a:1:4 a:1:5 a:1:6 a:1:7 a:1:8 b:1:1 "
			    "c:1:1 c:1:2 c:1:3 c:1:4");
	advance(gateway, "router", "a:1", 7); /* to the end of the line */
	assert_string_equal(read_new(gateway, "router", 0),
			    "b:1:1 c:1:1 c:1:2 c:1:3 c:1:4 a:1:8 a:1:9");
	end_with(&gateway);
}

static void shares_pass_over_what_the_agent_said(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_message said = {.chat_jid = KEEP_BYTES("a:1"), .content = KEEP_BYTES("answer")};

	(void)state;
	put_many(gateway, "a:1", 1, 2);
	for (int i = 0; i < 6; i++)
		OK(keep_gateway_put_outbound(gateway, &said, NULL, NULL, &err));
	put_many(gateway, "a:1", 3, 5);
	OK(keep_gateway_put_outbound(gateway, &said, NULL, NULL, &err));
	put_many(gateway, "b:1", 1, 1);
	assert_string_equal(read_new(gateway, "router", 4), "a:1:1 a:1:2 a:1:9 b:1:1");
	assert_string_equal(read_new(gateway, "router", 0),
			    "a:1:1 a:1:2 a:1:9 a:1:10 a:1:11 b:1:1");
	end_with(&gateway);
}

static void a_chat_whose_cursor_does_not_move_starves_nobody(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	long got = 0;

	(void)state;
	put_many(gateway, "a:stuck", 1, 60);
	for (int i = 0; i < 10; i++) {
		char jid[16];

		snprintf(jid, sizeof jid, "b:%d", i);
		put_many(gateway, jid, 1, 4);
	}
	for (int turns = 0; turns < 100 && got < 40; turns++) {
		keep_message_list list;

		OK(keep_gateway_new_messages(gateway, CONSUMER, NULL, 0, 2, &memory, &list, &err));
		for (size_t i = 0; i < list.count; i++) {
			const keep_message *message = &list.items[i];

			if (kp_bytes_equal(message->chat_jid, KEEP_BYTES("a:stuck")))
				continue;
			OK(keep_gateway_advance(gateway, CONSUMER, message->chat_jid, message->seq,
						NULL, &err));
			got++;
		}
	}
	assert_int_equal(got, 40);
	end_with(&gateway);
}

static void chats_can_be_chosen(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	const keep_bytes jids[] = {KEEP_BYTES("c:\"1\\"), KEEP_BYTES("a:1"), KEEP_BYTES("a:1"),
				   KEEP_BYTES("none:1")};
	const keep_bytes bad[] = {KEEP_BYTES("a:1"), KEEP_BYTES("")};
	keep_bytes *many = kp_alloc(1001 * sizeof *many);
	keep_message_list list = {0};

	(void)state;
	put_many(gateway, "a:1", 1, 2);
	put_many(gateway, "b:1", 1, 2);
	put_many(gateway, "c:\"1\\", 1, 2);
	for (int known = 0; known < 2; known++) {
		OK(keep_gateway_new_messages(gateway, CONSUMER, jids, KP_COUNT(jids), 3, &memory,
					     &list, &err));
		assert_int_equal(list.count, 3);
		assert_bytes_equal(list.items[0].chat_jid, KEEP_BYTES("a:1"));
		assert_bytes_equal(list.items[2].chat_jid, jids[0]);
	}
	OK(keep_gateway_new_messages(gateway, CONSUMER, jids, 0, 0, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	assert_int_equal(
		keep_gateway_new_messages(gateway, CONSUMER, bad, 2, 0, &memory, &list, &err),
		KEEP_INVALID);
	for (int i = 0; i < 1001; i++)
		many[i] = KEEP_BYTES("b:1");
	OK(keep_gateway_new_messages(gateway, CONSUMER, many, 1000, 0, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_int_equal(
		keep_gateway_new_messages(gateway, CONSUMER, many, 1001, 0, &memory, &list, &err),
		KEEP_INVALID);
	kp_free(many);
	end_with(&gateway);
}

static void wrong_inputs_are_refused(void **state)
{
	static const keep_bytes bad[] = {{NULL, 0}, {"", 0}, {"a\nb", 3}, {"a\0b", 3}, {"\xff", 1}};
	keep_gateway *gateway = gateway_fresh();
	keep_message_list messages = {.count = 77};
	keep_pending_list chats = {.count = 77};
	keep_bytes jid = KEEP_BYTES("a:1");
	int64_t seq = 77;
	bool pending;

	(void)state;
	put_many(gateway, "a:1", 1, 1);
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		assert_int_equal(
			keep_gateway_pending_chats(gateway, bad[i], 0, &memory, &chats, &err),
			KEEP_INVALID);
		assert_int_equal(keep_gateway_new_messages(gateway, bad[i], NULL, 0, 0, &memory,
							   &messages, &err),
				 KEEP_INVALID);
		assert_int_equal(keep_gateway_advance(gateway, bad[i], jid, 1, &seq, &err),
				 KEEP_INVALID);
		assert_int_equal(keep_gateway_advance(gateway, CONSUMER, bad[i], 1, &seq, &err),
				 KEEP_INVALID);
		assert_int_equal(keep_gateway_rewind(gateway, bad[i], jid, 1, &err), KEEP_INVALID);
		assert_int_equal(keep_gateway_rewind(gateway, CONSUMER, bad[i], 1, &err),
				 KEEP_INVALID);
		assert_int_equal(keep_gateway_get_cursor(gateway, bad[i], jid, &seq, &err),
				 KEEP_INVALID);
		assert_int_equal(keep_gateway_get_cursor(gateway, CONSUMER, bad[i], &seq, &err),
				 KEEP_INVALID);
		assert_int_equal(keep_gateway_remove_consumer(gateway, bad[i], &err), KEEP_INVALID);
		assert_int_equal(keep_gateway_wait(gateway, bad[i], 0, &pending, &err),
				 KEEP_INVALID);
	}
	assert_int_equal(keep_gateway_pending_chats(gateway, CONSUMER, 1001, &memory, &chats, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_new_messages(gateway, CONSUMER, NULL, 0, 1001, &memory,
						   &messages, &err),
			 KEEP_INVALID);
	assert_int_equal(messages.count + chats.count + (size_t)seq, 231);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM consumers"), "0");
	OK(keep_gateway_new_messages(gateway, CONSUMER, NULL, 0, 1000, &memory, &messages, &err));
	assert_int_equal(messages.count, 1);
	end_with(&gateway);
}

/* ---------------------------------------------------------------- threads */

enum { WRITERS = 4, EACH = 60, SHARED_CHATS = 5 };

struct writer {
	keep_gateway *gateway;
	int number;
};

static void *put_from_a_thread(void *ctx)
{
	const struct writer *writer = ctx;
	keep_error why = KEEP_ERROR_INIT;

	for (int i = 0; i < EACH; i++) {
		char jid[16], id[16];
		keep_message message = {.content = KEEP_BYTES("text"), .timestamp = 1000 - i};

		snprintf(jid, sizeof jid, "a:%d", i % SHARED_CHATS);
		snprintf(id, sizeof id, "%d-%d", writer->number, i);
		message.chat_jid = keep_bytes_of(jid);
		message.id = keep_bytes_of(id);
		if (keep_gateway_put_message(writer->gateway, &message, NULL, NULL, &why) !=
		    KEEP_OK) {
			fprintf(stderr, "%s\n", why.message);
			abort();
		}
	}
	return NULL;
}

static void beside_many_writers_each_message_is_read_once_in_order(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *other = gateway_again("other");
	int64_t cursors[SHARED_CHATS] = {0};
	struct writer writers[WRITERS];
	pthread_t threads[WRITERS];
	int got = 0;

	(void)state;
	for (int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){i % 2 ? gateway : other, i};
		assert_int_equal(pthread_create(&threads[i], NULL, put_from_a_thread, &writers[i]),
				 0);
	}
	while (got < WRITERS * EACH) {
		keep_message_list list;
		bool pending = false;

		OK(keep_gateway_wait(gateway, CONSUMER, 30000 * test_patience(), &pending, &err));
		assert_true(pending);
		OK(keep_gateway_new_messages(gateway, CONSUMER, NULL, 0, 17, &memory, &list, &err));
		assert_true(list.count > 0);
		for (size_t i = 0; i < list.count; i++, got++) {
			const keep_message *message = &list.items[i];
			int chat = message->chat_jid.data[2] - '0';

			assert_true(message->seq == ++cursors[chat]);
			OK(keep_gateway_advance(gateway, CONSUMER, message->chat_jid, message->seq,
						NULL, &err));
		}
		keep_memory_release(&memory);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	assert_string_equal(read_pending(gateway, "router", 0), "");
	assert_cursors_are_exact();
	keep_gateway_close(&other);
	end_with(&gateway);
}

struct mover {
	keep_gateway *gateway;
	int64_t first;
};

static void *advance_from_a_thread(void *ctx)
{
	const struct mover *mover = ctx;
	int64_t highest = 0, cursor;
	keep_error why = KEEP_ERROR_INIT;

	for (int64_t seq = mover->first; seq <= 40; seq += 2) {
		if (keep_gateway_advance(mover->gateway, CONSUMER, KEEP_BYTES("a:1"), seq, &cursor,
					 &why) != KEEP_OK ||
		    cursor < seq || cursor < highest)
			abort();
		highest = cursor;
	}
	return NULL;
}

static void racing_advances_never_step_back(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *other = gateway_again("other");
	struct mover movers[2] = {{gateway, 1}, {other, 2}};
	pthread_t threads[2];

	(void)state;
	put_many(gateway, "a:1", 1, 40);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, advance_from_a_thread, &movers[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(get_cursor(gateway, "router", "a:1"), 40);
	assert_cursors_are_exact();
	keep_gateway_close(&other);
	end_with(&gateway);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_consumer_begins_before_the_first_message),
		cmocka_unit_test(a_consumer_is_made_by_advance_and_rewind_too),
		cmocka_unit_test(a_refused_move_makes_no_consumer),
		cmocka_unit_test(a_read_only_gateway_answers_without_making_a_consumer),
		cmocka_unit_test(a_removed_consumer_begins_anew_in_every_process),
		cmocka_unit_test(a_cursor_moves_forward_only_and_tells_where_it_is),
		cmocka_unit_test(a_rewound_consumer_reads_again_from_there),
		cmocka_unit_test(consumers_do_not_move_each_other),
		cmocka_unit_test(a_time_never_hides_a_message),
		cmocka_unit_test(what_an_agent_says_is_no_input),
		cmocka_unit_test(chats_stand_in_the_order_in_which_input_came),
		cmocka_unit_test(a_busy_chat_goes_to_the_end_of_the_line_whatever_the_clock_does),
		cmocka_unit_test(every_pending_chat_gets_a_share_and_the_rest_is_filled_in_order),
		cmocka_unit_test(shares_pass_over_what_the_agent_said),
		cmocka_unit_test(a_chat_whose_cursor_does_not_move_starves_nobody),
		cmocka_unit_test(chats_can_be_chosen),
		cmocka_unit_test(wrong_inputs_are_refused),
		cmocka_unit_test(beside_many_writers_each_message_is_read_once_in_order),
		cmocka_unit_test(racing_advances_never_step_back),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
