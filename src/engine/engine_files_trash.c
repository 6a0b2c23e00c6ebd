/*
 * engine_files_trash.c - deleting what was unset, and what killed processes left.
 *
 * An unset moves a folder into .keep/trash, which is atomic however much is below it; deleting the
 * files comes afterwards and no longer matters to anybody. A subfolder that is not nearly empty is
 * itself moved up into the trash, so that deleting needs neither recursion nor more than three
 * descriptors, however deep the tree was.
 *
 * Invariants:
 *   1. Only .keep/trash and .keep/tmp are deleted from.
 *   2. Trash whose name begins with "j" belongs to a journal and is left alone by the sweep.
 *   3. A temporary is deleted only when its opener is gone: its name begins with the opener's slot,
 *      which is locked as long as the opener lives.
 *   4. Nothing here fails a caller: what cannot be deleted stays for the next opening.
 *
 * Tests: tests/unit/test_engine_files.c, tests/crash/test_engine_files_moments.c.
 */
#include "engine/engine_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS_MAX 4096
#define SWEEP_EVERY 64 /* unsets, in case a killed process left something */

void kp_files_own_name(kp_files *files, char out[KP_FILES_TEMP_NAME_MAX])
{
	snprintf(out, KP_FILES_TEMP_NAME_MAX, "%u-%llx", files->slot,
		 (unsigned long long)atomic_fetch_add(&files->counter, 1));
}

/* Most documents have a value and nothing else. */
static bool delete_leaf(int folder, const char *name)
{
	char path[KP_FILES_NAME_MAX + sizeof "/" KP_FILES_NAME_FILE];

	if (strlen(name) >= KP_FILES_NAME_MAX)
		return false;
	snprintf(path, sizeof path, "%.*s/" KP_FILES_DOCUMENT, KP_FILES_NAME_MAX - 1, name);
	(void)unlinkat(folder, path, 0);
	return unlinkat(folder, name, AT_REMOVEDIR) == 0;
}

/* Delete a folder of the trash; its larger subfolders become folders of the trash. True: there were
   some. */
static bool delete_folder(kp_files *files, const char *name)
{
	char moved[KP_FILES_TEMP_NAME_MAX];
	kp_files_dir dir = {.dir = NULL};
	kp_files_dirent entry;
	bool has_moved = false;
	int fd = -1;

	kp_moment("engine_files.trash_begun");
	if (delete_leaf(files->trash, name))
		return false;
	if (kp_files_open_at(files, files->trash, name, O_RDONLY | O_DIRECTORY, &fd) != 0) {
		(void)unlinkat(files->trash, name, 0); /* somebody's plain file, or gone */
		return false;
	}
	if (kp_files_dir_open(files, fd, &dir) != 0)
		goto out;
	while (kp_files_dir_next(&dir, &entry) == 0 && entry.name) {
		if (!entry.is_folder) {
			(void)unlinkat(fd, entry.name, 0);
		} else if (!delete_leaf(fd, entry.name)) {
			kp_files_own_name(files, moved);
			has_moved |= renameat(fd, entry.name, files->trash, moved) == 0;
			kp_moment("engine_files.trash_moved");
		}
	}
	(void)unlinkat(files->trash, name, AT_REMOVEDIR);
out:
	kp_files_dir_close(&dir);
	kp_file_close(&fd);
	return has_moved;
}

/* Once through the trash. True: it moved more into it. */
static bool sweep_once(kp_files *files)
{
	kp_files_dirent entry;
	kp_files_dir dir;
	bool again = false;

	if (kp_files_dir_open(files, files->trash, &dir) != 0)
		return false;
	while (kp_files_dir_next(&dir, &entry) == 0 && entry.name) {
		if (entry.name[0] != 'j')
			again |= delete_folder(files, entry.name);
	}
	kp_files_dir_close(&dir);
	return again;
}

void kp_files_trash_sweep(kp_files *files)
{
	/* Each round takes away one level of what there was when it began. */
	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		if (!sweep_once(files))
			break;
	}
}

void kp_files_trash_delete(kp_files *files, const char *name)
{
	bool is_due = atomic_fetch_add(&files->unsets, 1) % SWEEP_EVERY == 0;

	if (delete_folder(files, name) || is_due)
		kp_files_trash_sweep(files);
}

/* ---------------------------------------------------------------- leftovers */

static void delete_dead_temps(kp_files *files)
{
	kp_files_dirent entry;
	kp_files_dir dir;

	if (kp_files_dir_open(files, files->tmp, &dir) != 0)
		return;
	while (kp_files_dir_next(&dir, &entry) == 0 && entry.name) {
		keep_bytes digits = {entry.name, strcspn(entry.name, "-")};
		int64_t slot;

		/* Ours too: this is called before this opener makes any. */
		if (!kp_int_parse(digits, &slot) || slot == files->slot ||
		    !kp_files_slot_is_alive(files, slot))
			(void)unlinkat(files->tmp, entry.name, entry.is_folder ? AT_REMOVEDIR : 0);
	}
	kp_files_dir_close(&dir);
}

static void release_journal_trash(kp_files *files)
{
	char name[KP_FILES_TEMP_NAME_MAX];
	kp_files_dirent entry;
	kp_files_dir dir;

	if (kp_files_dir_open(files, files->trash, &dir) != 0)
		return;
	while (kp_files_dir_next(&dir, &entry) == 0 && entry.name) {
		if (entry.name[0] != 'j')
			continue;
		kp_files_own_name(files, name);
		(void)renameat(files->trash, entry.name, files->trash, name);
	}
	kp_files_dir_close(&dir);
}

void kp_files_sweep_leftovers(kp_files *files)
{
	kp_files_control *control = kp_files_control_of(files);

	delete_dead_temps(files);
	release_journal_trash(files);
	for (size_t i = 0; i < KP_FILES_UNSYNCED_MAX && kp_files_is_alone(files); i++)
		atomic_store(&control->unsynced[i], 0);
}
