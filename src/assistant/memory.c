/*
 * memory.c - what is remembered of a conversation beside its messages.
 *
 * Facts are known by the digest of their normalised text (search.h: letters folded, accents, blanks
 * and a sentence's punctuation aside) and its signs (+ # - …), which is unique in a conversation.
 * short_term needs no rows: without any it is a view of the newest messages.
 *
 * Invariants:
 *   1. A fact is there once, whoever remembers it at once: it is looked up in the transaction that
 *      would add it, and writers follow each other. A fact without a letter or digit (":-)") is
 *      compared byte for byte.
 *   2. Forgetting a summary gives its messages to the newest other summary that covers them, or to
 *      none, and raises context_version, in one transaction.
 *   3. Recalling costs what it answers: of each type as many rows as are wanted, by an index.
 *
 * What it does not do: add summaries (context.c), or forget by age (retention does).
 *
 * Tests: tests/contract/test_assistant_memory.c, test_assistant_summaries.c.
 */
#include "assistant/assistant_private.h"
#include "search/search.h"

enum { RECALL_DEFAULT = 20, SHORT_TERM_VIEW = 20, HASH_SIZE = 2 * KP_SHA256_SIZE + 1 };

static bool is_type(keep_bytes type, const char *name)
{
	return kp_bytes_equal(type, keep_bytes_of(name));
}

static keep_status check_type(keep_bytes type, keep_error *err)
{
	if (is_type(type, KEEP_REMEMBERED_MEMORY_TYPE_SHORT_TERM) ||
	    is_type(type, KEEP_REMEMBERED_MEMORY_TYPE_LONG_TERM) ||
	    is_type(type, KEEP_REMEMBERED_MEMORY_TYPE_FACTS) ||
	    is_type(type, KEEP_REMEMBERED_MEMORY_TYPE_WORKING))
		return KEEP_OK;
	return kp_fail(err, KEEP_INVALID,
		       "memory_type: is none of short_term, long_term, facts, working");
}

/* ---------------------------------------------------------------- remembering */

struct memory_change {
	keep_bytes conversation_id, memory_type, content;
	char hash[HASH_SIZE]; /* of a fact; else "" */
	int64_t token_count, now_ms;
	int64_t id;        /* out */
	bool is_duplicate; /* out */
};

/* A hyphen within a word is its spelling: au-lait. */
static bool is_hyphen(keep_bytes fact, size_t at)
{
	return fact.data[at] == '-' && at > 0 && at + 1 < fact.len &&
	       ((unsigned char)fact.data[at - 1] | 0x20) >= 'a' &&
	       ((unsigned char)fact.data[at + 1] | 0x20) >= 'a';
}

/* What tells C++ from C#, and 5 from -5: signs that are no punctuation of a sentence, in their
 * order. */
static keep_status append_signs(keep_bytes fact, keep_buffer *text, keep_error *err)
{
	static const char signs[] = "#$%&*+-/<=>@\\^_|~";
	keep_status status = kp_buffer_append(text, KEEP_BYTES("\n"), err);

	for (size_t i = 0; i < fact.len && status == KEEP_OK; i++)
		if (fact.data[i] && strchr(signs, fact.data[i]) && !is_hyphen(fact, i))
			status = kp_buffer_append(text, (keep_bytes){fact.data + i, 1}, err);
	return status;
}

/* Invariant 1. */
static keep_status hash_fact(keep_bytes fact, char hash[HASH_SIZE], keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_buffer text = KEEP_BUFFER_INIT;
	bool has_words;
	keep_status status = kp_text_normalise(fact, &text, err);

	has_words = text.len > 0;
	if (status == KEEP_OK && has_words)
		status = append_signs(fact, &text, err);
	if (status == KEEP_OK)
		status = kp_sha256(has_words ? kp_buffer_bytes(&text) : fact, digest, err);
	if (status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hash);
	keep_buffer_release(&text);
	return status;
}

/* A fact that is given as a text is stored as {"fact": "…"}, which `formatted` then holds. */
static keep_status read_fact(struct memory_change *change, kp_arena *arena, keep_buffer *formatted,
			     keep_error *err)
{
	const kp_json *json = NULL;
	const kp_json *fact;
	kp_json_writer writer;
	keep_status status = kp_json_parse(change->content, arena, &json, err);

	if (status != KEEP_OK)
		return status;
	fact = json->kind == KP_JSON_TEXT ? json : kp_json_member(json, "fact");
	if (!fact || fact->kind != KP_JSON_TEXT || !fact->text.len)
		return kp_fail(err, KEEP_INVALID,
			       "content: of a fact a text or {\"fact\": \"…\"} is needed");
	change->token_count = kp_token_estimate(fact->text);
	status = hash_fact(fact->text, change->hash, err);
	if (status != KEEP_OK || fact != json)
		return status;
	kp_json_begin(&writer, formatted);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "fact");
	kp_json_put_raw(&writer, json->raw);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	change->content = kp_buffer_bytes(formatted);
	return status;
}

static keep_status apply_remember(void *ctx, kp_lease *lease, keep_error *err)
{
	struct memory_change *change = ctx;
	keep_bytes hash = {change->hash[0] ? change->hash : NULL, strlen(change->hash)};
	kp_arena arena = {.head = NULL};
	keep_conversation conversation = {.id = 0};
	keep_status status =
		kp_conversation_find(lease, change->conversation_id, &arena, &conversation, err);

	change->is_duplicate = false;
	lease->unchanged = status == KEEP_NOT_FOUND;
	if (status == KEEP_OK && hash.data)
		status = kp_lease_int(
			lease, KP_ASSISTANT_REMEMBERED_FACT,
			KP_VALUES(kp_text_value(change->conversation_id), kp_text_value(hash)),
			&change->id, &change->is_duplicate, err);
	if (status == KEEP_OK && !change->is_duplicate)
		status = kp_lease_int(lease, KP_ASSISTANT_REMEMBER,
				      KP_VALUES(kp_text_value(change->conversation_id),
						kp_text_value(change->memory_type),
						kp_json_value(change->content),
						kp_time_value(change->now_ms), kp_text_value(hash),
						kp_int_value(change->token_count)),
				      &change->id, NULL, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_remember(keep_assistant *assistant, keep_bytes conversation_id,
				    keep_bytes memory_type, keep_bytes content, int64_t now_ms,
				    int64_t *id, bool *is_duplicate, keep_error *err)
{
	struct memory_change change = {.conversation_id = conversation_id,
				       .memory_type = memory_type,
				       .content = content,
				       .token_count = kp_token_estimate(content),
				       .now_ms = kp_assistant_now(now_ms)};
	keep_buffer formatted = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	keep_status status = kp_check_key("conversation_id", conversation_id, err);

	if (status == KEEP_OK)
		status = check_type(memory_type, err);
	if (status == KEEP_OK && !content.data)
		status = kp_fail(err, KEEP_INVALID, "content: is missing");
	if (status == KEEP_OK)
		status = kp_check_json("content", content, KP_JSON_NULL, err);
	if (status == KEEP_OK)
		status = kp_check_time("now_ms", change.now_ms, err);
	if (status == KEEP_OK && is_type(memory_type, KEEP_REMEMBERED_MEMORY_TYPE_FACTS))
		status = read_fact(&change, &arena, &formatted, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_remember, &change, KP_NEWS_NONE,
					 err);
	if (status == KEEP_OK && id)
		*id = change.id;
	if (status == KEEP_OK && is_duplicate)
		*is_duplicate = change.is_duplicate;
	keep_buffer_release(&formatted);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- recalling */

struct recall {
	keep_bytes conversation_id, memory_type;
	int64_t limit;
	kp_arena *memory;
	keep_remembered_list list; /* out */
};

/* {"role": …, "content": …, "seq": …} */
static keep_status view_message(const keep_conversation_message *message, kp_arena *memory,
				keep_remembered *out, keep_error *err)
{
	keep_buffer content = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &content);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "role");
	kp_json_put_text(&writer, message->role);
	kp_json_name(&writer, "content");
	kp_json_put_text(&writer, message->content);
	kp_json_name(&writer, "seq");
	kp_json_put_integer(&writer, message->seq);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	*out = (keep_remembered){.conversation_id = message->conversation_id,
				 .memory_type =
					 keep_bytes_of(KEEP_REMEMBERED_MEMORY_TYPE_SHORT_TERM),
				 .created_at = message->timestamp,
				 .token_count = message->token_count};
	if (status == KEEP_OK)
		status = kp_arena_copy(memory, kp_buffer_bytes(&content), &out->content, err);
	keep_buffer_release(&content);
	return status;
}

static keep_status view_messages(kp_lease *lease, struct recall *recall, keep_error *err)
{
	int64_t limit = recall->limit < SHORT_TERM_VIEW ? recall->limit : SHORT_TERM_VIEW;
	keep_message_page page = {.count = 0};
	keep_status status = kp_lease_list(lease, KP_ASSISTANT_NEWEST_MESSAGES,
					   KP_VALUES(kp_text_value(recall->conversation_id),
						     kp_int_value(INT64_MAX), kp_int_value(limit)),
					   &kp_conversation_message_record, recall->memory,
					   &page.items, &page.count, err);

	if (status != KEEP_OK || !page.count)
		return status;
	recall->list.items =
		kp_arena_alloc(recall->memory, page.count * sizeof *recall->list.items);
	if (!recall->list.items)
		return kp_fail_memory(err, "a short-term memory");
	for (; recall->list.count < page.count && status == KEEP_OK; recall->list.count++)
		status = view_message(&page.items[recall->list.count], recall->memory,
				      &recall->list.items[recall->list.count], err);
	return status;
}

/* Invariant 3. */
static keep_status query_recall(void *ctx, kp_lease *lease, keep_error *err)
{
	struct recall *recall = ctx;
	kp_value values[] = {kp_text_value(recall->conversation_id),
			     kp_text_value(recall->memory_type), kp_int_value(recall->limit)};
	bool is_any = !recall->memory_type.data, found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_CONVERSATION, values, 1, NULL,
					  NULL, NULL, &found, err);

	recall->list = (keep_remembered_list){.count = 0};
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "conversation '%" KP_PRI "': there is none",
				 KP_ARG(recall->conversation_id));
	if (is_any)
		values[1] = values[2];
	if (status == KEEP_OK)
		status = kp_lease_list(
			lease, is_any ? KP_ASSISTANT_RECALL : KP_ASSISTANT_RECALL_TYPE, values,
			is_any ? 2 : 3, &kp_remembered_record, recall->memory, &recall->list.items,
			&recall->list.count, err);
	if (status == KEEP_OK && !recall->list.count &&
	    is_type(recall->memory_type, KEEP_REMEMBERED_MEMORY_TYPE_SHORT_TERM))
		status = view_messages(lease, recall, err);
	return status;
}

keep_status keep_assistant_recall(keep_assistant *assistant, keep_bytes conversation_id,
				  keep_bytes memory_type, size_t limit, keep_memory *memory,
				  keep_remembered_list *out, keep_error *err)
{
	struct recall recall = {
		.conversation_id = conversation_id, .memory_type = memory_type, .memory = memory};
	keep_status status = kp_check_key("conversation_id", conversation_id, err);

	if (status == KEEP_OK && memory_type.data)
		status = check_type(memory_type, err);
	if (status == KEEP_OK)
		status = kp_check_limit(limit, RECALL_DEFAULT, KEEP_ASSISTANT_LIST_MAX,
					&recall.limit, err);
	if (status == KEEP_OK)
		status = kp_store_read_whole(&assistant->store, query_recall, &recall, err);
	if (status == KEEP_OK)
		*out = recall.list;
	return status;
}

/* ---------------------------------------------------------------- forgetting */

struct forgetting {
	keep_bytes conversation_id, memory_type;
	int64_t id;
	int64_t count; /* out */
};

static keep_status raise_version(kp_lease *lease, keep_bytes conversation_id, keep_error *err)
{
	return kp_lease_queue(lease, KP_ASSISTANT_RAISE_CONTEXT_VERSION,
			      KP_VALUES(kp_text_value(conversation_id)), err);
}

/* Invariant 2. */
static keep_status forget_one(kp_lease *lease, struct forgetting *forgetting, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_remembered row = {.id = 0};
	bool found = false;
	keep_status status = kp_lease_get(
		lease, KP_ASSISTANT_GET_REMEMBERED,
		KP_VALUES(kp_int_value(forgetting->id), kp_text_value(forgetting->conversation_id)),
		&kp_remembered_record, &arena, &row, &found, err);
	bool is_wanted = found && (!forgetting->memory_type.data ||
				   kp_bytes_equal(row.memory_type, forgetting->memory_type));

	if (status == KEEP_OK && is_wanted)
		status = kp_lease_run(lease, KP_ASSISTANT_FORGET_ONE,
				      KP_VALUES(kp_int_value(row.id)), &forgetting->count, err);
	if (status == KEEP_OK && is_wanted && row.has_from_seq && row.has_to_seq) {
		status = kp_lease_queue(lease, KP_ASSISTANT_UNSUMMARISE_RANGE,
					KP_VALUES(kp_text_value(forgetting->conversation_id),
						  kp_int_value(row.from_seq),
						  kp_int_value(row.to_seq), kp_int_value(row.id)),
					err);
		if (status == KEEP_OK)
			status = raise_version(lease, forgetting->conversation_id, err);
	}
	kp_arena_release(&arena);
	return status;
}

/* From the first to the last message that a summary covers; last 0: there is no summary. */
static keep_status read_covered(kp_lease *lease, keep_bytes conversation_id, int64_t *first,
				int64_t *last, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value values[2] = {{.is_null = true}, {.is_null = true}};
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_ASSISTANT_COVERED_RANGE,
					   KP_VALUES(kp_text_value(conversation_id)), &stmt, err);

	*first = *last = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	for (int i = 0; i < 2 && status == KEEP_OK && has_row; i++)
		status = kp_sql_column(stmt, i, KP_INT, &values[i], err);
	if (status == KEEP_OK && !values[0].is_null && !values[1].is_null) {
		*first = values[0].integer;
		*last = values[1].integer;
	}
	kp_sql_reset(stmt);
	return status;
}

/* All of a type, or of every type. Summaries are all of long_term, so either all of them go or
   none. */
static keep_status forget_many(kp_lease *lease, struct forgetting *forgetting, keep_error *err)
{
	const kp_value values[] = {kp_text_value(forgetting->conversation_id),
				   kp_text_value(forgetting->memory_type)};
	bool is_all = !forgetting->memory_type.data;
	bool has_summaries =
		is_all || is_type(forgetting->memory_type, KEEP_REMEMBERED_MEMORY_TYPE_LONG_TERM);
	int64_t first = 0, last = 0;
	keep_status status = KEEP_OK;

	if (has_summaries)
		status = read_covered(lease, forgetting->conversation_id, &first, &last, err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease,
				      is_all ? KP_ASSISTANT_FORGET_ALL : KP_ASSISTANT_FORGET_TYPE,
				      values, is_all ? 1 : 2, &forgetting->count, err);
	if (status == KEEP_OK && last) {
		status = kp_lease_queue(lease, KP_ASSISTANT_UNSUMMARISE_ALL,
					KP_VALUES(kp_text_value(forgetting->conversation_id),
						  kp_int_value(first), kp_int_value(last)),
					err);
		if (status == KEEP_OK)
			status = raise_version(lease, forgetting->conversation_id, err);
	}
	return status;
}

static keep_status apply_forget(void *ctx, kp_lease *lease, keep_error *err)
{
	struct forgetting *forgetting = ctx;
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_CONVERSATION,
					  KP_VALUES(kp_text_value(forgetting->conversation_id)),
					  NULL, NULL, NULL, &found, err);

	forgetting->count = 0;
	if (status == KEEP_OK && !found) {
		lease->unchanged = true;
		return kp_fail(err, KEEP_NOT_FOUND, "conversation '%" KP_PRI "': there is none",
			       KP_ARG(forgetting->conversation_id));
	}
	if (status == KEEP_OK)
		status = forgetting->id ? forget_one(lease, forgetting, err)
					: forget_many(lease, forgetting, err);
	return status;
}

keep_status keep_assistant_forget(keep_assistant *assistant, keep_bytes conversation_id, int64_t id,
				  keep_bytes memory_type, int64_t *count, keep_error *err)
{
	struct forgetting forgetting = {
		.conversation_id = conversation_id, .memory_type = memory_type, .id = id};
	keep_status status = kp_check_key("conversation_id", conversation_id, err);

	if (status == KEEP_OK && memory_type.data)
		status = check_type(memory_type, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_forget, &forgetting, KP_NEWS_NONE,
					 err);
	if (status == KEEP_OK && count)
		*count = forgetting.count;
	return status;
}
