/*
 * vector_kernels.c - which way of scanning this processor has, and the one that all have.
 *
 * Invariants:
 *   1. All kernels give the same products; lanes may differ only where rounding decides, and then
 *      each is right (vector_codes.c proves the bound for any order of rounding).
 *   2. Sums of values are the same to the bit: each is added up in the values' order.
 *   3. A kernel reads a group or a row and the query, and nothing outside of them.
 *
 * What it does not do: use an instruction that was not asked for; the build has the plain baseline.
 *
 * Tests: tests/unit/test_vector_codes.c runs every kernel of this machine against the plain one.
 */
#include "search/vector_private.h"

#include <math.h>

static bool run_anywhere(void)
{
	return true;
}

static uint32_t scan_high(const struct kp_vector_group *group, size_t rows, const int8_t *codes,
			  const struct kp_vector_limits *limits, int32_t dots[KP_VECTOR_GROUP])
{
	uint32_t lanes = 0;

	for (size_t lane = 0; lane < KP_VECTOR_GROUP; lane++)
		dots[lane] = 0;
	for (size_t row = 0; row < rows; row++) {
		const uint8_t *bytes = group->rows + row * 64;
		const int8_t *by = codes + row * 8;

		for (size_t lane = 0; lane < KP_VECTOR_GROUP; lane++)
			for (size_t b = 0; b < 4; b++)
				dots[lane] += (bytes[lane * 4 + b] & 15) * by[b] +
					      (bytes[lane * 4 + b] >> 4) * by[4 + b];
	}
	for (size_t lane = 0; lane < KP_VECTOR_GROUP; lane++) {
		float estimate = (float)(16 * (dots[lane] - 8 * limits->sum)) *
				 (group->scale[lane] * limits->scale);

		if (kp_vector_reach(estimate, group->error[lane], limits->error) >=
		    limits->threshold)
			lanes |= 1u << lane;
	}
	return lanes;
}

static int32_t scan_low(const uint8_t *low, size_t bytes, const int8_t *codes)
{
	int32_t sum = 0;

	for (size_t at = 0; at < bytes; at += 64)
		for (size_t i = 0; i < 64; i++)
			sum += (low[at + i] & 15) * codes[2 * at + i] +
			       (low[at + i] >> 4) * codes[2 * at + 64 + i];
	return sum;
}

/* Four chains of sums run beside each other; each alone would wait for its own last sum. */
static void sum_four(const float *const values[4], const double *query, size_t dimension,
		     double dots[4])
{
	double sums[4] = {0, 0, 0, 0};

	for (size_t i = 0; i < dimension; i++)
		for (size_t j = 0; j < 4; j++)
			sums[j] += (double)values[j][i] * query[i];
	for (size_t j = 0; j < 4; j++)
		dots[j] = sums[j];
}

void kp_vector_dots(const float *const values[KP_VECTOR_AT_ONCE], size_t count, const double *query,
		    size_t dimension, double dots[KP_VECTOR_AT_ONCE])
{
	for (size_t from = 0; from < count; from += 4)
		sum_four(values + from, query, dimension, dots + from);
}

const struct kp_vector_kernel kp_vector_plain = {
	.name = "plain",
	.runs = run_anywhere,
	.high = scan_high,
	.low = scan_low,
	.dots = kp_vector_dots,
};

const struct kp_vector_kernel *const kp_vector_kernels[] = {
#if defined(__x86_64__)
	&kp_vector_avx512,
	&kp_vector_avx2,
#endif
	&kp_vector_plain,
	NULL,
};

const struct kp_vector_kernel *kp_vector_kernel_best(void)
{
	const struct kp_vector_kernel *const *at = kp_vector_kernels;

	while (!(*at)->runs())
		at++;
	return *at;
}
