/*
 * audit_query.c - the audit log is asked, and exported.
 *
 * A question has up to seven filters. The one that few entries pass finds them, through its index;
 * the others are asked of what it finds. Which one that is, is counted first, up to PROBE entries
 * each, in the same moment.
 *
 * Invariants:
 *   1. Newest first is by seq, which is the order of commits; the clock may have gone back.
 *   2. has_more is exact: one entry more than is answered was looked for.
 *   3. A question reads what its rarest filter passes (at most PROBE entries more than one page),
 *      or, when all of them pass more than PROBE, the newest of one of them until the page is full.
 *   4. An export ends at the entry that is the newest when it begins, and holds no more than a
 *      batch in memory and no connection while it hands lines out.
 *
 * What it does not do: order by time, or count.
 *
 * Tests: tests/contract/test_assistant_audit.c.
 */
#include "assistant/assistant_private.h"

enum { PROBE = 5000, BATCH_BYTES = 1024 * 1024, FILTERS = 7 };

/* The filters as parameters, in the order that all statements have them. */
struct question {
	kp_value filters[FILTERS];
	bool has[5]; /* the first five of them */
	bool has_time;
	int64_t from_ms, until_ms;
	int64_t before_seq;
};

static keep_status check_filter(const keep_audit_filter *filter, keep_error *err)
{
	const struct {
		const char *name;
		keep_bytes text;
	} texts[] = {
		{"event_type", filter->event_type},
		{"service_name", filter->service_name},
		{"agent_name", filter->agent_name},
		{"conversation_id", filter->conversation_id},
	};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++)
		status = kp_check_text(texts[i].name, texts[i].text, KP_KEY_MAX, KP_MAY_BE_ABSENT,
				       err);
	if (status == KEEP_OK)
		status = kp_check_time("from", filter->from_ms, err);
	if (status == KEEP_OK)
		status = kp_check_time("until", filter->until_ms, err);
	if (status == KEEP_OK && (filter->success < -1 || filter->success > 1))
		status = kp_fail(err, KEEP_INVALID, "success: 1, 0 or -1 is needed");
	if (status == KEEP_OK && filter->before_seq < 0)
		status = kp_fail(err, KEEP_INVALID, "before_seq: is below 0");
	return status;
}

static kp_value time_or_null(int64_t time_ms)
{
	return time_ms ? kp_time_value(time_ms) : kp_null_value(KP_TIME);
}

static void make_question(const keep_audit_filter *filter, struct question *question)
{
	const kp_value filters[FILTERS] = {
		kp_text_value(filter->event_type),
		kp_text_value(filter->service_name),
		kp_text_value(filter->agent_name),
		kp_text_value(filter->conversation_id),
		filter->success < 0 ? kp_null_value(KP_BOOL) : kp_bool_value(filter->success > 0),
		time_or_null(filter->from_ms),
		time_or_null(filter->until_ms),
	};

	*question = (struct question){
		.has_time = filter->from_ms || filter->until_ms,
		.from_ms = filter->from_ms ? filter->from_ms : KEEP_TIME_MIN,
		.until_ms = filter->until_ms ? filter->until_ms : KEEP_TIME_MAX,
		.before_seq = filter->before_seq ? filter->before_seq : INT64_MAX,
	};
	memcpy(question->filters, filters, sizeof filters);
	for (size_t i = 0; i < KP_COUNT(question->has); i++)
		question->has[i] = !filters[i].is_null;
}

/* ---------------------------------------------------------------- query */

struct query {
	struct question question;
	int64_t limit;
	keep_memory *memory;
	keep_audit_list list;
};

/* A filter with an index of its own. */
static const struct {
	size_t probe, statement;
} finders[] = {
	{KP_ASSISTANT_PROBE_AUDIT_BY_TYPE, KP_ASSISTANT_QUERY_AUDIT_BY_TYPE},
	{KP_ASSISTANT_PROBE_AUDIT_BY_SERVICE, KP_ASSISTANT_QUERY_AUDIT_BY_SERVICE},
	{KP_ASSISTANT_PROBE_AUDIT_BY_AGENT, KP_ASSISTANT_QUERY_AUDIT_BY_AGENT},
	{KP_ASSISTANT_PROBE_AUDIT_BY_CONVERSATION, KP_ASSISTANT_QUERY_AUDIT_BY_CONVERSATION},
	{KP_ASSISTANT_PROBE_AUDIT_BY_SUCCESS, KP_ASSISTANT_QUERY_AUDIT_BY_SUCCESS},
};

/* Invariant 3. */
static keep_status choose_finder(const struct question *question, kp_lease *lease,
				 size_t *statement, keep_error *err)
{
	int64_t fewest = INT64_MAX, count = 0;
	keep_status status = KEEP_OK;

	*statement = KP_ASSISTANT_QUERY_AUDIT;
	for (size_t i = 0; i < KP_COUNT(finders) && status == KEEP_OK; i++) {
		if (!question->has[i])
			continue;
		status = kp_lease_int(lease, finders[i].probe,
				      KP_VALUES(question->filters[i], kp_int_value(PROBE)), &count,
				      NULL, err);
		if (count < fewest) {
			fewest = count;
			*statement = finders[i].statement;
		}
	}
	if (status != KEEP_OK || !question->has_time)
		return status;
	status = kp_lease_int(lease, KP_ASSISTANT_PROBE_AUDIT_BY_TIME,
			      KP_VALUES(kp_time_value(question->from_ms),
					kp_time_value(question->until_ms), kp_int_value(PROBE)),
			      &count, NULL, err);
	/* A time that many entries pass is no use in finding them: they have to be sorted. */
	if (count < fewest && count < PROBE)
		*statement = KP_ASSISTANT_QUERY_AUDIT_BY_TIME;
	return status;
}

static keep_status read_answer(void *ctx, kp_lease *lease, keep_error *err)
{
	struct query *query = ctx;
	kp_value values[FILTERS + 2];
	size_t statement;
	keep_status status = choose_finder(&query->question, lease, &statement, err);

	query->list = (keep_audit_list){NULL, 0, false};
	memcpy(values, query->question.filters, sizeof query->question.filters);
	if (statement == KP_ASSISTANT_QUERY_AUDIT_BY_TIME) {
		values[FILTERS - 2] = kp_time_value(query->question.from_ms);
		values[FILTERS - 1] = kp_time_value(query->question.until_ms);
	}
	values[FILTERS] = kp_int_value(query->question.before_seq);
	values[FILTERS + 1] = kp_int_value(query->limit + 1);
	if (status == KEEP_OK)
		status = kp_lease_list(lease, statement, values, KP_COUNT(values),
				       &kp_audit_entry_record, query->memory, &query->list.items,
				       &query->list.count, err);
	/* Invariant 2. */
	if (status == KEEP_OK && query->list.count > (size_t)query->limit) {
		query->list.count = (size_t)query->limit;
		query->list.has_more = true;
	}
	return status;
}

keep_status keep_assistant_query_audit(keep_assistant *assistant, const keep_audit_filter *filter,
				       size_t limit, keep_memory *memory, keep_audit_list *out,
				       keep_error *err)
{
	static const keep_audit_filter any = KEEP_AUDIT_FILTER_INIT;
	struct query query = {.memory = memory};
	keep_status status;

	filter = filter ? filter : &any;
	status = check_filter(filter, err);
	if (status == KEEP_OK)
		status = kp_check_limit(limit, 100, KEEP_ASSISTANT_LIST_MAX, &query.limit, err);
	if (status != KEEP_OK)
		return status;
	make_question(filter, &query.question);
	status = kp_store_read_whole(&assistant->store, read_answer, &query, err);
	if (status == KEEP_OK)
		*out = query.list;
	return status;
}

/* ---------------------------------------------------------------- walking */

static size_t bytes_of(const keep_audit_entry *entry)
{
	return sizeof *entry + entry->details.len + entry->error_message.len;
}

/* What of a row can be read when the row cannot. */
static void read_broken(kp_sql_stmt *stmt, kp_audit_batch *batch)
{
	enum { SEQ_COLUMN = 12 };

	batch->is_broken = true;
	if (kp_sql_column_int(stmt, SEQ_COLUMN, &batch->broken_seq, NULL) != KEEP_OK)
		batch->broken_seq = 0;
}

static keep_status read_rows(kp_sql_stmt *stmt, kp_arena *arena, kp_audit_batch *batch,
			     keep_error *err)
{
	size_t bytes = 0;
	bool has_row = false;
	keep_status status = kp_sql_step(stmt, &has_row, err);

	while (status == KEEP_OK && has_row && batch->count < KP_AUDIT_BATCH &&
	       bytes < BATCH_BYTES) {
		keep_audit_entry *entry = &batch->items[batch->count];

		status = kp_record_read(stmt, 0, &kp_audit_entry_record, entry, arena, &batch->why);
		if (status == KEEP_CORRUPT) {
			read_broken(stmt, batch);
			return KEEP_OK;
		}
		if (status != KEEP_OK) {
			if (err)
				*err = batch->why;
			return status;
		}
		bytes += bytes_of(entry);
		batch->count++;
		status = kp_sql_step(stmt, &has_row, err);
	}
	batch->is_last = !has_row && batch->count < KP_AUDIT_BATCH;
	return status;
}

keep_status kp_audit_read(kp_lease *lease, size_t statement, const kp_value *values,
			  size_t value_count, kp_arena *arena, kp_audit_batch *batch,
			  keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(lease, statement, values, value_count, &stmt, err);

	*batch = (kp_audit_batch){.count = 0};
	batch->items = kp_arena_alloc(arena, KP_AUDIT_BATCH * sizeof *batch->items);
	if (status == KEEP_OK && !batch->items)
		status = kp_fail_memory(err, "entries of the audit log");
	if (status == KEEP_OK)
		status = read_rows(stmt, arena, batch, err);
	kp_sql_reset(stmt);
	return status;
}

/* ---------------------------------------------------------------- export */

struct export
{
	struct question question;
	int64_t after_seq;
	kp_arena arena;
	kp_audit_batch batch;
};

static keep_status read_end(void *ctx, kp_lease *lease, keep_error *err)
{
	struct export *export = ctx;

	return kp_lease_int(lease, KP_ASSISTANT_LAST_AUDIT_SEQ, NULL, 0,
			    &export->question.before_seq, NULL, err);
}

static keep_status read_batch(void *ctx, kp_lease *lease, keep_error *err)
{
	struct export *export = ctx;
	kp_value values[FILTERS + 3];

	memcpy(values, export->question.filters, sizeof export->question.filters);
	values[FILTERS] = kp_int_value(export->question.before_seq);
	values[FILTERS + 1] = kp_int_value(export->after_seq);
	values[FILTERS + 2] = kp_int_value(KP_AUDIT_BATCH);
	return kp_audit_read(lease, KP_ASSISTANT_EXPORT_AUDIT, values, KP_COUNT(values),
			     &export->arena, &export->batch, err);
}

static keep_status hand_out(const keep_audit_entry *entry, keep_buffer *line, keep_audit_sink *sink,
			    void *ctx, keep_error *err)
{
	kp_json_writer writer;
	keep_status status = keep_buffer_set(line, KEEP_BYTES(""), err);

	if (status != KEEP_OK)
		return status;
	kp_json_begin(&writer, line);
	status = kp_record_json(&kp_audit_entry_record, entry, &writer, err);
	if (status == KEEP_OK)
		status = kp_json_finish(&writer, err);
	return status == KEEP_OK ? sink(ctx, kp_buffer_bytes(line), err) : status;
}

/* Invariant 4. */
static keep_status export_batch(keep_assistant *assistant, struct export *export, keep_buffer *line,
				keep_audit_sink *sink, void *ctx, keep_error *err)
{
	keep_status status = kp_store_read(&assistant->store, read_batch, export, err);

	for (size_t i = 0; i < export->batch.count && status == KEEP_OK; i++) {
		export->after_seq = export->batch.items[i].seq;
		status = hand_out(&export->batch.items[i], line, sink, ctx, err);
	}
	if (status == KEEP_OK && export->batch.is_broken) {
		status = kp_fail(err, KEEP_CORRUPT, "audit_log: entry %lld: %s",
				 (long long)export->batch.broken_seq, export->batch.why.message);
	}
	kp_arena_release(&export->arena);
	return status;
}

keep_status keep_assistant_export_audit(keep_assistant *assistant, const keep_audit_filter *filter,
					keep_audit_sink *sink, void *ctx, keep_error *err)
{
	static const keep_audit_filter any = KEEP_AUDIT_FILTER_INIT;
	struct export export = {.after_seq = 0};
	keep_buffer line = KEEP_BUFFER_INIT;
	keep_status status;

	filter = filter ? filter : &any;
	status = check_filter(filter, err);
	if (status != KEEP_OK)
		return status;
	make_question(filter, &export.question);
	status = kp_store_read(&assistant->store, read_end, &export, err);
	while (status == KEEP_OK && !export.batch.is_last)
		status = export_batch(assistant, &export, &line, sink, ctx, err);
	kp_arena_release(&export.arena);
	keep_buffer_release(&line);
	return status;
}
