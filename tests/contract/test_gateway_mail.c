/*
 * test_gateway_mail.c - contracts/gateway.md, "E-mail": which conversation a mail belongs to.
 *
 *     test_gateway_mail sqlite|postgres
 */
#include "gateway_fixture.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/* The first 12 digits of the SHA-256 of "root@x": python3 hashlib. */
#define ROOT_THREAD "1ab2165f3893"

static keep_memory memory;

/* Up to three ids each; NULL ends a list. */
static keep_status thread_for(keep_gateway *gateway, const char *id, const char *const answered[3],
			      const char *const references[3], keep_email_thread *out, bool *is_new,
			      keep_error *err)
{
	keep_bytes lists[2][3];
	keep_mail mail = {.message_id = keep_bytes_of(id),
			  .in_reply_to = lists[0],
			  .references = lists[1],
			  .subject = KEEP_BYTES("Subject"),
			  .from = KEEP_BYTES("ada@x")};

	for (; answered && mail.in_reply_to_count < 3 && answered[mail.in_reply_to_count];
	     mail.in_reply_to_count++)
		lists[0][mail.in_reply_to_count] = keep_bytes_of(answered[mail.in_reply_to_count]);
	for (; references && mail.reference_count < 3 && references[mail.reference_count];
	     mail.reference_count++)
		lists[1][mail.reference_count] = keep_bytes_of(references[mail.reference_count]);
	return keep_gateway_thread_for(gateway, &mail, &memory, out, is_new, err);
}

#define IDS(...)                                                                                   \
	(const char *const[3])                                                                     \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static void expect(keep_gateway *gateway, const char *id, const char *const answered[3],
		   const char *const references[3], const keep_email_thread *thread, bool is_new)
{
	keep_email_thread found;
	keep_error err = KEEP_ERROR_INIT;
	bool made = !is_new;

	OK(thread_for(gateway, id, answered, references, &found, &made, &err));
	CHECK(made == is_new, "%s: is_new is %d", id, made);
	if (thread)
		assert_bytes_equal(found.thread_id, thread->thread_id);
}

static void a_first_mail_makes_a_thread_named_after_it(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_email_thread thread, again;
	keep_error err = KEEP_ERROR_INIT;
	bool is_new = false;

	(void)state;
	OK(thread_for(gateway, "<root@x>", NULL, NULL, &thread, &is_new, &err));
	assert_true(is_new);
	assert_bytes_equal(thread.thread_id, KEEP_BYTES(ROOT_THREAD));
	assert_bytes_equal(thread.chat_jid, KEEP_BYTES("email:" ROOT_THREAD));
	assert_bytes_equal(thread.root_message_id, KEEP_BYTES("root@x"));
	assert_bytes_equal(thread.subject, KEEP_BYTES("Subject"));
	assert_bytes_equal(thread.from_address, KEEP_BYTES("ada@x"));
	OK(keep_gateway_get_thread(gateway, KEEP_BYTES(ROOT_THREAD), &memory, &again, &err));
	assert_bytes_equal(again.chat_jid, thread.chat_jid);
	assert_bytes_equal(again.subject, thread.subject);
	assert_int_equal(
		keep_gateway_get_thread(gateway, KEEP_BYTES("none"), &memory, &again, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(keep_gateway_get_thread(gateway, KEEP_BYTES(""), &memory, &again, &err),
			 KEEP_INVALID);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void the_same_mail_again_is_in_its_thread(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_email_thread thread;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(thread_for(gateway, "<root@x>", NULL, NULL, &thread, NULL, &err));
	expect(gateway, "root@x", NULL, NULL, &thread, false);
	expect(gateway, " <root@x>\r\n", NULL, NULL, &thread, false);
	expect(gateway, "< root@x >", NULL, NULL, &thread, false);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM email_message_ids"), "1");
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void an_answer_finds_its_thread_in_the_order_of_the_headers(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_email_thread a, b, c, d;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(thread_for(gateway, "a@x", NULL, NULL, &a, NULL, &err));
	OK(thread_for(gateway, "b@x", NULL, NULL, &b, NULL, &err));
	OK(thread_for(gateway, "c@x", NULL, NULL, &c, NULL, &err));
	OK(thread_for(gateway, "d@x", NULL, NULL, &d, NULL, &err));
	/* In-Reply-To before References, the first of them, with and without brackets. */
	expect(gateway, "1@x", IDS("<unknown@x>", "<b@x>", "a@x"), IDS("<c@x>"), &b, false);
	/* The newest of the references. */
	expect(gateway, "2@x", NULL, IDS("a@x", "<c@x>", "unknown2@x"), &c, false);
	expect(gateway, "3@x", IDS("other@x"), IDS("d@x"), &d, false);
	/* Its own id before all. */
	expect(gateway, "a@x", IDS("b@x"), IDS("c@x"), &a, false);
	/* All ids of those mails are mapped, the first mapping stays. */
	expect(gateway, "4@x", IDS("unknown@x"), NULL, &b, false);
	expect(gateway, "5@x", IDS("unknown2@x"), NULL, &c, false);
	expect(gateway, "6@x", IDS("a@x"), NULL, &a, false);
	expect(gateway, "7@x", IDS("c@x"), NULL, &c, false);
	expect(gateway, "8@x", IDS("other@x"), NULL, &d, false);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM email_threads"), "4");
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void an_answer_that_comes_before_its_question_is_joined_by_it(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_email_thread thread;
	keep_error err = KEEP_ERROR_INIT;
	bool is_new = false;

	(void)state;
	OK(thread_for(gateway, "answer@x", IDS("<question@x>"), IDS("<first@x>", "<question@x>"),
		      &thread, &is_new, &err));
	assert_true(is_new);
	assert_bytes_equal(thread.root_message_id, KEEP_BYTES("answer@x"));
	expect(gateway, "question@x", IDS("first@x"), IDS("first@x"), &thread, false);
	expect(gateway, "first@x", NULL, NULL, &thread, false);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_name_that_another_thread_has_is_lengthened(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_email_thread thread;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	(void)gateway_sql("INSERT INTO email_threads (thread_id, chat_jid, root_message_id) "
			  "VALUES ('" ROOT_THREAD "', 'email:other', 'other@x')");
	OK(thread_for(gateway, "root@x", NULL, NULL, &thread, NULL, &err));
	assert_int_equal(thread.thread_id.len, 16);
	assert_memory_equal(thread.thread_id.data, ROOT_THREAD, 12);
	assert_int_equal(thread.chat_jid.len, 6 + 16);
	expect(gateway, "root@x", NULL, NULL, &thread, false);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void bad_ids_of_headers_are_passed_over_and_a_bad_own_id_is_refused(void **state)
{
	static const char *const bad[] = {"", "<>", " ", "a\nb", "\xff@x", "\x01", NULL};
	keep_gateway *gateway = gateway_fresh();
	char long_id[KEEP_GATEWAY_TEXT_MAX + 2];
	keep_email_thread thread;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	memset(long_id, 'i', sizeof long_id - 1);
	long_id[sizeof long_id - 1] = '\0';
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		assert_int_equal(thread_for(gateway, bad[i], NULL, NULL, &thread, NULL, &err),
				 KEEP_INVALID);
		assert_non_null(strstr(err.message, "message_id"));
	}
	assert_int_equal(thread_for(gateway, long_id, NULL, NULL, &thread, NULL, &err),
			 KEEP_INVALID);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM email_threads"), "0");
	expect(gateway, "good@x", IDS("", "a\nb", long_id), IDS("<>", "\xff", "also@x"), NULL,
	       true);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM email_message_ids"), "2");
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void long_headers_are_taken_to_their_limits(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_email_thread thread, found;
	keep_error err = KEEP_ERROR_INIT;
	static char texts[1001][16];
	static keep_bytes ids[1001];
	keep_mail mail = {.message_id = KEEP_BYTES("long@x"), .references = ids};
	bool is_new = true;

	(void)state;
	for (int i = 0; i < 1001; i++) {
		snprintf(texts[i], sizeof texts[i], "<%d@x>", i);
		ids[i] = keep_bytes_of(texts[i]);
	}
	OK(thread_for(gateway, "0@x", NULL, NULL, &thread, NULL, &err));
	mail.reference_count = 1001;
	assert_int_equal(keep_gateway_thread_for(gateway, &mail, &memory, &found, &is_new, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "references"));
	mail.reference_count = 1000;
	OK(keep_gateway_thread_for(gateway, &mail, &memory, &found, &is_new, &err));
	assert_false(is_new);
	assert_bytes_equal(found.thread_id, thread.thread_id);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM email_message_ids"), "1001");
	mail.in_reply_to = ids;
	mail.in_reply_to_count = 101;
	assert_int_equal(keep_gateway_thread_for(gateway, &mail, &memory, &found, &is_new, &err),
			 KEEP_INVALID);
	mail.in_reply_to_count = 0;
	mail.subject = KEEP_BYTES("\xff");
	assert_int_equal(keep_gateway_thread_for(gateway, &mail, &memory, &found, &is_new, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "subject"));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- both halves at once */

struct half {
	keep_gateway *gateway;
	bool is_answer;
	int number;
	char thread[80];
	bool is_new;
};

static keep_status bring_half(struct half *half)
{
	keep_memory own = KEEP_MEMORY_INIT;
	keep_email_thread thread;
	char question[32], answer[32];
	keep_bytes answered;
	keep_mail mail = {.message_id = {0}};
	keep_status status;

	snprintf(question, sizeof question, "question-%d@x", half->number);
	snprintf(answer, sizeof answer, "<answer-%d@x>", half->number);
	answered = keep_bytes_of(question);
	mail.message_id = keep_bytes_of(half->is_answer ? answer : question);
	mail.in_reply_to = &answered;
	mail.in_reply_to_count = half->is_answer;
	status = keep_gateway_thread_for(half->gateway, &mail, &own, &thread, &half->is_new, NULL);
	if (status == KEEP_OK)
		snprintf(half->thread, sizeof half->thread, "%s", thread.thread_id.data);
	keep_memory_release(&own);
	return status;
}

static void *bring(void *ctx)
{
	struct half *half = ctx;

	if (bring_half(half) != KEEP_OK)
		half->thread[0] = '!';
	return NULL;
}

static void two_halves_at_once_become_one_thread(void **state)
{
	keep_gateway *gateways[2] = {gateway_fresh(), gateway_again("emaid")};

	(void)state;
	for (int number = 0; number < 20; number++) {
		struct half halves[2] = {{gateways[0], false, number, "", false},
					 {gateways[1], true, number, "", false}};
		pthread_t threads[2];

		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, bring, &halves[i]), 0);
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		assert_string_equal(halves[0].thread, halves[1].thread);
		assert_int_equal(halves[0].is_new + halves[1].is_new, 1);
	}
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM email_threads"), "20");
	keep_gateway_close(&gateways[0]);
	keep_gateway_close(&gateways[1]);
	assert_nothing_lives();
}

/* A process of its own: all questions, or all answers. */
static int be_a_half(const char *url, bool is_answer)
{
	struct half half = {.is_answer = is_answer};
	int failed = 0;

	if (keep_gateway_open(url, NULL, &half.gateway, NULL) != KEEP_OK)
		return 1;
	for (half.number = 0; half.number < 40; half.number++)
		failed |= bring_half(&half) != KEEP_OK;
	keep_gateway_close(&half.gateway);
	return failed;
}

static void two_processes_with_two_halves_make_one_thread_each(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	const char *url = gateway_url(); /* names this process */
	pid_t children[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			execl(gateway_program(), "half", gateway_kind(), "half", url,
			      i ? "answer" : "question", (char *)NULL);
			_exit(127);
		}
	}
	for (int i = 0; i < 2; i++) {
		int how = -1;

		assert_int_equal(waitpid(children[i], &how, 0), children[i]);
		assert_int_equal(how, 0);
	}
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM email_threads"), "40");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM email_message_ids"), "80");
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_first_mail_makes_a_thread_named_after_it),
		cmocka_unit_test(the_same_mail_again_is_in_its_thread),
		cmocka_unit_test(an_answer_finds_its_thread_in_the_order_of_the_headers),
		cmocka_unit_test(an_answer_that_comes_before_its_question_is_joined_by_it),
		cmocka_unit_test(a_name_that_another_thread_has_is_lengthened),
		cmocka_unit_test(bad_ids_of_headers_are_passed_over_and_a_bad_own_id_is_refused),
		cmocka_unit_test(long_headers_are_taken_to_their_limits),
		cmocka_unit_test(two_halves_at_once_become_one_thread),
		cmocka_unit_test(two_processes_with_two_halves_make_one_thread_each),
	};
	int failed;

	if (argc > 4 && strcmp(argv[2], "half") == 0)
		return be_a_half(argv[3], strcmp(argv[4], "answer") == 0);
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
