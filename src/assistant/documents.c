/*
 * documents.c - documents: indexed, read, removed; their words and vectors follow in the same
 * transaction.
 *
 * A document is known by its source and its id there. What is indexed again is compared first:
 * the SHA-256 of title and content says that nothing changed. What callers have at hand is often
 * only the beginning of a text, as another search showed it; so a content that is shorter and
 * reads, word for word, as a part of the stored one is taken for a snippet and left, unless the
 * caller says that the text became shorter. Dots and blanks where it was cut do not matter, nor
 * that its last word was cut.
 *
 * Invariants:
 *   1. Row, words, vector and their numbers change in one transaction, or none of them.
 *   2. A vector belongs to the text that it came with: a changed text without a vector has none.
 *   3. A batch is all or nothing.
 *   4. Removing what is missing holds a portion of the source and one pointer for each given id.
 *
 * What it does not do: find (document_find.c).
 *
 * Tests: tests/contract/test_assistant_documents.c.
 */
#include "assistant/assistant_private.h"

#include <stdlib.h>

#define SOURCE_PORTION 500

const char *keep_indexed_name(keep_indexed indexed)
{
	static const char *const names[] = {[KEEP_INDEXED_ADDED] = "added",
					    [KEEP_INDEXED_CHANGED] = "changed",
					    [KEEP_INDEXED_UNCHANGED] = "unchanged",
					    [KEEP_INDEXED_SHORTER] = "shorter"};

	return (size_t)indexed < KP_COUNT(names) ? names[indexed] : "?";
}

/* ---------------------------------------------------------------- inputs */

struct indexing {
	const keep_document *documents;
	size_t count;
	int64_t now_ms;
	kp_text_mark mark;
	bool mark_changed;
	keep_indexed *indexed; /* out, one for each */
};

static keep_status check_document(const keep_document *document, keep_error *err)
{
	size_t dimensions = 0;
	keep_status status = kp_check_key("source", document->source, err);

	if (status == KEEP_OK)
		status = kp_check_key("source_id", document->source_id, err);
	if (status == KEEP_OK && document->title.len == 0 && document->content.len == 0)
		status = kp_fail(err, KEEP_INVALID, "content: neither it nor a title is there");
	if (status == KEEP_OK)
		status = kp_check_content("title", document->title, err);
	if (status == KEEP_OK)
		status = kp_check_content("content", document->content, err);
	if (status == KEEP_OK)
		status = kp_check_json("metadata", document->metadata, KP_JSON_OBJECT, err);
	if (status == KEEP_OK && document->embedding.data)
		status = kp_check_vector("embedding", document->embedding, &dimensions, err);
	if (status == KEEP_OK && (document->embedding.data || document->model.data))
		status = kp_check_key("model", document->model, err);
	return status;
}

/* SHA-256 of the title, a zero byte, which no text has, and the content. */
static keep_status hash_texts(const keep_document *document, char hash[2 * KP_SHA256_SIZE + 1],
			      keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_buffer both = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append(&both, kp_text_or(document->title, ""), err);

	if (status == KEEP_OK)
		status = kp_buffer_append(&both, KEEP_BYTES("\0"), err);
	if (status == KEEP_OK)
		status = kp_buffer_append(&both, kp_text_or(document->content, ""), err);
	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(&both), digest, err);
	if (status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hash);
	keep_buffer_release(&both);
	return status;
}

/* ---------------------------------------------------------------- snippets */

/* Do the words of `snippet` stand in `text` in a row, the last one perhaps cut? */
static bool reads_as_part(keep_bytes text, keep_bytes snippet)
{
	for (size_t at = 0; at + snippet.len <= text.len; at++) {
		if ((at == 0 || text.data[at - 1] == ' ') &&
		    memcmp(text.data + at, snippet.data, snippet.len) == 0)
			return true;
	}
	return false;
}

static keep_status is_snippet(keep_bytes stored, keep_bytes content, bool *is, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT, part = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	*is = false;
	if (content.len >= stored.len)
		return KEEP_OK;
	status = kp_text_normalise(stored, &text, err);
	if (status == KEEP_OK)
		status = kp_text_normalise(content, &part, err);
	if (status == KEEP_OK)
		*is = reads_as_part(kp_buffer_bytes(&text), kp_buffer_bytes(&part));
	/* What is stored was written by somebody else, and is no text: it is replaced. */
	if (status == KEEP_INVALID || status == KEEP_FULL)
		status = KEEP_OK;
	keep_buffer_release(&text);
	keep_buffer_release(&part);
	return status;
}

/* ---------------------------------------------------------------- words */

static kp_text_row row_of(int64_t id, keep_bytes source, keep_bytes title, keep_bytes content)
{
	return (kp_text_row){.id = id, .scope = source, .title = title, .content = content};
}

/* Begin an index that is not there, or not ours; of a store with documents it is folded later. */
static keep_status begin_words(kp_lease *lease, kp_text_mark *mark, keep_error *err)
{
	bool has_any = false;
	keep_status status = kp_text_mark_get(lease, &kp_document_text, mark, err);

	if (status != KEEP_OK || mark->is_ours)
		return status;
	status = kp_text_index_reset(lease, &kp_document_text, mark, err);
	if (status == KEEP_OK)
		status = kp_lease_get(lease, KP_ASSISTANT_HAS_DOCUMENTS, NULL, 0, NULL, NULL, NULL,
				      &has_any, err);
	if (status == KEEP_OK && !has_any) {
		mark->position = KP_TEXT_ALL;
		status = kp_text_mark_put(lease, &kp_document_text, mark, err);
	}
	return status;
}

static keep_status put_words(kp_lease *lease, const kp_text_row *row, kp_text_mark *mark,
			     keep_error *err)
{
	int64_t words = 0;
	keep_status status;

	if (row->id > mark->position)
		return KEEP_OK;
	status = kp_text_index_put(lease, &kp_document_text, row, &words, err);
	mark->rows++;
	mark->words += words;
	return status;
}

static keep_status remove_words(kp_lease *lease, const keep_search_document *stored,
				kp_text_mark *mark, keep_error *err)
{
	kp_text_row row = row_of(stored->id, stored->source, stored->title, stored->content);

	if (row.id > mark->position)
		return KEEP_OK;
	mark->rows -= mark->rows > 0;
	mark->words -= mark->words > stored->word_count ? stored->word_count : mark->words;
	return kp_text_index_remove(lease, &kp_document_text, &row, err);
}

/* ---------------------------------------------------------------- one document */

static keep_status put_vector(kp_lease *lease, const struct indexing *indexing,
			      const keep_document *document, int64_t id,
			      const keep_search_document *stored, keep_error *err)
{
	int64_t dimensions = (int64_t)(document->embedding.len / 4), change = 0;
	bool has_old = stored && stored->has_vector_change && stored->model.data;
	bool replaces = has_old && kp_bytes_equal(stored->model, document->model);
	keep_status status = KEEP_OK;

	if (has_old && !replaces)
		status = kp_vector_removed(lease, stored->model, id, err);
	if (status == KEEP_OK)
		status =
			kp_vector_added(lease, document->model, dimensions, replaces, &change, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(
			lease, KP_ASSISTANT_SET_DOCUMENT_VECTOR,
			KP_VALUES(kp_int_value(id), kp_blob_value(document->embedding),
				  kp_text_value(document->model), kp_int_value(dimensions),
				  kp_int_value(change), kp_time_value(indexing->now_ms)),
			err);
	return status;
}

/* Invariant 2. */
static keep_status drop_vector(kp_lease *lease, const keep_search_document *stored, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (stored->has_vector_change && stored->model.data)
		status = kp_vector_removed(lease, stored->model, stored->id, err);
	if (status == KEEP_OK && stored->embedding.data)
		status = kp_lease_queue(lease, KP_ASSISTANT_DROP_DOCUMENT_VECTOR,
					KP_VALUES(kp_int_value(stored->id)), err);
	return status;
}

static keep_status count_words_of(const keep_document *document, int64_t *words, keep_error *err)
{
	const keep_bytes texts[] = {document->title, document->content};
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

static keep_status add_document(kp_lease *lease, struct indexing *indexing,
				const keep_document *document, const char *hash, keep_error *err)
{
	kp_text_row row = row_of(0, document->source, document->title, document->content);
	int64_t words = 0;
	keep_status status = count_words_of(document, &words, err);

	if (status == KEEP_OK)
		status = kp_lease_int(
			lease, KP_ASSISTANT_ADD_DOCUMENT,
			KP_VALUES(kp_text_value(document->source),
				  kp_text_value(document->source_id),
				  kp_text_value(document->title), kp_text_value(document->content),
				  kp_text_value(keep_bytes_of(hash)),
				  kp_json_value(document->metadata),
				  kp_time_value(indexing->now_ms), kp_int_value(words)),
			&row.id, NULL, err);
	if (status == KEEP_OK)
		status = put_words(lease, &row, &indexing->mark, err);
	indexing->mark_changed = true;
	if (status == KEEP_OK && document->embedding.data)
		status = put_vector(lease, indexing, document, row.id, NULL, err);
	return status;
}

static keep_status change_document(kp_lease *lease, struct indexing *indexing,
				   const keep_document *document, const char *hash,
				   const keep_search_document *stored, keep_error *err)
{
	kp_text_row row = row_of(stored->id, stored->source, document->title, document->content);
	int64_t words = 0;
	keep_status status = remove_words(lease, stored, &indexing->mark, err);

	if (status == KEEP_OK)
		status = count_words_of(document, &words, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(
			lease, KP_ASSISTANT_SET_DOCUMENT,
			KP_VALUES(kp_int_value(stored->id), kp_text_value(document->title),
				  kp_text_value(document->content),
				  kp_text_value(keep_bytes_of(hash)),
				  kp_json_value(document->metadata),
				  kp_time_value(indexing->now_ms), kp_int_value(words)),
			err);
	if (status == KEEP_OK)
		status = put_words(lease, &row, &indexing->mark, err);
	indexing->mark_changed = true;
	if (status == KEEP_OK && document->embedding.data)
		return put_vector(lease, indexing, document, stored->id, stored, err);
	return status == KEEP_OK ? drop_vector(lease, stored, err) : status;
}

static keep_status index_one(kp_lease *lease, struct indexing *indexing, size_t which,
			     keep_error *err)
{
	const keep_document *document = &indexing->documents[which];
	keep_indexed *indexed = &indexing->indexed[which];
	keep_search_document stored = {.id = 0};
	kp_arena arena = {.head = NULL};
	char hash[2 * KP_SHA256_SIZE + 1] = "";
	bool found = false, is_part = false;
	keep_status status = hash_texts(document, hash, err);

	if (status == KEEP_OK)
		status = kp_lease_get(lease, KP_ASSISTANT_GET_DOCUMENT,
				      KP_VALUES(kp_text_value(document->source),
						kp_text_value(document->source_id)),
				      &kp_search_document_record, &arena, &stored, &found, err);
	*indexed = KEEP_INDEXED_UNCHANGED;
	if (status == KEEP_OK && !found) {
		*indexed = KEEP_INDEXED_ADDED;
		status = add_document(lease, indexing, document, hash, err);
	} else if (status == KEEP_OK && kp_bytes_equal(stored.content_hash, keep_bytes_of(hash))) {
		if (document->embedding.data &&
		    (!kp_bytes_equal(stored.embedding, document->embedding) ||
		     !kp_bytes_equal(stored.model, document->model) || !stored.has_vector_change)) {
			*indexed = KEEP_INDEXED_CHANGED;
			status = put_vector(lease, indexing, document, stored.id, &stored, err);
		}
	} else if (status == KEEP_OK) {
		if (!document->may_shorten)
			status = is_snippet(stored.content, document->content, &is_part, err);
		*indexed = is_part ? KEEP_INDEXED_SHORTER : KEEP_INDEXED_CHANGED;
		if (status == KEEP_OK && !is_part)
			status = change_document(lease, indexing, document, hash, &stored, err);
	}
	kp_arena_release(&arena);
	return status;
}

/* Invariants 1 and 3. */
static keep_status apply_indexing(void *ctx, kp_lease *lease, keep_error *err)
{
	struct indexing *indexing = ctx;
	keep_status status = begin_words(lease, &indexing->mark, err);

	indexing->mark_changed = false;
	for (size_t i = 0; i < indexing->count && status == KEEP_OK; i++) {
		status = index_one(lease, indexing, i, err);
		if (status != KEEP_OK && indexing->count > 1)
			status = kp_prefix(err, status, "document %zu of %zu", i + 1,
					   indexing->count);
	}
	if (status == KEEP_OK && indexing->mark_changed)
		status = kp_text_mark_put(lease, &kp_document_text, &indexing->mark, err);
	return status;
}

keep_status keep_assistant_index_many(keep_assistant *assistant, const keep_document *documents,
				      size_t count, int64_t now_ms, keep_indexed *indexed,
				      keep_error *err)
{
	struct indexing indexing = {
		.documents = documents, .count = count, .now_ms = kp_assistant_now(now_ms)};
	keep_status status = KEEP_OK;

	if (count == 0)
		return KEEP_OK;
	if (count > KEEP_ASSISTANT_LIST_MAX)
		return kp_fail(err, KEEP_INVALID, "count: %zu is over %d", count,
			       KEEP_ASSISTANT_LIST_MAX);
	status = kp_check_time("now_ms", indexing.now_ms, err);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = check_document(&documents[i], err);
		if (status != KEEP_OK && count > 1)
			status = kp_prefix(err, status, "document %zu of %zu", i + 1, count);
	}
	if (status != KEEP_OK)
		return status;
	indexing.indexed = kp_alloc_zero(count * sizeof *indexing.indexed);
	if (!indexing.indexed)
		return kp_fail_memory(err, "a batch of documents");
	status = kp_store_change(&assistant->store, apply_indexing, &indexing, KP_NEWS_NONE, err);
	if (status == KEEP_OK && indexed)
		memcpy(indexed, indexing.indexed, count * sizeof *indexed);
	if (status == KEEP_OK && indexing.mark.position != KP_TEXT_ALL)
		kp_message_index_wake(assistant);
	kp_free(indexing.indexed);
	return status;
}

keep_status keep_assistant_index(keep_assistant *assistant, const keep_document *document,
				 int64_t now_ms, keep_indexed *indexed, keep_error *err)
{
	return keep_assistant_index_many(assistant, document, 1, now_ms, indexed, err);
}

/* ---------------------------------------------------------------- reading */

static keep_status fail_not_found(keep_bytes source, keep_bytes source_id, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND,
		       "document '%" KP_PRI "' of '%" KP_PRI "': there is none", KP_ARG(source_id),
		       KP_ARG(source));
}

static keep_status check_names(keep_bytes source, keep_bytes source_id, keep_error *err)
{
	keep_status status = kp_check_key("source", source, err);

	return status == KEEP_OK ? kp_check_key("source_id", source_id, err) : status;
}

keep_status keep_assistant_get_document(keep_assistant *assistant, keep_bytes source,
					keep_bytes source_id, keep_memory *memory,
					keep_search_document *out, keep_error *err)
{
	keep_search_document document = {.id = 0};
	bool found = false;
	keep_status status = check_names(source, source_id, err);

	if (status == KEEP_OK)
		status = kp_store_get(&assistant->store, KP_ASSISTANT_GET_DOCUMENT,
				      KP_VALUES(kp_text_value(source), kp_text_value(source_id)),
				      &kp_search_document_record, memory, &document, &found, err);
	if (status == KEEP_OK && !found)
		status = fail_not_found(source, source_id, err);
	if (status == KEEP_OK)
		*out = document;
	return status;
}

/* ---------------------------------------------------------------- removing */

static keep_status remove_stored(kp_lease *lease, const keep_search_document *stored,
				 kp_text_mark *mark, keep_error *err)
{
	keep_status status = remove_words(lease, stored, mark, err);

	if (status == KEEP_OK && stored->has_vector_change && stored->model.data)
		status = kp_vector_removed(lease, stored->model, stored->id, err);
	if (status == KEEP_OK)
		status = kp_lease_queue(lease, KP_ASSISTANT_REMOVE_DOCUMENT,
					KP_VALUES(kp_int_value(stored->id)), err);
	return status;
}

struct removal {
	keep_bytes source, source_id;
	/* Of remove_missing: in the order of bytes. */
	const keep_bytes **ids;
	size_t id_count;
	int64_t count; /* out */
};

static keep_status apply_removal(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct removal *removal = ctx;
	keep_search_document stored = {.id = 0};
	kp_arena arena = {.head = NULL};
	kp_text_mark mark;
	bool found = false;
	keep_status status = kp_lease_get(
		lease, KP_ASSISTANT_GET_DOCUMENT,
		KP_VALUES(kp_text_value(removal->source), kp_text_value(removal->source_id)),
		&kp_search_document_record, &arena, &stored, &found, err);

	if (status == KEEP_OK && !found) {
		lease->unchanged = true;
		status = fail_not_found(removal->source, removal->source_id, err);
	}
	if (status == KEEP_OK)
		status = begin_words(lease, &mark, err);
	if (status == KEEP_OK)
		status = remove_stored(lease, &stored, &mark, err);
	if (status == KEEP_OK)
		status = kp_text_mark_put(lease, &kp_document_text, &mark, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_remove_document(keep_assistant *assistant, keep_bytes source,
					   keep_bytes source_id, keep_error *err)
{
	struct removal removal = {.source = source, .source_id = source_id};
	keep_status status = check_names(source, source_id, err);

	return status == KEEP_OK ? kp_store_change(&assistant->store, apply_removal, &removal,
						   KP_NEWS_NONE, err)
				 : status;
}

static int compare_ids(const void *left, const void *right)
{
	const keep_bytes *const *a = left, *const *b = right;

	return kp_bytes_compare(**a, **b);
}

struct portion {
	int64_t ids[SOURCE_PORTION];
	keep_bytes names[SOURCE_PORTION];
	size_t count;
};

static keep_status read_portion(kp_lease *lease, keep_bytes source, keep_bytes after,
				kp_arena *arena, struct portion *portion, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_ASSISTANT_DOCUMENTS_OF_SOURCE,
					   KP_VALUES(kp_text_value(source), kp_text_value(after),
						     kp_int_value(SOURCE_PORTION)),
					   &stmt, err);

	portion->count = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row && portion->count < SOURCE_PORTION) {
		keep_bytes name = {NULL, 0};

		status = kp_sql_column_int(stmt, 0, &portion->ids[portion->count], err);
		if (status == KEEP_OK)
			status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &name, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(arena, name, &portion->names[portion->count], err);
		portion->count++;
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

static bool is_given(const struct removal *removal, const keep_bytes *name)
{
	return removal->id_count &&
	       bsearch(&name, removal->ids, removal->id_count, sizeof *removal->ids, compare_ids);
}

static keep_status remove_one_missing(kp_lease *lease, int64_t id, kp_text_mark *mark,
				      keep_error *err)
{
	keep_search_document stored = {.id = 0};
	kp_arena arena = {.head = NULL};
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_ASSISTANT_DOCUMENT_TO_REMOVE, KP_VALUES(kp_int_value(id)),
			     &kp_search_document_record, &arena, &stored, &found, err);

	if (status == KEEP_OK && found)
		status = remove_stored(lease, &stored, mark, err);
	kp_arena_release(&arena);
	return status;
}

/* Invariant 4. */
static keep_status apply_remove_missing(void *ctx, kp_lease *lease, keep_error *err)
{
	struct removal *removal = ctx;
	struct portion portion = {.count = SOURCE_PORTION};
	keep_buffer after = KEEP_BUFFER_INIT;
	kp_text_mark mark;
	keep_status status = begin_words(lease, &mark, err);

	removal->count = 0;
	while (status == KEEP_OK && portion.count == SOURCE_PORTION) {
		kp_arena arena = {.head = NULL};

		status = read_portion(lease, removal->source, kp_buffer_bytes(&after), &arena,
				      &portion, err);
		for (size_t i = 0; i < portion.count && status == KEEP_OK; i++) {
			if (is_given(removal, &portion.names[i]))
				continue;
			status = remove_one_missing(lease, portion.ids[i], &mark, err);
			removal->count++;
		}
		if (status == KEEP_OK && portion.count)
			status = keep_buffer_set(&after, portion.names[portion.count - 1], err);
		kp_arena_release(&arena);
	}
	if (status == KEEP_OK && removal->count)
		status = kp_text_mark_put(lease, &kp_document_text, &mark, err);
	keep_buffer_release(&after);
	return status;
}

keep_status keep_assistant_remove_missing(keep_assistant *assistant, keep_bytes source,
					  const keep_bytes *ids, size_t id_count, int64_t *count,
					  keep_error *err)
{
	struct removal removal = {.source = source, .id_count = id_count};
	keep_status status = kp_check_key("source", source, err);

	for (size_t i = 0; i < id_count && status == KEEP_OK; i++)
		status = kp_check_key("ids", ids[i], err);
	if (status == KEEP_OK && id_count) {
		removal.ids = id_count <= SIZE_MAX / sizeof *removal.ids
				      ? kp_alloc(id_count * sizeof *removal.ids)
				      : NULL;
		if (!removal.ids)
			return kp_fail_memory(err, "ids");
		for (size_t i = 0; i < id_count; i++)
			removal.ids[i] = &ids[i];
		qsort(removal.ids, id_count, sizeof *removal.ids, compare_ids);
	}
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_remove_missing, &removal,
					 KP_NEWS_NONE, err);
	if (status == KEEP_OK && count)
		*count = removal.count;
	kp_free(removal.ids);
	return status;
}
