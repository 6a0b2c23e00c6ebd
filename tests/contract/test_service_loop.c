/*
 * test_service_loop.c - a loop of the host repeats what fails, comes when it is woken, and ends
 * when it is told to.
 *
 * A turn is a function of the test's; nothing of a store is opened.
 */
#include "keep_test.h"
#include "service/host.h"

#include <poll.h>

typedef struct turns {
	atomic_int count, fails;
	atomic_llong pause_ms;
} turns;

static keep_status turn(void *ctx, int64_t *pause_ms, keep_error *err)
{
	turns *self = ctx;

	*pause_ms = atomic_load(&self->pause_ms);
	atomic_fetch_add(&self->count, 1);
	if (atomic_load(&self->fails) > 0) {
		atomic_fetch_sub(&self->fails, 1);
		return kp_fail(err, KEEP_BUSY, "not now");
	}
	return KEEP_OK;
}

static void wait_for(turns *self, int count)
{
	int64_t until_ns = kp_monotonic_ns() + 60000000000;

	while (atomic_load(&self->count) < count) {
		CHECK(kp_monotonic_ns() < until_ns, "only %d turns", atomic_load(&self->count));
		(void)poll(NULL, 0, 1);
	}
}

static void what_fails_is_repeated_and_counted(void **state)
{
	keep_service *service = calloc(1, sizeof *service);
	turns self = {.count = 0};
	kp_loop loop = {.service = service, .name = "test", .turn = turn, .ctx = &self};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	atomic_store(&self.fails, 3);
	atomic_store(&self.pause_ms, 3600000);
	OK(kp_loop_start(&loop, &err));
	wait_for(&self, 4); /* three failures and the turn that is well */
	kp_loop_stop(&loop);
	assert_int_equal(atomic_load(&self.count), 4);
	assert_int_equal(atomic_load(&service->metrics.counters[KP_COUNT_ERRORS]), 3);
	free(service);
}

static void a_pause_ends_with_news(void **state)
{
	keep_service *service = calloc(1, sizeof *service);
	turns self = {.count = 0};
	kp_loop loop = {.service = service, .name = "test", .turn = turn, .ctx = &self};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	atomic_store(&self.pause_ms, 3600000);
	OK(kp_loop_start(&loop, &err));
	wait_for(&self, 1);
	kp_loop_wake(&loop);
	wait_for(&self, 2);
	kp_loop_stop(&loop);
	free(service);
}

static void one_that_was_never_started_is_stopped_and_woken_without_harm(void **state)
{
	kp_loop loop = {.service = NULL};

	(void)state;
	kp_loop_wake(&loop);
	kp_loop_stop(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fails_is_repeated_and_counted),
		cmocka_unit_test(a_pause_ends_with_news),
		cmocka_unit_test(one_that_was_never_started_is_stopped_and_woken_without_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
