/*
 * test_gateway_delivery_claims.c - who gets which delivery when: order, channels, limits, leases,
 * threads, processes that die.
 *
 *     test_gateway_delivery_claims sqlite|postgres
 */
#include "delivery_steps.h"

#include "sql/sql.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* Asking what there is holds up nobody, and waits for nobody. */
static void asking_for_nothing_takes_no_turn(void **state)
{
	keep_gateway *gateway = open_at_now(), *asking = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	kp_sql_conn *writer = gateway_connect_behind();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_system_message_list remarks;
	keep_message message = outbound("web:a", "a1");
	keep_error err = KEEP_ERROR_INIT;
	keep_message_list list;

	(void)state;
	options.timeout_ms = 100;
	OK(gateway_open_with(&options, &asking, &err));
	OK(kp_sql_begin(writer, KP_SQL_WRITE, &err));
	if (!gateway_is_file())
		OK(kp_sql_script(writer, "UPDATE store_changes SET changes = changes", &err));
	OK(keep_gateway_claim_deliveries(asking, (keep_bytes){0}, 0, 0, NOW, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	OK(keep_gateway_flush_system_messages(asking, KEEP_BYTES("a"), &memory, &remarks, &err));
	assert_bytes_equal(remarks.text, KEEP_BYTES(""));
	/* A change would have waited for the writer. */
	assert_int_equal(keep_gateway_put_outbound(asking, &message, NULL, NULL, &err), KEEP_BUSY);
	kp_sql_rollback(writer);
	kp_sql_close(&writer);
	keep_gateway_close(&asking);
	close_all(gateway, &memory);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_claim_takes_what_is_due_and_leases_it),
		cmocka_unit_test(a_chat_goes_out_in_order_and_holds_up_no_other),
		cmocka_unit_test(an_end_of_any_kind_lets_the_next_of_the_chat_go),
		cmocka_unit_test(a_claim_is_for_one_channel_or_for_any),
		cmocka_unit_test(a_limit_is_shared_out_between_chats_and_used_up),
		cmocka_unit_test(a_dead_chat_costs_a_claim_nothing),
		cmocka_unit_test(wrong_limits_leases_and_channels_are_refused),
		cmocka_unit_test(threads_deliver_each_message_once),
		cmocka_unit_test(what_a_dead_process_was_sending_is_due_at_once),
		cmocka_unit_test(a_reader_changes_no_delivery),
		cmocka_unit_test(asking_for_nothing_takes_no_turn),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
