/*
 * test_gateway_accounts_faults.c - accounts, their tokens, and onboarding, with the Nth thing in it
 * failing: gateway_faults.h says what must hold.
 *
 * No password is hashed here: 64 MiB each, some thousand times. test_vault_faults.c fails those.
 */
#include "gateway_faults.h"

#define T0 INT64_C(1700000000000)

static char token[KEEP_TOKEN_SIZE], next[KEEP_TOKEN_SIZE];

static keep_status create_operator(keep_gateway *gateway, keep_error *err)
{
	keep_user_options options = KEEP_USER_OPTIONS_INIT;

	options.sub = KEEP_BYTES("local:root");
	options.is_operator = true;
	return keep_gateway_create_user(gateway, &options, err);
}

static keep_status create_user(keep_gateway *gateway, keep_error *err)
{
	const keep_bytes folders[] = {KEEP_BYTES("a"), KEEP_BYTES("b/c")};
	keep_user_options options = KEEP_USER_OPTIONS_INIT;

	options.sub = KEEP_BYTES("local:ada");
	options.folders = folders;
	options.folder_count = KP_COUNT(folders);
	return keep_gateway_create_user(gateway, &options, err);
}

static keep_status start_session(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_start_session(gateway, KEEP_BYTES("local:ada"), T0, token, err);
}

static keep_status rotate_session(keep_gateway *gateway, keep_error *err)
{
	keep_buffer sub = KEEP_BUFFER_INIT;
	keep_status status =
		keep_gateway_rotate_session(gateway, keep_bytes_of(token), T0, next, &sub, err);

	keep_buffer_release(&sub);
	return status;
}

static keep_status renew_key(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_renew_signing_key(gateway, true, err);
}

static keep_status issue_and_verify(keep_gateway *gateway, keep_error *err)
{
	keep_buffer jwt = KEEP_BUFFER_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_access access;
	keep_status status =
		keep_gateway_issue_access_token(gateway, KEEP_BYTES("local:ada"), T0, &jwt, err);

	if (status == KEEP_OK)
		status = keep_gateway_verify_access_token(gateway, kp_buffer_bytes(&jwt), T0,
							  &memory, &access, err);
	if (status == KEEP_OK)
		assert_int_equal(access.folder_count, 2);
	keep_memory_release(&memory);
	keep_buffer_release(&jwt);
	return status;
}

static keep_status narrow(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_set_user_folders(gateway, KEEP_BYTES("local:ada"), false, NULL, 0, err);
}

static keep_status disable(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_set_user_disabled(gateway, KEEP_BYTES("local:ada"), true, err);
}

static keep_status begin_onboarding(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_start_onboarding(gateway, KEEP_BYTES("web:1"), KEEP_BYTES("ada"),
					     KEEP_BYTES("web"), NULL, err);
}

static keep_status submit_name(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_submit_name(gateway, KEEP_BYTES("web:1"), KEEP_BYTES("world"), err);
}

static keep_status approve(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_approve_onboarding(gateway, KEEP_BYTES("web:1"), KEEP_BYTES("root"),
					       KEEP_BYTES("hello"), err);
}

int main(int argc, char **argv)
{
	static const gateway_step steps[] = {
		{"create_operator", create_operator, MAY(KEEP_CONFLICT), false},
		{"create_user", create_user, MAY(KEEP_CONFLICT), false},
		{"begin_onboarding", begin_onboarding, 0, false},
		{"submit_name", submit_name, MAY(KEEP_CONFLICT), false},
		{"approve", approve, MAY(KEEP_CONFLICT), false},
		{"start_session", start_session, MAY(KEEP_CONFLICT), false},
		{"rotate_session", rotate_session, 0, true}, /* again it would be a theft */
		{"renew_key", renew_key, 0, true},
		{"issue_and_verify", issue_and_verify, 0, false},
		{"narrow", narrow, 0, false},
		{"disable", disable, 0, false},
	};

	return gateway_faults_main(argc, argv, steps, KP_COUNT(steps));
}
