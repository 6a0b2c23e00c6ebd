/*
 * match.c - does a text have a term, and do its terms make the query true?
 *
 * Invariants:
 *   1. A term is its tokens one after the other, the last one as a beginning where it is a prefix;
 *      hits may overlap, and each counts, as FTS5 counts them.
 *   2. A phrase lies within the title or within the content; the terms of a query may lie in both.
 *
 * Time is the text's tokens for a word; for a phrase at worst tokens * the phrase's, of which there
 * are at most KP_QUERY_TOKENS_MAX, and only where the text repeats the phrase's beginning.
 *
 * This is what a match means; FTS5 and PostgreSQL are only faster ways to the same answer.
 *
 * Tests: tests/unit/test_text_rank.c, tests/contract/test_text_backends.c.
 */
#include "search/text_private.h"

#include <string.h>

static bool is_token(keep_bytes wanted, bool is_prefix, const kp_token_list *text, size_t index)
{
	const kp_token *token = &text->items[index];

	/* The hash of a longer word is no part of it. */
	if (is_prefix ? (token->cut ? token->cut : token->len) < wanted.len
		      : token->len != wanted.len)
		return false;
	return memcmp(text->text.data + token->word, wanted.data, wanted.len) == 0;
}

bool kp_term_next(const kp_text_query *query, const kp_query_term *term, const kp_token_list *text,
		  size_t from, size_t *at)
{
	keep_bytes first = kp_token_text(&query->tokens, term->first);
	bool is_prefix = term->is_prefix && term->count == 1;

	for (size_t start = from; start + term->count <= text->count; start++) {
		size_t i = 1;

		if (!is_token(first, is_prefix, text, start))
			continue;
		while (i < term->count &&
		       is_token(kp_token_text(&query->tokens, term->first + i),
				term->is_prefix && i + 1u == term->count, text, start + i))
			i++;
		if (i == term->count) {
			*at = start;
			return true;
		}
	}
	return false;
}

size_t kp_term_hits(const kp_text_query *query, const kp_query_term *term,
		    const kp_token_list *text)
{
	size_t count = 0, from = 0, at;

	while (kp_term_next(query, term, text, from, &at)) {
		count++;
		from = at + 1;
	}
	return count;
}

static bool node_holds(const kp_text_query *query, int8_t index, const bool *has)
{
	const kp_query_node *node = &query->nodes[index];

	if (node->kind == KP_QUERY_TERM)
		return has[node->term];
	for (int8_t child = node->child; child >= 0; child = query->nodes[child].next) {
		bool holds = node_holds(query, child, has) != query->nodes[child].is_excluded;

		if (holds == (node->kind == KP_QUERY_OR))
			return holds;
	}
	return node->kind == KP_QUERY_AND;
}

bool kp_query_holds(const kp_text_query *query, const bool has[KP_QUERY_TERMS_MAX])
{
	return node_holds(query, query->root, has);
}

keep_status kp_text_matches(const kp_text_query *query, const kp_text_candidate *candidate,
			    bool *matches, keep_error *err)
{
	kp_token_list title = {.items = NULL}, content = {.items = NULL};
	bool has[KP_QUERY_TERMS_MAX] = {false};
	keep_status status = kp_text_tokens(candidate->title, &title, err);
	size_t at;

	*matches = false;
	if (status == KEEP_OK)
		status = kp_text_tokens(candidate->content, &content, err);
	if (status == KEEP_OK) {
		for (size_t i = 0; i < query->term_count; i++)
			has[i] = kp_term_next(query, &query->terms[i], &title, 0, &at) ||
				 kp_term_next(query, &query->terms[i], &content, 0, &at);
		*matches = kp_query_holds(query, has);
	}
	kp_token_list_release(&title);
	kp_token_list_release(&content);
	return status;
}
