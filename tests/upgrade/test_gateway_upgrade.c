/*
 * test_gateway_upgrade.c - a gateway that version 1 wrote opens with all it holds and goes on; one
 * that a newer Keep wrote is refused and not touched.
 *
 * Version 1 is made of its migration, which never changes once it is released, and of
 * tests/fixtures/gateway_content_v1.sql. Each version of the tables adds a pair.
 */
#include "source_file.h"

#include "keep/gateway.h"

static char file[200], url[220];

static char *read_text(const char *folder, const char *name)
{
	char path[400];
	size_t len;
	char *text;

	(void)snprintf(path, sizeof path, "%s/%s", folder, name);
	text = source_bytes(path, &len);
	CHECK(text, "%s is missing", path);
	return text;
}

static int make_version_1(void **state)
{
	unsigned char digest[KP_SHA256_SIZE];
	char hex[2 * KP_SHA256_SIZE + 1], row[300], *sql;

	(void)state;
	(void)snprintf(file, sizeof file, "/tmp/keep-upgrade-%ld.db", (long)getpid());
	(void)snprintf(url, sizeof url, "sqlite:%s", file);
	source_remove(file);
	sql = read_text(getenv("KEEP_TEST_SCHEMA"), "sqlite/sql_tables.sql");
	source_run(file, sql);
	test_free(sql);
	sql = read_text(getenv("KEEP_TEST_SCHEMA"), "sqlite/gateway/0001_gateway.sql");
	source_run(file, sql);
	assert_int_equal(kp_sha256(keep_bytes_of(sql), digest, NULL), KEEP_OK);
	test_free(sql);
	kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hex);
	(void)snprintf(row, sizeof row,
		       "INSERT INTO migrations VALUES ('gateway', 1, '0001_gateway', '%s', "
		       "'2026-03-01T09:00:00.000Z')",
		       hex);
	source_run(file, row);
	source_make(file, "gateway_content_v1.sql");
	return 0;
}

static int remove_store(void **state)
{
	(void)state;
	source_remove(file);
	assert_nothing_lives();
	return 0;
}

static void a_store_of_version_1_opens_with_all_it_holds(void **state)
{
	keep_gateway *gateway = NULL;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_message_list list;
	keep_pending_list pending;
	keep_message message = {.chat_jid = KEEP_BYTES("telegram:42"),
				.id = KEEP_BYTES("2"),
				.content = KEEP_BYTES("after it")};
	keep_put_result result;

	(void)state;
	OK(keep_gateway_open(url, NULL, &gateway, &err));
	OK(keep_gateway_history(gateway, message.chat_jid, 0, 10, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[1].content, KEEP_BYTES("kept through the upgrade"));
	assert_true(list.items[0].is_from_me);
	OK(keep_gateway_pending_chats(gateway, KEEP_BYTES("agent"), 10, &memory, &pending, &err));
	assert_int_equal(pending.count, 1);
	OK(keep_gateway_get_state(gateway, KEEP_BYTES("k"), &value, &err));
	assert_string_equal(value.data, "v");
	OK(keep_gateway_put_message(gateway, &message, NULL, &result, &err));
	assert_int_equal(result.seq, 3);
	keep_buffer_release(&value);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_newer_store_is_refused_and_not_touched(void **state)
{
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;
	size_t before_len, after_len;
	char *before, *after;

	(void)state;
	source_run(file, "PRAGMA user_version = 2; INSERT INTO migrations SELECT service, 2, "
			 "'0002_later', checksum, applied_at FROM migrations");
	before = source_bytes(file, &before_len);
	assert_int_equal(keep_gateway_open(url, NULL, &gateway, &err), KEEP_TOO_NEW);
	CHECK(strstr(err.message, "0002_later"), "%s", err.message);
	after = source_bytes(file, &after_len);
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, before_len);
	test_free(before);
	test_free(after);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_version_1, remove_store)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_store_of_version_1_opens_with_all_it_holds),
		TEST(a_newer_store_is_refused_and_not_touched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
