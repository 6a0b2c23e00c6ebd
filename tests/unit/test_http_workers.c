/* test_http_workers.c - jobs for threads: each once, bounded, at the same time, also at the end. */
#include "keep_test.h"
#include "service/http_exchange.h"

enum { JOBS = 2000 };

typedef struct gate {
	pthread_mutex_t mutex;
	pthread_cond_t moved;
	int entered, open;
	atomic_int done;
} gate;

typedef struct gate_job {
	kp_http_job job; /* first */
	gate *gate;
} gate_job;

static void pass(kp_http_job *job)
{
	gate *at = ((gate_job *)(void *)job)->gate;

	pthread_mutex_lock(&at->mutex);
	at->entered++;
	pthread_cond_broadcast(&at->moved);
	while (!at->open)
		pthread_cond_wait(&at->moved, &at->mutex);
	pthread_mutex_unlock(&at->mutex);
	atomic_fetch_add(&at->done, 1);
}

static void open_gate(gate *at)
{
	pthread_mutex_lock(&at->mutex);
	at->open = 1;
	pthread_cond_broadcast(&at->moved);
	pthread_mutex_unlock(&at->mutex);
}

static void as_many_jobs_run_at_once_as_there_may_be_threads_and_the_queue_is_bounded(void **state)
{
	gate at = {.mutex = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
	gate_job jobs[12] = {{.gate = NULL}};
	kp_workers *workers = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_workers_start((kp_workers_options){8, 3}, &workers, &err));
	for (int i = 0; i < 12; i++)
		jobs[i] = (gate_job){{.run = pass}, &at};
	for (int i = 0; i < 11; i++)
		OK(kp_workers_put(workers, &jobs[i].job, &err));
	pthread_mutex_lock(&at.mutex);
	while (at.entered < 8)
		pthread_cond_wait(&at.moved, &at.mutex);
	pthread_mutex_unlock(&at.mutex);
	assert_int_equal(kp_workers_put(workers, &jobs[11].job, &err), KEEP_BUSY);
	open_gate(&at);
	/* What was taken is run, also when the end comes first. */
	kp_workers_stop(&workers);
	assert_int_equal(atomic_load(&at.done), 11);
	assert_null(workers);
	assert_nothing_lives();
}

typedef struct feeder {
	kp_workers *workers;
	gate_job *jobs;
	atomic_int refused;
} feeder;

static void *feed(void *ctx)
{
	feeder *self = ctx;

	for (int i = 0; i < JOBS; i++)
		while (kp_workers_put(self->workers, &self->jobs[i].job, NULL) != KEEP_OK)
			atomic_fetch_add(&self->refused, 1);
	return NULL;
}

static void each_job_of_many_givers_is_run_once(void **state)
{
	enum { GIVERS = 4 };
	gate at = {
		.mutex = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER, .open = 1};
	gate_job *jobs = calloc(GIVERS * JOBS, sizeof *jobs);
	feeder feeders[GIVERS];
	pthread_t threads[GIVERS];
	kp_workers *workers = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_non_null(jobs);
	OK(kp_workers_start((kp_workers_options){16, 64}, &workers, &err));
	for (int i = 0; i < GIVERS * JOBS; i++)
		jobs[i] = (gate_job){{.run = pass}, &at};
	for (int i = 0; i < GIVERS; i++) {
		feeders[i].workers = workers;
		feeders[i].jobs = jobs + i * JOBS;
		atomic_init(&feeders[i].refused, 0);
		assert_int_equal(pthread_create(&threads[i], NULL, feed, &feeders[i]), 0);
	}
	for (int i = 0; i < GIVERS; i++)
		pthread_join(threads[i], NULL);
	kp_workers_stop(&workers);
	assert_int_equal(atomic_load(&at.done), GIVERS * JOBS);
	free(jobs);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			as_many_jobs_run_at_once_as_there_may_be_threads_and_the_queue_is_bounded),
		cmocka_unit_test(each_job_of_many_givers_is_run_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
