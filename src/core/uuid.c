/*
 * uuid.c - ids that sort by the time they were made (RFC 9562 section 5.7, UUIDv7).
 *
 *      48 bits        4      12 bits        2      30 bits          32 bits
 *     milliseconds   ver   counter, high   var   counter, low       random
 *
 * The counter (section 6.2, method 1) begins at a random 41-bit number each millisecond.
 *
 * Invariants:
 *   1. Within a process (milliseconds, counter) strictly increases. A clock that stands still or
 *      goes back counts as standing still; a counter that runs over borrows the next millisecond.
 *   2. The last 32 bits are fresh for each id, so two processes that share a state after fork
 *      still make different ids.
 *
 * Tests: tests/unit/test_uuid.c.
 */
#include "core/core.h"

#include <pthread.h>
#include <string.h>

#define MILLISECONDS_MAX ((INT64_C(1) << 48) - 1)
#define COUNTER_MAX ((UINT64_C(1) << 42) - 1)

static struct {
	pthread_mutex_t lock;
	int64_t ms; /* of the last id */
	uint64_t counter;
} last = {.lock = PTHREAD_MUTEX_INITIALIZER, .ms = -1};

/* Move the state on; `seed` is a random counter with the top bit clear. */
static void advance(uint64_t seed, int64_t *ms, uint64_t *counter)
{
	int64_t now = kp_clock_ms();

	now = now < 0 ? 0 : now > MILLISECONDS_MAX ? MILLISECONDS_MAX : now;
	pthread_mutex_lock(&last.lock);
	if (now > last.ms) {
		last.ms = now;
		last.counter = seed;
	} else if (last.counter < COUNTER_MAX) {
		last.counter++;
	} else {
		last.ms++;
		last.counter = seed;
	}
	*ms = last.ms;
	*counter = last.counter;
	pthread_mutex_unlock(&last.lock);
}

keep_status kp_uuid_make(char text[KP_UUID_TEXT_SIZE], keep_error *err)
{
	static const unsigned char groups[] = {4, 2, 2, 2, 6};
	unsigned char random[10] = {0}, id[16];
	uint64_t seed = 0, counter;
	size_t at = 0;
	int64_t ms;
	keep_status status = kp_random_bytes(random, sizeof random, err);

	text[0] = '\0';
	if (status != KEEP_OK)
		return status;
	for (size_t i = 4; i < sizeof random; i++)
		seed = seed << 8 | random[i];
	advance(seed & (COUNTER_MAX >> 1), &ms, &counter);
	for (unsigned i = 0; i < 6; i++)
		id[i] = (unsigned char)(ms >> (40 - 8 * i) & 255);
	id[6] = (unsigned char)(0x70 | counter >> 38);
	id[7] = (unsigned char)(counter >> 30 & 255);
	id[8] = (unsigned char)(0x80 | (counter >> 24 & 63));
	id[9] = (unsigned char)(counter >> 16 & 255);
	id[10] = (unsigned char)(counter >> 8 & 255);
	id[11] = (unsigned char)(counter & 255);
	memcpy(id + 12, random, 4);
	for (size_t group = 0, from = 0; group < KP_COUNT(groups); from += groups[group++]) {
		if (group > 0)
			text[at++] = '-';
		kp_hex_format((keep_bytes){(const char *)id + from, groups[group]}, text + at);
		at += 2 * (size_t)groups[group];
	}
	return KEEP_OK;
}
