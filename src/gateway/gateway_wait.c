/*
 * gateway_wait.c - sleeping until a consumer has something to read, or a delivery is due
 * (sql/store.c, sql/waits.c).
 *
 * Tests: tests/contract/test_gateway_wait.c, tests/torture/test_gateway_consumers_faults.c.
 */
#include "gateway/gateway_private.h"

void keep_gateway_cancel(keep_gateway *gateway)
{
	kp_store_cancel(&gateway->store);
}

/* Who waits for what: a consumer's name, or a channel's. */
struct wait {
	keep_gateway *gateway;
	keep_bytes name;
};

/* ---------------------------------------------------------------- what is waited for */

/* One statement with one row of one column; no row: *has_row is false. */
struct answer {
	size_t statement;
	kp_value value;
	size_t value_count;
	kp_kind kind;
	bool has_row;
	int64_t number;
};

static keep_status query_answer(void *ctx, kp_lease *lease, keep_error *err)
{
	struct answer *answer = ctx;
	kp_sql_stmt *stmt = NULL;
	kp_value column = {.is_null = true};
	keep_status status = kp_lease_bind(lease, answer->statement, &answer->value,
					   answer->value_count, &stmt, err);

	answer->has_row = false;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &answer->has_row, err);
	if (status == KEEP_OK && answer->has_row)
		status = kp_sql_column(stmt, 0, answer->kind, &column, err);
	answer->number = column.is_null ? 0 : column.integer;
	kp_sql_reset(stmt);
	return status;
}

static keep_status look_for_input(void *ctx, bool *found, int64_t *due_ms, keep_error *err)
{
	const struct wait *wait = ctx;
	keep_gateway *gateway = wait->gateway;
	struct answer pending = {.statement = KP_GATEWAY_HAS_PENDING,
				 .value = kp_text_value(wait->name),
				 .value_count = 1,
				 .kind = KP_BOOL};
	struct answer input = {.statement = KP_GATEWAY_HAS_INPUT, .kind = KP_BOOL};
	keep_status status = kp_gateway_read(gateway, query_answer, &pending, err);

	(void)due_ms;
	*found = status == KEEP_OK && pending.number;
	if (status != KEEP_OK || pending.has_row)
		return status;
	if (!gateway->store.read_only)
		status = kp_consumer_make(gateway, wait->name, kp_clock_ms(), err);
	if (status == KEEP_OK)
		status = kp_gateway_read(gateway, query_answer, &input, err);
	*found = status == KEEP_OK && input.number;
	return status;
}

keep_status keep_gateway_wait(keep_gateway *gateway, keep_bytes consumer, int64_t timeout_ms,
			      bool *pending, keep_error *err)
{
	struct wait wait = {gateway, consumer};
	keep_status status = kp_check_key("consumer", consumer, err);

	if (status != KEEP_OK)
		return status;
	return kp_store_wait(&gateway->store, KP_TOPIC_INPUT, timeout_ms, look_for_input, &wait,
			     pending, err);
}

static keep_status look_for_deliveries(void *ctx, bool *found, int64_t *due_ms, keep_error *err)
{
	const struct wait *wait = ctx;
	bool is_any = !wait->name.data;
	struct answer due = {.statement = is_any ? KP_GATEWAY_DELIVERIES_DUE_ANYWHERE
						 : KP_GATEWAY_DELIVERIES_DUE,
			     .value = kp_text_value(wait->name),
			     .value_count = is_any ? 0 : 1,
			     .kind = KP_TIME};
	keep_status status = kp_gateway_read(wait->gateway, query_answer, &due, err);

	*found = status == KEEP_OK && due.has_row && due.number <= kp_clock_ms();
	*due_ms = due.has_row ? due.number : 0;
	return status;
}

keep_status keep_gateway_wait_deliveries(keep_gateway *gateway, keep_bytes channel,
					 int64_t timeout_ms, bool *due, keep_error *err)
{
	struct wait wait = {gateway, channel};
	keep_status status =
		kp_check_text("channel", channel, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT, err);

	if (status != KEEP_OK)
		return status;
	return kp_store_wait(&gateway->store, KP_TOPIC_DELIVERY, timeout_ms, look_for_deliveries,
			     &wait, due, err);
}
