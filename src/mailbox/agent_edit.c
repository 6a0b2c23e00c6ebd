/*
 * agent_edit.c - changing what was said, and reacting to what was.
 *
 * Both are messages of their own that name another one by its number: even is a message to the
 * agent, odd one of its own. They go where that message lives. The host finds the platform's id of
 * it; a host that knows only the source's tables is given that id, as the source's agents did.
 *
 * Invariants:
 *   1. The number's row is there, read in the transaction that stores the operation.
 *
 * What it does not do: know whether the platform lets an agent edit that message.
 *
 * Tests: tests/contract/test_mailbox_send.c.
 */
#include "mailbox/mailbox_private.h"

#include <stdio.h>

struct operation {
	keep_agent *agent;
	int64_t number, now_ms;
	const char *name, *member; /* "edit", "text" */
	keep_bytes value;
	char id[KP_UUID_TEXT_SIZE];
	keep_sent *sent, unwanted; /* NULL: the caller's wants none */
};

static keep_status write_operation(const struct operation *operation, keep_bytes target,
				   keep_buffer *out, keep_error *err)
{
	kp_json_writer writer;

	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "operation");
	kp_json_put_text(&writer, keep_bytes_of(operation->name));
	kp_json_name(&writer, "messageId");
	if (target.data)
		kp_json_put_text(&writer, target);
	else
		kp_json_put_integer(&writer, operation->number);
	kp_json_name(&writer, operation->member);
	kp_json_put_text(&writer, operation->value);
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

/* What the source's host takes: the platform's id, or ours as long as nothing is delivered. */
static keep_status find_platform_id(const struct operation *operation, kp_lease *lease,
				    keep_bytes message_id, kp_arena *arena, keep_bytes *out,
				    keep_error *err)
{
	kp_value value = {.is_null = true};
	kp_sql_stmt *stmt = NULL;
	bool found = false;
	keep_status status = KEEP_OK;

	*out = (keep_bytes){.data = NULL};
	if (!operation->agent->is_plain)
		return KEEP_OK;
	*out = message_id;
	if (operation->number % 2 == 0)
		return KEEP_OK;
	status = kp_lease_bind(
		lease, KP_MAILBOX_PLATFORM_ID_OF_DELIVERED,
		KP_VALUES(kp_text_value(kp_agent_id(operation->agent)), kp_text_value(message_id)),
		&stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	if (status == KEEP_OK && found)
		status = kp_sql_column(stmt, 0, KP_TEXT, &value, err);
	if (status == KEEP_OK && !value.is_null)
		status = kp_arena_copy(arena, value.bytes, out, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status add_operation(const struct operation *operation, kp_lease *lease,
				 kp_arena *arena, keep_buffer *content, keep_error *err)
{
	keep_agent *agent = operation->agent;
	kp_value number = kp_int_value(operation->number);
	keep_outbound_message message = {.session_id = kp_agent_id(agent),
					 .id = keep_bytes_of(operation->id),
					 .timestamp = operation->now_ms,
					 .kind = KEEP_BYTES("chat")};
	keep_bytes target = {.data = NULL};
	kp_address address;
	bool found = false;
	keep_status status =
		kp_agent_address_of(agent, lease,
				    operation->number % 2 ? KP_MAILBOX_OUTBOUND_ADDRESS_BY_NUMBER
							  : KP_MAILBOX_INBOUND_ADDRESS_BY_NUMBER,
				    &number, arena, &address, &found, err);

	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "number: there is no message %lld",
				 (long long)operation->number);
	if (status == KEEP_OK)
		status =
			find_platform_id(operation, lease, address.message_id, arena, &target, err);
	if (status == KEEP_OK)
		status = write_operation(operation, target, content, err);
	if (status == KEEP_OK)
		status = kp_check_content("content", kp_buffer_bytes(content), err);
	if (status != KEEP_OK)
		return status;
	message.content = kp_buffer_bytes(content);
	message.channel_type = address.channel_type;
	message.platform_id = address.platform_id;
	message.thread_id = address.thread_id;
	if (!address.channel_type.data)
		status = kp_agent_route(agent, lease, arena, &message, err);
	return status == KEEP_OK ? kp_agent_outbound_add(lease, &message, operation->sent, err)
				 : status;
}

static keep_status apply_operation(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct operation *operation = ctx;
	kp_arena arena = {.head = NULL};
	keep_buffer content = KEEP_BUFFER_INIT;
	keep_status status = add_operation(operation, lease, &arena, &content, err);

	keep_buffer_release(&content);
	kp_arena_release(&arena);
	return status;
}

static keep_status operate(struct operation *operation, keep_error *err)
{
	keep_status status = kp_check_time("now_ms", operation->now_ms, err);

	if (!operation->sent)
		operation->sent = &operation->unwanted;
	if (status == KEEP_OK && operation->number <= 0)
		status = kp_fail(err, KEEP_INVALID, "number: %lld is no message's",
				 (long long)operation->number);
	if (status == KEEP_OK)
		status = kp_uuid_make(operation->id, err);
	if (status == KEEP_OK)
		status = kp_agent_write(operation->agent, KP_SQL_WRITE, true, apply_operation,
					operation, err);
	return status;
}

keep_status keep_agent_edit(keep_agent *agent, int64_t number, keep_bytes text, int64_t now_ms,
			    keep_sent *sent, keep_error *err)
{
	struct operation operation = {.agent = agent,
				      .number = number,
				      .now_ms = kp_now(now_ms),
				      .name = "edit",
				      .member = "text",
				      .value = text,
				      .sent = sent};
	keep_status status = kp_check_content("text", text, err);

	if (status == KEEP_OK && !text.data)
		status = kp_fail(err, KEEP_INVALID, "text: is missing");
	return status == KEEP_OK ? operate(&operation, err) : status;
}

keep_status keep_agent_react(keep_agent *agent, int64_t number, keep_bytes emoji, int64_t now_ms,
			     keep_sent *sent, keep_error *err)
{
	struct operation operation = {.agent = agent,
				      .number = number,
				      .now_ms = kp_now(now_ms),
				      .name = "reaction",
				      .member = "emoji",
				      .value = emoji,
				      .sent = sent};
	keep_status status = kp_check_key("emoji", emoji, err);

	return status == KEEP_OK ? operate(&operation, err) : status;
}
