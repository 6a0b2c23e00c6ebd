/*
 * scheduler.c - what the clock alone brings: the gateway's tasks, the mailbox's sweep, and web
 * accounts' sessions that are over.
 *
 * One loop. A turn does what is due, and sleeps until the earliest next time that a store names,
 * but for no more than LOOK_MS: other processes write to the stores, too, and nobody tells of a
 * time that they set.
 *
 * Invariants:
 *   1. When something is due is the stores' to say, by the wall clock of each turn. No time is kept
 *      from turn to turn but monotonic ones: a clock that is set forth or back delays nothing for
 *      longer than LOOK_MS, and stops nothing.
 *   2. A store that fails does not keep the others from their turn; the first failure is told.
 *   3. A turn is bounded: what is left is done by the next, at once.
 *   4. What a host before us left open is looked at by the first turn.
 *
 * What it does not do: run the assistant's jobs (agent_jobs.c), decide what is missed or tried
 * again.
 *
 * Tests: tests/contract/test_service_scheduler.c.
 */
#include "service/host.h"

#include <string.h>

enum {
	TASKS_MAX = 100,
	SESSIONS_MAX = 1000,
	LOOK_MS = 1000,
	PAUSE_MIN_MS = 5,
	ACCOUNTS_MS = 3600000
};

struct kp_scheduler {
	keep_service *service;
	kp_loop loop;
	int64_t accounts_at_ms; /* monotonic: when their sessions are swept next */
	bool has_looked;        /* at what a host before us left */
};

static int64_t clock_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

static void come_before(int64_t *pause_ms, int64_t other_ms)
{
	if (other_ms < *pause_ms)
		*pause_ms = other_ms < PAUSE_MIN_MS ? PAUSE_MIN_MS : other_ms;
}

/* ---------------------------------------------------------------- one of each */

static keep_status fire_tasks(kp_scheduler *scheduler, int64_t *pause_ms, keep_error *err)
{
	keep_service *service = scheduler->service;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list list = {NULL, 0};
	int64_t next_run = 0, now_ms = kp_clock_ms();
	keep_status status = keep_gateway_fire_due_tasks(service->gateway, now_ms, TASKS_MAX,
							 &memory, &list, &next_run, err);

	if (status == KEEP_OK) {
		kp_count(service, KP_COUNT_TASKS, (int64_t)list.count);
		if (next_run)
			come_before(pause_ms, next_run - now_ms);
	}
	keep_memory_release(&memory);
	return status;
}

static void hand_on(keep_service *service, const keep_sweep_session *item)
{
	if (item->status != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "scheduler: session %" KP_PRI ": %" KP_PRI,
		       KP_ARG(item->session), KP_ARG(item->error));
	if (item->is_stale)
		kp_log(KEEP_LOG_WARNING,
		       "scheduler: session %" KP_PRI ": its agent gave no sign of life",
		       KP_ARG(item->session));
	if (item->has_input)
		kp_agents_look(service->agents, item->session);
	if (item->has_output)
		kp_collector_look(service->collector, item->session);
}

static keep_status sweep_sessions(kp_scheduler *scheduler, int64_t *pause_ms, keep_error *err)
{
	keep_service *service = scheduler->service;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_sweep sweep = {.items = NULL};
	int64_t now_ms = kp_clock_ms();
	keep_status status =
		keep_mailbox_sweep(service->mailbox, SESSIONS_MAX, now_ms, &memory, &sweep, err);

	for (size_t i = 0; status == KEEP_OK && i < sweep.count; i++)
		hand_on(service, &sweep.items[i]);
	if (status == KEEP_OK && sweep.has_more)
		*pause_ms = 0;
	if (status == KEEP_OK && sweep.next_ms)
		come_before(pause_ms, sweep.next_ms - now_ms);
	keep_memory_release(&memory);
	return status;
}

/* What was open when the last host ended is due only later: a minute, while somebody might still be
   at it. Nobody is, so each such session is looked at now. */
static keep_status look_at_open_ones(kp_scheduler *scheduler, keep_error *err)
{
	keep_service *service = scheduler->service;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_session_list list = {.count = SESSIONS_MAX};
	char after[KEEP_SEGMENT_MAX + 1] = "";
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && list.count == SESSIONS_MAX) {
		keep_memory_release(&memory);
		status = keep_mailbox_list_sessions(service->mailbox, (keep_bytes){NULL, 0},
						    KEEP_BYTES(KEEP_SESSION_STATUS_ACTIVE),
						    keep_bytes_of(after), SESSIONS_MAX, &memory,
						    &list, err);
		for (size_t i = 0; status == KEEP_OK && i < list.count; i++) {
			const keep_session *row = &list.items[i];

			if (row->has_due_at)
				kp_agents_look(service->agents, row->id);
			memcpy(after, row->id.data, row->id.len);
			after[row->id.len] = '\0';
		}
	}
	keep_memory_release(&memory);
	scheduler->has_looked = status == KEEP_OK;
	return status;
}

static keep_status sweep_accounts(kp_scheduler *scheduler, keep_error *err)
{
	int64_t count = 0;
	keep_status status;

	if (clock_ms() < scheduler->accounts_at_ms)
		return KEEP_OK;
	status = keep_gateway_sweep_sessions(scheduler->service->gateway, kp_clock_ms(), &count,
					     err);
	if (status == KEEP_OK && count == 0)
		scheduler->accounts_at_ms = clock_ms() + ACCOUNTS_MS;
	return status;
}

/* ---------------------------------------------------------------- the loop */

static keep_status turn(void *ctx, int64_t *pause_ms, keep_error *err)
{
	kp_scheduler *scheduler = ctx;
	keep_error second = KEEP_ERROR_INIT, third = KEEP_ERROR_INIT;
	keep_status swept, cleaned, status;

	*pause_ms = LOOK_MS;
	status = fire_tasks(scheduler, pause_ms, err);
	swept = scheduler->has_looked ? KEEP_OK : look_at_open_ones(scheduler, &second);
	if (swept == KEEP_OK)
		swept = sweep_sessions(scheduler, pause_ms, &second);
	cleaned = sweep_accounts(scheduler, &third);
	kp_gauge_set(scheduler->service, KP_GAUGE_LAST_SWEEP_MS, kp_clock_ms());
	if (status == KEEP_OK && swept != KEEP_OK) {
		*err = second;
		status = swept;
	}
	if (status == KEEP_OK && cleaned != KEEP_OK) {
		*err = third;
		status = cleaned;
	}
	return status;
}

keep_status kp_scheduler_start(keep_service *service, kp_scheduler **out, keep_error *err)
{
	kp_scheduler *scheduler = kp_alloc_zero(sizeof *scheduler);
	keep_status status;

	*out = NULL;
	if (!scheduler)
		return kp_fail_memory(err, "the scheduler");
	scheduler->service = service;
	scheduler->loop =
		(kp_loop){.service = service, .name = "scheduler", .turn = turn, .ctx = scheduler};
	status = kp_loop_start(&scheduler->loop, err);
	if (status != KEEP_OK)
		kp_free(scheduler);
	else
		*out = scheduler;
	return status;
}

void kp_scheduler_wake(kp_scheduler *scheduler)
{
	if (scheduler)
		kp_loop_wake(&scheduler->loop);
}

void kp_scheduler_stop(kp_scheduler **scheduler)
{
	if (*scheduler)
		kp_loop_stop(&(*scheduler)->loop);
	kp_free(*scheduler);
	*scheduler = NULL;
}
