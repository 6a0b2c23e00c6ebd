/*
 * operations_gateway_feeds.c - the gateway's operations for those who follow what becomes of
 * messages.
 *
 * A follower reads the changes beyond the last number that it has seen, and waits for more. Who
 * gave deliveries with a return_to reads their outcomes, and settles each that it has taken.
 *
 * What it does not do: remember who has read how far.
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

#define AFTER_INPUT                                                                                \
	{                                                                                          \
		.name = "after_change", .kind = KP_KIND_INTEGER, .place = 1, .nullable = true,     \
		.fallback = "0", .max = INT64_MAX,                                                 \
		.sentence = "Only what has changed since this number; 0: everything.",             \
	}
#define WAIT_INPUT                                                                                 \
	{                                                                                          \
		.name = "timeout_ms", .kind = KP_KIND_INTEGER, .nullable = true,                   \
		.fallback = "60000", .min = -1, .max = 86400000,                                   \
		.sentence = "How long to wait; 0 only looks, -1 waits for ever.",                  \
	}

static const kp_input changes_inputs[] = {AFTER_INPUT, KP_LIMIT("100")};
static const kp_input wait_changes_inputs[] = {AFTER_INPUT, WAIT_INPUT};
static const kp_input outcomes_inputs[] = {KP_LIMIT("100")};
static const kp_input wait_outcomes_inputs[] = {WAIT_INPUT};
static const kp_input settle_inputs[] = {
	KP_NEEDED_TEXT(1, "jid", "The chat."),
	KP_NEEDED_TEXT(2, "id", "The message's id."),
	KP_NEEDED_NUMBER(3, "attempts", "Its attempts, as they were told."),
};

static const kp_input note_inputs[] = {
	KP_NEEDED_TEXT(1, "jid", "The chat."),
	KP_NEEDED_TEXT(2, "id", "The message's id."),
	{.name = "why",
	 .kind = KP_KIND_TEXT,
	 .place = 3,
	 .place_default = "it is with one",
	 .nullable = true,
	 .sentence = "One sentence; left out, the message is with an agent."},
};

static const kp_outcome settle_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such message."},
	{KEEP_CONFLICT, false,
	 "It is not over any more, or with another attempt: it was retried by hand; nothing "
	 "changed."},
};

/* ---------------------------------------------------------------- functions */

static keep_status put_list(kp_call *call, keep_status status, const keep_message_list *list,
			    keep_error *err)
{
	return status == KEEP_OK ? kp_call_put_records(call, &kp_message_record, list->items,
						       list->count, err)
				 : status;
}

static keep_status run_changes(kp_call *call, keep_error *err)
{
	keep_message_list list = {NULL, 0};
	keep_status status = keep_gateway_changes(
		call->handle, kp_call_integer(call, "after_change"),
		(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return put_list(call, status, &list, err);
}

static keep_status run_last_change(kp_call *call, keep_error *err)
{
	int64_t change = 0;
	keep_status status = keep_gateway_last_change(call->handle, &change, err);

	return kp_call_put_integer(call, status, change);
}

static keep_status run_wait_changes(kp_call *call, keep_error *err)
{
	bool found = false;
	keep_status status;

	kp_call_started(call);
	status = keep_gateway_wait_changes(call->handle, kp_call_integer(call, "after_change"),
					   kp_call_integer(call, "timeout_ms"), &found, err);
	return kp_call_put_bool(call, status, found);
}

static keep_status run_outcomes(kp_call *call, keep_error *err)
{
	keep_message_list list = {NULL, 0};
	keep_status status = keep_gateway_outcomes(
		call->handle, (size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return put_list(call, status, &list, err);
}

static keep_status run_settle(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_settle_outcome(call->handle, kp_call_text(call, "jid"),
						  kp_call_text(call, "id"),
						  kp_call_integer(call, "attempts"), err));
}

static keep_status run_note_input(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_gateway_note_input(call->handle, kp_call_text(call, "jid"),
							kp_call_text(call, "id"),
							kp_call_text(call, "why"), err));
}

static keep_status run_wait_outcomes(kp_call *call, keep_error *err)
{
	bool found = false;
	keep_status status;

	kp_call_started(call);
	status = keep_gateway_wait_outcomes(call->handle, kp_call_integer(call, "timeout_ms"),
					    &found, err);
	return kp_call_put_bool(call, status, found);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "changes",
	 .sentence = "Give what has changed: messages as they are now, by their latest change.",
	 .more = "A message's `change` grows when it is stored and with everything that becomes of "
		 "it, over all chats, in the order of commits. Who reads on from the last number "
		 "misses nothing and ends with every message as it is; one that changed several "
		 "times meanwhile comes once.",
	 KP_INPUTS(changes_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The messages.",
	 .record = &kp_message_record,
	 .shown = "change chat_jid id status content",
	 .run = run_changes},
	{.verb = "last_change",
	 .sentence = "Tell the number of the newest change.",
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "The number; 0 when there is none.",
	 .run = run_last_change},
	{.verb = "wait_changes",
	 .sentence = "Wait until something has changed since a number.",
	 KP_INPUTS(wait_changes_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "true: something has; false: the time is up.",
	 .yes = "changed",
	 .waits = true,
	 .run = run_wait_changes},
	{.verb = "outcomes",
	 .sentence = "Give the deliveries that are over and whose giver is to hear of it.",
	 .more = "Those that were put with a return_to and are delivered, failed, refused or "
		 "uncertain now. Each comes until it is settled, or retried by hand.",
	 KP_INPUTS(outcomes_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The messages, the one that ended first in front.",
	 .record = &kp_message_record,
	 .shown = "chat_jid id attempts status return_to",
	 .run = run_outcomes},
	{.verb = "settle_outcome",
	 .sentence = "Say that an outcome was taken: it comes no more.",
	 .more = "The same once more is done, too.",
	 KP_INPUTS(settle_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(settle_outcomes),
	 .changes = true,
	 .run = run_settle},
	{.verb = "note_input",
	 .sentence = "Note why an inbound message is not with an agent, for people who trace it.",
	 .more = "It is the message's last_error. A message that is not there is passed over.",
	 KP_INPUTS(note_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_note_input},
	{.verb = "wait_outcomes",
	 .sentence = "Wait until there is an outcome to be taken.",
	 KP_INPUTS(wait_outcomes_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "true: there is one; false: the time is up.",
	 .yes = "over",
	 .waits = true,
	 .run = run_wait_outcomes},
};

const kp_operation_group kp_gateway_feed_group = {
	.title = "Feeds",
	.operations = operations,
	.count = KP_COUNT(operations),
};
