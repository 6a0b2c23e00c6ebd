/*
 * operations_gateway_routes.c - the gateway's operations on routes, and where a message goes.
 *
 * What it does not do: match; src/gateway does, and docs/routing.md tells how.
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

#include <string.h>

static const char *const type_words[] = {"command", "prefix", "pattern", "keyword",
					 "sender",  "verb",   "default", NULL};

#define SEQ_INPUT KP_OTHER_NUMBER("seq", "0", "Smaller is tried first.")
#define TYPE_INPUT(place_)                                                                         \
	{                                                                                          \
		.name = "type", .kind = KP_KIND_TEXT, .place = (place_), .nullable = true,         \
		.words = type_words,                                                               \
		.sentence = "How it compares: command, prefix, pattern, keyword, sender, verb or " \
			    "default; default when left out.",                                     \
	}
#define TARGET_INPUT(place_)                                                                       \
	KP_NEEDED_TEXT(place_, "target", "A folder; {sender} in it stands for the sender's id.")
#define MATCH_INPUT(place_)                                                                        \
	KP_OTHER_AT(place_, "match", "What to compare with; not needed for default.")

static const kp_input add_inputs[] = {
	KP_NEEDED_TEXT(1, "jid", "A chat, a platform's prefix such as telegram:, or *."),
	TARGET_INPUT(2),
	TYPE_INPUT(3),
	MATCH_INPUT(4),
	SEQ_INPUT,
};
static const kp_input element_inputs[] = {TARGET_INPUT(1), TYPE_INPUT(2), MATCH_INPUT(3),
					  SEQ_INPUT};
static const kp_input remove_inputs[] = {KP_NEEDED_NUMBER(1, "id", "The route's id.")};
static const kp_input set_inputs[] = {
	KP_NEEDED_TEXT(1, "jid", "A chat, a platform's prefix such as telegram:, or *."),
	KP_NEEDED_ARRAY(2, "routes",
			"Objects {\"target\", \"type\", \"match\", \"seq\"}, as the inputs of "
			"add_route; at most 20000."),
};
static const kp_input get_inputs[] = {
	KP_OTHER_AT(1, "jid", "Exactly this chat, prefix or *; all when left out.")};

static const kp_input resolve_inputs[] = {
	KP_NEEDED_TEXT(1, "chat_jid", "The chat."),
	KP_NEEDED_LONG(2, "content", "What the message says."),
	KP_OTHER(TEXT, "sender", "Who sent it."),
	KP_OTHER(TEXT, "sender_name", "The sender's name for people."),
	KP_OTHER(TEXT, "verb", "What it does; \"message\" when left out."),
	KP_FLAG("explain", "Tell of every route that was looked at."),
};

static const kp_member resolution_members[] = {
	{"matched", KP_KIND_BOOLEAN, "Whether a route takes the message.", NULL},
	{"target", KP_KIND_TEXT, "Its folder, expanded; or null.", NULL},
	{"route", KP_KIND_OBJECT, "The route; or null.", &kp_route_record},
	{"steps", KP_KIND_ARRAY,
	 "Only with `explain`: objects of matched, why (a sentence) and route, in the order of "
	 "evaluation.",
	 NULL},
};

static const kp_outcome route_outcomes[] = {
	{KEEP_INVALID, false, "A type, a target, or a pattern that does not compile, named."},
};
static const kp_outcome remove_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no route with that id."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_add(kp_call *call, keep_error *err)
{
	keep_route route = {.seq = 0};
	keep_status status;
	int64_t id = 0;

	kp_call_record(call, &kp_route_record, &route);
	status = keep_gateway_add_route(call->handle, &route, &id, err);
	return kp_call_put_integer(call, status, id);
}

static keep_status run_remove(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_remove_route(call->handle, kp_call_integer(call, "id"), err));
}

static keep_status run_set(kp_call *call, keep_error *err)
{
	const kp_json *array = kp_call_argument(call, "routes")->json;
	size_t count = array->list.count;
	keep_route *routes = kp_arena_alloc(call->arena, (count + 1) * sizeof *routes);
	keep_status status = KEEP_OK;

	if (!routes)
		return kp_fail_memory(err, "routes");
	memset(routes, 0, count * sizeof *routes);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = kp_element_to_record(&array->list.items[i], element_inputs,
					      KP_COUNT(element_inputs), &kp_route_record,
					      &routes[i], call->arena, err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "routes[%zu]", i);
	}
	if (status == KEEP_OK)
		status = keep_gateway_set_routes(call->handle, kp_call_text(call, "jid"), routes,
						 count, err);
	return kp_call_put_null(call, status);
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_route_list list = {NULL, 0};
	keep_status status = keep_gateway_get_routes(call->handle, kp_call_text(call, "jid"),
						     call->arena, &list, err);

	return status == KEEP_OK
		       ? kp_call_put_records(call, &kp_route_record, list.items, list.count, err)
		       : status;
}

static keep_status put_route(kp_call *call, const keep_route *route, keep_error *err)
{
	kp_json_name(kp_call_writer(call), "route");
	if (route)
		return kp_call_put_record(call, &kp_route_record, route, err);
	kp_json_put_null(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status put_steps(kp_call *call, const keep_resolution *resolution, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_status status = KEEP_OK;

	kp_json_name(writer, "steps");
	kp_json_open_array(writer);
	for (size_t i = 0; i < resolution->step_count && status == KEEP_OK; i++) {
		kp_json_open_object(writer);
		kp_json_name(writer, "matched");
		kp_json_put_bool(writer, resolution->steps[i].matched);
		kp_call_put_text(call, "why", resolution->steps[i].why);
		status = put_route(call, &resolution->steps[i].route, err);
		kp_json_close_object(writer);
	}
	kp_json_close_array(writer);
	return status;
}

static keep_status run_resolve(kp_call *call, keep_error *err)
{
	bool explain = kp_call_flag(call, "explain");
	keep_resolution resolution = {.matched = false};
	keep_message message = {.timestamp = 0};
	keep_status status;

	kp_call_record(call, &kp_message_record, &message);
	status = keep_gateway_resolve(call->handle, &message, explain, call->arena, &resolution,
				      err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_json_name(kp_call_writer(call), "matched");
	kp_json_put_bool(kp_call_writer(call), resolution.matched);
	kp_call_put_text(call, "target",
			 resolution.matched ? resolution.target : (keep_bytes){NULL, 0});
	status = put_route(call, resolution.matched ? &resolution.route : NULL, err);
	if (status == KEEP_OK && explain)
		status = put_steps(call, &resolution, err);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "add_route",
	 .sentence = "Add a route.",
	 KP_INPUTS(add_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "The route's id.",
	 KP_OUTCOMES(route_outcomes),
	 .changes = true,
	 .run = run_add},
	{.verb = "remove_route",
	 .sentence = "Remove a route.",
	 KP_INPUTS(remove_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(remove_outcomes),
	 .changes = true,
	 .run = run_remove},
	{.verb = "set_routes",
	 .sentence = "Replace all routes of a chat, a platform or *.",
	 .more = "All of them or none.",
	 KP_INPUTS(set_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(route_outcomes),
	 .changes = true,
	 .run = run_set},
	{.verb = "get_routes",
	 .sentence = "Give routes in the order of their evaluation.",
	 KP_INPUTS(get_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The routes.",
	 .record = &kp_route_record,
	 .run = run_get},
	{.verb = "resolve",
	 .sentence = "Tell where a message goes.",
	 .more = "It need not be stored. It is tried against the routes of its chat, then those of "
		 "its platform, then those of *; the first that matches, and whose target and "
		 "group "
		 "take it, wins.",
	 KP_INPUTS(resolve_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The route and its folder. No match is the answer no.",
	 KP_MEMBERS(resolution_members),
	 .verdict = "matched",
	 .run = run_resolve},
};

const kp_operation_group kp_gateway_route_group = {
	.title = "Routes",
	.operations = operations,
	.count = KP_COUNT(operations),
};
