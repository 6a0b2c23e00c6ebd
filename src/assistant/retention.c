/*
 * retention.c - removes what the limits say, in batches between which writers go on.
 *
 *     limits (settings) ► for each table: look for what is over ► remove it, batch after batch
 *                                          └─ reading, holds nobody up ─┘   └ one transaction each
 *
 * Rows come in groups: tasks by conversation (those without one are a group of their own),
 * executions by job, short-term memories by conversation. What is kept of a group is its newest
 * rows by id, the order of commits, however they ended. A look steps from group to group in an
 * index and reads each as far as its limit, so that it costs what is kept, and only groups over
 * their limit are written to. It hands out the group's `last_id`: everything of the group up to
 * there is beyond the limit, and stays so, for rows come behind and never leave from the new end
 * but by a wish of their own (then it is as if retention had come before it).
 *
 * Invariants:
 *   1. A row that is pending or running when its batch runs stays, however old.
 *   2. A dry run and a run look with the same statements, so that on a store at rest one counts
 *      what the other removes. A dry run reads in one transaction and changes nothing.
 *   3. A batch removes at most `batch` rows and looks at PARTS_MAX groups, in one transaction. A
 *      run that is interrupted after any of them has removed whole batches; the next one begins
 *      again and finds the rest.
 *   4. A limit below 1 removes nothing: INVALID.
 *   5. The dead letter of a one-time task goes with it. Executions of jobs and tasks that are gone
 *      are kept by the same limit as those of others.
 *   6. A run that removed something ends with one entry in the audit log, also when it failed on
 *      the way (what was removed until then), as far as that can still be written.
 *
 * What it does not do: run by itself (the service calls it daily), seal the audit log
 * (kp_audit_seal in audit_log.c does), give pages back to the file system (optimize.c).
 *
 * Tests: tests/contract/test_assistant_retention.c, tests/crash/test_assistant_retention_crash.c.
 */
#include "assistant/assistant_private.h"

enum { BATCH_DEFAULT = 500, BATCH_MAX = 10000, SLICE = 256, PARTS_MAX = 32 };
#define DAY_MS (INT64_C(24) * 60 * 60 * 1000)
#define DAYS_MAX 36500

enum limit { TASKS, EXECUTIONS, AUDIT_DAYS, FUTURE_TASK_DAYS, MEMORIES, LIMITS };

static const struct {
	const char *setting;
	int64_t fallback;
} limit_settings[LIMITS] = {
	[TASKS] = {"retention.agent_tasks_per_conversation", 1000},
	[EXECUTIONS] = {"retention.executions_per_job", 100},
	[AUDIT_DAYS] = {"retention.audit_days", 30},
	[FUTURE_TASK_DAYS] = {"retention.future_task_days", 90},
	[MEMORIES] = {"retention.short_term_per_conversation", 20},
};

/* How the rows of a kind are found. */
enum shape {
	KEYED, /* groups by a text */
	TYPED, /* the same, of a job_type */
	LOOSE, /* one group */
	AGED   /* by time */
};

#define NO_STATEMENT ((size_t)-1)

static const struct kind {
	enum shape shape;
	enum limit limit;
	const char *type;                     /* TYPED */
	size_t groups, count, before, remove; /* statements; before: run ahead of remove */
	size_t counter;                       /* in keep_retention_report */
} kinds[] = {
	{KEYED, TASKS, NULL, KP_ASSISTANT_TASK_GROUPS, KP_ASSISTANT_COUNT_OLD_TASKS, NO_STATEMENT,
	 KP_ASSISTANT_REMOVE_OLD_TASKS, offsetof(keep_retention_report, agent_tasks)},
	{LOOSE, TASKS, NULL, KP_ASSISTANT_LAST_OLD_LOOSE_TASK, KP_ASSISTANT_COUNT_OLD_LOOSE_TASKS,
	 NO_STATEMENT, KP_ASSISTANT_REMOVE_OLD_LOOSE_TASKS,
	 offsetof(keep_retention_report, agent_tasks)},
	{TYPED, EXECUTIONS, KEEP_JOB_EXECUTION_JOB_TYPE_CRON, KP_ASSISTANT_EXECUTION_GROUPS,
	 KP_ASSISTANT_COUNT_OLD_EXECUTIONS, NO_STATEMENT, KP_ASSISTANT_REMOVE_OLD_EXECUTIONS,
	 offsetof(keep_retention_report, job_executions)},
	{TYPED, EXECUTIONS, KEEP_JOB_EXECUTION_JOB_TYPE_FUTURE_TASK, KP_ASSISTANT_EXECUTION_GROUPS,
	 KP_ASSISTANT_COUNT_OLD_EXECUTIONS, NO_STATEMENT, KP_ASSISTANT_REMOVE_OLD_EXECUTIONS,
	 offsetof(keep_retention_report, job_executions)},
	{AGED, FUTURE_TASK_DAYS, NULL, NO_STATEMENT, KP_ASSISTANT_COUNT_OLD_FUTURE_TASKS,
	 KP_ASSISTANT_REMOVE_LETTERS_OF_OLD_FUTURE_TASKS, KP_ASSISTANT_REMOVE_OLD_FUTURE_TASKS,
	 offsetof(keep_retention_report, future_tasks)},
	{KEYED, MEMORIES, NULL, KP_ASSISTANT_MEMORY_GROUPS, KP_ASSISTANT_COUNT_OLD_MEMORIES,
	 NO_STATEMENT, KP_ASSISTANT_REMOVE_OLD_MEMORIES,
	 offsetof(keep_retention_report, short_term_memories)},
};

static void add_count(keep_retention_report *report, size_t counter, int64_t count)
{
	int64_t *member = (int64_t *)(void *)((char *)report + counter);

	*member += count;
}

/* Rows of a kind to be removed: of one group, or all that are old enough. */
struct part {
	keep_bytes key;
	int64_t last_id; /* AGED: the time before which they ended */
	int64_t count;
};

struct run {
	keep_assistant *assistant;
	const keep_actor *actor;
	int64_t now_ms;
	size_t batch;
	int64_t limits[LIMITS];
	keep_retention_report report;
	/* A slice of groups, from a look. */
	const struct kind *kind;
	kp_arena arena;
	keep_buffer after, reached; /* the last group of the look before, and of this one */
	bool has_more;              /* out of a look, like the rest */
	struct part *parts;
	size_t part_count;
	/* Of a batch: where it begins, and what it did. */
	size_t part, next_part;
	int64_t removed;
};

/* ---------------------------------------------------------------- limits */

static keep_status read_limits(void *ctx, kp_lease *lease, keep_error *err)
{
	struct run *run = ctx;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < LIMITS && status == KEEP_OK; i++) {
		status = kp_setting_integer(lease, limit_settings[i].setting,
					    limit_settings[i].fallback, &run->limits[i], err);
		if (status == KEEP_OK && run->limits[i] < 1)
			status = kp_fail(err, KEEP_INVALID, "setting '%s': must be at least 1",
					 limit_settings[i].setting);
	}
	return status;
}

/* What is older was there before that many days. */
static int64_t days_ago(const struct run *run, enum limit limit)
{
	int64_t days = run->limits[limit] < DAYS_MAX ? run->limits[limit] : DAYS_MAX;
	int64_t before = run->now_ms - days * DAY_MS;

	return before > KEEP_TIME_MIN ? before : KEEP_TIME_MIN;
}

/* ---------------------------------------------------------------- looking */

/* The parameters of count, and the first ones of remove. */
static size_t bind_part(const struct kind *kind, const struct part *part, kp_value values[4])
{
	size_t count = 0;

	if (kind->shape == TYPED)
		values[count++] = kp_text_value(keep_bytes_of(kind->type));
	if (kind->shape == TYPED || kind->shape == KEYED)
		values[count++] = kp_text_value(part->key);
	values[count++] =
		kind->shape == AGED ? kp_time_value(part->last_id) : kp_int_value(part->last_id);
	return count;
}

static keep_status count_part(const struct kind *kind, kp_lease *lease, struct part *part,
			      keep_error *err)
{
	kp_value values[4];
	size_t count = bind_part(kind, part, values);

	return kp_lease_int(lease, kind->count, values, count, &part->count, NULL, err);
}

/* The row of a group: taken when it is over its limit. */
static keep_status take_group(struct run *run, kp_sql_stmt *stmt, keep_error *err)
{
	keep_bytes key = {NULL, 0};
	kp_value last_id = {.is_null = true};
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &key, err);

	if (status == KEEP_OK)
		status = keep_buffer_set(&run->reached, key, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 1, KP_INT, &last_id, err);
	if (status != KEEP_OK || last_id.is_null)
		return status;
	run->parts[run->part_count].last_id = last_id.integer;
	return kp_arena_copy(&run->arena, key, &run->parts[run->part_count++].key, err);
}

/* The next SLICE groups. */
static keep_status look_at_groups(struct run *run, kp_lease *lease, keep_error *err)
{
	kp_value values[4];
	kp_sql_stmt *stmt = NULL;
	size_t count = 0, groups = 0;
	bool has_row = true;
	keep_status status;

	if (run->kind->shape == TYPED)
		values[count++] = kp_text_value(keep_bytes_of(run->kind->type));
	values[count++] = kp_text_value(kp_buffer_bytes(&run->after));
	values[count++] = kp_int_value(run->limits[run->kind->limit]);
	values[count++] = kp_int_value(SLICE);
	status = kp_lease_bind(lease, run->kind->groups, values, count, &stmt, err);
	while (status == KEEP_OK && has_row) {
		status = kp_sql_step(stmt, &has_row, err);
		if (status == KEEP_OK && has_row && groups++ < SLICE)
			status = take_group(run, stmt, err);
	}
	kp_sql_reset(stmt);
	run->has_more = status == KEEP_OK && groups == SLICE;
	return status;
}

static keep_status look_at_loose(struct run *run, kp_lease *lease, keep_error *err)
{
	bool found = false;
	keep_status status = kp_lease_int(lease, run->kind->groups,
					  KP_VALUES(kp_int_value(run->limits[run->kind->limit])),
					  &run->parts[0].last_id, &found, err);

	run->part_count = found;
	return status;
}

/* A kp_store_query: what of the kind is over, behind run->after. It may run twice. */
static keep_status look(void *ctx, kp_lease *lease, keep_error *err)
{
	struct run *run = ctx;
	keep_status status = KEEP_OK;
	size_t kept = 0;

	kp_arena_release(&run->arena);
	run->has_more = false;
	run->part_count = 0;
	run->parts = kp_arena_alloc(&run->arena, SLICE * sizeof *run->parts);
	if (!run->parts)
		return kp_fail_memory(err, "groups");
	memset(run->parts, 0, SLICE * sizeof *run->parts);
	if (run->kind->shape == AGED)
		run->parts[run->part_count++].last_id = days_ago(run, run->kind->limit);
	else if (run->kind->shape == LOOSE)
		status = look_at_loose(run, lease, err);
	else
		status = look_at_groups(run, lease, err);
	for (size_t i = 0; i < run->part_count && status == KEEP_OK; i++) {
		status = count_part(run->kind, lease, &run->parts[i], err);
		if (status == KEEP_OK && run->parts[i].count)
			run->parts[kept++] = run->parts[i];
	}
	run->part_count = kept;
	return status;
}

static void begin_kind(struct run *run, const struct kind *kind)
{
	run->kind = kind;
	run->after.len = 0;
	run->has_more = true;
}

/* The next look begins where the last one ended. */
static void move_on(struct run *run)
{
	keep_buffer before = run->after;

	run->after = run->reached;
	run->reached = before;
}

/* ---------------------------------------------------------------- a dry run */

/* What kp_audit_seal would remove: a chain loses its beginning, up to the last old entry before the
   first young one. */
static keep_status count_audit(struct run *run, kp_lease *lease, int64_t *count, keep_error *err)
{
	const int64_t before_ms = days_ago(run, AUDIT_DAYS);
	int64_t first_young = 0, last_old = 0;
	bool found = false;
	keep_status status = kp_lease_int(
		lease, KP_ASSISTANT_FIRST_YOUNG_AUDIT_ENTRY,
		KP_VALUES(kp_time_value(before_ms), kp_time_value(kp_audit_ahead(run->now_ms))),
		&first_young, &found, err);

	if (status == KEEP_OK)
		status = kp_lease_int(lease, KP_ASSISTANT_LAST_OLD_AUDIT_ENTRY,
				      KP_VALUES(kp_int_value(found ? first_young : INT64_MAX),
						kp_time_value(before_ms)),
				      &last_old, NULL, err);
	if (status == KEEP_OK)
		status = kp_lease_int(lease, KP_ASSISTANT_COUNT_AUDIT_UP_TO,
				      KP_VALUES(kp_int_value(last_old)), count, NULL, err);
	return status;
}

/* A kp_store_query, in one transaction. */
static keep_status count_all(void *ctx, kp_lease *lease, keep_error *err)
{
	struct run *run = ctx;
	keep_status status = KEEP_OK;

	run->report = (keep_retention_report){.batches = 0};
	status = read_limits(run, lease, err);
	for (size_t i = 0; i < KP_COUNT(kinds) && status == KEEP_OK; i++) {
		begin_kind(run, &kinds[i]);
		while (run->has_more && status == KEEP_OK) {
			status = look(run, lease, err);
			for (size_t j = 0; j < run->part_count && status == KEEP_OK; j++)
				add_count(&run->report, run->kind->counter, run->parts[j].count);
			move_on(run);
		}
	}
	if (status == KEEP_OK)
		status = count_audit(run, lease, &run->report.audit_entries, err);
	return status;
}

/* ---------------------------------------------------------------- a run */

static keep_status remove_part(const struct run *run, kp_lease *lease, const struct part *part,
			       int64_t most, int64_t *removed, keep_error *err)
{
	const struct kind *kind = run->kind;
	kp_value values[4];
	size_t count = bind_part(kind, part, values);
	keep_status status = KEEP_OK;

	values[count++] = kp_int_value(most);
	if (kind->before != NO_STATEMENT)
		status = kp_lease_run(lease, kind->before, values, count, NULL, err);
	return status == KEEP_OK ? kp_lease_run(lease, kind->remove, values, count, removed, err)
				 : status;
}

/* ---------------------------------------------------------------- the end of it */

static const struct {
	const char *name;
	size_t counter;
} counters[] = {
	{"agent_tasks", offsetof(keep_retention_report, agent_tasks)},
	{"job_executions", offsetof(keep_retention_report, job_executions)},
	{"audit_entries", offsetof(keep_retention_report, audit_entries)},
	{"future_tasks", offsetof(keep_retention_report, future_tasks)},
	{"short_term_memories", offsetof(keep_retention_report, short_term_memories)},
	{"batches", offsetof(keep_retention_report, batches)},
};

/* The entry of one batch, in its transaction. */
static keep_status note_batch(const struct run *run, kp_lease *lease, keep_error *err)
{
	kp_audit_note note = {.event_type = "retention", .action = "remove", .actor = run->actor};
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	for (size_t i = 0; i < KP_COUNT(counters); i++) {
		if (counters[i].counter != run->kind->counter)
			continue;
		kp_json_name(&writer, counters[i].name);
		kp_json_put_integer(&writer, run->removed);
	}
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

/* Invariant 3. */
static keep_status apply_batch(void *ctx, kp_lease *lease, keep_error *err)
{
	struct run *run = ctx;
	int64_t left = (int64_t)run->batch, removed = 0;
	keep_status status = KEEP_OK;

	run->next_part = run->part;
	run->removed = 0;
	while (status == KEEP_OK && left > 0 && run->next_part < run->part_count &&
	       run->next_part - run->part < PARTS_MAX) {
		status = remove_part(run, lease, &run->parts[run->next_part], left, &removed, err);
		if (status != KEEP_OK)
			return status;
		if (removed < left)
			run->next_part++;
		run->removed += removed;
		left -= removed;
	}
	return status == KEEP_OK && run->removed ? note_batch(run, lease, err) : status;
}

static keep_status remove_kind(struct run *run, keep_error *err)
{
	kp_store *store = &run->assistant->store;
	keep_status status = KEEP_OK;

	while (run->has_more && status == KEEP_OK) {
		status = kp_store_read_whole(store, look, run, err);
		run->part = 0;
		while (status == KEEP_OK && run->part < run->part_count) {
			status = kp_store_change(store, apply_batch, run, KP_NEWS_NONE, err);
			if (status != KEEP_OK)
				return status;
			run->part = run->next_part;
			run->report.batches += run->removed > 0;
			add_count(&run->report, run->kind->counter, run->removed);
			kp_moment("retention.batch");
		}
		move_on(run);
	}
	return status;
}

static keep_status look_at_audit(void *ctx, kp_lease *lease, keep_error *err)
{
	struct run *run = ctx;

	return count_audit(run, lease, &run->removed, err);
}

static keep_status apply_seal(void *ctx, kp_lease *lease, keep_error *err)
{
	struct run *run = ctx;

	run->removed = 0;
	return kp_audit_seal(lease, days_ago(run, AUDIT_DAYS), run->batch, run->now_ms,
			     &run->removed, err);
}

static keep_status seal_audit(struct run *run, keep_error *err)
{
	kp_store *store = &run->assistant->store;
	keep_status status = kp_store_read_whole(store, look_at_audit, run, err);

	while (status == KEEP_OK && run->removed > 0) {
		status = kp_store_change(store, apply_seal, run, KP_NEWS_NONE, err);
		if (status != KEEP_OK || !run->removed)
			return status;
		run->report.batches++;
		run->report.audit_entries += run->removed;
		kp_moment("retention.seal");
		if (run->removed < (int64_t)run->batch)
			return status;
	}
	return status;
}

struct ending {
	const struct run *run;
	keep_bytes why; /* it failed; else absent */
};

static keep_status apply_note(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct ending *ending = ctx;
	const keep_retention_report *report = &ending->run->report;
	kp_audit_note note = {.event_type = "retention",
			      .action = "retain",
			      .actor = ending->run->actor,
			      .failed = ending->why.data != NULL,
			      .error_message = ending->why};
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	for (size_t i = 0; i < KP_COUNT(counters); i++) {
		kp_json_name(&writer, counters[i].name);
		kp_json_put_integer(&writer, *(const int64_t *)(const void *)((const char *)report +
									      counters[i].counter));
	}
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

/* Invariant 6. */
static keep_status note_run(const struct run *run, keep_status status, keep_error *err)
{
	struct ending ending = {run, {NULL, 0}};
	kp_store *store = &run->assistant->store;

	if (!run->report.batches)
		return status;
	if (status == KEEP_OK)
		return kp_store_change(store, apply_note, &ending, KP_NEWS_NONE, err);
	ending.why = keep_bytes_of(keep_status_name(status));
	if (kp_store_change(store, apply_note, &ending, KP_NEWS_NONE, NULL) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "retention: what it removed could not be audited");
	return status;
}

static keep_status remove_all(struct run *run, keep_error *err)
{
	keep_status status = kp_store_read_whole(&run->assistant->store, read_limits, run, err);

	for (size_t i = 0; i < KP_COUNT(kinds) && status == KEEP_OK; i++) {
		begin_kind(run, &kinds[i]);
		status = remove_kind(run, err);
	}
	if (status == KEEP_OK)
		status = seal_audit(run, err);
	return note_run(run, status, err);
}

static keep_status read_options(const keep_retention_options *given, struct run *run, bool *dry_run,
				keep_error *err)
{
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	int64_t batch = 0;
	keep_status status;

	if (given && given->size != sizeof options)
		return kp_fail(err, KEEP_MISUSE, "keep_assistant_retain: options.size is wrong");
	if (given)
		options = *given;
	status = kp_check_limit(options.batch, BATCH_DEFAULT, BATCH_MAX, &batch, err);
	if (status != KEEP_OK)
		return kp_prefix(err, status, "batch");
	run->batch = (size_t)batch;
	run->now_ms = kp_assistant_now(options.now_ms);
	*dry_run = options.dry_run;
	return kp_check_time("now_ms", run->now_ms, err);
}

keep_status keep_assistant_retain(keep_assistant *assistant, const keep_retention_options *options,
				  const keep_actor *actor, keep_retention_report *report,
				  keep_error *err)
{
	struct run run = {.assistant = assistant, .actor = actor};
	bool dry_run = false;
	keep_status status;

	if (!assistant || !report)
		return kp_fail(err, KEEP_MISUSE, "keep_assistant_retain: an argument is NULL");
	*report = run.report;
	status = read_options(options, &run, &dry_run, err);
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK && !dry_run && assistant->store.read_only)
		status = kp_fail(err, KEEP_DENIED, "the assistant was opened for reading only");
	if (status == KEEP_OK && dry_run)
		status = kp_store_read_whole(&assistant->store, count_all, &run, err);
	else if (status == KEEP_OK)
		status = remove_all(&run, err);
	if (status == KEEP_OK || !dry_run)
		*report = run.report;
	keep_buffer_release(&run.after);
	keep_buffer_release(&run.reached);
	kp_arena_release(&run.arena);
	return status;
}
