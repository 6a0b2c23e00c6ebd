/*
 * plain.c - the other side knows only the source's tables: the bold columns of the contract.
 *
 * Statements are written once, for Keep's tables. Where the other side's file lacks columns or
 * tables of ours, the connection gets temporary views with the names of ours over what is there:
 * SQLite finds temporary names first, so that every statement works as it is. What is absent reads
 * as its default, and to the agent's side times read in our one form, whichever of the two the
 * other program wrote.
 *
 *     the agent's side, a source host      messages_in … over other; session_host is made up
 *     the host's side, a source agent      messages_out, processing_ack … ; session_agent is made
 * up
 *
 * Our own file is completed when it was made by such a program: its tables are rebuilt as ours, in
 * the transaction of the migration, rows and all.
 *
 * A source host takes `failed` for done, so what fails on its agent's side would be lost. So there
 * a failed claim stays `processing`, with a lease that is over after 5 * 2^n s: this side takes it
 * again by itself, five times, and only then says `failed`.
 *
 * Invariants:
 *   1. Nothing of the other side's file is changed, nor trusted: names of its columns are compared
 *      and never become SQL.
 *   2. Rows that our records cannot hold (a kind that is none) are not seen by the agent's side;
 *      the host's side sees all, and sets them aside one by one.
 *   3. Where a source program wrote, our own file is in rollback mode: those read no log.
 *
 * What it does not do: give a source host's file indexes; looking for messages there costs what is
 * in it, as that program's own looks do.
 *
 * Tests: tests/compat/test_compat_source_host.c, tests/compat/test_compat_source_agent.c.
 */
#include "mailbox/mailbox_private.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { FIELDS_MAX = 64 };

#define CANONICAL_FORM "'%%Y-%%m-%%dT%%H:%%M:%%fZ'"
#define LOOKS_LIKE_TIME "GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"

/* ---------------------------------------------------------------- what a file has */

/* Which of a record's fields a table has; none: it is not there. Not by a table-valued pragma: that
   holds a lock on main while it waits for one on other (side.c, invariant 7). */
static keep_status look_at_table(kp_sql_conn *conn, const char *schema, const kp_record *record,
				 bool has[FIELDS_MAX], bool *is_there, keep_error *err)
{
	char sql[160];
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status;

	*is_there = false;
	memset(has, 0, FIELDS_MAX * sizeof *has);
	snprintf(sql, sizeof sql, "PRAGMA %s.table_info(\"%s\")", schema, record->table);
	status = kp_sql_prepare(conn, sql, &stmt, err);
	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row) {
		keep_bytes name = {.data = NULL};

		*is_there = true;
		status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &name, err);
		for (size_t i = 0; status == KEEP_OK && i < record->field_count; i++)
			has[i] |= kp_bytes_equal(name, keep_bytes_of(record->fields[i].name));
	}
	kp_sql_finish(&stmt);
	return status;
}

static bool is_session_id(const kp_field *field)
{
	return strcmp(field->name, "session_id") == 0;
}

static keep_status is_complete(kp_sql_conn *conn, const char *schema, const kp_record *record,
			       bool *complete, keep_error *err)
{
	bool has[FIELDS_MAX], is_there = false;
	keep_status status = look_at_table(conn, schema, record, has, &is_there, err);

	*complete = status == KEEP_OK && is_there;
	for (size_t i = 0; i < record->field_count; i++)
		*complete = *complete && (has[i] || is_session_id(&record->fields[i]));
	return status;
}

keep_status kp_plain_look(kp_sql_conn *conn, const char *schema, enum kp_side_kind whose,
			  bool *is_plain, keep_error *err)
{
	/* One with columns of ours beside the source's, and the one row that is ours. */
	const kp_record *of_host[] = {&kp_inbound_message_record, &kp_session_host_record};
	const kp_record *of_agent[] = {&kp_processing_ack_record, &kp_session_agent_record};
	const kp_record **records = whose == KP_SIDE_HOST ? of_host : of_agent;
	keep_status status = KEEP_OK;

	*is_plain = false;
	for (size_t i = 0; i < 2 && status == KEEP_OK && !*is_plain; i++) {
		bool complete = false;

		status = is_complete(conn, schema, records[i], &complete, err);
		*is_plain = status == KEEP_OK && !complete;
	}
	return status;
}

/* ---------------------------------------------------------------- views */

struct view {
	const kp_record *record;
	bool has[FIELDS_MAX];
	bool is_there;
	bool is_strict; /* the agent's side: canonical times, no rows that a record cannot hold */
	const char *id_field, *id_text; /* of the one row that is made up; NULL: none is */
};

/* What an absent column, or an absent value of one that must be there, reads as. */
static const char *default_of(const kp_field *field)
{
	if (field->flags & KP_FIELD_NULL)
		return "NULL";
	switch ((kp_kind)field->kind) {
	case KP_INT:
	case KP_BOOL: return "0";
	case KP_TIME: return "'1970-01-01T00:00:00.000Z'";
	default: return "''";
	}
}

static keep_status append_field(const struct view *view, size_t i, keep_buffer *sql,
				keep_error *err)
{
	const kp_field *field = &view->record->fields[i];
	const char *other = default_of(field);

	if (view->id_field && strcmp(field->name, view->id_field) == 0)
		return kp_buffer_append_format(sql, err, "'%s'", view->id_text);
	if (view->id_field)
		return kp_buffer_append_text(sql, strcmp(field->name, "id") == 0 ? "1" : other,
					     err);
	if (!view->has[i])
		return kp_buffer_append_text(sql, other, err);
	if (!view->is_strict)
		return kp_buffer_append_format(sql, err, "\"%s\"", field->name);
	if (field->kind == KP_TIME)
		return kp_buffer_append_format(sql, err,
					       "COALESCE(CASE WHEN \"%s\" " LOOKS_LIKE_TIME
					       " THEN strftime(" CANONICAL_FORM
					       ", \"%s\") END, %s)",
					       field->name, field->name, other);
	/* Failures of a source host's are counted by it, ours here. */
	if (strcmp(field->name, "tries") == 0)
		return kp_buffer_append_text(sql, "0", err);
	if (field->kind == KP_TEXT)
		return kp_buffer_append_format(sql, err, "COALESCE(CAST(\"%s\" AS TEXT), %s)",
					       field->name, other);
	return field->flags & KP_FIELD_NULL || strcmp(field->name, "seq") == 0
		       ? kp_buffer_append_format(sql, err, "\"%s\"", field->name)
		       : kp_buffer_append_format(sql, err, "COALESCE(\"%s\", %s)", field->name,
						 other);
}

/* Invariant 2. */
static keep_status append_conditions(const struct view *view, keep_buffer *sql, keep_error *err)
{
	keep_status status = kp_buffer_append_text(sql, " WHERE 1", err);

	for (size_t i = 0; status == KEEP_OK && i < view->record->field_count; i++) {
		const kp_field *field = &view->record->fields[i];

		if (!view->has[i] || !field->allowed || (field->flags & KP_FIELD_NULL))
			continue;
		status = kp_buffer_append_format(sql, err, " AND \"%s\" IN (", field->name);
		for (size_t j = 0; status == KEEP_OK && field->allowed[j]; j++)
			status = kp_buffer_append_format(sql, err, "%s'%s'", j ? ", " : "",
							 field->allowed[j]);
		if (status == KEEP_OK)
			status = kp_buffer_append_text(sql, ")", err);
	}
	return status;
}

static keep_status append_view(const struct view *view, keep_buffer *sql, keep_error *err)
{
	const kp_record *record = view->record;
	bool first = true;
	keep_status status = kp_buffer_append_format(sql, err, "CREATE TEMP VIEW \"%s\" AS SELECT ",
						     record->table);

	for (size_t i = 0; status == KEEP_OK && i < record->field_count; i++) {
		if (is_session_id(&record->fields[i]))
			continue;
		if (!first)
			status = kp_buffer_append_text(sql, ", ", err);
		if (status == KEEP_OK)
			status = append_field(view, i, sql, err);
		if (status == KEEP_OK)
			status = kp_buffer_append_format(sql, err, " AS \"%s\"",
							 record->fields[i].name);
		first = false;
	}
	if (status == KEEP_OK && !view->id_field)
		status = view->is_there ? kp_buffer_append_format(sql, err, " FROM other.\"%s\"",
								  record->table)
					: kp_buffer_append_text(sql, " WHERE 0", err);
	if (status == KEEP_OK && view->is_there && view->is_strict)
		status = append_conditions(view, sql, err);
	return status == KEEP_OK ? kp_buffer_append_text(sql, ";\n", err) : status;
}

/* The last segment of the folder's name, when that may be a session's id; else nothing. */
static void name_session(const char *file, char name[KP_SEGMENT_SIZE])
{
	char path[PATH_MAX];
	char *end;

	name[0] = '\0';
	if (!realpath(file, path))
		return;
	end = strrchr(path, '/');
	if (!end)
		return;
	*end = '\0';
	end = strrchr(path, '/');
	if (end && kp_check_segment("session", keep_bytes_of(end + 1), NULL) == KEEP_OK)
		snprintf(name, KP_SEGMENT_SIZE, "%s", end + 1);
}

/* A file that a source agent made has no id of its own: this one is another when it is made anew.
 */
static void name_outbound(const char *file, char name[KP_SEGMENT_SIZE])
{
	struct statx stx = {.stx_mask = 0};

	(void)statx(AT_FDCWD, file, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &stx);
	snprintf(name, KP_SEGMENT_SIZE, "source-%llu-%lld-%u", (unsigned long long)stx.stx_ino,
		 (long long)stx.stx_btime.tv_sec, stx.stx_btime.tv_nsec);
}

/* A claim that failed is due again by itself, five times. */
static const char failed_is_not_lost[] =
	"CREATE TEMP TRIGGER failed_is_not_lost AFTER UPDATE OF status ON main.processing_ack "
	"WHEN NEW.status = 'failed' AND NEW.expired < 5 BEGIN "
	"UPDATE processing_ack SET status = 'processing', owner = 'retry', lease_until = "
	"strftime('%Y-%m-%dT%H:%M:%fZ', NEW.status_changed, '+' || (5 << NEW.expired) || "
	"' seconds') WHERE message_id = NEW.message_id; END;";

keep_status kp_plain_dress(kp_side *side, keep_error *err)
{
	bool is_host = side->kind == KP_SIDE_HOST;
	const kp_record *const *records =
		is_host ? kp_mailbox_outbound_records : kp_mailbox_inbound_records;
	size_t count = is_host ? KP_MAILBOX_OUTBOUND_RECORD_COUNT : KP_MAILBOX_INBOUND_RECORD_COUNT;
	const kp_record *made_up = is_host ? &kp_session_agent_record : &kp_session_host_record;
	char name[KP_SEGMENT_SIZE];
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status =
		kp_plain_look(side->lease.conn, "other", is_host ? KP_SIDE_AGENT : KP_SIDE_HOST,
			      &side->is_plain, err);

	if (status != KEEP_OK || !side->is_plain)
		return status;
	(is_host ? name_outbound : name_session)(side->other, name);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		struct view view = {.record = records[i], .is_strict = !is_host};

		status = look_at_table(side->lease.conn, "other", records[i], view.has,
				       &view.is_there, err);
		if (records[i] == made_up && !view.is_there) {
			view.id_field = is_host ? "outbound_id" : "session";
			view.id_text = name;
		}
		if (status == KEEP_OK)
			status = append_view(&view, &sql, err);
	}
	if (status == KEEP_OK && !is_host)
		status = kp_buffer_append_text(&sql, failed_is_not_lost, err);
	if (status == KEEP_OK)
		status = kp_buffer_append(&sql, (keep_bytes){"", 1}, err);
	if (status == KEEP_OK)
		status = kp_sql_script(side->lease.conn, kp_buffer_bytes(&sql).data, err);
	keep_buffer_release(&sql);
	return status;
}

keep_status kp_plain_host(const char *inbound, bool *is_plain, keep_error *err)
{
	kp_sql_options options = {
		.location = inbound, .read_only = true, .journal = KP_JOURNAL_AS_IS};
	kp_sql_conn *conn = NULL;
	keep_status status = kp_sql_open(&kp_sql_sqlite, &options, &conn, err);

	*is_plain = false;
	if (status == KEEP_OK)
		status = kp_plain_look(conn, "main", KP_SIDE_HOST, is_plain, err);
	kp_sql_close(&conn);
	return status;
}

/* ---------------------------------------------------------------- our own file, made by another */

/* Inside of the migrating transaction, before any table of ours: the source's step aside. */
static keep_status step_aside(void *ctx, kp_sql_conn *conn, int version, keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	(void)ctx;
	for (size_t i = 0;
	     version == 0 && status == KEEP_OK && i < KP_MAILBOX_OUTBOUND_RECORD_COUNT; i++) {
		const kp_record *record = kp_mailbox_outbound_records[i];
		bool has[FIELDS_MAX], is_there = false;

		status = look_at_table(conn, "main", record, has, &is_there, err);
		if (status == KEEP_OK && is_there)
			status = kp_buffer_append_format(
				&sql, err, "ALTER TABLE main.\"%s\" RENAME TO \"source_%s\";\n",
				record->table, record->table);
	}
	if (status == KEEP_OK)
		status = kp_buffer_append(&sql, (keep_bytes){"", 1}, err);
	if (status == KEEP_OK)
		status = kp_sql_script(conn, kp_buffer_bytes(&sql).data, err);
	keep_buffer_release(&sql);
	return status;
}

static keep_status append_columns(const kp_record *record, const bool has[FIELDS_MAX], bool values,
				  keep_buffer *sql, keep_error *err)
{
	bool first = true;
	keep_status status = KEEP_OK;

	for (size_t i = 0; status == KEEP_OK && i < record->field_count; i++) {
		const kp_field *field = &record->fields[i];
		const char *name = field->name;

		if (!has[i])
			continue;
		if (!first)
			status = kp_buffer_append_text(sql, ", ", err);
		first = false;
		if (status != KEEP_OK)
			return status;
		if (!values)
			status = kp_buffer_append_format(sql, err, "\"%s\"", name);
		else if (strcmp(name, "seq") == 0)
			status = kp_buffer_append_text(sql, "number", err);
		else if (field->kind == KP_TIME)
			status = kp_buffer_append_format(
				sql, err,
				"COALESCE(CASE WHEN \"%s\" " LOOKS_LIKE_TIME
				" THEN strftime(" CANONICAL_FORM ", \"%s\") END, %s)",
				name, name, default_of(field));
		else if (strcmp(name, "status") == 0) /* of acknowledgements, later versions' too */
			status = kp_buffer_append_text(
				sql,
				"CASE WHEN status IN ('processing', 'failed') THEN status "
				"WHEN status LIKE 'script-skip:%' THEN 'failed' "
				"ELSE 'completed' END",
				err);
		else if (field->kind == KP_INT)
			status = kp_buffer_append_format(sql, err, "COALESCE(\"%s\", %s)", name,
							 default_of(field));
		else
			status = kp_buffer_append_format(sql, err,
							 "COALESCE(CAST(\"%s\" AS TEXT), %s)", name,
							 default_of(field));
	}
	return status;
}

/* Numbers that are none of ours (a host of the source wrote into this file at times) go behind. */
static const char numbered[] =
	"(SELECT *, CASE WHEN seq > 0 AND seq % 2 = 1 THEN seq ELSE "
	"(SELECT (COALESCE(max(seq), 0) + 1) / 2 * 2 - 1 FROM \"source_messages_out\") + "
	"2 * row_number() OVER (PARTITION BY COALESCE(seq > 0 AND seq % 2 = 1, FALSE) ORDER BY "
	"rowid) END AS number "
	"FROM \"source_messages_out\")";

static keep_status append_copy(const kp_record *record, const bool has[FIELDS_MAX],
			       keep_buffer *sql, keep_error *err)
{
	bool is_numbered = record == &kp_outbound_message_record;
	keep_status status =
		kp_buffer_append_format(sql, err, "INSERT INTO \"%s\" (", record->table);

	if (status == KEEP_OK)
		status = append_columns(record, has, false, sql, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(sql, ") SELECT ", err);
	if (status == KEEP_OK)
		status = append_columns(record, has, true, sql, err);
	if (status == KEEP_OK && is_numbered)
		status = kp_buffer_append_format(sql, err, " FROM %s WHERE id IS NOT NULL;\n",
						 numbered);
	else if (status == KEEP_OK)
		status = kp_buffer_append_format(sql, err,
						 " FROM \"source_%s\" WHERE \"%s\" IS NOT NULL;\n",
						 record->table, record->fields[1].name);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(sql, err, "DROP TABLE \"source_%s\";\n",
						 record->table);
	return status;
}

/* After our tables were made: the rows move in. */
static keep_status move_in(void *ctx, kp_sql_conn *conn, const kp_ran_migration *ran,
			   keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	bool is_source = false;
	keep_status status = KEEP_OK;

	(void)ctx;
	(void)ran;
	for (size_t i = 0; status == KEEP_OK && i < KP_MAILBOX_OUTBOUND_RECORD_COUNT; i++) {
		kp_record old = *kp_mailbox_outbound_records[i];
		bool has[FIELDS_MAX], is_there = false;
		char table[64];

		snprintf(table, sizeof table, "source_%s", old.table);
		old.table = table;
		status = look_at_table(conn, "main", &old, has, &is_there, err);
		if (status == KEEP_OK && is_there) {
			is_source = true;
			status = append_copy(kp_mailbox_outbound_records[i], has, &sql, err);
		}
	}
	if (status == KEEP_OK && is_source)
		status = kp_buffer_append_text(&sql,
					       "INSERT INTO session_agent (id, outbound_id) "
					       "VALUES (1, lower(hex(randomblob(16))));\n",
					       err);
	if (status == KEEP_OK)
		status = kp_buffer_append(&sql, (keep_bytes){"", 1}, err);
	if (status == KEEP_OK)
		status = kp_sql_script(conn, kp_buffer_bytes(&sql).data, err);
	keep_buffer_release(&sql);
	return status;
}

keep_status kp_plain_migrate(kp_sql_conn *conn, keep_error *err)
{
	kp_migrations migrations = kp_mailbox_outbound_migrations[KP_DIALECT_SQLITE];

	migrations.check = step_aside;
	migrations.ran = move_in;
	return kp_migrate(conn, &migrations, err);
}

/* ---------------------------------------------------------------- what nobody will ever finish */

static keep_status apply_give_up(void *ctx, kp_lease *lease, keep_error *err)
{
	const keep_agent *agent = ctx;

	return kp_lease_run(
		lease, KP_MAILBOX_GIVE_UP_PLAIN,
		KP_VALUES(kp_text_value(kp_agent_id(agent)), kp_time_value(kp_clock_ms())), NULL,
		err);
}

keep_status kp_plain_give_up(keep_agent *agent, keep_error *err)
{
	return kp_agent_write(agent, KP_SQL_WRITE, true, apply_give_up, agent, err);
}
