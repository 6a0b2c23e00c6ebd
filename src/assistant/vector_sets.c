/*
 * vector_sets.c - vectors by model.
 *
 * Tests: tests/contract/test_assistant_search.c.
 */
#include "assistant/assistant_private.h"

keep_status kp_vector_sets_open(keep_assistant *assistant, keep_error *err)
{
	(void)assistant;
	(void)err;
	return KEEP_OK;
}

void kp_vector_sets_close(keep_assistant *assistant)
{
	(void)assistant;
}
