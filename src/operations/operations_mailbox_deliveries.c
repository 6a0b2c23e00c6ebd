/*
 * operations_mailbox_deliveries.c - the mailbox's operations on deliveries.
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_mailbox.h"

static const char *const outcome_words[] = {"delivered", "failed", "permanent", NULL};
static const char *const statuses[] = {"sending", "delivered", "failed",
				       "refused", "uncertain", NULL};

#define DELIVERY_KEY KP_NEEDED_TEXT(2, "key", "The delivery's key, as collect told it.")

static const kp_input begin_inputs[] = {
	KP_SESSION,
	DELIVERY_KEY,
	KP_LEASE("How long the delivery may take, in milliseconds."),
	KP_NOW,
};
static const kp_input complete_inputs[] = {
	KP_SESSION,
	DELIVERY_KEY,
	KP_NEEDED_NUMBER(3, "attempt",
			 "The attempt that begin_delivery told; 0: what became of an uncertain "
			 "one is known."),
	KP_NEEDED_WORD(4, "outcome", outcome_words,
		       "delivered; failed: tried again after 5 s, 15 s, 45 s, 2 min, 5 min; "
		       "permanent: not tried again."),
	KP_OTHER(TEXT, "platform_message_id", "delivered: the platform's id of it."),
	KP_OTHER_LONG("error", "The others: why."),
	KP_NOW,
};
static const kp_input refuse_inputs[] = {
	KP_SESSION,
	DELIVERY_KEY,
	KP_NEEDED_LONG(3, "reason", "Why it may not go there."),
	KP_NOW,
};
static const kp_input retry_inputs[] = {KP_SESSION, DELIVERY_KEY, KP_NOW};
static const kp_input list_inputs[] = {
	KP_SESSION,
	KP_OTHER_WORD("status", statuses, "Those of a status; any when left out."),
	KP_OTHER_NUMBER("after_seq", "0", "Only those of messages with a greater number."),
	KP_LIMIT("50"),
};

static const kp_outcome begin_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session or delivery."},
	{KEEP_CONFLICT, false, "It is not due, or another has begun it."},
};
static const kp_outcome report_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session or delivery."},
	{KEEP_CONFLICT, false, "The attempt is over; nothing changed."},
};
static const kp_outcome step_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session or delivery."},
	{KEEP_CONFLICT, false, "Its state does not allow it; nothing changed."},
};
static const kp_outcome list_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_begin(kp_call *call, keep_error *err)
{
	int64_t attempt = 0;
	keep_status status = keep_mailbox_begin_delivery(
		call->handle, kp_call_text(call, "session"), kp_call_text(call, "key"),
		kp_call_integer(call, "lease_ms"), kp_call_now(call), &attempt, err);

	return kp_call_put_integer(call, status, attempt);
}

static keep_status run_complete(kp_call *call, keep_error *err)
{
	keep_outcome_report report = {
		.session = kp_call_text(call, "session"),
		.key = kp_call_text(call, "key"),
		.attempt = kp_call_integer(call, "attempt"),
		.platform_message_id = kp_call_text(call, "platform_message_id"),
		.error = kp_call_text(call, "error"),
	};

	if (!keep_outcome_parse(kp_call_text(call, "outcome"), &report.outcome))
		return kp_fail(err, KEEP_INVALID, "outcome: not one of its words");
	return kp_call_put_null(call, keep_mailbox_complete_delivery(call->handle, &report,
								     kp_call_now(call), err));
}

static keep_status run_refuse(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_mailbox_refuse_delivery(call->handle,
								   kp_call_text(call, "session"),
								   kp_call_text(call, "key"),
								   kp_call_text(call, "reason"),
								   kp_call_now(call), err));
}

static keep_status run_retry(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_mailbox_retry_delivery(
					      call->handle, kp_call_text(call, "session"),
					      kp_call_text(call, "key"), kp_call_now(call), err));
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_delivered_message_list list = {NULL, 0};
	keep_status status = keep_mailbox_deliveries(
		call->handle, kp_call_text(call, "session"), kp_call_text(call, "status"),
		kp_call_integer(call, "after_seq"), (size_t)kp_call_integer(call, "limit"),
		call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_delivered_message_record, list.items,
				   list.count, err);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "begin_delivery",
	 .sentence = "Say that a message is about to be handed to its channel.",
	 .more = "The attempt's number is what the report is known by. When the lease is over "
		 "without one, the delivery is uncertain.",
	 KP_INPUTS(begin_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "The attempt's number.",
	 KP_OUTCOMES(begin_outcomes),
	 .changes = true,
	 .leases = true,
	 .run = run_begin},
	{.verb = "complete_delivery",
	 .sentence = "Report what became of a delivery.",
	 .more = "The same report again changes nothing. The agent is told of what failed for "
		 "good.",
	 KP_INPUTS(complete_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(report_outcomes),
	 .changes = true,
	 .run = run_complete},
	{.verb = "refuse_delivery",
	 .sentence = "Say that there is no adapter for a message, or that it may not go there.",
	 .more = "The agent is told.",
	 KP_INPUTS(refuse_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_refuse},
	{.verb = "retry_delivery",
	 .sentence = "Let a failed, refused or uncertain delivery be tried again now.",
	 KP_INPUTS(retry_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_retry},
	{.verb = "deliveries",
	 .sentence = "Give what became of a session's messages out, by number.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The deliveries.",
	 .record = &kp_delivered_message_record,
	 KP_OUTCOMES(list_outcomes),
	 .shown = "seq message_out_id status attempts platform_message_id last_error",
	 .run = run_list},
};

const kp_operation_group kp_mailbox_delivery_group = {
	.title = "Deliveries",
	.operations = operations,
	.count = KP_COUNT(operations),
};
