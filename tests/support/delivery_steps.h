#ifndef DELIVERY_STEPS_H
#define DELIVERY_STEPS_H
/*
 * delivery_steps.h - the steps of a delivery, for tests: say, claim, tell, look.
 *
 * The times given to the calls are the test's own: NOW and milliseconds after it. What
 * put_outbound itself asks the clock is answered clock_now, at first NOW.
 */
#include "gateway_fixture.h"

#define NOW INT64_C(1790000000000) /* what the clock says */
#define LEASE 60000

static inline int64_t tell_now(void *ctx)
{
	return *(int64_t *)ctx;
}

static int64_t clock_now;

static inline keep_gateway *open_at_now(void)
{
	clock_now = NOW;
	kp_clock_inject(tell_now, &clock_now);
	return gateway_fresh();
}

static inline void close_all(keep_gateway *gateway, keep_memory *memory)
{
	if (memory)
		keep_memory_release(memory);
	keep_gateway_close(&gateway);
	kp_clock_inject(NULL, NULL);
	assert_nothing_lives();
}

static inline keep_message outbound(const char *jid, const char *id)
{
	return (keep_message){.chat_jid = keep_bytes_of(jid),
			      .id = keep_bytes_of(id),
			      .sender = KEEP_BYTES("atlas"),
			      .content = KEEP_BYTES("an answer")};
}

static inline int64_t say(keep_gateway *gateway, const char *jid, const char *id)
{
	keep_message message = outbound(jid, id);
	keep_put_result result = {0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_put_outbound(gateway, &message, &result, NULL, &err));
	assert_int_equal(result.put, KEEP_PUT_INSERTED);
	return result.seq;
}

/* Claim at NOW + after; the ids as "a b c". */
static inline const char *claim(keep_gateway *gateway, const char *channel, size_t limit,
				int64_t after)
{
	static char ids[8000];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_claim_deliveries(gateway, keep_bytes_of(channel), limit, LEASE, NOW + after,
					 &memory, &list, &err));
	ids[0] = '\0';
	for (size_t i = 0; i < list.count; i++) {
		assert_bytes_equal(list.items[i].status, KEEP_BYTES("sending"));
		assert_int_equal(list.items[i].next_attempt_at, NOW + after + LEASE);
		assert_true(list.items[i].attempts >= 1);
		snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s%.*s", i ? " " : "",
			 (int)list.items[i].id.len, list.items[i].id.data);
	}
	keep_memory_release(&memory);
	return ids;
}

static inline keep_delivery_report report_of(const char *jid, const char *id, int64_t attempt,
					     keep_delivery delivery)
{
	return (keep_delivery_report){.jid = keep_bytes_of(jid),
				      .id = keep_bytes_of(id),
				      .attempt = attempt,
				      .delivery = delivery,
				      .error = delivery == KEEP_DELIVERY_DELIVERED
						       ? (keep_bytes){0}
						       : KEEP_BYTES("the platform is away")};
}

static inline keep_status tell(keep_gateway *gateway, const char *jid, const char *id,
			       int64_t attempt, keep_delivery delivery, int64_t after)
{
	keep_delivery_report report = report_of(jid, id, attempt, delivery);

	return keep_gateway_complete_delivery(gateway, &report, NOW + after, NULL);
}

static inline keep_message look(keep_gateway *gateway, const char *jid, const char *id,
				keep_memory *memory)
{
	keep_message message = {0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_get_message(gateway, keep_bytes_of(jid), keep_bytes_of(id), memory,
				    &message, &err));
	return message;
}

static inline void assert_status(keep_gateway *gateway, const char *jid, const char *id,
				 const char *status)
{
	keep_memory memory = KEEP_MEMORY_INIT;

	assert_bytes_equal(look(gateway, jid, id, &memory).status, keep_bytes_of(status));
	keep_memory_release(&memory);
}

#endif
