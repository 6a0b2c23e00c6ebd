/*
 * engine_files.c - the backend "file:": a folder a document, the value in its index.json.
 *
 *     file:DIR      <DIR>/<path>/index.json, newest mtime first
 *
 * A store that the source project wrote is read as it is, and what Keep writes it can read: our own
 * things are in names that begin with ".keep", which have no index.json. See engine_files.h for the
 * map, engine_files_apply.c and engine_files_batch.c for how things change.
 *
 * Invariants:
 *   1. The files are the truth; everything else (control, orders) is derived and made anew at need.
 *   2. get reads one file. Finding none counts only when no unset or batch began meanwhile: the way
 *      to a file that exists may lead through a folder that is being replaced.
 *   3. A list is a moment: every value is read from a file that still has the mtime that the order
 *      said, and no unset or batch began meanwhile. Otherwise it is made again; at last under the
 *      writers' lock, where nothing moves.
 *   4. Only ENOENT and ENOTDIR mean "not there".
 *   5. A store that was deleted or replaced while it is open is UNAVAILABLE to reads: to those that
 *      find nothing, and to all that begin KP_FILES_LOOK_NS after the last look at the folder. What
 *      they tell before that was true in this store.
 *   6. Opened for reading only, nothing is written, locked or repaired. Where there is no control
 *      file orders are not kept: every list looks at the files.
 *
 * What it does not do: notice at once when another program overwrites an index.json in place while
 * Keep has the store open; the folder shows no sign of that. get is right always, list from the
 * time that the folder changes, the entry is read, or the store is opened again.
 *
 * Tests: tests/contract, tests/unit/test_engine_files.c, tests/crash/test_engine_files_moments.c.
 */
#include "engine/engine_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SCHEME "file:"
#define FOLDER_MODE 0700
#define TRIES_FREE 4 /* of a reader, before it takes the writers' lock */
#define TRIES_MAX 12
#define WATCH_POLL_MS 500
#define WATCH_POLL_READ_ONLY_MS 50

/* ---------------------------------------------------------------- identity */

static keep_status folder_of(const char *url, const char **folder, keep_error *err)
{
	*folder = url + strlen(SCHEME);
	if (strncmp(url, SCHEME, strlen(SCHEME)) != 0 || **folder == '\0')
		return kp_fail(err, KEEP_INVALID, "url: file: needs a folder, as in file:DIR");
	return KEEP_OK;
}

/* "<real path of the parent>/<name>": what a folder that is not there will be called. */
static char *real_path_missing(const char *folder, char *room)
{
	char parent[PATH_MAX];
	size_t len = strlen(folder), name, parent_len;

	while (len > 1 && folder[len - 1] == '/')
		len--;
	for (name = len; name > 0 && folder[name - 1] != '/'; name--)
		;
	if (len >= sizeof parent || len == name) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	memcpy(parent, name > 0 ? folder : ".", name > 0 ? name : 1);
	parent[name > 0 ? name : 1] = '\0';
	if (!realpath(parent, room))
		return NULL;
	if (strlen(room) + 1 + (len - name) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	parent_len = strcmp(room, "/") == 0 ? 0 : strlen(room);
	room[parent_len] = '/';
	memcpy(room + parent_len + 1, folder + name, len - name);
	room[parent_len + 1 + len - name] = '\0';
	return room;
}

static keep_status find_base(const char *url, char room[PATH_MAX], keep_error *err)
{
	const char *folder;
	keep_status status = folder_of(url, &folder, err);

	if (status != KEEP_OK)
		return status;
	if (realpath(folder, room))
		return KEEP_OK;
	if (errno == ENOENT && real_path_missing(folder, room))
		return KEEP_OK;
	return kp_fail_errno(err, errno, "cannot find %s", folder);
}

static keep_status files_identify(const char *url, char **identity, keep_error *err)
{
	char room[PATH_MAX];
	keep_status status = find_base(url, room, err);

	*identity = NULL;
	if (status != KEEP_OK)
		return status;
	*identity = kp_alloc(sizeof SCHEME + strlen(room));
	if (!*identity)
		return kp_fail_memory(err, "an engine");
	memcpy(*identity, SCHEME, sizeof SCHEME - 1);
	memcpy(*identity + sizeof SCHEME - 1, room, strlen(room) + 1);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- open and close */

static void files_close(kp_store *store)
{
	kp_files *files = (kp_files *)store;

	kp_files_cache_release(files);
	kp_files_control_close(files);
	kp_file_close(&files->trash);
	kp_file_close(&files->tmp);
	kp_file_close(&files->keep);
	kp_file_close(&files->base);
	kp_files_locks_release(files);
	kp_free(files->base_path);
	kp_free(files);
}

/* A new base must survive like what is put into it. */
static keep_status make_base(const kp_files *files, keep_error *err)
{
	char parent[PATH_MAX];
	char *slash;
	int fd = -1;
	keep_status status = kp_folder_make(AT_FDCWD, files->base_path, FOLDER_MODE, err);

	if (status == KEEP_CONFLICT)
		return KEEP_OK;
	if (status != KEEP_OK || files->relaxed)
		return status;
	memcpy(parent, files->base_path, strlen(files->base_path) + 1);
	slash = strrchr(parent, '/');
	slash[slash == parent] = '\0';
	status = kp_file_open(AT_FDCWD, parent, O_RDONLY | O_DIRECTORY, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	return status;
}

static keep_status open_base(kp_files *files, bool create, keep_error *err)
{
	struct stat about;
	int fd = -1, failed;
	long name_max;
	keep_status status;

	if (create && stat(files->base_path, &about) != 0 && errno == ENOENT) {
		status = make_base(files, err);
		if (status != KEEP_OK)
			return status;
	}
	status = kp_file_open(AT_FDCWD, files->base_path, O_RDONLY | O_DIRECTORY, 0, &files->base,
			      err);
	if (status != KEEP_OK)
		return status;
	failed = kp_files_stat_fd(files->base, &about);
	if (failed)
		return kp_fail_errno(err, failed, "cannot look at %s", files->base_path);
	files->base_dev = (uint64_t)about.st_dev;
	files->base_ino = (uint64_t)about.st_ino;
	name_max = fpathconf(files->base, _PC_NAME_MAX);
	files->name_max = name_max > 0 && name_max < KEEP_SEGMENT_BYTES_MAX
				  ? (size_t)name_max
				  : KEEP_SEGMENT_BYTES_MAX;
	files->has_openat2 = true;
	failed = kp_files_open_at(files, files->base, "", O_PATH | O_DIRECTORY, &fd);
	/* An old kernel says ENOSYS, some sandboxes EPERM. */
	if (failed == ENOSYS || failed == EPERM)
		files->has_openat2 = false;
	else if (failed)
		return kp_fail_errno(err, failed, "cannot open %s", files->base_path);
	kp_file_close(&fd);
	return KEEP_OK;
}

static keep_status open_own_folder(kp_files *files, int at, const char *name, int *fd,
				   keep_error *err)
{
	keep_status status;
	int failed = kp_files_open_at(files, at, name, O_RDONLY | O_DIRECTORY, fd);

	if (failed != ENOENT)
		return failed ? kp_fail_errno(err, failed, "cannot open %s/.keep/%s",
					      files->base_path, name)
			      : KEEP_OK;
	status = kp_folder_make(at, name, FOLDER_MODE, err);
	if (status == KEEP_CONFLICT)
		status = KEEP_OK;
	if (status == KEEP_OK)
		status = kp_file_open(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, fd, err);
	if (status == KEEP_OK && !files->relaxed)
		status = kp_file_sync(at, err);
	return status;
}

static keep_status open_for_writing(kp_files *files, keep_error *err)
{
	keep_status status;
	uint64_t counter;

	status = open_own_folder(files, files->base, KP_FILES_RESERVED, &files->keep, err);
	if (status == KEEP_OK)
		status = open_own_folder(files, files->keep, "tmp", &files->tmp, err);
	if (status == KEEP_OK)
		status = open_own_folder(files, files->keep, "trash", &files->trash, err);
	if (status == KEEP_OK)
		status = kp_random_bytes(&counter, sizeof counter, err);
	if (status != KEEP_OK)
		return status;
	atomic_store(&files->counter, counter);
	status = kp_files_control_open(files, err);
	if (status == KEEP_OK)
		status = kp_files_lock(files, err);
	if (status != KEEP_OK)
		return status;
	/* After a crash of the machine the control may know nothing of it. */
	status = kp_files_recover(files, err);
	if (status == KEEP_OK && kp_files_check_is_due(files))
		status = kp_files_check_marks(files, err);
	if (status == KEEP_OK) {
		kp_files_check_done(files);
		kp_files_sweep_leftovers(files);
	}
	kp_files_unlock(files);
	if (status == KEEP_OK)
		kp_files_trash_sweep(files);
	return status;
}

static keep_status files_open(const char *url, const keep_engine_options *options, kp_store **out,
			      keep_error *err)
{
	char room[PATH_MAX];
	keep_error made = KEEP_ERROR_INIT;
	kp_files *files;
	keep_status status = find_base(url, room, err);

	*out = NULL;
	if (status != KEEP_OK)
		return status;
	files = kp_alloc_zero(sizeof *files);
	if (!files)
		return kp_fail_memory(err, "an engine");
	files->store.backend = &kp_engine_files;
	files->relaxed = options->relaxed;
	files->read_only = options->read_only;
	files->value_bytes_max = (size_t)options->value_bytes_max;
	files->timeout_ms = options->timeout_ms;
	files->base = files->keep = files->tmp = files->trash = files->control_fd = -1;
	status = kp_files_locks_init(files, err);
	if (status != KEEP_OK) {
		kp_free(files);
		return status;
	}
	files->base_path = kp_alloc(strlen(room) + 1);
	status = files->base_path ? KEEP_OK : kp_fail_memory(err, "an engine");
	if (status == KEEP_OK) {
		memcpy(files->base_path, room, strlen(room) + 1);
		status = open_base(files, options->create, &made);
	}
	if (status == KEEP_OK)
		status = files->read_only ? kp_files_control_open(files, &made)
					  : open_for_writing(files, &made);
	if (status == KEEP_OK)
		status = kp_files_cache_open(files, &made);
	if (status != KEEP_OK)
		files_close(&files->store);
	else
		*out = &files->store;
	return kp_files_report(status, &made, err);
}

static const char *files_durability(const kp_store *store)
{
	const kp_files *files = (const kp_files *)store;

	return files->relaxed ? "relaxed" : "synced";
}

/* ---------------------------------------------------------------- get */

/* The last try of a reader: nobody changes anything meanwhile. */
static keep_status hold_still(kp_files *files, unsigned tries, bool *held, keep_error *err)
{
	keep_status status;

	*held = false;
	if (tries < TRIES_FREE || files->read_only)
		return KEEP_OK;
	status = kp_files_lock(files, err);
	*held = status == KEEP_OK;
	return status;
}

/* Invariant 2. */
static keep_status find_document(kp_files *files, const kp_path *path, keep_buffer *value,
				 keep_error *err)
{
	keep_status status = KEEP_OK;

	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		uint64_t epoch;
		bool held, is_final = true;

		status = hold_still(files, tries, &held, err);
		if (status == KEEP_OK)
			status = kp_files_wait_quiet(files, true, &epoch, err);
		if (status == KEEP_OK) {
			status = kp_files_document_get(files, path->text, value, err);
			is_final = status != KEEP_NOT_FOUND || kp_files_is_unchanged(files, epoch);
		}
		if (held)
			kp_files_unlock(files);
		if (is_final)
			break;
	}
	return status;
}

static keep_status files_get(kp_store *store, const kp_path *path, keep_buffer *value,
			     keep_error *err)
{
	kp_files *files = (kp_files *)store;
	keep_error made = KEEP_ERROR_INIT;
	keep_status status = kp_files_check_base(files, false, &made);

	if (status == KEEP_OK)
		status = find_document(files, path, value, &made);
	if (status == KEEP_NOT_FOUND && kp_files_check_base(files, true, &made) != KEEP_OK)
		status = made.status;
	return kp_files_report(status, &made, err);
}

/* ---------------------------------------------------------------- list and count */

typedef struct page_entry {
	int64_t mtime;
	keep_bytes name;
} page_entry;

typedef struct page {
	page_entry *entries;
	size_t count, capacity;
	kp_arena names;
} page;

static keep_status add_to_page(page *rows, const kp_files_entry *entry, keep_error *err)
{
	page_entry *grown;

	if (rows->count == rows->capacity) {
		size_t capacity = rows->capacity ? 2 * rows->capacity : 64;

		grown = kp_realloc(rows->entries, capacity * sizeof *grown);
		if (!grown)
			return kp_fail_memory(err, "a list");
		rows->entries = grown;
		rows->capacity = capacity;
	}
	rows->entries[rows->count].mtime = entry->mtime;
	return kp_arena_copy(&rows->names, (keep_bytes){entry->name, entry->name_len},
			     &rows->entries[rows->count++].name, err);
}

static void release_page(page *rows)
{
	kp_free(rows->entries);
	kp_arena_release(&rows->names);
	*rows = (page){.count = 0};
}

/* Names and places as the order has them now; `total` (may be NULL) is how many there are in all.
 */
static keep_status copy_page(kp_files *files, keep_bytes path, int folder, bool fresh,
			     int64_t offset, int64_t limit, page *rows, int64_t *total,
			     keep_error *err)
{
	const kp_files_order *order;
	keep_status status;

	pthread_mutex_lock(&files->cache_mutex);
	status = kp_files_order_use(files, path, folder, fresh, &order, err);
	if (status == KEEP_OK) {
		*total = (int64_t)order->count;
		for (int64_t i = 0; status == KEEP_OK && i < limit && offset + i < *total; i++)
			status = add_to_page(rows, kp_files_order_at(order, (size_t)(offset + i)),
					     err);
	}
	pthread_mutex_unlock(&files->cache_mutex);
	return status;
}

/* Read the page's values into the sink. *stale: a file is not what the order said. */
static keep_status read_page(kp_files *files, int folder, const page *rows, keep_engine_sink *sink,
			     bool *stale, keep_error *err)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;
	char name[KP_FILES_NAME_MAX + sizeof "/" KP_FILES_DOCUMENT];
	int64_t mtime = 0;

	*stale = false;
	for (size_t i = 0; status == KEEP_OK && i < rows->count; i++) {
		const page_entry *row = &rows->entries[i];

		status = kp_files_document_name(files, row->name, name, err);
		if (status != KEEP_OK)
			break;
		status = kp_files_document_read(files, folder, name, &value, &mtime, err);
		if (status == KEEP_NOT_FOUND || (status == KEEP_OK && mtime != row->mtime)) {
			*stale = true;
			status = KEEP_OK;
			break;
		}
		if (status == KEEP_OK)
			status = kp_sink_add(sink, row->name, kp_buffer_bytes(&value), err);
	}
	keep_buffer_release(&value);
	return status;
}

/* One try. *again: it was no moment of the store. */
static keep_status try_list(kp_files *files, const kp_path *path, bool fresh, int64_t offset,
			    int64_t limit, keep_engine_sink *sink, int64_t *total, bool *again,
			    keep_error *err)
{
	page rows = {.count = 0};
	keep_status status;
	uint64_t epoch = 0;
	int folder = -1;

	*again = false;
	*total = 0;
	status = kp_files_wait_quiet(files, false, &epoch, err);
	if (status != KEEP_OK)
		return status;
	status = kp_files_folder_open(files, path->text, O_PATH, &folder, err);
	if (status == KEEP_NOT_FOUND) {
		*again = !kp_files_is_unchanged(files, epoch);
		return KEEP_OK;
	}
	if (status == KEEP_OK)
		status = copy_page(files, path->text, folder, fresh, offset, limit, &rows, total,
				   err);
	if (status == KEEP_BUSY) { /* it went away while it was being read */
		*again = true;
		status = KEEP_OK;
	} else if (status == KEEP_OK && sink) {
		status = read_page(files, folder, &rows, sink, again, err);
	}
	if (status == KEEP_OK && !*again)
		*again = !kp_files_is_unchanged(files, epoch);
	release_page(&rows);
	kp_file_close(&folder);
	return status;
}

static keep_status list_rows(kp_files *files, const kp_path *path, int64_t offset, int64_t limit,
			     keep_engine_sink *sink, int64_t *total, keep_error *err)
{
	size_t before = sink ? sink->count : 0;
	keep_status status = kp_files_check_base(files, false, err);

	for (unsigned tries = 0; status == KEEP_OK && tries < TRIES_MAX; tries++) {
		bool held, again = false;

		status = hold_still(files, tries, &held, err);
		if (sink)
			sink->count = before;
		if (status == KEEP_OK)
			status = try_list(files, path, tries > 1, offset, limit, sink, total,
					  &again, err);
		if (held)
			kp_files_unlock(files);
		if (status == KEEP_OK && !again)
			return *total > 0 ? KEEP_OK : kp_files_check_base(files, true, err);
	}
	if (status != KEEP_OK)
		return status;
	return kp_fail(err, KEEP_BUSY, "'%" KP_PRI "' changes faster than it can be read",
		       KP_ARG(path->text));
}

static keep_status files_list(kp_store *store, const kp_path *path, int64_t offset, int64_t limit,
			      keep_engine_sink *sink, keep_error *err)
{
	keep_error made = KEEP_ERROR_INIT;
	int64_t total;
	keep_status status = list_rows((kp_files *)store, path, offset, limit, sink, &total, &made);

	return kp_files_report(status, &made, err);
}

static keep_status files_count(kp_store *store, const kp_path *path, int64_t *count,
			       keep_error *err)
{
	keep_error made = KEEP_ERROR_INIT;
	keep_status status = list_rows((kp_files *)store, path, 0, 0, NULL, count, &made);

	return kp_files_report(status, &made, err);
}

/* ---------------------------------------------------------------- watch */

typedef struct files_watch {
	kp_watch watch;
	uint64_t position, session; /* of the ring */
	_Atomic int cancelled;
	char path[KEEP_PATH_BYTES_MAX + 1];
	size_t path_len;
} files_watch;

static keep_status files_watch_open(kp_store *store, const kp_path *path, kp_watch **out,
				    keep_error *err)
{
	kp_files *files = (kp_files *)store;
	kp_files_control *control = kp_files_control_of(files);
	files_watch *watch = kp_alloc_zero(sizeof *watch);

	*out = NULL;
	if (!watch)
		return kp_fail_memory(err, "a watch");
	watch->watch.store = store;
	if (path->text.len > 0)
		memcpy(watch->path, path->text.data, path->text.len);
	watch->path_len = path->text.len;
	if (control) {
		watch->session = atomic_load(&control->session);
		watch->position = atomic_load(&control->head);
	}
	*out = &watch->watch;
	return KEEP_OK;
}

/* Step over what the ring tells. True when some of it was at, below or above the path. */
static bool look_at_ring(files_watch *watch)
{
	_Alignas(8) char room[KP_FILES_RECORD_MAX];
	kp_files_record *record = (kp_files_record *)(void *)room;
	kp_files *files = (kp_files *)watch->watch.store;
	keep_bytes path = {watch->path, watch->path_len};
	bool lost, changed = false;

	if (!kp_files_control_of(files))
		return false;
	while (kp_files_ring_next(files, &watch->position, &watch->session, record, &lost)) {
		keep_bytes topic = {record->path, lost ? 0 : record->path_len};

		if (lost || record->kind == KP_FILES_RESET)
			changed = true;
		else if (record->kind != KP_FILES_TOUCH)
			changed |= kp_path_concerns(topic, path);
	}
	return changed;
}

/* Until the bell rings, at most so long. */
static void sleep_at_bell(kp_files *files, uint32_t heard, int64_t ms)
{
	kp_files_control *control = kp_files_control_of(files);
	struct timespec time = {.tv_sec = (time_t)(ms / 1000),
				.tv_nsec = (long)(ms % 1000) * 1000000};

	if (!control || files->read_only) {
		nanosleep(&time, NULL);
		return;
	}
	atomic_fetch_add(&control->sleepers, 1);
	syscall(SYS_futex, &control->bell, FUTEX_WAIT, heard, &time, NULL, 0);
	atomic_fetch_sub(&control->sleepers, 1);
}

static keep_status files_watch_wait(kp_watch *handle, int64_t timeout_ms, bool *changed,
				    keep_error *err)
{
	files_watch *watch = (files_watch *)handle;
	kp_files *files = (kp_files *)handle->store;
	kp_files_control *control = kp_files_control_of(files);
	int64_t deadline_ns = kp_monotonic_ns() + (timeout_ms > 0 ? timeout_ms * 1000000 : 0);
	int64_t poll_ms = files->read_only ? WATCH_POLL_READ_ONLY_MS : WATCH_POLL_MS;
	keep_status status = KEEP_OK;
	uint64_t epoch;

	for (;;) {
		uint32_t heard = control ? atomic_load(&control->bell) : 0;
		int64_t left_ms = poll_ms;

		/* A writer killed before it published is finished here, and then published. */
		status = kp_files_wait_quiet(files, false, &epoch, err);
		*changed = status == KEEP_OK && look_at_ring(watch);
		if (status != KEEP_OK || *changed || atomic_load(&watch->cancelled))
			return status;
		if (timeout_ms >= 0) {
			left_ms = (deadline_ns - kp_monotonic_ns() + 999999) / 1000000;
			if (left_ms <= 0)
				return KEEP_OK;
		}
		sleep_at_bell(files, heard, left_ms < poll_ms ? left_ms : poll_ms);
	}
}

static void files_watch_cancel(kp_watch *handle)
{
	files_watch *watch = (files_watch *)handle;
	kp_files *files = (kp_files *)handle->store;
	kp_files_control *control = kp_files_control_of(files);

	atomic_store(&watch->cancelled, 1);
	if (!control || files->read_only)
		return; /* it polls */
	atomic_fetch_add(&control->bell, 1);
	syscall(SYS_futex, &control->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void files_watch_close(kp_watch *handle)
{
	kp_free(handle);
}

/* ---------------------------------------------------------------- the table */

const kp_backend kp_engine_files = {
	.name = "file",
	.identify = files_identify,
	.open = files_open,
	.close = files_close,
	.durability = files_durability,
	.can_extend = true,
	.get = files_get,
	.list = files_list,
	.count = files_count,
	.scan = kp_files_scan,
	.apply = kp_files_apply,
	.watch_open = files_watch_open,
	.watch_wait = files_watch_wait,
	.watch_cancel = files_watch_cancel,
	.watch_close = files_watch_close,
};
