/*
 * agent_queue.c - which session is served next.
 *
 *     (not there) ── add ──> ready ── take ──> taken ── settle ──> ready | later | (not there)
 *                              ▲                                        │
 *                              └──────────── its time has come ─────────┘
 *
 * Invariants:
 *   1. A session is in the queue once: nobody takes one that is taken, so its messages are answered
 *      one after the other.
 *   2. News of a session that is taken make it ready once more; none are lost.
 *   3. News do not shorten the pause after a failure.
 *   4. Sessions take turns: what was served goes behind all that wait.
 *
 * What it does not do: remember a session that has nothing to do; wait.
 *
 * Tests: tests/unit/test_agent_queue.c, tests/contract/test_service_agents.c.
 */
#include "service/agents.h"

#include <string.h>

enum { PAUSE_MIN_MS = 1000, PAUSE_MAX_MS = 15000 };

enum queued_state { QUEUED_READY, QUEUED_LATER, QUEUED_TAKEN };

struct kp_queued {
	char session[KEEP_SEGMENT_MAX + 1];
	size_t len;
	enum queued_state state;
	bool has_news;              /* since it was taken */
	int64_t pause_ms, after_ms; /* of its failures; monotonic */
	kp_queued *same, *next;     /* in its bucket; in its list */
};

keep_status kp_agent_queue_init(kp_agent_queue *queue, keep_error *err)
{
	memset(queue, 0, sizeof *queue);
	return kp_random_bytes(queue->key, sizeof queue->key, err);
}

void kp_agent_queue_release(kp_agent_queue *queue)
{
	for (size_t i = 0; i < KP_QUEUE_BUCKETS; i++) {
		while (queue->buckets[i]) {
			kp_queued *gone = queue->buckets[i];

			queue->buckets[i] = gone->same;
			kp_free(gone);
		}
	}
	queue->first = queue->last = queue->later = queue->later_last = NULL;
	queue->count = 0;
}

static kp_queued **find_place(kp_agent_queue *queue, keep_bytes session)
{
	uint64_t hash = kp_siphash(queue->key, session);
	kp_queued **at = &queue->buckets[hash % KP_QUEUE_BUCKETS];

	while (*at && !kp_bytes_equal(kp_queued_session(*at), session))
		at = &(*at)->same;
	return at;
}

keep_bytes kp_queued_session(const kp_queued *queued)
{
	return (keep_bytes){queued->session, queued->len};
}

static void put_ready(kp_agent_queue *queue, kp_queued *queued)
{
	queued->state = QUEUED_READY;
	queued->next = NULL;
	if (queue->last)
		queue->last->next = queued;
	else
		queue->first = queued;
	queue->last = queued;
}

/* By time; most have the latest, so the search begins there only when it must. */
static void put_later(kp_agent_queue *queue, kp_queued *queued)
{
	kp_queued **at = &queue->later;

	queued->state = QUEUED_LATER;
	if (queue->later_last && queue->later_last->after_ms <= queued->after_ms)
		at = &queue->later_last->next;
	while (*at && (*at)->after_ms <= queued->after_ms)
		at = &(*at)->next;
	queued->next = *at;
	*at = queued;
	if (!queued->next)
		queue->later_last = queued;
}

keep_status kp_agent_queue_add(kp_agent_queue *queue, keep_bytes session, keep_error *err)
{
	kp_queued **place, *made;

	if (session.len == 0 || session.len > KEEP_SEGMENT_MAX)
		return kp_fail(err, KEEP_INVALID, "session: '%" KP_PRI "' is no id",
			       KP_ARG(session));
	place = find_place(queue, session);
	if (*place) {
		(*place)->has_news = true;
		return KEEP_OK;
	}
	if (queue->count >= KP_QUEUE_MAX)
		return kp_fail(err, KEEP_FULL, "%d sessions wait for the agent's command",
			       KP_QUEUE_MAX);
	made = kp_alloc_zero(sizeof *made);
	if (!made)
		return kp_fail_memory(err, "a session that waits");
	memcpy(made->session, session.data, session.len);
	made->len = session.len;
	*place = made;
	queue->count++;
	put_ready(queue, made);
	return KEEP_OK;
}

static void wake_later(kp_agent_queue *queue, int64_t now_ms)
{
	while (queue->later && queue->later->after_ms <= now_ms) {
		kp_queued *queued = queue->later;

		queue->later = queued->next;
		if (!queue->later)
			queue->later_last = NULL;
		put_ready(queue, queued);
	}
}

bool kp_agent_queue_is_ready(const kp_agent_queue *queue, int64_t now_ms)
{
	return queue->first || (queue->later && queue->later->after_ms <= now_ms);
}

kp_queued *kp_agent_queue_take(kp_agent_queue *queue, int64_t now_ms, int64_t *pause_ms)
{
	kp_queued *taken;

	wake_later(queue, now_ms);
	taken = queue->first;
	if (!taken) {
		if (queue->later && queue->later->after_ms - now_ms < *pause_ms)
			*pause_ms = queue->later->after_ms - now_ms;
		return NULL;
	}
	queue->first = taken->next;
	if (!queue->first)
		queue->last = NULL;
	taken->next = NULL;
	taken->state = QUEUED_TAKEN;
	taken->has_news = false;
	return taken;
}

void kp_agent_queue_settle(kp_agent_queue *queue, kp_queued **queued, kp_served served,
			   int64_t now_ms)
{
	kp_queued *self = *queued, **place;

	*queued = NULL;
	if (served == KP_SERVED_FAILED) {
		self->pause_ms = self->pause_ms ? self->pause_ms * 2 : PAUSE_MIN_MS;
		if (self->pause_ms > PAUSE_MAX_MS)
			self->pause_ms = PAUSE_MAX_MS;
		self->after_ms = now_ms + self->pause_ms;
		put_later(queue, self);
		return;
	}
	self->pause_ms = 0;
	if (served == KP_SERVED_MORE || self->has_news) {
		put_ready(queue, self);
		return;
	}
	place = find_place(queue, kp_queued_session(self));
	*place = self->same;
	queue->count--;
	kp_free(self);
}
