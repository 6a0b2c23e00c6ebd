/*
 * route.c - giving a message from a chat to the agents that are wired to it.
 *
 *     the chat and its wirings    one read of the registry; a change only when the chat is new, has
 *                                 another name, or nobody is wired
 *     for each wiring, in order   its rules; then its session, and the post into it
 *
 * Each step is a transaction of its own, for registry and sessions are different databases. What
 * makes that safe is that every step may be done again: a chat is one by its address, a session by
 * its anchor, and a post by the platform's id of the message. So a call that was killed anywhere is
 * completed by the same call, and what was done before is answered as a duplicate.
 *
 * Invariants:
 *   1. A new chat is made once, whoever routes its first messages: looked for again in the
 *      transaction that makes it.
 *   2. Wirings are independent: the failure of one is kept, the others are tried.
 *   3. A session that is closed between finding it and posting is left for its successor.
 *   4. A message that nobody is wired to is counted in the transaction that saw so.
 *
 * What it does not do: hold messages back for agents that are wired later.
 *
 * Tests: tests/contract/test_mailbox_routing.c.
 */
#include "mailbox/registry_private.h"

enum { SESSION_TRIES = 3 };

struct routing {
	keep_mailbox *mailbox;
	const keep_inbound_route *given;
	int64_t now_ms;
	kp_arena *arena; /* of the answer */
	kp_trigger_message message;
	char new_chat[KP_UUID_TEXT_SIZE];
	/* what the registry says */
	keep_messaging_group chat;
	keep_messaging_group_agent *wirings;
	size_t count;
	bool is_settled; /* reading was enough */
};

/* ---------------------------------------------------------------- checks */

static keep_status check_kind(keep_bytes kind, keep_error *err)
{
	static const char *const kinds[] = {
		KEEP_INBOUND_MESSAGE_KIND_CHAT, KEEP_INBOUND_MESSAGE_KIND_CHAT_SDK,
		KEEP_INBOUND_MESSAGE_KIND_TASK, KEEP_INBOUND_MESSAGE_KIND_WEBHOOK,
		KEEP_INBOUND_MESSAGE_KIND_SYSTEM};
	bool is_known = !kind.data;

	for (size_t i = 0; i < KP_COUNT(kinds); i++)
		is_known |= kp_bytes_equal(kind, keep_bytes_of(kinds[i]));
	return is_known ? KEEP_OK
			: kp_fail(err, KEEP_INVALID, "kind: '%" KP_PRI "' is none", KP_ARG(kind));
}

/* All that the posts would refuse, for it must not depend on who is wired. */
static keep_status check_route(const keep_inbound_route *given, keep_error *err)
{
	keep_status status = kp_check_key("channel_type", given->channel_type, err);

	if (status == KEEP_OK)
		status = kp_check_key("platform_id", given->platform_id, err);
	if (status == KEEP_OK && given->thread_id.data)
		status = kp_check_key("thread_id", given->thread_id, err);
	if (status == KEEP_OK && given->message_id.data)
		status = kp_check_key("message_id", given->message_id, err);
	if (status == KEEP_OK && given->id.data)
		status = kp_check_segment("id", given->id, err);
	if (status == KEEP_OK)
		status = check_kind(given->kind, err);
	if (status == KEEP_OK && given->timestamp)
		status = kp_check_time("timestamp", given->timestamp, err);
	if (status == KEEP_OK)
		status = kp_check_text("chat_name", given->chat_name, KEEP_MAILBOX_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	return status == KEEP_OK ? kp_files_check(given->files, given->file_count, err) : status;
}

/* ---------------------------------------------------------------- the chat */

/* What the message says about its chat; a caller who does not know says nothing by false. */
static bool tells_news(const struct routing *routing)
{
	const keep_inbound_route *given = routing->given;

	return (given->chat_name.data && !kp_bytes_equal(given->chat_name, routing->chat.name)) ||
	       (given->is_group && !routing->chat.is_group);
}

static keep_status look(struct routing *routing, kp_lease *lease, bool *found, keep_error *err)
{
	keep_status status =
		kp_chat_by_address(lease, routing->given->channel_type, routing->given->platform_id,
				   routing->arena, &routing->chat, found, err);

	routing->count = 0;
	if (status == KEEP_OK && *found)
		status = kp_chat_wirings(lease, routing->chat.id, routing->arena, &routing->wirings,
					 &routing->count, err);
	return status;
}

static keep_status query_chat(void *ctx, kp_lease *lease, keep_error *err)
{
	struct routing *routing = ctx;
	bool found = false;
	keep_status status = look(routing, lease, &found, err);

	routing->is_settled = status == KEEP_OK && found && routing->count && !tells_news(routing);
	return status;
}

static keep_status count_unrouted(const struct routing *routing, kp_lease *lease, keep_error *err)
{
	keep_unrouted_message message = {
		.channel_type = routing->given->channel_type,
		.platform_id = routing->given->platform_id,
		.count = routing->given->unrouted_count > 0 ? routing->given->unrouted_count : 1,
		.thread_id = routing->given->thread_id,
		.content = routing->given->content,
		.first_at = routing->now_ms,
		.last_at = routing->now_ms,
	};

	return kp_unrouted_count(lease, &message, err);
}

static keep_status apply_chat(void *ctx, kp_lease *lease, keep_error *err)
{
	struct routing *routing = ctx;
	const keep_inbound_route *given = routing->given;
	bool found = false;
	keep_status status = look(routing, lease, &found, err);

	if (status == KEEP_OK && !found)
		routing->chat = (keep_messaging_group){
			.id = keep_bytes_of(routing->new_chat),
			.channel_type = given->channel_type,
			.platform_id = given->platform_id,
			.created_at = routing->now_ms,
		};
	if (status == KEEP_OK && (!found || tells_news(routing))) {
		if (given->chat_name.data)
			routing->chat.name = given->chat_name;
		routing->chat.is_group |= given->is_group;
		status = kp_chat_write(lease, &routing->chat, err);
	}
	if (status == KEEP_OK && !routing->count)
		status = count_unrouted(routing, lease, err);
	return status;
}

static keep_status find_chat(struct routing *routing, keep_error *err)
{
	keep_status status = kp_registry_read(routing->mailbox, query_chat, routing, err);

	if (status != KEEP_OK || routing->is_settled)
		return status;
	status = kp_uuid_make(routing->new_chat, err);
	if (status == KEEP_OK)
		status = kp_registry_change(routing->mailbox, apply_chat, routing, err);
	kp_moment("mailbox.chat_found");
	return status;
}

/* ---------------------------------------------------------------- one wiring */

static keep_status ask(struct routing *routing, const keep_messaging_group_agent *wiring,
		       keep_routed *item, keep_error *err)
{
	static const kp_trigger_rules none = {.pattern = NULL};
	kp_trigger_entry *entry = NULL;
	const kp_trigger_rules *rules = &none;
	const char *reason = "";
	keep_status status = KEEP_OK;

	if (wiring->trigger_rules.data)
		status = kp_trigger_cache_take(routing->mailbox->trigger_cache,
					       wiring->trigger_rules, &entry, err);
	if (status == KEEP_INVALID || status == KEEP_FULL) { /* stored past the checks */
		if (err)
			err->status = KEEP_CORRUPT;
		return KEEP_CORRUPT;
	}
	if (entry)
		rules = kp_trigger_entry_rules(entry);
	if (status == KEEP_OK)
		status = kp_trigger_rules_take(rules, wiring->response_scope, &routing->message,
					       &item->is_taken, &reason, err);
	item->reason = keep_bytes_of(reason);
	kp_trigger_entry_give_back(&entry);
	return status;
}

static keep_status give(struct routing *routing, const keep_messaging_group_agent *wiring,
			keep_routed *item, keep_error *err)
{
	const keep_inbound_route *given = routing->given;
	bool of_agent =
		kp_bytes_equal(wiring->session_mode,
			       KEEP_BYTES(KEEP_MESSAGING_GROUP_AGENT_SESSION_MODE_AGENT_SHARED));
	const keep_session_place place = {
		.agent_group_id = wiring->agent_group_id,
		.messaging_group_id = of_agent ? (keep_bytes){.data = NULL} : routing->chat.id,
		.thread_id = of_agent ? (keep_bytes){.data = NULL} : given->thread_id,
		.session_mode = wiring->session_mode,
	};
	const keep_post post = {
		.id = given->id,
		.kind = given->kind,
		.content = given->content,
		.timestamp = given->timestamp ? given->timestamp : routing->now_ms,
		.dedup_key = given->message_id,
		.channel_type = given->channel_type,
		.platform_id = given->platform_id,
		.thread_id = given->thread_id,
		.files = given->files,
		.file_count = given->file_count,
	};
	keep_status status = KEEP_OK;

	for (int tries = 0; tries < SESSION_TRIES; tries++) { /* invariant 3 */
		keep_session session;

		status = keep_mailbox_resolve_session(routing->mailbox, &place, routing->now_ms,
						      routing->arena, &session,
						      &item->is_new_session, err);
		kp_moment("mailbox.session_found");
		if (status == KEEP_OK) {
			item->session = session.id;
			status = keep_mailbox_post(routing->mailbox, session.id, &post, &item->post,
						   err);
		}
		if (status != KEEP_CONFLICT)
			break;
	}
	return status;
}

/* Invariant 2. */
static keep_status offer(struct routing *routing, keep_route_outcome *out, keep_error *err)
{
	keep_status first = KEEP_OK;

	for (size_t i = 0; i < routing->count; i++) {
		const keep_messaging_group_agent *wiring = &routing->wirings[i];
		keep_routed *item = &out->items[i];
		keep_error why = KEEP_ERROR_INIT;
		keep_status status;

		*item = (keep_routed){.wiring_id = wiring->id,
				      .agent_group_id = wiring->agent_group_id};
		status = ask(routing, wiring, item, &why);
		if (status == KEEP_OK && item->is_taken) {
			status = give(routing, wiring, item, &why);
			kp_moment("mailbox.routed");
		}
		out->taken += item->is_taken && status == KEEP_OK;
		if (status == KEEP_OK || first != KEEP_OK)
			continue;
		first = kp_prefix(&why, status, "wiring '%.*s'",
				  wiring->id.len > 60 ? 60 : (int)wiring->id.len, wiring->id.data);
		if (err)
			*err = why;
	}
	return first;
}

/* ---------------------------------------------------------------- routing */

keep_status keep_mailbox_route(keep_mailbox *mailbox, const keep_inbound_route *message,
			       int64_t now_ms, keep_memory *memory, keep_route_outcome *out,
			       keep_error *err)
{
	struct routing routing = {
		.mailbox = mailbox, .given = message, .now_ms = kp_now(now_ms), .arena = memory};
	kp_arena nodes = {.head = NULL};
	keep_status status = check_route(message, err);

	*out = (keep_route_outcome){.items = NULL};
	if (status == KEEP_OK && mailbox->read_only)
		status = kp_fail(err, KEEP_DENIED, "the mailbox was opened for reading only");
	if (status == KEEP_OK)
		status = kp_check_time("now_ms", routing.now_ms, err);
	if (status == KEEP_OK)
		status = kp_trigger_message_init(&routing.message, message->content, &nodes, err);
	if (status == KEEP_OK)
		status = find_chat(&routing, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(memory, routing.chat.id, &out->messaging_group_id, err);
	if (status == KEEP_OK && routing.count) {
		out->items = kp_arena_alloc(memory, routing.count * sizeof *out->items);
		if (!out->items)
			status = kp_fail_memory(err, "an answer");
	}
	if (status == KEEP_OK) {
		out->count = routing.count;
		out->is_unrouted = !routing.count;
		status = offer(&routing, out, err);
	}
	if (status != KEEP_OK)
		*out = (keep_route_outcome){.items = NULL};
	kp_trigger_message_release(&routing.message);
	kp_arena_release(&nodes);
	return status;
}
