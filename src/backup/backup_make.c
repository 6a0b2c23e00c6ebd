/*
 * backup_make.c - making a backup, from the lock to the last rename.
 *
 *     lock ► remove what killed ones left ► .partial-<name>/data: copies (backup_moment.c)
 *          ► check each database ► sync all ► manifest ► sync ► rename to <name> ► sync
 *
 * Invariants:
 *   1. What has its final name is whole, checked and synced. A process killed before leaves a
 *      .partial-…, which is no backup to anybody, and which the next run removes.
 *   2. A failure removes what it made, and says what failed.
 *   3. The folder is 0700 and its files are 0600, whatever those of the home are: their
 *      permissions are in the manifest.
 *
 * Tests: tests/contract/test_backup_snapshot.c, tests/crash/test_backup_moments.c,
 * tests/torture/test_backup_faults.c.
 */
#include "backup/backup_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HOLD_MS_DEFAULT 40
#define PATIENCE_MS_DEFAULT 60000
enum { NAMES_MAX = 1000, EACH_MAX = 64 };
#define PARTIAL_NAME_SIZE (KP_BACKUP_NAME_SIZE + 16)

/* ---------------------------------------------------------------- beginning */

static keep_status check_options(const kp_backup_options *options, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (options->label)
		status = kp_check_folder("a backup's label", keep_bytes_of(options->label), err);
	if (status == KEEP_OK && options->label &&
	    (strchr(options->label, '/') || strlen(options->label) > KP_BACKUP_LABEL_MAX))
		status =
			kp_fail(err, KEEP_INVALID, "a backup's label has a '/' or is over %d bytes",
				KP_BACKUP_LABEL_MAX);
	if (status == KEEP_OK && (options->hold_ms < 0 || options->patience_ms < 0))
		status = kp_fail(err, KEEP_INVALID, "a backup's time limit is negative");
	for (size_t i = 0; i < options->key_id_count && status == KEEP_OK; i++)
		status = kp_check_key("a key id", keep_bytes_of(options->key_ids[i]), err);
	return status;
}

/* "2026-04-11T17:18:21.000Z" as "20260411T171821Z". */
static keep_status format_name(int64_t time_ms, int number, char out[KP_BACKUP_NAME_SIZE],
			       keep_error *err)
{
	char text[KEEP_TIME_TEXT_SIZE];
	keep_status status = keep_time_format(time_ms, text, err);
	size_t len = 0;

	for (size_t i = 0; status == KEEP_OK && i < 19; i++)
		if (text[i] != '-' && text[i] != ':')
			out[len++] = text[i];
	if (status == KEEP_OK)
		(void)snprintf(out + len, KP_BACKUP_NAME_SIZE - len, number > 1 ? "Z-%d" : "Z",
			       number);
	return status;
}

static keep_status find_name(kp_backup_job *job, keep_error *err)
{
	struct stat st;

	for (int number = 1; number <= NAMES_MAX; number++) {
		keep_status status =
			format_name(job->result.started_ms, number, job->result.name, err);

		if (status != KEEP_OK)
			return status;
		if (fstatat(job->backups_fd, job->result.name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			return errno == ENOENT ? KEEP_OK
					       : kp_fail_errno(err, errno, "%s", job->result.name);
	}
	return kp_fail(err, KEEP_FULL, "there are %d backups of one second", NAMES_MAX);
}

static void format_partial(const kp_backup_job *job, char out[PARTIAL_NAME_SIZE])
{
	(void)snprintf(out, PARTIAL_NAME_SIZE, ".partial-%s", job->result.name);
}

static keep_status open_places(kp_backup_job *job, int *partial_fd, keep_error *err)
{
	char partial[PARTIAL_NAME_SIZE];
	keep_status status = kp_folder_open(AT_FDCWD, job->home, &job->home_fd, err);

	if (status == KEEP_OK)
		status = kp_folder_need(job->home_fd, KP_BACKUP_FOLDER, &job->backups_fd, err);
	if (status == KEEP_OK)
		status = kp_backups_lock(job->backups_fd, &job->lock_fd, err);
	if (status == KEEP_OK)
		status = kp_backups_clean(job->backups_fd, err);
	if (status == KEEP_OK)
		status = find_name(job, err);
	if (status != KEEP_OK)
		return status;
	format_partial(job, partial);
	if (snprintf(job->data_path, sizeof job->data_path, "%s/%s/%s/%s", job->home,
		     KP_BACKUP_FOLDER, partial, KP_BACKUP_DATA) >= (int)sizeof job->data_path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", job->home);
	status = kp_folder_need(job->backups_fd, partial, partial_fd, err);
	if (status == KEEP_OK)
		status = kp_folder_need(*partial_fd, KP_BACKUP_DATA, &job->data_fd, err);
	return status;
}

/* ---------------------------------------------------------------- copying and checking */

static keep_status copy_held(kp_backup_job *job, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < job->count && status == KEEP_OK; i++)
		if (job->items[i]->kind == KP_ITEM_FOLDER && job->items[i]->state == KP_ITEM_STALE)
			status = kp_copy_item(job, job->items[i], err);
	/* A snapshot keeps a log from beginning anew: the small ones are let go first. */
	for (int large = 0; large < 2; large++)
		for (size_t i = 0; i < job->count && status == KEEP_OK; i++) {
			kp_item *item = job->items[i];

			if (item->state == KP_ITEM_HELD &&
			    (large || item->self.size < KP_COPY_BLOCK))
				status = kp_copy_held(job, item, err);
		}
	return status;
}

/* What went, or never came to be copied, is not in the backup. The deepest first. */
static keep_status remove_gone(kp_backup_job *job, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = job->count; i-- > 0 && status == KEEP_OK;) {
		kp_item *item = job->items[i];

		if (item->state == KP_ITEM_COPIED)
			continue;
		item->state = KP_ITEM_GONE;
		status = kp_folder_remove(job->data_fd, item->path, err);
	}
	return status;
}

static keep_status check_one(kp_backup_job *job, kp_item *item, keep_error *err)
{
	const kp_backup_options *options = job->options;
	char path[PATH_MAX];
	keep_status status;

	if (snprintf(path, sizeof path, "%s/%s", job->data_path, item->path) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", item->path);
	kp_free(item->tables);
	item->tables = NULL;
	status = kp_database_check(path, item->size, &item->tables, err);
	if (status == KEEP_CORRUPT && options->may_be_damaged &&
	    options->may_be_damaged(options->damaged_ctx, item->path)) {
		item->kind = KP_ITEM_DAMAGED;
		return KEEP_OK;
	}
	return status == KEEP_OK ? KEEP_OK : kp_prefix(err, status, "%s", item->path);
}

static keep_status check_all(kp_backup_job *job, keep_error *err)
{
	kp_backup_result *result = &job->result;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < job->count && status == KEEP_OK; i++) {
		kp_item *item = job->items[i];

		if (item->state != KP_ITEM_COPIED || item->kind == KP_ITEM_FOLDER)
			continue;
		if (item->kind == KP_ITEM_DATABASE)
			status = check_one(job, item, err);
		result->file_count++;
		result->database_count += item->kind == KP_ITEM_DATABASE;
		result->damaged_count += item->kind == KP_ITEM_DAMAGED;
		result->size_bytes += item->size;
		if (kp_is_cancelled(job->options->cancelled))
			return kp_fail_cancelled(err);
	}
	return status;
}

/* ---------------------------------------------------------------- syncing */

static keep_status sync_item(kp_backup_job *job, const kp_item *item, keep_error *err)
{
	int fd = -1;
	keep_status status;

	if (item->state != KP_ITEM_COPIED)
		return KEEP_OK;
	status = kp_file_open(job->data_fd, item->path, O_RDONLY | O_NOFOLLOW, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	return status;
}

/* Thousands of files, each with a sync of its own, take thirty times as long as one of their file
   system, which tells errors of writing back since Linux 5.8. */
static keep_status sync_items(kp_backup_job *job, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (job->count > EACH_MAX) {
		if (kp_fault(KP_FAULT_FILE))
			return kp_fail_errno(err, EIO, "cannot sync %s", job->data_path);
		return syncfs(job->data_fd) == 0
			       ? KEEP_OK
			       : kp_fail_errno(err, errno, "cannot sync %s", job->data_path);
	}
	for (size_t i = 0; i < job->count && status == KEEP_OK; i++)
		status = sync_item(job, job->items[i], err);
	return status;
}

static keep_status sync_all(kp_backup_job *job, int partial_fd, keep_error *err)
{
	keep_status status = sync_items(job, err);

	kp_moment("backup.synced");
	if (status == KEEP_OK)
		status = kp_file_sync(job->data_fd, err);
	job->result.finished_ms = kp_clock_ms();
	if (status == KEEP_OK)
		status = kp_manifest_write(job, partial_fd, err);
	kp_moment("backup.described");
	return status == KEEP_OK ? kp_file_sync(partial_fd, err) : status;
}

static keep_status publish(kp_backup_job *job, keep_error *err)
{
	char partial[PARTIAL_NAME_SIZE];
	keep_status status;

	format_partial(job, partial);
	status = kp_file_rename(job->backups_fd, partial, job->backups_fd, job->result.name, err);
	kp_moment("backup.renamed");
	if (status == KEEP_OK)
		status = kp_file_sync(job->backups_fd, err);
	return status == KEEP_OK ? kp_file_sync(job->home_fd, err) : status;
}

static keep_status make_all(kp_backup_job *job, int partial_fd, keep_error *err)
{
	keep_status status = kp_moment_take(job, err);

	if (status == KEEP_OK)
		status = copy_held(job, err);
	if (status == KEEP_OK) /* files that appeared: no row of the moment names those that went */
		status = kp_copy_stale(job, err);
	if (status == KEEP_OK)
		status = remove_gone(job, err);
	kp_moment("backup.complete");
	if (status == KEEP_OK)
		status = check_all(job, err);
	kp_moment("backup.checked");
	if (status == KEEP_OK)
		status = sync_all(job, partial_fd, err);
	return status == KEEP_OK ? publish(job, err) : status;
}

/* After a failure: what has its final name may not be synced, so it goes too. */
static void remove_made(kp_backup_job *job)
{
	char partial[PARTIAL_NAME_SIZE];
	keep_error why = KEEP_ERROR_INIT;

	if (job->lock_fd < 0 || !job->result.name[0])
		return;
	format_partial(job, partial);
	if (kp_folder_remove(job->backups_fd, partial, &why) != KEEP_OK ||
	    kp_folder_remove(job->backups_fd, job->result.name, &why) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "a backup that failed stays: %s", why.message);
}

keep_status kp_backup_make(const char *home, const kp_backup_options *options,
			   kp_backup_result *result, keep_error *err)
{
	static const kp_backup_options none = {.label = NULL};
	kp_backup_job job = {
		.options = options ? options : &none,
		.home = home,
		.home_fd = -1,
		.data_fd = -1,
		.backups_fd = -1,
		.lock_fd = -1,
	};
	int64_t hold_ms, patience_ms;
	int partial_fd = -1;
	keep_status status = check_options(job.options, err);

	if (result)
		*result = (kp_backup_result){.name = ""};
	if (status != KEEP_OK)
		return status;
	hold_ms = job.options->hold_ms ? job.options->hold_ms : HOLD_MS_DEFAULT;
	patience_ms = job.options->patience_ms ? job.options->patience_ms : PATIENCE_MS_DEFAULT;
	job.hold_ns = hold_ms * 1000000;
	job.patience_ns = patience_ms * 1000000;
	job.result.started_ms = kp_clock_ms();
	status = open_places(&job, &partial_fd, err);
	if (status == KEEP_OK)
		status = make_all(&job, partial_fd, err);
	kp_items_release(&job);
	kp_file_close(&partial_fd);
	kp_file_close(&job.data_fd);
	if (status != KEEP_OK)
		remove_made(&job);
	else if (result)
		*result = job.result;
	kp_file_close(&job.backups_fd);
	kp_file_close(&job.lock_fd);
	kp_file_close(&job.home_fd);
	return status;
}
