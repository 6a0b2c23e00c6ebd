/*
 * test_mailbox_routing_faults.c - registering agents and routing to them, while something fails.
 *
 *     test_mailbox_routing_faults sqlite|postgres
 *
 * Each round registers three agents and a chat of its own and routes two messages, while the Nth
 * allocation, driver call, file call, commit or connection fails. The step that failed is then done
 * once more and must succeed, for each may be repeated. At the end every agent has each message
 * once, one session, and one name for the chat; and no block is alive.
 */
#include "mailbox_fixture.h"
#include "torture.h"

#include "sqlite_faults.h"

#include <sqlite3.h>
#include <unistd.h>

#define B(text) keep_bytes_of(text)

enum { AGENTS = 3, EVERY_MAX = 30 };

static int round_number;
static char chat_id[32], agent_ids[AGENTS][32];

/* ---------------------------------------------------------------- the steps */

static keep_status put_agents(keep_mailbox *mailbox, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (int i = 0; i < AGENTS && status == KEEP_OK; i++) {
		keep_agent_group group = {.id = B(agent_ids[i]),
					  .name = B("An agent"),
					  .folder = B(agent_ids[i]),
					  .container_config = B("{\"timeout\":5}")};

		status = keep_mailbox_put_agent_group(mailbox, &group, NULL, err);
	}
	return status;
}

static keep_status put_chat(keep_mailbox *mailbox, keep_error *err)
{
	keep_messaging_group chat = {
		.channel_type = B("slack"), .platform_id = B(chat_id), .name = B("The Team")};

	return keep_mailbox_put_messaging_group(mailbox, &chat, NULL, err);
}

static keep_status wire_all(keep_mailbox *mailbox, keep_error *err)
{
	static const char *const rules[AGENTS] = {
		"{\"pattern\":\"(?i)^hel+o\\\\b\",\"excludeSenders\":[\"9\"]}", NULL, "{}"};
	static const char *const modes[AGENTS] = {"shared", "per-thread", "agent-shared"};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_messaging_group chat;
	keep_status status = keep_mailbox_find_messaging_group(mailbox, B("slack"), B(chat_id),
							       &memory, &chat, err);

	for (int i = 0; i < AGENTS && status == KEEP_OK; i++) {
		keep_messaging_group_agent wiring = {.messaging_group_id = chat.id,
						     .agent_group_id = B(agent_ids[i]),
						     .trigger_rules = B(rules[i]),
						     .session_mode = B(modes[i])};

		status = keep_mailbox_wire(mailbox, &wiring, NULL, err);
	}
	keep_memory_release(&memory);
	return status;
}

static keep_status allow(keep_mailbox *mailbox, keep_error *err)
{
	keep_agent_destination destination = {.agent_group_id = B(agent_ids[0]),
					      .type = B("agent"),
					      .target_agent_group_id = B(agent_ids[1])};

	return keep_mailbox_allow(mailbox, &destination, NULL, err);
}

static keep_status route(keep_mailbox *mailbox, const char *place, const char *id, keep_error *err)
{
	keep_inbound_route message = {.channel_type = B("slack"),
				      .platform_id = B(place),
				      .thread_id = B("t"),
				      .message_id = B(id),
				      .content = B("{\"text\":\"Hello all\",\"senderId\":\"7\"}")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_route_outcome outcome;
	keep_status status =
		keep_mailbox_route(mailbox, &message, KEEP_NOW, &memory, &outcome, err);

	CHECK(status == KEEP_OK || (!outcome.items && !outcome.count), "a failure has an answer");
	if (status == KEEP_OK && strcmp(place, chat_id) == 0)
		assert_int_equal(outcome.taken, AGENTS);
	keep_memory_release(&memory);
	return status;
}

static keep_status route_first(keep_mailbox *mailbox, keep_error *err)
{
	return route(mailbox, chat_id, "1", err);
}

static keep_status route_second(keep_mailbox *mailbox, keep_error *err)
{
	return route(mailbox, chat_id, "2", err);
}

static keep_status route_to_nobody(keep_mailbox *mailbox, keep_error *err)
{
	char place[64];

	snprintf(place, sizeof place, "nobody-%s", chat_id);
	return route(mailbox, place, "3", err);
}

static keep_status look_at_all(keep_mailbox *mailbox, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_messaging_group_agent_list wirings;
	keep_agent_destination_list destinations;
	keep_unrouted_message_list unrouted;
	keep_status status = keep_mailbox_list_wirings(mailbox, (keep_bytes){.data = NULL},
						       B(agent_ids[0]), 0, &memory, &wirings, err);

	if (status == KEEP_OK)
		status = keep_mailbox_list_destinations(mailbox, B(agent_ids[0]), 0, &memory,
							&destinations, err);
	if (status == KEEP_OK) {
		assert_int_equal(wirings.count, 1);
		assert_int_equal(destinations.count, 2);
		status = keep_mailbox_list_unrouted(mailbox, 5, &memory, &unrouted, err);
	}
	keep_memory_release(&memory);
	return status;
}

static keep_status remove_in_vain(keep_mailbox *mailbox, keep_error *err)
{
	keep_status status = keep_mailbox_remove_agent_group(mailbox, B(agent_ids[1]), err);

	CHECK(status != KEEP_OK, "it has a session");
	return status == KEEP_CONFLICT ? KEEP_OK : status;
}

static keep_status (*const steps[])(keep_mailbox *mailbox, keep_error *err) = {
	put_agents,   put_chat,        wire_all,    allow,          route_first,
	route_second, route_to_nobody, look_at_all, remove_in_vain,
};

/* ---------------------------------------------------------------- one round */

static void name_round(void)
{
	round_number++;
	snprintf(chat_id, sizeof chat_id, "chat-%d", round_number);
	for (int i = 0; i < AGENTS; i++)
		snprintf(agent_ids[i], sizeof agent_ids[i], "agent-%d-%d", round_number, i);
}

/* So many rows of the registry are of this round's agents. */
static void check_count(const char *table, const char *condition, const char *expected)
{
	char sql[400];

	snprintf(sql, sizeof sql,
		 "SELECT CAST(count(*) AS text) FROM %s WHERE agent_group_id IN ('%s', '%s', '%s') "
		 "AND %s",
		 table, agent_ids[0], agent_ids[1], agent_ids[2], condition);
	CHECK(strcmp(mailbox_sql(NULL, NULL, sql), expected) == 0, "%s: not %s", sql, expected);
}

static void check_round(keep_mailbox *mailbox)
{
	keep_error err = KEEP_ERROR_INIT;

	check_count("sessions", "anchor IS NOT NULL", "3");
	check_count("messaging_group_agents", "priority = 0", "3");
	check_count("agent_destinations", "name = 'the-team'", "3");
	check_count("agent_destinations", "name <> 'the-team'", "1");
	for (int number = 1; number <= 2; number++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_inbound_route message = {
			.channel_type = B("slack"),
			.platform_id = B(chat_id),
			.thread_id = B("t"),
			.message_id = number == 1 ? B("1") : B("2"),
			.content = B("{\"text\":\"Hello all\",\"senderId\":\"7\"}")};
		keep_route_outcome outcome;

		OK(keep_mailbox_route(mailbox, &message, KEEP_NOW, &memory, &outcome, &err));
		for (int i = 0; i < AGENTS; i++) {
			assert_int_equal(outcome.items[i].post.posted, KEEP_POSTED_DUPLICATE);
			assert_int_equal(outcome.items[i].post.seq, 2 * number);
		}
		keep_memory_release(&memory);
	}
}

/* The round's first failure, or OK. */
static keep_status run_round(enum kp_fault_kind kind, long nth, bool persistent, long *fired)
{
	keep_mailbox *mailbox = mailbox_again();
	keep_error err = KEEP_ERROR_INIT;
	keep_status first = KEEP_OK;

	name_round();
	kp_fault_arm(kind, nth, persistent);
	for (size_t i = 0; i < KP_COUNT(steps); i++) {
		keep_status status = steps[i](mailbox, &err);

		if (status == KEEP_OK)
			continue;
		CHECK(first == KEEP_OK, "step %zu failed without a fault: %s: %s", i,
		      keep_status_name(status), err.message);
		*fired = kp_fault_disarm(kind);
		first = status;
		status = steps[i](mailbox, &err);
		CHECK(status == KEEP_OK, "failure %ld: step %zu again: %s: %s", nth, i,
		      keep_status_name(status), err.message);
	}
	if (first == KEEP_OK)
		*fired = kp_fault_disarm(kind);
	check_round(mailbox);
	keep_mailbox_close(&mailbox);
	return first;
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	const char *wanted = getenv("KEEP_TORTURE");
	bool all = wanted && strcmp(wanted, "all") == 0;
	long rounds = 0, live;

	keep_mailbox *mailbox = mailbox_fresh();
	keep_mailbox_close(&mailbox);
	live = kp_alloc_live();
	for (int persistent = 0; persistent <= 1; persistent++) {
		for (long nth = 1;; nth = all || nth < EVERY_MAX ? nth + 1 : nth + nth / 4) {
			long fired = 0;
			keep_status status = run_round(kind, nth, persistent, &fired);

			CHECK(kp_alloc_live() == live, "failure %ld leaked %ld blocks", nth,
			      kp_alloc_live() - live);
			if (!fired)
				break;
			CHECK(status == KEEP_OK || (expected & MAY(status)), "failure %ld: %s", nth,
			      keep_status_name(status));
			rounds++;
		}
	}
	print_message("%ld rounds\n", rounds);
	assert_true(rounds > 0);
}

/* ---------------------------------------------------------------- the tests */

static void a_failing_allocation_loses_and_doubles_nothing(void **state)
{
	unsigned expected = MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN);

	(void)state;
	/* libpq reports its own lack of memory as a lost connection. */
	fail_each(KP_FAULT_ALLOC, mailbox_is_file() ? expected : expected | MAY(KEEP_UNAVAILABLE));
}

static void a_failing_driver_call_loses_and_doubles_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE));
}

static void a_lost_answer_to_a_commit_is_uncertain(void **state)
{
	(void)state;
	fail_each(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN));
}

static void a_failing_file_or_connection_loses_and_doubles_nothing(void **state)
{
	(void)state;
	if (!mailbox_is_file()) {
		fail_each(KP_FAULT_CONNECT, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN));
		return;
	}
	sqlite_faults_set_write_code(SQLITE_FULL);
	fail_each(KP_FAULT_FILE,
		  MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_BUSY) | MAY(KEEP_UNCERTAIN));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_allocation_loses_and_doubles_nothing),
		cmocka_unit_test(a_failing_driver_call_loses_and_doubles_nothing),
		cmocka_unit_test(a_lost_answer_to_a_commit_is_uncertain),
		cmocka_unit_test(a_failing_file_or_connection_loses_and_doubles_nothing),
	};
	int failed;

	sqlite_faults_install();
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
