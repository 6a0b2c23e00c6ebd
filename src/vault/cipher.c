/*
 * cipher.c - HMAC-SHA-256 and AES-128-CBC, for many short messages with few keys.
 *
 * libcrypto does the arithmetic. What it does anew for each message, one-shot, is done once here:
 * the two blocks of the HMAC that depend on the key alone, and the key's schedule. SHA256_* are
 * used though OpenSSL 3 would have them replaced: a SHA256_CTX is a plain value, so a prepared key
 * is copied without an allocation, which EVP_MD_CTX_copy_ex makes each time, and an HMAC cannot
 * fail.
 *
 * Invariants:
 *   1. libcrypto sees whole blocks only; PKCS #7 is written and judged here. So no text stays in
 *      a context, and what is wrong with a padding is told from lack of memory.
 *   2. Copies of a key and of a text are wiped.
 *   3. A padding is looked at as a whole. It is under an HMAC that was found right (fernet.c).
 *
 * Tests: tests/unit/test_fernet.c, with Wycheproof's vectors; tests/torture/test_fernet_faults.c.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "vault/vault_private.h"

#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#define SHA256_BLOCK 64

/* ---------------------------------------------------------------- HMAC */

/* A hash that has seen the key's block, each byte changed by `pad`. */
static void prepare_hash(SHA256_CTX *hash, const unsigned char key[SHA256_BLOCK], unsigned char pad)
{
	unsigned char block[SHA256_BLOCK];

	for (size_t i = 0; i < sizeof block; i++)
		block[i] = key[i] ^ pad;
	SHA256_Init(hash);
	SHA256_Update(hash, block, sizeof block);
	kp_wipe(block, sizeof block);
}

void kp_hmac_prepare(kp_hmac_key *hmac, keep_bytes key)
{
	unsigned char block[SHA256_BLOCK] = {0};

	if (key.len > sizeof block) {
		SHA256_CTX hash;

		SHA256_Init(&hash);
		SHA256_Update(&hash, key.data, key.len);
		SHA256_Final(block, &hash);
		kp_wipe(&hash, sizeof hash);
	} else if (key.len > 0) {
		memcpy(block, key.data, key.len);
	}
	prepare_hash(&hmac->inner, block, 0x36);
	prepare_hash(&hmac->outer, block, 0x5c);
	kp_wipe(block, sizeof block);
}

void kp_hmac_make(const kp_hmac_key *hmac, keep_bytes message, unsigned char out[KP_SHA256_SIZE])
{
	SHA256_CTX hash = hmac->inner;

	/* SHA256_Final wipes the block it was at; the state below is of no use for another message
	   without the key's own. */
	SHA256_Update(&hash, message.data, message.len);
	SHA256_Final(out, &hash);
	hash = hmac->outer;
	SHA256_Update(&hash, out, KP_SHA256_SIZE);
	SHA256_Final(out, &hash);
}

/* ---------------------------------------------------------------- AES */

keep_status kp_cipher_open(const unsigned char key[KP_AES_BYTES], bool encrypts, kp_cipher **out,
			   keep_error *err)
{
	kp_cipher *cipher = EVP_CIPHER_CTX_new();

	*out = NULL;
	if (!cipher || !EVP_CipherInit_ex2(cipher, EVP_aes_128_cbc(), key, NULL, encrypts, NULL) ||
	    !EVP_CIPHER_CTX_set_padding(cipher, 0)) {
		EVP_CIPHER_CTX_free(cipher);
		return kp_fail_memory(err, "a cipher");
	}
	*out = cipher;
	return KEEP_OK;
}

void kp_cipher_close(kp_cipher **cipher)
{
	EVP_CIPHER_CTX_free(*cipher);
	*cipher = NULL;
}

/* Whole blocks, as many as an int can count. */
static bool run_blocks(kp_cipher *cipher, keep_bytes blocks, unsigned char *out)
{
	int len = 0;

	if (blocks.len == 0)
		return true;
	return blocks.len <= INT_MAX &&
	       EVP_CipherUpdate(cipher, out, &len, (const unsigned char *)blocks.data,
				(int)blocks.len) &&
	       (size_t)len == blocks.len;
}

keep_status kp_cipher_encrypt(kp_cipher *cipher, const unsigned char iv[KP_AES_BYTES],
			      keep_bytes plain, unsigned char *out, keep_error *err)
{
	size_t rest = plain.len % KP_AES_BYTES, whole = plain.len - rest;
	unsigned char last[KP_AES_BYTES];
	bool done;

	memset(last, (int)(KP_AES_BYTES - rest), sizeof last);
	if (rest > 0)
		memcpy(last, plain.data + whole, rest);
	done = EVP_CipherInit_ex2(cipher, NULL, NULL, iv, -1, NULL) &&
	       run_blocks(cipher, (keep_bytes){plain.data, whole}, out) &&
	       run_blocks(cipher, (keep_bytes){(const char *)last, sizeof last}, out + whole);
	kp_wipe(last, sizeof last);
	return done ? KEEP_OK : kp_fail_memory(err, "an encryption");
}

/* The bytes of the padding at the end of a block, 1 to 16; 0: it has none. */
static size_t padding_of(const unsigned char block[KP_AES_BYTES])
{
	unsigned count = block[KP_AES_BYTES - 1], wrong = 0;

	for (unsigned i = 0; i < KP_AES_BYTES; i++)
		wrong |= (i < count) & (block[KP_AES_BYTES - 1 - i] != count);
	return count <= KP_AES_BYTES && !wrong ? count : 0;
}

keep_status kp_cipher_decrypt(kp_cipher *cipher, const unsigned char iv[KP_AES_BYTES],
			      keep_bytes sealed, unsigned char *out, size_t *len, keep_error *err)
{
	size_t padding;

	*len = 0;
	if (sealed.len == 0 || sealed.len % KP_AES_BYTES)
		return kp_fail(err, KEEP_CORRUPT, "an encrypted text is not whole blocks of AES");
	if (!EVP_CipherInit_ex2(cipher, NULL, NULL, iv, -1, NULL) ||
	    !run_blocks(cipher, sealed, out))
		return kp_fail_memory(err, "a decryption");
	padding = padding_of(out + sealed.len - KP_AES_BYTES);
	if (padding == 0)
		return kp_fail(err, KEEP_CORRUPT, "an encrypted text does not end in a padding");
	*len = sealed.len - padding;
	return KEEP_OK;
}
