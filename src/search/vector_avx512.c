/*
 * vector_avx512.c - the scan of a group with AVX-512 VNNI: a register is a row of 16 vectors.
 *
 * vpdpbusd multiplies four unsigned bytes by four signed ones and adds the products to a 32-bit
 * lane without saturation. Nothing is added across lanes: the layout has put a vector in each.
 * Bytes are asked for ahead, because the stream of the processor itself ends at each page.
 *
 * Invariants: those of vector_kernels.c. Tests: tests/unit/test_vector_codes.c.
 */
#include "search/vector_private.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define AHEAD 4096 /* bytes: measured, 2048 to 8192 do about as well */
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vnni")))

static bool run_with_avx512(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") &&
	       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
}

static inline int32_t word_at(const int8_t *codes)
{
	int32_t word;

	memcpy(&word, codes, sizeof word);
	return word;
}

/* One row's products with its eight codes, added to two sums. */
static inline TARGET void add_row(const uint8_t *row, const int8_t *codes, __m512i *even,
				  __m512i *odd)
{
	const __m512i half = _mm512_set1_epi8(15);
	__m512i bytes = _mm512_loadu_si512(row);

	_mm_prefetch((const char *)row + AHEAD, _MM_HINT_T0);
	*even = _mm512_dpbusd_epi32(*even, _mm512_and_si512(bytes, half),
				    _mm512_set1_epi32(word_at(codes)));
	*odd = _mm512_dpbusd_epi32(*odd, _mm512_and_si512(_mm512_srli_epi16(bytes, 4), half),
				   _mm512_set1_epi32(word_at(codes + 4)));
}

static TARGET uint32_t scan_high(const struct kp_vector_group *group, size_t rows,
				 const int8_t *codes, const struct kp_vector_limits *limits,
				 int32_t dots[KP_VECTOR_GROUP])
{
	__m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
	__m512 estimate, error, reach, one = _mm512_set1_ps(1);
	size_t row = 0;

	for (; row + 2 <= rows; row += 2) {
		add_row(group->rows + row * 64, codes + row * 8, &a, &b);
		add_row(group->rows + row * 64 + 64, codes + row * 8 + 8, &c, &d);
	}
	if (row < rows)
		add_row(group->rows + row * 64, codes + row * 8, &a, &b);
	a = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
	_mm512_storeu_si512(dots, a);
	a = _mm512_slli_epi32(_mm512_sub_epi32(a, _mm512_set1_epi32(8 * limits->sum)), 4);
	estimate =
		_mm512_mul_ps(_mm512_cvtepi32_ps(a), _mm512_mul_ps(_mm512_loadu_ps(group->scale),
								   _mm512_set1_ps(limits->scale)));
	error = _mm512_loadu_ps(group->error);
	one = _mm512_add_ps(one, error);
	reach = _mm512_add_ps(error, _mm512_mul_ps(_mm512_set1_ps(limits->error), one));
	reach = _mm512_add_ps(_mm512_add_ps(estimate, reach),
			      _mm512_mul_ps(_mm512_set1_ps(4e-6f), one));
	return _mm512_cmp_ps_mask(reach, _mm512_set1_ps(limits->threshold), _CMP_GE_OQ);
}

static TARGET int32_t scan_low(const uint8_t *low, size_t bytes, const int8_t *codes)
{
	const __m512i half = _mm512_set1_epi8(15);
	__m512i even = _mm512_setzero_si512(), odd = even;

	for (size_t at = 0; at < bytes; at += 64) {
		__m512i row = _mm512_loadu_si512(low + at);

		even = _mm512_dpbusd_epi32(even, _mm512_and_si512(row, half),
					   _mm512_loadu_si512(codes + 2 * at));
		odd = _mm512_dpbusd_epi32(odd, _mm512_and_si512(_mm512_srli_epi16(row, 4), half),
					  _mm512_loadu_si512(codes + 2 * at + 64));
	}
	return _mm512_reduce_add_epi32(_mm512_add_epi32(even, odd));
}

const struct kp_vector_kernel kp_vector_avx512 = {
	.name = "AVX-512 VNNI",
	.runs = run_with_avx512,
	.high = scan_high,
	.low = scan_low,
	.dots = kp_vector_dots_avx2,
};
#endif
