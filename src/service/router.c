/*
 * router.c - what the gateway has accepted goes to the sessions of those who are to answer.
 *
 * The router is the gateway's consumer "serve". For each message it asks, in this order: is the
 * chat pinned to a folder; do the gateway's routes name one; is the chat registered to one; who is
 * wired to the chat in the mailbox; and with a command of the service's own, the folder "main".
 * What nobody takes is noted on the message, for keep trace.
 *
 * Invariants:
 *   1. The cursor moves behind the mailbox's commit and never before: a crash repeats a hand-over,
 *      whose id is made of the message's chat and number, so the mailbox knows it.
 *   2. A message that cannot be handed over for now holds up its own chat and no other: the chat
 * rests for a while that doubles to REST_MAX_MS. One that can never be is noted, and its chat goes
 * on.
 *   3. Messages of a chat reach a session in the order of their numbers.
 *
 * What it does not do: run an agent.
 *
 * Tests: tests/contract/test_service_journey.c.
 */
#include "gateway/gateway_notes.h"
#include "gateway/route_match.h"
#include "service/journey.h"

#include <stdio.h>
#include <string.h>

enum {
	BATCH = 500,
	WAIT_MS = 1000,
	RESTING_MAX = 256,
	REST_MIN_MS = 100,
	REST_MAX_MS = 10000,
	RESTING_LOOK_MS = 100,
	WHY_SIZE = 512
};

typedef struct resting {
	uint64_t chat; /* hash of its jid; 0: free */
	int64_t until_ms, pause_ms;
} resting;

struct kp_router {
	keep_service *service;
	kp_loop loop;
	kp_places *places;
	resting resting[RESTING_MAX];
};

/* A message's way: to the session of a folder's agent, to those who are wired to its chat, or to
   nobody. */
typedef struct way {
	char session[KEEP_SEGMENT_MAX + 1];
	bool is_wired;
	bool has_rules; /* somebody made rules for the chat, which leave this message out */
} way;

/* Neighbours of one chat that nobody takes: told together. */
typedef struct nobodies {
	const keep_message *first; /* NULL: none */
	size_t count;
	bool has_rules;
	int64_t told_to; /* the number of the last one that was told */
} nobodies;

static int64_t now_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

/* ---------------------------------------------------------------- chats that rest */

static uint64_t hash_chat(keep_bytes jid)
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

	for (size_t i = 0; i < jid.len; i++)
		hash = (hash ^ (unsigned char)jid.data[i]) * UINT64_C(1099511628211);
	return hash ? hash : 1;
}

static resting *rest_of(kp_router *router, uint64_t chat)
{
	for (size_t i = 0; i < RESTING_MAX; i++)
		if (router->resting[i].chat == chat)
			return &router->resting[i];
	return NULL;
}

static void rest(kp_router *router, keep_bytes jid)
{
	uint64_t chat = hash_chat(jid);
	resting *entry = rest_of(router, chat);

	if (!entry)
		entry = rest_of(router, 0);
	if (!entry) /* so many at once: it is tried again with the others */
		return;
	entry->pause_ms = entry->chat ? entry->pause_ms * 2 : REST_MIN_MS;
	if (entry->pause_ms > REST_MAX_MS)
		entry->pause_ms = REST_MAX_MS;
	entry->chat = chat;
	entry->until_ms = now_ms() + entry->pause_ms;
}

static bool is_resting(kp_router *router, keep_bytes jid)
{
	const resting *entry = rest_of(router, hash_chat(jid));

	return entry && entry->until_ms > now_ms();
}

static void wake_up(kp_router *router, keep_bytes jid)
{
	resting *entry = rest_of(router, hash_chat(jid));

	if (entry)
		*entry = (resting){.chat = 0};
}

/* ---------------------------------------------------------------- who is to answer */

static keep_status note(kp_router *router, const keep_message *message, const char *why,
			keep_error *err)
{
	kp_count(router->service, KP_COUNT_UNROUTED, 1);
	return keep_gateway_note_input(router->service->gateway, message->chat_jid, message->id,
				       keep_bytes_of(why), err);
}

/* The folder of a chat that is registered; absent: it is not, or does not take this message. */
static keep_status registered_folder(kp_router *router, const keep_message *message,
				     keep_memory *memory, keep_bytes *folder, bool *is_registered,
				     keep_error *err)
{
	keep_registered_group group;
	keep_status status = keep_gateway_get_group(router->service->gateway, message->chat_jid,
						    memory, &group, err);

	*is_registered = status == KEEP_OK;
	if (status == KEEP_OK && kp_bytes_equal(group.state, KEEP_BYTES("active")) &&
	    (!group.requires_trigger || kp_trigger_accepts(message->content, group.trigger_word)))
		*folder = group.folder;
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

/* What the gateway says; *has_rules: somebody made rules for this chat, which leave it out. */
static keep_status gateway_folder(kp_router *router, const keep_message *message,
				  keep_memory *memory, keep_bytes *folder, bool *has_rules,
				  keep_error *err)
{
	keep_resolution resolution;
	keep_chat chat = {.sticky_group = {NULL, 0}};
	keep_status status = keep_gateway_get_chat(router->service->gateway, message->chat_jid,
						   memory, &chat, err);

	if (status == KEEP_OK && chat.sticky_group.len) {
		*folder = chat.sticky_group;
		return KEEP_OK;
	}
	if (status == KEEP_OK)
		status = keep_gateway_resolve(router->service->gateway, message, true, memory,
					      &resolution, err);
	if (status != KEEP_OK)
		return status;
	if (resolution.matched) {
		*folder = resolution.target;
		return KEEP_OK;
	}
	*has_rules = resolution.step_count > 0;
	if (*has_rules)
		return KEEP_OK;
	return registered_folder(router, message, memory, folder, has_rules, err);
}

/* ---------------------------------------------------------------- by wirings */

static void write_reason(const keep_route_outcome *outcome, char why[WHY_SIZE])
{
	keep_bytes reason = outcome->count ? outcome->items[0].reason : (keep_bytes){NULL, 0};

	(void)snprintf(why, WHY_SIZE, "no agent takes it%s%.*s", reason.len ? ": " : "",
		       (int)(reason.len > 400 ? 400 : reason.len), reason.data ? reason.data : "");
}

/* As an agent gets it. INVALID: that is too long, which no other try makes shorter. */
static keep_status write_content(const keep_message *message, keep_buffer *out, keep_error *err)
{
	keep_status status = kp_content_of_message(message, out, err);

	if (status == KEEP_OK && out->len > KEEP_MAILBOX_CONTENT_MAX)
		status =
			kp_fail(err, KEEP_INVALID, "it is over %d bytes when it is written as JSON",
				KEEP_MAILBOX_CONTENT_MAX);
	return status;
}

/* Ask the mailbox; `count`: as how many it is counted when nobody is wired. */
static keep_status route(kp_router *router, const keep_message *message, size_t count,
			 keep_memory *memory, keep_route_outcome *outcome, keep_error *err)
{
	keep_buffer content = KEEP_BUFFER_INIT;
	keep_inbound_route what = {
		.message_id = message->id,
		.thread_id = message->topic.len ? message->topic : (keep_bytes){NULL, 0},
		.timestamp = message->timestamp,
		.unrouted_count = (int64_t)count,
	};
	char id[KP_POST_ID_SIZE];
	keep_status status = write_content(message, &content, err);

	if (kp_bytes_equal(message->source, KEEP_BYTES("scheduler")))
		what.kind = KEEP_BYTES("task");
	kp_jid_split(message->chat_jid, message->source, &what.channel_type, &what.platform_id);
	what.content = kp_buffer_bytes(&content);
	if (status == KEEP_OK)
		status = kp_post_id(message->chat_jid, message->seq, id, err);
	what.id = keep_bytes_of(id);
	if (status == KEEP_OK)
		status = keep_mailbox_route(router->service->mailbox, &what, KEEP_NOW, memory,
					    outcome, err);
	for (size_t i = 0; status == KEEP_OK && i < outcome->count; i++)
		if (outcome->items[i].is_taken)
			kp_agents_look(router->service->agents, outcome->items[i].session);
	if (status == KEEP_OK && outcome->taken)
		kp_count(router->service, KP_COUNT_ROUTED, 1);
	keep_buffer_release(&content);
	return status;
}

/* Give it to whoever is wired to its chat, and takes it. */
static keep_status give_to_wired(kp_router *router, const keep_message *message, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_route_outcome outcome;
	char why[WHY_SIZE];
	keep_status status = route(router, message, 1, &memory, &outcome, err);

	if (status == KEEP_OK && !outcome.taken) {
		write_reason(&outcome, why);
		status = note(router, message, why, err);
	}
	keep_memory_release(&memory);
	return status;
}

static keep_status has_wirings(kp_router *router, const keep_message *message, bool *has,
			       keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_messaging_group group;
	keep_messaging_group_agent_list wirings = {.count = 0};
	keep_bytes channel_type, platform_id;
	keep_status status;

	kp_jid_split(message->chat_jid, message->source, &channel_type, &platform_id);
	status = keep_mailbox_find_messaging_group(router->service->mailbox, channel_type,
						   platform_id, &memory, &group, err);
	if (status == KEEP_OK)
		status =
			keep_mailbox_list_wirings(router->service->mailbox, group.id,
						  (keep_bytes){NULL, 0}, 1, &memory, &wirings, err);
	*has = status == KEEP_OK && wirings.count;
	keep_memory_release(&memory);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

static keep_status find_way(kp_router *router, const keep_message *message, way *out,
			    keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_bytes folder = {NULL, 0};
	keep_status status =
		gateway_folder(router, message, &memory, &folder, &out->has_rules, err);

	if (status == KEEP_OK && !folder.len)
		status = has_wirings(router, message, &out->is_wired, err);
	if (status == KEEP_OK && !folder.len && !out->is_wired && !out->has_rules &&
	    router->service->agents)
		folder = KEEP_BYTES(KP_DEFAULT_FOLDER);
	if (status == KEEP_OK && folder.len)
		status = kp_places_session(router->places, folder, message, out->session, err);
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- nobody */

/* A status that trying again does not help. */
static bool is_final(keep_status status)
{
	return status == KEEP_INVALID || status == KEEP_DENIED || status == KEEP_CONFLICT;
}

/* Count and note neighbours that nobody takes. An agent that is wired just now gets them. */
static keep_status tell_nobodies(kp_router *router, nobodies *left, keep_error *err)
{
	const keep_message *last = left->first + (left->count ? left->count - 1 : 0);
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_route_outcome outcome = {.is_unrouted = true};
	keep_status status = KEEP_OK;

	if (!left->count)
		return KEEP_OK;
	if (!left->has_rules)
		status = route(router, last, left->count, &memory, &outcome, err);
	if (is_final(status)) { /* too long to be counted: it is noted all the same */
		outcome.is_unrouted = true;
		status = KEEP_OK;
	}
	for (size_t i = 0; status == KEEP_OK && !outcome.is_unrouted && i < left->count; i++)
		status = give_to_wired(router, &left->first[i], err);
	if (status == KEEP_OK && outcome.is_unrouted)
		status = kp_gateway_note_inputs(
			router->service->gateway, last->chat_jid, left->first->seq, last->seq,
			left->has_rules
				? KEEP_BYTES("no route of its chat matches it")
				: KEEP_BYTES("no route leads anywhere, and no agent is wired to "
					     "its chat"),
			err);
	if (status == KEEP_OK && outcome.is_unrouted)
		kp_count(router->service, KP_COUNT_UNROUTED, (int64_t)left->count);
	keep_memory_release(&memory);
	if (status == KEEP_OK)
		left->told_to = last->seq;
	left->count = 0;
	return status;
}

/* ---------------------------------------------------------------- handing over */

static keep_status post(kp_router *router, const keep_message *message, const char *session,
			keep_error *err)
{
	keep_buffer content = KEEP_BUFFER_INIT;
	char id[KP_POST_ID_SIZE];
	keep_post what = {.kind = {NULL, 0}};
	keep_post_result result;
	keep_status status = kp_post_id(message->chat_jid, message->seq, id, err);

	if (status == KEEP_OK)
		status = write_content(message, &content, err);
	what.id = keep_bytes_of(id);
	what.content = kp_buffer_bytes(&content);
	what.timestamp = message->timestamp;
	what.dedup_key = message->id;
	what.thread_id = message->topic.len ? message->topic : (keep_bytes){NULL, 0};
	if (kp_bytes_equal(message->source, KEEP_BYTES("scheduler")))
		what.kind = KEEP_BYTES("task");
	kp_jid_split(message->chat_jid, message->source, &what.channel_type, &what.platform_id);
	if (status == KEEP_OK)
		status = keep_mailbox_post(router->service->mailbox, keep_bytes_of(session), &what,
					   &result, err);
	if (status == KEEP_OK)
		kp_count(router->service, KP_COUNT_ROUTED, 1);
	keep_buffer_release(&content);
	return status;
}

static keep_status give_to_session(kp_router *router, const keep_message *message, way *found,
				   keep_error *err)
{
	keep_status status = post(router, message, found->session, err);

	if (status == KEEP_CONFLICT || status == KEEP_NOT_FOUND) {
		/* The session was closed or removed since: the next one takes it. */
		kp_places_forget(router->places);
		status = find_way(router, message, found, err);
		if (status == KEEP_OK && found->session[0])
			status = post(router, message, found->session, err);
	}
	if (status == KEEP_OK)
		kp_agents_look(router->service->agents, keep_bytes_of(found->session));
	if (status == KEEP_OK && message->last_error.len) /* it could not, before */
		status = keep_gateway_note_input(router->service->gateway, message->chat_jid,
						 message->id, (keep_bytes){NULL, 0}, err);
	return status;
}

/* One message to its end: with an agent, among those that nobody takes, or noted. Else the failure,
   and the chat waits. */
static keep_status hand_over(kp_router *router, const keep_message *message, nobodies *left,
			     keep_error *err)
{
	way found = {.is_wired = false};
	char why[WHY_SIZE];
	keep_status status = find_way(router, message, &found, err);
	bool is_left = status == KEEP_OK && !found.session[0] && !found.is_wired;

	if (status == KEEP_OK && left->count && (!is_left || left->has_rules != found.has_rules))
		status = tell_nobodies(router, left, err);
	if (status == KEEP_OK && is_left) {
		left->first = left->count ? left->first : message;
		left->has_rules = found.has_rules;
		left->count++;
		return KEEP_OK;
	}
	if (status == KEEP_OK && found.session[0])
		status = give_to_session(router, message, &found, err);
	else if (status == KEEP_OK)
		status = give_to_wired(router, message, err);
	if (!is_final(status))
		return status;
	(void)snprintf(why, sizeof why, "it cannot be given to an agent: %.400s", err->message);
	return note(router, message, why, err);
}

/* A failure that may pass is told on the message, so that a trace knows. */
static void put_off(kp_router *router, const keep_message *message, const keep_error *failure)
{
	char why[WHY_SIZE];
	keep_error err = KEEP_ERROR_INIT;

	kp_count(router->service, KP_COUNT_ERRORS, 1);
	rest(router, message->chat_jid);
	(void)snprintf(why, sizeof why, "tried again soon: %.400s", failure->message);
	kp_log(KEEP_LOG_WARNING, "router: message %" KP_PRI ": %s", KP_ARG(message->id),
	       failure->message);
	if (keep_gateway_note_input(router->service->gateway, message->chat_jid, message->id,
				    keep_bytes_of(why), &err) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "router: %s", err.message);
}

/* The messages of one chat, from items[*at] on; *at is behind them afterwards. */
static keep_status hand_over_chat(kp_router *router, const keep_message_list *list, size_t *at,
				  bool *moved, keep_error *err)
{
	keep_bytes jid = list->items[*at].chat_jid;
	bool stopped = is_resting(router, jid);
	nobodies left = {.count = 0};
	keep_error failure = KEEP_ERROR_INIT;
	const keep_message *failed = NULL;
	int64_t done = 0;

	for (; *at < list->count && kp_bytes_equal(list->items[*at].chat_jid, jid); (*at)++) {
		const keep_message *message = &list->items[*at];
		size_t before = left.count;

		if (stopped || atomic_load(&router->service->stopping))
			continue;
		if (hand_over(router, message, &left, &failure) != KEEP_OK) {
			bool told = left.first && left.told_to >= left.first->seq;

			failed = before && !told ? left.first : message;
			stopped = true;
		} else if (!left.count) {
			done = message->seq;
		}
	}
	if (!stopped && left.count) {
		failed = left.first;
		if (tell_nobodies(router, &left, &failure) == KEEP_OK)
			failed = NULL;
	}
	done = left.told_to > done ? left.told_to : done;
	if (failed)
		put_off(router, failed, &failure);
	else if (done && !stopped)
		wake_up(router, jid);
	if (!done)
		return KEEP_OK;
	*moved = true;
	return keep_gateway_advance(router->service->gateway, KEEP_BYTES(KP_ROUTER_NAME), jid, done,
				    NULL, err);
}

static keep_status hand_over_batch(kp_router *router, bool *moved, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {.count = 0};
	keep_status status =
		keep_gateway_new_messages(router->service->gateway, KEEP_BYTES(KP_ROUTER_NAME),
					  NULL, 0, BATCH, &memory, &list, err);
	size_t at = 0;

	while (status == KEEP_OK && at < list.count)
		status = hand_over_chat(router, &list, &at, moved, err);
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- the loop */

static keep_status turn(void *ctx, int64_t *pause_ms, keep_error *err)
{
	kp_router *router = ctx;
	bool pending = false, moved = false;
	keep_status status = keep_gateway_wait(router->service->gateway, KEEP_BYTES(KP_ROUTER_NAME),
					       WAIT_MS, &pending, err);

	if (status == KEEP_OK && pending)
		status = hand_over_batch(router, &moved, err);
	if (status == KEEP_OK && !moved && (pending || atomic_load(&router->service->stopping)))
		*pause_ms = RESTING_LOOK_MS; /* all that is pending rests */
	return status;
}

keep_status kp_router_start(keep_service *service, kp_router **out, keep_error *err)
{
	kp_router *router = kp_alloc_zero(sizeof *router);
	keep_status status;

	if (!router)
		return kp_fail_memory(err, "the router");
	router->service = service;
	router->loop.service = service;
	router->loop.name = "router";
	router->loop.turn = turn;
	router->loop.ctx = router;
	status = kp_places_open(service, &router->places, err);
	if (status == KEEP_OK)
		status = kp_loop_start(&router->loop, err);
	*out = router;
	if (status != KEEP_OK)
		kp_router_stop(out);
	return status;
}

void kp_router_stop(kp_router **router)
{
	kp_router *self = *router;

	*router = NULL;
	if (!self)
		return;
	keep_gateway_cancel(self->service->gateway);
	kp_loop_stop(&self->loop);
	kp_places_close(&self->places);
	kp_free(self);
}
