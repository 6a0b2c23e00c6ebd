#ifndef KP_OPERATIONS_MAILBOX_H
#define KP_OPERATIONS_MAILBOX_H
/*
 * operations_mailbox.h - what the files of the mailbox's operations share.
 *
 * The store has two parts with one list of verbs. Operations of the host (operations_mailbox_*.c)
 * find a keep_mailbox in call->handle, those of the agent (operations_agent_*.c) a keep_agent;
 * operations_mailbox.c puts it there. A verb is the function's name without keep_mailbox_ or
 * keep_agent_; where both sides have one, the agent's is agent_<verb>.
 */
#include "keep/agent.h"
#include "keep/mailbox.h"
#include "keep/mailbox_registry.h"
#include "mailbox/mailbox_inbound_records.h"
#include "mailbox/mailbox_outbound_records.h"
#include "mailbox/mailbox_records.h"
#include "operations/operations_inputs.h"

/* kp_operation.part */
enum kp_mailbox_part { KP_PART_HOST, KP_PART_AGENT };

extern const kp_operation_group kp_mailbox_post_group;
extern const kp_operation_group kp_mailbox_series_group;
extern const kp_operation_group kp_mailbox_collect_group;
extern const kp_operation_group kp_mailbox_delivery_group;
extern const kp_operation_group kp_mailbox_life_group;
extern const kp_operation_group kp_mailbox_group_group;
extern const kp_operation_group kp_mailbox_wiring_group;
extern const kp_operation_group kp_mailbox_session_group;
extern const kp_operation_group kp_mailbox_route_group;
extern const kp_operation_group kp_agent_claim_group;
extern const kp_operation_group kp_agent_send_group;
extern const kp_operation_group kp_agent_memory_group;

/* ---------------------------------------------------------------- inputs */

#define KP_LIMIT(fallback_) KP_LIMIT_OF(fallback_, KEEP_MAILBOX_LIST_MAX)
#define KP_SESSION KP_NEEDED_TEXT(1, "session", "The session's id.")
/* The agent's operations have it. */
#define KP_OWN_SESSION                                                                             \
	KP_OTHER(TEXT, "session",                                                                  \
		 "Which session of a home or a mailbox; left out where the place is a session's "  \
		 "own.")
#define KP_WAIT_TIME                                                                               \
	{                                                                                          \
		.name = "timeout_ms", .kind = KP_KIND_INTEGER, .nullable = true,                   \
		.fallback = "60000", .min = -1, .max = 86400000,                                   \
		.sentence = "How long to wait; 0 only looks, -1 waits for ever.",                  \
	}
#define KP_FILES                                                                                   \
	KP_OTHER(ARRAY, "files",                                                                   \
		 "What is attached: objects {\"name\":…,\"bytes\":…}, the bytes as base64.")
#define KP_ENCODING(words_)                                                                        \
	{                                                                                          \
		.name = "encoding", .kind = KP_KIND_TEXT, .fallback = "text", .words = (words_),   \
		.sentence = "How the bytes come: \"text\", or \"base64\" for any bytes.",          \
	}
#define KP_LEASE(sentence_)                                                                        \
	{                                                                                          \
		.name = "lease_ms", .kind = KP_KIND_INTEGER, .nullable = true,                     \
		.fallback = "60000", .min = 1, .max = 86400000, .sentence = (sentence_),           \
	}

extern const char *const kp_message_kinds[];    /* of messages to an agent */
extern const char *const kp_file_encodings[];   /* text, base64 */
extern const char *const kp_container_states[]; /* running, idle, stopped */

/* The input `files` as a list in the arena. */
keep_status kp_mailbox_files(const kp_argument *argument, kp_arena *arena, const keep_file **files,
			     size_t *count, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- results */

/* An object whose one member is a text. */
void kp_mailbox_put_word(kp_call *call, const char *name, keep_bytes text);
/* The three members of a post's result, within an object that is being written. */
void kp_mailbox_put_posted(kp_call *call, const keep_post_result *result);
/* An array of texts as a member. */
void kp_mailbox_put_texts(kp_call *call, const char *name, const keep_bytes *texts, size_t count);
/* The status, or the result: `record` of `object`; `count` of them. */
keep_status kp_mailbox_give(kp_call *call, keep_status status, const kp_record *record,
			    const void *object, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_mailbox_give_all(kp_call *call, keep_status status, const kp_record *record,
				const void *items, size_t count, keep_error *err) KEEP_MUST_CHECK;

#endif
