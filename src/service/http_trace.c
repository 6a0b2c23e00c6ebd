/*
 * http_trace.c - GET /v1/trace?chat=JID&id=ID: a message's way through all stores, over HTTP.
 *
 * The answer is what `keep trace --json` prints: {"chat","id","steps":[…],"state","why"}. An
 * adapter or a talk asks it about a message whose answer does not come.
 *
 * Invariants:
 *   1. An account gets the trace of chats that it may see, and is told the same of all others,
 *      whether there is such a message or not.
 *
 * What it does not do: follow the message (GET /v1/events does).
 *
 * Tests: tests/cli/test_cli_chat.py, tests/cli/test_example_journey.py.
 */
#include "service/http.h"
#include "service/journey.h"

keep_status kp_trace_give(kp_request *request, keep_error *err)
{
	keep_service *service = request->service;
	keep_bytes chat = keep_bytes_of(kp_request_parameter(request, "chat"));
	keep_bytes id = keep_bytes_of(kp_request_parameter(request, "id"));
	bool may = false;
	keep_status status = kp_check_key("chat", chat, err);

	if (status == KEEP_OK)
		status = kp_check_key("id", id, err);
	if (status == KEEP_OK)
		status = kp_access_chat(service, &request->account, chat, (keep_bytes){NULL, 0},
					&may, err);
	if (status == KEEP_OK && !may)
		status = kp_fail(err, KEEP_DENIED, "the chat: not of this account's folders");
	if (status == KEEP_OK)
		status = kp_journey_trace(service->gateway, service->mailbox, chat, id,
					  &request->reply.body, err);
	if (status == KEEP_OK)
		request->reply.status = 200;
	else
		request->reply.body.len = 0;
	return status;
}
