/*
 * siphash.c - SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
 *
 * For hash tables whose names come from the network: who does not know the key cannot make
 * collisions. It is not a digest and protects nothing else.
 *
 * Tests: tests/unit/test_siphash.c, with the vectors of the paper's reference code.
 */
#include "core/core.h"

struct state {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

static uint64_t read_word(const unsigned char *at)
{
	uint64_t word = 0;

	for (unsigned i = 0; i < 8; i++)
		word |= (uint64_t)at[i] << (8 * i);
	return word;
}

static void mix(struct state *s, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		s->v0 += s->v1;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v3;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 += s->v3;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 += s->v1;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v2 = rotate(s->v2, 32);
	}
}

uint64_t kp_siphash(const unsigned char key[16], keep_bytes bytes)
{
	uint64_t k0 = read_word(key), k1 = read_word(key + 8);
	struct state s = {
		.v0 = k0 ^ UINT64_C(0x736f6d6570736575),
		.v1 = k1 ^ UINT64_C(0x646f72616e646f6d),
		.v2 = k0 ^ UINT64_C(0x6c7967656e657261),
		.v3 = k1 ^ UINT64_C(0x7465646279746573),
	};
	const unsigned char *data = (const unsigned char *)bytes.data;
	size_t whole = bytes.len / 8 * 8;
	uint64_t last = (uint64_t)bytes.len << 56;

	for (size_t i = 0; i < whole; i += 8) {
		uint64_t word = read_word(data + i);

		s.v3 ^= word;
		mix(&s, 2);
		s.v0 ^= word;
	}
	for (size_t i = whole; i < bytes.len; i++)
		last |= (uint64_t)data[i] << (8 * (i - whole));
	s.v3 ^= last;
	mix(&s, 2);
	s.v0 ^= last;
	s.v2 ^= 0xff;
	mix(&s, 4);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
