#ifndef KEEP_ASSISTANT_H
#define KEEP_ASSISTANT_H
/*
 * keep/assistant.h - an assistant's store: conversations, their messages, context and memory.
 *
 * The rest of the same store is in headers of its own:
 *   keep/assistant_work.h    agents, their tasks, cron and one-time jobs, executions
 *   keep/assistant_admin.h   credentials, connections, settings, prompts, the audit log
 *   keep/assistant_search.h  full text and vectors
 *   keep/assistant_care.h    retention, optimising, taking over another program's file
 *
 * What it is not: it calls no model and no tool; who uses it does.
 *
 * Rules that hold for all of it:
 *   - A call that answers OK is on disk (relaxed: with the next sync).
 *   - Texts are UTF-8 without a zero byte, names and ids at most KEEP_ASSISTANT_TEXT_MAX bytes
 *     without control characters; else INVALID with the column's name. An input text that is absent
 *     (data == NULL) means its default.
 *   - Records are those of keep/assistant_records.h. What a call answers lives in the caller's
 *     keep_memory; free it with keep_memory_release. It is empty or untouched after a failure.
 *   - What an operator would want to know about later (settings, secrets, prompts, agents, jobs,
 *     connections, deletions) is written to the audit log in the same transaction, with the
 *     `actor` that asked for it. What a conversation consists of is not.
 *   - Every call may fail with BUSY, FULL, UNAVAILABLE, UNCERTAIN, CORRUPT, NO_MEMORY, and every
 *     change of a read-only store with DENIED; comments tell the rest.
 *   - `now_ms` is given where the caller's clock may be another one; KEEP_NOW is the real one.
 *
 * Threads: an assistant may be used by any number of threads at once.
 */
#include "keep/assistant_records.h"
#include "keep/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef KEEP_NOW
#define KEEP_NOW INT64_MIN
#endif

#define KEEP_ASSISTANT_TEXT_MAX 1024 /* bytes of an id, name, key, error … */
#define KEEP_ASSISTANT_CONTENT_MAX                                                                 \
	(1024 * 1024)                /* bytes of a content, prompt, body, JSON: else FULL */
#define KEEP_ASSISTANT_LIST_MAX 1000 /* rows of one answer */

/* ---------------------------------------------------------------- open and close */

typedef struct keep_assistant keep_assistant;

typedef struct keep_assistant_options {
	size_t size;         /* sizeof(keep_assistant_options): lets this struct grow */
	const char *service; /* who opens: it stands in leases; NULL: "keep" */
	bool create;         /* make what is missing; else that is NOT_FOUND */
	bool read_only;      /* changes nothing, waits for no writer and holds none up */
	bool relaxed;        /* answer before the disk has it */
	int64_t timeout_ms;  /* waits for a lock or a server; 0: 5000 */
	/* What is claimed stays claimed for the lease's time, also when this process ends before;
	   else its end gives back at once what it had. For commands that claim and exit. */
	bool lasting_leases;
	/* Encryption keys, newest first: each 32 bytes in base64url, with blanks, commas or line
	   ends between them. NULL: KEEP_ENCRYPTION_KEY or ENCRYPTION_KEY of the environment, else
	   key_file. */
	const char *keys;
	const char *key_file; /* NULL, or missing: there is none */
	/* Use no key, whatever there is: credentials and sensitive settings are DENIED. */
	bool without_keys;
} keep_assistant_options;

#define KEEP_ASSISTANT_OPTIONS_INIT                                                                \
	{                                                                                          \
		.size = sizeof(keep_assistant_options)                                             \
	}

/*
 * "sqlite:<file>" or "postgres://…[?schema=assistant]". `options` may be NULL. A new store has the
 * default agents and prompts. Migrates an older one, after a verified copy. NOT_FOUND: nothing
 * there; TOO_NEW: a newer one, untouched; CONFLICT: tables of another program (an assistant.db of
 * the source: keep_assistant_adopt reads it); INVALID: the URL, the service's name, a key; DENIED:
 * the keys are not those that the store was encrypted with, or a key file that others may read.
 */
KEEP_API keep_status keep_assistant_open(const char *url, const keep_assistant_options *options,
					 keep_assistant **out, keep_error *err) KEEP_MUST_CHECK;
/* Close and set *assistant to NULL; accepts NULL and a pointer to NULL. No call may be under way.
 */
KEEP_API void keep_assistant_close(keep_assistant **assistant);
/* End every wait under way and to come with "nothing", whatever there is; any thread. */
KEEP_API void keep_assistant_cancel(keep_assistant *assistant);

/* Who asks, for the audit log. NULL where it is taken: nobody in particular. */
typedef struct keep_actor {
	keep_bytes user_id;
	keep_bytes agent_name;
	keep_bytes conversation_id;
	keep_bytes ip_address;
} keep_actor;

/* ---------------------------------------------------------------- conversations */

typedef struct keep_conversation_list {
	keep_conversation *items;
	size_t count;
} keep_conversation_list;

/*
 * The newest conversation of a contact on a channel (by updated_at, then id), or a new one, in one
 * atomic step: whoever asks at once gets the same one. idle_limit_ms > 0: one whose last message
 * (without one that is not internal: its beginning) is older gets a successor. last_accessed
 * becomes now. `contact` may be absent: then it is nobody in particular. *created (may be NULL):
 * whether it is new.
 */
KEEP_API keep_status keep_assistant_find_or_create(keep_assistant *assistant, keep_bytes channel,
						   keep_bytes contact, int64_t idle_limit_ms,
						   int64_t now_ms, keep_memory *memory,
						   keep_conversation *out, bool *created,
						   keep_error *err) KEEP_MUST_CHECK;
/*
 * A new conversation under `conversation_id` (absent: a UUID), the contact's newest from now on. Of
 * `conversation` conversation_id, channel, contact_identifier and metadata are read. *inserted is
 * false when it is there already with the same channel and contact (then *out is it, unchanged).
 * CONFLICT: another one has that id.
 */
KEEP_API keep_status keep_assistant_add_conversation(keep_assistant *assistant,
						     const keep_conversation *conversation,
						     int64_t now_ms, keep_memory *memory,
						     keep_conversation *out, bool *inserted,
						     keep_error *err) KEEP_MUST_CHECK;
/* NOT_FOUND: none with that id. */
KEEP_API keep_status keep_assistant_get_conversation(keep_assistant *assistant,
						     keep_bytes conversation_id,
						     keep_memory *memory, keep_conversation *out,
						     keep_error *err) KEEP_MUST_CHECK;
/*
 * Change metadata: `changes` is a JSON object whose members replace those of the same name, null
 * removes one (RFC 7386, one level), in one atomic step. NOT_FOUND; FULL: metadata would be over
 * KEEP_ASSISTANT_CONTENT_MAX bytes.
 */
KEEP_API keep_status keep_assistant_update_metadata(keep_assistant *assistant,
						    keep_bytes conversation_id, keep_bytes changes,
						    keep_memory *memory, keep_conversation *out,
						    keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_conversation_filter {
	keep_bytes channel; /* absent: any */
	keep_bytes contact; /* absent: any; needs a channel */
	/* Continue behind this conversation of an earlier page (absent: from the beginning). */
	int64_t before_updated_at; /* 0: none */
	int64_t before_id;
} keep_conversation_filter;

/* A conversation as lists show it. */
typedef struct keep_conversation_view {
	keep_conversation conversation;
	bool has_last; /* it has a message that is not internal */
	keep_conversation_message last;
} keep_conversation_view;

typedef struct keep_conversation_views {
	keep_conversation_view *items;
	size_t count;
	bool has_more;
} keep_conversation_views;

/* Newest first (updated_at, id), each with its last message and message_count, in one query; at
   most `limit` (0: 20). */
KEEP_API keep_status keep_assistant_list_conversations(keep_assistant *assistant,
						       const keep_conversation_filter *filter,
						       size_t limit, keep_memory *memory,
						       keep_conversation_views *out,
						       keep_error *err) KEEP_MUST_CHECK;
/* Delete a conversation with its messages and memory, and what was indexed of it; tasks keep a
   null. Audited. NOT_FOUND. */
KEEP_API keep_status keep_assistant_delete_conversation(keep_assistant *assistant,
							keep_bytes conversation_id,
							const keep_actor *actor,
							keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- messages */

typedef struct keep_append_result {
	bool is_duplicate; /* the same message was there: nothing changed */
	int64_t seq;       /* its number in its conversation */
	int64_t id;
	char message_id[37]; /* made by us, when none was given; else "" */
} keep_append_result;

/*
 * Add a message: conversation_id, message_id (absent: a UUID), role, content, token_count (0: an
 * estimate), is_summary, timestamp (0: now), metadata and is_internal are read. It gets the next
 * seq and renews last_accessed and updated_at, in one transaction. The same message_id with the
 * same conversation, role and content is a duplicate; with others CONFLICT. NOT_FOUND: no such
 * conversation.
 */
KEEP_API keep_status keep_assistant_append(keep_assistant *assistant,
					   const keep_conversation_message *message,
					   keep_append_result *result,
					   keep_error *err) KEEP_MUST_CHECK;
/* `count` (at most KEEP_ASSISTANT_LIST_MAX) of them in one transaction; any failure adds none. */
KEEP_API keep_status keep_assistant_append_many(keep_assistant *assistant,
						const keep_conversation_message *messages,
						size_t count, keep_append_result *results,
						keep_error *err) KEEP_MUST_CHECK;
/* NOT_FOUND: none with that message_id. */
KEEP_API keep_status keep_assistant_get_message(keep_assistant *assistant, keep_bytes message_id,
						keep_memory *memory, keep_conversation_message *out,
						keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_message_page {
	keep_conversation_message *items;
	size_t count;
	bool has_more; /* exactly: there is an older one of the kind that was asked for */
} keep_message_page;

/* The messages before `before_seq` (0: the newest), newest first, at most `limit` (0: 50); internal
   ones only when asked for. NOT_FOUND: no such conversation. */
KEEP_API keep_status keep_assistant_page(keep_assistant *assistant, keep_bytes conversation_id,
					 int64_t before_seq, size_t limit, bool with_internal,
					 keep_memory *memory, keep_message_page *out,
					 keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_message_match {
	keep_conversation_message message;
	double score;
	keep_bytes snippet; /* of the content, matches between [ and ] */
} keep_message_match;

typedef struct keep_message_matches {
	keep_message_match *items;
	size_t count;
	/* False: the words match so many that only the newest were ranked. */
	bool is_exact;
} keep_message_matches;

/*
 * Messages that a text query finds (docs/search.md: all words, "phrases", prefix*, -excluded, OR),
 * best first by BM25, at most `limit` (0: 10). In one conversation, or in all (absent). Internal
 * ones only when asked for. What was appended before the call is found. INVALID: a query without a
 * word. NOT_FOUND: no such conversation.
 */
KEEP_API keep_status keep_assistant_search_messages(keep_assistant *assistant, keep_bytes query,
						    keep_bytes conversation_id, bool with_internal,
						    size_t limit, keep_memory *memory,
						    keep_message_matches *out,
						    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- context and summaries */

typedef struct keep_context {
	int64_t context_version;
	bool has_summary;        /* there is one, and it fits */
	keep_remembered summary; /* the latest: of the greatest to_seq, of those the newest */
	keep_bytes summary_text; /* its text */
	keep_conversation_message *messages; /* oldest first */
	size_t count;
	int64_t tokens; /* of what is in it, summary and messages */
	/* False: the budget left something out, which is older than every message in it, or the
	   summary itself. */
	bool is_complete;
} keep_context;

/*
 * What an agent should know of a conversation: the latest summary, then every message after what
 * that covers (seq > to_seq; internal ones never), oldest first. Within token_budget (0: no limit):
 * the summary comes first (one that does not fit is left out, and the messages have the budget),
 * then the newest messages as far as all of their tokens fit; a message that does not fit ends it,
 * so there is no hole. At most KEEP_CONTEXT_MESSAGES_MAX messages. Reads what it answers and one
 * more; from a server, in portions, less than twice as much, or 64. NOT_FOUND.
 */
#define KEEP_CONTEXT_MESSAGES_MAX 100000
KEEP_API keep_status keep_assistant_context(keep_assistant *assistant, keep_bytes conversation_id,
					    int64_t token_budget, keep_memory *memory,
					    keep_context *out, keep_error *err) KEEP_MUST_CHECK;

/*
 * Remember `text` as the summary of the messages from_seq to to_seq: a row of conversation_memory
 * (long_term, {"summary": text, …}), summarised_by of those messages, and context_version one
 * higher, in one transaction. Nothing is deleted. The same range with the same text is a duplicate
 * (*is_duplicate, nothing changed); with another text CONFLICT. token_count 0: an estimate.
 * INVALID: a range that is empty or reaches beyond the newest message; NOT_FOUND: no such
 * conversation.
 */
KEEP_API keep_status keep_assistant_add_summary(keep_assistant *assistant,
						keep_bytes conversation_id, int64_t from_seq,
						int64_t to_seq, keep_bytes text,
						int64_t token_count, int64_t *context_version,
						bool *is_duplicate,
						keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- memory */

typedef struct keep_remembered_list {
	keep_remembered *items;
	size_t count;
} keep_remembered_list;

/*
 * Remember something: memory_type short_term, long_term, facts or working, and `content`, any JSON
 * (of a fact: {"fact": "…"} or a text). A fact whose normalised text (case, accents, blanks and a
 * sentence's punctuation aside; signs such as + # - count) is there already is not stored again:
 * *id is the stored one's and *is_duplicate true; one that is given as a text is stored as
 * {"fact": "…"}. A summary is added by keep_assistant_add_summary. NOT_FOUND: no such conversation.
 */
KEEP_API keep_status keep_assistant_remember(keep_assistant *assistant, keep_bytes conversation_id,
					     keep_bytes memory_type, keep_bytes content,
					     int64_t now_ms, int64_t *id, bool *is_duplicate,
					     keep_error *err) KEEP_MUST_CHECK;
/*
 * What is remembered of one type (absent: all but short_term), newest first, at most `limit` (0:
 * 20). short_term without stored rows is made of the newest messages that are not internal, at most
 * 20: id 0, content {"role": …, "content": …, "seq": …}. NOT_FOUND: no such conversation.
 */
KEEP_API keep_status keep_assistant_recall(keep_assistant *assistant, keep_bytes conversation_id,
					   keep_bytes memory_type, size_t limit,
					   keep_memory *memory, keep_remembered_list *out,
					   keep_error *err) KEEP_MUST_CHECK;
/* Forget one row by its id (not 0), or all of a type (id 0; absent: of every type). *count: how
   many. Messages that a forgotten summary covered are no longer summarised by it, and
   context_version grows. What is not there is counted as 0; NOT_FOUND: no such conversation. */
KEEP_API keep_status keep_assistant_forget(keep_assistant *assistant, keep_bytes conversation_id,
					   int64_t id, keep_bytes memory_type, int64_t *count,
					   keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
