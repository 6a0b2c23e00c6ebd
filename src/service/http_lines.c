/*
 * http_lines.c - rows as JSON lines, while they are read.
 *
 * A worker runs the operation; each row goes into a buffer of a bounded size, from which
 * libmicrohttpd's thread sends. When the buffer is full the worker waits; when it is empty the
 * connection is suspended until there is more.
 *
 * Invariants:
 *   1. At most BUFFER_MAX bytes and one row are held.
 *   2. The answer begins with the first row: an operation that fails before is answered as a
 * problem. One that fails later breaks the chunked body, so that nobody takes what came for all of
 * it.
 *   3. A client that takes nothing for STALL_MS is dropped, and its worker is free.
 *   4. The connection is suspended and resumed with the mutex held, so each suspension has one
 *      resumption.
 *
 * What it does not do: hold libmicrohttpd's threads up.
 *
 * Tests: tests/http/test_http_lines.py.
 */
#include "service/http_exchange.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { BUFFER_MAX = 256 * 1024, BLOCK_SIZE = 16 * 1024, STALL_MS = 30 * 1000, LOOK_MS = 500 };

struct kp_row_stream {
	kp_request *request;
	const char *type;
	bool is_open;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t drained;
	keep_buffer buffer;
	size_t taken;            /* bytes of the buffer that were sent */
	bool is_suspended;       /* the connection, until there is something */
	bool is_over, is_broken; /* the operation has ended; not well */
	bool is_abandoned;       /* nobody reads any more */
};

/* ---------------------------------------------------------------- libmicrohttpd's side */

/* With the mutex. */
static ssize_t take_bytes(kp_row_stream *rows, char *out, size_t max)
{
	size_t left = rows->buffer.len - rows->taken;
	size_t len = left < max ? left : max;

	memcpy(out, rows->buffer.data + rows->taken, len);
	rows->taken += len;
	if (rows->taken == rows->buffer.len)
		rows->taken = rows->buffer.len = 0;
	pthread_cond_signal(&rows->drained);
	return (ssize_t)len;
}

static ssize_t read_rows(void *ctx, uint64_t position, char *out, size_t max)
{
	kp_row_stream *rows = ctx;
	ssize_t got = 0;

	(void)position;
	pthread_mutex_lock(&rows->mutex);
	if (rows->buffer.len > rows->taken) {
		got = take_bytes(rows, out, max);
	} else if (rows->is_broken) {
		got = MHD_CONTENT_READER_END_WITH_ERROR;
	} else if (rows->is_over) {
		got = MHD_CONTENT_READER_END_OF_STREAM;
	} else {
		rows->is_suspended = true;
		MHD_suspend_connection(rows->request->connection);
	}
	pthread_mutex_unlock(&rows->mutex);
	return got;
}

struct MHD_Response *kp_rows_response(struct kp_route_state *state)
{
	return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_SIZE, read_rows,
						 state->rows, NULL);
}

const char *kp_rows_type(const kp_row_stream *rows)
{
	return rows->type;
}

void kp_rows_abandon(kp_row_stream *rows)
{
	pthread_mutex_lock(&rows->mutex);
	rows->is_abandoned = true;
	pthread_cond_signal(&rows->drained);
	pthread_mutex_unlock(&rows->mutex);
}

void kp_rows_free(kp_row_stream *rows)
{
	if (!rows)
		return;
	keep_buffer_release(&rows->buffer);
	pthread_cond_destroy(&rows->drained);
	pthread_mutex_destroy(&rows->mutex);
	kp_free(rows);
}

/* ---------------------------------------------------------------- the worker's side */

/* With the mutex: there is something to read. */
static void resume(kp_row_stream *rows)
{
	if (!rows->is_suspended)
		return;
	rows->is_suspended = false;
	MHD_resume_connection(rows->request->connection);
}

/* With the mutex: until there is room. */
static keep_status await_room(kp_row_stream *rows, keep_error *err)
{
	const kp_http *http = rows->request->state->http;
	int64_t since_ms = kp_now_ms();
	size_t left = rows->buffer.len - rows->taken;

	while (rows->buffer.len - rows->taken >= BUFFER_MAX && !rows->is_abandoned) {
		int64_t until_ns = kp_monotonic_ns() + LOOK_MS * INT64_C(1000000);
		struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};

		(void)pthread_cond_timedwait(&rows->drained, &rows->mutex, &until);
		if (rows->buffer.len - rows->taken != left)
			since_ms = kp_now_ms();
		left = rows->buffer.len - rows->taken;
		if (kp_now_ms() - since_ms > STALL_MS || atomic_load(&http->is_cutting))
			return kp_fail(err, KEEP_UNAVAILABLE, "the client does not read its rows");
	}
	if (rows->is_abandoned)
		return kp_fail(err, KEEP_UNAVAILABLE, "the client is gone");
	return KEEP_OK;
}

/* With the mutex. */
static keep_status append_row(kp_row_stream *rows, keep_bytes json, keep_error *err)
{
	keep_status status = await_room(rows, err);

	if (status == KEEP_OK && rows->taken) {
		memmove(rows->buffer.data, rows->buffer.data + rows->taken,
			rows->buffer.len - rows->taken);
		rows->buffer.len -= rows->taken;
		rows->taken = 0;
	}
	if (status == KEEP_OK)
		status = kp_buffer_append(&rows->buffer, json, err);
	if (status == KEEP_OK)
		status = kp_buffer_append(&rows->buffer, KEEP_BYTES("\n"), err);
	return status;
}

static keep_status put_row(void *ctx, keep_bytes json, keep_error *err)
{
	kp_row_stream *rows = ctx;
	struct kp_route_state *state = rows->request->state;
	keep_status status = KEEP_OK;

	if (atomic_load(&state->http->is_cutting))
		return kp_fail(err, KEEP_UNAVAILABLE, "the service is stopping");
	pthread_mutex_lock(&rows->mutex);
	status = append_row(rows, json, err);
	if (status == KEEP_OK)
		resume(rows);
	pthread_mutex_unlock(&rows->mutex);
	if (status == KEEP_OK && !rows->is_open) {
		rows->is_open = true;
		state->rows = rows;
		kp_exchange_open_rows(rows->request);
	}
	return status;
}

static keep_status make_stream(kp_request *request, const char *type, kp_row_stream **out,
			       keep_error *err)
{
	kp_row_stream *rows = kp_alloc_zero(sizeof *rows);
	pthread_condattr_t clock;

	*out = rows;
	if (!rows)
		return kp_fail_memory(err, "rows");
	rows->request = request;
	rows->type = type;
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_mutex_init(&rows->mutex, NULL);
	pthread_cond_init(&rows->drained, &clock);
	pthread_condattr_destroy(&clock);
	return KEEP_OK;
}

keep_status kp_rows_run(kp_request *request, const char *type, const kp_json *with, kp_arena *arena,
			keep_error *err)
{
	kp_row_stream *rows = NULL;
	keep_buffer unused = KEEP_BUFFER_INIT;
	keep_status status = make_stream(request, type, &rows, err);
	const kp_call_hooks hooks = {.ctx = rows, .row = put_row};

	if (status == KEEP_OK)
		status = kp_waits_run(request, with, &hooks, &unused, arena, err);
	keep_buffer_release(&unused);
	if (!rows || !rows->is_open) {
		kp_rows_free(rows);
		request->reply.status = 200;
		request->reply.type = type;
		return status;
	}
	pthread_mutex_lock(&rows->mutex);
	rows->is_over = true;
	rows->is_broken = status != KEEP_OK;
	if (rows->is_broken && !rows->is_abandoned)
		kp_log(KEEP_LOG_WARNING, "http: %.200s: an answer was broken off: %s",
		       request->path, err ? err->message : "");
	resume(rows);
	pthread_mutex_unlock(&rows->mutex);
	return status;
}
