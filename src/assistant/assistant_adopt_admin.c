/*
 * assistant_adopt_admin.c - credentials, connections, prompts, settings, the audit log and search
 * documents of an adopted file.
 *
 * Invariants:
 *   1. A credential is decrypted with this store's keys and encrypted anew under the newest, or
 *      nothing is adopted: DENIED, CORRUPT. A secret in plain is in no remark and in no row of
 *      adopted_rows.
 *   2. A setting's definition and value pass what keep_assistant_define_setting and
 *      keep_assistant_set_setting ask; what does not is left out, and kept aside unless it may be a
 *      secret.
 *   3. Entries of the audit log enter the chain in the order of (timestamp, id).
 *   4. A vector has as many numbers as its bytes say, and is counted among its model's as one that
 *      was indexed; bytes that are no vector (a number that is not finite, all 0) are kept aside.
 *
 * Tests: tests/contract/test_assistant_adopt.c.
 */
#include "assistant/assistant_adopt.h"

static const char mask[] = "***";

/* ---------------------------------------------------------------- credentials, connections */

/* Invariant 1. */
static void renew_secret(kp_taking_row *row, keep_service_credential *credential,
			 keep_buffer *token, char key_id[KP_KEY_ID_SIZE])
{
	kp_taking *taking = row->taking;
	keep_buffer plain = KEEP_BUFFER_INIT;

	if (row->status == KEEP_OK)
		row->status =
			kp_assistant_decrypt(taking->assistant, "service_credentials",
					     credential->credential_data, &plain, taking->err);
	if (row->status == KEEP_OK)
		row->status =
			kp_assistant_encrypt(taking->assistant, taking->lease,
					     kp_buffer_bytes(&plain), token, key_id, taking->err);
	kp_secret_release(&plain);
	credential->credential_data = kp_buffer_bytes(token);
	credential->key_id = keep_bytes_of(key_id);
}

void kp_take_credential(kp_taking_row *row)
{
	static const char *const keys[] = {"service_name", NULL};
	int64_t now_ms = row->taking->now_ms;
	char key_id[KP_KEY_ID_SIZE] = "";
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_service_credential credential = {
		.credential_type = KEEP_BYTES(KEEP_SERVICE_CREDENTIAL_CREDENTIAL_TYPE_API_KEY),
		.created_at = now_ms,
		.updated_at = now_ms};

	kp_taking_fill(row, &kp_service_credential_record, &credential);
	kp_taking_place(row, "credential_data", true);
	if (row->status == KEEP_OK &&
	    (!credential.credential_data.len ||
	     kp_check_key("service_name", credential.service_name, NULL) != KEEP_OK)) {
		kp_taking_keep_whole(row, "a credential without a name or without a secret was "
					  "kept whole");
		return;
	}
	renew_secret(row, &credential, &token, key_id);
	kp_taking_store(row, &kp_service_credential_record, &credential, keys, NULL);
	keep_buffer_release(&token);
}

void kp_take_connection(kp_taking_row *row)
{
	static const char *const keys[] = {"service_name", NULL};
	keep_service_connection connection = {
		.status = KEEP_BYTES(KEEP_SERVICE_CONNECTION_STATUS_DISCONNECTED),
		.updated_at = row->taking->now_ms};
	keep_bytes status;

	kp_taking_fill(row, &kp_service_connection_record, &connection);
	status = kp_taking_text(row, "status");
	if (kp_taking_is(status, "success"))
		connection.status = KEEP_BYTES(KEEP_SERVICE_CONNECTION_STATUS_CONNECTED);
	else if (kp_taking_is(status, "expired") || kp_taking_is(status, "warning"))
		connection.status = KEEP_BYTES(KEEP_SERVICE_CONNECTION_STATUS_ERROR);
	kp_taking_store(row, &kp_service_connection_record, &connection, keys, NULL);
}

/* ---------------------------------------------------------------- prompts */

void kp_take_prompt(kp_taking_row *row)
{
	static const char *const keys[] = {"key", NULL};
	int64_t now_ms = row->taking->now_ms;
	keep_prompt prompt = {
		.value = KEEP_BYTES(""), .created_at = now_ms, .updated_at = now_ms, .revision = 1};

	kp_taking_fill(row, &kp_prompt_record, &prompt);
	prompt.revision = 1;
	if (row->status == KEEP_OK && kp_check_key("key", prompt.key, NULL) != KEEP_OK) {
		kp_taking_keep_whole(row, "a row without a usable id was kept whole");
		return;
	}
	/* The one that every new store has gives way. */
	if (row->status == KEEP_OK)
		row->status =
			kp_lease_run(row->taking->lease, KP_ASSISTANT_REMOVE_PROMPT,
				     KP_VALUES(kp_text_value(prompt.key)), NULL, row->taking->err);
	kp_taking_store(row, &kp_prompt_record, &prompt, keys, NULL);
}

/* ---------------------------------------------------------------- settings */

/* The source read a bool as lower-case "true", and everything else as false. */
static void read_flag(kp_taking_row *row, keep_setting *setting)
{
	static const char *const yes[] = {"true", "True", "TRUE"};
	static const char *const no[] = {"false", "False", "FALSE", "0", "no", "off"};
	keep_bytes value = setting->value;

	setting->value = KEEP_BYTES("false");
	for (size_t i = 0; i < KP_COUNT(yes); i++)
		if (kp_taking_is(value, yes[i]))
			setting->value = KEEP_BYTES("true");
	for (size_t i = 0; i < KP_COUNT(no); i++)
		if (kp_taking_is(value, no[i]))
			return;
	if (!kp_taking_is(setting->value, "true")) {
		kp_taking_place(row, "value", setting->is_sensitive);
		kp_taking_note(row, "a flag that was neither true nor false was read as the "
				    "source read it: false");
	}
}

/* Invariant 2. */
static void check_definition(kp_taking_row *row, keep_setting *setting)
{
	static const char *const columns[] = {"validation_regex", "min_value", "max_value",
					      "options", "is_required"};

	if (row->status != KEEP_OK || kp_setting_check_definition(setting, NULL) == KEEP_OK)
		return;
	setting->validation_regex = setting->options = (keep_bytes){NULL, 0};
	setting->has_min_value = setting->has_max_value = setting->is_required = false;
	setting->min_value = setting->max_value = 0;
	for (size_t i = 0; i < KP_COUNT(columns); i++)
		kp_taking_place(row, columns[i], false);
	kp_taking_note(row, "a definition that does not hold was kept aside");
}

static void check_value(kp_taking_row *row, keep_setting *setting)
{
	if (row->status != KEEP_OK || !setting->value.data)
		return;
	if (kp_setting_is_type(setting, KEEP_SETTING_VALUE_TYPE_BOOL))
		read_flag(row, setting);
	if (!kp_taking_is(setting->value, mask) && !kp_taking_is(setting->value, "***MASKED***") &&
	    kp_setting_check(setting, setting->value, NULL, NULL) == KEEP_OK)
		return;
	setting->value = (keep_bytes){NULL, 0};
	kp_taking_place(row, "value", setting->is_sensitive);
	kp_taking_note(row, "a value that its own definition refuses was left out");
}

static void hide_value(kp_taking_row *row, keep_setting *setting, keep_buffer *token,
		       char key_id[KP_KEY_ID_SIZE])
{
	if (row->status != KEEP_OK || !setting->is_sensitive || !setting->value.data)
		return;
	row->status = kp_assistant_encrypt(row->taking->assistant, row->taking->lease,
					   setting->value, token, key_id, row->taking->err);
	setting->value = kp_buffer_bytes(token);
	setting->key_id = keep_bytes_of(key_id);
}

/* A row that is no setting; what may be a secret goes without its value. */
static void keep_setting_aside(kp_taking_row *row, const keep_setting *setting)
{
	row->hides_value = setting->is_sensitive;
	kp_taking_keep_whole(row, "a setting without a usable key was kept aside, without its "
				  "value if that is sensitive");
}

void kp_take_setting(kp_taking_row *row)
{
	static const char *const keys[] = {"key", NULL};
	char key_id[KP_KEY_ID_SIZE] = "";
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_setting setting = {.value_type = KEEP_BYTES(KEEP_SETTING_VALUE_TYPE_STRING),
				.category = KEEP_BYTES("application"),
				.updated_at = row->taking->now_ms};

	kp_taking_fill(row, &kp_setting_record, &setting);
	setting.key_id = setting.default_key_id = (keep_bytes){NULL, 0};
	if (row->status == KEEP_OK && kp_check_key("key", setting.key, NULL) != KEEP_OK) {
		keep_setting_aside(row, &setting);
		return;
	}
	check_definition(row, &setting);
	check_value(row, &setting);
	hide_value(row, &setting, &token, key_id);
	if (row->status == KEEP_OK)
		row->status =
			kp_lease_run(row->taking->lease, KP_ASSISTANT_ADOPT_DROP_SETTING,
				     KP_VALUES(kp_text_value(setting.key)), NULL, row->taking->err);
	if (kp_taking_insert(row, &kp_setting_record, &setting, NULL))
		kp_taking_keep_rest(row, keys);
	else
		keep_setting_aside(row, &setting);
	keep_buffer_release(&token);
}

/* ---------------------------------------------------------------- the audit log */

/* Invariant 3; the caller reads in that order. */
void kp_take_audit(kp_taking_row *row)
{
	static const char *const keys[] = {"id", NULL};
	keep_audit_entry entry = {.timestamp = 0};

	kp_taking_fill(row, &kp_audit_entry_record, &entry);
	entry.id = entry.seq = 0;
	entry.previous_hash = entry.hash = (keep_bytes){NULL, 0};
	if (row->status == KEEP_OK && !entry.event_type.len) {
		kp_taking_keep_whole(row, "an entry without a type was kept whole");
		return;
	}
	if (row->status == KEEP_OK)
		row->status = kp_audit_append(row->taking->lease, &entry, row->taking->err);
	kp_taking_keep_rest(row, keys);
}

/* ---------------------------------------------------------------- search */

/* Invariant 4. */
static void read_vector(kp_taking_row *row, keep_search_document *document)
{
	size_t count = 0;

	document->has_dimensions = document->has_vector_change = false;
	document->dimensions = document->vector_change = 0;
	if (!document->embedding.data)
		return;
	if (kp_check_vector("embedding", document->embedding, &count, NULL) != KEEP_OK) {
		document->embedding = (keep_bytes){NULL, 0};
		kp_taking_place(row, "embedding", false);
		kp_taking_note(row, "bytes that are no vector were kept aside");
		return;
	}
	document->has_dimensions = true;
	document->dimensions = (int64_t)count;
	document->model = row->taking->model;
}

/* Among its model's vectors, if it is as long as they are. */
static void count_vector(kp_taking_row *row, const keep_search_document *document, int64_t id)
{
	kp_taking *taking = row->taking;
	int64_t change = 0;

	if (row->status != KEEP_OK || !id)
		return;
	taking->has_documents = true;
	if (!document->embedding.data)
		return;
	if ((int64_t)document->embedding.len != taking->vector_bytes) {
		kp_taking_note(row, "a vector of another length than most is there, and is not "
				    "found");
		return;
	}
	row->status = kp_vector_added(taking->lease, document->model, document->dimensions, false,
				      &change, taking->err);
	if (row->status == KEEP_OK)
		row->status = kp_lease_queue(taking->lease, KP_ASSISTANT_SET_VECTOR_CHANGE,
					     KP_VALUES(kp_int_value(id), kp_int_value(change)),
					     taking->err);
}

void kp_take_document(kp_taking_row *row)
{
	static const char *const keys[] = {"source", "source_id", NULL};
	keep_search_document document = {.indexed_at = row->taking->now_ms};
	int64_t id = 0;

	kp_taking_fill(row, &kp_search_document_record, &document);
	document.model = (keep_bytes){NULL, 0};
	read_vector(row, &document);
	if (row->status == KEEP_OK &&
	    (kp_check_key("source", document.source, NULL) != KEEP_OK ||
	     kp_check_key("source_id", document.source_id, NULL) != KEEP_OK)) {
		kp_taking_keep_whole(row, "a row without a usable id was kept whole");
		return;
	}
	kp_taking_store(row, &kp_search_document_record, &document, keys, &id);
	count_vector(row, &document, id);
}
