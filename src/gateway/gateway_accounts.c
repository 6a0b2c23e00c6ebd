/*
 * gateway_accounts.c - web accounts: making them, their passwords, what they may see.
 *
 * Invariants:
 *   1. Nobody becomes an operator by omission. An account without a row in user_groups is one (the
 *      source's rule), so an account that shall see nothing has one row with the folder ''.
 *   2. A password is hashed outside of any transaction, and at most as a PHC string in the column
 *      `hash` is it ever stored.
 *   3. verify_password spends one full hash on whatever it is asked, and has one message for
 *      every refusal. An account whose hash has another cost than ours pays ours on top, once,
 *      since its hash is renewed by its next sign-in.
 *   4. A new password and disabling end all sessions of the account in the same transaction.
 *
 * What it does not do: limit how often somebody may try; that is whose door it is.
 *
 * Tests: tests/contract/test_gateway_accounts.c.
 */
#include "gateway/gateway_private.h"
#include "vault/vault.h"

#include <string.h>

enum { PASSWORD_BYTES_MIN = 8, FOLDERS_MAX = 1000 };

/* ---------------------------------------------------------------- what is taken */

static keep_status check_folders(bool is_operator, const keep_bytes *folders, size_t count,
				 keep_error *err)
{
	keep_status status = KEEP_OK;

	if (is_operator && count)
		return kp_fail(err, KEEP_INVALID, "folders: an operator sees all; say one of both");
	if (count > FOLDERS_MAX)
		return kp_fail(err, KEEP_INVALID, "folders: %zu, the limit is %d", count,
			       FOLDERS_MAX);
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = kp_check_folder("folders", folders[i], err);
	return status;
}

static keep_status check_password(keep_bytes password, keep_error *err)
{
	if (password.len < PASSWORD_BYTES_MIN || password.len > KP_PASSWORD_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "password: %d to %d bytes are needed",
			       PASSWORD_BYTES_MIN, KP_PASSWORD_BYTES_MAX);
	return KEEP_OK;
}

static keep_status check_user(const keep_user_options *options, keep_error *err)
{
	keep_status status;

	if (!options || options->size != sizeof *options)
		return kp_fail(err, KEEP_MISUSE, "keep_gateway_create_user: options.size is wrong");
	status = kp_check_key("sub", options->sub, err);
	if (status == KEEP_OK && options->username.data)
		status = kp_check_key("username", options->username, err);
	if (status == KEEP_OK)
		status = kp_check_text("name", options->name, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK && options->password.data && options->hash.data)
		status = kp_fail(err, KEEP_INVALID, "hash: a password is given, too");
	if (status == KEEP_OK && options->password.data)
		status = check_password(options->password, err);
	if (status == KEEP_OK && !options->is_operator && !options->folder_count)
		status = kp_fail(err, KEEP_INVALID,
				 "folders: an account is an operator or has folders; say which");
	if (status == KEEP_OK)
		status = check_folders(options->is_operator, options->folders,
				       options->folder_count, err);
	return status;
}

/* The PHC string to store; empty without a password. */
static keep_status make_hash(const keep_user_options *options, keep_buffer *hash, keep_error *err)
{
	bool matches;
	keep_status status;

	if (options->password.data)
		return kp_password_hash(options->password, hash, err);
	if (!options->hash.data || !options->hash.len)
		return KEEP_OK;
	if (kp_password_is_current(options->hash))
		return keep_buffer_set(hash, options->hash, err);
	/* Verify against it once: a string that can never be verified is refused now. */
	status = kp_password_verify(KEEP_BYTES("?"), options->hash, &matches, err);
	if (status == KEEP_INVALID)
		return kp_fail(err, status, "hash: is no argon2id PHC string within bounds");
	return status == KEEP_OK ? keep_buffer_set(hash, options->hash, err) : status;
}

/* ---------------------------------------------------------------- making an account */

struct creation {
	keep_auth_user user;
	const keep_user_options *options;
};

static keep_status find_user(kp_lease *lease, size_t statement, keep_bytes key, kp_arena *arena,
			     keep_auth_user *user, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status =
		kp_lease_bind(lease, statement, KP_VALUES(kp_text_value(key)), &stmt, err);

	*found = false;
	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_auth_user_record, user, arena, found, err);
	return status;
}

keep_status kp_user_find(kp_lease *lease, keep_bytes sub, kp_arena *arena, keep_auth_user *user,
			 bool *found, keep_error *err)
{
	return find_user(lease, KP_GATEWAY_GET_USER_BY_SUB, sub, arena, user, found, err);
}

static keep_status check_free(kp_lease *lease, const keep_auth_user *user, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_auth_user other;
	bool by_sub = false, by_name = false;
	keep_status status = kp_user_find(lease, user->sub, &arena, &other, &by_sub, err);

	if (status == KEEP_OK && !by_sub)
		status = find_user(lease, KP_GATEWAY_GET_USER_BY_USERNAME, user->username, &arena,
				   &other, &by_name, err);
	kp_arena_release(&arena);
	if (status == KEEP_OK && (by_sub || by_name))
		return kp_fail(err, KEEP_CONFLICT, "%s '%" KP_PRI "': is taken",
			       by_sub ? "sub" : "username",
			       KP_ARG(by_sub ? user->sub : user->username));
	return status;
}

/* Invariant 1. */
static keep_status store_folders(kp_lease *lease, keep_bytes sub, bool is_operator,
				 const keep_bytes *folders, size_t count, keep_error *err)
{
	static const keep_bytes none = {"", 0};
	keep_status status = KEEP_OK;

	if (is_operator)
		return KEEP_OK;
	for (size_t i = 0; i < (count ? count : 1) && status == KEEP_OK; i++)
		status = kp_lease_queue(
			lease, KP_GATEWAY_ADD_USER_FOLDER,
			KP_VALUES(kp_text_value(sub), kp_text_value(count ? folders[i] : none)),
			err);
	return status;
}

static keep_status apply_creation(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct creation *creation = ctx;
	kp_sql_stmt *stmt = NULL;
	keep_status status = check_free(lease, &creation->user, err);

	lease->unchanged = status == KEEP_CONFLICT;
	if (status == KEEP_OK)
		status = kp_lease_statement(lease, KP_GATEWAY_INSERT_USER, &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_auth_user_record, &creation->user, err);
	if (status == KEEP_OK)
		status = kp_sql_queue(stmt, err);
	kp_sql_reset(stmt);
	if (status == KEEP_OK)
		status = store_folders(lease, creation->user.sub, creation->options->is_operator,
				       creation->options->folders, creation->options->folder_count,
				       err);
	return status;
}

keep_status keep_gateway_create_user(keep_gateway *gateway, const keep_user_options *options,
				     keep_error *err)
{
	struct creation creation = {.options = options};
	keep_buffer hash = KEEP_BUFFER_INIT;
	keep_status status = check_user(options, err);

	if (status == KEEP_OK)
		status = make_hash(options, &hash, err);
	if (status == KEEP_OK) {
		creation.user = (keep_auth_user){
			.sub = options->sub,
			.username = options->username.data ? options->username : options->sub,
			.hash = kp_buffer_bytes(&hash),
			.name = kp_text_or(options->name, ""),
			.created_at = kp_clock_ms(),
		};
		status = kp_gateway_change(gateway, apply_creation, &creation, KP_NEWS_NONE, err);
	}
	kp_secret_release(&hash);
	return status;
}

/* ---------------------------------------------------------------- reading */

keep_status keep_gateway_get_user(keep_gateway *gateway, keep_bytes sub, keep_bytes username,
				  keep_memory *memory, keep_auth_user *out, keep_error *err)
{
	bool by_sub = sub.data != NULL, found = false;
	keep_bytes key = by_sub ? sub : username;
	keep_status status = kp_check_key(by_sub ? "sub" : "username", key, err);

	if (status == KEEP_OK)
		status = kp_gateway_get(gateway,
					by_sub ? KP_GATEWAY_GET_USER_BY_SUB
					       : KP_GATEWAY_GET_USER_BY_USERNAME,
					KP_VALUES(kp_text_value(key)), &kp_auth_user_record, memory,
					out, &found, err);
	if (status == KEEP_OK && !found)
		return kp_fail(err, KEEP_NOT_FOUND, "%s '%" KP_PRI "': no such account",
			       by_sub ? "sub" : "username", KP_ARG(key));
	return status;
}

keep_status keep_gateway_list_users(keep_gateway *gateway, keep_bytes after_sub, size_t limit,
				    keep_memory *memory, keep_auth_user_list *out, keep_error *err)
{
	int64_t rows = 0;
	keep_status status =
		kp_check_text("after_sub", after_sub, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 100, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_list(
		gateway, KP_GATEWAY_LIST_USERS,
		KP_VALUES(kp_text_value(kp_text_or(after_sub, "")), kp_int_value(rows)),
		&kp_auth_user_record, memory, &out->items, &out->count, err);
}

/* ---------------------------------------------------------------- changing an account */

/* A change of one account's row, and perhaps the end of its sessions. */
struct account_change {
	keep_bytes sub;
	size_t statement; /* takes the sub and `value` */
	kp_value value;
	bool ends_sessions;
	bool is_operator;
	const keep_bytes *folders;
	size_t folder_count;
};

static keep_status fail_unknown(keep_bytes sub, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "sub '%" KP_PRI "': no such account", KP_ARG(sub));
}

static keep_status apply_account_change(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct account_change *change = ctx;
	int64_t changes = 0;
	keep_status status =
		kp_lease_run(lease, change->statement,
			     KP_VALUES(kp_text_value(change->sub), change->value), &changes, err);

	if (status == KEEP_OK && !changes)
		return fail_unknown(change->sub, err);
	if (status == KEEP_OK && change->ends_sessions)
		status = kp_lease_queue(
			lease, KP_GATEWAY_REVOKE_USER_SESSIONS,
			KP_VALUES(kp_text_value(change->sub), kp_time_value(kp_clock_ms())), err);
	return status;
}

keep_status keep_gateway_set_password(keep_gateway *gateway, keep_bytes sub, keep_bytes password,
				      keep_error *err)
{
	keep_buffer hash = KEEP_BUFFER_INIT;
	struct account_change change = {
		.sub = sub, .statement = KP_GATEWAY_SET_HASH, .ends_sessions = true};
	keep_status status = kp_check_key("sub", sub, err);

	if (status == KEEP_OK)
		status = check_password(password, err);
	if (status == KEEP_OK)
		status = kp_password_hash(password, &hash, err);
	change.value = kp_text_value(kp_buffer_bytes(&hash));
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_account_change, &change, KP_NEWS_NONE,
					   err);
	kp_secret_release(&hash);
	return status;
}

keep_status keep_gateway_set_user_disabled(keep_gateway *gateway, keep_bytes sub, bool disabled,
					   keep_error *err)
{
	struct account_change change = {.sub = sub,
					.statement = KP_GATEWAY_SET_DISABLED,
					.value = kp_bool_value(disabled),
					.ends_sessions = disabled};
	keep_status status = kp_check_key("sub", sub, err);

	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_account_change, &change, KP_NEWS_NONE, err);
}

static keep_status apply_folders(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct account_change *change = ctx;
	kp_arena arena = {.head = NULL};
	keep_auth_user user;
	bool found = false;
	keep_status status = kp_user_find(lease, change->sub, &arena, &user, &found, err);

	kp_arena_release(&arena);
	if (status == KEEP_OK && !found)
		return fail_unknown(change->sub, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_CLEAR_USER_FOLDERS,
					KP_VALUES(kp_text_value(change->sub)), err);
	if (status == KEEP_OK)
		status = store_folders(lease, change->sub, change->is_operator, change->folders,
				       change->folder_count, err);
	return status;
}

keep_status keep_gateway_set_user_folders(keep_gateway *gateway, keep_bytes sub, bool is_operator,
					  const keep_bytes *folders, size_t folder_count,
					  keep_error *err)
{
	struct account_change change = {.sub = sub,
					.is_operator = is_operator,
					.folders = folders,
					.folder_count = folder_count};
	keep_status status = kp_check_key("sub", sub, err);

	if (status == KEEP_OK)
		status = check_folders(is_operator, folders, folder_count, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_folders, &change, KP_NEWS_NONE, err);
}

/* ---------------------------------------------------------------- passwords */

struct renewal {
	keep_bytes sub, old, fresh;
};

static keep_status apply_renewal(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct renewal *renewal = ctx;

	return kp_lease_queue(lease, KP_GATEWAY_RENEW_HASH,
			      KP_VALUES(kp_text_value(renewal->sub), kp_text_value(renewal->fresh),
					kp_text_value(renewal->old)),
			      err);
}

/* The right password of a hash with another cost: store it at ours. What goes wrong is logged, for
   the password was right. */
static void renew_hash(keep_gateway *gateway, const keep_auth_user *user, keep_bytes password)
{
	keep_buffer fresh = KEEP_BUFFER_INIT;
	struct renewal renewal = {user->sub, user->hash, {0}};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_password_hash(password, &fresh, &why);

	renewal.fresh = kp_buffer_bytes(&fresh);
	if (status == KEEP_OK && !gateway->store.read_only)
		status = kp_gateway_change(gateway, apply_renewal, &renewal, KP_NEWS_NONE, &why);
	if (status != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "account '%" KP_PRI "': hash not renewed: %s",
		       KP_ARG(user->sub), why.message);
	kp_secret_release(&fresh);
}

/* Invariant 3: does the password belong to the account, in the time of one hash of ours. */
static keep_status judge_password(keep_gateway *gateway, const keep_auth_user *user, bool found,
				  keep_bytes password, bool *right, keep_error *err)
{
	bool has_hash = found && user->hash.len;
	keep_status status;

	*right = false;
	if (!has_hash)
		return kp_password_verify_nobody(password, err);
	status = kp_password_verify(password, user->hash, right, err);
	if (status == KEEP_INVALID) {
		kp_log(KEEP_LOG_WARNING, "account '%" KP_PRI "': its hash cannot be verified",
		       KP_ARG(user->sub));
		return kp_password_verify_nobody(password, err);
	}
	if (status != KEEP_OK || kp_password_is_current(user->hash))
		return status;
	if (!*right || user->disabled)
		return kp_password_verify_nobody(password, err);
	renew_hash(gateway, user, password);
	return KEEP_OK;
}

keep_status keep_gateway_verify_password(keep_gateway *gateway, keep_bytes username,
					 keep_bytes password, keep_memory *memory,
					 keep_auth_user *out, keep_error *err)
{
	keep_auth_user user = {0};
	bool found = false, right = false;
	keep_status status = kp_check_key("username", username, err);

	if (status == KEEP_OK && (!password.len || password.len > KP_PASSWORD_BYTES_MAX))
		status = kp_fail(err, KEEP_INVALID, "password: 1 to %d bytes are needed",
				 KP_PASSWORD_BYTES_MAX);
	if (status == KEEP_OK)
		status = kp_gateway_get(gateway, KP_GATEWAY_GET_USER_BY_USERNAME,
					KP_VALUES(kp_text_value(username)), &kp_auth_user_record,
					memory, &user, &found, err);
	if (status == KEEP_OK)
		status = judge_password(gateway, &user, found, password, &right, err);
	if (status != KEEP_OK)
		return status;
	if (!right || user.disabled)
		return kp_fail(err, KEEP_DENIED, "the username or the password is wrong");
	*out = user;
	return KEEP_OK;
}
