/*
 * query.c - what people type into a search box, as a tree of terms.
 *
 * Invariants:
 *   1. The whole query is made into tokens once, as every text is; a term is a range of them. So
 *      nothing of the query but tokens reaches a backend, and what would match as a text matches
 *      as a query.
 *   2. A group node has two children or more. An AND's excluded children stand behind at least one
 *      that is not; an OR's are never excluded. So every backend can say it.
 *   3. A side of an OR that only excludes, and brackets that only exclude, exclude from what they
 *      stand in; what excludes those wants one of them.
 *   4. Recursion is KP_QUERY_DEPTH_MAX deep; leaves are at most KP_QUERY_TERMS_MAX.
 *   5. The prefix of a longer word than 48 bytes is its first 48: what a token keeps of it.
 *
 * What it does not do: fields, ranges, NEAR, weights.
 *
 * Tests: tests/unit/test_text_query.c, fuzz/fuzz_text_query.c.
 */
#include "search/text_private.h"

#include <assert.h>
#include <string.h>

#define PREFIX_BYTES 48
#define NONE ((int8_t)-1)

/* Nodes that follow each other by `next`. */
typedef struct node_list {
	int8_t head, tail;
	int count;
} node_list;

#define NODE_LIST_INIT                                                                             \
	{                                                                                          \
		.head = NONE, .tail = NONE                                                         \
	}

/* What a part of the query comes to: a node, or else exclusions, or nothing. */
typedef struct parsed_part {
	int8_t node;
	node_list excluded;
} parsed_part;

typedef struct query_parser {
	keep_bytes text;
	kp_text_query *query;
	size_t at;
	size_t token; /* the first one behind `at` */
	int leaves;
	int depth;
	keep_error *err;
} query_parser;

static keep_status parse_either(query_parser *parser, parsed_part *out);

/* ---------------------------------------------------------------- nodes */

static int8_t add_node(kp_text_query *query, kp_query_node node)
{
	assert((size_t)query->node_count < KP_COUNT(query->nodes));
	query->nodes[query->node_count] = node;
	return query->node_count++;
}

static void append_node(kp_text_query *query, node_list *list, int8_t node)
{
	if (list->tail == NONE)
		list->head = node;
	else
		query->nodes[list->tail].next = node;
	list->tail = node;
	list->count++;
}

static void append_list(kp_text_query *query, node_list *list, const node_list *more)
{
	if (!more->count)
		return;
	if (list->tail == NONE)
		list->head = more->head;
	else
		query->nodes[list->tail].next = more->head;
	list->tail = more->tail;
	list->count += more->count;
}

/* A node of that kind, or the only child; NONE of nothing. */
static int8_t group(kp_text_query *query, kp_query_kind kind, const node_list *list)
{
	if (list->count < 2)
		return list->head;
	return add_node(
		query,
		(kp_query_node){.kind = kind, .term = NONE, .child = list->head, .next = NONE});
}

/* Without none of them is with one of them. */
static int8_t one_of_excluded(kp_text_query *query, const node_list *excluded)
{
	for (int8_t node = excluded->head; node != NONE; node = query->nodes[node].next)
		query->nodes[node].is_excluded = false;
	return group(query, KP_QUERY_OR, excluded);
}

/* Invariant 2, and 3 where nothing is wanted. */
static parsed_part conjunction(kp_text_query *query, node_list *wanted, const node_list *excluded)
{
	parsed_part part = {.node = NONE, .excluded = NODE_LIST_INIT};

	if (!wanted->count) {
		part.excluded = *excluded;
		return part;
	}
	append_list(query, wanted, excluded);
	part.node = group(query, KP_QUERY_AND, wanted);
	return part;
}

/* ---------------------------------------------------------------- terms */

static bool is_same_term(const kp_text_query *query, const kp_query_term *a, const kp_query_term *b)
{
	if (a->count != b->count || a->is_prefix != b->is_prefix)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (!kp_bytes_equal(kp_token_text(&query->tokens, a->first + i),
				    kp_token_text(&query->tokens, b->first + i)))
			return false;
	}
	return true;
}

static void cut_prefix(kp_text_query *query, kp_token *token)
{
	size_t len = token->cut ? token->cut : token->len;

	if (len > PREFIX_BYTES) {
		len = PREFIX_BYTES;
		while (((unsigned char)query->tokens.text.data[token->word + len] & 0xc0) == 0x80)
			len--;
	}
	token->len = (uint16_t)len;
	token->cut = 0;
}

/* The tokens up to the byte `end` are a term; *node is NONE when there is none. */
static keep_status make_term(query_parser *parser, size_t end, bool has_star, int8_t *node)
{
	kp_text_query *query = parser->query;
	kp_token_list *tokens = &query->tokens;
	kp_query_term term = {.first = (uint16_t)parser->token};
	size_t found = 0;

	*node = NONE;
	while (parser->token < tokens->count && tokens->items[parser->token].at < end)
		parser->token++;
	term.count = (uint16_t)(parser->token - term.first);
	if (!term.count)
		return KEEP_OK;
	if (parser->leaves == KP_QUERY_TERMS_MAX)
		return kp_fail(parser->err, KEEP_INVALID, "the query has more than %d terms",
			       KP_QUERY_TERMS_MAX);
	if (has_star && tokens->items[parser->token - 1].end == end) {
		term.is_prefix = true;
		cut_prefix(query, &tokens->items[parser->token - 1]);
	}
	while (found < query->term_count && !is_same_term(query, &query->terms[found], &term))
		found++;
	if (found == query->term_count)
		query->terms[query->term_count++] = term;
	parser->leaves++;
	*node = add_node(query, (kp_query_node){.kind = KP_QUERY_TERM,
						.term = (int8_t)found,
						.child = NONE,
						.next = NONE});
	return KEEP_OK;
}

/* ---------------------------------------------------------------- characters of the language */

static bool is_blank(char byte)
{
	return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* The bytes of the quotation mark there, also as telephones write it; 0: none. */
static size_t quote_width(const query_parser *parser, size_t at)
{
	const char *text = parser->text.data + at;

	if (at >= parser->text.len)
		return 0;
	if (*text == '"')
		return 1;
	if (parser->text.len - at < 3 || memcmp(text, "\xe2\x80", 2) != 0)
		return 0;
	return (unsigned char)text[2] >= 0x9c && (unsigned char)text[2] <= 0x9f ? 3 : 0;
}

static void skip_blanks(query_parser *parser)
{
	while (parser->at < parser->text.len && is_blank(parser->text.data[parser->at]))
		parser->at++;
}

static bool ends_word(const query_parser *parser, size_t at)
{
	char byte;

	if (at >= parser->text.len)
		return true;
	byte = parser->text.data[at];
	return is_blank(byte) || byte == '(' || byte == ')' || quote_width(parser, at);
}

/* Is the word `word` here, in capitals and whole? */
static bool stands_here(const query_parser *parser, const char *word)
{
	size_t len = strlen(word);

	return parser->text.len - parser->at >= len &&
	       memcmp(parser->text.data + parser->at, word, len) == 0 &&
	       ends_word(parser, parser->at + len);
}

static bool skip_word(query_parser *parser, const char *word)
{
	if (!stands_here(parser, word))
		return false;
	parser->at += strlen(word);
	/* An operator is no term: its token is passed over. */
	while (parser->token < parser->query->tokens.count &&
	       parser->query->tokens.items[parser->token].at < parser->at)
		parser->token++;
	return true;
}

static bool has_star_at(const query_parser *parser, size_t at)
{
	return at < parser->text.len && parser->text.data[at] == '*';
}

/* ---------------------------------------------------------------- the grammar */

static keep_status parse_quoted(query_parser *parser, size_t width, int8_t *node)
{
	size_t close = parser->at + width;

	*node = NONE;
	while (close < parser->text.len && !quote_width(parser, close))
		close++;
	parser->at += width;
	if (close == parser->text.len) /* left open: words follow */
		return KEEP_OK;
	parser->at = close + quote_width(parser, close);
	return make_term(parser, close, has_star_at(parser, parser->at), node);
}

static keep_status parse_word(query_parser *parser, int8_t *node)
{
	size_t end = parser->at, star;

	while (!ends_word(parser, end))
		end++;
	star = end;
	while (star > parser->at && parser->text.data[star - 1] == '*')
		star--;
	parser->at = end;
	return make_term(parser, star, has_star_at(parser, star), node);
}

/* Brackets, a phrase or a word: what stands here; nothing is possible, and moves on. */
static keep_status parse_one(query_parser *parser, parsed_part *out)
{
	size_t width = quote_width(parser, parser->at);
	keep_status status;

	*out = (parsed_part){.node = NONE, .excluded = NODE_LIST_INIT};
	if (width)
		return parse_quoted(parser, width, &out->node);
	if (parser->text.data[parser->at] != '(')
		return parse_word(parser, &out->node);
	parser->at++;
	if (parser->depth == KP_QUERY_DEPTH_MAX)
		return KEEP_OK;
	parser->depth++;
	status = parse_either(parser, out);
	parser->depth--;
	if (parser->at < parser->text.len && parser->text.data[parser->at] == ')')
		parser->at++;
	return status;
}

/* True: what follows is excluded. */
static bool skip_signs(query_parser *parser)
{
	bool is_excluded = false;

	while (parser->at < parser->text.len) {
		if (parser->text.data[parser->at] == '-') {
			parser->at++;
			is_excluded = parser->at < parser->text.len &&
				      !is_blank(parser->text.data[parser->at]);
		} else if (skip_word(parser, "NOT")) {
			is_excluded = true;
		} else if (!skip_word(parser, "AND")) {
			break;
		}
		skip_blanks(parser);
	}
	return is_excluded;
}

/* Whether an OR, the end, or the bracket of whoever called ends what stands side by side. */
static bool is_side_over(query_parser *parser)
{
	skip_blanks(parser);
	while (parser->depth == 0 && parser->at < parser->text.len &&
	       parser->text.data[parser->at] == ')') {
		parser->at++;
		skip_blanks(parser);
	}
	return parser->at >= parser->text.len || parser->text.data[parser->at] == ')' ||
	       stands_here(parser, "OR");
}

static keep_status parse_side(query_parser *parser, parsed_part *out)
{
	node_list wanted = NODE_LIST_INIT, excluded = NODE_LIST_INIT;

	while (!is_side_over(parser)) {
		bool is_excluded = skip_signs(parser);
		parsed_part part;
		keep_status status;

		if (is_side_over(parser))
			break;
		status = parse_one(parser, &part);
		if (status != KEEP_OK)
			return status;
		if (part.node == NONE && is_excluded)
			part.node = one_of_excluded(parser->query, &part.excluded);
		else if (part.node == NONE)
			append_list(parser->query, &excluded, &part.excluded);
		else if (is_excluded) {
			parser->query->nodes[part.node].is_excluded = true;
			append_node(parser->query, &excluded, part.node);
			continue;
		}
		if (part.node != NONE)
			append_node(parser->query, &wanted, part.node);
	}
	*out = conjunction(parser->query, &wanted, &excluded);
	return KEEP_OK;
}

static keep_status parse_either(query_parser *parser, parsed_part *out)
{
	node_list sides = NODE_LIST_INIT, either = NODE_LIST_INIT, excluded = NODE_LIST_INIT;

	do {
		parsed_part side;
		keep_status status = parse_side(parser, &side);

		if (status != KEEP_OK)
			return status;
		if (side.node != NONE)
			append_node(parser->query, &sides, side.node);
		append_list(parser->query, &excluded, &side.excluded);
	} while (skip_word(parser, "OR"));
	if (sides.count)
		append_node(parser->query, &either, group(parser->query, KP_QUERY_OR, &sides));
	*out = conjunction(parser->query, &either, &excluded);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- the whole query */

/* What is excluded is marked where its parent knows it, and terms where they are wanted. */
static void mark(kp_text_query *query, int8_t index, bool is_wanted)
{
	kp_query_node *node = &query->nodes[index];

	if (node->kind == KP_QUERY_TERM)
		query->terms[node->term].is_wanted |= is_wanted;
	for (int8_t child = node->child; child != NONE; child = query->nodes[child].next)
		mark(query, child, is_wanted != query->nodes[child].is_excluded);
}

/* A query of operators alone means their words. */
static keep_status parse_as_words(query_parser *parser, parsed_part *out)
{
	node_list wanted = NODE_LIST_INIT, excluded = NODE_LIST_INIT;
	keep_status status = KEEP_OK;

	parser->token = 0;
	while (parser->token < parser->query->tokens.count && status == KEEP_OK) {
		int8_t node;

		status = make_term(parser, parser->query->tokens.items[parser->token].end, false,
				   &node);
		if (status == KEEP_OK && node != NONE)
			append_node(parser->query, &wanted, node);
	}
	*out = conjunction(parser->query, &wanted, &excluded);
	return status;
}

static keep_status parse_query(query_parser *parser)
{
	kp_text_query *query = parser->query;
	parsed_part whole;
	keep_status status = kp_text_tokens(parser->text, &query->tokens, parser->err);

	if (status != KEEP_OK)
		return kp_prefix(parser->err, status, "the query");
	if (query->tokens.count > KP_QUERY_TOKENS_MAX)
		return kp_fail(parser->err, KEEP_INVALID, "the query has more than %d words",
			       KP_QUERY_TOKENS_MAX);
	status = parse_either(parser, &whole);
	if (status == KEEP_OK && whole.node == NONE && !whole.excluded.count)
		status = parse_as_words(parser, &whole);
	if (status != KEEP_OK)
		return status;
	if (whole.node == NONE)
		return kp_fail(parser->err, KEEP_INVALID, "%s",
			       whole.excluded.count ? "the query only excludes"
						    : "the query has no word in it");
	query->root = whole.node;
	mark(query, query->root, true);
	return KEEP_OK;
}

keep_status kp_text_query_parse(keep_bytes text, kp_text_query *query, keep_error *err)
{
	query_parser parser = {.text = text, .query = query, .err = err};
	keep_status status;

	*query = (kp_text_query){.root = NONE};
	if (text.len > KP_QUERY_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "the query has %zu bytes, the limit is %d",
			       text.len, KP_QUERY_BYTES_MAX);
	status = parse_query(&parser);
	if (status != KEEP_OK)
		kp_text_query_release(query);
	return status;
}

void kp_text_query_release(kp_text_query *query)
{
	kp_token_list_release(&query->tokens);
	*query = (kp_text_query){.root = NONE};
}
