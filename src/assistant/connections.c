/*
 * connections.c - whether services can be reached, as whoever tried it last reports.
 *
 * Invariants:
 *   1. A report replaces the one before: status, time and error together; metadata only when it has
 *      some.
 *   2. A change of status is in the audit log, with the status before it; a report of the same
 *      status again costs one row and no entry.
 *
 * What it does not do: try anything, or order reports by their time: the last one that came counts.
 *
 * Tests: tests/contract/test_assistant_connections.c.
 */
#include "assistant/assistant_private.h"

struct report {
	keep_bytes service, status, error_text, metadata;
	int64_t now_ms;
	const keep_actor *actor;
};

static bool is_status(keep_bytes status)
{
	static const char *const all[] = {KEEP_SERVICE_CONNECTION_STATUS_CONNECTED,
					  KEEP_SERVICE_CONNECTION_STATUS_DISCONNECTED,
					  KEEP_SERVICE_CONNECTION_STATUS_ERROR};

	for (size_t i = 0; i < KP_COUNT(all); i++)
		if (kp_bytes_equal(status, keep_bytes_of(all[i])))
			return true;
	return false;
}

static keep_status check_status(keep_bytes status, keep_error *err)
{
	if (is_status(status))
		return KEEP_OK;
	return kp_fail(err, KEEP_INVALID, "status: connected, disconnected or error is needed");
}

/* {"old":…,"new":…}, either null. */
static keep_status note_status(kp_lease *lease, const struct report *report, const char *action,
			       keep_bytes old_status, keep_error *err)
{
	kp_audit_note note = {
		.event_type = "connection_change",
		.action = action,
		.service_name = report->service,
		.actor = report->actor,
		.failed = kp_bytes_equal(report->status,
					 keep_bytes_of(KEEP_SERVICE_CONNECTION_STATUS_ERROR)),
		.error_message = report->error_text,
	};
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "old");
	kp_json_put_text(&writer, old_status);
	kp_json_name(&writer, "new");
	kp_json_put_text(&writer, report->status);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

static keep_status apply_report(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct report *report = ctx;
	kp_arena arena = {.head = NULL};
	keep_service_connection old = {.id = 0};
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_CONNECTION,
					  KP_VALUES(kp_text_value(report->service)),
					  &kp_service_connection_record, &arena, &old, &found, err);
	keep_bytes metadata = report->metadata.data ? report->metadata : old.metadata;

	if (status == KEEP_OK)
		status = kp_lease_run(
			lease, KP_ASSISTANT_PUT_CONNECTION,
			KP_VALUES(kp_text_value(report->service), kp_text_value(report->status),
				  kp_time_value(report->now_ms), kp_text_value(report->error_text),
				  kp_json_value(metadata), kp_time_value(kp_clock_ms())),
			NULL, err);
	if (status == KEEP_OK && !(found && kp_bytes_equal(old.status, report->status)))
		status = note_status(lease, report, "report", old.status, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_report_connection(keep_assistant *assistant, keep_bytes service,
					     keep_bytes status, keep_bytes error_text,
					     keep_bytes metadata, int64_t now_ms,
					     const keep_actor *actor, keep_error *err)
{
	struct report report = {.service = service,
				.status = status,
				.error_text = error_text,
				.metadata = metadata,
				.now_ms = kp_assistant_now(now_ms),
				.actor = actor};
	keep_status checked = kp_check_key("service", service, err);

	if (checked == KEEP_OK)
		checked = check_status(status, err);
	if (checked == KEEP_OK)
		checked =
			kp_check_text("error_text", error_text, KP_KEY_MAX, KP_MAY_BE_ABSENT, err);
	if (checked == KEEP_OK)
		checked = kp_check_json("metadata", metadata, KP_JSON_OBJECT, err);
	if (checked == KEEP_OK)
		checked = kp_check_time("now_ms", report.now_ms, err);
	if (checked == KEEP_OK)
		checked = kp_check_actor(actor, err);
	if (checked == KEEP_OK)
		checked = kp_store_change(&assistant->store, apply_report, &report, KP_NEWS_NONE,
					  err);
	return checked;
}

keep_status keep_assistant_list_connections(keep_assistant *assistant, keep_bytes status,
					    keep_memory *memory, keep_service_connection_list *out,
					    keep_error *err)
{
	keep_status checked = status.data ? check_status(status, err) : KEEP_OK;

	if (checked == KEEP_OK)
		checked = kp_store_list(&assistant->store, KP_ASSISTANT_LIST_CONNECTIONS,
					KP_VALUES(kp_text_value(status)),
					&kp_service_connection_record, memory, &out->items,
					&out->count, err);
	return checked;
}

static keep_status apply_remove(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct report *report = ctx;
	kp_arena arena = {.head = NULL};
	keep_service_connection old = {.id = 0};
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_CONNECTION,
					  KP_VALUES(kp_text_value(report->service)),
					  &kp_service_connection_record, &arena, &old, &found, err);

	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "connection '%" KP_PRI "': there is none",
				 KP_ARG(report->service));
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_CONNECTION,
				      KP_VALUES(kp_text_value(report->service)), NULL, err);
	if (status == KEEP_OK)
		status = note_status(lease, report, "remove", old.status, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_remove_connection(keep_assistant *assistant, keep_bytes service,
					     const keep_actor *actor, keep_error *err)
{
	struct report report = {.service = service, .actor = actor};
	keep_status status = kp_check_key("service", service, err);

	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_remove, &report, KP_NEWS_NONE,
					 err);
	return status;
}
