/*
 * gateway_groups.c - registered groups: which chat an agent's folder serves.
 *
 *     active ──> closed ──> archived
 *        ^          │           │
 *        └──────────┴───────────┘
 *
 * Invariants:
 *   1. Renewing a group changes what is given and nothing else: the stored row is read, completed
 *      and written in one transaction, and added_at is from the first time on.
 *   2. A state moves along the drawing only, by a compare-and-set.
 *   3. A token belongs to one group. It is found by its SHA-256, so that neither an index nor the
 *      time of a look-up tells anything of it, and then compared in constant time. It is in no
 *      message, and what is read of it here is wiped.
 *   4. container_config is stored as the bytes that were given.
 *
 * What it does not do: tell the routes (gateway_routes.c). A group's trigger and state decide
 * whether a route takes a message, and each change of one is a change of this store: who keeps
 * groups in memory must look at them again. It does not touch a removed group's chat, sessions or
 * system messages either.
 *
 * Tests: tests/contract/test_gateway_groups.c, tests/torture/test_gateway_groups_faults.c.
 */
#include "gateway/gateway_private.h"
#include "vault/vault.h"

#include <string.h>

enum { GROUPS_MAX = 100000, SLINK_BYTES_MAX = 256 };

/* ---------------------------------------------------------------- what is taken */

static bool is_state(keep_bytes state)
{
	static const char *const states[] = {KEEP_REGISTERED_GROUP_STATE_ACTIVE,
					     KEEP_REGISTERED_GROUP_STATE_CLOSED,
					     KEEP_REGISTERED_GROUP_STATE_ARCHIVED};

	for (size_t i = 0; i < KP_COUNT(states); i++)
		if (kp_bytes_equal(state, keep_bytes_of(states[i])))
			return true;
	return false;
}

static keep_status check_state(keep_bytes state, keep_error *err)
{
	if (!is_state(state))
		return kp_fail(err, KEEP_INVALID,
			       "state: one of active, closed, archived is needed");
	return KEEP_OK;
}

static bool can_move(keep_bytes from, keep_bytes to)
{
	static const struct {
		const char *from, *to;
	} steps[] = {
		{KEEP_REGISTERED_GROUP_STATE_ACTIVE, KEEP_REGISTERED_GROUP_STATE_CLOSED},
		{KEEP_REGISTERED_GROUP_STATE_CLOSED, KEEP_REGISTERED_GROUP_STATE_ARCHIVED},
		{KEEP_REGISTERED_GROUP_STATE_CLOSED, KEEP_REGISTERED_GROUP_STATE_ACTIVE},
		{KEEP_REGISTERED_GROUP_STATE_ARCHIVED, KEEP_REGISTERED_GROUP_STATE_ACTIVE},
	};

	for (size_t i = 0; i < KP_COUNT(steps); i++)
		if (kp_bytes_equal(from, keep_bytes_of(steps[i].from)) &&
		    kp_bytes_equal(to, keep_bytes_of(steps[i].to)))
			return true;
	return false;
}

static keep_status check_group(const keep_registered_group *group, keep_error *err)
{
	keep_status status = kp_check_key("jid", group->jid, err);

	if (status == KEEP_OK && group->folder.data)
		status = kp_check_folder("folder", group->folder, err);
	if (status == KEEP_OK && group->parent.len)
		status = kp_check_folder("parent", group->parent, err);
	if (status == KEEP_OK)
		status = kp_check_text("trigger_word", group->trigger_word, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_text("name", group->name, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT,
				       err);
	if (status == KEEP_OK)
		status = kp_check_text("slink_token", group->slink_token, SLINK_BYTES_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK && group->state.data)
		status = check_state(group->state, err);
	if (status == KEEP_OK)
		status = kp_check_json("container_config", group->container_config, KP_JSON_NULL,
				       err);
	return status;
}

/* ---------------------------------------------------------------- register or renew */

struct put_group {
	const keep_registered_group *given;
	int64_t now_ms;
	char hash[KP_TOKEN_HASH_TEXT_SIZE]; /* of the given token; "" without one */
};

/* Refuse before anything was changed: the neighbours in the transaction go on. */
static keep_status refuse(kp_lease *lease, keep_status status)
{
	lease->unchanged = true;
	return status;
}

/* The given group, completed by what is stored or by the defaults. */
static keep_registered_group complete_group(const struct put_group *put,
					    const keep_registered_group *stored)
{
	const keep_registered_group fresh = {
		.trigger_word = KEEP_BYTES(""),
		.parent = KEEP_BYTES(""),
		.name = KEEP_BYTES(""),
		.state = KEEP_BYTES(KEEP_REGISTERED_GROUP_STATE_ACTIVE),
		.added_at = put->now_ms,
	};
	const keep_registered_group *given = put->given;
	keep_registered_group group = stored ? *stored : fresh;
	struct {
		keep_bytes *to;
		keep_bytes from;
	} texts[] = {
		{&group.jid, given->jid},
		{&group.folder, given->folder},
		{&group.trigger_word, given->trigger_word},
		{&group.container_config, given->container_config},
		{&group.parent, given->parent},
		{&group.name, given->name},
		{&group.state, given->state},
	};

	for (size_t i = 0; i < KP_COUNT(texts); i++)
		if (texts[i].from.data)
			*texts[i].to = texts[i].from;
	if (given->slink_token.data) {
		bool has_token = given->slink_token.len > 0;

		group.slink_token = has_token ? given->slink_token : (keep_bytes){0};
		group.slink_hash = has_token ? keep_bytes_of(put->hash) : (keep_bytes){0};
	}
	group.requires_trigger = given->requires_trigger;
	group.updated_at = put->now_ms;
	return group;
}

/* What can be said only of the completed group. */
static keep_status check_completed(const keep_registered_group *group,
				   const keep_registered_group *stored, keep_error *err)
{
	if (!group->folder.data)
		return kp_fail(err, KEEP_INVALID, "folder: is missing or empty");
	if (group->requires_trigger && !group->trigger_word.len)
		return kp_fail(err, KEEP_INVALID,
			       "trigger_word: is empty, and requires_trigger is set");
	if (stored && !kp_bytes_equal(stored->state, group->state) &&
	    !can_move(stored->state, group->state))
		return kp_fail(err, KEEP_CONFLICT,
			       "group '%" KP_PRI "': is %" KP_PRI ", and cannot become %" KP_PRI,
			       KP_ARG(group->jid), KP_ARG(stored->state), KP_ARG(group->state));
	return KEEP_OK;
}

/* Invariant 3. */
static keep_status check_token(kp_lease *lease, const struct put_group *put, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_bytes owner = {0};
	bool has_row = false;
	keep_status status;

	if (!put->hash[0])
		return KEEP_OK;
	status = kp_lease_bind(lease, KP_GATEWAY_FIND_SLINK_OWNER,
			       KP_VALUES(kp_text_value(keep_bytes_of(put->hash))), &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &owner, err);
	if (status == KEEP_OK && has_row && !kp_bytes_equal(owner, put->given->jid))
		status = refuse(lease, kp_fail(err, KEEP_CONFLICT,
					       "group '%" KP_PRI
					       "': slink_token: conflict: it is another group's",
					       KP_ARG(put->given->jid)));
	kp_sql_reset(stmt);
	return status;
}

static keep_status write_group(kp_lease *lease, const keep_registered_group *group, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_statement(lease, KP_GATEWAY_PUT_GROUP, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_registered_group_record, group, err);
	if (status == KEEP_OK)
		return kp_sql_queue(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status apply_put(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct put_group *put = ctx;
	kp_arena arena = {.head = NULL};
	keep_registered_group stored, group;
	kp_sql_stmt *stmt = NULL;
	bool found = false;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_GET_GROUP,
					   KP_VALUES(kp_text_value(put->given->jid)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_registered_group_record, &stored, &arena,
					    &found, err);
	if (status == KEEP_OK)
		status = check_token(lease, put, err);
	if (status != KEEP_OK)
		goto out;
	group = complete_group(put, found ? &stored : NULL);
	status = check_completed(&group, found ? &stored : NULL, err);
	if (status != KEEP_OK)
		status = refuse(lease, status);
	else
		status = write_group(lease, &group, err);
out:
	kp_arena_wipe(&arena);
	return status;
}

keep_status keep_gateway_put_group(keep_gateway *gateway, const keep_registered_group *group,
				   keep_error *err)
{
	struct put_group put = {.given = group, .now_ms = kp_clock_ms()};
	keep_status status = check_group(group, err);

	if (status == KEEP_OK && group->slink_token.len)
		status = kp_token_hash(group->slink_token, put.hash, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_put, &put, KP_NEWS_NONE, err);
}

/* ---------------------------------------------------------------- reading */

static keep_status list_groups(keep_gateway *gateway, size_t statement, keep_bytes key,
			       keep_memory *memory, keep_registered_group_list *out,
			       keep_error *err)
{
	keep_registered_group_list list = {NULL, 0};
	keep_status status = kp_gateway_list(
		gateway, statement, KP_VALUES(kp_text_value(key), kp_int_value(GROUPS_MAX + 1)),
		&kp_registered_group_record, memory, &list.items, &list.count, err);

	if (status == KEEP_OK && list.count > GROUPS_MAX)
		return kp_fail(err, KEEP_FULL, "registered_groups: more than %d of them in a list",
			       GROUPS_MAX);
	if (status == KEEP_OK)
		*out = list;
	return status;
}

keep_status keep_gateway_get_registered_groups(keep_gateway *gateway, keep_bytes state,
					       keep_memory *memory, keep_registered_group_list *out,
					       keep_error *err)
{
	keep_status status;

	state = kp_text_or(state, KEEP_REGISTERED_GROUP_STATE_ACTIVE);
	status = check_state(state, err);
	if (status != KEEP_OK)
		return status;
	return list_groups(gateway, KP_GATEWAY_GROUPS_BY_STATE, state, memory, out, err);
}

keep_status keep_gateway_groups_by_folder(keep_gateway *gateway, keep_bytes folder,
					  keep_memory *memory, keep_registered_group_list *out,
					  keep_error *err)
{
	keep_status status = kp_check_folder("folder", folder, err);

	if (status != KEEP_OK)
		return status;
	return list_groups(gateway, KP_GATEWAY_GROUPS_BY_FOLDER, folder, memory, out, err);
}

static keep_status tell_missing(keep_bytes jid, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "group '%" KP_PRI "' is not registered", KP_ARG(jid));
}

keep_status keep_gateway_get_group(keep_gateway *gateway, keep_bytes jid, keep_memory *memory,
				   keep_registered_group *out, keep_error *err)
{
	keep_status status = kp_check_key("jid", jid, err);
	keep_registered_group group;
	bool found = false;

	if (status == KEEP_OK)
		status =
			kp_gateway_get(gateway, KP_GATEWAY_GET_GROUP, KP_VALUES(kp_text_value(jid)),
				       &kp_registered_group_record, memory, &group, &found, err);
	if (status == KEEP_OK && !found)
		return tell_missing(jid, err);
	if (status == KEEP_OK)
		*out = group;
	return status;
}

keep_status keep_gateway_group_by_slink_token(keep_gateway *gateway, keep_bytes token,
					      keep_memory *memory, keep_registered_group *out,
					      keep_error *err)
{
	char hash[KP_TOKEN_HASH_TEXT_SIZE] = "";
	keep_registered_group group;
	bool found = false;
	keep_status status =
		kp_check_text("slink_token", token, SLINK_BYTES_MAX, KP_NOT_EMPTY, err);

	if (status == KEEP_OK)
		status = kp_token_hash(token, hash, err);
	if (status == KEEP_OK)
		status = kp_gateway_get(gateway, KP_GATEWAY_GROUP_BY_SLINK_HASH,
					KP_VALUES(kp_text_value(keep_bytes_of(hash))),
					&kp_registered_group_record, memory, &group, &found, err);
	if (status == KEEP_OK && (!found || !kp_secret_equal(group.slink_token, token)))
		return kp_fail(err, KEEP_NOT_FOUND, "no active group has this slink_token");
	if (status == KEEP_OK)
		*out = group;
	return status;
}

/* ---------------------------------------------------------------- states and the end */

struct move_group {
	keep_bytes jid, state;
	int64_t now_ms;
};

static keep_status apply_move(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct move_group *move = ctx;
	kp_arena arena = {.head = NULL};
	keep_registered_group stored;
	kp_sql_stmt *stmt = NULL;
	bool found = false;
	int64_t changes = 0;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_GET_GROUP,
					   KP_VALUES(kp_text_value(move->jid)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_registered_group_record, &stored, &arena,
					    &found, err);
	if (status != KEEP_OK)
		goto out;
	if (!found) {
		status = refuse(lease, tell_missing(move->jid, err));
		goto out;
	}
	if (can_move(stored.state, move->state))
		status = kp_lease_run(
			lease, KP_GATEWAY_MOVE_GROUP,
			KP_VALUES(kp_text_value(move->jid), kp_text_value(stored.state),
				  kp_text_value(move->state), kp_time_value(move->now_ms)),
			&changes, err);
	if (status == KEEP_OK && changes == 0)
		status = refuse(lease, kp_fail(err, KEEP_CONFLICT,
					       "group '%" KP_PRI "': is %" KP_PRI
					       ", and cannot become %" KP_PRI,
					       KP_ARG(move->jid), KP_ARG(stored.state),
					       KP_ARG(move->state)));
out:
	kp_arena_wipe(&arena);
	return status;
}

keep_status keep_gateway_set_group_state(keep_gateway *gateway, keep_bytes jid, keep_bytes state,
					 keep_error *err)
{
	struct move_group move = {jid, state, kp_clock_ms()};
	keep_status status = kp_check_key("jid", jid, err);

	if (status == KEEP_OK)
		status = check_state(state, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_move, &move, KP_NEWS_NONE, err);
}

static keep_status apply_remove(void *ctx, kp_lease *lease, keep_error *err)
{
	const keep_bytes *jid = ctx;
	int64_t changes = 0;
	keep_status status = kp_lease_run(lease, KP_GATEWAY_REMOVE_GROUP,
					  KP_VALUES(kp_text_value(*jid)), &changes, err);

	if (status == KEEP_OK && changes == 0)
		return refuse(lease, tell_missing(*jid, err));
	return status;
}

keep_status keep_gateway_remove_group(keep_gateway *gateway, keep_bytes jid, keep_error *err)
{
	keep_status status = kp_check_key("jid", jid, err);

	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_remove, &jid, KP_NEWS_NONE, err);
}
