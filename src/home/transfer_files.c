/*
 * transfer_files.c - what a transfer asks of a folder home's files besides its databases' rows.
 *
 * Invariants:
 *   1. No link is followed, and nothing is opened but folders: a session's folder is writable for
 *      an agent.
 *   2. The fingerprint is another one after any commit to a database below the folder: each
 *      changes its file or the log beside it. What readers leave (-shm, an empty log) is no part.
 *
 * Tests: tests/contract/test_transfer_home.c.
 */
#include "home/home_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 8 };

/* ---------------------------------------------------------------- walking */

/* What is done with a file that is found; `way` is its path below the walk's beginning. */
typedef void found_file(void *ctx, const char *way, const struct stat *st);

static keep_status open_folder(int parent, const char *name, DIR **out, keep_error *err)
{
	int fd = -1;
	keep_status status =
		kp_file_open(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &fd, err);

	*out = NULL;
	if (status != KEEP_OK)
		return status;
	*out = fdopendir(fd);
	if (*out)
		return KEEP_OK;
	status = kp_fail_errno(err, errno, "read the folder '%s'", name);
	kp_file_close(&fd);
	return status;
}

static keep_status walk(int parent, const char *name, const char *way, int depth, found_file *found,
			void *ctx, keep_error *err);

static keep_status visit(int folder, const char *name, const char *way, int depth,
			 found_file *found, void *ctx, keep_error *err)
{
	char below[PATH_MAX];
	struct stat st;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return KEEP_OK;
	if (snprintf(below, sizeof below, "%s/%s", way, name) >= (int)sizeof below)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", below);
	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "look at '%s'", below);
	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? KEEP_OK : kp_fail_errno(err, errno, "look at '%s'", below);
	if (S_ISREG(st.st_mode))
		found(ctx, below, &st);
	if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
		return walk(folder, name, below, depth + 1, found, ctx, err);
	return KEEP_OK;
}

/* NOT_FOUND is no failure: somebody may tidy up. The depth is bounded. */
static keep_status walk(int parent, const char *name, const char *way, int depth, found_file *found,
			void *ctx, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	DIR *folder = NULL;
	const struct dirent *entry;
	keep_status status = open_folder(parent, name, &folder, &why);

	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status != KEEP_OK)
		return kp_fail(err, status, "%s", why.message);
	while (status == KEEP_OK) {
		errno = 0;
		entry = readdir(folder);
		if (!entry && errno)
			status = kp_fail_errno(err, errno, "read the folder '%s'", way);
		if (!entry)
			break;
		status = visit(dirfd(folder), entry->d_name, way, depth, found, ctx, err);
	}
	(void)closedir(folder);
	return status;
}

/* ---------------------------------------------------------------- the fingerprint */

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static void add_database(void *ctx, const char *way, const struct stat *st)
{
	static const unsigned char key[16] = "keep transfer";
	uint64_t *sum = ctx;
	char text[PATH_MAX + 96];
	int len;

	if (!ends_with(way, ".db") && !(ends_with(way, ".db-wal") && st->st_size > 0))
		return;
	len = snprintf(text, sizeof text, "%s:%llu:%lld:%lld:%ld", way,
		       (unsigned long long)st->st_ino, (long long)st->st_size,
		       (long long)st->st_mtim.tv_sec, (long)st->st_mtim.tv_nsec);
	*sum += kp_siphash(key, (keep_bytes){text, (size_t)len}); /* in any order */
}

keep_status kp_home_fingerprint(const kp_home_side *side, uint64_t *out, keep_error *err)
{
	static const char *const folders[] = {"engine", "gateway", "mailbox", "assistant"};
	keep_status status = KEEP_OK;

	*out = 0;
	for (size_t i = 0; i < KP_COUNT(folders) && status == KEEP_OK; i++)
		status = walk(side->fd, folders[i], folders[i], 0, add_database, out, err);
	return status;
}

/* ---------------------------------------------------------------- files of messages */

static void count_file(void *ctx, const char *way, const struct stat *st)
{
	int64_t *count = ctx;
	int steps = 0;

	(void)st;
	/* sessions/<agent group>/<session>/<box>/<message>/<name> */
	for (const char *at = way; *at; at++)
		steps += *at == '/';
	if (steps == 5 && (strstr(way, "/inbox/") || strstr(way, "/outbox/")))
		++*count;
}

keep_status kp_home_count_files(const kp_home_side *side, int64_t *out, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	int mailbox = -1;
	keep_status status =
		kp_file_open(side->fd, "mailbox", O_RDONLY | O_DIRECTORY, 0, &mailbox, &why);

	*out = 0;
	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status == KEEP_OK)
		status = walk(mailbox, "sessions", "sessions", 0, count_file, out, &why);
	kp_file_close(&mailbox);
	return status == KEEP_OK ? status : kp_fail(err, status, "%s", why.message);
}

keep_status kp_home_each_name(const char *path,
			      keep_status (*each)(void *ctx, const char *name, keep_error *err),
			      void *ctx, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	DIR *folder = NULL;
	const struct dirent *entry;
	keep_status status = open_folder(AT_FDCWD, path, &folder, &why);

	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status != KEEP_OK)
		return kp_fail(err, status, "%s", why.message);
	while (status == KEEP_OK) {
		errno = 0;
		entry = readdir(folder);
		if (!entry && errno)
			status = kp_fail_errno(err, errno, "read the folder '%s'", path);
		if (!entry)
			break;
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			status = each(ctx, entry->d_name, err);
	}
	(void)closedir(folder);
	return status;
}
