/* Group commit: who leads, who waits, and that a failure reaches its own caller alone. */
#include "keep_test.h"
#include "sql/sql.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 16, ROUNDS = 400 };

struct run_log {
	_Atomic int inside; /* how many threads are in run at once */
	_Atomic long jobs, batches;
	_Atomic size_t largest;
};

static void run(void *ctx, kp_job *jobs, size_t count)
{
	struct run_log *log = ctx;
	size_t seen = 0;

	CHECK(atomic_fetch_add(&log->inside, 1) == 0, "two leaders at once");
	for (kp_job *job = jobs; job; job = job->next) {
		job->status = job->apply(job->ctx, NULL, &job->err);
		seen++;
	}
	CHECK(seen == count, "a batch of %zu said %zu", seen, count);
	atomic_fetch_add(&log->jobs, (long)count);
	atomic_fetch_add(&log->batches, 1);
	if (count > atomic_load(&log->largest))
		atomic_store(&log->largest, count);
	atomic_fetch_sub(&log->inside, 1);
}

struct member {
	kp_group *group;
	int id;
	long ran;       /* how often its jobs ran: only the leader writes, only after submit read */
	long last_seen; /* the order of its own jobs */
};

struct request {
	struct member *member;
	long number;
};

static keep_status apply(void *ctx, kp_lease *lease, keep_error *err)
{
	struct request *request = ctx;

	(void)lease;
	request->member->ran++;
	CHECK(request->number == request->member->last_seen + 1, "overtaken");
	request->member->last_seen = request->number;
	if (request->number % 7 == 3)
		return kp_fail(err, KEEP_CONFLICT, "member %d", request->member->id);
	return KEEP_OK;
}

static void *submit_many(void *ctx)
{
	struct member *member = ctx;

	for (long i = 1; i <= ROUNDS; i++) {
		struct request request = {member, i};
		keep_error err = KEEP_ERROR_INIT;
		char own[32];
		keep_status status = kp_group_submit(member->group, apply, &request, &err);

		snprintf(own, sizeof own, "member %d", member->id);
		CHECK(status == (i % 7 == 3 ? KEEP_CONFLICT : KEEP_OK), "round %ld", i);
		if (status != KEEP_OK)
			CHECK(!strcmp(err.message, own), "%s got '%s'", own, err.message);
	}
	return NULL;
}

static void submit_from_threads(bool gather)
{
	struct run_log log = {0};
	pthread_t threads[THREADS];
	struct member members[THREADS];
	kp_group *group;

	assert_int_equal(kp_group_open(run, &log, gather, &group, NULL), KEEP_OK);
	for (int i = 0; i < THREADS; i++) {
		members[i] = (struct member){.group = group, .id = i};
		assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &members[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(members[i].ran, ROUNDS);
	}
	assert_int_equal(log.jobs, THREADS * ROUNDS);
	assert_true(log.batches <= log.jobs);
	kp_group_close(&group);
	assert_null(group);
}

static void every_job_runs_once_in_its_threads_order(void **state)
{
	(void)state;
	submit_from_threads(false);
}

static void gathering_changes_no_answer(void **state)
{
	(void)state;
	submit_from_threads(true);
}

/* A leader that is held back collects everybody who comes meanwhile into one batch. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	int arrived;
	bool open;
};

static struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false};

static keep_status wait_at_gate(void *ctx, kp_lease *lease, keep_error *err)
{
	(void)ctx;
	(void)lease;
	(void)err;
	pthread_mutex_lock(&gate.lock);
	gate.arrived++;
	pthread_cond_broadcast(&gate.moved);
	while (!gate.open)
		pthread_cond_wait(&gate.moved, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
	return KEEP_OK;
}

static keep_status do_nothing(void *ctx, kp_lease *lease, keep_error *err)
{
	(void)ctx;
	(void)lease;
	(void)err;
	return KEEP_OK;
}

static void *lead_slowly(void *ctx)
{
	assert_int_equal(kp_group_submit(ctx, wait_at_gate, NULL, NULL), KEEP_OK);
	return NULL;
}

struct follower {
	kp_group *group;
	_Atomic int *coming;
};

static void *follow(void *ctx)
{
	struct follower *follower = ctx;

	atomic_fetch_add(follower->coming, 1);
	assert_int_equal(kp_group_submit(follower->group, do_nothing, NULL, NULL), KEEP_OK);
	return NULL;
}

static void those_who_wait_share_one_batch(void **state)
{
	struct run_log log = {0};
	_Atomic int coming = 0;
	pthread_t leader, followers[THREADS];
	struct follower follower;
	kp_group *group;

	(void)state;
	assert_int_equal(kp_group_open(run, &log, false, &group, NULL), KEEP_OK);
	follower = (struct follower){group, &coming};
	pthread_create(&leader, NULL, lead_slowly, group);
	pthread_mutex_lock(&gate.lock);
	while (!gate.arrived)
		pthread_cond_wait(&gate.moved, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&followers[i], NULL, follow, &follower);
	while (atomic_load(&coming) < THREADS)
		sched_yield();
	pthread_mutex_lock(&gate.lock);
	gate.open = true;
	pthread_cond_broadcast(&gate.moved);
	pthread_mutex_unlock(&gate.lock);
	pthread_join(leader, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(followers[i], NULL);
	assert_int_equal(log.jobs, THREADS + 1);
	/* All had announced themselves; a few may still have been on their way to the queue. */
	assert_true(log.largest >= THREADS / 2);
	kp_group_close(&group);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_job_runs_once_in_its_threads_order),
		cmocka_unit_test(gathering_changes_no_answer),
		cmocka_unit_test(those_who_wait_share_one_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
