/*
 * Signed claims, three ways, by the input's first byte:
 *   't'  the rest is a token: no one but the holder of the key makes one that verifies
 *   'p'  the rest is "header\nclaims", which are signed rightly: whatever verifies has the times
 *   'c'  the rest is claims for kp_jwt_sign: whatever is signed verifies while its times say so
 * What does not verify is DENIED with a message; nothing is left behind.
 */
#include "vault/vault.h"

#include <stdlib.h>
#include <string.h>

#define KEY KEEP_BYTES("a key of 32 bytes, and a few more")
#define NOW_MS INT64_C(1700000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static int64_t integer_of(const kp_json *claims, const char *name, int64_t otherwise)
{
	const kp_json *value = kp_json_member(claims, name);

	require(!value || value->kind == KP_JSON_INTEGER);
	return value ? value->integer : otherwise;
}

/* True when it verifies. */
static bool check_token(keep_bytes token, int64_t now_ms)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_arena arena = {.head = NULL};
	const kp_json *claims;
	keep_bytes key_id;
	keep_status status = kp_jwt_verify(KEY, token, now_ms, &arena, &claims, &err);

	if (status == KEEP_OK) {
		require(claims->kind == KP_JSON_OBJECT);
		require(integer_of(claims, "exp", -1) * 1000 > now_ms);
		require(integer_of(claims, "iat", 0) * 1000 <= now_ms);
		require(integer_of(claims, "nbf", 0) * 1000 <= now_ms);
		require(kp_jwt_key_id(token, &arena, &key_id, &err) == KEEP_OK);
	} else {
		require(status == KEEP_DENIED && err.message[0] != '\0' && !claims);
		status = kp_jwt_key_id(token, &arena, &key_id, &err);
		require(status == KEEP_OK || (status == KEEP_DENIED && !key_id.data));
	}
	kp_arena_release(&arena);
	return claims != NULL;
}

static void check_parts(keep_bytes text)
{
	const char *middle = text.len ? memchr(text.data, '\n', text.len) : NULL;
	keep_buffer token = KEEP_BUFFER_INIT, part = KEEP_BUFFER_INIT;
	unsigned char mac[KP_SHA256_SIZE];
	size_t header_len = middle ? (size_t)(middle - text.data) : 0;

	if (!middle || text.len > 4096)
		return;
	require(kp_base64url_encode((keep_bytes){text.data, header_len}, &part, NULL) == KEEP_OK);
	require(kp_buffer_append(&token, kp_buffer_bytes(&part), NULL) == KEEP_OK);
	require(kp_buffer_append_text(&token, ".", NULL) == KEEP_OK);
	require(kp_base64url_encode((keep_bytes){middle + 1, text.len - header_len - 1}, &part,
				    NULL) == KEEP_OK);
	require(kp_buffer_append(&token, kp_buffer_bytes(&part), NULL) == KEEP_OK);
	require(kp_hmac_sha256(KEY, kp_buffer_bytes(&token), mac, NULL) == KEEP_OK);
	require(kp_base64url_encode((keep_bytes){(const char *)mac, sizeof mac}, &part, NULL) ==
		KEEP_OK);
	require(kp_buffer_append_text(&token, ".", NULL) == KEEP_OK);
	require(kp_buffer_append(&token, kp_buffer_bytes(&part), NULL) == KEEP_OK);
	(void)check_token(kp_buffer_bytes(&token), NOW_MS);
	keep_buffer_release(&token);
	keep_buffer_release(&part);
}

static void check_claims(keep_bytes claims)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = kp_jwt_sign(KEY, KEEP_BYTES("k"), claims, &token, &err);

	if (status == KEEP_OK) {
		require(token.len <= KP_JWT_BYTES_MAX);
		(void)check_token(kp_buffer_bytes(&token), NOW_MS);
		for (size_t i = 0; i < token.len; i += 7) {
			token.data[i] ^= 1;
			require(!check_token(kp_buffer_bytes(&token), NOW_MS));
			token.data[i] ^= 1;
		}
	} else {
		require(status == KEEP_INVALID && err.message[0] != '\0' && token.len == 0);
	}
	keep_buffer_release(&token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	keep_bytes rest = {(const char *)data + 1, size - 1};

	if (size == 0)
		return 0;
	if (data[0] == 't')
		require(!check_token(rest, NOW_MS));
	else if (data[0] == 'p')
		check_parts(rest);
	else if (data[0] == 'c')
		check_claims(rest);
	require(kp_alloc_live() == 0);
	return 0;
}
