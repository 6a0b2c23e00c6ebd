/*
 * event_catch_up.c - a few threads that read the gateway for event streams that are behind.
 *
 * A stream is behind when the ring does not reach back to its cursor: it asked for the past, or was
 * slow. A stream whose account has folders is served here too, for each event must be judged by its
 * chat, which may ask the gateway. Streams stand in one line; each turn takes one batch for the
 * first of it and, unless that brought it up to date, sends it to the end: who wants ten million
 * messages holds nobody up.
 *
 * Invariants:
 *   1. A stream gets the next batch only when the last one is sent, and all batches together are at
 *      most READY_BYTES_MAX (and one batch a reader) long: memory does not grow with streams.
 *   2. The gateway is asked, and accounts are judged, without the mutex; a stream that ends
 * meanwhile is held.
 *   3. After a batch the cursor stands at the last change that was looked at, fitting or not. When
 * the gateway has no more, it stands at least where the ring ended before the reading began: from
 *      there on the ring has everything.
 *   4. A batch that fails is read again after a pause; nothing of it is sent.
 *
 * What it does not do: send.
 *
 * Tests: tests/http/test_http_events.py.
 */
#include "service/event_streams.h"

#include <errno.h>
#include <time.h>

enum {
	BATCH = 64,              /* changes read at once */
	BATCH_BYTES = 256 << 10, /* of text, and one event more */
	READY_BYTES_MAX = 32 << 20,
	PAUSE_MS = 250 /* after a failure */
};

typedef struct kp_batch {
	kp_event *events[KP_STREAM_READY_MAX];
	size_t count, bytes;
	int64_t to;
} kp_batch;

void kp_stream_queue(kp_stream *stream)
{
	kp_events *events = stream->events;

	if (stream->is_queued || stream->is_being_read || stream->is_ending)
		return;
	stream->is_queued = true;
	stream->holders++;
	stream->next_behind = NULL;
	if (events->behind_last)
		events->behind_last->next_behind = stream;
	else
		events->behind_first = stream;
	events->behind_last = stream;
	pthread_cond_broadcast(&events->behind);
}

/* With the mutex: the first in line, when there is room for what it will get; it stays held. */
static kp_stream *next_in_line(kp_events *events)
{
	kp_stream *stream = events->behind_first;

	if (!stream || events->ready_bytes > READY_BYTES_MAX)
		return NULL;
	events->behind_first = stream->next_behind;
	if (!events->behind_first)
		events->behind_last = NULL;
	stream->next_behind = NULL;
	stream->is_queued = false;
	stream->is_being_read = true;
	return stream;
}

static void add_event(kp_batch *batch, kp_event *event)
{
	batch->bytes += event->text.len;
	batch->events[batch->count++] = event;
}

static bool is_full(const kp_batch *batch)
{
	return batch->count == KP_STREAM_READY_MAX || batch->bytes >= BATCH_BYTES;
}

/* With the mutex: what the ring has for a stream whose events are judged. */
static void take_from_ring(kp_stream *stream, kp_batch *batch)
{
	kp_event_ring *ring = &stream->events->ring;

	while (!is_full(batch)) {
		kp_event *event = kp_event_ring_after(ring, batch->to, &stream->filter);

		batch->to = event ? event->change : ring->head;
		if (!event)
			return;
		add_event(batch, kp_event_hold(event));
	}
}

/* From the gateway; `head` is where the ring ended before. */
static keep_status take_from_gateway(kp_stream *stream, kp_batch *batch, int64_t head,
				     keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_buffer scratch = KEEP_BUFFER_INIT;
	keep_message_list list = {.items = NULL};
	keep_status status = keep_gateway_changes(stream->events->gateway, batch->to, BATCH,
						  &memory, &list, err);
	size_t i;

	for (i = 0; i < list.count && status == KEEP_OK && !is_full(batch); i++) {
		kp_event *event = NULL;

		status = kp_event_make_or_skip(&list.items[i], &scratch, &event, err);
		if (status != KEEP_OK)
			break;
		batch->to = list.items[i].change;
		if (event && kp_event_fits(event, &stream->filter))
			add_event(batch, event);
		else
			kp_event_let_go(&event);
	}
	if (status == KEEP_OK && list.count == 0 && batch->to < head)
		batch->to = head;
	keep_buffer_release(&scratch);
	keep_memory_release(&memory);
	return status;
}

/* Leave out what the account may not see. The events that go are put at the end, still held. */
static keep_status judge(kp_stream *stream, kp_batch *batch, size_t *kept, keep_error *err)
{
	keep_status status = KEEP_OK;

	*kept = 0;
	for (size_t i = 0; i < batch->count && status == KEEP_OK; i++) {
		kp_event *event = batch->events[i];
		bool may = !stream->is_judged;

		if (!may)
			status = kp_access_chat(stream->events->service, &stream->account,
						event->chat, event->folder, &may, err);
		if (status != KEEP_OK || !may)
			continue;
		batch->events[i] = batch->events[*kept];
		batch->events[(*kept)++] = event;
	}
	return status;
}

/* With the mutex: the first `kept` are the stream's, the others go. */
static void hand_over(kp_stream *stream, kp_batch *batch, size_t kept)
{
	for (size_t i = kept; i < batch->count; i++) {
		batch->bytes -= batch->events[i]->text.len;
		kp_event_let_go(&batch->events[i]);
	}
	for (size_t i = 0; i < kept; i++)
		stream->ready[i] = batch->events[i];
	stream->ready_first = 0;
	stream->ready_count = kept;
	stream->ready_bytes = batch->bytes;
	stream->events->ready_bytes += batch->bytes;
	stream->ready_to = batch->to;
	if (!kept)
		stream->cursor = batch->to;
}

/* With the mutex, on both sides of the reading. */
static keep_status read_batch(kp_stream *stream, keep_error *err)
{
	kp_events *events = stream->events;
	kp_batch batch = {.to = stream->cursor};
	int64_t head = events->ring.head;
	bool in_ring = kp_event_ring_covers(&events->ring, stream->cursor);
	keep_status status = KEEP_OK;
	size_t kept = 0;

	if (in_ring)
		take_from_ring(stream, &batch);
	pthread_mutex_unlock(&events->mutex);
	if (!in_ring)
		status = take_from_gateway(stream, &batch, head, err);
	if (status == KEEP_OK)
		status = judge(stream, &batch, &kept, err);
	pthread_mutex_lock(&events->mutex);
	stream->is_being_read = false;
	if (status != KEEP_OK || stream->is_ending) {
		batch.to = stream->cursor;
		kept = 0;
	}
	hand_over(stream, &batch, kept);
	return status;
}

/* With the mutex. */
static void pause_after(kp_events *events)
{
	int64_t until_ns = kp_monotonic_ns() + (int64_t)PAUSE_MS * 1000000;
	struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
	int ended = 0;

	while (!events->is_stopping && ended != ETIMEDOUT)
		ended = pthread_cond_timedwait(&events->behind, &events->mutex, &until);
}

/* With the mutex: one batch for one stream. */
static void serve(kp_events *events, kp_stream *stream)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	if (stream->is_ending)
		stream->is_being_read = false;
	else
		status = read_batch(stream, &err);
	if (status != KEEP_OK) {
		kp_count(events->service, KP_COUNT_ERRORS, 1);
		kp_log(KEEP_LOG_WARNING, "events: %s", err.message);
		pause_after(events);
	}
	/* Looking for news puts it in line again when that was not all. */
	if (kp_stream_has_news(stream))
		kp_stream_wake(stream);
	pthread_mutex_unlock(&events->mutex);
	kp_stream_let_go(stream);
	pthread_mutex_lock(&events->mutex);
}

/* Nobody waits in line for what is over. */
static void empty_line(kp_events *events)
{
	for (kp_stream *stream = events->behind_first, *next; stream; stream = next) {
		next = stream->next_behind;
		events->behind_first = next;
		stream->is_queued = false;
		pthread_mutex_unlock(&events->mutex);
		kp_stream_let_go(stream);
		pthread_mutex_lock(&events->mutex);
		next = events->behind_first;
	}
	events->behind_last = NULL;
}

void *kp_events_read(void *ctx)
{
	kp_events *events = ctx;

	pthread_mutex_lock(&events->mutex);
	while (!events->is_stopping) {
		kp_stream *stream = next_in_line(events);

		if (stream)
			serve(events, stream);
		else
			pthread_cond_wait(&events->behind, &events->mutex);
	}
	empty_line(events);
	pthread_mutex_unlock(&events->mutex);
	return NULL;
}
