/*
 * backup_folder.c - folders of backups: making, syncing and removing them, and their lock.
 *
 * Invariants:
 *   1. Who makes, rotates or cleans holds an open-file-description lock on backups/.lock; the
 *      kernel drops it when its process dies. So what is named .partial-… or .removing-… under the
 *      lock was left by a dead one.
 *   2. A removal follows no link.
 *
 * Tests: tests/contract/test_backup_snapshot.c, tests/crash/test_backup_moments.c.
 */
#include "backup/backup_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME ".lock"

keep_status kp_folder_open(int parent, const char *name, int *fd, keep_error *err)
{
	return kp_file_open(parent, name, O_RDONLY | O_DIRECTORY, 0, fd, err);
}

keep_status kp_folder_need(int parent, const char *name, int *fd, keep_error *err)
{
	keep_status status = kp_folder_make(parent, name, 0700, err);

	if (status == KEEP_CONFLICT)
		status = KEEP_OK;
	return status == KEEP_OK
		       ? kp_file_open(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, fd, err)
		       : status;
}

keep_status kp_file_open_below(int folder, const char *path, int *fd, keep_error *err)
{
	char name[NAME_MAX + 1];
	int at = -1;
	keep_status status = KEEP_OK;

	*fd = -1;
	for (const char *slash; status == KEEP_OK && (slash = strchr(path, '/'));
	     path = slash + 1) {
		int below = -1;

		if (slash - path > NAME_MAX) {
			status = kp_fail(err, KEEP_INVALID, "a name in a path is too long");
			break;
		}
		memcpy(name, path, (size_t)(slash - path));
		name[slash - path] = '\0';
		status = kp_file_open(at >= 0 ? at : folder, name,
				      O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &below, err);
		kp_file_close(&at);
		at = below;
	}
	if (status == KEEP_OK)
		status = kp_file_open(at >= 0 ? at : folder, path,
				      O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, fd, err);
	kp_file_close(&at);
	return status;
}

keep_status kp_folder_sync(int parent, const char *name, keep_error *err)
{
	int fd = -1;
	keep_status status = kp_folder_open(parent, name, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	return status;
}

/* ---------------------------------------------------------------- removing */

static bool is_folder(int parent, const char *name, bool *is_there)
{
	struct stat st;

	*is_there = fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	return *is_there && S_ISDIR(st.st_mode);
}

/* Files first, then folders from the longest path: strcmp has a folder before what is in it. */
static keep_status empty_folder(int folder, keep_error *err)
{
	kp_tree tree;
	keep_status status = kp_tree_read(folder, NULL, NULL, &tree, err);

	if (status != KEEP_OK)
		return status;
	for (size_t i = tree.count; i-- > 0 && status == KEEP_OK;)
		status = kp_file_unlink(folder, tree.entries[i].path,
					S_ISDIR(tree.entries[i].mode) ? AT_REMOVEDIR : 0, err);
	kp_tree_release(&tree);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

keep_status kp_folder_remove(int parent, const char *name, keep_error *err)
{
	bool is_there = false;
	int fd = -1;
	keep_status status;

	if (!is_folder(parent, name, &is_there))
		return is_there ? kp_file_unlink(parent, name, 0, err) : KEEP_OK;
	status = kp_folder_open(parent, name, &fd, err);
	if (status == KEEP_OK)
		status = empty_folder(fd, err);
	kp_file_close(&fd);
	return status == KEEP_OK ? kp_file_unlink(parent, name, AT_REMOVEDIR, err) : status;
}

/* ---------------------------------------------------------------- the lock */

keep_status kp_backups_lock(int backups, int *fd, keep_error *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	keep_status status =
		kp_file_open(backups, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, fd, err);

	if (status == KEEP_OK && fcntl(*fd, F_OFD_SETLK, &lock) != 0) {
		status = errno == EAGAIN || errno == EACCES
				 ? kp_fail(err, KEEP_BUSY,
					   "another backup of this home is under way")
				 : kp_fail_errno(err, errno, "cannot lock the backups");
		kp_file_close(fd);
	}
	return status;
}

static bool is_left(const char *name)
{
	return strncmp(name, ".partial-", 9) == 0 || strncmp(name, ".removing-", 10) == 0;
}

/* All but what is left, and what is in it. */
static bool skip_others(void *ctx, const char *path, const char *name, bool is_one)
{
	(void)ctx, (void)is_one;
	return strcmp(path, name) != 0 || !is_left(name);
}

keep_status kp_backups_clean(int backups, keep_error *err)
{
	kp_tree tree;
	keep_status status = kp_tree_read(backups, skip_others, NULL, &tree, err);

	if (status != KEEP_OK)
		return status;
	for (size_t i = 0; i < tree.count && status == KEEP_OK; i++)
		status = kp_folder_remove(backups, tree.entries[i].path, err);
	kp_tree_release(&tree);
	return status;
}

bool kp_is_cancelled(const _Atomic int *cancelled)
{
	return cancelled && atomic_load(cancelled) != 0;
}

keep_status kp_fail_cancelled(keep_error *err)
{
	return kp_fail(err, KEEP_BUSY, "it was cancelled");
}
