/*
 * test_mailbox_trace.c - contracts/mailbox.md: where a message is, and every step it took.
 *
 *     test_mailbox_trace sqlite|postgres
 */
#include "mailbox_fixture.h"

#include "keep/schedule.h"

#include <unistd.h>

#define MINUTE INT64_C(60000)

static int64_t the_time;
static keep_mailbox *mailbox;
static keep_agent *agent;
static char session[KEEP_SEGMENT_MAX + 1];
static keep_memory memory;
static keep_trace trace;

static int64_t tell_time(void *ctx)
{
	(void)ctx;
	return the_time;
}

static int begin(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	the_time = INT64_C(1800000000000);
	memory = (keep_memory)KEEP_MEMORY_INIT;
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), KEEP_NOW, NULL, &err));
	agent = mailbox_agent(mailbox, session);
	return 0;
}

static int end(void **state)
{
	(void)state;
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
	return 0;
}

static void look(keep_bytes id)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_trace(mailbox, keep_bytes_of(session), id, KEEP_NOW, &memory, &trace,
			      &err));
	assert_bytes_equal(trace.session, keep_bytes_of(session));
	for (size_t i = 1; i < trace.count; i++)
		assert_true(trace.steps[i - 1].at <= trace.steps[i].at);
}

/* The steps' names, in their order, with a space between. */
static void assert_steps(const char *expected)
{
	char found[400] = "";

	for (size_t i = 0; i < trace.count; i++)
		snprintf(found + strlen(found), sizeof found - strlen(found), "%s%.*s",
			 i ? " " : "", (int)trace.steps[i].what.len, trace.steps[i].what.data);
	assert_string_equal(found, expected);
}

static void assert_state(const char *expected)
{
	assert_bytes_equal(trace.state, keep_bytes_of(expected));
}

static keep_bytes post(const char *dedup_key)
{
	keep_post message = {.content = KEEP_BYTES("{}"),
			     .channel_type = KEEP_BYTES("telegram"),
			     .platform_id = KEEP_BYTES("42"),
			     .dedup_key = keep_bytes_of(dedup_key)};
	keep_post_result result;
	keep_bytes id;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &message, &result, &err));
	OK(kp_arena_copy(&memory, keep_bytes_of(result.id), &id, &err));
	return id;
}

static keep_claim_ref claim(void)
{
	keep_claim_list claims;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	return (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
}

static keep_collection collect(void)
{
	keep_collection collection;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, KEEP_NOW, &memory, &collection,
				&err));
	return collection;
}

/* ---------------------------------------------------------------- to the agent */

static void a_message_is_followed_from_its_post_to_its_end(void **state)
{
	keep_bytes id = post(NULL);
	keep_claim_ref ref;
	keep_send reply = {.content = KEEP_BYTES("{\"text\":\"hi\"}")};
	keep_sent sent;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	look(id);
	assert_true(trace.is_inbound);
	assert_int_equal(trace.seq, 2);
	assert_bytes_equal(trace.id, id);
	assert_state("pending");
	assert_steps("posted");
	assert_int_equal(trace.steps[0].at, the_time);
	the_time += 1000;
	ref = claim();
	look(id);
	assert_state("processing");
	assert_steps("posted claimed");
	the_time += 2 * MINUTE;
	look(id);
	assert_state("expired");
	the_time -= MINUTE + 30000;
	OK(keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err));
	look(id);
	assert_state("acknowledged");
	assert_steps("posted acknowledged replied");
	assert_int_equal(trace.related_count, 1);
	assert_bytes_equal(trace.related[0], keep_bytes_of(sent.id));
	the_time += 1000;
	(void)collect();
	look(id);
	assert_state("completed");
	assert_true(trace.count >= 4);
	assert_bytes_equal(trace.steps[trace.count - 1].what, KEEP_BYTES("completed"));
}

static void a_failure_and_its_retry_are_told(void **state)
{
	keep_bytes id = post(NULL);
	keep_claim_ref ref = claim();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	the_time += 1000;
	OK(keep_agent_fail(agent, &ref, 1, KEEP_BYTES("no idea"), KEEP_NOW, &err));
	look(id);
	assert_state("acknowledged");
	assert_bytes_equal(trace.detail, KEEP_BYTES("failed"));
	(void)collect();
	look(id);
	assert_state("waiting");
	assert_true(strstr(trace.detail.data, "until ") != NULL);
	assert_true(trace.count >= 3);
	the_time += 5000;
	look(id);
	assert_state("pending");
	assert_bytes_equal(trace.detail, KEEP_BYTES("no idea"));
}

static void a_dedup_key_leads_to_its_newest_message(void **state)
{
	keep_bytes id = post("tg-7");

	(void)state;
	look(KEEP_BYTES("tg-7"));
	assert_bytes_equal(trace.id, id);
	assert_steps("posted");
}

/* ---------------------------------------------------------------- from the agent */

static void a_reply_is_followed_to_its_delivery(void **state)
{
	keep_bytes question = post(NULL), id;
	keep_claim_ref ref = claim();
	keep_send reply = {.content = KEEP_BYTES("{\"text\":\"hi\"}")};
	keep_sent sent;
	keep_outcome_report report = {.session = keep_bytes_of(session),
				      .outcome = KEEP_OUTCOME_FAILED,
				      .error = KEEP_BYTES("away")};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err));
	id = report.key = keep_bytes_of(sent.id);
	look(id);
	assert_false(trace.is_inbound);
	assert_int_equal(trace.seq, sent.seq);
	assert_state("written");
	assert_steps("written");
	assert_int_equal(trace.related_count, 1);
	assert_bytes_equal(trace.related[0], question);
	(void)collect();
	look(id);
	assert_state("due");
	the_time += 1000;
	OK(keep_mailbox_begin_delivery(mailbox, report.session, id, 0, KEEP_NOW, &report.attempt,
				       &err));
	look(id);
	assert_state("sending");
	the_time += 1000;
	OK(keep_mailbox_complete_delivery(mailbox, &report, KEEP_NOW, &err));
	look(id);
	assert_state("waiting");
	assert_steps("written sending delivery_failed");
	the_time += 5000;
	look(id);
	assert_state("due");
	assert_bytes_equal(trace.detail, KEEP_BYTES("away"));
	OK(keep_mailbox_begin_delivery(mailbox, report.session, id, 0, KEEP_NOW, &report.attempt,
				       &err));
	report.outcome = KEEP_OUTCOME_DELIVERED;
	report.platform_message_id = KEEP_BYTES("tg-99");
	report.error = (keep_bytes){.data = NULL};
	the_time += 1000;
	OK(keep_mailbox_complete_delivery(mailbox, &report, KEEP_NOW, &err));
	look(id);
	assert_state("delivered");
	assert_bytes_equal(trace.detail, KEEP_BYTES("tg-99"));
	assert_steps("written sending delivery_failed sending delivered");
}

/* ---------------------------------------------------------------- asking */

static void without_a_session_all_are_asked(void **state)
{
	char other[KEEP_SEGMENT_MAX + 1];
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes id;

	(void)state;
	for (int i = 0; i < 5; i++) {
		char thread[8];

		snprintf(thread, sizeof thread, "t%d", i);
		mailbox_session(mailbox, thread, other);
	}
	id = post("tg-8");
	OK(keep_mailbox_trace(mailbox, (keep_bytes){.data = NULL}, id, KEEP_NOW, &memory, &trace,
			      &err));
	assert_bytes_equal(trace.session, keep_bytes_of(session));
	assert_state("pending");
	OK(keep_mailbox_trace(mailbox, (keep_bytes){.data = NULL}, KEEP_BYTES("tg-8"), KEEP_NOW,
			      &memory, &trace, &err));
	assert_bytes_equal(trace.id, id);
}

static void what_is_not_there_and_bad_input_are_told(void **state)
{
	keep_bytes none = {.data = NULL};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(keep_mailbox_trace(mailbox, none, KEEP_BYTES("nobody"), KEEP_NOW, &memory,
					    &trace, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(trace.count, 0);
	assert_int_equal(keep_mailbox_trace(mailbox, keep_bytes_of(session), KEEP_BYTES("nobody"),
					    KEEP_NOW, &memory, &trace, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_trace(mailbox, KEEP_BYTES("gone"), KEEP_BYTES("x"), KEEP_NOW,
					    &memory, &trace, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_trace(mailbox, KEEP_BYTES("../x"), KEEP_BYTES("x"), KEEP_NOW,
					    &memory, &trace, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_mailbox_trace(mailbox, none, none, KEEP_NOW, &memory, &trace, &err),
			 KEEP_INVALID);
}

static void a_session_that_cannot_be_asked_hides_no_other(void **state)
{
	char path[700];
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes id, none = {.data = NULL};
	FILE *file;

	(void)state;
	keep_agent_close(&agent);
	snprintf(path, sizeof path, "%s/outbound.db", mailbox_folder(session));
	mailbox_session(mailbox, "fine", session);
	id = post(NULL);
	keep_mailbox_close(&mailbox);
	file = fopen(path, "wb");
	for (int i = 0; i < 2000; i++)
		fputs("this is no database", file);
	fclose(file);
	mailbox = mailbox_again();
	OK(keep_mailbox_trace(mailbox, none, id, KEEP_NOW, &memory, &trace, &err));
	assert_bytes_equal(trace.session, keep_bytes_of(session));
	assert_int_equal(keep_mailbox_trace(mailbox, none, KEEP_BYTES("nobody"), KEEP_NOW, &memory,
					    &trace, &err),
			 KEEP_CORRUPT);
}

static void garbage_of_the_agents_is_left_out(void **state)
{
	keep_bytes id = post(NULL);

	(void)state;
	(void)claim();
	(void)mailbox_sql(session, "outbound.db",
			  "UPDATE processing_ack SET status_changed = 'yesterday', owner = "
			  "char(10,13), lease_until = 'soon', attempt = 7");
	look(id);
	assert_state("processing");
	assert_int_equal(trace.steps[0].at, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_message_is_followed_from_its_post_to_its_end),
		TEST(a_failure_and_its_retry_are_told),
		TEST(a_dedup_key_leads_to_its_newest_message),
		TEST(a_reply_is_followed_to_its_delivery),
		TEST(without_a_session_all_are_asked),
		TEST(what_is_not_there_and_bad_input_are_told),
	};
	const struct CMUnitTest of_files[] = {
		TEST(a_session_that_cannot_be_asked_hides_no_other),
		TEST(garbage_of_the_agents_is_left_out),
	};
	int failed;

	mailbox_begin(argc, argv);
	kp_clock_inject(tell_time, NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (mailbox_is_file())
		failed += cmocka_run_group_tests(of_files, NULL, NULL);
	mailbox_end();
	return failed;
}
