/*
 * operations_assistant_audit.c - the assistant's operations on the audit log.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

#include <string.h>

#define ENTRY_INPUTS(place_)                                                                       \
	KP_NEEDED_TEXT(place_, "event_type",                                                       \
		       "What kind of thing: tool_execution, web_request and such."),               \
		KP_OTHER(TEXT, "action", "What was done, in a word or two."),                      \
		KP_OTHER(TEXT, "service_name", "The service that it is about."),                   \
		KP_OTHER(TEXT, "agent_name", "The agent that did it."),                            \
		KP_OTHER(TEXT, "conversation_id", "Where it came from."),                          \
		KP_OTHER(OBJECT, "details", "More of it; secrets in it are stored as ***."),       \
		KP_OTHER(BOOLEAN, "success", "Whether it went well."),                             \
		KP_OTHER_LONG("error_message", "Why not."),                                        \
		KP_OTHER(TEXT, "user_id", "Who asked for it."),                                    \
		KP_OTHER(TEXT, "ip_address", "From where."),                                       \
		KP_OTHER(TIME, "timestamp", "When; now when left out.")

#define FILTER_INPUTS                                                                              \
	KP_OTHER(TIME, "from", "Not before this time."),                                           \
		KP_OTHER(TIME, "until", "Before this time."),                                      \
		KP_OTHER(TEXT, "event_type", "Of this kind."),                                     \
		KP_OTHER(TEXT, "service_name", "About this service."),                             \
		KP_OTHER(TEXT, "agent_name", "By this agent."),                                    \
		KP_OTHER(TEXT, "conversation_id", "Of this conversation."),                        \
		KP_OTHER(BOOLEAN, "success", "Those that went well, or did not.")

static const kp_input audit_inputs[] = {ENTRY_INPUTS(1)};
static const kp_input element_inputs[] = {ENTRY_INPUTS(0)};
static const kp_input many_inputs[] = {
	KP_NEEDED_ARRAY(1, "entries", "An array of objects with the inputs of audit."),
};
static const kp_input query_inputs[] = {
	FILTER_INPUTS,
	KP_OTHER_NUMBER("before_seq", "0", "Only entries with a smaller number; 0: all."),
	KP_LIMIT("100"),
};
static const kp_input export_inputs[] = {FILTER_INPUTS};

static const kp_member query_members[] = {
	{"entries", KP_KIND_ARRAY, "Newest first.", &kp_audit_entry_record},
	{"has_more", KP_KIND_BOOLEAN, "There are older ones.", NULL},
};
static const kp_member verify_members[] = {
	{"is_intact", KP_KIND_BOOLEAN, "Every entry follows from the one before.", NULL},
	{"checked", KP_KIND_INTEGER, "How many entries.", NULL},
	{"anchors", KP_KIND_INTEGER, "Stretches that retention removed and sealed.", NULL},
	{"broken_seq", KP_KIND_INTEGER, "The first entry that does not follow; 0: none.", NULL},
	{"reason", KP_KIND_TEXT, "Why, in words.", NULL},
};

/* ---------------------------------------------------------------- functions */

static void read_success(const kp_argument *success, keep_audit_entry *entry)
{
	entry->has_success = success->given;
	entry->success = success->boolean;
}

static keep_status run_audit(kp_call *call, keep_error *err)
{
	keep_audit_entry entry = {.seq = 0};
	int64_t seq = 0;
	keep_status status;

	kp_call_record(call, &kp_audit_entry_record, &entry);
	read_success(kp_call_argument(call, "success"), &entry);
	status = keep_assistant_audit(call->handle, &entry, &seq, err);
	return kp_call_put_integer(call, status, seq);
}

static keep_status run_audit_many(kp_call *call, keep_error *err)
{
	const kp_json *array = kp_call_argument(call, "entries")->json;
	size_t count = array->list.count;
	keep_audit_entry *entries = kp_arena_alloc(call->arena, (count + 1) * sizeof *entries);
	keep_status status = KEEP_OK;

	if (!entries)
		return kp_fail_memory(err, "entries");
	memset(entries, 0, (count + 1) * sizeof *entries);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		const kp_json *success = kp_json_member(&array->list.items[i], "success");

		status = kp_element_to_record(&array->list.items[i], element_inputs,
					      KP_COUNT(element_inputs), &kp_audit_entry_record,
					      &entries[i], call->arena, err);
		if (status != KEEP_OK)
			return kp_prefix(err, status, "entries: element %zu", i);
		entries[i].has_success = success && success->kind == KP_JSON_BOOL;
		entries[i].success = entries[i].has_success && success->boolean;
	}
	status = keep_assistant_audit_many(call->handle, entries, count, err);
	return kp_call_put_integer(call, status, (int64_t)count);
}

static keep_audit_filter read_filter(const kp_call *call)
{
	const kp_argument *success = kp_call_argument(call, "success");

	return (keep_audit_filter){
		.from_ms = kp_call_time(call, "from", 0),
		.until_ms = kp_call_time(call, "until", 0),
		.event_type = kp_call_text(call, "event_type"),
		.service_name = kp_call_text(call, "service_name"),
		.agent_name = kp_call_text(call, "agent_name"),
		.conversation_id = kp_call_text(call, "conversation_id"),
		.success = success->given ? success->boolean : -1,
	};
}

static keep_status run_query(kp_call *call, keep_error *err)
{
	keep_audit_filter filter = read_filter(call);
	keep_audit_list list = {NULL, 0, false};
	keep_status status;

	filter.before_seq = kp_call_integer(call, "before_seq");
	status = keep_assistant_query_audit(call->handle, &filter,
					    (size_t)kp_call_integer(call, "limit"), call->arena,
					    &list, err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_json_name(kp_call_writer(call), "entries");
	status = kp_call_put_array(call, &kp_audit_entry_record, list.items, list.count, err);
	kp_call_put_flag(call, "has_more", list.has_more);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

static keep_status run_verify(kp_call *call, keep_error *err)
{
	keep_audit_report report = {0};
	keep_status status = keep_assistant_verify_audit(call->handle, call->arena, &report, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_flag(call, "is_intact", report.is_intact);
	kp_call_put_number(call, "checked", report.checked);
	kp_call_put_number(call, "anchors", report.anchors);
	kp_call_put_number(call, "broken_seq", report.broken_seq);
	kp_call_put_text(call, "reason", report.reason);
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status put_line(void *ctx, keep_bytes line, keep_error *err)
{
	kp_call *call = ctx;

	kp_call_row_begin(call);
	kp_json_put_raw(kp_call_writer(call), line);
	return kp_call_row_end(call, err);
}

static keep_status run_export(kp_call *call, keep_error *err)
{
	const keep_audit_filter filter = read_filter(call);
	keep_status status;

	kp_call_open_rows(call);
	status = keep_assistant_export_audit(call->handle, &filter, put_line, call, err);
	kp_call_close_rows(call);
	return status;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "audit",
	 .sentence = "Add an entry to the audit log.",
	 KP_INPUTS(audit_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "Its number.",
	 .changes = true,
	 .run = run_audit},
	{.verb = "audit_many",
	 .sentence = "Add many entries in one transaction.",
	 KP_INPUTS(many_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "How many.",
	 .changes = true,
	 .run = run_audit_many},
	{.verb = "query_audit",
	 .sentence = "Give entries of the audit log, newest first.",
	 KP_INPUTS(query_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "A page of them.",
	 KP_MEMBERS(query_members),
	 .run = run_query},
	{.verb = "verify_audit",
	 .sentence = "Follow the audit log's chain of hashes to its end.",
	 KP_MEMBERS(verify_members),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "Whether it is whole, and where not.",
	 .verdict = "is_intact",
	 .run = run_verify},
	{.verb = "export_audit",
	 .sentence = "Give the audit log as JSON, oldest first, an entry a line.",
	 KP_INPUTS(export_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The entries.",
	 .record = &kp_audit_entry_record,
	 .prints_lines = true,
	 .run = run_export},
};

const kp_operation_group kp_assistant_audit_group = {
	.title = "Audit log",
	.operations = operations,
	.count = KP_COUNT(operations),
};
