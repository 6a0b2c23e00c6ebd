/*
 * operations_gateway_groups.c - the gateway's operations on registered groups.
 *
 * What it does not do: show a slink token; it is given, compared, and shown as "***".
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

static const char *const state_words[] = {"active", "closed", "archived", NULL};

#define JID_INPUT KP_NEEDED_TEXT(1, "jid", "The chat.")

static const kp_input put_inputs[] = {
	JID_INPUT,
	KP_OTHER_AT(2, "folder",
		    "The folder whose agent serves it: segments of A-Z a-z 0-9 . _ - between "
		    "slashes. Needed for a new one, as it was when left out."),
	KP_OTHER(TEXT, "name", "What people call it; as it was when left out."),
	KP_OTHER(TEXT, "trigger_word",
		 "What a message must begin with, if it must; as it was when left out."),
	KP_FLAG("requires_trigger", "Take only messages that begin with trigger_word."),
	KP_OTHER(JSON, "container_config",
		 "Mounts, timeout, sidecars, as JSON; as it was when left out."),
	KP_OTHER(TEXT, "parent", "The folder above; as it was when left out."),
	KP_OTHER_SECRET("slink_token",
			"Who has it may write to the group over the web; as it was when left out, "
			"no more when empty."),
	KP_OTHER_WORD("state", state_words, "As it was when left out; active for a new one."),
};
static const kp_input list_inputs[] = {
	KP_OTHER_WORD("state", state_words, "Those of a state; the active ones when left out."),
};
static const kp_input jid_inputs[] = {JID_INPUT};
static const kp_input folder_inputs[] = {KP_NEEDED_TEXT(1, "folder", "The folder.")};
static const kp_input token_inputs[] = {KP_NEEDED_SECRET(1, "token", "The group's slink token.")};
static const kp_input state_inputs[] = {
	JID_INPUT,
	KP_NEEDED_WORD(2, "state", state_words, "active, closed or archived."),
};

static const kp_outcome put_outcomes[] = {
	{KEEP_INVALID, false, "The folder, or a trigger word that is required and empty."},
	{KEEP_CONFLICT, false,
	 "The token is another group's, or the state no step from the present one; nothing "
	 "changed."},
};
static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such group."},
};
static const kp_outcome state_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such group."},
	{KEEP_CONFLICT, false,
	 "It goes from active to closed to archived, and back to active; this is another step."},
};

/* ---------------------------------------------------------------- functions */

static keep_status put_list(kp_call *call, keep_status status,
			    const keep_registered_group_list *list, keep_error *err)
{
	return status == KEEP_OK ? kp_call_put_records(call, &kp_registered_group_record,
						       list->items, list->count, err)
				 : status;
}

static keep_status put_one(kp_call *call, keep_status status, const keep_registered_group *group,
			   keep_error *err)
{
	return status == KEEP_OK ? kp_call_put_record(call, &kp_registered_group_record, group, err)
				 : status;
}

static keep_status run_put(kp_call *call, keep_error *err)
{
	keep_registered_group group = {.requires_trigger = false};

	kp_call_record(call, &kp_registered_group_record, &group);
	return kp_call_put_null(call, keep_gateway_put_group(call->handle, &group, err));
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_registered_group_list list = {NULL, 0};
	keep_status status = keep_gateway_get_registered_groups(
		call->handle, kp_call_text(call, "state"), call->arena, &list, err);

	return put_list(call, status, &list, err);
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_registered_group group = {.requires_trigger = false};
	keep_status status = keep_gateway_get_group(call->handle, kp_call_text(call, "jid"),
						    call->arena, &group, err);

	return put_one(call, status, &group, err);
}

static keep_status run_by_folder(kp_call *call, keep_error *err)
{
	keep_registered_group_list list = {NULL, 0};
	keep_status status = keep_gateway_groups_by_folder(
		call->handle, kp_call_text(call, "folder"), call->arena, &list, err);

	return put_list(call, status, &list, err);
}

static keep_status run_by_token(kp_call *call, keep_error *err)
{
	keep_registered_group group = {.requires_trigger = false};
	keep_status status = keep_gateway_group_by_slink_token(
		call->handle, kp_call_text(call, "token"), call->arena, &group, err);

	return put_one(call, status, &group, err);
}

static keep_status run_set_state(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_set_group_state(call->handle, kp_call_text(call, "jid"),
						   kp_call_text(call, "state"), err));
}

static keep_status run_remove(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_remove_group(call->handle, kp_call_text(call, "jid"), err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "put_group",
	 .sentence = "Register a chat for a folder's agent, or renew that.",
	 KP_INPUTS(put_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(put_outcomes),
	 .changes = true,
	 .run = run_put},
	{.verb = "get_registered_groups",
	 .sentence = "Give the active groups, or those of a state, by jid.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The groups.",
	 .record = &kp_registered_group_record,
	 .shown = "jid folder state trigger_word name",
	 .run = run_list},
	{.verb = "get_group",
	 .sentence = "Give the group of a chat.",
	 KP_INPUTS(jid_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The group.",
	 .record = &kp_registered_group_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "groups_by_folder",
	 .sentence = "Give the groups of a folder, by jid.",
	 KP_INPUTS(folder_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The groups.",
	 .record = &kp_registered_group_record,
	 .shown = "jid folder state trigger_word name",
	 .run = run_by_folder},
	{.verb = "group_by_slink_token",
	 .sentence = "Give the active group of a web token.",
	 KP_INPUTS(token_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The group.",
	 .record = &kp_registered_group_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_by_token},
	{.verb = "set_group_state",
	 .sentence = "Close a group, archive it, or make it active again.",
	 KP_INPUTS(state_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(state_outcomes),
	 .changes = true,
	 .run = run_set_state},
	{.verb = "remove_group",
	 .sentence = "Forget a group.",
	 KP_INPUTS(jid_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_remove},
};

const kp_operation_group kp_gateway_registration_group = {
	.title = "Registered groups",
	.operations = operations,
	.count = KP_COUNT(operations),
};
