#ifndef KP_BACKUP_H
#define KP_BACKUP_H
/*
 * backup.h - snapshots of a home, their verification, rotation and restoring.
 *
 * A home is a folder of files, some of which are SQLite databases; which store they belong to is
 * not known here. A backup is a folder that is never changed:
 *
 *     <home>/backups/20260411T171821Z/          0700; -2, -3 … when there is one of that second
 *         data/gateway/messages.db              0600, at the paths of the home
 *         manifest.json                         written last; its own checksum is its last member
 *
 * It is made as .partial-<name> and renamed when everything in it is checked and synced.
 *
 * Threads: any; several calls on one home at once are BUSY or wait for nothing.
 */
#include "core/core.h"
#include "keep/schedule.h"

#include <limits.h>

#define KP_BACKUP_FOLDER "backups"
#define KP_BACKUP_MANIFEST "manifest.json"
#define KP_BACKUP_DATA "data"

enum {
	KP_BACKUP_FORMAT = 1,
	KP_BACKUP_NAME_SIZE = 32,      /* "20260411T171821Z-2" */
	KP_BACKUP_LABEL_MAX = 64,      /* bytes: A-Z a-z 0-9 . _ - */
	KP_BACKUP_FILES_MAX = 1 << 20, /* of one backup; more is FULL */
	KP_BACKUP_MANIFEST_BYTES_MAX = 1 << 28
};

/* How far something is. Called from the calling thread; `all` may grow. */
typedef void kp_backup_progress(void *ctx, int64_t done_bytes, int64_t all_bytes);

/* ---------------------------------------------------------------- making one (backup_make.c) */

typedef struct kp_backup_options {
	const char *label; /* NULL: none. Labelled ones are not rotated away */
	/* What is not copied, besides what no copy needs (-wal, -shm, -journal, *-guard, *-notify,
	   .bell-*, .heartbeat, backups/): names, "*<suffix>" of a name, or "/<path in the home>"
	   with * for a part of a name. */
	const char *const *left_out;
	size_t left_out_count;
	const char *const *key_ids; /* what restoring needs besides: told in the manifest */
	size_t key_id_count;
	int64_t hold_ms;     /* how long one try may hold writers; 0: 40 */
	int64_t patience_ms; /* how long to try for one moment; 0: 60,000. Then BUSY */
	/* The process's soft limit of descriptors may be raised, up to the hard one, when more
	   databases are written at once than it allows. */
	bool may_raise_limit;
	/* Is it a file that others write, which may be damaged? Then it is copied as it is, and
	   told as such, where another makes the backup fail. NULL: none is. */
	bool (*may_be_damaged)(void *ctx, const char *path);
	void *damaged_ctx;
	kp_backup_progress *progress; /* NULL: none */
	void *progress_ctx;
	const _Atomic int *cancelled; /* not 0: end soon, BUSY, and leave nothing; NULL: never */
} kp_backup_options;

typedef struct kp_backup_result {
	char name[KP_BACKUP_NAME_SIZE];
	int64_t started_ms, moment_ms, finished_ms; /* moment: as of when all databases are */
	int64_t file_count, database_count, size_bytes;
	int64_t damaged_count; /* databases that others damaged */
	int64_t left_count;    /* links, pipes and the like, which no backup has */
	int64_t held_count;    /* databases that were written meanwhile, and so were held */
	int64_t try_count;     /* tries for the moment */
	int64_t held_us;       /* the longest time that writers were held in one try */
} kp_backup_result;

/*
 * A backup of the home as of one moment, across all of its databases; writers go on. OK: it is
 * whole, checked and synced. BUSY: another backup is under way, the moment could not be had, or it
 * was cancelled. FULL: no space, or too few descriptors for the databases that are written at once.
 * CORRUPT: a database of the home is damaged (named). `options` may be NULL.
 */
keep_status kp_backup_make(const char *home, const kp_backup_options *options,
			   kp_backup_result *result, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- what is there (backup_list.c) */

typedef struct kp_backup_entry {
	const char *name;
	const char *label; /* "": none */
	bool is_good;      /* by its manifest and the sizes of its files; verify reads them all */
	const char *why;   /* not good: one sentence; else "" */
	int64_t started_ms, moment_ms, finished_ms; /* 0 when not known; moment: by the name then */
	int64_t file_count, database_count, size_bytes;
} kp_backup_entry;

typedef struct kp_backup_entries {
	kp_backup_entry *items; /* oldest first */
	size_t count;
	kp_arena arena;
} kp_backup_entries;

/* All of a home; an absent folder is none. The entries are given back with _release. */
keep_status kp_backup_list(const char *home, kp_backup_entries *out,
			   keep_error *err) KEEP_MUST_CHECK;
void kp_backup_entries_release(kp_backup_entries *entries);

/* ---------------------------------------------------------------- verifying (backup_verify.c) */

typedef struct kp_backup_verify_options {
	/* Told of each file at fault (path within the backup, why); NULL: only the first is, by
	   err. */
	void (*damaged)(void *ctx, const char *path, const char *why);
	void *damaged_ctx;
	kp_backup_progress *progress;
	void *progress_ctx;
	const _Atomic int *cancelled;
} kp_backup_verify_options;

/*
 * Read all of the backup folder: the manifest's checksum, each file's size and SHA-256, that none
 * is missing or too many, and that databases open and have the tables and rows of the manifest.
 * CORRUPT names the first file at fault. NOT_FOUND: no such folder. TOO_NEW: a later format.
 * `options` may be NULL.
 */
keep_status kp_backup_verify(const char *backup, const kp_backup_verify_options *options,
			     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- rotation (backup_keep.c) */

typedef struct kp_backup_rules {
	int daily, weekly, monthly; /* kept of each; all 0: 7, 4, 3 */
} kp_backup_rules;

/*
 * Which of the times are kept: the newest of each of the last `daily` days, `weekly` ISO weeks and
 * `monthly` months of the zone that have any. Periods without do not count. Any order; of equal
 * times the later in the list. The newest of all is always kept.
 */
keep_status kp_backup_keep(const int64_t *times_ms, size_t count, const keep_zone *zone,
			   const kp_backup_rules *rules, bool *keep,
			   keep_error *err) KEEP_MUST_CHECK;

typedef struct kp_backup_prune_options {
	kp_backup_rules rules;
	const char *zone;  /* an IANA name; NULL: "UTC" */
	bool labelled_too; /* else those with a label are kept, and do not count */
	bool dry_run;      /* nothing is removed */
	/* Told of each that is (or would be) removed; NULL: nobody. */
	void (*removed)(void *ctx, const char *name);
	void *removed_ctx;
} kp_backup_prune_options;

/*
 * Remove what the rules do not keep. The newest good one is never removed; one that is not good is
 * left alone, and does not count. What a killed prune or make left goes too. *removed_count may be
 * NULL; `options` too.
 */
keep_status kp_backup_prune(const char *home, const kp_backup_prune_options *options,
			    int64_t *removed_count, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- restoring (backup_restore.c) */

typedef struct kp_backup_restore_options {
	bool over;  /* an existing home is set aside; else a target that is not empty is CONFLICT */
	bool force; /* although a database of it is open in a living process */
	/* Files of the home that is set aside which the backup does not have and the new home gets:
	   names at the top of the home ("vault.key"). */
	const char *const *carried;
	size_t carried_count;
	kp_backup_progress *progress;
	void *progress_ctx;
	const _Atomic int *cancelled;
} kp_backup_restore_options;

typedef struct kp_backup_restore_result {
	char set_aside[PATH_MAX]; /* where the home before is now; "": there was none */
	char backups[PATH_MAX];   /* where its backups are now; "": there were none */
	int64_t file_count, size_bytes;
	bool was_finished; /* an earlier restore that was killed at its end was brought to it */
} kp_backup_restore_result;

/*
 * Verify the backup folder, and make the home `target` of it. Killed at any moment, the home before
 * or the new one is at its place, or the next call finishes (was_finished; it then reads no
 * backup). CONFLICT: the target is not empty. BUSY: it is open in a living process. CORRUPT: the
 * backup is. A failure leaves the target as it was. `options` and `result` may be NULL.
 */
keep_status kp_backup_restore(const char *backup, const char *target,
			      const kp_backup_restore_options *options,
			      kp_backup_restore_result *result, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- folders (backup_folder.c) */

/* Remove a file or a folder with all that is in it; follows no link. Absent is OK. */
keep_status kp_folder_remove(int parent, const char *name, keep_error *err) KEEP_MUST_CHECK;

#endif
