/*
 * http_problem.c - failures as application/problem+json (RFC 9457).
 *
 *     {"type":"about:blank","title":"Not Found","status":404,"detail":"…","code":"NOT_FOUND"}
 *
 * `type` is about:blank, so `title` is the HTTP status' own; what a program decides by is `code`,
 * the name of one of Keep's statuses, and people read `detail`.
 *
 * Invariants:
 *   1. A failure can always be told: without memory the body is empty, and the server sends a
 *      constant one.
 *   2. What may be tried again says after how long (Retry-After).
 *
 * What it does not do: keep secrets out of `detail`; messages have none by the rule of base.h.
 *
 * Tests: tests/http/test_http_calls.py, tests/http/test_http_refused.py.
 */
#include "service/http_exchange.h"

#include <string.h>

const char kp_problem_type[] = "application/problem+json";

int kp_http_status(keep_status status)
{
	return keep_status_http(status);
}

keep_status kp_reply_header(kp_reply *reply, const char *name, const char *value, keep_error *err)
{
	size_t len = strlen(value), at = 0;

	while (at < reply->header_count && strcmp(reply->headers[at].name, name) != 0)
		at++;
	if (at == KP_HTTP_HEADERS_MAX || len >= sizeof reply->headers[at].value)
		return kp_fail(err, KEEP_MISUSE, "%s: too many headers, or too long a one", name);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)value[i] < ' ' || value[i] == 127)
			return kp_fail(err, KEEP_MISUSE, "%s: a control character", name);
	reply->headers[at].name = name;
	memcpy(reply->headers[at].value, value, len + 1);
	if (at == reply->header_count)
		reply->header_count++;
	return KEEP_OK;
}

void kp_reply_release(kp_reply *reply)
{
	keep_buffer_release(&reply->body);
}

static bool has_header(const kp_reply *reply, const char *name)
{
	for (unsigned i = 0; i < reply->header_count; i++)
		if (strcmp(reply->headers[i].name, name) == 0)
			return true;
	return false;
}

void kp_problem_with_id(kp_reply *reply, int status, const keep_error *err, keep_bytes id)
{
	keep_status code = err->status == KEEP_OK ? KEEP_MISUSE : err->status;
	int http = status ? status : kp_http_status(code);
	const char *title = MHD_get_reason_phrase_for((unsigned)http);
	kp_json_writer writer;

	reply->status = http;
	reply->type = kp_problem_type;
	reply->body.len = 0;
	kp_json_begin(&writer, &reply->body);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "type");
	kp_json_put_text(&writer, KEEP_BYTES("about:blank"));
	kp_json_name(&writer, "title");
	kp_json_put_text(&writer, keep_bytes_of(title ? title : keep_status_text(code)));
	kp_json_name(&writer, "status");
	kp_json_put_integer(&writer, http);
	kp_json_name(&writer, "detail");
	kp_json_put_text(&writer, keep_bytes_of(err->message));
	kp_json_name(&writer, "code");
	kp_json_put_text(&writer, keep_bytes_of(keep_status_name(code)));
	if (id.data) {
		kp_json_name(&writer, "id");
		kp_json_put_raw(&writer, id);
	}
	kp_json_close_object(&writer);
	if (kp_json_finish(&writer, NULL) != KEEP_OK)
		reply->body.len = 0;
	if ((http == 503 || http == 429) && !has_header(reply, "Retry-After"))
		(void)!kp_reply_header(reply, "Retry-After", "1", NULL);
}

void kp_problem(kp_reply *reply, int status, const keep_error *err)
{
	kp_problem_with_id(reply, status, err, (keep_bytes){.data = NULL});
}
