/*
 * collect_due.c - what is due of the messages that the host has taken over, read from the agent's
 * side once more and judged once more, for it may have been changed there meanwhile.
 *
 * An edit or a reaction names a message by its number (even: of messages_in, odd: of messages_out)
 * or by an id; what the channel needs is the platform's id of that. A text that is no id of ours is
 * one of the platform's: programs for the source look it up themselves.
 *
 * Invariants:
 *   1. A page is bounded: in rows, and all pages of a call together in bytes of contents.
 *   2. A message that waits for another one to be delivered is left as it is. When that one will
 *      not be delivered, neither is what is about it.
 *   3. File names are single segments; that the files are there is collect.c's to see.
 *
 * Tests: tests/contract/test_mailbox_collect.c.
 */
#include "mailbox/collect.h"

#define PAGE_BYTES_MAX ((size_t)16 << 20)

enum { FILES_MAX = 100 };

struct paging {
	const kp_collecting *collecting;
	bool is_first;
	size_t max;
	kp_due_page *page;
	int64_t after_due_at, after_seq;
	size_t bytes_before;
	int64_t out_seq; /* up to here, everything has been taken over */
};

static keep_bytes session_of(const struct paging *paging)
{
	return paging->collecting->session->id;
}

static void refuse(kp_due *item, const char *why)
{
	item->refused = keep_bytes_of(why);
}

/* ---------------------------------------------------------------- targets */

/* One text of a row, copied; *found false without a row. */
static keep_status read_text(const struct paging *paging, kp_lease *lease, size_t statement,
			     const kp_value *key, keep_bytes *out, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value text = {.is_null = true};
	keep_status status = kp_lease_bind(
		lease, statement, KP_VALUES(kp_text_value(session_of(paging)), *key), &stmt, err);

	*found = false;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, found, err);
	if (status == KEEP_OK && *found)
		status = kp_sql_column(stmt, 0, KP_TEXT, &text, err);
	if (status == KEEP_OK && text.bytes.len > KEEP_MAILBOX_TEXT_MAX)
		status = kp_fail(err, KEEP_CORRUPT, "an id of %zu bytes", text.bytes.len);
	if (status == KEEP_OK && *found)
		status = kp_arena_copy(paging->collecting->memory, text.bytes, out, err);
	kp_sql_reset(stmt);
	return status;
}

/* A message of the agent's as a target: what became of its delivery? */
static keep_status judge_target(const struct paging *paging, kp_lease *lease, keep_bytes id,
				int64_t seq, kp_due *item, keep_error *err)
{
	kp_value values[] = {kp_text_value(session_of(paging)), kp_text_value(id)};
	keep_delivered_message delivered;
	keep_outgoing_message outgoing;
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_MAILBOX_GET_DELIVERED, values, 2,
					  &kp_delivered_message_record, paging->collecting->memory,
					  &delivered, &found, err);

	if (status != KEEP_OK)
		return status;
	if (found &&
	    kp_bytes_equal(delivered.status, KEEP_BYTES(KEEP_DELIVERED_MESSAGE_STATUS_DELIVERED))) {
		item->target = delivered.platform_message_id;
		if (!item->target.data)
			refuse(item, "messageId: the channel gave that message no id");
		return KEEP_OK;
	}
	status =
		kp_lease_get(lease, KP_MAILBOX_GET_OUTGOING, values, 2, &kp_outgoing_message_record,
			     paging->collecting->memory, &outgoing, &found, err);
	if (status == KEEP_OK && (found || seq > paging->out_seq))
		item->waits = true; /* invariant 2 */
	else if (status == KEEP_OK)
		refuse(item, "messageId: that message was not delivered");
	return status;
}

static keep_status resolve_number(const struct paging *paging, kp_lease *lease, int64_t number,
				  kp_due *item, keep_error *err)
{
	kp_value key = kp_int_value(number);
	keep_bytes id = {.data = NULL};
	bool found = false;
	keep_status status;

	if (number > 0 && number % 2 == 0)
		status = read_text(paging, lease, KP_MAILBOX_PLATFORM_ID_OF_IN_SEQ, &key,
				   &item->target, &found, err);
	else
		status = read_text(paging, lease, KP_MAILBOX_OUT_ID_OF_SEQ, &key, &id, &found, err);
	if (status == KEEP_OK && !found)
		refuse(item, "messageId: no message has that number");
	else if (status == KEEP_OK && id.data)
		status = judge_target(paging, lease, id, number, item, err);
	return status;
}

static keep_status resolve_id(const struct paging *paging, kp_lease *lease, keep_bytes text,
			      kp_due *item, keep_error *err)
{
	kp_value key = kp_text_value(text);
	bool found = false;
	int64_t seq = 0;
	keep_status status;

	if (kp_check_key("messageId", text, NULL) != KEEP_OK) {
		refuse(item, "messageId: is no id");
		return KEEP_OK;
	}
	status = read_text(paging, lease, KP_MAILBOX_PLATFORM_ID_OF_IN_ID, &key, &item->target,
			   &found, err);
	if (status != KEEP_OK || found)
		return status;
	status = kp_lease_int(lease, KP_MAILBOX_OUT_SEQ_OF_ID,
			      KP_VALUES(kp_text_value(session_of(paging)), key), &seq, &found, err);
	if (status == KEEP_OK && found)
		return judge_target(paging, lease, text, seq, item, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(paging->collecting->memory, text, &item->target, err);
	return status;
}

static keep_status read_operation(const struct paging *paging, kp_lease *lease,
				  const kp_json *content, kp_due *item, keep_error *err)
{
	const kp_json *operation = kp_json_member(content, "operation");
	const kp_json *id = kp_json_member(content, "messageId");

	if (!operation || operation->kind == KP_JSON_NULL)
		return KEEP_OK;
	if (operation->kind == KP_JSON_TEXT && kp_bytes_equal(operation->text, KEEP_BYTES("edit")))
		item->operation = KEEP_BYTES("edit");
	else if (operation->kind == KP_JSON_TEXT &&
		 kp_bytes_equal(operation->text, KEEP_BYTES("reaction")))
		item->operation = KEEP_BYTES("reaction");
	else
		refuse(item, "operation: is none of edit, reaction");
	if (item->refused.data)
		return KEEP_OK;
	if (id && id->kind == KP_JSON_INTEGER)
		return resolve_number(paging, lease, id->integer, item, err);
	if (id && id->kind == KP_JSON_TEXT)
		return resolve_id(paging, lease, id->text, item, err);
	refuse(item, "messageId: is missing, or neither a number nor a text");
	return KEEP_OK;
}

/* ---------------------------------------------------------------- files */

static keep_status read_files(const struct paging *paging, const kp_json *content, kp_due *item,
			      keep_error *err)
{
	const kp_json *files = kp_json_member(content, "files");
	keep_status status = KEEP_OK;

	if (!files || files->kind == KP_JSON_NULL)
		return KEEP_OK;
	if (files->kind != KP_JSON_ARRAY || files->list.count > FILES_MAX) {
		refuse(item, "files: is no list of at most 100 names");
		return KEEP_OK;
	}
	item->files = kp_arena_alloc(paging->collecting->memory,
				     (files->list.count + 1) * sizeof *item->files);
	if (!item->files)
		return kp_fail_memory(err, "file names");
	for (size_t i = 0; i < files->list.count && status == KEEP_OK; i++) {
		const kp_json *name = &files->list.items[i];

		if (name->kind != KP_JSON_TEXT ||
		    kp_check_file_name("files", name->text, NULL) != KEEP_OK) {
			refuse(item, "files: has what is no file name");
			return KEEP_OK;
		}
		status = kp_arena_copy(paging->collecting->memory, name->text,
				       &item->files[item->file_count++], err);
	}
	return status;
}

/* ---------------------------------------------------------------- one message */

/* "<id>", or "<id>@…" of a later occurrence. */
static bool is_key_of(keep_bytes key, keep_bytes id)
{
	return id.data && key.len >= id.len && memcmp(key.data, id.data, id.len) == 0 &&
	       (key.len == id.len || key.data[id.len] == '@');
}

static keep_status read_content(const struct paging *paging, kp_lease *lease, kp_due *item,
				keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *content = NULL;
	keep_status status = kp_json_parse(item->message.content, &arena, &content, err);

	if (status == KEEP_OK)
		status = read_operation(paging, lease, content, item, err);
	if (status == KEEP_OK && !item->refused.data && !item->waits)
		status = read_files(paging, content, item, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status read_message(const struct paging *paging, kp_lease *lease, kp_due *item,
				keep_error *err)
{
	keep_status status =
		kp_outbound_judge(lease, session_of(paging), item->outgoing.seq,
				  paging->collecting->memory, &item->message, &item->refused, err);

	if (status != KEEP_OK || item->refused.data)
		return status;
	if (!is_key_of(item->outgoing.message_out_id, item->message.id)) {
		refuse(item, "its row is another message's now");
		return KEEP_OK;
	}
	item->is_system = kp_bytes_equal(item->message.kind, KEEP_BYTES("system"));
	item->is_to_agent =
		!item->is_system && kp_bytes_equal(item->message.channel_type, KEEP_BYTES("agent"));
	return item->is_system ? KEEP_OK : read_content(paging, lease, item, err);
}

/* ---------------------------------------------------------------- a page */

static keep_status read_due(const struct paging *paging, kp_lease *lease, bool retries,
			    keep_outgoing_message **rows, size_t *count, keep_error *err)
{
	kp_value session = kp_text_value(session_of(paging));
	kp_value now = kp_time_value(paging->collecting->now_ms);
	kp_value max = kp_int_value((int64_t)(paging->max - paging->page->count) + 1);

	if (retries)
		return kp_lease_list(lease, KP_MAILBOX_DUE_RETRIES, KP_VALUES(session, now, max),
				     &kp_outgoing_message_record, paging->collecting->memory, rows,
				     count, err);
	return kp_lease_list(lease, KP_MAILBOX_DUE_FRESH,
			     KP_VALUES(session, now, kp_time_value(paging->after_due_at),
				       kp_int_value(paging->after_seq), max),
			     &kp_outgoing_message_record, paging->collecting->memory, rows, count,
			     err);
}

/* One kind of them, behind what the page has. */
static keep_status read_kind(const struct paging *paging, kp_lease *lease, bool retries,
			     keep_error *err)
{
	kp_due_page *page = paging->page;
	keep_outgoing_message *rows = NULL;
	bool *has_more = retries ? &page->has_retries : &page->has_more;
	size_t count = 0;
	keep_status status = read_due(paging, lease, retries, &rows, &count, err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		kp_due *item = &page->items[page->count];

		/* One is read whatever it takes, so that every call gets on. */
		if (page->count == paging->max ||
		    (page->count && (page->bytes > PAGE_BYTES_MAX ||
				     kp_monotonic_ns() > paging->collecting->deadline_ns))) {
			*has_more = true;
			break;
		}
		*item = (kp_due){.outgoing = rows[i]};
		status = read_message(paging, lease, item, err);
		page->bytes += item->message.content.len;
		page->count++;
		if (!retries) {
			page->due_at = rows[i].due_at;
			page->seq = rows[i].seq;
		}
	}
	return status;
}

static keep_status read_next(const kp_collecting *collecting, kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value next = {.is_null = true};
	bool found = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_NEXT_OUTGOING,
					   KP_VALUES(kp_text_value(collecting->session->id),
						     kp_time_value(collecting->now_ms)),
					   &stmt, err);

	collecting->out->next_ms = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	if (status == KEEP_OK && found)
		status = kp_sql_column(stmt, 0, KP_TIME, &next, err);
	if (status == KEEP_OK && !next.is_null)
		collecting->out->next_ms = next.integer;
	kp_sql_reset(stmt);
	return status;
}

static keep_status query_page(void *ctx, kp_lease *lease, keep_error *err)
{
	struct paging *paging = ctx;
	kp_due_page *page = paging->page;
	kp_value session = kp_text_value(session_of(paging));
	bool found = false;
	keep_status status = kp_lease_int(lease, KP_MAILBOX_TAKEN_OUT_SEQ, &session, 1,
					  &paging->out_seq, &found, err);

	*page = (kp_due_page){.due_at = paging->after_due_at,
			      .seq = paging->after_seq,
			      .bytes = paging->bytes_before};
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "session: there is no '%" KP_PRI "'",
				 KP_ARG(session_of(paging)));
	if (status == KEEP_OK)
		page->items = kp_arena_alloc(paging->collecting->memory,
					     (paging->max + 1) * sizeof *page->items);
	if (status == KEEP_OK && !page->items)
		status = kp_fail_memory(err, "messages");
	if (status == KEEP_OK && paging->is_first)
		status = read_kind(paging, lease, true, err);
	if (status == KEEP_OK)
		status = read_kind(paging, lease, false, err);
	return status == KEEP_OK ? read_next(paging->collecting, lease, err) : status;
}

keep_status kp_collect_due(const kp_collecting *collecting, bool is_first, size_t max,
			   kp_due_page *page, keep_error *err)
{
	struct paging paging = {.collecting = collecting,
				.is_first = is_first,
				.max = max,
				.page = page,
				.after_due_at = page->due_at,
				.after_seq = page->seq,
				.bytes_before = page->bytes};

	return kp_session_read(collecting->mailbox, collecting->session->id, query_page, &paging,
			       err);
}

/* ---------------------------------------------------------------- the next time */

static keep_status query_next(void *ctx, kp_lease *lease, keep_error *err)
{
	const kp_collecting *collecting = ctx;

	return read_next(collecting, lease, err);
}

keep_status kp_collect_next(const kp_collecting *collecting, keep_error *err)
{
	kp_collecting asked = *collecting;

	return kp_session_read(collecting->mailbox, collecting->session->id, query_next, &asked,
			       err);
}
