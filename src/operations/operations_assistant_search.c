/*
 * operations_assistant_search.c - the assistant's operations on documents that can be found.
 *
 * Vectors are given as arrays of numbers, which become float32.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

#define DOCUMENT_INPUTS(source_place_, id_place_)                                                  \
	KP_NEEDED_TEXT(source_place_, "source", "Where it comes from: notion, gmail and such."),   \
		KP_NEEDED_TEXT(id_place_, "source_id", "Its id there."),                           \
		KP_OTHER(TEXT, "title", "Its title."), KP_OTHER_LONG("content", "Its text."),      \
		KP_OTHER(OBJECT, "metadata", "What is kept with it."),                             \
		KP_OTHER(ARRAY, "embedding", "Its vector, an array of numbers."),                  \
		KP_OTHER(TEXT, "model", "The model that made the vector."),                        \
		KP_FLAG("may_shorten", "A part of what is stored may replace it.")

static const kp_input index_inputs[] = {DOCUMENT_INPUTS(1, 2), KP_NOW};
static const kp_input element_inputs[] = {DOCUMENT_INPUTS(0, 0)};
static const kp_input many_inputs[] = {
	KP_NEEDED_ARRAY(1, "documents",
			"An array of objects with the inputs of index, at most 1,000."),
	KP_NOW,
};
static const kp_input key_inputs[] = {
	KP_NEEDED_TEXT(1, "source", "Where it comes from."),
	KP_NEEDED_TEXT(2, "source_id", "Its id there."),
};
static const kp_input missing_inputs[] = {
	KP_NEEDED_TEXT(1, "source", "The source."),
	KP_NEEDED_ARRAY(2, "ids", "The ids that are still there, an array of texts."),
};
static const kp_input find_inputs[] = {
	KP_OTHER_AT(1, "text", "Words, \"phrases\", prefix*, -excluded, OR."),
	KP_OTHER(ARRAY, "vector", "A vector, an array of numbers."),
	KP_OTHER(TEXT, "model", "The model that made the vector."),
	KP_OTHER(TEXT, "source", "Only documents of this source."),
	{.name = "min_similarity",
	 .kind = KP_KIND_JSON,
	 .nullable = true,
	 .sentence = "Only vectors at least so similar, -1 to 1."},
	KP_LIMIT_OF("10", KEEP_SEARCH_LIMIT_MAX),
};

static const kp_member many_members[] = {
	{"outcome", KP_KIND_TEXT, "added, changed, unchanged or shorter.", NULL},
};
static const kp_member find_members[] = {
	{"matches", KP_KIND_ARRAY,
	 "Best first, each {\"document\", \"snippet\", \"score\", \"text_rank\", \"vector_rank\", "
	 "\"similarity\"}; a rank of 0: not found by that.",
	 NULL},
	{"is_exact", KP_KIND_BOOLEAN,
	 "False: the words match so many that only the newest were ranked.", NULL},
};

static const kp_outcome index_outcomes[] = {
	{KEEP_INVALID, false, "Neither title nor content, or a vector that is none."},
	{KEEP_CONFLICT, false, "The model has vectors of another dimension."},
};
static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such document."},
};
static const kp_outcome find_outcomes[] = {
	{KEEP_INVALID, false, "Neither text nor vector, a text without a word, a zero vector."},
	{KEEP_CONFLICT, false, "No vectors of that model and dimension, but of others."},
};

/* ---------------------------------------------------------------- functions */

enum {
	AT_SOURCE,
	AT_SOURCE_ID,
	AT_TITLE,
	AT_CONTENT,
	AT_METADATA,
	AT_EMBEDDING,
	AT_MODEL,
	AT_MAY_SHORTEN
};

static keep_status read_document(const kp_call *call, const kp_argument *arguments,
				 keep_document *document, keep_error *err)
{
	*document = (keep_document){
		.source = arguments[AT_SOURCE].bytes,
		.source_id = arguments[AT_SOURCE_ID].bytes,
		.title = arguments[AT_TITLE].bytes,
		.content = arguments[AT_CONTENT].bytes,
		.model = arguments[AT_MODEL].bytes,
		.may_shorten = arguments[AT_MAY_SHORTEN].boolean,
	};
	if (arguments[AT_METADATA].json)
		document->metadata = arguments[AT_METADATA].json->raw;
	return kp_assistant_vector(call, arguments[AT_EMBEDDING].json, "embedding",
				   &document->embedding, err);
}

static keep_status run_index(kp_call *call, keep_error *err)
{
	keep_indexed indexed = KEEP_INDEXED_UNCHANGED;
	keep_document document;
	keep_status status = read_document(call, call->arguments, &document, err);

	if (status == KEEP_OK)
		status = keep_assistant_index(call->handle, &document, kp_call_now(call), &indexed,
					      err);
	if (status == KEEP_OK)
		kp_json_put_text(kp_call_writer(call), keep_bytes_of(keep_indexed_name(indexed)));
	return status;
}

static keep_status read_documents(const kp_call *call, keep_document *documents, size_t count,
				  keep_error *err)
{
	const kp_json *array = kp_call_argument(call, "documents")->json;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		kp_argument arguments[KP_COUNT(element_inputs)];

		status = kp_inputs_read(element_inputs, KP_COUNT(element_inputs),
					&array->list.items[i], false, call->arena, arguments, err);
		if (status == KEEP_OK)
			status = read_document(call, arguments, &documents[i], err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "documents: element %zu", i);
	}
	return status;
}

static keep_status run_index_many(kp_call *call, keep_error *err)
{
	size_t count = kp_call_argument(call, "documents")->json->list.count;
	keep_document *documents = kp_arena_alloc(call->arena, (count + 1) * sizeof *documents);
	keep_indexed *indexed = kp_arena_alloc(call->arena, (count + 1) * sizeof *indexed);
	keep_status status;

	if (!documents || !indexed)
		return kp_fail_memory(err, "documents");
	status = read_documents(call, documents, count, err);
	if (status == KEEP_OK)
		status = keep_assistant_index_many(call->handle, documents, count,
						   kp_call_now(call), indexed, err);
	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		kp_json_open_object(kp_call_writer(call));
		kp_call_put_text(call, "outcome", keep_bytes_of(keep_indexed_name(indexed[i])));
		kp_json_close_object(kp_call_writer(call));
		status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_search_document document = {.id = 0};
	keep_status status = keep_assistant_get_document(call->handle, kp_call_text(call, "source"),
							 kp_call_text(call, "source_id"),
							 call->arena, &document, err);

	return kp_assistant_give(call, status, &kp_search_document_record, &document, err);
}

static keep_status run_remove(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_assistant_remove_document(call->handle, kp_call_text(call, "source"),
						     kp_call_text(call, "source_id"), err));
}

static keep_status run_remove_missing(kp_call *call, keep_error *err)
{
	const keep_bytes *ids = NULL;
	size_t id_count = 0;
	int64_t count = 0;
	keep_status status = kp_call_texts(call, "ids", &ids, &id_count, err);

	if (status == KEEP_OK)
		status = keep_assistant_remove_missing(call->handle, kp_call_text(call, "source"),
						       ids, id_count, &count, err);
	return kp_call_put_integer(call, status, count);
}

static keep_status put_matches(kp_call *call, const keep_search_matches *matches, keep_error *err)
{
	kp_json_writer *writer = kp_call_writer(call);
	keep_status status = KEEP_OK;

	kp_json_open_object(writer);
	kp_json_name(writer, "matches");
	kp_json_open_array(writer);
	for (size_t i = 0; i < matches->count && status == KEEP_OK; i++) {
		const keep_search_match *match = &matches->items[i];

		kp_json_open_object(writer);
		status = kp_assistant_put_member(call, "document", &kp_search_document_record,
						 &match->document, err);
		kp_call_put_text(call, "snippet", match->snippet);
		kp_assistant_put_real(call, "score", match->score);
		kp_call_put_number(call, "text_rank", match->text_rank);
		kp_call_put_number(call, "vector_rank", match->vector_rank);
		kp_assistant_put_real(call, "similarity", match->similarity);
		kp_json_close_object(writer);
	}
	kp_json_close_array(writer);
	kp_call_put_flag(call, "is_exact", matches->is_exact);
	kp_json_close_object(writer);
	return status;
}

static keep_status run_find(kp_call *call, keep_error *err)
{
	const kp_json *least = kp_call_argument(call, "min_similarity")->json;
	keep_search_matches matches = {NULL, 0, true};
	keep_search_query query = {
		.text = kp_call_text(call, "text"),
		.model = kp_call_text(call, "model"),
		.source = kp_call_text(call, "source"),
		.limit = (size_t)kp_call_integer(call, "limit"),
	};
	keep_status status = kp_assistant_vector(call, kp_call_argument(call, "vector")->json,
						 "vector", &query.vector, err);

	if (status == KEEP_OK && least && least->kind == KP_JSON_INTEGER)
		query.min_similarity = (double)least->integer;
	else if (status == KEEP_OK && least && least->kind == KP_JSON_REAL)
		query.min_similarity = least->real;
	else if (status == KEEP_OK && least && least->kind != KP_JSON_NULL)
		status = kp_fail(err, KEEP_INVALID, "min_similarity: a number is needed");
	if (status == KEEP_OK)
		status = keep_assistant_find(call->handle, &query, call->arena, &matches, err);
	return status == KEEP_OK ? put_matches(call, &matches, err) : status;
}

static keep_status run_rebuild(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call, keep_assistant_rebuild_search(call->handle, err));
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "index",
	 .sentence = "Make a document findable by its words and its vector.",
	 .more = "Unchanged ones are skipped. A snippet of what is stored does not replace it, "
		 "unless may_shorten is said.",
	 KP_INPUTS(index_inputs),
	 .result = KP_RESULT_BYTES,
	 .result_sentence = "added, changed, unchanged or shorter.",
	 KP_OUTCOMES(index_outcomes),
	 .changes = true,
	 .run = run_index},
	{.verb = "index_many",
	 .sentence = "Make many documents findable, in one transaction.",
	 KP_INPUTS(many_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "What became of each, in their order.",
	 KP_MEMBERS(many_members),
	 KP_OUTCOMES(index_outcomes),
	 .changes = true,
	 .run = run_index_many},
	{.verb = "get_document",
	 .sentence = "Give an indexed document.",
	 KP_INPUTS(key_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The document.",
	 .record = &kp_search_document_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "remove_document",
	 .sentence = "Forget a document.",
	 KP_INPUTS(key_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(missing_outcomes),
	 .changes = true,
	 .run = run_remove},
	{.verb = "remove_missing",
	 .sentence = "Forget a source's documents that are no longer there.",
	 KP_INPUTS(missing_inputs),
	 .result = KP_RESULT_INTEGER,
	 .result_sentence = "How many.",
	 .changes = true,
	 .run = run_remove_missing},
	{.verb = "find",
	 .sentence = "Find documents by words, by a vector, or by both.",
	 .more = "Both are fused by reciprocal rank (k = 60). Neighbours are exact: cosine over "
		 "all "
		 "vectors of the model.",
	 KP_INPUTS(find_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What was found.",
	 KP_MEMBERS(find_members),
	 KP_OUTCOMES(find_outcomes),
	 .run = run_find},
	{.verb = "rebuild_search",
	 .sentence = "Make words and vectors of everything anew.",
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 .changes = true,
	 .run = run_rebuild},
};

const kp_operation_group kp_assistant_search_group = {
	.title = "Search",
	.operations = operations,
	.count = KP_COUNT(operations),
};
