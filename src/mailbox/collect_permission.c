/*
 * collect_permission.c - whether an agent may send where a message of it wants to go.
 *
 * The agent's side has a projection of the registry's destinations, which may be old, and which a
 * program in a container may ignore. So the host asks the registry itself, each time before it
 * hands a message on: the session's own chat is allowed, and what agent_destinations has a row for.
 *
 * Invariants:
 *   1. All messages of one page are judged on one state of the registry.
 *   2. What the host is to do (`system`) goes nowhere; whoever carries it out judges it.
 *
 * Tests: tests/contract/test_mailbox_collect.c.
 */
#include "mailbox/collect.h"

struct asking {
	const kp_collecting *collecting;
	kp_due *items;
	size_t count;
};

static bool is_same_address(const kp_due *a, const kp_due *b)
{
	return kp_bytes_equal(a->message.channel_type, b->message.channel_type) &&
	       kp_bytes_equal(a->message.platform_id, b->message.platform_id);
}

static keep_status ask(const struct asking *asking, kp_lease *lease, const kp_due *item,
		       bool *allowed, keep_error *err)
{
	const keep_session *session = asking->collecting->session;
	kp_value agent = kp_text_value(session->agent_group_id);
	kp_value address = kp_text_value(item->message.platform_id);
	int64_t one = 0;

	if (item->is_to_agent)
		return kp_lease_int(lease, KP_MAILBOX_MAY_SEND_TO_AGENT, KP_VALUES(agent, address),
				    &one, allowed, err);
	return kp_lease_int(lease, KP_MAILBOX_MAY_SEND_TO_CHAT,
			    KP_VALUES(agent, kp_text_value(item->message.channel_type), address,
				      kp_text_value(session->messaging_group_id)),
			    &one, allowed, err);
}

static bool needs_permission(const kp_due *item)
{
	return !item->is_system && !item->waits && !item->refused.data;
}

static keep_status query_permissions(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct asking *asking = ctx;
	const kp_due *last = NULL;
	bool allowed = false;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < asking->count && status == KEEP_OK; i++) {
		kp_due *item = &asking->items[i];

		if (!needs_permission(item))
			continue;
		if (!last || !is_same_address(last, item))
			status = ask(asking, lease, item, &allowed, err);
		last = item;
		if (status == KEEP_OK && !allowed)
			item->refused = KEEP_BYTES("the agent has no permission to send there");
	}
	return status;
}

keep_status kp_collect_permissions(const kp_collecting *collecting, kp_due *items, size_t count,
				   keep_error *err)
{
	struct asking asking = {collecting, items, count};
	bool is_needed = false;

	for (size_t i = 0; i < count; i++)
		is_needed |= needs_permission(&items[i]);
	return is_needed ? kp_registry_read(collecting->mailbox, query_permissions, &asking, err)
			 : KEEP_OK;
}
