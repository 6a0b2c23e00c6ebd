#ifndef BENCH_H
#define BENCH_H
/*
 * bench.h - two ways of doing one thing, in turns, in one run.
 *
 * Absolute figures of a shared machine drift by half within an hour, so nothing here is compared
 * across runs: each pair runs A B A B …, and what is told is the median of the pairs' ratios.
 */
#include <stddef.h>
#include <stdint.h>

/* One side of a comparison: does `count` operations and returns the seconds they took. */
typedef double bench_side(void *ctx, long count);

struct bench_pair {
	const char *what;        /* "get, 100,000 documents of 500 bytes" */
	const char *durability;  /* "relaxed", "synced", "-" */
	const char *name, *base; /* the two sides */
	bench_side *side, *base_side;
	void *ctx, *base_ctx;
	long count; /* operations a turn */
	int turns;
	double promised; /* at least this ratio; 0: none */
};

double bench_now(void);
/* A seeded generator, the same sequence in each run. */
uint64_t bench_random(uint64_t *state);
double bench_median(double *values, size_t count);
/* Print one line: operations/s of both sides (medians), the ratio's median, min and max. */
double bench_run(const struct bench_pair *pair);
/* Print one line about a figure that has no base. */
void bench_tell(const char *what, const char *durability, double per_second, const char *note);
void bench_title(const char *title);

/* End the program with what went wrong. */
void bench_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
