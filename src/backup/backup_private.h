#ifndef KP_BACKUP_PRIVATE_H
#define KP_BACKUP_PRIVATE_H
/*
 * backup_private.h - what the files of snapshots and restoring share.
 */
#include "backup/backup.h"
#include "sql/sqlite_files.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define KP_HEX_SIZE (2 * KP_SHA256_SIZE + 1)

enum { KP_TREE_DEPTH_MAX = 32, KP_COPY_BLOCK = 1 << 20 };

/* ---------------------------------------------------------------- a tree (backup_tree.c) */

/* What shows that a file was not written: all of it equal, and the times not too young. */
typedef struct kp_stamp {
	uint64_t device, inode;
	int64_t size, changed_ns, status_ns; /* mtime, ctime */
} kp_stamp;

typedef struct kp_tree_entry {
	const char *path; /* relative; never empty */
	unsigned mode;    /* st_mode: a file or a folder; links and others are only counted */
	kp_stamp stamp;
} kp_tree_entry;

typedef struct kp_tree {
	kp_tree_entry *entries; /* by strcmp of their paths */
	size_t count, capacity;
	int64_t strange_count; /* links, pipes, sockets … */
	kp_arena arena;
} kp_tree;

/* All below a folder's descriptor; `skipped` (may be NULL) is asked of each path. */
typedef bool kp_tree_skip(void *ctx, const char *path, const char *name, bool is_folder);
keep_status kp_tree_read(int folder, kp_tree_skip *skipped, void *ctx, kp_tree *out,
			 keep_error *err) KEEP_MUST_CHECK;
void kp_tree_release(kp_tree *tree);
const kp_tree_entry *kp_tree_find(const kp_tree *tree, const char *path);
kp_stamp kp_stamp_of(const struct stat *st);
bool kp_stamp_equal(const kp_stamp *a, const kp_stamp *b);

/* ---------------------------------------------------------------- folders (backup_folder.c) */

keep_status kp_folder_open(int parent, const char *name, int *fd, keep_error *err) KEEP_MUST_CHECK;
/* Make and open; its being there is OK. */
keep_status kp_folder_need(int parent, const char *name, int *fd, keep_error *err) KEEP_MUST_CHECK;
/* Open a file for reading by a path of which no part is a link. */
keep_status kp_file_open_below(int folder, const char *path, int *fd,
			       keep_error *err) KEEP_MUST_CHECK;
keep_status kp_folder_sync(int parent, const char *name, keep_error *err) KEEP_MUST_CHECK;
/* Lock of a home's backups: *fd is held until it is closed. BUSY. */
keep_status kp_backups_lock(int backups, int *fd, keep_error *err) KEEP_MUST_CHECK;
/* Under that lock: what killed ones left. */
keep_status kp_backups_clean(int backups, keep_error *err) KEEP_MUST_CHECK;
bool kp_is_cancelled(const _Atomic int *cancelled);
keep_status kp_fail_cancelled(keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- writing (backup_sink.c) */

/* A new file that is written from its beginning to its end, and its SHA-256 beside. Large ones are
   hashed in a thread of their own. */
typedef struct kp_sink {
	int fd;
	int64_t at, flushed;
	void *digest; /* EVP_MD_CTX */
	char *blocks[2];
	size_t fill; /* the block that is filled next */
	bool is_threaded, is_broken;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t moved;
	size_t lens[2]; /* of blocks that wait to be hashed; 0: free */
	bool ends;
} kp_sink;

/* `size` is a guess. */
keep_status kp_sink_open(kp_sink *sink, int folder, const char *name, int64_t size,
			 keep_error *err) KEEP_MUST_CHECK;
/* Where the next KP_COPY_BLOCK bytes may be put; waits until they are free. */
char *kp_sink_block(kp_sink *sink);
keep_status kp_sink_put(kp_sink *sink, size_t len, keep_error *err) KEEP_MUST_CHECK;
/* Ends it; the file is not synced yet. A sink that is not open is left alone by kp_sink_close. */
keep_status kp_sink_finish(kp_sink *sink, char sha256[KP_HEX_SIZE],
			   keep_error *err) KEEP_MUST_CHECK;
void kp_sink_close(kp_sink *sink);

/* ---------------------------------------------------------------- items (backup_items.c) */

typedef enum kp_item_kind {
	KP_ITEM_FILE,
	KP_ITEM_DATABASE,
	KP_ITEM_FOLDER,
	KP_ITEM_DAMAGED, /* a database that may be damaged, and is: copied as a file */
	KP_ITEM_KINDS
} kp_item_kind;

extern const char *const kp_item_kind_names[KP_ITEM_KINDS];

typedef enum kp_item_state {
	KP_ITEM_STALE,  /* to be copied */
	KP_ITEM_COPIED, /* as of its proof */
	KP_ITEM_HELD,   /* a database to be copied as of the moment */
	KP_ITEM_GONE
} kp_item_state;

/* A frame of a log that holds the newest state of a page. */
typedef struct kp_log_page {
	uint32_t page, frame; /* from 1 */
} kp_log_page;

/* What lies over the pages of a database file. */
typedef struct kp_log_map {
	kp_log_page *pages; /* by page */
	size_t count;
	uint32_t page_bytes, page_count; /* of the database then; 0: no log, the file is all */
	unsigned char salts[8];
	bool is_sealed; /* the pages are to get seals (sql/sqlite_files.h) */
} kp_log_map;

typedef struct kp_hold {
	kp_sql_conn *writer, *reader;
	kp_sqlite_log log;
	char *bytes; /* of one in rollback mode, read while it was held */
	int64_t size;
} kp_hold;

typedef struct kp_item {
	const char *path;
	kp_item_kind kind;
	kp_item_state state;
	unsigned mode; /* permissions at home */
	bool is_young; /* written just before the proof was taken, which so proves nothing */
	kp_stamp self, log, journal; /* the proof; size -1: not there */
	int64_t size;
	char sha256[KP_HEX_SIZE];
	char *tables; /* JSON: rows by table; owned */
	kp_hold hold;
} kp_item;

typedef struct kp_backup_job {
	const kp_backup_options *options;
	const char *home; /* path */
	int home_fd, data_fd, backups_fd, lock_fd;
	char data_path[PATH_MAX];
	kp_item **items; /* by path */
	size_t count, capacity;
	kp_arena arena;
	int64_t now_ns; /* by the file system's clock, before the newest look */
	int64_t done_bytes, all_bytes;
	int64_t hold_ns, patience_ns;
	kp_backup_result result;
} kp_backup_job;

/* Read the tree again, and say what became of each item: changed and new ones are STALE, but
   databases HELD after the moment was taken. *changed counts databases. */
keep_status kp_items_look(kp_backup_job *job, bool is_after, size_t *changed,
			  keep_error *err) KEEP_MUST_CHECK;
/* Did it go, or was it written, since it was looked at? */
bool kp_item_moved(const kp_backup_job *job, const kp_item *item);
void kp_items_release(kp_backup_job *job);

/* ---------------------------------------------------------------- copying (backup_copy.c, _log.c)
 */

keep_status kp_job_progress(kp_backup_job *job, int64_t bytes, keep_error *err) KEEP_MUST_CHECK;
/* Copy an item as it is, without locks. NOT_FOUND: it went. */
keep_status kp_copy_item(kp_backup_job *job, kp_item *item, keep_error *err) KEEP_MUST_CHECK;
/* Copy a database as of the moment that its hold is from. */
keep_status kp_copy_held(kp_backup_job *job, kp_item *item, keep_error *err) KEEP_MUST_CHECK;

/* The log of a database that nobody writes: its frames up to the last commit. */
keep_status kp_log_read(int fd, kp_log_map *out, keep_error *err) KEEP_MUST_CHECK;
/* The first `frames` of a log as far as its salts are those; all of it may have moved on. */
keep_status kp_log_read_known(int fd, const kp_sqlite_log *log, kp_log_map *out,
			      keep_error *err) KEEP_MUST_CHECK;
void kp_log_release(kp_log_map *map);
/* Put the newest pages over `block`, which has the file's from byte `at`. *is_over: the log began
   anew meanwhile, so that the file has all of it. */
keep_status kp_log_lay(int fd, const kp_log_map *map, char *block, size_t len, int64_t at,
		       bool *is_over, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- one moment (backup_moment.c) */

/* Until all databases are copied, or held, as of one moment. */
keep_status kp_moment_take(kp_backup_job *job, keep_error *err) KEEP_MUST_CHECK;
/* Copy what is STALE. */
keep_status kp_copy_stale(kp_backup_job *job, keep_error *err) KEEP_MUST_CHECK;
void kp_hold_release(kp_hold *hold);

/* ---------------------------------------------------------------- checks (backup_check.c) */

/* Does the copy open, is it whole, and what is in it: rows by table, as JSON (owned). */
keep_status kp_database_check(const char *path, int64_t size, char **tables,
			      keep_error *err) KEEP_MUST_CHECK;
/* The same without the check of its structure. */
keep_status kp_database_count(const char *path, char **tables, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the manifest (backup_manifest.c)
 */

typedef struct kp_manifest_folder {
	const char *path;
	unsigned mode;
} kp_manifest_folder;

typedef struct kp_manifest_file {
	const char *path, *sha256, *tables; /* "": none */
	kp_item_kind kind;
	unsigned mode;
	int64_t size;
} kp_manifest_file;

typedef struct kp_manifest {
	const char *label, *version;
	int64_t started_ms, moment_ms, finished_ms, size_bytes;
	kp_manifest_file *files; /* by path */
	size_t count;
	kp_manifest_folder *folders;
	size_t folder_count;
	int64_t database_count;
	kp_arena arena;
	keep_buffer text;
} kp_manifest;

keep_status kp_manifest_write(kp_backup_job *job, int folder, keep_error *err) KEEP_MUST_CHECK;
/* CORRUPT: its checksum, its form. TOO_NEW. */
keep_status kp_manifest_read(int folder, kp_manifest *out, keep_error *err) KEEP_MUST_CHECK;
void kp_manifest_release(kp_manifest *manifest);

/* The SHA-256 of an open file, read to its end. */
keep_status kp_file_hash(int fd, char sha256[KP_HEX_SIZE], int64_t *size,
			 keep_error *err) KEEP_MUST_CHECK;

#endif
