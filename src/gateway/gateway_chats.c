/*
 * gateway_chats.c - chats as such: their names, their marks, lists of them.
 *
 * Invariants:
 *   1. Whoever makes a chat gives every consumer its cursor there, in the same transaction; so a
 *      consumer has a cursor in every chat (gateway_consumers.c).
 *   2. What is said here of a chat never touches its numbers: those are its messages' business.
 *   3. A mark on a chat hides nothing: an errored one is pending like every other.
 *
 * Tests: tests/contract/test_gateway_chats.c, tests/torture/test_gateway_consumers_faults.c.
 */
#include "gateway/gateway_private.h"

#include <string.h>

enum { LIST_DEFAULT = 100 };

/* One change of one chat. */
struct marking {
	const keep_chat *chat; /* to put; NULL: the mark */
	keep_bytes jid;
	size_t statement; /* the mark's */
	kp_value mark;
	bool makes; /* a chat that is missing */
	int64_t now_ms;
	bool is_there;
};

static keep_status apply_put_chat(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct marking *marking = ctx;
	const keep_chat *chat = marking->chat;
	kp_value jid = kp_text_value(marking->jid);
	keep_status status = kp_lease_queue(lease, KP_GATEWAY_PUT_CHAT,
					    KP_VALUES(jid, kp_text_value(chat->name),
						      kp_text_value(chat->channel),
						      kp_bool_value(chat->is_group),
						      kp_text_value(kp_channel_of(marking->jid))),
					    err);

	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_ADD_MISSING_CURSORS,
					KP_VALUES(jid, kp_time_value(marking->now_ms)), err);
	return status;
}

static keep_status apply_mark(void *ctx, kp_lease *lease, keep_error *err)
{
	struct marking *marking = ctx;
	kp_value jid = kp_text_value(marking->jid);
	int64_t changes = 0;
	keep_status status = kp_lease_run(lease, marking->statement, KP_VALUES(jid, marking->mark),
					  &changes, err);

	marking->is_there = changes > 0;
	if (status != KEEP_OK || marking->is_there || !marking->makes)
		return status;
	marking->is_there = true;
	status = kp_lease_queue(lease, KP_GATEWAY_MAKE_CHAT,
				KP_VALUES(jid, kp_text_value(kp_channel_of(marking->jid))), err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_ADD_MISSING_CURSORS,
					KP_VALUES(jid, kp_time_value(marking->now_ms)), err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, marking->statement, KP_VALUES(jid, marking->mark),
					err);
	return status;
}

static keep_status fail_missing(keep_bytes jid, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "there is no chat '%" KP_PRI "'", KP_ARG(jid));
}

keep_status keep_gateway_put_chat(keep_gateway *gateway, const keep_chat *chat, keep_error *err)
{
	struct marking marking = {.chat = chat, .jid = chat->jid, .now_ms = kp_clock_ms()};
	keep_status status = kp_check_key("jid", chat->jid, err);

	if (status == KEEP_OK)
		status = kp_check_text("name", chat->name, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT,
				       err);
	if (status == KEEP_OK)
		status = kp_check_text("channel", chat->channel, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_put_chat, &marking, KP_NEWS_NONE, err);
}

static keep_status mark(keep_gateway *gateway, keep_bytes jid, size_t statement, kp_value value,
			bool makes, keep_error *err)
{
	struct marking marking = {.jid = jid,
				  .statement = statement,
				  .mark = value,
				  .makes = makes,
				  .now_ms = kp_clock_ms()};
	keep_status status = kp_check_key("jid", jid, err);

	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_mark, &marking, KP_NEWS_NONE, err);
	if (status == KEEP_OK && !marking.is_there)
		return fail_missing(jid, err);
	return status;
}

keep_status keep_gateway_mark_errored(keep_gateway *gateway, keep_bytes jid, keep_error *err)
{
	return mark(gateway, jid, KP_GATEWAY_SET_ERRORED, kp_bool_value(true), true, err);
}

keep_status keep_gateway_clear_errored(keep_gateway *gateway, keep_bytes jid, keep_error *err)
{
	return mark(gateway, jid, KP_GATEWAY_SET_ERRORED, kp_bool_value(false), false, err);
}

keep_status keep_gateway_set_sticky_group(keep_gateway *gateway, keep_bytes jid, keep_bytes folder,
					  keep_error *err)
{
	kp_value value = folder.len ? kp_text_value(folder) : kp_null_value(KP_TEXT);
	keep_status status = folder.len ? kp_check_folder("sticky_group", folder, err) : KEEP_OK;

	if (status != KEEP_OK)
		return status;
	return mark(gateway, jid, KP_GATEWAY_SET_STICKY_GROUP, value, true, err);
}

keep_status keep_gateway_set_sticky_topic(keep_gateway *gateway, keep_bytes jid, keep_bytes topic,
					  keep_error *err)
{
	kp_value value = topic.len ? kp_text_value(topic) : kp_null_value(KP_TEXT);
	keep_status status =
		kp_check_text("sticky_topic", topic, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT, err);

	if (status != KEEP_OK)
		return status;
	return mark(gateway, jid, KP_GATEWAY_SET_STICKY_TOPIC, value, true, err);
}

/* ---------------------------------------------------------------- reading */

keep_status keep_gateway_get_chat(keep_gateway *gateway, keep_bytes jid, keep_memory *memory,
				  keep_chat *out, keep_error *err)
{
	const kp_value value = kp_text_value(jid);
	keep_chat chat;
	bool found = false;
	keep_status status = kp_check_key("jid", jid, err);

	if (status == KEEP_OK)
		status = kp_gateway_get(gateway, KP_GATEWAY_GET_CHAT, &value, 1, &kp_chat_record,
					memory, &chat, &found, err);
	if (status == KEEP_OK && !found)
		return fail_missing(jid, err);
	if (status == KEEP_OK)
		*out = chat;
	return status;
}

keep_status keep_gateway_list_chats(keep_gateway *gateway, keep_bytes after_jid, size_t limit,
				    keep_memory *memory, keep_chat_list *out, keep_error *err)
{
	int64_t rows = 0;
	keep_status status =
		kp_check_text("after_jid", after_jid, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, LIST_DEFAULT, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_list(
		gateway, KP_GATEWAY_LIST_CHATS,
		KP_VALUES(kp_text_value(kp_text_or(after_jid, "")), kp_int_value(rows)),
		&kp_chat_record, memory, &out->items, &out->count, err);
}

keep_status keep_gateway_active_web_jids(keep_gateway *gateway, int64_t since_ms,
					 keep_memory *memory, keep_chat_list *out, keep_error *err)
{
	keep_status status = kp_check_time("since", since_ms, err);

	if (status != KEEP_OK)
		return status;
	return kp_gateway_list(
		gateway, KP_GATEWAY_ACTIVE_WEB_CHATS,
		KP_VALUES(kp_time_value(since_ms), kp_int_value(KEEP_GATEWAY_LIST_MAX)),
		&kp_chat_record, memory, &out->items, &out->count, err);
}

keep_status keep_gateway_errored_chats(keep_gateway *gateway, size_t limit, keep_memory *memory,
				       keep_chat_list *out, keep_error *err)
{
	kp_value rows = kp_int_value(0);
	keep_status status =
		kp_check_limit(limit, LIST_DEFAULT, KEEP_GATEWAY_LIST_MAX, &rows.integer, err);

	if (status != KEEP_OK)
		return status;
	return kp_gateway_list(gateway, KP_GATEWAY_ERRORED_CHATS, &rows, 1, &kp_chat_record, memory,
			       &out->items, &out->count, err);
}
