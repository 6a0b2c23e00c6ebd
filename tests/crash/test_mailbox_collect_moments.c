/*
 * test_mailbox_collect_moments.c - a host that collects dies at every named moment of it.
 *
 *     test_mailbox_collect_moments sqlite|postgres                 the tests
 *     test_mailbox_collect_moments <kind> collect URL SESSION      the host that KEEP_KILL_AT kills
 *
 * For each kp_moment of collecting and N = 1, 2, … until it is met no more, the host is killed
 * there. Then another one collects: each acknowledgement counts once, each message is answered,
 * each action and message to an agent is carried out once. A moment that is never met fails the
 * test.
 */
#include "mailbox_fixture.h"

#include "mailbox_rows.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOW INT64_C(1780000000000)

static const char *const moments[] = {"news_read", "news_taken", "collect_handed"};

static int collect_elsewhere(const char *url, const char *session)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_mailbox *mailbox = NULL;
	keep_collection found;
	keep_status status;

	options.timeout_ms = 10000;
	status = keep_mailbox_open(url, &options, &mailbox, NULL);
	if (status == KEEP_OK)
		status = keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, NOW, &memory,
					      &found, NULL);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	return (int)status;
}

/* Whether the host was killed. */
static bool run_host(const char *session, const char *moment, int number)
{
	const char *url = mailbox_url();
	char at[100];
	int status = 0;
	pid_t pid;

	snprintf(at, sizeof at, "mailbox.%s:%d", moment, number);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setenv("KEEP_KILL_AT", at, 1);
		execl(mailbox_program(), mailbox_program(), mailbox_kind(), "collect", url, session,
		      (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	assert_int_equal(status, 0);
	return false;
}

/* What an agent did: it completed, failed, answered, scheduled a task and wrote to another one. */
static void make_work(keep_mailbox *mailbox, const char *session)
{
	char id[100];

	(void)mailbox_sql(NULL, NULL,
			  "INSERT INTO agent_groups (id, name, folder, created_at) VALUES "
			  "('bob', 'Bob', 'bob', '2026-01-01T00:00:00.000Z')");
	(void)mailbox_sql(NULL, NULL,
			  "INSERT INTO agent_destinations (agent_group_id, name, type, "
			  "target_agent_group_id) VALUES ('" MAILBOX_AGENT
			  "', 'bob', 'agent', 'bob')");
	(void)mailbox_post(mailbox, session, "{\"text\":\"1\"}");
	(void)mailbox_post(mailbox, session, "{\"text\":\"2\"}");
	rows_ack(session, rows_inbound_id(session, 2, id, sizeof id), "completed", 1, 1, NULL);
	rows_ack(session, rows_inbound_id(session, 4, id, sizeof id), "failed", 1, 2, "it broke");
	rows_out(session, 5, "reply", "chat", "telegram", "42", "{}", NULL);
	rows_out(session, 7, "a2a", "chat", "agent", "bob", "{\"text\":\"hi\"}", NULL);
	rows_out(session, 9, "task", "system", NULL, NULL,
		 "{\"action\":\"schedule_task\",\"taskId\":\"t1\",\"prompt\":\"go\","
		 "\"processAfter\":\"2027-01-01T00:00:00.000Z\"}",
		 NULL);
	rows_out(session, 11, "away", "chat", "telegram", "99", "{}", NULL);
}

static void assert_number(const char *session, const char *what, int expected)
{
	char sql[400];

	snprintf(sql, sizeof sql, "SELECT CAST(count(*) AS text) FROM %s", what);
	CHECK(atoi(mailbox_sql(session, "inbound.db", sql)) == expected, "%s", what);
}

static void assert_done_once(keep_mailbox *mailbox, const char *session)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_collection found;
	keep_inbound_message_list posted;
	char what[300], target[KEEP_SEGMENT_MAX + 1];

	for (int i = 0; i < 2; i++) {
		OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, NOW, &memory, &found,
					&err));
		assert_int_equal(found.count, 1);
		assert_bytes_equal(found.items[0].key, KEEP_BYTES("reply"));
	}
	snprintf(what, sizeof what, "messages_in WHERE %s status = 'completed'",
		 rows_where(session));
	assert_number(session, what, 1);
	snprintf(what, sizeof what, "messages_in WHERE %s tries = 1", rows_where(session));
	assert_number(session, what, 1);
	snprintf(what, sizeof what, "messages_in WHERE %s kind = 'task'", rows_where(session));
	assert_number(session, what, 1);
	snprintf(what, sizeof what, "messages_in WHERE %s kind = 'system'", rows_where(session));
	assert_number(session, what, 1); /* that `away` was refused */
	snprintf(what, sizeof what, "delivered WHERE %s status IN ('delivered', 'refused')",
		 rows_where(session));
	assert_number(session, what, 3);
	snprintf(target, sizeof target, "%s",
		 mailbox_sql(NULL, NULL, "SELECT id FROM sessions WHERE agent_group_id = 'bob'"));
	OK(keep_mailbox_messages(mailbox, keep_bytes_of(target), (keep_bytes){.data = NULL}, 0, 0,
				 &memory, &posted, &err));
	assert_int_equal(posted.count, 1);
	keep_memory_release(&memory);
}

static void a_host_that_dies_while_it_collects_loses_and_doubles_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(moments); i++) {
		bool was_killed = true;
		int number = 0;

		while (was_killed && number < 20) {
			keep_mailbox *mailbox = mailbox_fresh();
			char session[KEEP_SEGMENT_MAX + 1];

			mailbox_session(mailbox, NULL, session);
			make_work(mailbox, session);
			keep_mailbox_close(&mailbox);
			was_killed = run_host(session, moments[i], ++number);
			mailbox = mailbox_again();
			assert_done_once(mailbox, session);
			keep_mailbox_close(&mailbox);
		}
		CHECK(number > 1, "the moment %s was never met", moments[i]);
		CHECK(!was_killed, "the moment %s was met too often", moments[i]);
	}
	keep_zone_forget();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_host_that_dies_while_it_collects_loses_and_doubles_nothing),
	};
	int failed;

	if (argc > 4 && strcmp(argv[2], "collect") == 0)
		return collect_elsewhere(argv[3], argv[4]);
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
