/*
 * test_compat_source_host.c - Keep's agent side against a host that knows only the source's tables.
 *
 *     test_compat_source_host sqlite
 *
 * The host is source_side.py, with files that it made itself.
 */
#include "mailbox_fixture.h"
#include "source_process.h"

#include "mailbox/mailbox_private.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

static keep_error err = KEEP_ERROR_INIT;

/* A session of a source host and, when `agent` is asked for, Keep's side of it. */
struct rig {
	char folder[600];
	source_process host;
	keep_agent *agent;
	keep_memory memory;
};

static void begin(struct rig *rig)
{
	char url[MAILBOX_URL_MAX];

	mailbox_next_url(url);
	snprintf(rig->folder, sizeof rig->folder, "%s/sess-1744391901000-abc123",
		 url + strlen("sqlite:"));
	rig->host = source_start("host", rig->folder);
	rig->agent = NULL;
	rig->memory = (keep_memory)KEEP_MEMORY_INIT;
	(void)source_ask(&rig->host, "[\"make\"]");
}

static void open_agent(struct rig *rig)
{
	OK(keep_agent_open(rig->folder, NULL, &rig->agent, &err));
}

static void end(struct rig *rig)
{
	keep_agent_close(&rig->agent);
	keep_memory_release(&rig->memory);
	source_end(&rig->host);
	keep_zone_forget();
	assert_nothing_lives();
}

static keep_claim_list claim(struct rig *rig, int64_t now_ms)
{
	keep_claim_request request = {.max = 50, .lease_ms = 1000};
	keep_claim_list claims;

	OK(keep_agent_claim(rig->agent, &request, now_ms, &rig->memory, &claims, &err));
	return claims;
}

static keep_sent answer(struct rig *rig, const keep_claimed *claimed, const char *content)
{
	keep_claim_ref ref = {claimed->message.id, claimed->attempt};
	keep_send reply = {.content = keep_bytes_of(content)};
	keep_sent sent;

	OK(keep_agent_complete_with(rig->agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err));
	return sent;
}

static const char *status_of(struct rig *rig, const char *id)
{
	return source_ask(&rig->host,
			  "[\"write\", \"SELECT status FROM messages_in WHERE id = ?\", [\"%s\"]]",
			  id);
}

#define HOLDS(text, part) CHECK(strstr(text, part), "no %s in %s", part, text)

/* ---------------------------------------------------------------- */

static void messages_are_taken_answered_and_completed(void **state)
{
	struct rig rig;
	keep_claim_list claims;
	const char *due;

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.host, "[\"post\", \"telegram:42:7\", {\"text\": \"one\"}, {}]");
	(void)source_ask(&rig.host, "[\"post\", \"8\", {\"text\": \"two\"}, {\"sql_time\": true, "
				    "\"thread_id\": \"t\"}]");
	open_agent(&rig);
	assert_bytes_equal(keep_agent_session_id(rig.agent),
			   KEEP_BYTES("sess-1744391901000-abc123"));
	claims = claim(&rig, KEEP_NOW);
	assert_int_equal(claims.count, 2);
	assert_bytes_equal(claims.items[0].message.id, KEEP_BYTES("telegram:42:7"));
	assert_int_equal(claims.items[0].message.seq, 2);
	/* both forms of a time are times */
	for (size_t i = 0; i < 2; i++)
		CHECK(llabs(claims.items[i].message.timestamp - kp_clock_ms()) < 60000, "%lld",
		      (long long)claims.items[i].message.timestamp);
	assert_int_equal(answer(&rig, &claims.items[0], "{\"text\":\"eins\"}").seq, 5);
	assert_int_equal(answer(&rig, &claims.items[1], "{\"text\":\"zwei\"}").seq, 7);
	due = source_ask(&rig.host, "[\"due\"]");
	HOLDS(due, "\"in_reply_to\": \"telegram:42:7\"");
	HOLDS(due, "\"platform_id\": \"telegram:42\"");
	HOLDS(due, "\"thread_id\": \"t\"");
	HOLDS(due, "eins");
	HOLDS(due, "zwei");
	(void)source_ask(&rig.host, "[\"sync\"]");
	HOLDS(status_of(&rig, "telegram:42:7"), "completed");
	HOLDS(status_of(&rig, "8"), "completed");
	assert_int_equal(claim(&rig, KEEP_NOW).count, 0);
	(void)source_ask(&rig.host, "[\"post\", \"9\", {\"text\": \"three\"}, {}]");
	assert_int_equal(claim(&rig, KEEP_NOW).count, 1); /* each look is a fresh one */
	end(&rig);
}

static void what_is_due_is_so_in_both_forms_of_a_time(void **state)
{
	static const char *const forms[] = {"iso", "sql_time"};
	struct rig rig;
	keep_claim_list claims;

	(void)state;
	begin(&rig);
	for (size_t i = 0; i < KP_COUNT(forms); i++) {
		static const int seconds[] = {-5, 3600};

		for (size_t j = 0; j < KP_COUNT(seconds); j++) {
			char moment[64];

			snprintf(moment, sizeof moment, "%s",
				 source_ask(&rig.host, "[\"%s\", %d]", forms[i], seconds[j]));
			(void)source_ask(&rig.host,
					 "[\"post\", \"%s%d\", {}, {\"process_after\": %s}]",
					 forms[i], seconds[j], moment);
		}
	}
	open_agent(&rig);
	claims = claim(&rig, KEEP_NOW);
	assert_int_equal(claims.count, 2);
	for (size_t i = 0; i < 2; i++)
		CHECK(memchr(claims.items[i].message.id.data, '-', claims.items[i].message.id.len),
		      "%" KP_PRI, KP_ARG(claims.items[i].message.id));
	claims = claim(&rig, kp_clock_ms() + 3700000);
	assert_int_equal(claims.count, 4); /* two of them again: their leases ran out */
	end(&rig);
}

/* Such a host takes `failed` for done. */
static void what_fails_comes_back_by_itself_five_times(void **state)
{
	struct rig rig;
	int64_t now_ms = kp_clock_ms();

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.host, "[\"post\", \"m\", {}, {}]");
	open_agent(&rig);
	for (int64_t attempt = 1; attempt <= 6; attempt++) {
		keep_claim_list claims = claim(&rig, now_ms);
		keep_claim_ref ref;

		assert_int_equal(claims.count, 1);
		assert_int_equal(claims.items[0].attempt, attempt);
		ref = (keep_claim_ref){claims.items[0].message.id, attempt};
		OK(keep_agent_fail(rig.agent, &ref, 1, KEEP_BYTES("no network"), now_ms, &err));
		(void)source_ask(&rig.host, "[\"sync\"]");
		HOLDS(status_of(&rig, "m"), attempt < 6 ? "pending" : "completed");
		if (attempt < 6) /* the claim is over all the same */
			assert_int_equal(keep_agent_complete(rig.agent, &ref, 1, now_ms, &err),
					 KEEP_CONFLICT);
		now_ms += (5000 << (attempt - 1)) - 1;
		assert_int_equal(claim(&rig, now_ms).count, 0);
		now_ms++;
	}
	HOLDS(source_ask(&rig.host, "[\"read\", \"SELECT status, error FROM processing_ack\"]"),
	      "no network");
	end(&rig);
}

static void what_nobody_ever_finishes_is_given_up_at_the_next_start(void **state)
{
	struct rig rig;
	int64_t now_ms = kp_clock_ms() - 100000;

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.host, "[\"post\", \"m\", {}, {}]");
	open_agent(&rig);
	for (int attempt = 1; attempt <= 6; attempt++) {
		assert_int_equal(claim(&rig, now_ms).count, 1);
		now_ms += 1000;
	}
	assert_int_equal(claim(&rig, now_ms).count, 0);
	keep_agent_close(&rig.agent);
	open_agent(&rig);
	HOLDS(source_ask(&rig.host, "[\"read\", \"SELECT status FROM processing_ack\"]"), "failed");
	end(&rig);
}

static void a_hosts_own_retry_and_recurrence_are_followed(void **state)
{
	struct rig rig;
	keep_claim_list claims;
	int64_t later_ms = kp_clock_ms() + 30000;

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.host, "[\"post\", \"task-1\", {\"prompt\": \"p\"}, {\"kind\": "
				    "\"task\", \"recurrence\": \"0 9 * * *\"}]");
	open_agent(&rig);
	claims = claim(&rig, KEEP_NOW);
	assert_int_equal(claims.count, 1);
	assert_bytes_equal(claims.items[0].message.kind, KEEP_BYTES("task"));
	assert_bytes_equal(claims.items[0].message.recurrence, KEEP_BYTES("0 9 * * *"));
	HOLDS(source_ask(&rig.host, "[\"stale\"]"), "task-1"); /* no heartbeat */
	assert_int_equal(claim(&rig, KEEP_NOW).count, 0);
	claims = claim(&rig, later_ms); /* the host's back-off is over, and the lease */
	assert_int_equal(claims.count, 1);
	(void)answer(&rig, &claims.items[0], "{\"text\":\"done\"}");
	(void)source_ask(&rig.host, "[\"sync\"]");
	HOLDS(source_ask(&rig.host, "[\"recur\"]"), "task-1+");
	claims = claim(&rig, KEEP_NOW);
	assert_int_equal(claims.count, 1);
	assert_bytes_equal(claims.items[0].message.id, KEEP_BYTES("task-1+"));
	OK(keep_agent_heartbeat(rig.agent, KEEP_NOW, &err));
	HOLDS(source_ask(&rig.host, "[\"stale\"]"), "[]");
	end(&rig);
}

static void a_question_is_asked_and_its_answer_awaited(void **state)
{
	struct rig rig;
	keep_bytes options[] = {KEEP_BYTES("yes"), KEEP_BYTES("no")};
	keep_question_answer given;
	keep_sent asked;
	bool answered = false;

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.host, "[\"route\", \"telegram\", \"telegram:42\", null]");
	open_agent(&rig);
	OK(keep_agent_ask(rig.agent, KEEP_BYTES("sure?"), options, 2, (keep_bytes){.data = NULL},
			  KEEP_NOW, &asked, &err));
	HOLDS(source_ask(&rig.host, "[\"due\"]"), "ask_question");
	(void)source_ask(&rig.host,
			 "[\"post\", \"qr-%s-1744391901000\", {\"type\": \"question_response\", "
			 "\"questionId\": \"%s\", \"selectedOption\": \"yes\", \"userId\": \"u\"}, "
			 "{\"kind\": \"system\"}]",
			 asked.id, asked.id);
	OK(keep_agent_await_answer(rig.agent, keep_bytes_of(asked.id), 10000, &rig.memory, &given,
				   &answered, &err));
	assert_true(answered);
	assert_bytes_equal(given.option, KEEP_BYTES("yes"));
	(void)source_ask(&rig.host, "[\"sync\"]");
	HOLDS(source_ask(&rig.host,
			 "[\"write\", \"SELECT status FROM messages_in WHERE kind = 'system'\"]"),
	      "completed");
	end(&rig);
}

static void sends_go_where_the_hosts_destinations_lead(void **state)
{
	struct rig rig;
	keep_send send = {.content = KEEP_BYTES("{\"text\":\"hi\"}"), .to = KEEP_BYTES("family")};
	keep_sent sent, edit;
	const char *due;

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.host,
			 "[\"destinations\", [[\"family\", \"Family\", \"channel\", "
			 "\"whatsapp\", \"wa:1\", null], [\"boss\", null, \"agent\", null, "
			 "null, \"ag-2\"]]]");
	open_agent(&rig);
	OK(keep_agent_send(rig.agent, &send, KEEP_NOW, &sent, &err));
	OK(keep_agent_edit(rig.agent, sent.seq, KEEP_BYTES("hello"), KEEP_NOW, &edit, &err));
	OK(keep_agent_react(rig.agent, sent.seq, KEEP_BYTES("+1"), KEEP_NOW, &edit, &err));
	due = source_ask(&rig.host, "[\"due\"]");
	HOLDS(due, "\"platform_id\": \"wa:1\"");
	HOLDS(due, "\\\"operation\\\":\\\"edit\\\"");
	HOLDS(due, "\\\"operation\\\":\\\"reaction\\\"");
	send.to = KEEP_BYTES("boss");
	OK(keep_agent_send(rig.agent, &send, KEEP_NOW, &sent, &err));
	HOLDS(source_ask(&rig.host, "[\"due\"]"), "\"platform_id\": \"ag-2\"");
	send.to = KEEP_BYTES("enemy");
	assert_int_equal(keep_agent_send(rig.agent, &send, KEEP_NOW, &sent, &err), KEEP_DENIED);
	(void)source_ask(&rig.host, "[\"destinations\", [[\"enemy\", null, \"channel\", \"x\", "
				    "\"y\", null]]]");
	OK(keep_agent_send(rig.agent, &send, KEEP_NOW, &sent, &err)); /* at once */
	end(&rig);
}

static void sends_may_wait_and_recur(void **state)
{
	struct rig rig;
	keep_send send = {.content = KEEP_BYTES("{\"text\":\"later\"}")};
	keep_sent sent;

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.host, "[\"route\", \"telegram\", \"telegram:42\", null]");
	open_agent(&rig);
	send.deliver_after = kp_clock_ms() + 3600000;
	OK(keep_agent_send(rig.agent, &send, KEEP_NOW, &sent, &err));
	HOLDS(source_ask(&rig.host, "[\"due\"]"), "[]");
	send.deliver_after = kp_clock_ms() - 1000;
	OK(keep_agent_send(rig.agent, &send, KEEP_NOW, &sent, &err));
	HOLDS(source_ask(&rig.host, "[\"due\"]"), sent.id);
	end(&rig);
}

/* An outbound.db that a source agent has used for a while, and goes on using. */
static void a_source_agents_file_becomes_ours_and_stays_its(void **state)
{
	struct rig rig;
	keep_claim_list claims;
	keep_session_value value;
	source_process tool;

	(void)state;
	begin(&rig);
	for (int i = 0; i < 3; i++)
		(void)source_ask(&rig.host, "[\"post\", \"m%d\", {}, {}]", i);
	tool = source_start("agent", rig.folder);
	(void)source_ask(&tool, "[\"ack\", \"completed\", [\"m0\"]]");
	(void)source_ask(&tool, "[\"ack\", \"processing\", [\"m1\"]]");
	HOLDS(source_ask(&tool, "[\"send\", \"old\", {\"text\": \"old\"}, {}]"), "7");
	(void)source_ask(&tool, "[\"state\", \"sdk_session_id\", \"abc\"]");
	open_agent(&rig);
	OK(keep_agent_state_get(rig.agent, KEEP_BYTES("sdk_session_id"), &rig.memory, &value,
				&err));
	assert_bytes_equal(value.value, KEEP_BYTES("abc"));
	claims = claim(&rig, KEEP_NOW); /* that one's claim ended with it */
	assert_int_equal(claims.count, 2);
	assert_bytes_equal(claims.items[0].message.id, KEEP_BYTES("m1"));
	HOLDS(source_ask(&tool, "[\"send\", \"new\", {\"text\": \"new\"}, {}]"), "9");
	assert_int_equal(answer(&rig, &claims.items[0], "{}").seq, 11);
	HOLDS(source_ask(&tool, "[\"pending\"]"), "[]"); /* ours are not its to take */
	HOLDS(source_ask(&tool, "[\"journal\"]"), "delete");
	source_end(&tool);
	tool = source_start("agent", rig.folder); /* its next start */
	HOLDS(source_ask(&tool, "[\"journal\"]"), "delete");
	source_end(&tool);
	end(&rig);
}

static void numbers_that_are_none_of_ours_are_given_anew(void **state)
{
	struct rig rig;
	char path[700];
	sqlite3 *db = NULL;

	(void)state;
	begin(&rig);
	snprintf(path, sizeof path, "%s/outbound.db", rig.folder);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db,
			     "INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES "
			     "('a', 1, '2026-04-11 17:18:21', 'chat', '{}'),"
			     "('denial', 2, '2026-04-11 17:18:22', 'chat', '{}'),"
			     "('b', 3, '2026-04-11T17:18:23Z', 'chat', '{}'),"
			     "('none', NULL, 'yesterday', 'chat', '{}');"
			     "INSERT INTO processing_ack VALUES ('x', 'script-skip:error', "
			     "'2026-04-11 17:18:21')",
			     NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
	open_agent(&rig);
	HOLDS(source_ask(&rig.host, "[\"read\", \"SELECT group_concat(id || seq) AS all_of_them "
				    "FROM (SELECT * FROM messages_out ORDER BY seq)\"]"),
	      "a1,b3,denial5,none7");
	HOLDS(source_ask(&rig.host, "[\"read\", \"SELECT timestamp FROM messages_out WHERE id = "
				    "'a'\"]"),
	      "2026-04-11T17:18:21.000Z");
	HOLDS(source_ask(&rig.host, "[\"read\", \"SELECT status FROM processing_ack\"]"), "failed");
	end(&rig);
}

static void nothing_of_ours_is_in_wal_mode_beside_such_a_host(void **state)
{
	struct rig rig;
	bool has_log = true;
	char path[700];

	(void)state;
	begin(&rig);
	(void)source_ask(&rig.host, "[\"post\", \"m\", {}, {}]");
	open_agent(&rig);
	assert_int_equal(claim(&rig, KEEP_NOW).count, 1);
	snprintf(path, sizeof path, "%s/outbound.db", rig.folder);
	OK(kp_sqlite_has_log(path, &has_log, &err));
	assert_false(has_log);
	snprintf(path, sizeof path, "%s/outbound.db-guard", rig.folder);
	assert_int_equal(access(path, F_OK), -1);
	end(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_taken_answered_and_completed),
		cmocka_unit_test(what_is_due_is_so_in_both_forms_of_a_time),
		cmocka_unit_test(what_fails_comes_back_by_itself_five_times),
		cmocka_unit_test(what_nobody_ever_finishes_is_given_up_at_the_next_start),
		cmocka_unit_test(a_hosts_own_retry_and_recurrence_are_followed),
		cmocka_unit_test(a_question_is_asked_and_its_answer_awaited),
		cmocka_unit_test(sends_go_where_the_hosts_destinations_lead),
		cmocka_unit_test(sends_may_wait_and_recur),
		cmocka_unit_test(a_source_agents_file_becomes_ours_and_stays_its),
		cmocka_unit_test(numbers_that_are_none_of_ours_are_given_anew),
		cmocka_unit_test(nothing_of_ours_is_in_wal_mode_beside_such_a_host),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
