/*
 * message_index.c - folding in the words of messages, behind those who append them.
 *
 * Appending does not touch the index: inside of small transactions that would cost more than the
 * messages themselves. A thread of the store folds words in behind it, in batches of KP_TEXT_BATCH
 * rows, each a transaction of its own beside other writers' changes: when that many were appended,
 * or when it has been quiet for a second. Until then searches read the rows one by one
 * (text_search.c), so a message is found as soon as it is committed, by every process, whatever
 * becomes of the thread. It starts with the first message or search that has something for it, and
 * a store that is opened for one command has none.
 *
 * Commands that append a message and end fold nothing by themselves; so whoever closes a store that
 * it has used looks whether a batch is full, and folds a few.
 *
 * Invariants:
 *   1. A batch reads its position in its own transaction, and writers follow each other: processes
 *      that fold at once never fold a row twice, and one that is killed has folded whole batches.
 *   2. Words go in the transaction that deletes their conversation; and since SQLite may give the
 *      ids of the newest rows again, the position moves back to the greatest id that stays.
 *   3. A thread that cannot write says so once, and tries again when there is more to do.
 *
 * What it does not do: change what a search finds.
 *
 * Tests: tests/contract/test_assistant_message_search.c.
 */
#include "assistant/assistant_private.h"

#include <signal.h>
#include <time.h>

#define QUIET_NS INT64_C(1000000000)
#define BATCHES_AT_CLOSE 5

struct kp_message_index {
	pthread_t thread;
	bool is_started, has_failed; /* has_failed: said once */
	pthread_mutex_t lock;        /* the members above and below */
	pthread_cond_t changed;
	bool stop;
	bool was_used;   /* since it was opened */
	bool is_due;     /* fold now */
	size_t appended; /* since the last round */
};

/* ---------------------------------------------------------------- folding */

struct fold {
	const kp_text_index *index;
	bool more; /* out */
};

static keep_status apply_fold(void *ctx, kp_lease *lease, keep_error *err)
{
	struct fold *fold = ctx;

	return kp_text_index_fold(lease, fold->index, &fold->more, err);
}

static keep_status fold_batch(keep_assistant *assistant, const kp_text_index *index, bool *more,
			      keep_error *err)
{
	struct fold fold = {.index = index};
	keep_status status =
		kp_store_change(&assistant->store, apply_fold, &fold, KP_NEWS_NONE, err);

	*more = status == KEEP_OK && fold.more;
	return status;
}

struct look {
	const kp_text_index *index;
	int64_t least;
	bool waits; /* out */
};

static keep_status query_look(void *ctx, kp_lease *lease, keep_error *err)
{
	struct look *look = ctx;
	kp_text_mark mark;
	int64_t newest = 0;
	bool found = false;
	keep_status status = kp_text_mark_get(lease, look->index, &mark, err);

	if (status == KEEP_OK)
		status = kp_lease_int(lease, look->index->newest, NULL, 0, &newest, &found, err);
	/* Documents of a finished index stand at the end; those of a new one are in at once. */
	look->waits = status == KEEP_OK && found && mark.position < newest &&
		      newest - mark.position >= look->least;
	return status;
}

/* Do at least about `least` rows wait? */
static bool has_waiting(keep_assistant *assistant, const kp_text_index *index, int64_t least)
{
	struct look look = {.index = index, .least = least};

	return kp_store_read_whole(&assistant->store, query_look, &look, NULL) == KEEP_OK &&
	       look.waits;
}

keep_status kp_message_index_fold(keep_assistant *assistant, keep_error *err)
{
	static const kp_text_index *const indexes[] = {&kp_message_text, &kp_document_text};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(indexes) && status == KEEP_OK; i++) {
		struct look look = {.index = indexes[i], .least = 1};
		bool more;

		status = kp_store_read_whole(&assistant->store, query_look, &look, err);
		more = look.waits;
		while (status == KEEP_OK && more)
			status = fold_batch(assistant, indexes[i], &more, err);
	}
	return status;
}

/* ---------------------------------------------------------------- the thread */

static bool is_stopped(struct kp_message_index *index)
{
	bool stop;

	pthread_mutex_lock(&index->lock);
	stop = index->stop;
	pthread_mutex_unlock(&index->lock);
	return stop;
}

/* Invariant 3. */
static keep_status fold_round(keep_assistant *assistant, keep_error *err)
{
	static const kp_text_index *const indexes[] = {&kp_message_text, &kp_document_text};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(indexes); i++) {
		bool more = has_waiting(assistant, indexes[i], 1);

		while (status == KEEP_OK && more && !is_stopped(assistant->message_index))
			status = fold_batch(assistant, indexes[i], &more, err);
	}
	return status;
}

/* Until `end_ns` at most; the caller holds the lock. */
static void wait_until(struct kp_message_index *index, int64_t end_ns)
{
	struct timespec end = {.tv_sec = end_ns / 1000000000, .tv_nsec = end_ns % 1000000000};

	(void)pthread_cond_timedwait(&index->changed, &index->lock, &end);
}

/* Sleep until a round is due. False: stop. */
static bool wait_for_round(struct kp_message_index *index)
{
	bool stop;

	pthread_mutex_lock(&index->lock);
	while (!index->stop && !index->is_due && index->appended < KP_TEXT_BATCH) {
		size_t before = index->appended;
		int64_t end_ns = kp_monotonic_ns() + QUIET_NS;

		if (!before)
			pthread_cond_wait(&index->changed, &index->lock);
		while (before && !index->stop && !index->is_due &&
		       index->appended < KP_TEXT_BATCH && kp_monotonic_ns() < end_ns)
			wait_until(index, end_ns);
		/* Nothing came while it waited: quiet. */
		index->is_due = index->is_due || (before && index->appended == before);
	}
	index->is_due = false;
	index->appended = 0;
	stop = index->stop;
	pthread_mutex_unlock(&index->lock);
	return !stop;
}

static void *run_rounds(void *ctx)
{
	keep_assistant *assistant = ctx;
	struct kp_message_index *index = assistant->message_index;

	while (wait_for_round(index)) {
		keep_error err = KEEP_ERROR_INIT;

		if (fold_round(assistant, &err) != KEEP_OK && !index->has_failed) {
			index->has_failed = true;
			kp_log(KEEP_LOG_WARNING, "words of messages wait to be folded in: %s",
			       err.message);
		}
	}
	return NULL;
}

/* Under the lock. Without a thread searches read more rows, and closing folds. */
static void start_thread(keep_assistant *assistant)
{
	struct kp_message_index *index = assistant->message_index;
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	index->is_started = pthread_create(&index->thread, NULL, run_rounds, assistant) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void poke(keep_assistant *assistant, size_t appended, bool is_due)
{
	struct kp_message_index *index = assistant->message_index;
	bool was_idle;

	if (!index)
		return;
	pthread_mutex_lock(&index->lock);
	was_idle = index->appended == 0;
	index->was_used = true;
	index->appended += appended;
	index->is_due = index->is_due || is_due;
	if (!index->is_started)
		start_thread(assistant);
	else if (was_idle || is_due || index->appended >= KP_TEXT_BATCH)
		pthread_cond_signal(&index->changed);
	pthread_mutex_unlock(&index->lock);
}

void kp_message_index_appended(keep_assistant *assistant, size_t count)
{
	poke(assistant, count, false);
}

void kp_message_index_wake(keep_assistant *assistant)
{
	poke(assistant, 0, true);
}

keep_status kp_message_index_open(keep_assistant *assistant, keep_error *err)
{
	struct kp_message_index *index;
	pthread_condattr_t attributes;

	if (assistant->store.read_only)
		return KEEP_OK;
	index = kp_alloc_zero(sizeof *index);
	if (!index || pthread_condattr_init(&attributes) != 0) {
		kp_free(index);
		return kp_fail_memory(err, "words of messages");
	}
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	if (pthread_cond_init(&index->changed, &attributes) != 0) {
		(void)pthread_condattr_destroy(&attributes);
		kp_free(index);
		return kp_fail_memory(err, "words of messages");
	}
	(void)pthread_condattr_destroy(&attributes);
	index->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	assistant->message_index = index;
	return KEEP_OK;
}

void kp_message_index_close(keep_assistant *assistant)
{
	struct kp_message_index *index = assistant->message_index;
	bool more = true;

	if (!index)
		return;
	pthread_mutex_lock(&index->lock);
	index->stop = true;
	pthread_cond_signal(&index->changed);
	pthread_mutex_unlock(&index->lock);
	if (index->is_started)
		(void)pthread_join(index->thread, NULL);
	for (int i = 0; i < BATCHES_AT_CLOSE && index->was_used && more; i++)
		if (!has_waiting(assistant, &kp_message_text, KP_TEXT_BATCH) ||
		    fold_batch(assistant, &kp_message_text, &more, NULL) != KEEP_OK)
			more = false;
	(void)pthread_cond_destroy(&index->changed);
	(void)pthread_mutex_destroy(&index->lock);
	kp_free(index);
	assistant->message_index = NULL;
}

/* ---------------------------------------------------------------- deleting */

/* One portion of a conversation's folded rows; *last_seq moves, *count says how many. */
static keep_status read_portion(kp_lease *lease, keep_bytes conversation_id, int64_t position,
				int64_t *last_seq, kp_arena *arena, kp_text_row *rows,
				size_t *count, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, KP_ASSISTANT_FOLDED_OF,
			      KP_VALUES(kp_text_value(conversation_id), kp_int_value(*last_seq),
					kp_int_value(position), kp_int_value(KP_TEXT_BATCH)),
			      &stmt, err);

	*count = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && *count < KP_TEXT_BATCH) {
		kp_text_row *row = &rows[*count];

		status = kp_text_row_read(stmt, row, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(arena, row->content, &row->content, err);
		if (status == KEEP_OK)
			status = kp_sql_column_int(stmt, 5, last_seq, err);
		row->scope = conversation_id;
		++*count;
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status remove_words(kp_lease *lease, keep_bytes conversation_id, int64_t position,
				keep_error *err)
{
	kp_text_row rows[KP_TEXT_BATCH];
	int64_t last_seq = 0;
	size_t count = KP_TEXT_BATCH;
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && count == KP_TEXT_BATCH) {
		kp_arena arena = {.head = NULL};

		status = read_portion(lease, conversation_id, position, &last_seq, &arena, rows,
				      &count, err);
		for (size_t i = 0; i < count && status == KEEP_OK; i++)
			status = kp_text_index_remove(lease, &kp_message_text, &rows[i], err);
		kp_arena_release(&arena);
	}
	return status;
}

/* Invariant 2. */
keep_status kp_message_index_forget(kp_lease *lease, keep_bytes conversation_id, keep_error *err)
{
	kp_text_mark mark;
	int64_t count = 0, newest = 0;
	keep_status status = kp_text_mark_get(lease, &kp_message_text, &mark, err);

	if (status != KEEP_OK || !mark.is_ours)
		return status;
	status =
		kp_lease_int(lease, KP_ASSISTANT_COUNT_FOLDED_OF,
			     KP_VALUES(kp_text_value(conversation_id), kp_int_value(mark.position)),
			     &count, NULL, err);
	if (status == KEEP_OK && count)
		status = remove_words(lease, conversation_id, mark.position, err);
	if (status == KEEP_OK)
		status = kp_lease_int(lease, KP_ASSISTANT_NEWEST_MESSAGE_ID_OF_OTHERS,
				      KP_VALUES(kp_text_value(conversation_id)), &newest,
				      &(bool){false}, err);
	mark.rows = mark.rows > count ? mark.rows - count : 0;
	mark.position = newest < mark.position ? newest : mark.position;
	return status == KEEP_OK ? kp_text_mark_put(lease, &kp_message_text, &mark, err) : status;
}
