/*
 * gateway_counts.c - how many deliveries wait and how many ended badly, as one moment has it.
 *
 * Both are counted in indexes that hold nothing else, up to a maximum: what a look costs does not
 * grow with what is stored.
 *
 * Tests: tests/http/test_http_metrics.py.
 */
#include "gateway/gateway_counts.h"

#include "gateway/gateway_private.h"

static keep_status query_counts(void *ctx, kp_lease *lease, keep_error *err)
{
	kp_gateway_counts *counts = ctx;
	keep_status status = kp_lease_int(lease, KP_GATEWAY_COUNT_WAITING_DELIVERIES,
					  KP_VALUES(kp_int_value(KP_GATEWAY_COUNT_MAX)),
					  &counts->waiting, NULL, err);

	if (status == KEEP_OK)
		status = kp_lease_int(lease, KP_GATEWAY_COUNT_FAILED_DELIVERIES,
				      KP_VALUES(kp_int_value(KP_GATEWAY_COUNT_MAX)),
				      &counts->failed, NULL, err);
	return status;
}

keep_status kp_gateway_count(keep_gateway *gateway, kp_gateway_counts *out, keep_error *err)
{
	kp_gateway_counts counts = {.waiting = 0};
	keep_status status = kp_store_read_whole(&gateway->store, query_counts, &counts, err);

	if (status == KEEP_OK)
		*out = counts;
	return status;
}
