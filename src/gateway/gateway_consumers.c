/*
 * gateway_consumers.c - who reads input under a name, and how far each has come in each chat.
 *
 * Invariants:
 *   1. A consumer has a cursor in every chat: it gets them all when it is made, and a new chat gets
 *      one for every consumer (gateway_messages.c, gateway_chats.c).
 *   2. A cursor's pending_since is set if and only if its chat has input beyond it. So what is
 *      pending is one range of one partial index, whatever else is stored.
 *   3. A cursor moves in a writing transaction, which a store runs one at a time, and only from the
 *      place where that transaction found it.
 *   4. A chat that was read a bit further goes to the end of its consumer's line, also when the
 *      clock stands still or goes back.
 *   5. What cannot be read holds up its own chat and no other: it is passed over with a line in the
 *      log, and CORRUPT is the answer only where there is nothing else to answer.
 *   6. Whether there is such a consumer is asked by the statement that reads for it. Nothing is
 *      remembered here, so one that another process removed begins anew with the next call.
 *
 * A consumer is made by who names it first. Until that is done, it is read as if it stood before
 * every chat's first message, which is all that a read-only gateway can do.
 *
 * What it does not do: sleep (gateway_wait.c), store messages.
 *
 * Tests: tests/contract/test_gateway_consumers.c, tests/contract/test_gateway_consumer_costs.c,
 * tests/crash/test_gateway_consumers_crash.c, tests/torture/test_gateway_consumers_faults.c.
 */
#include "gateway/gateway_private.h"

#include <string.h>

enum { READ_DEFAULT = 200, JIDS_MAX = 1000 };

/* ---------------------------------------------------------------- consumers */

/* A change of one consumer, in one chat or in all. */
struct move {
	keep_bytes consumer, jid;
	int64_t now_ms;
	int64_t seq;      /* where to */
	bool is_rewind;   /* exactly there; else forward only */
	int64_t cursor;   /* where it is afterwards */
	bool was_removed; /* there was a consumer to remove */
};

static keep_status add_consumer(kp_lease *lease, keep_bytes consumer, int64_t now_ms,
				keep_error *err)
{
	int64_t added = 0;
	keep_status status = kp_lease_run(lease, KP_GATEWAY_ADD_CONSUMER,
					  KP_VALUES(kp_text_value(consumer), kp_time_value(now_ms)),
					  &added, err);

	if (status != KEEP_OK || added == 0)
		return status;
	return kp_lease_queue(lease, KP_GATEWAY_ADD_CONSUMER_CURSORS,
			      KP_VALUES(kp_text_value(consumer), kp_time_value(now_ms)), err);
}

static keep_status apply_make(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct move *move = ctx;

	return add_consumer(lease, move->consumer, move->now_ms, err);
}

keep_status kp_consumer_make(keep_gateway *gateway, keep_bytes consumer, int64_t now_ms,
			     keep_error *err)
{
	struct move move = {.consumer = consumer, .now_ms = now_ms};

	return kp_gateway_change(gateway, apply_make, &move, KP_NEWS_NONE, err);
}

static keep_status apply_remove(void *ctx, kp_lease *lease, keep_error *err)
{
	struct move *move = ctx;
	int64_t removed = 0;
	const kp_value name = kp_text_value(move->consumer);
	keep_status status =
		kp_lease_run(lease, KP_GATEWAY_REMOVE_CONSUMER, &name, 1, &removed, err);

	move->was_removed = removed > 0;
	if (status != KEEP_OK || !move->was_removed)
		return status;
	return kp_lease_queue(lease, KP_GATEWAY_REMOVE_CURSORS, &name, 1, err);
}

keep_status keep_gateway_remove_consumer(keep_gateway *gateway, keep_bytes consumer,
					 keep_error *err)
{
	struct move move = {.consumer = consumer};
	keep_status status = kp_check_key("consumer", consumer, err);

	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_remove, &move, KP_NEWS_NONE, err);
	if (status == KEEP_OK && !move.was_removed)
		return kp_fail(err, KEEP_NOT_FOUND, "there is no consumer '%" KP_PRI "'",
			       KP_ARG(consumer));
	return status;
}

/* ---------------------------------------------------------------- what is pending */

static const kp_field pending_fields[] = {
	KP_FIELD(TEXT, keep_pending_chat, jid, 0, NULL),
	KP_FIELD(INT, keep_pending_chat, seq, 0, NULL),
	KP_FIELD(INT, keep_pending_chat, last_input_seq, 0, NULL),
	KP_FIELD(TIME, keep_pending_chat, pending_since, 0, NULL),
	KP_FIELD(BOOL, keep_pending_chat, errored, 0, NULL),
};
static const kp_record pending_record = KP_RECORD(keep_pending_chat, "cursors", 0, pending_fields);

/* The first message of a chat that cannot be read. */
struct damage {
	keep_bytes jid;
	int64_t seq;
	struct damage *next;
};

/* One look at what a consumer has to read. */
struct look {
	keep_bytes consumer;
	keep_bytes jids; /* a JSON array of chats; absent: all */
	int64_t limit, now_ms;
	int64_t chats_max; /* so many pending ones are read */
	int round;         /* of reading them, from 1 */
	kp_arena *arena;   /* of `pending` and `damage` */
	keep_memory *memory;
	bool is_known; /* there is such a consumer */
	keep_pending_list pending;
	keep_message_list messages;
	struct damage *damage;
	size_t damages; /* so often something was passed over, and reading on makes sense */
	keep_error why; /* of the last of them */
};

/* Invariant 5. */
static void log_damage(struct look *look, keep_bytes jid)
{
	look->damages++;
	kp_log(KEEP_LOG_WARNING, "consumer '%" KP_PRI "': chat '%" KP_PRI "' is passed over: %s",
	       KP_ARG(look->consumer), KP_ARG(jid), look->why.message);
}

/* Nothing was left to answer, because of what cannot be read. */
static keep_status tell_damage(const struct look *look, keep_error *err)
{
	return kp_fail(err, KEEP_CORRUPT, "%s", look->why.message);
}

/* All rows of the statement; *is_known: whether there was any, be it one without a chat. */
static keep_status read_pending(kp_sql_stmt *stmt, struct look *look, bool *is_known,
				keep_error *err)
{
	bool has_row = false;
	keep_status status = kp_sql_step(stmt, &has_row, err);

	*is_known = has_row;
	while (status == KEEP_OK && has_row) {
		kp_value jid;

		status = kp_sql_column(stmt, 0, KP_TEXT, &jid, err);
		if (status != KEEP_OK || jid.is_null)
			break;
		if (!look->pending.items)
			look->pending.items = kp_arena_alloc(
				look->arena, (size_t)look->chats_max * sizeof(keep_pending_chat));
		if (!look->pending.items)
			status = kp_fail_memory(err, "the pending chats");
		if (status == KEEP_OK)
			status = kp_record_read(stmt, 0, &pending_record,
						&look->pending.items[look->pending.count],
						look->arena, &look->why);
		look->pending.count += status == KEEP_OK;
		if (status == KEEP_CORRUPT && look->round == 1)
			log_damage(look, jid.bytes);
		if (status == KEEP_OK || status == KEEP_CORRUPT)
			status = kp_sql_step(stmt, &has_row, err);
		else if (status != KEEP_OK)
			status = kp_fail(err, status, "%s", look->why.message);
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status find_pending(struct look *look, kp_lease *lease, keep_error *err)
{
	bool is_all = !look->jids.data, ignored;
	const kp_value limit = kp_int_value(look->chats_max), jids = kp_json_value(look->jids);
	const kp_value known[] = {kp_text_value(look->consumer), limit, jids};
	const kp_value unknown[] = {kp_time_value(look->now_ms), limit, jids};
	kp_sql_stmt *stmt = NULL;
	keep_status status;

	look->pending = (keep_pending_list){NULL, 0};
	status = kp_lease_bind(lease, is_all ? KP_GATEWAY_PENDING_CHATS : KP_GATEWAY_PENDING_OF,
			       known, is_all ? 2 : 3, &stmt, err);
	if (status == KEEP_OK)
		status = read_pending(stmt, look, &look->is_known, err);
	if (status != KEEP_OK || look->is_known)
		return status;
	status = kp_lease_bind(lease, is_all ? KP_GATEWAY_UNREAD_CHATS : KP_GATEWAY_UNREAD_OF,
			       unknown, is_all ? 2 : 3, &stmt, err);
	return status == KEEP_OK ? read_pending(stmt, look, &ignored, err) : status;
}

static keep_status query_pending(void *ctx, kp_lease *lease, keep_error *err)
{
	struct look *look = ctx;

	look->chats_max = look->limit;
	look->round = 1;
	look->damages = 0;
	return find_pending(look, lease, err);
}

/* Read, and make the consumer if it is not there. What was read as if it were holds good then. */
static keep_status look_and_make(keep_gateway *gateway, kp_store_query *query, struct look *look,
				 keep_error *err)
{
	keep_status status;

	look->now_ms = kp_clock_ms();
	status = kp_gateway_read(gateway, query, look, err);
	if (status == KEEP_OK && !look->is_known && !gateway->store.read_only)
		status = kp_consumer_make(gateway, look->consumer, look->now_ms, err);
	return status;
}

keep_status keep_gateway_pending_chats(keep_gateway *gateway, keep_bytes consumer, size_t limit,
				       keep_memory *memory, keep_pending_list *out, keep_error *err)
{
	struct look look = {.consumer = consumer, .arena = memory};
	keep_status status = kp_check_key("consumer", consumer, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, READ_DEFAULT, KEEP_GATEWAY_LIST_MAX, &look.limit,
					err);
	if (status == KEEP_OK)
		status = look_and_make(gateway, query_pending, &look, err);
	if (status == KEEP_OK && !look.pending.count && look.damages)
		status = tell_damage(&look, err);
	if (status == KEEP_OK)
		*out = look.pending;
	return status;
}

/* ---------------------------------------------------------------- new messages */

/* Where reading goes on in one chat. */
struct place {
	keep_bytes jid;
	int64_t seq;
};

static const struct damage *find_damage(const struct look *look, keep_bytes jid)
{
	const struct damage *damage = look->damage;

	while (damage && !kp_bytes_equal(damage->jid, jid))
		damage = damage->next;
	return damage;
}

/* A message of `jid` that cannot be read: the rest of its chat waits behind it. */
static keep_status note_damage(void *ctx, kp_sql_stmt *stmt, const keep_error *why, keep_error *err)
{
	struct look *look = ctx;
	struct damage *damage = NULL;
	keep_bytes jid;
	int64_t seq = 0;
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &jid, err);

	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, kp_message_column("seq"), &seq, err);
	if (status != KEEP_OK || find_damage(look, jid))
		return status;
	damage = kp_arena_alloc(look->arena, sizeof *damage);
	if (!damage)
		return kp_fail_memory(err, "a chat that is passed over");
	*damage = (struct damage){.seq = seq, .next = look->damage};
	status = kp_arena_copy(look->arena, jid, &damage->jid, err);
	if (status != KEEP_OK)
		return status;
	look->damage = damage;
	if (kp_fail(&look->why, KEEP_CORRUPT, "chat '%" KP_PRI "', message %lld: %s", KP_ARG(jid),
		    (long long)seq, why->message) == KEEP_CORRUPT)
		log_damage(look, jid);
	return KEEP_OK;
}

/* Nothing of a chat is answered that lies behind its damage. */
static void drop_what_waits(const struct look *look, keep_message_list *list)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		const struct damage *damage = find_damage(look, list->items[i].chat_jid);

		if (!damage || list->items[i].seq < damage->seq)
			list->items[kept++] = list->items[i];
	}
	list->count = kept;
}

/* Of each place the first `share` messages beyond it, at most `total`. */
static keep_status read_beyond(struct look *look, kp_lease *lease, const struct place *places,
			       size_t count, size_t share, size_t total, keep_message_list *out,
			       keep_error *err)
{
	keep_buffer json = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	kp_sql_stmt *stmt = NULL;
	void *items = NULL;
	keep_status status;

	kp_json_begin(&writer, &json);
	kp_json_open_array(&writer);
	for (size_t i = 0; i < count; i++) {
		kp_json_open_array(&writer);
		kp_json_put_text(&writer, places[i].jid);
		kp_json_put_integer(&writer, places[i].seq);
		kp_json_close_array(&writer);
	}
	kp_json_close_array(&writer);
	status = kp_json_finish(&writer, err);
	if (status == KEEP_OK)
		status = kp_lease_bind(lease, KP_GATEWAY_MESSAGES_BEYOND,
				       KP_VALUES(kp_json_value(kp_buffer_bytes(&json)),
						 kp_int_value((int64_t)share),
						 kp_int_value((int64_t)total)),
				       &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_read_good(stmt, &kp_message_record, look->memory, &items,
					     &out->count, note_damage, look, err);
	out->items = items;
	keep_buffer_release(&json);
	if (status == KEEP_OK && look->damage)
		drop_what_waits(look, out);
	return status;
}

static bool is_of(const keep_message_list *list, size_t at, keep_bytes jid)
{
	return at < list->count && kp_bytes_equal(list->items[at].chat_jid, jid);
}

/* After its share each chat stands at its last message; those that have more stay in `places`. */
static size_t move_places(struct place *places, const struct look *look)
{
	const keep_message_list *got = &look->messages;
	size_t left = 0, at = 0;

	for (size_t i = 0; i < look->pending.count; i++) {
		const keep_pending_chat *chat = &look->pending.items[i];
		int64_t seq = chat->seq;

		for (; is_of(got, at, chat->jid); at++)
			seq = got->items[at].seq;
		if (seq < chat->last_input_seq && !find_damage(look, chat->jid))
			places[left++] = (struct place){chat->jid, seq};
	}
	return left;
}

/* Both in the order of the pending chats: each chat's `more` goes behind its share. */
static keep_status merge_more(struct look *look, const keep_message_list *more, keep_error *err)
{
	const keep_message_list *got = &look->messages;
	size_t all = got->count + more->count, count = 0, at = 0, more_at = 0;
	keep_message *items = kp_arena_alloc(look->memory, all * sizeof *items);

	if (!items)
		return kp_fail_memory(err, "the new messages");
	for (size_t i = 0; i < look->pending.count; i++) {
		keep_bytes jid = look->pending.items[i].jid;

		while (is_of(got, at, jid))
			items[count++] = got->items[at++];
		while (is_of(more, more_at, jid))
			items[count++] = more->items[more_at++];
	}
	look->messages = (keep_message_list){items, count};
	return KEEP_OK;
}

/*
 * Every pending chat gets its share first, then what is left of the limit is filled in order. The
 * statements need no common snapshot: each goes on from a number, and below a number nothing comes.
 */
static keep_status read_shares(struct look *look, kp_lease *lease, struct place *places,
			       keep_error *err)
{
	size_t limit = (size_t)look->limit, count = look->pending.count, left;
	keep_message_list more = {NULL, 0};
	keep_status status;

	for (size_t i = 0; i < count; i++)
		places[i] = (struct place){look->pending.items[i].jid, look->pending.items[i].seq};
	status =
		read_beyond(look, lease, places, count, limit / count, limit, &look->messages, err);
	if (status != KEEP_OK)
		return status;
	left = limit - look->messages.count;
	count = left ? move_places(places, look) : 0;
	if (!count)
		return KEEP_OK;
	status = read_beyond(look, lease, places, count, left, left, &more, err);
	return status == KEEP_OK && more.count ? merge_more(look, &more, err) : status;
}

/* The chats that can be read, at most `limit`. */
static void choose_chats(struct look *look)
{
	size_t kept = 0;

	for (size_t i = 0; i < look->pending.count && kept < (size_t)look->limit; i++)
		if (!find_damage(look, look->pending.items[i].jid))
			look->pending.items[kept++] = look->pending.items[i];
	look->pending.count = kept;
}

static keep_status read_chats(struct look *look, kp_lease *lease, keep_error *err)
{
	struct place *places = kp_alloc(look->pending.count * sizeof *places);
	keep_status status;

	if (!places)
		return kp_fail_memory(err, "the pending chats");
	status = read_shares(look, lease, places, err);
	kp_free(places);
	return status;
}

/* Where all that was looked at cannot be read, others may wait behind it: look further, without. */
static keep_status query_new(void *ctx, kp_lease *lease, keep_error *err)
{
	struct look *look = ctx;
	size_t known;
	keep_status status;

	look->damage = NULL;
	look->damages = 0;
	look->round = 0;
	do {
		known = look->damages;
		look->round++;
		look->chats_max = known ? KEEP_GATEWAY_LIST_MAX : look->limit;
		look->messages = (keep_message_list){NULL, 0};
		status = find_pending(look, lease, err);
		if (status == KEEP_OK)
			choose_chats(look);
		if (status == KEEP_OK && look->pending.count)
			status = read_chats(look, lease, err);
	} while (status == KEEP_OK && !look->messages.count && look->damages > known);
	return status;
}

static keep_status write_jids(const keep_bytes *jids, size_t count, keep_buffer *out,
			      keep_error *err)
{
	kp_json_writer writer;
	keep_status status = KEEP_OK;

	if (count > JIDS_MAX)
		return kp_fail(err, KEEP_INVALID, "jids: %zu chats, the limit is %d", count,
			       JIDS_MAX);
	kp_json_begin(&writer, out);
	kp_json_open_array(&writer);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = kp_check_key("jids", jids[i], err);
		if (status == KEEP_OK)
			kp_json_put_text(&writer, jids[i]);
	}
	kp_json_close_array(&writer);
	return status == KEEP_OK ? kp_json_finish(&writer, err) : status;
}

keep_status keep_gateway_new_messages(keep_gateway *gateway, keep_bytes consumer,
				      const keep_bytes *jids, size_t jid_count, size_t limit,
				      keep_memory *memory, keep_message_list *out, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_buffer json = KEEP_BUFFER_INIT;
	struct look look = {.consumer = consumer, .arena = &arena, .memory = memory};
	keep_status status = kp_check_key("consumer", consumer, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, READ_DEFAULT, KEEP_GATEWAY_LIST_MAX, &look.limit,
					err);
	if (status == KEEP_OK && jids)
		status = write_jids(jids, jid_count, &json, err);
	if (jids)
		look.jids = kp_buffer_bytes(&json);
	if (status == KEEP_OK)
		status = look_and_make(gateway, query_new, &look, err);
	if (status == KEEP_OK && !look.messages.count && look.damages)
		status = tell_damage(&look, err);
	if (status == KEEP_OK)
		*out = look.messages;
	keep_buffer_release(&json);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- cursors */

/* What stands in the store before a cursor moves. */
struct standing {
	bool has_chat, is_known, is_pending, has_others;
	int64_t last_seq, last_input_seq, seq, pending_since;
	int64_t others_since; /* of the last in the line */
};

static keep_status read_standing(kp_sql_stmt *stmt, struct standing *standing, keep_error *err)
{
	enum { OTHERS_SINCE = 5 };
	static const kp_kind kinds[] = {KP_INT, KP_INT, KP_TEXT, KP_INT, KP_TIME, KP_TIME};
	kp_value values[KP_COUNT(kinds)];
	bool has_row = false;
	keep_status status = kp_sql_step(stmt, &has_row, err);

	if (status == KEEP_OK && !has_row)
		status = kp_fail(err, KEEP_CORRUPT, "a probe of a cursor had no row");
	for (size_t i = 0; i < KP_COUNT(kinds) && status == KEEP_OK; i++) {
		status = kp_sql_column(stmt, (int)i, kinds[i], &values[i], err);
		if (status != KEEP_CORRUPT || i != OTHERS_SINCE)
			continue;
		/* Another chat's cursor is damaged: invariant 5. */
		values[i] = kp_null_value(KP_TIME);
		status = KEEP_OK;
	}
	if (status != KEEP_OK)
		return status;
	*standing = (struct standing){.has_chat = !values[0].is_null,
				      .is_known = !values[2].is_null,
				      .is_pending = !values[4].is_null,
				      .has_others = !values[5].is_null};
	if (standing->has_chat) {
		standing->last_seq = values[0].integer;
		standing->last_input_seq = values[1].integer;
	}
	if (!values[3].is_null)
		standing->seq = values[3].integer;
	if (standing->is_pending)
		standing->pending_since = values[4].integer;
	if (standing->has_others)
		standing->others_since = values[5].integer;
	return KEEP_OK;
}

static keep_status check_place(const struct move *move, const struct standing *standing,
			       keep_error *err)
{
	if (!standing->has_chat)
		return kp_fail(err, KEEP_NOT_FOUND, "there is no chat '%" KP_PRI "'",
			       KP_ARG(move->jid));
	if (move->seq > standing->last_seq)
		return kp_fail(err, KEEP_INVALID,
			       "seq: %lld is beyond the newest message %lld of chat '%" KP_PRI "'",
			       (long long)move->seq, (long long)standing->last_seq,
			       KP_ARG(move->jid));
	return KEEP_OK;
}

/* Since when input beyond the new place waits. Who stepped back keeps its place in the line; who
   read on goes to its end (invariant 4). */
static kp_value wait_since(const struct move *move, const struct standing *standing)
{
	int64_t since = move->now_ms;

	if (move->seq >= standing->last_input_seq)
		return kp_null_value(KP_TIME);
	if (move->is_rewind && standing->is_pending)
		return kp_time_value(standing->pending_since);
	/* A consumer that is made just now waits in every chat since now. */
	if (!standing->is_known && since < KEEP_TIME_MAX)
		since++;
	if (standing->has_others && standing->others_since >= since &&
	    standing->others_since < KEEP_TIME_MAX)
		since = standing->others_since + 1;
	return kp_time_value(since);
}

static keep_status set_cursor(kp_lease *lease, const struct move *move,
			      const struct standing *standing, keep_error *err)
{
	int64_t changes = 0;
	keep_status status =
		kp_lease_run(lease, KP_GATEWAY_SET_CURSOR,
			     KP_VALUES(kp_text_value(move->consumer), kp_text_value(move->jid),
				       kp_int_value(move->seq), kp_time_value(move->now_ms),
				       wait_since(move, standing), kp_int_value(standing->seq)),
			     &changes, err);

	if (status == KEEP_OK && changes != 1)
		status = kp_fail(err, KEEP_CONFLICT,
				 "the cursor of '%" KP_PRI "' in chat '%" KP_PRI
				 "' was moved by another program meanwhile",
				 KP_ARG(move->consumer), KP_ARG(move->jid));
	return status;
}

static keep_status apply_move(void *ctx, kp_lease *lease, keep_error *err)
{
	struct move *move = ctx;
	struct standing standing = {.has_chat = false};
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_PROBE_CURSOR,
		KP_VALUES(kp_text_value(move->consumer), kp_text_value(move->jid)), &stmt, err);

	if (status == KEEP_OK)
		status = read_standing(stmt, &standing, err);
	kp_sql_reset(stmt);
	if (status != KEEP_OK)
		return status;
	status = check_place(move, &standing, err);
	lease->unchanged = status != KEEP_OK;
	if (status == KEEP_OK && !standing.is_known)
		status = add_consumer(lease, move->consumer, move->now_ms, err);
	move->cursor = standing.seq;
	if (status != KEEP_OK ||
	    (move->is_rewind ? move->seq == standing.seq : move->seq <= standing.seq))
		return status;
	move->cursor = move->seq;
	return set_cursor(lease, move, &standing, err);
}

keep_status keep_gateway_advance(keep_gateway *gateway, keep_bytes consumer, keep_bytes jid,
				 int64_t seq, int64_t *cursor, keep_error *err)
{
	struct move move = {.consumer = consumer, .jid = jid, .seq = seq, .now_ms = kp_clock_ms()};
	keep_status status = kp_check_key("consumer", consumer, err);

	if (status == KEEP_OK)
		status = kp_check_key("chat_jid", jid, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_move, &move, KP_NEWS_NONE, err);
	if (status == KEEP_OK && cursor)
		*cursor = move.cursor;
	return status;
}

keep_status keep_gateway_rewind(keep_gateway *gateway, keep_bytes consumer, keep_bytes jid,
				int64_t seq, keep_error *err)
{
	struct move move = {.consumer = consumer,
			    .jid = jid,
			    .seq = seq,
			    .now_ms = kp_clock_ms(),
			    .is_rewind = true};
	keep_status status = kp_check_key("consumer", consumer, err);

	if (status == KEEP_OK)
		status = kp_check_key("chat_jid", jid, err);
	if (status == KEEP_OK && seq < 0)
		status = kp_fail(err, KEEP_INVALID, "seq: %lld is below 0", (long long)seq);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_move, &move, KP_NEWS_INPUT, err);
}

/* Where one cursor is. */
struct cursor {
	keep_bytes consumer, jid;
	bool is_known;
	int64_t seq;
};

static keep_status query_cursor(void *ctx, kp_lease *lease, keep_error *err)
{
	struct cursor *cursor = ctx;
	kp_sql_stmt *stmt = NULL;
	kp_value seq = {.is_null = true};
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_GET_CURSOR,
		KP_VALUES(kp_text_value(cursor->consumer), kp_text_value(cursor->jid)), &stmt, err);

	cursor->is_known = false;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &cursor->is_known, err);
	if (status == KEEP_OK && cursor->is_known)
		status = kp_sql_column(stmt, 0, KP_INT, &seq, err);
	cursor->seq = status == KEEP_OK && !seq.is_null ? seq.integer : 0;
	kp_sql_reset(stmt);
	return status;
}

keep_status keep_gateway_get_cursor(keep_gateway *gateway, keep_bytes consumer, keep_bytes jid,
				    int64_t *seq, keep_error *err)
{
	struct cursor cursor = {.consumer = consumer, .jid = jid};
	keep_status status = kp_check_key("consumer", consumer, err);

	if (status == KEEP_OK)
		status = kp_check_key("chat_jid", jid, err);
	if (status == KEEP_OK)
		status = kp_gateway_read(gateway, query_cursor, &cursor, err);
	if (status == KEEP_OK && !cursor.is_known && !gateway->store.read_only)
		status = kp_consumer_make(gateway, consumer, kp_clock_ms(), err);
	if (status == KEEP_OK)
		*seq = cursor.seq;
	return status;
}
