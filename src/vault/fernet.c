/*
 * fernet.c - Fernet tokens (https://github.com/fernet/spec/blob/master/Spec.md), and check values
 * of keys made of them.
 *
 *     base64url( 0x80 | seconds, 8 bytes | IV, 16 | AES-128-CBC, PKCS #7 | HMAC-SHA-256, 32 )
 *
 * Invariants:
 *   1. Nothing is decrypted, and no time believed, before a key's HMAC was found right, compared in
 *      constant time.
 *   2. A token has one spelling: base64url is read as it is written, to the last bit.
 *   3. DENIED is about keys and age, CORRUPT about what no key makes. A lack of memory is neither,
 *      and none of them is NOT_FOUND: what cannot be read is never taken for what is not there.
 *   4. Text is in *plain alone; what was there before, and what a failure leaves, is wiped.
 *   5. No message quotes a token, a text or a key.
 *
 * What it does not do: say to whom or to what a token belongs. Who stores tokens keeps them from
 * being exchanged for one another, for instance by a name in the text.
 *
 * Tests: tests/unit/test_fernet.c, tests/unit/test_fernet_python.py,
 * tests/torture/test_fernet_faults.c; fuzz/fuzz_fernet.c.
 */
#include "vault/vault_private.h"

#include <string.h>

#define VERSION 0x80
#define TIME_AT 1
#define IV_AT 9
#define SEALED_AT (IV_AT + KP_FERNET_IV_BYTES)
#define TOKEN_BYTES(sealed_len) (SEALED_AT + (sealed_len) + KP_SHA256_SIZE)
#define TOKEN_BYTES_MIN ((size_t)TOKEN_BYTES(KP_AES_BYTES))

/* A token after base64; slices of it. */
struct parts {
	uint64_t seconds;
	const unsigned char *iv, *mac;
	keep_bytes sealed;
	keep_bytes message; /* what the HMAC is of */
};

static keep_bytes bytes_at(const unsigned char *bytes, size_t len)
{
	return (keep_bytes){(const char *)bytes, len};
}

/* ---------------------------------------------------------------- encryption */

static void write_seconds(uint64_t seconds, unsigned char out[8])
{
	for (int i = 7; i >= 0; i--, seconds >>= 8)
		out[i] = (unsigned char)seconds;
}

/* The token's bytes in the desk's scratch. */
static keep_status write_bytes(const kp_keyring *ring, size_t index, kp_desk *desk, int64_t now_ms,
			       const unsigned char *iv, keep_bytes plain, keep_error *err)
{
	size_t sealed_len = KP_AES_SEALED(plain.len), signed_len = SEALED_AT + sealed_len;
	kp_cipher *cipher = NULL;
	unsigned char *bytes;
	keep_status status = kp_buffer_reserve(&desk->scratch, TOKEN_BYTES(sealed_len), err);

	if (status == KEEP_OK)
		status = kp_desk_cipher(ring, desk, index, true, &cipher, err);
	if (status != KEEP_OK)
		return status;
	bytes = (unsigned char *)desk->scratch.data;
	bytes[0] = VERSION;
	write_seconds((uint64_t)(now_ms / 1000), bytes + TIME_AT);
	if (iv)
		memcpy(bytes + IV_AT, iv, KP_FERNET_IV_BYTES);
	else
		status = kp_desk_iv(desk, bytes + IV_AT, err);
	if (status == KEEP_OK)
		status = kp_cipher_encrypt(cipher, bytes + IV_AT, plain, bytes + SEALED_AT, err);
	if (status != KEEP_OK)
		return status;
	kp_hmac_make(&ring->keys[index].hmac, bytes_at(bytes, signed_len), bytes + signed_len);
	desk->scratch.len = TOKEN_BYTES(sealed_len);
	return KEEP_OK;
}

keep_status kp_fernet_seal(const kp_keyring *ring, size_t index, int64_t now_ms,
			   const unsigned char *iv, keep_bytes plain, keep_buffer *token,
			   keep_error *err)
{
	kp_desk *desk = NULL;
	keep_status status;
	char *end;

	kp_output_clear(token);
	if (plain.len > KP_FERNET_PLAIN_MAX)
		return kp_fail(err, KEEP_FULL, "a text of %zu bytes is to be encrypted, limit %zu",
			       plain.len, KP_FERNET_PLAIN_MAX);
	if (now_ms < 0 || now_ms > KEEP_TIME_MAX)
		return kp_fail(err, KEEP_INVALID,
			       "a Fernet token is made between 1970 and 9999, not then");
	if (index >= ring->count)
		return kp_fail(err, KEEP_MISUSE, "the keyring has no key %zu", index + 1);
	status = kp_desk_take(ring, &desk, err);
	if (status == KEEP_OK)
		status = write_bytes(ring, index, desk, now_ms, iv, plain, err);
	if (status == KEEP_OK)
		status = kp_buffer_reserve(token, KP_PADDED_DIGITS(desk->scratch.len), err);
	if (status == KEEP_OK) {
		end = kp_padded_format(kp_padded_best(), kp_buffer_bytes(&desk->scratch),
				       token->data);
		*end = '\0';
		token->len = (size_t)(end - token->data);
	}
	kp_desk_give(ring, &desk);
	return status;
}

keep_status kp_fernet_encrypt(const kp_keyring *ring, int64_t now_ms, keep_bytes plain,
			      keep_buffer *token, keep_error *err)
{
	return kp_fernet_seal(ring, 0, now_ms, NULL, plain, token, err);
}

keep_status kp_fernet_encrypt_with(const kp_keyring *ring, int64_t now_ms,
				   const unsigned char iv[KP_FERNET_IV_BYTES], keep_bytes plain,
				   keep_buffer *token, keep_error *err)
{
	return kp_fernet_seal(ring, 0, now_ms, iv, plain, token, err);
}

/* ---------------------------------------------------------------- decryption */

static uint64_t read_seconds(const unsigned char *bytes)
{
	uint64_t seconds = 0;

	for (size_t i = 0; i < 8; i++)
		seconds = seconds << 8 | bytes[i];
	return seconds;
}

static keep_status refuse_form(keep_error *err, const char *what)
{
	return kp_fail(err, KEEP_CORRUPT, "this is no Fernet token: %s", what);
}

/* Take a token apart, its bytes in the desk's scratch. */
static keep_status read_parts(kp_desk *desk, keep_bytes token, struct parts *parts, keep_error *err)
{
	unsigned char *bytes;
	keep_status status;
	size_t len;

	if (!token.data || token.len < KP_PADDED_DIGITS(TOKEN_BYTES_MIN))
		return refuse_form(err, "it is too short");
	if (token.len > KP_FERNET_DIGITS(KP_FERNET_PLAIN_MAX))
		return kp_fail(err, KEEP_FULL, "a Fernet token of %zu bytes, limit %zu", token.len,
			       KP_FERNET_DIGITS(KP_FERNET_PLAIN_MAX));
	status = kp_buffer_reserve(&desk->scratch, token.len / 4 * 3, err);
	if (status != KEEP_OK)
		return status;
	bytes = (unsigned char *)desk->scratch.data;
	if (!kp_padded_parse(kp_padded_best(), token, bytes, &len))
		return refuse_form(err, "it is not base64url with padding");
	if (bytes[0] != VERSION)
		return refuse_form(err, "its version is not 128");
	if (len < TOKEN_BYTES_MIN || (len - TOKEN_BYTES(0)) % KP_AES_BYTES)
		return refuse_form(err, "its text is not whole blocks of AES");
	*parts = (struct parts){
		.seconds = read_seconds(bytes + TIME_AT),
		.iv = bytes + IV_AT,
		.mac = bytes + len - KP_SHA256_SIZE,
		.sealed = bytes_at(bytes + SEALED_AT, len - TOKEN_BYTES(0)),
		.message = bytes_at(bytes, len - KP_SHA256_SIZE),
	};
	return KEEP_OK;
}

/* The key whose HMAC the token has. No two keys of a ring share their signing half (keyring.c). */
static keep_status find_key(const kp_keyring *ring, const struct parts *parts, size_t *index,
			    keep_error *err)
{
	for (size_t i = 0; i < ring->count; i++) {
		unsigned char mac[KP_SHA256_SIZE];

		kp_hmac_make(&ring->keys[i].hmac, parts->message, mac);
		if (kp_secret_equal(bytes_at(mac, sizeof mac),
				    bytes_at(parts->mac, KP_SHA256_SIZE))) {
			*index = i;
			return KEEP_OK;
		}
	}
	return kp_fail(err, KEEP_DENIED,
		       "a Fernet token was made with another key, or changed since: none of %zu "
		       "key%s fits",
		       ring->count, ring->count == 1 ? "" : "s");
}

/* In whole seconds, for a token knows no others: one that is younger than its time is never
 * refused.
 */
static keep_status check_age(uint64_t made, int64_t ttl_ms, int64_t now_ms, keep_error *err)
{
	int64_t now = (now_ms - (now_ms % 1000 + 1000) % 1000) / 1000;

	if (ttl_ms < 0)
		return KEEP_OK;
	if (made > (uint64_t)KEEP_TIME_MAX / 1000 || (int64_t)made > now + KP_FERNET_SKEW_MS / 1000)
		return kp_fail(err, KEEP_DENIED,
			       "a Fernet token was made more than %d seconds in the future",
			       KP_FERNET_SKEW_MS / 1000);
	if (now > (int64_t)made && (now - (int64_t)made) > ttl_ms / 1000 &&
	    (now - (int64_t)made) * 1000 > ttl_ms)
		return kp_fail(err, KEEP_DENIED, "a Fernet token has expired");
	return KEEP_OK;
}

/* Room for so many bytes, without a copy of a text left behind as realloc leaves it. */
static keep_status reserve_secret(keep_buffer *secret, size_t len, keep_error *err)
{
	if (secret->data)
		kp_wipe(secret->data, secret->capacity + 1);
	secret->len = 0;
	if (secret->capacity < len)
		keep_buffer_release(secret);
	return kp_buffer_reserve(secret, len, err);
}

static keep_status open_parts(const kp_keyring *ring, kp_desk *desk, size_t index,
			      const struct parts *parts, keep_buffer *plain, keep_error *err)
{
	kp_cipher *cipher = NULL;
	size_t len = 0;
	keep_status status = reserve_secret(plain, parts->sealed.len, err);

	if (status == KEEP_OK)
		status = kp_desk_cipher(ring, desk, index, false, &cipher, err);
	if (status != KEEP_OK)
		return status;
	status = kp_cipher_decrypt(cipher, parts->iv, parts->sealed, (unsigned char *)plain->data,
				   &len, err);
	if (status != KEEP_OK)
		kp_wipe(plain->data, parts->sealed.len);
	if (status == KEEP_CORRUPT)
		status = refuse_form(err, "under a right HMAC its text has no padding");
	plain->data[len] = '\0';
	plain->len = len;
	return status;
}

keep_status kp_fernet_decrypt(const kp_keyring *ring, keep_bytes token, int64_t ttl_ms,
			      int64_t now_ms, keep_buffer *plain, size_t *which_key,
			      keep_error *err)
{
	struct parts parts = {.iv = NULL};
	kp_desk *desk = NULL;
	size_t index = 0;
	keep_status status;

	if (plain->data)
		kp_wipe(plain->data, plain->capacity + 1);
	plain->len = 0;
	if (ttl_ms >= 0) {
		status = kp_check_time("the time of now", now_ms, err);
		if (status != KEEP_OK)
			return status;
	}
	status = kp_desk_take(ring, &desk, err);
	if (status == KEEP_OK)
		status = read_parts(desk, token, &parts, err);
	if (status == KEEP_OK)
		status = find_key(ring, &parts, &index, err);
	if (status == KEEP_OK)
		status = check_age(parts.seconds, ttl_ms, now_ms, err);
	if (status == KEEP_OK)
		status = open_parts(ring, desk, index, &parts, plain, err);
	if (status == KEEP_OK && which_key)
		*which_key = index;
	kp_desk_give(ring, &desk);
	return status;
}

bool kp_fernet_time(keep_bytes token, int64_t *made_ms)
{
	unsigned char bytes[IV_AT];
	uint64_t seconds;
	size_t len;

	if (!token.data || token.len < KP_PADDED_DIGITS(TOKEN_BYTES_MIN) || token.len % 4 ||
	    !kp_padded_parse(kp_padded_best(), (keep_bytes){token.data, sizeof bytes / 3 * 4},
			     bytes, &len) ||
	    len != sizeof bytes || bytes[0] != VERSION)
		return false;
	seconds = read_seconds(bytes + TIME_AT);
	if (seconds > (uint64_t)KEEP_TIME_MAX / 1000)
		return false;
	*made_ms = (int64_t)seconds * 1000;
	return true;
}

/* ---------------------------------------------------------------- check values */

#define CHECK_TEXT "keep key "
#define CHECK_TEXT_SIZE (sizeof CHECK_TEXT - 1 + KP_KEY_ID_SIZE)

/* What a check value of key `index` says: which key it is. */
static keep_bytes write_check(const kp_keyring *ring, size_t index, char text[CHECK_TEXT_SIZE])
{
	memcpy(text, CHECK_TEXT, sizeof CHECK_TEXT - 1);
	memcpy(text + sizeof CHECK_TEXT - 1, ring->keys[index].id, KP_KEY_ID_SIZE);
	return (keep_bytes){text, CHECK_TEXT_SIZE - 1};
}

keep_status kp_keyring_check(const kp_keyring *ring, size_t index, int64_t now_ms,
			     keep_buffer *check, keep_error *err)
{
	char text[CHECK_TEXT_SIZE];

	kp_output_clear(check);
	if (index >= ring->count)
		return kp_fail(err, KEEP_MISUSE, "the keyring has no key %zu", index + 1);
	return kp_fernet_seal(ring, index, now_ms, NULL, write_check(ring, index, text), check,
			      err);
}

keep_status kp_keyring_verify(const kp_keyring *ring, keep_bytes check, size_t *index,
			      keep_error *err)
{
	keep_buffer plain = KEEP_BUFFER_INIT;
	char text[CHECK_TEXT_SIZE];
	size_t found = 0;
	keep_status status = kp_fernet_decrypt(ring, check, -1, 0, &plain, &found, err);

	if (status == KEEP_OK &&
	    !kp_bytes_equal(kp_buffer_bytes(&plain), write_check(ring, found, text)))
		status = kp_fail(err, KEEP_CORRUPT, "a key's check value says something else");
	else if (status != KEEP_OK)
		status = kp_prefix(err, status, "a key's check value");
	if (status == KEEP_OK && index)
		*index = found;
	kp_secret_release(&plain);
	return status;
}
