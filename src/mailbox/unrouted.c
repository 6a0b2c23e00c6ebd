/*
 * unrouted.c - what came to a chat that nobody is wired to: counted by chat, with the latest.
 *
 * So that a chat whose wiring was forgotten is seen, and not only in a log. A repetition of a
 * message counts again: this is a sign for people and keeps no messages. Wiring the chat leaves the
 * row; it is forgotten by time.
 *
 * Invariants:
 *   1. A row a chat, so what strangers send costs at most one content a chat.
 *
 * What it does not do: count what wired agents did not take (route.c answers that).
 *
 * Tests: tests/contract/test_mailbox_routing.c.
 */
#include "mailbox/registry_private.h"

enum { USUAL_LIMIT = 50 };

keep_status kp_unrouted_count(kp_lease *lease, const keep_unrouted_message *message,
			      keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_statement(lease, KP_MAILBOX_COUNT_UNROUTED, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_unrouted_message_record, message, err);
	if (status == KEEP_OK)
		return kp_sql_run(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

keep_status keep_mailbox_list_unrouted(keep_mailbox *mailbox, size_t limit, keep_memory *memory,
				       keep_unrouted_message_list *out, keep_error *err)
{
	int64_t rows = 0;
	keep_status status = kp_check_limit(limit, USUAL_LIMIT, KEEP_MAILBOX_LIST_MAX, &rows, err);

	*out = (keep_unrouted_message_list){.items = NULL};
	if (status != KEEP_OK)
		return status;
	return kp_registry_list(mailbox, KP_MAILBOX_LIST_UNROUTED, KP_VALUES(kp_int_value(rows)),
				&kp_unrouted_message_record, memory, &out->items, &out->count, err);
}

struct forgetting {
	int64_t before_ms, forgotten;
};

static keep_status apply_forget(void *ctx, kp_lease *lease, keep_error *err)
{
	struct forgetting *forgetting = ctx;

	return kp_lease_run(lease, KP_MAILBOX_FORGET_UNROUTED,
			    KP_VALUES(kp_time_value(forgetting->before_ms)), &forgetting->forgotten,
			    err);
}

keep_status keep_mailbox_forget_unrouted(keep_mailbox *mailbox, int64_t before_ms,
					 int64_t *forgotten, keep_error *err)
{
	struct forgetting forgetting = {.before_ms = before_ms};
	keep_status status = kp_check_time("before_ms", before_ms, err);

	if (forgotten)
		*forgotten = 0;
	if (status == KEEP_OK)
		status = kp_registry_change(mailbox, apply_forget, &forgetting, err);
	if (status == KEEP_OK && forgotten)
		*forgotten = forgetting.forgotten;
	return status;
}
