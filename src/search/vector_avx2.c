/*
 * vector_avx2.c - the scan of a group with AVX2: two registers are a row of 16 vectors.
 *
 * vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits: at most 2 * 15 * 127.
 * A row adds two of them to a lane, so four rows (30,480) fit before they go to 32 bits.
 *
 * Invariants: those of vector_kernels.c. Tests: tests/unit/test_vector_codes.c.
 */
#include "search/vector_private.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define ROWS_IN_16_BITS 4
#define AHEAD 4096
#define TARGET __attribute__((target("avx2")))

static bool run_with_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

/* 32 bytes, whose lower halves go with one word of codes and whose upper ones with another. */
static inline TARGET __m256i multiply(const uint8_t *bytes, __m256i even, __m256i odd)
{
	const __m256i half = _mm256_set1_epi8(15);
	__m256i all = _mm256_loadu_si256((const __m256i *)(const void *)bytes);

	return _mm256_add_epi16(
		_mm256_maddubs_epi16(_mm256_and_si256(all, half), even),
		_mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(all, 4), half), odd));
}

static inline TARGET __m256i codes_at(const int8_t *codes)
{
	int32_t word;

	memcpy(&word, codes, sizeof word);
	return _mm256_set1_epi32(word);
}

static TARGET uint32_t find_lanes(const float *scale, const float *error,
				  const struct kp_vector_limits *limits, __m256i dots)
{
	__m256i codes =
		_mm256_slli_epi32(_mm256_sub_epi32(dots, _mm256_set1_epi32(8 * limits->sum)), 4);
	__m256 estimate =
		_mm256_mul_ps(_mm256_cvtepi32_ps(codes),
			      _mm256_mul_ps(_mm256_loadu_ps(scale), _mm256_set1_ps(limits->scale)));
	__m256 lost = _mm256_loadu_ps(error), one = _mm256_add_ps(_mm256_set1_ps(1), lost);
	__m256 reach = _mm256_add_ps(lost, _mm256_mul_ps(_mm256_set1_ps(limits->error), one));

	reach = _mm256_add_ps(_mm256_add_ps(estimate, reach),
			      _mm256_mul_ps(_mm256_set1_ps(4e-6f), one));
	return (uint32_t)_mm256_movemask_ps(
		_mm256_cmp_ps(reach, _mm256_set1_ps(limits->threshold), _CMP_GE_OQ));
}

static TARGET uint32_t scan_high(const struct kp_vector_group *group, size_t rows,
				 const int8_t *codes, const struct kp_vector_limits *limits,
				 int32_t dots[KP_VECTOR_GROUP])
{
	const __m256i ones = _mm256_set1_epi16(1);
	__m256i left = _mm256_setzero_si256(), right = left;

	for (size_t row = 0; row < rows;) {
		size_t end = row + ROWS_IN_16_BITS < rows ? row + ROWS_IN_16_BITS : rows;
		__m256i few_left = _mm256_setzero_si256(), few_right = few_left;

		for (; row < end; row++) {
			const uint8_t *bytes = group->rows + row * 64;
			__m256i even = codes_at(codes + row * 8),
				odd = codes_at(codes + row * 8 + 4);

			_mm_prefetch((const char *)bytes + AHEAD, _MM_HINT_T0);
			few_left = _mm256_add_epi16(few_left, multiply(bytes, even, odd));
			few_right = _mm256_add_epi16(few_right, multiply(bytes + 32, even, odd));
		}
		left = _mm256_add_epi32(left, _mm256_madd_epi16(few_left, ones));
		right = _mm256_add_epi32(right, _mm256_madd_epi16(few_right, ones));
	}
	_mm256_storeu_si256((__m256i *)(void *)dots, left);
	_mm256_storeu_si256((__m256i *)(void *)(dots + 8), right);
	return find_lanes(group->scale, group->error, limits, left) |
	       find_lanes(group->scale + 8, group->error + 8, limits, right) << 8;
}

static TARGET int32_t scan_low(const uint8_t *low, size_t bytes, const int8_t *codes)
{
	const __m256i ones = _mm256_set1_epi16(1);
	__m256i sum = _mm256_setzero_si256();
	int32_t lanes[8], total = 0;

	for (size_t at = 0; at < bytes; at += 64) {
		const void *by = codes + 2 * at;
		const __m256i *query = by;
		__m256i few =
			_mm256_add_epi16(multiply(low + at, _mm256_loadu_si256(query),
						  _mm256_loadu_si256(query + 2)),
					 multiply(low + at + 32, _mm256_loadu_si256(query + 1),
						  _mm256_loadu_si256(query + 3)));

		sum = _mm256_add_epi32(sum, _mm256_madd_epi16(few, ones));
	}
	_mm256_storeu_si256((__m256i *)(void *)lanes, sum);
	for (size_t i = 0; i < 8; i++)
		total += lanes[i];
	return total;
}

/* Four values of each of four vectors, turned so that a register has one place of all four, and
   added place by place. The product of two floats is exact in double. */
static inline TARGET __m256d add_four(__m256d sums, const float *const values[4], size_t at,
				      const double *query)
{
	__m128 a = _mm_loadu_ps(values[0] + at), b = _mm_loadu_ps(values[1] + at);
	__m128 c = _mm_loadu_ps(values[2] + at), d = _mm_loadu_ps(values[3] + at);

	_MM_TRANSPOSE4_PS(a, b, c, d);
	sums = _mm256_add_pd(sums, _mm256_mul_pd(_mm256_cvtps_pd(a), _mm256_set1_pd(query[at])));
	sums = _mm256_add_pd(sums,
			     _mm256_mul_pd(_mm256_cvtps_pd(b), _mm256_set1_pd(query[at + 1])));
	sums = _mm256_add_pd(sums,
			     _mm256_mul_pd(_mm256_cvtps_pd(c), _mm256_set1_pd(query[at + 2])));
	return _mm256_add_pd(sums,
			     _mm256_mul_pd(_mm256_cvtps_pd(d), _mm256_set1_pd(query[at + 3])));
}

TARGET void kp_vector_dots_avx2(const float *const values[KP_VECTOR_AT_ONCE], size_t count,
				const double *query, size_t dimension,
				double dots[KP_VECTOR_AT_ONCE])
{
	__m256d few = _mm256_setzero_pd(), more = few;
	size_t i = 0;

	if (count <= 2) {
		kp_vector_dots(values, count, query, dimension, dots);
		return;
	}
	for (; i + 4 <= dimension; i += 4) {
		few = add_four(few, values, i, query);
		more = add_four(more, values + 4, i, query);
	}
	_mm256_storeu_pd(dots, few);
	_mm256_storeu_pd(dots + 4, more);
	for (; i < dimension; i++)
		for (size_t j = 0; j < KP_VECTOR_AT_ONCE; j++)
			dots[j] += (double)values[j][i] * query[i];
}

const struct kp_vector_kernel kp_vector_avx2 = {
	.name = "AVX2",
	.runs = run_with_avx2,
	.high = scan_high,
	.low = scan_low,
	.dots = kp_vector_dots_avx2,
};
#endif
