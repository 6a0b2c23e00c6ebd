/*
 * clock.c - what time it is, and bytes nobody can guess; both can be replaced by a test.
 *
 * Replacing is for the beginning of a test: it is not synchronised with calls in other threads.
 */
#include "core/core.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

static struct {
	int64_t (*clock_ms)(void *ctx);
	void *ctx;
} clock_source;

static struct {
	void (*fill)(void *ctx, void *out, size_t size);
	void *ctx;
} random_source;

int64_t kp_clock_ms(void)
{
	struct timespec now = {.tv_sec = 0};

	if (clock_source.clock_ms)
		return clock_source.clock_ms(clock_source.ctx);
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t kp_monotonic_ns(void)
{
	struct timespec now = {.tv_sec = 0};

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

keep_status kp_random_bytes(void *out, size_t size, keep_error *err)
{
	char *at = out;

	if (random_source.fill) {
		random_source.fill(random_source.ctx, out, size);
		return KEEP_OK;
	}
	while (size > 0) {
		ssize_t got = getrandom(at, size, 0);

		if (got < 0 && errno != EINTR)
			return kp_fail_errno(err, errno, "cannot get random bytes");
		if (got > 0) {
			at += got;
			size -= (size_t)got;
		}
	}
	return KEEP_OK;
}

void kp_clock_inject(int64_t (*clock_ms)(void *ctx), void *ctx)
{
	clock_source.ctx = ctx;
	clock_source.clock_ms = clock_ms;
}

void kp_random_inject(void (*fill)(void *ctx, void *out, size_t size), void *ctx)
{
	random_source.ctx = ctx;
	random_source.fill = fill;
}
