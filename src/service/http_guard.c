/*
 * http_guard.c - what is refused before anything is run: by the request's line and its headers.
 *
 * A service on loopback is reachable for every page that the person's browser shows. So Host must
 * be a name that is ours (else a name of somebody else's was made to mean this machine: DNS
 * rebinding), and Origin, when it is there, must be the same as Host (else a page of elsewhere
 * sends it). What frames a request must be said once, in one way: else a proxy in front and this
 * server may disagree where the next request begins.
 *
 * Invariants:
 *   1. Every request passes here before its route is looked at.
 *   2. A refusal names the header at fault and never its value.
 *   3. When it is unclear where the body ends, the connection ends with the answer.
 *
 * What it does not do: accounts (http_accounts.c).
 *
 * Tests: tests/http/test_http_refused.py.
 */
#include "service/http_exchange.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

typedef struct guard {
	struct kp_route_state *state;
	int *http_status;
	bool *at_once;
	keep_error *err;
} guard;

static bool refuse(const guard *self, int http_status, keep_status status, const char *message)
{
	*self->http_status = http_status;
	(void)!kp_fail(self->err, status, "%s", message);
	return false;
}

/* The same, and nobody can tell what follows. */
static bool refuse_at_once(const guard *self, int http_status, keep_status status,
			   const char *message)
{
	*self->at_once = true;
	return refuse(self, http_status, status, message);
}

static const char *header_of(const guard *self, const char *name)
{
	return kp_request_header(&self->state->request, name);
}

/* ---------------------------------------------------------------- all headers */

static const char *const once[] = {"Host",          "Content-Length", "Transfer-Encoding",
				   "Content-Type",  "Authorization",  "Content-Encoding",
				   "Last-Event-ID", "Origin",         "Expect"};

typedef struct head_scan {
	unsigned count[KP_COUNT(once)];
	const char *bad; /* what is wrong, or NULL */
} head_scan;

static bool is_token(const char *text)
{
	static const char others[] = "!#$%&'*+-.^_`|~";
	const char *at = text;

	for (; *at; at++)
		if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
		      (*at >= '0' && *at <= '9') || strchr(others, *at)))
			return false;
	return at > text;
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if (((unsigned char)*text < ' ' && *text != '\t') || *text == 127)
			return true;
	return false;
}

static enum MHD_Result look_at_header(void *ctx, enum MHD_ValueKind kind, const char *name,
				      const char *value)
{
	head_scan *scan = ctx;

	(void)kind;
	if (!name || !is_token(name))
		scan->bad = "a header's name is malformed";
	else if (value && has_control(value))
		scan->bad = "a header's value has a control character";
	for (size_t i = 0; name && i < KP_COUNT(once); i++) {
		if (strcasecmp(name, once[i]) == 0 && scan->count[i]++ > 0)
			scan->bad = i == 0   ? "Host: is there more than once"
				    : i == 1 ? "Content-Length: is there more than once"
				    : i == 2 ? "Transfer-Encoding: is there more than once"
				    : i == 3 ? "Content-Type: is there more than once"
				    : i == 4 ? "Authorization: is there more than once"
					     : "a header is there more than once";
	}
	return MHD_YES;
}

static bool check_head(const guard *self, const char *version)
{
	struct kp_route_state *state = self->state;
	struct MHD_Connection *connection = state->request.connection;
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	head_scan scan = {.bad = NULL};

	if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
		return refuse_at_once(self, 505, KEEP_INVALID,
				      "the request is neither HTTP/1.1 nor HTTP/1.0");
	if (state->uri_is_long)
		return refuse_at_once(self, 414, KEEP_INVALID, "the address is over 8192 bytes");
	if (!info || info->header_size > KP_HTTP_HEAD_MAX)
		return refuse_at_once(self, 431, KEEP_INVALID, "the headers are over 16384 bytes");
	(void)MHD_get_connection_values(connection, MHD_HEADER_KIND, look_at_header, &scan);
	if (scan.bad)
		return refuse_at_once(self, 400, KEEP_INVALID, scan.bad);
	return true;
}

/* ---------------------------------------------------------------- the body's frame */

static bool check_frame(const guard *self, const char *version)
{
	const char *length = header_of(self, MHD_HTTP_HEADER_CONTENT_LENGTH);
	const char *coding = header_of(self, MHD_HTTP_HEADER_TRANSFER_ENCODING);
	const char *expect = header_of(self, MHD_HTTP_HEADER_EXPECT);

	if (length && coding)
		return refuse_at_once(
			self, 400, KEEP_INVALID,
			"Content-Length and Transfer-Encoding: only one may be there");
	if (coding && strcmp(version, "HTTP/1.0") == 0)
		return refuse_at_once(self, 400, KEEP_INVALID,
				      "Transfer-Encoding: is not for HTTP/1.0");
	if (coding && strcasecmp(coding, "chunked") != 0)
		return refuse_at_once(self, 501, KEEP_INVALID,
				      "Transfer-Encoding: only chunked is understood");
	if (length && strspn(length, "0123456789") != strlen(length))
		return refuse_at_once(self, 400, KEEP_INVALID, "Content-Length: is no number");
	if (expect && strcasecmp(expect, "100-continue") != 0)
		return refuse_at_once(self, 417, KEEP_INVALID,
				      "Expect: only 100-continue is understood");
	return true;
}

/* ---------------------------------------------------------------- who is meant, who sends */

static bool is_name(keep_bytes name, const char *text)
{
	return strlen(text) == name.len && strncasecmp(name.data, text, name.len) == 0;
}

static bool is_local_address(const guard *self, keep_bytes name, bool *is_loopback)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof address;
	const kp_link *link = self->state->link;
	char text[64];

	*is_loopback = false;
	if (getsockname(link->fd, (struct sockaddr *)&address, &len) != 0)
		return false;
	kp_address_format((const struct sockaddr *)&address, text, is_loopback);
	if (name.len > 2 && name.data[0] == '[')
		name = (keep_bytes){name.data + 1, name.len - 2};
	return is_name(name, text);
}

static bool is_ours(const guard *self, keep_bytes name, keep_bytes port)
{
	static const char *const local[] = {"localhost", "127.0.0.1", "[::1]"};
	const keep_service_options *options = &self->state->http->service->options;
	bool is_loopback = false;

	if (is_name(name, self->state->http->host) || is_local_address(self, name, &is_loopback))
		return true;
	for (size_t i = 0; i < KP_COUNT(local); i++)
		if (is_loopback && is_name(name, local[i]))
			return true;
	for (size_t i = 0; i < options->host_count; i++) {
		keep_bytes own_name, own_port;

		if (kp_host_split(options->hosts[i], &own_name, &own_port) &&
		    own_name.len == name.len &&
		    strncasecmp(own_name.data, name.data, name.len) == 0 &&
		    (!own_port.data || kp_bytes_equal(own_port, port)))
			return true;
	}
	return false;
}

static keep_bytes port_or(keep_bytes port, bool is_tls)
{
	return port.data ? port : is_tls ? KEEP_BYTES("443") : KEEP_BYTES("80");
}

static bool is_same_origin(const guard *self, const char *origin, keep_bytes name, keep_bytes port)
{
	const kp_http *http = self->state->http;
	bool is_tls = strncasecmp(origin, "https://", 8) == 0;
	keep_bytes origin_name, origin_port;

	if (!is_tls && strncasecmp(origin, "http://", 7) != 0)
		return false;
	if (is_tls != http->is_tls && !http->service->options.behind_proxy)
		return false;
	if (!kp_host_split(origin + (is_tls ? 8 : 7), &origin_name, &origin_port))
		return false;
	return origin_name.len == name.len &&
	       strncasecmp(origin_name.data, name.data, name.len) == 0 &&
	       kp_bytes_equal(port_or(origin_port, is_tls), port_or(port, is_tls));
}

static bool check_host(const guard *self)
{
	const char *host = header_of(self, MHD_HTTP_HEADER_HOST);
	const char *origin = header_of(self, MHD_HTTP_HEADER_ORIGIN);
	keep_bytes name = {.data = NULL}, port = {.data = NULL};

	if (!host || !*host)
		return refuse_at_once(self, 400, KEEP_INVALID, "Host: is missing");
	if (!kp_host_split(host, &name, &port))
		return refuse_at_once(self, 400, KEEP_INVALID, "Host: is malformed");
	if (!is_ours(self, name, port))
		return refuse(self, 421, KEEP_DENIED,
			      "Host: is not a name of this service; keep serve --hosts adds names");
	if (origin && !is_same_origin(self, origin, name, port))
		return refuse(self, 403, KEEP_DENIED,
			      "Origin: a page of another origin may not call this service");
	return true;
}

/* ---------------------------------------------------------------- the body */

static bool is_json_type(const char *type)
{
	static const char json[] = "application/json";
	const char *at = type + sizeof json - 1;

	if (strncasecmp(type, json, sizeof json - 1) != 0)
		return false;
	while (*at == ' ' || *at == '\t')
		at++;
	if (!*at)
		return true;
	if (*at++ != ';')
		return false;
	while (*at == ' ' || *at == '\t')
		at++;
	if (strncasecmp(at, "charset=", 8) != 0)
		return !*at || strncasecmp(at, "charset", 7) != 0;
	return strcasecmp(at + 8, "utf-8") == 0 || strcasecmp(at + 8, "\"utf-8\"") == 0;
}

static bool check_body(const guard *self)
{
	struct kp_route_state *state = self->state;
	const char *length = header_of(self, MHD_HTTP_HEADER_CONTENT_LENGTH);
	const char *coding = header_of(self, MHD_HTTP_HEADER_TRANSFER_ENCODING);
	const char *type = header_of(self, MHD_HTTP_HEADER_CONTENT_TYPE);
	int64_t size = 0;

	if (strcmp(state->request.method, "POST") == 0) {
		if (!length && !coding)
			return refuse(self, 411, KEEP_INVALID, "Content-Length: is missing");
		if (type && !is_json_type(type))
			return refuse(self, 415, KEEP_INVALID,
				      "Content-Type: must be application/json");
		if (header_of(self, MHD_HTTP_HEADER_CONTENT_ENCODING))
			return refuse(self, 415, KEEP_INVALID,
				      "Content-Encoding: a body must not be encoded");
	}
	state->body_max = kp_route_body_max(state);
	if (length && (!kp_int_parse(keep_bytes_of(length), &size) || size > KP_HTTP_DRAIN_MAX))
		return refuse_at_once(self, 413, KEEP_FULL, "the body is too long");
	if (size > (int64_t)state->body_max) {
		*self->http_status = 413;
		(void)!kp_fail(self->err, KEEP_FULL, "the body is over %zu bytes", state->body_max);
		return false;
	}
	return true;
}

/* ---------------------------------------------------------------- whose request it is */

/* With a proxy in front, the address that it has added: the last one. */
static void read_forwarded(struct kp_route_state *state)
{
	const char *list = kp_request_header(&state->request, "X-Forwarded-For");
	const char *at = list ? strrchr(list, ',') : NULL;
	unsigned char address[sizeof(struct in6_addr)];
	char text[64];
	size_t len;

	at = at ? at + 1 : list;
	if (!at)
		return;
	at += strspn(at, " \t");
	len = strcspn(at, " \t");
	if (!len || len >= sizeof text)
		return;
	memcpy(text, at, len);
	text[len] = '\0';
	if (inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1)
		memcpy(state->request.address, text, len + 1);
}

static void read_address(struct kp_route_state *state)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		state->request.connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	kp_request *request = &state->request;

	kp_address_format(info ? info->client_addr : NULL, request->address, &request->is_loopback);
	request->is_loopback = request->is_loopback && state->http->is_loopback;
	if (!state->http->service->options.behind_proxy)
		return;
	/* Whoever comes through a proxy comes from anywhere. */
	request->is_loopback = false;
	read_forwarded(state);
}

void kp_guard_check(struct kp_route_state *state, const char *version, int *http_status,
		    bool *at_once, keep_error *err)
{
	const guard self = {state, http_status, at_once, err};
	const char *expect;

	*http_status = 0;
	*at_once = false;
	read_address(state);
	if (check_head(&self, version) && check_frame(&self, version) && check_host(&self)) {
		*http_status = kp_route_find(state, err);
		if (*http_status == 0)
			(void)check_body(&self);
	}
	/* Whoever asks first need not be told after the body. */
	expect = header_of(&self, MHD_HTTP_HEADER_EXPECT);
	if (*http_status && expect)
		*at_once = true;
}
