/*
 * test_gateway_deliveries_faults.c - messages stored alone and in batches, and deliveries through
 * all of their steps, with the Nth thing in them failing: gateway_faults.h.
 *
 *     test_gateway_deliveries_faults sqlite|postgres
 */
#include "gateway_faults.h"

#define NOW INT64_C(1790000000000)

static keep_message message_of(const char *jid, const char *id, const char *content)
{
	return (keep_message){.chat_jid = keep_bytes_of(jid),
			      .id = keep_bytes_of(id),
			      .sender = KEEP_BYTES("ada"),
			      .content = keep_bytes_of(content),
			      .timestamp = NOW - 5000,
			      .attachments = KEEP_BYTES("[1]")};
}

static keep_status put_message(keep_gateway *gateway, keep_error *err)
{
	keep_message message = message_of("web:a", "1", "hello");
	keep_chat chat = {.name = KEEP_BYTES("A"), .is_group = true};

	return keep_gateway_put_message(gateway, &message, &chat, NULL, err);
}

static keep_status put_messages(keep_gateway *gateway, keep_error *err)
{
	keep_message messages[12];
	keep_put_result results[12];
	char ids[12][8];

	for (int i = 0; i < 12; i++) {
		snprintf(ids[i], sizeof ids[i], "%d", i / 2); /* each of them twice */
		messages[i] = message_of(i % 3 ? "web:b" : "web:a", ids[i], "hello");
	}
	return keep_gateway_put_messages(gateway, messages, 12, results, err);
}

static keep_status read_messages(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};
	keep_message message;
	keep_status status =
		keep_gateway_history(gateway, KEEP_BYTES("web:b"), 0, 0, &memory, &list, err);

	if (status == KEEP_OK)
		CHECK(list.count > 0, "a history without messages");
	if (status == KEEP_OK)
		status = keep_gateway_messages_since(gateway, KEEP_BYTES("web:b"), 0, NOW - 6000, 0,
						     &memory, &list, err);
	if (status == KEEP_OK)
		status = keep_gateway_get_message(gateway, KEEP_BYTES("web:a"), KEEP_BYTES("1"),
						  &memory, &message, err);
	keep_memory_release(&memory);
	return status;
}

static keep_status put_outbound(keep_gateway *gateway, keep_error *err)
{
	keep_message message = message_of("web:a", "out", "an answer");

	message.group_folder = KEEP_BYTES("atlas");
	return keep_gateway_put_outbound(gateway, &message, NULL, NULL, err);
}

static keep_status put_second(keep_gateway *gateway, keep_error *err)
{
	keep_message message = message_of("web:b", "out", "an answer");

	return keep_gateway_put_outbound(gateway, &message, NULL, NULL, err);
}

static keep_status claim_at(keep_gateway *gateway, int64_t now_ms, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};
	keep_status status = keep_gateway_claim_deliveries(gateway, KEEP_BYTES("web"), 0, 1000,
							   now_ms, &memory, &list, err);

	keep_memory_release(&memory);
	return status;
}

/* The clock of the stores may be anywhere: it is due far in the future, too. */
#define FAR INT64_C(4000000000000)

static keep_status claim(keep_gateway *gateway, keep_error *err)
{
	return claim_at(gateway, FAR, err);
}

static keep_status claim_again(keep_gateway *gateway, keep_error *err)
{
	return claim_at(gateway, FAR + 5000, err);
}

static keep_status complete(keep_gateway *gateway, const char *jid, int64_t attempt,
			    keep_delivery delivery, keep_error *err)
{
	keep_delivery_report report = {.jid = keep_bytes_of(jid),
				       .id = KEEP_BYTES("out"),
				       .attempt = attempt,
				       .delivery = delivery};

	if (delivery == KEEP_DELIVERY_DELIVERED)
		report.platform_id = KEEP_BYTES("3EB0");
	else
		report.error = KEEP_BYTES("away");
	return keep_gateway_complete_delivery(gateway, &report, FAR, err);
}

static keep_status extend(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_extend_delivery(gateway, KEEP_BYTES("web:a"), KEEP_BYTES("out"), 1,
					    3000, FAR, err);
}

static keep_status report_retry(keep_gateway *gateway, keep_error *err)
{
	return complete(gateway, "web:a", 1, KEEP_DELIVERY_RETRY, err);
}

static keep_status report_failure(keep_gateway *gateway, keep_error *err)
{
	return complete(gateway, "web:b", 1, KEEP_DELIVERY_FAILED, err);
}

static keep_status list_failures(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};
	keep_status status =
		keep_gateway_failed_deliveries(gateway, (keep_bytes){0}, 0, 0, &memory, &list, err);

	if (status == KEEP_OK)
		CHECK(list.count == 1, "%zu failures", list.count);
	keep_memory_release(&memory);
	return status;
}

static keep_status retry_by_hand(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_retry_delivery(gateway, KEEP_BYTES("web:b"), KEEP_BYTES("out"), err);
}

static keep_status report_delivered(keep_gateway *gateway, keep_error *err)
{
	return complete(gateway, "web:a", 2, KEEP_DELIVERY_DELIVERED, err);
}

int main(int argc, char **argv)
{
	static const gateway_step steps[] = {
		{.name = "put_message", .run = put_message},
		{.name = "put_messages", .run = put_messages},
		{.name = "read_messages", .run = read_messages},
		{.name = "put_outbound", .run = put_outbound},
		{.name = "put_second", .run = put_second},
		/* What was claimed by a call whose answer was lost is claimed by nobody else. */
		{.name = "claim", .run = claim},
		{.name = "extend", .run = extend},
		{.name = "report_retry", .run = report_retry},
		{.name = "report_failure", .run = report_failure},
		{.name = "list_failures", .run = list_failures},
		{.name = "claim_again", .run = claim_again},
		{.name = "report_delivered", .run = report_delivered},
		{.name = "retry_by_hand", .run = retry_by_hand, .again = MAY(KEEP_CONFLICT)},
	};

	return gateway_faults_main(argc, argv, steps, KP_COUNT(steps));
}
