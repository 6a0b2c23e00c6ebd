/*
 * operations_gateway_consumers.c - the gateway's operations for those who read: cursors, waits.
 *
 * A wait looks first and sleeps then, so what a later call of the same session stores ends it.
 *
 * What it does not do: wake anybody; src/gateway does.
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

#define CONSUMER_INPUT                                                                             \
	KP_NEEDED_TEXT(1, "consumer", "The name under which somebody reads, such as router.")
#define JID_INPUT KP_NEEDED_TEXT(2, "jid", "The chat.")
#define WAIT_INPUT                                                                                 \
	{                                                                                          \
		.name = "timeout_ms", .kind = KP_KIND_INTEGER, .nullable = true,                   \
		.fallback = "60000", .min = -1, .max = 86400000,                                   \
		.sentence = "How long to wait; 0 only looks, -1 waits for ever.",                  \
	}

static const kp_input pending_inputs[] = {CONSUMER_INPUT, KP_LIMIT("200")};

static const kp_input new_inputs[] = {
	CONSUMER_INPUT,
	KP_OTHER(ARRAY, "jids", "Only these chats, at most 1000; all when left out."),
	KP_LIMIT("200"),
};

static const kp_input advance_inputs[] = {
	CONSUMER_INPUT,
	JID_INPUT,
	KP_NEEDED_NUMBER(3, "seq", "The number up to which everything is done."),
};

static const kp_input rewind_inputs[] = {
	CONSUMER_INPUT,
	JID_INPUT,
	KP_NEEDED_NUMBER(3, "seq", "The number after which to read again; 0: from the first."),
};

static const kp_input cursor_inputs[] = {CONSUMER_INPUT, JID_INPUT};
static const kp_input remove_inputs[] = {CONSUMER_INPUT};
static const kp_input wait_inputs[] = {CONSUMER_INPUT, WAIT_INPUT};
static const kp_input wait_deliveries_inputs[] = {
	KP_OTHER_AT(1, "channel", "The channel; any when left out."), WAIT_INPUT};

static const kp_member pending_members[] = {
	{"jid", KP_KIND_TEXT, "The chat.", NULL},
	{"seq", KP_KIND_INTEGER, "The consumer's cursor.", NULL},
	{"last_input_seq", KP_KIND_INTEGER, "The number of its newest input, beyond the cursor.",
	 NULL},
	{"pending_since", KP_KIND_TIME, "Since when it waits.", NULL},
	{"errored", KP_KIND_BOOLEAN, "Whether an agent failed on it.", NULL},
};

static const kp_outcome advance_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such chat."},
	{KEEP_INVALID, false, "The number is beyond the newest message."},
};
static const kp_outcome remove_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such consumer."},
};

/* ---------------------------------------------------------------- functions */

static keep_status put_pending(kp_call *call, const keep_pending_chat *chat, keep_error *err)
{
	kp_json_writer *writer;
	keep_status status;

	kp_call_row_begin(call);
	writer = kp_call_writer(call);
	kp_json_open_object(writer);
	kp_call_put_text(call, "jid", chat->jid);
	kp_json_name(writer, "seq");
	kp_json_put_integer(writer, chat->seq);
	kp_json_name(writer, "last_input_seq");
	kp_json_put_integer(writer, chat->last_input_seq);
	status = kp_call_put_time(call, "pending_since", true, chat->pending_since, err);
	if (status != KEEP_OK)
		return status;
	kp_json_name(writer, "errored");
	kp_json_put_bool(writer, chat->errored);
	kp_json_close_object(writer);
	return kp_call_row_end(call, err);
}

static keep_status run_pending(kp_call *call, keep_error *err)
{
	keep_pending_list list = {NULL, 0};
	keep_status status = keep_gateway_pending_chats(
		call->handle, kp_call_text(call, "consumer"),
		(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < list.count && status == KEEP_OK; i++)
		status = put_pending(call, &list.items[i], err);
	kp_call_close_rows(call);
	return status;
}

static keep_status run_new(kp_call *call, keep_error *err)
{
	static const keep_bytes none = {"", 0};
	keep_message_list list = {NULL, 0};
	const keep_bytes *jids = NULL;
	size_t count = 0;
	keep_status status = kp_call_texts(call, "jids", &jids, &count, err);

	/* An empty list is no chat, not every chat. */
	if (!jids && kp_call_argument(call, "jids")->given)
		jids = &none;
	if (status == KEEP_OK)
		status = keep_gateway_new_messages(
			call->handle, kp_call_text(call, "consumer"), jids, count,
			(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);
	return status == KEEP_OK
		       ? kp_call_put_records(call, &kp_message_record, list.items, list.count, err)
		       : status;
}

static keep_status run_advance(kp_call *call, keep_error *err)
{
	int64_t cursor = 0;
	keep_status status = keep_gateway_advance(call->handle, kp_call_text(call, "consumer"),
						  kp_call_text(call, "jid"),
						  kp_call_integer(call, "seq"), &cursor, err);

	return kp_call_put_integer(call, status, cursor);
}

static keep_status run_rewind(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_gateway_rewind(call->handle, kp_call_text(call, "consumer"),
						    kp_call_text(call, "jid"),
						    kp_call_integer(call, "seq"), err));
}

static keep_status run_cursor(kp_call *call, keep_error *err)
{
	int64_t cursor = 0;
	keep_status status = keep_gateway_get_cursor(call->handle, kp_call_text(call, "consumer"),
						     kp_call_text(call, "jid"), &cursor, err);

	return kp_call_put_integer(call, status, cursor);
}

static keep_status run_remove(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_gateway_remove_consumer(
					      call->handle, kp_call_text(call, "consumer"), err));
}

static keep_status run_wait(kp_call *call, keep_error *err)
{
	bool pending = false;
	keep_status status;

	kp_call_started(call);
	status = keep_gateway_wait(call->handle, kp_call_text(call, "consumer"),
				   kp_call_integer(call, "timeout_ms"), &pending, err);
	return kp_call_put_bool(call, status, pending);
}

static keep_status run_wait_deliveries(kp_call *call, keep_error *err)
{
	bool due = false;
	keep_status status;

	kp_call_started(call);
	status = keep_gateway_wait_deliveries(call->handle, kp_call_text(call, "channel"),
					      kp_call_integer(call, "timeout_ms"), &due, err);
	return kp_call_put_bool(call, status, due);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "pending_chats",
	 .sentence =
		 "Give the chats with input beyond the consumer's cursor, longest waiting first.",
	 KP_INPUTS(pending_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The chats.",
	 KP_MEMBERS(pending_members),
	 .run = run_pending},
	{.verb = "new_messages",
	 .sentence = "Give input beyond the consumer's cursors.",
	 .more = "Each chat's in the order of its numbers, chats by how long they wait, and each "
		 "gets a share. A new consumer begins before the first message.",
	 KP_INPUTS(new_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The messages.",
	 .record = &kp_message_record,
	 .shown = "chat_jid seq timestamp sender content",
	 .run = run_new},
	{.verb = "advance",
	 .sentence = "Say that a consumer has done everything of a chat up to a number.",
	 .more = "Moves forward only: a smaller number changes nothing.",
	 KP_INPUTS(advance_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "Where the cursor is now.",
	 KP_OUTCOMES(advance_outcomes),
	 .changes = true,
	 .run = run_advance},
	{.verb = "rewind",
	 .sentence = "Put a consumer's cursor back (or forward) to a number.",
	 KP_INPUTS(rewind_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(advance_outcomes),
	 .changes = true,
	 .run = run_rewind},
	{.verb = "get_cursor",
	 .sentence = "Tell up to which number a consumer has done everything of a chat.",
	 KP_INPUTS(cursor_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "The number; 0 when it has read nothing of the chat.",
	 .run = run_cursor},
	{.verb = "remove_consumer",
	 .sentence = "Forget a consumer and its cursors.",
	 KP_INPUTS(remove_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(remove_outcomes),
	 .changes = true,
	 .run = run_remove},
	{.verb = "wait",
	 .sentence = "Wait until a consumer has something pending.",
	 .more = "Messages of other processes end it, too.",
	 KP_INPUTS(wait_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "true: something is pending; false: the time is up.",
	 .yes = "pending",
	 .waits = true,
	 .run = run_wait},
	{.verb = "wait_deliveries",
	 .sentence = "Wait until a delivery is due on a channel.",
	 KP_INPUTS(wait_deliveries_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "true: one is due; false: the time is up.",
	 .yes = "due",
	 .waits = true,
	 .run = run_wait_deliveries},
};

const kp_operation_group kp_gateway_consumer_group = {
	.title = "Consumers and cursors",
	.operations = operations,
	.count = KP_COUNT(operations),
};
