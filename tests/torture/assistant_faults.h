#ifndef ASSISTANT_FAULTS_H
#define ASSISTANT_FAULTS_H
/*
 * assistant_faults.h - no change without its entry in the audit log, whatever fails.
 *
 *     static const assistant_operation list[] = {{"set_prompt", NULL, set_prompt, 1, false}, …};
 *     int main(int argc, char **argv) { return assistant_faults_main(argc, argv, list, count); }
 *
 * Each operation runs once for each thing that can fail in it: the Nth allocation, driver call,
 * file call (a server: connection), commit whose answer is lost; once, and from then on. What must
 * hold after each:
 *
 *   1. OK: the store's content is another one, and the audit log has `entries` entries more;
 *   2. a failure: both are as they were; UNCERTAIN may have done both;
 *   3. with the faults gone the same store goes on: the next round finds it whole;
 *   4. in the end the chain verifies, and when the store is closed no block is alive.
 *
 * The program's argument is sqlite or postgres. KEEP_TORTURE=all: every N, else a sample.
 */
#include "assistant_fixture.h"
#include "torture.h"

typedef struct assistant_operation {
	const char *name;
	/* What has to be there before, made without faults; or NULL. `id` is another one each time.
	 */
	void (*prepare)(keep_assistant *assistant, const char *id);
	keep_status (*run)(keep_assistant *assistant, const char *id, keep_error *err);
	int64_t entries;
	/* It reads a secret: the content stays, and a failure may have its entry, too. */
	bool is_access;
} assistant_operation;

int assistant_faults_main(int argc, char **argv, const assistant_operation *list, size_t count);

#endif
