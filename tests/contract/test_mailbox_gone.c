/*
 * test_mailbox_gone.c - keep/mailbox.h: a session that is not there is NOT_FOUND, whatever is asked
 * of it; a store that went away under an open mailbox or agent is UNAVAILABLE.
 *
 *     test_mailbox_gone sqlite|postgres
 *
 * That the first holds for every function there is, tests/cli/test_cli_mailbox.py looks after.
 */
#include "mailbox_rows.h"

#include <unistd.h>

static keep_mailbox *mailbox;
static keep_memory memory;
static keep_error err = KEEP_ERROR_INIT;
static const keep_bytes nobody = {"nobody", 6}, none = {NULL, 0};

static int begin_test(void **state)
{
	(void)state;
	mailbox = mailbox_fresh();
	return 0;
}

static int end_test(void **state)
{
	(void)state;
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
	return 0;
}

#define MISSING(call) assert_int_equal(call, KEEP_NOT_FOUND)

static void what_is_read_of_a_session_that_is_not_there_is_not_found(void **state)
{
	keep_inbound_message_list messages;
	keep_delivered_message_list deliveries;
	keep_pending_question_list questions;
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_trace trace;
	keep_session session;
	keep_bytes place;
	char folder[64];

	(void)state;
	snprintf(folder, sizeof folder, "/tmp/keep-exported-%d", (int)getpid());
	MISSING(keep_mailbox_messages(mailbox, nobody, none, 0, 0, &memory, &messages, &err));
	MISSING(keep_mailbox_list_series(mailbox, nobody, 0, &memory, &messages, &err));
	MISSING(keep_mailbox_deliveries(mailbox, nobody, none, 0, 0, &memory, &deliveries, &err));
	assert_null(deliveries.items);
	assert_non_null(strstr(err.message, "'nobody'"));
	MISSING(keep_mailbox_questions(mailbox, nobody, 0, &memory, &questions, &err));
	MISSING(keep_mailbox_outbox_file(mailbox, nobody, KEEP_BYTES("m"), KEEP_BYTES("f"), &bytes,
					 &err));
	MISSING(keep_mailbox_trace(mailbox, nobody, KEEP_BYTES("m"), KEEP_NOW, &memory, &trace,
				   &err));
	MISSING(keep_mailbox_get_session(mailbox, nobody, &memory, &session, &err));
	MISSING(keep_mailbox_session_place(mailbox, nobody, &memory, &place, &err));
	MISSING(keep_mailbox_export_session(mailbox, nobody, folder, &err));
	assert_int_not_equal(access(folder, F_OK), 0);
	keep_buffer_release(&bytes);
}

static void what_is_done_to_a_session_that_is_not_there_is_not_found(void **state)
{
	keep_post post = {.content = KEEP_BYTES("{}")};
	keep_post_result result;
	keep_series_change change = {.content = KEEP_BYTES("{}")};
	keep_collection collection;
	keep_outcome_report report = {.session = nobody,
				      .key = KEEP_BYTES("k"),
				      .attempt = 1,
				      .platform_message_id = KEEP_BYTES("p")};
	keep_prune_result pruned;
	keep_bytes key = KEEP_BYTES("k");
	int64_t attempt;

	(void)state;
	MISSING(keep_mailbox_post(mailbox, nobody, &post, &result, &err));
	MISSING(keep_mailbox_post_many(mailbox, nobody, &post, 1, &result, &err));
	MISSING(keep_mailbox_cancel(mailbox, nobody, key, &err));
	MISSING(keep_mailbox_pause(mailbox, nobody, key, &err));
	MISSING(keep_mailbox_resume(mailbox, nobody, key, KEEP_NOW, &err));
	MISSING(keep_mailbox_update(mailbox, nobody, key, &change, KEEP_NOW, &err));
	MISSING(keep_mailbox_collect(mailbox, nobody, 0, KEEP_NOW, &memory, &collection, &err));
	MISSING(keep_mailbox_begin_delivery(mailbox, nobody, key, 0, KEEP_NOW, &attempt, &err));
	MISSING(keep_mailbox_complete_delivery(mailbox, &report, KEEP_NOW, &err));
	MISSING(keep_mailbox_refuse_delivery(mailbox, nobody, key, KEEP_BYTES("r"), KEEP_NOW,
					     &err));
	MISSING(keep_mailbox_retry_delivery(mailbox, nobody, key, KEEP_NOW, &err));
	MISSING(keep_mailbox_wake(mailbox, nobody, KEEP_NOW, NULL, &err));
	MISSING(keep_mailbox_refresh(mailbox, nobody, &err));
	MISSING(keep_mailbox_set_container(mailbox, nobody, KEEP_BYTES("idle"), &err));
	MISSING(keep_mailbox_prune_session(mailbox, nobody, 1, 0, &pruned, &err));
	MISSING(keep_mailbox_close_session(mailbox, nobody, KEEP_NOW, &err));
	MISSING(keep_mailbox_remove_session(mailbox, nobody, &err));
}

/* Behind the library's back: the registry's file, or the schema with all that is in it. Whoever has
   a file open can still read it; what is written to it would be lost. */
static void take_the_store_away(void)
{
	if (mailbox_is_file()) {
		char path[MAILBOX_URL_MAX + 20];

		snprintf(path, sizeof path, "%s/registry.db", strchr(mailbox_url(), ':') + 1);
		assert_int_equal(unlink(path), 0);
		return;
	}
	rows_run(NULL, NULL,
		 "SET client_min_messages = warning; DO $do$ BEGIN EXECUTE "
		 "format('DROP SCHEMA %I CASCADE', current_schema()); END $do$");
}

static void a_store_that_went_away_under_an_open_mailbox_is_unavailable(void **state)
{
	char session[KEEP_SEGMENT_MAX + 1];
	keep_session_list sessions;
	keep_delivered_message_list deliveries;
	keep_agent_group group = {
		.id = KEEP_BYTES("bea"), .name = KEEP_BYTES("Bea"), .folder = KEEP_BYTES("bea")};

	(void)state;
	mailbox_session(mailbox, NULL, session);
	take_the_store_away();
	if (!mailbox_is_file()) {
		assert_int_equal(keep_mailbox_list_sessions(mailbox, none, none, none, 0, &memory,
							    &sessions, &err),
				 KEEP_UNAVAILABLE);
		assert_non_null(strstr(err.message, "tables are gone"));
		assert_int_equal(keep_mailbox_deliveries(mailbox, keep_bytes_of(session), none, 0,
							 0, &memory, &deliveries, &err),
				 KEEP_UNAVAILABLE);
		assert_int_equal(keep_mailbox_export_session(mailbox, keep_bytes_of(session),
							     "/tmp/keep-never", &err),
				 KEEP_UNAVAILABLE);
	}
	assert_int_equal(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err),
			 KEEP_UNAVAILABLE);
	assert_int_equal(keep_mailbox_wake(mailbox, keep_bytes_of(session), KEEP_NOW, NULL, &err),
			 KEEP_UNAVAILABLE);
}

/* Files stay those of an agent that has them open, and are rebuilt by the host: nothing is gone. */
static void a_schema_dropped_under_an_open_agent_is_unavailable(void **state)
{
	char session[KEEP_SEGMENT_MAX + 1];
	keep_send send = {.kind = KEEP_BYTES("system"), .content = KEEP_BYTES("{}")};
	keep_session_destination_list destinations;
	keep_claim_request request = {.max = 1};
	keep_claim_list claims;
	keep_sent sent;
	keep_agent *agent;
	bool ready;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	take_the_store_away();
	assert_int_equal(keep_agent_destinations(agent, &memory, &destinations, &err),
			 KEEP_UNAVAILABLE);
	assert_int_equal(keep_agent_claim(agent, &request, KEEP_NOW, &memory, &claims, &err),
			 KEEP_UNAVAILABLE);
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_UNAVAILABLE);
	assert_int_equal(keep_agent_heartbeat(agent, KEEP_NOW, &err), KEEP_UNAVAILABLE);
	assert_int_equal(keep_agent_wait(agent, 1000, &ready, &err), KEEP_UNAVAILABLE);
	keep_agent_close(&agent);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_test, end_test)
	const struct CMUnitTest tests[] = {
		TEST(what_is_read_of_a_session_that_is_not_there_is_not_found),
		TEST(what_is_done_to_a_session_that_is_not_there_is_not_found),
		TEST(a_store_that_went_away_under_an_open_mailbox_is_unavailable),
	};
	const struct CMUnitTest of_servers[] = {
		TEST(a_schema_dropped_under_an_open_agent_is_unavailable),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (!mailbox_is_file())
		failed += cmocka_run_group_tests(of_servers, NULL, NULL);
	mailbox_end();
	return failed;
}
