#ifndef KP_CHECK_PRIVATE_H
#define KP_CHECK_PRIVATE_H
/*
 * check_private.h - what the files of a check of a home share.
 *
 *   check_home.c       keep_home_check: the order of things
 *   check_findings.c   the list of what was found, and progress
 *   check_files.c      the home's own files, and those that should be there
 *   check_database.c   one database: its pages, its version, its indexes
 *   check_rows.c       every row of every table, through the record engine
 *   check_rules.c      what rows say of each other, and what mends it (check_*.sql)
 *   check_leases.c     what a dead process, or one that is late, still holds
 *   check_gateway.c, check_mailbox.c, check_assistant.c, check_engine.c
 *                      what is special to a store
 *   check_server.c     what only a server can say: its checksums, its B-trees
 *   check_words.c      full text and vectors against what they are made of
 *   check_backups.c    the backups' manifests and files
 *
 * Threads: a check is one thread's.
 */
#include "home/home_private.h"

#include "backup/backup.h"
#include "home/store_list.h"

#include "check_statements.h" /* KP_CHECK_<NAME>, made from the check_*.sql files */

typedef struct kp_home_check {
	const char *home;
	bool is_server;
	char folder[PATH_MAX]; /* its real path */
	char *conninfo;        /* a server's */
	int fd;                /* a folder's */
	int64_t now_ms;
	keep_check_options options;
	keep_check_result *result;
	size_t room;        /* of result->findings, which are an array of our own until the end */
	int64_t unnoted;    /* rows since progress was told */
	int64_t unlisted;   /* since kp_check_next: what can be mended and is only counted */
	const char *store;  /* what is looked at, for findings and progress */
	const char *file;   /* below the home, or a schema */
	size_t kinds_first; /* the first finding about this file */
} kp_home_check;

/* ---------------------------------------------------------------- findings (check_findings.c) */

/* What a finding says; the texts are copied. */
typedef struct kp_complaint {
	keep_severity severity;
	const char *kind;
	const char *file;  /* NULL: check->file */
	const char *table; /* NULL: none */
	keep_bytes key;
	bool can_repair;
} kp_complaint;

/* From now on findings are of this store and file. The texts stay until the next one. */
void kp_check_enter(kp_home_check *check, const char *store, const char *file);
/* Add one. More than findings_max of one kind in one file are counted only. */
keep_status kp_check_found(kp_home_check *check, const kp_complaint *found, keep_error *err,
			   const char *format, ...) KEEP_MUST_CHECK KEEP_PRINTF(4, 5);
/* What is found from now on is mended, or not, by itself. */
void kp_check_next(kp_home_check *check);
/* Those of this kind and (unless it is NULL) table, from number `from` on, are mended, and those
   that were only counted since kp_check_next. */
void kp_check_mended(kp_home_check *check, const char *kind, const char *table, size_t from);
/* Rows were read: progress now and then, and BUSY when it was cancelled. */
keep_status kp_check_tell(kp_home_check *check, const char *what, int64_t rows,
			  keep_error *err) KEEP_MUST_CHECK;
/* A failure that concerns what is checked and not the check: it becomes a finding, and OK. What
   ends a check (no memory, cancelled, the server is away) stays. */
keep_status kp_check_failed(kp_home_check *check, const kp_complaint *found, keep_status status,
			    const keep_error *why, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- databases (check_database.c) */

/* A database, or a schema, that is open for reading, in one transaction. */
typedef struct kp_check_unit {
	kp_home_check *check;
	kp_sql_conn *conn;
	const char *guard;  /* as kp_sql_options; NULL: the file's */
	const char *beside; /* the same; the other side of a session */
	const char *schema;
	size_t turn;     /* the statement that a writer begins with, + 1; 0: none */
	bool is_damaged; /* its pages are: what is derived is not mended */
} kp_check_unit;

/* "<folder>/<rest>" in `out`. INVALID: too long. */
keep_status kp_check_path(const kp_home_check *check, const char *rest, char out[PATH_MAX],
			  keep_error *err) KEEP_MUST_CHECK;
/* Pages, log, structure; a folder's only. Nothing is open yet. */
keep_status kp_check_pages(kp_home_check *check, bool *is_damaged, keep_error *err) KEEP_MUST_CHECK;
/* Open check->file; *is_open is false when that failed, which is a finding then. */
keep_status kp_check_unit_open(kp_check_unit *unit, bool *is_open, keep_error *err) KEEP_MUST_CHECK;
void kp_check_unit_close(kp_check_unit *unit);
/* A new reading transaction: what others did meanwhile is seen. */
keep_status kp_check_unit_renew(kp_check_unit *unit, keep_error *err) KEEP_MUST_CHECK;
/* Indexes against their tables, by the database itself. */
keep_status kp_check_indexes(kp_check_unit *unit, keep_error *err) KEEP_MUST_CHECK;
/* A server's B-trees, by its extension amcheck where that is there. */
keep_status kp_check_btrees(kp_check_unit *unit, keep_error *err) KEEP_MUST_CHECK;
/* The service's version: *is_known is false when its tables are not those of this Keep. */
keep_status kp_check_version(kp_check_unit *unit, const char *service, bool *is_known,
			     keep_error *err) KEEP_MUST_CHECK;
/* Run a change in a writing transaction of its own, beside others. */
typedef keep_status kp_check_change(void *ctx, kp_sql_conn *conn, keep_error *err);
keep_status kp_check_write(kp_check_unit *unit, kp_check_change *change, void *ctx,
			   keep_error *err) KEEP_MUST_CHECK;
const char *kp_check_statement(const kp_sql_conn *conn, size_t index);
/* Prepare one and bind those of the values that it has a parameter for. */
keep_status kp_check_prepare(kp_sql_conn *conn, size_t index, const kp_value *values, size_t count,
			     kp_sql_stmt **out, keep_error *err) KEEP_MUST_CHECK;
/* The same, and run it. */
keep_status kp_check_run(kp_sql_conn *conn, size_t index, const kp_value *values, size_t count,
			 keep_error *err) KEEP_MUST_CHECK;
/* Its first number; 0 without a row. */
keep_status kp_check_ask(kp_sql_conn *conn, size_t index, int64_t *out,
			 keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- rows (check_rows.c) */

/* Called for each row that could be read; its failure ends the check. NULL: nobody. */
typedef struct kp_check_rows {
	const kp_record *record;
	keep_status (*row)(void *ctx, const void *object, keep_error *err);
	void *ctx;
} kp_check_rows;

keep_status kp_check_rows_read(kp_check_unit *unit, const kp_check_rows *rows,
			       keep_error *err) KEEP_MUST_CHECK;
/* All tables of a list of records; `hooks` (ends with a NULL record; may be NULL) has what is to be
   done with the rows of some of them. */
keep_status kp_check_tables(kp_check_unit *unit, const kp_record *const *records, size_t count,
			    const kp_check_rows *hooks, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- rules (check_rules.c) */

/* Rows of `find` ($1 is the time, if it has it) are findings: a key, and with has_numbers what is
   and what should be. */
typedef struct kp_check_rule {
	size_t find;
	const char *table, *kind, *sentence;
	keep_severity severity;
	bool has_numbers;
	bool reads_all; /* left out of a quick check */
	bool may_pass;  /* of two files: only what stays is a finding */
	/* What mends all of them, in this order; $1 is the time in each that has it. */
	size_t mend[4];
	size_t mend_count;
} kp_check_rule;

keep_status kp_check_rules(kp_check_unit *unit, const kp_check_rule *rules, size_t count,
			   keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- leases (check_leases.c) */

/* Rows of `find`: a key, the owner, until when. */
typedef struct kp_check_lease {
	size_t find;
	const char *table, *what; /* "the delivery" */
	/* Gives one back: $1 its key, $2 the time, $3 the owner as it was read; none: another way
	   does. */
	size_t mend[3];
	size_t mend_count;
} kp_check_lease;

#define KP_ORPHANED_LEASE "orphaned_lease"
/* *orphans: how many of them are there. */
keep_status kp_check_leases(kp_check_unit *unit, const kp_check_lease *leases, size_t count,
			    int64_t *orphans, keep_error *err) KEEP_MUST_CHECK;
/* How many there are now; nothing is told. */
keep_status kp_check_count_orphans(kp_check_unit *unit, const kp_check_lease *leases, size_t count,
				   int64_t *orphans, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the parts */

keep_status kp_check_home_files(kp_home_check *check, keep_error *err) KEEP_MUST_CHECK;
/* Enter a store's file. Is it there? When it is not but should be, that is a finding. `traces`:
   names of files or folders, ending with NULL, that say that it was; NULL: none. */
keep_status kp_check_is_there(kp_home_check *check, const char *store, const char *file,
			      const char *const *traces, bool *there,
			      keep_error *err) KEEP_MUST_CHECK;
/* Is there something of that name below the home? No link is followed. */
keep_status kp_check_exists(const kp_home_check *check, const char *name, bool *exists,
			    keep_error *err) KEEP_MUST_CHECK;
keep_status kp_check_server(kp_home_check *check, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_check_gateway(kp_home_check *check, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_check_mailbox(kp_home_check *check, keep_error *err) KEEP_MUST_CHECK;
/* One session of a folder, as the registry has it: its two files (check_session.c). */
typedef struct kp_check_place {
	char id[256], agent_group[256];
	bool is_due; /* it has a due_at */
} kp_check_place;
keep_status kp_check_session_files(kp_home_check *check, const kp_check_place *session,
				   kp_check_unit *registry, keep_error *err) KEEP_MUST_CHECK;
/* What the tables of all sessions of a server say; the registry's unit. */
keep_status kp_check_sessions_of_server(kp_check_unit *unit, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_check_assistant(kp_home_check *check, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_check_engines(kp_home_check *check, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_check_backups(kp_home_check *check, keep_error *err) KEEP_MUST_CHECK;

#endif
