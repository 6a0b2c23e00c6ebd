/*
 * agent_send.c - what the agent says, and replies together with their acknowledgement.
 *
 * Invariants:
 *   1. Replies and the acknowledgement of what they answer are one commit.
 *   2. A reply goes where its message came from; what answers nothing goes to a destination by
 *      name, or where the session's route leads.
 *   3. An id is one message. The same once more is a duplicate and changes nothing; another one
 *      under that id is CONFLICT.
 *   4. Files are stored and synced before the row that names them; a send that is refused stores
 *      none, and the files of one that fails later are taken away again.
 *   5. Replies of claims that were completed before are duplicates or CONFLICT, never new: so a
 *      completion that is repeated says nothing twice.
 *
 * What it does not do: decide whether the host lets a message through; it asks the registry.
 *
 * Tests: tests/contract/test_mailbox_send.c, tests/contract/test_mailbox_seq.c.
 */
#include "mailbox/mailbox_private.h"

#include <stdio.h>

struct sending {
	keep_agent *agent;
	const keep_claim_ref *claims;
	size_t claim_count;
	const keep_send *sends; /* with their ids, and their files named in the content */
	size_t send_count;
	const bool *is_given; /* the id is the caller's */
	int64_t now_ms;
	bool looks; /* checks all, stores nothing */
	keep_sent *sent;
};

/* ---------------------------------------------------------------- checks without the database */

static keep_status check_recurrence(keep_bytes recurrence, keep_error *err)
{
	keep_schedule *schedule = NULL;
	keep_status status;

	if (!recurrence.data)
		return KEEP_OK;
	status = keep_schedule_parse(recurrence, NULL, &schedule, err);
	if (status == KEEP_INVALID)
		status = kp_prefix(err, status, "recurrence");
	keep_schedule_close(&schedule);
	return status;
}

static keep_status check_files(const keep_send *send, keep_error *err)
{
	keep_status status;

	if (send->file_count && !send->files)
		return kp_fail(err, KEEP_MISUSE, "files: are NULL");
	status = kp_files_check(send->files, send->file_count, err);
	for (size_t i = 0; i < send->file_count && status == KEEP_OK; i++)
		for (size_t k = 0; k < i && status == KEEP_OK; k++)
			if (kp_bytes_equal(send->files[i].name, send->files[k].name))
				status = kp_fail(err, KEEP_INVALID,
						 "files: '%" KP_PRI "' is there twice",
						 KP_ARG(send->files[i].name));
	return status;
}

keep_status kp_agent_send_check(const keep_send *send, keep_error *err)
{
	static const char *const kinds[] = {"chat", "chat-sdk", "system"};
	bool is_known = !send->kind.data;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(kinds); i++)
		is_known |= kp_bytes_equal(send->kind, keep_bytes_of(kinds[i]));
	if (!is_known)
		return kp_fail(err, KEEP_INVALID,
			       "kind: '%" KP_PRI "' is none: chat, chat-sdk, system",
			       KP_ARG(send->kind));
	if (send->id.data)
		status = kp_check_segment("id", send->id, err);
	if (status == KEEP_OK && !send->content.data)
		status = kp_fail(err, KEEP_INVALID, "content: is missing");
	if (status == KEEP_OK)
		status = kp_check_json("content", send->content, KP_JSON_NULL, err);
	if (status == KEEP_OK && send->to.data)
		status = kp_check_key("to", send->to, err);
	if (status == KEEP_OK && send->in_reply_to.data)
		status = kp_check_key("in_reply_to", send->in_reply_to, err);
	if (status == KEEP_OK && send->deliver_after)
		status = kp_check_time("deliver_after", send->deliver_after, err);
	if (status == KEEP_OK)
		status = check_recurrence(send->recurrence, err);
	return status == KEEP_OK ? check_files(send, err) : status;
}

/* ---------------------------------------------------------------- files in the content */

static bool is_named(const kp_json *names, keep_bytes name)
{
	for (size_t i = 0; names && i < names->list.count; i++)
		if (kp_bytes_equal(names->list.items[i].text, name))
			return true;
	return false;
}

static void write_content(const kp_json *content, const kp_json *names, const keep_send *send,
			  kp_json_writer *writer)
{
	kp_json_open_object(writer);
	for (size_t i = 0; i < content->list.count; i++) {
		const kp_json *member = &content->list.items[i];

		if (member == names)
			continue;
		kp_json_name_bytes(writer, member->name);
		kp_json_put_raw(writer, member->raw);
	}
	kp_json_name(writer, "files");
	kp_json_open_array(writer);
	for (size_t i = 0; names && i < names->list.count; i++)
		kp_json_put_text(writer, names->list.items[i].text);
	for (size_t i = 0; i < send->file_count; i++)
		if (!is_named(names, send->files[i].name))
			kp_json_put_text(writer, send->files[i].name);
	kp_json_close_array(writer);
	kp_json_close_object(writer);
}

/* The content with content.files naming the files too. */
static keep_status name_files(const keep_send *send, kp_arena *arena, keep_bytes *out,
			      keep_error *err)
{
	keep_buffer buffer = KEEP_BUFFER_INIT;
	const kp_json *content = NULL, *names;
	kp_json_writer writer;
	keep_status status = kp_json_parse(send->content, arena, &content, err);

	if (status != KEEP_OK)
		return status;
	if (content->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID,
			       "content: is %s, and only an object can name its files",
			       kp_json_kind_name(content->kind));
	names = kp_json_member(content, "files");
	if (names && names->kind != KP_JSON_ARRAY)
		return kp_fail(err, KEEP_INVALID, "content.files: is %s, not a list of names",
			       kp_json_kind_name(names->kind));
	for (size_t i = 0; names && i < names->list.count; i++)
		if (names->list.items[i].kind != KP_JSON_TEXT)
			return kp_fail(err, KEEP_INVALID, "content.files: holds %s, not a name",
				       kp_json_kind_name(names->list.items[i].kind));
	kp_json_begin(&writer, &buffer);
	write_content(content, names, send, &writer);
	status = kp_json_finish(&writer, err);
	if (status == KEEP_OK)
		status = kp_check_content("content", kp_buffer_bytes(&buffer), err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, kp_buffer_bytes(&buffer), out, err);
	keep_buffer_release(&buffer);
	return status;
}

/* ---------------------------------------------------------------- where it goes */

keep_status kp_agent_address_of(keep_agent *agent, kp_lease *lease, size_t statement,
				const kp_value *which, kp_arena *arena, kp_address *out,
				bool *found, keep_error *err)
{
	keep_bytes *const texts[] = {&out->channel_type, &out->platform_id, &out->thread_id,
				     &out->message_id};
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(
		lease, statement, KP_VALUES(kp_text_value(kp_agent_id(agent)), *which), &stmt, err);

	*out = (kp_address){.channel_type = {.data = NULL}};
	*found = false;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, found, err);
	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK && *found; i++) {
		kp_value value = {.is_null = true};

		status = kp_sql_column(stmt, (int)i, KP_TEXT, &value, err);
		if (status == KEEP_OK && !value.is_null)
			status = kp_arena_copy(arena, value.bytes, texts[i], err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* DENIED, with the names that there are, as far as a message has room. */
static keep_status deny(keep_agent *agent, kp_lease *lease, keep_bytes name, kp_arena *arena,
			keep_error *err)
{
	kp_value session = kp_text_value(kp_agent_id(agent));
	keep_session_destination *rows = NULL;
	size_t count = 0, used = 0, shown = 0;
	char list[200] = "";
	keep_status status =
		kp_lease_list(lease, KP_MAILBOX_LIST_SESSION_DESTINATIONS, &session, 1,
			      &kp_session_destination_record, arena, &rows, &count, err);

	if (status != KEEP_OK)
		return status;
	for (; shown < count && used + rows[shown].name.len + 3 < sizeof list; shown++)
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%.*s",
					 shown ? ", " : "", (int)rows[shown].name.len,
					 rows[shown].name.data);
	return kp_fail(err, KEEP_DENIED, "to: '%.*s' is no destination; %s%s%s",
		       (int)(name.len > 60 ? 60 : name.len), name.data,
		       count ? "there are: " : "there is none", list,
		       shown < count ? ", and others" : "");
}

static keep_status find_destination(keep_agent *agent, kp_lease *lease, keep_bytes name,
				    kp_arena *arena, keep_outbound_message *message,
				    keep_error *err)
{
	keep_session_destination row;
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_GET_DESTINATION,
			     KP_VALUES(kp_text_value(kp_agent_id(agent)), kp_text_value(name)),
			     &kp_session_destination_record, arena, &row, &found, err);

	if (status != KEEP_OK)
		return status;
	if (!found)
		return deny(agent, lease, name, arena, err);
	if (kp_bytes_equal(row.type, KEEP_BYTES(KEEP_SESSION_DESTINATION_TYPE_AGENT))) {
		message->channel_type = KEEP_BYTES("agent");
		message->platform_id = row.agent_group_id;
	} else {
		message->channel_type = row.channel_type;
		message->platform_id = row.platform_id;
	}
	message->thread_id = (keep_bytes){.data = NULL};
	return KEEP_OK;
}

static void put_address(keep_outbound_message *message, const kp_address *address)
{
	message->channel_type = address->channel_type;
	message->platform_id = address->platform_id;
	message->thread_id = address->thread_id;
}

keep_status kp_agent_route(keep_agent *agent, kp_lease *lease, kp_arena *arena,
			   keep_outbound_message *message, keep_error *err)
{
	kp_value session = kp_text_value(kp_agent_id(agent));
	keep_session_route route;
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_MAILBOX_GET_SESSION_ROUTE, &session, 1,
					  &kp_session_route_record, arena, &route, &found, err);

	if (status != KEEP_OK)
		return status;
	if (found && route.channel_type.data) {
		message->channel_type = route.channel_type;
		message->platform_id = route.platform_id;
		message->thread_id = route.thread_id;
		return KEEP_OK;
	}
	/* What asks the host to do something need not go anywhere. */
	if (kp_bytes_equal(message->kind, KEEP_BYTES(KEEP_INBOUND_MESSAGE_KIND_SYSTEM)))
		return KEEP_OK;
	return kp_fail(err, KEEP_NOT_FOUND,
		       "to: is missing, and the session has no route of its own");
}

/* Invariant 2. */
static keep_status resolve(keep_agent *agent, kp_lease *lease, keep_bytes to, kp_arena *arena,
			   keep_outbound_message *message, keep_error *err)
{
	kp_value origin = kp_text_value(message->in_reply_to);
	kp_address address;
	bool found = false;
	keep_status status;

	if (to.data)
		return find_destination(agent, lease, to, arena, message, err);
	if (message->in_reply_to.data) {
		status = kp_agent_address_of(agent, lease, KP_MAILBOX_INBOUND_ADDRESS, &origin,
					     arena, &address, &found, err);
		if (status != KEEP_OK)
			return status;
		if (found && address.channel_type.data) {
			put_address(message, &address);
			return KEEP_OK;
		}
	}
	return kp_agent_route(agent, lease, arena, message, err);
}

/* ---------------------------------------------------------------- the row */

/* Invariant 3: the row that has the id. *found false: none has. */
static keep_status look_at_namesake(kp_lease *lease, const keep_outbound_message *message,
				    kp_arena *arena, keep_outbound_message *stored, bool *found,
				    keep_error *err)
{
	keep_status status = kp_lease_get(
		lease, KP_MAILBOX_GET_OUTBOUND,
		KP_VALUES(kp_text_value(message->session_id), kp_text_value(message->id)),
		&kp_outbound_message_record, arena, stored, found, err);

	if (status != KEEP_OK || !*found)
		return status;
	if (!kp_bytes_equal(stored->kind, message->kind) ||
	    !kp_bytes_equal(stored->content, message->content) ||
	    !kp_bytes_equal(stored->in_reply_to, message->in_reply_to) ||
	    !kp_bytes_equal(stored->recurrence, message->recurrence))
		return kp_fail(err, KEEP_CONFLICT, "id: '%" KP_PRI "' is another message",
			       KP_ARG(message->id));
	return KEEP_OK;
}

/* A repetition need not find the way any more; but a way that leads elsewhere is another message.
 */
static keep_status check_way(keep_agent *agent, kp_lease *lease, keep_bytes to, kp_arena *arena,
			     const keep_outbound_message *stored, keep_error *err)
{
	keep_outbound_message message = {.channel_type = {.data = NULL}};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (!to.data)
		return KEEP_OK;
	status = find_destination(agent, lease, to, arena, &message, &why);
	if (status == KEEP_DENIED)
		return KEEP_OK;
	if (status != KEEP_OK)
		return kp_fail(err, status, "%s", why.message);
	if (!kp_bytes_equal(stored->channel_type, message.channel_type) ||
	    !kp_bytes_equal(stored->platform_id, message.platform_id))
		return kp_fail(err, KEEP_CONFLICT, "id: '%" KP_PRI "' went somewhere else",
			       KP_ARG(stored->id));
	return KEEP_OK;
}

keep_status kp_agent_outbound_add(kp_lease *lease, const keep_outbound_message *message,
				  keep_sent *sent, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool added = false;
	keep_status status = kp_lease_statement(
		lease, message->seq ? KP_MAILBOX_ADD_OUTBOUND_NEXT : KP_MAILBOX_ADD_OUTBOUND, &stmt,
		err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_outbound_message_record, message, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &added, err);
	if (status == KEEP_OK && message->seq) {
		added = kp_sql_changes(stmt) > 0;
		sent->seq = message->seq;
	} else if (status == KEEP_OK && added) {
		status = kp_sql_column_int(stmt, 0, &sent->seq, err);
	}
	kp_sql_reset(stmt);
	if (status == KEEP_OK && !added)
		status = kp_fail(err, KEEP_CONFLICT, "id: '%" KP_PRI "' is another message",
				 KP_ARG(message->id));
	memcpy(sent->id, message->id.data, message->id.len);
	sent->id[message->id.len] = '\0';
	sent->is_duplicate = false;
	return status;
}

static keep_outbound_message complete(const keep_agent *agent, const keep_send *send, keep_bytes id,
				      keep_bytes reply_to, int64_t now_ms)
{
	return (keep_outbound_message){
		.session_id = kp_agent_id(agent),
		.id = id,
		.in_reply_to = send->in_reply_to.data ? send->in_reply_to : reply_to,
		.timestamp = now_ms,
		.deliver_after = send->deliver_after,
		.has_deliver_after = send->deliver_after != 0,
		.recurrence = send->recurrence,
		.kind = kp_text_or(send->kind, "chat"),
		.content = send->content,
	};
}

/* One message; `looks`: all but storing it. */
static keep_status add_or_look(keep_agent *agent, kp_lease *lease, const keep_send *send,
			       const keep_outbound_message *given, bool looks, keep_sent *sent,
			       keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_outbound_message message = *given, stored;
	bool found = false;
	keep_status status = KEEP_OK;

	if (send->id.data)
		status = look_at_namesake(lease, &message, &arena, &stored, &found, err);
	if (status == KEEP_OK && found) {
		status = check_way(agent, lease, send->to, &arena, &stored, err);
		memcpy(sent->id, message.id.data, message.id.len);
		sent->id[message.id.len] = '\0';
		sent->seq = stored.seq;
		sent->is_duplicate = true;
	} else if (status == KEEP_OK) {
		status = resolve(agent, lease, send->to, &arena, &message, err);
		if (status == KEEP_OK && !looks)
			status = kp_agent_outbound_add(lease, &message, sent, err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status kp_agent_send_add(keep_agent *agent, kp_lease *lease, const keep_send *send,
			      keep_bytes id, keep_bytes reply_to, int64_t now_ms, keep_sent *sent,
			      keep_error *err)
{
	keep_outbound_message message = complete(agent, send, id, reply_to, now_ms);

	return add_or_look(agent, lease, send, &message, false, sent, err);
}

/* ---------------------------------------------------------------- sending */

static keep_status apply_sending(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct sending *sending = ctx;
	keep_bytes reply_to = {.data = NULL};
	bool repeated = false;
	int64_t last_seq = 0; /* that was given out here */
	keep_status status = KEEP_OK;

	if (sending->claim_count) {
		reply_to = sending->claims[0].id;
		if (!sending->looks)
			status = kp_agent_acknowledge(
				sending->agent, lease, sending->claims, sending->claim_count,
				KEEP_PROCESSING_ACK_STATUS_COMPLETED, (keep_bytes){.data = NULL},
				sending->now_ms, &repeated, err);
	}
	for (size_t i = 0; i < sending->send_count && status == KEEP_OK; i++) {
		keep_send send = sending->sends[i];
		keep_outbound_message message =
			complete(sending->agent, &send, send.id, reply_to, sending->now_ms);

		message.seq = last_seq ? last_seq + 2 : 0;
		if (!sending->is_given[i])
			send.id = (keep_bytes){.data = NULL};
		status = add_or_look(sending->agent, lease, &send, &message, sending->looks,
				     &sending->sent[i], err);
		if (status == KEEP_OK && !sending->looks && !sending->sent[i].is_duplicate)
			last_seq = sending->sent[i].seq;
		if (status == KEEP_OK && repeated && !sending->sent[i].is_duplicate)
			status = kp_fail(err, KEEP_CONFLICT, /* invariant 5 */
					 "message '%" KP_PRI "' was completed before, without "
					 "this reply",
					 KP_ARG(reply_to));
	}
	return status;
}

/* Ids and contents with their files named. */
static keep_status prepare(const keep_send *sends, size_t count, kp_arena *arena, keep_send *out,
			   bool *is_given, bool *has_files, keep_error *err)
{
	keep_status status = KEEP_OK;

	*has_files = false;
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		char *id = kp_arena_alloc(arena, KP_UUID_TEXT_SIZE);

		if (!id)
			return kp_fail_memory(err, "an id");
		out[i] = sends[i];
		is_given[i] = sends[i].id.data != NULL;
		*has_files |= sends[i].file_count != 0;
		status = kp_agent_send_check(&sends[i], err);
		for (size_t k = 0; k < i && status == KEEP_OK && is_given[i]; k++)
			if (kp_bytes_equal(sends[i].id, sends[k].id))
				status = kp_fail(err, KEEP_INVALID,
						 "id: '%" KP_PRI "' is there twice",
						 KP_ARG(sends[i].id));
		if (status == KEEP_OK && !is_given[i]) {
			status = kp_uuid_make(id, err);
			out[i].id = (keep_bytes){id, KP_UUID_TEXT_SIZE - 1};
		}
		if (status == KEEP_OK && sends[i].file_count)
			status = name_files(&sends[i], arena, &out[i].content, err);
	}
	return status;
}

/* Invariant 4. */
static keep_status store_files(struct sending *sending, keep_error *err)
{
	keep_agent *agent = sending->agent;
	keep_status status;

	if (!agent->folder)
		return kp_fail(err, KEEP_INVALID, "files: a mailbox on a server has no folders");
	sending->looks = true;
	status = kp_agent_read(agent, apply_sending, sending, err);
	sending->looks = false;
	for (size_t i = 0; i < sending->send_count && status == KEEP_OK; i++)
		status = kp_files_store(agent->folder, "outbox", sending->sends[i].id,
					sending->sends[i].files, sending->sends[i].file_count, 0, 0,
					err);
	kp_moment("mailbox.outbox_stored");
	return status;
}

/* Those under ids that the caller chose may be another message's, or are for its next try. */
static void remove_files(const struct sending *sending)
{
	keep_error why = KEEP_ERROR_INIT;

	for (size_t i = 0; i < sending->send_count; i++)
		if (!sending->is_given[i] && sending->sends[i].file_count &&
		    kp_files_remove(sending->agent->folder, "outbox", sending->sends[i].id, &why) !=
			    KEEP_OK &&
		    why.status != KEEP_NOT_FOUND)
			kp_log(KEEP_LOG_WARNING, "files of a message that was not sent stay: %s",
			       why.message);
}

static keep_status send_all(struct sending *sending, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_send *prepared = kp_arena_alloc(&arena, KEEP_CLAIM_MAX * sizeof *prepared);
	bool is_given[KEEP_CLAIM_MAX] = {false}, has_files = false;
	keep_status status = kp_check_time("now_ms", sending->now_ms, err);

	if (status == KEEP_OK && !prepared)
		status = kp_fail_memory(err, "messages");
	if (status == KEEP_OK)
		status = prepare(sending->sends, sending->send_count, &arena, prepared, is_given,
				 &has_files, err);
	sending->sends = prepared;
	sending->is_given = is_given;
	if (status == KEEP_OK && has_files)
		status = store_files(sending, err);
	if (status == KEEP_OK) {
		status = kp_agent_write(sending->agent, KP_SQL_WRITE, true, apply_sending, sending,
					err);
		if (status != KEEP_OK && status != KEEP_UNCERTAIN && has_files)
			remove_files(sending);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_agent_send(keep_agent *agent, const keep_send *send, int64_t now_ms,
			    keep_sent *sent, keep_error *err)
{
	keep_sent here;
	struct sending sending = {.agent = agent,
				  .sends = send,
				  .send_count = 1,
				  .now_ms = kp_now(now_ms),
				  .sent = sent ? sent : &here};

	return send_all(&sending, err);
}

keep_status keep_agent_complete_with(keep_agent *agent, const keep_claim_ref *claims, size_t count,
				     const keep_send *replies, size_t reply_count, int64_t now_ms,
				     keep_sent *sent, keep_error *err)
{
	keep_sent here[KEEP_CLAIM_MAX];
	struct sending sending = {.agent = agent,
				  .claims = claims,
				  .claim_count = count,
				  .sends = replies,
				  .send_count = reply_count,
				  .now_ms = kp_now(now_ms),
				  .sent = sent ? sent : here};
	keep_status status = kp_agent_claims_check(claims, count, sending.now_ms, err);

	if (status == KEEP_OK && reply_count > KEEP_CLAIM_MAX)
		status = kp_fail(err, KEEP_INVALID, "replies: %zu are over %d", reply_count,
				 KEEP_CLAIM_MAX);
	return status == KEEP_OK ? send_all(&sending, err) : status;
}
