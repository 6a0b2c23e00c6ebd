#ifndef KEEP_MAILBOX_REGISTRY_H
#define KEEP_MAILBOX_REGISTRY_H
/*
 * keep/mailbox_registry.h - a mailbox's registry: agent groups, chats, wirings, destinations and
 * sessions; and routing, which follows from them.
 *
 * Rules and threads as in keep/mailbox.h. A removal that something stands in the way of is CONFLICT
 * and names it.
 */
#include "keep/mailbox.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- agent groups */

typedef struct keep_agent_group_list {
	keep_agent_group *items;
	size_t count;
} keep_agent_group_list;

/* Store or change, all fields; created_at is the store's. An absent id gets a UUID; id_out may be
   NULL. The folder is one segment, container_config an object. CONFLICT: another one has that
   folder. */
KEEP_API keep_status keep_mailbox_put_agent_group(keep_mailbox *mailbox,
						  const keep_agent_group *group,
						  char id_out[KEEP_SEGMENT_MAX + 1],
						  keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_mailbox_get_agent_group(keep_mailbox *mailbox, keep_bytes id,
						  keep_memory *memory, keep_agent_group *out,
						  keep_error *err) KEEP_MUST_CHECK;
/* By id, above `after`. */
KEEP_API keep_status keep_mailbox_list_agent_groups(keep_mailbox *mailbox, keep_bytes after,
						    size_t limit, keep_memory *memory,
						    keep_agent_group_list *out,
						    keep_error *err) KEEP_MUST_CHECK;
/* CONFLICT: it has wirings, sessions, or is somebody's destination. Its own destinations go with
 * it.
 */
KEEP_API keep_status keep_mailbox_remove_agent_group(keep_mailbox *mailbox, keep_bytes id,
						     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- chats */

typedef struct keep_messaging_group_list {
	keep_messaging_group *items;
	size_t count;
} keep_messaging_group_list;

/*
 * Store or change, all fields; found by id, or, when that is absent, by channel_type and
 * platform_id. Ids are of at most KEEP_SEGMENT_MAX bytes. When a chat's address changes, the
 * destinations of the agents that are wired to it change with it. CONFLICT: another one has that
 * address.
 */
KEEP_API keep_status keep_mailbox_put_messaging_group(keep_mailbox *mailbox,
						      const keep_messaging_group *group,
						      char id_out[KEEP_SEGMENT_MAX + 1],
						      keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_mailbox_get_messaging_group(keep_mailbox *mailbox, keep_bytes id,
						      keep_memory *memory,
						      keep_messaging_group *out,
						      keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_mailbox_find_messaging_group(keep_mailbox *mailbox,
						       keep_bytes channel_type,
						       keep_bytes platform_id, keep_memory *memory,
						       keep_messaging_group *out,
						       keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_mailbox_list_messaging_groups(keep_mailbox *mailbox, keep_bytes after,
							size_t limit, keep_memory *memory,
							keep_messaging_group_list *out,
							keep_error *err) KEEP_MUST_CHECK;
/* CONFLICT: it has wirings or sessions. */
KEEP_API keep_status keep_mailbox_remove_messaging_group(keep_mailbox *mailbox, keep_bytes id,
							 keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- wirings */

typedef struct keep_messaging_group_agent_list {
	keep_messaging_group_agent *items;
	size_t count;
} keep_messaging_group_agent_list;

/*
 * Let an agent serve a chat, or change how; found by id, or, when that is absent, by chat and
 * agent, which never change. The agent may then send to the chat: it gets a destination named after
 * it, unless it has one. response_scope absent: all; session_mode absent: shared.
 *
 * trigger_rules is an object of rules, each of which must hold:
 *   pattern          an expression (docs/routing.md tells the syntax) that `text` must match
 *   requiresTrigger  true: the pattern matches, or `isMention` is true; false: neither is needed
 *   mentionOnly      true: `isMention` is true
 *   includeSenders   a list that has the sender
 *   excludeSenders   a list that has not
 * and response_scope `triggered` wants what requiresTrigger does, `allowlisted` that includeSenders
 * has the sender.
 *
 * INVALID: trigger_rules that are not understood (each rule is named), a pattern that does not
 * compile. NOT_FOUND: the chat or the agent. CONFLICT: the id is another pair's, or the pair has
 * another id. FULL: trigger_rules of over 64 KiB; KEEP_MAILBOX_LIST_MAX wirings of a chat.
 */
KEEP_API keep_status keep_mailbox_wire(keep_mailbox *mailbox,
				       const keep_messaging_group_agent *wiring,
				       char id_out[KEEP_SEGMENT_MAX + 1],
				       keep_error *err) KEEP_MUST_CHECK;
/* The agent's destination stays; keep_mailbox_disallow takes it away. */
KEEP_API keep_status keep_mailbox_unwire(keep_mailbox *mailbox, keep_bytes id,
					 keep_error *err) KEEP_MUST_CHECK;
/* In the order in which they are asked: of a chat, of an agent (the other absent), or all. */
KEEP_API keep_status keep_mailbox_list_wirings(keep_mailbox *mailbox, keep_bytes messaging_group_id,
					       keep_bytes agent_group_id, size_t limit,
					       keep_memory *memory,
					       keep_messaging_group_agent_list *out,
					       keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- destinations */

typedef struct keep_agent_destination_list {
	keep_agent_destination *items;
	size_t count;
} keep_agent_destination_list;

/*
 * Allow it, or change what the name means. A name is a-z 0-9 -, neither first nor last -. When it
 * is absent, the one that leads there already stays; else it is made of display_name, or of the
 * address: small letters, the rest one -, "unnamed" for nothing, and a number when it is taken.
 * name_out may be NULL. A channel has channel_type and platform_id, an agent target_agent_group_id.
 * NOT_FOUND: an agent group.
 */
KEEP_API keep_status keep_mailbox_allow(keep_mailbox *mailbox,
					const keep_agent_destination *destination,
					char name_out[KEEP_SEGMENT_MAX + 1],
					keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_mailbox_disallow(keep_mailbox *mailbox, keep_bytes agent_group_id,
					   keep_bytes name, keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_mailbox_list_destinations(keep_mailbox *mailbox,
						    keep_bytes agent_group_id, size_t limit,
						    keep_memory *memory,
						    keep_agent_destination_list *out,
						    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- sessions */

typedef struct keep_session_list {
	keep_session *items;
	size_t count;
} keep_session_list;

/* Which session: of agent_group_id, and by session_mode of a chat and a thread. */
typedef struct keep_session_place {
	keep_bytes agent_group_id;
	keep_bytes messaging_group_id; /* absent: agent-shared, or a session of its own */
	keep_bytes thread_id;          /* per-thread */
	keep_bytes session_mode;       /* absent: a new session that nothing leads to */
} keep_session_place;

/* Find or make it: row, folder and both sides. *made may be NULL. */
KEEP_API keep_status keep_mailbox_resolve_session(keep_mailbox *mailbox,
						  const keep_session_place *place, int64_t now_ms,
						  keep_memory *memory, keep_session *out,
						  bool *made, keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_mailbox_get_session(keep_mailbox *mailbox, keep_bytes session,
					      keep_memory *memory, keep_session *out,
					      keep_error *err) KEEP_MUST_CHECK;
/* By id above `after`; agent_group_id and status absent: all. */
KEEP_API keep_status keep_mailbox_list_sessions(keep_mailbox *mailbox, keep_bytes agent_group_id,
						keep_bytes status, keep_bytes after, size_t limit,
						keep_memory *memory, keep_session_list *out,
						keep_error *err) KEEP_MUST_CHECK;
/* What opens the agent's side (keep/agent.h): the session's folder, or the server's URL with it. */
KEEP_API keep_status keep_mailbox_session_place(keep_mailbox *mailbox, keep_bytes session,
						keep_memory *memory, keep_bytes *out,
						keep_error *err) KEEP_MUST_CHECK;
/* active -> closed: takes nothing more, what is pending is cancelled; the next message of its chat
   makes another one. */
KEEP_API keep_status keep_mailbox_close_session(keep_mailbox *mailbox, keep_bytes session,
						int64_t now_ms, keep_error *err) KEEP_MUST_CHECK;
/* Row, folder, both sides, questions. CONFLICT: not closed, or deliveries are under way. */
KEEP_API keep_status keep_mailbox_remove_session(keep_mailbox *mailbox, keep_bytes session,
						 keep_error *err) KEEP_MUST_CHECK;
/* A copy of both sides and the attachments in a new folder, each as of one moment, in the layout of
   a session's folder. CONFLICT: the folder is there. */
KEEP_API keep_status keep_mailbox_export_session(keep_mailbox *mailbox, keep_bytes session,
						 const char *folder,
						 keep_error *err) KEEP_MUST_CHECK;
typedef struct keep_prune_result {
	int64_t messages, deliveries, steps, folders;
	bool has_more;
} keep_prune_result;
/* Remove what was finished before `before_ms`, at most `limit` (0: 1000) of each; the agent's side
   removes its part when it is opened next. Numbers are never used again. */
KEEP_API keep_status keep_mailbox_prune_session(keep_mailbox *mailbox, keep_bytes session,
						int64_t before_ms, size_t limit,
						keep_prune_result *out,
						keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- routing */

typedef struct keep_inbound_route {
	keep_bytes channel_type, platform_id, thread_id;
	keep_bytes message_id; /* the platform's id; absent: a repetition is not known as one */
	keep_bytes kind;       /* absent: chat */
	/* JSON; text, senderId (or author.userId; a text or an integer) and isMention are read */
	keep_bytes content;
	int64_t timestamp;    /* 0: now */
	keep_bytes chat_name; /* absent: as it is */
	bool is_group;        /* false: as it is */
	const keep_file *files;
	size_t file_count;
	/* When nobody is wired it is counted as so many, the last of them; 0: as one. */
	int64_t unrouted_count;
	keep_bytes id; /* Keep's, in each session that it goes to (a segment); absent: made */
} keep_inbound_route;

typedef struct keep_routed {
	keep_bytes wiring_id, agent_group_id;
	bool is_taken;
	keep_bytes reason;  /* why, or why not: one sentence */
	keep_bytes session; /* taken */
	bool is_new_session;
	keep_post_result post;
} keep_routed;

typedef struct keep_route_outcome {
	keep_bytes messaging_group_id;
	keep_routed *items; /* one for each wiring, in the order in which they were asked */
	size_t count;
	size_t taken;
	bool is_unrouted; /* nobody is wired: counted in unrouted_messages */
} keep_route_outcome;

/*
 * Give a message to the agents that are wired to its chat: by priority, then id, each that takes
 * it. The chat is made when it is new. A repetition answers the same, with duplicates. Agents are
 * independent: what one of them cannot take does not keep others from it, and the first failure is
 * answered after all were tried: repeat the call for those. CORRUPT: stored trigger_rules are not
 * understood.
 */
KEEP_API keep_status keep_mailbox_route(keep_mailbox *mailbox, const keep_inbound_route *message,
					int64_t now_ms, keep_memory *memory,
					keep_route_outcome *out, keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_unrouted_message_list {
	keep_unrouted_message *items;
	size_t count;
} keep_unrouted_message_list;
/* The newest first. */
KEEP_API keep_status keep_mailbox_list_unrouted(keep_mailbox *mailbox, size_t limit,
						keep_memory *memory,
						keep_unrouted_message_list *out,
						keep_error *err) KEEP_MUST_CHECK;
/* Forget those whose latest came before `before_ms`; sweep does it after 30 days. */
KEEP_API keep_status keep_mailbox_forget_unrouted(keep_mailbox *mailbox, int64_t before_ms,
						  int64_t *forgotten,
						  keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
