#ifndef KP_VAULT_H
#define KP_VAULT_H
/*
 * vault.h - what must be kept secret: passwords, tokens, signed claims.
 *
 *   passwords     password.c: argon2id in PHC strings, within bounds
 *   tokens        token.c: 32 random bytes as text, of which a store keeps the SHA-256 only
 *   signed claims jwt.c: JSON Web Tokens (RFC 7519) with HS256 (RFC 7515, RFC 7518), and nothing
 * else
 *
 * What it is not: a store. It remembers nothing; the stores keep what it makes.
 *
 * Secrets that pass through here live in memory that is wiped, and are in no message.
 *
 * Threads: no state but a limit on how many passwords are hashed at once; any thread.
 */
#include "core/core.h"

/* Equal in a time that depends on the lengths only; absent equals nothing. */
bool kp_secret_equal(keep_bytes a, keep_bytes b);
/* Wipe and free. */
void kp_secret_release(keep_buffer *secret);

/* ---------------------------------------------------------------- passwords (password.c) */

/* What a new hash costs: 64 MiB, and about a quarter of a second of one core. */
#define KP_PASSWORD_MEMORY_KIB 65536
#define KP_PASSWORD_PASSES 3
#define KP_PASSWORD_LANES 4
/* What a stored hash may cost at most, so that a row cannot take the machine. */
#define KP_PASSWORD_MEMORY_KIB_MAX 1048576
#define KP_PASSWORD_PASSES_MAX 10
#define KP_PASSWORD_LANES_MAX 16
#define KP_PASSWORD_BYTES_MAX 1024 /* of a password; at least 1 */
#define KP_PASSWORD_AT_ONCE 4      /* so many are hashed at one time in this process */

/* The PHC string ("$argon2id$v=19$m=65536,t=3,p=4$<salt>$<hash>") of a password, 16 bytes of random
   salt and 32 of hash, replacing *phc. INVALID: a password that is empty or too long. */
keep_status kp_password_hash(keep_bytes password, keep_buffer *phc,
			     keep_error *err) KEEP_MUST_CHECK;

/*
 * Does `password` belong to `phc`? Any argon2id string within the bounds above is verified, with
 * its own cost; v must be 19, salt 8 to 64 bytes, hash 16 to 64 bytes, base64 without padding, no
 * optional fields. A password that is empty or too long matches nothing, at once.
 * INVALID: `phc` is no such string; nothing was computed.
 */
keep_status kp_password_verify(keep_bytes password, keep_bytes phc, bool *matches,
			       keep_error *err) KEEP_MUST_CHECK;

/* True when `phc` is well-formed and costs what a new one costs: if not, hash anew after a login.
 */
bool kp_password_is_current(keep_bytes phc);

/* Spend what kp_password_verify spends on a new hash, on nobody's: for an unknown user. */
keep_status kp_password_verify_nobody(keep_bytes password, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- tokens (token.c) */

#define KP_TOKEN_BYTES 32
#define KP_TOKEN_TEXT_SIZE 44      /* base64url without padding, and the zero byte */
#define KP_TOKEN_HASH_TEXT_SIZE 65 /* hex of SHA-256, and the zero byte */

keep_status kp_token_make(char text[KP_TOKEN_TEXT_SIZE], keep_error *err) KEEP_MUST_CHECK;
/* The hex SHA-256 of a token's text: what is stored. INVALID: empty, or over 256 bytes. */
keep_status kp_token_hash(keep_bytes token, char hash[KP_TOKEN_HASH_TEXT_SIZE],
			  keep_error *err) KEEP_MUST_CHECK;

/* RFC 4648 section 5 without padding; decode is strict, as kp_base64_decode. */
keep_status kp_base64url_encode(keep_bytes bytes, keep_buffer *out,
				keep_error *err) KEEP_MUST_CHECK;
keep_status kp_base64url_decode(keep_bytes text, keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;

/* HMAC-SHA-256 (RFC 2104). */
keep_status kp_hmac_sha256(keep_bytes key, keep_bytes message, unsigned char out[KP_SHA256_SIZE],
			   keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- signed claims (jwt.c) */

#define KP_JWT_BYTES_MAX 8192
#define KP_JWT_KEY_BYTES_MIN 32
#define KP_JWT_LEEWAY_MS 0 /* one clock: ours */

/*
 * {"alg":"HS256","typ":"JWT","kid":…}.<claims>.<signature>, replacing *out. `claims` is a JSON
 * object that the caller wrote, exp and iat included, in whole seconds. An absent key_id leaves kid
 * out. INVALID: no object, no exp or iat, a short key, too long.
 */
keep_status kp_jwt_sign(keep_bytes key, keep_bytes key_id, keep_bytes claims, keep_buffer *out,
			keep_error *err) KEEP_MUST_CHECK;

/* The kid of a token's header, unverified, only to find the key; absent when it has none. DENIED:
   not a token this can verify. */
keep_status kp_jwt_key_id(keep_bytes token, kp_arena *arena, keep_bytes *key_id,
			  keep_error *err) KEEP_MUST_CHECK;

/*
 * Verify the signature (constant time), that alg is HS256 (never "none", never another), that there
 * is an integer exp after `now_ms` and, where there are, iat and nbf not after it. The claims
 * object, in `arena`. DENIED: anything else; the message tells which check failed and quotes
 * nothing. INVALID: the key is too short to have signed anything.
 */
keep_status kp_jwt_verify(keep_bytes key, keep_bytes token, int64_t now_ms, kp_arena *arena,
			  const kp_json **claims, keep_error *err) KEEP_MUST_CHECK;

#endif
