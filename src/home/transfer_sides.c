/*
 * transfer_sides.c - a home as one side of a transfer: where it is, and its connections.
 *
 * A folder has a file for each database, which is opened when its turn comes. A server has one
 * connection: all its schemas are read in one transaction, so a server's home is taken as of one
 * moment, also while it is in use.
 *
 * Invariants:
 *   1. One transfer to a home at a time: the target's folder is locked, or the server's advisory
 *      lock is held. The kernel, or the server, lets go when the process dies.
 *   2. A source is opened for reading only.
 *   3. The identity is one for one home: a folder's real path and its home.json; a server's
 *      database, by its own number and the cluster's.
 *
 * Tests: tests/contract/test_transfer_home.c.
 */
#include "home/home_private.h"
#include "keep/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define VALUE_MAX (INT64_C(1) << 30)
enum { HOME_FILE_MAX = 4096, STATEMENT_MS = 3600 * 1000 };
#define LOCK_MS "5000" /* as lock_timeout has it */

bool kp_home_side_is_server(const char *home)
{
	return strncmp(home, "postgres://", 11) == 0 || strncmp(home, "postgresql://", 13) == 0;
}

/* ---------------------------------------------------------------- asking */

keep_status kp_home_ask(kp_sql_conn *conn, const char *sql, keep_bytes text, int64_t *out,
			keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_value value = {.is_null = true};
	bool has_row = false;
	keep_status status = kp_sql_prepare(conn, sql, &stmt, err);

	*out = 0;
	if (status == KEEP_OK && text.data)
		status = kp_sql_bind_text(stmt, 1, text, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, 0, KP_INT, &value, err);
	if (status == KEEP_OK && !value.is_null)
		*out = value.integer;
	kp_sql_finish(&stmt);
	return status;
}

keep_status kp_home_has(const kp_home_side *side, const char *file, const char *schema,
			const char *table, bool *has, keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	int64_t count = 0;
	struct stat st;
	keep_status status;

	*has = false;
	if (!side->is_server) {
		/* Never opened: closing it would drop the locks that SQLite has on it here. */
		if (kp_fault(KP_FAULT_FILE))
			return kp_fail_errno(err, EIO, "look at '%s'", file);
		*has = fstatat(side->fd, file, &st, 0) == 0;
		return *has || errno == ENOENT || errno == ENOTDIR
			       ? KEEP_OK
			       : kp_fail_errno(err, errno, "look at '%s'", file);
	}
	status = kp_buffer_append_format(&sql, err,
					 "SELECT count(*) FROM information_schema.tables WHERE "
					 "table_schema = '%s' AND table_name = $1",
					 schema);
	if (status == KEEP_OK)
		status = kp_home_ask(side->conn, sql.data, keep_bytes_of(table), &count, err);
	*has = count > 0;
	keep_buffer_release(&sql);
	return status;
}

/* ---------------------------------------------------------------- a folder */

static keep_status identify_folder(kp_home_side *side, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT, home = KEEP_BUFFER_INIT;
	int fd = -1;
	keep_status status =
		kp_file_open(side->fd, "home.json", O_RDONLY | O_NOFOLLOW, 0, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_read_all(fd, HOME_FILE_MAX, &home, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(&text, err, "folder %s\n", side->folder);
	if (status == KEEP_OK)
		status = kp_buffer_append(&text, kp_buffer_bytes(&home), err);
	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(&text), side->identity, err);
	kp_file_close(&fd);
	keep_buffer_release(&home);
	keep_buffer_release(&text);
	return status;
}

static keep_status open_folder(kp_home_side *side, bool is_target, keep_error *err)
{
	keep_session *session = NULL;
	keep_status status = is_target ? keep_home_init(side->home, err) : KEEP_OK;

	if (status == KEEP_OK) /* is it a home, of a format that we know? */
		status = keep_session_open(side->home, &session, err);
	keep_session_close(&session);
	if (status == KEEP_OK && !realpath(side->home, side->folder))
		status = kp_fail_errno(err, errno, "%s", side->home);
	if (status == KEEP_OK)
		status = kp_file_open(AT_FDCWD, side->folder, O_RDONLY | O_DIRECTORY, 0, &side->fd,
				      err);
	if (status == KEEP_OK && is_target && flock(side->fd, LOCK_EX | LOCK_NB) != 0)
		status = errno == EWOULDBLOCK
				 ? kp_fail(err, KEEP_BUSY,
					   "%s: another transfer to it is under way", side->home)
				 : kp_fail_errno(err, errno, "%s", side->home);
	return status == KEEP_OK ? identify_folder(side, err) : status;
}

/* ---------------------------------------------------------------- a server */

static keep_status identify_server(kp_home_side *side, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	int64_t database = 0, cluster = 0;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_home_ask(
		side->conn,
		"SELECT oid::bigint FROM pg_database WHERE datname = current_database()",
		(keep_bytes){.data = NULL}, &database, err);

	/* Not everybody may ask. */
	if (status == KEEP_OK &&
	    kp_home_ask(side->conn,
			"SELECT CASE WHEN has_function_privilege("
			"'pg_control_system()', 'execute') THEN (SELECT "
			"system_identifier FROM pg_control_system()) ELSE 0 END",
			(keep_bytes){.data = NULL}, &cluster, &why) != KEEP_OK)
		status = kp_fail(err, why.status, "%s", why.message);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(&text, err, "server %lld %lld", (long long)cluster,
						 (long long)database);
	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(&text), side->identity, err);
	keep_buffer_release(&text);
	return status;
}

/* The server may learn a moment late that a transfer was killed: its lock is waited for. */
static keep_status lock_server(kp_home_side *side, keep_error *err)
{
	int64_t is_ours = 0;
	keep_status status = kp_home_ask(side->conn,
					 "SELECT length(set_config('lock_timeout', '" LOCK_MS
					 "', false))::bigint",
					 (keep_bytes){.data = NULL}, &is_ours, err);

	if (status == KEEP_OK)
		status = kp_home_ask(
			side->conn,
			"SELECT 1::bigint FROM (SELECT pg_advisory_lock(hashtextextended("
			"'keep transfer', 0))) AS taken",
			(keep_bytes){.data = NULL}, &is_ours, err);
	if (status == KEEP_BUSY)
		status = kp_fail(err, KEEP_BUSY, "another transfer to the server is under way");
	return status;
}

static keep_status open_server(kp_home_side *side, bool is_target, keep_error *err)
{
	kp_postgres_url parts = {.conninfo = NULL};
	kp_sql_options options = {.read_only = !is_target, .timeout_ms = STATEMENT_MS};
	keep_status status;

	if (strstr(side->home, "?schema=") || strstr(side->home, "&schema=") ||
	    strstr(side->home, "?namespace=") || strstr(side->home, "&namespace="))
		return kp_fail(err, KEEP_INVALID,
			       "transfer: a home's URL has neither schema nor namespace");
	status = kp_postgres_url_read(side->home, "keep", &parts, err);
	if (status != KEEP_OK)
		return status;
	side->conninfo = parts.conninfo;
	parts.conninfo = NULL;
	kp_postgres_url_release(&parts);
	options.location = side->conninfo;
	status = kp_sql_open(&kp_sql_postgres, &options, &side->conn, err);
	if (status == KEEP_OK && is_target)
		status = lock_server(side, err);
	if (status == KEEP_OK && !is_target)
		status = kp_sql_begin(side->conn, KP_SQL_READ, err);
	return status == KEEP_OK ? identify_server(side, err) : status;
}

/* ---------------------------------------------------------------- either */

keep_status kp_home_side_open(kp_home_side *side, const char *home, bool is_target,
			      int64_t timeout_ms, keep_error *err)
{
	*side = (kp_home_side){.home = home,
			       .is_server = kp_home_side_is_server(home),
			       .fd = -1,
			       .timeout_ms = timeout_ms};
	return side->is_server ? open_server(side, is_target, err)
			       : open_folder(side, is_target, err);
}

void kp_home_side_close(kp_home_side *side)
{
	if (!side->home)
		return;
	kp_sql_close(&side->conn);
	kp_free(side->conninfo);
	kp_file_close(&side->fd);
	*side = (kp_home_side){.fd = -1};
}

keep_status kp_home_database_open(const kp_home_side *side, const char *file, const char *guard,
				  const char *schema, bool is_target, kp_home_database *out,
				  keep_error *err)
{
	char path[PATH_MAX];
	kp_sql_options options = {
		.location = path,
		.read_only = !is_target,
		.timeout_ms = side->timeout_ms,
		/* A source that was restored, and not used since, has no log yet. */
		.journal = guard || !is_target ? KP_JOURNAL_AS_IS : KP_JOURNAL_WAL,
		.guard = guard,
		.value_max = guard ? VALUE_MAX : 0,
		.statement_ms = guard ? STATEMENT_MS : 0,
	};
	keep_status status;

	*out = (kp_home_database){.conn = side->conn, .schema = side->is_server ? schema : NULL};
	if (side->is_server)
		return KEEP_OK;
	if (snprintf(path, sizeof path, "%s/%s", side->folder, file) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", side->folder);
	status = kp_sql_open(&kp_sql_sqlite, &options, &out->conn, err);
	if (status != KEEP_OK)
		return status;
	out->is_own = true;
	/* What is sorted goes to a file, not to memory. */
	status = kp_sql_script(out->conn, "PRAGMA temp_store = FILE", err);
	if (status == KEEP_OK && !is_target)
		status = kp_sql_begin(out->conn, KP_SQL_READ, err);
	if (status != KEEP_OK)
		kp_home_database_close(out);
	return status;
}

void kp_home_database_close(kp_home_database *database)
{
	if (database->is_own) {
		kp_sql_rollback(database->conn);
		kp_sql_close(&database->conn);
	}
	*database = (kp_home_database){.conn = NULL};
}
