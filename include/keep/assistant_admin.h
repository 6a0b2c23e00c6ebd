#ifndef KEEP_ASSISTANT_ADMIN_H
#define KEEP_ASSISTANT_ADMIN_H
/*
 * keep/assistant_admin.h - what an assistant is set up with: credentials, connections, settings,
 * prompts; and the audit log of it all.
 *
 * What it is not: access control. Who may call what is the caller's business; every change, and
 * every access to a secret, is in the audit log with its `actor`. The rules of keep/assistant.h
 * hold.
 *
 * Secrets are encrypted with Fernet (github.com/fernet/spec) under the newest key. Several keys may
 * be given: older ones only decrypt, until keep_assistant_rekey has renewed everything.
 *
 * Threads: as keep/assistant.h.
 */
#include "keep/assistant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- credentials
 *
 * All of them: DENIED without a key, or when no key fits what is stored. A failed decryption is
 * DENIED or CORRUPT, never NOT_FOUND, and what is stored stays.
 */

/* `data` is any text or JSON, at most 64 KiB; it is not kept in memory afterwards. expires_at 0:
   never. Replaces what was there; DENIED when that is under a key that is not given, CORRUPT
   when it is damaged (remove it first). Audited. INVALID: a type other than oauth_token, api_key,
   app_password, or no data; FULL: too much of it. */
KEEP_API keep_status keep_assistant_put_credential(keep_assistant *assistant, keep_bytes service,
						   keep_bytes credential_type, keep_bytes data,
						   int64_t expires_at, const keep_actor *actor,
						   keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_credential {
	keep_bytes service_name, credential_type;
	keep_bytes data; /* decrypted; of a list absent */
	int64_t expires_at, created_at, updated_at;
	bool has_expires_at, is_expired;
	keep_bytes key_id;
} keep_credential;

/* Audited, also when it fails; so a store that was opened for reading only answers DENIED.
   keep_memory_release does not wipe: keep_assistant_wipe does. */
KEEP_API keep_status keep_assistant_get_credential(keep_assistant *assistant, keep_bytes service,
						   const keep_actor *actor, int64_t now_ms,
						   keep_memory *memory, keep_credential *out,
						   keep_error *err) KEEP_MUST_CHECK;
/* Overwrite what was answered, and release it. */
KEEP_API void keep_assistant_wipe(keep_memory *memory);

typedef struct keep_credential_list {
	keep_credential *items;
	size_t count;
} keep_credential_list;

/* Names, types, times and keys; never data. Needs no key. By name. */
KEEP_API keep_status keep_assistant_list_credentials(keep_assistant *assistant, int64_t now_ms,
						     keep_memory *memory, keep_credential_list *out,
						     keep_error *err) KEEP_MUST_CHECK;
/* Those that expire within `within_ms` from now, or have expired; soonest first. */
KEEP_API keep_status keep_assistant_expiring_credentials(keep_assistant *assistant,
							 int64_t within_ms, int64_t now_ms,
							 keep_memory *memory,
							 keep_credential_list *out,
							 keep_error *err) KEEP_MUST_CHECK;
/* Needs no key. Audited. NOT_FOUND. */
KEEP_API keep_status keep_assistant_remove_credential(keep_assistant *assistant, keep_bytes service,
						      const keep_actor *actor,
						      keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_rekey_result {
	int64_t renewed;   /* encrypted anew */
	int64_t current;   /* were under the newest key already */
	int64_t remaining; /* could not be read with any key; they stay as they are */
} keep_rekey_result;

/*
 * Encrypt every credential and sensitive setting under the newest key, in batches, each in one
 * transaction; who is interrupted begins again and does the rest. Older keys may be dropped when
 * `remaining` is 0. Audited. DENIED: some cannot be read (the rest is done, and *result is
 * written); or as above. BUSY: another process goes on to encrypt under an older key.
 */
KEEP_API keep_status keep_assistant_rekey(keep_assistant *assistant, const keep_actor *actor,
					  keep_rekey_result *result,
					  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- connections */

typedef struct keep_service_connection_list {
	keep_service_connection *items;
	size_t count;
} keep_service_connection_list;

/* What was seen of a service just now: connected, disconnected, or error with its text. `metadata`
   (absent: as it was) is a JSON object. Audited when the status changes. */
KEEP_API keep_status keep_assistant_report_connection(keep_assistant *assistant, keep_bytes service,
						      keep_bytes status, keep_bytes error_text,
						      keep_bytes metadata, int64_t now_ms,
						      const keep_actor *actor,
						      keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_assistant_list_connections(keep_assistant *assistant, keep_bytes status,
						     keep_memory *memory,
						     keep_service_connection_list *out,
						     keep_error *err) KEEP_MUST_CHECK;
/* Audited. NOT_FOUND. */
KEEP_API keep_status keep_assistant_remove_connection(keep_assistant *assistant, keep_bytes service,
						      const keep_actor *actor,
						      keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- settings */

typedef struct keep_setting_list {
	keep_setting *items;
	size_t count;
} keep_setting_list;

#define KEEP_SETTING_MASK "***"

/*
 * Define a setting, or change its definition: all but id, value, key_id and updated_at are read. A
 * stored value stays; CONFLICT when it would not be allowed any more. A stored plain value is
 * encrypted when the setting becomes sensitive (entries of the audit log keep what it was); a
 * sensitive one must be reset before the setting becomes plain: CONFLICT. The same definition again
 * changes nothing. An absent value_type is string, an absent category application. INVALID: bounds
 * of a type without order, a regex that cannot be read (docs/routing.md tells the syntax; at most
 * 194 bytes), options of another type, a default that is not allowed, a variable of the environment
 * that holds an encryption key. A sensitive default is encrypted, too: DENIED without a key.
 * Audited.
 */
KEEP_API keep_status keep_assistant_define_setting(keep_assistant *assistant,
						   const keep_setting *definition,
						   const keep_actor *actor,
						   keep_error *err) KEEP_MUST_CHECK;
/* The definition and its value go. Audited. NOT_FOUND. */
KEEP_API keep_status keep_assistant_undefine_setting(keep_assistant *assistant, keep_bytes key,
						     const keep_actor *actor,
						     keep_error *err) KEEP_MUST_CHECK;

/*
 * Set a value, given as text: an int in decimal without leading zeros, a float as JSON's number, a
 * bool true or false, json as JSON, a string as it is, without control characters but tab and line
 * feed; at most KEEP_ASSISTANT_CONTENT_MAX bytes: else FULL. Checked in this order: the key is
 * known (NOT_FOUND), then INVALID for type, range (finite numbers only), options, regex (the whole
 * text), required (not empty). An empty text is "no value" where the setting is not required: as
 * reset. The mask *** of a sensitive one is refused. Stored and audited in one transaction, old and
 * new value without secrets and cut at 200 bytes. A sensitive value that is under a key that is not
 * given, or damaged, is not replaced: DENIED or CORRUPT until it was reset.
 */
KEEP_API keep_status keep_assistant_set_setting(keep_assistant *assistant, keep_bytes key,
						keep_bytes value, const keep_actor *actor,
						keep_error *err) KEEP_MUST_CHECK;
/* The same without storing: OK, or what set would say. */
KEEP_API keep_status keep_assistant_validate_setting(keep_assistant *assistant, keep_bytes key,
						     keep_bytes value,
						     keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_setting_value {
	keep_bytes key, value;
} keep_setting_value;

/* All or nothing: at most KEEP_ASSISTANT_LIST_MAX; the message names the key that was refused. A
   key that is there twice is INVALID. */
KEEP_API keep_status keep_assistant_set_settings(keep_assistant *assistant,
						 const keep_setting_value *values, size_t count,
						 const keep_actor *actor,
						 keep_error *err) KEEP_MUST_CHECK;
/* Back to environment or default. Audited when there was a value. CONFLICT: required, and there is
   no other. */
KEEP_API keep_status keep_assistant_reset_setting(keep_assistant *assistant, keep_bytes key,
						  const keep_actor *actor,
						  keep_error *err) KEEP_MUST_CHECK;

typedef enum keep_setting_origin {
	KEEP_SETTING_NONE, /* there is no value */
	KEEP_SETTING_STORED,
	KEEP_SETTING_ENVIRONMENT,
	KEEP_SETTING_DEFAULT
} keep_setting_origin;
/* "none", "stored", "environment", "default" */
KEEP_API const char *keep_setting_origin_name(keep_setting_origin origin);

/* A value as it is read. */
typedef struct keep_setting_read {
	keep_setting definition; /* value, default_value: *** of a sensitive one */
	keep_setting_origin origin;
	keep_bytes text; /* the value; of a sensitive one only from keep_assistant_get_setting */
	int64_t integer; /* int */
	double real;     /* float, int */
	bool boolean;    /* bool */
} keep_setting_read;

/*
 * The stored value, else the variable of the environment, else the default, of the setting's type.
 * An environment's text that the setting does not allow is passed over with a warning in the log;
 * for a bool 1, yes, on, 0, no, off are understood there, in any case. Reading a sensitive one
 * decrypts and is audited, so a store that was opened for reading only answers DENIED. NOT_FOUND:
 * no such setting. CORRUPT: what is stored is not of its type.
 */
KEEP_API keep_status keep_assistant_get_setting(keep_assistant *assistant, keep_bytes key,
						const keep_actor *actor, keep_memory *memory,
						keep_setting_read *out,
						keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_setting_read_list {
	keep_setting_read *items;
	size_t count;
} keep_setting_read_list;

/* Of a category, or whose key begins with `prefix` (absent: all); sensitive ones masked. By
   category, display_order, key. */
KEEP_API keep_status keep_assistant_list_settings(keep_assistant *assistant, keep_bytes category,
						  keep_bytes prefix, keep_memory *memory,
						  keep_setting_read_list *out,
						  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- prompts */

typedef struct keep_prompt_list {
	keep_prompt *items;
	size_t count;
} keep_prompt_list;
typedef struct keep_prompt_revision_list {
	keep_prompt_revision *items;
	size_t count;
} keep_prompt_revision_list;

KEEP_API keep_status keep_assistant_get_prompt(keep_assistant *assistant, keep_bytes key,
					       keep_memory *memory, keep_prompt *out,
					       keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_assistant_list_prompts(keep_assistant *assistant, keep_memory *memory,
						 keep_prompt_list *out,
						 keep_error *err) KEEP_MUST_CHECK;
/*
 * Set a prompt's text (and its description, when not absent); what it was becomes a revision. The
 * same text changes nothing. expected_revision (0: whatever it is) makes it a compare-and-set:
 * CONFLICT. *revision (may be NULL): what it is now. Audited.
 */
KEEP_API keep_status keep_assistant_set_prompt(keep_assistant *assistant, keep_bytes key,
					       keep_bytes value, keep_bytes description,
					       int64_t expected_revision, const keep_actor *actor,
					       int64_t *revision, keep_error *err) KEEP_MUST_CHECK;
/* Every earlier value, newest first, at most `limit` (0: 50). */
KEEP_API keep_status keep_assistant_prompt_history(keep_assistant *assistant, keep_bytes key,
						   size_t limit, keep_memory *memory,
						   keep_prompt_revision_list *out,
						   keep_error *err) KEEP_MUST_CHECK;
/* Set it to the value of an earlier revision, as a new one. NOT_FOUND: no such revision. Audited.
 */
KEEP_API keep_status keep_assistant_revert_prompt(keep_assistant *assistant, keep_bytes key,
						  int64_t revision, const keep_actor *actor,
						  int64_t *now_revision,
						  keep_error *err) KEEP_MUST_CHECK;
/* A prompt and its revisions. Audited. CONFLICT: one of the four that every store has. */
KEEP_API keep_status keep_assistant_remove_prompt(keep_assistant *assistant, keep_bytes key,
						  const keep_actor *actor,
						  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the audit log */

/*
 * Add an entry of the caller's own (tool_execution, web_request …): all but id, seq and the hashes
 * are read; timestamp 0: now. Members of `details` whose names say that they hold a secret
 * (password, token, secret, api_key, authorization, credential, private_key and such, as whole
 * words of the name) are stored as "***". *seq may be NULL.
 */
KEEP_API keep_status keep_assistant_audit(keep_assistant *assistant, const keep_audit_entry *entry,
					  int64_t *seq, keep_error *err) KEEP_MUST_CHECK;
/* `count` of them in one transaction. */
KEEP_API keep_status keep_assistant_audit_many(keep_assistant *assistant,
					       const keep_audit_entry *entries, size_t count,
					       keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_audit_filter {
	int64_t from_ms, until_ms; /* from <= timestamp < until; 0: no bound */
	keep_bytes event_type, service_name, agent_name, conversation_id; /* absent: any */
	int success;                                                      /* 1, 0; -1: any */
	int64_t before_seq;                                               /* 0: the newest */
} keep_audit_filter;

#define KEEP_AUDIT_FILTER_INIT                                                                     \
	{                                                                                          \
		.success = -1                                                                      \
	}

typedef struct keep_audit_list {
	keep_audit_entry *items;
	size_t count;
	bool has_more;
} keep_audit_list;

/* Newest first, at most `limit` (0: 100). */
KEEP_API keep_status keep_assistant_query_audit(keep_assistant *assistant,
						const keep_audit_filter *filter, size_t limit,
						keep_memory *memory, keep_audit_list *out,
						keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_audit_report {
	int64_t checked;    /* entries */
	int64_t anchors;    /* stretches that retention removed and sealed */
	bool is_intact;     /* what follows is empty when it is */
	int64_t broken_seq; /* the first entry that does not follow from the one before */
	keep_bytes reason;  /* in words */
} keep_audit_report;

/* Follow the whole chain, in bounded memory and without holding writers up, to its end as it is
   when it begins. OK also when it is broken: *out says so. An entry that is missing is noticed at
   the next one, which is then broken_seq; behind the last one it is the first missing number. BUSY:
   retention removes entries all the while. */
KEEP_API keep_status keep_assistant_verify_audit(keep_assistant *assistant, keep_memory *memory,
						 keep_audit_report *out,
						 keep_error *err) KEEP_MUST_CHECK;

/* One entry, as one line of JSON without its line end; a failure ends the export with it. */
typedef keep_status keep_audit_sink(void *ctx, keep_bytes line, keep_error *err);
/* Entries in the order of seq, as JSON lines, in bounded memory. `filter` may be NULL; before_seq
   is not used. */
KEEP_API keep_status keep_assistant_export_audit(keep_assistant *assistant,
						 const keep_audit_filter *filter,
						 keep_audit_sink *sink, void *ctx,
						 keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
