/*
 * test_compat_source_agent.c - Keep's host against an agent that knows only the source's tables.
 *
 *     test_compat_source_agent sqlite
 *
 * The agent is source_side.py, on files that Keep made; once on files that it made itself.
 */
#include "mailbox_fixture.h"
#include "source_process.h"

#include "mailbox/mailbox_private.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

static keep_error err = KEEP_ERROR_INIT;

struct rig {
	keep_mailbox *mailbox;
	source_process agent;
	char session[KEEP_SEGMENT_MAX + 1];
	keep_memory memory;
};

static void begin(struct rig *rig)
{
	rig->mailbox = mailbox_fresh();
	rig->memory = (keep_memory)KEEP_MEMORY_INIT;
	mailbox_session(rig->mailbox, NULL, rig->session);
	OK(keep_mailbox_wake(rig->mailbox, keep_bytes_of(rig->session), KEEP_NOW, NULL, &err));
	rig->agent = source_start("agent", mailbox_folder(rig->session));
	(void)source_ask(&rig->agent, "[\"start\"]");
}

static void end(struct rig *rig)
{
	source_end(&rig->agent);
	keep_memory_release(&rig->memory);
	keep_mailbox_close(&rig->mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static keep_collection collect(struct rig *rig, int64_t now_ms)
{
	keep_collection collection;

	OK(keep_mailbox_collect(rig->mailbox, keep_bytes_of(rig->session), 0, now_ms, &rig->memory,
				&collection, &err));
	return collection;
}

static void deliver(struct rig *rig, const keep_collected *item, const char *platform_id)
{
	keep_outcome_report report = {.session = keep_bytes_of(rig->session),
				      .key = item->key,
				      .outcome = KEEP_OUTCOME_DELIVERED,
				      .platform_message_id = keep_bytes_of(platform_id)};

	OK(keep_mailbox_begin_delivery(rig->mailbox, report.session, item->key, 0, KEEP_NOW,
				       &report.attempt, &err));
	OK(keep_mailbox_complete_delivery(rig->mailbox, &report, KEEP_NOW, &err));
}

/* The id of the session's only message of that kind. */
static const char *id_of(struct rig *rig, const char *kind)
{
	char sql[120];

	snprintf(sql, sizeof sql,
		 "SELECT id FROM messages_in WHERE kind = '%s' ORDER BY seq DESC LIMIT 1", kind);
	return mailbox_sql(rig->session, "inbound.db", sql);
}

#define HOLDS(text, part) CHECK(strstr(text, part), "no %s in %s", part, text)
#define TO_CHAT "\"channel_type\": \"telegram\", \"platform_id\": \"42\""

/* ---------------------------------------------------------------- */

static void messages_are_answered_collected_and_completed(void **state)
{
	struct rig rig;
	keep_collection collection;
	const char *claims;
	char first[100];

	(void)state;
	begin(&rig);
	(void)mailbox_post(rig.mailbox, rig.session, "{\"text\":\"one\"}");
	snprintf(first, sizeof first, "%s", id_of(&rig, "chat"));
	(void)mailbox_post(rig.mailbox, rig.session, "{\"text\":\"two\"}");
	claims = source_ask(&rig.agent, "[\"claim\"]");
	HOLDS(claims, "\"seq\": 2");
	HOLDS(claims, "\"seq\": 4");
	HOLDS(source_ask(&rig.agent,
			 "[\"send\", \"out-1\", {\"text\": \"eins\"}, {" TO_CHAT
			 ", \"in_reply_to\": \"%s\"}]",
			 first),
	      "5");
	(void)source_ask(&rig.agent, "[\"ack\", \"completed\", [\"%s\"]]", first);
	collection = collect(&rig, KEEP_NOW);
	assert_int_equal(collection.completed, 1);
	assert_int_equal(collection.count, 1);
	assert_bytes_equal(collection.items[0].message.id, KEEP_BYTES("out-1"));
	assert_int_equal(collection.items[0].message.seq, 5);
	assert_bytes_equal(collection.items[0].message.in_reply_to, keep_bytes_of(first));
	deliver(&rig, &collection.items[0], "tg-100");
	(void)source_ask(&rig.agent, "[\"ack\", \"completed\", [\"%s\"]]", id_of(&rig, "chat"));
	collection = collect(&rig, KEEP_NOW);
	assert_int_equal(collection.completed, 1);
	assert_int_equal(collection.count, 0);
	collection = collect(&rig, KEEP_NOW);
	assert_int_equal(collection.completed, 0);
	HOLDS(source_ask(&rig.agent, "[\"pending\"]"), "[]");
	end(&rig);
}

static void what_it_says_failed_is_tried_again(void **state)
{
	struct rig rig;
	keep_collection collection;
	int64_t now_ms;

	(void)state;
	begin(&rig);
	(void)mailbox_post(rig.mailbox, rig.session, "{}");
	(void)source_ask(&rig.agent, "[\"claim\"]");
	(void)source_ask(&rig.agent, "[\"ack\", \"failed\", [\"%s\"]]", id_of(&rig, "chat"));
	now_ms = kp_clock_ms();
	collection = collect(&rig, now_ms);
	assert_int_equal(collection.retried, 1);
	assert_string_equal(
		mailbox_sql(rig.session, "inbound.db", "SELECT status || tries FROM messages_in"),
		"pending1");
	assert_string_equal(
		mailbox_sql(rig.session, "inbound.db",
			    "SELECT CAST(process_after > strftime('%Y-%m-%dT%H:%M:%fZ') AS TEXT) "
			    "FROM messages_in"),
		"1");
	collection = collect(&rig, now_ms);
	assert_int_equal(collection.retried, 0); /* once a failure */
	end(&rig);
}

static void deliveries_wait_for_their_time_in_both_forms(void **state)
{
	struct rig rig;
	keep_collection collection;

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.agent, "[\"send\", \"a\", {\"text\": \"a\"}, {" TO_CHAT
				     ", \"deliver_after\": \"2026-01-01 00:00:00\"}]");
	(void)source_ask(&rig.agent, "[\"send\", \"b\", {\"text\": \"b\"}, {" TO_CHAT
				     ", \"deliver_after\": \"2026-01-01T00:00:00Z\"}]");
	(void)source_ask(&rig.agent, "[\"send\", \"c\", {\"text\": \"c\"}, {" TO_CHAT
				     ", \"deliver_after\": \"2999-01-01 00:00:00\"}]");
	(void)source_ask(&rig.agent, "[\"send\", \"d\", {\"text\": \"d\"}, {" TO_CHAT
				     ", \"deliver_after\": \"2999-01-01T00:00:00.000Z\"}]");
	collection = collect(&rig, KEEP_NOW);
	assert_int_equal(collection.count, 2);
	assert_bytes_equal(collection.items[0].message.id, KEEP_BYTES("a"));
	assert_bytes_equal(collection.items[1].message.id, KEEP_BYTES("b"));
	assert_int_equal(collection.refused, 0);
	end(&rig);
}

static void edits_and_reactions_find_the_platforms_ids(void **state)
{
	struct rig rig;
	keep_collection collection;

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.agent, "[\"send\", \"m\", {\"text\": \"helo\"}, {" TO_CHAT "}]");
	collection = collect(&rig, KEEP_NOW);
	deliver(&rig, &collection.items[0], "tg-7");
	(void)source_ask(&rig.agent, "[\"send\", \"e\", {\"operation\": \"edit\", \"messageId\": "
				     "1, \"text\": \"hello\"}, {" TO_CHAT "}]");
	(void)source_ask(&rig.agent,
			 "[\"send\", \"r\", {\"operation\": \"reaction\", \"messageId\": \"m\", "
			 "\"emoji\": \"+1\"}, {" TO_CHAT "}]");
	collection = collect(&rig, KEEP_NOW);
	assert_int_equal(collection.count, 2);
	for (size_t i = 0; i < 2; i++)
		assert_bytes_equal(collection.items[i].target_platform_message_id,
				   KEEP_BYTES("tg-7"));
	assert_bytes_equal(collection.items[0].operation, KEEP_BYTES("edit"));
	assert_bytes_equal(collection.items[1].operation, KEEP_BYTES("reaction"));
	end(&rig);
}

static void tasks_are_scheduled_and_recur(void **state)
{
	struct rig rig;
	keep_collection collection;

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.agent,
			 "[\"send\", \"act\", {\"action\": \"schedule_task\", \"taskId\": "
			 "\"task-9\", \"prompt\": \"p\", \"script\": null, \"processAfter\": "
			 "\"2026-01-01 09:00:00\", \"recurrence\": \"0 9 * * *\"}, "
			 "{\"kind\": \"system\"}]");
	collection = collect(&rig, KEEP_NOW);
	assert_int_equal(collection.handled, 1);
	HOLDS(source_ask(&rig.agent, "[\"claim\"]"), "\"id\": \"task-9\"");
	(void)source_ask(&rig.agent, "[\"ack\", \"completed\", [\"task-9\"]]");
	collection = collect(&rig, KEEP_NOW);
	assert_int_equal(collection.completed, 1);
	assert_string_equal(mailbox_sql(rig.session, "inbound.db",
					"SELECT CAST(count(*) AS TEXT) FROM messages_in WHERE "
					"status = 'pending' AND recurrence IS NOT NULL"),
			    "1");
	(void)collect(&rig, KEEP_NOW);
	assert_string_equal(mailbox_sql(rig.session, "inbound.db",
					"SELECT CAST(count(*) AS TEXT) FROM messages_in"),
			    "2");
	end(&rig);
}

static void a_question_is_answered_through_a_system_message(void **state)
{
	struct rig rig;
	keep_answer given = {KEEP_BYTES("q-1"), KEEP_BYTES("yes"), KEEP_BYTES("u")};
	keep_collection collection;
	const char *found;

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.agent,
			 "[\"send\", \"q-1\", {\"type\": \"ask_question\", \"questionId\": "
			 "\"q-1\", \"question\": \"sure?\", \"options\": [\"yes\", \"no\"]}, "
			 "{\"kind\": \"chat-sdk\", " TO_CHAT "}]");
	collection = collect(&rig, KEEP_NOW);
	assert_int_equal(collection.count, 1);
	deliver(&rig, &collection.items[0], "tg-8");
	OK(keep_mailbox_answer(rig.mailbox, &given, KEEP_NOW, &err));
	HOLDS(source_ask(&rig.agent, "[\"claim\"]"), "[]"); /* chats alone */
	found = source_ask(&rig.agent, "[\"system\"]");
	HOLDS(found, "question_response");
	HOLDS(found, "\\\"questionId\\\":\\\"q-1\\\""); /* which its tool looks for by LIKE */
	(void)source_ask(&rig.agent, "[\"ack\", \"completed\", [\"%s\"]]", id_of(&rig, "system"));
	assert_int_equal(collect(&rig, KEEP_NOW).completed, 1);
	end(&rig);
}

static void its_route_is_where_the_host_says(void **state)
{
	struct rig rig;
	const char *route;

	(void)state;
	begin(&rig);
	route = source_ask(&rig.agent, "[\"route\"]");
	HOLDS(route, "\"channel_type\": \"telegram\"");
	HOLDS(route, "\"platform_id\": \"42\"");
	(void)source_ask(&rig.agent, "[\"destinations\"]");
	end(&rig);
}

static void a_silent_agents_claims_are_tried_again_after_ten_minutes(void **state)
{
	struct rig rig;
	keep_sweep sweep;
	int64_t soon_ms = kp_clock_ms() + 120000;

	(void)state;
	begin(&rig);
	(void)mailbox_post(rig.mailbox, rig.session, "{}");
	(void)source_ask(&rig.agent, "[\"ack_at\", \"processing\", \"%s\", -700]",
			 id_of(&rig, "chat"));
	(void)source_ask(&rig.agent, "[\"heartbeat\", -10]");
	OK(keep_mailbox_sweep(rig.mailbox, 0, soon_ms, &rig.memory, &sweep, &err));
	assert_string_equal(mailbox_sql(rig.session, "inbound.db",
					"SELECT CAST(tries AS TEXT) FROM messages_in"),
			    "0"); /* it lives */
	(void)source_ask(&rig.agent, "[\"heartbeat\", -700]");
	OK(keep_mailbox_sweep(rig.mailbox, 0, soon_ms + 120000, &rig.memory, &sweep, &err));
	assert_string_equal(mailbox_sql(rig.session, "inbound.db",
					"SELECT CAST(tries AS TEXT) FROM messages_in"),
			    "1");
	source_kill(&rig.agent); /* and its next start */
	rig.agent = source_start("agent", mailbox_folder(rig.session));
	(void)source_ask(&rig.agent, "[\"start\"]");
	end(&rig);
}

static void two_of_its_processes_number_against_a_posting_host(void **state)
{
	struct rig rig;
	source_process tool;
	int sent = 0;

	(void)state;
	begin(&rig);
	tool = source_start("agent", mailbox_folder(rig.session));
	for (int i = 0; i < 10; i++) {
		(void)mailbox_post(rig.mailbox, rig.session, "{}");
		sent += source_try(&rig.agent, "[\"send\", \"a%d\", {}, {" TO_CHAT "}]", i) != NULL;
		sent += source_try(&tool, "[\"send\", \"b%d\", {}, {" TO_CHAT "}]", i) != NULL;
		(void)collect(&rig, KEEP_NOW);
	}
	assert_int_equal(sent, 20);
	assert_string_equal(
		mailbox_sql(rig.session, "outbound.db",
			    "SELECT CAST(count(DISTINCT seq) AS TEXT) FROM messages_out "
			    "WHERE seq % 2 = 1"),
		"20");
	source_end(&tool);
	end(&rig);
}

static void it_may_follow_an_agent_of_keeps(void **state)
{
	struct rig rig;
	keep_agent *agent;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claim_list claims;
	const char *claimed;

	(void)state;
	begin(&rig);
	source_end(&rig.agent);
	(void)mailbox_post(rig.mailbox, rig.session, "{}");
	agent = mailbox_agent(rig.mailbox, rig.session);
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	(void)collect(&rig, KEEP_NOW); /* the host has a log open now */
	OK(keep_mailbox_wake(rig.mailbox, keep_bytes_of(rig.session), KEEP_NOW, NULL, &err));
	rig.agent = source_start("agent", mailbox_folder(rig.session));
	HOLDS(source_ask(&rig.agent, "[\"journal\"]"), "delete");
	(void)source_ask(&rig.agent, "[\"start\"]");
	claimed = source_ask(&rig.agent, "[\"claim\"]");
	HOLDS(claimed, "\"seq\": 2");
	(void)source_ask(&rig.agent, "[\"ack\", \"completed\", [\"%s\"]]", id_of(&rig, "chat"));
	assert_int_equal(collect(&rig, KEEP_NOW).completed, 1);
	agent = mailbox_agent(rig.mailbox, rig.session); /* and one of Keep's follows it */
	keep_agent_close(&agent);
	end(&rig);
}

/* An outbound.db with the source's tables alone: the host reads it as it is. */
static void a_file_that_it_made_itself_is_read(void **state)
{
	static const char tables[] =
		"CREATE TABLE messages_out (id TEXT PRIMARY KEY, seq INTEGER UNIQUE, in_reply_to "
		"TEXT, timestamp TEXT NOT NULL, deliver_after TEXT, recurrence TEXT, kind TEXT NOT "
		"NULL, platform_id TEXT, channel_type TEXT, thread_id TEXT, content TEXT NOT NULL);"
		"CREATE TABLE processing_ack (message_id TEXT PRIMARY KEY, status TEXT NOT NULL, "
		"status_changed TEXT NOT NULL);"
		"CREATE TABLE session_state (key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at "
		"TEXT NOT NULL);";
	struct rig rig;
	char path[700];
	sqlite3 *db = NULL;

	(void)state;
	begin(&rig);
	source_end(&rig.agent);
	keep_mailbox_close(&rig.mailbox);
	snprintf(path, sizeof path, "%s/outbound.db", mailbox_folder(rig.session));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, tables, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	rig.mailbox = mailbox_again();
	(void)mailbox_post(rig.mailbox, rig.session, "{}");
	rig.agent = source_start("agent", mailbox_folder(rig.session));
	(void)source_ask(&rig.agent, "[\"claim\"]");
	(void)source_ask(&rig.agent, "[\"send\", \"m\", {\"text\": \"hi\"}, {" TO_CHAT "}]");
	(void)source_ask(&rig.agent, "[\"ack\", \"completed\", [\"%s\"]]", id_of(&rig, "chat"));
	for (int i = 0; i < 2; i++) {
		keep_collection collection = collect(&rig, KEEP_NOW);

		assert_int_equal(collection.completed, i == 0);
		assert_int_equal(collection.count, 1);
		assert_bytes_equal(collection.items[0].message.id, KEEP_BYTES("m"));
	}
	end(&rig);
}

static void it_reads_a_mailbox_with_rollback_journals(void **state)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	struct rig rig;

	(void)state;
	begin(&rig);
	source_end(&rig.agent);
	keep_mailbox_close(&rig.mailbox);
	options.mount_safe = true;
	OK(mailbox_open_with(&options, &rig.mailbox, &err));
	(void)mailbox_post(rig.mailbox, rig.session, "{}");
	rig.agent = source_start("agent", mailbox_folder(rig.session));
	HOLDS(source_ask(&rig.agent, "[\"claim\"]"), "\"seq\": 2");
	(void)mailbox_post(rig.mailbox, rig.session, "{}"); /* though its handle stays open */
	HOLDS(source_ask(&rig.agent, "[\"claim\"]"), "\"seq\": 4");
	(void)source_ask(&rig.agent, "[\"ack\", \"completed\", [\"%s\"]]", id_of(&rig, "chat"));
	assert_int_equal(collect(&rig, KEEP_NOW).completed, 1);
	end(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_answered_collected_and_completed),
		cmocka_unit_test(what_it_says_failed_is_tried_again),
		cmocka_unit_test(deliveries_wait_for_their_time_in_both_forms),
		cmocka_unit_test(edits_and_reactions_find_the_platforms_ids),
		cmocka_unit_test(tasks_are_scheduled_and_recur),
		cmocka_unit_test(a_question_is_answered_through_a_system_message),
		cmocka_unit_test(its_route_is_where_the_host_says),
		cmocka_unit_test(a_silent_agents_claims_are_tried_again_after_ten_minutes),
		cmocka_unit_test(two_of_its_processes_number_against_a_posting_host),
		cmocka_unit_test(it_may_follow_an_agent_of_keeps),
		cmocka_unit_test(a_file_that_it_made_itself_is_read),
		cmocka_unit_test(it_reads_a_mailbox_with_rollback_journals),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
