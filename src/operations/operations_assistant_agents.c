/*
 * operations_assistant_agents.c - the assistant's operations on agents.
 *
 * What it does not do: their tasks (operations_assistant_tasks.c).
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

#define NAME_INPUT KP_NEEDED_TEXT(1, "name", "The agent's name.")

static const kp_input put_inputs[] = {
	NAME_INPUT,
	KP_NEEDED_TEXT(2, "display_name", "What people call it."),
	KP_NEEDED_TEXT(3, "role", "What it is, in a few words."),
	KP_NEEDED_TEXT(4, "goal", "What it is to achieve, in one line."),
	KP_OTHER_LONG("backstory", "How it is to work: its part of the prompt."),
	KP_OTHER(ARRAY, "tools", "The names of its tools."),
	KP_OTHER_NUMBER("priority", "5", "From 1 to 10; the higher is asked first."),
	KP_OTHER(ARRAY, "intent_keywords", "Words that say that it is meant."),
	KP_OTHER(TEXT, "category", "Where lists put it."),
	{.name = "enabled",
	 .kind = KP_KIND_BOOLEAN,
	 .nullable = true,
	 .fallback = "true",
	 .sentence = "Whether it is selected."},
	KP_FLAG("allow_delegation", "It may hand work to others."),
};
static const kp_input name_inputs[] = {NAME_INPUT};
static const kp_input list_inputs[] = {
	KP_FLAG("only_enabled", "Without those that are not enabled."),
};
static const kp_input enable_inputs[] = {
	NAME_INPUT,
	{.name = "enabled",
	 .kind = KP_KIND_BOOLEAN,
	 .place = 2,
	 .required = true,
	 .sentence = "true or false."},
};
static const kp_input select_inputs[] = {
	KP_NEEDED_LONG(1, "text", "What was said."),
	KP_LIMIT("5"),
};

static const kp_member select_members[] = {
	{"agent", KP_KIND_OBJECT, "The agent.", &kp_agent_definition_record},
	{"matches", KP_KIND_INTEGER, "How many of its keywords the text has.", NULL},
};

static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such agent."},
};
static const kp_outcome change_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such agent."},
	{KEEP_CONFLICT, false, "The coordinator can be neither removed nor disabled."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_put(kp_call *call, keep_error *err)
{
	keep_agent_definition agent = {.backstory = KEEP_BYTES("")};

	kp_call_record(call, &kp_agent_definition_record, &agent);
	return kp_call_put_null(call, keep_assistant_put_agent(call->handle, &agent,
							       kp_assistant_actor(call), err));
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_agent_definition agent = {.id = 0};
	keep_status status = keep_assistant_get_agent(call->handle, kp_call_text(call, "name"),
						      call->arena, &agent, err);

	return kp_assistant_give(call, status, &kp_agent_definition_record, &agent, err);
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_agent_definition_list list = {NULL, 0};
	keep_status status = keep_assistant_list_agents(
		call->handle, kp_call_flag(call, "only_enabled"), call->arena, &list, err);

	return kp_assistant_give_all(call, status, &kp_agent_definition_record, list.items,
				     list.count, err);
}

static keep_status run_enable(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_enable_agent(call->handle,
								  kp_call_text(call, "name"),
								  kp_call_flag(call, "enabled"),
								  kp_assistant_actor(call), err));
}

static keep_status run_remove(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_remove_agent(call->handle,
								  kp_call_text(call, "name"),
								  kp_assistant_actor(call), err));
}

static keep_status run_reset(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_assistant_reset_agent(call->handle, kp_call_text(call, "name"),
							   kp_assistant_actor(call), err));
}

static keep_status run_select(kp_call *call, keep_error *err)
{
	keep_agent_choices choices = {NULL, 0};
	keep_status status = keep_assistant_select_agents(call->handle, kp_call_text(call, "text"),
							  (size_t)kp_call_integer(call, "limit"),
							  call->arena, &choices, err);

	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < choices.count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		kp_json_open_object(kp_call_writer(call));
		status = kp_assistant_put_member(call, "agent", &kp_agent_definition_record,
						 &choices.items[i].agent, err);
		kp_call_put_number(call, "matches", choices.items[i].matches);
		kp_json_close_object(kp_call_writer(call));
		if (status == KEEP_OK)
			status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "put_agent",
	 .sentence = "Define an agent, or replace its definition.",
	 KP_INPUTS(put_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(change_outcomes),
	 .changes = true,
	 .run = run_put},
	{.verb = "get_agent",
	 .sentence = "Give an agent's definition.",
	 KP_INPUTS(name_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The agent.",
	 .record = &kp_agent_definition_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "list_agents",
	 .sentence = "Give the agents, highest priority first.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The agents.",
	 .record = &kp_agent_definition_record,
	 .shown = "priority name enabled goal",
	 .run = run_list},
	{.verb = "enable_agent",
	 .sentence = "Let an agent be selected, or not.",
	 KP_INPUTS(enable_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(change_outcomes),
	 .changes = true,
	 .run = run_enable},
	{.verb = "remove_agent",
	 .sentence = "Remove an agent's definition.",
	 KP_INPUTS(name_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(change_outcomes),
	 .changes = true,
	 .run = run_remove},
	{.verb = "reset_agent",
	 .sentence = "Give a default agent its first definition again.",
	 KP_INPUTS(name_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_reset},
	{.verb = "select_agents",
	 .sentence = "Give the agents that a text means: by keywords in it, then priority.",
	 KP_INPUTS(select_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The agents, the best one first.",
	 KP_MEMBERS(select_members),
	 .shown = "agent.name matches agent.priority",
	 .run = run_select},
};

const kp_operation_group kp_assistant_agent_group = {
	.title = "Agents",
	.operations = operations,
	.count = KP_COUNT(operations),
};
