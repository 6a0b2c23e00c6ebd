/*
 * collect_acks.c - taking over what the agent's side says of the messages it got.
 *
 * processing_ack numbers its changes, and the host remembers the last one that it has taken over;
 * so a look costs what is new. A program that knows only the source's columns leaves no number:
 * only while there are such rows, those of messages that nobody has finished are looked at.
 *
 *   completed   the message is completed, also when its claim was given up meanwhile
 *   failed      it is due again later, or has failed for good
 *
 * Invariants:
 *   1. What an acknowledgement changes and the cursor that has passed it are one commit; it need
 *      not be synced, for the agent's side still has the row after a power cut.
 *   2. An attempt counts once (messages_in.void_attempt); one without a number counts once for
 *      each time that its row says (status_changed).
 *   3. A row that is not what it must be is passed over with a line in the log. A cursor greater
 *      than every number there is of another outbound side, or of one that was put back: it
 *      begins anew, and what had been taken over changes nothing.
 *
 * What it does not do: end a message (series.c).
 *
 * Tests: tests/contract/test_mailbox_collect.c, tests/contract/test_mailbox_hostile.c.
 */
#include "mailbox/collect.h"

enum { CHANGES_MAX = 200, UNNUMBERED_MAX = 1000, FIRST_DELAY_MS = 5000 };

/* No agent counts so far; a greater number would leave no room for those after it. */
#define CHANGE_LAST (INT64_MAX / 2)

/* ---------------------------------------------------------------- a failed attempt */

static int64_t delay_ms(int64_t tries)
{
	const int64_t last = KEEP_MAILBOX_ATTEMPTS - 2;

	return (int64_t)FIRST_DELAY_MS << (tries < 0 ? 0 : tries > last ? last : tries);
}

/* The agent's word, so within bounds; what cannot be read is no claim. */
static keep_status read_expired(kp_lease *lease, const keep_inbound_message *message,
				int64_t attempt, int64_t *out, keep_error *err)
{
	bool found = false;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status =
		kp_lease_int(lease, KP_MAILBOX_EXPIRED_CLAIMS,
			     KP_VALUES(kp_text_value(message->session_id),
				       kp_text_value(message->id), kp_int_value(attempt)),
			     out, &found, &why);

	if (status != KEEP_OK && status != KEEP_CORRUPT && status != KEEP_MISUSE)
		return kp_fail(err, status, "%s", why.message);
	if (status != KEEP_OK || !found || *out < 0)
		*out = 0;
	if (*out > KEEP_MAILBOX_ATTEMPTS)
		*out = KEEP_MAILBOX_ATTEMPTS;
	return KEEP_OK;
}

keep_status kp_inbound_retry(kp_lease *lease, const keep_inbound_message *message, int64_t attempt,
			     keep_bytes reason, int64_t now_ms, bool *changed, bool *gave_up,
			     keep_error *err)
{
	keep_inbound_message failed = *message;
	int64_t expired = 0, changes = 0;
	bool is_last = false, has_ended = false;
	kp_value due = kp_time_value(message->process_after);
	keep_status status;

	if (changed)
		*changed = false;
	if (gave_up)
		*gave_up = false;
	if (attempt <= message->void_attempt)
		return KEEP_OK;
	status = read_expired(lease, message, attempt, &expired, err);
	failed.tries += 1 + expired;
	failed.void_attempt = attempt;
	is_last = failed.tries >= KEEP_MAILBOX_ATTEMPTS;
	due.is_null = is_last && !message->has_process_after;
	if (!is_last)
		due.integer = now_ms + delay_ms(failed.tries - 1);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_MAILBOX_RETRY_INBOUND,
				      KP_VALUES(kp_text_value(message->session_id),
						kp_text_value(message->id),
						kp_int_value(failed.tries), kp_int_value(attempt),
						due, kp_text_value(reason)),
				      &changes, err);
	if (status != KEEP_OK || !changes)
		return status;
	failed.last_error = reason;
	if (is_last)
		status = kp_inbound_finish(lease, &failed, KEEP_INBOUND_MESSAGE_STATUS_FAILED,
					   reason, now_ms, &has_ended, err);
	else
		status = kp_step_add(lease, message->session_id, message->id, "retry", reason,
				     now_ms, err);
	if (status == KEEP_OK && changed)
		*changed = true;
	if (status == KEEP_OK && gave_up)
		*gave_up = is_last;
	return status;
}

/* ---------------------------------------------------------------- cursors */

static keep_status read_outbound_id(kp_lease *lease, keep_bytes session, kp_arena *arena,
				    kp_cursors *out, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value id = {.is_null = true};
	bool found = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_OUTBOUND_ID,
					   KP_VALUES(kp_text_value(session)), &stmt, err);

	out->outbound_id = KEEP_BYTES("");
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	/* A table that is not there: the other program's own. */
	if (status == KEEP_MISUSE) {
		out->is_plain = true;
		kp_sql_reset(stmt);
		return KEEP_OK;
	}
	if (status == KEEP_OK && found)
		status = kp_sql_column(stmt, 0, KP_TEXT, &id, err);
	if (status == KEEP_OK && !id.is_null &&
	    (id.bytes.len > KEEP_MAILBOX_TEXT_MAX || !kp_text_is_storable(id.bytes)))
		status = kp_fail(err, KEEP_CORRUPT, "session_agent.outbound_id is no id");
	if (status == KEEP_OK && !id.is_null)
		status = kp_arena_copy(arena, id.bytes, &out->outbound_id, err);
	kp_sql_reset(stmt);
	return status;
}

/* The last number and change that the agent's side has now; 0: none. */
static keep_status read_lasts(kp_lease *lease, keep_bytes session, const kp_cursors *cursors,
			      int64_t *seq, int64_t *change, keep_error *err)
{
	kp_value id = kp_text_value(session);
	kp_value reach = kp_int_value(cursors->out_seq + KP_OUT_REACH);
	kp_value seq_value = {.is_null = true}, change_value = {.is_null = true};
	kp_sql_stmt *stmt = NULL;
	bool found = false;
	keep_status status;

	if (cursors->is_plain)
		return kp_lease_int(lease, KP_MAILBOX_LAST_OUT_SEQ, KP_VALUES(id, reach), seq,
				    &found, err);
	status = kp_lease_bind(lease, KP_MAILBOX_LAST_OUT_SEQ_AND_CHANGE,
			       KP_VALUES(id, reach, kp_int_value(CHANGE_LAST)), &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	if (status == KEEP_OK && found)
		status = kp_sql_column(stmt, 0, KP_INT, &seq_value, err);
	if (status == KEEP_OK && found)
		status = kp_sql_column(stmt, 1, KP_INT, &change_value, err);
	*seq = seq_value.is_null ? 0 : seq_value.integer;
	*change = change_value.is_null ? 0 : change_value.integer;
	kp_sql_reset(stmt);
	return status;
}

/* Invariant 3. */
static keep_status begin_anew(kp_lease *lease, keep_bytes session, kp_cursors *cursors,
			      keep_error *err)
{
	int64_t last_seq = 0, last_change = 0;
	keep_status status;

	if (!kp_bytes_equal(cursors->stored_id, cursors->outbound_id)) {
		cursors->ack_change = cursors->out_seq = 0;
		return KEEP_OK;
	}
	status = read_lasts(lease, session, cursors, &last_seq, &last_change, err);
	if (status != KEEP_OK)
		return status;
	if (last_seq < cursors->out_seq) {
		kp_log(KEEP_LOG_WARNING,
		       "session %" KP_PRI ": the agent's last number was %lld and is %lld now: its "
		       "messages are looked at anew",
		       KP_ARG(session), (long long)cursors->out_seq, (long long)last_seq);
		cursors->out_seq = 0;
	}
	if (last_change < cursors->ack_change)
		cursors->ack_change = 0;
	return KEEP_OK;
}

keep_status kp_cursors_read(kp_lease *lease, keep_bytes session, kp_arena *arena, kp_cursors *out,
			    keep_error *err)
{
	keep_session_host host;
	keep_status status = kp_session_host_get(lease, session, arena, &host, err);

	*out = (kp_cursors){.is_plain = false};
	if (status != KEEP_OK)
		return status;
	out->stored_id = host.outbound_id;
	out->stored_change = out->ack_change = host.ack_change;
	out->stored_seq = out->out_seq = host.out_seq;
	out->has_prune_before = host.has_prune_before;
	out->prune_before = host.prune_before;
	status = read_outbound_id(lease, session, arena, out, err);
	return status == KEEP_OK ? begin_anew(lease, session, out, err) : status;
}

keep_status kp_cursors_move(kp_lease *lease, keep_bytes session, const kp_cursors *from,
			    int64_t ack_change, int64_t out_seq, bool *moved, keep_error *err)
{
	int64_t changes = 0;
	keep_status status = kp_lease_run(
		lease, KP_MAILBOX_MOVE_CURSORS,
		KP_VALUES(kp_text_value(session), kp_int_value(ack_change), kp_int_value(out_seq),
			  kp_text_value(from->outbound_id), kp_int_value(from->stored_change),
			  kp_int_value(from->stored_seq), kp_text_value(from->stored_id)),
		&changes, err);

	*moved = changes > 0;
	return status;
}

/* ---------------------------------------------------------------- reading */

typedef struct ack {
	keep_bytes message_id;
	bool is_completed, has_attempt;
	int64_t attempt, status_changed;
	keep_bytes error;
} ack;

/* One look. The rows are read before the transaction that takes them over. */
struct kp_new_acks {
	const kp_collecting *collecting;
	kp_arena arena;
	kp_cursors cursors; /* texts are the caller's */
	ack *acks;
	size_t count, room;
	int64_t last_change;
	bool has_more, has_failed;
	int64_t completed, retried, failed; /* of one run of apply */
};

static keep_bytes session_of(const kp_new_acks *taking)
{
	return taking->collecting->session->id;
}

static keep_status add_ack(kp_new_acks *taking, const ack *found, keep_error *err)
{
	if (taking->count == taking->room) {
		size_t room = taking->room ? taking->room * 2 : 64;
		ack *grown = kp_realloc(taking->acks, room * sizeof *grown);

		if (!grown)
			return kp_fail_memory(err, "acknowledgements");
		taking->acks = grown;
		taking->room = room;
	}
	taking->acks[taking->count++] = *found;
	taking->has_failed |= !found->is_completed;
	return KEEP_OK;
}

/* The reason that an agent gave, as far as one can be told. */
static keep_bytes reason_of(keep_bytes error)
{
	size_t len = error.len > KEEP_MAILBOX_TEXT_MAX ? KEEP_MAILBOX_TEXT_MAX : error.len;

	if (!error.data || !error.len)
		return KEEP_BYTES("the agent gave no reason");
	while (len < error.len && len > 0 && ((unsigned char)error.data[len] & 0xc0) == 0x80)
		len--;
	return (keep_bytes){error.data, len};
}

static keep_status pass_over(void *ctx, kp_sql_stmt *stmt, const keep_error *why, keep_error *err)
{
	const kp_new_acks *taking = ctx;

	(void)stmt;
	(void)err;
	kp_log(KEEP_LOG_WARNING, "session %" KP_PRI ": an acknowledgement is passed over: %s",
	       KP_ARG(session_of(taking)), why->message);
	return KEEP_OK;
}

static keep_status keep_ack(kp_new_acks *taking, const keep_processing_ack *row, keep_error *err)
{
	ack found = {
		.message_id = row->message_id,
		.is_completed = kp_bytes_equal(row->status,
					       KEEP_BYTES(KEEP_PROCESSING_ACK_STATUS_COMPLETED)),
		.has_attempt = row->has_attempt,
		.attempt = row->attempt,
		.status_changed = row->status_changed,
		.error = reason_of(row->error),
	};

	return add_ack(taking, &found, err);
}

static keep_status read_change(kp_new_acks *taking, kp_lease *lease, int64_t change,
			       keep_error *err)
{
	keep_processing_ack *rows = NULL;
	kp_sql_stmt *stmt = NULL;
	void *items = NULL;
	size_t count = 0;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_lease_bind(
		lease, KP_MAILBOX_ACKS_OF_CHANGE,
		KP_VALUES(kp_text_value(session_of(taking)), kp_int_value(change)), &stmt, err);

	if (status != KEEP_OK)
		return status;
	status = kp_record_read_good(stmt, &kp_processing_ack_record, &taking->arena, &items,
				     &count, pass_over, taking, &why);
	if (status == KEEP_CORRUPT) /* a value without end; the number itself could be read */
		return pass_over(taking, NULL, &why, err);
	if (status != KEEP_OK)
		return kp_fail(err, status, "%s", why.message);
	rows = items;
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = keep_ack(taking, &rows[i], err);
	return status;
}

static keep_status read_one_by_one(kp_new_acks *taking, kp_lease *lease, keep_error *err)
{
	int64_t changes[CHANGES_MAX];
	size_t count = 0;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, KP_MAILBOX_NEW_CHANGES,
			      KP_VALUES(kp_text_value(session_of(taking)),
					kp_int_value(taking->cursors.ack_change),
					kp_int_value(CHANGE_LAST), kp_int_value(CHANGES_MAX)),
			      &stmt, err);

	while (status == KEEP_OK && count < CHANGES_MAX) {
		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column_int(stmt, 0, &changes[count++], err);
	}
	kp_sql_reset(stmt);
	taking->has_more = status == KEEP_OK && count == CHANGES_MAX;
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		if (i && changes[i] == changes[i - 1])
			continue;
		status = read_change(taking, lease, changes[i], err);
		if (status == KEEP_OK)
			taking->last_change = changes[i];
		if (kp_monotonic_ns() > taking->collecting->deadline_ns) {
			taking->has_more = true;
			break;
		}
	}
	return status;
}

/* All of them by one statement: what nearly always succeeds. A row that cannot be read is found by
   reading one by one. */
static keep_status read_together(kp_new_acks *taking, kp_lease *lease, keep_error *why)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	size_t looked_at = 0;
	keep_status status =
		kp_lease_bind(lease, KP_MAILBOX_NEW_ACKS,
			      KP_VALUES(kp_text_value(session_of(taking)),
					kp_int_value(taking->cursors.ack_change),
					kp_int_value(CHANGE_LAST), kp_int_value(CHANGES_MAX)),
			      &stmt, why);

	while (status == KEEP_OK) {
		keep_processing_ack row;

		status = kp_sql_step(stmt, &has_row, why);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_record_read(stmt, 0, &kp_processing_ack_record, &row, &taking->arena,
					why);
		if (status == KEEP_OK &&
		    !kp_bytes_equal(row.status, KEEP_BYTES(KEEP_PROCESSING_ACK_STATUS_PROCESSING)))
			status = keep_ack(taking, &row, why);
		if (status == KEEP_OK)
			taking->last_change = row.change;
		looked_at++;
	}
	kp_sql_reset(stmt);
	taking->has_more = status == KEEP_OK && looked_at == CHANGES_MAX;
	return status;
}

static keep_status read_changes(kp_new_acks *taking, kp_lease *lease, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = read_together(taking, lease, &why);

	if (status == KEEP_OK)
		return status;
	if (status != KEEP_CORRUPT)
		return kp_fail(err, status, "%s", why.message);
	taking->count = 0;
	taking->has_failed = false;
	taking->last_change = taking->cursors.ack_change;
	return read_one_by_one(taking, lease, err);
}

/* ---------------------------------------------------------------- without numbers */

static keep_status read_unnumbered_row(kp_new_acks *taking, kp_lease *lease, keep_bytes id,
				       keep_error *err)
{
	ack found = {.message_id = id, .error = reason_of((keep_bytes){.data = NULL})};
	kp_value word = {.is_null = true}, changed = {.is_null = true};
	kp_value values[] = {kp_text_value(session_of(taking)), kp_text_value(id)};
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	bool is_failed;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_UNNUMBERED_ACK, values, 2, &stmt, err);

	if (status != KEEP_OK)
		return status;
	status = kp_sql_step(stmt, &has_row, &why);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, 0, KP_TEXT, &word, &why);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, 1, KP_TIME, &changed, &why);
	found.is_completed =
		status == KEEP_OK && !word.is_null &&
		kp_bytes_equal(word.bytes, KEEP_BYTES(KEEP_PROCESSING_ACK_STATUS_COMPLETED));
	is_failed = status == KEEP_OK && !word.is_null &&
		    kp_bytes_equal(word.bytes, KEEP_BYTES(KEEP_PROCESSING_ACK_STATUS_FAILED));
	found.status_changed = changed.is_null ? 0 : changed.integer;
	kp_sql_reset(stmt);
	if (status == KEEP_CORRUPT)
		return pass_over(taking, NULL, &why, err);
	if (status != KEEP_OK)
		return kp_fail(err, status, "%s", why.message);
	return found.is_completed || is_failed ? add_ack(taking, &found, err) : KEEP_OK;
}

static keep_status read_pending_ids(const kp_new_acks *taking, kp_lease *lease, kp_arena *arena,
				    keep_bytes *ids, size_t *count, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(
		lease, KP_MAILBOX_PENDING_IDS,
		KP_VALUES(kp_text_value(session_of(taking)), kp_int_value(UNNUMBERED_MAX)), &stmt,
		err);

	*count = 0;
	while (status == KEEP_OK && *count < UNNUMBERED_MAX) {
		kp_value id = {.is_null = true};
		bool has_row = false;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column(stmt, 0, KP_TEXT, &id, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(arena, id.bytes, &ids[(*count)++], err);
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status read_unnumbered(kp_new_acks *taking, kp_lease *lease, keep_error *err)
{
	kp_value session = kp_text_value(session_of(taking));
	keep_bytes *ids = NULL;
	size_t count = 0;
	int64_t one = 0;
	bool found = taking->cursors.is_plain;
	keep_status status = KEEP_OK;

	if (!found)
		status = kp_lease_int(lease, KP_MAILBOX_HAS_UNNUMBERED_ACKS, &session, 1, &one,
				      &found, err);
	if (status != KEEP_OK || !found)
		return status;
	ids = kp_arena_alloc(&taking->arena, UNNUMBERED_MAX * sizeof *ids);
	if (!ids)
		return kp_fail_memory(err, "messages");
	status = read_pending_ids(taking, lease, &taking->arena, ids, &count, err);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		found = true;
		if (!taking->cursors.is_plain)
			status = kp_lease_int(lease, KP_MAILBOX_ACK_CHANGE_IS_ABSENT,
					      KP_VALUES(session, kp_text_value(ids[i])), &one,
					      &found, err);
		if (status == KEEP_OK && found)
			status = read_unnumbered_row(taking, lease, ids[i], err);
	}
	return status;
}

keep_status kp_new_acks_read(kp_new_acks *taking, kp_lease *lease, const kp_cursors *cursors,
			     kp_news *news, keep_error *err)
{
	keep_status status = KEEP_OK;

	kp_arena_release(&taking->arena);
	taking->count = 0;
	taking->has_more = taking->has_failed = false;
	taking->cursors = *cursors;
	taking->last_change = cursors->ack_change;
	if (!cursors->is_plain)
		status = read_changes(taking, lease, err);
	if (status == KEEP_OK)
		status = read_unnumbered(taking, lease, err);
	*news = (kp_news){
		.is_news = taking->count || taking->last_change != cursors->stored_change,
		.has_more = taking->has_more,
		.last = taking->last_change,
		.due_ms = taking->has_failed ? taking->collecting->now_ms + FIRST_DELAY_MS : 0,
	};
	return status;
}

/* ---------------------------------------------------------------- taking over */

/* Invariant 2: after a failure that was counted, process_after is its time and the delay. */
static bool is_counted(const keep_inbound_message *message, const ack *found)
{
	return message->tries > 0 && message->has_process_after &&
	       found->status_changed <= message->process_after - delay_ms(message->tries - 1);
}

/* What nearly every acknowledgement says, without a look at the message. */
static keep_status complete(kp_new_acks *taking, kp_lease *lease, const ack *found, bool *done,
			    keep_error *err)
{
	int64_t changes = 0;
	keep_status status = kp_lease_run(lease, KP_MAILBOX_COMPLETE_UNREPEATED,
					  KP_VALUES(kp_text_value(session_of(taking)),
						    kp_text_value(found->message_id),
						    kp_time_value(taking->collecting->now_ms)),
					  &changes, err);

	*done = status == KEEP_OK && changes > 0;
	taking->completed += *done;
	return status;
}

static keep_status take_ack(kp_new_acks *taking, kp_lease *lease, const ack *found, kp_arena *arena,
			    keep_error *err)
{
	int64_t now_ms = taking->collecting->now_ms;
	keep_inbound_message message;
	bool is_there = false, changed = false, gave_up = false;
	keep_status status = KEEP_OK;

	if (found->is_completed)
		status = complete(taking, lease, found, &changed, err);
	if (status != KEEP_OK || changed)
		return status;
	status = kp_lease_get(
		lease, KP_MAILBOX_GET_INBOUND,
		KP_VALUES(kp_text_value(session_of(taking)), kp_text_value(found->message_id)),
		&kp_inbound_message_record, arena, &message, &is_there, err);

	if (status != KEEP_OK || !is_there)
		return status;
	if (found->is_completed) {
		status = kp_inbound_finish(lease, &message, KEEP_INBOUND_MESSAGE_STATUS_COMPLETED,
					   (keep_bytes){.data = NULL}, now_ms, &changed, err);
		taking->completed += status == KEEP_OK && changed;
		return status;
	}
	if (!found->has_attempt && is_counted(&message, found))
		return KEEP_OK;
	status = kp_inbound_retry(lease, &message,
				  found->has_attempt ? found->attempt : message.void_attempt + 1,
				  found->error, now_ms, &changed, &gave_up, err);
	if (status == KEEP_OK && changed && gave_up)
		taking->failed++;
	else if (status == KEEP_OK && changed)
		taking->retried++;
	return status;
}

keep_status kp_new_acks_apply(kp_new_acks *taking, kp_lease *lease, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_status status = KEEP_OK;

	taking->completed = taking->retried = taking->failed = 0;
	for (size_t i = 0; status == KEEP_OK && i < taking->count; i++) {
		status = take_ack(taking, lease, &taking->acks[i], &arena, err);
		kp_arena_release(&arena);
	}
	return status;
}

void kp_new_acks_tell(const kp_new_acks *taking)
{
	keep_collection *out = taking->collecting->out;

	out->completed += taking->completed;
	out->retried += taking->retried;
	out->failed += taking->failed;
}

keep_status kp_new_acks_make(const kp_collecting *collecting, kp_new_acks **out, keep_error *err)
{
	*out = kp_alloc_zero(sizeof **out);
	if (!*out)
		return kp_fail_memory(err, "acknowledgements");
	(*out)->collecting = collecting;
	return KEEP_OK;
}

void kp_new_acks_free(kp_new_acks **taking)
{
	if (!*taking)
		return;
	kp_arena_release(&(*taking)->arena);
	kp_free((*taking)->acks);
	kp_free(*taking);
	*taking = NULL;
}
