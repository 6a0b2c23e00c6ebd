#ifndef KP_AGENT_TURN_H
#define KP_AGENT_TURN_H
/*
 * agent_turn.h - a claimed message, answered by a program: `keep agent`'s way and the service's.
 *
 * It stands on core, the agent's side of a mailbox and agent_child.h alone, so that keep-agent
 * needs nothing else.
 *
 * Threads: a turn belongs to one thread; kp_turn_abandon alone may come from another.
 */
#include "core/core.h"
#include "keep/agent.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct kp_turn kp_turn;

/* One more variable of the program's environment; an absent value takes it away. */
typedef struct kp_turn_variable {
	const char *name;
	keep_bytes value;
} kp_turn_variable;

#define KP_TURN_VARIABLES_MAX 16

/* What all turns of an agent have in common. */
typedef struct kp_turn_rules {
	char *const *command;
	bool text;        /* its input is the message's text, not its JSON */
	bool is_shell;    /* the shell's exit status 126 or 127 says that it could not be run */
	int64_t lease_ms; /* extended while it runs */
	int64_t limit_ms; /* 0: none */
	/* One line about what went wrong. */
	void (*warn)(const kp_turn *turn, const char *text);
	/* A line of the program's standard error; NULL: that goes to ours. */
	void (*said)(const kp_turn *turn, const char *line);
} kp_turn_rules;

typedef enum kp_turn_end {
	KP_TURN_NONE,      /* it was lost or given back, or its report could not be stored */
	KP_TURN_COMPLETED, /* with a reply or without */
	KP_TURN_FAILED     /* reported as failed */
} kp_turn_end;

struct kp_turn {
	const kp_turn_rules *rules;
	keep_agent *agent;
	atomic_llong *beat_ms; /* of the agent's last sign of life, shared by its turns */
	const kp_turn_variable *variables;
	size_t variable_count;
	void *ctx;                     /* the caller's */
	atomic_int group;              /* of the program that runs; 0: none */
	pthread_mutex_t mutex;         /* guards the claim, for who gives it back */
	char id[KEEP_SEGMENT_MAX + 1]; /* of the message; empty: none */
	int64_t attempt;
	bool is_lost;         /* its claim is another's by now */
	int64_t extend_at_ms; /* when the lease is extended next, on the monotonic clock */
};

/* `turn` is zeroed but for rules, agent, beat_ms, variables, ctx. */
void kp_turn_init(kp_turn *turn);
void kp_turn_release(kp_turn *turn);
/* A sign of life, when the last one is a while ago. */
void kp_turn_beat(kp_turn *turn);
/*
 * Run the program for a message that was just claimed, and report what came of it. A failure: the
 * program could not be run, and the claim was given back.
 */
keep_status kp_turn_run(kp_turn *turn, const keep_claimed *claimed, kp_arena *arena,
			kp_turn_end *end, keep_error *err) KEEP_MUST_CHECK;
/* Give the claim back and kill the program, if there are any. */
void kp_turn_abandon(kp_turn *turn);

struct kp_child_result;

/* For programs that get something else as their input. */

/* Our environment with `count` variables changed; its memory is the arena's. */
keep_status kp_environment_make(const kp_turn_variable *variables, size_t count, kp_arena *arena,
				char ***out, keep_error *err) KEEP_MUST_CHECK;
/* What a program said as a content: a JSON object as it is, else {"text": …}; nothing for nothing.
   INVALID: it is no text. */
keep_status kp_output_content(keep_bytes output, kp_arena *arena, keep_buffer *content,
			      keep_error *err) KEEP_MUST_CHECK;
/* Of a shell's command line: OK unless its exit status says that it could not be run at all. */
keep_status kp_shell_check(const struct kp_child_result *result, keep_error *err) KEEP_MUST_CHECK;
/* Why a program failed, as a text that may be stored; false: it did not. */
bool kp_failure_tell(struct kp_child_result *result, int64_t limit_ms, char *out, size_t size);

#endif
