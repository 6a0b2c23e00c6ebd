/*
 * test_assistant_adopt.c - another program's assistant.db is taken over whole, and stays as it is.
 *
 *     test_assistant_adopt sqlite|postgres
 */
#include "assistant_fixture.h"

#include "source_file.h"

#include "keep/schedule.h"

#include "vault/vault.h"

#include <sys/stat.h>

static char source[300];

/* The key of the fixture's stores, and another one. */
static const char our_key[] = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
static const char other_key[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

static void make_source(void)
{
	static int number;

	snprintf(source, sizeof source, "%s/source-%d.db", assistant_folder(), ++number);
	source_make(source, "source_assistant.sql");
}

static void add_credential(const char *key, const char *service, const char *secret)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	kp_keyring *ring = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char *sql = NULL;

	OK(kp_keyring_open(keep_bytes_of(key), &ring, &err));
	OK(kp_fernet_encrypt(ring, kp_clock_ms(), keep_bytes_of(secret), &token, &err));
	assert_true(asprintf(&sql,
			     "INSERT INTO service_credentials (service_name, credential_type, "
			     "credential_data, expires_at) VALUES ('%s', 'api_key', '%.*s', "
			     "'2027-01-01T00:00:00')",
			     service, (int)token.len, token.data) > 0);
	source_run(source, sql);
	free(sql);
	keep_buffer_release(&token);
	kp_keyring_close(&ring);
}

static const keep_adopted_table *find_table(const keep_adoption_report *report, const char *name)
{
	for (size_t i = 0; i < report->table_count; i++)
		if (kp_bytes_equal(report->tables[i].table, keep_bytes_of(name)))
			return &report->tables[i];
	fail_msg("the report has no table %s", name);
	return NULL;
}

static bool has_remark(const keep_adoption_report *report, const char *table, const char *words)
{
	for (size_t i = 0; i < report->remark_count; i++)
		if (strncmp(report->remarks[i].data, table, strlen(table)) == 0 &&
		    strstr(report->remarks[i].data, words))
			return true;
	return false;
}

static keep_status adopt(keep_assistant *assistant, keep_memory *memory,
			 keep_adoption_report *report, keep_error *err)
{
	keep_actor actor = {.user_id = KEEP_BYTES("ada")};

	return keep_assistant_adopt(assistant, source, KEEP_BYTES("mini"), &actor, memory, report,
				    err);
}

static keep_assistant *adopt_fresh(keep_memory *memory, keep_adoption_report *report)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	OK(adopt(assistant, memory, report, &err));
	return assistant;
}

#define assert_sql(sql, expected) assert_string_equal(assistant_sql(sql), expected)

/* Every row is told of once, and the tables hold what is told. */
static void assert_report_is_true(const keep_adoption_report *report)
{
	/* What a new store, or the adoption itself, has of its own: not the source's. */
	static const struct {
		const char *table, *rows;
	} tables[] = {
		{"conversations", "conversations"},
		{"messages", "messages"},
		{"conversation_memory", "conversation_memory"},
		{"agent_definitions", "agent_definitions"},
		{"agent_tasks", "agent_tasks"},
		{"cron_jobs", "cron_jobs"},
		{"future_tasks", "future_tasks"},
		{"job_executions", "job_executions"},
		{"service_connections", "service_connections"},
		{"prompts", "prompts WHERE \"key\" IN ('soul', 'mine')"},
		{"settings", "settings WHERE category = 'application'"},
		{"audit_log", "audit_log WHERE event_type <> 'adoption'"},
		{"search_index", "search_index"},
	};

	for (size_t i = 0; i < report->table_count; i++)
		assert_int_equal(report->tables[i].rows,
				 report->tables[i].adopted + report->tables[i].kept);
	for (size_t i = 0; i < KP_COUNT(tables); i++)
		assert_int_equal(find_table(report, tables[i].table)->adopted,
				 assistant_count(tables[i].rows));
}

/* ---------------------------------------------------------------- what is taken */

static void messages_are_numbered_by_time_and_then_id_in_all_forms_of_time(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_conversation conversation;
	keep_message_page page;
	keep_error err = KEEP_ERROR_INIT;
	keep_assistant *assistant;
	int64_t second = 0;

	(void)state;
	make_source();
	assistant = adopt_fresh(&memory, &report);
	OK(keep_assistant_get_conversation(assistant, KEEP_BYTES("talk"), &memory, &conversation,
					   &err));
	assert_int_equal(conversation.last_seq, 5);
	assert_int_equal(conversation.message_count, 4);
	assert_int_equal(conversation.context_version, 3);
	OK(keep_assistant_page(assistant, KEEP_BYTES("talk"), 0, 0, true, &memory, &page, &err));
	assert_int_equal(page.count, 5);
	assert_bytes_equal(page.items[4].message_id, KEEP_BYTES("c0"));
	assert_true(page.items[4].is_internal);
	assert_bytes_equal(page.items[3].message_id, KEEP_BYTES("m1"));
	assert_bytes_equal(page.items[2].message_id, KEEP_BYTES("m2"));
	assert_bytes_equal(page.items[1].message_id, KEEP_BYTES("m3"));
	assert_bytes_equal(page.items[0].message_id, KEEP_BYTES("m4"));
	assert_int_equal(page.items[0].seq, 5);
	OK(keep_time_parse(KEEP_BYTES("2026-08-15T10:00:02Z"), &second, &err));
	assert_int_equal(page.items[2].timestamp, second);
	assert_bytes_equal(page.items[0].role, KEEP_BYTES("system"));
	assert_int_equal(find_table(&report, "messages")->rows, 6);
	assert_int_equal(find_table(&report, "messages")->adopted, 5);
	assert_int_equal(find_table(&report, "messages")->kept, 1);
	/* A role and a JSON scalar that have no place here. */
	assert_int_equal(assistant_count("adopted_rows WHERE source_table = 'messages'"), 3);
	assert_true(has_remark(&report, "messages", "without a conversation"));
	/* And it goes on. */
	{
		keep_conversation_message message = {.conversation_id = KEEP_BYTES("talk"),
						     .role = KEEP_BYTES("user"),
						     .content = KEEP_BYTES("next")};
		keep_append_result result;

		OK(keep_assistant_append(assistant, &message, &result, &err));
		assert_int_equal(result.seq, 6);
	}
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void what_was_summarised_is_covered_by_the_newest_summary(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_context context;
	keep_error err = KEEP_ERROR_INIT;
	keep_assistant *assistant;

	(void)state;
	make_source();
	assistant = adopt_fresh(&memory, &report);
	OK(keep_assistant_context(assistant, KEEP_BYTES("talk"), 0, &memory, &context, &err));
	assert_true(context.has_summary);
	assert_bytes_equal(context.summary_text, KEEP_BYTES("they met"));
	assert_int_equal(context.count, 2);
	assert_bytes_equal(context.messages[0].message_id, KEEP_BYTES("m3"));
	assert_int_equal(assistant_count("messages WHERE is_summary"), 0);
	assert_int_equal(assistant_count("messages WHERE summarised_by IS NOT NULL"), 2);
	assert_int_equal(assistant_count("conversation_memory WHERE memory_type = 'facts'"), 1);
	assert_int_equal(find_table(&report, "conversation_memory")->adopted, 3);
	assert_int_equal(find_table(&report, "conversation_memory")->kept, 2);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void the_source_s_agents_and_prompts_replace_the_new_store_s(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_assistant *assistant;

	(void)state;
	make_source();
	assistant = adopt_fresh(&memory, &report);
	assert_int_equal(assistant_count("agent_definitions"), 2);
	assert_sql("SELECT CAST(priority AS text) FROM agent_definitions WHERE name = "
		   "'plugin_creator' AND NOT enabled",
		   "1");
	assert_sql("SELECT CAST(tools AS text) FROM agent_definitions WHERE name = "
		   "'plugin_creator'",
		   "[\"x\"]");
	assert_sql("SELECT value FROM prompts WHERE key = 'soul'", "Dry.");
	assert_int_equal(assistant_count("prompts"), 5);
	assert_true(has_remark(&report, "agent_definitions", "priority"));
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void nothing_runs_any_more_and_jobs_follow_their_own_dialect_and_zone(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_assistant *assistant;
	keep_cron_job job;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	make_source();
	assistant = adopt_fresh(&memory, &report);
	assert_int_equal(assistant_count("agent_tasks WHERE status = 'interrupted' AND "
					 "completed_at IS NOT NULL"),
			 2);
	assert_int_equal(assistant_count("agent_tasks WHERE status = 'completed' AND "
					 "conversation_id IS NULL"),
			 1);
	assert_sql("SELECT timezone FROM cron_jobs WHERE job_id = 'cron-1' AND dialect = "
		   "'apscheduler' AND enabled AND next_run_at IS NOT NULL",
		   "Europe/Brussels");
	/* 0 is Monday there: 1970 began on a Thursday. */
	OK(keep_assistant_get_cron_job(assistant, KEEP_BYTES("cron-1"), &memory, &job, &err));
	assert_int_equal((job.next_run_at / INT64_C(86400000) + 3) % 7, 0);
	assert_true(job.next_run_at > kp_clock_ms());
	assert_int_equal(assistant_count("cron_jobs WHERE job_id = 'cron-2' AND NOT enabled AND "
					 "next_run_at IS NULL"),
			 1);
	assert_int_equal(assistant_count("cron_jobs WHERE job_id = 'cron-3' AND next_run_at IS "
					 "NULL"),
			 1);
	assert_int_equal(assistant_count("cron_jobs"), 3);
	assert_true(has_remark(&report, "cron_jobs", "disabled"));
	assert_int_equal(assistant_count("future_tasks WHERE status = 'pending' AND due_at = "
					 "scheduled_time"),
			 1);
	assert_int_equal(assistant_count("future_tasks WHERE status = 'interrupted' AND due_at IS "
					 "NULL AND completed_at IS NOT NULL"),
			 1);
	assert_int_equal(assistant_count("job_executions"), 3);
	assert_int_equal(assistant_count("job_executions WHERE status = 'interrupted' AND attempt "
					 "= 2"),
			 1);
	assert_int_equal(assistant_count("adopted_rows WHERE source_table = 'cron_jobs'"), 3);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void settings_keep_what_their_definition_allows_and_hide_what_is_secret(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_assistant *assistant;

	(void)state;
	make_source();
	assistant = adopt_fresh(&memory, &report);
	assert_sql("SELECT value FROM settings WHERE key = 'web.enabled'", "false");
	assert_sql("SELECT value FROM settings WHERE key = 'web.loud'", "true");
	assert_sql("SELECT value FROM settings WHERE key = 'llm.temperature'", "0.7");
	assert_int_equal(assistant_count("settings WHERE key IN ('llm.max', 'ads.masked', "
					 "'empty') AND value IS NULL"),
			 3);
	assert_int_equal(assistant_count("settings WHERE key = 'ads.secret' AND key_id IS NOT "
					 "NULL AND value <> 'plain-secret'"),
			 1);
	assert_int_equal(assistant_count("settings WHERE category = 'retention'"), 5);
	/* A value that is none, and a row without a key, whose value is a secret. */
	assert_int_equal(assistant_count("adopted_rows WHERE source_table = 'settings'"), 2);
	assert_int_equal(assistant_count("adopted_rows WHERE CAST(data AS text) LIKE "
					 "'%-secret%'"),
			 0);
	assert_true(has_remark(&report, "settings", "refuses"));
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void the_rest_is_taken_or_kept_whole(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_audit_report verdict;
	keep_error err = KEEP_ERROR_INIT;
	keep_assistant *assistant;

	(void)state;
	make_source();
	assistant = adopt_fresh(&memory, &report);
	assert_sql("SELECT \"action\" FROM audit_log WHERE seq = 1", "first");
	assert_sql("SELECT CAST(details AS text) FROM audit_log WHERE seq = 1", "{\"b\": 2}");
	assert_sql("SELECT \"action\" FROM audit_log WHERE seq = 2", "second");
	assert_sql("SELECT \"action\" FROM audit_log WHERE seq = 3", "third");
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'adoption' AND user_id = "
					 "'ada'"),
			 1);
	OK(keep_assistant_verify_audit(assistant, &memory, &verdict, &err));
	assert_true(verdict.is_intact);
	assert_sql("SELECT status FROM service_connections", "error");
	assert_sql("SELECT model FROM search_index WHERE dimensions = 2", "mini");
	assert_int_equal(assistant_count("search_index WHERE embedding IS NULL AND model IS NULL"),
			 2);
	assert_int_equal(find_table(&report, "llm_consumption")->kept, 2);
	assert_int_equal(find_table(&report, "artifacts")->kept, 1);
	assert_int_equal(find_table(&report, "schema_migrations")->kept, 2);
	assert_int_equal(assistant_count("adopted_rows WHERE source_table = 'llm_consumption'"), 2);
	assert_report_is_true(&report);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void documents_are_found_by_words_and_by_vectors_at_once(void **state)
{
	static const float wanted[] = {1, 2};
	keep_search_query query = {.text = KEEP_BYTES("tea"), .limit = 5};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_search_matches matches;
	keep_error err = KEEP_ERROR_INIT;
	keep_assistant *assistant;

	(void)state;
	make_source();
	assistant = adopt_fresh(&memory, &report);
	for (int round = 0; round < 2; round++) {
		query = (keep_search_query){.text = KEEP_BYTES("tea")};
		OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
		assert_int_equal(matches.count, 1);
		assert_bytes_equal(matches.items[0].document.source_id, KEEP_BYTES("p1"));
		query = (keep_search_query){.vector = {(const char *)wanted, sizeof wanted},
					    .model = KEEP_BYTES("mini")};
		OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
		assert_int_equal(matches.count, 1);
		assert_bytes_equal(matches.items[0].document.source_id, KEEP_BYTES("p1"));
		assert_true(matches.items[0].similarity > 0.999);
		/* And after what waits was folded in. */
		OK(keep_assistant_optimize(assistant, &err));
	}
	assert_true(has_remark(&report, "search_index", "another length"));
	assert_int_equal(assistant_count("search_index WHERE dimensions = 3"), 1);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- secrets */

static void credentials_are_encrypted_anew_and_a_wrong_key_changes_nothing(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_credential credential;
	keep_error err = KEEP_ERROR_INIT;
	keep_assistant *assistant;

	(void)state;
	make_source();
	add_credential(our_key, "gmail", "{\"value\": \"s3cret\"}");
	assistant = adopt_fresh(&memory, &report);
	assert_int_equal(assistant_count("service_credentials WHERE key_id IS NOT NULL AND "
					 "expires_at IS NOT NULL"),
			 1);
	OK(keep_assistant_get_credential(assistant, KEEP_BYTES("gmail"), NULL, KEEP_NOW, &memory,
					 &credential, &err));
	assert_bytes_equal(credential.data, KEEP_BYTES("{\"value\": \"s3cret\"}"));
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);

	add_credential(other_key, "slack", "hidden");
	assistant = assistant_fresh();
	assert_int_equal(adopt(assistant, &memory, &report, &err), KEEP_DENIED);
	assert_null(strstr(err.message, "hidden"));
	assert_int_equal(assistant_count("service_credentials"), 0);
	assert_int_equal(assistant_count("conversations"), 0);
	assert_int_equal(assistant_count("agent_definitions"), 9);
	assert_int_equal(assistant_count("audit_log"), 0);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- the file */

static void the_file_keeps_every_byte_also_with_a_log_beside_it(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_error err = KEEP_ERROR_INIT;
	keep_assistant *assistant;
	size_t before_len, after_len;
	char *before, *after;
	sqlite3 *live = NULL;

	(void)state;
	make_source();
	before = source_bytes(source, &before_len);
	assistant = adopt_fresh(&memory, &report);
	after = source_bytes(source, &after_len);
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, before_len);
	test_free(before);
	test_free(after);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);

	assert_int_equal(sqlite3_open(source, &live), SQLITE_OK);
	assert_int_equal(sqlite3_exec(live,
				      "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; "
				      "INSERT INTO conversations (conversation_id, channel) "
				      "VALUES ('in the log', 'webui')",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	before = source_bytes(source, &before_len);
	assistant = assistant_fresh();
	OK(adopt(assistant, &memory, &report, &err));
	after = source_bytes(source, &after_len);
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, before_len);
	assert_int_equal(assistant_count("conversations WHERE conversation_id = 'in the log'"), 1);
	test_free(before);
	test_free(after);
	assert_int_equal(sqlite3_close(live), SQLITE_OK);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void an_older_layout_with_fewer_columns_and_tables_is_taken_too(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_error err = KEEP_ERROR_INIT;
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	snprintf(source, sizeof source, "%s/older.db", assistant_folder());
	source_run(
		source,
		"CREATE TABLE conversations (id INTEGER PRIMARY KEY, conversation_id TEXT, "
		"channel TEXT);"
		"CREATE TABLE messages (id INTEGER PRIMARY KEY, conversation_id TEXT, message_id "
		"TEXT, role TEXT, content TEXT, timestamp TIMESTAMP, metadata JSON);"
		"CREATE TABLE plugins (name TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;"
		"INSERT INTO conversations VALUES (1, 'c', 'webui');"
		"INSERT INTO messages VALUES (1, 'c', 'm', 'user', x'ff', 'never', "
		"'{\"internal\": true}');"
		"INSERT INTO messages VALUES (2, 'c', 'n', 'user', 'hello', '2026-01-01 00:00:00', "
		"NULL);"
		"INSERT INTO plugins VALUES ('p', x'00ff');");
	OK(adopt(assistant, &memory, &report, &err));
	assert_int_equal(assistant_count("messages WHERE is_internal AND content = '' AND seq = 2"),
			 1);
	assert_int_equal(assistant_count("agent_definitions"), 9);
	assert_int_equal(assistant_count("prompts"), 4);
	assert_sql("SELECT CAST(data AS text) FROM adopted_rows WHERE source_table = 'plugins'",
		   "{\"name\":\"p\",\"data\":{\"base64\":\"AP8=\"}}");
	assert_true(has_remark(&report, "messages", "a time"));
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

static void only_a_source_s_file_goes_into_only_a_new_store(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_error err = KEEP_ERROR_INIT;
	keep_assistant *assistant, *reader = NULL;
	keep_assistant_options read_only = KEEP_ASSISTANT_OPTIONS_INIT;
	int64_t rows;

	(void)state;
	make_source();
	assistant = adopt_fresh(&memory, &report);
	rows = assistant_count("adopted_rows");
	assert_int_equal(adopt(assistant, &memory, &report, &err), KEEP_CONFLICT);
	assert_int_equal(assistant_count("adopted_rows"), rows);
	read_only.read_only = read_only.without_keys = true;
	OK(assistant_open_with(&read_only, &reader, &err));
	assert_int_equal(adopt(reader, &memory, &report, &err), KEEP_DENIED);
	keep_assistant_close(&reader);
	keep_assistant_close(&assistant);

	/* An agent of somebody's own does not vanish. */
	assistant = assistant_fresh();
	OK(keep_assistant_remove_agent(assistant, KEEP_BYTES("writer"), NULL, &err));
	assert_int_equal(adopt(assistant, &memory, &report, &err), KEEP_CONFLICT);
	assert_int_equal(assistant_count("agent_definitions"), 8);
	keep_assistant_close(&assistant);

	assistant = assistant_fresh();
	snprintf(source, sizeof source, "%s/none.db", assistant_folder());
	assert_int_equal(adopt(assistant, &memory, &report, &err), KEEP_NOT_FOUND);
	source_run(source, "CREATE TABLE messages (id INTEGER PRIMARY KEY, seq INTEGER)");
	assert_int_equal(adopt(assistant, &memory, &report, &err), KEEP_CONFLICT);
	if (assistant_is_file()) {
		snprintf(source, sizeof source, "%s", assistant_file());
		assert_int_equal(adopt(assistant, &memory, &report, &err), KEEP_CONFLICT);
	}
	assert_int_equal(assistant_count("conversations"), 0);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_numbered_by_time_and_then_id_in_all_forms_of_time),
		cmocka_unit_test(what_was_summarised_is_covered_by_the_newest_summary),
		cmocka_unit_test(the_source_s_agents_and_prompts_replace_the_new_store_s),
		cmocka_unit_test(nothing_runs_any_more_and_jobs_follow_their_own_dialect_and_zone),
		cmocka_unit_test(
			settings_keep_what_their_definition_allows_and_hide_what_is_secret),
		cmocka_unit_test(the_rest_is_taken_or_kept_whole),
		cmocka_unit_test(documents_are_found_by_words_and_by_vectors_at_once),
		cmocka_unit_test(credentials_are_encrypted_anew_and_a_wrong_key_changes_nothing),
		cmocka_unit_test(the_file_keeps_every_byte_also_with_a_log_beside_it),
		cmocka_unit_test(an_older_layout_with_fewer_columns_and_tables_is_taken_too),
		cmocka_unit_test(only_a_source_s_file_goes_into_only_a_new_store),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
