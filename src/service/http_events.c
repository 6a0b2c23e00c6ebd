/*
 * http_events.c - GET /v1/events: the gateway's feed of changes as server-sent events.
 *
 * An event's id is its message's change number, which grows in the order of commits over the whole
 * store. Who comes back with the last id it saw (Last-Event-ID, or ?after=) gets everything after
 * it, whatever happened in between: the feed is the store's, not this process's.
 *
 *     opened ──> greeted ──> sending <──> suspended ──> ended
 *
 * Where a stream's events come from: the ring, when it is nearly up to date and its account sees
 * everything; else a reader (event_catch_up.c), which asks the gateway and judges each event.
 *
 * Invariants:
 *   1. A stream's cursor moves only when an event behind it was handed to libmicrohttpd, or is
 * known not to be for it; so what a client saw last is an id it can come back with.
 *   2. libmicrohttpd's callback never answers 0 without suspending its connection: with epoll it
 *      would be called again at once, for ever. Only a connection that was suspended here is
 * resumed, and once; both under the mutex.
 *   3. A frame is never cut: a stream that is to end ends after the event that it is in.
 *   4. A stream's memory ends with its response, which libmicrohttpd releases before it closes the
 *      socket: under the mutex a stream's descriptor is its own.
 *   5. No stream is left suspended when kp_events_stop returns: libmicrohttpd cannot be stopped
 * with one. So it is called before MHD_stop_daemon, and after the last kp_events_open.
 *
 * What it does not do: keep anything for a client that is away; acknowledge anything.
 *
 * Tests: tests/http/test_http_events.py, tests/unit/test_event_ring.c.
 */
#include "service/event_streams.h"

#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
	STREAMS_MAX = 1500,       /* of 2000 connections: the others are for requests */
	ADDRESS_STREAMS_MAX = 64, /* of one address that is not loopback */
	RING_EVENTS = 4096,
	RING_BYTES = 8 << 20,
	BLOCK_SIZE = 4096,
	STACK_SIZE = 512 * 1024,
	END_MS = 2000 /* how long clients may take to take the end */
};

#define RETRY_MS "1000"

/* ---------------------------------------------------------------- a stream's life */

static void release_stream(kp_stream *stream)
{
	kp_account_release(&stream->account);
	keep_memory_release(&stream->memory);
	kp_free(stream);
}

static void release_events(kp_events *events)
{
	kp_event_ring_release(&events->ring);
	keep_buffer_release(&events->scratch);
	pthread_cond_destroy(&events->behind);
	pthread_cond_destroy(&events->emptied);
	pthread_mutex_destroy(&events->mutex);
	kp_free(events);
}

/* Let one hold of the whole go; unlocks. */
static void leave_events(kp_events *events)
{
	bool was_last = --events->holders == 0;

	pthread_mutex_unlock(&events->mutex);
	if (was_last)
		release_events(events);
}

void kp_stream_let_go(kp_stream *stream)
{
	kp_events *events = stream->events;

	pthread_mutex_lock(&events->mutex);
	if (--stream->holders > 0) {
		pthread_mutex_unlock(&events->mutex);
		return;
	}
	kp_event_let_go(&stream->current);
	for (; stream->ready_count; stream->ready_count--, stream->ready_first++)
		kp_event_let_go(&stream->ready[stream->ready_first]);
	events->ready_bytes -= stream->ready_bytes;
	pthread_cond_broadcast(&events->behind);
	release_stream(stream);
	leave_events(events);
}

/* With the mutex. */
static void unlink_stream(kp_stream *stream)
{
	kp_events *events = stream->events;

	if (stream->previous)
		stream->previous->next = stream->next;
	else
		events->streams = stream->next;
	if (stream->next)
		stream->next->previous = stream->previous;
	if (--events->stream_count == 0)
		pthread_cond_broadcast(&events->emptied);
	kp_gauge_add(events->service, KP_GAUGE_STREAMS, -1);
}

/* libmicrohttpd is done with the response: its connection closes, or never answered with it. */
static void end_of_response(void *ctx)
{
	kp_stream *stream = ctx;

	pthread_mutex_lock(&stream->events->mutex);
	unlink_stream(stream);
	stream->is_ending = true;
	stream->is_suspended = false;
	stream->connection = NULL;
	stream->socket = -1;
	pthread_mutex_unlock(&stream->events->mutex);
	kp_stream_let_go(stream);
}

void kp_stream_wake(kp_stream *stream)
{
	if (!stream->is_suspended)
		return;
	stream->is_suspended = false;
	stream->asked_ns = kp_monotonic_ns();
	MHD_resume_connection(stream->connection);
}

void kp_stream_end(kp_stream *stream)
{
	stream->is_ending = true;
	kp_stream_wake(stream);
}

/* ---------------------------------------------------------------- what comes next */

static kp_event *take_ready(kp_stream *stream)
{
	kp_event *event = stream->ready[stream->ready_first];

	stream->ready[stream->ready_first++] = NULL;
	stream->ready_bytes -= event->text.len;
	stream->events->ready_bytes -= event->text.len;
	stream->cursor = --stream->ready_count ? event->change : stream->ready_to;
	if (!stream->ready_count) {
		stream->ready_first = 0;
		pthread_cond_broadcast(&stream->events->behind);
	}
	return event;
}

bool kp_stream_has_news(kp_stream *stream)
{
	kp_event_ring *ring = &stream->events->ring;

	if (stream->ready_count || stream->is_ending)
		return true;
	if (stream->is_being_read || stream->is_queued)
		return false;
	if (!kp_event_ring_covers(ring, stream->cursor)) {
		kp_stream_queue(stream);
		return false;
	}
	if (kp_event_ring_after(ring, stream->cursor, &stream->filter)) {
		if (!stream->is_judged)
			return true;
		kp_stream_queue(stream);
	} else if (stream->cursor < ring->head) {
		stream->cursor = ring->head;
	}
	return false;
}

/* The next event, held; NULL: none is here now. */
static kp_event *next_event(kp_stream *stream)
{
	kp_event *event;

	if (stream->is_ending || !kp_stream_has_news(stream))
		return NULL;
	if (stream->ready_count)
		return take_ready(stream);
	event = kp_event_hold(
		kp_event_ring_after(&stream->events->ring, stream->cursor, &stream->filter));
	stream->cursor = event->change;
	return event;
}

static size_t greet(kp_stream *stream, char *out, size_t room)
{
	int len = snprintf(out, room, "retry: " RETRY_MS "\nid: %" PRId64 "\n\n", stream->cursor);

	stream->is_greeted = true;
	return len > 0 && (size_t)len < room ? (size_t)len : 0;
}

/* As much as there is room for. */
static size_t fill(kp_stream *stream, char *out, size_t room)
{
	size_t len = stream->is_greeted ? 0 : greet(stream, out, room);

	while (len < room) {
		size_t rest;

		if (!stream->current) {
			stream->current = next_event(stream);
			stream->at = 0;
		}
		if (!stream->current)
			break;
		rest = stream->current->text.len - stream->at;
		if (rest > room - len)
			rest = room - len;
		memcpy(out + len, stream->current->text.data + stream->at, rest);
		len += rest;
		stream->at += rest;
		if (stream->at == stream->current->text.len) {
			kp_event_let_go(&stream->current);
			kp_count(stream->events->service, KP_COUNT_EVENTS, 1);
		}
	}
	return len;
}

/* libmicrohttpd asks for bytes. */
static ssize_t give_bytes(void *ctx, uint64_t position, char *out, size_t room)
{
	static const char beat[] = ": keep\n\n";
	kp_stream *stream = ctx;
	ssize_t given;

	(void)position;
	pthread_mutex_lock(&stream->events->mutex);
	stream->asked_ns = kp_monotonic_ns();
	given = (ssize_t)fill(stream, out, room);
	if (given == 0 && stream->wants_beat && !stream->is_ending && room >= sizeof beat) {
		memcpy(out, beat, sizeof beat - 1);
		given = sizeof beat - 1;
	}
	if (given > 0) {
		stream->wants_beat = false;
		stream->sent_ns = stream->asked_ns;
	} else if (stream->is_ending) {
		given = MHD_CONTENT_READER_END_OF_STREAM;
	} else {
		stream->heavy_ns = 0;
		stream->is_suspended = true;
		MHD_suspend_connection(stream->connection);
	}
	pthread_mutex_unlock(&stream->events->mutex);
	return given;
}

/* ---------------------------------------------------------------- a request becomes a stream */

static keep_status read_kinds(const char *text, kp_event_kinds *kinds, keep_error *err)
{
	*kinds = KP_EVENTS_ALL;
	if (!text)
		return KEEP_OK;
	if (strcmp(text, "message") == 0)
		*kinds = KP_EVENTS_MESSAGES;
	else if (strcmp(text, "delivery") == 0)
		*kinds = KP_EVENTS_DELIVERIES;
	else
		return kp_fail(err, KEEP_INVALID, "kind: neither message nor delivery");
	return KEEP_OK;
}

static keep_status read_filter(const kp_request *request, kp_stream *stream, keep_error *err)
{
	keep_bytes chat = keep_bytes_of(kp_request_parameter(request, "chat"));
	keep_bytes channel = keep_bytes_of(kp_request_parameter(request, "channel"));
	keep_status status = KEEP_OK;

	if (chat.data)
		status = kp_check_key("chat", chat, err);
	if (status == KEEP_OK && channel.data)
		status = kp_check_text("channel", channel, KP_KEY_MAX, KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = read_kinds(kp_request_parameter(request, "kind"), &stream->filter.kinds,
				    err);
	if (status == KEEP_OK)
		status = kp_arena_copy(&stream->memory, chat, &stream->filter.chat, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(&stream->memory, channel, &stream->filter.channel, err);
	return status;
}

/* Where to begin: the header is of a reconnection, and newer than the address. */
static keep_status read_cursor(const kp_request *request, kp_stream *stream, keep_error *err)
{
	const char *what = "Last-Event-ID";
	const char *text = kp_request_header(request, what);
	int64_t last = 0;
	keep_status status = keep_gateway_last_change(stream->events->gateway, &last, err);

	if (!text || !*text) {
		what = "after";
		text = kp_request_parameter(request, what);
	}
	if (status != KEEP_OK)
		return status;
	stream->cursor = last;
	if (!text)
		return KEEP_OK;
	if (!kp_int_parse(keep_bytes_of(text), &stream->cursor) || stream->cursor < 0)
		return kp_fail(err, KEEP_INVALID, "%s: not the id of an event", what);
	if (stream->cursor > last)
		return kp_fail(err, KEEP_INVALID,
			       "%s: there is no event %" PRId64 " yet, the last one is %" PRId64,
			       what, stream->cursor, last);
	return KEEP_OK;
}

static keep_status make_stream(kp_events *events, kp_request *request, kp_stream **out,
			       keep_error *err)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	kp_stream *stream = kp_alloc_zero(sizeof *stream);
	keep_status status;

	*out = NULL;
	if (!stream)
		return kp_fail_memory(err, "an event stream");
	stream->events = events;
	stream->connection = request->connection;
	stream->socket = info ? info->connect_fd : -1;
	stream->holders = 1;
	stream->is_loopback = request->is_loopback;
	snprintf(stream->address, sizeof stream->address, "%s", request->address);
	stream->sent_ns = stream->asked_ns = kp_monotonic_ns();
	status = read_filter(request, stream, err);
	if (status == KEEP_OK)
		status = read_cursor(request, stream, err);
	if (status != KEEP_OK) {
		release_stream(stream);
		return status;
	}
	stream->account = request->account;
	request->account = (kp_account){.is_anonymous = false};
	stream->is_judged = !stream->account.is_anonymous && !stream->account.access.is_operator;
	*out = stream;
	return KEEP_OK;
}

/* With the mutex. */
static keep_status check_room(const kp_events *events, const kp_stream *stream, keep_error *err)
{
	size_t of_address = 0;

	if (events->is_stopping)
		return kp_fail(err, KEEP_UNAVAILABLE, "the service is stopping");
	if (events->stream_count >= STREAMS_MAX)
		return kp_fail(err, KEEP_BUSY, "%d event streams are open, the most there may be",
			       STREAMS_MAX);
	for (const kp_stream *one = events->streams; one && !stream->is_loopback; one = one->next)
		of_address += strcmp(one->address, stream->address) == 0;
	if (of_address >= ADDRESS_STREAMS_MAX)
		return kp_fail(err, KEEP_BUSY,
			       "%d event streams of this address are open, the most there may be",
			       ADDRESS_STREAMS_MAX);
	return KEEP_OK;
}

static keep_status link_stream(kp_events *events, kp_stream *stream, keep_error *err)
{
	keep_status status;

	pthread_mutex_lock(&events->mutex);
	status = check_room(events, stream, err);
	if (status == KEEP_OK) {
		stream->next = events->streams;
		if (stream->next)
			stream->next->previous = stream;
		events->streams = stream;
		events->stream_count++;
		events->holders++;
		kp_gauge_add(events->service, KP_GAUGE_STREAMS, 1);
	}
	pthread_mutex_unlock(&events->mutex);
	return status;
}

/* The response owns the stream from here on, also when this fails. */
static keep_status answer(struct MHD_Connection *connection, kp_stream *stream, keep_error *err)
{
	static const char *const headers[][2] = {
		{"Content-Type", "text/event-stream"},
		{"Cache-Control", "no-store"},
		{"X-Accel-Buffering", "no"},
		{"X-Content-Type-Options", "nosniff"},
		{"Connection", "close"},
	};
	struct MHD_Response *response = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, BLOCK_SIZE, give_bytes, stream, end_of_response);
	bool done = response != NULL;

	if (!response)
		end_of_response(stream);
	for (size_t i = 0; i < KP_COUNT(headers) && done; i++)
		done = MHD_add_response_header(response, headers[i][0], headers[i][1]) == MHD_YES;
	/* How long nothing may move is for event_follow.c to say. */
	if (done)
		done = MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u) ==
			       MHD_YES &&
		       MHD_queue_response(connection, MHD_HTTP_OK, response) == MHD_YES;
	if (response)
		MHD_destroy_response(response); /* the connection has its own hold, or nobody */
	return done ? KEEP_OK : kp_fail_memory(err, "an event stream's answer");
}

keep_status kp_events_open(kp_events *events, kp_request *request, keep_error *err)
{
	kp_stream *stream = NULL;
	keep_status status = make_stream(events, request, &stream, err);

	if (status != KEEP_OK)
		return status;
	status = link_stream(events, stream, err);
	if (status != KEEP_OK) {
		release_stream(stream);
		return status;
	}
	return answer(request->connection, stream, err);
}

/* ---------------------------------------------------------------- start and stop */

static keep_status start_readers(kp_events *events, keep_error *err)
{
	pthread_attr_t attributes;
	int failed = 0;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	while (events->reader_count < KP_COUNT(events->readers) && !failed) {
		failed = pthread_create(&events->readers[events->reader_count], &attributes,
					kp_events_read, events);
		events->reader_count += !failed;
	}
	pthread_attr_destroy(&attributes);
	return failed ? kp_fail_errno(err, failed, "a thread for event streams") : KEEP_OK;
}

static void init_locks(kp_events *events)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&events->behind, &monotonic);
	pthread_cond_init(&events->emptied, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&events->mutex, NULL);
}

keep_status kp_events_start(keep_service *service, kp_events **out, keep_error *err)
{
	kp_events *events = kp_alloc_zero(sizeof *events);
	int64_t last = 0;
	keep_status status;

	*out = NULL;
	if (!events)
		return kp_fail_memory(err, "the event streams");
	init_locks(events);
	events->service = service;
	events->gateway = service->gateway;
	events->holders = 1;
	events->follower = (kp_loop){
		.service = service, .name = "events", .turn = kp_events_follow, .ctx = events};
	status = keep_gateway_last_change(events->gateway, &last, err);
	if (status == KEEP_OK)
		status = kp_event_ring_init(&events->ring, RING_EVENTS, RING_BYTES, last, err);
	if (status == KEEP_OK)
		status = start_readers(events, err);
	if (status == KEEP_OK)
		status = kp_loop_start(&events->follower, err);
	if (status != KEEP_OK)
		kp_events_stop(&events);
	*out = events;
	return status;
}

/* With the mutex: until every stream is gone, or the time is over. */
static void await_ends(kp_events *events, int64_t patience_ms)
{
	int64_t until_ns = kp_monotonic_ns() + patience_ms * 1000000;
	struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
	int ended = 0;

	while (events->stream_count && ended != ETIMEDOUT)
		ended = pthread_cond_timedwait(&events->emptied, &events->mutex, &until);
}

void kp_events_stop(kp_events **events)
{
	kp_events *self = *events;

	if (!self)
		return;
	*events = NULL;
	pthread_mutex_lock(&self->mutex);
	self->is_stopping = true;
	for (kp_stream *stream = self->streams; stream; stream = stream->next)
		kp_stream_end(stream);
	pthread_cond_broadcast(&self->behind);
	pthread_mutex_unlock(&self->mutex);
	kp_loop_stop(&self->follower);
	for (unsigned i = 0; i < self->reader_count; i++)
		pthread_join(self->readers[i], NULL);
	pthread_mutex_lock(&self->mutex);
	await_ends(self, END_MS);
	for (kp_stream *stream = self->streams; stream; stream = stream->next)
		shutdown(stream->socket, SHUT_RDWR);
	leave_events(self);
}
