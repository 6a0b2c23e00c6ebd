/*
 * sweep.c - looking after all sessions: what time alone changes.
 *
 * The registry's due_at says which sessions need a look, and an index finds them: a thousand
 * sleeping sessions cost nothing, and neither does what they have behind them. What is done to one
 * is sweep_session.c's.
 *
 * Invariants:
 *   1. A session whose look fails is answered with the reason, and put off; the others go on.
 *   2. Several hosts may sweep at once: what each of them does is a compare-and-set or counted
 * once.
 *
 * What it does not do: start agents, collect.
 *
 * Tests: tests/contract/test_mailbox_sweep.c, tests/contract/test_mailbox_many.c.
 */
#include "mailbox/mailbox_private.h"

enum {
	LIMIT = 1000,
	UNROUTED_BATCH = 1000,
	PUT_OFF = 60000,        /* ms, after what may go by itself */
	PUT_OFF_LONGER = 600000 /* after what does not */
};
#define UNROUTED_MS (INT64_C(30) * 86400000) /* so long a message to nobody is remembered */

struct sweeping {
	keep_mailbox *mailbox;
	int64_t now_ms;
	int64_t limit;
	kp_arena *memory; /* the caller's */
	keep_sweep *out;
};

/* ---------------------------------------------------------------- the registry */

struct time_question {
	size_t statement;
	kp_value value;
	size_t value_count;
	int64_t answer; /* 0: none */
};

static keep_status query_time(void *ctx, kp_lease *lease, keep_error *err)
{
	struct time_question *question = ctx;
	kp_sql_stmt *stmt = NULL;
	kp_value value = {.is_null = true};
	bool found = false;
	keep_status status = kp_lease_bind(lease, question->statement, &question->value,
					   question->value_count, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	if (status == KEEP_OK && found)
		status = kp_sql_column(stmt, 0, KP_TIME, &value, err);
	question->answer = status == KEEP_OK && found && !value.is_null ? value.integer : 0;
	kp_sql_reset(stmt);
	return status;
}

static keep_status apply_forget(void *ctx, kp_lease *lease, keep_error *err)
{
	return kp_lease_run(lease, KP_MAILBOX_FORGET_OLD_UNROUTED,
			    KP_VALUES(*(const kp_value *)ctx, kp_int_value(UNROUTED_BATCH)), NULL,
			    err);
}

static keep_status forget_unrouted(const struct sweeping *sweeping, keep_error *err)
{
	struct time_question old = {.statement = KP_MAILBOX_HAS_OLD_UNROUTED,
				    .value = kp_time_value(sweeping->now_ms - UNROUTED_MS),
				    .value_count = 1};
	keep_status status = kp_registry_read(sweeping->mailbox, query_time, &old, err);

	if (status == KEEP_OK && old.answer)
		status = kp_registry_change(sweeping->mailbox, apply_forget, &old.value, err);
	return status;
}

static void sweep_again_at(keep_sweep *out, int64_t then_ms)
{
	if (then_ms && (!out->next_ms || then_ms < out->next_ms))
		out->next_ms = then_ms;
}

static keep_status look_ahead(const struct sweeping *sweeping, keep_error *err)
{
	struct time_question session = {.statement = KP_MAILBOX_NEXT_SESSION_DUE,
					.value = kp_time_value(sweeping->now_ms),
					.value_count = 1};
	struct time_question question = {.statement = KP_MAILBOX_NEXT_QUESTION_DUE};
	keep_status status = kp_registry_read(sweeping->mailbox, query_time, &session, err);

	if (status == KEEP_OK)
		status = kp_registry_read(sweeping->mailbox, query_time, &question, err);
	if (status == KEEP_OK) {
		sweep_again_at(sweeping->out, session.answer);
		sweep_again_at(sweeping->out, question.answer);
	}
	return status;
}

/* ---------------------------------------------------------------- one session */

struct putting_off {
	const keep_session *row;
	int64_t then_ms;
};

static keep_status apply_put_off(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct putting_off *off = ctx;

	return kp_lease_run(lease, KP_MAILBOX_PUT_OFF_SESSION,
			    KP_VALUES(kp_text_value(off->row->id), kp_time_value(off->then_ms),
				      kp_time_value(off->row->due_at)),
			    NULL, err);
}

/* Invariant 1. */
static keep_status put_off(const struct sweeping *sweeping, const keep_session *row,
			   keep_status why, keep_error *err)
{
	struct putting_off off = {
		row, sweeping->now_ms + (keep_status_can_retry(why) ? PUT_OFF : PUT_OFF_LONGER)};

	return kp_registry_change(sweeping->mailbox, apply_put_off, &off, err);
}

static keep_status answer_session(const struct sweeping *sweeping, const keep_session *row,
				  const kp_swept *swept, keep_status found, const keep_error *why,
				  keep_error *err)
{
	keep_sweep *out = sweeping->out;
	keep_sweep_session *item = &out->items[out->count];
	keep_status status = kp_arena_copy(sweeping->memory, row->id, &item->session, err);

	item->status = found;
	item->error = (keep_bytes){.data = NULL};
	if (status == KEEP_OK && found != KEEP_OK)
		status = kp_arena_copy(sweeping->memory, keep_bytes_of(why->message), &item->error,
				       err);
	item->has_input = swept->has_input;
	item->has_output = swept->has_output;
	item->is_stale = swept->is_stale;
	if (found != KEEP_OK || swept->has_input || swept->has_output || swept->is_stale)
		out->count++;
	return status;
}

static keep_status sweep_one(const struct sweeping *sweeping, const keep_session *row,
			     keep_error *err)
{
	keep_sweep *out = sweeping->out;
	keep_error why = KEEP_ERROR_INIT;
	kp_swept swept = {.has_input = false};
	keep_status found =
		kp_session_sweep(sweeping->mailbox, row, sweeping->now_ms, &swept, &why);
	keep_status status = KEEP_OK;

	if (found != KEEP_OK) {
		kp_log(KEEP_LOG_WARNING, "session %" KP_PRI ": %s", KP_ARG(row->id), why.message);
		swept = (kp_swept){.has_input = false};
		status = put_off(sweeping, row, found, err);
	}
	out->looked_at++;
	out->expired_leases += swept.expired_leases;
	out->retried += swept.retried;
	out->failed += swept.failed;
	out->uncertain += swept.uncertain;
	return status == KEEP_OK ? answer_session(sweeping, row, &swept, found, &why, err) : status;
}

/* ---------------------------------------------------------------- all of them */

static keep_status sweep_due(const struct sweeping *sweeping, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_sweep *out = sweeping->out;
	keep_session *rows = NULL;
	size_t count = 0;
	keep_status status = kp_registry_list(
		sweeping->mailbox, KP_MAILBOX_SESSIONS_DUE,
		KP_VALUES(kp_time_value(sweeping->now_ms), kp_int_value(sweeping->limit + 1)),
		&kp_session_record, &arena, &rows, &count, err);

	if (status == KEEP_OK) {
		out->has_more = count > (size_t)sweeping->limit;
		count -= out->has_more;
		out->items = kp_arena_alloc(sweeping->memory, (count + 1) * sizeof *out->items);
		if (!out->items)
			status = kp_fail_memory(err, "sessions");
	}
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = sweep_one(sweeping, &rows[i], err);
	if (out->has_more)
		out->next_ms = sweeping->now_ms;
	kp_arena_release(&arena);
	return status;
}

/* Questions and what nobody was wired to: what goes wrong there keeps no session from its look. */
static keep_status sweep_registry(const struct sweeping *sweeping, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status =
		kp_questions_expire(sweeping->mailbox, sweeping->now_ms, (size_t)sweeping->limit,
				    &sweeping->out->expired_questions, &why);

	if (status == KEEP_OK)
		status = forget_unrouted(sweeping, &why);
	if (status == KEEP_OK)
		return KEEP_OK;
	if (status == KEEP_NO_MEMORY)
		return kp_fail(err, status, "%s", why.message);
	kp_log(KEEP_LOG_WARNING, "sweep: %s", why.message);
	sweep_again_at(sweeping->out, sweeping->now_ms + PUT_OFF);
	return KEEP_OK;
}

keep_status keep_mailbox_sweep(keep_mailbox *mailbox, size_t limit, int64_t now_ms,
			       keep_memory *memory, keep_sweep *out, keep_error *err)
{
	struct sweeping sweeping = {
		.mailbox = mailbox, .now_ms = kp_now(now_ms), .memory = memory, .out = out};
	keep_status status;

	*out = (keep_sweep){.items = NULL};
	if (mailbox->read_only)
		return kp_fail(err, KEEP_DENIED, "the mailbox was opened for reading only");
	status = kp_check_limit(limit, LIMIT, KEEP_MAILBOX_LIST_MAX, &sweeping.limit, err);
	if (status == KEEP_OK)
		status = kp_check_time("now_ms", sweeping.now_ms, err);
	if (status == KEEP_OK)
		status = sweep_registry(&sweeping, err);
	if (status == KEEP_OK)
		status = sweep_due(&sweeping, err);
	if (status == KEEP_OK)
		status = look_ahead(&sweeping, err);
	if (status != KEEP_OK)
		*out = (keep_sweep){.items = NULL};
	return status;
}
