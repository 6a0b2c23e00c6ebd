/*
 * test_gateway_deliveries.c - contracts/gateway.md, put_outbound, and what is reported of it.
 *
 *     test_gateway_deliveries sqlite|postgres
 */
#include "delivery_steps.h"

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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_outbound_message_is_the_audit_trail_of_what_an_agent_says),
		cmocka_unit_test(an_outbound_message_takes_a_number_and_is_never_input),
		cmocka_unit_test(an_absent_id_becomes_a_uuid),
		cmocka_unit_test(a_replayed_outbound_message_is_a_duplicate_whatever_became_of_it),
		cmocka_unit_test(a_bad_outbound_message_is_refused),
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
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
