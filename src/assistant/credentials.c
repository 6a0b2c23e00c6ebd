/*
 * credentials.c - what lets the assistant's owner into services: encrypted, and every access noted.
 *
 * A credential is one row, and its data one Fernet token of the data as it was given, so that any
 * other program with the key reads it, and tokens of another one are read here. put replaces the
 * whole of it: there are no fields to be read, changed and written back, and so none to be lost.
 *
 * Invariants:
 *   1. Data is answered after the audit entry of the access is stored, in one transaction. So a
 *      store that was opened for reading only, where nothing can be noted, answers no data: DENIED.
 *   2. An access that fails (no such credential, no key that fits, a damaged token) is noted as
 *      well, by the same transaction.
 *   3. A failed decryption is DENIED or CORRUPT and leaves the row as it is. put refuses to replace
 *      what it cannot read: that takes keep_assistant_remove_credential first.
 *   4. Plain data is in buffers that are wiped, and in the caller's memory, and nowhere else.
 *
 * What it does not do: renew what expires; keep_assistant_expiring_credentials tells what will.
 *
 * Tests: tests/contract/test_assistant_credentials.c,
 * tests/torture/test_assistant_secrets_faults.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>

enum { DATA_BYTES_MAX = 65536, WHAT_SIZE = 256 };

struct access {
	keep_assistant *assistant;
	keep_bytes service, credential_type, data;
	int64_t expires_at;
	const keep_actor *actor;
	/* out */
	keep_buffer plain;
	keep_memory *memory;
	keep_service_credential row;
	keep_status status; /* of an access that failed, and was noted */
	keep_error why;
};

static keep_status refuse_none(keep_bytes service, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "credential '%" KP_PRI "': there is none",
		       KP_ARG(service));
}

static void name_credential(keep_bytes service, char what[WHAT_SIZE])
{
	snprintf(what, WHAT_SIZE, "credential '%" KP_PRI "'", KP_ARG(service));
}

/* {"credential_type":…,"expires_at":…}, what is known of them. */
static keep_status note_access(kp_lease *lease, const struct access *access, const char *action,
			       const keep_service_credential *row, keep_error *err)
{
	kp_audit_note note = {.event_type = "credential_access",
			      .action = action,
			      .service_name = access->service,
			      .actor = access->actor,
			      .failed = access->status != KEEP_OK};
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	char time[KEEP_TIME_TEXT_SIZE];
	keep_status status;

	if (note.failed)
		note.error_message = keep_bytes_of(access->why.message);
	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	if (row->credential_type.data) {
		kp_json_name(&writer, "credential_type");
		kp_json_put_text(&writer, row->credential_type);
	}
	if (row->has_expires_at && keep_time_format(row->expires_at, time, NULL) == KEEP_OK) {
		kp_json_name(&writer, "expires_at");
		kp_json_put_text(&writer, keep_bytes_of(time));
	}
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

/* ---------------------------------------------------------------- put */

/* Invariant 3. */
static keep_status check_replaced(const struct access *access, const keep_service_credential *old,
				  keep_error *err)
{
	keep_buffer plain = KEEP_BUFFER_INIT;
	char what[WHAT_SIZE];
	keep_status status;

	name_credential(access->service, what);
	status = kp_assistant_decrypt(access->assistant, what, old->credential_data, &plain, err);
	kp_secret_release(&plain);
	if (status == KEEP_DENIED && access->assistant->keys)
		return kp_fail(err, status,
			       "%s: no given key reads what is stored: remove it first", what);
	if (status == KEEP_CORRUPT)
		return kp_fail(err, status, "%s: what is stored is damaged: remove it first", what);
	return status;
}

static keep_status apply_put(void *ctx, kp_lease *lease, keep_error *err)
{
	struct access *access = ctx;
	int64_t now_ms = kp_clock_ms();
	kp_arena arena = {.head = NULL};
	keep_buffer token = KEEP_BUFFER_INIT;
	char key_id[KP_KEY_ID_SIZE];
	keep_service_credential old = {.id = 0};
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_CREDENTIAL,
					  KP_VALUES(kp_text_value(access->service)),
					  &kp_service_credential_record, &arena, &old, &found, err);

	access->status = KEEP_OK;
	if (status == KEEP_OK && found)
		status = check_replaced(access, &old, err);
	if (status == KEEP_OK)
		status = kp_assistant_encrypt(access->assistant, lease, access->data, &token,
					      key_id, err);
	if (status == KEEP_OK)
		status = kp_lease_run(
			lease, KP_ASSISTANT_PUT_CREDENTIAL,
			KP_VALUES(kp_text_value(access->service),
				  kp_text_value(access->credential_type),
				  kp_text_value(kp_buffer_bytes(&token)),
				  access->expires_at ? kp_time_value(access->expires_at)
						     : kp_null_value(KP_TIME),
				  kp_time_value(now_ms), kp_text_value(keep_bytes_of(key_id))),
			NULL, err);
	access->row = (keep_service_credential){.credential_type = access->credential_type,
						.expires_at = access->expires_at,
						.has_expires_at = access->expires_at != 0};
	if (status == KEEP_OK)
		status = note_access(lease, access, "put", &access->row, err);
	keep_buffer_release(&token);
	kp_arena_release(&arena);
	return status;
}

static bool is_credential_type(keep_bytes type)
{
	static const char *const types[] = {KEEP_SERVICE_CREDENTIAL_CREDENTIAL_TYPE_OAUTH_TOKEN,
					    KEEP_SERVICE_CREDENTIAL_CREDENTIAL_TYPE_API_KEY,
					    KEEP_SERVICE_CREDENTIAL_CREDENTIAL_TYPE_APP_PASSWORD};

	for (size_t i = 0; i < KP_COUNT(types); i++)
		if (kp_bytes_equal(type, keep_bytes_of(types[i])))
			return true;
	return false;
}

keep_status keep_assistant_put_credential(keep_assistant *assistant, keep_bytes service,
					  keep_bytes credential_type, keep_bytes data,
					  int64_t expires_at, const keep_actor *actor,
					  keep_error *err)
{
	struct access access = {.assistant = assistant,
				.service = service,
				.credential_type = credential_type,
				.data = data,
				.expires_at = expires_at,
				.actor = actor};
	keep_status status = kp_check_key("service", service, err);

	if (status == KEEP_OK && !is_credential_type(credential_type))
		status = kp_fail(err, KEEP_INVALID,
				 "credential_type: oauth_token, api_key or app_password is needed");
	if (status == KEEP_OK && data.len > DATA_BYTES_MAX)
		status = kp_fail(err, KEEP_FULL, "data: %zu bytes, the limit is %d", data.len,
				 DATA_BYTES_MAX);
	if (status == KEEP_OK)
		status = kp_check_text("data", data, DATA_BYTES_MAX, KP_NOT_EMPTY, err);
	if (status == KEEP_OK && expires_at)
		status = kp_check_time("expires_at", expires_at, err);
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_put, &access, KP_NEWS_NONE, err);
	return status;
}

/* ---------------------------------------------------------------- get */

/* Invariants 1 and 2: what fails for the caller is no failure of the transaction. */
static keep_status apply_get(void *ctx, kp_lease *lease, keep_error *err)
{
	struct access *access = ctx;
	char what[WHAT_SIZE];
	bool found = false;
	keep_status status = kp_lease_get(
		lease, KP_ASSISTANT_GET_CREDENTIAL, KP_VALUES(kp_text_value(access->service)),
		&kp_service_credential_record, access->memory, &access->row, &found, err);

	if (status != KEEP_OK)
		return status;
	name_credential(access->service, what);
	if (!found) {
		access->row = (keep_service_credential){.id = 0};
		access->status = refuse_none(access->service, &access->why);
	} else {
		access->status =
			kp_assistant_decrypt(access->assistant, what, access->row.credential_data,
					     &access->plain, &access->why);
	}
	if (access->status == KEEP_NO_MEMORY)
		return kp_fail_memory(err, "a credential");
	return note_access(lease, access, "get", &access->row, err);
}

/* Without its data. */
static keep_credential tell(const keep_service_credential *row, int64_t now_ms)
{
	return (keep_credential){
		.service_name = row->service_name,
		.credential_type = row->credential_type,
		.expires_at = row->expires_at,
		.has_expires_at = row->has_expires_at,
		.is_expired = row->has_expires_at && row->expires_at <= now_ms,
		.created_at = row->created_at,
		.updated_at = row->updated_at,
		.key_id = row->key_id,
	};
}

keep_status keep_assistant_get_credential(keep_assistant *assistant, keep_bytes service,
					  const keep_actor *actor, int64_t now_ms,
					  keep_memory *memory, keep_credential *out,
					  keep_error *err)
{
	struct access access = {
		.assistant = assistant, .service = service, .actor = actor, .memory = memory};
	keep_bytes data = {NULL, 0};
	keep_status status = kp_check_key("service", service, err);

	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_get, &access, KP_NEWS_NONE, err);
	if (status == KEEP_OK && access.status != KEEP_OK) {
		status = access.status;
		if (err)
			*err = access.why;
	}
	if (status == KEEP_OK)
		status = kp_arena_copy(memory, kp_buffer_bytes(&access.plain), &data, err);
	if (status == KEEP_OK) {
		*out = tell(&access.row, kp_assistant_now(now_ms));
		out->data = data;
	}
	kp_secret_release(&access.plain);
	return status;
}

void keep_assistant_wipe(keep_memory *memory)
{
	kp_arena_wipe(memory);
}

/* ---------------------------------------------------------------- lists */

static keep_status tell_all(const keep_service_credential *rows, size_t count, int64_t now_ms,
			    keep_memory *memory, keep_credential_list *out, keep_error *err)
{
	keep_credential *items = kp_arena_alloc(memory, (count + 1) * sizeof *items);

	if (!items)
		return kp_fail_memory(err, "a list of credentials");
	for (size_t i = 0; i < count; i++)
		items[i] = tell(&rows[i], now_ms);
	*out = (keep_credential_list){items, count};
	return KEEP_OK;
}

keep_status keep_assistant_list_credentials(keep_assistant *assistant, int64_t now_ms,
					    keep_memory *memory, keep_credential_list *out,
					    keep_error *err)
{
	keep_service_credential *rows = NULL;
	size_t count = 0;
	keep_status status =
		kp_store_list(&assistant->store, KP_ASSISTANT_LIST_CREDENTIALS, NULL, 0,
			      &kp_service_credential_record, memory, &rows, &count, err);

	return status == KEEP_OK ? tell_all(rows, count, kp_assistant_now(now_ms), memory, out, err)
				 : status;
}

keep_status keep_assistant_expiring_credentials(keep_assistant *assistant, int64_t within_ms,
						int64_t now_ms, keep_memory *memory,
						keep_credential_list *out, keep_error *err)
{
	keep_service_credential *rows = NULL;
	size_t count = 0;
	int64_t until_ms;
	keep_status status;

	now_ms = kp_assistant_now(now_ms);
	if (within_ms < 0)
		return kp_fail(err, KEEP_INVALID, "within_ms: is below 0");
	status = kp_check_time("now_ms", now_ms, err);
	if (status != KEEP_OK)
		return status;
	until_ms = within_ms > KEEP_TIME_MAX - now_ms ? KEEP_TIME_MAX : now_ms + within_ms;
	status = kp_store_list(&assistant->store, KP_ASSISTANT_EXPIRING_CREDENTIALS,
			       KP_VALUES(kp_time_value(until_ms)), &kp_service_credential_record,
			       memory, &rows, &count, err);
	return status == KEEP_OK ? tell_all(rows, count, now_ms, memory, out, err) : status;
}

/* ---------------------------------------------------------------- remove */

static keep_status apply_remove(void *ctx, kp_lease *lease, keep_error *err)
{
	struct access *access = ctx;
	kp_arena arena = {.head = NULL};
	keep_service_credential old = {.id = 0};
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_CREDENTIAL,
					  KP_VALUES(kp_text_value(access->service)),
					  &kp_service_credential_record, &arena, &old, &found, err);

	access->status = KEEP_OK;
	if (status == KEEP_OK && !found)
		status = refuse_none(access->service, err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_CREDENTIAL,
				      KP_VALUES(kp_text_value(access->service)), NULL, err);
	if (status == KEEP_OK)
		status = note_access(lease, access, "remove", &old, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_remove_credential(keep_assistant *assistant, keep_bytes service,
					     const keep_actor *actor, keep_error *err)
{
	struct access access = {.assistant = assistant, .service = service, .actor = actor};
	keep_status status = kp_check_key("service", service, err);

	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_remove, &access, KP_NEWS_NONE,
					 err);
	return status;
}
