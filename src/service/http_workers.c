/*
 * http_workers.c - threads that run requests while their connections are suspended.
 *
 * A job waits in a queue until a thread takes it. Threads are made when a job finds none idle, up
 * to a maximum, and end after IDLE_MS without work. Many threads are wanted although the processors
 * are few: those that wait for the same group commit share its sync.
 *
 * Invariants:
 *   1. A job that was taken by kp_workers_put is run once, also when the workers are stopped.
 *   2. The queue is bounded; what does not fit is refused at once, with BUSY.
 *   3. A thread that cannot be made costs nothing as long as there is another one.
 *
 * What it does not do: know what a job is; end one.
 *
 * Tests: tests/unit/test_http_workers.c, tests/http/test_http_bounds.py.
 */
#include "service/http_exchange.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { IDLE_MS = 10 * 1000, STACK_SIZE = 512 * 1024 };

typedef struct worker {
	struct worker *next; /* in finished */
	kp_workers *workers;
	pthread_t thread;
} worker;

struct kp_workers {
	kp_workers_options options;
	pthread_attr_t attributes;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t filled; /* a job, or the end */
	pthread_cond_t ended;  /* a thread has */
	kp_http_job *first, **last;
	unsigned queued, threads;
	unsigned idle;    /* threads without a job, also those that have not begun */
	worker *finished; /* to be joined */
	bool is_stopping;
};

/* With the mutex. NULL: the thread is to end. */
static kp_http_job *next_job(kp_workers *workers)
{
	int64_t until_ns = kp_monotonic_ns() + IDLE_MS * INT64_C(1000000);
	struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
	kp_http_job *job;
	int ended = 0;

	while (!workers->first && !workers->is_stopping && ended != ETIMEDOUT)
		ended = pthread_cond_timedwait(&workers->filled, &workers->mutex, &until);
	workers->idle--;
	job = workers->first;
	if (!job)
		return NULL;
	workers->first = job->next;
	if (!workers->first)
		workers->last = &workers->first;
	workers->queued--;
	return job;
}

static void *work(void *ctx)
{
	worker *self = ctx;
	kp_workers *workers = self->workers;
	kp_http_job *job;

	pthread_mutex_lock(&workers->mutex);
	while ((job = next_job(workers))) {
		pthread_mutex_unlock(&workers->mutex);
		job->run(job);
		pthread_mutex_lock(&workers->mutex);
		workers->idle++;
	}
	self->next = workers->finished;
	workers->finished = self;
	workers->threads--;
	pthread_cond_broadcast(&workers->ended);
	pthread_mutex_unlock(&workers->mutex);
	return NULL;
}

/* With the mutex: those that have ended need it no more. */
static void join_finished(kp_workers *workers)
{
	worker *next;

	for (worker *at = workers->finished; at; at = next) {
		next = at->next;
		pthread_join(at->thread, NULL);
		kp_free(at);
	}
	workers->finished = NULL;
}

/* With the mutex. */
static keep_status add_thread(kp_workers *workers, keep_error *err)
{
	worker *made = kp_alloc_zero(sizeof *made);
	int failed;

	join_finished(workers);
	if (!made)
		return kp_fail_memory(err, "a thread for requests");
	made->workers = workers;
	failed = pthread_create(&made->thread, &workers->attributes, work, made);
	if (failed) {
		kp_free(made);
		return kp_fail_errno(err, failed, "a thread for requests");
	}
	workers->threads++;
	workers->idle++;
	return KEEP_OK;
}

keep_status kp_workers_start(kp_workers_options options, kp_workers **out, keep_error *err)
{
	kp_workers *workers = kp_alloc_zero(sizeof *workers);
	pthread_condattr_t clock;

	*out = NULL;
	if (!workers)
		return kp_fail_memory(err, "threads for requests");
	workers->options = options;
	workers->last = &workers->first;
	pthread_attr_init(&workers->attributes);
	pthread_attr_setstacksize(&workers->attributes, STACK_SIZE);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_mutex_init(&workers->mutex, NULL);
	pthread_cond_init(&workers->filled, &clock);
	pthread_cond_init(&workers->ended, &clock);
	pthread_condattr_destroy(&clock);
	*out = workers;
	return KEEP_OK;
}

keep_status kp_workers_put(kp_workers *workers, kp_http_job *job, keep_error *err)
{
	keep_status status = KEEP_OK;
	bool needs_thread;

	pthread_mutex_lock(&workers->mutex);
	needs_thread = workers->idle <= workers->queued;
	if (needs_thread && workers->threads < workers->options.threads_max) {
		status = add_thread(workers, err);
		if (status != KEEP_OK && workers->threads &&
		    workers->queued < workers->options.queue_max)
			status = KEEP_OK;
	} else if (needs_thread && workers->queued >= workers->idle + workers->options.queue_max) {
		status = kp_fail(err, KEEP_BUSY, "too many requests are under way");
	}
	if (status == KEEP_OK) {
		job->next = NULL;
		*workers->last = job;
		workers->last = &job->next;
		workers->queued++;
		pthread_cond_signal(&workers->filled);
	}
	pthread_mutex_unlock(&workers->mutex);
	return status;
}

void kp_workers_stop(kp_workers **workers)
{
	kp_workers *self = *workers;

	if (!self)
		return;
	*workers = NULL;
	pthread_mutex_lock(&self->mutex);
	self->is_stopping = true;
	pthread_cond_broadcast(&self->filled);
	while (self->threads)
		pthread_cond_wait(&self->ended, &self->mutex);
	join_finished(self);
	pthread_mutex_unlock(&self->mutex);
	pthread_attr_destroy(&self->attributes);
	pthread_cond_destroy(&self->filled);
	pthread_cond_destroy(&self->ended);
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}
