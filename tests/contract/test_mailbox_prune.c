/*
 * test_mailbox_prune.c - contracts/mailbox.md: what was finished long ago is removed on both sides.
 *
 *     test_mailbox_prune sqlite|postgres
 *     test_mailbox_prune prune URL SESSION      a process that may be killed
 */
#include "mailbox_fixture.h"

#include "keep/schedule.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LATER INT64_C(4000000000000)

static void assert_all_is_freed(void)
{
	keep_zone_forget();
	assert_nothing_lives();
}

static int count_rows(const char *session, const char *file, const char *table)
{
	char sql[120];

	snprintf(sql, sizeof sql, "SELECT CAST(count(*) AS text) FROM %s", table);
	return atoi(mailbox_sql(session, file, sql));
}

static bool is_there(const char *session, const char *name)
{
	char path[800];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", mailbox_folder(session), name);
	return lstat(path, &st) == 0;
}

/* One message there and one back, taken over and delivered; *id is the message's. */
static int64_t talk(keep_mailbox *mailbox, const char *session, bool with_file,
		    char id[KEEP_SEGMENT_MAX + 1])
{
	keep_file file = {KEEP_BYTES("a.txt"), KEEP_BYTES("hello")};
	keep_post post = {.content = KEEP_BYTES("{}"),
			  .channel_type = KEEP_BYTES("telegram"),
			  .platform_id = KEEP_BYTES("42"),
			  .files = &file,
			  .file_count = with_file && mailbox_is_file()};
	keep_send reply = {.content = KEEP_BYTES("{\"text\":\"hi\"}")};
	keep_bytes key = keep_bytes_of(session);
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent *agent = mailbox_agent(mailbox, session);
	keep_post_result result;
	keep_claim_list claims;
	keep_collection collection;
	keep_claim_ref ref;
	keep_sent sent;
	int64_t attempt = 0;

	OK(keep_mailbox_post(mailbox, key, &post, &result, &err));
	snprintf(id, KEEP_SEGMENT_MAX + 1, "%s", result.id);
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	ref = (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
	OK(keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err));
	keep_agent_close(&agent);
	OK(keep_mailbox_collect(mailbox, key, 0, KEEP_NOW, &memory, &collection, &err));
	assert_int_equal(collection.count, 1);
	OK(keep_mailbox_begin_delivery(mailbox, key, collection.items[0].key, 0, KEEP_NOW, &attempt,
				       &err));
	{
		keep_outcome_report report = {.session = key,
					      .key = collection.items[0].key,
					      .attempt = attempt,
					      .outcome = KEEP_OUTCOME_DELIVERED,
					      .platform_message_id = KEEP_BYTES("p1")};

		OK(keep_mailbox_complete_delivery(mailbox, &report, KEEP_NOW, &err));
	}
	keep_memory_release(&memory);
	return sent.seq;
}

static void what_is_finished_goes_on_both_sides_but_the_last_of_each(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], id[KEEP_SEGMENT_MAX + 1], first[KEEP_SEGMENT_MAX + 1];
	char path[300];
	keep_prune_result result;
	keep_agent *agent;
	int64_t last = 0;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	(void)talk(mailbox, session, true, first);
	for (int i = 0; i < 4; i++)
		last = talk(mailbox, session, false, id);
	snprintf(path, sizeof path, "inbox/%s", first);
	if (mailbox_is_file())
		assert_true(is_there(session, path));
	/* Nothing is that old. */
	OK(keep_mailbox_prune_session(mailbox, keep_bytes_of(session), 1000, 0, &result, &err));
	assert_int_equal(result.messages + result.deliveries + result.steps + result.folders, 0);
	assert_false(result.has_more);
	OK(keep_mailbox_prune_session(mailbox, keep_bytes_of(session), LATER, 2, &result, &err));
	assert_int_equal(result.messages, 2);
	assert_int_equal(result.deliveries, 2);
	assert_int_equal(result.folders, mailbox_is_file());
	assert_true(result.has_more);
	OK(keep_mailbox_prune_session(mailbox, keep_bytes_of(session), LATER, 0, &result, &err));
	assert_int_equal(result.messages, 2);
	assert_int_equal(result.deliveries, 2);
	assert_false(result.has_more);
	if (mailbox_is_file())
		assert_false(is_there(session, path));
	assert_int_equal(count_rows(session, "inbound.db", "messages_in"), 1);
	assert_int_equal(count_rows(session, "inbound.db", "delivered"), 1);
	assert_int_equal(count_rows(session, "outbound.db", "messages_out"), 5);
	agent = mailbox_agent(mailbox, session); /* the agent's side follows */
	keep_agent_close(&agent);
	assert_int_equal(count_rows(session, "outbound.db", "messages_out"), 1);
	assert_int_equal(count_rows(session, "outbound.db", "processing_ack"), 1);
	assert_true(talk(mailbox, session, false, id) > last);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void what_is_not_finished_stays(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], id[KEEP_SEGMENT_MAX + 1];
	keep_claim_request request = {.max = 2, .lease_ms = 600000};
	keep_prune_result result;
	keep_claim_list claims;
	keep_agent *agent;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	(void)talk(mailbox, session, false, id);
	for (int i = 0; i < 3; i++)
		(void)mailbox_post(mailbox, session, "{}");
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_claim(agent, &request, KEEP_NOW, &memory, &claims, &err));
	{
		keep_claim_ref ref = {claims.items[0].message.id, claims.items[0].attempt};
		keep_send reply = {.content = KEEP_BYTES("{\"text\":\"late\"}")};
		keep_sent sent;

		OK(keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err));
	}
	keep_agent_close(&agent);
	OK(keep_mailbox_prune_session(mailbox, keep_bytes_of(session), LATER, 0, &result, &err));
	assert_int_equal(result.messages, 1);
	assert_int_equal(result.deliveries, 0); /* the one there is is the last one */
	assert_int_equal(count_rows(session, "inbound.db", "messages_in"), 3);
	agent = mailbox_agent(mailbox, session);
	/* The reply was not taken over, the acknowledgements are of messages that are there. */
	assert_int_equal(count_rows(session, "outbound.db", "processing_ack"), 2);
	assert_int_equal(atoi(mailbox_sql(session, "outbound.db",
					  "SELECT CAST(max(seq) AS text) FROM messages_out")) > 3,
			 1);
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

/* Its first occurrence is over, and the message goes on. */
static void a_message_that_comes_again_is_not_pruned(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_send send = {.id = KEEP_BYTES("again"),
			  .content = KEEP_BYTES("{\"text\":\"hi\"}"),
			  .recurrence = KEEP_BYTES("0 * * * *")};
	keep_outcome_report report = {.key = KEEP_BYTES("again"),
				      .outcome = KEEP_OUTCOME_DELIVERED,
				      .platform_message_id = KEEP_BYTES("p1")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], id[KEEP_SEGMENT_MAX + 1];
	keep_prune_result result;
	keep_collection found;
	keep_agent *agent;
	keep_sent sent;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), KEEP_NOW, NULL, &err));
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	keep_agent_close(&agent);
	report.session = keep_bytes_of(session);
	OK(keep_mailbox_collect(mailbox, report.session, 0, KEEP_NOW, &memory, &found, &err));
	OK(keep_mailbox_begin_delivery(mailbox, report.session, report.key, 0, KEEP_NOW,
				       &report.attempt, &err));
	OK(keep_mailbox_complete_delivery(mailbox, &report, KEEP_NOW, &err));
	(void)talk(mailbox, session, false, id);
	OK(keep_mailbox_prune_session(mailbox, report.session, LATER, 0, &result, &err));
	assert_int_equal(result.deliveries, 0); /* the other one is the last, which stays */
	agent = mailbox_agent(mailbox, session);
	keep_agent_close(&agent);
	OK(keep_mailbox_collect(mailbox, report.session, 0, kp_clock_ms() + INT64_C(3600000),
				&memory, &found, &err));
	assert_int_equal(found.count, 1);
	assert_true(kp_bytes_equal(found.items[0].message.id, KEEP_BYTES("again")));
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void bad_pruning_is_refused(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1];
	keep_prune_result result;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	assert_int_equal(
		keep_mailbox_prune_session(mailbox, KEEP_BYTES("nobody"), 1, 0, &result, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(
		keep_mailbox_prune_session(mailbox, KEEP_BYTES("../x"), 1, 0, &result, &err),
		KEEP_INVALID);
	assert_int_equal(keep_mailbox_prune_session(mailbox, keep_bytes_of(session), 1, 1000000,
						    &result, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_mailbox_prune_session(mailbox, keep_bytes_of(session), INT64_MAX, 0,
						    &result, &err),
			 KEEP_INVALID);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static int run_child(const char *url, const char *session)
{
	keep_mailbox *mailbox = NULL;
	keep_prune_result result;

	if (keep_mailbox_open(url, NULL, &mailbox, NULL) != KEEP_OK)
		return 1;
	return keep_mailbox_prune_session(mailbox, keep_bytes_of(session), LATER, 0, &result,
					  NULL) != KEEP_OK;
}

static void a_kill_between_files_and_rows_leaves_rows_that_go_next_time(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], id[KEEP_SEGMENT_MAX + 1], url[MAILBOX_URL_MAX];
	keep_prune_result result;
	int status = 0;
	pid_t child;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	for (int i = 0; i < 3; i++)
		(void)talk(mailbox, session, true, id);
	keep_mailbox_close(&mailbox);
	snprintf(url, sizeof url, "%s", mailbox_url());
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		(void)setenv("KEEP_KILL_AT", "mailbox.prune_files:1", 1);
		(void)execl(mailbox_program(), mailbox_program(), "prune", url, session,
			    (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	mailbox = mailbox_again();
	assert_int_equal(count_rows(session, "inbound.db", "messages_in"), 3);
	OK(keep_mailbox_prune_session(mailbox, keep_bytes_of(session), LATER, 0, &result, &err));
	assert_int_equal(result.messages, 2);
	assert_int_equal(result.folders, 0);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_finished_goes_on_both_sides_but_the_last_of_each),
		cmocka_unit_test(what_is_not_finished_stays),
		cmocka_unit_test(a_message_that_comes_again_is_not_pruned),
		cmocka_unit_test(bad_pruning_is_refused),
		cmocka_unit_test(a_kill_between_files_and_rows_leaves_rows_that_go_next_time),
	};
	int failed;

	if (argc == 4 && strcmp(argv[1], "prune") == 0)
		return run_child(argv[2], argv[3]);
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
