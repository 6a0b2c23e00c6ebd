/*
 * message_list.c - a session's messages to its agent, a page after the other.
 *
 * Invariants:
 *   1. Pages follow the number, which is never used twice: what comes in between two pages is on a
 *      later one, and nothing is on two.
 *   2. A page costs its rows. With a status it costs the rows that it passes over, too: for people.
 *
 * What it does not do: tell what became of a message (trace) or hand any out (agent_claim.c).
 *
 * Tests: tests/contract/test_mailbox_message_list.c, tests/cli/test_cli_mailbox.py.
 */
#include "mailbox/mailbox_private.h"

enum { DEFAULT_LIMIT = 50 };

struct listing {
	keep_bytes session, status;
	int64_t after_seq, limit;
	kp_arena *arena;
	keep_inbound_message_list *out;
};

static keep_status query_messages(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct listing *listing = ctx;
	const kp_value values[] = {
		kp_text_value(listing->session),
		kp_int_value(listing->after_seq),
		kp_int_value(listing->limit),
		kp_text_value(listing->status),
	};
	bool has_status = listing->status.data != NULL;
	keep_session_host host;
	keep_status status =
		kp_session_host_get(lease, listing->session, listing->arena, &host, err);

	/* Where sessions share a table, one that is not there would look empty. */
	if (status != KEEP_OK)
		return status;
	return kp_lease_list(
		lease, has_status ? KP_MAILBOX_LIST_INBOUND_OF_STATUS : KP_MAILBOX_LIST_INBOUND,
		values, has_status ? 4 : 3, &kp_inbound_message_record, listing->arena,
		&listing->out->items, &listing->out->count, err);
}

static keep_status check_status(keep_bytes status, keep_error *err)
{
	static const char *const known[] = {"pending", "completed", "failed", "cancelled",
					    "paused"};

	for (size_t i = 0; i < KP_COUNT(known); i++)
		if (!status.data || kp_bytes_equal(keep_bytes_of(known[i]), status))
			return KEEP_OK;
	return kp_fail(err, KEEP_INVALID,
		       "status: none of pending, completed, failed, cancelled "
		       "and paused");
}

keep_status keep_mailbox_messages(keep_mailbox *mailbox, keep_bytes session, keep_bytes status,
				  int64_t after_seq, size_t limit, keep_memory *memory,
				  keep_inbound_message_list *out, keep_error *err)
{
	struct listing listing = {session, status, after_seq, 0, memory, out};
	keep_status done;

	if (!mailbox || !memory || !out)
		return kp_fail(err, KEEP_MISUSE, "keep_mailbox_messages: an argument is NULL");
	*out = (keep_inbound_message_list){.items = NULL};
	done = kp_check_session(session, err);
	if (done == KEEP_OK)
		done = check_status(status, err);
	if (done == KEEP_OK)
		done = kp_check_limit(limit, DEFAULT_LIMIT, KEEP_MAILBOX_LIST_MAX, &listing.limit,
				      err);
	return done == KEEP_OK ? kp_session_read(mailbox, session, query_messages, &listing, err)
			       : done;
}
