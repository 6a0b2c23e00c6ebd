#ifndef GATEWAY_FAULTS_H
#define GATEWAY_FAULTS_H
/*
 * gateway_faults.h - a list of steps on a gateway, run once per thing that can fail in it.
 *
 *     static const gateway_step steps[] = {{"create_user", create_user}, …};
 *     int main(int argc, char **argv) { return gateway_faults_main(argc, argv, steps, count); }
 *
 * Each round opens an emptied store, runs the steps in order and closes it, while the Nth
 * allocation, driver call, file call, commit or connection fails. The clock stands still and
 * random bytes are counted, so that a store's content after each step is known from a clean
 * round. What must hold:
 *
 *   1. a step that failed left the content of before it; UNCERTAIN may have left that of after it;
 *   2. the same step then succeeds, or, after UNCERTAIN, says what its `again` allows;
 *   3. at the end the content is that of the clean round, and no block is alive.
 *
 * The program's argument is sqlite or postgres. KEEP_TORTURE=all: every N, else a sample.
 */
#include "gateway_fixture.h"
#include "torture.h"

#define GATEWAY_STEPS_MAX 32

typedef struct gateway_step {
	const char *name;
	keep_status (*run)(keep_gateway *gateway, keep_error *err);
	unsigned again; /* MAY(status): what it may say when it had been stored before */
	bool is_once;   /* when it was stored, it is not repeated */
} gateway_step;

int gateway_faults_main(int argc, char **argv, const gateway_step *steps, size_t count);

#endif
