/*
 * conversations.c - conversations: found or begun, listed with their last message, deleted.
 *
 * A contact on a channel has any number of conversations; the newest by (updated_at, id) is the one
 * that goes on. Finding it and beginning another one is one writing transaction, and writers follow
 * each other, so whoever asks at once gets the same one.
 *
 * Invariants:
 *   1. A new conversation is its contact's newest, also when a clock went back: its updated_at is
 *      not before that of the newest one so far, and its id is larger.
 *   2. A list is one statement: of the page's conversations alone the last message is looked up, in
 *      the index of messages that are not internal; their number stands in the conversation.
 *   3. Deleting is one transaction: messages and memory go by the foreign keys' cascade, tasks keep
 *      a null, the words of the messages are forgotten first, and the audit log has an entry with
 *      the id and numbers, and no content. Nobody sees half of a conversation. What that costs
 *      other writers is the time for its messages: bench/bench_assistant.c tells it.
 *   4. Metadata is changed from what is stored, within one transaction, so that two callers who
 *      change different members both succeed.
 *
 * What it does not do: number messages (messages.c), or delete anything by itself.
 *
 * Tests: tests/contract/test_assistant_conversations.c, test_assistant_conversation_list.c.
 */
#include "assistant/assistant_private.h"

/* ---------------------------------------------------------------- finding */

static keep_status fail_not_found(keep_bytes conversation_id, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "conversation '%" KP_PRI "': there is none",
		       KP_ARG(conversation_id));
}

keep_status kp_conversation_find(kp_lease *lease, keep_bytes conversation_id, kp_arena *arena,
				 keep_conversation *out, keep_error *err)
{
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_CONVERSATION,
					  KP_VALUES(kp_text_value(conversation_id)),
					  &kp_conversation_record, arena, out, &found, err);

	return status == KEEP_OK && !found ? fail_not_found(conversation_id, err) : status;
}

keep_status keep_assistant_get_conversation(keep_assistant *assistant, keep_bytes conversation_id,
					    keep_memory *memory, keep_conversation *out,
					    keep_error *err)
{
	keep_conversation conversation = {.id = 0};
	bool found = false;
	keep_status status = kp_check_key("conversation_id", conversation_id, err);

	if (status == KEEP_OK)
		status = kp_store_get(&assistant->store, KP_ASSISTANT_GET_CONVERSATION,
				      KP_VALUES(kp_text_value(conversation_id)),
				      &kp_conversation_record, memory, &conversation, &found, err);
	if (status == KEEP_OK && !found)
		status = fail_not_found(conversation_id, err);
	if (status == KEEP_OK)
		*out = conversation;
	return status;
}

/* The newest one of a contact; of nobody in particular when `contact` is absent. */
static keep_status find_newest(kp_lease *lease, keep_bytes channel, keep_bytes contact,
			       kp_arena *arena, keep_conversation *out, bool *found,
			       keep_error *err)
{
	const kp_value values[] = {kp_text_value(channel), kp_text_value(contact)};

	return kp_lease_get(lease,
			    contact.data ? KP_ASSISTANT_NEWEST_CONVERSATION
					 : KP_ASSISTANT_NEWEST_CONVERSATION_OF_NOBODY,
			    values, contact.data ? 2 : 1, &kp_conversation_record, arena, out,
			    found, err);
}

/* ---------------------------------------------------------------- beginning */

struct beginning {
	keep_bytes conversation_id, channel, contact, metadata;
	char made_id[KP_UUID_TEXT_SIZE];
	int64_t idle_limit_ms;
	int64_t now_ms;
	kp_arena *memory;
	keep_conversation found; /* out */
	bool is_new;             /* out */
};

static keep_status check_beginning(const struct beginning *beginning, keep_error *err)
{
	keep_status status = kp_check_key("channel", beginning->channel, err);

	if (status == KEEP_OK && beginning->contact.data)
		status = kp_check_key("contact_identifier", beginning->contact, err);
	if (status == KEEP_OK && beginning->conversation_id.data)
		status = kp_check_key("conversation_id", beginning->conversation_id, err);
	if (status == KEEP_OK)
		status = kp_check_json("metadata", beginning->metadata, KP_JSON_OBJECT, err);
	if (status == KEEP_OK && beginning->idle_limit_ms < 0)
		status = kp_fail(err, KEEP_INVALID, "idle_limit_ms: is below 0");
	return status == KEEP_OK ? kp_check_time("now_ms", beginning->now_ms, err) : status;
}

/* Invariant 1. `newest` is the contact's newest one so far; its id is 0 when there is none. */
static keep_status begin_conversation(kp_lease *lease, struct beginning *beginning,
				      const keep_conversation *newest, keep_error *err)
{
	int64_t updated_at = beginning->now_ms;
	kp_sql_stmt *stmt = NULL;
	keep_status status;

	if (newest->id && newest->updated_at > updated_at)
		updated_at = newest->updated_at;
	status = kp_lease_bind(
		lease, KP_ASSISTANT_ADD_CONVERSATION,
		KP_VALUES(kp_text_value(beginning->conversation_id),
			  kp_text_value(beginning->channel), kp_text_value(beginning->contact),
			  kp_time_value(beginning->now_ms), kp_time_value(updated_at),
			  kp_json_value(beginning->metadata)),
		&stmt, err);
	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_conversation_record, &beginning->found,
					    beginning->memory, &beginning->is_new, err);
	return status;
}

/* Run one of the two applies below with an id for what may be begun. */
static keep_status change_beginning(keep_assistant *assistant, struct beginning *beginning,
				    kp_apply *apply, keep_conversation *out, bool *is_new,
				    keep_error *err)
{
	keep_status status = check_beginning(beginning, err);

	if (status == KEEP_OK && !beginning->conversation_id.data) {
		status = kp_uuid_make(beginning->made_id, err);
		beginning->conversation_id = keep_bytes_of(beginning->made_id);
	}
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply, beginning, KP_NEWS_NONE, err);
	if (status == KEEP_OK) {
		*out = beginning->found;
		if (is_new)
			*is_new = beginning->is_new;
	}
	return status;
}

static bool is_idle(const keep_conversation *conversation, const struct beginning *beginning)
{
	int64_t last_ms = conversation->has_last_message_at ? conversation->last_message_at
							    : conversation->created_at;

	return beginning->idle_limit_ms > 0 && last_ms < beginning->now_ms &&
	       beginning->now_ms - last_ms > beginning->idle_limit_ms;
}

static keep_status apply_find_or_create(void *ctx, kp_lease *lease, keep_error *err)
{
	struct beginning *beginning = ctx;
	keep_conversation newest = {.id = 0};
	bool found = false;
	keep_status status = find_newest(lease, beginning->channel, beginning->contact,
					 beginning->memory, &newest, &found, err);

	if (status == KEEP_OK && (!found || is_idle(&newest, beginning)))
		return begin_conversation(lease, beginning, &newest, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(
			lease, KP_ASSISTANT_TOUCH_CONVERSATION,
			KP_VALUES(kp_int_value(newest.id), kp_time_value(beginning->now_ms)), err);
	newest.last_accessed = beginning->now_ms;
	beginning->found = newest;
	beginning->is_new = false;
	return status;
}

keep_status keep_assistant_find_or_create(keep_assistant *assistant, keep_bytes channel,
					  keep_bytes contact, int64_t idle_limit_ms, int64_t now_ms,
					  keep_memory *memory, keep_conversation *out,
					  bool *created, keep_error *err)
{
	struct beginning beginning = {.channel = channel,
				      .contact = contact,
				      .idle_limit_ms = idle_limit_ms,
				      .now_ms = kp_assistant_now(now_ms),
				      .memory = memory};

	return change_beginning(assistant, &beginning, apply_find_or_create, out, created, err);
}

static keep_status apply_add(void *ctx, kp_lease *lease, keep_error *err)
{
	struct beginning *beginning = ctx;
	keep_conversation newest = {.id = 0};
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_CONVERSATION,
					  KP_VALUES(kp_text_value(beginning->conversation_id)),
					  &kp_conversation_record, beginning->memory,
					  &beginning->found, &found, err);

	beginning->is_new = false;
	if (status == KEEP_OK && found) {
		if (kp_bytes_equal(beginning->found.channel, beginning->channel) &&
		    kp_bytes_equal(beginning->found.contact_identifier, beginning->contact))
			return KEEP_OK;
		lease->unchanged = true;
		return kp_fail(err, KEEP_CONFLICT,
			       "conversation '%" KP_PRI "': it is there with another channel or "
			       "contact",
			       KP_ARG(beginning->conversation_id));
	}
	if (status == KEEP_OK)
		status = find_newest(lease, beginning->channel, beginning->contact,
				     beginning->memory, &newest, &found, err);
	return status == KEEP_OK ? begin_conversation(lease, beginning, &newest, err) : status;
}

keep_status keep_assistant_add_conversation(keep_assistant *assistant,
					    const keep_conversation *conversation, int64_t now_ms,
					    keep_memory *memory, keep_conversation *out,
					    bool *inserted, keep_error *err)
{
	struct beginning beginning = {.conversation_id = conversation->conversation_id,
				      .channel = conversation->channel,
				      .contact = conversation->contact_identifier,
				      .metadata = conversation->metadata,
				      .now_ms = kp_assistant_now(now_ms),
				      .memory = memory};

	return change_beginning(assistant, &beginning, apply_add, out, inserted, err);
}

/* ---------------------------------------------------------------- metadata */

struct metadata_change {
	keep_bytes conversation_id;
	const kp_json *patch; /* an object */
	kp_arena *memory;
	keep_conversation found; /* out */
};

static const kp_json *find_member(const kp_json *object, keep_bytes name)
{
	for (size_t i = 0; object->kind == KP_JSON_OBJECT && i < object->list.count; i++)
		if (kp_bytes_equal(object->list.items[i].name, name))
			return &object->list.items[i];
	return NULL;
}

/* RFC 7386, one level: members that are there keep their place, new ones stand at the end. What is
   stored and no object counts as an empty one. */
static keep_status merge_metadata(const kp_json *old, const kp_json *patch, keep_buffer *out,
				  keep_error *err)
{
	kp_json_writer writer;

	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	for (size_t i = 0; old->kind == KP_JSON_OBJECT && i < old->list.count; i++) {
		const kp_json *member = &old->list.items[i];
		const kp_json *change = find_member(patch, member->name);

		if (change && change->kind == KP_JSON_NULL)
			continue;
		kp_json_name_bytes(&writer, member->name);
		kp_json_put_raw(&writer, change ? change->raw : member->raw);
	}
	for (size_t i = 0; i < patch->list.count; i++) {
		const kp_json *change = &patch->list.items[i];

		if (change->kind == KP_JSON_NULL || find_member(old, change->name))
			continue;
		kp_json_name_bytes(&writer, change->name);
		kp_json_put_raw(&writer, change->raw);
	}
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

/* Invariant 4. */
static keep_status apply_metadata(void *ctx, kp_lease *lease, keep_error *err)
{
	struct metadata_change *change = ctx;
	kp_arena arena = {.head = NULL};
	keep_buffer merged = KEEP_BUFFER_INIT;
	const kp_json *old = NULL;
	keep_status status = kp_conversation_find(lease, change->conversation_id, change->memory,
						  &change->found, err);

	lease->unchanged = status == KEEP_NOT_FOUND;
	if (status == KEEP_OK)
		status = kp_json_parse(kp_text_or(change->found.metadata, "{}"), &arena, &old, err);
	if (status == KEEP_OK)
		status = merge_metadata(old, change->patch, &merged, err);
	if (status == KEEP_OK)
		status = kp_check_content("metadata", kp_buffer_bytes(&merged), err);
	if (status == KEEP_OK)
		status = kp_arena_copy(change->memory, kp_buffer_bytes(&merged),
				       &change->found.metadata, err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_SET_CONVERSATION_METADATA,
				      KP_VALUES(kp_int_value(change->found.id),
						kp_json_value(change->found.metadata)),
				      NULL, err);
	keep_buffer_release(&merged);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_update_metadata(keep_assistant *assistant, keep_bytes conversation_id,
					   keep_bytes changes, keep_memory *memory,
					   keep_conversation *out, keep_error *err)
{
	struct metadata_change change = {.conversation_id = conversation_id, .memory = memory};
	kp_arena arena = {.head = NULL};
	keep_status status = kp_check_key("conversation_id", conversation_id, err);

	if (status == KEEP_OK && !changes.data)
		status = kp_fail(err, KEEP_INVALID, "changes: is missing");
	if (status == KEEP_OK)
		status = kp_check_json("changes", changes, KP_JSON_OBJECT, err);
	if (status == KEEP_OK)
		status = kp_json_parse(changes, &arena, &change.patch, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_metadata, &change, KP_NEWS_NONE,
					 err);
	if (status == KEEP_OK)
		*out = change.found;
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- listing */

struct listing {
	size_t statement;
	kp_value values[5];
	size_t value_count;
	int64_t limit;
	kp_arena *memory;
	keep_conversation_views views; /* out */
};

/* A row: the conversation, the id of its last message, that message or nulls. */
static keep_status read_view(kp_sql_stmt *stmt, kp_arena *arena, keep_conversation_view *view,
			     keep_error *err)
{
	int columns = kp_conversation_record.field_count;
	kp_value last = {.is_null = true};
	keep_status status =
		kp_record_read(stmt, 0, &kp_conversation_record, &view->conversation, arena, err);

	if (status == KEEP_OK)
		status = kp_sql_column(stmt, columns, KP_INT, &last, err);
	view->has_last = !last.is_null;
	memset(&view->last, 0, sizeof view->last);
	if (status == KEEP_OK && view->has_last)
		status = kp_record_read(stmt, columns + 1, &kp_conversation_message_record,
					&view->last, arena, err);
	return status;
}

/* Invariant 2. One row more than wanted is asked for: it says that there is more. */
static keep_status query_listing(void *ctx, kp_lease *lease, keep_error *err)
{
	struct listing *listing = ctx;
	keep_conversation_views *views = &listing->views;
	size_t room = (size_t)listing->limit;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status;

	*views = (keep_conversation_views){.count = 0};
	views->items = kp_arena_alloc(listing->memory, room * sizeof *views->items);
	if (!views->items)
		return kp_fail_memory(err, "a list of conversations");
	status = kp_lease_bind(lease, listing->statement, listing->values, listing->value_count,
			       &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && views->count < room) {
		status = read_view(stmt, listing->memory, &views->items[views->count], err);
		views->count++;
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	views->has_more = has_row;
	kp_sql_reset(stmt);
	return status;
}

static keep_status read_filter(const keep_conversation_filter *filter, struct listing *listing,
			       keep_error *err)
{
	static const keep_conversation_filter all = {.before_id = 0};
	const keep_conversation_filter *by = filter ? filter : &all;
	bool is_first = by->before_updated_at == 0;
	keep_status status = KEEP_OK;

	if (by->channel.data)
		status = kp_check_key("channel", by->channel, err);
	if (status == KEEP_OK && by->contact.data && !by->channel.data)
		status = kp_fail(err, KEEP_INVALID, "contact: a channel is needed with it");
	if (status == KEEP_OK && by->contact.data)
		status = kp_check_key("contact", by->contact, err);
	if (status == KEEP_OK)
		status = kp_check_time("before_updated_at", by->before_updated_at, err);
	listing->values[0] = kp_time_value(is_first ? KEEP_TIME_MAX : by->before_updated_at);
	listing->values[1] = kp_int_value(is_first ? INT64_MAX : by->before_id);
	listing->value_count = 2;
	listing->statement = KP_ASSISTANT_LIST_CONVERSATIONS;
	if (by->channel.data) {
		listing->statement = KP_ASSISTANT_LIST_CONVERSATIONS_ON;
		listing->values[listing->value_count++] = kp_text_value(by->channel);
	}
	if (by->contact.data) {
		listing->statement = KP_ASSISTANT_LIST_CONVERSATIONS_WITH;
		listing->values[listing->value_count++] = kp_text_value(by->contact);
	}
	return status;
}

keep_status keep_assistant_list_conversations(keep_assistant *assistant,
					      const keep_conversation_filter *filter, size_t limit,
					      keep_memory *memory, keep_conversation_views *out,
					      keep_error *err)
{
	struct listing listing = {.memory = memory};
	keep_status status = read_filter(filter, &listing, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 20, KEEP_ASSISTANT_LIST_MAX, &listing.limit, err);
	listing.values[listing.value_count++] = kp_int_value(listing.limit + 1);
	if (status == KEEP_OK)
		status = kp_store_read(&assistant->store, query_listing, &listing, err);
	if (status == KEEP_OK)
		*out = listing.views;
	return status;
}

/* ---------------------------------------------------------------- deleting */

struct deletion {
	keep_bytes conversation_id;
	const keep_actor *actor;
};

static keep_status note_deletion(kp_lease *lease, const struct deletion *deletion,
				 const keep_conversation *conversation, keep_error *err)
{
	keep_actor actor = deletion->actor ? *deletion->actor : (keep_actor){.user_id = {NULL, 0}};
	kp_audit_note note = {
		.event_type = "conversation_change", .action = "delete", .actor = &actor};
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	/* The entry is found under what it is about; where the wish came from is told beside it. */
	actor.conversation_id = deletion->conversation_id;
	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "channel");
	kp_json_put_text(&writer, conversation->channel);
	kp_json_name(&writer, "messages");
	kp_json_put_integer(&writer, conversation->last_seq);
	if (deletion->actor && deletion->actor->conversation_id.data) {
		kp_json_name(&writer, "asked_in");
		kp_json_put_text(&writer, deletion->actor->conversation_id);
	}
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

/* Invariant 3. */
static keep_status apply_deletion(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct deletion *deletion = ctx;
	kp_arena arena = {.head = NULL};
	keep_conversation conversation = {.id = 0};
	keep_status status =
		kp_conversation_find(lease, deletion->conversation_id, &arena, &conversation, err);

	lease->unchanged = status == KEEP_NOT_FOUND;
	if (status == KEEP_OK)
		status = kp_message_index_forget(lease, deletion->conversation_id, err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_DELETE_CONVERSATION,
				      KP_VALUES(kp_text_value(deletion->conversation_id)), NULL,
				      err);
	if (status == KEEP_OK)
		status = note_deletion(lease, deletion, &conversation, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_delete_conversation(keep_assistant *assistant,
					       keep_bytes conversation_id, const keep_actor *actor,
					       keep_error *err)
{
	struct deletion deletion = {conversation_id, actor};
	keep_status status = kp_check_key("conversation_id", conversation_id, err);

	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_deletion, &deletion, KP_NEWS_NONE,
					 err);
	return status;
}
