/*
 * s3_hash.c - digests of what goes over the wire, in a stream.
 *
 * Invariants:
 *   1. Memory does not grow with what is hashed.
 *   2. MD5 is taken only to be compared with the ETag of a server. A machine that forbids it (FIPS)
 *      goes without; SHA-256 is never left out.
 *
 * What it does not do: compare; its callers know what a difference means.
 *
 * Tests: tests/contract/test_s3.c, tests/contract/test_s3_retry.c.
 */
#include "backup/s3_private.h"

#include <string.h>

#define BLOCK_BYTES ((size_t)64 << 10)

keep_status kp_s3_hash_begin(kp_s3_hash *hash, keep_error *err)
{
	kp_s3_hash_release(hash);
	hash->sha256 = EVP_MD_CTX_new();
	if (!hash->sha256 || EVP_DigestInit_ex(hash->sha256, EVP_sha256(), NULL) != 1) {
		kp_s3_hash_release(hash);
		return kp_fail_memory(err, "a SHA-256 digest");
	}
	hash->md5 = EVP_MD_CTX_new();
	if (hash->md5 && EVP_DigestInit_ex(hash->md5, EVP_md5(), NULL) != 1) {
		EVP_MD_CTX_free(hash->md5);
		hash->md5 = NULL;
	}
	return KEEP_OK;
}

keep_status kp_s3_hash_add(kp_s3_hash *hash, keep_bytes bytes, keep_error *err)
{
	if (EVP_DigestUpdate(hash->sha256, bytes.data, bytes.len) != 1 ||
	    (hash->md5 && EVP_DigestUpdate(hash->md5, bytes.data, bytes.len) != 1))
		return kp_fail_memory(err, "a digest");
	return KEEP_OK;
}

keep_status kp_s3_hash_end(kp_s3_hash *hash, char sha256[KP_S3_SHA256_TEXT], char md5[33],
			   keep_error *err)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned size = 0;

	md5[0] = '\0';
	if (EVP_DigestFinal_ex(hash->sha256, digest, &size) != 1)
		return kp_fail_memory(err, "a SHA-256 digest");
	kp_hex_format((keep_bytes){(const char *)digest, KP_SHA256_SIZE}, sha256);
	if (hash->md5 && EVP_DigestFinal_ex(hash->md5, digest, &size) == 1)
		kp_hex_format((keep_bytes){(const char *)digest, 16}, md5);
	kp_s3_hash_release(hash);
	return KEEP_OK;
}

void kp_s3_hash_release(kp_s3_hash *hash)
{
	EVP_MD_CTX_free(hash->sha256);
	EVP_MD_CTX_free(hash->md5);
	*hash = (kp_s3_hash){.sha256 = NULL};
}

keep_status kp_s3_hash_file(int fd, int64_t at, int64_t size, kp_s3_hash *whole,
			    const _Atomic int *cancelled, char sha256[KP_S3_SHA256_TEXT],
			    keep_error *err)
{
	kp_s3_hash hash = {.sha256 = NULL};
	char *block = kp_alloc(BLOCK_BYTES), md5[33];
	keep_status status =
		block ? kp_s3_hash_begin(&hash, err) : kp_fail_memory(err, "a block of a file");

	while (size > 0 && status == KEEP_OK) {
		size_t wanted = size < (int64_t)BLOCK_BYTES ? (size_t)size : BLOCK_BYTES, got = 0;

		status = kp_file_read_at(fd, block, wanted, at, &got, err);
		if (status == KEEP_OK && got < wanted)
			status = kp_fail(err, KEEP_CORRUPT, "the file is shorter than it must be");
		if (status == KEEP_OK && cancelled && *cancelled)
			status = kp_fail(err, KEEP_BUSY, "it was cancelled");
		if (status == KEEP_OK)
			status = kp_s3_hash_add(&hash, (keep_bytes){block, got}, err);
		if (status == KEEP_OK && whole)
			status = kp_s3_hash_add(whole, (keep_bytes){block, got}, err);
		at += (int64_t)got;
		size -= (int64_t)got;
	}
	if (status == KEEP_OK)
		status = kp_s3_hash_end(&hash, sha256, md5, err);
	kp_s3_hash_release(&hash);
	kp_free(block);
	return status;
}

bool kp_s3_is_sha256(const char *text)
{
	size_t len = text ? strlen(text) : 0;

	for (size_t i = 0; i < len; i++)
		if (kp_hex_digit(text[i]) < 0 || (text[i] >= 'A' && text[i] <= 'F'))
			return false;
	return len == KP_S3_SHA256_TEXT - 1;
}
