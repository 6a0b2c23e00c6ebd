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

/* ---------------------------------------------------------------- checking */

typedef enum keep_severity {
	KEEP_SEVERITY_NOTE,          /* nothing is wrong: worth knowing */
	KEEP_SEVERITY_INCONSISTENCY, /* what is stored contradicts itself; no content is lost */
	KEEP_SEVERITY_DAMAGE         /* something that was stored is gone, or cannot be trusted */
} keep_severity;

/* "note", "inconsistency", "damage"; "?" for another value. */
KEEP_API const char *keep_severity_name(keep_severity severity);

/* One thing that was found. docs/check.md lists every `kind`, and what to do about it. */
typedef struct keep_finding {
	keep_severity severity;
	keep_bytes store;    /* gateway, mailbox, assistant, engine, home, backups */
	keep_bytes file;     /* below the home; of a server the schema */
	keep_bytes table;    /* absent: it is not about a table */
	keep_bytes key;      /* of the row, cut when it is long; absent: not about a row */
	keep_bytes kind;     /* "missing_file", "orphaned_lease" … */
	keep_bytes sentence; /* what is wrong: one sentence, never content or a secret */
	bool can_repair;     /* it is derived: keep_check_options.repair mends it */
	bool is_repaired;    /* it was mended, and is not there any more */
} keep_finding;

/* How far a check is. The texts are valid during the call. */
typedef struct keep_check_progress {
	const char *store; /* as in keep_finding */
	const char *what;  /* a file or a table */
	int64_t rows;      /* read so far, of all tables */
} keep_check_progress;

typedef struct keep_check_options {
	size_t size; /* sizeof(keep_check_options): lets this struct grow */
	/* Mend what is derived from the rest: indexes, full text, vectors, counters, queues; and
	   give back what a dead process holds. Nothing else is touched. */
	bool repair;
	/* Take pages for whole that have another seal than their content (docs/check.md), where the
	   database's structure is: for what another program wrote, or what was looked at. */
	bool reseal;
	bool quick;           /* read no rows and no pages: what files, indexes and states tell */
	const char *key_file; /* the assistant's keys; NULL: <home>/vault.key */
	int64_t timeout_ms;   /* waits for locks, connecting; 0: 5000 */
	size_t findings_max;  /* more of one kind in one file (0: 100) are counted only; in all
				 10,000 are listed */
	/* NULL: nobody. */
	void (*progress)(void *ctx, const keep_check_progress *progress);
	void *progress_ctx;
	const volatile int *cancelled; /* not 0: ends soon, BUSY; NULL: never */
} keep_check_options;

#define KEEP_CHECK_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(keep_check_options)                                                 \
	}

typedef struct keep_check_result {
	keep_finding *findings; /* in the order in which they were found */
	size_t count;
	int64_t unlisted;       /* beyond findings_max */
	int64_t wrong;          /* damage and inconsistencies that are still there, also unlisted */
	int64_t repaired;
	int64_t files, tables, rows; /* looked at */
	keep_memory memory;     /* what all this lives in */
} keep_check_result;

/*
 * Find out whether a home is whole: every file, every row, and what they say of each other. Others
 * may go on with it. OK when the check came to its end, whatever it found; result->wrong is 0 when
 * all is well. Something that is damaged does not end it. `options` may be NULL.
 *
 * NOT_FOUND: there is nothing. INVALID: a store's own URL. UNAVAILABLE: the server. BUSY:
 * cancelled. With `repair` it also changes what is derived, in transactions beside others.
 */
KEEP_API keep_status keep_home_check(const char *home, const keep_check_options *options,
				     keep_check_result *result, keep_error *err) KEEP_MUST_CHECK;
/* Accepts a zeroed one. */
KEEP_API void keep_check_result_release(keep_check_result *result);

/* ---------------------------------------------------------------- what there is */

/* A number that a home has: {"gateway", "deliveries", "pending"} 3. */
typedef struct keep_stat {
	keep_bytes store; /* as in keep_finding */
	keep_bytes name;  /* what is counted: "messages", "deliveries", "size_bytes" … */
	keep_bytes part;  /* of which state or place; absent: all */
	int64_t value;
	bool is_time; /* milliseconds since 1970 */
} keep_stat;

typedef struct keep_stats_options {
	size_t size;        /* sizeof(keep_stats_options): lets this struct grow */
	int64_t timeout_ms; /* waits for locks, connecting; 0: 5000 */
	/* A session's own tables are counted in so many sessions at most, those that were active
	   last; 0: 1000. */
	int64_t sessions_max;
} keep_stats_options;

#define KEEP_STATS_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(keep_stats_options)                                                 \
	}

typedef struct keep_stats_result {
	keep_stat *items; /* store by store */
	size_t count;
	keep_memory memory; /* what all this lives in */
} keep_stats_result;

/*
 * Numbers about a home: rows by table and state, sizes, what waits and since when, what is due, the
 * last backup. It reads; states are counted by their indexes. A store that is not there has no
 * numbers. `options` may be NULL. NOT_FOUND: no home. CORRUPT: a store cannot be read (named).
 */
KEEP_API keep_status keep_home_stats(const char *home, const keep_stats_options *options,
				     keep_stats_result *result, keep_error *err) KEEP_MUST_CHECK;
/* Accepts a zeroed one. */
KEEP_API void keep_stats_result_release(keep_stats_result *result);

#ifdef __cplusplus
}
#endif
#endif
