/*
 * test_vector_codes.c - the codes of vectors: what they lose is bounded, and every kernel of this
 * machine computes what the plain one does.
 */
#include "keep_test.h"
#include "search/vector_private.h"

#include <float.h>
#include <math.h>

static const size_t dimensions[] = {1,  2,  3,  5,   7,   8,   9,   15,  16,  17,   31,  33,
				    63, 64, 65, 100, 127, 128, 129, 255, 384, 1025, 8192};

static double draw_normal(uint64_t *seed)
{
	double sum = 0;

	for (int i = 0; i < 12; i++)
		sum += (double)(next_random(seed) >> 11) * 0x1p-53;
	return sum - 6;
}

/* Values of several kinds: normal, one that outweighs all, sparse, all equal, tiny and huge. */
static void draw(float *values, size_t dimension, unsigned kind, uint64_t *seed)
{
	for (size_t i = 0; i < dimension; i++) {
		double value = draw_normal(seed);

		if (kind == 1)
			value = i == dimension / 2 ? 1000 : value * 0.01;
		else if (kind == 2)
			value = next_random(seed) % 16 ? 0 : value;
		else if (kind == 3)
			value = 1;
		else if (kind == 4)
			value *= 1e-42;
		else if (kind == 5)
			value *= 3e37;
		values[i] = (float)value;
	}
	if (kind == 2)
		values[0] = 1;
	if (kind == 4)
		values[0] = FLT_TRUE_MIN;
}

struct encoded {
	struct kp_vector_layout layout;
	float *values, *query_values;
	struct kp_vector_group *group;
	uint8_t *low;
	struct kp_vector_detail details[KP_VECTOR_GROUP];
	struct kp_vector_query query;
};

static void encoded_make(struct encoded *e, size_t dimension, unsigned kind, uint64_t *seed)
{
	kp_vector_layout_init(&e->layout, dimension);
	e->values = kp_alloc(KP_VECTOR_GROUP * e->layout.values_bytes);
	e->query_values = kp_alloc(e->layout.values_bytes);
	e->group = kp_alloc_zero(e->layout.group_bytes);
	e->low = kp_alloc(KP_VECTOR_GROUP * e->layout.low_bytes);
	e->query.codes = kp_alloc(e->layout.low_bytes * 2);
	e->query.values = kp_alloc(dimension * sizeof(double));
	assert_true(e->values && e->query_values && e->group && e->low && e->query.codes &&
		    e->query.values);
	for (size_t lane = 0; lane < KP_VECTOR_GROUP; lane++) {
		float *values = e->values + lane * dimension;

		draw(values, dimension, kind, seed);
		assert_true(kp_vector_square(values, dimension, &e->details[lane].square));
		kp_vector_encode(&e->layout, values, e->group, lane,
				 e->low + lane * e->layout.low_bytes, &e->details[lane]);
	}
	draw(e->query_values, dimension, (kind + (unsigned)(next_random(seed) % 2) * 3) % 6, seed);
	assert_true(kp_vector_square(e->query_values, dimension, &e->query.square));
	kp_vector_encode_query(&e->layout, e->query_values, &e->query);
}

static void encoded_release(struct encoded *e)
{
	kp_free(e->values);
	kp_free(e->query_values);
	kp_free(e->group);
	kp_free(e->low);
	kp_free(e->query.codes);
	kp_free(e->query.values);
}

static double cosine(const struct encoded *e, size_t lane)
{
	const float *values = e->values + lane * e->layout.dimension;
	double dot = 0;

	for (size_t i = 0; i < e->layout.dimension; i++)
		dot += (double)values[i] * (double)e->query_values[i];
	return dot / sqrt(e->details[lane].square * e->query.square);
}

/* The upper bound and, by the opposite query, the lower one hold in both passes. */
static void check_bounds(const struct encoded *e, const struct kp_vector_kernel *kernel)
{
	struct kp_vector_limits limits = {e->query.scale, e->query.error, -INFINITY, e->query.sum};
	int32_t dots[KP_VECTOR_GROUP];

	assert_int_equal(kernel->high(e->group, e->layout.rows, e->query.codes, &limits, dots),
			 0xffff);
	for (size_t lane = 0; lane < KP_VECTOR_GROUP; lane++) {
		double exact = cosine(e, lane), high, both;
		double step = (double)e->group->scale[lane] * (double)e->query.scale;
		int64_t code = 16 * ((int64_t)dots[lane] - 8 * (int64_t)limits.sum);
		int64_t low = kernel->low(e->low + lane * e->layout.low_bytes, e->layout.low_bytes,
					  e->query.codes) -
			      8 * (int64_t)limits.sum;

		high = (double)code * step;
		both = (double)(code + low) * step;
		CHECK(fabs(exact - high) <=
			      (double)kp_vector_reach(0, e->group->error[lane], e->query.error),
		      "%s, high halves of %zu", kernel->name, e->layout.dimension);
		CHECK(fabs(exact - both) <=
			      (double)kp_vector_reach(0, e->details[lane].error, e->query.error),
		      "%s, both halves of %zu", kernel->name, e->layout.dimension);
	}
}

static void the_bound_holds_for_every_kind_of_vector(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (size_t d = 0; d < KP_COUNT(dimensions); d++)
		for (unsigned kind = 0; kind < 6; kind++) {
			struct encoded e;

			encoded_make(&e, dimensions[d], kind, &seed);
			for (size_t i = 0; kp_vector_kernels[i]; i++)
				if (kp_vector_kernels[i]->runs())
					check_bounds(&e, kp_vector_kernels[i]);
			encoded_release(&e);
		}
	assert_nothing_lives();
}

static void every_kernel_computes_the_plain_ones_products(void **state)
{
	uint64_t seed = test_seed() + 1;

	(void)state;
	for (size_t d = 0; d < KP_COUNT(dimensions); d++) {
		struct kp_vector_layout layout;
		struct kp_vector_limits limits = {1, 0, -INFINITY, 0};
		struct kp_vector_group *group;
		int8_t *codes;

		kp_vector_layout_init(&layout, dimensions[d]);
		group = kp_alloc_zero(layout.group_bytes + layout.low_bytes);
		codes = kp_alloc(layout.low_bytes * 2);
		assert_true(group && codes);
		/* The extremes: all halves 15 and all codes 127 or -127, then anything. */
		for (int round = 0; round < 8; round++) {
			for (size_t i = 0; i < layout.rows * 64 + layout.low_bytes; i++)
				group->rows[i] = round < 2 ? 255 : (uint8_t)next_random(&seed);
			for (size_t i = 0; i < layout.low_bytes * 2; i++)
				codes[i] = (int8_t)(round == 0   ? 127
						    : round == 1 ? -127
								 : (int)(next_random(&seed) % 255) -
									   127);
			for (size_t k = 0; kp_vector_kernels[k]; k++) {
				const struct kp_vector_kernel *kernel = kp_vector_kernels[k];
				int32_t found[KP_VECTOR_GROUP], wanted[KP_VECTOR_GROUP];

				if (!kernel->runs())
					continue;
				kernel->high(group, layout.rows, codes, &limits, found);
				kp_vector_plain.high(group, layout.rows, codes, &limits, wanted);
				assert_memory_equal(found, wanted, sizeof found);
				assert_int_equal(kernel->low(group->rows + layout.rows * 64,
							     layout.low_bytes, codes),
						 kp_vector_plain.low(group->rows + layout.rows * 64,
								     layout.low_bytes, codes));
			}
		}
		kp_free(group);
		kp_free(codes);
	}
	assert_nothing_lives();
}

static void every_kernel_adds_up_products_in_the_values_order(void **state)
{
	uint64_t seed = test_seed() + 3;

	(void)state;
	for (size_t d = 0; d < KP_COUNT(dimensions); d++)
		for (size_t k = 0; kp_vector_kernels[k]; k++)
			for (size_t count = 1; count <= KP_VECTOR_AT_ONCE; count++) {
				const float *values[KP_VECTOR_AT_ONCE];
				double dots[KP_VECTOR_AT_ONCE];
				struct encoded e;

				if (!kp_vector_kernels[k]->runs())
					continue;
				encoded_make(&e, dimensions[d], 0, &seed);
				for (size_t i = 0; i < KP_VECTOR_AT_ONCE; i++)
					values[i] = e.values + i * dimensions[d];
				kp_vector_kernels[k]->dots(values, count, e.query.values,
							   dimensions[d], dots);
				for (size_t i = 0; i < count; i++) {
					double wanted = 0;

					for (size_t j = 0; j < dimensions[d]; j++)
						wanted += (double)values[i][j] *
							  (double)e.query_values[j];
					assert_true(dots[i] == wanted);
				}
				encoded_release(&e);
			}
	assert_nothing_lives();
}

static void a_kernel_keeps_exactly_the_lanes_that_reach_the_threshold(void **state)
{
	uint64_t seed = test_seed() + 2;
	struct encoded e;

	(void)state;
	encoded_make(&e, 100, 0, &seed);
	for (size_t k = 0; kp_vector_kernels[k]; k++) {
		const struct kp_vector_kernel *kernel = kp_vector_kernels[k];
		int32_t dots[KP_VECTOR_GROUP];

		if (!kernel->runs())
			continue;
		for (float threshold = -1.5f; threshold < 1.5f; threshold += 0.01f) {
			struct kp_vector_limits limits = {e.query.scale, e.query.error, threshold,
							  e.query.sum};
			uint32_t lanes =
				kernel->high(e.group, e.layout.rows, e.query.codes, &limits, dots);

			for (size_t lane = 0; lane < KP_VECTOR_GROUP; lane++) {
				double reach = 16.0 * (dots[lane] - 8 * limits.sum) *
						       (double)e.group->scale[lane] *
						       (double)limits.scale +
					       (double)kp_vector_reach(0, e.group->error[lane],
								       limits.error);

				if (fabs(reach - (double)threshold) > 1e-5)
					assert_int_equal(lanes >> lane & 1,
							 reach >= (double)threshold);
			}
		}
	}
	encoded_release(&e);
	assert_nothing_lives();
}

static void the_fastest_kernel_that_runs_is_chosen(void **state)
{
	(void)state;
	assert_true(kp_vector_kernel_best()->runs());
	for (size_t i = 0; kp_vector_kernels[i] != kp_vector_kernel_best(); i++)
		assert_false(kp_vector_kernels[i]->runs());
	assert_true(kp_vector_plain.runs());
}

static void zero_and_endless_vectors_have_no_square(void **state)
{
	float values[4] = {0, -0.0f, 0, 0};
	double square;

	(void)state;
	assert_false(kp_vector_square(values, 4, &square));
	values[3] = FLT_TRUE_MIN;
	assert_true(kp_vector_square(values, 4, &square));
	values[0] = FLT_MAX;
	assert_true(kp_vector_square(values, 4, &square));
	values[1] = NAN;
	assert_false(kp_vector_square(values, 4, &square));
	values[1] = -INFINITY;
	assert_false(kp_vector_square(values, 4, &square));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bound_holds_for_every_kind_of_vector),
		cmocka_unit_test(every_kernel_computes_the_plain_ones_products),
		cmocka_unit_test(every_kernel_adds_up_products_in_the_values_order),
		cmocka_unit_test(a_kernel_keeps_exactly_the_lanes_that_reach_the_threshold),
		cmocka_unit_test(the_fastest_kernel_that_runs_is_chosen),
		cmocka_unit_test(zero_and_endless_vectors_have_no_square),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
