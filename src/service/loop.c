/*
 * loop.c - a thread of the host that does one thing again and again.
 *
 * A turn does what is there and says when to come again. Whoever has news wakes the loop; news that
 * come during a turn are seen by the next one.
 *
 * Invariants:
 *   1. A loop ends only when it is told to: a failure is logged once per message, counted, and
 * tried again after a pause that doubles from PAUSE_MIN_MS to PAUSE_MAX_MS.
 *   2. A failed turn is repeated, never skipped: a turn's progress is what it stored.
 *   3. Time in here is monotonic; a stepped clock neither stops nor hurries a loop.
 *
 * What it does not do: know what a turn is about.
 *
 * Tests: tests/contract/test_service_loop.c.
 */
#include "service/host.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { PAUSE_MIN_MS = 50, PAUSE_MAX_MS = 5000, STACK_SIZE = 512 * 1024 };

static int64_t now_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

/* With the mutex: until there is news, or the time is over. */
static void pause_for(kp_loop *loop, int64_t pause_ms)
{
	int64_t until_ns = kp_monotonic_ns() + pause_ms * 1000000;
	struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
	int ended = 0;

	while (!loop->is_stopping && !loop->has_news && ended != ETIMEDOUT)
		ended = pthread_cond_timedwait(&loop->woken, &loop->mutex, &until);
	loop->has_news = false;
}

/* With the mutex. */
static void note(kp_loop *loop, keep_status status, const keep_error *err)
{
	bool is_news = status != KEEP_OK && (loop->last_error.status != status ||
					     strcmp(loop->last_error.message, err->message) != 0);

	loop->last_turn_ms = now_ms();
	if (status != KEEP_OK)
		loop->last_error = *err;
	else
		loop->last_error = (keep_error)KEEP_ERROR_INIT;
	if (status != KEEP_OK)
		kp_count(loop->service, KP_COUNT_ERRORS, 1);
	if (is_news)
		kp_log(KEEP_LOG_WARNING, "%s: %s", loop->name, err->message);
}

static void *run(void *ctx)
{
	kp_loop *loop = ctx;
	int64_t failing_ms = 0;

	pthread_mutex_lock(&loop->mutex);
	while (!loop->is_stopping) {
		int64_t pause_ms = -1;
		keep_error err = KEEP_ERROR_INIT;
		keep_status status;

		loop->has_news = false;
		pthread_mutex_unlock(&loop->mutex);
		status = loop->turn(loop->ctx, &pause_ms, &err);
		pthread_mutex_lock(&loop->mutex);
		note(loop, status, &err);
		if (status == KEEP_OK) {
			failing_ms = 0;
		} else {
			failing_ms = failing_ms ? failing_ms * 2 : PAUSE_MIN_MS;
			if (failing_ms > PAUSE_MAX_MS)
				failing_ms = PAUSE_MAX_MS;
			pause_ms = failing_ms;
			loop->has_news = false; /* the next turn sees it */
		}
		if (pause_ms >= 0)
			pause_for(loop, pause_ms);
	}
	pthread_mutex_unlock(&loop->mutex);
	return NULL;
}

keep_status kp_loop_start(kp_loop *loop, keep_error *err)
{
	pthread_condattr_t monotonic;
	pthread_attr_t attributes;
	int failed;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&loop->woken, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&loop->mutex, NULL);
	loop->last_turn_ms = now_ms();
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	failed = pthread_create(&loop->thread, &attributes, run, loop);
	pthread_attr_destroy(&attributes);
	if (failed) {
		pthread_mutex_destroy(&loop->mutex);
		pthread_cond_destroy(&loop->woken);
		return kp_fail_errno(err, failed, "a thread for the %s", loop->name);
	}
	loop->is_started = true;
	return KEEP_OK;
}

void kp_loop_wake(kp_loop *loop)
{
	if (!loop->is_started)
		return;
	pthread_mutex_lock(&loop->mutex);
	loop->has_news = true;
	pthread_cond_broadcast(&loop->woken);
	pthread_mutex_unlock(&loop->mutex);
}

void kp_loop_stop(kp_loop *loop)
{
	if (!loop->is_started)
		return;
	pthread_mutex_lock(&loop->mutex);
	loop->is_stopping = true;
	pthread_cond_broadcast(&loop->woken);
	pthread_mutex_unlock(&loop->mutex);
	pthread_join(loop->thread, NULL);
	pthread_mutex_destroy(&loop->mutex);
	pthread_cond_destroy(&loop->woken);
	loop->is_started = false;
}
