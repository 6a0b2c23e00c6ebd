/*
 * keys.c - the keys of a store: whether they are the right ones, and what is encrypted with them.
 *
 * Each key that something here is encrypted with has a check value in assistant_values, under
 * "key_check:<id>", written in the transaction of the first thing that it encrypts and removed by
 * rekey.c when nothing is left under it. One of the given keys must be among them, or the store was
 * encrypted with other keys: DENIED at open, and again in each transaction that would encrypt, for
 * another process may have set the store's key, or changed it, since.
 *
 * A store without anything encrypted takes any key; check values of keys that nothing needs any
 * more are then dropped. One with tokens of another program (keep_assistant_adopt) has no check
 * values: of its first tokens the given keys must read one.
 *
 * Invariants:
 *   1. A failed decryption is DENIED or CORRUPT, never NOT_FOUND, and nothing is overwritten by it.
 *   2. Keys encrypt, and nothing else: no other secret is derived from them.
 *   3. Nothing is encrypted under a key of which the store has no check value, and none is added
 *      for a ring that fits nothing of what is there.
 *
 * What it does not do: bind a token to the row that it is in. Tokens are exchanged with other
 * programs as they are, so a row's text is the secret and nothing beside it; whoever may write rows
 * may exchange two of them.
 *
 * Tests: tests/contract/test_assistant_credentials.c, tests/contract/test_assistant_rekey.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>

#define CHECK_PREFIX KP_KEY_CHECK_PREFIX
enum { CHECK_NAME_SIZE = sizeof CHECK_PREFIX + KP_KEY_ID_SIZE, SAMPLES = 8 };

static void name_check(const keep_assistant *assistant, size_t index, char name[CHECK_NAME_SIZE])
{
	char id[KP_KEY_ID_SIZE];

	kp_keyring_id(assistant->keys, index, id);
	snprintf(name, CHECK_NAME_SIZE, CHECK_PREFIX "%s", id);
}

/* ---------------------------------------------------------------- at open */

static keep_status find_keys(keep_assistant *assistant, const keep_assistant_options *options,
			     keep_error *err)
{
	keep_buffer keys = KEEP_BUFFER_INIT;
	const char *where = "the option keys";
	keep_status status;

	if (options->keys)
		status = keep_buffer_set(&keys, keep_bytes_of(options->keys), err);
	else
		status = kp_keys_find(options->key_file, &keys, &where, err);
	if (status == KEEP_OK)
		status = kp_keyring_open(kp_buffer_bytes(&keys), &assistant->keys, err);
	else if (status == KEEP_NOT_FOUND)
		status = KEEP_OK;
	if (status == KEEP_INVALID)
		status = kp_prefix(err, status, "%s", where);
	kp_secret_release(&keys);
	return status;
}

/* What a store says to a ring of keys. */
struct verdict {
	bool is_admitted;     /* one of the keys belongs to the store, or any would do */
	bool is_newest_known; /* the newest one has its check value */
	bool is_stale;        /* there are check values, and nothing is encrypted */
};

/* Tokens of another program, and no check values: do the keys read one of them? What no key reads
   says nothing of keys. */
static keep_status try_samples(const kp_keyring *keys, kp_lease *lease, bool *fits, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_buffer plain = KEEP_BUFFER_INIT;
	keep_service_credential *rows = NULL;
	size_t count = 0, denied = 0;
	keep_status status =
		kp_lease_list(lease, KP_ASSISTANT_CREDENTIALS_BEHIND,
			      KP_VALUES(kp_int_value(INT64_MIN), kp_int_value(SAMPLES)),
			      &kp_service_credential_record, &arena, &rows, &count, err);

	*fits = false;
	for (size_t i = 0; i < count && status == KEEP_OK && !*fits; i++) {
		status = kp_fernet_decrypt(keys, rows[i].credential_data, -1, 0, &plain, NULL, err);
		*fits = status == KEEP_OK;
		denied += status == KEEP_DENIED;
		if (status == KEEP_DENIED || status == KEEP_CORRUPT || status == KEEP_FULL)
			status = KEEP_OK;
	}
	*fits |= !denied;
	kp_secret_release(&plain);
	kp_arena_release(&arena);
	return status;
}

static keep_status judge_others(const kp_keyring *keys, kp_lease *lease, bool has_checks,
				struct verdict *verdict, keep_error *err)
{
	int64_t has_secrets = 0;
	keep_status status =
		kp_lease_int(lease, KP_ASSISTANT_HAS_SECRETS, NULL, 0, &has_secrets, NULL, err);

	verdict->is_admitted = !has_secrets;
	verdict->is_stale = has_checks && !has_secrets;
	if (status == KEEP_OK && has_secrets && !has_checks)
		status = try_samples(keys, lease, &verdict->is_admitted, err);
	return status;
}

static keep_status judge(const kp_keyring *keys, kp_lease *lease, struct verdict *verdict,
			 keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_assistant_value *checks = NULL;
	size_t count = 0;
	keep_status status =
		kp_lease_list(lease, KP_ASSISTANT_LIST_KEY_CHECKS, NULL, 0,
			      &kp_assistant_value_record, &arena, &checks, &count, err);

	*verdict = (struct verdict){.is_admitted = false};
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		keep_bytes id = {checks[i].name.data + sizeof CHECK_PREFIX - 1,
				 checks[i].name.len - (sizeof CHECK_PREFIX - 1)};
		size_t index = 0;

		if (!kp_keyring_find(keys, id, &index))
			continue;
		status = kp_keyring_verify(keys, checks[i].value, NULL, err);
		verdict->is_admitted = true;
		verdict->is_newest_known |= index == 0;
	}
	if (status == KEEP_OK && !verdict->is_admitted)
		status = judge_others(keys, lease, count > 0, verdict, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status refuse_keys(keep_error *err)
{
	return kp_fail(err, KEEP_DENIED,
		       "the encryption key is not one that this store was encrypted with");
}

static keep_status compare_keys(void *ctx, kp_lease *lease, keep_error *err)
{
	const keep_assistant *assistant = ctx;
	struct verdict verdict;
	keep_status status = judge(assistant->keys, lease, &verdict, err);

	return status == KEEP_OK && !verdict.is_admitted ? refuse_keys(err) : status;
}

keep_status kp_assistant_keys_open(keep_assistant *assistant, const keep_assistant_options *options,
				   keep_error *err)
{
	keep_status status = KEEP_OK;

	if (options->without_keys)
		return KEEP_OK;
	status = find_keys(assistant, options, err);
	if (status != KEEP_OK || !assistant->keys)
		return status;
	return kp_store_read_whole(&assistant->store, compare_keys, assistant, err);
}

/* ---------------------------------------------------------------- use */

static keep_status need_key(const keep_assistant *assistant, keep_error *err)
{
	if (assistant->keys)
		return KEEP_OK;
	return kp_fail(err, KEEP_DENIED,
		       "no encryption key: set KEEP_ENCRYPTION_KEY, or use the home's key file");
}

keep_status kp_assistant_may_encrypt(const keep_assistant *assistant, kp_lease *lease,
				     keep_error *err)
{
	struct verdict verdict;
	keep_status status = need_key(assistant, err);

	if (status == KEEP_OK)
		status = judge(assistant->keys, lease, &verdict, err);
	return status == KEEP_OK && !verdict.is_admitted ? refuse_keys(err) : status;
}

static keep_status drop_checks(kp_lease *lease, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_assistant_value *checks = NULL;
	size_t count = 0;
	keep_status status =
		kp_lease_list(lease, KP_ASSISTANT_LIST_KEY_CHECKS, NULL, 0,
			      &kp_assistant_value_record, &arena, &checks, &count, err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_KEY_CHECK,
				      KP_VALUES(kp_text_value(checks[i].name)), NULL, err);
	kp_arena_release(&arena);
	return status;
}

/* Invariant 3. Asked anew each time: what was so in an earlier transaction may not have been
   stored, or may have been changed by another process. */
keep_status kp_assistant_take_key(const keep_assistant *assistant, kp_lease *lease, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_buffer check = KEEP_BUFFER_INIT;
	char name[CHECK_NAME_SIZE];
	struct verdict verdict = {.is_newest_known = false};
	keep_bytes stored = {NULL, 0};
	keep_status status = need_key(assistant, err);

	if (status != KEEP_OK)
		return status;
	name_check(assistant, 0, name);
	status = kp_assistant_get_value(lease, name, &arena, &stored, err);
	kp_arena_release(&arena);
	if (status != KEEP_OK || stored.data)
		return status;
	status = judge(assistant->keys, lease, &verdict, err);
	if (status == KEEP_OK && !verdict.is_admitted)
		return refuse_keys(err);
	if (status == KEEP_OK && verdict.is_stale)
		status = drop_checks(lease, err);
	if (status == KEEP_OK)
		status = kp_keyring_check(assistant->keys, 0, kp_clock_ms(), &check, err);
	if (status == KEEP_OK)
		status = kp_assistant_put_value(lease, name, kp_buffer_bytes(&check), err);
	keep_buffer_release(&check);
	return status;
}

keep_status kp_assistant_encrypt(keep_assistant *assistant, kp_lease *lease, keep_bytes plain,
				 keep_buffer *token, char key_id[KP_KEY_ID_SIZE], keep_error *err)
{
	keep_status status = kp_assistant_take_key(assistant, lease, err);

	key_id[0] = '\0';
	if (status != KEEP_OK)
		return status;
	kp_keyring_id(assistant->keys, 0, key_id);
	return kp_fernet_encrypt(assistant->keys, kp_clock_ms(), plain, token, err);
}

keep_status kp_assistant_decrypt(const keep_assistant *assistant, const char *what,
				 keep_bytes token, keep_buffer *plain, keep_error *err)
{
	keep_status status = need_key(assistant, err);

	if (status == KEEP_OK)
		status = kp_fernet_decrypt(assistant->keys, token, -1, 0, plain, NULL, err);
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", what);
}
