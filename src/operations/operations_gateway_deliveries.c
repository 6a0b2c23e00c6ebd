/*
 * operations_gateway_deliveries.c - the gateway's operations for channels' adapters.
 *
 * An adapter waits (wait_deliveries), claims, sends, and reports with the number that the claim
 * gave.
 *
 * What it does not do: send anything.
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

static const char *const delivery_words[] = {"delivered", "retry",     "failed",
					     "refused",   "uncertain", NULL};
static const char *const ended_words[] = {"failed", "refused", "uncertain", NULL};

#define JID_INPUT KP_NEEDED_TEXT(1, "jid", "The chat.")
#define ID_INPUT KP_NEEDED_TEXT(2, "id", "The message's id.")
#define ATTEMPT_INPUT                                                                              \
	KP_NEEDED_NUMBER(3, "attempt", "The number of the attempt: `attempts` of what was claimed.")

static const kp_input claim_inputs[] = {
	KP_OTHER_AT(1, "channel", "The channel, a message's source; any when left out."),
	KP_LIMIT("50"),
	KP_OTHER_NUMBER("lease_ms", "60000", "For how long they are the caller's."),
	{
		.name = "timeout_ms",
		.kind = KP_KIND_INTEGER,
		.nullable = true,
		.fallback = "0",
		.min = -1,
		.max = 86400000,
		.sentence = "How long to wait for one when none is due; 0 only looks, -1 waits for "
			    "ever. Not beside now_ms.",
	},
	KP_NOW,
};

static const kp_input complete_inputs[] = {
	JID_INPUT,
	ID_INPUT,
	ATTEMPT_INPUT,
	KP_NEEDED_WORD(
		4, "delivery", delivery_words,
		"What came of it: delivered, retry (it failed; again later), failed (for "
		"good), refused (the platform will not have it), uncertain (the platform did "
		"not say)."),
	KP_OTHER(TEXT, "platform_id", "delivered: the platform's id of it."),
	KP_OTHER(TEXT, "error", "All others: why."),
	KP_OTHER(TIME, "retry_at",
		 "retry: when; with growing delays, from 1 s to 1 h, when left out."),
	KP_OTHER_NUMBER("attempts_max", "10", "retry: how many attempts in all; then it failed."),
	KP_NOW,
};

static const kp_input extend_inputs[] = {
	JID_INPUT,
	ID_INPUT,
	ATTEMPT_INPUT,
	KP_OTHER_NUMBER("lease_ms", "60000", "For how long from now it is the caller's."),
	KP_NOW,
};

static const kp_input retry_inputs[] = {JID_INPUT, ID_INPUT};

static const kp_input failed_inputs[] = {
	KP_OTHER_WORD("status", ended_words, "failed, refused or uncertain; all when left out."),
	KP_OTHER(TIME, "before_ms", "Only those that ended before; now when left out."),
	KP_LIMIT("50"),
};

static const kp_outcome report_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such message."},
	{KEEP_CONFLICT, false, "The lease moved on, or it is not being sent; nothing changed."},
};
static const kp_outcome retry_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such message."},
	{KEEP_CONFLICT, false, "It did not end badly; nothing changed."},
};

/* ---------------------------------------------------------------- functions */

static keep_status claim(const kp_call *call, keep_message_list *list, keep_error *err)
{
	return keep_gateway_claim_deliveries(
		call->handle, kp_call_text(call, "channel"), (size_t)kp_call_integer(call, "limit"),
		kp_call_integer(call, "lease_ms"), kp_call_now(call), call->arena, list, err);
}

/* Claim until there is something, the time is over, or the waits are cancelled. Who is woken may
   find that another one was faster, and waits on. */
static keep_status wait_and_claim(kp_call *call, int64_t timeout_ms, keep_message_list *list,
				  keep_error *err)
{
	int64_t end_ns = kp_monotonic_ns() + timeout_ms * 1000000, left_ms = timeout_ms;
	keep_status status = KEEP_OK;
	bool due = true;

	if (kp_call_argument(call, "now_ms")->given)
		return kp_fail(err, KEEP_INVALID,
			       "timeout_ms: a wait goes by our clock, not by now_ms");
	kp_call_started(call);
	while (status == KEEP_OK && due && !list->count) {
		status = claim(call, list, err);
		if (timeout_ms > 0)
			left_ms = (end_ns - kp_monotonic_ns() + 999999) / 1000000;
		if (status != KEEP_OK || list->count || (timeout_ms > 0 && left_ms <= 0))
			break;
		status = keep_gateway_wait_deliveries(call->handle, kp_call_text(call, "channel"),
						      left_ms, &due, err);
	}
	return status;
}

static keep_status run_claim(kp_call *call, keep_error *err)
{
	int64_t timeout_ms = kp_call_integer(call, "timeout_ms");
	keep_message_list list = {NULL, 0};
	keep_status status =
		timeout_ms ? wait_and_claim(call, timeout_ms, &list, err) : claim(call, &list, err);

	return status == KEEP_OK
		       ? kp_call_put_records(call, &kp_message_record, list.items, list.count, err)
		       : status;
}

static keep_status run_complete(kp_call *call, keep_error *err)
{
	keep_delivery_report report = {
		.jid = kp_call_text(call, "jid"),
		.id = kp_call_text(call, "id"),
		.attempt = kp_call_integer(call, "attempt"),
		.platform_id = kp_call_text(call, "platform_id"),
		.error = kp_call_text(call, "error"),
		.retry_at = kp_call_time(call, "retry_at", 0),
		.attempts_max = kp_call_integer(call, "attempts_max"),
	};

	if (!keep_delivery_parse(kp_call_text(call, "delivery"), &report.delivery))
		return kp_fail(err, KEEP_MISUSE, "delivery: a word that nobody knows");
	return kp_call_put_null(call, keep_gateway_complete_delivery(call->handle, &report,
								     kp_call_now(call), err));
}

static keep_status run_extend(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_gateway_extend_delivery(
					call->handle, kp_call_text(call, "jid"),
					kp_call_text(call, "id"), kp_call_integer(call, "attempt"),
					kp_call_integer(call, "lease_ms"), kp_call_now(call), err));
}

static keep_status run_retry(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_gateway_retry_delivery(call->handle, kp_call_text(call, "jid"),
							    kp_call_text(call, "id"), err));
}

static keep_status run_failed(kp_call *call, keep_error *err)
{
	keep_message_list list = {NULL, 0};
	keep_status status = keep_gateway_failed_deliveries(
		call->handle, kp_call_text(call, "status"), kp_call_time(call, "before_ms", 0),
		(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return status == KEEP_OK
		       ? kp_call_put_records(call, &kp_message_record, list.items, list.count, err)
		       : status;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "claim_deliveries",
	 .sentence = "Take deliveries that are due on a channel, for a time.",
	 .more = "They are the caller's until the lease is over, or the process that keeps the "
		 "session "
		 "(keep call) ends. Those of one chat go out in their order: one that waits or is "
		 "being "
		 "sent holds back the later ones of its chat. The message's id is the idempotency "
		 "key to give "
		 "to the platform; its `attempts` is the number that the report carries. With "
		 "timeout_ms it "
		 "waits while nothing is due, and answers nothing when the time is over.",
	 KP_INPUTS(claim_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The messages to send.",
	 .record = &kp_message_record,
	 .shown = "chat_jid id attempts content",
	 .changes = true,
	 .waits_with = "timeout_ms",
	 .leases = true,
	 .run = run_claim},
	{.verb = "complete_delivery",
	 .sentence = "Report what came of a delivery.",
	 .more = "The same report again is done, too.",
	 KP_INPUTS(complete_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(report_outcomes),
	 .changes = true,
	 .run = run_complete},
	{.verb = "extend_delivery",
	 .sentence = "Keep a claimed delivery for longer.",
	 KP_INPUTS(extend_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(report_outcomes),
	 .changes = true,
	 .run = run_extend},
	{.verb = "retry_delivery",
	 .sentence = "Try once more what failed, was refused or is uncertain.",
	 .more = "Its attempts are counted from 0 again.",
	 KP_INPUTS(retry_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(retry_outcomes),
	 .changes = true,
	 .run = run_retry},
	{.verb = "failed_deliveries",
	 .sentence = "Give the deliveries that ended badly, newest first.",
	 KP_INPUTS(failed_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The messages.",
	 .record = &kp_message_record,
	 .shown = "chat_jid id status last_error",
	 .run = run_failed},
};

const kp_operation_group kp_gateway_delivery_group = {
	.title = "Deliveries",
	.operations = operations,
	.count = KP_COUNT(operations),
};
