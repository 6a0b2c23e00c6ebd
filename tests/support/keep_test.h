#ifndef KEEP_TEST_H
#define KEEP_TEST_H
/*
 * keep_test.h - cmocka with what it needs included before it, and three checks of our own.
 *
 * CHECK fails the running test with a message. OK(call) wants KEEP_OK of a call that was given
 * `&err`, a keep_error in scope. assert_nothing_lives() wants every block of the library freed.
 * A test's own limits of time are multiplied by test_patience(), for slow tools around it.
 */
#include "core/core.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CHECK(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			print_error("%s:%d: %s - ", __FILE__, __LINE__, #condition);               \
			print_error("" __VA_ARGS__);                                               \
			fail();                                                                    \
		}                                                                                  \
	} while (0)

#define OK(call)                                                                                   \
	do {                                                                                       \
		keep_status status_of_call = (call);                                               \
		CHECK(status_of_call == KEEP_OK, "%s: %s", keep_status_name(status_of_call),       \
		      err.message);                                                                \
	} while (0)

static inline void assert_nothing_lives(void)
{
	CHECK(kp_alloc_live() == 0, "%ld blocks are still alive", kp_alloc_live());
}

static inline void assert_bytes_equal(keep_bytes found, keep_bytes expected)
{
	CHECK(kp_bytes_equal(found, expected), "found \"%" KP_PRI "\" instead of \"%" KP_PRI "\"",
	      KP_ARG(found), KP_ARG(expected));
}

/* A seeded generator (SplitMix64), so that a random test that fails can be run again. */
static inline uint64_t next_random(uint64_t *seed)
{
	uint64_t word = *seed += UINT64_C(0x9e3779b97f4a7c15);

	word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
	return word ^ word >> 31;
}

/* The seed of random tests: KEEP_TEST_SEED, or a fixed one. Printed by the test that uses it. */
static inline uint64_t test_seed(void)
{
	const char *text = getenv("KEEP_TEST_SEED");

	return text ? strtoull(text, NULL, 10) : 1;
}

/* KEEP_TEST_PATIENCE: how many times longer than usual things may take here; 1 when not set. */
static inline int test_patience(void)
{
	const char *text = getenv("KEEP_TEST_PATIENCE");
	int factor = text ? atoi(text) : 1;

	return factor > 1 ? factor : 1;
}

#endif
