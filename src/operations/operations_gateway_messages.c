/*
 * operations_gateway_messages.c - the gateway's operations on messages: stored, read back.
 *
 * The inputs of one message and of each element of put_messages are one list, so they cannot
 * differ.
 *
 * What it does not do: read for consumers (operations_gateway_consumers.c), deliver
 * (operations_gateway_deliveries.c).
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

#include <string.h>

#define MESSAGE_INPUTS                                                                             \
	KP_NEEDED_TEXT(1, "chat_jid", "The chat: <channel>:<id>."),                                \
		KP_NEEDED_TEXT(2, "id", "The platform's id of the message, unique in its chat."),  \
		KP_NEEDED_LONG(3, "content", "What it says; at most 1 MiB."), SPOKEN_INPUTS
#define SPOKEN_INPUTS                                                                              \
	KP_OTHER(TEXT, "sender", "Who sent it, as the platform names them; \"\" when left out."),  \
		KP_OTHER(TIME, "timestamp", "When it was sent; now when left out."),               \
		KP_OTHER(TEXT, "verb", "What it does; \"message\" when left out."),                \
		KP_OTHER(TEXT, "source",                                                           \
			 "The channel; what stands before the colon of the jid when left out."),   \
		KP_OTHER(TEXT, "sender_name", "The sender's name for people."),                    \
		KP_OTHER(TEXT, "topic", "The thread within the chat."),                            \
		KP_OTHER(TEXT, "reply_to_id", "The message that it answers."),                     \
		KP_OTHER(TEXT, "forwarded_from", "Who said it first."),                            \
		KP_OTHER(JSON, "attachments", "What is attached, any JSON.")

static const kp_input put_inputs[] = {
	MESSAGE_INPUTS,
	KP_OTHER(TEXT, "name", "The chat's name for people; as it was when left out."),
	KP_OTHER(TEXT, "channel", "The chat's channel; as it was when left out."),
	KP_OTHER(BOOLEAN, "is_group",
		 "Whether more than two take part in the chat; no when left out beside name or "
		 "channel, else as it was."),
};
static const kp_input element_inputs[] = {MESSAGE_INPUTS};

static const kp_input put_many_inputs[] = {
	KP_NEEDED_ARRAY(1, "messages",
			"Objects with the inputs of put_message but name, channel and is_group; at "
			"most 1000."),
};

static const kp_input outbound_inputs[] = {
	KP_NEEDED_TEXT(1, "chat_jid", "The chat: <channel>:<id>."),
	KP_NEEDED_LONG(2, "content", "What it says; at most 1 MiB."),
	KP_OTHER(
		TEXT, "id",
		"The delivery's idempotency key, chosen before the first try; a new UUID when left "
		"out."),
	SPOKEN_INPUTS,
	KP_OTHER(TEXT, "group_folder", "The folder whose agent answers."),
	KP_OTHER(TEXT, "turn_id", "The agent's turn that it belongs to."),
	KP_OTHER(TEXT, "return_to",
		 "To whom `outcomes` tells what came of it; to nobody when left out. Said once "
		 "more, the last one holds."),
};

static const kp_input get_inputs[] = {
	KP_NEEDED_TEXT(1, "jid", "The chat."),
	KP_NEEDED_TEXT(2, "id", "The message's id, or the platform's id of a delivered one."),
};

static const kp_input since_inputs[] = {
	KP_NEEDED_TEXT(1, "jid", "The chat."),
	KP_OTHER_NUMBER("after_seq", "0", "Only messages with a greater number."),
	KP_OTHER(TIME, "since_ms", "Only messages with a later timestamp."),
	KP_LIMIT("100"),
};

static const kp_input history_inputs[] = {
	KP_NEEDED_TEXT(1, "jid", "The chat."),
	KP_OTHER_NUMBER("before_seq", "0", "Only messages with a smaller number; 0: all."),
	KP_LIMIT("50"),
};

static const kp_member put_members[] = {
	{"outcome", KP_KIND_TEXT, "inserted, or duplicate: the same was there, nothing changed.",
	 NULL},
	{"seq", KP_KIND_INTEGER, "Its number in its chat.", NULL},
};
static const kp_member put_many_members[] = {
	{"outcome", KP_KIND_TEXT,
	 "inserted; duplicate: the same was there; conflict: another one has that id.", NULL},
	{"seq", KP_KIND_INTEGER, "Its number in its chat; of a conflict the stored one's.", NULL},
};
static const kp_member outbound_members[] = {
	{"outcome", KP_KIND_TEXT, "inserted, or duplicate: the same was there, nothing changed.",
	 NULL},
	{"seq", KP_KIND_INTEGER, "Its number in its chat.", NULL},
	{"id", KP_KIND_TEXT, "Its id.", NULL},
};

static const kp_outcome put_outcomes[] = {
	{KEEP_CONFLICT, false, "The chat has another message with that id; nothing changed."},
};
static const kp_outcome get_outcomes[] = {
	{KEEP_NOT_FOUND, true, "The chat has none with that id."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_put(kp_call *call, keep_error *err)
{
	keep_put_result result = {.seq = 0};
	keep_message message = {.timestamp = 0};
	keep_chat chat = {.is_group = false};
	bool has_chat = kp_call_argument(call, "name")->given ||
			kp_call_argument(call, "channel")->given ||
			kp_call_argument(call, "is_group")->given;
	keep_status status;

	kp_call_record(call, &kp_message_record, &message);
	kp_call_record(call, &kp_chat_record, &chat);
	status = keep_gateway_put_message(call->handle, &message, has_chat ? &chat : NULL, &result,
					  err);
	if (status == KEEP_OK)
		kp_gateway_put_outcome(call, result.put, "seq", result.seq, NULL);
	return status;
}

static keep_status put_rows(kp_call *call, const keep_put_result *results, size_t count,
			    keep_error *err)
{
	keep_status status = KEEP_OK;

	kp_call_open_rows(call);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		kp_gateway_put_outcome(call, results[i].put, "seq", results[i].seq, NULL);
		status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

static keep_status run_put_many(kp_call *call, keep_error *err)
{
	const kp_json *array = kp_call_argument(call, "messages")->json;
	size_t count = array->list.count;
	keep_message *messages;
	keep_put_result *results;
	keep_status status = KEEP_OK;

	if (count > KEEP_GATEWAY_LIST_MAX)
		return kp_fail(err, KEEP_INVALID, "messages: %zu, the limit is %d", count,
			       KEEP_GATEWAY_LIST_MAX);
	messages = kp_arena_alloc(call->arena, (count + 1) * sizeof *messages);
	results = kp_arena_alloc(call->arena, (count + 1) * sizeof *results);
	if (!messages || !results)
		return kp_fail_memory(err, "messages");
	memset(messages, 0, count * sizeof *messages);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = kp_element_to_record(&array->list.items[i], element_inputs,
					      KP_COUNT(element_inputs), &kp_message_record,
					      &messages[i], call->arena, err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "messages[%zu]", i);
	}
	if (status == KEEP_OK)
		status = keep_gateway_put_messages(call->handle, messages, count, results, err);
	return status == KEEP_OK ? put_rows(call, results, count, err) : status;
}

static keep_status run_put_outbound(kp_call *call, keep_error *err)
{
	keep_put_result result = {.seq = 0};
	keep_message message = {.timestamp = 0};
	char id[37] = "";
	keep_status status;

	kp_call_record(call, &kp_message_record, &message);
	status = keep_gateway_put_outbound(call->handle, &message, &result, id, err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "outcome", keep_bytes_of(keep_put_name(result.put)));
	kp_json_name(kp_call_writer(call), "seq");
	kp_json_put_integer(kp_call_writer(call), result.seq);
	kp_call_put_text(call, "id", message.id.data ? message.id : keep_bytes_of(id));
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_message message = {.timestamp = 0};
	keep_status status =
		keep_gateway_get_message(call->handle, kp_call_text(call, "jid"),
					 kp_call_text(call, "id"), call->arena, &message, err);

	return status == KEEP_OK ? kp_call_put_record(call, &kp_message_record, &message, err)
				 : status;
}

static keep_status run_since(kp_call *call, keep_error *err)
{
	keep_message_list list = {NULL, 0};
	keep_status status = keep_gateway_messages_since(
		call->handle, kp_call_text(call, "jid"), kp_call_integer(call, "after_seq"),
		kp_call_time(call, "since_ms", 0), (size_t)kp_call_integer(call, "limit"),
		call->arena, &list, err);

	return status == KEEP_OK
		       ? kp_call_put_records(call, &kp_message_record, list.items, list.count, err)
		       : status;
}

static keep_status run_history(kp_call *call, keep_error *err)
{
	keep_message_list list = {NULL, 0};
	keep_status status = keep_gateway_history(
		call->handle, kp_call_text(call, "jid"), kp_call_integer(call, "before_seq"),
		(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return status == KEEP_OK
		       ? kp_call_put_records(call, &kp_message_record, list.items, list.count, err)
		       : status;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "put_message",
	 .sentence = "Store an inbound message, and make or renew its chat.",
	 .more = "In one transaction. Putting the same message again is a duplicate and changes "
		 "nothing; the same is what agrees in all but source, sender_name and a timestamp "
		 "that was left out.",
	 KP_INPUTS(put_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(put_members),
	 KP_OUTCOMES(put_outcomes),
	 .changes = true,
	 .run = run_put},
	{.verb = "put_messages",
	 .sentence = "Store several inbound messages in one transaction.",
	 .more = "Any failure stores none; a conflict is none, it is told in its row.",
	 KP_INPUTS(put_many_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "What became of each, in their order.",
	 KP_MEMBERS(put_many_members),
	 .changes = true,
	 .run = run_put_many},
	{.verb = "put_outbound",
	 .sentence = "Store what an agent says, to be delivered.",
	 .more = "It is a delivery that is due at once: claim_deliveries gives it to the channel's "
		 "adapter.",
	 KP_INPUTS(outbound_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(outbound_members),
	 KP_OUTCOMES(put_outcomes),
	 .changes = true,
	 .run = run_put_outbound},
	{.verb = "get_message",
	 .sentence = "Give one message.",
	 KP_INPUTS(get_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The message.",
	 .record = &kp_message_record,
	 KP_OUTCOMES(get_outcomes),
	 .run = run_get},
	{.verb = "messages_since",
	 .sentence = "Give a chat's input after a number or a time, oldest first.",
	 .more = "Both bounds are exclusive. What the agent said is not in it.",
	 KP_INPUTS(since_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The messages.",
	 .record = &kp_message_record,
	 .shown = "seq timestamp sender content",
	 .run = run_since},
	{.verb = "history",
	 .sentence = "Give everything of a chat, in and out, newest first.",
	 .more = "The next page is before the smallest number of this one.",
	 KP_INPUTS(history_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The messages.",
	 .record = &kp_message_record,
	 .shown = "seq timestamp sender content",
	 .run = run_history},
};

const kp_operation_group kp_gateway_message_group = {
	.title = "Messages",
	.operations = operations,
	.count = KP_COUNT(operations),
};
