#ifndef KP_TEXT_PRIVATE_H
#define KP_TEXT_PRIVATE_H
/*
 * text_private.h - what the text files of this folder share.
 */
#include "search/search.h"

/* ---------------------------------------------------------------- characters (token_rules.c) */

#define KP_TEXT_RULES_VERSION "1"

typedef enum kp_letter {
	KP_LETTER_BREAK,  /* between words */
	KP_LETTER_WORD,   /* part of a word */
	KP_LETTER_MARK,   /* continues a word and begins none */
	KP_LETTER_SINGLE, /* a token by itself */
	KP_LETTER_FLAG,   /* two of them are a token */
	KP_LETTER_NONE    /* as if it were not there */
} kp_letter;

#define KP_LETTER_PARTS_MAX 24

/* The character `code` decomposed, folded and without what is dropped: the parts and their count,
   0 when nothing is left. */
size_t kp_letter_parts(int32_t code, int32_t parts[KP_LETTER_PARTS_MAX]);
/* What a part is; NONE never comes out of kp_letter_parts. */
kp_letter kp_letter_of(int32_t part);
/* The one character that two become, or 0. */
int32_t kp_letter_compose(int32_t first, int32_t second);
/* In place: the marks in canonical order, then composed. Returns the new count. */
size_t kp_letters_compose(int32_t *codes, size_t count);
size_t kp_letter_encode(int32_t code, char out[4]);
/* `text` begins with `width` bytes of one valid character, as kp_utf8_width says. */
int32_t kp_letter_decode(const char *text, size_t width);

/* ---------------------------------------------------------------- matches (match.c) */

/* The next hit of a term at `from` or behind it; false: none. The hit is tokens *at up to *at +
   term->count. */
bool kp_term_next(const kp_text_query *query, const kp_query_term *term, const kp_token_list *text,
		  size_t from, size_t *at);
size_t kp_term_hits(const kp_text_query *query, const kp_query_term *term,
		    const kp_token_list *text);
/* Does the query match a text that has these terms? */
bool kp_query_holds(const kp_text_query *query, const bool has[KP_QUERY_TERMS_MAX]);

#endif
