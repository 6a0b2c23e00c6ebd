#ifndef KEEP_AGENT_H
#define KEEP_AGENT_H
/*
 * keep/agent.h - the agent's side of one session: take messages, answer them, remember things.
 *
 * It needs the session's folder alone (or the server): several processes of one agent may have it
 * open at once, inside of a container. The host's side is keep/mailbox.h.
 *
 * Rules that hold for all of it:
 *   - A claim is exclusive between processes, has a lease, and an attempt number that fences: who
 *     comes back after its lease moved on gets CONFLICT and has changed nothing.
 *   - complete_with stores replies and acknowledgement in one commit.
 *   - Texts, records and memory are as in keep/mailbox.h. A call that answers OK is on disk; claims
 *     alone may be lost in a power cut, and are then free again.
 *   - Every call may fail with BUSY, FULL, UNAVAILABLE, UNCERTAIN, CORRUPT, NO_MEMORY.
 *
 * Threads: an agent may be used by any number of threads at once.
 */
#include "keep/base.h"
#include "keep/mailbox.h"
#include "keep/mailbox_inbound_records.h"
#include "keep/mailbox_outbound_records.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct keep_agent keep_agent;

typedef struct keep_agent_options {
	size_t size;         /* sizeof(keep_agent_options): lets this struct grow */
	bool mount_safe;     /* rollback journal, no shared maps; else found out */
	bool lasting_leases; /* what is claimed stays claimed when this process ends */
	bool relaxed;        /* answer before the disk has it */
	int64_t timeout_ms;  /* waits for a lock or a server; 0: 5000 */
} keep_agent_options;

#define KEEP_AGENT_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(keep_agent_options)                                                 \
	}

/*
 * "<folder>" or "sqlite:<folder>", or "postgres://…?schema=mailbox&session=ID". Voids the claims of
 * earlier incarnations, and of processes of this one that are gone. NOT_FOUND: no session there.
 * UNAVAILABLE: the host's files need shared memory that is not to be had here, and the host did not
 * answer the request to do without; try again.
 */
KEEP_API keep_status keep_agent_open(const char *place, const keep_agent_options *options,
				     keep_agent **out, keep_error *err) KEEP_MUST_CHECK;
KEEP_API void keep_agent_close(keep_agent **agent);
/* The session's id, as its files say; empty when they do not. */
KEEP_API keep_bytes keep_agent_session_id(const keep_agent *agent);

/* ---------------------------------------------------------------- messages in */

typedef struct keep_claimed {
	keep_inbound_message message;
	int64_t attempt; /* from 1 */
	int64_t lease_until;
} keep_claimed;

typedef struct keep_claim_list {
	keep_claimed *items; /* by number; `system` rows after the others */
	size_t count;
} keep_claim_list;

#define KEEP_CLAIM_MAX 100

typedef struct keep_claim_request {
	size_t max;       /* 0: 1 */
	int64_t lease_ms; /* 0: 60000 */
	const keep_bytes
		*kinds; /* NULL: all; answers to a question that a process waits for are its */
	size_t kind_count;
} keep_claim_request;

/* Take messages that are pending and due and that nobody has. */
KEEP_API keep_status keep_agent_claim(keep_agent *agent, const keep_claim_request *request,
				      int64_t now_ms, keep_memory *memory, keep_claim_list *out,
				      keep_error *err) KEEP_MUST_CHECK;
/* A claim that is reported about. */
typedef struct keep_claim_ref {
	keep_bytes id;
	int64_t attempt; /* of the claim; 0: the message's one claim that is this agent's, or that
			    was made with lasting_leases */
} keep_claim_ref;

/* All of them (1 to KEEP_MAILBOX_LIST_MAX, none twice) or none: CONFLICT names the first whose
   claim is not ours any more. The lease then lasts lease_ms (0: 60000) from now_ms on. */
KEEP_API keep_status keep_agent_extend(keep_agent *agent, const keep_claim_ref *claims,
				       size_t count, int64_t lease_ms, int64_t now_ms,
				       keep_error *err) KEEP_MUST_CHECK;
/* As extend. Completing what this process has completed is OK. */
KEEP_API keep_status keep_agent_complete(keep_agent *agent, const keep_claim_ref *claims,
					 size_t count, int64_t now_ms,
					 keep_error *err) KEEP_MUST_CHECK;
/* The host retries them later, five times. Failing what this process has failed is OK. */
KEEP_API keep_status keep_agent_fail(keep_agent *agent, const keep_claim_ref *claims, size_t count,
				     keep_bytes error, int64_t now_ms,
				     keep_error *err) KEEP_MUST_CHECK;
/* Give claims back at once, without a failed attempt. */
KEEP_API keep_status keep_agent_release(keep_agent *agent, const keep_claim_ref *claims,
					size_t count, int64_t now_ms,
					keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- messages out */

typedef struct keep_send {
	keep_bytes id;      /* absent: a UUID; given by who may repeat it */
	keep_bytes kind;    /* absent: chat */
	keep_bytes content; /* JSON */
	keep_bytes to;      /* a destination's name; absent: the session's route */
	keep_bytes in_reply_to;
	int64_t deliver_after;  /* 0: now */
	keep_bytes recurrence;  /* cron, from deliver_after on */
	const keep_file *files; /* written to outbox/<id>/ before the row; named in content.files */
	size_t file_count;
} keep_send;

typedef struct keep_sent {
	char id[KEEP_SEGMENT_MAX + 1];
	int64_t seq;
	bool is_duplicate; /* the same was there */
} keep_sent;

/* DENIED: no destination has that name, and the message lists those there are. CONFLICT: another
   message has that id. NOT_FOUND: there is no route to answer on. */
KEEP_API keep_status keep_agent_send(keep_agent *agent, const keep_send *send, int64_t now_ms,
				     keep_sent *sent, keep_error *err) KEEP_MUST_CHECK;
/* Replies (at most KEEP_CLAIM_MAX; `sent` holds as many, or is NULL) and the acknowledgement of
   `claims` in one commit. A reply without in_reply_to answers the first of them, where that came
   from. Again with the same ids: OK, all duplicates; with another reply: CONFLICT. */
KEEP_API keep_status keep_agent_complete_with(keep_agent *agent, const keep_claim_ref *claims,
					      size_t count, const keep_send *replies,
					      size_t reply_count, int64_t now_ms, keep_sent *sent,
					      keep_error *err) KEEP_MUST_CHECK;
/* `number`: a message's seq, even or odd. NOT_FOUND: no such message. */
KEEP_API keep_status keep_agent_edit(keep_agent *agent, int64_t number, keep_bytes text,
				     int64_t now_ms, keep_sent *sent,
				     keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_agent_react(keep_agent *agent, int64_t number, keep_bytes emoji,
				      int64_t now_ms, keep_sent *sent,
				      keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- questions */

/* Send a question; `options` may be empty (any answer). *sent has its id. */
KEEP_API keep_status keep_agent_ask(keep_agent *agent, keep_bytes question,
				    const keep_bytes *options, size_t count, keep_bytes to,
				    int64_t now_ms, keep_sent *sent,
				    keep_error *err) KEEP_MUST_CHECK;
typedef struct keep_question_answer {
	keep_bytes question_id, option, user_id;
	bool is_expired; /* nobody answered in time: option is absent */
} keep_question_answer;
/* Wait for the answer and acknowledge it. *answered is false when the time is over: wait again, or
   a later claim takes the answer. Every waiter is told the same, also again later; what a claim
   took is the claimer's to acknowledge. NOT_FOUND: never asked. */
KEEP_API keep_status keep_agent_await_answer(keep_agent *agent, keep_bytes question_id,
					     int64_t timeout_ms, keep_memory *memory,
					     keep_question_answer *out, bool *answered,
					     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the rest */

KEEP_API keep_status keep_agent_state_get(keep_agent *agent, keep_bytes key, keep_memory *memory,
					  keep_session_value *out, keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_agent_state_set(keep_agent *agent, keep_bytes key, keep_bytes value,
					  int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;
/* `key` absent: all. */
KEEP_API keep_status keep_agent_state_clear(keep_agent *agent, keep_bytes key,
					    keep_error *err) KEEP_MUST_CHECK;
typedef struct keep_session_value_list {
	keep_session_value *items;
	size_t count;
} keep_session_value_list;
KEEP_API keep_status keep_agent_state_list(keep_agent *agent, keep_memory *memory,
					   keep_session_value_list *out,
					   keep_error *err) KEEP_MUST_CHECK;
typedef struct keep_session_destination_list {
	keep_session_destination *items;
	size_t count;
} keep_session_destination_list;
KEEP_API keep_status keep_agent_destinations(keep_agent *agent, keep_memory *memory,
					     keep_session_destination_list *out,
					     keep_error *err) KEEP_MUST_CHECK;
/* The bytes of a file that came with a message. As keep_mailbox_outbox_file. */
KEEP_API keep_status keep_agent_inbox_file(keep_agent *agent, keep_bytes message_id,
					   keep_bytes name, keep_buffer *out,
					   keep_error *err) KEEP_MUST_CHECK;
/* Tell the host that we live. */
KEEP_API keep_status keep_agent_heartbeat(keep_agent *agent, int64_t now_ms,
					  keep_error *err) KEEP_MUST_CHECK;
/* Wait until a message can be claimed. *ready is false when the time is over (timeout_ms; 0: only
   look, below 0: for ever) or keep_agent_cancel was called. */
KEEP_API keep_status keep_agent_wait(keep_agent *agent, int64_t timeout_ms, bool *ready,
				     keep_error *err) KEEP_MUST_CHECK;
/* Waits of now and later end at once. */
KEEP_API void keep_agent_cancel(keep_agent *agent);

#ifdef __cplusplus
}
#endif
#endif
