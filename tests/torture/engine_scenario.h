#ifndef ENGINE_SCENARIO_H
#define ENGINE_SCENARIO_H
/*
 * engine_scenario.h - the life of an engine, in which anything may fail once, on any kind of
 * backend.
 *
 *     engine_scenario scenario;
 *     engine_scenario_begin(&scenario, "sqlite", KP_FAULT_FILE, expected);
 *     rounds = torture(KP_FAULT_FILE, expected, engine_scenario_run, &scenario);
 *     engine_scenario_end(&scenario);
 *
 * A round opens, sets, overwrites, scores, batches, compares, reads, scans, watches, unsets, clears
 * and closes. The first call that fails ends the faults of the round, and then
 *
 *   1. the engine and a second, clean one must both find what the model says was there before the
 *      call, or, only when it said UNCERTAIN, what is there after it;
 *   2. the same call, and all that follow, must succeed.
 *
 * A call that succeeded although something failed inside must have been right: at the end the
 * store is what the model says. Nothing here allocates while a fault is armed but the library.
 */
#include "engine_model.h"
#include "engine_urls.h"
#include "torture.h"

#define SCENARIO_STEPS_MAX 32

typedef struct engine_scenario {
	engine_kind kind;
	enum kp_fault_kind fault;
	bool is_fresh;        /* each round begins with a store that does not exist yet */
	bool may_lose_handle; /* after a failure this engine may refuse to go on until reopened */
	char url[ENGINE_URL_MAX];
	keep_engine *engine;
	model states[SCENARIO_STEPS_MAX + 1]; /* what is there before each step */
	const char *complaint_step;           /* for messages */
	unsigned expected; /* statuses of a failed call, as torture() takes them */
} engine_scenario;

/* `expected` goes to torture() too; here it makes the message of another status known. */
void engine_scenario_begin(engine_scenario *self, const char *kind, enum kp_fault_kind fault,
			   unsigned expected);
void engine_scenario_end(engine_scenario *self);
/* For torture(): returns what the first failed call returned. `ctx` is the scenario. */
keep_status engine_scenario_run(void *ctx);

#endif
