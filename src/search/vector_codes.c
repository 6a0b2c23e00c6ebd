/*
 * vector_codes.c - eight bits a value in two halves, how much they lose, and what may be concluded.
 *
 * A vector x of norm |x| > 0 is v = x / |x|. Its codes are c = round(v / s), with s = max|v| / 119,
 * and each is c = 16 h + l with h in -7 .. 7 and l in -8 .. 7. Two approximations of v follow,
 * a = 16 s h (the high halves alone, scanned first) and a = s c, and the norm E of v - a is kept
 * for both. The query p is u = p / |p|, codes d in -127 .. 127, scale t, and F >= |u - t d|.
 *
 * The bound. The cosine is u.v, and u = td + (u - td), v = a + (v - a), so
 *
 *     u.v = td.a + (u - td).a + u.(v - a)
 *     |u.v - td.a| <= F |a| + E <= F (1 + E) + E        Cauchy and Schwarz; |u| = 1, |a| <= 1 + E
 *
 * td.a is t s times an integer that the kernels compute exactly (at most 16 * 15 * 127 * 8192 in
 * 32 bits, before and after the subtraction of what the offsets 8 of the stored halves add). What
 * remains is rounding. In float, each operation within 2^-24 of its result: turning the integer
 * into a float and two products, 3 * 2^-24 of |td.a| <= (1 + F)(1 + E); the bound's own five
 * operations, 5 * 2^-24 of at most 2 (1 + E); the last sum, 2^-24 of at most 4 (1 + E). As rounding
 * gives F < 0.4 (t <= 1 / 127, and half a t in each of at most 8192 values), together that is less
 * than 20 * 2^-24 (1 + E) < 1.3e-6 (1 + E). In double, the similarity that is compared differs
 * from u.v by less than 8200 * 2^-52 < 2e-12, the norms E and F from theirs by less.
 * kp_vector_reach adds 4e-6 (1 + E), E and F are rounded up and the threshold down: a lane that is
 * left out cannot have been in the answer. A fused product and sum rounds less, so kernels may use
 * it.
 *
 * Invariants:
 *   1. E and F are never too small; scale and codes are any that they were computed for.
 *   2. A zero value has the codes zero: sparse vectors lose little.
 *   3. All sums over values that a similarity is made of run in the values' order, so every machine
 *      and kernel gives the same similarity (each product of two floats is exact in double).
 *
 * What it does not do: choose which vectors to look at (vector_search.c).
 *
 * Tests: tests/unit/test_vector_codes.c (the bound, at its edges), tests/unit/test_vectors.c.
 */
#include "search/vector_private.h"

#include <math.h>
#include <string.h>

static const unsigned char check_key[16] = "Keep vector set";

static size_t round_up(size_t size, size_t step)
{
	return (size + step - 1) / step * step;
}

void kp_vector_layout_init(struct kp_vector_layout *layout, size_t dimension)
{
	size_t groups = KP_VECTOR_SEGMENT / KP_VECTOR_GROUP;

	layout->dimension = dimension;
	layout->rows = (dimension + 7) / 8;
	layout->low_bytes = round_up(dimension, 128) / 2;
	layout->group_bytes = sizeof(struct kp_vector_group) + layout->rows * 64;
	layout->values_bytes = dimension * sizeof(float);
	layout->at_low = round_up(groups * layout->group_bytes, 4096);
	layout->at_details = layout->at_low + KP_VECTOR_SEGMENT * layout->low_bytes;
	layout->at_dead = layout->at_details + KP_VECTOR_SEGMENT * sizeof(struct kp_vector_detail);
	layout->at_values = layout->at_dead + KP_VECTOR_SEGMENT * sizeof(struct kp_vector_dead);
	layout->segment_bytes = layout->at_values + KP_VECTOR_SEGMENT * layout->values_bytes;
}

bool kp_vector_square(const float *values, size_t dimension, double *square)
{
	double sum = 0;

	for (size_t i = 0; i < dimension; i++)
		sum += (double)values[i] * (double)values[i];
	*square = sum;
	return isfinite(sum) &&
	       sum > 0; /* 8192 * FLT_MAX^2 is finite, FLT_TRUE_MIN^2 is not zero */
}

static double largest(const float *values, size_t dimension)
{
	double max = 0;

	for (size_t i = 0; i < dimension; i++) {
		double size = fabs((double)values[i]);

		max = size > max ? size : max;
	}
	return max;
}

/* The nearest whole number, kept within -limit .. limit. */
static int round_code(double value, int limit)
{
	int code = (int)(value < 0 ? value - 0.5 : value + 0.5);

	return code > limit ? limit : code < -limit ? -limit : code;
}

/* The root, as a float that is not smaller. */
static float root_above(double square)
{
	return nextafterf((float)(sqrt(square) * (1 + 0x1p-20)), INFINITY);
}

/* One value's halves (plus 8) to their places. */
static void put_halves(struct kp_vector_group *group, size_t lane, uint8_t *low, size_t i, int high,
		       int rest)
{
	uint8_t *at_high = group->rows + i / 8 * 64 + lane * 4 + i % 4;
	uint8_t *at_low = low + i / 128 * 64 + i % 64;
	unsigned shift_high = i % 8 < 4 ? 0 : 4, shift_low = i % 128 < 64 ? 0 : 4;

	*at_high =
		(uint8_t)((*at_high & ~(15u << shift_high)) | (unsigned)(high + 8) << shift_high);
	*at_low = (uint8_t)(*at_low | (unsigned)(rest + 8) << shift_low);
}

void kp_vector_encode(const struct kp_vector_layout *layout, const float *values,
		      struct kp_vector_group *group, size_t lane, uint8_t *low,
		      struct kp_vector_detail *detail)
{
	double norm = sqrt(detail->square);
	float scale = (float)(largest(values, layout->dimension) / norm / KP_VECTOR_CODE_MAX);
	double step = (double)scale, lost = 0, lost_high = 0;

	memset(low, 0, layout->low_bytes);
	for (size_t i = 0; i < layout->dimension; i++) {
		double value = (double)values[i] / norm, rest, rest_high;
		int code = round_code(value / step, KP_VECTOR_CODE_MAX);
		int high = (code + 8 + 128) / 16 - 8; /* rounded, halves upwards */

		put_halves(group, lane, low, i, high, code - 16 * high);
		rest = value - step * code;
		rest_high = value - step * (16 * high);
		lost += rest * rest;
		lost_high += rest_high * rest_high;
	}
	group->scale[lane] = scale;
	group->error[lane] = root_above(lost_high);
	detail->error = root_above(lost);
}

void kp_vector_encode_query(const struct kp_vector_layout *layout, const float *values,
			    struct kp_vector_query *query)
{
	double norm = sqrt(query->square), lost = 0, step;

	query->scale = (float)(largest(values, layout->dimension) / norm / INT8_MAX);
	query->sum = 0;
	step = (double)query->scale;
	memset(query->codes, 0, layout->low_bytes * 2);
	for (size_t i = 0; i < layout->dimension; i++) {
		double value = (double)values[i] / norm, rest;
		int code = round_code(value / step, INT8_MAX);

		query->values[i] = (double)values[i];
		query->codes[i] = (int8_t)code;
		query->sum += code;
		rest = value - step * code;
		lost += rest * rest;
	}
	query->error = root_above(lost);
}

uint64_t kp_vector_check(const struct kp_vector_layout *layout, uint64_t slot,
			 const struct kp_vector_group *group, const uint8_t *low,
			 const struct kp_vector_detail *detail, const float *values,
			 uint8_t *scratch)
{
	size_t lane = slot % KP_VECTOR_GROUP;
	struct {
		uint64_t slot, values, high, low;
		struct kp_vector_detail detail;
		float scale, error;
	} all = {.slot = slot, .detail = *detail};

	for (size_t row = 0; row < layout->rows; row++)
		memcpy(scratch + row * 4, group->rows + row * 64 + lane * 4, 4);
	all.detail.check = 0;
	all.scale = group->scale[lane];
	all.error = group->error[lane];
	all.values =
		kp_siphash(check_key, (keep_bytes){(const char *)values, layout->values_bytes});
	all.high = kp_siphash(check_key, (keep_bytes){(const char *)scratch, layout->rows * 4});
	all.low = kp_siphash(check_key, (keep_bytes){(const char *)low, layout->low_bytes});
	return kp_siphash(check_key, (keep_bytes){(const char *)&all, sizeof all});
}

uint32_t kp_vector_dead_check(uint64_t number, uint32_t slot)
{
	uint64_t both[2] = {number, slot};

	return (uint32_t)kp_siphash(check_key, (keep_bytes){(const char *)both, sizeof both});
}
