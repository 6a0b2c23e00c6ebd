/*
 * test_assistant_agents.c - agents are defined, chosen by what is said, and the coordinator stays.
 *
 *     test_assistant_agents sqlite|postgres
 */
#include "assistant_fixture.h"

static const keep_bytes none = {NULL, 0};

static keep_agent_definition make(const char *name, const char *keywords, int64_t priority)
{
	return (keep_agent_definition){.name = keep_bytes_of(name),
				       .goal = KEEP_BYTES("do it"),
				       .intent_keywords = keep_bytes_of(keywords),
				       .priority = priority,
				       .enabled = true};
}

static void put(keep_assistant *assistant, const char *name, const char *keywords, int64_t priority)
{
	keep_agent_definition agent = make(name, keywords, priority);
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_put_agent(assistant, &agent, NULL, &err));
}

static keep_agent_definition get(keep_assistant *assistant, const char *name, keep_memory *memory)
{
	keep_agent_definition agent = {.id = 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_get_agent(assistant, keep_bytes_of(name), memory, &agent, &err));
	return agent;
}

static int64_t entries(const char *action)
{
	char table[200];

	snprintf(table, sizeof table,
		 "audit_log WHERE event_type = 'agent_change' AND action = '%s'", action);
	return assistant_count(table);
}

/* ---------------------------------------------------------------- definitions */

static void a_new_store_has_nine_agents_by_priority_and_one_may_delegate(void **state)
{
	static const char *const names[] = {"coordinator",  "research",  "communication",
					    "planner",      "browser",   "writer",
					    "file_handler", "navigator", "system"};
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_definition_list list = {NULL, 0};

	(void)state;
	OK(keep_assistant_list_agents(assistant, false, &memory, &list, &err));
	assert_int_equal(list.count, KP_COUNT(names));
	for (size_t i = 0; i < list.count; i++) {
		const keep_agent_definition *agent = &list.items[i];

		assert_bytes_equal(agent->name, keep_bytes_of(names[i]));
		assert_true(agent->goal.len && agent->role.len && agent->enabled);
		assert_null(memchr(agent->goal.data, '\n', agent->goal.len));
		assert_int_equal(agent->allow_delegation, i == 0);
		assert_true(i == 0 || agent->priority <= list.items[i - 1].priority);
	}
	assert_true(list.items[0].priority > list.items[1].priority);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_definition_is_replaced_as_a_whole_and_audited_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_actor actor = {.user_id = KEEP_BYTES("ada")};
	keep_agent_definition agent = make("cook", "[\"cook\"]", 3), stored;

	(void)state;
	agent.tools = KEEP_BYTES("[\"oven\", \"knife\"]");
	agent.category = KEEP_BYTES("home");
	OK(keep_assistant_put_agent(assistant, &agent, &actor, &err));
	stored = get(assistant, "cook", &memory);
	assert_bytes_equal(stored.display_name, KEEP_BYTES("cook"));
	assert_bytes_equal(stored.tools, agent.tools);
	assert_bytes_equal(stored.role, KEEP_BYTES(""));
	/* The same again is no change. */
	OK(keep_assistant_put_agent(assistant, &agent, &actor, &err));
	assert_int_equal(entries("put"), 1);
	agent.tools = none;
	agent.category = none;
	agent.goal = KEEP_BYTES("a very private goal");
	OK(keep_assistant_put_agent(assistant, &agent, &actor, &err));
	stored = get(assistant, "cook", &memory);
	assert_bytes_equal(stored.tools, KEEP_BYTES("[]"));
	assert_null(stored.category.data);
	assert_int_equal(entries("put"), 2);
	assert_string_equal(
		assistant_sql("SELECT details FROM audit_log ORDER BY seq DESC LIMIT 1"),
		"{\"agent\":\"cook\",\"changed\":[\"goal\",\"tools\",\"category\"],"
		"\"enabled\":true,\"priority\":3,\"allow_delegation\":false}");
	assert_string_equal(
		assistant_sql("SELECT user_id FROM audit_log ORDER BY seq DESC LIMIT 1"), "ada");
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void bad_definitions_name_the_column_and_store_nothing(void **state)
{
	static const struct {
		const char *column, *tools, *keywords;
		int64_t priority;
	} bad[] = {
		{"priority", "[]", "[]", 0},
		{"priority", "[]", "[]", 11},
		{"tools", "{}", "[]", 5},
		{"tools", "[1]", "[]", 5},
		{"tools", "[\"a\",null]", "[]", 5},
		{"tools", "[[\"a\"]]", "[]", 5},
		{"tools", "[\"a\"", "[]", 5},
		{"intent_keywords", "[]", "\"mail\"", 5},
		{"intent_keywords", "[]", "[\"mail\", 5]", 5},
		{"intent_keywords", "[]", "[\"a b c d e f g h i\"]", 5},
	};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_definition agent;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		agent = make("bad", bad[i].keywords, bad[i].priority);
		agent.tools = keep_bytes_of(bad[i].tools);
		CHECK(keep_assistant_put_agent(assistant, &agent, NULL, &err) == KEEP_INVALID,
		      "case %zu", i);
		CHECK(strstr(err.message, bad[i].column), "%s", err.message);
	}
	agent = make("", "[]", 5);
	assert_int_equal(keep_assistant_put_agent(assistant, &agent, NULL, &err), KEEP_INVALID);
	agent = make("bad\n", "[]", 5);
	assert_int_equal(keep_assistant_put_agent(assistant, &agent, NULL, &err), KEEP_INVALID);
	assert_int_equal(assistant_count("agent_definitions"), 9);
	assert_int_equal(assistant_count("audit_log"), 0);
	assert_int_equal(
		keep_assistant_enable_agent(assistant, KEEP_BYTES("bad"), true, NULL, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(keep_assistant_remove_agent(assistant, KEEP_BYTES("bad"), NULL, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_assistant_reset_agent(assistant, KEEP_BYTES("bad"), NULL, &err),
			 KEEP_NOT_FOUND);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void the_coordinator_is_neither_disabled_nor_removed(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_definition agent = make("coordinator", "[]", 10);

	(void)state;
	assert_int_equal(keep_assistant_enable_agent(assistant, KEEP_BYTES("coordinator"), false,
						     NULL, &err),
			 KEEP_CONFLICT);
	assert_int_equal(
		keep_assistant_remove_agent(assistant, KEEP_BYTES("coordinator"), NULL, &err),
		KEEP_CONFLICT);
	agent.enabled = false;
	assert_int_equal(keep_assistant_put_agent(assistant, &agent, NULL, &err), KEEP_CONFLICT);
	assert_true(get(assistant, "coordinator", &memory).enabled);
	assert_int_equal(assistant_count("audit_log"), 0);
	OK(keep_assistant_enable_agent(assistant, KEEP_BYTES("coordinator"), true, NULL, &err));
	assert_int_equal(assistant_count("audit_log"), 0);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void agents_are_disabled_removed_and_reset(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_definition_list list = {NULL, 0};
	keep_agent_definition was = get(assistant, "writer", &memory), now;

	(void)state;
	OK(keep_assistant_enable_agent(assistant, KEEP_BYTES("writer"), false, NULL, &err));
	OK(keep_assistant_enable_agent(assistant, KEEP_BYTES("writer"), false, NULL, &err));
	assert_int_equal(entries("disable"), 1);
	OK(keep_assistant_list_agents(assistant, true, &memory, &list, &err));
	assert_int_equal(list.count, 8);
	OK(keep_assistant_remove_agent(assistant, KEEP_BYTES("writer"), NULL, &err));
	assert_int_equal(entries("remove"), 1);
	assert_int_equal(
		keep_assistant_get_agent(assistant, KEEP_BYTES("writer"), &memory, &now, &err),
		KEEP_NOT_FOUND);
	OK(keep_assistant_reset_agent(assistant, KEEP_BYTES("writer"), NULL, &err));
	put(assistant, "writer", "[\"poem\"]", 9);
	OK(keep_assistant_reset_agent(assistant, KEEP_BYTES("writer"), NULL, &err));
	OK(keep_assistant_reset_agent(assistant, KEEP_BYTES("writer"), NULL, &err));
	assert_int_equal(entries("reset"), 2);
	now = get(assistant, "writer", &memory);
	assert_bytes_equal(now.intent_keywords, was.intent_keywords);
	assert_bytes_equal(now.backstory, was.backstory);
	assert_int_equal(now.priority, was.priority);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void agents_have_a_largest_number(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_definition agent = make("one too many", "[]", 5);

	(void)state;
	assistant_sql(assistant_is_file()
			      ? "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
				"WHERE i < 991) INSERT INTO agent_definitions (name, display_name, "
				"role, goal, backstory) SELECT 'a' || i, 'a', '', '', '' FROM n"
			      : "INSERT INTO agent_definitions (name, display_name, role, goal, "
				"backstory) SELECT 'a' || i, 'a', '', '', '' FROM "
				"generate_series(1, 991) AS i");
	assert_int_equal(keep_assistant_put_agent(assistant, &agent, NULL, &err), KEEP_FULL);
	put(assistant, "a7", "[\"seven\"]", 5);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- selection */

static void assert_chosen(keep_assistant *assistant, const char *text, const char *expected)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_choices choices = {NULL, 0};
	char found[400] = "";
	size_t len = 0;

	OK(keep_assistant_select_agents(assistant, keep_bytes_of(text), 3, &memory, &choices,
					&err));
	for (size_t i = 0; i < choices.count; i++)
		len += (size_t)snprintf(found + len, sizeof found - len, "%s%" KP_PRI ":%lld",
					len ? " " : "", KP_ARG(choices.items[i].agent.name),
					(long long)choices.items[i].matches);
	CHECK(strcmp(found, expected) == 0, "\"%s\": %s instead of %s", text, found, expected);
	keep_memory_release(&memory);
}

static void whole_words_and_phrases_choose_then_priority_then_name(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	assistant_sql("DELETE FROM agent_definitions WHERE name <> 'coordinator'");
	put(assistant, "post", "[\"mail\", \"e-mail\", \"MAIL\", \"send a letter\"]", 4);
	put(assistant, "cafe", "[\"caf\\u00e9\", \"stra\\u00dfe\", \"\\u5bff\\u53f8\"]", 4);
	put(assistant, "b", "[\"mail\"]", 4);
	put(assistant, "blank", "[\"!!!\", \"?\"]", 6);
	assert_chosen(assistant, "nothing of it", "coordinator:0 blank:0 b:0");
	assert_chosen(assistant, "my mailbox, my mails, voicemail", "coordinator:0 blank:0 b:0");
	/* MAIL is the same keyword as mail. */
	assert_chosen(assistant, "Mail! mail mail?", "b:1 post:1 coordinator:0");
	assert_chosen(assistant, "send  a\nLETTER by mail", "post:2 b:1 coordinator:0");
	assert_chosen(assistant, "send letter a mail", "b:1 post:1 coordinator:0");
	assert_chosen(assistant, "to the CAFE in the STRASSE", "cafe:2 coordinator:0 blank:0");
	assert_chosen(assistant, "!!! ???", "coordinator:0 blank:0 b:0");
	assert_chosen(assistant, "", "coordinator:0 blank:0 b:0");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void disabled_agents_are_not_chosen(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_choices choices = {NULL, 0};

	(void)state;
	assert_chosen(assistant, "translate this document",
		      "writer:1 file_handler:1 coordinator:0");
	OK(keep_assistant_enable_agent(assistant, KEEP_BYTES("file_handler"), false, NULL, &err));
	assert_chosen(assistant, "translate this document", "writer:1 coordinator:0 research:0");
	OK(keep_assistant_select_agents(assistant, KEEP_BYTES("x"), 0, &memory, &choices, &err));
	assert_int_equal(choices.count, 5);
	assert_int_equal(keep_assistant_select_agents(assistant, KEEP_BYTES("\xff"), 0, &memory,
						      &choices, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_assistant_select_agents(assistant, KEEP_BYTES("x"), 1001, &memory,
						      &choices, &err),
			 KEEP_INVALID);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void hostile_keywords_and_texts_take_no_longer_than_the_text(void **state)
{
	enum { TEXT_BYTES = 1000000, AGENTS = 100 };
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_choices choices = {NULL, 0};
	keep_buffer text = KEEP_BUFFER_INIT, keywords = KEEP_BUFFER_INIT;
	char name[32];
	int64_t begun;

	(void)state;
	while (text.len < TEXT_BYTES)
		OK(kp_buffer_append_text(&text, "a ", &err));
	/* All begin as the text goes on, and none is in it. */
	OK(kp_buffer_append_text(&keywords, "[\"a a a a a a a b\"", &err));
	for (int i = 0; i < 500; i++)
		OK(kp_buffer_append_format(&keywords, &err, ",\"a a a a a a a b%d\"", i));
	OK(kp_buffer_append_text(&keywords, "]", &err));
	for (int i = 0; i < AGENTS; i++) {
		keep_agent_definition agent = make("x", "[]", 5);

		snprintf(name, sizeof name, "x%d", i);
		agent.name = keep_bytes_of(name);
		agent.intent_keywords = kp_buffer_bytes(&keywords);
		OK(keep_assistant_put_agent(assistant, &agent, NULL, &err));
	}
	begun = kp_monotonic_ns();
	OK(keep_assistant_select_agents(assistant, kp_buffer_bytes(&text), 0, &memory, &choices,
					&err));
	CHECK(kp_monotonic_ns() - begun < INT64_C(5000000000) * test_patience(), "%lld ms",
	      (long long)(kp_monotonic_ns() - begun) / 1000000);
	assert_int_equal(choices.items[0].matches, 0);
	while (keywords.len <= 64 * 1024)
		OK(kp_buffer_append_text(&keywords, "          ", &err));
	{
		keep_agent_definition agent = make("big", "[]", 5);

		agent.intent_keywords = kp_buffer_bytes(&keywords);
		assert_int_equal(keep_assistant_put_agent(assistant, &agent, NULL, &err),
				 KEEP_FULL);
	}
	keep_buffer_release(&text);
	keep_buffer_release(&keywords);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void keywords_of_another_program_fail_no_choice(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	assistant_sql("UPDATE agent_definitions SET intent_keywords = '{\"a\":1}' "
		      "WHERE name = 'writer'");
	assistant_sql("UPDATE agent_definitions SET intent_keywords = '[1, \"mail\", null, "
		      "\"a b c d e f g h i j\"]' WHERE name = 'planner'");
	assert_chosen(assistant, "mail a b c d e f g h i j",
		      "communication:1 planner:1 coordinator:0");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_store_for_reading_is_not_changed(void **state)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = assistant_fresh();
	keep_agent_definition agent = make("cook", "[]", 3);
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	keep_assistant_close(&assistant);
	options.read_only = options.without_keys = true;
	OK(assistant_open_with(&options, &assistant, &err));
	assert_int_equal(keep_assistant_put_agent(assistant, &agent, NULL, &err), KEEP_DENIED);
	assert_chosen(assistant, "mail", "communication:1 coordinator:0 research:0");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_store_has_nine_agents_by_priority_and_one_may_delegate),
		cmocka_unit_test(a_definition_is_replaced_as_a_whole_and_audited_once),
		cmocka_unit_test(bad_definitions_name_the_column_and_store_nothing),
		cmocka_unit_test(the_coordinator_is_neither_disabled_nor_removed),
		cmocka_unit_test(agents_are_disabled_removed_and_reset),
		cmocka_unit_test(agents_have_a_largest_number),
		cmocka_unit_test(whole_words_and_phrases_choose_then_priority_then_name),
		cmocka_unit_test(disabled_agents_are_not_chosen),
		cmocka_unit_test(hostile_keywords_and_texts_take_no_longer_than_the_text),
		cmocka_unit_test(keywords_of_another_program_fail_no_choice),
		cmocka_unit_test(a_store_for_reading_is_not_changed),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
