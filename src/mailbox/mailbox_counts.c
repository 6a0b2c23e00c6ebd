/*
 * mailbox_counts.c - how many sessions a mailbox has: counted along their key, up to a maximum, so
 * that a look costs a bounded time.
 *
 * Tests: tests/http/test_http_metrics.py.
 */
#include "mailbox/mailbox_counts.h"

#include "mailbox/mailbox_private.h"

static keep_status query_sessions(void *ctx, kp_lease *lease, keep_error *err)
{
	return kp_lease_int(lease, KP_MAILBOX_COUNT_SESSIONS,
			    KP_VALUES(kp_int_value(KP_MAILBOX_COUNT_MAX)), ctx, NULL, err);
}

keep_status kp_mailbox_count_sessions(keep_mailbox *mailbox, int64_t *out, keep_error *err)
{
	int64_t count = 0;
	keep_status status = kp_registry_read(mailbox, query_sessions, &count, err);

	if (status == KEEP_OK)
		*out = count;
	return status;
}
