/*
 * backup_items.c - what a backup is to have, and what proves that a file is as it was copied.
 *
 * A file that was not written between its copying and the moment is in the copy as of the moment.
 * That it was not is told by its size, inode and times; for a database also by those of its log and
 * journal, which appear, grow or change with every commit.
 *
 *      STALE ──copied──► COPIED ──written──► STALE (before) or HELD (after the moment was taken)
 *                            └───went──────► GONE
 *
 * Invariants:
 *   1. A time says nothing when it is so young that another write may have the same one: the clock
 *      of a file system stands still for some milliseconds (YOUNG_NS). It is read from a file.
 *   2. A database is known by its header, whatever its name.
 *   3. What is named like a database's -wal, -shm, -journal, -guard or -notify is left out only
 *      beside that file.
 *   4. A plain file that went after the moment was taken stays in the backup: a row may name it.
 *
 * A file not named *.db or *.sqlite* is opened by ourselves to see its header; a database of
 * another name that this very process has open would lose its locks.
 *
 * Tests: tests/contract/test_backup_snapshot.c.
 */
#include "backup/backup_private.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define YOUNG_NS (INT64_C(20) * 1000000)
#define HOT_NS (INT64_C(2000) * 1000000)
enum { HOT_BYTES = 4 << 20, DATABASE_BYTES_MIN = 512 };

static const char magic[16] = "SQLite format 3";

static const kp_stamp absent = {.size = -1};

/* ---------------------------------------------------------------- names */

static bool ends_with(const char *text, const char *suffix)
{
	size_t len = strlen(text), tail = strlen(suffix);

	return len > tail && strcmp(text + len - tail, suffix) == 0;
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool skip_backups(void *ctx, const char *path, const char *name, bool is_folder)
{
	(void)ctx, (void)name;
	return is_folder && strcmp(path, KP_BACKUP_FOLDER) == 0;
}

static bool is_beside_database(const kp_tree *tree, const char *path)
{
	static const char *const suffixes[] = {"-wal", "-shm", "-journal", "-guard", "-notify"};
	char base[PATH_MAX];

	for (size_t i = 0; i < KP_COUNT(suffixes); i++) {
		if (!ends_with(path, suffixes[i]))
			continue;
		(void)snprintf(base, sizeof base, "%.*s", (int)(strlen(path) - strlen(suffixes[i])),
			       path);
		if (kp_tree_find(tree, base))
			return true;
	}
	return false;
}

/* "/vault.key.*" is of the path in the home, "*.vectors" of the end of a name, else the name. */
static bool is_meant(const char *pattern, const char *path)
{
	const char *name = name_of(path);

	if (pattern[0] == '/')
		return fnmatch(pattern + 1, path, FNM_PATHNAME) == 0;
	return pattern[0] == '*' ? ends_with(name, pattern + 1) : strcmp(name, pattern) == 0;
}

static bool is_left_out(const kp_backup_job *job, const kp_tree *tree, const char *path)
{
	const char *name = name_of(path);

	if (strncmp(name, ".bell-", 6) == 0 || strcmp(name, ".heartbeat") == 0)
		return true;
	for (size_t i = 0; i < job->options->left_out_count; i++)
		if (is_meant(job->options->left_out[i], path))
			return true;
	return is_beside_database(tree, path);
}

/* ---------------------------------------------------------------- headers */

static keep_status read_header(kp_backup_job *job, const char *path, char header[sizeof magic],
			       keep_error *err)
{
	kp_sqlite_raw raw = KP_SQLITE_RAW_INIT;
	char full[PATH_MAX];
	size_t got = 0;
	int fd = -1;
	keep_status status;

	if (!ends_with(path, ".db") && !strstr(name_of(path), ".sqlite")) {
		status = kp_file_open_below(job->home_fd, path, &fd, err);
		if (status == KEEP_OK)
			status = kp_file_read_at(fd, header, sizeof magic, 0, &got, err);
		kp_file_close(&fd);
		return status;
	}
	if (snprintf(full, sizeof full, "%s/%s", job->home, path) >= (int)sizeof full)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", path);
	status = kp_sqlite_raw_open(full, &raw, err);
	if (status == KEEP_OK)
		status = kp_sqlite_raw_read(&raw, header, sizeof magic, 0, err);
	kp_sqlite_raw_close(&raw);
	return status;
}

bool kp_item_moved(const kp_backup_job *job, const kp_item *item)
{
	struct stat st;
	kp_stamp now;

	if (fstatat(job->home_fd, item->path, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return true;
	now = kp_stamp_of(&st);
	return !kp_stamp_equal(&now, &item->self);
}

/* Invariant 2. One that went meanwhile is seen at the next look. */
static keep_status find_kind(kp_backup_job *job, kp_item *item, keep_error *err)
{
	char header[sizeof magic] = "";
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (item->kind == KP_ITEM_FOLDER || item->kind == KP_ITEM_DAMAGED)
		return KEEP_OK;
	item->kind = KP_ITEM_FILE;
	if (item->self.size < DATABASE_BYTES_MIN)
		return KEEP_OK;
	status = read_header(job, item->path, header, &why);
	if (status != KEEP_OK && status != KEEP_NO_MEMORY && kp_item_moved(job, item))
		return KEEP_OK;
	item->kind = memcmp(header, magic, sizeof magic) == 0 ? KP_ITEM_DATABASE : KP_ITEM_FILE;
	return status == KEEP_OK ? KEEP_OK : kp_fail(err, status, "%s", why.message);
}

/* ---------------------------------------------------------------- proofs */

static kp_stamp stamp_beside(const kp_tree *tree, const char *path, const char *suffix)
{
	char name[PATH_MAX];
	const kp_tree_entry *entry;

	(void)snprintf(name, sizeof name, "%s%s", path, suffix);
	entry = kp_tree_find(tree, name);
	return entry ? entry->stamp : absent;
}

static bool is_within(const kp_backup_job *job, const kp_stamp *stamp, int64_t ns)
{
	int64_t limit = job->now_ns - ns;

	return stamp->size >= 0 && (stamp->changed_ns > limit || stamp->status_ns > limit);
}

static void count_bytes(kp_backup_job *job, const kp_item *item)
{
	if (item->kind != KP_ITEM_FOLDER)
		job->all_bytes += item->self.size + (item->log.size > 0 ? item->log.size : 0);
}

/* What the look saw of an item. True: it is not what was copied. */
static bool take_proof(kp_backup_job *job, const kp_tree *tree, const kp_tree_entry *entry,
		       kp_item *item)
{
	kp_stamp log = stamp_beside(tree, item->path, "-wal");
	kp_stamp journal = stamp_beside(tree, item->path, "-journal");
	bool is_same = kp_stamp_equal(&item->self, &entry->stamp);

	if (item->kind == KP_ITEM_DATABASE)
		is_same = is_same && kp_stamp_equal(&item->log, &log) &&
			  kp_stamp_equal(&item->journal, &journal);
	if (item->kind == KP_ITEM_FOLDER)
		is_same = true; /* its files are looked at themselves */
	is_same = is_same && !item->is_young;
	item->self = entry->stamp;
	item->log = log;
	item->journal = journal;
	item->mode = entry->mode & 07777;
	item->is_young = item->kind != KP_ITEM_FOLDER &&
			 (is_within(job, &item->self, YOUNG_NS) || is_within(job, &log, YOUNG_NS) ||
			  is_within(job, &journal, YOUNG_NS));
	return !is_same;
}

/* One that is large and was written just now will be written again: not copied twice. */
static bool is_hot(const kp_backup_job *job, const kp_item *item)
{
	if (item->journal.size > 0)
		return true;
	return (is_within(job, &item->self, HOT_NS) || is_within(job, &item->log, HOT_NS)) &&
	       item->self.size + item->log.size > HOT_BYTES;
}

static keep_status judge(kp_backup_job *job, const kp_tree *tree, const kp_tree_entry *entry,
			 kp_item *item, bool is_after, size_t *changed, keep_error *err)
{
	bool is_copied = item->state == KP_ITEM_COPIED;
	bool is_new = !is_copied && (item->kind != KP_ITEM_FOLDER || item->size < 0 ||
				     item->state == KP_ITEM_GONE);
	keep_status status;

	if (!take_proof(job, tree, entry, item) && !is_new)
		return KEEP_OK;
	if (item->state == KP_ITEM_HELD) /* has a snapshot, or will have one */
		return KEEP_OK;
	status = find_kind(job, item, err);
	if (status != KEEP_OK)
		return status;
	item->state = KP_ITEM_STALE;
	if (item->kind == KP_ITEM_DATABASE) {
		item->state = is_after || is_hot(job, item) ? KP_ITEM_HELD : KP_ITEM_STALE;
		++*changed;
	}
	count_bytes(job, item);
	return KEEP_OK;
}

static void judge_absent(kp_item *item, bool is_after, size_t *changed)
{
	bool is_database = item->kind == KP_ITEM_DATABASE;

	if (item->state == KP_ITEM_GONE)
		return;
	if (is_after &&
	    (item->state == KP_ITEM_HELD || (!is_database && item->state == KP_ITEM_COPIED)))
		return; /* invariant 4; a held one has its snapshot */
	item->state = KP_ITEM_GONE;
	*changed += is_database;
}

/* ---------------------------------------------------------------- looking */

static keep_status make_item(kp_backup_job *job, const kp_tree_entry *entry, kp_item **out,
			     keep_error *err)
{
	kp_item *item = kp_arena_alloc(&job->arena, sizeof *item);
	keep_bytes path = {.data = NULL};
	keep_status status;

	if (!item)
		return kp_fail_memory(err, "a list of files");
	status = kp_arena_copy(&job->arena, keep_bytes_of(entry->path), &path, err);
	if (status != KEEP_OK)
		return status;
	*item = (kp_item){
		.path = path.data,
		.kind = S_ISDIR(entry->mode) ? KP_ITEM_FOLDER : KP_ITEM_FILE,
		.state = KP_ITEM_STALE,
		.size = -1,
		.self = absent,
		.log = absent,
		.journal = absent,
	};
	*out = item;
	return KEEP_OK;
}

/* Both lists are sorted: a new one has all of both. */
static keep_status merge(kp_backup_job *job, const kp_tree *tree, bool is_after, size_t *changed,
			 keep_error *err)
{
	size_t capacity = job->count + tree->count + 1, old = 0, count = 0;
	kp_item **items = kp_alloc(capacity * sizeof(kp_item *));
	keep_status status = KEEP_OK;

	if (!items)
		return kp_fail_memory(err, "a list of files");
	for (size_t i = 0; i < tree->count && status == KEEP_OK; i++) {
		const kp_tree_entry *entry = &tree->entries[i];
		kp_item *item = NULL;

		while (old < job->count && strcmp(job->items[old]->path, entry->path) < 0) {
			judge_absent(job->items[old], is_after, changed);
			items[count++] = job->items[old++];
		}
		if (old < job->count && strcmp(job->items[old]->path, entry->path) == 0)
			item = job->items[old++];
		else if (is_left_out(job, tree, entry->path))
			continue;
		else
			status = make_item(job, entry, &item, err);
		if (status == KEEP_OK) {
			items[count++] = item;
			status = judge(job, tree, entry, item, is_after, changed, err);
		}
	}
	while (old < job->count) {
		if (status == KEEP_OK)
			judge_absent(job->items[old], is_after, changed);
		items[count++] = job->items[old++];
	}
	kp_free(job->items);
	job->items = items;
	job->count = count;
	return status;
}

/* Invariant 1: the time that a write would get now. */
static int64_t read_clock(const kp_backup_job *job)
{
	struct stat st;

	if (futimens(job->lock_fd, NULL) != 0 || fstat(job->lock_fd, &st) != 0)
		return kp_clock_ms() * 1000000;
	return kp_stamp_of(&st).changed_ns;
}

keep_status kp_items_look(kp_backup_job *job, bool is_after, size_t *changed, keep_error *err)
{
	kp_tree tree;
	keep_status status;

	*changed = 0;
	job->now_ns = read_clock(job);
	status = kp_tree_read(job->home_fd, skip_backups, NULL, &tree, err);
	if (status != KEEP_OK)
		return status;
	job->result.left_count = tree.strange_count;
	status = merge(job, &tree, is_after, changed, err);
	kp_tree_release(&tree);
	return status;
}

void kp_items_release(kp_backup_job *job)
{
	for (size_t i = 0; i < job->count; i++) {
		kp_hold_release(&job->items[i]->hold);
		kp_free(job->items[i]->tables);
	}
	kp_free(job->items);
	job->items = NULL;
	job->count = 0;
	kp_arena_release(&job->arena);
}
