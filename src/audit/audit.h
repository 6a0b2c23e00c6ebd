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

#endif
