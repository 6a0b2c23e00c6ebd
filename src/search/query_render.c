/*
 * query_render.c - a parsed query in the languages of FTS5 and of PostgreSQL.
 *
 * Invariants:
 *   1. What is written is made of tokens between quotes (which hold neither quote nor backslash)
 * and of our own operators; each group is in brackets. Nothing else of a query can come through.
 *   2. For texts within PostgreSQL's limits the tsquery finds exactly what matches. For a longer
 *      one, which has the word "!", a phrase is wanted as its words alone and is excluded only
 *      where it is sure: never too little is found.
 *
 * Tests: tests/unit/test_text_query.c, tests/contract/test_text_backends.c.
 */
#include "search/text_private.h"

/* How a backend spells it. */
typedef struct query_dialect {
	const char *both, *either, *without;
	keep_status (*term)(const kp_text_query *query, const kp_query_term *term, bool is_wanted,
			    keep_buffer *out, keep_error *err);
} query_dialect;

static keep_status append_token(const kp_text_query *query, size_t index, keep_buffer *out,
				keep_error *err)
{
	return kp_buffer_append(out, kp_token_text(&query->tokens, index), err);
}

/* The tokens of a term with `open` before each, `close` behind it and `between` two of them. */
static keep_status append_tokens(const kp_text_query *query, const kp_query_term *term,
				 const char *open, const char *close, const char *between,
				 keep_buffer *out, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < term->count && status == KEEP_OK; i++) {
		bool is_last = i + 1u == term->count;

		status = kp_buffer_append_text(out, open, err);
		if (status == KEEP_OK)
			status = append_token(query, term->first + i, out, err);
		if (status == KEEP_OK)
			status = kp_buffer_append_text(out, close, err);
		if (status == KEEP_OK && !is_last)
			status = kp_buffer_append_text(out, between, err);
	}
	return status;
}

static keep_status append_fts5_term(const kp_text_query *query, const kp_query_term *term,
				    bool is_wanted, keep_buffer *out, keep_error *err)
{
	keep_status status = kp_buffer_append_text(out, "\"", err);

	(void)is_wanted;
	if (status == KEEP_OK)
		status = append_tokens(query, term, "", "", " ", out, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, term->is_prefix ? "\"*" : "\"", err);
	return status;
}

static keep_status append_tsquery_tokens(const kp_text_query *query, const kp_query_term *term,
					 const char *between, keep_buffer *out, keep_error *err)
{
	keep_status status = append_tokens(query, term, "'", "'", between, out, err);

	if (status == KEEP_OK && term->is_prefix)
		status = kp_buffer_append_text(out, ":*", err);
	return status;
}

static keep_status append_tsquery_term(const kp_text_query *query, const kp_query_term *term,
				       bool is_wanted, keep_buffer *out, keep_error *err)
{
	bool is_loose = is_wanted && term->count > 1;
	keep_status status = kp_buffer_append_text(out, is_loose ? "((" : "(", err);

	if (status == KEEP_OK)
		status = append_tsquery_tokens(query, term, " <-> ", out, err);
	if (status == KEEP_OK && is_loose)
		status = kp_buffer_append_text(out, ") | ('!' & ", err);
	if (status == KEEP_OK && is_loose)
		status = append_tsquery_tokens(query, term, " & ", out, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, is_loose ? "))" : ")", err);
	return status;
}

static const query_dialect fts5 = {
	.both = " AND ", .either = " OR ", .without = " NOT ", .term = append_fts5_term};
static const query_dialect tsquery = {
	.both = " & ", .either = " | ", .without = " & !", .term = append_tsquery_term};

static keep_status append_node(const query_dialect *dialect, const kp_text_query *query,
			       int8_t index, bool is_wanted, keep_buffer *out, keep_error *err);

/* Those children of a group that are excluded, or those that are not, in brackets. */
static keep_status append_children(const query_dialect *dialect, const kp_text_query *query,
				   const kp_query_node *node, bool is_excluded, bool is_wanted,
				   keep_buffer *out, keep_error *err)
{
	bool is_either = is_excluded || node->kind == KP_QUERY_OR;
	const char *between = "(";
	keep_status status = KEEP_OK;

	for (int8_t child = node->child; child >= 0 && status == KEEP_OK;
	     child = query->nodes[child].next) {
		if (query->nodes[child].is_excluded != is_excluded)
			continue;
		status = kp_buffer_append_text(out, between, err);
		if (status == KEEP_OK)
			status = append_node(dialect, query, child, is_wanted, out, err);
		between = is_either ? dialect->either : dialect->both;
	}
	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, ")", err);
	return status;
}

static keep_status append_node(const query_dialect *dialect, const kp_text_query *query,
			       int8_t index, bool is_wanted, keep_buffer *out, keep_error *err)
{
	const kp_query_node *node = &query->nodes[index];
	bool excludes = false;
	keep_status status;

	if (node->kind == KP_QUERY_TERM)
		return dialect->term(query, &query->terms[node->term], is_wanted, out, err);
	for (int8_t child = node->child; child >= 0; child = query->nodes[child].next)
		excludes |= query->nodes[child].is_excluded;
	status = kp_buffer_append_text(out, "(", err);
	if (status == KEEP_OK)
		status = append_children(dialect, query, node, false, is_wanted, out, err);
	if (status == KEEP_OK && excludes)
		status = kp_buffer_append_text(out, dialect->without, err);
	if (status == KEEP_OK && excludes)
		status = append_children(dialect, query, node, true, !is_wanted, out, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, ")", err);
	return status;
}

keep_status kp_text_query_fts5(const kp_text_query *query, keep_buffer *out, keep_error *err)
{
	out->len = 0;
	return append_node(&fts5, query, query->root, true, out, err);
}

keep_status kp_text_query_tsquery(const kp_text_query *query, keep_buffer *out, keep_error *err)
{
	out->len = 0;
	return append_node(&tsquery, query, query->root, true, out, err);
}

keep_status kp_text_term_fts5(const kp_text_query *query, size_t term, keep_buffer *out,
			      keep_error *err)
{
	out->len = 0;
	return append_fts5_term(query, &query->terms[term], true, out, err);
}

keep_status kp_text_term_tsquery(const kp_text_query *query, size_t term, keep_buffer *out,
				 keep_error *err)
{
	out->len = 0;
	return append_tsquery_term(query, &query->terms[term], true, out, err);
}
