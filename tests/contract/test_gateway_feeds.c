/*
 * test_gateway_feeds.c - contracts/service.md, events and deliveries: the feed of changes and the
 * feed of outcomes.
 *
 *     test_gateway_feeds sqlite|postgres
 *     test_gateway_feeds put URL JID ID                another process, which puts one message
 *     test_gateway_feeds write URL WRITER              another process, which writes with others
 */
#include "delivery_steps.h"

#include "schedule/due.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG_MS = 60000 };

static keep_error err = KEEP_ERROR_INIT;
static keep_memory memory = KEEP_MEMORY_INIT;

static int64_t last_change(keep_gateway *gateway)
{
	int64_t change = -1;

	OK(keep_gateway_last_change(gateway, &change, &err));
	return change;
}

static keep_message_list changes(keep_gateway *gateway, int64_t after, size_t limit)
{
	keep_message_list list = {0};

	OK(keep_gateway_changes(gateway, after, limit, &memory, &list, &err));
	for (size_t i = 0; i < list.count; i++) {
		assert_true(list.items[i].change > after);
		after = list.items[i].change;
	}
	return list;
}

/* The ids of outcomes as "a b c". */
static const char *outcomes(keep_gateway *gateway)
{
	static char ids[400];
	keep_message_list list = {0};

	OK(keep_gateway_outcomes(gateway, 0, &memory, &list, &err));
	ids[0] = '\0';
	for (size_t i = 0; i < list.count; i++)
		snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s%.*s", i ? " " : "",
			 (int)list.items[i].id.len, list.items[i].id.data);
	return ids;
}

static void say_for(keep_gateway *gateway, const char *jid, const char *id, const char *return_to)
{
	keep_message message = outbound(jid, id);

	message.return_to = keep_bytes_of(return_to);
	OK(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err));
}

static keep_status settle(keep_gateway *gateway, const char *jid, const char *id, int64_t attempts)
{
	return keep_gateway_settle_outcome(gateway, keep_bytes_of(jid), keep_bytes_of(id), attempts,
					   &err);
}

/* ---------------------------------------------------------------- changes */

static const char *status_now(keep_gateway *gateway, int64_t after)
{
	static char text[40];
	keep_message_list list = changes(gateway, after, 0);

	assert_int_equal(list.count, 1);
	snprintf(text, sizeof text, "%.*s %d", (int)list.items[0].status.len,
		 list.items[0].status.data, (int)list.items[0].attempts);
	return text;
}

static void whatever_becomes_of_a_message_is_a_change_and_a_replay_is_none(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_message replay = {.chat_jid = KEEP_BYTES("web:1"),
			       .id = KEEP_BYTES("in"),
			       .sender = KEEP_BYTES("ada"),
			       .content = KEEP_BYTES("text")};
	int64_t seen = 0;

	(void)state;
	assert_int_equal(last_change(gateway), 0);
	assert_int_equal(changes(gateway, 0, 0).count, 0);
	gateway_put(gateway, "web:1", "in", "text");
	assert_string_equal(status_now(gateway, 0), "received 0");
	seen = last_change(gateway);
	OK(keep_gateway_put_message(gateway, &replay, NULL, NULL, &err));
	assert_int_equal(last_change(gateway), seen);
	say(gateway, "web:1", "out");
	assert_string_equal(status_now(gateway, seen), "pending 0");
	seen = last_change(gateway);
	assert_string_equal(claim(gateway, "web", 0, 0), "out");
	assert_string_equal(status_now(gateway, seen), "sending 1");
	seen = last_change(gateway);
	OK(keep_gateway_extend_delivery(gateway, KEEP_BYTES("web:1"), KEEP_BYTES("out"), 1, LEASE,
					NOW + 1, &err));
	assert_string_equal(status_now(gateway, seen), "sending 1");
	seen = last_change(gateway);
	assert_int_equal(tell(gateway, "web:1", "out", 1, KEEP_DELIVERY_FAILED, 2), KEEP_OK);
	assert_string_equal(status_now(gateway, seen), "failed 1");
	seen = last_change(gateway);
	assert_int_equal(tell(gateway, "web:1", "out", 1, KEEP_DELIVERY_FAILED, 2), KEEP_OK);
	assert_int_equal(last_change(gateway), seen);
	OK(keep_gateway_retry_delivery(gateway, KEEP_BYTES("web:1"), KEEP_BYTES("out"), &err));
	assert_string_equal(status_now(gateway, seen), "pending 1");
	assert_int_equal(changes(gateway, last_change(gateway), 0).count, 0);
	close_all(gateway, &memory);
}

static void each_message_comes_once_in_the_order_of_latest_changes(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_message many[3];
	keep_message_list list;

	(void)state;
	for (int i = 0; i < 3; i++)
		many[i] = (keep_message){.chat_jid = KEEP_BYTES("web:2"),
					 .id = (keep_bytes){&"abc"[i], 1},
					 .content = KEEP_BYTES("text")};
	say(gateway, "web:1", "1");
	say(gateway, "web:1", "2");
	OK(keep_gateway_put_messages(gateway, many, 3, NULL, &err));
	say(gateway, "web:3", "3");
	assert_string_equal(claim(gateway, "web", 0, 0), "1 3 2");
	list = changes(gateway, 0, 0);
	assert_int_equal(list.count, 6);
	for (int i = 0; i < 6; i++)
		assert_bytes_equal(list.items[i].id, (keep_bytes){&"abc132"[i], 1});
	assert_int_equal(changes(gateway, list.items[1].change, 2).count, 2);
	assert_int_equal(changes(gateway, list.items[5].change, 0).count, 0);
	assert_int_equal(keep_gateway_changes(gateway, -1, 0, &memory, &list, &err), KEEP_INVALID);
	assert_int_equal(keep_gateway_changes(gateway, 0, 1001, &memory, &list, &err),
			 KEEP_INVALID);
	close_all(gateway, &memory);
}

/* Leases that end because their owner is gone are changes, too: one each. */
static void leases_of_a_process_that_is_gone_end_with_a_change_each(void **state)
{
	keep_gateway *gateway = open_at_now();
	char owner[KP_OWNER_TEXT_SIZE], sql[KP_OWNER_TEXT_SIZE + 80];
	int64_t seen;

	(void)state;
	for (int i = 0; i < 5; i++)
		say(gateway, "web:1", (char[]){(char)('a' + i), '\0'});
	assert_string_equal(claim(gateway, "web", 0, 0), "a b c d e");
	seen = last_change(gateway);
	OK(kp_owner_make(owner, &err)); /* but of a number that no process has */
	snprintf(sql, sizeof sql, "UPDATE messages SET lease_owner = '2147483646%s'",
		 strchr(owner, '.'));
	gateway_sql(sql);
	assert_string_equal(claim(gateway, "web", 2, 1), "a b");
	assert_int_equal(changes(gateway, seen, 0).count, 5);
	close_all(gateway, &memory);
}

static void what_cannot_be_read_is_passed_over_and_waited_for_by_nobody(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_message_list list;
	bool found = true;
	int64_t seen;

	(void)state;
	for (int i = 0; i < 6; i++)
		say_for(gateway, "web:1", (char[]){(char)('a' + i), '\0'}, "me");
	assert_string_equal(claim(gateway, "web", 0, 0), "a b c d e f");
	for (int i = 0; i < 6; i++)
		assert_int_equal(tell(gateway, "web:1", (char[]){(char)('a' + i), '\0'}, 1,
				      KEEP_DELIVERY_DELIVERED, 0),
				 KEEP_OK);
	gateway_sql(gateway_is_file()
			    ? "UPDATE messages SET \"timestamp\" = 'never' WHERE id <> 'd'"
			    : "UPDATE messages SET \"timestamp\" = 'infinity' WHERE id <> 'd'");
	list = changes(gateway, 0, 1);
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].id, KEEP_BYTES("d"));
	seen = list.items[0].change;
	assert_int_equal(changes(gateway, 0, 2).count, 1);
	assert_string_equal(outcomes(gateway), "d");
	OK(keep_gateway_wait_changes(gateway, 0, LONG_MS, &found, &err));
	assert_true(found);
	OK(keep_gateway_wait_changes(gateway, seen, 0, &found, &err));
	assert_false(found);
	OK(keep_gateway_wait_outcomes(gateway, 0, &found, &err));
	assert_true(found);
	OK(settle(gateway, "web:1", "d", 1));
	OK(keep_gateway_wait_outcomes(gateway, 20, &found, &err));
	assert_false(found);
	close_all(gateway, &memory);
}

/* ---------------------------------------------------------------- writers together */

enum { THREADS = 3, PROCESSES = 2, WRITERS = THREADS + PROCESSES, ROUNDS = 60, EACH = 4 };

/* A round: one alone, two in a batch, one to be delivered; and then a delivery or two of anybody's
   goes on. */
static void write_round(keep_gateway *gateway, int writer, int round)
{
	char jid[20], ids[EACH][20];
	keep_message messages[EACH];
	keep_memory own = KEEP_MEMORY_INIT;
	keep_message_list list = {0};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	snprintf(jid, sizeof jid, "web:%d", (writer + round) % 3);
	for (int i = 0; i < EACH; i++) {
		snprintf(ids[i], sizeof ids[i], "%d-%d", writer, round * EACH + i);
		messages[i] = (keep_message){.chat_jid = keep_bytes_of(jid),
					     .id = keep_bytes_of(ids[i]),
					     .content = KEEP_BYTES("text")};
	}
	status = keep_gateway_put_message(gateway, &messages[0], NULL, NULL, &why);
	if (status == KEEP_OK)
		status = keep_gateway_put_messages(gateway, &messages[1], 2, NULL, &why);
	if (status == KEEP_OK)
		status = keep_gateway_put_outbound(gateway, &messages[3], NULL, NULL, &why);
	if (status == KEEP_OK)
		status = keep_gateway_claim_deliveries(gateway, (keep_bytes){0}, 2, 600000,
						       KEEP_NOW, &own, &list, &why);
	for (size_t i = 0; i < list.count && status == KEEP_OK; i++) {
		keep_delivery_report report = {.jid = list.items[i].chat_jid,
					       .id = list.items[i].id,
					       .attempt = list.items[i].attempts,
					       .delivery = round % 3 ? KEEP_DELIVERY_DELIVERED
								     : KEEP_DELIVERY_RETRY,
					       .retry_at = round % 3 ? 0 : 1};

		status = keep_gateway_complete_delivery(gateway, &report, KEEP_NOW, &why);
	}
	keep_memory_release(&own);
	if (status != KEEP_OK) {
		fprintf(stderr, "writer %d: %s\n", writer, why.message);
		abort();
	}
}

static keep_gateway *open_patiently(const char *url)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;

	options.timeout_ms = LONG_MS;
	if (keep_gateway_open(url, &options, &gateway, &err) != KEEP_OK) {
		fprintf(stderr, "%s\n", err.message);
		abort();
	}
	return gateway;
}

struct writer {
	keep_gateway *gateway;
	int number;
	pthread_t thread;
};

static atomic_int writing;

static void *write_in_a_thread(void *ctx)
{
	const struct writer *writer = ctx;

	for (int i = 0; i < ROUNDS; i++)
		write_round(writer->gateway, writer->number, i);
	atomic_fetch_sub(&writing, 1);
	return NULL;
}

static int be_a_writer(char **argv)
{
	keep_gateway *gateway = open_patiently(argv[2]);

	for (int i = 0; i < ROUNDS; i++)
		write_round(gateway, atoi(argv[3]), i);
	keep_gateway_close(&gateway);
	return 0;
}

/* What a reader has seen of each message. */
struct mirror {
	struct {
		int64_t change, attempts, next_attempt_at;
		char status[16];
	} seen[WRITERS][ROUNDS * EACH];
	int64_t after;
	size_t messages;
};

static void mirror_message(struct mirror *mirror, const keep_message *message)
{
	int writer = 0, number = 0;
	char id[20];

	snprintf(id, sizeof id, "%.*s", (int)message->id.len, message->id.data);
	assert_int_equal(sscanf(id, "%d-%d", &writer, &number), 2);
	mirror->messages += !mirror->seen[writer][number].change;
	assert_true(message->change > mirror->after);
	mirror->after = message->change;
	mirror->seen[writer][number].change = message->change;
	mirror->seen[writer][number].attempts = message->attempts;
	mirror->seen[writer][number].next_attempt_at = message->next_attempt_at;
	snprintf(mirror->seen[writer][number].status, 16, "%.*s", (int)message->status.len,
		 message->status.data);
}

static void follow(keep_gateway *gateway, struct mirror *mirror, int64_t timeout_ms)
{
	keep_message_list list = {0};
	bool found = false;

	OK(keep_gateway_wait_changes(gateway, mirror->after, timeout_ms, &found, &err));
	list = changes(gateway, mirror->after, 7);
	assert_true(!found || list.count);
	for (size_t i = 0; i < list.count; i++)
		mirror_message(mirror, &list.items[i]);
	keep_memory_release(&memory);
}

static void compare_mirror(keep_gateway *gateway, struct mirror *mirror)
{
	struct mirror *again = calloc(1, sizeof *again);

	assert_non_null(again);
	for (int chat = 0; chat < 3; chat++) {
		keep_message_list list = {0};
		char jid[20];

		snprintf(jid, sizeof jid, "web:%d", chat);
		OK(keep_gateway_history(gateway, keep_bytes_of(jid), 0, 1000, &memory, &list,
					&err));
		for (size_t i = 0; i < list.count; i++) {
			again->after = 0;
			mirror_message(again, &list.items[i]);
		}
	}
	keep_memory_release(&memory);
	assert_int_equal(again->messages, WRITERS * ROUNDS * EACH);
	assert_int_equal(mirror->messages, again->messages);
	for (int writer = 0; writer < WRITERS; writer++)
		for (int i = 0; i < ROUNDS * EACH; i++)
			CHECK(memcmp(&mirror->seen[writer][i], &again->seen[writer][i],
				     sizeof mirror->seen[writer][i]) == 0,
			      "%d-%d was last seen %s with change %lld", writer, i,
			      mirror->seen[writer][i].status,
			      (long long)mirror->seen[writer][i].change);
	free(again);
}

static void who_follows_changes_beside_many_writers_ends_with_everything_as_it_is(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	struct mirror *mirror = calloc(1, sizeof *mirror);
	struct writer writers[THREADS];
	pid_t children[PROCESSES];
	const char *url = gateway_url();
	int status;

	(void)state;
	assert_non_null(mirror);
	for (int i = 0; i < PROCESSES; i++) {
		char number[8];

		snprintf(number, sizeof number, "%d", THREADS + i);
		children[i] = fork();
		if (children[i] == 0) {
			execl(gateway_program(), "test_gateway_feeds", "write", url, number,
			      (char *)NULL);
			_exit(9);
		}
	}
	atomic_store(&writing, THREADS);
	for (int i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){.gateway = open_patiently(url), .number = i};
		assert_int_equal(
			pthread_create(&writers[i].thread, NULL, write_in_a_thread, &writers[i]),
			0);
	}
	while (atomic_load(&writing))
		follow(gateway, mirror, 50);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(writers[i].thread, NULL);
		keep_gateway_close(&writers[i].gateway);
	}
	for (int i = 0; i < PROCESSES; i++) {
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
	while (mirror->after < last_change(gateway))
		follow(gateway, mirror, LONG_MS);
	compare_mirror(gateway, mirror);
	free(mirror);
	close_all(gateway, &memory);
}

/* ---------------------------------------------------------------- outcomes */

static void outcomes_are_the_ended_deliveries_of_those_who_want_to_hear(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_message_list list = {0};

	(void)state;
	say_for(gateway, "web:1", "a", "session key 1");
	say(gateway, "web:1", "silent");
	say_for(gateway, "web:2", "b", "session other 1");
	say_for(gateway, "web:3", "c", "third");
	say_for(gateway, "web:4", "d", "fourth");
	say_for(gateway, "web:5", "pending", "fifth");
	assert_string_equal(outcomes(gateway), "");
	assert_int_equal(strlen(claim(gateway, "web", 0, 0)), strlen("a b c d pending silent"));
	assert_int_equal(tell(gateway, "web:4", "d", 1, KEEP_DELIVERY_UNCERTAIN, 0), KEEP_OK);
	assert_int_equal(tell(gateway, "web:1", "a", 1, KEEP_DELIVERY_DELIVERED, 0), KEEP_OK);
	assert_int_equal(tell(gateway, "web:1", "silent", 1, KEEP_DELIVERY_DELIVERED, 0), KEEP_OK);
	assert_int_equal(tell(gateway, "web:2", "b", 1, KEEP_DELIVERY_FAILED, 0), KEEP_OK);
	assert_int_equal(tell(gateway, "web:3", "c", 1, KEEP_DELIVERY_REFUSED, 0), KEEP_OK);
	assert_int_equal(tell(gateway, "web:5", "pending", 1, KEEP_DELIVERY_RETRY, 0), KEEP_OK);
	assert_string_equal(outcomes(gateway), "d a b c");
	OK(keep_gateway_outcomes(gateway, 1, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].return_to, KEEP_BYTES("fourth"));
	assert_bytes_equal(list.items[0].status, KEEP_BYTES("uncertain"));
	close_all(gateway, &memory);
}

static void a_settled_outcome_comes_no_more_and_is_no_change(void **state)
{
	keep_gateway *gateway = open_at_now();
	int64_t seen;

	(void)state;
	say_for(gateway, "web:1", "a", "me");
	say_for(gateway, "web:1", "b", "me");
	assert_int_equal(settle(gateway, "web:1", "a", 0), KEEP_CONFLICT); /* it is not over */
	assert_string_equal(claim(gateway, "web", 0, 0), "a b");
	assert_int_equal(settle(gateway, "web:1", "a", 1), KEEP_CONFLICT);
	assert_int_equal(tell(gateway, "web:1", "a", 1, KEEP_DELIVERY_DELIVERED, 0), KEEP_OK);
	assert_int_equal(tell(gateway, "web:1", "b", 1, KEEP_DELIVERY_DELIVERED, 0), KEEP_OK);
	seen = last_change(gateway);
	assert_int_equal(settle(gateway, "web:1", "a", 2), KEEP_CONFLICT);
	OK(settle(gateway, "web:1", "a", 1));
	OK(settle(gateway, "web:1", "a", 1));
	assert_int_equal(settle(gateway, "web:1", "nobody", 1), KEEP_NOT_FOUND);
	assert_int_equal(settle(gateway, "web:1", "", 1), KEEP_INVALID);
	assert_string_equal(outcomes(gateway), "b");
	assert_int_equal(last_change(gateway), seen);
	close_all(gateway, &memory);
}

static void an_outcome_that_was_retried_by_hand_is_not_settled(void **state)
{
	keep_gateway *gateway = open_at_now();

	(void)state;
	say_for(gateway, "web:1", "a", "me");
	assert_string_equal(claim(gateway, "web", 0, 0), "a");
	assert_int_equal(tell(gateway, "web:1", "a", 1, KEEP_DELIVERY_FAILED, 0), KEEP_OK);
	OK(keep_gateway_retry_delivery(gateway, KEEP_BYTES("web:1"), KEEP_BYTES("a"), &err));
	assert_string_equal(outcomes(gateway), "");
	assert_int_equal(settle(gateway, "web:1", "a", 1), KEEP_CONFLICT);
	assert_string_equal(claim(gateway, "web", 0, 1), "a");
	assert_int_equal(tell(gateway, "web:1", "a", 2, KEEP_DELIVERY_DELIVERED, 1), KEEP_OK);
	assert_int_equal(settle(gateway, "web:1", "a", 1), KEEP_CONFLICT);
	assert_string_equal(outcomes(gateway), "a");
	OK(settle(gateway, "web:1", "a", 2));
	assert_string_equal(outcomes(gateway), "");
	close_all(gateway, &memory);
}

static void who_says_it_once_more_hears_of_it(void **state)
{
	keep_gateway *gateway = open_at_now();
	keep_message_list list = {0};
	keep_message message = outbound("web:1", "a");
	keep_put_result result = {0};
	char text[KEEP_GATEWAY_TEXT_MAX + 1];

	(void)state;
	say_for(gateway, "web:1", "a", "attempt 1");
	assert_string_equal(claim(gateway, "web", 0, 0), "a");
	assert_int_equal(tell(gateway, "web:1", "a", 1, KEEP_DELIVERY_DELIVERED, 0), KEEP_OK);
	OK(settle(gateway, "web:1", "a", 1));
	message.return_to = KEEP_BYTES("attempt 2");
	OK(keep_gateway_put_outbound(gateway, &message, &result, NULL, &err));
	assert_int_equal(result.put, KEEP_PUT_DUPLICATE);
	OK(keep_gateway_outcomes(gateway, 0, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].return_to, KEEP_BYTES("attempt 2"));
	message.return_to = (keep_bytes){0}; /* nothing said: it stays */
	OK(keep_gateway_put_outbound(gateway, &message, &result, NULL, &err));
	assert_string_equal(outcomes(gateway), "a");
	memset(text, 'x', sizeof text);
	message.return_to = (keep_bytes){text, sizeof text};
	assert_int_equal(keep_gateway_put_outbound(gateway, &message, &result, NULL, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "return_to"));
	close_all(gateway, &memory);
}

/* ---------------------------------------------------------------- waiting */

enum what { INPUT, CHANGES, OUTCOMES };

struct waiter {
	keep_gateway *gateway;
	enum what what;
	int64_t after;
	keep_status status;
	bool found;
	pthread_t thread;
};

static void *wait_in_a_thread(void *ctx)
{
	struct waiter *waiter = ctx;

	switch (waiter->what) {
	case INPUT:
		waiter->status = keep_gateway_wait(waiter->gateway, KEEP_BYTES("serve"), -1,
						   &waiter->found, NULL);
		break;
	case CHANGES:
		waiter->status = keep_gateway_wait_changes(waiter->gateway, waiter->after, -1,
							   &waiter->found, NULL);
		break;
	case OUTCOMES:
		waiter->status =
			keep_gateway_wait_outcomes(waiter->gateway, -1, &waiter->found, NULL);
		break;
	}
	return NULL;
}

static void start_waiter(struct waiter *waiter, keep_gateway *gateway, enum what what)
{
	*waiter = (struct waiter){.gateway = gateway, .what = what, .after = last_change(gateway)};
	assert_int_equal(pthread_create(&waiter->thread, NULL, wait_in_a_thread, waiter), 0);
}

static bool join_waiter(struct waiter *waiter)
{
	pthread_join(waiter->thread, NULL);
	assert_int_equal(waiter->status, KEEP_OK);
	return waiter->found;
}

static int be_the_putter(char **argv)
{
	keep_gateway *gateway = open_patiently(argv[2]);

	gateway_put(gateway, argv[3], argv[4], "text");
	keep_gateway_close(&gateway);
	return 0;
}

static void another_process_wakes_who_waits_for_changes(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	const char *url = gateway_url();

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct waiter waiter;
		char id[8];
		pid_t child;
		int status = -1;

		snprintf(id, sizeof id, "%d", i);
		start_waiter(&waiter, gateway, CHANGES);
		child = fork();
		if (child == 0) {
			execl(gateway_program(), "test_gateway_feeds", "put", url, "web:1", id,
			      (char *)NULL);
			_exit(9);
		}
		assert_true(join_waiter(&waiter));
		waitpid(child, &status, 0);
		assert_int_equal(status, 0);
	}
	close_all(gateway, &memory);
}

/* Claims, extensions and settlements tell, too. */
static void every_kind_of_change_wakes_who_waits_for_changes(void **state)
{
	keep_gateway *gateway = open_at_now(), *other = gateway_again("other");
	struct waiter waiter;

	(void)state;
	start_waiter(&waiter, gateway, CHANGES);
	say(other, "web:1", "a");
	assert_true(join_waiter(&waiter));
	start_waiter(&waiter, gateway, CHANGES);
	assert_string_equal(claim(other, "web", 0, 0), "a");
	assert_true(join_waiter(&waiter));
	start_waiter(&waiter, gateway, CHANGES);
	OK(keep_gateway_extend_delivery(other, KEEP_BYTES("web:1"), KEEP_BYTES("a"), 1, LEASE,
					NOW + 1, &err));
	assert_true(join_waiter(&waiter));
	start_waiter(&waiter, gateway, CHANGES);
	assert_int_equal(tell(other, "web:1", "a", 1, KEEP_DELIVERY_DELIVERED, 2), KEEP_OK);
	assert_true(join_waiter(&waiter));
	keep_gateway_close(&other);
	close_all(gateway, &memory);
}

static void an_outcome_wakes_who_waits_for_it(void **state)
{
	keep_gateway *gateway = open_at_now(), *other = gateway_again("other");
	struct waiter waiter;
	bool found = true;

	(void)state;
	say_for(other, "web:1", "a", "me");
	assert_string_equal(claim(other, "web", 0, 0), "a");
	OK(keep_gateway_wait_outcomes(gateway, 20, &found, &err));
	assert_false(found);
	start_waiter(&waiter, gateway, OUTCOMES);
	assert_int_equal(tell(other, "web:1", "a", 1, KEEP_DELIVERY_REFUSED, 0), KEEP_OK);
	assert_true(join_waiter(&waiter));
	keep_gateway_close(&other);
	close_all(gateway, &memory);
}

static void cancel_ends_all_waits_of_feeds_with_nothing(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	struct waiter waiters[3];
	bool found = true;

	(void)state;
	for (int i = 0; i < 3; i++)
		start_waiter(&waiters[i], gateway, (enum what)i);
	keep_gateway_cancel(gateway);
	for (int i = 0; i < 3; i++)
		assert_false(join_waiter(&waiters[i]));
	gateway_put(gateway, "web:1", "1", "text");
	OK(keep_gateway_wait_changes(gateway, 0, -1, &found, &err));
	assert_false(found);
	close_all(gateway, &memory);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_becomes_of_a_message_is_a_change_and_a_replay_is_none),
		cmocka_unit_test(each_message_comes_once_in_the_order_of_latest_changes),
		cmocka_unit_test(leases_of_a_process_that_is_gone_end_with_a_change_each),
		cmocka_unit_test(what_cannot_be_read_is_passed_over_and_waited_for_by_nobody),
		cmocka_unit_test(
			who_follows_changes_beside_many_writers_ends_with_everything_as_it_is),
		cmocka_unit_test(outcomes_are_the_ended_deliveries_of_those_who_want_to_hear),
		cmocka_unit_test(a_settled_outcome_comes_no_more_and_is_no_change),
		cmocka_unit_test(an_outcome_that_was_retried_by_hand_is_not_settled),
		cmocka_unit_test(who_says_it_once_more_hears_of_it),
		cmocka_unit_test(another_process_wakes_who_waits_for_changes),
		cmocka_unit_test(every_kind_of_change_wakes_who_waits_for_changes),
		cmocka_unit_test(an_outcome_wakes_who_waits_for_it),
		cmocka_unit_test(cancel_ends_all_waits_of_feeds_with_nothing),
	};
	int failed;

	if (argc == 5 && strcmp(argv[1], "put") == 0)
		return be_the_putter(argv);
	if (argc == 4 && strcmp(argv[1], "write") == 0)
		return be_a_writer(argv);
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
