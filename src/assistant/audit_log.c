/*
 * audit_log.c - the audit log: entries are added in the transaction of what they record.
 *
 * Invariants:
 *   1. audit_heads has the number and the hash of the newest entry; both move in the transaction
 *      that adds one. So entries that are cut off at the end are missed, and adding costs no
 *      search. Writers follow each other, so seq has no gap and is the order of commits.
 *   2. Entries are never changed. Only retention removes some, from the beginning, and leaves an
 *      anchor (audit_seal.c).
 *   3. What a caller adds of its own is redacted before it is hashed (src/audit/redact.c); what the
 *      store says of itself has no secret in the first place.
 *   4. A change and its entry are one transaction: neither is there without the other.
 *
 * What it does not do: keep out whoever may write the database and makes the whole chain anew,
 * head included; an export kept elsewhere shows that.
 *
 * Tests: tests/contract/test_assistant_audit.c, tests/torture/test_assistant_audit_faults.c.
 */
#include "assistant/assistant_private.h"

/* A name or an id, like any other, but that it may be absent or empty. */
static keep_status check_name(const char *what, keep_bytes name, keep_error *err)
{
	return name.len ? kp_check_key(what, name, err) : KEEP_OK;
}

keep_status kp_check_actor(const keep_actor *actor, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (!actor)
		return KEEP_OK;
	status = check_name("user_id", actor->user_id, err);
	if (status == KEEP_OK)
		status = check_name("agent_name", actor->agent_name, err);
	if (status == KEEP_OK)
		status = check_name("conversation_id", actor->conversation_id, err);
	if (status == KEEP_OK)
		status = check_name("ip_address", actor->ip_address, err);
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

/* The end of the chain while a transaction adds to it. */
struct chain_end {
	int64_t seq;
	char hash[KP_AUDIT_HASH_SIZE];
};

static keep_status add_behind(kp_lease *lease, struct chain_end *end, keep_audit_entry *entry,
			      keep_error *err)
{
	char hash[KP_AUDIT_HASH_SIZE];
	keep_status status;

	entry->seq = end->seq + 1;
	if (!entry->timestamp)
		entry->timestamp = kp_clock_ms();
	entry->previous_hash = keep_bytes_of(end->hash);
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
	/* Both are the stack's. */
	entry->previous_hash = entry->hash = (keep_bytes){NULL, 0};
	end->seq = entry->seq;
	memcpy(end->hash, hash, sizeof hash);
	return status;
}

/* Invariant 1. */
static keep_status append_all(kp_lease *lease, keep_audit_entry *entries, size_t count,
			      keep_error *err)
{
	struct chain_end end;
	keep_status status = read_head(lease, &end.seq, end.hash, err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = add_behind(lease, &end, &entries[i], err);
	if (status == KEEP_OK)
		status = kp_lease_queue(
			lease, KP_ASSISTANT_SET_AUDIT_HEAD,
			KP_VALUES(kp_int_value(end.seq), kp_text_value(keep_bytes_of(end.hash))),
			err);
	return status;
}

keep_status kp_audit_append(kp_lease *lease, keep_audit_entry *entry, keep_error *err)
{
	return append_all(lease, entry, 1, err);
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

/* ---------------------------------------------------------------- entries of the caller's own */

static keep_status check_entry(const keep_audit_entry *entry, keep_error *err)
{
	const struct {
		const char *name;
		keep_bytes text;
	} texts[] = {
		{"service_name", entry->service_name},
		{"agent_name", entry->agent_name},
		{"action", entry->action},
		{"conversation_id", entry->conversation_id},
		{"user_id", entry->user_id},
		{"ip_address", entry->ip_address},
	};
	keep_status status = kp_check_key("event_type", entry->event_type, err);

	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++)
		status = check_name(texts[i].name, texts[i].text, err);
	if (status == KEEP_OK)
		status = kp_check_text("error_message", entry->error_message, KP_KEY_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_json("details", entry->details, KP_JSON_OBJECT, err);
	if (status == KEEP_OK && entry->timestamp)
		status = kp_check_time("timestamp", entry->timestamp, err);
	return status;
}

/* Invariant 3. */
static keep_status take_entry(const keep_audit_entry *given, kp_arena *arena,
			      keep_audit_entry *entry, keep_error *err)
{
	keep_buffer details = KEEP_BUFFER_INIT;
	bool changed = false;
	keep_status status = check_entry(given, err);

	*entry = *given;
	entry->previous_hash = entry->hash = (keep_bytes){NULL, 0};
	if (status == KEEP_OK && given->details.data)
		status = kp_audit_redact(given->details, &details, &changed, err);
	if (status == KEEP_OK && changed)
		status = kp_arena_copy(arena, kp_buffer_bytes(&details), &entry->details, err);
	keep_buffer_release(&details);
	return status;
}

struct additions {
	keep_audit_entry *entries;
	size_t count;
};

static keep_status apply_additions(void *ctx, kp_lease *lease, keep_error *err)
{
	struct additions *additions = ctx;

	return append_all(lease, additions->entries, additions->count, err);
}

static keep_status add_entries(keep_assistant *assistant, const keep_audit_entry *entries,
			       size_t count, int64_t *last_seq, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct additions additions = {.count = count};
	keep_status status = KEEP_OK;

	additions.entries = kp_arena_alloc(&arena, count * sizeof *additions.entries);
	if (!additions.entries)
		status = kp_fail_memory(err, "entries of the audit log");
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = take_entry(&entries[i], &arena, &additions.entries[i], err);
		if (status != KEEP_OK && count > 1)
			status = kp_prefix(err, status, "entry %zu", i);
	}
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_additions, &additions,
					 KP_NEWS_NONE, err);
	if (status == KEEP_OK && last_seq)
		*last_seq = additions.entries[count - 1].seq;
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_audit(keep_assistant *assistant, const keep_audit_entry *entry,
				 int64_t *seq, keep_error *err)
{
	return add_entries(assistant, entry, 1, seq, err);
}

keep_status keep_assistant_audit_many(keep_assistant *assistant, const keep_audit_entry *entries,
				      size_t count, keep_error *err)
{
	if (count > KEEP_ASSISTANT_LIST_MAX)
		return kp_fail(err, KEEP_INVALID, "count: more than %d entries",
			       KEEP_ASSISTANT_LIST_MAX);
	return count ? add_entries(assistant, entries, count, NULL, err) : KEEP_OK;
}
