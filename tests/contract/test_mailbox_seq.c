/*
 * test_mailbox_seq.c - contracts/mailbox.md: numbers are unique, even in and odd out, whoever
 * writes at the same time.
 *
 *     test_mailbox_seq sqlite|postgres
 *
 * As test_mailbox_seq KIND send PLACE it is a process of the agent's.
 */
#include "mailbox_rows.h"

#include <sys/wait.h>
#include <unistd.h>

enum { CROWD = 4, SENDS = 50, POSTS = 60 };

static keep_error err = KEEP_ERROR_INIT;
static char place[MAILBOX_URL_MAX + 200];

static int send_many(void)
{
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	keep_send send = {.kind = KEEP_BYTES("system"), .content = KEEP_BYTES("{}")};
	keep_agent *agent = NULL;
	int64_t last = 0;
	int bad = 0;

	options.timeout_ms = 30000;
	if (keep_agent_open(place, &options, &agent, &err) != KEEP_OK)
		bad = 1;
	for (int i = 0; i < SENDS && !bad; i++) {
		keep_sent sent;

		if (keep_agent_send(agent, &send, KEEP_NOW, &sent, &err) != KEEP_OK)
			bad = 2;
		else if (sent.seq <= last || sent.seq % 2 != 1)
			bad = 3;
		last = sent.seq;
	}
	if (bad)
		fprintf(stderr, "%d: %s\n", bad, err.message);
	keep_agent_close(&agent);
	return bad;
}

static void four_processes_and_the_host_number_at_once(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	char session[KEEP_SEGMENT_MAX + 1];
	pid_t children[CROWD];
	keep_bytes text;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	OK(keep_mailbox_session_place(mailbox, keep_bytes_of(session), &memory, &text, &err));
	snprintf(place, sizeof place, "%.*s", (int)text.len, text.data);
	for (int i = 0; i < CROWD; i++) {
		children[i] = fork();
		assert_true(children[i] >= 0);
		if (children[i] == 0) {
			execl(mailbox_program(), mailbox_program(), mailbox_kind(), "send", place,
			      (char *)NULL);
			_exit(99);
		}
	}
	for (int i = 0; i < POSTS; i++)
		assert_int_equal(mailbox_post(mailbox, session, "{}"), 2 * (i + 1));
	for (int i = 0; i < CROWD; i++) {
		int status = 0;

		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
	assert_string_equal(
		mailbox_sql(session, "outbound.db",
			    "SELECT count(*) || ' ' || count(DISTINCT seq) || ' ' || count(CASE "
			    "WHEN seq % 2 = 1 THEN 1 END) FROM messages_out"),
		"200 200 200");
	assert_string_equal(mailbox_sql(session, "inbound.db",
					"SELECT count(*) || ' ' || count(CASE WHEN seq % 2 = 0 "
					"THEN 1 END) FROM messages_in"),
			    "60 60");
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
}

static void a_number_is_above_both_sides(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_send send = {.kind = KEEP_BYTES("system"), .content = KEEP_BYTES("{}")};
	char session[KEEP_SEGMENT_MAX + 1];
	keep_agent *agent;
	keep_sent sent;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_int_equal(sent.seq, 1);
	assert_int_equal(mailbox_post(mailbox, session, "{}"), 2);
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_int_equal(sent.seq, 3);
	assert_int_equal(mailbox_post(mailbox, session, "{}"), 4);
	assert_int_equal(mailbox_post(mailbox, session, "{}"), 6);
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_int_equal(sent.seq, 7);
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_int_equal(sent.seq, 9);
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
}

/* So many messages are due, and so many were refused by this collect. */
static void collect(keep_mailbox *mailbox, const char *session, size_t due, int64_t refused)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection found;

	OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, KEEP_NOW, &memory, &found,
				&err));
	assert_int_equal(found.count, due);
	assert_int_equal(found.refused, refused);
	keep_memory_release(&memory);
}

static void a_number_that_the_host_refuses_takes_nothing_with_it(void **state)
{
	static const int64_t far[] = {(INT64_C(1) << 41) + 1, INT64_MAX};
	keep_mailbox *mailbox = mailbox_fresh();
	keep_send send = {.kind = KEEP_BYTES("system"), .content = KEEP_BYTES("{}")};
	char session[KEEP_SEGMENT_MAX + 1];
	keep_agent *agent;
	keep_sent sent;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	rows_out(session, far[0], "far", "system", NULL, NULL, "{}", NULL);
	rows_out(session, far[1], "farther", "system", NULL, NULL, "{}", NULL);
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_int_equal(sent.seq, 1);
	assert_int_equal(mailbox_post(mailbox, session, "{}"), 2);
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_int_equal(sent.seq, 3);
	collect(mailbox, session, 2, 2);
	/* what jumps within reach is taken over, and counts, also when its row is gone again */
	rows_out(session, (INT64_C(1) << 39) + 1, "near", "system", NULL, NULL, "{}", NULL);
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_int_equal(sent.seq, (INT64_C(1) << 39) + 3);
	collect(mailbox, session, 4, 0);
	rows_run(session, "outbound.db", "DELETE FROM messages_out WHERE seq > 1000000");
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_int_equal(sent.seq, (INT64_C(1) << 39) + 5);
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
}

static void the_posts_of_one_call_are_numbered_without_gaps_past_what_is_there(void **state)
{
	static const int64_t numbers[] = {2, 4, 2, 6, 8};
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	keep_post posts[5];
	keep_post_result results[5];

	(void)state;
	mailbox_session(mailbox, NULL, session);
	for (int i = 0; i < 5; i++)
		posts[i] = (keep_post){.content = KEEP_BYTES("{}")};
	posts[0].id = KEEP_BYTES("a");
	posts[2].id = KEEP_BYTES("a"); /* the first once more */
	OK(keep_mailbox_post_many(mailbox, keep_bytes_of(session), posts, 5, results, &err));
	for (int i = 0; i < 5; i++) {
		assert_int_equal(results[i].seq, numbers[i]);
		assert_int_equal(results[i].posted,
				 i == 2 ? KEEP_POSTED_DUPLICATE : KEEP_POSTED_INSERTED);
	}
	assert_string_equal(mailbox_sql(session, "inbound.db",
					"SELECT count(*) || ' ' || max(seq) FROM messages_in"),
			    "4 8");
	assert_int_equal(mailbox_post(mailbox, session, "{}"), 10);
	keep_mailbox_close(&mailbox);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(four_processes_and_the_host_number_at_once),
		cmocka_unit_test(a_number_is_above_both_sides),
		cmocka_unit_test(
			the_posts_of_one_call_are_numbered_without_gaps_past_what_is_there),
		cmocka_unit_test(a_number_that_the_host_refuses_takes_nothing_with_it),
	};
	int failed;

	if (argc > 3) {
		snprintf(place, sizeof place, "%s", argv[3]);
		return send_many();
	}
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
