/*
 * bench_vectors.c - the exact ten nearest of 100,000 and 1,000,000 vectors of 384 values, one
 * thread.
 *
 * The base of the promise is no search: it is one pass over the float32 bytes that adds them up as
 * fast as this processor can. The other bases are what one writes first: cosines by plain C, by
 * AVX2 and by AVX-512 over normalised rows, keeping the best ten. Each turn has another query, and
 * the answers are compared with a scan in double before anything is timed.
 */
#include "bench.h"
#include "search/vector_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIMENSION = 384, NEAREST = 10, QUERIES = 16, CENTRES = 1000, TABLE = 65536, TURNS = 9 };

struct data {
	size_t count;
	float *values, *queries;
	kp_vectors *set;
	size_t next;
	double sink;
};

static float normal[TABLE];

static void make_normal(void)
{
	uint64_t seed = 1;

	for (size_t i = 0; i < TABLE; i++) {
		double a = ((double)(bench_random(&seed) >> 11) + 1) * 0x1p-53;
		double b = (double)(bench_random(&seed) >> 11) * 0x1p-53;

		normal[i] = (float)(sqrt(-2 * log(a)) * cos(2 * 3.14159265358979323846 * b));
	}
}

/* A point around `centre` (NULL: zero), of length about 1. */
static void draw(float *out, const float *centre, double spread, uint64_t *seed)
{
	double square = 0, scale;

	for (size_t i = 0; i < DIMENSION; i += 4) {
		uint64_t word = bench_random(seed);

		for (size_t j = 0; j < 4; j++) {
			float noise = normal[word >> (16 * j) & (TABLE - 1)];

			out[i + j] = (float)(spread * (double)noise / sqrt(DIMENSION)) +
				     (centre ? centre[i + j] : 0);
			square += (double)out[i + j] * (double)out[i + j];
		}
	}
	scale = 1 / sqrt(square);
	for (size_t i = 0; i < DIMENSION; i++)
		out[i] = (float)((double)out[i] * scale);
}

static void fill(struct data *data, int is_clustered)
{
	uint64_t seed = 7;
	float *centres = malloc(CENTRES * DIMENSION * sizeof *centres);

	if (!centres)
		bench_fail("no memory");
	for (size_t i = 0; i < CENTRES; i++)
		draw(centres + i * DIMENSION, NULL, 1, &seed);
	for (size_t i = 0; i < data->count + QUERIES; i++) {
		const float *centre = centres + bench_random(&seed) % CENTRES * DIMENSION;
		float *out = i < data->count ? data->values + i * DIMENSION
					     : data->queries + (i - data->count) * DIMENSION;

		draw(out, is_clustered ? centre : NULL, is_clustered ? 0.6 : 1, &seed);
	}
	free(centres);
}

static void build(struct data *data)
{
	struct kp_vectors_options options = {.dimension = DIMENSION, .model = KEEP_BYTES("bench")};
	keep_error err;
	double start = bench_now();
	char note[64];

	if (kp_vectors_open(&options, &data->set, &err) != KEEP_OK)
		bench_fail("%s", err.message);
	for (size_t i = 0; i < data->count; i++) {
		if (kp_vectors_add(data->set, (int64_t)i, data->values + i * DIMENSION, &err) !=
		    KEEP_OK)
			bench_fail("%s", err.message);
		if ((i % 8192 == 8191 || i + 1 == data->count) &&
		    kp_vectors_commit(data->set, (int64_t)i, &err) != KEEP_OK)
			bench_fail("%s", err.message);
	}
	snprintf(note, sizeof note, "%zu vectors", data->count);
	bench_tell("build in memory", "-", (double)data->count / (bench_now() - start), note);
}

static const float *next_query(struct data *data)
{
	return data->queries + data->next++ % QUERIES * DIMENSION;
}

static double search(void *ctx, long count)
{
	struct data *data = ctx;
	struct kp_vectors_match found[NEAREST];
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		size_t got = 0;

		if (kp_vectors_search(data->set, next_query(data), NEAREST, NULL, NULL, found, &got,
				      NULL) != KEEP_OK ||
		    got != NEAREST)
			bench_fail("no answer");
		data->sink += found[0].similarity;
	}
	return bench_now() - start;
}

/* ---------------------------------------------------------------- bases */

#if defined(__x86_64__)
#include <immintrin.h>

static bool run_with_512(void)
{
	return __builtin_cpu_supports("avx512f");
}

static bool run_with_256(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

__attribute__((target("avx512f"))) static double read_512(const float *values, size_t count)
{
	__m512 a = _mm512_setzero_ps(), b = a, c = a, d = a, e = a, f = a, g = a, h = a;

	for (size_t i = 0; i + 128 <= count; i += 128) {
		const float *at = values + i;

		for (size_t line = 0; line < 8; line++)
			_mm_prefetch((const char *)(at + 1024 + line * 16), _MM_HINT_T0);
		a = _mm512_add_ps(a, _mm512_loadu_ps(at));
		b = _mm512_add_ps(b, _mm512_loadu_ps(at + 16));
		c = _mm512_add_ps(c, _mm512_loadu_ps(at + 32));
		d = _mm512_add_ps(d, _mm512_loadu_ps(at + 48));
		e = _mm512_add_ps(e, _mm512_loadu_ps(at + 64));
		f = _mm512_add_ps(f, _mm512_loadu_ps(at + 80));
		g = _mm512_add_ps(g, _mm512_loadu_ps(at + 96));
		h = _mm512_add_ps(h, _mm512_loadu_ps(at + 112));
	}
	a = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
	e = _mm512_add_ps(_mm512_add_ps(e, f), _mm512_add_ps(g, h));
	return (double)_mm512_reduce_add_ps(_mm512_add_ps(a, e));
}

__attribute__((target("avx2"))) static double read_256(const float *values, size_t count)
{
	__m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
	float lanes[8];
	double sum = 0;

	for (size_t i = 0; i + 32 <= count; i += 32) {
		a = _mm256_add_ps(a, _mm256_loadu_ps(values + i));
		b = _mm256_add_ps(b, _mm256_loadu_ps(values + i + 8));
		c = _mm256_add_ps(c, _mm256_loadu_ps(values + i + 16));
		d = _mm256_add_ps(d, _mm256_loadu_ps(values + i + 24));
	}
	_mm256_storeu_ps(lanes, _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
	for (size_t i = 0; i < 8; i++)
		sum += (double)lanes[i];
	return sum;
}

__attribute__((target("avx512f"))) static float dot_512(const float *x, const float *y)
{
	__m512 a = _mm512_setzero_ps(), b = a;

	for (size_t i = 0; i < DIMENSION; i += 32) {
		_mm_prefetch((const char *)(x + i + 1024), _MM_HINT_T0);
		_mm_prefetch((const char *)(x + i + 1040), _MM_HINT_T0);
		a = _mm512_fmadd_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i), a);
		b = _mm512_fmadd_ps(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(y + i + 16), b);
	}
	return _mm512_reduce_add_ps(_mm512_add_ps(a, b));
}

__attribute__((target("avx2,fma"))) static float dot_256(const float *x, const float *y)
{
	__m256 a = _mm256_setzero_ps(), b = a;
	float lanes[8], sum = 0;

	for (size_t i = 0; i < DIMENSION; i += 16) {
		a = _mm256_fmadd_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i), a);
		b = _mm256_fmadd_ps(_mm256_loadu_ps(x + i + 8), _mm256_loadu_ps(y + i + 8), b);
	}
	_mm256_storeu_ps(lanes, _mm256_add_ps(a, b));
	for (size_t i = 0; i < 8; i++)
		sum += lanes[i];
	return sum;
}
#endif

static bool run_anywhere(void)
{
	return true;
}

static double read_plain(const float *values, size_t count)
{
	double sums[4] = {0};

	for (size_t i = 0; i + 4 <= count; i += 4)
		for (size_t j = 0; j < 4; j++)
			sums[j] += (double)values[i + j];
	return sums[0] + sums[1] + sums[2] + sums[3];
}

static float dot_plain(const float *x, const float *y)
{
	float sum = 0;

	for (size_t i = 0; i < DIMENSION; i++)
		sum += x[i] * y[i];
	return sum;
}

typedef float dot_function(const float *x, const float *y);
typedef double read_function(const float *values, size_t count);

static dot_function *dot_of_base = dot_plain;
static read_function *best_read = read_plain;

static double read_all(void *ctx, long count)
{
	struct data *data = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i++)
		data->sink += best_read(data->values, data->count * DIMENSION);
	return bench_now() - start;
}

static double scan_all(void *ctx, long count)
{
	struct data *data = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		const float *query = next_query(data);
		float best[NEAREST];

		for (size_t j = 0; j < NEAREST; j++)
			best[j] = -2;
		for (size_t row = 0; row < data->count; row++) {
			float dot = dot_of_base(data->values + row * DIMENSION, query);
			size_t at = NEAREST;

			if (dot <= best[NEAREST - 1])
				continue;
			for (; at > 0 && best[at - 1] < dot; at--)
				if (at < NEAREST)
					best[at] = best[at - 1];
			best[at] = dot;
		}
		data->sink += (double)best[0];
	}
	return bench_now() - start;
}

/* ---------------------------------------------------------------- the run */

/* Each query's ten against all cosines in double. */
static void compare(struct data *data, int queries)
{
	for (int q = 0; q < queries; q++) {
		const float *query = data->queries + (size_t)q * DIMENSION;
		struct kp_vectors_match found[NEAREST];
		size_t got = 0, better = 0;
		double square_query = 0;

		if (kp_vectors_search(data->set, query, NEAREST, NULL, NULL, found, &got, NULL) !=
		    KEEP_OK)
			bench_fail("no answer");
		for (size_t i = 0; i < DIMENSION; i++)
			square_query += (double)query[i] * (double)query[i];
		for (size_t row = 0; row < data->count; row++) {
			const float *values = data->values + row * DIMENSION;
			double dot = 0, square = 0;

			for (size_t i = 0; i < DIMENSION; i++) {
				dot += (double)query[i] * (double)values[i];
				square += (double)values[i] * (double)values[i];
			}
			better +=
				dot / sqrt(square * square_query) >= found[NEAREST - 1].similarity;
		}
		if (better != NEAREST)
			bench_fail("query %d: %zu vectors reach the tenth similarity", q, better);
	}
}

static void run_against(struct data *data, const char *what, const char *base, bench_side *side,
			long count, int turns, double promised)
{
	(void)bench_run(&(struct bench_pair){
		.what = what,
		.durability = "-",
		.name = "search",
		.base = base,
		.side = search,
		.base_side = side,
		.ctx = data,
		.base_ctx = data,
		.count = count,
		.turns = turns,
		.promised = promised,
	});
}

static void run_kernels(struct data *data, const char *what, long count)
{
	const struct kp_vector_kernel *best = data->set->kernel;

	for (size_t i = 0; kp_vector_kernels[i]; i++) {
		char title[96];

		if (!kp_vector_kernels[i]->runs())
			continue;
		data->set->kernel = kp_vector_kernels[i];
		snprintf(title, sizeof title, "%s, %s", what, kp_vector_kernels[i]->name);
		run_against(data, title, "one read", read_all, count, TURNS,
			    data->set->kernel == best ? 1 / 0.3 : 0);
	}
	data->set->kernel = best;
}

static const struct base {
	const char *name;
	dot_function *dot;
	bool (*runs)(void);
	int turns;
} bases[] = {
	{"plain C scan", dot_plain, run_anywhere, 3},
#if defined(__x86_64__)
	{"AVX2 float32 scan", dot_256, run_with_256, TURNS},
	{"AVX-512 float32 scan", dot_512, run_with_512, TURNS},
#endif
};

static const struct reader {
	read_function *read;
	bool (*runs)(void);
} readers[] = {
	{read_plain, run_anywhere},
#if defined(__x86_64__)
	{read_256, run_with_256},
	{read_512, run_with_512},
#endif
};

static void run_bases(struct data *data, const char *what, long count)
{
	for (size_t i = 0; i < KP_COUNT(bases); i++)
		if (bases[i].runs()) {
			dot_of_base = bases[i].dot;
			run_against(data, what, bases[i].name, scan_all, count, bases[i].turns, 0);
		}
}

/* The fastest of those that run here, by three turns of each. */
static void choose_read(const struct data *data)
{
	double best = 1e9;

	for (size_t i = 0; i < KP_COUNT(readers); i++)
		for (int turn = 0; turn < 3 && readers[i].runs(); turn++) {
			double start = bench_now(), sum, took;

			sum = readers[i].read(data->values, data->count * DIMENSION);
			took = bench_now() - start;
			if (took < best && sum == sum) {
				best = took;
				best_read = readers[i].read;
			}
		}
}

int main(int argc, char **argv)
{
	static const size_t counts[] = {100000, 1000000};
	double sink = 0;

	make_normal();
	bench_title("Exact nearest 10 by cosine, 384 dimensions, one thread");
	for (size_t i = 0; i < (argc > 1 && strcmp(argv[1], "small") == 0 ? 1 : 2); i++)
		for (int is_clustered = 0; is_clustered <= 1; is_clustered++) {
			struct data data = {.count = counts[i]};
			char what[64];

			snprintf(what, sizeof what, "%zu %s", counts[i],
				 is_clustered ? "clustered" : "Gaussian");
			data.values = malloc((data.count + 32) * DIMENSION * sizeof(float));
			data.queries = malloc(QUERIES * DIMENSION * sizeof(float));
			if (!data.values || !data.queries)
				bench_fail("no memory");
			fill(&data, is_clustered);
			choose_read(&data);
			build(&data);
			compare(&data, i ? 2 : QUERIES);
			run_kernels(&data, what, i ? 1 : 8);
			run_bases(&data, what, i ? 1 : 4);
			sink += data.sink;
			kp_vectors_close(&data.set);
			free(data.values);
			free(data.queries);
		}
	return sink == 0;
}
