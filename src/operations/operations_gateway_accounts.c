/*
 * operations_gateway_accounts.c - the gateway's operations on web accounts.
 *
 * What it does not do: show a password's hash; records show "***". Nor sign anybody in
 * (operations_gateway_sign_in.c).
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

#define SUB_INPUT KP_NEEDED_TEXT(1, "sub", "The account: <provider>:<id>.")
#define ROLE_INPUTS                                                                                \
	KP_FLAG("is_operator", "Sees every folder: say this, or folders."),                        \
		KP_OTHER(ARRAY, "folders", "The folders that it sees, each with all below it.")

static const kp_input create_inputs[] = {
	SUB_INPUT,
	KP_OTHER(TEXT, "username", "The name to sign in with; the sub when left out."),
	KP_OTHER_SECRET("password", "At least 8 bytes; left out: it signs in elsewhere."),
	KP_OTHER_SECRET("hash", "Instead of a password: an argon2id PHC string."),
	KP_OTHER(TEXT, "name", "What people call them."),
	ROLE_INPUTS,
};
static const kp_input get_inputs[] = {
	KP_OTHER_AT(1, "sub", "The account: <provider>:<id>."),
	KP_OTHER(TEXT, "username", "Or the name that it signs in with."),
};
static const kp_input list_inputs[] = {
	KP_OTHER(TEXT, "after_sub", "Only accounts behind this one; from the first when left out."),
	KP_LIMIT("100"),
};
static const kp_input password_inputs[] = {
	SUB_INPUT, KP_NEEDED_SECRET(2, "password", "The new one, at least 8 bytes.")};
static const kp_input disabled_inputs[] = {
	SUB_INPUT,
	{.name = "disabled",
	 .kind = KP_KIND_BOOLEAN,
	 .place = 2,
	 .required = true,
	 .sentence = "Whether it may not sign in."},
};
static const kp_input folders_inputs[] = {SUB_INPUT, ROLE_INPUTS};
static const kp_input access_inputs[] = {SUB_INPUT, KP_NEEDED_TEXT(2, "folder", "The folder.")};

static const kp_outcome create_outcomes[] = {
	{KEEP_INVALID, false, "Neither operator nor folders, or both; a password or hash."},
	{KEEP_CONFLICT, false, "The sub or the username is taken; nothing changed."},
};
static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such account."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_create(kp_call *call, keep_error *err)
{
	keep_user_options options = KEEP_USER_OPTIONS_INIT;
	keep_status status;

	options.sub = kp_call_text(call, "sub");
	options.username = kp_call_text(call, "username");
	options.password = kp_call_text(call, "password");
	options.hash = kp_call_text(call, "hash");
	options.name = kp_call_text(call, "name");
	options.is_operator = kp_call_flag(call, "is_operator");
	status = kp_call_texts(call, "folders", &options.folders, &options.folder_count, err);
	if (status == KEEP_OK)
		status = keep_gateway_create_user(call->handle, &options, err);
	return kp_call_put_null(call, status);
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_auth_user user = {.disabled = false};
	keep_status status =
		keep_gateway_get_user(call->handle, kp_call_text(call, "sub"),
				      kp_call_text(call, "username"), call->arena, &user, err);

	return status == KEEP_OK ? kp_call_put_record(call, &kp_auth_user_record, &user, err)
				 : status;
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_auth_user_list list = {NULL, 0};
	keep_status status = keep_gateway_list_users(call->handle, kp_call_text(call, "after_sub"),
						     (size_t)kp_call_integer(call, "limit"),
						     call->arena, &list, err);

	return status == KEEP_OK ? kp_call_put_records(call, &kp_auth_user_record, list.items,
						       list.count, err)
				 : status;
}

static keep_status run_set_password(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_gateway_set_password(call->handle, kp_call_text(call, "sub"),
							  kp_call_text(call, "password"), err));
}

static keep_status run_set_disabled(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_set_user_disabled(call->handle, kp_call_text(call, "sub"),
						     kp_call_flag(call, "disabled"), err));
}

static keep_status run_set_folders(kp_call *call, keep_error *err)
{
	const keep_bytes *folders = NULL;
	size_t count = 0;
	keep_status status = kp_call_texts(call, "folders", &folders, &count, err);

	if (status == KEEP_OK)
		status = keep_gateway_set_user_folders(call->handle, kp_call_text(call, "sub"),
						       kp_call_flag(call, "is_operator"), folders,
						       count, err);
	return kp_call_put_null(call, status);
}

static keep_status run_may_access(kp_call *call, keep_error *err)
{
	bool may = false;
	keep_status status = keep_gateway_may_access(call->handle, kp_call_text(call, "sub"),
						     kp_call_text(call, "folder"), &may, err);

	return kp_call_put_bool(call, status, may);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "create_user",
	 .sentence = "Make a web account.",
	 .more = "Nobody becomes an operator by omission: one of is_operator and folders is said.",
	 KP_INPUTS(create_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(create_outcomes),
	 .changes = true,
	 .run = run_create},
	{.verb = "get_user",
	 .sentence = "Give one account, by sub or by username.",
	 KP_INPUTS(get_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The account.",
	 .record = &kp_auth_user_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "list_users",
	 .sentence = "Give the accounts, by sub.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The accounts.",
	 .record = &kp_auth_user_record,
	 .shown = "sub username name disabled",
	 .run = run_list},
	{.verb = "set_password",
	 .sentence = "Change an account's password and end all of its sessions.",
	 KP_INPUTS(password_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_set_password},
	{.verb = "set_user_disabled",
	 .sentence = "Disable an account, which ends all of its sessions, or enable it.",
	 KP_INPUTS(disabled_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_set_disabled},
	{.verb = "set_user_folders",
	 .sentence = "Replace what an account sees.",
	 KP_INPUTS(folders_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_set_folders},
	{.verb = "may_access",
	 .sentence = "Tell whether an account may see a folder.",
	 .more = "A folder grants itself and what is below it; an operator may see all; an unknown "
		 "or disabled account nothing.",
	 KP_INPUTS(access_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "Whether it may.",
	 .yes = "yes",
	 .run = run_may_access},
};

const kp_operation_group kp_gateway_account_group = {
	.title = "Web accounts",
	.operations = operations,
	.count = KP_COUNT(operations),
};
