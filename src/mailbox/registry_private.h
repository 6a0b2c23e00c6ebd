#ifndef KP_REGISTRY_PRIVATE_H
#define KP_REGISTRY_PRIVATE_H
/*
 * registry_private.h - what the files of the registry and of routing share.
 *
 *   registry_groups.c        agent groups and chats
 *   registry_wirings.c       which agent serves which chat
 *   registry_destinations.c  where an agent may send
 *   trigger_rules.c          does a wiring take a message?
 *   unrouted.c, route.c
 *
 * Threads: as the public headers.
 */
#include "mailbox/mailbox_private.h"
#include "pattern/pattern.h"

/* ---------------------------------------------------------------- checks */

/* An id of a chat or a wiring: a key of at most KEEP_SEGMENT_MAX bytes. */
keep_status kp_check_registry_id(const char *what, keep_bytes id, keep_error *err) KEEP_MUST_CHECK;
/* Fail before anything was changed: the neighbours in the transaction go on. */
static inline keep_status kp_refuse(kp_lease *lease, keep_status status)
{
	lease->unchanged = true;
	return status;
}
/* `id`, or a new UUID in `made` when it is absent. */
keep_status kp_id_or_made(keep_bytes id, char made[KP_UUID_TEXT_SIZE], keep_bytes *out,
			  keep_error *err) KEEP_MUST_CHECK;
/* An id that was checked, into the caller's text; `out` may be NULL. */
void kp_id_tell(keep_bytes id, char out[KEEP_SEGMENT_MAX + 1]);

/* ---------------------------------------------------------------- groups (registry_groups.c) */

/* All four on any lease of the registry. NOT_FOUND names what is missing. */
keep_status kp_agent_group_need(kp_lease *lease, keep_bytes id, kp_arena *arena,
				keep_agent_group *out, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_chat_need(kp_lease *lease, keep_bytes id, kp_arena *arena, keep_messaging_group *out,
			 keep_error *err) KEEP_MUST_CHECK;
keep_status kp_chat_by_address(kp_lease *lease, keep_bytes channel_type, keep_bytes platform_id,
			       kp_arena *arena, keep_messaging_group *out, bool *found,
			       keep_error *err) KEEP_MUST_CHECK;
/* Insert it, or change the one with that id. */
keep_status kp_chat_write(kp_lease *lease, const keep_messaging_group *chat,
			  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- wirings (registry_wirings.c) */

/* A chat's, in the order in which they are asked; at most KEEP_MAILBOX_LIST_MAX. */
keep_status kp_chat_wirings(kp_lease *lease, keep_bytes messaging_group_id, kp_arena *arena,
			    keep_messaging_group_agent **items, size_t *count,
			    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- destinations */

/* Inside a writing transaction of the registry: allow it, under its name, or under the one that
   leads there already, or under a new one (registry_destinations.c). `name` lives in `arena`. */
keep_status kp_destination_allow(kp_lease *lease, const keep_agent_destination *given,
				 kp_arena *arena, keep_bytes *name,
				 keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- rules (trigger_rules.c) */

#define KP_TRIGGER_RULES_MAX 65536 /* bytes of trigger_rules: else FULL */

/* What a wiring asks of a message; immutable, for any thread. Zeroed: nothing. */
typedef struct kp_trigger_rules {
	kp_pattern *pattern; /* NULL: none */
	bool mention_only;
	bool has_requires_trigger, requires_trigger;
	const kp_json *include, *exclude; /* arrays of texts; NULL: none */
} kp_trigger_rules;

/* INVALID names each rule that is not understood. Absent text: no rules. Lives in `arena`. */
keep_status kp_trigger_rules_parse(keep_bytes text, kp_arena *arena, kp_trigger_rules *out,
				   keep_error *err) KEEP_MUST_CHECK;

/* A message as rules look at it; the texts are borrowed from content and arena. */
typedef struct kp_trigger_message {
	keep_bytes text, sender; /* "" and absent when content has none */
	bool is_mention;
	kp_pattern_room room; /* made with the first pattern */
} kp_trigger_message;

keep_status kp_trigger_message_init(kp_trigger_message *message, keep_bytes content,
				    kp_arena *arena, keep_error *err) KEEP_MUST_CHECK;
void kp_trigger_message_release(kp_trigger_message *message);
/* *reason is a literal: one sentence. */
keep_status kp_trigger_rules_take(const kp_trigger_rules *rules, keep_bytes response_scope,
				  kp_trigger_message *message, bool *takes, const char **reason,
				  keep_error *err) KEEP_MUST_CHECK;

/* Rules that were compiled, by their text; what is taken is given back. */
typedef struct kp_trigger_cache kp_trigger_cache;
typedef struct kp_trigger_entry kp_trigger_entry;

keep_status kp_trigger_cache_open(kp_trigger_cache **out, keep_error *err) KEEP_MUST_CHECK;
void kp_trigger_cache_close(kp_trigger_cache **cache); /* accepts NULL and a pointer to NULL */
keep_status kp_trigger_cache_take(kp_trigger_cache *cache, keep_bytes text, kp_trigger_entry **out,
				  keep_error *err) KEEP_MUST_CHECK;
const kp_trigger_rules *kp_trigger_entry_rules(const kp_trigger_entry *entry);
void kp_trigger_entry_give_back(kp_trigger_entry **entry); /* accepts a pointer to NULL */

/* ---------------------------------------------------------------- unrouted (unrouted.c) */

/* Inside a writing transaction: one more message to a chat that nobody is wired to. */
keep_status kp_unrouted_count(kp_lease *lease, const keep_unrouted_message *message,
			      keep_error *err) KEEP_MUST_CHECK;

#endif
