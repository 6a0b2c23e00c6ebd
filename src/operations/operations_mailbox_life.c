/*
 * operations_mailbox_life.c - the mailbox's operations on agents' lives and on all sessions: wake,
 * sweep, wait, trace.
 *
 * What it does not do: sweep by itself; whoever calls sweep does.
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_mailbox.h"

static const kp_input wake_inputs[] = {KP_SESSION, KP_NOW};
static const kp_input session_inputs[] = {KP_SESSION};
static const kp_input container_inputs[] = {
	KP_SESSION,
	KP_NEEDED_WORD(2, "container_status", kp_container_states, "running, idle or stopped."),
};
static const kp_input sweep_inputs[] = {KP_LIMIT("1000"), KP_NOW};
static const kp_input wait_inputs[] = {KP_WAIT_TIME};
static const kp_input trace_inputs[] = {
	KP_NEEDED_TEXT(1, "id", "The message: its id, in or out, or its dedup key."),
	KP_OTHER_AT(2, "session", "The session; every one is asked when left out."),
	KP_NOW,
};

static const kp_member sweep_members[] = {
	{"sessions", KP_KIND_ARRAY,
	 "Those to do something about: objects with session, status (OK, or what stopped it), "
	 "error, has_input (something is due for the agent), has_output (collect) and is_stale "
	 "(it has claims, and no sign of life for 10 minutes).",
	 NULL},
	{"looked_at", KP_KIND_INTEGER, "Sessions whose time had come.", NULL},
	{"expired_leases", KP_KIND_INTEGER, "Claims that ran out.", NULL},
	{"retried", KP_KIND_INTEGER, "Messages that are due again later.", NULL},
	{"failed", KP_KIND_INTEGER, "Messages that were given up.", NULL},
	{"expired_questions", KP_KIND_INTEGER, "Questions past their time.", NULL},
	{"uncertain", KP_KIND_INTEGER, "Deliveries of which nobody knows what became.", NULL},
	{"next", KP_KIND_TIME, "When to sweep again at the latest; null: when something is posted.",
	 NULL},
	{"has_more", KP_KIND_BOOLEAN, "Whether to sweep again at once.", NULL},
};
static const kp_member trace_members[] = {
	{"session", KP_KIND_TEXT, "Its session.", NULL},
	{"id", KP_KIND_TEXT, "Its id.", NULL},
	{"is_inbound", KP_KIND_BOOLEAN, "Whether it goes to the agent.", NULL},
	{"seq", KP_KIND_INTEGER, "Its number in the session.", NULL},
	{"state", KP_KIND_TEXT,
	 "Where it is, in one word: pending, processing, completed, due, sending, delivered and "
	 "so on.",
	 NULL},
	{"detail", KP_KIND_TEXT, "Why, or until when.", NULL},
	{"steps", KP_KIND_ARRAY,
	 "What happened to it, in the order of time: objects with at, what and detail.", NULL},
	{"related", KP_KIND_ARRAY,
	 "Replies to it, what it replies to, its other side in another session: their ids.", NULL},
};

static const kp_outcome session_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session."},
	{KEEP_CONFLICT, false, "The session is closed."},
};
static const kp_outcome trace_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such message."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_wake(kp_call *call, keep_error *err)
{
	int64_t incarnation = 0;
	keep_status status = keep_mailbox_wake(call->handle, kp_call_text(call, "session"),
					       kp_call_now(call), &incarnation, err);

	return kp_call_put_integer(call, status, incarnation);
}

static keep_status run_refresh(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_mailbox_refresh(call->handle, kp_call_text(call, "session"), err));
}

static keep_status run_container(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_mailbox_set_container(call->handle, kp_call_text(call, "session"),
						 kp_call_text(call, "container_status"), err));
}

static void put_swept(kp_call *call, const keep_sweep_session *item)
{
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "session", item->session);
	kp_call_put_text(call, "status", keep_bytes_of(keep_status_name(item->status)));
	kp_call_put_text(call, "error", item->error);
	kp_call_put_flag(call, "has_input", item->has_input);
	kp_call_put_flag(call, "has_output", item->has_output);
	kp_call_put_flag(call, "is_stale", item->is_stale);
	kp_json_close_object(kp_call_writer(call));
}

static keep_status run_sweep(kp_call *call, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_sweep sweep = {.count = 0};
	keep_status status =
		keep_mailbox_sweep(call->handle, (size_t)kp_call_integer(call, "limit"),
				   kp_call_now(call), call->arena, &sweep, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(writer);
	kp_json_name(writer, "sessions");
	kp_json_open_array(writer);
	for (size_t i = 0; i < sweep.count; i++)
		put_swept(call, &sweep.items[i]);
	kp_json_close_array(writer);
	kp_call_put_number(call, "looked_at", sweep.looked_at);
	kp_call_put_number(call, "expired_leases", sweep.expired_leases);
	kp_call_put_number(call, "retried", sweep.retried);
	kp_call_put_number(call, "failed", sweep.failed);
	kp_call_put_number(call, "expired_questions", sweep.expired_questions);
	kp_call_put_number(call, "uncertain", sweep.uncertain);
	status = kp_call_put_time(call, "next", sweep.next_ms != 0, sweep.next_ms, err);
	kp_call_put_flag(call, "has_more", sweep.has_more);
	kp_json_close_object(writer);
	return status;
}

static keep_status run_wait(kp_call *call, keep_error *err)
{
	keep_session_names names = {NULL, 0};
	keep_status status;

	kp_call_started(call);
	status = keep_mailbox_wait(call->handle, kp_call_integer(call, "timeout_ms"), call->arena,
				   &names, err);
	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < names.count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		kp_json_open_object(kp_call_writer(call));
		kp_call_put_text(call, "session", names.items[i]);
		kp_json_close_object(kp_call_writer(call));
		status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

static keep_status put_steps(kp_call *call, const keep_trace *trace, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_status status = KEEP_OK;

	kp_json_name(writer, "steps");
	kp_json_open_array(writer);
	for (size_t i = 0; i < trace->count && status == KEEP_OK; i++) {
		const keep_trace_step *step = &trace->steps[i];

		kp_json_open_object(writer);
		status = kp_call_put_time(call, "at", step->at != 0, step->at, err);
		kp_call_put_text(call, "what", step->what);
		kp_call_put_text(call, "detail", step->detail);
		kp_json_close_object(writer);
	}
	kp_json_close_array(writer);
	return status;
}

static keep_status run_trace(kp_call *call, keep_error *err)
{
	keep_trace trace = {.seq = 0};
	keep_status status = keep_mailbox_trace(call->handle, kp_call_text(call, "session"),
						kp_call_text(call, "id"), kp_call_now(call),
						call->arena, &trace, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "session", trace.session);
	kp_call_put_text(call, "id", trace.id);
	kp_call_put_flag(call, "is_inbound", trace.is_inbound);
	kp_call_put_number(call, "seq", trace.seq);
	kp_call_put_text(call, "state", trace.state);
	kp_call_put_text(call, "detail", trace.detail);
	status = put_steps(call, &trace, err);
	kp_mailbox_put_texts(call, "related", trace.related, trace.related_count);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_member wait_members[] = {
	{"session", KP_KIND_TEXT, "A session to collect from.", NULL},
};

static const kp_operation operations[] = {
	{.verb = "wake",
	 .sentence = "Begin a new incarnation of a session's agent, before it is started.",
	 .more = "Claims of those before are void; destinations and route are as the registry has "
		 "them.",
	 KP_INPUTS(wake_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "The incarnation's number.",
	 KP_OUTCOMES(session_outcomes),
	 .changes = true,
	 .run = run_wake},
	{.verb = "refresh",
	 .sentence = "Give a running agent its destinations and route anew.",
	 KP_INPUTS(session_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(session_outcomes),
	 .changes = true,
	 .run = run_refresh},
	{.verb = "set_container",
	 .sentence = "Write down what a session's container does now.",
	 KP_INPUTS(container_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(session_outcomes),
	 .changes = true,
	 .run = run_container},
	{.verb = "sweep",
	 .sentence = "Do what time alone changes: leases, stale agents, retries, questions.",
	 .more = "Looks only at sessions whose time has come; what is wrong with one of them is "
		 "told beside it, and the others go on.",
	 KP_INPUTS(sweep_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was done, and what is to be done.",
	 KP_MEMBERS(sweep_members),
	 .changes = true,
	 .run = run_sweep},
	{.verb = "wait",
	 .sentence = "Wait until agents did something.",
	 .more = "The first call names every session that may have something from before. The "
		 "agent's wait is `agent_wait`.",
	 KP_INPUTS(wait_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The sessions to collect from; none: the time is up.",
	 KP_MEMBERS(wait_members),
	 .waits = true,
	 .run = run_wait},
	{.verb = "trace",
	 .sentence = "Tell where a message is now, and every step it took.",
	 KP_INPUTS(trace_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "Where it is.",
	 KP_MEMBERS(trace_members),
	 KP_OUTCOMES(trace_outcomes),
	 .run = run_trace},
};

const kp_operation_group kp_mailbox_life_group = {
	.title = "Agents' lives, and all sessions",
	.operations = operations,
	.count = KP_COUNT(operations),
};
