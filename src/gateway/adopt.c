/*
 * adopt.c - takes over everything that a messages.db of the source holds.
 *
 *     open the file read-only ► is it the source's? ► one writing transaction:
 *         each known table, row by row ► what has no place ► unknown tables ► numbers of the
 * database ► did the file stay as it was? ► commit
 *
 * Invariants:
 *   1. All or nothing, from one moment of the file, which is never changed (sql/foreign.c).
 *   2. Every value of every row is in the column of its name, or in adopted_rows: as a whole row,
 * or as the columns without a place beside the row's key. NULL and '' say the same: nothing. Views,
 *      virtual tables and the shadows of messages_fts hold nothing of their own.
 *   3. A JSON text holds a text as it is; bytes, and text that is not UTF-8, are {"base64": …}.
 *   4. Rows are read one after the other, messages sorted by SQLite, which spills to the disk:
 * memory does not grow with the file.
 *   5. It may run more than once (sql.h: kp_apply), so it writes its counts anew each time.
 *
 * What becomes of what:
 *   - messages: numbered per chat by (timestamp, rowid). What the agent said (is_from_me or
 *     is_bot_message) is outbound and delivered; a later source's pending is uncertain, for nobody
 *     knows whether it went out. received_at is the timestamp, or now when that is later. A
 * timestamp is kept to the millisecond; the text of a finer one is in adopted_rows.
 *   - cursors: the largest number whose message and all before it are not after the cursor's time.
 *   - tasks: the source's zone was the TZ of its process, which the file does not have: UTC. The
 *     dialect is robfig. firing is active and due. A cron that does not parse fails, with the
 * reason.
 *   - a row whose status, type or state we do not have, a run of a task that is gone, a second run
 * of one task and time: whole in adopted_rows.
 *
 * Tests: tests/contract/test_gateway_adopt.c, tests/torture/test_gateway_adopt_faults.c.
 */
#include "gateway/adopt.h"

#include <string.h>

/* ---------------------------------------------------------------- storing */

bool kp_adopt_is_allowed(const kp_record *record, const char *column, keep_bytes text)
{
	for (size_t i = 0; i < record->field_count; i++) {
		const kp_field *field = &record->fields[i];

		if (strcmp(field->name, column) != 0)
			continue;
		for (size_t j = 0; field->allowed && field->allowed[j]; j++)
			if (kp_bytes_equal(text, keep_bytes_of(field->allowed[j])))
				return true;
	}
	return false;
}

keep_status kp_adopt_store(kp_adopt_row *row, size_t statement, const kp_record *record,
			   const void *object, bool *stored)
{
	keep_error *err = row->adopt->err;
	kp_sql_stmt *stmt = NULL;
	bool has_row = true;
	int64_t changes = 0;

	if (row->status == KEEP_OK)
		row->status = kp_lease_statement(row->adopt->lease, statement, &stmt, err);
	if (row->status == KEEP_OK)
		row->status = kp_record_bind(stmt, 1, record, object, err);
	while (row->status == KEEP_OK && has_row)
		row->status = kp_sql_step(stmt, &has_row, err);
	if (row->status == KEEP_OK)
		changes = kp_sql_changes(stmt);
	kp_sql_reset(stmt);
	if (stored)
		*stored = changes > 0;
	else if (row->status == KEEP_OK && !changes)
		row->status = kp_fail(err, KEEP_CONFLICT, "the gateway has one with its key");
	return row->status;
}

/* ---------------------------------------------------------------- what has no place */

static keep_status put_bytes(kp_adopt *adopt, kp_json_writer *writer, keep_bytes bytes)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_base64_encode(bytes, &text, adopt->err);

	kp_json_open_object(writer);
	kp_json_name(writer, "base64");
	kp_json_put_text(writer, kp_buffer_bytes(&text));
	kp_json_close_object(writer);
	keep_buffer_release(&text);
	return status;
}

/* Invariant 3. */
static keep_status put_value(kp_adopt *adopt, kp_json_writer *writer, const kp_foreign_value *value)
{
	char text[KP_REAL_TEXT_SIZE];

	switch (value->kind) {
	case KP_FOREIGN_NULL: kp_json_put_null(writer); break;
	case KP_FOREIGN_INTEGER: kp_json_put_integer(writer, value->integer); break;
	case KP_FOREIGN_REAL:
		if (kp_real_format(value->real, text))
			kp_json_put_real(writer, value->real);
		else
			kp_json_put_text(writer,
					 value->real > 0 ? KEEP_BYTES("Inf") : KEEP_BYTES("-Inf"));
		break;
	case KP_FOREIGN_TEXT:
		if (!kp_text_is_storable(value->bytes))
			return put_bytes(adopt, writer, value->bytes);
		kp_json_put_text(writer, value->bytes);
		break;
	case KP_FOREIGN_BLOB: return put_bytes(adopt, writer, value->bytes);
	}
	return KEEP_OK;
}

static bool says_nothing(const kp_foreign_value *value)
{
	return value->kind == KP_FOREIGN_NULL ||
	       (value->kind == KP_FOREIGN_TEXT && value->bytes.len == 0);
}

static bool is_key(const char *name, const char *const *keys)
{
	for (; *keys; keys++)
		if (strcmp(name, *keys) == 0)
			return true;
	return false;
}

/* Put the wanted columns into one object; *wanted: there is one without a place that says
   something. */
static keep_status describe_row(kp_adopt_row *row, const char *const *keys, bool *wanted)
{
	kp_adopt *adopt = row->adopt;
	kp_json_writer writer;

	*wanted = !keys;
	adopt->json.len = 0;
	kp_json_begin(&writer, &adopt->json);
	kp_json_open_object(&writer);
	for (int i = 1; i < row->count && row->status == KEEP_OK; i++) {
		const char *name = kp_foreign_name(row->rows, i);
		bool is_rest = keys && !row->placed[i];
		kp_foreign_value value;

		if (keys && !is_rest && !is_key(name, keys))
			continue;
		row->status = kp_foreign_value_at(row->rows, i, &value, adopt->err);
		is_rest = is_rest && row->status == KEEP_OK && !says_nothing(&value);
		if (row->status != KEEP_OK || (keys && !is_rest && !is_key(name, keys)))
			continue;
		*wanted = *wanted || is_rest;
		kp_json_name(&writer, name);
		row->status = put_value(adopt, &writer, &value);
	}
	kp_json_close_object(&writer);
	if (row->status == KEEP_OK)
		row->status = kp_json_finish(&writer, adopt->err);
	return row->status;
}

static keep_status keep_row(kp_adopt_row *row, const char *const *keys)
{
	kp_adopt *adopt = row->adopt;
	bool wanted = false;

	if (row->status == KEEP_OK)
		row->status = describe_row(row, keys, &wanted);
	if (row->status != KEEP_OK || !wanted)
		return row->status;
	adopt->counts->other_rows++;
	row->status = kp_lease_queue(adopt->lease, KP_GATEWAY_ADOPT_OTHER,
				     KP_VALUES(kp_text_value(keep_bytes_of(row->table)),
					       kp_json_value(kp_buffer_bytes(&adopt->json))),
				     adopt->err);
	return row->status;
}

keep_status kp_adopt_keep_rest(kp_adopt_row *row, const char *const *keys)
{
	return keep_row(row, keys);
}

keep_status kp_adopt_keep_whole(kp_adopt_row *row)
{
	return keep_row(row, NULL);
}

/* ---------------------------------------------------------------- rows and tables */

/* A failure that the row is at fault for names it; what our own checks refuse is its fault, too. */
static keep_status name_row(const kp_adopt_row *row, keep_status status, keep_error *err)
{
	if (status == KEEP_INVALID)
		status = err->status = KEEP_CORRUPT;
	if (status != KEEP_CORRUPT && status != KEEP_CONFLICT && status != KEEP_FULL)
		return status;
	return kp_prefix(err, status, "%s row %lld", row->table, (long long)row->rowid);
}

static keep_status handle_row(kp_adopt_row *row, kp_adopt *adopt, kp_foreign_rows *rows,
			      kp_adopt_handler *handler)
{
	keep_status status;

	kp_adopt_row_begin(row, adopt, rows, row->table);
	if (row->status == KEEP_OK)
		row->status = handler(row);
	status = row->status;
	kp_arena_release(&adopt->row);
	return status == KEEP_OK ? status : name_row(row, status, adopt->err);
}

/* One row further; a damaged file is told with the last row that could be read. */
static keep_status step_row(const kp_adopt_row *row, kp_foreign_rows *rows, bool *has_row,
			    keep_error *err)
{
	keep_status status = kp_foreign_step(rows, has_row, err);

	if (status == KEEP_CORRUPT)
		return kp_prefix(err, status, "%s after row %lld", row->table,
				 (long long)row->rowid);
	return status;
}

keep_status kp_adopt_each(kp_adopt *adopt, const char *table, const char *sql,
			  kp_adopt_handler *handler)
{
	kp_adopt_row *row = kp_alloc_zero(sizeof *row);
	kp_foreign_rows *rows = NULL;
	bool has_row = true;
	keep_status status = KEEP_OK;

	if (!row)
		return kp_fail_memory(adopt->err, "a row");
	row->table = table;
	status = kp_foreign_select(adopt->source, sql, &rows, adopt->err);
	while (status == KEEP_OK && has_row) {
		status = step_row(row, rows, &has_row, adopt->err);
		if (status == KEEP_OK && has_row)
			status = handle_row(row, adopt, rows, handler);
	}
	kp_foreign_finish(&rows);
	kp_free(row);
	return status;
}

/* Fetch one row by its rowid and handle it. */
static keep_status fetch_row(kp_adopt_row *row, kp_adopt *adopt, kp_foreign_rows *rowids,
			     kp_foreign_rows *rows, kp_adopt_handler *handler)
{
	kp_foreign_value rowid;
	bool has_row = false;
	keep_status status = kp_foreign_value_at(rowids, 0, &rowid, adopt->err);

	if (status == KEEP_OK)
		status = kp_foreign_bind_int(rows, 1, rowid.integer, adopt->err);
	if (status == KEEP_OK)
		status = step_row(row, rows, &has_row, adopt->err);
	if (status == KEEP_OK && !has_row)
		status = kp_fail(adopt->err, KEEP_CORRUPT, "%s row %lld cannot be found",
				 row->table, (long long)rowid.integer);
	if (status == KEEP_OK)
		status = handle_row(row, adopt, rows, handler);
	kp_foreign_reset(rows);
	return status;
}

keep_status kp_adopt_each_sorted(kp_adopt *adopt, const char *table, const char *order,
				 const char *fetch, kp_adopt_handler *handler)
{
	kp_adopt_row *row = kp_alloc_zero(sizeof *row);
	kp_foreign_rows *rowids = NULL, *rows = NULL;
	bool has_row = true;
	keep_status status = KEEP_OK;

	if (!row)
		return kp_fail_memory(adopt->err, "a row");
	row->table = table;
	status = kp_foreign_select(adopt->source, order, &rowids, adopt->err);
	if (status == KEEP_OK)
		status = kp_foreign_select(adopt->source, fetch, &rows, adopt->err);
	while (status == KEEP_OK && has_row) {
		status = step_row(row, rowids, &has_row, adopt->err);
		if (status == KEEP_OK && has_row)
			status = fetch_row(row, adopt, rowids, rows, handler);
	}
	kp_foreign_finish(&rowids);
	kp_foreign_finish(&rows);
	kp_free(row);
	return status;
}

/* Append a table's name in quotes. */
static keep_status append_name(keep_buffer *sql, keep_bytes name, keep_error *err)
{
	keep_status status = kp_buffer_append_text(sql, "\"", err);

	for (size_t i = 0; status == KEEP_OK && i < name.len; i++)
		status = kp_buffer_append(sql,
					  name.data[i] == '"' ? KEEP_BYTES("\"\"")
							      : (keep_bytes){name.data + i, 1},
					  err);
	return status == KEEP_OK ? kp_buffer_append_text(sql, "\"", err) : status;
}

static keep_status adopt_table(kp_adopt *adopt, const char *table, bool has_rowid,
			       kp_adopt_handler *handler)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_text(
		&sql, has_rowid ? "SELECT rowid, * FROM " : "SELECT NULL, * FROM ", adopt->err);

	if (status == KEEP_OK)
		status = append_name(&sql, keep_bytes_of(table), adopt->err);
	if (status == KEEP_OK && has_rowid)
		status = kp_buffer_append_text(&sql, " ORDER BY rowid", adopt->err);
	if (status == KEEP_OK)
		status = kp_adopt_each(adopt, table, sql.data, handler);
	keep_buffer_release(&sql);
	return status;
}

/* In this order: a run needs its task, a chat's row what its messages made. */
static const struct known_table {
	const char *name;
	kp_adopt_handler *handler; /* NULL: kp_adopt_messages */
} known_tables[] = {
	{"router_state", kp_adopt_state},
	{"registered_groups", kp_adopt_group},
	{"messages", NULL},
	{"chats", kp_adopt_chat},
	{"routes", kp_adopt_route},
	{"sessions", kp_adopt_session},
	{"session_log", kp_adopt_run},
	{"system_messages", kp_adopt_system_message},
	{"scheduled_tasks", kp_adopt_task},
	{"task_run_logs", kp_adopt_task_run},
	{"auth_users", kp_adopt_user},
	{"auth_sessions", kp_adopt_auth_session},
	{"user_groups", kp_adopt_user_group},
	{"email_threads", kp_adopt_thread},
	{"onboarding", kp_adopt_onboarding},
};

static bool is_known(keep_bytes name)
{
	for (size_t i = 0; i < KP_COUNT(known_tables); i++)
		if (kp_bytes_equal(name, keep_bytes_of(known_tables[i].name)))
			return true;
	return false;
}

/* The source's tables, by name. */
struct table {
	keep_bytes name;
	bool has_rowid;
	struct table *next;
};

static const char list_tables[] =
	"SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', "
	"'shadow') "
	"AND (name = 'sqlite_sequence' OR substr(name, 1, 7) <> 'sqlite_') "
	"AND NOT (type = 'shadow' AND substr(name, 1, 13) = 'messages_fts_') ORDER BY name DESC";

static keep_status read_tables(kp_adopt *adopt, struct table **tables)
{
	kp_foreign_rows *rows = NULL;
	bool has_row = false;
	keep_status status = kp_foreign_select(adopt->source, list_tables, &rows, adopt->err);

	*tables = NULL;
	if (status == KEEP_OK)
		status = kp_foreign_step(rows, &has_row, adopt->err);
	while (status == KEEP_OK && has_row) {
		struct table *table = kp_arena_alloc(&adopt->arena, sizeof *table);
		kp_foreign_value name, without_rowid;

		if (!table)
			status = kp_fail_memory(adopt->err, "the tables' names");
		if (status == KEEP_OK)
			status = kp_foreign_value_at(rows, 0, &name, adopt->err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&adopt->arena, name.bytes, &table->name, adopt->err);
		if (status == KEEP_OK)
			status = kp_foreign_value_at(rows, 1, &without_rowid, adopt->err);
		if (status != KEEP_OK)
			break;
		table->has_rowid = without_rowid.integer == 0;
		table->next = *tables;
		*tables = table;
		status = kp_foreign_step(rows, &has_row, adopt->err);
	}
	kp_foreign_finish(&rows);
	return status;
}

static const struct table *find_table(const struct table *tables, const char *name)
{
	while (tables && !kp_bytes_equal(tables->name, keep_bytes_of(name)))
		tables = tables->next;
	return tables;
}

static keep_status adopt_tables(kp_adopt *adopt)
{
	struct table *tables = NULL;
	keep_status status = read_tables(adopt, &tables);

	if (status == KEEP_OK)
		status = kp_adopt_read_cursors(adopt, find_table(tables, "router_state"),
					       find_table(tables, "registered_groups"));
	for (size_t i = 0; i < KP_COUNT(known_tables) && status == KEEP_OK; i++) {
		const struct known_table *known = &known_tables[i];
		const struct table *table = find_table(tables, known->name);

		if (table && known->handler)
			status = adopt_table(adopt, known->name, table->has_rowid, known->handler);
		else if (table)
			status = kp_adopt_messages(adopt);
	}
	for (; tables && status == KEEP_OK; tables = tables->next)
		if (!is_known(tables->name))
			status = adopt_table(adopt, tables->name.data, tables->has_rowid,
					     kp_adopt_keep_whole);
	return status;
}

/* ---------------------------------------------------------------- the call */

static keep_status refuse_filled(kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, KP_GATEWAY_ADOPT_FIND_MESSAGE, NULL, 0, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	kp_sql_reset(stmt);
	if (status == KEEP_OK && has_row)
		status = kp_fail(err, KEEP_CONFLICT,
				 "the gateway has messages already; adopt into a new one");
	return status;
}

struct adoption {
	kp_foreign *source;
	keep_adoption counts;
};

static keep_status apply_adoption(void *ctx, kp_lease *lease, keep_error *err)
{
	struct adoption *adoption = ctx;
	keep_error local = KEEP_ERROR_INIT;
	kp_adopt adopt = {.lease = lease,
			  .source = adoption->source,
			  .counts = &adoption->counts,
			  .now_ms = kp_clock_ms(),
			  .err = err ? err : &local};
	keep_status status = refuse_filled(lease, adopt.err);

	adoption->counts = (keep_adoption){0};
	if (status == KEEP_OK)
		status = adopt_tables(&adopt);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_ADOPT_FILL_CURSORS,
					KP_VALUES(kp_time_value(adopt.now_ms)), adopt.err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_GATEWAY_ADOPT_ROUTE_VERSIONS, NULL, 0, adopt.err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_GATEWAY_ADOPT_SET_IDENTITIES, NULL, 0, NULL,
				      adopt.err);
	if (status == KEEP_OK)
		status = kp_foreign_confirm(adoption->source, adopt.err);
	keep_buffer_release(&adopt.json);
	kp_arena_release(&adopt.row);
	kp_arena_release(&adopt.arena);
	return status;
}

/* INVALID: another program's file, or one of ours. */
static keep_status check_source(kp_foreign *source, const char *file, keep_error *err)
{
	static const char sql[] =
		"SELECT count(*) FROM pragma_table_info('messages') WHERE name IN "
		"('id', 'chat_jid', 'content', 'timestamp') UNION ALL "
		"SELECT count(*) FROM pragma_table_info('messages') "
		"WHERE name = 'seq'";
	kp_foreign_rows *rows = NULL;
	int64_t counts[2] = {0};
	keep_status status = kp_foreign_select(source, sql, &rows, err);

	for (int i = 0; i < 2 && status == KEEP_OK; i++) {
		kp_foreign_value value = {.kind = KP_FOREIGN_NULL};
		bool has_row = false;

		status = kp_foreign_step(rows, &has_row, err);
		if (status == KEEP_OK && has_row)
			status = kp_foreign_value_at(rows, 0, &value, err);
		counts[i] = value.kind == KP_FOREIGN_INTEGER ? value.integer : 0;
	}
	kp_foreign_finish(&rows);
	if (status == KEEP_OK && counts[1])
		status = kp_fail(err, KEEP_INVALID, "%s is a gateway's own store: open it", file);
	else if (status == KEEP_OK && counts[0] != 4)
		status = kp_fail(err, KEEP_INVALID,
				 "%s is no messages.db: it has no such table messages", file);
	return status;
}

keep_status keep_gateway_adopt(keep_gateway *gateway, const char *file, keep_adoption *out,
			       keep_error *err)
{
	struct adoption adoption = {.source = NULL};
	keep_status status;

	if (!gateway || !file)
		return kp_fail(err, KEEP_MISUSE, "keep_gateway_adopt: an argument is NULL");
	if (out)
		*out = (keep_adoption){0};
	if (gateway->store.read_only)
		return kp_fail(err, KEEP_DENIED, "the gateway was opened for reading only");
	status = kp_foreign_open(file, &adoption.source, err);
	if (status == KEEP_OK)
		status = check_source(adoption.source, file, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_adoption, &adoption, KP_NEWS_INPUT, err);
	kp_foreign_close(&adoption.source);
	if (status == KEEP_OK && out)
		*out = adoption.counts;
	return status;
}
