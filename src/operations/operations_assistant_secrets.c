/*
 * operations_assistant_secrets.c - the assistant's operations on credentials and connections.
 *
 * What it does not do: make or replace key files; `keep rekey` does.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

static const char *const type_words[] = {"oauth_token", "api_key", "app_password", NULL};
static const char *const status_words[] = {"connected", "disconnected", "error", NULL};

#define SERVICE_INPUT KP_NEEDED_TEXT(1, "service", "The service.")

static const kp_input put_inputs[] = {
	SERVICE_INPUT,
	KP_NEEDED_WORD(2, "credential_type", type_words, "oauth_token, api_key or app_password."),
	KP_NEEDED_SECRET(3, "data", "The secret, any text or JSON; at most 64 KiB."),
	KP_OTHER(TIME, "expires_at", "When it stops being good."),
};
static const kp_input service_inputs[] = {SERVICE_INPUT};
static const kp_input expiring_inputs[] = {
	{.name = "within_ms",
	 .kind = KP_KIND_INTEGER,
	 .place = 1,
	 .place_default = "a week",
	 .nullable = true,
	 .fallback = "604800000",
	 .max = INT64_MAX,
	 .sentence = "Within so many milliseconds."},
	KP_NOW,
};
static const kp_input now_inputs[] = {KP_NOW};
static const kp_input report_inputs[] = {
	SERVICE_INPUT,
	KP_NEEDED_WORD(2, "status", status_words, "connected, disconnected or error."),
	KP_OTHER_LONG("error", "What went wrong."),
	KP_OTHER(OBJECT, "metadata", "What is kept with it."),
	KP_NOW,
};
static const kp_input connections_inputs[] = {
	KP_OTHER_WORD("status", status_words, "Those of a status."),
};

#define CREDENTIAL_MEMBERS                                                                         \
	{"service_name", KP_KIND_TEXT, "The service.", NULL},                                      \
		{"credential_type", KP_KIND_TEXT, "What it is.", NULL},                            \
		{"expires_at", KP_KIND_TIME, "When it stops being good; null: never.", NULL},      \
		{"is_expired", KP_KIND_BOOLEAN, "It has.", NULL},                                  \
		{"created_at", KP_KIND_TIME, "When it was first put.", NULL},                      \
		{"updated_at", KP_KIND_TIME, "When it was last put.", NULL},                       \
	{                                                                                          \
		"key_id", KP_KIND_TEXT, "The key that it is encrypted with.", NULL                 \
	}

static const kp_member get_members[] = {
	{"data", KP_KIND_TEXT, "The secret.", NULL},
	CREDENTIAL_MEMBERS,
};
static const kp_member list_members[] = {CREDENTIAL_MEMBERS};
static const kp_member rekey_members[] = {
	{"renewed", KP_KIND_INTEGER, "Encrypted anew.", NULL},
	{"current", KP_KIND_INTEGER, "Were under the newest key already.", NULL},
	{"remaining", KP_KIND_INTEGER, "Could not be read; they stay as they are.", NULL},
};

static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is none for that service."},
};
static const kp_outcome get_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is none for that service."},
	{KEEP_DENIED, false, "There is no key, or none that fits."},
	{KEEP_CORRUPT, false, "What is stored is damaged; it stays."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_put(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_assistant_put_credential(
			      call->handle, kp_call_text(call, "service"),
			      kp_call_text(call, "credential_type"), kp_call_text(call, "data"),
			      kp_call_time(call, "expires_at", 0), kp_assistant_actor(call), err));
}

static keep_status put_credential(kp_call *call, const keep_credential *credential, bool with_data,
				  keep_error *err)
{
	keep_status status;

	kp_json_open_object(kp_call_writer(call));
	if (with_data)
		kp_call_put_text(call, "data", credential->data);
	kp_call_put_text(call, "service_name", credential->service_name);
	kp_call_put_text(call, "credential_type", credential->credential_type);
	status = kp_call_put_time(call, "expires_at", credential->has_expires_at,
				  credential->expires_at, err);
	kp_call_put_flag(call, "is_expired", credential->is_expired);
	if (status == KEEP_OK)
		status = kp_call_put_time(call, "created_at", true, credential->created_at, err);
	if (status == KEEP_OK)
		status = kp_call_put_time(call, "updated_at", true, credential->updated_at, err);
	kp_call_put_text(call, "key_id", credential->key_id);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_credential credential = {.has_expires_at = false};
	keep_status status = keep_assistant_get_credential(
		call->handle, kp_call_text(call, "service"), kp_assistant_actor(call), KEEP_NOW,
		&memory, &credential, err);

	if (status == KEEP_OK)
		status = put_credential(call, &credential, true, err);
	keep_assistant_wipe(&memory);
	return status;
}

static keep_status give_list(kp_call *call, keep_status status, const keep_credential_list *list,
			     keep_error *err)
{
	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < list->count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		status = put_credential(call, &list->items[i], false, err);
		if (status == KEEP_OK)
			status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_credential_list list = {NULL, 0};
	keep_status status = keep_assistant_list_credentials(call->handle, kp_call_now(call),
							     call->arena, &list, err);

	return give_list(call, status, &list, err);
}

static keep_status run_expiring(kp_call *call, keep_error *err)
{
	keep_credential_list list = {NULL, 0};
	keep_status status = keep_assistant_expiring_credentials(
		call->handle, kp_call_integer(call, "within_ms"), kp_call_now(call), call->arena,
		&list, err);

	return give_list(call, status, &list, err);
}

static keep_status run_remove(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_assistant_remove_credential(call->handle, kp_call_text(call, "service"),
						       kp_assistant_actor(call), err));
}

static keep_status run_rekey(kp_call *call, keep_error *err)
{
	keep_rekey_result result = {0};
	keep_status status =
		keep_assistant_rekey(call->handle, kp_assistant_actor(call), &result, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_number(call, "renewed", result.renewed);
	kp_call_put_number(call, "current", result.current);
	kp_call_put_number(call, "remaining", result.remaining);
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status run_report(kp_call *call, keep_error *err)
{
	const kp_json *metadata = kp_call_argument(call, "metadata")->json;

	return kp_call_put_null(call,
				keep_assistant_report_connection(
					call->handle, kp_call_text(call, "service"),
					kp_call_text(call, "status"), kp_call_text(call, "error"),
					metadata ? metadata->raw : (keep_bytes){NULL, 0},
					kp_call_now(call), kp_assistant_actor(call), err));
}

static keep_status run_connections(kp_call *call, keep_error *err)
{
	keep_service_connection_list list = {NULL, 0};
	keep_status status = keep_assistant_list_connections(
		call->handle, kp_call_text(call, "status"), call->arena, &list, err);

	return kp_assistant_give_all(call, status, &kp_service_connection_record, list.items,
				     list.count, err);
}

static keep_status run_remove_connection(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_assistant_remove_connection(call->handle, kp_call_text(call, "service"),
						       kp_assistant_actor(call), err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "put_credential",
	 .sentence = "Store a secret of a service, encrypted; it replaces what was there.",
	 KP_INPUTS(put_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_put},
	{.verb = "get_credential",
	 .sentence = "Give a service's secret; the audit log remembers it.",
	 KP_INPUTS(service_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The credential.",
	 KP_MEMBERS(get_members),
	 KP_OUTCOMES(get_outcomes),
	 .shown = "data",
	 .run = run_get},
	{.verb = "list_credentials",
	 .sentence = "Give the services that have a credential, never the secret.",
	 KP_INPUTS(now_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The credentials, by service.",
	 KP_MEMBERS(list_members),
	 .shown = "service_name credential_type expires_at is_expired",
	 .run = run_list},
	{.verb = "expiring_credentials",
	 .sentence = "Give the credentials that expire soon, or have expired.",
	 KP_INPUTS(expiring_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The credentials, soonest first.",
	 KP_MEMBERS(list_members),
	 .shown = "service_name credential_type expires_at is_expired",
	 .run = run_expiring},
	{.verb = "remove_credential",
	 .sentence = "Remove a service's credential.",
	 KP_INPUTS(service_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_remove},
	{.verb = "rekey",
	 .sentence = "Encrypt everything under the newest key; who is interrupted goes on later.",
	 .more = "Give the new key in front of the old ones (KEEP_ENCRYPTION_KEY=\"NEW,OLD\", or "
		 "the key file's first line). The old ones may go when this has succeeded.",
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was done.",
	 KP_MEMBERS(rekey_members),
	 .changes = true,
	 .run = run_rekey},
	{.verb = "report_connection",
	 .sentence = "Tell what was seen of a service just now.",
	 KP_INPUTS(report_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_report},
	{.verb = "list_connections",
	 .sentence = "Give what was last seen of each service.",
	 KP_INPUTS(connections_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The connections, by service.",
	 .record = &kp_service_connection_record,
	 .shown = "service_name status last_check last_error",
	 .run = run_connections},
	{.verb = "remove_connection",
	 .sentence = "Forget a service's connection.",
	 KP_INPUTS(service_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_remove_connection},
};

const kp_operation_group kp_assistant_credential_group = {
	.title = "Credentials and connections",
	.operations = operations,
	.count = KP_COUNT(operations),
};
