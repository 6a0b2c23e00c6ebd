/*
 * event_follow.c - one thread follows the gateway's feed for all event streams, and looks after
 * them.
 *
 * It waits for changes, makes each an event once, puts it into the ring and wakes the streams that
 * it is for. Every second it goes round: heartbeats, clients that are gone or do not read, accounts
 * that have lost their right.
 *
 * Invariants:
 *   1. The ring gets every change in order: what cannot be read now is read in the next turn.
 *   2. Changes that come close together are one batch: after one the next waits BATCH_MS, so that a
 *      thousand streams are woken two hundred times a second at most.
 *   3. A client that takes nothing for STUCK_NS, or for which more than WAITING_MAX have been
 * waiting for HEAVY_NS, is cut off; it can come back with the last id it has.
 *   4. A stream lives no longer than its token, and ends soon after its account was disabled, or
 * the first account was made and it has none.
 *
 * Clients that went away: libmicrohttpd does not look at a suspended connection. A closed socket
 * and one whose client only ended its sending side look the same, so that a probe (a heartbeat)
 * tells them apart: the first answers it with a reset.
 *
 * What it does not do: read the past (event_catch_up.c).
 *
 * Tests: tests/http/test_http_events.py.
 */
#include "service/event_streams.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define SECOND_NS INT64_C(1000000000)
#define BEAT_NS (15 * SECOND_NS)
#define STUCK_NS (60 * SECOND_NS)
#define HEAVY_NS (5 * SECOND_NS)
#define CHECK_NS (5 * SECOND_NS)

enum {
	WAIT_MS = 250,
	BATCH_MS = 5,
	CANCELLED_MS = 50, /* between turns when waits end at once */
	BATCH = 256,
	WAITING_MAX = 1 << 20,
	POLLS = 64,  /* sockets looked at in one call */
	CHECKS = 128 /* accounts looked at in one round */
};

/* ---------------------------------------------------------------- the feed */

/* With the mutex: whether too much waits for it, as far as the ring goes back. */
static void weigh(kp_stream *stream, int64_t now_ns)
{
	const kp_event_ring *ring = &stream->events->ring;
	size_t waiting;

	if (stream->is_suspended || !kp_event_ring_covers(ring, stream->cursor))
		return;
	waiting = kp_event_ring_waiting(ring, stream->cursor, &stream->filter, WAITING_MAX);
	if (waiting <= WAITING_MAX)
		stream->heavy_ns = 0;
	else if (!stream->heavy_ns)
		stream->heavy_ns = now_ns;
}

/* With the mutex. Streams are weighed before what they wait for may leave the ring. */
static void push_all(kp_events *events, kp_event **batch, size_t count)
{
	int64_t now_ns = kp_monotonic_ns();
	size_t pushed = 0;

	for (size_t i = 0; i < count; i++) {
		pushed += batch[i]->text.len;
		kp_event_ring_push(&events->ring, &batch[i]);
		if (pushed <= WAITING_MAX)
			continue;
		pushed = 0;
		for (kp_stream *one = events->streams; one; one = one->next)
			weigh(one, now_ns);
	}
}

static void hand_out(kp_events *events, kp_event **batch, size_t count, int64_t to)
{
	pthread_mutex_lock(&events->mutex);
	push_all(events, batch, count);
	kp_event_ring_reach(&events->ring, to);
	for (kp_stream *stream = events->streams; stream && count; stream = stream->next)
		if (stream->is_suspended && kp_stream_has_news(stream))
			kp_stream_wake(stream);
	pthread_mutex_unlock(&events->mutex);
}

/* There is news, and none of it can be read: go past it. */
static keep_status pass_over(kp_events *events, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {.items = NULL};
	int64_t last = 0;
	keep_status status = keep_gateway_last_change(events->gateway, &last, err);

	if (status == KEEP_OK)
		status = keep_gateway_changes(events->gateway, events->ring.head, BATCH, &memory,
					      &list, err);
	if (status == KEEP_OK && list.count == 0)
		hand_out(events, NULL, 0, last);
	keep_memory_release(&memory);
	return status;
}

static keep_status publish(kp_events *events, bool *is_more, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {.items = NULL};
	kp_event *batch[BATCH];
	size_t count = 0;
	int64_t to = 0;
	keep_status status = keep_gateway_changes(events->gateway, events->ring.head, BATCH,
						  &memory, &list, err);

	for (size_t i = 0; i < list.count && status == KEEP_OK; i++) {
		status =
			kp_event_make_or_skip(&list.items[i], &events->scratch, &batch[count], err);
		if (status == KEEP_OK)
			to = list.items[i].change;
		if (status == KEEP_OK && batch[count])
			count++;
	}
	*is_more = list.count == BATCH;
	keep_memory_release(&memory);
	if (status == KEEP_OK && list.count == 0)
		return pass_over(events, err);
	hand_out(events, batch, count, to);
	return status;
}

/* ---------------------------------------------------------------- accounts */

/* OK: whether the account still may what it could when the stream was opened: who was an operator
   comes again as what it is by now. */
static keep_status still_may(kp_events *events, const kp_stream *stream, bool *may, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_access now = {.is_operator = false};
	keep_status status =
		kp_account_renew(events->service, &stream->account, &memory, &now, may, err);

	if (status == KEEP_OK && stream->account.access.is_operator && !now.is_operator)
		*may = false;
	keep_memory_release(&memory);
	return status;
}

/* With the mutex: those whose turn it is, held. */
static size_t choose(kp_events *events, int64_t now_ns, kp_stream *chosen[CHECKS])
{
	size_t count = 0;

	for (kp_stream *one = events->streams; one && count < CHECKS; one = one->next) {
		if (one->is_ending || one->account.is_anonymous ||
		    now_ns - one->checked_ns < CHECK_NS)
			continue;
		one->checked_ns = now_ns;
		one->holders++;
		chosen[count++] = one;
	}
	return count;
}

static keep_status check_accounts(kp_events *events, int64_t now_ns, keep_error *err)
{
	kp_stream *chosen[CHECKS];
	keep_status status = KEEP_OK;
	size_t count;

	pthread_mutex_lock(&events->mutex);
	count = choose(events, now_ns, chosen);
	pthread_mutex_unlock(&events->mutex);
	for (size_t i = 0; i < count; i++) {
		bool may = true;

		if (status == KEEP_OK)
			status = still_may(events, chosen[i], &may, err);
		if (status == KEEP_OK && !may) {
			pthread_mutex_lock(&events->mutex);
			kp_stream_end(chosen[i]);
			pthread_mutex_unlock(&events->mutex);
		}
		kp_stream_let_go(chosen[i]);
	}
	return status;
}

/* ---------------------------------------------------------------- the round */

static bool is_too_slow(kp_stream *stream, int64_t now_ns)
{
	if (stream->is_suspended)
		return false;
	weigh(stream, now_ns);
	return now_ns - stream->asked_ns > STUCK_NS ||
	       (stream->heavy_ns && now_ns - stream->heavy_ns > HEAVY_NS);
}

/* libmicrohttpd notices, and releases the response. */
static void cut_off(kp_stream *stream, const char *why)
{
	kp_log(KEEP_LOG_INFO, "events: a stream of %s was cut off: %s", stream->address, why);
	shutdown(stream->socket, SHUT_RDWR);
	kp_stream_end(stream);
}

static void beat(kp_stream *stream)
{
	stream->wants_beat = true;
	kp_stream_wake(stream);
}

static void look_after(kp_stream *stream, int64_t now_ns, bool accounts_exist)
{
	bool is_over = stream->account.is_anonymous
			       ? accounts_exist
			       : kp_clock_ms() >= stream->account.access.expires_at;

	if (stream->is_ending) {
		if (!stream->is_suspended && now_ns - stream->asked_ns > STUCK_NS)
			shutdown(stream->socket, SHUT_RDWR);
		return;
	}
	if (is_over)
		kp_stream_end(stream);
	else if (is_too_slow(stream, now_ns))
		cut_off(stream, "its client does not read");
	else if (stream->is_suspended && now_ns - stream->sent_ns >= BEAT_NS)
		beat(stream);
}

/* What the sockets of suspended streams say. */
static void look_at_sockets(kp_stream **streams, size_t count)
{
	struct pollfd sockets[POLLS];

	for (size_t i = 0; i < count; i++)
		sockets[i] = (struct pollfd){.fd = streams[i]->socket, .events = POLLRDHUP};
	if (poll(sockets, count, 0) <= 0)
		return;
	for (size_t i = 0; i < count; i++) {
		kp_stream *stream = streams[i];

		if (sockets[i].revents & (POLLERR | POLLHUP | POLLNVAL)) {
			kp_stream_end(stream);
		} else if (sockets[i].revents & POLLRDHUP && !stream->is_probed) {
			stream->is_probed = true;
			beat(stream);
		}
	}
}

static void go_round(kp_events *events, int64_t now_ns, bool accounts_exist)
{
	kp_stream *looked_at[POLLS];
	size_t count = 0;

	pthread_mutex_lock(&events->mutex);
	for (kp_stream *stream = events->streams; stream; stream = stream->next) {
		look_after(stream, now_ns, accounts_exist);
		if (stream->is_suspended && stream->socket >= 0)
			looked_at[count++] = stream;
		if (count == POLLS) {
			look_at_sockets(looked_at, count);
			count = 0;
		}
	}
	look_at_sockets(looked_at, count);
	pthread_mutex_unlock(&events->mutex);
}

static keep_status sweep(kp_events *events, int64_t now_ns, keep_error *err)
{
	bool accounts_exist = false;
	keep_status status = KEEP_OK;

	events->swept_ns = now_ns;
	if (atomic_load(&events->service->metrics.gauges[KP_GAUGE_STREAMS]) > 0)
		status = kp_accounts_exist(events->service, &accounts_exist, err);
	go_round(events, now_ns, status == KEEP_OK && accounts_exist);
	if (status == KEEP_OK)
		status = check_accounts(events, now_ns, err);
	return status;
}

keep_status kp_events_follow(void *ctx, int64_t *pause_ms, keep_error *err)
{
	kp_events *events = ctx;
	int64_t began_ns = kp_monotonic_ns();
	bool found = false, is_more = false;
	keep_status status = KEEP_OK;

	if (began_ns - events->swept_ns >= SECOND_NS)
		status = sweep(events, began_ns, err);
	if (status == KEEP_OK)
		status = keep_gateway_wait_changes(events->gateway, events->ring.head, WAIT_MS,
						   &found, err);
	if (status == KEEP_OK && found)
		status = publish(events, &is_more, err);
	if (found)
		*pause_ms = is_more ? -1 : BATCH_MS;
	else if (kp_monotonic_ns() - began_ns < (int64_t)WAIT_MS * 500000)
		*pause_ms = CANCELLED_MS;
	return status;
}
