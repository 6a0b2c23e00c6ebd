/*
 * test_service_agents.c - the agent's command of a service: what it gets, in which order, how many
 * at once; what its exit status means; and what becomes of it when the service ends or is killed.
 */
#include "service/host.h"
#include "service_steps.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *backend;
static char command[2048];

static int set_up(void **state)
{
	journey_fixture *fixture = calloc(1, sizeof *fixture);

	CHECK(fixture, "memory");
	journey_begin(fixture, backend);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	journey_fixture *fixture = *state;

	journey_end(fixture);
	free(fixture);
	home_servers_drop();
	assert_nothing_lives();
	return 0;
}

/* %s of `format`: the fixture's folder, as often as it is there (at most three times). */
static void serve_with(journey_fixture *fixture, const char *format)
{
	const char *at = format;
	size_t len = 0;

	for (; *at && len + sizeof fixture->folder.path < sizeof command; at++) {
		if (*at == '@')
			len += (size_t)snprintf(command + len, sizeof command - len, "%s",
						fixture->folder.path);
		else
			command[len++] = *at;
	}
	command[len] = '\0';
	fixture->options.agent = command;
	journey_serve(fixture);
}

static bool history_has(journey_fixture *fixture, const char *chat, const char *text)
{
	char with[256];

	(void)snprintf(with, sizeof with, "{\"jid\":\"%s\",\"limit\":200}", chat);
	return steps_has(fixture, "gateway.history", with, text);
}

static void one_chats_messages_are_answered_in_order_one_at_a_time(void **state)
{
	journey_fixture *fixture = *state;
	char id[16], text[16], expected[512] = "";

	fixture->options.agent_text = true;
	serve_with(fixture,
		   "mkdir @/only || echo twice >>@/log; cat >>@/log; sleep 0.02; rmdir @/only");
	for (int i = 1; i <= 12; i++) {
		(void)snprintf(id, sizeof id, "m%d", i);
		(void)snprintf(text, sizeof text, "%d", i);
		journey_put(fixture, "telegram:1", id, text);
		strcat(strcat(expected, text), "\n");
	}
	EVENTUALLY(steps_lines(fixture, "log") == 12);
	assert_string_equal(steps_read(fixture, "log"), expected);
}

static void a_slow_chat_holds_up_no_other(void **state)
{
	journey_fixture *fixture = *state;

	fixture->options.agent_text = true;
	fixture->options.agents_max = 2;
	serve_with(fixture,
		   "read word; if [ \"$word\" = slow ]; then "
		   "while [ ! -e @/go ]; do sleep 0.05; done; fi; echo \"done $word\" >>@/log");
	journey_put(fixture, "telegram:1", "a", "slow");
	journey_put(fixture, "telegram:1", "b", "second");
	for (int i = 2; i < 6; i++) {
		char chat[32];

		(void)snprintf(chat, sizeof chat, "telegram:%d", i);
		journey_put(fixture, chat, "a", "quick");
	}
	EVENTUALLY(steps_lines(fixture, "log") == 4);
	assert_null(strstr(steps_read(fixture, "log"), "slow"));
	steps_write(fixture, "go", "");
	EVENTUALLY(steps_lines(fixture, "log") == 6);
	assert_string_equal(steps_read(fixture, "log"), "done quick\ndone quick\ndone quick\n"
							"done quick\ndone slow\ndone second\n");
}

static void the_command_is_told_what_it_needs_in_its_environment(void **state)
{
	journey_fixture *fixture = *state;
	const char *said;

	setenv("NOTIFY_SOCKET", "@nobody-listens-there", 1);
	serve_with(fixture, "cat >@/input; echo \"$KEEP_CHAT|$KEEP_FOLDER|$KEEP_HOME|$KEEP_URL|"
			    "$KEEP_ATTEMPT|${NOTIFY_SOCKET-none}|$KEEP_SESSION|$KEEP_MESSAGE_ID|\" "
			    ">@/environment; echo ok");
	journey_put(fixture, "telegram:77", "a", "hello");
	EVENTUALLY(history_has(fixture, "telegram:77", "\"ok\""));
	unsetenv("NOTIFY_SOCKET");
	said = steps_read(fixture, "environment");
	CHECK(strncmp(said, "telegram:77|main|", 17) == 0, "%s", said);
	CHECK(strstr(said, fixture->home), "%s", said);
	CHECK(strstr(said, keep_service_url(fixture->service)), "%s", said);
	CHECK(strstr(said, "|1|none|"), "%s", said);
	CHECK(strstr(said, "||") == NULL, "something is empty: %s", said);
	said = steps_read(fixture, "input");
	CHECK(strstr(said, "\"text\":\"hello\""), "%s", said);
}

static void an_agent_of_its_own_is_left_alone(void **state)
{
	journey_fixture *fixture = *state;
	keep_agent_group group = {.id = KEEP_BYTES("own"),
				  .name = KEEP_BYTES("own"),
				  .folder = KEEP_BYTES("own"),
				  .agent_provider = KEEP_BYTES("container")};
	keep_route route = {.jid = KEEP_BYTES("telegram:1"), .target = KEEP_BYTES("own")};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_put_agent_group(fixture->mailbox, &group, NULL, &err));
	OK(keep_gateway_add_route(fixture->gateway, &route, NULL, &err));
	serve_with(fixture, "cat >>@/log; echo yes");
	journey_put(fixture, "telegram:1", "a", "for the container");
	EVENTUALLY(
		steps_has(fixture, "mailbox.list_sessions", "{\"agent_group_id\":\"own\"}", "own"));
	journey_put(fixture, "telegram:2", "a", "for the command");
	EVENTUALLY(history_has(fixture, "telegram:2", "\"yes\""));
	assert_null(strstr(steps_read(fixture, "log"), "container"));
}

static void a_failure_marks_the_chat_and_a_success_clears_it(void **state)
{
	journey_fixture *fixture = *state;

	fixture->options.agent_text = true;
	serve_with(fixture, "read word; echo \"the $word is broken\" >&2; [ $word = good ]");
	journey_put(fixture, "telegram:1", "a", "bad");
	EVENTUALLY(steps_has(fixture, "gateway.errored_chats", "{}", "telegram:1"));
	/* Its retry waits; what comes next does not. */
	journey_put(fixture, "telegram:1", "b", "good");
	EVENTUALLY(!steps_has(fixture, "gateway.errored_chats", "{}", "telegram:1"));
}

static void a_command_over_its_time_is_ended_with_all_that_it_started(void **state)
{
	journey_fixture *fixture = *state;
	pid_t child;

	fixture->options.agent_limit_ms = 300;
	serve_with(fixture, "sleep 300 & echo $! >@/child; wait");
	journey_put(fixture, "telegram:1", "a", "hello");
	EVENTUALLY(steps_has(fixture, "gateway.errored_chats", "{}", "telegram:1"));
	child = atoi(steps_read(fixture, "child"));
	CHECK(child > 1, "no child");
	EVENTUALLY(kill(child, 0) != 0 && errno == ESRCH);
}

static void a_command_that_cannot_be_run_costs_no_message_an_attempt(void **state)
{
	journey_fixture *fixture = *state;
	char path[512];

	serve_with(fixture, "@/agent");
	journey_put(fixture, "telegram:1", "a", "hello");
	EVENTUALLY(atomic_load(&fixture->service->metrics.counters[KP_COUNT_FAILED_RUNS]) >= 2);
	assert_false(steps_has(fixture, "gateway.errored_chats", "{}", "telegram:1"));
	steps_write(fixture, "agent.new", "#!/bin/sh\necho here I am\n");
	(void)snprintf(path, sizeof path, "%s/agent.new", fixture->folder.path);
	assert_int_equal(chmod(path, 0700), 0);
	(void)snprintf(path, sizeof path, "cd %s && mv agent.new agent", fixture->folder.path);
	assert_int_equal(system(path), 0);
	EVENTUALLY(history_has(fixture, "telegram:1", "here I am"));
}

static void the_end_waits_for_a_command_that_runs(void **state)
{
	journey_fixture *fixture = *state;

	serve_with(fixture,
		   "echo >@/began; while [ ! -e @/go ]; do sleep 0.05; done; echo finished");
	journey_put(fixture, "telegram:1", "a", "hello");
	EVENTUALLY(steps_lines(fixture, "began") == 1);
	steps_write(fixture, "go", "");
	journey_stop(fixture);
	serve_with(fixture, "echo >>@/again; echo again");
	EVENTUALLY(history_has(fixture, "telegram:1", "finished"));
	assert_int_equal(steps_lines(fixture, "again"), 0);
}

static void a_command_that_does_not_end_is_killed_and_its_message_is_free(void **state)
{
	journey_fixture *fixture = *state;
	pid_t shell;

	serve_with(fixture, "echo $$ >@/shell; trap '' TERM; while :; do sleep 0.05; done");
	journey_put(fixture, "telegram:1", "a", "hello");
	EVENTUALLY(steps_lines(fixture, "shell") == 1);
	shell = atoi(steps_read(fixture, "shell"));
	keep_service_stop(&fixture->service, 200);
	CHECK(shell > 1 && kill(shell, 0) != 0 && errno == ESRCH, "it lives on");
	serve_with(fixture, "echo answered now");
	EVENTUALLY(history_has(fixture, "telegram:1", "answered now"));
	assert_false(steps_has(fixture, "gateway.errored_chats", "{}", "telegram:1"));
}

static void a_killed_service_leaves_no_command_and_the_next_one_answers(void **state)
{
	journey_fixture *fixture = *state;
	keep_error err = KEEP_ERROR_INIT;
	void *gateway = NULL;
	pid_t host, shell;
	int ended;

	/* The child opens everything by itself: no handle may cross a fork. */
	journey_put(fixture, "telegram:1", "a", "hello");
	keep_session_close(&fixture->session);
	host = fork();
	if (host == 0) {
		serve_with(fixture, "echo $$ >@/shell; exec sleep 300");
		for (;;)
			pause();
	}
	EVENTUALLY(steps_lines(fixture, "shell") == 1);
	shell = atoi(steps_read(fixture, "shell"));
	kill(host, SIGKILL);
	assert_int_equal(waitpid(host, &ended, 0), host);
	CHECK(shell > 1, "no command");
	EVENTUALLY(kill(shell, 0) != 0 && errno == ESRCH);
	OK(keep_session_open(fixture->home, &fixture->session, &err));
	OK(kp_session_handle(fixture->session, &kp_gateway_operations, &gateway, &err));
	fixture->gateway = gateway;
	serve_with(fixture, "echo answered by the next");
	EVENTUALLY(history_has(fixture, "telegram:1", "answered by the next"));
}

static void many_chats_at_once_are_all_answered_once(void **state)
{
	journey_fixture *fixture = *state;
	enum { CHATS = 60 };

	fixture->options.agent_text = true;
	serve_with(fixture, "cat >>@/log; echo ok");
	for (int i = 0; i < CHATS; i++) {
		char chat[32];

		(void)snprintf(chat, sizeof chat, "telegram:%d", i);
		journey_put(fixture, chat, "a", "hello");
	}
	for (int i = 0; i < CHATS; i++) {
		char chat[32];

		(void)snprintf(chat, sizeof chat, "telegram:%d", i);
		EVENTUALLY(journey_count(fixture, chat) == 2);
	}
	assert_int_equal(steps_lines(fixture, "log"), CHATS);
}

int main(int argc, char **argv)
{
#define SERVICE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		SERVICE(a_killed_service_leaves_no_command_and_the_next_one_answers),
		SERVICE(one_chats_messages_are_answered_in_order_one_at_a_time),
		SERVICE(a_slow_chat_holds_up_no_other),
		SERVICE(the_command_is_told_what_it_needs_in_its_environment),
		SERVICE(an_agent_of_its_own_is_left_alone),
		SERVICE(a_failure_marks_the_chat_and_a_success_clears_it),
		SERVICE(a_command_over_its_time_is_ended_with_all_that_it_started),
		SERVICE(a_command_that_cannot_be_run_costs_no_message_an_attempt),
		SERVICE(the_end_waits_for_a_command_that_runs),
		SERVICE(a_command_that_does_not_end_is_killed_and_its_message_is_free),
		SERVICE(many_chats_at_once_are_all_answered_once),
	};

	backend = argc > 1 ? argv[1] : "sqlite";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
