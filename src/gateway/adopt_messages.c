/*
 * adopt_messages.c - the messages of an adopted file, with their numbers, chats and cursors.
 *
 * SQLite sorts (chat, time, rowid), and each message is fetched by its rowid: so a chat's messages
 * come one after the other in the order of their numbers, and what is known of the chat fits into
 * one struct.
 *
 * Invariants:
 *   1. A chat's numbers are 1, 2, 3 … in the order of (timestamp to the nanosecond, rowid).
 *   2. A cursor at a time becomes the largest number whose message, and so all before it, is not
 *      after it.
 *   3. A cursor's pending_since is set if and only if its chat has input beyond it
 *      (gateway_messages.c, invariant 4), and is when the first of that was received.
 *   4. A cursor of the source that cannot be read is CORRUPT: taking it for none would have agents
 *      answer everything once more.
 *
 * Tests: tests/contract/test_gateway_adopt.c, tests/torture/test_gateway_adopt_faults.c.
 */
#include "gateway/adopt.h"

#include <string.h>

/* ---------------------------------------------------------------- the source's cursors */

keep_status kp_adopt_read_moment(kp_adopt *adopt, keep_bytes text, const char *what,
				 kp_adopt_moment *out)
{
	keep_status status;

	*out = (kp_adopt_moment){.is_there = false};
	if (!text.len)
		return KEEP_OK;
	status = kp_foreign_time(text, &out->ms, &out->rest_ns, adopt->err);
	out->is_there = status == KEEP_OK;
	if (status != KEEP_INVALID)
		return status;
	adopt->err->status = KEEP_CORRUPT;
	return kp_prefix(adopt->err, KEEP_CORRUPT, "%s", what);
}

/* The text that a query of one parameter answers, in `arena`; absent when there is none. */
static keep_status ask_text(kp_adopt *adopt, const char *sql, keep_bytes parameter, kp_arena *arena,
			    keep_bytes *out)
{
	kp_foreign_rows *rows = NULL;
	kp_foreign_value value = {.kind = KP_FOREIGN_NULL};
	bool has_row = false;
	keep_status status = kp_foreign_select(adopt->source, sql, &rows, adopt->err);

	*out = (keep_bytes){.data = NULL};
	if (status == KEEP_OK)
		status = kp_foreign_bind_text(rows, 1, parameter, adopt->err);
	if (status == KEEP_OK)
		status = kp_foreign_step(rows, &has_row, adopt->err);
	if (status == KEEP_OK && has_row)
		status = kp_foreign_value_at(rows, 0, &value, adopt->err);
	if (status == KEEP_OK && value.kind == KP_FOREIGN_TEXT)
		status = kp_arena_copy(arena, value.bytes, out, adopt->err);
	kp_foreign_finish(&rows);
	return status;
}

static keep_status read_state(kp_adopt *adopt, const char *const names[2], keep_bytes *out)
{
	keep_status status = KEEP_OK;

	*out = (keep_bytes){.data = NULL};
	for (int i = 0; i < 2 && status == KEEP_OK && !out->len; i++)
		status = ask_text(adopt, "SELECT value FROM router_state WHERE key = ?1",
				  keep_bytes_of(names[i]), &adopt->arena, out);
	return status;
}

static keep_status read_agent_json(kp_adopt *adopt, keep_bytes text)
{
	keep_status status;

	if (!text.len)
		return KEEP_OK;
	status = kp_json_parse(text, &adopt->arena, &adopt->agent_json, adopt->err);
	if (status == KEEP_OK && adopt->agent_json->kind != KP_JSON_OBJECT)
		status = kp_fail(adopt->err, KEEP_INVALID, "is no object of times");
	if (status == KEEP_INVALID) {
		adopt->err->status = KEEP_CORRUPT;
		return kp_prefix(adopt->err, KEEP_CORRUPT, "router_state last_agent_timestamp");
	}
	adopt->has_agent = status == KEEP_OK && adopt->agent_json->list.count > 0;
	return status;
}

static keep_status make_consumer(kp_adopt *adopt, const char *name)
{
	return kp_lease_queue(
		adopt->lease, KP_GATEWAY_ADOPT_CONSUMER,
		KP_VALUES(kp_text_value(keep_bytes_of(name)), kp_time_value(adopt->now_ms)),
		adopt->err);
}

keep_status kp_adopt_read_cursors(kp_adopt *adopt, bool has_state, bool has_groups)
{
	static const char *const router[2] = {"last_timestamp", "lastTimestamp"};
	static const char *const agent[2] = {"last_agent_timestamp", "lastAgentTimestamp"};
	static const char has_column[] =
		"SELECT name FROM pragma_table_info('registered_groups') WHERE name = ?1";
	static const char has_cursor[] =
		"SELECT jid FROM registered_groups WHERE length(agent_cursor) > 0 AND ?1 LIMIT 1";
	keep_bytes text = {.data = NULL};
	keep_status status = KEEP_OK;

	if (has_state)
		status = read_state(adopt, router, &text);
	if (status == KEEP_OK)
		status = kp_adopt_read_moment(adopt, text, "router_state last_timestamp",
					      &adopt->router);
	if (status == KEEP_OK && has_state)
		status = read_state(adopt, agent, &text);
	if (status == KEEP_OK && has_state)
		status = read_agent_json(adopt, text);
	if (status == KEEP_OK && has_groups)
		status = ask_text(adopt, has_column, KEEP_BYTES("agent_cursor"), &adopt->arena,
				  &text);
	adopt->has_group_cursors = status == KEEP_OK && has_groups && text.data;
	if (adopt->has_group_cursors)
		status = ask_text(adopt, has_cursor, KEEP_BYTES("1"), &adopt->arena, &text);
	if (status == KEEP_OK && adopt->has_group_cursors && text.data)
		adopt->has_agent = true;
	if (status == KEEP_OK && adopt->router.is_there)
		status = make_consumer(adopt, "router");
	if (status == KEEP_OK && adopt->has_agent)
		status = make_consumer(adopt, "agent");
	return status;
}

/* Up to when the agent has read a chat. The group's own cursor is the later form of the two. */
static keep_status read_agent_moment(kp_adopt *adopt, const char *jid, kp_adopt_moment *out)
{
	static const char sql[] = "SELECT agent_cursor FROM registered_groups WHERE jid = ?1";
	const kp_json *member = NULL;
	keep_bytes text = {.data = NULL};
	keep_status status = KEEP_OK;

	if (adopt->has_group_cursors)
		status = ask_text(adopt, sql, keep_bytes_of(jid), &adopt->row, &text);
	if (status != KEEP_OK || text.len)
		return status == KEEP_OK
			       ? kp_adopt_read_moment(adopt, text, "registered_groups agent_cursor",
						      out)
			       : status;
	*out = (kp_adopt_moment){.is_there = false};
	member = kp_json_member(adopt->agent_json, jid);
	if (!member || member->kind == KP_JSON_NULL)
		return KEEP_OK;
	if (member->kind != KP_JSON_TEXT)
		return kp_fail(adopt->err, KEEP_CORRUPT,
			       "router_state last_agent_timestamp: '%s' has no time", jid);
	return kp_adopt_read_moment(adopt, member->text, "router_state last_agent_timestamp", out);
}

/* ---------------------------------------------------------------- a chat under way */

enum reader { ROUTER, AGENT, NEWCOMER, READERS };

/* How far one consumer is, and since when input waits for it. */
struct progress {
	kp_adopt_moment until;
	int64_t seq;
	bool is_pending;
	int64_t pending_since;
};

struct chat {
	keep_buffer jid; /* of the chat; empty: none yet */
	int64_t seq, input_seq;
	bool has_newest;
	int64_t newest;
	struct progress readers[READERS];
};

static bool is_after(const kp_adopt_moment *a, const kp_adopt_moment *b)
{
	return a->ms != b->ms ? a->ms > b->ms : a->rest_ns > b->rest_ns;
}

/* "telegram" of "telegram:42". */
static keep_bytes channel_of(keep_bytes jid)
{
	const char *colon = memchr(jid.data, ':', jid.len);

	return colon ? (keep_bytes){jid.data, (size_t)(colon - jid.data)} : KEEP_BYTES("");
}

static kp_value time_or_null(bool has, int64_t time_ms)
{
	return has ? kp_time_value(time_ms) : kp_null_value(KP_TIME);
}

static keep_status set_cursor(kp_adopt *adopt, const struct chat *chat, const char *consumer,
			      const struct progress *progress)
{
	if (!progress->until.is_there)
		return KEEP_OK;
	adopt->counts->cursors++;
	return kp_lease_queue(
		adopt->lease, KP_GATEWAY_ADOPT_SET_CURSOR,
		KP_VALUES(kp_text_value(keep_bytes_of(consumer)),
			  kp_text_value(kp_buffer_bytes(&chat->jid)), kp_int_value(progress->seq),
			  time_or_null(progress->is_pending, progress->pending_since)),
		adopt->err);
}

/* The chat's last message was there: its row and its cursors. */
static keep_status end_chat(kp_adopt *adopt, struct chat *chat)
{
	const struct progress *newcomer = &chat->readers[NEWCOMER];
	kp_value jid = kp_text_value(kp_buffer_bytes(&chat->jid));
	keep_status status;

	if (!chat->seq)
		return KEEP_OK;
	status = kp_lease_queue(adopt->lease, KP_GATEWAY_ADOPT_CHAT_MESSAGES,
				KP_VALUES(jid, kp_text_value(channel_of(jid.bytes)),
					  kp_int_value(chat->seq), kp_int_value(chat->input_seq),
					  time_or_null(chat->has_newest, chat->newest)),
				adopt->err);
	if (status == KEEP_OK)
		status = kp_lease_queue(
			adopt->lease, KP_GATEWAY_ADOPT_ADD_CURSORS,
			KP_VALUES(jid, kp_time_value(adopt->now_ms),
				  time_or_null(newcomer->is_pending, newcomer->pending_since)),
			adopt->err);
	if (status == KEEP_OK)
		status = set_cursor(adopt, chat, "router", &chat->readers[ROUTER]);
	if (status == KEEP_OK)
		status = set_cursor(adopt, chat, "agent", &chat->readers[AGENT]);
	return status;
}

static keep_status begin_chat(kp_adopt *adopt, struct chat *chat, keep_bytes jid)
{
	keep_buffer kept = chat->jid;
	keep_status status;

	*chat = (struct chat){.jid = kept};
	chat->jid.len = 0;
	status = kp_buffer_append(&chat->jid, jid, adopt->err);
	chat->readers[ROUTER].until = adopt->router;
	if (status == KEEP_OK)
		status = read_agent_moment(adopt, chat->jid.data, &chat->readers[AGENT].until);
	return status;
}

/* Invariants 2 and 3. */
static void count_message(struct chat *chat, const keep_message *message,
			  const kp_adopt_moment *moment)
{
	for (size_t i = 0; i < READERS; i++) {
		struct progress *progress = &chat->readers[i];

		if (progress->until.is_there && !is_after(moment, &progress->until)) {
			progress->seq = message->seq;
		} else if (!message->is_from_me && !progress->is_pending) {
			progress->is_pending = true;
			progress->pending_since = message->received_at;
		}
	}
	if (!message->is_from_me)
		chat->input_seq = message->seq;
	if (!message->is_future && (!chat->has_newest || message->timestamp > chat->newest)) {
		chat->has_newest = true;
		chat->newest = message->timestamp;
	}
}

/* ---------------------------------------------------------------- one message */

/* A number that says nothing when it is 0. */
static bool take_flag(kp_adopt_row *row, const char *name)
{
	int64_t number = 0;

	(void)kp_adopt_int(row, name, &number);
	kp_adopt_place(row, name, number == 0);
	return number != 0;
}

/* Who said it, and how far its delivery was. */
static void read_direction(kp_adopt_row *row, keep_message *message)
{
	bool is_bot = take_flag(row, "is_bot_message");
	keep_bytes status = kp_adopt_optional(row, "status");
	bool is_sent = !status.data || kp_bytes_equal(status, KEEP_BYTES("sent"));

	message->is_from_me = kp_adopt_is(row, "is_from_me") || is_bot;
	message->status = KEEP_BYTES(KEEP_MESSAGE_STATUS_RECEIVED);
	kp_adopt_place(row, "status", is_sent);
	if (!message->is_from_me)
		return;
	message->status = KEEP_BYTES(KEEP_MESSAGE_STATUS_DELIVERED);
	if (kp_bytes_equal(status, KEEP_BYTES("failed")))
		message->status = KEEP_BYTES(KEEP_MESSAGE_STATUS_FAILED);
	else if (kp_bytes_equal(status, KEEP_BYTES("pending")))
		message->status = KEEP_BYTES(KEEP_MESSAGE_STATUS_UNCERTAIN);
	if (!is_sent)
		message->last_error = KEEP_BYTES("not known to be delivered when it was adopted");
	/* The folder that answered had another name. */
	if (!message->group_folder.len) {
		message->group_folder = kp_text_or(kp_adopt_optional(row, "routed_to"), "");
	}
}

static keep_message read_message(kp_adopt_row *row, kp_adopt_moment *moment)
{
	keep_message message = {
		.chat_jid = kp_adopt_needed(row, "chat_jid"),
		.id = kp_adopt_needed(row, "id"),
		.sender = kp_text_or(kp_adopt_text(row, "sender"), ""),
		.content = kp_text_or(kp_adopt_text(row, "content"), ""),
		.verb = kp_text_or(kp_adopt_optional(row, "verb"), "message"),
		.source = kp_adopt_optional(row, "source"),
		.group_folder = kp_text_or(kp_adopt_text(row, "group_folder"), ""),
		.sender_name = kp_text_or(kp_adopt_text(row, "sender_name"), ""),
		.topic = kp_text_or(kp_adopt_text(row, "topic"), ""),
		.reply_to_id = kp_adopt_optional(row, "reply_to_id"),
		.forwarded_from = kp_adopt_optional(row, "forwarded_from"),
		.attachments = kp_adopt_json(row, "attachments", KP_JSON_NULL),
		.platform_id = kp_adopt_optional(row, "platform_id"),
		.turn_id = kp_adopt_optional(row, "turn_id"),
	};
	int64_t now_ms = row->adopt->now_ms;

	moment->is_there = kp_adopt_time(row, "timestamp", &moment->ms, &moment->rest_ns);
	if (!moment->is_there)
		kp_adopt_refuse(row, "timestamp", "is missing or empty");
	if (!message.source.data)
		message.source = channel_of(message.chat_jid);
	read_direction(row, &message);
	(void)take_flag(row, "errored");
	(void)take_flag(row, "is_observed");
	message.timestamp = moment->ms;
	message.received_at = moment->ms < now_ms ? moment->ms : now_ms;
	message.is_future = moment->ms > now_ms + KEEP_GATEWAY_FUTURE_MS;
	return message;
}

static keep_status queue_message(kp_adopt *adopt, const keep_message *message)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status =
		kp_lease_statement(adopt->lease, KP_GATEWAY_INSERT_MESSAGE, &stmt, adopt->err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_message_record, message, adopt->err);
	if (status == KEEP_OK)
		return kp_sql_queue(stmt, adopt->err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status adopt_message(kp_adopt_row *row)
{
	static const char *const keys[] = {"chat_jid", "id", NULL};
	struct chat *chat = row->adopt->chat;
	kp_adopt_moment moment = {.is_there = false};
	keep_message message = read_message(row, &moment);

	if (row->status == KEEP_OK &&
	    (!chat->seq || !kp_bytes_equal(kp_buffer_bytes(&chat->jid), message.chat_jid))) {
		row->status = end_chat(row->adopt, chat);
		if (row->status == KEEP_OK)
			row->status = begin_chat(row->adopt, chat, message.chat_jid);
	}
	if (row->status != KEEP_OK)
		return row->status;
	message.seq = ++chat->seq;
	row->adopt->counts->messages++;
	count_message(chat, &message, &moment);
	row->status = queue_message(row->adopt, &message);
	return kp_adopt_keep_rest(row, keys);
}

/* ---------------------------------------------------------------- all of them */

keep_status kp_adopt_messages(kp_adopt *adopt)
{
	struct chat chat = {.seq = 0};
	keep_status status;

	adopt->chat = &chat;
	status = kp_adopt_each_sorted(
		adopt, "messages",
		"SELECT rowid FROM messages ORDER BY chat_jid, kp_time_ms(timestamp), "
		"kp_time_rest(timestamp), rowid",
		"SELECT rowid, * FROM messages WHERE rowid = ?1", adopt_message);
	if (status == KEEP_OK)
		status = end_chat(adopt, &chat);
	keep_buffer_release(&chat.jid);
	adopt->chat = NULL;
	return status;
}

/* ---------------------------------------------------------------- chats */

keep_status kp_adopt_chat(kp_adopt_row *row)
{
	static const char *const keys[] = {"jid", NULL};
	kp_adopt *adopt = row->adopt;
	keep_bytes jid = kp_adopt_needed(row, "jid");
	keep_bytes name = kp_text_or(kp_adopt_text(row, "name"), "");
	keep_bytes channel = kp_adopt_optional(row, "channel");
	bool is_group = kp_adopt_is(row, "is_group"), errored = kp_adopt_is(row, "errored");
	keep_bytes group = kp_adopt_optional(row, "sticky_group");
	keep_bytes topic = kp_adopt_optional(row, "sticky_topic");
	int64_t last_ms;
	bool has_last = kp_adopt_time(row, "last_message_time", &last_ms, NULL);

	/* The source wrote there when the chat was last announced. */
	kp_adopt_place(row, "last_message_time", false);
	if (has_last && last_ms > adopt->now_ms + KEEP_GATEWAY_FUTURE_MS)
		has_last = false;
	adopt->counts->chats++;
	if (row->status == KEEP_OK)
		row->status = kp_lease_queue(
			adopt->lease, KP_GATEWAY_ADOPT_CHAT,
			KP_VALUES(kp_text_value(jid), kp_text_value(name),
				  kp_text_value(channel.data ? channel : channel_of(jid)),
				  kp_bool_value(is_group), kp_bool_value(errored),
				  time_or_null(has_last, last_ms), kp_text_value(group),
				  kp_text_value(topic)),
			adopt->err);
	return kp_adopt_keep_rest(row, keys);
}
