/*
 * test_gateway_feeds_faults.c - changes are read, deliveries end, their outcomes are read and
 * settled, with the Nth thing in that failing: gateway_faults.h.
 *
 *     test_gateway_feeds_faults sqlite|postgres
 */
#include "gateway_faults.h"

#define JID KEEP_BYTES("web:a")
#define ID KEEP_BYTES("out")

static keep_status put(keep_gateway *gateway, const char *return_to, keep_error *err)
{
	keep_message message = {.chat_jid = JID,
				.id = ID,
				.content = KEEP_BYTES("an answer"),
				.return_to = keep_bytes_of(return_to)};

	return keep_gateway_put_outbound(gateway, &message, NULL, NULL, err);
}

static keep_status put_outbound(keep_gateway *gateway, keep_error *err)
{
	return put(gateway, "session key 1", err);
}

static keep_status put_again(keep_gateway *gateway, keep_error *err)
{
	return put(gateway, "session key 2", err);
}

static keep_status claim(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};
	/* The clock of the stores may be anywhere: it is due far in the future, too. */
	keep_status status = keep_gateway_claim_deliveries(
		gateway, KEEP_BYTES("web"), 0, 1000, INT64_C(4000000000000), &memory, &list, err);

	keep_memory_release(&memory);
	return status;
}

static keep_status report(keep_gateway *gateway, keep_error *err)
{
	const keep_delivery_report report = {
		.jid = JID, .id = ID, .attempt = 1, .delivery = KEEP_DELIVERY_DELIVERED};

	return keep_gateway_complete_delivery(gateway, &report, KEEP_NOW, err);
}

static keep_status read_changes(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};
	int64_t last = 0;
	keep_status status = keep_gateway_changes(gateway, 0, 0, &memory, &list, err);

	if (status == KEEP_OK)
		CHECK(list.count == 1, "%zu messages have changed", list.count);
	if (status == KEEP_OK)
		status = keep_gateway_last_change(gateway, &last, err);
	if (status == KEEP_OK)
		CHECK(last == list.items[0].change, "the last change is %lld", (long long)last);
	keep_memory_release(&memory);
	return status;
}

static keep_status wait_changes(keep_gateway *gateway, keep_error *err)
{
	bool found = false;
	keep_status status = keep_gateway_wait_changes(gateway, 0, 0, &found, err);

	if (status == KEEP_OK)
		CHECK(found, "no change was found");
	return status;
}

static keep_status expect_outcomes(keep_gateway *gateway, size_t count, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};
	keep_status status = keep_gateway_outcomes(gateway, 0, &memory, &list, err);

	if (status == KEEP_OK)
		CHECK(list.count == count, "%zu outcomes", list.count);
	if (status == KEEP_OK && count)
		assert_bytes_equal(list.items[0].return_to, KEEP_BYTES("session key 2"));
	keep_memory_release(&memory);
	return status;
}

static keep_status read_outcome(keep_gateway *gateway, keep_error *err)
{
	return expect_outcomes(gateway, 1, err);
}

static keep_status wait_outcomes(keep_gateway *gateway, keep_error *err)
{
	bool found = false;
	keep_status status = keep_gateway_wait_outcomes(gateway, 0, &found, err);

	if (status == KEEP_OK)
		CHECK(found, "no outcome was found");
	return status;
}

static keep_status settle(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_settle_outcome(gateway, JID, ID, 1, err);
}

static keep_status read_none(keep_gateway *gateway, keep_error *err)
{
	return expect_outcomes(gateway, 0, err);
}

int main(int argc, char **argv)
{
	static const gateway_step steps[] = {
		{.name = "put_outbound", .run = put_outbound},
		{.name = "put_again", .run = put_again},
		{.name = "read_changes", .run = read_changes},
		{.name = "wait_changes", .run = wait_changes},
		{.name = "claim", .run = claim},
		{.name = "report", .run = report},
		{.name = "read_outcome", .run = read_outcome},
		{.name = "wait_outcomes", .run = wait_outcomes},
		{.name = "settle", .run = settle},
		{.name = "read_none", .run = read_none},
		{.name = "settle_again", .run = settle},
	};

	return gateway_faults_main(argc, argv, steps, KP_COUNT(steps));
}
