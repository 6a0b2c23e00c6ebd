#ifndef KEEP_ASSISTANT_CARE_H
#define KEEP_ASSISTANT_CARE_H
/*
 * keep/assistant_care.h - what an assistant's store needs now and then: retention, optimising,
 * migrations of the user's own, taking over another program's file.
 *
 * What it is not: a clock. The service, or cron, calls these.
 *
 * Threads: as keep/assistant.h.
 */
#include "keep/assistant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- retention */

/* What a run of retention removed, or with dry_run would remove. */
typedef struct keep_retention_report {
	int64_t agent_tasks;         /* beyond the last 1000 of a conversation */
	int64_t job_executions;      /* beyond the last 100 of a job */
	int64_t audit_entries;       /* older than 30 days; sealed by an anchor */
	int64_t future_tasks;        /* 90 days after they ended */
	int64_t short_term_memories; /* beyond the last 20 of a conversation */
	int64_t batches;             /* transactions that it took */
} keep_retention_report;

typedef struct keep_retention_options {
	size_t size;    /* sizeof(keep_retention_options): lets this struct grow */
	bool dry_run;   /* count, in one reading transaction, and change nothing */
	size_t batch;   /* rows of one transaction; 0: 500 */
	int64_t now_ms; /* 0: now */
} keep_retention_options;

#define KEEP_RETENTION_OPTIONS_INIT                                                                \
	{                                                                                          \
		.size = sizeof(keep_retention_options)                                             \
	}

/*
 * Remove what the limits say: settings retention.agent_tasks_per_conversation,
 * retention.executions_per_job, retention.audit_days, retention.future_task_days,
 * retention.short_term_per_conversation (a new store defines them, with the defaults above).
 * Nothing that is pending or running. In batches, between which writers go on; who is interrupted
 * begins again. `options` may be NULL. Audited when something was removed.
 */
KEEP_API keep_status keep_assistant_retain(keep_assistant *assistant,
					   const keep_retention_options *options,
					   const keep_actor *actor, keep_retention_report *report,
					   keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- optimising */

typedef struct keep_table_size {
	keep_bytes table;
	int64_t rows, bytes; /* bytes with its indexes; -1: the backend does not tell */
} keep_table_size;

typedef struct keep_table_sizes {
	keep_table_size *items;
	size_t count;
} keep_table_sizes;

/* By size, largest first. */
KEEP_API keep_status keep_assistant_sizes(keep_assistant *assistant, keep_memory *memory,
					  keep_table_sizes *out, keep_error *err) KEEP_MUST_CHECK;
/* Renew the planner's statistics, give free pages back, fold in what search has not indexed yet,
   and checkpoint: in small steps, between which writers go on. */
KEEP_API keep_status keep_assistant_optimize(keep_assistant *assistant,
					     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- migrations of the user's own */

typedef struct keep_migration_state {
	keep_bytes version; /* <version>_<description> */
	keep_bytes checksum;
	bool is_applied;
	int64_t applied_at, duration_ms; /* 0: not applied */
	bool is_ours;                    /* part of Keep */
} keep_migration_state;

typedef struct keep_migration_states {
	keep_migration_state *items;
	size_t count;
} keep_migration_states;

/*
 * The files <version>_<description>.sql of `folder` (NULL: Keep's own migrations alone) and what
 * was applied, in order; only what is pending when asked. CORRUPT: an applied file has changed, or
 * is missing from the folder; INVALID: a name that is none, two with one version, one that would
 * come before an applied one.
 */
KEEP_API keep_status keep_assistant_migrations(keep_assistant *assistant, const char *folder,
					       bool only_pending, keep_memory *memory,
					       keep_migration_states *out,
					       keep_error *err) KEEP_MUST_CHECK;
/*
 * Apply what is pending of `folder`, in order, each in one transaction with its row in
 * schema_migrations, under an exclusive lock, after a verified copy of the store. A file that fails
 * leaves the database as it was before it, and is named. One that would change Keep's own tables is
 * refused. *applied: how many.
 */
KEEP_API keep_status keep_assistant_migrate(keep_assistant *assistant, const char *folder,
					    const keep_actor *actor, int64_t *applied,
					    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- taking over another program's */

typedef struct keep_adopted_table {
	keep_bytes table;
	int64_t rows;    /* there */
	int64_t adopted; /* now here */
	int64_t kept;    /* in no table of ours: kept whole in adopted_rows */
} keep_adopted_table;

typedef struct keep_adoption_report {
	keep_adopted_table *tables;
	size_t table_count;
	keep_bytes *remarks; /* what was not taken as it was, in words */
	size_t remark_count;
} keep_adoption_report;

/*
 * Take over the assistant.db of the source (contracts/assistant.md's origin) at `file`, which is
 * only read, into this store, which must be new. Its three timestamp forms, Fernet blobs (checked
 * with this store's keys: DENIED when they do not fit, and nothing is changed), float32 vectors of
 * `model` (absent: "unknown"), double-encoded JSON, 'false' texts and compacted rows included. All
 * or nothing.
 */
KEEP_API keep_status keep_assistant_adopt(keep_assistant *assistant, const char *file,
					  keep_bytes model, const keep_actor *actor,
					  keep_memory *memory, keep_adoption_report *report,
					  keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
