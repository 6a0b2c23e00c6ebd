/*
 * test_gateway_adopt.c - keep_gateway_adopt takes over everything that a messages.db of the source
 * holds, once, and changes nothing of it.
 *
 *     test_gateway_adopt sqlite|postgres
 */
#include "gateway_fixture.h"
#include "source_file.h"

#include <sys/stat.h>

static char source[200];
static const char now_text[] = "2026-06-01T00:00:00Z";

static int64_t still(void *ctx)
{
	(void)ctx;
	int64_t now = 0;

	assert_int_equal(keep_time_parse(keep_bytes_of(now_text), &now, NULL), KEEP_OK);
	return now;
}

static int make_source(void **state)
{
	(void)state;
	(void)snprintf(source, sizeof source, "/tmp/keep-source-%ld.db", (long)getpid());
	source_remove(source);
	kp_clock_inject(still, NULL);
	return 0;
}

static int remove_source(void **state)
{
	(void)state;
	kp_clock_inject(NULL, NULL);
	source_remove(source);
	keep_zone_forget();
	assert_nothing_lives();
	return 0;
}

static keep_gateway *adopt_fixture(keep_adoption *counts)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;

	source_make(source, "source_messages.sql");
	OK(keep_gateway_adopt(gateway, source, counts, &err));
	return gateway;
}

static void expect(const char *sql, const char *expected)
{
	const char *found = gateway_sql(sql);

	CHECK(strcmp(found, expected) == 0, "%s: '%s' instead of '%s'", sql, found, expected);
}

/* ---------------------------------------------------------------- nothing is lost */

/* Where a column of another name went. */
static const char *target_column(const char *table, const char *column)
{
	static const char *const renamed[][3] = {{"messages", "routed_to", "group_folder"},
						 {"onboarding", "created", "created_at"},
						 {"system_messages", "attrs", "attributes"}};

	for (size_t i = 0; i < KP_COUNT(renamed); i++)
		if (strcmp(table, renamed[i][0]) == 0 && strcmp(column, renamed[i][1]) == 0)
			return renamed[i][2];
	return column;
}

static bool has_target(const char *table, const char *column)
{
	char sql[400];

	(void)snprintf(sql, sizeof sql,
		       gateway_is_file() ? "SELECT count(*) || '' FROM pragma_table_info('%s') "
					   "WHERE name = '%s'"
					 : "SELECT count(*) || '' FROM information_schema.columns "
					   "WHERE table_schema = current_schema() AND "
					   "table_name = '%s' AND column_name = '%s'",
		       table, column);
	return strcmp(gateway_sql(sql), "0") != 0;
}

static bool is_stored(const char *table, const char *column, const char *value, const char *quoted)
{
	char *sql = NULL, time[KEEP_TIME_TEXT_SIZE];
	int64_t ms = 0;
	bool is_time = strcmp(table, "router_state") != 0 && strlen(value) >= 19 &&
		       keep_time_parse(keep_bytes_of(value), &ms, NULL) == KEEP_OK;
	bool found = false;

	assert_true(
		asprintf(&sql,
			 "SELECT count(*) || '' FROM adopted_rows WHERE source_table = '%s' AND "
			 "CAST(data ->> '%s' AS text) = %s",
			 strchr(table, '"') ? "odd \"table\"" : table, column, quoted) > 0);
	found = strcmp(gateway_sql(sql), "0") != 0;
	free(sql);
	column = target_column(table, column);
	if (found || strchr(table, '"') || !has_target(table, column))
		return found;
	if (is_time)
		assert_int_equal(keep_time_format(ms, time, NULL), KEEP_OK);
	assert_true(asprintf(&sql,
			     is_time ? "SELECT count(*) || '' FROM %s WHERE \"%s\" = '%s'"
			     : (strcmp(column, "attributes") == 0 ||
				strcmp(column, "container_config") == 0)
				     ? "SELECT count(*) || '' FROM %s WHERE CAST(\"%s\" "
				       "AS text) = %s"
				     : "SELECT count(*) || '' FROM %s WHERE \"%s\" = %s",
			     table, column, is_time ? time : quoted) > 0);
	found = strcmp(gateway_sql(sql), "0") != 0;
	free(sql);
	return found;
}

static void check_row(const char *table, sqlite3_stmt *row)
{
	for (int i = 0; i < sqlite3_column_count(row); i++) {
		const char *name = sqlite3_column_name(row, i);
		const char *text = (const char *)sqlite3_column_text(row, i);
		char quoted[600];

		/* 0 says nothing where the column is a flag. */
		if (!text || !*text || sqlite3_column_type(row, i) == SQLITE_BLOB ||
		    (strcmp(text, "0") == 0 && (strcmp(name, "is_bot_message") == 0)))
			continue;
		if (!kp_text_is_storable((keep_bytes){text, (size_t)sqlite3_column_bytes(row, i)}))
			continue; /* of the odd table, below */
		sqlite3_snprintf(sizeof quoted, quoted, "%Q", text);
		CHECK(is_stored(table, name, text, quoted), "%s.%s: %s is lost", table, name, text);
	}
}

static void every_value_of_every_table_is_somewhere(void **state)
{
	keep_adoption counts;
	keep_gateway *gateway = adopt_fixture(&counts);
	sqlite3_stmt *tables = NULL, *rows = NULL;
	sqlite3 *db = NULL;
	int count = 0;

	(void)state;
	assert_int_equal(sqlite3_open(source, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db,
					    "SELECT replace(name, '\"', '\"\"') FROM sqlite_schema "
					    "WHERE type = 'table'",
					    -1, &tables, NULL),
			 SQLITE_OK);
	while (sqlite3_step(tables) == SQLITE_ROW) {
		const char *table = (const char *)sqlite3_column_text(tables, 0);
		char sql[100];

		(void)snprintf(sql, sizeof sql, "SELECT * FROM \"%s\"", table);
		assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &rows, NULL), SQLITE_OK);
		for (; sqlite3_step(rows) == SQLITE_ROW; count++)
			check_row(table, rows);
		sqlite3_finalize(rows);
	}
	sqlite3_finalize(tables);
	sqlite3_close(db);
	assert_true(count > 50);
	expect("SELECT count(*) || '' FROM adopted_rows WHERE source_table = 'odd \"table\"' AND "
	       "data -> 'a' ->> 'base64' = 'AP8=' AND CAST(data ->> 'c' AS text) = "
	       "'9223372036854775807'",
	       "1");
	expect("SELECT count(*) || '' FROM adopted_rows WHERE source_table = 'odd \"table\"' AND "
	       "data -> 'c' ->> 'base64' = '/0E=' AND data -> 'd' ->> 'base64' = 'YQBi' AND "
	       "data ->> 'b' = 'Inf'",
	       "1");
	keep_gateway_close(&gateway);
}

static void the_counts_say_what_was_taken_over(void **state)
{
	keep_adoption counts;
	keep_gateway *gateway = adopt_fixture(&counts);

	(void)state;
	assert_int_equal(counts.messages, 11);
	assert_int_equal(counts.chats, 2);
	assert_int_equal(counts.routes, 2);
	assert_int_equal(counts.groups, 2);
	assert_int_equal(counts.sessions, 2);
	assert_int_equal(counts.session_log, 2);
	assert_int_equal(counts.system_messages, 3);
	assert_int_equal(counts.tasks, 5);
	assert_int_equal(counts.task_runs, 1);
	assert_int_equal(counts.state, 3);
	assert_int_equal(counts.users, 2);
	assert_int_equal(counts.auth_sessions, 2);
	assert_int_equal(counts.user_groups, 2);
	assert_int_equal(counts.email_threads, 1);
	assert_int_equal(counts.onboarding, 2);
	assert_int_equal(counts.cursors, 5); /* router: three chats; agent: two */
	assert_int_equal(counts.other_rows, strtol(gateway_sql("SELECT count(*) || '' FROM "
							       "adopted_rows"),
						   NULL, 10));
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- messages and cursors */

static void messages_are_numbered_by_time_and_the_agents_are_delivered(void **state)
{
	static const char *const ids[] = {"t1", "t1b", "t2", "t3", "bot-1", "out-9", "t6"};
	keep_gateway *gateway = adopt_fixture(NULL);
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_message_list list;

	(void)state;
	OK(keep_gateway_history(gateway, KEEP_BYTES("telegram:42"), 0, 100, &memory, &list, &err));
	assert_int_equal(list.count, KP_COUNT(ids));
	for (size_t i = 0; i < list.count; i++) {
		const keep_message *message = &list.items[list.count - 1 - i];
		bool is_ours = i == 4 || i == 5;

		assert_bytes_equal(message->id, keep_bytes_of(ids[i]));
		assert_int_equal(message->seq, i + 1);
		assert_int_equal(message->is_from_me, is_ours);
		assert_bytes_equal(message->status,
				   keep_bytes_of(is_ours ? "delivered" : "received"));
	}
	assert_bytes_equal(list.items[2].group_folder, KEEP_BYTES("main"));
	assert_bytes_equal(list.items[1].source, KEEP_BYTES("teled"));
	expect("SELECT last_seq || ' ' || last_input_seq FROM chats WHERE jid = 'telegram:42'",
	       "7 7");
	expect("SELECT count(*) || '' FROM messages WHERE is_future AND id = 'f1'", "1");
	expect("SELECT count(*) || '' FROM chats WHERE jid = 'email:abc' AND last_message_at = "
	       "'2026-03-01T08:00:00.000Z'",
	       "1");
	expect("SELECT name || channel FROM chats WHERE jid = 'telegram:42' AND is_group AND "
	       "errored",
	       "Friendstelegram");
	expect("SELECT last_seq || '' FROM chats WHERE jid = 'discord:1'", "0");
	/* and the next one goes on from there */
	assert_int_equal(gateway_put(gateway, "telegram:42", "new", "text"), 8);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void the_cursors_stand_after_what_was_read(void **state)
{
	static const struct {
		const char *consumer, *jid;
		int64_t seq;
	} cursors[] = {{"router", "telegram:42", 4}, {"router", "web:main", 0},
		       {"router", "email:abc", 1},   {"agent", "telegram:42", 1},
		       {"agent", "web:main", 1},     {"agent", "email:abc", 0},
		       {"agent", "discord:1", 0}};
	keep_gateway *gateway = adopt_fixture(NULL);
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_pending_list pending;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cursors); i++) {
		int64_t seq = -1;

		OK(keep_gateway_get_cursor(gateway, keep_bytes_of(cursors[i].consumer),
					   keep_bytes_of(cursors[i].jid), &seq, &err));
		CHECK(seq == cursors[i].seq, "%s of %s: %lld", cursors[i].consumer, cursors[i].jid,
		      (long long)seq);
	}
	/* every consumer has a cursor of every chat, pending if and only if there is input */
	expect("SELECT count(*) || '' FROM cursors", "8");
	expect("SELECT count(*) || '' FROM cursors JOIN chats ON jid = chat_jid WHERE "
	       "(pending_since IS NOT NULL) <> (last_input_seq > seq)",
	       "0");
	OK(keep_gateway_pending_chats(gateway, KEEP_BYTES("router"), 10, &memory, &pending, &err));
	assert_int_equal(pending.count, 3);
	assert_bytes_equal(pending.items[0].jid, KEEP_BYTES("telegram:42"));
	expect("SELECT count(*) || '' FROM cursors WHERE consumer = 'router' AND chat_jid = "
	       "'telegram:42' AND pending_since = '2026-03-01T10:00:09.500Z'",
	       "1");
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_consumer_that_was_there_before_misses_nothing(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_pending_list pending;

	(void)state;
	source_make(source, "source_messages.sql");
	OK(keep_gateway_pending_chats(gateway, KEEP_BYTES("early"), 10, &memory, &pending, &err));
	OK(keep_gateway_adopt(gateway, source, NULL, &err));
	OK(keep_gateway_pending_chats(gateway, KEEP_BYTES("early"), 10, &memory, &pending, &err));
	assert_int_equal(pending.count, 3);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- the other tables */

static void tasks_are_live_or_say_why_not(void **state)
{
	keep_gateway *gateway = adopt_fixture(NULL);

	(void)state;
	expect("SELECT status || dialect || timezone || context_mode FROM scheduled_tasks WHERE id "
	       "= "
	       "'task-cron'",
	       "activerobfigUTCisolated");
	expect("SELECT status || cron FROM scheduled_tasks WHERE id = 'task-firing' AND next_run = "
	       "'2026-03-01T17:00:00.000Z'",
	       "active60000");
	expect("SELECT status FROM scheduled_tasks WHERE id = 'task-broken' AND last_error <> ''",
	       "failed");
	expect("SELECT status FROM scheduled_tasks WHERE id = 'task-idle' AND next_run = "
	       "'2026-06-01T00:05:00.000Z'",
	       "active");
	expect("SELECT count(*) || '' FROM task_run_logs WHERE id = 21 AND message_id IS NULL AND "
	       "duration_ms = 12",
	       "1");
	keep_gateway_close(&gateway);
}

static void what_two_rows_may_not_share_is_the_firsts(void **state)
{
	keep_gateway *gateway = adopt_fixture(NULL);

	(void)state;
	expect("SELECT jid FROM registered_groups WHERE slink_token = 'tok-1' AND "
	       "length(slink_hash) "
	       "= 64",
	       "telegram:42");
	expect("SELECT count(DISTINCT family_id) || '' FROM auth_sessions", "2");
	expect("SELECT data ->> 'slink_token' FROM adopted_rows WHERE source_table = "
	       "'registered_groups' AND data ->> 'jid' = 'web:main'",
	       "tok-1");
	keep_gateway_close(&gateway);
}

static void a_body_of_elements_stays_one_and_a_text_is_a_text(void **state)
{
	keep_gateway *gateway = adopt_fixture(NULL);

	(void)state;
	expect("SELECT count(*) || '' FROM system_messages WHERE is_xml", "1");
	expect("SELECT attributes || '' FROM system_messages WHERE is_xml", "{\"a\":\"b\"}");
	keep_gateway_close(&gateway);
}

static void ids_of_the_database_go_on_above_those_that_came_along(void **state)
{
	keep_gateway *gateway = adopt_fixture(NULL);

	(void)state;
	(void)gateway_sql("INSERT INTO routes (jid, target) VALUES ('a:1', 'main')");
	expect("SELECT id || '' FROM routes WHERE jid = 'a:1'", "8");
	(void)gateway_sql("INSERT INTO session_log (group_folder, session_id, started_at) VALUES "
			  "('a', 'b', '2026-01-01T00:00:00.000Z')");
	expect("SELECT max(id) || '' FROM session_log", "6");
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- other versions of the source */

static void columns_may_be_missing_and_others_may_be_there(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_adoption counts;

	(void)state;
	source_run(
		source,
		"CREATE TABLE messages (id TEXT PRIMARY KEY, chat_jid TEXT, content TEXT, "
		"timestamp TEXT, status TEXT, is_bot_message INTEGER, platform_id TEXT, turn_id "
		"TEXT, attachments TEXT, errored INTEGER, link_context TEXT);"
		"INSERT INTO messages VALUES ('1', 'a:1', 'x', '2026-01-01T00:00:00Z', 'sent', 0, "
		"NULL, 't', '[1]', 1, 'link');"
		"INSERT INTO messages VALUES ('2', 'a:1', 'y', '2026-01-01 00:00:01.25', "
		"'pending', "
		"1, 'p2', 't', '{oops', 0, NULL);"
		"INSERT INTO messages VALUES ('3', 'a:1', 'z', '2026-01-01T00:00:02Z', 'failed', "
		"1, "
		"NULL, NULL, '', 0, '');"
		"CREATE TABLE registered_groups (jid TEXT PRIMARY KEY, folder TEXT, trigger_word "
		"TEXT, requires_trigger INTEGER);"
		"INSERT INTO registered_groups VALUES ('a:1', 'f', 'hey', 1);"
		"CREATE TABLE groups (folder TEXT PRIMARY KEY); INSERT INTO groups VALUES ('f')");
	OK(keep_gateway_adopt(gateway, source, &counts, &err));
	assert_int_equal(counts.messages, 3);
	expect("SELECT status FROM messages WHERE id = '2' AND platform_id = 'p2' AND "
	       "\"timestamp\" = "
	       "'2026-01-01T00:00:01.250Z'",
	       "uncertain");
	expect("SELECT status FROM messages WHERE id = '3'", "failed");
	expect("SELECT data ->> 'attachments' FROM adopted_rows WHERE data ->> 'id' = '2'",
	       "{oops");
	expect("SELECT data ->> 'link_context' FROM adopted_rows WHERE data ->> 'id' = '1' AND "
	       "CAST(data ->> 'errored' AS text) = '1'",
	       "link");
	expect("SELECT trigger_word FROM registered_groups WHERE requires_trigger", "hey");
	expect("SELECT data ->> 'folder' FROM adopted_rows WHERE source_table = 'groups'", "f");
	expect("SELECT count(*) || '' FROM consumers", "0");
	keep_gateway_close(&gateway);
}

static void a_row_that_cannot_be_read_is_named_and_nothing_is_stored(void **state)
{
	static const struct {
		const char *sql, *words;
	} bad[] = {
		{"UPDATE messages SET timestamp = 'yesterday' WHERE id = 't2'", "messages row 3"},
		{"UPDATE messages SET timestamp = '' WHERE id = 't2'", "timestamp is missing"},
		{"UPDATE messages SET id = NULL WHERE id = 't3'", "messages row 1: id is missing"},
		{"UPDATE messages SET content = CAST(x'ff' AS TEXT) WHERE id = 't3'",
		 "content is not UTF-8"},
		{"UPDATE router_state SET value = 'soon' WHERE key = 'last_timestamp'",
		 "last_timestamp"},
		{"UPDATE router_state SET value = '[' WHERE key = 'last_agent_timestamp'",
		 "last_agent_timestamp"},
		{"UPDATE auth_sessions SET expires_at = '' WHERE token_hash = '01ff'",
		 "auth_sessions row 2"},
	};
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		source_remove(source);
		source_make(source, "source_messages.sql");
		source_run(source, bad[i].sql);
		keep_status status = keep_gateway_adopt(gateway, source, NULL, &err);

		CHECK(status == KEEP_CORRUPT, "%s: %s", bad[i].sql, keep_status_name(status));
		CHECK(strstr(err.message, bad[i].words), "%s", err.message);
		assert_null(strstr(err.message, "01ff"));
		expect("SELECT ((SELECT count(*) FROM messages) + (SELECT count(*) FROM routes) + "
		       "(SELECT count(*) FROM adopted_rows) + (SELECT count(*) FROM consumers)) || "
		       "''",
		       "0");
	}
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- which files */

static void only_a_messages_db_is_adopted_and_only_by_an_empty_gateway(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	FILE *out;

	(void)state;
	assert_int_equal(keep_gateway_adopt(gateway, source, NULL, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_gateway_adopt(gateway, "/", NULL, &err), KEEP_INVALID);
	out = fopen(source, "wb");
	assert_int_equal(fprintf(out, "%01000d", 0), 1000);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(keep_gateway_adopt(gateway, source, NULL, &err), KEEP_INVALID);
	source_remove(source);
	source_run(source, "CREATE TABLE bookmarks (a)");
	assert_int_equal(keep_gateway_adopt(gateway, source, NULL, &err), KEEP_INVALID);
	source_remove(source);
	source_run(source, "CREATE TABLE messages (chat_jid, id, content, timestamp, seq)");
	assert_int_equal(keep_gateway_adopt(gateway, source, NULL, &err), KEEP_INVALID);
	CHECK(strstr(err.message, "open it"), "%s", err.message);
	source_remove(source);
	source_make(source, "source_messages.sql");
	OK(keep_gateway_adopt(gateway, source, NULL, &err));
	assert_int_equal(keep_gateway_adopt(gateway, source, NULL, &err), KEEP_CONFLICT);
	expect("SELECT count(*) || '' FROM messages", "11");
	keep_gateway_close(&gateway);
}

static void a_reading_gateway_adopts_nothing(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	options.read_only = true;
	source_make(source, "source_messages.sql");
	OK(gateway_open_with(&options, &reader, &err));
	assert_int_equal(keep_gateway_adopt(reader, source, NULL, &err), KEEP_DENIED);
	keep_gateway_close(&reader);
	keep_gateway_close(&gateway);
}

static bool is_there(const char *suffix)
{
	char name[300];

	(void)snprintf(name, sizeof name, "%s%s", source, suffix);
	return access(name, F_OK) == 0;
}

static void the_source_keeps_every_byte(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	size_t before_len, after_len;
	char *before, *after;

	(void)state;
	source_make(source, "source_messages.sql");
	source_run(source, "PRAGMA journal_mode = wal");
	before = source_bytes(source, &before_len);
	OK(keep_gateway_adopt(gateway, source, NULL, &err));
	after = source_bytes(source, &after_len);
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, before_len);
	assert_false(is_there("-wal") || is_there("-shm") || is_there("-guard"));
	test_free(before);
	test_free(after);
	keep_gateway_close(&gateway);
}

static void what_is_in_the_log_alone_is_taken_over_and_the_log_stays(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	size_t before_len, after_len, log_len, log_after_len;
	char *before, *after, *log, *log_after, name[300];
	sqlite3 *db = NULL;

	(void)state;
	source_make(source, "source_messages.sql");
	(void)snprintf(name, sizeof name, "%s-wal", source);
	assert_int_equal(sqlite3_open(source, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db,
			     "PRAGMA journal_mode = wal; INSERT INTO messages (id, chat_jid, "
			     "sender, content, timestamp) VALUES ('logged', 'a:1', 's', 'c', "
			     "'2026-03-01T00:00:00Z')",
			     NULL, NULL, NULL),
		SQLITE_OK);
	before = source_bytes(source, &before_len);
	log = source_bytes(name, &log_len);
	OK(keep_gateway_adopt(gateway, source, NULL, &err));
	expect("SELECT count(*) || '' FROM messages WHERE id = 'logged'", "1");
	after = source_bytes(source, &after_len);
	log_after = source_bytes(name, &log_after_len);
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, before_len);
	assert_int_equal(log_len, log_after_len);
	assert_memory_equal(log, log_after, log_len);
	sqlite3_close(db);
	test_free(before);
	test_free(after);
	test_free(log);
	test_free(log_after);
	keep_gateway_close(&gateway);
}

static void many_messages_take_no_more_memory(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_adoption counts;

	(void)state;
	source_run(
		source,
		"CREATE TABLE messages (id TEXT PRIMARY KEY, chat_jid TEXT, sender TEXT, content "
		"TEXT, timestamp TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
		"FROM "
		"n WHERE i < 20000) INSERT INTO messages SELECT 'm' || i, 'c:' || (i % 100), 's', "
		"hex(zeroblob(100)), strftime('%Y-%m-%dT%H:%M:%SZ', 1767225600 + (i * 7919) % "
		"20000,"
		" 'unixepoch') FROM n");
	OK(keep_gateway_adopt(gateway, source, &counts, &err));
	assert_int_equal(counts.messages, 20000);
	expect("SELECT count(*) || '' FROM chats WHERE last_seq = 200 AND last_input_seq = 200",
	       "100");
	expect("SELECT count(*) || '' FROM messages a JOIN messages b ON b.chat_jid = a.chat_jid "
	       "AND "
	       "b.seq = a.seq + 1 WHERE b.\"timestamp\" < a.\"timestamp\"",
	       "0");
	keep_gateway_close(&gateway);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_source, remove_source)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(every_value_of_every_table_is_somewhere),
		TEST(the_counts_say_what_was_taken_over),
		TEST(messages_are_numbered_by_time_and_the_agents_are_delivered),
		TEST(the_cursors_stand_after_what_was_read),
		TEST(a_consumer_that_was_there_before_misses_nothing),
		TEST(tasks_are_live_or_say_why_not),
		TEST(what_two_rows_may_not_share_is_the_firsts),
		TEST(a_body_of_elements_stays_one_and_a_text_is_a_text),
		TEST(ids_of_the_database_go_on_above_those_that_came_along),
		TEST(columns_may_be_missing_and_others_may_be_there),
		TEST(a_row_that_cannot_be_read_is_named_and_nothing_is_stored),
		TEST(only_a_messages_db_is_adopted_and_only_by_an_empty_gateway),
		TEST(a_reading_gateway_adopts_nothing),
		TEST(the_source_keeps_every_byte),
		TEST(what_is_in_the_log_alone_is_taken_over_and_the_log_stays),
		TEST(many_messages_take_no_more_memory),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
