#ifndef KP_GATEWAY_DELIVERIES_H
#define KP_GATEWAY_DELIVERIES_H
/*
 * gateway_deliveries.h - what delivery_claim.c needs of gateway_deliveries.c.
 */
#include "gateway/gateway_private.h"

/* The status as the drawing spells it, when a delivery that has it may be claimed; else NULL. */
const char *kp_delivery_claimable(keep_bytes status);
/* *until: when a lease of lease_ms (0: a minute) ends. INVALID: it is too long, or not a time. */
keep_status kp_delivery_check_lease(int64_t lease_ms, int64_t now_ms, int64_t *until,
				    keep_error *err) KEEP_MUST_CHECK;

#endif
