/*
 * agent_wait.c - sleeping until the host has something for the agent (sql/waits.c).
 *
 * Who tells: in a folder the bell `in`; on a server its notifications "in:<session>", as part of
 * the host's commit. Where there is neither, waits look every few milliseconds.
 *
 * Invariants:
 *   1. A cancel rings the bell, so that a thread between its look and its sleep does not sleep.
 *
 * Tests: tests/contract/test_mailbox_agent.c, tests/contract/test_mailbox_ask.c.
 */
#include "mailbox/mailbox_private.h"

static unsigned is_for_us(void *ctx, keep_bytes payload)
{
	const keep_agent *agent = ctx;

	return payload.len > 3 && memcmp(payload.data, "in:", 3) == 0 &&
	       kp_bytes_equal((keep_bytes){payload.data + 3, payload.len - 3}, kp_agent_id(agent));
}

static uint64_t bell_position(void *ctx)
{
	const keep_agent *agent = ctx;

	return kp_bell_value(&agent->in);
}

static void nap_at_bell(void *ctx, unsigned topic, uint64_t *seen, int64_t nap_ms)
{
	keep_agent *agent = ctx;

	(void)topic;
	kp_bell_wait(&agent->in, (uint32_t)*seen, nap_ms);
}

keep_status kp_agent_waits_open(keep_agent *agent, keep_error *err)
{
	bool has_bell = agent->in.fd >= 0;
	const kp_waits_options options = {
		.who = agent->session,
		.cancelled = &agent->cancelled,
		.driver = agent->listens ? agent->driver : NULL,
		.location = agent->location,
		.schema = agent->schema,
		.channel = agent->channel,
		.timeout_ms = agent->timeout_ms,
		.hear = is_for_us,
		.position = has_bell ? bell_position : NULL,
		.nap = has_bell ? nap_at_bell : NULL,
		.ctx = agent,
	};

	return kp_waits_open(&options, &agent->waits, err);
}

/* Invariant 1. */
void keep_agent_cancel(keep_agent *agent)
{
	atomic_store(&agent->cancelled, 1);
	kp_waits_cancel(agent->waits);
	kp_bell_ring(&agent->in);
}

struct looking {
	keep_agent *agent;
	kp_agent_look *look;
	void *ctx;
};

static keep_status look_as_agent(void *ctx, bool *found, int64_t *due_ms, keep_error *err)
{
	const struct looking *looking = ctx;

	return looking->look(looking->ctx, looking->agent, found, due_ms, err);
}

keep_status kp_agent_sleep(keep_agent *agent, int64_t timeout_ms, kp_agent_look *look, void *ctx,
			   bool *found, keep_error *err)
{
	struct looking looking = {agent, look, ctx};

	return kp_waits_sleep(agent->waits, 0, timeout_ms, look_as_agent, &looking, found, err);
}

keep_status keep_agent_wait(keep_agent *agent, int64_t timeout_ms, bool *ready, keep_error *err)
{
	return kp_agent_sleep(agent, timeout_ms, kp_agent_look_for_claimable, NULL, ready, err);
}
