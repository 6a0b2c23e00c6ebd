#ifndef KP_VAULT_H
#define KP_VAULT_H
/*
 * vault.h - what must be kept secret: passwords, tokens, signed claims, encrypted texts.
 *
 *   passwords     password.c: argon2id in PHC strings, within bounds
 *   tokens        token.c: 32 random bytes as text, of which a store keeps the SHA-256 only
 *   signed claims jwt.c: JSON Web Tokens (RFC 7519) with HS256 (RFC 7515, RFC 7518), and nothing
 * else
 *   keys          keyring.c, key_file.c: where encryption keys come from, and several at once
 *   encryption    fernet.c: Fernet tokens, as every other implementation makes and reads them
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

/* ---------------------------------------------------------------- keys (keyring.c, key_file.c)
 *
 * A key is 32 random bytes, written in base64url with padding: 44 characters. It encrypts and is
 * used for nothing else. Several keys are written one after the other, the newest first: that one
 * encrypts, all of them decrypt.
 */
#define KP_KEY_BYTES 32
#define KP_KEY_TEXT_SIZE 45    /* with the zero byte */
#define KP_KEY_ID_SIZE 17      /* 16 hexadecimal digits and the zero byte */
#define KP_KEYRING_KEYS_MAX 64 /* of one ring */
#define KP_KEY_FILE_BYTES_MAX 65536

/* Keys to encrypt and decrypt with. It does not change once it is open; any thread, and several at
   once. After a fork both processes may go on with it. */
typedef struct kp_keyring kp_keyring;

/* A new random key. Wipe it after use. */
keep_status kp_key_make(char text[KP_KEY_TEXT_SIZE], keep_error *err) KEEP_MUST_CHECK;

/* One or several keys as text, newest first, with blanks, commas or line ends between them.
   INVALID: no key, more than KP_KEYRING_KEYS_MAX, one that is none or is there already; the message
   names it by its place ("key 2") and quotes nothing. */
keep_status kp_keyring_open(keep_bytes keys, kp_keyring **out, keep_error *err) KEEP_MUST_CHECK;
void kp_keyring_close(kp_keyring **ring); /* wipes the keys; accepts NULL */
size_t kp_keyring_count(const kp_keyring *ring);
/* The public name of key `index` (0: the newest), for a column key_id: the same in every process
   and home, and it tells nothing of the key. "" when there is no such key. */
void kp_keyring_id(const kp_keyring *ring, size_t index, char id[KP_KEY_ID_SIZE]);
/* The index of the key with that id; false when the ring has none. */
bool kp_keyring_find(const kp_keyring *ring, keep_bytes id, size_t *index);

/* A check value of key `index`, to be stored beside what it encrypts, so that a wrong key is found
   at open: a Fernet token of a text that says which key it is. Replaces *check. */
keep_status kp_keyring_check(const kp_keyring *ring, size_t index, int64_t now_ms,
			     keep_buffer *check, keep_error *err) KEEP_MUST_CHECK;
/* Is the key of this check value in the ring? Its index in *index (may be NULL). DENIED: no key of
   the ring made it. CORRUPT: it is no check value, or a damaged one. */
keep_status kp_keyring_verify(const kp_keyring *ring, keep_bytes check, size_t *index,
			      keep_error *err) KEEP_MUST_CHECK;

/* Make the file with one new key in it, mode 0600, synced with its folder; under its name there is
   never half a file. CONFLICT: there is something of that name. */
keep_status kp_key_file_make(const char *path, keep_error *err) KEEP_MUST_CHECK;
/* The keys of a key file, one a line, without its remarks ('#' to the end of the line), replacing
   *keys: for kp_keyring_open, then kp_secret_release. NOT_FOUND: no such file. DENIED: others than
   the owner may do something with it (mode & 077), or it is a link or no regular file. */
keep_status kp_key_file_read(const char *path, keep_buffer *keys, keep_error *err) KEEP_MUST_CHECK;
/* Put a new key in front of a key file, as a whole or not at all, synced; the rest stays as it is.
   OK without a change when it is the newest key already. CONFLICT: it is an older key there. BUSY:
   another is changing the file. INVALID: no key, or the file has something that is none. */
keep_status kp_key_file_put(const char *path, keep_bytes key, keep_error *err) KEEP_MUST_CHECK;

/*
 * The keys of this process, replacing *keys: KEEP_ENCRYPTION_KEY of the environment, else
 * ENCRYPTION_KEY, else the key file `path` (NULL: none); an empty variable counts as none. *where
 * (may be NULL) is what they came from, for messages: a variable's name, or `path`. A file that is
 * refused is a failure and not passed by. NOT_FOUND: none of them is there.
 */
keep_status kp_keys_find(const char *path, keep_buffer *keys, const char **where,
			 keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- encryption (fernet.c)
 *
 * Fernet (https://github.com/fernet/spec): version 0x80, seconds as 8 bytes, a random IV,
 * AES-128-CBC with PKCS #7, HMAC-SHA-256 over all of it, in base64url with padding.
 */
#define KP_FERNET_PLAIN_MAX ((size_t)16 << 20)
#define KP_FERNET_IV_BYTES 16
#define KP_FERNET_SKEW_MS 60000 /* so far in the future a token may have been made */
/* The characters of a token of so many bytes. */
#define KP_FERNET_DIGITS(plain_len) ((57 + (plain_len) / 16 * 16 + 16 + 2) / 3 * 4)

/* Encrypt with the newest key; the token replaces *token. The time in it is readable by anyone.
   FULL: over KP_FERNET_PLAIN_MAX bytes. INVALID: a time before 1970. */
keep_status kp_fernet_encrypt(const kp_keyring *ring, int64_t now_ms, keep_bytes plain,
			      keep_buffer *token, keep_error *err) KEEP_MUST_CHECK;
/* The same with an IV of the caller's, for published vectors: one IV twice tells too much. */
keep_status kp_fernet_encrypt_with(const kp_keyring *ring, int64_t now_ms,
				   const unsigned char iv[KP_FERNET_IV_BYTES], keep_bytes plain,
				   keep_buffer *token, keep_error *err) KEEP_MUST_CHECK;

/*
 * Decrypt with whichever key made it; the text replaces *plain (kp_secret_release it) and the key's
 * index goes to *which_key (may be NULL). A ttl_ms of 0 or more also asks for the age, in whole
 * seconds as in every implementation; below 0 `now_ms` is not looked at.
 * DENIED: no key of the ring made it; or it is older than ttl_ms, or from more than
 * KP_FERNET_SKEW_MS in the future. CORRUPT: it is no Fernet token, whatever the key. FULL: longer
 * than the token of KP_FERNET_PLAIN_MAX bytes. It is never NOT_FOUND: nobody may take a failure
 * here for "nothing stored".
 */
keep_status kp_fernet_decrypt(const kp_keyring *ring, keep_bytes token, int64_t ttl_ms,
			      int64_t now_ms, keep_buffer *plain, size_t *which_key,
			      keep_error *err) KEEP_MUST_CHECK;

/* The second in which a token was made, in ms, unverified; false: not in a token's form. */
bool kp_fernet_time(keep_bytes token, int64_t *made_ms);

#endif
