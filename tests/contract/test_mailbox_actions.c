/*
 * test_mailbox_actions.c - contracts/mailbox.md: what an agent asks the host to do about its tasks
 * is done once, whatever is repeated, or refused with a reason.
 *
 *     test_mailbox_actions sqlite|postgres
 */
#include "mailbox_steps.h"

static keep_mailbox *mailbox;
static char session[KEEP_SEGMENT_MAX + 1];

static int begin_test(void **state)
{
	(void)state;
	hold_clock("2026-04-11T08:00:00Z");
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	return 0;
}

static int end_test(void **state)
{
	(void)state;
	keep_mailbox_close(&mailbox);
	kp_clock_inject(NULL, NULL);
	keep_zone_forget();
	assert_nothing_lives();
	return 0;
}

/* The reason of a refusal, "" for none; "-" when it is none of the actions. */
static const char *act(const char *id, const char *content)
{
	static char reason[300];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_session row;
	keep_bytes refused;
	bool handled = false;
	keep_outbound_message message = {.id = keep_bytes_of(id),
					 .kind = KEEP_BYTES("system"),
					 .content = keep_bytes_of(content)};

	OK(keep_mailbox_get_session(mailbox, keep_bytes_of(session), &memory, &row, &err));
	OK(kp_action_run(mailbox, &row, &message, mailbox_now, &memory, &handled, &refused, &err));
	snprintf(reason, sizeof reason, "%.*s", handled ? (int)refused.len : 1,
		 handled ? refused.len ? refused.data : "" : "-");
	keep_memory_release(&memory);
	return reason;
}

static const char *ask_task(const char *what)
{
	return ask_inbound(session, what, "messages_in WHERE status IN ('pending', 'paused')");
}

static void a_task_is_scheduled_once_with_the_sources_content(void **state)
{
	static const char content[] =
		"{\"action\":\"schedule_task\",\"taskId\":\"task-1\",\"prompt\":\"look\","
		"\"script\":null,\"processAfter\":\"2026-04-11T11:00:00+02:00\",\"recurrence\":"
		"\"0 9 * * *\",\"channelType\":\"telegram\",\"platformId\":\"42\"}";

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_string_equal(act("out-1", content), "");
	assert_int_equal(count_inbound(session, "messages_in"), 1);
	assert_string_equal(ask_task("content"), "{\"prompt\":\"look\",\"script\":null}");
	assert_string_equal(ask_task("id"), "task-1");
	assert_string_equal(ask_task("series_id"), "task-1");
	assert_string_equal(ask_task("kind"), "task");
	assert_string_equal(ask_task("recurrence"), "0 9 * * *");
	assert_string_equal(ask_task("platform_id"), "42");
	/* asked again after its first occurrence and a change of its content */
	assert_true(end_message(mailbox, session, "task-1", "completed", "2026-04-11T09:01:00Z"));
	assert_string_equal(act("out-2", "{\"action\":\"update_task\",\"taskId\":\"task-1\","
					 "\"prompt\":\"look again\"}"),
			    "");
	assert_string_equal(act("out-1", content), "");
	assert_string_equal(ask_task("content"), "{\"prompt\":\"look again\",\"script\":null}");
	assert_int_equal(count_inbound(session, "messages_in"), 2);
}

static void both_forms_of_time_are_taken(void **state)
{
	(void)state;
	assert_string_equal(act("o1", "{\"action\":\"schedule_task\",\"taskId\":\"a\",\"prompt\":"
				      "\"p\",\"processAfter\":\"2026-04-11 09:00:00\"}"),
			    "");
	assert_string_equal(act("o2", "{\"action\":\"schedule_task\",\"taskId\":\"b\",\"prompt\":"
				      "\"p\",\"processAfter\":\"2026-04-11T09:00:00.000Z\"}"),
			    "");
	assert_int_equal(atoi(ask_inbound(session, "count(DISTINCT process_after)",
					  "messages_in WHERE process_after IS NOT NULL")),
			 1);
}

static void a_task_without_an_id_has_that_of_its_row(void **state)
{
	(void)state;
	assert_string_equal(act("out-7", "{\"action\":\"schedule_task\",\"prompt\":\"p\"}"), "");
	assert_string_equal(ask_task("id"), "out-7");
}

static void cancel_pause_and_resume_are_done_once(void **state)
{
	(void)state;
	assert_string_equal(act("o1", "{\"action\":\"schedule_task\",\"taskId\":\"t\",\"prompt\":"
				      "\"p\",\"recurrence\":\"0 9 * * *\"}"),
			    "");
	assert_string_equal(act("o2", "{\"action\":\"pause_task\",\"taskId\":\"t\"}"), "");
	assert_string_equal(act("o2", "{\"action\":\"pause_task\",\"taskId\":\"t\"}"), "");
	assert_string_equal(ask_task("status"), "paused");
	assert_non_null(
		strstr(act("o3", "{\"action\":\"pause_task\",\"taskId\":\"t\"}"), "paused"));
	assert_string_equal(act("o4", "{\"action\":\"resume_task\",\"taskId\":\"t\"}"), "");
	/* the repetition of a pause that was undone since */
	assert_string_equal(act("o2", "{\"action\":\"pause_task\",\"taskId\":\"t\"}"), "");
	assert_string_equal(ask_task("status"), "pending");
	assert_string_equal(act("o5", "{\"action\":\"cancel_task\",\"taskId\":\"t\"}"), "");
	assert_string_equal(act("o5", "{\"action\":\"cancel_task\",\"taskId\":\"t\"}"), "");
	assert_int_equal(count_inbound(session, "messages_in WHERE status = 'cancelled'"), 1);
	assert_non_null(strstr(act("o6", "{\"action\":\"cancel_task\",\"taskId\":\"t\"}"), "'t'"));
}

static void an_update_merges_the_content_and_takes_a_recurrence_away(void **state)
{
	(void)state;
	assert_string_equal(act("o1", "{\"action\":\"schedule_task\",\"taskId\":\"t\",\"prompt\":"
				      "\"p\",\"script\":\"s\",\"recurrence\":\"0 9 * * *\"}"),
			    "");
	assert_string_equal(act("o2", "{\"action\":\"update_task\",\"taskId\":\"t\",\"prompt\":"
				      "\"q\\n\",\"recurrence\":\"0 12 * * *\"}"),
			    "");
	assert_string_equal(ask_task("content"), "{\"prompt\":\"q\\n\",\"script\":\"s\"}");
	assert_string_equal(ask_task("recurrence"), "0 12 * * *");
	assert_string_equal(act("o3", "{\"action\":\"update_task\",\"taskId\":\"t\",\"script\":"
				      "null,\"recurrence\":null}"),
			    "");
	assert_string_equal(ask_task("content"), "{\"prompt\":\"q\\n\",\"script\":null}");
	assert_string_equal(ask_task("recurrence"), "");
}

static void an_agent_changes_the_task_that_it_runs_from_the_next_time_on(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claim_list claims;
	keep_claim_ref ref;
	keep_agent *agent;

	(void)state;
	assert_string_equal(act("o1", "{\"action\":\"schedule_task\",\"taskId\":\"t\",\"prompt\":"
				      "\"p\",\"recurrence\":\"0 9 * * *\"}"),
			    "");
	hold_clock("2026-04-11T09:00:00Z");
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_claim(agent, NULL, mailbox_now, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	ref = (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
	assert_string_equal(act("o2", "{\"action\":\"update_task\",\"taskId\":\"t\",\"prompt\":"
				      "\"q\",\"recurrence\":\"0 10 * * *\"}"),
			    "");
	assert_non_null(strstr(act("o3", "{\"action\":\"update_task\",\"taskId\":\"t\","
					 "\"processAfter\":\"2026-04-11T12:00:00Z\"}"),
			       "running"));
	OK(keep_agent_complete(agent, &ref, 1, mailbox_now, &err));
	assert_true(end_message(mailbox, session, "t", "completed", "2026-04-11T09:00:10Z"));
	assert_string_equal(ask_task("id"), "t.20260411T100000Z");
	assert_string_equal(ask_task("content"), "{\"prompt\":\"q\",\"script\":null}");
	keep_agent_close(&agent);
	keep_memory_release(&memory);
}

static void bad_input_is_refused_with_a_reason_that_names_it(void **state)
{
	static const struct {
		const char *content, *word;
	} bad[] = {
		{"{\"action\":\"schedule_task\",\"taskId\":\"a\"}", "prompt"},
		{"{\"action\":\"schedule_task\",\"taskId\":\"a\",\"prompt\":5}", "prompt"},
		{"{\"action\":\"schedule_task\",\"taskId\":\"../a\",\"prompt\":\"p\"}", "taskId"},
		{"{\"action\":\"schedule_task\",\"taskId\":7,\"prompt\":\"p\"}", "taskId"},
		{"{\"action\":\"schedule_task\",\"taskId\":\"\",\"prompt\":\"p\"}", "taskId"},
		{"{\"action\":\"schedule_task\",\"taskId\":\"a\",\"prompt\":\"p\",\"script\":[]}",
		 "script"},
		{"{\"action\":\"schedule_task\",\"taskId\":\"a\",\"prompt\":\"p\",\"recurrence\":"
		 "\"never\"}",
		 "recurrence"},
		{"{\"action\":\"schedule_task\",\"taskId\":\"a\",\"prompt\":\"p\",\"timezone\":"
		 "\"No/Where\"}",
		 "time_zone"},
		{"{\"action\":\"schedule_task\",\"taskId\":\"a\",\"prompt\":\"p\","
		 "\"processAfter\":\"tomorrow\"}",
		 "processAfter"},
		{"{\"action\":\"schedule_task\",\"taskId\":\"a\",\"prompt\":\"p\",\"missed\":"
		 "\"x\"}",
		 "missed"},
		{"{\"action\":\"schedule_task\",\"taskId\":\"a\",\"prompt\":\"p\","
		 "\"processAfter\":1}",
		 "processAfter"},
		{"{\"action\":\"cancel_task\"}", "taskId"},
		{"{\"action\":\"pause_task\",\"taskId\":null}", "taskId"},
		{"{\"action\":\"resume_task\",\"taskId\":\"none\"}", "none"},
		{"{\"action\":\"update_task\",\"taskId\":\"t\",\"prompt\":null}", "prompt"},
		{"{\"action\":\"update_task\",\"taskId\":\"t\",\"recurrence\":\"x\"}",
		 "recurrence"},
	};

	(void)state;
	assert_string_equal(act("o1", "{\"action\":\"schedule_task\",\"taskId\":\"t\",\"prompt\":"
				      "\"p\"}"),
			    "");
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(strstr(act("o2", bad[i].content), bad[i].word), "number %zu: %s", i,
		      act("o2", bad[i].content));
	/* another row takes the same id for something else */
	assert_non_null(strstr(act("o3", "{\"action\":\"schedule_task\",\"taskId\":\"t\","
					 "\"prompt\":\"other\"}"),
			       "already"));
	assert_int_equal(count_inbound(session, "messages_in"), 1);
	assert_int_equal(count_inbound(session, "message_steps"), 0);
}

static void other_actions_are_left_to_the_caller(void **state)
{
	(void)state;
	assert_string_equal(act("o1", "{\"action\":\"create_agent\",\"name\":\"x\"}"), "-");
	assert_string_equal(act("o1", "{\"action\":5}"), "-");
	assert_string_equal(act("o1", "[]"), "-");
	assert_string_equal(act("o1", "null"), "-");
}

static void collect_once(int64_t handled, int64_t refused, int64_t completed)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_collection collection;

	OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, mailbox_now, &memory,
				&collection, &err));
	assert_int_equal(collection.handled, handled);
	assert_int_equal(collection.refused, refused);
	assert_int_equal(collection.completed, completed);
	keep_memory_release(&memory);
}

static void an_agents_recurring_task_runs_and_recurs_through_collect(void **state)
{
	static const char *const rows[] = {
		"{\"action\":\"schedule_task\",\"taskId\":\"t\",\"prompt\":\"p\",\"recurrence\":"
		"\"0 9 * * *\"}",
		"{\"action\":\"cancel_task\",\"taskId\":\"none\"}",
	};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes tasks = KEEP_BYTES("task");
	keep_claim_request request = {.kinds = &tasks, .kind_count = 1};
	keep_claim_list claims;
	keep_claim_ref ref;
	keep_agent *agent;
	keep_sent sent;

	(void)state;
	OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), mailbox_now, NULL, &err));
	agent = mailbox_agent(mailbox, session);
	for (size_t i = 0; i < KP_COUNT(rows); i++) {
		keep_send send = {.kind = KEEP_BYTES("system"), .content = keep_bytes_of(rows[i])};

		OK(keep_agent_send(agent, &send, mailbox_now, &sent, &err));
	}
	collect_once(1, 1, 0);
	collect_once(0, 0, 0);
	hold_clock("2026-04-11T09:00:05Z");
	OK(keep_agent_claim(agent, &request, mailbox_now, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	ref = (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
	OK(keep_agent_complete(agent, &ref, 1, mailbox_now, &err));
	collect_once(0, 0, 1);
	collect_once(0, 0, 0);
	assert_int_equal(count_inbound(session, "messages_in WHERE id = 't.20260412T090000Z' AND "
						"status = 'pending'"),
			 1);
	assert_int_equal(count_inbound(session, "messages_in WHERE series_id = 't'"), 2);
	keep_agent_close(&agent);
	keep_memory_release(&memory);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_test, end_test)
	const struct CMUnitTest tests[] = {
		TEST(a_task_is_scheduled_once_with_the_sources_content),
		TEST(both_forms_of_time_are_taken),
		TEST(a_task_without_an_id_has_that_of_its_row),
		TEST(cancel_pause_and_resume_are_done_once),
		TEST(an_update_merges_the_content_and_takes_a_recurrence_away),
		TEST(an_agent_changes_the_task_that_it_runs_from_the_next_time_on),
		TEST(bad_input_is_refused_with_a_reason_that_names_it),
		TEST(other_actions_are_left_to_the_caller),
		TEST(an_agents_recurring_task_runs_and_recurs_through_collect),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
