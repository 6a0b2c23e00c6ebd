/*
 * collect.c - keep_mailbox_collect: taking over what the agent's side did, and answering what is to
 * be delivered.
 *
 *   acknowledgements ─> messages_in            collect_acks.c
 *   messages_out ─> outgoing                   collect_outgoing.c
 *   outgoing, due ─> judged anew, allowed ─┬─> handed over here: actions, messages to agents
 *                                          └─> answered, for the caller to deliver
 *
 * Each arrow is a transaction of its own, and two stores cannot commit together. So each is a
 * repetition of itself when the one after it did not happen: a hand-over has a key that follows
 * from the message, and the message is settled after the receiver's commit.
 *
 * Invariants:
 *   1. Nothing that the agent's side wrote can do more than fail this call for this session, within
 *      the time limit; what is wrong with one row is that row's end.
 *   2. A message is settled only while it is in `outgoing` as it was read.
 *   3. A receiver that cannot be reached holds up the messages to its own address alone. So does
 *      a disk that is full, or a lack of descriptors: what waits for those is tried again.
 *   4. When a killed agent has left its file in need of a recovery, it is recovered, once.
 *
 * What it does not do: call a channel (delivery.c keeps the book of that).
 *
 * Tests: tests/contract/test_mailbox_collect.c, tests/contract/test_mailbox_hostile.c.
 */
#include "mailbox/collect.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	DEFAULT_LIMIT = 50,
	WAIT_MS = 1000,
	LOOK_AFTER_MS = 5000,
	ROUNDS_MAX = 10 /* transactions of one call */
};

static const int64_t delays_ms[] = {5000, 15000, 45000, 120000, 300000};

/* What a page's message comes to. */
enum verdict { SETTLED, POSTPONED };

typedef struct ending {
	const kp_due *item;
	enum verdict verdict;
	const char *status; /* SETTLED */
	keep_bytes error;   /* why; absent: delivered */
} ending;

struct answering {
	const kp_collecting *collecting;
	ending *endings; /* of the page */
	size_t count;
	bool tells_agent, has_waiting;
	keep_bytes *held; /* addresses that a hand-over has failed to reach */
	size_t held_count, held_room;
	int64_t handled, refused; /* of one run of apply */
};

/* ---------------------------------------------------------------- endings */

static void end_item(struct answering *answering, const kp_due *item, enum verdict verdict,
		     const char *status, keep_bytes error)
{
	answering->endings[answering->count++] = (ending){item, verdict, status, error};
	answering->tells_agent |= verdict == POSTPONED || error.data;
}

static void refuse_item(struct answering *answering, const kp_due *item, keep_bytes why)
{
	end_item(answering, item, SETTLED, KEEP_DELIVERED_MESSAGE_STATUS_REFUSED, why);
}

static keep_status copy_reason(struct answering *answering, const keep_error *why, keep_bytes *out,
			       keep_error *err)
{
	return kp_arena_copy(answering->collecting->memory, keep_bytes_of(why->message), out, err);
}

/* Invariant 2. */
static keep_status is_as_read(const struct answering *answering, kp_lease *lease,
			      const kp_due *item, bool *is_same, keep_error *err)
{
	keep_outgoing_message stored;
	kp_arena arena = {.head = NULL};
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_GET_OUTGOING,
			     KP_VALUES(kp_text_value(answering->collecting->session->id),
				       kp_text_value(item->outgoing.message_out_id)),
			     &kp_outgoing_message_record, &arena, &stored, is_same, err);

	*is_same = status == KEEP_OK && *is_same && stored.seq == item->outgoing.seq &&
		   stored.attempts == item->outgoing.attempts;
	kp_arena_release(&arena);
	return status;
}

static keep_status postpone(const struct answering *answering, kp_lease *lease, const ending *end,
			    keep_error *err)
{
	keep_bytes session = answering->collecting->session->id;
	keep_bytes key = end->item->outgoing.message_out_id;
	int64_t now_ms = answering->collecting->now_ms;
	size_t tried = (size_t)end->item->outgoing.attempts;
	keep_status status = kp_lease_run(lease, KP_MAILBOX_POSTPONE_OUTGOING,
					  KP_VALUES(kp_text_value(session), kp_text_value(key),
						    kp_time_value(now_ms + delays_ms[tried])),
					  NULL, err);

	if (status == KEEP_OK)
		status = kp_step_add(lease, session, key, "hand_over_failed", end->error, now_ms,
				     err);
	return status;
}

static keep_status apply_ending(struct answering *answering, kp_lease *lease, const ending *end,
				keep_error *err)
{
	const kp_due *item = end->item;
	bool is_last = item->outgoing.attempts < 0 ||
		       (size_t)item->outgoing.attempts >= KP_COUNT(delays_ms);
	kp_settlement done = {
		.session = answering->collecting->session->id,
		.key = item->outgoing.message_out_id,
		.seq = item->outgoing.seq,
		.status = end->status,
		.error = end->error,
		.attempts = item->outgoing.attempts,
		.now_ms = answering->collecting->now_ms,
		.tells_agent = end->error.data != NULL,
	};
	bool is_same = false;
	keep_status status = is_as_read(answering, lease, item, &is_same, err);

	if (status != KEEP_OK || !is_same)
		return status;
	if (end->verdict == POSTPONED && !is_last)
		return postpone(answering, lease, end, err);
	if (end->verdict == POSTPONED)
		done.status = KEEP_DELIVERED_MESSAGE_STATUS_FAILED;
	if (!end->error.data)
		answering->handled++;
	else if (end->verdict == SETTLED)
		answering->refused++;
	return kp_delivery_settle(lease, &done, err);
}

static keep_status apply_endings(void *ctx, kp_lease *lease, keep_error *err)
{
	struct answering *answering = ctx;
	keep_status status = KEEP_OK;

	answering->handled = answering->refused = 0;
	for (size_t i = 0; i < answering->count && status == KEEP_OK; i++)
		status = apply_ending(answering, lease, &answering->endings[i], err);
	return status;
}

/* Whatever stopped the page, what was handed over before is settled. */
static keep_status settle(struct answering *answering, keep_status stopped, keep_error *err)
{
	const kp_collecting *collecting = answering->collecting;
	kp_session_change change = {
		.session = collecting->session->id,
		.mode = KP_SQL_WRITE_SOON,
		.news = answering->tells_agent ? KP_NEWS_AGENT : KP_NEWS_NONE,
		.due_ms = answering->tells_agent ? collecting->now_ms + LOOK_AFTER_MS : 0};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	if (answering->count) {
		kp_moment("mailbox.collect_handed");
		status = kp_session_write(collecting->mailbox, &change, apply_endings, answering,
					  &why);
	}
	if (answering->count && status == KEEP_OK) {
		collecting->out->handled += answering->handled;
		collecting->out->refused += answering->refused;
	}
	answering->count = 0;
	answering->tells_agent = false;
	if (stopped != KEEP_OK)
		return stopped;
	return status == KEEP_OK ? status : kp_fail(err, status, "%s", why.message);
}

/* ---------------------------------------------------------------- one message */

/* Is a failure the message's own, so that it is refused? */
static bool is_refusal(keep_status status)
{
	return status == KEEP_INVALID || status == KEEP_CONFLICT || status == KEEP_DENIED ||
	       status == KEEP_NOT_FOUND || status == KEEP_FULL;
}

static bool is_held(const struct answering *answering, const kp_due *item)
{
	for (size_t i = 0; i < answering->held_count; i++)
		if (kp_bytes_equal(answering->held[i], item->outgoing.address))
			return true;
	return false;
}

static keep_status hold(struct answering *answering, const kp_due *item, keep_error *err)
{
	if (answering->held_count == answering->held_room) {
		size_t room = answering->held_room ? answering->held_room * 2 : 8;
		keep_bytes *grown = kp_realloc(answering->held, room * sizeof *grown);

		if (!grown)
			return kp_fail_memory(err, "addresses");
		answering->held = grown;
		answering->held_room = room;
	}
	answering->held[answering->held_count++] = item->outgoing.address;
	return KEEP_OK;
}

static keep_status check_files(const struct answering *answering, const kp_due *item,
			       keep_error *err)
{
	const kp_collecting *collecting = answering->collecting;
	char *folder = NULL;
	keep_status status = KEEP_OK;

	if (!item->file_count)
		return KEEP_OK;
	if (collecting->mailbox->schema)
		return kp_fail(err, KEEP_INVALID, "files: a mailbox on a server has no folders");
	status = kp_session_folder(collecting->mailbox, collecting->session->agent_group_id,
				   collecting->session->id, collecting->memory, &folder, err);
	for (size_t i = 0; i < item->file_count && status == KEEP_OK; i++)
		status = kp_file_check(folder, "outbox", item->message.id, item->files[i], err);
	return status;
}

static void answer(const struct answering *answering, const kp_due *item)
{
	keep_collection *out = answering->collecting->out;

	out->items[out->count++] = (keep_collected){
		.message = item->message,
		.key = item->outgoing.message_out_id,
		.attempts = item->outgoing.attempts,
		.operation = item->operation,
		.target_platform_message_id = item->target,
		.files = item->files,
		.file_count = item->file_count,
	};
}

/* Invariant 3. A disk that is full is not the message's fault, either. */
static keep_status put_off(struct answering *answering, const kp_due *item, const keep_error *why,
			   const char *reason, keep_error *err)
{
	keep_status status;

	kp_log(KEEP_LOG_WARNING, "session %" KP_PRI ": message %lld is put off: %s",
	       KP_ARG(answering->collecting->session->id), (long long)item->outgoing.seq,
	       why->message);
	status = hold(answering, item, err);
	if (status == KEEP_OK) /* the log has the details, which are not for the agent */
		end_item(answering, item, POSTPONED, NULL, keep_bytes_of(reason));
	return status;
}

static keep_status run_action(struct answering *answering, const kp_due *item, keep_error *err)
{
	const kp_collecting *collecting = answering->collecting;
	keep_bytes refused = {.data = NULL};
	bool handled = false;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status =
		kp_action_run(collecting->mailbox, collecting->session, &item->message,
			      collecting->now_ms, collecting->memory, &handled, &refused, &why);

	if (status == KEEP_FULL)
		return put_off(answering, item, &why, "there is no room for it", err);
	if (is_refusal(status)) {
		status = copy_reason(answering, &why, &refused, err);
		if (status != KEEP_OK)
			return status;
	} else if (status != KEEP_OK) {
		return kp_fail(err, status, "%s", why.message);
	}
	if (refused.data)
		refuse_item(answering, item, refused);
	else if (handled)
		end_item(answering, item, SETTLED, KEEP_DELIVERED_MESSAGE_STATUS_DELIVERED,
			 (keep_bytes){.data = NULL});
	else
		answer(answering, item);
	return KEEP_OK;
}

static keep_status hand_to_agent(struct answering *answering, const kp_due *item, keep_error *err)
{
	const kp_collecting *collecting = answering->collecting;
	keep_bytes reason = {.data = NULL};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status =
		kp_agent_to_agent(collecting->mailbox, collecting->session, &item->message,
				  item->outgoing.message_out_id, collecting->now_ms,
				  collecting->memory, &reason, &why);

	if (status == KEEP_NO_MEMORY || status == KEEP_MISUSE)
		return kp_fail(err, status, "%s", why.message);
	if (status == KEEP_OK && !reason.data)
		end_item(answering, item, SETTLED, KEEP_DELIVERED_MESSAGE_STATUS_DELIVERED,
			 (keep_bytes){.data = NULL});
	else if (status == KEEP_OK)
		refuse_item(answering, item, reason);
	if (status == KEEP_OK)
		return KEEP_OK;
	return put_off(answering, item, &why, "the other agent could not be reached", err);
}

static keep_status offer(struct answering *answering, const kp_due *item, keep_error *err)
{
	const kp_collecting *collecting = answering->collecting;
	keep_bytes reason = {.data = NULL};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = check_files(answering, item, &why);

	bool is_ours = status == KEEP_FULL && why.native != 0; /* no descriptors: not its fault */

	if (status == KEEP_OK) {
		status = kp_question_open(collecting->mailbox, collecting->session, &item->message,
					  collecting->now_ms, &why);
		is_ours = status == KEEP_FULL;
	}
	if (is_ours)
		return put_off(answering, item, &why, "there is no room for it", err);
	if (status == KEEP_OK) {
		answer(answering, item);
		return KEEP_OK;
	}
	if (!is_refusal(status))
		return kp_fail(err, status, "%s", why.message);
	status = copy_reason(answering, &why, &reason, err);
	if (status == KEEP_OK)
		refuse_item(answering, item, reason);
	return status;
}

static keep_status decide(struct answering *answering, const kp_due *item, keep_error *err)
{
	if (item->refused.data) {
		refuse_item(answering, item, item->refused);
		return KEEP_OK;
	}
	if (item->waits)
		answering->has_waiting = true;
	if (item->waits || is_held(answering, item))
		return KEEP_OK;
	if (item->is_system)
		return run_action(answering, item, err);
	return item->is_to_agent ? hand_to_agent(answering, item, err)
				 : offer(answering, item, err);
}

/* ---------------------------------------------------------------- pages */

static int compare_due(const void *a, const void *b)
{
	int64_t first = ((const kp_due *)a)->outgoing.seq,
		second = ((const kp_due *)b)->outgoing.seq;

	return (first > second) - (first < second);
}

static int compare_collected(const void *a, const void *b)
{
	int64_t first = ((const keep_collected *)a)->message.seq;
	int64_t second = ((const keep_collected *)b)->message.seq;

	return (first > second) - (first < second);
}

static keep_status answer_page(struct answering *answering, bool is_first, kp_due_page *page,
			       keep_error *err)
{
	const kp_collecting *collecting = answering->collecting;
	bool settles;
	keep_status status = kp_collect_due(collecting, is_first,
					    collecting->limit - collecting->out->count, page, err);

	if (status != KEEP_OK || !page->count)
		return status;
	status = kp_collect_permissions(collecting, page->items, page->count, err);
	if (status != KEEP_OK)
		return status;
	answering->endings =
		kp_arena_alloc(collecting->memory, page->count * sizeof *answering->endings);
	if (!answering->endings)
		return kp_fail_memory(err, "messages");
	qsort(page->items, page->count, sizeof *page->items, compare_due);
	for (size_t i = 0; i < page->count && status == KEEP_OK; i++)
		status = decide(answering, &page->items[i], err);
	settles = answering->count > 0;
	status = settle(answering, status, err);
	if (status == KEEP_OK && settles)
		status = kp_collect_next(collecting, err);
	return status;
}

static keep_status answer_due(struct answering *answering, keep_error *err)
{
	const kp_collecting *collecting = answering->collecting;
	keep_collection *out = collecting->out;
	kp_due_page page = {.items = NULL};
	bool is_first = true;
	keep_status status = KEEP_OK;

	out->items = kp_arena_alloc(collecting->memory, collecting->limit * sizeof *out->items);
	if (!out->items)
		return kp_fail_memory(err, "messages");
	do {
		status = answer_page(answering, is_first, &page, err);
		if (is_first)
			out->has_more |= page.has_retries;
		is_first = false;
	} while (status == KEEP_OK && page.has_more && out->count < collecting->limit &&
		 kp_monotonic_ns() <= collecting->deadline_ns);
	out->has_more |= page.has_more || (answering->has_waiting && out->count > 0);
	qsort(out->items, out->count, sizeof *out->items, compare_collected);
	return status;
}

/* ---------------------------------------------------------------- taking over */

struct taking {
	const kp_collecting *collecting;
	kp_arena arena; /* the cursors' texts */
	kp_cursors cursors;
	kp_new_acks *acks;
	kp_new_rows *rows;
	kp_news of_acks, of_rows;
	bool moved;
};

static keep_status read_news(void *ctx, kp_lease *lease, keep_error *err)
{
	struct taking *taking = ctx;
	keep_status status;

	kp_arena_release(&taking->arena);
	status = kp_cursors_read(lease, taking->collecting->session->id, &taking->arena,
				 &taking->cursors, err);
	if (status == KEEP_OK)
		status = kp_new_acks_read(taking->acks, lease, &taking->cursors, &taking->of_acks,
					  err);
	if (status == KEEP_OK)
		status = kp_new_rows_read(taking->rows, lease, &taking->cursors, &taking->of_rows,
					  err);
	return status;
}

static keep_status apply_news(void *ctx, kp_lease *lease, keep_error *err)
{
	struct taking *taking = ctx;
	keep_status status =
		kp_cursors_move(lease, taking->collecting->session->id, &taking->cursors,
				taking->of_acks.last, taking->of_rows.last, &taking->moved, err);

	if (status == KEEP_OK && taking->moved)
		status = kp_new_acks_apply(taking->acks, lease, err);
	if (status == KEEP_OK && taking->moved)
		status = kp_new_rows_apply(taking->rows, lease, err);
	return status;
}

/* One round: *again when there is more, or somebody else was faster. */
static keep_status take_round(struct taking *taking, bool *again, keep_error *err)
{
	const kp_collecting *collecting = taking->collecting;
	kp_session_change change = {.session = collecting->session->id, .mode = KP_SQL_WRITE_SOON};
	keep_status status = kp_session_read(collecting->mailbox, collecting->session->id,
					     read_news, taking, err);

	*again = false;
	if (status != KEEP_OK || (!taking->of_acks.is_news && !taking->of_rows.is_news))
		return status;
	change.due_ms = taking->of_acks.due_ms;
	if (!change.due_ms || (taking->of_rows.due_ms && taking->of_rows.due_ms < change.due_ms))
		change.due_ms = taking->of_rows.due_ms;
	kp_moment("mailbox.news_read");
	status = kp_session_write(collecting->mailbox, &change, apply_news, taking, err);
	kp_moment("mailbox.news_taken");
	if (status != KEEP_OK)
		return status;
	*again = taking->of_acks.has_more || taking->of_rows.has_more || !taking->moved;
	if (taking->moved) {
		kp_new_acks_tell(taking->acks);
		kp_new_rows_tell(taking->rows);
	}
	return KEEP_OK;
}

static keep_status take_over(const kp_collecting *collecting, keep_error *err)
{
	struct taking taking = {.collecting = collecting};
	bool again = true;
	keep_status status = kp_new_acks_make(collecting, &taking.acks, err);

	if (status == KEEP_OK)
		status = kp_new_rows_make(collecting, &taking.rows, err);
	for (int round = 0; status == KEEP_OK && again && round < ROUNDS_MAX; round++) {
		status = take_round(&taking, &again, err);
		if (again && kp_monotonic_ns() > collecting->deadline_ns)
			break;
	}
	collecting->out->has_more |= again && status == KEEP_OK;
	kp_new_acks_free(&taking.acks);
	kp_new_rows_free(&taking.rows);
	kp_arena_release(&taking.arena);
	return status;
}

/* ---------------------------------------------------------------- the call */

static keep_status collect_once(kp_collecting *collecting, keep_error *err)
{
	struct answering answering = {.collecting = collecting};
	keep_status status = take_over(collecting, err);

	collecting->out->count = 0;
	if (status == KEEP_OK)
		status = answer_due(&answering, err);
	if (answering.has_waiting &&
	    (!collecting->out->next_ms || collecting->now_ms + WAIT_MS < collecting->out->next_ms))
		collecting->out->next_ms = collecting->now_ms + WAIT_MS;
	kp_free(answering.held);
	return status;
}

/* Invariant 4. BUSY is also said when somebody holds a lock: then this changes nothing. */
static keep_status recover(const kp_collecting *collecting, keep_error *err)
{
	char path[PATH_MAX];
	char *folder = NULL;
	keep_status status =
		kp_session_folder(collecting->mailbox, collecting->session->agent_group_id,
				  collecting->session->id, collecting->memory, &folder, err);

	if (status != KEEP_OK)
		return status;
	if (snprintf(path, sizeof path, "%s/outbound.db", folder) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", folder);
	return kp_sqlite_recover(path, err);
}

/* The session is in the registry and the statements are ours: what else fails so is the fault of
   what lies in its folder. */
static keep_status judge_failure(const kp_collecting *collecting, const keep_error *why,
				 keep_error *err)
{
	keep_status status = why->status;

	if (!collecting->mailbox->schema && (status == KEEP_MISUSE || status == KEEP_INVALID))
		status = KEEP_CORRUPT;
	return kp_fail(err, status, "session %" KP_PRI ": %s", KP_ARG(collecting->session->id),
		       why->message);
}

keep_status keep_mailbox_collect(keep_mailbox *mailbox, keep_bytes session, size_t limit,
				 int64_t now_ms, keep_memory *memory, keep_collection *out,
				 keep_error *err)
{
	keep_session row;
	kp_collecting collecting = {.mailbox = mailbox,
				    .session = &row,
				    .now_ms = kp_now(now_ms),
				    .memory = memory,
				    .out = out};
	int64_t count = 0;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status =
		kp_check_limit(limit, DEFAULT_LIMIT, KEEP_MAILBOX_LIST_MAX, &count, err);

	*out = (keep_collection){.items = NULL};
	if (status == KEEP_OK)
		status = kp_check_time("now_ms", collecting.now_ms, err);
	if (status == KEEP_OK && mailbox->read_only)
		status = kp_fail(err, KEEP_DENIED, "the mailbox was opened for reading only");
	if (status == KEEP_OK)
		status = keep_mailbox_get_session(mailbox, session, memory, &row, err);
	if (status != KEEP_OK)
		return status;
	collecting.limit = (size_t)count;
	collecting.deadline_ns = kp_monotonic_ns() + mailbox->timeout_ms * 1000000;
	status = collect_once(&collecting, &why);
	/* What was waited for all the time that there is, is not waited for again. */
	if (status == KEEP_BUSY && !mailbox->schema && kp_monotonic_ns() < collecting.deadline_ns &&
	    recover(&collecting, NULL) == KEEP_OK) {
		collecting.deadline_ns = kp_monotonic_ns() + mailbox->timeout_ms * 1000000;
		status = collect_once(&collecting, &why);
	}
	if (status != KEEP_OK) {
		*out = (keep_collection){.items = NULL};
		return judge_failure(&collecting, &why, err);
	}
	return KEEP_OK;
}
