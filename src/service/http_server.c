/*
 * http_server.c - the HTTP server: libmicrohttpd, and what an exchange (a request and its answer)
 * goes through.
 *
 *     HEAD ──► BODY ──► RUN ──► REPLY ──► SENT        DRAIN: it is refused, its body is read and
 *       └────► DRAIN ─────────────┘                   dropped, so that the client sees the answer
 *                       └─────► LINES ──► SENT        LINES: rows go out while they are made
 *
 * libmicrohttpd's few threads read and write. When a request is whole, its connection is suspended
 * and a worker runs it; then the connection is resumed, and its thread sends what was made.
 *
 * Invariants:
 *   1. No store's call on libmicrohttpd's threads.
 *   2. A suspended connection is resumed by exactly one call, also when the service stops:
 *      libmicrohttpd must not be stopped over suspended ones.
 *   3. An exchange is freed when libmicrohttpd has let it go and no worker makes rows for it.
 *   4. What is in flight is answered when the service stops, until its time is up; connections that
 *      have not sent a whole request are cut.
 *   5. Bodies in memory are bounded: one by its operation, the large ones together by
 *      KP_HTTP_BODIES_MAX.
 *   6. Logs have method, path, status and address: no query, header or body.
 *
 * What it does not do: decide what is refused (http_guard.c), know a path (http_routes.c).
 *
 * Tests: tests/http/, tests/unit/test_http_listen.c.
 */
#include "service/http_exchange.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
	POOL_THREADS = 2,
	WORKERS_MAX = 32,
	QUEUE_MAX = 1024,
	PATIENT_MAX = 256,
	CONNECTION_MEMORY = 64 * 1024,
	BYTES_PER_MS = 16, /* below that a body or an answer takes too long */
	SENDING_MS = 60 * 1000,
};

const char *kp_request_header(const kp_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *kp_request_parameter(const kp_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

/* ---------------------------------------------------------------- exchanges */

/* libmicrohttpd has read a request's first line. What is returned is the exchange. */
static void *begin_exchange(void *ctx, const char *uri, struct MHD_Connection *connection)
{
	kp_http *http = ctx;
	struct kp_route_state *state = kp_alloc_zero(sizeof *state);
	size_t len = uri ? strcspn(uri, "?") : 0;
	kp_link *link = kp_link_of(connection);

	if (!state || !link) {
		kp_free(state);
		return NULL;
	}
	state->request.service = http->service;
	state->request.connection = connection;
	state->request.path = state->path;
	state->request.state = state;
	state->http = http;
	state->link = link;
	atomic_store(&state->holders, 1);
	state->uri_is_long = uri && strlen(uri) > KP_HTTP_URI_MAX;
	state->path_is_long = len >= sizeof state->path;
	if (!state->path_is_long && uri)
		memcpy(state->path, uri, len);
	kp_link_until(link, kp_now_ms() + KP_HTTP_HEAD_MS);
	atomic_store(&link->is_reading, true);
	return state;
}

void kp_exchange_release(struct kp_route_state *state)
{
	if (atomic_fetch_sub(&state->holders, 1) > 1)
		return;
	atomic_fetch_sub(&state->http->bodies, (long long)state->reserved);
	kp_rows_free(state->rows);
	kp_account_release(&state->request.account);
	/* It may have had a password. */
	if (state->request.body.data)
		kp_wipe(state->request.body.data, state->request.body.len);
	keep_buffer_release(&state->request.body);
	kp_reply_release(&state->request.reply);
	kp_free(state);
}

static void note_in_flight(struct kp_route_state *state, bool is_in_flight)
{
	kp_http *http = state->http;

	if (state->is_counted == is_in_flight)
		return;
	state->is_counted = is_in_flight;
	pthread_mutex_lock(&http->mutex);
	http->in_flight += is_in_flight ? 1 : -1;
	if (http->in_flight == 0)
		pthread_cond_broadcast(&http->landed);
	pthread_mutex_unlock(&http->mutex);
}

static void end_exchange(void *ctx, struct MHD_Connection *connection, void **con_cls,
			 enum MHD_RequestTerminationCode code)
{
	struct kp_route_state *state = *con_cls;

	(void)ctx, (void)connection, (void)code;
	*con_cls = NULL;
	if (!state)
		return;
	/* The next request may begin; libmicrohttpd ends an idle connection earlier. */
	kp_link_until(state->link, kp_now_ms() + KP_HTTP_IDLE_MS + KP_HTTP_HEAD_MS);
	if (state->rows)
		kp_rows_abandon(state->rows);
	note_in_flight(state, false);
	kp_exchange_release(state);
}

/* ---------------------------------------------------------------- answers */

static void note_answer(struct kp_route_state *state, int http_status)
{
	keep_service *service = state->http->service;
	const kp_request *request = &state->request;
	keep_log_level level = http_status >= 500   ? KEEP_LOG_WARNING
			       : http_status >= 400 ? KEEP_LOG_INFO
						    : KEEP_LOG_DEBUG;
	const char *verb = state->operation ? state->operation->verb : "";

	kp_count(service, KP_COUNT_REQUESTS, 1);
	if (http_status >= 500)
		kp_count(service, KP_COUNT_FAILED_REQUESTS, 1);
	else if (http_status >= 400)
		kp_count(service, KP_COUNT_REFUSED, 1);
	if (http_status == 401 || http_status == 403)
		kp_count(service, KP_COUNT_DENIED, 1);
	if (http_status == 200 && state->store == &kp_gateway_operations &&
	    (strcmp(verb, "put_message") == 0 || strcmp(verb, "put_messages") == 0))
		kp_metrics_accepted(service, (kp_monotonic_ns() - state->received_ns) / 1000);
	kp_log(level, "http: %.16s %.200s %d %s", request->method, state->path, http_status,
	       request->address);
}

static bool add_headers(struct kp_route_state *state, struct MHD_Response *response,
			const char *type)
{
	const kp_reply *reply = &state->request.reply;
	bool closes = state->must_close || atomic_load(&state->http->service->stopping);
	bool done = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) &&
		    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff") &&
		    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");

	if (closes)
		done = done &&
		       MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	for (unsigned i = 0; i < reply->header_count && done; i++)
		done = MHD_add_response_header(response, reply->headers[i].name,
					       reply->headers[i].value);
	return done;
}

static void free_body(void *body)
{
	kp_free(body);
}

static struct MHD_Response *make_response(kp_reply *reply)
{
	static const char no_memory[] =
		"{\"type\":\"about:blank\",\"title\":\"Service Unavailable\","
		"\"status\":503,\"detail\":\"out of memory\","
		"\"code\":\"NO_MEMORY\"}";
	struct MHD_Response *response;

	if (reply->type == kp_problem_type && !reply->body.len) {
		reply->status = 503;
		return MHD_create_response_from_buffer(
			sizeof no_memory - 1, (void *)(uintptr_t)no_memory, MHD_RESPMEM_PERSISTENT);
	}
	if (!reply->body.len)
		return MHD_create_response_from_buffer(0, (void *)(uintptr_t) "",
						       MHD_RESPMEM_PERSISTENT);
	response = MHD_create_response_from_buffer_with_free_callback(reply->body.len,
								      reply->body.data, free_body);
	if (response)
		reply->body = (keep_buffer)KEEP_BUFFER_INIT;
	return response;
}

static enum MHD_Result queue_response(struct kp_route_state *state, struct MHD_Response *response,
				      int http_status, const char *type, int64_t deadline_ms)
{
	enum MHD_Result queued = MHD_NO;

	if (response && add_headers(state, response, type))
		queued = MHD_queue_response(state->request.connection, (unsigned)http_status,
					    response);
	if (response)
		MHD_destroy_response(response);
	state->phase = KP_PHASE_SENT;
	atomic_store(&state->link->is_reading, false);
	kp_link_until(state->link, deadline_ms);
	if (queued)
		note_answer(state, http_status);
	return queued;
}

static enum MHD_Result send_reply(struct kp_route_state *state)
{
	kp_reply *reply = &state->request.reply;
	int64_t deadline_ms = kp_now_ms() + SENDING_MS + (int64_t)(reply->body.len / BYTES_PER_MS);
	const char *type = reply->type ? reply->type : "application/json";
	struct MHD_Response *response = make_response(reply);

	return queue_response(state, response, reply->status, type, deadline_ms);
}

/* libmicrohttpd's thread. `http_status` 0: by err's. */
static enum MHD_Result send_problem(struct kp_route_state *state, int http_status,
				    const keep_error *err)
{
	kp_problem(&state->request.reply, http_status, err);
	return send_reply(state);
}

/* ---------------------------------------------------------------- running (workers) */

static void hand_back(struct kp_route_state *state, kp_phase phase)
{
	state->phase = phase;
	MHD_resume_connection(state->request.connection);
}

static keep_status run_handler(struct kp_route_state *state, keep_error *err)
{
	kp_request *request = &state->request;
	int http_status = 0;
	keep_status status = KEEP_OK;

	if (atomic_load(&state->http->is_cutting))
		return kp_fail(err, KEEP_UNAVAILABLE, "the service is stopping");
	if (!state->is_identified && state->route->door != KP_DOOR_OPEN) {
		status = kp_account_identify(request, state->route->door, &http_status, err);
		if (status == KEEP_DENIED) {
			kp_problem(&request->reply, http_status, err);
			return KEEP_OK;
		}
		state->is_identified = status == KEEP_OK;
	}
	return status == KEEP_OK ? state->route->handler(request, err) : status;
}

static void run_exchange(kp_http_job *job)
{
	struct kp_route_state *state =
		(struct kp_route_state *)(void *)((char *)job -
						  offsetof(struct kp_route_state, job));
	kp_request *request = &state->request;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = run_handler(state, &err);
	bool is_open = state->route->is_stream && status == KEEP_OK && !request->reply.status;

	if (state->moves && status == KEEP_OK) {
		state->moves = false;
		state->is_patient = true;
		status = kp_workers_put(state->http->patient, &state->job, &err);
		if (status == KEEP_OK)
			return;
	}
	/* Rows are out: the connection is libmicrohttpd's again. */
	if (state->rows) {
		kp_exchange_release(state);
		return;
	}
	if (status != KEEP_OK)
		kp_problem(&request->reply, 0, &err);
	if (is_open) {
		note_in_flight(state, false);
		note_answer(state, 200);
		kp_link_until(state->link, 0);
	}
	hand_back(state, is_open ? KP_PHASE_SENT : KP_PHASE_REPLY);
}

void kp_exchange_open_rows(kp_request *request)
{
	atomic_fetch_add(&request->state->holders, 1);
	hand_back(request->state, KP_PHASE_LINES);
}

static enum MHD_Result dispatch(struct kp_route_state *state)
{
	keep_error err = KEEP_ERROR_INIT;

	state->received_ns = kp_monotonic_ns();
	if (atomic_load(&state->http->service->stopping)) {
		(void)!kp_fail(&err, KEEP_UNAVAILABLE, "the service is stopping");
		return send_problem(state, 503, &err);
	}
	atomic_store(&state->link->is_reading, false);
	kp_link_until(state->link, 0);
	note_in_flight(state, true);
	state->phase = KP_PHASE_RUN;
	state->job.run = run_exchange;
	MHD_suspend_connection(state->request.connection);
	if (kp_workers_put(state->http->workers, &state->job, &err) != KEEP_OK) {
		kp_problem(&state->request.reply, 503, &err);
		hand_back(state, KP_PHASE_REPLY);
	}
	return MHD_YES;
}

/* ---------------------------------------------------------------- reading */

static int64_t body_deadline(const struct kp_route_state *state)
{
	return kp_now_ms() + KP_HTTP_IDLE_MS + (int64_t)(state->body_max / BYTES_PER_MS);
}

static enum MHD_Result take_head(struct kp_route_state *state, const char *method,
				 const char *version)
{
	keep_error err = KEEP_ERROR_INIT;
	int http_status = 0;
	bool at_once = false;

	state->request.method = method;
	state->is_old = strcmp(version, "HTTP/1.0") == 0;
	kp_guard_check(state, version, &http_status, &at_once, &err);
	kp_link_until(state->link, body_deadline(state));
	state->phase = KP_PHASE_BODY;
	if (!http_status)
		return MHD_YES;
	state->phase = KP_PHASE_DRAIN;
	kp_problem(&state->request.reply, http_status, &err);
	if (!at_once)
		return MHD_YES;
	state->must_close = true;
	return send_reply(state);
}

/* What is left of it is read and dropped. */
static void refuse_body(struct kp_route_state *state, int http_status, const keep_error *err)
{
	state->phase = KP_PHASE_DRAIN;
	keep_buffer_release(&state->request.body);
	kp_problem(&state->request.reply, http_status, err);
}

static keep_status reserve(struct kp_route_state *state, size_t size, keep_error *err)
{
	kp_http *http = state->http;

	if (size <= KP_HTTP_SMALL_BODY || size <= state->reserved)
		return KEEP_OK;
	/* A buffer doubles when it grows. */
	size = size * 2 - state->reserved;
	if (atomic_fetch_add(&http->bodies, (long long)size) + (long long)size >
	    KP_HTTP_BODIES_MAX) {
		atomic_fetch_sub(&http->bodies, (long long)size);
		return kp_fail(err, KEEP_BUSY, "too many large bodies are under way");
	}
	state->reserved += size;
	return KEEP_OK;
}

static enum MHD_Result take_body(struct kp_route_state *state, const char *data, size_t *size)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer *body = &state->request.body;
	keep_status status = KEEP_OK;
	size_t len = *size;

	*size = 0;
	if (state->phase == KP_PHASE_DRAIN) {
		state->drained += len;
		return state->drained <= KP_HTTP_DRAIN_MAX ? MHD_YES : MHD_NO;
	}
	if (body->len + len > state->body_max) {
		(void)!kp_fail(&err, KEEP_FULL, "the body is over %zu bytes", state->body_max);
		refuse_body(state, 413, &err);
		return MHD_YES;
	}
	status = reserve(state, body->len + len, &err);
	if (status == KEEP_OK)
		status = kp_buffer_append(body, (keep_bytes){data, len}, &err);
	if (status != KEEP_OK)
		refuse_body(state, 503, &err);
	return MHD_YES;
}

/* libmicrohttpd calls it with the headers, with each piece of the body, when the request is whole,
   and after each resumption. */
static enum MHD_Result answer(void *ctx, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *upload_data,
			      size_t *upload_data_size, void **con_cls)
{
	struct kp_route_state *state = *con_cls;

	(void)ctx, (void)connection, (void)url;
	if (!state)
		return MHD_NO;
	switch (state->phase) {
	case KP_PHASE_HEAD: return take_head(state, method, version);
	case KP_PHASE_BODY:
	case KP_PHASE_DRAIN:
		if (*upload_data_size)
			return take_body(state, upload_data, upload_data_size);
		return state->phase == KP_PHASE_BODY ? dispatch(state) : send_reply(state);
	case KP_PHASE_REPLY: return send_reply(state);
	case KP_PHASE_LINES:
		return queue_response(state, kp_rows_response(state), 200,
				      kp_rows_type(state->rows), 0);
	case KP_PHASE_RUN:
	case KP_PHASE_SENT: break;
	}
	return MHD_YES;
}

/* ---------------------------------------------------------------- start and stop */

KEEP_PRINTF(2, 0)
static void log_daemon(void *ctx, const char *format, va_list args)
{
	char text[200];

	(void)ctx;
	kp_message_format(text, sizeof text, format, args);
	kp_log(KEEP_LOG_DEBUG, "http: %s", text);
}

static keep_status start_daemon(kp_http *http, keep_error *err)
{
	const keep_service_options *options = &http->service->options;
	bool is_v6 = http->host[0] == '[', is_near = http->is_loopback || options->behind_proxy;
	keep_buffer certificate = KEEP_BUFFER_INIT, key = KEEP_BUFFER_INIT;
	keep_status status = kp_http_tls_texts(options, &certificate, &key, err);
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, certificate.data},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, key.data},
		{MHD_OPTION_HTTPS_PRIORITIES, 0,
		 (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
		{MHD_OPTION_END, 0, NULL}};
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
			 MHD_USE_ERROR_LOG | (is_v6 ? MHD_USE_IPv6 : 0) |
			 (http->is_tls ? MHD_USE_TLS : 0);

	if (status == KEEP_OK) {
		http->daemon = MHD_start_daemon(
			flags, 0, NULL, NULL, answer, http, MHD_OPTION_EXTERNAL_LOGGER, log_daemon,
			NULL, MHD_OPTION_LISTEN_SOCKET, http->listen_fd,
			MHD_OPTION_THREAD_POOL_SIZE, (unsigned)POOL_THREADS,
			MHD_OPTION_CONNECTION_LIMIT, (unsigned)KP_HTTP_CONNECTIONS_MAX,
			MHD_OPTION_PER_IP_CONNECTION_LIMIT,
			(unsigned)(is_near ? 0 : KP_HTTP_ADDRESS_CONNECTIONS_MAX),
			MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(KP_HTTP_IDLE_MS / 1000),
			MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
			MHD_OPTION_URI_LOG_CALLBACK, begin_exchange, http,
			MHD_OPTION_NOTIFY_COMPLETED, end_exchange, http,
			MHD_OPTION_NOTIFY_CONNECTION, kp_links_notify, http->links,
			MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_ARRAY,
			http->is_tls ? tls : &tls[3], MHD_OPTION_END);
		/* It has closed the socket when it does not start. */
		if (!http->daemon)
			http->listen_fd = -1;
		if (!http->daemon)
			status = http->is_tls ? kp_fail(err, KEEP_INVALID,
							"TLS: the certificate and the key cannot "
							"be used together")
					      : kp_fail(err, KEEP_UNAVAILABLE,
							"http: the server does not start");
	}
	if (key.data)
		kp_wipe(key.data, key.len);
	keep_buffer_release(&key);
	keep_buffer_release(&certificate);
	return status;
}

/* The usual limit of files is lower than that of connections: take what the machine allows. */
static void allow_files(void)
{
	enum { FILES = 8192 };
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= FILES)
		return;
	limit.rlim_cur = limit.rlim_max < FILES ? limit.rlim_max : FILES;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

keep_status kp_http_start(keep_service *service, kp_http **out, keep_error *err)
{
	kp_http *http = kp_alloc_zero(sizeof *http);
	pthread_condattr_t clock;
	keep_status status;

	*out = NULL;
	if (!http)
		return kp_fail_memory(err, "the HTTP server");
	http->service = service;
	http->listen_fd = -1;
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_mutex_init(&http->mutex, NULL);
	pthread_cond_init(&http->landed, &clock);
	pthread_condattr_destroy(&clock);
	allow_files();
	status = kp_http_listen(http, err);
	if (status == KEEP_OK)
		status = kp_links_start(service, &http->links, err);
	if (status == KEEP_OK)
		status = kp_workers_start((kp_workers_options){WORKERS_MAX, QUEUE_MAX},
					  &http->workers, err);
	if (status == KEEP_OK)
		status =
			kp_workers_start((kp_workers_options){PATIENT_MAX, 0}, &http->patient, err);
	if (status == KEEP_OK)
		status = kp_events_start(service, &http->events, err);
	if (status == KEEP_OK)
		status = start_daemon(http, err);
	if (status != KEEP_OK)
		kp_http_stop(&http, 0);
	*out = http;
	return status;
}

const char *kp_http_url(const kp_http *http)
{
	return http ? http->url : "";
}

/* Until nothing is in flight, or the time is over. */
static bool await_landing(kp_http *http, int64_t until_ms)
{
	struct timespec until = {until_ms / 1000, until_ms % 1000 * 1000000};
	bool landed;

	pthread_mutex_lock(&http->mutex);
	while (http->in_flight && kp_now_ms() < until_ms)
		(void)pthread_cond_timedwait(&http->landed, &http->mutex, &until);
	landed = http->in_flight == 0;
	pthread_mutex_unlock(&http->mutex);
	return landed;
}

static void end_in_flight(kp_http *http, int64_t until_ms)
{
	enum { WAITS_MS = 1500 };
	int64_t soon_ms = kp_now_ms() + WAITS_MS;

	atomic_store(&http->is_ending, true);
	if (await_landing(http, soon_ms < until_ms ? soon_ms : until_ms))
		return;
	/* Waits that nothing else ends. */
	kp_session_cancel(http->service->session);
	if (!await_landing(http, until_ms))
		kp_log(KEEP_LOG_WARNING, "http: the time to answer what is in flight is over");
}

void kp_http_stop(kp_http **http, int64_t until_ms)
{
	kp_http *self = http ? *http : NULL;

	if (!self)
		return;
	*http = NULL;
	if (self->daemon) {
		(void)MHD_quiesce_daemon(self->daemon);
		close(self->listen_fd);
		self->listen_fd = -1;
		end_in_flight(self, until_ms);
	}
	atomic_store(&self->is_cutting, true);
	kp_events_stop(&self->events);
	kp_workers_stop(&self->workers);
	kp_workers_stop(&self->patient);
	if (self->daemon)
		MHD_stop_daemon(self->daemon);
	kp_links_stop(&self->links);
	if (self->listen_fd >= 0)
		close(self->listen_fd);
	pthread_cond_destroy(&self->landed);
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}
