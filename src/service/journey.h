#ifndef KP_JOURNEY_H
#define KP_JOURNEY_H
/*
 * journey.h - what router, collector and trace share: how a gateway's message is called and written
 * in a mailbox, and which session it goes to.
 *
 *   journey_message.c  names and contents, both ways
 *   journey_place.c    agent groups, chats and sessions, found or made, and remembered
 *   journey_trace.c    where a message is, through both stores
 *
 * Threads: a kp_places belongs to one thread; the rest is constant or the caller's.
 */
#include "service/host.h"

/* The folder of the agent that answers where nothing else says who does. */
#define KP_DEFAULT_FOLDER "main"

/* ---------------------------------------------------------------- names (journey_message.c) */

#define KP_POST_ID_SIZE 48

/* The id of a gateway's message in every mailbox: "m<seq>-<16 hex digits of the chat's hash>". */
keep_status kp_post_id(keep_bytes chat_jid, int64_t seq, char out[KP_POST_ID_SIZE],
		       keep_error *err) KEEP_MUST_CHECK;
/* *seq: of such an id when it is of that chat; else 0. */
keep_status kp_post_id_seq(keep_bytes id, keep_bytes chat_jid, int64_t *seq,
			   keep_error *err) KEEP_MUST_CHECK;

/* Append each of them, whole: KP_ARG is for messages and cuts what is long. */
keep_status kp_append_all(keep_buffer *out, const keep_bytes *parts, size_t count,
			  keep_error *err) KEEP_MUST_CHECK;

/* "telegram:42" is the chat 42 on telegram; a jid without a colon is a chat of that name on the
   channel `source`. No chat is on the channel "agent": that is a mailbox's word for agents. */
void kp_jid_split(keep_bytes jid, keep_bytes source, keep_bytes *channel_type,
		  keep_bytes *platform_id);
/* The way back: the jid of a chat of the gateway; *channel is where its deliveries go. Lives in
   `memory`. */
keep_status kp_jid_find(keep_gateway *gateway, keep_bytes channel_type, keep_bytes platform_id,
			keep_memory *memory, keep_bytes *jid, keep_bytes *channel,
			keep_error *err) KEEP_MUST_CHECK;

/* What an agent gets: {"text":…,"id":…,"chat":…,"senderId":…,…}; docs/agents.md names all. */
keep_status kp_content_of_message(const keep_message *message, keep_buffer *out,
				  keep_error *err) KEEP_MUST_CHECK;
/* What a channel gets of an agent's content: its text, and all that is not text as JSON to attach
   (empty: nothing). `files` are named with where they are to be had. */
keep_status kp_text_of_content(const keep_collected *item, keep_bytes session, keep_buffer *text,
			       keep_buffer *attachments, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- places (journey_place.c) */

typedef struct kp_places kp_places;

keep_status kp_places_open(keep_service *service, kp_places **out, keep_error *err) KEEP_MUST_CHECK;
void kp_places_close(kp_places **places);
/* The session in which the folder's agent answers that chat and topic; made when it is new. */
keep_status kp_places_session(kp_places *places, keep_bytes folder, const keep_message *message,
			      char session[KEEP_SEGMENT_MAX + 1], keep_error *err) KEEP_MUST_CHECK;
/* What is remembered of it is wrong: it was closed or removed. */
void kp_places_forget(kp_places *places);

/* ---------------------------------------------------------------- traces (journey_trace.c) */

/* Append {"chat","id","steps":[{"at","where","what","detail"}],"state","why"}. NOT_FOUND: the chat
   has no such message. */
keep_status kp_journey_trace(keep_gateway *gateway, keep_mailbox *mailbox, keep_bytes chat_jid,
			     keep_bytes id, keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;

#endif
