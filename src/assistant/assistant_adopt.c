/*
 * assistant_adopt.c - takes over everything that an assistant.db of the source holds.
 *
 *     open the file read-only ► is it the source's? ► one writing transaction:
 *         the store is new ► credentials first ► each known table, row by row ► unknown tables ►
 *         documents are to be folded in anew ► did the file stay as it was? ► an entry in the
 *         audit log ► commit
 *
 * Invariants:
 *   1. All or nothing, from one moment of the file, which is never changed (sql/foreign.c).
 *   2. Every value of every row is in the column of its name, or in adopted_rows: as a whole row,
 *      or as the columns without a place beside the row's key; but for secrets, which are nowhere
 *      in plain. Whatever was not taken as it was is told by a remark of the report.
 *   3. Rows get new ids, in the order of the old ones: messages in the order of their numbers.
 *   4. The agents of a new store give way to the source's, and its prompts and settings to those of
 *      the same key.
 *   5. Search finds what was adopted as soon as it is committed: vectors have their numbers, and
 *      words that are not folded in yet are read one by one (text_search.c).
 *   6. It may run more than once (sql.h: kp_apply), so it makes its report anew each time.
 *
 * What it does not do: decide what a value means (the other files do, each for its tables).
 *
 * Tests: tests/contract/test_assistant_adopt.c.
 */
#include "assistant/assistant_adopt.h"

enum { TABLES_MAX = 500 };

/* ---------------------------------------------------------------- the tables */

static void keep_unknown(kp_taking_row *row)
{
	kp_taking_keep_whole(row, NULL);
}

/* In this order: secrets are tried first, and memory is there when messages name it. */
static const struct known {
	const char *name;
	kp_taking_handler *handler; /* NULL: kp_take_messages */
} known_tables[] = {
	{"service_credentials", kp_take_credential},
	{"settings", kp_take_setting},
	{"conversations", kp_take_conversation},
	{"conversation_memory", kp_take_memory},
	{"messages", NULL},
	{"agent_definitions", kp_take_agent},
	{"agent_tasks", kp_take_task},
	{"cron_jobs", kp_take_cron_job},
	{"future_tasks", kp_take_future_task},
	{"job_executions", kp_take_execution},
	{"service_connections", kp_take_connection},
	{"prompts", kp_take_prompt},
	{"audit_log", kp_take_audit},
	{"search_index", kp_take_document},
};

/* The source's tables, by name. */
struct tables {
	struct {
		const char *name;
		bool has_rowid;
	} items[TABLES_MAX];
	size_t count;
};

static const char list_tables[] =
	"SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND "
	"substr(name, 1, 7) <> 'sqlite_' ORDER BY name";

static keep_status read_tables(kp_taking *taking, struct tables *tables)
{
	kp_foreign_rows *rows = NULL;
	bool has_row = false;
	keep_status status = kp_foreign_select(taking->source, list_tables, &rows, taking->err);

	if (status == KEEP_OK)
		status = kp_foreign_step(rows, &has_row, taking->err);
	while (status == KEEP_OK && has_row) {
		kp_foreign_value name, without_rowid;
		keep_bytes copy = {NULL, 0};

		if (tables->count == TABLES_MAX)
			status = kp_fail(taking->err, KEEP_FULL, "the file has over %d tables",
					 TABLES_MAX);
		if (status == KEEP_OK)
			status = kp_foreign_value_at(rows, 0, &name, taking->err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&taking->arena, name.bytes, &copy, taking->err);
		if (status == KEEP_OK)
			status = kp_foreign_value_at(rows, 1, &without_rowid, taking->err);
		if (status != KEEP_OK)
			break;
		tables->items[tables->count].name = copy.data;
		tables->items[tables->count++].has_rowid = without_rowid.integer == 0;
		status = kp_foreign_step(rows, &has_row, taking->err);
	}
	kp_foreign_finish(&rows);
	return status;
}

static bool is_known(const char *name)
{
	for (size_t i = 0; i < KP_COUNT(known_tables); i++)
		if (strcmp(known_tables[i].name, name) == 0)
			return true;
	return false;
}

/* "SELECT rowid, * FROM <the table> ORDER BY …". */
static keep_status format_select(keep_buffer *sql, const char *name, bool has_rowid,
				 keep_error *err)
{
	bool by_time = strcmp(name, "audit_log") == 0;
	keep_status status = kp_buffer_append_text(
		sql, has_rowid ? "SELECT rowid, * FROM \"" : "SELECT NULL, * FROM \"", err);

	for (const char *at = name; *at && status == KEEP_OK; at++)
		status = kp_buffer_append(
			sql, *at == '"' ? KEEP_BYTES("\"\"") : (keep_bytes){at, 1}, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(sql, "\"", err);
	if (status == KEEP_OK && has_rowid)
		status = kp_buffer_append_text(
			sql,
			by_time ? " ORDER BY kp_time_ms(" KP_TAKING_ZONED
				  ") NULLS LAST, kp_time_rest(" KP_TAKING_ZONED "), rowid"
				: " ORDER BY rowid",
			err);
	return status;
}

static keep_status take_table(kp_taking *taking, const char *name, bool has_rowid,
			      kp_taking_handler *handler)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	taking->table->table = keep_bytes_of(name);
	if (!handler)
		status = kp_take_messages(taking, name);
	else
		status = format_select(&sql, name, has_rowid, taking->err);
	if (status == KEEP_OK && handler)
		status = kp_taking_each(taking, name, sql.data, handler);
	kp_taking_end_table(taking);
	keep_buffer_release(&sql);
	taking->table++;
	return status;
}

static const char *find_table(const struct tables *tables, const char *name, bool *has_rowid)
{
	for (size_t i = 0; i < tables->count; i++) {
		if (strcmp(tables->items[i].name, name) == 0) {
			*has_rowid = tables->items[i].has_rowid;
			return tables->items[i].name;
		}
	}
	return NULL;
}

static keep_status take_tables(kp_taking *taking, const struct tables *tables)
{
	keep_status status = KEEP_OK;
	bool has_rowid = false;

	for (size_t i = 0; i < KP_COUNT(known_tables) && status == KEEP_OK; i++) {
		const char *name = find_table(tables, known_tables[i].name, &has_rowid);

		if (name)
			status = take_table(taking, name, has_rowid, known_tables[i].handler);
	}
	for (size_t i = 0; i < tables->count && status == KEEP_OK; i++)
		if (!is_known(tables->items[i].name))
			status = take_table(taking, tables->items[i].name,
					    tables->items[i].has_rowid, keep_unknown);
	return status;
}

/* ---------------------------------------------------------------- before and after */

/* The first column of a query's one row: a number, or a text in the arena. */
static keep_status ask(kp_taking *taking, const char *sql, int64_t *number, keep_bytes *text)
{
	kp_foreign_rows *rows = NULL;
	kp_foreign_value value = {.kind = KP_FOREIGN_NULL};
	bool has_row = false;
	keep_status status = kp_foreign_select(taking->source, sql, &rows, taking->err);

	if (status == KEEP_OK)
		status = kp_foreign_step(rows, &has_row, taking->err);
	if (status == KEEP_OK && has_row)
		status = kp_foreign_value_at(rows, 0, &value, taking->err);
	if (number)
		*number = value.kind == KP_FOREIGN_INTEGER ? value.integer : 0;
	if (status == KEEP_OK && text && value.kind == KP_FOREIGN_TEXT && value.bytes.len &&
	    kp_text_is_storable(value.bytes))
		status = kp_arena_copy(&taking->arena, value.bytes, text, taking->err);
	kp_foreign_finish(&rows);
	return status;
}

/* A model's vectors are as long as each other; of several lengths the most common one is it. */
static keep_status find_vector_bytes(kp_taking *taking)
{
	int64_t has_vectors = 0;
	keep_status status = ask(taking,
				 "SELECT count(*) FROM pragma_table_info('search_index') WHERE "
				 "name = 'embedding'",
				 &has_vectors, NULL);

	taking->vector_bytes = 0;
	if (status != KEEP_OK || !has_vectors)
		return status;
	return ask(
		taking,
		"SELECT length(embedding) FROM search_index WHERE typeof(embedding) = 'blob' "
		"GROUP BY 1 ORDER BY length(embedding) % 4 <> 0, count(*) DESC, min(rowid) LIMIT 1",
		&taking->vector_bytes, NULL);
}

/* What the whole file says: its zone, its vectors; and its agents replace ours when it has any. */
static keep_status prepare_store(kp_taking *taking, const struct tables *tables)
{
	int64_t content = 0, agents = 0;
	bool has_rowid;
	keep_status status = kp_lease_int(taking->lease, KP_ASSISTANT_ADOPT_FIND_CONTENT, NULL, 0,
					  &content, NULL, taking->err);

	if (status == KEEP_OK && content)
		status = kp_fail(taking->err, KEEP_CONFLICT,
				 "the assistant has content already; adopt into a new store");
	taking->zone = (keep_bytes){NULL, 0};
	if (status == KEEP_OK && find_table(tables, "settings", &has_rowid))
		status = ask(taking, "SELECT value FROM settings WHERE key = 'user.timezone'", NULL,
			     &taking->zone);
	if (status == KEEP_OK)
		status = find_vector_bytes(taking);
	if (status == KEEP_OK && find_table(tables, "agent_definitions", &has_rowid))
		status = ask(taking, "SELECT EXISTS (SELECT 1 FROM agent_definitions)", &agents,
			     NULL);
	if (status == KEEP_OK && agents)
		status = kp_lease_run(taking->lease, KP_ASSISTANT_ADOPT_DROP_AGENTS, NULL, 0, NULL,
				      taking->err);
	return status;
}

struct adoption {
	keep_assistant *assistant;
	kp_foreign *source;
	const keep_actor *actor;
	keep_bytes model;
	kp_taking taking; /* its arena, tables and remarks are the outputs */
	keep_adopted_table *tables;
	size_t table_count;
};

static keep_status note_adoption(struct adoption *adoption, kp_lease *lease, keep_error *err)
{
	kp_audit_note note = {
		.event_type = "adoption", .action = "adopt", .actor = adoption->actor};
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	for (size_t i = 0; i < adoption->table_count; i++) {
		if (!is_known(adoption->tables[i].table.data))
			continue;
		kp_json_name_bytes(&writer, adoption->tables[i].table);
		kp_json_put_integer(&writer, adoption->tables[i].adopted);
	}
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

static keep_status apply_tables(struct adoption *adoption, struct tables *tables)
{
	kp_taking *taking = &adoption->taking;
	kp_text_mark mark;
	keep_status status = read_tables(taking, tables);

	if (status == KEEP_OK)
		status = prepare_store(taking, tables);
	if (status != KEEP_OK)
		return status;
	adoption->tables =
		kp_arena_alloc(&taking->arena, (tables->count + 1) * sizeof *adoption->tables);
	if (!adoption->tables)
		return kp_fail_memory(taking->err, "a report");
	memset(adoption->tables, 0, (tables->count + 1) * sizeof *adoption->tables);
	taking->table = adoption->tables;
	status = take_tables(taking, tables);
	adoption->table_count = tables->count;
	if (status == KEEP_OK && taking->has_documents)
		status = kp_text_index_reset(taking->lease, &kp_document_text, &mark, taking->err);
	if (status == KEEP_OK)
		status = kp_foreign_confirm(adoption->source, taking->err);
	return status == KEEP_OK ? note_adoption(adoption, taking->lease, taking->err) : status;
}

static keep_status apply_adoption(void *ctx, kp_lease *lease, keep_error *err)
{
	struct adoption *adoption = ctx;
	kp_taking *taking = &adoption->taking;
	struct tables *tables = kp_alloc_zero(sizeof *tables);
	keep_error local = KEEP_ERROR_INIT;
	keep_status status;

	if (!tables)
		return kp_fail_memory(err, "the tables' names");
	kp_arena_release(&taking->arena); /* invariant 6 */
	*taking = (kp_taking){.assistant = adoption->assistant,
			      .lease = lease,
			      .source = adoption->source,
			      .model = kp_text_or(adoption->model, "unknown"),
			      .now_ms = kp_clock_ms(),
			      .err = err ? err : &local};
	status = apply_tables(adoption, tables);
	kp_taking_end_table(taking);
	keep_buffer_release(&taking->json);
	kp_arena_wipe(&taking->row_arena);
	kp_free(tables);
	return status;
}

/* ---------------------------------------------------------------- the report */

static keep_status write_remark(const kp_taking_remark *remark, keep_memory *memory,
				keep_bytes *out, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(
		&text, err, "%s: %s (%lld, the first is row %lld)", remark->table, remark->what,
		(long long)remark->count, (long long)remark->first);

	if (status == KEEP_OK)
		status = kp_arena_copy(memory, kp_buffer_bytes(&text), out, err);
	keep_buffer_release(&text);
	return status;
}

static keep_status write_report(const struct adoption *adoption, keep_memory *memory,
				keep_adoption_report *report, keep_error *err)
{
	const kp_taking *taking = &adoption->taking;
	keep_adoption_report made = {.table_count = adoption->table_count,
				     .remark_count = taking->remark_count};
	keep_status status = KEEP_OK;

	made.tables = kp_arena_alloc(memory, (made.table_count + 1) * sizeof *made.tables);
	made.remarks = kp_arena_alloc(memory, (made.remark_count + 1) * sizeof *made.remarks);
	if (!made.tables || !made.remarks)
		return kp_fail_memory(err, "a report");
	for (size_t i = 0; i < made.table_count && status == KEEP_OK; i++) {
		made.tables[i] = adoption->tables[i];
		status = kp_arena_copy(memory, adoption->tables[i].table, &made.tables[i].table,
				       err);
	}
	for (size_t i = 0; i < made.remark_count && status == KEEP_OK; i++)
		status = write_remark(&taking->remarks[i], memory, &made.remarks[i], err);
	if (status == KEEP_OK)
		*report = made;
	return status;
}

/* ---------------------------------------------------------------- the call */

/* INVALID: another program's file; CONFLICT: one of ours. */
static keep_status check_source(kp_foreign *source, const char *file, keep_error *err)
{
	static const char sql[] =
		"SELECT (SELECT count(*) FROM pragma_table_info('conversations') WHERE name IN "
		"('conversation_id', 'channel')) + (SELECT count(*) FROM "
		"pragma_table_info('messages') WHERE name IN ('conversation_id', 'message_id', "
		"'role', 'content', 'timestamp')) + 10 * (SELECT count(*) FROM "
		"pragma_table_info('messages') WHERE name = 'seq')";
	kp_taking asking = {.source = source, .err = err};
	int64_t score = 0;
	keep_status status = ask(&asking, sql, &score, NULL);

	if (status == KEEP_OK && score >= 10)
		status = kp_fail(err, KEEP_CONFLICT, "%s is an assistant's own store: open it",
				 file);
	else if (status == KEEP_OK && score != 7)
		status = kp_fail(err, KEEP_CONFLICT,
				 "%s is no assistant.db: its tables conversations and messages are "
				 "not there, or others",
				 file);
	return status;
}

keep_status keep_assistant_adopt(keep_assistant *assistant, const char *file, keep_bytes model,
				 const keep_actor *actor, keep_memory *memory,
				 keep_adoption_report *report, keep_error *err)
{
	struct adoption adoption = {.assistant = assistant, .actor = actor, .model = model};
	keep_error local = KEEP_ERROR_INIT;
	keep_status status;

	err = err ? err : &local;
	if (!assistant || !file || !memory || !report)
		return kp_fail(err, KEEP_MISUSE, "keep_assistant_adopt: an argument is NULL");
	if (assistant->store.read_only)
		return kp_fail(err, KEEP_DENIED, "the assistant was opened for reading only");
	status = kp_check_actor(actor, err);
	if (status == KEEP_OK && model.data)
		status = kp_check_key("model", model, err);
	if (status == KEEP_OK)
		status = kp_foreign_open(file, &adoption.source, err);
	if (status == KEEP_OK)
		status = check_source(adoption.source, file, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_adoption, &adoption,
					 KP_NEWS_DUE | KP_NEWS_TASK, err);
	kp_foreign_close(&adoption.source);
	if (status == KEEP_OK)
		status = write_report(&adoption, memory, report, err);
	kp_arena_release(&adoption.taking.arena);
	return status;
}
