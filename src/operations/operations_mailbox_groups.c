/*
 * operations_mailbox_groups.c - the mailbox's operations on agent groups and chats.
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_mailbox.h"

static const kp_input put_agent_inputs[] = {
	KP_NEEDED_TEXT(1, "name", "Its name for people."),
	KP_NEEDED_TEXT(2, "folder", "The folder of its workspace."),
	KP_OTHER(TEXT, "id", "Its id; a new UUID when left out."),
	KP_FLAG("is_admin", "It may do what others ask for."),
	KP_OTHER(TEXT, "agent_provider", "Who runs it; the host's default when left out."),
	KP_OTHER(JSON, "container_config", "Mounts, timeout, packages: a JSON object."),
};
static const kp_input put_chat_inputs[] = {
	KP_NEEDED_TEXT(1, "channel_type", "The channel's name, such as telegram or slack."),
	KP_NEEDED_TEXT(2, "platform_id", "The chat's id there."),
	KP_OTHER(TEXT, "id", "Its id; found by channel and chat, or a new UUID, when left out."),
	KP_OTHER(TEXT, "name", "What people call it."),
	KP_FLAG("is_group", "More than two take part."),
	KP_OTHER(TEXT, "admin_user_id", "The platform's id of who may command the agent."),
};
static const kp_input id_inputs[] = {KP_NEEDED_TEXT(1, "id", "Its id.")};
static const kp_input find_inputs[] = {
	KP_NEEDED_TEXT(1, "channel_type", "The channel."),
	KP_NEEDED_TEXT(2, "platform_id", "The chat's id there."),
};
static const kp_input list_inputs[] = {
	KP_OTHER(TEXT, "after", "Only those with a greater id."),
	KP_LIMIT("100"),
};

static const kp_member id_members[] = {{"id", KP_KIND_TEXT, "Its id.", NULL}};

static const kp_outcome agent_outcomes[] = {
	{KEEP_CONFLICT, false, "Another one has that folder."},
};
static const kp_outcome missing_outcomes[] = {{KEEP_NOT_FOUND, true, "There is no such one."}};
static const kp_outcome remove_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such one."},
	{KEEP_CONFLICT, false, "Something refers to it, and the message names that."},
};

/* ---------------------------------------------------------------- functions */

static keep_status give_id(kp_call *call, keep_status status, const char *id)
{
	if (status == KEEP_OK)
		kp_mailbox_put_word(call, "id", keep_bytes_of(id));
	return status;
}

static keep_status run_put_agent(kp_call *call, keep_error *err)
{
	keep_agent_group group = {.created_at = 0};
	char id[KEEP_SEGMENT_MAX + 1] = "";

	kp_call_record(call, &kp_agent_group_record, &group);
	return give_id(call, keep_mailbox_put_agent_group(call->handle, &group, id, err), id);
}

static keep_status run_get_agent(kp_call *call, keep_error *err)
{
	keep_agent_group group = {.created_at = 0};
	keep_status status = keep_mailbox_get_agent_group(call->handle, kp_call_text(call, "id"),
							  call->arena, &group, err);

	return kp_mailbox_give(call, status, &kp_agent_group_record, &group, err);
}

static keep_status run_list_agents(kp_call *call, keep_error *err)
{
	keep_agent_group_list list = {NULL, 0};
	keep_status status = keep_mailbox_list_agent_groups(
		call->handle, kp_call_text(call, "after"), (size_t)kp_call_integer(call, "limit"),
		call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_agent_group_record, list.items, list.count,
				   err);
}

static keep_status run_remove_agent(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_mailbox_remove_agent_group(call->handle, kp_call_text(call, "id"), err));
}

static keep_status run_put_chat(kp_call *call, keep_error *err)
{
	keep_messaging_group group = {.created_at = 0};
	char id[KEEP_SEGMENT_MAX + 1] = "";

	kp_call_record(call, &kp_messaging_group_record, &group);
	return give_id(call, keep_mailbox_put_messaging_group(call->handle, &group, id, err), id);
}

static keep_status run_get_chat(kp_call *call, keep_error *err)
{
	keep_messaging_group group = {.created_at = 0};
	keep_status status = keep_mailbox_get_messaging_group(
		call->handle, kp_call_text(call, "id"), call->arena, &group, err);

	return kp_mailbox_give(call, status, &kp_messaging_group_record, &group, err);
}

static keep_status run_find_chat(kp_call *call, keep_error *err)
{
	keep_messaging_group group = {.created_at = 0};
	keep_status status = keep_mailbox_find_messaging_group(
		call->handle, kp_call_text(call, "channel_type"), kp_call_text(call, "platform_id"),
		call->arena, &group, err);

	return kp_mailbox_give(call, status, &kp_messaging_group_record, &group, err);
}

static keep_status run_list_chats(kp_call *call, keep_error *err)
{
	keep_messaging_group_list list = {NULL, 0};
	keep_status status = keep_mailbox_list_messaging_groups(
		call->handle, kp_call_text(call, "after"), (size_t)kp_call_integer(call, "limit"),
		call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_messaging_group_record, list.items, list.count,
				   err);
}

static keep_status run_remove_chat(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_mailbox_remove_messaging_group(
					      call->handle, kp_call_text(call, "id"), err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "put_agent_group",
	 .sentence = "Store an agent, or change one.",
	 KP_INPUTS(put_agent_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "Its id.",
	 KP_MEMBERS(id_members),
	 KP_OUTCOMES(agent_outcomes),
	 .shown = "id",
	 .changes = true,
	 .run = run_put_agent},
	{.verb = "get_agent_group",
	 .sentence = "Give one agent.",
	 KP_INPUTS(id_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The agent.",
	 .record = &kp_agent_group_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get_agent},
	{.verb = "list_agent_groups",
	 .sentence = "Give the agents, by id.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The agents.",
	 .record = &kp_agent_group_record,
	 .shown = "id name folder is_admin",
	 .run = run_list_agents},
	{.verb = "remove_agent_group",
	 .sentence = "Remove an agent that has no wirings and no sessions.",
	 KP_INPUTS(id_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(remove_outcomes),
	 .changes = true,
	 .run = run_remove_agent},
	{.verb = "put_messaging_group",
	 .sentence = "Store a chat, or change one.",
	 KP_INPUTS(put_chat_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "Its id.",
	 KP_MEMBERS(id_members),
	 .shown = "id",
	 .changes = true,
	 .run = run_put_chat},
	{.verb = "get_messaging_group",
	 .sentence = "Give one chat.",
	 KP_INPUTS(id_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The chat.",
	 .record = &kp_messaging_group_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get_chat},
	{.verb = "find_messaging_group",
	 .sentence = "Give the chat that has an address.",
	 KP_INPUTS(find_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The chat.",
	 .record = &kp_messaging_group_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_find_chat},
	{.verb = "list_messaging_groups",
	 .sentence = "Give the chats, by id.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The chats.",
	 .record = &kp_messaging_group_record,
	 .shown = "id channel_type platform_id name is_group",
	 .run = run_list_chats},
	{.verb = "remove_messaging_group",
	 .sentence = "Remove a chat that has no wirings and no sessions.",
	 KP_INPUTS(id_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(remove_outcomes),
	 .changes = true,
	 .run = run_remove_chat},
};

const kp_operation_group kp_mailbox_group_group = {
	.title = "Agents and chats",
	.operations = operations,
	.count = KP_COUNT(operations),
};
