#ifndef KEEP_GATEWAY_H
#define KEEP_GATEWAY_H
/*
 * keep/gateway.h - a gateway's store: every message in and out, and who is to answer it.
 *
 * Messages and their deliveries, consumers with cursors, chats, routes, registered groups, agent
 * sessions, system messages, scheduled tasks, web accounts, mail threads, onboarding. In one SQLite
 * file that several daemons share, or in a PostgreSQL schema.
 *
 * What it is not: it calls no agent and no channel, and waits for nobody but in keep_gateway_wait.
 *
 * Rules that hold for all of it:
 *   - Order is the sequence number that the store gives each message of a chat, in the order of
 *     commits. Timestamps are data: late, equal or future ones lose and reorder nothing.
 *   - A call that answers OK is on disk (relaxed: with the next sync).
 *   - Texts are UTF-8 without a zero byte, at most KEEP_GATEWAY_TEXT_MAX bytes unless told
 *     otherwise; else INVALID with the column's name. An input text that is absent (data == NULL)
 *     means its default.
 *   - Records are those of keep/gateway_records.h. What a call answers lives in the caller's
 *     keep_memory; free it with keep_memory_release. It is empty or untouched after a failure.
 *   - Every call may fail with BUSY, FULL, UNAVAILABLE, UNCERTAIN, CORRUPT, NO_MEMORY, and every
 *     change of a read-only gateway with DENIED; comments tell the rest.
 *   - `now_ms` is given where the caller's clock may be another one; KEEP_NOW is the real one.
 *
 * Threads: a gateway may be used by any number of threads at once.
 */
#include "keep/base.h"
#include "keep/gateway_records.h"
#include "keep/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KEEP_NOW INT64_MIN

#define KEEP_GATEWAY_TEXT_MAX 1024 /* bytes of an id, name, folder, error … */
#define KEEP_GATEWAY_CONTENT_MAX                                                                   \
	(1024 * 1024)                 /* bytes of a content, prompt, body, JSON: else FULL */
#define KEEP_GATEWAY_LIST_MAX 1000    /* rows of one answer */
#define KEEP_GATEWAY_FUTURE_MS 600000 /* so far ahead a timestamp is not believed */

/* ---------------------------------------------------------------- open and close */

typedef struct keep_gateway keep_gateway;

typedef struct keep_gateway_options {
	size_t size;         /* sizeof(keep_gateway_options): lets this struct grow */
	const char *service; /* who opens: "gated", "timed", …; NULL: "keep" */
	bool create;         /* make what is missing; else that is NOT_FOUND */
	bool read_only;      /* changes nothing, waits for no writer and holds none up */
	bool relaxed;        /* answer before the disk has it */
	int64_t timeout_ms;  /* waits for a lock or a server; 0: 5000 */
	/* What is claimed stays claimed for the lease's time, also when this process ends before;
	   else its end gives back at once what it had. For commands that claim and exit. */
	bool lasting_leases;
} keep_gateway_options;

#define KEEP_GATEWAY_OPTIONS_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(keep_gateway_options)                                               \
	}

/*
 * "sqlite:<file>" or "postgres://…[?schema=gateway]". `options` may be NULL. Migrates an older
 * store, after a verified copy of it. NOT_FOUND: nothing there; TOO_NEW: a newer one, untouched;
 * CONFLICT: tables of another program (a messages.db of the source: keep_gateway_adopt reads it);
 * INVALID: the URL or the service's name (1 to 64 of a-z 0-9 _ -).
 */
KEEP_API keep_status keep_gateway_open(const char *url, const keep_gateway_options *options,
				       keep_gateway **out, keep_error *err) KEEP_MUST_CHECK;
/* Close and set *gateway to NULL; accepts NULL and a pointer to NULL. No call may be under way. */
KEEP_API void keep_gateway_close(keep_gateway **gateway);

/* ---------------------------------------------------------------- messages */

typedef enum keep_put {
	KEEP_PUT_INSERTED,
	KEEP_PUT_DUPLICATE, /* the same was there: nothing changed */
	KEEP_PUT_CONFLICT   /* another one has its key: nothing changed */
} keep_put;
/* "inserted", "duplicate", "conflict" */
KEEP_API const char *keep_put_name(keep_put put);

/* What became of one message. */
typedef struct keep_put_result {
	keep_put put;
	int64_t seq; /* its number in its chat; of a conflict: the stored one's */
} keep_put_result;

/*
 * Store an inbound message and make or renew its chat, in one transaction. Of `message` chat_jid,
 * id, sender, content, timestamp (0: now), verb, source (absent: what stands before the colon of
 * the jid), sender_name, topic, reply_to_id, forwarded_from and attachments are read, the rest is
 * the store's. `chat` may be NULL; else its name, channel (absent: as they were) and is_group.
 * Two messages are the same when all of those but source, sender_name and a timestamp of 0 agree.
 * CONFLICT: the chat has another message with that id; *result says so too.
 */
KEEP_API keep_status keep_gateway_put_message(keep_gateway *gateway, const keep_message *message,
					      const keep_chat *chat, keep_put_result *result,
					      keep_error *err) KEEP_MUST_CHECK;
/*
 * Store `count` (at most KEEP_GATEWAY_LIST_MAX) messages in one transaction; results[i] tells of
 * each, conflicts included. Any failure stores none.
 */
KEEP_API keep_status keep_gateway_put_messages(keep_gateway *gateway, const keep_message *messages,
					       size_t count, keep_put_result *results,
					       keep_error *err) KEEP_MUST_CHECK;
/*
 * Store what an agent says, to be delivered: is_from_me, status pending, due at once. As
 * keep_gateway_put_message, and group_folder (who answers), turn_id and return_to (to whom
 * keep_gateway_outcomes tells what came of it; absent: to nobody) are read as well; `id` is the
 * delivery's idempotency key, chosen before the first try. An absent id gets a UUID, written to
 * id_out (may be NULL). Which return_to it has makes no other message of it: the last one holds.
 */
KEEP_API keep_status keep_gateway_put_outbound(keep_gateway *gateway, const keep_message *message,
					       keep_put_result *result, char id_out[37],
					       keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_message_list {
	keep_message *items;
	size_t count;
} keep_message_list;

/* NOT_FOUND: the chat has none with that id, nor with that platform_id. */
KEEP_API keep_status keep_gateway_get_message(keep_gateway *gateway, keep_bytes jid, keep_bytes id,
					      keep_memory *memory, keep_message *out,
					      keep_error *err) KEEP_MUST_CHECK;
/*
 * A chat's input after `after_seq`, oldest first, at most `limit` (0: 100). When since_ms is not 0:
 * of those with a timestamp after it. Both bounds are exclusive; what the agent said is not in it.
 */
KEEP_API keep_status keep_gateway_messages_since(keep_gateway *gateway, keep_bytes jid,
						 int64_t after_seq, int64_t since_ms, size_t limit,
						 keep_memory *memory, keep_message_list *out,
						 keep_error *err) KEEP_MUST_CHECK;
/*
 * Everything of a chat before `before_seq` (0: the newest), newest first, at most `limit` (0: 50).
 */
KEEP_API keep_status keep_gateway_history(keep_gateway *gateway, keep_bytes jid, int64_t before_seq,
					  size_t limit, keep_memory *memory, keep_message_list *out,
					  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- consumers and cursors
 *
 * A consumer is a name under which somebody reads: of each chat it remembers up to which number it
 * has done everything. It begins before the first message, so a new consumer misses nothing. It is
 * made by the first of these calls that names it (a read-only gateway answers without making it).
 */

typedef struct keep_pending_chat {
	keep_bytes jid;
	int64_t seq;            /* the consumer's cursor */
	int64_t last_input_seq; /* beyond it */
	int64_t pending_since;  /* ms since 1970 */
	bool errored;           /* an agent failed on it */
} keep_pending_chat;

typedef struct keep_pending_list {
	keep_pending_chat *items;
	size_t count;
} keep_pending_list;

/* The chats with input beyond the cursor, longest waiting first, at most `limit` (0: 200). Costs
   what is pending, not what is stored. A row that cannot be read is passed over as below. */
KEEP_API keep_status keep_gateway_pending_chats(keep_gateway *gateway, keep_bytes consumer,
						size_t limit, keep_memory *memory,
						keep_pending_list *out,
						keep_error *err) KEEP_MUST_CHECK;
/*
 * Input beyond the consumer's cursors, at most `limit` (0: 200): each chat's in the order of its
 * numbers, chats by how long they wait, and each chat gets a share, so that one whose cursor does
 * not move starves nobody: every one of the first `limit` chats gets a message, and one that was
 * read a bit further goes to the end of the line. `jids` restricts it to `jid_count` chats (at most
 * 1000); NULL: all.
 *
 * A message that somebody else damaged holds up its own chat and no other: what comes before it is
 * answered, and then the chat is passed over, with a warning in the log. CORRUPT, naming chat,
 * number, table and column: nothing else is pending. keep_gateway_advance goes past it.
 */
KEEP_API keep_status keep_gateway_new_messages(keep_gateway *gateway, keep_bytes consumer,
					       const keep_bytes *jids, size_t jid_count,
					       size_t limit, keep_memory *memory,
					       keep_message_list *out,
					       keep_error *err) KEEP_MUST_CHECK;
/*
 * The consumer has done everything up to `seq` of the chat. Moves forward only: a smaller one
 * changes nothing. *cursor (may be NULL): where it is now. INVALID: beyond the newest message.
 * NOT_FOUND: no such chat.
 */
KEEP_API keep_status keep_gateway_advance(keep_gateway *gateway, keep_bytes consumer,
					  keep_bytes jid, int64_t seq, int64_t *cursor,
					  keep_error *err) KEEP_MUST_CHECK;
/* Put the cursor back (or forward) to `seq`, 0 to the newest number: read again from there. */
KEEP_API keep_status keep_gateway_rewind(keep_gateway *gateway, keep_bytes consumer, keep_bytes jid,
					 int64_t seq, keep_error *err) KEEP_MUST_CHECK;
/* 0 when the consumer has read nothing of the chat. */
KEEP_API keep_status keep_gateway_get_cursor(keep_gateway *gateway, keep_bytes consumer,
					     keep_bytes jid, int64_t *seq,
					     keep_error *err) KEEP_MUST_CHECK;
/* Forget a consumer and its cursors. NOT_FOUND: there is none. */
KEEP_API keep_status keep_gateway_remove_consumer(keep_gateway *gateway, keep_bytes consumer,
						  keep_error *err) KEEP_MUST_CHECK;

/*
 * Sleep until the consumer has something pending, at most timeout_ms (0: only look; below 0: for
 * ever); messages of other processes wake it, too. *pending: whether there is something.
 */
KEEP_API keep_status keep_gateway_wait(keep_gateway *gateway, keep_bytes consumer,
				       int64_t timeout_ms, bool *pending,
				       keep_error *err) KEEP_MUST_CHECK;
/* The same for deliveries that are due on a channel (absent: any). */
KEEP_API keep_status keep_gateway_wait_deliveries(keep_gateway *gateway, keep_bytes channel,
						  int64_t timeout_ms, bool *due,
						  keep_error *err) KEEP_MUST_CHECK;
/* End every wait under way and to come with "nothing", whatever there is; any thread. */
KEEP_API void keep_gateway_cancel(keep_gateway *gateway);

/* ---------------------------------------------------------------- deliveries
 *
 *     pending ── claim ──> sending ──> delivered | refused | uncertain
 *        ^                    │
 *        └─ retry, lease over ┴──────> failed        retry_delivery: failed, refused, uncertain ->
 * pending
 *
 * Deliveries of one chat go out in the order of their numbers: one that waits or is being sent
 * holds back the later ones of its chat, and of no other. A channel's adapter gives the message's
 * id as its idempotency key.
 */

/*
 * Take up to `limit` (0: 50) due deliveries of `channel` (the message's source; absent: any) for
 * lease_ms (0: 60000; at most a day). Each message's `attempts` is the number that its report must
 * carry. What a process that is proven dead was delivering is due at once. Chats take turns: the
 * first of each, the second of each … One that cannot be read is failed with why, and the others of
 * its chat go on.
 */
KEEP_API keep_status keep_gateway_claim_deliveries(keep_gateway *gateway, keep_bytes channel,
						   size_t limit, int64_t lease_ms, int64_t now_ms,
						   keep_memory *memory, keep_message_list *out,
						   keep_error *err) KEEP_MUST_CHECK;

typedef enum keep_delivery {
	KEEP_DELIVERY_DELIVERED,
	KEEP_DELIVERY_RETRY,    /* it failed; again later, until attempts_max: then failed */
	KEEP_DELIVERY_FAILED,   /* it failed for good */
	KEEP_DELIVERY_REFUSED,  /* the platform will not have it */
	KEEP_DELIVERY_UNCERTAIN /* the platform did not say */
} keep_delivery;
/* "delivered", "retry", … */
KEEP_API const char *keep_delivery_name(keep_delivery delivery);
KEEP_API bool keep_delivery_parse(keep_bytes name, keep_delivery *out);

typedef struct keep_delivery_report {
	keep_bytes jid, id;
	int64_t attempt; /* as claimed */
	keep_delivery delivery;
	keep_bytes platform_id; /* DELIVERED: the platform's id; may be absent */
	keep_bytes error;       /* all others: why */
	int64_t retry_at;       /* RETRY: when; 0: exponential, from 1 s to 1 h */
	int64_t attempts_max;   /* RETRY: in all; 0: 10 */
} keep_delivery_report;

/* CONFLICT: the lease moved on, or it is not being sent; nothing changed. The same report again is
   OK. */
KEEP_API keep_status keep_gateway_complete_delivery(keep_gateway *gateway,
						    const keep_delivery_report *report,
						    int64_t now_ms,
						    keep_error *err) KEEP_MUST_CHECK;
/* The lease lasts lease_ms from now. CONFLICT as above. */
KEEP_API keep_status keep_gateway_extend_delivery(keep_gateway *gateway, keep_bytes jid,
						  keep_bytes id, int64_t attempt, int64_t lease_ms,
						  int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;
/* failed, refused or uncertain: pending once more, and attempts_max counts anew. `attempts` itself
   goes on, for it fences late reports. */
KEEP_API keep_status keep_gateway_retry_delivery(keep_gateway *gateway, keep_bytes jid,
						 keep_bytes id, keep_error *err) KEEP_MUST_CHECK;
/* Those that ended badly (failed, refused, uncertain; absent: all three), newest first, before
   before_ms (0: now), at most `limit` (0: 50). What cannot be read is passed over with a warning in
   the log. */
KEEP_API keep_status keep_gateway_failed_deliveries(keep_gateway *gateway, keep_bytes status,
						    int64_t before_ms, size_t limit,
						    keep_memory *memory, keep_message_list *out,
						    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- feeds
 *
 * A message's `change` is the number of its latest change, over all chats of the store, in the
 * order of commits: it grows when the message is stored and with everything that becomes of it. So
 * who reads beyond the last number that it has seen misses nothing, also after a break, and ends
 * with every message as it is; one that changed several times meanwhile comes once.
 */

/*
 * Messages whose change is greater than after_change (0: all), in its order, at most `limit` (0:
 * 100). Costs what is new. What cannot be read is passed over with a warning in the log.
 */
KEEP_API keep_status keep_gateway_changes(keep_gateway *gateway, int64_t after_change, size_t limit,
					  keep_memory *memory, keep_message_list *out,
					  keep_error *err) KEEP_MUST_CHECK;
/* The newest change; 0 when there is none. */
KEEP_API keep_status keep_gateway_last_change(keep_gateway *gateway, int64_t *change,
					      keep_error *err) KEEP_MUST_CHECK;
/* Sleep until keep_gateway_changes has something, as keep_gateway_wait. */
KEEP_API keep_status keep_gateway_wait_changes(keep_gateway *gateway, int64_t after_change,
					       int64_t timeout_ms, bool *found,
					       keep_error *err) KEEP_MUST_CHECK;

/*
 * Deliveries that are over (delivered, failed, refused, uncertain) and whose return_to is there, by
 * the order of their changes, at most `limit` (0: 100). Each comes until it is settled. What cannot
 * be read is passed over with a warning in the log.
 */
KEEP_API keep_status keep_gateway_outcomes(keep_gateway *gateway, size_t limit, keep_memory *memory,
					   keep_message_list *out, keep_error *err) KEEP_MUST_CHECK;
/*
 * An outcome was taken: the message's return_to goes (which is no change of the feed's).
 * `attempts` as it was told. CONFLICT: it is not over any more, or over with another attempt, for
 * somebody retried it: nothing changed. Settled once more is OK.
 */
KEEP_API keep_status keep_gateway_settle_outcome(keep_gateway *gateway, keep_bytes jid,
						 keep_bytes id, int64_t attempts,
						 keep_error *err) KEEP_MUST_CHECK;
/* Sleep until keep_gateway_outcomes has something, as keep_gateway_wait. */
KEEP_API keep_status keep_gateway_wait_outcomes(keep_gateway *gateway, int64_t timeout_ms,
						bool *found, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- notes of a host */

/* Why an inbound message is not with an agent (absent: it is): its last_error, for people. */
KEEP_API keep_status keep_gateway_note_input(keep_gateway *gateway, keep_bytes jid, keep_bytes id,
					     keep_bytes why, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- chats */

typedef struct keep_chat_list {
	keep_chat *items;
	size_t count;
} keep_chat_list;

/* Make or renew a chat: name and channel (absent: as they were), is_group. */
KEEP_API keep_status keep_gateway_put_chat(keep_gateway *gateway, const keep_chat *chat,
					   keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_get_chat(keep_gateway *gateway, keep_bytes jid,
					   keep_memory *memory, keep_chat *out,
					   keep_error *err) KEEP_MUST_CHECK;
/* By jid, after `after_jid` (absent: from the first), at most `limit` (0: 100). */
KEEP_API keep_status keep_gateway_list_chats(keep_gateway *gateway, keep_bytes after_jid,
					     size_t limit, keep_memory *memory, keep_chat_list *out,
					     keep_error *err) KEEP_MUST_CHECK;
/* The web: chats whose last_message_at is after since_ms, newest first, at most 1000. */
KEEP_API keep_status keep_gateway_active_web_jids(keep_gateway *gateway, int64_t since_ms,
						  keep_memory *memory, keep_chat_list *out,
						  keep_error *err) KEEP_MUST_CHECK;
/* An agent failed on the chat; it is retried, never deleted. Makes a chat that is missing. */
KEEP_API keep_status keep_gateway_mark_errored(keep_gateway *gateway, keep_bytes jid,
					       keep_error *err) KEEP_MUST_CHECK;
/* An agent succeeded. NOT_FOUND: no such chat. */
KEEP_API keep_status keep_gateway_clear_errored(keep_gateway *gateway, keep_bytes jid,
						keep_error *err) KEEP_MUST_CHECK;
/* By jid, at most `limit` (0: 100). */
KEEP_API keep_status keep_gateway_errored_chats(keep_gateway *gateway, size_t limit,
						keep_memory *memory, keep_chat_list *out,
						keep_error *err) KEEP_MUST_CHECK;
/* Pin a chat to a folder, or a topic; absent or empty: no more. Makes a chat that is missing. */
KEEP_API keep_status keep_gateway_set_sticky_group(keep_gateway *gateway, keep_bytes jid,
						   keep_bytes folder,
						   keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_set_sticky_topic(keep_gateway *gateway, keep_bytes jid,
						   keep_bytes topic,
						   keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- routes
 *
 * A message is tried against the routes of its chat, then those of its platform ("telegram:"), then
 * those of "*"; within each by seq, then id. The first that matches, and whose target and group
 * take it, wins. docs/routing.md tells how each type compares.
 */
#define KEEP_ROUTE_PATTERN_MAX 200 /* bytes of a pattern */

typedef struct keep_route_list {
	keep_route *items;
	size_t count;
} keep_route_list;

/* One route that was looked at. */
typedef struct keep_route_step {
	keep_route route;
	bool matched;   /* the last step, when something matched */
	keep_bytes why; /* one sentence */
} keep_route_step;

typedef struct keep_resolution {
	bool matched;
	keep_route route;       /* the one that won */
	keep_bytes target;      /* its target, expanded */
	keep_route_step *steps; /* only when an explanation was asked for */
	size_t step_count;
} keep_resolution;

/*
 * jid (a chat, a platform such as "telegram:", or "*"), seq, type (absent: default), match (at most
 * 1024 bytes, a pattern 200; only a default goes without) and target are read. *id (may be NULL):
 * the new route's. INVALID: one of them, or a pattern that does not compile, with its position.
 * FULL: the jid has 20000 routes.
 */
KEEP_API keep_status keep_gateway_add_route(keep_gateway *gateway, const keep_route *route,
					    int64_t *id, keep_error *err) KEEP_MUST_CHECK;
/* NOT_FOUND: there is none with that id. */
KEEP_API keep_status keep_gateway_remove_route(keep_gateway *gateway, int64_t id,
					       keep_error *err) KEEP_MUST_CHECK;
/* Replace all routes of `jid` by these, whose own jid is not read; at most 20000. All or nothing.
 */
KEEP_API keep_status keep_gateway_set_routes(keep_gateway *gateway, keep_bytes jid,
					     const keep_route *routes, size_t count,
					     keep_error *err) KEEP_MUST_CHECK;
/* The routes of exactly `jid` (absent: of all), in the order of evaluation. */
KEEP_API keep_status keep_gateway_get_routes(keep_gateway *gateway, keep_bytes jid,
					     keep_memory *memory, keep_route_list *out,
					     keep_error *err) KEEP_MUST_CHECK;
/*
 * Where a message goes: chat_jid, content, sender, sender_name and verb are read; it need not be
 * stored. No match is OK with matched false. Searches for patterns are bounded (docs/routing.md):
 * one that takes too long does not match, and its step says so.
 */
KEEP_API keep_status keep_gateway_resolve(keep_gateway *gateway, const keep_message *message,
					  bool explain, keep_memory *memory, keep_resolution *out,
					  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- registered groups */

typedef struct keep_registered_group_list {
	keep_registered_group *items;
	size_t count;
} keep_registered_group_list;

/*
 * Register or renew. An absent text, JSON or token stays as it was (of a new group: empty, absent,
 * active); an empty token takes it away; requires_trigger is always read; added_at stays.
 * container_config is kept byte by byte. INVALID: the folder or the parent (segments of A-Z a-z 0-9
 * . _ -, not "." or "..", between slashes, at most 255 bytes), a trigger that is required and
 * empty, a token over 256 bytes. CONFLICT: the token is another group's; a state that is no step
 * from the present one.
 */
KEEP_API keep_status keep_gateway_put_group(keep_gateway *gateway,
					    const keep_registered_group *group,
					    keep_error *err) KEEP_MUST_CHECK;
/* The active groups, by jid (state absent), or those of a state: all of them. FULL: over 100000. */
KEEP_API keep_status keep_gateway_get_registered_groups(keep_gateway *gateway, keep_bytes state,
							keep_memory *memory,
							keep_registered_group_list *out,
							keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_get_group(keep_gateway *gateway, keep_bytes jid,
					    keep_memory *memory, keep_registered_group *out,
					    keep_error *err) KEEP_MUST_CHECK;
/* The groups of a folder, by jid. */
KEEP_API keep_status keep_gateway_groups_by_folder(keep_gateway *gateway, keep_bytes folder,
						   keep_memory *memory,
						   keep_registered_group_list *out,
						   keep_error *err) KEEP_MUST_CHECK;
/* The active group of a web token; compared in constant time. */
KEEP_API keep_status keep_gateway_group_by_slink_token(keep_gateway *gateway, keep_bytes token,
						       keep_memory *memory,
						       keep_registered_group *out,
						       keep_error *err) KEEP_MUST_CHECK;
/* active -> closed -> archived, and from both back to active. CONFLICT: another step, also one to
   the state that it has. NOT_FOUND: no such group. */
KEEP_API keep_status keep_gateway_set_group_state(keep_gateway *gateway, keep_bytes jid,
						  keep_bytes state,
						  keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_remove_group(keep_gateway *gateway, keep_bytes jid,
					       keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- sessions and state */

typedef struct keep_agent_run_list {
	keep_agent_run *items;
	size_t count;
} keep_agent_run_list;

typedef struct keep_agent_session_list {
	keep_agent_session *items;
	size_t count;
} keep_agent_session_list;

/* An absent topic is '', the default session. */
KEEP_API keep_status keep_gateway_get_session(keep_gateway *gateway, keep_bytes folder,
					      keep_bytes topic, keep_memory *memory,
					      keep_agent_session *out,
					      keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_set_session(keep_gateway *gateway, keep_bytes folder,
					      keep_bytes topic, keep_bytes session_id,
					      keep_error *err) KEEP_MUST_CHECK;
/* *removed (may be NULL): whether there was one. */
KEEP_API keep_status keep_gateway_delete_session(keep_gateway *gateway, keep_bytes folder,
						 keep_bytes topic, bool *removed,
						 keep_error *err) KEEP_MUST_CHECK;
/* The sessions of a folder, by topic, after `after_topic` (absent: from the first), at most `limit`
   (0: 100). */
KEEP_API keep_status keep_gateway_list_sessions(keep_gateway *gateway, keep_bytes folder,
						keep_bytes after_topic, size_t limit,
						keep_memory *memory, keep_agent_session_list *out,
						keep_error *err) KEEP_MUST_CHECK;
/* Write a run into the log; *id is for its end. started_at 0: now; session_id absent: not known
   yet. */
KEEP_API keep_status keep_gateway_session_started(keep_gateway *gateway, keep_bytes folder,
						  keep_bytes topic, keep_bytes session_id,
						  int64_t started_at, int64_t *id,
						  keep_error *err) KEEP_MUST_CHECK;
/* The end of a run: result, or error, or both (each at most KEEP_GATEWAY_CONTENT_MAX); ended_at 0:
   now, and then it is no part of "the same". NOT_FOUND: no such run. CONFLICT: it ended otherwise
   before; the same again is OK. */
KEEP_API keep_status keep_gateway_session_ended(keep_gateway *gateway, int64_t id, int64_t ended_at,
						keep_bytes result, keep_bytes error,
						int64_t message_count,
						keep_error *err) KEEP_MUST_CHECK;
/* Newest first, before `before_id` (0: all), at most `limit` (0: 20). */
KEEP_API keep_status keep_gateway_recent_sessions(keep_gateway *gateway, keep_bytes folder,
						  int64_t before_id, size_t limit,
						  keep_memory *memory, keep_agent_run_list *out,
						  keep_error *err) KEEP_MUST_CHECK;

/* NOT_FOUND: never set. The value, at most KEEP_GATEWAY_CONTENT_MAX bytes, replaces *value. */
KEEP_API keep_status keep_gateway_get_state(keep_gateway *gateway, keep_bytes key,
					    keep_buffer *value, keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_set_state(keep_gateway *gateway, keep_bytes key, keep_bytes value,
					    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- system messages
 *
 * Remarks for a folder's agent that begin no turn: they ride on the next message. Claimed under a
 * turn they come again when the turn fails; flushed they are gone. An answer has at most
 * KEEP_GATEWAY_LIST_MAX of them, the oldest (fewer when those are over 64 MiB); the rest waits.
 *
 * As text: <system_message origin="…" event="…">body</system_message> and a line feed each, further
 * attributes after these two in their order. Attributes are escaped; so is the body unless it
 * is_xml.
 */

typedef struct keep_system_message_list {
	keep_system_message *items;
	size_t count;
	keep_bytes text; /* all of them as elements, a line each; "" when none */
} keep_system_message_list;

/*
 * group_id (a folder), origin, event, body, attributes, dedup_key and is_xml are read. INVALID: a
 * body that is_xml and is not well-formed, has a document type or more than 64 levels; attributes
 * that are no object of texts with XML names (no colon; not origin, event, xmlns); characters that
 * XML 1.0 cannot hold. Duplicate and conflict as for messages, while one with the dedup_key waits
 * or is claimed; *id: its id.
 */
KEEP_API keep_status keep_gateway_enqueue_system_message(keep_gateway *gateway,
							 const keep_system_message *message,
							 keep_put *put, int64_t *id,
							 keep_error *err) KEEP_MUST_CHECK;
/* Return and delete all that wait and that no live turn has, in one transaction, in order. */
KEEP_API keep_status keep_gateway_flush_system_messages(keep_gateway *gateway, keep_bytes group,
							keep_memory *memory,
							keep_system_message_list *out,
							keep_error *err) KEEP_MUST_CHECK;
/* Take them for a turn until lease_ms (0: 600000; at most a week) are over or its process is gone.
   What the same turn has already is in the answer, too, with its lease renewed. */
KEEP_API keep_status keep_gateway_claim_system_messages(keep_gateway *gateway, keep_bytes group,
							keep_bytes turn_id, int64_t lease_ms,
							int64_t now_ms, keep_memory *memory,
							keep_system_message_list *out,
							keep_error *err) KEEP_MUST_CHECK;
/* The turn succeeded: delete what it has; *count (may be NULL): how many, 0 when it has none. A
   lease that is over does not matter as long as nobody else took them. CONFLICT: one of them has
   moved on (claimed by another turn, or flushed) since the turn's last claim; nothing is deleted.
 */
KEEP_API keep_status keep_gateway_complete_system_messages(keep_gateway *gateway, keep_bytes group,
							   keep_bytes turn_id, int64_t *count,
							   keep_error *err) KEEP_MUST_CHECK;
/* The turn failed: they wait again. */
KEEP_API keep_status keep_gateway_release_system_messages(keep_gateway *gateway, keep_bytes group,
							  keep_bytes turn_id, int64_t *count,
							  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- scheduled tasks
 *
 *     active <──> paused      active ──> completed (one time only, done; or its series is over)
 *     active ──> failed       (all attempts failed, and there is no next time)
 *     failed ──> active       (resume)
 *     active, paused, failed ──> cancelled
 *
 * Another program's `firing` is an active task that it has claimed: it is fired as soon as its
 * lease is over, absent, or its process proven dead.
 */

typedef struct keep_scheduled_task_list {
	keep_scheduled_task *items;
	size_t count;
} keep_scheduled_task_list;

typedef struct keep_task_run_list {
	keep_task_run *items;
	size_t count;
} keep_task_run_list;

/*
 * id (absent: a UUID, written to id_out, which may be NULL), owner, chat_jid, prompt, cron,
 * next_run (of a cron: not needed; without one: when, absent: now), timezone, context_mode,
 * missed_policy, dialect, anchor_at (0: next_run, else now), grace_ms, run_all_max (0: 10) are
 * read. `cron` is an expression of docs/schedule.md, or a number: an interval in ms, at least
 * 1000; empty is absent. INVALID: any of them, named; an id over 992 bytes. CONFLICT: the id is
 * taken by another task; *put tells of a duplicate (next_run and anchor_at count when given).
 */
KEEP_API keep_status keep_gateway_create_task(keep_gateway *gateway,
					      const keep_scheduled_task *task, keep_put *put,
					      char id_out[37], keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_get_task(keep_gateway *gateway, keep_bytes id,
					   keep_memory *memory, keep_scheduled_task *out,
					   keep_error *err) KEEP_MUST_CHECK;
/* The tasks of an owner (absent: of all), newest first, of a status (absent: any), at most `limit`
   (0: 100). */
KEEP_API keep_status keep_gateway_list_tasks(keep_gateway *gateway, keep_bytes owner,
					     keep_bytes status, size_t limit, keep_memory *memory,
					     keep_scheduled_task_list *out,
					     keep_error *err) KEEP_MUST_CHECK;
/*
 * CONFLICT: not a step of the drawing. resume computes next_run anew, from now; one time only keeps
 * one that is still ahead, else it is due now. INVALID: its cron or zone cannot be read any more.
 */
KEEP_API keep_status keep_gateway_pause_task(keep_gateway *gateway, keep_bytes id,
					     keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_resume_task(keep_gateway *gateway, keep_bytes id, int64_t now_ms,
					      keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_cancel_task(keep_gateway *gateway, keep_bytes id,
					      keep_error *err) KEEP_MUST_CHECK;
/*
 * Fire it now, beside its schedule, in any state but cancelled (CONFLICT); the task stays as it is.
 * scheduled_for is now, or up to 10 s later: a time of neither the log nor the schedule. *run (may
 * be NULL) is what was logged.
 */
KEEP_API keep_status keep_gateway_run_task_now(keep_gateway *gateway, keep_bytes id, int64_t now_ms,
					       keep_memory *memory, keep_task_run *run,
					       keep_error *err) KEEP_MUST_CHECK;
/*
 * Fire what is due: for each run, in one transaction, its message (id "sched-<task>-<ms>", sender
 * "scheduler" or "scheduler-isolated:<task>", source "scheduler", sent now), its line in the log
 * and the task's next_run. A run (task, scheduled time) becomes one message, whoever ticks and
 * however often. What the missed_policy leaves out is one line "skipped" that says how many and
 * since when.
 *
 * A task that fails (its cron cannot be read, its message conflicts) harms no other: it is logged
 * as an error and tried again after 1, 2, 4, 8 minutes; after five attempts its series goes on to
 * the next time, and what has none is failed.
 *
 * *out: what was logged. At most `limit` tasks (0: 100); *next_run (may be NULL): when the next is
 * due, 0: none; a time that is not after now: call again. What a failure of the database leaves
 * undone is due then; it is told only if nothing was fired before it.
 */
KEEP_API keep_status keep_gateway_fire_due_tasks(keep_gateway *gateway, int64_t now_ms,
						 size_t limit, keep_memory *memory,
						 keep_task_run_list *out, int64_t *next_run,
						 keep_error *err) KEEP_MUST_CHECK;
/*
 * What the agent made of a run: duration, result, and an error that makes its status error; result
 * and error up to KEEP_GATEWAY_CONTENT_MAX. The same report again changes nothing. NOT_FOUND: no
 * such run; CONFLICT: it has not become a message.
 */
KEEP_API keep_status keep_gateway_report_task_run(keep_gateway *gateway, keep_bytes task_id,
						  int64_t scheduled_for, int64_t duration_ms,
						  keep_bytes result, keep_bytes error,
						  keep_error *err) KEEP_MUST_CHECK;
/* The runs of a task, newest first, before `before_id` (0: all), at most `limit` (0: 50). */
KEEP_API keep_status keep_gateway_task_runs(keep_gateway *gateway, keep_bytes task_id,
					    int64_t before_id, size_t limit, keep_memory *memory,
					    keep_task_run_list *out,
					    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- mail */

typedef struct keep_mail {
	keep_bytes message_id;         /* with or without angle brackets */
	const keep_bytes *in_reply_to; /* of the header, at most 100 */
	size_t in_reply_to_count;
	const keep_bytes *references; /* of the header, oldest first, at most 1000 */
	size_t reference_count;
	keep_bytes subject, from;
} keep_mail;

/*
 * The thread that a mail belongs to: the one that its own id is in, else the first that an
 * In-Reply-To is in, else the first of the references from the newest on, else a new one; in one
 * transaction, and all ids of the mail belong to it from then on. The first mapping of an id
 * stays. A new one gets its name from the mail's own id, and its subject and from. Ids in the
 * headers that cannot be one (empty, over KEEP_GATEWAY_TEXT_MAX, with control characters) are
 * passed over. *is_new (may be NULL): it was made now.
 */
KEEP_API keep_status keep_gateway_thread_for(keep_gateway *gateway, const keep_mail *mail,
					     keep_memory *memory, keep_email_thread *out,
					     bool *is_new, keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_get_thread(keep_gateway *gateway, keep_bytes thread_id,
					     keep_memory *memory, keep_email_thread *out,
					     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- onboarding
 *
 *     awaiting_name ── submit_name ──> pending ──> approved | rejected
 *     awaiting_name, pending ──> rejected
 *
 * Every step is a compare-and-set: CONFLICT when it is not where the drawing says.
 */

typedef struct keep_onboarding_list {
	keep_onboarding *items;
	size_t count;
} keep_onboarding_list;

/* A chat asks. *put: duplicate when it asked before, whatever came of it. */
KEEP_API keep_status keep_gateway_start_onboarding(keep_gateway *gateway, keep_bytes jid,
						   keep_bytes sender, keep_bytes channel,
						   keep_put *put, keep_error *err) KEEP_MUST_CHECK;
/* It was asked for a name at prompted_at (0: now). */
KEEP_API keep_status keep_gateway_mark_prompted(keep_gateway *gateway, keep_bytes jid,
						int64_t prompted_at,
						keep_error *err) KEEP_MUST_CHECK;
/* INVALID: not [a-z0-9-]{1,63}. CONFLICT: a group or an open request has the name, or the state. */
KEEP_API keep_status keep_gateway_submit_name(keep_gateway *gateway, keep_bytes jid,
					      keep_bytes name, keep_error *err) KEEP_MUST_CHECK;
/*
 * Make the group (its folder is the name), its routes (default, and the prefixes @ and #) and the
 * welcome, an inbound message of the sender "onboarding" (absent: a text of ours), in one
 * transaction.
 */
KEEP_API keep_status keep_gateway_approve_onboarding(keep_gateway *gateway, keep_bytes jid,
						     keep_bytes decided_by, keep_bytes welcome,
						     keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_reject_onboarding(keep_gateway *gateway, keep_bytes jid,
						    keep_bytes decided_by,
						    keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_gateway_get_onboarding(keep_gateway *gateway, keep_bytes jid,
						 keep_memory *memory, keep_onboarding *out,
						 keep_error *err) KEEP_MUST_CHECK;
/* Of a status (absent: any), oldest first, at most `limit` (0: 100). */
KEEP_API keep_status keep_gateway_list_onboarding(keep_gateway *gateway, keep_bytes status,
						  size_t limit, keep_memory *memory,
						  keep_onboarding_list *out,
						  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- migrations of other daemons */

typedef struct keep_gateway_migration {
	const char *name;         /* "add_mood" */
	const char *sql;          /* statements; for both backends unless the next one is there */
	const char *sql_postgres; /* NULL: `sql` */
} keep_gateway_migration;

/*
 * Bring the tables of `service` to version `count`: migration i makes version i + 1. All that is
 * pending runs in one exclusive transaction with its rows in `migrations`, after a verified copy of
 * the store; a failure leaves the store as it was and names the migration. Idempotent, and safe
 * when several daemons start at once. INVALID: the service's name, or "gateway"; SQL that begins or
 * ends a transaction, or that changes the gateway's own tables. CORRUPT: an applied one has
 * changed. TOO_NEW: the store has more of them.
 */
KEEP_API keep_status keep_gateway_migrate(keep_gateway *gateway, const char *service,
					  const keep_gateway_migration *migrations, size_t count,
					  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- adoption */

typedef struct keep_adoption {
	int64_t messages, chats, routes, groups, sessions, session_log, system_messages, tasks;
	int64_t task_runs, state, users, auth_sessions, user_groups, email_threads, onboarding;
	int64_t cursors;    /* made from the source's cursors */
	int64_t other_rows; /* kept in adopted_rows: whole rows, or columns without a place here */
} keep_adoption;

/*
 * Take over everything that a messages.db of the source holds, read-only, into a gateway without
 * messages, in one transaction. Messages get their numbers in the order of their timestamps, then
 * of their insertion; the cursors of the source become those of the consumers "router"
 * (lastTimestamp) and "agent" (lastAgentTimestamp, and the groups' own). What has no place here is
 * kept in adopted_rows. NOT_FOUND: no such file. INVALID: it is not the source's. CONFLICT: the
 * gateway has messages already. CORRUPT: a row that cannot be read, named.
 */
KEEP_API keep_status keep_gateway_adopt(keep_gateway *gateway, const char *file, keep_adoption *out,
					keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#include "keep/gateway_accounts.h"
#endif
