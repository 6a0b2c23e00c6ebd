/*
 * chain.c - the hash chain of audit entries.
 *
 * An entry's hash covers the hash before it, so whoever alters, removes, inserts or reorders an
 * entry would have to make every later hash anew, and the head that is kept apart from them.
 *
 * The bytes that are hashed: previous_hash, then each field as a letter for its kind (n: absent, i:
 * integer, t: text), for integers 8 bytes little-endian, for texts 8 bytes of length and the bytes.
 * No two different entries give the same bytes. The encoding is part of the format: it never
 * changes.
 *
 * Invariants:
 *   1. id is not covered: it is the database's, and a copy of the table may have others.
 *   2. details are covered as the text they are stored as.
 *
 * Tests: tests/unit/test_audit_chain.c.
 */
#include "audit/audit.h"

#include <string.h>

static keep_status put_number(keep_buffer *out, char kind, int64_t value, keep_error *err)
{
	char bytes[9] = {kind};

	for (size_t i = 0; i < 8; i++)
		bytes[i + 1] = (char)((uint64_t)value >> (8 * i));
	return kp_buffer_append(out, (keep_bytes){bytes, sizeof bytes}, err);
}

static keep_status put_text(keep_buffer *out, keep_bytes text, keep_error *err)
{
	keep_status status;

	if (!text.data)
		return kp_buffer_append(out, KEEP_BYTES("n"), err);
	status = put_number(out, 't', (int64_t)text.len, err);
	return status == KEEP_OK ? kp_buffer_append(out, text, err) : status;
}

keep_status kp_audit_hash(const keep_audit_entry *entry, char hash[KP_AUDIT_HASH_SIZE],
			  keep_error *err)
{
	const keep_bytes texts[] = {
		entry->event_type,    entry->service_name,    entry->agent_name,
		entry->action,        entry->conversation_id, entry->details,
		entry->error_message, entry->user_id,         entry->ip_address,
	};
	unsigned char digest[KP_SHA256_SIZE];
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_status status = put_text(&bytes, entry->previous_hash, err);

	if (status == KEEP_OK)
		status = put_number(&bytes, 'i', entry->seq, err);
	if (status == KEEP_OK)
		status = put_number(&bytes, 'i', entry->timestamp, err);
	if (status == KEEP_OK && entry->has_success)
		status = put_number(&bytes, 'i', entry->success, err);
	else if (status == KEEP_OK)
		status = kp_buffer_append(&bytes, KEEP_BYTES("n"), err);
	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++)
		status = put_text(&bytes, texts[i], err);
	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(&bytes), digest, err);
	if (status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hash);
	keep_buffer_release(&bytes);
	return status;
}

void kp_audit_begin(kp_audit_link *link)
{
	link->seq = 0;
	memcpy(link->hash, KP_AUDIT_FIRST_HASH, sizeof link->hash);
}

keep_status kp_audit_follow(kp_audit_link *link, const keep_audit_entry *entry, const char **why,
			    keep_error *err)
{
	char hash[KP_AUDIT_HASH_SIZE];
	keep_status status;

	*why = NULL;
	if (entry->seq != link->seq + 1)
		*why = entry->seq > link->seq ? "entries before it are missing"
					      : "its number was given out before";
	else if (!kp_bytes_equal(entry->previous_hash, keep_bytes_of(link->hash)))
		*why = "its previous_hash is not the hash of the entry before it";
	if (*why)
		return KEEP_OK;
	status = kp_audit_hash(entry, hash, err);
	if (status != KEEP_OK)
		return status;
	if (!kp_bytes_equal(entry->hash, keep_bytes_of(hash))) {
		*why = "its content does not give its hash";
		return KEEP_OK;
	}
	link->seq = entry->seq;
	memcpy(link->hash, hash, sizeof hash);
	return KEEP_OK;
}
