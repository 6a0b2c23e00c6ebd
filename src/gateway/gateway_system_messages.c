/*
 * gateway_system_messages.c - remarks for a folder's agent that ride on the next message.
 *
 *     waiting ── claim ──> held by a turn ── complete ──> gone
 *        ^                      │
 *        └─ release, lease over, its process dead ┘          waiting ── flush ──> gone
 *
 * Invariants:
 *   1. A message is deleted in the transaction that hands it out for good (flush) or that says that
 *      its turn succeeded (complete), and nothing else is deleted there. The text of an answer is
 *      made inside of the transaction: what cannot be answered is not deleted.
 *   2. At most one turn holds a message. A turn's lease ends by time, or at once when the process
 *      that took it is proven dead (owner.c). A turn that lost what it held is remembered in
 *      lost_claims, so that its late complete is refused although nothing shows its name any more.
 *   3. The element of a message is well-formed XML, whatever is stored: what was declared XML and
 *      does not parse is escaped, attributes that XML cannot have are left out.
 *   4. An answer has at most KEEP_GATEWAY_LIST_MAX messages and about ANSWER_BYTES_MAX bytes; the
 *      rest waits, in order.
 *
 * What it does not do: begin a turn or wake anybody; that is a message's affair.
 *
 * Tests: tests/contract/test_gateway_system_messages.c,
 * tests/crash/test_gateway_system_messages_crash.c,
 * tests/torture/test_gateway_system_messages_faults.c.
 */
#include "gateway/gateway_private.h"
#include "gateway/xml_text.h"

#include <string.h>

enum { ANSWER_BYTES_MAX = 64 * 1024 * 1024, LEASE_DEFAULT_MS = 600000 };
#define LEASE_MAX_MS INT64_C(604800000) /* a week */
#define LOST_MS INT64_C(604800000)      /* so long a lost claim is remembered */

/* ---------------------------------------------------------------- what is taken */

static bool is_reserved_name(keep_bytes name)
{
	static const char *const names[] = {"origin", "event", "xmlns"};

	for (size_t i = 0; i < KP_COUNT(names); i++)
		if (kp_bytes_equal(name, keep_bytes_of(names[i])))
			return true;
	return false;
}

static bool is_attribute(const kp_json *member)
{
	return member->kind == KP_JSON_TEXT && kp_xml_is_name(member->name) &&
	       !is_reserved_name(member->name) && kp_xml_is_text(member->text);
}

static keep_status check_attributes(keep_bytes attributes, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *object = NULL;
	keep_status status = kp_check_json("attributes", attributes, KP_JSON_OBJECT, err);

	if (status == KEEP_OK && attributes.data)
		status = kp_json_parse(attributes, &arena, &object, err);
	for (size_t i = 0; status == KEEP_OK && object && i < object->list.count; i++)
		if (!is_attribute(&object->list.items[i]))
			status = kp_fail(err, KEEP_INVALID,
					 "attributes: member %zu is not a text with the name of an "
					 "XML attribute other than origin, event and xmlns",
					 i + 1);
	kp_arena_release(&arena);
	return status;
}

static keep_status check_word(const char *what, keep_bytes word, keep_error *err)
{
	keep_status status = kp_check_text(what, word, KEEP_GATEWAY_TEXT_MAX, KP_NOT_EMPTY, err);

	if (status == KEEP_OK && !kp_xml_is_text(word))
		return kp_fail(err, KEEP_INVALID, "%s: has a character that XML cannot hold", what);
	return status;
}

static keep_status check_system_message(const keep_system_message *message, keep_error *err)
{
	keep_status status = kp_check_folder("group_id", message->group_id, err);

	if (status == KEEP_OK)
		status = check_word("origin", message->origin, err);
	if (status == KEEP_OK)
		status = check_word("event", message->event, err);
	if (status == KEEP_OK && message->dedup_key.data)
		status = kp_check_key("dedup_key", message->dedup_key, err);
	if (status == KEEP_OK)
		status = kp_check_content("body", message->body, err);
	if (status == KEEP_OK && message->body.len && !kp_xml_is_text(message->body))
		status = kp_fail(err, KEEP_INVALID, "body: has a character that XML cannot hold");
	if (status == KEEP_OK && message->is_xml && message->body.len)
		status = kp_xml_check_fragment("body", message->body, err);
	if (status == KEEP_OK)
		status = check_attributes(message->attributes, err);
	return status;
}

/* ---------------------------------------------------------------- enqueue */

struct enqueue {
	keep_system_message message;
	keep_put put;
	int64_t id;
};

static bool is_same(const keep_system_message *a, const keep_system_message *b)
{
	return kp_bytes_equal(a->origin, b->origin) && kp_bytes_equal(a->event, b->event) &&
	       kp_bytes_equal(a->body, b->body) && kp_bytes_equal(a->attributes, b->attributes) &&
	       a->is_xml == b->is_xml;
}

/* Is there one under the same dedup_key? */
static keep_status find_same_key(kp_lease *lease, struct enqueue *enqueue, bool *found,
				 keep_error *err)
{
	const keep_system_message *message = &enqueue->message;
	kp_arena arena = {.head = NULL};
	keep_system_message stored;
	kp_sql_stmt *stmt = NULL;
	keep_status status;

	*found = false;
	if (!message->dedup_key.data)
		return KEEP_OK;
	status = kp_lease_bind(
		lease, KP_GATEWAY_FIND_SYSTEM_MESSAGE,
		KP_VALUES(kp_text_value(message->group_id), kp_text_value(message->dedup_key)),
		&stmt, err);
	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_system_message_record, &stored, &arena, found,
					    err);
	if (status == KEEP_OK && *found) {
		enqueue->put = is_same(message, &stored) ? KEEP_PUT_DUPLICATE : KEEP_PUT_CONFLICT;
		enqueue->id = stored.id;
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_enqueue(void *ctx, kp_lease *lease, keep_error *err)
{
	struct enqueue *enqueue = ctx;
	const keep_system_message *message = &enqueue->message;
	kp_sql_stmt *stmt = NULL;
	bool found = false, has_row = false;
	keep_status status = find_same_key(lease, enqueue, &found, err);

	if (status != KEEP_OK || found)
		return status;
	enqueue->put = KEEP_PUT_INSERTED;
	status = kp_lease_bind(
		lease, KP_GATEWAY_ADD_SYSTEM_MESSAGE,
		KP_VALUES(kp_text_value(message->group_id), kp_text_value(message->origin),
			  kp_text_value(message->event), kp_text_value(message->body),
			  kp_json_value(message->attributes), kp_text_value(message->dedup_key),
			  kp_time_value(message->created_at), kp_bool_value(message->is_xml)),
		&stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 0, &enqueue->id, err);
	while (status == KEEP_OK && has_row)
		status = kp_sql_step(stmt, &has_row, err);
	kp_sql_reset(stmt);
	return status;
}

keep_status keep_gateway_enqueue_system_message(keep_gateway *gateway,
						const keep_system_message *message, keep_put *put,
						int64_t *id, keep_error *err)
{
	struct enqueue enqueue = {.message = *message};
	keep_status status = check_system_message(message, err);

	enqueue.message.body = kp_text_or(message->body, "");
	enqueue.message.created_at = kp_clock_ms();
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_enqueue, &enqueue, KP_NEWS_NONE, err);
	if (status != KEEP_OK)
		return status;
	if (put)
		*put = enqueue.put;
	if (id)
		*id = enqueue.id;
	if (enqueue.put == KEEP_PUT_CONFLICT)
		return kp_fail(err, KEEP_CONFLICT,
			       "folder '%" KP_PRI "': dedup_key '%" KP_PRI
			       "': conflict: another system message waits under it",
			       KP_ARG(message->group_id), KP_ARG(message->dedup_key));
	return KEEP_OK;
}

/* ---------------------------------------------------------------- their text */

static keep_status append_attribute(keep_buffer *text, keep_bytes name, keep_bytes value,
				    keep_error *err)
{
	keep_status status = kp_buffer_append_text(text, " ", err);

	if (status == KEEP_OK)
		status = kp_buffer_append(text, name, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(text, "=\"", err);
	if (status == KEEP_OK)
		status = kp_xml_append_value(text, value, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(text, "\"", err);
	return status;
}

/* Invariant 3: what does not fit is left out. */
static keep_status append_more_attributes(keep_buffer *text, keep_bytes attributes, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *object = NULL;
	keep_status status = KEEP_OK;

	if (attributes.data)
		status = kp_json_parse(attributes, &arena, &object, err);
	if (status == KEEP_INVALID) {
		status = KEEP_OK;
		object = NULL;
	}
	if (object && object->kind != KP_JSON_OBJECT)
		object = NULL;
	for (size_t i = 0; status == KEEP_OK && object && i < object->list.count; i++)
		if (is_attribute(&object->list.items[i]))
			status = append_attribute(text, object->list.items[i].name,
						  object->list.items[i].text, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status append_body(keep_buffer *text, const keep_system_message *message,
			       keep_error *err)
{
	if (message->is_xml) {
		keep_status status = kp_xml_check_fragment("body", message->body, err);

		if (status == KEEP_OK)
			return kp_buffer_append(text, message->body, err);
		if (status == KEEP_NO_MEMORY)
			return status;
	}
	return kp_xml_append_content(text, message->body, err);
}

static keep_status append_element(keep_buffer *text, const keep_system_message *message,
				  keep_error *err)
{
	keep_status status = kp_buffer_append_text(text, "<system_message", err);

	if (status == KEEP_OK)
		status = append_attribute(text, KEEP_BYTES("origin"), message->origin, err);
	if (status == KEEP_OK)
		status = append_attribute(text, KEEP_BYTES("event"), message->event, err);
	if (status == KEEP_OK)
		status = append_more_attributes(text, message->attributes, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(text, ">", err);
	if (status == KEEP_OK)
		status = append_body(text, message, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(text, "</system_message>\n", err);
	return status;
}

/* They come from an index, so there is little to move. */
static void sort_by_id(keep_system_message *items, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		keep_system_message item = items[i];
		size_t at = i;

		for (; at > 0 && items[at - 1].id > item.id; at--)
			items[at] = items[at - 1];
		items[at] = item;
	}
}

/* Read the messages of a bound statement and make their text, both in `memory`. */
static keep_status read_answer(kp_sql_stmt *stmt, keep_memory *memory,
			       keep_system_message_list *out, keep_error *err)
{
	keep_system_message_list list = {NULL, 0, {"", 0}};
	keep_buffer text = KEEP_BUFFER_INIT;
	void *items = NULL;
	keep_status status = kp_record_read_all(stmt, &kp_system_message_record, memory, &items,
						&list.count, err);

	list.items = items;
	if (status == KEEP_OK)
		sort_by_id(list.items, list.count);
	for (size_t i = 0; i < list.count && status == KEEP_OK; i++)
		status = append_element(&text, &list.items[i], err);
	if (status == KEEP_OK)
		status = kp_arena_copy(memory, kp_buffer_bytes(&text), &list.text, err);
	if (status == KEEP_OK)
		*out = list;
	keep_buffer_release(&text);
	return status;
}

/* ---------------------------------------------------------------- who holds what */

struct holder {
	keep_bytes turn_id, owner;
	int64_t until, count;
	struct holder *next;
};

static keep_status read_holder(kp_sql_stmt *stmt, kp_arena *arena, struct holder *holder,
			       keep_error *err)
{
	keep_bytes turn_id;
	kp_value owner, until;
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &turn_id, err);

	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 1, KP_TEXT, &owner, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, turn_id, &holder->turn_id, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, owner.is_null ? (keep_bytes){0} : owner.bytes,
				       &holder->owner, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 2, KP_TIME, &until, err);
	if (status == KEEP_OK)
		holder->until = until.is_null ? KEEP_TIME_MIN : until.integer;
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 3, &holder->count, err);
	return status;
}

static keep_status list_holders(kp_lease *lease, keep_bytes group, kp_arena *arena,
				struct holder **out, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_SYSTEM_MESSAGE_HOLDERS,
					   KP_VALUES(kp_text_value(group)), &stmt, err);

	*out = NULL;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row) {
		struct holder *holder = kp_arena_alloc(arena, sizeof *holder);

		status = holder ? read_holder(stmt, arena, holder, err)
				: kp_fail_memory(err, "the turns of a folder");
		if (status != KEEP_OK)
			break;
		holder->next = *out;
		*out = holder;
		status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* Invariant 2: what a turn does not hold any more waits again. */
static keep_status free_holder(kp_lease *lease, keep_bytes group, const struct holder *holder,
			       int64_t now_ms, keep_error *err)
{
	kp_value folder = kp_text_value(group), turn = kp_text_value(holder->turn_id);
	keep_status status = kp_lease_queue(lease, KP_GATEWAY_RELEASE_SYSTEM_MESSAGES,
					    KP_VALUES(folder, turn), err);

	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_MARK_LOST_CLAIM,
					KP_VALUES(folder, turn, kp_time_value(now_ms)), err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_SWEEP_LOST_CLAIMS,
					KP_VALUES(kp_time_value(now_ms - LOST_MS)), err);
	return status;
}

/* Free what dead and late turns hold; *held: how many `turn_id` (absent: nobody) has. */
static keep_status free_dead_turns(kp_lease *lease, keep_bytes group, keep_bytes turn_id,
				   int64_t now_ms, int64_t *held, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct holder *holders = NULL;
	keep_status status = list_holders(lease, group, &arena, &holders, err);

	*held = 0;
	for (const struct holder *holder = holders; holder && status == KEEP_OK;
	     holder = holder->next) {
		if (kp_bytes_equal(holder->turn_id, turn_id))
			*held += holder->count;
		else if (kp_owner_check(holder->owner, holder->until, now_ms) != KP_OWNER_MAY_LIVE)
			status = free_holder(lease, group, holder, now_ms, err);
	}
	kp_arena_release(&arena);
	return status;
}

/* Invariant 4: up to which number an answer of at most `limit` goes; 0: nothing waits. */
static keep_status choose_last(kp_lease *lease, keep_bytes group, int64_t limit, int64_t *last,
			       keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	int64_t bytes = 0;
	bool has_row = false, is_full = false;
	keep_status status;

	*last = 0;
	if (limit <= 0)
		return KEEP_OK;
	status = kp_lease_bind(lease, KP_GATEWAY_WAITING_SYSTEM_MESSAGES,
			       KP_VALUES(kp_text_value(group), kp_int_value(limit)), &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && !is_full) {
		int64_t id = 0, size = 0;

		status = kp_sql_column_int(stmt, 0, &id, err);
		if (status == KEEP_OK)
			status = kp_sql_column_int(stmt, 1, &size, err);
		bytes += size;
		is_full = *last && bytes > ANSWER_BYTES_MAX;
		if (status == KEEP_OK && !is_full) {
			*last = id;
			status = kp_sql_step(stmt, &has_row, err);
		}
	}
	kp_sql_reset(stmt);
	return status;
}

/* ---------------------------------------------------------------- flush */

struct handing_out {
	keep_gateway *gateway;
	keep_bytes group, turn_id;
	int64_t now_ms, until_ms;
	keep_memory *memory;
	keep_system_message_list list;
};

static keep_status apply_flush(void *ctx, kp_lease *lease, keep_error *err)
{
	struct handing_out *flush = ctx;
	kp_sql_stmt *stmt = NULL;
	int64_t held = 0, last = 0;
	keep_status status =
		free_dead_turns(lease, flush->group, (keep_bytes){0}, flush->now_ms, &held, err);

	flush->list = (keep_system_message_list){NULL, 0, {"", 0}};
	if (status == KEEP_OK)
		status = choose_last(lease, flush->group, KEEP_GATEWAY_LIST_MAX, &last, err);
	if (status == KEEP_OK)
		status = kp_lease_bind(lease, KP_GATEWAY_FLUSH_SYSTEM_MESSAGES,
				       KP_VALUES(kp_text_value(flush->group), kp_int_value(last)),
				       &stmt, err);
	if (status == KEEP_OK)
		status = read_answer(stmt, flush->memory, &flush->list, err);
	return status;
}

keep_status keep_gateway_flush_system_messages(keep_gateway *gateway, keep_bytes group,
					       keep_memory *memory, keep_system_message_list *out,
					       keep_error *err)
{
	struct handing_out flush = {
		.gateway = gateway, .group = group, .now_ms = kp_clock_ms(), .memory = memory};
	bool some = false;
	keep_status status = kp_check_folder("group_id", group, err);

	if (status == KEEP_OK) /* mostly there is nothing, and nothing is to be locked for it */
		status = kp_gateway_has(gateway, KP_GATEWAY_HAS_SYSTEM_MESSAGES,
					KP_VALUES(kp_text_value(group)), &some, err);
	if (status == KEEP_OK && (some || gateway->store.read_only))
		status = kp_gateway_change(gateway, apply_flush, &flush, KP_NEWS_NONE, err);
	else if (status == KEEP_OK)
		flush.list.text = KEEP_BYTES("");
	if (status == KEEP_OK)
		*out = flush.list;
	return status;
}

/* ---------------------------------------------------------------- claim, complete, release */

static keep_status take(kp_lease *lease, const struct handing_out *claim, int64_t held,
			keep_error *err)
{
	const kp_value group = kp_text_value(claim->group), turn = kp_text_value(claim->turn_id);
	const kp_value service = kp_text_value(keep_bytes_of(claim->gateway->service));
	const kp_value owner = kp_text_value(keep_bytes_of(claim->gateway->owner));
	const kp_value until = kp_time_value(claim->until_ms);
	int64_t last = 0;
	keep_status status =
		choose_last(lease, claim->group, KEEP_GATEWAY_LIST_MAX - held, &last, err);

	if (status == KEEP_OK && held)
		status = kp_lease_queue(
			lease, KP_GATEWAY_KEEP_SYSTEM_MESSAGES,
			KP_VALUES(group, turn, service, owner, until, kp_time_value(claim->now_ms)),
			err);
	if (status == KEEP_OK && last)
		status = kp_lease_queue(
			lease, KP_GATEWAY_TAKE_SYSTEM_MESSAGES,
			KP_VALUES(group, turn, service, owner, until, kp_int_value(last)), err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_FORGET_LOST_CLAIM, KP_VALUES(group, turn),
					err);
	return status;
}

static keep_status apply_claim(void *ctx, kp_lease *lease, keep_error *err)
{
	struct handing_out *claim = ctx;
	kp_sql_stmt *stmt = NULL;
	int64_t held = 0;
	keep_status status =
		free_dead_turns(lease, claim->group, claim->turn_id, claim->now_ms, &held, err);

	claim->list = (keep_system_message_list){NULL, 0, {"", 0}};
	if (status == KEEP_OK)
		status = take(lease, claim, held, err);
	if (status == KEEP_OK)
		status = kp_lease_bind(
			lease, KP_GATEWAY_HELD_SYSTEM_MESSAGES,
			KP_VALUES(kp_text_value(claim->group), kp_text_value(claim->turn_id)),
			&stmt, err);
	if (status == KEEP_OK)
		status = read_answer(stmt, claim->memory, &claim->list, err);
	return status;
}

static keep_status check_turn(keep_bytes group, keep_bytes turn_id, keep_error *err)
{
	keep_status status = kp_check_folder("group_id", group, err);

	return status == KEEP_OK ? kp_check_key("turn_id", turn_id, err) : status;
}

keep_status keep_gateway_claim_system_messages(keep_gateway *gateway, keep_bytes group,
					       keep_bytes turn_id, int64_t lease_ms, int64_t now_ms,
					       keep_memory *memory, keep_system_message_list *out,
					       keep_error *err)
{
	struct handing_out claim = {.gateway = gateway,
				    .group = group,
				    .turn_id = turn_id,
				    .now_ms = kp_gateway_now(now_ms),
				    .memory = memory};
	keep_status status = check_turn(group, turn_id, err);

	if (status == KEEP_OK && (lease_ms < 0 || lease_ms > LEASE_MAX_MS))
		status = kp_fail(err, KEEP_INVALID, "lease_ms: is not within 0 and %lld",
				 (long long)LEASE_MAX_MS);
	if (status == KEEP_OK)
		status = kp_check_time("now", claim.now_ms, err);
	if (status != KEEP_OK)
		return status;
	claim.until_ms = claim.now_ms + (lease_ms ? lease_ms : LEASE_DEFAULT_MS);
	status = kp_check_time("lease_until", claim.until_ms, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_claim, &claim, KP_NEWS_NONE, err);
	if (status == KEEP_OK)
		*out = claim.list;
	return status;
}

struct ending {
	keep_bytes group, turn_id;
	int64_t count;
};

/* Invariant 2. */
static keep_status check_not_lost(kp_lease *lease, const struct ending *ending, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool is_lost = false;
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_IS_LOST_CLAIM,
		KP_VALUES(kp_text_value(ending->group), kp_text_value(ending->turn_id)), &stmt,
		err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &is_lost, err);
	kp_sql_reset(stmt);
	if (status != KEEP_OK || !is_lost)
		return status;
	lease->unchanged = true;
	return kp_fail(err, KEEP_CONFLICT,
		       "turn '%" KP_PRI "': conflict: its system messages of folder '%" KP_PRI
		       "' went to another",
		       KP_ARG(ending->turn_id), KP_ARG(ending->group));
}

static keep_status apply_complete(void *ctx, kp_lease *lease, keep_error *err)
{
	struct ending *ending = ctx;
	keep_status status = check_not_lost(lease, ending, err);

	if (status != KEEP_OK)
		return status;
	return kp_lease_run(lease, KP_GATEWAY_COMPLETE_SYSTEM_MESSAGES,
			    KP_VALUES(kp_text_value(ending->group), kp_text_value(ending->turn_id)),
			    &ending->count, err);
}

static keep_status apply_release(void *ctx, kp_lease *lease, keep_error *err)
{
	struct ending *ending = ctx;
	const kp_value group = kp_text_value(ending->group), turn = kp_text_value(ending->turn_id);
	keep_status status = kp_lease_run(lease, KP_GATEWAY_RELEASE_SYSTEM_MESSAGES,
					  KP_VALUES(group, turn), &ending->count, err);

	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_FORGET_LOST_CLAIM, KP_VALUES(group, turn),
					err);
	return status;
}

static keep_status end_turn(keep_gateway *gateway, keep_bytes group, keep_bytes turn_id,
			    kp_apply *apply, int64_t *count, keep_error *err)
{
	struct ending ending = {group, turn_id, 0};
	keep_status status = check_turn(group, turn_id, err);

	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply, &ending, KP_NEWS_NONE, err);
	if (status == KEEP_OK && count)
		*count = ending.count;
	return status;
}

keep_status keep_gateway_complete_system_messages(keep_gateway *gateway, keep_bytes group,
						  keep_bytes turn_id, int64_t *count,
						  keep_error *err)
{
	return end_turn(gateway, group, turn_id, apply_complete, count, err);
}

keep_status keep_gateway_release_system_messages(keep_gateway *gateway, keep_bytes group,
						 keep_bytes turn_id, int64_t *count,
						 keep_error *err)
{
	return end_turn(gateway, group, turn_id, apply_release, count, err);
}
