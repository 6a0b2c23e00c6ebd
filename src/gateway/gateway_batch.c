/*
 * gateway_batch.c - many messages in one transaction.
 *
 * One statement asks for all of them at once what stands under their keys, and of their chats. What
 * follows from it (numbers, duplicates) is worked out here. Then the new ones are inserted and each
 * chat is renewed once; where a driver has pipelines all of that is one round trip, with the
 * commit.
 *
 * Invariants:
 *   1. The answer is that of put_message for one after the other: a message that repeats one of
 *      the same batch is its duplicate, or in conflict with it.
 *   2. The probe is made inside of the writing transaction, of which a store runs one at a time
 *      (gateway.c). So what it tells still holds when the last message is inserted.
 *   3. Nothing is asked or written once a message that could be once a chat.
 *
 * What it does not do: anything that one message does not, see gateway_messages.c.
 *
 * Tests: tests/contract/test_gateway_batch.c, tests/torture/test_gateway_deliveries_faults.c.
 */
#include "gateway/gateway_private.h"

#include <string.h>

/* One message of the batch. */
struct item {
	keep_message message;
	bool has_timestamp;
	bool stored;       /* something stands under its key */
	size_t chat;       /* index into `chats` */
	uint64_t key_hash; /* of chat and id; equal hashes are looked at closer */
	keep_put_result result;
};

struct batch {
	struct item *items;
	kp_chat_state *chats; /* of each chat that is met, as it becomes */
	uint64_t *chat_hashes;
	size_t count, chat_count;
	keep_buffer keys;  /* [[chat, id], …] */
	keep_buffer saved; /* the chats with news, written anew by each apply */
};

static uint64_t hash_text(keep_bytes text, uint64_t before)
{
	unsigned char key[16] = {0};

	memcpy(key, &before, sizeof before);
	return kp_siphash(key, text);
}

/* The chat's state in this batch, begun with what the probe told. */
static size_t find_chat(struct batch *batch, const kp_chat_state *probed)
{
	uint64_t hash = hash_text(probed->jid, 0);

	for (size_t i = 0; i < batch->chat_count; i++)
		if (batch->chat_hashes[i] == hash &&
		    kp_bytes_equal(batch->chats[i].jid, probed->jid))
			return i;
	batch->chat_hashes[batch->chat_count] = hash;
	batch->chats[batch->chat_count] = *probed;
	return batch->chat_count++;
}

static keep_status probe_all(struct batch *batch, kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status =
		kp_lease_bind(lease, KP_GATEWAY_PROBE_MESSAGES,
			      KP_VALUES(kp_json_value(kp_buffer_bytes(&batch->keys))), &stmt, err);

	batch->chat_count = 0;
	for (size_t i = 0; i < batch->count && status == KEEP_OK; i++) {
		struct item *item = &batch->items[i];
		kp_chat_state chat = {0};
		bool has_row = false;

		status = kp_sql_step(stmt, &has_row, err);
		if (status == KEEP_OK && !has_row)
			status = kp_fail(err, KEEP_CORRUPT, "a probe told of %zu messages of %zu",
					 i, batch->count);
		if (status == KEEP_OK)
			status = kp_message_probe(stmt, &item->message, item->has_timestamp, &chat,
						  &item->stored, &item->result, err);
		if (status == KEEP_OK)
			item->chat = find_chat(batch, &chat);
	}
	kp_sql_reset(stmt);
	return status;
}

/* An earlier message of the batch with the same key. */
static const struct item *find_earlier(const struct batch *batch, const struct item *item)
{
	for (const struct item *other = batch->items; other < item; other++)
		if (other->key_hash == item->key_hash && other->chat == item->chat &&
		    kp_bytes_equal(other->message.id, item->message.id))
			return other;
	return NULL;
}

static keep_status put_item(struct batch *batch, struct item *item, kp_lease *lease,
			    keep_error *err)
{
	const struct item *earlier = NULL;

	if (item->stored)
		return KEEP_OK; /* the probe's answer */
	earlier = find_earlier(batch, item);
	if (!earlier) {
		keep_status status =
			kp_message_add(lease, &item->message, &batch->chats[item->chat], err);

		item->result = (keep_put_result){KEEP_PUT_INSERTED, item->message.seq};
		return status;
	}
	item->result.seq = earlier->result.seq;
	item->result.put =
		kp_message_is_same(&earlier->message, &item->message, item->has_timestamp)
			? KEEP_PUT_DUPLICATE
			: KEEP_PUT_CONFLICT;
	return KEEP_OK;
}

/* [[jid, last_seq, last_input_seq, last_message_at, channel, is new], …] of those with news. */
static keep_status write_chats(struct batch *batch, keep_error *err)
{
	kp_json_writer writer;

	batch->saved.len = 0;
	kp_json_begin(&writer, &batch->saved);
	kp_json_open_array(&writer);
	for (size_t i = 0; i < batch->chat_count; i++) {
		const kp_chat_state *chat = &batch->chats[i];
		char time[KEEP_TIME_TEXT_SIZE] = "";

		if (!chat->has_news)
			continue;
		if (!chat->last_message_at.is_null) {
			keep_status status =
				keep_time_format(chat->last_message_at.integer, time, err);

			if (status != KEEP_OK)
				return status;
		}
		kp_json_open_array(&writer);
		kp_json_put_text(&writer, chat->jid);
		kp_json_put_integer(&writer, chat->last_seq);
		kp_json_put_integer(&writer, chat->last_input_seq);
		kp_json_put_text(&writer, time[0] ? keep_bytes_of(time) : (keep_bytes){0});
		kp_json_put_text(&writer, kp_channel_of(chat->jid));
		kp_json_put_integer(&writer, !chat->exists);
		kp_json_close_array(&writer);
	}
	kp_json_close_array(&writer);
	return kp_json_finish(&writer, err);
}

/* What kp_message_save_chat does for one. Cursors of new chats come last: they are pending. */
static keep_status save_chats(struct batch *batch, kp_lease *lease, keep_error *err)
{
	keep_status status = write_chats(batch, err);
	const kp_value values[] = {kp_json_value(kp_buffer_bytes(&batch->saved)),
				   kp_time_value(batch->items[0].message.received_at)};

	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_SAVE_CHATS, values, 1, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_MARK_CHATS_PENDING, values, 2, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_ADD_CURSORS_OF_CHATS, values, 2, err);
	return status;
}

static keep_status apply_batch(void *ctx, kp_lease *lease, keep_error *err)
{
	struct batch *batch = ctx;
	keep_status status = probe_all(batch, lease, err);
	bool has_news = false;

	for (size_t i = 0; i < batch->count && status == KEEP_OK; i++)
		status = put_item(batch, &batch->items[i], lease, err);
	for (size_t i = 0; i < batch->chat_count; i++)
		has_news |= batch->chats[i].has_news;
	return status == KEEP_OK && has_news ? save_chats(batch, lease, err) : status;
}

static keep_status write_keys(struct batch *batch, keep_error *err)
{
	kp_json_writer writer;

	kp_json_begin(&writer, &batch->keys);
	kp_json_open_array(&writer);
	for (size_t i = 0; i < batch->count; i++) {
		kp_json_open_array(&writer);
		kp_json_put_text(&writer, batch->items[i].message.chat_jid);
		kp_json_put_text(&writer, batch->items[i].message.id);
		kp_json_close_array(&writer);
	}
	kp_json_close_array(&writer);
	return kp_json_finish(&writer, err);
}

static keep_status init_batch(struct batch *batch, const keep_message *messages, size_t count,
			      keep_error *err)
{
	int64_t now_ms = kp_clock_ms();

	batch->count = count;
	batch->items = kp_alloc_zero(count * sizeof *batch->items);
	batch->chats = kp_alloc_zero(count * sizeof *batch->chats);
	batch->chat_hashes = kp_alloc_zero(count * sizeof *batch->chat_hashes);
	if (!batch->items || !batch->chats || !batch->chat_hashes)
		return kp_fail_memory(err, "a batch of messages");
	for (size_t i = 0; i < count; i++) {
		struct item *item = &batch->items[i];

		item->message = kp_message_complete(&messages[i], now_ms);
		item->has_timestamp = messages[i].timestamp != 0;
		item->key_hash = hash_text(messages[i].id, hash_text(messages[i].chat_jid, 0));
	}
	return write_keys(batch, err);
}

static void release_batch(struct batch *batch)
{
	keep_buffer_release(&batch->keys);
	keep_buffer_release(&batch->saved);
	kp_free(batch->chat_hashes);
	kp_free(batch->chats);
	kp_free(batch->items);
}

keep_status keep_gateway_put_messages(keep_gateway *gateway, const keep_message *messages,
				      size_t count, keep_put_result *results, keep_error *err)
{
	struct batch batch = {.keys = KEEP_BUFFER_INIT, .saved = KEEP_BUFFER_INIT};
	keep_status status = KEEP_OK;

	if (count > KEEP_GATEWAY_LIST_MAX)
		return kp_fail(err, KEEP_INVALID, "count: %zu messages, the limit is %d", count,
			       KEEP_GATEWAY_LIST_MAX);
	if (gateway->store.read_only)
		return kp_fail(err, KEEP_DENIED, "the gateway was opened for reading only");
	for (size_t i = 0; i < count; i++) {
		status = kp_message_check(&messages[i], err);
		if (status != KEEP_OK)
			return kp_prefix(err, status, "message %zu of %zu", i + 1, count);
	}
	if (!count)
		return KEEP_OK;
	status = init_batch(&batch, messages, count, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_batch, &batch, KP_NEWS_INPUT, err);
	for (size_t i = 0; i < count && status == KEEP_OK && results; i++)
		results[i] = batch.items[i].result;
	release_batch(&batch);
	return status;
}
