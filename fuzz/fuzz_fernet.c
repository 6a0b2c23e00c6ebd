/*
 * Fernet tokens, keys and key files, by the input's first byte:
 *   't'  the rest is a token: no one but the holder of the key makes one that is decrypted
 *   'b'  the rest is a token's bytes before the HMAC, which is made rightly: what is decrypted has
 *        the version, whole blocks and a padding, and is encrypted to the same token again
 *   'p'  the rest is a text: it comes back, and no change of its token does
 *   'k'  the rest is keys for kp_keyring_open: a ring that opens has ids and check values
 *   'd'  the rest is base64url with padding: all ways read the same and write it again
 * Failures are DENIED, CORRUPT or INVALID with a message; nothing is left behind.
 */
#include "vault/vault_private.h"

#include <stdlib.h>
#include <string.h>

#define KEY KEEP_BYTES("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=")
#define NOW_MS INT64_C(1700000000000)
#define TEXT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static kp_keyring *open_ring(void)
{
	kp_keyring *ring;

	require(kp_keyring_open(KEY, &ring, NULL) == KEEP_OK);
	return ring;
}

/* True when it is decrypted, then with the text in *plain. */
static bool check_token(const kp_keyring *ring, keep_bytes token, keep_buffer *plain)
{
	keep_error err = KEEP_ERROR_INIT;
	size_t which = 99;
	keep_status status = kp_fernet_decrypt(ring, token, -1, 0, plain, &which, &err);
	int64_t made_ms;

	if (status == KEEP_OK) {
		require(which == 0 && token.len == KP_FERNET_DIGITS(plain->len));
		return true;
	}
	require((status == KEEP_DENIED || status == KEEP_CORRUPT) && err.message[0] != '\0');
	require(plain->len == 0 && which == 99);
	require(status == KEEP_CORRUPT || token.len >= 100);
	(void)kp_fernet_time(token, &made_ms);
	return false;
}

static void check_bytes(const kp_keyring *ring, keep_bytes bytes)
{
	keep_buffer plain = KEEP_BUFFER_INIT, again = KEEP_BUFFER_INIT;
	unsigned char whole[TEXT_MAX + KP_SHA256_SIZE];
	char token[KP_PADDED_DIGITS(sizeof whole)];
	int64_t made_ms;
	char *end;

	if (bytes.len > TEXT_MAX || bytes.len < 9)
		return;
	memcpy(whole, bytes.data, bytes.len);
	kp_hmac_make(&ring->keys[0].hmac, bytes, whole + bytes.len);
	end = kp_padded_format(kp_padded_best(),
			       (keep_bytes){(char *)whole, bytes.len + KP_SHA256_SIZE}, token);
	if (check_token(ring, (keep_bytes){token, (size_t)(end - token)}, &plain)) {
		require(whole[0] == 0x80 && (bytes.len - 25) % 16 == 0);
		if (kp_fernet_time((keep_bytes){token, (size_t)(end - token)}, &made_ms)) {
			require(kp_fernet_encrypt_with(ring, made_ms, whole + 9,
						       kp_buffer_bytes(&plain), &again,
						       NULL) == KEEP_OK);
			require(kp_bytes_equal(kp_buffer_bytes(&again),
					       (keep_bytes){token, (size_t)(end - token)}));
		}
	}
	kp_secret_release(&plain);
	keep_buffer_release(&again);
}

static void check_text(const kp_keyring *ring, keep_bytes text)
{
	keep_buffer token = KEEP_BUFFER_INIT, plain = KEEP_BUFFER_INIT;

	if (text.len > TEXT_MAX)
		return;
	require(kp_fernet_encrypt(ring, NOW_MS, text, &token, NULL) == KEEP_OK);
	require(check_token(ring, kp_buffer_bytes(&token), &plain));
	require(kp_bytes_equal(kp_buffer_bytes(&plain), text));
	for (size_t i = 0; i < token.len; i += 7) {
		token.data[i] ^= 1;
		require(!check_token(ring, kp_buffer_bytes(&token), &plain));
		token.data[i] ^= 1;
	}
	kp_secret_release(&plain);
	keep_buffer_release(&token);
}

static void check_keys(keep_bytes keys)
{
	keep_buffer check = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *ring;
	keep_status status = kp_keyring_open(keys, &ring, &err);

	if (status != KEEP_OK) {
		require(status == KEEP_INVALID && err.message[0] != '\0' && !ring);
		return;
	}
	require(kp_keyring_count(ring) > 0 && kp_keyring_count(ring) <= KP_KEYRING_KEYS_MAX);
	for (size_t i = 0; i < kp_keyring_count(ring); i++) {
		char id[KP_KEY_ID_SIZE];
		size_t index = 99;

		kp_keyring_id(ring, i, id);
		require(strlen(id) == KP_KEY_ID_SIZE - 1);
		require(kp_keyring_find(ring, keep_bytes_of(id), &index) && index == i);
		require(kp_keyring_check(ring, i, NOW_MS, &check, NULL) == KEEP_OK);
		require(kp_keyring_verify(ring, kp_buffer_bytes(&check), &index, NULL) == KEEP_OK);
		require(index == i);
	}
	keep_buffer_release(&check);
	kp_keyring_close(&ring);
}

/* In memory of exactly the size that is promised, so that a sanitizer sees what goes past it. */
static void check_digits(keep_bytes text)
{
	size_t room = text.len / 4 * 3, lens[2] = {0, 0};
	bool read[2] = {false, false};
	unsigned char *bytes = malloc(room + !room);
	char *again = malloc(text.len + !text.len);
	const kp_padded_way *way;

	require(bytes && again);
	for (size_t i = 0; (way = kp_padded_way_at(i)) != NULL; i++) {
		size_t at = i > 0;

		if (!way->is_here())
			continue;
		read[at] = kp_padded_parse(way, text, bytes, &lens[at]);
		require(read[at] == read[0] && lens[at] == lens[0]);
		if (!read[at])
			continue;
		require(kp_padded_format(way, (keep_bytes){(char *)bytes, lens[at]}, again) ==
			again + text.len);
		require(text.len == 0 || memcmp(again, text.data, text.len) == 0);
	}
	free(bytes);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	keep_bytes rest = {(const char *)data + 1, size - 1};
	keep_buffer plain = KEEP_BUFFER_INIT;
	kp_keyring *ring;

	if (size == 0)
		return 0;
	ring = open_ring();
	if (data[0] == 't')
		require(!check_token(ring, rest, &plain));
	else if (data[0] == 'b')
		check_bytes(ring, rest);
	else if (data[0] == 'p')
		check_text(ring, rest);
	else if (data[0] == 'k')
		check_keys(rest);
	else if (data[0] == 'd')
		check_digits(rest);
	kp_secret_release(&plain);
	kp_keyring_close(&ring);
	require(kp_alloc_live() == 0);
	return 0;
}
