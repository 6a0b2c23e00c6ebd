/*
 * page_seal.c - the checksum at the end of a page, in memory.
 *
 *     page  │ what SQLite stores: page_bytes - 8 │ 8 reserved bytes: the seal │
 *
 * The seal is XXH64 (Yann Collet, github.com/Cyan4973/xxHash, doc/xxhash_spec.md) of the bytes
 * before it with the page's number as the seed, written little-endian; 0, which stands for "none",
 * is written as 1. It is against chance, not against an enemy, who can compute it too.
 *
 * Invariants:
 *   1. A page that lies in another's place has a wrong seal: the number is in it.
 *   2. What is stored depends on the bytes alone, not on the machine's order of them.
 *
 * What it does not do: decide which files have seals (sqlite_seal.c), or look at files
 * (sqlite_inspect.c).
 *
 * Tests: tests/contract/test_page_seals.c, with values of the reference library.
 */
#include "sql/sqlite_files.h"

#include <endian.h>
#include <string.h>

#define PRIME_1 UINT64_C(0x9E3779B185EBCA87)
#define PRIME_2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME_3 UINT64_C(0x165667B19E3779F9)
#define PRIME_4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME_5 UINT64_C(0x27D4EB2F165667C5)

enum {
	MAGIC_BYTES = 16,
	PAGE_BYTES_AT = 16,
	VERSIONS_AT = 18,
	RESERVED_AT = 20,
	PAGE_MIN = 512,
	PAGE_MAX = 65536
};

static uint64_t rotate(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

static uint64_t read_word(const unsigned char *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof word);
	return le64toh(word);
}

static uint64_t take(uint64_t lane, uint64_t word)
{
	return rotate(lane + word * PRIME_2, 31) * PRIME_1;
}

static uint64_t merge(uint64_t hash, uint64_t lane)
{
	return (hash ^ take(0, lane)) * PRIME_1 + PRIME_4;
}

/* `len` is a multiple of 8 and at least 32: so are all pages' without their seals. */
static uint64_t hash_words(const unsigned char *bytes, size_t len, uint64_t seed)
{
	uint64_t a = seed + PRIME_1 + PRIME_2, b = seed + PRIME_2, c = seed, d = seed - PRIME_1;
	const unsigned char *end = bytes + len;
	uint64_t hash;

	for (; end - bytes >= 32; bytes += 32) {
		a = take(a, read_word(bytes));
		b = take(b, read_word(bytes + 8));
		c = take(c, read_word(bytes + 16));
		d = take(d, read_word(bytes + 24));
	}
	hash = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
	hash = merge(merge(merge(merge(hash, a), b), c), d) + len;
	for (; bytes < end; bytes += 8)
		hash = rotate(hash ^ take(0, read_word(bytes)), 27) * PRIME_1 + PRIME_4;
	hash = (hash ^ hash >> 33) * PRIME_2;
	hash = (hash ^ hash >> 29) * PRIME_3;
	return hash ^ hash >> 32;
}

static uint64_t seal_of(const unsigned char *page, size_t page_bytes, uint32_t number)
{
	uint64_t hash = hash_words(page, page_bytes - KP_SEAL_BYTES, number);

	return hash == 0 ? 1 : hash;
}

bool kp_page_size_is_valid(uint32_t bytes)
{
	return bytes >= PAGE_MIN && bytes <= PAGE_MAX && (bytes & (bytes - 1)) == 0;
}

bool kp_seal_header(const unsigned char *header, uint32_t *page_bytes, unsigned *reserved)
{
	uint32_t bytes = (uint32_t)header[PAGE_BYTES_AT] << 8 | header[PAGE_BYTES_AT + 1];

	*page_bytes = bytes == 1 ? PAGE_MAX : bytes;
	*reserved = header[RESERVED_AT];
	return memcmp(header, "SQLite format 3", MAGIC_BYTES) == 0 &&
	       kp_page_size_is_valid(*page_bytes);
}

kp_seal_state kp_seal_look(const void *page, size_t page_bytes, uint32_t number)
{
	const unsigned char *bytes = page;
	uint64_t stored = read_word(bytes + page_bytes - KP_SEAL_BYTES);

	if (stored != 0)
		return stored == seal_of(bytes, page_bytes, number) ? KP_SEAL_RIGHT : KP_SEAL_WRONG;
	/* all of it equal to its first byte, which is zero */
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, page_bytes - 1) == 0 ? KP_SEAL_EMPTY
									      : KP_SEAL_NONE;
}

void kp_seal_put(void *page, size_t page_bytes, uint32_t number)
{
	unsigned char *bytes = page;
	uint64_t seal = seal_of(bytes, page_bytes, number);

	for (unsigned i = 0; i < KP_SEAL_BYTES; i++)
		bytes[page_bytes - KP_SEAL_BYTES + i] = (unsigned char)(seal >> (8 * i));
}

void kp_seal_set_versions(void *page, size_t len, unsigned char version)
{
	unsigned char *bytes = page;
	uint32_t page_bytes;
	unsigned reserved;
	bool was_right;

	if (len <= RESERVED_AT)
		return;
	was_right = kp_seal_header(bytes, &page_bytes, &reserved) && reserved == KP_SEAL_BYTES &&
		    len >= page_bytes && kp_seal_look(page, page_bytes, 1) == KP_SEAL_RIGHT;
	bytes[VERSIONS_AT] = bytes[VERSIONS_AT + 1] = version;
	if (was_right)
		kp_seal_put(page, page_bytes, 1);
}
