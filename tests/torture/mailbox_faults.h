#ifndef MAILBOX_FAULTS_H
#define MAILBOX_FAULTS_H
/*
 * mailbox_faults.h - a list of steps on a mailbox and an agent of it, run once per thing that can
 * fail in each of them.
 *
 *     static const mailbox_step steps[] = {{"post", post}, …};
 *     int main(int argc, char **argv) { return mailbox_faults_main(argc, argv, steps, count); }
 *
 * Each round begins in a mailbox without sessions and runs the steps in order, while the Nth
 * allocation, driver call, file call, commit or connection of every step fails. The clock stands
 * still and random bytes are counted, so that the content after each step is known from a clean
 * round: all rows of the registry and of all sessions, without what is of the moment (ids, owners,
 * counters of turns and of starts). What must hold:
 *
 *   1. a step that failed left the content of before it, but for marks that have sweep look sooner;
 *      UNCERTAIN may have left that of after it; a step that is many transactions may stop between
 *      two of them;
 *   2. the same step then succeeds, or, after UNCERTAIN, says what its `again` allows, and the
 *      content is that of the clean round;
 *   3. a step that succeeded in spite of a failure left that, too, unless it has a `mend`;
 *   4. at the end no block is alive.
 *
 * The program's argument is sqlite or postgres. KEEP_TORTURE=all: every N, else a sample.
 */
#include "mailbox_fixture.h"
#include "torture.h"

#define MAILBOX_STEPS_MAX 48
#define MAILBOX_OTHER_AGENT "bea"          /* which MAILBOX_AGENT may write to, as "bea" */
#define MAILBOX_NOW INT64_C(1700000000000) /* 2023-11-14T22:13:20Z: when the clock stands still */

typedef struct mailbox_world {
	keep_mailbox *mailbox;
	keep_agent *agent;
	char session[KEEP_SEGMENT_MAX + 1];
	char question[KEEP_SEGMENT_MAX + 1];
	int64_t number; /* of a message */
} mailbox_world;

typedef struct mailbox_step {
	const char *name;
	keep_status (*run)(mailbox_world *world, keep_error *err);
	unsigned again;   /* MAY(status): what it may say when it had been stored before */
	bool is_once;     /* when it was stored, it is not repeated */
	bool is_in_parts; /* many transactions */
	/* What it put off because of a failure becomes due once more. */
	void (*mend)(mailbox_world *world);
	void (*learn)(mailbox_world *world); /* after it was stored, for later steps */
} mailbox_step;

/* The first steps of every list. */
keep_status mailbox_step_open(mailbox_world *world, keep_error *err);
keep_status mailbox_step_resolve(mailbox_world *world, keep_error *err);
keep_status mailbox_step_wake(mailbox_world *world, keep_error *err);
keep_status mailbox_step_agent(mailbox_world *world, keep_error *err);

/* All sessions, or what the session has to deliver, become due. */
void mailbox_mend_sessions(mailbox_world *world);
void mailbox_mend_outgoing(mailbox_world *world);

int mailbox_faults_main(int argc, char **argv, const mailbox_step *steps, size_t count);

#endif
