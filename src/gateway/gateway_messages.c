/*
 * gateway_messages.c - messages: storing them with their chats, and reading them back.
 *
 * Invariants:
 *   1. A message's number is its chat's last_seq plus one, read and written in one transaction, of
 *      which a store runs one at a time (gateway.c). So numbers have no duplicates, and a reader who
 *      has seen number n has missed none below it.
 *   2. A message is stored and its chat renewed together or not at all; both once, however often it
 *      is put.
 *   3. Nothing that a timestamp says moves a cursor or an order. One far in the future is kept,
 *      flagged, and does not become a chat's last_message_at.
 *   4. A cursor's pending_since is set if and only if its chat has input beyond it.
 *
 * What it does not do: read for consumers (gateway_consumers.c), deliver (gateway_deliveries.c).
 *
 * Tests: tests/contract/test_gateway_messages.c.
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
	};
	keep_status status = kp_check_key("chat_jid", message->chat_jid, err);

	if (status == KEEP_OK)
		status = kp_check_key("id", message->id, err);
	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++)
		status = kp_check_text(texts[i].what, texts[i].text, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	return status;
}

static keep_status check_message(const keep_message *message, keep_error *err)
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
	keep_status status = kp_check_text("name", chat->name, KEEP_GATEWAY_TEXT_MAX,
					   KP_MAY_BE_ABSENT, err);

	if (status == KEEP_OK)
		status = kp_check_text("channel", chat->channel, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	return status;
}

/* "telegram" of "telegram:42"; empty without a colon. */
static keep_bytes channel_of(keep_bytes jid)
{
	const char *colon = memchr(jid.data, ':', jid.len);

	return colon ? (keep_bytes){jid.data, (size_t)(colon - jid.data)} : KEEP_BYTES("");
}

/* Everything that is the store's to say of an inbound message, and the defaults. */
static keep_message complete_inbound(const keep_message *given, int64_t now_ms)
{
	keep_message message = {
		.chat_jid = given->chat_jid,
		.id = given->id,
		.sender = kp_text_or(given->sender, ""),
		.content = given->content,
		.timestamp = given->timestamp ? given->timestamp : now_ms,
		.verb = kp_text_or(given->verb, "message"),
		.source = given->source.data ? given->source : channel_of(given->chat_jid),
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

	return complete_inbound(&given, now_ms);
}

/* ---------------------------------------------------------------- storing one */

/* What stands in the store before a put. */
struct standing {
	bool has_chat, has_message;
	int64_t last_seq, last_input_seq, seq;
	kp_value last_message_at;
	bool is_same;
};

enum { PROBE_CHAT = 0, PROBE_MESSAGE = 3, PROBE_TEXTS = 4 };

/* The stored columns after messages.seq, compared with those of the message. */
static keep_status compare_stored(kp_sql_stmt *stmt, const keep_message *message,
				  bool has_timestamp, bool *same, keep_error *err)
{
	const kp_value wanted[] = {
		kp_text_value(message->sender),      kp_text_value(message->content),
		kp_time_value(message->timestamp),   kp_text_value(message->verb),
		kp_text_value(message->topic),       kp_text_value(message->reply_to_id),
		kp_text_value(message->forwarded_from), kp_json_value(message->attachments),
		kp_bool_value(message->is_from_me),
	};

	*same = true;
	for (size_t i = 0; i < KP_COUNT(wanted); i++) {
		kp_value stored;
		keep_status status = kp_sql_column(stmt, PROBE_TEXTS + (int)i, wanted[i].kind,
						   &stored, err);

		if (status != KEEP_OK)
			return status;
		if (wanted[i].kind == KP_TIME && !has_timestamp)
			continue;
		if (stored.is_null || wanted[i].is_null)
			*same &= stored.is_null == wanted[i].is_null;
		else if (stored.kind == KP_TIME || stored.kind == KP_BOOL)
			*same &= stored.integer == wanted[i].integer;
		else
			*same &= kp_bytes_equal(stored.bytes, wanted[i].bytes);
	}
	return KEEP_OK;
}

static keep_status read_standing(kp_sql_stmt *stmt, const keep_message *message, bool has_timestamp,
				 struct standing *standing, keep_error *err)
{
	kp_value values[4];
	bool has_row = false;
	keep_status status = kp_sql_step(stmt, &has_row, err);

	*standing = (struct standing){.last_message_at = kp_null_value(KP_TIME)};
	for (int i = 0; i < 4 && status == KEEP_OK && has_row; i++)
		status = kp_sql_column(stmt, i, i == 2 ? KP_TIME : KP_INT, &values[i], err);
	if (status != KEEP_OK || !has_row)
		return status;
	standing->has_chat = !values[PROBE_CHAT].is_null;
	standing->has_message = !values[PROBE_MESSAGE].is_null;
	if (standing->has_chat) {
		standing->last_seq = values[0].integer;
		standing->last_input_seq = values[1].integer;
		standing->last_message_at = values[2];
	}
	if (!standing->has_message)
		return KEEP_OK;
	standing->seq = values[PROBE_MESSAGE].integer;
	return compare_stored(stmt, message, has_timestamp, &standing->is_same, err);
}

static keep_status renew_chat(kp_lease *lease, const keep_message *message, const keep_chat *chat,
			      const struct standing *standing, keep_error *err)
{
	kp_value newest = standing->last_message_at;
	kp_value is_group = kp_null_value(KP_BOOL);
	bool is_input = !message->is_from_me;

	if (!message->is_future && (newest.is_null || newest.integer < message->timestamp))
		newest = kp_time_value(message->timestamp);
	if (chat)
		is_group = kp_bool_value(chat->is_group);
	return kp_lease_queue(
		lease, KP_GATEWAY_SAVE_CHAT,
		KP_VALUES(kp_text_value(message->chat_jid),
			  kp_text_value(chat ? chat->name : (keep_bytes){0}),
			  kp_text_value(chat ? chat->channel : (keep_bytes){0}), is_group,
			  kp_int_value(message->seq),
			  kp_int_value(is_input ? message->seq : standing->last_input_seq), newest,
			  kp_text_value(channel_of(message->chat_jid))),
		err);
}

/* Invariant 4. */
static keep_status move_cursors(kp_lease *lease, const keep_message *message,
				const struct standing *standing, keep_error *err)
{
	kp_value jid = kp_text_value(message->chat_jid);
	kp_value now = kp_time_value(message->received_at);
	bool is_input = !message->is_from_me;

	if (!standing->has_chat)
		return kp_lease_queue(
			lease, KP_GATEWAY_ADD_CURSORS,
			KP_VALUES(jid, now, is_input ? now : kp_null_value(KP_TIME)), err);
	if (!is_input)
		return KEEP_OK;
	return kp_lease_queue(lease, KP_GATEWAY_MARK_PENDING, KP_VALUES(jid, now), err);
}

keep_status kp_message_put(kp_lease *lease, keep_message *message, const keep_chat *chat,
			   bool has_timestamp, keep_put_result *result, keep_error *err)
{
	struct standing standing;
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_PROBE_MESSAGE,
		KP_VALUES(kp_text_value(message->chat_jid), kp_text_value(message->id)), &stmt,
		err);

	if (status == KEEP_OK)
		status = read_standing(stmt, message, has_timestamp, &standing, err);
	kp_sql_reset(stmt);
	if (status != KEEP_OK)
		return status;
	if (standing.has_message) {
		*result = (keep_put_result){standing.is_same ? KEEP_PUT_DUPLICATE
							     : KEEP_PUT_CONFLICT,
					    standing.seq};
		return KEEP_OK;
	}
	message->seq = standing.last_seq + 1;
	*result = (keep_put_result){KEEP_PUT_INSERTED, message->seq};
	status = kp_lease_statement(lease, KP_GATEWAY_INSERT_MESSAGE, &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_message_record, message, err);
	if (status == KEEP_OK)
		status = kp_sql_queue(stmt, err);
	else
		kp_sql_reset(stmt);
	if (status == KEEP_OK)
		status = renew_chat(lease, message, chat, &standing, err);
	if (status == KEEP_OK)
		status = move_cursors(lease, message, &standing, err);
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

	return kp_message_put(lease, &put->message, put->chat, put->has_timestamp, &put->result,
			      err);
}

static keep_status tell_conflict(const keep_message *message, keep_error *err)
{
	return kp_fail(err, KEEP_CONFLICT,
		       "message '%" KP_PRI "' of chat '%" KP_PRI
		       "': conflict: another one is stored under this id",
		       KP_ARG(message->id), KP_ARG(message->chat_jid));
}

keep_status keep_gateway_put_message(keep_gateway *gateway, const keep_message *message,
				     const keep_chat *chat, keep_put_result *result,
				     keep_error *err)
{
	struct put put = {.chat = chat, .has_timestamp = message->timestamp != 0};
	keep_status status = check_message(message, err);

	if (status == KEEP_OK && chat)
		status = check_chat(chat, err);
	if (status != KEEP_OK)
		return status;
	put.message = complete_inbound(message, kp_clock_ms());
	status = kp_gateway_change(gateway, apply_put, &put, KP_NEWS_INPUT, err);
	if (status != KEEP_OK)
		return status;
	if (result)
		*result = put.result;
	return put.result.put == KEEP_PUT_CONFLICT ? tell_conflict(message, err) : KEEP_OK;
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
		return kp_fail(err, KEEP_NOT_FOUND, "chat '%" KP_PRI "' has no message '%" KP_PRI "'",
			       KP_ARG(jid), KP_ARG(id));
	return status;
}

keep_status keep_gateway_messages_since(keep_gateway *gateway, keep_bytes jid, int64_t after_seq,
					int64_t since_ms, size_t limit, keep_memory *memory,
					keep_message_list *out, keep_error *err)
{
	size_t statement = since_ms ? KP_GATEWAY_MESSAGES_AFTER_TIME : KP_GATEWAY_MESSAGES_AFTER_SEQ;
	int64_t rows = 0;
	keep_status status = kp_check_key("chat_jid", jid, err);

	if (status == KEEP_OK)
		status = kp_check_time("since", since_ms, err);
	if (status == KEEP_OK)
		status = kp_gateway_limit(limit, 100, KEEP_GATEWAY_LIST_MAX, &rows, err);
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
		status = kp_gateway_limit(limit, 50, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_list(gateway, KP_GATEWAY_HISTORY,
			       KP_VALUES(kp_text_value(jid),
					 kp_int_value(before_seq > 0 ? before_seq : INT64_MAX),
					 kp_int_value(rows)),
			       &kp_message_record, memory, &out->items, &out->count, err);
}
