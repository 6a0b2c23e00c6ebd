/*
 * messages.c - messages: appended with a number, read by page.
 *
 * Appending is a look at the conversation's row, an INSERT that finds out by the unique message_id
 * whether the message was there, and an UPDATE of that row. A batch is one INSERT a message, and
 * one look and one UPDATE a conversation. Where the database answers an INSERT with its id at a
 * price (RETURNING builds a table), the id is known from the look before: writers follow each
 * other.
 *
 * Invariants:
 *   1. The numbers of a conversation are 1, 2, 3 … in the order of commits, without a gap: last_seq
 *      moves in the transaction that adds, and by as many as were added.
 *   2. message_count is how many of them are not internal.
 *   3. A message_id is there once. The same message again changes nothing, not even a time.
 *   4. A page asks for one message more than it answers, through the index of the kind that is
 *      wanted, so has_more is exact and costs one row.
 *
 * What it does not do: fold words in (message_index.c; appending costs it a look), or change and
 * remove messages; they stay until their conversation goes.
 *
 * Tests: tests/contract/test_assistant_messages.c, tests/crash/test_assistant_append_crash.c.
 */
#include "assistant/assistant_private.h"

enum { BYTES_PER_TOKEN = 4, PAGE_DEFAULT = 50 };

int64_t kp_token_estimate(keep_bytes text)
{
	return (int64_t)((text.len + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN);
}

/* ---------------------------------------------------------------- appending */

/* What a batch has added to one conversation, and not counted in its row. */
struct added {
	keep_bytes conversation_id;
	int64_t last_seq;
	int64_t count;   /* with internal ones */
	int64_t visible; /* without */
	int64_t last_message_at;
};

struct batch {
	const keep_conversation_message *messages;
	size_t count;
	char (*made_ids)[KP_UUID_TEXT_SIZE]; /* "" where the caller has one */
	int64_t now_ms;
	struct added *added; /* by conversation, in the order of their first message; `count` */
	size_t conversations;
	bool knows_ids;  /* the database gives the next id that is larger by one than last_id */
	int64_t last_id; /* the newest message's so far */
	keep_append_result *results; /* out */
	size_t inserted;             /* out */
};

static keep_status check_message(const keep_conversation_message *message, keep_error *err)
{
	static const char *const roles[] = {
		KEEP_CONVERSATION_MESSAGE_ROLE_USER, KEEP_CONVERSATION_MESSAGE_ROLE_ASSISTANT,
		KEEP_CONVERSATION_MESSAGE_ROLE_SYSTEM, KEEP_CONVERSATION_MESSAGE_ROLE_TOOL};
	keep_status status = kp_check_key("conversation_id", message->conversation_id, err);
	bool is_role = false;

	if (status == KEEP_OK && message->message_id.data)
		status = kp_check_key("message_id", message->message_id, err);
	for (size_t i = 0; i < KP_COUNT(roles); i++)
		is_role = is_role || kp_bytes_equal(message->role, keep_bytes_of(roles[i]));
	if (status == KEEP_OK && !is_role)
		status = kp_fail(err, KEEP_INVALID,
				 "role: is none of user, assistant, system, tool");
	if (status == KEEP_OK && !message->content.data)
		status = kp_fail(err, KEEP_INVALID, "content: is missing");
	if (status == KEEP_OK)
		status = kp_check_content("content", message->content, err);
	if (status == KEEP_OK && message->token_count < 0)
		status = kp_fail(err, KEEP_INVALID, "token_count: is below 0");
	if (status == KEEP_OK)
		status = kp_check_time("timestamp", message->timestamp, err);
	if (status == KEEP_OK)
		status = kp_check_json("metadata", message->metadata, KP_JSON_OBJECT, err);
	return status;
}

static keep_status fail_no_conversation(keep_bytes conversation_id, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "conversation '%" KP_PRI "': there is none",
		       KP_ARG(conversation_id));
}

/* Read where a conversation and the ids stand. */
static keep_status begin_append(kp_lease *lease, struct batch *batch, struct added *added,
				keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value last_id = {.is_null = true};
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, KP_ASSISTANT_BEGIN_APPEND,
			      KP_VALUES(kp_text_value(added->conversation_id)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && !has_row) {
		lease->unchanged = batch->inserted == 0;
		status = fail_no_conversation(added->conversation_id, err);
	}
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 0, &added->last_seq, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 1, KP_INT, &last_id, err);
	batch->knows_ids = !last_id.is_null;
	if (!last_id.is_null)
		batch->last_id = last_id.integer;
	kp_sql_reset(stmt);
	return status;
}

/* The entry of a conversation; a new one when it has none yet. */
static keep_status find_added(kp_lease *lease, struct batch *batch, keep_bytes conversation_id,
			      struct added **out, keep_error *err)
{
	struct added *added = &batch->added[batch->conversations];

	/* From the end: a batch is mostly one conversation's, or goes on with the last one. */
	for (size_t i = batch->conversations; i > 0; i--)
		if (kp_bytes_equal(batch->added[i - 1].conversation_id, conversation_id)) {
			*out = &batch->added[i - 1];
			return KEEP_OK;
		}
	*added = (struct added){.conversation_id = conversation_id};
	*out = added;
	batch->conversations++;
	return begin_append(lease, batch, added, err);
}

/* An INSERT added nothing: it is there. Invariant 3. */
static keep_status find_duplicate(kp_lease *lease, const struct batch *batch,
				  const keep_conversation_message *message, keep_bytes message_id,
				  keep_append_result *result, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_conversation_message stored = {.id = 0};
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_ASSISTANT_GET_MESSAGE, KP_VALUES(kp_text_value(message_id)),
			     &kp_conversation_message_record, &arena, &stored, &found, err);

	if (status == KEEP_OK &&
	    (!found || !kp_bytes_equal(stored.conversation_id, message->conversation_id) ||
	     !kp_bytes_equal(stored.role, message->role) ||
	     !kp_bytes_equal(stored.content, message->content))) {
		lease->unchanged = batch->inserted == 0;
		status = kp_fail(err, KEEP_CONFLICT,
				 "message '%" KP_PRI "': another one is there under that id",
				 KP_ARG(message_id));
	}
	result->is_duplicate = true;
	result->seq = stored.seq;
	result->id = stored.id;
	kp_arena_release(&arena);
	return status;
}

/* *is_new: it was added, under the number and the id in *result. */
static keep_status insert_message(kp_lease *lease, const struct batch *batch,
				  const keep_conversation_message *message, keep_bytes message_id,
				  keep_append_result *result, bool *is_new, keep_error *err)
{
	int64_t tokens =
		message->token_count ? message->token_count : kp_token_estimate(message->content);
	int64_t timestamp = message->timestamp ? message->timestamp : batch->now_ms;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, KP_ASSISTANT_APPEND_MESSAGE,
		KP_VALUES(kp_text_value(message->conversation_id), kp_text_value(message_id),
			  kp_text_value(message->role), kp_text_value(message->content),
			  kp_int_value(tokens), kp_bool_value(message->is_summary),
			  kp_time_value(timestamp), kp_json_value(message->metadata),
			  kp_bool_value(message->is_internal), kp_int_value(result->seq),
			  batch->knows_ids ? kp_int_value(result->id) : kp_null_value(KP_INT)),
		&stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_int(stmt, 0, &result->id, err);
	*is_new = status == KEEP_OK && (has_row || kp_sql_changes(stmt) == 1);
	kp_sql_reset(stmt);
	return status;
}

static keep_status append_one(kp_lease *lease, struct batch *batch, size_t index, keep_error *err)
{
	const keep_conversation_message *message = &batch->messages[index];
	keep_append_result *result = &batch->results[index];
	keep_bytes message_id = message->message_id.data ? message->message_id
							 : keep_bytes_of(batch->made_ids[index]);
	struct added *added = NULL;
	bool is_new = false;
	keep_status status = find_added(lease, batch, message->conversation_id, &added, err);

	if (status != KEEP_OK)
		return status;
	*result = (keep_append_result){.seq = added->last_seq + 1, .id = batch->last_id + 1};
	memcpy(result->message_id, batch->made_ids[index], sizeof result->message_id);
	status = insert_message(lease, batch, message, message_id, result, &is_new, err);
	if (status != KEEP_OK)
		return status;
	if (!is_new)
		return find_duplicate(lease, batch, message, message_id, result, err);
	batch->inserted++;
	batch->last_id = result->id;
	added->count++;
	added->last_seq = result->seq;
	if (!message->is_internal) {
		added->visible++;
		added->last_message_at = message->timestamp ? message->timestamp : batch->now_ms;
	}
	return KEEP_OK;
}

/* Invariants 1 and 2. */
static keep_status count_added(kp_lease *lease, const struct batch *batch,
			       const struct added *added, keep_error *err)
{
	return kp_lease_queue(lease, KP_ASSISTANT_COUNT_MESSAGES,
			      KP_VALUES(kp_text_value(added->conversation_id),
					kp_int_value(added->last_seq), kp_int_value(added->visible),
					kp_time_value(batch->now_ms),
					added->visible ? kp_time_value(added->last_message_at)
						       : kp_null_value(KP_TIME)),
			      err);
}

static keep_status apply_append(void *ctx, kp_lease *lease, keep_error *err)
{
	struct batch *batch = ctx;
	keep_status status = KEEP_OK;

	batch->conversations = batch->inserted = 0;
	for (size_t i = 0; i < batch->count && status == KEEP_OK; i++) {
		status = append_one(lease, batch, i, err);
		if (status != KEEP_OK && batch->count > 1)
			status = kp_prefix(err, status, "message %zu of %zu", i + 1, batch->count);
	}
	for (size_t i = 0; i < batch->conversations && status == KEEP_OK; i++)
		if (batch->added[i].count)
			status = count_added(lease, batch, &batch->added[i], err);
	return status;
}

static keep_status make_ids(struct batch *batch, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < batch->count && status == KEEP_OK; i++) {
		batch->made_ids[i][0] = '\0';
		if (!batch->messages[i].message_id.data)
			status = kp_uuid_make(batch->made_ids[i], err);
	}
	return status;
}

static keep_status append_batch(keep_assistant *assistant, struct batch *batch, keep_error *err)
{
	keep_status status = make_ids(batch, err);

	batch->now_ms = kp_clock_ms();
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_append, batch, KP_NEWS_NONE, err);
	if (status == KEEP_OK && batch->inserted)
		kp_message_index_appended(assistant, batch->inserted);
	return status;
}

keep_status keep_assistant_append(keep_assistant *assistant,
				  const keep_conversation_message *message,
				  keep_append_result *result, keep_error *err)
{
	char made_id[1][KP_UUID_TEXT_SIZE];
	keep_append_result own;
	struct added added;
	struct batch batch = {.messages = message,
			      .count = 1,
			      .made_ids = made_id,
			      .added = &added,
			      .results = &own};
	keep_status status = check_message(message, err);

	if (status == KEEP_OK)
		status = append_batch(assistant, &batch, err);
	if (status == KEEP_OK && result)
		*result = own;
	return status;
}

keep_status keep_assistant_append_many(keep_assistant *assistant,
				       const keep_conversation_message *messages, size_t count,
				       keep_append_result *results, keep_error *err)
{
	struct batch batch = {.messages = messages, .count = count};
	kp_arena arena = {.head = NULL};
	keep_status status = KEEP_OK;

	if (count == 0)
		return KEEP_OK;
	if (count > KEEP_ASSISTANT_LIST_MAX)
		return kp_fail(err, KEEP_INVALID, "count: %zu is over %d", count,
			       KEEP_ASSISTANT_LIST_MAX);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = check_message(&messages[i], err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "message %zu of %zu", i + 1, count);
	}
	if (status != KEEP_OK)
		return status;
	batch.made_ids = kp_arena_alloc(&arena, count * sizeof *batch.made_ids);
	batch.added = kp_arena_alloc(&arena, count * sizeof *batch.added);
	batch.results = kp_arena_alloc(&arena, count * sizeof *batch.results);
	status = batch.made_ids && batch.added && batch.results
			 ? append_batch(assistant, &batch, err)
			 : kp_fail_memory(err, "a batch of messages");
	if (status == KEEP_OK && results)
		memcpy(results, batch.results, count * sizeof *results);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- reading */

keep_status keep_assistant_get_message(keep_assistant *assistant, keep_bytes message_id,
				       keep_memory *memory, keep_conversation_message *out,
				       keep_error *err)
{
	keep_conversation_message message = {.id = 0};
	bool found = false;
	keep_status status = kp_check_key("message_id", message_id, err);

	if (status == KEEP_OK)
		status = kp_store_get(&assistant->store, KP_ASSISTANT_GET_MESSAGE,
				      KP_VALUES(kp_text_value(message_id)),
				      &kp_conversation_message_record, memory, &message, &found,
				      err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "message '%" KP_PRI "': there is none",
				 KP_ARG(message_id));
	if (status == KEEP_OK)
		*out = message;
	return status;
}

struct paging {
	keep_bytes conversation_id;
	int64_t before_seq;
	int64_t limit;
	size_t statement;
	kp_arena *memory;
	keep_message_page page; /* out */
};

/* Whoever has messages is there. */
static keep_status check_is_there(kp_lease *lease, keep_bytes conversation_id, keep_error *err)
{
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_CONVERSATION,
					  KP_VALUES(kp_text_value(conversation_id)), NULL, NULL,
					  NULL, &found, err);

	return status == KEEP_OK && !found ? fail_no_conversation(conversation_id, err) : status;
}

/* Invariant 4: the row beyond the page is stepped, and not read. */
static keep_status query_page(void *ctx, kp_lease *lease, keep_error *err)
{
	struct paging *paging = ctx;
	keep_message_page *page = &paging->page;
	size_t room = (size_t)paging->limit;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status;

	*page = (keep_message_page){.count = 0};
	page->items = kp_arena_alloc(paging->memory, room * sizeof *page->items);
	if (!page->items)
		return kp_fail_memory(err, "a page of messages");
	status = kp_lease_bind(lease, paging->statement,
			       KP_VALUES(kp_text_value(paging->conversation_id),
					 kp_int_value(paging->before_seq),
					 kp_int_value(paging->limit + 1)),
			       &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && page->count < room) {
		status = kp_record_read(stmt, 0, &kp_conversation_message_record,
					&page->items[page->count++], paging->memory, err);
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	page->has_more = has_row;
	kp_sql_reset(stmt);
	if (status == KEEP_OK && !page->count)
		status = check_is_there(lease, paging->conversation_id, err);
	return status;
}

keep_status keep_assistant_page(keep_assistant *assistant, keep_bytes conversation_id,
				int64_t before_seq, size_t limit, bool with_internal,
				keep_memory *memory, keep_message_page *out, keep_error *err)
{
	struct paging paging = {.conversation_id = conversation_id,
				.before_seq = before_seq ? before_seq : INT64_MAX,
				.statement = with_internal
						     ? KP_ASSISTANT_NEWEST_MESSAGES_WITH_INTERNAL
						     : KP_ASSISTANT_NEWEST_MESSAGES,
				.memory = memory};
	keep_status status = kp_check_key("conversation_id", conversation_id, err);

	if (status == KEEP_OK && before_seq < 0)
		status = kp_fail(err, KEEP_INVALID, "before_seq: is below 0");
	if (status == KEEP_OK)
		status = kp_check_limit(limit, PAGE_DEFAULT, KEEP_ASSISTANT_LIST_MAX, &paging.limit,
					err);
	if (status == KEEP_OK)
		status = kp_store_read(&assistant->store, query_page, &paging, err);
	if (status == KEEP_OK)
		*out = paging.page;
	return status;
}
