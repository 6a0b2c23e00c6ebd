/*
 * cli_call.c - `keep call HOME`: every operation as JSON lines.
 *
 *     {"id":1,"call":"engine.get","with":{"path":"chat/x"}}   {"id":1,"ok":true,"result":"…"}
 *
 * Order: calls run one after the other, in the order of their lines, on the main thread. An
 * operation that waits for others gets a thread of its own, and the next line is read once the
 * wait is in place: a change that a later line makes cannot be missed. Its answer comes when it
 * comes. At most WAITS_MAX are under way; one more is answered BUSY.
 *
 * How it ends: as `keep engine batch` (cli_batch.c). At the end of input the waits under way are
 * answered first; a signal or a reader that went away ends them.
 *
 * Invariants:
 *   1. A wait's thread is joined before its memory goes, and all are before the session closes.
 *   2. Every line is answered once.
 *
 * Tests: tests/cli/test_cli_call.py.
 */
#include "cli/cli.h"
#include "keep/engine.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP_MAX = 256, WAITS_MAX = 64, LINE_BYTES_MAX = 512 << 20 };

typedef struct call_request {
	keep_bytes id;
	const kp_operation_store *store;
	const kp_operation *operation;
	const kp_json *with;
} call_request;

typedef struct call_server {
	keep_session *session;
	cli_stream *stream;
	pthread_mutex_t mutex; /* guards finished, and every wait's begun */
	pthread_cond_t begun;
	struct waiting_call *finished; /* their threads are to be joined */
	unsigned active;               /* waits not yet joined; the main thread's */
} call_server;

typedef struct waiting_call {
	call_server *server;
	struct waiting_call *next; /* in finished */
	pthread_t thread;
	keep_buffer line; /* a copy, which the request points into */
	kp_arena arena;
	call_request request;
	bool begun;
} waiting_call;

/* ---------------------------------------------------------------- requests */

static keep_status read_request(keep_bytes line, kp_arena *arena, call_request *out,
				keep_error *err)
{
	const kp_json *json = NULL, *id, *call;
	keep_status status;

	*out = (call_request){.with = NULL};
	if (!line.data)
		return kp_fail(err, KEEP_FULL, "the line is over %d bytes and was skipped",
			       LINE_BYTES_MAX);
	status = kp_json_parse(line, arena, &json, err);
	if (status != KEEP_OK)
		return status;
	if (json->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "the line is %s, not a request",
			       kp_json_kind_name(json->kind));
	id = kp_json_member(json, "id");
	if (id)
		out->id = id->raw;
	out->with = kp_json_member(json, "with");
	call = kp_json_member(json, "call");
	if (!call || call->kind != KP_JSON_TEXT)
		return kp_fail(err, KEEP_INVALID, "call: %s", call ? "not a text" : "missing");
	return kp_operation_parse(call->text, &out->store, &out->operation, err);
}

static keep_status put_answer(call_server *server, keep_bytes id, keep_status status,
			      keep_bytes result, const keep_error *error, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status put = status == KEEP_OK
				  ? kp_lines_answer(&text, id, result, err)
				  : kp_lines_failure(&text, id, status, error->message, err);

	if (put == KEEP_OK)
		put = cli_stream_put(server->stream, kp_buffer_bytes(&text), err);
	keep_buffer_release(&text);
	return put;
}

/* ---------------------------------------------------------------- calls that wait */

static void free_wait(waiting_call *wait)
{
	kp_arena_release(&wait->arena);
	keep_buffer_release(&wait->line);
	kp_free(wait);
}

/* The wait is in place, or over: the next line may run. */
static void note_begun(void *ctx)
{
	waiting_call *wait = ctx;

	pthread_mutex_lock(&wait->server->mutex);
	wait->begun = true;
	pthread_cond_broadcast(&wait->server->begun);
	pthread_mutex_unlock(&wait->server->mutex);
}

static void *run_wait(void *ctx)
{
	waiting_call *wait = ctx;
	call_server *server = wait->server;
	const call_request *request = &wait->request;
	const kp_call_hooks hooks = {.ctx = wait, .started = note_begun};
	keep_buffer result = KEEP_BUFFER_INIT;
	keep_error error = KEEP_ERROR_INIT;
	keep_status status = kp_session_run(server->session, request->store, request->operation,
					    request->with, &hooks, &result, &error);

	/* Without memory for one line nothing better can be done than to tell on stderr. */
	if (put_answer(server, request->id, status, kp_buffer_bytes(&result), &error, &error) !=
	    KEEP_OK)
		(void)cli_fail(&error);
	keep_buffer_release(&result);
	note_begun(wait);
	pthread_mutex_lock(&server->mutex);
	wait->next = server->finished;
	server->finished = wait;
	pthread_mutex_unlock(&server->mutex);
	cli_stream_wake(server->stream);
	return NULL;
}

static void join_finished(call_server *server)
{
	waiting_call *wait, *next;

	pthread_mutex_lock(&server->mutex);
	wait = server->finished;
	server->finished = NULL;
	pthread_mutex_unlock(&server->mutex);
	for (; wait; wait = next) {
		next = wait->next;
		pthread_join(wait->thread, NULL);
		free_wait(wait);
		server->active--;
	}
}

static keep_status start_wait(call_server *server, keep_bytes line, keep_error *err)
{
	waiting_call *wait = NULL;
	keep_status status;
	int failed;

	if (server->active == WAITS_MAX)
		return kp_fail(err, KEEP_BUSY, "call: %d calls are waiting already", WAITS_MAX);
	wait = kp_alloc_zero(sizeof *wait);
	if (!wait)
		return kp_fail_memory(err, "a call");
	wait->server = server;
	status = keep_buffer_set(&wait->line, line, err);
	if (status == KEEP_OK)
		status = read_request(kp_buffer_bytes(&wait->line), &wait->arena, &wait->request,
				      err);
	if (status == KEEP_OK) {
		failed = pthread_create(&wait->thread, NULL, run_wait, wait);
		if (failed)
			status = kp_fail_errno(err, failed, "a thread for a call");
	}
	if (status != KEEP_OK) {
		free_wait(wait);
		return status;
	}
	server->active++;
	pthread_mutex_lock(&server->mutex);
	while (!wait->begun)
		pthread_cond_wait(&server->begun, &server->mutex);
	pthread_mutex_unlock(&server->mutex);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- serving */

static keep_status serve_line(call_server *server, keep_bytes line, keep_error *err)
{
	keep_buffer result = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	call_request request;
	keep_error error = KEEP_ERROR_INIT;
	keep_status status = read_request(line, &arena, &request, &error), put = KEEP_OK;
	bool answered = false;

	if (status == KEEP_OK && kp_operation_waits(request.operation, request.with)) {
		status = start_wait(server, line, &error);
		answered = status == KEEP_OK;
	} else if (status == KEEP_OK) {
		status = kp_session_run(server->session, request.store, request.operation,
					request.with, NULL, &result, &error);
	}
	if (!answered)
		put = put_answer(server, request.id, status, kp_buffer_bytes(&result), &error, err);
	keep_buffer_release(&result);
	kp_arena_release(&arena);
	return put == KEEP_OK ? cli_stream_settle(server->stream, err) : put;
}

static keep_status serve(call_server *server, keep_error *err)
{
	cli_stream *stream = server->stream;
	keep_bytes lines[GROUP_MAX];
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && !cli_stream_is_gone(stream)) {
		size_t count = cli_stream_take(stream, lines, GROUP_MAX);

		for (size_t i = 0; i < count && status == KEEP_OK; i++)
			status = serve_line(server, lines[i], err);
		if (status == KEEP_OK)
			status = cli_stream_flush(stream, err);
		join_finished(server);
		if (status != KEEP_OK || count)
			continue;
		if (cli_stream_is_over(stream) && server->active == 0)
			break;
		status = cli_stream_wait(stream, err);
	}
	kp_session_cancel(server->session);
	while (server->active) {
		keep_status waited = cli_stream_wait(stream, status == KEEP_OK ? err : NULL);

		status = status == KEEP_OK ? waited : status;
		join_finished(server);
	}
	return status == KEEP_OK ? cli_stream_finish(stream, err) : status;
}

static void stop_server(void *ctx)
{
	call_server *server = ctx;

	kp_session_cancel(server->session);
	cli_stream_stop(server->stream);
}

int cli_call_main(int argc, char **argv)
{
	const char *home = argc ? argv[0] : getenv("KEEP_HOME");
	call_server server = {.mutex = PTHREAD_MUTEX_INITIALIZER,
			      .begun = PTHREAD_COND_INITIALIZER};
	cli_signals signals;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	int exit_status = CLI_DONE;

	if (argc > 1)
		return cli_wrong_use("call", "call: '%s': one word too many", argv[1]);
	if (argc && home[0] == '-')
		return cli_wrong_use("call", "%s: no such option", home);
	if (!home || !*home)
		return cli_wrong_use("call", "call: HOME: missing, and KEEP_HOME is not set");
	status = cli_stream_open(LINE_BYTES_MAX, &server.stream, &err);
	if (status == KEEP_OK)
		status = keep_session_open(home, &server.session, &err);
	if (status == KEEP_OK)
		status = cli_signals_begin(&signals, stop_server, &server, &err);
	if (status == KEEP_OK) {
		status = serve(&server, &err);
		if (status != KEEP_OK)
			exit_status = cli_fail(&err);
		exit_status = cli_signals_end(&signals, exit_status);
	} else {
		exit_status = cli_fail(&err);
	}
	keep_session_close(&server.session);
	cli_stream_close(&server.stream);
	return exit_status;
}
