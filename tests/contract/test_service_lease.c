/*
 * test_service_lease.c - one host per home: a second one waits, says for whom, and takes over when
 * the first one ends or is killed.
 *
 * The first host is another process, so that it can be killed; or this one, for the orderly end.
 */
#include "service/host.h"
#include "journey_fixture.h"

#include <signal.h>
#include <sys/wait.h>

static const char *backend;

typedef struct waiting {
	atomic_int states[4]; /* how often told, by state */
} waiting;

static void count_state(void *ctx, keep_service_state state, const char *text)
{
	waiting *self = ctx;

	CHECK(text, "a state without a text");
	atomic_fetch_add(&self->states[state], 1);
}

typedef struct second {
	journey_fixture *fixture;
	waiting waiting;
	volatile int cancelled;
	keep_service *service;
	keep_status status;
	keep_error err;
} second;

static void *start_second(void *ctx)
{
	second *self = ctx;
	keep_service_options options = self->fixture->options;

	options.changed = count_state;
	options.changed_ctx = &self->waiting;
	options.cancelled = &self->cancelled;
	self->status =
		keep_service_start(self->fixture->home, &options, &self->service, &self->err);
	return NULL;
}

static bool is_held(journey_fixture *fixture)
{
	keep_buffer who = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	bool held = false;

	OK(kp_host_lease_holder(fixture->home, &held, &who, &err));
	CHECK(!held || who.len, "nobody is named");
	keep_buffer_release(&who);
	return held;
}

static void a_second_host_waits_until_the_first_ends(void **state)
{
	journey_fixture fixture;
	second other = {.fixture = &fixture};
	pthread_t thread;

	(void)state;
	journey_begin(&fixture, backend);
	assert_false(is_held(&fixture));
	journey_serve(&fixture);
	assert_true(is_held(&fixture));
	assert_int_equal(pthread_create(&thread, NULL, start_second, &other), 0);
	EVENTUALLY(atomic_load(&other.waiting.states[KEEP_SERVICE_WAITING]) == 1);
	assert_int_equal(atomic_load(&other.waiting.states[KEEP_SERVICE_READY]), 0);
	journey_stop(&fixture);
	EVENTUALLY(atomic_load(&other.waiting.states[KEEP_SERVICE_READY]) == 1);
	pthread_join(thread, NULL);
	CHECK(other.status == KEEP_OK, "%s", other.err.message);
	assert_true(is_held(&fixture));
	keep_service_stop(&other.service, 0);
	assert_false(is_held(&fixture));
	journey_end(&fixture);
	home_servers_drop();
	assert_nothing_lives();
}

static void who_waits_can_be_told_to_stop(void **state)
{
	journey_fixture fixture;
	second other = {.fixture = &fixture};
	pthread_t thread;

	(void)state;
	journey_begin(&fixture, backend);
	journey_serve(&fixture);
	assert_int_equal(pthread_create(&thread, NULL, start_second, &other), 0);
	EVENTUALLY(atomic_load(&other.waiting.states[KEEP_SERVICE_WAITING]) == 1);
	__atomic_store_n(&other.cancelled, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(other.status, KEEP_BUSY);
	assert_null(other.service);
	journey_end(&fixture);
	home_servers_drop();
	assert_nothing_lives();
}

/* A child that holds the lease until it is killed; it tells on the pipe that it does. */
static pid_t start_holder(journey_fixture *fixture, int *ready)
{
	int ends[2];
	char byte = 0;
	pid_t child;

	CHECK(pipe(ends) == 0, "a pipe");
	child = fork();
	if (child == 0) {
		keep_service *service = NULL;

		keep_error err = KEEP_ERROR_INIT;

		close(ends[0]);
		if (keep_service_start(fixture->home, &fixture->options, &service, &err) != KEEP_OK)
			_exit(1); /* the pipe's end tells */
		(void)!write(ends[1], "x", 1);
		for (;;)
			pause();
	}
	close(ends[1]);
	*ready = ends[0];
	assert_int_equal(read(ends[0], &byte, 1), 1);
	return child;
}

static void a_killed_host_is_followed_at_once(void **state)
{
	journey_fixture fixture;
	pid_t child;
	int ready, ended;

	(void)state;
	journey_begin(&fixture, backend);
	/* The child opens everything by itself: no handle may cross a fork. */
	keep_session_close(&fixture.session);
	child = start_holder(&fixture, &ready);
	assert_true(is_held(&fixture));
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &ended, 0), child);
	close(ready);
	journey_serve(&fixture); /* it waits for no lease to run out: else this takes for ever */
	assert_true(is_held(&fixture));
	journey_end(&fixture);
	home_servers_drop();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_killed_host_is_followed_at_once),
		cmocka_unit_test(a_second_host_waits_until_the_first_ends),
		cmocka_unit_test(who_waits_can_be_told_to_stop),
	};

	backend = argc > 1 ? argv[1] : "sqlite";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
