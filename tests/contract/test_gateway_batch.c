/*
 * test_gateway_batch.c - contracts/gateway.md, "Messages": many in one transaction.
 *
 *     test_gateway_batch sqlite|postgres
 */
#include "gateway_fixture.h"

#include <pthread.h>

enum { MANY = 1000 };

static keep_message message_of(const char *jid, const char *id, const char *content)
{
	return (keep_message){.chat_jid = keep_bytes_of(jid),
			      .id = keep_bytes_of(id),
			      .sender = KEEP_BYTES("ada"),
			      .content = keep_bytes_of(content)};
}

static void close_all(keep_gateway *gateway)
{
	keep_gateway_close(&gateway);
	kp_clock_inject(NULL, NULL);
	assert_nothing_lives();
}

static void each_message_of_a_batch_has_its_own_result(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	const keep_message messages[] = {
		message_of("web:a", "old", "hello"),    message_of("web:a", "old", "another"),
		message_of("web:a", "new", "hello"),    message_of("web:b", "new", "hello"),
		message_of("web:a", "new", "hello"),    message_of("web:a", "new", "another"),
		message_of("web:a", "new2", "hello"),   message_of("web:b", "new", "hello"),
		message_of("web:a", "quo\"te", "[{}]"), message_of("web:b", "\xc3\xa9\\", "\\\""),
	};
	const keep_put_result wanted[] = {
		{KEEP_PUT_DUPLICATE, 1}, {KEEP_PUT_CONFLICT, 1},  {KEEP_PUT_INSERTED, 2},
		{KEEP_PUT_INSERTED, 1},  {KEEP_PUT_DUPLICATE, 2}, {KEEP_PUT_CONFLICT, 2},
		{KEEP_PUT_INSERTED, 3},  {KEEP_PUT_DUPLICATE, 1}, {KEEP_PUT_INSERTED, 4},
		{KEEP_PUT_INSERTED, 2},
	};
	keep_put_result results[KP_COUNT(messages)];

	(void)state;
	gateway_put(gateway, "web:a", "old", "hello");
	for (int again = 0; again < 2; again++) {
		OK(keep_gateway_put_messages(gateway, messages, KP_COUNT(messages), results, &err));
		for (size_t i = 0; i < KP_COUNT(messages); i++) {
			bool replayed = again && wanted[i].put == KEEP_PUT_INSERTED;

			assert_int_equal(results[i].seq, wanted[i].seq);
			assert_int_equal(results[i].put,
					 replayed ? KEEP_PUT_DUPLICATE : wanted[i].put);
		}
	}
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM messages"), "6");
	assert_string_equal(gateway_sql("SELECT last_seq || ',' || last_input_seq FROM chats "
					"WHERE jid = 'web:a'"),
			    "4,4");
	assert_string_equal(gateway_sql("SELECT content FROM messages WHERE seq = 4"), "[{}]");
	close_all(gateway);
}

static void a_batch_renews_its_chats_and_wakes_their_consumers(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_pending_list pending;
	keep_chat chat;
	keep_message messages[] = {
		message_of("web:a", "1", "x"),
		message_of("web:a", "2", "x"),
		message_of("web:a", "3", "x"),
		message_of("telegram:b", "1", "x"),
	};
	bool woken = false;

	(void)state;
	gateway_put(gateway, "web:a", "0", "x");
	OK(keep_gateway_pending_chats(gateway, KEEP_BYTES("agent"), 0, &memory, &pending, &err));
	OK(keep_gateway_advance(gateway, KEEP_BYTES("agent"), KEEP_BYTES("web:a"), 1, NULL, &err));
	OK(keep_gateway_wait(gateway, KEEP_BYTES("agent"), 0, &woken, &err));
	assert_false(woken);
	messages[0].timestamp = kp_clock_ms() + 3000;
	messages[1].timestamp = kp_clock_ms() + 5000;
	messages[2].timestamp = kp_clock_ms() + KEEP_GATEWAY_FUTURE_MS * 2;
	OK(keep_gateway_put_messages(gateway, messages, KP_COUNT(messages), NULL, &err));
	OK(keep_gateway_wait(gateway, KEEP_BYTES("agent"), 0, &woken, &err));
	assert_true(woken);
	OK(keep_gateway_pending_chats(gateway, KEEP_BYTES("agent"), 0, &memory, &pending, &err));
	assert_int_equal(pending.count, 2);
	OK(keep_gateway_get_chat(gateway, KEEP_BYTES("web:a"), &memory, &chat, &err));
	assert_int_equal(chat.last_seq, 4);
	assert_int_equal(chat.last_message_at, messages[1].timestamp);
	OK(keep_gateway_get_chat(gateway, KEEP_BYTES("telegram:b"), &memory, &chat, &err));
	assert_bytes_equal(chat.channel, KEEP_BYTES("telegram"));
	keep_memory_release(&memory);
	close_all(gateway);
}

static void one_bad_message_stores_none(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_message messages[] = {message_of("web:a", "1", "x"), message_of("web:a", "2", "x"),
				   message_of("web:a", "3", "x")};
	keep_put_result results[3];

	(void)state;
	messages[2].verb = KEEP_BYTES("\xff");
	assert_int_equal(keep_gateway_put_messages(gateway, messages, 3, results, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "message 3 of 3"));
	assert_non_null(strstr(err.message, "verb"));
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM messages"), "0");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM chats"), "0");
	OK(keep_gateway_put_messages(gateway, messages, 0, NULL, &err));
	OK(keep_gateway_put_messages(gateway, NULL, 0, NULL, &err));
	close_all(gateway);
}

static void a_batch_has_at_most_a_thousand(void **state)
{
	static keep_message messages[MANY + 1];
	static keep_put_result results[MANY];
	static char ids[MANY + 1][16], jids[MANY + 1][16];
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int i = 0; i <= MANY; i++) {
		snprintf(ids[i], sizeof ids[i], "%d", i);
		snprintf(jids[i], sizeof jids[i], "web:%d", i % 300);
		messages[i] = message_of(jids[i], ids[i], "x");
	}
	assert_int_equal(keep_gateway_put_messages(gateway, messages, MANY + 1, results, &err),
			 KEEP_INVALID);
	OK(keep_gateway_put_messages(gateway, messages, MANY, results, &err));
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(results[i].put, KEEP_PUT_INSERTED);
		assert_int_equal(results[i].seq, i / 300 + 1);
	}
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM chats"), "300");
	close_all(gateway);
}

static void a_reader_stores_none(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_message message = message_of("web:a", "1", "x");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	options.read_only = true;
	OK(gateway_open_with(&options, &reader, &err));
	assert_int_equal(keep_gateway_put_messages(reader, &message, 1, NULL, &err), KEEP_DENIED);
	keep_gateway_close(&reader);
	close_all(gateway);
}

/* ---------------------------------------------------------------- threads */

enum { THREADS = 4, BATCHES = 12, EACH = 10 };

struct writer {
	keep_gateway *gateway;
	int number;
	bool failed;
	int64_t seqs[BATCHES * EACH];
};

static void *put_batches(void *ctx)
{
	struct writer *writer = ctx;
	keep_message messages[EACH];
	keep_put_result results[EACH];
	keep_error err = KEEP_ERROR_INIT;
	char ids[EACH][24];

	for (int b = 0; b < BATCHES; b++) {
		for (int i = 0; i < EACH; i++) {
			snprintf(ids[i], sizeof ids[i], "%d-%d-%d", writer->number, b, i);
			messages[i] = message_of("web:all", ids[i], "x");
		}
		writer->failed |= keep_gateway_put_messages(writer->gateway, messages, EACH,
							    results, &err) != KEEP_OK;
		for (int i = 0; i < EACH; i++)
			writer->seqs[b * EACH + i] = results[i].seq;
	}
	return NULL;
}

static void batches_of_many_threads_have_consecutive_numbers(void **state)
{
	static bool seen[THREADS * BATCHES * EACH + 1];
	static struct writer writers[THREADS];
	keep_gateway *gateway = gateway_fresh();
	pthread_t threads[THREADS];

	(void)state;
	memset(seen, 0, sizeof seen);
	for (int i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){.gateway = gateway, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, put_batches, &writers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < THREADS; i++) {
		assert_false(writers[i].failed);
		for (int m = 0; m < BATCHES * EACH; m++) {
			int64_t seq = writers[i].seqs[m];

			assert_true(seq >= 1 && seq <= THREADS * BATCHES * EACH && !seen[seq]);
			seen[seq] = true;
			/* A batch is one transaction: nobody else is in between. */
			if (m % EACH)
				assert_int_equal(seq, writers[i].seqs[m - 1] + 1);
		}
	}
	close_all(gateway);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_message_of_a_batch_has_its_own_result),
		cmocka_unit_test(a_batch_renews_its_chats_and_wakes_their_consumers),
		cmocka_unit_test(one_bad_message_stores_none),
		cmocka_unit_test(a_batch_has_at_most_a_thousand),
		cmocka_unit_test(a_reader_stores_none),
		cmocka_unit_test(batches_of_many_threads_have_consecutive_numbers),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
