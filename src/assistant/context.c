/*
 * context.c - what an agent should know of a conversation: its latest summary, and what came after.
 *
 * A summary is a row of conversation_memory with the range of messages that it covers. The context
 * begins with the one that reaches furthest, and goes on with the messages behind it. Messages are
 * read newest first until one does not fit into the budget, and handed out oldest first.
 *
 * Invariants:
 *   1. A context is of one moment: its parts are read in one reading transaction.
 *   2. It is what stands between a point and the newest message, without a hole: a message that
 *      does not fit ends it, also when an older one would fit.
 *   3. It costs what it answers, never the history: messages are read in portions, from the newest
 *      on, each twice as large as the one before. What a portion holds behind the end is not read
 *      where a statement's rows come one at a time; where they come at once it is less than was
 *      read before. The first is FIRST_PORTION.
 *   4. A summary, summarised_by of what it covers and context_version move in one transaction, so
 *      who has cached a context by its version never misses a summary.
 *   5. A range has one summary. Ranges may overlap; of a message that several cover summarised_by
 * is the newest one.
 *
 * What it does not do: make a summary, count tokens as a model does, or delete what is summarised.
 *
 * Tests: tests/contract/test_assistant_context.c, test_assistant_summaries.c.
 */
#include "assistant/assistant_private.h"

enum { FIRST_PORTION = 64, PORTION_MAX = 4096 };

/* ---------------------------------------------------------------- summaries */

/* The text of a summary's content, {"summary": "…", …}. */
static keep_status read_summary_text(const keep_remembered *summary, kp_arena *arena,
				     keep_bytes *text, keep_error *err)
{
	const kp_json *content = NULL;
	const kp_json *member;
	keep_status status = kp_json_parse(summary->content, arena, &content, err);

	if (status != KEEP_OK)
		return status;
	member = kp_json_member(content, "summary");
	if (!member || member->kind != KP_JSON_TEXT)
		return kp_fail(err, KEEP_CORRUPT,
			       "conversation_memory: row %lld covers messages, and has no summary",
			       (long long)summary->id);
	*text = member->text;
	return KEEP_OK;
}

struct summary_change {
	keep_bytes conversation_id, text;
	int64_t from_seq, to_seq, token_count, now_ms;
	int64_t context_version; /* out */
	bool is_duplicate;       /* out */
};

static keep_status format_summary(const struct summary_change *change, int64_t message_count,
				  keep_buffer *content, keep_error *err)
{
	kp_json_writer writer;

	kp_json_begin(&writer, content);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "summary");
	kp_json_put_text(&writer, change->text);
	kp_json_name(&writer, "message_count");
	kp_json_put_integer(&writer, message_count);
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

/* Invariant 4. */
static keep_status insert_summary(kp_lease *lease, const struct summary_change *change,
				  keep_error *err)
{
	keep_bytes id = change->conversation_id;
	keep_buffer content = KEEP_BUFFER_INIT;
	int64_t count = 0, summary_id = 0;
	keep_status status =
		kp_lease_int(lease, KP_ASSISTANT_COUNT_RANGE,
			     KP_VALUES(kp_text_value(id), kp_int_value(change->from_seq),
				       kp_int_value(change->to_seq)),
			     &count, NULL, err);

	if (status == KEEP_OK)
		status = format_summary(change, count, &content, err);
	if (status == KEEP_OK)
		status = kp_lease_int(
			lease, KP_ASSISTANT_ADD_SUMMARY,
			KP_VALUES(kp_text_value(id), kp_json_value(kp_buffer_bytes(&content)),
				  kp_time_value(change->now_ms), kp_int_value(change->from_seq),
				  kp_int_value(change->to_seq),
				  kp_int_value(change->token_count
						       ? change->token_count
						       : kp_token_estimate(change->text))),
			&summary_id, NULL, err);
	kp_moment("assistant.summary_added");
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_ASSISTANT_SUMMARISE_RANGE,
					KP_VALUES(kp_text_value(id), kp_int_value(change->from_seq),
						  kp_int_value(change->to_seq),
						  kp_int_value(summary_id)),
					err);
	kp_moment("assistant.range_summarised");
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_ASSISTANT_RAISE_CONTEXT_VERSION,
					KP_VALUES(kp_text_value(id)), err);
	keep_buffer_release(&content);
	return status;
}

/* Invariant 5: the same text again is a replay. */
static keep_status compare_summary(const struct summary_change *change,
				   const keep_remembered *stored, kp_arena *arena, keep_error *err)
{
	keep_bytes text = {NULL, 0};
	keep_status status = read_summary_text(stored, arena, &text, err);

	if (status == KEEP_OK && !kp_bytes_equal(text, change->text))
		status = kp_fail(err, KEEP_CONFLICT,
				 "conversation '%" KP_PRI "': messages %lld to %lld have another "
				 "summary",
				 KP_ARG(change->conversation_id), (long long)change->from_seq,
				 (long long)change->to_seq);
	return status;
}

static keep_status apply_summary(void *ctx, kp_lease *lease, keep_error *err)
{
	struct summary_change *change = ctx;
	kp_arena arena = {.head = NULL};
	keep_conversation conversation = {.id = 0};
	keep_remembered stored = {.id = 0};
	keep_status status =
		kp_conversation_find(lease, change->conversation_id, &arena, &conversation, err);

	change->is_duplicate = false;
	change->context_version = conversation.context_version;
	if (status == KEEP_OK && change->to_seq > conversation.last_seq)
		status = kp_fail(err, KEEP_INVALID,
				 "to_seq: is %lld, and the newest message has the number %lld",
				 (long long)change->to_seq, (long long)conversation.last_seq);
	if (status == KEEP_OK)
		status = kp_lease_get(
			lease, KP_ASSISTANT_SUMMARY_OF_RANGE,
			KP_VALUES(kp_text_value(change->conversation_id),
				  kp_int_value(change->from_seq), kp_int_value(change->to_seq)),
			&kp_remembered_record, &arena, &stored, &change->is_duplicate, err);
	if (status == KEEP_OK && change->is_duplicate)
		status = compare_summary(change, &stored, &arena, err);
	lease->unchanged =
		status == KEEP_NOT_FOUND || status == KEEP_INVALID || status == KEEP_CONFLICT;
	if (status == KEEP_OK && !change->is_duplicate) {
		status = insert_summary(lease, change, err);
		change->context_version++;
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_add_summary(keep_assistant *assistant, keep_bytes conversation_id,
				       int64_t from_seq, int64_t to_seq, keep_bytes text,
				       int64_t token_count, int64_t *context_version,
				       bool *is_duplicate, keep_error *err)
{
	struct summary_change change = {.conversation_id = conversation_id,
					.text = text,
					.from_seq = from_seq,
					.to_seq = to_seq,
					.token_count = token_count,
					.now_ms = kp_clock_ms()};
	keep_status status = kp_check_key("conversation_id", conversation_id, err);

	if (status == KEEP_OK && from_seq < 1)
		status = kp_fail(err, KEEP_INVALID, "from_seq: is below 1");
	if (status == KEEP_OK && to_seq < from_seq)
		status = kp_fail(err, KEEP_INVALID, "to_seq: is before from_seq");
	if (status == KEEP_OK && !text.len)
		status = kp_fail(err, KEEP_INVALID, "text: is missing");
	if (status == KEEP_OK)
		status = kp_check_content("text", text, err);
	if (status == KEEP_OK && token_count < 0)
		status = kp_fail(err, KEEP_INVALID, "token_count: is below 0");
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_summary, &change, KP_NEWS_NONE,
					 err);
	if (status == KEEP_OK && context_version)
		*context_version = change.context_version;
	if (status == KEEP_OK && is_duplicate)
		*is_duplicate = change.is_duplicate;
	return status;
}

/* ---------------------------------------------------------------- a context */

struct gathering {
	keep_bytes conversation_id;
	int64_t budget; /* 0: none */
	int64_t after_seq, before_seq;
	bool is_at_end; /* there is no older message, or the next one does not fit */
	keep_conversation_message *newest_first;
	size_t room;
	kp_arena *memory;
	keep_context context; /* out */
};

/* Take so many tokens from the budget; false, and nothing is taken, when they are not left. Rows of
   other programs may say anything: less than nothing counts as nothing. */
static bool takes_tokens(struct gathering *gathering, int64_t tokens)
{
	keep_context *context = &gathering->context;

	if (tokens < 0)
		tokens = 0;
	if (gathering->budget && tokens > gathering->budget - context->tokens)
		return false;
	context->tokens =
		tokens > INT64_MAX - context->tokens ? INT64_MAX : context->tokens + tokens;
	return true;
}

static keep_status gather_summary(kp_lease *lease, struct gathering *gathering, keep_error *err)
{
	keep_context *context = &gathering->context;
	keep_remembered summary = {.id = 0};
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_ASSISTANT_LATEST_SUMMARY,
			     KP_VALUES(kp_text_value(gathering->conversation_id)),
			     &kp_remembered_record, gathering->memory, &summary, &found, err);

	if (status != KEEP_OK || !found)
		return status;
	gathering->after_seq = summary.to_seq;
	if (!takes_tokens(gathering, summary.token_count)) {
		context->is_complete = false;
		return KEEP_OK;
	}
	context->has_summary = true;
	context->summary = summary;
	return read_summary_text(&summary, gathering->memory, &context->summary_text, err);
}

static keep_status make_room(struct gathering *gathering, keep_error *err)
{
	size_t room = gathering->room ? gathering->room * 2 : FIRST_PORTION;
	keep_conversation_message *items = NULL;

	if (gathering->context.count < gathering->room)
		return KEEP_OK;
	items = kp_realloc(gathering->newest_first, room * sizeof *items);
	if (!items)
		return kp_fail_memory(err, "a context");
	gathering->newest_first = items;
	gathering->room = room;
	return KEEP_OK;
}

/* The row at which the statement stands: in, or the end. */
static keep_status gather_message(kp_sql_stmt *stmt, struct gathering *gathering, keep_error *err)
{
	keep_context *context = &gathering->context;
	keep_conversation_message message = {.id = 0};
	keep_status status = make_room(gathering, err);

	if (status == KEEP_OK)
		status = kp_record_read(stmt, 0, &kp_conversation_message_record, &message,
					gathering->memory, err);
	if (status != KEEP_OK)
		return status;
	if (context->count == KEEP_CONTEXT_MESSAGES_MAX ||
	    !takes_tokens(gathering, message.token_count)) {
		gathering->is_at_end = true;
		context->is_complete = false;
		return KEEP_OK;
	}
	gathering->newest_first[context->count++] = message;
	gathering->before_seq = message.seq;
	return KEEP_OK;
}

/* Invariant 3. */
static keep_status gather_portion(kp_lease *lease, struct gathering *gathering, int64_t portion,
				  keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	int64_t rows = 0;
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, KP_ASSISTANT_CONTEXT_MESSAGES,
			      KP_VALUES(kp_text_value(gathering->conversation_id),
					kp_int_value(gathering->after_seq),
					kp_int_value(gathering->before_seq), kp_int_value(portion)),
			      &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && !gathering->is_at_end) {
		rows++;
		status = gather_message(stmt, gathering, err);
		/* Not after the last one: that would look for what nobody wants. */
		if (status == KEEP_OK && !gathering->is_at_end)
			status = kp_sql_step(stmt, &has_row, err);
	}
	if (rows < portion)
		gathering->is_at_end = true;
	kp_sql_reset(stmt);
	return status;
}

static keep_status hand_out(struct gathering *gathering, keep_error *err)
{
	keep_context *context = &gathering->context;

	if (context->count)
		context->messages = kp_arena_alloc(gathering->memory,
						   context->count * sizeof *context->messages);
	if (context->count && !context->messages)
		return kp_fail_memory(err, "a context");
	for (size_t i = 0; i < context->count; i++)
		context->messages[i] = gathering->newest_first[context->count - 1 - i];
	return KEEP_OK;
}

static keep_status query_context(void *ctx, kp_lease *lease, keep_error *err)
{
	struct gathering *gathering = ctx;
	kp_arena arena = {.head = NULL};
	keep_conversation conversation = {.id = 0};
	keep_status status =
		kp_conversation_find(lease, gathering->conversation_id, &arena, &conversation, err);

	gathering->context = (keep_context){.is_complete = true};
	gathering->context.context_version = conversation.context_version;
	gathering->after_seq = 0;
	gathering->before_seq = INT64_MAX;
	gathering->is_at_end = false;
	if (status == KEEP_OK)
		status = gather_summary(lease, gathering, err);
	for (int64_t portion = FIRST_PORTION; status == KEEP_OK && !gathering->is_at_end;
	     portion = portion < PORTION_MAX ? portion * 2 : PORTION_MAX)
		status = gather_portion(lease, gathering, portion, err);
	if (status == KEEP_OK)
		status = hand_out(gathering, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_context(keep_assistant *assistant, keep_bytes conversation_id,
				   int64_t token_budget, keep_memory *memory, keep_context *out,
				   keep_error *err)
{
	struct gathering gathering = {
		.conversation_id = conversation_id, .budget = token_budget, .memory = memory};
	keep_status status = kp_check_key("conversation_id", conversation_id, err);

	if (status == KEEP_OK && token_budget < 0)
		status = kp_fail(err, KEEP_INVALID, "token_budget: is below 0");
	if (status == KEEP_OK)
		status = kp_store_read_whole(&assistant->store, query_context, &gathering, err);
	if (status == KEEP_OK)
		*out = gathering.context;
	kp_free(gathering.newest_first);
	return status;
}
