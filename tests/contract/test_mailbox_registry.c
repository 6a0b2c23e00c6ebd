/*
 * test_mailbox_registry.c - contracts/mailbox.md: agent groups, chats and wirings.
 *
 *     test_mailbox_registry sqlite|postgres
 */
#include "mailbox_fixture.h"

#include <pthread.h>

#define B(text) keep_bytes_of(text)

static keep_mailbox *mailbox;
static keep_memory memory;
static keep_error err;

static void begin(void)
{
	mailbox = mailbox_fresh();
	memory = (keep_memory)KEEP_MEMORY_INIT;
	err = (keep_error)KEEP_ERROR_INIT;
}

static void end(void)
{
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_nothing_lives();
}

/* A call that must fail so, with that word in its message. */
#define FAILS(call, wanted, word)                                                                  \
	do {                                                                                       \
		keep_status found_ = (call);                                                       \
		CHECK(found_ == (wanted), "%s instead of %s: %s", keep_status_name(found_),        \
		      keep_status_name(wanted), err.message);                                      \
		CHECK(strstr(err.message, word), "'%s' is not in: %s", word, err.message);         \
	} while (0)

static void put_agent(const char *id)
{
	keep_agent_group group = {.id = B(id), .name = B(id), .folder = B(id)};

	OK(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err));
}

static void put_chat(const char *id, const char *channel, const char *place, const char *name)
{
	keep_messaging_group chat = {
		.id = B(id), .channel_type = B(channel), .platform_id = B(place), .name = B(name)};

	OK(keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &err));
}

static keep_messaging_group_agent wiring(const char *id, const char *chat, const char *agent)
{
	return (keep_messaging_group_agent){
		.id = B(id), .messaging_group_id = B(chat), .agent_group_id = B(agent)};
}

static void wire(const char *id, const char *chat, const char *agent, int64_t priority)
{
	keep_messaging_group_agent one = wiring(id, chat, agent);

	one.priority = priority;
	OK(keep_mailbox_wire(mailbox, &one, NULL, &err));
}

static keep_agent_destination_list destinations(const char *agent)
{
	keep_agent_destination_list list;

	OK(keep_mailbox_list_destinations(mailbox, B(agent), 0, &memory, &list, &err));
	return list;
}

/* ---------------------------------------------------------------- agent groups */

static int64_t held_ms;

static int64_t held_clock(void *ctx)
{
	(void)ctx;
	return held_ms;
}

static void an_agent_group_is_stored_and_changed_and_keeps_its_time(void **state)
{
	keep_agent_group group = {.id = B("ada"), .name = B("Ada"), .folder = B("ada.home")};
	keep_agent_group stored;
	char id[KEEP_SEGMENT_MAX + 1];

	(void)state;
	begin();
	held_ms = INT64_C(1700000000000);
	kp_clock_inject(held_clock, NULL);
	group.created_at = 5; /* not the caller's */
	OK(keep_mailbox_put_agent_group(mailbox, &group, id, &err));
	assert_string_equal(id, "ada");
	held_ms += 1000;
	group = (keep_agent_group){.id = B("ada"),
				   .name = B("Ada L."),
				   .folder = B("ada-2"),
				   .is_admin = true,
				   .agent_provider = B("claude"),
				   .container_config = B("{\"timeout\": 5}")};
	OK(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err));
	kp_clock_inject(NULL, NULL);
	OK(keep_mailbox_get_agent_group(mailbox, B("ada"), &memory, &stored, &err));
	assert_bytes_equal(stored.name, B("Ada L."));
	assert_bytes_equal(stored.folder, B("ada-2"));
	assert_bytes_equal(stored.agent_provider, B("claude"));
	assert_bytes_equal(stored.container_config, B("{\"timeout\": 5}"));
	assert_true(stored.is_admin);
	assert_int_equal(stored.created_at, INT64_C(1700000000000));
	FAILS(keep_mailbox_get_agent_group(mailbox, B("bob"), &memory, &stored, &err),
	      KEEP_NOT_FOUND, "'bob'");
	end();
}

static void an_agent_group_without_an_id_gets_one(void **state)
{
	keep_agent_group group = {.name = B("Ada"), .folder = B("ada")}, stored;
	char id[KEEP_SEGMENT_MAX + 1];

	(void)state;
	begin();
	OK(keep_mailbox_put_agent_group(mailbox, &group, id, &err));
	assert_int_equal(strlen(id), 36);
	OK(keep_mailbox_get_agent_group(mailbox, B(id), &memory, &stored, &err));
	FAILS(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err), KEEP_CONFLICT, id);
	end();
}

static void agent_groups_that_are_none_are_refused_by_name(void **state)
{
	static char long_id[KEEP_SEGMENT_MAX + 2];
	const struct {
		keep_agent_group group;
		const char *word;
	} cases[] = {
		{{.id = B(""), .name = B("a"), .folder = B("a")}, "id"},
		{{.id = B(".a"), .name = B("a"), .folder = B("a")}, "id"},
		{{.id = B("-a"), .name = B("a"), .folder = B("a")}, "id"},
		{{.id = B("a/b"), .name = B("a"), .folder = B("a")}, "id"},
		{{.id = B(".."), .name = B("a"), .folder = B("a")}, "id"},
		{{.id = B(long_id), .name = B("a"), .folder = B("a")}, "id"},
		{{.id = B("a"), .folder = B("a")}, "name"},
		{{.id = B("a"), .name = B("a\xff"), .folder = B("a")}, "name"},
		{{.id = B("a"), .name = B("a")}, "folder"},
		{{.id = B("a"), .name = B("a"), .folder = B("../a")}, "folder"},
		{{.id = B("a"), .name = B("a"), .folder = B("a b")}, "folder"},
		{{.id = B("a"), .name = B("a"), .folder = B("a"), .agent_provider = B("")},
		 "agent_provider"},
		{{.id = B("a"), .name = B("a"), .folder = B("a"), .container_config = B("[]")},
		 "container_config"},
		{{.id = B("a"), .name = B("a"), .folder = B("a"), .container_config = B("{")},
		 "container_config"},
	};
	keep_agent_group_list list;

	(void)state;
	begin();
	memset(long_id, 'x', KEEP_SEGMENT_MAX + 1);
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_agent_group group = cases[i].group;

		if (group.id.data == long_id)
			group.id = B(long_id);
		FAILS(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err), KEEP_INVALID,
		      cases[i].word);
	}
	OK(keep_mailbox_list_agent_groups(mailbox, (keep_bytes){.data = NULL}, 0, &memory, &list,
					  &err));
	assert_int_equal(list.count, 0);
	end();
}

static void a_folder_has_one_agent_group(void **state)
{
	keep_agent_group group = {.id = B("bob"), .name = B("Bob"), .folder = B("ada")}, stored;

	(void)state;
	begin();
	put_agent("ada");
	FAILS(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err), KEEP_CONFLICT, "'ada'");
	FAILS(keep_mailbox_get_agent_group(mailbox, B("bob"), &memory, &stored, &err),
	      KEEP_NOT_FOUND, "bob");
	put_agent("bob");
	FAILS(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err), KEEP_CONFLICT, "folder");
	end();
}

static void groups_are_listed_by_id_above_one(void **state)
{
	keep_agent_group_list agents;
	keep_messaging_group_list chats;
	char id[16];

	(void)state;
	begin();
	for (int i = 70; i > 0; i--) {
		snprintf(id, sizeof id, "a%02d", i);
		put_agent(id);
		put_chat(id, "telegram", id, NULL);
	}
	OK(keep_mailbox_list_agent_groups(mailbox, (keep_bytes){.data = NULL}, 0, &memory, &agents,
					  &err));
	assert_int_equal(agents.count, 50);
	assert_bytes_equal(agents.items[0].id, B("a01"));
	OK(keep_mailbox_list_agent_groups(mailbox, B("a50"), 1000, &memory, &agents, &err));
	assert_int_equal(agents.count, 20);
	assert_bytes_equal(agents.items[19].id, B("a70"));
	OK(keep_mailbox_list_messaging_groups(mailbox, B("a68"), 1, &memory, &chats, &err));
	assert_int_equal(chats.count, 1);
	assert_bytes_equal(chats.items[0].id, B("a69"));
	FAILS(keep_mailbox_list_messaging_groups(mailbox, B("a"), 1001, &memory, &chats, &err),
	      KEEP_INVALID, "limit");
	end();
}

static void a_read_only_mailbox_changes_no_registry(void **state)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_agent_group group = {.name = B("Bob"), .folder = B("bob")}, stored;
	keep_messaging_group chat = {.channel_type = B("slack"), .platform_id = B("1")};
	keep_messaging_group_agent one = wiring(NULL, "mg", "ada");
	keep_agent_destination place = {
		.agent_group_id = B("ada"), .type = B("agent"), .target_agent_group_id = B("ada")};
	keep_mailbox *reader = NULL;

	(void)state;
	begin();
	put_agent("ada");
	options.read_only = true;
	OK(mailbox_open_with(&options, &reader, &err));
	OK(keep_mailbox_get_agent_group(reader, B("ada"), &memory, &stored, &err));
	FAILS(keep_mailbox_put_agent_group(reader, &group, NULL, &err), KEEP_DENIED, "read");
	FAILS(keep_mailbox_remove_agent_group(reader, B("ada"), &err), KEEP_DENIED, "read");
	FAILS(keep_mailbox_put_messaging_group(reader, &chat, NULL, &err), KEEP_DENIED, "read");
	FAILS(keep_mailbox_wire(reader, &one, NULL, &err), KEEP_DENIED, "read");
	FAILS(keep_mailbox_allow(reader, &place, NULL, &err), KEEP_DENIED, "read");
	FAILS(keep_mailbox_disallow(reader, B("ada"), B("x"), &err), KEEP_DENIED, "read");
	FAILS(keep_mailbox_unwire(reader, B("x"), &err), KEEP_DENIED, "read");
	keep_mailbox_close(&reader);
	end();
}

/* ---------------------------------------------------------------- chats */

static void a_chat_is_found_by_its_id_and_else_by_its_address(void **state)
{
	keep_messaging_group chat = {.channel_type = B("telegram"), .platform_id = B("42")}, stored;
	char id[KEEP_SEGMENT_MAX + 1], again[KEEP_SEGMENT_MAX + 1];
	int64_t made_at;

	(void)state;
	begin();
	OK(keep_mailbox_put_messaging_group(mailbox, &chat, id, &err));
	OK(keep_mailbox_get_messaging_group(mailbox, B(id), &memory, &stored, &err));
	assert_null(stored.name.data);
	made_at = stored.created_at;
	assert_true(made_at > INT64_C(1700000000000));
	chat.name = B("Family");
	chat.is_group = true;
	chat.admin_user_id = B("7");
	OK(keep_mailbox_put_messaging_group(mailbox, &chat, again, &err));
	assert_string_equal(again, id);
	OK(keep_mailbox_find_messaging_group(mailbox, B("telegram"), B("42"), &memory, &stored,
					     &err));
	assert_bytes_equal(stored.id, B(id));
	assert_bytes_equal(stored.name, B("Family"));
	assert_bytes_equal(stored.admin_user_id, B("7"));
	assert_true(stored.is_group);
	assert_int_equal(stored.created_at, made_at);
	FAILS(keep_mailbox_find_messaging_group(mailbox, B("slack"), B("42"), &memory, &stored,
						&err),
	      KEEP_NOT_FOUND, "slack");
	FAILS(keep_mailbox_get_messaging_group(mailbox, B("mg-0"), &memory, &stored, &err),
	      KEEP_NOT_FOUND, "mg-0");
	chat.id = B("another");
	FAILS(keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &err), KEEP_CONFLICT, id);
	end();
}

static void a_chat_that_moves_takes_its_permissions_along(void **state)
{
	keep_messaging_group chat = {
		.id = B("mg-1"), .channel_type = B("telegram"), .platform_id = B("-100")};
	keep_agent_destination other = {.agent_group_id = B("bob"),
					.type = B("channel"),
					.channel_type = B("telegram"),
					.platform_id = B("1")};

	(void)state;
	begin();
	put_agent("ada");
	put_agent("bob");
	put_chat("mg-1", "telegram", "1", "Family");
	put_chat("mg-2", "telegram", "2", NULL);
	wire("w", "mg-1", "ada", 0);
	OK(keep_mailbox_allow(mailbox, &other, NULL, &err));
	OK(keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &err));
	assert_int_equal(destinations("ada").count, 1);
	assert_bytes_equal(destinations("ada").items[0].name, B("family"));
	assert_bytes_equal(destinations("ada").items[0].platform_id, B("-100"));
	/* somebody who does not serve the chat was allowed the address, not the chat */
	assert_bytes_equal(destinations("bob").items[0].platform_id, B("1"));
	chat.platform_id = B("2");
	FAILS(keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &err), KEEP_CONFLICT, "mg-2");
	end();
}

static void chats_that_are_none_are_refused_by_name(void **state)
{
	const struct {
		keep_messaging_group chat;
		const char *word;
	} cases[] = {
		{{.platform_id = B("1")}, "channel_type"},
		{{.channel_type = B("slack")}, "platform_id"},
		{{.channel_type = B("slack"), .platform_id = B("a\nb")}, "platform_id"},
		{{.id = B(""), .channel_type = B("slack"), .platform_id = B("1")}, "id"},
		{{.channel_type = B("slack"), .platform_id = B("1"), .name = B("\xff")}, "name"},
		{{.channel_type = B("slack"), .platform_id = B("1"), .admin_user_id = B("")},
		 "admin_user_id"},
	};

	(void)state;
	begin();
	for (size_t i = 0; i < KP_COUNT(cases); i++)
		FAILS(keep_mailbox_put_messaging_group(mailbox, &cases[i].chat, NULL, &err),
		      KEEP_INVALID, cases[i].word);
	end();
}

/* ---------------------------------------------------------------- removals */

static void an_agent_group_goes_only_when_nothing_refers_to_it(void **state)
{
	keep_agent_destination to_ada = {.agent_group_id = B("bob"),
					 .name = B("my-boss"),
					 .type = B("agent"),
					 .target_agent_group_id = B("ada")};
	keep_agent_destination to_self = {.agent_group_id = B("ada"),
					  .name = B("me"),
					  .type = B("agent"),
					  .target_agent_group_id = B("ada")};
	keep_agent_group stored;
	char session[KEEP_SEGMENT_MAX + 1];

	(void)state;
	begin();
	put_agent("ada");
	put_agent("bob");
	mailbox_session(mailbox, NULL, session);
	put_chat("mg-1", "slack", "1", NULL);
	put_chat("mg-2", "slack", "2", NULL);
	wire("w-1", "mg-1", "ada", 0);
	wire("w-2", "mg-2", "ada", 0);
	wire("w-3", MAILBOX_CHAT, "ada", 0);
	OK(keep_mailbox_allow(mailbox, &to_ada, NULL, &err));
	OK(keep_mailbox_allow(mailbox, &to_self, NULL, &err));
	FAILS(keep_mailbox_remove_agent_group(mailbox, B("ada"), &err), KEEP_CONFLICT, "'ada'");
	CHECK(strstr(err.message, "wirings w-1, w-2 and 1 more"), "%s", err.message);
	CHECK(strstr(err.message, session), "%s", err.message);
	CHECK(strstr(err.message, "bob/my-boss"), "%s", err.message);
	OK(keep_mailbox_unwire(mailbox, B("w-1"), &err));
	OK(keep_mailbox_unwire(mailbox, B("w-2"), &err));
	OK(keep_mailbox_unwire(mailbox, B("w-3"), &err));
	FAILS(keep_mailbox_remove_agent_group(mailbox, B("ada"), &err), KEEP_CONFLICT, session);
	assert_null(strstr(err.message, "wiring"));
	(void)mailbox_sql(NULL, NULL, "DELETE FROM sessions");
	FAILS(keep_mailbox_remove_agent_group(mailbox, B("ada"), &err), KEEP_CONFLICT,
	      "bob/my-boss");
	OK(keep_mailbox_disallow(mailbox, B("bob"), B("my-boss"), &err));
	assert_int_equal(destinations("ada").count, 4);
	OK(keep_mailbox_remove_agent_group(mailbox, B("ada"), &err));
	assert_int_equal(destinations("ada").count, 0);
	FAILS(keep_mailbox_get_agent_group(mailbox, B("ada"), &memory, &stored, &err),
	      KEEP_NOT_FOUND, "ada");
	FAILS(keep_mailbox_remove_agent_group(mailbox, B("ada"), &err), KEEP_NOT_FOUND, "'ada'");
	end();
}

static void a_chat_goes_only_when_nothing_refers_to_it(void **state)
{
	char session[KEEP_SEGMENT_MAX + 1];

	(void)state;
	begin();
	mailbox_session(mailbox, NULL, session);
	wire("w-1", MAILBOX_CHAT, "ada", 0);
	FAILS(keep_mailbox_remove_messaging_group(mailbox, B(MAILBOX_CHAT), &err), KEEP_CONFLICT,
	      "wirings w-1");
	CHECK(strstr(err.message, session), "%s", err.message);
	OK(keep_mailbox_unwire(mailbox, B("w-1"), &err));
	(void)mailbox_sql(NULL, NULL, "DELETE FROM sessions");
	OK(keep_mailbox_remove_messaging_group(mailbox, B(MAILBOX_CHAT), &err));
	FAILS(keep_mailbox_remove_messaging_group(mailbox, B(MAILBOX_CHAT), &err), KEEP_NOT_FOUND,
	      MAILBOX_CHAT);
	end();
}

/* ---------------------------------------------------------------- wirings */

static void a_wiring_is_found_by_its_id_and_else_by_its_pair(void **state)
{
	keep_messaging_group_agent one = wiring(NULL, "mg-1", "ada"), *stored;
	keep_messaging_group_agent_list list;
	char id[KEEP_SEGMENT_MAX + 1], again[KEEP_SEGMENT_MAX + 1];
	int64_t made_at;

	(void)state;
	begin();
	put_agent("ada");
	put_agent("bob");
	put_chat("mg-1", "slack", "1", NULL);
	OK(keep_mailbox_wire(mailbox, &one, id, &err));
	OK(keep_mailbox_list_wirings(mailbox, B("mg-1"), B("ada"), 0, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	stored = &list.items[0];
	assert_bytes_equal(stored->id, B(id));
	assert_bytes_equal(stored->response_scope, B("all"));
	assert_bytes_equal(stored->session_mode, B("shared"));
	assert_int_equal(stored->priority, 0);
	assert_null(stored->trigger_rules.data);
	made_at = stored->created_at;
	one.priority = -5;
	one.trigger_rules = B("{\"mentionOnly\": true}");
	one.response_scope = B("triggered");
	one.session_mode = B("per-thread");
	OK(keep_mailbox_wire(mailbox, &one, again, &err));
	assert_string_equal(again, id);
	OK(keep_mailbox_list_wirings(mailbox, B("mg-1"), B("ada"), 0, &memory, &list, &err));
	assert_bytes_equal(list.items[0].trigger_rules, B("{\"mentionOnly\": true}"));
	assert_bytes_equal(list.items[0].response_scope, B("triggered"));
	assert_bytes_equal(list.items[0].session_mode, B("per-thread"));
	assert_int_equal(list.items[0].priority, -5);
	assert_int_equal(list.items[0].created_at, made_at);
	one.id = B("another");
	FAILS(keep_mailbox_wire(mailbox, &one, NULL, &err), KEEP_CONFLICT, id);
	one.id = B(id);
	one.agent_group_id = B("bob");
	FAILS(keep_mailbox_wire(mailbox, &one, NULL, &err), KEEP_CONFLICT, id);
	one = wiring(NULL, "mg-0", "ada");
	FAILS(keep_mailbox_wire(mailbox, &one, NULL, &err), KEEP_NOT_FOUND, "mg-0");
	one = wiring(NULL, "mg-1", "eve");
	FAILS(keep_mailbox_wire(mailbox, &one, NULL, &err), KEEP_NOT_FOUND, "eve");
	OK(keep_mailbox_unwire(mailbox, B(id), &err));
	FAILS(keep_mailbox_unwire(mailbox, B(id), &err), KEEP_NOT_FOUND, id);
	end();
}

static void wirings_that_are_none_are_refused_by_name(void **state)
{
	static char large[KEEP_MAILBOX_TEXT_MAX * 65];
	static const struct {
		const char *rules, *scope, *mode, *word, *other_word;
	} cases[] = {
		{"[]", NULL, NULL, "trigger_rules", ""},
		{"null", NULL, NULL, "trigger_rules", ""},
		{"{\"pattern\":", NULL, NULL, "trigger_rules", ""},
		{"{\"patern\":\"a\"}", NULL, NULL, "'patern'", "trigger_rules"},
		{"{\"patern\":\"a\",\"mentionOnly\":1}", NULL, NULL, "'patern'", "'mentionOnly'"},
		{"{\"pattern\":5}", NULL, NULL, "'pattern'", ""},
		{"{\"pattern\":null}", NULL, NULL, "'pattern'", ""},
		{"{\"pattern\":\"\"}", NULL, NULL, "'pattern'", ""},
		{"{\"pattern\":\"(a\"}", NULL, NULL, "'pattern'", "compile"},
		{"{\"pattern\":\"(a)\\\\1\"}", NULL, NULL, "'pattern'", "compile"},
		{"{\"pattern\":\"(?=a)b\"}", NULL, NULL, "'pattern'", "compile"},
		{"{\"pattern\":\"((a{1,100}){1,100}){1,100}\"}", NULL, NULL, "'pattern'", ""},
		{"{\"mentionOnly\":\"true\"}", NULL, NULL, "'mentionOnly'", ""},
		{"{\"requiresTrigger\":0}", NULL, NULL, "'requiresTrigger'", ""},
		{"{\"includeSenders\":\"7\"}", NULL, NULL, "'includeSenders'", ""},
		{"{\"includeSenders\":[7]}", NULL, NULL, "'includeSenders'", ""},
		{"{\"excludeSenders\":{}}", NULL, NULL, "'excludeSenders'", ""},
		{"{\"pattern\":\"a\",\"pattern\":\"b\"}", NULL, NULL, "trigger_rules", ""},
		{NULL, "some", NULL, "response_scope", ""},
		{NULL, NULL, "lonely", "session_mode", ""},
	};
	keep_messaging_group_agent one;
	keep_messaging_group_agent_list list;

	(void)state;
	begin();
	put_agent("ada");
	put_chat("mg-1", "slack", "1", NULL);
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		one = wiring(NULL, "mg-1", "ada");
		one.trigger_rules = B(cases[i].rules);
		one.response_scope = B(cases[i].scope);
		one.session_mode = B(cases[i].mode);
		FAILS(keep_mailbox_wire(mailbox, &one, NULL, &err), KEEP_INVALID, cases[i].word);
		CHECK(strstr(err.message, cases[i].other_word), "%s", err.message);
	}
	one = wiring(NULL, "mg-1", "ada");
	memset(large, ' ', sizeof large - 1);
	memcpy(large, "{}", 2);
	one.trigger_rules = B(large);
	FAILS(keep_mailbox_wire(mailbox, &one, NULL, &err), KEEP_FULL, "trigger_rules");
	OK(keep_mailbox_list_wirings(mailbox, B("mg-1"), B(NULL), 0, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	assert_int_equal(destinations("ada").count, 0);
	one.trigger_rules = B("{\"pattern\":\"(?i)^@ada\\\\b\",\"mentionOnly\":false,"
			      "\"requiresTrigger\":true,\"includeSenders\":[],"
			      "\"excludeSenders\":[\"7\"]}");
	OK(keep_mailbox_wire(mailbox, &one, NULL, &err));
	end();
}

static void wirings_are_listed_in_the_order_in_which_they_are_asked(void **state)
{
	static const char *const ids[] = {"b", "B", "a", "_", "9"};
	static const char *const by_bytes[] = {"9", "B", "_", "a", "b"};
	keep_messaging_group_agent_list list;

	(void)state;
	begin();
	put_chat("mg-1", "slack", "1", NULL);
	put_chat("mg-2", "slack", "2", NULL);
	for (size_t i = 0; i < KP_COUNT(ids); i++) {
		char agent[16];

		snprintf(agent, sizeof agent, "agent-%zu", i);
		put_agent(agent);
		wire(ids[i], "mg-1", agent, 3);
	}
	wire("z", "mg-2", "agent-0", 7);
	OK(keep_mailbox_list_wirings(mailbox, B("mg-1"), B(NULL), 0, &memory, &list, &err));
	assert_int_equal(list.count, KP_COUNT(ids));
	for (size_t i = 0; i < KP_COUNT(ids); i++)
		assert_bytes_equal(list.items[i].id, B(by_bytes[i]));
	wire("b", "mg-1", "agent-0", 4);
	OK(keep_mailbox_list_wirings(mailbox, B("mg-1"), B(NULL), 2, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].id, B("b"));
	OK(keep_mailbox_list_wirings(mailbox, B(NULL), B("agent-0"), 0, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].id, B("z"));
	OK(keep_mailbox_list_wirings(mailbox, B(NULL), B(NULL), 0, &memory, &list, &err));
	assert_int_equal(list.count, 6);
	assert_bytes_equal(list.items[1].id, B("b"));
	OK(keep_mailbox_list_wirings(mailbox, B("mg-2"), B("agent-1"), 0, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	end();
}

/* ---------------------------------------------------------------- many at once */

enum { THREADS = 8 };

struct putter {
	int number;
	bool won;
	const char *failed; /* what */
};

static void *put_same_things(void *ctx)
{
	struct putter *putter = ctx;
	int number = putter->number;
	keep_error why = KEEP_ERROR_INIT;
	char id[16], place[16];
	keep_agent_group group = {.name = B("x"), .folder = B("one-folder")};
	keep_messaging_group chat = {.channel_type = B("slack"), .platform_id = B("77")};
	keep_agent_destination destination = {.agent_group_id = B("ada"),
					      .display_name = B("Same name"),
					      .type = B("channel"),
					      .channel_type = B("slack")};
	keep_messaging_group_agent one = {.messaging_group_id = B("mg-1"),
					  .agent_group_id = B("ada")};
	keep_status status;

	snprintf(id, sizeof id, "agent-%d", number);
	snprintf(place, sizeof place, "%d", number);
	group.id = B(id);
	destination.platform_id = B(place);
	status = keep_mailbox_put_agent_group(mailbox, &group, NULL, &why);
	putter->won = status == KEEP_OK;
	if (status != KEEP_OK && status != KEEP_CONFLICT)
		putter->failed = "the agent group";
	if (keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &why) != KEEP_OK)
		putter->failed = "the chat";
	if (keep_mailbox_allow(mailbox, &destination, NULL, &why) != KEEP_OK)
		putter->failed = "the destination";
	if (keep_mailbox_wire(mailbox, &one, NULL, &why) != KEEP_OK)
		putter->failed = "the wiring";
	return NULL;
}

static void many_threads_that_store_the_same_store_it_once(void **state)
{
	pthread_t threads[THREADS];
	struct putter putters[THREADS];
	int winners = 0;

	(void)state;
	begin();
	put_agent("ada");
	put_chat("mg-1", "slack", "0", "Home");
	for (int i = 0; i < THREADS; i++) {
		putters[i] = (struct putter){.number = i + 1};
		assert_int_equal(pthread_create(&threads[i], NULL, put_same_things, &putters[i]),
				 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		CHECK(!putters[i].failed, "%s failed", putters[i].failed);
		winners += putters[i].won;
	}
	assert_int_equal(winners, 1);
	assert_int_equal(destinations("ada").count, THREADS + 1);
	assert_string_equal(mailbox_sql(NULL, NULL,
					"SELECT CAST(count(*) AS text) FROM messaging_groups "
					"WHERE platform_id = '77'"),
			    "1");
	assert_string_equal(
		mailbox_sql(NULL, NULL,
			    "SELECT CAST(count(*) AS text) FROM messaging_group_agents"),
		"1");
	end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_agent_group_is_stored_and_changed_and_keeps_its_time),
		cmocka_unit_test(an_agent_group_without_an_id_gets_one),
		cmocka_unit_test(agent_groups_that_are_none_are_refused_by_name),
		cmocka_unit_test(a_folder_has_one_agent_group),
		cmocka_unit_test(groups_are_listed_by_id_above_one),
		cmocka_unit_test(a_read_only_mailbox_changes_no_registry),
		cmocka_unit_test(a_chat_is_found_by_its_id_and_else_by_its_address),
		cmocka_unit_test(a_chat_that_moves_takes_its_permissions_along),
		cmocka_unit_test(chats_that_are_none_are_refused_by_name),
		cmocka_unit_test(an_agent_group_goes_only_when_nothing_refers_to_it),
		cmocka_unit_test(a_chat_goes_only_when_nothing_refers_to_it),
		cmocka_unit_test(a_wiring_is_found_by_its_id_and_else_by_its_pair),
		cmocka_unit_test(wirings_that_are_none_are_refused_by_name),
		cmocka_unit_test(wirings_are_listed_in_the_order_in_which_they_are_asked),
		cmocka_unit_test(many_threads_that_store_the_same_store_it_once),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
