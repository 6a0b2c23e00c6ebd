#ifndef KEEP_VECTOR_SETS_H
#define KEEP_VECTOR_SETS_H
/*
 * vector_sets.h - what tests of sets of vectors share: seeded values of many kinds, and the answer
 * by computing every cosine in double, which a search has to give exactly.
 */
#include "keep_test.h"
#include "search/vector_set.h"

#include <math.h>

enum vector_kind {
	VECTORS_NORMAL,
	VECTORS_EQUAL,
	VECTORS_NEAR, /* the same but for 1e-7 */
	VECTORS_CLUSTERED,
	VECTORS_ALL_LENGTHS, /* from denormal to 1e38 */
	VECTORS_DENORMAL,
	VECTORS_SPARSE,
	VECTORS_SMALL_WHOLE, /* few different ones: many ties */
	VECTORS_RISING,      /* each nearer to the first query than the one before */
	VECTORS_OUTWEIGHED,  /* one value is larger than all others together */
	VECTORS_OPPOSITE,    /* pairs of x and -x */
	VECTOR_KINDS
};

static inline double vector_noise(uint64_t *seed)
{
	double sum = 0;

	for (int i = 0; i < 6; i++)
		sum += (double)(next_random(seed) >> 11) * 0x1p-53;
	return (sum - 3) * 1.414;
}

/* What item `i` of a kind has in place `j`; the same each time. */
static inline double vector_value(enum vector_kind kind, uint64_t i, size_t j)
{
	uint64_t one = i * 1000003 + j, place = j, cluster = i % 7 * 1000003 + j;
	double noise = vector_noise(&one), base = vector_noise(&place);

	switch (kind) {
	case VECTORS_EQUAL: return base;
	case VECTORS_NEAR: return base + noise * 1e-7;
	case VECTORS_CLUSTERED: return vector_noise(&cluster) + noise * 0.05;
	case VECTORS_ALL_LENGTHS: return noise * pow(10, (double)(i * 37 % 80) - 43);
	case VECTORS_DENORMAL: return noise * 1e-43;
	case VECTORS_SPARSE: return one % 19 ? 0 : noise;
	case VECTORS_SMALL_WHOLE: return (double)(one % 3) - 1;
	case VECTORS_RISING: return base + noise * (2.0 / (1.0 + (double)i * 0.01));
	case VECTORS_OUTWEIGHED: return j == i % 3 ? 1e6 : noise;
	case VECTORS_OPPOSITE:
		one = i / 2 * 1000003 + j;
		return i % 2 ? -vector_noise(&one) : vector_noise(&one);
	default: return noise;
	}
}

static inline void vector_draw(float *out, size_t dimension, enum vector_kind kind, uint64_t i)
{
	bool is_zero = true;

	for (size_t j = 0; j < dimension; j++) {
		out[j] = (float)vector_value(kind, i, j);
		is_zero = is_zero && out[j] == 0;
	}
	if (is_zero)
		out[i % dimension] = 1e-40f;
}

static inline double vector_cosine(const float *a, const float *b, size_t dimension)
{
	double dot = 0, square_a = 0, square_b = 0, cosine;

	for (size_t j = 0; j < dimension; j++) {
		dot += (double)a[j] * (double)b[j];
		square_a += (double)a[j] * (double)a[j];
		square_b += (double)b[j] * (double)b[j];
	}
	cosine = dot / sqrt(square_b * square_a);
	return cosine > 1 ? 1 : cosine < -1 ? -1 : cosine;
}

/* What a set should hold: values[i] belongs to ids[i], unless is_gone[i]. */
struct vector_model {
	size_t dimension, count;
	float *values;
	int64_t *ids;
	bool *is_gone;
};

static inline void vector_model_make(struct vector_model *model, size_t dimension, size_t room)
{
	*model = (struct vector_model){.dimension = dimension};
	model->values = malloc(room * dimension * sizeof(float) + 1);
	model->ids = malloc(room * sizeof *model->ids + 1);
	model->is_gone = calloc(room + 1, sizeof *model->is_gone);
	assert_true(model->values && model->ids && model->is_gone);
}

static inline void vector_model_release(struct vector_model *model)
{
	free(model->values);
	free(model->ids);
	free(model->is_gone);
}

static inline int compare_matches(const void *a, const void *b)
{
	const struct kp_vectors_match *x = a, *y = b;

	if (x->similarity != y->similarity)
		return x->similarity > y->similarity ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* All of them, best first; the caller frees *out. */
static inline size_t vector_model_search(const struct vector_model *model, const float *query,
					 kp_vectors_filter *wants, void *ctx,
					 struct kp_vectors_match **out)
{
	size_t count = 0;

	*out = malloc(model->count * sizeof **out + 1);
	assert_non_null(*out);
	for (size_t i = 0; i < model->count; i++)
		if (!model->is_gone[i] && (!wants || wants(ctx, model->ids[i])))
			(*out)[count++] = (struct kp_vectors_match){
				model->ids[i], vector_cosine(model->values + i * model->dimension,
							     query, model->dimension)};
	qsort(*out, count, sizeof **out, compare_matches);
	return count;
}

/* The set answers what the model does, bit for bit. */
static inline void check_search(kp_vectors *set, const struct vector_model *model,
				const float *query, size_t nearest, kp_vectors_filter *wants,
				void *ctx)
{
	static struct kp_vectors_match found[KP_VECTORS_NEAREST_MAX];
	struct kp_vectors_match *wanted;
	size_t count = 0, all = vector_model_search(model, query, wants, ctx, &wanted);
	keep_error err;

	OK(kp_vectors_search(set, query, nearest, wants, ctx, found, &count, &err));
	assert_int_equal(count, all < nearest ? all : nearest);
	for (size_t i = 0; i < count; i++)
		CHECK(found[i].id == wanted[i].id && found[i].similarity == wanted[i].similarity,
		      "place %zu of %zu: %lld with %.17g instead of %lld with %.17g", i, count,
		      (long long)found[i].id, found[i].similarity, (long long)wanted[i].id,
		      wanted[i].similarity);
	free(wanted);
}

#endif
