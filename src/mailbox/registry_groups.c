/*
 * registry_groups.c - the registry's agent groups and chats.
 *
 * Invariants:
 *   1. Storing one again changes what is given and keeps created_at, which is the store's.
 *   2. What is taken already (a folder, an address) is looked for in the transaction that stores,
 *      so the answer names who has it. Nothing is overwritten by another id.
 *   3. A removal looks at everything that refers to what is removed, in its own transaction, and
 *      names each kind that is there, with the first ids. Only an agent's own destinations go with
 *      it.
 *   4. When a chat moves to another address, its agents' permissions to send to it move too.
 *
 * What it does not do: find chats for messages (route.c); its rules are in registry_wirings.c.
 *
 * Tests: tests/contract/test_mailbox_registry.c.
 */
#include "mailbox/registry_private.h"

enum { USUAL_LIMIT = 50 };

/* ---------------------------------------------------------------- shared with the neighbours */

keep_status kp_check_registry_id(const char *what, keep_bytes id, keep_error *err)
{
	keep_status status = kp_check_key(what, id, err);

	if (status == KEEP_OK)
		status = kp_check_text(what, id, KEEP_SEGMENT_MAX, KP_NOT_EMPTY, err);
	return status;
}

keep_status kp_id_or_made(keep_bytes id, char made[KP_UUID_TEXT_SIZE], keep_bytes *out,
			  keep_error *err)
{
	keep_status status = id.data ? KEEP_OK : kp_uuid_make(made, err);

	if (status == KEEP_OK)
		*out = id.data ? id : (keep_bytes){made, KP_UUID_TEXT_SIZE - 1};
	return status;
}

void kp_id_tell(keep_bytes id, char out[KEEP_SEGMENT_MAX + 1])
{
	size_t len = id.len < KEEP_SEGMENT_MAX ? id.len : KEEP_SEGMENT_MAX;

	if (!out)
		return;
	memcpy(out, id.data, len);
	out[len] = '\0';
}

static keep_status fail_missing(const char *what, keep_bytes id, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "%s: there is no '%" KP_PRI "'", what, KP_ARG(id));
}

/* One record by its id, on a lease. */
static keep_status need(kp_lease *lease, size_t statement, const char *what, keep_bytes id,
			const kp_record *record, kp_arena *arena, void *out, keep_error *err)
{
	bool found = false;
	keep_status status = kp_lease_get(lease, statement, KP_VALUES(kp_text_value(id)), record,
					  arena, out, &found, err);

	return status == KEEP_OK && !found ? fail_missing(what, id, err) : status;
}

keep_status kp_agent_group_need(kp_lease *lease, keep_bytes id, kp_arena *arena,
				keep_agent_group *out, keep_error *err)
{
	return need(lease, KP_MAILBOX_GET_AGENT_GROUP, "agent group", id, &kp_agent_group_record,
		    arena, out, err);
}

keep_status kp_chat_need(kp_lease *lease, keep_bytes id, kp_arena *arena, keep_messaging_group *out,
			 keep_error *err)
{
	return need(lease, KP_MAILBOX_GET_MESSAGING_GROUP, "messaging group", id,
		    &kp_messaging_group_record, arena, out, err);
}

keep_status kp_chat_by_address(kp_lease *lease, keep_bytes channel_type, keep_bytes platform_id,
			       kp_arena *arena, keep_messaging_group *out, bool *found,
			       keep_error *err)
{
	return kp_lease_get(lease, KP_MAILBOX_MESSAGING_GROUP_BY_ADDRESS,
			    KP_VALUES(kp_text_value(channel_type), kp_text_value(platform_id)),
			    &kp_messaging_group_record, arena, out, found, err);
}

static keep_status write_record(kp_lease *lease, size_t statement, const kp_record *record,
				const void *object, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_statement(lease, statement, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, record, object, err);
	if (status == KEEP_OK)
		return kp_sql_run(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

keep_status kp_chat_write(kp_lease *lease, const keep_messaging_group *chat, keep_error *err)
{
	return write_record(lease, KP_MAILBOX_PUT_MESSAGING_GROUP, &kp_messaging_group_record, chat,
			    err);
}

/* ---------------------------------------------------------------- removals */

/* What refers to a thing: a statement of ids and their number. */
struct blocker {
	size_t statement;
	const char *name;
};

static keep_status tell_blocker(kp_lease *lease, const struct blocker *blocker, keep_bytes id,
				keep_buffer *text, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	int64_t total = 0, told = 0;
	keep_bytes one = {.data = NULL};
	keep_status status =
		kp_lease_bind(lease, blocker->statement, KP_VALUES(kp_text_value(id)), &stmt, err);

	while (status == KEEP_OK) {
		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &one, err);
		if (status == KEEP_OK)
			status = kp_sql_column_int(stmt, 1, &total, err);
		if (status == KEEP_OK && !told)
			status = kp_buffer_append_format(text, err, "%s%s ", text->len ? "; " : "",
							 blocker->name);
		if (status == KEEP_OK)
			status =
				kp_buffer_append_format(text, err, "%s%.*s", told ? ", " : "",
							one.len > 40 ? 40 : (int)one.len, one.data);
		told++;
	}
	kp_sql_reset(stmt);
	if (status == KEEP_OK && total > told)
		status = kp_buffer_append_format(text, err, " and %lld more",
						 (long long)(total - told));
	return status;
}

/* CONFLICT with all of them; nothing was changed yet. */
static keep_status refuse_blocked(kp_lease *lease, const char *what, keep_bytes id,
				  const struct blocker *blockers, size_t count, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = tell_blocker(lease, &blockers[i], id, &text, err);
	if (status == KEEP_OK && text.len)
		status = kp_fail(err, KEEP_CONFLICT, "%s '%.*s' stays: it has %.*s", what,
				 id.len > 40 ? 40 : (int)id.len, id.data, (int)text.len, text.data);
	keep_buffer_release(&text);
	return status == KEEP_OK ? status : kp_refuse(lease, status);
}

static keep_status remove_row(kp_lease *lease, size_t statement, const char *what, keep_bytes id,
			      keep_error *err)
{
	int64_t changes = 0;
	keep_status status =
		kp_lease_run(lease, statement, KP_VALUES(kp_text_value(id)), &changes, err);

	return status == KEEP_OK && !changes ? kp_refuse(lease, fail_missing(what, id, err))
					     : status;
}

/* ---------------------------------------------------------------- agent groups */

static keep_status apply_put_agent(void *ctx, kp_lease *lease, keep_error *err)
{
	const keep_agent_group *group = ctx;
	kp_arena arena = {.head = NULL};
	keep_agent_group owner;
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_MAILBOX_AGENT_GROUP_BY_FOLDER,
					  KP_VALUES(kp_text_value(group->folder)),
					  &kp_agent_group_record, &arena, &owner, &found, err);

	if (status == KEEP_OK && found && !kp_bytes_equal(owner.id, group->id))
		status = kp_refuse(lease, kp_fail(err, KEEP_CONFLICT,
						  "folder: '%.*s' is agent group '%.*s''s",
						  (int)group->folder.len, group->folder.data,
						  (int)owner.id.len, owner.id.data));
	if (status == KEEP_OK)
		status = write_record(lease, KP_MAILBOX_PUT_AGENT_GROUP, &kp_agent_group_record,
				      group, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status check_agent(const keep_agent_group *group, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (group->id.data)
		status = kp_check_segment("id", group->id, err);
	if (status == KEEP_OK)
		status = kp_check_key("name", group->name, err);
	if (status == KEEP_OK)
		status = kp_check_segment("folder", group->folder, err);
	if (status == KEEP_OK && group->agent_provider.data)
		status = kp_check_key("agent_provider", group->agent_provider, err);
	if (status == KEEP_OK)
		status = kp_check_json("container_config", group->container_config, KP_JSON_OBJECT,
				       err);
	return status;
}

keep_status keep_mailbox_put_agent_group(keep_mailbox *mailbox, const keep_agent_group *group,
					 char id_out[KEEP_SEGMENT_MAX + 1], keep_error *err)
{
	keep_agent_group stored = *group;
	char made[KP_UUID_TEXT_SIZE];
	keep_status status = check_agent(group, err);

	stored.created_at = kp_clock_ms();
	if (status == KEEP_OK)
		status = kp_id_or_made(group->id, made, &stored.id, err);
	if (status == KEEP_OK)
		status = kp_registry_change(mailbox, apply_put_agent, &stored, err);
	if (status == KEEP_OK)
		kp_id_tell(stored.id, id_out);
	return status;
}

keep_status keep_mailbox_get_agent_group(keep_mailbox *mailbox, keep_bytes id, keep_memory *memory,
					 keep_agent_group *out, keep_error *err)
{
	bool found = false;
	keep_status status = kp_check_segment("id", id, err);

	*out = (keep_agent_group){.id = {.data = NULL}};
	if (status == KEEP_OK)
		status = kp_registry_get(mailbox, KP_MAILBOX_GET_AGENT_GROUP,
					 KP_VALUES(kp_text_value(id)), &kp_agent_group_record,
					 memory, out, &found, err);
	return status == KEEP_OK && !found ? fail_missing("agent group", id, err) : status;
}

/* A list by id, above `after`. */
static keep_status list_by_id(keep_mailbox *mailbox, size_t statement, keep_bytes after,
			      size_t limit, const kp_record *record, keep_memory *memory,
			      void *items, size_t *count, keep_error *err)
{
	int64_t rows = 0;
	keep_status status = kp_check_limit(limit, USUAL_LIMIT, KEEP_MAILBOX_LIST_MAX, &rows, err);

	if (status == KEEP_OK)
		status =
			kp_check_text("after", after, KEEP_MAILBOX_TEXT_MAX, KP_MAY_BE_ABSENT, err);
	if (status != KEEP_OK)
		return status;
	return kp_registry_list(mailbox, statement,
				KP_VALUES(kp_text_value(kp_text_or(after, "")), kp_int_value(rows)),
				record, memory, items, count, err);
}

keep_status keep_mailbox_list_agent_groups(keep_mailbox *mailbox, keep_bytes after, size_t limit,
					   keep_memory *memory, keep_agent_group_list *out,
					   keep_error *err)
{
	*out = (keep_agent_group_list){.items = NULL};
	return list_by_id(mailbox, KP_MAILBOX_LIST_AGENT_GROUPS, after, limit,
			  &kp_agent_group_record, memory, &out->items, &out->count, err);
}

static keep_status apply_remove_agent(void *ctx, kp_lease *lease, keep_error *err)
{
	static const struct blocker blockers[] = {
		{KP_MAILBOX_AGENT_GROUP_WIRINGS, "wirings"},
		{KP_MAILBOX_AGENT_GROUP_SESSIONS, "sessions"},
		{KP_MAILBOX_AGENT_GROUP_SENDERS, "destinations that lead to it"},
	};
	const keep_bytes *id = ctx;
	keep_status status =
		refuse_blocked(lease, "agent group", *id, blockers, KP_COUNT(blockers), err);

	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_MAILBOX_REMOVE_DESTINATIONS_OF_AGENT,
				      KP_VALUES(kp_text_value(*id)), NULL, err);
	return status == KEEP_OK
		       ? remove_row(lease, KP_MAILBOX_REMOVE_AGENT_GROUP, "agent group", *id, err)
		       : status;
}

keep_status keep_mailbox_remove_agent_group(keep_mailbox *mailbox, keep_bytes id, keep_error *err)
{
	keep_status status = kp_check_segment("id", id, err);

	return status == KEEP_OK ? kp_registry_change(mailbox, apply_remove_agent, &id, err)
				 : status;
}

/* ---------------------------------------------------------------- chats */

struct put_chat {
	const keep_messaging_group *given;
	keep_bytes new_id;                 /* when it is a new one */
	char stored[KEEP_SEGMENT_MAX + 1]; /* its id */
	int64_t now_ms;
};

static keep_status check_chat(const keep_messaging_group *chat, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (chat->id.data)
		status = kp_check_registry_id("id", chat->id, err);
	if (status == KEEP_OK)
		status = kp_check_key("channel_type", chat->channel_type, err);
	if (status == KEEP_OK)
		status = kp_check_key("platform_id", chat->platform_id, err);
	if (status == KEEP_OK)
		status = kp_check_text("name", chat->name, KEEP_MAILBOX_TEXT_MAX, KP_MAY_BE_ABSENT,
				       err);
	if (status == KEEP_OK && chat->admin_user_id.data)
		status = kp_check_key("admin_user_id", chat->admin_user_id, err);
	return status;
}

/* Invariant 4. */
static keep_status move_destinations(kp_lease *lease, const keep_messaging_group *from,
				     const keep_messaging_group *to, keep_error *err)
{
	if (kp_bytes_equal(from->channel_type, to->channel_type) &&
	    kp_bytes_equal(from->platform_id, to->platform_id))
		return KEEP_OK;
	return kp_lease_run(lease, KP_MAILBOX_MOVE_CHAT_DESTINATIONS,
			    KP_VALUES(kp_text_value(from->id), kp_text_value(from->channel_type),
				      kp_text_value(from->platform_id),
				      kp_text_value(to->channel_type),
				      kp_text_value(to->platform_id)),
			    NULL, err);
}

static keep_status apply_put_chat(void *ctx, kp_lease *lease, keep_error *err)
{
	struct put_chat *put = ctx;
	const keep_messaging_group *given = put->given;
	kp_arena arena = {.head = NULL};
	keep_messaging_group by_id, by_address, chat = *given;
	bool has_id = false, has_address = false;
	keep_status status = kp_chat_by_address(lease, given->channel_type, given->platform_id,
						&arena, &by_address, &has_address, err);

	if (status == KEEP_OK && given->id.data)
		status = kp_lease_get(lease, KP_MAILBOX_GET_MESSAGING_GROUP,
				      KP_VALUES(kp_text_value(given->id)),
				      &kp_messaging_group_record, &arena, &by_id, &has_id, err);
	if (status == KEEP_OK && given->id.data && has_address &&
	    !kp_bytes_equal(by_address.id, given->id))
		status = kp_refuse(lease,
				   kp_fail(err, KEEP_CONFLICT, "platform_id: that chat is '%.*s'",
					   (int)by_address.id.len, by_address.id.data));
	chat.created_at = put->now_ms;
	if (!given->id.data)
		chat.id = status == KEEP_OK && has_address ? by_address.id : put->new_id;
	if (status == KEEP_OK && has_id)
		status = move_destinations(lease, &by_id, given, err);
	if (status == KEEP_OK)
		status = kp_chat_write(lease, &chat, err);
	if (status == KEEP_OK)
		kp_id_tell(chat.id, put->stored);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_mailbox_put_messaging_group(keep_mailbox *mailbox,
					     const keep_messaging_group *group,
					     char id_out[KEEP_SEGMENT_MAX + 1], keep_error *err)
{
	struct put_chat put = {.given = group, .now_ms = kp_clock_ms()};
	char made[KP_UUID_TEXT_SIZE];
	keep_status status = check_chat(group, err);

	if (status == KEEP_OK)
		status = kp_id_or_made(group->id, made, &put.new_id, err);
	if (status == KEEP_OK)
		status = kp_registry_change(mailbox, apply_put_chat, &put, err);
	if (status == KEEP_OK)
		kp_id_tell(keep_bytes_of(put.stored), id_out);
	return status;
}

keep_status keep_mailbox_get_messaging_group(keep_mailbox *mailbox, keep_bytes id,
					     keep_memory *memory, keep_messaging_group *out,
					     keep_error *err)
{
	bool found = false;
	keep_status status = kp_check_key("id", id, err);

	*out = (keep_messaging_group){.id = {.data = NULL}};
	if (status == KEEP_OK)
		status = kp_registry_get(mailbox, KP_MAILBOX_GET_MESSAGING_GROUP,
					 KP_VALUES(kp_text_value(id)), &kp_messaging_group_record,
					 memory, out, &found, err);
	return status == KEEP_OK && !found ? fail_missing("messaging group", id, err) : status;
}

keep_status keep_mailbox_find_messaging_group(keep_mailbox *mailbox, keep_bytes channel_type,
					      keep_bytes platform_id, keep_memory *memory,
					      keep_messaging_group *out, keep_error *err)
{
	bool found = false;
	keep_status status = kp_check_key("channel_type", channel_type, err);

	*out = (keep_messaging_group){.id = {.data = NULL}};
	if (status == KEEP_OK)
		status = kp_check_key("platform_id", platform_id, err);
	if (status == KEEP_OK)
		status = kp_registry_get(
			mailbox, KP_MAILBOX_MESSAGING_GROUP_BY_ADDRESS,
			KP_VALUES(kp_text_value(channel_type), kp_text_value(platform_id)),
			&kp_messaging_group_record, memory, out, &found, err);
	if (status == KEEP_OK && !found)
		status = kp_fail(
			err, KEEP_NOT_FOUND, "messaging group: there is no '%.*s' on '%.*s'",
			platform_id.len > 100 ? 100 : (int)platform_id.len, platform_id.data,
			channel_type.len > 60 ? 60 : (int)channel_type.len, channel_type.data);
	return status;
}

keep_status keep_mailbox_list_messaging_groups(keep_mailbox *mailbox, keep_bytes after,
					       size_t limit, keep_memory *memory,
					       keep_messaging_group_list *out, keep_error *err)
{
	*out = (keep_messaging_group_list){.items = NULL};
	return list_by_id(mailbox, KP_MAILBOX_LIST_MESSAGING_GROUPS, after, limit,
			  &kp_messaging_group_record, memory, &out->items, &out->count, err);
}

static keep_status apply_remove_chat(void *ctx, kp_lease *lease, keep_error *err)
{
	static const struct blocker blockers[] = {
		{KP_MAILBOX_MESSAGING_GROUP_WIRINGS, "wirings"},
		{KP_MAILBOX_MESSAGING_GROUP_SESSIONS, "sessions"},
	};
	const keep_bytes *id = ctx;
	keep_status status =
		refuse_blocked(lease, "messaging group", *id, blockers, KP_COUNT(blockers), err);

	return status == KEEP_OK ? remove_row(lease, KP_MAILBOX_REMOVE_MESSAGING_GROUP,
					      "messaging group", *id, err)
				 : status;
}

keep_status keep_mailbox_remove_messaging_group(keep_mailbox *mailbox, keep_bytes id,
						keep_error *err)
{
	keep_status status = kp_check_key("id", id, err);

	return status == KEEP_OK ? kp_registry_change(mailbox, apply_remove_chat, &id, err)
				 : status;
}
