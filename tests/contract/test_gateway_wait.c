/*
 * test_gateway_wait.c - contracts/gateway.md, "Messages": sleeping until something arrives, across
 * threads and processes.
 *
 *     test_gateway_wait sqlite|postgres
 *     test_gateway_wait put URL JID ID        another process, which puts one message
 *
 * No test depends on who is first: whether the other one comes before the wait or during it, the
 * answer is the same.
 */
#include "gateway_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONSUMER KEEP_BYTES("router")

enum { LONG_MS = 60000, WAITERS = 8 };

static keep_error err = KEEP_ERROR_INIT;
static keep_memory memory = KEEP_MEMORY_INIT;

static void end_with(keep_gateway **gateway)
{
	keep_memory_release(&memory);
	keep_gateway_close(gateway);
	assert_nothing_lives();
}

static bool wait_ms(keep_gateway *gateway, const char *consumer, int64_t timeout_ms)
{
	bool pending = false;

	OK(keep_gateway_wait(gateway, keep_bytes_of(consumer), timeout_ms, &pending, &err));
	return pending;
}

static void read_all(keep_gateway *gateway, const char *consumer)
{
	keep_message_list list = {0};

	OK(keep_gateway_new_messages(gateway, keep_bytes_of(consumer), NULL, 0, 0, &memory, &list,
				     &err));
	for (size_t i = 0; i < list.count; i++)
		OK(keep_gateway_advance(gateway, keep_bytes_of(consumer), list.items[i].chat_jid,
					list.items[i].seq, NULL, &err));
}

/* A time limit holds: not before, and not long after. */
static void assert_lasts(int64_t begun_ns, int64_t wanted_ms)
{
	int64_t took_ns = kp_monotonic_ns() - begun_ns;

	CHECK(took_ns >= wanted_ms * 1000000, "%lld ns", (long long)took_ns);
	CHECK(took_ns < (wanted_ms + 400 * test_patience()) * 1000000, "%lld ns",
	      (long long)took_ns);
}

/* ---------------------------------------------------------------- waiting */

struct waiter {
	keep_gateway *gateway;
	char consumer[16];
	int64_t timeout_ms;
	keep_status status;
	bool found;
	pthread_t thread;
};

static void *wait_in_a_thread(void *ctx)
{
	struct waiter *waiter = ctx;

	waiter->status = keep_gateway_wait(waiter->gateway, keep_bytes_of(waiter->consumer),
					   waiter->timeout_ms, &waiter->found, NULL);
	return NULL;
}

static void start_waiter(struct waiter *waiter, keep_gateway *gateway, int number,
			 int64_t timeout_ms)
{
	*waiter = (struct waiter){.gateway = gateway, .timeout_ms = timeout_ms};
	snprintf(waiter->consumer, sizeof waiter->consumer, "w%d", number);
	assert_int_equal(pthread_create(&waiter->thread, NULL, wait_in_a_thread, waiter), 0);
}

static bool join_waiter(struct waiter *waiter)
{
	pthread_join(waiter->thread, NULL);
	assert_int_equal(waiter->status, KEEP_OK);
	return waiter->found;
}

static void what_is_there_is_told_at_once(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	assert_false(wait_ms(gateway, "router", 0));
	gateway_put(gateway, "a:1", "1", "text");
	assert_true(wait_ms(gateway, "router", 0));
	assert_true(wait_ms(gateway, "router", LONG_MS));
	assert_true(wait_ms(gateway, "router", -1));
	assert_true(wait_ms(gateway, "new", -1)); /* it begins before the first message */
	read_all(gateway, "router");
	assert_false(wait_ms(gateway, "router", 0));
	end_with(&gateway);
}

static void a_time_limit_holds(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	int64_t begun_ns;

	(void)state;
	assert_false(wait_ms(gateway, "router", 1)); /* whatever is made once is made */
	for (int64_t limit_ms = 1; limit_ms <= 1125; limit_ms = limit_ms * 5 + 20) {
		begun_ns = kp_monotonic_ns();
		assert_false(wait_ms(gateway, "router", limit_ms));
		assert_lasts(begun_ns, limit_ms);
	}
	end_with(&gateway);
}

static void a_message_wakes_every_waiter_of_every_gateway(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *other = gateway_again("other");
	struct waiter waiters[WAITERS];

	(void)state;
	for (int round = 0; round < 3; round++) {
		char id[8];

		for (int i = 0; i < WAITERS; i++)
			start_waiter(&waiters[i], i % 2 ? gateway : other, i,
				     i % 3 ? LONG_MS : INT64_MAX);
		snprintf(id, sizeof id, "%d", round);
		gateway_put(gateway, "a:1", id, "text");
		for (int i = 0; i < WAITERS; i++) {
			assert_true(join_waiter(&waiters[i]));
			read_all(gateway, waiters[i].consumer);
		}
	}
	keep_gateway_close(&other);
	end_with(&gateway);
}

/* Who waits the shortest leaves first, be it the one that listens for the others. */
static void waiters_that_leave_take_nobody_along(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	struct waiter waiters[WAITERS];

	(void)state;
	for (int i = 0; i < WAITERS; i++)
		start_waiter(&waiters[i], gateway, i, i < WAITERS - 2 ? 1 + i * 7 : LONG_MS);
	for (int i = 0; i < WAITERS - 2; i++)
		assert_false(join_waiter(&waiters[i]));
	gateway_put(gateway, "a:1", "1", "text");
	assert_true(join_waiter(&waiters[WAITERS - 2]));
	assert_true(join_waiter(&waiters[WAITERS - 1]));
	end_with(&gateway);
}

/* Run this program as another process. */
static pid_t start_putter(const char *jid, const char *id)
{
	const char *url = gateway_url();
	pid_t child = fork();

	if (child == 0) {
		execl(gateway_program(), "test_gateway_wait", "put", url, jid, id, (char *)NULL);
		_exit(9);
	}
	assert_true(child > 0);
	return child;
}

static int be_the_putter(char **argv)
{
	keep_gateway *gateway = NULL;
	keep_message message = {.chat_jid = keep_bytes_of(argv[3]),
				.id = keep_bytes_of(argv[4]),
				.content = KEEP_BYTES("text")};

	if (keep_gateway_open(argv[2], NULL, &gateway, &err) != KEEP_OK ||
	    keep_gateway_put_message(gateway, &message, NULL, NULL, &err) != KEEP_OK) {
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	keep_gateway_close(&gateway);
	return 0;
}

static void a_message_of_another_process_wakes(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	for (int i = 0; i < 3; i++) {
		char id[8];
		int status = -1;
		pid_t child;

		snprintf(id, sizeof id, "%d", i);
		child = start_putter("a:1", id);
		assert_true(wait_ms(gateway, "router", LONG_MS));
		waitpid(child, &status, 0);
		assert_int_equal(status, 0);
		read_all(gateway, "router");
	}
	end_with(&gateway);
}

static void what_an_agent_says_wakes_nobody_for_long(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_message said = {.chat_jid = KEEP_BYTES("a:1"), .content = KEEP_BYTES("answer")};
	struct waiter waiter;
	int64_t begun_ns = kp_monotonic_ns();

	(void)state;
	start_waiter(&waiter, gateway, 0, 150);
	for (int i = 0; i < 5; i++)
		OK(keep_gateway_put_outbound(gateway, &said, NULL, NULL, &err));
	assert_false(join_waiter(&waiter));
	assert_true(kp_monotonic_ns() - begun_ns >= INT64_C(150000000));
	end_with(&gateway);
}

static void a_rewind_wakes_its_consumer(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *other = gateway_again("other");
	struct waiter waiter;

	(void)state;
	gateway_put(gateway, "a:1", "1", "text");
	read_all(gateway, "w0");
	start_waiter(&waiter, gateway, 0, LONG_MS);
	OK(keep_gateway_rewind(other, KEEP_BYTES("w0"), KEEP_BYTES("a:1"), 0, &err));
	assert_true(join_waiter(&waiter));
	keep_gateway_close(&other);
	end_with(&gateway);
}

static void cancel_ends_all_waits_now_and_later_with_nothing(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *other = gateway_again("other");
	struct waiter waiters[WAITERS];
	bool found = true;

	(void)state;
	for (int i = 0; i < WAITERS; i++)
		start_waiter(&waiters[i], gateway, i, -1);
	keep_gateway_cancel(gateway);
	for (int i = 0; i < WAITERS; i++)
		assert_false(join_waiter(&waiters[i]));
	gateway_put(gateway, "a:1", "1", "text");
	assert_false(wait_ms(gateway, "router", -1));
	OK(keep_gateway_wait_deliveries(gateway, (keep_bytes){0}, -1, &found, &err));
	assert_false(found);
	keep_gateway_cancel(gateway);
	assert_true(wait_ms(other, "router", LONG_MS)); /* it is this gateway's alone */
	keep_gateway_close(&other);
	end_with(&gateway);
}

static void a_read_only_gateway_waits_too(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	struct waiter known, stranger;

	(void)state;
	options.read_only = true;
	read_all(gateway, "w0");
	OK(gateway_open_with(&options, &reader, &err));
	start_waiter(&known, reader, 0, LONG_MS);
	start_waiter(&stranger, reader, 1, LONG_MS);
	gateway_put(gateway, "a:1", "1", "text");
	assert_true(join_waiter(&known));
	assert_true(join_waiter(&stranger));
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM consumers"), "1");
	keep_gateway_close(&reader);
	end_with(&gateway);
}

/* ---------------------------------------------------------------- deliveries */

static bool wait_due(keep_gateway *gateway, keep_bytes channel, int64_t timeout_ms)
{
	bool due = false;

	OK(keep_gateway_wait_deliveries(gateway, channel, timeout_ms, &due, &err));
	return due;
}

static void *wait_due_in_a_thread(void *ctx)
{
	struct waiter *waiter = ctx;

	waiter->status =
		keep_gateway_wait_deliveries(waiter->gateway, keep_bytes_of(waiter->consumer),
					     waiter->timeout_ms, &waiter->found, NULL);
	return NULL;
}

static void a_delivery_wakes_its_channel_and_who_takes_any(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *other = gateway_again("other");
	keep_message said = {.chat_jid = KEEP_BYTES("telegram:1"), .content = KEEP_BYTES("hi")};
	struct waiter waiter = {.gateway = gateway, .consumer = "telegram", .timeout_ms = LONG_MS};

	(void)state;
	assert_false(wait_due(gateway, (keep_bytes){0}, 0));
	gateway_put(gateway, "telegram:1", "1", "input is no delivery");
	assert_false(wait_due(gateway, (keep_bytes){0}, 0));
	assert_int_equal(pthread_create(&waiter.thread, NULL, wait_due_in_a_thread, &waiter), 0);
	OK(keep_gateway_put_outbound(other, &said, NULL, NULL, &err));
	assert_true(join_waiter(&waiter));
	assert_true(wait_due(gateway, (keep_bytes){0}, LONG_MS));
	assert_false(wait_due(gateway, KEEP_BYTES("mail"), 30));
	keep_gateway_close(&other);
	end_with(&gateway);
}

static void a_delivery_falls_due_by_itself(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_message said = {.chat_jid = KEEP_BYTES("telegram:1"), .content = KEEP_BYTES("hi")};
	keep_message_list list = {0};
	int64_t begun_ns = kp_monotonic_ns(), begun_ms = kp_clock_ms();

	(void)state;
	OK(keep_gateway_put_outbound(gateway, &said, NULL, NULL, &err));
	OK(keep_gateway_claim_deliveries(gateway, KEEP_BYTES("telegram"), 1, 200, begun_ms, &memory,
					 &list, &err));
	assert_int_equal(list.count, 1);
	assert_false(wait_due(gateway, KEEP_BYTES("telegram"), 0));
	assert_true(wait_due(gateway, KEEP_BYTES("telegram"), LONG_MS)); /* the lease is over */
	assert_lasts(begun_ns, 199);
	end_with(&gateway);
}

/* ---------------------------------------------------------------- when nobody tells */

static void where_no_notification_can_be_made_waits_still_end(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *blind = NULL;
	struct waiter waiter, limited;
	char name[600];

	(void)state;
	if (gateway_is_file()) {
		snprintf(name, sizeof name, "%s-notify", gateway_url() + strlen("sqlite:"));
		assert_int_equal(unlink(name), 0);
		assert_int_equal(mkdir(name, 0700), 0);
	}
	blind = gateway_again("blind");
	start_waiter(&waiter, blind, 0, LONG_MS);
	start_waiter(&limited, blind, 1, 60);
	assert_false(join_waiter(&limited));
	gateway_put(gateway, "a:1", "1", "text");
	assert_true(join_waiter(&waiter));
	read_all(gateway, "w0");
	start_waiter(&waiter, blind, 0, -1);
	keep_gateway_cancel(blind);
	assert_false(join_waiter(&waiter));
	keep_gateway_close(&blind);
	end_with(&gateway);
}

static void a_connection_that_is_ended_under_a_wait_is_replaced(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	struct waiter waiter;

	(void)state;
	for (int round = 0; round < 3; round++) {
		char id[8];

		start_waiter(&waiter, gateway, 0, LONG_MS);
		if (!gateway_is_file())
			gateway_sql("SELECT count(pg_terminate_backend(pid)) || '' FROM "
				    "pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> "
				    "pg_backend_pid()");
		snprintf(id, sizeof id, "%d", round);
		gateway_put(gateway, "a:1", id, "text");
		assert_true(join_waiter(&waiter));
		read_all(gateway, "w0");
	}
	end_with(&gateway);
}

/* Told, not tested: how long a message takes from one process to who waits in another. */
static int compare_times(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void messages_are_told_within_moments(void **state)
{
	enum { MESSAGES = 60 };
	keep_gateway *gateway = gateway_fresh();
	int64_t took_ns[MESSAGES];
	int to_child[2], from_child[2];
	const char *url = gateway_url();
	pid_t child;

	(void)state;
	assert_int_equal(pipe2(to_child, O_CLOEXEC) + pipe2(from_child, O_CLOEXEC), 0);
	child = fork();
	if (child == 0) {
		dup2(to_child[0], 0);
		dup2(from_child[1], 1);
		execl(gateway_program(), "test_gateway_wait", "puts", url, (char *)NULL);
		_exit(9);
	}
	for (int i = 0; i < MESSAGES; i++) {
		int64_t stored_ns = 0, woken_ns;

		assert_int_equal(write(to_child[1], "x", 1), 1);
		assert_true(wait_ms(gateway, "router", LONG_MS));
		woken_ns = kp_monotonic_ns();
		assert_int_equal(read(from_child[0], &stored_ns, sizeof stored_ns),
				 sizeof stored_ns);
		took_ns[i] = woken_ns - stored_ns;
		read_all(gateway, "router");
	}
	close(to_child[1]);
	close(to_child[0]);
	close(from_child[0]);
	close(from_child[1]);
	waitpid(child, NULL, 0);
	qsort(took_ns, MESSAGES, sizeof *took_ns, compare_times);
	print_message("%s: from a put's answer to the waiter's: median %lld us, longest %lld us\n",
		      gateway_kind(), (long long)took_ns[MESSAGES / 2] / 1000,
		      (long long)took_ns[MESSAGES - 1] / 1000);
	end_with(&gateway);
}

/* For each byte a message; tells when its put was answered. */
static int be_the_stream(char **argv)
{
	keep_gateway *gateway = NULL;
	char byte, id[16];

	if (keep_gateway_open(argv[2], NULL, &gateway, &err) != KEEP_OK) {
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	for (int i = 0; read(0, &byte, 1) == 1; i++) {
		keep_message message = {.chat_jid = KEEP_BYTES("a:1"),
					.content = KEEP_BYTES("text")};
		int64_t now_ns;

		snprintf(id, sizeof id, "%d", i);
		message.id = keep_bytes_of(id);
		(void)poll(NULL, 0, 3); /* so that the other one sleeps: it is a measurement */
		if (keep_gateway_put_message(gateway, &message, NULL, NULL, &err) != KEEP_OK) {
			fprintf(stderr, "%s\n", err.message);
			return 1;
		}
		now_ns = kp_monotonic_ns();
		if (write(1, &now_ns, sizeof now_ns) != sizeof now_ns)
			return 1;
	}
	keep_gateway_close(&gateway);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_there_is_told_at_once),
		cmocka_unit_test(a_time_limit_holds),
		cmocka_unit_test(a_message_wakes_every_waiter_of_every_gateway),
		cmocka_unit_test(waiters_that_leave_take_nobody_along),
		cmocka_unit_test(a_message_of_another_process_wakes),
		cmocka_unit_test(what_an_agent_says_wakes_nobody_for_long),
		cmocka_unit_test(a_rewind_wakes_its_consumer),
		cmocka_unit_test(cancel_ends_all_waits_now_and_later_with_nothing),
		cmocka_unit_test(a_read_only_gateway_waits_too),
		cmocka_unit_test(a_delivery_wakes_its_channel_and_who_takes_any),
		cmocka_unit_test(a_delivery_falls_due_by_itself),
		cmocka_unit_test(where_no_notification_can_be_made_waits_still_end),
		cmocka_unit_test(a_connection_that_is_ended_under_a_wait_is_replaced),
		cmocka_unit_test(messages_are_told_within_moments),
	};
	int failed;

	if (argc == 5 && strcmp(argv[1], "put") == 0)
		return be_the_putter(argv);
	if (argc == 3 && strcmp(argv[1], "puts") == 0)
		return be_the_stream(argv);
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
