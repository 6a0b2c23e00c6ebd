/*
 * operations_mailbox_routes.c - the mailbox's operations on routing: to the agents of a chat.
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_mailbox.h"

static const kp_input route_inputs[] = {
	KP_NEEDED_TEXT(1, "channel_type", "The channel that it came from."),
	KP_NEEDED_TEXT(2, "platform_id", "The chat that it came from."),
	KP_NEEDED_LONG(3, "content",
		       "What it says: JSON; text, senderId (or author.userId) and isMention are "
		       "read of it."),
	KP_OTHER(TEXT, "thread_id", "The thread that it came from."),
	KP_OTHER(TEXT, "message_id", "The platform's id of the message."),
	KP_OTHER_WORD("kind", kp_message_kinds, "What the content is; chat when left out."),
	KP_OTHER(TIME, "timestamp", "When it was sent; now when left out."),
	KP_OTHER(TEXT, "chat_name", "The chat's name; as it is when left out."),
	KP_FLAG("is_group", "More than two take part in the chat."),
	KP_FILES,
	KP_NOW,
};
static const kp_input list_inputs[] = {KP_LIMIT("100")};
static const kp_input forget_inputs[] = {
	{.name = "before_ms",
	 .kind = KP_KIND_TIME,
	 .place = 1,
	 .required = true,
	 .sentence = "Those whose latest message came before."},
};

static const kp_member route_members[] = {
	{"messaging_group_id", KP_KIND_TEXT, "The chat.", NULL},
	{"taken", KP_KIND_INTEGER, "How many agents take it.", NULL},
	{"is_unrouted", KP_KIND_BOOLEAN, "Nobody is wired: it is in unrouted_messages.", NULL},
	{"agents", KP_KIND_ARRAY,
	 "One object for each wiring, in the order in which they were asked: wiring_id, "
	 "agent_group_id, is_taken, reason, and of those that take it session, is_new_session, "
	 "outcome (inserted, duplicate, reused), seq and id.",
	 NULL},
};

/* ---------------------------------------------------------------- functions */

static void put_routed(kp_call *call, const keep_routed *item)
{
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "wiring_id", item->wiring_id);
	kp_call_put_text(call, "agent_group_id", item->agent_group_id);
	kp_call_put_flag(call, "is_taken", item->is_taken);
	kp_call_put_text(call, "reason", item->reason);
	if (item->is_taken) {
		kp_call_put_text(call, "session", item->session);
		kp_call_put_flag(call, "is_new_session", item->is_new_session);
		kp_mailbox_put_posted(call, &item->post);
	}
	kp_json_close_object(kp_call_writer(call));
}

static void put_outcome(kp_call *call, const keep_route_outcome *outcome)
{
	kp_json_writer *writer = kp_call_writer(call);

	kp_json_open_object(writer);
	kp_call_put_text(call, "messaging_group_id", outcome->messaging_group_id);
	kp_call_put_number(call, "taken", (int64_t)outcome->taken);
	kp_call_put_flag(call, "is_unrouted", outcome->is_unrouted);
	kp_json_name(writer, "agents");
	kp_json_open_array(writer);
	for (size_t i = 0; i < outcome->count; i++)
		put_routed(call, &outcome->items[i]);
	kp_json_close_array(writer);
	kp_json_close_object(writer);
}

static keep_status run_route(kp_call *call, keep_error *err)
{
	keep_inbound_route message = {
		.channel_type = kp_call_text(call, "channel_type"),
		.platform_id = kp_call_text(call, "platform_id"),
		.thread_id = kp_call_text(call, "thread_id"),
		.message_id = kp_call_text(call, "message_id"),
		.kind = kp_call_text(call, "kind"),
		.content = kp_call_text(call, "content"),
		.timestamp = kp_call_time(call, "timestamp", 0),
		.chat_name = kp_call_text(call, "chat_name"),
		.is_group = kp_call_flag(call, "is_group"),
	};
	keep_route_outcome outcome = {.count = 0};
	keep_status status = kp_mailbox_files(kp_call_argument(call, "files"), call->arena,
					      &message.files, &message.file_count, err);

	if (status == KEEP_OK)
		status = keep_mailbox_route(call->handle, &message, kp_call_now(call), call->arena,
					    &outcome, err);
	if (status == KEEP_OK)
		put_outcome(call, &outcome);
	return status;
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_unrouted_message_list list = {NULL, 0};
	keep_status status = keep_mailbox_list_unrouted(
		call->handle, (size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_unrouted_message_record, list.items,
				   list.count, err);
}

static keep_status run_forget(kp_call *call, keep_error *err)
{
	int64_t forgotten = 0;
	keep_status status = keep_mailbox_forget_unrouted(
		call->handle, kp_call_integer(call, "before_ms"), &forgotten, err);

	return kp_call_put_integer(call, status, forgotten);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "route",
	 .sentence = "Give a message to the agents that are wired to its chat.",
	 .more = "The chat is made when it is new. A repetition gives the same, with duplicates. "
		 "What one agent cannot take does not keep others from it; the first failure is "
		 "the call's, after all were tried.",
	 KP_INPUTS(route_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "Who takes it, and why.",
	 KP_MEMBERS(route_members),
	 .changes = true,
	 .run = run_route},
	{.verb = "list_unrouted",
	 .sentence = "Give the chats whose messages nobody takes, the newest first.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The chats, with the latest message of each.",
	 .record = &kp_unrouted_message_record,
	 .shown = "channel_type platform_id count last_at content",
	 .run = run_list},
	{.verb = "forget_unrouted",
	 .sentence = "Forget chats whose messages nobody took.",
	 KP_INPUTS(forget_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "How many.",
	 .changes = true,
	 .run = run_forget},
};

const kp_operation_group kp_mailbox_route_group = {
	.title = "Routing",
	.operations = operations,
	.count = KP_COUNT(operations),
};
