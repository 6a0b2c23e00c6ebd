/*
 * test_text_rank.c - candidates are in when the query matches them, and in the order of BM25.
 */
#include "keep_test.h"
#include "search/search.h"

#include <math.h>

static bool matches(const char *query_text, const char *title, const char *content)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_text_candidate candidate = {.title = keep_bytes_of(title),
				       .content = keep_bytes_of(content)};
	kp_text_query query;
	bool is_match;

	OK(kp_text_query_parse(keep_bytes_of(query_text), &query, &err));
	OK(kp_text_matches(&query, &candidate, &is_match, &err));
	kp_text_query_release(&query);
	return is_match;
}

static void a_match_is_what_the_query_says(void **state)
{
	(void)state;
	assert_true(matches("straße", NULL, "In der STRASSE."));
	assert_true(matches("two words", NULL, "words, then two"));
	assert_false(matches("\"two words\"", NULL, "words, then two"));
	assert_true(matches("\"two words\"", NULL, "two two words"));
	assert_true(matches("京都", NULL, "東京都"));
	assert_false(matches("都京", NULL, "東京都"));
	assert_true(matches("wor*", NULL, "two words"));
	assert_false(matches("wor", NULL, "two words"));
	assert_true(matches("\"two wor\"*", NULL, "two words"));
	assert_false(matches("two -words", NULL, "two words"));
	assert_true(matches("a OR b", NULL, "b"));
	assert_false(matches("(a OR b) c", NULL, "b"));
	assert_true(matches("c -(a b)", NULL, "c a"));
	assert_true(matches("c -(a -b)", NULL, "c a b"));
	assert_false(matches("c -(a -b)", NULL, "c a"));
}

static void a_phrase_does_not_reach_from_the_title_into_the_content(void **state)
{
	(void)state;
	assert_true(matches("a b", "a", "b"));
	assert_false(matches("\"a b\"", "a", "b"));
	assert_true(matches("\"a b\"", "a b", NULL));
	assert_false(matches("b -a", "a", "b"));
}

static void the_hash_of_a_long_word_is_no_part_of_a_prefix(void **state)
{
	char text[101], query[66];

	(void)state;
	memset(text, 'x', 100);
	text[100] = '\0';
	assert_true(matches(text, NULL, text));
	memset(query, 'x', 64);
	memcpy(query + 60, "*", 2);
	assert_true(matches(query, NULL, text));
	memcpy(query + 48, "0*", 3);
	text[60] = 'y';
	memcpy(query + 40, "y*", 3);
	assert_false(matches(query, NULL, text));
}

/* Ranks texts with ids from 1, and gives the ids back. */
static size_t rank(const char *query_text, const kp_text_statistics *statistics, size_t limit,
		   const kp_text_candidate *candidates, size_t count, bool backwards,
		   kp_ranked *out)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_text_ranker *ranker = NULL;
	const kp_ranked *list;
	kp_text_query query;
	size_t found;

	OK(kp_text_query_parse(keep_bytes_of(query_text), &query, &err));
	OK(kp_text_ranker_open(&query, statistics, limit, &ranker, &err));
	for (size_t i = 0; i < count; i++)
		OK(kp_text_ranker_offer(ranker, &candidates[backwards ? count - 1 - i : i], NULL,
					&err));
	kp_text_ranker_list(ranker, &list, &found);
	memcpy(out, list, found * sizeof *out);
	assert_true(kp_text_ranker_matched(ranker) >= found);
	kp_text_ranker_close(&ranker);
	kp_text_query_release(&query);
	return found;
}

#define CONTENT(number, text)                                                                      \
	{                                                                                          \
		.id = (number), .content = {(text), sizeof(text) - 1 }                             \
	}

static void the_score_is_bm25(void **state)
{
	static const kp_text_candidate candidates[] = {CONTENT(1, "cat dog cat bird")};
	kp_text_statistics statistics = {
		.documents = 100, .tokens_mean = 8, .documents_of = {9, 4}};
	kp_ranked ranked[1];
	double cat = log((100 - 9 + 0.5) / 9.5), bird = log((100 - 4 + 0.5) / 4.5);
	double room = 1.2 * (1 - 0.75 + 0.75 * 4 / 8);

	(void)state;
	assert_int_equal(rank("cat bird", &statistics, 1, candidates, 1, false, ranked), 1);
	assert_true(fabs(ranked[0].score - (cat * 2 * 2.2 / (2 + room) + bird * 2.2 / (1 + room))) <
		    1e-12);
}

static void more_hits_shorter_texts_and_rarer_words_are_first(void **state)
{
	static const kp_text_candidate candidates[] = {
		CONTENT(1, "cat and more words in a longer text than the others"),
		CONTENT(2, "cat and cat"),
		CONTENT(3, "cat and dog"),
		CONTENT(4, "nothing of it"),
		CONTENT(5, "zebra and dog"),
	};
	kp_text_statistics statistics = {
		.documents = 1000, .tokens_mean = 4, .documents_of = {200, 2}};
	kp_ranked ranked[10];

	(void)state;
	assert_int_equal(rank("cat OR zebra", &statistics, 10, candidates, 5, false, ranked), 4);
	assert_int_equal(ranked[0].id, 5);
	assert_int_equal(ranked[1].id, 2);
	assert_int_equal(ranked[2].id, 3);
	assert_int_equal(ranked[3].id, 1);
}

static void a_hit_in_a_title_weighs_more(void **state)
{
	static const kp_text_candidate candidates[] = {
		{.id = 1, .title = {"cat", 3}, .content = {"dog dog", 7}},
		{.id = 2, .title = {"dog", 3}, .content = {"cat dog", 7}},
	};
	kp_text_statistics statistics = {
		.documents = 100, .tokens_mean = 3, .documents_of = {5}, .title_weight = 4};
	kp_ranked ranked[2];

	(void)state;
	assert_int_equal(rank("cat", &statistics, 2, candidates, 2, false, ranked), 2);
	assert_int_equal(ranked[0].id, 1);
	assert_true(ranked[0].score > ranked[1].score);
}

static void the_best_are_kept_in_any_order_and_equal_ones_newer_first(void **state)
{
	kp_text_candidate candidates[500];
	kp_text_statistics statistics = {.documents = 1000, .tokens_mean = 4, .documents_of = {9}};
	kp_ranked forwards[20], backwards[20];

	(void)state;
	for (int i = 0; i < 500; i++)
		candidates[i] = (kp_text_candidate){.id = i + 1,
						    .content = i % 7 ? KEEP_BYTES("cat dog")
								     : KEEP_BYTES("cat cat")};
	assert_int_equal(rank("cat", &statistics, 20, candidates, 500, false, forwards), 20);
	assert_int_equal(rank("cat", &statistics, 20, candidates, 500, true, backwards), 20);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(forwards[i].id, 498 - 7 * i);
		assert_int_equal(forwards[i].id, backwards[i].id);
		assert_true(forwards[i].score == backwards[i].score);
	}
}

static void statistics_that_make_no_sense_give_finite_scores(void **state)
{
	static const kp_text_candidate candidates[] = {CONTENT(1, "cat")};
	const kp_text_statistics statistics[] = {
		{.documents = 0},
		{.documents = -5, .tokens_mean = -1, .documents_of = {-3}, .title_weight = -1},
		{.documents = NAN, .tokens_mean = NAN, .documents_of = {INFINITY}},
		{.documents = 10, .documents_of = {1e18}},
	};
	kp_ranked ranked[1];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(statistics); i++) {
		assert_int_equal(rank("cat", &statistics[i], 1, candidates, 1, false, ranked), 1);
		assert_true(isfinite(ranked[0].score) && ranked[0].score > 0);
	}
}

static void a_bad_candidate_is_refused_and_the_ranker_goes_on(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_text_statistics statistics = {.documents = 10};
	kp_text_candidate bad = CONTENT(1, "cat \xff"), good = CONTENT(2, "cat");
	kp_text_ranker *ranker = NULL;
	const kp_ranked *list;
	kp_text_query query;
	size_t count;
	bool is_match;

	(void)state;
	OK(kp_text_query_parse(KEEP_BYTES("cat"), &query, &err));
	assert_int_equal(kp_text_ranker_open(&query, &statistics, 0, &ranker, &err), KEEP_INVALID);
	OK(kp_text_ranker_open(&query, &statistics, 5, &ranker, &err));
	assert_int_equal(kp_text_ranker_offer(ranker, &bad, &is_match, &err), KEEP_INVALID);
	OK(kp_text_ranker_offer(ranker, &good, &is_match, &err));
	assert_true(is_match);
	kp_text_ranker_list(ranker, &list, &count);
	assert_int_equal(count, 1);
	assert_int_equal(list[0].id, 2);
	kp_text_ranker_close(&ranker);
	kp_text_ranker_close(&ranker);
	kp_text_query_release(&query);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_match_is_what_the_query_says),
		cmocka_unit_test(a_phrase_does_not_reach_from_the_title_into_the_content),
		cmocka_unit_test(the_hash_of_a_long_word_is_no_part_of_a_prefix),
		cmocka_unit_test(the_score_is_bm25),
		cmocka_unit_test(more_hits_shorter_texts_and_rarer_words_are_first),
		cmocka_unit_test(a_hit_in_a_title_weighs_more),
		cmocka_unit_test(the_best_are_kept_in_any_order_and_equal_ones_newer_first),
		cmocka_unit_test(statistics_that_make_no_sense_give_finite_scores),
		cmocka_unit_test(a_bad_candidate_is_refused_and_the_ranker_goes_on),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	assert_nothing_lives();
	return failed;
}
