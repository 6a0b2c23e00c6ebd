/*
 * operations_assistant_prompts.c - the assistant's operations on prompts.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

#define KEY_INPUT KP_NEEDED_TEXT(1, "key", "The prompt.")

static const kp_input key_inputs[] = {KEY_INPUT};
static const kp_input set_inputs[] = {
	KEY_INPUT,
	KP_NEEDED_LONG(2, "value", "The text; at most 1 MiB."),
	KP_OTHER(TEXT, "description", "What it is for; as it was when left out."),
	KP_OTHER_NUMBER("expected_revision", "0",
			"Only when it is at this revision; 0: whatever it is."),
};
static const kp_input history_inputs[] = {KEY_INPUT, KP_LIMIT("50")};
static const kp_input revert_inputs[] = {
	KEY_INPUT,
	KP_NEEDED_NUMBER(2, "revision", "The revision whose value it is to have again."),
};

static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such prompt, or revision."},
};
static const kp_outcome set_outcomes[] = {
	{KEEP_CONFLICT, false, "It is at another revision; nothing changed."},
};
static const kp_outcome remove_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such prompt."},
	{KEEP_CONFLICT, false, "It is one that every store has."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_prompt prompt = {.id = 0};
	keep_status status = keep_assistant_get_prompt(call->handle, kp_call_text(call, "key"),
						       call->arena, &prompt, err);

	return kp_assistant_give(call, status, &kp_prompt_record, &prompt, err);
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_prompt_list list = {NULL, 0};
	keep_status status = keep_assistant_list_prompts(call->handle, call->arena, &list, err);

	return kp_assistant_give_all(call, status, &kp_prompt_record, list.items, list.count, err);
}

static keep_status run_set(kp_call *call, keep_error *err)
{
	int64_t revision = 0;
	keep_status status = keep_assistant_set_prompt(
		call->handle, kp_call_text(call, "key"), kp_call_text(call, "value"),
		kp_call_text(call, "description"), kp_call_integer(call, "expected_revision"),
		kp_assistant_actor(call), &revision, err);

	return kp_call_put_integer(call, status, revision);
}

static keep_status run_history(kp_call *call, keep_error *err)
{
	keep_prompt_revision_list list = {NULL, 0};
	keep_status status = keep_assistant_prompt_history(call->handle, kp_call_text(call, "key"),
							   (size_t)kp_call_integer(call, "limit"),
							   call->arena, &list, err);

	return kp_assistant_give_all(call, status, &kp_prompt_revision_record, list.items,
				     list.count, err);
}

static keep_status run_revert(kp_call *call, keep_error *err)
{
	int64_t revision = 0;
	keep_status status = keep_assistant_revert_prompt(call->handle, kp_call_text(call, "key"),
							  kp_call_integer(call, "revision"),
							  kp_assistant_actor(call), &revision, err);

	return kp_call_put_integer(call, status, revision);
}

static keep_status run_remove(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_remove_prompt(call->handle,
								   kp_call_text(call, "key"),
								   kp_assistant_actor(call), err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "get_prompt",
	 .sentence = "Give a prompt.",
	 KP_INPUTS(key_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The prompt.",
	 .record = &kp_prompt_record,
	 .shown = "value",
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "list_prompts",
	 .sentence = "Give all prompts.",
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The prompts, by key.",
	 .record = &kp_prompt_record,
	 .shown = "key revision updated_at description",
	 .run = run_list},
	{.verb = "set_prompt",
	 .sentence = "Set a prompt's text; what it was is kept as a revision.",
	 KP_INPUTS(set_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "The revision that it is at now.",
	 KP_OUTCOMES(set_outcomes),
	 .changes = true,
	 .run = run_set},
	{.verb = "prompt_history",
	 .sentence = "Give a prompt's earlier texts, newest first.",
	 KP_INPUTS(history_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The revisions.",
	 .record = &kp_prompt_revision_record,
	 .shown = "revision set_at replaced_at value",
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_history},
	{.verb = "revert_prompt",
	 .sentence = "Give a prompt the text of an earlier revision, as a new one.",
	 KP_INPUTS(revert_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "The revision that it is at now.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_revert},
	{.verb = "remove_prompt",
	 .sentence = "Remove a prompt and its revisions.",
	 KP_INPUTS(key_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(remove_outcomes),
	 .changes = true,
	 .run = run_remove},
};

const kp_operation_group kp_assistant_prompt_group = {
	.title = "Prompts",
	.operations = operations,
	.count = KP_COUNT(operations),
};
