/*
 * message_index.c - the words of messages: where they are folded in.
 *
 * Tests: tests/contract/test_assistant_search.c.
 */
#include "assistant/assistant_private.h"

keep_status kp_message_index_open(keep_assistant *assistant, keep_error *err)
{
	(void)assistant;
	(void)err;
	return KEEP_OK;
}

void kp_message_index_close(keep_assistant *assistant)
{
	(void)assistant;
}
