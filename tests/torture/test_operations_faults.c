/*
 * test_operations_faults.c - sessions, JSON lines and homes, when the Nth allocation or file call
 * fails: nothing leaks, what was answered is true, and the next try succeeds.
 */
#include "operations/operations_table.h"
#include "temp_folder.h"
#include "torture.h"

#define MEMORY_OR_FULL (MAY(KEEP_OK) | MAY(KEEP_NO_MEMORY) | MAY(KEEP_FULL) | MAY(KEEP_UNAVAILABLE))
#define FILE_FAILURES                                                                              \
	(MAY(KEEP_OK) | MAY(KEEP_NO_MEMORY) | MAY(KEEP_FULL) | MAY(KEEP_UNAVAILABLE) |             \
	 MAY(KEEP_DENIED) | MAY(KEEP_CORRUPT))

/* ---------------------------------------------------------------- calls */

static keep_status call(keep_session *session, const char *name, const char *with,
			const char *wanted)
{
	keep_buffer result = KEEP_BUFFER_INIT;
	keep_status status =
		keep_session_call(session, keep_bytes_of(name), keep_bytes_of(with), &result, NULL);

	if (status == KEEP_OK)
		assert_bytes_equal(kp_buffer_bytes(&result), keep_bytes_of(wanted));
	keep_buffer_release(&result);
	return status;
}

static keep_status run_calls(void *ctx)
{
	static const char *const calls[][3] = {
		{"engine.set", "{\"path\":\"a/b\",\"value\":\"v\"}", "null"},
		{"engine.batch",
		 "{\"changes\":[{\"op\":\"set\",\"path\":\"a/c\",\"value\":\"/wA=\",\"encoding\":"
		 "\"base64\"}]}",
		 "null"},
		{"engine.list", "{\"path\":\"a\",\"names\":true,\"encoding\":\"base64\"}",
		 "[{\"name\":\"c\",\"value\":\"/wA=\"},{\"name\":\"b\",\"value\":\"dg==\"}]"},
		{"engine.compare_and_set", "{\"path\":\"a/b\",\"expected\":\"v\",\"value\":\"w\"}",
		 "null"},
		{"engine.get", "{\"path\":\"a/b\"}", "\"w\""},
		{"engine.watch", "{\"path\":\"a\",\"timeout_ms\":0}", "false"},
		{"engine.unset", "{\"path\":\"a\"}", "true"},
		{"engine.count", "{\"path\":\"\"}", "0"},
	};
	keep_session *session = NULL;
	keep_status status = keep_session_open("memory:", &session, NULL);

	(void)ctx;
	for (size_t i = 0; i < KP_COUNT(calls) && status == KEEP_OK; i++)
		status = call(session, calls[i][0], calls[i][1], calls[i][2]);
	keep_session_close(&session);
	return status;
}

/* ---------------------------------------------------------------- a gateway's calls */

static keep_status call_gateway(keep_session *session, const char *name, const char *with,
				const char *begins)
{
	keep_buffer result = KEEP_BUFFER_INIT;
	keep_status status =
		keep_session_call(session, keep_bytes_of(name), keep_bytes_of(with), &result, NULL);

	if (status == KEEP_OK)
		CHECK(result.len >= strlen(begins) &&
			      memcmp(result.data, begins, strlen(begins)) == 0,
		      "%s: %s", name, result.data);
	else
		CHECK(result.len == 0, "%s: a part of a result", name);
	keep_buffer_release(&result);
	return status;
}

/* Every kind of input and result: texts, JSON, arrays of objects and of texts; rows, records. */
static keep_status run_gateway(void *ctx)
{
	static const char *const calls[][3] = {
		{"gateway.put_message",
		 "{\"chat_jid\":\"a:1\",\"id\":\"1\",\"content\":\"hi\",\"timestamp\":1000,"
		 "\"attachments\":[{}],\"name\":\"Ada\"}",
		 "{\"outcome\":\""},
		{"gateway.put_messages",
		 "{\"messages\":[{\"chat_jid\":\"a:1\",\"id\":\"2\",\"content\":\"x\","
		 "\"timestamp\":\"2026-01-01T00:00:00Z\"}]}",
		 "[{\"outcome\":\""},
		{"gateway.history", "{\"jid\":\"a:1\"}", "[{\"chat_jid\":\"a:1\",\"id\":\"2\""},
		{"gateway.new_messages", "{\"consumer\":\"router\",\"jids\":[\"a:1\"]}",
		 "[{\"chat_jid\":\"a:1\",\"id\":\"1\""},
		{"gateway.pending_chats", "{\"consumer\":\"router\"}",
		 "[{\"jid\":\"a:1\",\"seq\":0"},
		{"gateway.wait", "{\"consumer\":\"router\",\"timeout_ms\":0}", "true"},
		{"gateway.get_chat", "{\"jid\":\"a:1\"}", "{\"jid\":\"a:1\",\"name\":\"Ada\""},
		{"gateway.set_routes",
		 "{\"jid\":\"*\",\"routes\":[{\"type\":\"default\",\"target\":\"main\"}]}", "null"},
		{"gateway.resolve", "{\"chat_jid\":\"a:1\",\"content\":\"hi\",\"explain\":true}",
		 "{\"matched\":true,\"target\":\"main\",\"route\":{"},
		{"gateway.flush_system_messages", "{\"group\":\"main\"}",
		 "{\"text\":\"\",\"messages\":[]}"},
		{"gateway.thread_for", "{\"message_id\":\"<a@x>\",\"references\":[\"<b@x>\"]}",
		 "{\"is_new\":"},
		{"gateway.set_state", "{\"key\":\"k\",\"value\":\"v\"}", "null"},
		{"gateway.get_state", "{\"key\":\"k\"}", "\"v\""},
	};
	keep_session *session = NULL;
	keep_status status = keep_session_open(ctx, &session, NULL);

	for (size_t i = 0; i < KP_COUNT(calls) && status == KEEP_OK; i++)
		status = call_gateway(session, calls[i][0], calls[i][1], calls[i][2]);
	keep_session_close(&session);
	return status;
}

/* ---------------------------------------------------------------- lines */

static keep_status take_answers(void *ctx, keep_bytes bytes, keep_error *err)
{
	size_t *count = ctx;

	(void)err;
	CHECK(bytes.len && bytes.data[bytes.len - 1] == '\n', "half a line was handed over");
	for (size_t i = 0; i < bytes.len; i++)
		*count += bytes.data[i] == '\n';
	return KEEP_OK;
}

static keep_status run_lines(void *ctx)
{
	const keep_bytes requests[] = {
		KEEP_BYTES("{\"id\":1,\"op\":\"set\",\"path\":\"a\",\"value\":\"b\"}"),
		KEEP_BYTES("{\"id\":2,\"op\":\"set\",\"path\":\"b\",\"value\":\"Yg==\","
			   "\"encoding\":\"base64\"}"),
		KEEP_BYTES("nonsense"),
		KEEP_BYTES("{\"id\":3,\"op\":\"get\",\"path\":\"a\"}"),
		KEEP_BYTES("{\"id\":4,\"op\":\"list\",\"path\":\"\",\"encoding\":\"base64\"}"),
		KEEP_BYTES("{\"id\":5,\"op\":\"clear\"}"),
	};
	keep_session *session = NULL;
	kp_lines *lines = NULL;
	size_t answers = 0;
	keep_status status = keep_session_open("memory:", &session, NULL);

	(void)ctx;
	if (status == KEEP_OK)
		status = kp_lines_open(session, (keep_bytes){NULL, 0}, &lines, NULL);
	if (status == KEEP_OK)
		status = kp_lines_serve(lines, requests, KP_COUNT(requests), take_answers, &answers,
					NULL);
	if (status == KEEP_OK)
		CHECK(answers == KP_COUNT(requests), "%zu answers", answers);
	kp_lines_close(&lines);
	keep_session_close(&session);
	return status;
}

/* ---------------------------------------------------------------- homes */

static keep_status run_init(void *ctx)
{
	const temp_folder *folder = ctx;
	keep_session *session = NULL;
	char home[128];
	keep_status status = keep_home_init(temp_path(folder, "home", home), NULL);

	if (status == KEEP_OK)
		status = keep_session_open(home, &session, NULL);
	keep_session_close(&session);
	return status;
}

/* Whatever failed before, a home can be made in the same place, and is one. */
static keep_status run_init_after(void *ctx)
{
	keep_status first = run_init(ctx);
	temp_folder *folder = ctx;

	if (first == KEEP_OK) {
		temp_folder_remove(folder);
		temp_folder_make(folder);
	}
	return first;
}

static void a_call_survives_every_failed_allocation(void **state)
{
	(void)state;
	CHECK(torture(KP_FAULT_ALLOC, MEMORY_OR_FULL, run_calls, NULL) > 10, "nothing failed");
	assert_nothing_lives();
}

static void a_gateways_call_survives_every_failed_allocation(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	temp_folder folder;
	char home[128];

	(void)state;
	temp_folder_make(&folder);
	OK(keep_home_init(temp_path(&folder, "home", home), &err));
	OK(run_gateway(home));
	CHECK(torture(KP_FAULT_ALLOC, MEMORY_OR_FULL, run_gateway, home) > 50, "nothing failed");
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

static void json_lines_survive_every_failed_allocation(void **state)
{
	(void)state;
	CHECK(torture(KP_FAULT_ALLOC, MEMORY_OR_FULL, run_lines, NULL) > 10, "nothing failed");
	assert_nothing_lives();
}

static void a_home_is_made_after_every_failure(void **state)
{
	temp_folder folder;

	(void)state;
	temp_folder_make(&folder);
	CHECK(torture(KP_FAULT_FILE, FILE_FAILURES, run_init_after, &folder) > 5, "nothing failed");
	CHECK(torture(KP_FAULT_ALLOC, FILE_FAILURES, run_init_after, &folder) > 2,
	      "nothing failed");
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_survives_every_failed_allocation),
		cmocka_unit_test(a_gateways_call_survives_every_failed_allocation),
		cmocka_unit_test(json_lines_survive_every_failed_allocation),
		cmocka_unit_test(a_home_is_made_after_every_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
