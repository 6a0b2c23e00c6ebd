/*
 * operations_assistant_conversations.c - the assistant's operations on conversations and messages.
 *
 * What it does not do: search documents (operations_assistant_search.c); searching messages is
 * here.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

#include <string.h>

static const char *const role_words[] = {"user", "assistant", "system", "tool", NULL};

#define MESSAGE_INPUTS(role_place_, content_place_)                                                \
	KP_NEEDED_WORD(role_place_, "role", role_words, "Who speaks."),                            \
		KP_NEEDED_LONG(content_place_, "content", "What is said; at most 1 MiB."),         \
		KP_OTHER(TEXT, "message_id", "Its name; a new UUID when left out."),               \
		KP_OTHER_NUMBER("token_count", "0",                                                \
				"How many tokens it costs; an estimate when left out."),           \
		KP_FLAG("is_summary", "It is a generated summary of others."),                     \
		KP_OTHER(TIME, "timestamp", "When it was said; now when left out."),               \
		KP_OTHER(OBJECT, "metadata", "What is kept with it."),                             \
		KP_FLAG("is_internal", "A remark for transparency: never context, never counted.")

static const kp_input find_inputs[] = {
	KP_NEEDED_TEXT(1, "channel", "The channel: webui, whatsapp, slack and such."),
	KP_NEEDED_TEXT(2, "contact", "Whom it is with, as the channel names them."),
	KP_OTHER_NUMBER("idle_limit_ms", "0",
			"One whose last message is older gets a successor; 0: never."),
	KP_NOW,
};
static const kp_input add_inputs[] = {
	KP_NEEDED_TEXT(1, "channel", "The channel: webui, whatsapp, slack and such."),
	KP_OTHER_AT(2, "contact_identifier", "Whom it is with, as the channel names them."),
	KP_OTHER(TEXT, "conversation_id", "Its name; a new UUID when left out."),
	KP_OTHER(OBJECT, "metadata", "What is kept with it."),
	KP_NOW,
};
static const kp_input conversation_inputs[] = {KP_CONVERSATION_INPUT};
static const kp_input metadata_inputs[] = {
	KP_CONVERSATION_INPUT,
	{.name = "changes",
	 .kind = KP_KIND_OBJECT,
	 .place = 2,
	 .required = true,
	 .sentence = "Members that replace those of the same name; null removes one."},
};
static const kp_input list_inputs[] = {
	KP_OTHER_AT(1, "channel", "Those of a channel; all when left out."),
	KP_OTHER_AT(2, "contact", "Those with a contact; all when left out."),
	KP_OTHER(TIME, "before_updated_at", "Go on behind this time of an earlier page's last."),
	KP_OTHER_NUMBER("before_id", "0", "And behind this id of it."),
	KP_LIMIT("20"),
};
static const kp_input append_inputs[] = {KP_CONVERSATION_INPUT, MESSAGE_INPUTS(2, 3)};
static const kp_input element_inputs[] = {KP_NEEDED_TEXT(0, "conversation_id", "The conversation."),
					  MESSAGE_INPUTS(0, 0)};
static const kp_input append_many_inputs[] = {
	KP_NEEDED_ARRAY(1, "messages",
			"An array of objects with the inputs of append, at most 1,000."),
};
static const kp_input message_inputs[] = {
	KP_NEEDED_TEXT(1, "message_id", "The message."),
};
static const kp_input page_inputs[] = {
	KP_CONVERSATION_INPUT,
	KP_OTHER_NUMBER("before_seq", "0", "Only messages before this number; 0: the newest."),
	KP_FLAG("with_internal", "Internal ones, too."),
	KP_LIMIT("50"),
};
static const kp_input search_inputs[] = {
	KP_NEEDED_TEXT(1, "query", "Words, \"phrases\", prefix*, -excluded, OR."),
	KP_OTHER_AT(2, "conversation_id", "In one conversation; in all when left out."),
	KP_FLAG("with_internal", "Internal ones, too."),
	KP_LIMIT("10"),
};

static const kp_member find_members[] = {
	{"conversation", KP_KIND_OBJECT, "The conversation.", &kp_conversation_record},
	{"is_new", KP_KIND_BOOLEAN, "It was made by this call.", NULL},
};
static const kp_member list_members[] = {
	{"conversations", KP_KIND_ARRAY,
	 "Newest first, each {\"conversation\", \"last\": its last message, or null}.", NULL},
	{"has_more", KP_KIND_BOOLEAN, "There are older ones.", NULL},
};
static const kp_member append_members[] = {
	{"seq", KP_KIND_INTEGER, "Its number in its conversation.", NULL},
	{"message_id", KP_KIND_TEXT, "Its name.", NULL},
	{"is_duplicate", KP_KIND_BOOLEAN, "The same was there; nothing changed.", NULL},
};
static const kp_member page_members[] = {
	{"messages", KP_KIND_ARRAY, "Newest first.", &kp_conversation_message_record},
	{"has_more", KP_KIND_BOOLEAN, "There are older ones.", NULL},
};
static const kp_member search_members[] = {
	{"matches", KP_KIND_ARRAY, "Best first, each {\"message\", \"score\", \"snippet\"}.", NULL},
	{"is_exact", KP_KIND_BOOLEAN,
	 "False: the words match so many that only the newest were ranked.", NULL},
};

static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such conversation, or message."},
};
static const kp_outcome add_outcomes[] = {
	{KEEP_CONFLICT, false, "Another one has that id; nothing changed."},
};
static const kp_outcome append_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such conversation."},
	{KEEP_CONFLICT, false, "Another message has that message_id; nothing changed."},
};
static const kp_outcome search_outcomes[] = {
	{KEEP_INVALID, false, "The query has no word."},
};

/* ---------------------------------------------------------------- conversations */

static keep_status give_found(kp_call *call, keep_status status,
			      const keep_conversation *conversation, bool is_new, keep_error *err)
{
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	status = kp_assistant_put_member(call, "conversation", &kp_conversation_record,
					 conversation, err);
	kp_call_put_flag(call, "is_new", is_new);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

static keep_status run_find(kp_call *call, keep_error *err)
{
	keep_conversation conversation = {.id = 0};
	bool created = false;
	keep_status status = keep_assistant_find_or_create(
		call->handle, kp_call_text(call, "channel"), kp_call_text(call, "contact"),
		kp_call_integer(call, "idle_limit_ms"), kp_call_now(call), call->arena,
		&conversation, &created, err);

	return give_found(call, status, &conversation, created, err);
}

static keep_status run_add(kp_call *call, keep_error *err)
{
	keep_conversation given = {.id = 0}, conversation = {.id = 0};
	bool inserted = false;
	keep_status status;

	kp_call_record(call, &kp_conversation_record, &given);
	status = keep_assistant_add_conversation(call->handle, &given, kp_call_now(call),
						 call->arena, &conversation, &inserted, err);
	return give_found(call, status, &conversation, inserted, err);
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_conversation conversation = {.id = 0};
	keep_status status =
		keep_assistant_get_conversation(call->handle, kp_call_text(call, "conversation_id"),
						call->arena, &conversation, err);

	return kp_assistant_give(call, status, &kp_conversation_record, &conversation, err);
}

static keep_status run_metadata(kp_call *call, keep_error *err)
{
	keep_conversation conversation = {.id = 0};
	keep_status status = keep_assistant_update_metadata(
		call->handle, kp_call_text(call, "conversation_id"),
		kp_call_argument(call, "changes")->json->raw, call->arena, &conversation, err);

	return kp_assistant_give(call, status, &kp_conversation_record, &conversation, err);
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	const keep_conversation_filter filter = {
		.channel = kp_call_text(call, "channel"),
		.contact = kp_call_text(call, "contact"),
		.before_updated_at = kp_call_time(call, "before_updated_at", 0),
		.before_id = kp_call_integer(call, "before_id"),
	};
	kp_json_writer *writer = kp_call_writer(call);
	keep_conversation_views views = {NULL, 0, false};
	keep_status status = keep_assistant_list_conversations(
		call->handle, &filter, (size_t)kp_call_integer(call, "limit"), call->arena, &views,
		err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(writer);
	kp_json_name(writer, "conversations");
	kp_json_open_array(writer);
	for (size_t i = 0; i < views.count && status == KEEP_OK; i++) {
		const keep_conversation_view *view = &views.items[i];

		kp_json_open_object(writer);
		status = kp_assistant_put_member(call, "conversation", &kp_conversation_record,
						 &view->conversation, err);
		if (status == KEEP_OK)
			status = kp_assistant_put_member(call, "last",
							 &kp_conversation_message_record,
							 view->has_last ? &view->last : NULL, err);
		kp_json_close_object(writer);
	}
	kp_json_close_array(writer);
	kp_call_put_flag(call, "has_more", views.has_more);
	kp_json_close_object(writer);
	return status;
}

static keep_status run_delete(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_delete_conversation(
					      call->handle, kp_call_text(call, "conversation_id"),
					      kp_assistant_actor(call), err));
}

/* ---------------------------------------------------------------- messages */

static void put_appended(kp_call *call, const keep_append_result *result, keep_bytes message_id)
{
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_number(call, "seq", result->seq);
	kp_call_put_text(call, "message_id",
			 message_id.data ? message_id : keep_bytes_of(result->message_id));
	kp_call_put_flag(call, "is_duplicate", result->is_duplicate);
	kp_json_close_object(kp_call_writer(call));
}

static keep_status run_append(kp_call *call, keep_error *err)
{
	keep_conversation_message message = {.id = 0};
	keep_append_result result = {.seq = 0};
	keep_status status;

	kp_call_record(call, &kp_conversation_message_record, &message);
	status = keep_assistant_append(call->handle, &message, &result, err);
	if (status == KEEP_OK)
		put_appended(call, &result, message.message_id);
	return status;
}

/* Texts that a text input leaves absent are the store's defaults. */
static keep_status read_messages(kp_call *call, keep_conversation_message **messages, size_t *count,
				 keep_error *err)
{
	const kp_json *array = kp_call_argument(call, "messages")->json;
	keep_conversation_message *read;
	keep_status status = KEEP_OK;

	*count = array->list.count;
	if (*count > KEEP_ASSISTANT_LIST_MAX)
		return kp_fail(err, KEEP_INVALID, "messages: %zu, the limit is %d", *count,
			       KEEP_ASSISTANT_LIST_MAX);
	*messages = read = kp_arena_alloc(call->arena, (*count + 1) * sizeof *read);
	if (!read)
		return kp_fail_memory(err, "messages");
	memset(read, 0, (*count + 1) * sizeof *read);
	for (size_t i = 0; i < *count && status == KEEP_OK; i++) {
		status = kp_element_to_record(
			&array->list.items[i], element_inputs, KP_COUNT(element_inputs),
			&kp_conversation_message_record, &read[i], call->arena, err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "messages: element %zu", i);
	}
	return status;
}

static keep_status run_append_many(kp_call *call, keep_error *err)
{
	keep_conversation_message *messages = NULL;
	keep_append_result *results;
	size_t count = 0;
	keep_status status = read_messages(call, &messages, &count, err);

	if (status != KEEP_OK)
		return status;
	results = kp_arena_alloc(call->arena, (count + 1) * sizeof *results);
	if (!results)
		return kp_fail_memory(err, "results");
	status = keep_assistant_append_many(call->handle, messages, count, results, err);
	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		put_appended(call, &results[i], messages[i].message_id);
		status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

static keep_status run_get_message(kp_call *call, keep_error *err)
{
	keep_conversation_message message = {.id = 0};
	keep_status status = keep_assistant_get_message(
		call->handle, kp_call_text(call, "message_id"), call->arena, &message, err);

	return kp_assistant_give(call, status, &kp_conversation_message_record, &message, err);
}

static keep_status run_page(kp_call *call, keep_error *err)
{
	keep_message_page page = {NULL, 0, false};
	keep_status status = keep_assistant_page(
		call->handle, kp_call_text(call, "conversation_id"),
		kp_call_integer(call, "before_seq"), (size_t)kp_call_integer(call, "limit"),
		kp_call_flag(call, "with_internal"), call->arena, &page, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_json_name(kp_call_writer(call), "messages");
	status = kp_call_put_array(call, &kp_conversation_message_record, page.items, page.count,
				   err);
	kp_call_put_flag(call, "has_more", page.has_more);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

static keep_status run_search(kp_call *call, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_message_matches matches = {NULL, 0, true};
	keep_status status = keep_assistant_search_messages(
		call->handle, kp_call_text(call, "query"), kp_call_text(call, "conversation_id"),
		kp_call_flag(call, "with_internal"), (size_t)kp_call_integer(call, "limit"),
		call->arena, &matches, err);

	if (status != KEEP_OK)
		return status;
	kp_json_open_object(writer);
	kp_json_name(writer, "matches");
	kp_json_open_array(writer);
	for (size_t i = 0; i < matches.count && status == KEEP_OK; i++) {
		const keep_message_match *match = &matches.items[i];

		kp_json_open_object(writer);
		status = kp_assistant_put_member(call, "message", &kp_conversation_message_record,
						 &match->message, err);
		kp_assistant_put_real(call, "score", match->score);
		kp_call_put_text(call, "snippet", match->snippet);
		kp_json_close_object(writer);
	}
	kp_json_close_array(writer);
	kp_call_put_flag(call, "is_exact", matches.is_exact);
	kp_json_close_object(writer);
	return status;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "find_or_create",
	 .sentence = "Give the newest conversation of a contact, or begin one.",
	 .more = "One atomic step: all who ask at once get the same one.",
	 KP_INPUTS(find_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The conversation.",
	 KP_MEMBERS(find_members),
	 .changes = true,
	 .run = run_find},
	{.verb = "add_conversation",
	 .sentence = "Begin a conversation, whatever there is already.",
	 KP_INPUTS(add_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The conversation.",
	 KP_MEMBERS(find_members),
	 KP_OUTCOMES(add_outcomes),
	 .changes = true,
	 .run = run_add},
	{.verb = "get_conversation",
	 .sentence = "Give a conversation.",
	 KP_INPUTS(conversation_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The conversation.",
	 .record = &kp_conversation_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "update_metadata",
	 .sentence = "Change members of a conversation's metadata, in one atomic step.",
	 KP_INPUTS(metadata_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The conversation.",
	 .record = &kp_conversation_record,
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_metadata},
	{.verb = "list_conversations",
	 .sentence = "Give conversations with their last message, newest first.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "A page of them.",
	 KP_MEMBERS(list_members),
	 .run = run_list},
	{.verb = "delete_conversation",
	 .sentence = "Delete a conversation with its messages and memory; tasks stay.",
	 KP_INPUTS(conversation_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_delete},
	{.verb = "append",
	 .sentence = "Add a message to a conversation.",
	 .more = "The same message_id with the same content again changes nothing.",
	 KP_INPUTS(append_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(append_members),
	 KP_OUTCOMES(append_outcomes),
	 .changes = true,
	 .run = run_append},
	{.verb = "append_many",
	 .sentence = "Add many messages in one transaction; any failure adds none.",
	 KP_INPUTS(append_many_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "What became of each.",
	 KP_MEMBERS(append_members),
	 KP_OUTCOMES(append_outcomes),
	 .changes = true,
	 .run = run_append_many},
	{.verb = "get_message",
	 .sentence = "Give a message.",
	 KP_INPUTS(message_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The message.",
	 .record = &kp_conversation_message_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get_message},
	{.verb = "page",
	 .sentence = "Give a page of a conversation's messages, newest first.",
	 KP_INPUTS(page_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "A page of them.",
	 KP_MEMBERS(page_members),
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_page},
	{.verb = "search_messages",
	 .sentence = "Find messages by their words, best first.",
	 KP_INPUTS(search_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was found.",
	 KP_MEMBERS(search_members),
	 KP_OUTCOMES(search_outcomes),
	 .run = run_search},
};

const kp_operation_group kp_assistant_conversation_group = {
	.title = "Conversations and messages",
	.operations = operations,
	.count = KP_COUNT(operations),
};
