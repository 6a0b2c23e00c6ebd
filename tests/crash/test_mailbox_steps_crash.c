/*
 * test_mailbox_steps_crash.c - what takes several steps is killed between any two of them.
 *
 *     test_mailbox_steps_crash sqlite|postgres
 *     test_mailbox_steps_crash <url> <session> <flow>      a child
 *
 * For each flow and each of its moments: a child runs the flow and is killed there; a second child
 * runs it again, whole. Then the outcome must be the one of a flow that ran once: one answer, one
 * occurrence, one message. A moment that is never met fails the test.
 */
#include "mailbox_steps.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static keep_mailbox *mailbox;
static char session[KEEP_SEGMENT_MAX + 1];

/* ---------------------------------------------------------------- flows, run by a child */

static const char scheduling[] = "{\"action\":\"schedule_task\",\"taskId\":\"new\",\"prompt\":"
				 "\"p\",\"recurrence\":\"0 9 * * *\"}";

static keep_status open_question(keep_mailbox *of, const keep_session *row, keep_error *err)
{
	keep_outbound_message card = {
		.id = KEEP_BYTES("q1"),
		.kind = KEEP_BYTES("chat-sdk"),
		.content = KEEP_BYTES("{\"type\":\"ask_question\",\"questionId\":\"q1\"}")};

	return kp_question_open(of, row, &card, at("2026-04-11T08:00:00Z"), err);
}

static keep_status flow_end(keep_mailbox *of, const keep_session *row, keep_error *err)
{
	bool changed;
	char id[KEEP_SEGMENT_MAX + 1];

	snprintf(id, sizeof id, "%.*s", (int)row->id.len, row->id.data);
	return try_to_end(of, id, "t", "completed", at("2026-04-11T09:01:00Z"), &changed, err);
}

static keep_status flow_answer(keep_mailbox *of, const keep_session *row, keep_error *err)
{
	keep_answer answer = {KEEP_BYTES("q1"), KEEP_BYTES("yes"), KEEP_BYTES("bob")};

	(void)row;
	return keep_mailbox_answer(of, &answer, at("2026-04-11T09:00:00Z"), err);
}

static keep_status flow_expire(keep_mailbox *of, const keep_session *row, keep_error *err)
{
	int64_t expired;

	(void)row;
	return kp_questions_expire(of, at("2026-04-13T09:00:00Z"), 10, &expired, err);
}

static keep_status run_action(keep_mailbox *of, const keep_session *row, const char *id,
			      const char *content, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	bool handled = false;
	keep_bytes refused = {.data = NULL};
	keep_outbound_message message = {.id = keep_bytes_of(id),
					 .kind = KEEP_BYTES("system"),
					 .content = keep_bytes_of(content)};
	keep_status status = kp_action_run(of, row, &message, at("2026-04-11T08:30:00Z"), &memory,
					   &handled, &refused, err);

	if (status == KEEP_OK && refused.data)
		status = kp_fail(err, KEEP_CONFLICT, "refused: %" KP_PRI, KP_ARG(refused));
	keep_memory_release(&memory);
	return status;
}

static keep_status flow_schedule(keep_mailbox *of, const keep_session *row, keep_error *err)
{
	return run_action(of, row, "o1", scheduling, err);
}

static keep_status flow_cancel(keep_mailbox *of, const keep_session *row, keep_error *err)
{
	return run_action(of, row, "o2", "{\"action\":\"cancel_task\",\"taskId\":\"t\"}", err);
}

static keep_status flow_pause(keep_mailbox *of, const keep_session *row, keep_error *err)
{
	return run_action(of, row, "o3", "{\"action\":\"pause_task\",\"taskId\":\"t\"}", err);
}

static keep_status flow_hand(keep_mailbox *of, const keep_session *row, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_bytes refused = {.data = NULL};
	keep_outbound_message message = {.id = KEEP_BYTES("o4"),
					 .kind = KEEP_BYTES("chat"),
					 .channel_type = KEEP_BYTES("agent"),
					 .platform_id = KEEP_BYTES("bea"),
					 .content = of->schema ? KEEP_BYTES("{\"text\":\"hi\"}")
							       : KEEP_BYTES("{\"files\":[\"a\"]}")};
	keep_status status = kp_agent_to_agent(of, row, &message, message.id,
					       at("2026-04-11T08:30:00Z"), &memory, &refused, err);

	if (status == KEEP_OK && refused.data)
		status = kp_fail(err, KEEP_CONFLICT, "refused: %" KP_PRI, KP_ARG(refused));
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- what must be then */

static void check_end(void)
{
	assert_int_equal(count_inbound(session, "messages_in WHERE series_id = 't'"), 2);
	assert_int_equal(count_inbound(session, "messages_in WHERE id = 't.20260412T090000Z' AND "
						"status = 'pending'"),
			 1);
	assert_int_equal(count_inbound(session, "messages_in WHERE recurrence IS NOT NULL"), 1);
}

static int count_rows(const char *table)
{
	char sql[100];

	snprintf(sql, sizeof sql, "SELECT CAST(count(*) AS text) FROM %s", table);
	return atoi(mailbox_sql(NULL, NULL, sql));
}

static void check_answer(void)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_answer other = {KEEP_BYTES("q1"), KEEP_BYTES("no"), KEEP_BYTES("bob")};

	assert_int_equal(count_inbound(session, "messages_in WHERE kind = 'system'"), 1);
	assert_int_equal(count_rows("pending_questions"), 0);
	assert_int_equal(keep_mailbox_answer(mailbox, &other, at("2026-04-11T09:00:00Z"), &err),
			 KEEP_CONFLICT);
}

static void check_schedule(void)
{
	assert_int_equal(count_inbound(session, "messages_in WHERE id = 'new'"), 1);
}

static void check_cancel(void)
{
	assert_int_equal(count_inbound(session, "messages_in WHERE status = 'cancelled'"), 1);
	assert_int_equal(count_inbound(session, "messages_in WHERE series_id = 't'"), 1);
	assert_int_equal(count_inbound(session, "message_steps WHERE step = 'action'"), 1);
}

static void check_pause(void)
{
	assert_int_equal(count_inbound(session, "messages_in WHERE status = 'paused'"), 1);
	assert_int_equal(count_inbound(session, "message_steps WHERE step = 'paused'"), 1);
}

static void check_hand(void)
{
	keep_session_place place = {.agent_group_id = KEEP_BYTES("bea"),
				    .session_mode = KEEP_BYTES("agent-shared")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_inbound_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	keep_session row;
	bool made = true;

	OK(keep_mailbox_resolve_session(mailbox, &place, KEEP_NOW, &memory, &row, &made, &err));
	assert_false(made);
	OK(keep_mailbox_messages(mailbox, row.id, (keep_bytes){.data = NULL}, 0, 0, &memory, &list,
				 &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(count_rows("sessions"), 2);
	assert_int_equal(count_inbound(session, "message_steps WHERE step = 'to_session'"), 1);
	keep_memory_release(&memory);
}

static const struct flow {
	const char *name;
	keep_status (*run)(keep_mailbox *of, const keep_session *row, keep_error *err);
	void (*check)(void);
	const char *moments[4];
} flows[] = {
	{"end", flow_end, check_end, {"mailbox.occurrence_ended"}},
	{"answer", flow_answer, check_answer, {"mailbox.question_told"}},
	{"expire", flow_expire, check_answer, {"mailbox.question_expired"}},
	{"schedule", flow_schedule, check_schedule, {"mailbox.action_run"}},
	{"cancel",
	 flow_cancel,
	 check_cancel,
	 {"mailbox.occurrence_ended", "mailbox.series_changed", "mailbox.action_run"}},
	{"pause", flow_pause, check_pause, {"mailbox.series_changed", "mailbox.action_run"}},
	{"hand",
	 flow_hand,
	 check_hand,
	 {"mailbox.target_chosen", "mailbox.files_handed", "mailbox.message_handed"}},
};

/* ---------------------------------------------------------------- processes */

static int run_child(const char *url, const char *id, const char *name)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_mailbox *own = NULL;
	keep_session row;
	keep_status status;

	options.timeout_ms = 30000;
	status = keep_mailbox_open(url, &options, &own, &err);
	if (status == KEEP_OK)
		status = keep_mailbox_get_session(own, keep_bytes_of(id), &memory, &row, &err);
	for (size_t i = 0; i < KP_COUNT(flows) && status == KEEP_OK; i++)
		if (strcmp(flows[i].name, name) == 0)
			status = flows[i].run(own, &row, &err);
	keep_memory_release(&memory);
	keep_mailbox_close(&own);
	if (status != KEEP_OK)
		fprintf(stderr, "%s: %s\n", name, err.message);
	return status == KEEP_OK ? 0 : 2;
}

/* The status of a child that runs a flow; it kills itself at `moment`, if there is one. */
static int start_child(const char *name, const char *moment)
{
	char url[MAILBOX_URL_MAX], kill_at[100];
	int status = 0;
	pid_t child;

	snprintf(url, sizeof url, "%s", mailbox_url());
	child = fork();
	if (child == 0) {
		snprintf(kill_at, sizeof kill_at, "%s:1", moment ? moment : "");
		(void)unsetenv("KEEP_KILL_AT");
		if (moment)
			(void)setenv("KEEP_KILL_AT", kill_at, 1);
		execl(mailbox_program(), mailbox_program(), url, session, name, NULL);
		_exit(9);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void put_file(void)
{
	char path[900];
	FILE *file;

	if (!mailbox_is_file())
		return;
	snprintf(path, sizeof path, "%s/outbox", mailbox_folder(session));
	(void)mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/outbox/o4", mailbox_folder(session));
	(void)mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/outbox/o4/a", mailbox_folder(session));
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("hello", file);
	fclose(file);
}

static void prepare(void)
{
	keep_post post = {.id = KEEP_BYTES("t"),
			  .kind = KEEP_BYTES("task"),
			  .content = KEEP_BYTES("{\"prompt\":\"p\"}"),
			  .recurrence = KEEP_BYTES("0 9 * * *"),
			  .process_after = at("2026-04-11T09:00:00Z")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_post_result result;
	keep_error err = KEEP_ERROR_INIT;
	keep_session row;

	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	(void)mailbox_sql(NULL, NULL,
			  "INSERT INTO agent_groups (id, name, folder, created_at) VALUES "
			  "('bea', 'Bea', 'bea', '2026-01-01T00:00:00.000Z')");
	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
	OK(keep_mailbox_get_session(mailbox, keep_bytes_of(session), &memory, &row, &err));
	OK(open_question(mailbox, &row, &err));
	put_file();
	keep_memory_release(&memory);
}

static void a_flow_that_is_killed_between_two_steps_and_repeated_happened_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(flows); i++) {
		for (size_t m = 0; m < KP_COUNT(flows[i].moments) && flows[i].moments[m]; m++) {
			int status;

			prepare();
			status = start_child(flows[i].name, flows[i].moments[m]);
			CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
			      "%s was not met by %s", flows[i].moments[m], flows[i].name);
			for (int n = 0; n < 2; n++) {
				status = start_child(flows[i].name, NULL);
				CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0,
				      "%s after a kill at %s", flows[i].name, flows[i].moments[m]);
			}
			flows[i].check();
			keep_mailbox_close(&mailbox);
			keep_zone_forget();
			assert_nothing_lives();
		}
	}
}

/* The message is stored and the row is not gone: the other kind of end, and another answer, find
   out which one stands. */
static void a_kill_between_answer_and_row_leaves_the_answer_standing(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_answer other = {KEEP_BYTES("q1"), KEEP_BYTES("no"), KEEP_BYTES("eve")};

	(void)state;
	prepare();
	assert_true(WIFSIGNALED(start_child("answer", "mailbox.question_told")));
	assert_int_equal(count_rows("pending_questions"), 1);
	assert_int_equal(start_child("expire", NULL), 0);
	assert_int_equal(count_rows("pending_questions"), 0);
	assert_int_equal(keep_mailbox_answer(mailbox, &other, at("2026-04-11T09:00:00Z"), &err),
			 KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "'yes' by 'bob'"));
	check_answer();
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_flow_that_is_killed_between_two_steps_and_repeated_happened_once),
		cmocka_unit_test(a_kill_between_answer_and_row_leaves_the_answer_standing),
	};
	int failed;

	if (argc == 4)
		return run_child(argv[1], argv[2], argv[3]);
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
