/*
 * document_find.c - finding documents by words, by vectors, or by both; and making what is derived
 * anew.
 *
 * Words and vectors each give a list in the order of their rank. One list alone is the answer; two
 * are fused by reciprocal rank (1 / (60 + rank), summed). With a source both lists are of that
 * source alone, each by its index: a source of ten documents is searched as exactly among a million
 * others as alone.
 *
 * Invariants:
 *   1. Lists that are fused are FUSED_DEPTH long, whatever the limit: asking for more never changes
 *      the order of what was there.
 *   2. What the vectors found and the table no longer has is asked for again, not left out.
 *   3. Equal scores are in the order of their ids, so that an answer is the same twice.
 *
 * Tests: tests/contract/test_assistant_find.c.
 */
#include "assistant/assistant_private.h"

#include <math.h>
#include <stdlib.h>

enum { FOUND_DEFAULT = 10, FUSED_DEPTH = 1000, TRIES_MAX = 4 };
#define TITLE_WEIGHT 2.0

struct finding {
	keep_assistant *assistant;
	const keep_search_query *query;
	kp_text_query words; /* with a text */
	float *vector;       /* with a vector */
	size_t dimensions;
	size_t limit;
	struct kp_vectors_match *nearest; /* what the vectors found */
	size_t nearest_count;
	kp_text_ask ask;
	keep_memory *memory;
	bool is_gone;              /* invariant 2 */
	keep_search_matches found; /* out */
};

/* ---------------------------------------------------------------- vectors */

struct source_ids {
	keep_bytes source, model;
	int64_t *ids; /* out */
	size_t count, room;
};

static keep_status query_source_ids(void *ctx, kp_lease *lease, keep_error *err)
{
	struct source_ids *list = ctx;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, KP_ASSISTANT_VECTOR_IDS_OF_SOURCE,
		KP_VALUES(kp_text_value(list->source), kp_text_value(list->model)), &stmt, err);

	list->count = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row) {
		if (list->count == list->room) {
			size_t room = list->room * 2;
			int64_t *ids = kp_realloc(list->ids, room * sizeof *ids);

			if (!ids) {
				status = kp_fail_memory(err, "a source's documents");
				break;
			}
			list->ids = ids;
			list->room = room;
		}
		status = kp_sql_column_int(stmt, 0, &list->ids[list->count++], err);
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* Those with a similarity that is asked for, best first. */
static keep_status find_nearest(struct finding *finding, keep_error *err)
{
	const keep_search_query *query = finding->query;
	double least = query->min_similarity;
	struct source_ids list = {.source = query->source, .model = query->model, .room = 1024};
	kp_vector_ask ask = {
		.model = query->model,
		.query = finding->vector,
		.dimensions = finding->dimensions,
		.nearest = query->text.data ? FUSED_DEPTH : finding->limit,
		.matches = finding->nearest,
	};
	keep_status status = KEEP_OK;

	if (query->source.data) {
		list.ids = kp_alloc(list.room * sizeof *list.ids);
		status = list.ids ? kp_store_read(&finding->assistant->store, query_source_ids,
						  &list, err)
				  : kp_fail_memory(err, "a source's documents");
		ask.ids = list.ids;
		ask.id_count = list.count;
	}
	if (status == KEEP_OK)
		status = kp_vector_sets_search(finding->assistant, &ask, err);
	finding->nearest_count = status == KEEP_OK ? ask.count : 0;
	while (least != 0 && least > -1 && finding->nearest_count > 0 &&
	       ask.matches[finding->nearest_count - 1].similarity < least)
		finding->nearest_count--;
	kp_free(list.ids);
	return status;
}

/* ---------------------------------------------------------------- both lists */

/* 1 for the first; 0: it is not there. */
static int64_t find_rank(const struct finding *finding, int64_t id, bool by_vector)
{
	size_t count = by_vector ? finding->nearest_count : finding->ask.count;

	for (size_t i = 0; i < count; i++)
		if ((by_vector ? finding->nearest[i].id : finding->ask.items[i].id) == id)
			return (int64_t)i + 1;
	return 0;
}

/* The answer's ids and scores. */
static keep_status rank_answer(const struct finding *finding, kp_arena *arena, kp_ranked **ranked,
			       size_t *count, keep_error *err)
{
	const bool has_text = finding->query->text.data, has_vector = finding->vector;
	size_t text_count = has_text ? finding->ask.count : 0;
	size_t vector_count = has_vector ? finding->nearest_count : 0;
	size_t room = text_count + vector_count + 1;
	int64_t *ids = kp_arena_alloc(arena, room * sizeof *ids);
	kp_ranked_ids lists[2] = {{.count = text_count}, {.count = vector_count}};

	*ranked = kp_arena_alloc(arena, room * sizeof **ranked);
	*count = 0;
	if (!ids || !*ranked)
		return kp_fail_memory(err, "what was found");
	for (size_t i = 0; i < text_count; i++) {
		ids[i] = finding->ask.items[i].id;
		(*ranked)[i] = finding->ask.items[i];
	}
	for (size_t i = 0; i < vector_count; i++) {
		ids[text_count + i] = finding->nearest[i].id;
		if (!has_text)
			(*ranked)[i] =
				(kp_ranked){finding->nearest[i].id, finding->nearest[i].similarity};
	}
	*count = has_text ? text_count : vector_count;
	lists[0].ids = ids;
	lists[1].ids = ids + text_count;
	if (has_text && has_vector)
		return kp_rank_fuse(lists, 2, finding->limit < room ? finding->limit : room,
				    *ranked, count, err);
	*count = *count < finding->limit ? *count : finding->limit;
	return KEEP_OK;
}

static keep_status make_snippet(struct finding *finding, keep_search_match *match, keep_error *err)
{
	keep_bytes text =
		match->document.content.len ? match->document.content : match->document.title;
	const kp_snippet_options options = {.tokens = 0};
	keep_buffer snippet = KEEP_BUFFER_INIT;
	keep_status status = kp_text_snippet(&finding->words, text, &options, &snippet, err);

	if (status == KEEP_OK)
		status = kp_arena_copy(finding->memory, kp_buffer_bytes(&snippet), &match->snippet,
				       err);
	keep_buffer_release(&snippet);
	/* A text that is none was not found by its words. */
	return status == KEEP_INVALID || status == KEEP_FULL ? KEEP_OK : status;
}

static keep_status read_match(struct finding *finding, kp_lease *lease, const kp_ranked *ranked,
			      keep_error *err)
{
	keep_search_match *match = &finding->found.items[finding->found.count];
	bool found = false;
	keep_status status;

	*match = (keep_search_match){.score = ranked->score};
	status = kp_lease_get(lease, KP_ASSISTANT_GET_DOCUMENT_BY_ID,
			      KP_VALUES(kp_int_value(ranked->id)), &kp_search_document_record,
			      finding->memory, &match->document, &found, err);
	if (status != KEEP_OK)
		return status;
	if (finding->query->text.data)
		match->text_rank = find_rank(finding, ranked->id, false);
	if (finding->vector)
		match->vector_rank = find_rank(finding, ranked->id, true);
	if (match->vector_rank)
		match->similarity = finding->nearest[match->vector_rank - 1].similarity;
	/* It went, or changed, after the vectors were asked. */
	finding->is_gone = finding->is_gone || !found ||
			   (match->vector_rank &&
			    !kp_bytes_equal(match->document.model, finding->query->model));
	if (found && finding->query->text.data)
		status = make_snippet(finding, match, err);
	finding->found.count += found;
	return status;
}

static keep_status query_finding(void *ctx, kp_lease *lease, keep_error *err)
{
	struct finding *finding = ctx;
	kp_arena arena = {.head = NULL};
	kp_ranked *ranked = NULL;
	size_t count = 0;
	keep_status status = KEEP_OK;

	finding->found = (keep_search_matches){.is_exact = true};
	finding->is_gone = false;
	if (finding->query->text.data) {
		status = kp_text_search(lease, &finding->ask, &arena, err);
		finding->found.is_exact = finding->ask.is_exact;
	}
	if (status == KEEP_OK)
		status = rank_answer(finding, &arena, &ranked, &count, err);
	if (status == KEEP_OK) {
		finding->found.items =
			kp_arena_alloc(finding->memory, (count + 1) * sizeof *finding->found.items);
		if (!finding->found.items)
			status = kp_fail_memory(err, "what was found");
	}
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = read_match(finding, lease, &ranked[i], err);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- find */

static keep_status check_query(const keep_search_query *query, struct finding *finding,
			       keep_error *err)
{
	int64_t limit = 0;
	keep_status status = KEEP_OK;

	if (!query->text.data && !query->vector.data)
		return kp_fail(err, KEEP_INVALID, "text: neither it nor a vector is there");
	if (query->vector.data)
		status = kp_check_vector("vector", query->vector, &finding->dimensions, err);
	if (status == KEEP_OK && (query->vector.data || query->model.data))
		status = kp_check_key("model", query->model, err);
	if (status == KEEP_OK && query->source.data)
		status = kp_check_key("source", query->source, err);
	if (status == KEEP_OK && !isfinite(query->min_similarity))
		status = kp_fail(err, KEEP_INVALID, "min_similarity: is not finite");
	if (status == KEEP_OK)
		status = kp_check_limit(query->limit, FOUND_DEFAULT, KEEP_SEARCH_LIMIT_MAX, &limit,
					err);
	finding->limit = (size_t)limit;
	if (status == KEEP_OK && query->text.data)
		status = kp_text_query_parse(query->text, &finding->words, err);
	return status;
}

static keep_status decode_query(struct finding *finding, keep_error *err)
{
	finding->vector = kp_alloc(finding->dimensions * sizeof *finding->vector);
	finding->nearest = kp_alloc(FUSED_DEPTH * sizeof *finding->nearest);
	if (!finding->vector || !finding->nearest)
		return kp_fail_memory(err, "a vector");
	kp_vector_decode(finding->query->vector, finding->vector);
	return KEEP_OK;
}

keep_status keep_assistant_find(keep_assistant *assistant, const keep_search_query *query,
				keep_memory *memory, keep_search_matches *out, keep_error *err)
{
	struct finding finding = {.assistant = assistant, .query = query, .memory = memory};
	keep_status status = check_query(query, &finding, err);

	if (status == KEEP_OK && query->vector.data)
		status = decode_query(&finding, err);
	finding.ask = (kp_text_ask){.index = &kp_document_text,
				    .query = &finding.words,
				    .scope = query->source,
				    .with_hidden = true,
				    .limit = query->vector.data ? FUSED_DEPTH : finding.limit,
				    .title_weight = TITLE_WEIGHT};
	finding.is_gone = true;
	for (int i = 0; i < TRIES_MAX && status == KEEP_OK && finding.is_gone; i++) {
		if (finding.vector)
			status = find_nearest(&finding, err);
		if (status == KEEP_OK)
			status = kp_store_read_whole(&assistant->store, query_finding, &finding,
						     err);
	}
	if (status == KEEP_OK)
		*out = finding.found;
	if (status == KEEP_OK && query->text.data && finding.ask.is_behind)
		kp_message_index_wake(assistant);
	kp_text_query_release(&finding.words);
	kp_free(finding.vector);
	kp_free(finding.nearest);
	return status;
}

/* ---------------------------------------------------------------- making it anew */

static keep_status apply_reset(void *ctx, kp_lease *lease, keep_error *err)
{
	kp_text_mark mark;
	keep_status status = kp_text_index_reset(lease, &kp_message_text, &mark, err);

	(void)ctx;
	if (status == KEEP_OK)
		status = kp_text_index_reset(lease, &kp_document_text, &mark, err);
	return status == KEEP_OK ? kp_vectors_recount(lease, err) : status;
}

keep_status keep_assistant_rebuild_search(keep_assistant *assistant, keep_error *err)
{
	keep_status status =
		kp_store_change(&assistant->store, apply_reset, NULL, KP_NEWS_NONE, err);

	return status == KEEP_OK ? kp_message_index_fold(assistant, err) : status;
}
