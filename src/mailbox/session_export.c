/*
 * session_export.c - a copy of a session in a new folder, as a session's folder is.
 *
 *     <folder>/inbound.db  outbound.db  inbox/<id>/<name>  outbox/<id>/<name>
 *
 * From files the pages of both are copied (sqlite_export.c); from a server the rows are read in one
 * transaction and stored in new files. The attachments follow: they appear before the rows that
 * name them, so a copy of the rows that is older finds them all, unless they were pruned meanwhile.
 * Either way the copy is what an agent opens, and what a program reads that knows only the source's
 * tables.
 *
 * Invariants:
 *   1. The folder is made exclusively, and stays empty until a complete copy takes its place by one
 *      rename. A failure leaves nothing.
 *   2. Nothing that an agent has put into its folder leads out of it: no link is followed.
 *   3. Each side is as of one moment.
 *
 * Tests: tests/contract/test_mailbox_export.c.
 */
#include "mailbox/mailbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum { ROWS_A_MEMORY = 256 };

/* ---------------------------------------------------------------- from files */

struct exporting {
	const char *inbound, *outbound; /* the new files */
};

static keep_status query_export(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct exporting *exporting = ctx;
	keep_status status = kp_sqlite_export(lease->conn, "main", exporting->inbound, err);

	return status == KEEP_OK ? kp_sqlite_export(lease->conn, "other", exporting->outbound, err)
				 : status;
}

static keep_status export_files(keep_mailbox *mailbox, keep_bytes session, const char *part,
				struct exporting *exporting, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	char *folder = NULL;
	keep_status status = kp_session_folder_of(mailbox, session, &arena, &folder, err);

	if (status == KEEP_OK)
		status = kp_session_read(mailbox, session, query_export, exporting, err);
	if (status == KEEP_OK)
		status = kp_tree_copy(folder, part, "inbox", err);
	if (status == KEEP_OK)
		status = kp_tree_copy(folder, part, "outbox", err);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- from a server */

struct table {
	size_t statement;
	const kp_record *record;
};

static const struct table inbound_tables[] = {
	{KP_MAILBOX_EXPORT_MESSAGES_IN, &kp_inbound_message_record},
	{KP_MAILBOX_EXPORT_DELIVERED, &kp_delivered_message_record},
	{KP_MAILBOX_EXPORT_OUTGOING, &kp_outgoing_message_record},
	{KP_MAILBOX_EXPORT_DESTINATIONS, &kp_session_destination_record},
	{KP_MAILBOX_EXPORT_SESSION_ROUTING, &kp_session_route_record},
	{KP_MAILBOX_EXPORT_MESSAGE_STEPS, &kp_message_step_record},
	{KP_MAILBOX_EXPORT_SESSION_HOST, &kp_session_host_record},
};

static const struct table outbound_tables[] = {
	{KP_MAILBOX_EXPORT_MESSAGES_OUT, &kp_outbound_message_record},
	{KP_MAILBOX_EXPORT_PROCESSING_ACK, &kp_processing_ack_record},
	{KP_MAILBOX_EXPORT_SESSION_STATE, &kp_session_value_record},
	{KP_MAILBOX_EXPORT_ASKED_QUESTIONS, &kp_asked_question_record},
	{KP_MAILBOX_EXPORT_SESSION_AGENT, &kp_session_agent_record},
};

/* Each table has fewer fields than this many bytes hold. */
union row {
	char bytes[1024];
	max_align_t align;
};

/* A statement that inserts a record's fields, but for the session: a file is one session's. */
static keep_status prepare_insert(const kp_record *record, kp_sql_conn *to, kp_sql_stmt **out,
				  keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(&sql, err, "INSERT INTO %s (", record->table);

	for (int i = 1; i < record->field_count && status == KEEP_OK; i++)
		status = kp_buffer_append_format(&sql, err, "%s\"%s\"", i > 1 ? ", " : "",
						 record->fields[i].name);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(&sql, ") VALUES (", err);
	for (int i = 1; i < record->field_count && status == KEEP_OK; i++)
		status = kp_buffer_append_format(&sql, err, "%s?%d", i > 1 ? ", " : "", i + 1);
	if (status == KEEP_OK)
		status = kp_buffer_append(&sql, (keep_bytes){")", 2}, err); /* with its end */
	if (status == KEEP_OK)
		status = kp_sql_prepare(to, sql.data, out, err);
	keep_buffer_release(&sql);
	return status;
}

static keep_status copy_rows(const kp_record *record, kp_sql_stmt *from, kp_sql_stmt *to,
			     keep_error *err)
{
	kp_arena arena = {.head = NULL};
	union row row;
	bool has_row = false;
	size_t rows = 0;
	keep_status status = KEEP_OK;

	if (record->size > sizeof row)
		return kp_fail(err, KEEP_MISUSE, "%s: a row is too large", record->table);
	while (status == KEEP_OK) {
		status = kp_sql_step(from, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_record_read(from, 0, record, &row, &arena, err);
		if (status == KEEP_OK)
			status = kp_record_bind(to, 1, record, &row, err);
		if (status == KEEP_OK)
			status = kp_sql_run(to, err);
		if (++rows % ROWS_A_MEMORY == 0)
			kp_arena_release(&arena);
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status copy_table(const struct table *table, kp_lease *from, keep_bytes session,
			      kp_sql_conn *to, keep_error *err)
{
	kp_sql_stmt *read = NULL, *write = NULL;
	keep_status status = prepare_insert(table->record, to, &write, err);

	if (status == KEEP_OK)
		status = kp_lease_bind(from, table->statement, KP_VALUES(kp_text_value(session)),
				       &read, err);
	if (status == KEEP_OK)
		status = copy_rows(table->record, read, write, err);
	kp_sql_reset(read);
	kp_sql_finish(&write);
	return status;
}

static keep_status fill_file(const char *path, const kp_migrations *migrations,
			     const struct table *tables, size_t count, kp_lease *from,
			     keep_bytes session, keep_error *err)
{
	kp_sql_options options = {
		.location = path,
		.create = true,
		.seal = tables ==
			inbound_tables, /* programs that know only SQLite write the other */
		.journal = KP_JOURNAL_ROLLBACK,
	};
	kp_sql_conn *to = NULL;
	keep_status status = kp_sql_open(&kp_sql_sqlite, &options, &to, err);

	if (status == KEEP_OK)
		status = kp_migrate(to, migrations, err);
	if (status == KEEP_OK)
		status = kp_sql_begin(to, KP_SQL_WRITE, err);
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = copy_table(&tables[i], from, session, to, err);
	if (status == KEEP_OK)
		status = kp_sql_commit(to, err);
	kp_sql_close(&to);
	return status;
}

static keep_status check_is_there(kp_lease *lease, keep_bytes session, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_session_host host;
	keep_status status = kp_session_host_get(lease, session, &arena, &host, err);

	kp_arena_release(&arena);
	return status;
}

/* A connection of its own, so that nobody waits for one that is busy this long. */
static keep_status export_rows(keep_mailbox *mailbox, keep_bytes session,
			       const struct exporting *exporting, keep_error *err)
{
	kp_sql_options options = {.location = mailbox->location,
				  .schema = mailbox->schema,
				  .read_only = true,
				  .timeout_ms = mailbox->timeout_ms};
	kp_lease from = {.statements = &kp_mailbox_statements[KP_DIALECT_POSTGRES]};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	from.prepared = kp_alloc_zero(from.statements->count * sizeof *from.prepared);
	if (!from.prepared)
		return kp_fail_memory(err, "an export");
	status = kp_sql_open(mailbox->driver, &options, &from.conn, &why);
	if (status == KEEP_NOT_FOUND) /* there was a schema when the mailbox was opened */
		why.status = status =
			kp_prefix(&why, KEEP_UNAVAILABLE, "the mailbox's tables are gone");
	if (status == KEEP_OK)
		status = kp_sql_begin(from.conn, KP_SQL_READ, &why);
	if (status == KEEP_OK)
		status = check_is_there(&from, session, &why);
	if (status == KEEP_OK)
		status = fill_file(exporting->inbound,
				   &kp_mailbox_inbound_migrations[KP_DIALECT_SQLITE],
				   inbound_tables, KP_COUNT(inbound_tables), &from, session, &why);
	if (status == KEEP_OK)
		status = fill_file(
			exporting->outbound, &kp_mailbox_outbound_migrations[KP_DIALECT_SQLITE],
			outbound_tables, KP_COUNT(outbound_tables), &from, session, &why);
	if (from.conn && from.conn->in_transaction)
		kp_sql_rollback(from.conn);
	for (size_t i = 0; i < from.statements->count; i++)
		kp_sql_finish(&from.prepared[i]);
	kp_sql_close(&from.conn);
	kp_free(from.prepared);
	return kp_mailbox_tell_failure(status, &why, err);
}

/* ---------------------------------------------------------------- the folder */

static keep_status sync_folder(const char *path, keep_error *err)
{
	int fd = -1;
	keep_status status = kp_file_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	return status;
}

static keep_status sync_parent(const char *path, keep_error *err)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int len = slash == path ? 1 : (int)(slash - path);

	if (!slash)
		return sync_folder(".", err);
	snprintf(parent, sizeof parent, "%.*s", len, path);
	return sync_folder(parent, err);
}

static keep_status fill_folder(keep_mailbox *mailbox, keep_bytes session, const char *part,
			       keep_error *err)
{
	char inbound[PATH_MAX + 16], outbound[PATH_MAX + 16];
	struct exporting exporting = {inbound, outbound};
	keep_status status;

	snprintf(inbound, sizeof inbound, "%s/inbound.db", part);
	snprintf(outbound, sizeof outbound, "%s/outbound.db", part);
	if (mailbox->schema)
		status = export_rows(mailbox, session, &exporting, err);
	else
		status = export_files(mailbox, session, part, &exporting, err);
	return status == KEEP_OK ? sync_folder(part, err) : status;
}

keep_status keep_mailbox_export_session(keep_mailbox *mailbox, keep_bytes session,
					const char *folder, keep_error *err)
{
	char target[PATH_MAX], part[PATH_MAX], number[KP_UUID_TEXT_SIZE];
	size_t len = folder ? strlen(folder) : 0;
	bool took_place = false;
	keep_status status = kp_check_session(session, err);

	if (status == KEEP_OK && (!len || len + 64 >= PATH_MAX))
		status = kp_fail(err, KEEP_INVALID, "folder: it is missing or too long");
	if (status == KEEP_OK)
		status = kp_uuid_make(number, err);
	if (status != KEEP_OK)
		return status;
	while (len > 1 && folder[len - 1] == '/')
		len--;
	snprintf(target, sizeof target, "%.*s", (int)len, folder);
	if (snprintf(part, sizeof part, "%s.part-%s", target, number) >= (int)sizeof part)
		return kp_fail(err, KEEP_INVALID, "folder: it is too long");
	status = kp_folder_make(AT_FDCWD, target, 0700, err); /* invariant 1 */
	if (status != KEEP_OK)
		return status;
	status = kp_folder_make(AT_FDCWD, part, 0700, err);
	if (status == KEEP_OK)
		status = fill_folder(mailbox, session, part, err);
	kp_moment("mailbox.export_filled");
	if (status == KEEP_OK)
		status = kp_file_rename(AT_FDCWD, part, AT_FDCWD, target, err);
	took_place = status == KEEP_OK;
	if (status == KEEP_OK)
		status = sync_parent(target, err);
	if (status != KEEP_OK) {
		kp_tree_drop(part);
		if (took_place)
			kp_tree_drop(target);
		else
			(void)rmdir(target);
	}
	return status;
}
