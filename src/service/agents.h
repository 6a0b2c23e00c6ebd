#ifndef KP_AGENTS_H
#define KP_AGENTS_H
/*
 * agents.h - the parts of what runs the agent's command.
 *
 *   agent_pool.c      threads, slots, start and stop
 *   agent_queue.c   which session is next
 *   agent_seats.c   sessions' agent sides, open while they are used
 *   agent_jobs.c    the assistant's jobs
 *   agent_turn.c, agent_child.c   a message; a program (agent_turn.h, agent_child.h)
 *
 * Threads: a queue and seats are guarded by who owns them, which is said at each.
 */
#include "service/agent_turn.h"
#include "service/host.h"

/* ---------------------------------------------------------------- which is next (agent_queue.c)
 *
 * Each session is in it once. Its owner's mutex guards it.
 */

#define KP_QUEUE_MAX 65536 /* sessions; what is over comes again with a later sweep */
#define KP_QUEUE_BUCKETS 1024

typedef struct kp_queued kp_queued;

typedef struct kp_agent_queue {
	kp_queued *buckets[KP_QUEUE_BUCKETS];
	kp_queued *first, *last;       /* ready, in order */
	kp_queued *later, *later_last; /* not before their time, by it */
	size_t count;
	unsigned char key[16];
} kp_agent_queue;

/* What became of a session that was taken. */
typedef enum kp_served {
	KP_SERVED_DONE,  /* nothing is there any more */
	KP_SERVED_MORE,  /* there may be more: it goes to the end of the line */
	KP_SERVED_FAILED /* again after a pause that grows from 1 s to 15 s */
} kp_served;

keep_status kp_agent_queue_init(kp_agent_queue *queue, keep_error *err) KEEP_MUST_CHECK;
void kp_agent_queue_release(kp_agent_queue *queue);
/* Add it, or note that there is news of it. FULL, NO_MEMORY. */
keep_status kp_agent_queue_add(kp_agent_queue *queue, keep_bytes session,
			       keep_error *err) KEEP_MUST_CHECK;
/* The next that is ready, or NULL: then *pause_ms tells when one is, at most what it was. */
kp_queued *kp_agent_queue_take(kp_agent_queue *queue, int64_t now_ms, int64_t *pause_ms);
bool kp_agent_queue_is_ready(const kp_agent_queue *queue, int64_t now_ms);
keep_bytes kp_queued_session(const kp_queued *queued);
/* What was taken goes back, or away. */
void kp_agent_queue_settle(kp_agent_queue *queue, kp_queued **queued, kp_served served,
			   int64_t now_ms);

/* ---------------------------------------------------------------- seats (agent_seats.c)
 *
 * The agent's side of one session, open. It is used by one thread at a time. Any thread.
 */

typedef struct kp_seat {
	char session[KEEP_SEGMENT_MAX + 1];
	keep_agent *agent;
	atomic_llong beat_ms;
	int64_t used_ms, refreshed_ms;                /* monotonic */
	keep_bytes folder, channel_type, platform_id; /* as of this use; live in `memory` */
	keep_memory memory;
	bool is_used;
	struct kp_seat *next;
} kp_seat;

typedef struct kp_seats kp_seats;

keep_status kp_seats_open(keep_service *service, kp_seats **out, keep_error *err) KEEP_MUST_CHECK;
/* No seat is used any more. */
void kp_seats_close(kp_seats **seats);
/* The seat of a session, whose agent we are; *out NULL: it has an agent of its own, is closed or
   not there. */
keep_status kp_seats_take(kp_seats *seats, keep_bytes session, kp_seat **out,
			  keep_error *err) KEEP_MUST_CHECK;
/* `keep`: it may be used again soon. */
void kp_seats_give(kp_seats *seats, kp_seat **seat, bool keep);
/* Close those that were not used for a while. */
void kp_seats_tidy(kp_seats *seats);

/* ---------------------------------------------------------------- what runs (agent_pool.c) */

#define KP_AGENTS_MAX 1000 /* commands at once */

/* A command may run: wait for one of agents_max slots. False: the agents are stopping. */
bool kp_agents_take_slot(kp_agents *agents);
void kp_agents_give_slot(kp_agents *agents);
bool kp_agents_is_stopping(const kp_agents *agents);
/* Variables that each command gets, for `variables`; how many. */
size_t kp_agents_variables(const kp_agents *agents, kp_turn_variable *variables);
/* "/bin/sh -c COMMAND". */
char *const *kp_agents_command(const kp_agents *agents);

/* ---------------------------------------------------------------- jobs (agent_jobs.c) */

typedef struct kp_jobs kp_jobs;

keep_status kp_jobs_start(keep_service *service, kp_agents *agents, kp_jobs **out,
			  keep_error *err) KEEP_MUST_CHECK;
/* Begin no more. */
void kp_jobs_cancel(kp_jobs *jobs);
/* How many commands of jobs run. */
int kp_jobs_running(kp_jobs *jobs);
/* Kill those: their jobs are tried again, by whoever ticks next. */
void kp_jobs_abandon(kp_jobs *jobs);
/* After cancel, when none runs any more or all were abandoned. Accepts a pointer to NULL. */
void kp_jobs_stop(kp_jobs **jobs);

#endif
