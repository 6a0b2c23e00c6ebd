#ifndef KP_EVENT_STREAMS_H
#define KP_EVENT_STREAMS_H
/*
 * event_streams.h - what the parts of GET /v1/events share.
 *
 *   http_events.c     a request becomes a stream; libmicrohttpd asks it for bytes
 *   event_follow.c    one thread follows the gateway's feed and looks after the streams
 *   event_catch_up.c  a few threads read the gateway for streams that are behind
 *   event_ring.c      the last events, as text
 *
 * Threads: everything here is guarded by kp_events.mutex, which is held for moments and never while
 * the gateway is asked. Below it come only libmicrohttpd's own locks.
 */
#include "service/event_ring.h"
#include "service/http.h"

#define KP_STREAM_READY_MAX 64

typedef struct kp_stream kp_stream;

struct kp_stream {
	kp_events *events;
	kp_stream *next, *previous;
	kp_stream *next_behind; /* in the line for the readers */
	struct MHD_Connection *connection;
	int socket;
	unsigned holders; /* libmicrohttpd's response, a reader */
	kp_account account;
	kp_event_filter filter;
	keep_memory memory; /* the filter's texts */
	char address[64];
	bool is_loopback;
	bool is_judged; /* the account may not see everything: readers look at each event */

	int64_t cursor;    /* everything up to it was sent, or is not for this one */
	kp_event *current; /* being sent, from `at` on */
	size_t at;
	kp_event *ready[KP_STREAM_READY_MAX]; /* what a reader found; comes before the ring */
	size_t ready_first, ready_count, ready_bytes;
	int64_t ready_to; /* the cursor when those are sent */

	bool is_suspended; /* it waits for something to send */
	bool is_greeted;
	bool wants_beat; /* a heartbeat is due */
	bool is_ending;
	bool is_queued, is_being_read; /* by the readers */
	bool is_probed;                /* its client has shut its side down */
	int64_t sent_ns;               /* when it was last given something to send */
	int64_t asked_ns;              /* when it last took something, or had nothing to take */
	int64_t checked_ns;            /* when its account was looked at */
	int64_t heavy_ns;              /* since when too much has been waiting; 0: it is not */
};

struct kp_events {
	keep_service *service;
	keep_gateway *gateway;
	pthread_mutex_t mutex;
	pthread_cond_t behind;  /* there is work for readers, or an end */
	pthread_cond_t emptied; /* the last stream is gone */
	unsigned holders;       /* its owner, streams */
	bool is_stopping;
	kp_event_ring ring;
	kp_stream *streams;
	size_t stream_count;
	kp_stream *behind_first, *behind_last;
	size_t ready_bytes; /* of all streams */
	int64_t swept_ns;
	keep_buffer scratch; /* the follower's */
	kp_loop follower;
	pthread_t readers[2];
	unsigned reader_count;
};

/* ---------------------------------------------------------------- http_events.c; with the mutex */

/* Go on with it, if it waits. */
void kp_stream_wake(kp_stream *stream);
/* End it when what is being sent is sent. */
void kp_stream_end(kp_stream *stream);
/* Whether it has something to send, as far as the ring knows; puts it in line when the ring is not
   enough. */
bool kp_stream_has_news(kp_stream *stream);
/* Without the mutex: let a hold go. */
void kp_stream_let_go(kp_stream *stream);

/* ---------------------------------------------------------------- event_follow.c */

kp_loop_turn kp_events_follow;

/* ---------------------------------------------------------------- event_catch_up.c */

/* With the mutex: it needs a reader. */
void kp_stream_queue(kp_stream *stream);
void *kp_events_read(void *events); /* a reader's thread */

#endif
