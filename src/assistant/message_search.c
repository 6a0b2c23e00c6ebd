/*
 * message_search.c - messages by their words.
 *
 * The ranking is text_search.c's; here are the inputs, the rows of the best ones and their
 * snippets, all of one moment.
 *
 * Invariants:
 *   1. A message that was committed before the call is found, folded in or not.
 *   2. With a conversation, none of another one is found; internal ones are found only when asked
 *      for.
 *
 * Tests: tests/contract/test_assistant_message_search.c.
 */
#include "assistant/assistant_private.h"

enum { FOUND_DEFAULT = 10 };

struct message_search {
	keep_bytes conversation_id;
	kp_text_ask ask;
	keep_memory *memory;
	keep_message_matches found; /* out */
};

static keep_status make_snippet(const kp_text_query *query, keep_bytes content, kp_arena *arena,
				keep_bytes *snippet, keep_error *err)
{
	const kp_snippet_options options = {.tokens = 0};
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_text_snippet(query, content, &options, &text, err);

	if (status == KEEP_OK)
		status = kp_arena_copy(arena, kp_buffer_bytes(&text), snippet, err);
	keep_buffer_release(&text);
	return status;
}

static keep_status read_match(struct message_search *search, kp_lease *lease,
			      const kp_ranked *ranked, keep_error *err)
{
	keep_message_match *match = &search->found.items[search->found.count];
	bool found = false;
	keep_status status;

	*match = (keep_message_match){.score = ranked->score};
	status = kp_lease_get(lease, KP_ASSISTANT_GET_MESSAGE_BY_ID,
			      KP_VALUES(kp_int_value(ranked->id)), &kp_conversation_message_record,
			      search->memory, &match->message, &found, err);
	if (status == KEEP_OK && found)
		status = make_snippet(search->ask.query, match->message.content, search->memory,
				      &match->snippet, err);
	search->found.count += status == KEEP_OK && found;
	return status;
}

static keep_status query_search(void *ctx, kp_lease *lease, keep_error *err)
{
	struct message_search *search = ctx;
	kp_arena arena = {.head = NULL};
	bool found = true;
	keep_status status = KEEP_OK;

	search->found = (keep_message_matches){.count = 0};
	if (search->conversation_id.data)
		status = kp_lease_get(lease, KP_ASSISTANT_GET_CONVERSATION,
				      KP_VALUES(kp_text_value(search->conversation_id)), NULL, NULL,
				      NULL, &found, err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "conversation '%" KP_PRI "': there is none",
				 KP_ARG(search->conversation_id));
	if (status == KEEP_OK)
		status = kp_text_search(lease, &search->ask, &arena, err);
	if (status == KEEP_OK) {
		search->found.is_exact = search->ask.is_exact;
		search->found.items = kp_arena_alloc(
			search->memory, (search->ask.count + 1) * sizeof *search->found.items);
		if (!search->found.items)
			status = kp_fail_memory(err, "what was found");
	}
	for (size_t i = 0; status == KEEP_OK && i < search->ask.count; i++)
		status = read_match(search, lease, &search->ask.items[i], err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_search_messages(keep_assistant *assistant, keep_bytes query,
					   keep_bytes conversation_id, bool with_internal,
					   size_t limit, keep_memory *memory,
					   keep_message_matches *out, keep_error *err)
{
	kp_text_query parsed = {.term_count = 0};
	struct message_search search = {.conversation_id = conversation_id, .memory = memory};
	int64_t wanted = 0;
	keep_status status = KEEP_OK;

	if (conversation_id.data)
		status = kp_check_key("conversation_id", conversation_id, err);
	if (status == KEEP_OK)
		status =
			kp_check_limit(limit, FOUND_DEFAULT, KEEP_ASSISTANT_LIST_MAX, &wanted, err);
	if (status != KEEP_OK)
		return status;
	status = kp_text_query_parse(query, &parsed, err);
	search.ask = (kp_text_ask){.index = &kp_message_text,
				   .query = &parsed,
				   .scope = conversation_id,
				   .with_hidden = with_internal,
				   .limit = (size_t)wanted};
	if (status == KEEP_OK)
		status = kp_store_read_whole(&assistant->store, query_search, &search, err);
	if (status == KEEP_OK)
		*out = search.found;
	if (status == KEEP_OK && search.ask.is_behind)
		kp_message_index_wake(assistant);
	kp_text_query_release(&parsed);
	return status;
}
