/*
 * bench.c - timing, medians and the lines that bench programs print.
 *
 * A promise that is not kept is marked "short of" beside its figure and changes no exit status:
 * a busy machine must not fail a build. docs/performance.md tells the last run.
 */
#include "bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TURNS_MAX = 64 };

double bench_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

uint64_t bench_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double bench_median(double *values, size_t count)
{
	qsort(values, count, sizeof *values, compare);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void bench_title(const char *title)
{
	printf("\n%s\n", title);
	printf("%-46s %-8s %12s %12s %7s  %s\n", "what", "durable", "A ops/s", "B ops/s", "A/B",
	       "A against B (lowest to highest ratio)");
}

double bench_run(const struct bench_pair *pair)
{
	double a[TURNS_MAX], b[TURNS_MAX], ratio[TURNS_MAX], low, high, middle;
	int turns = pair->turns < TURNS_MAX ? pair->turns : TURNS_MAX;

	for (int i = 0; i < turns; i++) {
		a[i] = (double)pair->count / pair->side(pair->ctx, pair->count);
		b[i] = (double)pair->count / pair->base_side(pair->base_ctx, pair->count);
		ratio[i] = a[i] / b[i];
	}
	middle = bench_median(ratio, (size_t)turns);
	low = ratio[0];
	high = ratio[turns - 1];
	printf("%-46s %-8s %12.0f %12.0f %7.2f  %s / %s (%.2f to %.2f)", pair->what,
	       pair->durability, bench_median(a, (size_t)turns), bench_median(b, (size_t)turns),
	       middle, pair->name, pair->base, low, high);
	if (pair->promised > 0)
		printf(", %s %.2f", middle >= pair->promised ? "promised" : "SHORT OF",
		       pair->promised);
	printf("\n");
	fflush(stdout);
	return middle;
}

void bench_tell(const char *what, const char *durability, double per_second, const char *note)
{
	printf("%-46s %-8s %12.0f %12s %7s  %s\n", what, durability, per_second, "", "", note);
	fflush(stdout);
}

void bench_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}
