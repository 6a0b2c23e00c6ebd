#ifndef KEEP_JOB_STEPS_H
#define KEEP_JOB_STEPS_H
/*
 * job_steps.h - steps of schedulers and workers, for tests of cron jobs and one-time tasks.
 *
 * Times are given: T is a minute's beginning, and a test's clock is what it says.
 */
#include "assistant_fixture.h"

#define T INT64_C(1775901600000) /* 2026-04-11T10:00:00Z, a Saturday */
#define SECOND INT64_C(1000)
#define MINUTE INT64_C(60000)
#define HOUR INT64_C(3600000)
#define DAY INT64_C(86400000)

/* A prompt job of an expression. */
static inline keep_cron_job job_of(const char *id, const char *expression)
{
	return (keep_cron_job){.job_id = keep_bytes_of(id),
			       .name = KEEP_BYTES("water the plants"),
			       .cron_expression = keep_bytes_of(expression),
			       .job_type = KEEP_BYTES("prompt"),
			       .prompt = KEEP_BYTES("Water the plants."),
			       .enabled = true};
}

static inline void put_job(keep_assistant *assistant, const keep_cron_job *job, int64_t now_ms)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_put_cron_job(assistant, job, now_ms, NULL, NULL, &err));
}

/* Numbers of a job that is there. next: 0 when it has none. */
static inline int64_t next_run_of(keep_assistant *assistant, const char *id)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_cron_job job;
	int64_t next;

	OK(keep_assistant_get_cron_job(assistant, keep_bytes_of(id), &memory, &job, &err));
	next = job.has_next_run_at ? job.next_run_at : 0;
	keep_memory_release(&memory);
	return next;
}

/* A claim whose answers are compared as numbers; texts are gone with it. */
struct claimed {
	size_t count;
	keep_claimed_run first; /* its texts are not there any more */
	char first_id[64];
	int64_t next_ms;
};

static inline struct claimed claim_many(keep_assistant *assistant, size_t limit, int64_t lease_ms,
					int64_t now_ms)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claimed_runs runs = {NULL, 0};
	struct claimed claimed = {.count = 0};

	OK(keep_assistant_claim_due(assistant, limit, lease_ms, now_ms, &memory, &runs,
				    &claimed.next_ms, &err));
	claimed.count = runs.count;
	if (runs.count) {
		claimed.first = runs.items[0];
		(void)snprintf(claimed.first_id, sizeof claimed.first_id, "%.*s",
			       (int)runs.items[0].job_id.len, runs.items[0].job_id.data);
	}
	keep_memory_release(&memory);
	return claimed;
}

static inline struct claimed claim_one(keep_assistant *assistant, int64_t now_ms)
{
	return claim_many(assistant, 1, 0, now_ms);
}

static inline keep_status finish(keep_assistant *assistant, const char *id, int64_t scheduled_for,
				 int64_t attempt, const char *status, int64_t now_ms,
				 keep_error *err)
{
	bool has_failed = strcmp(status, "failed") == 0;

	return keep_assistant_finish_run(
		assistant, keep_bytes_of(id), scheduled_for, attempt, keep_bytes_of(status),
		(keep_bytes){NULL, 0}, has_failed ? KEEP_BYTES("no water") : (keep_bytes){NULL, 0},
		(keep_bytes){NULL, 0}, now_ms, err);
}

/* How many executions fulfil a condition. */
static inline int64_t count_executions(const char *condition)
{
	char table[300];

	(void)snprintf(table, sizeof table, "job_executions WHERE %s", condition);
	return assistant_count(table);
}

#endif
