/*
 * cli_remote.c - calls of operations at a `keep serve` elsewhere, over HTTP (libcurl).
 *
 * An answer with status 200 is {"ok":true,"result":…}; any other is a problem (RFC 9457) whose
 * "code" is the name of a status of ours, or something in between that speaks HTTP, and then the
 * status is UNAVAILABLE.
 *
 * Invariants:
 *   1. A token goes over TLS, or to this machine; no redirect is followed, so it goes nowhere else.
 *   2. An answer is at most ANSWER_BYTES_MAX, and every call ends: CONNECT_SECONDS to connect,
 *      CALL_SECONDS for the whole, and within a second or so after it was cancelled.
 *
 * What it does not do: try again. Who calls knows what may be repeated.
 *
 * Tests: tests/cli/test_cli_chat.py.
 */
#include "cli/cli_remote.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <string.h>

enum { ANSWER_BYTES_MAX = 64 << 20, TOKEN_BYTES_MAX = 8192 };
#define CONNECT_SECONDS 10L
#define CALL_SECONDS 30L

struct cli_remote {
	CURL *curl;
	struct curl_slist *headers;
	keep_buffer url; /* without a slash at its end */
	keep_buffer path, answer;
	const atomic_bool *cancelled;
};

bool cli_remote_is_url(const char *place)
{
	return strncmp(place, "http://", 7) == 0 || strncmp(place, "https://", 8) == 0;
}

/* ---------------------------------------------------------------- open and close */

static bool is_near(const char *host)
{
	struct in_addr address;

	if (inet_pton(AF_INET, host, &address) == 1)
		return ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET;
	return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0;
}

/* The URL is one, has no user in it, and a token would be safe on it. */
static keep_status check_url(const char *url, bool has_token, keep_error *err)
{
	CURLU *parts = curl_url();
	char *scheme = NULL, *host = NULL, *user = NULL, *query = NULL;
	keep_status status = KEEP_OK;

	if (!parts)
		return kp_fail_memory(err, "a URL");
	if (curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK)
		status = kp_fail(err, KEEP_INVALID, "the URL: it is none");
	else if (curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK ||
		 curl_url_get(parts, CURLUPART_QUERY, &query, 0) == CURLUE_OK)
		status = kp_fail(err, KEEP_INVALID, "the URL: http://HOST:PORT is needed");
	else if (has_token && strcmp(scheme, "https") != 0 && !is_near(host))
		status = kp_fail(err, KEEP_INVALID,
				 "%s: a token needs https:// there, so that nobody reads it on the "
				 "way",
				 host);
	curl_free(scheme);
	curl_free(host);
	curl_free(user);
	curl_free(query);
	curl_url_cleanup(parts);
	return status;
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *ctx)
{
	keep_buffer *answer = ctx;
	size_t len = size * count;

	if (answer->len + len > ANSWER_BYTES_MAX ||
	    kp_buffer_append(answer, (keep_bytes){bytes, len}, NULL) != KEEP_OK)
		return 0;
	return len;
}

static int look_at_cancelled(void *ctx, curl_off_t to_get, curl_off_t got, curl_off_t to_send,
			     curl_off_t sent)
{
	const cli_remote *remote = ctx;

	(void)to_get, (void)got, (void)to_send, (void)sent;
	return remote->cancelled && atomic_load(remote->cancelled);
}

static keep_status add_header(cli_remote *remote, const char *header, keep_error *err)
{
	struct curl_slist *grown = curl_slist_append(remote->headers, header);

	if (!grown)
		return kp_fail_memory(err, "a request");
	remote->headers = grown;
	return KEEP_OK;
}

static keep_status add_token(cli_remote *remote, keep_bytes token, keep_error *err)
{
	keep_buffer header = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	if (!token.len)
		return KEEP_OK;
	for (size_t i = 0; i < token.len; i++)
		if (token.data[i] <= ' ' || token.data[i] > '~' || token.len > TOKEN_BYTES_MAX)
			return kp_fail(err, KEEP_INVALID, "the token: it is none");
	status = kp_buffer_append_text(&header, "Authorization: Bearer ", err);
	if (status == KEEP_OK)
		status = kp_buffer_append(&header, token, err);
	if (status == KEEP_OK)
		status = add_header(remote, header.data, err);
	if (header.data)
		kp_wipe(header.data, header.len);
	keep_buffer_release(&header);
	return status;
}

static void set_options(cli_remote *remote)
{
	CURL *curl = remote->curl;

	(void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, CALL_SECONDS);
	(void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, remote->headers);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &remote->answer);
	(void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	(void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_at_cancelled);
	(void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, remote);
}

keep_status cli_remote_open(const char *url, keep_bytes token, const atomic_bool *cancelled,
			    cli_remote **out, keep_error *err)
{
	cli_remote *remote = kp_alloc_zero(sizeof *remote);
	size_t len = strlen(url);
	keep_status status;

	*out = remote;
	if (!remote)
		return kp_fail_memory(err, "a connection");
	remote->cancelled = cancelled;
	status = check_url(url, token.len > 0, err);
	while (len && url[len - 1] == '/')
		len--;
	if (status == KEEP_OK)
		status = kp_buffer_append(&remote->url, (keep_bytes){url, len}, err);
	if (status == KEEP_OK)
		status = add_header(remote, "Content-Type: application/json", err);
	if (status == KEEP_OK)
		status = add_token(remote, token, err);
	if (status == KEEP_OK)
		remote->curl = curl_easy_init();
	if (status == KEEP_OK && !remote->curl)
		status = kp_fail_memory(err, "a connection");
	if (status == KEEP_OK)
		set_options(remote);
	else
		cli_remote_close(out);
	return status;
}

void cli_remote_close(cli_remote **remote)
{
	cli_remote *self = *remote;

	*remote = NULL;
	if (!self)
		return;
	curl_easy_cleanup(self->curl);
	for (struct curl_slist *at = self->headers; at; at = at->next)
		kp_wipe(at->data, strlen(at->data));
	curl_slist_free_all(self->headers);
	keep_buffer_release(&self->url);
	keep_buffer_release(&self->path);
	keep_buffer_release(&self->answer);
	kp_free(self);
}

/* ---------------------------------------------------------------- one request */

/* A problem as the failure that it tells of. */
static keep_status read_problem(const cli_remote *remote, long http, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *problem = NULL, *code, *detail;
	keep_status status = KEEP_UNAVAILABLE;

	if (kp_json_parse(kp_buffer_bytes(&remote->answer), &arena, &problem, NULL) != KEEP_OK)
		problem = NULL;
	code = problem ? kp_json_member(problem, "code") : NULL;
	detail = problem ? kp_json_member(problem, "detail") : NULL;
	if (!code || code->kind != KP_JSON_TEXT || !keep_status_parse(code->text, &status) ||
	    status == KEEP_OK)
		status = http == 401 || http == 403 ? KEEP_DENIED : KEEP_UNAVAILABLE;
	if (detail && detail->kind == KP_JSON_TEXT)
		status = kp_fail(err, status, "%" KP_PRI, KP_ARG(detail->text));
	else
		status = kp_fail(err, status, "%s: it answers with HTTP status %ld",
				 remote->url.data, http);
	kp_arena_release(&arena);
	return status;
}

/* The answer's bytes are in remote->answer. `body` absent: GET. */
static keep_status send_request(cli_remote *remote, keep_bytes body, keep_error *err)
{
	long http = 0;
	CURLcode code;

	remote->answer.len = 0;
	(void)curl_easy_setopt(remote->curl, CURLOPT_URL, remote->path.data);
	if (body.data) {
		(void)curl_easy_setopt(remote->curl, CURLOPT_POST, 1L);
		(void)curl_easy_setopt(remote->curl, CURLOPT_POSTFIELDSIZE_LARGE,
				       (curl_off_t)body.len);
		(void)curl_easy_setopt(remote->curl, CURLOPT_POSTFIELDS, body.data);
	} else {
		(void)curl_easy_setopt(remote->curl, CURLOPT_HTTPGET, 1L);
	}
	code = curl_easy_perform(remote->curl);
	if (code != CURLE_OK)
		return kp_fail(err, KEEP_UNAVAILABLE, "%s: %s", remote->url.data,
			       curl_easy_strerror(code));
	(void)curl_easy_getinfo(remote->curl, CURLINFO_RESPONSE_CODE, &http);
	return http == 200 ? KEEP_OK : read_problem(remote, http, err);
}

/* The answer as JSON that lives in `memory`. */
static keep_status read_answer(const cli_remote *remote, kp_arena *memory, const kp_json **out,
			       keep_error *err)
{
	keep_bytes text = {NULL, 0};
	keep_status status = kp_arena_copy(memory, kp_buffer_bytes(&remote->answer), &text, err);

	if (status == KEEP_OK)
		status = kp_json_parse(text, memory, out, err);
	return status == KEEP_INVALID ? kp_fail(err, KEEP_UNAVAILABLE, "%s: its answer is no JSON",
						remote->url.data)
				      : status;
}

keep_status cli_remote_check(cli_remote *remote, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *health = NULL;
	keep_status status;

	remote->path.len = 0;
	status = kp_buffer_append_format(&remote->path, err, "%s/healthz", remote->url.data);
	if (status == KEEP_OK)
		status = send_request(remote, (keep_bytes){NULL, 0}, err);
	if (status == KEEP_OK)
		status = read_answer(remote, &arena, &health, err);
	if (status == KEEP_OK && !kp_json_member(health, "status"))
		status =
			kp_fail(err, KEEP_UNAVAILABLE, "%s: it is no keep serve", remote->url.data);
	kp_arena_release(&arena);
	return status;
}

keep_status cli_remote_call(cli_remote *remote, const char *operation, keep_bytes with,
			    kp_arena *memory, const kp_json **result, keep_error *err)
{
	const char *dot = strchr(operation, '.');
	const kp_json *answer = NULL;
	keep_status status;

	*result = NULL;
	remote->path.len = 0;
	status = kp_buffer_append_format(&remote->path, err, "%s/v1/%.*s/%s", remote->url.data,
					 (int)(dot - operation), operation, dot + 1);
	if (status == KEEP_OK)
		status = send_request(remote, with, err);
	if (status == KEEP_OK)
		status = read_answer(remote, memory, &answer, err);
	if (status == KEEP_OK)
		*result = kp_json_member(answer, "result");
	if (status == KEEP_OK && !*result)
		status =
			kp_fail(err, KEEP_UNAVAILABLE, "%s: it is no keep serve", remote->url.data);
	return status;
}

static keep_status add_parameter(cli_remote *remote, const char *name, keep_bytes value,
				 keep_error *err)
{
	char *escaped = curl_easy_escape(remote->curl, value.data, (int)value.len);
	keep_status status = escaped ? kp_buffer_append_text(&remote->path, name, err)
				     : kp_fail_memory(err, "a request");

	if (status == KEEP_OK)
		status = kp_buffer_append_text(&remote->path, escaped, err);
	curl_free(escaped);
	return status;
}

keep_status cli_remote_trace(cli_remote *remote, keep_bytes chat, keep_bytes id, kp_arena *memory,
			     const kp_json **result, keep_error *err)
{
	keep_status status;

	*result = NULL;
	remote->path.len = 0;
	status = kp_buffer_append(&remote->path, kp_buffer_bytes(&remote->url), err);
	if (status == KEEP_OK)
		status = add_parameter(remote, "/v1/trace?chat=", chat, err);
	if (status == KEEP_OK)
		status = add_parameter(remote, "&id=", id, err);
	if (status == KEEP_OK)
		status = send_request(remote, (keep_bytes){NULL, 0}, err);
	if (status == KEEP_OK)
		status = read_answer(remote, memory, result, err);
	return status;
}
