/*
 * jobs.c - cron jobs: what they are, when they are next due, whether they are enabled.
 *
 * Invariants:
 *   1. An enabled job's next_run_at is a time of its expression; a job that is not enabled has
 *      none. It is made anew, from now on, when the expression, its zone or its dialect changes and
 *      when the job is enabled; nothing else but a tick moves it.
 *   2. A job whose expression cannot be read, or never fires, is never stored.
 *   3. A job that is disabled starts nothing any more: what waits (also for another try) is
 *      cancelled, with a verdict in the history; what runs, runs on, and is not tried again. Runs
 *      by hand, and dead letters that are retried, are not the expression's, and go on.
 *   4. A job that is removed takes with it what waits and its dead letters. What runs keeps its row
 *      of job_runs until its attempt ends, so that an end that never comes is noticed.
 *   5. The same definition again changes nothing, and is not audited.
 *
 * What it does not do: make runs (job_tick.c).
 *
 * Tests: tests/contract/test_assistant_jobs.c.
 */
#include "assistant/assistant_jobs.h"

/* ---------------------------------------------------------------- parts */

keep_status kp_check_work(keep_bytes job_type, keep_bytes tool_name, keep_bytes tool_parameters,
			  keep_bytes prompt, keep_error *err)
{
	bool is_tool = kp_bytes_equal(job_type, KEEP_BYTES(KEEP_CRON_JOB_JOB_TYPE_TOOL));
	keep_status status = KEEP_OK;

	if (!is_tool && !kp_bytes_equal(job_type, KEEP_BYTES(KEEP_CRON_JOB_JOB_TYPE_PROMPT)))
		return kp_fail(err, KEEP_INVALID, "job_type: tool or prompt is needed");
	if (is_tool && !tool_name.len)
		return kp_fail(err, KEEP_INVALID, "tool_name: a tool job needs one");
	if (!is_tool && !prompt.len)
		return kp_fail(err, KEEP_INVALID, "prompt: a prompt job needs one");
	if (tool_name.data)
		status = kp_check_key("tool_name", tool_name, err);
	if (status == KEEP_OK && tool_parameters.data)
		status = kp_check_json("tool_parameters", tool_parameters, KP_JSON_OBJECT, err);
	if (status == KEEP_OK && prompt.data)
		status = kp_check_content("prompt", prompt, err);
	return status;
}

keep_status kp_check_count(const char *what, int64_t *given, int64_t fallback, int64_t max,
			   keep_error *err)
{
	if (*given == 0)
		*given = fallback;
	if (*given < 1 || *given > max)
		return kp_fail(err, KEEP_INVALID, "%s: 1 to %lld are possible", what,
			       (long long)max);
	return KEEP_OK;
}

keep_status kp_job_schedule(const keep_cron_job *job, keep_schedule **out, keep_error *err)
{
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	char zone[KEEP_ZONE_NAME_BYTES_MAX + 1];
	keep_status status;

	*out = NULL;
	if (!keep_dialect_parse(job->dialect, &options.dialect))
		return kp_fail(err, KEEP_INVALID,
			       "dialect: debian, robfig, cron-parser or apscheduler is needed");
	if (!job->timezone.len || job->timezone.len >= sizeof zone ||
	    memchr(job->timezone.data, '\0', job->timezone.len))
		return kp_fail(err, KEEP_INVALID, "timezone: a name of 1 to %d bytes is needed",
			       KEEP_ZONE_NAME_BYTES_MAX);
	memcpy(zone, job->timezone.data, job->timezone.len);
	zone[job->timezone.len] = '\0';
	options.zone = zone;
	status = keep_schedule_parse(job->cron_expression, &options, out, err);
	return status == KEEP_OK ? status : kp_prefix(err, status, "cron_expression");
}

keep_status kp_job_find(kp_lease *lease, keep_bytes job_id, kp_arena *arena, keep_cron_job *out,
			bool *found, keep_error *err)
{
	return kp_lease_get(lease, KP_ASSISTANT_GET_CRON_JOB, KP_VALUES(kp_text_value(job_id)),
			    &kp_cron_job_record, arena, out, found, err);
}

static keep_status fail_missing(keep_bytes job_id, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "cron job '%" KP_PRI "': there is none",
		       KP_ARG(job_id));
}

static void write_note(kp_json_writer *writer, const kp_job_note *note, const char *scheduled)
{
	kp_json_open_object(writer);
	if (note->job_id.data) {
		kp_json_name(writer, "job_id");
		kp_json_put_text(writer, note->job_id);
	}
	if (note->name.data) {
		kp_json_name(writer, "name");
		kp_json_put_text(writer, note->name);
	}
	if (scheduled[0]) {
		kp_json_name(writer, "scheduled_for");
		kp_json_put_text(writer, keep_bytes_of(scheduled));
	}
	if (note->counted) {
		kp_json_name(writer, note->counted);
		kp_json_put_integer(writer, note->count);
	}
	kp_json_close_object(writer);
}

keep_status kp_job_audit(kp_lease *lease, const kp_job_note *note, keep_error *err)
{
	kp_audit_note entry = {
		.event_type = "job_change", .action = note->action, .actor = note->actor};
	char scheduled[KEEP_TIME_TEXT_SIZE] = "";
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status = KEEP_OK;

	if (note->scheduled_for)
		status = keep_time_format(note->scheduled_for, scheduled, err);
	if (status != KEEP_OK)
		return status;
	kp_json_begin(&writer, &details);
	write_note(&writer, note, scheduled);
	status = kp_json_finish(&writer, err);
	entry.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &entry, err);
	keep_buffer_release(&details);
	return status;
}

/* When a job is due next, from now on. */
static keep_status find_next(const keep_cron_job *job, int64_t now_ms, int64_t *next_ms,
			     keep_error *err)
{
	keep_schedule *schedule = NULL;
	keep_status status = kp_job_schedule(job, &schedule, err);

	if (status == KEEP_OK)
		status = keep_schedule_next(schedule, now_ms, next_ms, err);
	if (status == KEEP_NOT_FOUND)
		status = kp_fail(err, KEEP_INVALID, "cron_expression: it has no time after now");
	keep_schedule_close(&schedule);
	return status;
}

/* Invariant 3: what waits, but for runs by hand. */
static keep_status stop_waiting(kp_lease *lease, keep_bytes job_id, bool also_by_hand,
				const char *why, int64_t now_ms, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_job_run *runs = NULL;
	size_t count = 0;
	keep_status status = kp_runs_of_job(lease, job_id, &arena, &runs, &count, err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		if (kp_bytes_equal(runs[i].state, KEEP_BYTES(KEEP_JOB_RUN_STATE_WAITING)) &&
		    (also_by_hand || !runs[i].is_by_hand))
			status = kp_run_drop(lease, &runs[i], why, now_ms, err);
	if (status == KEEP_OK)
		status = kp_gate_open(lease, job_id, now_ms, err);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- a definition */

struct putting {
	keep_cron_job job; /* checked; next_run_at is made */
	int64_t now_ms, next_ms;
	const keep_actor *actor;
};

static keep_status check_policies(keep_cron_job *job, keep_error *err)
{
	kp_missed missed;
	kp_overlap overlap;
	keep_status status;

	job->missed_policy = kp_text_or(job->missed_policy, KEEP_CRON_JOB_MISSED_POLICY_RUN_ONCE);
	job->overlap_policy = kp_text_or(job->overlap_policy, KEEP_CRON_JOB_OVERLAP_POLICY_SKIP);
	if (!kp_missed_parse(job->missed_policy, &missed))
		return kp_fail(err, KEEP_INVALID,
			       "missed_policy: run_once, skip or run_all is needed");
	if (!kp_overlap_parse(job->overlap_policy, &overlap))
		return kp_fail(err, KEEP_INVALID, "overlap_policy: skip, queue or allow is needed");
	if (job->grace_ms < 0 || job->grace_ms > KEEP_TIME_MAX)
		return kp_fail(err, KEEP_INVALID, "grace_ms: is below 0, or too long");
	status = kp_check_count("run_all_max", &job->run_all_max, KP_RUN_ALL_DEFAULT,
				KP_DUE_RUNS_MAX, err);
	if (status == KEEP_OK)
		status = kp_check_count("timeout_ms", &job->timeout_ms, KP_CRON_TIMEOUT_MS,
					KP_JOB_TIMEOUT_MAX_MS, err);
	if (status == KEEP_OK)
		status = kp_check_count("max_attempts", &job->max_attempts, KP_JOB_ATTEMPTS_DEFAULT,
					KP_JOB_ATTEMPTS_MAX, err);
	return status;
}

static keep_status check_job(keep_cron_job *job, keep_error *err)
{
	keep_status status = kp_check_key("job_id", job->job_id, err);

	if (status == KEEP_OK)
		status = kp_check_text("name", job->name, KP_KEY_MAX, KP_NOT_EMPTY, err);
	if (status == KEEP_OK)
		status = kp_check_text("description", job->description, KP_KEY_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_text("cron_expression", job->cron_expression,
				       KEEP_SCHEDULE_BYTES_MAX, KP_NOT_EMPTY, err);
	if (status == KEEP_OK)
		status = kp_check_work(job->job_type, job->tool_name, job->tool_parameters,
				       job->prompt, err);
	job->timezone = kp_text_or(job->timezone, "UTC");
	job->dialect = kp_text_or(job->dialect, KEEP_CRON_JOB_DIALECT_DEBIAN);
	return status == KEEP_OK ? check_policies(job, err) : status;
}

static bool has_same_times(const keep_cron_job *a, const keep_cron_job *b)
{
	return kp_bytes_equal(a->cron_expression, b->cron_expression) &&
	       kp_bytes_equal(a->timezone, b->timezone) && kp_bytes_equal(a->dialect, b->dialect);
}

static bool is_same_job(const keep_cron_job *a, const keep_cron_job *b)
{
	return has_same_times(a, b) && kp_bytes_equal(a->name, b->name) &&
	       kp_bytes_equal(a->description, b->description) &&
	       kp_bytes_equal(a->job_type, b->job_type) &&
	       kp_bytes_equal(a->tool_name, b->tool_name) &&
	       kp_bytes_equal(a->tool_parameters, b->tool_parameters) &&
	       kp_bytes_equal(a->prompt, b->prompt) && a->enabled == b->enabled &&
	       kp_bytes_equal(a->missed_policy, b->missed_policy) &&
	       kp_bytes_equal(a->overlap_policy, b->overlap_policy) &&
	       a->timeout_ms == b->timeout_ms && a->max_attempts == b->max_attempts &&
	       a->grace_ms == b->grace_ms && a->run_all_max == b->run_all_max;
}

static keep_status write_job(kp_lease *lease, size_t statement, const keep_cron_job *job,
			     int64_t now_ms, keep_error *err)
{
	return kp_lease_run(
		lease, statement,
		KP_VALUES(kp_text_value(job->job_id), kp_text_value(job->name),
			  kp_text_value(job->description), kp_text_value(job->cron_expression),
			  kp_text_value(job->job_type), kp_text_value(job->tool_name),
			  kp_json_value(job->tool_parameters), kp_text_value(job->prompt),
			  kp_bool_value(job->enabled),
			  kp_time_or_null(job->has_next_run_at, job->next_run_at),
			  kp_text_value(job->timezone), kp_text_value(job->missed_policy),
			  kp_text_value(job->overlap_policy), kp_int_value(job->timeout_ms),
			  kp_int_value(job->max_attempts), kp_text_value(job->dialect),
			  kp_int_value(job->grace_ms), kp_int_value(job->run_all_max),
			  kp_time_or_null(job->has_broken_since, job->broken_since),
			  kp_time_value(now_ms)),
		NULL, err);
}

/* What a changed definition means for runs that are there. */
static keep_status settle_runs(kp_lease *lease, const keep_cron_job *old, const keep_cron_job *job,
			       int64_t now_ms, keep_error *err)
{
	kp_value id = kp_text_value(job->job_id);
	keep_status status = KEEP_OK;

	if (kp_job_is_gated(old) && !kp_job_is_gated(job))
		status = kp_lease_run(lease, KP_ASSISTANT_OPEN_GATES,
				      KP_VALUES(id, kp_time_value(now_ms)), NULL, err);
	if (!kp_job_is_gated(old) && kp_job_is_gated(job)) {
		status = kp_lease_run(lease, KP_ASSISTANT_CLOSE_GATE, KP_VALUES(id), NULL, err);
		if (status == KEEP_OK)
			status = kp_gate_open(lease, job->job_id, now_ms, err);
	}
	if (status == KEEP_OK && old->enabled && !job->enabled)
		status = stop_waiting(lease, job->job_id, false, "the job was disabled", now_ms,
				      err);
	return status;
}

static keep_status replace_job(const struct putting *putting, kp_lease *lease,
			       const keep_cron_job *old, keep_cron_job *job, keep_error *err)
{
	keep_status status;

	if (is_same_job(old, job))
		return KEEP_OK;
	/* Invariant 1. */
	if (job->enabled && old->enabled && old->has_next_run_at && has_same_times(old, job)) {
		job->next_run_at = old->next_run_at;
		job->has_broken_since = old->has_broken_since;
		job->broken_since = old->broken_since;
	}
	status = write_job(lease, KP_ASSISTANT_SET_CRON_JOB, job, putting->now_ms, err);
	return status == KEEP_OK ? settle_runs(lease, old, job, putting->now_ms, err) : status;
}

static keep_status add_job(const struct putting *putting, kp_lease *lease, const keep_cron_job *job,
			   kp_arena *arena, keep_error *err)
{
	keep_future_task task;
	bool is_task = false;
	keep_status status = kp_task_find(lease, job->job_id, arena, &task, &is_task, err);

	if (status == KEEP_OK && is_task)
		status = kp_fail(err, KEEP_CONFLICT, "job_id '%" KP_PRI "': a one-time task has it",
				 KP_ARG(job->job_id));
	if (status == KEEP_OK)
		status = write_job(lease, KP_ASSISTANT_ADD_CRON_JOB, job, putting->now_ms, err);
	return status;
}

static keep_status apply_put(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct putting *putting = ctx;
	kp_arena arena = {.head = NULL};
	keep_cron_job old = {.id = 0}, job = putting->job;
	bool found = false, is_same;
	keep_status status = kp_job_find(lease, job.job_id, &arena, &old, &found, err);

	is_same = status == KEEP_OK && found && is_same_job(&old, &job);
	job.has_next_run_at = job.enabled;
	job.next_run_at = putting->next_ms;
	if (status == KEEP_OK && found)
		status = replace_job(putting, lease, &old, &job, err);
	else if (status == KEEP_OK)
		status = add_job(putting, lease, &job, &arena, err);
	if (status == KEEP_OK && !is_same)
		status = kp_job_audit(lease,
				      &(kp_job_note){.action = "put",
						     .actor = putting->actor,
						     .job_id = job.job_id,
						     .name = job.name},
				      err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_put_cron_job(keep_assistant *assistant, const keep_cron_job *job,
					int64_t now_ms, const keep_actor *actor, char id_out[37],
					keep_error *err)
{
	struct putting putting = {.job = *job, .now_ms = kp_assistant_now(now_ms), .actor = actor};
	char uuid[KP_UUID_TEXT_SIZE] = "";
	keep_status status = KEEP_OK;

	putting.job.has_broken_since = false;
	if (!job->job_id.data) {
		status = kp_uuid_make(uuid, err);
		putting.job.job_id = keep_bytes_of(uuid);
	}
	if (status == KEEP_OK)
		status = check_job(&putting.job, err);
	if (status == KEEP_OK)
		status = kp_check_time("now_ms", putting.now_ms, err);
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	/* Invariant 2. */
	if (status == KEEP_OK)
		status = find_next(&putting.job, putting.now_ms, &putting.next_ms, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_put, &putting, KP_NEWS_DUE, err);
	if (status == KEEP_OK && id_out)
		memcpy(id_out, uuid, sizeof uuid);
	return status;
}

/* ---------------------------------------------------------------- reading */

keep_status keep_assistant_get_cron_job(keep_assistant *assistant, keep_bytes job_id,
					keep_memory *memory, keep_cron_job *out, keep_error *err)
{
	keep_cron_job job = {.id = 0};
	bool found = false;
	keep_status status = kp_check_key("job_id", job_id, err);

	if (status == KEEP_OK)
		status = kp_store_get(&assistant->store, KP_ASSISTANT_GET_CRON_JOB,
				      KP_VALUES(kp_text_value(job_id)), &kp_cron_job_record, memory,
				      &job, &found, err);
	if (status == KEEP_OK && !found)
		status = fail_missing(job_id, err);
	if (status == KEEP_OK)
		*out = job;
	return status;
}

keep_status keep_assistant_list_cron_jobs(keep_assistant *assistant, bool only_enabled,
					  keep_memory *memory, keep_cron_job_list *out,
					  keep_error *err)
{
	return kp_store_list(&assistant->store,
			     only_enabled ? KP_ASSISTANT_LIST_ENABLED_CRON_JOBS
					  : KP_ASSISTANT_LIST_CRON_JOBS,
			     NULL, 0, &kp_cron_job_record, memory, &out->items, &out->count, err);
}

/* ---------------------------------------------------------------- enabling and removing */

struct switching {
	keep_bytes job_id;
	bool enabled;
	int64_t now_ms;
	const keep_actor *actor;
};

static keep_status apply_enable(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct switching *switching = ctx;
	kp_arena arena = {.head = NULL};
	keep_cron_job old = {.id = 0}, job;
	bool found = false;
	keep_status status = kp_job_find(lease, switching->job_id, &arena, &old, &found, err);

	if (status == KEEP_OK && !found)
		status = fail_missing(switching->job_id, err);
	if (status != KEEP_OK || old.enabled == switching->enabled)
		goto out;
	job = old;
	job.enabled = job.has_next_run_at = switching->enabled;
	job.has_broken_since = false;
	if (switching->enabled)
		status = find_next(&job, switching->now_ms, &job.next_run_at, err);
	if (status == KEEP_OK)
		status = write_job(lease, KP_ASSISTANT_SET_CRON_JOB, &job, switching->now_ms, err);
	if (status == KEEP_OK)
		status = settle_runs(lease, &old, &job, switching->now_ms, err);
	if (status == KEEP_OK)
		status = kp_job_audit(
			lease,
			&(kp_job_note){.action = switching->enabled ? "enable" : "disable",
				       .actor = switching->actor,
				       .job_id = job.job_id,
				       .name = job.name},
			err);
out:
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_enable_cron_job(keep_assistant *assistant, keep_bytes job_id,
					   bool enabled, int64_t now_ms, const keep_actor *actor,
					   keep_error *err)
{
	struct switching switching = {.job_id = job_id,
				      .enabled = enabled,
				      .now_ms = kp_assistant_now(now_ms),
				      .actor = actor};
	keep_status status = kp_check_key("job_id", job_id, err);

	if (status == KEEP_OK)
		status = kp_check_time("now_ms", switching.now_ms, err);
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_enable, &switching, KP_NEWS_DUE,
					 err);
	return status;
}

/* Invariant 4. */
static keep_status apply_remove(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct switching *switching = ctx;
	kp_arena arena = {.head = NULL};
	keep_cron_job job = {.id = 0};
	int64_t letters = 0;
	bool found = false;
	keep_status status = kp_job_find(lease, switching->job_id, &arena, &job, &found, err);

	if (status == KEEP_OK && !found)
		status = fail_missing(switching->job_id, err);
	if (status == KEEP_OK)
		status = stop_waiting(lease, job.job_id, true, "the job was removed",
				      switching->now_ms, err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_RUNS_OF_JOB,
				      KP_VALUES(kp_text_value(job.job_id)), &letters, err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_CRON_JOB,
				      KP_VALUES(kp_text_value(job.job_id)), NULL, err);
	if (status == KEEP_OK)
		status = kp_job_audit(lease,
				      &(kp_job_note){.action = "remove",
						     .actor = switching->actor,
						     .job_id = job.job_id,
						     .name = job.name,
						     .counted = "dead_letters",
						     .count = letters},
				      err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_remove_cron_job(keep_assistant *assistant, keep_bytes job_id,
					   const keep_actor *actor, keep_error *err)
{
	struct switching switching = {.job_id = job_id, .now_ms = kp_clock_ms(), .actor = actor};
	keep_status status = kp_check_key("job_id", job_id, err);

	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_remove, &switching, KP_NEWS_DUE,
					 err);
	return status;
}
