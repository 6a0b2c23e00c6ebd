#ifndef KEEP_BACKUPS_H
#define KEEP_BACKUPS_H
/*
 * keep/backups.h - backups of a whole home: made while it is in use, verified, rotated, restored.
 *
 * A backup is a folder, <home>/backups/<time>/, with every file of the home as of one moment across
 * all of its stores, and a manifest with their checksums. It can be opened like a home. The key
 * file (vault.key) is not in it, and what is encrypted stays so: a backup alone reveals no secret,
 * and without the key nobody restores one. Keep the key elsewhere.
 *
 * What it is not: a clock. The service, or cron, calls these.
 *
 * Threads: calls on different homes may run at once; two on one home exclude each other (BUSY).
 */
#include "keep/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How far something is; `all` may grow. Called from the calling thread. */
typedef void keep_backup_progress(void *ctx, int64_t done_bytes, int64_t all_bytes);

typedef struct keep_backup_options {
	size_t size;       /* sizeof(keep_backup_options): lets this struct grow */
	const char *label; /* A-Z a-z 0-9 . _ -; one with a label is not rotated away. NULL: none */
	/* The folder whose backups/ it goes to, on the home's file system; NULL: the home. A home
	   on a server needs one, anywhere, and is copied into it as of one moment of the server's.
	 */
	const char *to;
	const char *s3; /* s3://bucket[/prefix]: it is uploaded there, too; NULL: not */
	/* Afterwards remove what rotation does not keep, in backups/ and on S3. */
	bool rotate;
	int daily, weekly, monthly; /* all 0: 7, 4, 3 */
	const char *zone;           /* whose days and weeks; an IANA name; NULL: "UTC" */
	const char *key_file;       /* whose keys the manifest names; NULL: <home>/vault.key */
	keep_backup_progress *progress;
	void *progress_ctx;
	const volatile int *cancelled; /* not 0: ends soon, BUSY, and leaves nothing; NULL: never */
} keep_backup_options;

#define KEEP_BACKUP_OPTIONS_INIT                                                                   \
	{                                                                                          \
		.size = sizeof(keep_backup_options)                                                \
	}

typedef struct keep_backup_result {
	char name[32];                              /* "20260411T171821Z" */
	int64_t started_ms, moment_ms, finished_ms; /* moment: as of when all stores are */
	int64_t file_count, database_count, size_bytes;
	int64_t damaged_count; /* files of agents that were damaged, and copied as they are */
	int64_t held_us;       /* the longest time that writers were held */
	int64_t removed_count; /* by rotation */
	bool is_uploaded;
} keep_backup_result;

/*
 * Make a backup of the home; writers go on. OK: it is whole, checked and on disk (and on S3). BUSY:
 * another backup is under way, or it was cancelled. When only the upload or the rotation fails,
 * that is the status and result->name says what there is. `options` may be NULL.
 */
KEEP_API keep_status keep_backup_make(const char *home, const keep_backup_options *options,
				      keep_backup_result *result, keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_backup_entry {
	keep_bytes name, label; /* label: empty when none */
	bool is_good;           /* by its manifest and the sizes of its files */
	keep_bytes why;         /* not good: one sentence */
	int64_t moment_ms;
	int64_t file_count, database_count, size_bytes; /* 0 where it is not known */
} keep_backup_entry;

typedef struct keep_backup_list {
	keep_backup_entry *items; /* oldest first */
	size_t count;
} keep_backup_list;

/* The backups of a home, or of s3://bucket[/prefix]. */
KEEP_API keep_status keep_backup_find(const char *place, keep_memory *memory, keep_backup_list *out,
				      keep_error *err) KEEP_MUST_CHECK;

/* Read all of a backup of a home and compare it with its manifest; `name` NULL: the newest. CORRUPT
   names the file at fault. */
KEEP_API keep_status keep_backup_verify(const char *home, const char *name,
					keep_error *err) KEEP_MUST_CHECK;

/* Rotation by itself. *removed (may be NULL): how many; with dry_run: would be. */
KEEP_API keep_status keep_backup_rotate(const char *place, const keep_backup_options *options,
					bool dry_run, int64_t *removed,
					keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_restore_options {
	size_t size;      /* sizeof(keep_restore_options): lets this struct grow */
	bool over;        /* an existing home is set aside; else that is CONFLICT */
	bool force;       /* although it is open in a living process */
	const char *name; /* which backup; NULL: the newest good one */
	keep_backup_progress *progress;
	void *progress_ctx;
	const volatile int *cancelled;
} keep_restore_options;

#define KEEP_RESTORE_OPTIONS_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(keep_restore_options)                                               \
	}

typedef struct keep_restore_result {
	char name[32];        /* the backup */
	char set_aside[4096]; /* where the home before is now; "": there was none */
	int64_t file_count, size_bytes;
	bool was_finished; /* an earlier restore that was killed was brought to its end */
	bool has_key;      /* the home has its key file */
} keep_restore_result;

/*
 * Verify a backup and make the folder `target` a home of it. `from` is a home with backups, a
 * backup's own folder, or s3://bucket[/prefix]. The key file of a home that is set aside is taken
 * over. Killed at any moment, the home before or the new one is at its place, or the same call
 * finishes. `options` and `result` may be NULL.
 */
KEEP_API keep_status keep_restore(const char *from, const char *target,
				  const keep_restore_options *options, keep_restore_result *result,
				  keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
