/*
 * keys.c - the keys of a store: whether they are the right ones, and what is encrypted with them.
 *
 * Each key that ever encrypted something here has a check value in assistant_values, under
 * "key_check:<id>", written in the transaction of the first thing that it encrypts. At open one of
 * the given keys must be among them, or the store was encrypted with other keys: DENIED, before
 * anything is read or written.
 *
 * Invariants:
 *   1. A failed decryption is DENIED or CORRUPT, never NOT_FOUND, and nothing is overwritten by it.
 *   2. Keys encrypt, and nothing else: no other secret is derived from them.
 *
 * Tests: tests/contract/test_assistant_credentials.c, tests/contract/test_assistant_open.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>

#define CHECK_PREFIX "key_check:"
enum { CHECK_NAME_SIZE = sizeof CHECK_PREFIX + KP_KEY_ID_SIZE };

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

struct comparison {
	keep_assistant *assistant;
	int64_t checks; /* how many check values there are */
	bool fits, is_newest_known;
};

static keep_status compare_keys(void *ctx, kp_lease *lease, keep_error *err)
{
	struct comparison *mine = ctx;
	kp_arena arena = {.head = NULL};
	keep_status status = kp_lease_int(lease, KP_ASSISTANT_COUNT_KEY_CHECKS, NULL, 0,
					  &mine->checks, NULL, err);
	size_t count = mine->assistant->keys ? kp_keyring_count(mine->assistant->keys) : 0;

	mine->fits = mine->is_newest_known = false;
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		char name[CHECK_NAME_SIZE];
		keep_bytes check;

		name_check(mine->assistant, i, name);
		status = kp_assistant_get_value(lease, name, &arena, &check, err);
		if (status != KEEP_OK || !check.data)
			continue;
		status = kp_keyring_verify(mine->assistant->keys, check, NULL, err);
		mine->fits = true;
		mine->is_newest_known |= i == 0;
	}
	kp_arena_release(&arena);
	return status;
}

keep_status kp_assistant_keys_open(keep_assistant *assistant, const keep_assistant_options *options,
				   keep_error *err)
{
	struct comparison comparison = {.assistant = assistant};
	keep_status status = KEEP_OK;

	if (options->without_keys)
		return KEEP_OK;
	status = find_keys(assistant, options, err);
	if (status != KEEP_OK || !assistant->keys)
		return status;
	status = kp_store_read(&assistant->store, compare_keys, &comparison, err);
	if (status == KEEP_OK && comparison.checks && !comparison.fits)
		return kp_fail(err, KEEP_DENIED,
			       "the encryption key is not one that this store was encrypted with");
	atomic_store(&assistant->is_key_known, comparison.is_newest_known);
	return status;
}

/* ---------------------------------------------------------------- use */

static keep_status need_key(const keep_assistant *assistant, keep_error *err)
{
	if (assistant->keys)
		return KEEP_OK;
	return kp_fail(err, KEEP_DENIED,
		       "no encryption key: set KEEP_ENCRYPTION_KEY, or use the home's key file");
}

keep_status kp_assistant_encrypt(keep_assistant *assistant, kp_lease *lease, keep_bytes plain,
				 keep_buffer *token, char key_id[KP_KEY_ID_SIZE], keep_error *err)
{
	keep_buffer check = KEEP_BUFFER_INIT;
	char name[CHECK_NAME_SIZE];
	keep_status status = need_key(assistant, err);

	if (status != KEEP_OK)
		return status;
	kp_keyring_id(assistant->keys, 0, key_id);
	status = kp_fernet_encrypt(assistant->keys, kp_clock_ms(), plain, token, err);
	/* Not remembered as known: this transaction may still fail, and the row is small. */
	if (status != KEEP_OK || atomic_load(&assistant->is_key_known))
		return status;
	name_check(assistant, 0, name);
	status = kp_keyring_check(assistant->keys, 0, kp_clock_ms(), &check, err);
	if (status == KEEP_OK)
		status = kp_assistant_put_value(lease, name, kp_buffer_bytes(&check), err);
	keep_buffer_release(&check);
	return status;
}

keep_status kp_assistant_decrypt(const keep_assistant *assistant, const char *what,
				 keep_bytes token, keep_buffer *plain, keep_error *err)
{
	keep_status status = need_key(assistant, err);

	if (status == KEEP_OK)
		status = kp_fernet_decrypt(assistant->keys, token, -1, 0, plain, NULL, err);
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", what);
}
