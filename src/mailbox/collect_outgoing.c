/*
 * collect_outgoing.c - taking over what the agent's side has sent: messages_out into `outgoing`.
 *
 * The agent's side writes that table, and it may hold anything. Numbers are read first, then each
 * row alone and is judged alone: one that is not what a message must be is set aside as refused,
 * with a step that says why, and the others go on. Contents stay where they are: `outgoing` has
 * the number, and collect_due.c reads and judges the row again when it is due.
 *
 * Invariants:
 *   1. The cursor (session_host.out_seq) moves in the commit that takes the rows over, and only
 *      when nobody else has moved it since they were read.
 *   2. A key is taken over once: rows that are known by their number are passed over, so a cursor
 *      that begins anew delivers nothing twice. A second row with the id of another is refused.
 *   3. A row without an id that can be a key has the key "#" and its number, which no id can be.
 *   4. A number that jumps out of reach does not move the cursor: it is refused, and what comes
 *      below it is found.
 *
 * Tests: tests/contract/test_mailbox_collect.c, tests/contract/test_mailbox_hostile.c.
 */
#include "mailbox/collect.h"

#include <stdio.h>

enum {
	SEQS_MAX = 100,     /* rows of one transaction */
	LOG_LINES_MAX = 10, /* of one call */
	KEY_SIZE = 32,
	LOOK_AFTER_MS = 60000
};

/* ---------------------------------------------------------------- judging a row */

static keep_status refuse(kp_arena *arena, const char *why, keep_bytes *refused, keep_error *err)
{
	return kp_arena_copy(arena, keep_bytes_of(why), refused, err);
}

/* A text that may be absent: source programs write both nothing and an empty one. */
static keep_status judge_text(const char *what, keep_bytes *text, keep_error *why)
{
	if (!text->len)
		*text = (keep_bytes){.data = NULL};
	return text->data ? kp_check_key(what, *text, why) : KEEP_OK;
}

static keep_status judge_kind(keep_bytes kind, keep_error *why)
{
	if (kp_bytes_equal(kind, KEEP_BYTES("chat")) ||
	    kp_bytes_equal(kind, KEEP_BYTES("chat-sdk")) ||
	    kp_bytes_equal(kind, KEEP_BYTES("system")))
		return KEEP_OK;
	return kp_fail(why, KEEP_INVALID, "kind: is none of chat, chat-sdk, system");
}

static keep_status judge_recurrence(keep_bytes recurrence, keep_error *why)
{
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	keep_schedule *schedule = NULL;
	keep_status status;

	options.dialect = KEEP_DIALECT_CRON_PARSER;
	status = keep_schedule_parse(recurrence, &options, &schedule, why);
	keep_schedule_close(&schedule);
	return status == KEEP_OK ? status : kp_prefix(why, status, "recurrence");
}

static keep_status judge_message(keep_outbound_message *message, keep_error *why)
{
	keep_status status = kp_check_segment("id", message->id, why);

	if (status == KEEP_OK)
		status = judge_kind(message->kind, why);
	if (status == KEEP_OK)
		status = judge_text("in_reply_to", &message->in_reply_to, why);
	if (status == KEEP_OK)
		status = judge_text("channel_type", &message->channel_type, why);
	if (status == KEEP_OK)
		status = judge_text("platform_id", &message->platform_id, why);
	if (status == KEEP_OK)
		status = judge_text("thread_id", &message->thread_id, why);
	if (status == KEEP_OK)
		status = judge_text("recurrence", &message->recurrence, why);
	if (status == KEEP_OK && message->recurrence.data)
		status = judge_recurrence(message->recurrence, why);
	if (status == KEEP_OK)
		status = kp_check_json("content", message->content, KP_JSON_NULL, why);
	if (status == KEEP_OK && !kp_bytes_equal(message->kind, KEEP_BYTES("system")) &&
	    (!message->channel_type.data || !message->platform_id.data))
		status = kp_fail(why, KEEP_INVALID, "channel_type, platform_id: it goes nowhere");
	return status;
}

/* The row that a failure was about may be its own fault: then its number can still be read. */
static keep_status judge_failure(kp_lease *lease, keep_bytes session, int64_t seq, kp_arena *arena,
				 const keep_error *why, keep_bytes *refused, keep_error *err)
{
	int64_t there = 0;
	bool found = false;
	keep_status status;

	if (why->status != KEEP_CORRUPT)
		return kp_fail(err, why->status, "%s", why->message);
	status = kp_lease_int(lease, KP_MAILBOX_OUT_SEQ_IS_THERE,
			      KP_VALUES(kp_text_value(session), kp_int_value(seq)), &there, &found,
			      err);
	if (status != KEEP_OK)
		return status;
	kp_log(KEEP_LOG_WARNING, "session %" KP_PRI ", number %lld: %s", KP_ARG(session),
	       (long long)seq, why->message);
	return refuse(arena, "its row cannot be read, or is longer than a message may be", refused,
		      err);
}

static keep_status read_row(kp_sql_stmt *stmt, kp_arena *arena, keep_outbound_message *out,
			    const char **reason, keep_error *why)
{
	bool has_row = false, has_second = false;
	keep_status status = kp_sql_step(stmt, &has_row, why);

	if (status != KEEP_OK)
		return status;
	if (!has_row) {
		*reason = "its row is gone, or longer than a message may be";
		return KEEP_OK;
	}
	status = kp_record_read(stmt, 0, &kp_outbound_message_record, out, arena, why);
	if (status == KEEP_CORRUPT) {
		*reason = "its row holds a value that a message cannot have";
		kp_log(KEEP_LOG_WARNING, "%s", why->message);
		return KEEP_OK;
	}
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_second, why);
	if (status == KEEP_OK && has_second)
		*reason = "two messages have its number";
	return status;
}

/* *refused says what is wrong with a row that could be read; absent: nothing. */
static keep_status judge(keep_outbound_message *message, kp_arena *arena, keep_bytes *refused,
			 keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = judge_message(message, &why);

	*refused = (keep_bytes){.data = NULL};
	if (status == KEEP_NO_MEMORY)
		return kp_fail_memory(err, "a message of the agent's");
	return status == KEEP_OK ? status : refuse(arena, why.message, refused, err);
}

keep_status kp_outbound_judge(kp_lease *lease, keep_bytes session, int64_t seq, kp_arena *arena,
			      keep_outbound_message *out, keep_bytes *refused, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	const char *reason = NULL;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	*refused = (keep_bytes){.data = NULL};
	*out = (keep_outbound_message){.seq = seq};
	status = kp_lease_bind(lease, KP_MAILBOX_OUTBOUND_OF_SEQ,
			       KP_VALUES(kp_text_value(session), kp_int_value(seq)), &stmt, err);
	if (status != KEEP_OK)
		return status;
	status = read_row(stmt, arena, out, &reason, &why);
	kp_sql_reset(stmt);
	if (status != KEEP_OK)
		return judge_failure(lease, session, seq, arena, &why, refused, err);
	out->seq = seq;
	if (reason)
		return refuse(arena, reason, refused, err);
	return judge(out, arena, refused, err);
}

/* ---------------------------------------------------------------- reading new rows */

typedef struct row {
	int64_t seq, due_at;
	char numbered_key[KEY_SIZE]; /* invariant 3 */
	keep_bytes id;               /* absent: no id that can be a key */
	keep_bytes address, refused;
} row;

struct kp_new_rows {
	const kp_collecting *collecting;
	kp_arena arena;
	kp_cursors cursors; /* texts are the caller's */
	row rows[2 * SEQS_MAX];
	size_t count;
	int64_t last_seq;
	bool has_more;
	int64_t refused; /* of one run of apply */
	int logged;
};

static keep_bytes session_of(const kp_new_rows *taking)
{
	return taking->collecting->session->id;
}

static row *add_row(kp_new_rows *taking, int64_t seq)
{
	row *added = &taking->rows[taking->count++];

	*added = (row){.seq = seq, .due_at = taking->collecting->now_ms};
	snprintf(added->numbered_key, sizeof added->numbered_key, "#%lld", (long long)seq);
	return added;
}

/* What a look needs of a row; its content is let go. */
static keep_status keep_row(kp_new_rows *taking, const keep_outbound_message *message,
			    keep_bytes refused, keep_error *err)
{
	row *added = add_row(taking, message->seq);
	keep_bytes address = {.data = NULL};
	keep_status status = KEEP_OK;

	if (message->id.data && kp_check_segment("id", message->id, NULL) == KEEP_OK)
		status = kp_arena_copy(&taking->arena, message->id, &added->id, err);
	if (status == KEEP_OK && refused.data)
		return kp_arena_copy(&taking->arena, refused, &added->refused, err);
	if (message->has_deliver_after && message->deliver_after > added->due_at)
		added->due_at = message->deliver_after;
	if (status == KEEP_OK)
		status = kp_outgoing_address(message, &taking->arena, &address, err);
	added->address = address;
	return status;
}

/* After the cursor began anew: what both sides have forgotten is not delivered again. */
static bool is_pruned(const kp_new_rows *taking, const keep_outbound_message *message)
{
	return taking->cursors.out_seq == 0 && taking->cursors.stored_seq > 0 &&
	       taking->cursors.has_prune_before &&
	       message->timestamp < taking->cursors.prune_before;
}

static keep_status read_seqs(const kp_new_rows *taking, kp_lease *lease, size_t statement,
			     const kp_value *values, size_t value_count, int64_t seqs[SEQS_MAX],
			     size_t *count, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, statement, values, value_count, &stmt, err);

	(void)taking;
	*count = 0;
	while (status == KEEP_OK && *count < SEQS_MAX) {
		int64_t seq = 0;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column_int(stmt, 0, &seq, err);
		if (status == KEEP_OK && (!*count || seqs[*count - 1] != seq))
			seqs[(*count)++] = seq;
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status read_one_by_one(kp_new_rows *taking, kp_lease *lease, int64_t reach,
				   keep_error *err)
{
	int64_t seqs[SEQS_MAX];
	size_t count = 0;
	kp_arena arena = {.head = NULL};
	keep_status status = read_seqs(taking, lease, KP_MAILBOX_NEW_OUT_SEQS,
				       KP_VALUES(kp_text_value(session_of(taking)),
						 kp_int_value(taking->cursors.out_seq),
						 kp_int_value(reach), kp_int_value(SEQS_MAX)),
				       seqs, &count, err);

	taking->has_more = status == KEEP_OK && count == SEQS_MAX;
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		keep_outbound_message message;
		keep_bytes refused;

		status = kp_outbound_judge(lease, session_of(taking), seqs[i], &arena, &message,
					   &refused, err);
		if (status == KEEP_OK && (refused.data || !is_pruned(taking, &message)))
			status = keep_row(taking, &message, refused, err);
		kp_arena_release(&arena);
		if (status == KEEP_OK)
			taking->last_seq = seqs[i];
		if (kp_monotonic_ns() > taking->collecting->deadline_ns) {
			taking->has_more |= i + 1 < count;
			break;
		}
	}
	return status;
}

/* All of them by one statement: what nearly always succeeds. A row that cannot be read is found by
   reading one by one. */
static keep_status read_together(kp_new_rows *taking, kp_lease *lease, int64_t reach,
				 keep_error *why)
{
	kp_sql_stmt *stmt = NULL;
	kp_arena arena = {.head = NULL};
	bool has_row = false;
	size_t looked_at = 0;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_NEW_OUTBOUND,
					   KP_VALUES(kp_text_value(session_of(taking)),
						     kp_int_value(taking->cursors.out_seq),
						     kp_int_value(reach), kp_int_value(SEQS_MAX)),
					   &stmt, why);

	while (status == KEEP_OK) {
		keep_outbound_message message;
		keep_bytes refused;

		status = kp_sql_step(stmt, &has_row, why);
		if (status != KEEP_OK || !has_row)
			break;
		status =
			kp_record_read(stmt, 0, &kp_outbound_message_record, &message, &arena, why);
		if (status == KEEP_OK && looked_at && message.seq == taking->last_seq)
			status = kp_fail(why, KEEP_CORRUPT, "two messages have one number");
		if (status == KEEP_OK)
			status = judge(&message, &arena, &refused, why);
		if (status == KEEP_OK && (refused.data || !is_pruned(taking, &message)))
			status = keep_row(taking, &message, refused, why);
		if (status == KEEP_OK)
			taking->last_seq = message.seq;
		looked_at++;
		kp_arena_release(&arena);
	}
	kp_arena_release(&arena);
	kp_sql_reset(stmt);
	taking->has_more = status == KEEP_OK && looked_at == SEQS_MAX;
	return status;
}

static keep_status read_reachable(kp_new_rows *taking, kp_lease *lease, int64_t reach,
				  keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = read_together(taking, lease, reach, &why);

	if (status == KEEP_OK)
		return status;
	if (status != KEEP_CORRUPT)
		return kp_fail(err, status, "%s", why.message);
	taking->count = 0;
	taking->last_seq = taking->cursors.out_seq;
	return read_one_by_one(taking, lease, reach, err);
}

/* Invariant 4. */
static keep_status read_out_of_reach(kp_new_rows *taking, kp_lease *lease, int64_t reach,
				     keep_error *err)
{
	int64_t seqs[SEQS_MAX];
	size_t count = 0;
	keep_status status = read_seqs(taking, lease, KP_MAILBOX_OUT_SEQS_OUT_OF_REACH,
				       KP_VALUES(kp_text_value(session_of(taking)),
						 kp_int_value(reach), kp_int_value(SEQS_MAX)),
				       seqs, &count, err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		add_row(taking, seqs[i])->refused =
			KEEP_BYTES("its number is far above those before it");
	taking->has_more |= status == KEEP_OK && count == SEQS_MAX;
	return status;
}

/* When sweep has to look after what is taken over here, whatever becomes of this process. */
static int64_t due_of(const kp_new_rows *taking)
{
	int64_t soon_ms = taking->collecting->now_ms + LOOK_AFTER_MS, due_ms = 0;

	for (size_t i = 0; i < taking->count; i++) {
		int64_t at = taking->rows[i].due_at > soon_ms ? taking->rows[i].due_at : soon_ms;

		if (!due_ms || at < due_ms)
			due_ms = at;
	}
	return due_ms;
}

keep_status kp_new_rows_read(kp_new_rows *taking, kp_lease *lease, const kp_cursors *cursors,
			     kp_news *news, keep_error *err)
{
	int64_t reach = 0, last_in = 0;
	bool found = false;
	keep_status status;

	kp_arena_release(&taking->arena);
	taking->count = 0;
	taking->has_more = false;
	taking->cursors = *cursors;
	taking->last_seq = cursors->out_seq;
	status = kp_lease_int(lease, KP_MAILBOX_LAST_IN_SEQ,
			      KP_VALUES(kp_text_value(session_of(taking))), &last_in, &found, err);
	reach = last_in > taking->last_seq ? last_in : taking->last_seq;
	reach = reach > INT64_MAX - KP_OUT_REACH ? INT64_MAX : reach + KP_OUT_REACH;
	if (status == KEEP_OK)
		status = read_reachable(taking, lease, reach, err);
	if (status == KEEP_OK)
		status = read_out_of_reach(taking, lease, reach, err);
	*news = (kp_news){
		.is_news = taking->count || taking->last_seq != cursors->stored_seq,
		.has_more = taking->has_more,
		.last = taking->last_seq,
		.due_ms = due_of(taking),
	};
	return status;
}

/* ---------------------------------------------------------------- taking over */

/* The number under which a key is known; *known false: it is not. */
static keep_status look_up(kp_lease *lease, keep_bytes session, keep_bytes key, int64_t *seq,
			   bool *known, keep_error *err)
{
	return kp_lease_int(lease, KP_MAILBOX_KNOWN_OUT_SEQ,
			    KP_VALUES(kp_text_value(session), kp_text_value(key)), seq, known, err);
}

static keep_status refuse_row(kp_new_rows *taking, kp_lease *lease, const row *refused,
			      keep_bytes key, keep_bytes reason, keep_error *err)
{
	kp_settlement done = {.session = session_of(taking),
			      .key = key,
			      .seq = refused->seq,
			      .status = KEEP_DELIVERED_MESSAGE_STATUS_REFUSED,
			      .error = reason,
			      .now_ms = taking->collecting->now_ms};

	taking->refused++;
	return kp_delivery_settle(lease, &done, err);
}

static keep_status take_row(kp_new_rows *taking, kp_lease *lease, const row *taken, keep_error *err)
{
	keep_bytes numbered = keep_bytes_of(taken->numbered_key);
	keep_bytes reason = taken->refused;
	keep_bytes key = taken->id.data ? taken->id : numbered;
	int64_t seq = 0;
	bool known = false;
	keep_outgoing_message outgoing = {.session_id = session_of(taking),
					  .seq = taken->seq,
					  .due_at = taken->due_at,
					  .address = taken->address};
	kp_sql_stmt *stmt = NULL;
	keep_status status = look_up(lease, session_of(taking), key, &seq, &known, err);

	if (status == KEEP_OK && known && seq != taken->seq && taken->id.data) {
		key = numbered;
		reason = KEEP_BYTES("another message has its id");
		status = look_up(lease, session_of(taking), key, &seq, &known, err);
	}
	if (status != KEEP_OK || known) /* invariant 2 */
		return status;
	if (reason.data)
		return refuse_row(taking, lease, taken, key, reason, err);
	outgoing.message_out_id = key;
	status = kp_lease_statement(lease, KP_MAILBOX_PUT_OUTGOING, &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_outgoing_message_record, &outgoing, err);
	return status == KEEP_OK ? kp_sql_queue(stmt, err) : status;
}

keep_status kp_new_rows_apply(kp_new_rows *taking, kp_lease *lease, keep_error *err)
{
	keep_status status = KEEP_OK;

	taking->refused = 0;
	for (size_t i = 0; status == KEEP_OK && i < taking->count; i++)
		status = take_row(taking, lease, &taking->rows[i], err);
	return status;
}

static void log_refused(kp_new_rows *taking)
{
	for (size_t i = 0; i < taking->count; i++) {
		const row *refused = &taking->rows[i];

		if (!refused->refused.data || taking->logged++ >= LOG_LINES_MAX)
			continue;
		kp_log(KEEP_LOG_WARNING,
		       "session %" KP_PRI ": message %lld of its agent is refused: %" KP_PRI,
		       KP_ARG(session_of(taking)), (long long)refused->seq,
		       KP_ARG(refused->refused));
	}
}

void kp_new_rows_tell(kp_new_rows *taking)
{
	taking->collecting->out->refused += taking->refused;
	log_refused(taking);
}

keep_status kp_new_rows_make(const kp_collecting *collecting, kp_new_rows **out, keep_error *err)
{
	*out = kp_alloc_zero(sizeof **out);
	if (!*out)
		return kp_fail_memory(err, "messages of an agent");
	(*out)->collecting = collecting;
	return KEEP_OK;
}

void kp_new_rows_free(kp_new_rows **taking)
{
	kp_new_rows *closing = *taking;

	if (!closing)
		return;
	*taking = NULL;
	if (closing->logged > LOG_LINES_MAX)
		kp_log(KEEP_LOG_WARNING, "session %" KP_PRI ": %d messages more are refused",
		       KP_ARG(session_of(closing)), closing->logged - LOG_LINES_MAX);
	kp_arena_release(&closing->arena);
	kp_free(closing);
}
