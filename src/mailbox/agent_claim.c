/*
 * agent_claim.c - taking messages, and saying what became of them.
 *
 * The truth about a claim is one row of processing_ack, which only the agent's side writes, one
 * writer at a time: whoever has the row with its attempt number has the message. The host's
 * messages_in.void_attempt says up to which attempt it has counted claims as failed; a claim above
 * it stands, one at or below it is over.
 *
 *   nothing, or an attempt that is void ── claim ──> processing ── complete ──> completed
 *        ▲                                              │ └──────── fail ─────> failed
 *        └── the host retries (void_attempt) ───────────┴── lease over: claimed again, attempt + 1
 *
 * Invariants:
 *   1. A claim's attempt is greater than every one before it.
 *   2. An acknowledgement changes the row of its own attempt or nothing.
 *   3. A claim need not be synced: a power cut takes it and its claimer together. What
 *      acknowledges is synced.
 *
 * Tests: tests/contract/test_mailbox_claims.c.
 */
#include "mailbox/mailbox_private.h"

enum { DEFAULT_LEASE_MS = 60000 };

struct claiming {
	keep_agent *agent;
	const keep_claim_request *request;
	kp_arena *arena;
	int64_t now_ms, lease_until;
	size_t max;
	keep_claim_list *out;
};

static bool wants_kind(const keep_claim_request *request, keep_bytes kind)
{
	if (!request || !request->kinds)
		return true;
	for (size_t i = 0; i < request->kind_count; i++)
		if (kp_bytes_equal(request->kinds[i], kind))
			return true;
	return false;
}

/* The rows of one statement, as far as there is room. */
static keep_status look(const struct claiming *claiming, kp_lease *lease, size_t statement,
			bool system, int64_t *expired, keep_error *err)
{
	const int extra = (int)kp_inbound_message_record.field_count;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, statement,
			      KP_VALUES(kp_text_value(kp_agent_id(claiming->agent)),
					kp_time_value(claiming->now_ms), kp_bool_value(system),
					kp_int_value((int64_t)claiming->max)),
			      &stmt, err);

	while (status == KEEP_OK && claiming->out->count < claiming->max) {
		keep_claimed *claimed = &claiming->out->items[claiming->out->count];
		kp_value attempt, ran_out;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_record_read(stmt, 0, &kp_inbound_message_record, &claimed->message,
					claiming->arena, err);
		if (status == KEEP_OK)
			status = kp_sql_column(stmt, extra, KP_INT, &attempt, err);
		if (status == KEEP_OK)
			status = kp_sql_column(stmt, extra + 1, KP_INT, &ran_out, err);
		if (status != KEEP_OK || !wants_kind(claiming->request, claimed->message.kind))
			continue;
		claimed->attempt = attempt.is_null ? 0 : attempt.integer;
		expired[claiming->out->count] = 0;
		if (claimed->attempt > claimed->message.void_attempt)
			expired[claiming->out->count] = ran_out.is_null ? 1 : ran_out.integer + 1;
		else
			claimed->attempt = claimed->message.void_attempt;
		claimed->attempt++;
		claiming->out->count++;
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status take(const struct claiming *claiming, kp_lease *lease, keep_claimed *claimed,
			int64_t expired, keep_error *err)
{
	const keep_agent *agent = claiming->agent;

	claimed->lease_until = claiming->lease_until;
	return kp_lease_queue(
		lease, KP_MAILBOX_CLAIM,
		KP_VALUES(kp_text_value(kp_agent_id(agent)), kp_text_value(claimed->message.id),
			  kp_time_value(claiming->now_ms),
			  kp_text_value(keep_bytes_of(agent->owner)),
			  kp_time_value(claiming->lease_until), kp_int_value(claimed->attempt),
			  kp_int_value(agent->incarnation), kp_int_value(expired)),
		err);
}

static keep_status apply_claim(void *ctx, kp_lease *lease, keep_error *err)
{
	struct claiming *claiming = ctx;
	int64_t expired[KEEP_CLAIM_MAX];
	keep_status status = KEEP_OK;

	claiming->out->count = 0;
	for (int system = 0; system <= 1 && status == KEEP_OK; system++) {
		status = look(claiming, lease, KP_MAILBOX_CLAIMABLE_NOW, system, expired, err);
		if (status == KEEP_OK)
			status = look(claiming, lease, KP_MAILBOX_CLAIMABLE_DUE, system, expired,
				      err);
	}
	for (size_t i = 0; i < claiming->out->count && status == KEEP_OK; i++)
		status = take(claiming, lease, &claiming->out->items[i], expired[i], err);
	return status;
}

keep_status keep_agent_claim(keep_agent *agent, const keep_claim_request *request, int64_t now_ms,
			     keep_memory *memory, keep_claim_list *out, keep_error *err)
{
	int64_t lease_ms = request && request->lease_ms ? request->lease_ms : DEFAULT_LEASE_MS;
	struct claiming claiming = {.agent = agent,
				    .request = request,
				    .arena = memory,
				    .now_ms = kp_now(now_ms),
				    .max = request && request->max ? request->max : 1,
				    .out = out};
	keep_status status;

	*out = (keep_claim_list){.items = NULL};
	if (claiming.max > KEEP_CLAIM_MAX)
		return kp_fail(err, KEEP_INVALID, "max: %zu is over %d", claiming.max,
			       KEEP_CLAIM_MAX);
	if (lease_ms < 0)
		return kp_fail(err, KEEP_INVALID, "lease_ms: is negative");
	claiming.lease_until = claiming.now_ms + lease_ms;
	out->items = kp_arena_alloc(memory, claiming.max * sizeof *out->items);
	if (!out->items)
		return kp_fail_memory(err, "claims");
	status = kp_agent_write(agent, KP_SQL_WRITE_SOON, false, apply_claim, &claiming, err);
	if (status != KEEP_OK)
		out->count = 0;
	return status;
}

/* ---------------------------------------------------------------- what became of them */

keep_status kp_agent_acknowledge(keep_agent *agent, kp_lease *lease, const keep_claim_ref *claims,
				 size_t count, const char *word, keep_bytes error, int64_t now_ms,
				 keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		int64_t changes = 0;

		status = kp_lease_run(
			lease, KP_MAILBOX_ACKNOWLEDGE,
			KP_VALUES(kp_text_value(kp_agent_id(agent)), kp_text_value(claims[i].id),
				  kp_text_value(keep_bytes_of(word)), kp_time_value(now_ms),
				  kp_text_value(error), kp_text_value(keep_bytes_of(agent->owner)),
				  kp_int_value(claims[i].attempt)),
			&changes, err);
		if (status == KEEP_OK && !changes)
			status = kp_fail(err, KEEP_CONFLICT,
					 "message '%" KP_PRI "' is not claimed by this agent",
					 KP_ARG(claims[i].id));
	}
	return status;
}

struct acknowledging {
	keep_agent *agent;
	const keep_claim_ref *claims;
	size_t count;
	const char *word;
	keep_bytes error;
	int64_t now_ms;
};

static keep_status apply_acknowledge(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct acknowledging *ack = ctx;

	return kp_agent_acknowledge(ack->agent, lease, ack->claims, ack->count, ack->word,
				    ack->error, ack->now_ms, err);
}

keep_status keep_agent_complete(keep_agent *agent, const keep_claim_ref *claims, size_t count,
				int64_t now_ms, keep_error *err)
{
	struct acknowledging ack = {agent,          claims,
				    count,          KEEP_PROCESSING_ACK_STATUS_COMPLETED,
				    {.data = NULL}, kp_now(now_ms)};

	return kp_agent_write(agent, KP_SQL_WRITE, true, apply_acknowledge, &ack, err);
}
