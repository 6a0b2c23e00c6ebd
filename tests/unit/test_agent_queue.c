/*
 * test_agent_queue.c - which session is served next: each once, in turn, news kept, failures later.
 */
#include "keep_test.h"
#include "service/agents.h"

static const char *take(kp_agent_queue *queue, int64_t now_ms, kp_queued **queued)
{
	int64_t pause_ms = 1000000;

	*queued = kp_agent_queue_take(queue, now_ms, &pause_ms);
	return *queued ? kp_queued_session(*queued).data : "";
}

static void add(kp_agent_queue *queue, const char *session)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_agent_queue_add(queue, keep_bytes_of(session), &err));
}

static void sessions_take_turns_and_each_is_there_once(void **state)
{
	kp_agent_queue queue;
	kp_queued *a, *b, *none;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_agent_queue_init(&queue, &err));
	add(&queue, "a");
	add(&queue, "b");
	add(&queue, "a");
	assert_string_equal(take(&queue, 0, &a), "a");
	assert_string_equal(take(&queue, 0, &b), "b");
	assert_string_equal(take(&queue, 0, &none), "");
	add(&queue, "c");
	kp_agent_queue_settle(&queue, &a, KP_SERVED_MORE, 0);
	assert_string_equal(take(&queue, 0, &none), "c");
	assert_string_equal(take(&queue, 0, &a), "a");
	kp_agent_queue_settle(&queue, &none, KP_SERVED_DONE, 0);
	kp_agent_queue_settle(&queue, &a, KP_SERVED_DONE, 0);
	assert_int_equal(queue.count, 1); /* b is still taken */
	kp_agent_queue_settle(&queue, &b, KP_SERVED_DONE, 0);
	assert_int_equal(queue.count, 0);
	kp_agent_queue_release(&queue);
	assert_nothing_lives();
}

static void news_that_come_while_it_is_taken_are_not_lost(void **state)
{
	kp_agent_queue queue;
	kp_queued *a, *again;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_agent_queue_init(&queue, &err));
	add(&queue, "a");
	assert_string_equal(take(&queue, 0, &a), "a");
	add(&queue, "a");
	assert_string_equal(take(&queue, 0, &again), "");
	kp_agent_queue_settle(&queue, &a, KP_SERVED_DONE, 0);
	assert_string_equal(take(&queue, 0, &a), "a");
	kp_agent_queue_settle(&queue, &a, KP_SERVED_DONE, 0);
	assert_string_equal(take(&queue, 0, &a), "");
	kp_agent_queue_release(&queue);
	assert_nothing_lives();
}

static void a_failure_waits_longer_each_time_and_news_do_not_hurry_it(void **state)
{
	kp_agent_queue queue;
	kp_queued *a, *b;
	int64_t now_ms = 0, pause_ms;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_agent_queue_init(&queue, &err));
	add(&queue, "a");
	assert_string_equal(take(&queue, now_ms, &a), "a");
	for (int64_t expected = 1000; expected <= 32000; expected *= 2) {
		int64_t wait_ms = expected > 15000 ? 15000 : expected;

		kp_agent_queue_settle(&queue, &a, KP_SERVED_FAILED, now_ms);
		add(&queue, "a");
		pause_ms = 1000000;
		assert_null(kp_agent_queue_take(&queue, now_ms + wait_ms - 1, &pause_ms));
		assert_int_equal(pause_ms, 1);
		assert_false(kp_agent_queue_is_ready(&queue, now_ms + wait_ms - 1));
		now_ms += wait_ms;
		assert_true(kp_agent_queue_is_ready(&queue, now_ms));
		assert_string_equal(take(&queue, now_ms, &a), "a");
	}
	/* One that failed later, but only once, comes before it. */
	kp_agent_queue_settle(&queue, &a, KP_SERVED_FAILED, now_ms);
	add(&queue, "b");
	assert_string_equal(take(&queue, now_ms, &b), "b");
	kp_agent_queue_settle(&queue, &b, KP_SERVED_FAILED, now_ms);
	assert_string_equal(take(&queue, now_ms + 1000, &b), "b");
	kp_agent_queue_settle(&queue, &b, KP_SERVED_DONE, now_ms);
	assert_string_equal(take(&queue, now_ms + 15000, &a), "a");
	kp_agent_queue_settle(&queue, &a, KP_SERVED_DONE, now_ms);
	kp_agent_queue_release(&queue);
	assert_nothing_lives();
}

static void more_than_its_most_is_refused(void **state)
{
	kp_agent_queue queue;
	keep_error err = KEEP_ERROR_INIT;
	char id[32];

	(void)state;
	OK(kp_agent_queue_init(&queue, &err));
	for (int i = 0; i < KP_QUEUE_MAX; i++) {
		(void)snprintf(id, sizeof id, "s%d", i);
		add(&queue, id);
	}
	assert_int_equal(kp_agent_queue_add(&queue, KEEP_BYTES("one more"), &err), KEEP_FULL);
	add(&queue, "s7"); /* it is there */
	assert_int_equal(kp_agent_queue_add(&queue, KEEP_BYTES(""), &err), KEEP_INVALID);
	kp_agent_queue_release(&queue);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sessions_take_turns_and_each_is_there_once),
		cmocka_unit_test(news_that_come_while_it_is_taken_are_not_lost),
		cmocka_unit_test(a_failure_waits_longer_each_time_and_news_do_not_hurry_it),
		cmocka_unit_test(more_than_its_most_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
