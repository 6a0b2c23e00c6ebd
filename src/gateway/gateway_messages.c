/*
 * gateway_messages.c - messages: storing them with their chats, and reading them back.
 *
 * Invariants:
 *   1. A message's number is its chat's last_seq plus one, read and written in one transaction, of
 *      which a store runs one at a time (gateway.c). So numbers have no duplicates, and a reader
 * who has seen number n has missed none below it.
 *   2. A message is stored and its chat renewed together or not at all; both once, however often it
 *      is put.
 *   3. Nothing that a timestamp says moves a cursor or an order. One far in the future is kept,
 *      flagged, and does not become a chat's last_message_at.
 *   4. A cursor's pending_since is set if and only if its chat has input beyond it.
 *
 * What it does not do: store many at once (gateway_batch.c), read for consumers
 * (gateway_consumers.c), deliver (gateway_deliveries.c).
 *
 * Tests: tests/contract/test_gateway_messages.c, tests/torture/test_gateway_deliveries_faults.c.
 */
#include "gateway/gateway_private.h"

#include <string.h>

/* ---------------------------------------------------------------- what is taken */

/* Everything but the content. */
static keep_status check_texts(const keep_message *message, keep_error *err)
{
	const struct {
		const char *what;
		keep_bytes text;
	} texts[] = {
		{"sender", message->sender},
		{"verb", message->verb},
		{"source", message->source},
		{"sender_name", message->sender_name},
		{"topic", message->topic},
		{"reply_to_id", message->reply_to_id},
		{"forwarded_from", message->forwarded_from},
		{"turn_id", message->turn_id},
		{"return_to", message->return_to},
	};
	keep_status status = kp_check_key("chat_jid", message->chat_jid, err);

	if (status == KEEP_OK)
		status = kp_check_key("id", message->id, err);
	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++)
		status = kp_check_text(texts[i].what, texts[i].text, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	return status;
}

keep_status kp_message_check(const keep_message *message, keep_error *err)
{
	keep_status status = check_texts(message, err);

	if (status == KEEP_OK && !message->content.data)
		status = kp_fail(err, KEEP_INVALID, "content: is missing");
	if (status == KEEP_OK)
		status = kp_check_content("content", message->content, err);
	if (status == KEEP_OK)
		status = kp_check_json("attachments", message->attachments, KP_JSON_NULL, err);
	if (status == KEEP_OK)
		status = kp_check_time("timestamp", message->timestamp, err);
	return status;
}

static keep_status check_chat(const keep_chat *chat, keep_error *err)
{
	keep_status status =
		kp_check_text("name", chat->name, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT, err);

	if (status == KEEP_OK)
		status = kp_check_text("channel", chat->channel, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	return status;
}

keep_message kp_message_complete(const keep_message *given, int64_t now_ms)
{
	keep_message message = {
		.chat_jid = given->chat_jid,
		.id = given->id,
		.sender = kp_text_or(given->sender, ""),
		.content = given->content,
		.timestamp = given->timestamp ? given->timestamp : now_ms,
		.verb = kp_text_or(given->verb, "message"),
		.source = given->source.data ? given->source : kp_channel_of(given->chat_jid),
		.group_folder = KEEP_BYTES(""),
		.sender_name = kp_text_or(given->sender_name, ""),
		.topic = kp_text_or(given->topic, ""),
		.reply_to_id = given->reply_to_id,
		.forwarded_from = given->forwarded_from,
		.attachments = given->attachments,
		.received_at = now_ms,
		.status = KEEP_BYTES(KEEP_MESSAGE_STATUS_RECEIVED),
	};

	message.is_future = message.timestamp > now_ms + KEEP_GATEWAY_FUTURE_MS;
	return message;
}

keep_message kp_message_inbound(keep_bytes jid, keep_bytes id, keep_bytes sender,
				keep_bytes content, int64_t now_ms)
{
	keep_message given = {.chat_jid = jid, .id = id, .sender = sender, .content = content};

	return kp_message_complete(&given, now_ms);
}

/* ---------------------------------------------------------------- storing one */

/* What probe_message tells of the chat, then of a message with the same key. */
enum { PROBE_CHAT = 0, PROBE_MESSAGE = 3 };

int kp_message_column(const char *name)
{
	int column = 0;

	while (strcmp(kp_message_record.fields[column].name, name) != 0)
		column++;
	return column;
}

bool kp_message_is_same(const keep_message *stored, const keep_message *given, bool has_timestamp)
{
	bool same = kp_bytes_equal(stored->sender, given->sender) &&
		    kp_bytes_equal(stored->content, given->content) &&
		    kp_bytes_equal(stored->verb, given->verb) &&
		    kp_bytes_equal(stored->topic, given->topic) &&
		    kp_bytes_equal(stored->reply_to_id, given->reply_to_id) &&
		    kp_bytes_equal(stored->forwarded_from, given->forwarded_from) &&
		    kp_bytes_equal(stored->attachments, given->attachments) &&
		    stored->is_from_me == given->is_from_me;

	if (same && has_timestamp)
		same = stored->timestamp == given->timestamp;
	/* A turn may be noted on an inbound message later on; what an agent says has it at once. */
	if (same && given->is_from_me)
		same = kp_bytes_equal(stored->group_folder, given->group_folder) &&
		       kp_bytes_equal(stored->turn_id, given->turn_id);
	return same;
}

/* The columns after messages.seq, borrowed from the statement. */
static keep_status read_stored(kp_sql_stmt *stmt, keep_message *stored, keep_error *err)
{
	keep_bytes *const texts[] = {
		&stored->sender,       &stored->content,     &stored->verb,
		&stored->topic,        &stored->reply_to_id, &stored->forwarded_from,
		&stored->group_folder, &stored->turn_id,
	};
	int column = PROBE_MESSAGE + 1;
	kp_value value;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++) {
		status = kp_sql_column(stmt, column++, KP_TEXT, &value, err);
		if (status == KEEP_OK && !value.is_null)
			*texts[i] = value.bytes;
	}
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, column++, KP_JSON, &value, err);
	if (status == KEEP_OK && !value.is_null)
		stored->attachments = value.bytes;
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, column++, KP_TIME, &value, err);
	if (status == KEEP_OK)
		stored->timestamp = value.integer;
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, column, KP_BOOL, &value, err);
	if (status == KEEP_OK)
		stored->is_from_me = value.integer != 0;
	return status;
}

keep_status kp_message_probe(kp_sql_stmt *stmt, const keep_message *message, bool has_timestamp,
			     kp_chat_state *chat, bool *stored, keep_put_result *result,
			     keep_error *err)
{
	keep_message found = {0};
	kp_value values[PROBE_MESSAGE + 1];
	keep_status status = KEEP_OK;

	*stored = false;
	for (int i = 0; i <= PROBE_MESSAGE && status == KEEP_OK; i++)
		status = kp_sql_column(stmt, i, i == 2 ? KP_TIME : KP_INT, &values[i], err);
	if (status != KEEP_OK)
		return status;
	*chat = (kp_chat_state){.jid = message->chat_jid,
				.exists = !values[PROBE_CHAT].is_null,
				.last_message_at = kp_null_value(KP_TIME),
				.now_ms = message->received_at};
	if (chat->exists) {
		chat->last_seq = values[PROBE_CHAT].integer;
		chat->last_input_seq = values[PROBE_CHAT + 1].integer;
		chat->last_message_at = values[PROBE_CHAT + 2];
	}
	if (values[PROBE_MESSAGE].is_null)
		return KEEP_OK;
	status = read_stored(stmt, &found, err);
	if (status != KEEP_OK)
		return status;
	*stored = true;
	result->seq = values[PROBE_MESSAGE].integer;
	result->put = kp_message_is_same(&found, message, has_timestamp) ? KEEP_PUT_DUPLICATE
									 : KEEP_PUT_CONFLICT;
	return KEEP_OK;
}

keep_status kp_message_add(kp_lease *lease, keep_message *message, kp_chat_state *chat,
			   keep_error *err)
{
	bool is_delivery = message->is_from_me && message->has_next_attempt_at;
	kp_sql_stmt *stmt = NULL;
	keep_status status;

	message->seq = ++chat->last_seq;
	chat->has_news = true;
	if (!message->is_from_me) {
		chat->last_input_seq = message->seq;
		chat->has_input = true;
	}
	if (!message->is_future &&
	    (chat->last_message_at.is_null || chat->last_message_at.integer < message->timestamp))
		chat->last_message_at = kp_time_value(message->timestamp);
	status = kp_lease_statement(lease, KP_GATEWAY_INSERT_MESSAGE, &stmt, err);
	if (status != KEEP_OK)
		return status;
	status = kp_record_bind(stmt, 1, &kp_message_record, message, err);
	if (status == KEEP_OK)
		status = kp_sql_queue(stmt, err);
	else
		kp_sql_reset(stmt);
	if (status != KEEP_OK || !is_delivery)
		return status;
	return kp_lease_queue(lease, KP_GATEWAY_QUEUE_DELIVERY,
			      KP_VALUES(kp_text_value(message->chat_jid),
					kp_text_value(message->source),
					kp_time_value(message->next_attempt_at)),
			      err);
}

keep_status kp_message_save_chat(kp_lease *lease, const kp_chat_state *state,
				 const keep_chat *given, keep_error *err)
{
	kp_value jid = kp_text_value(state->jid), now = kp_time_value(state->now_ms);
	kp_value is_group = given ? kp_bool_value(given->is_group) : kp_null_value(KP_BOOL);
	keep_status status = kp_lease_queue(
		lease, KP_GATEWAY_SAVE_CHAT,
		KP_VALUES(jid, kp_text_value(given ? given->name : (keep_bytes){0}),
			  kp_text_value(given ? given->channel : (keep_bytes){0}), is_group,
			  kp_int_value(state->last_seq), kp_int_value(state->last_input_seq),
			  state->last_message_at, kp_text_value(kp_channel_of(state->jid))),
		err);

	if (status != KEEP_OK)
		return status;
	/* Invariant 4. */
	if (!state->exists)
		return kp_lease_queue(
			lease, KP_GATEWAY_ADD_CURSORS,
			KP_VALUES(jid, now, state->has_input ? now : kp_null_value(KP_TIME)), err);
	if (state->has_input)
		return kp_lease_queue(lease, KP_GATEWAY_MARK_PENDING, KP_VALUES(jid, now), err);
	return KEEP_OK;
}

keep_status kp_message_put(kp_lease *lease, keep_message *message, const keep_chat *chat,
			   bool has_timestamp, keep_put_result *result, keep_error *err)
{
	kp_chat_state state;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false, stored = false;
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_PROBE_MESSAGE,
		KP_VALUES(kp_text_value(message->chat_jid), kp_text_value(message->id)), &stmt,
		err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK)
		status = kp_message_probe(stmt, message, has_timestamp, &state, &stored, result,
					  err);
	kp_sql_reset(stmt);
	if (status != KEEP_OK || stored)
		return status;
	status = kp_message_add(lease, message, &state, err);
	*result = (keep_put_result){KEEP_PUT_INSERTED, message->seq};
	if (status == KEEP_OK)
		status = kp_message_save_chat(lease, &state, chat, err);
	return status;
}

/* ---------------------------------------------------------------- the public ways in */

struct put {
	keep_message message;
	const keep_chat *chat;
	bool has_timestamp;
	keep_put_result result;
};

static keep_status apply_put(void *ctx, kp_lease *lease, keep_error *err)
{
	struct put *put = ctx;
	const keep_message *message = &put->message;
	keep_status status = kp_message_put(lease, &put->message, put->chat, put->has_timestamp,
					    &put->result, err);

	if (status != KEEP_OK || put->result.put != KEEP_PUT_DUPLICATE || !message->return_to.data)
		return status;
	return kp_lease_queue(lease, KP_GATEWAY_RENEW_RETURN,
			      KP_VALUES(kp_text_value(message->chat_jid),
					kp_text_value(message->id),
					kp_text_value(message->return_to)),
			      err);
}

static keep_status tell_conflict(const keep_message *message, keep_error *err)
{
	return kp_fail(err, KEEP_CONFLICT,
		       "message '%" KP_PRI "' of chat '%" KP_PRI
		       "': conflict: another one is stored under this id",
		       KP_ARG(message->id), KP_ARG(message->chat_jid));
}

static keep_status put_one(keep_gateway *gateway, struct put *put, unsigned news,
			   keep_put_result *result, keep_error *err)
{
	keep_status status = kp_gateway_change(gateway, apply_put, put, news, err);

	if (status != KEEP_OK)
		return status;
	if (result)
		*result = put->result;
	return put->result.put == KEEP_PUT_CONFLICT ? tell_conflict(&put->message, err) : KEEP_OK;
}

keep_status keep_gateway_put_message(keep_gateway *gateway, const keep_message *message,
				     const keep_chat *chat, keep_put_result *result,
				     keep_error *err)
{
	struct put put = {.chat = chat, .has_timestamp = message->timestamp != 0};
	keep_status status = kp_message_check(message, err);

	if (status == KEEP_OK && chat)
		status = check_chat(chat, err);
	if (status != KEEP_OK)
		return status;
	put.message = kp_message_complete(message, kp_clock_ms());
	return put_one(gateway, &put, KP_NEWS_INPUT, result, err);
}

keep_status keep_gateway_put_outbound(keep_gateway *gateway, const keep_message *message,
				      keep_put_result *result, char id_out[37], keep_error *err)
{
	struct put put = {.has_timestamp = message->timestamp != 0};
	keep_message given = *message;
	char id[KP_UUID_TEXT_SIZE];
	keep_status status = KEEP_OK;

	if (!given.id.data) {
		status = kp_uuid_make(id, err);
		given.id = keep_bytes_of(id);
	}
	if (status == KEEP_OK)
		status = kp_message_check(&given, err);
	if (status == KEEP_OK && given.group_folder.len)
		status = kp_check_folder("group_folder", given.group_folder, err);
	if (status != KEEP_OK)
		return status;
	put.message = kp_message_complete(&given, kp_clock_ms());
	put.message.is_from_me = true;
	put.message.group_folder = kp_text_or(given.group_folder, "");
	put.message.turn_id = given.turn_id;
	put.message.return_to = given.return_to;
	put.message.status = KEEP_BYTES(KEEP_MESSAGE_STATUS_PENDING);
	put.message.next_attempt_at = put.message.received_at;
	put.message.has_next_attempt_at = true;
	status = put_one(gateway, &put, KP_NEWS_DELIVERY, result, err);
	if (status == KEEP_OK && id_out && !message->id.data)
		memcpy(id_out, id, sizeof id);
	return status;
}

/* ---------------------------------------------------------------- reading */

keep_status keep_gateway_get_message(keep_gateway *gateway, keep_bytes jid, keep_bytes id,
				     keep_memory *memory, keep_message *out, keep_error *err)
{
	static const size_t statements[] = {KP_GATEWAY_GET_MESSAGE,
					    KP_GATEWAY_GET_MESSAGE_BY_PLATFORM_ID};
	keep_status status = kp_check_key("chat_jid", jid, err);
	bool found = false;

	if (status == KEEP_OK)
		status = kp_check_key("id", id, err);
	for (size_t i = 0; i < KP_COUNT(statements) && status == KEEP_OK && !found; i++)
		status = kp_gateway_get(gateway, statements[i],
					KP_VALUES(kp_text_value(jid), kp_text_value(id)),
					&kp_message_record, memory, out, &found, err);
	if (status == KEEP_OK && !found)
		return kp_fail(err, KEEP_NOT_FOUND,
			       "chat '%" KP_PRI "' has no message '%" KP_PRI "'", KP_ARG(jid),
			       KP_ARG(id));
	return status;
}

keep_status keep_gateway_messages_since(keep_gateway *gateway, keep_bytes jid, int64_t after_seq,
					int64_t since_ms, size_t limit, keep_memory *memory,
					keep_message_list *out, keep_error *err)
{
	size_t statement =
		since_ms ? KP_GATEWAY_MESSAGES_AFTER_TIME : KP_GATEWAY_MESSAGES_AFTER_SEQ;
	int64_t rows = 0;
	keep_status status = kp_check_key("chat_jid", jid, err);

	if (status == KEEP_OK)
		status = kp_check_time("since", since_ms, err);
	if (status == KEEP_OK)
		status = kp_check_limit(limit, 100, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status != KEEP_OK)
		return status;
	const kp_value values[] = {kp_text_value(jid), kp_int_value(after_seq), kp_int_value(rows),
				   kp_time_value(since_ms)};

	return kp_gateway_list(gateway, statement, values, since_ms ? 4 : 3, &kp_message_record,
			       memory, &out->items, &out->count, err);
}

keep_status keep_gateway_history(keep_gateway *gateway, keep_bytes jid, int64_t before_seq,
				 size_t limit, keep_memory *memory, keep_message_list *out,
				 keep_error *err)
{
	int64_t rows = 0;
	keep_status status = kp_check_key("chat_jid", jid, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 50, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_list(gateway, KP_GATEWAY_HISTORY,
			       KP_VALUES(kp_text_value(jid),
					 kp_int_value(before_seq > 0 ? before_seq : INT64_MAX),
					 kp_int_value(rows)),
			       &kp_message_record, memory, &out->items, &out->count, err);
}
