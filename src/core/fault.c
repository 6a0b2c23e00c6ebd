/*
 * fault.c - one counter per kind of thing that can fail, and named moments to die at.
 *
 * Empty in a production build. With KP_FAULTS, kp_fault() is called from inside malloc
 * (tests/support/interpose.c), so it may use nothing but lock-free atomics.
 *
 * Invariants:
 *   1. The Nth call after arming fires, and no other; a persistent fault fires from then on.
 *   2. A kind that is not armed costs one relaxed load.
 */
#include "core/core.h"

#ifdef KP_FAULTS
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct {
	atomic_long nth; /* 0: not armed */
	atomic_bool persistent;
	atomic_long calls; /* since arming */
	atomic_long fired;
} faults[KP_FAULT_KINDS];

bool kp_fault_malloc_interposed;

static struct {
	char name[128]; /* "" when no moment is deadly */
	long nth;
	atomic_long met;
} deadly;

static struct {
	void (*callback)(void *ctx, const char *name);
	void *ctx;
} injected;

bool kp_fault(enum kp_fault_kind kind)
{
	long nth = atomic_load_explicit(&faults[kind].nth, memory_order_relaxed);
	long call;

	if (nth == 0)
		return false;
	call = atomic_fetch_add(&faults[kind].calls, 1) + 1;
	if (call != nth && !(call > nth && atomic_load(&faults[kind].persistent)))
		return false;
	atomic_fetch_add(&faults[kind].fired, 1);
	return true;
}

void kp_fault_arm(enum kp_fault_kind kind, long nth, bool persistent)
{
	atomic_store(&faults[kind].nth, 0);
	atomic_store(&faults[kind].persistent, persistent);
	atomic_store(&faults[kind].calls, 0);
	atomic_store(&faults[kind].fired, 0);
	atomic_store(&faults[kind].nth, nth);
}

long kp_fault_disarm(enum kp_fault_kind kind)
{
	atomic_store(&faults[kind].nth, 0);
	return atomic_load(&faults[kind].fired);
}

/* KEEP_KILL_AT="name:N"; a text that is not so is ignored. */
static void read_environment(void)
{
	const char *text = getenv("KEEP_KILL_AT");
	const char *colon = text ? strrchr(text, ':') : NULL;
	int64_t nth;

	if (!colon || (size_t)(colon - text) >= sizeof deadly.name)
		return;
	if (!kp_int_parse(keep_bytes_of(colon + 1), &nth) || nth < 1)
		return;
	memcpy(deadly.name, text, (size_t)(colon - text));
	deadly.nth = (long)nth;
}

void kp_moment(const char *name)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, read_environment);
	if (injected.callback)
		injected.callback(injected.ctx, name);
	if (deadly.nth && strcmp(deadly.name, name) == 0 &&
	    atomic_fetch_add(&deadly.met, 1) + 1 == deadly.nth)
		raise(SIGKILL);
}

void kp_moment_inject(void (*callback)(void *ctx, const char *name), void *ctx)
{
	injected.callback = callback;
	injected.ctx = ctx;
}
#endif
