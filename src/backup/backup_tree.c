/*
 * backup_tree.c - all files below a folder, with what shows that one was not written.
 *
 * Invariants:
 *   1. No link is followed: each folder is opened relative to the one above it. Links, pipes,
 *      sockets, devices and what has a name that is not UTF-8 are counted, and not in the list.
 *   2. No file is opened, so that no lock on it is lost (sql/sqlite_files.h).
 *   3. What was there when reading began, and still is at its end, is in the list; also while
 *      others make and remove files.
 *   4. Depth and number are bounded: KP_TREE_DEPTH_MAX, KP_BACKUP_FILES_MAX.
 *
 * Tests: tests/contract/test_backup_snapshot.c, tests/torture/test_backup_faults.c.
 */
#include "backup/backup_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct walk {
	kp_tree *tree;
	kp_tree_skip *skipped;
	void *ctx;
};

static int64_t ns_of(const struct timespec *time)
{
	return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

kp_stamp kp_stamp_of(const struct stat *st)
{
	return (kp_stamp){
		.device = st->st_dev,
		.inode = st->st_ino,
		.size = st->st_size,
		.changed_ns = ns_of(&st->st_mtim),
		.status_ns = ns_of(&st->st_ctim),
	};
}

bool kp_stamp_equal(const kp_stamp *a, const kp_stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->changed_ns == b->changed_ns && a->status_ns == b->status_ns;
}

static keep_status add_entry(kp_tree *tree, const char *path, const struct stat *st,
			     keep_error *err)
{
	keep_bytes copy = {.data = NULL};
	keep_status status;

	if (tree->count == KP_BACKUP_FILES_MAX)
		return kp_fail(err, KEEP_FULL, "there are more than %d files", KP_BACKUP_FILES_MAX);
	if (tree->count == tree->capacity) {
		size_t capacity = tree->capacity ? 2 * tree->capacity : 256;
		kp_tree_entry *entries = kp_realloc(tree->entries, capacity * sizeof *entries);

		if (!entries)
			return kp_fail_memory(err, "a list of files");
		tree->entries = entries;
		tree->capacity = capacity;
	}
	status = kp_arena_copy(&tree->arena, keep_bytes_of(path), &copy, err);
	if (status == KEEP_OK)
		tree->entries[tree->count++] = (kp_tree_entry){
			.path = copy.data, .mode = st->st_mode, .stamp = kp_stamp_of(st)};
	return status;
}

static keep_status walk_folder(struct walk *walk, int folder, const char *prefix, int depth,
			       keep_error *err);

static keep_status take(struct walk *walk, int folder, const char *path, const struct stat *st,
			int depth, keep_error *err)
{
	bool is_folder = S_ISDIR(st->st_mode);
	keep_status status;

	if ((!S_ISREG(st->st_mode) && !is_folder) || !kp_text_is_storable(keep_bytes_of(path))) {
		walk->tree->strange_count++;
		return KEEP_OK;
	}
	status = add_entry(walk->tree, path, st, err);
	return status == KEEP_OK && is_folder ? walk_folder(walk, folder, path, depth + 1, err)
					      : status;
}

/* Takes `fd` over. */
static keep_status read_names(struct walk *walk, int *fd, const char *prefix, int depth,
			      keep_error *err)
{
	bool is_fault = kp_fault(KP_FAULT_FILE);
	DIR *names = is_fault ? NULL : fdopendir(*fd);
	keep_status status = KEEP_OK;
	struct dirent *name = NULL;

	if (!names) {
		status = kp_fail_errno(err, is_fault ? EIO : errno, "cannot read the folder %s",
				       prefix);
		kp_file_close(fd);
		return status;
	}
	while (status == KEEP_OK && (errno = 0, name = readdir(names))) {
		char path[PATH_MAX];
		struct stat st;

		if (strcmp(name->d_name, ".") == 0 || strcmp(name->d_name, "..") == 0)
			continue;
		if (snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "/" : "",
			     name->d_name) >= (int)sizeof path)
			status = kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long",
					 prefix);
		else if (fstatat(*fd, name->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue; /* it went */
		else if (walk->skipped &&
			 walk->skipped(walk->ctx, path, name->d_name, S_ISDIR(st.st_mode)))
			continue;
		else
			status = take(walk, *fd, path, &st, depth, err);
	}
	if (status == KEEP_OK && !name && errno != 0)
		status = kp_fail_errno(err, errno, "cannot read the folder %s", prefix);
	(void)closedir(names);
	*fd = -1;
	return status;
}

/* `prefix` is the path of the folder, and its last segment its name in `folder`. */
static keep_status walk_folder(struct walk *walk, int folder, const char *prefix, int depth,
			       keep_error *err)
{
	const char *slash = strrchr(prefix, '/');
	const char *name = *prefix == '\0' ? "." : slash ? slash + 1 : prefix;
	keep_error why = KEEP_ERROR_INIT;
	int fd = -1;
	keep_status status;

	if (depth > KP_TREE_DEPTH_MAX)
		return kp_fail(err, KEEP_FULL, "%s: folders lie deeper than %d", prefix,
			       KP_TREE_DEPTH_MAX);
	status = kp_file_open(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &fd, &why);
	if (status == KEEP_NOT_FOUND && depth > 0)
		return KEEP_OK; /* it went */
	if (status != KEEP_OK)
		return kp_fail(err, status, "%s", why.message);
	return read_names(walk, &fd, prefix, depth, err);
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const kp_tree_entry *)a)->path, ((const kp_tree_entry *)b)->path);
}

keep_status kp_tree_read(int folder, kp_tree_skip *skipped, void *ctx, kp_tree *out,
			 keep_error *err)
{
	struct walk walk = {.tree = out, .skipped = skipped, .ctx = ctx};
	keep_status status;

	*out = (kp_tree){.entries = NULL};
	status = walk_folder(&walk, folder, "", 0, err);
	if (status != KEEP_OK) {
		kp_tree_release(out);
		return status;
	}
	if (out->count > 0)
		qsort(out->entries, out->count, sizeof *out->entries, compare_entries);
	return KEEP_OK;
}

void kp_tree_release(kp_tree *tree)
{
	kp_arena_release(&tree->arena);
	kp_free(tree->entries);
	*tree = (kp_tree){.entries = NULL};
}

const kp_tree_entry *kp_tree_find(const kp_tree *tree, const char *path)
{
	kp_tree_entry key = {.path = path};

	return tree->count == 0
		       ? NULL
		       : bsearch(&key, tree->entries, tree->count, sizeof key, compare_entries);
}
