#ifndef KP_DUE_H
#define KP_DUE_H
/*
 * due.h - due work without storage: which runs a tick starts, when the next is, when a failed
 * attempt is tried again, and whether the owner of a lease is dead.
 *
 * A store reads `next_run` and what is running, asks here, and writes the answer in one
 * transaction. The same question gets the same answer, so a tick that is repeated after a crash
 * makes the same runs: their key (schedule, scheduled time) makes them exist once.
 *
 * Threads: no state; any thread.
 */
#include "core/core.h"
#include "keep/schedule.h"

/* ---------------------------------------------------------------- what is due (due.c) */

/* X(name, value, text): what happens to runs that nobody was there to start. */
#define KP_MISSED_MAP(X)                                                                           \
	X(RUN_ONCE, 0, "run_once") /* one run, the latest, stands for all */                       \
	X(SKIP, 1, "skip")         /* none of them */                                              \
	X(RUN_ALL, 2, "run_all")   /* the latest run_all_max of them, in order */

typedef enum kp_missed {
#define X(name, value, text) KP_MISSED_##name = value,
	KP_MISSED_MAP(X)
#undef X
} kp_missed;

/* X(name, value, text): what happens when a run is due and an earlier one still runs. */
#define KP_OVERLAP_MAP(X)                                                                          \
	X(SKIP, 0, "skip")   /* it is skipped */                                                   \
	X(QUEUE, 1, "queue") /* it waits for the earlier ones */                                   \
	X(ALLOW, 2, "allow") /* it starts */

typedef enum kp_overlap {
#define X(name, value, text) KP_OVERLAP_##name = value,
	KP_OVERLAP_MAP(X)
#undef X
} kp_overlap;

/* "run_once", "skip"; "?" for a value outside the list. The parsers: false when there is none. */
const char *kp_missed_name(kp_missed missed);
bool kp_missed_parse(keep_bytes name, kp_missed *out);
const char *kp_overlap_name(kp_overlap overlap);
bool kp_overlap_parse(keep_bytes name, kp_overlap *out);

#define KP_DUE_RUNS_MAX 64     /* runs planned by one tick */
#define KP_DUE_COUNT_MAX 10000 /* skipped times are counted so far */
#define KP_DUE_ON_TIME_MS 60000

typedef struct kp_due_rules {
	const keep_schedule *schedule; /* NULL: one time only */
	kp_missed missed;
	unsigned run_all_max; /* 1 to KP_DUE_RUNS_MAX */
	int64_t on_time_ms;   /* so late a run still counts as not missed; 0: KP_DUE_ON_TIME_MS */
	int64_t grace_ms;     /* a missed run older than that is never made up; 0: no limit */
	kp_overlap overlap;
	unsigned queued_max; /* QUEUE: runs that may wait; 0: KP_DUE_RUNS_MAX */
} kp_due_rules;

typedef enum kp_due_verdict {
	KP_DUE_START,        /* now */
	KP_DUE_QUEUE,        /* after those before it */
	KP_DUE_SKIP_OVERLAP, /* an earlier run is still running */
	KP_DUE_SKIP_FULL     /* too many are waiting */
} kp_due_verdict;

const char *kp_due_verdict_name(kp_due_verdict verdict); /* "start", "skipped_overlap", … */

typedef struct kp_due_run {
	int64_t scheduled_ms; /* with the schedule's id this is the run's identity */
	kp_due_verdict verdict;
	bool is_missed; /* later than on_time_ms */
} kp_due_run;

/* Everything between the old next_run and the new one is either in `runs` or in `skipped`. */
typedef struct kp_due_plan {
	kp_due_run runs[KP_DUE_RUNS_MAX]; /* oldest first; also those that overlap policy skips */
	size_t count;
	struct {
		size_t count;     /* times that get no run: missed, and not made up */
		bool is_exact;    /* false: `count` is KP_DUE_COUNT_MAX and there are more */
		int64_t first_ms; /* the oldest and the newest of them */
		int64_t last_ms;
	} skipped;
	bool has_next; /* false: the series is over */
	int64_t next_run_ms;
} kp_due_plan;

/*
 * What a tick at `now_ms` does about a schedule whose stored next_run is `next_run_ms`, of which
 * `running` runs are alive and `queued` wait. Not due yet: no runs and the same next_run.
 * INVALID: a rule or a time out of range.
 */
keep_status kp_due_plan_make(const kp_due_rules *rules, int64_t next_run_ms, int64_t now_ms,
			     unsigned running, unsigned queued, kp_due_plan *out,
			     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- trying again (due.c) */

typedef struct kp_backoff {
	const int64_t *delays_ms; /* the delay after each attempt; NULL: by first, factor and max */
	size_t delays;            /* the last one is for all further attempts */
	int64_t first_ms;
	unsigned factor; /* at least 1 */
	int64_t max_ms;
	unsigned attempts_max;   /* in all, the first included */
	unsigned jitter_percent; /* a delay is shortened at random by up to so much; 0 to 100 */
} kp_backoff;

/*
 * When attempt `attempt` (from 1) has failed at `now_ms`: true and the time of the next one, or
 * false when that was the last and the run becomes a dead letter. `random` is any 64 bits.
 */
bool kp_backoff_next(const kp_backoff *backoff, unsigned attempt, int64_t now_ms, uint64_t random,
		     int64_t *retry_ms);

/* ---------------------------------------------------------------- owners of leases (owner.c) */

#define KP_OWNER_TEXT_SIZE 128

/*
 * This process as one text: "<pid>.<start>.<pid namespace>.<boot id>". No other process has it,
 * on this machine or another, before or after a reboot. UNAVAILABLE, NOT_FOUND: no /proc.
 */
keep_status kp_owner_make(char text[KP_OWNER_TEXT_SIZE], keep_error *err) KEEP_MUST_CHECK;

typedef enum kp_owner_state {
	KP_OWNER_MAY_LIVE, /* nothing proves the contrary */
	KP_OWNER_EXPIRED,  /* the lease is over */
	KP_OWNER_GONE      /* its process is gone, whatever the lease says */
} kp_owner_state;

/* A text that kp_owner_make did not make proves nothing: then the lease alone decides. */
kp_owner_state kp_owner_check(keep_bytes owner, int64_t lease_until_ms, int64_t now_ms);

#endif
