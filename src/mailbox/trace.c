/*
 * trace.c - where a message is, and how it came there.
 *
 * A message's story is in several places: its own row, the acknowledgement of the agent's side, the
 * host's delivery rows, and message_steps for whatever else happened. This file reads them in one
 * transaction, so that they are of one moment, and puts them in the order of time.
 *
 *   to the agent     pending, waiting (until then), processing, expired, acknowledged (not taken
 *                    over yet), completed, failed, cancelled, paused
 *   from the agent   written (not taken over yet), due, waiting, sending, uncertain, delivered,
 *                    failed, refused, handled (nothing was to be delivered)
 *
 * Invariants:
 *   1. What the agent's side wrote is read a column at a time; what is not what it should be is
 * left out, and the rest is told.
 *   2. Asking all sessions takes as much memory as asking one. A session that cannot be asked is
 *      skipped; when nobody else knows the message, its failure is the answer.
 *
 * Tests: tests/contract/test_mailbox_trace.c.
 */
#include "mailbox/mailbox_private.h"

#include "keep/time.h"
#include "mailbox/collect.h"

#include <stdio.h>

enum { STEPS_MAX = 1000, RELATED_MAX = 100, PAGE = 200, DETAIL = 400 };

struct step {
	keep_trace_step told;
	size_t n; /* of those at one time, the first that was found is first */
	struct step *next;
};

struct name {
	keep_bytes text;
	struct name *next;
};

struct tracing {
	keep_bytes session, id;
	bool by_dedup_key;
	int64_t now_ms;
	kp_arena *memory; /* the caller's */
	keep_trace *out;
	/* Written anew by each run: */
	bool found;
	struct step *steps;
	struct name *related;
	size_t step_count, related_count;
	keep_bytes target_session; /* where a message to another agent went */
};

/* ---------------------------------------------------------------- columns */

/* Invariant 1: absent, whatever it is instead. */
static keep_status text_at(const struct tracing *tracing, kp_sql_stmt *stmt, int index,
			   keep_bytes *out, keep_error *err)
{
	kp_value value;

	*out = (keep_bytes){.data = NULL};
	if (kp_sql_column(stmt, index, KP_TEXT, &value, NULL) != KEEP_OK || value.is_null)
		return KEEP_OK;
	if (value.bytes.len > KEEP_MAILBOX_TEXT_MAX)
		value.bytes.len = 0;
	return kp_arena_copy(tracing->memory, value.bytes, out, err);
}

static int64_t number_at(kp_sql_stmt *stmt, int index, kp_kind kind)
{
	kp_value value;

	return kp_sql_column(stmt, index, kind, &value, NULL) == KEEP_OK && !value.is_null
		       ? value.integer
		       : 0;
}

/* ---------------------------------------------------------------- what is told */

static keep_status add_step(struct tracing *tracing, int64_t at, keep_bytes what, keep_bytes detail,
			    keep_error *err)
{
	struct step *step = kp_arena_alloc(tracing->memory, sizeof *step);
	keep_status status;

	if (!step)
		return kp_fail_memory(err, "a trace");
	*step = (struct step){
		.told = {.at = at}, .n = tracing->step_count++, .next = tracing->steps};
	status = kp_arena_copy(tracing->memory, what, &step->told.what, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(tracing->memory, kp_text_or(detail, ""), &step->told.detail,
				       err);
	tracing->steps = step;
	return status;
}

static bool has_step(const struct tracing *tracing, keep_bytes what)
{
	for (const struct step *at = tracing->steps; at; at = at->next)
		if (kp_bytes_equal(at->told.what, what))
			return true;
	return false;
}

static keep_status relate(struct tracing *tracing, keep_bytes id, keep_error *err)
{
	struct name *name;

	if (!id.data || !id.len || tracing->related_count >= RELATED_MAX)
		return KEEP_OK;
	name = kp_arena_alloc(tracing->memory, sizeof *name);
	if (!name)
		return kp_fail_memory(err, "a trace");
	*name = (struct name){id, tracing->related};
	tracing->related = name;
	tracing->related_count++;
	return KEEP_OK;
}

static keep_status set_state(struct tracing *tracing, const char *state, keep_bytes detail,
			     keep_error *err)
{
	tracing->out->state = keep_bytes_of(state);
	return kp_arena_copy(tracing->memory, kp_text_or(detail, ""), &tracing->out->detail, err);
}

/* "<word> <time>" */
static keep_bytes until(char text[DETAIL], const char *word, int64_t time_ms)
{
	char time[KEEP_TIME_TEXT_SIZE];

	if (keep_time_format(time_ms, time, NULL) != KEEP_OK)
		time[0] = '\0';
	snprintf(text, DETAIL, "%s %s", word, time);
	return keep_bytes_of(text);
}

/* ---------------------------------------------------------------- what both kinds have */

static keep_status tell_steps(struct tracing *tracing, kp_lease *lease, keep_bytes key,
			      keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_TRACE_STEPS,
					   KP_VALUES(kp_text_value(tracing->session),
						     kp_text_value(key), kp_int_value(STEPS_MAX)),
					   &stmt, err);

	while (status == KEEP_OK) {
		keep_bytes what, detail;
		int64_t at;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		at = number_at(stmt, 0, KP_TIME);
		status = text_at(tracing, stmt, 1, &what, err);
		if (status == KEEP_OK)
			status = text_at(tracing, stmt, 2, &detail, err);
		if (status == KEEP_OK && what.data)
			status = add_step(tracing, at, what, detail, err);
		if (status == KEEP_OK && kp_bytes_equal(what, KEEP_BYTES("to_session")))
			tracing->target_session = detail;
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status tell_replies(struct tracing *tracing, kp_lease *lease, keep_bytes id,
				keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_TRACE_REPLIES,
					   KP_VALUES(kp_text_value(tracing->session),
						     kp_text_value(id), kp_int_value(RELATED_MAX)),
					   &stmt, err);

	while (status == KEEP_OK) {
		keep_bytes reply;
		int64_t at;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		at = number_at(stmt, 1, KP_TIME);
		status = text_at(tracing, stmt, 0, &reply, err);
		if (status == KEEP_OK && reply.data)
			status = add_step(tracing, at, KEEP_BYTES("replied"), reply, err);
		if (status == KEEP_OK)
			status = relate(tracing, reply, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* ---------------------------------------------------------------- to the agent */

struct inbound {
	keep_bytes id, kind, status, last_error, source_session_id, source_out_id;
	int64_t seq, process_after, tries, stored_at, finished_at, void_attempt;
};

struct ack {
	bool found;
	keep_bytes status, owner, error;
	int64_t changed, lease_until, attempt;
};

static keep_status read_inbound(struct tracing *tracing, kp_lease *lease, struct inbound *in,
				keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status =
		kp_lease_bind(lease, KP_MAILBOX_TRACE_INBOUND,
			      KP_VALUES(kp_text_value(tracing->session), kp_text_value(tracing->id),
					kp_bool_value(tracing->by_dedup_key)),
			      &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &tracing->found, err);
	if (status == KEEP_OK && tracing->found) {
		keep_bytes *const texts[] = {&in->id,
					     &in->kind,
					     &in->status,
					     &in->last_error,
					     &in->source_session_id,
					     &in->source_out_id};
		const int columns[] = {0, 2, 3, 6, 11, 12};

		for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++)
			status = text_at(tracing, stmt, columns[i], texts[i], err);
		in->seq = number_at(stmt, 1, KP_INT);
		in->process_after = number_at(stmt, 4, KP_TIME);
		in->tries = number_at(stmt, 5, KP_INT);
		in->stored_at = number_at(stmt, 7, KP_TIME);
		if (!in->stored_at)
			in->stored_at = number_at(stmt, 8, KP_TIME);
		in->finished_at = number_at(stmt, 9, KP_TIME);
		in->void_attempt = number_at(stmt, 10, KP_INT);
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status read_ack(struct tracing *tracing, kp_lease *lease, keep_bytes id,
			    struct ack *ack, keep_error *err)
{
	kp_value values[] = {kp_text_value(tracing->session), kp_text_value(id)};
	kp_sql_stmt *stmt = NULL;
	bool is_plain = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_TRACE_ACK, values, 2, &stmt, err);

	if (status == KEEP_MISUSE) { /* the agent's side has the source's columns alone */
		is_plain = true;
		status = kp_lease_bind(lease, KP_MAILBOX_TRACE_PLAIN_ACK, values, 2, &stmt, err);
	}
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &ack->found, err);
	if (status == KEEP_OK && ack->found) {
		status = text_at(tracing, stmt, 0, &ack->status, err);
		ack->changed = number_at(stmt, 1, KP_TIME);
	}
	if (status == KEEP_OK && ack->found && !is_plain) {
		status = text_at(tracing, stmt, 2, &ack->owner, err);
		ack->lease_until = number_at(stmt, 3, KP_TIME);
		ack->attempt = number_at(stmt, 4, KP_INT);
		if (status == KEEP_OK)
			status = text_at(tracing, stmt, 5, &ack->error, err);
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status tell_ack(struct tracing *tracing, const struct ack *ack, keep_error *err)
{
	bool is_claim = kp_bytes_equal(ack->status, KEEP_BYTES("processing"));
	char text[DETAIL];

	if (!ack->found || !ack->status.data)
		return KEEP_OK;
	if (is_claim)
		snprintf(text, sizeof text, "attempt %lld by %.*s", (long long)ack->attempt,
			 ack->owner.len < 200 ? (int)ack->owner.len : 200,
			 ack->owner.data ? ack->owner.data : "");
	else
		snprintf(text, sizeof text, "%.*s%s%.*s",
			 ack->status.len < 100 ? (int)ack->status.len : 100, ack->status.data,
			 ack->error.len ? ": " : "",
			 ack->error.len < 250 ? (int)ack->error.len : 250,
			 ack->error.data ? ack->error.data : "");
	return add_step(tracing, ack->changed,
			is_claim ? KEEP_BYTES("claimed") : KEEP_BYTES("acknowledged"),
			keep_bytes_of(text), err);
}

static keep_status tell_inbound_state(struct tracing *tracing, const struct inbound *in,
				      const struct ack *ack, keep_error *err)
{
	bool is_pending = kp_bytes_equal(in->status, KEEP_BYTES("pending"));
	bool is_void = ack->attempt && ack->attempt <= in->void_attempt;
	bool is_claim = ack->found && kp_bytes_equal(ack->status, KEEP_BYTES("processing"));
	char text[DETAIL];

	if (!is_pending) {
		tracing->out->state = in->status;
		return kp_arena_copy(tracing->memory, kp_text_or(in->last_error, ""),
				     &tracing->out->detail, err);
	}
	if (ack->found && !is_void && !is_claim)
		return set_state(tracing, "acknowledged", ack->status, err);
	if (is_claim && !is_void && ack->lease_until && ack->lease_until <= tracing->now_ms)
		return set_state(tracing, "expired", until(text, "since", ack->lease_until), err);
	if (is_claim && !is_void)
		return set_state(tracing, "processing",
				 ack->lease_until ? until(text, "until", ack->lease_until)
						  : KEEP_BYTES(""),
				 err);
	if (in->process_after > tracing->now_ms)
		return set_state(tracing, "waiting", until(text, "until", in->process_after), err);
	return set_state(tracing, "pending", in->last_error, err);
}

static keep_status trace_inbound(struct tracing *tracing, kp_lease *lease, keep_error *err)
{
	struct inbound in = {.seq = 0};
	struct ack ack = {.found = false};
	keep_trace *out = tracing->out;
	keep_status status = read_inbound(tracing, lease, &in, err);

	if (status != KEEP_OK || !tracing->found)
		return status;
	out->id = in.id;
	out->is_inbound = true;
	out->seq = in.seq;
	status = add_step(tracing, in.stored_at, KEEP_BYTES("posted"), in.kind, err);
	if (status == KEEP_OK)
		status = tell_steps(tracing, lease, in.id, err);
	if (status == KEEP_OK)
		status = read_ack(tracing, lease, in.id, &ack, err);
	if (status == KEEP_OK)
		status = tell_ack(tracing, &ack, err);
	if (status == KEEP_OK)
		status = tell_replies(tracing, lease, in.id, err);
	if (status == KEEP_OK && in.finished_at && !has_step(tracing, in.status))
		status = add_step(tracing, in.finished_at, in.status, in.last_error, err);
	if (status == KEEP_OK)
		status = relate(tracing, in.source_out_id, err);
	return status == KEEP_OK ? tell_inbound_state(tracing, &in, &ack, err) : status;
}

/* ---------------------------------------------------------------- from the agent */

struct outbound {
	keep_bytes id, in_reply_to, kind;
	int64_t seq, written_at, deliver_after;
	bool found;
};

static keep_status read_outbound(struct tracing *tracing, kp_lease *lease, size_t statement,
				 kp_value key, struct outbound *out, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(
		lease, statement, KP_VALUES(kp_text_value(tracing->session), key), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &out->found, err);
	if (status == KEEP_OK && out->found) {
		status = text_at(tracing, stmt, 0, &out->id, err);
		out->seq = number_at(stmt, 1, KP_INT);
		out->written_at = number_at(stmt, 2, KP_TIME);
		out->deliver_after = number_at(stmt, 3, KP_TIME);
		if (status == KEEP_OK)
			status = text_at(tracing, stmt, 4, &out->in_reply_to, err);
		if (status == KEEP_OK)
			status = text_at(tracing, stmt, 5, &out->kind, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* The host's rows about it. */
struct handover {
	keep_bytes key; /* the id, or "#" and the number of a row that was set aside */
	keep_outgoing_message outgoing;
	keep_delivered_message delivered;
	bool is_outgoing, is_known;
};

static keep_status read_handover(struct tracing *tracing, kp_lease *lease,
				 struct handover *handover, keep_error *err)
{
	kp_value values[] = {kp_text_value(tracing->session), kp_text_value(handover->key)};
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_GET_OUTGOING, values, 2, &kp_outgoing_message_record,
			     tracing->memory, &handover->outgoing, &handover->is_outgoing, err);

	if (status == KEEP_OK)
		status = kp_lease_get(lease, KP_MAILBOX_GET_DELIVERED, values, 2,
				      &kp_delivered_message_record, tracing->memory,
				      &handover->delivered, &handover->is_known, err);
	return status;
}

static keep_status tell_outbound_state(struct tracing *tracing, kp_lease *lease,
				       const struct outbound *out, const struct handover *handover,
				       keep_error *err)
{
	const keep_delivered_message *delivered = &handover->delivered;
	bool is_over = handover->is_known && !handover->is_outgoing;
	bool is_under_way =
		handover->is_known && (kp_bytes_equal(delivered->status, KEEP_BYTES("sending")) ||
				       kp_bytes_equal(delivered->status, KEEP_BYTES("uncertain")));
	keep_bytes why =
		handover->is_known ? kp_text_or(delivered->last_error, "") : KEEP_BYTES("");
	kp_cursors cursors;
	char text[DETAIL];
	keep_status status;

	if (is_over || is_under_way) {
		tracing->out->state = delivered->status;
		tracing->out->detail =
			delivered->platform_message_id.data ? delivered->platform_message_id : why;
		return KEEP_OK;
	}
	if (handover->is_outgoing && handover->outgoing.due_at > tracing->now_ms)
		return set_state(tracing, "waiting",
				 until(text, "until", handover->outgoing.due_at), err);
	if (handover->is_outgoing)
		return set_state(tracing, "due", why, err);
	status = kp_cursors_read(lease, tracing->session, tracing->memory, &cursors, err);
	if (status != KEEP_OK)
		return status;
	if (out->seq > cursors.out_seq)
		return set_state(tracing, "written", KEEP_BYTES("not taken over yet"), err);
	return set_state(tracing, "handled", out->kind, err);
}

static keep_status tell_outbound(struct tracing *tracing, kp_lease *lease,
				 const struct outbound *out, const struct handover *handover,
				 keep_error *err)
{
	const keep_delivered_message *delivered = &handover->delivered;
	keep_bytes detail;
	keep_status status = KEEP_OK;

	if (out->found)
		status = add_step(tracing, out->written_at, KEEP_BYTES("written"), out->kind, err);
	if (status == KEEP_OK)
		status = tell_steps(tracing, lease, handover->key, err);
	if (status == KEEP_OK && handover->is_known && delivered->has_delivered_at &&
	    !has_step(tracing, delivered->status)) {
		detail = delivered->platform_message_id.data ? delivered->platform_message_id
							     : delivered->last_error;
		status = add_step(tracing, delivered->delivered_at, delivered->status, detail, err);
	}
	if (status == KEEP_OK && out->found)
		status = tell_replies(tracing, lease, out->id, err);
	return status == KEEP_OK ? relate(tracing, out->in_reply_to, err) : status;
}

static keep_status trace_outbound(struct tracing *tracing, kp_lease *lease, keep_error *err)
{
	struct outbound out = {.found = false};
	struct handover handover = {.key = tracing->id};
	char number[32];
	keep_status status = read_outbound(tracing, lease, KP_MAILBOX_TRACE_OUTBOUND,
					   kp_text_value(tracing->id), &out, err);

	if (status == KEEP_OK)
		status = read_handover(tracing, lease, &handover, err);
	/* One that was set aside is refused by its number (collect_outgoing.c, invariant 3). */
	if (status == KEEP_OK && out.found && !handover.is_known && !handover.is_outgoing) {
		snprintf(number, sizeof number, "#%lld", (long long)out.seq);
		handover.key = keep_bytes_of(number);
		status = read_handover(tracing, lease, &handover, err);
	}
	/* A later occurrence of a recurrence: its key is not the row's id. */
	if (status == KEEP_OK && !out.found && (handover.is_known || handover.is_outgoing))
		status = read_outbound(tracing, lease, KP_MAILBOX_TRACE_OUTBOUND_BY_SEQ,
				       kp_int_value(handover.is_known ? handover.delivered.seq
								      : handover.outgoing.seq),
				       &out, err);
	tracing->found = out.found || handover.is_known || handover.is_outgoing;
	if (status != KEEP_OK || !tracing->found)
		return status;
	status = kp_arena_copy(tracing->memory, tracing->id, &tracing->out->id, err);
	tracing->out->seq = out.found           ? out.seq
			    : handover.is_known ? handover.delivered.seq
						: handover.outgoing.seq;
	if (status == KEEP_OK)
		status = tell_outbound(tracing, lease, &out, &handover, err);
	return status == KEEP_OK ? tell_outbound_state(tracing, lease, &out, &handover, err)
				 : status;
}

static keep_status query_trace(void *ctx, kp_lease *lease, keep_error *err)
{
	struct tracing *tracing = ctx;
	keep_status status;

	*tracing->out = (keep_trace){.seq = 0};
	tracing->found = false;
	tracing->steps = NULL;
	tracing->related = NULL;
	tracing->step_count = tracing->related_count = 0;
	tracing->target_session = (keep_bytes){.data = NULL};
	status = trace_inbound(tracing, lease, err);
	if (status == KEEP_OK && !tracing->found && !tracing->by_dedup_key)
		status = trace_outbound(tracing, lease, err);
	return status;
}

/* ---------------------------------------------------------------- the answer */

static bool is_before(const struct step *a, const struct step *b)
{
	return a->told.at != b->told.at ? a->told.at < b->told.at : a->n < b->n;
}

/* Insertion into an array: steps come nearly in order, and there are at most about a thousand. */
static keep_status put_in_order(struct tracing *tracing, keep_error *err)
{
	keep_trace *out = tracing->out;
	const struct step **order =
		kp_arena_alloc(tracing->memory, (tracing->step_count + 1) * sizeof(void *));
	size_t count = 0;

	out->steps =
		kp_arena_alloc(tracing->memory, (tracing->step_count + 1) * sizeof *out->steps);
	out->related = kp_arena_alloc(tracing->memory,
				      (tracing->related_count + 1) * sizeof *out->related);
	if (!order || !out->steps || !out->related)
		return kp_fail_memory(err, "a trace");
	for (const struct step *step = tracing->steps; step; step = step->next) {
		size_t at = count++;

		while (at && is_before(step, order[at - 1])) {
			order[at] = order[at - 1];
			at--;
		}
		order[at] = step;
	}
	for (size_t i = 0; i < count; i++)
		out->steps[i] = order[i]->told;
	out->count = count;
	out->related_count = tracing->related_count;
	count = tracing->related_count;
	for (const struct name *name = tracing->related; name; name = name->next)
		out->related[--count] = name->text;
	return KEEP_OK;
}

struct arrival {
	keep_bytes session, source, id;
	kp_arena *memory;
	keep_bytes found;
};

static keep_status query_arrival(void *ctx, kp_lease *lease, keep_error *err)
{
	struct arrival *arrival = ctx;
	kp_sql_stmt *stmt = NULL;
	keep_bytes id;
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, KP_MAILBOX_TRACE_ARRIVAL,
			      KP_VALUES(kp_text_value(arrival->session),
					kp_text_value(arrival->source), kp_text_value(arrival->id)),
			      &stmt, err);

	arrival->found = (keep_bytes){.data = NULL};
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &id, err);
	if (status == KEEP_OK && has_row)
		status = kp_arena_copy(arrival->memory, id, &arrival->found, err);
	kp_sql_reset(stmt);
	return status;
}

/* What a message to another agent is in that one's session. That session's troubles are not this
   message's. */
static keep_status find_other_side(keep_mailbox *mailbox, struct tracing *tracing, keep_error *err)
{
	struct arrival arrival = {.session = tracing->target_session,
				  .source = tracing->session,
				  .id = tracing->out->id,
				  .memory = tracing->memory};
	keep_status status;

	if (!arrival.session.data || kp_check_session(arrival.session, NULL) != KEEP_OK)
		return KEEP_OK;
	status = kp_session_read(mailbox, arrival.session, query_arrival, &arrival, err);
	if (status == KEEP_OK)
		return relate(tracing, arrival.found, err);
	return status == KEEP_NO_MEMORY ? status : KEEP_OK;
}

/* ---------------------------------------------------------------- asking */

static keep_status ask_session(keep_mailbox *mailbox, struct tracing *tracing, keep_error *err)
{
	keep_status status = kp_session_read(mailbox, tracing->session, query_trace, tracing, err);

	if (status != KEEP_OK || !tracing->found)
		return status;
	status = kp_arena_copy(tracing->memory, tracing->session, &tracing->out->session, err);
	if (status == KEEP_OK)
		status = find_other_side(mailbox, tracing, err);
	return status == KEEP_OK ? put_in_order(tracing, err) : status;
}

struct page {
	keep_bytes after;
	char ids[PAGE][KP_SEGMENT_SIZE];
	size_t count;
};

static keep_status query_page(void *ctx, kp_lease *lease, keep_error *err)
{
	struct page *page = ctx;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, KP_MAILBOX_TRACE_SESSIONS,
		KP_VALUES(kp_text_value(page->after), kp_int_value(PAGE)), &stmt, err);

	page->count = 0;
	while (status == KEEP_OK && page->count < PAGE) {
		keep_bytes id;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &id, err);
		if (status == KEEP_OK && id.len >= KP_SEGMENT_SIZE)
			status = kp_fail(err, KEEP_CORRUPT, "sessions.id is too long");
		if (status != KEEP_OK)
			break;
		memcpy(page->ids[page->count], id.data, id.len);
		page->ids[page->count++][id.len] = '\0';
	}
	kp_sql_reset(stmt);
	return status;
}

/* Invariant 2. `failed` keeps the first failure. */
static keep_status ask_page(keep_mailbox *mailbox, const struct page *page, struct tracing *tracing,
			    keep_error *failed, keep_error *err)
{
	for (size_t i = 0; i < page->count && !tracing->found; i++) {
		keep_error why = KEEP_ERROR_INIT;
		keep_status status;

		tracing->session = keep_bytes_of(page->ids[i]);
		status = ask_session(mailbox, tracing, &why);
		if (status == KEEP_OK || status == KEEP_NOT_FOUND)
			continue;
		tracing->found = false;
		if (status == KEEP_NO_MEMORY)
			return kp_fail(err, status, "%s", why.message);
		if (failed->status == KEEP_OK) {
			why.status = kp_prefix(&why, status, "session %s", page->ids[i]);
			*failed = why;
		}
	}
	return KEEP_OK;
}

static keep_status ask_all(keep_mailbox *mailbox, struct tracing *tracing, keep_error *err)
{
	struct page *page = kp_alloc_zero(sizeof *page);
	char last[KP_SEGMENT_SIZE] = "";
	keep_error failed = KEEP_ERROR_INIT;
	keep_status status = page ? KEEP_OK : kp_fail_memory(err, "a trace");

	while (status == KEEP_OK) {
		page->after = keep_bytes_of(last);
		status = kp_registry_read(mailbox, query_page, page, err);
		if (status != KEEP_OK || !page->count)
			break;
		status = ask_page(mailbox, page, tracing, &failed, err);
		if (tracing->found || page->count < PAGE)
			break;
		memcpy(last, page->ids[page->count - 1], sizeof last);
	}
	kp_free(page);
	if (status == KEEP_OK && !tracing->found && failed.status != KEEP_OK)
		status = kp_fail(err, failed.status, "%s", failed.message);
	return status;
}

keep_status keep_mailbox_trace(keep_mailbox *mailbox, keep_bytes session, keep_bytes id,
			       int64_t now_ms, keep_memory *memory, keep_trace *out,
			       keep_error *err)
{
	struct tracing tracing = {.session = session,
				  .id = id,
				  .now_ms = kp_now(now_ms),
				  .memory = memory,
				  .out = out};
	keep_status status = kp_check_text("id", id, KEEP_MAILBOX_TEXT_MAX, KP_NOT_EMPTY, err);

	*out = (keep_trace){.seq = 0};
	if (status == KEEP_OK && session.data)
		status = kp_check_session(session, err);
	for (int i = 0; i < 2 && status == KEEP_OK && !tracing.found; i++) {
		tracing.by_dedup_key = i == 1;
		status = session.data ? ask_session(mailbox, &tracing, err)
				      : ask_all(mailbox, &tracing, err);
	}
	if (status == KEEP_OK && !tracing.found)
		status = kp_fail(err, KEEP_NOT_FOUND, "id: there is no message '%" KP_PRI "'",
				 KP_ARG(id));
	if (status != KEEP_OK)
		*out = (keep_trace){.seq = 0};
	return status;
}
