/*
 * group_commit.c - many threads change one database, and share its transactions and syncs.
 *
 * There is no writer thread. The first thread that comes leads: it runs its own change, alone and
 * at once, so a single writer pays one lock and no context switch. Threads that come meanwhile
 * queue up and sleep. When the leader is done it wakes the first sleeper as the next leader, who
 * takes the whole queue as one batch, and then wakes those whose changes it carried.
 *
 *        submit ──► nobody leads? ──yes──► LEADING ──► run(batch) ──► wake the next leader
 *                        │ no                 ▲              │
 *                        ▼                    │ LEAD         ▼ DONE
 *                     WAITING ────────────────┴──────► return status
 *
 * Invariants:
 *   1. At most one thread is between taking a batch and handing the lead over.
 *   2. A job is in exactly one of: the queue, a leader's batch, finished. Its memory is its
 * thread's stack: nobody touches it after storing DONE, except that the futex call names its
 * address.
 *   3. `leading` is true exactly while a thread leads or has been told to.
 *   4. A batch holds jobs in the order of arrival, so a thread's own changes never overtake.
 *
 * Gathering: after a commit those whom it woke come back within microseconds, but the next leader
 * is first. If it took the queue at once, two half-size groups would alternate, each paying a
 * sync. So it yields while the queue still grows toward all who were there at the last hand-over,
 * at most a quarter of the time that the last batch took: that is about what their company saves.
 *
 * Tests: tests/unit/test_group_commit.c; the contract suites run it with 16 threads; TSan.
 */
#include "sql/sql.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	BATCH_MAX = 256,
	GATHER_PART = 4,        /* of the last batch's time at most */
	GATHER_IDLE_YIELDS = 8, /* yields without a newcomer that end the gathering */
};

enum job_state { WAITING, LEAD, DONE };

struct kp_group {
	void (*run)(void *ctx, kp_job *jobs, size_t count);
	void *ctx;
	bool gather;
	pthread_mutex_t lock; /* the members below */
	kp_job *head, **tail;
	_Atomic size_t queued; /* also read without the lock while gathering */
	bool leading;
	/* The leader's own, passed on with the lead. */
	size_t expected;  /* jobs of the last batch and those that waited when it ended */
	int64_t batch_ns; /* what the last batch took */
};

keep_status kp_group_open(void (*run)(void *ctx, kp_job *jobs, size_t count), void *ctx,
			  bool gather, kp_group **out, keep_error *err)
{
	kp_group *group = kp_alloc_zero(sizeof *group);

	*out = NULL;
	if (!group)
		return kp_fail_memory(err, "group commit");
	group->run = run;
	group->ctx = ctx;
	group->gather = gather;
	group->tail = &group->head;
	if (pthread_mutex_init(&group->lock, NULL)) {
		kp_free(group);
		return kp_fail_memory(err, "group commit");
	}
	*out = group;
	return KEEP_OK;
}

void kp_group_close(kp_group **group)
{
	if (*group) {
		pthread_mutex_destroy(&(*group)->lock);
		kp_free(*group);
	}
	*group = NULL;
}

static void finish_job(kp_job *job, enum job_state state)
{
	atomic_store_explicit(&job->state, state, memory_order_release);
	syscall(SYS_futex, &job->state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static enum job_state wait_for_turn(kp_job *job)
{
	unsigned state;

	while ((state = atomic_load_explicit(&job->state, memory_order_acquire)) == WAITING)
		syscall(SYS_futex, &job->state, FUTEX_WAIT_PRIVATE, WAITING, NULL, NULL, 0);
	return state;
}

static void gather_companions(kp_group *group)
{
	size_t seen = atomic_load_explicit(&group->queued, memory_order_relaxed);
	int64_t until = kp_monotonic_ns() + group->batch_ns / GATHER_PART;
	int idle = 0;

	while (seen < group->expected && idle < GATHER_IDLE_YIELDS && kp_monotonic_ns() < until) {
		size_t now;

		sched_yield();
		now = atomic_load_explicit(&group->queued, memory_order_relaxed);
		idle = now > seen ? 0 : idle + 1;
		seen = now;
	}
}

/* Cut up to BATCH_MAX jobs off the queue. Called with the lock held and the queue not empty. */
static kp_job *take_batch(kp_group *group, size_t *count)
{
	kp_job *first = group->head, *last = first;

	for (*count = 1; last->next && *count < BATCH_MAX; ++*count)
		last = last->next;
	group->head = last->next;
	if (!group->head)
		group->tail = &group->head;
	last->next = NULL;
	atomic_fetch_sub_explicit(&group->queued, *count, memory_order_relaxed);
	return first;
}

/* Run one batch, which begins with the leader's own job, and hand the lead over. */
static void lead(kp_group *group, kp_job *own)
{
	kp_job *batch, *successor;
	int64_t begun;
	size_t count;

	if (group->gather && group->expected > 1)
		gather_companions(group);
	pthread_mutex_lock(&group->lock);
	batch = take_batch(group, &count);
	pthread_mutex_unlock(&group->lock);

	begun = kp_monotonic_ns();
	group->run(group->ctx, batch, count);
	group->batch_ns = kp_monotonic_ns() - begun;

	pthread_mutex_lock(&group->lock);
	group->expected = count + atomic_load_explicit(&group->queued, memory_order_relaxed);
	successor = group->head;
	group->leading = successor != NULL;
	pthread_mutex_unlock(&group->lock);
	if (successor)
		finish_job(successor, LEAD);
	for (kp_job *job = batch, *next; job; job = next) {
		next = job->next;
		if (job != own)
			finish_job(job, DONE);
	}
}

keep_status kp_group_submit(kp_group *group, kp_apply *apply, void *apply_ctx, keep_error *err)
{
	kp_job job = {.apply = apply, .ctx = apply_ctx};
	bool leads;

	pthread_mutex_lock(&group->lock);
	*group->tail = &job;
	group->tail = &job.next;
	atomic_fetch_add_explicit(&group->queued, 1, memory_order_relaxed);
	leads = !group->leading;
	group->leading = true;
	pthread_mutex_unlock(&group->lock);

	if (leads || wait_for_turn(&job) == LEAD)
		lead(group, &job);
	if (job.status != KEEP_OK && err)
		*err = job.err;
	return job.status;
}
