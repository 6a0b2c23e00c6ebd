/*
 * job_history.c - what was tried, and what failed for good.
 *
 * Invariants:
 *   1. The history outlives what it is about: of a job that is gone it says everything but the
 *      name.
 *   2. A dead letter is tried again from the beginning of its attempts; their numbers go on.
 *   3. Putting dead letters away deletes no row of the history.
 *
 * What it does not do: remove executions; retention does.
 *
 * Tests: tests/contract/test_assistant_dead_letters.c, tests/contract/test_assistant_jobs.c.
 */
#include "assistant/assistant_jobs.h"

enum { HISTORY_DEFAULT = 20, LETTERS_DEFAULT = 50 };

/* ---------------------------------------------------------------- the history */

struct history {
	size_t statement;
	kp_value values[4];
	size_t value_count;
	int64_t limit;
	kp_arena *memory;
	keep_execution_list list; /* out */
};

static keep_status read_view(kp_sql_stmt *stmt, kp_arena *arena, keep_execution_view *view,
			     keep_error *err)
{
	int columns = kp_job_execution_record.field_count;
	kp_value name = {.is_null = true};
	keep_status status =
		kp_record_read(stmt, 0, &kp_job_execution_record, &view->execution, arena, err);

	view->name = (keep_bytes){NULL, 0};
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, columns, KP_TEXT, &name, err);
	if (status == KEEP_OK && !name.is_null)
		status = kp_arena_copy(arena, name.bytes, &view->name, err);
	return status;
}

static keep_status query_history(void *ctx, kp_lease *lease, keep_error *err)
{
	struct history *history = ctx;
	keep_execution_list *list = &history->list;
	size_t room = (size_t)history->limit;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status;

	list->count = 0;
	list->items = kp_arena_alloc(history->memory, room * sizeof *list->items);
	if (!list->items)
		return kp_fail_memory(err, "a history");
	status = kp_lease_bind(lease, history->statement, history->values, history->value_count,
			       &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && list->count < room) {
		status = read_view(stmt, history->memory, &list->items[list->count], err);
		list->count += status == KEEP_OK;
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status check_status(keep_bytes status, keep_error *err)
{
	static const char *const all[] = {
		KEEP_JOB_EXECUTION_STATUS_RUNNING, KEEP_JOB_EXECUTION_STATUS_SUCCESS,
		KEEP_JOB_EXECUTION_STATUS_FAILED,  KEEP_JOB_EXECUTION_STATUS_CANCELLED,
		KEEP_JOB_EXECUTION_STATUS_SKIPPED, KEEP_JOB_EXECUTION_STATUS_INTERRUPTED};

	for (size_t i = 0; i < KP_COUNT(all); i++)
		if (kp_bytes_equal(status, keep_bytes_of(all[i])))
			return KEEP_OK;
	return kp_fail(err, KEEP_INVALID,
		       "status: running, success, failed, cancelled, skipped or interrupted is "
		       "needed");
}

static void choose_statement(struct history *history, keep_bytes job_id, keep_bytes status,
			     int64_t before_id)
{
	kp_value before = kp_int_value(before_id ? before_id : INT64_MAX),
		 limit = kp_int_value(history->limit);

	if (job_id.data) {
		history->statement = KP_ASSISTANT_HISTORY_OF_JOB;
		history->values[0] = kp_text_value(job_id);
		history->values[1] = before;
		history->values[2] = kp_text_value(status);
		history->values[3] = limit;
		history->value_count = 4;
		return;
	}
	history->statement =
		status.data ? KP_ASSISTANT_HISTORY_OF_STATUS : KP_ASSISTANT_HISTORY_OF_ALL;
	history->values[0] = before;
	history->values[1] = limit;
	history->values[2] = kp_text_value(status);
	history->value_count = status.data ? 3 : 2;
}

keep_status keep_assistant_history(keep_assistant *assistant, keep_bytes job_id, keep_bytes status,
				   int64_t before_id, size_t limit, keep_memory *memory,
				   keep_execution_list *out, keep_error *err)
{
	struct history history = {.memory = memory};
	keep_status checked = job_id.data ? kp_check_key("job_id", job_id, err) : KEEP_OK;

	if (checked == KEEP_OK && status.data)
		checked = check_status(status, err);
	if (checked == KEEP_OK && before_id < 0)
		checked = kp_fail(err, KEEP_INVALID, "before_id: is below 0");
	if (checked == KEEP_OK)
		checked = kp_check_limit(limit, HISTORY_DEFAULT, KEEP_ASSISTANT_LIST_MAX,
					 &history.limit, err);
	if (checked != KEEP_OK)
		return checked;
	choose_statement(&history, job_id, status, before_id);
	checked = kp_store_read(&assistant->store, query_history, &history, err);
	if (checked == KEEP_OK)
		*out = history.list;
	return checked;
}

/* ---------------------------------------------------------------- dead letters */

keep_status keep_assistant_list_dead_letters(keep_assistant *assistant, keep_bytes job_id,
					     size_t limit, keep_memory *memory,
					     keep_job_run_list *out, keep_error *err)
{
	int64_t rows = 0;
	keep_status status = job_id.data ? kp_check_key("job_id", job_id, err) : KEEP_OK;

	if (status == KEEP_OK)
		status =
			kp_check_limit(limit, LETTERS_DEFAULT, KEEP_ASSISTANT_LIST_MAX, &rows, err);
	if (status == KEEP_OK && job_id.data)
		status = kp_store_list(&assistant->store, KP_ASSISTANT_LIST_DEAD_LETTERS_OF_JOB,
				       KP_VALUES(kp_int_value(rows), kp_text_value(job_id)),
				       &kp_job_run_record, memory, &out->items, &out->count, err);
	else if (status == KEEP_OK)
		status = kp_store_list(&assistant->store, KP_ASSISTANT_LIST_DEAD_LETTERS,
				       KP_VALUES(kp_int_value(rows)), &kp_job_run_record, memory,
				       &out->items, &out->count, err);
	return status;
}

struct letter {
	keep_bytes job_id;
	int64_t scheduled_for, now_ms;
	const keep_actor *actor;
	int64_t count; /* out */
};

static keep_status fail_no_letter(const struct letter *letter, const char *what, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "job '%" KP_PRI "': %s", KP_ARG(letter->job_id), what);
}

/* Invariant 2, of a cron job's run: it waits again, behind what is open. */
static keep_status revive_run(const struct letter *letter, kp_lease *lease,
			      const keep_job_run *dead, kp_arena *arena, keep_error *err)
{
	kp_open_run run = {.run = *dead};
	int64_t open = 0;
	keep_status status = kp_job_find(lease, dead->job_id, arena, &run.job, &run.has_job, err);

	if (status == KEEP_OK && !run.has_job)
		status = fail_no_letter(letter, "it is gone, only its dead letter is there", err);
	if (status == KEEP_OK)
		status = kp_lease_int(lease, KP_ASSISTANT_COUNT_OPEN_RUNS,
				      KP_VALUES(kp_text_value(dead->job_id)), &open, NULL, err);
	run.run.state = KEEP_BYTES(KEEP_JOB_RUN_STATE_WAITING);
	run.run.has_due_at = !open || !kp_job_is_gated(&run.job);
	run.run.due_at = letter->now_ms;
	run.run.attempts_before = dead->attempt;
	run.run.is_by_hand = true;
	run.run.has_cancel_asked_at = false;
	return status == KEEP_OK
		       ? kp_run_save(lease, &run, NULL, (keep_bytes){NULL, 0}, letter->now_ms, err)
		       : status;
}

/* The same of a one-time task: its own row waits again, and the letter goes. */
static keep_status revive_task(const struct letter *letter, kp_lease *lease,
			       const keep_job_run *dead, kp_arena *arena, keep_error *err)
{
	keep_future_task task = {.id = 0};
	kp_open_run run;
	bool found = false;
	keep_status status = kp_task_find(lease, dead->job_id, arena, &task, &found, err);

	if (status == KEEP_OK && !found)
		status = fail_no_letter(letter, "it is gone, only its dead letter is there", err);
	if (status == KEEP_OK)
		status = kp_run_load(lease, (kp_run_key){true, task.id}, arena, &run, err);
	if (status != KEEP_OK)
		return status;
	run.run.has_due_at = true;
	run.run.due_at = letter->now_ms;
	run.run.attempts_before = run.run.attempt;
	run.run.has_cancel_asked_at = false;
	run.run.last_error = (keep_bytes){NULL, 0};
	status = kp_run_save(lease, &run, KEEP_FUTURE_TASK_STATUS_PENDING, (keep_bytes){NULL, 0},
			     letter->now_ms, err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_JOB_RUN,
				      KP_VALUES(kp_int_value(dead->id)), NULL, err);
	return status;
}

static keep_status apply_retry(void *ctx, kp_lease *lease, keep_error *err)
{
	struct letter *letter = ctx;
	kp_arena arena = {.head = NULL};
	keep_job_run dead = {.id = 0};
	bool found = false;
	keep_status status = kp_lease_get(
		lease, KP_ASSISTANT_FIND_JOB_RUN,
		KP_VALUES(kp_text_value(letter->job_id), kp_time_value(letter->scheduled_for)),
		&kp_job_run_record, &arena, &dead, &found, err);

	if (status == KEEP_OK &&
	    (!found || !kp_bytes_equal(dead.state, KEEP_BYTES(KEEP_JOB_RUN_STATE_DEAD))))
		status = fail_no_letter(letter, "it has no dead letter of that time", err);
	if (status == KEEP_OK &&
	    kp_bytes_equal(dead.job_type, KEEP_BYTES(KEEP_JOB_RUN_JOB_TYPE_FUTURE_TASK)))
		status = revive_task(letter, lease, &dead, &arena, err);
	else if (status == KEEP_OK)
		status = revive_run(letter, lease, &dead, &arena, err);
	if (status == KEEP_OK)
		status = kp_job_audit(lease,
				      &(kp_job_note){.action = "retry_dead_letter",
						     .actor = letter->actor,
						     .job_id = letter->job_id,
						     .scheduled_for = letter->scheduled_for},
				      err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_retry_dead_letter(keep_assistant *assistant, keep_bytes job_id,
					     int64_t scheduled_for, int64_t now_ms,
					     const keep_actor *actor, keep_error *err)
{
	struct letter letter = {.job_id = job_id,
				.scheduled_for = scheduled_for,
				.now_ms = kp_assistant_now(now_ms),
				.actor = actor};
	keep_status status = kp_check_key("job_id", job_id, err);

	if (status == KEEP_OK)
		status = kp_check_time("scheduled_for", scheduled_for, err);
	if (status == KEEP_OK)
		status = kp_check_time("now_ms", letter.now_ms, err);
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_retry, &letter, KP_NEWS_DUE, err);
	return status;
}

static keep_status apply_clear(void *ctx, kp_lease *lease, keep_error *err)
{
	struct letter *letter = ctx;
	bool is_of_job = letter->job_id.data;
	kp_value job_id = kp_text_value(letter->job_id);
	keep_status status = kp_lease_run(lease,
					  is_of_job ? KP_ASSISTANT_CLEAR_DEAD_LETTERS_OF_JOB
						    : KP_ASSISTANT_CLEAR_DEAD_LETTERS,
					  &job_id, is_of_job, &letter->count, err);

	if (status == KEEP_OK)
		status = kp_job_audit(lease,
				      &(kp_job_note){.action = "clear_dead_letters",
						     .actor = letter->actor,
						     .job_id = letter->job_id,
						     .counted = "cleared",
						     .count = letter->count},
				      err);
	return status;
}

keep_status keep_assistant_clear_dead_letters(keep_assistant *assistant, keep_bytes job_id,
					      const keep_actor *actor, int64_t *count,
					      keep_error *err)
{
	struct letter letter = {.job_id = job_id, .actor = actor};
	keep_status status = job_id.data ? kp_check_key("job_id", job_id, err) : KEEP_OK;

	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status =
			kp_store_change(&assistant->store, apply_clear, &letter, KP_NEWS_NONE, err);
	if (status == KEEP_OK && count)
		*count = letter.count;
	return status;
}
