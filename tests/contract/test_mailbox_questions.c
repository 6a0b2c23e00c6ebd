/*
 * test_mailbox_questions.c - contracts/mailbox.md: the card and its pending row appear together;
 * the answer becomes a `system` message and ends the question; answering twice, or late, gives one
 * answer or a clear refusal.
 *
 *     test_mailbox_questions sqlite|postgres
 */
#include "mailbox_steps.h"

#include <pthread.h>

static keep_mailbox *mailbox;
static char session[KEEP_SEGMENT_MAX + 1], other[KEEP_SEGMENT_MAX + 1];

static int begin_test(void **state)
{
	(void)state;
	hold_clock("2026-04-11T08:00:00Z");
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	mailbox_session(mailbox, "thread", other);
	return 0;
}

static int end_test(void **state)
{
	(void)state;
	keep_mailbox_close(&mailbox);
	kp_clock_inject(NULL, NULL);
	assert_nothing_lives();
	return 0;
}

/* As collect does with a card of that session. */
static keep_status open_card(const char *of, const char *id, const char *content, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_session row;
	keep_outbound_message card = {.id = keep_bytes_of(id),
				      .kind = KEEP_BYTES("chat-sdk"),
				      .channel_type = KEEP_BYTES("telegram"),
				      .platform_id = KEEP_BYTES("42"),
				      .content = keep_bytes_of(content)};
	keep_status status =
		keep_mailbox_get_session(mailbox, keep_bytes_of(of), &memory, &row, err);

	if (status == KEEP_OK)
		status = kp_question_open(mailbox, &row, &card, mailbox_now, err);
	keep_memory_release(&memory);
	return status;
}

static void ask(const char *id)
{
	keep_error err = KEEP_ERROR_INIT;
	char content[300];

	snprintf(content, sizeof content,
		 "{\"type\":\"ask_question\",\"questionId\":\"%s\",\"question\":\"?\",\"options\":"
		 "[\"yes\",{\"label\":\"No!\",\"value\":\"no\",\"selectedLabel\":\"x\"},"
		 "{\"label\":\"maybe\"}]}",
		 id);
	OK(open_card(session, id, content, &err));
}

static keep_status answer(const char *id, const char *option, const char *user, keep_error *err)
{
	keep_answer given = {keep_bytes_of(id), keep_bytes_of(option), {.data = NULL}};

	if (user)
		given.user_id = keep_bytes_of(user);
	return keep_mailbox_answer(mailbox, &given, mailbox_now, err);
}

static size_t count_pending(void)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_pending_question_list list;
	keep_error err = KEEP_ERROR_INIT;
	size_t count;

	OK(keep_mailbox_questions(mailbox, (keep_bytes){.data = NULL}, 0, &memory, &list, &err));
	count = list.count;
	keep_memory_release(&memory);
	return count;
}

static void a_card_opens_its_question_once(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_pending_question_list list;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	ask("q1");
	hold_clock("2026-04-11T09:00:00Z");
	ask("q1");
	OK(keep_mailbox_questions(mailbox, keep_bytes_of(session), 0, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].question_id, KEEP_BYTES("q1"));
	assert_bytes_equal(list.items[0].message_out_id, KEEP_BYTES("q1"));
	assert_bytes_equal(list.items[0].channel_type, KEEP_BYTES("telegram"));
	assert_true(list.items[0].expires_at == at("2026-04-12T08:00:00Z"));
	OK(keep_mailbox_questions(mailbox, keep_bytes_of(other), 0, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	assert_int_equal(
		keep_mailbox_questions(mailbox, KEEP_BYTES("none"), 0, &memory, &list, &err),
		KEEP_NOT_FOUND);
	keep_memory_release(&memory);
}

static void other_messages_open_nothing_and_bad_cards_are_refused(void **state)
{
	static const char *const none[] = {"{\"text\":\"hi\"}", "[]", "\"ask_question\"",
					   "{\"type\":\"card\"}", "{\"type\":5}"};
	static const char *const bad[] = {
		"{\"type\":\"ask_question\",\"questionId\":\"../x\"}",
		"{\"type\":\"ask_question\",\"questionId\":7}",
		"{\"type\":\"ask_question\",\"questionId\":\"\"}",
		"{\"type\":\"ask_question\",\"questionId\":\"q\",\"options\":\"yes\"}",
		"{\"type\":\"ask_question\",\"questionId\":\"q\",\"options\":[1]}",
		"{\"type\":\"ask_question\",\"questionId\":\"q\",\"options\":[{\"value\":2}]}",
	};
	keep_error err = KEEP_ERROR_INIT;
	char content[300], id[200];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(none); i++)
		OK(open_card(session, "m", none[i], &err));
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(open_card(session, "m", bad[i], &err) == KEEP_INVALID, "number %zu", i);
	memset(id, 'a', 126);
	id[126] = '\0';
	snprintf(content, sizeof content, "{\"type\":\"ask_question\",\"questionId\":\"%s\"}", id);
	assert_int_equal(open_card(session, "m", content, &err), KEEP_INVALID);
	assert_int_equal(count_pending(), 0);
	id[125] = '\0';
	snprintf(content, sizeof content, "{\"type\":\"ask_question\",\"questionId\":\"%s\"}", id);
	OK(open_card(session, "m", content, &err));
	OK(answer(id, "anything at all", NULL, &err));
}

static void an_answer_becomes_a_message_and_ends_the_question(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	ask("q1");
	OK(answer("q1", "no", "bob", &err));
	assert_string_equal(ask_inbound(session, "content", "messages_in WHERE id = 'qr-q1'"),
			    "{\"type\":\"question_response\",\"questionId\":\"q1\","
			    "\"selectedOption\":\"no\",\"userId\":\"bob\"}");
	assert_string_equal(ask_inbound(session, "kind", "messages_in WHERE id = 'qr-q1'"),
			    "system");
	assert_int_equal(count_pending(), 0);
}

static void an_answered_card_that_is_collected_again_opens_nothing(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	ask("q1");
	OK(answer("q1", "yes", NULL, &err));
	ask("q1");
	assert_int_equal(count_pending(), 0);
}

static void the_same_answer_again_is_fine_and_another_is_told_which_one_stands(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	ask("q1");
	OK(answer("q1", "yes", "bob", &err));
	OK(answer("q1", "yes", "bob", &err));
	assert_int_equal(answer("q1", "no", "bob", &err), KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "'yes' by 'bob'"));
	assert_int_equal(answer("q1", "yes", "eve", &err), KEEP_CONFLICT);
	assert_int_equal(count_inbound(session, "messages_in"), 1);
}

static void an_answer_that_is_none_of_the_options_is_invalid(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	ask("q1");
	assert_int_equal(answer("q1", "No!", NULL, &err), KEEP_INVALID); /* its value is "no" */
	assert_int_equal(answer("q1", "", NULL, &err), KEEP_INVALID);
	assert_int_equal(answer("q1", "\xff", NULL, &err), KEEP_INVALID);
	assert_int_equal(answer("", "yes", NULL, &err), KEEP_INVALID);
	assert_int_equal(answer("never asked", "yes", NULL, &err), KEEP_NOT_FOUND);
	assert_int_equal(count_pending(), 1);
	OK(answer("q1", "maybe", NULL, &err));
}

static void a_late_answer_is_refused_and_expiry_tells_the_agent_once(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t expired = -1;

	(void)state;
	ask("q1");
	OK(kp_questions_expire(mailbox, at("2026-04-12T07:59:59Z"), 10, &expired, &err));
	assert_int_equal(expired, 0);
	hold_clock("2026-04-12T08:00:00Z");
	assert_int_equal(answer("q1", "yes", NULL, &err), KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "time is over"));
	for (int i = 0; i < 2; i++) {
		OK(kp_questions_expire(mailbox, mailbox_now, 10, &expired, &err));
		assert_int_equal(expired, 1 - i);
	}
	assert_string_equal(ask_inbound(session, "content", "messages_in WHERE id = 'qr-q1'"),
			    "{\"type\":\"question_expired\",\"questionId\":\"q1\"}");
	assert_int_equal(answer("q1", "yes", NULL, &err), KEEP_CONFLICT);
	assert_int_equal(count_pending(), 0);
	assert_int_equal(count_inbound(session, "messages_in"), 1);
}

static void an_answer_before_a_crash_wins_over_the_expiry_after_it(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t expired = -1;

	(void)state;
	ask("q1");
	OK(answer("q1", "yes", NULL, &err));
	(void)mailbox_sql(NULL, NULL, "DELETE FROM closed_questions");
	ask("q1"); /* the row is there again, as after a crash between message and row */
	assert_int_equal(count_pending(), 1);
	assert_int_equal(answer("q1", "no", NULL, &err), KEEP_CONFLICT);
	assert_int_equal(count_pending(), 0);
	(void)mailbox_sql(NULL, NULL, "DELETE FROM closed_questions");
	ask("q1");
	hold_clock("2026-04-13T08:00:00Z");
	OK(kp_questions_expire(mailbox, mailbox_now, 10, &expired, &err));
	assert_int_equal(expired, 0);
	assert_int_equal(count_pending(), 0);
	OK(answer("q1", "yes", NULL, &err));
	assert_int_equal(count_inbound(session, "messages_in"), 1);
}

static void a_question_of_another_session_cannot_be_taken_over(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	ask("q1");
	assert_int_equal(
		open_card(other, "q1", "{\"type\":\"ask_question\",\"questionId\":\"q1\"}", &err),
		KEEP_CONFLICT);
	OK(answer("q1", "yes", NULL, &err));
	assert_int_equal(
		open_card(other, "q1", "{\"type\":\"ask_question\",\"questionId\":\"q1\"}", &err),
		KEEP_CONFLICT);
	assert_int_equal(count_inbound(other, "messages_in"), 0);
}

static void a_question_of_a_closed_session_ends_without_a_message(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t expired = 0;

	(void)state;
	ask("q1");
	ask("q2");
	(void)mailbox_sql(session, "inbound.db",
			  mailbox_is_file() ? "UPDATE session_host SET closed = 1"
					    : "UPDATE session_host SET closed = true");
	assert_int_equal(answer("q1", "yes", NULL, &err), KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "closed"));
	assert_int_equal(count_pending(), 1);
	OK(kp_questions_expire(mailbox, at("2026-04-13T08:00:00Z"), 10, &expired, &err));
	assert_int_equal(count_pending(), 0);
	assert_int_equal(count_inbound(session, "messages_in"), 0);
}

static void a_session_that_fails_keeps_no_others_questions_from_expiring(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t expired = 0;
	char path[700];
	FILE *file;

	(void)state;
	if (!mailbox_is_file()) /* on a server sessions share what could fail */
		return;
	OK(open_card(other, "q0", "{\"type\":\"ask_question\",\"questionId\":\"q0\"}", &err));
	hold_clock("2026-04-11T08:00:01Z");
	for (int i = 1; i < 4; i++) {
		char id[8];

		snprintf(id, sizeof id, "q%d", i);
		ask(id);
	}
	keep_mailbox_close(&mailbox);
	snprintf(path, sizeof path, "%s/inbound.db", mailbox_folder(other));
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("this is no database, and long enough to be looked at as one", file);
	fclose(file);
	mailbox = mailbox_again();
	hold_clock("2026-04-13T08:00:00Z");
	OK(kp_questions_expire(mailbox, mailbox_now, 2, &expired, &err));
	assert_int_equal(expired, 2);
	OK(kp_questions_expire(mailbox, mailbox_now, 2, &expired, &err));
	assert_int_equal(expired, 1);
	assert_int_equal(count_pending(), 1);
}

static void many_questions_expire_in_bounded_steps(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t expired = 0;
	char id[16];

	(void)state;
	for (int i = 0; i < 230; i++) {
		snprintf(id, sizeof id, "q%d", i);
		ask(id);
	}
	hold_clock("2026-04-13T08:00:00Z");
	OK(kp_questions_expire(mailbox, mailbox_now, 120, &expired, &err));
	assert_int_equal(expired, 120);
	OK(kp_questions_expire(mailbox, mailbox_now, 1000, &expired, &err));
	assert_int_equal(expired, 110);
	assert_int_equal(count_pending(), 0);
}

static void *answer_in_a_thread(void *arg)
{
	keep_error err = KEEP_ERROR_INIT;
	const char *const options[] = {"yes", "no", "maybe"};
	int *won = arg;
	keep_status status = answer("q1", options[*won % 3], NULL, &err);

	*won = status == KEEP_OK ? 1 : status == KEEP_CONFLICT ? 0 : -100;
	return NULL;
}

static void threads_that_answer_at_once_give_one_answer(void **state)
{
	enum { THREADS = 6 };
	pthread_t threads[THREADS];
	int won[THREADS], sum = 0;

	(void)state;
	ask("q1");
	for (int i = 0; i < THREADS; i++) {
		won[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, answer_in_a_thread, &won[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		sum += won[i];
	}
	assert_int_equal(sum, 2); /* of each option two threads; the same answer twice is fine */
	assert_int_equal(count_inbound(session, "messages_in"), 1);
	assert_int_equal(count_pending(), 0);
}

static void what_an_agent_asks_comes_back_through_collect_and_answer(void **state)
{
	keep_bytes options[] = {KEEP_BYTES("yes"), KEEP_BYTES("no")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_question_answer given;
	keep_collection collection;
	bool answered = false;
	keep_agent *agent;
	keep_sent sent;

	(void)state;
	OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), mailbox_now, NULL, &err));
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_ask(agent, KEEP_BYTES("sure?"), options, 2, (keep_bytes){.data = NULL},
			  mailbox_now, &sent, &err));
	for (int i = 0; i < 2; i++) {
		OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, mailbox_now, &memory,
					&collection, &err));
		assert_int_equal(collection.count, 1);
		assert_int_equal(count_pending(), 1);
	}
	assert_int_equal(answer(sent.id, "perhaps", "bob", &err), KEEP_INVALID);
	OK(answer(sent.id, "no", "bob", &err));
	OK(keep_agent_await_answer(agent, keep_bytes_of(sent.id), 10000, &memory, &given, &answered,
				   &err));
	assert_true(answered);
	assert_bytes_equal(given.option, KEEP_BYTES("no"));
	assert_bytes_equal(given.user_id, KEEP_BYTES("bob"));
	keep_agent_close(&agent);
	keep_memory_release(&memory);
}

static void a_read_only_mailbox_answers_nothing(void **state)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *reader = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_answer given = {KEEP_BYTES("q1"), KEEP_BYTES("yes"), {.data = NULL}};

	(void)state;
	ask("q1");
	options.read_only = true;
	OK(mailbox_open_with(&options, &reader, &err));
	assert_int_equal(keep_mailbox_answer(reader, &given, mailbox_now, &err), KEEP_DENIED);
	keep_mailbox_close(&reader);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_test, end_test)
	const struct CMUnitTest tests[] = {
		TEST(a_card_opens_its_question_once),
		TEST(other_messages_open_nothing_and_bad_cards_are_refused),
		TEST(an_answer_becomes_a_message_and_ends_the_question),
		TEST(an_answered_card_that_is_collected_again_opens_nothing),
		TEST(the_same_answer_again_is_fine_and_another_is_told_which_one_stands),
		TEST(an_answer_that_is_none_of_the_options_is_invalid),
		TEST(a_late_answer_is_refused_and_expiry_tells_the_agent_once),
		TEST(an_answer_before_a_crash_wins_over_the_expiry_after_it),
		TEST(a_question_of_another_session_cannot_be_taken_over),
		TEST(a_question_of_a_closed_session_ends_without_a_message),
		TEST(a_session_that_fails_keeps_no_others_questions_from_expiring),
		TEST(many_questions_expire_in_bounded_steps),
		TEST(threads_that_answer_at_once_give_one_answer),
		TEST(what_an_agent_asks_comes_back_through_collect_and_answer),
		TEST(a_read_only_mailbox_answers_nothing),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
