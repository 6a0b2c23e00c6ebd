/*
 * agent_to_agent.c - a message of one agent's becomes a message to another, once.
 *
 *     read the source: chosen before? ── no ──> choose the target session ──> step "to_session"
 *                        └── yes ─────────────────────────┴──> copy the files ──> post ──> settled
 *
 * An answer goes to the session that asked (messages_in.source_session_id of what it answers), if
 * that is the agent it is addressed to; everything else to the agent's shared session, which is
 * made when it is missing.
 *
 * Invariants:
 *   1. The message's id in the target follows from the source's session and the delivery's key, and
 *      the target is written down in the source before anything is stored in the target: whatever
 *      is repeated after a crash, and whatever was closed or made meanwhile, the message is there
 *      once. Each occurrence of a recurrence has a key of its own, and is a message of its own.
 *   2. Files are in the target's inbox, whole, before the row that names them. They are read and
 *      written a step at a time, following no link (attachments.c); one that is there stays as it
 *      is: it was copied by an earlier try.
 *   3. platform_id of what arrives is the source's agent group: the receiver answers to that.
 *   4. What can never work is a refusal with a reason, not a failure.
 *
 * What it does not do: permission (collect_permission.c), the end of the delivery (delivery.c).
 *
 * Tests: tests/contract/test_mailbox_agents.c, tests/crash/test_mailbox_steps_crash.c.
 */
#include "mailbox/mailbox_private.h"

#include <stdio.h>

enum { FILES_MAX = 100, LOOK_AFTER_MS = 60000 };

static const char chosen_step[] = "to_session";

struct handing {
	keep_mailbox *mailbox;
	const keep_session *source;
	const keep_outbound_message *message;
	keep_bytes key; /* its delivery's: the message's id, or that of a later occurrence */
	int64_t now_ms;
	kp_arena *arena;
	keep_bytes chosen;  /* the target's id, when it was written down */
	keep_bytes answers; /* the session that in_reply_to came from */
	keep_session target;
	char id[KP_SEGMENT_SIZE]; /* of the message in the target */
	keep_inbound_message stored;
	bool has_group, is_stored, is_closed;
};

/* ---------------------------------------------------------------- the target */

static keep_status read_chosen(struct handing *handing, kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value detail = {.is_null = true};
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_GET_STEP_DETAIL,
					   KP_VALUES(kp_text_value(handing->source->id),
						     kp_text_value(handing->key),
						     kp_text_value(keep_bytes_of(chosen_step))),
					   &stmt, err);

	handing->chosen = (keep_bytes){.data = NULL};
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, 0, KP_TEXT, &detail, err);
	if (status == KEEP_OK && has_row && !detail.is_null)
		status = kp_arena_copy(handing->arena, detail.bytes, &handing->chosen, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status query_source(void *ctx, kp_lease *lease, keep_error *err)
{
	struct handing *handing = ctx;
	keep_inbound_message origin;
	bool found = false;
	keep_status status = read_chosen(handing, lease, err);

	handing->answers = (keep_bytes){.data = NULL};
	if (status != KEEP_OK || handing->chosen.data || !handing->message->in_reply_to.data)
		return status;
	status = kp_lease_get(lease, KP_MAILBOX_GET_INBOUND,
			      KP_VALUES(kp_text_value(handing->source->id),
					kp_text_value(handing->message->in_reply_to)),
			      &kp_inbound_message_record, handing->arena, &origin, &found, err);
	if (status == KEEP_OK && found)
		handing->answers = origin.source_session_id;
	return status;
}

static keep_status query_group(void *ctx, kp_lease *lease, keep_error *err)
{
	struct handing *handing = ctx;
	int64_t one;

	return kp_lease_int(lease, KP_MAILBOX_HAS_AGENT_GROUP,
			    KP_VALUES(kp_text_value(handing->message->platform_id)), &one,
			    &handing->has_group, err);
}

/* The agent's shared session. NOT_FOUND: no such agent. */
static keep_status find_shared(struct handing *handing, keep_error *err)
{
	keep_session_place place = {.agent_group_id = handing->message->platform_id,
				    .session_mode = KEEP_BYTES("agent-shared")};
	keep_status status = kp_registry_read(handing->mailbox, query_group, handing, err);

	if (status == KEEP_OK && !handing->has_group)
		return kp_fail(err, KEEP_NOT_FOUND, "agent: there is no '%" KP_PRI "'",
			       KP_ARG(handing->message->platform_id));
	if (status == KEEP_OK)
		status = keep_mailbox_resolve_session(handing->mailbox, &place, handing->now_ms,
						      handing->arena, &handing->target, NULL, err);
	return status;
}

static keep_status apply_chosen(void *ctx, kp_lease *lease, keep_error *err)
{
	struct handing *handing = ctx;
	keep_status status = read_chosen(handing, lease, err);

	if (status != KEEP_OK || handing->chosen.data) /* another host was faster */
		return status;
	return kp_step_add(lease, handing->source->id, handing->key, chosen_step,
			   handing->target.id, handing->now_ms, err);
}

/* Invariant 1: from the source's steps, or chosen now and written down. */
static keep_status choose_target(struct handing *handing, keep_error *err)
{
	kp_session_change change = {.session = handing->source->id, .mode = KP_SQL_WRITE};
	keep_status status =
		kp_session_read(handing->mailbox, handing->source->id, query_source, handing, err);
	bool is_asker = false;

	if (status == KEEP_OK && handing->chosen.data)
		return keep_mailbox_get_session(handing->mailbox, handing->chosen, handing->arena,
						&handing->target, err);
	if (status == KEEP_OK && handing->answers.data) {
		status = keep_mailbox_get_session(handing->mailbox, handing->answers,
						  handing->arena, &handing->target, err);
		is_asker = status == KEEP_OK && kp_bytes_equal(handing->target.agent_group_id,
							       handing->message->platform_id);
	}
	if (status == KEEP_OK && !is_asker)
		status = find_shared(handing, err);
	if (status == KEEP_OK && kp_bytes_equal(handing->target.status, KEEP_BYTES("closed")))
		return kp_fail(err, KEEP_CONFLICT, "session: '%" KP_PRI "' is closed",
			       KP_ARG(handing->target.id));
	if (status == KEEP_OK)
		status = kp_session_write(handing->mailbox, &change, apply_chosen, handing, err);
	if (status == KEEP_OK && handing->chosen.data &&
	    !kp_bytes_equal(handing->chosen, handing->target.id))
		status = keep_mailbox_get_session(handing->mailbox, handing->chosen, handing->arena,
						  &handing->target, err);
	kp_moment("mailbox.target_chosen");
	return status;
}

/* "a2a-<session>-<row>" where that is unambiguous and short enough, which with UUIDs it is. The key
   of a later occurrence has a time behind its row, and becomes no name of a folder. */
static keep_status write_id(struct handing *handing, keep_error *err)
{
	keep_bytes session = handing->source->id, row = handing->key;
	unsigned char digest[KP_SHA256_SIZE];
	char hex[2 * KP_SHA256_SIZE + 1];
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status;

	if (kp_bytes_equal(row, handing->message->id) && session.len == KP_UUID_TEXT_SIZE - 1 &&
	    session.len + row.len + 5 <= KEEP_SEGMENT_MAX) {
		snprintf(handing->id, sizeof handing->id, "a2a-%.*s-%.*s", (int)session.len,
			 session.data, (int)row.len, row.data);
		return KEEP_OK;
	}
	status = kp_buffer_append_format(&text, err, "%zu:%.*s:%.*s", session.len, (int)session.len,
					 session.data, (int)row.len, row.data);
	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(&text), digest, err);
	keep_buffer_release(&text);
	if (status != KEEP_OK)
		return status;
	kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hex);
	snprintf(handing->id, sizeof handing->id, "a2a-%s", hex);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- files */

/* The names in content.files; *count 0: none. */
static keep_status read_files(const struct handing *handing, const kp_json **content,
			      const kp_json **files, keep_error *err)
{
	keep_status status = kp_json_parse(handing->message->content, handing->arena, content, err);

	*files = status == KEEP_OK ? kp_json_member(*content, "files") : NULL;
	if (status != KEEP_OK || !*files || (*files)->kind == KP_JSON_NULL) {
		*files = NULL;
		return status;
	}
	if ((*files)->kind != KP_JSON_ARRAY || (*files)->list.count > FILES_MAX)
		return kp_fail(err, KEEP_INVALID, "files: are no array of at most %d names",
			       FILES_MAX);
	for (size_t i = 0; i < (*files)->list.count && status == KEEP_OK; i++)
		status = (*files)->list.items[i].kind == KP_JSON_TEXT
				 ? kp_check_file_name("file", (*files)->list.items[i].text, err)
				 : kp_fail(err, KEEP_INVALID, "files: number %zu is no text", i);
	if (status == KEEP_OK && !(*files)->list.count)
		*files = NULL;
	if (status == KEEP_OK && *files && handing->mailbox->schema)
		return kp_fail(err, KEEP_INVALID, "files: a mailbox on a server has no folders");
	return status;
}

static keep_status copy_file(const struct handing *handing, const char *from, const char *to,
			     keep_bytes name, bool *is_refusal, keep_error *err)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_status status =
		kp_file_of_message(from, "outbox", handing->message->id, name, &bytes, err);

	/* The agent's fault: no such file, a link, too large. */
	*is_refusal = status == KEEP_NOT_FOUND || status == KEEP_INVALID || status == KEEP_DENIED ||
		      status == KEEP_FULL;
	if (status == KEEP_OK) {
		keep_file file = {.name = name, .bytes = kp_buffer_bytes(&bytes)};

		status = kp_files_store(to, "inbox", keep_bytes_of(handing->id), &file, 1,
					handing->mailbox->agent_uid, handing->mailbox->agent_gid,
					err);
		if (status == KEEP_CONFLICT) /* invariant 2 */
			status = KEEP_OK;
	}
	keep_buffer_release(&bytes);
	return status;
}

static keep_status copy_files(const struct handing *handing, const kp_json *files, bool *is_refusal,
			      keep_error *err)
{
	char *from = NULL, *to = NULL;
	keep_status status = kp_session_folder(handing->mailbox, handing->source->agent_group_id,
					       handing->source->id, handing->arena, &from, err);

	if (status == KEEP_OK)
		status = kp_session_folder(handing->mailbox, handing->target.agent_group_id,
					   handing->target.id, handing->arena, &to, err);
	for (size_t i = 0; status == KEEP_OK && i < files->list.count; i++)
		status = copy_file(handing, from, to, files->list.items[i].text, is_refusal, err);
	return status;
}

/* The content, and where its files are now: "attachments":[{"type","name","localPath"}]. */
static keep_status write_content(const struct handing *handing, const kp_json *content,
				 const kp_json *files, keep_bytes *out, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT, path = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status = KEEP_OK;

	kp_json_begin(&writer, &text);
	kp_json_open_object(&writer);
	for (size_t i = 0; i < content->list.count; i++) {
		if (kp_bytes_equal(content->list.items[i].name, KEEP_BYTES("attachments")))
			continue;
		kp_json_name_bytes(&writer, content->list.items[i].name);
		kp_json_put_raw(&writer, content->list.items[i].raw);
	}
	kp_json_name(&writer, "attachments");
	kp_json_open_array(&writer);
	for (size_t i = 0; i < files->list.count && status == KEEP_OK; i++) {
		keep_bytes name = files->list.items[i].text;

		path.len = 0;
		status = kp_buffer_append_format(&path, err, "inbox/%s/%.*s", handing->id,
						 (int)name.len, name.data);
		kp_json_open_object(&writer);
		kp_json_name(&writer, "type");
		kp_json_put_text(&writer, KEEP_BYTES("file"));
		kp_json_name(&writer, "name");
		kp_json_put_text(&writer, name);
		kp_json_name(&writer, "localPath");
		kp_json_put_text(&writer, kp_buffer_bytes(&path));
		kp_json_close_object(&writer);
	}
	kp_json_close_array(&writer);
	kp_json_close_object(&writer);
	if (status == KEEP_OK)
		status = kp_json_finish(&writer, err);
	if (status == KEEP_OK && text.len > KEEP_MAILBOX_CONTENT_MAX)
		status = kp_fail(err, KEEP_INVALID, "content: is too large with its files' names");
	if (status == KEEP_OK)
		status = kp_arena_copy(handing->arena, kp_buffer_bytes(&text), out, err);
	keep_buffer_release(&path);
	keep_buffer_release(&text);
	return status;
}

/* ---------------------------------------------------------------- the message */

struct arriving {
	struct handing *handing;
	keep_bytes content;
};

static keep_status query_stored(void *ctx, kp_lease *lease, keep_error *err)
{
	struct handing *handing = ((struct arriving *)ctx)->handing;

	return kp_lease_get(lease, KP_MAILBOX_GET_INBOUND,
			    KP_VALUES(kp_text_value(handing->target.id),
				      kp_text_value(keep_bytes_of(handing->id))),
			    &kp_inbound_message_record, handing->arena, &handing->stored,
			    &handing->is_stored, err);
}

static keep_status apply_arriving(void *ctx, kp_lease *lease, keep_error *err)
{
	struct arriving *arriving = ctx;
	struct handing *handing = arriving->handing;
	const keep_outbound_message *sent = handing->message;
	bool is_sdk = kp_bytes_equal(sent->kind, KEEP_BYTES("chat-sdk"));
	keep_inbound_message message = {
		.session_id = handing->target.id,
		.id = keep_bytes_of(handing->id),
		.kind = is_sdk ? KEEP_BYTES("chat-sdk") : KEEP_BYTES("chat"),
		.timestamp = handing->now_ms,
		.status = KEEP_BYTES(KEEP_INBOUND_MESSAGE_STATUS_PENDING),
		.platform_id = handing->source->agent_group_id,
		.channel_type = KEEP_BYTES("agent"),
		.content = arriving->content,
		.source_session_id = handing->source->id,
		.source_out_id = sent->id,
		.stored_at = handing->now_ms,
		.has_stored_at = true,
	};
	keep_session_host host;
	bool existed = false;
	int64_t seq;
	keep_status status = query_stored(arriving, lease, err);

	handing->is_closed = false;
	if (status != KEEP_OK || handing->is_stored)
		return status;
	status = kp_session_host_get(lease, handing->target.id, handing->arena, &host, err);
	if (status != KEEP_OK)
		return status;
	handing->is_closed = host.closed;
	return host.closed ? KEEP_OK : kp_inbound_add_once(lease, &message, &existed, &seq, err);
}

static keep_status post_message(struct handing *handing, bool *is_refusal, keep_error *err)
{
	struct arriving arriving = {handing, handing->message->content};
	kp_session_change change = {.session = handing->target.id,
				    .mode = KP_SQL_WRITE,
				    .news = KP_NEWS_AGENT,
				    .due_ms = handing->now_ms + LOOK_AFTER_MS};
	const kp_json *content = NULL, *files = NULL;
	keep_status status =
		kp_session_read(handing->mailbox, handing->target.id, query_stored, &arriving, err);

	if (status != KEEP_OK || handing->is_stored)
		return status;
	status = read_files(handing, &content, &files, err);
	if (status == KEEP_OK && files)
		status = write_content(handing, content, files, &arriving.content, err);
	*is_refusal = status == KEEP_INVALID;
	if (status == KEEP_OK && files)
		status = copy_files(handing, files, is_refusal, err);
	kp_moment("mailbox.files_handed");
	if (status == KEEP_OK)
		status =
			kp_session_write(handing->mailbox, &change, apply_arriving, &arriving, err);
	if (status == KEEP_OK && handing->is_closed) {
		*is_refusal = true;
		status = kp_fail(err, KEEP_CONFLICT, "session: '%" KP_PRI "' is closed",
				 KP_ARG(handing->target.id));
	}
	kp_moment("mailbox.message_handed");
	return status;
}

keep_status kp_agent_to_agent(keep_mailbox *mailbox, const keep_session *session,
			      const keep_outbound_message *message, keep_bytes key, int64_t now_ms,
			      kp_arena *arena, keep_bytes *refused, keep_error *err)
{
	struct handing handing = {.mailbox = mailbox,
				  .source = session,
				  .message = message,
				  .key = key,
				  .now_ms = now_ms,
				  .arena = arena};
	keep_error why = KEEP_ERROR_INIT;
	bool is_refusal = false;
	keep_status status = kp_check_segment("message id", message->id, &why);

	*refused = (keep_bytes){.data = NULL};
	if (status == KEEP_OK)
		status = kp_check_segment("agent", message->platform_id, &why);
	if (status == KEEP_OK)
		status = choose_target(&handing, &why);
	is_refusal = status == KEEP_INVALID || status == KEEP_NOT_FOUND || status == KEEP_CONFLICT;
	if (status == KEEP_OK)
		status = write_id(&handing, &why);
	if (status == KEEP_OK)
		status = post_message(&handing, &is_refusal, &why);
	if (status == KEEP_OK)
		return KEEP_OK;
	if (is_refusal)
		return kp_arena_copy(arena, keep_bytes_of(why.message), refused, err);
	return kp_fail(err, status, "%s", why.message);
}
