/*
 * check_words.c - is the full text index that of the texts?
 *
 * Rows up to the index's mark are in it (src/assistant/text_index.c). Their words are made again as
 * the store makes them, and compared with what the index holds: on PostgreSQL row by row, on SQLite
 * as a whole, by a sum over every word with its row, column and place, which no order changes. FTS5
 * keeps no texts here that could be compared one by one.
 *
 * Invariants:
 *   1. Mark, texts and index are of one moment.
 *   2. Words that are not folded in yet are no finding: searches read those rows.
 *
 * Tests: tests/contract/test_home_check_stores.c.
 */
#include "home/check_search.h"

#include <string.h>

#define STALE_INDEX "stale_index"

struct words {
	kp_check_unit *unit;
	const kp_text_index *index;
	size_t words, count; /* the statements */
	kp_text_mark mark;
	uint64_t expected, found; /* sums, on SQLite */
	int64_t rows, differing;
};

/* ---------------------------------------------------------------- sums */

static uint64_t hash_word(int64_t doc, int column, int64_t place, keep_bytes word)
{
	static const unsigned char seed[16] = "keep check words";
	unsigned char key[16];
	int64_t numbers[2] = {doc, place * 2 + column};

	for (size_t i = 0; i < sizeof key; i++)
		key[i] = seed[i] ^ ((const unsigned char *)numbers)[i];
	return kp_siphash(key, word);
}

static bool is_word_byte(char byte)
{
	return byte == '=' || (byte & 0x80) || (byte >= '0' && byte <= '9') ||
	       (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/* The tokenizer's rules: ascii, with '=' as a letter. */
static keep_status sum_text(uint64_t *sum, int64_t doc, int column, keep_bytes text,
			    keep_error *err)
{
	keep_buffer lower = KEEP_BUFFER_INIT;
	int64_t place = 0;
	keep_status status = kp_buffer_append(&lower, text, err);

	for (size_t i = 0; i < lower.len; i++)
		if (lower.data[i] >= 'A' && lower.data[i] <= 'Z')
			lower.data[i] = (char)(lower.data[i] - 'A' + 'a');
	for (size_t at = 0; status == KEEP_OK && at < lower.len;) {
		size_t end = at;

		while (end < lower.len && is_word_byte(lower.data[end]))
			end++;
		if (end > at)
			*sum += hash_word(doc, column, place++,
					  (keep_bytes){lower.data + at, end - at});
		at = end + 1;
	}
	keep_buffer_release(&lower);
	return status;
}

static keep_status sum_index(struct words *words, kp_lease *lease, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_check_prepare(lease->conn, words->words, NULL, 0, &stmt, err);

	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row) {
		keep_bytes word = {NULL, 0}, column = {NULL, 0};
		int64_t doc = 0, place = 0;

		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &word, err);
		if (status == KEEP_OK)
			status = kp_sql_column_int(stmt, 1, &doc, err);
		if (status == KEEP_OK)
			status = kp_sql_column_bytes(stmt, 2, KP_TEXT, &column, err);
		if (status == KEEP_OK)
			status = kp_sql_column_int(stmt, 3, &place, err);
		if (status == KEEP_OK)
			words->found += hash_word(doc, !kp_bytes_equal(column, KEEP_BYTES("title")),
						  place, word);
	}
	kp_sql_finish(&stmt);
	return status;
}

/* ---------------------------------------------------------------- rows */

/* On PostgreSQL: is the row's tsvector that one? */
static keep_status compare_row(struct words *words, kp_lease *lease, const kp_text_row *row,
			       keep_bytes first, keep_bytes second, keep_error *err)
{
	const kp_value values[] = {kp_int_value(row->id), kp_text_value(first),
				   kp_text_value(second)};
	kp_value same = {.is_null = true};
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_check_prepare(lease->conn, words->words, values, KP_COUNT(values), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column(stmt, 0, KP_BOOL, &same, err);
	kp_sql_finish(&stmt);
	words->differing += status == KEEP_OK && (same.is_null || !same.integer);
	return status;
}

static keep_status take_row(struct words *words, kp_lease *lease, const kp_text_row *row,
			    keep_error *err)
{
	keep_buffer first = KEEP_BUFFER_INIT, second = KEEP_BUFFER_INIT;
	keep_status status = kp_text_index_render(lease, row, &first, &second, err);

	words->rows++;
	if (status == KEEP_OK && lease->conn->caps & KP_SQL_SCHEMAS) {
		status = compare_row(words, lease, row, kp_buffer_bytes(&first),
				     kp_buffer_bytes(&second), err);
	} else if (status == KEEP_OK) {
		status = sum_text(&words->expected, row->id, 0, kp_buffer_bytes(&first), err);
		if (status == KEEP_OK)
			status = sum_text(&words->expected, row->id, 1, kp_buffer_bytes(&second),
					  err);
	}
	keep_buffer_release(&first);
	keep_buffer_release(&second);
	return status;
}

struct batch {
	kp_text_row rows[KP_TEXT_BATCH];
	size_t count;
	kp_arena arena;
};

static keep_status read_batch(struct words *words, kp_lease *lease, int64_t after,
			      struct batch *batch, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, words->index->behind,
		KP_VALUES(kp_int_value(after), kp_int_value(KP_TEXT_BATCH)), &stmt, err);

	batch->count = 0;
	while (status == KEEP_OK && batch->count < KP_TEXT_BATCH &&
	       (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK && has_row) {
		kp_text_row *row = &batch->rows[batch->count];

		status = kp_text_row_read(stmt, row, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&batch->arena, row->scope, &row->scope, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&batch->arena, row->title, &row->title, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&batch->arena, row->content, &row->content, err);
		batch->count += status == KEEP_OK;
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status take_rows(struct words *words, kp_lease *lease, keep_error *err)
{
	struct batch *batch = kp_alloc_zero(sizeof *batch);
	int64_t after = 0;
	bool more = true;
	keep_status status = batch ? KEEP_OK : kp_fail_memory(err, "words");

	while (status == KEEP_OK && more) {
		status = read_batch(words, lease, after, batch, err);
		more = status == KEEP_OK && batch->count == KP_TEXT_BATCH;
		for (size_t i = 0; i < batch->count && status == KEEP_OK; i++) {
			after = batch->rows[i].id;
			more = more && after <= words->mark.position;
			if (after <= words->mark.position)
				status = take_row(words, lease, &batch->rows[i], err);
		}
		kp_arena_release(&batch->arena);
		if (status == KEEP_OK)
			status = kp_check_tell(words->unit->check, words->index->mark, 0, err);
	}
	kp_free(batch);
	return status;
}

/* Invariant 1. */
static keep_status query_words(void *ctx, kp_lease *lease, keep_error *err)
{
	struct words *words = ctx;
	int64_t count = 0;
	keep_status status = kp_text_mark_get(lease, words->index, &words->mark, err);

	words->expected = words->found = 0;
	words->rows = words->differing = 0;
	if (status != KEEP_OK || !words->mark.is_ours)
		return status;
	status = take_rows(words, lease, err);
	if (status == KEEP_OK && lease->conn->caps & KP_SQL_SCHEMAS) {
		status = kp_check_ask(lease->conn, words->count, &count, err);
		words->differing += count != words->rows;
	} else if (status == KEEP_OK) {
		status = sum_index(words, lease, err);
		words->differing = words->expected != words->found;
	}
	return status;
}

/* ---------------------------------------------------------------- mending */

static keep_status apply_reset(void *ctx, kp_lease *lease, keep_error *err)
{
	kp_text_mark mark;

	return kp_text_index_reset(lease, ctx, &mark, err);
}

static keep_status mend(const struct words *words, keep_error *err)
{
	keep_assistant *assistant = NULL;
	keep_status status = kp_check_open_assistant(words->unit->check, true, &assistant, err);

	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_reset,
					 (void *)(uintptr_t)words->index, KP_NEWS_NONE, err);
	if (status == KEEP_OK)
		status = kp_message_index_fold(assistant, err);
	keep_assistant_close(&assistant);
	return status;
}

static keep_status check_index(struct words *words, keep_assistant *assistant, keep_error *err)
{
	kp_home_check *check = words->unit->check;
	kp_complaint found = {.severity = KEEP_SEVERITY_INCONSISTENCY,
			      .kind = STALE_INDEX,
			      .table = words->index->mark,
			      .can_repair = true};
	size_t from = check->result->count;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_store_read_whole(&assistant->store, query_words, words, &why);

	kp_check_next(check);
	if (status == KEEP_CORRUPT)
		status = kp_check_found(check, &found, err,
					"the full text index cannot be read: %s", why.message);
	else if (status != KEEP_OK)
		return kp_check_failed(check, &found, status, &why, err);
	else if (words->differing)
		status = kp_check_found(check, &found, err,
					"the full text index does not hold the words of the texts");
	else
		return KEEP_OK;
	if (status != KEEP_OK || !check->options.repair || words->unit->is_damaged)
		return status;
	status = mend(words, err);
	if (status == KEEP_OK)
		status = kp_store_read_whole(&assistant->store, query_words, words, err);
	if (status == KEEP_OK && !words->differing)
		kp_check_mended(check, STALE_INDEX, words->index->mark, from);
	return status;
}

keep_status kp_check_words(kp_check_unit *unit, keep_assistant *assistant, keep_error *err)
{
	struct words messages = {.unit = unit,
				 .index = &kp_message_text,
				 .words = KP_CHECK_WORDS_OF_MESSAGES,
				 .count = KP_CHECK_COUNT_WORDS_OF_MESSAGES};
	struct words documents = {.unit = unit,
				  .index = &kp_document_text,
				  .words = KP_CHECK_WORDS_OF_DOCUMENTS,
				  .count = KP_CHECK_COUNT_WORDS_OF_DOCUMENTS};
	keep_status status = check_index(&messages, assistant, err);

	return status == KEEP_OK ? check_index(&documents, assistant, err) : status;
}
