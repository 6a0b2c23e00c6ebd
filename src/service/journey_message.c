/*
 * journey_message.c - how a gateway's message is called and written in a mailbox, and an agent's
 * answer in the gateway.
 *
 * Invariants:
 *   1. A name is made of what never changes of a message (its chat and its number), so that a
 * hand-over that is repeated has the same one.
 *   2. Nothing of a message is lost on its way: what the text does not hold is in members of its
 * own, and the other way round in the attachments.
 *
 * What it does not do: read or write a store, but to find a chat's address.
 *
 * Tests: tests/contract/test_service_journey.c.
 */
#include "service/journey.h"

#include <stdio.h>
#include <string.h>

enum { HASH_DIGITS = 16 };

/* ---------------------------------------------------------------- names */

static keep_status hash_jid(keep_bytes jid, char out[HASH_DIGITS + 1], keep_error *err)
{
	unsigned char hash[KP_SHA256_SIZE];
	keep_status status = kp_sha256(jid, hash, err);

	if (status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)hash, HASH_DIGITS / 2}, out);
	return status;
}

keep_status kp_post_id(keep_bytes chat_jid, int64_t seq, char out[KP_POST_ID_SIZE], keep_error *err)
{
	char hash[HASH_DIGITS + 1];
	keep_status status = hash_jid(chat_jid, hash, err);

	if (status == KEEP_OK)
		(void)snprintf(out, KP_POST_ID_SIZE, "m%lld-%s", (long long)seq, hash);
	return status;
}

keep_status kp_post_id_seq(keep_bytes id, keep_bytes chat_jid, int64_t *seq, keep_error *err)
{
	char hash[HASH_DIGITS + 1];
	const char *dash = id.len ? memchr(id.data, '-', id.len) : NULL;
	int64_t number = 0;
	keep_bytes digits, rest;
	keep_status status;

	*seq = 0;
	if (!dash || id.data[0] != 'm')
		return KEEP_OK;
	digits = (keep_bytes){id.data + 1, (size_t)(dash - id.data) - 1};
	rest = (keep_bytes){dash + 1, id.len - digits.len - 2};
	if (!kp_int_parse(digits, &number) || number < 1)
		return KEEP_OK;
	status = hash_jid(chat_jid, hash, err);
	if (status == KEEP_OK && kp_bytes_equal(rest, keep_bytes_of(hash)))
		*seq = number;
	return status;
}

keep_status kp_append_all(keep_buffer *out, const keep_bytes *parts, size_t count, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		if (parts[i].len)
			status = kp_buffer_append(out, parts[i], err);
	return status;
}

/* "agent" as a chat's channel would have its answers sent to agents. */
static bool is_agents(keep_bytes channel_type)
{
	return kp_bytes_equal(channel_type, KEEP_BYTES("agent"));
}

void kp_jid_split(keep_bytes jid, keep_bytes source, keep_bytes *channel_type,
		  keep_bytes *platform_id)
{
	const char *colon = jid.len ? memchr(jid.data, ':', jid.len) : NULL;

	*channel_type = source.len && !is_agents(source) ? source : KEEP_BYTES("chat");
	*platform_id = jid;
	if (!colon || colon == jid.data || colon + 1 == jid.data + jid.len ||
	    is_agents((keep_bytes){jid.data, (size_t)(colon - jid.data)}))
		return;
	*channel_type = (keep_bytes){jid.data, (size_t)(colon - jid.data)};
	*platform_id = (keep_bytes){colon + 1, jid.len - channel_type->len - 1};
}

static keep_status try_chat(keep_gateway *gateway, keep_bytes jid, keep_memory *memory,
			    keep_bytes *found, keep_bytes *channel, keep_error *err)
{
	keep_chat chat;
	keep_status status = keep_gateway_get_chat(gateway, jid, memory, &chat, err);

	if (status == KEEP_OK) {
		*found = chat.jid;
		*channel = chat.channel;
	}
	return status;
}

keep_status kp_jid_find(keep_gateway *gateway, keep_bytes channel_type, keep_bytes platform_id,
			keep_memory *memory, keep_bytes *jid, keep_bytes *channel, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	const keep_bytes parts[] = {channel_type, KEEP_BYTES(":"), platform_id};
	keep_status status = kp_append_all(&text, parts, KP_COUNT(parts), err);

	*channel = (keep_bytes){NULL, 0};
	if (status == KEEP_OK)
		status = try_chat(gateway, kp_buffer_bytes(&text), memory, jid, channel, err);
	if (status == KEEP_NOT_FOUND)
		status = try_chat(gateway, platform_id, memory, jid, channel, err);
	if (status == KEEP_NOT_FOUND) /* one that never wrote */
		status = kp_arena_copy(memory, kp_buffer_bytes(&text), jid, err);
	if (status == KEEP_OK && !channel->len)
		*channel = channel_type;
	keep_buffer_release(&text);
	return status;
}

/* ---------------------------------------------------------------- to an agent */

static void put_if_there(kp_json_writer *writer, const char *name, keep_bytes text)
{
	if (!text.len)
		return;
	kp_json_name(writer, name);
	kp_json_put_text(writer, text);
}

keep_status kp_content_of_message(const keep_message *message, keep_buffer *out, keep_error *err)
{
	char time[KEEP_TIME_TEXT_SIZE] = "";
	kp_json_writer writer;

	(void)!keep_time_format(message->timestamp, time, NULL);
	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "text");
	kp_json_put_text(&writer, message->content);
	put_if_there(&writer, "id", message->id);
	put_if_there(&writer, "chat", message->chat_jid);
	put_if_there(&writer, "senderId", message->sender);
	put_if_there(&writer, "sender", message->sender_name);
	put_if_there(&writer, "timestamp", keep_bytes_of(time));
	put_if_there(&writer, "topic", message->topic);
	put_if_there(&writer, "verb", message->verb);
	put_if_there(&writer, "source", message->source);
	put_if_there(&writer, "replyTo", message->reply_to_id);
	put_if_there(&writer, "forwardedFrom", message->forwarded_from);
	if (message->attachments.len) {
		kp_json_name(&writer, "attachments");
		kp_json_put_raw(&writer, message->attachments);
	}
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

/* ---------------------------------------------------------------- to a channel */

static bool is_text_alone(const kp_json *content)
{
	const kp_json *text =
		content->kind == KP_JSON_OBJECT ? kp_json_member(content, "text") : NULL;

	return content->kind == KP_JSON_TEXT ||
	       (text && text->kind == KP_JSON_TEXT && content->list.count == 1);
}

/* [{"type":"content","content":{…}},{"type":"file","name":…,"session":…,"message_id":…}] */
static keep_status write_attachments(const keep_collected *item, keep_bytes session, bool has_more,
				     keep_buffer *out, keep_error *err)
{
	kp_json_writer writer;

	kp_json_begin(&writer, out);
	kp_json_open_array(&writer);
	if (has_more) {
		kp_json_open_object(&writer);
		kp_json_name(&writer, "type");
		kp_json_put_text(&writer, KEEP_BYTES("content"));
		kp_json_name(&writer, "content");
		kp_json_put_raw(&writer, item->message.content);
		kp_json_close_object(&writer);
	}
	for (size_t i = 0; i < item->file_count; i++) {
		kp_json_open_object(&writer);
		kp_json_name(&writer, "type");
		kp_json_put_text(&writer, KEEP_BYTES("file"));
		put_if_there(&writer, "name", item->files[i]);
		put_if_there(&writer, "session", session);
		put_if_there(&writer, "message_id", item->message.id);
		kp_json_close_object(&writer);
	}
	kp_json_close_array(&writer);
	return kp_json_finish(&writer, err);
}

keep_status kp_text_of_content(const keep_collected *item, keep_bytes session, keep_buffer *text,
			       keep_buffer *attachments, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *content = NULL, *said = NULL;
	bool has_more;
	keep_status status = kp_json_parse(item->message.content, &arena, &content, err);

	if (status == KEEP_OK && content->kind == KP_JSON_OBJECT)
		said = kp_json_member(content, "text");
	if (status == KEEP_OK && content->kind == KP_JSON_OBJECT && !said)
		said = kp_json_member(content, "question");
	if (status == KEEP_OK && content->kind == KP_JSON_TEXT)
		said = content;
	if (status == KEEP_OK)
		status = keep_buffer_set(
			text, said && said->kind == KP_JSON_TEXT ? said->text : KEEP_BYTES(""),
			err);
	has_more = status == KEEP_OK && !is_text_alone(content);
	if (status == KEEP_OK && (has_more || item->file_count))
		status = write_attachments(item, session, has_more, attachments, err);
	kp_arena_release(&arena);
	return status;
}
