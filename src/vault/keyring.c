/*
 * keyring.c - several keys at once, the newest first: how keys are changed without a day on which
 * nothing can be read.
 *
 * Invariants:
 *   1. A ring does not change once it is open. What work needs beside it is at a desk (desk.c).
 *   2. A key has one spelling, and no two keys of a ring share their signing half, so that at most
 *      one key fits a token.
 *   3. An id is 64 bits of HMAC-SHA-256 under the whole key: nobody finds the key from it who could
 *      not find 256 random bits, and it tells keys apart that differ in either half.
 *   4. Keys are wiped: in the ring when it is closed, and wherever they are taken apart.
 *   5. A message names a key by its place and quotes nothing.
 *
 * What it does not do: lock keys into memory, or find them (key_file.c).
 *
 * Tests: tests/unit/test_keyring.c, tests/torture/test_fernet_faults.c.
 */
#include "vault/vault_private.h"

#include <string.h>

#define ID_BYTES ((KP_KEY_ID_SIZE - 1) / 2)

keep_status kp_key_make(char text[KP_KEY_TEXT_SIZE], keep_error *err)
{
	char bytes[KP_KEY_BYTES];
	keep_status status = kp_random_bytes(bytes, sizeof bytes, err);

	text[0] = '\0';
	if (status == KEEP_OK)
		*kp_padded_format(kp_padded_best(), (keep_bytes){bytes, sizeof bytes}, text) = '\0';
	kp_wipe(bytes, sizeof bytes);
	return status;
}

/* ---------------------------------------------------------------- keys from text */

static bool is_between(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n' || byte == ',';
}

/* The next key's text, taken off *rest; absent when there is none. */
static keep_bytes take_word(keep_bytes *rest)
{
	size_t len = 0;
	keep_bytes word;

	while (rest->len > 0 && is_between(rest->data[0]))
		*rest = (keep_bytes){rest->data + 1, rest->len - 1};
	while (len < rest->len && !is_between(rest->data[len]))
		len++;
	if (len == 0)
		return (keep_bytes){.data = NULL};
	word = (keep_bytes){rest->data, len};
	*rest = (keep_bytes){rest->data + len, rest->len - len};
	return word;
}

static void make_id(kp_key *key)
{
	static const char label[] = "keep key id 1";
	unsigned char mac[KP_SHA256_SIZE];
	kp_hmac_key whole;

	kp_hmac_prepare(&whole, (keep_bytes){(const char *)key->bytes, sizeof key->bytes});
	kp_hmac_make(&whole, (keep_bytes){label, sizeof label - 1}, mac);
	kp_hex_format((keep_bytes){(const char *)mac, ID_BYTES}, key->id);
	kp_wipe(&whole, sizeof whole);
	kp_wipe(mac, sizeof mac);
}

/* Key number `place`, from 1, into the ring, whose earlier ones are there. */
static keep_status read_key(kp_keyring *ring, keep_bytes word, size_t place, keep_error *err)
{
	unsigned char bytes[KP_KEY_TEXT_SIZE];
	kp_key *key = &ring->keys[place - 1];
	keep_status status = KEEP_OK;
	size_t len = 0;

	if (word.len != KP_KEY_TEXT_SIZE - 1 ||
	    !kp_padded_parse(kp_padded_best(), word, bytes, &len) || len != KP_KEY_BYTES) {
		status = kp_fail(err, KEEP_INVALID,
				 "key %zu is not %d bytes in base64url, which are %d characters",
				 place, KP_KEY_BYTES, KP_KEY_TEXT_SIZE - 1);
		goto out;
	}
	memcpy(key->bytes, bytes, KP_KEY_BYTES);
	kp_hmac_prepare(&key->hmac, (keep_bytes){(const char *)KP_KEY_SIGNING(key), KP_AES_BYTES});
	make_id(key);
	for (size_t i = 0; i + 1 < place; i++) {
		if (kp_secret_equal((keep_bytes){(const char *)KP_KEY_SIGNING(key), KP_AES_BYTES},
				    (keep_bytes){(const char *)KP_KEY_SIGNING(&ring->keys[i]),
						 KP_AES_BYTES})) {
			status = kp_fail(err, KEEP_INVALID, "key %zu is key %zu once more", place,
					 i + 1);
			goto out;
		}
	}
out:
	kp_wipe(bytes, sizeof bytes);
	return status;
}

static size_t count_words(keep_bytes keys)
{
	size_t count = 0;

	while (take_word(&keys).data)
		count++;
	return count;
}

static size_t ring_size(size_t count)
{
	return sizeof(kp_keyring) + count * sizeof(kp_key);
}

keep_status kp_keyring_open(keep_bytes keys, kp_keyring **out, keep_error *err)
{
	size_t count = keys.data ? count_words(keys) : 0;
	kp_keyring *ring = NULL;
	keep_status status;

	*out = NULL;
	if (count == 0)
		return kp_fail(err, KEEP_INVALID, "there is no encryption key in what was given");
	if (count > KP_KEYRING_KEYS_MAX)
		return kp_fail(err, KEEP_INVALID, "%zu encryption keys are given, limit %d", count,
			       KP_KEYRING_KEYS_MAX);
	ring = kp_alloc_zero(ring_size(count));
	if (!ring)
		return kp_fail_memory(err, "a keyring");
	ring->count = count;
	status = kp_desks_open(&ring->desks, err);
	for (size_t place = 1; status == KEEP_OK && place <= count; place++)
		status = read_key(ring, take_word(&keys), place, err);
	if (status != KEEP_OK)
		kp_keyring_close(&ring);
	*out = ring;
	return status;
}

void kp_keyring_close(kp_keyring **ring)
{
	if (!*ring)
		return;
	kp_desks_close(&(*ring)->desks, (*ring)->count);
	kp_wipe(*ring, ring_size((*ring)->count));
	kp_free(*ring);
	*ring = NULL;
}

/* ---------------------------------------------------------------- what may be known of keys */

size_t kp_keyring_count(const kp_keyring *ring)
{
	return ring->count;
}

void kp_keyring_id(const kp_keyring *ring, size_t index, char id[KP_KEY_ID_SIZE])
{
	id[0] = '\0';
	if (index < ring->count)
		memcpy(id, ring->keys[index].id, KP_KEY_ID_SIZE);
}

bool kp_keyring_find(const kp_keyring *ring, keep_bytes id, size_t *index)
{
	for (size_t i = 0; i < ring->count; i++) {
		if (kp_bytes_equal(id, keep_bytes_of(ring->keys[i].id))) {
			*index = i;
			return true;
		}
	}
	return false;
}
