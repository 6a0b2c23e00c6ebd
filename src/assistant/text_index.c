/*
 * text_index.c - the words of messages and of documents, as the database holds them.
 *
 * A row becomes two texts that the database only cuts where src/search did: the words of its title
 * and of its content for FTS5, one tsvector for PostgreSQL. Before them stands a word that no text
 * can have, for '=' is no letter: '=' and a hash of the row's scope, the conversation or the
 * source. So a search within one scope is one more word for the index, and is as cheap in a small
 * scope as in a large one; who asks compares the rows' scopes, so a hash that meets another one
 * costs a look and no wrong answer. A row that is hidden, an internal message, has the word "=i".
 *
 * How far an index is made is its mark, a row of derived_marks: the rules and the backend that
 * made it, the position, how many rows are in and how many words they have. Rows with an id up to
 * the position are in, whatever happens; rows above are not. A mark of other rules or of another
 * backend (a store that was transferred) means that nothing is in.
 *
 * Invariants:
 *   1. The mark changes in the transaction that changes the index.
 *   2. A row is taken out with the bytes it was put in with: both are made by render_row from what
 *      the table holds before it is changed.
 *   3. A batch ends before it is large, so that writers never wait long for it.
 *   4. A text that cannot be read as words (a neighbouring program wrote it) has none; it does not
 *      stop what is behind it.
 *
 * What it does not do: rank (text_search.c), or run by itself (message_index.c).
 *
 * Tests: tests/contract/test_assistant_message_search.c, test_assistant_documents.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>

#define BATCH_BYTES_MAX (4 * 1024 * 1024)

const kp_text_index kp_message_text = {
	.mark = "message_words",
	.has_hidden = true,
	.put = KP_ASSISTANT_PUT_MESSAGE_WORDS,
	.remove = KP_ASSISTANT_REMOVE_MESSAGE_WORDS,
	.clear = KP_ASSISTANT_CLEAR_MESSAGE_WORDS,
	.find = KP_ASSISTANT_FIND_MESSAGES,
	.count = KP_ASSISTANT_COUNT_MESSAGE_WORDS,
	.next_word = KP_ASSISTANT_NEXT_MESSAGE_WORD,
	.between = KP_ASSISTANT_MESSAGES_BETWEEN,
	.behind = KP_ASSISTANT_MESSAGES_BEHIND,
	.newest = KP_ASSISTANT_NEWEST_MESSAGE_ID,
};

const kp_text_index kp_document_text = {
	.mark = "document_words",
	.counts_words = true,
	.put = KP_ASSISTANT_PUT_DOCUMENT_WORDS,
	.remove = KP_ASSISTANT_REMOVE_DOCUMENT_WORDS,
	.clear = KP_ASSISTANT_CLEAR_DOCUMENT_WORDS,
	.find = KP_ASSISTANT_FIND_DOCUMENTS,
	.count = KP_ASSISTANT_COUNT_DOCUMENT_WORDS,
	.next_word = KP_ASSISTANT_NEXT_DOCUMENT_WORD,
	.between = KP_ASSISTANT_DOCUMENTS_BETWEEN,
	.behind = KP_ASSISTANT_DOCUMENTS_BEHIND,
	.newest = KP_ASSISTANT_NEWEST_DOCUMENT_ID,
};

/* ---------------------------------------------------------------- the mark */

/* "<rules> <backend> " */
static void format_maker(const kp_lease *lease, char maker[96])
{
	char rules[KP_TEXT_RULES_SIZE];

	kp_text_rules(rules);
	snprintf(maker, 96, "%s %s ", rules, lease->conn->driver->name);
}

/* Three numbers with a blank between two. */
static bool parse_numbers(keep_bytes text, int64_t numbers[3])
{
	for (int i = 0; i < 3; i++) {
		const char *blank = text.len ? memchr(text.data, ' ', text.len) : NULL;
		size_t len = blank ? (size_t)(blank - text.data) : text.len;

		if ((i < 2) != (blank != NULL) ||
		    !kp_int_parse((keep_bytes){text.data, len}, &numbers[i]) || numbers[i] < 0)
			return false;
		if (blank)
			text = (keep_bytes){blank + 1, text.len - len - 1};
	}
	return true;
}

keep_status kp_text_mark_get(kp_lease *lease, const kp_text_index *index, kp_text_mark *mark,
			     keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_bytes value = {NULL, 0};
	int64_t numbers[3];
	char maker[96];
	size_t len;
	keep_status status = kp_derived_get_mark(lease, index->mark, &arena, &value, err);

	*mark = (kp_text_mark){.is_ours = false};
	format_maker(lease, maker);
	len = strlen(maker);
	if (status == KEEP_OK && value.len > len && memcmp(value.data, maker, len) == 0 &&
	    parse_numbers((keep_bytes){value.data + len, value.len - len}, numbers))
		*mark = (kp_text_mark){.is_ours = true,
				       .position = numbers[0],
				       .rows = numbers[1],
				       .words = numbers[2]};
	kp_arena_release(&arena);
	return status;
}

keep_status kp_text_mark_put(kp_lease *lease, const kp_text_index *index, const kp_text_mark *mark,
			     keep_error *err)
{
	char maker[96], value[192];

	format_maker(lease, maker);
	snprintf(value, sizeof value, "%s%lld %lld %lld", maker, (long long)mark->position,
		 (long long)mark->rows, (long long)mark->words);
	return kp_derived_put_mark(lease, index->mark, keep_bytes_of(value), err);
}

keep_status kp_text_index_reset(kp_lease *lease, const kp_text_index *index, kp_text_mark *mark,
				keep_error *err)
{
	keep_status status = kp_lease_run(lease, index->clear, NULL, 0, NULL, err);

	*mark = (kp_text_mark){.is_ours = true};
	return status == KEEP_OK ? kp_text_mark_put(lease, index, mark, err) : status;
}

/* ---------------------------------------------------------------- a row's words */

void kp_scope_word(keep_bytes scope, char word[KP_SCOPE_WORD_SIZE])
{
	static const unsigned char key[16] = "Keep's own scope";

	snprintf(word, KP_SCOPE_WORD_SIZE, "=%016llx", (unsigned long long)kp_siphash(key, scope));
}

/* What stands before the words, in the spelling of a dialect. */
static keep_status put_marks(const kp_text_row *row, const char *quote, keep_buffer *out,
			     keep_error *err)
{
	char scope[KP_SCOPE_WORD_SIZE];
	keep_status status;

	kp_scope_word(row->scope, scope);
	out->len = 0;
	status = kp_buffer_append_format(out, err, "%s%s%s ", quote, scope, quote);
	if (status == KEEP_OK && row->is_hidden)
		status = kp_buffer_append_format(out, err, "%s%s%s ", quote, KP_HIDDEN_WORD, quote);
	return status;
}

static keep_status render_fts5(const kp_text_row *row, keep_buffer *first, keep_buffer *second,
			       keep_error *err)
{
	keep_buffer title = KEEP_BUFFER_INIT;
	keep_status status = kp_text_normalise(row->title, &title, err);

	if (status == KEEP_OK)
		status = kp_text_normalise(row->content, second, err);
	if (status == KEEP_OK)
		status = put_marks(row, "", first, err);
	if (status == KEEP_OK)
		status = kp_buffer_append(first, kp_buffer_bytes(&title), err);
	keep_buffer_release(&title);
	return status;
}

static keep_status render_tsvector(const kp_text_row *row, keep_buffer *first, keep_buffer *second,
				   keep_error *err)
{
	keep_status status = kp_text_tsvector(row->title, row->content, second, err);

	return status == KEEP_OK ? put_marks(row, "'", first, err) : status;
}

typedef keep_status render(const kp_text_row *row, keep_buffer *first, keep_buffer *second,
			   keep_error *err);

static render *const renders[KP_DIALECT_COUNT] = {
	[KP_DIALECT_SQLITE] = render_fts5, [KP_DIALECT_POSTGRES] = render_tsvector};

static keep_status count_words(const kp_text_row *row, int64_t *words, keep_error *err)
{
	const keep_bytes texts[] = {row->title, row->content};
	kp_token_list list = {.items = NULL};
	keep_status status = KEEP_OK;

	*words = 0;
	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++) {
		status = kp_text_tokens(texts[i], &list, err);
		*words += status == KEEP_OK ? (int64_t)list.count : 0;
	}
	kp_token_list_release(&list);
	return status;
}

/* Invariants 2 and 4. `words` may be NULL. */
static keep_status render_row(const kp_lease *lease, const kp_text_row *row, keep_buffer *first,
			      keep_buffer *second, int64_t *words, keep_error *err)
{
	render *const render_texts = renders[lease->conn->driver->dialect];
	kp_text_row bare = {.id = row->id, .scope = row->scope, .is_hidden = row->is_hidden};
	keep_status status = render_texts(row, first, second, err);

	if (status == KEEP_OK && words)
		status = count_words(row, words, err);
	if (status != KEEP_INVALID && status != KEEP_FULL)
		return status;
	if (words)
		*words = 0;
	return render_texts(&bare, first, second, err);
}

static keep_status change_row(kp_lease *lease, size_t statement, const kp_text_row *row,
			      int64_t *words, keep_error *err)
{
	keep_buffer first = KEEP_BUFFER_INIT, second = KEEP_BUFFER_INIT;
	keep_status status = render_row(lease, row, &first, &second, words, err);

	if (status == KEEP_OK)
		status = kp_lease_queue(lease, statement,
					KP_VALUES(kp_int_value(row->id),
						  kp_text_value(kp_buffer_bytes(&first)),
						  kp_text_value(kp_buffer_bytes(&second))),
					err);
	keep_buffer_release(&first);
	keep_buffer_release(&second);
	return status;
}

keep_status kp_text_index_render(const kp_lease *lease, const kp_text_row *row, keep_buffer *first,
				 keep_buffer *second, keep_error *err)
{
	return render_row(lease, row, first, second, NULL, err);
}

keep_status kp_text_index_put(kp_lease *lease, const kp_text_index *index, const kp_text_row *row,
			      int64_t *words, keep_error *err)
{
	return change_row(lease, index->put, row, words, err);
}

keep_status kp_text_index_remove(kp_lease *lease, const kp_text_index *index,
				 const kp_text_row *row, keep_error *err)
{
	return change_row(lease, index->remove, row, NULL, err);
}

/* ---------------------------------------------------------------- batches */

keep_status kp_text_row_read(kp_sql_stmt *stmt, kp_text_row *row, keep_error *err)
{
	kp_value scope = {.is_null = true}, hidden = scope, title = scope, content = scope;
	keep_status status = kp_sql_column_int(stmt, 0, &row->id, err);

	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 1, KP_TEXT, &scope, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 2, KP_BOOL, &hidden, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 3, KP_TEXT, &title, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 4, KP_TEXT, &content, err);
	if (status != KEEP_OK)
		return status;
	row->scope = scope.is_null ? (keep_bytes){NULL, 0} : scope.bytes;
	row->is_hidden = !hidden.is_null && hidden.integer != 0;
	row->title = title.is_null ? (keep_bytes){NULL, 0} : title.bytes;
	row->content = content.is_null ? (keep_bytes){NULL, 0} : content.bytes;
	return KEEP_OK;
}

struct text_batch {
	kp_text_row rows[KP_TEXT_BATCH];
	size_t count;
	bool has_more;
	kp_arena arena;
};

static keep_status copy_row(const kp_text_row *row, struct text_batch *batch, keep_error *err)
{
	kp_text_row *copy = &batch->rows[batch->count];
	keep_status status;

	*copy = *row;
	status = kp_arena_copy(&batch->arena, row->scope, &copy->scope, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(&batch->arena, row->title, &copy->title, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(&batch->arena, row->content, &copy->content, err);
	batch->count += status == KEEP_OK;
	return status;
}

/* Invariant 3. The statement is done before others run on the connection. */
static keep_status read_batch(kp_lease *lease, const kp_text_index *index, int64_t after,
			      struct text_batch *batch, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	size_t bytes = 0;
	keep_status status = kp_lease_bind(
		lease, index->behind, KP_VALUES(kp_int_value(after), kp_int_value(KP_TEXT_BATCH)),
		&stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && batch->count < KP_TEXT_BATCH &&
	       bytes < BATCH_BYTES_MAX) {
		kp_text_row row;

		status = kp_text_row_read(stmt, &row, err);
		if (status == KEEP_OK)
			status = copy_row(&row, batch, err);
		bytes += status == KEEP_OK ? row.title.len + row.content.len : 0;
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	batch->has_more = has_row || batch->count == KP_TEXT_BATCH;
	kp_sql_reset(stmt);
	return status;
}

static keep_status put_batch(kp_lease *lease, const kp_text_index *index,
			     const struct text_batch *batch, kp_text_mark *mark, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < batch->count && status == KEEP_OK; i++) {
		int64_t words = 0;

		status = kp_text_index_put(lease, index, &batch->rows[i],
					   index->counts_words ? &words : NULL, err);
		mark->words += words;
	}
	mark->rows += (int64_t)batch->count;
	if (batch->count)
		mark->position = batch->rows[batch->count - 1].id;
	return status;
}

keep_status kp_text_index_fold(kp_lease *lease, const kp_text_index *index, bool *more,
			       keep_error *err)
{
	struct text_batch *batch = NULL;
	kp_text_mark mark;
	keep_status status = kp_text_mark_get(lease, index, &mark, err);

	*more = false;
	if (status == KEEP_OK && !mark.is_ours)
		status = kp_text_index_reset(lease, index, &mark, err);
	if (status != KEEP_OK || mark.position == KP_TEXT_ALL)
		return status;
	batch = kp_alloc_zero(sizeof *batch);
	if (!batch)
		return kp_fail_memory(err, "words");
	status = read_batch(lease, index, mark.position, batch, err);
	if (status == KEEP_OK)
		status = put_batch(lease, index, batch, &mark, err);
	/* Whoever changes documents sees to their words; a message is seen to later. */
	if (status == KEEP_OK && !batch->has_more && index->counts_words)
		mark.position = KP_TEXT_ALL;
	if (status == KEEP_OK && (batch->count || mark.position == KP_TEXT_ALL))
		status = kp_text_mark_put(lease, index, &mark, err);
	*more = batch->has_more;
	kp_arena_release(&batch->arena);
	kp_free(batch);
	return status;
}
