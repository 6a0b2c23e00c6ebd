/*
 * operations_gateway_chats.c - the gateway's operations on chats.
 *
 * What it does not do: store messages, which makes chats, too (operations_gateway_messages.c).
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

#define JID_INPUT KP_NEEDED_TEXT(1, "jid", "The chat.")

static const kp_input put_inputs[] = {
	KP_NEEDED_TEXT(1, "jid", "The chat's address: <channel>:<id>."),
	KP_OTHER(TEXT, "name", "What people call it; as it was when left out."),
	KP_OTHER(TEXT, "channel", "The channel it is on; as it was when left out."),
	KP_FLAG("is_group", "More than two take part."),
};
static const kp_input jid_inputs[] = {JID_INPUT};
static const kp_input list_inputs[] = {
	KP_OTHER(TEXT, "after_jid", "Only chats behind this one; from the first when left out."),
	KP_LIMIT("100"),
};
static const kp_input web_inputs[] = {
	{.name = "since_ms",
	 .kind = KP_KIND_TIME,
	 .place = 1,
	 .required = true,
	 .sentence = "Only chats whose last message is newer."},
};
static const kp_input errored_inputs[] = {KP_LIMIT("100")};
static const kp_input sticky_group_inputs[] = {
	JID_INPUT, KP_OTHER_AT(2, "folder", "The folder; no more when left out or empty.")};
static const kp_input sticky_topic_inputs[] = {
	JID_INPUT, KP_OTHER_AT(2, "topic", "The topic; no more when left out or empty.")};

static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such chat."},
};

/* ---------------------------------------------------------------- functions */

static keep_status put_list(kp_call *call, keep_status status, const keep_chat_list *list,
			    keep_error *err)
{
	return status == KEEP_OK
		       ? kp_call_put_records(call, &kp_chat_record, list->items, list->count, err)
		       : status;
}

static keep_status run_put(kp_call *call, keep_error *err)
{
	keep_chat chat = {.is_group = false};

	kp_call_record(call, &kp_chat_record, &chat);
	return kp_call_put_null(call, keep_gateway_put_chat(call->handle, &chat, err));
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_chat chat = {.is_group = false};
	keep_status status = keep_gateway_get_chat(call->handle, kp_call_text(call, "jid"),
						   call->arena, &chat, err);

	return status == KEEP_OK ? kp_call_put_record(call, &kp_chat_record, &chat, err) : status;
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_chat_list list = {NULL, 0};
	keep_status status = keep_gateway_list_chats(call->handle, kp_call_text(call, "after_jid"),
						     (size_t)kp_call_integer(call, "limit"),
						     call->arena, &list, err);

	return put_list(call, status, &list, err);
}

static keep_status run_web(kp_call *call, keep_error *err)
{
	keep_chat_list list = {NULL, 0};
	keep_status status = keep_gateway_active_web_jids(
		call->handle, kp_call_integer(call, "since_ms"), call->arena, &list, err);

	return put_list(call, status, &list, err);
}

static keep_status run_mark_errored(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_mark_errored(call->handle, kp_call_text(call, "jid"), err));
}

static keep_status run_clear_errored(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_clear_errored(call->handle, kp_call_text(call, "jid"), err));
}

static keep_status run_errored(kp_call *call, keep_error *err)
{
	keep_chat_list list = {NULL, 0};
	keep_status status = keep_gateway_errored_chats(
		call->handle, (size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return put_list(call, status, &list, err);
}

static keep_status run_sticky_group(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_set_sticky_group(call->handle, kp_call_text(call, "jid"),
						    kp_call_text(call, "folder"), err));
}

static keep_status run_sticky_topic(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_set_sticky_topic(call->handle, kp_call_text(call, "jid"),
						    kp_call_text(call, "topic"), err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "put_chat",
	 .sentence = "Make or renew a chat.",
	 KP_INPUTS(put_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_put},
	{.verb = "get_chat",
	 .sentence = "Give one chat.",
	 KP_INPUTS(jid_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The chat.",
	 .record = &kp_chat_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "list_chats",
	 .sentence = "Give the chats, by jid.",
	 .more = "The next page is after the last jid of this one.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The chats.",
	 .record = &kp_chat_record,
	 .shown = "jid name channel last_seq errored",
	 .run = run_list},
	{.verb = "active_web_jids",
	 .sentence = "Give the web's chats with newer messages, newest first, at most 1000.",
	 KP_INPUTS(web_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The chats.",
	 .record = &kp_chat_record,
	 .shown = "jid last_message_at",
	 .run = run_web},
	{.verb = "mark_errored",
	 .sentence = "Note that an agent failed on a chat.",
	 .more = "Its messages stay and are tried again.",
	 KP_INPUTS(jid_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_mark_errored},
	{.verb = "clear_errored",
	 .sentence = "Note that an agent succeeded on a chat.",
	 KP_INPUTS(jid_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_clear_errored},
	{.verb = "errored_chats",
	 .sentence = "Give the chats that an agent failed on.",
	 KP_INPUTS(errored_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The chats.",
	 .record = &kp_chat_record,
	 .shown = "jid name channel last_seq",
	 .run = run_errored},
	{.verb = "set_sticky_group",
	 .sentence = "Pin a chat to a folder.",
	 KP_INPUTS(sticky_group_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_sticky_group},
	{.verb = "set_sticky_topic",
	 .sentence = "Pin a chat to a topic.",
	 KP_INPUTS(sticky_topic_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_sticky_topic},
};

const kp_operation_group kp_gateway_chat_group = {
	.title = "Chats",
	.operations = operations,
	.count = KP_COUNT(operations),
};
