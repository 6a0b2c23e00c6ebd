/*
 * gateway_access.c - access tokens and folders: who may see what.
 *
 * Invariants:
 *   1. A token is verified with the key that it names and nothing else: no account, no session is
 *      read, so its hour is the time that a change of rights takes to reach everybody.
 *   2. A key is 32 random bytes that never leave the store. The newest one signs; older ones verify
 *      until they are retired.
 *   3. `groups` null in a token, and no row in user_groups, mean an operator; [] and the folder ''
 *      mean nothing at all.
 *
 * Tests: tests/contract/test_gateway_accounts.c.
 */
#include "gateway/gateway_private.h"
#include "vault/vault.h"

#include <string.h>

enum { KEY_BYTES = 32 };

/* ---------------------------------------------------------------- folders */

static bool covers(keep_bytes granted, keep_bytes folder)
{
	if (!granted.len || folder.len < granted.len ||
	    memcmp(granted.data, folder.data, granted.len) != 0)
		return false;
	return folder.len == granted.len || folder.data[granted.len] == '/';
}

bool keep_access_covers(const keep_access *access, keep_bytes folder)
{
	if (kp_check_folder("folder", folder, NULL) != KEEP_OK)
		return false;
	if (access->is_operator)
		return true;
	for (size_t i = 0; i < access->folder_count; i++)
		if (covers(access->folders[i], folder))
			return true;
	return false;
}

/* What an account may see, in `arena`. */
struct rights {
	keep_bytes sub;
	kp_arena *arena;
	bool found;
	keep_auth_user user;
	keep_user_group *groups;
	size_t group_count;
};

static keep_status query_rights(void *ctx, kp_lease *lease, keep_error *err)
{
	struct rights *rights = ctx;
	kp_sql_stmt *stmt = NULL;
	void *items = NULL;
	keep_status status = kp_sql_begin(lease->conn, KP_SQL_READ, err);

	if (status == KEEP_OK)
		status = kp_user_find(lease, rights->sub, rights->arena, &rights->user,
				      &rights->found, err);
	if (status == KEEP_OK)
		status = kp_lease_bind(lease, KP_GATEWAY_USER_FOLDERS,
				       KP_VALUES(kp_text_value(rights->sub)), &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_read_all(stmt, &kp_user_group_record, rights->arena, &items,
					    &rights->group_count, err);
	rights->groups = items;
	kp_sql_rollback(lease->conn);
	return status;
}

keep_status keep_gateway_may_access(keep_gateway *gateway, keep_bytes sub, keep_bytes folder,
				    bool *may, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct rights rights = {.sub = sub, .arena = &arena};
	keep_status status = kp_check_key("sub", sub, err);

	*may = false;
	if (status == KEEP_OK)
		status = kp_check_folder("folder", folder, err);
	if (status == KEEP_OK)
		status = kp_gateway_read(gateway, query_rights, &rights, err);
	if (status == KEEP_OK && rights.found && !rights.user.disabled) {
		*may = rights.group_count == 0;
		for (size_t i = 0; i < rights.group_count; i++)
			*may |= covers(rights.groups[i].folder, folder);
	}
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- keys */

struct key_change {
	char id[KP_UUID_TEXT_SIZE];
	unsigned char key[KEY_BYTES];
	int64_t now_ms;
	bool retires;
	bool only_first; /* make one only when there is none */
};

static keep_status apply_key(void *ctx, kp_lease *lease, keep_error *err)
{
	struct key_change *change = ctx;
	kp_arena arena = {.head = NULL};
	keep_signing_key key = {.id = keep_bytes_of(change->id),
				.key = {(const char *)change->key, KEY_BYTES},
				.created_at = change->now_ms};
	keep_signing_key newest;
	kp_sql_stmt *stmt = NULL;
	bool found = false;
	keep_status status = kp_lease_statement(lease, KP_GATEWAY_NEWEST_SIGNING_KEY, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_signing_key_record, &newest, &arena, &found,
					    err);
	kp_arena_wipe(&arena);
	if (status != KEEP_OK || (found && change->only_first))
		return status;
	if (change->retires)
		status = kp_lease_queue(lease, KP_GATEWAY_RETIRE_SIGNING_KEYS,
					KP_VALUES(kp_time_value(change->now_ms)), err);
	if (status == KEEP_OK)
		status = kp_lease_statement(lease, KP_GATEWAY_INSERT_SIGNING_KEY, &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_signing_key_record, &key, err);
	if (status == KEEP_OK)
		status = kp_sql_queue(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status make_key(keep_gateway *gateway, bool retires, bool only_first, keep_error *err)
{
	struct key_change change = {
		.now_ms = kp_clock_ms(), .retires = retires, .only_first = only_first};
	keep_status status = kp_uuid_make(change.id, err);

	if (status == KEEP_OK)
		status = kp_random_bytes(change.key, sizeof change.key, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_key, &change, KP_NEWS_NONE, err);
	kp_wipe(&change, sizeof change);
	return status;
}

keep_status keep_gateway_renew_signing_key(keep_gateway *gateway, bool retire, keep_error *err)
{
	return make_key(gateway, retire, false, err);
}

/* The key that signs; the first one is made here. */
static keep_status get_signing_key(keep_gateway *gateway, kp_arena *arena, keep_signing_key *key,
				   keep_error *err)
{
	bool found = false;
	keep_status status = kp_gateway_get(gateway, KP_GATEWAY_NEWEST_SIGNING_KEY, NULL, 0,
					    &kp_signing_key_record, arena, key, &found, err);

	if (status != KEEP_OK || found)
		return status;
	status = make_key(gateway, false, true, err);
	if (status == KEEP_OK)
		status = kp_gateway_get(gateway, KP_GATEWAY_NEWEST_SIGNING_KEY, NULL, 0,
					&kp_signing_key_record, arena, key, &found, err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_CONFLICT, "the signing key was retired meanwhile");
	return status;
}

/* ---------------------------------------------------------------- tokens */

/* Invariant 3. */
static keep_status write_claims(const struct rights *rights, int64_t now_ms, keep_buffer *out,
				keep_error *err)
{
	kp_json_writer writer;

	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "sub");
	kp_json_put_text(&writer, rights->user.sub);
	kp_json_name(&writer, "name");
	kp_json_put_text(&writer, rights->user.name);
	kp_json_name(&writer, "groups");
	if (rights->group_count) {
		kp_json_open_array(&writer);
		for (size_t i = 0; i < rights->group_count; i++)
			if (rights->groups[i].folder.len)
				kp_json_put_text(&writer, rights->groups[i].folder);
		kp_json_close_array(&writer);
	} else {
		kp_json_put_null(&writer);
	}
	kp_json_name(&writer, "iat");
	kp_json_put_integer(&writer, now_ms / 1000);
	kp_json_name(&writer, "exp");
	kp_json_put_integer(&writer, (now_ms + KEEP_ACCESS_TOKEN_MS) / 1000);
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

keep_status keep_gateway_issue_access_token(keep_gateway *gateway, keep_bytes sub, int64_t now_ms,
					    keep_buffer *token, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct rights rights = {.sub = sub, .arena = &arena};
	keep_signing_key key = {0};
	keep_buffer claims = KEEP_BUFFER_INIT;
	int64_t now = kp_gateway_now(now_ms);
	keep_status status = kp_check_key("sub", sub, err);

	if (status == KEEP_OK)
		status = kp_check_time("now", now, err);
	if (status == KEEP_OK)
		status = kp_gateway_read(gateway, query_rights, &rights, err);
	if (status == KEEP_OK && !rights.found)
		status = kp_fail(err, KEEP_NOT_FOUND, "sub '%" KP_PRI "': no such account",
				 KP_ARG(sub));
	if (status == KEEP_OK && rights.user.disabled)
		status = kp_fail(err, KEEP_DENIED, "sub '%" KP_PRI "': the account is disabled",
				 KP_ARG(sub));
	if (status == KEEP_OK)
		status = get_signing_key(gateway, &arena, &key, err);
	if (status == KEEP_OK)
		status = write_claims(&rights, now, &claims, err);
	if (status == KEEP_OK)
		status = kp_jwt_sign(key.key, key.id, kp_buffer_bytes(&claims), token, err);
	keep_buffer_release(&claims);
	kp_arena_wipe(&arena);
	return status;
}

static keep_status read_groups(const kp_json *groups, keep_memory *memory, keep_access *out,
			       keep_error *err)
{
	out->is_operator = groups && groups->kind == KP_JSON_NULL;
	if (!groups || groups->kind != KP_JSON_ARRAY)
		return KEEP_OK;
	out->folders = kp_arena_alloc(memory, (groups->list.count + 1) * sizeof *out->folders);
	if (!out->folders)
		return kp_fail_memory(err, "a token's folders");
	for (size_t i = 0; i < groups->list.count; i++) {
		const kp_json *item = &groups->list.items[i];
		keep_status status =
			item->kind == KP_JSON_TEXT
				? kp_arena_copy(memory, item->text, &out->folders[i], err)
				: kp_fail(err, KEEP_DENIED,
					  "the access token's groups are no texts");

		if (status != KEEP_OK)
			return status;
		out->folder_count = i + 1;
	}
	return KEEP_OK;
}

/* The claims of ours; all texts are copied, because they borrow from the token. */
static keep_status read_claims(const kp_json *claims, keep_memory *memory, keep_access *out,
			       keep_error *err)
{
	const kp_json *sub = kp_json_member(claims, "sub"), *name = kp_json_member(claims, "name");
	const kp_json *exp = kp_json_member(claims, "exp");
	keep_access access = {0};
	keep_status status;

	if (!sub || sub->kind != KP_JSON_TEXT || !exp || exp->kind != KP_JSON_INTEGER)
		return kp_fail(err, KEEP_DENIED, "the access token has no sub");
	access.expires_at = exp->integer * 1000;
	status = kp_arena_copy(memory, sub->text, &access.sub, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(
			memory, name && name->kind == KP_JSON_TEXT ? name->text : KEEP_BYTES(""),
			&access.name, err);
	if (status == KEEP_OK)
		status = read_groups(kp_json_member(claims, "groups"), memory, &access, err);
	if (status == KEEP_OK)
		*out = access;
	return status;
}

keep_status keep_gateway_verify_access_token(keep_gateway *gateway, keep_bytes token,
					     int64_t now_ms, keep_memory *memory, keep_access *out,
					     keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *claims = NULL;
	keep_signing_key key = {0};
	keep_bytes id = {0};
	bool found = false;
	keep_status status = kp_jwt_key_id(token, &arena, &id, err);

	if (status == KEEP_OK && kp_check_key("kid", id, NULL) == KEEP_OK)
		status = kp_gateway_get(gateway, KP_GATEWAY_GET_SIGNING_KEY,
					KP_VALUES(kp_text_value(id)), &kp_signing_key_record,
					&arena, &key, &found, err);
	if (status == KEEP_OK && (!found || key.has_retired_at))
		status = kp_fail(err, KEEP_DENIED,
				 "the access token's key is not one of ours, or was retired");
	if (status == KEEP_OK)
		status =
			kp_jwt_verify(key.key, token, kp_gateway_now(now_ms), &arena, &claims, err);
	if (status == KEEP_OK)
		status = read_claims(claims, memory, out, err);
	kp_arena_wipe(&arena);
	return status;
}
