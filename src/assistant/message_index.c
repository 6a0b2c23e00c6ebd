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

void kp_message_index_appended(keep_assistant *assistant, size_t count)
{
	(void)assistant;
	(void)count;
}

keep_status kp_message_index_forget(kp_lease *lease, keep_bytes conversation_id, keep_error *err)
{
	(void)lease;
	(void)conversation_id;
	(void)err;
	return KEEP_OK;
}

keep_status kp_message_index_fold(keep_assistant *assistant, keep_error *err)
{
	(void)assistant;
	(void)err;
	return KEEP_OK;
}
