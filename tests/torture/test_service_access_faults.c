/*
 * test_service_access_faults.c - who asks and what they may, when the Nth allocation or driver call
 * fails: nothing leaks, and no failure opens a door.
 */
#include "service/access.h"
#include "service_fixture.h"
#include "torture.h"

static keep_service service;
static keep_buffer token = KEEP_BUFFER_INIT;

static keep_status call(kp_request *request, const char *name, const char *with, keep_buffer *out)
{
	const kp_operation_store *store = NULL;
	const kp_operation *operation = NULL;
	kp_arena arena = {.head = NULL};
	const kp_json *inputs = NULL;
	keep_status status = kp_operation_parse(keep_bytes_of(name), &store, &operation, NULL);

	if (status == KEEP_OK)
		status = kp_json_parse(keep_bytes_of(with), &arena, &inputs, NULL);
	if (status == KEEP_OK)
		status = kp_access_check(request, store, operation, inputs, NULL);
	if (status == KEEP_OK)
		status = kp_access_run(request, store, operation, inputs, NULL, out, NULL);
	kp_arena_release(&arena);
	return status;
}

/* What must be refused is OK for the round when it was, and is never done. */
static keep_status refused(keep_status status)
{
	CHECK(status != KEEP_OK, "a door is open");
	return status == KEEP_DENIED ? KEEP_OK : status;
}

static keep_status ask(kp_request *request)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	bool may = false;
	keep_status status = call(request, "gateway.list_chats", "{\"limit\":1}", &out);

	if (status == KEEP_OK)
		CHECK(strstr(out.data, "test:a") && !strstr(out.data, "test:b"), "%s", out.data);
	else
		CHECK(out.len == 0, "a part of a result");
	if (status == KEEP_OK)
		status = call(request, "gateway.history", "{\"jid\":\"test:a\"}", &out);
	if (status == KEEP_OK)
		status = refused(call(request, "gateway.history", "{\"jid\":\"test:b\"}", &out));
	if (status == KEEP_OK)
		status = refused(
			call(request, "mailbox.get_agent_group", "{\"id\":\"ag-b\"}", &out));
	if (status == KEEP_OK)
		status = refused(call(request, "gateway.list_users", "{}", &out));
	if (status == KEEP_OK) {
		status = kp_access_chat(&service, &request->account, KEEP_BYTES("wired:1"),
					(keep_bytes){0}, &may, NULL);
		CHECK(!may, "a chat that is wired to b");
	}
	keep_buffer_release(&out);
	return status;
}

static keep_status run(void *ctx)
{
	kp_request request = {.service = &service, .path = "/v1/x", .is_loopback = true};
	int http_status = 0;
	keep_status status = kp_accounts_open(&service.accounts, NULL);

	(void)ctx;
	if (status == KEEP_OK) {
		status = kp_account_of_token(&request, (keep_bytes){0}, KP_DOOR_ACCOUNT,
					     &http_status, NULL);
		CHECK(!request.account.is_anonymous, "nobody was let in");
		status = refused(status);
	}
	if (status == KEEP_OK)
		status = kp_account_of_token(&request, kp_buffer_bytes(&token), KP_DOOR_ACCOUNT,
					     &http_status, NULL);
	CHECK(!request.account.access.is_operator, "an operator by a failure");
	if (status == KEEP_OK)
		status = ask(&request);
	kp_account_release(&request.account);
	kp_accounts_close(&service.accounts);
	return status;
}

static void no_failure_opens_a_door(void **state)
{
	const unsigned failures = MAY(KEEP_OK) | MAY(KEEP_NO_MEMORY) | MAY(KEEP_FULL) |
				  MAY(KEEP_UNAVAILABLE) | MAY(KEEP_BUSY) | MAY(KEEP_CORRUPT);
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	service_open(&service, "sqlite");
	kp_accounts_close(&service.accounts);
	(void)service_call(&service, "gateway.put_group", "{\"jid\":\"test:a\",\"folder\":\"a\"}");
	(void)service_call(&service, "gateway.put_group", "{\"jid\":\"test:b\",\"folder\":\"b\"}");
	(void)service_call(&service, "gateway.put_chat", "{\"jid\":\"test:a\"}");
	(void)service_call(&service, "gateway.put_chat", "{\"jid\":\"test:b\"}");
	(void)service_call(&service, "mailbox.put_agent_group",
			   "{\"id\":\"ag-b\",\"name\":\"b\",\"folder\":\"b\"}");
	(void)service_call(&service, "mailbox.put_messaging_group",
			   "{\"id\":\"w\",\"channel_type\":\"wired\",\"platform_id\":\"1\"}");
	(void)service_call(&service, "mailbox.wire",
			   "{\"messaging_group_id\":\"w\",\"agent_group_id\":\"ag-b\"}");
	(void)service_call(&service, "gateway.create_user",
			   "{\"sub\":\"local:a\",\"folders\":[\"a\"]}");
	OK(keep_gateway_issue_access_token(service.gateway, KEEP_BYTES("local:a"), KEEP_NOW, &token,
					   &err));
	OK(run(NULL));
	assert_true(torture(KP_FAULT_ALLOC, failures, run, NULL) > 20);
	assert_true(torture(KP_FAULT_DRIVER, failures, run, NULL) > 20);
	keep_buffer_release(&token);
	service_close(&service);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_failure_opens_a_door),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
