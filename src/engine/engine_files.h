#ifndef KP_ENGINE_FILES_H
#define KP_ENGINE_FILES_H
/*
 * engine_files.h - what the files behind file: share. Read it as a map of the store.
 *
 *   <base>/chat/x/index.json    the value of "chat/x"; its mtime is its place in the order
 *   <base>/.keep/control        mapped by every process: locks, counters, recent changes
 *   <base>/.keep/journal        a batch that is committed but not yet wholly applied
 *   <base>/.keep/tmp/           values on their way in
 *   <base>/.keep/trash/         folders that were unset and wait for their deletion
 *
 *   engine_files.c          the backend's table, opening, get, list, count, watches
 *   engine_files_apply.c    changes: one alone
 *   engine_files_batch.c    changes: several, as one
 *   engine_files_plan.c     what a list of changes comes to
 *   engine_files_journal.c  the journal and recovery
 *   engine_files_trash.c    deleting what was unset, sweeping what killed processes left
 *   engine_files_control.c  the control file: writers' lock, readers' counters, the ring
 *   engine_files_cache.c    the orders in use, kept up to date from the ring
 *   engine_files_order.c    one folder's order
 *   engine_files_scan.c     scan
 *   engine_files_check.c    relaxed values after a crash of the machine
 *   engine_files_tree.c     names, paths, and every system call that core has no door for
 *
 * Locks, in the order they are taken: the writers' lock, then cache_mutex.
 */
#include "engine/backend.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define KP_FILES_NS_PER_MS INT64_C(1000000)
#define KP_FILES_SEGMENT_MAX 80 /* ".keep-" and 64 digits, with room; plain ones are up to 255 */
/* A path on disk: the longest, with each of its segments escaped, and "/index.json". */
#define KP_FILES_PATH_MAX (KEEP_PATH_BYTES_MAX + KEEP_PATH_SEGMENTS_MAX * KP_FILES_SEGMENT_MAX + 16)
#define KP_FILES_NAME_MAX 288 /* a segment on disk and "/index.json" */
#define KP_FILES_DOCUMENT "index.json"
#define KP_FILES_LOOK_NS (50 * INT64_C(1000000))
#define KP_FILES_RESERVED ".keep" /* names that begin so are not the users' */
#define KP_FILES_NAME_FILE ".keep-name"
#define KP_FILES_TEMP_NAME_MAX 48

/* ---------------------------------------------------------------- the control file */

#define KP_FILES_RING_BYTES (UINT64_C(128) << 10)
#define KP_FILES_RING_AT 4096
#define KP_FILES_UNSYNCED_MAX 64

enum kp_files_state {
	KP_FILES_IDLE = 0,
	KP_FILES_APPLYING = 1, /* one rename is being made */
	KP_FILES_JOURNAL = 2   /* a journal is written, applied or removed */
};

/*
 * The page that all processes of a store share. Everything in it is derived: when it is missing or
 * damaged it is made anew. Changed only by the holder of the writers' lock, except `sleepers` and
 * the clearing of `unsynced`.
 */
typedef struct kp_files_control {
	char magic[8];
	uint32_t version;
	uint32_t size;
	_Atomic uint64_t session;  /* changes when the file is made anew */
	_Atomic uint64_t gen;      /* odd while a change is being applied */
	_Atomic uint64_t epoch;    /* counts changes of more than one document, as they begin */
	_Atomic uint32_t state;    /* kp_files_state */
	_Atomic uint32_t bell;     /* futex: counts publications */
	_Atomic uint32_t sleepers; /* watches that may be waiting on `bell` */
	_Atomic uint32_t relaxed;  /* somebody stored without syncing, in this boot or in `boot` */
	_Atomic uint64_t head;     /* bytes ever published in the ring */
	_Atomic uint64_t reserved; /* >= head: bytes up to here may be being overwritten */
	char boot[40];             /* the boot whose relaxed values need no check; "": none */
	/* Hashes of paths whose folder was made and whose entry in its parent is not synced yet. */
	_Atomic uint64_t unsynced[KP_FILES_UNSYNCED_MAX];
} kp_files_control;

enum kp_files_record_kind {
	KP_FILES_SET = 1,    /* a document has this mtime now */
	KP_FILES_UNSET,      /* a path and all below it are gone */
	KP_FILES_UNSET_LEAF, /* the same, and there was nothing below it */
	KP_FILES_TOUCH,      /* the folder's mtime changed, its documents did not */
	KP_FILES_RESET       /* forget everything */
};

typedef struct kp_files_record {
	uint32_t size; /* of all, in bytes, a multiple of 8 */
	uint16_t kind;
	uint16_t path_len;
	int64_t mtime;
	int64_t folder_mtime; /* of the parent (TOUCH: of the path) after the change; -1: unknown */
	char path[];
} kp_files_record;

#define KP_FILES_RECORD_MAX (sizeof(kp_files_record) + KEEP_PATH_BYTES_MAX + 8)

/* ---------------------------------------------------------------- an order (engine_files_order.c)
 */

typedef struct kp_files_entry {
	int64_t mtime;
	struct kp_files_entry *next; /* in its bucket */
	uint16_t name_len;
	char name[];
} kp_files_entry;

/* The children of a folder that have a value, by (mtime, name descending); the last is the newest.
 */
typedef struct kp_files_order {
	struct kp_files_block **blocks;
	size_t block_count, block_capacity;
	kp_files_entry **buckets;
	size_t bucket_count; /* a power of two, or 0 */
	size_t count;
	size_t bytes; /* memory held, about */
	unsigned char hash_key[16];
} kp_files_order;

/* Put `name` at `mtime`, wherever it was before. */
keep_status kp_files_order_put(kp_files_order *order, keep_bytes name, int64_t mtime,
			       keep_error *err) KEEP_MUST_CHECK;
void kp_files_order_remove(kp_files_order *order, keep_bytes name);
/* The entry that `offset` newer ones precede, or NULL. */
const kp_files_entry *kp_files_order_at(const kp_files_order *order, size_t offset);
/* The newest entry whose mtime is below `bound`, or NULL; *rank (may be NULL) is its offset. */
const kp_files_entry *kp_files_order_below(const kp_files_order *order, int64_t bound,
					   size_t *rank);
keep_status kp_files_order_copy(const kp_files_order *from, kp_files_order *to,
				keep_error *err) KEEP_MUST_CHECK;
void kp_files_order_release(kp_files_order *order);

/* ---------------------------------------------------------------- the cache (engine_files_cache.c)
 */

typedef struct kp_files_folder {
	struct kp_files_folder *next;          /* in its bucket */
	struct kp_files_folder *newer, *older; /* by last use */
	kp_files_order order;
	uint64_t ino;
	int64_t mtime; /* of the folder, when the order was last known to be whole */
	size_t path_len;
	char path[];
} kp_files_folder;

#define KP_FILES_CACHE_BUCKETS 4096

typedef struct kp_files_cache {
	kp_files_folder *buckets[KP_FILES_CACHE_BUCKETS];
	kp_files_folder *newest, *oldest;
	size_t count, bytes;
	uint64_t position; /* of the ring: everything before it is in the orders */
	uint64_t session;
	unsigned char hash_key[16];
} kp_files_cache;

/* ---------------------------------------------------------------- the store */

typedef struct kp_files {
	kp_store store;
	char *base_path;
	uint64_t base_dev, base_ino;
	_Atomic int64_t looked_ns; /* when a reader last saw that the base is the one at its path */
	bool relaxed, read_only;
	bool has_openat2;
	size_t value_bytes_max;
	size_t name_max; /* the file system's */
	int64_t timeout_ms;
	int base, keep, tmp, trash; /* descriptors, -1 when there is none */
	int control_fd;
	kp_files_control *_Atomic control; /* NULL: read-only, and there is none */
	unsigned slot;                     /* this opener's, in the names it makes */
	_Atomic uint64_t counter;          /* for those names */
	_Atomic uint64_t unsets;           /* done by this opener */
	pthread_mutex_t writer_mutex; /* guards the next two: the writers' lock among threads */
	pthread_cond_t writer_left;
	bool writer_is_here;
	pthread_mutex_t cache_mutex;
	kp_files_cache cache;
} kp_files;

static inline kp_files_control *kp_files_control_of(kp_files *files)
{
	return atomic_load_explicit(&files->control, memory_order_acquire);
}

/*
 * Inside, a failure may be an answer ("there is no such folder") that the call then gets over. So
 * the table's functions collect failures in an error of their own and hand out only the last.
 */
static inline keep_status kp_files_report(keep_status status, const keep_error *made,
					  keep_error *err)
{
	if (status != KEEP_OK && err)
		*err = *made;
	return status;
}

/* ---------------------------------------------------------------- names and calls (…_tree.c) */

/* The folder's name for a segment, zero-terminated in out[KP_FILES_NAME_MAX]. */
keep_status kp_files_name(const kp_files *files, keep_bytes segment, char *out,
			  keep_error *err) KEEP_MUST_CHECK;
/* The same and "/index.json". */
keep_status kp_files_document_name(const kp_files *files, keep_bytes segment, char *out,
				   keep_error *err) KEEP_MUST_CHECK;
bool kp_files_is_escaped(const kp_files *files, keep_bytes segment);
/* A path as it is on disk, relative to the base; "" for the root; out[KP_FILES_PATH_MAX]. */
keep_status kp_files_disk_path(const kp_files *files, keep_bytes path, char *out,
			       keep_error *err) KEEP_MUST_CHECK;

/* Calls that give 0 or an errno; each consults KP_FAULT_FILE. Nothing follows a symbolic link. */
int kp_files_open_at(const kp_files *files, int folder, const char *path, int flags, int *fd);
int kp_files_stat_fd(int fd, struct stat *about);
int kp_files_stat_at(int folder, const char *name, struct stat *about);
int kp_files_set_mtime(int folder, const char *name, int64_t mtime);
int kp_files_sync_all(int fd); /* the whole file system */
int64_t kp_files_mtime(const struct stat *about);

/* Does the base's path still lead to it? 0: yes; ENOENT: it was deleted or replaced; else the errno
   of looking. */
int kp_files_look_at_base(const kp_files *files);
keep_status kp_files_fail_gone(const kp_files *files, keep_error *err) KEEP_MUST_CHECK;
/* For readers: UNAVAILABLE when the base was deleted or replaced; looked at now, or when that was
   last done KP_FILES_LOOK_NS ago. Who may not look (any more) can still read. */
keep_status kp_files_check_base(kp_files *files, bool now, keep_error *err) KEEP_MUST_CHECK;

/* A folder being read; `dir` is a DIR *. */
typedef struct kp_files_dir {
	void *dir;
} kp_files_dir;

typedef struct kp_files_dirent {
	const char *name;
	bool is_folder;
} kp_files_dirent;

/* Read the folder behind a descriptor, which stays the caller's. */
int kp_files_dir_open(const kp_files *files, int folder, kp_files_dir *dir);
/* *entry.name is NULL at the end; "." and ".." are left out. */
int kp_files_dir_next(kp_files_dir *dir, kp_files_dirent *entry);
int kp_files_dir_fd(const kp_files_dir *dir);
void kp_files_dir_close(kp_files_dir *dir);

/* The segment that a folder of that name stands for, in `out` [KEEP_SEGMENT_BYTES_MAX + 1];
   NOT_FOUND: none (reserved, not UTF-8). CORRUPT: an escape whose name is missing or not its own.
 */
keep_status kp_files_segment(const kp_files *files, int folder, const char *name, char *out,
			     keep_error *err) KEEP_MUST_CHECK;

/* Open a path's folder; NOT_FOUND when it is not there. `flags` as O_PATH or O_RDONLY. */
keep_status kp_files_folder_open(const kp_files *files, keep_bytes path, int flags, int *fd,
				 keep_error *err) KEEP_MUST_CHECK;
/* Read `name` (relative to `folder`): value and mtime. NOT_FOUND when there is no such file. */
keep_status kp_files_document_read(const kp_files *files, int folder, const char *name,
				   keep_buffer *value, int64_t *mtime,
				   keep_error *err) KEEP_MUST_CHECK;
keep_status kp_files_document_get(const kp_files *files, keep_bytes path, keep_buffer *value,
				  keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the control (…_control.c) */

keep_status kp_files_locks_init(kp_files *files, keep_error *err) KEEP_MUST_CHECK;
void kp_files_locks_release(kp_files *files);
/* Map .keep/control, making it when this is a writing opener; take a slot. */
keep_status kp_files_control_open(kp_files *files, keep_error *err) KEEP_MUST_CHECK;
void kp_files_control_close(kp_files *files);
/* True when relaxed values of an earlier boot are to be checked; done says that they are. */
bool kp_files_check_is_due(kp_files *files);
void kp_files_check_done(kp_files *files);
bool kp_files_slot_is_alive(const kp_files *files, int64_t slot); /* another opener's */
bool kp_files_is_alone(const kp_files *files);                    /* no other writing opener */

/* The writers' lock; finishes first what a killed writer left. BUSY after timeout_ms. */
keep_status kp_files_lock(kp_files *files, keep_error *err) KEEP_MUST_CHECK;
void kp_files_unlock(kp_files *files);

/* Between these two the store changes; `many` when a reader could see a part. */
void kp_files_change_begin(kp_files *files, enum kp_files_state state, bool many);
void kp_files_change_end(kp_files *files);
/* JOURNAL before a journal is written, IDLE after it is gone. */
void kp_files_set_state(kp_files *files, enum kp_files_state state);
/* Append records (a run of kp_files_record) to the ring; too many become one RESET. */
void kp_files_publish(kp_files *files, keep_bytes records);

/* Wait until nothing is being applied (by a live writer; what a dead one left is finished first).
 *epoch is for kp_files_is_unchanged. */
keep_status kp_files_wait_quiet(kp_files *files, bool only_many, uint64_t *epoch,
				keep_error *err) KEEP_MUST_CHECK;
/* True when nothing that began since could have shown a part of itself. */
bool kp_files_is_unchanged(kp_files *files, uint64_t epoch);

/* Copy the record at *position and step over it. False: nothing there yet. *lost: the ring ran
   over, or was made anew; *position is the head then. `record` has KP_FILES_RECORD_MAX bytes. */
bool kp_files_ring_next(kp_files *files, uint64_t *position, uint64_t *session,
			kp_files_record *record, bool *lost);

/* ---------------------------------------------------------------- orders in use (…_cache.c) */

keep_status kp_files_cache_open(kp_files *files, keep_error *err) KEEP_MUST_CHECK;
void kp_files_cache_release(kp_files *files);
/*
 * The up to date order of the folder `path`, open at `folder_fd`; the caller holds cache_mutex for
 * as long as it looks at it. `fresh`: do not believe what is cached.
 */
keep_status kp_files_order_use(kp_files *files, keep_bytes path, int folder_fd, bool fresh,
			       const kp_files_order **order, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- changes (…_plan.c, _apply.c,
 * _batch.c) */

/* A value that waits in .keep/tmp. */
typedef struct kp_files_temp {
	char name[KP_FILES_TEMP_NAME_MAX]; /* "" when there is none (any more) */
} kp_files_temp;

keep_status kp_files_apply(kp_store *store, const kp_change *changes, size_t count,
			   keep_error *err) KEEP_MUST_CHECK;
/* Several changes, or a clear; temps[i] holds the value of changes[i]. */
keep_status kp_files_apply_many(kp_files *files, const kp_change *changes, size_t count,
				kp_files_temp *temps, keep_error *err) KEEP_MUST_CHECK;

/* True for a change that stores a value. */
bool kp_files_is_set(const kp_change *change);
/* The place that a change takes among the documents of `order`. FULL: none is free there. */
keep_status kp_files_place(const kp_files_order *order, const kp_change *change, int64_t *mtime,
			   keep_error *err) KEEP_MUST_CHECK;
/* Give a temporary its mtime and look whether the file system kept it. */
keep_status kp_files_stamp(kp_files *files, const char *temp, int64_t mtime,
			   keep_error *err) KEEP_MUST_CHECK;
/* The folder of a path's parent; what is missing of it is made and, if asked, synced. */
keep_status kp_files_make_parent(kp_files *files, const kp_path *path, bool sync, int *parent,
				 keep_error *err) KEEP_MUST_CHECK;
/* The path's own folder in its parent. */
keep_status kp_files_make_folder(kp_files *files, const kp_path *path, int parent, int *folder,
				 bool *is_new, keep_error *err) KEEP_MUST_CHECK;
/* Append a record to a run of them. */
keep_status kp_files_record_add(keep_buffer *records, enum kp_files_record_kind kind,
				keep_bytes path, int64_t mtime, keep_error *err) KEEP_MUST_CHECK;

/* One document that a plan writes. */
typedef struct kp_files_put {
	kp_path path;
	size_t change;   /* whose value it is */
	bool is_dropped; /* a later change of the same plan took its place */
	int64_t mtime;
} kp_files_put;

/* What a list of changes comes to: first the removals in their order, then the puts. */
typedef struct kp_files_plan {
	kp_files_put *puts;
	size_t put_count;
	keep_bytes *removals; /* paths on disk, which exist */
	size_t removal_count, removal_capacity;
	bool is_clear;       /* everything that was there goes */
	keep_buffer records; /* for the ring; folder_mtime is not known yet */
	kp_arena arena;
} kp_files_plan;

#define KP_FILES_PLAN_INIT                                                                         \
	{                                                                                          \
		.put_count = 0                                                                     \
	}

/* Work the changes out against the store, whose writers' lock is held. CONFLICT: an expectation. */
keep_status kp_files_plan_make(kp_files *files, const kp_change *changes, size_t count,
			       kp_files_plan *plan, keep_error *err) KEEP_MUST_CHECK;
void kp_files_plan_release(kp_files_plan *plan);

/* ---------------------------------------------------------------- journal and trash */

typedef struct kp_files_step {
	bool is_removal;
	keep_bytes path;                   /* of a document; of a removal: the folder on disk */
	char name[KP_FILES_TEMP_NAME_MAX]; /* in .keep/tmp; of a removal: in .keep/trash */
	int64_t mtime;
} kp_files_step;

/* Write and commit; after OK the journal is the truth. UNCERTAIN: it may be. */
keep_status kp_files_journal_write(kp_files *files, const kp_files_step *steps, size_t count,
				   keep_error *err) KEEP_MUST_CHECK;
/* Make one step unless it has been made. */
keep_status kp_files_step_apply(kp_files *files, const kp_files_step *step,
				keep_error *err) KEEP_MUST_CHECK;
/* Sync what the steps changed. */
keep_status kp_files_steps_sync(kp_files *files, const kp_files_step *steps, size_t count,
				keep_error *err) KEEP_MUST_CHECK;
keep_status kp_files_journal_remove(kp_files *files, keep_error *err) KEEP_MUST_CHECK;
/* Finish or undo what a killed writer left; the caller holds the writers' lock. */
keep_status kp_files_recover(kp_files *files, keep_error *err) KEEP_MUST_CHECK;

/* The folder that holds an entry of the store, by the entry's path on disk; *name is its last part.
 */
keep_status kp_files_holder_open(const kp_files *files, const char *disk, int *fd,
				 const char **name, keep_error *err) KEEP_MUST_CHECK;
/* A name of this opener's, unused in .keep/tmp and .keep/trash. */
void kp_files_own_name(kp_files *files, char out[KP_FILES_TEMP_NAME_MAX]);
/* Delete one folder of the trash, or all that no journal needs; what fails stays for next time. */
void kp_files_trash_delete(kp_files *files, const char *name);
void kp_files_trash_sweep(kp_files *files);
/* Delete temporaries of openers that are gone, and hand a journal's trash to the sweep; the caller
   holds the writers' lock and there is no journal. */
void kp_files_sweep_leftovers(kp_files *files);

/* ---------------------------------------------------------------- relaxed values (…_check.c) */

/* Note in the file what it should hold. Best effort. */
void kp_files_mark(int fd, keep_bytes value);
/* Remove the documents that are not what their marks say; under the writers' lock. */
keep_status kp_files_check_marks(kp_files *files, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- scan (…_scan.c) */

keep_status kp_files_scan(kp_store *store, const kp_path *path, kp_scan_callback *callback,
			  void *ctx, keep_error *err) KEEP_MUST_CHECK;

#endif
