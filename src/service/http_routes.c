/*
 * http_routes.c - which path is whose, and the small ones: /, /healthz, /metrics.
 *
 * Paths are compared as they were sent: no escape is undone, so that one thing has one spelling.
 *
 * Invariants:
 *   1. A path below /v1/<store>/ that is an operation's is found here, by the descriptions; no
 *      operation has a line of its own.
 *   2. Every route says at which door it stands; what says nothing does not compile into the table.
 *
 * What it does not do: read bodies; judge accounts.
 *
 * Tests: tests/http/test_http_calls.py, tests/http/test_http_refused.py.
 */
#include "service/http_exchange.h"

#include <string.h>

/* ---------------------------------------------------------------- small answers */

static keep_status give_welcome(kp_request *request, keep_error *err)
{
	request->reply.status = 200;
	request->reply.type = "text/plain; charset=utf-8";
	return kp_buffer_append_format(
		&request->reply.body, err,
		"Keep %s: the durable state of chat agents.\n\n"
		"POST /v1/<store>/<verb>   an operation, with a JSON object of its inputs\n"
		"GET  /v1/trace            where a message is: ?chat=JID&id=ID\n"
		"GET  /v1/events           what happens in the gateway, as server-sent events\n"
		"POST /v1/auth/sign_in     an access token, where accounts exist\n"
		"GET  /healthz             whether the service is well\n"
		"GET  /metrics             numbers, in Prometheus' text format\n",
		keep_version());
}

static keep_status give_health(kp_request *request, keep_error *err)
{
	keep_service *service = request->service;
	keep_status status = keep_service_health(service, err);
	kp_json_writer writer;

	if (status != KEEP_OK) {
		kp_problem(&request->reply, 503, err);
		return KEEP_OK;
	}
	request->reply.status = 200;
	kp_json_begin(&writer, &request->reply.body);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "status");
	kp_json_put_text(&writer, KEEP_BYTES("ok"));
	kp_json_name(&writer, "version");
	kp_json_put_text(&writer, keep_bytes_of(keep_version()));
	kp_json_name(&writer, "uptime_ms");
	kp_json_put_integer(&writer, kp_clock_ms() - service->started_ms);
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

static keep_status give_metrics(kp_request *request, keep_error *err)
{
	request->reply.status = 200;
	request->reply.type = "text/plain; version=0.0.4; charset=utf-8";
	return kp_metrics_write(request->service, &request->reply.body, err);
}

static keep_status open_events(kp_request *request, keep_error *err)
{
	return kp_events_open(request->state->http->events, request, err);
}

/* ---------------------------------------------------------------- the table */

enum { AUTH_BODY_MAX = 16 * 1024, OTHER_BODY_MAX = 64 * 1024 };

static const kp_route_entry routes[] = {
	{"GET", "/", KP_DOOR_OPEN, false, give_welcome},
	{"GET", "/healthz", KP_DOOR_OPEN, false, give_health},
	{"GET", "/metrics", KP_DOOR_OPERATOR, false, give_metrics},
	{"GET", "/v1/events", KP_DOOR_ACCOUNT, true, open_events},
	{"GET", "/v1/trace", KP_DOOR_ACCOUNT, false, kp_trace_give},
	{"POST", "/v1/auth/sign_in", KP_DOOR_OPEN, false, kp_accounts_sign_in},
	{"POST", "/v1/auth/refresh", KP_DOOR_OPEN, false, kp_accounts_refresh},
	{"POST", "/v1/auth/sign_out", KP_DOOR_OPEN, false, kp_accounts_sign_out},
	{"POST", "/v1/", KP_DOOR_ACCOUNT, false, kp_calls_run},
};

static bool is_route_of(const kp_route_entry *route, const char *path)
{
	size_t len = strlen(route->path);

	if (len > 1 && route->path[len - 1] == '/')
		return strncmp(path, route->path, len) == 0;
	return strcmp(path, route->path) == 0;
}

/* The operation of /v1/<store>/<verb>; false: there is none. */
static bool find_operation(struct kp_route_state *state, keep_error *err)
{
	const char *store = state->path + strlen("/v1/");
	const char *verb = strchr(store, '/');

	if (verb)
		state->store = kp_store_find((keep_bytes){store, (size_t)(verb - store)});
	if (state->store)
		state->operation = kp_operation_find(state->store, keep_bytes_of(verb + 1));
	if (state->operation)
		return true;
	if (state->store)
		(void)!kp_fail(err, KEEP_NOT_FOUND, "%s: has no operation of that name",
			       state->store->name);
	else
		(void)!kp_fail(err, KEEP_NOT_FOUND, "the path: there is no such store");
	return false;
}

int kp_route_find(struct kp_route_state *state, keep_error *err)
{
	const char *method = state->request.method;
	const kp_route_entry *route = NULL;
	bool takes_head;

	for (size_t i = 0; i < KP_COUNT(routes) && !route && !state->path_is_long; i++)
		if (is_route_of(&routes[i], state->path))
			route = &routes[i];
	if (!route) {
		(void)!kp_fail(err, KEEP_NOT_FOUND, "the path: there is nothing there");
		return 404;
	}
	if (route->handler == kp_calls_run && !find_operation(state, err))
		return 404;
	state->request.is_head = strcmp(method, "HEAD") == 0;
	takes_head = strcmp(route->method, "GET") == 0 && !route->is_stream;
	if (strcmp(route->method, method) != 0 && !(takes_head && state->request.is_head)) {
		const char *allow = takes_head ? "GET, HEAD" : route->method;

		(void)!kp_reply_header(&state->request.reply, MHD_HTTP_HEADER_ALLOW, allow, NULL);
		(void)!kp_fail(err, KEEP_INVALID, "the method: only %s is understood here", allow);
		return 405;
	}
	state->route = route;
	return 0;
}

/* ---------------------------------------------------------------- bodies */

size_t kp_route_body_max(const struct kp_route_state *state)
{
	const kp_operation *operation = state->operation;
	bool is_long = false;

	if (!operation)
		return strncmp(state->path, "/v1/auth/", 9) == 0 ? AUTH_BODY_MAX : OTHER_BODY_MAX;
	for (size_t i = 0; i < operation->input_count; i++) {
		const kp_input *input = &operation->inputs[i];

		is_long = is_long || input->is_long || input->kind == KP_KIND_BYTES ||
			  input->kind == KP_KIND_ARRAY || input->kind == KP_KIND_OBJECT ||
			  input->kind == KP_KIND_JSON;
	}
	return is_long ? KP_HTTP_BODY_MAX : KP_HTTP_BODY_MAX / 16;
}
