/*
 * collector.c - what agents say becomes deliveries of the gateway, and what became of those is told
 * to the mailbox.
 *
 *     mailbox.collect ── put_outbound(key) ── begin_delivery        an answer goes out
 *     gateway.outcomes ── complete_delivery ── settle_outcome       what became of it comes back
 *
 * Three loops: sessions that have news, sessions that the sweep or a failure named, and outcomes.
 *
 * Invariants:
 *   1. An answer is stored in the gateway under its delivery's key before the mailbox hears that
 * its delivery begins; what a crash repeats is a duplicate there.
 *   2. An outcome is settled in the gateway behind the mailbox's commit and never before: what the
 *      mailbox cannot take for now stays in the feed.
 *   3. The gateway's return_to is "<session> <attempt> <key>". A report whose attempt is over (a
 * lease of a day ended, or the adapter was faster than begin_delivery) is made good by what the
 * mailbox knows; a session that is gone has nobody to tell.
 *   4. A session that fails is tried again by itself and holds up no other.
 *   5. Answers of a session to one chat go out one after the other: the mailbox gives the next one
 * when what became of the one before is known.
 *
 * What it does not do: call a channel. Adapters do.
 *
 * Tests: tests/contract/test_service_journey.c.
 */
#include "service/journey.h"

#include <stdio.h>
#include <string.h>

enum {
	COLLECT_MAX = 100,
	OUTCOMES_MAX = 200,
	WAIT_MS = 1000,
	STOPPING_MS = 20,
	RETRY_MS = 500,
	WHY_SIZE = 512
};
#define DELIVERY_LEASE_MS INT64_C(86400000)

typedef struct look {
	struct look *next;
	char session[KEEP_SEGMENT_MAX + 1];
	int64_t at_ms; /* monotonic: not before */
} look;

struct kp_collector {
	keep_service *service;
	kp_loop news, looks, outcomes;
	pthread_mutex_t mutex; /* guards the list */
	look *list;
};

/* Whose answers they are. */
typedef struct speaker {
	keep_bytes session;
	keep_bytes folder; /* of its agent, as the gateway calls it */
	keep_bytes jid;    /* of the session's own chat; absent: it has none */
} speaker;

static int64_t now_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

/* ---------------------------------------------------------------- sessions to look at */

static void look_at(kp_collector *collector, keep_bytes session, int64_t pause_ms)
{
	look *entry;

	if (session.len > KEEP_SEGMENT_MAX)
		return;
	pthread_mutex_lock(&collector->mutex);
	for (entry = collector->list; entry; entry = entry->next)
		if (kp_bytes_equal(keep_bytes_of(entry->session), session))
			break;
	if (!entry) {
		entry = kp_alloc_zero(sizeof *entry);
		if (entry) {
			memcpy(entry->session, session.data, session.len);
			entry->at_ms = now_ms() + pause_ms;
			entry->next = collector->list;
			collector->list = entry;
		}
	}
	pthread_mutex_unlock(&collector->mutex);
	/* Without memory the next sweep names it again. */
}

void kp_collector_look(kp_collector *collector, keep_bytes session)
{
	if (!collector)
		return;
	look_at(collector, session, 0);
	kp_loop_wake(&collector->looks);
}

/* The next whose time has come; false: none, and *pause_ms says when. */
static bool take_look(kp_collector *collector, char session[KEEP_SEGMENT_MAX + 1],
		      int64_t *pause_ms)
{
	int64_t now = now_ms(), soonest = 60000;
	look **at = &collector->list, *found = NULL;

	pthread_mutex_lock(&collector->mutex);
	while (*at && (*at)->at_ms > now) {
		soonest = (*at)->at_ms - now < soonest ? (*at)->at_ms - now : soonest;
		at = &(*at)->next;
	}
	found = *at;
	if (found)
		*at = found->next;
	pthread_mutex_unlock(&collector->mutex);
	*pause_ms = found ? -1 : soonest;
	if (found)
		memcpy(session, found->session, sizeof found->session);
	kp_free(found);
	return found != NULL;
}

/* ---------------------------------------------------------------- whose session it is */

static keep_status find_speaker(keep_service *service, keep_bytes session, keep_memory *memory,
				speaker *out, keep_error *err)
{
	keep_session row;
	keep_agent_group group;
	keep_messaging_group chat;
	keep_bytes channel;
	keep_status status = keep_mailbox_get_session(service->mailbox, session, memory, &row, err);

	*out = (speaker){.session = session};
	if (status == KEEP_OK)
		status = keep_mailbox_get_agent_group(service->mailbox, row.agent_group_id, memory,
						      &group, err);
	if (status == KEEP_OK)
		out->folder = group.name;
	if (status != KEEP_OK || !row.messaging_group_id.len)
		return status;
	status = keep_mailbox_get_messaging_group(service->mailbox, row.messaging_group_id, memory,
						  &chat, err);
	if (status == KEEP_OK)
		status = kp_jid_find(service->gateway, chat.channel_type, chat.platform_id, memory,
				     &out->jid, &channel, err);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

/* ---------------------------------------------------------------- an answer goes out */

/* The gateway's id of the message that an answer is to; absent: not one of this chat's. */
static keep_status find_answered(keep_service *service, const keep_message *out,
				 keep_bytes in_reply_to, keep_memory *memory, keep_bytes *id,
				 keep_error *err)
{
	keep_message_list list = {.count = 0};
	int64_t seq = 0;
	keep_status status = kp_post_id_seq(in_reply_to, out->chat_jid, &seq, err);

	if (status == KEEP_OK && seq)
		status = keep_gateway_history(service->gateway, out->chat_jid, seq + 1, 1, memory,
					      &list, err);
	if (status == KEEP_OK && list.count && list.items[0].seq == seq)
		*id = list.items[0].id;
	return status;
}

static keep_status refuse(keep_service *service, const speaker *who, const keep_collected *item,
			  const char *why, keep_error *err)
{
	keep_status status = keep_mailbox_refuse_delivery(service->mailbox, who->session, item->key,
							  keep_bytes_of(why), KEEP_NOW, err);

	return status == KEEP_CONFLICT ? KEEP_OK : status; /* it is being delivered already */
}

/* It was there. When the mailbox's user asked for another try, the gateway tries again, too. */
static keep_status try_once_more(keep_service *service, const keep_message *message,
				 keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message stored;
	keep_status status = keep_gateway_get_message(service->gateway, message->chat_jid,
						      message->id, &memory, &stored, err);

	if (status == KEEP_OK && (kp_bytes_equal(stored.status, KEEP_BYTES("failed")) ||
				  kp_bytes_equal(stored.status, KEEP_BYTES("refused")) ||
				  kp_bytes_equal(stored.status, KEEP_BYTES("uncertain"))))
		status = keep_gateway_retry_delivery(service->gateway, message->chat_jid,
						     message->id, err);
	keep_memory_release(&memory);
	return status == KEEP_CONFLICT ? KEEP_OK : status;
}

static keep_status put_answer(keep_service *service, const speaker *who, const keep_collected *item,
			      const keep_message *message, keep_error *err)
{
	keep_put_result result = {.put = KEEP_PUT_INSERTED};
	int64_t attempt = 0;
	keep_status status =
		keep_gateway_put_outbound(service->gateway, message, &result, NULL, err);

	if (status == KEEP_CONFLICT)
		return refuse(service, who, item, "another message of its chat has its key", err);
	if (status == KEEP_INVALID || status == KEEP_DENIED)
		return refuse(service, who, item, err->message, err);
	if (status == KEEP_OK && result.put == KEEP_PUT_DUPLICATE && item->attempts > 0)
		status = try_once_more(service, message, err);
	if (status == KEEP_OK)
		status = keep_mailbox_begin_delivery(service->mailbox, who->session, item->key,
						     DELIVERY_LEASE_MS, KEEP_NOW, &attempt, err);
	if (status == KEEP_OK)
		kp_count(service, KP_COUNT_ANSWERS, 1);
	return status == KEEP_CONFLICT ? KEEP_OK : status; /* begun by another host */
}

static keep_status write_answer(keep_service *service, const speaker *who,
				const keep_collected *item, keep_memory *memory,
				keep_message *message, keep_error *err)
{
	bool is_change = item->operation.len > 0;
	keep_status status =
		kp_jid_find(service->gateway, item->message.channel_type, item->message.platform_id,
			    memory, &message->chat_jid, &message->source, err);

	message->id = item->key;
	message->sender = who->folder;
	message->group_folder = who->folder;
	message->verb = is_change ? item->operation : KEEP_BYTES("message");
	message->topic = item->message.thread_id;
	message->turn_id = item->message.in_reply_to;
	if (is_change)
		message->reply_to_id = item->target_platform_message_id;
	else if (status == KEEP_OK && item->message.in_reply_to.len)
		status = find_answered(service, message, item->message.in_reply_to, memory,
				       &message->reply_to_id, err);
	return status;
}

static keep_status send_item(keep_service *service, const speaker *who, const keep_collected *item,
			     keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_buffer text = KEEP_BUFFER_INIT, more = KEEP_BUFFER_INIT, back = KEEP_BUFFER_INIT;
	keep_message message = {.id = {NULL, 0}};
	keep_status status;

	if (kp_bytes_equal(item->message.kind, KEEP_BYTES("system")))
		return refuse(service, who, item, "the host knows no such action", err);
	if (!item->message.channel_type.len || !item->message.platform_id.len)
		return refuse(service, who, item, "it names no chat", err);
	status = write_answer(service, who, item, &memory, &message, err);
	if (status == KEEP_OK)
		status = kp_text_of_content(item, who->session, &text, &more, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(&back, err, "%" KP_PRI " %lld ",
						 KP_ARG(who->session),
						 (long long)item->attempts + 1);
	if (status == KEEP_OK) /* whole, however long it is */
		status = kp_buffer_append(&back, item->key, err);
	message.content = text.len ? kp_buffer_bytes(&text) : KEEP_BYTES("");
	message.attachments = more.len ? kp_buffer_bytes(&more) : (keep_bytes){NULL, 0};
	message.return_to = kp_buffer_bytes(&back);
	if (status == KEEP_OK)
		status = put_answer(service, who, item, &message, err);
	keep_buffer_release(&text);
	keep_buffer_release(&more);
	keep_buffer_release(&back);
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- a session's turn */

/* A chat is errored from an agent's failure to its next success. */
static keep_status mark_chat(keep_service *service, const speaker *who,
			     const keep_collection *collection, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_chat chat = {.errored = false};
	bool failed = collection->failed > 0 || collection->retried > 0;
	keep_status status = KEEP_OK;

	if (!who->jid.len || (!failed && !collection->completed))
		return KEEP_OK;
	status = keep_gateway_get_chat(service->gateway, who->jid, &memory, &chat, err);
	if (status == KEEP_OK && failed && !chat.errored)
		status = keep_gateway_mark_errored(service->gateway, who->jid, err);
	else if (status == KEEP_OK && !failed && chat.errored)
		status = keep_gateway_clear_errored(service->gateway, who->jid, err);
	keep_memory_release(&memory);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

static keep_status collect_once(keep_service *service, keep_bytes session, bool *has_more,
				keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection collection = {.count = 0};
	speaker who;
	keep_status status = keep_mailbox_collect(service->mailbox, session, COLLECT_MAX, KEEP_NOW,
						  &memory, &collection, err);

	*has_more = status == KEEP_OK && collection.has_more;
	if (status == KEEP_OK &&
	    (collection.count || collection.failed || collection.retried || collection.completed)) {
		status = find_speaker(service, session, &memory, &who, err);
		if (status == KEEP_OK)
			status = mark_chat(service, &who, &collection, err);
		for (size_t i = 0; i < collection.count && status == KEEP_OK; i++)
			status = send_item(service, &who, &collection.items[i], err);
	}
	if (status == KEEP_OK && collection.next_ms)
		kp_scheduler_wake(service->scheduler);
	keep_memory_release(&memory);
	return status;
}

static void collect_from(kp_collector *collector, keep_bytes session)
{
	keep_error err = KEEP_ERROR_INIT;
	bool has_more = true;
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && has_more)
		status = collect_once(collector->service, session, &has_more, &err);
	if (status == KEEP_OK || status == KEEP_NOT_FOUND)
		return;
	kp_count(collector->service, KP_COUNT_ERRORS, 1);
	kp_log(KEEP_LOG_WARNING, "collector: session %" KP_PRI ": %s", KP_ARG(session),
	       err.message);
	if (keep_status_can_retry(status) || status == KEEP_UNCERTAIN)
		look_at(collector, session, RETRY_MS);
}

static keep_status turn_news(void *ctx, int64_t *pause_ms, keep_error *err)
{
	kp_collector *collector = ctx;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_session_names names = {.count = 0};
	keep_status status =
		keep_mailbox_wait(collector->service->mailbox, WAIT_MS, &memory, &names, err);

	for (size_t i = 0; status == KEEP_OK && i < names.count; i++)
		collect_from(collector, names.items[i]);
	if (atomic_load(&collector->service->stopping))
		*pause_ms = STOPPING_MS;
	keep_memory_release(&memory);
	return status;
}

static keep_status turn_looks(void *ctx, int64_t *pause_ms, keep_error *err)
{
	kp_collector *collector = ctx;
	char session[KEEP_SEGMENT_MAX + 1];

	(void)err;
	if (take_look(collector, session, pause_ms))
		collect_from(collector, keep_bytes_of(session));
	return KEEP_OK;
}

/* ---------------------------------------------------------------- an outcome comes back */

/* "<session> <attempt> <key>" */
static bool read_return_to(keep_bytes text, keep_outcome_report *report)
{
	const char *first = text.len ? memchr(text.data, ' ', text.len) : NULL;
	const char *end = text.data + text.len, *second;

	second = first ? memchr(first + 1, ' ', (size_t)(end - first - 1)) : NULL;
	if (!second)
		return false;
	report->session = (keep_bytes){text.data, (size_t)(first - text.data)};
	report->key = (keep_bytes){second + 1, (size_t)(end - second - 1)};
	return kp_int_parse((keep_bytes){first + 1, (size_t)(second - first - 1)},
			    &report->attempt);
}

/* Does the mailbox know the end of this delivery? */
static keep_status look_over(keep_service *service, const keep_outcome_report *report, bool *over,
			     keep_error *err)
{
	static const char *const ends[] = {"delivered", "failed", "refused"};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_trace trace;
	keep_status status = keep_mailbox_trace(service->mailbox, report->session, report->key,
						KEEP_NOW, &memory, &trace, err);

	*over = false;
	for (size_t i = 0; status == KEEP_OK && i < KP_COUNT(ends); i++)
		*over = *over || kp_bytes_equal(trace.state, keep_bytes_of(ends[i]));
	keep_memory_release(&memory);
	return status;
}

/* The attempt that was meant is over, or was not begun yet. What can be neither begun nor completed
   for now (its time is not there, after a clock that was ahead) is not told, and asked again. */
static keep_status make_good(keep_service *service, keep_outcome_report *report, bool *told,
			     keep_error *err)
{
	keep_status status =
		keep_mailbox_begin_delivery(service->mailbox, report->session, report->key,
					    DELIVERY_LEASE_MS, KEEP_NOW, &report->attempt, err);

	if (status == KEEP_CONFLICT)
		report->attempt = 0;
	else if (status != KEEP_OK)
		return status;
	status = keep_mailbox_complete_delivery(service->mailbox, report, KEEP_NOW, err);
	return status == KEEP_CONFLICT ? look_over(service, report, told, err) : status;
}

/* *told: the mailbox knows, or nobody is there to tell. */
static keep_status return_outcome(keep_service *service, const keep_message *message, bool *told,
				  keep_error *err)
{
	keep_outcome_report report = {.platform_message_id = message->platform_id};
	char why[WHY_SIZE];
	keep_status status;

	*told = read_return_to(message->return_to, &report);
	if (!*told)
		return KEEP_OK; /* somebody else's to settle */
	report.outcome = KEEP_OUTCOME_DELIVERED;
	if (!kp_bytes_equal(message->status, KEEP_BYTES("delivered"))) {
		report.outcome = KEEP_OUTCOME_PERMANENT;
		(void)snprintf(why, sizeof why, "%.*s: %.*s", (int)message->status.len,
			       message->status.data,
			       (int)(message->last_error.len > 400 ? 400 : message->last_error.len),
			       message->last_error.data ? message->last_error.data : "");
		report.error = keep_bytes_of(why);
	}
	status = keep_mailbox_complete_delivery(service->mailbox, &report, KEEP_NOW, err);
	if (status == KEEP_CONFLICT)
		status = make_good(service, &report, told, err);
	if (status == KEEP_NOT_FOUND || status == KEEP_INVALID) {
		kp_log(KEEP_LOG_INFO, "collector: nobody to tell of a delivery: %s", err->message);
		*told = true;
		status = KEEP_OK;
	}
	if (status == KEEP_OK && *told)
		kp_count(service, KP_COUNT_SETTLED, 1);
	return status;
}

/* Answers to one chat follow each other: what waited behind this one may go now. */
static void look_behind(kp_collector *collector, const keep_message *message)
{
	keep_outcome_report report = {.attempt = 0};

	if (read_return_to(message->return_to, &report))
		kp_collector_look(collector, report.session);
}

/* Tell one, and settle it behind that. *told false: not for now. */
static keep_status tell_outcome(kp_collector *collector, const keep_message *message, bool *told,
				keep_error *err)
{
	keep_status status = return_outcome(collector->service, message, told, err);

	if (status != KEEP_OK || !*told)
		return status;
	look_behind(collector, message);
	status = keep_gateway_settle_outcome(collector->service->gateway, message->chat_jid,
					     message->id, message->attempts, err);
	return status == KEEP_CONFLICT ? KEEP_OK : status; /* it is tried once more */
}

static keep_status turn_outcomes(void *ctx, int64_t *pause_ms, keep_error *err)
{
	kp_collector *collector = ctx;
	keep_service *service = collector->service;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {.count = 0};
	keep_error failure = KEEP_ERROR_INIT;
	bool found = false, any_left = false;
	keep_status status = keep_gateway_wait_outcomes(service->gateway, WAIT_MS, &found, err);

	if (status == KEEP_OK && found)
		status = keep_gateway_outcomes(service->gateway, OUTCOMES_MAX, &memory, &list, err);
	for (size_t i = 0; status == KEEP_OK && i < list.count; i++) {
		keep_error one = KEEP_ERROR_INIT;
		bool told = false;

		if (tell_outcome(collector, &list.items[i], &told, &one) != KEEP_OK)
			failure = one; /* the others go on */
		any_left = any_left || !told;
	}
	if (status == KEEP_OK && failure.status != KEEP_OK)
		status = kp_fail(err, failure.status, "%s", failure.message);
	if (any_left)
		*pause_ms = RETRY_MS;
	if (atomic_load(&service->stopping))
		*pause_ms = STOPPING_MS;
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- start and stop */

static void name_loop(kp_collector *collector, kp_loop *loop, const char *name, kp_loop_turn *turn)
{
	loop->service = collector->service;
	loop->name = name;
	loop->turn = turn;
	loop->ctx = collector;
}

keep_status kp_collector_start(keep_service *service, kp_collector **out, keep_error *err)
{
	kp_collector *collector = kp_alloc_zero(sizeof *collector);
	keep_status status;

	if (!collector)
		return kp_fail_memory(err, "the collector");
	collector->service = service;
	pthread_mutex_init(&collector->mutex, NULL);
	name_loop(collector, &collector->news, "collector", turn_news);
	name_loop(collector, &collector->looks, "collector of sessions", turn_looks);
	name_loop(collector, &collector->outcomes, "collector of outcomes", turn_outcomes);
	*out = collector;
	status = kp_loop_start(&collector->news, err);
	if (status == KEEP_OK)
		status = kp_loop_start(&collector->looks, err);
	if (status == KEEP_OK)
		status = kp_loop_start(&collector->outcomes, err);
	if (status != KEEP_OK)
		kp_collector_stop(out);
	return status;
}

void kp_collector_stop(kp_collector **collector)
{
	kp_collector *self = *collector;

	*collector = NULL;
	if (!self)
		return;
	keep_mailbox_cancel_waits(self->service->mailbox);
	keep_gateway_cancel(self->service->gateway);
	kp_loop_stop(&self->news);
	kp_loop_stop(&self->looks);
	kp_loop_stop(&self->outcomes);
	while (self->list) {
		look *next = self->list->next;

		kp_free(self->list);
		self->list = next;
	}
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}
