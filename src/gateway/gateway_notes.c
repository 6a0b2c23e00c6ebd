/*
 * gateway_notes.c - what a host writes on an inbound message: why it is not with an agent.
 *
 * Invariants:
 *   1. A note moves no cursor and no delivery; it is what a trace tells people.
 *   2. The same note again changes nothing, so that a host that retries does not fill the feed.
 *
 * What it does not do: judge.
 *
 * Tests: tests/contract/test_service_journey.c.
 */
#include "gateway/gateway_notes.h"
#include "gateway/gateway_private.h"

typedef struct note {
	keep_bytes jid, id;
	kp_value text;
} note;

static keep_status apply_note(void *ctx, kp_lease *lease, keep_error *err)
{
	const note *self = ctx;
	const kp_value values[] = {kp_text_value(self->jid), kp_text_value(self->id), self->text};

	return kp_lease_run(lease, KP_GATEWAY_NOTE_INPUT, values, KP_COUNT(values), NULL, err);
}

keep_status keep_gateway_note_input(keep_gateway *gateway, keep_bytes jid, keep_bytes id,
				    keep_bytes why, keep_error *err)
{
	note what = {jid, id, why.len ? kp_text_value(why) : kp_null_value(KP_TEXT)};
	keep_status status = kp_check_key("jid", jid, err);

	if (status == KEEP_OK)
		status = kp_check_key("id", id, err);
	if (status == KEEP_OK)
		status = kp_check_text("why", why, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_note, &what, KP_NEWS_CHANGE, err);
}

/* ---------------------------------------------------------------- many of a chat */

typedef struct note_range {
	keep_bytes jid;
	int64_t from, to;
	kp_value text;
} note_range;

static keep_status apply_notes(void *ctx, kp_lease *lease, keep_error *err)
{
	const note_range *self = ctx;

	return kp_lease_run(lease, KP_GATEWAY_NOTE_INPUTS,
			    KP_VALUES(kp_text_value(self->jid), kp_int_value(self->from),
				      kp_int_value(self->to), self->text),
			    NULL, err);
}

keep_status kp_gateway_note_inputs(keep_gateway *gateway, keep_bytes jid, int64_t from, int64_t to,
				   keep_bytes why, keep_error *err)
{
	note_range what = {jid, from, to, kp_text_value(why)};

	return kp_gateway_change(gateway, apply_notes, &what, KP_NEWS_CHANGE, err);
}
