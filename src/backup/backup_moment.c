/*
 * backup_moment.c - one moment across all databases of a home, while others write.
 *
 *     copy what is quiet, look again, copy what changed, …    nobody is held
 *     ── for some milliseconds, all that were written meanwhile are held at once:
 *     │    each: its write lock; a read transaction beside it, or its bytes when it has no log
 *     └── the moment; all locks are let go
 *     look again: what was copied before is unchanged?
 *         yes: it was so at the moment, too. Copy the held ones from their read transactions
 *         no: what changed is held too, next time
 *
 * Invariants:
 *   1. A database in the backup is either unchanged from its copying until after the moment, or
 *      was locked for writing at the moment and is copied as of then. So all of them are of one
 *      moment, for a writer that wrote to several of them as for any other.
 *   2. Writers wait at most for the limit of a try (hold_ms, and twice that when some tries did not
 *      fit) and the step that goes over it. A lock that is not had soon ends the try.
 *   3. Nobody can wait for us and we for him: every wait here has an end.
 *   4. A lock is Keep's write guard, where there is one, and SQLite's; in rollback mode readers go
 *      on, and nobody can commit while the bytes are read.
 *   5. Nothing is written and nothing checkpointed but by the driver's own closing.
 *
 * A database that cannot be opened is damaged; when others write it, it is copied as it is.
 *
 * Tests: tests/contract/test_backup_snapshot.c, tests/crash/test_backup_moments.c.
 */
#include "backup/backup_private.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
	QUIET_PASSES = 6,
	FEW = 4,           /* changed databases that are not worth another pass */
	PER_HOLD = 6,      /* descriptors */
	SPARE = 48,        /* left for others */
	COOL_FROM = 64,    /* held ones, from which those that are quiet again are let go */
	PATIENT_TRIES = 4, /* that did not fit the limit, before it is doubled */
	PAUSE_MS = 4,
	LOCK_MS = 15
};

void kp_hold_release(kp_hold *hold)
{
	if (hold->reader)
		kp_sql_rollback(hold->reader);
	kp_sql_close(&hold->reader);
	kp_sql_close(&hold->writer);
	kp_free(hold->bytes);
	*hold = (kp_hold){.writer = NULL};
}

static void pause_ms(int64_t ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};

	(void)nanosleep(&time, NULL);
}

/* ---------------------------------------------------------------- what is quiet */

keep_status kp_copy_stale(kp_backup_job *job, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < job->count && status == KEEP_OK; i++)
		if (job->items[i]->state == KP_ITEM_STALE)
			status = kp_copy_item(job, job->items[i], err);
	return status;
}

static keep_status copy_quiet(kp_backup_job *job, keep_error *err)
{
	keep_status status = KEEP_OK;
	size_t before = SIZE_MAX, changed = 0;

	for (int pass = 0; pass < QUIET_PASSES && status == KEEP_OK; pass++) {
		status = kp_items_look(job, false, &changed, err);
		if (status == KEEP_OK)
			status = kp_copy_stale(job, err);
		kp_moment("backup.copied");
		if (pass > 0 && (changed <= FEW || changed > before / 2))
			break;
		before = changed;
	}
	return status;
}

/* ---------------------------------------------------------------- opening */

static keep_status set_damaged(kp_backup_job *job, kp_item *item, keep_status status,
			       keep_error *err)
{
	const kp_backup_options *options = job->options;

	if (status != KEEP_CORRUPT || !options->may_be_damaged ||
	    !options->may_be_damaged(options->damaged_ctx, item->path))
		return kp_prefix(err, status, "%s", item->path);
	item->kind = KP_ITEM_DAMAGED;
	item->state = KP_ITEM_STALE;
	return KEEP_OK;
}

/* What another moment may have: a lock that somebody holds, a file that was replaced or turned. */
static bool may_pass(keep_status status)
{
	return status == KEEP_BUSY || status == KEEP_UNAVAILABLE;
}

static keep_status open_hold(kp_backup_job *job, kp_item *item, keep_error *err)
{
	char path[PATH_MAX];
	kp_sql_options options = {
		.location = path,
		.journal = KP_JOURNAL_AS_IS,
		.timeout_ms = LOCK_MS,
	};
	keep_status status;

	if (snprintf(path, sizeof path, "%s/%s", job->home, item->path) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", item->path);
	/* Opening for writing rolls back what a killed writer left: what is refused there is
	   refused here. One that is being written is BUSY, and tried again. */
	status = item->journal.size > 0 ? kp_sqlite_recover(path, err) : KEEP_OK;
	if (status == KEEP_OK)
		status = kp_sql_open(&kp_sql_sqlite, &options, &item->hold.writer, err);
	if (status == KEEP_OK && (item->hold.writer->caps & KP_SQL_LOG)) {
		options.read_only = true;
		status = kp_sql_open(&kp_sql_sqlite, &options, &item->hold.reader, err);
	}
	if (status != KEEP_OK)
		kp_hold_release(&item->hold);
	return status;
}

static size_t count_descriptors(void)
{
	DIR *names = opendir("/proc/self/fd");
	size_t count = 0;

	while (names && readdir(names))
		count++;
	if (names)
		(void)closedir(names);
	return count;
}

/* Are there descriptors for `count` more holds? Raise the limit where that is allowed. */
static bool has_descriptors(const kp_backup_job *job, size_t count)
{
	struct rlimit limit;
	size_t wanted = count * PER_HOLD + SPARE + count_descriptors();

	if (count == 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return true;
	if (!job->options->may_raise_limit || limit.rlim_max < wanted)
		return false;
	limit.rlim_cur = wanted;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

static keep_status open_holds(kp_backup_job *job, keep_error *err)
{
	size_t missing = 0;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < job->count; i++)
		missing += job->items[i]->state == KP_ITEM_HELD && !job->items[i]->hold.writer;
	if (!has_descriptors(job, missing))
		return kp_fail(err, KEEP_FULL,
			       "%zu databases are written at once, for which this process may open "
			       "too few files",
			       missing);
	for (size_t i = 0; i < job->count && status == KEEP_OK; i++) {
		kp_item *item = job->items[i];

		if (item->state != KP_ITEM_HELD || item->hold.writer)
			continue;
		status = open_hold(job, item, err);
		if (status == KEEP_NOT_FOUND) { /* it went, or is being made: the next look says */
			item->state = KP_ITEM_GONE;
			status = KEEP_OK;
		} else if (status != KEEP_OK && !may_pass(status)) {
			status = set_damaged(job, item, status, err);
		}
	}
	return status;
}

/* ---------------------------------------------------------------- the moment */

static keep_status read_bytes(kp_hold *hold, keep_error *err)
{
	kp_sqlite_raw raw = KP_SQLITE_RAW_INIT;
	keep_status status = kp_sqlite_raw_borrow(hold->writer, &raw, err);

	if (status == KEEP_OK)
		status = kp_sqlite_raw_size(&raw, &hold->size, err);
	if (status != KEEP_OK)
		return status;
	hold->bytes = kp_alloc((size_t)hold->size + 1);
	if (!hold->bytes)
		return kp_fail_memory(err, "a database that is locked");
	status = kp_sqlite_raw_read(&raw, hold->bytes, (size_t)hold->size, 0, err);
	if (status == KEEP_OK) /* a copy is in rollback mode */
		kp_seal_set_versions(hold->bytes, (size_t)hold->size, 1);
	return status;
}

static keep_status lock_one(kp_item *item, keep_error *err)
{
	kp_hold *hold = &item->hold;
	keep_status status = kp_sql_begin(hold->writer, KP_SQL_WRITE, err);

	if (status == KEEP_OK)
		status = kp_sqlite_log_look(hold->writer, &hold->log, err);
	if (status != KEEP_OK)
		return status;
	if (!hold->log.has_log)
		return read_bytes(hold, err);
	status = kp_sql_begin(hold->reader, KP_SQL_READ, err);
	if (status == KEEP_OK) /* the first read is what a snapshot is of */
		status = kp_sql_script(hold->reader, "PRAGMA schema_version", err);
	return status;
}

static void unlock_all(kp_backup_job *job)
{
	for (size_t i = 0; i < job->count; i++) {
		kp_hold *hold = &job->items[i]->hold;

		if (hold->writer && hold->writer->in_transaction)
			kp_sql_rollback(hold->writer);
	}
}

/* Forget what was seen at a moment that did not count. A connection that broke goes. */
static void drop_snapshots(kp_backup_job *job)
{
	for (size_t i = 0; i < job->count; i++) {
		kp_hold *hold = &job->items[i]->hold;

		if (hold->reader && hold->reader->in_transaction)
			kp_sql_rollback(hold->reader);
		kp_free(hold->bytes);
		hold->bytes = NULL;
		if ((hold->writer && hold->writer->broken) ||
		    (hold->reader && hold->reader->broken))
			kp_hold_release(hold);
	}
}

/* One try. `first` (may be NULL) was not had the last time, and is waited for before others are
   held; *blocked is the one not had now. */
static keep_status try_moment(kp_backup_job *job, kp_item *first, kp_item **blocked,
			      bool *is_too_slow, keep_error *err)
{
	int64_t begun = kp_monotonic_ns(), held;
	keep_status status = first ? lock_one(first, err) : KEEP_OK;

	*is_too_slow = false;
	*blocked = status == KEEP_OK ? NULL : first;
	if (first)
		begun = kp_monotonic_ns();
	for (size_t i = 0; i < job->count && status == KEEP_OK; i++) {
		kp_item *item = job->items[i];

		if (item->state != KP_ITEM_HELD || item == first)
			continue;
		status = lock_one(item, err);
		if (status != KEEP_OK)
			*blocked = item;
		else if (kp_monotonic_ns() - begun > job->hold_ns)
			*is_too_slow = true;
		if (status == KEEP_OK && *is_too_slow)
			status = kp_fail(err, KEEP_BUSY, "the databases could not be held at once");
	}
	job->result.moment_ms = kp_clock_ms();
	if (status == KEEP_OK)
		kp_moment("backup.held");
	unlock_all(job);
	held = (kp_monotonic_ns() - begun) / 1000;
	if (held > job->result.held_us)
		job->result.held_us = held;
	job->result.try_count++;
	if (status != KEEP_OK)
		drop_snapshots(job);
	if (*blocked && status != KEEP_BUSY) /* its file was replaced, or what lies beside it */
		kp_hold_release(&(*blocked)->hold);
	return status;
}

/* ---------------------------------------------------------------- trying */

/* Let those go that nobody writes any more: they are copied like others. */
static void cool(kp_backup_job *job)
{
	size_t held = 0;

	for (size_t i = 0; i < job->count; i++)
		held += job->items[i]->state == KP_ITEM_HELD;
	for (size_t i = 0; i < job->count && held > COOL_FROM; i++) {
		kp_item *item = job->items[i];
		int64_t limit = job->now_ns - INT64_C(1000000000);

		if (item->state != KP_ITEM_HELD || item->journal.size > 0 || item->is_young ||
		    item->self.changed_ns > limit || item->log.changed_ns > limit)
			continue;
		kp_hold_release(&item->hold);
		item->state = KP_ITEM_STALE;
	}
}

/* After a try: is what was copied as it was? Else *is_taken is false. */
static keep_status confirm(kp_backup_job *job, bool *is_taken, keep_error *err)
{
	size_t changed = 0;
	keep_status status = kp_items_look(job, true, &changed, err);

	*is_taken = status == KEEP_OK && changed == 0;
	if (status != KEEP_OK || *is_taken)
		return status;
	drop_snapshots(job);
	cool(job);
	return kp_copy_stale(job, err);
}

static void count_held(kp_backup_job *job)
{
	for (size_t i = 0; i < job->count; i++)
		job->result.held_count += job->items[i]->state == KP_ITEM_HELD;
}

keep_status kp_moment_take(kp_backup_job *job, keep_error *err)
{
	int64_t deadline = 0;
	kp_item *blocked = NULL;
	int slow_tries = 0;
	keep_status status = copy_quiet(job, err);

	deadline = kp_monotonic_ns() + job->patience_ns;
	while (status == KEEP_OK) {
		bool is_taken = false, is_too_slow = false;

		status = open_holds(job, err);
		if (status == KEEP_OK) {
			kp_item *first =
				blocked && blocked->state == KP_ITEM_HELD && blocked->hold.writer
					? blocked
					: NULL;

			status = try_moment(job, first, &blocked, &is_too_slow, err);
		}
		if (status == KEEP_OK) {
			status = confirm(job, &is_taken, err);
			if (status != KEEP_OK)
				return status;
		}
		if (is_taken) {
			count_held(job);
			return KEEP_OK;
		}
		if (kp_is_cancelled(job->options->cancelled))
			return kp_fail_cancelled(err);
		slow_tries += is_too_slow;
		if (slow_tries == PATIENT_TRIES) {
			job->hold_ns *= 2;
			slow_tries++;
		}
		if (kp_monotonic_ns() > deadline)
			return status == KEEP_OK ? kp_fail(err, KEEP_BUSY,
							   "databases change too fast for one "
							   "moment of all")
						 : status;
		if (may_pass(status)) {
			pause_ms(PAUSE_MS);
			status = KEEP_OK;
		}
	}
	return status;
}
