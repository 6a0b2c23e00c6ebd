/*
 * engine_rules.c - the small rules that every backend applies in its own place.
 *
 * The clock's part of the order, and what compare_and_set compares. They stand here so that five
 * backends cannot mean five things.
 *
 * Tests: tests/contract (the suite and the differential runner on all backends).
 */
#include "engine/backend.h"

int64_t kp_engine_now_ms(void)
{
	int64_t now = kp_clock_ms();

	if (now < 0)
		return 0;
	return now > KEEP_ENGINE_SCORE_MAX ? KEEP_ENGINE_SCORE_MAX : now;
}

keep_status kp_engine_check_expected(const kp_change *change, bool found, keep_bytes stored,
				     keep_error *err)
{
	bool equal = found ? kp_bytes_equal(change->expected, stored) : !change->expected.data;

	if (equal)
		return KEEP_OK;
	return kp_fail(err, KEEP_CONFLICT, "path '%" KP_PRI "': %s", KP_ARG(change->path.text),
		       !found                  ? "there is no document"
		       : change->expected.data ? "the document has another value"
					       : "there is a document already");
}
