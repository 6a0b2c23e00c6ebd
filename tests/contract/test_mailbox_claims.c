/*
 * test_mailbox_claims.c - contracts/mailbox.md: claims of messages, and what becomes of them.
 *
 *     test_mailbox_claims sqlite|postgres
 *
 * As test_mailbox_claims KIND ROLE PLACE it is another process of the agent's.
 */
#include "mailbox_fixture.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static keep_error err = KEEP_ERROR_INIT;
static keep_memory memory = KEEP_MEMORY_INIT;
static keep_mailbox *mailbox;
static keep_agent *agent;
static char session[KEEP_SEGMENT_MAX + 1];
static char place[MAILBOX_URL_MAX + 200];

static const int64_t noon = INT64_C(1900000000000);

static void begin(void)
{
	keep_bytes text;

	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	OK(keep_mailbox_session_place(mailbox, keep_bytes_of(session), &memory, &text, &err));
	snprintf(place, sizeof place, "%.*s", (int)text.len, text.data);
	agent = mailbox_agent(mailbox, session);
}

static void end(void)
{
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	keep_memory_release(&memory);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
}

static void post_kind(const char *id, const char *kind, int64_t process_after)
{
	keep_post post = {.id = keep_bytes_of(id),
			  .kind = keep_bytes_of(kind),
			  .content = KEEP_BYTES("{\"text\":\"hello\"}"),
			  .process_after = process_after,
			  .channel_type = KEEP_BYTES("telegram"),
			  .platform_id = KEEP_BYTES("42")};
	keep_post_result result;

	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
}

static void post(const char *id)
{
	post_kind(id, "chat", 0);
}

static keep_claim_list claim_by(keep_agent *claimer, size_t max, int64_t now_ms)
{
	keep_claim_request request = {.max = max, .lease_ms = 1000};
	keep_claim_list list;

	OK(keep_agent_claim(claimer, &request, now_ms, &memory, &list, &err));
	return list;
}

static keep_claim_ref one_of(const keep_claim_list *list)
{
	assert_int_equal(list->count, 1);
	return (keep_claim_ref){list->items[0].message.id, list->items[0].attempt};
}

static const char *ask_ack(const char *column, const char *id)
{
	char sql[200];

	snprintf(sql, sizeof sql, "SELECT %s || '' FROM processing_ack WHERE message_id = '%s'",
		 column, id);
	return mailbox_sql(session, "outbound.db", sql);
}

static void change_message(const char *id, const char *set)
{
	char sql[200];

	snprintf(sql, sizeof sql, "UPDATE messages_in SET %s WHERE id = '%s'", set, id);
	(void)mailbox_sql(session, "inbound.db", sql);
}

/* ---------------------------------------------------------------- one after the other */

static void claims_are_exclusive_and_in_the_order_of_numbers(void **state)
{
	keep_agent *other;
	keep_claim_list list;

	(void)state;
	begin();
	other = mailbox_agent(mailbox, session);
	post("a");
	post("b");
	post("c");
	list = claim_by(agent, 2, noon);
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].message.id, KEEP_BYTES("a"));
	assert_bytes_equal(list.items[1].message.id, KEEP_BYTES("b"));
	assert_int_equal(list.items[1].attempt, 1);
	assert_int_equal(list.items[1].lease_until, noon + 1000);
	list = claim_by(other, 2, noon);
	assert_bytes_equal(one_of(&list).id, KEEP_BYTES("c"));
	assert_int_equal(claim_by(agent, 2, noon).count, 0);
	keep_agent_close(&other);
	end();
}

static void who_wakes_after_its_lease_moved_on_changes_nothing(void **state)
{
	keep_send reply = {.content = KEEP_BYTES("{}")};
	keep_claim_list list;
	keep_claim_ref late, now;
	keep_agent *other;

	(void)state;
	begin();
	other = mailbox_agent(mailbox, session);
	post("a");
	list = claim_by(agent, 1, noon);
	late = one_of(&list);
	assert_int_equal(claim_by(other, 1, noon + 999).count, 0);
	list = claim_by(other, 1, noon + 1000);
	now = one_of(&list);
	assert_int_equal(now.attempt, 2);
	assert_int_equal(keep_agent_complete(agent, &late, 1, noon, &err), KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "'a'"));
	assert_int_equal(keep_agent_extend(agent, &late, 1, 5000, noon, &err), KEEP_CONFLICT);
	assert_int_equal(keep_agent_fail(agent, &late, 1, KEEP_BYTES("x"), noon, &err),
			 KEEP_CONFLICT);
	assert_int_equal(keep_agent_release(agent, &late, 1, noon, &err), KEEP_CONFLICT);
	assert_int_equal(keep_agent_complete_with(agent, &late, 1, &reply, 1, noon, NULL, &err),
			 KEEP_CONFLICT);
	late.attempt = 0;
	assert_int_equal(keep_agent_complete(agent, &late, 1, noon, &err), KEEP_CONFLICT);
	assert_string_equal(
		mailbox_sql(session, "outbound.db", "SELECT count(*) || '' FROM messages_out"),
		"0");
	OK(keep_agent_complete(other, &now, 1, noon, &err));
	assert_string_equal(ask_ack("expired", "a"), "1");
	keep_agent_close(&other);
	end();
}

static void an_extended_lease_lasts_and_one_that_nobody_took_still_completes(void **state)
{
	keep_claim_list list;
	keep_claim_ref claim;

	(void)state;
	begin();
	post("a");
	list = claim_by(agent, 1, noon);
	claim = one_of(&list);
	OK(keep_agent_extend(agent, &claim, 1, 5000, noon + 900, &err));
	assert_int_equal(claim_by(agent, 1, noon + 5899).count, 0);
	OK(keep_agent_complete(agent, &claim, 1, noon + 9000, &err));
	assert_int_equal(claim_by(agent, 1, noon + 9000).count, 0);
	assert_string_equal(ask_ack("status", "a"), "completed");
	end();
}

static void completing_again_is_fine_for_who_completed(void **state)
{
	keep_claim_list list;
	keep_claim_ref claim;
	keep_agent *other;

	(void)state;
	begin();
	other = mailbox_agent(mailbox, session);
	post("a");
	list = claim_by(agent, 1, noon);
	claim = one_of(&list);
	OK(keep_agent_complete(agent, &claim, 1, noon, &err));
	{
		char change[40];

		snprintf(change, sizeof change, "%s", ask_ack("change", "a"));
		OK(keep_agent_complete(agent, &claim, 1, noon + 1, &err));
		assert_string_equal(ask_ack("change", "a"), change);
	}
	assert_int_equal(keep_agent_complete(other, &claim, 1, noon, &err), KEEP_CONFLICT);
	assert_int_equal(keep_agent_fail(agent, &claim, 1, KEEP_BYTES("x"), noon, &err),
			 KEEP_CONFLICT);
	claim.attempt = 7;
	assert_int_equal(keep_agent_complete(agent, &claim, 1, noon, &err), KEEP_CONFLICT);
	keep_agent_close(&other);
	end();
}

static void what_failed_is_claimed_again_when_the_host_says_so(void **state)
{
	keep_claim_list list;
	keep_claim_ref claim;

	(void)state;
	begin();
	post("a");
	list = claim_by(agent, 1, noon);
	claim = one_of(&list);
	OK(keep_agent_fail(agent, &claim, 1, KEEP_BYTES("no model"), noon, &err));
	OK(keep_agent_fail(agent, &claim, 1, KEEP_BYTES("no model"), noon, &err));
	assert_string_equal(ask_ack("error", "a"), "no model");
	assert_int_equal(claim_by(agent, 1, noon + 100000).count, 0);
	change_message("a", "void_attempt = 1, tries = 1");
	list = claim_by(agent, 1, noon + 100000);
	assert_int_equal(one_of(&list).attempt, 2);
	assert_string_equal(ask_ack("expired", "a"), "0");
	assert_string_equal(ask_ack("COALESCE(error, 'none')", "a"), "none");
	end();
}

static void what_is_given_back_is_free_at_once_and_counts_for_nothing(void **state)
{
	keep_claim_list list;
	keep_claim_ref claim;

	(void)state;
	begin();
	post("a");
	for (int i = 1; i <= 8; i++) {
		list = claim_by(agent, 1, noon);
		claim = one_of(&list);
		assert_int_equal(claim.attempt, i);
		OK(keep_agent_release(agent, &claim, 1, noon, &err));
		assert_int_equal(keep_agent_complete(agent, &claim, 1, noon, &err), KEEP_CONFLICT);
		assert_string_equal(ask_ack("expired", "a"), "0");
		assert_string_equal(ask_ack("owner", "a"), "");
	}
	end();
}

static void a_claim_that_ran_out_five_times_waits_for_the_host(void **state)
{
	int64_t now_ms = noon;
	keep_claim_list list;

	(void)state;
	begin();
	post("a");
	for (int i = 1; i <= 6; i++, now_ms += 1000) {
		list = claim_by(agent, 1, now_ms);
		assert_int_equal(one_of(&list).attempt, i);
	}
	assert_string_equal(ask_ack("expired", "a"), "5");
	assert_int_equal(claim_by(agent, 1, now_ms).count, 0);
	change_message("a", "void_attempt = 6, tries = 5");
	list = claim_by(agent, 1, now_ms);
	assert_int_equal(one_of(&list).attempt, 7);
	assert_int_equal(claim_by(agent, 1, now_ms + 1000).count, 0); /* the sixth failure */
	end();
}

static void what_the_host_ended_is_not_completed(void **state)
{
	static const struct {
		const char *set;
		keep_status status;
		const char *word;
	} cases[] = {
		{"status = 'cancelled'", KEEP_CONFLICT, "cancelled"},
		{"status = 'failed'", KEEP_CONFLICT, "failed"},
		{"void_attempt = 1", KEEP_CONFLICT, "attempt 1"},
		{"status = 'paused'", KEEP_OK, ""},
	};

	(void)state;
	begin();
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		char id[8];
		keep_claim_list list;
		keep_claim_ref claim;

		snprintf(id, sizeof id, "m%zu", i);
		post(id);
		list = claim_by(agent, 1, noon);
		claim = one_of(&list);
		assert_bytes_equal(claim.id, keep_bytes_of(id));
		change_message(id, cases[i].set);
		assert_int_equal(keep_agent_complete(agent, &claim, 1, noon, &err),
				 cases[i].status);
		if (cases[i].status != KEEP_OK)
			assert_non_null(strstr(err.message, cases[i].word));
		change_message(id, "status = 'completed'");
	}
	end();
}

static void all_claims_of_a_call_or_none(void **state)
{
	keep_claim_list list;
	keep_claim_ref claims[3];

	(void)state;
	begin();
	post("a");
	post("b");
	post("c");
	list = claim_by(agent, 3, noon);
	for (size_t i = 0; i < 3; i++)
		claims[i] = (keep_claim_ref){list.items[i].message.id, list.items[i].attempt};
	claims[2].attempt = 9;
	assert_int_equal(keep_agent_complete(agent, claims, 3, noon, &err), KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "'c'"));
	assert_int_equal(keep_agent_release(agent, claims, 3, noon, &err), KEEP_CONFLICT);
	assert_int_equal(keep_agent_extend(agent, claims, 3, 90000, noon, &err), KEEP_CONFLICT);
	assert_string_equal(
		mailbox_sql(session, "outbound.db",
			    "SELECT count(*) || '' FROM processing_ack WHERE status = 'processing' "
			    "AND owner <> ''"),
		"3");
	assert_int_equal(claim_by(agent, 3, noon + 1000).count, 3); /* nothing was extended */
	end();
}

/* ---------------------------------------------------------------- which ones */

static void what_has_a_time_is_claimed_when_it_comes(void **state)
{
	keep_claim_list list;

	(void)state;
	begin();
	post_kind("later", "task", noon + 10);
	assert_int_equal(claim_by(agent, 5, noon + 9).count, 0);
	post("b");
	list = claim_by(agent, 5, noon + 10);
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].message.id, KEEP_BYTES("later"));
	assert_bytes_equal(list.items[1].message.id, KEEP_BYTES("b"));
	end();
}

static void post_many(const char *kind, int count)
{
	static keep_post posts[KEEP_MAILBOX_LIST_MAX];
	static keep_post_result results[KEEP_MAILBOX_LIST_MAX];

	for (int i = 0; i < count; i++)
		posts[i] = (keep_post){.kind = keep_bytes_of(kind),
				       .content = KEEP_BYTES("{}"),
				       .channel_type = KEEP_BYTES("telegram"),
				       .platform_id = KEEP_BYTES("42")};
	OK(keep_mailbox_post_many(mailbox, keep_bytes_of(session), posts, (size_t)count, results,
				  &err));
}

static void system_rows_come_last_and_unwanted_kinds_hide_nothing(void **state)
{
	keep_bytes wanted[] = {KEEP_BYTES("webhook"), KEEP_BYTES("chat")};
	keep_claim_request request = {.max = 3, .kinds = wanted, .kind_count = 2};
	keep_claim_list list;

	(void)state;
	begin();
	for (int i = 0; i < 3; i++) {
		post_many("system", KEEP_MAILBOX_LIST_MAX);
		post_many("task", KEEP_MAILBOX_LIST_MAX);
	}
	post("a");
	post_kind("w", "webhook", 0);
	OK(keep_agent_claim(agent, &request, noon, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].message.id, KEEP_BYTES("a"));
	assert_bytes_equal(list.items[1].message.id, KEEP_BYTES("w"));
	for (int i = 0; i < 30; i++) { /* 3,000 tasks first, then system */
		list = claim_by(agent, 100, noon);
		assert_int_equal(list.count, 100);
		assert_bytes_equal(list.items[0].message.kind, KEEP_BYTES("task"));
		assert_bytes_equal(list.items[99].message.kind, KEEP_BYTES("task"));
	}
	post("z");
	list = claim_by(agent, 2, noon);
	assert_bytes_equal(list.items[0].message.id, KEEP_BYTES("z"));
	assert_bytes_equal(list.items[1].message.kind, KEEP_BYTES("system"));
	end();
}

static void with_room_for_all_system_rows_come_behind_and_nothing_is_mixed_up(void **state)
{
	static const char *const order[] = {"a", "w", "b", "s1", "s2"};
	keep_claim_list list;

	(void)state;
	begin();
	post_kind("s1", "system", 0);
	post("a");
	post_kind("w", "webhook", 0);
	post_kind("s2", "system", 0);
	post("b");
	list = claim_by(agent, 2, noon);
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].message.id, KEEP_BYTES("a"));
	assert_bytes_equal(list.items[1].message.id, KEEP_BYTES("w"));
	list = claim_by(agent, 100, noon + 2000); /* two of them a second time */
	assert_int_equal(list.count, 5);
	for (int i = 0; i < 5; i++) {
		const char *expired = i < 2 ? "1" : "0";

		assert_bytes_equal(list.items[i].message.id, keep_bytes_of(order[i]));
		assert_int_equal(list.items[i].attempt, i < 2 ? 2 : 1);
		assert_string_equal(ask_ack("expired", order[i]), expired);
	}
	end();
}

static void what_a_wait_found_and_another_one_took_is_not_claimed_again(void **state)
{
	keep_agent *other;
	keep_claim_list list;
	bool ready = false;

	(void)state;
	begin();
	other = mailbox_agent(mailbox, session);
	post("a");
	OK(keep_agent_wait(agent, 0, &ready, &err));
	assert_true(ready);
	list = claim_by(other, 1, noon);
	assert_bytes_equal(one_of(&list).id, KEEP_BYTES("a"));
	assert_int_equal(claim_by(agent, 1, noon).count, 0);
	assert_string_equal(ask_ack("change", "a"), "1");
	post("b");
	OK(keep_agent_wait(agent, 0, &ready, &err));
	list = claim_by(agent, 2, noon);
	assert_bytes_equal(one_of(&list).id, KEEP_BYTES("b"));
	keep_agent_close(&other);
	end();
}

static void bad_requests_are_refused(void **state)
{
	static char long_id[KEEP_MAILBOX_TEXT_MAX + 2];
	keep_bytes unknown[] = {KEEP_BYTES("letter")};
	keep_claim_request requests[] = {{.max = KEEP_CLAIM_MAX + 1},
					 {.lease_ms = -1},
					 {.lease_ms = INT64_MAX},
					 {.kinds = unknown, .kind_count = 1}};
	keep_claim_ref claims[] = {{{"", 0}, 1},
				   {{.data = NULL}, 1},
				   {KEEP_BYTES("a"), -1},
				   {{long_id, sizeof long_id - 1}, 1},
				   {KEEP_BYTES("a\nb"), 1}};
	keep_claim_ref twice[] = {{KEEP_BYTES("a"), 1}, {KEEP_BYTES("a"), 1}};
	keep_claim_list list;

	(void)state;
	begin();
	memset(long_id, 'x', sizeof long_id - 1);
	for (size_t i = 0; i < KP_COUNT(requests); i++)
		assert_int_equal(keep_agent_claim(agent, &requests[i], noon, &memory, &list, &err),
				 KEEP_INVALID);
	for (size_t i = 0; i < KP_COUNT(claims); i++)
		assert_int_equal(keep_agent_complete(agent, &claims[i], 1, noon, &err),
				 KEEP_INVALID);
	assert_int_equal(keep_agent_complete(agent, claims, 0, noon, &err), KEEP_INVALID);
	assert_int_equal(keep_agent_complete(agent, twice, 2, noon, &err), KEEP_INVALID);
	assert_int_equal(keep_agent_extend(agent, twice, 1, -1, noon, &err), KEEP_INVALID);
	assert_int_equal(keep_agent_fail(agent, twice, 1, (keep_bytes){long_id, sizeof long_id - 1},
					 noon, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_agent_complete(agent, twice, 1, noon, &err), KEEP_CONFLICT);
	assert_int_equal(keep_agent_complete(agent, twice, 1, INT64_MAX, &err), KEEP_INVALID);
	end();
}

/* ---------------------------------------------------------------- other processes */

static pid_t start(const char *role)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		execl(mailbox_program(), mailbox_program(), mailbox_kind(), role, place,
		      (char *)NULL);
		_exit(99);
	}
	return child;
}

static void finish(pid_t child)
{
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a process ended with %d", status);
}

static void claims_of_a_process_that_is_gone_are_taken_when_nothing_else_is_there(void **state)
{
	keep_claim_list list;

	(void)state;
	begin();
	post("a");
	finish(start("claim-and-die"));
	post("b");
	list = claim_by(agent, 1, KEEP_NOW);
	assert_bytes_equal(one_of(&list).id, KEEP_BYTES("b"));
	list = claim_by(agent, 1, KEEP_NOW);
	assert_bytes_equal(one_of(&list).id, KEEP_BYTES("a"));
	assert_int_equal(one_of(&list).attempt, 2);
	end();
}

static void a_second_process_takes_nothing_from_the_first(void **state)
{
	keep_claim_list list;
	keep_claim_ref claim;

	(void)state;
	begin();
	post("a");
	list = claim_by(agent, 1, KEEP_NOW);
	claim = one_of(&list);
	OK(keep_agent_extend(agent, &claim, 1, 3600000, KEEP_NOW, &err));
	finish(start("finds-nothing"));
	OK(keep_agent_complete(agent, &claim, 1, KEEP_NOW, &err));
	end();
}

static void a_lasting_claim_outlives_its_process_and_is_completed_by_its_attempt(void **state)
{
	keep_claim_ref claim = {KEEP_BYTES("a"), 2};

	(void)state;
	begin();
	post("a");
	finish(start("claim-lasting"));
	assert_int_equal(claim_by(agent, 1, KEEP_NOW).count, 0);
	assert_int_equal(keep_agent_complete(agent, &claim, 1, KEEP_NOW, &err), KEEP_CONFLICT);
	claim.attempt = 1;
	OK(keep_agent_complete(agent, &claim, 1, KEEP_NOW, &err));
	claim.attempt = 0;
	OK(keep_agent_complete(agent, &claim, 1, KEEP_NOW, &err));
	end();
}

enum { CROWD = 4, THREADS = 4, WORK = 240 };

static void *work(void *ctx)
{
	keep_agent *worker = ctx;
	keep_error why = KEEP_ERROR_INIT;

	for (;;) {
		keep_claim_request request = {.max = 3};
		keep_send reply = {.content = KEEP_BYTES("{\"text\":\"done\"}")};
		keep_memory mine = KEEP_MEMORY_INIT;
		keep_claim_list list;
		keep_status status =
			keep_agent_claim(worker, &request, KEEP_NOW, &mine, &list, &why);
		size_t count = status == KEEP_OK ? list.count : 0;

		for (size_t i = 0; i < count && status == KEEP_OK; i++) {
			keep_claim_ref claim = {list.items[i].message.id, list.items[i].attempt};

			status = keep_agent_complete_with(worker, &claim, 1, &reply, 1, KEEP_NOW,
							  NULL, &why);
		}
		keep_memory_release(&mine);
		if (status != KEEP_OK) {
			fprintf(stderr, "%s\n", why.message);
			return ctx;
		}
		if (!count)
			return NULL;
	}
}

static void sixteen_threads_in_four_processes_claim_each_message_once(void **state)
{
	pid_t children[CROWD];

	(void)state;
	begin();
	post_many("chat", WORK);
	for (int i = 0; i < CROWD; i++)
		children[i] = start("work");
	for (int i = 0; i < CROWD; i++)
		finish(children[i]);
	assert_string_equal(
		mailbox_sql(session, "outbound.db",
			    "SELECT count(*) || ' ' || count(DISTINCT in_reply_to) || ' ' || "
			    "count(DISTINCT seq) FROM messages_out"),
		"240 240 240");
	assert_string_equal(mailbox_sql(session, "outbound.db",
					"SELECT count(*) || ' ' || max(attempt) || ' ' || "
					"count(DISTINCT change) FROM processing_ack WHERE status "
					"= 'completed'"),
			    "240 1 240");
	end();
}

static int be_another_process(const char *role)
{
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	keep_claim_request request = {.lease_ms = 3600000};
	keep_claim_list list;
	bool finds = strcmp(role, "finds-nothing") != 0;

	options.timeout_ms = 30000;
	options.lasting_leases = strcmp(role, "claim-lasting") == 0;
	if (keep_agent_open(place, &options, &agent, &err) != KEEP_OK) {
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	if (strcmp(role, "work") == 0) {
		pthread_t threads[THREADS];
		void *bad, *all = NULL;

		for (int i = 0; i < THREADS; i++)
			if (pthread_create(&threads[i], NULL, work, agent) != 0)
				return 1;
		for (int i = 0; i < THREADS; i++) {
			pthread_join(threads[i], &bad);
			all = bad ? bad : all;
		}
		keep_agent_close(&agent);
		return all ? 1 : 0;
	}
	if (keep_agent_claim(agent, &request, KEEP_NOW, &memory, &list, &err) != KEEP_OK)
		return 1;
	_exit(list.count == (finds ? 1 : 0) ? 0 : 2); /* without closing anything */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(claims_are_exclusive_and_in_the_order_of_numbers),
		cmocka_unit_test(who_wakes_after_its_lease_moved_on_changes_nothing),
		cmocka_unit_test(an_extended_lease_lasts_and_one_that_nobody_took_still_completes),
		cmocka_unit_test(completing_again_is_fine_for_who_completed),
		cmocka_unit_test(what_failed_is_claimed_again_when_the_host_says_so),
		cmocka_unit_test(what_is_given_back_is_free_at_once_and_counts_for_nothing),
		cmocka_unit_test(a_claim_that_ran_out_five_times_waits_for_the_host),
		cmocka_unit_test(what_the_host_ended_is_not_completed),
		cmocka_unit_test(all_claims_of_a_call_or_none),
		cmocka_unit_test(what_has_a_time_is_claimed_when_it_comes),
		cmocka_unit_test(system_rows_come_last_and_unwanted_kinds_hide_nothing),
		cmocka_unit_test(
			with_room_for_all_system_rows_come_behind_and_nothing_is_mixed_up),
		cmocka_unit_test(what_a_wait_found_and_another_one_took_is_not_claimed_again),
		cmocka_unit_test(bad_requests_are_refused),
		cmocka_unit_test(
			claims_of_a_process_that_is_gone_are_taken_when_nothing_else_is_there),
		cmocka_unit_test(a_second_process_takes_nothing_from_the_first),
		cmocka_unit_test(
			a_lasting_claim_outlives_its_process_and_is_completed_by_its_attempt),
		cmocka_unit_test(sixteen_threads_in_four_processes_claim_each_message_once),
	};
	int failed;

	if (argc > 3) {
		snprintf(place, sizeof place, "%s", argv[3]);
		return be_another_process(argv[2]);
	}
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
