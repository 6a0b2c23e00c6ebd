#ifndef KP_EVENT_RING_H
#define KP_EVENT_RING_H
/*
 * event_ring.h - messages as the text that event streams send, and the last of them in a ring.
 *
 * Threads: none of its own; whoever has a ring or holds an event guards both with one mutex. What
 * an event says does not change, so that one that is held is read without it.
 */
#include "keep/gateway.h"

typedef struct kp_event {
	int64_t change;   /* the message's, and the event's id */
	unsigned holders; /* the ring, streams; 0 frees it */
	bool is_delivery;
	keep_bytes chat, channel, folder;
	keep_bytes text; /* "id: …\nevent: …\ndata: …\n\n" */
} kp_event;

/* The event of a message, held once. `scratch` is kept for the next one. */
keep_status kp_event_make(const keep_message *message, keep_buffer *scratch, kp_event **out,
			  keep_error *err) KEEP_MUST_CHECK;
/* The same; *out is NULL, and the log has it, when what was stored cannot be shown. */
keep_status kp_event_make_or_skip(const keep_message *message, keep_buffer *scratch, kp_event **out,
				  keep_error *err) KEEP_MUST_CHECK;
kp_event *kp_event_hold(kp_event *event);
/* Let go of one hold, and set it to NULL. Accepts a pointer to NULL. */
void kp_event_let_go(kp_event **event);

typedef enum kp_event_kinds {
	KP_EVENTS_ALL,
	KP_EVENTS_MESSAGES,
	KP_EVENTS_DELIVERIES
} kp_event_kinds;

/* What a stream asked for; an absent text: any. */
typedef struct kp_event_filter {
	keep_bytes chat, channel;
	kp_event_kinds kinds;
} kp_event_filter;

bool kp_event_fits(const kp_event *event, const kp_event_filter *filter);

typedef struct kp_event_ring {
	kp_event **items;
	size_t capacity; /* a power of two */
	size_t first, count;
	size_t bytes, bytes_max;
	int64_t base; /* every change above it, up to head, is in the ring */
	int64_t head; /* the newest change that was looked at */
} kp_event_ring;

/* An empty one that begins after `change`. */
keep_status kp_event_ring_init(kp_event_ring *ring, size_t capacity, size_t bytes_max,
			       int64_t change, keep_error *err) KEEP_MUST_CHECK;
void kp_event_ring_release(kp_event_ring *ring);
/* Take an event over; its change is above head. The oldest go when there are too many, or they are
   too long together; the newest stays whatever its length. */
void kp_event_ring_push(kp_event_ring *ring, kp_event **event);
/* Everything up to `change` was looked at, whether it made an event or not. */
void kp_event_ring_reach(kp_event_ring *ring, int64_t change);
/* Whether everything after `change` is in it. */
bool kp_event_ring_covers(const kp_event_ring *ring, int64_t change);
/* The first event after `change` that fits; NULL: there is none. */
kp_event *kp_event_ring_after(const kp_event_ring *ring, int64_t change,
			      const kp_event_filter *filter);
/* How many bytes of what fits come after the first such event; counting ends above `enough`. */
size_t kp_event_ring_waiting(const kp_event_ring *ring, int64_t change,
			     const kp_event_filter *filter, size_t enough);

#endif
