/*
 * Any bytes as JSON lines to the engine's interpreter on memory: every line gets exactly one
 * answer, which is one line of valid JSON with an id, and a failure names a status and an error.
 */
#include "operations/operations_table.h"

#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static keep_status collect(void *ctx, keep_bytes bytes, keep_error *err)
{
	return kp_buffer_append(ctx, bytes, err);
}

static size_t split_lines(keep_bytes text, keep_bytes *lines)
{
	size_t count = 0;

	while (text.len && count < LINES_MAX) {
		const char *newline = memchr(text.data, '\n', text.len);
		size_t len = newline ? (size_t)(newline - text.data) : text.len;

		lines[count++] = (keep_bytes){text.data, len};
		len += newline != NULL;
		text.data += len;
		text.len -= len;
	}
	return count;
}

static void require_answer(keep_bytes line)
{
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL, *ok;

	require(kp_json_parse(line, &arena, &json, NULL) == KEEP_OK);
	require(kp_json_member(json, "id") != NULL);
	ok = kp_json_member(json, "ok");
	require(ok && ok->kind == KP_JSON_BOOL);
	if (ok->boolean) {
		require(kp_json_member(json, "result") != NULL);
	} else {
		keep_status status = KEEP_OK;
		const kp_json *name = kp_json_member(json, "status");
		const kp_json *error = kp_json_member(json, "error");

		require(name && name->kind == KP_JSON_TEXT);
		require(keep_status_parse(name->text, &status) && status != KEEP_OK);
		require(error && error->kind == KP_JSON_TEXT && error->text.len > 0);
	}
	kp_arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static keep_bytes requests[LINES_MAX], answers[LINES_MAX];
	size_t count = split_lines((keep_bytes){(const char *)data, size}, requests);
	keep_session *session = NULL;
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_lines *lines = NULL;

	require(keep_session_open("memory:", &session, NULL) == KEEP_OK);
	require(kp_lines_open(session, (keep_bytes){NULL, 0}, &lines, NULL) == KEEP_OK);
	require(kp_lines_serve(lines, requests, count, collect, &out, NULL) == KEEP_OK);
	require(split_lines(kp_buffer_bytes(&out), answers) == count);
	require(count == 0 || out.data[out.len - 1] == '\n');
	for (size_t i = 0; i < count; i++)
		require_answer(answers[i]);
	kp_lines_close(&lines);
	keep_session_close(&session);
	keep_buffer_release(&out);
	require(kp_alloc_live() == 0);
	return 0;
}
