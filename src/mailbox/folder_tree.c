/*
 * folder_tree.c - removing and copying a folder that an agent may write to at the same time.
 *
 * Every step goes from the descriptor of a folder to a name in it and follows no link, so that
 * nothing outside of the tree is removed or read, whatever is put there meanwhile.
 *
 * Invariants:
 *   1. A link is removed, never followed; it is not copied.
 *   2. At most DEPTH folders deep: what an agent has nested deeper is flattened before it is
 *      removed (moved up to the top), and is not copied.
 *   3. Copied are plain files of at most KEEP_MAILBOX_FILE_MAX bytes; what is left out is logged.
 *
 * Tests: tests/contract/test_mailbox_life.c, tests/contract/test_mailbox_export.c.
 */
#include "mailbox/mailbox_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH = 8, PIECE = 1 << 16 };

static keep_status open_folder(int parent, const char *name, int *out, keep_error *err)
{
	return kp_file_open(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK, 0, out,
			    err);
}

/* A stream of the names in `folder`, with a descriptor of its own. */
static keep_status open_names(int folder, DIR **out, keep_error *err)
{
	int fd = -1;
	keep_status status = kp_file_open(folder, ".", O_RDONLY | O_DIRECTORY, 0, &fd, err);

	if (status != KEEP_OK)
		return status;
	*out = fdopendir(fd);
	if (*out)
		return KEEP_OK;
	status = kp_fail_errno(err, errno, "read a folder");
	kp_file_close(&fd);
	return status;
}

/* The next name, but "." and ".."; NULL at the end. */
static const char *next_name(DIR *names)
{
	const struct dirent *entry;

	do {
		entry = readdir(names);
	} while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
	return entry ? entry->d_name : NULL;
}

static bool is_folder(int parent, const char *name)
{
	struct stat st;

	return fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* ---------------------------------------------------------------- removing */

/* Gone meanwhile is gone. */
static keep_status unlink_name(int parent, const char *name, int flags, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_file_unlink(parent, name, flags, &why);

	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

static keep_status remove_folder(int top, int parent, const char *name, int depth, keep_error *err);

/* Invariant 2: to the top, under a name of its own, where a later round finds it. */
static keep_status lift(int top, int parent, const char *name, keep_error *err)
{
	char lifted[KP_UUID_TEXT_SIZE + 1] = ".";
	keep_status status = kp_uuid_make(lifted + 1, err);

	return status == KEEP_OK ? kp_file_rename(parent, name, top, lifted, err) : status;
}

static keep_status remove_name(int top, int parent, const char *name, int depth, keep_error *err)
{
	if (!is_folder(parent, name))
		return unlink_name(parent, name, 0, err);
	if (depth >= DEPTH)
		return lift(top, parent, name, err);
	return remove_folder(top, parent, name, depth, err);
}

static keep_status remove_names(int top, int folder, int depth, keep_error *err)
{
	DIR *names = NULL;
	const char *name;
	keep_status status = open_names(folder, &names, err);

	while (status == KEEP_OK && (name = next_name(names)))
		status = remove_name(top, folder, name, depth + 1, err);
	if (names)
		(void)closedir(names);
	return status;
}

static keep_status remove_folder(int top, int parent, const char *name, int depth, keep_error *err)
{
	int folder = -1;
	keep_status status = open_folder(parent, name, &folder, err);

	if (status == KEEP_OK)
		status = remove_names(top >= 0 ? top : folder, folder, depth, err);
	kp_file_close(&folder);
	return status == KEEP_OK ? unlink_name(parent, name, AT_REMOVEDIR, err) : status;
}

keep_status kp_tree_remove(int parent, const char *name, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	/* Not empty yet: something was lifted, or an agent that still runs made something. */
	for (int round = 0; round < 1000; round++) {
		if (!is_folder(parent, name))
			return unlink_name(parent, name, 0, err);
		status = remove_folder(-1, parent, name, 0, &why);
		if (status == KEEP_OK)
			return KEEP_OK;
		if (why.native != ENOTEMPTY && why.native != EEXIST)
			break;
	}
	if (err)
		*err = why;
	return status;
}

void kp_tree_drop(const char *path)
{
	keep_error why = KEEP_ERROR_INIT;

	if (kp_tree_remove(AT_FDCWD, path, &why) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "it is left: %s", why.message);
}

/* ---------------------------------------------------------------- copying */

static keep_status copy_bytes(int from, int to, keep_error *err)
{
	char *piece = kp_alloc(PIECE);
	int64_t at = 0;
	size_t got = PIECE;
	keep_status status = piece ? KEEP_OK : kp_fail_memory(err, "a copy");

	while (status == KEEP_OK && got == PIECE && at <= KEEP_MAILBOX_FILE_MAX) {
		status = kp_file_read_at(from, piece, PIECE, at, &got, err);
		if (status == KEEP_OK)
			status = kp_file_append(to, (keep_bytes){piece, got}, err);
		at += (int64_t)got;
	}
	if (status == KEEP_OK && at > KEEP_MAILBOX_FILE_MAX)
		status = kp_fail(err, KEEP_FULL, "a file grew over %d bytes while it was copied",
				 KEEP_MAILBOX_FILE_MAX);
	kp_free(piece);
	return status;
}

static keep_status copy_file(int from, const char *name, int to, keep_error *err)
{
	int in = -1, out = -1;
	struct stat st;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status =
		kp_file_open(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &in, &why);

	if (status != KEEP_OK && status != KEEP_NO_MEMORY) {
		kp_log(KEEP_LOG_WARNING, "not copied: %s", why.message);
		return KEEP_OK;
	}
	if (status == KEEP_OK &&
	    (fstat(in, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > KEEP_MAILBOX_FILE_MAX)) {
		kp_log(KEEP_LOG_WARNING, "'%s' was not copied: no plain file, or too large", name);
		kp_file_close(&in);
		return KEEP_OK;
	}
	if (status != KEEP_OK && err)
		*err = why;
	if (status == KEEP_OK)
		status = kp_file_open(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644,
				      &out, err);
	if (status == KEEP_OK)
		status = copy_bytes(in, out, err);
	if (status == KEEP_OK)
		status = kp_file_sync(out, err);
	kp_file_close(&in);
	kp_file_close(&out);
	return status;
}

static keep_status copy_folder(int from_parent, int to_parent, const char *name, int depth,
			       keep_error *err)
{
	int from = -1, to = -1;
	DIR *names = NULL;
	const char *found;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = open_folder(from_parent, name, &from, &why);

	if (status != KEEP_OK) { /* a link, or gone meanwhile */
		kp_log(KEEP_LOG_WARNING, "not copied: %s", why.message);
		return KEEP_OK;
	}
	status = kp_folder_make(to_parent, name, 0755, err);
	if (status == KEEP_OK)
		status = open_folder(to_parent, name, &to, err);
	if (status == KEEP_OK)
		status = open_names(from, &names, err);
	while (status == KEEP_OK && (found = next_name(names))) {
		struct stat st;

		/* half written (attachments.c), or gone */
		if ((found[0] == '.' && strlen(found) == KP_UUID_TEXT_SIZE) ||
		    fstatat(from, found, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (S_ISREG(st.st_mode))
			status = copy_file(from, found, to, err);
		else if (S_ISDIR(st.st_mode) && depth < DEPTH)
			status = copy_folder(from, to, found, depth + 1, err);
		else
			kp_log(KEEP_LOG_WARNING, "'%s' was not copied: no file", found);
	}
	if (status == KEEP_OK)
		status = kp_file_sync(to, err);
	if (names)
		(void)closedir(names);
	kp_file_close(&from);
	kp_file_close(&to);
	return status;
}

keep_status kp_tree_copy(const char *from, const char *to, const char *name, keep_error *err)
{
	int from_parent = -1, to_parent = -1;
	struct stat st;
	keep_status status =
		kp_file_open(AT_FDCWD, from, O_RDONLY | O_DIRECTORY, 0, &from_parent, err);

	if (status == KEEP_OK && fstatat(from_parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		status = kp_file_open(AT_FDCWD, to, O_RDONLY | O_DIRECTORY, 0, &to_parent, err);
		if (status == KEEP_OK)
			status = copy_folder(from_parent, to_parent, name, 0, err);
	}
	kp_file_close(&from_parent);
	kp_file_close(&to_parent);
	return status;
}
