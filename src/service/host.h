#ifndef KP_HOST_H
#define KP_HOST_H
/*
 * host.h - what the parts of the host owe each other.
 *
 *   service.c       start, the parts in their order, stop
 *   host_lease.c    one host per home
 *   router.c        gateway -> mailbox: what was accepted goes to its sessions
 *   collector.c     mailbox -> gateway: what agents say becomes deliveries, and what became of
 * those is told to the mailbox agent_*.c       the command that answers for sessions without an
 * agent of their own scheduler.c     tasks, jobs and the mailbox's sweep, when they are due
 *   maintenance.c   backups, retention, optimising, by the clock
 *   metrics.c       numbers for /metrics
 *   http_*.c        the HTTP interface (http.h)
 *
 * Each part is started with the service and stopped before what it uses. A part's thread never ends
 * by itself: a failure is logged, counted, and tried again after a pause that grows to 5 s.
 *
 * Threads: the fields of keep_service are set before the first part starts, and do not change.
 */
#include "core/core.h"
#include "keep/agent.h"
#include "keep/assistant.h"
#include "keep/gateway.h"
#include "keep/mailbox.h"
#include "keep/mailbox_registry.h"
#include "keep/service.h"
#include "operations/operations_table.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct kp_host_lease kp_host_lease;
typedef struct kp_router kp_router;
typedef struct kp_collector kp_collector;
typedef struct kp_agents kp_agents;
typedef struct kp_scheduler kp_scheduler;
typedef struct kp_maintenance kp_maintenance;
typedef struct kp_http kp_http;
typedef struct kp_accounts kp_accounts;

/* The consumer under which the router reads the gateway. */
#define KP_ROUTER_NAME "serve"

/* ---------------------------------------------------------------- numbers (metrics.c) */

/* Counters since the start, each with its name and help in metrics.c. */
typedef enum kp_counter {
	KP_COUNT_REQUESTS,        /* HTTP requests answered */
	KP_COUNT_REFUSED,         /* of them with 4xx */
	KP_COUNT_FAILED_REQUESTS, /* of them with 5xx */
	KP_COUNT_DENIED,          /* without permission */
	KP_COUNT_EVENTS,          /* events sent to streams */
	KP_COUNT_ROUTED,          /* messages handed to a session */
	KP_COUNT_UNROUTED,        /* messages nobody takes */
	KP_COUNT_ANSWERS,         /* answers handed to the gateway */
	KP_COUNT_SETTLED,         /* outcomes of deliveries told to the mailbox */
	KP_COUNT_RUNS,            /* commands run for messages */
	KP_COUNT_FAILED_RUNS,     /* of them failed */
	KP_COUNT_TASKS,           /* the gateway's tasks fired */
	KP_COUNT_JOBS,            /* the assistant's jobs run */
	KP_COUNT_FAILED_JOBS,     /* of them failed */
	KP_COUNT_BACKUPS,         /* backups made */
	KP_COUNT_FAILED_BACKUPS,  /* backups that failed */
	KP_COUNT_ERRORS,          /* failures of the host's own loops, tried again */
	KP_COUNTERS
} kp_counter;

/* Numbers that go up and down. */
typedef enum kp_gauge {
	KP_GAUGE_STREAMS,        /* event streams open */
	KP_GAUGE_CONNECTIONS,    /* HTTP connections open */
	KP_GAUGE_AGENTS,         /* commands running */
	KP_GAUGE_LAST_BACKUP_MS, /* when the last backup was finished */
	KP_GAUGE_LAST_SWEEP_MS,  /* when the scheduler was round last */
	KP_GAUGES
} kp_gauge;

/* Numbers that the stores are asked for, when somebody looks. */
typedef enum kp_sample {
	KP_SAMPLE_GOOD, /* whether they answered */
	KP_SAMPLE_PENDING_CHATS,
	KP_SAMPLE_PENDING_SINCE_MS,
	KP_SAMPLE_WAITING_DELIVERIES,
	KP_SAMPLE_FAILED_DELIVERIES,
	KP_SAMPLE_SESSIONS,
	KP_SAMPLES
} kp_sample;

typedef struct kp_metrics {
	atomic_llong counters[KP_COUNTERS];
	atomic_llong gauges[KP_GAUGES];
	/* How long accepting took (POST /v1/gateway/put_message(s)), by upper bound; metrics.c. */
	atomic_llong accept_buckets[16];
	atomic_llong accept_us;
	/* What the stores said when they were last asked; metrics.c. */
	atomic_llong samples[KP_SAMPLES];
	atomic_llong sampled_ms; /* monotonic; 0: never */
	atomic_bool is_sampling;
} kp_metrics;

struct keep_service {
	char *home;   /* as given */
	char *folder; /* its real path; NULL: on a server */
	keep_service_options options;
	keep_session *session; /* for calls by name; its leases last */
	keep_gateway *gateway; /* the session's */
	keep_mailbox *mailbox;
	keep_assistant *assistant;
	kp_host_lease *lease;
	kp_router *router;
	kp_collector *collector;
	kp_agents *agents; /* NULL: no command */
	kp_scheduler *scheduler;
	kp_maintenance *maintenance; /* NULL: not asked for */
	kp_accounts *accounts;       /* http.h */
	kp_http *http;
	atomic_bool stopping; /* set first: parts finish what is in flight */
	const char *url;      /* http's, for as long as the service is there; once it is_ready */
	atomic_bool is_ready; /* every part is started: what runs before may read all of them now */
	int64_t started_ms;
	kp_metrics metrics;
};

/* Of a session of the home: its assistant opens with the service's keys. Before it is opened. */
keep_status kp_service_set_up_assistant(const keep_service *service, keep_session *session,
					keep_error *err) KEEP_MUST_CHECK;

static inline void kp_count(keep_service *service, kp_counter counter, int64_t by)
{
	atomic_fetch_add_explicit(&service->metrics.counters[counter], by, memory_order_relaxed);
}

static inline void kp_gauge_add(keep_service *service, kp_gauge gauge, int64_t by)
{
	atomic_fetch_add_explicit(&service->metrics.gauges[gauge], by, memory_order_relaxed);
}

static inline void kp_gauge_set(keep_service *service, kp_gauge gauge, int64_t value)
{
	atomic_store_explicit(&service->metrics.gauges[gauge], value, memory_order_relaxed);
}

/* A call of POST put_message(s) took so long. */
void kp_metrics_accepted(keep_service *service, int64_t took_us);
/* Append everything in Prometheus' text format (version 0.0.4). */
keep_status kp_metrics_write(keep_service *service, keep_buffer *out,
			     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- loops (loop.c) */

/*
 * A thread of the host that does one thing again and again. `turn` does what is there and says when
 * to come again (*pause_ms; below 0: at once); it may wait for news itself, as long as `cancel`
 * ends that. A turn that fails is logged as "<name>: <message>", counted, and repeated after a
 * pause that doubles from 50 ms to 5 s.
 */
typedef keep_status kp_loop_turn(void *ctx, int64_t *pause_ms, keep_error *err);

typedef struct kp_loop {
	keep_service *service;
	const char *name;
	kp_loop_turn *turn;
	void *ctx;
	pthread_t thread;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t woken;
	atomic_bool is_started;
	bool is_stopping, has_news;
	int64_t last_turn_ms;  /* monotonic: for health */
	keep_error last_error; /* of the last turn; OK: none */
} kp_loop;

/* `loop` is zeroed but for service, name, turn and ctx. */
keep_status kp_loop_start(kp_loop *loop, keep_error *err) KEEP_MUST_CHECK;
/* End a pause, now or the next one. */
void kp_loop_wake(kp_loop *loop);
/* Wait for the turn that is under way, and end; whoever waits inside of it was cancelled before. */
void kp_loop_stop(kp_loop *loop);

/* ---------------------------------------------------------------- the host's lease (host_lease.c)
 */

/* Wait for it. BUSY: cancelled. */
keep_status kp_host_lease_take(keep_service *service, kp_host_lease **out,
			       keep_error *err) KEEP_MUST_CHECK;
/* OK, or why it is ours no more. */
keep_status kp_host_lease_check(kp_host_lease *lease, keep_error *err) KEEP_MUST_CHECK;
void kp_host_lease_release(kp_host_lease **lease);
/* Who holds the host's lease of a home, without waiting: *held, and a text for people. */
keep_status kp_host_lease_holder(const char *home, bool *held, keep_buffer *who,
				 keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the journey */

keep_status kp_router_start(keep_service *service, kp_router **out,
			    keep_error *err) KEEP_MUST_CHECK;
void kp_router_stop(kp_router **router);
keep_status kp_collector_start(keep_service *service, kp_collector **out,
			       keep_error *err) KEEP_MUST_CHECK;
void kp_collector_stop(kp_collector **collector);
/* A session has something to collect, as the sweep found. */
void kp_collector_look(kp_collector *collector, keep_bytes session);

/* ---------------------------------------------------------------- agents (agent_pool.c) */

keep_status kp_agents_start(keep_service *service, kp_agents **out,
			    keep_error *err) KEEP_MUST_CHECK;
/* A session has input: run the command for it, if it has no agent of its own. Any thread; NULL:
   nothing is done. Remembers each session once. */
void kp_agents_look(kp_agents *agents, keep_bytes session);
/* Let commands that run come to their end, at most until the time (monotonic ms), then end them. */
void kp_agents_stop(kp_agents **agents, int64_t until_ms);

/* ---------------------------------------------------------------- clocks */

keep_status kp_scheduler_start(keep_service *service, kp_scheduler **out,
			       keep_error *err) KEEP_MUST_CHECK;
/* Something may be due earlier than was thought. NULL: nothing is done. */
void kp_scheduler_wake(kp_scheduler *scheduler);
void kp_scheduler_stop(kp_scheduler **scheduler);
keep_status kp_maintenance_start(keep_service *service, kp_maintenance **out,
				 keep_error *err) KEEP_MUST_CHECK;
void kp_maintenance_stop(kp_maintenance **maintenance);

/* ---------------------------------------------------------------- HTTP (http_server.c) */

keep_status kp_http_start(keep_service *service, kp_http **out, keep_error *err) KEEP_MUST_CHECK;
/* "http://127.0.0.1:7400" */
const char *kp_http_url(const kp_http *http);
/* Take no new connection, answer what is in flight until then (monotonic ms), end the rest. */
void kp_http_stop(kp_http **http, int64_t until_ms);
/* OK when the options' address may be listened at (keep/service.h), before anything is started. */
keep_status kp_http_check_options(keep_service *service, keep_error *err) KEEP_MUST_CHECK;

#endif
