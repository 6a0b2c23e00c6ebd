/*
 * assistant_adopt_talk.c - conversations, memory and messages of an adopted file.
 *
 * SQLite sorts the messages by (conversation, time, id), so a conversation's come one after the
 * other in the order of their numbers, and what is known of it fits into one struct. Memory is
 * adopted before, so that messages can name the summary that covers them.
 *
 * Invariants:
 *   1. A conversation's numbers are 1, 2, 3 … in the order of (timestamp to the microsecond, id);
 *      messages without a time that can be read come last.
 *   2. The source's is_summary says "this was summarised". Here is_summary is "this is a summary",
 *      so it becomes false, and summarised_by the newest summary of the conversation, whose range
 *      becomes that of the messages which say so. Without a summary it says nothing.
 *   3. A message that was internal before the source had a column for it says so in its metadata:
 *      rows that were compacted, and remarks for transparency.
 *   4. last_seq, message_count and last_message_at are those of the messages that were adopted.
 *
 * Tests: tests/contract/test_assistant_adopt.c.
 */
#include "assistant/assistant_adopt.h"
#include "search/search.h"

enum { HASH_SIZE = 2 * KP_SHA256_SIZE + 1 };

/* The conversation under way. */
struct kp_taking_talk {
	keep_buffer id;
	bool exists;
	int64_t seq, message_count;
	bool has_newest;
	int64_t newest;
	int64_t summary_id; /* 0: none */
	int64_t from_seq, to_seq;
	int64_t uncovered; /* not summarised, before the last one that is */
	int64_t open;      /* not summarised, since then */
};

void kp_take_conversation(kp_taking_row *row)
{
	static const char *const keys[] = {"conversation_id", NULL};
	int64_t now_ms = row->taking->now_ms;
	keep_conversation conversation = {.channel = KEEP_BYTES("unknown"),
					  .context_version = 1,
					  .last_accessed = INT64_MIN,
					  .created_at = INT64_MIN,
					  .updated_at = INT64_MIN};

	kp_taking_fill(row, &kp_conversation_record, &conversation);
	if (conversation.created_at == INT64_MIN)
		conversation.created_at = now_ms;
	if (conversation.updated_at == INT64_MIN)
		conversation.updated_at = conversation.created_at;
	if (conversation.last_accessed == INT64_MIN)
		conversation.last_accessed = conversation.updated_at;
	if (kp_check_key("conversation_id", conversation.conversation_id, NULL) != KEEP_OK)
		kp_taking_keep_whole(row, "a row without a usable id was kept whole");
	else
		kp_taking_store(row, &kp_conversation_record, &conversation, keys, NULL);
}

/* ---------------------------------------------------------------- memory */

static bool conversation_exists(kp_taking_row *row, keep_bytes id)
{
	bool found = false;

	if (id.data && row->status == KEEP_OK)
		row->status = kp_lease_get(row->taking->lease, KP_ASSISTANT_ADOPT_HAS_CONVERSATION,
					   KP_VALUES(kp_text_value(id)), NULL, NULL, NULL, &found,
					   row->taking->err);
	return found;
}

/* The member's text of an object, decoded; absent: there is none. */
static keep_bytes member_text(kp_taking_row *row, keep_bytes content, const char *name)
{
	const kp_json *json = NULL, *member;

	if (row->status == KEEP_OK)
		row->status =
			kp_json_parse(content, &row->taking->row_arena, &json, row->taking->err);
	member = row->status == KEEP_OK ? kp_json_member(json, name) : NULL;
	return member && member->kind == KP_JSON_TEXT ? member->text : (keep_bytes){NULL, 0};
}

/* As memory.c stores a fact: known by its normalised text. */
static void hash_fact(kp_taking_row *row, keep_bytes fact, char hash[HASH_SIZE])
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_buffer text = KEEP_BUFFER_INIT;

	if (row->status == KEEP_OK)
		row->status = kp_text_normalise(fact, &text, row->taking->err);
	if (row->status == KEEP_OK)
		row->status = kp_sha256(kp_buffer_bytes(&text).len ? kp_buffer_bytes(&text) : fact,
					digest, row->taking->err);
	if (row->status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hash);
	keep_buffer_release(&text);
}

static void complete_fact(kp_taking_row *row, keep_remembered *memory, char hash[HASH_SIZE])
{
	keep_bytes fact = member_text(row, memory->content, "fact");

	if (!fact.data || row->status != KEEP_OK)
		return;
	hash_fact(row, fact, hash);
	memory->content_hash = keep_bytes_of(hash);
}

void kp_take_memory(kp_taking_row *row)
{
	static const char *const keys[] = {"id", "conversation_id", NULL};
	char hash[HASH_SIZE] = "";
	keep_remembered memory = {.created_at = row->taking->now_ms};

	kp_taking_fill(row, &kp_remembered_record, &memory);
	memory.has_from_seq = memory.has_to_seq = false;
	if (row->status != KEEP_OK)
		return;
	if (!memory.content.data || !memory.memory_type.data ||
	    !conversation_exists(row, memory.conversation_id)) {
		kp_taking_keep_whole(row, "memory of no conversation, or of no kind that is known "
					  "here, was kept whole");
		return;
	}
	if (kp_taking_is(memory.memory_type, KEEP_REMEMBERED_MEMORY_TYPE_FACTS))
		complete_fact(row, &memory, hash);
	if (!memory.token_count)
		memory.token_count = kp_token_estimate(memory.content);
	kp_taking_store(row, &kp_remembered_record, &memory, keys, NULL);
}

/* ---------------------------------------------------------------- a conversation */

/* The newest memory that is a summary. */
static void find_summary(kp_taking_row *row, struct kp_taking_talk *talk)
{
	kp_taking *taking = row->taking;
	keep_remembered *items = NULL;
	size_t count = 0;

	row->status = kp_lease_list(taking->lease, KP_ASSISTANT_ADOPT_SUMMARIES,
				    KP_VALUES(kp_text_value(kp_buffer_bytes(&talk->id))),
				    &kp_remembered_record, &taking->row_arena, &items, &count,
				    taking->err);
	for (size_t i = 0; i < count && row->status == KEEP_OK && !talk->summary_id; i++)
		if (member_text(row, items[i].content, "summary").data)
			talk->summary_id = items[i].id;
}

static keep_status end_talk(kp_taking *taking, struct kp_taking_talk *talk)
{
	kp_value newest = talk->has_newest ? kp_time_value(talk->newest) : kp_null_value(KP_TIME);
	keep_status status = KEEP_OK;

	if (talk->to_seq && talk->summary_id)
		status = kp_lease_run(taking->lease, KP_ASSISTANT_ADOPT_SET_RANGE,
				      KP_VALUES(kp_int_value(talk->summary_id),
						kp_int_value(talk->from_seq),
						kp_int_value(talk->to_seq)),
				      NULL, taking->err);
	if (status == KEEP_OK && talk->seq)
		status = kp_lease_run(taking->lease, KP_ASSISTANT_ADOPT_SET_COUNTS,
				      KP_VALUES(kp_text_value(kp_buffer_bytes(&talk->id)),
						kp_int_value(talk->seq),
						kp_int_value(talk->message_count), newest),
				      NULL, taking->err);
	return status;
}

static void begin_talk(kp_taking_row *row, keep_bytes id)
{
	struct kp_taking_talk *talk = row->taking->talk;
	keep_buffer kept = talk->id;

	row->status = end_talk(row->taking, talk);
	*talk = (struct kp_taking_talk){.id = kept};
	if (row->status == KEEP_OK)
		row->status = keep_buffer_set(&talk->id, id, row->taking->err);
	if (row->status == KEEP_OK)
		talk->exists = conversation_exists(row, id);
	if (row->status == KEEP_OK && talk->exists)
		find_summary(row, talk);
}

/* ---------------------------------------------------------------- a message */

/* Invariant 3. */
static bool says_internal(kp_taking_row *row, keep_bytes metadata)
{
	static const char *const flags[] = {"internal", "compacted"};
	const kp_json *json = NULL;

	if (!metadata.data || row->status != KEEP_OK)
		return false;
	row->status = kp_json_parse(metadata, &row->taking->row_arena, &json, row->taking->err);
	for (size_t i = 0; i < KP_COUNT(flags) && row->status == KEEP_OK; i++) {
		const kp_json *member = kp_json_member(json, flags[i]);

		if (member && member->kind == KP_JSON_BOOL && member->boolean)
			return true;
	}
	return false;
}

/* Invariant 2. */
static void count_summarised(kp_taking_row *row, struct kp_taking_talk *talk,
			     keep_conversation_message *message)
{
	bool was_summarised = message->is_summary;

	message->is_summary = false;
	message->has_summarised_by = was_summarised && talk->summary_id;
	message->summarised_by = message->has_summarised_by ? talk->summary_id : 0;
	if (was_summarised && !talk->summary_id)
		kp_taking_note(row, "was summarised, but the summary is not there; it is context "
				    "again");
	if (!was_summarised || !talk->summary_id) {
		talk->open += !message->is_internal;
		return;
	}
	if (!talk->from_seq)
		talk->from_seq = message->seq;
	talk->to_seq = message->seq;
	if (talk->open)
		kp_taking_note(row, "messages that no summary covers lie before ones that were "
				    "summarised; they are kept, and are not context");
	talk->open = 0;
}

static void take_message(kp_taking_row *row)
{
	static const char *const keys[] = {"message_id", NULL};
	struct kp_taking_talk *talk = row->taking->talk;
	keep_conversation_message message = {
		.role = KEEP_BYTES(KEEP_CONVERSATION_MESSAGE_ROLE_SYSTEM),
		.content = KEEP_BYTES(""),
		.timestamp = row->taking->now_ms};

	kp_taking_fill(row, &kp_conversation_message_record, &message);
	if (row->status == KEEP_OK &&
	    (!talk->id.data ||
	     !kp_bytes_equal(kp_buffer_bytes(&talk->id), kp_text_or(message.conversation_id, ""))))
		begin_talk(row, kp_text_or(message.conversation_id, ""));
	if (row->status != KEEP_OK)
		return;
	if (!talk->exists || kp_check_key("message_id", message.message_id, NULL) != KEEP_OK) {
		kp_taking_keep_whole(row, "a message without a conversation or an id was kept "
					  "whole");
		return;
	}
	message.is_internal = message.is_internal || says_internal(row, message.metadata);
	if (message.token_count < 0)
		message.token_count = 0;
	message.seq = talk->seq + 1;
	count_summarised(row, talk, &message);
	if (!kp_taking_insert(row, &kp_conversation_message_record, &message, NULL)) {
		kp_taking_keep_whole(row, "a row whose key is missing or taken was kept whole");
		return;
	}
	talk->seq++;
	talk->message_count += !message.is_internal;
	if (!message.is_internal && (!talk->has_newest || message.timestamp > talk->newest)) {
		talk->has_newest = true;
		talk->newest = message.timestamp;
	}
	kp_taking_keep_rest(row, keys);
}

keep_status kp_take_messages(kp_taking *taking, const char *table)
{
	struct kp_taking_talk talk = {.seq = 0};
	keep_status status;

	taking->talk = &talk;
	status = kp_taking_each(taking, table,
				"SELECT rowid, * FROM messages ORDER BY conversation_id, "
				"kp_time_ms(" KP_TAKING_ZONED ") NULLS LAST, "
				"kp_time_rest(" KP_TAKING_ZONED "), rowid",
				take_message);
	if (status == KEEP_OK)
		status = end_talk(taking, &talk);
	keep_buffer_release(&talk.id);
	taking->talk = NULL;
	return status;
}
