#ifndef KEEP_GATEWAY_ACCOUNTS_H
#define KEEP_GATEWAY_ACCOUNTS_H
/*
 * keep/gateway_accounts.h - a gateway's web accounts: passwords, refresh and access tokens,
 * folders.
 *
 * Part of keep/gateway.h, which includes it and tells the rules that hold here as well.
 *
 * What it is not: a limit on how often somebody may try a password; whose door it is sets that.
 *
 * Threads: as keep/gateway.h. A password costs 64 MiB and a quarter of a second of one core; four
 * are hashed at one time in a process, the next ones wait.
 */
#include "keep/gateway.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct keep_user_options {
	size_t size;
	keep_bytes sub;      /* <provider>:<id> */
	keep_bytes username; /* absent: the sub */
	keep_bytes password; /* absent: signs in elsewhere; at least 8 bytes */
	keep_bytes hash;     /* instead: an argon2id PHC string from elsewhere */
	keep_bytes name;
	bool is_operator;          /* sees every folder: said, or `folders` are */
	const keep_bytes *folders; /* what it sees, each with all below it */
	size_t folder_count;
} keep_user_options;

#define KEEP_USER_OPTIONS_INIT                                                                     \
	{                                                                                          \
		.size = sizeof(keep_user_options)                                                  \
	}

/* INVALID: neither operator nor folders, or both. CONFLICT: sub or username is taken. */
KEEP_API keep_status keep_gateway_create_user(keep_gateway *gateway,
					      const keep_user_options *options,
					      keep_error *err) KEEP_MUST_CHECK;
/* By sub, or by username. */
KEEP_API keep_status keep_gateway_get_user(keep_gateway *gateway, keep_bytes sub,
					   keep_bytes username, keep_memory *memory,
					   keep_auth_user *out, keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_auth_user_list {
	keep_auth_user *items;
	size_t count;
} keep_auth_user_list;

/* By sub, after `after_sub`. */
KEEP_API keep_status keep_gateway_list_users(keep_gateway *gateway, keep_bytes after_sub,
					     size_t limit, keep_memory *memory,
					     keep_auth_user_list *out,
					     keep_error *err) KEEP_MUST_CHECK;
/* Ends all of its sessions. */
KEEP_API keep_status keep_gateway_set_password(keep_gateway *gateway, keep_bytes sub,
					       keep_bytes password,
					       keep_error *err) KEEP_MUST_CHECK;
/* Disabling ends all of its sessions. */
KEEP_API keep_status keep_gateway_set_user_disabled(keep_gateway *gateway, keep_bytes sub,
						    bool disabled, keep_error *err) KEEP_MUST_CHECK;
/* Replace what it sees; not an operator and no folders: nothing. */
KEEP_API keep_status keep_gateway_set_user_folders(keep_gateway *gateway, keep_bytes sub,
						   bool is_operator, const keep_bytes *folders,
						   size_t folder_count,
						   keep_error *err) KEEP_MUST_CHECK;
/*
 * DENIED, with one message and in one time, for an unknown user, a wrong password, one that has
 * none and a disabled account. A hash of another cost is renewed after it was verified.
 */
KEEP_API keep_status keep_gateway_verify_password(keep_gateway *gateway, keep_bytes username,
						  keep_bytes password, keep_memory *memory,
						  keep_auth_user *out,
						  keep_error *err) KEEP_MUST_CHECK;

#define KEEP_TOKEN_SIZE 44                    /* of a refresh token's text with its zero byte */
#define KEEP_SESSION_MS INT64_C(2592000000)   /* 30 days */
#define KEEP_ACCESS_TOKEN_MS INT64_C(3600000) /* 1 hour */

/* A new family of refresh tokens. `token` is not stored and not to be had again. NOT_FOUND: no such
   account; DENIED: disabled. */
KEEP_API keep_status keep_gateway_start_session(keep_gateway *gateway, keep_bytes sub,
						int64_t now_ms, char token[KEEP_TOKEN_SIZE],
						keep_error *err) KEEP_MUST_CHECK;
/*
 * Exchange a refresh token for the next of its family: one of many racing wins. DENIED: unknown,
 * expired, revoked, its account disabled; and a token that was used already, which revokes its
 * whole family. `sub` (may be NULL) is replaced by whose it is.
 */
KEEP_API keep_status keep_gateway_rotate_session(keep_gateway *gateway, keep_bytes token,
						 int64_t now_ms, char next[KEEP_TOKEN_SIZE],
						 keep_buffer *sub, keep_error *err) KEEP_MUST_CHECK;
/* Revoke the token's family; OK also for an unknown token. */
KEEP_API keep_status keep_gateway_end_session(keep_gateway *gateway, keep_bytes token,
					      keep_error *err) KEEP_MUST_CHECK;
/* Remove expired tokens, at most 10000 a call; *count: how many. */
KEEP_API keep_status keep_gateway_sweep_sessions(keep_gateway *gateway, int64_t now_ms,
						 int64_t *count, keep_error *err) KEEP_MUST_CHECK;

/* A JWT (HS256, 1 hour) with sub, name, groups (null: an operator), iat and exp. */
KEEP_API keep_status keep_gateway_issue_access_token(keep_gateway *gateway, keep_bytes sub,
						     int64_t now_ms, keep_buffer *token,
						     keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_access {
	keep_bytes sub, name;
	bool is_operator;
	keep_bytes *folders;
	size_t folder_count;
	int64_t expires_at;
} keep_access;

/* DENIED: not one of ours, altered, expired, or of a retired key. Reads no account. */
KEEP_API keep_status keep_gateway_verify_access_token(keep_gateway *gateway, keep_bytes token,
						      int64_t now_ms, keep_memory *memory,
						      keep_access *out,
						      keep_error *err) KEEP_MUST_CHECK;
/* Sign with a new key from now on; tokens of older ones are good until they expire, or with
   `retire` no longer. */
KEEP_API keep_status keep_gateway_renew_signing_key(keep_gateway *gateway, bool retire,
						    keep_error *err) KEEP_MUST_CHECK;
/* A folder grants itself and what is below it; an operator has all; an unknown or disabled account
   nothing. */
KEEP_API keep_status keep_gateway_may_access(keep_gateway *gateway, keep_bytes sub,
					     keep_bytes folder, bool *may,
					     keep_error *err) KEEP_MUST_CHECK;
/* The same question of a verified token. */
KEEP_API bool keep_access_covers(const keep_access *access, keep_bytes folder);

#ifdef __cplusplus
}
#endif
#endif
