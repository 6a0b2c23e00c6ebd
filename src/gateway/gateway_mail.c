/*
 * gateway_mail.c - which conversation a mail belongs to.
 *
 * Every id that a mail names is mapped to one conversation: its own, those it answers, those it
 * refers to. So the second half of a conversation finds the first one's, whichever came first and
 * whoever brought it.
 *
 * Invariants:
 *   1. Looking and mapping are one transaction, of which a store runs one at a time: two mails of
 *      one conversation that come at once get one thread.
 *   2. The first mapping of an id stays, and only the ids of the mail at hand are mapped.
 *   3. A new thread is named after the mail that made it: the first 12 hexadecimal digits of the
 *      SHA-256 of its id, or more of them while another thread has that name. So the name is the
 *      same wherever that mail is read again.
 *   4. An id means the same with or without angle brackets and blanks around it. One in a header
 *      that cannot be an id (empty, too long, with control characters) is no reason to lose a mail:
 *      it is passed over. The mail's own must be right.
 *
 * What it does not do: read mail, or guess by subject.
 *
 * Tests: tests/contract/test_gateway_mail.c, tests/torture/test_gateway_groups_faults.c.
 */
#include "gateway/gateway_private.h"

#include <stdio.h>
#include <string.h>

enum { ANSWERED_MAX = 100, REFERENCES_MAX = 1000, AT_ONCE = 32 };
enum { THREAD_DIGITS = 12, THREAD_STEP = 4, HEX_SIZE = 2 * KP_SHA256_SIZE + 1 };
static const char jid_prefix[] = "email:";
#define JID_SIZE (sizeof jid_prefix - 1 + HEX_SIZE)

/* ---------------------------------------------------------------- ids */

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static keep_bytes trim(keep_bytes text)
{
	while (text.len && is_blank(text.data[0])) {
		text.data++;
		text.len--;
	}
	while (text.len && is_blank(text.data[text.len - 1]))
		text.len--;
	return text;
}

/* Invariant 4. */
static keep_bytes bare_id(keep_bytes id)
{
	id = trim(id);
	if (id.len >= 2 && id.data[0] == '<' && id.data[id.len - 1] == '>')
		id = trim((keep_bytes){id.data + 1, id.len - 2});
	return id;
}

/* The ids of a mail without repetition of its own: in the order in which they decide. */
struct mail_ids {
	keep_bytes *items;
	size_t count;
};

static void add_id(struct mail_ids *ids, keep_bytes id)
{
	id = bare_id(id);
	if (id.data && kp_check_key("id", id, NULL) == KEEP_OK)
		ids->items[ids->count++] = id;
}

static keep_status collect_ids(const keep_mail *mail, kp_arena *arena, struct mail_ids *ids,
			       keep_error *err)
{
	size_t room = 1 + mail->in_reply_to_count + mail->reference_count;
	keep_status status = kp_check_key("message_id", bare_id(mail->message_id), err);

	if (status != KEEP_OK)
		return status;
	ids->items = kp_arena_alloc(arena, room * sizeof *ids->items);
	if (!ids->items)
		return kp_fail_memory(err, "the ids of a mail");
	add_id(ids, mail->message_id);
	for (size_t i = 0; i < mail->in_reply_to_count; i++)
		add_id(ids, mail->in_reply_to[i]);
	for (size_t i = mail->reference_count; i > 0; i--)
		add_id(ids, mail->references[i - 1]);
	return KEEP_OK;
}

static keep_status check_mail(const keep_mail *mail, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (mail->in_reply_to_count > ANSWERED_MAX)
		return kp_fail(err, KEEP_INVALID, "in_reply_to: %zu ids, the limit is %d",
			       mail->in_reply_to_count, ANSWERED_MAX);
	if (mail->reference_count > REFERENCES_MAX)
		return kp_fail(err, KEEP_INVALID, "references: %zu ids, the limit is %d",
			       mail->reference_count, REFERENCES_MAX);
	status = kp_check_text("subject", mail->subject, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT,
			       err);
	if (status == KEEP_OK)
		status = kp_check_text("from", mail->from, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT,
				       err);
	return status;
}

/* ---------------------------------------------------------------- finding */

struct thread_search {
	const keep_mail *mail;
	struct mail_ids ids;
	keep_memory *memory;
	keep_email_thread thread;
	bool is_new;
};

/* Of up to AT_ONCE ids, the thread of the first that has one; `best` is its place, or `count`. */
static keep_status find_among(kp_lease *lease, const keep_bytes *ids, size_t count, kp_arena *arena,
			      size_t *best, keep_bytes *thread_id, keep_error *err)
{
	kp_value values[AT_ONCE];
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status;

	*best = count;
	for (size_t i = 0; i < AT_ONCE; i++)
		values[i] = i < count ? kp_text_value(ids[i]) : kp_null_value(KP_TEXT);
	status = kp_lease_bind(lease, KP_GATEWAY_FIND_MAIL_THREADS, values, AT_ONCE, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row) {
		keep_bytes id, thread;
		size_t at = 0;

		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &id, err);
		while (status == KEEP_OK && at < *best && !kp_bytes_equal(id, ids[at]))
			at++;
		if (status == KEEP_OK && at < *best) {
			status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &thread, err);
			if (status == KEEP_OK)
				status = kp_arena_copy(arena, thread, thread_id, err);
			*best = at;
		}
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status read_thread(kp_lease *lease, keep_bytes thread_id, keep_memory *memory,
			       keep_email_thread *thread, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_GET_THREAD,
					   KP_VALUES(kp_text_value(thread_id)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_email_thread_record, thread, memory, found,
					    err);
	return status;
}

static keep_status find_thread(kp_lease *lease, struct thread_search *search, bool *found,
			       keep_error *err)
{
	keep_bytes thread_id = {0};
	kp_arena arena = {.head = NULL};
	keep_status status = KEEP_OK;

	*found = false;
	for (size_t at = 0; at < search->ids.count && status == KEEP_OK && !thread_id.data;) {
		size_t left = search->ids.count - at;
		size_t count = left < AT_ONCE ? left : AT_ONCE, best;

		status = find_among(lease, search->ids.items + at, count, &arena, &best, &thread_id,
				    err);
		at += count;
	}
	if (status == KEEP_OK && thread_id.data)
		status = read_thread(lease, thread_id, search->memory, &search->thread, found, err);
	if (status == KEEP_OK && thread_id.data && !*found)
		status = kp_fail(err, KEEP_CORRUPT,
				 "email_message_ids: thread '%" KP_PRI "' is not there",
				 KP_ARG(thread_id));
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- a new thread */

/* Invariant 3: a name that is free, or the thread that this mail made before. */
static keep_status name_thread(kp_lease *lease, struct thread_search *search, char name[HEX_SIZE],
			       bool *exists, keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	char hex[HEX_SIZE];
	keep_status status = kp_sha256(search->ids.items[0], digest, err);

	if (status != KEEP_OK)
		return status;
	kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hex);
	for (int digits = THREAD_DIGITS; digits < HEX_SIZE; digits += THREAD_STEP) {
		snprintf(name, HEX_SIZE, "%.*s", digits, hex);
		status = read_thread(lease, keep_bytes_of(name), search->memory, &search->thread,
				     exists, err);
		if (status != KEEP_OK || !*exists ||
		    kp_bytes_equal(search->thread.root_message_id, search->ids.items[0]))
			return status;
	}
	return kp_fail(err, KEEP_CORRUPT, "email_threads: '%s' belongs to another message", hex);
}

static keep_status add_thread(kp_lease *lease, struct thread_search *search, const char *name,
			      keep_error *err)
{
	char jid[JID_SIZE];
	keep_email_thread *thread = &search->thread;
	keep_status status;
	struct {
		keep_bytes *to;
		keep_bytes from;
	} texts[] = {
		{&thread->thread_id, keep_bytes_of(name)},
		{&thread->chat_jid, keep_bytes_of(jid)},
		{&thread->subject, kp_text_or(search->mail->subject, "")},
		{&thread->root_message_id, search->ids.items[0]},
		{&thread->from_address, kp_text_or(search->mail->from, "")},
	};

	snprintf(jid, sizeof jid, "%s%s", jid_prefix, name);
	texts[1].from = keep_bytes_of(jid);
	status =
		kp_lease_queue(lease, KP_GATEWAY_ADD_THREAD,
			       KP_VALUES(kp_text_value(texts[0].from), kp_text_value(texts[1].from),
					 kp_text_value(texts[2].from), kp_text_value(texts[3].from),
					 kp_text_value(texts[4].from)),
			       err);
	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++)
		status = kp_arena_copy(search->memory, texts[i].from, texts[i].to, err);
	return status;
}

static keep_status apply_thread_for(void *ctx, kp_lease *lease, keep_error *err)
{
	struct thread_search *search = ctx;
	char name[HEX_SIZE];
	bool found = false;
	keep_status status = find_thread(lease, search, &found, err);

	search->is_new = false;
	if (status == KEEP_OK && !found) {
		status = name_thread(lease, search, name, &found, err);
		search->is_new = !found;
		if (status == KEEP_OK && !found)
			status = add_thread(lease, search, name, err);
	}
	for (size_t i = 0; i < search->ids.count && status == KEEP_OK; i++)
		status = kp_lease_queue(lease, KP_GATEWAY_MAP_MAIL,
					KP_VALUES(kp_text_value(search->ids.items[i]),
						  kp_text_value(search->thread.thread_id)),
					err);
	return status;
}

keep_status keep_gateway_thread_for(keep_gateway *gateway, const keep_mail *mail,
				    keep_memory *memory, keep_email_thread *out, bool *is_new,
				    keep_error *err)
{
	struct thread_search search = {.mail = mail, .memory = memory};
	kp_arena arena = {.head = NULL};
	keep_status status = check_mail(mail, err);

	if (status == KEEP_OK)
		status = collect_ids(mail, &arena, &search.ids, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_thread_for, &search, KP_NEWS_NONE, err);
	if (status == KEEP_OK) {
		*out = search.thread;
		if (is_new)
			*is_new = search.is_new;
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_gateway_get_thread(keep_gateway *gateway, keep_bytes thread_id,
				    keep_memory *memory, keep_email_thread *out, keep_error *err)
{
	keep_status status = kp_check_key("thread_id", thread_id, err);
	keep_email_thread thread;
	bool found = false;

	if (status == KEEP_OK)
		status = kp_gateway_get(gateway, KP_GATEWAY_GET_THREAD,
					KP_VALUES(kp_text_value(thread_id)),
					&kp_email_thread_record, memory, &thread, &found, err);
	if (status == KEEP_OK && !found)
		return kp_fail(err, KEEP_NOT_FOUND, "mail thread '%" KP_PRI "' is not known",
			       KP_ARG(thread_id));
	if (status == KEEP_OK)
		*out = thread;
	return status;
}
