/*
 * snippet.c - the part of a text that shows best why it was found.
 *
 * Invariants:
 *   1. The window of tokens with most different terms wins, then with most hits, then the first;
 *      its first hit is always shown.
 *   2. The answer has at most bytes_max bytes with all its marks; every mark that is opened is
 *      closed; it is cut between characters only.
 *   3. What is between the marks is the original text, but for control characters, which are
 * blanks.
 *
 * Of a text with more than HITS_MAX hits only the first are looked at. Marks that stand in the text
 * itself are not told apart from ours: a caller that needs it chooses other ones.
 *
 * Tests: tests/unit/test_snippet.c.
 */
#include "search/text_private.h"

#include <string.h>

#define HITS_MAX 1024
#define WINDOW_TOKENS 32
#define WINDOW_TOKENS_MAX 256
#define SNIPPET_BYTES 512
#define SNIPPET_BYTES_MIN 160
#define MARK_BYTES_MAX 16
#define EDGE_BYTES_MAX 40 /* what a text may have before its first word and behind its last */

typedef struct text_hit {
	uint32_t first, end; /* tokens */
	uint32_t term;
} text_hit;

typedef struct text_hits {
	text_hit items[HITS_MAX];
	size_t count;
} text_hits;

typedef struct snippet_writer {
	keep_bytes text;
	keep_bytes open, close, ellipsis;
	size_t bytes_max;
	keep_buffer *out;
	bool in_mark, is_full;
} snippet_writer;

/* ---------------------------------------------------------------- which part */

/* All hits in the order of their first token. */
static void find_hits(const kp_text_query *query, const kp_token_list *tokens, text_hits *hits)
{
	size_t next[KP_QUERY_TERMS_MAX];

	for (size_t i = 0; i < query->term_count; i++) {
		next[i] = SIZE_MAX;
		if (query->terms[i].is_wanted)
			(void)kp_term_next(query, &query->terms[i], tokens, 0, &next[i]);
	}
	while (hits->count < HITS_MAX) {
		size_t best = 0, at;

		for (size_t i = 1; i < query->term_count; i++)
			best = next[i] < next[best] ? i : best;
		if (next[best] == SIZE_MAX)
			break;
		at = next[best];
		hits->items[hits->count++] = (text_hit){
			.first = (uint32_t)at,
			.end = (uint32_t)(at + query->terms[best].count),
			.term = (uint32_t)best,
		};
		next[best] = SIZE_MAX;
		(void)kp_term_next(query, &query->terms[best], tokens, at + 1, &next[best]);
	}
}

/* The first hit of the best window, and *last, the last one of it. */
static size_t choose_hits(const text_hits *hits, size_t window, size_t *last)
{
	size_t of_term[KP_QUERY_TERMS_MAX] = {0};
	size_t end = 0, different = 0, best = 0, best_different = 0, best_count = 0;

	*last = 0;
	for (size_t first = 0; first < hits->count; first++) {
		size_t term = hits->items[first].term;

		while (end < hits->count &&
		       (end <= first || hits->items[end].end <= hits->items[first].first + window))
			different += of_term[hits->items[end++].term]++ == 0;
		if (different > best_different ||
		    (different == best_different && end - first > best_count)) {
			best = first;
			best_different = different;
			best_count = end - first;
			*last = end - 1;
		}
		different -= --of_term[term] == 0;
	}
	return best;
}

/* The tokens *from up to *end to show: the chosen hits in their middle. */
static void choose_window(const kp_token_list *tokens, const text_hits *hits, size_t window,
			  size_t bytes_max, size_t *from, size_t *end)
{
	size_t hit_end = 0, last;

	*from = 0;
	if (hits->count) {
		const text_hit *shown = &hits->items[choose_hits(hits, window, &last)];
		size_t first = shown->first, span = hits->items[last].end - first;
		size_t lead = span < window ? (window - span) / 2 : 0;

		hit_end = shown->end;
		*from = first > lead ? first - lead : 0;
		if (*from + window > tokens->count)
			*from = tokens->count > window ? tokens->count - window : 0;
		if (*from > first)
			*from = first;
		/* Invariant 1, where words are long. */
		while (*from < first &&
		       tokens->items[hit_end - 1].end - tokens->items[*from].at > bytes_max / 3)
			(*from)++;
	}
	*end = *from + window < tokens->count ? *from + window : tokens->count;
	if (*end < hit_end) /* a phrase that is longer than the window */
		*end = hit_end;
}

/* ---------------------------------------------------------------- writing it */

static keep_status write_mark(snippet_writer *writer, keep_bytes mark, keep_error *err)
{
	return kp_buffer_append(writer->out, mark, err);
}

static bool is_control(keep_bytes character)
{
	unsigned char byte = (unsigned char)character.data[0];

	return byte < 0x20 || byte == 0x7f ||
	       (byte == 0xc2 && (unsigned char)character.data[1] < 0xa0);
}

/* The bytes from `at` to `end`, as many characters of them as there is room for. */
static keep_status write_text(snippet_writer *writer, size_t at, size_t end, keep_error *err)
{
	size_t tail = writer->ellipsis.len + (writer->in_mark ? writer->close.len : 0);
	keep_status status = KEEP_OK;

	while (at < end && !writer->is_full && status == KEEP_OK) {
		keep_bytes rest = {writer->text.data + at, end - at};
		size_t width = kp_utf8_width(rest);

		rest.len = width;
		if (writer->out->len + width + tail > writer->bytes_max) {
			writer->is_full = true;
		} else if (!is_control(rest)) {
			status = kp_buffer_append(writer->out, rest, err);
		} else if (writer->out->len && writer->out->data[writer->out->len - 1] != ' ') {
			status = kp_buffer_append(writer->out, KEEP_BYTES(" "), err);
		}
		at += width;
	}
	return status;
}

static keep_status write_marked(snippet_writer *writer, size_t at, size_t end, keep_error *err)
{
	size_t width = kp_utf8_width((keep_bytes){writer->text.data + at, end - at});
	keep_status status;

	if (writer->out->len + writer->open.len + width + writer->close.len + writer->ellipsis.len >
	    writer->bytes_max)
		writer->is_full = true;
	if (writer->is_full)
		return KEEP_OK;
	status = write_mark(writer, writer->open, err);
	writer->in_mark = true;
	if (status == KEEP_OK)
		status = write_text(writer, at, end, err);
	writer->in_mark = false;
	if (status == KEEP_OK)
		status = write_mark(writer, writer->close, err);
	return status;
}

/* Hits that overlap or touch in one character are one mark. */
static keep_status write_window(snippet_writer *writer, const kp_token_list *tokens,
				const text_hits *hits, size_t from, size_t end, keep_error *err)
{
	size_t at = tokens->items[from].at, until = tokens->items[end - 1].end;
	size_t edge =
		writer->bytes_max / 8 < EDGE_BYTES_MAX ? writer->bytes_max / 8 : EDGE_BYTES_MAX;
	bool is_begin = from == 0 && at <= edge;
	bool is_end = end == tokens->count && writer->text.len - until <= edge;
	keep_status status = KEEP_OK;

	at = is_begin ? 0 : at;
	until = is_end ? writer->text.len : until;
	if (!is_begin)
		status = write_mark(writer, writer->ellipsis, err);
	for (size_t i = 0; i < hits->count && status == KEEP_OK && !writer->is_full; i++) {
		size_t mark_at, mark_end, last = hits->items[i].end;

		if (hits->items[i].end > end)
			break;
		if (hits->items[i].first < from)
			continue;
		mark_at = tokens->items[hits->items[i].first].at;
		while (i + 1 < hits->count && hits->items[i + 1].end <= end &&
		       (hits->items[i + 1].first < last ||
			tokens->items[hits->items[i + 1].first].at < tokens->items[last - 1].end)) {
			i++;
			last = hits->items[i].end > last ? hits->items[i].end : last;
		}
		mark_end = tokens->items[last - 1].end;
		status = write_text(writer, at, mark_at, err);
		if (status == KEEP_OK)
			status = write_marked(writer, mark_at, mark_end, err);
		at = mark_end;
	}
	if (status == KEEP_OK)
		status = write_text(writer, at, until, err);
	if (status == KEEP_OK && (writer->is_full || !is_end))
		status = write_mark(writer, writer->ellipsis, err);
	return status;
}

/* ---------------------------------------------------------------- the door */

static keep_status check_mark(const char *what, const char *mark, const char *fallback,
			      keep_bytes *out, keep_error *err)
{
	*out = keep_bytes_of(mark ? mark : fallback);
	return kp_check_text(what, *out, MARK_BYTES_MAX, KP_MAY_BE_ABSENT, err);
}

static keep_status check_options(const kp_snippet_options *options, snippet_writer *writer,
				 size_t *window, keep_error *err)
{
	int64_t checked = 0;
	keep_status status =
		kp_check_limit(options->tokens, WINDOW_TOKENS, WINDOW_TOKENS_MAX, &checked, err);

	*window = (size_t)checked;
	if (status != KEEP_OK)
		return status;
	writer->bytes_max = options->bytes_max ? options->bytes_max : SNIPPET_BYTES;
	if (writer->bytes_max < SNIPPET_BYTES_MIN || writer->bytes_max > KP_CONTENT_MAX)
		return kp_fail(err, KEEP_INVALID, "a snippet of %zu bytes is not from %d to %d",
			       writer->bytes_max, SNIPPET_BYTES_MIN, KP_CONTENT_MAX);
	status = check_mark("open", options->open, "[", &writer->open, err);
	if (status == KEEP_OK)
		status = check_mark("close", options->close, "]", &writer->close, err);
	if (status == KEEP_OK)
		status = check_mark("ellipsis", options->ellipsis, "\xe2\x80\xa6",
				    &writer->ellipsis, err);
	return status;
}

keep_status kp_text_snippet(const kp_text_query *query, keep_bytes text,
			    const kp_snippet_options *options, keep_buffer *out, keep_error *err)
{
	snippet_writer writer = {.text = text, .out = out};
	kp_token_list tokens = {.items = NULL};
	text_hits *hits = NULL;
	size_t window = 0, from, end;
	keep_status status;

	out->len = 0;
	status = check_options(options, &writer, &window, err);
	if (status == KEEP_OK)
		status = kp_text_tokens(text, &tokens, err);
	if (status != KEEP_OK)
		goto out;
	hits = kp_alloc_zero(sizeof *hits);
	if (!hits) {
		status = kp_fail_memory(err, "a snippet");
		goto out;
	}
	find_hits(query, &tokens, hits);
	choose_window(&tokens, hits, window, writer.bytes_max, &from, &end);
	if (tokens.count) {
		status = write_window(&writer, &tokens, hits, from, end, err);
	} else {
		status = write_text(&writer, 0, text.len, err);
		if (status == KEEP_OK && writer.is_full)
			status = write_mark(&writer, writer.ellipsis, err);
	}
out:
	if (status != KEEP_OK)
		out->len = 0;
	kp_free(hits);
	kp_token_list_release(&tokens);
	return status;
}
