#ifndef KEEP_HOME_H
#define KEEP_HOME_H
/*
 * keep/home.h - what is done with a whole home: all stores of one installation at once.
 *
 * A home is a folder (keep_home_init in keep/operations.h), or a database server under a
 * postgres:// URL without `schema` and `namespace`.
 *
 * What it is not: a store. It opens stores' tables for as long as a call takes.
 *
 * Threads: calls on different homes may run at once; two on one home exclude each other (BUSY).
 */
#include "keep/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- transfer between backends */

/* How far a transfer is. The texts are valid during the call. */
typedef struct keep_transfer_progress {
	const char *store; /* "gateway", "mailbox", "engine default" … */
	const char *table; /* its name in both databases */
	int64_t rows;      /* of this table, in this step */
	int64_t rows_all;  /* copied so far, of all tables, by this call */
	bool verifies;     /* the table is being read back */
} keep_transfer_progress;

typedef struct keep_transfer_options {
	size_t size; /* sizeof(keep_transfer_options): lets this struct grow */
	/* Called now and then; false ends the transfer (BUSY), and the same call goes on with it.
	   NULL: nothing. */
	bool (*progress)(void *ctx, const keep_transfer_progress *progress);
	void *progress_ctx;
	const volatile int *cancelled; /* not 0: as progress that says false; NULL: never */
	int64_t batch_rows;            /* rows in one transaction; 0: 5000 */
	int64_t timeout_ms;            /* waits for locks, connecting; 0: 5000 */
	/* Files of messages (inbox and outbox of a mailbox's sessions) cannot be kept on a server.
	   Leave them behind; else a source that has any is CONFLICT. */
	bool without_files;
	/* Take each file of a source that is written meanwhile as of one moment of its own; else
	   that is CONFLICT. A server is always read as of one moment. */
	bool in_use;
} keep_transfer_options;

#define KEEP_TRANSFER_OPTIONS_INIT                                                                 \
	{                                                                                          \
		.size = sizeof(keep_transfer_options)                                              \
	}

/* What was found equal on both sides. A mailbox's sessions count as one table each. */
typedef struct keep_transfer_table {
	keep_bytes store;
	keep_bytes table;
	int64_t rows;
	keep_bytes sha256; /* of every value in the order of the key, in hex: one for one content */
} keep_transfer_table;

typedef struct keep_transfer_result {
	const keep_transfer_table *tables; /* in the order of the stores */
	size_t count;
	int64_t rows;         /* of all tables */
	int64_t rows_before;  /* of them were there from a transfer that was interrupted */
	int64_t files_behind; /* files of messages that were left, with without_files */
	keep_memory memory;   /* what all this lives in */
} keep_transfer_result;

/*
 * Copy all stores of the home `from` to the home `to`, one of which is a folder and the other a
 * server. `options` may be NULL. Every table is read back, and its rows and their hash compared,
 * before this is OK. `from` is not changed.
 *
 * `to` is made when it is missing. CONFLICT: it has something, and is not what an interrupted
 * transfer of the same home left (then that is continued); or the source was written meanwhile, has
 * files of messages, or tables of another version than this Keep's. Until a transfer is complete
 * `to` must not be used. CORRUPT: a row of the source cannot be read, named by its table and key.
 * TOO_NEW: a newer Keep wrote the source. BUSY: another transfer to `to` is under way, or this one
 * was cancelled. INVALID: not a folder and a server. What is encrypted stays encrypted: its key is
 * not part of a transfer.
 */
KEEP_API keep_status keep_transfer(const char *from, const char *to,
				   const keep_transfer_options *options,
				   keep_transfer_result *result, keep_error *err) KEEP_MUST_CHECK;
/* Accepts a zeroed one. */
KEEP_API void keep_transfer_result_release(keep_transfer_result *result);

#ifdef __cplusplus
}
#endif
#endif
