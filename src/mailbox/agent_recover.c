/*
 * agent_recover.c - when an agent opens its session: what its predecessors held is over.
 *
 * A claim is over when it was made by an earlier start of the agent (the host counts them, see
 * keep_mailbox_wake), by a program that names no owner, or by a process that is provably gone. It
 * then runs out now: it can be claimed at once, and that claim counts it as one that ran out.
 *
 * Invariants:
 *   1. A claim of this start whose process may live is left alone: a second process of the same
 *      agent is not a dead one.
 *   2. Who held a claim that is over cannot report about it: its owner is then no process. (None at
 *      all, the empty text, is a claim that was given back: that one is not counted.)
 *   3. Without such claims nothing is written.
 *
 * Tests: tests/contract/test_mailbox_life.c.
 */
#include "mailbox/mailbox_private.h"

struct dead_claim {
	struct dead_claim *next;
	keep_bytes message_id;
};

struct recovering {
	const keep_agent *agent;
	int64_t now_ms;
	kp_arena arena;
	struct dead_claim *first;
};

static bool is_over(const struct recovering *recovering, const kp_value *owner,
		    const kp_value *incarnation)
{
	const char *slash;
	size_t len;

	if (owner->is_null || incarnation->is_null ||
	    incarnation->integer < recovering->agent->incarnation)
		return true;
	slash = memchr(owner->bytes.data, '/', owner->bytes.len);
	len = slash ? (size_t)(slash - owner->bytes.data) : owner->bytes.len;
	/* A text that ends with + is no process's, and so proves nothing. */
	return kp_owner_check((keep_bytes){owner->bytes.data, len}, INT64_MAX,
			      recovering->now_ms) == KP_OWNER_GONE;
}

static keep_status look_at_claim(struct recovering *recovering, kp_sql_stmt *stmt, keep_error *err)
{
	kp_value message, owner, incarnation;
	struct dead_claim *dead;
	keep_status status = kp_sql_column(stmt, 0, KP_TEXT, &message, err);

	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 1, KP_TEXT, &owner, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 2, KP_INT, &incarnation, err);
	if (status != KEEP_OK || !is_over(recovering, &owner, &incarnation))
		return status;
	dead = kp_arena_alloc(&recovering->arena, sizeof *dead);
	if (!dead)
		return kp_fail_memory(err, "a claim");
	dead->next = recovering->first;
	recovering->first = dead;
	return kp_arena_copy(&recovering->arena, message.bytes, &dead->message_id, err);
}

static keep_status query_dead_claims(void *ctx, kp_lease *lease, keep_error *err)
{
	struct recovering *recovering = ctx;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status;

	recovering->first = NULL;
	kp_arena_release(&recovering->arena);
	status = kp_lease_bind(lease, KP_MAILBOX_LIST_RUNNING_CLAIMS,
			       KP_VALUES(kp_text_value(kp_agent_id(recovering->agent)),
					 kp_time_value(recovering->now_ms)),
			       &stmt, err);
	while (status == KEEP_OK) {
		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = look_at_claim(recovering, stmt, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* What was read before is read again: meanwhile another process may have done it. */
static keep_status apply_recover(void *ctx, kp_lease *lease, keep_error *err)
{
	struct recovering *recovering = ctx;
	keep_status status = query_dead_claims(recovering, lease, err);

	for (const struct dead_claim *at = recovering->first; at && status == KEEP_OK;
	     at = at->next)
		status = kp_lease_run(lease, KP_MAILBOX_VOID_CLAIM,
				      KP_VALUES(kp_text_value(kp_agent_id(recovering->agent)),
						kp_text_value(at->message_id),
						kp_time_value(recovering->now_ms)),
				      NULL, err);
	return status;
}

keep_status kp_agent_recover(keep_agent *agent, keep_error *err)
{
	struct recovering recovering = {.agent = agent, .now_ms = kp_clock_ms()};
	keep_status status = kp_agent_read(agent, query_dead_claims, &recovering, err);

	if (status == KEEP_OK && recovering.first) /* invariant 3 */
		status =
			kp_agent_write(agent, KP_SQL_WRITE, false, apply_recover, &recovering, err);
	kp_arena_release(&recovering.arena);
	return status;
}
