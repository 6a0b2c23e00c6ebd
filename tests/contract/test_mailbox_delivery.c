/*
 * test_mailbox_delivery.c - contracts/mailbox.md, "Delivery": every step of it is on disk.
 *
 *     test_mailbox_delivery sqlite|postgres
 */
#include "mailbox_fixture.h"

#include "keep/schedule.h"

#include <sys/wait.h>
#include <unistd.h>

#define NOW INT64_C(1790000000000)
#define SECOND INT64_C(1000)

static keep_mailbox *mailbox;
static char session[KEEP_SEGMENT_MAX + 1];
static keep_agent *agent;

static keep_bytes own(void)
{
	return keep_bytes_of(session);
}

/* A message of the agent's with that id, taken over by the host. */
static void send_and_collect(const char *id, const char *recurrence)
{
	keep_send send = {.id = keep_bytes_of(id),
			  .content = KEEP_BYTES("{\"text\":\"hi\"}"),
			  .recurrence = recurrence ? keep_bytes_of(recurrence)
						   : (keep_bytes){.data = NULL}};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection found;
	keep_error err = KEEP_ERROR_INIT;
	keep_sent sent;

	OK(keep_agent_send(agent, &send, NOW, &sent, &err));
	OK(keep_mailbox_collect(mailbox, own(), 0, NOW, &memory, &found, &err));
	assert_true(found.count > 0);
	keep_memory_release(&memory);
}

static void open_all(void)
{
	keep_error err = KEEP_ERROR_INIT;

	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	OK(keep_mailbox_wake(mailbox, own(), NOW, NULL, &err));
	agent = mailbox_agent(mailbox, session);
}

static void close_all(void)
{
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static int64_t begin(const char *key, int64_t now_ms)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t attempt = 0;

	OK(keep_mailbox_begin_delivery(mailbox, own(), keep_bytes_of(key), 0, now_ms, &attempt,
				       &err));
	return attempt;
}

static keep_status report(const char *key, int64_t attempt, keep_outcome outcome, int64_t now_ms,
			  keep_error *err)
{
	keep_outcome_report given = {.session = own(),
				     .key = keep_bytes_of(key),
				     .attempt = attempt,
				     .outcome = outcome};

	if (outcome == KEEP_OUTCOME_DELIVERED)
		given.platform_message_id = KEEP_BYTES("tg-7");
	else
		given.error = KEEP_BYTES("the network is down");
	return keep_mailbox_complete_delivery(mailbox, &given, now_ms, err);
}

static keep_delivered_message look(const char *key, keep_memory *memory)
{
	keep_delivered_message_list list;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_deliveries(mailbox, own(), (keep_bytes){.data = NULL}, 0, 0, memory, &list,
				   &err));
	for (size_t i = 0; i < list.count; i++)
		if (kp_bytes_equal(list.items[i].message_out_id, keep_bytes_of(key)))
			return list.items[i];
	fail_msg("there is no delivery %s", key);
	return (keep_delivered_message){.seq = 0};
}

/* How many are due at that time. */
static size_t due(int64_t now_ms)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection found;
	keep_error err = KEEP_ERROR_INIT;
	size_t count;

	OK(keep_mailbox_collect(mailbox, own(), 0, now_ms, &memory, &found, &err));
	count = found.count;
	keep_memory_release(&memory);
	return count;
}

/* What the agent was told by the host, as a count of claimable system messages. */
static size_t remarks(int64_t now_ms, char *content, size_t size)
{
	keep_claim_request request = {.max = 10};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claim_list claims;
	keep_error err = KEEP_ERROR_INIT;
	size_t count;

	OK(keep_agent_claim(agent, &request, now_ms, &memory, &claims, &err));
	count = claims.count;
	if (count && content)
		snprintf(content, size, "%.*s", (int)claims.items[0].message.content.len,
			 claims.items[0].message.content.data);
	keep_memory_release(&memory);
	return count;
}

/* ---------------------------------------------------------------- tests */

static void a_delivery_is_sending_and_then_delivered(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_delivered_message row;

	(void)state;
	open_all();
	send_and_collect("out-1", NULL);
	assert_int_equal(begin("out-1", NOW), 1);
	row = look("out-1", &memory);
	assert_true(kp_bytes_equal(row.status, KEEP_BYTES("sending")));
	assert_true(row.has_next_attempt_at && row.next_attempt_at == NOW + 60 * SECOND);
	assert_int_equal(due(NOW), 0);
	OK(report("out-1", 1, KEEP_OUTCOME_DELIVERED, NOW + 1, &err));
	row = look("out-1", &memory);
	assert_true(kp_bytes_equal(row.status, KEEP_BYTES("delivered")));
	assert_true(kp_bytes_equal(row.platform_message_id, KEEP_BYTES("tg-7")));
	assert_true(row.has_delivered_at && row.delivered_at == NOW + 1);
	assert_int_equal(due(NOW + 1000 * SECOND), 0);
	assert_int_equal(remarks(NOW, NULL, 0), 0);
	keep_memory_release(&memory);
	close_all();
}

static void it_is_begun_once_and_reported_once(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	open_all();
	send_and_collect("out-1", NULL);
	(void)begin("out-1", NOW);
	assert_int_equal(keep_mailbox_begin_delivery(mailbox, own(), KEEP_BYTES("out-1"), 0, NOW,
						     NULL, &err),
			 KEEP_CONFLICT);
	OK(report("out-1", 1, KEEP_OUTCOME_DELIVERED, NOW, &err));
	OK(report("out-1", 1, KEEP_OUTCOME_DELIVERED, NOW, &err)); /* the same again */
	assert_int_equal(report("out-1", 1, KEEP_OUTCOME_FAILED, NOW, &err), KEEP_CONFLICT);
	assert_int_equal(report("out-1", 2, KEEP_OUTCOME_DELIVERED, NOW, &err), KEEP_CONFLICT);
	assert_int_equal(keep_mailbox_begin_delivery(mailbox, own(), KEEP_BYTES("out-1"), 0, NOW,
						     NULL, &err),
			 KEEP_CONFLICT);
	assert_int_equal(
		keep_mailbox_begin_delivery(mailbox, own(), KEEP_BYTES("none"), 0, NOW, NULL, &err),
		KEEP_NOT_FOUND);
	close_all();
}

static void failures_are_tried_again_after_5_15_45_120_and_300_seconds(void **state)
{
	static const int64_t seconds[] = {5, 15, 45, 120, 300};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int64_t now_ms = NOW;
	char remark[300];

	(void)state;
	open_all();
	send_and_collect("out-1", NULL);
	for (size_t i = 0; i < KP_COUNT(seconds); i++) {
		assert_int_equal(begin("out-1", now_ms), i + 1);
		OK(report("out-1", (int64_t)i + 1, KEEP_OUTCOME_FAILED, now_ms, &err));
		assert_int_equal(due(now_ms + seconds[i] * SECOND - 1), 0);
		now_ms += seconds[i] * SECOND;
		assert_int_equal(due(now_ms), 1);
		assert_int_equal(remarks(now_ms, NULL, 0), 0);
	}
	assert_int_equal(begin("out-1", now_ms), 6);
	OK(report("out-1", 6, KEEP_OUTCOME_FAILED, now_ms, &err));
	assert_int_equal(due(now_ms + 10000 * SECOND), 0);
	assert_true(kp_bytes_equal(look("out-1", &memory).status, KEEP_BYTES("failed")));
	assert_false(look("out-1", &memory).has_next_attempt_at);
	assert_int_equal(remarks(now_ms, remark, sizeof remark), 1);
	assert_non_null(strstr(remark, "\"type\":\"delivery_failed\""));
	assert_non_null(strstr(remark, "\"messageId\":\"out-1\""));
	assert_non_null(strstr(remark, "\"attempts\":6"));
	assert_non_null(strstr(remark, "the network is down"));
	keep_memory_release(&memory);
	close_all();
}

static void a_permanent_failure_is_told_at_once_and_may_be_tried_again_by_hand(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	open_all();
	send_and_collect("out-1", NULL);
	(void)begin("out-1", NOW);
	OK(report("out-1", 1, KEEP_OUTCOME_PERMANENT, NOW, &err));
	assert_int_equal(remarks(NOW, NULL, 0), 1);
	assert_int_equal(due(NOW + 10000 * SECOND), 0);
	OK(keep_mailbox_retry_delivery(mailbox, own(), KEEP_BYTES("out-1"), NOW, &err));
	assert_int_equal(due(NOW), 1);
	assert_int_equal(begin("out-1", NOW), 2);
	OK(report("out-1", 2, KEEP_OUTCOME_DELIVERED, NOW, &err));
	assert_int_equal(
		keep_mailbox_retry_delivery(mailbox, own(), KEEP_BYTES("out-1"), NOW, &err),
		KEEP_CONFLICT);
	close_all();
}

static void what_has_no_adapter_is_refused_and_never_delivered(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char remark[300];

	(void)state;
	open_all();
	send_and_collect("out-1", NULL);
	OK(keep_mailbox_refuse_delivery(mailbox, own(), KEEP_BYTES("out-1"),
					KEEP_BYTES("there is no adapter for telegram"), NOW, &err));
	OK(keep_mailbox_refuse_delivery(mailbox, own(), KEEP_BYTES("out-1"),
					KEEP_BYTES("there is no adapter for telegram"), NOW, &err));
	assert_true(kp_bytes_equal(look("out-1", &memory).status, KEEP_BYTES("refused")));
	assert_int_equal(due(NOW + 10000 * SECOND), 0);
	assert_int_equal(remarks(NOW, remark, sizeof remark), 1);
	assert_non_null(strstr(remark, "\"type\":\"delivery_refused\""));
	assert_int_equal(remarks(NOW, NULL, 0), 0);
	keep_memory_release(&memory);
	close_all();
}

/* A child begins a delivery and is gone. */
static void begin_in_a_child(const char *key)
{
	char url[MAILBOX_URL_MAX];
	pid_t child;
	int exit_status = 0;

	snprintf(url, sizeof url, "%s", mailbox_url()); /* a child would name another schema */
	child = fork();
	if (child == 0) {
		keep_mailbox *own_mailbox = NULL;
		keep_error err = KEEP_ERROR_INIT;
		keep_status status = keep_mailbox_open(url, NULL, &own_mailbox, &err);

		if (status == KEEP_OK)
			status = keep_mailbox_begin_delivery(own_mailbox, own(), keep_bytes_of(key),
							     0, NOW, NULL, NULL);
		_exit((int)status);
	}
	assert_int_equal(waitpid(child, &exit_status, 0), child);
	assert_int_equal(exit_status, 0);
}

static void what_was_cut_off_while_sending_is_uncertain_until_the_caller_resolves_it(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_sweep swept;

	(void)state;
	open_all();
	send_and_collect("out-1", NULL);
	send_and_collect("out-2", NULL);
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox); /* a child shares nothing with us */
	begin_in_a_child("out-1");
	begin_in_a_child("out-2");
	mailbox = mailbox_again();
	OK(keep_mailbox_sweep(mailbox, 0, NOW + 61 * SECOND, &memory, &swept, &err));
	assert_int_equal(swept.uncertain, 2);
	assert_true(kp_bytes_equal(look("out-1", &memory).status, KEEP_BYTES("uncertain")));
	assert_int_equal(due(NOW + 10000 * SECOND), 0);
	OK(report("out-1", 0, KEEP_OUTCOME_DELIVERED, NOW + 62 * SECOND, &err));
	assert_true(kp_bytes_equal(look("out-1", &memory).status, KEEP_BYTES("delivered")));
	OK(keep_mailbox_retry_delivery(mailbox, own(), KEEP_BYTES("out-2"), NOW + 62 * SECOND,
				       &err));
	assert_int_equal(begin("out-2", NOW + 62 * SECOND), 2);
	keep_memory_release(&memory);
	close_all();
}

static void a_message_that_comes_again_has_a_key_for_each_time(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection found;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	open_all();
	send_and_collect("out-1", "0 * * * *");
	(void)begin("out-1", NOW);
	OK(report("out-1", 1, KEEP_OUTCOME_DELIVERED, NOW, &err));
	OK(report("out-1", 1, KEEP_OUTCOME_DELIVERED, NOW, &err));
	assert_int_equal(due(NOW), 0);
	OK(keep_mailbox_collect(mailbox, own(), 0, NOW + 3600 * SECOND, &memory, &found, &err));
	assert_int_equal(found.count, 1);
	assert_true(kp_bytes_equal(found.items[0].message.id, KEEP_BYTES("out-1")));
	assert_true(found.items[0].key.len == strlen("out-1@2026-09-21T15:00:00.000Z"));
	assert_memory_equal(found.items[0].key.data, "out-1@", 6);
	keep_memory_release(&memory);
	close_all();
}

static void bad_reports_are_refused(void **state)
{
	keep_outcome_report given = {.outcome = KEEP_OUTCOME_FAILED};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	open_all();
	send_and_collect("out-1", NULL);
	given.session = own();
	given.key = KEEP_BYTES("out-1");
	given.attempt = 1;
	assert_int_equal(keep_mailbox_complete_delivery(mailbox, &given, NOW, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "error"));
	given.error = KEEP_BYTES("no");
	assert_int_equal(keep_mailbox_complete_delivery(mailbox, &given, NOW, &err), KEEP_CONFLICT);
	given.session = KEEP_BYTES("../x");
	assert_int_equal(keep_mailbox_complete_delivery(mailbox, &given, NOW, &err), KEEP_INVALID);
	given.session = KEEP_BYTES("nobody");
	assert_int_equal(keep_mailbox_complete_delivery(mailbox, &given, NOW, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_begin_delivery(mailbox, own(), KEEP_BYTES("out-1"), -1, NOW,
						     NULL, &err),
			 KEEP_INVALID);
	close_all();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_delivery_is_sending_and_then_delivered),
		cmocka_unit_test(it_is_begun_once_and_reported_once),
		cmocka_unit_test(failures_are_tried_again_after_5_15_45_120_and_300_seconds),
		cmocka_unit_test(
			a_permanent_failure_is_told_at_once_and_may_be_tried_again_by_hand),
		cmocka_unit_test(what_has_no_adapter_is_refused_and_never_delivered),
		cmocka_unit_test(
			what_was_cut_off_while_sending_is_uncertain_until_the_caller_resolves_it),
		cmocka_unit_test(a_message_that_comes_again_has_a_key_for_each_time),
		cmocka_unit_test(bad_reports_are_refused),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
