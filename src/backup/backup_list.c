/*
 * backup_list.c - which backups a home has, and removing those that rotation does not keep.
 *
 * Invariants:
 *   1. A list reads manifests and sizes, no content: it is quick, and says "good" of what may have
 * a flipped bit. backup_verify.c reads all.
 *   2. What rotates is only what is good and has no label. One that is not good is left for people
 *      to look at, and keeps no better one from being kept.
 *   3. The newest good one is never removed.
 *   4. A removal renames first: a process that is killed leaves a .removing-…, which nobody takes
 *      for a backup, and never half of one under its name.
 *
 * Tests: tests/contract/test_backup_verify.c, tests/unit/test_backup_keep.c.
 */
#include "backup/backup_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "20260411T171821Z", perhaps with "-2". */
static bool is_backup_name(const char *name)
{
	static const char form[] = "dddddddd"
				   "T"
				   "dddddd"
				   "Z";
	size_t i = 0;

	for (; form[i]; i++) {
		bool is_digit = name[i] >= '0' && name[i] <= '9';

		if (form[i] == 'd' ? !is_digit : name[i] != form[i])
			return false;
	}
	return strlen(name) < KP_BACKUP_NAME_SIZE && (name[i] == '\0' || name[i] == '-');
}

static int64_t time_of(const char *name)
{
	char text[32];
	int64_t time_ms = 0;

	(void)snprintf(text, sizeof text, "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", name, name + 4,
		       name + 6, name + 9, name + 11, name + 13);
	return keep_time_parse(keep_bytes_of(text), &time_ms, NULL) == KEEP_OK ? time_ms : 0;
}

/* ---------------------------------------------------------------- listing */

static keep_status copy_text(kp_arena *arena, const char *text, const char **out, keep_error *err)
{
	keep_bytes copy = {.data = NULL};
	keep_status status = kp_arena_copy(arena, keep_bytes_of(text), &copy, err);

	if (status == KEEP_OK)
		*out = copy.data;
	return status;
}

static keep_status check_sizes(int folder, const kp_manifest *manifest, keep_error *why)
{
	int data = -1;
	keep_status status = kp_folder_open(folder, KP_BACKUP_DATA, &data, why);

	for (size_t i = 0; i < manifest->count && status == KEEP_OK; i++) {
		const kp_manifest_file *file = &manifest->files[i];
		struct stat st;

		if (fstatat(data, file->path, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(st.st_mode))
			status = kp_fail(why, KEEP_CORRUPT, "%s: it is missing", file->path);
		else if (st.st_size != file->size)
			status = kp_fail(why, KEEP_CORRUPT, "%s: it has %lld bytes instead of %lld",
					 file->path, (long long)st.st_size, (long long)file->size);
	}
	kp_file_close(&data);
	return status;
}

static keep_status describe(int backups, kp_backup_entry *entry, kp_arena *arena, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	kp_manifest manifest = {.label = "", .version = ""};
	int folder = -1;
	keep_status status = kp_folder_open(backups, entry->name, &folder, &why);

	if (status == KEEP_OK)
		status = kp_manifest_read(folder, &manifest, &why);
	if (status == KEEP_OK) {
		entry->started_ms = manifest.started_ms;
		entry->moment_ms = manifest.moment_ms;
		entry->finished_ms = manifest.finished_ms;
		entry->file_count = (int64_t)manifest.count;
		entry->database_count = manifest.database_count;
		entry->size_bytes = manifest.size_bytes;
		status = copy_text(arena, manifest.label, &entry->label, &why);
	}
	if (status == KEEP_OK)
		status = check_sizes(folder, &manifest, &why);
	entry->is_good = status == KEEP_OK;
	kp_manifest_release(&manifest);
	kp_file_close(&folder);
	if (status == KEEP_NO_MEMORY || status == KEEP_FULL)
		return kp_fail(err, status, "%s: %s", entry->name, why.message);
	return status == KEEP_OK ? KEEP_OK : copy_text(arena, why.message, &entry->why, err);
}

static bool skip_others(void *ctx, const char *path, const char *name, bool is_folder)
{
	(void)ctx;
	return !is_folder || strcmp(path, name) != 0 || !is_backup_name(name);
}

static int compare_entries(const void *a, const void *b)
{
	const kp_backup_entry *x = a, *y = b;

	if (x->moment_ms != y->moment_ms)
		return x->moment_ms < y->moment_ms ? -1 : 1;
	return strcmp(x->name, y->name);
}

static keep_status list_folder(int backups, kp_backup_entries *out, keep_error *err)
{
	kp_tree tree;
	keep_status status = kp_tree_read(backups, skip_others, NULL, &tree, err);

	if (status != KEEP_OK)
		return status;
	out->items = kp_arena_alloc(&out->arena, (tree.count + 1) * sizeof *out->items);
	if (!out->items)
		status = kp_fail_memory(err, "a list of backups");
	for (size_t i = 0; i < tree.count && status == KEEP_OK; i++) {
		kp_backup_entry *entry = &out->items[i];

		*entry = (kp_backup_entry){.label = "", .why = ""};
		entry->moment_ms = time_of(tree.entries[i].path);
		status = copy_text(&out->arena, tree.entries[i].path, &entry->name, err);
		if (status == KEEP_OK)
			status = describe(backups, entry, &out->arena, err);
		out->count++;
	}
	kp_tree_release(&tree);
	if (status == KEEP_OK)
		qsort(out->items, out->count, sizeof *out->items, compare_entries);
	else
		kp_backup_entries_release(out);
	return status;
}

static keep_status open_backups(const char *home, int *backups, keep_error *err)
{
	int folder = -1;
	keep_status status = kp_folder_open(AT_FDCWD, home, &folder, err);

	*backups = -1;
	if (status != KEEP_OK)
		return status;
	status = kp_file_open(folder, KP_BACKUP_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
			      backups, err);
	kp_file_close(&folder);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

keep_status kp_backup_list(const char *home, kp_backup_entries *out, keep_error *err)
{
	int backups = -1;
	keep_status status = open_backups(home, &backups, err);

	*out = (kp_backup_entries){.items = NULL};
	if (status == KEEP_OK && backups >= 0)
		status = list_folder(backups, out, err);
	kp_file_close(&backups);
	return status;
}

void kp_backup_entries_release(kp_backup_entries *entries)
{
	kp_arena_release(&entries->arena);
	*entries = (kp_backup_entries){.items = NULL};
}

/* ---------------------------------------------------------------- rotation */

static keep_status remove_one(int backups, const char *name, keep_error *err)
{
	char removing[KP_BACKUP_NAME_SIZE + 16];
	keep_status status;

	(void)snprintf(removing, sizeof removing, ".removing-%.31s", name);
	status = kp_file_rename(backups, name, backups, removing, err);
	kp_moment("backup.removing");
	if (status == KEEP_OK)
		status = kp_file_sync(backups, err);
	return status == KEEP_OK ? kp_folder_remove(backups, removing, err) : status;
}

/* times[] and of[]: those that rotate, and where they are in the list. */
static size_t collect(const kp_backup_entries *entries, bool labelled_too, int64_t *times,
		      size_t *of)
{
	size_t count = 0;

	for (size_t i = 0; i < entries->count; i++) {
		const kp_backup_entry *entry = &entries->items[i];

		if (!entry->is_good || (entry->label[0] && !labelled_too))
			continue;
		of[count] = i;
		times[count++] = entry->moment_ms;
	}
	return count;
}

static keep_status remove_unkept(int backups, const kp_backup_entries *entries,
				 const kp_backup_prune_options *options, const keep_zone *zone,
				 int64_t *removed, keep_error *err)
{
	int64_t *times = kp_alloc((entries->count + 1) * sizeof *times);
	size_t *of = kp_alloc((entries->count + 1) * sizeof *of);
	bool *keep = kp_alloc_zero((entries->count + 1) * sizeof *keep);
	keep_status status = KEEP_OK;
	size_t count = 0;

	if (!times || !of || !keep)
		status = kp_fail_memory(err, "a list of backups");
	if (status == KEEP_OK) {
		count = collect(entries, options->labelled_too, times, of);
		status = kp_backup_keep(times, count, zone, &options->rules, keep, err);
	}
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		const char *name = entries->items[of[i]].name;

		if (keep[i])
			continue;
		if (!options->dry_run)
			status = remove_one(backups, name, err);
		if (status != KEEP_OK)
			break;
		++*removed;
		if (options->removed)
			options->removed(options->removed_ctx, name);
	}
	kp_free(times);
	kp_free(of);
	kp_free(keep);
	return status;
}

keep_status kp_backup_prune(const char *home, const kp_backup_prune_options *options,
			    int64_t *removed_count, keep_error *err)
{
	static const kp_backup_prune_options usual = {.zone = NULL};
	const kp_backup_prune_options *chosen = options ? options : &usual;
	kp_backup_entries entries = {.items = NULL};
	keep_zone *zone = NULL;
	int64_t removed = 0;
	int backups = -1, lock = -1;
	keep_status status = keep_zone_open(chosen->zone ? chosen->zone : "UTC", &zone, err);

	if (status == KEEP_OK)
		status = open_backups(home, &backups, err);
	if (status == KEEP_OK && backups >= 0) {
		status = kp_backups_lock(backups, &lock, err);
		if (status == KEEP_OK && !chosen->dry_run)
			status = kp_backups_clean(backups, err);
		if (status == KEEP_OK)
			status = list_folder(backups, &entries, err);
		if (status == KEEP_OK)
			status = remove_unkept(backups, &entries, chosen, zone, &removed, err);
	}
	kp_backup_entries_release(&entries);
	kp_file_close(&lock);
	kp_file_close(&backups);
	keep_zone_close(&zone);
	if (removed_count)
		*removed_count = status == KEEP_OK ? removed : 0;
	return status;
}
