/*
 * session_prune.c - removing what was finished long ago, a bounded number at a time.
 *
 * First the rows are looked up, then their attachments are removed, then the rows: so a crash
 * leaves a row without files, which the next round removes, and never files that no row leads to.
 * The agent's side is told in session_host.prune_before, and removes its part (agent_prune.c).
 *
 * Invariants:
 *   1. Only what is finished, and was before the given time, is removed. The removing statement
 * asks again.
 *   2. The row with the greatest number of a table stays, so that no number is given twice.
 *   3. One call removes at most `limit` messages, deliveries and steps without a message each.
 *
 * What it does not do: forget dedup keys before their messages; shrink files.
 *
 * Tests: tests/contract/test_mailbox_prune.c.
 */
#include "mailbox/mailbox_private.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum { LIMIT_DEFAULT = 1000, LIMIT_MAX = 100000 };

struct old_ids {
	keep_bytes *items;
	size_t count;
};

struct pruning {
	keep_bytes session;
	int64_t before_ms, limit;
	kp_arena arena;
	struct old_ids messages, deliveries;
	keep_prune_result *out;
};

static keep_status find_old(struct pruning *pruning, kp_lease *lease, size_t statement,
			    struct old_ids *out, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value id;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, statement,
					   KP_VALUES(kp_text_value(pruning->session),
						     kp_time_value(pruning->before_ms),
						     kp_int_value(pruning->limit)),
					   &stmt, err);

	out->count = 0;
	out->items = kp_arena_alloc(&pruning->arena, (size_t)pruning->limit * sizeof *out->items);
	if (status == KEEP_OK && !out->items)
		status = kp_fail_memory(err, "messages");
	while (status == KEEP_OK && out->count < (size_t)pruning->limit) {
		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column(stmt, 0, KP_TEXT, &id, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&pruning->arena, id.bytes, &out->items[out->count],
					       err);
		if (status == KEEP_OK)
			out->count++;
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status query_old(void *ctx, kp_lease *lease, keep_error *err)
{
	struct pruning *pruning = ctx;
	keep_session_host host;
	keep_status status;

	kp_arena_release(&pruning->arena);
	status = kp_session_host_get(lease, pruning->session, &pruning->arena, &host, err);
	if (status != KEEP_OK)
		return status;
	status = find_old(pruning, lease, KP_MAILBOX_OLD_MESSAGES_IN, &pruning->messages, err);
	return status == KEEP_OK ? find_old(pruning, lease, KP_MAILBOX_OLD_DELIVERIES,
					    &pruning->deliveries, err)
				 : status;
}

/* ---------------------------------------------------------------- attachments */

/* A folder that cannot be removed keeps nobody from the others. */
static void remove_files(const char *folder, const char *box, const struct old_ids *ids,
			 int64_t *removed)
{
	for (size_t i = 0; i < ids->count; i++) {
		char path[PATH_MAX + KEEP_SEGMENT_MAX + 16];
		keep_error why = KEEP_ERROR_INIT;
		struct stat st;

		if (kp_check_segment("id", ids->items[i], NULL) != KEEP_OK)
			continue; /* such a one has no folder */
		snprintf(path, sizeof path, "%s/%s/%.*s", folder, box, (int)ids->items[i].len,
			 ids->items[i].data);
		if (lstat(path, &st) != 0)
			continue;
		if (kp_files_remove(folder, box, ids->items[i], &why) == KEEP_OK)
			(*removed)++;
		else
			kp_log(KEEP_LOG_WARNING, "attachments stay: %s", why.message);
	}
}

/* ---------------------------------------------------------------- rows */

static keep_status remove_one(const struct pruning *pruning, kp_lease *lease, size_t statement,
			      keep_bytes id, int64_t *removed, keep_error *err)
{
	kp_value session = kp_text_value(pruning->session);
	int64_t changes = 0;
	keep_status status = kp_lease_run(
		lease, statement,
		KP_VALUES(session, kp_time_value(pruning->before_ms), kp_text_value(id)), &changes,
		err);

	if (status == KEEP_OK && changes) {
		*removed += changes;
		status = kp_lease_run(lease, KP_MAILBOX_REMOVE_STEPS_OF,
				      KP_VALUES(session, kp_text_value(id)), &changes, err);
		pruning->out->steps += changes;
	}
	return status;
}

static keep_status apply_prune(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct pruning *pruning = ctx;
	keep_prune_result *out = pruning->out;
	kp_value session = kp_text_value(pruning->session);
	kp_value before = kp_time_value(pruning->before_ms);
	int64_t changes = 0;
	keep_status status = KEEP_OK;

	out->messages = out->deliveries = out->steps = 0;
	for (size_t i = 0; i < pruning->messages.count && status == KEEP_OK; i++)
		status = remove_one(pruning, lease, KP_MAILBOX_REMOVE_MESSAGE_IN,
				    pruning->messages.items[i], &out->messages, err);
	for (size_t i = 0; i < pruning->deliveries.count && status == KEEP_OK; i++)
		status = remove_one(pruning, lease, KP_MAILBOX_REMOVE_DELIVERY,
				    pruning->deliveries.items[i], &out->deliveries, err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_MAILBOX_REMOVE_OLD_STEPS,
				      KP_VALUES(session, before, kp_int_value(pruning->limit)),
				      &changes, err);
	out->steps += changes;
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_MAILBOX_SET_PRUNE_BEFORE,
				      KP_VALUES(session, before), NULL, err);
	return status;
}

keep_status keep_mailbox_prune_session(keep_mailbox *mailbox, keep_bytes session, int64_t before_ms,
				       size_t limit, keep_prune_result *out, keep_error *err)
{
	struct pruning pruning = {.session = session, .before_ms = before_ms, .out = out};
	kp_session_change change = {.session = session, .mode = KP_SQL_WRITE};
	kp_arena arena = {.head = NULL};
	char *folder = NULL;
	keep_status status = kp_check_session(session, err);

	*out = (keep_prune_result){.messages = 0};
	if (status == KEEP_OK)
		status = kp_check_time("before_ms", before_ms, err);
	if (status == KEEP_OK)
		status = kp_check_limit(limit, LIMIT_DEFAULT, LIMIT_MAX, &pruning.limit, err);
	if (status == KEEP_OK && mailbox->read_only)
		status = kp_fail(err, KEEP_DENIED, "the mailbox was opened for reading only");
	if (status == KEEP_OK)
		status = kp_session_read(mailbox, session, query_old, &pruning, err);
	if (status == KEEP_OK && !mailbox->schema)
		status = kp_session_folder_of(mailbox, session, &arena, &folder, err);
	if (status == KEEP_OK && folder) {
		remove_files(folder, "inbox", &pruning.messages, &out->folders);
		remove_files(folder, "outbox", &pruning.deliveries, &out->folders);
	}
	kp_moment("mailbox.prune_files");
	if (status == KEEP_OK)
		status = kp_session_write(mailbox, &change, apply_prune, &pruning, err);
	if (status == KEEP_OK)
		out->has_more = pruning.messages.count == (size_t)pruning.limit ||
				pruning.deliveries.count == (size_t)pruning.limit;
	kp_arena_release(&arena);
	kp_arena_release(&pruning.arena);
	return status;
}
