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
 *        ├── the host retries (void_attempt) ───────────┤
 *        ├── given back: owner '' ──────────────────────┤
 *        └── lease over, or its process is gone ────────┘   claimed again, attempt + 1
 *
 * A claim that is given back keeps its row, so that attempts go on counting, with an empty owner:
 * it is nobody's, and neither side counts it as failed.
 *
 * Invariants:
 *   1. A claim's attempt is greater than every one before it.
 *   2. An acknowledgement changes the row of its own owner and attempt or nothing.
 *   3. A claim need not be synced: a power cut takes it and its claimer together. What
 *      acknowledges is synced.
 *   4. A claim that finds nothing writes nothing, and takes no turn unless a wait has just found
 *      something that somebody else took meanwhile.
 *   5. Claims of a process that lives end by their lease alone. Those of one that is provably gone
 *      end when there is nothing else to claim.
 *
 * What it does not do: retry what failed; the host does.
 *
 * Tests: tests/contract/test_mailbox_claims.c.
 */
#include "mailbox/mailbox_private.h"

enum { DEFAULT_LEASE_MS = 60000, KINDS = 5, CLAIMS_MAX = KEEP_MAILBOX_LIST_MAX };

static const char *const kind_names[KINDS] = {
	KEEP_INBOUND_MESSAGE_KIND_SYSTEM, KEEP_INBOUND_MESSAGE_KIND_CHAT,
	KEEP_INBOUND_MESSAGE_KIND_CHAT_SDK, KEEP_INBOUND_MESSAGE_KIND_TASK,
	KEEP_INBOUND_MESSAGE_KIND_WEBHOOK};

/* ---------------------------------------------------------------- is there anything */

/* What a look answers, and what it needs. */
struct looking {
	keep_agent *agent;
	kp_value kinds[KINDS]; /* NULL: not wanted; kind_names says which */
	bool is_all;           /* every kind is */
	int64_t now_ms;
	bool found;
	int64_t due_ms;   /* when something may change by itself; 0: not known */
	kp_arena *arena;  /* of `gone` */
	keep_bytes *gone; /* owners whose process is gone; looked for when nothing else is there */
	size_t gone_count;
};

static keep_status choose_kinds(const keep_claim_request *request, kp_value kinds[KINDS],
				keep_error *err)
{
	bool is_all = !request || !request->kinds || !request->kind_count;

	for (size_t k = 0; k < KINDS; k++)
		kinds[k] = is_all ? kp_text_value(keep_bytes_of(kind_names[k]))
				  : kp_null_value(KP_TEXT);
	for (size_t i = 0; !is_all && i < request->kind_count; i++) {
		bool is_known = false;

		for (size_t k = 0; k < KINDS; k++)
			if (kp_bytes_equal(request->kinds[i], keep_bytes_of(kind_names[k]))) {
				kinds[k] = kp_text_value(keep_bytes_of(kind_names[k]));
				is_known = true;
			}
		if (!is_known)
			return kp_fail(err, KEEP_INVALID, "kinds: '%" KP_PRI "' is none",
				       KP_ARG(request->kinds[i]));
	}
	return KEEP_OK;
}

/* An owner is a process, '+' when its leases outlive it, '/' and a number. */
static bool is_gone(keep_bytes owner, int64_t now_ms)
{
	const char *slash = memrchr(owner.data, '/', owner.len);
	size_t len = slash ? (size_t)(slash - owner.data) : owner.len;

	return kp_owner_check((keep_bytes){owner.data, len}, INT64_MAX, now_ms) == KP_OWNER_GONE;
}

static bool is_lasting(keep_bytes owner)
{
	const char *slash = memrchr(owner.data, '/', owner.len);

	return slash && slash > owner.data && slash[-1] == '+';
}

static keep_status find_gone(struct looking *looking, kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_STANDING_OWNERS,
					   KP_VALUES(kp_text_value(kp_agent_id(looking->agent)),
						     kp_time_value(looking->now_ms)),
					   &stmt, err);

	while (status == KEEP_OK) {
		keep_bytes owner;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &owner, err);
		if (status != KEEP_OK || !is_gone(owner, looking->now_ms))
			continue;
		if (looking->gone_count == KEEP_CLAIM_MAX)
			break; /* the rest is for another look */
		if (!looking->gone)
			looking->gone = kp_arena_alloc(looking->arena,
						       KEEP_CLAIM_MAX * sizeof *looking->gone);
		status = looking->gone ? kp_arena_copy(looking->arena, owner,
						       &looking->gone[looking->gone_count++], err)
				       : kp_fail_memory(err, "owners");
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status read_due(struct looking *looking, kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value at = {.is_null = true};
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_NEXT_CLAIMABLE,
					   KP_VALUES(kp_text_value(kp_agent_id(looking->agent)),
						     kp_time_value(looking->now_ms)),
					   &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, 0, KP_TIME, &at, err);
	looking->due_ms = at.is_null ? 0 : at.integer;
	kp_sql_reset(stmt);
	return status;
}

static keep_status query_looking(void *ctx, kp_lease *lease, keep_error *err)
{
	struct looking *looking = ctx;
	const kp_value *kinds = looking->kinds;
	int64_t answer = 0;
	bool has_row = false;
	keep_status status;

	looking->due_ms = 0;
	looking->gone_count = 0;
	status = kp_lease_int(lease, KP_MAILBOX_HAS_CLAIMABLE,
			      KP_VALUES(kp_text_value(kp_agent_id(looking->agent)),
					kp_time_value(looking->now_ms), kinds[0], kinds[1],
					kinds[2], kinds[3], kinds[4]),
			      &answer, &has_row, err);
	looking->found = status == KEEP_OK && answer;
	if (status == KEEP_OK && !looking->found)
		status = find_gone(looking, lease, err);
	if (status == KEEP_OK && !looking->found && !looking->gone_count)
		status = read_due(looking, lease, err);
	return status;
}

keep_status kp_agent_look_for_claimable(void *ctx, keep_agent *agent, bool *found, int64_t *due_ms,
					keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct looking looking = {.agent = agent, .now_ms = kp_clock_ms(), .arena = &arena};
	keep_status status = choose_kinds(NULL, looking.kinds, err);

	(void)ctx;
	if (status == KEEP_OK)
		status = kp_agent_read(agent, query_looking, &looking, err);
	*found = status == KEEP_OK && (looking.found || looking.gone_count);
	if (status == KEEP_OK && looking.found)
		atomic_store(&agent->has_found, true);
	*due_ms = looking.due_ms;
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- claiming */

struct claiming {
	struct looking *looking;
	kp_arena *arena;
	int64_t lease_until;
	size_t max;
	keep_claim_list *out;
	int64_t expired[KEEP_CLAIM_MAX];
};

/* Attempt and lost claims of the row that the statement stands at. */
static keep_status read_claimable(struct claiming *claiming, kp_sql_stmt *stmt, keep_error *err)
{
	const int extra = (int)kp_inbound_message_record.field_count;
	keep_claimed *claimed = &claiming->out->items[claiming->out->count];
	int64_t *expired = &claiming->expired[claiming->out->count];
	kp_value attempt = {.is_null = true}, ran_out = {.is_null = true};
	int64_t was_released = 0;
	keep_status status = kp_record_read(stmt, 0, &kp_inbound_message_record, &claimed->message,
					    claiming->arena, err);

	if (status == KEEP_OK)
		status = kp_sql_column(stmt, extra, KP_INT, &attempt, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, extra + 1, KP_INT, &ran_out, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, extra + 2, &was_released, err);
	if (status != KEEP_OK)
		return status;
	claimed->attempt = attempt.is_null ? 0 : attempt.integer;
	*expired = ran_out.is_null ? 0 : ran_out.integer;
	if (ran_out.is_null || claimed->attempt <= claimed->message.void_attempt)
		*expired = 0;
	else if (!was_released)
		++*expired;
	if (claimed->attempt < claimed->message.void_attempt)
		claimed->attempt = claimed->message.void_attempt;
	claimed->attempt++; /* invariant 1 */
	claimed->lease_until = claiming->lease_until;
	claiming->out->count++;
	return KEEP_OK;
}

static keep_status gather_rows(struct claiming *claiming, kp_sql_stmt *stmt, keep_error *err)
{
	bool has_row = false;
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && claiming->out->count < claiming->max) {
		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = read_claimable(claiming, stmt, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* The rows of up to four kinds, as far as there is room. */
static keep_status gather(struct claiming *claiming, kp_lease *lease, const kp_value kinds[4],
			  keep_error *err)
{
	const struct looking *looking = claiming->looking;
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(
		lease, KP_MAILBOX_CLAIMABLE,
		KP_VALUES(kp_text_value(kp_agent_id(looking->agent)),
			  kp_time_value(looking->now_ms),
			  kp_int_value((int64_t)(claiming->max - claiming->out->count)), kinds[0],
			  kinds[1], kinds[2], kinds[3]),
		&stmt, err);

	return status == KEEP_OK ? gather_rows(claiming, stmt, err) : status;
}

static bool is_system(const keep_claimed *claimed)
{
	return kp_bytes_equal(claimed->message.kind, KEEP_BYTES(KEEP_INBOUND_MESSAGE_KIND_SYSTEM));
}

/* `system` rows behind the others; both keep their order. */
static void part_systems(struct claiming *claiming)
{
	keep_claim_list *list = claiming->out;
	size_t others = 0;

	for (size_t i = 0; i < list->count; i++) {
		keep_claimed item = list->items[i];
		int64_t expired = claiming->expired[i];

		if (is_system(&item))
			continue;
		memmove(&list->items[others + 1], &list->items[others],
			(i - others) * sizeof *list->items);
		memmove(&claiming->expired[others + 1], &claiming->expired[others],
			(i - others) * sizeof *claiming->expired);
		list->items[others] = item;
		claiming->expired[others++] = expired;
	}
}

/* All kinds, while no time has come: the same rows for less. Nothing is gathered when that is not
   so, or when `system` rows may have taken the room of others. */
static keep_status gather_now(struct claiming *claiming, kp_lease *lease, keep_error *err)
{
	const struct looking *looking = claiming->looking;
	keep_claim_list *list = claiming->out;
	kp_sql_stmt *stmt = NULL;
	size_t systems = 0;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_CLAIMABLE_NOW,
					   KP_VALUES(kp_text_value(kp_agent_id(looking->agent)),
						     kp_time_value(looking->now_ms),
						     kp_int_value((int64_t)claiming->max)),
					   &stmt, err);

	if (status == KEEP_OK)
		status = gather_rows(claiming, stmt, err);
	for (size_t i = 0; i < list->count; i++)
		systems += is_system(&list->items[i]);
	if (systems && list->count == claiming->max)
		list->count = 0;
	else if (systems)
		part_systems(claiming);
	return status;
}

static keep_status take(const keep_agent *agent, kp_lease *lease, const keep_claimed *claimed,
			int64_t expired, int64_t now_ms, keep_error *err)
{
	return kp_lease_queue(
		lease, KP_MAILBOX_CLAIM,
		KP_VALUES(kp_text_value(kp_agent_id(agent)), kp_text_value(claimed->message.id),
			  kp_time_value(now_ms), kp_text_value(keep_bytes_of(agent->owner)),
			  kp_time_value(claimed->lease_until), kp_int_value(claimed->attempt),
			  kp_int_value(agent->incarnation), kp_int_value(expired)),
		err);
}

static keep_status apply_claim(void *ctx, kp_lease *lease, keep_error *err)
{
	struct claiming *claiming = ctx;
	const struct looking *looking = claiming->looking;
	const kp_value system[4] = {looking->kinds[0], kp_null_value(KP_TEXT),
				    kp_null_value(KP_TEXT), kp_null_value(KP_TEXT)};
	keep_status status = KEEP_OK;

	claiming->out->count = 0;
	for (size_t i = 0; i < looking->gone_count && status == KEEP_OK; i++)
		status = kp_lease_queue(lease, KP_MAILBOX_END_OWNER,
					KP_VALUES(kp_text_value(kp_agent_id(looking->agent)),
						  kp_time_value(looking->now_ms),
						  kp_text_value(looking->gone[i])),
					err);
	if (status == KEEP_OK && looking->is_all)
		status = gather_now(claiming, lease, err);
	if (status == KEEP_OK && !claiming->out->count) {
		status = gather(claiming, lease, &looking->kinds[1], err);
		if (status == KEEP_OK && claiming->out->count < claiming->max && !system[0].is_null)
			status = gather(claiming, lease, system, err);
	}
	for (size_t i = 0; i < claiming->out->count && status == KEEP_OK; i++)
		status = take(looking->agent, lease, &claiming->out->items[i], claiming->expired[i],
			      looking->now_ms, err);
	return status;
}

/* Until when a lease of that length lasts. */
static keep_status end_of_lease(int64_t lease_ms, int64_t now_ms, int64_t *until, keep_error *err)
{
	keep_status status = kp_check_time("now_ms", now_ms, err);

	if (status != KEEP_OK)
		return status;
	if (lease_ms < 0 || lease_ms > KEEP_TIME_MAX - now_ms)
		return kp_fail(err, KEEP_INVALID, "lease_ms: is negative or ends after all years");
	*until = now_ms + (lease_ms ? lease_ms : DEFAULT_LEASE_MS);
	return KEEP_OK;
}

/* A look has found something. */
static keep_status claim_found(struct claiming *claiming, keep_error *err)
{
	keep_claim_list *out = claiming->out;
	keep_agent *agent = claiming->looking->agent;
	keep_status status;

	if (!out->items)
		out->items = kp_arena_alloc(claiming->arena, claiming->max * sizeof *out->items);
	if (!out->items)
		return kp_fail_memory(err, "claims");
	status = kp_agent_write(agent, KP_SQL_WRITE_SOON, false, apply_claim, claiming, err);
	if (status != KEEP_OK)
		*out = (keep_claim_list){.items = NULL};
	else
		kp_agent_claimed(agent);
	return status;
}

keep_status keep_agent_claim(keep_agent *agent, const keep_claim_request *request, int64_t now_ms,
			     keep_memory *memory, keep_claim_list *out, keep_error *err)
{
	struct looking looking = {.agent = agent, .now_ms = kp_now(now_ms), .arena = memory};
	struct claiming claiming = {.looking = &looking,
				    .arena = memory,
				    .max = request && request->max ? request->max : 1,
				    .out = out};
	keep_status status;

	*out = (keep_claim_list){.items = NULL};
	if (claiming.max > KEEP_CLAIM_MAX)
		return kp_fail(err, KEEP_INVALID, "max: %zu is over %d", claiming.max,
			       KEEP_CLAIM_MAX);
	status = end_of_lease(request ? request->lease_ms : 0, looking.now_ms,
			      &claiming.lease_until, err);
	if (status == KEEP_OK)
		status = choose_kinds(request, looking.kinds, err);
	looking.is_all = !request || !request->kinds || !request->kind_count;
	if (status == KEEP_OK && looking.is_all && atomic_exchange(&agent->has_found, false)) {
		status = claim_found(&claiming, err);
		if (status != KEEP_OK || out->count)
			return status;
	}
	if (status == KEEP_OK)
		status = kp_agent_read(agent, query_looking, &looking, err);
	if (status != KEEP_OK || (!looking.found && !looking.gone_count))
		return status;
	return claim_found(&claiming, err);
}

/* ---------------------------------------------------------------- whose claim it is */

/* One claim, as it is stored. */
struct claim_state {
	kp_value status, owner, attempt, lease_until, message_status, void_attempt;
};

static keep_status read_columns(kp_sql_stmt *stmt, struct claim_state *state, keep_error *err)
{
	kp_value *const values[] = {&state->status,         &state->owner,
				    &state->attempt,        &state->lease_until,
				    &state->message_status, &state->void_attempt};
	static const kp_kind kinds[] = {KP_TEXT, KP_TEXT, KP_INT, KP_TIME, KP_TEXT, KP_INT};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(values) && status == KEEP_OK; i++)
		status = kp_sql_column(stmt, (int)i, kinds[i], values[i], err);
	return status;
}

static bool is_word(const kp_value *value, const char *word)
{
	return !value->is_null && kp_bytes_equal(value->bytes, keep_bytes_of(word));
}

/* May `agent` report about it? CONFLICT says why not. */
static keep_status judge(const keep_agent *agent, const struct claim_state *state,
			 const keep_claim_ref *claim, const char *word, bool *is_done,
			 keep_error *err)
{
	bool is_ours = !state->owner.is_null &&
		       (kp_bytes_equal(state->owner.bytes, keep_bytes_of(agent->owner)) ||
			is_lasting(state->owner.bytes)) &&
		       !state->attempt.is_null &&
		       (!claim->attempt || claim->attempt == state->attempt.integer);

	*is_done = is_ours && word && is_word(&state->status, word);
	if (*is_done)
		return KEEP_OK;
	if (!is_ours || !is_word(&state->status, KEEP_PROCESSING_ACK_STATUS_PROCESSING))
		return kp_fail(err, KEEP_CONFLICT,
			       "message '%" KP_PRI "' is not claimed by this agent%s",
			       KP_ARG(claim->id), claim->attempt ? " with that attempt" : "");
	if (state->message_status.is_null)
		return kp_fail(err, KEEP_CONFLICT, "message '%" KP_PRI "' is gone",
			       KP_ARG(claim->id));
	if (!is_word(&state->message_status, KEEP_INBOUND_MESSAGE_STATUS_PENDING) &&
	    !is_word(&state->message_status, KEEP_INBOUND_MESSAGE_STATUS_PAUSED))
		return kp_fail(err, KEEP_CONFLICT, "message '%" KP_PRI "' is %" KP_PRI " by now",
			       KP_ARG(claim->id), KP_ARG(state->message_status.bytes));
	if (!state->void_attempt.is_null && state->void_attempt.integer >= state->attempt.integer)
		return kp_fail(err, KEEP_CONFLICT,
			       "message '%" KP_PRI "': the host has counted attempt %lld as failed",
			       KP_ARG(claim->id), (long long)state->attempt.integer);
	return KEEP_OK;
}

/* The claim's owner and attempt as they are stored. `word`: done with that is no conflict. */
static keep_status find_claim(const keep_agent *agent, kp_lease *lease, const keep_claim_ref *claim,
			      const char *word, kp_arena *arena, keep_bytes *owner,
			      int64_t *attempt, bool *is_done, keep_error *err)
{
	struct claim_state state;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, KP_MAILBOX_GET_CLAIM,
		KP_VALUES(kp_text_value(kp_agent_id(agent)), kp_text_value(claim->id)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && !has_row)
		status = kp_fail(err, KEEP_CONFLICT,
				 "message '%" KP_PRI "' is not claimed by this agent",
				 KP_ARG(claim->id));
	if (status == KEEP_OK)
		status = read_columns(stmt, &state, err);
	if (status == KEEP_OK)
		status = judge(agent, &state, claim, word, is_done, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, state.owner.bytes, owner, err);
	if (status == KEEP_OK)
		*attempt = state.attempt.integer;
	kp_sql_reset(stmt);
	return status;
}

keep_status kp_agent_claims_check(const keep_claim_ref *claims, size_t count, int64_t now_ms,
				  keep_error *err)
{
	keep_status status = kp_check_time("now_ms", now_ms, err);

	if (status == KEEP_OK && (!claims || !count || count > CLAIMS_MAX))
		status = kp_fail(err, KEEP_INVALID, "claims: 1 to %d are needed", CLAIMS_MAX);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = kp_check_key("claims: id", claims[i].id, err);
		if (status == KEEP_OK && claims[i].attempt < 0)
			status = kp_fail(err, KEEP_INVALID, "claims: attempt: %lld is negative",
					 (long long)claims[i].attempt);
		for (size_t k = 0; k < i && status == KEEP_OK; k++)
			if (kp_bytes_equal(claims[i].id, claims[k].id))
				status = kp_fail(err, KEEP_INVALID,
						 "claims: message '%" KP_PRI "' is there twice",
						 KP_ARG(claims[i].id));
	}
	return status;
}

/* ---------------------------------------------------------------- what became of them */

keep_status kp_agent_acknowledge(keep_agent *agent, kp_lease *lease, const keep_claim_ref *claims,
				 size_t count, const char *word, keep_bytes error, int64_t now_ms,
				 bool *repeated, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_status status = KEEP_OK;

	*repeated = false;
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		keep_bytes owner = {.data = NULL};
		int64_t attempt = 0;
		bool is_done = false;

		status = find_claim(agent, lease, &claims[i], word, &arena, &owner, &attempt,
				    &is_done, err);
		*repeated |= is_done;
		if (status == KEEP_OK && !is_done)
			status = kp_lease_queue(
				lease, KP_MAILBOX_ACKNOWLEDGE,
				KP_VALUES(kp_text_value(kp_agent_id(agent)),
					  kp_text_value(claims[i].id),
					  kp_text_value(keep_bytes_of(word)), kp_time_value(now_ms),
					  kp_text_value(error), kp_text_value(owner),
					  kp_int_value(attempt)),
				err);
	}
	kp_arena_release(&arena);
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
	bool repeated = false;

	return kp_agent_acknowledge(ack->agent, lease, ack->claims, ack->count, ack->word,
				    ack->error, ack->now_ms, &repeated, err);
}

static keep_status acknowledge(const struct acknowledging *ack, keep_error *err)
{
	struct acknowledging given = *ack;
	keep_status status = kp_agent_claims_check(ack->claims, ack->count, ack->now_ms, err);

	if (status == KEEP_OK)
		status = kp_check_text("error", ack->error, KEEP_MAILBOX_TEXT_MAX, KP_MAY_BE_ABSENT,
				       err);
	if (status == KEEP_OK)
		status = kp_agent_write(ack->agent, KP_SQL_WRITE, true, apply_acknowledge, &given,
					err);
	return status;
}

keep_status keep_agent_complete(keep_agent *agent, const keep_claim_ref *claims, size_t count,
				int64_t now_ms, keep_error *err)
{
	struct acknowledging ack = {.agent = agent,
				    .claims = claims,
				    .count = count,
				    .word = KEEP_PROCESSING_ACK_STATUS_COMPLETED,
				    .now_ms = kp_now(now_ms)};

	return acknowledge(&ack, err);
}

keep_status keep_agent_fail(keep_agent *agent, const keep_claim_ref *claims, size_t count,
			    keep_bytes error, int64_t now_ms, keep_error *err)
{
	struct acknowledging ack = {.agent = agent,
				    .claims = claims,
				    .count = count,
				    .word = KEEP_PROCESSING_ACK_STATUS_FAILED,
				    .error = error,
				    .now_ms = kp_now(now_ms)};

	return acknowledge(&ack, err);
}

/* ---------------------------------------------------------------- longer, or given back */

struct moving {
	keep_agent *agent;
	const keep_claim_ref *claims;
	size_t count;
	size_t statement;
	int64_t until; /* the lease's new end */
};

static keep_status apply_moving(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct moving *moving = ctx;
	kp_arena arena = {.head = NULL};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < moving->count && status == KEEP_OK; i++) {
		keep_bytes owner = {.data = NULL};
		int64_t attempt = 0;
		bool is_done = false;

		status = find_claim(moving->agent, lease, &moving->claims[i], NULL, &arena, &owner,
				    &attempt, &is_done, err);
		if (status == KEEP_OK)
			status = kp_lease_queue(lease, moving->statement,
						KP_VALUES(kp_text_value(kp_agent_id(moving->agent)),
							  kp_text_value(moving->claims[i].id),
							  kp_time_value(moving->until),
							  kp_text_value(owner),
							  kp_int_value(attempt)),
						err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_agent_extend(keep_agent *agent, const keep_claim_ref *claims, size_t count,
			      int64_t lease_ms, int64_t now_ms, keep_error *err)
{
	struct moving moving = {agent, claims, count, KP_MAILBOX_EXTEND_CLAIM, 0};
	keep_status status = kp_agent_claims_check(claims, count, kp_now(now_ms), err);

	if (status == KEEP_OK)
		status = end_of_lease(lease_ms, kp_now(now_ms), &moving.until, err);
	if (status == KEEP_OK)
		status =
			kp_agent_write(agent, KP_SQL_WRITE_SOON, false, apply_moving, &moving, err);
	return status;
}

/* Others of this agent may be waiting for something to claim: they look when the bell rings. */
keep_status keep_agent_release(keep_agent *agent, const keep_claim_ref *claims, size_t count,
			       int64_t now_ms, keep_error *err)
{
	struct moving moving = {agent, claims, count, KP_MAILBOX_RELEASE_CLAIM, kp_now(now_ms)};
	keep_status status = kp_agent_claims_check(claims, count, moving.until, err);

	if (status == KEEP_OK)
		status =
			kp_agent_write(agent, KP_SQL_WRITE_SOON, false, apply_moving, &moving, err);
	if (status == KEEP_OK)
		kp_bell_ring(&agent->in);
	return status;
}
