#ifndef KP_GATEWAY_COUNTS_H
#define KP_GATEWAY_COUNTS_H
/* gateway_counts.h - how much there is in a gateway, for whoever watches it. */
#include "keep/gateway.h"

#define KP_GATEWAY_COUNT_MAX 100000 /* counting ends here: it is a lot */

typedef struct kp_gateway_counts {
	int64_t waiting; /* deliveries: pending or sending */
	int64_t failed;  /* deliveries: failed, refused, uncertain */
} kp_gateway_counts;

keep_status kp_gateway_count(keep_gateway *gateway, kp_gateway_counts *out,
			     keep_error *err) KEEP_MUST_CHECK;

#endif
