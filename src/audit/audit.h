#ifndef KP_AUDIT_H
#define KP_AUDIT_H
/*
 * audit.h - an append-only trail: what an entry's hash is, what may stand in its details, and
 * whether a sequence of entries is whole. The store that keeps the entries has the tables.
 *
 *   the chain     chain.c
 *   redaction     redact.c
 *
 * Threads: no state; any thread.
 */
#include "core/core.h"
#include "keep/assistant_records.h"

#define KP_AUDIT_HASH_SIZE 65 /* hex of SHA-256, and the zero byte */

/* What the first entry of a chain carries as previous_hash. */
#define KP_AUDIT_FIRST_HASH "0000000000000000000000000000000000000000000000000000000000000000"

/*
 * The hash of an entry: SHA-256 over its previous_hash, seq, timestamp and every other column but
 * id and hash, each with its length, an absent one apart from an empty one.
 */
keep_status kp_audit_hash(const keep_audit_entry *entry, char hash[KP_AUDIT_HASH_SIZE],
			  keep_error *err) KEEP_MUST_CHECK;

/* The end of a chain as far as it was followed. */
typedef struct kp_audit_link {
	int64_t seq;
	char hash[KP_AUDIT_HASH_SIZE];
} kp_audit_link;

/* Before the first entry: seq 0. */
void kp_audit_begin(kp_audit_link *link);
/*
 * Does `entry` follow? Then *link is it. Else *why says in words why not (a literal), and *link
 * stays: another number, another previous_hash, or a content that does not give its hash.
 */
keep_status kp_audit_follow(kp_audit_link *link, const keep_audit_entry *entry, const char **why,
			    keep_error *err) KEEP_MUST_CHECK;

/* Does the name of a JSON member say that its value is a secret? By whole words of the name. */
bool kp_audit_is_secret_name(keep_bytes name);
/*
 * JSON with the values of members of such names replaced by "***", at any depth; every other byte
 * as it was. *changed: whether there was one; else *out is empty. INVALID: no JSON.
 */
keep_status kp_audit_redact(keep_bytes json, keep_buffer *out, bool *changed,
			    keep_error *err) KEEP_MUST_CHECK;

#endif
