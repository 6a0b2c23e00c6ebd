#ifndef KP_AGENT_CHILD_H
#define KP_AGENT_CHILD_H
/*
 * agent_child.h - runs a program with an input, and takes what it says, within bounds.
 */
#include "core/core.h"

#include <stdatomic.h>

#define KP_LAST_LINE_SIZE 512

typedef struct kp_child_request {
	char *const *argv; /* argv[0] is looked for in PATH */
	char *const *envp;
	keep_bytes input;
	size_t output_bytes_max;
	int64_t limit_ms; /* 0: none */
	/* Called about every second while it runs; false: end it. NULL: nobody asks. */
	bool (*tick)(void *ctx);
	/* A line of its standard error, without the line end. NULL: all of that goes to ours. */
	void (*said)(void *ctx, const char *line);
	void *ctx;
	atomic_int *group; /* has its process group while it runs, else 0 */
} kp_child_request;

typedef struct kp_child_result {
	keep_buffer output;                /* what it said */
	char last_line[KP_LAST_LINE_SIZE]; /* of its standard error */
	int wait_status;                   /* as waitpid gives it */
	bool is_late;                      /* over its time limit */
	bool is_stopped;                   /* the tick said so */
	bool is_too_long;                  /* over output_bytes_max */
} kp_child_result;

/* Run it to its end. NOT_FOUND, DENIED …: it could not be started. Any thread. */
keep_status kp_child_run(const kp_child_request *request, kp_child_result *result,
			 keep_error *err) KEEP_MUST_CHECK;
void kp_child_result_release(kp_child_result *result);

#endif
