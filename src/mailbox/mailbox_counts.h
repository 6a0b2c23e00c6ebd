#ifndef KP_MAILBOX_COUNTS_H
#define KP_MAILBOX_COUNTS_H
/* mailbox_counts.h - how much there is in a mailbox, for whoever watches it. */
#include "keep/mailbox.h"

#define KP_MAILBOX_COUNT_MAX 100000 /* counting ends here */

/* How many sessions it has, whatever their status. */
keep_status kp_mailbox_count_sessions(keep_mailbox *mailbox, int64_t *out,
				      keep_error *err) KEEP_MUST_CHECK;

#endif
