/*
 * test_mailbox_ask.c - contracts/mailbox.md: a question of the agent's, and its answer.
 *
 *     test_mailbox_ask sqlite|postgres
 *
 * The host's part is played by a post of what it would post.
 */
#include "mailbox_fixture.h"

#include <pthread.h>
#include <unistd.h>

static keep_error err = KEEP_ERROR_INIT;
static keep_memory memory = KEEP_MEMORY_INIT;
static keep_mailbox *mailbox;
static keep_agent *agent;
static char session[KEEP_SEGMENT_MAX + 1];
static keep_sent asked;

static const keep_bytes options[] = {{"yes", 3}, {"no", 2}};

static void begin(void)
{
	char sql[300];

	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	agent = mailbox_agent(mailbox, session);
	snprintf(sql, sizeof sql,
		 "INSERT INTO destinations (%sname, type, channel_type, platform_id) VALUES "
		 "(%s%s%s'mum', 'channel', 'signal', '+32')",
		 mailbox_is_file() ? "" : "session_id, ", mailbox_is_file() ? "" : "'",
		 mailbox_is_file() ? "" : session, mailbox_is_file() ? "" : "', ");
	(void)mailbox_sql(session, "inbound.db", sql);
}

static void end(void)
{
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	keep_memory_release(&memory);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
}

static void ask(void)
{
	OK(keep_agent_ask(agent, KEEP_BYTES("Shall \"we\"?"), options, 2, KEEP_BYTES("mum"),
			  KEEP_NOW, &asked, &err));
}

static void post_answer(const char *suffix, const char *type, const char *option)
{
	char id[KEEP_SEGMENT_MAX + 40], content[400];
	keep_post post = {.id = {.data = NULL}, .kind = KEEP_BYTES("system")};
	keep_post_result result;

	snprintf(id, sizeof id, "qr-%s%s", asked.id, suffix);
	snprintf(content, sizeof content,
		 "{\"type\":\"%s\",\"questionId\":\"%s\",\"selectedOption\":\"%s\",\"userId\":"
		 "\"u1\"}",
		 type, asked.id, option);
	post.id = keep_bytes_of(id);
	post.content = keep_bytes_of(content);
	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
}

static size_t claim_all(void)
{
	keep_claim_request request = {.max = 10};
	keep_claim_list list;

	OK(keep_agent_claim(agent, &request, KEEP_NOW, &memory, &list, &err));
	return list.count;
}

static const char *ack_status(void)
{
	return mailbox_sql(session, "outbound.db",
			   "SELECT status || ' ' || attempt FROM processing_ack");
}

static void a_card_and_its_question_appear_together(void **state)
{
	char expected[300];

	(void)state;
	begin();
	ask();
	snprintf(expected, sizeof expected,
		 "chat-sdk signal +32 {\"type\":\"ask_question\",\"questionId\":\"%s\","
		 "\"question\":\"Shall \\\"we\\\"?\",\"options\":[\"yes\",\"no\"]}",
		 asked.id);
	assert_string_equal(
		mailbox_sql(session, "outbound.db",
			    "SELECT kind || ' ' || channel_type || ' ' || platform_id || ' ' || "
			    "content FROM messages_out m JOIN asked_questions q ON q.question_id = "
			    "m.id"),
		expected);
	assert_int_equal(keep_agent_ask(agent, KEEP_BYTES("x"), NULL, 0, KEEP_BYTES("dad"),
					KEEP_NOW, &asked, &err),
			 KEEP_DENIED);
	assert_string_equal(
		mailbox_sql(session, "outbound.db", "SELECT count(*) || '' FROM asked_questions"),
		"1");
	end();
}

static void an_answer_is_told_and_acknowledged_and_told_again(void **state)
{
	keep_question_answer answer;
	bool answered = true;

	(void)state;
	begin();
	ask();
	OK(keep_agent_await_answer(agent, keep_bytes_of(asked.id), 0, &memory, &answer, &answered,
				   &err));
	assert_false(answered);
	post_answer("", "question_response", "no");
	for (int i = 0; i < 2; i++) {
		OK(keep_agent_await_answer(agent, keep_bytes_of(asked.id), 0, &memory, &answer,
					   &answered, &err));
		assert_true(answered);
		assert_bytes_equal(answer.option, KEEP_BYTES("no"));
		assert_bytes_equal(answer.user_id, KEEP_BYTES("u1"));
		assert_bytes_equal(answer.question_id, keep_bytes_of(asked.id));
		assert_false(answer.is_expired);
		assert_string_equal(ack_status(), "completed 1");
	}
	assert_int_equal(claim_all(), 0);
	end();
}

static void an_expired_question_says_so(void **state)
{
	keep_question_answer answer;
	bool answered = false;

	(void)state;
	begin();
	ask();
	post_answer("", "question_expired", "");
	OK(keep_agent_await_answer(agent, keep_bytes_of(asked.id), 1000, &memory, &answer,
				   &answered, &err));
	assert_true(answered && answer.is_expired);
	assert_null(answer.option.data);
	end();
}

static void the_answer_of_a_sources_host_has_the_time_in_its_id(void **state)
{
	keep_question_answer answer;
	bool answered = false;

	(void)state;
	begin();
	ask();
	post_answer("-12x", "question_response", "no");
	post_answer("-1700000000000", "question_response", "yes");
	OK(keep_agent_await_answer(agent, keep_bytes_of(asked.id), 0, &memory, &answer, &answered,
				   &err));
	/* On a server there is no such host. */
	assert_int_equal(answered, mailbox_is_file());
	if (answered)
		assert_bytes_equal(answer.option, KEEP_BYTES("yes"));
	end();
}

static void what_was_never_asked_is_not_awaited(void **state)
{
	keep_question_answer answer;
	bool answered = false;

	(void)state;
	begin();
	assert_int_equal(keep_agent_await_answer(agent, KEEP_BYTES("nothing"), -1, &memory, &answer,
						 &answered, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_agent_await_answer(agent, KEEP_BYTES("a/b"), -1, &memory, &answer,
						 &answered, &err),
			 KEEP_INVALID);
	end();
}

static void bad_questions_are_refused(void **state)
{
	keep_bytes same[] = {KEEP_BYTES("yes"), KEEP_BYTES("yes")}, empty[] = {KEEP_BYTES("")};

	(void)state;
	begin();
	assert_int_equal(keep_agent_ask(agent, KEEP_BYTES(""), NULL, 0, KEEP_BYTES("mum"), KEEP_NOW,
					&asked, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_agent_ask(agent, KEEP_BYTES("q"), same, 2, KEEP_BYTES("mum"),
					KEEP_NOW, &asked, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_agent_ask(agent, KEEP_BYTES("q"), empty, 1, KEEP_BYTES("mum"),
					KEEP_NOW, &asked, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_agent_ask(agent, KEEP_BYTES("q"), same, 101, KEEP_BYTES("mum"),
					KEEP_NOW, &asked, &err),
			 KEEP_INVALID);
	OK(keep_agent_ask(agent, KEEP_BYTES("q"), NULL, 0, KEEP_BYTES("mum"), KEEP_NOW, &asked,
			  &err));
	end();
}

/* ---------------------------------------------------------------- waiting */

struct waiter {
	pthread_t thread;
	keep_memory memory;
	keep_question_answer answer;
	keep_status status;
	bool answered;
};

static void *await(void *ctx)
{
	struct waiter *waiter = ctx;
	keep_error why = KEEP_ERROR_INIT;

	waiter->status =
		keep_agent_await_answer(agent, keep_bytes_of(asked.id), -1, &waiter->memory,
					&waiter->answer, &waiter->answered, &why);
	return NULL;
}

/* Until the thread's mark is in the database; the test's time limit ends it otherwise. */
static void let_wait(struct waiter *waiter)
{
	*waiter = (struct waiter){.memory = KEEP_MEMORY_INIT};
	assert_int_equal(pthread_create(&waiter->thread, NULL, await, waiter), 0);
	while (strcmp(mailbox_sql(session, "outbound.db",
				  "SELECT count(awaited_until) || '' FROM asked_questions"),
		      "1") != 0)
		usleep(1000);
}

static void claims_leave_an_awaited_answer_alone_and_all_waiters_get_it(void **state)
{
	struct waiter waiters[2];

	(void)state;
	begin();
	ask();
	/* Somebody waits, says the row; so nobody else takes the answer. */
	(void)mailbox_sql(session, "outbound.db",
			  "UPDATE asked_questions SET awaited_until = '2999-01-01T00:00:00.000Z'");
	post_answer("", "question_response", "yes");
	assert_int_equal(claim_all(), 0);
	{
		bool ready = true;

		OK(keep_agent_wait(agent, 0, &ready, &err));
		assert_false(ready);
	}
	(void)mailbox_sql(session, "outbound.db",
			  "UPDATE asked_questions SET awaited_until = NULL");
	assert_int_equal(claim_all(), 1); /* now it is a message as others */
	assert_string_equal(ack_status(), "processing 1");
	for (int i = 0; i < 2; i++) {
		waiters[i] = (struct waiter){.memory = KEEP_MEMORY_INIT};
		assert_int_equal(pthread_create(&waiters[i].thread, NULL, await, &waiters[i]), 0);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(waiters[i].thread, NULL);
		assert_int_equal(waiters[i].status, KEEP_OK);
		assert_true(waiters[i].answered);
		assert_bytes_equal(waiters[i].answer.option, KEEP_BYTES("yes"));
		keep_memory_release(&waiters[i].memory);
	}
	assert_string_equal(ack_status(), "processing 1"); /* its claimer's to acknowledge */
	end();
}

static void a_waiter_wakes_when_the_answer_comes(void **state)
{
	struct waiter waiter;

	(void)state;
	begin();
	ask();
	let_wait(&waiter);
	post_answer("", "question_response", "yes");
	pthread_join(waiter.thread, NULL);
	assert_int_equal(waiter.status, KEEP_OK);
	assert_true(waiter.answered);
	assert_string_equal(ack_status(), "completed 1");
	assert_string_equal(mailbox_sql(session, "outbound.db",
					"SELECT count(awaited_until) || '' FROM asked_questions"),
			    "0");
	keep_memory_release(&waiter.memory);
	end();
}

static void a_cancel_ends_the_wait_and_frees_the_answer(void **state)
{
	struct waiter waiter;

	(void)state;
	begin();
	ask();
	let_wait(&waiter);
	keep_agent_cancel(agent);
	pthread_join(waiter.thread, NULL);
	assert_int_equal(waiter.status, KEEP_OK);
	assert_false(waiter.answered);
	assert_string_equal(mailbox_sql(session, "outbound.db",
					"SELECT count(awaited_until) || '' FROM asked_questions"),
			    "0");
	end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_card_and_its_question_appear_together),
		cmocka_unit_test(an_answer_is_told_and_acknowledged_and_told_again),
		cmocka_unit_test(an_expired_question_says_so),
		cmocka_unit_test(the_answer_of_a_sources_host_has_the_time_in_its_id),
		cmocka_unit_test(what_was_never_asked_is_not_awaited),
		cmocka_unit_test(bad_questions_are_refused),
		cmocka_unit_test(claims_leave_an_awaited_answer_alone_and_all_waiters_get_it),
		cmocka_unit_test(a_waiter_wakes_when_the_answer_comes),
		cmocka_unit_test(a_cancel_ends_the_wait_and_frees_the_answer),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
