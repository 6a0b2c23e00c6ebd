#ifndef KP_AGENT_TASKS_H
#define KP_AGENT_TASKS_H
/*
 * agent_tasks.h - what agent_tasks.c and task_claim.c share: the states of a task, and one row.
 */
#include "assistant/assistant_private.h"

/* May a task in the one status be put into the other? The table is in agent_tasks.c. */
bool kp_task_may(keep_bytes from, const char *to);

/* On a lease: NOT_FOUND, naming it (and nothing was changed). */
keep_status kp_agent_task_find(kp_lease *lease, keep_bytes task_id, kp_arena *arena,
			       keep_agent_task *out, keep_error *err) KEEP_MUST_CHECK;
/* Write what a step changed of a row. */
keep_status kp_task_store(kp_lease *lease, const keep_agent_task *task,
			  keep_error *err) KEEP_MUST_CHECK;
/* It has ended, or waits again: nobody has it. */
void kp_task_let_go(keep_agent_task *task);
/* "task 'x': it is completed": CONFLICT, and nothing was changed. */
keep_status kp_task_refuse(kp_lease *lease, const keep_agent_task *task,
			   keep_error *err) KEEP_MUST_CHECK;

#endif
