/*
 * test_transfer_home.c - contracts/assistant.md: a home moves from a folder to a server and back,
 * with every value as it was, and can be used there.
 */
#include "home_fixture.h"
#include "keep/assistant.h"
#include "keep/engine.h"
#include "keep/gateway.h"
#include "keep/mailbox.h"
#include "keep/operations.h"
#include "keep/schedule.h"
#include "server_control.h"
#include "sql/sql.h"
#include "temp_folder.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static temp_folder folder;

static const char *path_of(const char *name, char out[128])
{
	return temp_path(&folder, name, out);
}

/* ---------------------------------------------------------------- used afterwards */

static void use_gateway(const char *home, const home_filled *filled)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_gateway *gateway = NULL;
	char url[HOME_URL_MAX];
	keep_message message = {.chat_jid = KEEP_BYTES(HOME_CHAT),
				.id = KEEP_BYTES("after"),
				.content = KEEP_BYTES("new")};
	keep_route route = {.jid = KEEP_BYTES("tg:"),
			    .type = KEEP_BYTES("default"),
			    .target = KEEP_BYTES("main")};
	keep_put_result result;
	keep_message_list deliveries;
	keep_registered_group group;
	int64_t id = 0;

	OK(keep_gateway_open(home_store(home, "gateway", url), &options, &gateway, &err));
	OK(keep_gateway_put_message(gateway, &message, NULL, &result, &err));
	assert_int_equal(result.seq, filled->last_seq + 1);
	OK(keep_gateway_add_route(gateway, &route, &id, &err));
	assert_true(id > filled->last_route); /* numbers go on */
	OK(keep_gateway_claim_deliveries(gateway, (keep_bytes){.data = NULL}, 0, 0, KEEP_NOW,
					 &memory, &deliveries, &err));
	assert_int_equal(deliveries.count, 3);
	OK(keep_gateway_group_by_slink_token(gateway, KEEP_BYTES("a token that is a secret"),
					     &memory, &group, &err));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void use_engine(const char *home)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;
	keep_engine_list list;
	char url[HOME_URL_MAX];
	int64_t count = 0;

	OK(keep_engine_open(home_store(home, "engine", url), &options, &engine, &err));
	OK(keep_engine_get(engine, KEEP_BYTES("notes/large"), &value, &err));
	assert_int_equal(value.len, 300000);
	OK(keep_engine_set(engine, KEEP_BYTES("notes/newest"), KEEP_BYTES("n"), &err));
	OK(keep_engine_list_names(engine, KEEP_BYTES("notes"), 0, 3, &list, &err));
	assert_int_equal(list.count, 3);
	assert_bytes_equal(list.items[0].name, KEEP_BYTES("newest"));
	assert_bytes_equal(list.items[1].name, KEEP_BYTES("large"));
	keep_engine_list_release(&list);
	OK(keep_engine_count(engine, KEEP_BYTES("notes"), &count, &err));
	assert_int_equal(count, 40 + 2 + 1 + 1);
	OK(keep_engine_unset(engine, KEEP_BYTES("notes"), &err));
	OK(keep_engine_count(engine, KEEP_BYTES(""), &count, &err));
	assert_int_equal(count, 1); /* top; notes-2 is a folder without a value */
	keep_buffer_release(&value);
	keep_engine_close(&engine);
}

static void use(const char *home, const home_filled *filled)
{
	use_gateway(home, filled);
	home_use_mailbox(home, filled);
	use_engine(home);
}

/* ---------------------------------------------------------------- tests */

static void a_home_goes_to_a_server_and_back_and_is_the_same(void **state)
{
	char from[128], back[128], url[HOME_URL_MAX];
	keep_transfer_result there, here;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;

	(void)state;
	home_server(url);
	home_fill(path_of("a", from), &filled);
	OK(keep_transfer(from, url, NULL, &there, &err));
	OK(keep_transfer(url, path_of("b", back), NULL, &here, &err));
	results_must_be_equal(&there, &here);
	homes_must_be_equal(from, back, &filled);
	use(back, &filled);
	use(url, &filled);
	keep_transfer_result_release(&there);
	keep_transfer_result_release(&here);
	keep_zone_forget();
	assert_nothing_lives();
}

static void a_home_that_began_on_a_server_goes_to_a_folder(void **state)
{
	char to[128], url[HOME_URL_MAX], again[HOME_URL_MAX];
	keep_transfer_result here, there;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;

	(void)state;
	home_server(url);
	home_server(again);
	home_fill(url, &filled);
	OK(keep_transfer(url, path_of("c", to), NULL, &here, &err));
	OK(keep_transfer(to, again, NULL, &there, &err));
	results_must_be_equal(&here, &there);
	use(to, &filled);
	use(again, &filled);
	keep_transfer_result_release(&here);
	keep_transfer_result_release(&there);
	keep_zone_forget();
	assert_nothing_lives();
}

static void an_assistant_goes_over_with_what_is_encrypted_and_chained(void **state)
{
	char from[128], back[128], url[HOME_URL_MAX], store[HOME_URL_MAX + 32];
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_transfer_result there, here;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	home_server(url);
	OK(keep_home_init(path_of("o", from), &err));
	snprintf(store, sizeof store, "%s/assistant", from);
	OK(kp_folder_make(AT_FDCWD, store, 0700, &err));
	snprintf(store, sizeof store, "sqlite:%s/assistant/assistant.db", from);
	options.create = true;
	options.without_keys = true;
	OK(keep_assistant_open(store, &options, &assistant, &err));
	keep_assistant_close(&assistant);
	home_script(from, "assistant/assistant.db",
		    "UPDATE prompts SET value = 'mine' WHERE key = 'memory';"
		    "DELETE FROM agent_definitions WHERE name = 'browser';"
		    "INSERT INTO conversations (conversation_id, channel) VALUES ('c', 'web');"
		    "INSERT INTO messages (conversation_id, message_id, role, content, seq) "
		    "VALUES ('c', 'm', 'user', 'hello', 1);"
		    "INSERT INTO service_credentials (service_name, credential_type, "
		    "credential_data) VALUES ('mail', 'api_key', 'gAAAAA-a-token');"
		    "INSERT INTO search_index (source, source_id, embedding) "
		    "VALUES ('mail', '1', x'0000803f00000000')");
	OK(keep_transfer(from, url, NULL, &there, &err));
	OK(keep_transfer(url, path_of("p", back), NULL, &here, &err));
	results_must_be_equal(&there, &here);
	home_file_must_be_equal(from, back, "assistant/assistant.db");
	snprintf(store, sizeof store, "%s&schema=assistant", url);
	OK(keep_assistant_open(store, &options, &assistant, &err)); /* nothing is put in again */
	keep_assistant_close(&assistant);
	keep_transfer_result_release(&there);
	keep_transfer_result_release(&here);
	assert_nothing_lives();
}

static void a_target_with_something_is_refused_and_stays(void **state)
{
	char from[128], other[128], url[HOME_URL_MAX];
	keep_transfer_result result;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled, others;

	(void)state;
	home_server(url);
	home_fill(path_of("d", from), &filled);
	home_fill(url, &others);
	assert_int_equal(keep_transfer(from, url, NULL, &result, &err), KEEP_CONFLICT);
	use(url, &others);
	home_fill(path_of("e", other), &others);
	assert_int_equal(keep_transfer(url, other, NULL, &result, &err), KEEP_CONFLICT);
	use(other, &others);
	keep_zone_forget();
	assert_nothing_lives();
}

static void what_is_not_a_folder_and_a_server_is_refused(void **state)
{
	char a[128], b[128], url[HOME_URL_MAX], with[HOME_URL_MAX + 32];
	keep_transfer_options options = KEEP_TRANSFER_OPTIONS_INIT;
	keep_transfer_result result;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	home_server(url);
	OK(keep_home_init(path_of("f", a), &err));
	path_of("g", b);
	assert_int_equal(keep_transfer(a, b, NULL, &result, &err), KEEP_INVALID);
	assert_int_equal(keep_transfer(url, url, NULL, &result, &err), KEEP_INVALID);
	assert_int_equal(keep_transfer("", url, NULL, &result, &err), KEEP_INVALID);
	assert_int_equal(keep_transfer(b, url, NULL, &result, &err), KEEP_NOT_FOUND);
	assert_int_equal(access(b, F_OK), -1);
	snprintf(with, sizeof with, "%s&schema=gateway", url);
	assert_int_equal(keep_transfer(a, with, NULL, &result, &err), KEEP_INVALID);
	options.batch_rows = -1;
	assert_int_equal(keep_transfer(a, url, &options, &result, &err), KEEP_INVALID);
	assert_int_equal(keep_transfer(NULL, url, NULL, &result, &err), KEEP_MISUSE);
	OK(keep_transfer(a, url, NULL, &result, &err)); /* without a store */
	assert_int_equal(result.count, 0);
	keep_transfer_result_release(&result);
	assert_nothing_lives();
}

/* Ends the transfer when so many rows went over. */
struct stopper {
	int64_t rows;
	int calls;
};

static bool stop_after(void *ctx, const keep_transfer_progress *progress)
{
	struct stopper *stopper = ctx;

	stopper->calls++;
	return progress->rows_all < stopper->rows;
}

static void a_transfer_that_was_ended_goes_on(void **state)
{
	char from[128], other[128], back[128], url[HOME_URL_MAX];
	keep_transfer_options options = KEEP_TRANSFER_OPTIONS_INIT;
	struct stopper stopper = {.rows = 25};
	keep_transfer_result there, here;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;

	(void)state;
	home_server(url);
	home_fill(path_of("h", from), &filled);
	OK(keep_home_init(path_of("i", other), &err));
	options.batch_rows = 7;
	options.progress = stop_after;
	options.progress_ctx = &stopper;
	assert_int_equal(keep_transfer(from, url, &options, &there, &err), KEEP_BUSY);
	assert_true(stopper.calls > 2);
	assert_int_equal(keep_transfer(other, url, NULL, &there, &err), KEEP_CONFLICT);
	for (stopper.rows = 10; keep_transfer(from, url, &options, &there, &err) != KEEP_OK;
	     stopper.rows += 10)
		assert_int_equal(err.status, KEEP_BUSY);
	assert_true(there.rows_before > 20);
	path_of("j", back);
	for (stopper.rows = 15; keep_transfer(url, back, &options, &here, &err) != KEEP_OK;
	     stopper.rows += 15)
		assert_int_equal(err.status, KEEP_BUSY);
	results_must_be_equal(&there, &here);
	homes_must_be_equal(from, back, &filled);
	use(back, &filled);
	keep_transfer_result_release(&there);
	keep_transfer_result_release(&here);
	keep_zone_forget();
	assert_nothing_lives();
}

static bool write_meanwhile(void *ctx, const keep_transfer_progress *progress)
{
	const char **home = ctx;

	(void)progress;
	if (*home)
		home_script(*home, "gateway/messages.db",
			    "UPDATE router_state SET \"value\" = 'w'");
	*home = NULL;
	return true;
}

static void a_folder_that_is_written_meanwhile_is_refused_unless_asked(void **state)
{
	char from[128], url[HOME_URL_MAX];
	const char *home = from;
	keep_transfer_options options = KEEP_TRANSFER_OPTIONS_INIT;
	keep_transfer_result result;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;

	(void)state;
	home_server(url);
	home_fill(path_of("k", from), &filled);
	options.progress = write_meanwhile;
	options.progress_ctx = &home;
	assert_int_equal(keep_transfer(from, url, &options, &result, &err), KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "written meanwhile"));
	/* What went over before is of another moment, and that is noticed. */
	assert_int_equal(keep_transfer(from, url, NULL, &result, &err), KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "router_state"));

	home_server(url);
	home = from;
	options.in_use = true;
	OK(keep_transfer(from, url, &options, &result, &err));
	keep_transfer_result_release(&result);
	keep_zone_forget();
	assert_nothing_lives();
}

static void a_bad_row_is_named_by_table_and_key_and_no_secret_is_told(void **state)
{
	char from[128], url[HOME_URL_MAX];
	keep_transfer_result result;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;

	(void)state;
	home_server(url);
	home_fill(path_of("l", from), &filled);
	home_script(from, "gateway/messages.db",
		    "UPDATE messages SET content = CAST(x'6869ff' AS TEXT) WHERE id = 'm77'");
	assert_int_equal(keep_transfer(from, url, NULL, &result, &err), KEEP_CORRUPT);
	assert_non_null(strstr(err.message, "messages, row '" HOME_CHAT "', 24"));
	assert_non_null(strstr(err.message, "content"));
	home_script(from, "gateway/messages.db",
		    "UPDATE messages SET content = 'hi' WHERE id = 'm77';"
		    "UPDATE registered_groups SET slink_token = CAST(x'736563726574ff' AS TEXT)");
	assert_int_equal(keep_transfer(from, url, NULL, &result, &err), KEEP_CORRUPT);
	assert_non_null(strstr(err.message, "registered_groups, row '" HOME_CHAT "'"));
	assert_null(strstr(err.message, "secret"));
	home_script(from, "gateway/messages.db", "UPDATE registered_groups SET slink_token = 's'");
	OK(keep_transfer(from, url, NULL, &result, &err)); /* and goes on */
	keep_transfer_result_release(&result);
	home_server(url);
	home_script(from, "engine/default.db", "DELETE FROM folders WHERE path = 'notes/deep/er'");
	assert_int_equal(keep_transfer(from, url, NULL, &result, &err), KEEP_CORRUPT);
	keep_zone_forget();
	assert_nothing_lives();
}

static void files_of_messages_are_refused_or_left_behind(void **state)
{
	char from[128], url[HOME_URL_MAX], path[HOME_URL_MAX];
	keep_transfer_options options = KEEP_TRANSFER_OPTIONS_INIT;
	keep_mailbox_options mailbox_options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_file file = {.name = KEEP_BYTES("a.txt"), .bytes = KEEP_BYTES("text")};
	keep_post post = {.content = KEEP_BYTES("{\"text\":\"see\"}"),
			  .channel_type = KEEP_BYTES("telegram"),
			  .platform_id = KEEP_BYTES("42"),
			  .files = &file,
			  .file_count = 1};
	keep_mailbox *mailbox = NULL;
	keep_post_result posted;
	keep_transfer_result result;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;

	(void)state;
	home_server(url);
	home_fill(path_of("m", from), &filled);
	OK(keep_mailbox_open(home_store(from, "mailbox", path), &mailbox_options, &mailbox, &err));
	OK(keep_mailbox_post(mailbox, keep_bytes_of(filled.session), &post, &posted, &err));
	keep_mailbox_close(&mailbox);
	assert_int_equal(keep_transfer(from, url, NULL, &result, &err), KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "1 files"));
	options.without_files = true;
	OK(keep_transfer(from, url, &options, &result, &err));
	assert_int_equal(result.files_behind, 1);
	keep_transfer_result_release(&result);
	keep_zone_forget();
	assert_nothing_lives();
}

static void other_versions_are_refused(void **state)
{
	char from[128], url[HOME_URL_MAX];
	keep_transfer_result result;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;

	(void)state;
	home_server(url);
	home_fill(path_of("n", from), &filled);
	home_script(from, "gateway/messages.db",
		    "UPDATE migrations SET version = 2 WHERE service = 'gateway'");
	assert_int_equal(keep_transfer(from, url, NULL, &result, &err), KEEP_TOO_NEW);
	home_script(from, "gateway/messages.db",
		    "UPDATE migrations SET version = 0 WHERE service = 'gateway'");
	assert_int_equal(keep_transfer(from, url, NULL, &result, &err), KEEP_CONFLICT);
	keep_zone_forget();
	assert_nothing_lives();
}

/* Peak memory of the process, in KiB. A sanitizer keeps what was freed. */
#ifdef __SANITIZE_ADDRESS__
#define GROWTH_MAX_KIB (2 << 20)
#else
#define GROWTH_MAX_KIB (64 << 10)
#endif

static long peak_kib(void)
{
	struct rusage usage;

	assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
	return usage.ru_maxrss;
}

static void many_rows_cost_little_memory(void **state)
{
	char from[128], back[128], url[HOME_URL_MAX];
	keep_transfer_result there, here;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;
	long before;

	(void)state;
	home_server(url);
	home_fill(path_of("q", from), &filled);
	home_script(from, "gateway/messages.db",
		    "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < "
		    "200999) INSERT INTO messages (chat_jid, id, content, \"timestamp\", seq, "
		    "received_at, change) SELECT 'many:' || (i % 100), 'id' || i, 'The text of "
		    "number ' "
		    "|| i || hex(zeroblob(60)), '2026-01-01T00:00:00.000Z', i, "
		    "'2026-01-01T00:00:00.001Z', i FROM n");
	before = peak_kib();
	OK(keep_transfer(from, url, NULL, &there, &err));
	OK(keep_transfer(url, path_of("r", back), NULL, &here, &err));
	CHECK(peak_kib() - before < GROWTH_MAX_KIB, "%ld KiB more", peak_kib() - before);
	assert_int_equal(there.tables[0].rows, 200000 + filled.last_seq);
	results_must_be_equal(&there, &here);
	home_file_must_be_equal(from, back, "gateway/messages.db");
	keep_transfer_result_release(&there);
	keep_transfer_result_release(&here);
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
		cmocka_unit_test(a_home_goes_to_a_server_and_back_and_is_the_same),
		cmocka_unit_test(a_home_that_began_on_a_server_goes_to_a_folder),
		cmocka_unit_test(an_assistant_goes_over_with_what_is_encrypted_and_chained),
		cmocka_unit_test(a_target_with_something_is_refused_and_stays),
		cmocka_unit_test(what_is_not_a_folder_and_a_server_is_refused),
		cmocka_unit_test(a_transfer_that_was_ended_goes_on),
		cmocka_unit_test(a_folder_that_is_written_meanwhile_is_refused_unless_asked),
		cmocka_unit_test(a_bad_row_is_named_by_table_and_key_and_no_secret_is_told),
		cmocka_unit_test(files_of_messages_are_refused_or_left_behind),
		cmocka_unit_test(other_versions_are_refused),
		cmocka_unit_test(many_rows_cost_little_memory),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
