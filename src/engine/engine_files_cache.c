/*
 * engine_files_cache.c - the orders that this opener has in use.
 *
 * The truth is the mtimes of the documents' files. An order is that truth remembered: built once by
 * reading the folder and looking at each child, then kept up to date from the ring of changes that
 * all processes write (engine_files_control.c). Nothing of it is on disk, so nothing of it can be
 * stale after a crash, a copy, or a visit by another program while no Keep was running.
 *
 * Invariants:
 *   1. An order that is used holds exactly what the files said when the ring's head was `position`.
 *   2. An order whose folder is another one (inode) or was changed by somebody who does not write
 *      the ring (the folder's mtime) is built anew.
 *   3. Memory is bounded: at most CACHE_BYTES_MAX and CACHE_FOLDERS_MAX, the least recently used
 *      goes first. One folder's order may be larger than that; then it is the only one.
 *   4. A build races with changes: what the ring tells after its beginning is applied over it, and
 *      a record says the final state of its document, so applying it twice does no harm.
 *   5. All functions are called with cache_mutex held.
 *
 * Tests: tests/unit/test_engine_files.c.
 */
#include "engine/engine_files.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#define CACHE_BYTES_MAX ((size_t)64 << 20)
#define CACHE_FOLDERS_MAX 16384
#define TRIES_WHILE_BUSY 500

static keep_bytes path_of(const kp_files_folder *folder)
{
	return (keep_bytes){folder->path, folder->path_len};
}

static kp_files_folder **bucket_of(kp_files_cache *cache, keep_bytes path)
{
	return &cache->buckets[kp_siphash(cache->hash_key, path) % KP_FILES_CACHE_BUCKETS];
}

static kp_files_folder *find_folder(kp_files_cache *cache, keep_bytes path)
{
	kp_files_folder *folder = *bucket_of(cache, path);

	while (folder && !kp_bytes_equal(path_of(folder), path))
		folder = folder->next;
	return folder;
}

/* ---------------------------------------------------------------- by last use */

static void unlink_folder(kp_files_cache *cache, kp_files_folder *folder)
{
	if (folder->newer)
		folder->newer->older = folder->older;
	else
		cache->newest = folder->older;
	if (folder->older)
		folder->older->newer = folder->newer;
	else
		cache->oldest = folder->newer;
	folder->newer = folder->older = NULL;
}

static void link_newest(kp_files_cache *cache, kp_files_folder *folder)
{
	folder->newer = NULL;
	folder->older = cache->newest;
	if (cache->newest)
		cache->newest->newer = folder;
	else
		cache->oldest = folder;
	cache->newest = folder;
}

static size_t size_of(const kp_files_folder *folder)
{
	return sizeof *folder + folder->path_len + 32 + folder->order.bytes;
}

static void drop_folder(kp_files_cache *cache, kp_files_folder *folder)
{
	kp_files_folder **link = bucket_of(cache, path_of(folder));

	while (*link != folder)
		link = &(*link)->next;
	*link = folder->next;
	unlink_folder(cache, folder);
	cache->count--;
	cache->bytes -= size_of(folder);
	kp_files_order_release(&folder->order);
	kp_free(folder);
}

static void drop_all(kp_files_cache *cache)
{
	while (cache->oldest)
		drop_folder(cache, cache->oldest);
}

static void drop_subtree(kp_files_cache *cache, keep_bytes path)
{
	kp_files_folder *folder = cache->oldest;

	while (folder) {
		kp_files_folder *newer = folder->newer;

		if (kp_path_is_within(path, path_of(folder)))
			drop_folder(cache, folder);
		folder = newer;
	}
}

static void evict(kp_files_cache *cache, const kp_files_folder *keep)
{
	while (cache->oldest != keep &&
	       (cache->bytes > CACHE_BYTES_MAX || cache->count > CACHE_FOLDERS_MAX))
		drop_folder(cache, cache->oldest);
}

/* ---------------------------------------------------------------- from the ring */

static void apply_to_parent(kp_files_cache *cache, const kp_files_record *record,
			    const kp_path *path)
{
	kp_files_folder *folder = find_folder(cache, path->parent);
	keep_status status = KEEP_OK;
	size_t before;

	if (!folder)
		return;
	before = folder->order.bytes;
	if (record->kind == KP_FILES_SET)
		status = kp_files_order_put(&folder->order, path->name, record->mtime, NULL);
	else
		kp_files_order_remove(&folder->order, path->name);
	cache->bytes += folder->order.bytes - before;
	if (record->folder_mtime >= 0)
		folder->mtime = record->folder_mtime;
	if (status != KEEP_OK)
		drop_folder(cache, folder);
}

static void apply_record(kp_files_cache *cache, const kp_files_record *record)
{
	kp_path path = kp_path_of((keep_bytes){record->path, record->path_len});
	kp_files_folder *folder;

	switch (record->kind) {
	case KP_FILES_SET: apply_to_parent(cache, record, &path); break;
	case KP_FILES_UNSET:
		drop_subtree(cache, path.text);
		apply_to_parent(cache, record, &path);
		break;
	case KP_FILES_UNSET_LEAF:
		folder = find_folder(cache, path.text);
		if (folder)
			drop_folder(cache, folder);
		apply_to_parent(cache, record, &path);
		break;
	case KP_FILES_TOUCH:
		folder = find_folder(cache, path.text);
		if (folder)
			folder->mtime = record->folder_mtime;
		break;
	default: drop_all(cache);
	}
}

static void catch_up(kp_files *files)
{
	_Alignas(8) char room[KP_FILES_RECORD_MAX];
	kp_files_record *record = (kp_files_record *)(void *)room;
	kp_files_cache *cache = &files->cache;
	bool lost;

	if (!kp_files_control_of(files)) {
		drop_all(cache); /* nobody tells what changes */
		return;
	}
	while (kp_files_ring_next(files, &cache->position, &cache->session, record, &lost)) {
		if (lost)
			drop_all(cache);
		else
			apply_record(cache, record);
	}
}

/* ---------------------------------------------------------------- from the files */

/* Put one child in, when it has a value. */
static keep_status add_child(kp_files *files, const kp_files_dir *dir, const char *name,
			     kp_files_order *order, keep_error *err)
{
	char path[KP_FILES_NAME_MAX + sizeof "/" KP_FILES_DOCUMENT];
	char segment[KEEP_SEGMENT_BYTES_MAX + 2];
	struct stat about;
	keep_status status;
	size_t len = strlen(name);
	int failed;

	if (strcmp(name, KP_FILES_RESERVED) == 0 || len >= KP_FILES_NAME_MAX)
		return KEEP_OK;
	memcpy(path, name, len);
	memcpy(path + len, "/" KP_FILES_DOCUMENT, sizeof "/" KP_FILES_DOCUMENT);
	failed = kp_files_stat_at(kp_files_dir_fd(dir), path, &about);
	if (failed == ENOENT || failed == ENOTDIR || (!failed && !S_ISREG(about.st_mode)))
		return KEEP_OK;
	if (failed)
		return kp_fail_errno(err, failed, "cannot look at %s", path);
	status = kp_files_segment(files, kp_files_dir_fd(dir), name, segment, err);
	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status == KEEP_OK)
		status = kp_files_order_put(order, keep_bytes_of(segment), kp_files_mtime(&about),
					    err);
	return status;
}

static keep_status build_order(kp_files *files, keep_bytes path, int folder_fd,
			       kp_files_order *order, keep_error *err)
{
	kp_files_dirent entry;
	kp_files_dir dir;
	keep_status status = KEEP_OK;
	int failed = kp_files_dir_open(files, folder_fd, &dir);

	while (status == KEEP_OK && !failed) {
		failed = kp_files_dir_next(&dir, &entry);
		if (failed || !entry.name)
			break;
		if (entry.is_folder)
			status = add_child(files, &dir, entry.name, order, err);
	}
	if (failed)
		status = kp_fail_errno(err, failed, "cannot read the folder of '%" KP_PRI "'",
				       KP_ARG(path));
	kp_files_dir_close(&dir);
	if (status != KEEP_OK)
		kp_files_order_release(order);
	return status;
}

static keep_status load_folder(kp_files *files, keep_bytes path, int folder_fd,
			       const struct stat *about, keep_error *err)
{
	kp_files_cache *cache = &files->cache;
	kp_files_folder *folder = kp_alloc_zero(sizeof *folder + path.len + 1);
	kp_files_folder **bucket;
	keep_status status;

	if (!folder)
		return kp_fail_memory(err, "a folder's order");
	if (path.len > 0)
		memcpy(folder->path, path.data, path.len);
	folder->path_len = path.len;
	folder->ino = about->st_ino;
	folder->mtime = kp_files_mtime(about);
	memcpy(folder->order.hash_key, cache->hash_key, sizeof cache->hash_key);
	status = build_order(files, path, folder_fd, &folder->order, err);
	if (status != KEEP_OK) {
		kp_free(folder);
		return status;
	}
	bucket = bucket_of(cache, path);
	folder->next = *bucket;
	*bucket = folder;
	link_newest(cache, folder);
	cache->count++;
	cache->bytes += size_of(folder);
	evict(cache, folder);
	return KEEP_OK;
}

/* The cached order when it is current. A folder that differs may be explained by a change that is
   being made just now, whose record comes a moment later: wait for that a little. */
static keep_status find_current(kp_files *files, keep_bytes path, int folder_fd, struct stat *about,
				kp_files_folder **out, keep_error *err)
{
	kp_files_control *control = kp_files_control_of(files);
	kp_files_folder *folder;

	*out = NULL;
	for (unsigned tries = 0;; tries++) {
		bool is_busy = control && atomic_load(&control->gen) % 2 != 0;
		int failed;

		catch_up(files);
		failed = kp_files_stat_fd(folder_fd, about);
		if (failed)
			return kp_fail_errno(err, failed,
					     "cannot look at the folder of '%" KP_PRI "'",
					     KP_ARG(path));
		folder = find_folder(&files->cache, path);
		if (!folder ||
		    (folder->ino == about->st_ino && folder->mtime == kp_files_mtime(about)))
			break;
		if (tries > 0 && (!is_busy || tries >= TRIES_WHILE_BUSY)) {
			drop_folder(&files->cache, folder);
			folder = NULL;
			break;
		}
		if (is_busy)
			sched_yield();
	}
	*out = folder;
	return KEEP_OK;
}

keep_status kp_files_order_use(kp_files *files, keep_bytes path, int folder_fd, bool fresh,
			       const kp_files_order **order, keep_error *err)
{
	kp_files_folder *folder = NULL;
	struct stat about;
	keep_status status;

	*order = NULL;
	status = find_current(files, path, folder_fd, &about, &folder, err);
	if (status != KEEP_OK)
		return status;
	if (folder && fresh) {
		drop_folder(&files->cache, folder);
		folder = NULL;
	}
	if (!folder) {
		status = load_folder(files, path, folder_fd, &about, err);
		if (status != KEEP_OK)
			return status;
		if (kp_files_control_of(files))
			catch_up(files);
		folder = find_folder(&files->cache, path);
	}
	if (!folder) /* unset, or forgotten, while it was being read */
		return kp_fail(err, KEEP_BUSY, "'%" KP_PRI "' keeps changing", KP_ARG(path));
	unlink_folder(&files->cache, folder);
	link_newest(&files->cache, folder);
	*order = &folder->order;
	return KEEP_OK;
}

keep_status kp_files_cache_open(kp_files *files, keep_error *err)
{
	kp_files_control *control = kp_files_control_of(files);
	kp_files_cache *cache = &files->cache;

	if (control) {
		cache->session = atomic_load(&control->session);
		cache->position = atomic_load(&control->head);
	}
	return kp_random_bytes(cache->hash_key, sizeof cache->hash_key, err);
}

void kp_files_cache_release(kp_files *files)
{
	drop_all(&files->cache);
}
