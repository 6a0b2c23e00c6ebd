/* gateway_places.c - see gateway_places.h. */
#include "gateway_places.h"

void gateway_place_make(gateway_place *at)
{
	temp_folder_make(&at->folder);
	(void)temp_path(&at->folder, "messages.db", at->store);
	snprintf(at->url, sizeof at->url, "sqlite:%s", at->store);
}

void gateway_place_remove(const gateway_place *at)
{
	bad_place_remove(&at->folder);
}

keep_status try_gateway(const char *url, bool create, bool read_only, keep_gateway **out,
			keep_error *err)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;

	options.create = create;
	options.read_only = read_only;
	return keep_gateway_open(url, &options, out, err);
}

keep_gateway *open_gateway(const char *url, bool create)
{
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;

	WANT_OK(try_gateway(url, create, false, &gateway, &err));
	return gateway;
}

/* ---------------------------------------------------------------- changing */

keep_bytes ledger_jid(unsigned chat, char room[40])
{
	return (keep_bytes){room, (size_t)snprintf(room, 40, "room:%u", chat)};
}

static keep_bytes format_id(unsigned number, char room[40])
{
	return (keep_bytes){room, (size_t)snprintf(room, 40, "try-%u", number)};
}

static void make_content(keep_buffer *out, unsigned number, size_t len)
{
	char head[40];
	size_t head_len = (size_t)snprintf(head, sizeof head, "%u:", number);

	if (kp_buffer_reserve(out, len + head_len, NULL) != KEEP_OK)
		abort();
	memcpy(out->data, head, head_len);
	for (size_t i = 0; i < len; i++)
		out->data[head_len + i] = (char)('a' + (number + i) % 26);
	out->len = head_len + len;
}

static void note_put(ledger *book, unsigned chat, unsigned number, size_t len)
{
	unsigned at = book->count[chat]++;

	WANT(at < LEDGER_MESSAGES_MAX, "too many messages");
	book->try[chat][at] = number;
	book->len[chat][at] = len;
}

keep_status ledger_put(keep_gateway *gateway, ledger *book, unsigned chat, size_t len,
		       keep_error *err)
{
	keep_buffer content = KEEP_BUFFER_INIT;
	char id[40], jid[40];
	keep_put_result result = {KEEP_PUT_CONFLICT, 0};
	keep_message message = {.chat_jid = ledger_jid(chat, jid),
				.id = format_id(++book->tries, id)};
	keep_status status;

	make_content(&content, book->tries, len);
	message.content = kp_buffer_bytes(&content);
	status = keep_gateway_put_message(gateway, &message, NULL, &result, err);
	if (status == KEEP_OK) {
		note_put(book, chat, book->tries, len);
		WANT(result.put == KEEP_PUT_INSERTED && result.seq == book->count[chat],
		     "%s as %lld, not %u", keep_put_name(result.put), (long long)result.seq,
		     book->count[chat]);
	}
	keep_buffer_release(&content);
	return status;
}

keep_status ledger_put_all(keep_gateway *gateway, ledger *book, size_t len, keep_error *err)
{
	keep_buffer contents[LEDGER_CHATS] = {KEEP_BUFFER_INIT};
	char ids[LEDGER_CHATS][40], jids[LEDGER_CHATS][40];
	keep_message messages[LEDGER_CHATS] = {0};
	keep_put_result results[LEDGER_CHATS];
	unsigned first = book->tries + 1;
	keep_status status;

	for (unsigned i = 0; i < LEDGER_CHATS; i++) {
		make_content(&contents[i], ++book->tries, len);
		messages[i].chat_jid = ledger_jid(i, jids[i]);
		messages[i].id = format_id(book->tries, ids[i]);
		messages[i].content = kp_buffer_bytes(&contents[i]);
	}
	status = keep_gateway_put_messages(gateway, messages, LEDGER_CHATS, results, err);
	for (unsigned i = 0; i < LEDGER_CHATS; i++) {
		if (status == KEEP_OK)
			note_put(book, i, first + i, len);
		keep_buffer_release(&contents[i]);
	}
	return status;
}

keep_status ledger_advance(keep_gateway *gateway, ledger *book, unsigned chat, keep_error *err)
{
	char jid[40];
	int64_t to = book->cursor[chat] + (book->cursor[chat] < book->count[chat]), now = -1;
	keep_status status = keep_gateway_advance(gateway, LEDGER_CONSUMER, ledger_jid(chat, jid),
						  to, &now, err);

	if (status == KEEP_OK) {
		book->cursor[chat] = to;
		WANT(now == to, "the cursor is at %lld, not %lld", (long long)now, (long long)to);
	}
	return status;
}

/* ---------------------------------------------------------------- looking */

/* True: the call succeeded. */
static bool may_be(keep_status status, const keep_error *err, unsigned may, const char *when,
		   const char *call)
{
	WANT(status == KEEP_OK || may & MAY(status), "%s: %s: %s: %s", when, call,
	     keep_status_name(status), err->message);
	return status == KEEP_OK;
}

static void want_message(const keep_message *found, const ledger *book, unsigned chat, unsigned at,
			 const char *when)
{
	keep_buffer wanted = KEEP_BUFFER_INIT;
	char id[40];

	make_content(&wanted, book->try[chat][at], book->len[chat][at]);
	WANT(found->seq == at + 1, "%s: chat %u: number %lld instead of %u", when, chat,
	     (long long)found->seq, at + 1);
	WANT(kp_bytes_equal(found->id, format_id(book->try[chat][at], id)),
	     "%s: chat %u: '%" KP_PRI "' is number %u", when, chat, KP_ARG(found->id), at + 1);
	WANT(kp_bytes_equal(found->content, kp_buffer_bytes(&wanted)),
	     "%s: chat %u: number %u says something else", when, chat, at + 1);
	keep_buffer_release(&wanted);
}

static unsigned expect_chat(keep_gateway *gateway, const ledger *book, unsigned chat, unsigned may,
			    const char *when)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;
	keep_chat found = {.last_seq = 0};
	char room[40];
	keep_bytes jid = ledger_jid(chat, room);
	unsigned failed = 0;
	int64_t cursor = -1;
	keep_status status;

	if (may_be(keep_gateway_messages_since(gateway, jid, 0, 0, 1000, &memory, &list, &err),
		   &err, may, when, "messages_since")) {
		WANT(list.count == book->count[chat], "%s: chat %u has %zu messages, not %u", when,
		     chat, list.count, book->count[chat]);
		for (unsigned i = 0; i < list.count; i++)
			want_message(&list.items[i], book, chat, i, when);
	} else {
		failed++;
	}
	if (may_be(keep_gateway_get_cursor(gateway, LEDGER_CONSUMER, jid, &cursor, &err), &err, may,
		   when, "get_cursor"))
		WANT(cursor == book->cursor[chat], "%s: chat %u: cursor at %lld, not %lld", when,
		     chat, (long long)cursor, (long long)book->cursor[chat]);
	else
		failed++;
	status = keep_gateway_get_chat(gateway, jid, &memory, &found, &err);
	if (status == KEEP_NOT_FOUND)
		WANT(book->count[chat] == 0, "%s: chat %u is missing", when, chat);
	else if (may_be(status, &err, may, when, "get_chat"))
		WANT(found.last_seq == book->count[chat], "%s: chat %u ends at %lld, not %u", when,
		     chat, (long long)found.last_seq, book->count[chat]);
	else
		failed++;
	keep_memory_release(&memory);
	return failed;
}

unsigned ledger_expect(keep_gateway *gateway, const ledger *book, unsigned may, const char *when)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_pending_list pending = {NULL, 0};
	keep_message_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes jids[LEDGER_CHATS];
	char rooms[LEDGER_CHATS][40];
	size_t behind = 0, waiting = 0, found = 0;
	unsigned failed = 0;

	for (unsigned i = 0; i < LEDGER_CHATS; i++) {
		jids[i] = ledger_jid(i, rooms[i]);
		failed += expect_chat(gateway, book, i, may, when);
		behind += book->cursor[i] < book->count[i];
		waiting += book->count[i] - (size_t)book->cursor[i];
	}
	if (may_be(keep_gateway_pending_chats(gateway, LEDGER_CONSUMER, 0, &memory, &pending, &err),
		   &err, may, when, "pending_chats")) {
		for (size_t i = 0; i < pending.count; i++)
			found += strncmp(pending.items[i].jid.data, "room:", 5) == 0;
		WANT(found == behind, "%s: %zu chats are pending, not %zu", when, found, behind);
	} else {
		failed++;
	}
	if (may_be(keep_gateway_new_messages(gateway, LEDGER_CONSUMER, jids, LEDGER_CHATS, 1000,
					     &memory, &list, &err),
		   &err, may, when, "new_messages"))
		WANT(list.count == (waiting < 1000 ? waiting : 1000),
		     "%s: %zu messages are new, not %zu", when, list.count, waiting);
	else
		failed++;
	keep_memory_release(&memory);
	return failed;
}
