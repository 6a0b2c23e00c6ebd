/*
 * text_search.c - asking an index of words: candidates from it and from behind it, one ranking.
 *
 * The index says which rows may match; the ranker (src/search) reads their texts, decides, and
 * scores. Rows that the index does not hold yet are read one by one. So what was committed is
 * found, whoever folded how far. What a query costs is bounded by the newest CANDIDATES_MAX of the
 * rows that the index finds: if there are more, the answer says that it is not exact. The bounds
 * and what they cost are measured in src/search/README.md; prefixes are asked for by their words,
 * and phrases of common words in windows of rows, for the reasons told there.
 *
 * Scores depend on how many rows there are and in how many of them each word is. Up to COUNTED_MAX
 * of the index and all behind it are counted exactly, so that the order of answers does not depend
 * on how far the words are folded in, nor on the backend; a phrase counts as its rarest word, a
 * prefix as a tenth of all rows.
 *
 * Invariants:
 *   1. Everything is read in one reading transaction: a row is in the index or behind it.
 *   2. A row is offered once: the index answers up to the position, the rest is read above it.
 *   3. is_exact is told only when every row that matches was ranked.
 *   4. What the index finds is compared with the wanted scope before it counts.
 *
 * Tests: tests/contract/test_assistant_message_search.c, test_assistant_find.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>

#define CANDIDATES_MAX 1000
#define COUNTED_MAX 1000
#define EXPANSIONS_MAX 64
#define SCANNED_MAX 4000 /* rows without an index, when every row may match */
#define PORTION 500
#define DENSE_ROWS 100000 /* words of more rows make a phrase that is asked for in windows */
#define WINDOW_FIRST 50000
#define WINDOWS_NS INT64_C(20000000)

struct asking {
	kp_lease *lease;
	kp_text_ask *ask;
	kp_text_mark mark;
	int64_t newest; /* id */
	/* Behind the index: how many rows, their words, and in how many each token is. */
	int64_t tail_rows, tail_words;
	double counts[KP_QUERY_TOKENS_MAX];
	bool is_dense;
	kp_query_plan plan;
	keep_buffer words[KP_QUERY_TERMS_MAX]; /* of prefixes */
	kp_text_statistics statistics;
	kp_text_ranker *ranker;
};

/* The greatest id that the index may hold. */
static int64_t get_top(const struct asking *asking)
{
	return asking->mark.position < asking->newest ? asking->mark.position : asking->newest;
}

/* ---------------------------------------------------------------- rows behind the index */

typedef keep_status see_row(struct asking *asking, const kp_text_row *row, keep_error *err);

/* Rows above `after` up to `to`, newest first, at most `limit`; *seen: how many there were. */
static keep_status read_rows(struct asking *asking, int64_t after, int64_t to, int64_t limit,
			     see_row *see, int64_t *seen, keep_error *err)
{
	keep_status status = KEEP_OK;

	*seen = 0;
	while (status == KEEP_OK && *seen < limit && to > after) {
		int64_t portion = limit - *seen < PORTION ? limit - *seen : PORTION, count = 0;
		kp_sql_stmt *stmt = NULL;
		bool has_row = false;

		status = kp_lease_bind(
			asking->lease, asking->ask->index->between,
			KP_VALUES(kp_int_value(after), kp_int_value(to), kp_int_value(portion)),
			&stmt, err);
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
		while (status == KEEP_OK && has_row) {
			kp_text_row row;

			status = kp_text_row_read(stmt, &row, err);
			to = row.id - 1;
			count++;
			if (status == KEEP_OK)
				status = see(asking, &row, err);
			if (status == KEEP_OK)
				status = kp_sql_step(stmt, &has_row, err);
		}
		kp_sql_reset(stmt);
		*seen += count;
		if (count < portion)
			break;
	}
	return status;
}

/* Which of the query's tokens does a row behind the index have? */
static keep_status count_row(struct asking *asking, const kp_text_row *row, keep_error *err)
{
	const keep_bytes texts[] = {row->title, row->content};
	const kp_token_list *wanted = &asking->ask->query->tokens;
	bool has[KP_QUERY_TOKENS_MAX] = {false};
	kp_token_list list = {.items = NULL};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(texts) && status == KEEP_OK; i++) {
		status = kp_text_tokens(texts[i], &list, err);
		for (size_t j = 0; status == KEEP_OK && j < list.count; j++)
			for (size_t k = 0; k < wanted->count; k++)
				has[k] = has[k] || kp_bytes_equal(kp_token_text(&list, j),
								  kp_token_text(wanted, k));
		asking->tail_words += status == KEEP_OK ? (int64_t)list.count : 0;
	}
	kp_token_list_release(&list);
	/* What cannot be read as words has none. */
	if (status == KEEP_INVALID || status == KEEP_FULL)
		return KEEP_OK;
	for (size_t k = 0; k < wanted->count; k++)
		asking->counts[k] += has[k];
	return status;
}

static bool is_wanted(const struct asking *asking, const kp_text_row *row)
{
	return (!asking->ask->scope.data || kp_bytes_equal(row->scope, asking->ask->scope)) &&
	       (asking->ask->with_hidden || !row->is_hidden);
}

/* Invariant 4. */
static keep_status offer_row(struct asking *asking, const kp_text_row *row, keep_error *err)
{
	const kp_text_candidate candidate = {
		.id = row->id, .title = row->title, .content = row->content};
	keep_status status;

	if (!is_wanted(asking, row))
		return KEEP_OK;
	status = kp_text_ranker_offer(asking->ranker, &candidate, NULL, err);
	return status == KEEP_INVALID || status == KEEP_FULL ? KEEP_OK : status;
}

/* ---------------------------------------------------------------- counting */

/* One word, as an index is asked for it. */
static keep_status render_word(const struct asking *asking, keep_bytes word, keep_buffer *out,
			       keep_error *err)
{
	static const char *const quotes[KP_DIALECT_COUNT] = {
		[KP_DIALECT_SQLITE] = "\"", [KP_DIALECT_POSTGRES] = "'"};
	const char *quote = quotes[asking->lease->conn->driver->dialect];
	keep_status status;

	out->len = 0;
	status = kp_buffer_append_text(out, quote, err);
	if (status == KEEP_OK)
		status = kp_buffer_append(out, word, err);
	return status == KEEP_OK ? kp_buffer_append_text(out, quote, err) : status;
}

/* Of the newest `count` rows with a word the oldest is known. */
static double estimate_rows(const struct asking *asking, int64_t count, int64_t oldest)
{
	double span = (double)(get_top(asking) - oldest + 1), rows;

	if (count < COUNTED_MAX)
		return (double)count;
	rows = (double)count / span * (double)asking->mark.rows;
	return rows > (double)count ? rows : (double)count;
}

/* Add how many rows of the index have a token, or an estimate of it. */
static keep_status count_token(struct asking *asking, size_t token, keep_error *err)
{
	keep_bytes word = kp_token_text(&asking->ask->query->tokens, token);
	keep_buffer match = KEEP_BUFFER_INIT;
	kp_sql_stmt *stmt = NULL;
	int64_t count = 0, oldest = 0;
	bool has_row = false;
	keep_status status = render_word(asking, word, &match, err);

	if (status == KEEP_OK)
		status = kp_lease_bind(asking->lease, asking->ask->index->count,
				       KP_VALUES(kp_text_value(kp_buffer_bytes(&match)),
						 kp_int_value(COUNTED_MAX)),
				       &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_int(stmt, 0, &count, err);
	if (status == KEEP_OK && count >= COUNTED_MAX)
		status = kp_sql_column_int(stmt, 1, &oldest, err);
	kp_sql_reset(stmt);
	keep_buffer_release(&match);
	asking->counts[token] += estimate_rows(asking, count, oldest);
	return status;
}

static keep_status count_term(struct asking *asking, size_t index, keep_error *err)
{
	const kp_query_term *term = &asking->ask->query->terms[index];
	size_t whole = (size_t)term->count - (term->is_prefix ? 1 : 0);
	double least = asking->statistics.documents;
	keep_status status = KEEP_OK;

	for (size_t i = term->first; i < term->first + whole && status == KEEP_OK; i++) {
		if (asking->mark.rows > 0)
			status = count_token(asking, i, err);
		least = asking->counts[i] < least ? asking->counts[i] : least;
	}
	if (whole == 0)
		least = asking->statistics.documents / 10;
	asking->is_dense = asking->is_dense || (term->count > 1 && least > DENSE_ROWS);
	asking->statistics.documents_of[index] = least > 1 ? least : 1;
	return status;
}

static keep_status count_all(struct asking *asking, keep_error *err)
{
	const kp_text_ask *ask = asking->ask;
	keep_status status = KEEP_OK;
	double words = 0;

	if (asking->newest > asking->mark.position)
		status = read_rows(asking, asking->mark.position, asking->newest, INT64_MAX,
				   count_row, &asking->tail_rows, err);
	if (ask->index->counts_words)
		words = (double)(asking->mark.words + asking->tail_words);
	asking->statistics.documents = (double)(asking->mark.rows + asking->tail_rows);
	if (asking->statistics.documents > 0)
		asking->statistics.tokens_mean = words / asking->statistics.documents;
	asking->statistics.title_weight = ask->title_weight;
	for (size_t i = 0; i < ask->query->term_count && status == KEEP_OK; i++)
		status = count_term(asking, i, err);
	return status;
}

/* ---------------------------------------------------------------- what to ask for */

/* The next indexed word from `from` on that begins with `prefix`; empty: none. */
static keep_status next_word(struct asking *asking, keep_bytes from, keep_bytes to,
			     keep_buffer *word, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_bytes found = {"", 0};
	keep_status status =
		kp_lease_bind(asking->lease, asking->ask->index->next_word,
			      KP_VALUES(kp_text_value(from), kp_text_value(to)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &found, err);
	if (status == KEEP_OK)
		status = keep_buffer_set(word, found, err);
	kp_sql_reset(stmt);
	return status;
}

/* All words of the index that begin as the term does; what are too many is asked for as any. */
static keep_status list_words(struct asking *asking, size_t index, keep_error *err)
{
	const kp_query_term *term = &asking->ask->query->terms[index];
	size_t last = (size_t)term->first + term->count - 1;
	keep_bytes prefix = kp_token_text(&asking->ask->query->tokens, last);
	keep_buffer from = KEEP_BUFFER_INIT, to = KEEP_BUFFER_INIT, word = KEEP_BUFFER_INIT;
	keep_buffer *words = &asking->words[index];
	int count = 0;
	keep_status status = keep_buffer_set(&from, prefix, err);

	/* U+10FFFF is behind every character of a token. */
	if (status == KEEP_OK)
		status = keep_buffer_set(&to, prefix, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(&to, "\xf4\x8f\xbf\xbf", err);
	for (; status == KEEP_OK && count <= EXPANSIONS_MAX; count++) {
		status =
			next_word(asking, kp_buffer_bytes(&from), kp_buffer_bytes(&to), &word, err);
		if (status != KEEP_OK || !word.len)
			break;
		if (words->len)
			status = kp_buffer_append_text(words, " ", err);
		if (status == KEEP_OK)
			status = kp_buffer_append(words, kp_buffer_bytes(&word), err);
		if (status == KEEP_OK)
			status = keep_buffer_set(&from, kp_buffer_bytes(&word), err);
		if (status == KEEP_OK)
			status = kp_buffer_append_text(&from, "0", err);
	}
	asking->plan.ways[index] = count <= EXPANSIONS_MAX ? KP_TERM_WORDS : KP_TERM_ANY;
	asking->plan.words[index] = kp_buffer_bytes(words);
	keep_buffer_release(&from);
	keep_buffer_release(&to);
	keep_buffer_release(&word);
	return status;
}

/* How a dialect says what an index is to find. */
struct spelling {
	keep_status (*render)(const kp_text_query *query, const kp_query_plan *plan,
			      keep_buffer *out, keep_error *err);
	bool lists_words; /* prefixes are dear */
	const char *quote, *both, *without;
};

static const struct spelling spellings[KP_DIALECT_COUNT] = {
	[KP_DIALECT_SQLITE] = {kp_text_query_fts5, true, "\"", " AND ", " NOT "},
	[KP_DIALECT_POSTGRES] = {kp_text_query_tsquery, false, "'", " & ", " & !"},
};

/* The words of scope and query, and that it is not hidden. Empty: every row may match. */
static keep_status render_match(const struct asking *asking, keep_buffer *out, keep_error *err)
{
	const struct spelling *spelling = &spellings[asking->lease->conn->driver->dialect];
	const kp_text_ask *ask = asking->ask;
	keep_buffer words = KEEP_BUFFER_INIT;
	char scope[KP_SCOPE_WORD_SIZE];
	keep_status status = spelling->render(
		ask->query, spelling->lists_words ? &asking->plan : NULL, &words, err);

	out->len = 0;
	if (status == KEEP_OK && (ask->scope.data || words.len))
		status = kp_buffer_append_text(out, "(", err);
	if (status == KEEP_OK && ask->scope.data) {
		kp_scope_word(ask->scope, scope);
		status = kp_buffer_append_format(out, err, "%s%s%s%s", spelling->quote, scope,
						 spelling->quote, words.len ? spelling->both : "");
	}
	if (status == KEEP_OK && words.len) {
		status = kp_buffer_append_text(out, "(", err);
		if (status == KEEP_OK)
			status = kp_buffer_append(out, kp_buffer_bytes(&words), err);
		if (status == KEEP_OK)
			status = kp_buffer_append_text(out, ")", err);
	}
	if (status == KEEP_OK && out->len)
		status = kp_buffer_append_text(out, ")", err);
	if (status == KEEP_OK && out->len && ask->index->has_hidden && !ask->with_hidden)
		status = kp_buffer_append_format(out, err, "%s%s%s%s", spelling->without,
						 spelling->quote, KP_HIDDEN_WORD, spelling->quote);
	keep_buffer_release(&words);
	return status;
}

/* ---------------------------------------------------------------- candidates */

static keep_status offer_window(struct asking *asking, keep_bytes match, int64_t after, int64_t to,
				int64_t limit, int64_t *count, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(asking->lease, asking->ask->index->find,
					   KP_VALUES(kp_text_value(match), kp_int_value(after),
						     kp_int_value(to), kp_int_value(limit)),
					   &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row) {
		kp_text_row row;

		status = kp_text_row_read(stmt, &row, err);
		if (status == KEEP_OK)
			status = offer_row(asking, &row, err);
		++*count;
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* Invariants 2 and 3: the rows of the index. */
static keep_status offer_indexed(struct asking *asking, keep_error *err)
{
	int64_t started = kp_monotonic_ns(), count = 0;
	int64_t top = get_top(asking);
	int64_t window = asking->is_dense ? WINDOW_FIRST : top;
	keep_buffer match = KEEP_BUFFER_INIT;
	keep_status status = render_match(asking, &match, err);

	if (status == KEEP_OK && !match.len) {
		status = read_rows(asking, 0, top, SCANNED_MAX, offer_row, &count, err);
		asking->ask->is_exact = asking->ask->is_exact && count < SCANNED_MAX;
	}
	while (status == KEEP_OK && match.len && top > 0 && count < CANDIDATES_MAX &&
	       (!asking->is_dense || kp_monotonic_ns() - started < WINDOWS_NS)) {
		int64_t after = top > window ? top - window : 0;

		status = offer_window(asking, kp_buffer_bytes(&match), after, top,
				      CANDIDATES_MAX - count, &count, err);
		top = after;
		window *= 2;
	}
	if (match.len)
		asking->ask->is_exact = asking->ask->is_exact && top <= 0 && count < CANDIDATES_MAX;
	keep_buffer_release(&match);
	return status;
}

static keep_status take_answer(struct asking *asking, kp_arena *arena, keep_error *err)
{
	kp_text_ask *ask = asking->ask;
	const kp_ranked *list;

	kp_text_ranker_list(asking->ranker, &list, &ask->count);
	ask->items = kp_arena_alloc(arena, (ask->count + 1) * sizeof *ask->items);
	if (!ask->items)
		return kp_fail_memory(err, "what was found");
	if (ask->count)
		memcpy(ask->items, list, ask->count * sizeof *list);
	return KEEP_OK;
}

/* Invariant 1 is the caller's. */
static keep_status search_index(struct asking *asking, kp_arena *arena, keep_error *err)
{
	kp_text_ask *ask = asking->ask;
	const struct spelling *spelling = &spellings[asking->lease->conn->driver->dialect];
	int64_t seen = 0;
	keep_status status = kp_text_mark_get(asking->lease, ask->index, &asking->mark, err);

	if (status == KEEP_OK)
		status = kp_lease_int(asking->lease, ask->index->newest, NULL, 0, &asking->newest,
				      &(bool){false}, err);
	if (status == KEEP_OK)
		status = count_all(asking, err);
	for (size_t i = 0; i < ask->query->term_count && status == KEEP_OK; i++)
		if (ask->query->terms[i].is_prefix && spelling->lists_words && asking->mark.rows)
			status = list_words(asking, i, err);
	if (status == KEEP_OK)
		status = kp_text_ranker_open(ask->query, &asking->statistics, ask->limit,
					     &asking->ranker, err);
	if (status == KEEP_OK && asking->newest > asking->mark.position)
		status = read_rows(asking, asking->mark.position, asking->newest, INT64_MAX,
				   offer_row, &seen, err);
	if (status == KEEP_OK && asking->mark.rows > 0)
		status = offer_indexed(asking, err);
	if (status == KEEP_OK)
		status = take_answer(asking, arena, err);
	ask->is_behind =
		asking->tail_rows >= KP_TEXT_BATCH || (!asking->mark.is_ours && asking->newest > 0);
	return status;
}

keep_status kp_text_search(kp_lease *lease, kp_text_ask *ask, kp_arena *arena, keep_error *err)
{
	struct asking *asking = kp_alloc_zero(sizeof *asking);
	keep_status status;

	ask->count = 0;
	ask->is_exact = true;
	if (!asking)
		return kp_fail_memory(err, "a search");
	asking->lease = lease;
	asking->ask = ask;
	status = search_index(asking, arena, err);
	kp_text_ranker_close(&asking->ranker);
	for (size_t i = 0; i < KP_COUNT(asking->words); i++)
		keep_buffer_release(&asking->words[i]);
	kp_free(asking);
	return status;
}
