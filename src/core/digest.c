/*
 * digest.c - SHA-256 by libcrypto, whose only failure is lack of memory.
 *
 * libcrypto sets itself up at its first use. When an allocation fails then, OpenSSL 3 remembers
 * the failure for the life of the process, and every later digest is NO_MEMORY too. It is true
 * and harmless, but a test that makes allocations fail takes one digest before it begins.
 *
 * Tests: tests/unit/test_siphash.c, test_fault.c.
 */
#include "core/core.h"

#include <openssl/evp.h>

keep_status kp_sha256(keep_bytes bytes, unsigned char out[KP_SHA256_SIZE], keep_error *err)
{
	const char *data = bytes.data ? bytes.data : "";

	if (EVP_Digest(data, bytes.len, out, NULL, EVP_sha256(), NULL) != 1)
		return kp_fail_memory(err, "a SHA-256 digest");
	return KEEP_OK;
}
