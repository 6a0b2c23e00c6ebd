/*
 * test_http_faults.c - calls over a socket while the Nth allocation of the service fails.
 *
 * Each round makes the Nth allocation of the process fail, once or from then on, sends a request,
 * and reads what comes until the connection is closed. What must hold:
 *
 *   1. the answer is whole or the connection is closed before it is: one that is whole has a status
 *      and the length that it says, or its last chunk;
 *   2. 200 is right: its body is the one that is sent without a failure, and what was to be stored
 *      is stored;
 *   3. a failure is one of the server's (500, 503, 507 …) and never says that the client is wrong,
 *      may not, or that a thing is not there; and no bad token is let in;
 *   4. the next request without a failure is answered, and after the stop no block is left.
 *
 * KEEP_TORTURE=all: many N, else a sample (service_rounds.h).
 */
#include "keep/schedule.h"
#include "service_rounds.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { ANSWER_MAX = 1 << 16, SERVERS_FAULT = 500 };

static journey_fixture fixture;
static int port;
static char token[1024];

typedef struct answer {
	bool is_whole;
	int status; /* 0: closed before */
	const char *body;
	char text[ANSWER_MAX];
} answer;

static answer told; /* too large for a stack */

/* ---------------------------------------------------------------- a client without allocations */

static int connect_to_it(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct timeval patience = {.tv_sec = 60};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0,
	      "it cannot be reached");
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0, "fd");
	return fd;
}

static bool is_whole(const answer *self, size_t len)
{
	const char *length = strstr(self->text, "Content-Length: ");
	size_t head = (size_t)(self->body - self->text);

	if (strstr(self->text, "Transfer-Encoding: chunked"))
		return len >= 5 && memcmp(self->text + len - 5, "0\r\n\r\n", 5) == 0;
	return length && length < self->body &&
	       strtoul(length + strlen("Content-Length: "), NULL, 10) == len - head;
}

static void call(const char *request)
{
	int fd = connect_to_it();
	size_t len = 0, sent = 0, size = strlen(request);
	ssize_t got = 1;

	memset(&told, 0, sizeof told);
	while (sent < size && (got = send(fd, request + sent, size - sent, MSG_NOSIGNAL)) > 0)
		sent += (size_t)got;
	while ((got = recv(fd, told.text + len, sizeof told.text - 1 - len, 0)) > 0)
		len += (size_t)got;
	CHECK(got == 0 || errno == ECONNRESET, "no answer, and it is not closed");
	close(fd);
	told.body = strstr(told.text, "\r\n\r\n");
	if (!told.body || strncmp(told.text, "HTTP/1.1 ", 9) != 0)
		return;
	told.body += 4;
	told.status = atoi(told.text + 9);
	told.is_whole = is_whole(&told, len);
}

static const char *write_request(const char *path, const char *headers, const char *body)
{
	static char request[4096];

	(void)snprintf(request, sizeof request,
		       "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
		       "Content-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s",
		       path, headers, strlen(body), body);
	return request;
}

/* ---------------------------------------------------------------- rounds */

/* `right`: what a body has when all is well. */
static void try_each(const char *request, int status, const char *right)
{
	long failed = 0;

	call(request);
	CHECK(told.is_whole && told.status == status && strstr(told.body, right), "%s", told.text);
	for (int persistent = 0; persistent <= 1; persistent++) {
		for (long nth = 1, fired = 1; fired; nth = next_round(nth)) {
			kp_fault_arm(KP_FAULT_ALLOC, nth, persistent);
			call(request);
			fired = kp_fault_disarm(KP_FAULT_ALLOC);
			if (told.is_whole && told.status == status)
				CHECK(strstr(told.body, right), "failure %ld: %s", nth, told.text);
			else if (told.is_whole)
				CHECK(told.status >= SERVERS_FAULT && strstr(told.body, "\"code\""),
				      "failure %ld: %s", nth, told.text);
			CHECK(told.is_whole || fired, "without a failure: %s", told.text);
			failed += !told.is_whole || told.status != status;
		}
	}
	CHECK(failed > 2, "nothing failed");
	call(request);
	CHECK(told.is_whole && told.status == status && strstr(told.body, right), "%s", told.text);
}

/* Each time another message: what is answered with 200 is there. */
static void put_messages(void)
{
	for (long nth = 1, fired = 1; fired; nth = next_round(nth)) {
		char body[200], chat[40];

		(void)snprintf(chat, sizeof chat, "quiet:%ld", nth);
		(void)snprintf(body, sizeof body,
			       "{\"chat_jid\":\"%s\",\"id\":\"1\",\"sender\":\"ada\","
			       "\"content\":\"hello\"}",
			       chat);
		kp_fault_arm(KP_FAULT_ALLOC, nth, false);
		call(write_request("/v1/gateway/put_message", token, body));
		fired = kp_fault_disarm(KP_FAULT_ALLOC);
		if (told.is_whole && told.status == 200) {
			assert_non_null(strstr(told.body, "\"ok\":true"));
			assert_int_equal(journey_count(&fixture, chat), 1);
		} else {
			CHECK(fired && (!told.is_whole || told.status >= SERVERS_FAULT),
			      "failure %ld: %s", nth, told.text);
			call(write_request("/v1/gateway/put_message", token, body));
			CHECK(told.is_whole && told.status == 200, "again: %s", told.text);
			assert_int_equal(journey_count(&fixture, chat), 1);
		}
	}
}

/* ---------------------------------------------------------------- tests */

static void calls_are_answered_rightly_or_not_at_all(void **state)
{
	(void)state;
	put_messages();
	try_each(write_request("/v1/gateway/history", token, "{\"jid\":\"quiet:1\"}"), 200,
		 "\"content\":\"hello\"");
	try_each(write_request("/v1/gateway/get_message", token,
			       "{\"jid\":\"quiet:1\",\"id\":\"none\"}"),
		 404, "NOT_FOUND");
}

static void lines_that_end_early_are_seen_to(void **state)
{
	char headers[1200];

	(void)state;
	(void)snprintf(headers, sizeof headers, "%sAccept: application/jsonl\r\n", token);
	try_each(write_request("/v1/gateway/history", headers, "{\"jid\":\"quiet:1\"}"), 200,
		 "hello");
}

static void no_failure_lets_in_who_may_not(void **state)
{
	(void)state;
	try_each(write_request("/v1/gateway/list_chats", "", "{}"), 401, "DENIED");
	try_each(write_request("/v1/gateway/list_chats", "Authorization: Bearer x.y.z\r\n", "{}"),
		 401, "DENIED");
	try_each(write_request("/v1/auth/refresh", "", "{\"refresh_token\":\"nobody's\"}"), 401,
		 "DENIED");
}

/* ---------------------------------------------------------------- all */

static int begin(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer text = KEEP_BUFFER_INIT, result = KEEP_BUFFER_INIT;

	(void)state;
	journey_begin(&fixture, "sqlite");
	OK(keep_session_call(fixture.session, KEEP_BYTES("gateway.create_user"),
			     KEEP_BYTES("{\"sub\":\"local:root\",\"is_operator\":true}"), &result,
			     &err));
	OK(keep_gateway_issue_access_token(fixture.gateway, KEEP_BYTES("local:root"), KEEP_NOW,
					   &text, &err));
	(void)snprintf(token, sizeof token, "Authorization: Bearer %.*s\r\n", (int)text.len,
		       text.data);
	keep_buffer_release(&text);
	keep_buffer_release(&result);
	journey_serve(&fixture);
	port = atoi(strrchr(keep_service_url(fixture.service), ':') + 1);
	return 0;
}

static int end(void **state)
{
	(void)state;
	journey_end(&fixture);
	keep_zone_forget();
	assert_nothing_lives();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_are_answered_rightly_or_not_at_all),
		cmocka_unit_test(lines_that_end_early_are_seen_to),
		cmocka_unit_test(no_failure_lets_in_who_may_not),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
