/*
 * padded.c - base64url with padding (RFC 4648 section 5), as Fernet tokens and keys are written.
 *
 * Whole groups go through a way: plain C, or AVX2 where the processor has it, 24 bytes a step (the
 * arithmetic is Wojciech Muła's and Daniel Lemire's, "Faster Base64 Encoding and Decoding using
 * AVX2 Instructions", 2018). The last group, whatever a way leaves over, and everything that is not
 * a digit is judged in one place, so that all ways accept the same texts.
 *
 * Invariants:
 *   1. Parsing accepts exactly what formatting writes: groups of four, '=' only at the very end, no
 *      bits set in the unused part of the last digit. Equal texts mean equal bytes.
 *   2. No way reads past its input or writes past the output of its input, though a step stores
 *      more than it is worth: it is done only where the rest of the output follows.
 *   3. A way that meets something else than digits leaves that group, and what follows, to be
 *      judged.
 *
 * What it does not do: hide from the time it takes what the digits are. In plain C they index a
 * table; a key is read at open, once.
 *
 * Tests: tests/unit/test_fernet.c runs every way; tests/unit/test_fernet_python.py;
 * fuzz/fuzz_fernet.c.
 */
#include "vault/vault_private.h"

static const char digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* One more than the digit's value; 0: no digit. */
#define ROW4(digit, value)                                                                         \
	[digit] = (value) + 1, [(digit) + 1] = (value) + 2, [(digit) + 2] = (value) + 3,           \
	[(digit) + 3] = (value) + 4
#define ROW8(digit, value) ROW4(digit, value), ROW4((digit) + 4, (value) + 4)
static const unsigned char values[256] = {
	ROW8('A', 0),  ROW8('I', 8),  ROW8('Q', 16), ['Y'] = 25, ['Z'] = 26,    ROW8('a', 26),
	ROW8('i', 34), ROW8('q', 42), ['y'] = 51,    ['z'] = 52, ROW4('0', 52), ROW4('4', 56),
	['8'] = 61,    ['9'] = 62,    ['-'] = 63,    ['_'] = 64,
};

/* ---------------------------------------------------------------- plain C */

static bool is_here_always(void)
{
	return true;
}

static size_t format_plainly(const unsigned char *bytes, size_t groups, char *out)
{
	for (size_t i = 0; i < groups; i++, bytes += 3, out += 4) {
		uint32_t group = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];

		out[0] = digits[group >> 18];
		out[1] = digits[group >> 12 & 63];
		out[2] = digits[group >> 6 & 63];
		out[3] = digits[group & 63];
	}
	return groups;
}

static size_t parse_plainly(const char *text, size_t groups, unsigned char *out)
{
	const unsigned char *from = (const unsigned char *)text;

	for (size_t i = 0; i < groups; i++, from += 4, out += 3) {
		/* 0 becomes a number that no digit has, in bits that no digit reaches. */
		uint32_t a = values[from[0]] - 1U, b = values[from[1]] - 1U;
		uint32_t c = values[from[2]] - 1U, d = values[from[3]] - 1U;
		uint32_t group = a << 18 | b << 12 | c << 6 | d;

		if ((a | b | c | d) > 63)
			return i;
		out[0] = (unsigned char)(group >> 16);
		out[1] = (unsigned char)(group >> 8);
		out[2] = (unsigned char)group;
	}
	return groups;
}

/* ---------------------------------------------------------------- AVX2 */

#ifdef __x86_64__
#include <immintrin.h>

#define WITH_AVX2 __attribute__((target("avx2")))
#define STEP 8 /* groups: 24 bytes, 32 digits */

static bool is_here_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

/* Each 32-bit lane gets the three bytes of a group, then its four values, then their digits. */
WITH_AVX2
static __m256i digits_of_step(__m256i step)
{
	const __m256i spread =
		_mm256_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10, //
				 1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
	/* What is added to a value: by its range, 0 for a to z, 1 to 12 from '0' on, 13 for A to Z.
	 */
	const __m256i added =
		_mm256_setr_epi8(71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -17, 32, 65, 0, 0, //
				 71, -4, -4, -4, -4, -4, -4, -4, -4, -4, -4, -17, 32, 65, 0, 0);
	__m256i bytes = _mm256_shuffle_epi8(step, spread);
	__m256i high = _mm256_mulhi_epu16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x0fc0fc00)),
					  _mm256_set1_epi32(0x04000040));
	__m256i low = _mm256_mullo_epi16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x003f03f0)),
					 _mm256_set1_epi32(0x01000010));
	__m256i each = _mm256_or_si256(high, low);
	__m256i range = _mm256_subs_epu8(each, _mm256_set1_epi8(51));
	__m256i is_upper = _mm256_cmpgt_epi8(_mm256_set1_epi8(26), each);

	range = _mm256_or_si256(range, _mm256_and_si256(is_upper, _mm256_set1_epi8(13)));
	return _mm256_add_epi8(each, _mm256_shuffle_epi8(added, range));
}

/* A step reads 28 bytes, so that one group and a bit more must follow its eight. */
WITH_AVX2
static size_t format_avx2(const unsigned char *bytes, size_t groups, char *out)
{
	size_t done = 0;

	for (; groups - done >= STEP + 2; done += STEP, bytes += 3 * STEP, out += 4 * STEP) {
		__m128i first = _mm_loadu_si128((const __m128i *)(const void *)bytes);
		__m128i second = _mm_loadu_si128((const __m128i *)(const void *)(bytes + 12));

		_mm256_storeu_si256((__m256i *)(void *)out,
				    digits_of_step(_mm256_set_m128i(second, first)));
	}
	return done;
}

/* `added` where first <= digit <= last; those bytes of *known are set. Above 127 is below 0. */
WITH_AVX2
static __m256i add_range(__m256i text, char first, char last, char added, __m256i *known)
{
	__m256i in_it =
		_mm256_andnot_si256(_mm256_cmpgt_epi8(text, _mm256_set1_epi8(last)),
				    _mm256_cmpgt_epi8(text, _mm256_set1_epi8((char)(first - 1))));

	*known = _mm256_or_si256(*known, in_it);
	return _mm256_and_si256(in_it, _mm256_set1_epi8(added));
}

/* A step stores 32 bytes of which 24 count, so that three groups must follow its eight. */
WITH_AVX2
static size_t parse_avx2(const char *text, size_t groups, unsigned char *out)
{
	const __m256i gather =
		_mm256_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1,
				 -1, //
				 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
	size_t done = 0;

	for (; groups - done >= STEP + 3; done += STEP, text += 4 * STEP, out += 3 * STEP) {
		__m256i step = _mm256_loadu_si256((const __m256i *)(const void *)text);
		__m256i known = _mm256_setzero_si256(), added;

		added = add_range(step, 'A', 'Z', -65, &known);
		added = _mm256_or_si256(added, add_range(step, 'a', 'z', -71, &known));
		added = _mm256_or_si256(added, add_range(step, '0', '9', 4, &known));
		added = _mm256_or_si256(added, add_range(step, '-', '-', 17, &known));
		added = _mm256_or_si256(added, add_range(step, '_', '_', -32, &known));
		if (_mm256_movemask_epi8(known) != -1)
			break;
		step = _mm256_add_epi8(step, added);
		step = _mm256_maddubs_epi16(step, _mm256_set1_epi32(0x01400140));
		step = _mm256_madd_epi16(step, _mm256_set1_epi32(0x00011000));
		step = _mm256_shuffle_epi8(step, gather);
		step = _mm256_permutevar8x32_epi32(step, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
		_mm256_storeu_si256((__m256i *)(void *)out, step);
	}
	return done;
}
#endif

/* ---------------------------------------------------------------- whole texts */

static const kp_padded_way ways[] = {
	{"plain", is_here_always, format_plainly, parse_plainly},
#ifdef __x86_64__
	{"avx2", is_here_avx2, format_avx2, parse_avx2},
#endif
};

const kp_padded_way *kp_padded_way_at(size_t index)
{
	return index < KP_COUNT(ways) ? &ways[index] : NULL;
}

const kp_padded_way *kp_padded_best(void)
{
	size_t best = KP_COUNT(ways) - 1;

	while (!ways[best].is_here())
		best--;
	return &ways[best];
}

char *kp_padded_format(const kp_padded_way *way, keep_bytes bytes, char *out)
{
	const unsigned char *from = (const unsigned char *)bytes.data;
	size_t groups = bytes.len / 3, left = bytes.len % 3;
	size_t done = way->format(from, groups, out);
	unsigned char last[3] = {0, 0, 0};

	format_plainly(from + 3 * done, groups - done, out + 4 * done);
	out += 4 * groups;
	if (left == 0)
		return out;
	for (size_t i = 0; i < left; i++)
		last[i] = from[3 * groups + i];
	format_plainly(last, 1, out);
	out[3] = '=';
	if (left == 1)
		out[2] = '=';
	return out + 4;
}

/* The last group, of one byte or two: "ab==" or "abc=". The bytes, 0 when it is no such group. */
static size_t parse_last(const char *text, unsigned char *out)
{
	char whole[4] = {text[0], text[1], text[2], 'A'};
	size_t count = text[2] == '=' ? 1 : 2;
	unsigned char bytes[3];

	if (count == 1)
		whole[2] = 'A';
	if (parse_plainly(whole, 1, bytes) != 1 || bytes[2] != 0 || (count == 1 && bytes[1] != 0))
		return 0;
	for (size_t i = 0; i < count; i++)
		out[i] = bytes[i];
	return count;
}

bool kp_padded_parse(const kp_padded_way *way, keep_bytes text, unsigned char *out, size_t *len)
{
	size_t groups = text.len / 4, done, last = 0;
	bool is_padded = text.len > 0 && text.data[text.len - 1] == '=';

	*len = 0;
	if (text.len % 4)
		return false;
	groups -= is_padded;
	done = way->parse(text.data, groups, out);
	done += parse_plainly(text.data + 4 * done, groups - done, out + 3 * done);
	if (done < groups)
		return false;
	if (is_padded) {
		last = parse_last(text.data + 4 * groups, out + 3 * groups);
		if (last == 0)
			return false;
	}
	*len = 3 * groups + last;
	return true;
}
