/*
 * tsvector.c - two texts as one tsvector, in the spelling that PostgreSQL reads.
 *
 * Invariants:
 *   1. Each different word is written once, with its positions in order: PostgreSQL counts repeated
 *      ones against its limit of bytes before it unites them.
 *   2. A position above 16,383, or a word's 256th, is left out, never moved: so no phrase is found
 *      that is not there. A text that lost any has the word "!", which no token is.
 *   3. One position is free between the title and the content: no phrase reaches across.
 *   4. What PostgreSQL will need for it is below BYTES_MAX: positions are left out first, and words
 *      only when they alone are more.
 *
 * Tests: tests/unit/test_text_query.c, tests/contract/test_text_backends.c.
 */
#include "search/text_private.h"

#include <stdlib.h>
#include <string.h>

#define POSITION_MAX 16383
#define POSITIONS_MAX 255
#define BYTES_MAX 1000000

typedef struct word_place {
	const char *word;
	uint32_t len;
	uint32_t position; /* from 1 */
} word_place;

typedef struct tsvector_writer {
	keep_buffer *out;
	size_t bytes;  /* what PostgreSQL needs for what is written */
	bool is_loose; /* something was left out */
} tsvector_writer;

static int compare_words(const word_place *a, const word_place *b)
{
	return kp_bytes_compare((keep_bytes){a->word, a->len}, (keep_bytes){b->word, b->len});
}

static int compare_places(const void *left, const void *right)
{
	const word_place *a = left, *b = right;
	int order = compare_words(a, b);

	return order ? order : (a->position > b->position) - (a->position < b->position);
}

static size_t add_places(const kp_token_list *list, size_t first, word_place *places)
{
	for (size_t i = 0; i < list->count; i++) {
		keep_bytes word = kp_token_text(list, i);

		places[i] = (word_place){word.data, (uint32_t)word.len, (uint32_t)(first + i)};
	}
	return list->count;
}

/* One word with its positions. */
static keep_status write_word(tsvector_writer *writer, const word_place *places, size_t count,
			      keep_error *err)
{
	keep_bytes word = {places->word, places->len};
	size_t kept = 0;
	keep_status status;

	while (kept < count && kept < POSITIONS_MAX && places[kept].position <= POSITION_MAX)
		kept++;
	if (writer->bytes + word.len > BYTES_MAX) {
		writer->is_loose = true;
		return KEEP_OK;
	}
	if (writer->bytes + word.len + 2 * kept + 3 > BYTES_MAX)
		kept = 0;
	writer->is_loose |= kept < count;
	writer->bytes += word.len + (kept ? 2 * kept + 3 : 0);
	status = kp_buffer_append_text(writer->out, writer->out->len ? " '" : "'", err);
	if (status == KEEP_OK)
		status = kp_buffer_append(writer->out, word, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(writer->out, "'", err);
	for (size_t i = 0; i < kept && status == KEEP_OK; i++)
		status = kp_buffer_append_format(writer->out, err, "%s%u", i ? "," : ":",
						 (unsigned)places[i].position);
	return status;
}

static keep_status write_words(tsvector_writer *writer, const word_place *places, size_t count,
			       keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t at = 0, next; at < count && status == KEEP_OK; at = next) {
		for (next = at + 1; next < count && !compare_words(&places[at], &places[next]);)
			next++;
		status = write_word(writer, places + at, next - at, err);
	}
	if (status == KEEP_OK && writer->is_loose)
		status = kp_buffer_append_text(writer->out, " '!'", err);
	return status;
}

keep_status kp_text_tsvector(keep_bytes title, keep_bytes content, keep_buffer *out,
			     keep_error *err)
{
	kp_token_list lists[2] = {{.items = NULL}, {.items = NULL}};
	tsvector_writer writer = {.out = out, .bytes = 16};
	word_place *places = NULL;
	size_t count = 0;
	keep_status status;

	out->len = 0;
	status = kp_text_tokens(title, &lists[0], err);
	if (status == KEEP_OK)
		status = kp_text_tokens(content, &lists[1], err);
	if (status != KEEP_OK)
		goto out;
	places = kp_alloc((lists[0].count + lists[1].count + 1) * sizeof *places);
	if (!places) {
		status = kp_fail_memory(err, "the words of a text");
		goto out;
	}
	count = add_places(&lists[0], 1, places);
	count += add_places(&lists[1], count ? count + 2 : 1, places + count);
	qsort(places, count, sizeof *places, compare_places);
	status = kp_buffer_reserve(out, lists[0].text.len + lists[1].text.len + 8 * count, err);
	if (status == KEEP_OK)
		status = write_words(&writer, places, count, err);
out:
	if (status != KEEP_OK)
		out->len = 0;
	kp_free(places);
	kp_token_list_release(&lists[0]);
	kp_token_list_release(&lists[1]);
	return status;
}
