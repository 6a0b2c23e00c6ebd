/*
 * gateway_sign_in.c - refresh tokens: given out once, exchanged once.
 *
 *     start ──> good ── rotate ──> used        a used one again: its whole family is revoked
 *                 │                  │
 *                 └── end, expiry ───┴──> revoked, swept
 *
 * Invariants:
 *   1. The store keeps the SHA-256 of a token, never the token.
 *   2. A token is exchanged by one compare-and-set in the transaction that stores its successor, so
 *      of many that race one wins, and a family that is revoked has no successor that was missed.
 *   3. A token that comes back after its use was stolen, or its answer was lost; nobody can tell,
 *      so the family ends (RFC 9700, section 4.14). That end is stored although the answer is
 *      DENIED.
 *
 * Tests: tests/contract/test_gateway_accounts.c.
 */
#include "gateway/gateway_private.h"
#include "vault/vault.h"

#include <string.h>

enum { SWEEP_MAX = 10000 };

/* A token to come, made before the transaction: apply may run twice. */
struct fresh_token {
	char text[KP_TOKEN_TEXT_SIZE];
	char hash[KP_TOKEN_HASH_TEXT_SIZE];
};

_Static_assert(KEEP_TOKEN_SIZE == KP_TOKEN_TEXT_SIZE, "the public size of a token");

static keep_status make_token(struct fresh_token *fresh, keep_error *err)
{
	keep_status status = kp_token_make(fresh->text, err);

	return status == KEEP_OK ? kp_token_hash(keep_bytes_of(fresh->text), fresh->hash, err)
				 : status;
}

static keep_status store_session(kp_lease *lease, const struct fresh_token *fresh, keep_bytes sub,
				 keep_bytes family, int64_t now_ms, keep_error *err)
{
	const keep_auth_session session = {
		.token_hash = keep_bytes_of(fresh->hash),
		.user_sub = sub,
		.expires_at = now_ms + KEEP_SESSION_MS,
		.family_id = family,
		.created_at = now_ms,
	};
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_statement(lease, KP_GATEWAY_INSERT_AUTH_SESSION, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_auth_session_record, &session, err);
	if (status == KEEP_OK)
		status = kp_sql_queue(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

/* ---------------------------------------------------------------- start */

struct start {
	keep_bytes sub;
	struct fresh_token fresh;
	char family[KP_UUID_TEXT_SIZE];
	int64_t now_ms;
};

static keep_status apply_start(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct start *start = ctx;
	kp_arena arena = {.head = NULL};
	keep_auth_user user = {0};
	bool found = false;
	keep_status status = kp_user_find(lease, start->sub, &arena, &user, &found, err);

	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "sub '%" KP_PRI "': no such account",
				 KP_ARG(start->sub));
	if (status == KEEP_OK && user.disabled)
		status = kp_fail(err, KEEP_DENIED, "sub '%" KP_PRI "': the account is disabled",
				 KP_ARG(start->sub));
	if (status == KEEP_OK)
		status = store_session(lease, &start->fresh, start->sub,
				       keep_bytes_of(start->family), start->now_ms, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_gateway_start_session(keep_gateway *gateway, keep_bytes sub, int64_t now_ms,
				       char token[KEEP_TOKEN_SIZE], keep_error *err)
{
	struct start start = {.sub = sub, .now_ms = kp_gateway_now(now_ms)};
	keep_status status = kp_check_key("sub", sub, err);

	if (status == KEEP_OK)
		status = kp_check_time("now", start.now_ms, err);
	if (status == KEEP_OK)
		status = make_token(&start.fresh, err);
	if (status == KEEP_OK)
		status = kp_uuid_make(start.family, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_start, &start, KP_NEWS_NONE, err);
	if (status == KEEP_OK)
		memcpy(token, start.fresh.text, KEEP_TOKEN_SIZE);
	kp_wipe(&start.fresh, sizeof start.fresh);
	return status;
}

/* ---------------------------------------------------------------- rotate */

struct rotation {
	char hash[KP_TOKEN_HASH_TEXT_SIZE];
	struct fresh_token fresh;
	int64_t now_ms;
	bool wanted;         /* a successor is to be stored; else the family ends */
	bool rotated;        /* the outcome */
	const char *refusal; /* why not */
	kp_arena *arena;
	keep_bytes sub;
};

static keep_status find_session(kp_lease *lease, const struct rotation *rotation,
				keep_auth_session *session, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status =
		kp_lease_bind(lease, KP_GATEWAY_GET_AUTH_SESSION,
			      KP_VALUES(kp_text_value(keep_bytes_of(rotation->hash))), &stmt, err);

	*found = false;
	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_auth_session_record, session, rotation->arena,
					    found, err);
	return status;
}

static keep_status revoke_family(kp_lease *lease, keep_bytes family, int64_t now_ms,
				 keep_error *err)
{
	return kp_lease_queue(lease, KP_GATEWAY_REVOKE_FAMILY,
			      KP_VALUES(kp_text_value(family), kp_time_value(now_ms)), err);
}

/* The token is good: exchange it. */
static keep_status exchange(kp_lease *lease, struct rotation *rotation,
			    const keep_auth_session *session, keep_error *err)
{
	keep_auth_user user = {0};
	bool found = false;
	int64_t changes = 0;
	keep_status status =
		kp_user_find(lease, session->user_sub, rotation->arena, &user, &found, err);

	if (status == KEEP_OK && (!found || user.disabled)) {
		rotation->refusal = "its account is gone or disabled";
		return KEEP_OK;
	}
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_GATEWAY_USE_AUTH_SESSION,
				      KP_VALUES(kp_text_value(session->token_hash),
						kp_time_value(rotation->now_ms)),
				      &changes, err);
	if (status == KEEP_OK && changes != 1)
		status = kp_fail(err, KEEP_CONFLICT, "the token was used meanwhile");
	if (status == KEEP_OK)
		status = store_session(lease, &rotation->fresh, session->user_sub,
				       session->family_id, rotation->now_ms, err);
	rotation->rotated = status == KEEP_OK;
	rotation->sub = session->user_sub;
	return status;
}

static keep_status apply_rotation(void *ctx, kp_lease *lease, keep_error *err)
{
	struct rotation *rotation = ctx;
	keep_auth_session session;
	bool found = false;
	keep_status status = find_session(lease, rotation, &session, &found, err);

	rotation->rotated = false;
	rotation->refusal = "it is unknown, or was swept";
	if (status != KEEP_OK || !found)
		return status;
	if (!rotation->wanted)
		return revoke_family(lease, session.family_id, rotation->now_ms, err);
	if (session.has_revoked_at) {
		rotation->refusal = "it was revoked";
		return KEEP_OK;
	}
	if (session.has_used_at) {
		rotation->refusal = "it was used before; its family is revoked";
		return revoke_family(lease, session.family_id, rotation->now_ms, err);
	}
	if (session.expires_at <= rotation->now_ms) {
		rotation->refusal = "it is expired";
		return KEEP_OK;
	}
	return exchange(lease, rotation, &session, err);
}

keep_status keep_gateway_rotate_session(keep_gateway *gateway, keep_bytes token, int64_t now_ms,
					char next[KEEP_TOKEN_SIZE], keep_buffer *sub,
					keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct rotation rotation = {
		.now_ms = kp_gateway_now(now_ms), .wanted = true, .arena = &arena};
	keep_status status = kp_token_hash(token, rotation.hash, err);

	if (status == KEEP_OK)
		status = kp_check_time("now", rotation.now_ms, err);
	if (status == KEEP_OK)
		status = make_token(&rotation.fresh, err);
	if (status == KEEP_OK && sub) /* after the exchange nothing may fail */
		status = kp_buffer_reserve(sub, KEEP_GATEWAY_TEXT_MAX + 1, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_rotation, &rotation, KP_NEWS_NONE, err);
	if (status == KEEP_OK && !rotation.rotated)
		status = kp_fail(err, KEEP_DENIED, "the refresh token is refused: %s",
				 rotation.refusal);
	if (status == KEEP_OK && sub)
		status = keep_buffer_set(sub, rotation.sub, err);
	if (status == KEEP_OK)
		memcpy(next, rotation.fresh.text, KEEP_TOKEN_SIZE);
	kp_wipe(&rotation.fresh, sizeof rotation.fresh);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- end, sweep */

keep_status keep_gateway_end_session(keep_gateway *gateway, keep_bytes token, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct rotation rotation = {.now_ms = kp_clock_ms(), .arena = &arena};
	keep_status status = kp_token_hash(token, rotation.hash, err);

	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_rotation, &rotation, KP_NEWS_NONE, err);
	kp_arena_release(&arena);
	return status;
}

struct sweep {
	int64_t now_ms, count;
};

static keep_status apply_sweep(void *ctx, kp_lease *lease, keep_error *err)
{
	struct sweep *sweep = ctx;

	return kp_lease_run(lease, KP_GATEWAY_SWEEP_AUTH_SESSIONS,
			    KP_VALUES(kp_time_value(sweep->now_ms), kp_int_value(SWEEP_MAX)),
			    &sweep->count, err);
}

keep_status keep_gateway_sweep_sessions(keep_gateway *gateway, int64_t now_ms, int64_t *count,
					keep_error *err)
{
	struct sweep sweep = {.now_ms = kp_gateway_now(now_ms)};
	keep_status status = kp_check_time("now", sweep.now_ms, err);

	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_sweep, &sweep, KP_NEWS_NONE, err);
	if (status == KEEP_OK && count)
		*count = sweep.count;
	return status;
}
