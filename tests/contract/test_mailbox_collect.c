/*
 * test_mailbox_collect.c - contracts/mailbox.md: what the host takes over from an agent's side, and
 * what it answers for delivery.
 *
 *     test_mailbox_collect sqlite|postgres
 *
 * Rows of the agent's side are written with SQL, so that every form of them can be.
 */
#include "mailbox_fixture.h"

#include "mailbox_rows.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static keep_error err;
static keep_memory memory;
static char session[KEEP_SEGMENT_MAX + 1];
static keep_mailbox *mailbox;

#define NOW INT64_C(1780000000000)

static int set_up(void **state)
{
	(void)state;
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	memory = (keep_memory)KEEP_MEMORY_INIT;
	err = (keep_error)KEEP_ERROR_INIT;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
	return 0;
}

static keep_collection collect_at(int64_t now_ms)
{
	keep_collection out;

	OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, now_ms, &memory, &out, &err));
	return out;
}

static void assert_inbound(int64_t seq, const char *column, const char *expected)
{
	char sql[400];

	snprintf(sql, sizeof sql, "SELECT CAST(%s AS text) FROM messages_in WHERE %s seq = %lld",
		 column, rows_where(session), (long long)seq);
	assert_string_equal(mailbox_sql(session, "inbound.db", sql), expected);
}

static const char *delivered(const char *key, const char *column)
{
	char sql[300];

	snprintf(sql, sizeof sql,
		 "SELECT CAST(%s AS text) FROM delivered WHERE %s message_out_id = '%s'", column,
		 rows_where(session), key);
	return mailbox_sql(session, "inbound.db", sql);
}

/* Its delivery, as if a channel had taken it. */
static void deliver(const char *key, const char *platform_id, int64_t now_ms)
{
	keep_outcome_report report = {.session = keep_bytes_of(session),
				      .key = keep_bytes_of(key),
				      .outcome = KEEP_OUTCOME_DELIVERED,
				      .platform_message_id = keep_bytes_of(platform_id)};

	OK(keep_mailbox_begin_delivery(mailbox, report.session, report.key, 0, now_ms,
				       &report.attempt, &err));
	OK(keep_mailbox_complete_delivery(mailbox, &report, now_ms, &err));
}

static void fail_delivery(const char *key, keep_outcome outcome, int64_t now_ms)
{
	keep_outcome_report report = {.session = keep_bytes_of(session),
				      .key = keep_bytes_of(key),
				      .outcome = outcome,
				      .error = KEEP_BYTES("the channel is away")};

	OK(keep_mailbox_begin_delivery(mailbox, report.session, report.key, 0, now_ms,
				       &report.attempt, &err));
	OK(keep_mailbox_complete_delivery(mailbox, &report, now_ms, &err));
}

static void assert_keys(const keep_collection *found, const char *expected)
{
	char text[400] = "";

	for (size_t i = 0; i < found->count; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.*s", i ? " " : "",
			 (int)found->items[i].key.len, found->items[i].key.data);
	assert_string_equal(text, expected);
}

/* ---------------------------------------------------------------- acknowledgements */

static void what_an_agent_has_completed_is_completed_once(void **state)
{
	keep_agent *agent;
	keep_claim_list claims;
	keep_claim_ref ref;
	keep_collection found;

	(void)state;
	(void)mailbox_post(mailbox, session, "{\"text\":\"hello\"}");
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	found = collect_at(KEEP_NOW);
	assert_int_equal(found.completed, 0);
	ref = (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
	OK(keep_agent_complete(agent, &ref, 1, KEEP_NOW, &err));
	found = collect_at(KEEP_NOW);
	assert_int_equal(found.completed, 1);
	assert_inbound(2, "status", "completed");
	found = collect_at(KEEP_NOW);
	assert_int_equal(found.completed, 0);
	keep_agent_close(&agent);
}

static void a_failed_message_is_due_again_five_times_and_then_failed(void **state)
{
	static const char *const due[] = {"2026-05-28T20:26:45.000Z", "2026-05-28T20:26:50.000Z",
					  "2026-05-28T20:27:00.000Z", "2026-05-28T20:27:20.000Z",
					  "2026-05-28T20:28:00.000Z"};
	const char *id;
	char kept[100];
	keep_collection found;

	(void)state;
	(void)mailbox_post(mailbox, session, "{\"text\":\"hello\"}");
	id = rows_inbound_id(session, 2, kept, sizeof kept);
	for (int attempt = 1; attempt <= 6; attempt++) {
		rows_ack(session, id, "failed", attempt, attempt, "it broke");
		found = collect_at(NOW);
		assert_int_equal(found.retried, attempt < 6);
		assert_int_equal(found.failed, attempt == 6);
		found = collect_at(NOW);
		assert_int_equal(found.retried + found.failed, 0);
		if (attempt < 6 && mailbox_is_file())
			assert_inbound(2, "process_after", due[attempt - 1]);
		assert_inbound(2, "status", attempt < 6 ? "pending" : "failed");
	}
	assert_inbound(2, "tries", "6");
	assert_inbound(2, "last_error", "it broke");
	(void)due;
}

static void a_failure_that_was_counted_counts_no_more(void **state)
{
	const char *id;
	char kept[100];

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	id = rows_inbound_id(session, 2, kept, sizeof kept);
	rows_ack(session, id, "failed", 1, 1, NULL);
	assert_int_equal(collect_at(NOW).retried, 1);
	(void)mailbox_sql(session, "inbound.db", "UPDATE session_host SET ack_change = 0");
	assert_int_equal(collect_at(NOW).retried, 0);
	assert_inbound(2, "tries", "1");
	assert_inbound(2, "last_error", "the agent gave no reason");
}

static void claims_that_ran_out_without_the_host_count_too(void **state)
{
	const char *id;
	char kept[100], sql[200];

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	id = rows_inbound_id(session, 2, kept, sizeof kept);
	rows_ack(session, id, "failed", 6, 1, "again");
	snprintf(sql, sizeof sql, "UPDATE processing_ack SET expired = 5 WHERE message_id = '%s'",
		 id);
	(void)mailbox_sql(session, "outbound.db", sql);
	assert_int_equal(collect_at(NOW).failed, 1);
	assert_inbound(2, "status", "failed");
}

static void a_completed_acknowledgement_stands_after_its_claim_was_given_up(void **state)
{
	const char *id;
	char kept[100];

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	id = rows_inbound_id(session, 2, kept, sizeof kept);
	(void)mailbox_sql(session, "inbound.db", "UPDATE messages_in SET void_attempt = 3");
	rows_ack(session, id, "completed", 1, 1, NULL);
	assert_int_equal(collect_at(NOW).completed, 1);
}

static void an_agent_that_knows_only_the_sources_columns_is_understood(void **state)
{
	const char *id;
	char first[100], second[100];

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	(void)mailbox_post(mailbox, session, "{\"text\":\"2\"}");
	id = rows_inbound_id(session, 2, first, sizeof first);
	rows_plain_ack(session, id, "completed", "2026-05-28 20:26:40");
	rows_plain_ack(session, rows_inbound_id(session, 4, second, sizeof second), "failed",
		       "2026-05-28 20:26:40");
	assert_int_equal(collect_at(NOW).completed, 1);
	assert_inbound(4, "tries", "1");
	assert_int_equal(collect_at(NOW + 60000).retried, 0);
	rows_plain_ack(session, second, "failed", "2026-05-28 20:27:40");
	assert_int_equal(collect_at(NOW + 60000).retried, 1);
	assert_inbound(4, "tries", "2");
}

static void many_acknowledgements_are_all_taken_over(void **state)
{
	enum { MANY = 450 };
	int64_t completed = 0;

	(void)state;
	rows_many_completed(mailbox, session, MANY);
	for (int i = 0; i < 3; i++)
		completed += collect_at(NOW).completed;
	assert_int_equal(completed, MANY);
}

/* ---------------------------------------------------------------- messages of the agent's */

static void a_message_is_answered_until_its_delivery_begins(void **state)
{
	keep_collection found;
	int64_t attempt = 0;

	(void)state;
	rows_out(session, 3, "one", "chat", "telegram", "42", "{\"text\":\"hi\"}", NULL);
	for (int i = 0; i < 2; i++) {
		found = collect_at(NOW);
		assert_keys(&found, "one");
		assert_bytes_equal(found.items[0].message.content, KEEP_BYTES("{\"text\":\"hi\"}"));
		assert_int_equal(found.items[0].attempts, 0);
		assert_null(found.items[0].operation.data);
		assert_false(found.has_more);
	}
	OK(keep_mailbox_begin_delivery(mailbox, keep_bytes_of(session), KEEP_BYTES("one"), 1000,
				       NOW, &attempt, &err));
	found = collect_at(NOW);
	assert_int_equal(found.count, 0);
	assert_int_equal(found.next_ms, NOW + 1000);
	found = collect_at(NOW + 2000); /* its lease is over: nobody knows what became of it */
	assert_int_equal(found.count, 0);
}

static void messages_come_in_the_order_of_their_numbers_up_to_the_limit(void **state)
{
	keep_collection found;

	(void)state;
	rows_out(session, 7, "c", "chat", "telegram", "42", "{}", NULL);
	rows_out(session, 5, "b", "chat", "telegram", "42", "{}", NULL);
	rows_out(session, 3, "a", "chat", "telegram", "42", "{}", NULL);
	OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 2, NOW, &memory, &found, &err));
	assert_keys(&found, "a b");
	assert_true(found.has_more);
	OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 3, NOW, &memory, &found, &err));
	assert_keys(&found, "a b c");
	assert_false(found.has_more);
}

static void a_message_is_not_answered_before_its_time(void **state)
{
	keep_collection found;

	(void)state;
	rows_out(session, 3, "later", "chat", "telegram", "42", "{}", "2026-05-28 20:27:00");
	rows_out(session, 5, "now", "chat", "telegram", "42", "{}", NULL);
	found = collect_at(NOW);
	assert_keys(&found, "now");
	assert_int_equal(found.next_ms, NOW + 20000);
	found = collect_at(NOW + 20000);
	assert_keys(&found, "later now");
}

static void messages_wait_for_an_earlier_one_to_the_same_address(void **state)
{
	keep_collection found;

	(void)state;
	rows_allow_chat("telegram", "43");
	rows_out(session, 3, "first", "chat", "telegram", "42", "{}", NULL);
	(void)collect_at(NOW);
	fail_delivery("first", KEEP_OUTCOME_FAILED, NOW);
	rows_out(session, 5, "second", "chat", "telegram", "42", "{}", NULL);
	rows_out(session, 7, "other", "chat", "telegram", "43", "{}", NULL);
	found = collect_at(NOW + 1);
	assert_keys(&found, "other");
	assert_int_equal(found.next_ms, NOW + 5000);
	found = collect_at(NOW + 5000);
	assert_keys(&found, "first second other");
	assert_int_equal(found.items[0].attempts, 1);
}

static void what_has_no_permission_is_refused_and_the_agent_is_told(void **state)
{
	keep_collection found;

	(void)state;
	rows_out(session, 3, "away", "chat", "telegram", "99", "{}", NULL);
	rows_out(session, 5, "home", "chat", "telegram", "42", "{}", NULL);
	rows_out(session, 7, "agent", "chat", "agent", "bob", "{}", NULL);
	found = collect_at(NOW);
	assert_keys(&found, "home");
	assert_int_equal(found.refused, 2);
	assert_string_equal(delivered("away", "status"), "refused");
	assert_string_equal(delivered("away", "last_error"),
			    "the agent has no permission to send there");
	assert_string_equal(delivered("agent", "status"), "refused");
	assert_inbound(2, "kind", "system");
	assert_inbound(4, "kind", "system");
	assert_int_equal(collect_at(NOW).refused, 0);
}

static void permission_is_asked_at_each_collect(void **state)
{
	keep_collection found;

	(void)state;
	rows_allow_chat("telegram", "99");
	rows_out(session, 3, "away", "chat", "telegram", "99", "{}", NULL);
	found = collect_at(NOW);
	assert_keys(&found, "away");
	(void)mailbox_sql(NULL, NULL, "DELETE FROM agent_destinations");
	found = collect_at(NOW);
	assert_int_equal(found.count, 0);
	assert_int_equal(found.refused, 1);
}

static void a_cursor_that_begins_anew_delivers_nothing_twice(void **state)
{
	keep_collection found;

	(void)state;
	rows_out(session, 3, "one", "chat", "telegram", "42", "{}", NULL);
	rows_out(session, 5, "two", "chat", "telegram", "42", "{}", NULL);
	(void)collect_at(NOW);
	deliver("one", "p1", NOW);
	(void)mailbox_sql(session, "inbound.db",
			  "UPDATE session_host SET out_seq = 0, outbound_id = 'another'");
	rows_out(session, 7, "three", "chat", "telegram", "42", "{}", NULL);
	found = collect_at(NOW);
	assert_keys(&found, "two three");
}

static void an_outbound_side_that_was_put_back_is_looked_at_anew(void **state)
{
	keep_collection found;

	(void)state;
	rows_out(session, 101, "old", "chat", "telegram", "42", "{}", NULL);
	(void)collect_at(NOW);
	deliver("old", "p1", NOW);
	(void)mailbox_sql(session, "outbound.db", "DELETE FROM messages_out");
	rows_out(session, 3, "new", "chat", "telegram", "42", "{}", NULL);
	found = collect_at(NOW);
	assert_keys(&found, "new");
}

/* ---------------------------------------------------------------- edits and reactions */

static void an_edit_finds_the_platforms_id_of_what_it_is_about(void **state)
{
	keep_post post = {.content = KEEP_BYTES("{}"),
			  .dedup_key = KEEP_BYTES("tg-77"),
			  .channel_type = KEEP_BYTES("telegram"),
			  .platform_id = KEEP_BYTES("42")};
	keep_post_result posted;
	keep_collection found;
	char text[300];

	(void)state;
	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &posted, &err));
	rows_out(session, 3, "said", "chat", "telegram", "42", "{\"text\":\"a\"}", NULL);
	(void)collect_at(NOW);
	deliver("said", "tg-78", NOW);
	rows_out(session, 5, "e1", "chat", "telegram", "42",
		 "{\"operation\":\"edit\",\"messageId\":3,\"text\":\"b\"}", NULL);
	rows_out(session, 7, "e2", "chat", "telegram", "42",
		 "{\"operation\":\"reaction\",\"messageId\":2,\"emoji\":\"x\"}", NULL);
	rows_out(session, 9, "e3", "chat", "telegram", "42",
		 "{\"operation\":\"edit\",\"messageId\":\"said\",\"text\":\"b\"}", NULL);
	snprintf(text, sizeof text, "{\"operation\":\"reaction\",\"messageId\":\"%s\"}", posted.id);
	rows_out(session, 11, "e4", "chat", "telegram", "42", text, NULL);
	rows_out(session, 13, "e5", "chat", "telegram", "42",
		 "{\"operation\":\"edit\",\"messageId\":\"tg-1\",\"text\":\"b\"}", NULL);
	found = collect_at(NOW);
	assert_keys(&found, "e1 e2 e3 e4 e5");
	assert_bytes_equal(found.items[0].operation, KEEP_BYTES("edit"));
	assert_bytes_equal(found.items[1].operation, KEEP_BYTES("reaction"));
	assert_bytes_equal(found.items[0].target_platform_message_id, KEEP_BYTES("tg-78"));
	assert_bytes_equal(found.items[1].target_platform_message_id, KEEP_BYTES("tg-77"));
	assert_bytes_equal(found.items[2].target_platform_message_id, KEEP_BYTES("tg-78"));
	assert_bytes_equal(found.items[3].target_platform_message_id, KEEP_BYTES("tg-77"));
	assert_bytes_equal(found.items[4].target_platform_message_id, KEEP_BYTES("tg-1"));
}

static void an_edit_waits_for_its_message_and_fails_with_it(void **state)
{
	keep_collection found;

	(void)state;
	rows_out(session, 3, "said", "chat", "telegram", "42", "{\"text\":\"a\"}", NULL);
	rows_out(session, 5, "edit", "chat", "telegram", "42",
		 "{\"operation\":\"edit\",\"messageId\":3}", NULL);
	found = collect_at(NOW);
	assert_keys(&found, "said");
	assert_true(found.has_more);
	fail_delivery("said", KEEP_OUTCOME_PERMANENT, NOW);
	found = collect_at(NOW);
	assert_int_equal(found.count, 0);
	assert_int_equal(found.refused, 1);
	assert_string_equal(delivered("edit", "status"), "refused");
}

static void an_operation_that_makes_no_sense_is_refused(void **state)
{
	static const char *const contents[] = {"{\"operation\":\"edit\"}",
					       "{\"operation\":\"edit\",\"messageId\":true}",
					       "{\"operation\":\"edit\",\"messageId\":99}",
					       "{\"operation\":\"edit\",\"messageId\":-2}",
					       "{\"operation\":\"erase\",\"messageId\":2}",
					       "{\"operation\":7}"};
	char id[20];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(contents); i++) {
		snprintf(id, sizeof id, "x%zu", i);
		rows_out(session, 3 + 2 * (int64_t)i, id, "chat", "telegram", "42", contents[i],
			 NULL);
	}
	assert_int_equal(collect_at(NOW).refused, KP_COUNT(contents));
}

/* ---------------------------------------------------------------- what the host does itself */

static void a_system_row_that_is_not_ours_is_answered(void **state)
{
	keep_collection found;

	(void)state;
	rows_out(session, 3, "sys", "system", NULL, NULL, "{\"action\":\"create_agent\"}", NULL);
	found = collect_at(NOW);
	assert_keys(&found, "sys");
	assert_bytes_equal(found.items[0].message.kind, KEEP_BYTES("system"));
}

static void a_task_is_scheduled_once(void **state)
{
	keep_collection found;

	(void)state;
	rows_out(session, 3, "sys", "system", NULL, NULL,
		 "{\"action\":\"schedule_task\",\"taskId\":\"t1\",\"prompt\":\"go\","
		 "\"processAfter\":\"2027-01-01T00:00:00.000Z\"}",
		 NULL);
	found = collect_at(NOW);
	assert_int_equal(found.count, 0);
	assert_int_equal(found.handled, 1);
	assert_string_equal(delivered("sys", "status"), "delivered");
	assert_inbound(2, "kind", "task");
	assert_int_equal(collect_at(NOW).handled, 0);
}

static void a_question_is_opened_before_it_is_answered(void **state)
{
	keep_collection found;

	(void)state;
	rows_out(session, 3, "q1", "chat-sdk", "telegram", "42",
		 "{\"type\":\"ask_question\",\"questionId\":\"q1\",\"question\":\"?\","
		 "\"options\":[\"yes\",\"no\"]}",
		 NULL);
	found = collect_at(NOW);
	assert_keys(&found, "q1");
	assert_string_equal(mailbox_sql(NULL, NULL, "SELECT question_id FROM pending_questions"),
			    "q1");
}

static void a_message_to_an_agent_is_posted_once(void **state)
{
	keep_collection found;

	(void)state;
	(void)mailbox_sql(NULL, NULL,
			  "INSERT INTO agent_groups (id, name, folder, created_at) VALUES "
			  "('bob', 'Bob', 'bob', '2026-01-01T00:00:00.000Z')");
	(void)mailbox_sql(NULL, NULL,
			  "INSERT INTO agent_destinations (agent_group_id, name, type, "
			  "target_agent_group_id) VALUES ('" MAILBOX_AGENT
			  "', 'bob', 'agent', 'bob')");
	rows_out(session, 3, "a2a", "chat", "agent", "bob", "{\"text\":\"hi\"}", NULL);
	found = collect_at(NOW);
	assert_int_equal(found.count, 0);
	assert_int_equal(found.handled, 1);
	assert_string_equal(delivered("a2a", "status"), "delivered");
	assert_int_equal(collect_at(NOW).handled, 0);
}

/* ---------------------------------------------------------------- files */

static void files_are_named_when_they_are_there(void **state)
{
	keep_collection found;
	char path[800];
	FILE *file;

	(void)state;
	rows_out(session, 3, "with", "chat", "telegram", "42", "{\"files\":[\"a.txt\",\"b\"]}",
		 NULL);
	rows_out(session, 5, "bad", "chat", "telegram", "42", "{\"files\":[\"../a.txt\"]}", NULL);
	rows_out(session, 7, "gone", "chat", "telegram", "42", "{\"files\":[\"c\"]}", NULL);
	rows_out(session, 9, "odd", "chat", "telegram", "42", "{\"files\":{\"a\":1}}", NULL);
	rows_out(session, 11, "none", "chat", "telegram", "42", "{\"files\":[]}", NULL);
	for (int i = 0; i < 4 && mailbox_is_file(); i++) {
		static const char *const names[] = {"", "/with", "/with/a.txt", "/with/b"};

		snprintf(path, sizeof path, "%s/outbox%s", mailbox_folder(session), names[i]);
		if (i < 2) {
			(void)mkdir(path, 0755);
			continue;
		}
		file = fopen(path, "w");
		assert_non_null(file);
		fclose(file);
	}
	found = collect_at(NOW);
	assert_keys(&found, mailbox_is_file() ? "with none" : "none");
	assert_int_equal(found.refused, mailbox_is_file() ? 3 : 4);
	if (mailbox_is_file()) {
		assert_int_equal(found.items[0].file_count, 2);
		assert_bytes_equal(found.items[0].files[1], KEEP_BYTES("b"));
	}
}

/* ---------------------------------------------------------------- threads, cost, bad input */

enum { THREADS = 6, SENT = 120 };

static void *collect_often(void *ctx)
{
	keep_collection *sum = ctx;

	for (int i = 0; i < 20; i++) {
		keep_memory own = KEEP_MEMORY_INIT;
		keep_error why = KEEP_ERROR_INIT;
		keep_collection found;

		if (keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, NOW, &own, &found,
					 &why) != KEEP_OK)
			sum->failed += 1000000;
		sum->completed += found.completed;
		sum->refused += found.refused;
		keep_memory_release(&own);
	}
	return NULL;
}

static void many_threads_collect_and_each_thing_is_taken_over_once(void **state)
{
	pthread_t threads[THREADS];
	keep_collection sums[THREADS];
	int64_t completed = 0, refused = 0, failed = 0;
	char id[20];

	(void)state;
	memset(sums, 0, sizeof sums);
	rows_many_completed(mailbox, session, SENT);
	for (int i = 0; i < SENT; i++) {
		snprintf(id, sizeof id, "m%d", i);
		rows_out(session, 1001 + 2 * i, id, i % 2 ? "chat" : "nonsense", "telegram", "42",
			 "{}", NULL);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, collect_often, &sums[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		completed += sums[i].completed;
		refused += sums[i].refused;
		failed += sums[i].failed;
	}
	assert_int_equal(failed, 0);
	assert_int_equal(completed, SENT);
	assert_int_equal(refused, SENT / 2);
}

static void a_collect_without_news_writes_nothing(void **state)
{
	struct stat before = {.st_size = 0}, after = {.st_size = 0};
	char path[700];

	(void)state;
	rows_out(session, 3, "one", "chat", "telegram", "42", "{}", NULL);
	(void)collect_at(NOW);
	snprintf(path, sizeof path, "%s/inbound.db-wal", mailbox_folder(session));
	if (mailbox_is_file())
		assert_int_equal(stat(path, &before), 0);
	assert_int_equal(collect_at(NOW).count, 1);
	if (mailbox_is_file())
		assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_size, after.st_size);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

static void bad_input_is_named(void **state)
{
	keep_collection out;

	(void)state;
	assert_int_equal(
		keep_mailbox_collect(mailbox, KEEP_BYTES("none"), 0, NOW, &memory, &out, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(
		keep_mailbox_collect(mailbox, KEEP_BYTES("../x"), 0, NOW, &memory, &out, &err),
		KEEP_INVALID);
	assert_int_equal(keep_mailbox_collect(mailbox, keep_bytes_of(session), 1001, NOW, &memory,
					      &out, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, INT64_MAX,
					      &memory, &out, &err),
			 KEEP_INVALID);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_an_agent_has_completed_is_completed_once),
		TEST(a_failed_message_is_due_again_five_times_and_then_failed),
		TEST(a_failure_that_was_counted_counts_no_more),
		TEST(claims_that_ran_out_without_the_host_count_too),
		TEST(a_completed_acknowledgement_stands_after_its_claim_was_given_up),
		TEST(an_agent_that_knows_only_the_sources_columns_is_understood),
		TEST(many_acknowledgements_are_all_taken_over),
		TEST(a_message_is_answered_until_its_delivery_begins),
		TEST(messages_come_in_the_order_of_their_numbers_up_to_the_limit),
		TEST(a_message_is_not_answered_before_its_time),
		TEST(messages_wait_for_an_earlier_one_to_the_same_address),
		TEST(what_has_no_permission_is_refused_and_the_agent_is_told),
		TEST(permission_is_asked_at_each_collect),
		TEST(a_cursor_that_begins_anew_delivers_nothing_twice),
		TEST(an_outbound_side_that_was_put_back_is_looked_at_anew),
		TEST(an_edit_finds_the_platforms_id_of_what_it_is_about),
		TEST(an_edit_waits_for_its_message_and_fails_with_it),
		TEST(an_operation_that_makes_no_sense_is_refused),
		TEST(a_system_row_that_is_not_ours_is_answered),
		TEST(a_task_is_scheduled_once),
		TEST(a_question_is_opened_before_it_is_answered),
		TEST(a_message_to_an_agent_is_posted_once),
		TEST(files_are_named_when_they_are_there),
		TEST(many_threads_collect_and_each_thing_is_taken_over_once),
		TEST(a_collect_without_news_writes_nothing),
		TEST(bad_input_is_named),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
