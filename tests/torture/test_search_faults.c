/*
 * test_search_faults.c - words, queries, ranking, snippets and fusion, when the Nth allocation
 * fails: nothing is left behind, and what was answered before is still right.
 */
#include "search/search.h"
#include "torture.h"

#define TEXT KEEP_BYTES("Das Café, zwei Tassen Kaffee und ein Stück vom Kuchen im Café")

static keep_status run_words(void *ctx)
{
	keep_buffer out = KEEP_BUFFER_INIT, old = KEEP_BUFFER_INIT;
	keep_status status = kp_text_normalise(TEXT, &out, NULL);

	(void)ctx;
	if (status == KEEP_OK) {
		assert_memory_equal(out.data, "das cafe zwei", 13);
		status = kp_text_tsvector(KEEP_BYTES("Café"), TEXT, &old, NULL);
	}
	if (status == KEEP_OK)
		assert_memory_equal(old.data, "'cafe':1,4,14", 13);
	else
		assert_int_equal(old.len, 0);
	keep_buffer_release(&out);
	keep_buffer_release(&old);
	return status;
}

static keep_status run_query(void *ctx)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_query_plan plan = {.ways = {KP_TERM_EXACT, KP_TERM_WORDS}};
	kp_text_query query;
	keep_status status =
		kp_text_query_parse(KEEP_BYTES("\"im Café\" ku* -tee OR x"), &query, NULL);

	(void)ctx;
	plan.words[1] = KEEP_BYTES("kuchen kurz");
	if (status == KEEP_OK)
		status = kp_text_query_fts5(&query, NULL, &out, NULL);
	if (status == KEEP_OK)
		status = kp_text_query_tsquery(&query, &plan, &out, NULL);
	if (status == KEEP_OK)
		status = kp_text_term_fts5(&query, 0, &out, NULL);
	if (status == KEEP_OK)
		assert_bytes_equal(kp_buffer_bytes(&out), KEEP_BYTES("\"im cafe\""));
	kp_text_query_release(&query);
	keep_buffer_release(&out);
	return status;
}

static keep_status offer_some(kp_text_ranker *ranker)
{
	keep_status status = KEEP_OK, failed = KEEP_OK;
	const kp_ranked *list;
	size_t count, offered = 0;

	for (int i = 1; i <= 4; i++) {
		kp_text_candidate candidate = {
			.id = i, .title = KEEP_BYTES("Kaffee"), .content = TEXT};
		bool matches = false;

		status = kp_text_ranker_offer(ranker, &candidate, &matches, NULL);
		offered += status == KEEP_OK;
		assert_int_equal(matches, status == KEEP_OK);
		failed = status == KEEP_OK ? failed : status;
	}
	kp_text_ranker_list(ranker, &list, &count);
	assert_int_equal(count, offered < 3 ? offered : 3);
	assert_int_equal(kp_text_ranker_matched(ranker), offered);
	return failed;
}

static keep_status run_rank(void *ctx)
{
	kp_text_statistics statistics = {.documents = 10};
	kp_snippet_options options = {.tokens = 4};
	kp_text_ranker *ranker = NULL;
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_text_query query;
	keep_status status = kp_text_query_parse(KEEP_BYTES("café kaff*"), &query, NULL);

	(void)ctx;
	if (status == KEEP_OK)
		status = kp_text_ranker_open(&query, &statistics, 3, &ranker, NULL);
	if (status == KEEP_OK)
		status = offer_some(ranker);
	if (status == KEEP_OK)
		status = kp_text_snippet(&query, TEXT, &options, &out, NULL);
	if (status == KEEP_OK)
		assert_bytes_equal(kp_buffer_bytes(&out),
				   KEEP_BYTES("…[Café], zwei Tassen [Kaffee]…"));
	kp_text_ranker_close(&ranker);
	kp_text_query_release(&query);
	keep_buffer_release(&out);
	return status;
}

static keep_status run_fuse(void *ctx)
{
	static const int64_t ids[] = {3, 1, 2};
	const kp_ranked_ids lists[] = {{ids, 3, 0}, {ids, 1, 0}};
	kp_ranked out[2];
	size_t count;
	keep_status status = kp_rank_fuse(lists, 2, 2, out, &count, NULL);

	(void)ctx;
	assert_int_equal(count, status == KEEP_OK ? 2 : 0);
	return status;
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
	(void)state;
	assert_true(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), run_words, NULL) >= 4);
	assert_true(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), run_query, NULL) >= 3);
	assert_true(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), run_rank, NULL) >= 6);
	assert_true(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), run_fuse, NULL) >= 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(lack_of_memory_leaves_nothing_behind)};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	assert_nothing_lives();
	return failed;
}
