/*
 * test_gateway_deliveries.c - contracts/gateway.md, put_outbound and what becomes of it.
 *
 *     test_gateway_deliveries sqlite|postgres
 *
 * The times given to the calls are the test's own: NOW and milliseconds after it. What
 * put_outbound itself asks the clock is answered NOW.
 */
#include "gateway_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOW INT64_C(1790000000000)
#define LEASE 60000

static int64_t tell_now(void *ctx)
{
	return *(int64_t *)ctx;
}

static int64_t clock_now;

static keep_gateway *open_at_now(void)
{
	clock_now = NOW;
	kp_clock_inject(tell_now, &clock_now);
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

static keep_message outbound(const char *jid, const char *id)
{
	return (keep_message){.chat_jid = keep_bytes_of(jid),
			      .id = keep_bytes_of(id),
			      .sender = KEEP_BYTES("atlas"),
			      .content = KEEP_BYTES("an answer")};
}

static int64_t say(keep_gateway *gateway, const char *jid, const char *id)
{
	keep_message message = outbound(jid, id);
	keep_put_result result = {0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_put_outbound(gateway, &message, &result, NULL, &err));
	assert_int_equal(result.put, KEEP_PUT_INSERTED);
	return result.seq;
}

/* Claim at NOW + after; the ids as "a b c". */
static const char *claim(keep_gateway *gateway, const char *channel, size_t limit, int64_t after)
{
	static char ids[8000];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_claim_deliveries(gateway, keep_bytes_of(channel), limit, LEASE, NOW + after,
					 &memory, &list, &err));
	ids[0] = '\0';
	for (size_t i = 0; i < list.count; i++) {
		assert_bytes_equal(list.items[i].status, KEEP_BYTES("sending"));
		assert_int_equal(list.items[i].next_attempt_at, NOW + after + LEASE);
		assert_true(list.items[i].attempts >= 1);
		snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s%.*s", i ? " " : "",
			 (int)list.items[i].id.len, list.items[i].id.data);
	}
	keep_memory_release(&memory);
	return ids;
}

static keep_delivery_report report_of(const char *jid, const char *id, int64_t attempt,
				      keep_delivery delivery)
{
	return (keep_delivery_report){.jid = keep_bytes_of(jid),
				      .id = keep_bytes_of(id),
				      .attempt = attempt,
				      .delivery = delivery,
				      .error = delivery == KEEP_DELIVERY_DELIVERED
						       ? (keep_bytes){0}
						       : KEEP_BYTES("the platform is away")};
}

static keep_status tell(keep_gateway *gateway, const char *jid, const char *id, int64_t attempt,
			keep_delivery delivery, int64_t after)
{
	keep_delivery_report report = report_of(jid, id, attempt, delivery);

	return keep_gateway_complete_delivery(gateway, &report, NOW + after, NULL);
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

static void assert_status(keep_gateway *gateway, const char *jid, const char *id,
			  const char *status)
{
	keep_memory memory = KEEP_MEMORY_INIT;

	assert_bytes_equal(look(gateway, jid, id, &memory).status, keep_bytes_of(status));
	keep_memory_release(&memory);
}

/* ---------------------------------------------------------------- put_outbound */

static void an_outbound_message_is_the_audit_trail_of_what_an_agent_says(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_put_result result;
	keep_message message = outbound("telegram:42", "out-1"), found;

	(void)state;
	message.group_folder = KEEP_BYTES("andy/world");
	message.turn_id = KEEP_BYTES("turn-9");
	message.topic = KEEP_BYTES("t");
	message.reply_to_id = KEEP_BYTES("7");
	message.attachments = KEEP_BYTES("[ {\"file\":\"a.png\"} ]");
	OK(keep_gateway_put_outbound(gateway, &message, &result, NULL, &err));
	assert_int_equal(result.put, KEEP_PUT_INSERTED);
	assert_int_equal(result.seq, 1);
	found = look(gateway, "telegram:42", "out-1", &memory);
	assert_true(found.is_from_me);
	assert_bytes_equal(found.status, KEEP_BYTES("pending"));
	assert_bytes_equal(found.source, KEEP_BYTES("telegram"));
	assert_bytes_equal(found.group_folder, KEEP_BYTES("andy/world"));
	assert_bytes_equal(found.turn_id, KEEP_BYTES("turn-9"));
	assert_bytes_equal(found.topic, KEEP_BYTES("t"));
	assert_bytes_equal(found.reply_to_id, KEEP_BYTES("7"));
	assert_bytes_equal(found.attachments, message.attachments);
	assert_bytes_equal(found.verb, KEEP_BYTES("message"));
	assert_int_equal(found.attempts, 0);
	assert_true(found.has_next_attempt_at);
	assert_int_equal(found.next_attempt_at, NOW);
	assert_int_equal(found.timestamp, NOW);
	assert_null(found.platform_id.data);
	assert_null(found.last_error.data);
	assert_null(found.lease_owner.data);
	close_all(gateway, &memory);
}

static void an_outbound_message_takes_a_number_and_is_never_input(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_message_list list;
	keep_pending_list pending;
	keep_chat chat;

	(void)state;
	OK(keep_gateway_pending_chats(gateway, KEEP_BYTES("agent"), 0, &memory, &pending, &err));
	assert_int_equal(say(gateway, "web:new", "o1"), 1);
	assert_int_equal(gateway_put(gateway, "web:a", "in", "hello"), 1);
	OK(keep_gateway_advance(gateway, KEEP_BYTES("agent"), KEEP_BYTES("web:a"), 1, NULL, &err));
	assert_int_equal(say(gateway, "web:a", "out"), 2);
	OK(keep_gateway_get_chat(gateway, KEEP_BYTES("web:a"), &memory, &chat, &err));
	assert_int_equal(chat.last_seq, 2);
	assert_int_equal(chat.last_input_seq, 1);
	OK(keep_gateway_pending_chats(gateway, KEEP_BYTES("agent"), 0, &memory, &pending, &err));
	assert_int_equal(pending.count, 0);
	OK(keep_gateway_messages_since(gateway, KEEP_BYTES("web:a"), 0, 0, 0, &memory, &list,
				       &err));
	assert_int_equal(list.count, 1);
	OK(keep_gateway_history(gateway, KEEP_BYTES("web:a"), 0, 0, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_int_equal(gateway_put(gateway, "web:a", "in2", "hello"), 3);
	OK(keep_gateway_pending_chats(gateway, KEEP_BYTES("agent"), 0, &memory, &pending, &err));
	assert_int_equal(pending.count, 1);
	close_all(gateway, &memory);
}

static void an_absent_id_becomes_a_uuid(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message message = outbound("web:a", "x");
	keep_error err = KEEP_ERROR_INIT;
	char id[37] = "", second[37] = "";

	(void)state;
	message.id = (keep_bytes){0};
	OK(keep_gateway_put_outbound(gateway, &message, NULL, id, &err));
	OK(keep_gateway_put_outbound(gateway, &message, NULL, second, &err));
	OK(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err));
	assert_int_equal(strlen(id), 36);
	assert_string_not_equal(id, second);
	assert_int_equal(look(gateway, "web:a", id, &memory).seq, 1);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM messages"), "3");
	close_all(gateway, &memory);
}

static void a_replayed_outbound_message_is_a_duplicate_whatever_became_of_it(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_message message = outbound("web:a", "k1"), other;
	keep_error err = KEEP_ERROR_INIT;
	keep_put_result result;

	(void)state;
	message.group_folder = KEEP_BYTES("andy");
	message.turn_id = KEEP_BYTES("t1");
	OK(keep_gateway_put_outbound(gateway, &message, &result, NULL, &err));
	assert_string_equal(claim(gateway, NULL, 0, 0), "k1");
	assert_int_equal(tell(gateway, "web:a", "k1", 1, KEEP_DELIVERY_DELIVERED, 0), KEEP_OK);
	OK(keep_gateway_put_outbound(gateway, &message, &result, NULL, &err));
	assert_int_equal(result.put, KEEP_PUT_DUPLICATE);
	assert_int_equal(result.seq, 1);
	assert_status(gateway, "web:a", "k1", "delivered");
	assert_string_equal(claim(gateway, NULL, 0, LEASE * 10), "");
	for (int i = 0; i < 3; i++) {
		other = message;
		if (i == 0)
			other.turn_id = KEEP_BYTES("t2");
		if (i == 1)
			other.group_folder = KEEP_BYTES("bob");
		if (i == 2)
			other.content = KEEP_BYTES("another answer");
		assert_int_equal(keep_gateway_put_outbound(gateway, &other, &result, NULL, &err),
				 KEEP_CONFLICT);
		assert_int_equal(result.put, KEEP_PUT_CONFLICT);
	}
	/* What came in under that id is another message, too. */
	assert_int_equal(keep_gateway_put_message(gateway, &message, NULL, &result, &err),
			 KEEP_CONFLICT);
	close_all(gateway, NULL);
}

static void a_bad_outbound_message_is_refused(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_message message = outbound("web:a", "k1");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	message.group_folder = KEEP_BYTES("../up");
	assert_int_equal(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "group_folder"));
	message = outbound("web:a", "");
	assert_int_equal(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err),
			 KEEP_INVALID);
	message = outbound("web:a", "k1");
	message.turn_id = KEEP_BYTES("a\0b");
	assert_int_equal(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "turn_id"));
	message = outbound("web:a", "k1");
	message.content = (keep_bytes){0};
	assert_int_equal(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err),
			 KEEP_INVALID);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM chats"), "0");
	close_all(gateway, NULL);
}

/* ---------------------------------------------------------------- claiming */

static void a_claim_takes_what_is_due_and_leases_it(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message found;

	(void)state;
	assert_string_equal(claim(gateway, NULL, 0, 0), "");
	say(gateway, "web:a", "a1");
	gateway_put(gateway, "web:a", "in", "never delivered");
	assert_string_equal(claim(gateway, NULL, 0, -1), ""); /* not due yet */
	assert_string_equal(claim(gateway, NULL, 0, 0), "a1");
	found = look(gateway, "web:a", "a1", &memory);
	assert_int_equal(found.attempts, 1);
	assert_bytes_equal(found.lease_by, KEEP_BYTES("keep"));
	assert_non_null(found.lease_owner.data);
	assert_string_equal(claim(gateway, NULL, 0, LEASE - 1), "");
	assert_string_equal(claim(gateway, NULL, 0, LEASE), "a1"); /* its lease is over */
	assert_int_equal(look(gateway, "web:a", "a1", &memory).attempts, 2);
	close_all(gateway, &memory);
}

static void a_chat_goes_out_in_order_and_holds_up_no_other(void **state)
{
	keep_gateway *gateway = open_at_now();

	(void)state;
	say(gateway, "web:a", "a1");
	say(gateway, "web:a", "a2");
	clock_now = NOW + 1;
	say(gateway, "web:b", "b1");
	say(gateway, "web:a", "a3");
	assert_string_equal(claim(gateway, NULL, 1, 1), "a1");
	/* a1 is being sent: it holds back a2 and a3, and b1 goes. */
	assert_string_equal(claim(gateway, NULL, 0, 2), "b1");
	assert_int_equal(tell(gateway, "web:a", "a1", 1, KEEP_DELIVERY_RETRY, 2), KEEP_OK);
	assert_string_equal(claim(gateway, NULL, 0, 3), "");
	/* a1 waits a second; then all of the chat are claimed at once, in order. */
	assert_string_equal(claim(gateway, NULL, 0, 1002), "a1 a2 a3");
	/* The one in the middle is put off: those behind it wait, also when their leases end. */
	assert_int_equal(tell(gateway, "web:a", "a1", 2, KEEP_DELIVERY_DELIVERED, 1003), KEEP_OK);
	assert_int_equal(tell(gateway, "web:a", "a2", 1, KEEP_DELIVERY_RETRY, 1003), KEEP_OK);
	assert_string_equal(claim(gateway, NULL, 0, 1004), "");
	assert_string_equal(claim(gateway, NULL, 0, 2003), "a2");
	assert_string_equal(claim(gateway, "web", 0, 1002 + LEASE), "b1");
	close_all(gateway, NULL);
}

static void an_end_of_any_kind_lets_the_next_of_the_chat_go(void **state)
{
	static const keep_delivery ends[] = {KEEP_DELIVERY_DELIVERED, KEEP_DELIVERY_FAILED,
					     KEEP_DELIVERY_REFUSED, KEEP_DELIVERY_UNCERTAIN};
	keep_gateway *gateway = open_at_now();
	char jid[20];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(ends); i++) {
		snprintf(jid, sizeof jid, "web:%zu", i);
		say(gateway, jid, "first");
		say(gateway, jid, "second");
		assert_string_equal(claim(gateway, NULL, 1, 0), "first");
		assert_string_equal(claim(gateway, NULL, 0, 0), "");
		assert_int_equal(tell(gateway, jid, "first", 1, ends[i], 0), KEEP_OK);
		assert_status(gateway, jid, "first", keep_delivery_name(ends[i]));
		assert_string_equal(claim(gateway, NULL, 0, 0), "second");
		assert_int_equal(tell(gateway, jid, "second", 1, ends[i], 0), KEEP_OK);
		assert_string_equal(gateway_sql("SELECT count(*) || '' FROM delivery_queues"), "0");
	}
	close_all(gateway, NULL);
}

static void a_claim_is_for_one_channel_or_for_any(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_message message = outbound("web:a", "by-mail");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	say(gateway, "telegram:1", "t1");
	say(gateway, "slack:1", "s1");
	assert_string_equal(claim(gateway, "discord", 0, 0), "");
	assert_string_equal(claim(gateway, "slack", 0, 0), "s1");
	assert_string_equal(claim(gateway, NULL, 0, 0), "t1");
	/* The message's source, not its chat's name, says who delivers it. */
	message.source = KEEP_BYTES("email");
	OK(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err));
	say(gateway, "web:a", "by-web");
	assert_string_equal(claim(gateway, "web", 0, 0), ""); /* by-mail is before it */
	assert_string_equal(claim(gateway, "email", 0, 0), "by-mail");
	assert_int_equal(tell(gateway, "web:a", "by-mail", 1, KEEP_DELIVERY_DELIVERED, 0), KEEP_OK);
	assert_string_equal(claim(gateway, "email", 0, 0), "");
	assert_string_equal(claim(gateway, "web", 0, 0), "by-web");
	close_all(gateway, NULL);
}

static void a_limit_is_shared_out_between_chats_and_used_up(void **state)
{
	keep_gateway *gateway = open_at_now();
	char id[20], jid[20];

	(void)state;
	for (int i = 1; i <= 30; i++) {
		snprintf(id, sizeof id, "a%d", i);
		say(gateway, "web:a", id);
	}
	clock_now = NOW + 1;
	for (int i = 1; i <= 3; i++) {
		snprintf(jid, sizeof jid, "web:b%d", i);
		snprintf(id, sizeof id, "b%d", i);
		say(gateway, jid, id);
	}
	/* The first of each, the second of each, and so on. */
	assert_string_equal(claim(gateway, NULL, 3, 1), "a1 b1 b2");
	assert_string_equal(claim(gateway, NULL, 3, 1), "b3");
	assert_string_equal(claim(gateway, NULL, 24, 1 + LEASE),
			    "a1 b1 b2 b3 a2 a3 a4 a5 a6 a7 a8 a9 a10 a11 a12 a13 a14 a15 a16 a17 "
			    "a18 a19 a20 a21");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM messages "
					"WHERE status = 'pending'"),
			    "9");
	close_all(gateway, NULL);
}

static void a_dead_chat_costs_a_claim_nothing(void **state)
{
	keep_gateway *gateway = open_at_now();
	char id[20];

	(void)state;
	for (int i = 0; i < 300; i++) {
		snprintf(id, sizeof id, "dead%d", i);
		say(gateway, "web:dead", id);
	}
	assert_string_equal(claim(gateway, NULL, 1, 0), "dead0");
	assert_int_equal(tell(gateway, "web:dead", "dead0", 1, KEEP_DELIVERY_RETRY, 0), KEEP_OK);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM delivery_queues"), "1");
	say(gateway, "web:alive", "alive");
	assert_string_equal(claim(gateway, NULL, 0, 1), "alive");
	close_all(gateway, NULL);
}

static void wrong_limits_leases_and_channels_are_refused(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	const struct {
		keep_bytes channel;
		size_t limit;
		int64_t lease_ms, now_ms;
	} bad[] = {{KEEP_BYTES("a\xff"), 0, 0, NOW},
		   {{0}, KEEP_GATEWAY_LIST_MAX + 1, 0, NOW},
		   {{0}, 0, -1, NOW},
		   {{0}, 0, INT64_MAX, NOW},
		   {{0}, 0, 0, INT64_MAX},
		   {{0}, 0, 0, INT64_C(253402300799999)}};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		assert_int_equal(keep_gateway_claim_deliveries(gateway, bad[i].channel,
							       bad[i].limit, bad[i].lease_ms,
							       bad[i].now_ms, &memory, &list, &err),
				 KEEP_INVALID);
	/* 0 is a minute; KEEP_NOW is the clock. */
	say(gateway, "web:a", "a1");
	OK(keep_gateway_claim_deliveries(gateway, (keep_bytes){0}, 0, 0, KEEP_NOW, &memory, &list,
					 &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(list.items[0].next_attempt_at, NOW + 60000);
	close_all(gateway, &memory);
}

/* ---------------------------------------------------------------- reports */

static void a_delivered_message_has_the_platforms_id(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_delivery_report report = report_of("web:a", "a1", 1, KEEP_DELIVERY_DELIVERED);
	keep_error err = KEEP_ERROR_INIT;
	keep_message found;

	(void)state;
	say(gateway, "web:a", "a1");
	claim(gateway, NULL, 0, 0);
	report.platform_id = KEEP_BYTES("3EB0");
	OK(keep_gateway_complete_delivery(gateway, &report, NOW, &err));
	OK(keep_gateway_complete_delivery(gateway, &report, NOW + 5, &err));
	found = look(gateway, "web:a", "3EB0", &memory);
	assert_bytes_equal(found.id, KEEP_BYTES("a1"));
	assert_bytes_equal(found.status, KEEP_BYTES("delivered"));
	assert_false(found.has_next_attempt_at);
	assert_null(found.lease_by.data);
	assert_null(found.lease_owner.data);
	report.platform_id = KEEP_BYTES("another");
	assert_int_equal(keep_gateway_complete_delivery(gateway, &report, NOW, &err),
			 KEEP_CONFLICT);
	report.platform_id = (keep_bytes){0};
	OK(keep_gateway_complete_delivery(gateway, &report, NOW, &err));
	assert_bytes_equal(look(gateway, "web:a", "a1", &memory).platform_id, KEEP_BYTES("3EB0"));
	assert_int_equal(tell(gateway, "web:a", "a1", 1, KEEP_DELIVERY_FAILED, 0), KEEP_CONFLICT);
	assert_int_equal(tell(gateway, "web:a", "a1", 1, KEEP_DELIVERY_RETRY, 0), KEEP_CONFLICT);
	close_all(gateway, &memory);
}

static void a_report_is_fenced_by_its_attempt(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	say(gateway, "web:a", "a1");
	assert_int_equal(tell(gateway, "web:a", "a1", 1, KEEP_DELIVERY_DELIVERED, 0),
			 KEEP_CONFLICT);
	claim(gateway, NULL, 0, 0);
	claim(gateway, NULL, 0, LEASE);
	assert_int_equal(tell(gateway, "web:a", "a1", 1, KEEP_DELIVERY_DELIVERED, LEASE),
			 KEEP_CONFLICT);
	assert_int_equal(tell(gateway, "web:a", "a1", 3, KEEP_DELIVERY_DELIVERED, LEASE),
			 KEEP_CONFLICT);
	assert_status(gateway, "web:a", "a1", "sending");
	/* Late, but nobody else has it. */
	assert_int_equal(tell(gateway, "web:a", "a1", 2, KEEP_DELIVERY_FAILED, LEASE * 3), KEEP_OK);
	/* Retried by hand, the numbers go on: what was late stays late. */
	OK(keep_gateway_retry_delivery(gateway, KEEP_BYTES("web:a"), KEEP_BYTES("a1"), &err));
	assert_string_equal(claim(gateway, NULL, 0, LEASE * 4), "a1");
	assert_int_equal(look(gateway, "web:a", "a1", &memory).attempts, 3);
	for (int attempt = 1; attempt <= 2; attempt++)
		assert_int_equal(
			tell(gateway, "web:a", "a1", attempt, KEEP_DELIVERY_FAILED, LEASE * 4),
			KEEP_CONFLICT);
	assert_int_equal(tell(gateway, "web:a", "a1", 3, KEEP_DELIVERY_DELIVERED, LEASE * 4),
			 KEEP_OK);
	assert_int_equal(tell(gateway, "web:a", "nobody", 1, KEEP_DELIVERY_DELIVERED, 0),
			 KEEP_NOT_FOUND);
	gateway_put(gateway, "web:a", "in", "hello");
	assert_int_equal(tell(gateway, "web:a", "in", 1, KEEP_DELIVERY_DELIVERED, 0),
			 KEEP_CONFLICT);
	close_all(gateway, &memory);
}

static void a_retry_waits_twice_as_long_each_time_until_attempts_are_used_up(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int64_t after = 0, delay = 1000;
	keep_message found;

	(void)state;
	say(gateway, "web:a", "a1");
	for (int attempt = 1; attempt < 10; attempt++) {
		assert_string_equal(claim(gateway, NULL, 0, after - 1), "");
		assert_string_equal(claim(gateway, NULL, 0, after), "a1");
		assert_int_equal(tell(gateway, "web:a", "a1", attempt, KEEP_DELIVERY_RETRY, after),
				 KEEP_OK);
		/* The same report again. */
		assert_int_equal(
			tell(gateway, "web:a", "a1", attempt, KEEP_DELIVERY_RETRY, after + 7),
			KEEP_OK);
		found = look(gateway, "web:a", "a1", &memory);
		assert_int_equal(found.attempts, attempt);
		assert_int_equal(found.next_attempt_at, NOW + after + delay);
		assert_bytes_equal(found.last_error, KEEP_BYTES("the platform is away"));
		assert_bytes_equal(found.status, KEEP_BYTES("pending"));
		assert_null(found.lease_owner.data);
		after += delay;
		delay = delay * 2 > 3600000 ? 3600000 : delay * 2;
	}
	assert_string_equal(claim(gateway, NULL, 0, after), "a1");
	assert_int_equal(tell(gateway, "web:a", "a1", 10, KEEP_DELIVERY_RETRY, after), KEEP_OK);
	assert_int_equal(tell(gateway, "web:a", "a1", 10, KEEP_DELIVERY_RETRY, after), KEEP_OK);
	assert_status(gateway, "web:a", "a1", "failed");
	/* By hand: ten more. */
	OK(keep_gateway_retry_delivery(gateway, KEEP_BYTES("web:a"), KEEP_BYTES("a1"), &err));
	assert_string_equal(claim(gateway, NULL, 0, after), "a1");
	assert_int_equal(tell(gateway, "web:a", "a1", 11, KEEP_DELIVERY_RETRY, after), KEEP_OK);
	assert_int_equal(look(gateway, "web:a", "a1", &memory).next_attempt_at, NOW + after + 1000);
	close_all(gateway, &memory);
}

static void a_retry_may_say_when_and_how_often(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_delivery_report report = report_of("web:a", "a1", 1, KEEP_DELIVERY_RETRY);
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	say(gateway, "web:a", "a1");
	claim(gateway, NULL, 0, 0);
	report.retry_at = NOW + 77777;
	report.attempts_max = 2;
	OK(keep_gateway_complete_delivery(gateway, &report, NOW, &err));
	OK(keep_gateway_complete_delivery(gateway, &report, NOW, &err));
	report.retry_at++;
	assert_int_equal(keep_gateway_complete_delivery(gateway, &report, NOW, &err),
			 KEEP_CONFLICT);
	assert_string_equal(claim(gateway, NULL, 0, 77776), "");
	assert_string_equal(claim(gateway, NULL, 0, 77777), "a1");
	report.attempt = 2;
	OK(keep_gateway_complete_delivery(gateway, &report, NOW, &err));
	assert_status(gateway, "web:a", "a1", "failed");
	close_all(gateway, NULL);
}

static void a_bad_report_is_refused(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_error err = KEEP_ERROR_INIT;
	keep_delivery_report report;

	(void)state;
	say(gateway, "web:a", "a1");
	claim(gateway, NULL, 0, 0);
	for (int i = 0; i < 9; i++) {
		report = report_of("web:a", "a1", 1, KEEP_DELIVERY_RETRY);
		switch (i) {
		case 0: report.jid = (keep_bytes){0}; break;
		case 1: report.id = KEEP_BYTES(""); break;
		case 2: report.attempt = 0; break;
		case 3: report.delivery = (keep_delivery)99; break;
		case 4: report.error = KEEP_BYTES("\xff"); break;
		case 5: report.retry_at = INT64_MAX; break;
		case 6: report.attempts_max = -1; break;
		case 7: report.platform_id = KEEP_BYTES(""); break;
		default: report.attempts_max = INT64_MAX; break;
		}
		assert_int_equal(keep_gateway_complete_delivery(gateway, &report, NOW, &err),
				 KEEP_INVALID);
		assert_true(err.message[0]);
	}
	report = report_of("web:a", "a1", 1, KEEP_DELIVERY_RETRY);
	assert_int_equal(keep_gateway_complete_delivery(gateway, &report, INT64_MAX, &err),
			 KEEP_INVALID);
	assert_status(gateway, "web:a", "a1", "sending");
	close_all(gateway, NULL);
}

static void a_lease_is_extended_by_who_holds_it(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_bytes jid = KEEP_BYTES("web:a"), id = KEEP_BYTES("a1");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	say(gateway, "web:a", "a1");
	assert_int_equal(keep_gateway_extend_delivery(gateway, jid, id, 1, 0, NOW, &err),
			 KEEP_CONFLICT);
	claim(gateway, NULL, 0, 0);
	OK(keep_gateway_extend_delivery(gateway, jid, id, 1, 2 * LEASE, NOW + 10, &err));
	assert_string_equal(claim(gateway, NULL, 0, 10 + 2 * LEASE - 1), "");
	assert_string_equal(claim(gateway, NULL, 0, 10 + 2 * LEASE), "a1");
	assert_int_equal(keep_gateway_extend_delivery(gateway, jid, id, 1, 0, NOW, &err),
			 KEEP_CONFLICT);
	assert_int_equal(keep_gateway_extend_delivery(gateway, jid, id, 2, -5, NOW, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_gateway_extend_delivery(gateway, jid, KEEP_BYTES("no"), 2, 0, NOW, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(tell(gateway, "web:a", "a1", 2, KEEP_DELIVERY_DELIVERED, 0), KEEP_OK);
	assert_int_equal(keep_gateway_extend_delivery(gateway, jid, id, 2, 0, NOW, &err),
			 KEEP_CONFLICT);
	close_all(gateway, NULL);
}

static void only_what_ended_badly_is_retried_by_hand(void **state)
{
	static const keep_delivery ends[] = {KEEP_DELIVERY_FAILED, KEEP_DELIVERY_REFUSED,
					     KEEP_DELIVERY_UNCERTAIN};
	keep_gateway *gateway = open_at_now();
	keep_bytes jid = KEEP_BYTES("web:a"), id = KEEP_BYTES("a1");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	say(gateway, "web:a", "a1");
	gateway_put(gateway, "web:a", "in", "hello");
	assert_int_equal(keep_gateway_retry_delivery(gateway, jid, KEEP_BYTES("in"), &err),
			 KEEP_CONFLICT);
	assert_int_equal(keep_gateway_retry_delivery(gateway, jid, KEEP_BYTES("no"), &err),
			 KEEP_NOT_FOUND);
	for (size_t i = 0; i < KP_COUNT(ends); i++) {
		assert_int_equal(keep_gateway_retry_delivery(gateway, jid, id, &err),
				 KEEP_CONFLICT);
		assert_string_equal(claim(gateway, NULL, 0, 0), "a1");
		assert_int_equal(keep_gateway_retry_delivery(gateway, jid, id, &err),
				 KEEP_CONFLICT);
		assert_int_equal(tell(gateway, "web:a", "a1", (int64_t)i + 1, ends[i], 0), KEEP_OK);
		assert_string_equal(claim(gateway, NULL, 0, LEASE * 2), "");
		OK(keep_gateway_retry_delivery(gateway, jid, id, &err));
	}
	assert_string_equal(claim(gateway, NULL, 0, 0), "a1");
	assert_int_equal(tell(gateway, "web:a", "a1", 4, KEEP_DELIVERY_DELIVERED, 0), KEEP_OK);
	assert_int_equal(keep_gateway_retry_delivery(gateway, jid, id, &err), KEEP_CONFLICT);
	close_all(gateway, NULL);
}

static void what_ended_badly_is_listed_newest_first(void **state)
{
	static const keep_delivery ends[] = {KEEP_DELIVERY_FAILED, KEEP_DELIVERY_REFUSED,
					     KEEP_DELIVERY_UNCERTAIN, KEEP_DELIVERY_DELIVERED};
	keep_gateway *gateway = open_at_now();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_message_list list;
	char id[8];

	(void)state;
	for (int i = 0; i < 8; i++) {
		clock_now = NOW + i;
		snprintf(id, sizeof id, "m%d", i);
		say(gateway, "web:a", id);
		assert_string_equal(claim(gateway, NULL, 0, i), id);
		assert_int_equal(tell(gateway, "web:a", id, 1, ends[i % 4], i), KEEP_OK);
	}
	OK(keep_gateway_failed_deliveries(gateway, (keep_bytes){0}, 0, 0, &memory, &list, &err));
	assert_int_equal(list.count, 6);
	assert_bytes_equal(list.items[0].id, KEEP_BYTES("m6"));
	assert_bytes_equal(list.items[5].id, KEEP_BYTES("m0"));
	assert_bytes_equal(list.items[0].last_error, KEEP_BYTES("the platform is away"));
	OK(keep_gateway_failed_deliveries(gateway, KEEP_BYTES("refused"), 0, 0, &memory, &list,
					  &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].id, KEEP_BYTES("m5"));
	OK(keep_gateway_failed_deliveries(gateway, (keep_bytes){0}, NOW + 4, 2, &memory, &list,
					  &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].id, KEEP_BYTES("m2"));
	assert_bytes_equal(list.items[1].id, KEEP_BYTES("m1"));
	assert_int_equal(keep_gateway_failed_deliveries(gateway, KEEP_BYTES("delivered"), 0, 0,
							&memory, &list, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_failed_deliveries(gateway, (keep_bytes){0}, 0, 1001, &memory,
							&list, &err),
			 KEEP_INVALID);
	close_all(gateway, &memory);
}

static void every_report_has_a_name_that_is_read_back(void **state)
{
	keep_delivery delivery;

	(void)state;
	for (int i = KEEP_DELIVERY_DELIVERED; i <= KEEP_DELIVERY_UNCERTAIN; i++) {
		assert_true(keep_delivery_parse(keep_bytes_of(keep_delivery_name((keep_delivery)i)),
						&delivery));
		assert_int_equal(delivery, i);
	}
	assert_string_equal(keep_delivery_name((keep_delivery)17), "?");
	assert_false(keep_delivery_parse(KEEP_BYTES("sending"), &delivery));
	assert_false(keep_delivery_parse((keep_bytes){0}, &delivery));
}

/* The drawing, event by event and status by status. */
static void no_status_changes_but_along_the_drawing(void **state)
{
	static const char *const statuses[] = {"pending", "sending", "delivered",
					       "failed",  "refused", "uncertain"};
	keep_gateway *gateway = open_at_now();
	keep_bytes jid = KEEP_BYTES("web:a");
	char id[20], sql[300];

	(void)state;
	for (size_t from = 0; from < KP_COUNT(statuses); from++) {
		bool open = from<2, sending = from == 1, bad = from> 2;

		snprintf(id, sizeof id, "m%zu", from);
		say(gateway, "web:a", id);
		snprintf(sql, sizeof sql,
			 "UPDATE messages SET status = '%s', attempts = 1%s WHERE id = '%s'",
			 statuses[from], open ? "" : ", next_attempt_at = NULL", id);
		for (int delivery = 0; delivery <= KEEP_DELIVERY_UNCERTAIN; delivery++) {
			keep_status status;

			gateway_sql(sql);
			/* Another attempt, so that nothing is taken for a replay. */
			status = tell(gateway, "web:a", id, sending ? 1 : 2,
				      (keep_delivery)delivery, 0);
			assert_int_equal(status, sending ? KEEP_OK : KEEP_CONFLICT);
		}
		gateway_sql(sql);
		assert_int_equal(keep_gateway_extend_delivery(gateway, jid, keep_bytes_of(id), 1, 0,
							      NOW, NULL),
				 sending ? KEEP_OK : KEEP_CONFLICT);
		assert_int_equal(keep_gateway_retry_delivery(gateway, jid, keep_bytes_of(id), NULL),
				 bad ? KEEP_OK : KEEP_CONFLICT);
	}
	close_all(gateway, NULL);
}

/* ---------------------------------------------------------------- threads and processes */

enum { THREADS = 6, CHATS = 5, EACH = 20 };

struct adapter {
	keep_gateway *gateway;
	int claimed;
	bool failed;
};

static void *deliver_all(void *ctx)
{
	struct adapter *adapter = ctx;
	keep_error err = KEEP_ERROR_INIT;

	for (int idle = 0; idle < 50 && !adapter->failed;) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message_list list = {0};
		keep_status status = keep_gateway_claim_deliveries(
			adapter->gateway, (keep_bytes){0}, 3, LEASE, NOW, &memory, &list, &err);

		adapter->failed = status != KEEP_OK;
		for (size_t i = 0; i < list.count && !adapter->failed; i++) {
			keep_delivery_report report = {.jid = list.items[i].chat_jid,
						       .id = list.items[i].id,
						       .attempt = list.items[i].attempts};

			adapter->failed |= keep_gateway_complete_delivery(adapter->gateway, &report,
									  NOW, &err) != KEEP_OK;
			adapter->claimed++;
		}
		idle = list.count ? 0 : idle + 1;
		keep_memory_release(&memory);
	}
	return NULL;
}

static void threads_deliver_each_message_once(void **state)
{
	keep_gateway *gateway = open_at_now();
	struct adapter adapters[THREADS] = {{0}};
	pthread_t threads[THREADS];
	char jid[20], id[20];
	int claimed = 0;

	(void)state;
	for (int i = 0; i < CHATS * EACH; i++) {
		snprintf(jid, sizeof jid, "web:%d", i % CHATS);
		snprintf(id, sizeof id, "m%d", i);
		say(gateway, jid, id);
	}
	for (int i = 0; i < THREADS; i++) {
		adapters[i].gateway = gateway;
		assert_int_equal(pthread_create(&threads[i], NULL, deliver_all, &adapters[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_false(adapters[i].failed);
		claimed += adapters[i].claimed;
	}
	assert_int_equal(claimed, CHATS * EACH);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM messages WHERE status = "
					"'delivered' AND attempts = 1"),
			    "100");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM delivery_queues"), "0");
	close_all(gateway, NULL);
}

static void what_a_dead_process_was_sending_is_due_at_once(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_error err = KEEP_ERROR_INIT;
	int done[2], exit_status;
	pid_t child;
	char byte = 0, url[GATEWAY_URL_MAX];

	(void)state;
	say(gateway, "web:a", "a1");
	say(gateway, "web:a", "a2");
	say(gateway, "web:b", "b1");
	keep_gateway_close(&gateway);                   /* nothing of it lives on in the child */
	snprintf(url, sizeof url, "%s", gateway_url()); /* it has this process's number */
	assert_int_equal(pipe(done), 0);
	child = fork();
	if (child == 0) {
		keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
		keep_gateway *own = NULL;
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message_list list;

		options.service = "other";
		if (keep_gateway_open(url, &options, &own, &err) != KEEP_OK ||
		    keep_gateway_claim_deliveries(own, (keep_bytes){0}, 0, LEASE, NOW, &memory,
						  &list, &err) != KEEP_OK ||
		    list.count != 3 ||
		    tell(own, "web:a", "a1", 1, KEEP_DELIVERY_RETRY, 0) != KEEP_OK) {
			print_error("the child: %s\n", err.message);
			_exit(1);
		}
		byte = 'c';
		if (write(done[1], &byte, 1) != 1)
			_exit(2);
		pause();
		_exit(3);
	}
	close(done[1]);
	assert_int_equal(read(done[0], &byte, 1), 1);
	gateway = gateway_again(NULL);
	assert_string_equal(gateway_sql("SELECT lease_by FROM messages WHERE id = 'b1'"), "other");
	assert_string_equal(claim(gateway, NULL, 0, 1), ""); /* it lives */
	kill(child, SIGKILL);
	waitpid(child, &exit_status, 0);
	assert_true(WIFSIGNALED(exit_status));
	/* a1 waits for its retry, and a2 behind it: only b1 can go. */
	assert_string_equal(claim(gateway, NULL, 0, 1), "b1");
	assert_string_equal(claim(gateway, NULL, 0, 1000), "a1 a2");
	close(done[0]);
	close_all(gateway, NULL);
}

static void a_reader_changes_no_delivery(void **state)
{
	keep_gateway *gateway = open_at_now(), *reader = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_message message = outbound("web:a", "a2");
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_message_list list;

	(void)state;
	say(gateway, "web:a", "a1");
	options.read_only = true;
	OK(gateway_open_with(&options, &reader, &err));
	assert_int_equal(keep_gateway_put_outbound(reader, &message, NULL, NULL, &err),
			 KEEP_DENIED);
	assert_int_equal(keep_gateway_claim_deliveries(reader, (keep_bytes){0}, 0, 0, NOW, &memory,
						       &list, &err),
			 KEEP_DENIED);
	assert_int_equal(tell(reader, "web:a", "a1", 1, KEEP_DELIVERY_DELIVERED, 0), KEEP_DENIED);
	assert_int_equal(
		keep_gateway_retry_delivery(reader, message.chat_jid, KEEP_BYTES("a1"), &err),
		KEEP_DENIED);
	OK(keep_gateway_failed_deliveries(reader, (keep_bytes){0}, 0, 0, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	keep_gateway_close(&reader);
	close_all(gateway, &memory);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_outbound_message_is_the_audit_trail_of_what_an_agent_says),
		cmocka_unit_test(an_outbound_message_takes_a_number_and_is_never_input),
		cmocka_unit_test(an_absent_id_becomes_a_uuid),
		cmocka_unit_test(a_replayed_outbound_message_is_a_duplicate_whatever_became_of_it),
		cmocka_unit_test(a_bad_outbound_message_is_refused),
		cmocka_unit_test(a_claim_takes_what_is_due_and_leases_it),
		cmocka_unit_test(a_chat_goes_out_in_order_and_holds_up_no_other),
		cmocka_unit_test(an_end_of_any_kind_lets_the_next_of_the_chat_go),
		cmocka_unit_test(a_claim_is_for_one_channel_or_for_any),
		cmocka_unit_test(a_limit_is_shared_out_between_chats_and_used_up),
		cmocka_unit_test(a_dead_chat_costs_a_claim_nothing),
		cmocka_unit_test(wrong_limits_leases_and_channels_are_refused),
		cmocka_unit_test(a_delivered_message_has_the_platforms_id),
		cmocka_unit_test(a_report_is_fenced_by_its_attempt),
		cmocka_unit_test(a_retry_waits_twice_as_long_each_time_until_attempts_are_used_up),
		cmocka_unit_test(a_retry_may_say_when_and_how_often),
		cmocka_unit_test(a_bad_report_is_refused),
		cmocka_unit_test(a_lease_is_extended_by_who_holds_it),
		cmocka_unit_test(only_what_ended_badly_is_retried_by_hand),
		cmocka_unit_test(what_ended_badly_is_listed_newest_first),
		cmocka_unit_test(every_report_has_a_name_that_is_read_back),
		cmocka_unit_test(no_status_changes_but_along_the_drawing),
		cmocka_unit_test(threads_deliver_each_message_once),
		cmocka_unit_test(what_a_dead_process_was_sending_is_due_at_once),
		cmocka_unit_test(a_reader_changes_no_delivery),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
