#ifndef KEEP_TORTURE_H
#define KEEP_TORTURE_H
/*
 * torture.h - run one scenario once per thing that can fail in it.
 *
 * Round N makes the Nth operation of a kind fail, once or for good. The loop ends at the first
 * round in which nothing fired: then every such operation has failed at least once, and nobody had
 * to list them. A round that returns OK although something fired must also be right: the scenario
 * checks that itself before it returns OK.
 */
#include "keep_test.h"

#define TORTURE_MAX 1000000

#define MAY(status) (1u << (status))

/*
 * `run` cleans up after itself and returns what the library returned. `expected` lists, as bits
 * made with MAY, the statuses that a failed round may return. Returns how many rounds failed.
 */
static inline long torture(enum kp_fault_kind kind, unsigned expected,
			   keep_status (*run)(void *ctx), void *ctx)
{
	long rounds = 0, live = kp_alloc_live();

	for (int persistent = 0; persistent <= 1; persistent++) {
		for (long nth = 1;; nth++) {
			keep_status status;
			long fired;

			CHECK(nth < TORTURE_MAX, "the scenario never finishes");
			kp_fault_arm(kind, nth, persistent);
			status = run(ctx);
			fired = kp_fault_disarm(kind);
			CHECK(kp_alloc_live() == live, "round %ld leaked %ld blocks", nth,
			      kp_alloc_live() - live);
			if (fired == 0) {
				CHECK(status == KEEP_OK, "the clean round failed: %s",
				      keep_status_name(status));
				break;
			}
			CHECK(expected & MAY(status), "round %ld: %s", nth,
			      keep_status_name(status));
			rounds++;
		}
	}
	return rounds;
}

#endif
