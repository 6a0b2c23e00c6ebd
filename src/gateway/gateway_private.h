#ifndef KP_GATEWAY_PRIVATE_H
#define KP_GATEWAY_PRIVATE_H
/*
 * gateway_private.h - what the files of src/gateway share.
 *
 * A public function checks its inputs, then hands one function to kp_gateway_read or
 * kp_gateway_change (sql/store.h). Those run it on a connection whose named statements (the *.sql
 * files beside this one, one a topic, written once for both dialects) are prepared.
 *
 * Threads: as keep/gateway.h; what is mutable in struct keep_gateway has its own lock.
 */
#include "keep/gateway.h"
#include "schedule/due.h"
#include "sql/store.h"

#include "gateway/gateway_records.h"
#include "gateway_statements.h" /* KP_GATEWAY_<NAME>, made from the *.sql files */

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define KP_SERVICE_SIZE 65

_Static_assert(KEEP_GATEWAY_TEXT_MAX == KP_KEY_MAX, "the checks of core hold it");
_Static_assert(KEEP_GATEWAY_CONTENT_MAX == KP_CONTENT_MAX, "the checks of core hold it");

/* What changes are news of: numbers for kp_store_wait. */
enum kp_gateway_topic { KP_TOPIC_INPUT, KP_TOPIC_DELIVERY, KP_TOPIC_CHANGE };

struct keep_gateway {
	kp_store store;
	char service[KP_SERVICE_SIZE];
	char owner[KP_OWNER_TEXT_SIZE]; /* this process, in lease columns */
	bool relaxed;
	struct kp_gateway_routes *routes; /* gateway_routes.c: compiled routes */
};

/* -------------------------------- reading and changing (gateway.c) */

/* As sql/store.h says. */
static inline keep_status kp_gateway_read(keep_gateway *gateway, kp_store_query *query, void *ctx,
					  keep_error *err)
{
	return kp_store_read(&gateway->store, query, ctx, err);
}
static inline keep_status kp_gateway_list(keep_gateway *gateway, size_t statement,
					  const kp_value *values, size_t value_count,
					  const kp_record *record, kp_arena *arena, void *items,
					  size_t *count, keep_error *err)
{
	return kp_store_list(&gateway->store, statement, values, value_count, record, arena, items,
			     count, err);
}
static inline keep_status kp_gateway_get(keep_gateway *gateway, size_t statement,
					 const kp_value *values, size_t value_count,
					 const kp_record *record, kp_arena *arena, void *object,
					 bool *found, keep_error *err)
{
	return kp_store_get(&gateway->store, statement, values, value_count, record, arena, object,
			    found, err);
}
/* Does the statement give a row? */
static inline keep_status kp_gateway_has(keep_gateway *gateway, size_t statement,
					 const kp_value *values, size_t value_count, bool *has_row,
					 keep_error *err)
{
	return kp_store_get(&gateway->store, statement, values, value_count, NULL, NULL, NULL,
			    has_row, err);
}

/* Who is woken after a change; bits. */
enum kp_gateway_news {
	KP_NEWS_NONE = 0,
	KP_NEWS_INPUT = 1 << KP_TOPIC_INPUT, /* consumers: keep_gateway_wait */
	/* adapters: keep_gateway_wait_deliveries; who gave them: keep_gateway_wait_outcomes */
	KP_NEWS_DELIVERY = 1 << KP_TOPIC_DELIVERY,
	/* Of a message, and nothing else: keep_gateway_wait_changes, which all others wake, too. */
	KP_NEWS_CHANGE = 1 << KP_TOPIC_CHANGE
};
static inline keep_status kp_gateway_change(keep_gateway *gateway, kp_apply *apply, void *ctx,
					    unsigned news, keep_error *err)
{
	return kp_store_change(&gateway->store, apply, ctx, news, err);
}

/* The wall clock, or the caller's. */
static inline int64_t kp_gateway_now(int64_t now_ms)
{
	return now_ms == KEEP_NOW ? kp_clock_ms() : now_ms;
}

/* "telegram" of "telegram:42"; empty without a colon. */
static inline keep_bytes kp_channel_of(keep_bytes jid)
{
	const char *colon = memchr(jid.data, ':', jid.len);

	return colon ? (keep_bytes){jid.data, (size_t)(colon - jid.data)} : KEEP_BYTES("");
}

/* -------------------------------- consumers */

/* Make a consumer that is not there, before every chat's first message; OK when it is. */
keep_status kp_consumer_make(keep_gateway *gateway, keep_bytes consumer, int64_t now_ms,
			     keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- routes (gateway_routes.c) */

keep_status kp_gateway_routes_open(keep_gateway *gateway, keep_error *err) KEEP_MUST_CHECK;
void kp_gateway_routes_close(keep_gateway *gateway); /* also when it was not opened */
/* Inside a writing transaction, by everyone who changes routes of `jid`: compiled ones are over. */
keep_status kp_routes_changed(kp_lease *lease, keep_bytes jid, keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- messages (gateway_messages.c) */

/*
 * Inside a writing transaction: store one message and renew its chat. `message` is complete but for
 * seq, which is given out here; `chat` may be NULL. The one way in for messages: adapters',
 * agents', the scheduler's, onboarding's.
 */
keep_status kp_message_put(kp_lease *lease, keep_message *message, const keep_chat *chat,
			   bool has_timestamp, keep_put_result *result,
			   keep_error *err) KEEP_MUST_CHECK;
/* An inbound message of this store itself: defaults for all but what is named. */
keep_message kp_message_inbound(keep_bytes jid, keep_bytes id, keep_bytes sender,
				keep_bytes content, int64_t now_ms);

/* What gateway_batch.c does with many, kp_message_put does with one: check, complete, then inside
   of a writing transaction probe, add, and save the chat. */
keep_status kp_message_check(const keep_message *message, keep_error *err) KEEP_MUST_CHECK;
/* Everything that is the store's to say of an inbound message, and the defaults. */
keep_message kp_message_complete(const keep_message *given, int64_t now_ms);
/* "telegram" of "telegram:42"; empty without a colon. */
keep_bytes kp_channel_of(keep_bytes jid);

/* A chat that messages are being put into. */
typedef struct kp_chat_state {
	keep_bytes jid;
	bool exists;    /* before this transaction */
	bool has_news;  /* something was added */
	bool has_input; /* and it was input */
	int64_t last_seq, last_input_seq;
	kp_value last_message_at;
	int64_t now_ms;
} kp_chat_state;

/* Read a row of the statements probe_message(s): the chat, and whether it has the message already,
   the same or another one under its id. */
keep_status kp_message_probe(kp_sql_stmt *stmt, const keep_message *message, bool has_timestamp,
			     kp_chat_state *chat, bool *stored, keep_put_result *result,
			     keep_error *err) KEEP_MUST_CHECK;
/* Where a field (a literal) is in a row of messages; the chat's jid is its first column. */
int kp_message_column(const char *name);
/* Are they the same as far as a replay is concerned? */
bool kp_message_is_same(const keep_message *stored, const keep_message *given, bool has_timestamp);
/* Give the message its number and insert it. */
keep_status kp_message_add(kp_lease *lease, keep_message *message, kp_chat_state *chat,
			   keep_error *err) KEEP_MUST_CHECK;
/* Renew the chat and its cursors after the last one. `given` may be NULL. */
keep_status kp_message_save_chat(kp_lease *lease, const kp_chat_state *state,
				 const keep_chat *given, keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- accounts (gateway_accounts.c) */

/* Inside a transaction: the account of that sub. */
keep_status kp_user_find(kp_lease *lease, keep_bytes sub, kp_arena *arena, keep_auth_user *user,
			 bool *found, keep_error *err) KEEP_MUST_CHECK;

#endif
