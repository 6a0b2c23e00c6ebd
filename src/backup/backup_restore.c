/*
 * backup_restore.c - making a home of a backup.
 *
 *     verify ► <home>.restoring: files, each hashed again; carried files; .restored ► sync
 *            ► rename to <home>.restored ► exchange with <home> ► rename the old one to
 *              <home>.before-restore-<time> ► its backups/ back into <home> ► remove .restored
 *
 * `.restored` in the top of the new home is the note of one who was killed on the way: it tells the
 * new home from the old one whatever their names are by then, and how the old one is to be called.
 *
 * Invariants:
 *   1. At each moment the home before or the whole new one is at its place. Only where the file
 *      system cannot exchange two folders there is one between two renames; then, as after every
 *      kill, the next call finishes: it needs no backup for that.
 *   2. Nothing is deleted but what a killed restore left of its own (<home>.restoring, and a
 *      <home>.restored that has the note).
 *   3. A backup that does not verify changes nothing.
 *   4. Two restores of one home exclude each other (a lock on the folder above).
 *
 * What it does not do: stop a process that opens the home in the very moment of the exchange.
 *
 * Tests: tests/contract/test_backup_restore.c, tests/crash/test_backup_moments.c,
 * tests/torture/test_backup_faults.c.
 */
#include "backup/backup_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define NOTE ".restored"
#define NAME_BYTES (NAME_MAX + 1)

struct restore {
	const kp_backup_restore_options *options;
	const char *backup, *target;
	char above[PATH_MAX];                                        /* the folder of the home */
	char home[NAME_BYTES], making[NAME_BYTES], made[NAME_BYTES]; /* names in it */
	char aside[NAME_BYTES];
	int above_fd, new_fd, data_fd;
	kp_manifest manifest;
	int64_t done_bytes;
	kp_backup_restore_result result;
};

static bool is_there(int folder, const char *name)
{
	struct stat st;

	return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool has_note(const struct restore *restore, const char *name)
{
	char path[NAME_BYTES + sizeof NOTE];

	(void)snprintf(path, sizeof path, "%s/" NOTE, name);
	return is_there(restore->above_fd, path);
}

static bool is_top_entry(void *ctx, const char *path, const char *name, bool is_folder)
{
	(void)ctx, (void)is_folder;
	return strcmp(path, name) != 0;
}

/* ---------------------------------------------------------------- names */

static keep_status find_names(struct restore *restore, keep_error *err)
{
	size_t len = strlen(restore->target), split;

	while (len > 1 && restore->target[len - 1] == '/')
		len--;
	for (split = len; split > 0 && restore->target[split - 1] != '/';)
		split--;
	/* room for what is put behind it */
	if (len == split || len - split + 48 > NAME_MAX || len + 64 >= PATH_MAX)
		return kp_fail(err, KEEP_INVALID, "'%.100s' cannot be a home", restore->target);
	(void)snprintf(restore->above, sizeof restore->above, "%.*s",
		       split > 1 ? (int)split - 1 : 1, split ? restore->target : ".");
	(void)snprintf(restore->home, NAME_BYTES, "%.*s", (int)(len - split),
		       restore->target + split);
	if (strcmp(restore->home, ".") == 0 || strcmp(restore->home, "..") == 0)
		return kp_fail(err, KEEP_INVALID, "a home is restored by its name, not by '%s'",
			       restore->home);
	(void)snprintf(restore->making, NAME_BYTES, "%.200s.restoring", restore->home);
	(void)snprintf(restore->made, NAME_BYTES, "%.200s.restored", restore->home);
	return KEEP_OK;
}

static keep_status lock_above(struct restore *restore, keep_error *err)
{
	keep_status status = kp_folder_open(AT_FDCWD, restore->above, &restore->above_fd, err);

	if (status != KEEP_OK || flock(restore->above_fd, LOCK_EX | LOCK_NB) == 0)
		return status;
	return errno == EWOULDBLOCK
		       ? kp_fail(err, KEEP_BUSY, "another restore beside '%s' is under way",
				 restore->home)
		       : kp_fail_errno(err, errno, "%s", restore->above);
}

/* "<home>.before-restore-20260411T171821Z", the first that is not there. */
static keep_status find_aside(struct restore *restore, keep_error *err)
{
	char text[KEEP_TIME_TEXT_SIZE], stamp[24];
	keep_status status = keep_time_format(kp_clock_ms(), text, err);
	size_t len = 0;

	for (size_t i = 0; status == KEEP_OK && i < 19; i++)
		if (text[i] != '-' && text[i] != ':')
			stamp[len++] = text[i];
	stamp[len] = '\0';
	for (int number = 1; status == KEEP_OK && number < 1000; number++) {
		char suffix[8] = "";

		if (number > 1)
			(void)snprintf(suffix, sizeof suffix, "-%d", number);
		(void)snprintf(restore->aside, NAME_BYTES, "%.200s.before-restore-%sZ%s",
			       restore->home, stamp, suffix);
		if (!is_there(restore->above_fd, restore->aside))
			return KEEP_OK;
	}
	return status == KEEP_OK ? kp_fail(err, KEEP_FULL, "%s exists already", restore->aside)
				 : status;
}

/* ---------------------------------------------------------------- what is at the place */

static keep_status is_empty_target(struct restore *restore, bool *exists, bool *is_empty,
				   keep_error *err)
{
	kp_tree tree;
	int fd = -1;
	keep_status status = kp_file_open(restore->above_fd, restore->home,
					  O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &fd, err);

	*exists = status != KEEP_NOT_FOUND;
	*is_empty = true;
	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status == KEEP_OK)
		status = kp_tree_read(fd, is_top_entry, NULL, &tree, err);
	kp_file_close(&fd);
	if (status != KEEP_OK)
		return kp_prefix(err, status, "%s", restore->target);
	*is_empty = tree.count == 0 && tree.strange_count == 0;
	kp_tree_release(&tree);
	return KEEP_OK;
}

static bool skip_backups(void *ctx, const char *path, const char *name, bool is_folder)
{
	(void)ctx, (void)name;
	return is_folder && strcmp(path, KP_BACKUP_FOLDER) == 0;
}

/* Is a database of the home open in a living process? */
static keep_status check_unused(struct restore *restore, keep_error *err)
{
	char path[PATH_MAX];
	kp_tree tree;
	int fd = -1;
	keep_status status = kp_folder_open(restore->above_fd, restore->home, &fd, err);

	if (status == KEEP_OK)
		status = kp_tree_read(fd, skip_backups, NULL, &tree, err);
	kp_file_close(&fd);
	if (status != KEEP_OK)
		return status;
	for (size_t i = 0; i < tree.count && status == KEEP_OK; i++) {
		const kp_tree_entry *entry = &tree.entries[i];
		bool is_used = false;
		size_t len = strlen(entry->path);

		if (!S_ISREG(entry->mode) || entry->stamp.size < 512 || len < 4 ||
		    (strcmp(entry->path + len - 3, ".db") != 0 && !strstr(entry->path, ".sqlite")))
			continue;
		if (snprintf(path, sizeof path, "%s/%s", restore->target, entry->path) >=
		    (int)sizeof path)
			continue;
		if (kp_sqlite_is_used(path, &is_used, NULL) == KEEP_OK && is_used)
			status = kp_fail(err, KEEP_BUSY,
					 "%s: a process has it open; end it before its home is "
					 "restored",
					 path);
	}
	kp_tree_release(&tree);
	return status;
}

/* ---------------------------------------------------------------- making the new home */

static keep_status copy_stream(int fd, kp_sink *sink, int64_t *size, keep_error *err)
{
	size_t got = KP_COPY_BLOCK;
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && got == KP_COPY_BLOCK) {
		status = kp_file_read_at(fd, kp_sink_block(sink), KP_COPY_BLOCK, *size, &got, err);
		if (status == KEEP_OK)
			status = kp_sink_put(sink, got, err);
		*size += (int64_t)got;
	}
	return status;
}

/* Takes `fd` over; the new file is synced. */
static keep_status copy_to(struct restore *restore, int *fd, const char *path, int64_t guess,
			   unsigned mode, char sha256[KP_HEX_SIZE], keep_error *err)
{
	kp_sink sink;
	int64_t size = 0;
	int made = -1;
	keep_status status = kp_sink_open(&sink, restore->new_fd, path, guess, err);

	if (status == KEEP_OK) {
		status = copy_stream(*fd, &sink, &size, err);
		if (status == KEEP_OK)
			status = kp_sink_finish(&sink, sha256, err);
		else
			kp_sink_close(&sink);
	}
	kp_file_close(fd);
	if (status == KEEP_OK)
		status = kp_file_open(restore->new_fd, path, O_RDONLY | O_NOFOLLOW, 0, &made, err);
	if (status == KEEP_OK && fchmod(made, (mode_t)(mode & 0777)) != 0)
		status = kp_fail_errno(err, errno, "%s", path);
	if (status == KEEP_OK)
		status = kp_file_sync(made, err);
	kp_file_close(&made);
	return status;
}

static keep_status restore_file(struct restore *restore, const kp_manifest_file *file,
				keep_error *err)
{
	const kp_backup_restore_options *options = restore->options;
	char sha256[KP_HEX_SIZE] = "";
	int fd = -1;
	keep_status status = kp_file_open_below(restore->data_fd, file->path, &fd, err);

	if (status == KEEP_OK)
		status = copy_to(restore, &fd, file->path, file->size, file->mode, sha256, err);
	if (status == KEEP_OK && strcmp(sha256, file->sha256) != 0)
		status = kp_fail(err, KEEP_CORRUPT, "%s: it changed after it was verified",
				 file->path);
	restore->done_bytes += file->size;
	if (options->progress)
		options->progress(options->progress_ctx, restore->done_bytes,
				  restore->manifest.size_bytes);
	return status == KEEP_OK && kp_is_cancelled(options->cancelled) ? kp_fail_cancelled(err)
									: status;
}

/* Those of an object store's copy are not in its folders. */
static keep_status make_folders(struct restore *restore, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < restore->manifest.folder_count && status == KEEP_OK; i++) {
		status = kp_folder_make(restore->new_fd, restore->manifest.folders[i].path, 0700,
					err);
		if (status == KEEP_CONFLICT)
			status = KEEP_OK;
	}
	return status;
}

/* The deepest first: their permissions may forbid what was done in them. */
static keep_status finish_folders(struct restore *restore, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = restore->manifest.folder_count; i-- > 0 && status == KEEP_OK;) {
		const kp_manifest_folder *folder = &restore->manifest.folders[i];
		int fd = -1;

		status = kp_folder_open(restore->new_fd, folder->path, &fd, err);
		if (status == KEEP_OK && fchmod(fd, (mode_t)(folder->mode & 0777)) != 0)
			status = kp_fail_errno(err, errno, "%s", folder->path);
		if (status == KEEP_OK)
			status = kp_file_sync(fd, err);
		kp_file_close(&fd);
	}
	return status;
}

static keep_status carry(struct restore *restore, keep_error *err)
{
	keep_status status = KEEP_OK;
	int old = -1;

	if (kp_folder_open(restore->above_fd, restore->home, &old, NULL) != KEEP_OK)
		return KEEP_OK;
	for (size_t i = 0; i < restore->options->carried_count && status == KEEP_OK; i++) {
		const char *name = restore->options->carried[i];
		char sha256[KP_HEX_SIZE];
		struct stat st;
		int fd = -1;

		if (fstatat(old, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
		    is_there(restore->new_fd, name))
			continue;
		status = kp_file_open(old, name, O_RDONLY | O_NOFOLLOW, 0, &fd, err);
		if (status == KEEP_OK)
			status = copy_to(restore, &fd, name, st.st_size, st.st_mode, sha256, err);
	}
	kp_file_close(&old);
	return status;
}

static keep_status write_note(struct restore *restore, keep_error *err)
{
	int fd = -1;
	keep_status status = kp_file_open(
		restore->new_fd, NOTE, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_append(fd, keep_bytes_of(restore->aside), err);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	return status;
}

static keep_status fill(struct restore *restore, keep_error *err)
{
	keep_status status = make_folders(restore, err);

	for (size_t i = 0; i < restore->manifest.count && status == KEEP_OK; i++)
		status = restore_file(restore, &restore->manifest.files[i], err);
	kp_moment("restore.copied");
	if (status == KEEP_OK)
		status = carry(restore, err);
	if (status == KEEP_OK)
		status = finish_folders(restore, err);
	if (status == KEEP_OK)
		status = write_note(restore, err);
	if (status == KEEP_OK)
		status = kp_file_sync(restore->new_fd, err);
	kp_moment("restore.synced");
	if (status == KEEP_OK)
		status = kp_file_rename(restore->above_fd, restore->making, restore->above_fd,
					restore->made, err);
	return status == KEEP_OK ? kp_file_sync(restore->above_fd, err) : status;
}

/* ---------------------------------------------------------------- putting it at its place */

static keep_status exchange(struct restore *restore, keep_error *err)
{
	int above = restore->above_fd;
	keep_status status;

	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "cannot exchange %s", restore->home);
	if (renameat2(above, restore->made, above, restore->home, RENAME_EXCHANGE) == 0)
		return KEEP_OK;
	if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
		return kp_fail_errno(err, errno, "cannot exchange %s", restore->home);
	status = kp_file_rename(above, restore->home, above, restore->aside, err);
	kp_moment("restore.between");
	return status == KEEP_OK ? kp_file_rename(above, restore->made, above, restore->home, err)
				 : status;
}

/* Bring back what the old home's folder has of backups. */
static keep_status move_backups(struct restore *restore, keep_error *err)
{
	char from[NAME_BYTES + 16], to[NAME_BYTES + 16];

	(void)snprintf(from, sizeof from, "%s/" KP_BACKUP_FOLDER, restore->aside);
	(void)snprintf(to, sizeof to, "%s/" KP_BACKUP_FOLDER, restore->home);
	if (!is_there(restore->above_fd, from) || is_there(restore->above_fd, to))
		return KEEP_OK;
	return kp_file_rename(restore->above_fd, from, restore->above_fd, to, err);
}

static void tell_places(struct restore *restore)
{
	char backups[NAME_BYTES + 16];

	(void)snprintf(backups, sizeof backups, "%s/" KP_BACKUP_FOLDER, restore->home);
	if (is_there(restore->above_fd, restore->aside))
		(void)snprintf(restore->result.set_aside, PATH_MAX, "%.3500s/%.255s",
			       restore->above, restore->aside);
	if (is_there(restore->above_fd, backups))
		(void)snprintf(restore->result.backups, PATH_MAX, "%.3500s/%.255s", restore->above,
			       backups);
}

/* The new home is at its place, and has the note. */
static keep_status finish(struct restore *restore, keep_error *err)
{
	char note[NAME_BYTES + sizeof NOTE];
	keep_status status = KEEP_OK;

	kp_moment("restore.placed");
	if (is_there(restore->above_fd, restore->made) && !has_note(restore, restore->made))
		status = kp_file_rename(restore->above_fd, restore->made, restore->above_fd,
					restore->aside, err);
	kp_moment("restore.aside");
	if (status == KEEP_OK)
		status = move_backups(restore, err);
	if (status == KEEP_OK)
		status = kp_file_sync(restore->above_fd, err);
	kp_moment("restore.moved");
	(void)snprintf(note, sizeof note, "%s/" NOTE, restore->home);
	if (status == KEEP_OK)
		status = kp_file_unlink(restore->above_fd, note, 0, err);
	if (status == KEEP_OK)
		status = kp_folder_sync(restore->above_fd, restore->home, err);
	tell_places(restore);
	return status;
}

static keep_status place(struct restore *restore, bool exists, bool is_empty, keep_error *err)
{
	keep_status status;

	if (exists && !is_empty)
		status = exchange(restore, err);
	else /* an empty folder is replaced by a rename */
		status = kp_file_rename(restore->above_fd, restore->made, restore->above_fd,
					restore->home, err);
	return status == KEEP_OK ? kp_file_sync(restore->above_fd, err) : status;
}

/* ---------------------------------------------------------------- after a kill */

/* Read the old home's name of the note in `name`. */
static keep_status read_note(struct restore *restore, const char *name, keep_error *err)
{
	char path[NAME_BYTES + sizeof NOTE];
	keep_buffer text = KEEP_BUFFER_INIT;
	int fd = -1;
	keep_status status;

	(void)snprintf(path, sizeof path, "%s/" NOTE, name);
	status = kp_file_open(restore->above_fd, path, O_RDONLY | O_NOFOLLOW, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_read_all(fd, NAME_MAX, &text, err);
	kp_file_close(&fd);
	if (status == KEEP_OK && (text.len == 0 || memchr(text.data, '/', text.len)))
		status = kp_fail(err, KEEP_CORRUPT, "%s: it names no folder", path);
	if (status == KEEP_OK)
		(void)snprintf(restore->aside, NAME_BYTES, "%.*s", (int)text.len, text.data);
	keep_buffer_release(&text);
	return status;
}

/* Was one killed after the new home was whole and the old one had left its place? */
static keep_status finish_earlier(struct restore *restore, keep_error *err)
{
	bool is_placed = has_note(restore, restore->home);
	bool is_between =
		!is_there(restore->above_fd, restore->home) && has_note(restore, restore->made);
	keep_status status;

	if (!is_placed && !is_between)
		return KEEP_OK;
	status = read_note(restore, is_placed ? restore->home : restore->made, err);
	if (status == KEEP_OK && is_between)
		status = place(restore, false, true, err);
	if (status == KEEP_OK)
		status = finish(restore, err);
	restore->result.was_finished = status == KEEP_OK;
	return status;
}

static keep_status remove_left(struct restore *restore, keep_error *err)
{
	keep_status status = kp_folder_remove(restore->above_fd, restore->making, err);

	if (status != KEEP_OK || !is_there(restore->above_fd, restore->made))
		return status;
	if (!has_note(restore, restore->made))
		return kp_fail(err, KEEP_CONFLICT, "%s/%s is in the way", restore->above,
			       restore->made);
	return kp_folder_remove(restore->above_fd, restore->made, err);
}

/* ---------------------------------------------------------------- all of it */

static keep_status make_new(struct restore *restore, keep_error *err)
{
	int folder = -1;
	keep_status status = kp_folder_open(AT_FDCWD, restore->backup, &folder, err);

	if (status == KEEP_OK)
		status = kp_manifest_read(folder, &restore->manifest, err);
	if (status == KEEP_OK)
		status = kp_folder_open(folder, KP_BACKUP_DATA, &restore->data_fd, err);
	kp_file_close(&folder);
	if (status == KEEP_OK)
		status = remove_left(restore, err);
	if (status == KEEP_OK)
		status = find_aside(restore, err);
	if (status == KEEP_OK)
		status = kp_folder_need(restore->above_fd, restore->making, &restore->new_fd, err);
	if (status == KEEP_OK)
		status = fill(restore, err);
	restore->result.file_count = (int64_t)restore->manifest.count;
	restore->result.size_bytes = restore->manifest.size_bytes;
	return status;
}

static keep_status check_target(struct restore *restore, bool *exists, bool *is_empty,
				keep_error *err)
{
	keep_status status = is_empty_target(restore, exists, is_empty, err);

	if (status != KEEP_OK || !*exists || *is_empty)
		return status;
	if (!restore->options->over)
		return kp_fail(err, KEEP_CONFLICT, "%s is not empty", restore->target);
	return restore->options->force ? KEEP_OK : check_unused(restore, err);
}

static keep_status restore_all(struct restore *restore, keep_error *err)
{
	const kp_backup_restore_options *options = restore->options;
	kp_backup_verify_options verify = {.cancelled = options->cancelled};
	bool exists = false, is_empty = true;
	keep_status status = check_target(restore, &exists, &is_empty, err);

	if (status == KEEP_OK)
		status = kp_backup_verify(restore->backup, &verify, err);
	if (status == KEEP_OK)
		status = make_new(restore, err);
	if (status == KEEP_OK && options->over && !options->force && exists && !is_empty)
		status = check_unused(restore, err); /* the copying took its time */
	if (status == KEEP_OK)
		status = place(restore, exists, is_empty, err);
	if (status == KEEP_OK)
		return finish(restore, err);
	if (restore->above_fd >= 0 && !has_note(restore, restore->home) &&
	    is_there(restore->above_fd, restore->home) == exists &&
	    remove_left(restore, NULL) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "a restore that failed leaves '%s'", restore->making);
	return status;
}

keep_status kp_backup_restore(const char *backup, const char *target,
			      const kp_backup_restore_options *options,
			      kp_backup_restore_result *result, keep_error *err)
{
	static const kp_backup_restore_options none = {.over = false};
	struct restore *restore = kp_alloc_zero(sizeof *restore);
	keep_status status = KEEP_OK;

	if (result)
		*result = (kp_backup_restore_result){.set_aside = ""};
	if (!restore)
		return kp_fail_memory(err, "a restore");
	restore->options = options ? options : &none;
	restore->backup = backup;
	restore->target = target;
	restore->above_fd = restore->new_fd = restore->data_fd = -1;
	for (size_t i = 0; i < restore->options->carried_count && status == KEEP_OK; i++)
		if (strchr(restore->options->carried[i], '/'))
			status =
				kp_fail(err, KEEP_INVALID, "a file that is carried over has a '/'");
	if (status == KEEP_OK)
		status = find_names(restore, err);
	if (status == KEEP_OK)
		status = lock_above(restore, err);
	if (status == KEEP_OK)
		status = finish_earlier(restore, err);
	if (status == KEEP_OK && !restore->result.was_finished)
		status = restore_all(restore, err);
	if (status == KEEP_OK && result)
		*result = restore->result;
	kp_manifest_release(&restore->manifest);
	kp_file_close(&restore->data_fd);
	kp_file_close(&restore->new_fd);
	kp_file_close(&restore->above_fd);
	kp_free(restore);
	return status;
}
