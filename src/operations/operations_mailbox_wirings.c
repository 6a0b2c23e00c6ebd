/*
 * operations_mailbox_wirings.c - the mailbox's operations on who serves whom and who may send
 * where.
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_mailbox.h"

static const char *const scopes[] = {"all", "triggered", "allowlisted", NULL};
static const char *const modes[] = {"shared", "per-thread", "agent-shared", NULL};
static const char *const types[] = {"channel", "agent", NULL};

static const kp_input wire_inputs[] = {
	KP_NEEDED_TEXT(1, "messaging_group_id", "The chat."),
	KP_NEEDED_TEXT(2, "agent_group_id", "The agent."),
	KP_OTHER(TEXT, "id", "Its id; found by chat and agent, or a new UUID, when left out."),
	KP_OTHER(JSON, "trigger_rules",
		 "What it takes: an object of pattern, mentionOnly, requiresTrigger, "
		 "includeSenders, excludeSenders."),
	KP_OTHER_WORD("response_scope", scopes,
		      "Of what it takes: all, what was triggered, what includeSenders wrote."),
	KP_OTHER_WORD("session_mode", modes, "Which session a message goes to."),
	{.name = "priority",
	 .kind = KP_KIND_INTEGER,
	 .nullable = true,
	 .fallback = "0",
	 .min = INT32_MIN,
	 .max = INT32_MAX,
	 .sentence = "Greater is asked first."},
};
static const kp_input unwire_inputs[] = {KP_NEEDED_TEXT(1, "id", "The wiring's id.")};
static const kp_input list_wirings_inputs[] = {
	KP_OTHER(TEXT, "messaging_group_id", "Those of a chat; of all when left out."),
	KP_OTHER(TEXT, "agent_group_id", "Those of an agent; of all when left out."),
	KP_LIMIT("100"),
};
static const kp_input allow_inputs[] = {
	KP_NEEDED_TEXT(1, "agent_group_id", "Whose permission it is."),
	KP_NEEDED_WORD(2, "type", types, "A chat (channel), or another agent."),
	KP_OTHER(TEXT, "name",
		 "How the agent calls it: a-z 0-9 -; made of display_name or the address when left "
		 "out."),
	KP_OTHER(TEXT, "display_name", "How people call it."),
	KP_OTHER(TEXT, "channel_type", "channel: the channel."),
	KP_OTHER(TEXT, "platform_id", "channel: the chat's id there."),
	KP_OTHER(TEXT, "target_agent_group_id", "agent: the other agent."),
};
static const kp_input disallow_inputs[] = {
	KP_NEEDED_TEXT(1, "agent_group_id", "Whose permission it is."),
	KP_NEEDED_TEXT(2, "name", "How the agent calls it."),
};
static const kp_input list_destinations_inputs[] = {
	KP_NEEDED_TEXT(1, "agent_group_id", "The agent."),
	KP_LIMIT("100"),
};

static const kp_member id_members[] = {{"id", KP_KIND_TEXT, "The wiring's id.", NULL}};
static const kp_member name_members[] = {{"name", KP_KIND_TEXT, "How the agent calls it.", NULL}};

static const kp_outcome wire_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such chat or agent."},
	{KEEP_INVALID, false, "A rule is not understood, or a pattern does not compile."},
};
static const kp_outcome unwire_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such wiring."},
};
static const kp_outcome allow_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such agent."},
};
static const kp_outcome disallow_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such permission."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_wire(kp_call *call, keep_error *err)
{
	keep_messaging_group_agent wiring = {.created_at = 0};
	char id[KEEP_SEGMENT_MAX + 1] = "";
	keep_status status;

	kp_call_record(call, &kp_messaging_group_agent_record, &wiring);
	status = keep_mailbox_wire(call->handle, &wiring, id, err);
	if (status == KEEP_OK)
		kp_mailbox_put_word(call, "id", keep_bytes_of(id));
	return status;
}

static keep_status run_unwire(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_mailbox_unwire(call->handle, kp_call_text(call, "id"), err));
}

static keep_status run_list_wirings(kp_call *call, keep_error *err)
{
	keep_messaging_group_agent_list list = {NULL, 0};
	keep_status status = keep_mailbox_list_wirings(
		call->handle, kp_call_text(call, "messaging_group_id"),
		kp_call_text(call, "agent_group_id"), (size_t)kp_call_integer(call, "limit"),
		call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_messaging_group_agent_record, list.items,
				   list.count, err);
}

static keep_status run_allow(kp_call *call, keep_error *err)
{
	keep_agent_destination destination = {.type = {NULL, 0}};
	char name[KEEP_SEGMENT_MAX + 1] = "";
	keep_status status;

	kp_call_record(call, &kp_agent_destination_record, &destination);
	status = keep_mailbox_allow(call->handle, &destination, name, err);
	if (status == KEEP_OK)
		kp_mailbox_put_word(call, "name", keep_bytes_of(name));
	return status;
}

static keep_status run_disallow(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_mailbox_disallow(call->handle,
							    kp_call_text(call, "agent_group_id"),
							    kp_call_text(call, "name"), err));
}

static keep_status run_list_destinations(kp_call *call, keep_error *err)
{
	keep_agent_destination_list list = {NULL, 0};
	keep_status status = keep_mailbox_list_destinations(
		call->handle, kp_call_text(call, "agent_group_id"),
		(size_t)kp_call_integer(call, "limit"), call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_agent_destination_record, list.items,
				   list.count, err);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "wire",
	 .sentence = "Let an agent serve a chat, or change how.",
	 .more = "The agent may then send to the chat: it gets a destination named after it.",
	 KP_INPUTS(wire_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The wiring's id.",
	 KP_MEMBERS(id_members),
	 KP_OUTCOMES(wire_outcomes),
	 .shown = "id",
	 .changes = true,
	 .run = run_wire},
	{.verb = "unwire",
	 .sentence = "Let an agent serve a chat no longer.",
	 KP_INPUTS(unwire_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(unwire_outcomes),
	 .changes = true,
	 .run = run_unwire},
	{.verb = "list_wirings",
	 .sentence = "Give the wirings, in the order in which they are asked.",
	 KP_INPUTS(list_wirings_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The wirings.",
	 .record = &kp_messaging_group_agent_record,
	 .shown = "id messaging_group_id agent_group_id session_mode priority",
	 .run = run_list_wirings},
	{.verb = "allow",
	 .sentence = "Let an agent send somewhere, or change what a name of its means.",
	 KP_INPUTS(allow_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The name.",
	 KP_MEMBERS(name_members),
	 KP_OUTCOMES(allow_outcomes),
	 .shown = "name",
	 .changes = true,
	 .run = run_allow},
	{.verb = "disallow",
	 .sentence = "Let an agent send somewhere no longer.",
	 KP_INPUTS(disallow_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(disallow_outcomes),
	 .changes = true,
	 .run = run_disallow},
	{.verb = "list_destinations",
	 .sentence = "Give where an agent may send.",
	 .more = "What its sessions have of it is `destinations`, of the agent's side.",
	 KP_INPUTS(list_destinations_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The destinations.",
	 .record = &kp_agent_destination_record,
	 .shown = "name type channel_type platform_id target_agent_group_id",
	 .run = run_list_destinations},
};

const kp_operation_group kp_mailbox_wiring_group = {
	.title = "Wirings and destinations",
	.operations = operations,
	.count = KP_COUNT(operations),
};
