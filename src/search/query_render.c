/*
 * query_render.c - a parsed query in the languages of FTS5 and of PostgreSQL.
 *
 * Invariants:
 *   1. What is written is made of tokens between quotes (which hold neither quote nor backslash)
 * and of our own operators; each group is in brackets. Nothing else of a query can come through.
 *   2. For texts within PostgreSQL's limits the tsquery finds exactly what matches. For a longer
 *      one, which has the word "!", a phrase is wanted as its words alone and is excluded only
 *      where it is sure: never too little is found.
 *   3. A plan's ANY is left out so that, again, never too little is found.
 *
 * Tests: tests/unit/test_text_query.c, tests/contract/test_text_backends.c.
 */
#include "search/text_private.h"

#include <string.h>

/* How a backend spells it. */
typedef struct query_dialect {
	const char *both, *either, *without;
	/* A term; with `word` in the place of its last token unless that is absent. */
	keep_status (*term)(const kp_text_query *query, const kp_query_term *term, keep_bytes word,
			    bool is_wanted, keep_buffer *out, keep_error *err);
} query_dialect;

/* One rendering. */
typedef struct query_writer {
	const query_dialect *dialect;
	const kp_text_query *query;
	const kp_query_plan *plan;
	keep_buffer *out;
	keep_error *err;
} query_writer;

static const keep_bytes no_word = {NULL, 0};

/* ---------------------------------------------------------------- terms */

/* The tokens of a term with `quote` around each and `between` two of them. */
static keep_status append_tokens(const kp_text_query *query, const kp_query_term *term,
				 keep_bytes word, const char *quote, const char *between,
				 keep_buffer *out, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < term->count && status == KEEP_OK; i++) {
		bool is_last = i + 1u == term->count;

		status = kp_buffer_append_text(out, quote, err);
		if (status == KEEP_OK && is_last && word.data)
			status = kp_buffer_append(out, word, err);
		else if (status == KEEP_OK)
			status = kp_buffer_append(
				out, kp_token_text(&query->tokens, term->first + i), err);
		if (status == KEEP_OK)
			status = kp_buffer_append_text(out, quote, err);
		if (status == KEEP_OK && !is_last)
			status = kp_buffer_append_text(out, between, err);
	}
	return status;
}

static keep_status append_fts5_term(const kp_text_query *query, const kp_query_term *term,
				    keep_bytes word, bool is_wanted, keep_buffer *out,
				    keep_error *err)
{
	bool is_prefix = term->is_prefix && !word.data;
	keep_status status = kp_buffer_append_text(out, "\"", err);

	(void)is_wanted;
	if (status == KEEP_OK)
		status = append_tokens(query, term, word, "", " ", out, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, is_prefix ? "\"*" : "\"", err);
	return status;
}

static keep_status append_lexemes(const kp_text_query *query, const kp_query_term *term,
				  keep_bytes word, const char *between, keep_buffer *out,
				  keep_error *err)
{
	keep_status status = append_tokens(query, term, word, "'", between, out, err);

	if (status == KEEP_OK && term->is_prefix && !word.data)
		status = kp_buffer_append_text(out, ":*", err);
	return status;
}

static keep_status append_tsquery_term(const kp_text_query *query, const kp_query_term *term,
				       keep_bytes word, bool is_wanted, keep_buffer *out,
				       keep_error *err)
{
	bool is_loose = is_wanted && term->count > 1;
	keep_status status = kp_buffer_append_text(out, is_loose ? "((" : "(", err);

	if (status == KEEP_OK)
		status = append_lexemes(query, term, word, " <-> ", out, err);
	if (status == KEEP_OK && is_loose)
		status = kp_buffer_append_text(out, ") | ('!' & ", err);
	if (status == KEEP_OK && is_loose)
		status = append_lexemes(query, term, word, " & ", out, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, is_loose ? "))" : ")", err);
	return status;
}

static const query_dialect fts5 = {
	.both = " AND ", .either = " OR ", .without = " NOT ", .term = append_fts5_term};
static const query_dialect tsquery = {
	.both = " & ", .either = " | ", .without = " & !", .term = append_tsquery_term};

/* ---------------------------------------------------------------- groups */

static kp_term_way way_of(const query_writer *writer, int8_t term)
{
	return writer->plan ? writer->plan->ways[term] : KP_TERM_EXACT;
}

/* Does the plan leave nothing of this node to ask for? A wanted node may be asked for too widely,
   an excluded one too narrowly. */
static bool is_open(const query_writer *writer, int8_t index, bool is_wanted)
{
	const kp_query_node *nodes = writer->query->nodes, *node = &nodes[index];
	bool one_is = false, all_are = true, excluded_is = false;

	if (node->kind == KP_QUERY_TERM)
		return way_of(writer, node->term) == KP_TERM_ANY ||
		       (way_of(writer, node->term) == KP_TERM_WORDS &&
			!writer->plan->words[node->term].len);
	for (int8_t child = node->child; child >= 0; child = nodes[child].next) {
		if (nodes[child].is_excluded) {
			excluded_is |= is_open(writer, child, !is_wanted);
			continue;
		}
		one_is |= is_open(writer, child, is_wanted);
		all_are &= is_open(writer, child, is_wanted);
	}
	if (node->kind == KP_QUERY_OR)
		return is_wanted ? one_is : all_are;
	return is_wanted ? all_are : one_is || excluded_is;
}

/* A term as one of several words. */
static keep_status append_words(const query_writer *writer, int8_t index, bool is_wanted)
{
	const kp_query_term *term = &writer->query->terms[index];
	keep_bytes rest = writer->plan->words[index];
	const char *between = "(";
	keep_status status = KEEP_OK;

	while (rest.len && status == KEEP_OK) {
		const char *blank = memchr(rest.data, ' ', rest.len);
		keep_bytes word = {rest.data, blank ? (size_t)(blank - rest.data) : rest.len};
		size_t passed = word.len + (blank ? 1 : 0);

		rest = (keep_bytes){rest.data + passed, rest.len - passed};
		status = kp_buffer_append_text(writer->out, between, writer->err);
		if (status == KEEP_OK)
			status = writer->dialect->term(writer->query, term, word, is_wanted,
						       writer->out, writer->err);
		between = writer->dialect->either;
	}
	if (status == KEEP_OK)
		status = kp_buffer_append_text(writer->out, ")", writer->err);
	return status;
}

static keep_status append_node(const query_writer *writer, int8_t index, bool is_wanted);

/* Those children of a group that are excluded, or those that are not, in brackets. */
static keep_status append_children(const query_writer *writer, const kp_query_node *node,
				   bool is_excluded, bool is_wanted)
{
	const kp_query_node *nodes = writer->query->nodes;
	bool is_either = is_excluded || node->kind == KP_QUERY_OR;
	const char *between = is_excluded ? writer->dialect->without : "";
	const char *bracket = "(";
	keep_status status = KEEP_OK;

	for (int8_t child = node->child; child >= 0 && status == KEEP_OK;
	     child = nodes[child].next) {
		if (nodes[child].is_excluded != is_excluded || is_open(writer, child, is_wanted))
			continue;
		status = kp_buffer_append_text(writer->out, between, writer->err);
		if (status == KEEP_OK)
			status = kp_buffer_append_text(writer->out, bracket, writer->err);
		if (status == KEEP_OK)
			status = append_node(writer, child, is_wanted);
		between = is_either ? writer->dialect->either : writer->dialect->both;
		bracket = "";
	}
	if (status == KEEP_OK && !*bracket)
		status = kp_buffer_append_text(writer->out, ")", writer->err);
	return status;
}

static keep_status append_node(const query_writer *writer, int8_t index, bool is_wanted)
{
	const kp_query_node *node = &writer->query->nodes[index];
	keep_status status;

	if (node->kind == KP_QUERY_TERM && way_of(writer, node->term) == KP_TERM_WORDS)
		return append_words(writer, node->term, is_wanted);
	if (node->kind == KP_QUERY_TERM)
		return writer->dialect->term(writer->query, &writer->query->terms[node->term],
					     no_word, is_wanted, writer->out, writer->err);
	status = kp_buffer_append_text(writer->out, "(", writer->err);
	if (status == KEEP_OK)
		status = append_children(writer, node, false, is_wanted);
	if (status == KEEP_OK)
		status = append_children(writer, node, true, !is_wanted);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(writer->out, ")", writer->err);
	return status;
}

/* ---------------------------------------------------------------- the doors */

static keep_status render(const query_writer *writer)
{
	writer->out->len = 0;
	if (is_open(writer, writer->query->root, true))
		return KEEP_OK;
	return append_node(writer, writer->query->root, true);
}

keep_status kp_text_query_fts5(const kp_text_query *query, const kp_query_plan *plan,
			       keep_buffer *out, keep_error *err)
{
	return render(&(query_writer){&fts5, query, plan, out, err});
}

keep_status kp_text_query_tsquery(const kp_text_query *query, const kp_query_plan *plan,
				  keep_buffer *out, keep_error *err)
{
	return render(&(query_writer){&tsquery, query, plan, out, err});
}

keep_status kp_text_term_fts5(const kp_text_query *query, size_t term, keep_buffer *out,
			      keep_error *err)
{
	out->len = 0;
	return append_fts5_term(query, &query->terms[term], no_word, true, out, err);
}

keep_status kp_text_term_tsquery(const kp_text_query *query, size_t term, keep_buffer *out,
				 keep_error *err)
{
	out->len = 0;
	return append_tsquery_term(query, &query->terms[term], no_word, true, out, err);
}
