#ifndef KEEP_MAILBOX_H
#define KEEP_MAILBOX_H
/*
 * keep/mailbox.h - the host's side of a mailbox: sessions of agents, what is posted to them and
 * what they say.
 *
 * A session is two sides with one writer each: inbound, which the host writes and the agent reads,
 * and outbound, the other way round. On SQLite each side is a file in the session's folder, which
 * is all that an agent's container needs; on PostgreSQL they are tables of the schema. The registry
 * of agent groups, chats and wirings is in keep/mailbox_registry.h, the agent's side in
 * keep/agent.h.
 *
 * What it is not: it starts no agent and calls no channel.
 *
 * Rules that hold for all of it:
 *   - What an agent's side wrote is not trusted: a malformed row is set aside, with a log line and
 *     a refusal that trace tells, a damaged outbound side fails its own session alone (CORRUPT).
 *   - A message's identity is Keep's; the platform's id of it is its dedup key.
 *   - A call that answers OK is on disk (relaxed: with the next sync). keep_mailbox_collect need
 *     not be: what it loses in a power cut it takes over again from the agent's side.
 *   - Texts are UTF-8 without a zero byte; an absent input text means its default. Ids of agent
 *     groups and sessions are 1 to KEEP_SEGMENT_MAX of A-Z a-z 0-9 . _ -, and begin with none of
 *     . and -.
 *   - Records are those of keep/mailbox_records.h, keep/mailbox_inbound_records.h and
 *     keep/mailbox_outbound_records.h. What a call answers lives in the caller's keep_memory.
 *   - Every call may fail with BUSY, FULL, UNAVAILABLE, UNCERTAIN, CORRUPT, NO_MEMORY, and every
 *     change of a read-only mailbox with DENIED; comments tell the rest. A session that is not
 *     there is NOT_FOUND; a closed one takes nothing: CONFLICT.
 *   - `now_ms` is given where the caller's clock may be another one; KEEP_NOW is the real one.
 *
 * Threads: a mailbox may be used by any number of threads at once.
 */
#include "keep/base.h"
#include "keep/mailbox_inbound_records.h"
#include "keep/mailbox_outbound_records.h"
#include "keep/mailbox_records.h"
#include "keep/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef KEEP_NOW
#define KEEP_NOW INT64_MIN
#endif

#define KEEP_SEGMENT_MAX 128               /* bytes of a name that becomes a folder or a file */
#define KEEP_MAILBOX_TEXT_MAX 1024         /* bytes of an id, a name, an address, an error */
#define KEEP_MAILBOX_CONTENT_MAX (1 << 20) /* bytes of a content: else FULL */
#define KEEP_MAILBOX_FILE_MAX (64 << 20)   /* bytes of an attachment: else FULL */
#define KEEP_MAILBOX_LIST_MAX 1000         /* rows of one answer */
#define KEEP_MAILBOX_ATTEMPTS 6            /* the first one and five retries */
#define KEEP_QUESTION_MS INT64_C(86400000) /* a question may be answered so long */

/* ---------------------------------------------------------------- open and close */

typedef struct keep_mailbox keep_mailbox;

typedef struct keep_mailbox_options {
	size_t size;     /* sizeof(keep_mailbox_options): lets this struct grow */
	bool create;     /* make what is missing; else that is NOT_FOUND */
	bool read_only;  /* changes nothing */
	bool relaxed;    /* answer before the disk has it */
	bool mount_safe; /* sessions for agents behind a virtual machine or a network file system:
			    rollback journals, no shared maps. Else found out per session */
	bool lasting_leases; /* as keep_gateway_options: deliveries begun stay leased when we end */
	int64_t timeout_ms;  /* waits for a lock or a server; 0: 5000 */
	int64_t agent_uid;   /* who owns new session folders and files; 0: who makes them */
	int64_t agent_gid;
	size_t sessions_max; /* sessions kept open at once; 0: what the limit of descriptors allows
			      */
} keep_mailbox_options;

#define KEEP_MAILBOX_OPTIONS_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(keep_mailbox_options)                                               \
	}

/*
 * "sqlite:<folder>", which holds registry.db and sessions/<agent group>/<session>/, or
 * "postgres://…[?schema=mailbox]". `options` may be NULL. NOT_FOUND: nothing there; TOO_NEW: a
 * newer one, untouched; CONFLICT: tables of another program; INVALID: the URL.
 */
KEEP_API keep_status keep_mailbox_open(const char *url, const keep_mailbox_options *options,
				       keep_mailbox **out, keep_error *err) KEEP_MUST_CHECK;
/* Close and set *mailbox to NULL; accepts NULL and a pointer to NULL. No call may be under way. */
KEEP_API void keep_mailbox_close(keep_mailbox **mailbox);

/* ---------------------------------------------------------------- posting */

typedef struct keep_file {
	keep_bytes name;  /* one segment: no separator, not . or .., no control characters */
	keep_bytes bytes; /* what is in it */
} keep_file;

typedef struct keep_post {
	keep_bytes id;      /* absent: a UUID. Given by who repeats a hand-over with its own key */
	keep_bytes kind;    /* absent: chat */
	keep_bytes content; /* JSON */
	int64_t timestamp;  /* 0: now */
	keep_bytes dedup_key; /* the platform's id of the message; absent: none */
	keep_bytes channel_type, platform_id, thread_id; /* where it came from */
	int64_t process_after;                           /* 0: due now */
	keep_bytes recurrence; /* cron; the kind is then task. Due at its next time, if not given */
	keep_bytes time_zone;  /* of the recurrence; absent: UTC */
	keep_bytes missed;     /* run_once, skip, run_all; absent: run_once */
	keep_bytes series_id;  /* tasks; absent: the message's id. CONFLICT: one of it is live */
	keep_bytes source_session_id, source_out_id; /* agent to agent: collect's to set */
	const keep_file *files; /* written to inbox/<id>/ before the row appears */
	size_t file_count;
} keep_post;

typedef enum keep_posted {
	KEEP_POSTED_INSERTED,
	KEEP_POSTED_DUPLICATE, /* the same message was there: nothing changed */
	KEEP_POSTED_REUSED     /* inserted, though another message had that dedup key */
} keep_posted;
KEEP_API const char *keep_posted_name(keep_posted posted); /* "inserted", "duplicate", "reused" */

typedef struct keep_post_result {
	keep_posted posted;
	int64_t seq;
	char id[KEEP_SEGMENT_MAX + 1]; /* of a duplicate: the stored one's */
} keep_post_result;

/*
 * Store a message to the session's agent and wake it. The same dedup key from the same chat with
 * the same kind and content is a duplicate, with other content a new message. CONFLICT: another
 * message has that id; with the same content it is a duplicate. INVALID: content that is no JSON, a
 * cron expression or a zone that is none.
 */
KEEP_API keep_status keep_mailbox_post(keep_mailbox *mailbox, keep_bytes session,
				       const keep_post *post, keep_post_result *result,
				       keep_error *err) KEEP_MUST_CHECK;
/* At most KEEP_MAILBOX_LIST_MAX in one transaction; any failure stores none. */
KEEP_API keep_status keep_mailbox_post_many(keep_mailbox *mailbox, keep_bytes session,
					    const keep_post *posts, size_t count,
					    keep_post_result *results,
					    keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_inbound_message_list {
	keep_inbound_message *items;
	size_t count;
} keep_inbound_message_list;

/* The session's messages above `after_seq` by number; `status` absent: all. `limit` 0: 50. */
KEEP_API keep_status keep_mailbox_messages(keep_mailbox *mailbox, keep_bytes session,
					   keep_bytes status, int64_t after_seq, size_t limit,
					   keep_memory *memory, keep_inbound_message_list *out,
					   keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- tasks by series
 *
 * A series is the one live occurrence of a recurrence or a single task, by its series_id, or by the
 * id of any of its occurrences. The calls answer NOT_FOUND when none of it is pending or paused.
 * The next occurrence is made when one is completed or failed: counted from its time and not from
 * the clock, by the missed policy, as pending or paused as that one was; what is over has no
 * recurrence any more. A series whose expression or zone cannot be read by then is paused, with
 * last_error.
 */
/* pending, paused -> cancelled: no further occurrence. An agent at it cannot complete it any more.
 */
KEEP_API keep_status keep_mailbox_cancel(keep_mailbox *mailbox, keep_bytes session,
					 keep_bytes series_id, keep_error *err) KEEP_MUST_CHECK;
/* pending -> paused; CONFLICT: it is paused. An agent at it may complete it; the next one is
 * paused. */
KEEP_API keep_status keep_mailbox_pause(keep_mailbox *mailbox, keep_bytes session,
					keep_bytes series_id, keep_error *err) KEEP_MUST_CHECK;
/* paused -> pending, due as its missed policy says; CONFLICT: it is pending. */
KEEP_API keep_status keep_mailbox_resume(keep_mailbox *mailbox, keep_bytes session,
					 keep_bytes series_id, int64_t now_ms,
					 keep_error *err) KEEP_MUST_CHECK;
typedef struct keep_series_change {
	keep_bytes content; /* absent: as it is */
	keep_bytes
		recurrence;   /* absent: as it is; empty: none any more. The next time follows it */
	keep_bytes time_zone; /* absent: as it is */
	int64_t process_after; /* 0: as the recurrence says */
} keep_series_change;
/* CONFLICT: the occurrence is claimed by an agent, or completed and not collected yet. */
KEEP_API keep_status keep_mailbox_update(keep_mailbox *mailbox, keep_bytes session,
					 keep_bytes series_id, const keep_series_change *change,
					 int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;
/* The live occurrences of all series of the session, by next time. */
KEEP_API keep_status keep_mailbox_list_series(keep_mailbox *mailbox, keep_bytes session,
					      size_t limit, keep_memory *memory,
					      keep_inbound_message_list *out,
					      keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- collecting */

typedef struct keep_collected {
	keep_outbound_message message; /* content is JSON, checked */
	keep_bytes key;       /* its delivery's idempotency key: the id; for later occurrences of a
				 recurrence with the time behind it */
	int64_t attempts;     /* how often its delivery was begun already */
	keep_bytes operation; /* edit, reaction; absent: a message */
	keep_bytes target_platform_message_id; /* edit, reaction: of what; the platform's id */
	const keep_bytes *files;               /* names in outbox/<message id>/, checked */
	size_t file_count;
} keep_collected;

typedef struct keep_collection {
	keep_collected *items; /* due, allowed, in order of their numbers for each address */
	size_t count;
	bool has_more;     /* collect again */
	int64_t completed; /* messages that the agent has completed */
	int64_t retried;   /* failed ones that are due again later */
	int64_t failed;    /* given up */
	int64_t handled;   /* system actions and messages to agents, done here */
	int64_t refused;   /* without permission, malformed */
	int64_t next_ms;   /* when something here falls due by itself; 0: nothing */
} keep_collection;

/*
 * Take over what the agent's side did: acknowledgements, replies, questions, actions. Answers at
 * most `limit` (0: 50) outbound messages that are due and whose permission stands in the registry;
 * a call again answers them again until their delivery begins. Messages to agents are posted and
 * tasks scheduled here; other `system` rows are answered for the caller to carry out.
 */
KEEP_API keep_status keep_mailbox_collect(keep_mailbox *mailbox, keep_bytes session, size_t limit,
					  int64_t now_ms, keep_memory *memory, keep_collection *out,
					  keep_error *err) KEEP_MUST_CHECK;
/* The bytes of a file that a message of the agent's names. NOT_FOUND; INVALID: the name; DENIED: a
   link or no plain file; FULL: over KEEP_MAILBOX_FILE_MAX. */
KEEP_API keep_status keep_mailbox_outbox_file(keep_mailbox *mailbox, keep_bytes session,
					      keep_bytes message_out_id, keep_bytes name,
					      keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- delivery
 *
 *   outgoing ── begin ──> sending ── complete ──> delivered
 *       ▲                   │  └─ fail, for good ─> failed     the agent is told
 *       └──── fail ─────────┤
 *                           └─ lease over ───────> uncertain ── retry, complete, fail
 *   outgoing ── refuse, no permission ───────────> refused     the agent is told
 */
/* Before the channel is called. The attempt's number fences the report; the lease is over after
   lease_ms (0: 60000) or with this process. CONFLICT: not due, or begun by another; NOT_FOUND. */
KEEP_API keep_status keep_mailbox_begin_delivery(keep_mailbox *mailbox, keep_bytes session,
						 keep_bytes key, int64_t lease_ms, int64_t now_ms,
						 int64_t *attempt, keep_error *err) KEEP_MUST_CHECK;
typedef enum keep_outcome {
	KEEP_OUTCOME_DELIVERED,
	KEEP_OUTCOME_FAILED,   /* tried again after 5 s, 15 s, 45 s, 2 min, 5 min; then permanent */
	KEEP_OUTCOME_PERMANENT /* not tried again */
} keep_outcome;
KEEP_API const char *
keep_outcome_name(keep_outcome outcome); /* "delivered", "failed", "permanent" */
KEEP_API bool keep_outcome_parse(keep_bytes name, keep_outcome *out);

typedef struct keep_outcome_report {
	keep_bytes session, key;
	int64_t attempt; /* of begin; 0: the caller knows what became of an uncertain one */
	keep_outcome outcome;
	keep_bytes platform_message_id; /* delivered */
	keep_bytes error;               /* the others */
} keep_outcome_report;
/* CONFLICT: the attempt is over, nothing changed. The same report again is OK. */
KEEP_API keep_status keep_mailbox_complete_delivery(keep_mailbox *mailbox,
						    const keep_outcome_report *report,
						    int64_t now_ms,
						    keep_error *err) KEEP_MUST_CHECK;
/* There is no adapter for it, or it may not go there. */
KEEP_API keep_status keep_mailbox_refuse_delivery(keep_mailbox *mailbox, keep_bytes session,
						  keep_bytes key, keep_bytes reason, int64_t now_ms,
						  keep_error *err) KEEP_MUST_CHECK;
/* failed, refused, uncertain -> due now. */
KEEP_API keep_status keep_mailbox_retry_delivery(keep_mailbox *mailbox, keep_bytes session,
						 keep_bytes key, int64_t now_ms,
						 keep_error *err) KEEP_MUST_CHECK;
typedef struct keep_delivered_message_list {
	keep_delivered_message *items;
	size_t count;
} keep_delivered_message_list;
/* `status` absent: all; by number, above after_seq. */
KEEP_API keep_status keep_mailbox_deliveries(keep_mailbox *mailbox, keep_bytes session,
					     keep_bytes status, int64_t after_seq, size_t limit,
					     keep_memory *memory, keep_delivered_message_list *out,
					     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- questions */

typedef struct keep_pending_question_list {
	keep_pending_question *items;
	size_t count;
} keep_pending_question_list;
/* `session` absent: all; by time of expiry. */
KEEP_API keep_status keep_mailbox_questions(keep_mailbox *mailbox, keep_bytes session, size_t limit,
					    keep_memory *memory, keep_pending_question_list *out,
					    keep_error *err) KEEP_MUST_CHECK;
typedef struct keep_answer {
	keep_bytes question_id;
	keep_bytes option;  /* what was chosen */
	keep_bytes user_id; /* by whom */
} keep_answer;
/*
 * Tell the agent the answer, as a `system` message {"type":"question_response",…}, and end the
 * question. The same answer of the same user again is OK and changes nothing. CONFLICT: answered
 * otherwise (the message says how), or too late. NOT_FOUND: never asked, or over for 30 days.
 * INVALID: not one of its options; of one with a value, that is the answer.
 */
KEEP_API keep_status keep_mailbox_answer(keep_mailbox *mailbox, const keep_answer *answer,
					 int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the agent's life */

/*
 * Before the session's agent is started: a new incarnation, which voids the claims of those before;
 * its destinations and its route, as the registry has them. *incarnation may be NULL.
 */
KEEP_API keep_status keep_mailbox_wake(keep_mailbox *mailbox, keep_bytes session, int64_t now_ms,
				       int64_t *incarnation, keep_error *err) KEEP_MUST_CHECK;
/* Destinations and route alone, for a running agent. */
KEEP_API keep_status keep_mailbox_refresh(keep_mailbox *mailbox, keep_bytes session,
					  keep_error *err) KEEP_MUST_CHECK;
/* What its container does now: running, idle, stopped. */
KEEP_API keep_status keep_mailbox_set_container(keep_mailbox *mailbox, keep_bytes session,
						keep_bytes container_status,
						keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- all sessions */

typedef struct keep_sweep_session {
	keep_bytes session;
	keep_status status; /* what stopped it; OK: nothing */
	keep_bytes error;   /* and in words */
	bool has_input;     /* something is due for the agent: it may need a start */
	bool has_output;    /* something is due for delivery, or was not taken over: collect; or a
			       delivery has just become uncertain */
	bool is_stale;      /* it has claims, and its agent gave no sign of life for 10 minutes */
} keep_sweep_session;

typedef struct keep_sweep {
	keep_sweep_session *items; /* those that the caller has to do something about */
	size_t count;
	int64_t looked_at; /* sessions whose time had come */
	int64_t expired_leases, retried, failed, expired_questions, uncertain;
	int64_t next_ms; /* when to sweep again at the latest; 0: when something is posted */
	bool has_more;
} keep_sweep;

/* What time alone changes: leases, stale agents, retries, recurrences, questions. Looks only at
   sessions whose time has come, at most `limit` (0: 1000). */
KEEP_API keep_status keep_mailbox_sweep(keep_mailbox *mailbox, size_t limit, int64_t now_ms,
					keep_memory *memory, keep_sweep *out,
					keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_session_names {
	keep_bytes *items;
	size_t count;
} keep_session_names;
/*
 * Wait until agents did something: *out names the sessions to collect from. Empty: the time is over
 * (timeout_ms; 0: only look, below 0: for ever), or keep_mailbox_cancel_waits was called. The first
 * call names every session that may have something from before. Of several threads that wait, each
 * piece of news goes to one; a session may be named that turns out to have none.
 */
KEEP_API keep_status keep_mailbox_wait(keep_mailbox *mailbox, int64_t timeout_ms,
				       keep_memory *memory, keep_session_names *out,
				       keep_error *err) KEEP_MUST_CHECK;
/* Waits of now and later end at once. */
KEEP_API void keep_mailbox_cancel_waits(keep_mailbox *mailbox);

/* ---------------------------------------------------------------- where a message is */

typedef struct keep_trace_step {
	int64_t at;        /* 0: not known */
	keep_bytes what;   /* posted, claimed, retry, completed, replied, sending, delivered … */
	keep_bytes detail; /* may be empty */
} keep_trace_step;

typedef struct keep_trace {
	keep_bytes session, id;
	bool is_inbound;
	int64_t seq;
	keep_bytes state; /* one word: pending, processing, completed, due, sending, delivered … */
	keep_bytes detail;      /* why, or until when */
	keep_trace_step *steps; /* in the order of time */
	size_t count;
	keep_bytes
		*related; /* replies to it, what it replies to, its other side in another session */
	size_t related_count;
} keep_trace;
/* `session` absent: every session is asked. `id`: of messages_in, messages_out, or a dedup key. */
KEEP_API keep_status keep_mailbox_trace(keep_mailbox *mailbox, keep_bytes session, keep_bytes id,
					int64_t now_ms, keep_memory *memory, keep_trace *out,
					keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
