/*
 * agent_jobs.c - the assistant's jobs, run by the agent's command.
 *
 * A few threads. Each waits until a run is due, takes a slot, claims, runs `/bin/sh -c COMMAND`
 * with the job as JSON, and says what came of it. Which runs there are is the assistant's to know.
 *
 * Invariants:
 *   1. A run is claimed only when its command can start at once; its lease is extended while it
 * runs.
 *   2. The leases are a handle's of our own, and end with this process: whoever comes next tries
 * again at once what we were killed at.
 *   3. A run that was cancelled, or whose lease moved on, is ended within seconds.
 *   4. It may take as long as the job says, whatever the limit for messages is.
 *   5. A stepped clock neither loses a run nor stops the threads: what is due is asked anew, every
 *      WAIT_MS at least.
 *
 * What it does not do: retry, policies, dead letters (src/assistant/job_tick.c).
 *
 * Tests: tests/contract/test_service_scheduler.c.
 */
#include "keep/assistant_work.h"
#include "service/agent_child.h"
#include "service/agents.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
	THREADS_MAX = 4,
	WAIT_MS = 1000,
	PAUSE_MS = 300,
	ASK_MS = 3000, /* whether it is cancelled */
	TRIES_MAX = 20,
	OUTPUT_MAX = KEEP_ASSISTANT_CONTENT_MAX - 64 * 1024, /* as JSON it is longer */
	NUMBER_SIZE = 24
};
#define LEASE_MS INT64_C(120000)
#define LIMIT_MAX_MS INT64_C(86400000)

typedef struct job_thread {
	kp_jobs *jobs;
	kp_loop loop;
	atomic_int group; /* of its command; 0: none */
	atomic_bool runs;
	/* of the run */
	const keep_claimed_run *run;
	bool is_lost, is_cancelled;
	int64_t extend_at_ms;
} job_thread;

struct kp_jobs {
	keep_service *service;
	kp_agents *agents;
	keep_session *session; /* whose assistant is ours alone */
	keep_assistant *assistant;
	atomic_bool is_cancelled, is_abandoned;
	size_t started;
	job_thread threads[THREADS_MAX];
};

static int64_t clock_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

/* ---------------------------------------------------------------- what it gets */

static void put_text(kp_json_writer *writer, const char *name, keep_bytes text)
{
	kp_json_name(writer, name);
	kp_json_put_text(writer, text);
}

static keep_status write_job(const keep_claimed_run *run, keep_buffer *out, keep_error *err)
{
	char time[KEEP_TIME_TEXT_SIZE] = "";
	kp_json_writer writer;
	keep_status status = keep_time_format(run->scheduled_for, time, err);

	if (status != KEEP_OK)
		return status;
	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	put_text(&writer, "kind", KEEP_BYTES("job"));
	put_text(&writer, "job_id", run->job_id);
	put_text(&writer, "name", run->name);
	put_text(&writer, "job_type", run->job_type);
	put_text(&writer, "text", run->prompt);
	put_text(&writer, "tool_name", run->tool_name);
	kp_json_name(&writer, "tool_parameters");
	if (run->tool_parameters.len)
		kp_json_put_raw(&writer, run->tool_parameters);
	else
		kp_json_put_null(&writer);
	put_text(&writer, "scheduled_for", keep_bytes_of(time));
	kp_json_name(&writer, "attempt");
	kp_json_put_integer(&writer, run->attempt);
	put_text(&writer, "conversation_id", run->conversation_id);
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

/* Its JSON, or the prompt alone for who wants texts; a line. */
static keep_status make_input(const job_thread *thread, keep_buffer *out, keep_error *err)
{
	const keep_claimed_run *run = thread->run;
	keep_status status;

	if (thread->jobs->service->options.agent_text && run->prompt.len)
		status = keep_buffer_set(out, run->prompt, err);
	else
		status = write_job(run, out, err);
	return status == KEEP_OK ? kp_buffer_append_text(out, "\n", err) : status;
}

static keep_status make_environment(const job_thread *thread, kp_arena *arena, char ***out,
				    keep_error *err)
{
	char attempt[NUMBER_SIZE], time[KEEP_TIME_TEXT_SIZE] = "";
	kp_turn_variable variables[KP_TURN_VARIABLES_MAX];
	size_t count = kp_agents_variables(thread->jobs->agents, variables);
	keep_status status = keep_time_format(thread->run->scheduled_for, time, err);
	int len = snprintf(attempt, sizeof attempt, "%lld", (long long)thread->run->attempt);
	const kp_turn_variable own[] = {
		{"KEEP_JOB_ID", thread->run->job_id},
		{"KEEP_SCHEDULED_FOR", keep_bytes_of(time)},
		{"KEEP_ATTEMPT", {attempt, (size_t)len}},
		{"KEEP_CONVERSATION", thread->run->conversation_id},
		{"KEEP_MESSAGE_ID", {NULL, 0}},
		{"KEEP_SESSION", {NULL, 0}},
	};

	memcpy(variables + count, own, sizeof own);
	count += KP_COUNT(own);
	return status == KEEP_OK ? kp_environment_make(variables, count, arena, out, err) : status;
}

/* ---------------------------------------------------------------- while it runs */

/* False: it is to end. */
static bool tick(void *ctx)
{
	job_thread *thread = ctx;
	const keep_claimed_run *run = thread->run;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	if (atomic_load(&thread->jobs->is_abandoned))
		return false;
	if (clock_ms() < thread->extend_at_ms)
		return true;
	status = keep_assistant_extend_run(thread->jobs->assistant, run->job_id, run->scheduled_for,
					   run->attempt, LEASE_MS, KEEP_NOW, &thread->is_cancelled,
					   &err);
	thread->extend_at_ms = clock_ms() + ASK_MS;
	thread->is_lost = status == KEEP_CONFLICT || status == KEEP_NOT_FOUND;
	if (status != KEEP_OK && !thread->is_lost)
		kp_log(KEEP_LOG_WARNING, "job %" KP_PRI ": %s", KP_ARG(run->job_id), err.message);
	return !thread->is_lost && !thread->is_cancelled;
}

static void log_line(void *ctx, const char *line)
{
	const job_thread *thread = ctx;

	kp_log(KEEP_LOG_INFO, "agent of job %" KP_PRI " says: %s", KP_ARG(thread->run->job_id),
	       line);
}

/* ---------------------------------------------------------------- what came of it */

typedef struct job_outcome {
	keep_bytes status, result;
	const char *error;
} job_outcome;

static keep_status try_report(const job_thread *thread, const job_outcome *outcome, keep_error *err)
{
	const keep_claimed_run *run = thread->run;
	keep_status status = KEEP_BUSY;

	for (unsigned i = 0; keep_status_can_retry(status) && i < TRIES_MAX; i++) {
		if (i)
			(void)poll(NULL, 0, PAUSE_MS);
		status = keep_assistant_finish_run(
			thread->jobs->assistant, run->job_id, run->scheduled_for, run->attempt,
			outcome->status, outcome->result, keep_bytes_of(outcome->error),
			(keep_bytes){NULL, 0}, KEEP_NOW, err);
	}
	return status;
}

/* A result that the store does not take is a failure of the job. */
static void report(const job_thread *thread, const job_outcome *outcome)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = try_report(thread, outcome, &err);
	const job_outcome failed = {.status = KEEP_BYTES("failed"), .error = err.message};

	if (status == KEEP_OK)
		return;
	kp_log(KEEP_LOG_WARNING, "job %" KP_PRI ": what came of it: %s",
	       KP_ARG(thread->run->job_id), err.message);
	if (status != KEEP_CONFLICT && outcome->result.data)
		(void)!try_report(thread, &failed, NULL);
}

static void report_result(job_thread *thread, kp_child_result *result, int64_t limit_ms,
			  keep_memory *memory)
{
	char error[KP_LAST_LINE_SIZE + 128];
	keep_buffer content = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	job_outcome outcome = {.status = KEEP_BYTES("success")};

	if (thread->is_cancelled) {
		outcome.status = KEEP_BYTES("cancelled");
		outcome.error = "it was cancelled while it ran";
	} else if (kp_failure_tell(result, limit_ms, error, sizeof error)) {
		outcome.status = KEEP_BYTES("failed");
		outcome.error = error;
	} else if (kp_output_content(kp_buffer_bytes(&result->output), memory, &content, &err) !=
		   KEEP_OK) {
		outcome.status = KEEP_BYTES("failed");
		outcome.error = err.message;
	} else if (content.len) {
		outcome.result = kp_buffer_bytes(&content);
	}
	if (outcome.error && !thread->is_cancelled) {
		kp_count(thread->jobs->service, KP_COUNT_FAILED_JOBS, 1);
		kp_log(KEEP_LOG_WARNING, "job %" KP_PRI ": %s", KP_ARG(thread->run->job_id),
		       outcome.error);
	}
	report(thread, &outcome);
	keep_buffer_release(&content);
}

static void run_command(job_thread *thread, keep_memory *memory)
{
	keep_buffer input = KEEP_BUFFER_INIT;
	kp_child_result result = {.output = KEEP_BUFFER_INIT};
	int64_t limit_ms = thread->run->deadline_ms - kp_clock_ms();
	char **envp = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = make_environment(thread, memory, &envp, &err);
	kp_child_request request = {
		.argv = kp_agents_command(thread->jobs->agents),
		.envp = envp,
		.output_bytes_max = OUTPUT_MAX,
		.limit_ms = limit_ms < 1              ? 1
			    : limit_ms > LIMIT_MAX_MS ? LIMIT_MAX_MS
						      : limit_ms,
		.tick = tick,
		.said = log_line,
		.ctx = thread,
		.group = &thread->group,
	};

	if (status == KEEP_OK)
		status = make_input(thread, &input, &err);
	request.input = kp_buffer_bytes(&input);
	if (status == KEEP_OK)
		status = kp_child_run(&request, &result, &err);
	if (atomic_load(&thread->jobs->is_abandoned) || thread->is_lost)
		kp_log(KEEP_LOG_WARNING, "job %" KP_PRI ": it was ended before its time",
		       KP_ARG(thread->run->job_id));
	else if (status == KEEP_OK)
		report_result(thread, &result, request.limit_ms, memory);
	else
		report(thread,
		       &(job_outcome){.status = KEEP_BYTES("failed"), .error = err.message});
	kp_child_result_release(&result);
	keep_buffer_release(&input);
}

static void run_job(job_thread *thread, const keep_claimed_run *run, keep_memory *memory)
{
	keep_service *service = thread->jobs->service;

	thread->run = run;
	thread->is_lost = thread->is_cancelled = false;
	thread->extend_at_ms = clock_ms() + ASK_MS;
	kp_gauge_add(service, KP_GAUGE_AGENTS, 1);
	run_command(thread, memory);
	kp_gauge_add(service, KP_GAUGE_AGENTS, -1);
	kp_count(service, KP_COUNT_JOBS, 1);
	thread->run = NULL;
}

/* ---------------------------------------------------------------- threads */

static keep_status claim_and_run(job_thread *thread, bool *found, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claimed_runs runs = {NULL, 0};
	keep_status status = keep_assistant_claim_due(thread->jobs->assistant, 1, LEASE_MS,
						      KEEP_NOW, &memory, &runs, NULL, err);

	*found = status == KEEP_OK && runs.count > 0;
	if (*found)
		run_job(thread, &runs.items[0], &memory);
	keep_memory_release(&memory);
	return status;
}

static keep_status look_for_job(void *ctx, int64_t *pause_ms, keep_error *err)
{
	job_thread *thread = ctx;
	kp_jobs *jobs = thread->jobs;
	bool due = false, found = false;
	keep_status status;

	*pause_ms = PAUSE_MS;
	if (!atomic_load(&jobs->service->is_ready))
		return KEEP_OK;
	status = keep_assistant_wait_due(jobs->assistant, WAIT_MS, &due, err);
	if (status != KEEP_OK || atomic_load(&jobs->is_cancelled))
		return status;
	*pause_ms = -1;
	if (!due)
		return KEEP_OK;
	atomic_store(&thread->runs, true);
	if (kp_agents_take_slot(jobs->agents)) {
		status = claim_and_run(thread, &found, err);
		kp_agents_give_slot(jobs->agents);
	}
	atomic_store(&thread->runs, false);
	*pause_ms = found ? -1 : PAUSE_MS; /* another has it, or it may not run yet */
	return status;
}

static keep_status open_assistant(kp_jobs *jobs, keep_error *err)
{
	void *handle = NULL;
	keep_status status = keep_session_open(jobs->service->home, &jobs->session, err);

	if (status == KEEP_OK)
		status = kp_service_set_up_assistant(jobs->service, jobs->session, err);
	if (status == KEEP_OK)
		status = kp_session_handle(jobs->session, &kp_assistant_operations, &handle, err);
	jobs->assistant = handle;
	return status;
}

keep_status kp_jobs_start(keep_service *service, kp_agents *agents, kp_jobs **out, keep_error *err)
{
	kp_jobs *jobs = kp_alloc_zero(sizeof *jobs);
	size_t count = service->options.agents_max < THREADS_MAX
			       ? (size_t)service->options.agents_max
			       : THREADS_MAX;
	keep_status status;

	*out = NULL;
	if (!jobs)
		return kp_fail_memory(err, "the jobs");
	jobs->service = service;
	jobs->agents = agents;
	status = open_assistant(jobs, err);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		job_thread *thread = &jobs->threads[i];

		thread->jobs = jobs;
		thread->loop = (kp_loop){.service = service, .name = "jobs", .turn = look_for_job};
		thread->loop.ctx = thread;
		status = kp_loop_start(&thread->loop, err);
		jobs->started += status == KEEP_OK;
	}
	if (status != KEEP_OK) {
		kp_jobs_cancel(jobs);
		kp_jobs_stop(&jobs);
	}
	*out = jobs;
	return status;
}

void kp_jobs_cancel(kp_jobs *jobs)
{
	atomic_store(&jobs->is_cancelled, true);
	if (jobs->assistant)
		keep_assistant_cancel(jobs->assistant);
}

int kp_jobs_running(kp_jobs *jobs)
{
	int count = 0;

	for (size_t i = 0; i < jobs->started; i++)
		count += atomic_load(&jobs->threads[i].runs);
	return count;
}

void kp_jobs_abandon(kp_jobs *jobs)
{
	atomic_store(&jobs->is_abandoned, true);
	for (size_t i = 0; i < jobs->started; i++) {
		int group = atomic_load(&jobs->threads[i].group);

		if (group > 0)
			(void)kill(-group, SIGKILL);
	}
}

void kp_jobs_stop(kp_jobs **jobs)
{
	kp_jobs *self = *jobs;

	*jobs = NULL;
	if (!self)
		return;
	for (size_t i = 0; i < self->started; i++)
		kp_loop_stop(&self->threads[i].loop);
	keep_session_close(&self->session);
	kp_free(self);
}
