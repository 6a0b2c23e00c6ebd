/*
 * operations_mailbox_series.c - the mailbox's operations on tasks, by series.
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_mailbox.h"

#define SERIES KP_NEEDED_TEXT(2, "series_id", "The series.")

static const kp_input series_inputs[] = {KP_SESSION, SERIES};
static const kp_input resume_inputs[] = {KP_SESSION, SERIES, KP_NOW};
static const kp_input update_inputs[] = {
	KP_SESSION,
	SERIES,
	KP_OTHER_LONG("content", "What it says from now on: JSON; as it is when left out."),
	KP_OTHER(TEXT, "recurrence",
		 "A cron expression, or empty: none any more; as it is when left out."),
	KP_OTHER(TEXT, "time_zone", "The IANA zone of the recurrence; as it is when left out."),
	KP_OTHER(TIME, "process_after", "The next time; as the recurrence says when left out."),
	KP_NOW,
};
static const kp_input list_inputs[] = {KP_SESSION, KP_LIMIT("100")};

static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "No occurrence of it is pending or paused."},
};
static const kp_outcome step_outcomes[] = {
	{KEEP_NOT_FOUND, true, "No occurrence of it is pending or paused."},
	{KEEP_CONFLICT, false, "It is so already; nothing changed."},
};
static const kp_outcome update_outcomes[] = {
	{KEEP_NOT_FOUND, true, "No occurrence of it is pending or paused."},
	{KEEP_INVALID, false, "The content, the expression or the zone is none."},
	{KEEP_CONFLICT, false, "An agent has claimed the occurrence; nothing changed."},
};
static const kp_outcome list_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_cancel(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_mailbox_cancel(call->handle, kp_call_text(call, "session"),
						    kp_call_text(call, "series_id"), err));
}

static keep_status run_pause(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_mailbox_pause(call->handle, kp_call_text(call, "session"),
						   kp_call_text(call, "series_id"), err));
}

static keep_status run_resume(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_mailbox_resume(call->handle, kp_call_text(call, "session"),
					  kp_call_text(call, "series_id"), kp_call_now(call), err));
}

static keep_status run_update(kp_call *call, keep_error *err)
{
	const keep_series_change change = {
		.content = kp_call_text(call, "content"),
		.recurrence = kp_call_text(call, "recurrence"),
		.time_zone = kp_call_text(call, "time_zone"),
		.process_after = kp_call_time(call, "process_after", 0),
	};

	return kp_call_put_null(call,
				keep_mailbox_update(call->handle, kp_call_text(call, "session"),
						    kp_call_text(call, "series_id"), &change,
						    kp_call_now(call), err));
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_inbound_message_list list = {NULL, 0};
	keep_status status = keep_mailbox_list_series(call->handle, kp_call_text(call, "session"),
						      (size_t)kp_call_integer(call, "limit"),
						      call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_inbound_message_record, list.items, list.count,
				   err);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "cancel",
	 .sentence = "End a series: its occurrence is cancelled, and none follows.",
	 KP_INPUTS(series_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_cancel},
	{.verb = "pause",
	 .sentence = "Let a series rest.",
	 KP_INPUTS(series_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_pause},
	{.verb = "resume",
	 .sentence = "Let a paused series go on, due as its missed policy says.",
	 KP_INPUTS(resume_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_resume},
	{.verb = "update",
	 .sentence = "Change what a series says, or when it comes.",
	 .more = "A new expression or zone makes the next time anew.",
	 KP_INPUTS(update_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(update_outcomes),
	 .changes = true,
	 .run = run_update},
	{.verb = "list_series",
	 .sentence = "Give the live occurrence of each of a session's series, by next time.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The occurrences.",
	 .record = &kp_inbound_message_record,
	 KP_OUTCOMES(list_outcomes),
	 .shown = "series_id status process_after recurrence content",
	 .run = run_list},
};

const kp_operation_group kp_mailbox_series_group = {
	.title = "Tasks by series",
	.operations = operations,
	.count = KP_COUNT(operations),
};
