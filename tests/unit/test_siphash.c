/* test_siphash.c - digests against published vectors. */
#include "keep_test.h"

/* The first outputs of the reference implementation (vectors.h, SipHash-2-4 of 64 bits) for the
   key 00 01 … 0f and the inputs "", 00, 00 01, … */
static const uint64_t published[] = {
	UINT64_C(0x726fdb47dd0e0e31), UINT64_C(0x74f839c593dc67fd), UINT64_C(0x0d6c8009d9a94f5a),
	UINT64_C(0x85676696d7fb7e2d), UINT64_C(0xcf2794e0277187b7), UINT64_C(0x18765564cd99a68d),
	UINT64_C(0xcbc9466e58fee3ce), UINT64_C(0xab0200f58b01d137), UINT64_C(0x93f5f5799a932462),
	UINT64_C(0x9e0082df0ba9e4b0), UINT64_C(0x7a5dbbc594ddb9f3), UINT64_C(0xf4b32f46226bada7),
	UINT64_C(0x751e8fbc860ee5fb), UINT64_C(0x14ea5627c0843d90), UINT64_C(0xf723ca908e7af2ee),
	UINT64_C(0xa129ca6149be45e5),
};

static void siphash_gives_the_published_values(void **state)
{
	unsigned char key[16];
	char input[KP_COUNT(published)];

	(void)state;
	for (size_t i = 0; i < sizeof key; i++)
		key[i] = (unsigned char)i;
	for (size_t i = 0; i < KP_COUNT(published); i++) {
		input[i] = (char)i;
		assert_true(kp_siphash(key, (keep_bytes){input, i}) == published[i]);
	}
	assert_true(kp_siphash(key, (keep_bytes){.data = NULL}) == published[0]);
}

static void another_key_gives_another_hash(void **state)
{
	unsigned char key[16] = {0};
	uint64_t plain = kp_siphash(key, KEEP_BYTES("name"));

	(void)state;
	for (size_t i = 0; i < sizeof key; i++) {
		key[i] ^= 1;
		assert_true(kp_siphash(key, KEEP_BYTES("name")) != plain);
		key[i] ^= 1;
	}
}

static void sha256_gives_the_values_of_fips_180(void **state)
{
	unsigned char digest[KP_SHA256_SIZE];
	char text[2 * KP_SHA256_SIZE + 1];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_sha256(KEEP_BYTES("abc"), digest, &err));
	kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, text);
	assert_string_equal(text,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	OK(kp_sha256((keep_bytes){.data = NULL}, digest, &err));
	kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, text);
	assert_string_equal(text,
			    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(siphash_gives_the_published_values),
		cmocka_unit_test(another_key_gives_another_hash),
		cmocka_unit_test(sha256_gives_the_values_of_fips_180),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
