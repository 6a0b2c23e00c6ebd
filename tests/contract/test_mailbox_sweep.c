/*
 * test_mailbox_sweep.c - contracts/mailbox.md: what time alone changes, over all sessions.
 *
 *     test_mailbox_sweep sqlite|postgres
 *     test_mailbox_sweep sqlite|postgres claim PLACE      a process that claims and ends
 *     test_mailbox_sweep sqlite|postgres deliver URL SESSION KEY
 */
#include "mailbox_fixture.h"

#include "keep/schedule.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static int64_t the_time;

/* The real one: children have no other. */
static int64_t real_time(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t tell_time(void *ctx)
{
	(void)ctx;
	return the_time;
}

/* Everything of one test: a mailbox, a session and its agent. */
static keep_mailbox *mailbox;
static keep_agent *agent;
static char session[KEEP_SEGMENT_MAX + 1];
static keep_memory memory;
static keep_sweep swept;

static int begin(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	the_time = real_time();
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

static void sweep(void)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_sweep(mailbox, 0, KEEP_NOW, &memory, &swept, &err));
}

static keep_claimed claim(int64_t lease_ms)
{
	keep_claim_request request = {.max = 1, .lease_ms = lease_ms};
	keep_claim_list claims;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_agent_claim(agent, &request, KEEP_NOW, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	return claims.items[0];
}

static keep_collection collect(void)
{
	keep_collection collection;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, KEEP_NOW, &memory, &collection,
				&err));
	return collection;
}

static keep_inbound_message the_message(void)
{
	keep_inbound_message_list list;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_messages(mailbox, keep_bytes_of(session), (keep_bytes){.data = NULL}, 0, 0,
				 &memory, &list, &err));
	assert_true(list.count >= 1);
	return list.items[0];
}

static keep_session the_session(void)
{
	keep_session row;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_get_session(mailbox, keep_bytes_of(session), &memory, &row, &err));
	return row;
}

static void claim_and_answer(void)
{
	keep_claimed claimed = claim(0);
	keep_claim_ref ref = {claimed.message.id, claimed.attempt};
	keep_send reply = {.content = KEEP_BYTES("{\"text\":\"hi\"}")};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, NULL, &err));
}

/* SQL on a session's table; on a server `AND session_id = …` is added to what has a WHERE. */
static void change_session(const char *file, const char *sql)
{
	char text[600];

	snprintf(text, sizeof text, "%s%s%s%s", sql, mailbox_is_file() ? "" : " AND session_id = '",
		 mailbox_is_file() ? "" : session, mailbox_is_file() ? "" : "'");
	(void)mailbox_sql(session, file, text);
}

/* Run this program again with other arguments, until it ends well. */
static void run_other(const char *what, const char *place, const char *id, const char *key)
{
	pid_t child = fork();
	int status = 0;

	assert_true(child >= 0);
	if (child == 0) {
		execl(mailbox_program(), mailbox_program(), mailbox_kind(), what, place, id, key,
		      (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---------------------------------------------------------------- sleeping */

static void a_session_without_work_is_not_looked_at(void **state)
{
	(void)state;
	sweep();
	assert_int_equal(swept.looked_at, 0);
	assert_int_equal(swept.count, 0);
	assert_int_equal(swept.next_ms, 0);
	assert_false(swept.has_more);
}

static void a_message_that_nobody_takes_is_told_after_a_minute(void **state)
{
	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	sweep();
	assert_int_equal(swept.looked_at, 0);
	assert_int_equal(swept.next_ms, the_time + MINUTE);
	the_time += MINUTE;
	sweep();
	assert_int_equal(swept.looked_at, 1);
	assert_int_equal(swept.count, 1);
	assert_bytes_equal(swept.items[0].session, keep_bytes_of(session));
	assert_true(swept.items[0].has_input);
	assert_false(swept.items[0].has_output);
	assert_false(swept.items[0].is_stale);
	assert_int_equal(swept.items[0].status, KEEP_OK);
	assert_int_equal(swept.next_ms, the_time + MINUTE);
	/* It stays so until somebody takes it. */
	the_time += MINUTE;
	sweep();
	assert_true(swept.count == 1 && swept.items[0].has_input);
}

static void what_the_agent_said_is_told_until_it_is_collected(void **state)
{
	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	claim_and_answer();
	the_time += MINUTE;
	sweep();
	assert_int_equal(swept.count, 1);
	assert_true(swept.items[0].has_output);
	assert_false(swept.items[0].has_input);
	assert_int_equal(collect().count, 1);
	the_time += MINUTE;
	sweep();
	assert_true(swept.count == 1 && swept.items[0].has_output); /* it is due for delivery */
}

/* What there is, and it is so much. */
static void deliver(size_t count, keep_outcome outcome)
{
	keep_collection collection = collect();
	keep_error err = KEEP_ERROR_INIT;

	assert_int_equal(collection.count, count);
	for (size_t i = 0; i < count; i++) {
		keep_outcome_report report = {.session = keep_bytes_of(session),
					      .key = collection.items[i].key,
					      .outcome = outcome,
					      .platform_message_id = KEEP_BYTES("77"),
					      .error = KEEP_BYTES("away")};

		OK(keep_mailbox_begin_delivery(mailbox, report.session, report.key, 0, KEEP_NOW,
					       &report.attempt, &err));
		OK(keep_mailbox_complete_delivery(mailbox, &report, KEEP_NOW, &err));
	}
}

static void a_session_that_is_done_goes_to_sleep_and_a_post_wakes_it(void **state)
{
	keep_mailbox *other = mailbox_again();

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	(void)mailbox_post(other, session, "{}"); /* the other process knows of the mark, too */
	claim_and_answer();
	claim_and_answer();
	deliver(2, KEEP_OUTCOME_DELIVERED);
	assert_int_equal(collect().count, 0);
	the_time += 2 * MINUTE;
	sweep();
	assert_int_equal(swept.looked_at, 1);
	assert_int_equal(swept.count, 0);
	assert_int_equal(swept.next_ms, 0);
	assert_false(the_session().has_due_at);
	the_time += 2 * MINUTE;
	sweep();
	assert_int_equal(swept.looked_at, 0);
	(void)mailbox_post(other, session, "{}");
	assert_true(the_session().has_due_at);
	assert_int_equal(the_session().due_at, the_time + MINUTE);
	(void)mailbox_post(mailbox, session, "{}");
	assert_int_equal(the_session().due_at, the_time + MINUTE);
	keep_mailbox_close(&other);
}

static void a_task_of_tomorrow_is_looked_at_tomorrow(void **state)
{
	keep_post post = {.kind = KEEP_BYTES("task"),
			  .content = KEEP_BYTES("{}"),
			  .process_after = the_time + DAY};
	keep_post_result result;
	keep_error err = KEEP_ERROR_INIT;
	int64_t tomorrow = the_time + DAY;

	(void)state;
	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
	the_time += MINUTE;
	sweep();
	assert_int_equal(swept.count, 0);
	assert_int_equal(the_session().due_at, tomorrow);
	assert_int_equal(swept.next_ms, tomorrow);
	/* What comes meanwhile is looked at earlier. */
	(void)mailbox_post(mailbox, session, "{}");
	assert_int_equal(the_session().due_at, the_time + MINUTE);
	claim_and_answer();
	the_time = tomorrow;
	sweep();
	assert_true(swept.count == 1 && swept.items[0].has_input);
}

static void the_registry_knows_when_a_session_was_active_and_alive(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	the_time = (int64_t)time(NULL) * 1000; /* .heartbeat has the real clock */
	(void)mailbox_post(mailbox, session, "{}");
	OK(keep_agent_heartbeat(agent, KEEP_NOW, &err));
	the_time += MINUTE;
	sweep();
	assert_int_equal(the_session().last_active, the_time - MINUTE);
	assert_true(the_session().has_heartbeat_at);
	assert_in_range(the_session().heartbeat_at, the_time - 2 * MINUTE, the_time);
}

/* ---------------------------------------------------------------- claims */

static void a_claim_that_ran_out_is_retried_once(void **state)
{
	keep_claimed claimed;
	keep_claim_ref ref;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	claimed = claim(30000);
	ref = (keep_claim_ref){claimed.message.id, claimed.attempt};
	the_time += MINUTE;
	sweep();
	assert_int_equal(swept.expired_leases, 1);
	assert_int_equal(swept.retried, 1);
	assert_int_equal(swept.failed, 0);
	assert_int_equal(the_message().tries, 1);
	assert_int_equal(the_message().void_attempt, claimed.attempt);
	assert_int_equal(the_message().process_after, the_time + 5000);
	assert_int_equal(the_session().due_at, the_time + 5000);
	/* The claim is over, and is not counted again. */
	assert_int_equal(keep_agent_complete(agent, &ref, 1, KEEP_NOW, &err), KEEP_CONFLICT);
	the_time += 5000;
	sweep();
	assert_int_equal(swept.looked_at, 1);
	assert_int_equal(swept.expired_leases, 0);
	assert_true(swept.count == 1 && swept.items[0].has_input);
	assert_int_equal(the_message().tries, 1);
	assert_int_equal(claim(0).attempt, claimed.attempt + 1);
}

static void a_claim_that_stands_is_left_alone(void **state)
{
	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	(void)claim(10 * MINUTE);
	the_time += MINUTE;
	sweep();
	assert_int_equal(swept.looked_at, 1);
	assert_int_equal(swept.expired_leases, 0);
	assert_int_equal(swept.count, 0);
	assert_int_equal(the_session().due_at, the_time + MINUTE);
}

static void six_claims_that_ran_out_end_the_message(void **state)
{
	int64_t failed = 0;

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	for (int i = 0; i < 6; i++) {
		(void)claim(1000);
		the_time += 10 * MINUTE;
		sweep();
		assert_int_equal(swept.expired_leases, 1);
		failed += swept.failed;
		the_time += 10 * MINUTE;
	}
	assert_int_equal(failed, 1);
	assert_bytes_equal(the_message().status, KEEP_BYTES("failed"));
	assert_true(the_message().last_error.len > 0);
	sweep();
	assert_false(the_session().has_due_at);
}

static void a_claim_of_a_dead_process_is_retried_before_its_lease_is_over(void **state)
{
	keep_bytes place;
	keep_error err = KEEP_ERROR_INIT;
	char text[MAILBOX_URL_MAX + 200];

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	OK(keep_mailbox_session_place(mailbox, keep_bytes_of(session), &memory, &place, &err));
	snprintf(text, sizeof text, "%.*s", (int)place.len, place.data);
	run_other("claim", text, "", "");
	the_time = real_time();
	the_time += 2 * MINUTE;
	sweep();
	assert_int_equal(swept.expired_leases, 1);
	assert_int_equal(the_message().tries, 1);
	assert_true(strstr(the_message().last_error.data, "process is gone") != NULL);
}

static void a_claim_without_a_lease_is_over_after_ten_silent_minutes(void **state)
{
	keep_claimed claimed;

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	claimed = claim(0);
	(void)claimed;
	change_session("outbound.db", "UPDATE processing_ack SET owner = NULL, lease_until = NULL, "
				      "attempt = NULL, change = NULL WHERE status = 'processing'");
	the_time += 9 * MINUTE;
	sweep();
	assert_int_equal(swept.expired_leases, 0);
	the_time += 2 * MINUTE;
	sweep();
	assert_int_equal(swept.expired_leases, 1);
	assert_int_equal(the_message().tries, 1);
	/* The row stays until its program starts again: it is one failure, not one a sweep. */
	for (int i = 0; i < 3; i++) {
		the_time += 11 * MINUTE;
		sweep();
		assert_int_equal(swept.looked_at, 1);
		assert_int_equal(swept.expired_leases, 0);
		assert_true(swept.count == 1 && swept.items[0].has_input);
	}
	assert_int_equal(the_message().tries, 1);
}

static void an_agent_with_claims_and_no_sign_of_life_is_stale(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_mailbox_set_container(mailbox, keep_bytes_of(session), KEEP_BYTES("running"),
				      &err));
	(void)mailbox_post(mailbox, session, "{}");
	(void)claim(HOUR);
	the_time += 5 * MINUTE;
	sweep();
	assert_int_equal(swept.count, 0);
	the_time += 6 * MINUTE;
	sweep();
	assert_int_equal(swept.count, 1);
	assert_true(swept.items[0].is_stale);
	OK(keep_mailbox_set_container(mailbox, keep_bytes_of(session), KEEP_BYTES("stopped"),
				      &err));
	the_time += MINUTE;
	sweep();
	assert_int_equal(swept.count, 0);
}

/* ---------------------------------------------------------------- deliveries */

static keep_bytes answer_and_begin(int64_t lease_ms)
{
	keep_collection collection;
	keep_error err = KEEP_ERROR_INIT;

	(void)mailbox_post(mailbox, session, "{}");
	claim_and_answer();
	collection = collect();
	assert_int_equal(collection.count, 1);
	if (lease_ms)
		OK(keep_mailbox_begin_delivery(mailbox, keep_bytes_of(session),
					       collection.items[0].key, lease_ms, KEEP_NOW, NULL,
					       &err));
	return collection.items[0].key;
}

static keep_delivered_message the_delivery(void)
{
	keep_delivered_message_list list;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_deliveries(mailbox, keep_bytes_of(session), (keep_bytes){.data = NULL}, 0,
				   0, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	return list.items[0];
}

static void a_delivery_whose_lease_is_over_is_uncertain_once(void **state)
{
	keep_trace trace;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes key = answer_and_begin(30000);

	(void)state;
	the_time += 20000;
	sweep();
	assert_int_equal(swept.uncertain, 0);
	the_time += 40001;
	sweep();
	assert_int_equal(swept.uncertain, 1);
	assert_true(swept.count == 1 && swept.items[0].has_output);
	assert_bytes_equal(the_delivery().status, KEEP_BYTES("uncertain"));
	OK(keep_mailbox_trace(mailbox, keep_bytes_of(session), key, KEEP_NOW, &memory, &trace,
			      &err));
	assert_bytes_equal(trace.state, KEEP_BYTES("uncertain"));
	assert_bytes_equal(trace.steps[trace.count - 1].what, KEEP_BYTES("uncertain"));
	/* Nothing is left that time changes. */
	the_time += 5 * MINUTE;
	sweep();
	assert_int_equal(swept.looked_at, 0);
	assert_false(the_session().has_due_at);
	{
		keep_outcome_report report = {.session = keep_bytes_of(session),
					      .key = key,
					      .attempt = 1,
					      .outcome = KEEP_OUTCOME_DELIVERED};

		OK(keep_mailbox_complete_delivery(mailbox, &report, KEEP_NOW, &err));
	}
}

static void a_delivery_of_a_dead_process_is_uncertain_before_its_lease_is_over(void **state)
{
	keep_bytes key = answer_and_begin(0);
	char text[200];

	(void)state;
	snprintf(text, sizeof text, "%.*s", (int)key.len, key.data);
	run_other("deliver", mailbox_url(), session, text);
	the_time = real_time() + 2 * MINUTE;
	sweep();
	assert_int_equal(swept.uncertain, 1);
	assert_bytes_equal(the_delivery().status, KEEP_BYTES("uncertain"));
	assert_true(strstr(the_delivery().last_error.data, "process is gone") != NULL);
}

static void a_delivery_that_failed_is_told_when_it_is_due_again(void **state)
{
	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	claim_and_answer();
	deliver(1, KEEP_OUTCOME_FAILED);
	the_time += MINUTE;
	sweep();
	assert_int_equal(swept.looked_at, 1);
	assert_true(swept.count == 1 && swept.items[0].has_output);
}

/* ---------------------------------------------------------------- the registry */

static void a_question_past_its_time_is_answered_with_that(void **state)
{
	keep_pending_question_list questions;
	keep_error err = KEEP_ERROR_INIT;
	keep_sent sent;

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	claim_and_answer();
	OK(keep_agent_ask(agent, KEEP_BYTES("which?"), NULL, 0, (keep_bytes){.data = NULL},
			  KEEP_NOW, &sent, &err));
	assert_true(collect().count >= 1);
	OK(keep_mailbox_questions(mailbox, (keep_bytes){.data = NULL}, 0, &memory, &questions,
				  &err));
	assert_int_equal(questions.count, 1);
	the_time = questions.items[0].expires_at - 1;
	sweep();
	assert_int_equal(swept.expired_questions, 0);
	assert_true(swept.next_ms <= questions.items[0].expires_at);
	the_time += 2;
	sweep();
	assert_int_equal(swept.expired_questions, 1);
	OK(keep_mailbox_questions(mailbox, (keep_bytes){.data = NULL}, 0, &memory, &questions,
				  &err));
	assert_int_equal(questions.count, 0);
	sweep();
	assert_int_equal(swept.expired_questions, 0);
}

static void what_nobody_was_wired_to_is_forgotten_after_thirty_days(void **state)
{
	static const char added[] =
		"INSERT INTO unrouted_messages (channel_type, platform_id, content, first_at, "
		"last_at) VALUES ('telegram', '%s', '{}', '2026-01-01T00:00:00.000Z', '%s')";
	char sql[300];

	(void)state;
	the_time = INT64_C(1772323200000); /* 2026-03-01 */
	snprintf(sql, sizeof sql, added, "old", "2026-01-29T00:00:00.000Z");
	(void)mailbox_sql(NULL, NULL, sql);
	snprintf(sql, sizeof sql, added, "young", "2026-01-31T00:00:00.000Z");
	(void)mailbox_sql(NULL, NULL, sql);
	sweep();
	assert_string_equal(mailbox_sql(NULL, NULL, "SELECT platform_id FROM unrouted_messages"),
			    "young");
}

static void the_oldest_come_first_and_no_more_than_were_asked_for(void **state)
{
	char others[3][KEEP_SEGMENT_MAX + 1];
	keep_error err = KEEP_ERROR_INIT;
	static const char *const threads[] = {"a", "b", "c"};

	(void)state;
	for (int i = 0; i < 3; i++) {
		mailbox_session(mailbox, threads[i], others[i]);
		the_time += 1000;
		(void)mailbox_post(mailbox, others[i], "{}");
	}
	the_time += 2 * MINUTE;
	OK(keep_mailbox_sweep(mailbox, 2, KEEP_NOW, &memory, &swept, &err));
	assert_int_equal(swept.looked_at, 2);
	assert_true(swept.has_more);
	assert_int_equal(swept.next_ms, the_time);
	assert_bytes_equal(swept.items[0].session, keep_bytes_of(others[0]));
	assert_bytes_equal(swept.items[1].session, keep_bytes_of(others[1]));
	OK(keep_mailbox_sweep(mailbox, 2, KEEP_NOW, &memory, &swept, &err));
	assert_int_equal(swept.looked_at, 1);
	assert_false(swept.has_more);
	assert_bytes_equal(swept.items[0].session, keep_bytes_of(others[2]));
}

static void bad_input_is_refused(void **state)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *reader = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(keep_mailbox_sweep(mailbox, KEEP_MAILBOX_LIST_MAX + 1, KEEP_NOW, &memory,
					    &swept, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_mailbox_sweep(mailbox, 0, INT64_MAX, &memory, &swept, &err),
			 KEEP_INVALID);
	options.read_only = true;
	OK(mailbox_open_with(&options, &reader, &err));
	assert_int_equal(keep_mailbox_sweep(reader, 0, KEEP_NOW, &memory, &swept, &err),
			 KEEP_DENIED);
	keep_mailbox_close(&reader);
}

/* ---------------------------------------------------------------- troubles */

static void a_damaged_session_is_told_and_the_others_go_on(void **state)
{
	char other[KEEP_SEGMENT_MAX + 1], path[700];
	FILE *file;

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	the_time += 1000;
	mailbox_session(mailbox, "b", other);
	(void)mailbox_post(mailbox, other, "{}");
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	snprintf(path, sizeof path, "%s/outbound.db", mailbox_folder(session));
	file = fopen(path, "wb");
	for (int i = 0; i < 2000; i++)
		fputs("this is no database", file);
	fclose(file);
	mailbox = mailbox_again();
	the_time += 2 * MINUTE;
	sweep();
	assert_int_equal(swept.looked_at, 2);
	assert_int_equal(swept.count, 2);
	assert_bytes_equal(swept.items[0].session, keep_bytes_of(session));
	assert_int_equal(swept.items[0].status, KEEP_CORRUPT);
	assert_true(swept.items[0].error.len > 0);
	assert_int_equal(swept.items[1].status, KEEP_OK);
	assert_true(swept.items[1].has_input);
	/* It is put off, not asked again and again. */
	sweep();
	assert_int_equal(swept.looked_at, 0);
	assert_int_equal(the_session().due_at, the_time + 10 * MINUTE);
}

static void *sweep_often(void *ctx)
{
	keep_memory here = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_mailbox *host = mailbox_again();
	int64_t *expired = ctx;

	for (int i = 0; i < 20; i++) {
		keep_sweep found;

		OK(keep_mailbox_sweep(host, 0, KEEP_NOW, &here, &found, &err));
		*expired += found.expired_leases;
	}
	keep_mailbox_close(&host);
	keep_memory_release(&here);
	return NULL;
}

static void hosts_that_sweep_at_once_count_a_claim_once(void **state)
{
	pthread_t threads[4];
	int64_t expired[4] = {0};

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	(void)claim(1000);
	the_time += 2 * MINUTE;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sweep_often, &expired[i]), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(expired[0] + expired[1] + expired[2] + expired[3], 1);
	assert_int_equal(the_message().tries, 1);
}

static void *post_often(void *ctx)
{
	(void)ctx;
	for (int i = 0; i < 100; i++)
		(void)mailbox_post(mailbox, session, "{}");
	return NULL;
}

/* The time is past the marks all the while, so each sweep may take a mark away. */
static void a_post_beside_a_sweep_has_a_mark(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int round = 0; round < 5; round++) {
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, post_often, NULL), 0);
		for (int i = 0; i < 100; i++) {
			keep_claim_request request = {.max = 100};
			keep_claim_list claims;
			keep_claim_ref refs[100];

			OK(keep_agent_claim(agent, &request, KEEP_NOW, &memory, &claims, &err));
			for (size_t k = 0; k < claims.count; k++)
				refs[k] = (keep_claim_ref){claims.items[k].message.id,
							   claims.items[k].attempt};
			if (claims.count)
				OK(keep_agent_complete(agent, refs, claims.count, KEEP_NOW, &err));
			(void)collect();
			OK(keep_mailbox_sweep(mailbox, 0, the_time + 2 * MINUTE, &memory, &swept,
					      &err));
		}
		assert_int_equal(pthread_join(thread, NULL), 0);
		(void)mailbox_post(mailbox, session, "{}");
		assert_true(the_session().has_due_at);
		assert_true(the_session().due_at <= the_time + 3 * MINUTE);
	}
}

/* ---------------------------------------------------------------- other processes */

static int be_another(int argc, char **argv)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_memory here = KEEP_MEMORY_INIT;
	keep_status status;

	if (argc > 3 && strcmp(argv[2], "claim") == 0) {
		keep_claim_request request = {.max = 1, .lease_ms = HOUR};
		keep_agent *claimer = NULL;
		keep_claim_list claims = {.count = 0};

		status = keep_agent_open(argv[3], NULL, &claimer, &err);
		if (status == KEEP_OK)
			status = keep_agent_claim(claimer, &request, real_time(), &here, &claims,
						  &err);
		_exit(status == KEEP_OK && claims.count == 1 ? 0 : 3);
	}
	if (argc > 5 && strcmp(argv[2], "deliver") == 0) {
		keep_mailbox *host = NULL;

		status = keep_mailbox_open(argv[3], NULL, &host, &err);
		if (status == KEEP_OK)
			status = keep_mailbox_begin_delivery(host, keep_bytes_of(argv[4]),
							     keep_bytes_of(argv[5]), HOUR,
							     real_time(), NULL, &err);
		if (status != KEEP_OK)
			fprintf(stderr, "%s\n", err.message);
		_exit(status == KEEP_OK ? 0 : 3);
	}
	return 2;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_session_without_work_is_not_looked_at),
		TEST(a_message_that_nobody_takes_is_told_after_a_minute),
		TEST(what_the_agent_said_is_told_until_it_is_collected),
		TEST(a_session_that_is_done_goes_to_sleep_and_a_post_wakes_it),
		TEST(a_task_of_tomorrow_is_looked_at_tomorrow),
		TEST(the_registry_knows_when_a_session_was_active_and_alive),
		TEST(a_claim_that_ran_out_is_retried_once),
		TEST(a_claim_that_stands_is_left_alone),
		TEST(six_claims_that_ran_out_end_the_message),
		TEST(a_claim_of_a_dead_process_is_retried_before_its_lease_is_over),
		TEST(a_claim_without_a_lease_is_over_after_ten_silent_minutes),
		TEST(an_agent_with_claims_and_no_sign_of_life_is_stale),
		TEST(a_delivery_whose_lease_is_over_is_uncertain_once),
		TEST(a_delivery_of_a_dead_process_is_uncertain_before_its_lease_is_over),
		TEST(a_delivery_that_failed_is_told_when_it_is_due_again),
		TEST(a_question_past_its_time_is_answered_with_that),
		TEST(what_nobody_was_wired_to_is_forgotten_after_thirty_days),
		TEST(the_oldest_come_first_and_no_more_than_were_asked_for),
		TEST(bad_input_is_refused),
		TEST(hosts_that_sweep_at_once_count_a_claim_once),
		TEST(a_post_beside_a_sweep_has_a_mark),
	};
	const struct CMUnitTest of_files[] = {
		TEST(a_damaged_session_is_told_and_the_others_go_on),
	};
	int failed;

	if (argc > 2)
		return be_another(argc, argv);
	mailbox_begin(argc, argv);
	kp_clock_inject(tell_time, NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (mailbox_is_file())
		failed += cmocka_run_group_tests(of_files, NULL, NULL);
	mailbox_end();
	return failed;
}
