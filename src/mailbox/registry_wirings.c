/*
 * registry_wirings.c - wirings: this agent serves that chat.
 *
 * Invariants:
 *   1. A chat and an agent have one wiring; which two it joins never changes.
 *   2. Rules are stored only when they were understood whole (trigger_rules.c).
 *   3. Whoever serves a chat may send to it: the wiring and the destination appear in one commit.
 *      Taking the wiring away leaves the destination, which may have been allowed for itself.
 *   4. A chat has at most KEEP_MAILBOX_LIST_MAX wirings, so that a message asks all of them.
 *
 * What it does not do: evaluate rules, or choose sessions (route.c).
 *
 * Tests: tests/contract/test_mailbox_registry.c.
 */
#include "mailbox/registry_private.h"

enum { USUAL_LIMIT = 50 };

static bool is_one_of(keep_bytes text, const char *const *words)
{
	while (*words && !kp_bytes_equal(text, keep_bytes_of(*words)))
		words++;
	return *words != NULL;
}

static keep_status check_words(const keep_messaging_group_agent *wiring, keep_error *err)
{
	static const char *const scopes[] = {KEEP_MESSAGING_GROUP_AGENT_RESPONSE_SCOPE_ALL,
					     KEEP_MESSAGING_GROUP_AGENT_RESPONSE_SCOPE_TRIGGERED,
					     KEEP_MESSAGING_GROUP_AGENT_RESPONSE_SCOPE_ALLOWLISTED,
					     NULL};
	static const char *const modes[] = {KEEP_MESSAGING_GROUP_AGENT_SESSION_MODE_SHARED,
					    KEEP_MESSAGING_GROUP_AGENT_SESSION_MODE_PER_THREAD,
					    KEEP_MESSAGING_GROUP_AGENT_SESSION_MODE_AGENT_SHARED,
					    NULL};

	if (wiring->response_scope.data && !is_one_of(wiring->response_scope, scopes))
		return kp_fail(err, KEEP_INVALID,
			       "response_scope: one of all, triggered, allowlisted is needed");
	if (wiring->session_mode.data && !is_one_of(wiring->session_mode, modes))
		return kp_fail(err, KEEP_INVALID,
			       "session_mode: one of shared, per-thread, agent-shared is needed");
	return KEEP_OK;
}

static keep_status check_wiring(const keep_messaging_group_agent *wiring, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_trigger_rules rules;
	keep_status status = KEEP_OK;

	if (wiring->id.data)
		status = kp_check_registry_id("id", wiring->id, err);
	if (status == KEEP_OK)
		status =
			kp_check_registry_id("messaging_group_id", wiring->messaging_group_id, err);
	if (status == KEEP_OK)
		status = kp_check_segment("agent_group_id", wiring->agent_group_id, err);
	if (status == KEEP_OK)
		status = check_words(wiring, err);
	if (status == KEEP_OK)
		status = kp_trigger_rules_parse(wiring->trigger_rules, &arena, &rules, err);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- wiring */

struct wire {
	keep_messaging_group_agent wiring; /* with its defaults, and an id for a new one */
	bool has_id;                       /* which was given */
	char stored[KEEP_SEGMENT_MAX + 1]; /* its id */
};

/* What is stored of the wiring or its pair: *id is what to write. Invariant 1. */
static keep_status find_stored(kp_lease *lease, const struct wire *wire, kp_arena *arena,
			       keep_bytes *id, bool *is_new, keep_error *err)
{
	const keep_messaging_group_agent *given = &wire->wiring;
	keep_messaging_group_agent by_id, pair;
	bool has_id = false, has_pair = false;
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_WIRING_OF_PAIR,
			     KP_VALUES(kp_text_value(given->messaging_group_id),
				       kp_text_value(given->agent_group_id)),
			     &kp_messaging_group_agent_record, arena, &pair, &has_pair, err);

	if (status == KEEP_OK && wire->has_id)
		status = kp_lease_get(
			lease, KP_MAILBOX_GET_WIRING, KP_VALUES(kp_text_value(given->id)),
			&kp_messaging_group_agent_record, arena, &by_id, &has_id, err);
	if (status != KEEP_OK)
		return status;
	*is_new = !has_id && !has_pair;
	*id = has_pair && !wire->has_id ? pair.id : given->id;
	if (has_pair && !kp_bytes_equal(pair.id, *id))
		return kp_fail(err, KEEP_CONFLICT,
			       "wiring: that chat and that agent have the wiring '%.*s'",
			       (int)pair.id.len, pair.id.data);
	if (has_id && !has_pair)
		return kp_fail(err, KEEP_CONFLICT, "wiring '%.*s': joins another chat or agent",
			       (int)given->id.len, given->id.data);
	return KEEP_OK;
}

static keep_status check_room(kp_lease *lease, keep_bytes chat, keep_error *err)
{
	int64_t count = 0;
	bool found = false;
	keep_status status = kp_lease_int(lease, KP_MAILBOX_COUNT_CHAT_WIRINGS,
					  KP_VALUES(kp_text_value(chat)), &count, &found, err);

	if (status == KEEP_OK && count >= KEEP_MAILBOX_LIST_MAX)
		status = kp_fail(err, KEEP_FULL, "messaging group '%" KP_PRI "': has %d wirings",
				 KP_ARG(chat), KEEP_MAILBOX_LIST_MAX);
	return status;
}

/* Invariant 3. */
static keep_status allow_chat(kp_lease *lease, keep_bytes agent, const keep_messaging_group *chat,
			      kp_arena *arena, keep_error *err)
{
	keep_agent_destination destination = {
		.agent_group_id = agent,
		.display_name = chat->name,
		.type = KEEP_BYTES(KEEP_AGENT_DESTINATION_TYPE_CHANNEL),
		.channel_type = chat->channel_type,
		.platform_id = chat->platform_id,
	};
	keep_agent_destination stored;
	keep_bytes name;
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_AGENT_DESTINATION_TO_CHAT,
			     KP_VALUES(kp_text_value(agent), kp_text_value(chat->channel_type),
				       kp_text_value(chat->platform_id)),
			     &kp_agent_destination_record, arena, &stored, &found, err);

	return status == KEEP_OK && !found
		       ? kp_destination_allow(lease, &destination, arena, &name, err)
		       : status;
}

static keep_status write_wiring(kp_lease *lease, const keep_messaging_group_agent *wiring,
				keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_statement(lease, KP_MAILBOX_PUT_WIRING, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_messaging_group_agent_record, wiring, err);
	if (status == KEEP_OK)
		return kp_sql_run(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status apply_wire(void *ctx, kp_lease *lease, keep_error *err)
{
	struct wire *wire = ctx;
	keep_messaging_group_agent wiring = wire->wiring;
	kp_arena arena = {.head = NULL};
	keep_messaging_group chat;
	keep_agent_group agent;
	bool is_new = false;
	keep_status status = kp_chat_need(lease, wiring.messaging_group_id, &arena, &chat, err);

	if (status == KEEP_OK)
		status = kp_agent_group_need(lease, wiring.agent_group_id, &arena, &agent, err);
	if (status == KEEP_OK)
		status = find_stored(lease, wire, &arena, &wiring.id, &is_new, err);
	if (status == KEEP_OK && is_new)
		status = check_room(lease, wiring.messaging_group_id, err);
	if (status != KEEP_OK) {
		kp_arena_release(&arena);
		return kp_refuse(lease, status);
	}
	status = write_wiring(lease, &wiring, err);
	if (status == KEEP_OK)
		status = allow_chat(lease, wiring.agent_group_id, &chat, &arena, err);
	if (status == KEEP_OK)
		kp_id_tell(wiring.id, wire->stored);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_mailbox_wire(keep_mailbox *mailbox, const keep_messaging_group_agent *wiring,
			      char id_out[KEEP_SEGMENT_MAX + 1], keep_error *err)
{
	struct wire wire = {.wiring = *wiring, .has_id = wiring->id.data != NULL};
	char made[KP_UUID_TEXT_SIZE];
	keep_status status = check_wiring(wiring, err);

	wire.wiring.created_at = kp_clock_ms();
	wire.wiring.response_scope =
		kp_text_or(wiring->response_scope, KEEP_MESSAGING_GROUP_AGENT_RESPONSE_SCOPE_ALL);
	wire.wiring.session_mode =
		kp_text_or(wiring->session_mode, KEEP_MESSAGING_GROUP_AGENT_SESSION_MODE_SHARED);
	if (status == KEEP_OK)
		status = kp_id_or_made(wiring->id, made, &wire.wiring.id, err);
	if (status == KEEP_OK)
		status = kp_registry_change(mailbox, apply_wire, &wire, err);
	if (status == KEEP_OK)
		kp_id_tell(keep_bytes_of(wire.stored), id_out);
	return status;
}

static keep_status apply_unwire(void *ctx, kp_lease *lease, keep_error *err)
{
	const keep_bytes *id = ctx;
	int64_t changes = 0;
	keep_status status = kp_lease_run(lease, KP_MAILBOX_REMOVE_WIRING,
					  KP_VALUES(kp_text_value(*id)), &changes, err);

	if (status == KEEP_OK && !changes)
		status =
			kp_refuse(lease, kp_fail(err, KEEP_NOT_FOUND,
						 "wiring: there is no '%" KP_PRI "'", KP_ARG(*id)));
	return status;
}

keep_status keep_mailbox_unwire(keep_mailbox *mailbox, keep_bytes id, keep_error *err)
{
	keep_status status = kp_check_key("id", id, err);

	return status == KEEP_OK ? kp_registry_change(mailbox, apply_unwire, &id, err) : status;
}

/* ---------------------------------------------------------------- listing */

keep_status kp_chat_wirings(kp_lease *lease, keep_bytes messaging_group_id, kp_arena *arena,
			    keep_messaging_group_agent **items, size_t *count, keep_error *err)
{
	return kp_lease_list(
		lease, KP_MAILBOX_CHAT_WIRINGS,
		KP_VALUES(kp_text_value(messaging_group_id), kp_int_value(KEEP_MAILBOX_LIST_MAX)),
		&kp_messaging_group_agent_record, arena, items, count, err);
}

keep_status keep_mailbox_list_wirings(keep_mailbox *mailbox, keep_bytes messaging_group_id,
				      keep_bytes agent_group_id, size_t limit, keep_memory *memory,
				      keep_messaging_group_agent_list *out, keep_error *err)
{
	kp_value chat = kp_text_value(messaging_group_id), agent = kp_text_value(agent_group_id);
	const kp_record *record = &kp_messaging_group_agent_record;
	int64_t rows = 0;
	keep_status status = kp_check_limit(limit, USUAL_LIMIT, KEEP_MAILBOX_LIST_MAX, &rows, err);

	*out = (keep_messaging_group_agent_list){.items = NULL};
	if (status == KEEP_OK && messaging_group_id.data)
		status = kp_check_key("messaging_group_id", messaging_group_id, err);
	if (status == KEEP_OK && agent_group_id.data)
		status = kp_check_segment("agent_group_id", agent_group_id, err);
	if (status != KEEP_OK)
		return status;
	if (messaging_group_id.data && agent_group_id.data)
		return kp_registry_list(mailbox, KP_MAILBOX_WIRING_OF_PAIR, KP_VALUES(chat, agent),
					record, memory, &out->items, &out->count, err);
	if (messaging_group_id.data)
		return kp_registry_list(mailbox, KP_MAILBOX_CHAT_WIRINGS,
					KP_VALUES(chat, kp_int_value(rows)), record, memory,
					&out->items, &out->count, err);
	if (agent_group_id.data)
		return kp_registry_list(mailbox, KP_MAILBOX_AGENT_WIRINGS,
					KP_VALUES(agent, kp_int_value(rows)), record, memory,
					&out->items, &out->count, err);
	return kp_registry_list(mailbox, KP_MAILBOX_ALL_WIRINGS, KP_VALUES(kp_int_value(rows)),
				record, memory, &out->items, &out->count, err);
}
