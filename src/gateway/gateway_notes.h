#ifndef KP_GATEWAY_NOTES_H
#define KP_GATEWAY_NOTES_H
/*
 * gateway_notes.h - keep_gateway_note_input for many messages at once, for the host.
 */
#include "keep/gateway.h"

/* All inbound messages of a chat with numbers from `from` to `to`, in one transaction. */
keep_status kp_gateway_note_inputs(keep_gateway *gateway, keep_bytes jid, int64_t from, int64_t to,
				   keep_bytes why, keep_error *err) KEEP_MUST_CHECK;

#endif
