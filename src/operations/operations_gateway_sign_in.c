/*
 * operations_gateway_sign_in.c - the gateway's operations on passwords, sessions and tokens.
 *
 * A token that a call makes is in its result and nowhere else. Secrets are taken as texts, on the
 * command line best from standard input, and no message repeats one.
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

#include <string.h>

static const kp_input verify_inputs[] = {
	KP_NEEDED_TEXT(1, "username", "The name to sign in with."),
	KP_NEEDED_SECRET(2, "password", "The password."),
};
static const kp_input sub_inputs[] = {
	KP_NEEDED_TEXT(1, "sub", "The account: <provider>:<id>."),
	KP_NOW,
};
static const kp_input refresh_inputs[] = {
	KP_NEEDED_SECRET(1, "token", "The refresh token."),
	KP_NOW,
};
static const kp_input end_inputs[] = {KP_NEEDED_SECRET(1, "token", "The refresh token.")};
static const kp_input sweep_inputs[] = {KP_NOW};
static const kp_input access_inputs[] = {
	KP_NEEDED_SECRET(1, "token", "The access token."),
	KP_NOW,
};
static const kp_input renew_inputs[] = {
	KP_FLAG("retire", "Tokens of older keys are good no longer."),
};

static const kp_member token_members[] = {
	{"token", KP_KIND_TEXT, "The refresh token; it is not stored and not to be had again.",
	 NULL},
};
static const kp_member rotate_members[] = {
	{"token", KP_KIND_TEXT, "The next refresh token.", NULL},
	{"sub", KP_KIND_TEXT, "Whose it is.", NULL},
};
static const kp_member issue_members[] = {
	{"token", KP_KIND_TEXT, "The access token.", NULL},
};
static const kp_member access_members[] = {
	{"sub", KP_KIND_TEXT, "Whose it is.", NULL},
	{"name", KP_KIND_TEXT, "What people call them.", NULL},
	{"is_operator", KP_KIND_BOOLEAN, "Whether it sees every folder.", NULL},
	{"folders", KP_KIND_ARRAY, "Else the folders that it sees, each with all below it.", NULL},
	{"expires_at", KP_KIND_TIME, "Until when the token is good.", NULL},
};

static const kp_outcome verify_outcomes[] = {
	{KEEP_DENIED, false, "Unknown user, wrong or no password, or disabled; it does not say."},
};
static const kp_outcome start_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such account."},
	{KEEP_DENIED, false, "It is disabled, or the store was opened read-only."},
};
static const kp_outcome rotate_outcomes[] = {
	{KEEP_DENIED, false,
	 "Unknown, expired, revoked, its account disabled, or used already, which revokes its "
	 "whole "
	 "family."},
};
static const kp_outcome access_outcomes[] = {
	{KEEP_DENIED, false, "Not one of ours, altered, expired, or of a retired key."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_verify(kp_call *call, keep_error *err)
{
	keep_auth_user user = {.disabled = false};
	keep_status status = keep_gateway_verify_password(
		call->handle, kp_call_text(call, "username"), kp_call_text(call, "password"),
		call->arena, &user, err);

	return status == KEEP_OK ? kp_call_put_record(call, &kp_auth_user_record, &user, err)
				 : status;
}

static void put_token(kp_call *call, keep_bytes token, const keep_bytes *sub)
{
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "token", token);
	if (sub)
		kp_call_put_text(call, "sub", *sub);
	kp_json_close_object(kp_call_writer(call));
}

static keep_status run_start(kp_call *call, keep_error *err)
{
	char token[KEEP_TOKEN_SIZE] = "";
	keep_status status = keep_gateway_start_session(call->handle, kp_call_text(call, "sub"),
							kp_call_now(call), token, err);

	if (status == KEEP_OK)
		put_token(call, keep_bytes_of(token), NULL);
	kp_wipe(token, sizeof token);
	return status;
}

static keep_status run_rotate(kp_call *call, keep_error *err)
{
	char next[KEEP_TOKEN_SIZE] = "";
	keep_buffer sub = KEEP_BUFFER_INIT;
	keep_status status = keep_gateway_rotate_session(call->handle, kp_call_text(call, "token"),
							 kp_call_now(call), next, &sub, err);
	keep_bytes whose = kp_buffer_bytes(&sub);

	if (status == KEEP_OK)
		put_token(call, keep_bytes_of(next), &whose);
	kp_wipe(next, sizeof next);
	keep_buffer_release(&sub);
	return status;
}

static keep_status run_end(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_end_session(call->handle, kp_call_text(call, "token"), err));
}

static keep_status run_sweep(kp_call *call, keep_error *err)
{
	int64_t count = 0;
	keep_status status =
		keep_gateway_sweep_sessions(call->handle, kp_call_now(call), &count, err);

	return kp_call_put_integer(call, status, count);
}

static keep_status run_issue(kp_call *call, keep_error *err)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_status status = keep_gateway_issue_access_token(
		call->handle, kp_call_text(call, "sub"), kp_call_now(call), &token, err);

	if (status == KEEP_OK)
		put_token(call, kp_buffer_bytes(&token), NULL);
	if (token.data)
		kp_wipe(token.data, token.len);
	keep_buffer_release(&token);
	return status;
}

static keep_status run_verify_access(kp_call *call, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_access access = {.is_operator = false};
	keep_status status =
		keep_gateway_verify_access_token(call->handle, kp_call_text(call, "token"),
						 kp_call_now(call), call->arena, &access, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(writer);
	kp_call_put_text(call, "sub", access.sub);
	kp_call_put_text(call, "name", access.name);
	kp_json_name(writer, "is_operator");
	kp_json_put_bool(writer, access.is_operator);
	kp_json_name(writer, "folders");
	kp_json_open_array(writer);
	for (size_t i = 0; i < access.folder_count; i++)
		kp_json_put_text(writer, access.folders[i]);
	kp_json_close_array(writer);
	status = kp_call_put_time(call, "expires_at", true, access.expires_at, err);
	kp_json_close_object(writer);
	return status;
}

static keep_status run_renew(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_gateway_renew_signing_key(
					      call->handle, kp_call_flag(call, "retire"), err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "verify_password",
	 .sentence = "Tell whose a username and a password are.",
	 .more = "All that is wrong is one answer, and takes one time.",
	 KP_INPUTS(verify_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The account.",
	 .record = &kp_auth_user_record,
	 KP_OUTCOMES(verify_outcomes),
	 .run = run_verify},
	{.verb = "start_session",
	 .sentence = "Begin a web session: a family of refresh tokens, each good for 30 days.",
	 KP_INPUTS(sub_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "Its first token.",
	 KP_MEMBERS(token_members),
	 KP_OUTCOMES(start_outcomes),
	 .shown = "token",
	 .changes = true,
	 .run = run_start},
	{.verb = "rotate_session",
	 .sentence = "Exchange a refresh token for the next of its family.",
	 .more = "Each is good once: one of many racing wins.",
	 KP_INPUTS(refresh_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The next token, and whose it is.",
	 KP_MEMBERS(rotate_members),
	 KP_OUTCOMES(rotate_outcomes),
	 .changes = true,
	 .run = run_rotate},
	{.verb = "end_session",
	 .sentence = "Revoke a refresh token's family.",
	 .more = "Done also for an unknown token.",
	 KP_INPUTS(end_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_end},
	{.verb = "sweep_sessions",
	 .sentence = "Remove expired refresh tokens, at most 10000 a call.",
	 KP_INPUTS(sweep_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "How many.",
	 .changes = true,
	 .run = run_sweep},
	{.verb = "issue_access_token",
	 .sentence = "Sign an access token, a JWT that is good for 1 hour.",
	 KP_INPUTS(sub_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The token.",
	 KP_MEMBERS(issue_members),
	 KP_OUTCOMES(start_outcomes),
	 .shown = "token",
	 .changes = true,
	 .run = run_issue},
	{.verb = "verify_access_token",
	 .sentence = "Tell what an access token grants.",
	 .more = "Reads no account: the token alone says it.",
	 KP_INPUTS(access_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What it says.",
	 KP_MEMBERS(access_members),
	 KP_OUTCOMES(access_outcomes),
	 .run = run_verify_access},
	{.verb = "renew_signing_key",
	 .sentence = "Sign access tokens with a new key from now on.",
	 .more = "Tokens of older keys are good until they expire, or with `retire` no longer.",
	 KP_INPUTS(renew_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_renew},
};

const kp_operation_group kp_gateway_sign_in_group = {
	.title = "Signing in",
	.operations = operations,
	.count = KP_COUNT(operations),
};
