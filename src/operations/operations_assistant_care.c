/*
 * operations_assistant_care.c - the assistant's operations on retention, sizes and migrations.
 *
 * `keep retain`, `keep migrate` and `keep import` are these with a home in front.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

static const kp_input retain_inputs[] = {
	KP_FLAG("dry_run", "Only count what would go."),
	KP_OTHER_NUMBER("batch", "500", "Rows of one transaction."),
	KP_NOW,
};
static const kp_input migrations_inputs[] = {
	KP_OTHER_AT(1, "folder",
		    "A folder of <version>_<description>.sql; Keep's own alone when "
		    "left out."),
	KP_FLAG("only_pending", "Only what is not applied yet."),
};
static const kp_input migrate_inputs[] = {
	KP_NEEDED_TEXT(1, "folder", "A folder of <version>_<description>.sql."),
};
static const kp_input adopt_inputs[] = {
	KP_NEEDED_TEXT(1, "file", "The source's assistant.db, which is only read."),
	KP_OTHER(TEXT, "model", "The model that made its vectors; unknown when left out."),
};

static const kp_member retain_members[] = {
	{"agent_tasks", KP_KIND_INTEGER, "Tasks.", NULL},
	{"job_executions", KP_KIND_INTEGER, "Executions.", NULL},
	{"audit_entries", KP_KIND_INTEGER, "Audit entries; an anchor seals them.", NULL},
	{"future_tasks", KP_KIND_INTEGER, "One-time tasks.", NULL},
	{"short_term_memories", KP_KIND_INTEGER, "Short-term memories.", NULL},
	{"batches", KP_KIND_INTEGER, "Transactions that it took.", NULL},
};
static const kp_member size_members[] = {
	{"table", KP_KIND_TEXT, "The table.", NULL},
	{"rows", KP_KIND_INTEGER, "Its rows.", NULL},
	{"bytes", KP_KIND_INTEGER, "Its bytes with its indexes; -1: not told.", NULL},
};
static const kp_member migration_members[] = {
	{"version", KP_KIND_TEXT, "<version>_<description>.", NULL},
	{"checksum", KP_KIND_TEXT, "SHA-256 of the file.", NULL},
	{"is_applied", KP_KIND_BOOLEAN, "It was applied.", NULL},
	{"applied_at", KP_KIND_TIME, "When.", NULL},
	{"duration_ms", KP_KIND_INTEGER, "How long it took.", NULL},
	{"is_ours", KP_KIND_BOOLEAN, "It is part of Keep.", NULL},
};
static const kp_member adopt_members[] = {
	{"tables", KP_KIND_ARRAY, "Of each {\"table\", \"rows\", \"adopted\", \"kept\"}.", NULL},
	{"remarks", KP_KIND_ARRAY, "What was not taken as it was.", NULL},
};

static const kp_outcome migrate_outcomes[] = {
	{KEEP_INVALID, false, "A file name or its SQL is not allowed; the file is named."},
	{KEEP_CORRUPT, false, "An applied file has changed or is missing."},
};
static const kp_outcome adopt_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such file."},
	{KEEP_CONFLICT, false, "It is no such file, or this store is not new."},
	{KEEP_DENIED, false, "Its secrets are encrypted with another key; nothing changed."},
};

/* ---------------------------------------------------------------- functions */

static keep_status run_retain(kp_call *call, keep_error *err)
{
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	keep_retention_report report = {0};
	keep_status status;

	options.dry_run = kp_call_flag(call, "dry_run");
	options.batch = (size_t)kp_call_integer(call, "batch");
	options.now_ms = kp_call_time(call, "now_ms", 0);
	status = keep_assistant_retain(call->handle, &options, kp_assistant_actor(call), &report,
				       err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_number(call, "agent_tasks", report.agent_tasks);
	kp_call_put_number(call, "job_executions", report.job_executions);
	kp_call_put_number(call, "audit_entries", report.audit_entries);
	kp_call_put_number(call, "future_tasks", report.future_tasks);
	kp_call_put_number(call, "short_term_memories", report.short_term_memories);
	kp_call_put_number(call, "batches", report.batches);
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status run_sizes(kp_call *call, keep_error *err)
{
	keep_table_sizes sizes = {NULL, 0};
	keep_status status = keep_assistant_sizes(call->handle, call->arena, &sizes, err);

	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < sizes.count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		kp_json_open_object(kp_call_writer(call));
		kp_call_put_text(call, "table", sizes.items[i].table);
		kp_call_put_number(call, "rows", sizes.items[i].rows);
		kp_call_put_number(call, "bytes", sizes.items[i].bytes);
		kp_json_close_object(kp_call_writer(call));
		status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

static keep_status run_optimize(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_optimize(call->handle, err));
}

/* A path as text has no zero byte and lives in the arena with one behind it. */
static keep_status path_of(kp_call *call, const char *name, const char **path, keep_error *err)
{
	keep_bytes text = kp_call_text(call, name), copy;
	keep_status status;

	*path = NULL;
	if (!text.data)
		return KEEP_OK;
	status = kp_check_text(name, text, 4095, KP_NOT_EMPTY, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(call->arena, text, &copy, err);
	if (status == KEEP_OK)
		*path = copy.data;
	return status;
}

static keep_status put_migration(kp_call *call, const keep_migration_state *state, keep_error *err)
{
	keep_status status;

	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, "version", state->version);
	kp_call_put_text(call, "checksum", state->checksum);
	kp_call_put_flag(call, "is_applied", state->is_applied);
	status = kp_call_put_time(call, "applied_at", state->is_applied, state->applied_at, err);
	kp_call_put_number(call, "duration_ms", state->duration_ms);
	kp_call_put_flag(call, "is_ours", state->is_ours);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

static keep_status run_migrations(kp_call *call, keep_error *err)
{
	keep_migration_states states = {NULL, 0};
	const char *folder = NULL;
	keep_status status = path_of(call, "folder", &folder, err);

	if (status == KEEP_OK)
		status = keep_assistant_migrations(call->handle, folder,
						   kp_call_flag(call, "only_pending"), call->arena,
						   &states, err);
	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < states.count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		status = put_migration(call, &states.items[i], err);
		if (status == KEEP_OK)
			status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

static keep_status run_migrate(kp_call *call, keep_error *err)
{
	const char *folder = NULL;
	int64_t applied = 0;
	keep_status status = path_of(call, "folder", &folder, err);

	if (status == KEEP_OK)
		status = keep_assistant_migrate(call->handle, folder, kp_assistant_actor(call),
						&applied, err);
	return kp_call_put_integer(call, status, applied);
}

static keep_status run_adopt(kp_call *call, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_adoption_report report = {.table_count = 0};
	const char *file = NULL;
	keep_status status = path_of(call, "file", &file, err);

	if (status == KEEP_OK)
		status = keep_assistant_adopt(call->handle, file, kp_call_text(call, "model"),
					      kp_assistant_actor(call), call->arena, &report, err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(writer);
	kp_json_name(writer, "tables");
	kp_json_open_array(writer);
	for (size_t i = 0; i < report.table_count; i++) {
		kp_json_open_object(writer);
		kp_call_put_text(call, "table", report.tables[i].table);
		kp_call_put_number(call, "rows", report.tables[i].rows);
		kp_call_put_number(call, "adopted", report.tables[i].adopted);
		kp_call_put_number(call, "kept", report.tables[i].kept);
		kp_json_close_object(writer);
	}
	kp_json_close_array(writer);
	kp_json_name(writer, "remarks");
	kp_json_open_array(writer);
	for (size_t i = 0; i < report.remark_count; i++)
		kp_json_put_text(writer, report.remarks[i]);
	kp_json_close_array(writer);
	kp_json_close_object(writer);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "retain",
	 .sentence = "Remove what is older than the settings retention.* say.",
	 .more = "In batches, between which others go on. Nothing that waits or runs is touched.",
	 KP_INPUTS(retain_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "How many rows of each went, or with dry_run would go.",
	 KP_MEMBERS(retain_members),
	 .changes = true,
	 .run = run_retain},
	{.verb = "sizes",
	 .sentence = "Give the rows and bytes of each table, largest first.",
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The tables.",
	 KP_MEMBERS(size_members),
	 .shown = "bytes rows table",
	 .run = run_sizes},
	{.verb = "optimize",
	 .sentence = "Renew statistics, give free space back, and fold in what is to be found.",
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_optimize},
	{.verb = "migrations",
	 .sentence = "Give the changes of the tables that were made, and those that wait.",
	 KP_INPUTS(migrations_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The migrations, in order.",
	 KP_MEMBERS(migration_members),
	 .shown = "version is_applied applied_at",
	 KP_OUTCOMES(migrate_outcomes),
	 .run = run_migrations},
	{.verb = "migrate",
	 .sentence = "Apply a folder's migrations that wait, each in one transaction.",
	 KP_INPUTS(migrate_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "How many.",
	 KP_OUTCOMES(migrate_outcomes),
	 .changes = true,
	 .run = run_migrate},
	{.verb = "adopt",
	 .sentence = "Take over the source's assistant.db into this store, which must be new.",
	 KP_INPUTS(adopt_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(adopt_members),
	 KP_OUTCOMES(adopt_outcomes),
	 .changes = true,
	 .run = run_adopt},
};

const kp_operation_group kp_assistant_care_group = {
	.title = "Care",
	.operations = operations,
	.count = KP_COUNT(operations),
};
