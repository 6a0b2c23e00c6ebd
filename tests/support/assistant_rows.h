#ifndef KEEP_ASSISTANT_ROWS_H
#define KEEP_ASSISTANT_ROWS_H
/* assistant_rows.h - conversations and messages for tests that are about something else. */
#include "assistant_fixture.h"

/* Make a conversation of that id; the id. */
static inline keep_bytes assistant_conversation(keep_assistant *assistant, const char *id)
{
	keep_conversation conversation = {.conversation_id = keep_bytes_of(id),
					  .channel = KEEP_BYTES("webui"),
					  .contact_identifier = KEEP_BYTES("ada")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_conversation out;
	keep_error err = KEEP_ERROR_INIT;
	bool inserted = false;

	OK(keep_assistant_add_conversation(assistant, &conversation, KEEP_NOW, &memory, &out,
					   &inserted, &err));
	keep_memory_release(&memory);
	return keep_bytes_of(id);
}

/* Append a user's message; its number. */
static inline int64_t assistant_append(keep_assistant *assistant, const char *conversation_id,
				       const char *content)
{
	keep_conversation_message message = {.conversation_id = keep_bytes_of(conversation_id),
					     .role = KEEP_BYTES("user"),
					     .content = keep_bytes_of(content)};
	keep_append_result result = {.seq = 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_append(assistant, &message, &result, &err));
	return result.seq;
}

#endif
