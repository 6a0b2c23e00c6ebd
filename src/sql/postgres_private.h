#ifndef KP_POSTGRES_PRIVATE_H
#define KP_POSTGRES_PRIVATE_H
/*
 * postgres_private.h - what the files of the PostgreSQL driver share; nobody else includes it.
 *
 *   postgres_driver.c     the table; scripts, begin, commit, rollback, check
 *   postgres_connect.c    open and close: session settings, the schema
 *   postgres_pipeline.c   what is sent, what comes back, and what a failure does to the rest
 *   postgres_statement.c  prepare, bind, step, column, queue, and the kept statements
 *   postgres_values.c     values to and from the binary forms of the protocol
 *   postgres_status.c     SQLSTATE to status
 *   postgres_text.c       what the driver must see in a statement's text
 *   postgres_copy.c       a verified copy of the schema
 *   postgres_wait.c       NOTIFY, LISTEN, wait
 */
#include "sql/sql.h"

#include <libpq-fe.h>

#define KP_PG_NAME_MAX 63 /* bytes of an identifier; the server cuts longer ones silently */
#define KP_PG_VALUE_MAX 0x3fffffff   /* bytes of a value: the server's own limit */
#define KP_PG_STATEMENTS_MAX 64      /* finished statements kept prepared, per connection */
#define KP_PG_QUEUE_ITEMS_MAX 500    /* sent and not asked about: then a round trip bounds it */
#define KP_PG_QUEUE_BYTES_MAX 262144 /* the same, in bytes of parameters */

typedef struct kp_pg_conn kp_pg_conn;
typedef struct kp_pg_stmt kp_pg_stmt;

struct kp_pg_conn {
	kp_sql_conn base;
	PGconn *pg;
	char where[160];      /* "host/database", for messages; never the conninfo */
	int64_t timeout_ms;   /* of silence, after which the server is looked at; 1 to INT_MAX */
	bool unnamed;         /* no prepared statements; settings go with each transaction */
	char *local_settings; /* unnamed: the statement that sets them for one transaction */

	bool in_transaction;     /* between begin and its end, whatever was sent so far */
	bool reads_only;         /* that transaction was begun with KP_SQL_READ */
	keep_error failure;      /* the transaction's first; status KEEP_OK: none */
	bool failure_ended_conn; /* it was the end of the connection, not a statement's */

	/* Everything sent has a number; results come back in that order. */
	uint64_t sent;
	uint64_t received;
	uint64_t failed_at; /* number of the first item that failed since the last sync; 0: none */
	int pending_items;  /* sent since the last sync */
	size_t pending_bytes;

	kp_pg_stmt *statements; /* all, last used first */
	int idle_count;         /* of those, finished ones kept prepared */
	uint64_t next_name;
};

struct kp_pg_stmt {
	kp_sql_stmt base;
	kp_pg_stmt *next;
	bool idle;      /* finished by the caller, kept for the next prepare of the same SQL */
	bool prepared;  /* on the server, as far as what was sent goes well */
	bool may_write; /* its text can change something */
	uint64_t name;  /* "kp_<name>" on the server */
	uint64_t prepared_at; /* the number of the item that prepares it */
	PGresult *result;     /* all rows of the last run; NULL before it */
	int row;              /* the current one */
	int64_t changes;
	int count; /* parameters */
	Oid *types;
	const char **values; /* borrowed from the caller, or into `numbers` */
	int *lengths, *formats;
	char (*numbers)[8]; /* network byte order */
	char *sql;
};

static inline kp_pg_conn *kp_pg_conn_of(kp_sql_conn *conn)
{
	return (kp_pg_conn *)(void *)conn;
}

static inline kp_pg_stmt *kp_pg_stmt_of(kp_sql_stmt *stmt)
{
	return (kp_pg_stmt *)(void *)stmt;
}

/* ---------------------------------------------------------------- postgres_status.c */

keep_status kp_pg_status(const char *sqlstate); /* NULL: UNAVAILABLE */
/* The failure that `result` tells, or without one (NULL) the connection. */
keep_status kp_pg_fail(kp_pg_conn *conn, const PGresult *result, keep_error *err) KEEP_MUST_CHECK;
/* After this result there is no connection: FATAL, PANIC, or no word from the server at all. */
bool kp_pg_is_end(kp_pg_conn *conn, const PGresult *result);
/* Nothing can be asked of a connection that broke. */
keep_status kp_pg_fail_broken(kp_pg_conn *conn, keep_error *err) KEEP_MUST_CHECK;
/* The connection ended while something that writes was under way outside of our knowledge. */
keep_status kp_pg_uncertain(kp_pg_conn *conn, const char *what, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- postgres_text.c */

/* The highest n of $n, outside of literals, quoted names and comments; at most 65535. */
int kp_pg_parameter_count(const char *sql);
/* False only when the text is a query that cannot change a row. */
bool kp_pg_may_write(const char *sql);

/* ---------------------------------------------------------------- postgres_values.c */

/* Type, bytes and length of one parameter; `number` holds what is not borrowed. */
keep_status kp_pg_encode(const kp_value *value, Oid *type, const char **data, int *len,
			 char number[8], keep_error *err) KEEP_MUST_CHECK;
/* The type a NULL of this kind is sent as. */
Oid kp_pg_type_of(kp_kind kind);
/* Read a present value of `type`. False: it is not of `kind`, or damaged. */
bool kp_pg_decode(Oid type, keep_bytes raw, kp_kind kind, kp_value *out);

/* ---------------------------------------------------------------- postgres_pipeline.c */

/* Queue SQL with the statement's parameters (NULL: none). UNAVAILABLE: the connection is gone. */
keep_status kp_pg_send_text(kp_pg_conn *conn, const char *sql, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_pg_send(kp_pg_conn *conn, kp_pg_stmt *stmt, keep_error *err) KEEP_MUST_CHECK;
/* Wait for everything sent; *last (may be NULL) becomes the result of the last item. */
keep_status kp_pg_drain(kp_pg_conn *conn, PGresult **last, keep_error *err) KEEP_MUST_CHECK;
/* The failure that this transaction already had, or that the connection is broken. */
keep_status kp_pg_ready(kp_pg_conn *conn, keep_error *err) KEEP_MUST_CHECK;
/* A look at the socket without a round trip: is the server still there? */
bool kp_pg_is_alive(kp_pg_conn *conn);
/*
 * Wait until PQgetResult need not; false: the connection is lost, or the server says nothing to
 * anybody (invariant 6 of the file). libpq's own waiting has no end in
 * two cases of no memory. It takes the server's last word, has no room for the result of a sync,
 * and goes on as if more were to come: all that shows is a message longer than `told_len`, the
 * bytes of messages that came with results. And it leaves a notification it has no room for unread,
 * to read it with the next bytes, which need not come: so it is asked again now and then.
 */
bool kp_pg_await(kp_pg_conn *conn, size_t told_len);
/* Write what libpq has buffered, reading meanwhile; false: as above. */
bool kp_pg_write_out(kp_pg_conn *conn);
/* PQexec, or with a text for $1 PQexecParams, with our own waiting, outside of pipeline mode: the
   last result, or the first failure; NULL: the server is lost. Ends at COPY, too. */
PGresult *kp_pg_exec(kp_pg_conn *conn, const char *sql, const char *parameter);
bool kp_pg_is_copy(const PGresult *result);
/* Pipeline mode on or off; nothing may be pending. */
bool kp_pg_set_pipeline(kp_pg_conn *conn, bool on);
/* Keep the transaction's first failure. */
void kp_pg_note_failure(kp_pg_conn *conn, const PGresult *result);

/* ---------------------------------------------------------------- postgres_statement.c */

keep_status kp_pg_prepare(kp_sql_conn *base, const char *sql, kp_sql_stmt **out, keep_error *err);
keep_status kp_pg_bind(kp_sql_stmt *base, int index, const kp_value *value, keep_error *err);
keep_status kp_pg_step(kp_sql_stmt *base, bool *has_row, keep_error *err);
keep_status kp_pg_column(kp_sql_stmt *base, int index, kp_kind kind, kp_value *out,
			 keep_error *err);
int64_t kp_pg_changes(kp_sql_stmt *base);
void kp_pg_reset(kp_sql_stmt *base);
void kp_pg_finish(kp_sql_stmt *base);
keep_status kp_pg_queue(kp_sql_stmt *base, keep_error *err);
/* Free every statement; for close. */
void kp_pg_release_statements(kp_pg_conn *conn);

/* ---------------------------------------------------------------- postgres_copy.c */

keep_status kp_pg_copy(kp_sql_conn *base, const char *label, keep_error *err);

/* ---------------------------------------------------------------- postgres_driver.c */

keep_status kp_pg_script(kp_sql_conn *base, const char *sql, keep_error *err);

/* ---------------------------------------------------------------- postgres_connect.c */

keep_status kp_pg_open(const kp_sql_options *options, kp_sql_conn **out, keep_error *err);
void kp_pg_close(kp_sql_conn *base);
/* Does the server that this connection is to answer a newcomer, or us, within a second? True also
   when its answer is a refusal. */
bool kp_pg_server_answers(kp_pg_conn *conn);

/* ---------------------------------------------------------------- postgres_wait.c */

keep_status kp_pg_notify(kp_sql_conn *base, const char *channel, keep_bytes payload,
			 keep_error *err);
keep_status kp_pg_listen(kp_sql_conn *base, const char *channel, keep_error *err);
keep_status kp_pg_wait(kp_sql_conn *base, int64_t timeout_ms, int wake_fd, bool *notified,
		       keep_buffer *payload, keep_error *err);

#endif
