/*
 * agent_seats.c - the agent's sides of sessions, open while they are used and a while longer.
 *
 * Invariants:
 *   1. Before a seat is used, the registry says that nobody else is the session's agent.
 *   2. A seat is opened behind keep_mailbox_wake: whoever served the session before us, on another
 *      host too, has lost its claims.
 *   3. At most OPEN_MAX seats wait for their next use, and none longer than IDLE_MS; one that
 * failed is closed at once.
 *   4. What the agent may send to is written anew at each opening, and after REFRESH_MS.
 *
 * What it does not do: let two threads use one seat (agent_queue.c sees to that).
 *
 * Tests: tests/contract/test_service_agents.c.
 */
#include "service/agents.h"

#include <string.h>

enum { OPEN_MAX = 48, IDLE_MS = 10000, REFRESH_MS = 30000 };

struct kp_seats {
	keep_service *service;
	pthread_mutex_t mutex; /* guards the list */
	kp_seat *first;        /* idle ones, the last used first */
	size_t count;
};

static int64_t clock_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

static void close_seat(kp_seat **seat)
{
	kp_seat *self = *seat;

	*seat = NULL;
	if (!self)
		return;
	keep_agent_close(&self->agent);
	keep_memory_release(&self->memory);
	kp_free(self);
}

keep_status kp_seats_open(keep_service *service, kp_seats **out, keep_error *err)
{
	kp_seats *seats = kp_alloc_zero(sizeof *seats);

	*out = seats;
	if (!seats)
		return kp_fail_memory(err, "the agents' seats");
	seats->service = service;
	pthread_mutex_init(&seats->mutex, NULL);
	return KEEP_OK;
}

void kp_seats_close(kp_seats **seats)
{
	kp_seats *self = *seats;

	*seats = NULL;
	if (!self)
		return;
	while (self->first) {
		kp_seat *gone = self->first;

		self->first = gone->next;
		close_seat(&gone);
	}
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}

/* Take the seats out of the list that are over: from the first that was used before `since_ms`, or
   from number `max` on. */
static kp_seat *cut_list(kp_seats *seats, int64_t since_ms, size_t max)
{
	kp_seat **at, *rest;
	size_t kept = 0;

	pthread_mutex_lock(&seats->mutex);
	for (at = &seats->first; *at && kept < max && (*at)->used_ms >= since_ms; kept++)
		at = &(*at)->next;
	rest = *at;
	*at = NULL;
	seats->count = kept;
	pthread_mutex_unlock(&seats->mutex);
	return rest;
}

static void close_list(kp_seat *seat)
{
	while (seat) {
		kp_seat *gone = seat;

		seat = seat->next;
		close_seat(&gone);
	}
}

void kp_seats_tidy(kp_seats *seats)
{
	close_list(cut_list(seats, clock_ms() - IDLE_MS, OPEN_MAX));
}

void kp_seats_give(kp_seats *seats, kp_seat **seat, bool keep)
{
	kp_seat *self = *seat;

	*seat = NULL;
	if (!self)
		return;
	self->used_ms = clock_ms();
	if (!keep) {
		close_seat(&self);
		return;
	}
	pthread_mutex_lock(&seats->mutex);
	self->next = seats->first;
	seats->first = self;
	seats->count++;
	pthread_mutex_unlock(&seats->mutex);
	kp_seats_tidy(seats);
}

static kp_seat *find_idle(kp_seats *seats, keep_bytes session)
{
	kp_seat **at, *found;

	pthread_mutex_lock(&seats->mutex);
	at = &seats->first;
	while (*at && !kp_bytes_equal(keep_bytes_of((*at)->session), session))
		at = &(*at)->next;
	found = *at;
	if (found) {
		*at = found->next;
		found->next = NULL;
		seats->count--;
	}
	pthread_mutex_unlock(&seats->mutex);
	return found;
}

/* ---------------------------------------------------------------- whose session it is */

static keep_status read_chat(kp_seat *seat, keep_mailbox *mailbox, keep_bytes id, keep_error *err)
{
	keep_messaging_group chat;
	keep_status status;

	seat->channel_type = seat->platform_id = (keep_bytes){NULL, 0};
	if (!id.data)
		return KEEP_OK;
	status = keep_mailbox_get_messaging_group(mailbox, id, &seat->memory, &chat, err);
	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status == KEEP_OK) {
		seat->channel_type = chat.channel_type;
		seat->platform_id = chat.platform_id;
	}
	return status;
}

/* *ours: nobody else is its agent. */
static keep_status read_session(kp_seat *seat, keep_mailbox *mailbox, bool *ours, keep_error *err)
{
	keep_session row;
	keep_agent_group group = {.agent_provider = {NULL, 0}};
	keep_status status;

	*ours = false;
	keep_memory_release(&seat->memory);
	status = keep_mailbox_get_session(mailbox, keep_bytes_of(seat->session), &seat->memory,
					  &row, err);
	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status != KEEP_OK)
		return status;
	if (row.agent_provider.len ||
	    !kp_bytes_equal(row.status, KEEP_BYTES(KEEP_SESSION_STATUS_ACTIVE)))
		return KEEP_OK;
	status = keep_mailbox_get_agent_group(mailbox, row.agent_group_id, &seat->memory, &group,
					      err);
	if (status != KEEP_OK || group.agent_provider.len)
		return status;
	*ours = true;
	seat->folder = group.folder;
	return read_chat(seat, mailbox, row.messaging_group_id, err);
}

/* ---------------------------------------------------------------- taking one */

static keep_status open_seat(kp_seat *seat, keep_mailbox *mailbox, keep_error *err)
{
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	keep_bytes session = keep_bytes_of(seat->session), place = {NULL, 0};
	keep_status status = keep_mailbox_wake(mailbox, session, KEEP_NOW, NULL, err);

	if (status == KEEP_OK)
		status = keep_mailbox_session_place(mailbox, session, &seat->memory, &place, err);
	if (status == KEEP_OK)
		status = keep_agent_open(place.data, &options, &seat->agent, err);
	seat->refreshed_ms = clock_ms();
	return status;
}

static keep_status prepare(kp_seats *seats, kp_seat *seat, bool *ours, keep_error *err)
{
	keep_mailbox *mailbox = seats->service->mailbox;
	keep_status status = read_session(seat, mailbox, ours, err);

	if (status != KEEP_OK || !*ours)
		return status;
	if (!seat->agent)
		return open_seat(seat, mailbox, err);
	if (clock_ms() - seat->refreshed_ms < REFRESH_MS)
		return KEEP_OK;
	seat->refreshed_ms = clock_ms();
	return keep_mailbox_refresh(mailbox, keep_bytes_of(seat->session), err);
}

keep_status kp_seats_take(kp_seats *seats, keep_bytes session, kp_seat **out, keep_error *err)
{
	kp_seat *seat = find_idle(seats, session);
	bool ours = false;
	keep_status status;

	*out = NULL;
	if (!seat) {
		seat = kp_alloc_zero(sizeof *seat);
		if (!seat)
			return kp_fail_memory(err, "an agent's seat");
		memcpy(seat->session, session.data, session.len);
	}
	status = prepare(seats, seat, &ours, err);
	if (status != KEEP_OK || !ours)
		close_seat(&seat);
	*out = seat;
	return status;
}
