/*
 * token.c - secrets that are compared, tokens that are handed out, and what they are made of:
 * base64url and HMAC-SHA-256.
 *
 * Invariants:
 *   1. A token is 256 random bits; a store keeps its SHA-256 alone, so that who reads the store
 *      cannot use it. A hash without salt is enough for what nobody can guess.
 *   2. Parsing base64 accepts exactly what formatting writes: no padding, no blanks, no bits set in
 *      the unused part of the last digit. Equal texts mean equal bytes and the other way round.
 *   3. How long kp_secret_equal takes depends on the lengths only.
 *
 * What it does not do: hide from the time it takes what base64 says. A token is looked up by its
 * hash as text and never decoded; a signature is compared as text.
 *
 * Tests: tests/unit/test_token.c, with the vectors of RFC 4648, RFC 4231 and Wycheproof.
 */
#include "vault/vault_private.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define TOKEN_TEXT_BYTES_MAX 256

/* ---------------------------------------------------------------- secrets */

bool kp_secret_equal(keep_bytes a, keep_bytes b)
{
	return a.data && b.data && a.len == b.len && CRYPTO_memcmp(a.data, b.data, a.len) == 0;
}

void kp_secret_release(keep_buffer *secret)
{
	if (secret->data)
		kp_wipe(secret->data, secret->capacity + 1);
	keep_buffer_release(secret);
}

/* ---------------------------------------------------------------- base64 without padding */

static const char digits[][65] = {
	[KP_BARE_STANDARD] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
	[KP_BARE_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

char *kp_bare_format(kp_bare_alphabet alphabet, keep_bytes bytes, char *out)
{
	uint32_t bits = 0;
	unsigned count = 0;

	for (size_t i = 0; i < bytes.len; i++) {
		bits = bits << 8 | (unsigned char)bytes.data[i];
		for (count += 8; count >= 6; count -= 6)
			*out++ = digits[alphabet][bits >> (count - 6) & 63];
	}
	if (count)
		*out++ = digits[alphabet][bits << (6 - count) & 63];
	return out;
}

/* The digit's value, or -1. */
static int digit_value(kp_bare_alphabet alphabet, char digit)
{
	if (digit >= 'A' && digit <= 'Z')
		return digit - 'A';
	if (digit >= 'a' && digit <= 'z')
		return digit - 'a' + 26;
	if (digit >= '0' && digit <= '9')
		return digit - '0' + 52;
	return digit == digits[alphabet][62] ? 62 : digit == digits[alphabet][63] ? 63 : -1;
}

bool kp_bare_parse(kp_bare_alphabet alphabet, keep_bytes text, unsigned char *out, size_t *len)
{
	unsigned char *to = out;
	uint32_t bits = 0;
	unsigned count = 0;

	*len = 0;
	/* One digit alone is not yet a byte. */
	if (text.len % 4 == 1)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int value = digit_value(alphabet, text.data[i]);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		count += 6;
		if (count >= 8) {
			count -= 8;
			*to++ = (unsigned char)(bits >> count);
		}
	}
	if (bits & ((UINT32_C(1) << count) - 1))
		return false;
	*len = (size_t)(to - out);
	return true;
}

keep_status kp_base64url_encode(keep_bytes bytes, keep_buffer *out, keep_error *err)
{
	keep_status status;
	char *end;

	kp_output_clear(out);
	if (bytes.len > KP_BUFFER_BYTES_MAX / 4 * 3)
		return kp_fail(err, KEEP_FULL, "%zu bytes are too many for base64url", bytes.len);
	status = kp_buffer_reserve(out, KP_BARE_DIGITS(bytes.len), err);
	if (status != KEEP_OK)
		return status;
	end = kp_bare_format(KP_BARE_URL, bytes, out->data);
	*end = '\0';
	out->len = (size_t)(end - out->data);
	return KEEP_OK;
}

keep_status kp_base64url_decode(keep_bytes text, keep_buffer *out, keep_error *err)
{
	keep_status status;
	size_t len;

	kp_output_clear(out);
	status = kp_buffer_reserve(out, text.len / 4 * 3 + 2, err);
	if (status != KEEP_OK)
		return status;
	if (!kp_bare_parse(KP_BARE_URL, text, (unsigned char *)out->data, &len)) {
		kp_wipe(out->data, text.len / 4 * 3 + 2);
		return kp_fail(err, KEEP_INVALID, "not base64url as it is written without padding");
	}
	out->data[len] = '\0';
	out->len = len;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- tokens */

keep_status kp_token_make(char text[KP_TOKEN_TEXT_SIZE], keep_error *err)
{
	char bytes[KP_TOKEN_BYTES];
	keep_status status = kp_random_bytes(bytes, sizeof bytes, err);

	text[0] = '\0';
	if (status == KEEP_OK)
		*kp_bare_format(KP_BARE_URL, (keep_bytes){bytes, sizeof bytes}, text) = '\0';
	kp_wipe(bytes, sizeof bytes);
	return status;
}

keep_status kp_token_hash(keep_bytes token, char hash[KP_TOKEN_HASH_TEXT_SIZE], keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_status status;

	hash[0] = '\0';
	if (token.len < 1 || token.len > TOKEN_TEXT_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "a token has 1 to %d bytes",
			       TOKEN_TEXT_BYTES_MAX);
	status = kp_sha256(token, digest, err);
	if (status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hash);
	return status;
}

/* ---------------------------------------------------------------- HMAC */

keep_status kp_hmac_sha256(keep_bytes key, keep_bytes message, unsigned char out[KP_SHA256_SIZE],
			   keep_error *err)
{
	const char *data = message.data ? message.data : "";
	size_t len = 0;

	/* What libcrypto copies of the key, it wipes. */
	if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key.data ? key.data : "", key.len,
		       (const unsigned char *)data, message.len, out, KP_SHA256_SIZE, &len) ||
	    len != KP_SHA256_SIZE) {
		kp_wipe(out, KP_SHA256_SIZE);
		return kp_fail_memory(err, "an HMAC");
	}
	return KEEP_OK;
}
