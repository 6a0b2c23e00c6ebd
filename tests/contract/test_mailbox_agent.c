/*
 * test_mailbox_agent.c - contracts/mailbox.md: what an agent remembers, waits for and tells of
 * itself, and what looking costs.
 *
 *     test_mailbox_agent sqlite|postgres
 *
 * Costs are plans, not times: no statement of a look or a claim may read a whole table.
 */
#include "mailbox_fixture.h"

#include "sql/sql.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

extern const kp_statement_set kp_mailbox_statements[KP_DIALECT_COUNT];

static keep_error err = KEEP_ERROR_INIT;
static keep_memory memory = KEEP_MEMORY_INIT;
static keep_mailbox *mailbox;
static keep_agent *agent;
static char session[KEEP_SEGMENT_MAX + 1];

static void begin(void)
{
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
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

/* ---------------------------------------------------------------- state */

static void state_is_set_read_listed_and_cleared(void **state)
{
	keep_session_value value;
	keep_session_value_list list;

	(void)state;
	begin();
	assert_int_equal(keep_agent_state_get(agent, KEEP_BYTES("k"), &memory, &value, &err),
			 KEEP_NOT_FOUND);
	OK(keep_agent_state_set(agent, KEEP_BYTES("k"), KEEP_BYTES("one"), 1000, &err));
	OK(keep_agent_state_set(agent, KEEP_BYTES("k"), KEEP_BYTES(""), 2000, &err));
	OK(keep_agent_state_set(agent, KEEP_BYTES("a b"), KEEP_BYTES("two"), 3000, &err));
	OK(keep_agent_state_get(agent, KEEP_BYTES("k"), &memory, &value, &err));
	assert_bytes_equal(value.value, KEEP_BYTES(""));
	assert_int_equal(value.updated_at, 2000);
	OK(keep_agent_state_list(agent, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].key, KEEP_BYTES("a b"));
	OK(keep_agent_state_clear(agent, KEEP_BYTES("none"), &err));
	OK(keep_agent_state_clear(agent, KEEP_BYTES("k"), &err));
	OK(keep_agent_state_list(agent, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	OK(keep_agent_state_clear(agent, (keep_bytes){.data = NULL}, &err));
	OK(keep_agent_state_list(agent, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	end();
}

static void bad_state_is_refused_and_too_much_is_full(void **state)
{
	static char huge[KEEP_MAILBOX_CONTENT_MAX + 2];
	keep_session_value_list list;
	char key[16];

	(void)state;
	begin();
	memset(huge, 'x', sizeof huge - 1);
	assert_int_equal(
		keep_agent_state_set(agent, KEEP_BYTES(""), KEEP_BYTES("x"), KEEP_NOW, &err),
		KEEP_INVALID);
	assert_int_equal(keep_agent_state_set(agent, KEEP_BYTES("k"), (keep_bytes){.data = NULL},
					      KEEP_NOW, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_agent_state_set(agent, KEEP_BYTES("k"),
					      (keep_bytes){huge, sizeof huge - 1}, KEEP_NOW, &err),
			 KEEP_FULL);
	assert_int_equal(
		keep_agent_state_set(agent, KEEP_BYTES("k"), KEEP_BYTES("\xff"), KEEP_NOW, &err),
		KEEP_INVALID);
	assert_int_equal(keep_agent_state_clear(agent, KEEP_BYTES(""), &err), KEEP_INVALID);
	for (int i = 0; i < KEEP_MAILBOX_LIST_MAX; i++) {
		snprintf(key, sizeof key, "%d", i);
		OK(keep_agent_state_set(agent, keep_bytes_of(key), KEEP_BYTES("x"), 1, &err));
	}
	assert_int_equal(keep_agent_state_set(agent, KEEP_BYTES("more"), KEEP_BYTES("x"), 1, &err),
			 KEEP_FULL);
	OK(keep_agent_state_set(agent, KEEP_BYTES("7"), KEEP_BYTES("y"), 1, &err));
	OK(keep_agent_state_list(agent, &memory, &list, &err));
	assert_int_equal(list.count, KEEP_MAILBOX_LIST_MAX);
	end();
}

/* ---------------------------------------------------------------- life, places, files */

static void a_heartbeat_is_seen_by_the_host(void **state)
{
	char path[700];
	struct stat info;

	(void)state;
	begin();
	snprintf(path, sizeof path, "%s/.heartbeat",
		 mailbox_is_file() ? mailbox_folder(session) : "");
	for (int64_t at = 1900000000123; at <= 1900000001123; at += 1000) {
		OK(keep_agent_heartbeat(agent, at, &err));
		if (!mailbox_is_file())
			continue;
		assert_int_equal(stat(path, &info), 0);
		assert_int_equal(info.st_mtim.tv_sec, at / 1000);
		assert_int_equal(info.st_mtim.tv_nsec, 123000000);
		assert_int_equal(info.st_size, 0);
	}
	if (!mailbox_is_file())
		assert_string_equal(mailbox_sql(session, "outbound.db",
						"SELECT CAST(EXTRACT(EPOCH FROM heartbeat_at) * "
						"1000 AS bigint) || '' FROM session_agent"),
				    "1900000001123");
	assert_int_equal(keep_agent_heartbeat(agent, INT64_MAX, &err), KEEP_INVALID);
	end();
}

static void destinations_are_those_that_the_host_wrote(void **state)
{
	keep_session_destination_list list;
	char sql[300];

	(void)state;
	begin();
	OK(keep_agent_destinations(agent, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	snprintf(sql, sizeof sql,
		 "INSERT INTO destinations (%sname, display_name, type, channel_type, platform_id) "
		 "VALUES (%s%s%s'mum', 'Mum', 'channel', 'signal', '+32')",
		 mailbox_is_file() ? "" : "session_id, ", mailbox_is_file() ? "" : "'",
		 mailbox_is_file() ? "" : session, mailbox_is_file() ? "" : "', ");
	(void)mailbox_sql(session, "inbound.db", sql);
	OK(keep_agent_destinations(agent, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].name, KEEP_BYTES("mum"));
	assert_bytes_equal(list.items[0].display_name, KEEP_BYTES("Mum"));
	end();
}

static void a_file_that_came_with_a_message_is_read(void **state)
{
	keep_file file = {KEEP_BYTES("a.txt"), KEEP_BYTES("bytes")};
	keep_post post = {.id = KEEP_BYTES("m1"), .content = KEEP_BYTES("{}")};
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_post_result result;

	(void)state;
	begin();
	if (mailbox_is_file()) {
		post.files = &file;
		post.file_count = 1;
	}
	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
	if (mailbox_is_file()) {
		OK(keep_agent_inbox_file(agent, KEEP_BYTES("m1"), KEEP_BYTES("a.txt"), &out, &err));
		assert_bytes_equal(kp_buffer_bytes(&out), KEEP_BYTES("bytes"));
	}
	assert_int_equal(
		keep_agent_inbox_file(agent, KEEP_BYTES("m1"), KEEP_BYTES("b.txt"), &out, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(
		keep_agent_inbox_file(agent, KEEP_BYTES(".."), KEEP_BYTES("b.txt"), &out, &err),
		KEEP_INVALID);
	assert_int_equal(
		keep_agent_inbox_file(agent, KEEP_BYTES("m1"), KEEP_BYTES("../x"), &out, &err),
		KEEP_INVALID);
	keep_buffer_release(&out);
	end();
}

/* ---------------------------------------------------------------- waiting */

struct waiter {
	pthread_t thread;
	keep_status status;
	int64_t timeout_ms;
	bool ready;
};

static void *wait_for_it(void *ctx)
{
	struct waiter *waiter = ctx;
	keep_error why = KEEP_ERROR_INIT;

	waiter->status = keep_agent_wait(agent, waiter->timeout_ms, &waiter->ready, &why);
	return NULL;
}

static void waits_wake_for_a_post_and_for_a_cancel(void **state)
{
	struct waiter waiters[3] = {{.timeout_ms = -1}, {.timeout_ms = -1}, {.timeout_ms = 600000}};
	bool ready = true;

	(void)state;
	begin();
	for (int round = 0; round < 2; round++) {
		OK(keep_agent_wait(agent, 0, &ready, &err));
		assert_false(ready);
		for (int i = 0; i < 3; i++)
			assert_int_equal(
				pthread_create(&waiters[i].thread, NULL, wait_for_it, &waiters[i]),
				0);
		if (round == 0)
			mailbox_post(mailbox, session, "{}");
		else
			keep_agent_cancel(agent);
		for (int i = 0; i < 3; i++) {
			pthread_join(waiters[i].thread, NULL);
			assert_int_equal(waiters[i].status, KEEP_OK);
			assert_int_equal(waiters[i].ready, round == 0);
		}
		if (round == 0) {
			keep_claim_list list;

			OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &list, &err));
			assert_int_equal(list.count, 1);
		}
	}
	OK(keep_agent_wait(agent, -1, &ready, &err)); /* ended for good */
	assert_false(ready);
	end();
}

static void a_wait_wakes_when_a_message_is_due_and_when_a_lease_ends(void **state)
{
	keep_post post = {.content = KEEP_BYTES("{}"), .process_after = kp_clock_ms() + 60};
	keep_claim_request request = {.lease_ms = 60};
	keep_post_result result;
	keep_claim_list list;
	bool ready = false;

	(void)state;
	begin();
	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
	OK(keep_agent_wait(agent, -1, &ready, &err));
	assert_true(ready);
	OK(keep_agent_claim(agent, &request, KEEP_NOW, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	OK(keep_agent_wait(agent, -1, &ready, &err));
	assert_true(ready);
	OK(keep_agent_wait(agent, 20, &ready, &err));
	assert_true(ready);
	end();
}

static void a_wait_ends_when_its_time_is_over(void **state)
{
	int64_t begun_ns = kp_monotonic_ns();
	bool ready = true;

	(void)state;
	begin();
	OK(keep_agent_wait(agent, 30, &ready, &err));
	assert_false(ready);
	assert_true(kp_monotonic_ns() - begun_ns >= 30 * 1000000);
	end();
}

/* ---------------------------------------------------------------- costs */

/* The agent's view: its own file, the host's beside it. */
static kp_sql_conn *connect_as_agent(void)
{
	char own[700], other[700];
	kp_sql_options options = {
		.location = own, .beside = other, .timeout_ms = 10000, .journal = KP_JOURNAL_AS_IS};
	kp_sql_conn *conn = NULL;

	if (!mailbox_is_file()) {
		conn = mailbox_connect_behind(session, "");
		OK(kp_sql_script(conn, "SET enable_seqscan = off", &err));
		return conn;
	}
	snprintf(own, sizeof own, "%s/outbound.db", mailbox_folder(session));
	snprintf(other, sizeof other, "%s/inbound.db", mailbox_folder(session));
	OK(kp_sql_open(&kp_sql_sqlite, &options, &conn, &err));
	return conn;
}

/* How many parameters `sql` has. */
static int count_parameters(const char *sql)
{
	int most = 0;

	for (const char *at = sql; *at; at++)
		if ((*at == '$' || *at == '?') && at[1] > '0' && at[1] <= '9' && at[1] - '0' > most)
			most = at[1] - '0';
	return most;
}

/* A plan's lines that read a whole table. */
static int count_scans(kp_sql_conn *conn, const kp_statement *statement)
{
	static char sql[12000];
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	int scans = 0;

	if (mailbox_is_file()) {
		snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", statement->sql);
	} else {
		int count = count_parameters(statement->sql);

		snprintf(sql, sizeof sql, "PREPARE look AS %s", statement->sql);
		OK(kp_sql_script(conn, "SET plan_cache_mode = force_generic_plan", &err));
		CHECK(kp_sql_script(conn, sql, &err) == KEEP_OK, "%s: %s", statement->name,
		      err.message);
		snprintf(sql, sizeof sql, "EXPLAIN EXECUTE look(NULL");
		for (int i = 1; i < count; i++)
			strcat(sql, ", NULL");
		strcat(sql, ")");
	}
	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	for (;;) {
		keep_bytes line;
		char text[300];

		OK(kp_sql_step(stmt, &has_row, &err));
		if (!has_row)
			break;
		OK(kp_sql_column_bytes(stmt, mailbox_is_file() ? 3 : 0, KP_TEXT, &line, &err));
		snprintf(text, sizeof text, "%.*s", (int)line.len, line.data);
		/* Rows of subqueries are read whole: those are the answers themselves. */
		if (mailbox_is_file()
			    ? (strncmp(text, "SCAN ", 5) == 0 && !strstr(text, " USING ") &&
			       !strstr(text, "CONSTANT") && !strstr(text, "SCAN (") &&
			       !strstr(text, "timeless") && !strstr(text, "SCAN due") &&
			       !strstr(text, "chosen") && !strstr(text, "SCAN message") &&
			       !strstr(text, "SCAN claim") && !strstr(text, "times"))
			    : strstr(text, "Seq Scan on ") != NULL) {
			print_error("%s: %s\n", statement->name, text);
			scans++;
		}
	}
	kp_sql_finish(&stmt);
	if (!mailbox_is_file())
		OK(kp_sql_script(conn, "DEALLOCATE look", &err));
	return scans;
}

static void no_statement_of_a_look_reads_a_whole_table(void **state)
{
	static const char *const names[] = {
		"claimable",
		"has_claimable",
		"next_claimable",
		"standing_owners",
		"end_owner",
		"claim",
		"get_claim",
		"acknowledge",
		"extend_claim",
		"release_claim",
		"get_outbound",
		"inbound_address",
		"find_answers",
		"await_question",
		"has_question",
		"get_destination",
		"get_state",
		"change_state",
		"inbound_address_by_number",
	};
	const kp_statement_set *set;
	kp_sql_conn *conn;
	int scans = 0;

	(void)state;
	begin();
	set = &kp_mailbox_statements[mailbox_is_file() ? KP_DIALECT_SQLITE : KP_DIALECT_POSTGRES];
	conn = connect_as_agent();
	for (size_t n = 0; n < KP_COUNT(names); n++) {
		bool is_there = false;

		for (size_t i = 0; i < set->count; i++)
			if (strcmp(set->statements[i].name, names[n]) == 0) {
				is_there = true;
				scans += count_scans(conn, &set->statements[i]);
			}
		CHECK(is_there, "%s", names[n]);
	}
	kp_sql_close(&conn);
	assert_int_equal(scans, 0);
	end();
}

static void a_claim_that_finds_nothing_writes_nothing(void **state)
{
	keep_claim_list list;
	kp_sql_conn *conn;

	(void)state;
	begin();
	/* Somebody holds the agent's turn: a claim that needed it would end in BUSY. */
	conn = mailbox_connect_behind(session, "outbound.db");
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(conn, "UPDATE session_agent SET outbound_id = outbound_id", &err));
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	kp_sql_rollback(conn);
	kp_sql_close(&conn);
	end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_is_set_read_listed_and_cleared),
		cmocka_unit_test(bad_state_is_refused_and_too_much_is_full),
		cmocka_unit_test(a_heartbeat_is_seen_by_the_host),
		cmocka_unit_test(destinations_are_those_that_the_host_wrote),
		cmocka_unit_test(a_file_that_came_with_a_message_is_read),
		cmocka_unit_test(waits_wake_for_a_post_and_for_a_cancel),
		cmocka_unit_test(a_wait_wakes_when_a_message_is_due_and_when_a_lease_ends),
		cmocka_unit_test(a_wait_ends_when_its_time_is_over),
		cmocka_unit_test(no_statement_of_a_look_reads_a_whole_table),
		cmocka_unit_test(a_claim_that_finds_nothing_writes_nothing),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}
