/*
 * engine_files_apply.c - one change alone: set, unset, compare and set.
 *
 * A value is written to .keep/tmp and synced before the writers' lock is taken, and the names it
 * got are synced after the lock is released. So the lock is held for some microseconds, the syncs
 * of several threads and processes run side by side (and share the file system's commits), and no
 * reader ever waits for a disk.
 *
 *     write tmp, sync it        no lock
 *     check, place, stamp       the lock
 *     make folder, rename       the lock, gen odd
 *     publish in the ring       the lock, gen odd
 *     sync folders              no lock
 *
 * Invariants:
 *   1. A document changes by one rename: it is the old value or the new one, whole.
 *   2. A value's file carries its place (the mtime) before it gets its name.
 *   3. A change that returns OK is durable, and so is every folder it lies in: ancestors are synced
 *      when they are made, under the lock; a document's own folder after it, and until then its
 *      path is in `unsynced`, so that whoever stores something below it syncs that too.
 *   4. A failure before the rename leaves everything as it was (but perhaps an empty folder, which
 *      is nothing to any reader). A failure after it is UNCERTAIN.
 *
 * Relaxed, there is no sync; the value's file is marked, so that after a crash of the machine one
 * that is not whole can be told (engine_files_check.c).
 *
 * Tests: tests/contract, tests/unit/test_engine_files.c, tests/crash/test_engine_files_moments.c.
 */
#include "engine/engine_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FOLDER_MODE 0700
#define FILE_MODE 0600

bool kp_files_is_set(const kp_change *change)
{
	return change->kind != KEEP_ENGINE_UNSET && change->value.data;
}

/* ---------------------------------------------------------------- places in the order */

keep_status kp_files_place(const kp_files_order *order, const kp_change *change, int64_t *mtime,
			   keep_error *err)
{
	const kp_files_entry *newest;
	int64_t score, end;

	if (change->kind == KEEP_ENGINE_SET_SCORED) {
		score = change->score_ms;
		newest = kp_files_order_below(order, (score + 1) * KP_FILES_NS_PER_MS, NULL);
	} else {
		score = kp_engine_now_ms();
		newest = kp_files_order_at(order, 0);
		if (newest && newest->mtime / KP_FILES_NS_PER_MS > score)
			score = newest->mtime / KP_FILES_NS_PER_MS;
	}
	*mtime = score * KP_FILES_NS_PER_MS;
	if (!newest || newest->mtime < *mtime)
		return KEEP_OK;
	end = *mtime + (KP_FILES_NS_PER_MS - 1);
	if (newest->mtime >= end)
		return kp_fail(err, KEEP_FULL,
			       "too many documents beside '%" KP_PRI "' have the score %lld",
			       KP_ARG(change->path.text), (long long)score);
	*mtime = newest->mtime + 1;
	return KEEP_OK;
}

/* The millisecond of a change is used up: move its documents to the beginning of it, the oldest
   first, so that their order is right at every moment. FULL when they really are that many. */
static keep_status renumber(kp_files *files, const kp_change *change, int parent,
			    const kp_files_order *order, keep_error *err)
{
	int64_t score = change->score_ms, first;
	size_t newer, all;
	keep_status status = KEEP_OK;
	char name[KP_FILES_NAME_MAX];

	if (change->kind != KEEP_ENGINE_SET_SCORED)
		score = kp_files_order_at(order, 0)->mtime / KP_FILES_NS_PER_MS;
	first = score * KP_FILES_NS_PER_MS;
	(void)kp_files_order_below(order, first + KP_FILES_NS_PER_MS, &newer);
	(void)kp_files_order_below(order, first, &all);
	if (all - newer >= (size_t)KP_FILES_NS_PER_MS - 1)
		return kp_fail(err, KEEP_FULL, "the score %lld has too many documents",
			       (long long)score);
	for (size_t i = 0; status == KEEP_OK && i < all - newer; i++) {
		const kp_files_entry *entry = kp_files_order_at(order, all - 1 - i);
		int failed = 0;

		status = kp_files_document_name(files, (keep_bytes){entry->name, entry->name_len},
						name, err);
		if (status == KEEP_OK)
			failed = kp_files_set_mtime(parent, name, first + (int64_t)i);
		if (failed && failed != ENOENT)
			status = kp_fail_errno(err, failed, "cannot renumber %s", name);
	}
	return status;
}

/* Where the change goes among the children of `parent`; the writers' lock is held. */
static keep_status find_place(kp_files *files, const kp_change *change, int parent, int64_t *mtime,
			      keep_error *err)
{
	kp_files_record reset = {.size = sizeof reset, .kind = KP_FILES_RESET, .folder_mtime = -1};
	const kp_files_order *order;
	keep_status status;

	pthread_mutex_lock(&files->cache_mutex);
	status = kp_files_order_use(files, change->path.parent, parent, false, &order, err);
	if (status == KEEP_OK)
		status = kp_files_place(order, change, mtime, err);
	if (status == KEEP_FULL && order) {
		status = renumber(files, change, parent, order, err);
		kp_files_publish(files, (keep_bytes){(const char *)&reset, sizeof reset});
		if (status == KEEP_OK)
			status = kp_files_order_use(files, change->path.parent, parent, true,
						    &order, err);
		if (status == KEEP_OK)
			status = kp_files_place(order, change, mtime, err);
	}
	pthread_mutex_unlock(&files->cache_mutex);
	return status;
}

keep_status kp_files_stamp(kp_files *files, const char *temp, int64_t mtime, keep_error *err)
{
	struct stat about;
	int failed = kp_files_set_mtime(files->tmp, temp, mtime);

	if (!failed)
		failed = kp_files_stat_at(files->tmp, temp, &about);
	if (failed)
		return kp_fail_errno(err, failed, "cannot set the time of a file in %s",
				     files->base_path);
	if (kp_files_mtime(&about) != mtime)
		return kp_fail(err, KEEP_UNAVAILABLE,
			       "the file system of %s does not keep times in nanoseconds",
			       files->base_path);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- folders */

/* The file that says which segment an escaped folder stands for. */
static keep_status write_name_file(kp_files *files, keep_bytes segment, int folder, keep_error *err)
{
	char temp[KP_FILES_TEMP_NAME_MAX];
	keep_status status;
	struct stat about;
	int fd = -1, failed = kp_files_stat_at(folder, KP_FILES_NAME_FILE, &about);

	if (failed != ENOENT)
		return failed ? kp_fail_errno(err, failed, "cannot look at a folder") : KEEP_OK;
	kp_files_own_name(files, temp);
	status = kp_file_open(files->tmp, temp, O_WRONLY | O_CREAT | O_EXCL, FILE_MODE, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_append(fd, segment, err);
	if (status == KEEP_OK && !files->relaxed)
		status = kp_file_sync(fd, err);
	if (status == KEEP_OK)
		status = kp_file_rename(files->tmp, temp, folder, KP_FILES_NAME_FILE, err);
	if (status != KEEP_OK && fd >= 0)
		(void)unlinkat(files->tmp, temp, 0);
	kp_file_close(&fd);
	return status;
}

/* Open a child folder, making it when it is missing. */
static keep_status enter_folder(kp_files *files, keep_bytes segment, int at, int *fd, bool *is_new,
				keep_error *err)
{
	char name[KP_FILES_NAME_MAX];
	keep_status status = kp_files_name(files, segment, name, err);
	int failed;

	*fd = -1;
	*is_new = false;
	if (status != KEEP_OK)
		return status;
	failed = kp_files_open_at(files, at, name, O_RDONLY | O_DIRECTORY, fd);
	if (failed == ENOENT) {
		status = kp_folder_make(at, name, FOLDER_MODE, err);
		if (status == KEEP_CONFLICT) /* another program was faster */
			status = KEEP_OK;
		if (status != KEEP_OK)
			return status;
		*is_new = true;
		failed = kp_files_open_at(files, at, name, O_RDONLY | O_DIRECTORY, fd);
	}
	if (failed)
		return kp_fail_errno(err, failed, "cannot open '%" KP_PRI "'", KP_ARG(segment));
	if (kp_files_is_escaped(files, segment))
		status = write_name_file(files, segment, *fd, err);
	if (status != KEEP_OK)
		kp_file_close(fd);
	return status;
}

/* Tell the ring that a folder's mtime moved without its documents. */
static void publish_touch(kp_files *files, keep_bytes path, int folder)
{
	_Alignas(8) char room[KP_FILES_RECORD_MAX];
	keep_buffer records = {.data = room, .len = 0, .capacity = sizeof room};
	kp_files_record *record = (kp_files_record *)(void *)room;
	struct stat about;

	if (fstat(folder, &about) != 0 ||
	    kp_files_record_add(&records, KP_FILES_TOUCH, path, 0, NULL) != KEEP_OK)
		return;
	record->folder_mtime = kp_files_mtime(&about);
	kp_files_publish(files, (keep_bytes){records.data, records.len});
}

keep_status kp_files_make_parent(kp_files *files, const kp_path *path, bool sync, int *parent,
				 keep_error *err)
{
	const char *start = path->parent.data, *end = start + path->parent.len, *at = start;
	keep_status status = kp_files_folder_open(files, path->parent, O_RDONLY, parent, err);
	int folder = -1;

	if (status != KEEP_NOT_FOUND)
		return status;
	status = kp_files_folder_open(files, (keep_bytes){"", 0}, O_RDONLY, &folder, err);
	while (status == KEEP_OK && at < end) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		keep_bytes segment = {at, (size_t)((slash ? slash : end) - at)};
		bool is_new;
		int next;

		status = enter_folder(files, segment, folder, &next, &is_new, err);
		if (status == KEEP_OK && is_new) {
			kp_moment("engine_files.made_ancestor");
			publish_touch(
				files,
				(keep_bytes){start, at == start ? 0 : (size_t)(at - start) - 1},
				folder);
			if (sync)
				status = kp_file_sync(folder, err);
		}
		kp_file_close(&folder);
		folder = next;
		at += segment.len + 1;
	}
	if (status != KEEP_OK)
		kp_file_close(&folder);
	*parent = folder;
	return status;
}

keep_status kp_files_make_folder(kp_files *files, const kp_path *path, int parent, int *folder,
				 bool *is_new, keep_error *err)
{
	return enter_folder(files, path->name, parent, folder, is_new, err);
}

/* ---------------------------------------------------------------- what is not synced yet */

static uint64_t hash_of(keep_bytes path)
{
	static const unsigned char key[16];

	return kp_siphash(key, path) | 1;
}

/* Remember that the folder of `path` has no durable name yet. False: no room. */
static bool mark_unsynced(kp_files *files, keep_bytes path)
{
	kp_files_control *control = kp_files_control_of(files);

	for (size_t i = 0; i < KP_FILES_UNSYNCED_MAX; i++) {
		uint64_t empty = 0;

		if (atomic_compare_exchange_strong(&control->unsynced[i], &empty, hash_of(path)))
			return true;
	}
	return false;
}

static void clear_unsynced(kp_files *files, keep_bytes path)
{
	kp_files_control *control = kp_files_control_of(files);

	for (size_t i = 0; i < KP_FILES_UNSYNCED_MAX; i++) {
		uint64_t mine = hash_of(path);

		if (atomic_compare_exchange_strong(&control->unsynced[i], &mine, 0))
			return;
	}
}

static bool is_unsynced(kp_files *files, keep_bytes path)
{
	kp_files_control *control = kp_files_control_of(files);
	uint64_t hash = 0;

	for (size_t i = 0; i < KP_FILES_UNSYNCED_MAX; i++) {
		uint64_t found = atomic_load_explicit(&control->unsynced[i], memory_order_relaxed);

		if (found && !hash)
			hash = hash_of(path);
		if (found && found == hash)
			return true;
	}
	return false;
}

/* Sync the names of those ancestors whose own setters have not come to it yet. */
static keep_status sync_ancestors(kp_files *files, const kp_path *path, keep_error *err)
{
	kp_path at = *path;
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && at.depth > 1) {
		int fd = -1;

		at = kp_path_parent(&at);
		if (!is_unsynced(files, at.text))
			continue;
		status = kp_files_folder_open(files, at.parent, O_RDONLY, &fd, err);
		if (status == KEEP_OK)
			status = kp_file_sync(fd, err);
		else if (status == KEEP_NOT_FOUND)
			status = KEEP_OK; /* unset meanwhile */
		kp_file_close(&fd);
	}
	return status;
}

/* ---------------------------------------------------------------- one change */

keep_status kp_files_record_add(keep_buffer *records, enum kp_files_record_kind kind,
				keep_bytes path, int64_t mtime, keep_error *err)
{
	kp_files_record record = {
		.size = (uint32_t)((sizeof record + path.len + 7) / 8 * 8),
		.kind = (uint16_t)kind,
		.path_len = (uint16_t)path.len,
		.mtime = mtime,
		.folder_mtime = -1,
	};
	keep_status status;

	if (records->len + record.size + 1 > records->capacity) {
		status = kp_buffer_reserve(records, records->len + record.size, err);
		if (status != KEEP_OK)
			return status;
	}
	memset(records->data + records->len, 0, record.size);
	memcpy(records->data + records->len, &record, sizeof record);
	if (path.len > 0)
		memcpy(records->data + records->len + sizeof record, path.data, path.len);
	records->len += record.size;
	return KEEP_OK;
}

static void publish_one(kp_files *files, enum kp_files_record_kind kind, keep_bytes path,
			int64_t mtime, int parent)
{
	_Alignas(8) char room[KP_FILES_RECORD_MAX + 8];
	keep_buffer records = {.data = room, .len = 0, .capacity = sizeof room};
	kp_files_record *record = (kp_files_record *)(void *)room;
	struct stat about;

	if (kp_files_record_add(&records, kind, path, mtime, NULL) != KEEP_OK)
		return; /* cannot be: there is room for every path */
	if (fstat(parent, &about) == 0)
		record->folder_mtime = kp_files_mtime(&about);
	kp_files_publish(files, (keep_bytes){records.data, records.len});
}

static keep_status check_expected(kp_files *files, const kp_change *change, keep_error *err)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_status status;

	if (change->kind != KEEP_ENGINE_COMPARE_AND_SET)
		return KEEP_OK;
	status = kp_files_document_get(files, change->path.text, &value, err);
	if (status == KEEP_OK || status == KEEP_NOT_FOUND)
		status = kp_engine_check_expected(change, status == KEEP_OK,
						  kp_buffer_bytes(&value), err);
	keep_buffer_release(&value);
	return status;
}

/* The rename that makes a value visible. */
static keep_status show_value(kp_files *files, const kp_path *path, kp_files_temp *temp,
			      int64_t mtime, int parent, int *folder, bool *is_new, keep_error *err)
{
	keep_status status;

	kp_files_change_begin(files, KP_FILES_APPLYING, false);
	kp_moment("engine_files.begun");
	status = kp_files_make_folder(files, path, parent, folder, is_new, err);
	if (status == KEEP_OK) {
		kp_moment("engine_files.made_folder");
		status = kp_file_rename(files->tmp, temp->name, *folder, KP_FILES_DOCUMENT, err);
	}
	if (status == KEEP_OK) {
		temp->name[0] = '\0';
		kp_moment("engine_files.renamed");
		publish_one(files, KP_FILES_SET, path->text, mtime, parent);
		kp_moment("engine_files.published");
	}
	kp_files_change_end(files);
	return status;
}

static keep_status sync_value(kp_files *files, const kp_path *path, int parent, int folder,
			      bool is_new, bool has_unsynced, keep_error *err)
{
	keep_status status = kp_file_sync(folder, err);

	if (status == KEEP_OK && is_new)
		status = kp_file_sync(parent, err);
	if (status == KEEP_OK && has_unsynced)
		status = sync_ancestors(files, path, err);
	if (status == KEEP_OK && is_new)
		clear_unsynced(files, path->text);
	if (status != KEEP_OK) {
		err->status = KEEP_UNCERTAIN;
		status = kp_prefix(err, KEEP_UNCERTAIN, "stored, but perhaps not durably");
	}
	return status;
}

static keep_status set_one(kp_files *files, const kp_change *change, kp_files_temp *temp,
			   keep_error *err)
{
	int parent = -1, folder = -1;
	bool is_new = false, is_marked = true, has_unsynced = false;
	keep_status status;
	int64_t mtime = 0;

	status = kp_files_lock(files, err);
	if (status != KEEP_OK)
		return status;
	status = check_expected(files, change, err);
	if (status == KEEP_OK)
		status = kp_files_make_parent(files, &change->path, !files->relaxed, &parent, err);
	if (status == KEEP_OK)
		status = find_place(files, change, parent, &mtime, err);
	if (status == KEEP_OK)
		status = kp_files_stamp(files, temp->name, mtime, err);
	if (status == KEEP_OK)
		status = show_value(files, &change->path, temp, mtime, parent, &folder, &is_new,
				    err);
	if (status == KEEP_OK && !files->relaxed) {
		for (kp_path at = change->path; at.depth > 1 && !has_unsynced;) {
			at = kp_path_parent(&at);
			has_unsynced = is_unsynced(files, at.text);
		}
		is_marked = !is_new || mark_unsynced(files, change->path.text);
	}
	if (status == KEEP_OK && !is_marked) /* no room to tell others: they wait this once */
		status =
			sync_value(files, &change->path, parent, folder, is_new, has_unsynced, err);
	kp_files_unlock(files);
	kp_moment("engine_files.unlocked");
	if (status == KEEP_OK && is_marked && !files->relaxed)
		status =
			sync_value(files, &change->path, parent, folder, is_new, has_unsynced, err);
	kp_file_close(&folder);
	kp_file_close(&parent);
	return status;
}

/* Move a folder into the trash. *moved is false when there is none. */
static keep_status hide_folder(kp_files *files, const kp_path *path, int parent, const char *trash,
			       bool *moved, keep_error *err)
{
	char name[KP_FILES_NAME_MAX];
	enum kp_files_record_kind kind;
	struct stat about;
	keep_status status = kp_files_name(files, path->name, name, err);
	int failed;

	*moved = false;
	if (status != KEEP_OK)
		return status;
	failed = kp_files_stat_at(parent, name, &about);
	if (failed == ENOENT || (!failed && !S_ISDIR(about.st_mode)))
		return KEEP_OK;
	if (failed)
		return kp_fail_errno(err, failed, "cannot look at '%" KP_PRI "'",
				     KP_ARG(path->text));
	/* A folder counts its subfolders' links to it, on file systems that count at all. */
	kind = about.st_nlink == 2 ? KP_FILES_UNSET_LEAF : KP_FILES_UNSET;
	kp_files_change_begin(files, KP_FILES_APPLYING, true);
	kp_moment("engine_files.unset_begun");
	status = kp_file_rename(parent, name, files->trash, trash, err);
	if (status == KEEP_OK) {
		*moved = true;
		kp_moment("engine_files.unset_renamed");
		publish_one(files, kind, path->text, 0, parent);
	}
	kp_files_change_end(files);
	return status;
}

static keep_status unset_one(kp_files *files, const kp_change *change, keep_error *err)
{
	char trash[KP_FILES_TEMP_NAME_MAX];
	bool moved = false;
	int parent = -1;
	keep_status status = kp_files_lock(files, err);

	if (status != KEEP_OK)
		return status;
	kp_files_own_name(files, trash);
	status = check_expected(files, change, err);
	if (status == KEEP_OK)
		status = kp_files_folder_open(files, change->path.parent, O_RDONLY, &parent, err);
	if (status == KEEP_OK)
		status = hide_folder(files, &change->path, parent, trash, &moved, err);
	kp_files_unlock(files);
	kp_moment("engine_files.unset_unlocked");
	if (status == KEEP_NOT_FOUND)
		status = KEEP_OK;
	/* Also when there was nothing: another thread's unset of it may not be durable yet. */
	else if (status == KEEP_OK && !files->relaxed) {
		status = kp_file_sync(parent, err);
		if (status != KEEP_OK && moved) {
			err->status = KEEP_UNCERTAIN;
			status = kp_prefix(err, KEEP_UNCERTAIN, "unset, but perhaps not durably");
		}
	}
	kp_moment("engine_files.unset_synced");
	if (moved)
		kp_files_trash_delete(files, trash);
	kp_file_close(&parent);
	return status;
}

/* ---------------------------------------------------------------- the door */

/* A base that was deleted or replaced takes no more changes. */
static keep_status check_base(kp_files *files, keep_error *err)
{
	int failed = kp_files_look_at_base(files);

	if (failed && failed != ENOENT)
		return kp_fail_errno(err, failed, "cannot look at %s", files->base_path);
	return failed ? kp_files_fail_gone(files, err) : KEEP_OK;
}

static keep_status write_temp(kp_files *files, keep_bytes value, bool sync, kp_files_temp *temp,
			      keep_error *err)
{
	char name[KP_FILES_TEMP_NAME_MAX];
	keep_status status;
	int fd = -1;

	kp_files_own_name(files, name);
	status = kp_file_open(files->tmp, name, O_WRONLY | O_CREAT | O_EXCL, FILE_MODE, &fd, err);
	if (status != KEEP_OK)
		return status;
	memcpy(temp->name, name, sizeof name);
	kp_moment("engine_files.temp_made");
	status = kp_file_append(fd, value, err);
	kp_moment("engine_files.temp_written");
	if (status == KEEP_OK && sync)
		status = kp_file_sync(fd, err);
	else if (status == KEEP_OK && files->relaxed)
		kp_files_mark(fd, value);
	kp_file_close(&fd);
	return status;
}

#define SYNC_EACH_MAX 16 /* more files than that are synced together with everything else */

static keep_status write_temps(kp_files *files, const kp_change *changes, size_t count,
			       kp_files_temp *temps, keep_error *err)
{
	keep_status status = KEEP_OK;
	size_t sets = 0;
	bool each;

	for (size_t i = 0; i < count; i++)
		sets += kp_files_is_set(&changes[i]);
	each = !files->relaxed && sets <= SYNC_EACH_MAX;
	for (size_t i = 0; status == KEEP_OK && i < count; i++) {
		if (kp_files_is_set(&changes[i]))
			status = write_temp(files, changes[i].value, each, &temps[i], err);
	}
	if (status == KEEP_OK && !files->relaxed && !each) {
		int failed = kp_files_sync_all(files->tmp);

		if (failed)
			status = kp_fail_errno(err, failed, "cannot sync %s", files->base_path);
	}
	return status;
}

static keep_status apply_changes(kp_files *files, const kp_change *changes, size_t count,
				 kp_files_temp *temps, keep_error *err)
{
	keep_status status = write_temps(files, changes, count, temps, err);

	if (status == KEEP_OK && (count > 1 || changes->path.depth == 0))
		status = kp_files_apply_many(files, changes, count, temps, err);
	else if (status == KEEP_OK && kp_files_is_set(changes))
		status = set_one(files, changes, temps, err);
	else if (status == KEEP_OK)
		status = unset_one(files, changes, err);
	for (size_t i = 0; i < count; i++) {
		if (temps[i].name[0])
			(void)unlinkat(files->tmp, temps[i].name, 0);
	}
	/* Our own folders are there as long as the store is. */
	if (status == KEEP_NOT_FOUND) {
		err->status = KEEP_UNAVAILABLE;
		status = kp_prefix(err, KEEP_UNAVAILABLE, "the store changed under us");
	}
	return status;
}

keep_status kp_files_apply(kp_store *store, const kp_change *changes, size_t count, keep_error *err)
{
	kp_files *files = (kp_files *)store;
	keep_error made = KEEP_ERROR_INIT;
	kp_files_temp one = {.name = ""};
	kp_files_temp *temps = &one;
	keep_status status;

	if (files->read_only)
		return kp_fail(err, KEEP_DENIED, "%s is open for reading only", files->base_path);
	status = check_base(files, err);
	if (status != KEEP_OK)
		return status;
	if (count > 1)
		temps = kp_alloc_zero(count * sizeof *temps);
	if (!temps)
		return kp_fail_memory(err, "a batch");
	status = apply_changes(files, changes, count, temps, &made);
	if (temps != &one)
		kp_free(temps);
	return kp_files_report(status, &made, err);
}
