/*
 * agent_prune.c - the agent's side removes what the host has pruned.
 *
 * session_host.prune_before says before which time the host has no use for finished things. The
 * agent's side then removes acknowledgements of finished messages and what it said and the host has
 * delivered, in batches: some when it opens, some between claims. session_agent.pruned_before says
 * how far it is, so that nothing is looked through twice.
 *
 * Invariants:
 *   1. An acknowledgement goes when the host has finished its message, or has removed it.
 *   2. A message goes when the host has taken it over, owes no delivery of it, and it is no
 *      recurrence. Its files go with it, before its row.
 *   3. The greatest number and the greatest change stay: the next ones follow from them.
 *   4. It fails nobody: what could not be removed is removed later.
 *
 * Tests: tests/contract/test_mailbox_prune.c.
 */
#include "mailbox/mailbox_private.h"

enum { BATCH = 500, IDS_MAX = BATCH, BATCHES_AT_OPEN = 8, CLAIMS_BETWEEN = 64 };

struct pruning {
	keep_agent *agent;
	int64_t before_ms, pruned_ms; /* what the host wants, and what is done */
	kp_arena arena;
	keep_bytes messages[IDS_MAX];
	size_t count;
	bool has_more;
};

static keep_status query_wanted(void *ctx, kp_lease *lease, keep_error *err)
{
	struct pruning *pruning = ctx;
	kp_value session = kp_text_value(kp_agent_id(pruning->agent));
	kp_arena arena = {.head = NULL};
	keep_session_host host;
	keep_session_agent agent;
	bool found = false;
	keep_status status = kp_session_host_get(lease, session.bytes, &arena, &host, err);

	if (status == KEEP_OK)
		status = kp_lease_get(lease, KP_MAILBOX_GET_SESSION_AGENT, &session, 1,
				      &kp_session_agent_record, &arena, &agent, &found, err);
	pruning->before_ms =
		status == KEEP_OK && host.has_prune_before ? host.prune_before : INT64_MIN;
	pruning->pruned_ms = status == KEEP_OK && found && agent.has_pruned_before
				     ? agent.pruned_before
				     : INT64_MIN;
	kp_arena_release(&arena);
	return status;
}

/* Ids that one of the statements finds. */
static keep_status find_old(struct pruning *pruning, kp_lease *lease, size_t statement,
			    keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value id;
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, statement,
			      KP_VALUES(kp_text_value(kp_agent_id(pruning->agent)),
					kp_time_value(pruning->before_ms), kp_int_value(BATCH)),
			      &stmt, err);

	kp_arena_release(&pruning->arena);
	pruning->count = 0;
	while (status == KEEP_OK && pruning->count < IDS_MAX) {
		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column(stmt, 0, KP_TEXT, &id, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&pruning->arena, id.bytes,
					       &pruning->messages[pruning->count], err);
		if (status == KEEP_OK)
			pruning->count++;
	}
	kp_sql_reset(stmt);
	pruning->has_more = pruning->has_more || pruning->count == IDS_MAX;
	return status;
}

static keep_status remove_found(struct pruning *pruning, kp_lease *lease, size_t statement,
				bool has_files, keep_error *err)
{
	const keep_agent *agent = pruning->agent;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < pruning->count && status == KEEP_OK; i++) {
		keep_error why = KEEP_ERROR_INIT;

		if (has_files && agent->folder &&
		    kp_check_segment("id", pruning->messages[i], NULL) == KEEP_OK &&
		    kp_files_remove(agent->folder, "outbox", pruning->messages[i], &why) != KEEP_OK)
			kp_log(KEEP_LOG_DEBUG, "attachments stay: %s", why.message);
		status = kp_lease_queue(lease, statement,
					KP_VALUES(kp_text_value(kp_agent_id(agent)),
						  kp_text_value(pruning->messages[i])),
					err);
	}
	return status;
}

static keep_status apply_prune(void *ctx, kp_lease *lease, keep_error *err)
{
	struct pruning *pruning = ctx;
	kp_value session = kp_text_value(kp_agent_id(pruning->agent));
	kp_value before = kp_time_value(pruning->before_ms);
	keep_status status;

	pruning->has_more = false;
	status = find_old(pruning, lease, KP_MAILBOX_OLD_ACKS, err);
	if (status == KEEP_OK)
		status = remove_found(pruning, lease, KP_MAILBOX_REMOVE_ACK, false, err);
	if (status == KEEP_OK)
		status = find_old(pruning, lease, KP_MAILBOX_OLD_MESSAGES_OUT, err);
	if (status == KEEP_OK)
		status = remove_found(pruning, lease, KP_MAILBOX_REMOVE_MESSAGE_OUT, true, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_MAILBOX_REMOVE_OLD_QUESTIONS,
					KP_VALUES(session, before), err);
	if (status == KEEP_OK && !pruning->has_more)
		status = kp_lease_queue(lease, KP_MAILBOX_SET_PRUNED, KP_VALUES(session, before),
					err);
	return status;
}

static keep_status prune(keep_agent *agent, int batches, keep_error *err)
{
	struct pruning *pruning = kp_alloc_zero(sizeof *pruning);
	keep_status status;

	if (!pruning)
		return kp_fail_memory(err, "a round of pruning");
	pruning->agent = agent;
	pruning->has_more = true;
	status = kp_agent_read(agent, query_wanted, pruning, err);
	if (pruning->before_ms > pruning->pruned_ms)
		for (int i = 0; i < batches && status == KEEP_OK && pruning->has_more; i++)
			status = kp_agent_write(agent, KP_SQL_WRITE_SOON, false, apply_prune,
						pruning, err);
	kp_arena_release(&pruning->arena);
	kp_free(pruning);
	return status;
}

/* Invariant 4. */
static void prune_and_log(keep_agent *agent, int batches)
{
	keep_error why = KEEP_ERROR_INIT;

	if (!agent->is_plain && prune(agent, batches, &why) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "what is old is removed later: %s", why.message);
}

void kp_agent_prune_some(keep_agent *agent)
{
	prune_and_log(agent, BATCHES_AT_OPEN);
}

void kp_agent_claimed(keep_agent *agent)
{
	if (atomic_fetch_add(&agent->claims, 1) % CLAIMS_BETWEEN == CLAIMS_BETWEEN - 1)
		prune_and_log(agent, 1);
}
