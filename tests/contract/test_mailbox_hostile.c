/*
 * test_mailbox_hostile.c - contracts/mailbox.md: whatever an agent's side writes, it harms its own
 * session alone: a malformed row sets itself aside, a damaged file fails its session, and the
 * others are served.
 *
 *     test_mailbox_hostile sqlite|postgres
 */
#include "mailbox_fixture.h"

#include "mailbox_rows.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static keep_error err;
static keep_memory memory;
static char session[KEEP_SEGMENT_MAX + 1], neighbour[KEEP_SEGMENT_MAX + 1];
static keep_mailbox *mailbox;

#define NOW INT64_C(1780000000000)

static int set_up(void **state)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;

	(void)state;
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	mailbox_session(mailbox, "other", neighbour);
	keep_mailbox_close(&mailbox);
	options.timeout_ms = 1000 * test_patience(); /* what a statement may take */
	OK(mailbox_open_with(&options, &mailbox, &err));
	memory = (keep_memory)KEEP_MEMORY_INIT;
	rows_out(neighbour, 3, "neighbour", "chat", "telegram", "42", "{}", NULL);
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

static keep_status collect(const char *from, keep_collection *out)
{
	return keep_mailbox_collect(mailbox, keep_bytes_of(from), 0, NOW, &memory, out, &err);
}

static keep_collection collect_well(void)
{
	keep_collection out;

	OK(collect(session, &out));
	return out;
}

static void assert_neighbour_is_served(void)
{
	keep_collection out;

	OK(collect(neighbour, &out));
	assert_int_equal(out.count, 1);
}

/* Run SQL on the agent's file as any program would. */
static void raw(const char *sql)
{
	char path[700];
	sqlite3 *db = NULL;
	char *message = NULL;

	snprintf(path, sizeof path, "%s/outbound.db", mailbox_folder(session));
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	CHECK(sqlite3_exec(db, sql, NULL, NULL, &message) == SQLITE_OK, "%s", message);
	sqlite3_close(db);
}

static const char *count_of(const char *table)
{
	char sql[300];

	snprintf(sql, sizeof sql, "SELECT CAST(count(*) AS text) FROM %s WHERE %s 1 = 1", table,
		 rows_where(session));
	return mailbox_sql(session, "inbound.db", sql);
}

/* ---------------------------------------------------------------- rows */

static void every_bad_row_is_refused_and_the_others_go_on(void **state)
{
	static const struct {
		const char *id, *kind, *channel, *chat, *content;
	} bad[] = {
		{"../../etc", "chat", "telegram", "42", "{}"},
		{"a/b", "chat", "telegram", "42", "{}"},
		{"..", "chat", "telegram", "42", "{}"},
		{"-rf", "chat", "telegram", "42", "{}"},
		{"", "chat", "telegram", "42", "{}"},
		{"json", "chat", "telegram", "42", "{\"text\":"},
		{"twice", "chat", "telegram", "42", "{\"a\":1,\"a\":2}"},
		{"kind", "launch", "telegram", "42", "{}"},
		{"nowhere", "chat", NULL, NULL, "{}"},
		{"half", "chat", "telegram", NULL, "{}"},
	};
	int64_t seq = 3;
	char good[20], long_id[200];
	keep_collection found;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++, seq += 4) {
		rows_out(session, seq, bad[i].id, bad[i].kind, bad[i].channel, bad[i].chat,
			 bad[i].content, NULL);
		snprintf(good, sizeof good, "good%zu", i);
		rows_out(session, seq + 2, good, "chat", "telegram", "42", "{}", NULL);
	}
	memset(long_id, 'x', sizeof long_id);
	long_id[KEEP_SEGMENT_MAX + 1] = '\0';
	rows_out(session, seq, long_id, "chat", "telegram", "42", "{}", NULL);
	found = collect_well();
	assert_int_equal(found.count, KP_COUNT(bad));
	assert_int_equal(found.refused, KP_COUNT(bad) + 1);
	assert_string_equal(count_of("delivered"), "11");
	assert_string_equal(count_of("message_steps"), "11");
	assert_string_equal(mailbox_sql(session, "inbound.db",
					"SELECT status FROM delivered WHERE message_out_id = '#3'"),
			    "refused");
	assert_int_equal(collect_well().refused, 0);
}

static void a_content_beyond_the_limit_is_refused(void **state)
{
	char sql[400];
	keep_trace trace;

	(void)state;
	rows_out(session, 3, "long", "chat", "telegram", "42", "{}", NULL);
	rows_out(session, 5, "short", "chat", "telegram", "42", "{}", NULL);
	snprintf(sql, sizeof sql, "UPDATE messages_out SET content = %s WHERE id = 'long'",
		 mailbox_is_file() ? "'\"' || hex(zeroblob(50000000)) || '\"'"
				   : "'\"' || repeat('x', 100000000) || '\"'");
	rows_run(session, "outbound.db", sql);
	assert_int_equal(collect_well().count, 1);
	assert_string_equal(mailbox_sql(session, "inbound.db",
					"SELECT status FROM delivered WHERE message_out_id = '#3'"),
			    "refused");
	OK(keep_mailbox_trace(mailbox, keep_bytes_of(session), KEEP_BYTES("long"), NOW, &memory,
			      &trace, &err));
	assert_true(kp_bytes_equal(trace.state, KEEP_BYTES("refused")));
	assert_true(trace.detail.len > 0);
}

static void a_row_that_changes_after_it_was_taken_over_is_judged_again(void **state)
{
	(void)state;
	rows_out(session, 3, "one", "chat", "telegram", "42", "{}", NULL);
	rows_out(session, 5, "two", "chat", "telegram", "42", "{}", NULL);
	assert_int_equal(collect_well().count, 2);
	rows_run(session, "outbound.db",
		 "UPDATE messages_out SET platform_id = '99' WHERE "
		 "id = 'one'");
	rows_run(session, "outbound.db", "DELETE FROM messages_out WHERE id = 'two'");
	assert_int_equal(collect_well().refused, 2);
}

static void a_number_out_of_reach_hides_nothing(void **state)
{
	keep_collection found;

	(void)state;
	rows_out(session, INT64_MAX, "huge", "chat", "telegram", "42", "{}", NULL);
	found = collect_well();
	assert_int_equal(found.count, 0);
	assert_int_equal(found.refused, 1);
	rows_out(session, 3, "small", "chat", "telegram", "42", "{}", NULL);
	found = collect_well();
	assert_int_equal(found.count, 1);
	assert_int_equal(found.refused, 0);
}

static void acknowledgements_of_nothing_and_out_of_reach_do_no_harm(void **state)
{
	char id[100];

	(void)state;
	rows_ack(session, "nobody", "completed", 1, 1, NULL);
	rows_ack(session, "nobody2", "failed", INT64_MAX, INT64_MAX, NULL);
	(void)collect_well();
	rows_out(session, 3, "one", "chat", "telegram", "99", "{}", NULL); /* leaves a notice */
	(void)collect_well();
	rows_ack(session, rows_inbound_id(session, 2, id, sizeof id), "completed", 1, 2, NULL);
	assert_int_equal(collect_well().completed, 1);
}

/* ---------------------------------------------------------------- tables */

static void rows_of_wrong_types_are_refused_alone(void **state)
{
	char id[100];
	keep_collection found;

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	raw("DROP TABLE messages_out; CREATE TABLE messages_out (id, seq, in_reply_to, timestamp, "
	    "deliver_after, recurrence, kind, platform_id, channel_type, thread_id, content);"
	    "INSERT INTO messages_out (id, seq, timestamp, kind, channel_type, platform_id, "
	    "content) VALUES "
	    "(x'00ff', 3, '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', '{}'),"
	    "('a', 5, 17, 'chat', 'telegram', '42', '{}'),"
	    "('b', 7, '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', NULL),"
	    "('c', 9, 'yesterday', 'chat', 'telegram', '42', '{}'),"
	    "('d', 'eleven', '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', '{}'),"
	    "('e', 12.5, '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', '{}'),"
	    "('f', 13, '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', x'7b7d'),"
	    "('g', 15, '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', '{}'),"
	    "('h', 15, '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', '{}'),"
	    "('i', 17, '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', '{}'),"
	    "('i', 19, '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', '{}'),"
	    "('j', 21, '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', CAST(x'22ff22' AS TEXT)),"
	    "('good', 23, '2026-01-01T00:00:00Z', 'chat', 'telegram', '42', '{}');"
	    "DROP TABLE processing_ack; CREATE TABLE processing_ack (message_id, status, "
	    "status_changed, owner, lease_until, attempt, error, change, incarnation, expired);"
	    "INSERT INTO processing_ack VALUES (x'00', 'completed', 1, 2, 3, 4, 5, 1, 7, 8),"
	    "('x', 'completed', '2026-01-01', NULL, NULL, 'one', NULL, 2, NULL, 0),"
	    "('y', 'completed', '2026-01-01', NULL, NULL, 1, NULL, 'three', NULL, 0)");
	found = collect_well();
	assert_int_equal(found.count, 2); /* i, good */
	assert_int_equal(found.refused, 8);
	snprintf(id, sizeof id, "INSERT INTO processing_ack VALUES ('");
	{
		char sql[300], message[100];

		snprintf(sql, sizeof sql,
			 "%s%s', 'completed', '2026-01-01T00:00:00Z', NULL, NULL, 1, NULL, 4, "
			 "NULL, 0)",
			 id, rows_inbound_id(session, 2, message, sizeof message));
		raw(sql);
	}
	assert_int_equal(collect_well().completed, 1);
}

static void a_million_rows_are_taken_over_bit_by_bit(void **state)
{
	keep_collection found;

	(void)state;
	raw("BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
	    "i < 1000000) INSERT INTO messages_out (id, seq, timestamp, kind, channel_type, "
	    "platform_id, content) SELECT 'm' || i, 2 * i + 1, '2026-01-01T00:00:00.000Z', "
	    "'chat', 'telegram', '42', '{}' FROM n; COMMIT");
	found = collect_well();
	assert_int_equal(found.count, 50);
	assert_true(found.has_more);
	CHECK(atoi(count_of("outgoing")) <= 1000, "%s are taken over", count_of("outgoing"));
	assert_neighbour_is_served();
}

static void a_view_without_an_end_fails_its_session_alone(void **state)
{
	keep_collection out;

	(void)state;
	raw("DROP TABLE messages_out; CREATE VIEW messages_out AS WITH RECURSIVE n(i) AS (SELECT 1 "
	    "UNION ALL SELECT i + 1 FROM n) SELECT 'a' AS id, 2 * i + 1 AS seq, NULL AS "
	    "in_reply_to, '2026-01-01T00:00:00Z' AS timestamp, NULL AS deliver_after, NULL AS "
	    "recurrence, 'chat' AS kind, '42' AS platform_id, 'telegram' AS channel_type, NULL AS "
	    "thread_id, '{}' AS content FROM n");
	assert_int_not_equal(collect(session, &out), KEEP_OK);
	assert_int_equal(out.count, 0);
	assert_neighbour_is_served();
}

static void tables_that_are_gone_fail_their_session_alone(void **state)
{
	keep_collection out;

	(void)state;
	raw("DROP TABLE messages_out");
	assert_int_equal(collect(session, &out), KEEP_CORRUPT);
	raw("CREATE TABLE messages_out (id)");
	assert_int_equal(collect(session, &out), KEEP_CORRUPT);
	assert_neighbour_is_served();
}

static void the_sources_tables_alone_are_enough(void **state)
{
	char sql[300], id[100];
	keep_collection found;

	(void)state;
	(void)mailbox_post(mailbox, session, "{}");
	raw("DROP TABLE session_agent; DROP TABLE asked_questions; DROP TABLE processing_ack;"
	    "CREATE TABLE processing_ack (message_id TEXT PRIMARY KEY, status TEXT NOT NULL, "
	    "status_changed TEXT NOT NULL)");
	snprintf(sql, sizeof sql, "INSERT INTO processing_ack VALUES ('%s', 'completed', '%s')",
		 rows_inbound_id(session, 2, id, sizeof id), "2026-05-28 20:26:40");
	raw(sql);
	rows_out(session, 3, "one", "chat", "telegram", "42", "{}", NULL);
	found = collect_well();
	assert_int_equal(found.completed, 1);
	assert_int_equal(found.count, 1);
	assert_int_equal(collect_well().completed, 0);
}

static void tables_with_the_names_of_the_hosts_and_triggers_change_nothing(void **state)
{
	(void)state;
	raw("CREATE TABLE delivered (x); CREATE TABLE session_host (x); CREATE TABLE outgoing (x);"
	    "CREATE TABLE log (x); CREATE TRIGGER t AFTER INSERT ON messages_out BEGIN "
	    "INSERT INTO log VALUES (1); END");
	rows_out(session, 3, "one", "chat", "telegram", "42", "{}", NULL);
	assert_int_equal(collect_well().count, 1);
	assert_string_equal(count_of("outgoing"), "1");
}

/* ---------------------------------------------------------------- files */

static const char *outbound(const char *suffix)
{
	static char path[700];

	snprintf(path, sizeof path, "%s/outbound.db%s", mailbox_folder(session), suffix);
	return path;
}

static void write_file(const char *path, size_t size, unsigned char byte)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	for (size_t i = 0; i < size; i++)
		fputc(byte, file);
	fclose(file);
}

static void a_damaged_file_fails_its_session_alone(void **state)
{
	keep_collection out;
	struct stat st;

	(void)state;
	rows_out(session, 3, "one", "chat", "telegram", "42", "{}", NULL);
	assert_int_equal(collect_well().count, 1);
	raw("PRAGMA wal_checkpoint(TRUNCATE)");
	assert_int_equal(stat(outbound(""), &st), 0);
	for (int fault = 0; fault < 7; fault++) {
		(void)unlink(outbound("-wal"));
		(void)unlink(outbound("-shm"));
		(void)unlink(outbound(""));
		(void)rmdir(outbound(""));
		if (fault == 0)
			write_file(outbound(""), 0, 0);
		else if (fault == 1)
			write_file(outbound(""), 100, 'x');
		else if (fault == 2)
			write_file(outbound(""), (size_t)st.st_size, 0xa5);
		else if (fault == 3)
			assert_int_equal(symlink("/etc/passwd", outbound("")), 0);
		else if (fault == 4)
			assert_int_equal(mkfifo(outbound(""), 0644), 0);
		else if (fault == 5)
			assert_int_equal(mkdir(outbound(""), 0755), 0);
		else
			assert_int_equal(symlink("outbound.db", outbound("")), 0);
		if (collect(session, &out) == KEEP_OK)
			assert_int_equal(out.count, 0); /* rebuilt: it has nothing to say */
		assert_neighbour_is_served();
	}
}

static void a_file_that_is_overwritten_while_it_is_open_fails_its_session_alone(void **state)
{
	keep_collection out;
	struct stat st;
	FILE *file;

	(void)state;
	for (int i = 0; i < 200; i++) {
		char id[20];

		snprintf(id, sizeof id, "m%d", i);
		rows_out(session, 3 + 2 * i, id, "chat", "telegram", "42", "{}", NULL);
	}
	raw("PRAGMA wal_checkpoint(TRUNCATE)");
	assert_int_equal(stat(outbound(""), &st), 0);
	file = fopen(outbound(""), "r+");
	assert_non_null(file);
	fseek(file, 100, SEEK_SET);
	for (long i = 100; i < st.st_size; i++)
		fputc(0x5a, file);
	fclose(file);
	(void)unlink(outbound("-shm"));
	(void)unlink(outbound("-wal"));
	assert_int_not_equal(collect(session, &out), KEEP_OK);
	assert_int_equal(truncate(outbound(""), 5000), 0);
	assert_int_not_equal(collect(session, &out), KEEP_OK);
	assert_neighbour_is_served();
}

/* In the place of its file, what would be waited for, or lead elsewhere. */
static void put_instead(const char *what)
{
	const char *path = outbound("");

	(void)unlink(path);
	(void)rmdir(path);
	if (strcmp(what, "folder") == 0)
		assert_int_equal(mkdir(path, 0700), 0);
	else if (strcmp(what, "fifo") == 0)
		assert_int_equal(mkfifo(path, 0600), 0);
	else
		assert_int_equal(symlink(what, path), 0);
}

static void what_is_no_file_is_the_sessions_damage_and_not_the_callers_mistake(void **state)
{
	static const char *const instead[] = {"folder", "fifo", "outbound.db", "/etc/passwd"};
	keep_messaging_group_agent wiring = {.messaging_group_id = KEEP_BYTES(MAILBOX_CHAT),
					     .agent_group_id = KEEP_BYTES(MAILBOX_AGENT)};
	keep_inbound_route message = {.channel_type = KEEP_BYTES("telegram"),
				      .platform_id = KEEP_BYTES("42"),
				      .content = KEEP_BYTES("{}")};
	keep_bytes id = keep_bytes_of(session);
	keep_post post = {.content = KEEP_BYTES("{}")};
	keep_post_result posted;
	keep_route_outcome routed;
	keep_collection out;
	keep_trace trace;

	(void)state;
	OK(keep_mailbox_wire(mailbox, &wiring, NULL, &err));
	for (size_t i = 0; i < KP_COUNT(instead); i++) {
		put_instead(instead[i]);
		assert_int_equal(keep_mailbox_post(mailbox, id, &post, &posted, &err),
				 KEEP_CORRUPT);
		assert_int_equal(
			keep_mailbox_route(mailbox, &message, NOW, &memory, &routed, &err),
			KEEP_CORRUPT);
		assert_int_equal(collect(session, &out), KEEP_CORRUPT);
		assert_int_equal(keep_mailbox_trace(mailbox, (keep_bytes){NULL, 0},
						    KEEP_BYTES("nobody"), NOW, &memory, &trace,
						    &err),
				 KEEP_CORRUPT);
		assert_neighbour_is_served();
	}
	/* The way out: what cannot be mended is closed and removed, and the chat goes on. */
	assert_int_equal(keep_mailbox_close_session(mailbox, id, NOW, &err), KEEP_CORRUPT);
	OK(keep_mailbox_remove_session(mailbox, id, &err));
	OK(keep_mailbox_route(mailbox, &message, NOW, &memory, &routed, &err));
	assert_int_equal(routed.taken, 1);
	assert_true(routed.items[0].is_new_session);
}

static void a_map_that_was_cut_short_kills_nobody(void **state)
{
	keep_collection out;

	(void)state;
	rows_out(session, 3, "one", "chat", "telegram", "42", "{}", NULL);
	assert_int_equal(collect_well().count, 1);
	raw("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS z (x)");
	(void)truncate(outbound("-shm"), 0);
	(void)collect(session, &out);
	assert_neighbour_is_served();
}

/* A process that dies in the middle of a transaction, with pages written. */
static void die_while_writing(const char *journal)
{
	char path[700], sql[1000];
	int status = 0;
	pid_t pid;

	snprintf(path, sizeof path, "%s", outbound(""));
	snprintf(sql, sizeof sql,
		 "PRAGMA journal_mode = %s; PRAGMA cache_size = 5; PRAGMA cache_spill = 1; BEGIN; "
		 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
		 "INSERT INTO messages_out (id, seq, timestamp, kind, channel_type, platform_id, "
		 "content) SELECT 'k' || i, 2 * i + 101, '2026-01-01T00:00:00.000Z', 'chat', "
		 "'telegram', '42', '{\"text\":\"never said\"}' FROM n",
		 journal);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		sqlite3 *db = NULL;

		if (sqlite3_open(path, &db) != SQLITE_OK)
			_exit(1);
		sqlite3_busy_timeout(db, 5000);
		_exit(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void what_a_killed_agent_left_half_done_is_taken_back(void **state)
{
	static const char *const journals[] = {"WAL", "DELETE"};

	(void)state;
	rows_out(session, 3, "said", "chat", "telegram", "42", "{}", NULL);
	for (size_t i = 0; i < KP_COUNT(journals); i++) {
		keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;

		keep_mailbox_close(&mailbox); /* a change of the mode needs the file alone */
		die_while_writing(journals[i]);
		options.timeout_ms = 5000;
		OK(mailbox_open_with(&options, &mailbox, &err));
		assert_int_equal(collect_well().count, 1);
	}
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest rows[] = {
		TEST(every_bad_row_is_refused_and_the_others_go_on),
		TEST(a_content_beyond_the_limit_is_refused),
		TEST(a_row_that_changes_after_it_was_taken_over_is_judged_again),
		TEST(a_number_out_of_reach_hides_nothing),
		TEST(acknowledgements_of_nothing_and_out_of_reach_do_no_harm),
	};
	const struct CMUnitTest files[] = {
		TEST(rows_of_wrong_types_are_refused_alone),
		TEST(a_million_rows_are_taken_over_bit_by_bit),
		TEST(a_view_without_an_end_fails_its_session_alone),
		TEST(tables_that_are_gone_fail_their_session_alone),
		TEST(the_sources_tables_alone_are_enough),
		TEST(tables_with_the_names_of_the_hosts_and_triggers_change_nothing),
		TEST(a_damaged_file_fails_its_session_alone),
		TEST(a_file_that_is_overwritten_while_it_is_open_fails_its_session_alone),
		TEST(what_is_no_file_is_the_sessions_damage_and_not_the_callers_mistake),
		TEST(a_map_that_was_cut_short_kills_nobody),
		TEST(what_a_killed_agent_left_half_done_is_taken_back),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(rows, NULL, NULL);
	if (mailbox_is_file()) /* a server lets nobody write what is not a row */
		failed += cmocka_run_group_tests(files, NULL, NULL);
	mailbox_end();
	return failed;
}
