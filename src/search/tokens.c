/*
 * tokens.c - a text as tokens, made here and nowhere else, so that every backend finds the same.
 *
 * Invariants:
 *   1. A token is 1 to KP_TOKEN_BYTES_MAX bytes of 0-9, a-z and whole characters beyond ASCII, so
 *      that FTS5's tokenizer `ascii` gives the same tokens for the normalised text, and no token
 *      needs an escape in FTS5's or PostgreSQL's languages.
 *   2. The normalised text of a normalised text is itself.
 *   3. Token i + 1 begins where token i ends or behind it, or both have the same place (a character
 *      that is several tokens); at and end lie between characters.
 *   4. A longer word is its first 48 bytes or less, at a character's border, and 16 digits of a
 *      hash (FNV-1a) of the rest: different words stay different, and their beginning is found.
 *   5. Time is linear in the text; memory is 16 bytes a token and the normalised text.
 *
 * What a character is to a word: token_rules.c.
 *
 * Tests: tests/unit/test_tokens.c, tests/contract/test_text_backends.c (1), tests/torture/
 * test_search_faults.c.
 */
#include "search/text_private.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#define ROOM_BYTES 256 /* what one character, or one word, can need in list->text */
#define CUT_BYTES 48

typedef struct text_reader {
	keep_bytes text;
	kp_token_list *list;
	size_t at;
	bool in_word;   /* the last token of the list is a word that may go on */
	bool has_marks; /* that word has marks that stay */
	bool is_cut;    /* invariant 4: `hash` takes the rest */
	bool half_flag; /* the last token is one regional indicator */
	uint64_t hash;
} text_reader;

void kp_text_rules(char out[KP_TEXT_RULES_SIZE])
{
	(void)snprintf(out, KP_TEXT_RULES_SIZE, "%s/%s", KP_TEXT_RULES_VERSION,
		       utf8proc_unicode_version());
}

/* ---------------------------------------------------------------- one token */

static kp_token *last_token(const text_reader *reader)
{
	return &reader->list->items[reader->list->count - 1];
}

static keep_status make_room(kp_token_list *list, keep_error *err)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 128;
		kp_token *items = kp_realloc(list->items, capacity * sizeof *items);

		if (!items)
			return kp_fail_memory(err, "the tokens of a text");
		list->items = items;
		list->capacity = capacity;
	}
	return kp_buffer_reserve(&list->text, list->text.len + ROOM_BYTES, err);
}

static keep_status begin_token(text_reader *reader, size_t end, keep_error *err)
{
	kp_token_list *list = reader->list;
	keep_status status = make_room(list, err);

	if (status != KEEP_OK)
		return status;
	if (list->count)
		list->text.data[list->text.len++] = ' ';
	list->items[list->count++] = (kp_token){
		.at = (uint32_t)reader->at,
		.end = (uint32_t)end,
		.word = (uint32_t)list->text.len,
	};
	return KEEP_OK;
}

static void put_bytes(text_reader *reader, const char *bytes, size_t len)
{
	keep_buffer *text = &reader->list->text;

	memcpy(text->data + text->len, bytes, len);
	text->len += len;
	last_token(reader)->len += (uint16_t)len;
}

static void hash_bytes(text_reader *reader, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		reader->hash = (reader->hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
}

static void cut_word(text_reader *reader)
{
	keep_buffer *text = &reader->list->text;
	kp_token *token = last_token(reader);
	size_t keep = CUT_BYTES;

	while (((unsigned char)text->data[token->word + keep] & 0xc0) == 0x80)
		keep--;
	reader->is_cut = true;
	reader->hash = UINT64_C(0xcbf29ce484222325);
	hash_bytes(reader, text->data + token->word + keep, token->len - keep);
	token->len = (uint16_t)keep;
	text->len = token->word + keep;
}

static void add_to_word(text_reader *reader, const char *bytes, size_t len)
{
	if (!reader->is_cut && last_token(reader)->len + len > KP_TOKEN_BYTES_MAX)
		cut_word(reader);
	if (reader->is_cut)
		hash_bytes(reader, bytes, len);
	else
		put_bytes(reader, bytes, len);
}

/* Marks that stay may have been written in any order, or as part of a letter. */
static void compose_word(text_reader *reader)
{
	keep_buffer *text = &reader->list->text;
	kp_token *token = last_token(reader);
	int32_t codes[KP_TOKEN_BYTES_MAX];
	char composed[4 * KP_TOKEN_BYTES_MAX];
	size_t count = 0, len = 0;

	for (size_t at = token->word, width; at < token->word + token->len; at += width) {
		keep_bytes rest = {text->data + at, token->word + token->len - at};

		width = kp_utf8_width(rest);
		assert(width);
		codes[count++] = kp_letter_decode(rest.data, width);
	}
	count = kp_letters_compose(codes, count);
	for (size_t i = 0; i < count; i++)
		len += kp_letter_encode(codes[i], composed + len);
	if (len > token->len)
		return;
	memcpy(text->data + token->word, composed, len);
	token->len = (uint16_t)len;
	text->len = token->word + len;
}

static void end_word(text_reader *reader)
{
	static const char digits[] = "0123456789abcdef";

	if (reader->in_word && reader->has_marks)
		compose_word(reader);
	if (reader->in_word && reader->is_cut) {
		char tail[16];

		last_token(reader)->cut = last_token(reader)->len;
		for (int i = 0; i < 16; i++)
			tail[i] = digits[reader->hash >> (60 - 4 * i) & 15];
		put_bytes(reader, tail, sizeof tail);
	}
	reader->in_word = reader->is_cut = reader->has_marks = reader->half_flag = false;
}

/* ---------------------------------------------------------------- one character */

/* Does the last token touch what is read now, or come from the same character? */
static bool touches_last(const text_reader *reader)
{
	const kp_token *token;

	if (!reader->list->count)
		return false;
	token = last_token(reader);
	return token->end == reader->at || token->at == reader->at;
}

/* Hangul from its letters, and kana with a voicing mark of its own. */
static bool joins_last(text_reader *reader, int32_t part, size_t end)
{
	kp_token *token;
	char *word;
	int32_t whole;

	if (!((part >= 0x1161 && part <= 0x11ff) || part == 0x3099 || part == 0x309a) ||
	    reader->in_word || !touches_last(reader))
		return false;
	token = last_token(reader);
	word = reader->list->text.data + token->word;
	if (token->len != 3 || ((unsigned char)*word & 0xf0) != 0xe0)
		return false;
	whole = kp_letter_compose(kp_letter_decode(word, 3), part);
	if (!whole)
		return false;
	(void)kp_letter_encode(whole, word);
	token->end = (uint32_t)end;
	return true;
}

static keep_status read_part(text_reader *reader, int32_t part, size_t end, keep_error *err)
{
	kp_letter letter = kp_letter_of(part);
	keep_status status = KEEP_OK;
	char bytes[4];
	size_t len = kp_letter_encode(part, bytes);
	bool joins;

	switch (letter) {
	case KP_LETTER_WORD:
	case KP_LETTER_MARK:
		if (!reader->in_word && letter == KP_LETTER_MARK)
			return KEEP_OK;
		if (!reader->in_word) {
			end_word(reader);
			status = begin_token(reader, end, err);
		}
		if (status != KEEP_OK)
			return status;
		reader->in_word = true;
		reader->has_marks |= letter == KP_LETTER_MARK;
		last_token(reader)->end = (uint32_t)end;
		add_to_word(reader, bytes, len);
		return KEEP_OK;
	case KP_LETTER_SINGLE:
	case KP_LETTER_FLAG:
		joins = letter == KP_LETTER_FLAG ? reader->half_flag && touches_last(reader)
						 : joins_last(reader, part, end);
		end_word(reader);
		if (joins && letter == KP_LETTER_SINGLE)
			return KEEP_OK;
		if (!joins)
			status = begin_token(reader, end, err);
		if (status != KEEP_OK)
			return status;
		last_token(reader)->end = (uint32_t)end;
		put_bytes(reader, bytes, len);
		reader->half_flag = letter == KP_LETTER_FLAG && !joins;
		return KEEP_OK;
	default: end_word(reader); return KEEP_OK;
	}
}

static keep_status read_character(text_reader *reader, keep_error *err)
{
	keep_bytes rest = {reader->text.data + reader->at, reader->text.len - reader->at};
	size_t width = kp_utf8_width(rest), count;
	keep_status status = KEEP_OK;
	int32_t parts[KP_LETTER_PARTS_MAX];

	if (!width)
		return kp_fail(err, KEEP_INVALID, "the text is not valid UTF-8 at byte %zu",
			       reader->at);
	count = kp_letter_parts(kp_letter_decode(rest.data, width), parts);
	if (!count && reader->list->count && last_token(reader)->end == reader->at)
		last_token(reader)->end += (uint32_t)width;
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = read_part(reader, parts[i], reader->at + width, err);
	reader->at += width;
	return status;
}

/* ---------------------------------------------------------------- ASCII, which most text is */

/* 1: part of a word. */
static const unsigned char ascii_words[256] = {
	['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1,
	['8'] = 1, ['9'] = 1, ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1,
	['G'] = 1, ['H'] = 1, ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1,
	['O'] = 1, ['P'] = 1, ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1,
	['W'] = 1, ['X'] = 1, ['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1,
	['e'] = 1, ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1, ['l'] = 1,
	['m'] = 1, ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1,
	['u'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,
};

static char lower(char letter)
{
	return (char)(letter >= 'A' && letter <= 'Z' ? letter + ('a' - 'A') : letter);
}

static keep_status read_ascii_word(text_reader *reader, keep_error *err)
{
	const char *text = reader->text.data;
	size_t end = reader->at, len;
	keep_buffer *out = &reader->list->text;
	keep_status status;

	while (end < reader->text.len && ascii_words[(unsigned char)text[end]])
		end++;
	len = end - reader->at;
	if (!reader->in_word) {
		end_word(reader);
		status = begin_token(reader, end, err);
		if (status != KEEP_OK)
			return status;
		reader->in_word = true;
	}
	last_token(reader)->end = (uint32_t)end;
	if (!reader->is_cut && last_token(reader)->len + len <= KP_TOKEN_BYTES_MAX) {
		for (size_t i = 0; i < len; i++)
			out->data[out->len + i] = lower(text[reader->at + i]);
		out->len += len;
		last_token(reader)->len += (uint16_t)len;
		reader->at = end;
	}
	for (; reader->at < end; reader->at++) {
		char letter = lower(text[reader->at]);

		add_to_word(reader, &letter, 1);
	}
	return KEEP_OK;
}

/* ---------------------------------------------------------------- the whole text */

static keep_status read_text(text_reader *reader, keep_error *err)
{
	keep_status status = KEEP_OK;

	while (reader->at < reader->text.len && status == KEEP_OK) {
		unsigned char byte = (unsigned char)reader->text.data[reader->at];

		if (byte >= 0x80) {
			status = read_character(reader, err);
		} else if (ascii_words[byte]) {
			status = read_ascii_word(reader, err);
		} else {
			end_word(reader);
			reader->at++;
		}
	}
	if (status == KEEP_OK)
		end_word(reader);
	return status;
}

keep_status kp_text_tokens(keep_bytes text, kp_token_list *list, keep_error *err)
{
	text_reader reader = {.text = text, .list = list};
	keep_status status;

	list->count = 0;
	list->text.len = 0;
	if (text.len > KP_SEARCH_TEXT_MAX)
		return kp_fail(err, KEEP_FULL, "a text of %zu bytes to search in, the limit is %d",
			       text.len, KP_SEARCH_TEXT_MAX);
	status = kp_buffer_reserve(&list->text, text.len + ROOM_BYTES, err);
	if (status == KEEP_OK)
		status = read_text(&reader, err);
	if (status != KEEP_OK) {
		list->count = 0;
		list->text.len = 0;
	}
	if (list->text.data)
		list->text.data[list->text.len] = '\0';
	return status;
}

void kp_token_list_release(kp_token_list *list)
{
	kp_free(list->items);
	keep_buffer_release(&list->text);
	*list = (kp_token_list){.items = NULL};
}

keep_status kp_text_normalise(keep_bytes text, keep_buffer *out, keep_error *err)
{
	kp_token_list list = {.items = NULL};
	keep_status status = kp_text_tokens(text, &list, err);

	if (status == KEEP_OK) {
		keep_buffer old = *out;

		*out = list.text;
		list.text = old;
	}
	kp_token_list_release(&list);
	return status;
}
