#ifndef KEEP_SOURCE_PROCESS_H
#define KEEP_SOURCE_PROCESS_H
/*
 * source_process.h - source_side.py as a child: one side of a session that knows only the source's
 * tables.
 */
#include <sys/types.h>

typedef struct source_process {
	pid_t pid;
	int to, from;
} source_process;

/* `role`: "agent" or "host". Ends the test when it does not start. */
source_process source_start(const char *role, const char *folder);
/* Send one command, a format of a JSON array; the answer's "ok" as JSON text, which lives until the
   next call. An "error" fails the test. */
const char *source_ask(source_process *process, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same, and an "error" is answered as NULL. */
const char *source_try(source_process *process, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Ends with its input, or is killed. */
void source_end(source_process *process);
void source_kill(source_process *process);

#endif
