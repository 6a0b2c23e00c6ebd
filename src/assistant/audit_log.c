/*
 * audit_log.c - the audit log: entries are added in the transaction of what they record.
 *
 * Invariants:
 *   1. audit_heads has the number and the hash of the newest entry; both move in the transaction
 * that adds one. So entries that are cut off at the end are missed, and adding costs no search.
 *   2. Entries are never changed. Only retention removes some, from the beginning, and leaves an
 *      anchor.
 *
 * Tests: tests/contract/test_assistant_audit.c, tests/torture/test_assistant_audit_faults.c.
 */
#include "assistant/assistant_private.h"

keep_status kp_check_actor(const keep_actor *actor, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (!actor)
		return KEEP_OK;
	status = kp_check_text("user_id", actor->user_id, KP_KEY_MAX, KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_text("agent_name", actor->agent_name, KP_KEY_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_text("conversation_id", actor->conversation_id, KP_KEY_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_text("ip_address", actor->ip_address, KP_KEY_MAX,
				       KP_MAY_BE_ABSENT, err);
	return status;
}

/* The end of the chain; the hash in a caller's buffer. */
static keep_status read_head(kp_lease *lease, int64_t *seq, char hash[KP_AUDIT_HASH_SIZE],
			     keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_bytes text = {NULL, 0};
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_ASSISTANT_GET_AUDIT_HEAD, NULL, 0, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && !has_row)
		status = kp_fail(err, KEEP_CORRUPT, "audit_heads: the row audit_log is missing");
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 0, seq, err);
	if (status == KEEP_OK)
		status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &text, err);
	if (status == KEEP_OK && text.len != KP_AUDIT_HASH_SIZE - 1)
		status = kp_fail(err, KEEP_CORRUPT, "audit_heads: the hash is none");
	if (status == KEEP_OK) {
		memcpy(hash, text.data, text.len);
		hash[text.len] = '\0';
	}
	kp_sql_reset(stmt);
	return status;
}

keep_status kp_audit_append(kp_lease *lease, keep_audit_entry *entry, keep_error *err)
{
	char previous[KP_AUDIT_HASH_SIZE], hash[KP_AUDIT_HASH_SIZE];
	keep_status status = read_head(lease, &entry->seq, previous, err);

	entry->seq++;
	if (!entry->timestamp)
		entry->timestamp = kp_clock_ms();
	entry->previous_hash = keep_bytes_of(previous);
	if (status == KEEP_OK)
		status = kp_audit_hash(entry, hash, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(
			lease, KP_ASSISTANT_ADD_AUDIT_ENTRY,
			KP_VALUES(kp_time_value(entry->timestamp), kp_text_value(entry->event_type),
				  kp_text_value(entry->service_name),
				  kp_text_value(entry->agent_name), kp_text_value(entry->action),
				  kp_text_value(entry->conversation_id),
				  kp_json_value(entry->details),
				  entry->has_success ? kp_bool_value(entry->success)
						     : kp_null_value(KP_BOOL),
				  kp_text_value(entry->error_message),
				  kp_text_value(entry->user_id), kp_text_value(entry->ip_address),
				  kp_int_value(entry->seq), kp_text_value(entry->previous_hash),
				  kp_text_value(keep_bytes_of(hash))),
			err);
	if (status == KEEP_OK)
		status = kp_lease_queue(
			lease, KP_ASSISTANT_SET_AUDIT_HEAD,
			KP_VALUES(kp_int_value(entry->seq), kp_text_value(keep_bytes_of(hash))),
			err);
	/* Both are the caller's stack's. */
	entry->previous_hash = entry->hash = (keep_bytes){NULL, 0};
	return status;
}

keep_status kp_assistant_note(kp_lease *lease, const kp_audit_note *note, keep_error *err)
{
	keep_audit_entry entry = {
		.event_type = keep_bytes_of(note->event_type),
		.action = keep_bytes_of(note->action),
		.service_name = note->service_name,
		.details = note->details,
		.success = !note->failed,
		.has_success = true,
		.error_message = note->error_message,
	};

	if (note->actor) {
		entry.user_id = note->actor->user_id;
		entry.agent_name = note->actor->agent_name;
		entry.conversation_id = note->actor->conversation_id;
		entry.ip_address = note->actor->ip_address;
	}
	return kp_audit_append(lease, &entry, err);
}
