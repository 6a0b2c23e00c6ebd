/*
 * test_mailbox_destinations.c - contracts/mailbox.md: where agents may send.
 *
 *     test_mailbox_destinations sqlite|postgres
 */
#include "mailbox_fixture.h"

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

static void wiring_an_agent_lets_it_send_to_the_chat(void **state)
{
	keep_agent_destination mine = {.agent_group_id = B("ada"),
				       .name = B("home"),
				       .type = B("channel"),
				       .channel_type = B("slack"),
				       .platform_id = B("3")};
	keep_agent_destination_list list;

	(void)state;
	begin();
	put_agent("ada");
	put_chat("mg-1", "slack", "1", "Team: News & Co!");
	put_chat("mg-2", "slack", "2", "team news co");
	put_chat("mg-3", "slack", "3", "Home");
	put_chat("mg-4", "slack", "C04", NULL);
	put_chat("mg-5", "telegram", "telegram:77", NULL);
	put_chat("mg-6", "slack", "6", "\xd0\x94\xd0\xb0");
	OK(keep_mailbox_allow(mailbox, &mine, NULL, &err));
	for (int i = 1; i <= 6; i++) {
		char id[8], chat[8];

		snprintf(id, sizeof id, "w-%d", i);
		snprintf(chat, sizeof chat, "mg-%d", i);
		wire(id, chat, "ada", 0);
		wire(id, chat, "ada", 1); /* again: nothing more */
	}
	list = destinations("ada");
	assert_int_equal(list.count, 6);
	assert_bytes_equal(list.items[0].name, B("home"));
	assert_bytes_equal(list.items[1].name, B("slack-c04"));
	assert_bytes_equal(list.items[2].name, B("team-news-co"));
	assert_bytes_equal(list.items[2].display_name, B("Team: News & Co!"));
	assert_bytes_equal(list.items[2].channel_type, B("slack"));
	assert_bytes_equal(list.items[2].platform_id, B("1"));
	assert_bytes_equal(list.items[3].name, B("team-news-co-2"));
	assert_bytes_equal(list.items[3].platform_id, B("2"));
	assert_bytes_equal(list.items[4].name, B("telegram-77"));
	assert_bytes_equal(list.items[5].name, B("unnamed"));
	OK(keep_mailbox_unwire(mailbox, B("w-1"), &err));
	assert_int_equal(destinations("ada").count, 6);
	end();
}

/* ---------------------------------------------------------------- destinations */

static void a_destination_without_a_name_gets_one_and_keeps_it(void **state)
{
	static char long_name[KEEP_MAILBOX_TEXT_MAX + 1];
	keep_agent_destination place = {.agent_group_id = B("ada"),
					.display_name = B("  Ops   ROOM #1 "),
					.type = B("channel"),
					.channel_type = B("slack"),
					.platform_id = B("1")};
	keep_agent_destination other = {.agent_group_id = B("ada"),
					.type = B("agent"),
					.target_agent_group_id = B("Bob_2")};
	char name[KEEP_SEGMENT_MAX + 1];

	(void)state;
	begin();
	put_agent("ada");
	put_agent("Bob_2");
	OK(keep_mailbox_allow(mailbox, &place, name, &err));
	assert_string_equal(name, "ops-room-1");
	place.display_name = B("Other");
	OK(keep_mailbox_allow(mailbox, &place, name, &err));
	assert_string_equal(name, "ops-room-1");
	assert_int_equal(destinations("ada").count, 1);
	assert_bytes_equal(destinations("ada").items[0].display_name, B("Other"));
	place.display_name = B("OPS room 1");
	place.platform_id = B("2");
	OK(keep_mailbox_allow(mailbox, &place, name, &err));
	assert_string_equal(name, "ops-room-1-2");
	place.platform_id = B("3");
	OK(keep_mailbox_allow(mailbox, &place, name, &err));
	assert_string_equal(name, "ops-room-1-3");
	OK(keep_mailbox_allow(mailbox, &other, name, &err));
	assert_string_equal(name, "bob-2");
	other.agent_group_id = B("Bob_2");
	other.display_name = B("!!!");
	other.target_agent_group_id = B("ada");
	OK(keep_mailbox_allow(mailbox, &other, name, &err));
	assert_string_equal(name, "unnamed");
	memset(long_name, 'N', KEEP_MAILBOX_TEXT_MAX);
	place.display_name = B(long_name);
	for (int i = 4; i < 7; i++) {
		char id[4];

		snprintf(id, sizeof id, "%d", i);
		place.platform_id = B(id);
		OK(keep_mailbox_allow(mailbox, &place, name, &err));
		assert_true(strlen(name) <= KEEP_SEGMENT_MAX && strlen(name) > 100);
	}
	end();
}

static void a_name_that_is_given_leads_where_it_was_last_told(void **state)
{
	keep_agent_destination place = {.agent_group_id = B("ada"),
					.name = B("boss"),
					.type = B("channel"),
					.channel_type = B("slack"),
					.platform_id = B("1")};
	keep_agent_destination_list list;
	char name[KEEP_SEGMENT_MAX + 1];

	(void)state;
	begin();
	put_agent("ada");
	put_agent("bob");
	OK(keep_mailbox_allow(mailbox, &place, name, &err));
	assert_string_equal(name, "boss");
	place = (keep_agent_destination){.agent_group_id = B("ada"),
					 .name = B("boss"),
					 .type = B("agent"),
					 .target_agent_group_id = B("bob")};
	OK(keep_mailbox_allow(mailbox, &place, NULL, &err));
	list = destinations("ada");
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].type, B("agent"));
	assert_bytes_equal(list.items[0].target_agent_group_id, B("bob"));
	assert_null(list.items[0].channel_type.data);
	/* the same name of another agent is another one */
	place.agent_group_id = B("bob");
	OK(keep_mailbox_allow(mailbox, &place, NULL, &err));
	OK(keep_mailbox_disallow(mailbox, B("ada"), B("boss"), &err));
	FAILS(keep_mailbox_disallow(mailbox, B("ada"), B("boss"), &err), KEEP_NOT_FOUND, "'boss'");
	assert_int_equal(destinations("ada").count, 0);
	assert_int_equal(destinations("bob").count, 1);
	end();
}

#define TO_ADA .type = B("agent"), .target_agent_group_id = B("ada")
#define OF_ADA(of_type) .agent_group_id = B("ada"), .type = B(of_type)

static void destinations_that_are_none_are_refused_by_name(void **state)
{
	const struct {
		keep_status status;
		const char *word;
		keep_agent_destination place;
	} cases[] = {
		{KEEP_INVALID, "agent_group_id", {TO_ADA}},
		{KEEP_INVALID, "type", {.agent_group_id = B("ada")}},
		{KEEP_INVALID, "type", {.agent_group_id = B("ada"), .type = B("person")}},
		{KEEP_INVALID, "channel_type", {OF_ADA("channel"), .platform_id = B("1")}},
		{KEEP_INVALID, "platform_id", {OF_ADA("channel"), .channel_type = B("slack")}},
		{KEEP_INVALID, "target_agent_group_id", {OF_ADA("agent")}},
		{KEEP_INVALID,
		 "platform_id",
		 {.agent_group_id = B("ada"), TO_ADA, .platform_id = B("1")}},
		{KEEP_INVALID,
		 "target_agent_group_id",
		 {OF_ADA("channel"), .channel_type = B("slack"), .platform_id = B("1"),
		  .target_agent_group_id = B("ada")}},
		{KEEP_INVALID, "name", {.agent_group_id = B("ada"), TO_ADA, .name = B("Boss")}},
		{KEEP_INVALID, "name", {.agent_group_id = B("ada"), TO_ADA, .name = B("-boss")}},
		{KEEP_INVALID, "name", {.agent_group_id = B("ada"), TO_ADA, .name = B("")}},
		{KEEP_NOT_FOUND, "'eve'", {.agent_group_id = B("eve"), TO_ADA}},
		{KEEP_NOT_FOUND, "'eve'", {OF_ADA("agent"), .target_agent_group_id = B("eve")}},
	};

	(void)state;
	begin();
	put_agent("ada");
	for (size_t i = 0; i < KP_COUNT(cases); i++)
		FAILS(keep_mailbox_allow(mailbox, &cases[i].place, NULL, &err), cases[i].status,
		      cases[i].word);
	assert_int_equal(destinations("ada").count, 0);
	end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wiring_an_agent_lets_it_send_to_the_chat),
		cmocka_unit_test(a_destination_without_a_name_gets_one_and_keeps_it),
		cmocka_unit_test(a_name_that_is_given_leads_where_it_was_last_told),
		cmocka_unit_test(destinations_that_are_none_are_refused_by_name),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
