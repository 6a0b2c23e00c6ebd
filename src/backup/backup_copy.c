/*
 * backup_copy.c - copying one file of a home into the backup.
 *
 *     a folder            made
 *     a plain file        read from beginning to end
 *     a quiet database    its file with its log over it, without a lock; that nobody wrote
 * meanwhile is shown later (backup_items.c) a held database     the same under a read transaction;
 * or what was read while it was locked
 *
 * Invariants:
 *   1. A copied database is in rollback mode and whole without a log: bytes 18 and 19 say so.
 *   2. In a database with seals every page that comes from its log is sealed here; those of the
 *      file are copied with the seals that they have, right or wrong.
 *   3. A file that goes while it is read is no failure: the next look sees it. One that is held and
 *      goes is copied through its connection, by SQLite.
 *
 * Tests: tests/contract/test_backup_snapshot.c.
 */
#include "backup/backup_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { VERSIONS_AT = 18, LOG_VERSION = 2, HEADER_BYTES = 100, PAGE_BYTES_AT = 16 };

/* Where a database's bytes come from. */
struct source {
	kp_sqlite_raw raw;
	int log_fd; /* -1: none */
	kp_log_map map;
	int64_t size;
};

keep_status kp_job_progress(kp_backup_job *job, int64_t bytes, keep_error *err)
{
	job->done_bytes += bytes;
	if (job->all_bytes < job->done_bytes)
		job->all_bytes = job->done_bytes;
	if (job->options->progress)
		job->options->progress(job->options->progress_ctx, job->done_bytes, job->all_bytes);
	return kp_is_cancelled(job->options->cancelled) ? kp_fail_cancelled(err) : KEEP_OK;
}

static keep_status full_path(const kp_backup_job *job, const char *path, const char *suffix,
			     char out[PATH_MAX], keep_error *err)
{
	if (snprintf(out, PATH_MAX, "%s/%s%s", job->home, path, suffix) >= PATH_MAX)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", path);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- databases */

static keep_status read_block(struct source *source, char *block, size_t len, int64_t at,
			      keep_error *err)
{
	bool is_over = false;
	keep_status status = kp_sqlite_raw_read(&source->raw, block, len, at, err);

	if (status == KEEP_OK && source->log_fd >= 0)
		status = kp_log_lay(source->log_fd, &source->map, block, len, at, &is_over, err);
	if (status != KEEP_OK || !is_over)
		return status;
	kp_file_close(&source->log_fd); /* the file has it all, from here on too */
	return kp_sqlite_raw_read(&source->raw, block, len, at, err);
}

static keep_status write_database(kp_backup_job *job, kp_item *item, struct source *source,
				  keep_error *err)
{
	kp_sink sink;
	int64_t at = 0;
	keep_status status = kp_sink_open(&sink, job->data_fd, item->path, source->size, err);

	while (status == KEEP_OK && at < source->size) {
		int64_t left = source->size - at;
		size_t len = left < KP_COPY_BLOCK ? (size_t)left : KP_COPY_BLOCK;
		char *block = kp_sink_block(&sink);

		status = read_block(source, block, len, at, err);
		if (status == KEEP_OK && at == 0)
			kp_seal_set_versions(block, len, 1);
		if (status == KEEP_OK)
			status = kp_sink_put(&sink, len, err);
		if (status == KEEP_OK)
			status = kp_job_progress(job, (int64_t)len, err);
		at += (int64_t)len;
	}
	if (status == KEEP_OK)
		status = kp_sink_finish(&sink, item->sha256, err);
	else
		kp_sink_close(&sink);
	item->size = source->size;
	return status;
}

/* The log beside it, of which `known` (NULL: nothing) was seen under the lock. */
static keep_status open_log(kp_backup_job *job, const kp_item *item, const kp_sqlite_log *known,
			    struct source *source, keep_error *err)
{
	char name[PATH_MAX];
	unsigned char header[HEADER_BYTES];
	uint32_t page_bytes;
	unsigned reserved;
	keep_status status;

	if (snprintf(name, sizeof name, "%s-wal", item->path) >= (int)sizeof name)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", item->path);
	status = kp_file_open(job->home_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0,
			      &source->log_fd, err);
	if (status == KEEP_OK)
		status = known ? kp_log_read_known(source->log_fd, known, &source->map, err)
			       : kp_log_read(source->log_fd, &source->map, err);
	if (status == KEEP_OK && source->map.page_count > 0)
		source->size = (int64_t)source->map.page_count * source->map.page_bytes;
	if (source->map.count == 0)
		kp_file_close(&source->log_fd);
	else if (status == KEEP_OK)
		status = kp_sqlite_raw_read(&source->raw, header, sizeof header, 0, err);
	source->map.is_sealed = status == KEEP_OK && source->map.count > 0 &&
				kp_seal_header(header, &page_bytes, &reserved) &&
				reserved == KP_SEAL_BYTES && page_bytes == source->map.page_bytes;
	return status;
}

static void release_source(struct source *source)
{
	kp_sqlite_raw_close(&source->raw);
	kp_file_close(&source->log_fd);
	kp_log_release(&source->map);
}

static keep_status copy_quiet(kp_backup_job *job, kp_item *item, bool *is_torn, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	struct source source = {.raw = KP_SQLITE_RAW_INIT, .log_fd = -1};
	char path[PATH_MAX];
	unsigned char header[HEADER_BYTES];
	keep_status status = full_path(job, item->path, "", path, err);

	if (status == KEEP_OK)
		status = kp_sqlite_raw_open(path, &source.raw, err);
	if (status == KEEP_OK)
		status = kp_sqlite_raw_size(&source.raw, &source.size, err);
	if (status == KEEP_OK)
		status = kp_sqlite_raw_read(&source.raw, header, sizeof header, 0, err);
	if (status == KEEP_OK && item->log.size > 0 && header[VERSIONS_AT + 1] == LOG_VERSION)
		status = open_log(job, item, NULL, &source, &why);
	/* A log that went was copied into the file, just now: its next look sees that. */
	*is_torn = status == KEEP_NOT_FOUND && why.status == KEEP_NOT_FOUND;
	if (*is_torn)
		status = KEEP_OK;
	else if (why.status != KEEP_OK)
		status = kp_fail(err, why.status, "%s", why.message);
	if (status == KEEP_OK && !*is_torn)
		status = write_database(job, item, &source, err);
	release_source(&source);
	return status;
}

static keep_status copy_bytes(kp_backup_job *job, kp_item *item, keep_error *err)
{
	kp_hold *hold = &item->hold;
	kp_sink sink;
	keep_status status = kp_sink_open(&sink, job->data_fd, item->path, 0, err);

	for (int64_t at = 0; status == KEEP_OK && at < hold->size; at += KP_COPY_BLOCK) {
		int64_t left = hold->size - at;
		size_t len = left < KP_COPY_BLOCK ? (size_t)left : KP_COPY_BLOCK;
		char *block = kp_sink_block(&sink);

		memcpy(block, hold->bytes + at, len);
		status = kp_sink_put(&sink, len, err);
		if (status == KEEP_OK)
			status = kp_job_progress(job, (int64_t)len, err);
	}
	if (status == KEEP_OK)
		status = kp_sink_finish(&sink, item->sha256, err);
	else
		kp_sink_close(&sink);
	item->size = hold->size;
	return status;
}

/* Its folder was removed after the moment: only the connection has its files still. */
static keep_status copy_by_connection(kp_backup_job *job, kp_item *item, keep_error *err)
{
	char path[PATH_MAX];
	int fd = -1;
	keep_status status;

	if (snprintf(path, sizeof path, "%s/%s", job->data_path, item->path) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", item->path);
	status = kp_folder_remove(job->data_fd, item->path, err);
	if (status == KEEP_OK)
		status = kp_sqlite_export(item->hold.reader, "main", path, err);
	if (status == KEEP_OK)
		status = kp_file_open(job->data_fd, item->path, O_RDONLY | O_NOFOLLOW, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_hash(fd, item->sha256, &item->size, err);
	kp_file_close(&fd);
	return status;
}

static keep_status copy_snapshot(kp_backup_job *job, kp_item *item, keep_error *err)
{
	struct source source = {.raw = KP_SQLITE_RAW_INIT, .log_fd = -1};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_sqlite_raw_borrow(item->hold.reader, &source.raw, err);

	if (status == KEEP_OK)
		status = kp_sqlite_raw_size(&source.raw, &source.size, err);
	if (status == KEEP_OK && item->hold.log.frames > 0) {
		status = open_log(job, item, &item->hold.log, &source, &why);
		if (status == KEEP_NOT_FOUND) {
			release_source(&source);
			return copy_by_connection(job, item, err);
		}
		if (status != KEEP_OK)
			status = kp_fail(err, status, "%s", why.message);
	}
	if (status == KEEP_OK)
		status = write_database(job, item, &source, err);
	release_source(&source);
	return status;
}

keep_status kp_copy_held(kp_backup_job *job, kp_item *item, keep_error *err)
{
	keep_status status =
		item->hold.bytes ? copy_bytes(job, item, err) : copy_snapshot(job, item, err);

	kp_hold_release(&item->hold);
	if (status == KEEP_OK)
		item->state = KP_ITEM_COPIED;
	return status == KEEP_OK ? KEEP_OK : kp_prefix(err, status, "%s", item->path);
}

/* ---------------------------------------------------------------- files */

static keep_status copy_file(kp_backup_job *job, kp_item *item, keep_error *err)
{
	kp_sink sink;
	size_t got = KP_COPY_BLOCK;
	int64_t at = 0;
	int fd = -1;
	keep_status status = kp_file_open_below(job->home_fd, item->path, &fd, err);

	if (status != KEEP_OK)
		return status;
	status = kp_sink_open(&sink, job->data_fd, item->path, item->self.size, err);
	while (status == KEEP_OK && got == KP_COPY_BLOCK) {
		status = kp_file_read_at(fd, kp_sink_block(&sink), KP_COPY_BLOCK, at, &got, err);
		if (status == KEEP_OK)
			status = kp_sink_put(&sink, got, err);
		if (status == KEEP_OK)
			status = kp_job_progress(job, (int64_t)got, err);
		at += (int64_t)got;
	}
	kp_file_close(&fd);
	if (status == KEEP_OK)
		status = kp_sink_finish(&sink, item->sha256, err);
	else
		kp_sink_close(&sink);
	item->size = at;
	return status;
}

static keep_status make_folder(kp_backup_job *job, const kp_item *item, keep_error *err)
{
	keep_status status = kp_folder_make(job->data_fd, item->path, 0700, err);

	return status == KEEP_CONFLICT ? KEEP_OK : status;
}

keep_status kp_copy_item(kp_backup_job *job, kp_item *item, keep_error *err)
{
	bool is_torn = false;
	keep_status status = KEEP_OK;

	switch (item->kind) {
	case KP_ITEM_FOLDER: status = make_folder(job, item, err); break;
	case KP_ITEM_DATABASE:
	case KP_ITEM_DAMAGED: status = copy_quiet(job, item, &is_torn, err); break;
	case KP_ITEM_FILE:
	case KP_ITEM_KINDS: status = copy_file(job, item, err); break;
	}
	if (item->kind == KP_ITEM_FOLDER)
		item->size = 0;
	if (status == KEEP_OK && !is_torn)
		item->state = KP_ITEM_COPIED;
	else if (status != KEEP_OK && status != KEEP_NO_MEMORY &&
		 !kp_is_cancelled(job->options->cancelled) && kp_item_moved(job, item))
		return KEEP_OK; /* invariant 2: it stays STALE */
	return status == KEEP_OK ? KEEP_OK : kp_prefix(err, status, "%s", item->path);
}
