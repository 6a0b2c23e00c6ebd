/*
 * test_transfer_assistant.c - contracts/assistant.md: an assistant's store that was filled and used
 * goes to a server and back, and is used on each side: what was there is found, decrypted, run and
 * verified, and numbers go on.
 */
#include "home_fixture.h"
#include "keep/assistant_admin.h"
#include "keep/assistant_care.h"
#include "keep/assistant_search.h"
#include "keep/assistant_work.h"
#include "keep/backups.h"
#include "keep/operations.h"
#include "keep/schedule.h"
#include "temp_folder.h"

#include <fcntl.h>

#define KEY "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
#define OTHER_KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define T INT64_C(1775901600000) /* 2026-04-11T10:00:00Z */
#define MINUTE INT64_C(60000)

enum { DIMENSIONS = 8, DOCUMENTS = 40 };

static temp_folder folder;
static const keep_bytes nothing = {NULL, 0};

static const char *path_of(const char *name, char out[128])
{
	return temp_path(&folder, name, out);
}

/* The assistant's store of a home, with these keys. */
static keep_status open_store(const char *home, const char *keys, keep_assistant **out,
			      keep_error *err)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	char url[HOME_URL_MAX + 40];
	bool is_server = strncmp(home, "postgres://", 11) == 0;

	(void)snprintf(url, sizeof url,
		       is_server ? "%s&schema=assistant" : "sqlite:%s/assistant/assistant.db",
		       home);
	options.create = true;
	options.keys = keys;
	options.timeout_ms = 20000;
	return keep_assistant_open(url, &options, out, err);
}

static keep_assistant *open_home(const char *home)
{
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;

	OK(open_store(home, KEY, &assistant, &err));
	return assistant;
}

/* A folder that is a home with room for an assistant. */
static void make_home(const char *home)
{
	keep_error err = KEEP_ERROR_INIT;
	char store[200];

	OK(keep_home_init(home, &err));
	(void)snprintf(store, sizeof store, "%s/assistant", home);
	OK(kp_folder_make(AT_FDCWD, store, 0700, &err));
}

static void vector_of(int number, float out[DIMENSIONS])
{
	uint64_t seed = (uint64_t)number + 1;

	for (int i = 0; i < DIMENSIONS; i++)
		out[i] = (float)((double)(next_random(&seed) % 2001) - 1000) / 500;
}

/* ---------------------------------------------------------------- fill */

static void append(keep_assistant *assistant, const char *id, const char *role, const char *content)
{
	const keep_conversation_message message = {.conversation_id = KEEP_BYTES("c"),
						   .message_id = keep_bytes_of(id),
						   .role = keep_bytes_of(role),
						   .content = keep_bytes_of(content),
						   .token_count = 10,
						   .metadata = KEEP_BYTES("{\"z\":1,\"a\":[]}"),
						   .timestamp = T};
	keep_append_result result;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_append(assistant, &message, &result, &err));
	assert_false(result.is_duplicate);
}

static void fill_talk(keep_assistant *assistant)
{
	const keep_conversation conversation = {.conversation_id = KEEP_BYTES("c"),
						.channel = KEEP_BYTES("web"),
						.contact_identifier = KEEP_BYTES("ada"),
						.metadata = KEEP_BYTES("{\"pinned\":true}")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_conversation out;
	int64_t version = 0, id = 0;
	bool flag = false;

	OK(keep_assistant_add_conversation(assistant, &conversation, T, &memory, &out, &flag,
					   &err));
	append(assistant, "m1", "user", "Crème brûlée for the STRASSE");
	append(assistant, "m2", "assistant", "東京タワーの話");
	append(assistant, "m3", "user", "a party \xf0\x9f\x8e\x89 with \xf4\x8f\xbf\xbd");
	append(assistant, "m4", "tool", "the last of them");
	OK(keep_assistant_add_summary(assistant, KEEP_BYTES("c"), 1, 2, KEEP_BYTES("of dessert"), 3,
				      &version, &flag, &err));
	OK(keep_assistant_remember(assistant, KEEP_BYTES("c"), KEEP_BYTES("facts"),
				   KEEP_BYTES("\"Ada likes Crème\""), T, &id, &flag, &err));
	OK(keep_assistant_remember(assistant, KEEP_BYTES("c"), KEEP_BYTES("working"),
				   KEEP_BYTES("{\"step\":2.50,\"big\":12345678901234567890}"), T,
				   &id, &flag, &err));
	keep_memory_release(&memory);
}

static void fill_admin(keep_assistant *assistant)
{
	const keep_setting plain = {.key = KEEP_BYTES("mail.every"),
				    .value_type = KEEP_BYTES("float"),
				    .min_value = 0.1,
				    .has_min_value = true,
				    .max_value = 1e300,
				    .has_max_value = true};
	const keep_setting hidden = {.key = KEEP_BYTES("mail.password"), .is_sensitive = true};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_put_credential(assistant, KEEP_BYTES("mail"), KEEP_BYTES("api_key"),
					 KEEP_BYTES("a secret"), T, NULL, &err));
	OK(keep_assistant_define_setting(assistant, &plain, NULL, &err));
	OK(keep_assistant_define_setting(assistant, &hidden, NULL, &err));
	OK(keep_assistant_set_setting(assistant, plain.key, KEEP_BYTES("2.5"), NULL, &err));
	OK(keep_assistant_set_setting(assistant, hidden.key, KEEP_BYTES("pässword"), NULL, &err));
	OK(keep_assistant_set_prompt(assistant, KEEP_BYTES("soul"), KEEP_BYTES("one"), nothing, 0,
				     NULL, NULL, &err));
	OK(keep_assistant_set_prompt(assistant, KEEP_BYTES("soul"), KEEP_BYTES("two"), nothing, 0,
				     NULL, NULL, &err));
	OK(keep_assistant_report_connection(assistant, KEEP_BYTES("mail"), KEEP_BYTES("error"),
					    KEEP_BYTES("no route"), nothing, T, NULL, &err));
	OK(keep_assistant_remove_agent(assistant, KEEP_BYTES("browser"), NULL, &err));
	for (int i = 0; i < 5; i++) {
		const keep_audit_entry entry = {.event_type = KEEP_BYTES("tool_execution"),
						.details = KEEP_BYTES("{\"b\": 1.0, \"a\":2}"),
						.timestamp = T + i,
						.success = i % 2,
						.has_success = true,
						.ip_address = KEEP_BYTES("::1")};

		OK(keep_assistant_audit(assistant, &entry, NULL, &err));
	}
}

/* One job is due each minute, one failed for good, a task waits; what was done is in history. */
static void fill_work(keep_assistant *assistant)
{
	keep_cron_job job = {.job_id = KEEP_BYTES("each minute"),
			     .name = KEEP_BYTES("j"),
			     .cron_expression = KEEP_BYTES("* * * * *"),
			     .job_type = KEEP_BYTES("prompt"),
			     .prompt = KEEP_BYTES("Water."),
			     .timezone = KEEP_BYTES("Europe/Berlin"),
			     .max_attempts = 1,
			     .enabled = true};
	const keep_future_task later = {.task_id = KEEP_BYTES("later"),
					.name = KEEP_BYTES("l"),
					.job_type = KEEP_BYTES("tool"),
					.tool_name = KEEP_BYTES("t"),
					.conversation_id = KEEP_BYTES("c"),
					.scheduled_time = T + 3 * MINUTE};
	const keep_agent_task task = {.task_id = KEEP_BYTES("task"),
				      .conversation_id = KEEP_BYTES("c"),
				      .agent_name = KEEP_BYTES("writer"),
				      .action = KEEP_BYTES("write"),
				      .parameters = KEEP_BYTES("{\"n\":[1,2]}")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claimed_runs runs = {NULL, 0};
	bool inserted = false;

	OK(keep_assistant_put_cron_job(assistant, &job, T, NULL, NULL, &err));
	OK(keep_assistant_add_future_task(assistant, &later, T, NULL, NULL, &inserted, &err));
	OK(keep_assistant_add_task(assistant, &task, T, NULL, &inserted, &err));
	OK(keep_assistant_claim_due(assistant, 5, 0, T + MINUTE, &memory, &runs, NULL, &err));
	assert_int_equal(runs.count, 1);
	OK(keep_assistant_finish_run(assistant, job.job_id, T + MINUTE, 1, KEEP_BYTES("failed"),
				     nothing, KEEP_BYTES("no water"), nothing, T + MINUTE, &err));
	keep_memory_release(&memory);
}

static void fill_documents(keep_assistant *assistant)
{
	keep_error err = KEEP_ERROR_INIT;
	char id[16], content[64];
	float vector[DIMENSIONS];

	for (int i = 0; i < DOCUMENTS; i++) {
		keep_document document = {.source = KEEP_BYTES("notes"),
					  .title = KEEP_BYTES("Über alles"),
					  .embedding = {(const char *)vector, sizeof vector},
					  .model = KEEP_BYTES("model one")};

		vector_of(i, vector);
		(void)snprintf(id, sizeof id, "%d", i);
		(void)snprintf(content, sizeof content, "number word%d and more", i);
		document.source_id = keep_bytes_of(id);
		document.content = keep_bytes_of(content);
		OK(keep_assistant_index(assistant, &document, T, NULL, &err));
	}
	OK(keep_assistant_remove_document(assistant, KEEP_BYTES("notes"), KEEP_BYTES("39"), &err));
}

static void fill(const char *home)
{
	keep_assistant *assistant = open_home(home);

	fill_talk(assistant);
	fill_admin(assistant);
	fill_work(assistant);
	fill_documents(assistant);
	keep_assistant_close(&assistant);
}

/* ---------------------------------------------------------------- use */

static void find_message(keep_assistant *assistant, const char *text, const char *id)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_message_matches matches = {.count = 0};

	OK(keep_assistant_search_messages(assistant, keep_bytes_of(text), nothing, false, 0,
					  &memory, &matches, &err));
	CHECK(matches.count == 1, "%zu messages are found by %s", matches.count, text);
	assert_bytes_equal(matches.items[0].message.message_id, keep_bytes_of(id));
	keep_memory_release(&memory);
}

static void use_talk(keep_assistant *assistant, int round)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_conversation conversation;
	keep_context context;
	int64_t id = 0, version = 0;
	bool flag = false;
	char name[16], word[16];

	find_message(assistant, "creme strasse", "m1");
	find_message(assistant, "東京", "m2");
	(void)snprintf(name, sizeof name, "u%d", round);
	(void)snprintf(word, sizeof word, "round%d", round);
	append(assistant, name, "user", word);
	find_message(assistant, word, name);
	OK(keep_assistant_find_or_create(assistant, KEEP_BYTES("web"), KEEP_BYTES("ada"), 0, T,
					 &memory, &conversation, &flag, &err));
	assert_bytes_equal(conversation.conversation_id, KEEP_BYTES("c"));
	assert_int_equal(conversation.last_seq, 4 + round);
	assert_int_equal(conversation.message_count, 4 + round);
	OK(keep_assistant_context(assistant, KEEP_BYTES("c"), 0, &memory, &context, &err));
	assert_bytes_equal(context.summary_text, KEEP_BYTES("of dessert"));
	assert_int_equal(context.count, 2 + round);
	assert_true(context.is_complete);
	OK(keep_assistant_add_summary(assistant, KEEP_BYTES("c"), 1, 2, KEEP_BYTES("of dessert"), 3,
				      &version, &flag, &err));
	assert_true(flag);
	OK(keep_assistant_remember(assistant, KEEP_BYTES("c"), KEEP_BYTES("facts"),
				   KEEP_BYTES("\"ADA likes creme!\""), T, &id, &flag, &err));
	assert_true(flag);
	keep_memory_release(&memory);
}

static void use_admin(keep_assistant *assistant, int round)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_credential credential;
	keep_setting_read read;
	keep_prompt_revision_list revisions = {NULL, 0};
	keep_agent_definition agent;
	keep_audit_report report;
	int64_t revision = 0;

	OK(keep_assistant_get_credential(assistant, KEEP_BYTES("mail"), NULL, T, &memory,
					 &credential, &err));
	assert_bytes_equal(credential.data, KEEP_BYTES("a secret"));
	OK(keep_assistant_get_setting(assistant, KEEP_BYTES("mail.password"), NULL, &memory, &read,
				      &err));
	assert_bytes_equal(read.text, KEEP_BYTES("pässword"));
	OK(keep_assistant_get_setting(assistant, KEEP_BYTES("mail.every"), NULL, &memory, &read,
				      &err));
	assert_true(read.real == 2.5 && read.definition.max_value == 1e300);
	OK(keep_assistant_revert_prompt(assistant, KEEP_BYTES("soul"), round % 2 ? 2 : 3, NULL,
					&revision, &err));
	OK(keep_assistant_prompt_history(assistant, KEEP_BYTES("soul"), 0, &memory, &revisions,
					 &err));
	assert_int_equal(revisions.count, 2 + round);
	assert_int_equal(
		keep_assistant_get_agent(assistant, KEEP_BYTES("browser"), &memory, &agent, &err),
		KEEP_NOT_FOUND);
	OK(keep_assistant_verify_audit(assistant, &memory, &report, &err));
	CHECK(report.is_intact, "%" KP_PRI, KP_ARG(report.reason));
	assert_true(report.checked > 10);
	keep_memory_release(&memory);
}

static void use_work(keep_assistant *assistant, int round)
{
	int64_t now_ms = T + (2 + 3 * round) * MINUTE;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claimed_runs runs = {NULL, 0};
	keep_job_run_list dead = {NULL, 0};
	keep_agent_task_list tasks = {NULL, 0};
	keep_execution_list history = {NULL, 0};

	OK(keep_assistant_claim_due(assistant, 9, 0, now_ms, &memory, &runs, NULL, &err));
	assert_int_equal(runs.count, round == 1 ? 2 : 1);
	for (size_t i = 0; i < runs.count; i++)
		OK(keep_assistant_finish_run(assistant, runs.items[i].job_id,
					     runs.items[i].scheduled_for, runs.items[i].attempt,
					     KEEP_BYTES("success"), nothing, nothing, nothing,
					     now_ms, &err));
	OK(keep_assistant_list_dead_letters(assistant, nothing, 0, &memory, &dead, &err));
	assert_int_equal(dead.count, 1);
	assert_int_equal(dead.items[0].scheduled_for, T + MINUTE);
	OK(keep_assistant_retry_dead_letter(assistant, dead.items[0].job_id, T + MINUTE, now_ms,
					    NULL, &err));
	OK(keep_assistant_claim_due(assistant, 9, 0, now_ms, &memory, &runs, NULL, &err));
	assert_int_equal(runs.count, 1);
	assert_int_equal(runs.items[0].attempt, 1 + round);
	OK(keep_assistant_finish_run(assistant, runs.items[0].job_id, T + MINUTE, 1 + round,
				     KEEP_BYTES("failed"), nothing, KEEP_BYTES("still"), nothing,
				     now_ms, &err));
	OK(keep_assistant_history(assistant, KEEP_BYTES("each minute"), KEEP_BYTES("failed"), 0, 0,
				  &memory, &history, &err));
	assert_int_equal(history.count, 1 + round);
	OK(keep_assistant_claim_tasks(assistant, nothing, 5, 0, now_ms, &memory, &tasks, &err));
	assert_int_equal(tasks.count, 1);
	assert_int_equal(tasks.items[0].attempt, round);
	OK(keep_assistant_finish_task(assistant, KEEP_BYTES("task"), round, KEEP_BYTES("failed"),
				      nothing, KEEP_BYTES("x"), now_ms, &err));
	OK(keep_assistant_retry_task(assistant, KEEP_BYTES("task"), now_ms, &err));
	keep_memory_release(&memory);
}

static void use_documents(keep_assistant *assistant, int round)
{
	float vector[DIMENSIONS];
	char content[64];
	keep_document document = {.source = KEEP_BYTES("notes"),
				  .source_id = KEEP_BYTES("changed"),
				  .embedding = {(const char *)vector, sizeof vector},
				  .model = KEEP_BYTES("model one"),
				  .may_shorten = true};
	keep_search_query query = {.vector = {(const char *)vector, sizeof vector},
				   .model = KEEP_BYTES("model one"),
				   .limit = 100};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_search_matches matches = {.count = 0};
	keep_indexed indexed;

	vector_of(7, vector);
	OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
	assert_int_equal(matches.count, DOCUMENTS - 1 + (round > 1));
	assert_bytes_equal(matches.items[0].document.source_id, KEEP_BYTES("7"));
	query.text = KEEP_BYTES("uber word7");
	OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
	assert_int_equal(matches.items[0].text_rank, 1);
	assert_int_equal(matches.items[0].vector_rank, 1);
	vector_of(1000 + round, vector);
	(void)snprintf(content, sizeof content, "fresh%d", round);
	document.content = keep_bytes_of(content);
	OK(keep_assistant_index(assistant, &document, T, &indexed, &err));
	assert_int_equal(indexed, round == 1 ? KEEP_INDEXED_ADDED : KEEP_INDEXED_CHANGED);
	OK(keep_assistant_index(assistant, &document, T, &indexed, &err));
	assert_int_equal(indexed, KEEP_INDEXED_UNCHANGED);
	query.text = document.content;
	OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
	assert_bytes_equal(matches.items[0].document.source_id, KEEP_BYTES("changed"));
	assert_int_equal(matches.items[0].text_rank, 1);
	assert_int_equal(matches.items[0].vector_rank, 1);
	keep_memory_release(&memory);
}

/* The `round`th use since it was filled, on whatever side. */
static void use(const char *home, int round)
{
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;

	assert_int_equal(open_store(home, OTHER_KEY, &assistant, &err), KEEP_DENIED);
	assistant = open_home(home);
	use_talk(assistant, round);
	use_admin(assistant, round);
	use_work(assistant, round);
	use_documents(assistant, round);
	OK(keep_assistant_optimize(assistant, &err));
	keep_assistant_close(&assistant);
}

/* ---------------------------------------------------------------- tests */

static void transfer(const char *from, const char *to)
{
	keep_transfer_result result;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_transfer(from, to, NULL, &result, &err));
	assert_true(result.rows > DOCUMENTS);
	keep_transfer_result_release(&result);
}

static void a_used_assistant_is_used_on_a_server_and_back_in_a_folder(void **state)
{
	char from[128], back[128], url[HOME_URL_MAX], again[HOME_URL_MAX];

	(void)state;
	home_server(url);
	home_server(again);
	make_home(path_of("a", from));
	fill(from);
	transfer(from, url);
	use(url, 1);
	use(url, 2);
	transfer(url, path_of("b", back));
	use(back, 3);
	transfer(back, again);
	use(again, 4);
	use(from, 1); /* the one that it began from is as it was */
	keep_zone_forget();
	assert_nothing_lives();
}

static void an_assistant_that_began_on_a_server_is_used_in_a_folder(void **state)
{
	char to[128], url[HOME_URL_MAX], again[HOME_URL_MAX];

	(void)state;
	home_server(url);
	home_server(again);
	fill(url);
	use(url, 1);
	transfer(url, path_of("c", to));
	use(to, 2);
	transfer(to, again);
	use(again, 3);
	keep_zone_forget();
	assert_nothing_lives();
}

static void a_chain_with_a_sealed_beginning_verifies_on_the_other_side(void **state)
{
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	char from[128], back[128], url[HOME_URL_MAX];
	keep_assistant *assistant = NULL;
	keep_retention_report report;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	home_server(url);
	make_home(path_of("d", from));
	fill(from);
	assistant = open_home(from);
	options.now_ms = kp_clock_ms() + 40 * 24 * 60 * MINUTE;
	OK(keep_assistant_retain(assistant, &options, NULL, &report, &err));
	assert_true(report.audit_entries > 5);
	for (int i = 0; i < 11; i++)
		OK(keep_assistant_put_credential(assistant, KEEP_BYTES("mail"),
						 KEEP_BYTES("api_key"), KEEP_BYTES("a secret"), T,
						 NULL, &err));
	keep_assistant_close(&assistant);
	transfer(from, url);
	use(url, 1);
	transfer(url, path_of("e", back));
	use(back, 2);
	keep_zone_forget();
	assert_nothing_lives();
}

static void a_restored_backup_of_an_assistant_is_used(void **state)
{
	char home[128], restored[128];
	keep_backup_result made;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	make_home(path_of("f", home));
	fill(home);
	use(home, 1);
	OK(keep_backup_make(home, NULL, &made, &err));
	use(home, 2);
	OK(keep_restore(home, path_of("g", restored), NULL, NULL, &err));
	use(restored, 2);
	use(home, 3);
	keep_zone_forget();
	assert_nothing_lives();
}

static int set_up(void **state)
{
	(void)state;
	temp_folder_make(&folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	temp_folder_remove(&folder);
	home_servers_drop();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_used_assistant_is_used_on_a_server_and_back_in_a_folder),
		cmocka_unit_test(an_assistant_that_began_on_a_server_is_used_in_a_folder),
		cmocka_unit_test(a_chain_with_a_sealed_beginning_verifies_on_the_other_side),
		cmocka_unit_test(a_restored_backup_of_an_assistant_is_used),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
