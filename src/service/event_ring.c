/*
 * event_ring.c - a message as a server-sent event, and a ring of the last ones.
 *
 * A message is made text once, however many streams send it. The ring answers "what comes after
 * this change" for everybody who is nearly up to date; who is further behind reads the gateway
 * itself.
 *
 * Invariants:
 *   1. Changes in the ring are strictly increasing, and none is missing between base and head: what
 *      leaves at the old end moves base.
 *   2. An event lives as long as somebody holds it, also after it left the ring; so a long one that
 *      is half sent is sent to its end.
 *   3. The ring is at most `capacity` events and, but for a single one, `bytes_max` bytes.
 *   4. An event is one frame: its data is one line, for JSON escapes what ends a line.
 *
 * What it does not do: lock; know about streams, or who may see what.
 *
 * Tests: tests/unit/test_event_ring.c.
 */
#include "service/event_ring.h"

#include "core/core.h"
#include "gateway/gateway_records.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* ---------------------------------------------------------------- one event */

static keep_status write_frame(const keep_message *message, keep_buffer *out, keep_error *err)
{
	kp_json_writer writer;
	keep_status status;

	out->len = 0;
	status = kp_buffer_append_format(out, err,
					 "id: %" PRId64 "\nevent: %s\ndata: ", message->change,
					 message->is_from_me ? "delivery" : "message");
	if (status != KEEP_OK)
		return status;
	kp_json_begin(&writer, out);
	status = kp_record_json(&kp_message_record, message, &writer, err);
	if (status == KEEP_OK)
		status = kp_json_finish(&writer, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, "\n\n", err);
	return status;
}

static keep_bytes put_text(char **at, keep_bytes text)
{
	keep_bytes copy = {*at, text.len};

	if (text.len)
		memcpy(*at, text.data, text.len);
	*at += text.len;
	return copy;
}

keep_status kp_event_make(const keep_message *message, keep_buffer *scratch, kp_event **out,
			  keep_error *err)
{
	keep_status status = write_frame(message, scratch, err);
	kp_event *event;
	char *at;

	*out = NULL;
	if (status != KEEP_OK)
		return kp_prefix(err, status, "change %" PRId64, message->change);
	event = kp_alloc(sizeof *event + message->chat_jid.len + message->source.len +
			 message->group_folder.len + scratch->len);
	if (!event)
		return kp_fail_memory(err, "an event");
	at = (char *)(event + 1);
	*event = (kp_event){
		.change = message->change,
		.holders = 1,
		.is_delivery = message->is_from_me,
		.chat = put_text(&at, message->chat_jid),
		.channel = put_text(&at, message->source),
		.folder = put_text(&at, message->group_folder),
		.text = put_text(&at, kp_buffer_bytes(scratch)),
	};
	*out = event;
	return KEEP_OK;
}

keep_status kp_event_make_or_skip(const keep_message *message, keep_buffer *scratch, kp_event **out,
				  keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_event_make(message, scratch, out, &why);

	if (status == KEEP_INVALID || status == KEEP_CORRUPT) {
		kp_log(KEEP_LOG_WARNING, "events: left out: %s", why.message);
		status = KEEP_OK;
	}
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

kp_event *kp_event_hold(kp_event *event)
{
	event->holders++;
	return event;
}

void kp_event_let_go(kp_event **event)
{
	if (*event && --(*event)->holders == 0)
		kp_free(*event);
	*event = NULL;
}

bool kp_event_fits(const kp_event *event, const kp_event_filter *filter)
{
	if (filter->kinds != KP_EVENTS_ALL &&
	    (filter->kinds == KP_EVENTS_DELIVERIES) != event->is_delivery)
		return false;
	if (filter->chat.data && !kp_bytes_equal(filter->chat, event->chat))
		return false;
	return !filter->channel.data || kp_bytes_equal(filter->channel, event->channel);
}

/* ---------------------------------------------------------------- the ring */

keep_status kp_event_ring_init(kp_event_ring *ring, size_t capacity, size_t bytes_max,
			       int64_t change, keep_error *err)
{
	assert(capacity && (capacity & (capacity - 1)) == 0);
	*ring = (kp_event_ring){
		.items = kp_alloc_zero(capacity * sizeof *ring->items),
		.capacity = capacity,
		.bytes_max = bytes_max,
		.base = change,
		.head = change,
	};
	return ring->items ? KEEP_OK : kp_fail_memory(err, "the ring of events");
}

static kp_event **item_at(const kp_event_ring *ring, size_t index)
{
	return &ring->items[(ring->first + index) & (ring->capacity - 1)];
}

static void drop_oldest(kp_event_ring *ring)
{
	kp_event **oldest = item_at(ring, 0);

	ring->base = (*oldest)->change;
	ring->bytes -= (*oldest)->text.len;
	kp_event_let_go(oldest);
	ring->first = (ring->first + 1) & (ring->capacity - 1);
	ring->count--;
}

void kp_event_ring_release(kp_event_ring *ring)
{
	while (ring->count)
		drop_oldest(ring);
	kp_free(ring->items);
	*ring = (kp_event_ring){.items = NULL};
}

void kp_event_ring_push(kp_event_ring *ring, kp_event **event)
{
	assert((*event)->change > ring->head);
	while (ring->count && (ring->count == ring->capacity ||
			       ring->bytes + (*event)->text.len > ring->bytes_max))
		drop_oldest(ring);
	ring->head = (*event)->change;
	ring->bytes += (*event)->text.len;
	*item_at(ring, ring->count++) = *event;
	*event = NULL;
}

void kp_event_ring_reach(kp_event_ring *ring, int64_t change)
{
	if (change > ring->head)
		ring->head = change;
}

bool kp_event_ring_covers(const kp_event_ring *ring, int64_t change)
{
	return change >= ring->base;
}

/* The index of the first event after `change`, or count. */
static size_t index_after(const kp_event_ring *ring, int64_t change)
{
	size_t low = 0, high = ring->count;

	if (change >= ring->head)
		return ring->count;
	while (low < high) {
		size_t middle = (low + high) / 2;

		if ((*item_at(ring, middle))->change > change)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

kp_event *kp_event_ring_after(const kp_event_ring *ring, int64_t change,
			      const kp_event_filter *filter)
{
	for (size_t i = index_after(ring, change); i < ring->count; i++)
		if (kp_event_fits(*item_at(ring, i), filter))
			return *item_at(ring, i);
	return NULL;
}

size_t kp_event_ring_waiting(const kp_event_ring *ring, int64_t change,
			     const kp_event_filter *filter, size_t enough)
{
	bool is_first = true;
	size_t bytes = 0;

	for (size_t i = index_after(ring, change); i < ring->count && bytes <= enough; i++) {
		const kp_event *event = *item_at(ring, i);

		if (!kp_event_fits(event, filter))
			continue;
		bytes += is_first ? 0 : event->text.len;
		is_first = false;
	}
	return bytes;
}
