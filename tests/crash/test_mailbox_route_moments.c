/*
 * test_mailbox_route_moments.c - a host that routes a message dies at every named moment of it.
 *
 *     test_mailbox_route_moments sqlite|postgres          the tests
 *     test_mailbox_route_moments <kind> route URL         the host that KEEP_KILL_AT kills
 *
 * For each kp_moment of route.c and N = 1, 2, … until it is met no more, the host is killed there.
 * Then another one routes the same message again, and every agent must have it once. A moment that
 * is never met fails the test.
 */
#include "mailbox_fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define B(text) keep_bytes_of(text)

enum { AGENTS = 3 };

static const char *const agents[AGENTS] = {"ada", "bob", "eve"};

/* First a chat that is new, then one that three agents serve. */
static keep_status route_both(keep_mailbox *mailbox, keep_memory *memory, keep_route_outcome *out,
			      keep_error *err)
{
	keep_inbound_route message = {.channel_type = B("telegram"),
				      .platform_id = B("new"),
				      .message_id = B("1"),
				      .content = B("{\"text\":\"hello\"}")};
	keep_status status = keep_mailbox_route(mailbox, &message, KEEP_NOW, memory, out, err);

	message.platform_id = B("42");
	return status == KEEP_OK ? keep_mailbox_route(mailbox, &message, KEEP_NOW, memory, out, err)
				 : status;
}

static int route_elsewhere(const char *url)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_mailbox *mailbox = NULL;
	keep_route_outcome outcome;
	keep_status status;

	options.timeout_ms = 10000;
	status = keep_mailbox_open(url, &options, &mailbox, NULL);
	if (status == KEEP_OK)
		status = route_both(mailbox, &memory, &outcome, NULL);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	return (int)status;
}

static keep_mailbox *make_store(void)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_messaging_group chat = {
		.id = B("mg"), .channel_type = B("telegram"), .platform_id = B("42")};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &err));
	for (int i = 0; i < AGENTS; i++) {
		keep_agent_group group = {
			.id = B(agents[i]), .name = B(agents[i]), .folder = B(agents[i])};
		keep_messaging_group_agent wiring = {.id = B(agents[i]),
						     .messaging_group_id = B("mg"),
						     .agent_group_id = B(agents[i])};

		OK(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err));
		OK(keep_mailbox_wire(mailbox, &wiring, NULL, &err));
	}
	return mailbox;
}

/* Whether the host was killed. */
static bool run_host(const char *moment, int number)
{
	const char *url = mailbox_url();
	char at[100];
	pid_t child;
	int how;

	snprintf(at, sizeof at, "%s:%d", moment, number);
	child = fork();
	if (child == 0) {
		setenv("KEEP_KILL_AT", at, 1);
		execl(mailbox_program(), "test_mailbox_route_moments", mailbox_kind(), "route", url,
		      (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &how, 0), child);
	if (WIFEXITED(how)) {
		assert_int_equal(WEXITSTATUS(how), KEEP_OK);
		return false;
	}
	assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
	return true;
}

/* How many of the agents had the message already when it is routed once more; each has it once. */
static int route_again(keep_mailbox *mailbox)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_route_outcome outcome;
	int had = 0;

	OK(route_both(mailbox, &memory, &outcome, &err));
	assert_int_equal(outcome.taken, AGENTS);
	for (int i = 0; i < AGENTS; i++) {
		assert_int_not_equal(outcome.items[i].post.posted, KEEP_POSTED_REUSED);
		had += outcome.items[i].post.posted == KEEP_POSTED_DUPLICATE;
		/* the first number: nothing was stored twice before it */
		assert_int_equal(outcome.items[i].post.seq, 2);
	}
	OK(route_both(mailbox, &memory, &outcome, &err));
	for (int i = 0; i < AGENTS; i++)
		assert_int_equal(outcome.items[i].post.posted, KEEP_POSTED_DUPLICATE);
	keep_memory_release(&memory);
	return had;
}

static void a_host_killed_at_any_moment_of_routing_loses_and_doubles_nothing(void **state)
{
	static const char *const moments[] = {"mailbox.chat_found", "mailbox.session_found",
					      "mailbox.routed"};
	bool was_between = false;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(moments); i++) {
		bool killed = true;

		for (int number = 1; killed; number++) {
			keep_mailbox *mailbox = make_store();
			int had;

			killed = run_host(moments[i], number);
			CHECK(killed || number > 1, "%s is never met", moments[i]);
			had = route_again(mailbox);
			was_between |= had > 0 && had < AGENTS;
			assert_true(killed || had == AGENTS);
			assert_string_equal(
				mailbox_sql(NULL, NULL,
					    "SELECT CAST(count(*) AS text) FROM messaging_groups"),
				"2");
			assert_string_equal(mailbox_sql(NULL, NULL,
							"SELECT CAST(count(*) AS text) FROM "
							"sessions WHERE anchor IS NOT NULL"),
					    "3");
			keep_mailbox_close(&mailbox);
		}
	}
	assert_true(was_between);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- a session closed in between */

static int closings;

static void close_what_was_found(void *ctx, const char *name)
{
	const char *session = ctx;

	if (strcmp(name, "mailbox.session_found") != 0 || closings++)
		return;
	(void)mailbox_sql(NULL, NULL,
			  "UPDATE sessions SET status = 'closed', anchor = NULL WHERE "
			  "agent_group_id = 'ada'");
	if (mailbox_is_file())
		(void)mailbox_sql(session, "inbound.db", "UPDATE session_host SET closed = TRUE");
	else
		(void)mailbox_sql(NULL, NULL,
				  "UPDATE session_host SET closed = TRUE WHERE agent_group_id = "
				  "'ada'");
}

static void a_session_that_is_closed_in_between_has_a_successor_that_gets_it(void **state)
{
	keep_mailbox *mailbox = make_store();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_inbound_route message = {.channel_type = B("telegram"),
				      .platform_id = B("42"),
				      .message_id = B("2"),
				      .content = B("{}")};
	keep_route_outcome first, outcome;
	char session[KEEP_SEGMENT_MAX + 1];

	(void)state;
	OK(route_both(mailbox, &memory, &first, &err));
	snprintf(session, sizeof session, "%.*s", (int)first.items[0].session.len,
		 first.items[0].session.data);
	closings = 0;
	kp_moment_inject(close_what_was_found, session);
	OK(keep_mailbox_route(mailbox, &message, KEEP_NOW, &memory, &outcome, &err));
	kp_moment_inject(NULL, NULL);
	assert_int_equal(outcome.taken, AGENTS);
	assert_true(outcome.items[0].is_new_session);
	assert_false(kp_bytes_equal(outcome.items[0].session, first.items[0].session));
	assert_int_equal(outcome.items[0].post.seq, 2);
	assert_int_equal(outcome.items[1].post.seq, 4);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_host_killed_at_any_moment_of_routing_loses_and_doubles_nothing),
		cmocka_unit_test(a_session_that_is_closed_in_between_has_a_successor_that_gets_it),
	};
	int failed;

	if (argc == 4 && strcmp(argv[2], "route") == 0)
		return route_elsewhere(argv[3]);
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
